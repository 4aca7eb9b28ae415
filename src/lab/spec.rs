//! How the values of a lab file are written: names, addresses, rates, routes, rules, probes.
//!
//! Pure functions from text to a value that cannot be wrong; [`super::file`] knows where the text
//! stands, [`super::topology`] what the names in it mean.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::error::Error;
use crate::netns::firewall::Statement;
use crate::netns::traffic::{Loss, Rate, Shaper};
use crate::policy::spec::{Parsed, duration, invalid};

/// The kernel keeps an interface's name in 16 bytes with a NUL at the end (netdevice(7)).
pub(super) const LONGEST_NAME: usize = 15;

/// The name of a lab, node, network, bridge or group.
///
/// Stricter than the kernel: such a name becomes part of paths, interface names, rules and pages.
pub(super) fn name(text: &str) -> Parsed<String> {
    let shown = text.escape_debug();
    if text.is_empty() {
        return invalid("a name cannot be empty");
    }
    if text.len() > LONGEST_NAME {
        return invalid(format!(
            "\"{shown}\" has {} bytes; a name has {LONGEST_NAME} at most",
            text.len()
        ));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if let Some(other) = text.chars().find(|&c| !plain(c)) {
        return invalid(format!(
            "\"{shown}\" has a {:?}; a name has letters, digits, \"-\" and \"_\" only",
            other
        ));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return invalid(format!(
            "\"{shown}\": a name begins with a letter or a digit"
        ));
    }
    Ok(text.to_owned())
}

/// The name of an interface inside a node.
pub(super) fn interface(text: &str) -> Parsed<String> {
    let name = name(text)?;
    // The kernel's words for "every interface" in a sysctl's path, and the one that is always there.
    if ["all", "default", "lo"].contains(&name.as_str()) {
        return invalid(format!(
            "\"{name}\" cannot be an interface's name: the kernel has it"
        ));
    }
    Ok(name)
}

/// One end of a link in short: `NODE` or `NODE:INTERFACE`.
pub(super) fn end(text: &str) -> Parsed<(String, Option<String>)> {
    match text.split_once(':') {
        None => Ok((name(text)?, None)),
        Some((node, rest)) => Ok((name(node)?, Some(interface(rest)?))),
    }
}

/// An address with the length of its network's prefix: `10.1.1.1/24`.
pub(super) fn address(text: &str) -> Parsed<IpNet> {
    let help = "write an address with its prefix, as 10.1.1.1/24 or fd00::1/64";
    let net: IpNet = match text.parse() {
        Ok(net) => net,
        Err(_) => return invalid(format!("\"{}\": {help}", text.escape_debug())),
    };
    let address = net.addr();
    if net.prefix_len() == 0 {
        return invalid(format!("{net}: the prefix cannot be 0; {help}"));
    }
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return invalid(format!("{address} cannot be the address of an interface"));
    }
    // Networks of two addresses, or one, have neither (RFC 3021, RFC 6164).
    if net.prefix_len() < net.max_prefix_len() - 1 {
        if address == net.network() {
            return invalid(format!("{address} is the address of the network itself"));
        }
        if address.is_ipv4() && address == net.broadcast() {
            return invalid(format!(
                "{address} is the broadcast address of {}",
                net.trunc()
            ));
        }
    }
    Ok(net)
}

/// A network: `10.1.1.0/24`.
pub(super) fn network(text: &str) -> Parsed<IpNet> {
    let net: IpNet = match text.parse() {
        Ok(net) => net,
        Err(_) => {
            return invalid(format!(
                "\"{}\": write a network as 10.1.1.0/24 or fd00:1::/64",
                text.escape_debug()
            ));
        }
    };
    if net.addr() != net.network() {
        return invalid(format!(
            "{net} has bits set behind its prefix; did you mean \"{}\"?",
            net.trunc()
        ));
    }
    Ok(net)
}

/// The same, for a network that addresses are given out from.
pub(super) fn network_of(text: &str, family: Family) -> Parsed<IpNet> {
    let net = network(text)?;
    if Family::of(net.addr()) != family {
        return invalid(format!("{net} is no {family} network"));
    }
    let host = net.network();
    if net.prefix_len() == 0 || host.is_multicast() || host.is_loopback() {
        return invalid(format!("addresses cannot be given out from {net}"));
    }
    Ok(net)
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Of which family an address is.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A hardware address, of one interface: `02:00:00:00:00:01`.
pub(super) fn mac(text: &str) -> Parsed<[u8; 6]> {
    let help = "write a hardware address as 02:00:00:00:00:01";
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().unwrap_or_default();
        match (part.len(), u8::from_str_radix(part, 16)) {
            (2, Ok(number)) if !part.starts_with('+') => *byte = number,
            _ => return invalid(help),
        }
    }
    if parts.next().is_some() {
        return invalid(help);
    }
    if bytes == [0; 6] || bytes[0] & 1 == 1 {
        return invalid(
            "a hardware address of one interface is not zero and has an even first byte",
        );
    }
    Ok(bytes)
}

