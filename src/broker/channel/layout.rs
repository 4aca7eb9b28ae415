//! Where everything stands in a message, written and read: the tables of `docs/channel.md`.
//!
//! The reader takes what the writer makes, and nothing else.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::{Duration, UNIX_EPOCH};

use super::{
    Address, Decoded, Delivery, HEADER, LONGEST, ListenerName, Malformed, UnixName, VERSION,
};

/// The byte that says what an address is.
mod family {
    pub(super) const UNIX: u8 = 1;
    pub(super) const V4: u8 = 4;
    pub(super) const V6: u8 = 6;
}

/// A header, and behind it what `body` appends.
pub(super) fn message(
    bytes: &mut Vec<u8>,
    kind: u8,
    count: usize,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = bytes.len();
    bytes.extend([VERSION, kind]);
    // Both fit: the callers have checked the count, and LONGEST bounds the length.
    bytes.extend(u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend([0; 4]);
    body(bytes);
    let length = u32::try_from(bytes.len().saturating_sub(start)).unwrap_or(u32::MAX);
    let place = start.saturating_add(4)..start.saturating_add(HEADER);
    if let Some(place) = bytes.get_mut(place) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// Kind, count and the rest, once version and length are right.
pub(super) fn header(bytes: &[u8]) -> Decoded<(u8, usize, Reader<'_>)> {
    let mut reader = Reader {
        left: bytes,
        whole: bytes.len(),
    };
    let version = reader.u8()?;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let kind = reader.u8()?;
    let count = reader.u16()?;
    let said = reader.u32()?;
    if usize::try_from(said) != Ok(bytes.len()) || bytes.len() > LONGEST {
        return Err(Malformed::Length {
            said,
            has: bytes.len(),
        });
    }
    Ok((kind, usize::from(count), reader))
}

pub(super) fn put_delivery(bytes: &mut Vec<u8>, delivery: &Delivery) {
    let name = delivery.listener.as_str().as_bytes();
    let since_1970 = delivery.accepted.duration_since(UNIX_EPOCH);
    let deadline = delivery.deadline.map_or(0, |time| nanoseconds(time).max(1));
    bytes.extend(delivery.id.to_le_bytes());
    bytes.extend(nanoseconds(since_1970.unwrap_or_default()).to_le_bytes());
    bytes.extend(deadline.to_le_bytes());
    bytes.push(length(name));
    for address in [&delivery.peer, &delivery.local] {
        bytes.push(match address {
            Address::Inet(SocketAddr::V4(_)) => family::V4,
            Address::Inet(SocketAddr::V6(_)) => family::V6,
            Address::Unix(_) => family::UNIX,
        });
        bytes.push(length(unix_name(address)));
    }
    bytes.extend([0; 3]);
    put_inet(bytes, &delivery.peer);
    put_inet(bytes, &delivery.local);
    bytes.extend(name);
    bytes.extend(unix_name(&delivery.peer));
    bytes.extend(unix_name(&delivery.local));
}

fn put_inet(bytes: &mut Vec<u8>, address: &Address) {
    let mut ip = [0; 16];
    let (port, scope) = match address {
        Address::Unix(_) => (0, 0),
        Address::Inet(SocketAddr::V4(address)) => {
            if let Some(first) = ip.first_chunk_mut() {
                *first = address.ip().octets();
            }
            (address.port(), 0)
        }
        Address::Inet(SocketAddr::V6(address)) => {
            ip = address.ip().octets();
            (address.port(), address.scope_id())
        }
    };
    bytes.extend(ip);
    bytes.extend(port.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend(scope.to_le_bytes());
}

fn unix_name(address: &Address) -> &[u8] {
    match address {
        Address::Inet(_) => &[],
        Address::Unix(name) => name.as_bytes(),
    }
}

/// The length of a listener's or a socket's name: their types hold no more than a byte counts.
fn length(name: &[u8]) -> u8 {
    u8::try_from(name.len()).unwrap_or(u8::MAX)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What is left of a message.
pub(super) struct Reader<'a> {
    left: &'a [u8],
    whole: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let (taken, left) = self
            .left
            .split_at_checked(count)
            .ok_or(Malformed::Short(self.whole))?;
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (taken, left) = self
            .left
            .split_first_chunk()
            .ok_or(Malformed::Short(self.whole))?;
        self.left = left;
        Ok(*taken)
    }

    fn u8(&mut self) -> Decoded<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Decoded<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Decoded<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Decoded<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn zeros<const N: usize>(&mut self) -> Decoded<()> {
        match self.array::<N>()? == [0; N] {
            true => Ok(()),
            false => Err(Malformed::Reserved),
        }
    }

    pub(super) fn end(&self) -> Decoded<()> {
        match self.left.len() {
            0 => Ok(()),
            left => Err(Malformed::Trailing(left)),
        }
    }

    pub(super) fn delivery(&mut self) -> Decoded<Delivery> {
        let id = self.u64()?;
        let accepted = Duration::from_nanos(self.u64()?);
        let deadline = match self.u64()? {
            0 => None,
            time => Some(Duration::from_nanos(time)),
        };
        let name = self.u8()?;
        let peer = (self.u8()?, self.u8()?);
        let local = (self.u8()?, self.u8()?);
        self.zeros::<3>()?;
        let peer_inet = self.inet()?;
        let local_inet = self.inet()?;
        let name = std::str::from_utf8(self.bytes(name.into())?).map_err(|_| Malformed::Name)?;
        Ok(Delivery {
            id,
            listener: ListenerName::new(name)?,
            peer: address(peer.0, peer_inet, self.bytes(peer.1.into())?)?,
            local: address(local.0, local_inet, self.bytes(local.1.into())?)?,
            accepted: UNIX_EPOCH.checked_add(accepted).unwrap_or(UNIX_EPOCH),
            deadline,
        })
    }

    fn inet(&mut self) -> Decoded<Inet> {
        let ip = self.array()?;
        let port = self.u16()?;
        self.zeros::<2>()?;
        let scope = self.u32()?;
        Ok(Inet { ip, port, scope })
    }
}

/// The part of an address that has a fixed place; all zero for a Unix socket.
#[derive(PartialEq, Eq)]
struct Inet {
    ip: [u8; 16],
    port: u16,
    scope: u32,
}

fn address(family: u8, inet: Inet, name: &[u8]) -> Decoded<Address> {
    let Inet { ip, port, scope } = inet;
    let unused = |part: &[u8]| match part.iter().all(|&byte| byte == 0) {
        true => Ok(()),
        false => Err(Malformed::Address),
    };
    if family != family::UNIX && !name.is_empty() {
        return Err(Malformed::Address);
    }
    match family {
        family::UNIX => {
            unused(&ip)?;
            unused(&port.to_le_bytes())?;
            unused(&scope.to_le_bytes())?;
            UnixName::new(name).map(Address::Unix)
        }
        family::V4 => {
            let [a, b, c, d, rest @ ..] = ip;
            unused(&rest)?;
            unused(&scope.to_le_bytes())?;
            let ip = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
            Ok(Address::Inet(SocketAddr::new(ip, port)))
        }
        family::V6 => {
            let address = SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope);
            Ok(Address::Inet(SocketAddr::V6(address)))
        }
        other => Err(Malformed::Family(other)),
    }
}
