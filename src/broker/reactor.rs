//! What the broker's one thread waits for: descriptors and points in time.
//!
//! In the broker's loop only. Level-triggered: what is not taken now is told again. A descriptor is
//! forgotten before it is closed, because epoll(7) goes on watching an open file as long as any
//! duplicate of it lives.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::epoll_data::{pack, unpack};
use crate::error::{Error, Result};

/// Whose descriptor is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Signals to the broker.
    Signals,
    /// The keeper's answers.
    Keeper,
    /// A listener, by its place.
    Listener(u64),
    /// The listener for metrics and status.
    Admin,
    /// One of its clients.
    Client(u64),
    /// The channel of a pool's worker.
    Channel(u64),
    /// The init's reports from a worker's sandbox.
    Status(u64),
    /// The first process of a worker's sandbox.
    Process(u64),
}

impl Key {
    fn to_data(self) -> u64 {
        let (kind, number) = match self {
            Self::Signals => (0, 0),
            Self::Keeper => (1, 0),
            Self::Listener(place) => (2, place),
            Self::Admin => (3, 0),
            Self::Client(number) => (4, number),
            Self::Channel(number) => (5, number),
            Self::Status(number) => (6, number),
            Self::Process(number) => (7, number),
        };
        pack(kind, number)
    }

    fn from_data(data: u64) -> Option<Self> {
        let (kind, number) = unpack(data);
        Some(match kind {
            0 => Self::Signals,
            1 => Self::Keeper,
            2 => Self::Listener(number),
            3 => Self::Admin,
            4 => Self::Client(number),
            5 => Self::Channel(number),
            6 => Self::Status(number),
            7 => Self::Process(number),
            _ => return None,
        })
    }
}

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Only its end.
    Nothing,
    /// Something to read.
    Read,
    /// Room to write.
    Write,
    /// Either.
    Both,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Nothing => EpollFlags::empty(),
            Self::Read => EpollFlags::EPOLLIN,
            Self::Write => EpollFlags::EPOLLOUT,
            Self::Both => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        }
    }
}

/// How many events are taken at a time.
const BATCH: usize = 64;

/// The descriptors that are waited for.
#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: Epoll,
}

impl Reactor {
    pub(crate) fn new() -> Result<Self> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map(|epoll| Self { epoll })
            .map_err(|errno| Error::host("make", "an event queue", errno))
    }

    /// Begin to watch.
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, key: Key, interest: Interest) -> Result<()> {
        self.epoll
            .add(fd, EpollEvent::new(interest.flags(), key.to_data()))
            .map_err(|errno| Error::host("watch", format!("{key:?}"), errno))
    }

    /// Watch for something else from now on.
    pub(crate) fn change(&self, fd: BorrowedFd<'_>, key: Key, interest: Interest) {
        // It fails only for what is not watched, and then there is nothing to change.
        let _ = self
            .epoll
            .modify(fd, &mut EpollEvent::new(interest.flags(), key.to_data()));
    }

    /// Watch no more. Before it is closed.
    pub(crate) fn forget(&self, fd: BorrowedFd<'_>) {
        // As above.
        let _ = self.epoll.delete(fd);
    }

    /// Wait until something is ready, or for `patience`.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> Result<Vec<Key>> {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = match self.epoll.wait(&mut events, timeout(patience)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(Error::host("wait for", "events", errno)),
        };
        Ok(events
            .iter()
            .take(count)
            .filter_map(|event| Key::from_data(event.data()))
            .collect())
    }
}

/// In milliseconds, rounded up, so that the loop does not spin through the last one.
fn timeout(patience: Option<Duration>) -> EpollTimeout {
    let Some(patience) = patience else {
        return EpollTimeout::NONE;
    };
    let milliseconds = patience.as_nanos().div_ceil(1_000_000).min(3_600_000);
    EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::ZERO)
}

/// Points in time, at most one of a name.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    by_time: BTreeSet<(Instant, T)>,
    by_name: HashMap<T, Instant>,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self {
            by_time: BTreeSet::new(),
            by_name: HashMap::new(),
        }
    }
}

impl<T: Copy + Ord + std::hash::Hash> Timers<T> {
    /// Set or move the one called `name`.
    pub(crate) fn set(&mut self, name: T, at: Instant) {
        self.cancel(name);
        self.by_time.insert((at, name));
        self.by_name.insert(name, at);
    }

    /// Whether it is set.
    pub(crate) fn is_set(&self, name: T) -> bool {
        self.by_name.contains_key(&name)
    }

    /// Forget the one called `name`.
    pub(crate) fn cancel(&mut self, name: T) {
        if let Some(at) = self.by_name.remove(&name) {
            self.by_time.remove(&(at, name));
        }
    }

    /// The next of those that are due at `now`; forgotten with that.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<T> {
        let &(at, name) = self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.by_time.remove(&(at, name));
        self.by_name.remove(&name);
        Some(name)
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn every_key_survives_the_kernel() {
        for key in [
            Key::Signals,
            Key::Keeper,
            Key::Listener(0),
            Key::Listener(u64::from(u32::MAX) + 1),
            Key::Admin,
            Key::Client(7),
            Key::Channel(7),
            Key::Status(crate::epoll_data::NUMBERS),
            Key::Process(1),
        ] {
            assert_eq!(Key::from_data(key.to_data()), Some(key));
        }
        assert_eq!(Key::from_data(u64::MAX), None);
    }

    #[test]
    fn what_is_not_taken_is_told_again_until_it_is_forgotten() {
        let reactor = Reactor::new().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ready = || reactor.wait(Some(Duration::ZERO)).unwrap();
        reactor
            .watch(ours.as_fd(), Key::Admin, Interest::Read)
            .unwrap();
        assert_eq!(ready(), []);
        std::io::Write::write_all(&mut theirs, b"x").unwrap();
        assert_eq!((ready(), ready()), (vec![Key::Admin], vec![Key::Admin]));
        reactor.change(ours.as_fd(), Key::Admin, Interest::Nothing);
        assert_eq!(ready(), []);
        reactor.change(ours.as_fd(), Key::Admin, Interest::Write);
        assert_eq!(ready(), [Key::Admin]);
        reactor.forget(ours.as_fd());
        assert_eq!(ready(), []);
    }

    #[test]
    fn timers_come_in_order_and_each_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.set("c", at(3));
        timers.set("a", at(9));
        timers.set("b", at(2));
        timers.set("a", at(1));
        timers.cancel("c");
        timers.cancel("never set");
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.pop(at(0)), None);
        assert_eq!(timers.pop(at(5)), Some("a"));
        assert!(!timers.is_set("a") && timers.is_set("b"));
        assert_eq!(timers.pop(at(5)), Some("b"));
        assert_eq!((timers.pop(at(5)), timers.next()), (None, None));
    }

    #[test]
    fn a_wait_is_never_shorter_than_asked() {
        let shown = |nanoseconds| timeout(Some(Duration::from_nanos(nanoseconds))).as_millis();
        assert_eq!(shown(0), Some(0));
        assert_eq!(shown(1), Some(1));
        assert_eq!(shown(1_000_001), Some(2));
        assert_eq!(timeout(None), EpollTimeout::NONE);
    }
}
