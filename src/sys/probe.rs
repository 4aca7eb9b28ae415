//! The system calls with which [`crate::probe`] tries what this kernel allows.
//!
//! Runs in the launcher and in the probes' own short-lived children, never in a sandbox. Each
//! wrapper is one call; what a probe does with them, and in which order, is `probe/acts.rs`.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::probe::acts::{self, Task};

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL`, Linux 6.12.
const LANDLOCK_SCOPES: u64 = 1 | 2;
/// `SECCOMP_IOCTL_NOTIF_ADDFD`: `_IOW('!', 3, struct seccomp_notif_addfd)`.
const NOTIF_ADDFD: libc::c_ulong = 0x4018_2103;
/// `SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND`, Linux 5.9 and 5.14.
const ADDFD_FLAGS: u32 = 1 | 2;
/// `MFD_EXEC`, Linux 6.3.
const MFD_EXEC: libc::c_uint = 0x10;

/// Start a child in the new namespaces `flags` that carries out `task` and ends.
///
/// It sends no signal when it ends, so the caller's `SIGCHLD` handling neither sees nor reaps it:
/// wait with `__WALL`.
pub(crate) fn clone_task(flags: libc::c_int, task: &Task) -> Result<Pid, Errno> {
    let pid = fork_raw(flags)?;
    if pid == 0 {
        acts::carry_out(task);
    }
    Ok(Pid::from_raw(pid))
}

/// Start a child in the new namespaces `flags` that ends at once.
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn clone_and_exit(flags: libc::c_int) -> Result<Pid, Errno> {
    let pid = fork_raw(flags)?;
    if pid == 0 {
        exit_now(0);
    }
    Ok(Pid::from_raw(pid))
}

/// clone(2) without shared memory. Its callers see to it that the child, a copy of a process that
/// may have had other threads, does only what is async-signal-safe and never returns.
fn fork_raw(flags: libc::c_int) -> Result<libc::pid_t, Errno> {
    // Only namespaces: a shared address space with a null stack would run two tasks on one stack.
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let none = 0 as libc::c_long;
    // SAFETY: the flags are masked to namespaces, so memory is copied, a null stack means "the
    // same address in the copy", and no pointer is handed over.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(flags & namespaces),
            none,
            none,
            none,
            none,
        )
    };
    Errno::result(pid).map(|pid| libc::pid_t::try_from(pid).unwrap_or(-1))
}

/// clone3(2) with `namespaces`, a pidfd and cleared signal handlers, into `cgroup` where one is
/// given; the child ends at once. Linux 5.7 for the last (5.5 for the handlers).
pub(crate) fn clone3_and_exit(
    namespaces: libc::c_int,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Errno> {
    const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    /// `struct clone_args` as of Linux 5.7 (`CLONE_ARGS_SIZE_VER2`).
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }

    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: u64::from(namespaces.cast_unsigned() & !libc::CLONE_VM.cast_unsigned())
            | u64::from(libc::CLONE_PIDFD.cast_unsigned())
            | CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: `args` is laid out as the kernel's struct and its size is passed; CLONE_VM is masked
    // out, so memory is copied and no stack is needed; `pidfd` outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    if Errno::result(pid)? == 0 {
        exit_now(0);
    }
    // SAFETY: the clone succeeded in the parent, so the kernel stored a new descriptor in `pidfd`
    // and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}

/// End the process without running exit handlers (_exit(2)).
///
/// Async-signal-safe: one system call.
pub(crate) fn exit_now(status: libc::c_int) -> ! {
    // SAFETY: `_exit` takes any status and does not return.
    unsafe { libc::_exit(status) }
}

/// The Landlock ABI of this kernel (landlock_create_ruleset(2)); Linux 5.13.
///
/// Async-signal-safe: one system call, no allocation.
///
/// # Errors
/// `ENOSYS` when it is not built in, `EOPNOTSUPP` when it is off at boot.
pub(crate) fn landlock_abi() -> Result<u32, Errno> {
    const CREATE_RULESET_VERSION: u32 = 1;
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: with the version flag the kernel takes a null attribute of size 0 and only answers.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            nothing,
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    Errno::result(abi).map(|abi| u32::try_from(abi).unwrap_or(0))
}

/// A Landlock ruleset that scopes signals and abstract sockets; Linux 6.12 (ABI 6).
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn landlock_scopes() -> Result<OwnedFd, Errno> {
    // struct landlock_ruleset_attr: handled_access_fs, handled_access_net, scoped.
    let attr: [u64; 3] = [0, 0, LANDLOCK_SCOPES];
    // SAFETY: `attr` lives through the call and its true size is passed.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            attr.as_ptr(),
            size_of_val(&attr),
            0u32,
        )
    };
    let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Enter the domain of `ruleset` (landlock_restrict_self(2)).
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn landlock_restrict_self(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: no pointers; a descriptor that is no ruleset is refused.
    let rc = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0u32) };
    Errno::result(rc).map(drop)
}

/// Take `capability` out of the calling thread's bounding set (capabilities(7)).
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn drop_bound(capability: libc::c_ulong) -> Result<(), Errno> {
    // SAFETY: PR_CAPBSET_DROP reads no memory and refuses an unknown number.
    let rc = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    Errno::result(rc).map(drop)
}

/// The seccomp mode of the calling thread: 0 none, 2 filter (PR_GET_SECCOMP).
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn seccomp_mode() -> Result<u32, Errno> {
    // SAFETY: PR_GET_SECCOMP takes no further arguments and reads no memory.
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) };
    Errno::result(mode).map(i32::cast_unsigned)
}

/// Install a filter that allows everything; the needs are those of any filter.
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn seccomp_allow_all() -> Result<(), Errno> {
    install_allow_all(0).map(drop)
}

/// Install a filter that allows everything and has a listener (seccomp_unotify(2)); Linux 5.0.
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn seccomp_listener() -> Result<OwnedFd, Errno> {
    let fd = install_allow_all(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    // SAFETY: with NEW_LISTENER the call's answer is a new descriptor, ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn install_allow_all(flags: libc::c_ulong) -> Result<libc::c_int, Errno> {
    let mut allow = libc::sock_filter {
        code: 0x06, // BPF_RET | BPF_K
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut allow,
    };
    // SAFETY: `program` points to the one instruction `allow`; both outlive the call, and the
    // kernel copies them.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    libc::c_int::try_from(Errno::result(rc)?).map_err(|_| Errno::EBADF)
}

/// Ask `listener` to put a descriptor into the caller of a notification that does not exist.
///
/// A kernel that knows the request and its flags (`SETFD`, `SEND`) answers `ENOENT`; an older one
/// `EINVAL`. Async-signal-safe: one system call, no allocation.
pub(crate) fn notif_addfd_nobody(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    /// `struct seccomp_notif_addfd`.
    #[repr(C)]
    struct AddFd {
        id: u64,
        flags: u32,
        srcfd: u32,
        newfd: u32,
        newfd_flags: u32,
    }
    let request = AddFd {
        id: u64::MAX,
        flags: ADDFD_FLAGS,
        srcfd: listener.as_raw_fd().cast_unsigned(),
        newfd: 0,
        newfd_flags: 0,
    };
    // SAFETY: `request` is laid out as the kernel's struct, whose size is part of the number.
    let rc = unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ADDFD as _, &raw const request) };
    Errno::result(rc).map(drop)
}

/// close_range(2) over a range that holds no descriptor; Linux 5.11 for the flag.
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn close_range_nothing() -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: no pointers; the range starts past any possible descriptor, so none is touched.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            libc::c_uint::MAX,
            libc::c_uint::MAX,
            CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(rc).map(drop)
}

/// Join a new, empty session keyring (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`).
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn join_session_keyring() -> Result<(), Errno> {
    let anonymous: *const libc::c_char = std::ptr::null();
    // SAFETY: a null name asks for an anonymous keyring; nothing else is read.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::c_long::from(libc::KEYCTL_JOIN_SESSION_KEYRING),
            anonymous,
        )
    };
    Errno::result(rc).map(drop)
}

