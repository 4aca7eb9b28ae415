//! System calls as a hostile program makes them: odd families, garbage in upper halves, foreign
//! calling conventions, and the list of calls that nobody in a sandbox needs.
//!
//! Used by [`crate::selftest`] only, in processes made for one attempt each; never in a launch.
//! Every wrapper is safe for whatever its types allow, and does no harm outside a sandbox either:
//! what would change the host is aimed at something that does not exist, so that the errno tells
//! how far the kernel let the call come.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::{CStr, c_long};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use Arg::{Int, Null, Text};

/// One argument of a [`Call`].
#[derive(Clone, Copy, Debug)]
enum Arg {
    /// A number, or a descriptor that is not open.
    Int(i64),
    /// A null pointer.
    Null,
    /// A constant string, which the call only reads.
    Text(&'static CStr),
}

/// Whether a call, made outside a sandbox with the arguments of its row, shows that it can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// By anyone.
    Anyone,
    /// By root (all capabilities of the initial user namespace).
    Root,
    /// By nobody on this kernel's configuration, or not without doing harm.
    Nobody,
}

/// One system call that a sandboxed program has no business making, with harmless arguments.
#[derive(Debug)]
pub(crate) struct Call {
    /// Its name in the manual.
    pub(crate) name: &'static str,
    /// Who can make it outside.
    pub(crate) control: Control,
    number: c_long,
    args: [Arg; 6],
}

/// A row of [`CALLS`]: the name, its number, who can make it outside, the arguments that matter.
macro_rules! call {
    ($name:literal, $number:expr, $control:ident $(, $arg:expr)*) => {
        Call {
            name: $name,
            number: $number,
            control: Control::$control,
            args: fill(&[$($arg),*]),
        }
    };
}

const fn fill(given: &[Arg]) -> [Arg; 6] {
    let mut args = [Arg::Int(0); 6];
    let mut index = 0;
    while index < given.len() {
        args[index] = given[index];
        index += 1;
    }
    args
}

/// Not a file system, a file, a device or a key on any machine.
const NOTHING: Arg = Text(c"/proc/self/there-is-no-such-thing");
/// A file that is never a mount point.
const FILE: Arg = Text(c"/proc/self/status");
const NO_FD: Arg = Int(-1);

/// Mounting, devices and roots: each row's arguments name nothing, so that with the privilege the
/// call fails for another reason than EPERM.
pub(crate) const MOUNT_CALLS: &[Call] = &[
    call!(
        "mount",
        libc::SYS_mount,
        Root,
        Text(c"none"),
        Text(c"/"),
        NOTHING,
        Int(0),
        Null
    ),
    call!("umount2", libc::SYS_umount2, Root, FILE, Int(0)),
    call!(
        "pivot_root",
        libc::SYS_pivot_root,
        Root,
        Text(c"/proc/self"),
        Text(c"/proc/self")
    ),
    call!("chroot", libc::SYS_chroot, Root, Text(c"/")),
    call!("fsopen", libc::SYS_fsopen, Root, Text(c"tmpfs"), Int(0)),
    call!(
        "fsconfig",
        libc::SYS_fsconfig,
        Anyone,
        NO_FD,
        Int(0),
        Null,
        Null,
        Int(0)
    ),
    call!("fsmount", libc::SYS_fsmount, Root, NO_FD, Int(0), Int(0)),
    call!(
        "fspick",
        libc::SYS_fspick,
        Root,
        Int(libc::AT_FDCWD as i64),
        NOTHING,
        Int(0)
    ),
    call!(
        "move_mount",
        libc::SYS_move_mount,
        Root,
        NO_FD,
        Null,
        NO_FD,
        Null,
        Int(0)
    ),
    call!(
        "open_tree",
        libc::SYS_open_tree,
        Root,
        Int(libc::AT_FDCWD as i64),
        NOTHING,
        Int(1)
    ),
    call!(
        "mount_setattr",
        libc::SYS_mount_setattr,
        Root,
        NO_FD,
        NOTHING,
        Int(0),
        Null,
        Int(32)
    ),
];

