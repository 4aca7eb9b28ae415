//! A copy of this process: fork(2), for those that keep something when the program is gone.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command};
use std::{fs, io};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::{child, parent};
use crate::exit;

/// Fork a process that runs `run` and exits with what that returns; its pid and pidfd.
///
/// It has descriptors 0 to 2 and those of `kept`, no others, and every signal is blocked in it.
///
/// fork(2) copies one thread: what other threads held, a lock or half a change, stays so for ever in
/// the copy. So this refuses to work in a process that has others (EBUSY). Nothing else in it is
/// restricted then; it is an ordinary process with a copy of this one's memory.
///
/// Not async-signal-safe: allocates, and uses libc's errno.
pub(crate) fn fork(
    kept: &[BorrowedFd<'_>],
    run: impl FnOnce() -> u8,
) -> Result<(i32, OwnedFd), Errno> {
    let threads = fs::read_dir("/proc/self/task").map_err(|_| Errno::ENOSYS)?;
    if threads.count() != 1 {
        return Err(Errno::EBUSY);
    }
    let mask = parent::block_all_signals()?;
    // SAFETY: this process has only this thread, as was seen above, and nothing here makes another:
    // the copy is whole.
    let forked = Errno::result(unsafe { libc::fork() });
    if forked == Ok(0) {
        let kept = kept.iter().map(AsRawFd::as_raw_fd).collect();
        let status = match close_all_but(kept) {
            Ok(()) => catch_unwind(AssertUnwindSafe(run)).unwrap_or(exit::LAUNCHER_FAILED),
            Err(_) => exit::LAUNCHER_FAILED,
        };
        // SAFETY: ends the process. Without libc's handlers for exit: they are the original's.
        unsafe { libc::_exit(i32::from(status)) }
    }
    parent::swap_signal_mask(mask)?;
    let pid = forked?;
    Ok((pid, pidfd_open(pid)?))
}

/// Leave, in the copy, what it has of whoever started the program: the session with its terminal, the
/// working directory, and the standard descriptors, for `/dev/null`.
///
/// Not async-signal-safe: allocates, and uses libc's errno.
pub(crate) fn leave_caller() -> Result<(), Errno> {
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    setsid()?;
    chdir("/")
}

/// SIGINT and SIGQUIT held back, as a shell does while a command runs that gets them too: it is that one
/// which says what becomes of them.
pub(crate) struct Interrupts {
    /// What the calling thread's mask was before.
    mask: u64,
    /// Those that are held back: not what whoever started this program has had ignored.
    held: u64,
}

impl Interrupts {
    /// Hold them back in the calling thread.
    ///
    /// Not async-signal-safe: uses libc's errno.
    pub(crate) fn hold() -> Result<Self, Errno> {
        let mask = parent::block_all_signals()?;
        let held = (bit(libc::SIGINT) | bit(libc::SIGQUIT)) & !ignored_signals();
        parent::swap_signal_mask(mask | held)?;
        Ok(Self { mask, held })
    }

    /// One that has come meanwhile.
    ///
    /// Not async-signal-safe: uses libc's errno.
    pub(crate) fn seen(&self) -> Option<u8> {
        let pending = parent::pending_signals().unwrap_or_default();
        [libc::SIGINT, libc::SIGQUIT]
            .into_iter()
            .find(|signal| pending & self.held & bit(*signal) != 0)
            .and_then(|signal| u8::try_from(signal).ok())
    }
}

/// The signals that are ignored (proc_pid_status(5)): a blocked one is pending all the same.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}

const fn bit(signal: libc::c_int) -> u64 {
    1 << (signal - 1)
}

/// Start `command`, which gets the signals that are held back in this process, and dies with this thread.
///
/// Not async-signal-safe: allocates.
pub(crate) fn spawn_for(command: &mut Command, interrupts: &Interrupts) -> io::Result<Child> {
    let (mask, starter) = (interrupts.mask, nix::unistd::getpid());
    let before = move || {
        child::die_with_parent()?;
        // It may have died before that.
        if nix::unistd::getppid() != starter {
            return Err(Errno::ESRCH.into());
        }
        child::set_signal_mask(mask)?;
        Ok(())
    };
    // SAFETY: `before` makes system calls on numbers that it owns, and touches neither the heap nor a lock.
    unsafe { command.pre_exec(before) };
    command.spawn()
}

/// Close every descriptor above 2 that is not in `kept`.
///
/// Their owners in this process's memory, which is a copy, are never dropped: [`fork`] does not return
/// in it, and `run` was given nothing else.
fn close_all_but(mut kept: Vec<RawFd>) -> Result<(), Errno> {
    kept.retain(|&fd| fd > 2);
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().chain([RawFd::MAX]) {
        child::close_range(first, fd.saturating_sub(1))?;
        first = fd.saturating_add(1);
    }
    Ok(())
}

/// pidfd_open(2): a descriptor of the child `pid`, which has not been waited for. Since Linux 5.3.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: pidfd_open succeeded, so `fd` is a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
/// Run `body` in a copy of the calling test's process that has this thread alone, and wait; whether it
/// came to its end.
///
/// Unlike [`fork`] from a process with other threads: the test harness's own, which wait and hold no
/// lock meanwhile, as long as no other test runs ([`crate::testing`] sees to that).
pub(crate) fn in_a_copy(body: impl FnOnce()) -> bool {
    use nix::sys::wait::{WaitStatus, waitpid};
    // SAFETY: see above; glibc itself puts its allocator in order in the copy.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let failed = catch_unwind(AssertUnwindSafe(body)).is_err();
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(failed)) }
    }
    let pid = nix::unistd::Pid::from_raw(pid);
    matches!(waitpid(pid, None), Ok(WaitStatus::Exited(_, 0)))
}
