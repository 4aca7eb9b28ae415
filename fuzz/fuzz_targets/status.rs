//! The launcher's two channels from inside: whatever comes is a message of theirs or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandbox::init::Record;
use sandbox::report::Failure;

fuzz_target!(|bytes: &[u8]| {
    let _ = Record::decode(bytes);
    if let Some(failure) = Failure::decode(bytes) {
        assert_eq!(Failure::decode(&failure.encode()), Some(failure));
    }
});
