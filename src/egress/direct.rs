//! The engine `direct`: the command gets the connected socket itself, and with it native speed.
//!
//! Two threads of the supervisor share it. The one that connects ([`super::notify`]) is told of each
//! `connect`; where the socket is one that can be replaced, it sends an [`Order`] to the one that dials
//! ([`super::engine`]), which decides, looks up and judges as for any connection, dials with the
//! caller's own options, and sends the socket back. The first one then puts it in the place of the
//! caller's descriptor (seccomp_unotify(2), `SECCOMP_IOCTL_NOTIF_ADDFD`).
//!
//! What cannot be served so goes into the sandbox's own network, where the relay has its listeners, or
//! nobody, and the kernel refuses it: never anywhere else.
#![forbid(unsafe_code)]

use std::fs;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::destination::Protocol;
use super::setup::V;
use super::who::Who;
use crate::proc_file;
use crate::sys::notify;

/// The most descriptors of a process that are looked through for copies of one.
const MOST_DESCRIPTORS: usize = 512;
/// The most epoll sets among them: each of as many files as its owner may have watched (epoll(7),
/// `max_user_watches`).
const MOST_SETS: usize = 16;

/// What is asked of the side that dials.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A connected socket.
    Socket(Order),
    /// That something listens inside at an address, if that may be reached: it is learned which ones are
    /// wanted. Its answer is [`Given::Inside`], whatever comes of it.
    Way {
        id: u64,
        protocol: Protocol,
        asked: SocketAddr,
        who: Option<Who>,
    },
}

/// A connection that the command asks for.
#[derive(Debug)]
pub(crate) struct Order {
    /// The notification's number.
    pub(crate) id: u64,
    /// The address that it asked for.
    pub(crate) asked: SocketAddr,
    /// The family of its socket.
    pub(crate) family: V,
    /// Whether it waits until it is connected.
    pub(crate) waits: Waits,
    pub(crate) options: Vec<SocketOption>,
}

/// Whether a caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// It does: it gets a connected socket.
    Yes,
    /// Its socket is O_NONBLOCK: it gets one that is on its way.
    No,
}

/// What becomes of an [`Order`].
#[derive(Debug)]
pub(crate) enum Given {
    /// A socket that is connected.
    Connected(OwnedFd),
    /// One that is on its way.
    Begun(OwnedFd),
    /// None: it fails so.
    Failed(Errno),
    /// It is to be connected in the sandbox's own network.
    Inside,
}

/// An option that was set before `connect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketOption {
    level: i32,
    option: i32,
    value: Vec<u8>,
}

/// Options that are carried over where they differ from a fresh socket's: level, option, size. Not SO_LINGER:
/// [`lingers_as`].
const OPTIONS: &[(i32, i32, usize)] = &[
    (libc::SOL_SOCKET, libc::SO_REUSEADDR, 4),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 4),
    (libc::SOL_SOCKET, libc::SO_OOBINLINE, 4),
    (libc::SOL_SOCKET, libc::SO_PRIORITY, 4),
    (libc::SOL_SOCKET, libc::SO_RCVLOWAT, 4),
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO, 16),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO, 16),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY, 4),
    (libc::IPPROTO_TCP, libc::TCP_CORK, 4),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 4),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 4),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 4),
    (libc::IPPROTO_TCP, libc::TCP_SYNCNT, 4),
    (libc::IPPROTO_TCP, libc::TCP_LINGER2, 4),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 4),
    (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, 4),
    (libc::IPPROTO_IP, libc::IP_TOS, 4),
    (libc::IPPROTO_IP, libc::IP_TTL, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 4),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, 4),
];

/// Buffers, which the kernel doubles when they are set, and their bits in `SO_BUF_LOCK`: only one that was
/// set stays as it is.
const BUFFERS: &[(i32, i32)] = &[(libc::SO_SNDBUF, 1), (libc::SO_RCVBUF, 2)];
/// socket(7). Since Linux 5.14.
const SO_BUF_LOCK: i32 = 72;

impl Order {
    /// Of the addresses that were judged, those that a socket of the caller's family can have, as it
    /// names them.
    pub(crate) fn fitting(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let fit = |address: &SocketAddr| match (self.family, address) {
            (V::Four, SocketAddr::V4(_)) | (V::Six, SocketAddr::V6(_)) => Some(*address),
            (V::Six, SocketAddr::V4(four)) => {
                let mapped = four.ip().to_ipv6_mapped();
                Some(SocketAddrV6::new(mapped, four.port(), 0, 0).into())
            }
            (V::Four, SocketAddr::V6(_)) => None,
        };
        addresses.iter().filter_map(fit).collect()
    }