/// Calls that reach deep into the kernel or change the whole machine.
pub(crate) const SURFACE_CALLS: &[Call] = &[
    call!("bpf", libc::SYS_bpf, Root, Int(0), Null, Int(0)),
    call!(
        "perf_event_open",
        libc::SYS_perf_event_open,
        Anyone,
        Null,
        Int(0),
        NO_FD,
        NO_FD,
        Int(0)
    ),
    // UFFD_USER_MODE_ONLY: what vm.unprivileged_userfaultfd=0 still grants (userfaultfd(2)).
    call!("userfaultfd", libc::SYS_userfaultfd, Anyone, Int(1)),
    call!(
        "kexec_load",
        libc::SYS_kexec_load,
        Nobody,
        Int(0),
        Int(0xffff),
        Null,
        Int(0xff00)
    ),
    call!(
        "init_module",
        libc::SYS_init_module,
        Nobody,
        Null,
        Int(0),
        Text(c"")
    ),
    call!(
        "finit_module",
        libc::SYS_finit_module,
        Nobody,
        NO_FD,
        Text(c""),
        Int(0)
    ),
    call!(
        "delete_module",
        libc::SYS_delete_module,
        Nobody,
        Text(c"no-such-module"),
        Int(0x800)
    ),
    call!(
        "reboot",
        libc::SYS_reboot,
        Root,
        Int(0),
        Int(0),
        Int(0),
        Null
    ),
    call!("swapon", libc::SYS_swapon, Root, NOTHING, Int(0)),
    call!("swapoff", libc::SYS_swapoff, Root, NOTHING),
    call!("acct", libc::SYS_acct, Root, NOTHING),
    // Q_GETFMT of user quotas.
    call!(
        "quotactl",
        libc::SYS_quotactl,
        Anyone,
        Int(0x8000_0400),
        NOTHING,
        Int(0),
        Null
    ),
    // SYSLOG_ACTION_READ_ALL without a buffer: past the permission it is EINVAL.
    call!("syslog", libc::SYS_syslog, Root, Int(3), Null, Int(0)),
    call!("settimeofday", libc::SYS_settimeofday, Root, Null, Null),
    call!(
        "clock_settime",
        libc::SYS_clock_settime,
        Anyone,
        Int(0),
        Null
    ),
    call!("adjtimex", libc::SYS_adjtimex, Anyone, Null),
    call!(
        "clock_adjtime",
        libc::SYS_clock_adjtime,
        Anyone,
        Int(0),
        Null
    ),
    call!("sethostname", libc::SYS_sethostname, Root, Null, NO_FD),
    call!("setdomainname", libc::SYS_setdomainname, Root, Null, NO_FD),
    // In a process without a terminal there is nothing to hang up.
    call!("vhangup", libc::SYS_vhangup, Root),
    call!(
        "lookup_dcookie",
        libc::SYS_lookup_dcookie,
        Nobody,
        Int(0),
        Null,
        Int(0)
    ),
    call!(
        "nfsservctl",
        libc::SYS_nfsservctl,
        Nobody,
        Int(0),
        Null,
        Null
    ),
    call!(
        "kcmp",
        libc::SYS_kcmp,
        Anyone,
        NO_FD,
        NO_FD,
        Int(0x7f),
        Int(0),
        Int(0)
    ),
    call!(
        "migrate_pages",
        libc::SYS_migrate_pages,
        Anyone,
        Int(0),
        Int(8),
        Null,
        Null
    ),
    call!(
        "move_pages",
        libc::SYS_move_pages,
        Anyone,
        Int(0),
        Int(0),
        Null,
        Null,
        Null,
        Int(0)
    ),
    call!(
        "fanotify_init",
        libc::SYS_fanotify_init,
        Anyone,
        Int(0x200),
        Int(0)
    ),
    call!(
        "personality_read_implies_exec",
        libc::SYS_personality,
        Anyone,
        Int(0x0040_0000)
    ),
    call!(
        "personality_no_randomize",
        libc::SYS_personality,
        Anyone,
        Int(0x0004_0000)
    ),
    #[cfg(target_arch = "x86_64")]
    call!("iopl", libc::SYS_iopl, Nobody, Int(3)),
    #[cfg(target_arch = "x86_64")]
    call!(
        "ioperm",
        libc::SYS_ioperm,
        Nobody,
        Int(0x80),
        Int(1),
        Int(1)
    ),
    #[cfg(target_arch = "x86_64")]
    call!(
        "modify_ldt",
        libc::SYS_modify_ldt,
        Anyone,
        Int(0),
        Null,
        Int(0)
    ),
    #[cfg(target_arch = "x86_64")]
    call!("uselib", libc::SYS_uselib, Nobody, NOTHING),
];

