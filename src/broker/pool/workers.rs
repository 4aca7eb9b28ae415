//! Workers come and go: started when they are due, heard, replaced, told to finish, cut off, buried.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::time::{Duration, Instant};

use super::{Ended, Fault, Member, Overdue, Phase, Pool, Settings, Slot, WorkerId};

impl Pool {
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

    /// While draining, only for connections that nobody else will take.
    fn may_start(&self) -> bool {
        let takes = |member: &Member| matches!(member.phase, Phase::Starting | Phase::Ready);
        !self.draining || (!self.waiting.is_empty() && !self.members.values().any(takes))
    }
}

fn limit(settings: &Settings, phase: Phase) -> Option<(Duration, Overdue)> {
    match phase {
        Phase::Starting => Some((settings.hello_within, Overdue::Hello)),
        Phase::Draining => Some((settings.drain_within, Overdue::Drain)),
        Phase::Ready | Phase::CutOff => None,
    }
}
