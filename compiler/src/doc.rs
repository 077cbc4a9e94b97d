//! Documentation of blocks, from their own text: for the terminal, for programs, and the table of papers.

mod papers;

use std::fmt::Write;

use rlp_grammar::ast::{Block, Item, Param, SourceId, Span};
use serde::Serialize;

pub use papers::{Paper, papers};

/// What is known of a block without looking into it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BlockDoc {
    /// `ppo_clip`
    pub name: String,
    /// `loss`
    pub kind: String,
    /// The lines of `///`, joined.
    pub doc: String,
    /// What follows `Source:` in them.
    pub source: Option<String>,
    pub params: Vec<ParamDoc>,
    /// The type of the result, as written, on one line.
    pub result: Option<String>,
    /// The path of the file that defines it.
    pub file: String,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ParamDoc {
    pub name: String,
    /// As written; absent for a parameter without annotation.
    #[serde(rename = "type")]
    pub ty: Option<String>,
    /// As written; absent for a parameter that must be given.
    pub default: Option<String>,
    /// The comment on its line.
    pub note: Option<String>,
}

/// The blocks of a file, in its order, as far as it can be read.
pub fn blocks(path: &str, text: &str) -> Vec<BlockDoc> {
    let items = rlp_grammar::parse(SourceId(0), text).file.items;
    let documented = items.iter().filter_map(|item| match item {
        Item::Block(block) => Some(document(block, path, text)),
        Item::Use(_) | Item::Pipeline(_) | Item::Test(_) => None,
    });
    documented.collect()
}

fn document(block: &Block, path: &str, text: &str) -> BlockDoc {
    let written = |span: Span| {
        let text = text
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let param = |param: &Param| ParamDoc {
        name: param.name.name.clone(),
        ty: param.ty.as_ref().map(|ty| written(ty.span)),
        default: param.default.as_ref().map(|default| written(default.span)),
        note: param.note.as_ref().map(|note| note.trim().to_string()),
    };
    BlockDoc {
        name: block.name.name.clone(),
        kind: block.kind.name.clone(),
        doc: block.doc.join("\n"),
        source: after(&block.doc, "Source:"),
        params: block.params.iter().map(param).collect(),
        result: block.result.as_ref().map(|result| written(result.span)),
        file: path.to_string(),
    }
}

/// What follows a word at the beginning of a line of documentation.
fn after(doc: &[String], word: &str) -> Option<String> {
    doc.iter()
        .find_map(|line| line.strip_prefix(word))
        .map(|rest| rest.trim().to_string())
}

impl BlockDoc {
    /// The first sentence of the documentation.
    pub fn summary(&self) -> &str {
        self.doc.lines().next().unwrap_or_default()
    }

    /// The documentation and the signature as they stand in the file, in columns, for a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("{}.{}\n", self.kind, self.name);
        for line in self.doc.lines() {
            let _ = writeln!(text, "{}", format!("  {line}").trim_end());
        }
        let result = self
            .result
            .as_ref()
            .map_or(String::new(), |result| format!(" -> {result}"));
        if self.params.is_empty() {
            let _ = writeln!(text, "\n  {} {}(){result}", self.kind, self.name);
        } else {
            let _ = writeln!(text, "\n  {} {}(", self.kind, self.name);
            text += &self.columns();
            let _ = writeln!(text, "  ){result}");
        }
        let _ = writeln!(text, "\n  {}", self.file);
        text
    }

    /// The parameters, a line each: name, type and default, note.
    fn columns(&self) -> String {
        let rows: Vec<[String; 3]> = self.params.iter().map(ParamDoc::row).collect();
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let (names, types) = (width(0), width(1));
        let line = |[name, ty, note]: &[String; 3]| {
            let line = format!("    {name:names$} {ty:types$}   {note}");
            format!("{}\n", line.trim_end())
        };
        rows.iter().map(line).collect()
    }
}

impl ParamDoc {
    /// `beta:`, `real = 0.1,`, `// above 0`
    fn row(&self) -> [String; 3] {
        let default = self
            .default
            .as_ref()
            .map_or(String::new(), |default| format!(" = {default}"));
        let (name, ty) = match &self.ty {
            Some(ty) => (format!("{}:", self.name), format!("{ty}{default},")),
            None => (format!("{}{default},", self.name), String::new()),
        };
        [
            name,
            ty,
            self.note
                .as_ref()
                .map_or(String::new(), |note| format!("// {note}")),
        ]
    }
}