/// A hardware address as [`mac`] reads it.
#[must_use]
pub fn show_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What an interface sends at most: `10mbit`.
pub(super) fn rate(text: &str) -> Parsed<Rate> {
    text.parse().or_else(|error| reason_of(&error))
}

/// What holds an interface to its rate: `tbf`, `htb`.
pub(super) fn shaper(text: &str) -> Parsed<Shaper> {
    text.parse().or_else(|error| reason_of(&error))
}

/// How many packets are lost: `0.5%`.
pub(super) fn loss(text: &str) -> Parsed<Loss> {
    text.parse().or_else(|error| reason_of(&error))
}

/// A statement of a firewall, as [`crate::netns::firewall::GRAMMAR`] has it.
pub(super) fn statement(text: &str) -> Parsed<Statement> {
    text.parse().or_else(|error| reason_of(&error))
}

fn reason_of<T>(error: &Error) -> Parsed<T> {
    invalid(match error {
        Error::Usage { what, reason } => format!("{what}: {reason}"),
        other => other.to_string(),
    })
}

/// How long a packet is held back.
pub(super) fn delay(text: &str) -> Parsed<Duration> {
    let delay = duration(text)?;
    if delay > Duration::from_secs(60) {
        return invalid("a packet can be held back for a minute at most");
    }
    Ok(delay)
}

/// The largest packet of a link. IPv6 needs 1280 (RFC 8200), IPv4 68.
pub(super) fn mtu(text: &str) -> Parsed<u32> {
    match text.parse() {
        Ok(mtu @ 68..=65_535) => Ok(mtu),
        _ => invalid("the largest packet of a link has 68 to 65535 bytes"),
    }
}

/// A kernel setting of the network, as sysctl(8) writes it: `net.ipv4.tcp_ecn`.
pub(super) fn sysctl(text: &str) -> Parsed<String> {
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let mut parts = text.split('.');
    let well_formed =
        parts.next() == Some("net") && text.split('.').count() > 2 && parts.all(plain);
    if !well_formed {
        return invalid(format!(
            "\"{}\": write a setting of the network as net.ipv4.tcp_ecn",
            text.escape_debug()
        ));
    }
    Ok(text.to_owned())
}

/// A setting's value: one line.
pub(super) fn sysctl_value(text: &str) -> Parsed<String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return invalid("a setting's value is one line of text");
    }
    Ok(text.to_owned())
}

/// Where packets are sent on: an address, or a node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Via {
    Address(IpAddr),
    Node(String),
}

/// A gateway: an address, or the name of a node on the same link.
pub(super) fn via(text: &str) -> Parsed<Via> {
    if let Ok(address) = text.parse() {
        return Ok(Via::Address(address));
    }
    name(text).map(Via::Node)
}

/// A route: `10.2.0.0/24 via router`, `10.2.0.0/24 via 10.1.0.1`.
pub(super) fn route(text: &str) -> Parsed<(IpNet, Via)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [to, "via", gateway] = words[..] else {
        return invalid("write a route as \"NETWORK via NODE\" or \"NETWORK via ADDRESS\"");
    };
    let to = network(to)?;
    if to.prefix_len() == 0 {
        return invalid("the route to everywhere is the key \"default\"");
    }
    Ok((to, via(gateway)?))
}

fn ports(text: &str) -> Parsed<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|&port| digits && port > 0)
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => invalid(format!(
            "\"{}\": write a port as 80, several as 8000-8010",
            text.escape_debug()
        )),
    }
}

/// What is sent to find out whether a node reaches another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Probe {
    /// An ICMP echo request.
    Icmp,
    /// A TCP connection to this port.
    Tcp(u16),
    /// A datagram to this port, which is answered.
    Udp(u16),
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp => f.write_str("icmp"),
            Self::Tcp(port) => write!(f, "tcp {port}"),
            Self::Udp(port) => write!(f, "udp {port}"),
        }
    }
}

/// Nodes by a word: a node's name, a group's, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    All,
    Named(String),
    Address(IpAddr),
}

/// A claim about who reaches whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) from: Who,
    pub(super) to: Who,
    pub(super) both_ways: bool,
    pub(super) probe: Probe,
}

