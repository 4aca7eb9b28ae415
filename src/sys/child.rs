//! System calls of the child, each through the bare instruction: no `errno`, no lock, no heap.
//!
//! Every function here is async-signal-safe for that reason; the notes say only what is special.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::net::IpAddr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use super::raw::{int, syscall6};

/// A vector of C strings for execve(2), with the terminating null and the storage that it points to.
pub(crate) struct Strings {
    /// Kept for the pointers' sake.
    storage: Vec<Box<[Cell<u8>]>>,
    /// A null after the last string that is used, and room for one more than there are strings.
    pointers: Vec<Cell<*const c_char>>,
}

// SAFETY: the pointers point into the boxes beside them, which move with the value.
unsafe impl Send for Strings {}
// SAFETY: only the one child that a launch has writes through the cells (`set_decimal`, `fill`), and
// nothing reads them meanwhile.
unsafe impl Sync for Strings {}

impl Strings {
    /// Lay out `strings`, each ended by a NUL.
    ///
    /// Not async-signal-safe: allocates; used before the clone.
    pub(crate) fn new<'a>(strings: impl IntoIterator<Item = &'a CStr>) -> Self {
        Self::with_room(strings, &[], 0)
    }

    /// The same, and behind them, unused until [`Strings::fill`], one variable for each of `names`
    /// with `room` for its value.
    ///
    /// Not async-signal-safe: allocates; used before the clone.
    pub(crate) fn with_room<'a>(
        strings: impl IntoIterator<Item = &'a CStr>,
        names: &[&str],
        room: usize,
    ) -> Self {
        let cells = |bytes: &[u8]| bytes.iter().map(|&byte| Cell::new(byte)).collect();
        let mut storage: Vec<Box<[Cell<u8>]>> = strings
            .into_iter()
            .map(|string| cells(string.to_bytes_with_nul()))
            .collect();
        let mut pointers: Vec<_> = storage
            .iter()
            .map(|string| Cell::new(string.as_ptr().cast::<c_char>()))
            .collect();
        for name in names {
            let empty = vec![0; room.saturating_add(1)];
            storage.push(cells(&[name.as_bytes(), b"=", &empty].concat()));
        }
        pointers.resize(storage.len().saturating_add(1), Cell::new(std::ptr::null()));
        Self { storage, pointers }
    }

    /// Give the variables that [`Strings::with_room`] laid out from `first` on these values. An empty
    /// one leaves its variable out.
    pub(crate) fn fill<'a>(
        &self,
        first: usize,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Errno> {
        let mut used = first;
        for (string, value) in self.storage.iter().skip(first).zip(values) {
            if value.is_empty() {
                continue;
            }
            let start = string.iter().take_while(|cell| cell.get() != b'=').count();
            // The last one is the NUL that ends it.
            let place = string
                .get(start.saturating_add(1)..string.len().saturating_sub(1))
                .and_then(|room| room.get(..value.len()))
                .ok_or(Errno::ENAMETOOLONG)?;
            for (cell, &byte) in place.iter().zip(value) {
                cell.set(byte);
            }
            let pointer = self.pointers.get(used).ok_or(Errno::E2BIG)?;
            pointer.set(string.as_ptr().cast::<c_char>());
            used = used.saturating_add(1);
        }
        Ok(())
    }

    /// Overwrite the digits that end string `index` with `value`, and end the string there: without
    /// leading zeros, which some readers would take for octal.
    pub(crate) fn set_decimal(&self, index: usize, value: i32) {
        let Some(string) = self.storage.get(index) else {
            return;
        };
        let digits_at_end = string
            .iter()
            .rev()
            .skip(1)
            .take_while(|cell| cell.get().is_ascii_digit());
        let room = digits_at_end.count();
        let start = string.len().saturating_sub(room.saturating_add(1));
        let value = value.unsigned_abs();
        let digits = value
            .checked_ilog10()
            .map_or(1, |log| log.saturating_add(1));
        for (place, cell) in (0..digits).rev().zip(string.iter().skip(start).take(room)) {
            let digit = value / 10_u32.saturating_pow(place) % 10;
            cell.set(b'0'.saturating_add(u8::try_from(digit).unwrap_or(0)));
        }
        let end = start.saturating_add(usize::try_from(digits).unwrap_or(room).min(room));
        if let Some(cell) = string.get(end) {
            cell.set(0);
        }
    }
}

