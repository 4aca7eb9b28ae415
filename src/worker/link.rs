//! The way back to the broker: what was given back, gathered and sent.
//!
//! Shared by the [`super::Worker`] and its [`super::Credit`]s, which may be dropped in any thread.
//! Whoever gives back while the worker waits for the channel sends at once; otherwise the worker sends,
//! before it waits or when it is time. So little is withheld from the broker, for a moment, and under load
//! one message serves for many.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::broker::channel::{FromWorker, MOST_IDS, Refusal};
use crate::plan::errno_of;

/// How long something given back may be withheld while further connections are at hand.
const SOON: Duration = Duration::from_millis(1);
/// A connection that was accepted longer ago than this is not withheld at all: the broker may have a limit
/// for it.
const RECENT: Duration = Duration::from_millis(100);

/// What there is to tell the broker.
#[derive(Debug, Default)]
struct Outbox {
    done: Vec<u64>,
    refused: Vec<(u64, Refusal)>,
    /// When the first of them came.
    since: Option<Instant>,
    /// When the oldest of their connections was accepted.
    accepted: Option<SystemTime>,
}

impl Outbox {
    fn len(&self) -> usize {
        self.done.len().saturating_add(self.refused.len())
    }

    fn note(&mut self, accepted: SystemTime) {
        self.since.get_or_insert_with(Instant::now);
        let oldest = self.accepted.get_or_insert(accepted);
        *oldest = accepted.min(*oldest);
    }

    fn is_old(&self) -> bool {
        let since = |at: SystemTime| at.elapsed().unwrap_or_default();
        self.since.is_some_and(|since| since.elapsed() >= SOON)
            || self.accepted.is_some_and(|at| since(at) >= RECENT)
    }

    /// Take out as much as one message holds.
    fn next(&mut self, credits: u32) -> Option<FromWorker> {
        if !self.done.is_empty() {
            let rest = self.done.split_off(self.done.len().min(MOST_IDS));
            let ids = std::mem::replace(&mut self.done, rest);
            return Some(FromWorker::Done { ids, credits });
        }
        let Some(&(_, reason)) = self.refused.first() else {
            (self.since, self.accepted) = (None, None);
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
    /// Whether somebody waits for the last of them.
    finishing: bool,
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
                finishing: false,
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

    /// A connection that was accepted then is finished.
    pub(super) fn give_back(&self, id: u64, accepted: SystemTime) {
        self.put(accepted, |outbox| outbox.done.push(id));
    }

    /// A connection that was accepted then was closed unserved.
    pub(super) fn refuse(&self, id: u64, accepted: SystemTime, reason: Refusal) {
        self.put(accepted, |outbox| outbox.refused.push((id, reason)));
    }

    fn put(&self, accepted: SystemTime, add: impl FnOnce(&mut Outbox)) {
        let mut state = self.lock();
        add(&mut state.outbox);
        state.outbox.note(accepted);
        state.held = state.held.saturating_sub(1);
        // A system call, waiters or not.
        if state.held == 0 && state.finishing {
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

    /// Send what there is, if it is much or old: the worker is about to be busy with the next.
    pub(super) fn tell_if_due(&self) -> Result<(), Errno> {
        let state = self.lock();
        let due = is_much(&state) || state.outbox.is_old();
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
        state.finishing = true;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::transport::{self, Channel};

    const THEN: SystemTime = SystemTime::UNIX_EPOCH;

    fn link(credits: u32) -> (Channel, Link) {
        let (channel, end) = transport::pair().unwrap();
        (channel, Link::new(end, credits))
    }

    fn done(ids: impl IntoIterator<Item = u64>, credits: u32) -> FromWorker {
        let ids = ids.into_iter().collect();
        FromWorker::Done { ids, credits }
    }

    #[test]
    fn what_is_given_back_is_gathered_until_it_is_half_of_the_credits() {
        let (mut channel, link) = link(8);
        link.hold(8);
        for id in 1..=3 {
            link.give_back(id, SystemTime::now());
        }
        assert_eq!(channel.receive(), Ok(None));
        link.give_back(4, SystemTime::now());
        assert_eq!(channel.receive(), Ok(Some(done(1..=4, 8))));
        // The next ones are told before the worker waits.
        link.give_back(5, SystemTime::now());
        link.refuse(6, SystemTime::now(), Refusal::Expired);
        link.begin_to_wait().unwrap();
        assert_eq!(channel.receive(), Ok(Some(done([5], 8))));
        let refused = FromWorker::Refused {
            ids: vec![6],
            credits: 8,
            reason: Refusal::Expired,
        };
        assert_eq!(channel.receive(), Ok(Some(refused)));
        // And while it waits, at once.
        link.give_back(7, SystemTime::now());
        assert_eq!(channel.receive(), Ok(Some(done([7], 8))));
        link.end_to_wait();
        link.give_back(8, SystemTime::now());
        assert_eq!(channel.receive(), Ok(None));
    }

    #[test]
    fn a_connection_that_was_accepted_long_ago_is_not_withheld_from_the_next() {
        let (mut channel, link) = link(100);
        link.hold(2);
        link.give_back(1, THEN);
        assert_eq!(channel.receive(), Ok(None));
        link.tell_if_due().unwrap();
        assert_eq!(channel.receive(), Ok(Some(done([1], 100))));
        link.tell_if_due().unwrap();
        assert_eq!(channel.receive(), Ok(None));
    }

    #[test]
    fn a_message_holds_what_it_may_and_refusals_go_by_their_reason() {
        let mut outbox = Outbox::default();
        let many = MOST_IDS as u64 + 1;
        outbox.done.extend(1..=many);
        outbox.refused.extend([
            (5000, Refusal::Overloaded),
            (5001, Refusal::Expired),
            (5002, Refusal::Overloaded),
        ]);
        outbox.note(THEN);
        assert!(outbox.is_old());
        assert_eq!(outbox.next(1), Some(done(1..many, 1)));
        let last = outbox.next(1).unwrap();
        assert_eq!(last, done([many], 1));
        outbox.put_back(last.clone());
        assert_eq!(outbox.next(1), Some(last));
        let refused = |ids: &[u64], reason| FromWorker::Refused {
            ids: ids.to_vec(),
            credits: 1,
            reason,
        };
        let overloaded = refused(&[5000, 5002], Refusal::Overloaded);
        assert_eq!(outbox.next(1), Some(overloaded));
        assert_eq!(outbox.next(1), Some(refused(&[5001], Refusal::Expired)));
        assert_eq!(outbox.next(1), None);
        assert_eq!((outbox.len(), outbox.is_old()), (0, false));
    }

    #[test]
    fn with_one_credit_nothing_is_gathered() {
        let (mut channel, link) = link(1);
        link.hold(1);
        link.give_back(1, SystemTime::now());
        assert_eq!(channel.receive(), Ok(Some(done([1], 1))));
    }

    #[test]
    fn a_full_channel_is_waited_for() {
        let (mut channel, link) = link(1);
        let count = 2000;
        let told = std::thread::scope(|scope| {
            scope.spawn(|| {
                for id in 0..count {
                    link.give_back(id, THEN);
                }
            });
            let mut told = Vec::new();
            while told.len() < count as usize {
                match channel.receive().unwrap() {
                    Some(FromWorker::Done { ids, .. }) => told.extend(ids),
                    Some(other) => panic!("{other:?}"),
                    None => std::thread::yield_now(),
                }
            }
            told
        });
        assert!(told.into_iter().eq(0..count));
    }
}
