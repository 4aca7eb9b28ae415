//! Networks of many nodes on one host, declared in a file: `sandbox lab`, and [`Lab`] for tests.
//!
//! ```text
//! file ──► topology ──► state ──► difference ──► live
//! (text,   (validated,   (plain    (old state,    (namespaces, netlink,
//!  lines)   assigned)     data)     new state)     nft, commands)
//! ```
//!
//! All but the last is pure, and decided before anything is made.
#![forbid(unsafe_code)]

mod assign;
mod check;
pub mod difference;
pub mod file;
pub mod graph;
pub(crate) mod keeper;
mod library;
mod live;
pub mod matrix;
mod outside;
mod place;
mod rules;
mod shape;
pub mod spec;
pub mod state;
pub(crate) mod status;
pub mod topology;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};

pub use library::{Lab, RunningLab};
pub use matrix::Matrix;
pub use topology::Topology;

use crate::error::{Error, Result};
use crate::plan::errno_of;

/// What the interface to the host's network is called in a node with an uplink.
pub const UPLINK: &str = "uplink";

/// The file at `path`: its whole path, its text, what it means.
fn read(path: &Path) -> Result<(PathBuf, String, Topology)> {
    let failed =
        |error: &std::io::Error| Error::host("read", path.display().to_string(), errno_of(error));
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    let topology = Topology::parse(path, &text)?;
    let whole = fs::canonicalize(path).map_err(|error| failed(&error))?;
    Ok((whole, text, topology))
}

#[cfg(test)]
mod tests;
