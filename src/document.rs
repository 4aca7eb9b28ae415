//! A TOML text with places: where its values stand, and where it is wrong.
//!
//! Pure. What [`crate::policy::parse`] and [`crate::lab`] have in common: neither knows the other's
//! keys, both report the first mistake in the text with its line and column.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::Error;

/// What is wrong, and at which bytes of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: Range<usize>,
    pub(crate) reason: String,
}

/// A value, or what is wrong with the text.
pub(crate) type Faulty<T> = Result<T, Fault>;

/// A key with its value, each with its place.
pub(crate) type Entry<'a, 'i> = (&'a Spanned<Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

impl Fault {
    /// The error that names the place in `text`, the contents of `file`.
    pub(crate) fn into_error(self, file: &Path, text: &str) -> Error {
        let (line, column) = place(text, self.at.start);
        Error::Policy {
            file: file.to_owned(),
            line,
            column,
            reason: self.reason,
        }
    }
}

/// The table that `text` is.
pub(crate) fn table_of(text: &str) -> Faulty<Spanned<DeTable<'_>>> {
    DeTable::parse(text).map_err(|error| Fault {
        at: error.span().unwrap_or(0..0),
        reason: error.message().lines().collect::<Vec<_>>().join("; "),
    })
}

/// A table's entries as they stand in the text, so that the first mistake is the one reported.
pub(crate) fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// Line and column (in characters), both from 1, of byte `offset`.
pub(crate) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before: &str = text
        .char_indices()
        .take_while(|(at, _)| *at < offset)
        .last()
        .map_or("", |(at, c)| &text[..at + c.len_utf8()]);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |line| line.chars().count())
        + 1;
    (line, column)
}
