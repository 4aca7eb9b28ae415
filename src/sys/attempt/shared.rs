//! Shared memory, semaphores and message queues (sysvipc(7), mq_overview(7)).
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::owned;

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
