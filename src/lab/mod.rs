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
mod files;
pub mod graph;
pub(crate) mod keeper;
mod library;
mod live;
pub mod matrix;
mod outside;
mod place;
pub mod spec;
pub mod state;
pub(crate) mod status;
pub mod topology;
mod wire;

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde_json::Value as Json;

pub(crate) use keeper::{down, list, up};
pub use library::{Lab, RunningLab};
pub use matrix::Matrix;
pub(crate) use status::text as status_text;
pub use topology::Topology;
pub(crate) use wire::Request as Asked;

use crate::error::{Error, Result};
use crate::plan::errno_of;
use crate::request::Placed;

/// Whether a lab could be called so.
pub(crate) fn is_name(text: &str) -> bool {
    spec::name(text).is_ok() || text.contains('~') && !text.contains('/')
}

/// Ask the keeper of the lab called `name`.
///
/// # Errors
/// When the lab is not up, or its keeper refuses.
pub(crate) fn ask(name: &str, asked: Asked) -> Result<Json> {
    keeper::ask(name, &asked).map(|(answer, _)| answer)
}

/// A node's network, for a command.
pub(crate) struct Joined {
    namespace: OwnedFd,
    /// What the command sees there.
    pub(crate) files: Vec<Placed>,
}

impl Joined {
    /// A path by which this process finds it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.namespace.as_raw_fd()))
    }
}

/// The network of the node called `node` of the lab called `name`.
///
/// # Errors
/// When the lab is not up, or has no such node.
pub(crate) fn join(name: &str, node: &str) -> Result<Joined> {
    let node = node.to_owned();
    let (files, namespaces) = keeper::ask(name, &Asked::Join { node })?;
    match namespaces.into_iter().next() {
        Some(namespace) => Ok(Joined {
            namespace,
            files: serde_json::from_value(files).unwrap_or_default(),
        }),
        None => Err(Error::host("join", name, Errno::EBADF)),
    }
}

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
