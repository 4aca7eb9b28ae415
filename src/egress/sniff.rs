//! The name in the first bytes of a connection: a TLS hello's server name, or an HTTP request's host.
//!
//! Pure: all bytes that have come so far go in, and it is asked again when there are more. Used with
//! `--inspect`, where the name must be the one that the connection was allowed for: otherwise a name that
//! shares its address with an allowed one could be reached through it. Nothing is decrypted.
//!
//! Limits: of plain HTTP, the first request of a connection is read, not those after it. A hello that
//! hides its name (ECH) is refused, as what cannot be read cannot be inspected. A `Host` within TLS
//! is not seen.
#![forbid(unsafe_code)]

use std::fmt;

use super::destination::Asked;
use super::name::Name;

/// The longest hello or request head that is waited for.
pub const MOST: usize = 16 * 1024;
/// The most headers of a request.
const MAX_HEADERS: usize = 100;

/// What is known of the first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// More is needed. Never said of [`MOST`] bytes or more.
    More,
    /// The name is the allowed one.
    Passed,
    /// It is not, or there is none.
    Refused(Finding),
}

/// Why a connection does not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What the client speaks, as far as could be told.
    pub speaks: Speaks,
    /// What is wrong.
    pub fault: Fault,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// TLS.
    Tls,
    /// HTTP/1.
    Http,
    /// Something else.
    Other,
}

/// What is wrong with the first bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Neither TLS nor HTTP.
    NeitherTlsNorHttp,
    /// Not as the protocol has it.
    Malformed,
    /// Too much came before the name.
    TooLong,
    /// There is no name in it.
    NoName,
    /// There are several names in it.
    SeveralNames,
    /// The name is encrypted (ECH).
    HiddenName,
    /// A request to a proxy, or HTTP/2 without TLS.
    NotPlainRequest,
    /// This name instead of the allowed one.
    OtherName(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeitherTlsNorHttp => "what is sent is neither TLS nor HTTP",
            Self::Malformed => "what is sent is malformed",
            Self::TooLong => "too much is sent before the server's name",
            Self::NoName => "what is sent does not name the server",
            Self::SeveralNames => "what is sent names the server more than once",
            Self::HiddenName => "the server's name is encrypted (ECH)",
            Self::NotPlainRequest => "a request to a proxy, or HTTP/2 without TLS",
            Self::OtherName(name) => return write!(f, "what is sent names {name}"),
        })
    }
}

impl Finding {
    /// What tells the client, in what it speaks, that it is refused.
    #[must_use]
    pub fn farewell(&self) -> &'static [u8] {
        match self.speaks {
            // A fatal alert, unrecognized_name (RFC 6066, 3).
            Speaks::Tls => &[21, 3, 3, 0, 2, 2, 112],
            Speaks::Http => {
                b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 44\r\n\
                  Connection: close\r\n\r\nsandbox: this host is not the allowed host.\n"
            }
            Speaks::Other => &[],
        }
    }
}

/// Whether the first `bytes` of a connection to `port` of `asked` name it.
#[must_use]
pub fn inspect(bytes: &[u8], asked: &Asked, port: u16) -> Inspection {
    let (speaks, read) = match bytes.first() {
        None => return Inspection::More,
        Some(22) => (Speaks::Tls, tls(bytes, asked)),
        Some(b'A'..=b'Z') => (Speaks::Http, http(bytes, asked, port)),
        Some(_) => (Speaks::Other, Err(Some(Fault::NeitherTlsNorHttp))),
    };
    match read {
        Ok(()) => Inspection::Passed,
        Err(None) if bytes.len() < MOST => Inspection::More,
        Err(fault) => Inspection::Refused(Finding {
            speaks,
            fault: fault.unwrap_or(Fault::TooLong),
        }),
    }
}

/// A fault, or `None` where more bytes are needed.
type Read<T> = Result<T, Option<Fault>>;

fn malformed<T>() -> Read<T> {
    Err(Some(Fault::Malformed))
}