/// exit_group(2).
pub(crate) fn exit_now(status: i32) -> ! {
    loop {
        // SAFETY: takes no pointer.
        let _ = unsafe { syscall6(libc::SYS_exit_group, [int(status), 0, 0, 0, 0, 0]) };
    }
}

/// getpid(2): the number in the caller's own pid namespace.
pub(crate) fn getpid() -> i32 {
    // SAFETY: takes no argument.
    unsafe { syscall6(libc::SYS_getpid, [0; 6]) }.map_or(0, |pid| i32::try_from(pid).unwrap_or(0))
}

/// clock_gettime(2), `CLOCK_MONOTONIC`, in nanoseconds.
pub(crate) fn now() -> u64 {
    let mut time = [0_u64; 2];
    let clock = int(libc::CLOCK_MONOTONIC);
    // SAFETY: `struct timespec` is two 64-bit words on the architectures supported.
    let _ = unsafe {
        syscall6(
            libc::SYS_clock_gettime,
            [clock, &raw mut time as usize, 0, 0, 0, 0],
        )
    };
    let [seconds, nanoseconds] = time;
    seconds
        .wrapping_mul(1_000_000_000)
        .wrapping_add(nanoseconds)
}

/// fcntl(2) `F_SETFD`: keep `fd` over execve.
pub(crate) fn keep_over_exec(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: numbers only.
    unsafe { syscall6(libc::SYS_fcntl, [int(fd), int(libc::F_SETFD), 0, 0, 0, 0]) }.map(drop)
}

/// read(2).
pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let arguments = [int(fd), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0];
    // SAFETY: the kernel writes at most `len` bytes into the exclusive slice.
    unsafe { syscall6(libc::SYS_read, arguments) }
}

/// write(2).
pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    let arguments = [int(fd), bytes.as_ptr() as usize, bytes.len(), 0, 0, 0];
    // SAFETY: the kernel reads `len` bytes of the slice.
    unsafe { syscall6(libc::SYS_write, arguments) }
}

/// unshare(2) with `CLONE_NEWNET`: an empty network namespace of the caller's own.
pub(crate) fn unshare_network() -> Result<(), Errno> {
    // SAFETY: numbers only.
    unsafe { syscall6(libc::SYS_unshare, [int(libc::CLONE_NEWNET), 0, 0, 0, 0, 0]) }.map(drop)
}

/// A control message that carries one descriptor (cmsg(3)): header, number, padding to eight bytes.
#[repr(C)]
struct OneDescriptor {
    header: libc::cmsghdr,
    descriptor: RawFd,
    _padding: i32,
}

/// How many descriptors [`send_descriptors`] takes at a time: in the kernel's books a message costs the
/// same however many it carries, and few messages fit where nobody reads yet.
pub(crate) const DESCRIPTORS_A_MESSAGE: usize = 32;

/// Send the first [`DESCRIPTORS_A_MESSAGE`] of `descriptors` in one message.
pub(crate) fn send_descriptors(socket: RawFd, descriptors: &[RawFd]) -> Result<(), Errno> {
    /// As [`OneDescriptor`].
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        descriptors: [RawFd; DESCRIPTORS_A_MESSAGE],
    }
    let mut control = Control {
        header: one_descriptor_header(),
        descriptors: [-1; DESCRIPTORS_A_MESSAGE],
    };
    let mut length = size_of::<libc::cmsghdr>();
    for (place, &descriptor) in control.descriptors.iter_mut().zip(descriptors) {
        *place = descriptor;
        length = length.saturating_add(size_of::<RawFd>());
    }
    control.header.cmsg_len = length as _;
    let mut byte = [0_u8];
    let mut vector = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: byte.len(),
    };
    // SAFETY: `msghdr` is numbers and pointers that may be null; musl has padding in it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = length as _;
    let header = &raw const message as usize;
    let arguments = [int(socket), header, int(libc::MSG_NOSIGNAL), 0, 0, 0];
    // SAFETY: the kernel reads one byte and `length` bytes of `control`, which has them.
    unsafe { syscall6(libc::SYS_sendmsg, arguments) }.map(drop)
}

