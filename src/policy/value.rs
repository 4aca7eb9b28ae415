//! The value of one key, as it is written in a policy file and in JSON.
//!
//! Pure. A value that is not UTF-8 (a path or variable from the command line) is shown with
//! replacement characters: TOML and JSON cannot hold it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use serde_json::json;

/// The value of one key.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// True or false.
    Flag(bool),
    /// A whole number.
    Count(u64),
    /// A number.
    Number(f64),
    /// A text, path, length of time or size.
    Text(OsString),
    /// Several texts or paths.
    List(Vec<OsString>),
    /// Names with their values.
    Map(Vec<(OsString, OsString)>),
}

impl Value {
    pub(crate) fn text(text: impl Into<OsString>) -> Self {
        Self::Text(text.into())
    }

    /// A list, or `None` for an empty one, with which a layer says nothing.
    pub(crate) fn list(items: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let items: Vec<_> = items.into_iter().collect();
        (!items.is_empty()).then_some(Self::List(items))
    }

    pub(crate) fn paths(paths: &[PathBuf]) -> Option<Self> {
        Self::list(paths.iter().map(|path| path.clone().into_os_string()))
    }

    /// The value as JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Flag(flag) => json!(flag),
            Self::Count(count) => json!(count),
            Self::Number(number) => json!(number),
            Self::Text(text) => json!(text.to_string_lossy()),
            Self::List(items) => items.iter().map(|item| item.to_string_lossy()).collect(),
            Self::Map(pairs) => serde_json::Value::Object(
                pairs
                    .iter()
                    .map(|(name, value)| {
                        (
                            name.to_string_lossy().into_owned(),
                            json!(value.to_string_lossy()),
                        )
                    })
                    .collect(),
            ),
        }
    }

    /// The parts that layers add up: elements of a list, names of a map; none for anything else.
    #[must_use]
    pub fn elements(&self) -> Vec<&OsStr> {
        match self {
            Self::List(items) => items.iter().map(OsString::as_os_str).collect(),
            Self::Map(pairs) => pairs.iter().map(|(name, _)| name.as_os_str()).collect(),
            _ => Vec::new(),
        }
    }
}

/// The value as TOML on one line.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Map(pairs) => {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(name, value)| format!("{} = {}", bare_or_quoted(name), quoted(value)))
                    .collect();
                write!(f, "{{ {} }}", pairs.join(", "))
            }
        }
    }
}

/// `text` as a TOML basic string.
pub(crate) fn quoted(text: &OsStr) -> String {
    let mut quoted = String::from('"');
    for c in text.to_string_lossy().chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // Whatever a terminal would act on, and not only what TOML forbids.
            c if c != '\'' && c.escape_debug().len() > 1 => {
                quoted.push_str(&format!("\\U{:08X}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// `text` for a terminal: nothing in it that moves the cursor or reorders the line.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' => printable.push(c),
            c => printable.extend(c.escape_debug()),
        }
    }
    printable
}

fn bare_or_quoted(name: &OsStr) -> String {
    let text = name.to_string_lossy();
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !text.is_empty() && text.bytes().all(bare) {
        return text.into_owned();
    }
    quoted(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_cannot_drive_a_terminal() {
        assert_eq!(printable("it's \"é\" \\"), "it's \"é\" \\");
        assert_eq!(printable("a\u{1b}[2J\n\u{202e}"), "a\\u{1b}[2J\\n\\u{202e}");
    }

    #[test]
    fn a_value_is_toml_that_reads_back() {
        let odd = "a\"b'\\c\nd\u{1}é\u{202e}";
        let text = format!("k = {}", Value::text(odd));
        assert!(!text.contains(['\u{1}', '\u{202e}']));
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["k"].as_str(), Some(odd));
        let map = Value::Map(vec![("A B".into(), "1".into()), ("C".into(), "".into())]);
        assert_eq!(map.to_string(), r#"{ "A B" = "1", C = "" }"#);
        assert_eq!(Value::Number(2.0).to_string(), "2.0");
    }
}
