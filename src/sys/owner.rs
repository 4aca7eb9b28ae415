//! A user namespace without a process in it: what owns an ordinary user's networks.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getegid, geteuid, pipe2};

use super::child;

/// Make a user namespace in which the caller's user is `root` and nobody else is anyone. It lasts as
/// long as the descriptor, or anything that belongs to it.
///
/// Not async-signal-safe: allocates, and uses libc's errno.
pub(crate) fn make_user_namespace() -> Result<OwnedFd, Errno> {
    let (wait, hold) = pipe2(OFlag::O_CLOEXEC)?;
    let none = 0 as libc::c_long;
    let flags = libc::c_long::from(libc::CLONE_NEWUSER);
    // SAFETY: memory is copied, a null stack means the same address in the copy; the copy does only
    // what is async-signal-safe and does not return.
    let cloned = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    if cloned == 0 {
        // It lives until its maker has looked at it, or is gone: the copy of the other end is closed.
        let _ = child::close(hold.as_raw_fd());
        let _ = child::read(wait.as_raw_fd(), &mut [0]);
        child::exit_now(0);
    }
    let pid = i32::try_from(Errno::result(cloned)?).map_err(|_| Errno::ESRCH)?;
    let made = open_mapped(pid);
    drop(hold);
    // It ends now: this takes it off the process table, and cannot fail but for that.
    let _ = waitid(
        Id::Pid(Pid::from_raw(pid)),
        WaitPidFlag::WEXITED | WaitPidFlag::__WALL,
    );
    made
}

/// The user namespace of process `pid`, with its one user (user_namespaces(7)).
fn open_mapped(pid: i32) -> Result<OwnedFd, Errno> {
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let write =
        |file: &str, text: String| fs::write(format!("/proc/{pid}/{file}"), text).map_err(errno);
    // Before the map of groups: with it a process could drop a group that keeps it from a file.
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {} 1", geteuid()))?;
    write("gid_map", format!("0 {} 1", getegid()))?;
    File::open(format!("/proc/{pid}/ns/user"))
        .map(OwnedFd::from)
        .map_err(errno)
}
