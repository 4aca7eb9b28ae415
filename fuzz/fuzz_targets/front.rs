//! SOCKS5 and HTTP clients: whatever they say, in pieces of whatever size, is answered, asks for a
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
            Turn::Requests { asked, port, read, head } => {
                assert!(read <= to - from && port != 0);
                assert!(head.ends_with(b"Connection: close\r\n\r\n"));
                let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
                assert_eq!(text.matches("\r\nhost:").count(), 1, "one request, for one host");
                assert_eq!(text.matches("\r\n\r\n").count(), 1);
                return Some(Turn::Requests { asked, port, read, head });
            }
            Turn::End(reply) => {
                assert!(to - from <= front::MOST || step == usize::MAX);
                return Some(Turn::End(reply));
            }
        }
    }
}
