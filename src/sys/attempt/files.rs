//! Files by handle (open_by_handle_at(2)), and the descriptors that are open.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::owned;

/// A file handle: its type and bytes (name_to_handle_at(2)).
pub(crate) type Handle = (i32, Vec<u8>);

/// struct file_handle with the largest room that there is.
#[repr(C)]
struct RawHandle {
    pub(super) bytes: u32,
    pub(super) kind: i32,
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
