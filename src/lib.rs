//! Run a program that you do not trust so that it cannot reach the network.
//!
//! [`Sandbox`] is a builder like [`std::process::Command`]. What it starts is in fresh namespaces with an
//! empty network, has no capability, sees none of the host's Unix sockets, and runs behind a system-call
//! filter, as root and as an ordinary user. If any of that cannot be had, nothing is run and the [`Error`]
//! says why.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use sandbox::{Net, Sandbox, Stdio};
//!
//! fn main() -> sandbox::Result<()> {
//!     let output = Sandbox::new("./convert")
//!         .arg("report.md")
//!         .net(Net::None) // not even a loopback
//!         .stdin(Stdio::Null)
//!         .limit("nofile", "256")?
//!         .timeout(Duration::from_secs(30))
//!         .output()?;
//!     assert!(output.status.success());
//!
//!     // One destination outside, for any program, with the network still empty.
//!     let status = Sandbox::new("curl")
//!         .args(["-sSO", "https://files.example/data.csv"])
//!         .allow("files.example:443")?
//!         .status()?;
//!     assert!(status.success());
//!     Ok(())
//! }
//! ```
//!
//! | for | there is |
//! | --- | --- |
//! | one command | [`Sandbox`], [`Child`], [`Stdio`] |
//! | what it may do | [`Policy`]: the shipped profiles ([`Policy::built_in`]), files ([`Policy::from_file`]) |
//! | why it was not run | [`Error`]: the failed [`Step`], the kernel's reason, [`Error::hint`] |
//! | a server's workers | [`Broker`], and [`worker`] inside |
//! | networks with a name | [`netns`] |
//! | a test's network of many nodes | [`Lab`] |
//!
//! The other modules are what the program `sandbox` is made of; `docs/architecture.md` shows how a launch
//! goes through them.

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
mod dumps;
pub mod egress;
mod epoll_data;
pub mod error;
mod event;
pub mod exit;
pub mod filter;
pub mod init;
pub mod lab;
mod launch;
pub mod learn;
pub mod log;
mod lower;
pub mod mounts;
pub mod netns;
mod nproc;
pub mod owner;
mod pinned;
pub mod plan;
pub mod policy;
mod prepare;
mod printable;
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
pub use lab::{Lab, RunningLab};
pub use policy::{Network as Net, Policy};
pub use sandbox::{Child, Sandbox, Stdio};
pub use step::Step;
