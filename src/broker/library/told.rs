//! What a program is told: of connections that were not sent, and of its workers.
#![forbid(unsafe_code)]

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use super::Accepted;
use crate::error::Error;

/// Why a connection was not sent; it comes back.
#[derive(Debug)]
pub struct SendError {
    /// The connection.
    pub connection: Box<Accepted>,
    /// Why.
    pub reason: Unsent,
}

/// Why a connection was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unsent {
    /// No worker has credit left now.
    #[error("every worker has as many connections as it will have at a time")]
    Full,
    /// Something else.
    #[error(transparent)]
    Failed(Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot hand over a connection: {}", self.reason)
    }
}

impl std::error::Error for SendError {}

/// What has become of the connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Put into a worker's channel; those that came back, again.
    pub sent: u64,
    /// Given back by a worker.
    pub done: u64,
    /// Refused by a worker.
    pub refused: u64,
    /// Taken back from a worker that ended.
    pub returned: u64,
    /// With a worker when it ended.
    pub lost: u64,
}

/// Something that happened to a worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// It is ready for this many connections at a time.
    #[non_exhaustive]
    Ready {
        /// Its pid outside.
        pid: u32,
        /// Its capacity.
        credits: u32,
    },
    /// It has ended.
    #[non_exhaustive]
    Ended {
        /// Its pid outside.
        pid: u32,
        /// How.
        status: Option<ExitStatus>,
        /// What it did, if the broker has killed it for that.
        fault: Option<String>,
        /// Connections that it had not taken: others get them.
        returned: Vec<u64>,
        /// Connections that it had: they were closed with it.
        lost: Vec<u64>,
        /// In which time another is started in its place.
        again: Option<Duration>,
    },
    /// One could not be started; it is tried again.
    #[non_exhaustive]
    NotStarted {
        /// Why not.
        error: Error,
        /// In which time it is tried again.
        again: Option<Duration>,
    },
}
