//! Run a program that you do not trust so that it cannot reach the network.

pub mod cli;
pub mod doctor;
pub mod error;
pub mod exit;
pub mod filter;
pub mod log;
pub mod policy;
pub mod probe;
pub mod request;
pub mod run;
pub mod selftest;
pub mod step;
mod sys;

pub use error::{Error, Result};
