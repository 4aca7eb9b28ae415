//! The broker: connections are accepted outside and served by sandboxed workers.
//!
//! ```text
//! client ──► listener ──► broker ──► channel ──► worker (sandboxed, makes no socket)
//!                          │  ▲ (channel, transport)
//!                          ▼  │
//!                         pool: who gets the next one (pure)
//! ```
//!
//! `docs/channel.md` has the wire format; [`crate::worker`] is the other end of it.

pub(crate) mod address;
pub(crate) mod admin;
pub mod channel;
pub(crate) mod confine;
pub mod connection;
pub(crate) mod crew;
mod crowd;
pub(crate) mod each;
pub(crate) mod house;
pub(crate) mod journal;
pub mod keeper;
mod library;
pub(crate) mod limit;
pub(crate) mod listen;
pub(crate) mod notify;
pub(crate) mod pool;
pub(crate) mod reactor;
pub(crate) mod serve;
pub(crate) mod settings;
pub(crate) mod tally;
pub(crate) mod transport;
mod turn;

pub use library::{Accepted, Broker, Counts, Event, SendError, Unsent};
