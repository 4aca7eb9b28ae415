//! The broker: accepts connections outside and hands them to sandboxed workers.

pub(crate) mod admin;
pub(crate) mod limit;
pub(crate) mod listen;
pub(crate) mod notify;
pub(crate) mod reactor;
pub(crate) mod tally;
