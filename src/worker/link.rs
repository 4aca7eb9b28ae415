//! The way back to the broker: what was given back, gathered and sent.
//!
//! Shared by the [`super::Worker`] and its [`super::Credit`]s, which may be dropped in any thread.
//! Whoever gives back while the worker waits for the channel sends at once; otherwise the worker sends,
//! before it waits. So nothing is withheld from the broker, and under load one message serves for many.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::broker::channel::{FromWorker, MOST_IDS, Refusal};
use crate::plan::errno_of;

/// How long something given back may be withheld while further connections are at hand.
const SOON: Duration = Duration::from_millis(1);

/// What there is to tell the broker.
#[derive(Debug, Default)]
struct Outbox {
    done: Vec<u64>,
    refused: Vec<(u64, Refusal)>,
    /// When the oldest of them came.
    since: Option<Instant>,
}

impl Outbox {
    fn len(&self) -> usize {
        self.done.len().saturating_add(self.refused.len())
    }

    fn note(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Take out as much as one message holds.
    fn next(&mut self, credits: u32) -> Option<FromWorker> {
        if !self.done.is_empty() {
            let rest = self.done.split_off(self.done.len().min(MOST_IDS));
            let ids = std::mem::replace(&mut self.done, rest);
            return Some(FromWorker::Done { ids, credits });
        }
        let Some(&(_, reason)) = self.refused.first() else {
            self.since = None;
            return None;
        };
        let mut ids = Vec::new();
        self.refused.retain(|&(id, why)| {
            let taken = why == reason && ids.len() < MOST_IDS;
            if taken {
                ids.push(id);
            }
            !taken
        });
        Some(FromWorker::Refused {
            ids,
            credits,
            reason,
        })
    }

    /// The message could not be sent now.
    fn put_back(&mut self, message: FromWorker) {
        self.note();
        match message {
            FromWorker::Hello { .. } => {}
            FromWorker::Done { ids, .. } => self.done.extend(ids),
            FromWorker::Refused { ids, reason, .. } => {
                self.refused.extend(ids.into_iter().map(|id| (id, reason)));
            }
        }
    }
}

#[derive(Debug)]
struct State {
    outbox: Outbox,
    credits: u32,
    /// Connections that came and were not given back.
    held: usize,
    worker: Waits,
}

/// Whether the worker waits for the channel, and who sends.
#[derive(Debug)]
enum Waits {
    /// It does not; it will look before it waits.
    No,
    /// In recvmsg(2): whoever gives back sends.
    Blocked,
    /// It is a task, to be woken if it waits; it sends.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "for the run-time"))]
    Task(Option<Waker>),
}

/// Whether a task may go to sleep.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parked {
    /// It will be woken.
    Yes,
    /// There is something to send first.
    No,
    /// Nothing is left to wait for.
    Idle,
}

