//! The calls that are told: each is taken, looked at once, and answered, made here or left waiting.
//!
//! Where `connect` goes is decided in [`super::order`] and [`super::unix`]; who has to wait for it does so in
//! [`super::waiting`].
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;

use super::socket::Waits;
use super::task::process_of;
use super::waiting::Stage;
use super::{Attempt, Destination, Work};
use crate::egress::call::{self, Call};
use crate::filter::{self, Arch};
use crate::policy::Carrier;
use crate::sys::notify::{self, Answer};

/// How long a caller that does not wait is held for the look-up of a name, before it is relayed.
const WITHOUT_WAITING: Duration = Duration::from_millis(100);

/// The numbers of the calls that are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls {
    connect: u32,
    listen: u32,
    bind: u32,
}

impl Calls {
    pub(super) fn contain(self, number: u32) -> bool {
        [self.connect, self.listen].contains(&number)
    }

    pub(super) fn native() -> Option<Self> {
        let number = |name| filter::number(name, Arch::native());
        Some(Self {
            connect: number("connect")?,
            listen: number("listen")?,
            bind: number("bind")?,
        })
    }
}

impl Work {
    /// Take one call, and answer it if that can be done now.
    pub(super) fn take(&mut self) {
        let Ok(bytes) = notify::receive(self.listener.as_fd()) else {
            return;
        };
        let Some(call) = Call::parse(&bytes) else {
            let id = bytes.first_chunk().map_or(0, |id| u64::from_ne_bytes(*id));
            self.answer(id, Answer::Fails(libc::ENOSYS));
            return;
        };
        let native = call.architecture == Arch::native().audit_word();
        let beyond = native.then(|| self.beyond(&call)).flatten();
        let answer = match call.number {
            _ if beyond.as_ref().is_some_and(|it| *it != Answer::GoesOn) => beyond,
            number if number == self.calls.listen && native => Some(self.listens(&call)),
            number if number == self.calls.bind && native => Some(
                self.binds(&call)
                    .unwrap_or_else(|errno| Answer::Fails(errno as i32)),
            ),
            number if number == self.calls.connect && native => self
                .connects(&call)
                .unwrap_or_else(|errno| Some(Answer::Fails(errno as i32))),
            // A call beyond the profile that goes on, or nothing that was to be told.
            _ => Some(beyond.unwrap_or(Answer::Fails(libc::ENOSYS))),
        };
        if let Some(answer) = answer {
            self.answer(call.id, answer);
        }
    }

    pub(super) fn answer(&self, id: u64, answer: Answer) {
        // Who was killed meanwhile needs none.
        let _ = notify::answer(self.listener.as_fd(), id, answer);
    }

    /// The socket that `call` names first.
    pub(super) fn socket(&self, call: &Call) -> std::result::Result<OwnedFd, Errno> {
        let task = notify::open_task(call.task, || process_of(call.task))?;
        notify::copy_descriptor(task.as_fd(), call.int(0))
    }

    /// Something inside is about to listen.
    ///
    /// Where it may have a socket of the host's, the call is made here, on the very socket that was looked
    /// at: otherwise the number could mean another by the time that the kernel makes it.
    fn listens(&mut self, call: &Call) -> Answer {
        let direct = self.carrier == Carrier::Direct;
        let socket = match self.socket(call) {
            Ok(socket) => socket,
            Err(errno) if direct => return Answer::Fails(errno as i32),
            Err(_) => return Answer::GoesOn,
        };
        let socket = socket.as_fd();
        let own = notify::network_of(socket).map(|network| network == self.network);
        // Once it was a descriptor of a task that waits, it is one of the sandbox's.
        if own == Ok(true) && notify::still_waits(self.listener.as_fd(), call.id) {
            if notify::socket_number(socket, libc::SO_DOMAIN) == Ok(libc::AF_UNIX) {
                self.sockets.learn(socket);
            }
            if direct {
                return match self.ids.as_command(|| notify::listen(socket, call.int(1))) {
                    Ok(()) => Answer::Value(0),
                    Err(errno) => Answer::Fails(errno as i32),
                };
            }
        }
        match own {
            // It has no pointer: what it is made with is what the kernel was given.
            _ if !direct => Answer::GoesOn,
            Err(errno) => Answer::Fails(errno as i32),
            Ok(_) => Answer::Fails(libc::EINVAL),
        }
    }

    /// Something inside is about to bind a socket, which may be one of the host's. An Internet socket is
    /// bound here. A Unix socket's file is the caller's to make, with its mask and its directory: that call
    /// goes on. A number that means a closed socket of the host's by then takes a port there that nothing
    /// can be reached on, for it can neither listen nor connect.
    fn binds(&mut self, call: &Call) -> std::result::Result<Answer, Errno> {
        let socket = self.socket(call)?;
        let socket = socket.as_fd();
        if notify::socket_number(socket, libc::SO_DOMAIN)? == libc::AF_UNIX {
            return Ok(Answer::GoesOn);
        }
        let mut room = [0; call::LONGEST];
        let bytes = self.address(call, &mut room)?;
        if notify::network_of(socket)? != self.network {
            return Err(Errno::EINVAL);
        }
        if !notify::still_waits(self.listener.as_fd(), call.id) {
            return Err(Errno::EINTR);
        }
        notify::bind(socket, bytes).map(|()| Answer::Value(0))
    }

