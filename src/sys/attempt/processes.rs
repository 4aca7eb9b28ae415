//! Other processes, by pidfds, and new ones in new namespaces.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::calls::call_with_numbers;
use super::owned;

/// pidfd_open(2).
pub(crate) fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    let args = [pid.as_raw().into(), 0, 0, 0, 0];
    owned(call_with_numbers(libc::SYS_pidfd_open, args)?)
}

/// pidfd_getfd(2): descriptor `fd` of the process that `pidfd` names.
pub(crate) fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: RawFd) -> Result<OwnedFd, Errno> {
    let args = [pidfd.as_raw_fd().into(), fd.into(), 0, 0, 0];
    owned(call_with_numbers(libc::SYS_pidfd_getfd, args)?)
}

/// How a new process with namespaces is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CloneCall {
    /// clone(2).
    Clone,
    /// clone3(2).
    Clone3,
    /// clone(2), with the bits above 32 set, which the kernel ignores.
    CloneWithGarbage,
}

/// Make a process with `flags` that ends at once, and reap it.
pub(crate) fn clone_with(how: CloneCall, flags: i32) -> Result<(), Errno> {
    let flags = u64::from(flags.cast_unsigned());
    let signal = u64::from(libc::SIGCHLD.cast_unsigned());
    let result = match how {
        // SAFETY: no stack and no memory shared: the child goes on here on its own copy.
        CloneCall::Clone => unsafe { libc::syscall(libc::SYS_clone, flags | signal, 0, 0, 0, 0) },
        // SAFETY: as above.
        CloneCall::CloneWithGarbage => unsafe {
            libc::syscall(
                libc::SYS_clone,
                flags | signal | 0xdead_beef << 32,
                0,
                0,
                0,
                0,
            )
        },
        CloneCall::Clone3 => {
            // struct clone_args, version 0: flags, pidfd, child_tid, parent_tid, exit_signal, …
            let args = [flags, 0, 0, 0, signal, 0, 0, 0];
            // SAFETY: `args` is 64 bytes as announced, and the kernel only reads it; neither stack
            // nor memory is shared.
            unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) }
        }
    };
    let pid = Errno::result(result)?;
    if pid == 0 {
        exit_now(0);
    }
    let pid = Pid::from_raw(i32::try_from(pid).map_err(|_| Errno::ESRCH)?);
    nix::sys::wait::waitpid(pid, None).map(drop)
}

/// End this process without running anything more of it.
fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Run `child` in a process of its own, which ends with its status; the new process's id.
///
/// Only for processes of a single thread: in another, the child could wait for ever for a lock that
/// a vanished thread holds.
pub(crate) fn fork(child: impl FnOnce() -> i32) -> Result<Pid, Errno> {
    // SAFETY: fork(2) of a single-threaded process, as the attempt runner is, leaves the child a
    // complete copy in which no lock is held.
    match unsafe { libc::fork() } {
        0 => exit_now(child()),
        pid => Errno::result(pid).map(Pid::from_raw),
    }
}
