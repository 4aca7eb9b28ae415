//! The broker: accepts connections outside and hands them to sandboxed workers.

pub(crate) mod limit;
pub(crate) mod listen;
pub(crate) mod notify;
pub(crate) mod tally;
