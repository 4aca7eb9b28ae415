//! One section of a lab file: its keys taken one after the other, each mistake with its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Table};
use super::{End, Sited, end};
use crate::document::{Fault, Faulty, in_order};
use crate::lab::spec;
use crate::policy::spec as values;
use crate::policy::spec::Parsed;

/// A table of the file, all of whose keys are known.
pub(super) struct Section<'a, 'i> {
    kind: Table,
    pub(super) table: &'a DeTable<'i>,
    pub(super) at: usize,
}

impl<'a, 'i> Section<'a, 'i> {
    pub(super) fn new(kind: Table, table: &'a DeTable<'i>, at: usize) -> Faulty<Self> {
        let section = Self { kind, table, at };
        for (name, _) in in_order(table) {
            let word = name.get_ref().as_ref();
            if section.knows(word) {
                continue;
            }
            let here = || KEYS.iter().filter(|key| key.table == kind);
            let elsewhere = KEYS.iter().find(|key| key.name == word);
            let advice = match (values::nearest(word, here().map(|key| key.name)), elsewhere) {
                (Some(near), _) => format!("did you mean \"{near}\"?"),
                (None, Some(key)) => format!("\"{word}\" belongs in {}", key.table.heading()),
                (None, None) => {
                    let names: Vec<&str> = here().map(|key| key.name).collect();
                    format!("use one of {}", names.join(", "))
                }
            };
            return Err(Fault {
                at: name.span(),
                reason: format!("unknown key \"{}\"; {advice}", word.escape_debug()),
            });
        }
        Ok(section)
    }

    fn knows(&self, name: &str) -> bool {
        KEYS.iter()
            .any(|key| key.table == self.kind && key.name == name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        debug_assert!(self.knows(name), "{name} is in the table of keys");
        self.table.get(name)
    }

    pub(super) fn here<T>(&self, value: T) -> Sited<T> {
        Sited { value, at: self.at }
    }

    pub(super) fn wrong(&self, name: &str, value: &Spanned<DeValue<'_>>, takes: &str) -> Fault {
        Fault {
            at: value.span(),
            reason: format!("\"{name}\" takes {takes}, not {}", kind_of(value.get_ref())),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Faulty<Option<bool>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Some(*flag)),
            _ => Err(self.wrong(name, value, "true or false")),
        }
    }

    pub(super) fn number<T>(&self, name: &str, parse: fn(&str) -> Parsed<T>) -> Faulty<Option<T>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Integer(number) => {
                let found = sited(value, &number.to_string(), parse);
                found.map(|found| Some(found.value))
            }
            _ => Err(self.wrong(name, value, "a whole number")),
        }
    }

    pub(super) fn text<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Faulty<Option<Sited<T>>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        self.text_of(name, value, "a string", &parse).map(Some)
    }

    fn text_of<T>(
        &self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        takes: &str,
        parse: &impl Fn(&str) -> Parsed<T>,
    ) -> Faulty<Sited<T>> {
        match value.get_ref() {
            DeValue::String(text) => sited(value, text, parse),
            _ => Err(self.wrong(name, value, takes)),
        }
    }

    pub(super) fn list<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Faulty<Vec<Sited<T>>> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(value) => self.list_of(name, value, parse),
        }
    }

    pub(super) fn list_of<T>(
        &self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Faulty<Vec<Sited<T>>> {
        let takes = "a list of strings";
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.wrong(name, value, takes));
        };
        items
            .iter()
            .map(|item| self.text_of(name, item, takes, &parse))
            .collect()
    }

    pub(super) fn one_or_more<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Faulty<Vec<Sited<T>>> {
        match self.get(name).map(Spanned::get_ref) {
            Some(DeValue::String(_)) => Ok(self.text(name, parse)?.into_iter().collect()),
            _ => self.list(name, parse),
        }
    }

    pub(super) fn pairs<K, V>(
        &self,
        name: &str,
        key: impl Fn(&str) -> Parsed<K>,
        parse: impl Fn(&str) -> Parsed<V>,
    ) -> Faulty<Vec<Sited<(K, V)>>> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(name, value, "a table of strings"));
        };
        let mut pairs = Vec::new();
        for (left, right) in in_order(table) {
            let left = sited(left, left.get_ref(), &key)?;
            let right = self.text_of(name, right, "a table of strings", &parse)?;
            pairs.push(left.map(|left| (left, right.value)));
        }
        Ok(pairs)
    }

    pub(super) fn section(&self, name: &str, kind: Table) -> Faulty<Option<Section<'a, 'i>>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(name, value, "a table"));
        };
        Section::new(kind, table, value.span().start).map(Some)
    }

    pub(super) fn named(
        &self,
        name: &str,
        kind: Table,
    ) -> Faulty<Vec<(Sited<String>, Section<'a, 'i>)>> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(name, value, "a table for each name"));
        };
        let mut sections = Vec::new();
        for (key, value) in in_order(table) {
            let name = sited(key, key.get_ref(), spec::name)?;
            let DeValue::Table(inner) = value.get_ref() else {
                return Err(self.wrong(&name.value, value, "a table"));
            };
            sections.push((name, Section::new(kind, inner, key.span().start)?));
        }
        Ok(sections)
    }

    pub(super) fn sections(&self, name: &str, kind: Table) -> Faulty<Vec<Section<'a, 'i>>> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let takes = "a list of tables";
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.wrong(name, value, takes));
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            let DeValue::Table(inner) = item.get_ref() else {
                return Err(self.wrong(name, item, takes));
            };
            sections.push(Section::new(kind, inner, item.span().start)?);
        }
        Ok(sections)
    }

    pub(super) fn ends(&self, name: &str) -> Faulty<Vec<End>> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let takes = "a list of \"NODE\", \"NODE:INTERFACE\" or tables";
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.wrong(name, value, takes));
        };
        let mut ends = Vec::new();
        for item in items.iter() {
            ends.push(match item.get_ref() {
                DeValue::String(text) => {
                    let Sited { value, at } = sited(item, text, spec::end)?;
                    let (node, interface) = value;
                    End {
                        node: Sited { value: node, at },
                        interface: interface.map(|value| Sited { value, at }),
                        addresses: Vec::new(),
                        mac: None,
                        rate: None,
                        shaper: None,
                        delay: None,
                        jitter: None,
                        loss: None,
                    }
                }
                DeValue::Table(inner) => end(&Section::new(Table::End, inner, item.span().start)?)?,
                _ => return Err(self.wrong(name, item, takes)),
            });
        }
        Ok(ends)
    }
}

pub(super) fn sited<T, S>(
    place: &Spanned<S>,
    text: &str,
    parse: impl Fn(&str) -> Parsed<T>,
) -> Faulty<Sited<T>> {
    match parse(text) {
        Ok(value) => Ok(Sited {
            value,
            at: place.span().start,
        }),
        Err(reason) => Err(Fault {
            at: place.span(),
            reason: reason.to_string(),
        }),
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
