//! Capabilities and securebits.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use nix::errno::Errno;

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
