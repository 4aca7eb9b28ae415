//! The programs of the shipped profiles, compiled when the source was written.
//!
//! Reading and compiling a profile takes the better part of a millisecond, a third of a launch; the
//! listing of a finished program takes microseconds. `tests/filter.rs` fails where a listing differs
//! from what its profile compiles to, and writes it anew with `SANDBOX_BLESS=1`.

use super::{Arch, Context, Program};

macro_rules! listings {
    ($arch:literal: $($name:literal),* $(,)?) => {
        &[$((
            $name,
            include_str!(concat!("../../policies/seccomp/compiled/", $name, ".", $arch, ".txt")),
        ),)*]
    };
}

#[cfg(target_arch = "x86_64")]
const LISTINGS: &[(&str, &str)] = listings![
    "x86_64": "default", "strict", "worker", "connection", "build", "agent", "browser"
];
#[cfg(target_arch = "aarch64")]
const LISTINGS: &[(&str, &str)] = listings![
    "aarch64": "default", "strict", "worker", "connection", "build", "agent", "browser"
];

/// The program of this profile in this context, if it was compiled beforehand.
pub(crate) fn find(name: &str, context: &Context) -> Option<Program> {
    // The kernel's version means nothing to our own profiles, and all of them let our init work.
    let plain = Context {
        arch: Arch::native(),
        kernel: context.kernel,
        as_pid_1: context.as_pid_1,
        ..Context::default()
    };
    if *context != plain {
        return None;
    }
    let (_, listing) = LISTINGS.iter().find(|(known, _)| *known == name)?;
    Program::from_listing(listing)
}
