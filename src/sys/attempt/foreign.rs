//! Calls by another convention, of a later kernel, or that no filter sees.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::c_long;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::calls::call_with_numbers;
use super::owned;

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

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn an_i386_getpid_is_a_getpid_where_the_kernel_has_it() {
        if i386(I386Call::Getpid) == Err(Errno::ENOSYS) {
            return;
        }
        assert_eq!(i386(I386Call::Getpid), Ok(i64::from(std::process::id())));
    }
}
