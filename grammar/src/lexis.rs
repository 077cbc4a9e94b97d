//! What single words and characters are: names, escapes, and what other languages have and this one has not.

/// The words that begin an item.
pub(crate) const ITEM_WORDS: &[&str] = &[
    "use",
    "test",
    "pipeline",
    "native",
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

/// The words that begin a statement or a clause and can be nothing else.
pub(crate) const STATEMENT_WORDS: &[&str] = &[
    "let", "stage", "train", "report", "assert", "minimize", "maximize",
];

/// The words that begin a clause of `train` and may be names elsewhere.
pub(crate) const CLAUSE_WORDS: &[&str] = &[
    "steps",
    "epochs",
    "minibatch",
    "micro_batch",
    "clip_norm",
    "on_nonfinite",
    "evaluate",
];

/// The words that are never names.
pub(crate) const RESERVED: &[&str] = &[
    "let", "stage", "train", "report", "assert", "minimize", "maximize", "with", "if", "else",
    "and", "or", "not", "true", "false",
];

/// What other languages write, and what to write instead.
const FOREIGN: &[(&str, &str)] = &[
    ("&&", "write `and`"),
    ("&", "write `and`"),
    ("||", "write `or`"),
    ("**", "write `^` for a power"),
    ("+=", "write `x <- x + …` for the next value of `x`"),
    ("-=", "write `x <- x - …` for the next value of `x`"),
    ("*=", "write `x <- x * …` for the next value of `x`"),
    ("/=", "write `x <- x / …` for the next value of `x`"),
    (":=", "write `let x = …`"),
    (
        "=>",
        "write `->` before a result, `|x| …` for a function of `x`",
    ),
    ("?", "write `if c { a } else { b }`"),
    ("−", "write `-`"),
    ("–", "write `-`"),
    ("—", "write `-`"),
    ("×", "write `*`"),
    ("·", "write `*`"),
    ("÷", "write `/`"),
    ("≤", "write `<=`"),
    ("≥", "write `>=`"),
    ("≠", "write `!=`"),
    ("→", "write `->`"),
    ("←", "write `<-`"),
];

/// Something that is not part of the language.
pub(crate) struct Foreign {
    pub(crate) length: usize,
    pub(crate) help: &'static str,
    /// Whether the text reads well without it.
    pub(crate) can_go: bool,
}

impl Foreign {
    /// What a text that is no word, number, text or bracket begins with, unless it is a mark of the language.
    pub(crate) fn at(rest: &str) -> Option<Foreign> {
        if let Some((mark, help)) = FOREIGN.iter().find(|(mark, _)| rest.starts_with(mark)) {
            let (length, can_go) = (mark.len(), false);
            return Some(Foreign {
                length,
                help,
                can_go,
            });
        }
        let character = rest.chars().next()?;
        let one = character.len_utf8();
        let (length, help, can_go) = match character {
            '+' | '-' | '*' | '/' | '^' | '=' | '<' | '>' | ':' | ',' | '.' | '|' | '@' => {
                return None;
            }
            '!' | '~' if rest[1..].starts_with('=') => return None,
            '!' | '~' => (1, "write `not`", false),
            ';' => (
                1,
                "leave it out: a statement ends where the next begins",
                true,
            ),
            '#' => (line_length(rest), "a comment begins with `//`", true),
            '\'' => {
                let line = &rest[1..line_length(rest)];
                let length = line.find('\'').map_or(1, |length| length + 2);
                (length, "a text stands in double quotes", false)
            }
            '“' | '”' | '„' | '‘' | '’' => (
                line_length(rest),
                "a text stands in double quotes: `\"`",
                false,
            ),
            '\u{200b}' | '\u{feff}' => (one, "leave it out", true),
            _ if character.is_whitespace() => (one, "write a plain space", true),
            _ if character.is_alphabetic() => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let help = "names are made of the letters a to z, Greek letters, digits and `_`";
                (end.unwrap_or(rest.len()), help, false)
            }
            _ => (one, "", false),
        };
        Some(Foreign {
            length,
            help,
            can_go,
        })
    }
}

fn line_length(rest: &str) -> usize {
    let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
    line.trim_end().len()
}

pub(crate) fn is_word_start(character: char) -> bool {
    character.is_ascii_alphabetic() || character == '_' || ('Α'..='ω').contains(&character)
}

pub(crate) fn is_word_char(character: char) -> bool {
    is_word_start(character) || character.is_ascii_digit()
}

pub(crate) fn word_length(rest: &str) -> usize {
    rest.find(|character| !is_word_char(character))
        .unwrap_or(rest.len())
}

/// What the inside of a text literal means, and the byte ranges of the escapes that mean nothing.
pub(crate) fn unescape(literal: &str) -> (String, Vec<(usize, usize)>) {
    let mut meaning = String::with_capacity(literal.len());
    let mut bad = Vec::new();
    let mut rest = literal;
    while let Some(place) = rest.find('\\') {
        meaning.push_str(&rest[..place]);
        let start = literal.len() - rest.len() + place;
        let escape = &rest[place + 1..];
        let letter = escape.chars().next();
        let (length, character) = match letter {
            Some('n') => (1, Some('\n')),
            Some('t') => (1, Some('\t')),
            Some('"') => (1, Some('"')),
            Some('\\') => (1, Some('\\')),
            Some('u') => code_point(escape),
            Some(other) => (other.len_utf8(), None),
            None => (0, None),
        };
        match character {
            Some(character) => meaning.push(character),
            None => bad.push((start, start + 1 + length)),
        }
        rest = &escape[length..];
    }
    meaning.push_str(rest);
    (meaning, bad)
}

/// The length of `u{…}` and the character it names.
fn code_point(escape: &str) -> (usize, Option<char>) {
    let Some(digits) = escape
        .strip_prefix("u{")
        .and_then(|rest| rest.split_once('}'))
        .map(|(digits, _)| digits)
    else {
        return (1, None);
    };
    let character = u32::from_str_radix(digits, 16)
        .ok()
        .and_then(char::from_u32);
    (digits.len() + 3, character)
}

/// What to write instead of a word that other languages have.
pub(crate) fn borrowed_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "return" => "the last expression of a body is its result: leave out `return`",
        "elif" | "elsif" | "elseif" => "write `else if`",
        "then" => "write `if c { a } else { b }`",
        "def" | "function" | "func" | "lambda" => {
            "a helper is a block: `fn name(x: real) -> real { … }`"
        }
        "var" | "const" | "val" | "mut" => "a name is given by `let x = …`",
        "for" | "while" | "loop" => {
            "what repeats is a dimension, a reduction or `scan(x, over: token, …)`"
        }
        "import" | "from" | "include" => "write `use \"mine.rlp\" as mine`",
        "True" => "write `true`",
        "False" => "write `false`",
        "is" => "write `==`",
        _ => return None,
    })
}

/// The known word that a mistyped one is nearest to, if it is near.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let allowed = if word.len() < 4 { 1 } else { 2 };
    let distances = known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate));
    distances
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be inserted, left out or replaced to make one word of the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for column in 0..to.len() {
            let replaced = diagonal + usize::from(letter != to[column]);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
