//! Processes that share the launcher's memory until they execute something: clone3(2) with
//! `CLONE_VM` on a stack of their own.
//!
//! Sharing costs nothing however big the launcher is, where a copy costs its page tables
//! (`shared/performance.md`). Not `CLONE_VFORK`: the launcher goes on working while its children do.
//! The price is that what they use must stay where it is; [`Guests`] sees to that.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::c_void;
use std::io::Read;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::{child, raw};

/// Bytes of one child's stack. The deepest child path of a debug build uses a tenth of it.
const STACK: usize = 128 * 1024;
/// An inaccessible page below it, so that an overflow faults instead of overwriting the heap.
const GUARD: usize = 64 * 1024;

/// A stack for one child.
pub(crate) struct Stack(NonNull<c_void>);

// SAFETY: the mapping belongs to this value alone; an address may be used from any thread.
unsafe impl Send for Stack {}
// SAFETY: a shared `Stack` only tells its address and length.
unsafe impl Sync for Stack {}

impl Stack {
    /// Map a stack.
    ///
    /// Not async-signal-safe: maps memory; used before the clone.
    pub(crate) fn new() -> Result<Self, Errno> {
        let length = NonZeroUsize::MIN.saturating_add(GUARD + STACK - 1);
        // SAFETY: a new anonymous mapping at an address of the kernel's choosing replaces nothing.
        let base = unsafe {
            mmap_anonymous(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE | MapFlags::MAP_STACK | MapFlags::MAP_NORESERVE,
            )
        }?;
        let stack = Self(base);
        // SAFETY: the first `GUARD` bytes are inside the mapping just made, and nothing uses them.
        unsafe { mprotect(base, GUARD, ProtFlags::PROT_NONE) }?;
        Ok(stack)
    }

    /// Lowest usable address, as clone3 wants it.
    fn base(&self) -> u64 {
        self.0.as_ptr() as u64 + GUARD as u64
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping of `new`; [`Guests`] drops a stack only when no process runs
        // on it any more. A failure leaves address space behind, nothing else.
        let _ = unsafe { munmap(self.0, GUARD + STACK) };
    }
}

/// What a clone is to have of its own: `CLONE_*` flags for clone3(2).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    /// `CLONE_NEW*`.
    pub(crate) namespaces: u64,
    /// An open version 2 control group to start in.
    pub(crate) cgroup: Option<RawFd>,
    /// Namespaces to start in.
    pub(crate) join: Option<Join>,
}

/// Existing namespaces that the first process is made in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    /// The user namespace that owns the network, where that gives the right to join it.
    pub(crate) owner: Option<RawFd>,
    /// The network namespace.
    pub(crate) network: RawFd,
}

/// Why there is no first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotStarted {
    /// A namespace could not be joined.
    Join(Errno),
    /// The clone failed.
    Clone(Errno),
}

/// What children on shared memory use: the value and their stacks, and the pipe whose end of file
/// proves that they are gone (each holds the only other ends, close-on-exec).
///
/// Dropping it waits for that proof, then frees.
pub(crate) struct Guests<T: Sync + 'static> {
    shared: ManuallyDrop<Box<Shared<T>>>,
    report: std::fs::File,
    gone: bool,
}

/// The value, and a stack for each of the two processes.
pub(crate) struct Shared<T> {
    /// What the children read.
    pub(crate) value: T,
    /// The first process's stack.
    first: Stack,
    /// The second's.
    second: Stack,
}

