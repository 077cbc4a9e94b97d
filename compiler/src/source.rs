//! Where text comes from: the one way in which the compiler reads anything.

use std::sync::Arc;

use rlp_grammar::ast::{SourceId, Span};

/// The files a program is made of. Paths are the user's own, as written on the command line or in `use`;
/// those of the standard library begin with `std/`.
pub trait Sources {
    /// The text of a file, or why it cannot be had, in one sentence.
    fn read(&self, path: &str) -> Result<Arc<str>, String>;

    /// The path that `use "written"` in the file `from` means.
    fn resolve(&self, from: &str, written: &str) -> String;

    /// The file of the standard library that defines `KIND.NAME`.
    fn defining(&self, kind: &str, name: &str) -> Option<String>;

    /// The names of all standard blocks of a kind, in alphabetical order.
    fn standard(&self, kind: &str) -> Vec<String>;
}

/// A text that was read.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: String,
    pub text: Arc<str>,
}

/// All texts that were read, by [`SourceId`].
#[derive(Clone, Debug, Default)]
pub struct SourceMap(Vec<Source>);

impl SourceMap {
    pub fn add(&mut self, path: &str, text: Arc<str>) -> SourceId {
        self.0.push(Source {
            path: path.to_string(),
            text,
        });
        SourceId(self.0.len() as u32 - 1)
    }

    pub fn get(&self, id: SourceId) -> &Source {
        &self.0[id.0 as usize]
    }

    /// All of them, in the order in which they were read.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }

    pub fn find(&self, path: &str) -> Option<SourceId> {
        self.0
            .iter()
            .position(|source| source.path == path)
            .map(|index| SourceId(index as u32))
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &str {
        self.get(span.source)
            .text
            .get(span.start as usize..span.end as usize)
            .unwrap_or("")
    }

    /// Line and column (in characters), both from 1, of the start of a span.
    pub fn place(&self, span: Span) -> (usize, usize) {
        let before = self
            .get(span.source)
            .text
            .get(..span.start as usize)
            .unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |tail| tail.chars().count())
            + 1;
        (line, column)
    }
}
