//! The attempts to reach a network.
//!
//! Each file has the attempts of one or two rows of the threat list, in its order, and what they do.

mod devices;
mod hosts;
mod inherited;
mod joining;
mod nested;
mod rings;
mod settings;
mod sockets;
mod unix;
mod views;

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::stat::fstat;

use self::devices::of_devices;
use self::hosts::of_hosts;
use self::inherited::of_inherited;
use self::joining::of_joining;
use self::nested::of_new_namespaces;
use self::rings::of_rings;
use self::settings::of_settings;
use self::sockets::of_sockets;
use self::unix::of_unix_sockets;
use self::views::of_views;
use super::attempt::{Act, Attempt, Control, Group, Outcome};
use super::outside::Outside;
use super::promise::Promised;
use crate::policy::Policy;
use crate::sys::attempt as sys;

const NAMESPACE: &str = "network namespace";

type Promise = fn(&Policy) -> Promised;

fn row(
    name: &'static str,
    tries: &'static str,
    wall: &'static str,
    control: Control,
    promise: Promise,
    act: fn(&Outside) -> Outcome,
) -> Attempt {
    Attempt {
        name: Cow::Borrowed(name),
        group: Group::Network,
        tries,
        wall,
        control,
        promise,
        act: Act::Try(act),
    }
}

/// Every attempt of this part.
pub(super) fn attempts() -> Vec<Attempt> {
    let mut attempts = of_hosts();
    attempts.extend(of_sockets());
    attempts.extend(of_settings());
    attempts.extend(of_rings());
    attempts.extend(of_unix_sockets());
    attempts.extend(of_inherited());
    attempts.extend(of_devices());
    attempts.extend(of_joining());
    attempts.extend(of_views());
    attempts.extend(of_new_namespaces());
    attempts
}

fn word(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

fn hear(stream: impl Read, outside: &Outside) -> Outcome {
    let mut greeting = String::new();
    let room = u64::try_from(outside.token.len()).unwrap_or(0);
    match stream.take(room).read_to_string(&mut greeting) {
        Ok(_) if greeting == outside.token => Outcome::open("the host answered"),
        Ok(_) => Outcome::held("a stranger answered"),
        Err(error) => Outcome::stopped(&error),
    }
}

/// A socket of any sort for ioctls: some modes have none but Unix ones.
fn with_socket(act: impl FnOnce(BorrowedFd<'_>) -> Outcome) -> Outcome {
    let made = sys::socket(word(libc::AF_INET), word(libc::SOCK_DGRAM), 0)
        .or_else(|_| sys::socket(word(libc::AF_UNIX), word(libc::SOCK_DGRAM), 0));
    match made {
        Ok(socket) => act(socket.as_fd()),
        Err(errno) => Outcome::refused(errno),
    }
}

pub(super) fn open_for_writing(path: &str) -> Outcome {
    match fs::OpenOptions::new().write(true).open(path) {
        Ok(_) => Outcome::open(format!("{path} opens for writing")),
        Err(error) => Outcome::stopped(&error),
    }
}

pub(super) fn open_device(path: &str) -> Outcome {
    match fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Outcome::open(format!("{path} opens")),
        Err(error) => Outcome::stopped(&error),
    }
}

/// Open where one of the interfaces listed is the host's.
fn seen(mut names: impl Iterator<Item = String>, outside: &Outside) -> Outcome {
    if outside.interfaces.is_empty() {
        return Outcome::skipped("the host has no interface besides lo");
    }
    names
        .find(|name| outside.interfaces.contains(name))
        .map_or_else(
            || Outcome::held("none of the host's"),
            |name| Outcome::open(format!("the host's {name}")),
        )
}

fn same_namespace(namespace: &OwnedFd, outside: &Outside) -> Outcome {
    match fstat(namespace) {
        Ok(found) if found.st_ino == outside.network_namespace => {
            Outcome::open("the host's namespace")
        }
        Ok(_) => Outcome::open("the sandbox's own namespace"),
        Err(errno) => Outcome::refused(errno),
    }
}
