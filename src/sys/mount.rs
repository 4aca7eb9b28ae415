//! Mount system calls of the child; async-signal-safe, like all of [`super::child`].
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::ptr;

use nix::errno::Errno;

use super::raw::{int, syscall6};

fn address(string: Option<&CStr>) -> usize {
    string.map_or(ptr::null(), CStr::as_ptr) as usize
}

/// mount(2).
pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    data: Option<&CStr>,
) -> Result<(), Errno> {
    let arguments = [
        address(source),
        address(Some(target)),
        address(kind),
        flags as usize,
        address(data),
        0,
    ];
    // SAFETY: every string ends with a NUL or is null, which mount(2) allows for all but the target.
    unsafe { syscall6(libc::SYS_mount, arguments) }.map(drop)
}

/// open_tree(2) with `OPEN_TREE_CLONE`: a detached copy of the mount at `path`, to be attached
/// elsewhere. Since Linux 5.2.
pub(crate) fn copy_tree(path: &CStr, depth: Depth) -> Result<RawFd, Errno> {
    copy(path, depth.flag())
}

fn copy(path: &CStr, flags: i32) -> Result<RawFd, Errno> {
    const OPEN_TREE_CLONE: i32 = 1;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC | flags;
    let arguments = [
        int(libc::AT_FDCWD),
        address(Some(path)),
        int(flags),
        0,
        0,
        0,
    ];
    // SAFETY: `path` ends with a NUL.
    unsafe { syscall6(libc::SYS_open_tree, arguments) }
        .and_then(|fd| RawFd::try_from(fd).map_err(|_| Errno::EBADF))
}

/// The same of the very entry at `path`, a symbolic link too, with everything mounted below it.
pub(crate) fn copy_entry(path: &CStr) -> Result<RawFd, Errno> {
    copy(path, libc::AT_SYMLINK_NOFOLLOW | Depth::Recursive.flag())
}

/// move_mount(2): attach the detached tree `from` at `to`. Since Linux 5.2.
pub(crate) fn attach_tree(from: RawFd, to: &CStr) -> Result<(), Errno> {
    const MOVE_MOUNT_F_EMPTY_PATH: usize = 4;
    let arguments = [
        int(from),
        address(Some(c"")),
        int(libc::AT_FDCWD),
        address(Some(to)),
        MOVE_MOUNT_F_EMPTY_PATH,
        0,
    ];
    // SAFETY: both strings end with a NUL.
    unsafe { syscall6(libc::SYS_move_mount, arguments) }.map(drop)
}

/// How far a mount operation reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// This mount alone.
    One,
    /// And every mount below it.
    Recursive,
}

impl Depth {
    fn flag(self) -> i32 {
        const AT_RECURSIVE: i32 = 0x8000;
        match self {
            Self::One => 0,
            Self::Recursive => AT_RECURSIVE,
        }
    }
}

/// Whether writing through a mount is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading only.
    ReadOnly,
    /// Writing too.
    ReadWrite,
}

/// mount_setattr(2) on an open tree, or on the mount at `path` where `tree` is `AT_FDCWD`.
/// Since Linux 5.12.
pub(crate) fn set_access(
    tree: RawFd,
    path: &CStr,
    depth: Depth,
    access: Access,
) -> Result<(), Errno> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
    let attributes: [u64; 4] = match access {
        Access::ReadOnly => [MOUNT_ATTR_RDONLY, 0, 0, 0],
        Access::ReadWrite => [0, MOUNT_ATTR_RDONLY, 0, 0],
    };
    let empty = if path.is_empty() {
        libc::AT_EMPTY_PATH
    } else {
        0
    };
    let arguments = [
        int(tree),
        address(Some(path)),
        int(depth.flag() | empty),
        &raw const attributes as usize,
        size_of_val(&attributes),
        0,
    ];
    // SAFETY: `attributes` has the layout and the length that are given; `path` ends with a NUL.
    unsafe { syscall6(libc::SYS_mount_setattr, arguments) }.map(drop)
}

/// mkdirat(2).
pub(crate) fn mkdir(path: &CStr, mode: u32) -> Result<(), Errno> {
    let arguments = [
        int(libc::AT_FDCWD),
        address(Some(path)),
        mode as usize,
        0,
        0,
        0,
    ];
    // SAFETY: `path` ends with a NUL.
    unsafe { syscall6(libc::SYS_mkdirat, arguments) }.map(drop)
}

/// mknodat(2) of an empty regular file: something to mount over.
pub(crate) fn make_file(path: &CStr) -> Result<(), Errno> {
    let mode = (libc::S_IFREG | 0o444) as usize;
    let arguments = [int(libc::AT_FDCWD), address(Some(path)), mode, 0, 0, 0];
    // SAFETY: `path` ends with a NUL.
    unsafe { syscall6(libc::SYS_mknodat, arguments) }.map(drop)
}

/// symlinkat(2).
pub(crate) fn symlink(target: &CStr, path: &CStr) -> Result<(), Errno> {
    let arguments = [
        address(Some(target)),
        int(libc::AT_FDCWD),
        address(Some(path)),
        0,
        0,
        0,
    ];
    // SAFETY: both strings end with a NUL.
    unsafe { syscall6(libc::SYS_symlinkat, arguments) }.map(drop)
}
