//! Calls that wait for their connection, looked after until it has come about, its time is over or the
//! caller is interrupted.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::socket::{CLOSED, SYN_SENT, Waits, pending_error, state_of};
use super::task::has_signal;
use super::{Attempt, Destination, Work};
use crate::egress::call::Call;
use crate::egress::direct::Place;
use crate::sys::notify::{self, Answer};

/// How many connections wait at a time; the next one is refused with ENOBUFS.
const MOST_WAITING: usize = 512;
/// How often it is looked whether who waits was sent a signal, or is gone.
const LOOK: Duration = Duration::from_millis(20);
/// How long to a Unix socket whose queue is full, of which the kernel tells nothing.
const AGAIN: Duration = Duration::from_millis(5);
/// What the kernel turns into EINTR, or into the call made again, as the signal's handler says.
const ERESTARTSYS: i32 = 512;

/// A call of the command's that waits for its connection, as that of a socket that is not O_NONBLOCK does.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: u64,
    pub(super) task: i32,
    pub(super) socket: OwnedFd,
    pub(super) destination: Destination,
    pub(super) stage: Stage,
    /// Until when it waits (`SO_SNDTIMEO`).
    until: Option<Instant>,
    pub(super) looks_at: Instant,
}

/// What a call waits for.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its own socket is being connected.
    Own,
    /// A socket of the host's is ordered for it, to be put where the number is.
    Ordered(i32, Place),
    /// It waits for somebody to listen where it goes.
    Learned,
    /// It has got one that is on its way, and connects it again.
    Given,
}

impl Work {
    /// Have `call` wait.
    pub(super) fn keep(
        &mut self,
        call: &Call,
        socket: OwnedFd,
        destination: Destination,
        stage: Stage,
        limit: Option<Duration>,
    ) -> std::result::Result<(), Errno> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(Errno::ENOBUFS);
        }
        let now = Instant::now();
        self.waiting.push(Waiting {
            id: call.id,
            task: call.task,
            socket,
            stage,
            until: limit.and_then(|limit| now.checked_add(limit)),
            looks_at: now + AGAIN,
            destination,
        });
        Ok(())
    }

    /// See what has become of the connections that wait; those at `ready` show something.
    pub(super) fn look_after(&mut self, ready: &[u64]) {
        let now = Instant::now();
        for mut one in std::mem::take(&mut self.waiting) {
            let shows = ready.contains(&one.id);
            if !shows && one.looks_at > now {
                self.waiting.push(one);
                continue;
            }
            if !notify::still_waits(self.listener.as_fd(), one.id) {
                continue;
            }
            let over = match self.again(&one, shows) {
                Attempt::Over(answer) => Some(answer),
                _ if has_signal(one.task) => Some(Answer::Fails(ERESTARTSYS)),
                _ => None,
            };
            if let Some(answer) = over {
                self.answer(one.id, answer);
                continue;
            }
            one.looks_at = now
                + match one.destination {
                    Destination::Address(_) => LOOK,
                    Destination::File(_) => AGAIN,
                };
            let late = one.until.is_some_and(|until| until <= now);
            match (late, &one.stage, &one.destination) {
                (false, ..) => self.waiting.push(one),
                // The dial takes too long for a caller that does not wait: the relay waits for it.
                (true, Stage::Ordered(..), _) => {
                    one.until = None;
                    self.connect_inside(one);
                }
                (true, _, Destination::Address(_)) => {
                    self.answer(one.id, Answer::Fails(libc::EINPROGRESS));
                }
                (true, _, Destination::File(_)) => {
                    self.answer(one.id, Answer::Fails(libc::EAGAIN));
                }
            }
        }
    }

    /// Try again what waits, if it may have come about.
    fn again(&self, one: &Waiting, shows: bool) -> Attempt {
        let waits = match Waits::of(one.socket.as_fd()) {
            Ok(waits) => Waits {
                waits: true,
                ..waits
            },
            Err(errno) => return Attempt::Over(Answer::Fails(errno as i32)),
        };
        match (&one.stage, &one.destination) {
            (Stage::Ordered(..) | Stage::Learned, _) => Attempt::UnderWay,
            (Stage::Given, _) => match (
                state_of(one.socket.as_fd()),
                pending_error(one.socket.as_fd()),
            ) {
                (_, Some(error)) => Attempt::Over(Answer::Fails(error as i32)),
                (Some(SYN_SENT), None) => Attempt::UnderWay,
                (Some(CLOSED) | None, None) => Attempt::Over(Answer::Fails(libc::ECONNABORTED)),
                (Some(_), None) => Attempt::Over(Answer::Value(0)),
            },
            (Stage::Own, Destination::Address(_)) if !shows => Attempt::UnderWay,
            (Stage::Own, destination) => self.attempt(one.socket.as_fd(), destination, &waits),
        }
    }
}
