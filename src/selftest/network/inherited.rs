//! What is left to the command by mistake: descriptors and variables.

use std::fs;

use nix::errno::Errno;

use super::row;
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::outside::{Inherited, Outside};
use crate::selftest::promise;

pub(super) fn of_inherited() -> Vec<Attempt> {
    use Control::{Anyone, Nobody};
    vec![
        row(
            "inherited-directory",
            "a directory left open by the launcher",
            "closed descriptors",
            Anyone,
            promise::always,
            |o| find_inherited(o, &o.inherited.directory),
        ),
        row(
            "inherited-socket",
            "a socket left open by the launcher",
            "closed descriptors",
            Anyone,
            promise::always,
            |o| find_inherited(o, &o.inherited.socket),
        ),
        row(
            "inherited-namespace",
            "a network namespace left open by the launcher",
            "closed descriptors",
            Anyone,
            promise::always,
            |o| find_inherited(o, &o.inherited.namespace),
        ),
        row(
            "inherited-anything",
            "any descriptor above 2",
            "closed descriptors",
            Anyone,
            promise::always,
            |o| match o.surplus.as_slice() {
                [] => Outcome::held("none"),
                found => Outcome::open(format!("descriptors {found:?}")),
            },
        ),
        row(
            "environment",
            "variables that name sockets and proxies",
            "variables removed",
            Nobody,
            promise::environment,
            |o| {
                if o.variables.is_empty() {
                    return Outcome::skipped("none is set outside");
                }
                let kept: Vec<_> = o
                    .variables
                    .iter()
                    .filter(|name| std::env::var_os(name).is_some())
                    .collect();
                if kept.is_empty() {
                    return Outcome::held("none is set");
                }
                Outcome::open(format!("{kept:?}"))
            },
        ),
    ]
}

/// Whether any open descriptor is the one that the launcher left open.
fn find_inherited(outside: &Outside, left: &Inherited) -> Outcome {
    for number in &outside.surplus {
        let link = format!("/proc/self/fd/{number}");
        // By the link where it can be followed, as a namespace and a directory can.
        if let Ok(found) = fs::metadata(&link)
            && left.is(&found)
        {
            return Outcome::open(format!("descriptor {number}"));
        }
    }
    if outside.surplus.contains(&left.number) {
        return Outcome::open(format!("descriptor {}, of another file", left.number));
    }
    Outcome::refused(Errno::EBADF)
}
