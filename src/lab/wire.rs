//! What is said between the process that keeps a lab and those that ask it: one request and one answer on
//! a connection, each JSON, from a user to a process of the same user.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::log::chain;
use crate::sys::{message, packet};

/// The most bytes of a request: a file of so many is no lab's.
const LONGEST: u64 = 16 * 1024 * 1024;
/// How long a peer may take to say its request.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the keeper is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub(crate) enum Request {
    /// Become what this file says.
    Up {
        /// Its path.
        file: PathBuf,
        /// Its text.
        text: String,
    },
    /// End.
    Down,
    /// Say what there is.
    Status,
    /// Give the namespace of a node.
    Join {
        /// Which.
        node: String,
    },
    /// Try who reaches whom.
    Check {
        /// How long each answer may take.
        wait: Duration,
    },
    /// Cut groups of nodes off from each other.
    Partition {
        /// Each with names of nodes and groups, commas between.
        parts: Vec<String>,
    },
    /// Plug a node's interface in, or out.
    Link {
        /// `NODE:INTERFACE`.
        end: String,
        /// In.
        up: bool,
    },
    /// Undo partitions and unplugged links.
    Heal,
}

/// What the keeper answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It is done.
    Done(Json),
    /// It is not.
    Refused(Refusal),
}

/// Why not.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refusal {
    file: Option<PathBuf>,
    line: usize,
    reason: String,
    hint: Option<String>,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let hint = error.hint().map(str::to_owned);
        match error {
            Error::Lab { file, line, source } => Self {
                file: Some(file.clone()),
                line: *line,
                reason: chain(source),
                hint,
            },
            error => Self {
                file: None,
                line: 0,
                reason: chain(error),
                hint,
            },
        }
    }
}

impl Refusal {
    /// The same as an error here.
    pub(super) fn into_error(self) -> Error {
        let error = Error::Keeper {
            reason: self.reason,
            hint: self.hint,
        };
        match self.file {
            None => error,
            Some(file) => Error::Lab {
                file,
                line: self.line,
                source: Box::new(error),
            },
        }
    }
}

fn broken(errno: Errno) -> Error {
    Error::host("talk to", "the lab's keeper", errno)
}

/// Ask, and wait for the answer and the descriptors that come with it.
pub(super) fn ask(stream: &UnixStream, request: &Request) -> Result<(Json, Vec<OwnedFd>)> {
    let text = serde_json::to_vec(request).unwrap_or_default();
    send_all(stream, &text).map_err(broken)?;
    shutdown(stream.as_raw_fd(), Shutdown::Write).map_err(broken)?;
    let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let message = match message::receive(stream.as_fd(), &mut buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            message => message.map_err(broken)?,
        };
        descriptors.extend(message.descriptors);
        if message.length == 0 {
            break;
        }
        bytes.extend_from_slice(buffer.get(..message.length).unwrap_or_default());
    }
    match serde_json::from_slice(&bytes) {
        Ok(Answer::Done(value)) => Ok((value, descriptors)),
        Ok(Answer::Refused(refusal)) => Err(refusal.into_error()),
        // It ended in the middle.
        Err(_) => Err(broken(Errno::ECONNRESET)),
    }
}

/// Read a request; `None` from somebody who does not say one.
pub(super) fn read_request(stream: &UnixStream) -> Option<Request> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut bytes = Vec::new();
    stream.take(LONGEST).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Answer, with a descriptor where there is one to give. Nobody to hear it is no concern of the keeper's.
pub(super) fn answer(stream: &UnixStream, result: &Result<(Json, Option<OwnedFd>)>) {
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let said = match result {
        Ok((value, _)) => Answer::Done(value.clone()),
        Err(error) => Answer::Refused(error.into()),
    };
    let text = serde_json::to_vec(&said).unwrap_or_default();
    let (first, rest) = text.split_at(text.len().min(1));
    let descriptor = match result {
        Ok((_, Some(descriptor))) => vec![descriptor.as_fd()],
        _ => Vec::new(),
    };
    if packet::send(stream.as_fd(), first, &descriptor).is_ok() {
        let _ = send_all(stream, rest);
    }
}

/// Send all of `bytes`, without SIGPIPE.
pub(super) fn send_all(stream: &UnixStream, mut bytes: &[u8]) -> std::result::Result<(), Errno> {
    while !bytes.is_empty() {
        match send(stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::EINTR) => {}
            sent => bytes = bytes.get(sent?..).unwrap_or_default(),
        }
    }
    Ok(())
}
