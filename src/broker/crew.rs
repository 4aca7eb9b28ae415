//! A crew of workers: started, told of connections, replaced, drained.
//!
//! In the broker's loop only. What to do is [`super::pool`]'s decision; here it is done. Both ways to
//! hand over to workers that stay are here: those of a pool have a channel and credits; those that have
//! the listening sockets themselves are taken for ready once they have run for a while, and asked to finish
//! by a signal.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::channel::{Delivery, FromWorker};
use super::house::{Arrival, House, Timer};
use super::journal::Ending;
use super::keeper::Token;
use super::limit::Over;
use super::pool::{self, Busy, Full, Overdue, Phase, Pool, WorkerId};
use super::reactor::{Interest, Key};
use super::settings::{HandOver, Settings};
use super::tally::{Stage, Why, WorkerView};
use super::transport::{self, Channel, MOST_MESSAGES, Parcel, Sent};
use crate::error::{self, Error, Result};

/// How long a worker may keep a connection whose time is over.
const GRACE: Duration = Duration::from_secs(5);
/// How long a worker that accepts for itself must have run to be taken for one that serves.
const STEADY: Duration = Duration::from_secs(1);
/// How long a message may stay in a worker's channel, at the most twice.
const TAKING: Duration = Duration::from_secs(5);
/// When a channel is tried again that took nothing for want of memory.
const RETRY: Duration = Duration::from_millis(10);
/// The most workers that start at a time: replacing them all must not take the machine from those that
/// serve.
const MOST_STARTING: usize = 8;

/// One worker's channel.
#[derive(Debug)]
struct Line {
    channel: Channel,
    /// The worker's end, from which comes back what it had not taken when it ended.
    end: OwnedFd,
    /// It is to be told to finish as soon as there is room.
    owes_drain: bool,
    full: bool,
    /// The first of the connections in it when that was last looked at.
    left: Option<u64>,
}

/// The crew.
#[derive(Debug)]
pub(crate) struct Crew {
    pool: Pool,
    lines: HashMap<WorkerId, Line>,
    /// Connections that wait for a worker.
    parcels: HashMap<u64, Parcel>,
    /// Workers that have been killed.
    killed: HashSet<WorkerId>,
    /// Those that accept for themselves and have not run for long.
    unsteady: HashSet<WorkerId>,
    hands_over: HandOver,
    stop_signal: Option<Signal>,
}

impl Crew {
    pub(crate) fn new(settings: &Settings, now: Instant) -> Self {
        let pool = pool::Settings {
            workers: settings.workers,
            drain_within: settings.drain,
            ..pool::Settings::default()
        };
        Self {
            pool: Pool::new(pool, now),
            lines: HashMap::new(),
            parcels: HashMap::new(),
            killed: HashSet::new(),
            unsteady: HashSet::new(),
            hands_over: settings.hand_over,
            stop_signal: Signal::try_from(settings.stop_signal).ok(),
        }
    }

    // ---- workers come and go ----

