//! What this host can give, what is missing, and the remedy.

use nix::errno::Errno;

use crate::step::Step;

/// Print what this host can give; the process's exit status.
#[must_use]
pub fn main(_json: bool) -> u8 {
    crate::exit::LAUNCHER_FAILED
}

/// What to do about `step` having failed on `object` with `errno`, where that is known.
#[must_use]
pub fn hint(_step: Step, _object: &str, _errno: Errno) -> Option<String> {
    None
}
