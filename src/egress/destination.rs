//! A destination as `--allow`, `--deny` and policies write it: read, shown in one spelling, matched.
//!
//! Pure. The forms: `HOST:PORTS`, `*.HOST:PORTS`, `IPv4[/BITS]:PORTS`, `[IPv6[/BITS]]:PORTS`, each after
//! `tcp://` (which may be left out) or `udp://`; `unix:PATH`; `@SET`. PORTS is a list of ports and
//! ranges (`80,443,8000-8010`). What could match nothing, or could be read in two ways, is refused.
//! Whether a destination *may* be reached is for [`super::rules`].
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

use super::name::Name;
use crate::policy::spec::{self, Invalid, Parsed, invalid};

/// The longest text of a destination.
const MAX_TEXT: usize = 4096;
/// The most ports and ranges in one list.
const MAX_RANGES: usize = 128;

/// What a rule of a policy is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// Ports of hosts.
    Network {
        /// TCP or UDP.
        protocol: Protocol,
        /// Which hosts.
        hosts: Hosts,
        /// Which of their ports.
        ports: Ports,
    },
    /// A Unix socket by its path, absolute.
    Unix(PathBuf),
    /// A named set of destinations ([`super::sets`]).
    Set(String),
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// tcp(7).
    Tcp,
    /// udp(7).
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Which hosts a destination is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hosts {
    /// The host of this name.
    Named(Name),
    /// Every host whose name lies below this one; not itself.
    Below(Name),
    /// The addresses of this network; never IPv4-mapped, no bits beyond its length.
    Addresses(IpNet),
}

/// Who is asked for at run time: a name, or an address in its one form ([`IpAddr::to_canonical`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    /// By name.
    Name(Name),
    /// By address.
    Address(IpAddr),
}

impl Asked {
    /// What `host` of a proxy request or a TLS hello means: strict IPv4, IPv6 without or with brackets,
    /// or a name.
    #[must_use]
    pub fn from_ascii(host: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(host).ok()?;
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(address) = bare.parse::<Ipv6Addr>() {
            return Some(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        Name::from_ascii(host).map(Self::Name)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl Hosts {
    /// The one host, where there is only one.
    #[must_use]
    pub fn one(&self) -> Option<Asked> {
        match self {
            Self::Named(name) => Some(Asked::Name(name.clone())),
            Self::Addresses(network) if network.prefix_len() == network.max_prefix_len() => {
                Some(Asked::Address(network.addr()))
            }
            Self::Below(_) | Self::Addresses(_) => None,
        }
    }

    /// Whether `asked` is one of them. A name never is one of an address rule, nor the other way round.
    #[must_use]
    pub fn cover(&self, asked: &Asked) -> bool {
        match (self, asked) {
            (Self::Named(name), Asked::Name(asked)) => name == asked,
            (Self::Below(parent), Asked::Name(asked)) => asked.is_below(parent),
            (Self::Addresses(network), Asked::Address(asked)) => {
                network.contains(&asked.to_canonical())
            }
            _ => false,
        }
    }

    /// Whether some host is one of these and of `other`.
    fn meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Below(one), Self::Below(two)) => {
                one == two || one.is_below(two) || two.is_below(one)
            }
            (Self::Named(name), hosts) | (hosts, Self::Named(name)) => {
                hosts.cover(&Asked::Name(name.clone()))
            }
            (Self::Addresses(one), Self::Addresses(two)) => one.contains(two) || two.contains(one),
            (Self::Below(_), Self::Addresses(_)) | (Self::Addresses(_), Self::Below(_)) => false,
        }
    }
}

impl Destination {
    /// Whether something is asked for that is of both. A set, which stands for others, has nothing in common
    /// with any.
    #[must_use]
    pub(crate) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Network {
                    protocol,
                    hosts,
                    ports,
                },
                Self::Network {
                    protocol: others,
                    hosts: other_hosts,
                    ports: other_ports,
                },
            ) => protocol == others && hosts.meet(other_hosts) && ports.meet(other_ports),
            (Self::Unix(one), Self::Unix(two)) => one == two,
            _ => false,
        }
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => name.fmt(f),
            Self::Below(parent) => write!(f, "*.{parent}"),
            Self::Addresses(network) => {
                let whole = network.prefix_len() == network.max_prefix_len();
                match (network, whole) {
                    (IpNet::V4(network), true) => network.addr().fmt(f),
                    (IpNet::V4(network), false) => network.fmt(f),
                    (IpNet::V6(network), true) => write!(f, "[{}]", network.addr()),
                    (IpNet::V6(network), false) => write!(f, "[{network}]"),
                }
            }
        }
    }
}

