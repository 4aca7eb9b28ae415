//! The broker's workers: started, listened to, blamed, buried.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{Broker, Event, Running, length, wait};
use crate::broker::channel::FromWorker;
use crate::broker::pool::{Fault, WorkerId};
use crate::broker::transport::{self, MOST_MESSAGES, TakenBack};
use crate::error::{Error, Result};

impl Broker {
    /// Start the workers that are due; the last failure, if there was one.
    pub(super) fn start_due(&mut self) -> Option<(Error, Option<Duration>)> {
        let mut failed = None;
        while let Some(worker) = self.pool.due(self.looked) {
            if let Err(error) = self.start(worker) {
                let again = self.pool.ended(worker, &[], self.looked).again;
                let again = again.map(|at| at.saturating_duration_since(self.looked));
                failed = Some((error, again));
            }
        }
        failed
    }

    fn start(&mut self, worker: WorkerId) -> Result<()> {
        let (channel, end) =
            transport::pair().map_err(|errno| Error::host("make", "a channel", errno))?;
        let (child, end) = self.sandbox.spawn_worker(end)?;
        for fd in [channel.as_fd(), child.pidfd()] {
            self.epoll
                .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, worker.0))
                .map_err(|errno| Error::host("watch", "a worker", errno))?;
        }
        let running = Running {
            channel,
            end,
            child,
            fault: None,
        };
        self.workers.insert(worker, running);
        Ok(())
    }

    pub(super) fn tell_to_drain(&mut self, worker: WorkerId) {
        if let Some(running) = self.workers.get_mut(&worker) {
            // A worker whose channel takes no message is killed when its time is over.
            let _ = running.channel.send_drain();
        }
    }

    /// Which workers have something to say, and which have ended.
    pub(super) fn news(&self) -> Result<(Vec<WorkerId>, Vec<WorkerId>)> {
        let mut watched: Vec<_> = self
            .workers
            .values()
            .flat_map(|running| [running.channel.as_fd(), running.child.pidfd()])
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        wait(&mut watched, PollTimeout::ZERO)?;
        let (mut speaking, mut ended) = (Vec::new(), Vec::new());
        for (&worker, pair) in self.workers.keys().zip(watched.chunks_exact(2)) {
            let [channel, pidfd] = pair else { continue };
            if channel.any() != Some(false) {
                speaking.push(worker);
            }
            if pidfd.any() != Some(false) {
                ended.push(worker);
            }
        }
        Ok((speaking, ended))
    }

    /// Take some of what `worker` says. It is the others' turn before the rest, which shows again.
    pub(super) fn listen_to(&mut self, worker: WorkerId) {
        for _ in 0..MOST_MESSAGES {
            if self.take_message(worker).is_none() {
                return;
            }
        }
    }

    /// Take one message of `worker`, if there is one that is to be heard.
    fn take_message(&mut self, worker: WorkerId) -> Option<()> {
        let running = self.workers.get_mut(&worker)?;
        if running.fault.is_some() {
            return None;
        }
        let message = match running.channel.receive() {
            Ok(message) => message?,
            Err(breach) => {
                self.blame(worker, breach.to_string());
                return None;
            }
        };
        let pid = running.child.id();
        if let Err(fault) = self.hear(worker, pid, message) {
            self.blame(worker, fault.to_string());
            return None;
        }
        Some(())
    }

    fn hear(
        &mut self,
        worker: WorkerId,
        pid: u32,
        message: FromWorker,
    ) -> std::result::Result<(), Fault> {
        let now = self.looked;
        let (ids, credits, count) = match message {
            FromWorker::Hello { credits } => {
                self.pool.hello(worker, credits, now)?;
                self.tell(Event::Ready { pid, credits });
                return Ok(());
            }
            FromWorker::Done { ids, credits } => (ids, credits, &mut self.counts.done),
            FromWorker::Refused { ids, credits, .. } => (ids, credits, &mut self.counts.refused),
        };
        self.pool.done(worker, &ids, credits, now)?;
        *count = count.saturating_add(length(&ids));
        Ok(())
    }

    /// The worker is not trusted any more.
    pub(super) fn blame(&mut self, worker: WorkerId, fault: String) {
        self.pool.cut_off(worker, self.looked);
        if let Some(running) = self.workers.get_mut(&worker) {
            running.fault.get_or_insert(fault);
            // It may speak on: nobody listens, and epoll(7) need not tell.
            let _ = self.epoll.delete(running.channel.as_fd());
        }
    }

    pub(super) fn kill_cut_off(&mut self) -> Result<()> {
        for worker in self.pool.cut_off_workers() {
            if let Some(running) = self.workers.get(&worker) {
                running.child.kill()?;
            }
        }
        Ok(())
    }

    /// A worker that has ended: what it left, and what it took along.
    pub(super) fn bury(&mut self, worker: WorkerId) -> Result<()> {
        // Its last words may be that it was through with something; nobody adds to them any more.
        while self.take_message(worker).is_some() {}
        let Some(running) = self.workers.get_mut(&worker) else {
            return Ok(());
        };
        let status = running.child.try_wait();
        let Some(running) = self.workers.remove(&worker) else {
            return Ok(());
        };
        let TakenBack { parcels, .. } = transport::take_back(running.end.as_fd());
        let unread: Vec<_> = parcels.iter().map(|parcel| parcel.delivery.id).collect();
        let ended = self.pool.ended(worker, &unread, self.looked);
        let kept = parcels
            .into_iter()
            .filter(|parcel| ended.returned.contains(&parcel.delivery.id));
        self.waiting
            .extend(kept.map(|parcel| (parcel.delivery.id, parcel)));
        let counts = &mut self.counts;
        counts.returned = counts.returned.saturating_add(length(&ended.returned));
        counts.lost = counts.lost.saturating_add(length(&ended.lost));
        let again = ended.again;
        self.tell(Event::Ended {
            pid: running.child.id(),
            status: status?,
            fault: running.fault,
            returned: ended.returned,
            lost: ended.lost,
            again: again.map(|at| at.saturating_duration_since(self.looked)),
        });
        Ok(())
    }
}