/// The flags of the interface `lo` in the network namespace of `socket` (netdevice(7)).
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn loopback_flags(socket: BorrowedFd<'_>) -> Result<libc::c_short, Errno> {
    let mut request = loopback_request(0);
    // SAFETY: `request` is a whole ifreq with a terminated name, writable through the call.
    let rc = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS as _,
            &raw mut request,
        )
    };
    Errno::result(rc)?;
    // SAFETY: SIOCGIFFLAGS succeeded, so the kernel filled this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_flags })
}

/// Set the flags of the interface `lo` in the network namespace of `socket` (netdevice(7)).
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn set_loopback_flags(
    socket: BorrowedFd<'_>,
    flags: libc::c_short,
) -> Result<(), Errno> {
    let request = loopback_request(flags);
    // SAFETY: `request` is a whole ifreq with a terminated name and its flags set.
    let rc = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    };
    Errno::result(rc).map(drop)
}

fn loopback_request(flags: libc::c_short) -> libc::ifreq {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    }
}

/// Make a System V segment of one page, private to this process (shmget(2)).
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn shmget_private() -> Result<libc::c_int, Errno> {
    // SAFETY: no pointers; IPC_PRIVATE always makes a new segment.
    Errno::result(unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, 0o600) })
}

/// Remove a System V segment (shmctl(2), `IPC_RMID`).
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn shm_remove(id: libc::c_int) -> Result<(), Errno> {
    // SAFETY: IPC_RMID ignores the buffer.
    let rc = unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    Errno::result(rc).map(drop)
}

/// Make the mounts at and below `path` read-only (mount_setattr(2)); Linux 5.12.
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn make_read_only(path: &CStr) -> Result<(), Errno> {
    const AT_RECURSIVE: libc::c_uint = 0x8000;
    const MOUNT_ATTR_RDONLY: u64 = 1;
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    let attr: [u64; 4] = [MOUNT_ATTR_RDONLY, 0, 0, 0];
    // SAFETY: `path` is terminated, `attr` has the size passed, and both outlive the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            AT_RECURSIVE,
            attr.as_ptr(),
            size_of_val(&attr),
        )
    };
    Errno::result(rc).map(drop)
}

/// An executable, sealable memory file (memfd_create(2)); `MFD_EXEC` where the kernel has it (6.3).
///
/// Async-signal-safe: at most two system calls, no allocation.
pub(crate) fn memfd_executable() -> Result<OwnedFd, Errno> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a terminated literal.
    let mut fd = unsafe { libc::memfd_create(c"sandbox-probe".as_ptr(), flags | MFD_EXEC) };
    if fd < 0 && Errno::last() == Errno::EINVAL {
        // SAFETY: the name is a terminated literal; kernels before 6.3 know these flags.
        fd = unsafe { libc::memfd_create(c"sandbox-probe".as_ptr(), flags) };
    }
    Errno::result(fd)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// execveat(2) of the file that `fd` is, with no arguments; returns only when refused.
///
/// Async-signal-safe: one system call, no allocation.
pub(crate) fn execveat_itself(fd: BorrowedFd<'_>) -> Errno {
    let nothing: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: the empty path with AT_EMPTY_PATH names `fd`; both lists are the terminated `nothing`.
    let _ = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            nothing.as_ptr(),
            nothing.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::last()
}
