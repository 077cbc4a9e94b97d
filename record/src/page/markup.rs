//! HTML that is written piece by piece.

/// A page so far.
#[derive(Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Markup of our own: constants, and what was escaped.
    pub(super) fn raw(&mut self, markup: &str) -> &mut Markup {
        self.0 += markup;
        self
    }

    /// A text of whatever origin.
    pub(super) fn text(&mut self, text: &str) -> &mut Markup {
        self.0 += &escaped(text);
        self
    }

    /// An element that holds a text.
    pub(super) fn element(&mut self, tag: &str, class: &str, text: &str) -> &mut Markup {
        let class = match class {
            "" => String::new(),
            class => format!(" class=\"{class}\""),
        };
        self.raw(&format!("<{tag}{class}>"))
            .text(text)
            .raw(&format!("</{tag}>"))
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A text for between tags or between double quotes. What no page may hold is shown as its number.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            '\n' | '\t' => safe.push(letter),
            // Also those that turn the direction of what follows.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe += &format!("⟨{:X}⟩", u32::from(letter));
            }
            control if control.is_control() => safe += &format!("⟨{:X}⟩", u32::from(control)),
            other => safe.push(other),
        }
    }
    safe
}
