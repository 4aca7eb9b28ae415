//! System calls of the launcher that `nix` has no safe function for.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// Look at a descriptor by number, open or not, for as long as `look` takes.
///
/// Async-signal-safe if `look` is: a conversion.
pub(crate) fn look_at<T>(number: RawFd, look: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    // SAFETY: -1 is the one number that this type may not hold. `look` gets no more than the
    // program's right to name its own descriptors; a closed one is an error of the call.
    look(unsafe { BorrowedFd::borrow_raw(number.max(0)) })
}

/// fcntl(2) `F_DUPFD_CLOEXEC`: a descriptor of our own for what the caller passed by number.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn duplicate(number: RawFd) -> Result<OwnedFd, Errno> {
    duplicate_above(number, 3)
}

/// As [`duplicate`], numbered `least` or higher.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn duplicate_above(number: RawFd, least: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: numbers only; a closed one is an error.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, least) };
    // SAFETY: fcntl succeeded, so `copy` is a new descriptor that nothing else owns.
    Errno::result(copy).map(|copy| unsafe { OwnedFd::from_raw_fd(copy) })
}

/// rt_sigprocmask(2): block every signal in the calling thread; the mask that it had.
///
/// The kernel's own 64-bit set, without libc's, which leaves out two signals that glibc keeps.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn block_all_signals() -> Result<u64, Errno> {
    swap_signal_mask(u64::MAX)
}

/// rt_sigprocmask(2): set the calling thread's mask; the one that it had.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn swap_signal_mask(mask: u64) -> Result<u64, Errno> {
    let mut old = 0_u64;
    // SAFETY: both sets are eight bytes, the size given, and live over the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut old,
            size_of::<u64>(),
        )
    };
    Errno::result(result).map(|_| old)
}

/// pidfd_send_signal(2). Since Linux 5.1.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means what kill(2) sends.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            no_info,
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// The Unix socket at `path`, connected: a stream, or a socket of packets if it is one.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn connect_unix(path: &Path) -> Result<OwnedFd, Errno> {
    let address = UnixAddr::new(path)?;
    let open = |kind| socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None);
    let stream = open(SockType::Stream)?;
    match connect(stream.as_raw_fd(), &address) {
        Ok(()) => Ok(stream),
        Err(Errno::EPROTOTYPE) => {
            let packets = open(SockType::SeqPacket)?;
            connect(packets.as_raw_fd(), &address)?;
            Ok(packets)
        }
        Err(errno) => Err(errno),
    }
}

/// Leave a descriptor that now stands on 0, 1 or 2 open for the process's whole life, over execve
/// too.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn keep_standard(fd: OwnedFd) {
    let number = std::os::fd::IntoRawFd::into_raw_fd(fd);
    // SAFETY: numbers only. A failure leaves it close-on-exec; the child sets the flag itself.
    let _ = unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
}
