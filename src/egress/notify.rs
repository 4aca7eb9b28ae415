//! The supervisor's thread that connects for the command: each `connect` inside is told to it, decided,
//! and made by it or not at all.
//!
//! A thread of its own, in the program and in the library, for three reasons. A connection that waits
//! must hold up neither signals nor time limits. The supervisor of a command with egress is in a
//! Landlock domain, from which no process of the sandbox may be looked into. And what this thread gives
//! up, ids and calls, the rest of a program that uses the library needs.
//!
//! ```text
//! connect inside ─told─► copy the descriptor, copy the address ─► still waiting? ─► decide
//!     ▲                                                                               │
//!     └────────── result ◄── connect(that file, that copy), without waiting ◄──allowed┘
//! ```
//!
//! The address is read once, and what was read is what is connected to; the descriptor is copied once,
//! and that open file is what is connected. A thread inside that changes either meanwhile changes
//! nothing. No call that is decided by what a pointer points to is ever let go on.
//!
//! Here are the values and the thread's loop; [`thread`] starts and ends it. A call is taken in [`calls`];
//! who waits is looked after in [`waiting`], and what was ordered is put into its place in [`order`].
//!
//! Where the thread ends, however it ends, the kernel answers each such call with ENOSYS.
#![forbid(unsafe_code)]

mod calls;
mod ids;
mod learn;
mod order;
mod socket;
mod task;
mod thread;
mod unix;
mod waiting;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use self::calls::Calls;
use self::ids::Ids;
pub(crate) use self::thread::{Ready, Warden};
use self::waiting::{Stage, Waiting};
use super::direct::Counter;
use super::journal::Journal;
use super::unix::Sockets;
use super::who::Callers;
use crate::filter::{self, Beyond, Program, Underlay};
use crate::policy::{Carrier, Network, UnixSockets};
use crate::sys::notify::Answer;

/// What lies under the profile's filter, and what is decided by.
#[derive(Clone, Debug)]
pub(crate) struct Policing {
    pub(crate) underlay: Underlay,
    /// Sockets of the host that are allowed.
    pub(crate) allowed: Vec<PathBuf>,
    /// Paths that the mounts cover because a socket of the host is there.
    pub(crate) hidden: BTreeSet<PathBuf>,
    /// Which Unix sockets may be connected to.
    pub(crate) which: UnixSockets,
    /// Who carries Internet connections.
    pub(crate) carrier: Carrier,
    /// Whether sockets with abstract names are the sandbox's own.
    pub(crate) abstract_names: AbstractNames,
    /// Calls beyond the profile, of which it is told where somebody learns.
    pub(crate) beyond: Option<Arc<Beyond>>,
}

/// Whose the abstract names of the command's network are (unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AbstractNames {
    /// The sandbox's alone.
    Own,
    /// Others' too. This thread is in no Landlock domain that would part them, so none is connected to.
    Shared,
}

/// What the child has sent: its listener, and a socket of its network.
#[derive(Debug)]
pub(crate) struct Notifier {
    pub(crate) listener: OwnedFd,
    pub(crate) sample: OwnedFd,
}

impl Policing {
    /// Whether the supervisor is told of calls.
    pub(crate) fn tells(&self) -> bool {
        self.underlay.tells == filter::Tells::Yes
    }

    /// Whose the abstract names of `network` are.
    pub(crate) fn abstract_names_of(network: &Network) -> AbstractNames {
        match network {
            Network::Namespace(_) | Network::Host => AbstractNames::Shared,
            _ => AbstractNames::Own,
        }
    }
}

/// What a socket is connected to.
#[derive(Debug)]
enum Destination {
    /// The bytes of a socket address, in the socket's own family.
    Address(Vec<u8>),
    /// The file of a Unix socket.
    File(OwnedFd),
}

/// What came of an attempt.
enum Attempt {
    Over(Answer),
    /// It is under way, and shows on the descriptor.
    UnderWay,
    /// The other side has no room.
    Full,
}

struct Work {
    calls: Calls,
    listener: OwnedFd,
    /// Which network the sandbox's sockets belong to.
    network: u64,
    abstract_names: AbstractNames,
    which: UnixSockets,
    carrier: Carrier,
    beyond: Option<Arc<Beyond>>,
    /// What lies under the profile, without the calls beyond it.
    under: Program,
    /// Where the side that dials is asked.
    counter: Option<Counter>,
    hidden: BTreeSet<PathBuf>,
    sockets: Sockets,
    ids: Ids,
    waiting: Vec<Waiting>,
    callers: Callers,
    journal: Journal,
}

impl Work {
    fn run(mut self, stop: &OwnedFd) {
        loop {
            let (news, ready) = match self.wait(stop) {
                Some(found) => found,
                None => return,
            };
            self.take_given();
            if news {
                self.take();
            }
            self.look_after(&ready);
        }
    }

    /// Until there is something to do: whether a call was told, and which calls that wait show something.
    /// `None` at the end.
    fn wait(&self, stop: &OwnedFd) -> Option<(bool, Vec<u64>)> {
        let mut watched = vec![
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        let both = watched.len();
        for waiting in &self.waiting {
            // One that was not begun with shows that it is hung up.
            let interest = match (&waiting.stage, &waiting.destination) {
                (Stage::Ordered(..) | Stage::Learned, _) => {
                    watched.push(PollFd::new(stop.as_fd(), PollFlags::empty()));
                    continue;
                }
                (_, Destination::Address(_)) => PollFlags::POLLOUT,
                (_, Destination::File(_)) => PollFlags::empty(),
            };
            watched.push(PollFd::new(waiting.socket.as_fd(), interest));
        }
        if let Some(counter) = &self.counter {
            watched.push(PollFd::new(counter.descriptor(), PollFlags::POLLIN));
        }
        let timeout = match self.waiting.iter().map(|waiting| waiting.looks_at).min() {
            None => PollTimeout::NONE,
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::ZERO)
            }
        };
        match poll(&mut watched, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Some((false, Vec::new())),
            Err(_) => return None,
        }
        let seen = |at: usize| watched.get(at).and_then(PollFd::revents);
        let told = seen(0).unwrap_or(PollFlags::empty());
        // Of the last task that could tell anything.
        let over = told.contains(PollFlags::POLLHUP) && !told.contains(PollFlags::POLLIN);
        if over || seen(1).is_some_and(|seen| !seen.is_empty()) {
            return None;
        }
        let ready = (0..)
            .zip(&self.waiting)
            .filter(|(at, _)| seen(both + at).is_some_and(|seen| !seen.is_empty()))
            .map(|(_, waiting)| waiting.id)
            .collect();
        Some((told.contains(PollFlags::POLLIN), ready))
    }
}
