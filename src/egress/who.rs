//! Which program inside has made a connection: its pid outside and its executable, for events.
//!
//! The thread that connects for the command ([`super::notify`]) is told by the kernel who asks, and notes
//! it under the socket's own port and where it goes; the engine sees both. It is known for TCP, where connections are told at all, and asked for only where somebody wants to read it: it costs
//! a look into `/proc`. Nothing is decided by it.
#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::socket::{SockaddrStorage, getsockname};

/// How many are noted at a time. Connections within the sandbox are never asked for, and make room.
const MOST: usize = 1024;

/// A process of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// As outside.
    pub(crate) pid: i32,
    /// As the kernel names it; no path where it cannot be told.
    pub(crate) executable: Option<String>,
}

/// The client's port, and where it goes, in the one form that both sides see. Not its address: the kernel
/// takes that from a socket that was refused.
type Way = (u16, SocketAddr);

fn way(client: SocketAddr, destination: SocketAddr) -> Way {
    let ip = destination.ip().to_canonical();
    (client.port(), SocketAddr::new(ip, destination.port()))
}

#[derive(Debug, Default)]
pub(crate) struct Noted {
    by_way: HashMap<Way, Who>,
    order: VecDeque<Way>,
}

/// Who has connected from where; nothing where nobody wants to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Callers(Option<Arc<Mutex<Noted>>>);

impl Callers {
    /// For somebody who wants to know.
    pub(crate) fn noted() -> Self {
        Self(Some(Arc::default()))
    }

    /// Make a connection of `socket` to `destination` for process `pid` and note it. Nobody finds less than that meanwhile:
    /// the other side may be accepted before this is back.
    pub(crate) fn note<T>(
        &self,
        pid: impl FnOnce() -> Option<i32>,
        socket: BorrowedFd<'_>,
        destination: SocketAddr,
        connect: impl FnOnce() -> T,
    ) -> T {
        let Some(noted) = &self.0 else {
            return connect();
        };
        let Some(pid) = pid() else {
            return connect();
        };
        let who = Who::of(pid);
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        let connected = connect();
        if let Some(address) = own_address(socket) {
            noted.insert(way(address, destination), who);
        }
        connected
    }

    /// Who has connected from `client` to `destination`. Told once.
    pub(crate) fn find(&self, client: SocketAddr, destination: SocketAddr) -> Option<Who> {
        let noted = self.0.as_ref()?;
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.by_way.remove(&way(client, destination))
    }
}

impl Who {
    /// Process `pid`, by what the kernel says of it now.
    pub(super) fn of(pid: i32) -> Self {
        let link = fs::read_link(format!("/proc/{pid}/exe"));
        Self {
            pid,
            executable: link.ok().map(|path| path.to_string_lossy().into_owned()),
        }
    }
}

impl Noted {
    fn insert(&mut self, way: Way, who: Who) {
        if self.by_way.insert(way, who).is_none() {
            self.order.push_back(way);
        }
        // Some of those were told since.
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.by_way.remove(&oldest);
            }
        }
    }
}

/// The address that a socket has taken; of a family that has ports.
pub(super) fn own_address(socket: BorrowedFd<'_>) -> Option<SocketAddr> {
    let address: SockaddrStorage = getsockname(socket.as_raw_fd()).ok()?;
    let v4 = address
        .as_sockaddr_in()
        .map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::V6((*v6).into()))
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn who_has_connected_is_found_by_the_address_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let callers = Callers::noted();
        let to = listener.local_addr().unwrap();
        assert_eq!(callers.note(|| Some(own), stream.as_fd(), to, || 7), 7);
        let peer = listener.accept().unwrap().1;
        let who = callers.find(peer, to).unwrap();
        assert_eq!(who.pid, own);
        let executable = std::env::current_exe().unwrap();
        assert_eq!(who.executable.as_deref(), executable.to_str());
        assert_eq!(callers.find(peer, to), None);
        let nobody = Callers::default();
        nobody.note(|| panic!("nobody asks"), stream.as_fd(), to, || ());
        assert_eq!(nobody.find(peer, to), None);
    }

    #[test]
    fn what_nobody_asks_for_makes_room() {
        let mut noted = Noted::default();
        for port in 1..=3000_u16 {
            let who = Who {
                pid: 1,
                executable: None,
            };
            noted.insert((port, SocketAddr::from(([127, 0, 0, 1], 80))), who);
        }
        assert_eq!((noted.by_way.len(), noted.order.len()), (MOST, MOST));
    }
}