    /// A socket as the caller's, but of this process's network.
    pub(crate) fn open(&self) -> Result<OwnedFd, Errno> {
        let family = match self.family {
            V::Four => AddressFamily::Inet,
            V::Six => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, SockType::Stream, flags, None)?;
        if self.family == V::Six {
            let no = 0_i32.to_ne_bytes();
            notify::set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &no)?;
        }
        for SocketOption {
            level,
            option,
            value,
        } in &self.options
        {
            let mut fresh = vec![0; value.len()];
            let same = notify::get_option(socket.as_fd(), *level, *option, &mut fresh).is_ok()
                && fresh == *value;
            if !same {
                // What this host does not let be set, the caller's connection goes without.
                let _ = notify::set_option(socket.as_fd(), *level, *option, value);
            }
        }
        Ok(socket)
    }
}

/// The options of a socket that is about to be connected.
pub(crate) fn options_of(socket: BorrowedFd<'_>) -> Vec<SocketOption> {
    let mut options = Vec::with_capacity(OPTIONS.len());
    for &(level, option, size) in OPTIONS {
        let mut value = vec![0; size];
        if notify::get_option(socket, level, option, &mut value) == Ok(size) {
            options.push(SocketOption {
                level,
                option,
                value,
            });
        }
    }
    let locked = notify::socket_number(socket, SO_BUF_LOCK).unwrap_or(0);
    for &(option, bit) in BUFFERS {
        if locked & bit == 0 {
            continue;
        }
        if let Ok(doubled) = notify::socket_number(socket, option) {
            options.push(SocketOption {
                level: libc::SOL_SOCKET,
                option,
                value: (doubled / 2).to_ne_bytes().to_vec(),
            });
        }
    }
    options
}

/// Have `given` wait in close(2) as `before` does. Not before it is given away: the supervisor closes sockets
/// as well, and its loop must wait for no peer.
pub(crate) fn lingers_as(before: BorrowedFd<'_>, given: BorrowedFd<'_>) {
    let mut value = [0; 8];
    if notify::get_option(before, libc::SOL_SOCKET, libc::SO_LINGER, &mut value) == Ok(8) {
        let _ = notify::set_option(given, libc::SOL_SOCKET, libc::SO_LINGER, &value);
    }
}

/// How descriptor `number` of thread `task` lies in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// It closes at execve.
    pub(crate) closes: bool,
}

/// Where the socket at descriptor `number` of `task` can be replaced: it has no other number there, and is
/// in no epoll set, which would go on watching the file that was. `None` where it cannot, or where that is
/// too much to look through.
pub(crate) fn replaceable(task: i32, number: i32) -> Option<Place> {
    let folder = format!("/proc/{task}/fd");
    let name = |number: i32| fs::read_link(format!("{folder}/{number}")).ok();
    let socket = name(number)?;
    let mut sets = 0;
    for (count, entry) in fs::read_dir(&folder).ok()?.enumerate() {
        if count >= MOST_DESCRIPTORS {
            return None;
        }
        let other: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        if other == number {
            continue;
        }
        // One that was closed meanwhile is no copy.
        let Some(file) = name(other) else { continue };
        if file == socket {
            return None;
        }
        if file.as_os_str() == "anon_inode:[eventpoll]" {
            sets += 1;
            // The kernel goes through all that a set watches.
            if sets > MOST_SETS || notify::epoll_watches(task, other, number).unwrap_or(true) {
                return None;
            }
        }
    }
    let info = proc_file::read_text(format!("/proc/{task}/fdinfo/{number}")).ok()?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
    Some(Place {
        closes: flags & libc::O_CLOEXEC != 0,
    })
}

