//! The wire format between a broker and a worker of its pool: messages to bytes and back.
//!
//! Runs in the broker, in the worker's library, and nowhere a system call: the bytes travel over a
//! `SOCK_SEQPACKET` pair (unix(7)), one message each, and [`super::transport`] moves them. Written down
//! for other languages in `docs/channel.md`; both change together, and with [`VERSION`].
//!
//! What a worker sends is hostile. Decoding takes exactly what encoding makes: every length, every
//! padding byte and every name is checked, and what is not right is a [`Malformed`] that says why. So
//! `encode(decode(bytes)) == bytes` for whatever is taken.
//!
//! Here are the messages; [`address`] has the values in them, [`layout`] the bytes.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod address;
mod layout;
#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test stops where it fails"
)]
mod tests;

use std::fmt;
use std::time::{Duration, SystemTime};

pub use address::{Address, ListenerName, UnixName};
use layout::{header, message, put_delivery};

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
