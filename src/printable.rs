//! Text for people, made so that no terminal acts on what is in it: the one place where that is decided.
//!
//! Names of programs, paths, hosts and interfaces come from outside, from inside the sandbox too. What moves
//! the cursor, sets a title or turns the direction of writing around is written as an escape on its way
//! out: a line of the log as [`Printable`], a field of it as [`Word`], a whole page, JSON included, by
//! [`page`].
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Whether a terminal acts on it: control characters, line separators, and the marks that turn the direction
/// of writing around.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// One line of text.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match acts(c) {
                true => write!(f, "{}", c.escape_default())?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A value among others on a line: in quotes where it would not be one word, so that no name reads as the
/// next field.
pub(crate) struct Word<'a>(pub(crate) &'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apart = |c: char| c.is_whitespace() || c == '"';
        if !self.0.is_empty() && !self.0.contains(apart) {
            return Printable(self.0).fmt(f);
        }
        let text = self.0.replace('\\', "\\\\").replace('"', "\\\"");
        write!(f, "\"{}\"", Printable(&text))
    }
}

/// Text of several lines, which may be JSON: its escapes are JSON's. Lines and tabs stay.
pub(crate) fn page(text: &str) -> Cow<'_, str> {
    let escaped = |c: char| acts(c) && c != '\n' && c != '\t';
    if !text.contains(escaped) {
        return Cow::Borrowed(text);
    }
    let mut page = String::with_capacity(text.len());
    for c in text.chars() {
        match escaped(c) {
            // Writing to a string cannot fail.
            true => drop(write!(page, "\\u{:04x}", u32::from(c))),
            false => page.push(c),
        }
    }
    Cow::Owned(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_word_is_quoted() {
        let shown = |text: &str| Word(text).to_string();
        assert_eq!(shown("a=b:c\\d"), "a=b:c\\d");
        assert_eq!(shown("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(shown(""), "\"\"");
        assert_eq!(shown("/a reason=\"ok\\"), "\"/a reason=\\\"ok\\\\\"");
        assert_eq!(shown("a\nsandbox: b"), "\"a\\nsandbox: b\"");
    }

    #[test]
    fn a_page_keeps_its_lines_and_what_json_it_is() {
        assert_eq!(page("a\tb\nc é"), "a\tb\nc é");
        assert_eq!(
            page("a\u{1b}]0;x\u{7}\rb\n"),
            "a\\u001b]0;x\\u0007\\u000db\n"
        );
        let value = serde_json::json!({ "a": "\u{9b}31m\u{202e}\u{7f}\u{1b}\n" });
        let text = format!("{value:#}\n");
        let page = page(&text);
        assert!(page.contains("\\u009b31m\\u202e\\u007f"), "{page}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&page).unwrap(),
            value
        );
    }
}