    /// Do what is due: start workers, tell those that have to finish, end those that must.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn tick(&mut self, house: &mut House) -> Result<()> {
        for (worker, why) in self.pool.overdue(house.now) {
            let reason = match why {
                Overdue::Hello => "it was not ready in time",
                Overdue::Drain => "it did not finish in time",
            };
            self.note_cut_off(house, worker, reason);
        }
        while self.starting() < MOST_STARTING
            && let Some(worker) = self.pool.due(house.now)
        {
            self.launch(house, worker)?;
        }
        for worker in self.pool.whom_to_drain(house.now) {
            self.ask_to_finish(house, worker)?;
        }
        let condemned: Vec<WorkerId> = self.pool.cut_off_workers().collect();
        for worker in condemned {
            // One that is still being launched is ended once it is there.
            if house.runs(worker.0) && self.killed.insert(worker) {
                house.kill(worker.0)?;
            }
        }
        Ok(())
    }

    /// How many are being started; of those that only wait to be taken for ready nothing more is done.
    fn starting(&self) -> usize {
        let starting = |load: &pool::Load| {
            load.phase == Phase::Starting && !self.unsteady.contains(&load.worker)
        };
        self.pool.loads().filter(starting).count()
    }

    fn launch(&mut self, house: &mut House, worker: WorkerId) -> Result<()> {
        let token = Token::new(worker.0).ok_or_else(|| Error::worker("there were too many"))?;
        if self.hands_over == HandOver::Listener {
            return house.keeper.launch(token, &[], None);
        }
        let made = transport::pair().and_then(|(channel, end)| {
            let watched =
                house
                    .reactor
                    .watch(channel.as_fd(), Key::Channel(worker.0), Interest::Read);
            watched.map_err(|_| Errno::ENOSPC)?;
            Ok((channel, end))
        });
        let (channel, end) = match made {
            Ok(made) => made,
            Err(errno) => {
                return self.failed(
                    house,
                    worker,
                    &format!("no channel: {}", error::reason(errno)),
                );
            }
        };
        house.keeper.launch(token, &[end.as_fd()], None)?;
        let line = Line {
            channel,
            end,
            owes_drain: false,
            full: false,
            left: None,
        };
        self.lines.insert(worker, line);
        Ok(())
    }

    /// A worker runs. One that accepts for itself says nothing: it is ready if it goes on doing so.
    pub(crate) fn started(&mut self, house: &mut House, worker: u64) {
        if self.hands_over == HandOver::Listener
            && let Some(at) = house.now.checked_add(STEADY)
        {
            self.unsteady.insert(WorkerId(worker));
            house.timers.set(Timer::Steady(worker), at);
        }
    }

    /// A worker that accepts for itself has run for a while.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn steady(&mut self, house: &mut House, worker: u64) -> Result<()> {
        self.unsteady.remove(&WorkerId(worker));
        self.hello(house, WorkerId(worker), 0)
    }

    /// Those that accept for themselves and are not taken for ready yet may have connections all the
    /// same: they are asked to finish, like the others.
    fn retire_starting(&mut self, house: &mut House) -> Result<()> {
        for worker in std::mem::take(&mut self.unsteady) {
            house.timers.cancel(Timer::Steady(worker.0));
            self.pool.retire(worker, house.now);
            self.ask_to_finish(house, worker)?;
        }
        Ok(())
    }

    /// A worker could not be launched.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn failed(
        &mut self,
        house: &mut House,
        worker: WorkerId,
        message: &str,
    ) -> Result<()> {
        house.launch_failed(worker.0, message);
        self.bury(house, worker);
        Ok(())
    }

    /// A worker has ended, with all of its sandbox.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn ended(&mut self, house: &mut House, worker: u64, ending: Ending) -> Result<()> {
        let worker = WorkerId(worker);
        let expected = self.pool.loads().any(|load| {
            load.worker == worker && matches!(load.phase, Phase::Draining | Phase::CutOff)
        });
        // Its last words may be that it was through with something; nobody adds to them any more. A hello
        // is of no use.
        while let Some(line) = self.lines.get_mut(&worker)
            && let Ok(Some(message)) = line.channel.receive()
            && !matches!(message, FromWorker::Hello { .. })
        {
            self.take(house, worker, message)?;
        }
        let again = self.bury(house, worker);
        if let Some(again) = again.filter(|_| !expected) {
            let pause = again.saturating_duration_since(house.now);
            house.journal.worker_replaced(worker.0, ending, pause);
        }
        Ok(())
    }

    /// Give back what a worker had not taken, and say what is lost with it. When another takes its
    /// place.
    fn bury(&mut self, house: &mut House, worker: WorkerId) -> Option<Instant> {
        self.killed.remove(&worker);
        self.unsteady.remove(&worker);
        for timer in [Timer::Channel, Timer::Taking, Timer::Steady] {
            house.timers.cancel(timer(worker.0));
        }
        let mut unread: HashMap<u64, Parcel> = HashMap::new();
        if let Some(line) = self.lines.remove(&worker) {
            house.reactor.forget(line.channel.as_fd());
            let taken = transport::take_back(line.end.as_fd());
            let parcels = taken.parcels.into_iter();
            unread = parcels.map(|it| (it.delivery.id, it)).collect();
        }
        let mut ids: Vec<u64> = unread.keys().copied().collect();
        ids.sort_unstable();
        let ended = self.pool.ended(worker, &ids, house.now);
        for id in ended.returned {
            if house.is_over(id) {
                // Nobody is left to be served.
                self.pool.forget(id);
                house.release(id, Why::Lost, None);
                continue;
            }
            if let Some(parcel) = unread.remove(&id) {
                house.taken_back(id, worker.0);
                self.parcels.insert(id, parcel);
            }
        }
        for id in ended.lost {
            house.release(id, Why::Lost, None);
        }
        ended.again
    }

    fn hello(&mut self, house: &mut House, worker: WorkerId, credits: u32) -> Result<()> {
        match self.pool.hello(worker, credits, house.now) {
            Ok(Some(replaced)) => self.ask_to_finish(house, replaced),
            Ok(None) => Ok(()),
            Err(fault) => {
                self.note_cut_off(house, worker, &fault.to_string());
                Ok(())
            }
        }
    }

    fn ask_to_finish(&mut self, house: &mut House, worker: WorkerId) -> Result<()> {
        if self.hands_over == HandOver::Listener {
            return match self.stop_signal {
                Some(signal) => house.signal(worker.0, signal),
                None => Ok(()),
            };
        }
        let Some(line) = self.lines.get_mut(&worker) else {
            return Ok(());
        };
        line.owes_drain = match line.channel.send_drain() {
            Ok(Sent::Full | Sent::Later) => true,
            // Gone: its end comes.
            Ok(Sent::Taken | Sent::Gone) | Err(_) => false,
        };
        if line.owes_drain {
            let key = Key::Channel(worker.0);
            let fd = line.channel.as_fd();
            house.reactor.change(fd, key, Interest::Both);
        }
        Ok(())
    }

    fn note_cut_off(&mut self, house: &mut House, worker: WorkerId, reason: &str) {
        self.pool.cut_off(worker, house.now);
        house.tally.cut_off = house.tally.cut_off.saturating_add(1);
        house.journal.cut_off(worker.0, reason);
    }

    // ---- what workers say ----

    /// A worker's channel has something, or has room again.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn hear(&mut self, house: &mut House, worker: u64) -> Result<()> {
        let worker = WorkerId(worker);
        self.try_again(house, worker)?;
        for _ in 0..MOST_MESSAGES {
            let Some(line) = self.lines.get_mut(&worker) else {
                return Ok(());
            };
            match line.channel.receive() {
                Ok(None) => return Ok(()),
                Ok(Some(message)) => self.take(house, worker, message)?,
                Err(breach) => {
                    // It would be told again and again.
                    house.reactor.forget(line.channel.as_fd());
                    self.note_cut_off(house, worker, &breach.to_string());
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A channel that was full may have room: whoever finds out that it has none says so again.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn try_again(&mut self, house: &mut House, worker: WorkerId) -> Result<()> {
        let Some(line) = self.lines.get_mut(&worker) else {
            return Ok(());
        };
        if !line.full && !line.owes_drain {
            return Ok(());
        }
        line.full = false;
        house
            .reactor
            .change(line.channel.as_fd(), Key::Channel(worker.0), Interest::Read);
        self.pool.set_full(worker, Full::No);
        match line.owes_drain {
            true => self.ask_to_finish(house, worker),
            false => Ok(()),
        }
    }

    fn take(&mut self, house: &mut House, worker: WorkerId, message: FromWorker) -> Result<()> {
        let (ids, credits, why, detail) = match message {
            FromWorker::Hello { credits } => return self.hello(house, worker, credits),
            FromWorker::Done { ids, credits } => (ids, credits, Why::Done, None),
            FromWorker::Refused {
                ids,
                credits,
                reason,
            } => (ids, credits, Why::Refused, Some(reason.to_string())),
        };
        match self.pool.done(worker, &ids, credits, house.now) {
            Ok(()) => {
                // It takes again, if it had been passed over.
                if self.lines.get(&worker).is_some_and(|line| !line.full) {
                    self.pool.set_full(worker, Full::No);
                }
                for id in ids {
                    house.release(id, why, detail.as_deref());
                }
            }
            Err(fault) => self.note_cut_off(house, worker, &fault.to_string()),
        }
        Ok(())
    }

    // ---- connections come and go ----

    /// How many more connections can be taken.
    pub(crate) fn room(&self) -> usize {
        self.pool.room()
    }

    /// Take a connection.
    pub(crate) fn welcome(&mut self, house: &mut House, arrival: Arrival) {
        let id = self.pool.admit();
        house.welcome(id, &arrival);
        let delivery = Delivery {
            id,
            listener: arrival.listener,
            peer: arrival.peer,
            local: arrival.local,
            accepted: arrival.accepted,
            deadline: house.settings.total,
        };
        let socket = arrival.socket;
        self.parcels.insert(id, Parcel { delivery, socket });
    }

    /// Give out what waits, as far as workers have room.
    pub(crate) fn hand_over(&mut self, house: &mut House) {
        for (worker, ids) in self.pool.assign() {
            self.send(house, worker, &ids);
        }
    }

    fn send(&mut self, house: &mut House, worker: WorkerId, ids: &[u64]) {
        let parcels: Vec<&Parcel> = ids.iter().filter_map(|id| self.parcels.get(id)).collect();
        let sent = match self.lines.get_mut(&worker) {
            Some(line) if parcels.len() == ids.len() => line.channel.send(parcels.into_iter()),
            _ => Ok(Sent::Gone),
        };
        if sent == Ok(Sent::Taken) {
            for &id in ids {
                self.parcels.remove(&id);
                house.handed_over(id, worker.0);
            }
            if !house.timers.is_set(Timer::Taking(worker.0)) {
                self.look_again(house, worker);
            }
            return;
        }
        self.pool.unsent(worker, ids);
        match sent {
            Ok(Sent::Full) => {
                self.set_full(worker);
                if let Some(line) = self.lines.get(&worker) {
                    let key = Key::Channel(worker.0);
                    house
                        .reactor
                        .change(line.channel.as_fd(), key, Interest::Both);
                }
            }
            Ok(Sent::Later) => {
                self.set_full(worker);
                if let Some(at) = house.now.checked_add(RETRY) {
                    house.timers.set(Timer::Channel(worker.0), at);
                }
            }
            _ => self.note_cut_off(house, worker, "its channel is gone"),
        }
    }

    fn look_again(&self, house: &mut House, worker: WorkerId) {
        if let Some(at) = house.now.checked_add(TAKING) {
            house.timers.set(Timer::Taking(worker.0), at);
        }
    }

    /// Whether a worker takes what it is sent. If the same message has been the first in its channel
    /// since the last look, all that is in it goes to others; and a worker that has nothing else to do,
    /// as it has closed its end or hangs, is replaced. The closing itself cannot be seen: the broker has
    /// a copy of that end.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn look_whether_taken(&mut self, house: &mut House, worker: u64) -> Result<()> {
        let worker = WorkerId(worker);
        let Some(line) = self.lines.get_mut(&worker) else {
            return Ok(());
        };
        let before = line.left;
        line.left = transport::first_left(line.end.as_fd());
        if line.left.is_none() {
            return Ok(());
        }
        if line.left != before {
            self.look_again(house, worker);
            return Ok(());
        }
        line.left = None;
        let taken = transport::take_back(line.end.as_fd());
        let parcels = taken.parcels.iter().map(|parcel| &parcel.delivery);
        let ids: Vec<u64> = parcels.chain(&taken.torn).map(|it| it.id).collect();
        let busy = self.pool.untaken(worker, &ids);
        for parcel in taken.parcels {
            let id = parcel.delivery.id;
            if !house.is_over(id) {
                house.taken_back(id, worker.0);
                self.parcels.insert(id, parcel);
            }
        }
        for id in ids {
            if !self.parcels.contains_key(&id) {
                self.pool.forget(id);
                house.release(id, Why::Lost, None);
            }
        }
        if busy == Busy::No {
            self.note_cut_off(house, worker, "it does not take what it is sent");
            return Ok(());
        }
        // The word to finish was taken out with the rest.
        let drains = |it: pool::Load| it.worker == worker && it.phase == Phase::Draining;
        if self.pool.loads().any(drains) {
            return self.ask_to_finish(house, worker);
        }
        Ok(())
    }

    fn set_full(&mut self, worker: WorkerId) {
        if let Some(line) = self.lines.get_mut(&worker) {
            line.full = true;
            self.pool.set_full(worker, Full::Yes);
        }
    }

    /// A connection's time is over: it ends here if it waits; else its worker sees its end, and has a
    /// little time to give it back.
    pub(crate) fn time_over(&mut self, house: &mut House, id: u64, over: Over) {
        if self.parcels.remove(&id).is_some() {
            self.pool.forget(id);
            house.release(id, Why::from(over), None);
            return;
        }
        house.cut(id, over);
        if let Some(at) = house.now.checked_add(GRACE) {
            house.timers.set(Timer::Grace(id), at);
        }
    }

    /// A worker has kept a connection past its time.
    pub(crate) fn grace_over(&mut self, house: &mut House, id: u64) {
        if let Some(worker) = house.worker_of(id) {
            let reason = format!("it kept connection {id} past its time");
            self.note_cut_off(house, WorkerId(worker), &reason);
        }
    }

    // ---- the whole crew ----

    /// Replace every worker: each goes on until its successor is ready.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn replace_all(&mut self, house: &mut House) -> Result<()> {
        self.retire_starting(house)?;
        // Those that were still starting are ended by the next tick.
        self.pool.replace_all(house.now);
        Ok(())
    }

    /// No more connections come: once everything is given out, workers are asked to finish.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn drain(&mut self, house: &mut House) -> Result<()> {
        self.retire_starting(house)?;
        self.pool.drain();
        Ok(())
    }

    /// Whether every place has a worker that is ready, and none is being replaced.
    pub(crate) fn is_ready(&self, settings: &Settings) -> bool {
        let count = |phase| self.pool.loads().filter(|it| it.phase == phase).count();
        count(Phase::Ready) >= settings.workers && count(Phase::Starting) == 0
    }

    /// Whether nobody and nothing is left.
    pub(crate) fn is_over(&self) -> bool {
        self.pool.is_over()
    }

    /// Connections that wait for a worker are closed: nobody will take them.
    pub(crate) fn give_up(&mut self, house: &mut House, why: Why) {
        let waiting: Vec<u64> = self.parcels.drain().map(|(id, _)| id).collect();
        for id in waiting {
            self.pool.forget(id);
            house.release(id, why, None);
        }
    }

    /// When [`Crew::tick`] has something to do next.
    pub(crate) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let next = self.pool.wake_at()?;
        // What is due and was not begun waits for those that are starting, not for time.
        match next <= now && self.starting() >= MOST_STARTING {
            true => now.checked_add(Duration::from_secs(1)),
            false => Some(next),
        }
    }

    /// Every worker.
    pub(crate) fn views(&self, house: &House) -> Vec<WorkerView> {
        let pooled = self.hands_over == HandOver::Pool;
        self.pool
            .loads()
            .map(|load| {
                let (pid, age) = house.age_of(load.worker.0);
                let credits = usize::try_from(load.credits).unwrap_or(usize::MAX);
                let free = credits.saturating_sub(load.held);
                WorkerView {
                    worker: load.worker.0,
                    pid,
                    stage: stage(load.phase, house.runs(load.worker.0)),
                    connections: pooled.then_some(load.held),
                    credits: pooled.then(|| u64::try_from(free).unwrap_or(u64::MAX)),
                    age,
                }
            })
            .collect()
    }
}

/// How a worker is shown of which the keeper has told, or not yet, that it `runs`: its hello comes by
/// another way, and may be here before.
fn stage(phase: Phase, runs: bool) -> Stage {
    match phase {
        Phase::Starting => Stage::Starting,
        Phase::Ready if !runs => Stage::Starting,
        Phase::Ready => Stage::Ready,
        Phase::Draining => Stage::Draining,
        Phase::CutOff => Stage::Ending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_a_pid_yet_is_not_shown_as_ready() {
        assert_eq!(stage(Phase::Ready, false), Stage::Starting);
        assert_eq!(stage(Phase::Ready, true), Stage::Ready);
        assert_eq!(stage(Phase::CutOff, false), Stage::Ending);
    }
}
