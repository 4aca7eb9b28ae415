//! System calls as a hostile program makes them: odd families, garbage in upper halves, foreign
//! calling conventions, and the list of calls that nobody in a sandbox needs.
//!
//! Used by [`crate::selftest`] only, in processes made for one attempt each; never in a launch.
//! Every wrapper is safe for whatever its types allow, and does no harm outside a sandbox either:
//! what would change the host is aimed at something that does not exist, so that the errno tells
//! how far the kernel let the call come.
//!
//! One file for each sort of thing that is reached for; [`calls`] is the list.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

mod calls;
mod files;
mod foreign;
mod keys;
mod privilege;
mod processes;
mod shared;
mod sockets;
mod terminal;

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

pub(crate) use self::calls::{Call, Control, MOUNT_CALLS, RING_CALLS, SURFACE_CALLS, try_call};
pub(crate) use self::files::{
    Handle, close_descriptor, file_handle, open_descriptors, open_handle,
};
pub(crate) use self::foreign::{I386Call, call_from_the_future, i386, io_uring_setup, x32_getpid};
pub(crate) use self::keys::{
    SESSION_KEYRING, USER_KEYRING, add_key, keyring_id, read_key, request_key, search_key,
    set_key_permissions, unlink_key,
};
pub(crate) use self::privilege::{raise_capabilities, secure_bits};
pub(crate) use self::processes::{CloneCall, clone_with, fork, pidfd_getfd, pidfd_open};
pub(crate) use self::shared::{
    QueueAccess, find_message_queue, find_semaphore, find_shared_memory, make_message_queue,
    make_semaphore, make_shared_memory, map_shared_memory, open_queue, remove_message_queue,
    remove_queue, remove_semaphore, remove_shared_memory,
};
pub(crate) use self::sockets::{
    interface_name, set_loopback_flags, socket, socket_namespace, socketpair,
};
pub(crate) use self::terminal::{TerminalRequest, UpperHalf, take_terminal, terminal_ioctl};

fn owned(result: i64) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(result).map_err(|_| Errno::EBADF)?;
    // SAFETY: the callers pass what a call that makes a descriptor has just returned; nothing else
    // owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
