//! Which worker gets which connection, and when a worker is started again: pure.
//!
//! Runs in the broker, single-threaded. No system call and no clock: what happened is told by a method,
//! with the time where it matters, and what to do about it is the answer. The caller does it and tells
//! the outcome.
//!
//! ```text
//!            admit                assign                    done
//! accepted ─────────► waiting ──────────────► held ───────────────► over
//!                        ▲     (least loaded)  │ │
//!                        └──── unsent, ended ──┘ └─ ended ─► lost
//! ```
//!
//! A connection is in exactly one of these places; a property test holds it to that. Held means
//! that it was put into the worker's channel. Of a worker that has ended, what it had not taken out of
//! the channel goes back in front of the waiting ones; the rest is lost, and the caller says so.
//!
//! What a worker claims is not believed: ids that it does not hold, more credits than a worker may have,
//! anything before its hello are a [`Fault`], after which it gets nothing more and is to be killed.
//!
//! Here are the values; [`workers`] is a worker's way from its start to its end, [`connections`] a
//! connection's.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod connections;
#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops where it fails"
)]
mod tests;
mod workers;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use super::channel::MOST_CONNECTIONS;

/// A worker, never the same twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a pool is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Workers at a time.
    pub(crate) workers: usize,
    /// The most connections that one worker may ask for at a time.
    pub(crate) most_credits: u32,
    /// How long a worker may take from its start to its hello.
    pub(crate) hello_within: Duration,
    /// How long a worker may take to finish when it was told to.
    pub(crate) drain_within: Duration,
    /// When a worker that has ended is started again.
    pub(crate) back_off: BackOff,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 1,
            most_credits: 4096,
            hello_within: Duration::from_secs(30),
            drain_within: Duration::from_secs(30),
            back_off: BackOff::default(),
        }
    }
}

/// When a worker that ended by itself is started again: at once if it had been ready for `healthy`,
/// else after `first`, and after twice as long each further time, up to `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackOff {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
    pub(crate) healthy: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            most: Duration::from_secs(10),
            healthy: Duration::from_secs(5),
        }
    }
}

impl BackOff {
    /// The wait after `failures` ends in a row that came too soon.
    pub(crate) fn after(&self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            // Doubling 32 times is past any `most`.
            _ => self
                .first
                .saturating_mul(1 << failures.saturating_sub(1).min(31))
                .min(self.most),
        }
    }
}

/// What a worker did that ends the broker's trust in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It said hello a second time.
    #[error("it said hello twice")]
    HelloTwice,
    /// It spoke before it said hello.
    #[error("it spoke before it said hello")]
    NoHello,
    /// It claims more than a worker may hold.
    #[error("it claims {claimed} credits, and {most} is the most")]
    TooManyCredits {
        /// By its message.
        claimed: u32,
        /// By the settings.
        most: u32,
    },
    /// It gave back what it does not hold.
    #[error("it gave back connection {0}, which it does not hold")]
    UnknownConnection(u64),
}

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Started; its hello is awaited.
    Starting,
    /// It gets connections.
    Ready,
    /// It was told to finish and gets no more.
    Draining,
    /// It gets no more and is to be killed.
    CutOff,
}

/// A worker's state, for metrics and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) worker: WorkerId,
    pub(crate) slot: usize,
    pub(crate) phase: Phase,
    /// Connections that it has.
    pub(crate) held: usize,
    /// Connections that it will have at a time.
    pub(crate) credits: u32,
}

/// What has become of the connections of a worker that ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// It had not taken them: they wait again, in front.
    pub(crate) returned: Vec<u64>,
    /// It had taken them.
    pub(crate) lost: Vec<u64>,
    /// When another is started in its place, if one is.
    pub(crate) again: Option<Instant>,
}

/// Why a worker's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// It has not said hello.
    Hello,
    /// It has not finished.
    Drain,
}

#[derive(Debug)]
struct Member {
    slot: usize,
    phase: Phase,
    /// When the phase began.
    since: Instant,
    credits: u32,
    held: HashSet<u64>,
    /// The channel took no more; until the caller says that there is space again.
    full: bool,
    /// The turn in which it was last given something or gave something back.
    last: u64,
}

impl Member {
    fn starting(slot: usize, now: Instant) -> Self {
        Self {
            slot,
            phase: Phase::Starting,
            since: now,
            credits: 0,
            held: HashSet::new(),
            full: false,
            last: 0,
        }
    }

    fn free(&self) -> usize {
        match self.phase {
            Phase::Ready if !self.full => usize::try_from(self.credits)
                .unwrap_or(usize::MAX)
                .saturating_sub(self.held.len()),
            _ => 0,
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }
}

/// A place for one worker. While another takes over, two have it.
#[derive(Debug, Default)]
struct Slot {
    serving: Option<WorkerId>,
    starting: Option<WorkerId>,
    /// When the next one is started.
    start_at: Option<Instant>,
    /// Ends in a row that came too soon.
    failures: u32,
}

/// The workers, and the connections between acceptance and end.
#[derive(Debug)]
pub(crate) struct Pool {
    settings: Settings,
    slots: Vec<Slot>,
    members: BTreeMap<WorkerId, Member>,
    waiting: VecDeque<u64>,
    draining: bool,
    next_worker: u64,
    next_connection: u64,
    turn: u64,
}

impl Pool {
    /// A pool whose workers are all due.
    pub(crate) fn new(settings: Settings, now: Instant) -> Self {
        let mut pool = Self {
            slots: Vec::new(),
            settings,
            members: BTreeMap::new(),
            waiting: VecDeque::new(),
            draining: false,
            next_worker: 1,
            next_connection: 1,
            turn: 0,
        };
        (0..settings.workers).for_each(|_| pool.grow(now));
        pool
    }

    /// Workers that are to be killed and have not ended.
    pub(crate) fn cut_off_workers(&self) -> impl Iterator<Item = WorkerId> {
        self.members
            .iter()
            .filter(|(_, member)| member.phase == Phase::CutOff)
            .map(|(&worker, _)| worker)
    }

    /// Every worker.
    pub(crate) fn loads(&self) -> impl Iterator<Item = Load> {
        self.members.iter().map(|(&worker, member)| Load {
            worker,
            slot: member.slot,
            phase: member.phase,
            held: member.held.len(),
            credits: member.credits,
        })
    }

    fn check_credits(&self, claimed: u32) -> Result<(), Fault> {
        let most = self.settings.most_credits;
        match claimed <= most {
            true => Ok(()),
            false => Err(Fault::TooManyCredits { claimed, most }),
        }
    }
}

/// Whether a channel takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Yes,
    No,
}

/// Whether a worker may have something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    Yes,
    No,
}
