//! Which layer has said what.

use std::ffi::OsString;

use super::combine;
use crate::error::Result;
use crate::policy::Layer;
use crate::policy::key::{KEYS, Key};
use crate::policy::layer::Origin;
use crate::policy::value::Value;

/// Where one key's value came from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explained {
    /// The key.
    pub key: &'static Key,
    /// Its value in the merged policy.
    pub value: Option<Value>,
    /// Whose word it is; for lists and tables see `elements`.
    pub source: Source,
    /// Each element of a list, or name of a table, and whose word it is.
    pub elements: Vec<(OsString, Source)>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

/// Whose word something is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Nobody's: the value that stands when no layer says anything.
    Default,
    /// It follows from another key (a shared namespace).
    Follows,
    /// A layer's, with the line in its file.
    Layer(Origin, Option<usize>),
}

/// Each key's value in the policy that `layers` make, and the layer that it came from.
///
/// # Errors
/// As [`merge`](super::merge).
pub fn explain(layers: &[(Origin, Layer)]) -> Result<Vec<Explained>> {
    let merged = Layer::from(&combine(layers)?);
    let explained = KEYS.iter().filter(|key| key.name != "extends").map(|key| {
        let value = key.value(&merged);
        let elements = value.as_ref().map_or_else(Vec::new, |value| {
            value
                .elements()
                .into_iter()
                .map(|element| (element.to_owned(), element_source(layers, key, element)))
                .collect()
        });
        let said = layers
            .iter()
            .rev()
            .find_map(|(origin, layer)| Some((origin, layer, key.value(layer)?)));
        let source = match said {
            _ if key.kind.adds_up() && value.is_none() => Source::Default,
            None if value == key.default() => Source::Default,
            Some((origin, layer, said)) if key.kind.adds_up() || Some(&said) == value.as_ref() => {
                let line = layer.lines.get(&key.path()).copied();
                Source::Layer(origin.clone(), line)
            }
            _ => Source::Follows,
        };
        Explained {
            key,
            value,
            source,
            elements,
        }
    });
    Ok(explained.collect())
}

/// The layer that brought `element`: the last one for a table, the first one for a list.
fn element_source(layers: &[(Origin, Layer)], key: &Key, element: &std::ffi::OsStr) -> Source {
    let has = |(_, layer): &&(Origin, Layer)| {
        key.value(layer)
            .is_some_and(|value| value.elements().contains(&element))
    };
    let found = match key.kind {
        crate::policy::key::Kind::Table => layers.iter().rev().find(has),
        _ => layers.iter().find(has),
    };
    let Some((origin, layer)) = found else {
        return Source::Default;
    };
    let place = format!("{}={}", key.path(), element.to_string_lossy());
    let line = layer.lines.get(&place).copied();
    Source::Layer(origin.clone(), line)
}
