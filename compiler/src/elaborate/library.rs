//! Names to definitions: the files of a program, and the blocks that they and the standard library define.

use std::collections::HashMap;
use std::rc::Rc;

use rlp_grammar::ast::{Block, File, Ident, Item, SourceId, Span};

use crate::elaborate::expr::quoted;

use crate::diagnostic::{Diagnostic, Severity, nearest};
use crate::source::{SourceMap, Sources};

/// The modules that hold blocks, named after the kinds.
pub(crate) const KINDS: [&str; 12] = [
    "sampler",
    "reward",
    "advantage",
    "loss",
    "optimizer",
    "transform",
    "schedule",
    "search",
    "metric",
    "fn",
    "model",
    "data",
];

/// How many files a program may consist of.
const MAX_FILES: usize = 1000;

/// A block and the file whose names its body sees.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) block: Block,
    pub(crate) file: SourceId,
    /// `loss.ppo_clip`
    pub(crate) name: String,
}

impl Definition {
    pub(crate) fn kind(&self) -> &str {
        &self.block.kind.name
    }
}

/// A file that was read and parsed.
struct Loaded {
    file: Rc<File>,
    blocks: Vec<Rc<Definition>>,
    /// The place among them by full name, and of the first by its bare name.
    by_name: HashMap<String, usize>,
    by_bare_name: HashMap<String, usize>,
    /// `use … as alias`
    /// `None` where the file could not be read.
    modules: HashMap<String, Option<SourceId>>,
}

impl Loaded {
    /// A block by its full name, `loss.ppo_clip`.
    fn by_name(&self, name: &str) -> Option<&Rc<Definition>> {
        self.by_name.get(name).map(|&place| &self.blocks[place])
    }

    /// The first block of a bare name.
    fn by_bare_name(&self, name: &str) -> Option<&Rc<Definition>> {
        let place = self.by_bare_name.get(name);
        place.map(|&place| &self.blocks[place])
    }
}

/// The place of the first block of each name.
fn index(
    blocks: &[Rc<Definition>],
    name: impl Fn(&Definition) -> &String,
) -> HashMap<String, usize> {
    let mut places = HashMap::new();
    for (place, definition) in blocks.iter().enumerate() {
        places.entry(name(definition).clone()).or_insert(place);
    }
    places
}

/// What was found under a name.
pub(crate) enum Found {
    Block(Rc<Definition>),
    /// Nothing; the nearest names.
    Nothing(Vec<String>),
    /// The file that should define it could not be read or parsed; reported where it is.
    Broken,
}

