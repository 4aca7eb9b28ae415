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
//! A connection is in exactly one of these places; the property test below holds it to that. Held means
//! that it was put into the worker's channel. Of a worker that has ended, what it had not taken out of
//! the channel goes back in front of the waiting ones; the rest is lost, and the caller says so.
//!
//! What a worker claims is not believed: ids that it does not hold, more credits than a worker may have,
//! anything before its hello are a [`Fault`], after which it gets nothing more and is to be killed.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

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

    // ---- workers come and go ----

    /// The next worker to start now, if one is due. One that cannot be started has [`Pool::ended`].
    pub(crate) fn due(&mut self, now: Instant) -> Option<WorkerId> {
        if !self.may_start() {
            return None;
        }
        let due =
            |slot: &Slot| slot.starting.is_none() && slot.start_at.is_some_and(|at| at <= now);
        let (index, slot) = self
            .slots
            .iter_mut()
            .enumerate()
            .find(|(_, slot)| due(slot))?;
        let worker = WorkerId(self.next_worker);
        self.next_worker = self.next_worker.saturating_add(1);
        slot.start_at = None;
        slot.starting = Some(worker);
        self.members.insert(worker, Member::starting(index, now));
        Some(worker)
    }

    /// One worker more, due at once.
    pub(crate) fn grow(&mut self, now: Instant) {
        self.slots.push(Slot {
            start_at: Some(now),
            ..Slot::default()
        });
    }

    /// `worker` is ready for `credits` connections. The worker whose place it takes, if it does, has to
    /// be told to drain.
    pub(crate) fn hello(
        &mut self,
        worker: WorkerId,
        credits: u32,
        now: Instant,
    ) -> Result<Option<WorkerId>, Fault> {
        let allowed = self.check_credits(credits);
        let Some(member) = self.members.get_mut(&worker) else {
            return Ok(None);
        };
        let result = match member.phase {
            Phase::Starting => allowed,
            // Whatever a worker says that is not trusted any more.
            Phase::CutOff => return Ok(None),
            Phase::Ready | Phase::Draining => Err(Fault::HelloTwice),
        };
        if let Err(fault) = result {
            self.cut_off(worker, now);
            return Err(fault);
        }
        member.credits = credits;
        member.enter(Phase::Ready, now);
        let Some(slot) = self.slots.get_mut(member.slot) else {
            return Ok(None);
        };
        slot.starting = None;
        let replaced = slot.serving.replace(worker);
        Ok(replaced.filter(|old| match self.members.get_mut(old) {
            Some(old) if old.phase == Phase::Ready => {
                old.enter(Phase::Draining, now);
                true
            }
            _ => false,
        }))
    }

    /// `worker` gets nothing more, and is to be killed.
    pub(crate) fn cut_off(&mut self, worker: WorkerId, now: Instant) {
        if let Some(member) = self.members.get_mut(&worker)
            && member.phase != Phase::CutOff
        {
            member.enter(Phase::CutOff, now);
        }
    }

    /// `worker` has ended, or could not be started. `unread` was still in its channel.
    pub(crate) fn ended(&mut self, worker: WorkerId, unread: &[u64], now: Instant) -> Ended {
        let Some(mut member) = self.members.remove(&worker) else {
            return Ended {
                returned: Vec::new(),
                lost: Vec::new(),
                again: None,
            };
        };
        let returned: Vec<_> = unread
            .iter()
            .copied()
            .filter(|id| member.held.remove(id))
            .collect();
        for &id in returned.iter().rev() {
            self.waiting.push_front(id);
        }
        let mut lost: Vec<_> = member.held.into_iter().collect();
        lost.sort_unstable();
        let again = self.schedule(worker, member.slot, member.phase, member.since, now);
        Ended {
            returned,
            lost,
            again,
        }
    }

    /// When the slot of a worker that ended gets another.
    fn schedule(
        &mut self,
        worker: WorkerId,
        slot: usize,
        phase: Phase,
        since: Instant,
        now: Instant,
    ) -> Option<Instant> {
        let slot = self.slots.get_mut(slot)?;
        let was_starting = slot.starting == Some(worker);
        if was_starting {
            slot.starting = None;
        }
        if slot.serving == Some(worker) {
            slot.serving = None;
        } else if !was_starting {
            // It had been replaced already.
            return None;
        }
        if slot.starting.is_some() || slot.start_at.is_some() {
            return slot.start_at;
        }
        let healthy = match phase {
            Phase::Draining => true,
            Phase::Ready => now.saturating_duration_since(since) >= self.settings.back_off.healthy,
            Phase::Starting | Phase::CutOff => false,
        };
        slot.failures = match healthy {
            true => 0,
            false => slot.failures.saturating_add(1),
        };
        let wait = self.settings.back_off.after(slot.failures);
        slot.start_at = now.checked_add(wait);
        slot.start_at.filter(|_| !self.draining)
    }

    /// `worker`, from which no hello came but which may serve already, is asked to finish by the caller:
    /// another takes its place when one is due.
    pub(crate) fn retire(&mut self, worker: WorkerId, now: Instant) {
        let Some(member) = self.members.get_mut(&worker) else {
            return;
        };
        if member.phase == Phase::Starting {
            member.enter(Phase::Draining, now);
            if let Some(slot) = self.slots.get_mut(member.slot) {
                slot.starting = None;
            }
        }
    }

    /// Start a new worker in every slot; each old one goes on until the new one has said hello. Those
    /// that were still starting are to be killed.
    pub(crate) fn replace_all(&mut self, now: Instant) -> Vec<WorkerId> {
        let mut kill = Vec::new();
        for slot in &mut self.slots {
            slot.failures = 0;
            slot.start_at = Some(now);
            kill.extend(slot.starting.take());
        }
        for &worker in &kill {
            self.cut_off(worker, now);
        }
        kill
    }

    /// No more is accepted, and workers are started only for connections that have nobody else.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// Whom to tell to drain, once everything that was accepted is with a worker.
    pub(crate) fn whom_to_drain(&mut self, now: Instant) -> Vec<WorkerId> {
        if !self.draining || !self.waiting.is_empty() {
            return Vec::new();
        }
        let ready = |member: &Member| member.phase == Phase::Ready;
        let told: Vec<_> = self
            .members
            .iter_mut()
            .filter(|(_, member)| ready(member))
            .map(|(&worker, member)| {
                member.enter(Phase::Draining, now);
                worker
            })
            .collect();
        // Nothing will come to those that start now.
        for member in self.members.values_mut() {
            if member.phase == Phase::Starting {
                member.enter(Phase::CutOff, now);
            }
        }
        told
    }

    /// Whether all is over after [`Pool::drain`].
    pub(crate) fn is_over(&self) -> bool {
        self.draining && self.members.is_empty() && self.waiting.is_empty()
    }

    /// Workers whose time is over; they are cut off.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<(WorkerId, Overdue)> {
        let settings = self.settings;
        let over = |member: &Member| {
            let (limit, why) = limit(&settings, member.phase)?;
            (now.saturating_duration_since(member.since) >= limit).then_some(why)
        };
        let found: Vec<_> = self
            .members
            .iter()
            .filter_map(|(&worker, member)| Some((worker, over(member)?)))
            .collect();
        for &(worker, _) in &found {
            self.cut_off(worker, now);
        }
        found
    }

    /// When [`Pool::due`] or [`Pool::overdue`] has something next.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let limits = self.members.values().filter_map(|member| {
            let (limit, _) = limit(&self.settings, member.phase)?;
            member.since.checked_add(limit)
        });
        let starts = self
            .slots
            .iter()
            .filter(|slot| self.may_start() && slot.starting.is_none())
            .filter_map(|slot| slot.start_at);
        limits.chain(starts).min()
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

    // ---- connections come and go ----

    /// A connection was accepted: its number. It waits for [`Pool::assign`].
    pub(crate) fn admit(&mut self) -> u64 {
        let id = self.next_connection;
        self.next_connection = self.next_connection.saturating_add(1);
        self.waiting.push_back(id);
        id
    }

    /// A connection that waits was closed.
    pub(crate) fn forget(&mut self, id: u64) {
        self.waiting.retain(|&waiting| waiting != id);
    }

    /// Who gets what of that which waits, as far as there are credits: messages to send, in order.
    pub(crate) fn assign(&mut self) -> Vec<(WorkerId, Vec<u64>)> {
        let mut messages: Vec<(WorkerId, Vec<u64>)> = Vec::new();
        while let Some(&id) = self.waiting.front()
            && let Some(worker) = self.next()
            && let Some(member) = self.members.get_mut(&worker)
        {
            self.waiting.pop_front();
            self.turn = self.turn.saturating_add(1);
            member.last = self.turn;
            member.held.insert(id);
            let open = |(to, ids): &&mut (WorkerId, Vec<u64>)| {
                *to == worker && ids.len() < MOST_CONNECTIONS
            };
            match messages.iter_mut().find(open) {
                Some((_, ids)) => ids.push(id),
                None => messages.push((worker, vec![id])),
            }
        }
        messages
    }

    /// The least loaded worker with credit left; of several, the one idle for longest.
    pub(crate) fn next(&self) -> Option<WorkerId> {
        self.members
            .iter()
            .filter(|(_, member)| member.free() > 0)
            .min_by_key(|(worker, member)| (member.held.len(), member.last, **worker))
            .map(|(&worker, _)| worker)
    }

    /// A message of [`Pool::assign`] was not taken: its connections wait again, in front.
    pub(crate) fn unsent(&mut self, worker: WorkerId, ids: &[u64]) {
        let Some(member) = self.members.get_mut(&worker) else {
            return;
        };
        for &id in ids.iter().rev() {
            if member.held.remove(&id) {
                self.waiting.push_front(id);
            }
        }
    }

    /// What `worker` has left in its channel for too long was taken back: `unread` waits again, in front,
    /// and it gets no more until it says something. Whether it has others, which it may be busy with.
    pub(crate) fn untaken(&mut self, worker: WorkerId, unread: &[u64]) -> Busy {
        self.unsent(worker, unread);
        self.set_full(worker, Full::Yes);
        match self.members.get(&worker) {
            Some(member) if member.held.is_empty() => Busy::No,
            _ => Busy::Yes,
        }
    }

    /// The worker's channel has no space, or has some again.
    pub(crate) fn set_full(&mut self, worker: WorkerId, full: Full) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.full = full == Full::Yes;
        }
    }

    /// `worker` gives back `ids`, served or refused, and has `credits` in all.
    pub(crate) fn done(
        &mut self,
        worker: WorkerId,
        ids: &[u64],
        credits: u32,
        now: Instant,
    ) -> Result<(), Fault> {
        let allowed = self.check_credits(credits);
        let Some(member) = self.members.get_mut(&worker) else {
            return Ok(());
        };
        let result = match member.phase {
            Phase::Starting => Err(Fault::NoHello),
            Phase::CutOff => return Ok(()),
            Phase::Ready | Phase::Draining => {
                allowed.and_then(|()| give_back(&mut member.held, ids))
            }
        };
        if let Err(fault) = result {
            self.cut_off(worker, now);
            return Err(fault);
        }
        member.credits = credits;
        self.turn = self.turn.saturating_add(1);
        member.last = self.turn;
        Ok(())
    }

    /// How many connections may be accepted now.
    pub(crate) fn room(&self) -> usize {
        if self.draining {
            return 0;
        }
        self.members
            .values()
            .fold(0_usize, |sum, member| sum.saturating_add(member.free()))
            .saturating_sub(self.waiting.len())
    }

    /// Connections that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn check_credits(&self, claimed: u32) -> Result<(), Fault> {
        let most = self.settings.most_credits;
        match claimed <= most {
            true => Ok(()),
            false => Err(Fault::TooManyCredits { claimed, most }),
        }
    }

    /// While draining, only for connections that nobody else will take.
    fn may_start(&self) -> bool {
        let takes = |member: &Member| matches!(member.phase, Phase::Starting | Phase::Ready);
        !self.draining || (!self.waiting.is_empty() && !self.members.values().any(takes))
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

/// All of `ids` or none of them.
fn give_back(held: &mut HashSet<u64>, ids: &[u64]) -> Result<(), Fault> {
    for (count, id) in ids.iter().enumerate() {
        if !held.remove(id) {
            held.extend(ids.iter().take(count));
            return Err(Fault::UnknownConnection(*id));
        }
    }
    Ok(())
}

fn limit(settings: &Settings, phase: Phase) -> Option<(Duration, Overdue)> {
    match phase {
        Phase::Starting => Some((settings.hello_within, Overdue::Hello)),
        Phase::Draining => Some((settings.drain_within, Overdue::Drain)),
        Phase::Ready | Phase::CutOff => None,
    }
}

#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops where it fails"
)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const BACK_OFF: BackOff = BackOff {
        first: Duration::from_millis(50),
        most: Duration::from_millis(300),
        healthy: Duration::from_secs(5),
    };

    fn settings(workers: usize) -> Settings {
        Settings {
            workers,
            most_credits: 64,
            hello_within: Duration::from_secs(30),
            drain_within: Duration::from_secs(20),
            back_off: BACK_OFF,
        }
    }

    /// A pool whose workers have said hello, with these credits.
    fn ready(credits: &[u32]) -> (Pool, Vec<WorkerId>, Instant) {
        let now = Instant::now();
        let mut pool = Pool::new(settings(credits.len()), now);
        let mut workers = Vec::new();
        for &credits in credits {
            let worker = pool.due(now).unwrap();
            assert_eq!(pool.hello(worker, credits, now), Ok(None));
            workers.push(worker);
        }
        assert_eq!(pool.due(now), None);
        (pool, workers, now)
    }

    /// Accept one more and say who gets it.
    fn one(pool: &mut Pool) -> Option<(WorkerId, u64)> {
        let id = pool.admit();
        match pool.assign().as_slice() {
            [] => None,
            [(worker, ids)] if *ids == [id] => Some((*worker, id)),
            other => panic!("{other:?}"),
        }
    }

    fn phase(pool: &Pool, worker: WorkerId) -> Option<Phase> {
        pool.loads()
            .find(|load| load.worker == worker)
            .map(|load| load.phase)
    }

    #[test]
    fn what_a_worker_leaves_in_its_channel_goes_to_another() {
        let (mut pool, workers, now) = ready(&[2, 2]);
        let (first, taken) = one(&mut pool).unwrap();
        let (second, other) = one(&mut pool).unwrap();
        assert_eq!([first, second], workers[..]);
        let (third, left) = one(&mut pool).unwrap();
        assert_eq!(third, first);
        // It has one, which may be what keeps it from the next.
        assert_eq!(pool.untaken(first, &[left]), Busy::Yes);
        assert_eq!(pool.assign(), [(second, vec![left])]);
        assert_eq!(pool.admit(), left + 1);
        assert_eq!(pool.assign(), [], "it gets no more");
        pool.set_full(first, Full::No);
        assert_eq!(pool.assign(), [(first, vec![left + 1])]);
        assert_eq!(pool.done(first, &[taken], 2, now), Ok(()));
        // It has none, and does not take the next.
        assert_eq!(pool.untaken(first, &[left + 1]), Busy::No);
        assert_eq!(pool.done(second, &[other, left], 2, now), Ok(()));
        assert_eq!(pool.assign(), [(second, vec![left + 1])]);
    }

    #[test]
    fn one_that_never_said_hello_can_be_asked_to_finish() {
        let now = Instant::now();
        let mut pool = Pool::new(settings(1), now);
        let worker = pool.due(now).unwrap();
        pool.retire(worker, now);
        assert_eq!(phase(&pool, worker), Some(Phase::Draining));
        assert_eq!(pool.replace_all(now), []);
        let successor = pool.due(now).unwrap();
        assert_eq!(pool.ended(worker, &[], now).again, None);
        assert_eq!(pool.hello(successor, 0, now), Ok(None));
    }

    #[test]
    fn the_least_loaded_gets_the_next_and_of_equals_the_one_idle_for_longest() {
        let (mut pool, w, now) = ready(&[8, 8, 8]);
        let order: Vec<_> = (0..6).map(|_| one(&mut pool).unwrap()).collect();
        let to: Vec<_> = order.iter().map(|(worker, _)| *worker).collect();
        assert_eq!(to, [w[0], w[1], w[2], w[0], w[1], w[2]]);
        // The second is through with one: it is the least loaded.
        pool.done(w[1], &[order[1].1], 8, now).unwrap();
        assert_eq!(one(&mut pool).unwrap().0, w[1]);
        // All have two, and the first has had nothing to do with anybody for longest.
        assert_eq!(one(&mut pool).unwrap().0, w[0]);
        assert_eq!(one(&mut pool).unwrap().0, w[2]);
    }

    #[test]
    fn a_burst_is_spread_over_the_workers_in_few_messages() {
        let (mut pool, w, _) = ready(&[20, 20]);
        for _ in 0..40 {
            pool.admit();
        }
        let sizes: Vec<_> = pool
            .assign()
            .into_iter()
            .map(|(worker, ids)| (worker, ids.len()))
            .collect();
        assert_eq!(sizes, [(w[0], 16), (w[1], 16), (w[0], 4), (w[1], 4)]);
    }

    #[test]
    fn nobody_gets_more_than_its_credits_and_the_rest_waits() {
        let (mut pool, w, now) = ready(&[1, 2]);
        assert_eq!(pool.room(), 3);
        assert_eq!(pool.room(), 3);
        let given: Vec<_> = (0..3).map(|_| one(&mut pool).unwrap()).collect();
        assert_eq!(pool.room(), 0);
        assert_eq!(one(&mut pool), None);
        assert_eq!((pool.waiting(), pool.room()), (1, 0));
        // What was given back goes to the one that waits, and there is no room yet.
        pool.done(w[0], &[given[0].1], 1, now).unwrap();
        assert_eq!(pool.assign(), [(w[0], vec![4])]);
        assert_eq!(pool.room(), 0);
        // A worker may change its mind, up and down.
        pool.done(w[1], &[], 5, now).unwrap();
        assert_eq!(pool.room(), 3);
        pool.done(w[1], &[], 0, now).unwrap();
        assert_eq!(pool.room(), 0);
    }

    #[test]
    fn a_worker_that_has_not_said_hello_gets_nothing() {
        let now = Instant::now();
        let mut pool = Pool::new(settings(1), now);
        let worker = pool.due(now).unwrap();
        assert_eq!(one(&mut pool), None);
        pool.hello(worker, 1, now).unwrap();
        assert_eq!(pool.assign(), [(worker, vec![1])]);
    }

    #[test]
    fn a_worker_that_claims_what_it_does_not_have_is_cut_off() {
        type Claim = fn(&mut Pool, WorkerId, u64, Instant) -> Result<(), Fault>;
        let table: [(&str, Claim, Fault); 6] = [
            (
                "an id that was never given out",
                |pool, worker, _, now| pool.done(worker, &[99], 4, now),
                Fault::UnknownConnection(99),
            ),
            (
                "the same id twice in a message",
                |pool, worker, id, now| pool.done(worker, &[id, id], 4, now),
                Fault::UnknownConnection(2),
            ),
            (
                "another worker's id",
                |pool, worker, _, now| pool.done(worker, &[1], 4, now),
                Fault::UnknownConnection(1),
            ),
            (
                "an id again",
                |pool, worker, id, now| {
                    pool.done(worker, &[id], 4, now)?;
                    pool.done(worker, &[id], 4, now)
                },
                Fault::UnknownConnection(2),
            ),
            (
                "more credits than there are",
                |pool, worker, id, now| pool.done(worker, &[id], 65, now),
                Fault::TooManyCredits {
                    claimed: 65,
                    most: 64,
                },
            ),
            (
                "a second hello",
                |pool, worker, _, now| pool.hello(worker, 4, now).map(drop),
                Fault::HelloTwice,
            ),
        ];
        for (what, claim, fault) in table {
            let (mut pool, w, now) = ready(&[4, 4]);
            assert_eq!(one(&mut pool), Some((w[0], 1)));
            let (_, id) = one(&mut pool).unwrap();
            // The control: what is right is taken.
            let (_, right) = (one(&mut pool), one(&mut pool).unwrap().1);
            assert_eq!(pool.done(w[1], &[right], 4, now), Ok(()), "{what}");
            assert_eq!(claim(&mut pool, w[1], id, now), Err(fault), "{what}");
            assert_eq!(phase(&pool, w[1]), Some(Phase::CutOff), "{what}");
            assert_eq!(pool.cut_off_workers().collect::<Vec<_>>(), [w[1]]);
            // From now on all goes to the other, and what it says is not heard.
            assert_eq!(one(&mut pool).unwrap().0, w[0], "{what}");
            assert_eq!(pool.done(w[1], &[77], 99, now), Ok(()), "{what}");
            assert_eq!(phase(&pool, w[0]), Some(Phase::Ready), "{what}");
        }
        let now = Instant::now();
        let mut pool = Pool::new(settings(1), now);
        let worker = pool.due(now).unwrap();
        assert_eq!(pool.done(worker, &[], 1, now), Err(Fault::NoHello));
        let mut pool = Pool::new(settings(1), now);
        let worker = pool.due(now).unwrap();
        assert!(matches!(
            pool.hello(worker, 65, now),
            Err(Fault::TooManyCredits { .. })
        ));
        assert_eq!(phase(&pool, worker), Some(Phase::CutOff));
    }

    #[test]
    fn what_a_dead_worker_had_not_taken_goes_to_others_first() {
        let (mut pool, w, now) = ready(&[8, 2]);
        for _ in 0..6 {
            pool.admit();
        }
        assert_eq!(
            pool.assign(),
            [(w[0], vec![1, 3, 5, 6]), (w[1], vec![2, 4])]
        );
        pool.admit();
        // It had taken 1; 3, 5 and 6 were still in the channel. 2 never was there: not believed.
        let ended = pool.ended(w[0], &[3, 5, 6, 2], now);
        assert_eq!(ended.returned, [3, 5, 6]);
        assert_eq!(ended.lost, [1]);
        assert_eq!(pool.assign(), []);
        pool.done(w[1], &[2, 4], 3, now).unwrap();
        assert_eq!(pool.assign(), [(w[1], vec![3, 5, 6])]);
        assert_eq!(pool.waiting(), 1);
    }

    #[test]
    fn a_full_channel_is_passed_over_until_it_has_space() {
        let (mut pool, w, _) = ready(&[8, 8]);
        pool.admit();
        let message = pool.assign();
        assert_eq!(message, [(w[0], vec![1])]);
        pool.unsent(w[0], &[1]);
        pool.set_full(w[0], Full::Yes);
        assert_eq!(pool.assign(), [(w[1], vec![1])]);
        assert_eq!(pool.room(), 7);
        pool.set_full(w[0], Full::No);
        assert_eq!(pool.room(), 15);
    }

    #[test]
    fn a_worker_that_crashes_waits_longer_each_time_and_no_more_than_the_cap() {
        let mut now = Instant::now();
        let mut pool = Pool::new(settings(1), now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let worker = pool.due(now).unwrap();
            pool.hello(worker, 1, now).unwrap();
            now += Duration::from_millis(10);
            let again = pool.ended(worker, &[], now).again.unwrap();
            waits.push((again - now).as_millis());
            assert_eq!(pool.due(now), None);
            assert_eq!(pool.wake_at(), Some(again));
            now = again;
        }
        assert_eq!(waits, [50, 100, 200, 300, 300, 300]);
        // A healthy time is forgiven at once, and the next crash begins anew.
        let worker = pool.due(now).unwrap();
        pool.hello(worker, 1, now).unwrap();
        now += BACK_OFF.healthy;
        assert_eq!(pool.ended(worker, &[], now).again, Some(now));
        let worker = pool.due(now).unwrap();
        let again = pool.ended(worker, &[], now).again.unwrap();
        assert_eq!(again - now, BACK_OFF.first);
        assert_eq!(BACK_OFF.after(u32::MAX), BACK_OFF.most);
    }

    #[test]
    fn the_document_says_the_defaults() {
        let page = include_str!("../../docs/channel.md");
        let page: Vec<_> = page.split_whitespace().collect();
        let page = page.join(" ");
        let Settings {
            most_credits,
            hello_within,
            back_off,
            ..
        } = Settings::default();
        assert_eq!(back_off.healthy, Duration::from_secs(5));
        for words in [
            format!("more than {most_credits} credits"),
            format!("within {} seconds of its start", hello_within.as_secs()),
            "at once if it had been ready for five seconds".to_owned(),
            format!(
                "doubles from {} milliseconds to {} seconds",
                back_off.first.as_millis(),
                back_off.most.as_secs()
            ),
        ] {
            assert!(page.contains(&words), "{words}");
        }
    }

    #[test]
    fn one_that_never_says_hello_is_overdue_and_counts_as_crashed() {
        let now = Instant::now();
        let mut pool = Pool::new(settings(1), now);
        let worker = pool.due(now).unwrap();
        let late = now + settings(1).hello_within;
        assert_eq!(pool.wake_at(), Some(late));
        assert_eq!(pool.overdue(late - Duration::from_nanos(1)), []);
        assert_eq!(pool.overdue(late), [(worker, Overdue::Hello)]);
        assert_eq!(pool.overdue(late), []);
        // Its hello comes too late.
        assert_eq!(pool.hello(worker, 1, late), Ok(None));
        assert_eq!(one(&mut pool), None);
        let ended = pool.ended(worker, &[], late);
        assert_eq!(ended.again, Some(late + BACK_OFF.first));
    }

    #[test]
    fn a_reload_keeps_the_old_worker_until_the_new_one_is_ready() {
        let (mut pool, w, now) = ready(&[4]);
        let (_, id) = one(&mut pool).unwrap();
        assert_eq!(pool.replace_all(now), []);
        let new = pool.due(now).unwrap();
        assert_eq!(one(&mut pool).unwrap().0, w[0]);
        // The new one crashes: the old one serves on, the next attempt waits.
        let again = pool.ended(new, &[], now).again.unwrap();
        assert_eq!(again, now + BACK_OFF.first);
        assert_eq!(one(&mut pool).unwrap().0, w[0]);
        let new = pool.due(again).unwrap();
        assert_eq!(pool.hello(new, 4, again), Ok(Some(w[0])));
        assert_eq!(one(&mut pool).unwrap().0, new);
        // The old one still may give back what it has, and its end starts nothing.
        assert_eq!(pool.done(w[0], &[id], 4, again), Ok(()));
        let ended = pool.ended(w[0], &[], again);
        assert_eq!((ended.lost, ended.again), (vec![2, 3], None));
        assert_eq!(pool.due(again + BACK_OFF.most), None);
        // A reload in the middle of another: the one that was starting is of no use.
        assert_eq!(pool.replace_all(again), []);
        let unused = pool.due(again).unwrap();
        assert_eq!(pool.replace_all(again), [unused]);
        let used = pool.due(again).unwrap();
        assert_eq!(pool.ended(unused, &[], again).again, None);
        assert_eq!(pool.hello(used, 1, again), Ok(Some(new)));
    }

    #[test]
    fn an_old_worker_that_does_not_finish_is_overdue() {
        let (mut pool, w, now) = ready(&[4]);
        pool.replace_all(now);
        let new = pool.due(now).unwrap();
        pool.hello(new, 4, now).unwrap();
        let late = now + settings(1).drain_within;
        assert_eq!(pool.wake_at(), Some(late));
        assert_eq!(pool.overdue(late), [(w[0], Overdue::Drain)]);
    }

    #[test]
    fn draining_loses_nothing_that_was_accepted() {
        let (mut pool, w, now) = ready(&[1, 1]);
        for _ in 0..3 {
            pool.admit();
        }
        pool.assign();
        pool.drain();
        assert_eq!(pool.room(), 0);
        // One still waits: nobody is told to finish before somebody has it.
        assert_eq!(pool.whom_to_drain(now), []);
        pool.done(w[0], &[1], 1, now).unwrap();
        assert_eq!(pool.assign(), [(w[0], vec![3])]);
        assert_eq!(pool.whom_to_drain(now), w);
        assert_eq!(pool.whom_to_drain(now), []);
        // One dies with what it had not taken, when nobody else takes any more: one is started for it.
        assert_eq!(pool.ended(w[1], &[2], now).returned, [2]);
        assert_eq!(pool.due(now), Some(WorkerId(3)));
        assert_eq!(pool.due(now), None);
        pool.hello(WorkerId(3), 1, now).unwrap();
        assert_eq!(pool.assign(), [(WorkerId(3), vec![2])]);
        assert_eq!(pool.whom_to_drain(now), [WorkerId(3)]);
        pool.done(WorkerId(3), &[2], 1, now).unwrap();
        for worker in [w[0], WorkerId(3)] {
            assert!(!pool.is_over());
            pool.ended(worker, &[], now);
        }
        assert!(pool.is_over());
        assert_eq!((pool.due(now), pool.wake_at()), (None, None));
    }

    #[test]
    fn a_worker_that_starts_while_nothing_is_left_is_cut_off() {
        let now = Instant::now();
        let mut pool = Pool::new(settings(1), now);
        let worker = pool.due(now).unwrap();
        pool.drain();
        assert_eq!(pool.whom_to_drain(now), []);
        assert_eq!(pool.cut_off_workers().collect::<Vec<_>>(), [worker]);
        pool.ended(worker, &[], now);
        assert!(pool.is_over());
    }

    #[test]
    fn a_connection_that_was_closed_while_it_waited_is_given_to_nobody() {
        let now = Instant::now();
        let mut pool = Pool::new(settings(1), now);
        let worker = pool.due(now).unwrap();
        let (gone, stays) = (pool.admit(), pool.admit());
        pool.forget(gone);
        pool.hello(worker, 4, now).unwrap();
        assert_eq!(pool.assign(), [(worker, vec![stays])]);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Admit,
        Assign {
            full: bool,
        },
        Space,
        Start,
        Hello {
            which: usize,
            credits: u32,
        },
        Done {
            which: usize,
            count: usize,
            credits: u32,
        },
        Lie {
            which: usize,
        },
        End {
            which: usize,
            read: usize,
        },
        Pass {
            milliseconds: u64,
        },
        Reload,
        Drain,
    }

    fn acts() -> impl Strategy<Value = Act> {
        let which = || 0_usize..6;
        prop_oneof![
            12 => Just(Act::Admit),
            12 => proptest::bool::weighted(0.1).prop_map(|full| Act::Assign { full }),
            1 => Just(Act::Space),
            4 => Just(Act::Start),
            4 => (which(), 0_u32..70).prop_map(|(which, credits)| Act::Hello { which, credits }),
            8 => (which(), 0_usize..4, 0_u32..66)
                .prop_map(|(which, count, credits)| Act::Done { which, count, credits }),
            1 => which().prop_map(|which| Act::Lie { which }),
            3 => (which(), 0_usize..4).prop_map(|(which, read)| Act::End { which, read }),
            3 => (0_u64..40_000).prop_map(|milliseconds| Act::Pass { milliseconds }),
            1 => Just(Act::Reload),
            1 => Just(Act::Drain),
        ]
    }

    /// What the outside world knows, to compare with.
    #[derive(Default)]
    struct World {
        admitted: BTreeSet<u64>,
        over: BTreeSet<u64>,
        lost: BTreeSet<u64>,
        /// In which worker's hands or channel each is, oldest first.
        with: BTreeMap<WorkerId, Vec<u64>>,
    }

    impl World {
        fn nth(&self, pool: &Pool, which: usize) -> Option<WorkerId> {
            let all: Vec<_> = pool.loads().map(|load| load.worker).collect();
            (!all.is_empty()).then(|| all[which % all.len()])
        }
    }

    fn step(pool: &mut Pool, world: &mut World, now: &mut Instant, act: &Act) {
        let worker = match act {
            Act::Hello { which, .. }
            | Act::Done { which, .. }
            | Act::Lie { which }
            | Act::End { which, .. } => match world.nth(pool, *which) {
                Some(worker) => worker,
                None => return,
            },
            _ => WorkerId(0),
        };
        match *act {
            Act::Admit => {
                // As the broker does: only while there is room.
                if pool.room() > 0 {
                    assert!(world.admitted.insert(pool.admit()));
                }
            }
            Act::Assign { full } => {
                for (to, ids) in pool.assign() {
                    assert!((1..=MOST_CONNECTIONS).contains(&ids.len()));
                    assert_eq!(phase(pool, to), Some(Phase::Ready));
                    let load = pool.loads().find(|load| load.worker == to).unwrap();
                    assert!(load.held <= load.credits as usize, "{load:?}");
                    if full {
                        pool.unsent(to, &ids);
                        pool.set_full(to, Full::Yes);
                        continue;
                    }
                    world.with.entry(to).or_default().extend(ids);
                }
            }
            Act::Space => {
                let all: Vec<_> = pool.loads().map(|load| load.worker).collect();
                for worker in all {
                    pool.set_full(worker, Full::No);
                }
            }
            Act::Start => drop(pool.due(*now)),
            Act::Hello { credits, .. } => {
                let before = phase(pool, worker);
                let result = pool.hello(worker, credits, *now);
                let right = before == Some(Phase::Starting) && credits <= 64;
                assert_eq!(result.is_ok(), right || before == Some(Phase::CutOff));
            }
            Act::Done { count, credits, .. } => {
                let has = world.with.entry(worker).or_default();
                let ids: Vec<_> = has.iter().copied().take(count).collect();
                let heard = matches!(phase(pool, worker), Some(Phase::Ready | Phase::Draining))
                    && credits <= 64;
                let result = pool.done(worker, &ids, credits, *now);
                if heard {
                    assert_eq!(result, Ok(()));
                    has.drain(..ids.len());
                    world.over.extend(ids);
                }
            }
            Act::Lie { .. } => {
                let _ = pool.done(worker, &[u64::MAX], 1, *now);
                assert_eq!(phase(pool, worker), Some(Phase::CutOff));
            }
            Act::End { read, .. } => {
                let has = world.with.remove(&worker).unwrap_or_default();
                let unread: Vec<_> = has.iter().copied().skip(read).collect();
                let ended = pool.ended(worker, &unread, *now);
                assert_eq!(ended.returned, unread);
                assert_eq!(ended.returned.len() + ended.lost.len(), has.len());
                world.lost.extend(ended.lost);
                if let Some(again) = ended.again {
                    assert!(again <= *now + BACK_OFF.most);
                }
            }
            Act::Pass { milliseconds } => {
                *now += Duration::from_millis(milliseconds);
                pool.overdue(*now);
            }
            Act::Reload => drop(pool.replace_all(*now)),
            Act::Drain => {
                pool.drain();
                pool.whom_to_drain(*now);
            }
        }
    }

    proptest! {
        #[test]
        fn every_connection_is_in_exactly_one_place(
            workers in 1_usize..4,
            acts in proptest::collection::vec(acts(), 0..200),
        ) {
            let mut now = Instant::now();
            let mut pool = Pool::new(settings(workers), now);
            let mut world = World::default();
            for act in &acts {
                step(&mut pool, &mut world, &mut now, act);
                let held: usize = pool.loads().map(|load| load.held).sum();
                prop_assert_eq!(held, world.with.values().map(Vec::len).sum::<usize>());
                prop_assert_eq!(
                    held + pool.waiting() + world.over.len() + world.lost.len(),
                    world.admitted.len()
                );
                prop_assert!(world.over.is_disjoint(&world.lost));
                // Whoever is next is ready and has credit, and nobody ready with credit has less.
                let free = |load: &Load| {
                    load.phase == Phase::Ready && load.held < load.credits as usize
                };
                if let Some(next) = pool.next() {
                    let next = pool.loads().find(|load| load.worker == next).unwrap();
                    prop_assert!(free(&next));
                    prop_assert!(
                        pool.members
                            .values()
                            .filter(|member| member.free() > 0)
                            .all(|member| member.held.len() >= next.held)
                    );
                }
                // A slot never has more than one worker that serves and one that starts.
                for (index, slot) in pool.slots.iter().enumerate() {
                    let live = pool.loads().filter(|load| {
                        load.slot == index && matches!(load.phase, Phase::Starting | Phase::Ready)
                    });
                    prop_assert!(live.count() <= 2);
                    prop_assert!(slot.serving.is_none() || slot.serving != slot.starting);
                }
            }
        }

        #[test]
        fn however_it_went_a_drained_pool_comes_to_its_end(
            workers in 1_usize..4,
            acts in proptest::collection::vec(acts(), 0..100),
        ) {
            let mut now = Instant::now();
            let mut pool = Pool::new(settings(workers), now);
            let mut world = World::default();
            for act in &acts {
                step(&mut pool, &mut world, &mut now, act);
            }
            pool.drain();
            // Workers that do their duty from now on: each round starts, serves and ends what it can.
            for _ in 0..200 {
                if pool.is_over() {
                    break;
                }
                pool.overdue(now);
                let all: Vec<Load> = pool.loads().collect();
                for load in all {
                    pool.set_full(load.worker, Full::No);
                    match load.phase {
                        Phase::Starting => drop(pool.hello(load.worker, 4, now)),
                        Phase::CutOff => {
                            let unread = world.with.remove(&load.worker).unwrap_or_default();
                            pool.ended(load.worker, &unread, now);
                        }
                        Phase::Ready | Phase::Draining => {
                            let ids = world.with.remove(&load.worker).unwrap_or_default();
                            prop_assert_eq!(pool.done(load.worker, &ids, 4, now), Ok(()));
                            world.over.extend(ids);
                            if load.phase == Phase::Draining {
                                pool.ended(load.worker, &[], now);
                            }
                        }
                    }
                }
                for (to, ids) in pool.assign() {
                    world.with.entry(to).or_default().extend(ids);
                }
                pool.whom_to_drain(now);
                if pool.loads().next().is_none() {
                    now = pool.wake_at().map_or(now, |at| at.max(now));
                }
                while pool.due(now).is_some() {}
            }
            prop_assert!(pool.is_over(), "{:?}", pool);
            prop_assert_eq!(world.over.len() + world.lost.len(), world.admitted.len());
        }
    }
}
