//! The broker: accepts connections outside and hands them to sandboxed workers.
#![cfg_attr(not(test), expect(dead_code, reason = "the event loop uses it"))]

pub mod connection;
pub mod keeper;
