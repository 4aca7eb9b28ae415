//! A program started inside a network namespace, by the standard library and a hook before its execve.
#![expect(unsafe_code, reason = "the fence: what runs between fork and exec")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::errno::Errno;

use super::child;
use crate::netns::Namespace;

/// CAP_NET_BIND_SERVICE, CAP_NET_ADMIN and CAP_NET_RAW (capabilities(7)).
const NETWORK: [u8; 3] = [10, 12, 13];

/// Start `command` in `namespace`, after joining the user namespace that owns it, if the caller's has to be
/// left for that: the program then has the capabilities over networks that its user has there.
///
/// Not async-signal-safe: allocates.
pub(crate) fn spawn(command: &mut Command, namespace: &Namespace) -> io::Result<Child> {
    let network = namespace.as_fd().as_raw_fd();
    let owner = namespace.owner().map(|owner| owner.as_raw_fd());
    let enter = move || {
        if let Some(owner) = owner {
            child::setns(owner, libc::CLONE_NEWUSER)?;
            keep_network_capabilities()?;
        }
        child::setns(network, libc::CLONE_NEWNET)?;
        Ok(())
    };
    // SAFETY: `enter` makes system calls on numbers that it owns, and touches neither the heap nor a lock;
    // the descriptors stay open in `namespace` until the child has executed the program.
    unsafe { command.pre_exec(enter) };
    command.spawn()
}

/// Keep the capabilities over networks, whatever is executed next, and the one by which namespaces are
/// joined until then: in a user namespace that was just joined, and gave all of them.
///
/// Async-signal-safe: system calls.
pub(crate) fn keep_network_capabilities() -> Result<(), Errno> {
    let kept = NETWORK.iter().fold(0, |set, number| set | 1_u64 << number);
    child::set_capabilities(kept | 1 << CAP_SYS_ADMIN, kept)?;
    NETWORK.into_iter().try_for_each(child::raise_ambient)
}

/// capabilities(7).
const CAP_SYS_ADMIN: u8 = 21;
