//! The binary's entry: C's `main`, so that nothing runs before ours.
//!
//! Rust's run-time would set SIGPIPE to ignored, open `/dev/null` on closed descriptors 0 to 2 and
//! install a handler for stack overflows. The command would inherit the first, the launch has to see
//! the second as it is, and the third is time lost. Part of the binary, not of the library: a
//! library with a `main` could not be linked into another program.
#![expect(unsafe_code, reason = "the fence: the symbol that the C library calls")]

use std::ffi::{c_char, c_int};

/// Called by the C library with the process's arguments.
///
/// They are not read here: `std::env::args_os` has them, because glibc hands them to the standard
/// library's constructor too.
// SAFETY: no other function of this program is called `main` (the crate is `no_main`), and the
// signature is the one that the C library calls.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    c_int::from(crate::start())
}
