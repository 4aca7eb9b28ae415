//! What an attempt is: one thing that an untrusted program tries, as code that really tries it.
//!
//! Pure data and the words for it. The attempts themselves are in `network`, `processes` and
//! `privilege`, in the order of the threat list; `promise` says which of them a policy rules out.

use std::borrow::Cow;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::outside::Outside;
use super::promise::{self, Promised};
use crate::policy::Policy;
pub(crate) use crate::sys::attempt::Control;

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "evidence", rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// Something stopped it: the errno's name, or what else was met.
    Held(String),
    /// It succeeded: what it got hold of.
    Open(String),
    /// It could not be tried here: why.
    Skipped(String),
}

impl Outcome {
    /// Stopped by the kernel with `errno`.
    pub(crate) fn refused(errno: Errno) -> Self {
        Self::Held(format!("{errno:?}"))
    }

    /// Stopped with an input or output error.
    pub(crate) fn stopped(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::refused(Errno::from_raw(number)),
            None => Self::Held(error.kind().to_string()),
        }
    }

    /// It got hold of `evidence`.
    pub(crate) fn open(evidence: impl Into<String>) -> Self {
        Self::Open(evidence.into())
    }

    /// Stopped by what is not an errno.
    pub(crate) fn held(reason: impl Into<String>) -> Self {
        Self::Held(reason.into())
    }

    /// It could not be tried.
    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped(why.into())
    }

    /// Open with `evidence` where `result` succeeded.
    pub(crate) fn of<T>(result: Result<T, Errno>, evidence: &str) -> Self {
        match result {
            Ok(_) => Self::open(evidence),
            Err(errno) => Self::refused(errno),
        }
    }

    /// Held only where the call itself was refused: any other errno means that the kernel looked at
    /// the arguments.
    pub(crate) fn of_call(result: Result<i64, Errno>) -> Self {
        match result {
            Ok(_) => Self::open("the call was made"),
            Err(errno @ (Errno::EPERM | Errno::ENOSYS | Errno::EACCES)) => Self::refused(errno),
            Err(errno) => Self::open(format!("the kernel went into its arguments: {errno:?}")),
        }
    }
}

/// The three parts of the threat list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Group {
    /// Reaching a network.
    Network,
    /// Reaching other processes.
    Processes,
    /// Gaining privilege or kernel surface.
    Privilege,
}

impl Group {
    /// The heading above its attempts.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Network => "Reaching a network",
            Self::Processes => "Reaching other processes",
            Self::Privilege => "Gaining privilege or kernel surface",
        }
    }
}

/// One attempt.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Its name, in lower case with hyphens.
    pub(crate) name: Cow<'static, str>,
    /// The part of the threat list that it belongs to.
    pub(crate) group: Group,
    /// What it tries, in the words of the threat list.
    pub(crate) tries: &'static str,
    /// What is to stop it.
    pub(crate) wall: &'static str,
    /// Who can do it outside a sandbox.
    pub(crate) control: Control,
    /// Whether a policy rules it out.
    pub(crate) promise: fn(&Policy) -> Promised,
    /// The act.
    pub(crate) act: Act,
}

/// How an attempt is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// By this function.
    Try(fn(&Outside) -> Outcome),
    /// By one system call.
    Call(&'static crate::sys::attempt::Call),
    /// By this function inside; whether it worked can only be seen from outside afterwards.
    Leave(fn(&Outside) -> Outcome, Trace),
}

/// What an attempt leaves behind where it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    /// A process that outlives the sandbox.
    Survivor,
    /// A signal to the launcher.
    Signal,
}

impl Attempt {
    /// Whether `policy` rules it out. Of a single call its profile has the last word: profiles for
    /// debuggers and builds let more through.
    pub(crate) fn promised(&self, policy: &Policy) -> Promised {
        let promised = (self.promise)(policy);
        match self.act {
            Act::Call(call) if promised == Promised::Yes => {
                let words = call.words().map(i64::cast_unsigned);
                promise::refused_by_profile(policy, call.number(), words)
            }
            _ => promised,
        }
    }

    /// Try it, in this process.
    pub(crate) fn run(&self, outside: &Outside) -> Outcome {
        match self.act {
            Act::Try(act) | Act::Leave(act, _) => act(outside),
            Act::Call(call) => Outcome::of_call(crate::sys::attempt::try_call(call)),
        }
    }
}

/// Every attempt, in the order of the threat list.
pub(crate) fn all() -> Vec<Attempt> {
    let mut attempts = super::network::attempts();
    attempts.extend(super::processes::attempts());
    attempts.extend(super::privilege::attempts());
    attempts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_has_a_name_of_its_own() {
        let mut names: Vec<_> = all().into_iter().map(|attempt| attempt.name).collect();
        let before = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), before);
    }

    #[test]
    fn a_call_is_held_only_by_a_refusal_of_the_call() {
        assert_eq!(Outcome::of_call(Err(Errno::EPERM)), Outcome::held("EPERM"));
        assert!(matches!(
            Outcome::of_call(Err(Errno::EFAULT)),
            Outcome::Open(_)
        ));
        assert!(matches!(Outcome::of_call(Ok(0)), Outcome::Open(_)));
    }
}
