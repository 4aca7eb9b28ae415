//! Sockets of the host's, ordered for callers and put into their tables (`--egress direct`).
//!
//! A socket that was given is never connected to anything else: whoever connects it again is only told
//! what has become of it.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::socket::{CLOSED, SYN_SENT, Waits, is_bound, pending_error, state_of};
use super::waiting::{Stage, Waiting};
use super::{Attempt, Destination, Work};
use crate::egress::call::{self, Call};
use crate::egress::direct::{self, Counter, Given, Order, Place, Wanted};
use crate::egress::setup::V;
use crate::policy::Carrier;
use crate::sys::notify::{self, Answer};

impl Work {
    /// Order a socket of the host's, where one may take this one's place: where in the caller's table.
    pub(super) fn order(
        &self,
        call: &Call,
        socket: BorrowedFd<'_>,
        bytes: &[u8],
        waits: &Waits,
        own: bool,
    ) -> Option<Place> {
        let direct = self.carrier == Carrier::Direct;
        let counter = self.counter.as_ref().filter(|_| direct)?;
        let asked = call::internet_address(bytes).filter(|it| !direct::is_own(it.ip()))?;
        let number = |option| notify::socket_number(socket, option);
        let family = match number(libc::SO_DOMAIN) {
            Ok(libc::AF_INET) if asked.is_ipv4() => V::Four,
            Ok(libc::AF_INET6) if asked.is_ipv6() => V::Six,
            _ => return None,
        };
        let stream = number(libc::SO_TYPE) == Ok(libc::SOCK_STREAM);
        let tcp = number(libc::SO_PROTOCOL) == Ok(libc::IPPROTO_TCP);
        let told = waits.flags.contains(OFlag::O_ASYNC);
        if !stream || !tcp || told || state_of(socket) != Some(CLOSED) {
            return None;
        }
        // One that was given and has failed may be tried again.
        if own && is_bound(socket) {
            return None;
        }
        let place = direct::replaceable(call.task, call.int(0))?;
        let order = Order {
            id: call.id,
            asked,
            family,
            waits: match waits.waits {
                true => direct::Waits::Yes,
                false => direct::Waits::No,
            },
            options: direct::options_of(socket),
        };
        counter.order(Wanted::Socket(order)).then_some(place)
    }

    /// Connecting a socket of another network: one that was given to the command, or handed in by somebody.
    /// It is never done; but a program that asks whether its connection has come about is answered.
    pub(super) fn connects_again(
        &mut self,
        call: &Call,
        socket: OwnedFd,
        destination: Destination,
        waits: &Waits,
    ) -> std::result::Result<Option<Answer>, Errno> {
        let asks = match &destination {
            Destination::Address(bytes) => call::internet_address(bytes).is_some(),
            Destination::File(_) => false,
        };
        match state_of(socket.as_fd()) {
            Some(SYN_SENT) if asks && waits.waits => {
                self.keep(call, socket, destination, Stage::Given, waits.limit)?;
                return Ok(None);
            }
            Some(SYN_SENT) if asks => return Err(Errno::EALREADY),
            Some(CLOSED) if asks => {
                if let Some(error) = pending_error(socket.as_fd()) {
                    return Err(error);
                }
            }
            Some(_) if asks => return Err(Errno::EISCONN),
            _ => {}
        }
        self.journal.refused_socket(
            "socket",
            "a socket of another network".to_owned(),
            "only the sandbox's own sockets can be connected; another one keeps the peer that it has",
            None,
            Instant::now(),
        );
        Err(Errno::EACCES)
    }

    /// Put what was given into the callers' tables.
    pub(super) fn take_given(&mut self) {
        let given = self.counter.as_ref().map(Counter::take);
        for (id, given) in given.into_iter().flatten() {
            // Who is interrupted, or killed, does without: what was given is closed.
            let Some(at) = self.waiting.iter().position(|one| {
                one.id == id && matches!(one.stage, Stage::Ordered(..) | Stage::Learned)
            }) else {
                continue;
            };
            let one = self.waiting.swap_remove(at);
            let Stage::Ordered(number, place) = one.stage else {
                self.connect_inside(one);
                continue;
            };
            match given {
                Given::Failed(errno) => self.answer(id, Answer::Fails(errno as i32)),
                Given::Inside => self.connect_inside(one),
                Given::Connected(socket) => {
                    direct::lingers_as(one.socket.as_fd(), socket.as_fd());
                    self.put(id, &socket, number, place, Answer::Value(0));
                }
                Given::Begun(socket) => {
                    direct::lingers_as(one.socket.as_fd(), socket.as_fd());
                    self.put(id, &socket, number, place, Answer::Fails(libc::EINPROGRESS));
                }
            }
        }
    }

    /// Make descriptor `number` of the caller this socket, and let it go on.
    fn put(&self, id: u64, socket: &OwnedFd, number: i32, place: Place, answer: Answer) {
        let waits = answer == Answer::Value(0);
        let prepared = match waits {
            // It was opened not to wait; its caller's does.
            true => fcntl(socket, FcntlArg::F_GETFL).and_then(|flags| {
                let flags = OFlag::from_bits_retain(flags) - OFlag::O_NONBLOCK;
                fcntl(socket, FcntlArg::F_SETFL(flags)).map(drop)
            }),
            false => Ok(()),
        };
        let listener = self.listener.as_fd();
        let put = prepared.and_then(|()| {
            notify::put_descriptor(listener, id, socket.as_fd(), number, place.closes)
        });
        match put {
            Ok(()) => self.answer(id, answer),
            Err(errno) => self.answer(id, Answer::Fails(errno as i32)),
        }
    }

    /// What no socket was given for goes its way in the sandbox's own network.
    pub(super) fn connect_inside(&mut self, mut one: Waiting) {
        let Ok(waits) = Waits::of(one.socket.as_fd()) else {
            self.answer(one.id, Answer::Fails(libc::EBADF));
            return;
        };
        match self.noted(one.task, one.socket.as_fd(), &one.destination, &waits) {
            Attempt::Over(answer) => self.answer(one.id, answer),
            Attempt::UnderWay | Attempt::Full => {
                one.stage = Stage::Own;
                self.waiting.push(one);
            }
        }
    }
}
