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

mod address;
pub mod channel;
mod library;
mod pool;
pub(crate) mod transport;

pub use library::{Accepted, Broker, Counts, Event, SendError, Unsent};
