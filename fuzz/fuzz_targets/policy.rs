//! Any text is a policy or one located mistake, and a policy can be merged and explained.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sandbox::Error;
use sandbox::policy::{Origin, describe, merge, parse};
use sandbox::request::Format;

fuzz_target!(|text: &str| {
    let file = Path::new("fuzz.toml");
    match parse::parse(file, text) {
        Ok(layer) => {
            // What is merged may be refused (two keys that exclude each other), never panic.
            if let Ok(policy) = merge::merge(&[(Origin::File(file.to_owned()), layer)]) {
                let _ = merge::widenings(&policy);
                let _ = describe::show_policy(&policy, Format::Text);
            }
        }
        Err(Error::Policy { line, .. }) => {
            assert!((1..=text.lines().count() + 1).contains(&line), "line {line} of {text:?}");
        }
        Err(other) => panic!("no place: {other}"),
    }
});
