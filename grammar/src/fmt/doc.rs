//! Documents: text with places where lines may break, and their printing at a width.
//!
//! After Wadler's "A prettier printer": a group stands on one line if it fits, else all its own lines break.

/// How long a line of code may be; comments may go beyond.
pub(super) const WIDTH: usize = 120;

const INDENT: usize = 4;

/// Between code and a comment on its line.
const GAP: usize = 1;

/// Where a comment behind code stood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Behind {
    pub(super) column: usize,
    /// The width of its line up to the end of the code.
    pub(super) width: usize,
}

pub(super) enum Doc {
    Text(String),
    /// A line break, or this where the group around it stands on one line.
    Line(&'static str),
    /// A line break in any case.
    Hard,
    /// A line break and an empty line.
    Blank,
    /// Text where the group around it is broken.
    Broken(String),
    /// A comment with its marker, and where it was if it stands behind code. The line ends with it.
    Comment {
        text: String,
        behind: Option<Behind>,
    },
    Group {
        docs: Vec<Doc>,
        broken: bool,
    },
    /// Line breaks in it are indented by one step more.
    Nest(Vec<Doc>),
    /// Line breaks in it return to the column where it begins.
    Align(Vec<Doc>),
}

impl Doc {
    pub(super) fn text(text: impl Into<String>) -> Doc {
        Doc::Text(text.into())
    }

    /// A group that is broken if `broken` says so, or if something in it breaks in any case.
    pub(super) fn group(docs: Vec<Doc>, broken: bool) -> Doc {
        let broken = broken || docs.iter().any(Doc::breaks);
        Doc::Group { docs, broken }
    }

    fn breaks(&self) -> bool {
        match self {
            Doc::Text(_) | Doc::Line(_) | Doc::Broken(_) => false,
            Doc::Hard | Doc::Blank | Doc::Comment { .. } => true,
            Doc::Group { broken, .. } => *broken,
            Doc::Nest(docs) | Doc::Align(docs) => docs.iter().any(Doc::breaks),
        }
    }
}

/// Whether documents that begin a line stand on it whole.
pub(super) fn is_line(docs: &[Doc]) -> bool {
    !docs.iter().any(Doc::breaks) && width(docs).is_some_and(|width| width <= WIDTH)
}

/// How many characters documents take on one line, if they can stand on one.
pub(super) fn width(docs: &[Doc]) -> Option<usize> {
    docs.iter().try_fold(0, |total, doc| {
        let width = match doc {
            Doc::Text(text) => Some(text.chars().count()),
            Doc::Line(flat) => Some(flat.len()),
            Doc::Broken(_) => Some(0),
            Doc::Hard | Doc::Blank | Doc::Comment { .. } => None,
            Doc::Group { docs, .. } | Doc::Nest(docs) | Doc::Align(docs) => width(docs),
        };
        width.map(|width| total + width)
    })
}

/// A printed line: its code, and the comment behind it with where it was.
#[derive(Default)]
struct Line {
    code: String,
    comment: Option<(String, Behind)>,
    /// Whether it is a comment itself, so that nothing can stand behind.
    is_comment: bool,
}

impl Line {
    /// Whether the comment stood behind code of the same width, so that its column was meant for it.
    fn is_as_wide_as_before(&self) -> bool {
        let width = self.code.trim_end().chars().count();
        self.comment
            .as_ref()
            .is_none_or(|(_, behind)| behind.width == width)
    }
}

/// What remains to be printed: how far lines are indented in it, whether they break, and it.
type Rest<'a> = Vec<(usize, bool, &'a Doc)>;

#[derive(Default)]
struct Page {
    lines: Vec<Line>,
    line: Line,
    column: usize,
    /// Line breaks that are due before the next text, and the column after them.
    due: usize,
    margin: usize,
}

/// Prints documents.
pub(super) fn print(docs: &[Doc]) -> String {
    let mut page = Page::default();
    let mut rest: Rest<'_> = docs.iter().rev().map(|doc| (0, true, doc)).collect();
    while let Some((indent, broken, doc)) = rest.pop() {
        match doc {
            Doc::Text(text) => page.text(text),
            Doc::Line(flat) if !broken => page.text(flat),
            Doc::Line(_) | Doc::Hard => page.end_line(1, indent),
            Doc::Blank => page.end_line(2, indent),
            Doc::Broken(text) if broken => page.text(text),
            Doc::Broken(_) => {}
            Doc::Comment { text, behind } => page.comment(text, *behind, indent),
            Doc::Group { docs, broken } => {
                let broken = *broken || !fits(docs, &rest, WIDTH.saturating_sub(page.column()));
                rest.extend(docs.iter().rev().map(|doc| (indent, broken, doc)));
            }
            Doc::Nest(docs) => {
                rest.extend(docs.iter().rev().map(|doc| (indent + INDENT, broken, doc)))
            }
            Doc::Align(docs) => {
                let column = page.column();
                rest.extend(docs.iter().rev().map(|doc| (column, broken, doc)));
            }
        }
    }
    page.finish()
}

