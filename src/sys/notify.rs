//! System calls of a supervisor that makes calls for others (seccomp_unotify(2)).
//!
//! None of these trusts what it is told: a process that is named by a number may be gone, and the
//! number another's, so that each look must be followed by [`still_waits`].
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// `_IOWR('!', 0, struct seccomp_notif)` and its like (`<linux/seccomp.h>`).
const NOTIF_RECV: u32 = 0xc050_2100;
const NOTIF_SEND: u32 = 0xc018_2101;
const NOTIF_ID_VALID: u32 = 0x4008_2102;
const NOTIF_ADDFD: u32 = 0x4018_2103;
const NOTIF_SET_FLAGS: u32 = 0x4008_2104;
/// The two flags of a switch from one processor's task to the other without waiting. Since Linux 6.6.
const SYNC_WAKE_UP: u64 = 1;
/// `<linux/un.h>`. Since Linux 5.8.
pub(crate) const SIOCUNIXFILE: u32 = 0x89e0;
/// socket(7). Since Linux 5.14.
const SO_NETNS_COOKIE: i32 = 71;
/// pidfd_open(2) of a thread. Since Linux 6.9.
const PIDFD_THREAD: i32 = libc::O_EXCL;

/// The requests of ioctl(2) that this file makes.
pub(crate) const REQUESTS: [u32; 6] = [
    NOTIF_ADDFD,
    NOTIF_RECV,
    NOTIF_SEND,
    NOTIF_ID_VALID,
    NOTIF_SET_FLAGS,
    SIOCUNIXFILE,
];

/// How long `struct seccomp_notif` is; it has grown never so far, and would have another request then.
pub(crate) const NOTIFICATION: usize = 80;

/// As the kernel wants it: aligned like its structures.
#[repr(align(8))]
struct Aligned<const BYTES: usize>([u8; BYTES]);

/// The next notification's bytes, if there is one.
///
/// Waits for one unless poll(2) has said that there is. `ENOENT` where its task was gone before.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> Result<[u8; NOTIFICATION], Errno> {
    let mut bytes = Aligned([0; NOTIFICATION]);
    // SAFETY: the request's number says that the kernel writes `NOTIFICATION` bytes, which `bytes` has;
    // they are zero, as it wants.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            NOTIF_RECV as libc::Ioctl,
            bytes.0.as_mut_ptr(),
        )
    };
    Errno::result(result).map(|_| bytes.0)
}

/// What becomes of a call that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It has this value.
    Value(i64),
    /// It fails so; the kernel's own numbers above 511 too.
    Fails(i32),
    /// It is made after all. Only where nothing was decided by what a pointer points to, which may be
    /// changed meanwhile: for calls without one, and for those that are let go on whatever it is
    /// ([`crate::filter`], `beyond`).
    GoesOn,
}

/// Answer notification `id`. `ENOENT` where nobody waits for it any more.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> Result<(), Errno> {
    const CONTINUE: u32 = 1;
    let (value, error, flags) = match answer {
        Answer::Value(value) => (value, 0, 0),
        Answer::Fails(errno) => (0, -errno, 0),
        Answer::GoesOn => (0, 0, CONTINUE),
    };
    let mut bytes = Aligned([0_u8; 24]);
    bytes.0[..8].copy_from_slice(&id.to_ne_bytes());
    bytes.0[8..16].copy_from_slice(&value.to_ne_bytes());
    bytes.0[16..20].copy_from_slice(&error.to_ne_bytes());
    bytes.0[20..].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the request's number says that the kernel reads 24 bytes, which `bytes` has.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            NOTIF_SEND as libc::Ioctl,
            bytes.0.as_mut_ptr(),
        )
    };
    Errno::result(result).map(drop)
}

/// Whether the task of notification `id` still waits: then what was looked at by its number was its.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn still_waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads the eight bytes of `id`.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            NOTIF_ID_VALID as libc::Ioctl,
            &raw const id,
        )
    };
    result == 0
}

