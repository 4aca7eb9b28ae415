//! The same on the sandbox's init.

use std::fs;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{row, victim};
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::outside::{Outside, Place};
use crate::selftest::promise;
use crate::sys::attempt as sys;

const INIT: &str = "undumpable init that holds nothing";

pub(super) fn of_init() -> Vec<Attempt> {
    use Control::Anyone;
    vec![
        row(
            "ptrace-init",
            "trace the sandbox's init",
            INIT,
            Anyone,
            promise::init,
            |o| Outcome::of(ptrace::seize(init(o), ptrace::Options::empty()), "traced"),
        ),
        row(
            "proc-mem-init",
            "/proc/1/mem",
            INIT,
            Anyone,
            promise::init,
            |o| read_of_init(o, "mem"),
        ),
        row(
            "proc-environ-init",
            "/proc/1/environ",
            INIT,
            Anyone,
            promise::init,
            |o| read_of_init(o, "environ"),
        ),
        row(
            "proc-exe-init",
            "/proc/1/exe: the launcher's binary, to overwrite it",
            INIT,
            Anyone,
            promise::init,
            |o| read_of_init(o, "exe"),
        ),
        row(
            "proc-root-init",
            "/proc/1/root",
            INIT,
            Anyone,
            promise::init,
            |o| read_of_init(o, "root/"),
        ),
        row(
            "proc-ns-init",
            "/proc/1/ns",
            INIT,
            Anyone,
            promise::init,
            |o| read_of_init(o, "ns/net"),
        ),
        row(
            "proc-fd-init",
            "the descriptors of init",
            INIT,
            Anyone,
            promise::init,
            descriptors_of_init,
        ),
        row(
            "pidfd-getfd-init",
            "pidfd_getfd from init",
            INIT,
            Anyone,
            promise::init,
            |o| {
                let stolen =
                    sys::pidfd_open(init(o)).and_then(|pidfd| sys::pidfd_getfd(pidfd.as_fd(), 0));
                Outcome::of(stolen, "its standard input")
            },
        ),
        row(
            "kill-init",
            "kill init",
            "process 1 ignores its own",
            Control::Nobody,
            promise::init,
            |o| {
                if o.place == Place::Control {
                    return Outcome::skipped("would be aimed at the host's process 1");
                }
                if let Err(errno) = kill(Pid::from_raw(1), Signal::SIGKILL) {
                    return Outcome::refused(errno);
                }
                // Alive to say so: with its init, this process would have ended.
                std::thread::sleep(Duration::from_millis(20));
                Outcome::held("it lives on")
            },
        ),
    ]
}

/// The sandbox's init; outside, the victim stands in for it, as a process of the same user.
pub(in crate::selftest) fn init(outside: &Outside) -> Pid {
    match outside.place {
        Place::Inside => Pid::from_raw(1),
        Place::Control => victim(outside),
    }
}

/// How many descriptors init has is no secret to its own user: what they lead to is.
fn descriptors_of_init(outside: &Outside) -> Outcome {
    let directory = format!("/proc/{}/fd", init(outside));
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries.flatten(),
        Err(error) => return Outcome::stopped(&error),
    };
    let mut outcome = Outcome::held("it has none");
    for entry in entries {
        outcome = match fs::read_link(entry.path()) {
            Ok(target) => return Outcome::open(target.display().to_string()),
            Err(error) => Outcome::stopped(&error),
        };
    }
    outcome
}

fn read_of_init(outside: &Outside, name: &str) -> Outcome {
    let path = format!("/proc/{}/{name}", init(outside));
    match fs::File::open(&path) {
        Ok(_) => Outcome::open(format!("{path} opens")),
        Err(error) => Outcome::stopped(&error),
    }
}
