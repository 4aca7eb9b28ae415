//! DNS messages, from inside and from outside: a query is answered or not, and only a name that the rules
//! allow is ever asked for; whatever a server answers, a look-up ends after a bounded number of questions.
//! The first byte chooses the side; files of the host are read by the same input.
#![no_main]

use std::sync::Arc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use sandbox::egress::destination::Destination;
use sandbox::egress::dns;
use sandbox::egress::lookup::{Hosts, Lookup, Settings};
use sandbox::egress::name::Name;
use sandbox::egress::rules::Rules;
use sandbox::egress::synthetic::Synthetic;

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let allow = ["api.example.com:443", "*.example.org:80"];
    let allow = allow.map(|rule| rule.parse::<Destination>().unwrap().into());
    Rules::new(allow, []).unwrap()
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&side, bytes)) = bytes.split_first() else {
        return;
    };
    match side {
        0 => inside(bytes),
        1 => outside(bytes),
        _ => files(bytes),
    }
});

fn inside(message: &[u8]) {
    let mut synthetic = Synthetic::default();
    let heard = dns::hear(message, &RULES, &mut synthetic);
    if let Some(asked) = &heard.asked {
        let name = asked.name().as_str();
        assert!(name == "api.example.com" || name.ends_with(".example.org"), "{name}");
        assert!(heard.refused.is_none());
    }
    if let Some(refused) = &heard.refused {
        assert!(refused.name.bytes().all(|b| b.is_ascii_graphic()), "{refused:?}");
    }
    if let Some(reply) = &heard.reply {
        assert!(reply.len() <= 512 && reply[..2] == message[..2] && reply[2] & 0x80 != 0);
        let framed = dns::frame(reply).unwrap();
        assert_eq!(dns::unframe(&framed, 512), dns::Framed::Message(reply, framed.len()));
    }
    let _ = dns::unframe(message, 1024);
}

/// Every question is answered by the next part of the input: its number, flags, counts and records.
fn outside(bytes: &[u8]) {
    let settings = Arc::new(Settings::parse(b"nameserver 192.0.2.1\nnameserver 192.0.2.2\n", |_| None));
    let name = RULES.permit(&Name::parse("api.example.com").unwrap()).unwrap();
    let mut lookup = Lookup::new(&name, &settings);
    let mut now = Instant::now();
    let mut parts = bytes.chunks(80).cycle().take(200);
    let mut questions = 0;
    while lookup.outcome(now).is_none() {
        let asks = lookup.questions(now, || 0x4142);
        questions += asks.len();
        for ask in &asks {
            let part = parts.next().unwrap_or_default();
            let mut message = ask.query.clone();
            message[2] |= 0x80;
            if let Some((flags, tail)) = part.split_first_chunk::<3>() {
                message[2] ^= flags[0] & 0x7e;
                message[3] = flags[1];
                message[7] = flags[2];
                message.extend_from_slice(tail);
            }
            lookup.hear(ask.number, &message, now);
            lookup.hear(ask.number, part, now);
        }
        now += Duration::from_millis(500);
        assert!(questions <= 48, "asks without end");
    }
}

fn files(bytes: &[u8]) {
    let settings = Settings::parse(bytes, |_| Some(2));
    assert!((1..=3).contains(&settings.servers.len()));
    assert!((1..=5).contains(&settings.attempts));
    assert!((1..=30).contains(&settings.timeout.as_secs()));
    let _ = Hosts::parse(bytes, |_| true);
}