/// Calls on rings that a filter of `socket` and `connect` does not see.
pub(crate) const RING_CALLS: &[Call] = &[
    call!(
        "io_uring_enter",
        libc::SYS_io_uring_enter,
        Anyone,
        NO_FD,
        Int(0),
        Int(0),
        Int(0),
        Null
    ),
    call!(
        "io_uring_register",
        libc::SYS_io_uring_register,
        Anyone,
        NO_FD,
        Int(0),
        Null,
        Int(0)
    ),
];

impl Call {
    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        u32::try_from(self.number).expect("a call's number is small and positive")
    }

    /// The words that its arguments are.
    pub(crate) fn words(&self) -> [i64; 6] {
        self.args.map(|arg| match arg {
            Int(value) => value,
            Null => 0,
            Text(text) => text.as_ptr() as i64,
        })
    }
}

/// Make `call`; the kernel's answer.
pub(crate) fn try_call(call: &Call) -> Result<i64, Errno> {
    let [a, b, c, d, e, f] = call.words();
    // SAFETY: a `Call` can only be made in this file, in the tables above. Every pointer in a row is
    // null or a constant string where the call reads a path or a name; no row gives a call a
    // writable address, and none maps, unmaps or frees memory of this process.
    let result = unsafe { libc::syscall(call.number, a, b, c, d, e, f) };
    Errno::result(result)
}

/// Make a call that takes only numbers and knows no pointer at any number used here.
fn call_with_numbers(number: c_long, args: [i64; 5]) -> Result<i64, Errno> {
    let [a, b, c, d, e] = args;
    // SAFETY: the callers, all below, pass calls whose arguments are numbers or descriptors only.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    Errno::result(result)
}

fn owned(result: i64) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(result).map_err(|_| Errno::EBADF)?;
    // SAFETY: the callers pass what a call that makes a descriptor has just returned; nothing else
    // owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// socket(2), every argument as the full word that a program may put into the register.
pub(crate) fn socket(family: u64, kind: u64, protocol: u64) -> Result<OwnedFd, Errno> {
    let args = [family, kind, protocol, 0, 0].map(u64::cast_signed);
    owned(call_with_numbers(libc::SYS_socket, args)?)
}

/// socketpair(2) of `family`.
pub(crate) fn socketpair(family: u64, kind: u64) -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut pair: [RawFd; 2] = [-1; 2];
    // SAFETY: `pair` is two ints, which is what the kernel writes.
    let result = unsafe { libc::syscall(libc::SYS_socketpair, family, kind, 0, pair.as_mut_ptr()) };
    Errno::result(result)?;
    Ok((owned(pair[0].into())?, owned(pair[1].into())?))
}

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

/// The system call `number` without arguments: for numbers that no kernel has, and x32's getpid.
#[cfg(target_arch = "x86_64")]
pub(crate) fn x32_getpid() -> Result<i64, Errno> {
    const X32: c_long = 0x4000_0000;
    call_with_numbers(X32 | libc::SYS_getpid, [0; 5])
}

/// A number that is beyond every call of the kernels known, without arguments.
pub(crate) fn call_from_the_future() -> Result<i64, Errno> {
    call_with_numbers(3000, [0; 5])
}

