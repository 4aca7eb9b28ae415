//! The wire format between a broker and a worker of its pool: messages to bytes and back.
//!
//! Runs in the broker, in the worker's library, and nowhere a system call: the bytes travel over a
//! `SOCK_SEQPACKET` pair (unix(7)), one message each, and [`super::transport`] moves them. Written down
//! for other languages in `docs/channel.md`; both change together, and with [`VERSION`].
//!
//! What a worker sends is hostile. Decoding takes exactly what encoding makes: every length, every
//! padding byte and every name is checked, and what is not right is a [`Malformed`] that says why. So
//! `encode(decode(bytes)) == bytes` for whatever is taken.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::policy::spec;

/// The version of the format, in every message's first byte.
pub const VERSION: u8 = 1;
/// The most connections, and so descriptors, in one message.
pub const MOST_CONNECTIONS: usize = 16;
/// The most connections that one message of a worker gives back.
pub const MOST_IDS: usize = 512;
/// The longest message either way; a longer one is malformed.
pub const LONGEST: usize = HEADER + MOST_CONNECTIONS * (RECORD + 255 + 2 * SUN_PATH);

const HEADER: usize = 8;
/// What every connection has, without its names.
const RECORD: usize = 80;
/// `sizeof(sun_path)` of sockaddr_un (unix(7)).
const SUN_PATH: usize = 108;

/// The first byte after the version: what the message is.
mod kind {
    pub(super) const CONNECTIONS: u8 = 1;
    pub(super) const DRAIN: u8 = 2;
    pub(super) const HELLO: u8 = 0x81;
    pub(super) const DONE: u8 = 0x82;
    pub(super) const REFUSED: u8 = 0x83;
}

/// The byte that says what an address is.
mod family {
    pub(super) const UNIX: u8 = 1;
    pub(super) const V4: u8 = 4;
    pub(super) const V6: u8 = 6;
}

/// Why bytes are no message of this channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Another version.
    #[error("it is of version {0} of the channel, and only version {VERSION} is spoken here")]
    Version(u8),
    /// No such kind of message, or one for the other side.
    #[error("{0:#04x} is no kind of message that is sent this way")]
    Kind(u8),
    /// It ends in the middle.
    #[error("it ends after {0} bytes, in the middle of something")]
    Short(usize),
    /// Something is left.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// It was cut on the way, or says a wrong length.
    #[error("it says that it has {said} bytes, and has {has}")]
    Length {
        /// By its header.
        said: u32,
        /// As it came.
        has: usize,
    },
    /// More or fewer connections than a message may have.
    #[error("a message of this kind cannot have {0} entries")]
    Count(usize),
    /// Not one descriptor for each connection.
    #[error("{said} connections were announced, and {came} descriptors came")]
    Descriptors {
        /// By its header.
        said: usize,
        /// As they came.
        came: usize,
    },
    /// A byte that must be zero is not.
    #[error("a reserved byte is not zero")]
    Reserved,
    /// No family of addresses.
    #[error("{0} is no family of addresses")]
    Family(u8),
    /// An address with parts that its family does not have, or too long.
    #[error("an address is not of its family's form")]
    Address,
    /// No name for a listener.
    #[error("a listener's name is not 1 to 255 printable characters")]
    Name,
    /// No reason for a refusal.
    #[error("{0} is no reason for a refusal")]
    Reason(u16),
}

/// What decoding gives.
pub type Decoded<T> = Result<T, Malformed>;

/// A listener's name, by the rules of `LISTEN_FDNAMES` (sd_listen_fds(3)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerName(Arc<str>);

