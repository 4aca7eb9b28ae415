//! The broker: accepts connections outside and hands them to sandboxed workers.

pub(crate) mod admin;
pub(crate) mod confine;
pub(crate) mod journal;
pub(crate) mod limit;
pub(crate) mod listen;
pub(crate) mod notify;
pub(crate) mod reactor;
pub(crate) mod serve;
pub(crate) mod settings;
pub(crate) mod tally;
