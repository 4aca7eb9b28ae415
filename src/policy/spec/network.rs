//! The network: what it is, and what leads out of it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{Parsed, advice_and, choice, invalid, path};
use crate::egress::budget;
use crate::egress::destination::Destination;
use crate::egress::publish::Publish;
use crate::policy::{Carrier, Network, UnixSockets};

/// A destination of `--allow` and `--deny`.
///
/// # Errors
/// When it is none, or could be read in two ways.
pub fn destination(text: &OsStr) -> Parsed<Destination> {
    match text.to_str() {
        Some(text) => text.parse(),
        None => invalid("a destination is plain text"),
    }
}

/// A budget of bytes, `DEST=SIZE`.
///
/// # Errors
/// When it is none.
pub fn max_bytes(text: &str) -> Parsed<(Destination, u64)> {
    let (destination, most) = budget::split(text)?;
    budget::bytes(destination, most)
}

/// A budget of bytes a second, `DEST=SIZE/s`.
///
/// # Errors
/// When it is none.
pub fn max_rate(text: &str) -> Parsed<(Destination, u64)> {
    let (destination, most) = budget::split(text)?;
    budget::rate(destination, most)
}

/// The port of a proxy on the sandbox's loopback.
///
/// # Errors
/// When it is none from 1 to 65535.
pub fn proxy_port(text: &str) -> Parsed<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ => invalid("the proxy's port is a number from 1 to 65535"),
    }
}

/// What `--publish` publishes.
///
/// # Errors
/// When it is nothing of the kind.
pub fn publish(text: &OsStr) -> Parsed<Publish> {
    match text.to_str() {
        Some(text) => text.parse(),
        None => invalid("what is published is plain text"),
    }
}

/// A network mode: `loopback`, `none`, `fds`, `ns:NAME`, `ns:PATH` or `host`.
///
/// # Errors
/// When it is none of these, or NAME is no name.
pub fn network(text: &OsStr) -> Parsed<Network> {
    if let Some(rest) = text.as_bytes().strip_prefix(b"ns:") {
        let rest = OsStr::from_bytes(rest);
        if rest.as_bytes().contains(&b'/') {
            return path(rest).map(Network::Namespace);
        }
        if rest.is_empty() || rest == "." || rest == ".." || rest.as_bytes().contains(&0) {
            return invalid("write an existing network namespace as ns:NAME or ns:/PATH");
        }
        return Ok(Network::Namespace(Path::new("/run/netns").join(rest)));
    }
    match text.to_str() {
        Some("loopback") => Ok(Network::Loopback),
        Some("none") => Ok(Network::None),
        Some("fds") => Ok(Network::Fds),
        Some("host") => Ok(Network::Host),
        _ => {
            let text = text.to_string_lossy();
            invalid(format!(
                "no network mode is called \"{}\"{}",
                text.escape_debug(),
                advice_and(
                    &text,
                    ["loopback", "none", "fds", "host"],
                    "use one of loopback, none, fds, ns:NAME, ns:/PATH, host"
                )
            ))
        }
    }
}

/// A network mode as [`network`] reads it.
#[must_use]
pub fn show_network(network: &Network) -> OsString {
    match network {
        Network::Loopback => "loopback".into(),
        Network::None => "none".into(),
        Network::Fds => "fds".into(),
        Network::Host => "host".into(),
        Network::Namespace(path) => {
            let mut text = OsString::from("ns:");
            match path.strip_prefix("/run/netns") {
                Ok(name) if name.components().count() == 1 => text.push(name),
                _ => text.push(path),
            }
            text
        }
    }
}

/// How connections are carried: `relay` or `direct`.
///
/// # Errors
/// When it is neither.
pub fn carrier(text: &str) -> Parsed<Carrier> {
    let choices = [("relay", Carrier::Relay), ("direct", Carrier::Direct)];
    choice(text, "way to carry connections", &choices)
}

/// Which Unix sockets may be connected to: `own`, `datagrams` or `any`.
///
/// # Errors
/// When it is none of these.
pub fn unix_sockets(text: &str) -> Parsed<UnixSockets> {
    choice(text, "set of Unix sockets", &UNIX_SOCKETS)
}

/// The words for [`unix_sockets`].
const UNIX_SOCKETS: [(&str, UnixSockets); 3] = [
    ("own", UnixSockets::Own),
    ("datagrams", UnixSockets::Datagrams),
    ("any", UnixSockets::Any),
];

/// The word for it.
#[must_use]
pub fn show_unix_sockets(which: UnixSockets) -> &'static str {
    let row = UNIX_SOCKETS.iter().find(|(_, known)| *known == which);
    row.map_or("own", |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn networks() {
        let namespace = "write an existing network namespace as ns:NAME or ns:/PATH";
        check(
            |text| network(OsStr::new(text)),
            |mode| {
                show_network(&mode)
                    .into_string()
                    .expect("UTF-8 in, UTF-8 out")
            },
            &[
                ("loopback", Ok("loopback")),
                ("none", Ok("none")),
                ("fds", Ok("fds")),
                ("host", Ok("host")),
                ("ns:blue", Ok("ns:blue")),
                ("ns:/run/netns/blue", Ok("ns:blue")),
                ("ns:/proc/1/ns/net", Ok("ns:/proc/1/ns/net")),
                ("ns:", Err(namespace)),
                ("ns:..", Err(namespace)),
                (
                    "bridge",
                    Err(
                        "no network mode is called \"bridge\"; use one of loopback, none, fds, ns:NAME, ns:/PATH, host",
                    ),
                ),
                (
                    "lopback",
                    Err(
                        "no network mode is called \"lopback\"; did you mean \"loopback\"? use one of loopback, none, fds, ns:NAME, ns:/PATH, host",
                    ),
                ),
            ],
        );
    }
}
