//! What the kernel says of a socket's two ends, as the channel transmits it.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, UnixAddr, getpeername, getsockname};

use super::channel::{Address, UnixName};

/// Who is at the other end. Of a client that has gone away already the kernel does not say any more
/// who it was: the unspecified address of the family of `local` then.
pub(crate) fn peer_of(socket: BorrowedFd<'_>, local: &Address) -> Result<Address, Errno> {
    match getpeername::<SockaddrStorage>(socket.as_raw_fd()) {
        Ok(address) => of(&address),
        Err(Errno::ENOTCONN) => Ok(unspecified(local)),
        Err(errno) => Err(errno),
    }
}

/// Which address the client connected to.
pub(crate) fn local_of(socket: BorrowedFd<'_>) -> Result<Address, Errno> {
    of(&getsockname::<SockaddrStorage>(socket.as_raw_fd())?)
}

/// The same of an address that accept(2) gave.
pub(crate) fn of(address: &SockaddrStorage) -> Result<Address, Errno> {
    if let Some(address) = address.as_sockaddr_in() {
        return Ok(Address::Inet((address.ip(), address.port()).into()));
    }
    if let Some(address) = address.as_sockaddr_in6() {
        let address = SocketAddrV6::new(address.ip(), address.port(), 0, address.scope_id());
        return Ok(Address::Inet(address.into()));
    }
    let unix = address.as_unix_addr().ok_or(Errno::EAFNOSUPPORT)?;
    unix_name(unix).map(Address::Unix)
}

fn unix_name(address: &UnixAddr) -> Result<UnixName, Errno> {
    let mut bytes = Vec::new();
    if let Some(path) = address.path() {
        use std::os::unix::ffi::OsStrExt;
        bytes.extend(path.as_os_str().as_bytes());
    } else if let Some(name) = address.as_abstract() {
        bytes.push(0);
        bytes.extend(name);
    }
    UnixName::new(&bytes).map_err(|_| Errno::EINVAL)
}

fn unspecified(local: &Address) -> Address {
    match local {
        Address::Inet(SocketAddr::V4(_)) => Address::Inet((Ipv4Addr::UNSPECIFIED, 0).into()),
        Address::Inet(SocketAddr::V6(_)) => Address::Inet((Ipv6Addr::UNSPECIFIED, 0).into()),
        Address::Unix(_) => Address::Unix(UnixName::default()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn both_ends_of_a_connection_are_what_the_client_sees_the_other_way_round() {
        for wildcard in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(wildcard).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().unwrap();
            let local = local_of(server.as_fd()).unwrap();
            assert_eq!(local, client.peer_addr().unwrap().into());
            let peer = peer_of(server.as_fd(), &local).unwrap();
            assert_eq!(peer, client.local_addr().unwrap().into());
        }
    }

    #[test]
    fn unix_sockets_have_their_names_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let (server, _) = listener.accept().unwrap();
        let local = local_of(server.as_fd()).unwrap();
        assert_eq!(local.to_string(), format!("unix:{}", path.display()));
        let peer = peer_of(server.as_fd(), &local).unwrap();
        assert_eq!(peer, Address::Unix(UnixName::default()));
    }

    #[test]
    fn a_client_that_is_gone_has_an_unspecified_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // A reset at once, instead of the usual end.
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::Linger, &linger).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(client);
        let local = local_of(server.as_fd()).unwrap();
        // Loopback delivers before close(2) returns.
        assert_eq!(
            peer_of(server.as_fd(), &local).unwrap().to_string(),
            "0.0.0.0:0"
        );
    }
}