/// io_uring_setup(2) of one entry.
pub(crate) fn io_uring_setup() -> Result<OwnedFd, Errno> {
    // struct io_uring_params, all zero; the kernel fills it in.
    let mut params = [0_u64; 15];
    // SAFETY: `params` has the 120 bytes of struct io_uring_params, aligned, and lives on.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    owned(Errno::result(result)?)
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
pub(crate) fn exit_now(status: i32) -> ! {
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

/// What a program may ask of a terminal in order to type on it for others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TerminalRequest {
    /// Put a byte into its input.
    Sti = libc::TIOCSTI as isize,
    /// The console's selection, which can be pasted.
    Linux = libc::TIOCLINUX as isize,
    /// Another line discipline.
    SetDiscipline = libc::TIOCSETD as isize,
    /// Take over the console's output.
    Console = libc::TIOCCONS as isize,
}

/// What stands in the half of the request word that the kernel ignores.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UpperHalf {
    /// Zeros.
    Clear,
    /// Anything else: fools a filter that compares 64 bits.
    Garbage,
}

/// ioctl(2) of `request` on a terminal, with a zeroed argument: byte NUL, discipline N_TTY.
pub(crate) fn terminal_ioctl(
    terminal: BorrowedFd<'_>,
    request: TerminalRequest,
    upper: UpperHalf,
) -> Result<(), Errno> {
    let mut argument = [0_u8; 64];
    let word = request as u64
        | match upper {
            UpperHalf::Clear => 0,
            UpperHalf::Garbage => 0x1234_5678 << 32,
        };
    let fd = terminal.as_raw_fd();
    // SAFETY: each of the four requests reads or writes at most a few bytes at its argument, which
    // has 64.
    let result = unsafe { libc::syscall(libc::SYS_ioctl, fd, word, argument.as_mut_ptr()) };
    Errno::result(result).map(drop)
}

/// Make `terminal` this session's controlling terminal (ioctl_tty(2)).
pub(crate) fn take_terminal(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes a number, not a pointer.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    Errno::result(result).map(drop)
}

/// A zeroed struct ifreq with `name` and `index`.
fn interface_request(name: &str, index: i32) -> libc::ifreq {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_ifindex: index,
        },
    };
    let room = libc::IFNAMSIZ - 1;
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(room)) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    request
}

/// The name of network interface `index`, by SIOCGIFNAME on `socket` (netdevice(7)).
pub(crate) fn interface_name(socket: BorrowedFd<'_>, index: i32) -> Result<String, Errno> {
    let mut request = interface_request("", index);
    // SAFETY: SIOCGIFNAME reads and writes one struct ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNAME, &raw mut request) };
    Errno::result(result)?;
    let bytes = request.ifr_name.iter().take_while(|&&c| c != 0);
    let bytes: Vec<u8> = bytes.flat_map(|c| c.to_ne_bytes()).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Set the flags of `lo` to what they are: changes nothing, but needs CAP_NET_ADMIN.
pub(crate) fn set_loopback_flags(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut request = interface_request("lo", 0);
    // SAFETY: SIOCGIFFLAGS reads and writes one struct ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) };
    Errno::result(result)?;
    // SAFETY: SIOCSIFFLAGS reads one struct ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    Errno::result(result).map(drop)
}

/// The network namespace of `socket`, by SIOCGSKNS; needs CAP_NET_ADMIN there.
pub(crate) fn socket_namespace(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: SIOCGSKNS takes no argument and returns a descriptor.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS, 0) };
    owned(Errno::result(result)?.into())
}

/// The key serial of the session keyring, and of the user's.
pub(crate) const SESSION_KEYRING: i32 = -3;
/// The keyring that all processes of one user share.
pub(crate) const USER_KEYRING: i32 = -4;

/// keyctl(KEYCTL_READ): the payload of key `serial`, up to 64 bytes.
pub(crate) fn read_key(serial: i32) -> Result<Vec<u8>, Errno> {
    const KEYCTL_READ: c_long = 11;
    let mut payload = vec![0_u8; 64];
    let (start, room) = (payload.as_mut_ptr(), payload.len());
    // SAFETY: the kernel writes at most `room` bytes at `start`, which has as many.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_READ, serial, start, room) };
    let length = usize::try_from(Errno::result(result)?).unwrap_or(0);
    payload.truncate(length);
    Ok(payload)
}

