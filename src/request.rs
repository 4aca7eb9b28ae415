//! What one launch is asked to do besides its policy: the command, its descriptors, and what the
//! launcher tells about it. Plain values, made by the command line or the builder; no I/O.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::learn::Learning;

/// Where an address is opened or bound, outside the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `tcp:HOST:PORT` or `tcp:[IPv6]:PORT`.
    Tcp {
        /// An address, a name (only for `--connect`), or empty for every address.
        host: String,
        /// The port; 0 lets the kernel choose one (only for `--listen`).
        port: u16,
    },
    /// `unix:PATH`: a stream.
    Unix(PathBuf),
    /// `unix-seqpacket:PATH`: packets, in order.
    UnixPackets(PathBuf),
}

/// One descriptor that the command is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Where it comes from.
    pub source: Source,
    /// Its name in `LISTEN_FDNAMES` and `{fd:NAME}`.
    pub name: String,
}

/// Where a passed descriptor comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Already open in the launcher (`--pass-fd`).
    Inherited(RawFd),
    /// A listening socket that the launcher opens first (`--listen`).
    Listen(Endpoint),
    /// A connection that the launcher opens first (`--connect`).
    Connect(Endpoint),
    /// Whatever a broker sends over its Unix socket (`--receive-from`).
    Receive(PathBuf),
}

/// Where event lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventTarget {
    /// Appended to a file.
    File(PathBuf),
    /// Written to an open descriptor.
    Descriptor(RawFd),
}

/// How something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Where a learned policy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LearnTarget {
    /// Standard output.
    Standard,
    /// A file.
    File(PathBuf),
}

/// Whether a file that is there already is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// What is to be learned from a launch ([`crate::learn`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learn {
    /// What becomes of a destination that no rule names.
    pub learning: Learning,
    /// Where the policy goes.
    pub target: LearnTarget,
    /// Whether it replaces a file.
    pub replaces: Replaces,
    /// The policy that it is laid over, by its name or the whole path of its file.
    pub extends: OsString,
}

/// What one launch is asked to do, besides its policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// The descriptors it gets from 3 up, in this order.
    pub descriptors: Vec<Passed>,
    /// Let kinds of descriptors through that can lead out of the sandbox.
    pub unsafe_descriptors: bool,
    /// The first passed socket becomes standard input and output too.
    pub stdin_socket: bool,
    /// Where event lines go.
    pub events: Option<EventTarget>,
    /// Print the plan and stop.
    pub dry_run: Option<Format>,
    /// Print what each step took.
    pub timing: bool,
    /// What is put in place inside.
    pub files: Vec<Placed>,
    /// Write a policy under which the run would pass.
    pub learn: Option<Learn>,
}

/// Something that the command sees at a place where the host has something else, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placed {
    /// A file, or a directory, over the one at `path`.
    Over {
        /// What is put there.
        source: PathBuf,
        /// Where.
        path: PathBuf,
    },
    /// In `directory`, what `layer` has and it lacks. Nothing can be written there then.
    Into {
        /// A directory, which is laid below the other one.
        layer: PathBuf,
        /// Where.
        directory: PathBuf,
    },
}

impl Placed {
    /// The first of each pair over the second one.
    pub(crate) fn over(pairs: Vec<(PathBuf, PathBuf)>) -> Vec<Self> {
        let pairs = pairs.into_iter();
        pairs
            .map(|(source, path)| Self::Over { source, path })
            .collect()
    }
}
