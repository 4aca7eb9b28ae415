//! A connection on its way in: what a program that accepts knows of it.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;

use crate::broker::address;
use crate::broker::channel::{Address, ListenerName};
use crate::broker::transport::Parcel;
use crate::error::{Error, Result};
use crate::sys::parent;

/// A connection to hand over: an accepted socket, and what the worker is told of it.
///
/// Made of a `TcpStream`, a `UnixStream` or what `accept` returns. The socket goes as it is: a worker
/// that reads and writes it blocking needs one that is not non-blocking.
#[derive(Debug)]
pub struct Accepted {
    pub(super) socket: OwnedFd,
    pub(super) listener: Option<ListenerName>,
    pub(super) peer: Option<Address>,
    pub(super) local: Option<Address>,
    pub(super) deadline: Option<Duration>,
    pub(super) accepted: SystemTime,
}

impl Accepted {
    /// From any connected stream socket.
    pub fn new(socket: impl Into<OwnedFd>) -> Self {
        Self {
            socket: socket.into(),
            listener: None,
            peer: None,
            local: None,
            deadline: None,
            accepted: SystemTime::now(),
        }
    }

    /// Say by which listener it came in; without this the worker sees "accepted".
    #[must_use]
    pub fn listener(mut self, name: ListenerName) -> Self {
        self.listener = Some(name);
        self
    }

    /// Say who the client is, instead of asking the kernel: behind a proxy, for example.
    #[must_use]
    pub fn peer(mut self, peer: impl Into<Address>) -> Self {
        self.peer = Some(peer.into());
        self
    }

    /// Say where the client connected to, instead of asking the kernel: for a listener that is bound to one
    /// address, it is that one.
    #[must_use]
    pub fn local(mut self, local: impl Into<Address>) -> Self {
        self.local = Some(local.into());
        self
    }

    /// Say how long it may take from now on. It is the worker's to keep.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }
}

impl AsFd for Accepted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Accepted> for OwnedFd {
    fn from(accepted: Accepted) -> Self {
        accepted.socket
    }
}

impl From<TcpStream> for Accepted {
    fn from(stream: TcpStream) -> Self {
        Self::new(stream)
    }
}

impl From<UnixStream> for Accepted {
    fn from(stream: UnixStream) -> Self {
        Self::new(stream)
    }
}

impl From<(TcpStream, SocketAddr)> for Accepted {
    fn from((stream, peer): (TcpStream, SocketAddr)) -> Self {
        Self::new(stream).peer(peer)
    }
}

/// The connection that waits at a listener, if one does.
pub(super) fn accept(listener: BorrowedFd<'_>) -> Result<Option<Accepted>> {
    match parent::accept(listener) {
        Ok((socket, peer)) => {
            let mut accepted = Accepted::new(socket);
            // A Unix client has no address of its own to tell: it is asked for later.
            accepted.peer = peer.and_then(|peer| address::of(&peer).ok());
            Ok(Some(accepted))
        }
        // Nobody, or somebody who is gone again (accept(2)).
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => Ok(None),
        Err(errno) => Err(Error::host("accept from", "the listener", errno)),
    }
}

/// Both ends of it; what was not said, the kernel is asked.
pub(super) fn addresses(connection: &Accepted) -> std::result::Result<(Address, Address), Errno> {
    let local = match &connection.local {
        Some(local) => local.clone(),
        None => address::local_of(connection.as_fd())?,
    };
    let peer = match &connection.peer {
        Some(peer) => peer.clone(),
        None => address::peer_of(connection.as_fd(), &local)?,
    };
    Ok((peer, local))
}

pub(super) fn back(parcel: Parcel) -> Accepted {
    let Parcel { delivery, socket } = parcel;
    Accepted {
        socket,
        listener: Some(delivery.listener),
        peer: Some(delivery.peer),
        local: Some(delivery.local),
        deadline: delivery.deadline,
        accepted: delivery.accepted,
    }
}
