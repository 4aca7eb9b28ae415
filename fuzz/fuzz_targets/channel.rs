//! The pool channel, both ways: any bytes are one message or a reason, and there is one spelling of
//! every message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandbox::broker::channel::{FromWorker, ToWorker};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = FromWorker::decode(bytes) {
        let mut again = Vec::new();
        assert_eq!(message.encode(&mut again), Ok(()));
        assert_eq!(again, bytes);
    }
    // As many descriptors as the header announces, and none: the two cases that differ.
    for descriptors in [bytes.get(2).copied().unwrap_or(0), 0] {
        if let Ok(message) = ToWorker::decode(bytes, usize::from(descriptors)) {
            let mut again = Vec::new();
            assert_eq!(message.encode(&mut again), Ok(()));
            assert_eq!(again, bytes);
        }
    }
});
