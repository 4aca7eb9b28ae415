//! The proxy on the sandbox's own loopback (`--proxy-env`): what SOCKS5 and HTTP clients say, and the answers.
//!
//! Pure: all unread bytes of a client go in; what to send, or whom it wants to reach, comes out. For programs
//! that insist on a proxy; the destination is then decided like any other. The first byte tells the
//! protocols apart. SOCKS5 (RFC 1928) without authentication and with CONNECT only. HTTP: CONNECT, and
//! requests for `http://` URLs, of which a connection carries one.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::destination::Asked;

/// The longest request that is waited for.
pub const MOST: usize = 8 * 1024;
/// The most headers of a CONNECT request.
const MAX_HEADERS: usize = 64;

/// What a client's bytes come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// More is needed. Never said of [`MOST`] bytes or more.
    More,
    /// Send `reply`, forget the first `read` bytes, go on.
    Send {
        /// What to send.
        reply: Vec<u8>,
        /// How many bytes it answers.
        read: usize,
    },
    /// The client wants to reach this; [`Front::answer`] has the words. What follows the first `read` bytes is
    /// for the destination.
    Asks {
        /// Whom.
        asked: Asked,
        /// Which TCP port.
        port: u16,
        /// How many bytes it took to say so.
        read: usize,
    },
    /// As `Asks`, with one HTTP request: send `head` to the destination before what follows.
    Requests {
        /// Whom.
        asked: Asked,
        /// Which TCP port.
        port: u16,
        /// How many bytes it took to say so.
        read: usize,
        /// The request's head as a server expects it.
        head: Vec<u8>,
    },
    /// Send this and close.
    End(Vec<u8>),
}

/// How an attempt to reach a destination ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is connected.
    Connected,
    /// The rules refuse it.
    Refused,
    /// The name has no address.
    NoSuchHost,
    /// Nobody listens there.
    ConnectionRefused,
    /// It cannot be reached.
    Unreachable,
    /// No answer came in time.
    TimedOut,
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing was understood yet.
    #[default]
    Start,
    /// SOCKS5, its greeting answered.
    Greeted,
    /// The request has been read.
    Asked(Speaks),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Socks,
    /// CONNECT.
    Http,
    /// A request of which the server's answer is the answer.
    Plain,
}

/// One client.
#[derive(Debug, Default)]
pub struct Front {
    state: State,
}

impl Front {
    /// What the unread `bytes` come to.
    pub fn read(&mut self, bytes: &[u8]) -> Turn {
        let turn = match (self.state, bytes.first()) {
            (_, None) => return Turn::More,
            (State::Start, Some(5)) => greeting(bytes),
            (State::Start, Some(_)) => http(bytes),
            (State::Greeted, Some(_)) => request(bytes),
            // Nothing is to be read of a client before it was answered.
            (State::Asked(_), Some(_)) => return Turn::More,
        };
        self.state = match (&turn, self.state) {
            (Turn::Send { .. }, _) => State::Greeted,
            (Turn::Asks { .. }, State::Greeted) => State::Asked(Speaks::Socks),
            (Turn::Asks { .. }, _) => State::Asked(Speaks::Http),
            (Turn::Requests { .. }, _) => State::Asked(Speaks::Plain),
            (_, state) => state,
        };
        match turn {
            Turn::More if bytes.len() >= MOST => {
                Turn::End(status("431 Request Header Fields Too Large"))
            }
            turn => turn,
        }
    }

