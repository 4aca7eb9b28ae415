//! The system-call instruction itself, for code that may touch nothing of libc.
//!
//! libc's wrappers report through the thread-local `errno`. The child of a launch runs on its
//! launcher's thread-local storage at the same time as the launcher's own thread, so it may not.
//! Calling conventions: syscall(2), "Architecture calling conventions".
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::arch::asm;

use nix::errno::Errno;

/// Issue system call `number` with six arguments; a call with fewer ignores the rest.
///
/// Async-signal-safe: one instruction, no libc.
///
/// # Safety
/// As for that system call: every argument that it takes as a pointer must be valid for it.
#[inline]
pub(super) unsafe fn syscall6(number: libc::c_long, a: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the arguments; rcx and r11 are the only other registers that
    // the instruction changes, and both are declared.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller vouches for the arguments; the kernel preserves every register but x0.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a[0] as isize => result,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5],
            options(nostack),
        );
    }
    decode(result)
}

/// A raw result word as the kernel means it: -4095..=-1 is a negated errno.
#[expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "the ranges are those of the system-call convention"
)]
pub(super) fn decode(result: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&result) {
        return Err(Errno::from_raw(result.wrapping_neg() as i32));
    }
    Ok(result as usize)
}

/// A descriptor or another C `int` as a system-call argument.
#[expect(
    clippy::cast_sign_loss,
    reason = "the kernel reads the low 32 bits back as an int"
)]
pub(super) fn int(value: i32) -> usize {
    value as isize as usize
}
