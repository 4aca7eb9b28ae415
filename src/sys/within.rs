//! System calls made inside other namespaces, by a process that does nothing else: what comes of
//! them, descriptors, is the caller's, and no thread of the caller ever leaves its own namespaces.
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
    /// The caller's own: nothing is joined.
    Own,
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
    calls: [Option<Call<'a>>; MOST],
    /// The descriptors; -1 where there is none.
    made: [AtomicI32; MOST],
    /// Why the namespaces were not had; 0 where they were.
    refused: AtomicI32,
    /// Why a call failed.
    failed: AtomicI32,
}

/// The most calls that one process makes.
const MOST: usize = 2;

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
    let [made, _] = make(owner, network, [Some(call), None])?;
    made.ok_or(Refused::Process(Errno::ECHILD))
}

/// The same for two calls, one after the other: both or none.
pub(crate) fn both_within(
    owner: Option<BorrowedFd<'_>>,
    network: Network<'_>,
    calls: [Call<'_>; MOST],
) -> Result<[OwnedFd; MOST], Refused> {
    match make(owner, network, calls.map(Some))? {
        [Some(first), Some(second)] => Ok([first, second]),
        _ => Err(Refused::Process(Errno::ECHILD)),
    }
}

fn make(
    owner: Option<BorrowedFd<'_>>,
    network: Network<'_>,
    calls: [Option<Call<'_>>; MOST],
) -> Result<[Option<OwnedFd>; MOST], Refused> {
    let errand: Errand<'_> = Errand {
        owner: owner.map(|owner| owner.as_raw_fd()),
        network,
        calls,
        made: [AtomicI32::new(-1), AtomicI32::new(-1)],
        refused: AtomicI32::new(0),
        failed: AtomicI32::new(0),
    };
    let pointer = (&raw const errand).cast::<Errand<'static>>();
    // SAFETY: `in_a_process` returns once nobody uses it any more; until then `errand` and all that it
    // borrows stay where they are.
    let seen = unsafe { &*pointer };
    in_a_process(0, run, seen).map_err(Refused::Process)?;
    // Owned before anything is decided: of two calls the first may have succeeded alone.
    let made = errand.made.each_ref().map(|made| {
        let made = made.load(Ordering::Relaxed);
        (made >= 0).then(|| {
            // SAFETY: that process made this descriptor in the table that it shared with us, and has
            // ended: nothing else owns it.
            unsafe { OwnedFd::from_raw_fd(made) }
        })
    });
    let refused = errand.refused.load(Ordering::Relaxed);
    let failed = errand.failed.load(Ordering::Relaxed);
    match (refused, failed) {
        (0, 0) => Ok(made),
        (0, failed) => Err(Refused::Call(Errno::from_raw(failed))),
        (refused, _) => Err(Refused::Namespace(Errno::from_raw(refused))),
    }
}

/// Run `entry` on `value` in a process that shares this one's memory and descriptors, with the namespaces
/// of `flags` (`CLONE_NEW*`) of its own, and wait for its end.
///
/// `entry` ends the process, and until then does no more than system calls and stores.
fn in_a_process<T: Sync>(
    flags: libc::c_int,
    entry: fn(&'static T) -> !,
    value: &T,
) -> Result<(), Errno> {
    let stack = Stack::new()?;
    let mut arguments = arguments(&stack, Flags::default());
    arguments.flags |= (libc::CLONE_VFORK | libc::CLONE_FILES | flags) as u64;
    let pointer = &raw const *value;
    // SAFETY: with CLONE_VFORK, this thread goes on only once that process is gone; until then `value`
    // and all that it borrows stay where they are.
    let seen: &'static T = unsafe { &*pointer };
    let mask = parent::block_all_signals()?;
    // SAFETY: as above; `stack` is that process's alone.
    let cloned = unsafe { clone3(&arguments, entry, seen) };
    let restored = parent::swap_signal_mask(mask);
    let pid = cloned?;
    // It has ended: this takes it off the process table, and cannot fail but for that.
    let _ = waitid(
        Id::Pid(Pid::from_raw(pid)),
        WaitPidFlag::WEXITED | WaitPidFlag::__WALL,
    );
    restored.map(drop)
}

/// A fresh user namespace in which `uid` and `gid`, the caller's own, are themselves.
///
/// Not async-signal-safe: allocates, maps memory, uses libc's errno.
pub(crate) fn make_user_namespace(uid: u32, gid: u32) -> Result<OwnedFd, Errno> {
    let founding = Founding {
        uid_map: format!("{uid} {uid} 1"),
        gid_map: format!("{gid} {gid} 1"),
        made: AtomicI32::new(-1),
        failed: AtomicI32::new(0),
    };
    in_a_process(libc::CLONE_NEWUSER, found, &founding)?;
    match founding.made.load(Ordering::Relaxed) {
        // SAFETY: that process made this descriptor in the table that it shared with us, and has ended:
        // nothing else owns it.
        made if made >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(made) }),
        _ => Err(Errno::from_raw(founding.failed.load(Ordering::Relaxed))),
    }
}

/// A user namespace to be made, and what came of it.
struct Founding {
    uid_map: String,
    gid_map: String,
    made: AtomicI32,
    failed: AtomicI32,
}

/// In the first process of the user namespace. Async-signal-safe: system calls and stores.
fn found(founding: &'static Founding) -> ! {
    let made = child::write_file(c"/proc/self/setgroups", b"deny")
        .and_then(|()| child::write_file(c"/proc/self/uid_map", founding.uid_map.as_bytes()))
        .and_then(|()| child::write_file(c"/proc/self/gid_map", founding.gid_map.as_bytes()))
        .and_then(|()| child::open(c"/proc/self/ns/user", libc::O_RDONLY));
    match made {
        Ok(descriptor) => founding.made.store(descriptor, Ordering::Relaxed),
        Err(errno) => founding.failed.store(errno as i32, Ordering::Relaxed),
    }
    child::exit_now(0)
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
        Network::Own => Ok(()),
    });
    if let Err(errno) = entered {
        errand.refused.store(errno as i32, Ordering::Relaxed);
        child::exit_now(0)
    }
    for (call, made) in errand.calls.iter().zip(&errand.made) {
        let descriptor = match *call {
            None => break,
            Some(Call::Socket {
                family,
                kind,
                protocol,
            }) => child::make_socket(family, kind | libc::SOCK_CLOEXEC, protocol),
            Some(Call::Open { path, flags }) => child::open(path, flags | libc::O_CLOEXEC),
        };
        match descriptor {
            Ok(descriptor) => made.store(descriptor, Ordering::Relaxed),
            Err(errno) => {
                errand.failed.store(errno as i32, Ordering::Relaxed);
                break;
            }
        }
    }
    child::exit_now(0)
}
