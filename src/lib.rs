//! Run a program that you do not trust so that it cannot reach the network.

mod account;
pub mod broker;
mod cgroup;
mod child;
pub mod cli;
mod confine;
pub mod descriptor;
pub mod doctor;
mod document;
pub mod dry_run;
pub mod egress;
pub mod error;
mod event;
pub mod exit;
pub mod filter;
pub mod init;
pub mod lab;
mod launch;
pub mod log;
mod lower;
pub mod mounts;
pub mod netns;
pub mod owner;
pub mod plan;
pub mod policy;
mod prepare;
pub mod probe;
mod proc_file;
pub mod report;
pub mod request;
pub mod run;
mod sandbox;
pub mod selftest;
mod spawn;
pub mod step;
mod supervise;
mod sys;
#[cfg(test)]
mod testing;
pub mod worker;

pub use broker::Broker;
pub use error::{Error, Result};
pub use lab::Lab;
pub use policy::{Network as Net, Policy};
pub use sandbox::{Child, Sandbox, Stdio};
pub use step::Step;