/// A reader of what is all there: to run out of it is malformed.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        match self.0.split_at_checked(length) {
            Some((taken, rest)) => {
                self.0 = rest;
                Ok(taken)
            }
            None => malformed(),
        }
    }

    fn number(&mut self, bytes: usize) -> Read<usize> {
        let taken = self.take(bytes)?;
        Ok(taken.iter().fold(0, |sum, &b| sum << 8 | usize::from(b)))
    }

    /// A vector with its length in so many bytes in front.
    fn vector(&mut self, bytes: usize) -> Read<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(length)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// RFC 8446, 5.1 and 4.1.2; RFC 6066, 3.
fn tls(bytes: &[u8], asked: &Asked) -> Read<()> {
    let hello = handshake(bytes)?;
    let mut fields = Fields(&hello);
    fields.take(2 + 32)?;
    if fields.vector(1)?.len() > 32 {
        return malformed();
    }
    fields.vector(2)?;
    fields.vector(1)?;
    let mut extensions = match fields.is_empty() {
        true => Fields(&[]),
        false => Fields(fields.vector(2)?),
    };
    if !fields.is_empty() {
        return malformed();
    }
    let mut name = None;
    let mut hidden = false;
    while !extensions.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        match kind {
            0 if name.is_some() => return Err(Some(Fault::SeveralNames)),
            0 => name = Some(server_name(content)?),
            // encrypted_client_hello, and the extension of its first drafts.
            0xfe0d | 0xffce => hidden = true,
            _ => {}
        }
    }
    if hidden {
        return Err(Some(Fault::HiddenName));
    }
    match (name, asked) {
        (Some(name), Asked::Name(wanted)) if Name::from_ascii(name).as_ref() == Some(wanted) => {
            Ok(())
        }
        // Addresses are not named in a hello (RFC 6066, 3).
        (None, Asked::Address(_)) => Ok(()),
        (None, Asked::Name(_)) => Err(Some(Fault::NoName)),
        (Some(name), _) => Err(Some(Fault::OtherName(printable(name)))),
    }
}

/// The hello out of its records, as many as there are.
fn handshake(bytes: &[u8]) -> Read<Vec<u8>> {
    let mut message: Vec<u8> = Vec::new();
    let mut rest = bytes;
    loop {
        if let Some((head, body)) = message.split_first_chunk::<4>() {
            let [kind, length @ ..] = *head;
            let [a, b, c] = length.map(usize::from);
            let length = a << 16 | b << 8 | c;
            if kind != 1 {
                return malformed();
            }
            if length > MOST {
                return Err(Some(Fault::TooLong));
            }
            if let Some(hello) = body.get(..length) {
                return Ok(hello.to_vec());
            }
        }
        let Some((head, behind)) = rest.split_first_chunk::<5>() else {
            // What is there of a head must fit already: do not wait for what cannot come.
            return match rest {
                [] | [22] | [22, 3, ..] => Err(None),
                _ => malformed(),
            };
        };
        let [22, 3, _, high, low] = *head else {
            return malformed();
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > 1 << 14 {
            return malformed();
        }
        let have = behind.len().min(length);
        let (fragment, next) = behind.split_at(have);
        message.extend_from_slice(fragment);
        rest = next;
        // Of an unfinished record, what is there may already hold the whole hello.
        if have < length && !is_whole(&message) {
            return Err(None);
        }
    }
}

/// Whether a handshake message is all there.
fn is_whole(message: &[u8]) -> bool {
    message
        .split_first_chunk::<4>()
        .is_some_and(|(head, body)| {
            let [_, length @ ..] = *head;
            let [a, b, c] = length.map(usize::from);
            body.len() >= a << 16 | b << 8 | c
        })
}

/// The one host name of the extension.
fn server_name(content: &[u8]) -> Read<&[u8]> {
    let mut fields = Fields(content);
    let mut list = Fields(fields.vector(2)?);
    if !fields.is_empty() || list.number(1)? != 0 {
        return malformed();
    }
    let name = list.vector(2)?;
    match list.is_empty() {
        true => Ok(name),
        false => Err(Some(Fault::SeveralNames)),
    }
}

/// RFC 9112, 3.2: the host of the first request.
fn http(bytes: &[u8], asked: &Asked, port: u16) -> Read<()> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Some(Fault::TooLong)),
        Err(_) => return malformed(),
    }
    if matches!(request.method, Some("CONNECT" | "PRI")) {
        return Err(Some(Fault::NotPlainRequest));
    }
    let mut host = None;
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("host") {
            if host.is_some() {
                return Err(Some(Fault::SeveralNames));
            }
            host = Some(header.value);
        }
    }
    let host = host.ok_or(Some(Fault::NoName))?;
    named(host, asked, port)?;
    // What stands in the request line wins over Host (RFC 9112, 3.2.2), so it must be the same.
    match request.path.unwrap_or_default() {
        path if path.starts_with('/') || path == "*" => Ok(()),
        path => {
            let lower = path.to_ascii_lowercase();
            let Some(rest) = lower.strip_prefix("http://") else {
                return malformed();
            };
            let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
            named(authority.as_bytes(), asked, port)
        }
    }
}

