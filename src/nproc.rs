//! Whether a limit of processes holds: the host's root is exempt from it.
//!
//! Reads and changes nothing; runs in the launcher, for the plan and for `--best-effort`. The kernel lets user 0
//! of its first user namespace have as many processes as it likes, even when it has lost every capability
//! (getrlimit(2)). Of a user namespace that calls its root 0 as well it is only seen what is around it: root
//! of one that lies deeper is taken for the host's.
#![forbid(unsafe_code)]

use nix::unistd::geteuid;

use crate::account;
use crate::error::{Error, Result};
use crate::policy::{Limit, Policy};
use crate::probe::CAP_SETUID;
use crate::proc_file;

/// The limit of processes that `policy` has and nobody would be held to.
pub(crate) fn void(policy: &Policy) -> Option<&Limit> {
    let limit = policy
        .limits
        .iter()
        .find(|limit| limit.resource == libc::RLIMIT_NPROC && limit.soft.is_some())?;
    let process = &policy.process;
    // A name that means nobody is the plan's to refuse.
    let user = process
        .user
        .as_deref()
        .map(|user| account::resolve(Some(user), None));
    let uid = user.map_or_else(|| Some(geteuid().as_raw()), |found| Some(found.ok()?.uid))?;
    // A server that starts as root and becomes somebody else is held to it from then on.
    let stays = !process.cap_add.contains(&CAP_SETUID);
    // Without a map there is one user namespace only.
    let map = proc_file::read_text("/proc/self/uid_map").unwrap_or_else(|_| "0 0 1".to_owned());
    (stays && outside(&map, uid) == Some(0)).then_some(limit)
}

/// Refuse a limit that nobody would be held to.
///
/// # Errors
/// When `policy` has one.
pub(crate) fn check(policy: &Policy) -> Result<()> {
    let Some(limit) = void(policy) else {
        return Ok(());
    };
    let most = limit.soft.unwrap_or(u64::MAX);
    Err(Error::Unsupported {
        layer: format!("--limit nproc={most}"),
        reason: REASON.to_owned(),
        hint: Some(format!(
            "'--cgroup pids={most}' holds root too; or run the command as another user (--user)"
        )),
    })
}

/// Why it would not hold.
pub(crate) const REASON: &str = "the kernel exempts root from it";

/// What `uid` is outside, by a `uid_map` (user_namespaces(7)).
fn outside(map: &str, uid: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (inside, outside) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let count = numbers.next()?.ok()?;
        let beyond = uid.checked_sub(inside).filter(|&beyond| beyond < count)?;
        outside.checked_add(beyond)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_outside_is_read_off_the_map() {
        let whole = "         0          0 4294967295\n";
        assert_eq!(outside(whole, 0), Some(0));
        assert_eq!(outside(whole, 1000), Some(1000));
        // A container's root is an ordinary user, and one of its users may be root.
        assert_eq!(outside("0 100000 65536\n", 0), Some(100_000));
        assert_eq!(outside("0 1000 1\n1 100000 65536\n", 5), Some(100_004));
        assert_eq!(outside("1000 0 1\n", 1000), Some(0));
        assert_eq!(outside("1000 0 1\n", 0), None);
        assert_eq!(outside("", 0), None);
    }
}