/// `SECCOMP_IOCTL_NOTIF_ADDFD` with `SETFD`: descriptor `number` of the task that waits becomes `file`,
/// close-on-exec if it `closes`. Since Linux 5.9.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn put_descriptor(
    listener: BorrowedFd<'_>,
    id: u64,
    file: BorrowedFd<'_>,
    number: i32,
    closes: bool,
) -> Result<(), Errno> {
    const SETFD: u32 = 1;
    let flags = match closes {
        true => libc::O_CLOEXEC.unsigned_abs(),
        false => 0,
    };
    let ours = file.as_raw_fd().unsigned_abs();
    let mut bytes = Aligned([0_u8; 24]);
    bytes.0[..8].copy_from_slice(&id.to_ne_bytes());
    bytes.0[8..12].copy_from_slice(&SETFD.to_ne_bytes());
    bytes.0[12..16].copy_from_slice(&ours.to_ne_bytes());
    bytes.0[16..20].copy_from_slice(&number.unsigned_abs().to_ne_bytes());
    bytes.0[20..].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the request's number says that the kernel reads 24 bytes, which `bytes` has.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            NOTIF_ADDFD as libc::Ioctl,
            bytes.0.as_mut_ptr(),
        )
    };
    Errno::result(result).map(drop)
}

/// getsockopt(2): the value's first bytes; how many there are.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn get_option(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: &mut [u8],
) -> Result<usize, Errno> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the exclusive slice has `length` bytes, and both live over the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    usize::try_from(length).map_err(|_| Errno::EINVAL)
}

/// setsockopt(2) of these bytes. For options whose value holds no pointer: [`super`]'s callers name them.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: i32,
    option: i32,
    value: &[u8],
) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel reads `length` bytes of the slice. A pointer among them, of an option that has
    // one, it would only read from.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            length,
        )
    };
    Errno::result(result).map(drop)
}

/// bind(2) to the socket address whose bytes these are.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(address.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel reads `length` bytes of the slice, wherever they lie, and checks them.
    let result = unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), length) };
    Errno::result(result).map(drop)
}

/// listen(2).
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn listen(socket: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// Let the kernel switch straight between who asks and who answers; a kernel without that does not.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn switch_quickly(listener: BorrowedFd<'_>) {
    // SAFETY: the flags are the argument itself, no pointer.
    let _ = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            NOTIF_SET_FLAGS as libc::Ioctl,
            SYNC_WAKE_UP,
        )
    };
}

/// pidfd_open(2) of the thread `tid`; before Linux 6.9 of its process, whose number `process` finds.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn open_task(tid: i32, process: impl FnOnce() -> Option<i32>) -> Result<OwnedFd, Errno> {
    let open = |pid: i32, flags: i32| {
        // SAFETY: numbers only.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) };
        let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
        // SAFETY: pidfd_open succeeded, so `fd` is a new descriptor that nothing else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    match open(tid, PIDFD_THREAD) {
        Err(Errno::EINVAL) => open(process().ok_or(Errno::ESRCH)?, 0),
        opened => opened,
    }
}

/// pidfd_getfd(2): a copy of that task's descriptor `number`, of the same open file. Since Linux 5.6.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn copy_descriptor(task: BorrowedFd<'_>, number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, task.as_raw_fd(), number, 0) };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: pidfd_getfd succeeded, so `fd` is a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// kcmp(2) `KCMP_EPOLL_TFD`: whether that task's epoll set at descriptor `set` watches something by the
/// number `number`. Since Linux 4.13. Nothing is copied, however much the set watches.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn epoll_watches(tid: i32, set: i32, number: i32) -> Result<bool, Errno> {
    const KCMP_EPOLL_TFD: i32 = 7;
    /// The kernel's `struct kcmp_epoll_slot`: the set, the number, and which of those with that number.
    #[repr(C)]
    struct Slot(u32, u32, u32);
    let unsigned = |number: i32| u32::try_from(number).map_err(|_| Errno::EBADF);
    let slot = Slot(unsigned(set)?, unsigned(number)?, 0);
    // SAFETY: `slot` is laid out as the kernel reads it, and lives over the call; the rest are numbers.
    let order = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            tid,
            tid,
            KCMP_EPOLL_TFD,
            number,
            &raw const slot,
        )
    };
    match Errno::result(order) {
        // The same file, or another one that had the number before.
        Ok(_) => Ok(true),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// process_vm_readv(2): fill `buffer` from `address` of that task's memory. `EFAULT` where less is there.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn read_memory(tid: i32, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    if buffer.is_empty() {
        return Ok(());
    }
    let length = buffer.len();
    let ours = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: length,
    };
    let theirs = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(usize::try_from(address).unwrap_or(0)),
        iov_len: length,
    };
    // SAFETY: the kernel writes at most `length` bytes into the exclusive slice; the other address is
    // of another process, and the kernel checks it.
    let read = unsafe { libc::process_vm_readv(tid, &raw const ours, 1, &raw const theirs, 1, 0) };
    match usize::try_from(Errno::result(read)?) {
        Ok(count) if count == length => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// getsockopt(2) `SO_NETNS_COOKIE`: which network namespace a socket belongs to.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn network_of(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut cookie = 0_u64;
    let mut length = 8;
    // SAFETY: `cookie` has `length` bytes, and both live over the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| cookie)
}

