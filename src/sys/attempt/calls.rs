//! Calls that no command in a sandbox needs, as tables with harmless arguments.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::{CStr, c_long};

use Arg::{Int, Null, Text};
use nix::errno::Errno;

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
pub(super) fn call_with_numbers(number: c_long, args: [i64; 5]) -> Result<i64, Errno> {
    let [a, b, c, d, e] = args;
    // SAFETY: the callers, all below, pass calls whose arguments are numbers or descriptors only.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    Errno::result(result)
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
}