/// Whether `authority` (host, and a port or none) is what was asked for.
fn named(authority: &[u8], asked: &Asked, port: u16) -> Read<()> {
    let (host, written) = match authority.iter().rposition(|&b| b == b':') {
        // Within brackets, a colon parts no port.
        Some(at) if !authority.ends_with(b"]") => {
            let (host, written) = authority.split_at(at);
            (host, written.get(1..).unwrap_or_default())
        }
        _ => (authority, b"".as_slice()),
    };
    let other_port = !written.is_empty() && written != port.to_string().as_bytes();
    if other_port || Asked::from_ascii(host).as_ref() != Some(asked) {
        return Err(Some(Fault::OtherName(printable(authority))));
    }
    Ok(())
}

/// Bytes from a client for people: bounded, without control characters.
fn printable(bytes: &[u8]) -> String {
    bytes.get(..300).unwrap_or(bytes).escape_ascii().to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(host: &str) -> Asked {
        Asked::from_ascii(host.as_bytes()).unwrap()
    }

    fn sized(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - bytes..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [kind.to_be_bytes().to_vec(), sized(2, content)].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        let entry = [vec![0], sized(2, name)].concat();
        extension(0, &sized(2, &entry))
    }

    fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
        let body = [
            vec![3, 3],
            vec![7; 32],
            sized(1, &[9; 32]),
            sized(2, &[0x13, 1, 0x13, 2]),
            sized(1, &[0]),
            sized(2, &extensions.concat()),
        ]
        .concat();
        [vec![1], sized(3, &body)].concat()
    }

    fn records(message: &[u8], most: usize) -> Vec<u8> {
        let record = |part: &[u8]| [vec![22, 3, 1], sized(2, part)].concat();
        message.chunks(most).flat_map(record).collect()
    }

    fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
        records(&message(extensions), 1 << 14)
    }

    fn fault(bytes: &[u8], host: &str) -> Option<Fault> {
        match inspect(bytes, &asked(host), 443) {
            Inspection::Passed => None,
            Inspection::Refused(finding) => Some(finding.fault),
            Inspection::More => panic!("waits for more"),
        }
    }

    fn other(name: &str) -> Option<Fault> {
        Some(Fault::OtherName(name.to_owned()))
    }

    #[test]
    fn a_hello_passes_with_the_allowed_name_only() {
        let other_things = [
            extension(10, &[0, 2, 0, 29]),
            sni(b"API.example.com"),
            extension(0xa0a, &[]),
        ];
        assert_eq!(fault(&hello(&other_things), "api.example.com"), None);
        assert_eq!(fault(&hello(&[]), "192.0.2.1"), None);
        for (name, shown) in [
            (&b"evil.example"[..], "evil.example"),
            (b"notapi.example.com", "notapi.example.com"),
            (b"api.example.com.evil", "api.example.com.evil"),
            (b"api.example.com\0.evil", "api.example.com\\x00.evil"),
            (b"api.example.com\0", "api.example.com\\x00"),
            (b"", ""),
            (b"\xff\n", "\\xff\\n"),
        ] {
            assert_eq!(fault(&hello(&[sni(name)]), "api.example.com"), other(shown));
        }
        assert_eq!(
            fault(&hello(&[sni(b"evil.example")]), "192.0.2.1"),
            other("evil.example")
        );
    }

    #[test]
    fn a_hello_without_one_plain_name_is_refused() {
        let good = sni(b"a.example");
        let two = [[0].to_vec(), sized(2, b"a.example")].concat();
        let two = extension(0, &sized(2, &[two.clone(), two].concat()));
        let unknown_kind = extension(0, &sized(2, &[vec![1], sized(2, b"a.example")].concat()));
        let trailing = extension(
            0,
            &[
                sized(2, &[vec![0], sized(2, b"a.example")].concat()),
                vec![0],
            ]
            .concat(),
        );
        for (extensions, expected) in [
            (vec![], Fault::NoName),
            (vec![good.clone(), good.clone()], Fault::SeveralNames),
            (vec![two], Fault::SeveralNames),
            (vec![unknown_kind], Fault::Malformed),
            (vec![trailing], Fault::Malformed),
            (vec![extension(0, &[])], Fault::Malformed),
            (
                vec![good.clone(), extension(0xfe0d, &[0])],
                Fault::HiddenName,
            ),
            (vec![good.clone(), vec![0]], Fault::Malformed),
            (vec![good, vec![0, 9, 0, 9, 1]], Fault::Malformed),
        ] {
            assert_eq!(
                fault(&hello(&extensions), "a.example"),
                Some(expected),
                "{extensions:?}"
            );
        }
        let mut server = hello(&[]);
        server[5] = 2;
        assert_eq!(
            fault(&server, "a.example"),
            Some(Fault::Malformed),
            "not a client's"
        );
        let mut long = hello(&[]);
        long[6] = 1;
        assert_eq!(fault(&long, "a.example"), Some(Fault::TooLong));
        assert_eq!(
            fault(&[22, 3, 1, 0, 0], "a.example"),
            Some(Fault::Malformed)
        );
        assert_eq!(fault(&[22, 2], "a.example"), Some(Fault::Malformed));
        assert_eq!(
            fault(&[22, 3, 1, 0xff, 0xff, 1], "a.example"),
            Some(Fault::Malformed)
        );
        assert_eq!(
            fault(&[0x80, 0x2e, 1, 3, 1], "a.example"),
            Some(Fault::NeitherTlsNorHttp)
        );
        assert_eq!(fault(b"\0", "a.example"), Some(Fault::NeitherTlsNorHttp));
    }

    #[test]
    fn a_request_passes_with_the_allowed_host_only() {
        let request =
            |line: &str, headers: &str| format!("{line} HTTP/1.1\r\n{headers}\r\n").into_bytes();
        for (line, headers, expected) in [
            ("GET /", "Host: a.example\r\n", None),
            ("GET /", "host:A.Example.:443\r\n", None),
            ("GET http://a.example/x", "Host: a.example\r\n", None),
            ("GET HTTP://A.example:443", "Host: a.example\r\n", None),
            ("OPTIONS *", "X: y\r\nHost: a.example\r\n", None),
            ("GET /", "Host: evil.example\r\n", other("evil.example")),
            ("GET /", "Host: a.example:80\r\n", other("a.example:80")),
            ("GET /", "Host: a.example:0443\r\n", other("a.example:0443")),
            ("GET /", "Host: a.example@evil\r\n", other("a.example@evil")),
            (
                "GET /",
                "Host: a.example, evil\r\n",
                other("a.example, evil"),
            ),
            ("GET /", "Host:\r\n", other("")),
            ("GET /", "Host: [::1]\r\n", other("[::1]")),
            ("GET /", "X: y\r\n", Some(Fault::NoName)),
            (
                "GET /",
                "Host: a.example\r\nHost: a.example\r\n",
                Some(Fault::SeveralNames),
            ),
            (
                "GET /",
                "Host: a.example\r\nhOST: evil\r\n",
                Some(Fault::SeveralNames),
            ),
            ("GET /", "Host : a.example\r\n", Some(Fault::Malformed)),
            (
                "GET /",
                "X: y\r\n Host: a.example\r\n",
                Some(Fault::Malformed),
            ),
            ("GET http://evil/", "Host: a.example\r\n", other("evil")),
            (
                "GET http://evil@a.example/",
                "Host: a.example\r\n",
                other("evil@a.example"),
            ),
            (
                "GET https://a.example/",
                "Host: a.example\r\n",
                Some(Fault::Malformed),
            ),
            (
                "GET a.example",
                "Host: a.example\r\n",
                Some(Fault::Malformed),
            ),
            (
                "CONNECT a.example:443",
                "Host: a.example\r\n",
                Some(Fault::NotPlainRequest),
            ),
        ] {
            assert_eq!(
                fault(&request(line, headers), "a.example"),
                expected,
                "{line} {headers}"
            );
        }
        let address = request("GET /", "Host: 192.0.2.1\r\n");
        assert_eq!(fault(&address, "192.0.2.1"), None);
        assert_eq!(fault(&address, "192.0.2.2"), other("192.0.2.1"));
        let six = request("GET /", "Host: [2001:db8::1]:443\r\n");
        assert_eq!(fault(&six, "2001:db8::1"), None);
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        assert!(matches!(
            fault(preface, "a.example"),
            Some(Fault::NotPlainRequest | Fault::Malformed)
        ));
    }

    #[test]
    fn what_is_not_whole_waits_up_to_the_bound() {
        let whole = records(&message(&[sni(b"a.example")]), 20);
        let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        for bytes in [&whole[..], request] {
            for cut in 0..bytes.len() {
                let inspected = inspect(&bytes[..cut], &asked("a.example"), 443);
                assert_eq!(inspected, Inspection::More, "{cut} of {}", bytes.len());
            }
            assert_eq!(inspect(bytes, &asked("a.example"), 443), Inspection::Passed);
        }
        let endless_request = [b"GET /".to_vec(), vec![b'x'; MOST]].concat();
        assert_eq!(fault(&endless_request, "a.example"), Some(Fault::TooLong));
        let many = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(101));
        assert_eq!(fault(many.as_bytes(), "a.example"), Some(Fault::TooLong));
        // One byte a record: the heads count too.
        let endless_hello = records(&message(&[extension(21, &[0; 8000])]), 1);
        assert_eq!(
            fault(&endless_hello[..MOST], "a.example"),
            Some(Fault::TooLong)
        );
    }

    #[test]
    fn the_farewell_is_in_what_the_client_speaks() {
        let Inspection::Refused(finding) =
            inspect(b"GET / HTTP/1.1\r\n\r\n", &asked("a.example"), 80)
        else {
            panic!("passed");
        };
        let text = std::str::from_utf8(finding.farewell()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decided_within_the_bound(
            first in prop_oneof![Just(22u8), Just(b'G'), any::<u8>()],
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = [vec![first], bytes].concat();
            prop_assert_ne!(inspect(&bytes, &asked("a.example"), 443), Inspection::Passed);
        }

        #[test]
        fn a_hello_may_come_in_records_of_any_size(size in 1usize..200, cut in 0usize..200) {
            let whole = records(&message(&[sni(b"a.example")]), size);
            prop_assert_eq!(inspect(&whole, &asked("a.example"), 443), Inspection::Passed);
            let cut = cut.min(whole.len() - 1);
            prop_assert_eq!(inspect(&whole[..cut], &asked("a.example"), 443), Inspection::More);
        }
    }
}