/// keyctl(KEYCTL_UNLINK): take key `serial` out of `keyring`.
pub(crate) fn unlink_key(serial: i32, keyring: i32) -> Result<(), Errno> {
    const KEYCTL_UNLINK: i64 = 9;
    let args = [KEYCTL_UNLINK, serial.into(), keyring.into(), 0, 0];
    call_with_numbers(libc::SYS_keyctl, args).map(drop)
}

/// keyctl(KEYCTL_SEARCH): the serial of the key `description` of type "user" below `keyring`.
pub(crate) fn search_key(keyring: i32, description: &CStr) -> Result<i64, Errno> {
    const KEYCTL_SEARCH: c_long = 10;
    let (kind, name) = (c"user".as_ptr(), description.as_ptr());
    // SAFETY: two C strings, only read; nothing is linked.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SEARCH, keyring, kind, name, 0) };
    Errno::result(result)
}

/// keyctl(KEYCTL_SETPERM): who may do what with key `serial` (keyctl_setperm(3)).
pub(crate) fn set_key_permissions(serial: i32, permissions: u32) -> Result<(), Errno> {
    const KEYCTL_SETPERM: i64 = 5;
    let args = [KEYCTL_SETPERM, serial.into(), permissions.into(), 0, 0];
    call_with_numbers(libc::SYS_keyctl, args).map(drop)
}

/// keyctl(KEYCTL_GET_KEYRING_ID): the serial of a special keyring.
pub(crate) fn keyring_id(keyring: i32) -> Result<i64, Errno> {
    call_with_numbers(libc::SYS_keyctl, [0, keyring.into(), 0, 0, 0])
}

/// add_key(2): a key of type "user" in `keyring`; its serial.
pub(crate) fn add_key(description: &CStr, payload: &[u8], keyring: i32) -> Result<i32, Errno> {
    // SAFETY: two C strings and `payload.len()` bytes, all only read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            description.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            keyring,
        )
    };
    let serial = Errno::result(result)?;
    i32::try_from(serial).map_err(|_| Errno::EOVERFLOW)
}

/// request_key(2): the serial of the key `description` of type "user" in this process's keyrings.
pub(crate) fn request_key(description: &CStr) -> Result<i64, Errno> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: two C strings, only read, and no call-out text.
    let result = unsafe {
        libc::syscall(
            libc::SYS_request_key,
            c"user".as_ptr(),
            description.as_ptr(),
            none,
            0,
        )
    };
    Errno::result(result)
}

/// shmget(2): a new segment of one page, readable by its owner.
pub(crate) fn make_shared_memory(key: i32) -> Result<i32, Errno> {
    // SAFETY: shmget(2) takes numbers only.
    let id = unsafe { libc::shmget(key, 4096, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) };
    Errno::result(id)
}

/// shmget(2): the existing segment with `key`.
pub(crate) fn find_shared_memory(key: i32) -> Result<i32, Errno> {
    // SAFETY: shmget(2) takes numbers only.
    Errno::result(unsafe { libc::shmget(key, 0, 0) })
}

/// shmat(2) and shmdt(2): whether segment `id` can be mapped.
pub(crate) fn map_shared_memory(id: i32) -> Result<(), Errno> {
    // SAFETY: the kernel chooses the address, so no existing mapping is touched.
    let address = unsafe { libc::shmat(id, std::ptr::null(), libc::SHM_RDONLY) };
    if address.addr() == usize::MAX {
        return Err(Errno::last());
    }
    // SAFETY: `address` was mapped just above and nothing refers into it.
    Errno::result(unsafe { libc::shmdt(address) }).map(drop)
}

/// shmctl(IPC_RMID).
pub(crate) fn remove_shared_memory(id: i32) -> Result<(), Errno> {
    // SAFETY: IPC_RMID ignores the buffer.
    Errno::result(unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) }).map(drop)
}

