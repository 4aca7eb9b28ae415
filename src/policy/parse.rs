//! Reads one policy file into a layer, and says exactly where it is wrong.
//!
//! Pure, and fuzzed: it must not panic for any text. Which keys there are is [`super::key`]'s;
//! how values are written is [`super::spec`]'s; this file knows TOML and places.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::Layer;
use super::key::{self, Key};
use super::spec::{self, Parsed};
use super::value::Value;
use crate::document::{Entry, Fault, Faulty, in_order, place, table_of};
use crate::error::Result;

/// The layer that `text`, the contents of `file`, describes.
///
/// # Errors
/// [`crate::Error::Policy`] with line and column: for text that is no TOML, an unknown section or key (with
/// the nearest known one), a value of the wrong type, or a value that makes no sense.
pub fn parse(file: &Path, text: &str) -> Result<Layer> {
    read(text).map_err(|fault| fault.into_error(file, text))
}

fn read(text: &str) -> Faulty<Layer> {
    let table = table_of(text)?;
    let mut reading = Reading {
        layer: Layer::default(),
        breaks: text.match_indices('\n').map(|(at, _)| at).collect(),
    };
    for (name, value) in in_order(table.get_ref()) {
        if let Some(key) = key::find("", name.get_ref()) {
            reading.set(key, value)?;
            continue;
        }
        if !key::sections().any(|section| section == name.get_ref().as_ref()) {
            return Err(unknown(name, ""));
        }
        let DeValue::Table(section) = value.get_ref() else {
            return Err(Fault {
                at: value.span(),
                reason: format!(
                    "\"{0}\" is a section; write [{0}] on a line",
                    name.get_ref()
                ),
            });
        };
        for (inner, value) in in_order(section) {
            let Some(key) = key::find(name.get_ref(), inner.get_ref()) else {
                return Err(unknown(inner, name.get_ref()));
            };
            reading.set(key, value)?;
        }
    }
    let mut layer = reading.layer;
    layer.limits.sort_by_key(|limit| limit.resource);
    let extends = table.get_ref().get("extends");
    layer.extends_at = extends.map(|value| place(text, value.span().start));
    Ok(layer)
}

/// A layer being read, and where the lines of its text end.
struct Reading {
    layer: Layer,
    breaks: Vec<usize>,
}

impl Reading {
    fn set(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) -> Faulty<()> {
        let written = Written::from(value);
        let item = Item {
            key,
            value: &written,
        };
        (key.read)(&mut self.layer, &item)?;
        let path = key.path();
        for (element, at) in item.elements() {
            let line = self.line(at.start);
            self.layer.lines.insert(format!("{path}={element}"), line);
        }
        let line = self.line(value.span().start);
        self.layer.lines.insert(path, line);
        Ok(())
    }

    /// The line, from 1, of byte `offset`.
    fn line(&self, offset: usize) -> usize {
        self.breaks.partition_point(|at| *at < offset) + 1
    }
}

fn unknown(name: &Spanned<Cow<'_, str>>, section: &str) -> Fault {
    let word = name.get_ref().as_ref();
    let shown = word.escape_debug();
    let here: Vec<&str> = key::KEYS
        .iter()
        .filter(|key| key.section == section)
        .map(|key| key.name)
        .chain(key::sections().filter(|_| section.is_empty()))
        .collect();
    let advice = match spec::nearest(word, here.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => match key::KEYS.iter().find(|key| key.name == word) {
            Some(key) if key.section.is_empty() => {
                format!("\"{word}\" stands before the first section")
            }
            Some(key) => format!("\"{word}\" belongs in [{}]", key.section),
            None => format!("use one of {}", here.join(", ")),
        },
    };
    Fault {
        at: name.span(),
        reason: format!("unknown key \"{shown}\"; {advice}"),
    }
}

/// A value as somebody wrote it, and at which bytes of the text.
pub(crate) struct Written<'i> {
    form: Form<'i>,
    at: Range<usize>,
}

