//! Sockets of the sandbox's own network, as many as are needed: from them the supervisor dials in.
//!
//! In the supervisor's loop only. A socket belongs to the network namespace in which it was made, and the
//! supervisor can make none there. But a connection that a listener of that namespace accepts is one of
//! its sockets too, and connect(2) with `AF_UNSPEC` makes it as good as new (tcp(7)). So of each family the
//! child sends out a listener and one socket, the *seed*: the seed is connected to the listener, and what
//! is accepted is taken apart and kept. The command may connect to the listener as well: that one is
//! closed, because its address is not the seed's.
#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, connect, getsockopt, sockopt};
use tracing::debug;

use super::setup::V;
use super::who::own_address;
use crate::sys::parent;

/// How many are kept ready of each family.
const STOCK: usize = 32;
/// How many are made before others get their turn.
const TURN: usize = 16;

/// The sockets of one family, and what makes them.
#[derive(Debug)]
struct Maker {
    version: V,
    listener: TcpListener,
    address: SocketAddr,
    seed: Option<OwnedFd>,
    /// The seed's own address while it is being connected.
    under_way: Option<SocketAddr>,
    stock: Vec<OwnedFd>,
}

/// Both families'.
#[derive(Debug, Default)]
pub(super) struct Inner {
    makers: Vec<Maker>,
}

impl Inner {
    /// How many listeners there are.
    pub(super) fn places(&self) -> u64 {
        self.makers.len() as u64
    }

    /// A listener that accepts where `address` says.
    pub(super) fn add_listener(&mut self, listener: OwnedFd, address: SocketAddr) {
        self.makers.push(Maker {
            version: V::of(address),
            listener: TcpListener::from(listener),
            address,
            seed: None,
            under_way: None,
            stock: Vec::new(),
        });
    }

    /// A socket that is neither bound nor connected. The first one of a family is its seed.
    pub(super) fn add(&mut self, version: V, socket: OwnedFd) {
        let mut makers = self.makers.iter_mut();
        let Some(maker) = makers.find(|maker| maker.version == version) else {
            return;
        };
        match maker.seed {
            None => maker.seed = Some(socket),
            Some(_) => maker.stock.push(socket),
        }
    }

    /// Whether one of this family is ready, if the family is there at all.
    pub(super) fn is_ready(&self, version: V) -> bool {
        let mut makers = self.makers.iter();
        makers.all(|maker| maker.version != version || !maker.stock.is_empty())
    }

    /// A socket of the sandbox's network.
    pub(super) fn take(&mut self, version: V) -> Result<OwnedFd, Errno> {
        let mut makers = self.makers.iter_mut();
        let maker = makers
            .find(|maker| maker.version == version)
            .ok_or(Errno::EAFNOSUPPORT)?;
        let socket = maker.stock.pop();
        maker.refill();
        socket.ok_or(Errno::EAGAIN)
    }

    /// Make more where there are too few.
    pub(super) fn refill(&mut self) {
        self.makers.iter_mut().for_each(Maker::refill);
    }

    /// The listener at `place` has something.
    pub(super) fn turn(&mut self, place: u64) {
        let place = usize::try_from(place).ok();
        if let Some(maker) = place.and_then(|place| self.makers.get_mut(place)) {
            maker.turn();
        }
    }
}

impl Maker {
    /// Begin to make one more, unless there are enough or one is being made.
    fn refill(&mut self) {
        let Some(seed) = &self.seed else { return };
        if self.stock.len() >= STOCK || self.under_way.is_some() {
            return;
        }
        match connect(seed.as_raw_fd(), &SockaddrStorage::from(self.address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => self.under_way = own_address(seed.as_fd()),
            Err(errno) => {
                debug!(%errno, "no socket of the sandbox can be made now");
                let _ = clear(seed.as_fd());
            }
        }
    }

    fn turn(&mut self) {
        for _ in 0..TURN {
            match self.listener.accept() {
                Ok((socket, peer)) if Some(peer) == self.under_way => {
                    let usable = socket.set_nonblocking(true).is_ok();
                    let made = OwnedFd::from(socket);
                    if usable && clear(made.as_fd()).is_ok() {
                        self.stock.push(made);
                    }
                    self.start_again();
                }
                // The command's own doing.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    debug!(%error, "no socket of the sandbox can be made now");
                    self.under_way = None;
                    if let Some(seed) = &self.seed {
                        let _ = clear(seed.as_fd());
                    }
                    return;
                }
            }
        }
    }

    fn start_again(&mut self) {
        self.under_way = None;
        if let Some(seed) = &self.seed {
            // It was connected, and can be undone.
            let _ = clear(seed.as_fd());
        }
        self.refill();
    }
}

/// As if it had never been connected.
fn clear(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    parent::disconnect(socket)?;
    // The reset that this is leaves an error behind, which the next call would report.
    getsockopt(&socket, sockopt::SocketError).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    use super::*;

    fn unbound() -> OwnedFd {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap()
    }

    fn inner() -> Inner {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let mut inner = Inner::default();
        inner.add_listener(listener.into(), address);
        inner.add(V::Four, unbound());
        inner
    }

    fn make(inner: &mut Inner) {
        inner.refill();
        while !inner.is_ready(V::Four) {
            let listener = inner.makers[0].listener.as_fd();
            let mut watched = [PollFd::new(listener, PollFlags::POLLIN)];
            assert_eq!(poll(&mut watched, PollTimeout::from(5000_u16)), Ok(1));
            inner.turn(0);
        }
    }

    #[test]
    fn sockets_are_made_without_end_and_each_can_be_connected() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut inner = inner();
        for _ in 0..3 * STOCK {
            make(&mut inner);
            let made = inner.take(V::Four).unwrap();
            let to = SockaddrStorage::from(server.local_addr().unwrap());
            match connect(made.as_raw_fd(), &to) {
                Ok(()) | Err(Errno::EINPROGRESS) => {}
                Err(errno) => panic!("{errno}"),
            }
            let mut made = TcpStream::from(made);
            let (mut accepted, _) = server.accept().unwrap();
            accepted.write_all(b"x").unwrap();
            made.set_nonblocking(false).unwrap();
            made.read_exact(&mut [0]).unwrap();
        }
        assert!(inner.makers[0].stock.len() <= STOCK + TURN);
        assert_eq!(inner.take(V::Six).unwrap_err(), Errno::EAFNOSUPPORT);
    }

    #[test]
    fn a_strangers_connection_is_closed_and_never_handed_out() {
        let mut inner = inner();
        let address = inner.makers[0].address;
        let mut stranger = TcpStream::connect(address).unwrap();
        make(&mut inner);
        assert_eq!(stranger.read(&mut [0]).unwrap_or(0), 0);
        for made in &inner.makers[0].stock {
            let peer = nix::sys::socket::getpeername::<SockaddrStorage>(made.as_raw_fd());
            assert_eq!(peer, Err(Errno::ENOTCONN));
        }
    }
}
