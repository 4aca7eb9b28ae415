//! Lays layers over each other, and turns the outcome into a [`Policy`] that cannot be wrong.
//!
//! Pure. The laws, which the tests check: an empty layer changes nothing; the way in which layers are
//! grouped does not matter; laying a layer over itself changes nothing. Lists add up (an element
//! keeps its first place), tables add up by name, and of everything else the last layer's word stands.
//!
//! [`lay`] lays one layer over another, [`mod@consistent`] refuses what contradicts itself, [`convert`] makes
//! a policy of the outcome; [`wide`] tells in which ways that is wide, and [`mod@explain`] who has said what.

mod consistent;
mod convert;
mod explain;
mod lay;
#[cfg(test)]
mod tests;
mod wide;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub(crate) use self::consistent::{EGRESS_NEEDS_LOOPBACK, undecided};
use self::consistent::{consistent, follow_from_namespaces};
use self::convert::into_policy;
pub use self::explain::{Explained, Source, explain};
pub(crate) use self::lay::lay_over;
pub use self::wide::{Widening, widenings};
use super::layer::Origin;
use super::{Layer, Policy};
use crate::error::Result;

/// The policy that `layers`, lowest first, make. Each way in which it is wider than
/// [`Policy::nothing`] is logged as one warning.
///
/// # Errors
/// [`crate::Error::Usage`] when keys contradict each other, or a path is not absolute
/// ([`Layer::resolve`] makes them so).
pub fn merge(layers: &[(Origin, Layer)]) -> Result<Policy> {
    let policy = combine(layers)?;
    for widening in widenings(&policy) {
        tracing::warn!(key = widening.key, "{}", widening.consequence);
    }
    Ok(policy)
}

/// As [`merge`], without the warnings: for describing a policy that is not run.
///
/// # Errors
/// As [`merge`].
pub fn combine(layers: &[(Origin, Layer)]) -> Result<Policy> {
    let mut merged = Layer::from(&Policy::nothing());
    let mut name = "nothing".to_owned();
    let mut required: BTreeSet<PathBuf> = BTreeSet::new();
    for (origin, layer) in layers {
        lay_over(&mut merged, layer);
        match origin {
            Origin::BuiltIn(_) => name = origin.name(),
            Origin::File(_) => {
                name = origin.name();
                required.extend(layer.paths().cloned());
            }
            Origin::Builder | Origin::CommandLine => required.extend(layer.paths().cloned()),
        }
    }
    consistent(&merged)?;
    follow_from_namespaces(&mut merged, layers)?;
    let mut policy = into_policy(merged, name);
    let filesystem = &policy.filesystem;
    let named: BTreeSet<PathBuf> = [
        &filesystem.hide,
        &filesystem.read_only,
        &filesystem.read_write,
    ]
    .into_iter()
    .flatten()
    .cloned()
    .collect();
    policy.filesystem.optional = named.difference(&required).cloned().collect();
    Ok(policy)
}