/// Wait for a message with a descriptor from a Unix socket of packets: the descriptor, close-on-exec,
/// and the message's length. `EPIPE` where the other end is closed, `EPROTO` for a message with none or
/// several, `EMSGSIZE` for one that is longer than `buffer`.
pub(crate) fn receive_descriptor(
    socket: RawFd,
    buffer: &mut [u8],
) -> Result<(RawFd, usize), Errno> {
    let expected = one_descriptor_header();
    // SAFETY: `cmsghdr` is numbers; musl has padding in it.
    let header = unsafe { std::mem::zeroed() };
    let mut control = OneDescriptor {
        header,
        descriptor: -1,
        _padding: 0,
    };
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: `msghdr` is numbers and pointers that may be null; musl has padding in it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<OneDescriptor>() as _;
    let count = loop {
        let flags = int(libc::MSG_CMSG_CLOEXEC);
        let arguments = [int(socket), &raw mut message as usize, flags, 0, 0, 0];
        // SAFETY: the exclusive slice and one `OneDescriptor` are what the message says is there.
        match unsafe { syscall6(libc::SYS_recvmsg, arguments) } {
            Err(Errno::EINTR) => {}
            received => break received?,
        }
    };
    let header = &control.header;
    let one = (header.cmsg_len, header.cmsg_level, header.cmsg_type)
        == (expected.cmsg_len, expected.cmsg_level, expected.cmsg_type);
    match count {
        0 => Err(Errno::EPIPE),
        _ if message.msg_flags & libc::MSG_TRUNC != 0 => Err(Errno::EMSGSIZE),
        _ if one && message.msg_flags & libc::MSG_CTRUNC == 0 => Ok((control.descriptor, count)),
        _ => Err(Errno::EPROTO),
    }
}

fn one_descriptor_header() -> libc::cmsghdr {
    // SAFETY: `cmsghdr` is numbers; musl has padding in it.
    let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
    header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<RawFd>()) as _;
    header.cmsg_level = libc::SOL_SOCKET;
    header.cmsg_type = libc::SCM_RIGHTS;
    header
}

/// close(2).
pub(crate) fn close(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: a number; the child's descriptor table is a copy that no Rust owner looks at.
    unsafe { syscall6(libc::SYS_close, [int(fd), 0, 0, 0, 0, 0]) }.map(drop)
}

/// dup3(2) without flags: `to` becomes `from`, kept over execve.
pub(crate) fn dup_to(from: RawFd, to: RawFd) -> Result<(), Errno> {
    // SAFETY: numbers only, as for `close`.
    unsafe { syscall6(libc::SYS_dup3, [int(from), int(to), 0, 0, 0, 0]) }.map(drop)
}

/// close_range(2) with `CLOSE_RANGE_CLOEXEC`: `first` and all above go at execve. Since Linux 5.11.
pub(crate) fn close_on_exec_from(first: RawFd) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: usize = 4;
    let arguments = [int(first), 0xffff_ffff, CLOSE_RANGE_CLOEXEC, 0, 0, 0];
    // SAFETY: numbers only.
    unsafe { syscall6(libc::SYS_close_range, arguments) }.map(drop)
}

/// close_range(2): close `first` to `last`. Since Linux 5.9.
pub(crate) fn close_range(first: RawFd, last: RawFd) -> Result<(), Errno> {
    if first > last {
        return Ok(());
    }
    // SAFETY: numbers only, as for `close`.
    unsafe { syscall6(libc::SYS_close_range, [int(first), int(last), 0, 0, 0, 0]) }.map(drop)
}

