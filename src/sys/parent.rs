//! System calls of the launcher that `nix` has no safe function for.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::OnceLock;

use super::child::Disposition;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect, socket,
};

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

/// rt_sigpending(2): the blocked signals that have come to the calling thread or its process.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn pending_signals() -> Result<u64, Errno> {
    let mut pending = 0_u64;
    // SAFETY: the set is eight bytes, the size given, and lives over the call.
    let result =
        unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, size_of::<u64>()) };
    Errno::result(result).map(|_| pending)
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

/// sigaction(2): `signal` gets its default action in this process; what it had.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn take_disposition(signal: i32) -> Result<Disposition, Errno> {
    // SAFETY: `sigaction` is numbers and a set of bits; all zero is SIG_DFL without flags.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    let mut old = default;
    // SAFETY: both structures live over the call, and no handler is installed.
    let result = unsafe { libc::sigaction(signal, &raw const default, &raw mut old) };
    Errno::result(result).map(|_| match old.sa_sigaction {
        libc::SIG_IGN => Disposition::Ignored,
        _ => Disposition::Default,
    })
}

/// ioctl(2) `NS_GET_USERNS`: the user namespace that owns `namespace`, or of a user namespace its
/// parent. Since Linux 4.9.
///
/// EPERM where that is not the caller's own, nor below it (ioctl_ns(2)).
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn namespace_owner(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: takes no further argument.
    let owner = unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_USERNS) };
    // SAFETY: ioctl succeeded, so `owner` is a new descriptor that nothing else owns.
    Errno::result(owner).map(|owner| unsafe { OwnedFd::from_raw_fd(owner) })
}

/// ioctl(2) `NS_GET_NSTYPE`: which kind of namespace that is, as its `CLONE_NEW*` flag. Since Linux 4.11.
///
/// ENOTTY where it is none.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn namespace_kind(namespace: BorrowedFd<'_>) -> Result<i32, Errno> {
    // SAFETY: takes no further argument.
    Errno::result(unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_NSTYPE) })
}

/// ioctl(2) `NS_GET_OWNER_UID`: who made the user namespace `namespace`. Since Linux 4.11.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn user_namespace_maker(namespace: BorrowedFd<'_>) -> Result<libc::uid_t, Errno> {
    let mut uid = 0;
    // SAFETY: the kernel writes one `uid_t` there.
    let result =
        unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_OWNER_UID, &raw mut uid) };
    Errno::result(result).map(|_| uid)
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
        Err(Errno::EPROTOTYPE) => connect_packets(path),
        Err(errno) => Err(errno),
    }
}

/// The Unix socket of packets at `path`, connected.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn connect_packets(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let packets = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    connect(packets.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(packets)
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

/// listen(2), with as long a queue as the kernel lets where `backlog` is `None`.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn listen(socket: BorrowedFd<'_>, backlog: Option<u32>) -> Result<(), Errno> {
    let backlog = match backlog {
        // Read as unsigned by the kernel, and then cut at net.core.somaxconn.
        None => -1,
        Some(backlog) => i32::try_from(backlog).unwrap_or(i32::MAX),
    };
    // SAFETY: numbers only.
    Errno::result(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// accept4(2): the next connection and who it is. What is accepted is a socket whose calls wait, as
/// programs expect of what they are handed.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn accept(
    listener: BorrowedFd<'_>,
) -> Result<(OwnedFd, Option<SockaddrStorage>), Errno> {
    let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let room = size_of::<libc::sockaddr_storage>();
    let mut length = libc::socklen_t::try_from(room).unwrap_or_default();
    // SAFETY: `address` has `length` bytes, and both live over the call.
    let accepted = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            address.as_mut_ptr().cast::<libc::sockaddr>(),
            &raw mut length,
            libc::SOCK_CLOEXEC,
        )
    };
    let accepted = Errno::result(accepted)?;
    // SAFETY: accept4 succeeded, so `accepted` is a new descriptor that nothing else owns.
    let accepted = unsafe { OwnedFd::from_raw_fd(accepted) };
    // SAFETY: all of `address` is initialised (to zeroes at first), its alignment is that of any
    // address, and the kernel has written `length` bytes of a valid one, of which it says the family.
    let address = unsafe { SockaddrStorage::from_raw(address.as_ptr().cast(), Some(length)) };
    Ok((accepted, address))
}

