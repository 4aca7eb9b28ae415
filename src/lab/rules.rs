//! A node's firewall, loaded into its namespace.

use super::topology::Firewall;
use crate::error::{Error, Result};
use crate::netns::Namespace;

/// Put `firewall` in place of what there was; none takes it away.
pub(super) fn load(_namespace: &Namespace, firewall: Option<&Firewall>) -> Result<()> {
    match firewall {
        None => Ok(()),
        Some(_) => Err(Error::usage("firewall", "not yet")),
    }
}
