//! The host's network in `/sys` and `/proc`.

use std::fs;

use super::{NAMESPACE, row, seen};
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::promise;

pub(super) fn of_views() -> Vec<Attempt> {
    use Control::Anyone;
    vec![
        row(
            "sys-class-net",
            "/sys/class/net showing the host",
            "own /sys",
            Anyone,
            promise::sys,
            |o| match fs::read_dir("/sys/class/net") {
                Ok(entries) => seen(
                    entries
                        .flatten()
                        .map(|entry| entry.file_name().to_string_lossy().into_owned()),
                    o,
                ),
                Err(error) => Outcome::stopped(&error),
            },
        ),
        row(
            "proc-net-interfaces",
            "/proc/net showing the host's interfaces",
            NAMESPACE,
            Anyone,
            promise::proc_of_network,
            |o| match fs::read_to_string("/proc/net/dev") {
                Ok(text) => seen(
                    text.lines()
                        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())),
                    o,
                ),
                Err(error) => Outcome::stopped(&error),
            },
        ),
        row(
            "proc-net-sockets",
            "/proc/net showing the host's sockets",
            NAMESPACE,
            Anyone,
            promise::proc_of_network,
            |o| match (fs::read_to_string("/proc/net/tcp"), o.tcp4) {
                (Ok(text), Some(port)) if text.contains(&format!("0100007F:{port:04X} ")) => {
                    Outcome::open("the host's listener")
                }
                (Ok(_), Some(_)) => Outcome::held("not listed"),
                (Err(error), _) => Outcome::stopped(&error),
                (_, None) => Outcome::skipped("no listener outside"),
            },
        ),
    ]
}