/// semget(2): one new semaphore with `key`.
pub(crate) fn make_semaphore(key: i32) -> Result<i32, Errno> {
    // SAFETY: semget(2) takes numbers only.
    Errno::result(unsafe { libc::semget(key, 1, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) })
}

/// semget(2): the existing semaphores with `key`.
pub(crate) fn find_semaphore(key: i32) -> Result<i32, Errno> {
    // SAFETY: semget(2) takes numbers only.
    Errno::result(unsafe { libc::semget(key, 0, 0) })
}

/// semctl(IPC_RMID).
pub(crate) fn remove_semaphore(id: i32) -> Result<(), Errno> {
    // SAFETY: IPC_RMID takes no fourth argument.
    Errno::result(unsafe { libc::semctl(id, 0, libc::IPC_RMID) }).map(drop)
}

/// msgget(2): a new queue with `key`.
pub(crate) fn make_message_queue(key: i32) -> Result<i32, Errno> {
    // SAFETY: msgget(2) takes numbers only.
    Errno::result(unsafe { libc::msgget(key, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) })
}

/// msgget(2): the existing queue with `key`.
pub(crate) fn find_message_queue(key: i32) -> Result<i32, Errno> {
    // SAFETY: msgget(2) takes numbers only.
    Errno::result(unsafe { libc::msgget(key, 0) })
}

/// msgctl(IPC_RMID).
pub(crate) fn remove_message_queue(id: i32) -> Result<(), Errno> {
    // SAFETY: IPC_RMID ignores the buffer.
    Errno::result(unsafe { libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) }).map(drop)
}

/// Whether a POSIX queue is made or only looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum QueueAccess {
    /// Make it; it must be new.
    Create,
    /// It must exist.
    Find,
}

/// mq_open(3) of `name`, which starts with a slash.
pub(crate) fn open_queue(name: &CStr, access: QueueAccess) -> Result<OwnedFd, Errno> {
    let flags = match access {
        QueueAccess::Create => libc::O_RDWR | libc::O_CREAT | libc::O_EXCL,
        QueueAccess::Find => libc::O_RDONLY,
    };
    // SAFETY: a C string; without attributes the kernel takes its own.
    let queue = unsafe {
        libc::mq_open(
            name.as_ptr(),
            flags,
            0o600,
            std::ptr::null_mut::<libc::mq_attr>(),
        )
    };
    owned(Errno::result(queue)?.into())
}

/// mq_unlink(3).
pub(crate) fn remove_queue(name: &CStr) -> Result<(), Errno> {
    // SAFETY: a C string.
    Errno::result(unsafe { libc::mq_unlink(name.as_ptr()) }).map(drop)
}

/// A file handle: its type and bytes (name_to_handle_at(2)).
pub(crate) type Handle = (i32, Vec<u8>);

/// struct file_handle with the largest room that there is.
#[repr(C)]
struct RawHandle {
    bytes: u32,
    kind: i32,
    handle: [u8; 128],
}

/// name_to_handle_at(2): the handle of the file at `path`.
pub(crate) fn file_handle(path: &CStr) -> Result<Handle, Errno> {
    let mut raw = RawHandle {
        bytes: 128,
        kind: 0,
        handle: [0; 128],
    };
    let mut mount: libc::c_int = 0;
    // SAFETY: `raw` has the header and as many bytes as it announces; `mount` is one int.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut raw,
            &raw mut mount,
            0,
        )
    };
    Errno::result(result)?;
    let length = usize::try_from(raw.bytes).unwrap_or(0).min(128);
    Ok((raw.kind, raw.handle[..length].to_vec()))
}

