//! For tests: an allocator that, once armed, aborts any process of a sandbox that allocates. The
//! children of a launch share the test's memory until they execute, so they would meet it.
#![expect(unsafe_code, reason = "a global allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

struct Guarded;

static ARMED: AtomicBool = AtomicBool::new(false);

/// From now on, whoever is first or second in its pid namespace allocates nothing.
pub(crate) fn arm() {
    ARMED.store(true, Ordering::Relaxed);
}

fn check() {
    if ARMED.load(Ordering::Relaxed) && super::child::getpid() <= 2 {
        std::process::abort();
    }
}

// SAFETY: every call is the system allocator's, unchanged.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        check();
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Guarded = Guarded;
