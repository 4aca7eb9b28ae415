//! Networks of many nodes on one host, declared in a file: `sandbox lab`, and [`Lab`] for tests.
//!
//! ```text
//! file ──► topology ──► state ──► difference ──► actions
//! (text,   (validated,   (plain    (old state,    (netlink, nft,
//!  lines)   assigned)     data)     new state)     namespaces)
//! ```
//!
//! All but the last is pure, and decided before anything is made.
#![forbid(unsafe_code)]

mod assign;
pub mod difference;
pub mod file;
pub mod graph;
pub mod matrix;
pub mod spec;
pub mod state;
pub mod topology;

pub use matrix::Matrix;
pub use topology::Topology;

/// What the interface to the host's network is called in a node with an uplink.
pub const UPLINK: &str = "uplink";

#[cfg(test)]
mod tests;