/// Ports: ranges in order that neither overlap nor touch. Port 0 is none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports(Vec<(u16, u16)>);

impl Ports {
    /// No port.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Every port that there is.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![(1, u16::MAX)])
    }

    /// One port.
    #[must_use]
    pub fn one(port: u16) -> Self {
        Self(match port {
            0 => Vec::new(),
            port => vec![(port, port)],
        })
    }

    /// The ranges, first and last port of each.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> {
        self.0.iter().copied()
    }

    /// Every port, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(|&(first, last)| first..=last)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0
            .iter()
            .map(|&(first, last)| usize::from(last - first) + 1)
            .sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub fn contain(&self, port: u16) -> bool {
        self.0
            .iter()
            .any(|&(first, last)| (first..=last).contains(&port))
    }

    /// Whether some port is one of these and of `other`.
    fn meet(&self, other: &Self) -> bool {
        let mut ranges = self.ranges();
        ranges.any(|(first, last)| other.ranges().any(|(from, to)| first <= to && from <= last))
    }

    /// These and `other`.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self::from_ranges(self.ranges().chain(other.ranges()))
    }

    /// These without those of `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = self.0.clone();
        for (from, to) in other.ranges() {
            left = left
                .into_iter()
                .flat_map(|(first, last)| {
                    let below = (first, last.min(from.saturating_sub(1)));
                    let above = (first.max(to.saturating_add(1)), last);
                    // Port 65535 has none above it, where saturation would keep it.
                    let above = (to < u16::MAX).then_some(above);
                    [Some(below), above].into_iter().flatten()
                })
                .filter(|(first, last)| first <= last && *first != 0)
                .collect();
        }
        Self(left)
    }

    /// Ranges in any order, merged.
    fn from_ranges(ranges: impl Iterator<Item = (u16, u16)>) -> Self {
        let mut sorted: Vec<(u16, u16)> = ranges.collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::new();
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }
}

impl FromStr for Ports {
    type Err = Invalid;

    fn from_str(text: &str) -> Parsed<Self> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            if ranges.len() == MAX_RANGES {
                return invalid(format!(
                    "more than {MAX_RANGES} ports and ranges in one list"
                ));
            }
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (port(first)?, port(last)?),
                None => (port(part)?, port(part)?),
            };
            if first > last {
                return invalid(format!("the range of ports {first}-{last} holds none"));
            }
            ranges.push((first, last));
        }
        Ok(Self::from_ranges(ranges.into_iter()))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, &(first, last)) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            match first == last {
                true => write!(f, "{first}")?,
                false => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// A port from 1 to 65535, in digits alone and without a leading zero.
fn port(text: &str) -> Parsed<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    match text.parse::<u16>() {
        Ok(port) if digits => Ok(port),
        _ => invalid("a port is a number from 1 to 65535, or a range as 8000-8010"),
    }
}

impl FromStr for Destination {
    type Err = Invalid;