/// A claim: `A -> B`, `A <-> B`, `A -> B tcp 80`; `*` is every node, a group all of its own.
pub(super) fn claim(text: &str) -> Parsed<Claim> {
    let help = "write who reaches whom as \"A -> B\" or \"A <-> B\", with \"tcp PORT\" or \"udp PORT\" \
                after it for another probe than a ping";
    let words: Vec<&str> = text.split_whitespace().collect();
    let [from, arrow @ ("->" | "<->"), to, ref probe @ ..] = words[..] else {
        return invalid(help);
    };
    let port = |text: &str| match ports(text)? {
        (first, last) if first == last => Ok(first),
        _ => invalid("a probe is sent to one port"),
    };
    let probe = match probe {
        [] | ["icmp"] => Probe::Icmp,
        ["tcp", number] => Probe::Tcp(port(number)?),
        ["udp", number] => Probe::Udp(port(number)?),
        _ => return invalid(help),
    };
    let who = |text: &str| match text {
        "*" => Ok(Who::All),
        text => name(text).map(Who::Named),
    };
    let from = who(from)?;
    let to = match to.parse() {
        Ok(address) if arrow == "->" => Who::Address(address),
        Ok(_) => return invalid("an address sends no probe: write \"A -> ADDRESS\""),
        Err(_) => who(to)?,
    };
    Ok(Claim {
        from,
        to,
        both_ways: arrow == "<->",
        probe,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused<T: fmt::Debug>(parsed: Parsed<T>) -> String {
        parsed.unwrap_err().to_string()
    }

    #[test]
    fn names_are_plain_and_short() {
        for good in ["a", "router", "node-1", "10", "a_b", "fifteen-letters"] {
            assert_eq!(name(good).unwrap(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            "a.b",
            "a/b",
            "sixteen-letters!",
            "-a",
            "a b",
            "a:b",
            "é",
            "a\0",
        ] {
            name(bad).unwrap_err();
        }
        assert_eq!(
            refused(name("sixteen-letters-")),
            "\"sixteen-letters-\" has 16 bytes; a name has 15 at most"
        );
        assert_eq!(
            refused(name("a/b")),
            "\"a/b\" has a '/'; a name has letters, digits, \"-\" and \"_\" only"
        );
    }

    #[test]
    fn the_kernels_own_names_are_no_interfaces() {
        for taken in ["lo", "all", "default"] {
            interface(taken).unwrap_err();
        }
        assert_eq!(
            end("a:eth0").unwrap(),
            ("a".to_owned(), Some("eth0".to_owned()))
        );
    }

    #[test]
    fn addresses_are_of_one_interface() {
        for good in [
            "10.1.1.1/24",
            "fd00::1/64",
            "10.0.0.0/31",
            "10.0.0.1/32",
            "fd00::/127",
        ] {
            address(good).unwrap();
        }
        for bad in [
            "10.1.1.1",
            "10.1.1.0/24",
            "10.1.1.255/24",
            "fd00::/64",
            "127.0.0.1/8",
            "224.0.0.1/4",
            "0.0.0.0/8",
            "10.1.1.1/0",
            "10.1.1.1/33",
            "x",
            "",
        ] {
            address(bad).unwrap_err();
        }
        assert_eq!(
            refused(network("10.1.1.7/24")),
            "10.1.1.7/24 has bits set behind its prefix; did you mean \"10.1.1.0/24\"?"
        );
    }

    #[test]
    fn hardware_addresses_read_back() {
        let text = "02:00:5e:10:00:ff";
        assert_eq!(show_mac(mac(text).unwrap()), text);
        for bad in [
            "",
            "03:00:00:00:00:01",
            "00:00:00:00:00:00",
            "02:00:00:00:00",
            "2:0:0:0:0:1",
        ] {
            mac(bad).unwrap_err();
        }
    }

    #[test]
    fn claims_are_sentences() {
        assert_eq!(claim("a -> b tcp 80").unwrap().probe, Probe::Tcp(80));
        assert!(claim("* <-> b").unwrap().both_ways);
        assert_eq!(
            claim("a -> fd00::1").unwrap().to,
            Who::Address("fd00::1".parse().unwrap())
        );
        for bad in [
            "a",
            "a -> ",
            "a > b",
            "a <-> 10.0.0.1",
            "a -> b tcp",
            "a -> b sctp 1",
            "a.b -> c",
        ] {
            claim(bad).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,40}") {
            let _ = (name(&text), end(&text), address(&text), network(&text), mac(&text));
            let _ = (rate(&text), delay(&text), loss(&text), mtu(&text), sysctl(&text));
            let _ = (route(&text), statement(&text), claim(&text));
        }
    }
}