/// Refuse `fd` unless it is one end of a connection: a socket of the Internet or a Unix one, of
/// streams or packets with a connection (socket(7)), that does not listen.
pub(crate) fn check_is_connection(fd: RawFd) -> Result<(), Errno> {
    let kind = socket_option(fd, libc::SO_TYPE)?;
    let family = socket_option(fd, libc::SO_DOMAIN)?;
    let listens = socket_option(fd, libc::SO_ACCEPTCONN)?;
    if !matches!(kind, libc::SOCK_STREAM | libc::SOCK_SEQPACKET) {
        return Err(Errno::EPROTOTYPE);
    }
    if !matches!(family, libc::AF_INET | libc::AF_INET6 | libc::AF_UNIX) {
        return Err(Errno::EAFNOSUPPORT);
    }
    match listens {
        0 => Ok(()),
        _ => Err(Errno::EISCONN),
    }
}

/// getsockopt(2) of an int at the socket level.
fn socket_option(fd: RawFd, option: i32) -> Result<i32, Errno> {
    let mut value = 0_i32;
    let mut length = 4_u32;
    let arguments = [
        int(fd),
        int(libc::SOL_SOCKET),
        int(option),
        &raw mut value as usize,
        &raw mut length as usize,
        0,
    ];
    // SAFETY: the kernel writes at most `length` bytes, the size of `value`, and the new length.
    unsafe { syscall6(libc::SYS_getsockopt, arguments) }.map(|_| value)
}

/// openat(2), close-on-exec.
pub(crate) fn open(path: &CStr, flags: i32) -> Result<RawFd, Errno> {
    open_at(libc::AT_FDCWD, path, flags)
}

/// The same below `directory`.
fn open_at(directory: RawFd, path: &CStr, flags: i32) -> Result<RawFd, Errno> {
    let path = path.as_ptr() as usize;
    let arguments = [
        int(directory),
        path,
        int(flags | libc::O_CLOEXEC),
        0o600,
        0,
        0,
    ];
    // SAFETY: `path` ends with a NUL and lives over the call.
    unsafe { syscall6(libc::SYS_openat, arguments) }.and_then(to_fd)
}

/// Write all of `bytes` to the existing file `path` in one call (as `/proc` files want it).
pub(crate) fn write_file(path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    write_file_at(libc::AT_FDCWD, path, bytes)
}

/// The same below `directory`.
pub(crate) fn write_file_at(directory: RawFd, path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let fd = open_at(directory, path, libc::O_WRONLY)?;
    let written = write(fd, bytes);
    close(fd)?;
    match written? {
        count if count == bytes.len() => Ok(()),
        _ => Err(Errno::EIO),
    }
}

/// setns(2) on a namespace of the kind `kind` (`CLONE_NEW*`).
pub(crate) fn setns(namespace: RawFd, kind: i32) -> Result<(), Errno> {
    // SAFETY: numbers only.
    unsafe { syscall6(libc::SYS_setns, [int(namespace), int(kind), 0, 0, 0, 0]) }.map(drop)
}

/// chdir(2).
pub(crate) fn chdir(path: &CStr) -> Result<(), Errno> {
    // SAFETY: `path` ends with a NUL and lives over the call.
    unsafe { syscall6(libc::SYS_chdir, [path.as_ptr() as usize, 0, 0, 0, 0, 0]) }.map(drop)
}

/// sethostname(2).
pub(crate) fn sethostname(name: &[u8]) -> Result<(), Errno> {
    let arguments = [name.as_ptr() as usize, name.len(), 0, 0, 0, 0];
    // SAFETY: the kernel reads `len` bytes of the slice.
    unsafe { syscall6(libc::SYS_sethostname, arguments) }.map(drop)
}

/// setsid(2).
pub(crate) fn setsid() -> Result<(), Errno> {
    // SAFETY: takes no argument.
    unsafe { syscall6(libc::SYS_setsid, [0; 6]) }.map(drop)
}

