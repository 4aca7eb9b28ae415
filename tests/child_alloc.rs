//! The child allocates nothing between the clone and the command: an allocator that aborts in any
//! process but this one stands guard. The children share its memory, so they would meet it.
//!
//! The one step that only a broker's sandbox has, receiving its connection, is tried likewise where a
//! broker's keeper can be had: `src/broker/keeper/tests.rs`.
#![expect(unsafe_code, reason = "a global allocator, and a fork for the control")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, getpid};
use sandbox::{Net, Policy, Sandbox};

struct Guarded;

/// The one process that may allocate; 0 until a test has said which.
static OWNER: AtomicI32 = AtomicI32::new(0);

impl Guarded {
    fn check() {
        let owner = OWNER.load(Ordering::Relaxed);
        // getpid(2) is no more than the system call: in a pid namespace the children are 1 and 2.
        if owner != 0 && getpid().as_raw() != owner {
            std::process::abort();
        }
    }
}

// SAFETY: every call is the system allocator's, unchanged.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::check();
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::check();
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Guarded = Guarded;

#[test]
fn no_step_allocates_in_the_child() {
    OWNER.store(getpid().as_raw(), Ordering::Relaxed);
    for profile in ["default", "strict", "worker", "build", "agent"] {
        let policy = Policy::built_in(profile).unwrap();
        let (reader, _writer) = nix::unistd::pipe().unwrap();
        let has_loopback = policy.network == Net::Loopback;
        let mut sandbox = Sandbox::new("/bin/sh");
        sandbox
            .args(["-c", "exit 7"])
            .policy(policy)
            .current_dir("/")
            .hostname("inside")
            .private_tmp()
            .hide("/etc/hostname")
            .read_only("/etc")
            .read_write("/usr")
            .pass_fd(reader);
        if has_loopback {
            sandbox.allow("192.0.2.1:443,8000-8099").unwrap();
        }
        sandbox.limit("nofile", "64").unwrap();
        assert_eq!(sandbox.status().unwrap().code(), Some(7), "{profile}");
    }
    // A failing step, too, is reported without an allocation.
    let mut sandbox = Sandbox::new("/bin/true");
    sandbox.current_dir("/nonexistent").net(Net::Loopback);
    assert!(sandbox.spawn().unwrap_err().failed_step().is_some());
}

#[test]
fn the_guard_springs() {
    OWNER.store(getpid().as_raw(), Ordering::Relaxed);
    // SAFETY: the child allocates, which is the point, and is ended by that; it takes no lock first.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            drop(std::hint::black_box(Box::new(1_u64)));
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).unwrap();
            assert!(
                matches!(
                    status,
                    WaitStatus::Signaled(_, nix::sys::signal::SIGABRT, _)
                ),
                "{status:?}"
            );
        }
    }
}
