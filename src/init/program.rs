//! The sandbox's init: pid 1 inside, a program of its own that holds nothing worth stealing.
//!
//! Executed by the child from a sealed memfd ([`crate::init`]) with no capability and no
//! environment. Descriptor 0 is a `SOCK_SEQPACKET` socket to the supervisor, on which it reports what
//! becomes of the command (pid 2) and is told to let a stopped command go on; its end of file means that
//! the supervisor is gone. Descriptor 1 is the pipe on which it lets the command go, once it is confined
//! itself.
//!
//! It reaps, forwards signals that come from outside to the command, and ends when the command ends,
//! whereupon the kernel ends everything else in the pid namespace (pid_namespaces(7)).
//!
//! No libc, no heap, no panic: only the system calls that its own filter lists.

#![no_std]
#![no_main]

use core::arch::{asm, naked_asm};
use core::mem::{MaybeUninit, size_of};

const SUPERVISOR: usize = 0;
const GO: usize = 1;
/// The command is the second process of the namespace: the child checks that before it goes on.
const COMMAND: usize = 2;

/// What became of the command, as `src/supervise.rs` reads it: the kind and a wait(2) status.
const ENDED: i32 = 1;
const STOPPED: i32 = 2;
/// The init itself could not go on; the value is a negated errno.
const FAILED: i32 = 3;

/// The same on both architectures (signal(7)).
const SIGCHLD: i32 = 17;
const SIGCONT: i32 = 18;

mod call {
    //! System call numbers, which differ between the architectures.
    #[cfg(target_arch = "x86_64")]
    mod numbers {
        pub const READ: usize = 0;
        pub const WRITE: usize = 1;
        pub const KILL: usize = 62;
        pub const WAIT4: usize = 61;
        pub const PRCTL: usize = 157;
        pub const EXIT_GROUP: usize = 231;
        pub const PPOLL: usize = 271;
        pub const SIGNALFD4: usize = 289;
        pub const SIGACTION: usize = 13;
        pub const SIGPROCMASK: usize = 14;
        pub const SECCOMP: usize = 317;
        pub const CLOSE: usize = 3;
        pub const AUDIT_ARCH: u32 = 0xc000_003e;
    }
    #[cfg(target_arch = "aarch64")]
    mod numbers {
        pub const READ: usize = 63;
        pub const WRITE: usize = 64;
        pub const KILL: usize = 129;
        pub const WAIT4: usize = 260;
        pub const PRCTL: usize = 167;
        pub const EXIT_GROUP: usize = 94;
        pub const PPOLL: usize = 73;
        pub const SIGNALFD4: usize = 74;
        pub const SIGACTION: usize = 134;
        pub const SIGPROCMASK: usize = 135;
        pub const SECCOMP: usize = 277;
        pub const CLOSE: usize = 57;
        pub const AUDIT_ARCH: u32 = 0xc000_00b7;
    }
    pub use numbers::*;
}

fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: this program passes only numbers and pointers to locals that outlive the call.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, options(nostack));
    }
    result
}

/// The entry point: the kernel leaves no return address, so the stack is aligned by hand.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym main);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x29, xzr", "mov x30, xzr", "bl {main}", "brk 1", main = sym main);
}

extern "C" fn main() -> ! {
    confine_self();
    // Every signal, so that none is lost and none has its default action.
    let signals = u64::MAX;
    let fd = syscall(call::SIGNALFD4, usize::MAX, &raw const signals as usize, 8, 0o2_004_000, 0);
    let Ok(signal_fd) = usize::try_from(fd) else {
        end(FAILED, fd as i32);
    };
    install_filter();
    let go = 1_u8;
    syscall(call::WRITE, GO, &raw const go as usize, 1, 0, 0);
    syscall(call::CLOSE, GO, 0, 0, 0, 0);
    let mut command = Command { stopped: false, stops: 0 };
    loop {
        let mut fds = [PollFd::new(signal_fd), PollFd::new(SUPERVISOR)];
        syscall(call::PPOLL, &raw mut fds as usize, 2, 0, 0, 8);
        if fds[1].revents != 0 {
            take_answer(&mut command);
        }
        take_signals(signal_fd);
        reap(&mut command);
    }
}

/// The command, as far as wait4(2) has told.
struct Command {
    stopped: bool,
    /// How often it was stopped: the number of its last stop, as the supervisor counts them too.
    stops: u32,
}

#[repr(C)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

impl PollFd {
    fn new(fd: usize) -> Self {
        const POLLIN: i16 = 1;
        Self { fd: fd as i32, events: POLLIN, revents: 0 }
    }
}