/// Whether documents fit on the line, with what follows them up to where a line may break.
fn fits(docs: &[Doc], rest: &Rest<'_>, mut room: usize) -> bool {
    let mut todo: Vec<(bool, &Doc)> = docs.iter().rev().map(|doc| (false, doc)).collect();
    let mut rest = rest.iter().rev();
    while let Some((broken, doc)) = todo
        .pop()
        .or_else(|| rest.next().map(|(_, broken, doc)| (*broken, *doc)))
    {
        let length = match doc {
            Doc::Text(text) => text.chars().count(),
            Doc::Line(flat) if !broken => flat.len(),
            Doc::Broken(text) if broken => text.chars().count(),
            Doc::Broken(_) => 0,
            Doc::Line(_) | Doc::Hard | Doc::Blank | Doc::Comment { .. } => return true,
            Doc::Group {
                docs,
                broken: always,
            } => {
                todo.extend(docs.iter().rev().map(|doc| (broken || *always, doc)));
                0
            }
            Doc::Nest(docs) | Doc::Align(docs) => {
                todo.extend(docs.iter().rev().map(|doc| (broken, doc)));
                0
            }
        };
        if length > room {
            return false;
        }
        room -= length;
    }
    true
}

impl Page {
    /// Where the next text will stand.
    fn column(&self) -> usize {
        if self.due > 0 {
            self.margin
        } else {
            self.column
        }
    }

    fn text(&mut self, text: &str) {
        if self.due > 0 && !text.trim().is_empty() {
            let is_empty = self.lines.is_empty() && self.line.code.is_empty();
            for _ in 0..if is_empty { 0 } else { self.due } {
                self.lines.push(std::mem::take(&mut self.line));
            }
            self.line.code.push_str(&" ".repeat(self.margin));
            self.column = self.margin;
            self.due = 0;
        }
        if self.due == 0 {
            self.line.code.push_str(text);
            self.column += text.chars().count();
        }
    }

    fn end_line(&mut self, due: usize, margin: usize) {
        self.due = self.due.max(due);
        self.margin = margin;
    }

    fn comment(&mut self, text: &str, behind: Option<Behind>, indent: usize) {
        // What comes next without a line break of its own goes on with what was begun, so it stands deeper.
        let margin = if self.due > 0 {
            self.margin
        } else {
            indent + INDENT
        };
        match behind {
            Some(behind) if self.line.comment.is_none() && !self.line.is_comment => {
                self.line.comment = Some((text.to_owned(), behind));
            }
            Some(_) | None => {
                self.end_line(1, margin);
                self.text(text);
                self.line.is_comment = true;
            }
        }
        self.end_line(1, margin);
    }

    /// The lines, with comments behind code aligned.
    fn finish(mut self) -> String {
        if !self.line.code.is_empty() {
            self.lines.push(self.line);
        }
        let columns = comment_columns(&self.lines);
        let mut printed = String::new();
        for (line, column) in self.lines.iter().zip(columns) {
            let code = line.code.trim_end();
            printed.push_str(code);
            if let Some((text, _)) = &line.comment {
                printed.push_str(&" ".repeat(column - code.chars().count()));
                printed.push_str(text);
            }
            printed.push('\n');
        }
        printed
    }
}

/// Where the comment of each line stands. Neighbouring comments share a column: the one they shared before, if it is free
/// and the code before them is as wide as it was. Where code has become shorter, its comment does not stay far to the right.
fn comment_columns(lines: &[Line]) -> Vec<usize> {
    let mut columns = Vec::with_capacity(lines.len());
    while columns.len() < lines.len() {
        let block = &lines[columns.len()..];
        // What an opening bracket holds is a block of its own.
        let opens = |line: &Line| line.code.ends_with(['{', '(', '[']);
        let length = block
            .iter()
            .position(|line| line.comment.is_none() || opens(line))
            .map_or(block.len(), |end| end.max(1));
        let block = &block[..length];
        let free = block
            .iter()
            .map(|line| line.code.trim_end().chars().count() + GAP)
            .max()
            .unwrap_or(0);
        let mut before = block
            .iter()
            .filter_map(|line| line.comment.as_ref().map(|(_, behind)| behind.column));
        let first = before.next().unwrap_or(0);
        let is_shared = before.all(|column| column == first);
        let is_as_before = block.iter().all(Line::is_as_wide_as_before);
        let column = if is_shared && is_as_before {
            free.max(first)
        } else {
            free
        };
        columns.resize(columns.len() + length, column);
    }
    columns
}