/// setsockopt(2) `SO_ATTACH_FILTER`, and `SO_LOCK_FILTER`: the socket gets only what `filter` lets
/// through, for good.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn attach_filter(
    socket: BorrowedFd<'_>,
    filter: &[libc::sock_filter],
) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::EINVAL)?,
        filter: filter.as_ptr().cast_mut(),
    };
    let set = |option, value: *const libc::c_void, length: usize| {
        let length = libc::socklen_t::try_from(length).unwrap_or_default();
        // SAFETY: both callers below give a pointer to a live value and its size. The kernel copies
        // the program, whose instructions live as long as `filter`, and keeps no pointer.
        let result = unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, length)
        };
        Errno::result(result).map(drop)
    };
    let pointer = (&raw const program).cast();
    set(libc::SO_ATTACH_FILTER, pointer, size_of_val(&program))?;
    let on = 1_i32;
    set(
        libc::SO_LOCK_FILTER,
        (&raw const on).cast(),
        size_of_val(&on),
    )
}

/// connect(2) with `AF_UNSPEC`: a TCP socket is neither connected nor bound to a port any more.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn disconnect(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let nobody = libc::sockaddr {
        sa_family: 0,
        sa_data: [0; 14],
    };
    let length = u32::try_from(size_of_val(&nobody)).unwrap_or(0);
    // SAFETY: the address is as long as said and lives over the call.
    let result = unsafe { libc::connect(socket.as_raw_fd(), &raw const nobody, length) };
    Errno::result(result).map(drop)
}

/// The soft and the hard limit of descriptors before [`raise_descriptor_limit`] has raised it.
static LIMIT_BEFORE: OnceLock<(u64, u64)> = OnceLock::new();

/// prlimit(2): as many descriptors as the process may have (`RLIMIT_NOFILE`), for itself and what it
/// starts from now on.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn raise_descriptor_limit() -> Result<(), Errno> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft == hard {
        return Ok(());
    }
    // The first word stands: a later one would be what was raised already.
    let _ = LIMIT_BEFORE.set((soft, hard));
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

/// The limit, soft and hard, that what is started should have: `None` where it has not been raised.
///
/// Not async-signal-safe: may wait for another thread.
pub(crate) fn descriptor_limit_before() -> Option<(u64, u64)> {
    LIMIT_BEFORE.get().copied()
}

/// Take over a descriptor that the process was started with: a new number, and the old one closed.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn take_over(number: RawFd) -> Result<OwnedFd, Errno> {
    let copy = duplicate(number)?;
    // SAFETY: numbers only. The caller's protocol says that the number is this process's to use, and
    // nothing of ours has opened it: it was open before.
    let _ = unsafe { libc::close(number) };
    Ok(copy)
}

/// What the kernel counts of a TCP socket (tcp(7), `TCP_INFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TcpCounters {
    /// Segments sent and not acknowledged; of a socket that listens, connections that wait.
    pub(crate) unacknowledged: u32,
    /// Milliseconds since the last data came in.
    pub(crate) since_received: u32,
    /// Milliseconds since the last acknowledgement came in.
    pub(crate) since_acknowledged: u32,
    /// Bytes of ours that the peer has acknowledged. Since Linux 4.1.
    pub(crate) bytes_acknowledged: u64,
    /// Bytes received from the peer. Since Linux 4.1.
    pub(crate) bytes_received: u64,
}

/// getsockopt(2) `TCP_INFO`.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn tcp_counters(socket: BorrowedFd<'_>) -> Result<TcpCounters, Errno> {
    // struct tcp_info of <linux/tcp.h>, up to the fields that are read: libc's knows fewer.
    const LENGTH: usize = 136;
    let mut info = [0_u8; LENGTH];
    let mut length = libc::socklen_t::try_from(LENGTH).unwrap_or_default();
    // SAFETY: `info` has `length` bytes, and both live over the call; the kernel writes no more.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast::<libc::c_void>(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    let word = |at: usize| {
        info.get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    };
    let long = |at: usize| {
        info.get(at..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    };
    Ok(TcpCounters {
        unacknowledged: word(24),
        since_received: word(52),
        since_acknowledged: word(56),
        bytes_acknowledged: long(120),
        bytes_received: long(128),
    })
}