#[derive(Debug)]
pub(super) struct Link {
    channel: UnixDatagram,
    state: Mutex<State>,
    idle: Condvar,
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Link {
    pub(super) fn new(channel: OwnedFd, credits: u32) -> Self {
        Self {
            channel: channel.into(),
            state: Mutex::new(State {
                outbox: Outbox::default(),
                credits,
                held: 0,
                worker: Waits::No,
            }),
            idle: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_credits(&self, credits: u32) {
        self.lock().credits = credits;
    }

    pub(super) fn say_hello(&self) -> Result<(), Errno> {
        let credits = self.lock().credits;
        self.send(&FromWorker::Hello { credits })
    }

    /// `count` connections have come.
    pub(super) fn hold(&self, count: usize) {
        let mut state = self.lock();
        state.held = state.held.saturating_add(count);
    }

    /// A connection is finished.
    pub(super) fn give_back(&self, id: u64) {
        self.put(|outbox| outbox.done.push(id));
    }

    /// A connection was closed unserved.
    pub(super) fn refuse(&self, id: u64, reason: Refusal) {
        self.put(|outbox| outbox.refused.push((id, reason)));
    }

    fn put(&self, add: impl FnOnce(&mut Outbox)) {
        let mut state = self.lock();
        add(&mut state.outbox);
        state.outbox.note();
        state.held = state.held.saturating_sub(1);
        if state.held == 0 {
            self.idle.notify_all();
        }
        let much = is_much(&state);
        // A broker that cannot be told is gone: the worker sees that when it receives.
        match &mut state.worker {
            Waits::No if !much => {}
            Waits::No | Waits::Blocked => {
                drop(state);
                let _ = self.tell();
            }
            Waits::Task(waker) => {
                let waker = waker.take();
                drop(state);
                match waker {
                    Some(waker) => waker.wake(),
                    None if much => drop(self.try_tell()),
                    None => {}
                }
            }
        }
    }

    /// Send what there is, if it is much or old, or the worker is about to be busy with its last
    /// connection.
    pub(super) fn tell_if_due(&self, last: bool) -> Result<(), Errno> {
        let state = self.lock();
        let old = state
            .outbox
            .since
            .is_some_and(|since| since.elapsed() >= SOON);
        let due = old || is_much(&state) || (last && state.outbox.len() > 0);
        drop(state);
        match due {
            true => self.tell(),
            false => Ok(()),
        }
    }

    /// Send what there is; waits while the channel is full.
    pub(super) fn tell(&self) -> Result<(), Errno> {
        while !self.try_tell()? {
            wait(self.as_fd(), PollFlags::POLLOUT)?;
        }
        Ok(())
    }

    /// Send what there is; whether the channel, if it does not block, took all of it.
    pub(super) fn try_tell(&self) -> Result<bool, Errno> {
        loop {
            let mut state = self.lock();
            let credits = state.credits;
            let Some(message) = state.outbox.next(credits) else {
                return Ok(true);
            };
            drop(state);
            match self.send(&message) {
                Err(Errno::EAGAIN) => {
                    self.lock().outbox.put_back(message);
                    return Ok(false);
                }
                other => other?,
            }
        }
    }

    /// The worker is going to wait in recvmsg(2).
    pub(super) fn begin_to_wait(&self) -> Result<(), Errno> {
        self.lock().worker = Waits::Blocked;
        self.tell()
    }

    pub(super) fn end_to_wait(&self) {
        self.lock().worker = Waits::No;
    }

    /// For a channel that somebody has made non-blocking.
    pub(super) fn wait_readable(&self) -> Result<(), Errno> {
        wait(self.as_fd(), PollFlags::POLLIN)
    }

    /// Until every connection has been given back.
    pub(super) fn wait_idle(&self) {
        let mut state = self.lock();
        while state.held > 0 {
            state = self
                .idle
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// From now on a task sends, and the channel does not block: a copy of it to wait for.
    #[cfg(feature = "tokio")]
    pub(super) fn use_task(&self) -> Result<UnixDatagram, Errno> {
        self.lock().worker = Waits::Task(None);
        self.channel
            .set_nonblocking(true)
            .and_then(|()| self.channel.try_clone())
            .map_err(|error| errno_of(&error))
    }

    /// Have `waker` woken by whatever is given back next, unless something was already.
    #[cfg(feature = "tokio")]
    pub(super) fn park(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        let nothing = state.outbox.len() == 0;
        if nothing {
            state.worker = Waits::Task(Some(waker.clone()));
        }
        nothing
    }

    /// As [`Link::park`], for a task that waits for the last one.
    #[cfg(feature = "tokio")]
    pub(super) fn park_until_idle(&self, waker: &Waker) -> Parked {
        if !self.park(waker) {
            return Parked::No;
        }
        match self.lock().held {
            0 => Parked::Idle,
            _ => Parked::Yes,
        }
    }

    fn send(&self, message: &FromWorker) -> Result<(), Errno> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).map_err(|_| Errno::EMSGSIZE)?;
        loop {
            // send(2) without an address: what the worker's seccomp profile lets through.
            match self.channel.send(&bytes).map_err(|error| errno_of(&error)) {
                Err(Errno::EINTR) => {}
                // The broker is gone, or has cut this worker off; receiving tells.
                Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN | Errno::ECONNREFUSED) => {
                    return Ok(());
                }
                other => return other.map(drop),
            }
        }
    }
}

/// Half of the credits are waiting to be told: the broker may run out of them.
fn is_much(state: &State) -> bool {
    let half = usize::try_from(state.credits / 2).unwrap_or(usize::MAX);
    state.outbox.len() >= half.clamp(1, MOST_IDS)
}

fn wait(fd: BorrowedFd<'_>, what: PollFlags) -> Result<(), Errno> {
    match poll(&mut [PollFd::new(fd, what)], PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