    /// The socket address that `call` has second and third, read once.
    fn address<'a>(
        &self,
        call: &Call,
        room: &'a mut [u8; call::LONGEST],
    ) -> std::result::Result<&'a [u8], Errno> {
        let length = usize::try_from(call.int(2)).map_err(|_| Errno::EINVAL)?;
        let bytes = room.get_mut(..length).ok_or(Errno::EINVAL)?;
        let [_, address, ..] = call.arguments;
        notify::read_memory(call.task, address, bytes)?;
        Ok(bytes)
    }

    /// Decide a `connect` and begin it; `None` where it waits.
    fn connects(&mut self, call: &Call) -> std::result::Result<Option<Answer>, Errno> {
        let socket = self.socket(call)?;
        let mut room = [0; call::LONGEST];
        let bytes = self.address(call, &mut room)?;
        let family = notify::socket_number(socket.as_fd(), libc::SO_DOMAIN)?;
        let own = notify::network_of(socket.as_fd())? == self.network;
        let destination = match family {
            libc::AF_UNIX if own => self.unix_destination(call, socket.as_fd(), bytes)?,
            _ => Destination::Address(bytes.to_vec()),
        };
        // All that was looked at was of a task that waits still, and not of another with its number.
        if !notify::still_waits(self.listener.as_fd(), call.id) {
            return Ok(None);
        }
        let waits = Waits::of(socket.as_fd())?;
        if own && self.learns(call, socket.as_fd(), bytes) {
            self.keep(call, socket, destination, Stage::Learned, None)?;
            return Ok(None);
        }
        if let Some(place) = self.order(call, socket.as_fd(), bytes, &waits, own) {
            let limit = match waits.waits {
                true => waits.limit,
                false => Some(WITHOUT_WAITING),
            };
            let stage = Stage::Ordered(call.int(0), place);
            self.keep(call, socket, destination, stage, limit)?;
            return Ok(None);
        }
        if !own {
            return self.connects_again(call, socket, destination, &waits);
        }
        match self.noted(call.task, socket.as_fd(), &destination, &waits) {
            Attempt::Over(answer) => Ok(Some(answer)),
            Attempt::UnderWay | Attempt::Full => {
                self.keep(call, socket, destination, Stage::Own, waits.limit)?;
                Ok(None)
            }
        }
    }

    /// Make an attempt for `task`, and note whose it is where somebody wants to know.
    pub(super) fn noted(
        &self,
        task: i32,
        socket: BorrowedFd<'_>,
        destination: &Destination,
        waits: &Waits,
    ) -> Attempt {
        let attempt = || self.attempt(socket, destination, waits);
        let stream = notify::socket_number(socket, libc::SO_TYPE) == Ok(libc::SOCK_STREAM);
        let told = stream || self.journal.learns();
        let to = match destination {
            Destination::Address(bytes) if told && !waits.local => call::internet_address(bytes),
            _ => None,
        };
        match to {
            Some(to) => self.callers.note(|| process_of(task), socket, to, attempt),
            None => attempt(),
        }
    }

    pub(super) fn attempt(
        &self,
        socket: BorrowedFd<'_>,
        destination: &Destination,
        waits: &Waits,
    ) -> Attempt {
        // Whatever has led here: a socket of another network is connected to nothing.
        if notify::network_of(socket) != Ok(self.network) {
            return Attempt::Over(Answer::Fails(libc::EACCES));
        }
        let connected = waits.without_waiting(socket, || match destination {
            Destination::Address(bytes) => notify::connect(socket, bytes),
            Destination::File(file) => {
                let address = address_of(file);
                self.ids.as_command(|| notify::connect(socket, &address))
            }
        });
        match connected {
            Ok(()) => Attempt::Over(Answer::Value(0)),
            Err(Errno::EINPROGRESS | Errno::EALREADY) if waits.waits => Attempt::UnderWay,
            Err(Errno::EAGAIN) if waits.waits && waits.local => Attempt::Full,
            Err(errno) => Attempt::Over(Answer::Fails(errno as i32)),
        }
    }
}

/// The address by which this process reaches an open file of a Unix socket.
fn address_of(file: &OwnedFd) -> Vec<u8> {
    let family = u16::try_from(libc::AF_UNIX).unwrap_or_default();
    let mut bytes = family.to_ne_bytes().to_vec();
    bytes.extend(format!("/proc/self/fd/{}\0", file.as_raw_fd()).into_bytes());
    bytes
}
