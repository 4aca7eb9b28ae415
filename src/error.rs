//! Why a launch did not happen: one typed error for the library, worded for people.
//!
//! `Display` is one line, lower case, without the cause; the cause comes through `source()`.
//! [`Error::hint`] says what to do about it where that is known.

use std::error::Error as _;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::exit;
use crate::step::Step;

/// A result whose error is a [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why a launch did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A step after the clone failed; the command was not run.
    #[error("cannot {step}{}", on(.object))]
    #[non_exhaustive]
    Step {
        /// The step that failed.
        step: Step,
        /// What the step was done to (a path, a limit), empty where the step says it all.
        object: String,
        /// The kernel's reason.
        #[source]
        errno: Errno,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Something that the launcher does before the clone, or around the sandbox, failed.
    #[error("cannot {action}{}", on(.object))]
    #[non_exhaustive]
    Host {
        /// What was being done, as a verb phrase ("open", "listen on").
        action: &'static str,
        /// To what.
        object: String,
        /// The kernel's reason.
        #[source]
        errno: Errno,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The kernel refused a change to a network, and said more than a number.
    #[error("cannot {action}{}{}", on(.object), in_its_words(.said))]
    #[non_exhaustive]
    Network {
        /// What was being done, as a verb phrase ("add the link").
        action: &'static str,
        /// To what, and in which namespace.
        object: String,
        /// The kernel's own words (extended acknowledgements, netlink(7)); empty where it has none.
        said: String,
        /// The kernel's reason.
        #[source]
        errno: Errno,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A policy, profile, set or lab file is not valid.
    #[error("{}:{line}:{column}: {reason}", .file.display())]
    #[non_exhaustive]
    Policy {
        /// The file, or the name of a built-in one.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What is wrong, with the nearest known word where there is one.
        reason: String,
    },
    /// A lab could not be made, or changed, as its file says in this line; nothing of it is half made.
    #[error("{}:{line}", .file.display())]
    #[non_exhaustive]
    Lab {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What failed.
        #[source]
        source: Box<Error>,
    },
    /// The process that keeps a lab refused something.
    #[error("{reason}")]
    #[non_exhaustive]
    Keeper {
        /// What it said, with the causes.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A value given on the command line or to the builder makes no sense.
    #[error("{what}: {reason}")]
    #[non_exhaustive]
    Usage {
        /// The option or key and its value, quoted ("--net bridge").
        what: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A protection that was asked for cannot be had on this host.
    #[error("this host cannot give {layer}: {reason}")]
    #[non_exhaustive]
    Unsupported {
        /// The protection.
        layer: String,
        /// Why not.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The command is nowhere in `PATH`, or the path given does not exist.
    #[error("{command}: command not found")]
    #[non_exhaustive]
    NotFound {
        /// The word that was looked up.
        command: String,
        /// What was meant, where that can be told.
        hint: Option<String>,
    },
    /// The command exists but cannot be executed.
    #[error("cannot execute {command}")]
    #[non_exhaustive]
    NotExecutable {
        /// The command's path.
        command: String,
        /// The kernel's reason.
        #[source]
        errno: Errno,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A broker's worker could not be started, or ended before it was ready.
    #[error("cannot start a worker: {reason}")]
    #[non_exhaustive]
    Worker {
        /// How it failed.
        reason: String,
    },
}

/// The kernel's reason in the words of strerror(3), which other programs use and people search for; nix has
/// its own for some ("Bad file number").
pub(crate) fn reason(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// What an error comes from, joined; an errno as its words.
pub(crate) fn causes(error: &Error) -> Option<String> {
    let mut words = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(match error.downcast_ref::<Errno>() {
            Some(&errno) => reason(errno),
            None => error.to_string(),
        });
        cause = error.source();
    }
    (!words.is_empty()).then(|| words.join(": "))
}

fn on(object: &str) -> String {
    if object.is_empty() {
        String::new()
    } else {
        format!(" {object}")
    }
}

fn in_its_words(words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!(": {}", words.trim_end_matches('.'))
    }
}

impl Error {
    /// A failed step with its object.
    pub(crate) fn step(step: Step, object: impl Into<String>, errno: Errno) -> Self {
        Self::Step {
            step,
            object: object.into(),
            errno,
            hint: None,
        }
    }

    /// Something that failed before the clone.
    pub(crate) fn host(action: &'static str, object: impl Into<String>, errno: Errno) -> Self {
        Self::Host {
            action,
            object: object.into(),
            errno,
            hint: None,
        }
    }

    /// A value that makes no sense.
    pub(crate) fn usage(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Usage {
            what: what.into(),
            reason: reason.into(),
        }
    }

    /// A worker that was not to be had.
    pub(crate) fn worker(reason: impl Into<String>) -> Self {
        Self::Worker {
            reason: reason.into(),
        }
    }

    /// The same error with advice, where it has none yet.
    pub(crate) fn with_hint(mut self, advice: Option<String>) -> Self {
        if let Self::Step { hint, .. }
        | Self::Host { hint, .. }
        | Self::Network { hint, .. }
        | Self::Unsupported { hint, .. }
        | Self::NotFound { hint, .. }
        | Self::NotExecutable { hint, .. } = &mut self
            && hint.is_none()
        {
            *hint = advice;
        }
        self
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Step { hint, .. }
            | Self::Host { hint, .. }
            | Self::Network { hint, .. }
            | Self::Unsupported { hint, .. }
            | Self::Keeper { hint, .. }
            | Self::NotFound { hint, .. }
            | Self::NotExecutable { hint, .. } => hint.as_deref(),
            Self::Lab { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// The step of the launch that failed, if it had come that far.
    #[must_use]
    pub fn failed_step(&self) -> Option<Step> {
        match self {
            Self::Step { step, .. } => Some(*step),
            Self::NotExecutable { .. } => Some(Step::Exec),
            _ => None,
        }
    }

    /// The status with which `sandbox` exits for this error ([`crate::exit`]).
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::NotFound { .. }
            | Self::NotExecutable {
                errno: Errno::ENOENT,
                ..
            } => exit::NOT_FOUND,
            Self::NotExecutable { .. } => exit::NOT_EXECUTABLE,
            _ => exit::LAUNCHER_FAILED,
        }
    }
}