/// prlimit(2) on the caller itself.
pub(crate) fn setrlimit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = [soft, hard];
    let arguments = [0, resource as usize, &raw const limit as usize, 0, 0, 0];
    // SAFETY: `limit` has the layout of `struct rlimit64`: two 64-bit words, soft then hard.
    unsafe { syscall6(libc::SYS_prlimit64, arguments) }.map(drop)
}

/// keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING` with no name: a new anonymous session keyring.
pub(crate) fn join_new_session_keyring() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;
    // SAFETY: a null name is allowed and means "new and anonymous".
    unsafe {
        syscall6(
            libc::SYS_keyctl,
            [KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0, 0],
        )
    }
    .map(drop)
}

/// setgroups(2).
pub(crate) fn setgroups(groups: &[u32]) -> Result<(), Errno> {
    let arguments = [groups.len(), groups.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel reads `len` 32-bit ids of the slice.
    unsafe { syscall6(libc::SYS_setgroups, arguments) }.map(drop)
}

/// setresgid(2) with the same id three times.
pub(crate) fn setresgid(gid: u32) -> Result<(), Errno> {
    let gid = gid as usize;
    // SAFETY: numbers only. The bare call changes this process alone, as is wanted; libc's would
    // signal the launcher's threads.
    unsafe { syscall6(libc::SYS_setresgid, [gid, gid, gid, 0, 0, 0]) }.map(drop)
}

/// setresuid(2) with the same id three times.
pub(crate) fn setresuid(uid: u32) -> Result<(), Errno> {
    let uid = uid as usize;
    // SAFETY: as for `setresgid`.
    unsafe { syscall6(libc::SYS_setresuid, [uid, uid, uid, 0, 0, 0]) }.map(drop)
}

fn prctl(option: i32, a: usize, b: usize) -> Result<usize, Errno> {
    // SAFETY: private to this file; every option used below takes numbers only.
    unsafe { syscall6(libc::SYS_prctl, [int(option), a, b, 0, 0, 0]) }
}

/// prctl(2) `PR_CAPBSET_DROP`, read back.
pub(crate) fn drop_from_bounding_set(capability: u8) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, usize::from(capability), 0)?;
    match prctl(libc::PR_CAPBSET_READ, usize::from(capability), 0)? {
        0 => Ok(()),
        _ => Err(Errno::EPERM),
    }
}

/// prctl(2) `PR_SET_SECUREBITS`, read back.
pub(crate) fn set_securebits(bits: usize) -> Result<(), Errno> {
    prctl(libc::PR_SET_SECUREBITS, bits, 0)?;
    match prctl(libc::PR_GET_SECUREBITS, 0, 0)? {
        set if set == bits => Ok(()),
        _ => Err(Errno::EPERM),
    }
}

/// prctl(2) `PR_SET_KEEPCAPS`: capabilities outlive a change of user id.
pub(crate) fn keep_capabilities() -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).map(drop)
}

/// prctl(2) `PR_CAP_AMBIENT_CLEAR_ALL`.
pub(crate) fn clear_ambient_set() -> Result<(), Errno> {
    const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;
    prctl(libc::PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0).map(drop)
}

/// prctl(2) `PR_CAP_AMBIENT_RAISE`: kept over execve.
pub(crate) fn raise_ambient(capability: u8) -> Result<(), Errno> {
    const PR_CAP_AMBIENT_RAISE: usize = 2;
    prctl(
        libc::PR_CAP_AMBIENT,
        PR_CAP_AMBIENT_RAISE,
        usize::from(capability),
    )
    .map(drop)
}

/// prctl(2) `PR_SET_NO_NEW_PRIVS`, read back.
pub(crate) fn set_no_new_privs() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    match prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0)? {
        1 => Ok(()),
        _ => Err(Errno::EPERM),
    }
}

/// prctl(2) `PR_SET_PDEATHSIG` with SIGKILL.
pub(crate) fn die_with_parent() -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, int(libc::SIGKILL), 0).map(drop)
}

