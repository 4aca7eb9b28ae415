//! Any text is a system-call profile, ours or OCI's, or a mistake; a profile compiles or is refused,
//! and what was compiled is a program that the kernel would take.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sandbox::filter::{self, Context};

fuzz_target!(|text: &str| {
    let read = [
        filter::parse_oci(text),
        filter::parse_profile(Path::new("fuzz.toml"), text),
    ];
    for profile in read.into_iter().flatten() {
        if let Ok(program) = filter::compile(&profile, &Context::default()) {
            // BPF_MAXINSNS, linux/filter.h.
            assert!((1..=4096).contains(&program.len()));
        }
    }
});