/// getsockopt(2) of an int at the socket's own level.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn socket_number(socket: BorrowedFd<'_>, option: i32) -> Result<i32, Errno> {
    let mut value = 0_i32;
    let mut length = 4;
    // SAFETY: `value` has `length` bytes, and both live over the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| value)
}

/// ioctl(2) `SIOCUNIXFILE`: the file that a Unix socket is bound to, as an `O_PATH` descriptor; `ENOENT`
/// where it is bound to none. Needs CAP_NET_ADMIN over the socket's network namespace.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn bound_file(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: takes no further argument.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCUNIXFILE as libc::Ioctl, 0) };
    // SAFETY: ioctl succeeded, so `fd` is a new descriptor that nothing else owns.
    Errno::result(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// connect(2) to the socket address whose bytes these are.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn connect(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(address.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel reads `length` bytes of the slice, wherever they lie, and checks them.
    let result = unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length) };
    Errno::result(result).map(drop)
}

/// openat2(2): `path` below `directory`, which is its root, as an `O_PATH` descriptor.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn open_within(
    directory: BorrowedFd<'_>,
    path: &CStr,
    resolve: u64,
) -> Result<OwnedFd, Errno> {
    // SAFETY: `open_how` is numbers; it may have more fields one day.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((libc::O_PATH | libc::O_CLOEXEC).unsigned_abs());
    how.resolve = resolve;
    // SAFETY: `path` ends with a NUL, and `how` has the size given; both live over the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            directory.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: openat2 succeeded, so `fd` is a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// setresuid(2) of this thread alone, without libc, which changes them all. -1 leaves an id as it is.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn set_own_user(real: u32, effective: u32, saved: u32) -> Result<(), Errno> {
    // SAFETY: numbers only.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, real, effective, saved) };
    Errno::result(result).map(drop)
}

/// setgroups(2) and setresgid(2) of this thread alone.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn set_own_groups(group: u32, others: &[u32]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `len` 32-bit ids of the slice.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, others.len(), others.as_ptr()) };
    Errno::result(result)?;
    // SAFETY: numbers only.
    let result = unsafe { libc::syscall(libc::SYS_setresgid, group, group, group) };
    Errno::result(result).map(drop)
}

/// setfsuid(2): as whom this thread opens files.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn set_file_user(uid: u32) {
    // SAFETY: a number only; the call returns the id that was, and never fails.
    let _ = unsafe { libc::syscall(libc::SYS_setfsuid, uid) };
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn memory_and_descriptors_of_a_task_are_read() {
        let text = *b"what is there";
        let mut copy = [0; 13];
        let own = i32::try_from(std::process::id()).unwrap();
        read_memory(own, text.as_ptr() as u64, &mut copy).unwrap();
        assert_eq!(copy, text);
        assert_eq!(read_memory(own, 8, &mut copy), Err(Errno::EFAULT));
        let (one, other) = UnixStream::pair().unwrap();
        let task = open_task(own, || None).unwrap();
        let again = copy_descriptor(task.as_fd(), one.as_raw_fd()).unwrap();
        assert_eq!(network_of(again.as_fd()), network_of(other.as_fd()));
        assert_eq!(
            socket_number(again.as_fd(), libc::SO_DOMAIN),
            Ok(libc::AF_UNIX)
        );
        assert_eq!(copy_descriptor(task.as_fd(), -1).err(), Some(Errno::EBADF));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(network_of(file.as_fd()), Err(Errno::ENOTSOCK));
    }

    #[test]
    fn a_socket_that_is_bound_to_no_file_has_none() {
        let (one, _other) = UnixStream::pair().unwrap();
        let found = bound_file(one.as_fd());
        assert!(
            matches!(found, Err(Errno::ENOENT | Errno::EPERM)),
            "{found:?}"
        );
        drop(UnixListener::bind(format!("\0{}", std::process::id())));
    }
}