/// capset(2): exactly `held` in the effective and permitted sets, and `inherited` in the inheritable
/// one; read back.
pub(crate) fn set_capabilities(held: u64, inherited: u64) -> Result<(), Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let (low, high) = (
        |set: u64| (set & 0xffff_ffff) as u32,
        |set: u64| (set >> 32) as u32,
    );
    let wanted = [
        low(held),
        low(held),
        low(inherited),
        high(held),
        high(held),
        high(inherited),
    ];
    let mut got = [u32::MAX; 6];
    let arguments = [
        &raw const header as usize,
        &raw const wanted as usize,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: the header (version, pid 0: the caller) and six words are the version 3 layout.
    unsafe { syscall6(libc::SYS_capset, arguments) }?;
    let arguments = [
        &raw const header as usize,
        &raw mut got as usize,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: as above; the kernel writes six words into `got`.
    unsafe { syscall6(libc::SYS_capget, arguments) }?;
    if got == wanted {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// landlock_restrict_self(2). Since Linux 5.13.
pub(crate) fn landlock_restrict_self(ruleset: RawFd) -> Result<(), Errno> {
    let arguments = [int(ruleset), 0, 0, 0, 0, 0];
    // SAFETY: numbers only.
    unsafe { syscall6(libc::SYS_landlock_restrict_self, arguments) }.map(drop)
}

/// seccomp(2) `SECCOMP_SET_MODE_FILTER`: install `program` on the calling thread.
pub(crate) fn install_filter(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER as usize;
    let arguments = [mode, 0, &raw const program as usize, 0, 0, 0];
    // SAFETY: `program` points at the slice, alive and unmodified over the call; the kernel copies
    // the filter and keeps no pointer to it.
    unsafe { syscall6(libc::SYS_seccomp, arguments) }.map(drop)
}

/// The same with `SECCOMP_FILTER_FLAG_NEW_LISTENER`: the listener, close-on-exec. Since Linux 5.0.
///
/// Who waits for an answer is disturbed by deadly signals only, so that what was done for it is not done
/// twice; before Linux 5.19 by any.
pub(crate) fn install_telling_filter(program: &[libc::sock_filter]) -> Result<RawFd, Errno> {
    const NEW_LISTENER: usize = 1 << 3;
    const WAIT_KILLABLE_RECV: usize = 1 << 5;
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER as usize;
    let install = |flags| {
        let arguments = [mode, flags, &raw const program as usize, 0, 0, 0];
        // SAFETY: as for `install_filter`.
        unsafe { syscall6(libc::SYS_seccomp, arguments) }.and_then(to_fd)
    };
    match install(NEW_LISTENER | WAIT_KILLABLE_RECV) {
        Err(Errno::EINVAL) => install(NEW_LISTENER),
        installed => installed,
    }
}

/// rt_sigprocmask(2) `SIG_SETMASK`, the kernel's 64-bit set.
pub(crate) fn set_signal_mask(mask: u64) -> Result<(), Errno> {
    let arguments = [int(libc::SIG_SETMASK), &raw const mask as usize, 0, 8, 0, 0];
    // SAFETY: the kernel reads the eight bytes of `mask`; a null old set is allowed.
    unsafe { syscall6(libc::SYS_rt_sigprocmask, arguments) }.map(drop)
}

/// What a signal does to a program that has no handler for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Its default action.
    Default,
    /// Nothing.
    Ignored,
}

/// rt_sigaction(2): what `signal` does.
pub(crate) fn set_disposition(signal: i32, disposition: Disposition) -> Result<(), Errno> {
    let handler = match disposition {
        Disposition::Default => libc::SIG_DFL,
        Disposition::Ignored => libc::SIG_IGN,
    };
    // struct kernel_sigaction: handler, flags, (restorer,) mask.
    let action = [handler, 0, 0, 0];
    let arguments = [int(signal), &raw const action as usize, 0, 8, 0, 0];
    // SAFETY: `action` is as long as the longest form of the structure; a null old action is allowed.
    unsafe { syscall6(libc::SYS_rt_sigaction, arguments) }.map(drop)
}

/// execve(2).
pub(crate) fn execve(path: &CStr, argv: &Strings, envp: &Strings) -> Result<(), Errno> {
    let (argv, envp) = (argv.pointers.as_ptr(), envp.pointers.as_ptr());
    let arguments = [
        path.as_ptr() as usize,
        argv as usize,
        envp as usize,
        0,
        0,
        0,
    ];
    // SAFETY: `path` and every string end with a NUL, both vectors with a null pointer; on success
    // nothing of this memory is used any more.
    unsafe { syscall6(libc::SYS_execve, arguments) }.map(drop)
}

/// execveat(2) of the program open at `fd`, with no arguments but its name and no environment.
pub(crate) fn execute_descriptor(fd: RawFd, name: &CStr) -> Result<(), Errno> {
    let argv = [name.as_ptr(), std::ptr::null()];
    let envp: [*const c_char; 1] = [std::ptr::null()];
    let arguments = [
        int(fd),
        c"".as_ptr() as usize,
        argv.as_ptr() as usize,
        envp.as_ptr() as usize,
        int(libc::AT_EMPTY_PATH),
        0,
    ];
    // SAFETY: every string ends with a NUL and both vectors with a null pointer.
    unsafe { syscall6(libc::SYS_execveat, arguments) }.map(drop)
}

/// Bring `lo` up in the caller's network namespace and read the flag back (netdevice(7)).
pub(crate) fn bring_up_loopback() -> Result<(), Errno> {
    let domain = [
        int(libc::AF_INET),
        int(libc::SOCK_DGRAM | libc::SOCK_CLOEXEC),
        0,
        0,
        0,
        0,
    ];
    // SAFETY: numbers only.
    let socket = unsafe { syscall6(libc::SYS_socket, domain) }.and_then(to_fd)?;
    // struct ifreq: sixteen bytes of name, then the flags as a short.
    let mut request = [0_u8; 40];
    request[..2].copy_from_slice(b"lo");
    let ioctl = |request: &mut [u8; 40], number: libc::c_ulong| {
        let arguments = [
            int(socket),
            number as usize,
            request.as_mut_ptr() as usize,
            0,
            0,
            0,
        ];
        // SAFETY: SIOCGIFFLAGS and SIOCSIFFLAGS read and write one `struct ifreq`, 40 bytes.
        unsafe { syscall6(libc::SYS_ioctl, arguments) }
    };
    let up = |request: &[u8; 40]| request[16] & 1 == 1;
    ioctl(&mut request, libc::SIOCGIFFLAGS as libc::c_ulong)?;
    request[16] |= 1;
    ioctl(&mut request, libc::SIOCSIFFLAGS as libc::c_ulong)?;
    ioctl(&mut request, libc::SIOCGIFFLAGS as libc::c_ulong)?;
    close(socket)?;
    if up(&request) {
        Ok(())
    } else {
        Err(Errno::ENETDOWN)
    }
}

/// Whether every address is to be local in IPv4 or in IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// `lo` is the first device of every namespace.
const LO: u32 = 1;

/// `local default dev lo`: whatever the address, it is this namespace's own (rtnetlink(7)). Needs `lo`
/// up, and CAP_NET_ADMIN in the namespace's owner.
pub(crate) fn make_every_address_local(family: Family) -> Result<(), Errno> {
    // struct nlmsghdr (16 bytes), struct rtmsg (12), struct rtattr (4) with lo's index (4).
    let (family, scope) = match family {
        Family::V4 => (libc::AF_INET as u8, libc::RT_SCOPE_HOST),
        Family::V6 => (libc::AF_INET6 as u8, libc::RT_SCOPE_UNIVERSE),
    };
    let mut request = [0_u8; 36];
    request[16] = family;
    request[20] = libc::RT_TABLE_LOCAL;
    request[21] = libc::RTPROT_BOOT;
    request[22] = scope;
    request[23] = libc::RTN_LOCAL;
    request[28..30].copy_from_slice(&8_u16.to_ne_bytes());
    request[30..32].copy_from_slice(&libc::RTA_OIF.to_ne_bytes());
    request[32..].copy_from_slice(&LO.to_ne_bytes());
    change_network(libc::RTM_NEWROUTE, &mut request)
}

/// Give `lo` an address (rtnetlink(7)). Needs CAP_NET_ADMIN in the namespace's owner.
pub(crate) fn add_loopback_address(address: IpAddr) -> Result<(), Errno> {
    // struct nlmsghdr (16 bytes), struct ifaddrmsg (8), struct rtattr (4) with the address (4 or 16).
    let mut request = [0_u8; 44];
    let length = match address {
        IpAddr::V4(address) => {
            request[16] = libc::AF_INET as u8;
            request[17] = 32;
            request[28..32].copy_from_slice(&address.octets());
            32
        }
        IpAddr::V6(address) => {
            request[16] = libc::AF_INET6 as u8;
            request[17] = 128;
            request[28..].copy_from_slice(&address.octets());
            44
        }
    };
    let request = &mut request[..length];
    request[20..24].copy_from_slice(&LO.to_ne_bytes());
    request[24..26].copy_from_slice(&(length as u16 - 24).to_ne_bytes());
    request[26..28].copy_from_slice(&libc::IFA_LOCAL.to_ne_bytes());
    change_network(libc::RTM_NEWADDR, request)
}

/// Make something by a request of `kind`, whose header is filled in here, and wait for the answer.
fn change_network(kind: u16, request: &mut [u8]) -> Result<(), Errno> {
    let length = u32::try_from(request.len()).map_err(|_| Errno::EINVAL)?;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE;
    request[..4].copy_from_slice(&length.to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    let socket = make_socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE)?;
    let answered = write(socket, request).and_then(|_| {
        // struct nlmsghdr, then struct nlmsgerr: a negated errno (0 for "done") and the request's header.
        let mut answer = [0_u8; 64];
        let length = read(socket, &mut answer)?;
        let kind = [answer[4], answer[5]];
        let result = [answer[16], answer[17], answer[18], answer[19]];
        match i32::from_ne_bytes(result) {
            _ if length < 20 || i32::from(u16::from_ne_bytes(kind)) != libc::NLMSG_ERROR => {
                Err(Errno::EPROTO)
            }
            0 => Ok(()),
            errno => Err(Errno::from_raw(errno.wrapping_neg())),
        }
    });
    close(socket)?;
    answered
}

/// socket(2).
pub(crate) fn make_socket(family: i32, kind: i32, protocol: i32) -> Result<RawFd, Errno> {
    let arguments = [int(family), int(kind), int(protocol), 0, 0, 0];
    // SAFETY: numbers only.
    unsafe { syscall6(libc::SYS_socket, arguments) }.and_then(to_fd)
}

/// setsockopt(2) of an int.
pub(crate) fn set_socket_option(
    socket: RawFd,
    level: i32,
    option: i32,
    value: i32,
) -> Result<(), Errno> {
    let arguments = [
        int(socket),
        int(level),
        int(option),
        &raw const value as usize,
        size_of::<i32>(),
        0,
    ];
    // SAFETY: the kernel reads the four bytes of `value`.
    unsafe { syscall6(libc::SYS_setsockopt, arguments) }.map(drop)
}

/// bind(2) to the socket address whose bytes these are.
pub(crate) fn bind_socket(socket: RawFd, address: &[u8]) -> Result<(), Errno> {
    let arguments = [
        int(socket),
        address.as_ptr() as usize,
        address.len(),
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads `len` bytes of the slice, and checks them.
    unsafe { syscall6(libc::SYS_bind, arguments) }.map(drop)
}

/// listen(2) with as long a queue as the kernel lets.
pub(crate) fn listen_on(socket: RawFd) -> Result<(), Errno> {
    // Read as unsigned, and cut at net.core.somaxconn.
    // SAFETY: numbers only.
    unsafe { syscall6(libc::SYS_listen, [int(socket), int(-1), 0, 0, 0, 0]) }.map(drop)
}

fn to_fd(value: usize) -> Result<RawFd, Errno> {
    RawFd::try_from(value).map_err(|_| Errno::EBADF)
}