/// open_by_handle_at(2): the file with `handle` on the file system of `mount`.
pub(crate) fn open_handle(mount: BorrowedFd<'_>, handle: &Handle) -> Result<OwnedFd, Errno> {
    let (kind, bytes) = handle;
    let mut raw = RawHandle {
        bytes: 0,
        kind: *kind,
        handle: [0; 128],
    };
    for (slot, &byte) in raw.handle.iter_mut().zip(bytes) {
        *slot = byte;
        raw.bytes += 1;
    }
    let mount = mount.as_raw_fd();
    // SAFETY: `raw` has the header and the bytes that it announces, only read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount,
            &raw mut raw,
            libc::O_RDONLY,
        )
    };
    owned(Errno::result(result)?)
}

/// The descriptors from 3 to 1023 that are open in this process.
pub(crate) fn open_descriptors() -> Vec<RawFd> {
    let open = |&fd: &RawFd| {
        // SAFETY: F_GETFD takes no argument and only reads.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        flags >= 0
    };
    (3..1024).filter(open).collect()
}

/// Close descriptor `fd` of a process that uses none any more.
pub(crate) fn close_descriptor(fd: RawFd) {
    // SAFETY: the only caller sleeps and then ends without touching a descriptor; a number that is
    // not open is refused.
    let _ = unsafe { libc::close(fd) };
}

/// capset(2) of CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN, effective and permitted.
pub(crate) fn raise_capabilities() -> Result<(), Errno> {
    const WANTED: u32 = 1 << 12 | 1 << 13 | 1 << 21;
    // _LINUX_CAPABILITY_VERSION_3, this process; then effective, permitted, inheritable, twice.
    let header = [0x2008_0522_u32, 0];
    let data = [WANTED, WANTED, 0, 0, 0, 0];
    // SAFETY: a header of 8 and data of 24 bytes, as version 3 has them; data is only read.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    Errno::result(result).map(drop)
}

/// prctl(PR_GET_SECUREBITS).
pub(crate) fn secure_bits() -> Result<i32, Errno> {
    // SAFETY: PR_GET_SECUREBITS takes no pointer.
    Errno::result(unsafe { libc::prctl(libc::PR_GET_SECUREBITS) })
}

/// getpid and socket(AF_VSOCK) by the i386 calling convention, which has numbers of its own.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(crate) enum I386Call {
    /// Call 20.
    Getpid = 20,
    /// Call 359, of AF_UNIX.
    Socket = 359,
}

/// Make a system call as 32-bit programs do, by `int 0x80` from 64-bit code.
///
/// A kernel without that convention kills the process by SIGSEGV.
#[cfg(target_arch = "x86_64")]
pub(crate) fn i386(call: I386Call) -> Result<i64, Errno> {
    let result: i64;
    // SAFETY: neither call takes a pointer (AF_UNIX, SOCK_STREAM, 0; getpid ignores them). rbx, which
    // the compiler keeps for itself, is put back; r8 to r11 are zeroed by some kernels and declared.
    unsafe {
        std::arch::asm!(
            "xchg {domain}, rbx",
            "int 0x80",
            "xchg {domain}, rbx",
            domain = inout(reg) i64::from(libc::AF_UNIX) => _,
            inlateout("rax") call as i64 => result,
            in("rcx") i64::from(libc::SOCK_STREAM),
            in("rdx") 0_i64,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    // The kernel answers in the low half.
    let result = i32::try_from(result << 32 >> 32).unwrap_or(0);
    if (-4095..0).contains(&result) {
        return Err(Errno::from_raw(-result));
    }
    Ok(result.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_listed_once() {
        let mut names: Vec<_> = [MOUNT_CALLS, SURFACE_CALLS, RING_CALLS]
            .iter()
            .flat_map(|table| table.iter().map(|call| call.name))
            .collect();
        let before = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), before);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn an_i386_getpid_is_a_getpid_where_the_kernel_has_it() {
        if i386(I386Call::Getpid) == Err(Errno::ENOSYS) {
            return;
        }
        assert_eq!(i386(I386Call::Getpid), Ok(i64::from(std::process::id())));
    }

    #[test]
    fn a_socket_ignores_the_upper_half_of_its_family() {
        // The reason why the filter has to compare 32 bits.
        assert!(socket(0xdead_0000_0001, 1, 0).is_ok());
    }
}
