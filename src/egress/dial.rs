//! Dialling outside: several addresses of one destination raced, none of them waited for (RFC 8305).
//!
//! In the supervisor's loop only. Every address that comes here was checked before; the one that was
//! checked is the one that is dialled. The next address is tried when the one before has failed, or
//! has not answered within [`PATIENCE`]; the first connection wins and the others are closed.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockopt, socket, sockopt,
};

/// How long one address may be the only one (RFC 8305, section 5).
const PATIENCE: Duration = Duration::from_millis(250);
/// How long all of them together may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The most addresses that one dial tries.
const MOST_ADDRESSES: usize = 16;

/// How a dial stands.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing before then, unless an attempt becomes writable.
    Waits(Instant),
    /// Connected to this address.
    Connected(TcpStream, SocketAddr),
    /// No address could be connected; the last one's reason.
    Failed(Errno),
}

/// One address that is being connected.
#[derive(Debug)]
struct Attempt {
    socket: OwnedFd,
    address: SocketAddr,
}

/// One dial.
#[derive(Debug)]
pub(super) struct Dial {
    left: VecDeque<SocketAddr>,
    attempts: Vec<Attempt>,
    next: Instant,
    end: Instant,
    last_failure: Errno,
}

impl Dial {
    /// Dial `addresses`, in the order in which they came, the two families by turns.
    pub(super) fn new(addresses: &[SocketAddr], now: Instant) -> Self {
        Self {
            left: interleave(addresses).into(),
            attempts: Vec::new(),
            next: now,
            end: now + LIMIT,
            last_failure: Errno::EHOSTUNREACH,
        }
    }

    /// Whether nothing is under way and nothing left to try.
    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty() && self.attempts.is_empty()
    }

    /// How many addresses have not been tried.
    pub(super) fn untried(&self) -> usize {
        self.left.len()
    }

    /// Begin with the first address that can be begun with, on a socket of `make`, for somebody else to
    /// wait for; the last one's reason where none can be.
    pub(super) fn begin(
        &mut self,
        mut make: impl FnMut(SocketAddr) -> Result<OwnedFd, Errno>,
    ) -> Result<(OwnedFd, SocketAddr), Errno> {
        while let Some(address) = self.left.pop_front() {
            match make(address).and_then(|socket| start(socket, address)) {
                Ok(socket) => return Ok((socket, address)),
                Err(errno) => self.last_failure = errno,
            }
        }
        Err(self.last_failure)
    }

    /// Go on: look at the attempts under way, and start the next one where it is time. `make` gives a
    /// socket for an address ([`open`]). `watch` is given each new attempt's socket, so that this is
    /// called again when it is writable.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        mut make: impl FnMut(SocketAddr) -> Result<OwnedFd, Errno>,
        mut watch: impl FnMut(BorrowedFd<'_>),
    ) -> Progress {
        if let Some((stream, address)) = self.take_connected() {
            return Progress::Connected(stream, address);
        }
        if now >= self.end {
            return Progress::Failed(Errno::ETIMEDOUT);
        }
        while self.attempts.is_empty() || now >= self.next {
            let Some(address) = self.left.pop_front() else {
                break;
            };
            self.next = now + PATIENCE;
            match make(address).and_then(|socket| start(socket, address)) {
                Err(errno) => self.last_failure = errno,
                Ok(socket) => {
                    watch(socket.as_fd());
                    self.attempts.push(Attempt { socket, address });
                }
            }
        }
        if self.attempts.is_empty() {
            return Progress::Failed(self.last_failure);
        }
        Progress::Waits(match self.left.is_empty() {
            true => self.end,
            false => self.next.min(self.end),
        })
    }

    /// The attempt that has connected, if one has; those that have failed are dropped.
    fn take_connected(&mut self) -> Option<(TcpStream, SocketAddr)> {
        let mut at = 0;
        while let Some(attempt) = self.attempts.get(at) {
            match state(&attempt.socket) {
                Ok(State::UnderWay) => at += 1,
                Ok(State::Connected) => {
                    let attempt = self.attempts.swap_remove(at);
                    return Some((TcpStream::from(attempt.socket), attempt.address));
                }
                Err(errno) => {
                    self.last_failure = errno;
                    self.attempts.swap_remove(at);
                }
            }
        }
        None
    }
}