/// What a value looks like before its key has said what it takes.
enum Form<'i> {
    Flag(bool),
    Number(String),
    Text(Cow<'i, str>),
    List(Vec<Written<'i>>),
    Table(Vec<(Written<'i>, Written<'i>)>),
    Date,
}

impl<'i> From<&'i Spanned<DeValue<'_>>> for Written<'i> {
    fn from(value: &'i Spanned<DeValue<'_>>) -> Self {
        let form = match value.get_ref() {
            DeValue::Boolean(flag) => Form::Flag(*flag),
            DeValue::Integer(number) => Form::Number(
                i128::from_str_radix(number.as_str(), number.radix())
                    .map_or_else(|_| number.to_string(), |number| number.to_string()),
            ),
            DeValue::Float(number) => Form::Number(number.as_str().to_owned()),
            DeValue::String(text) => Form::Text(text.as_ref().into()),
            DeValue::Array(items) => Form::List(items.iter().map(Self::from).collect()),
            DeValue::Table(table) => {
                let pair = |(name, value): Entry<'i, '_>| {
                    let name = Self {
                        form: Form::Text(name.get_ref().as_ref().into()),
                        at: name.span(),
                    };
                    (name, Self::from(value))
                };
                Form::Table(in_order(table).into_iter().map(pair).collect())
            }
            DeValue::Datetime(_) => Form::Date,
        };
        Self {
            form,
            at: value.span(),
        }
    }
}

impl<'i> Written<'i> {
    /// A value that stands in no text.
    fn nowhere(form: Form<'i>) -> Self {
        Self { form, at: 0..0 }
    }

    fn text(&self) -> Option<&str> {
        match &self.form {
            Form::Text(text) => Some(text),
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self.form {
            Form::Text(_) => "a string",
            Form::Number(_) => "a number",
            Form::Flag(_) => "true or false",
            Form::Date => "a date",
            Form::List(_) => "a list",
            Form::Table(_) => "a table",
        }
    }
}

/// One key's value, to be read as what the key takes.
pub(crate) struct Item<'a, 'i> {
    pub(crate) key: &'a Key,
    value: &'a Written<'i>,
}

impl Item<'_, '_> {
    fn wrong(&self, value: &Written<'_>, takes: &str) -> Fault {
        Fault {
            at: value.at.clone(),
            reason: format!("\"{}\" takes {takes}, not {}", self.key.name, value.kind()),
        }
    }

    fn at<T>(&self, value: &Written<'_>, parsed: Parsed<T>) -> Faulty<T> {
        parsed.map_err(|reason| Fault {
            at: value.at.clone(),
            reason: format!("\"{}\": {reason}", self.key.name),
        })
    }

    /// True or false.
    pub(crate) fn flag(&self) -> Faulty<bool> {
        match self.value.form {
            Form::Flag(flag) => Ok(flag),
            _ => Err(self.wrong(self.value, "true or false")),
        }
    }

    /// A string that `parse` understands.
    pub(crate) fn text<T>(&self, parse: impl Fn(&str) -> Parsed<T>) -> Faulty<T> {
        match self.value.text() {
            Some(text) => self.at(self.value, parse(text)),
            None => Err(self.wrong(self.value, "a string")),
        }
    }

    /// A string or a number, which `parse` understands as text.
    pub(crate) fn number<T>(&self, parse: impl Fn(&str) -> Parsed<T>) -> Faulty<T> {
        match &self.value.form {
            Form::Text(text) => self.at(self.value, parse(text)),
            Form::Number(text) => self.at(self.value, parse(text)),
            _ => Err(self.wrong(self.value, "a number or a string")),
        }
    }

    /// A list of strings, each of which `parse` understands.
    pub(crate) fn list<T>(&self, parse: impl Fn(&OsStr) -> Parsed<T>) -> Faulty<Vec<T>> {
        let takes = "a list of strings";
        let Form::List(items) = &self.value.form else {
            return Err(self.wrong(self.value, takes));
        };
        let item = |item: &Written<'_>| {
            let text = item.text().ok_or_else(|| self.wrong(item, takes))?;
            self.at(item, parse(OsStr::new(text)))
        };
        items.iter().map(item).collect()
    }

    /// A table of strings; `parse` gets name and value.
    pub(crate) fn pairs<T>(&self, parse: impl Fn(&OsStr, &OsStr) -> Parsed<T>) -> Faulty<Vec<T>> {
        let takes = "a table of strings";
        let Form::Table(table) = &self.value.form else {
            return Err(self.wrong(self.value, takes));
        };
        let pair = |(name, value): &(Written<'_>, Written<'_>)| {
            let (Some(name), Some(text)) = (name.text(), value.text()) else {
                return Err(self.wrong(value, takes));
            };
            self.at(value, parse(OsStr::new(name), OsStr::new(text)))
        };
        table.iter().map(pair).collect()
    }

    /// The parts of a list or table, with their places.
    fn elements(&self) -> Vec<(String, Range<usize>)> {
        let part = |part: &Written<'_>| Some((part.text()?.to_owned(), part.at.clone()));
        match &self.value.form {
            Form::List(items) => items.iter().filter_map(part).collect(),
            Form::Table(table) => table.iter().filter_map(|(name, _)| part(name)).collect(),
            _ => Vec::new(),
        }
    }
}

/// What a value and the parts of a line of a listing are set apart by.
const APART: char = '\t';

/// `layer` as lines of keys with their values: what a shipped profile says, without the TOML.
///
/// Reading TOML takes a thirtieth of a launch, this next to nothing.
#[must_use]
pub fn to_listing(layer: &Layer) -> String {
    let mut listing = String::new();
    for key in key::KEYS {
        let Some(value) = key.value(layer) else {
            continue;
        };
        let (kind, parts): (&str, Vec<String>) = match &value {
            Value::Flag(flag) => ("flag", vec![flag.to_string()]),
            Value::Count(count) => ("number", vec![count.to_string()]),
            Value::Number(number) => ("number", vec![number.to_string()]),
            Value::Text(text) => ("text", vec![text.to_string_lossy().into_owned()]),
            Value::List(items) => (
                "list",
                items
                    .iter()
                    .map(|item| item.to_string_lossy().into_owned())
                    .collect(),
            ),
            Value::Map(pairs) => (
                "table",
                pairs
                    .iter()
                    .flat_map(|(name, value)| [name, value])
                    .map(|part| part.to_string_lossy().into_owned())
                    .collect(),
            ),
        };
        listing.push_str(&key.path());
        for part in std::iter::once(kind.to_owned()).chain(parts) {
            listing.push(APART);
            listing.push_str(&part);
        }
        listing.push('\n');
    }
    listing
}

/// The layer of [`to_listing`]; `None` for a text that it did not make.
#[must_use]
pub fn from_listing(listing: &str) -> Option<Layer> {
    let mut layer = Layer::default();
    for line in listing.lines() {
        let mut words = line.split(APART);
        let key = key::find_path(words.next()?)?;
        let kind = words.next()?;
        let mut texts = words.map(|word| Written::nowhere(Form::Text(word.into())));
        let value = match kind {
            "flag" => Written::nowhere(Form::Flag(texts.next()?.text()? == "true")),
            "number" => Written::nowhere(Form::Number(texts.next()?.text()?.to_owned())),
            "text" => texts.next()?,
            "list" => Written::nowhere(Form::List(texts.collect())),
            "table" => {
                let mut pairs = Vec::new();
                while let Some(name) = texts.next() {
                    pairs.push((name, texts.next()?));
                }
                Written::nowhere(Form::Table(pairs))
            }
            _ => return None,
        };
        (key.read)(&mut layer, &Item { key, value: &value }).ok()?;
    }
    layer.limits.sort_by_key(|limit| limit.resource);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        parse(Path::new("p.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn every_mistake_is_reported_at_its_place() {
        let table = [
            (
                "[network]\n  mod = \"fds\"",
                "p.toml:2:3: unknown key \"mod\"; did you mean \"mode\"?",
            ),
            (
                "[netwrok]\nmode = \"fds\"",
                "p.toml:1:2: unknown key \"netwrok\"; did you mean \"network\"?",
            ),
            (
                "hide = []",
                "p.toml:1:1: unknown key \"hide\"; \"hide\" belongs in [filesystem]",
            ),
            (
                "[network]\nextends = \"default\"",
                "p.toml:2:1: unknown key \"extends\"; \"extends\" stands before the first section",
            ),
            (
                "[namespaces]\npid = \"no\"",
                "p.toml:2:7: \"pid\" takes true or false, not a string",
            ),
            (
                "[filesystem]\nhide = [\n  \"/é\", 7,\n]",
                "p.toml:3:9: \"hide\" takes a list of strings, not a number",
            ),
            (
                "[filesystem]\nproc = \"won\"",
                "p.toml:2:8: \"proc\": no view is called \"won\"; did you mean \"own\"? use one of own, host",
            ),
            (
                "network = 1",
                "p.toml:1:11: \"network\" is a section; write [network] on a line",
            ),
            (
                "[limits]\nnofile = \"20:10\"",
                "p.toml:2:10: \"nofile\": the soft limit cannot be above the hard limit",
            ),
            (
                "[firewall]\nallow = []",
                "p.toml:1:2: unknown key \"firewall\"; use one of description, extends, require, \
                 network, egress, namespaces, filesystem, process, environment, limits, cgroup",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(refusal(text), expected, "{text}");
        }
    }

    #[test]
    fn text_that_is_no_toml_is_reported_at_its_place() {
        assert!(refusal("a = 1\nb = = 2").starts_with("p.toml:2:5: "));
        assert!(refusal("[network]\nmode=\"fds\"\nmode=\"fds\"").starts_with("p.toml:3:1: "));
        assert!(!refusal("x = \"").contains('\n'));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,300}") {
            let _ = parse(Path::new("p"), &text);
        }

        #[test]
        fn no_value_of_a_known_key_makes_it_panic(
            index in 0..key::KEYS.len(),
            value in r#"[-0-9a-z"\[\]{}=.,:\\~ é]{0,40}"#,
        ) {
            let key = &key::KEYS[index];
            let section = if key.section.is_empty() { String::new() } else { format!("[{}]\n", key.section) };
            let _ = parse(Path::new("p"), &format!("{section}{} = {value}", key.name));
            let _ = parse(Path::new("p"), &format!("{section}{} = \"{value}\"", key.name));
        }
    }
}
