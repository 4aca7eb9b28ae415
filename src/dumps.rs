//! What a limit of core dumps has to be, where the caller's own is lower.
//!
//! Pure but for looking; runs in the launcher, for the plan. The profiles ask for 1, which writes no dump
//! and, unlike 0, starts no dump handler either (core(5)). Under a hard limit of 0, as hardened hosts have
//! it for every user, nobody but root gets 1; where the host has no handler, 0 is worth the same.
#![forbid(unsafe_code)]

use nix::sys::resource::{Resource, getrlimit};

use crate::policy::Limit;
use crate::proc_file;

/// `limits`, with one of 0 for one of 1 where the caller has no more and no handler would be started.
pub(crate) fn reachable(limits: Vec<Limit>) -> Vec<Limit> {
    let own = getrlimit(Resource::RLIMIT_CORE).ok().map(|(_, hard)| hard);
    // Where it cannot be read, there may be one.
    let pattern = proc_file::read("/proc/sys/kernel/core_pattern").ok();
    let handled = pattern.is_none_or(|it| is_handled(&it));
    under(limits, own, handled)
}

/// The same for a caller whose hard limit is `own`.
fn under(mut limits: Vec<Limit>, own: Option<u64>, handled: bool) -> Vec<Limit> {
    let dumps = limits
        .iter_mut()
        .find(|limit| limit.resource == libc::RLIMIT_CORE);
    if let Some(limit) = dumps
        && limit.hard == Some(1)
        && own == Some(0)
        && !handled
    {
        (limit.soft, limit.hard) = (Some(0), Some(0));
    }
    limits
}

/// Whether dumps go to a program, or since Linux 6.16 to a socket, instead of to files.
fn is_handled(pattern: &[u8]) -> bool {
    matches!(pattern.first(), Some(b'|' | b'@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_limit_that_cannot_be_had_and_is_worth_as_much_is_lowered() {
        let of = |resource, most| Limit {
            name: "core",
            resource,
            soft: Some(most),
            hard: Some(most),
        };
        let core = |most| vec![of(libc::RLIMIT_CORE, most)];
        assert_eq!(under(core(1), Some(0), false), core(0));
        // Then a handler would be started: better no launch.
        assert_eq!(under(core(1), Some(0), true), core(1));
        for own in [None, Some(1), Some(libc::RLIM_INFINITY)] {
            assert_eq!(under(core(1), own, false), core(1), "{own:?}");
        }
        assert_eq!(under(core(2), Some(0), false), core(2));
        let files = vec![of(libc::RLIMIT_NOFILE, 1)];
        assert_eq!(under(files.clone(), Some(0), false), files);
    }

    #[test]
    fn programs_and_sockets_handle_dumps_and_files_do_not() {
        for (pattern, handled) in [
            ("core\n", false),
            ("/var/crash/%e.%p\n", false),
            ("\n", false),
            ("|/usr/share/apport/apport %p\n", true),
            ("@/run/dumps.socket\n", true),
            ("@@/run/dumps.socket\n", true),
        ] {
            assert_eq!(is_handled(pattern.as_bytes()), handled, "{pattern}");
        }
    }
}
