//! Addresses that are opened, or connected to, outside.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Parsed, descriptor_name, invalid, path};
use crate::request::Endpoint;

/// Where a socket is opened: `tcp:HOST:PORT`, `tcp:[IPv6]:PORT`, `unix:PATH` or
/// `unix-seqpacket:PATH`. HOST may be empty for every address.
///
/// # Errors
/// When it is none of these.
pub fn endpoint(text: &OsStr) -> Parsed<Endpoint> {
    let bytes = text.as_bytes();
    if let Some(rest) = bytes.strip_prefix(b"unix:") {
        return unix_path(OsStr::from_bytes(rest)).map(Endpoint::Unix);
    }
    if let Some(rest) = bytes.strip_prefix(b"unix-seqpacket:") {
        return unix_path(OsStr::from_bytes(rest)).map(Endpoint::UnixPackets);
    }
    let help =
        "write an address as tcp:HOST:PORT, tcp:[IPv6]:PORT, unix:PATH or unix-seqpacket:PATH";
    let Some(rest) = text.to_str().and_then(|text| text.strip_prefix("tcp:")) else {
        return invalid(help);
    };
    let Some((host, port)) = rest.rsplit_once(':') else {
        return invalid(help);
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return invalid("a port is a number from 0 to 65535");
    }
    let Ok(port) = port.parse::<u16>() else {
        return invalid("a port is a number from 0 to 65535");
    };
    if let Some(inner) = host.strip_prefix('[') {
        let Some(inner) = inner.strip_suffix(']') else {
            return invalid(help);
        };
        if inner.parse::<std::net::Ipv6Addr>().is_err() {
            return invalid(format!(
                "\"{}\" is no IPv6 address; {help}",
                inner.escape_debug()
            ));
        }
        return Ok(Endpoint::Tcp {
            host: inner.to_owned(),
            port,
        });
    }
    if host.contains(':') {
        return invalid("put an IPv6 address in brackets, as tcp:[::1]:PORT");
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_');
    if host.contains(odd) {
        return invalid(format!(
            "\"{}\" is neither a host name nor an IPv4 address",
            host.escape_debug()
        ));
    }
    Ok(Endpoint::Tcp {
        host: host.to_owned(),
        port,
    })
}

/// An endpoint as [`endpoint`] reads it.
#[must_use]
pub fn show_endpoint(endpoint: &Endpoint) -> OsString {
    match endpoint {
        Endpoint::Tcp { host, port } if host.contains(':') => format!("tcp:[{host}]:{port}").into(),
        Endpoint::Tcp { host, port } => format!("tcp:{host}:{port}").into(),
        Endpoint::Unix(path) => prefixed("unix:", path),
        Endpoint::UnixPackets(path) => prefixed("unix-seqpacket:", path),
    }
}

fn prefixed(scheme: &str, path: &Path) -> OsString {
    let mut text = OsString::from(scheme);
    text.push(path);
    text
}

/// `[NAME=]ENDPOINT`: the name is the descriptor's in `LISTEN_FDNAMES`.
///
/// # Errors
/// As [`endpoint`] and [`descriptor_name`].
pub fn named_endpoint(text: &OsStr) -> Parsed<(Option<String>, Endpoint)> {
    let bytes = text.as_bytes();
    let equals = bytes.iter().position(|b| *b == b'=');
    let colon = bytes.iter().position(|b| *b == b':');
    // A path may hold "=": only one before the scheme's colon ends a name.
    if let Some(equals) = equals
        && colon.is_none_or(|colon| equals < colon)
    {
        let name = String::from_utf8_lossy(&bytes[..equals]);
        let rest = OsStr::from_bytes(&bytes[equals + 1..]);
        return Ok((Some(descriptor_name(&name)?), endpoint(rest)?));
    }
    Ok((None, endpoint(text)?))
}

/// `[NAME=]ENDPOINT`, of one that can be connected to.
///
/// # Errors
/// As [`named_endpoint`]; and for every address, or any port.
pub fn named_peer(text: &OsStr) -> Parsed<(Option<String>, Endpoint)> {
    match named_endpoint(text)? {
        (_, Endpoint::Tcp { host, port }) if host.is_empty() || port == 0 => {
            invalid("say whom to connect to: a host, and a port from 1 to 65535")
        }
        peer => Ok(peer),
    }
}

/// The path of a Unix socket, with or without `unix:` before it.
///
/// # Errors
/// When it is empty, holds a NUL or is too long for `sun_path` (unix(7)).
pub fn unix_path(text: &OsStr) -> Parsed<PathBuf> {
    let bytes = text.as_bytes();
    let bytes = bytes.strip_prefix(b"unix:").unwrap_or(bytes);
    if bytes.first() == Some(&b'@') {
        return invalid("an abstract Unix socket has no path; name one in the file system");
    }
    let path = path(OsStr::from_bytes(bytes))?;
    if path.as_os_str().len() > 107 {
        return invalid("the path of a Unix socket has 107 bytes at most");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn a_peer_is_one_host_and_one_port() {
        let whom = Err("say whom to connect to: a host, and a port from 1 to 65535");
        check(
            |text| named_peer(OsStr::new(text)),
            |(name, endpoint)| format!("{name:?} {endpoint:?}"),
            &[
                ("tcp::80", whom),
                ("tcp:localhost:0", whom),
                ("db=tcp:[::1]:0", whom),
                (
                    "db=unix:/run/x.sock",
                    Ok("Some(\"db\") Unix(\"/run/x.sock\")"),
                ),
            ],
        );
    }

    #[test]
    fn endpoints() {
        let help =
            "write an address as tcp:HOST:PORT, tcp:[IPv6]:PORT, unix:PATH or unix-seqpacket:PATH";
        let port = "a port is a number from 0 to 65535";
        let long = format!("unix:/{}", "x".repeat(107));
        check(
            |text| endpoint(OsStr::new(text)),
            |endpoint| {
                show_endpoint(&endpoint)
                    .into_string()
                    .expect("UTF-8 in, UTF-8 out")
            },
            &[
                ("tcp:127.0.0.1:80", Ok("tcp:127.0.0.1:80")),
                ("tcp:localhost:0", Ok("tcp:localhost:0")),
                ("tcp::8080", Ok("tcp::8080")),
                ("tcp:[::1]:80", Ok("tcp:[::1]:80")),
                ("unix:/run/x.sock", Ok("unix:/run/x.sock")),
                ("unix:a:b", Ok("unix:a:b")),
                ("unix-seqpacket:/run/x", Ok("unix-seqpacket:/run/x")),
                ("unix-dgram:/run/x", Err(help)),
                ("", Err(help)),
                ("80", Err(help)),
                ("udp:1.2.3.4:5", Err(help)),
                ("tcp:80", Err(help)),
                ("tcp:[::1:80", Err(help)),
                ("tcp:h:", Err(port)),
                ("tcp:h:65536", Err(port)),
                ("tcp:h:+1", Err(port)),
                (
                    "tcp:::1:80",
                    Err("put an IPv6 address in brackets, as tcp:[::1]:PORT"),
                ),
                (
                    "tcp:[x]:80",
                    Err(
                        "\"x\" is no IPv6 address; write an address as tcp:HOST:PORT, tcp:[IPv6]:PORT, unix:PATH or unix-seqpacket:PATH",
                    ),
                ),
                (
                    "tcp:a b:80",
                    Err("\"a b\" is neither a host name nor an IPv4 address"),
                ),
                ("unix:", Err("a path cannot be empty")),
                (
                    "unix:@x",
                    Err("an abstract Unix socket has no path; name one in the file system"),
                ),
                (
                    &long,
                    Err("the path of a Unix socket has 107 bytes at most"),
                ),
            ],
        );
    }

    #[test]
    fn an_endpoint_may_be_named_before_its_scheme_only() {
        let named = |text| named_endpoint(OsStr::new(text)).unwrap();
        assert_eq!(named("http=tcp::80").0.as_deref(), Some("http"));
        assert_eq!(named("unix:/a=b"), (None, Endpoint::Unix("/a=b".into())));
        assert!(named_endpoint(OsStr::new("=tcp::80")).is_err());
        assert!(named_endpoint(OsStr::new("a b=tcp::80")).is_err());
    }
}