impl<T: Sync + 'static> Guests<T> {
    /// Clone a process that runs `entry` on `value`, sharing this process's memory.
    ///
    /// `report` is the read end of a pipe; the write end must be open, close-on-exec, in the caller
    /// and be closed there right after (see [`Guests::read_report`]). Returns also the new process's
    /// pidfd and its pid.
    ///
    /// The caller blocks all signals around this call, so that no handler of the program's runs in
    /// the child.
    ///
    /// Not async-signal-safe: allocates.
    pub(crate) fn start(
        value: T,
        report: OwnedFd,
        flags: Flags,
        entry: fn(&'static Shared<T>) -> !,
    ) -> Result<(Self, OwnedFd, i32), NotStarted> {
        let shared = Box::new(Shared {
            value,
            first: Stack::new().map_err(NotStarted::Clone)?,
            second: Stack::new().map_err(NotStarted::Clone)?,
        });
        let mut pidfd: RawFd = -1;
        let mut arguments = arguments(&shared.first, flags);
        arguments.flags |= (libc::CLONE_PIDFD as u64) | CLONE_CLEAR_SIGHAND;
        arguments.pidfd = &raw mut pidfd as u64;
        let pointer = &raw const *shared;
        // SAFETY: the box's content stays where it is until `Drop` has seen the children gone, so a
        // reference to it may be given to them as if for ever.
        let seen: &'static Shared<T> = unsafe { &*pointer };
        let pid = match flags.join {
            None => {
                // SAFETY: `first` is a stack that nothing else uses, and `seen` outlives the child.
                unsafe { clone3(&arguments, entry, seen) }.map_err(NotStarted::Clone)?
            }
            Some(join) => start_within(join, arguments, entry, seen)?,
        };
        let guests = Self {
            shared: ManuallyDrop::new(shared),
            report: std::fs::File::from(report),
            gone: false,
        };
        // SAFETY: clone3 succeeded with CLONE_PIDFD, so it stored a new descriptor that is ours.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok((guests, pidfd, pid))
    }

    /// Readable when a child has written something, or all of them are gone.
    pub(crate) fn report(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }

    /// What the children wrote before all of them were gone or executing something else.
    ///
    /// The caller must have closed its own write end, or this waits for ever.
    pub(crate) fn read_report(&mut self, buffer: &mut Vec<u8>) -> std::io::Result<()> {
        if self.gone {
            return Ok(());
        }
        self.report.read_to_end(buffer)?;
        self.gone = true;
        Ok(())
    }

    /// One read of the same: waits no longer than until [`Guests::report`] is readable. Whether the
    /// children are gone.
    pub(crate) fn read_some(&mut self, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
        let mut bytes = [0; 64];
        while !self.gone {
            match self.report.read(&mut bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => {
                    let read = bytes.get(..read?).unwrap_or_default();
                    self.gone = read.is_empty();
                    buffer.extend_from_slice(read);
                    break;
                }
            }
        }
        Ok(self.gone)
    }

    /// The value.
    pub(crate) fn value(&self) -> &T {
        &self.shared.value
    }
}

impl<T: Sync + 'static> Drop for Guests<T> {
    fn drop(&mut self) {
        if self.read_report(&mut Vec::new()).is_ok() {
            // SAFETY: dropped once, here; end of file on the pipe proved that no child is left on
            // this memory. Otherwise it is leaked, which is safe.
            unsafe { ManuallyDrop::drop(&mut self.shared) };
        }
    }
}

impl<T: Sync + 'static> Shared<T> {
    /// From the first process: clone the second, which runs `entry` on the same value.
    ///
    /// Async-signal-safe: one system call.
    pub(crate) fn start_second(&'static self, entry: fn(&'static Self) -> !) -> Result<i32, Errno> {
        let mut arguments = arguments(&self.second, Flags::default());
        // To the init, which the first process becomes: it must see an end before any execve, too.
        arguments.exit_signal = libc::SIGCHLD as u64;
        // SAFETY: `second` is a stack for this process alone; `self` lives until both are gone.
        unsafe { clone3(&arguments, entry, self) }
    }
}

/// What the process that joins is to do, and what came of it.
struct Errand<T: Sync + 'static> {
    join: Join,
    arguments: libc::clone_args,
    entry: fn(&'static T) -> !,
    value: &'static T,
    /// The clone's result, as the system call gives it; 0 where it was not made.
    made: AtomicI32,
    /// Why it was not made: the errno of the join.
    refused: AtomicI32,
}

