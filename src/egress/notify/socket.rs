//! What a socket says of itself: how it waits, its state, what went wrong with it.
#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::time::TimeValLike;

use crate::sys::notify;

/// States of a TCP socket (tcp(7), `<linux/tcp.h>`).
pub(super) const SYN_SENT: u8 = 2;
pub(super) const CLOSED: u8 = 7;

/// The state of a TCP socket.
pub(super) fn state_of(socket: BorrowedFd<'_>) -> Option<u8> {
    let mut state = [0];
    notify::get_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut state).ok()?;
    let [state] = state;
    Some(state)
}

/// What went wrong with a socket, which is told once.
pub(super) fn pending_error(socket: BorrowedFd<'_>) -> Option<Errno> {
    let error = notify::socket_number(socket, libc::SO_ERROR).ok()?;
    (error != 0).then(|| Errno::from_raw(error))
}

/// Whether a socket has a port already, which another one would not have.
pub(super) fn is_bound(socket: BorrowedFd<'_>) -> bool {
    let name =
        nix::sys::socket::getsockname::<nix::sys::socket::SockaddrStorage>(socket.as_raw_fd());
    let Ok(name) = name else {
        return true;
    };
    let four = name
        .as_sockaddr_in()
        .map(|name| (name.port(), name.ip().is_unspecified()));
    let six = name
        .as_sockaddr_in6()
        .map(|name| (name.port(), name.ip().is_unspecified()));
    four.or(six) != Some((0, true))
}

/// How a socket waits in connect(2).
pub(super) struct Waits {
    pub(super) flags: OFlag,
    /// Not O_NONBLOCK.
    pub(super) waits: bool,
    /// A Unix socket, which waits in silence where the listener's queue is full.
    pub(super) local: bool,
    /// `SO_SNDTIMEO`.
    pub(super) limit: Option<Duration>,
}

impl Waits {
    pub(super) fn of(socket: BorrowedFd<'_>) -> std::result::Result<Self, Errno> {
        let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
        let waits = !flags.contains(OFlag::O_NONBLOCK);
        let local = notify::socket_number(socket, libc::SO_DOMAIN)? == libc::AF_UNIX;
        let limit = match waits {
            false => None,
            true => getsockopt(&socket, sockopt::SendTimeout)
                .ok()
                .map(|limit| limit.num_microseconds())
                .and_then(|limit| u64::try_from(limit).ok())
                .filter(|&limit| limit > 0)
                .map(Duration::from_micros),
        };
        Ok(Self {
            flags,
            waits,
            local,
            limit,
        })
    }

    /// Do `what` while the open file is O_NONBLOCK. It is the command's as well; that it shows the flag
    /// for the length of one call is the price for not waiting here.
    pub(super) fn without_waiting<T>(&self, socket: BorrowedFd<'_>, what: impl FnOnce() -> T) -> T {
        if !self.waits {
            return what();
        }
        let set = |flags: OFlag| fcntl(socket, FcntlArg::F_SETFL(flags));
        // It fails for no socket.
        let _ = set(self.flags | OFlag::O_NONBLOCK);
        let done = what();
        let _ = set(self.flags);
        done
    }
}