    /// What to tell a client that asked; all but [`Outcome::Connected`] end the connection.
    #[must_use]
    pub fn answer(&self, outcome: Outcome) -> Vec<u8> {
        match self.state {
            State::Asked(Speaks::Plain) if outcome == Outcome::Connected => Vec::new(),
            State::Asked(Speaks::Http | Speaks::Plain) => match outcome {
                Outcome::Connected => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
                Outcome::Refused => status("403 Forbidden by the sandbox's policy"),
                Outcome::TimedOut => status("504 Gateway Timeout"),
                Outcome::NoSuchHost | Outcome::ConnectionRefused | Outcome::Unreachable => {
                    status("502 Bad Gateway")
                }
            },
            _ => said(match outcome {
                Outcome::Connected => 0,
                Outcome::Refused => 2,
                Outcome::Unreachable => 3,
                Outcome::NoSuchHost => 4,
                Outcome::ConnectionRefused => 5,
                Outcome::TimedOut => 6,
            }),
        }
    }
}

/// A SOCKS5 reply: this code, and no bound address of interest (RFC 1928, 6).
fn said(code: u8) -> Vec<u8> {
    vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// An HTTP answer without a body.
fn status(line: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

/// RFC 1928, 3: version, and the ways to authenticate that the client knows.
fn greeting(bytes: &[u8]) -> Turn {
    let Some((&[_, count], rest)) = bytes.split_first_chunk::<2>() else {
        return Turn::More;
    };
    let count = usize::from(count);
    match rest.get(..count) {
        None => Turn::More,
        Some(methods) if methods.contains(&0) => Turn::Send {
            reply: vec![5, 0],
            read: 2 + count,
        },
        Some(_) => Turn::End(vec![5, 0xff]),
    }
}

/// RFC 1928, 4: version, command, nothing, address, port.
fn request(bytes: &[u8]) -> Turn {
    let Some((&[version, command, reserved, kind], rest)) = bytes.split_first_chunk::<4>() else {
        return match bytes {
            [5, ..] => Turn::More,
            _ => Turn::End(said(1)),
        };
    };
    if version != 5 || reserved != 0 {
        return Turn::End(said(1));
    }
    // BIND and UDP ASSOCIATE: UDP goes without a proxy.
    if command != 1 {
        return Turn::End(said(7));
    }
    let (length, head) = match (kind, rest.first()) {
        (1, _) => (4, 4),
        (4, _) => (16, 4),
        (3, Some(&length)) => (usize::from(length), 5),
        (3, None) => return Turn::More,
        _ => return Turn::End(said(8)),
    };
    let Some(address) = bytes.get(head..head + length) else {
        return Turn::More;
    };
    let Some(&[high, low]) = bytes.get(head + length..).and_then(<[u8]>::first_chunk) else {
        return Turn::More;
    };
    let asked = match (kind, address) {
        (1, &[a, b, c, d]) => Some(Asked::Address(Ipv4Addr::new(a, b, c, d).into())),
        (4, address) => <[u8; 16]>::try_from(address)
            .ok()
            .map(|octets| Asked::Address(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical())),
        (_, name) => Asked::from_ascii(name),
    };
    match (asked, u16::from_be_bytes([high, low])) {
        (Some(asked), port @ 1..) => Turn::Asks {
            asked,
            port,
            read: head + length + 2,
        },
        // A name that no rule can have.
        _ => Turn::End(said(2)),
    }
}

/// RFC 9110, 9.3.6: `CONNECT HOST:PORT HTTP/1.1` and headers, which do not matter. Or RFC 9112, 3.2.2:
/// `GET http://HOST/ HTTP/1.1`.
fn http(bytes: &[u8]) -> Turn {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let read = match request.parse(bytes) {
        Ok(httparse::Status::Complete(read)) => read,
        Ok(httparse::Status::Partial) => return Turn::More,
        Err(httparse::Error::TooManyHeaders) => {
            return Turn::End(status("431 Request Header Fields Too Large"));
        }
        Err(_) => return Turn::End(status("400 Bad Request")),
    };
    let turn = match request.method {
        Some("CONNECT") => request
            .path
            .and_then(authority)
            .map(|(asked, port)| Turn::Asks { asked, port, read }),
        _ => forwarded(&request).map(|(asked, port, head)| Turn::Requests {
            asked,
            port,
            read,
            head,
        }),
    };
    turn.unwrap_or_else(|| Turn::End(status("400 Bad Request")))
}

/// Headers that are between a client and its proxy (RFC 9110, 7.6.1), and those that are made anew.
const OF_THE_PROXY: [&str; 5] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
];

/// Whom a request for an `http://` URL asks for, and its head for the server itself. That closes after its
/// answer, so that the next request comes on a connection of its own.
fn forwarded(request: &httparse::Request<'_, '_>) -> Option<(Asked, u16, Vec<u8>)> {
    let (method, path) = (request.method?, request.path?);
    let (scheme, rest) = path.split_at_checked("http://".len())?;
    if !scheme.eq_ignore_ascii_case("http://") {
        return None;
    }
    let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // What stands behind a # is no server's affair, and a user's name in a URL is for nobody.
    if host.contains(['@', '#']) || target.contains('#') {
        return None;
    }
    let bare = !host.contains(':') || host.ends_with(']');
    let (asked, port) = match bare {
        true => authority(&format!("{host}:80"))?,
        false => authority(host)?,
    };
    let slash = if target.starts_with('/') { "" } else { "/" };
    let target = match (method, target) {
        ("OPTIONS", "") => "*".to_owned(),
        _ => format!("{slash}{target}"),
    };
    let version = request.version?;
    let mut head = format!("{method} {target} HTTP/1.{version}\r\nHost: {host}\r\n").into_bytes();
    let named: Vec<String> = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"))
        .flat_map(|header| header.value.split(|&byte| byte == b','))
        .map(|word| String::from_utf8_lossy(word).trim().to_ascii_lowercase())
        .collect();
    for header in request.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        // How long the body is, is never between two only.
        let body = ["transfer-encoding", "content-length"].contains(&name.as_str());
        if OF_THE_PROXY.contains(&name.as_str()) || (named.contains(&name) && !body) {
            continue;
        }
        head.extend(header.name.as_bytes());
        head.extend(b": ");
        head.extend(header.value);
        head.extend(b"\r\n");
    }
    head.extend(b"Connection: close\r\n\r\n");
    Some((asked, port, head))
}