/// A socket of this process's own network, for `address`.
pub(super) fn open(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match address.ip() {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(family, SockType::Stream, flags, None)
}

/// Begin to connect.
fn start(socket: OwnedFd, address: SocketAddr) -> Result<OwnedFd, Errno> {
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

enum State {
    UnderWay,
    Connected,
}

fn state(socket: &OwnedFd) -> Result<State, Errno> {
    match getsockopt(socket, sockopt::SocketError)? {
        0 => {}
        error => return Err(Errno::from_raw(error)),
    }
    // Without an error it is either on its way or there: only then has it a peer.
    match nix::sys::socket::getpeername::<SockaddrStorage>(socket.as_raw_fd()) {
        Ok(_) => Ok(State::Connected),
        Err(Errno::ENOTCONN) => Ok(State::UnderWay),
        Err(errno) => Err(errno),
    }
}

/// The two families by turns, beginning with the first one's.
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut once: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !once.contains(address) {
            once.push(*address);
        }
    }
    let first_is_v4 = once.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = once
        .into_iter()
        .partition(|address| address.is_ipv4() == first_is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    loop {
        let (one, other) = (first.next(), second.next());
        if one.is_none() && other.is_none() {
            break;
        }
        order.extend(one);
        order.extend(other);
    }
    order.truncate(MOST_ADDRESSES);
    order
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn addresses(text: &[&str]) -> Vec<SocketAddr> {
        text.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn finish(dial: &mut Dial) -> Progress {
        loop {
            match dial.advance(Instant::now(), open, |_| {}) {
                Progress::Waits(until) => {
                    let mut watched: Vec<_> = dial
                        .attempts
                        .iter()
                        .map(|attempt| PollFd::new(attempt.socket.as_fd(), PollFlags::POLLOUT))
                        .collect();
                    let left = until.saturating_duration_since(Instant::now());
                    let left = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
                    poll(&mut watched, PollTimeout::from(left)).unwrap();
                }
                over => return over,
            }
        }
    }

    #[test]
    fn families_take_turns_and_no_address_comes_twice() {
        let given = ["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "1.1.1.2:1"];
        let order = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1"];
        assert_eq!(interleave(&addresses(&given)), addresses(&order));
        assert!(interleave(&[]).is_empty());
        let many: Vec<_> = (1..100).map(|n| format!("10.0.0.{n}:1")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(interleave(&addresses(&many)).len(), MOST_ADDRESSES);
    }

    #[test]
    fn a_refused_address_is_followed_by_the_next_at_once() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = closed.local_addr().unwrap();
        drop(closed);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let mut dial = Dial::new(&[gone, there], Instant::now());
        let Progress::Connected(mut stream, address) = finish(&mut dial) else {
            panic!("not connected");
        };
        assert_eq!(address, there);
        listener.accept().unwrap().0.write_all(b"x").unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        assert!(dial.attempts.is_empty());
    }

    #[test]
    fn the_last_failure_is_the_reason() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = closed.local_addr().unwrap();
        drop(closed);
        let mut dial = Dial::new(&[gone], Instant::now());
        let Progress::Failed(errno) = finish(&mut dial) else {
            panic!("connected");
        };
        assert_eq!(errno, Errno::ECONNREFUSED);
        let mut nothing = Dial::new(&[], Instant::now());
        assert!(matches!(finish(&mut nothing), Progress::Failed(_)));
    }

    #[test]
    fn an_address_that_does_not_answer_holds_the_next_up_for_a_quarter_of_a_second_only() {
        // A listener whose queue is full does not answer.
        let full = nix::sys::socket::socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        let any = SockaddrStorage::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        nix::sys::socket::bind(full.as_raw_fd(), &any).unwrap();
        crate::sys::parent::listen(full.as_fd(), Some(0)).unwrap();
        let full = TcpListener::from(full);
        let silent = full.local_addr().unwrap();
        let fill = || start(open(silent).unwrap(), silent).unwrap();
        let _fills = [(); 4].map(|()| fill());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let began = Instant::now();
        let mut dial = Dial::new(&[silent, there], began);
        let Progress::Connected(_, address) = finish(&mut dial) else {
            panic!("not connected");
        };
        assert_eq!(address, there);
        assert!(began.elapsed() >= PATIENCE);
        assert!(began.elapsed() < PATIENCE * 20);
    }
}
