//! Joining namespaces of others.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sched::CloneFlags;
use nix::unistd::Pid;

use super::{row, same_namespace};
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::outside::Outside;
use crate::selftest::promise;
use crate::sys::attempt as sys;

pub(super) fn of_joining() -> Vec<Attempt> {
    use Control::{Nobody, Root};
    vec![
        row(
            "setns-launcher",
            "setns to the launcher's network namespace by /proc",
            "own /proc",
            Root,
            promise::proc_of_processes,
            |o| join(&format!("/proc/{}/ns/net", o.launcher), Some(o)),
        ),
        row(
            "setns-init",
            "setns to the network namespace of process 1",
            "unreadable init",
            Root,
            promise::init,
            |o| {
                join(
                    &format!("/proc/{}/ns/net", crate::selftest::processes::init(o)),
                    Some(o),
                )
            },
        ),
        row(
            "setns-own",
            "setns at all",
            "filter: setns",
            Root,
            promise::namespaces,
            |_| join("/proc/self/ns/net", None),
        ),
        row(
            "setns-pidfd",
            "setns to a process by its pidfd",
            "process namespace",
            Root,
            promise::processes_or_filter,
            |o| match sys::pidfd_open(Pid::from_raw(o.victim)) {
                Ok(pidfd) => {
                    Outcome::of(nix::sched::setns(pidfd, CloneFlags::CLONE_NEWNET), "joined")
                }
                Err(errno) => Outcome::refused(errno),
            },
        ),
        row(
            "named-namespaces",
            "/run/netns",
            "hidden /run",
            Nobody,
            promise::run_directory,
            |o| {
                if o.named_namespaces.is_empty() {
                    return Outcome::skipped("the host has none");
                }
                let found = o
                    .named_namespaces
                    .iter()
                    .find(|name| fs::File::open(Path::new("/run/netns").join(name)).is_ok());
                found.map_or_else(
                    || Outcome::held("none is seen"),
                    |name| Outcome::open(name.clone()),
                )
            },
        ),
    ]
}

/// setns(2) by a path; with `outside`, only the host's namespace counts.
fn join(path: &str, outside: Option<&Outside>) -> Outcome {
    let namespace = match fs::File::open(path) {
        Ok(file) => OwnedFd::from(file),
        Err(error) => return Outcome::stopped(&error),
    };
    if let Err(errno) = nix::sched::setns(&namespace, CloneFlags::CLONE_NEWNET) {
        return Outcome::refused(errno);
    }
    outside.map_or_else(
        || Outcome::open("joined"),
        |outside| same_namespace(&namespace, outside),
    )
}
