//! New namespaces, above all those in which capabilities are regained.

use std::fs;

use nix::sched::CloneFlags;

use super::row;
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::outside::Outside;
use crate::selftest::promise;
use crate::sys::attempt::{self as sys, CloneCall};

pub(super) fn of_new_namespaces() -> Vec<Attempt> {
    use Control::{Anyone, Root};
    let mut attempts = Vec::new();
    for (name, flag, control) in [
        ("unshare-user", CloneFlags::CLONE_NEWUSER, Anyone),
        ("unshare-net", CloneFlags::CLONE_NEWNET, Root),
        ("unshare-mount", CloneFlags::CLONE_NEWNS, Root),
        ("unshare-pid", CloneFlags::CLONE_NEWPID, Root),
        ("unshare-ipc", CloneFlags::CLONE_NEWIPC, Root),
        ("unshare-uts", CloneFlags::CLONE_NEWUTS, Root),
        ("unshare-cgroup", CloneFlags::CLONE_NEWCGROUP, Root),
    ] {
        attempts.push(unshare_row(name, flag, control));
    }
    attempts.extend([
        row(
            "clone-user",
            "a new user namespace by clone",
            "filter: clone flags",
            Anyone,
            promise::nested,
            |_| {
                Outcome::of(
                    sys::clone_with(CloneCall::Clone, libc::CLONE_NEWUSER),
                    "a namespace",
                )
            },
        ),
        row(
            "clone-user-upper-half",
            "the same with garbage in the upper half of the word",
            "filter: clone flags",
            Anyone,
            promise::nested,
            |_| {
                Outcome::of(
                    sys::clone_with(CloneCall::CloneWithGarbage, libc::CLONE_NEWUSER),
                    "a namespace",
                )
            },
        ),
        row(
            "clone-net",
            "a new network namespace by clone",
            "filter: clone flags",
            Root,
            promise::nested,
            |_| {
                Outcome::of(
                    sys::clone_with(CloneCall::Clone, libc::CLONE_NEWNET),
                    "a namespace",
                )
            },
        ),
        row(
            "clone3-user",
            "a new user namespace by clone3, whose flags no filter sees",
            "filter: no clone3",
            Anyone,
            promise::nested,
            |_| {
                Outcome::of(
                    sys::clone_with(CloneCall::Clone3, libc::CLONE_NEWUSER),
                    "a namespace",
                )
            },
        ),
        row(
            "user-namespace-limit",
            "a user namespace in spite of the filter",
            "user.max_user_namespaces = 0",
            Anyone,
            promise::nested_limit,
            |_| match fs::read_to_string("/proc/sys/user/max_user_namespaces") {
                Ok(limit) if limit.trim() == "0" => Outcome::held("the limit is 0"),
                Ok(limit) => Outcome::open(format!("the limit is {}", limit.trim())),
                Err(error) => Outcome::stopped(&error),
            },
        ),
    ]);
    attempts
}

fn unshare_row(name: &'static str, flag: CloneFlags, control: Control) -> Attempt {
    let act: fn(&Outside) -> Outcome = match flag {
        CloneFlags::CLONE_NEWUSER => |_| unshared(CloneFlags::CLONE_NEWUSER),
        CloneFlags::CLONE_NEWNET => |_| unshared(CloneFlags::CLONE_NEWNET),
        CloneFlags::CLONE_NEWNS => |_| unshared(CloneFlags::CLONE_NEWNS),
        CloneFlags::CLONE_NEWPID => |_| unshared(CloneFlags::CLONE_NEWPID),
        CloneFlags::CLONE_NEWIPC => |_| unshared(CloneFlags::CLONE_NEWIPC),
        CloneFlags::CLONE_NEWUTS => |_| unshared(CloneFlags::CLONE_NEWUTS),
        _ => |_| unshared(CloneFlags::CLONE_NEWCGROUP),
    };
    row(
        name,
        "a new namespace by unshare",
        "filter: unshare flags",
        control,
        promise::nested,
        act,
    )
}

fn unshared(flag: CloneFlags) -> Outcome {
    Outcome::of(nix::sched::unshare(flag), "a namespace")
}
