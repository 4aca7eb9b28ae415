//! The first bytes of a connection: decided within the bound, and once decided with more bytes not
//! otherwise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandbox::egress::destination::Asked;
use sandbox::egress::sniff::{self, Inspection};

fuzz_target!(|bytes: &[u8]| {
    for host in [&b"a.example"[..], b"192.0.2.1"] {
        let asked = Asked::from_ascii(host).unwrap();
        let whole = sniff::inspect(bytes, &asked, 443);
        assert!(whole != Inspection::More || bytes.len() < sniff::MOST);
        if let Inspection::Refused(finding) = &whole {
            assert!(finding.fault.to_string().is_ascii());
        }
        let half = sniff::inspect(&bytes[..bytes.len() / 2], &asked, 443);
        if half == Inspection::Passed {
            assert_eq!(whole, Inspection::Passed);
        }
    }
});
