//! SOCKS5 and CONNECT clients: whatever they say, in pieces of whatever size, is answered, asks for a
//! destination or ends; nothing is read beyond its end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sandbox::egress::front::{self, Front, Outcome, Turn};

fuzz_target!(|bytes: &[u8]| {
    let whole = talk(bytes, usize::MAX);
    assert_eq!(talk(bytes, 1 + bytes.len() % 7), whole);
});

/// What a client that sends `bytes`, so many at a time, asks for, or how it ends.
fn talk(bytes: &[u8], step: usize) -> Option<Turn> {
    let mut client = Front::default();
    let (mut from, mut to) = (0, 0);
    loop {
        match client.read(&bytes[from..to]) {
            Turn::More if to == bytes.len() => return None,
            Turn::More => to = to.saturating_add(step).min(bytes.len()),
            Turn::Send { read, reply } => {
                assert!(read > 0 && read <= to - from && !reply.is_empty());
                from += read;
            }
            Turn::Asks { asked, port, read } => {
                assert!(read <= to - from && port != 0);
                assert!(!client.answer(Outcome::Refused).is_empty());
                return Some(Turn::Asks { asked, port, read });
            }
            Turn::End(reply) => {
                assert!(to - from <= front::MOST || step == usize::MAX);
                return Some(Turn::End(reply));
            }
        }
    }
}