impl ListenerName {
    /// Take `name` if it is one: 1 to 255 printable ASCII characters without space, `:`, `=` or braces.
    ///
    /// # Errors
    /// [`Malformed::Name`].
    pub fn new(name: &str) -> Decoded<Self> {
        match spec::descriptor_name(name) {
            Ok(_) => Ok(Self(name.into())),
            Err(_) => Err(Malformed::Name),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a Unix socket, as `sun_path` holds it. By default none.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct UnixName(Vec<u8>);

impl UnixName {
    /// Take the bytes of `sun_path`, without a path's terminating NUL: none for an unnamed socket, a
    /// NUL first for an abstract one, otherwise a path.
    ///
    /// # Errors
    /// [`Malformed::Address`] when they are more than `sun_path` holds, or a path with a NUL.
    pub fn new(bytes: &[u8]) -> Decoded<Self> {
        let path = bytes.first().is_some_and(|&first| first != 0);
        if bytes.len() > SUN_PATH || (path && bytes.contains(&0)) {
            return Err(Malformed::Address);
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes of `sun_path`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path, if it has one.
    #[must_use]
    pub fn as_path(&self) -> Option<&Path> {
        match self.0.first() {
            None | Some(0) => None,
            Some(_) => Some(Path::new(OsStr::from_bytes(&self.0))),
        }
    }

    /// The abstract name, if that is what it has.
    #[must_use]
    pub fn as_abstract(&self) -> Option<&[u8]> {
        self.0.strip_prefix(&[0])
    }

    /// Whether it has no name: a client that did not bind.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixName({self})")
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_abstract() {
            Some(name) => write!(f, "unix:@{}", name.escape_ascii()),
            None => write!(f, "unix:{}", self.0.escape_ascii()),
        }
    }
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4 or IPv6. An IPv6 flow label is not transmitted.
    Inet(SocketAddr),
    /// A Unix socket.
    Unix(UnixName),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(name) => name.fmt(f),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// What a worker is told of one connection; its descriptor comes with the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The broker's number for it, never used twice on a channel.
    pub id: u64,
    /// The listener that it came in by.
    pub listener: ListenerName,
    /// The client.
    pub peer: Address,
    /// The client's other end: where it connected to.
    pub local: Address,
    /// When it was accepted; transmitted in nanoseconds, from 1970 to 2554.
    pub accepted: SystemTime,
    /// How long it may take from then on, if there is a limit; transmitted in nanoseconds, at least 1.
    pub deadline: Option<Duration>,
}

/// From the broker to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToWorker {
    /// Connections, 1 to [`MOST_CONNECTIONS`], each with a descriptor in the same order.
    Connections(Vec<Delivery>),
    /// No more will come: finish what you have, then end.
    Drain,
}

/// Why a worker did not serve a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// It has no memory, descriptors or time for it.
    Overloaded,
    /// Its time was over before it was taken up.
    Expired,
    /// It serves no such listener or peer.
    Unwanted,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Overloaded, Self::Expired, Self::Unwanted];

    const fn number(self) -> u16 {
        match self {
            Self::Overloaded => 1,
            Self::Expired => 2,
            Self::Unwanted => 3,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overloaded => "overloaded",
            Self::Expired => "expired",
            Self::Unwanted => "unwanted",
        })
    }
}

/// From a worker to the broker. `credits` is always the worker's whole capacity: how many connections
/// it will have at a time, taken up or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromWorker {
    /// The first message: it is ready.
    Hello {
        /// Its capacity.
        credits: u32,
    },
    /// It is through with these connections, up to [`MOST_IDS`]; none to change its capacity only.
    Done {
        /// Their numbers.
        ids: Vec<u64>,
        /// Its capacity.
        credits: u32,
    },
    /// It has closed these, 1 to [`MOST_IDS`], unserved.
    Refused {
        /// Their numbers.
        ids: Vec<u64>,
        /// Its capacity.
        credits: u32,
        /// Why.
        reason: Refusal,
    },
}

impl ToWorker {
    /// Append the message to `bytes`.
    ///
    /// # Errors
    /// [`Malformed::Count`] when it has no connection, or too many.
    pub fn encode(&self, bytes: &mut Vec<u8>) -> Decoded<()> {
        match self {
            Self::Connections(deliveries) => encode_connections(deliveries.iter(), bytes),
            Self::Drain => {
                message(bytes, kind::DRAIN, 0, |_| ());
                Ok(())
            }
        }
    }

    /// Read one message that came with `descriptors`.
    ///
    /// # Errors
    /// When it is not exactly what [`ToWorker::encode`] makes.
    pub fn decode(bytes: &[u8], descriptors: usize) -> Decoded<Self> {
        let message = Self::decode_bytes(bytes)?;
        let said = message.descriptors();
        match said == descriptors {
            true => Ok(message),
            false => Err(Malformed::Descriptors {
                said,
                came: descriptors,
            }),
        }
    }

    /// How many descriptors belong to it.
    fn descriptors(&self) -> usize {
        match self {
            Self::Connections(deliveries) => deliveries.len(),
            Self::Drain => 0,
        }
    }

