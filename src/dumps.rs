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
pub(crate) fn reachable(mut limits: Vec<Limit>) -> Vec<Limit> {
    let wanted = limits
        .iter_mut()
        .find(|limit| limit.resource == libc::RLIMIT_CORE);
    if let Some(limit) = wanted
        && limit.hard == Some(1)
        && getrlimit(Resource::RLIMIT_CORE).is_ok_and(|(_, hard)| hard == 0)
        && proc_file::read("/proc/sys/kernel/core_pattern").is_ok_and(|it| !is_handled(&it))
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
