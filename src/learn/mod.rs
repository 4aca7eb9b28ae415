//! `sandbox learn`: a run that is recorded, and the smallest policy under which it would have passed.
//!
//! ```text
//! engine, thread that connects ──note──► record ──► compose (pure) ──► output
//!          (as ever, by the rules)      (bounded)    the policy's text   atomically
//! ```
//!
//! Learning opens two things: *which* host is reached ([`Rules::learning`](crate::egress::rules::Rules)), and
//! system calls about which the profile says nothing ([`crate::filter`], `beyond`). Whatever a rule has to
//! name expressly - special addresses, Unix sockets of the host - or refuses stays refused and is written as
//! a comment.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use crate::filter;
use crate::plan::errno_of;
use crate::policy::Seccomp;

pub(crate) mod compose;
pub(crate) mod output;
pub(crate) mod record;

/// What becomes of a destination that no rule names, while it is learned what a command reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learning {
    /// It is reached, unless only an express rule could allow it.
    Permitting,
    /// It is refused, and noted.
    Denying,
}

/// The profile of system calls that a run had, as another one can be laid over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Shipped, by its name.
    Shipped(String),
    /// A file of ours: its text.
    Text(String),
    /// In a format that nothing can be added to here: its name.
    Foreign(String),
}

impl Profile {
    /// The one that `seccomp` names; `None` where there is none.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(crate) fn of(seccomp: &Seccomp) -> Result<Option<Self>> {
        let Seccomp::Profile(name) = seccomp else {
            return Ok(None);
        };
        if filter::builtin_text(name).is_some() {
            return Ok(Some(Self::Shipped(name.clone())));
        }
        let text = std::fs::read_to_string(name)
            .map_err(|error| Error::host("read seccomp profile", name.clone(), errno_of(&error)))?;
        Ok(Some(match filter::is_oci(&text) {
            true => Self::Foreign(name.clone()),
            false => Self::Text(text),
        }))
    }
}