/// `HOST:PORT` or `[IPv6]:PORT`, both there.
fn authority(text: &str) -> Option<(Asked, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    if host.contains(':') != host.starts_with('[') {
        return None;
    }
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port = port
        .parse()
        .ok()
        .filter(|&port: &u16| digits && port != 0)?;
    Some((Asked::from_ascii(host.as_bytes())?, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GREETING: &[u8] = &[5, 1, 0];

    fn greeted() -> Front {
        let mut front = Front::default();
        let expected = Turn::Send {
            reply: vec![5, 0],
            read: 3,
        };
        assert_eq!(front.read(GREETING), expected);
        front
    }

    fn asks(host: &str, port: u16, read: usize) -> Turn {
        Turn::Asks {
            asked: Asked::from_ascii(host.as_bytes()).unwrap(),
            port,
            read,
        }
    }

    fn named(name: &[u8], port: u16) -> Vec<u8> {
        let length = u8::try_from(name.len()).unwrap();
        [&[5, 1, 0, 3, length], name, &port.to_be_bytes()].concat()
    }

    #[test]
    fn a_socks_client_is_told_how_to_authenticate_and_asks() {
        let v4 = [5, 1, 0, 1, 192, 0, 2, 1, 1, 187];
        let mut v6 = vec![5, 1, 0, 4, 0x20, 1, 0xd, 0xb8];
        v6.extend([0; 11]);
        v6.extend([1, 1, 187]);
        let mut mapped = vec![5, 1, 0, 4];
        mapped.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1, 0, 80]);
        for (request, expected) in [
            (
                named(b"API.example.com", 443),
                asks("api.example.com", 443, 22),
            ),
            (named(b"192.0.2.1", 443), asks("192.0.2.1", 443, 16)),
            (v4.to_vec(), asks("192.0.2.1", 443, 10)),
            (v6, asks("2001:db8::1", 443, 22)),
            (mapped, asks("127.0.0.1", 80, 22)),
        ] {
            for cut in 0..request.len() {
                assert_eq!(
                    greeted().read(&request[..cut]),
                    Turn::More,
                    "{request:?} {cut}"
                );
            }
            let mut front = greeted();
            assert_eq!(front.read(&request), expected);
            assert_eq!(front.answer(Outcome::Connected)[..2], [5, 0]);
            assert_eq!(front.answer(Outcome::Refused)[..2], [5, 2]);
            let early = [&request[..], b"early"].concat();
            assert_eq!(greeted().read(&early), expected);
        }
    }

    #[test]
    fn a_socks_client_that_asks_for_anything_else_is_refused() {
        let mut front = Front::default();
        assert_eq!(front.read(&[5]), Turn::More);
        assert_eq!(front.read(&[5, 2, 1]), Turn::More);
        assert_eq!(front.read(&[5, 2, 1, 2]), Turn::End(vec![5, 0xff]));
        assert_eq!(front.read(&[5, 0]), Turn::End(vec![5, 0xff]));
        for (request, code) in [
            (vec![4, 1, 0, 1], 1),
            (vec![4], 1),
            (vec![5, 1, 1, 1], 1),
            (vec![5, 2, 0, 1, 0, 0, 0, 0, 0, 1], 7),
            (vec![5, 3, 0, 1, 0, 0, 0, 0, 0, 1], 7),
            (vec![5, 1, 0, 2], 8),
            (named(b"a.example", 0), 2),
            (named(b"", 80), 2),
            (named(b"a..example", 80), 2),
            (named(b"a.example\0", 80), 2),
            (named(b"0177.0.0.1", 80), 2),
            (named(b"127.1", 80), 2),
            (named("bücher.example".as_bytes(), 80), 2),
            (named(&[b'a'; 255], 80), 2),
        ] {
            assert_eq!(
                greeted().read(&request),
                Turn::End(said(code)),
                "{request:?}"
            );
        }
    }

    fn line(text: &str) -> Turn {
        Front::default().read(text.as_bytes())
    }

    #[test]
    fn a_connect_request_asks_for_its_host_and_port() {
        let request = "CONNECT API.example.com:443 HTTP/1.1\r\nHost: evil:1\r\n\r\n";
        for cut in 0..request.len() {
            assert_eq!(line(&request[..cut]), Turn::More);
        }
        let mut front = Front::default();
        let early = [request.as_bytes(), b"\x16\x03"].concat();
        assert_eq!(
            front.read(&early),
            asks("api.example.com", 443, request.len())
        );
        assert_eq!(front.read(b"\x16\x03"), Turn::More);
        assert!(
            front
                .answer(Outcome::Connected)
                .starts_with(b"HTTP/1.1 200 ")
        );
        assert!(front.answer(Outcome::Refused).starts_with(b"HTTP/1.1 403 "));
        assert!(
            front
                .answer(Outcome::NoSuchHost)
                .starts_with(b"HTTP/1.1 502 ")
        );
        assert!(
            front
                .answer(Outcome::TimedOut)
                .starts_with(b"HTTP/1.1 504 ")
        );
        let six = "CONNECT [2001:db8::1]:443 HTTP/1.0\r\n\r\n";
        assert_eq!(line(six), asks("2001:db8::1", 443, six.len()));
    }

    #[test]
    fn a_request_for_a_url_becomes_one_for_its_server() {
        let head = |line: &str, host: &str, rest: &str| {
            format!("{line}\r\nHost: {host}\r\n{rest}Connection: close\r\n\r\n")
        };
        for (request, host, port, expected) in [
            (
                "GET http://API.example.com/a?b HTTP/1.1\r\nHost: evil\r\nAccept: */*\r\n\r\n",
                "api.example.com",
                80,
                head("GET /a?b HTTP/1.1", "API.example.com", "Accept: */*\r\n"),
            ),
            (
                "POST HTTP://a.example:8080?b HTTP/1.0\r\nContent-Length: 2\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: x\r\n\r\n",
                "a.example",
                8080,
                head(
                    "POST /?b HTTP/1.0",
                    "a.example:8080",
                    "Content-Length: 2\r\n",
                ),
            ),
            (
                "GET http://[2001:db8::1] HTTP/1.1\r\nConnection: X-Mine, content-length\r\nX-Mine: 1\r\nContent-Length: 0\r\n\r\n",
                "2001:db8::1",
                80,
                head("GET / HTTP/1.1", "[2001:db8::1]", "Content-Length: 0\r\n"),
            ),
            (
                "OPTIONS http://192.0.2.1:81 HTTP/1.1\r\n\r\n",
                "192.0.2.1",
                81,
                head("OPTIONS * HTTP/1.1", "192.0.2.1:81", ""),
            ),
        ] {
            for cut in 0..request.len() {
                assert_eq!(line(&request[..cut]), Turn::More, "{request} {cut}");
            }
            let mut front = Front::default();
            let early = [request.as_bytes(), b"body"].concat();
            let turn = Turn::Requests {
                asked: Asked::from_ascii(host.as_bytes()).unwrap(),
                port,
                read: request.len(),
                head: expected.into_bytes(),
            };
            assert_eq!(front.read(&early), turn);
            assert_eq!(front.answer(Outcome::Connected), b"");
            assert!(front.answer(Outcome::Refused).starts_with(b"HTTP/1.1 403 "));
        }
    }

    #[test]
    fn other_requests_get_the_status_that_fits() {
        let long = format!("CONNECT {}", "a".repeat(MOST));
        let many = format!("CONNECT a:1 HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        for (text, code) in [
            ("GET / HTTP/1.1\r\n\r\n", "400"),
            ("GET https://a.example/ HTTP/1.1\r\n\r\n", "400"),
            ("GET ftp://a.example/ HTTP/1.1\r\n\r\n", "400"),
            ("GET http:// HTTP/1.1\r\n\r\n", "400"),
            ("GET http:///x HTTP/1.1\r\n\r\n", "400"),
            ("GET http://a@b.example/ HTTP/1.1\r\n\r\n", "400"),
            ("GET http://a.example:/ HTTP/1.1\r\n\r\n", "400"),
            ("GET http://a.example:0/ HTTP/1.1\r\n\r\n", "400"),
            ("GET http://a.example:80:80/ HTTP/1.1\r\n\r\n", "400"),
            ("GET http://127.1/ HTTP/1.1\r\n\r\n", "400"),
            ("GET http://a.example#b/ HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT a.example HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT a.example: HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT a.example:0 HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT a.example:+1 HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT a.example:65536 HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT :443 HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT ::1:443 HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT user@a.example:443 HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT 127.1:443 HTTP/1.1\r\n\r\n", "400"),
            ("CONNECT a.example:443 HTTP/1.1\r\nX : y\r\n\r\n", "400"),
            ("\x04\x01", "400"),
            ("\x16\x03\x01", "400"),
            (&long, "431"),
            (&many, "431"),
        ] {
            match line(text) {
                Turn::End(reply) => {
                    let reply = String::from_utf8(reply).unwrap();
                    assert!(
                        reply.starts_with(&format!("HTTP/1.1 {code} ")),
                        "{text}: {reply}"
                    );
                    assert!(reply.ends_with("\r\n\r\n"));
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decided_and_never_read_beyond_their_end(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            socks in any::<bool>(),
        ) {
            let mut front = if socks { greeted() } else { Front::default() };
            match front.read(&bytes) {
                Turn::Send { read, .. } | Turn::Asks { read, .. } | Turn::Requests { read, .. } => {
                    prop_assert!(read <= bytes.len());
                }
                Turn::More => prop_assert!(bytes.len() < MOST),
                Turn::End(reply) => prop_assert!(!reply.is_empty()),
            }
        }
    }
}
