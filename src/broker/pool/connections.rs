//! Connections come and go: admitted, assigned to whoever has the fewest, given back.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashSet;
use std::time::Instant;

use super::{Busy, Fault, Full, MOST_CONNECTIONS, Phase, Pool, WorkerId};

impl Pool {
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
