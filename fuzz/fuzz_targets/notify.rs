//! Notifications and socket addresses of a sandboxed program: what is read lies within what was given.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandbox::egress::call::{Call, UnixAddress, internet_address, unix_address};

fuzz_target!(|bytes: &[u8]| {
    if let Some(call) = Call::parse(bytes) {
        assert!(bytes.len() >= 80 && call.task > 0);
        for index in 0..8 {
            let whole = call.arguments.get(index).copied().unwrap_or(0);
            assert_eq!(call.int(index).cast_unsigned(), whole as u32);
        }
    }
    match unix_address(bytes) {
        Some(UnixAddress::Path(path)) => {
            assert!((1..=108).contains(&path.len()) && !path.contains(&0));
            assert!(bytes[2..].starts_with(path));
        }
        Some(UnixAddress::Abstract(name)) => {
            assert!(bytes[2] == 0 && bytes[3..] == *name);
        }
        None => {}
    }
    if let Some(address) = internet_address(bytes) {
        assert_eq!(address.port().to_be_bytes(), bytes[2..4]);
        assert!(unix_address(bytes).is_none());
    }
});