    fn from_str(text: &str) -> Parsed<Self> {
        if text.len() > MAX_TEXT {
            return invalid(format!("a destination has {MAX_TEXT} bytes at most"));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        if let Some(set) = text.strip_prefix('@') {
            return set_name(set).map(Self::Set);
        }
        let (protocol, rest) = match text.split_once("://") {
            Some(("tcp", rest)) => (Protocol::Tcp, rest),
            Some(("udp", rest)) => (Protocol::Udp, rest),
            Some((scheme, rest)) => return invalid(not_a_scheme(scheme, rest)),
            None => (Protocol::Tcp, text),
        };
        let (host, ports) = split(rest)?;
        let hosts = hosts(host)?;
        let ports = ports.parse()?;
        Ok(Self::Network {
            protocol,
            hosts,
            ports,
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network {
                protocol,
                hosts,
                ports,
            } => {
                if *protocol == Protocol::Udp {
                    f.write_str("udp://")?;
                }
                write!(f, "{hosts}:{ports}")
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Set(name) => write!(f, "@{name}"),
        }
    }
}

fn unix(path: &str) -> Parsed<Destination> {
    let path = spec::unix_path(OsStr::new(path))?;
    // Where a policy file lies says nothing of where the sockets of a host are.
    if !path.is_absolute() {
        return invalid("write the path of a Unix socket from the root, as unix:/run/x.sock");
    }
    if path
        .components()
        .any(|part| part == std::path::Component::ParentDir)
    {
        return invalid("the path of a Unix socket has no \"..\"");
    }
    Ok(Destination::Unix(path.components().collect()))
}

/// A set's name; also its file's, without the ending.
pub(crate) fn set_name(text: &str) -> Parsed<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) || text.starts_with(['-', '.'])
    {
        return invalid("a set's name has up to 64 letters, digits, \"-\", \"_\" and \".\" only");
    }
    Ok(text.to_owned())
}

fn not_a_scheme(scheme: &str, rest: &str) -> String {
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let port = match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(443),
        "http" | "ws" => Some(80),
        "ssh" => Some(22),
        _ => None,
    };
    let plain = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    match port {
        Some(port) if plain && !host.is_empty() => {
            format!("a destination is no URL; write {host}:{port}")
        }
        _ => "before :// stands tcp or udp; a destination is no URL".to_owned(),
    }
}

/// Host and ports. The last colon parts them, and an IPv6 address stands in brackets.
fn split(text: &str) -> Parsed<(&str, &str)> {
    if text.starts_with('[') {
        return match text.split_once("]:") {
            Some((host, ports)) => Ok((text.get(..=host.len()).unwrap_or(host), ports)),
            None => invalid("write an IPv6 destination as [2001:db8::1]:443"),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => {
            invalid("put an IPv6 address in brackets, as [2001:db8::1]:443")
        }
        Some((host, ports)) => Ok((host, ports)),
        None => invalid(format!(
            "\"{}\" has no port; write one, as example.com:443",
            text.escape_debug()
        )),
    }
}

fn hosts(text: &str) -> Parsed<Hosts> {
    if let Some(inner) = text.strip_prefix('[') {
        return v6(inner.strip_suffix(']').unwrap_or(inner));
    }
    if let Some(parent) = text.strip_prefix("*.") {
        let name = named(parent)?;
        if !name.has_room_below() {
            return invalid("no name can lie below one so long");
        }
        return Ok(Hosts::Below(name));
    }
    if text.contains('*') {
        return invalid(
            "a * stands for all names below one, as *.example.com:443, and nowhere else",
        );
    }
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    match (address.parse::<Ipv4Addr>(), bits) {
        (Ok(address), bits) => network(address.into(), bits),
        (Err(_), Some(_)) => invalid(format!(
            "\"{}\" is no IPv4 network; write one as 192.0.2.0/24:443",
            text.escape_debug()
        )),
        (Err(_), None) => named(text).map(Hosts::Named),
    }
}

fn named(text: &str) -> Parsed<Name> {
    let name = Name::parse(text)?;
    if name.is_localhost() {
        return invalid(
            "localhost is the sandbox itself; write 127.0.0.1 or [::1] for the host's own",
        );
    }
    Ok(name)
}

fn v6(text: &str) -> Parsed<Hosts> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<Ipv6Addr>() else {
        return invalid(format!(
            "\"{}\" is no IPv6 address; write a destination as [2001:db8::1]:443 or [2001:db8::/32]:443",
            text.escape_debug()
        ));
    };
    if let Some(v4) = address.to_ipv4_mapped() {
        return invalid(format!(
            "an IPv4-mapped address is an IPv4 address; write {v4} without brackets"
        ));
    }
    network(address.into(), bits)
}

