//! What this kernel and this user allow.
//!
//! Runs in the launcher, before the plan ([`Support::quick`]: a few system calls, no file, no
//! child), or for the doctor and for hints ([`Report::take`]: each thing by doing it, in a
//! short-lived child with namespaces of its own). Asking is not enough: with AppArmor's restriction
//! a user namespace can be made, and only the first privileged act inside is refused.
//!
//! Leaves nothing behind: every child is reaped, every test control group removed.

pub(crate) mod acts;
// Declared here only until `sys/mod.rs` is free to name it.
mod feature;
mod judge;
mod readings;
mod report;
#[path = "../sys/probe.rs"]
pub(crate) mod sys;

use nix::sys::prctl;
use nix::unistd::Uid;

pub use feature::{FEATURES, Feature, Group, Id, Need, feature};
pub use judge::{Finding, Status};
pub use readings::{Cgroups, Readings};
pub use report::Report;

pub(crate) use judge::explain;
pub(crate) use readings::{FIREJAIL, SANDBOX};
pub(crate) use report::{Around, attempt};

/// `CAP_SETGID` (capabilities(7)).
pub(crate) const CAP_SETGID: u8 = 6;
/// `CAP_SETUID` (capabilities(7)).
pub(crate) const CAP_SETUID: u8 = 7;
/// `CAP_NET_BIND_SERVICE` (capabilities(7)).
pub(crate) const CAP_NET_BIND_SERVICE: u8 = 10;
/// `CAP_SYS_ADMIN` (capabilities(7)).
pub const CAP_SYS_ADMIN: u8 = 21;
/// `CAP_SETFCAP` (capabilities(7)).
pub const CAP_SETFCAP: u8 = 31;
/// `CAP_NET_ADMIN` (capabilities(7)).
pub const CAP_NET_ADMIN: u8 = 12;

/// The facts that a plan needs on every launch, and that cost only microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Support {
    /// The kernel's version: major and minor (uname(2)).
    pub kernel: (u32, u32),
    /// The Landlock ABI (landlock(7)); 0 where there is none, or it is off.
    pub landlock_abi: u32,
    /// The effective user is root.
    pub root: bool,
    /// The effective capabilities, one bit each (capabilities(7)).
    pub capabilities: u64,
    /// A system-call filter is already installed, as in most containers (seccomp(2)).
    pub filtered: bool,
    /// `no_new_privs` is already set (PR_GET_NO_NEW_PRIVS).
    pub no_new_privs: bool,
}

impl Support {
    /// Find them out: a few system calls, no file, no child; tens of microseconds at most.
    ///
    /// What cannot be learnt reads as not there, the safe side: a launch then demands less of the
    /// host or says what is missing, and every step checks itself anyway.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            kernel: kernel_version(),
            landlock_abi: sys::landlock_abi().unwrap_or(0),
            root: Uid::effective().is_root(),
            capabilities: effective_capabilities(),
            filtered: sys::seccomp_mode() == Ok(2),
            no_new_privs: prctl::get_no_new_privs().unwrap_or(false),
        }
    }

    /// Find everything out by doing it; tens of milliseconds.
    #[must_use]
    pub fn thorough() -> Report {
        Report::take()
    }

    /// Whether `capability` is effective.
    #[must_use]
    pub fn has(&self, capability: u8) -> bool {
        1u64.checked_shl(u32::from(capability))
            .is_some_and(|bit| self.capabilities & bit != 0)
    }

    /// Whether the kernel is at least `major.minor`.
    #[must_use]
    pub fn is_at_least(&self, major: u32, minor: u32) -> bool {
        self.kernel >= (major, minor)
    }
}

fn kernel_version() -> (u32, u32) {
    nix::sys::utsname::uname()
        .ok()
        .and_then(|name| parse_version(name.release().to_str()?))
        .unwrap_or_default()
}

/// Major and minor of a release such as "6.12.3-amd64" or "5.4".
pub(crate) fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn effective_capabilities() -> u64 {
    caps::read(None, caps::CapSet::Effective)
        .map(|set| set.iter().fold(0, |bits, cap| bits | cap.bitmask()))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_every_usual_release() {
        for (release, version) in [
            ("6.12.3-amd64", Some((6, 12))),
            ("5.4", Some((5, 4))),
            ("6.18-rc1", Some((6, 18))),
            ("linux", None),
            ("6", None),
            ("", None),
        ] {
            assert_eq!(parse_version(release), version, "{release}");
        }
    }

    #[test]
    fn the_quick_facts_agree_with_proc() {
        let support = Support::quick();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let effective = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .unwrap();
        assert_eq!(
            support.capabilities,
            u64::from_str_radix(effective.trim(), 16).unwrap()
        );
        assert!(support.is_at_least(3, 0));
    }
}