/// Whether a connection to `address` stays in the sandbox whatever the rules say.
pub(crate) fn is_own(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// The side that dials.
#[derive(Debug)]
pub(crate) struct Dialler {
    orders: Receiver<Wanted>,
    called: Arc<EventFd>,
    given: Sender<(u64, Given)>,
    call: Arc<EventFd>,
}

/// The side that connects.
#[derive(Debug)]
pub(crate) struct Counter {
    orders: Sender<Wanted>,
    call: Arc<EventFd>,
    given: Receiver<(u64, Given)>,
    called: Arc<EventFd>,
}

/// Both sides.
///
/// # Errors
/// When no descriptor is left.
pub(crate) fn pair() -> Result<(Dialler, Counter), Errno> {
    let event =
        || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(Arc::new);
    let (to_dialler, to_counter) = (event()?, event()?);
    let (send_order, orders) = mpsc::channel();
    let (send_given, given) = mpsc::channel();
    let dialler = Dialler {
        orders,
        called: Arc::clone(&to_dialler),
        given: send_given,
        call: Arc::clone(&to_counter),
    };
    let counter = Counter {
        orders: send_order,
        call: to_dialler,
        given,
        called: to_counter,
    };
    Ok((dialler, counter))
}

impl Dialler {
    /// Readable when there is an order.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.called.as_fd()
    }

    /// The orders that have come.
    pub(crate) fn take(&self) -> Vec<Wanted> {
        // Before the queue is looked at: who comes after calls again.
        let _ = self.called.read();
        self.orders.try_iter().collect()
    }

    /// Give what came of order `id`.
    pub(crate) fn give(&self, id: u64, given: Given) {
        // Where the other side has ended, what was given is closed.
        if self.given.send((id, given)).is_ok() {
            let _ = self.call.write(1);
        }
    }
}

impl Counter {
    /// Readable when something was given.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.called.as_fd()
    }

    /// Order something; whether there is anybody to take it.
    pub(crate) fn order(&self, order: Wanted) -> bool {
        self.orders.send(order).is_ok() && self.call.write(1).is_ok()
    }

    /// What was given.
    pub(crate) fn take(&self) -> Vec<(u64, Given)> {
        let _ = self.called.read();
        self.given.try_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

    use super::*;

    #[test]
    fn a_socket_that_is_copied_or_watched_is_not_replaced() {
        let own = i32::try_from(std::process::id()).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = socket.as_raw_fd();
        assert_eq!(replaceable(own, number), Some(Place { closes: true }));
        let copy = socket.try_clone().unwrap();
        assert_eq!(replaceable(own, number), None);
        drop(copy);
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        assert!(replaceable(own, number).is_some());
        epoll
            .add(&socket, EpollEvent::new(EpollFlags::EPOLLOUT, 0))
            .unwrap();
        assert_eq!(replaceable(own, number), None);
        epoll.delete(&socket).unwrap();
        assert!(replaceable(own, number).is_some());
        // What else is watched is none of its business.
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        epoll
            .add(&other, EpollEvent::new(EpollFlags::EPOLLIN, 0))
            .unwrap();
        assert!(replaceable(own, number).is_some());
    }

    #[test]
    fn options_set_before_are_set_on_the_other_socket() {
        use nix::sys::socket::{getsockopt, setsockopt, sockopt};
        let flags = SockFlag::empty();
        let before = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        setsockopt(&before, sockopt::KeepAlive, &true).unwrap();
        setsockopt(&before, sockopt::TcpNoDelay, &true).unwrap();
        setsockopt(&before, sockopt::SndBuf, &30_000).unwrap();
        let long = libc::linger {
            l_onoff: 1,
            l_linger: 1000,
        };
        setsockopt(&before, sockopt::Linger, &long).unwrap();
        let order = Order {
            id: 1,
            asked: "192.0.2.1:80".parse().unwrap(),
            family: V::Four,
            waits: Waits::Yes,
            options: options_of(before.as_fd()),
        };
        let after = order.open().unwrap();
        assert_eq!(getsockopt(&after, sockopt::KeepAlive), Ok(true));
        assert_eq!(getsockopt(&after, sockopt::TcpNoDelay), Ok(true));
        assert_eq!(
            getsockopt(&after, sockopt::SndBuf),
            getsockopt(&before, sockopt::SndBuf)
        );
        // Whoever closes it here does not wait for its peer.
        assert_eq!(getsockopt(&after, sockopt::Linger).unwrap().l_onoff, 0);
        lingers_as(before.as_fd(), after.as_fd());
        assert_eq!(getsockopt(&after, sockopt::Linger).unwrap().l_linger, 1000);
    }

    #[test]
    fn addresses_are_those_that_the_callers_socket_can_have() {
        let addresses: Vec<SocketAddr> = ["192.0.2.1:80", "[2001:db8::1]:80"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let order = |family| Order {
            id: 1,
            asked: addresses[0],
            family,
            waits: Waits::No,
            options: Vec::new(),
        };
        assert_eq!(order(V::Four).fitting(&addresses), &addresses[..1]);
        let six: Vec<SocketAddr> = ["[::ffff:192.0.2.1]:80", "[2001:db8::1]:80"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        assert_eq!(order(V::Six).fitting(&addresses), six);
        assert!(order(V::Four).fitting(&addresses[1..]).is_empty());
    }
}