/// Not dumpable, so that the command, which has the same user, cannot open `/proc/1/mem` or trace
/// this process; all signals blocked; SIGCHLD not ignored, or the kernel would reap for us.
fn confine_self() {
    const PR_SET_DUMPABLE: usize = 4;
    const PR_SET_NAME: usize = 15;
    if syscall(call::PRCTL, PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 {
        end(FAILED, -1);
    }
    syscall(call::PRCTL, PR_SET_NAME, c"sandbox-init".as_ptr() as usize, 0, 0, 0);
    let default = [0_usize; 4];
    syscall(call::SIGACTION, SIGCHLD as usize, &raw const default as usize, 0, 8, 0);
    let all = u64::MAX;
    syscall(call::SIGPROCMASK, 2, &raw const all as usize, 0, 8, 0);
}

/// The supervisor's word that the command may go on from the stop with this number, or 0 for any; at its
/// end of file this process ends, and everything with it.
///
/// A number, because the answer to one stop may come when the command has gone on already, with its
/// process group, and was stopped again: that stop is not the one meant.
fn take_answer(command: &mut Command) {
    let mut stop = 0_u32;
    let size = size_of::<u32>();
    if syscall(call::READ, SUPERVISOR, &raw mut stop as usize, size, 0, 0) != size as isize {
        syscall(call::EXIT_GROUP, 137, 0, 0, 0, 0);
    }
    reap(command);
    if command.stopped && (stop == 0 || stop == command.stops) {
        syscall(call::KILL, COMMAND, SIGCONT as usize, 0, 0, 0);
    }
}

/// Read one pending signal; pass it on to the command if it was sent from outside.
///
/// A terminal's signals (SI_KERNEL) went to the whole foreground process group: the command has had
/// them already, unless it has left that group, and then it is not meant. What processes of the sandbox
/// send to pid 1 is none of the command's business either: `ssi_pid` is 0 only for an outside sender.
fn take_signals(signal_fd: usize) {
    // struct signalfd_siginfo (signalfd(2)), 128 bytes: signo, errno, code, pid, …
    let mut info = MaybeUninit::<[i32; 32]>::uninit();
    let size = size_of::<[i32; 32]>();
    let got = syscall(call::READ, signal_fd, info.as_mut_ptr() as usize, size, 0, 0);
    if got != size as isize {
        return;
    }
    // SAFETY: the read has filled all 128 bytes.
    let info = unsafe { info.assume_init_ref() };
    let (signal, code, sender) = (info[0], info[2], info[3]);
    // SI_USER is 0, SI_QUEUE -1, SI_TKILL -6; the kernel's own codes are positive.
    if signal == SIGCHLD || code > 0 || sender != 0 {
        return;
    }
    // A shell resumes a whole process group, this process with it. The command is resumed when the
    // supervisor says so, once it has given it the terminal.
    if signal == SIGCONT {
        return;
    }
    syscall(call::KILL, COMMAND, signal as usize, 0, 0, 0);
}

/// Collect every process that has ended, stopped or gone on. The command's fate is the supervisor's to
/// know.
fn reap(command: &mut Command) {
    const WNOHANG: usize = 1;
    const WUNTRACED: usize = 2;
    const WCONTINUED: usize = 8;
    const CONTINUED: i32 = 0xffff;
    loop {
        let mut status = 0_i32;
        let pid = syscall(
            call::WAIT4,
            usize::MAX,
            &raw mut status as usize,
            WNOHANG | WUNTRACED | WCONTINUED,
            0,
            0,
        );
        if pid <= 0 {
            return;
        }
        if pid != COMMAND as isize {
            continue;
        }
        command.stopped = status & 0xff == 0x7f;
        if command.stopped {
            command.stops = command.stops.wrapping_add(1);
            tell(STOPPED, status);
        } else if status != CONTINUED {
            end(ENDED, status);
        }
    }
}

fn tell(kind: i32, value: i32) {
    let record = [kind, value];
    syscall(call::WRITE, SUPERVISOR, &raw const record as usize, size_of::<[i32; 2]>(), 0, 0);
}

fn end(kind: i32, value: i32) -> ! {
    tell(kind, value);
    loop {
        syscall(call::EXIT_GROUP, 0, 0, 0, 0, 0);
    }
}

#[repr(C)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    k: u32,
}

const LOAD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Only what the loop above uses; anything else is the end of the sandbox.
static FILTER: [Instruction; 12] = {
    const fn load(offset: u32) -> Instruction {
        Instruction { code: LOAD, jump_true: 0, jump_false: 0, k: offset }
    }
    const fn jump(k: u32, jump_true: u8, jump_false: u8) -> Instruction {
        Instruction { code: JUMP_IF_EQUAL, jump_true, jump_false, k }
    }
    const fn give(verdict: u32) -> Instruction {
        Instruction { code: RETURN, jump_true: 0, jump_false: 0, k: verdict }
    }
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const KILL_PROCESS: u32 = 0x8000_0000;
    const ALLOW: u32 = 0x7fff_0000;
    [
        load(ARCHITECTURE),
        jump(call::AUDIT_ARCH, 0, 8),
        load(NUMBER),
        jump(call::WAIT4 as u32, 7, 0),
        jump(call::PPOLL as u32, 6, 0),
        jump(call::READ as u32, 5, 0),
        jump(call::WRITE as u32, 4, 0),
        jump(call::KILL as u32, 3, 0),
        jump(call::CLOSE as u32, 2, 0),
        jump(call::EXIT_GROUP as u32, 1, 0),
        give(KILL_PROCESS),
        give(ALLOW),
    ]
};

fn install_filter() {
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const Instruction,
    }
    const SET_MODE_FILTER: usize = 1;
    let program = Program { length: FILTER.len() as u16, filter: FILTER.as_ptr() };
    let result = syscall(call::SECCOMP, SET_MODE_FILTER, 0, &raw const program as usize, 0, 0);
    if result != 0 {
        end(FAILED, result as i32);
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        syscall(call::EXIT_GROUP, 125, 0, 0, 0, 0);
    }
}
