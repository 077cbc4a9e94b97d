//! Documentation of blocks, from their own text: for the terminal, for programs, and the table of papers.

mod papers;

use std::fmt::Write;

use rlp_grammar::ast::{Block, Item, Param, SourceId, Span, TypeExpr, TypeKind};
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
    /// The fields of a result that is a record, those of records in it by their full names (`a.text`).
    pub fields: Vec<ParamDoc>,
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
    /// Whether it is a `param` of a transform, which is trained.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub trained: bool,
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
        let code = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default());
        let words = code.flat_map(str::split_whitespace).collect::<Vec<_>>();
        words.join(" ").replace(", }", " }")
    };
    let default = |span: Span| {
        let text = text.get(span.start as usize..span.end as usize);
        let words = text.unwrap_or_default().split_whitespace();
        words.collect::<Vec<_>>().join(" ")
    };
    let param = |param: &Param| ParamDoc {
        name: param.name.name.clone(),
        ty: param.ty.as_ref().map(|ty| written(ty.span)),
        default: param.default.as_ref().map(|value| default(value.span)),
        note: param.note.as_ref().map(|note| note.trim().to_string()),
        trained: param.trainable,
    };
    BlockDoc {
        name: block.name.name.clone(),
        kind: block.kind.name.clone(),
        doc: block.doc.join("\n"),
        source: after(&block.doc, "Source:"),
        params: block.params.iter().map(param).collect(),
        fields: block
            .result
            .as_ref()
            .map_or(Vec::new(), |result| fields("", result, text, &written)),
        result: block.result.as_ref().map(|result| written(result.span)),
        file: path.to_string(),
    }
}

/// The fields of a record, each with the comment behind it.
fn fields(
    prefix: &str,
    ty: &TypeExpr,
    text: &str,
    written: &dyn Fn(Span) -> String,
) -> Vec<ParamDoc> {
    let TypeKind::Record(named) = &ty.kind else {
        return Vec::new();
    };
    let documented = named.iter().flat_map(|(name, ty)| {
        let name = format!("{prefix}{}", name.name);
        if let TypeKind::Record(_) = ty.kind {
            return fields(&format!("{name}."), ty, text, written);
        }
        let behind = text.get(ty.span.end as usize..).unwrap_or_default();
        let behind = behind.lines().next().unwrap_or_default();
        let note = behind.trim_start_matches(',').trim().strip_prefix("//");
        vec![ParamDoc {
            name,
            ty: Some(written(ty.span)),
            default: None,
            note: note.map(|note| note.trim().to_string()),
            trained: false,
        }]
    });
    documented.collect()
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
        let params = match self.params.is_empty() {
            true => String::new(),
            false => format!("\n{}  ", columns(&self.params)),
        };
        let _ = write!(text, "\n  {} {}({params})", self.kind, self.name);
        let _ = match (&self.result, self.fields.as_slice()) {
            (None, _) => writeln!(text),
            (Some(result), []) => writeln!(text, " -> {result}"),
            (Some(_), fields) => writeln!(text, " -> {{\n{}  }}", columns(fields)),
        };
        let _ = writeln!(text, "\n  {}", self.file);
        text
    }
}

/// Parameters or fields, a line each: name, type and default, note.
fn columns(params: &[ParamDoc]) -> String {
    let rows: Vec<[String; 3]> = params.iter().map(ParamDoc::row).collect();
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

impl ParamDoc {
    /// `beta:`, `real = 0.1,`, `// above 0`
    fn row(&self) -> [String; 3] {
        let default = self
            .default
            .as_ref()
            .map_or(String::new(), |default| format!(" = {default}"));
        let word = if self.trained { "param " } else { "" };
        let (name, ty) = match &self.ty {
            Some(ty) => (format!("{word}{}:", self.name), format!("{ty}{default},")),
            None => (format!("{word}{}{default},", self.name), String::new()),
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
