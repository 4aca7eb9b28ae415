//! The broker: accepts connections outside and hands them to sandboxed workers.

pub(crate) mod listen;