fn network(address: IpAddr, bits: Option<&str>) -> Parsed<Hosts> {
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = match bits {
        None => most,
        Some(bits) => {
            let digits =
                bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
            match bits.parse::<u8>() {
                Ok(length) if digits && length <= most => length,
                _ => return invalid(format!("behind / stands a number of bits from 0 to {most}")),
            }
        }
    };
    let Ok(network) = IpNet::new(address, length) else {
        return invalid("no such network");
    };
    if network.trunc() != network {
        return invalid(format!(
            "{address} has bits beyond the first {length}; write {}",
            network.trunc()
        ));
    }
    if length == most && address.is_unspecified() {
        return invalid(format!("nothing can be reached at {address}"));
    }
    Ok(Hosts::Addresses(network))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_has_one_spelling() {
        for (text, shown) in [
            ("example.com:443", "example.com:443"),
            ("Example.COM.:443", "example.com:443"),
            ("tcp://example.com:443", "example.com:443"),
            ("udp://ntp.example:123", "udp://ntp.example:123"),
            ("*.example.com:443", "*.example.com:443"),
            ("*.Bücher.example:1", "*.xn--bcher-kva.example:1"),
            ("example.com:80,443", "example.com:80,443"),
            ("example.com:443,80,81,80", "example.com:80-81,443"),
            ("example.com:8000-8010,8005-9000", "example.com:8000-9000"),
            ("example.com:1-65535", "example.com:1-65535"),
            ("192.0.2.1:22", "192.0.2.1:22"),
            ("192.0.2.1/32:22", "192.0.2.1:22"),
            ("192.0.2.0/24:22", "192.0.2.0/24:22"),
            ("0.0.0.0/0:22", "0.0.0.0/0:22"),
            ("[2001:DB8::1]:22", "[2001:db8::1]:22"),
            ("[2001:db8::/32]:22", "[2001:db8::/32]:22"),
            ("[::/0]:22", "[::/0]:22"),
            ("udp://[::1]:53", "udp://[::1]:53"),
            (
                "unix:/run/postgresql/.s.PGSQL.5432",
                "unix:/run/postgresql/.s.PGSQL.5432",
            ),
            ("unix:/run//x/./y", "unix:/run/x/y"),
            ("@python-packages", "@python-packages"),
        ] {
            let destination: Destination = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(destination.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(destination), "{text}");
        }
    }

    #[test]
    fn what_matches_nothing_or_two_things_is_refused_with_what_to_write() {
        let long = format!("*.{}com:1", "a.".repeat(125));
        let ports = format!("a:{}1", "1,".repeat(200));
        for (text, reason) in [
            ("", "has no port"),
            (
                "example.com",
                "\"example.com\" has no port; write one, as example.com:443",
            ),
            ("example.com:", "a port is a number from 1 to 65535"),
            ("example.com:0", "a port is a number from 1 to 65535"),
            ("example.com:65536", "a port is a number from 1 to 65535"),
            ("example.com:+1", "a port is a number from 1 to 65535"),
            ("example.com:080", "a port is a number from 1 to 65535"),
            ("example.com:80,", "a port is a number from 1 to 65535"),
            ("example.com:-80", "a port is a number from 1 to 65535"),
            ("example.com:80-", "a port is a number from 1 to 65535"),
            ("example.com:*", "a port is a number from 1 to 65535"),
            ("example.com:https", "a port is a number from 1 to 65535"),
            ("example.com:90-80", "the range of ports 90-80 holds none"),
            (&ports, "more than 128"),
            (":80", "it is empty"),
            ("a..b:80", "empty label"),
            ("a\0b:80", "letters, digits"),
            ("*:80", "a * stands for all names below one"),
            ("a.*.com:80", "a * stands for"),
            ("*a.com:80", "a * stands for"),
            ("*.*.com:80", "letters, digits"),
            ("*.:80", "it is empty"),
            (&long, "no name can lie below"),
            ("*.10.0.0.1:80", "ends in a number"),
            (
                "https://example.com",
                "a destination is no URL; write example.com:443",
            ),
            ("https://example.com/x?y", "write example.com:443"),
            ("ftp://example.com:21", "before :// stands tcp or udp"),
            ("http://a\nb", "before :// stands"),
            ("TCP://example.com:80", "before :// stands"),
            ("example.com:80/path", "a port is a number"),
            ("example.com/24:80", "is no IPv4 network"),
            ("127.1:80", "ends in a number"),
            ("0177.0.0.1:80", "ends in a number"),
            ("127.0.0.01:80", "ends in a number"),
            ("0x7f000001:80", "ends in a number"),
            ("2130706433:80", "ends in a number"),
            (
                "10.0.0.1/8:80",
                "10.0.0.1 has bits beyond the first 8; write 10.0.0.0/8",
            ),
            ("10.0.0.0/33:80", "a number of bits from 0 to 32"),
            ("10.0.0.0/08:80", "a number of bits"),
            ("10.0.0.0/:80", "a number of bits"),
            ("10.0.0.0/+8:80", "a number of bits"),
            ("0.0.0.0:80", "nothing can be reached at 0.0.0.0"),
            ("[::]:80", "nothing can be reached at ::"),
            ("2001:db8::1:443", "put an IPv6 address in brackets"),
            ("::1:80", "put an IPv6 address in brackets"),
            ("[2001:db8::1]", "write an IPv6 destination as"),
            ("[2001:db8::1]443", "write an IPv6 destination as"),
            ("[::1", "write an IPv6 destination as"),
            ("[x]:80", "is no IPv6 address"),
            ("[fe80::1%eth0]:80", "is no IPv6 address"),
            ("[192.0.2.1]:80", "is no IPv6 address"),
            ("[2001:db8::]/32:443", "write an IPv6 destination as"),
            ("[2001:db8::1/32]:443", "has bits beyond the first 32"),
            ("[::/129]:443", "a number of bits from 0 to 128"),
            ("[::ffff:127.0.0.1]:80", "write 127.0.0.1 without brackets"),
            ("localhost:80", "localhost is the sandbox itself"),
            ("LocalHost.:80", "localhost is the sandbox itself"),
            ("*.localhost:80", "localhost is the sandbox itself"),
            ("unix:", "a path cannot be empty"),
            ("unix:x.sock", "from the root"),
            ("unix:@x", "abstract"),
            ("unix:/run/../x", "no \"..\""),
            ("unix:/a\0", "NUL"),
            ("@", "a set's name"),
            ("@a/b", "a set's name"),
            ("@../x", "a set's name"),
            ("@a:80", "a set's name"),
        ] {
            let error = text.parse::<Destination>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
            assert!(!error.contains(['\0', '\n']), "{error:?}");
        }
        assert!("x".repeat(5000).parse::<Destination>().is_err());
    }

    fn covers(destination: &str, host: &str) -> bool {
        let Ok(Destination::Network { hosts, .. }) = destination.parse() else {
            panic!("{destination}");
        };
        Asked::from_ascii(host.as_bytes()).is_some_and(|asked| hosts.cover(&asked))
    }

    #[test]
    fn destinations_meet_where_something_is_of_both() {
        for (one, two, meet) in [
            ("a.example:80", "a.example:80", true),
            ("a.example:80", "b.example:80", false),
            ("a.example:80", "a.example:81", false),
            ("a.example:80", "udp://a.example:80", false),
            ("a.example:80,90", "a.example:85-95", true),
            ("a.example:80-84,96", "a.example:85-95", false),
            ("*.example:80", "a.example:80", true),
            ("*.a.example:80", "a.example:80", false),
            ("*.example:80", "*.a.example:80", true),
            ("*.b.example:80", "*.a.example:80", false),
            ("10.0.0.0/8:80", "10.1.0.0/16:80", true),
            ("10.0.0.0/16:80", "10.1.0.0/16:80", false),
            ("10.0.0.0/8:80", "[fd00::]:80", false),
            ("10.0.0.1:80", "*.example:80", false),
            ("unix:/run/x", "unix:/run/x", true),
            ("unix:/run/x", "unix:/run/y", false),
        ] {
            let read = |text: &str| text.parse::<Destination>().unwrap();
            assert_eq!(read(one).meets(&read(two)), meet, "{one} {two}");
            assert_eq!(read(two).meets(&read(one)), meet, "{two} {one}");
        }
    }

    #[test]
    fn names_and_addresses_match_as_a_whole() {
        for (destination, host, matches) in [
            ("example.com:1", "example.com", true),
            ("example.com:1", "EXAMPLE.COM.", true),
            ("example.com:1", "notexample.com", false),
            ("example.com:1", "example.com.evil", false),
            ("example.com:1", "a.example.com", false),
            ("example.com:1", "example.com\0.evil", false),
            ("*.example.com:1", "a.example.com", true),
            ("*.example.com:1", "a.b.example.com", true),
            ("*.example.com:1", "example.com", false),
            ("*.example.com:1", "notexample.com", false),
            ("*.example.com:1", ".example.com", false),
            ("bücher.example:1", "xn--bcher-kva.example", true),
            ("bücher.example:1", "bücher.example", false),
            ("10.0.0.0/8:1", "10.1.2.3", true),
            ("10.0.0.0/8:1", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8:1", "[::ffff:a01:203]", true),
            ("10.0.0.0/8:1", "11.0.0.0", false),
            ("10.0.0.0/8:1", "012.0.0.1", false),
            ("10.0.0.0/8:1", "10.1", false),
            ("0.0.0.0/0:1", "2001:db8::1", false),
            ("[::/0]:1", "10.0.0.1", false),
            ("[::/0]:1", "::ffff:10.0.0.1", false),
            ("[2001:db8::/32]:1", "2001:db8:1::", true),
            ("[2001:db8::/32]:1", "2001:db9::", false),
        ] {
            assert_eq!(covers(destination, host), matches, "{destination} {host:?}");
        }
    }

    fn ports(text: &str) -> Ports {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn ports_are_counted_added_and_taken_away() {
        assert_eq!(ports("80,443,8000-8010").count(), 13);
        assert_eq!(ports("1-65535").count(), 65535);
        assert_eq!(ports("80").and(&ports("81-82")), ports("80-82"));
        assert_eq!(
            ports("1-65535").without(&ports("80,443")),
            ports("1-79,81-442,444-65535")
        );
        assert!(ports("80").without(&ports("1-65535")).is_empty());
        assert_eq!(
            ports("65530-65535").without(&ports("65535")),
            ports("65530-65534")
        );
        assert_eq!(ports("1-5").without(&ports("1")), ports("2-5"));
        assert!(ports("65535").without(&ports("65535")).is_empty());
        assert!(Ports::one(0).is_empty());
        assert!(!ports("1-65535").contain(0));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_reads_back(text in "\\PC{0,40}|[a-c*.:/0-9\\[\\],@-]{0,24}") {
            if let Ok(destination) = text.parse::<Destination>() {
                prop_assert_eq!(destination.to_string().parse(), Ok(destination));
            }
        }

        #[test]
        fn ports_taken_away_are_gone_and_no_others(
            a in proptest::collection::vec((1u16..300, 1u16..300), 1..6),
            b in proptest::collection::vec((1u16..300, 1u16..300), 0..6),
        ) {
            let make = |pairs: &[(u16, u16)]| {
                Ports::from_ranges(pairs.iter().map(|&(x, y)| (x.min(y), x.max(y))))
            };
            let (a, b) = (make(&a), make(&b));
            let (left, both) = (a.without(&b), a.and(&b));
            for port in 0..310 {
                prop_assert_eq!(left.contain(port), a.contain(port) && !b.contain(port));
                prop_assert_eq!(both.contain(port), a.contain(port) || b.contain(port));
            }
            prop_assert_eq!(left.iter().count(), left.count());
        }
    }
}
