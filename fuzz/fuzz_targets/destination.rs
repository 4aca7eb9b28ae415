//! Any text is a destination, a host name or a mistake; what reads has one spelling, and what was asked
//! for by program and by person is decided alike.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sandbox::egress::destination::{Asked, Destination, Protocol};
use sandbox::egress::name::Name;
use sandbox::egress::rules::Rules;
use sandbox::egress::{sets, special};

fuzz_target!(|bytes: &[u8]| {
    if let Some(name) = Name::from_ascii(bytes) {
        assert_eq!(Name::from_ascii(name.as_str().as_bytes()).as_ref(), Some(&name));
        assert!(!name.is_below(&name));
    }
    let asked = Asked::from_ascii(bytes);
    if let Some(Asked::Address(address)) = asked {
        assert_eq!(address, address.to_canonical());
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(name) = Name::parse(text) {
        assert_eq!(Name::from_ascii(name.as_str().as_bytes()), Some(name));
    }
    if let Ok(destination) = text.parse::<Destination>() {
        assert_eq!(destination.to_string().parse(), Ok(destination.clone()));
        if let Ok(rules) = Rules::new([destination.clone().into()], []) {
            // What a rule opens, the same rule closes.
            let denied = Rules::new([destination.clone().into()], [destination.clone().into()]);
            let denied = denied.unwrap();
            if let Destination::Network { protocol, hosts, ports } = &destination
                && let (Some(asked), Some(port)) = (hosts.one(), ports.iter().next())
            {
                assert!(rules.decide(*protocol, &asked, port).is_ok(), "{destination}");
                assert!(denied.decide(*protocol, &asked, port).is_err(), "{destination}");
            }
        }
    }
    if let Some(asked @ Asked::Address(address)) = asked {
        let wide = ["0.0.0.0/0:1-65535", "[::/0]:1-65535"].map(|rule| {
            rule.parse::<Destination>().unwrap().into()
        });
        let wide = Rules::new(wide, []).unwrap();
        let allowed = wide.decide(Protocol::Tcp, &asked, 80).is_ok();
        assert_eq!(allowed, special::block(address).is_none(), "{address}");
    }
    let _ = sets::parse(Path::new("fuzz.toml"), text);
});