/// All files read so far.
pub(crate) struct Library<'s> {
    sources: &'s dyn Sources,
    pub(crate) map: SourceMap,
    loaded: HashMap<SourceId, Loaded>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl<'s> Library<'s> {
    pub(crate) fn new(sources: &'s dyn Sources) -> Library<'s> {
        Library {
            sources,
            map: SourceMap::default(),
            loaded: HashMap::new(),
            diagnostics: Vec::new(),
        }
    }

    /// Reads and parses a file and what it `use`s. `asked` is the place that names it, for the message.
    pub(crate) fn load(&mut self, path: &str, asked: Option<Span>) -> Option<SourceId> {
        if let Some(id) = self.map.find(path) {
            return self.loaded.contains_key(&id).then_some(id);
        }
        let text = match self.sources.read(path) {
            Ok(text) => text,
            Err(why) => {
                // The path itself stands in for the text, so that the message has a place even for the main file.
                let span = asked.unwrap_or_else(|| Span {
                    source: self.map.add(path, "".into()),
                    start: 0,
                    end: 0,
                });
                self.diagnostics.push(Diagnostic::error(
                    "unreadable-file",
                    span,
                    format!("`{path}` cannot be read: {why}"),
                ));
                return None;
            }
        };
        let id = self.map.add(path, text.clone());
        if self.loaded.len() >= MAX_FILES {
            let span = asked.unwrap_or_default();
            self.diagnostics.push(Diagnostic::error(
                "too-many-files",
                span,
                format!("more than {MAX_FILES} files are used"),
            ));
            return None;
        }
        let parsed = rlp_grammar::parse(id, &text);
        self.diagnostics
            .extend(parsed.errors.into_iter().map(Diagnostic::from));
        let file = Rc::new(parsed.file);
        let blocks = self.definitions(id, &file);
        self.loaded.insert(
            id,
            Loaded {
                file: file.clone(),
                by_name: index(&blocks, |definition| &definition.name),
                by_bare_name: index(&blocks, |definition| &definition.block.name.name),
                blocks,
                modules: HashMap::new(),
            },
        );
        for item in &file.items {
            let Item::Use(used) = item else { continue };
            let target = self.sources.resolve(path, &used.path);
            let module = self.load(&target, Some(used.path_span));
            let Some(loaded) = self.loaded.get_mut(&id) else {
                continue;
            };
            if loaded
                .modules
                .insert(used.alias.name.clone(), module)
                .is_some()
            {
                let message = format!("`{}` is used as the name of two files", used.alias.name);
                let span = used.alias.span;
                self.diagnostics
                    .push(Diagnostic::error("duplicate-definition", span, message));
            }
        }
        Some(id)
    }

    fn definitions(&mut self, id: SourceId, file: &File) -> Vec<Rc<Definition>> {
        let mut blocks: Vec<Rc<Definition>> = Vec::new();
        let mut first: HashMap<String, Span> = HashMap::new();
        for item in &file.items {
            let Item::Block(block) = item else { continue };
            let name = format!("{}.{}", block.kind.name, block.name.name);
            if !KINDS.contains(&block.kind.name.as_str()) {
                self.unknown_kind(&block.kind);
                continue;
            }
            if let Some(&first) = first.get(&name) {
                let diagnostic = Diagnostic::error(
                    "duplicate-definition",
                    block.name.span,
                    format!("`{name}` is defined twice"),
                )
                .here("again here")
                .label(first, "first here");
                self.diagnostics.push(diagnostic);
                continue;
            }
            first.insert(name.clone(), block.name.span);
            blocks.push(Rc::new(Definition {
                block: block.clone(),
                file: id,
                name,
            }));
        }
        blocks
    }

    fn unknown_kind(&mut self, kind: &Ident) {
        let message = format!("there is no kind of block `{}`", kind.name);
        let near: Vec<String> = nearest(&kind.name, KINDS)
            .into_iter()
            .map(str::to_string)
            .collect();
        let diagnostic = Diagnostic::error("unknown-kind", kind.span, message);
        self.diagnostics.push(match near.first() {
            Some(best) => diagnostic
                .help(format!("did you mean {}?", quoted(&near)))
                .fix(kind.span, best.clone()),
            None => diagnostic.help(format!("there are {}", KINDS.join(", "))),
        });
    }

    pub(crate) fn file(&self, id: SourceId) -> Rc<File> {
        self.loaded[&id].file.clone()
    }

    pub(crate) fn blocks(&self, id: SourceId) -> Vec<Rc<Definition>> {
        self.loaded[&id].blocks.clone()
    }

    /// Whether `name` is the alias of a used file in `file`, and which.
    pub(crate) fn module(&self, file: SourceId, name: &str) -> Option<Option<SourceId>> {
        self.loaded.get(&file)?.modules.get(name).copied()
    }

    pub(crate) fn module_names(&self, file: SourceId) -> Vec<String> {
        let mut names: Vec<String> = self
            .loaded
            .get(&file)
            .map(|loaded| loaded.modules.keys().cloned().collect())
            .unwrap_or_default();
        names.sort();
        names
    }

    /// A block by its bare name in the file itself.
    pub(crate) fn local(&self, file: SourceId, name: &str) -> Option<Rc<Definition>> {
        self.loaded.get(&file)?.by_bare_name(name).cloned()
    }

    /// `KIND.NAME`: the file's own block of that kind, or the standard library's.
    pub(crate) fn standard(&mut self, file: SourceId, kind: &str, name: &str) -> Found {
        let full = format!("{kind}.{name}");
        let own = self
            .loaded
            .get(&file)
            .and_then(|loaded| loaded.by_name(&full));
        if let Some(own) = own {
            return Found::Block(own.clone());
        }
        let Some(path) = self.sources.defining(kind, name) else {
            let mut names = self.sources.standard(kind);
            names.extend(
                self.loaded
                    .get(&file)
                    .into_iter()
                    .flat_map(|loaded| &loaded.blocks)
                    .filter(|definition| definition.kind() == kind)
                    .map(|definition| definition.block.name.name.clone()),
            );
            let mut near: Vec<String> = nearest(name, names.iter().map(String::as_str))
                .into_iter()
                .map(|near| format!("{kind}.{near}"))
                .collect();
            // The right name in the wrong module.
            near.extend(
                KINDS
                    .iter()
                    .filter(|other| **other != kind && self.sources.defining(other, name).is_some())
                    .map(|other| format!("{other}.{name}")),
            );
            return Found::Nothing(near);
        };
        let Some(id) = self.load(&path, None) else {
            return Found::Broken;
        };
        match self.loaded[&id].by_name(&full) {
            Some(definition) => Found::Block(definition.clone()),
            None => Found::Broken,
        }
    }

    /// The full names of standard blocks called `name`, in every module.
    pub(crate) fn modules_with(&self, name: &str) -> Vec<String> {
        KINDS
            .iter()
            .filter(|kind| self.sources.defining(kind, name).is_some())
            .map(|kind| format!("{kind}.{name}"))
            .collect()
    }

    /// `ALIAS.NAME` of a used file.
    pub(crate) fn used(&self, module: SourceId, name: &str) -> Found {
        let loaded = &self.loaded[&module];
        match loaded.by_bare_name(name) {
            Some(definition) => Found::Block(definition.clone()),
            None => Found::Nothing(
                nearest(
                    name,
                    loaded
                        .blocks
                        .iter()
                        .map(|definition| definition.block.name.name.as_str()),
                )
                .into_iter()
                .map(str::to_string)
                .collect(),
            ),
        }
    }

    /// Whether a file has an error of its own (so that blocks of it are not trusted further).
    pub(crate) fn is_broken(&self, file: SourceId) -> bool {
        self.diagnostics.iter().any(|diagnostic| {
            diagnostic.severity == Severity::Error && diagnostic.span().source == file
        })
    }
}
