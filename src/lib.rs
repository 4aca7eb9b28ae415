//! Run a program that you do not trust so that it cannot reach the network.

pub mod error;
pub mod exit;
pub mod policy;
pub mod request;
pub mod step;
