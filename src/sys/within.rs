//! One system call made inside other namespaces, by a process that does nothing else: what comes of
//! it, a descriptor, is the caller's, and no thread of the caller ever leaves its own namespaces.
//!
//! A process and not a thread, because a user namespace cannot be joined in a program with threads
//! (setns(2)); sharing memory and descriptors, so that it costs some ten microseconds.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::clone::{Flags, Stack, arguments, clone3};
use super::{child, parent};

/// The network namespace to make the call in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Network<'a> {
    /// An existing one.
    Of(BorrowedFd<'a>),
    /// A fresh one.
    Fresh,
}

/// The call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call<'a> {
    /// socket(2), close-on-exec.
    Socket {
        /// `AF_*`.
        family: i32,
        /// `SOCK_*`.
        kind: i32,
        /// The protocol.
        protocol: i32,
    },
    /// open(2), close-on-exec.
    Open {
        /// The file.
        path: &'a CStr,
        /// `O_*`.
        flags: i32,
    },
}

/// Why there is no descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no process for it.
    Process(Errno),
    /// The namespaces could not be had.
    Namespace(Errno),
    /// The call failed.
    Call(Errno),
}

impl Refused {
    /// The kernel's reason.
    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::Process(errno) | Self::Namespace(errno) | Self::Call(errno) => errno,
        }
    }
}

/// What the process is to do, and what came of it.
struct Errand<'a> {
    owner: Option<RawFd>,
    network: Network<'a>,
    call: Call<'a>,
    /// The descriptor; -1 where there is none.
    made: AtomicI32,
    /// Why the namespaces were not had; 0 where they were.
    refused: AtomicI32,
    /// Why the call failed.
    failed: AtomicI32,
}

/// Make `call` in `network`, after joining the user namespace `owner`.
///
/// With an owner, this process's memory may be undumpable afterwards (prctl(2)).
///
/// Not async-signal-safe: maps memory, uses libc's errno.
pub(crate) fn within(
    owner: Option<BorrowedFd<'_>>,
    network: Network<'_>,
    call: Call<'_>,
) -> Result<OwnedFd, Refused> {
    let errand = Errand {
        owner: owner.map(|owner| owner.as_raw_fd()),
        network,
        call,
        made: AtomicI32::new(-1),
        refused: AtomicI32::new(0),
        failed: AtomicI32::new(0),
    };
    let stack = Stack::new().map_err(Refused::Process)?;
    let mut arguments = arguments(&stack, Flags::default());
    arguments.flags |= (libc::CLONE_VFORK | libc::CLONE_FILES) as u64;
    let pointer = (&raw const errand).cast::<Errand<'static>>();
    // SAFETY: with CLONE_VFORK, this thread goes on only once that process is gone; until then
    // `errand` and all that it borrows stay where they are.
    let seen: &'static Errand<'static> = unsafe { &*pointer };
    let mask = parent::block_all_signals().map_err(Refused::Process)?;
    // SAFETY: as above; `stack` is that process's alone.
    let cloned = unsafe { clone3(&arguments, run, seen) };
    let restored = parent::swap_signal_mask(mask).map_err(Refused::Process);
    let pid = cloned.map_err(Refused::Process)?;
    // It has ended: this takes it off the process table, and cannot fail but for that.
    let _ = waitid(
        Id::Pid(Pid::from_raw(pid)),
        WaitPidFlag::WEXITED | WaitPidFlag::__WALL,
    );
    let made = errand.made.load(Ordering::Relaxed);
    let made = (made >= 0).then(|| {
        // SAFETY: that process made this descriptor in the table that it shared with us, and has
        // ended: nothing else owns it.
        unsafe { OwnedFd::from_raw_fd(made) }
    });
    restored?;
    let refused = errand.refused.load(Ordering::Relaxed);
    let failed = errand.failed.load(Ordering::Relaxed);
    match made {
        Some(descriptor) => Ok(descriptor),
        None if refused != 0 => Err(Refused::Namespace(Errno::from_raw(refused))),
        None if failed != 0 => Err(Refused::Call(Errno::from_raw(failed))),
        None => Err(Refused::Process(Errno::ECHILD)),
    }
}

/// Async-signal-safe: system calls and stores.
fn run(errand: &'static Errand<'static>) -> ! {
    let entered = match errand.owner {
        Some(owner) => child::setns(owner, libc::CLONE_NEWUSER),
        None => Ok(()),
    }
    .and_then(|()| match errand.network {
        Network::Of(network) => child::setns(network.as_raw_fd(), libc::CLONE_NEWNET),
        Network::Fresh => child::unshare_network(),
    });
    if let Err(errno) = entered {
        errand.refused.store(errno as i32, Ordering::Relaxed);
        child::exit_now(0)
    }
    let made = match errand.call {
        Call::Socket {
            family,
            kind,
            protocol,
        } => child::make_socket(family, kind | libc::SOCK_CLOEXEC, protocol),
        Call::Open { path, flags } => child::open(path, flags | libc::O_CLOEXEC),
    };
    match made {
        Ok(descriptor) => errand.made.store(descriptor, Ordering::Relaxed),
        Err(errno) => errand.failed.store(errno as i32, Ordering::Relaxed),
    }
    child::exit_now(0)
}
