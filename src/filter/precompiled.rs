//! The programs of the shipped profiles, compiled when the source was written.
//!
//! Reading and compiling a profile takes the better part of a millisecond, a third of a launch; the
//! listing of a finished program takes microseconds. `tests/filter.rs` fails where a listing differs
//! from what its profile compiles to, and writes it anew with `SANDBOX_BLESS=1`.

use super::{Arch, Context, Program};

macro_rules! listing {
    ($arch:literal, $name:literal, $overlays:literal) => {
        include_str!(concat!(
            "../../policies/seccomp/compiled/",
            $name,
            $overlays,
            ".",
            $arch,
            ".txt"
        ))
    };
}

macro_rules! listings {
    ($arch:literal: $($name:literal),* $(,)?) => {
        &[$((
            $name,
            [
                listing!($arch, $name, ""),
                listing!($arch, $name, ".no-sockets"),
                listing!($arch, $name, ".host-sockets"),
                listing!($arch, $name, ".no-sockets.host-sockets"),
            ],
        ),)*]
    };
}

/// The profiles, each with its listing for every value of [`overlays`].
type Listings = &'static [(&'static str, [&'static str; 4])];

#[cfg(target_arch = "x86_64")]
const LISTINGS: Listings = listings![
    "x86_64": "default", "strict", "worker", "connection", "build", "agent", "browser"
];
#[cfg(target_arch = "aarch64")]
const LISTINGS: Listings = listings![
    "aarch64": "default", "strict", "worker", "connection", "build", "agent", "browser"
];

/// Which of a profile's listings has the overlays of this context: those of `--net fds`, and of a passed
/// stream socket of the host, as with `--listen`.
fn overlays(context: &Context) -> usize {
    usize::from(context.no_sockets) + 2 * usize::from(context.host_sockets)
}

/// The program of this profile in this context, if it was compiled beforehand.
pub(crate) fn find(name: &str, context: &Context) -> Option<Program> {
    // The kernel's version means nothing to our own profiles, and all of them let our init work.
    let common = Context {
        arch: Arch::native(),
        kernel: context.kernel,
        as_pid_1: context.as_pid_1,
        no_sockets: context.no_sockets,
        host_sockets: context.host_sockets,
        ..Context::default()
    };
    if *context != common {
        return None;
    }
    let (_, listings) = LISTINGS.iter().find(|(known, _)| *known == name)?;
    Program::from_listing(listings.get(overlays(context))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::builtin_names;

    #[test]
    fn what_most_launches_ask_for_is_compiled_already() {
        for name in builtin_names() {
            for (no_sockets, host_sockets) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let context = Context {
                    no_sockets,
                    host_sockets,
                    ..Context::default()
                };
                assert!(find(name, &context).is_some(), "{name} {context:?}");
            }
        }
    }

    #[test]
    fn what_takes_away_more_is_not() {
        for change in [
            (|c| c.host_datagrams = true) as fn(&mut Context),
            |c| c.host_processes = true,
            |c| c.refuse_group_signals = true,
            |c| c.cap_add = vec![0],
        ] {
            let mut context = Context::default();
            change(&mut context);
            assert_eq!(find("default", &context), None, "{context:?}");
        }
    }
}