/// Clone the first process from inside other namespaces: a process that does nothing else joins them,
/// and the calling thread never leaves its own. The one made is the caller's child all the same.
///
/// Joining a user namespace cannot be undone, nor done at all in a program with threads (setns(2)).
fn start_within<T: Sync>(
    join: Join,
    mut arguments: libc::clone_args,
    entry: fn(&'static T) -> !,
    value: &'static T,
) -> Result<i32, NotStarted> {
    arguments.flags |= libc::CLONE_PARENT as u64;
    let errand = Errand {
        join,
        arguments,
        entry,
        value,
        made: AtomicI32::new(0),
        refused: AtomicI32::new(0),
    };
    let stack = Stack::new().map_err(NotStarted::Clone)?;
    let mut own = self::arguments(&stack, Flags::default());
    // Its descriptors are ours, so that the pidfd is.
    own.flags |= (libc::CLONE_VFORK | libc::CLONE_FILES) as u64;
    let pointer = &raw const errand;
    // SAFETY: with CLONE_VFORK, this thread goes on only once that process is gone; until then
    // `errand` and `stack` stay where they are.
    let seen: &'static Errand<T> = unsafe { &*pointer };
    // SAFETY: as above; `stack` is that process's alone.
    let pid = unsafe { clone3(&own, run_errand::<T>, seen) }.map_err(NotStarted::Clone)?;
    // It has ended: this takes it off the process table, and cannot fail but for that.
    let _ = waitid(
        Id::Pid(Pid::from_raw(pid)),
        WaitPidFlag::WEXITED | WaitPidFlag::__WALL,
    );
    match (
        errand.made.load(Ordering::Relaxed),
        errand.refused.load(Ordering::Relaxed),
    ) {
        (0, 0) => Err(NotStarted::Clone(Errno::ECHILD)),
        (0, errno) => Err(NotStarted::Join(Errno::from_raw(errno))),
        (pid, _) if pid > 0 => Ok(pid),
        (errno, _) => Err(NotStarted::Clone(Errno::from_raw(errno.wrapping_neg()))),
    }
}

/// Async-signal-safe: system calls and stores.
fn run_errand<T: Sync>(errand: &'static Errand<T>) -> ! {
    let Join { owner, network } = errand.join;
    let joined = match owner {
        Some(owner) => child::setns(owner, libc::CLONE_NEWUSER),
        None => Ok(()),
    }
    .and_then(|()| child::setns(network, libc::CLONE_NEWNET));
    match joined {
        Err(errno) => errand.refused.store(errno as i32, Ordering::Relaxed),
        Ok(()) => {
            // SAFETY: as in `Guests::start`, whose stack and value these are.
            let made = unsafe { clone3(&errand.arguments, errand.entry, errand.value) };
            let made = made.unwrap_or_else(|errno| (errno as i32).wrapping_neg());
            errand.made.store(made, Ordering::Relaxed);
        }
    }
    child::exit_now(0)
}

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

pub(super) fn arguments(stack: &Stack, flags: Flags) -> libc::clone_args {
    // SAFETY: `clone_args` is integers only; all zero means "nothing asked".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = (libc::CLONE_VM as u64) | flags.namespaces;
    arguments.stack = stack.base();
    arguments.stack_size = STACK as u64;
    // Exit signal 0: no SIGCHLD to a program that did not expect one, and no reaping behind our
    // back where it ignores SIGCHLD. Until execve(2), which makes the exit signal SIGCHLD.
    arguments.exit_signal = 0;
    if let Some(cgroup) = flags.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::try_from(cgroup).unwrap_or(u64::MAX);
    }
    arguments
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// clone3(2), the child continuing in `entry` on the stack that `arguments` names. Since Linux 5.5
/// (`CLONE_CLEAR_SIGHAND`), 5.7 (`CLONE_INTO_CGROUP`).
///
/// # Safety
/// The stack must be used by nothing else, and what `arguments` points to must be writable, until
/// the child has executed something or exited.
pub(super) unsafe fn clone3<T: Sync>(
    arguments: &libc::clone_args,
    entry: fn(&'static T) -> !,
    value: &'static T,
) -> Result<i32, Errno> {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the parent sees one system call that changes rax, rcx and r11. The child starts with
    // the same registers on a new, 16-byte aligned stack, calls `entry` with its argument in rdi
    // (the ABI that `trampoline` declares), and never comes back.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "mov rsi, r9",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") &raw const *arguments,
            in("rsi") size_of::<libc::clone_args>(),
            in("r8") entry,
            in("r9") &raw const *value,
            in("r12") trampoline::<T> as extern "C" fn(fn(&'static T) -> !, &'static T) -> !,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as for x86_64; the kernel preserves every register but x0.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x9",
            "mov x1, x10",
            "blr x11",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone3,
            inlateout("x0") &raw const *arguments as isize => result,
            in("x1") size_of::<libc::clone_args>(),
            in("x9") entry,
            in("x10") &raw const *value,
            in("x11") trampoline::<T> as extern "C" fn(fn(&'static T) -> !, &'static T) -> !,
        );
    }
    raw::decode(result).map(|pid| i32::try_from(pid).unwrap_or(i32::MAX))
}

#[expect(
    improper_ctypes_definitions,
    reason = "called by the assembly above only"
)]
extern "C" fn trampoline<T>(entry: fn(&'static T) -> !, value: &'static T) -> ! {
    entry(value)
}