    /// Read one message of which descriptors may have been dropped on the way.
    ///
    /// # Errors
    /// As for [`ToWorker::decode`], but for the descriptors.
    pub(crate) fn decode_bytes(bytes: &[u8]) -> Decoded<Self> {
        let (kind, count, mut body) = header(bytes)?;
        let message = match kind {
            kind::CONNECTIONS if (1..=MOST_CONNECTIONS).contains(&count) => Self::Connections(
                (0..count)
                    .map(|_| body.delivery())
                    .collect::<Decoded<_>>()?,
            ),
            kind::DRAIN if count == 0 => Self::Drain,
            kind::CONNECTIONS | kind::DRAIN => return Err(Malformed::Count(count)),
            _ => return Err(Malformed::Kind(kind)),
        };
        body.end()?;
        Ok(message)
    }
}

/// As [`ToWorker::Connections`], from borrowed values.
///
/// # Errors
/// [`Malformed::Count`].
pub(crate) fn encode_connections<'a>(
    deliveries: impl ExactSizeIterator<Item = &'a Delivery>,
    bytes: &mut Vec<u8>,
) -> Decoded<()> {
    let count = deliveries.len();
    if !(1..=MOST_CONNECTIONS).contains(&count) {
        return Err(Malformed::Count(count));
    }
    message(bytes, kind::CONNECTIONS, count, |bytes| {
        for delivery in deliveries {
            put_delivery(bytes, delivery);
        }
    });
    Ok(())
}

impl FromWorker {
    /// Append the message to `bytes`.
    ///
    /// # Errors
    /// [`Malformed::Count`] when it has too many ids, or a refusal has none.
    pub fn encode(&self, bytes: &mut Vec<u8>) -> Decoded<()> {
        match self {
            Self::Hello { credits } => encode_answer(bytes, kind::HELLO, &[], *credits, 0),
            Self::Done { ids, credits } => encode_answer(bytes, kind::DONE, ids, *credits, 0),
            Self::Refused {
                ids,
                credits,
                reason,
            } => encode_answer(bytes, kind::REFUSED, ids, *credits, reason.number()),
        }
    }

    /// Read one message.
    ///
    /// # Errors
    /// When it is not exactly what [`FromWorker::encode`] makes.
    pub fn decode(bytes: &[u8]) -> Decoded<Self> {
        let (kind, count, mut body) = header(bytes)?;
        if !matches!(kind, kind::HELLO | kind::DONE | kind::REFUSED) {
            return Err(Malformed::Kind(kind));
        }
        check_answer_count(kind, count)?;
        let credits = body.u32()?;
        let reason = body.u16()?;
        body.zeros::<2>()?;
        let ids = (0..count).map(|_| body.u64()).collect::<Decoded<_>>()?;
        body.end()?;
        match (kind, reason) {
            (kind::HELLO, 0) => Ok(Self::Hello { credits }),
            (kind::DONE, 0) => Ok(Self::Done { ids, credits }),
            (kind::REFUSED, _) => {
                let reason = Refusal::ALL
                    .into_iter()
                    .find(|known| known.number() == reason)
                    .ok_or(Malformed::Reason(reason))?;
                Ok(Self::Refused {
                    ids,
                    credits,
                    reason,
                })
            }
            _ => Err(Malformed::Reserved),
        }
    }
}

fn check_answer_count(kind: u8, count: usize) -> Decoded<()> {
    let fits = match kind {
        kind::HELLO => count == 0,
        kind::DONE => count <= MOST_IDS,
        _ => (1..=MOST_IDS).contains(&count),
    };
    fits.then_some(()).ok_or(Malformed::Count(count))
}

fn encode_answer(
    bytes: &mut Vec<u8>,
    kind: u8,
    ids: &[u64],
    credits: u32,
    reason: u16,
) -> Decoded<()> {
    check_answer_count(kind, ids.len())?;
    message(bytes, kind, ids.len(), |bytes| {
        bytes.extend(credits.to_le_bytes());
        bytes.extend(reason.to_le_bytes());
        bytes.extend([0; 2]);
        for id in ids {
            bytes.extend(id.to_le_bytes());
        }
    });
    Ok(())
}

