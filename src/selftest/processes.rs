//! The attempts to reach other processes.
//!
//! Each file has the attempts of one or two rows of the threat list, in its order, and what they do.

mod alive;
mod init;
mod others;
mod settings;
mod shared;
mod terminals;

use std::borrow::Cow;
use std::ffi::CString;

use nix::unistd::Pid;

use self::alive::of_staying_alive;
pub(super) use self::init::init;
use self::init::of_init;
use self::others::of_outside_processes;
use self::settings::of_settings;
use self::shared::of_shared_objects;
use self::terminals::of_terminals_and_keys;
use super::attempt::{Act, Attempt, Control, Group, Outcome};
use super::outside::Outside;
use super::promise::Promised;
use crate::policy::Policy;

fn row(
    name: &'static str,
    tries: &'static str,
    wall: &'static str,
    control: Control,
    promise: fn(&Policy) -> Promised,
    act: fn(&Outside) -> Outcome,
) -> Attempt {
    Attempt {
        name: Cow::Borrowed(name),
        group: Group::Processes,
        tries,
        wall,
        control,
        promise,
        act: Act::Try(act),
    }
}

/// Every attempt of this part.
pub(super) fn attempts() -> Vec<Attempt> {
    let mut attempts = of_outside_processes();
    attempts.extend(of_init());
    attempts.extend(of_terminals_and_keys());
    attempts.extend(of_shared_objects());
    attempts.extend(of_settings());
    attempts.extend(of_staying_alive());
    attempts
}

fn victim(outside: &Outside) -> Pid {
    Pid::from_raw(outside.victim)
}

pub(super) fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
