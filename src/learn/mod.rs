//! `sandbox learn`: a run that is recorded, and the smallest policy under which it would have passed.
//!
//! ```text
//! engine, thread that connects ──note──► record ──► compose (pure) ──► output
//!          (as ever, by the rules)      (bounded)    the policy's text   atomically
//! ```
//!
//! Learning opens one thing: *which* host is reached ([`Rules::learning`](crate::egress::rules::Rules)).
//! Whatever a rule has to name expressly - special addresses, Unix sockets of the host - stays refused and
//! is written as a comment.
#![forbid(unsafe_code)]

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