/// A header, and behind it what `body` appends.
fn message(bytes: &mut Vec<u8>, kind: u8, count: usize, body: impl FnOnce(&mut Vec<u8>)) {
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
fn header(bytes: &[u8]) -> Decoded<(u8, usize, Reader<'_>)> {
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

fn put_delivery(bytes: &mut Vec<u8>, delivery: &Delivery) {
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
struct Reader<'a> {
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

    fn u16(&mut self) -> Decoded<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Decoded<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Decoded<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn zeros<const N: usize>(&mut self) -> Decoded<()> {
        match self.array::<N>()? == [0; N] {
            true => Ok(()),
            false => Err(Malformed::Reserved),
        }
    }

    fn end(&self) -> Decoded<()> {
        match self.left.len() {
            0 => Ok(()),
            left => Err(Malformed::Trailing(left)),
        }
    }

    fn delivery(&mut self) -> Decoded<Delivery> {
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

#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops where it fails"
)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn encoded(message: &ToWorker) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        bytes
    }

    fn answer(message: &FromWorker) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        bytes
    }

    fn delivery() -> Delivery {
        Delivery {
            id: 7,
            listener: ListenerName::new("web").unwrap(),
            peer: Address::Inet("192.0.2.9:51000".parse().unwrap()),
            local: Address::Inet("[2001:db8::1%3]:443".parse().unwrap()),
            accepted: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            deadline: Some(Duration::from_secs(30)),
        }
    }

    fn with(change: impl FnOnce(&mut Vec<u8>)) -> Decoded<ToWorker> {
        let mut bytes = encoded(&ToWorker::Connections(vec![delivery()]));
        change(&mut bytes);
        ToWorker::decode(&bytes, 1)
    }

    fn unix_names() -> impl Strategy<Value = UnixName> {
        prop_oneof![
            Just(Vec::new()),
            vec(1_u8.., 1..=SUN_PATH),
            vec(any::<u8>(), 0..SUN_PATH).prop_map(|mut name| {
                name.insert(0, 0);
                name
            }),
        ]
        .prop_map(|bytes| UnixName::new(&bytes).unwrap())
    }

    fn addresses() -> impl Strategy<Value = Address> {
        prop_oneof![
            any::<([u8; 4], u16)>().prop_map(|(ip, port)| Address::Inet((ip, port).into())),
            any::<([u8; 16], u16, u32)>().prop_map(|(ip, port, scope)| {
                Address::Inet(SocketAddrV6::new(ip.into(), port, 0, scope).into())
            }),
            unix_names().prop_map(Address::Unix),
        ]
    }

    fn deliveries() -> impl Strategy<Value = Delivery> {
        (
            any::<u64>(),
            "[!-9;<>-z|~]{1,255}",
            addresses(),
            addresses(),
            any::<u64>(),
            proptest::option::of(1_u64..),
        )
            .prop_map(|(id, name, peer, local, accepted, deadline)| Delivery {
                id,
                listener: ListenerName::new(&name).unwrap(),
                peer,
                local,
                accepted: UNIX_EPOCH + Duration::from_nanos(accepted),
                deadline: deadline.map(Duration::from_nanos),
            })
    }

    fn answers() -> impl Strategy<Value = FromWorker> {
        prop_oneof![
            any::<u32>().prop_map(|credits| FromWorker::Hello { credits }),
            (vec(any::<u64>(), 0..=MOST_IDS), any::<u32>())
                .prop_map(|(ids, credits)| FromWorker::Done { ids, credits }),
            (
                vec(any::<u64>(), 1..=MOST_IDS),
                any::<u32>(),
                proptest::sample::select(&Refusal::ALL[..])
            )
                .prop_map(|(ids, credits, reason)| FromWorker::Refused {
                    ids,
                    credits,
                    reason
                }),
        ]
    }

    proptest! {
        #[test]
        fn what_a_broker_sends_is_what_its_worker_reads(
            batch in vec(deliveries(), 1..=MOST_CONNECTIONS),
        ) {
            let count = batch.len();
            let message = ToWorker::Connections(batch);
            let bytes = encoded(&message);
            prop_assert!(bytes.len() <= LONGEST);
            prop_assert_eq!(ToWorker::decode(&bytes, count), Ok(message));
        }

        #[test]
        fn what_a_worker_sends_is_what_its_broker_reads(message in answers()) {
            let bytes = answer(&message);
            prop_assert!(bytes.len() <= LONGEST);
            prop_assert_eq!(FromWorker::decode(&bytes), Ok(message));
        }

        #[test]
        fn no_message_is_read_from_a_part_of_another(
            batch in vec(deliveries(), 1..3),
            answer_message in answers(),
            at in any::<prop::sample::Index>(),
        ) {
            let count = batch.len();
            let bytes = encoded(&ToWorker::Connections(batch));
            let part = &bytes[..at.index(bytes.len())];
            prop_assert!(ToWorker::decode(part, count).is_err());
            let bytes = answer(&answer_message);
            prop_assert!(FromWorker::decode(&bytes[..at.index(bytes.len())]).is_err());
        }

        #[test]
        fn there_is_one_spelling_of_every_message(
            batch in vec(deliveries(), 1..3),
            answer_message in answers(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let count = batch.len();
            let mut bytes = encoded(&ToWorker::Connections(batch));
            let place = at.index(bytes.len());
            bytes[place] = byte;
            if let Ok(read) = ToWorker::decode(&bytes, count) {
                prop_assert_eq!(encoded(&read), bytes);
            }
            let mut bytes = answer(&answer_message);
            let place = at.index(bytes.len());
            bytes[place] = byte;
            if let Ok(read) = FromWorker::decode(&bytes) {
                prop_assert_eq!(answer(&read), bytes);
            }
        }

        #[test]
        fn any_bytes_are_a_message_or_a_reason(bytes in vec(any::<u8>(), 0..200)) {
            let _ = ToWorker::decode(&bytes, 1);
            let _ = FromWorker::decode(&bytes);
        }
    }

    #[test]
    fn each_mistake_of_a_broker_has_its_reason() {
        assert_eq!(with(|_| ()), Ok(ToWorker::Connections(vec![delivery()])));
        let table: [(&str, Decoded<ToWorker>, Malformed); 14] = [
            ("version", with(|b| b[0] = 2), Malformed::Version(2)),
            ("kind", with(|b| b[1] = 0x82), Malformed::Kind(0x82)),
            ("no connection", with(|b| b[2] = 0), Malformed::Count(0)),
            ("too many", with(|b| b[2] = 17), Malformed::Count(17)),
            ("one more said", with(|b| b[2] = 2), Malformed::Short(91)),
            (
                "length",
                with(|b| b[4] = 90),
                Malformed::Length { said: 90, has: 91 },
            ),
            (
                "trailing",
                with(|b| {
                    b.push(0);
                    b[4] = 92;
                }),
                Malformed::Trailing(1),
            ),
            ("padding", with(|b| b[8 + 29] = 1), Malformed::Reserved),
            ("family", with(|b| b[8 + 25] = 2), Malformed::Family(2)),
            (
                "IPv4 behind its four bytes",
                with(|b| b[8 + 36] = 1),
                Malformed::Address,
            ),
            (
                "IPv4 with a scope",
                with(|b| b[8 + 52] = 1),
                Malformed::Address,
            ),
            (
                "Unix with an IP",
                with(|b| b[8 + 25] = 1),
                Malformed::Address,
            ),
            (
                "IPv4 with a path",
                with(|b| {
                    b.push(b'/');
                    (b[4], b[8 + 26]) = (92, 1);
                }),
                Malformed::Address,
            ),
            ("name", with(|b| b[8 + 80] = b' '), Malformed::Name),
        ];
        for (what, decoded, reason) in table {
            assert_eq!(decoded, Err(reason), "{what}");
        }
        let bytes = encoded(&ToWorker::Connections(vec![delivery()]));
        for came in [0, 2] {
            assert_eq!(
                ToWorker::decode(&bytes, came),
                Err(Malformed::Descriptors { said: 1, came })
            );
        }
        assert_eq!(ToWorker::decode(&[], 0), Err(Malformed::Short(0)));
        let drain = encoded(&ToWorker::Drain);
        assert_eq!(ToWorker::decode(&drain, 0), Ok(ToWorker::Drain));
        assert_eq!(
            ToWorker::decode(&drain, 1),
            Err(Malformed::Descriptors { said: 0, came: 1 })
        );
    }

    #[test]
    fn each_mistake_of_a_worker_has_its_reason() {
        let refused = FromWorker::Refused {
            ids: vec![1, 2],
            credits: 8,
            reason: Refusal::Expired,
        };
        let with = |change: fn(&mut Vec<u8>)| {
            let mut bytes = answer(&refused);
            change(&mut bytes);
            FromWorker::decode(&bytes)
        };
        assert_eq!(with(|_| ()), Ok(refused.clone()));
        for (decoded, reason) in [
            (with(|b| b[0] = 0), Malformed::Version(0)),
            (with(|b| b[1] = 1), Malformed::Kind(1)),
            (with(|b| b[1] = 0x81), Malformed::Count(2)),
            (with(|b| b[1] = 0x82), Malformed::Reserved),
            (with(|b| b[2] = 1), Malformed::Trailing(8)),
            (with(|b| b[2] = 3), Malformed::Short(32)),
            (with(|b| b[3] = 3), Malformed::Count(770)),
            (with(|b| b[12] = 0), Malformed::Reason(0)),
            (with(|b| b[12] = 9), Malformed::Reason(9)),
            (with(|b| b[14] = 1), Malformed::Reserved),
        ] {
            assert_eq!(decoded, Err(reason));
        }
    }

    #[test]
    fn a_message_that_would_be_malformed_is_not_made() {
        let mut bytes = Vec::new();
        for count in [0, MOST_CONNECTIONS + 1] {
            let message = ToWorker::Connections(vec![delivery(); count]);
            assert_eq!(message.encode(&mut bytes), Err(Malformed::Count(count)));
        }
        let none = FromWorker::Refused {
            ids: Vec::new(),
            credits: 1,
            reason: Refusal::Unwanted,
        };
        assert_eq!(none.encode(&mut bytes), Err(Malformed::Count(0)));
        assert!(bytes.is_empty());
        assert!(ListenerName::new("a:b").is_err());
        assert!(UnixName::new(b"a\0b").is_err());
        assert!(UnixName::new(&[1; SUN_PATH + 1]).is_err());
    }

    #[test]
    fn an_address_is_shown_without_surprises() {
        let unix = |name: &[u8]| Address::Unix(UnixName::new(name).unwrap()).to_string();
        assert_eq!(unix(b""), "unix:");
        assert_eq!(unix(b"/run/a\n"), "unix:/run/a\\n");
        assert_eq!(unix(b"\0ab\0"), "unix:@ab\\x00");
        assert_eq!(delivery().peer.to_string(), "192.0.2.9:51000");
    }

    /// The hex dumps of `docs/channel.md`, in order.
    fn documented() -> Vec<Vec<u8>> {
        let page = include_str!("../../docs/channel.md");
        page.split("```text\n")
            .skip(1)
            .map(|rest| {
                let (dump, _) = rest.split_once("```").unwrap();
                dump.lines()
                    .flat_map(|line| line.split_whitespace().skip(1))
                    .map(|byte| u8::from_str_radix(byte, 16).unwrap())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn the_examples_in_the_document_are_what_they_are_said_to_be() {
        let dumps = documented();
        let [connection, hello, done] = &dumps[..] else {
            panic!("{dumps:?}");
        };
        let one = Delivery {
            id: 1,
            listener: ListenerName::new("web").unwrap(),
            peer: Address::Inet("192.0.2.7:51000".parse().unwrap()),
            local: Address::Inet("198.51.100.1:80".parse().unwrap()),
            accepted: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            deadline: None,
        };
        assert_eq!(encoded(&ToWorker::Connections(vec![one])), *connection);
        assert_eq!(answer(&FromWorker::Hello { credits: 16 }), *hello);
        let ids = vec![1, 2, 3];
        assert_eq!(answer(&FromWorker::Done { ids, credits: 16 }), *done);
        let page = include_str!("../../docs/channel.md");
        let drain: Vec<_> = encoded(&ToWorker::Drain)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(page.contains(&drain.join(" ")));
        for row in [
            format!("| connections in a message | {MOST_CONNECTIONS} |"),
            format!("| ids in a message | {MOST_IDS} |"),
            format!("| message, either way | {LONGEST} bytes |"),
        ] {
            assert!(page.contains(&row), "{row}");
        }
    }

    /// They were made by a program of a few lines in another language, from the document.
    #[test]
    fn what_another_implementation_made_is_read() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/channel");
        let seed = |name: &str| std::fs::read(format!("{seeds}/{name}")).unwrap();
        for (name, count) in [("one", 1), ("four", 4), ("sixteen", 16), ("drain", 0)] {
            let bytes = seed(name);
            let read = ToWorker::decode(&bytes, count).unwrap();
            assert_eq!(encoded(&read), bytes, "{name}");
        }
        for name in ["hello", "done", "credits", "refused"] {
            let bytes = seed(name);
            let read = FromWorker::decode(&bytes).unwrap();
            assert_eq!(answer(&read), bytes, "{name}");
        }
        assert_eq!(
            ToWorker::decode(&seed("other-version"), 0),
            Err(Malformed::Version(2))
        );
    }
}
