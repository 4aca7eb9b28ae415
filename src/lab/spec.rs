//! How the values of a lab file are written: names, addresses, rates, routes, rules, probes.
//!
//! Pure functions from text to a value that cannot be wrong; [`super::file`] knows where the text
//! stands, [`super::topology`] what the names in it mean.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

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

/// What an interface sends at most, in bits a second: `10mbit`.
pub(super) fn rate(text: &str) -> Parsed<u64> {
    const UNITS: &[(&str, u64)] = &[
        ("gbit", 1_000_000_000),
        ("mbit", 1_000_000),
        ("kbit", 1_000),
        ("bit", 1),
    ];
    let help = "write a rate as 10mbit, 512kbit or 1gbit";
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return invalid(help);
    };
    match number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(*factor))
    {
        // The kernel counts in bytes.
        Some(bits @ 8..) => Ok(bits),
        _ => invalid(help),
    }
}

/// A rate as [`rate`] reads it.
#[must_use]
pub fn show_rate(bits: u64) -> String {
    for (unit, factor) in [
        ("gbit", 1_000_000_000),
        ("mbit", 1_000_000),
        ("kbit", 1_000),
    ] {
        if bits >= factor && bits % factor == 0 {
            return format!("{}{unit}", bits / factor);
        }
    }
    format!("{bits}bit")
}

/// How long a packet is held back.
pub(super) fn delay(text: &str) -> Parsed<Duration> {
    let delay = duration(text)?;
    if delay > Duration::from_secs(60) {
        return invalid("a packet can be held back for a minute at most");
    }
    Ok(delay)
}

/// How many of a hundred packets are lost, in thousandths: `0.5%`.
pub(super) fn loss(text: &str) -> Parsed<u32> {
    let help = "write a loss as 1% or 0.5%, of 100% at most";
    let Some(number) = text.strip_suffix('%') else {
        return invalid(help);
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return invalid(help);
    }
    let thousandths = format!("{whole}{part:0<3}").parse::<u32>();
    match thousandths {
        Ok(loss @ 1..=100_000) => Ok(loss),
        _ => invalid(help),
    }
}

/// A loss as [`loss`] reads it.
#[must_use]
pub fn show_loss(thousandths: u32) -> String {
    let (whole, part) = (thousandths / 1000, thousandths % 1000);
    match part {
        0 => format!("{whole}%"),
        part => format!("{whole}.{}%", format!("{part:03}").trim_end_matches('0')),
    }
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

/// What a rule does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It is gone.
    Drop,
}

/// One of "accept" and "drop".
pub(super) fn verdict(text: &str) -> Parsed<Verdict> {
    match text {
        "accept" => Ok(Verdict::Accept),
        "drop" => Ok(Verdict::Drop),
        _ => invalid("write \"accept\" or \"drop\""),
    }
}

/// Which packets of a node a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Those to the node.
    Input,
    /// Those through it.
    Forward,
    /// Those from it.
    Output,
}

/// Which protocol's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Any.
    Any,
    /// ICMP, or ICMPv6.
    Icmp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The packets that a firewall rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// To, through or from the node.
    pub direction: Direction,
    /// Of which protocol.
    pub protocol: Protocol,
    /// To which ports, first and last.
    pub ports: Option<(u16, u16)>,
    /// From where.
    pub from: Option<IpNet>,
    /// To where.
    pub to: Option<IpNet>,
    /// Come in by which interface.
    pub inward: Option<String>,
    /// Going out by which interface.
    pub outward: Option<String>,
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

fn network_or_address(text: &str) -> Parsed<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.into()),
        Err(_) => network(text),
    }
}

/// A rule: `[input|forward|output] PROTOCOL [PORTS] [from NET] [to NET] [in IF] [out IF]`.
pub(super) fn rule(text: &str) -> Parsed<Rule> {
    let help = "write a rule as [input|forward|output] tcp|udp|icmp|any [PORTS] [from NETWORK] \
                [to NETWORK] [in INTERFACE] [out INTERFACE]";
    let mut words = text.split_whitespace().peekable();
    let direction = match words.peek() {
        Some(&"forward") => Some(Direction::Forward),
        Some(&"output") => Some(Direction::Output),
        Some(&"input") => Some(Direction::Input),
        _ => None,
    };
    if direction.is_some() {
        words.next();
    }
    let protocol = match words.next() {
        Some("tcp") => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        Some("icmp") => Protocol::Icmp,
        Some("any") => Protocol::Any,
        _ => return invalid(help),
    };
    let mut rule = Rule {
        direction: direction.unwrap_or(Direction::Input),
        protocol,
        ports: None,
        from: None,
        to: None,
        inward: None,
        outward: None,
    };
    while let Some(word) = words.next() {
        if word.starts_with(|c: char| c.is_ascii_digit()) && rule.ports.is_none() {
            if !matches!(protocol, Protocol::Tcp | Protocol::Udp) {
                return invalid("only tcp and udp have ports");
            }
            rule.ports = Some(ports(word)?);
            continue;
        }
        let Some(value) = words.next() else {
            return invalid(help);
        };
        match word {
            "from" if rule.from.is_none() => rule.from = Some(network_or_address(value)?),
            "to" if rule.to.is_none() => rule.to = Some(network_or_address(value)?),
            "in" if rule.inward.is_none() => rule.inward = Some(interface(value)?),
            "out" if rule.outward.is_none() => rule.outward = Some(interface(value)?),
            _ => return invalid(help),
        }
    }
    let families: Vec<Family> = [rule.from, rule.to]
        .into_iter()
        .flatten()
        .map(|net| Family::of(net.addr()))
        .collect();
    if families.len() == 2 && families[0] != families[1] {
        return invalid("\"from\" and \"to\" are of two families; no packet is of both");
    }
    match rule.direction {
        Direction::Input if rule.outward.is_some() => {
            invalid("what is for the node itself goes out by no interface")
        }
        Direction::Output if rule.inward.is_some() => {
            invalid("what the node itself sends came in by no interface")
        }
        _ => Ok(rule),
    }
}

/// A port of a node that is another's: `tcp 8080 to web:80`, `udp 53 to 10.0.0.2:53`.
pub(super) fn port_forward(text: &str) -> Parsed<(Protocol, u16, Via, u16)> {
    let help = "write a forwarded port as \"tcp 8080 to NODE:80\" or \"udp 53 to 10.0.0.2:53\", an \
                IPv6 address in brackets";
    let words: Vec<&str> = text.split_whitespace().collect();
    let [protocol, port, "to", target] = words[..] else {
        return invalid(help);
    };
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return invalid(help),
    };
    let Some((host, target)) = target.rsplit_once(':') else {
        return invalid(help);
    };
    let host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(inner) => match inner.parse() {
            Ok(address) => Via::Address(IpAddr::V6(address)),
            Err(_) => return invalid(help),
        },
        None if host.contains(':') => return invalid(help),
        None => via(host)?,
    };
    let one = |text: &str| match ports(text)? {
        (first, last) if first == last => Ok(first),
        _ => invalid("a forwarded port is one port"),
    };
    Ok((protocol, one(port)?, host, one(target)?))
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
    fn rates_losses_and_hardware_addresses_read_back() {
        for text in ["10mbit", "512kbit", "1gbit", "1500bit"] {
            assert_eq!(show_rate(rate(text).unwrap()), text);
        }
        for text in ["1%", "0.5%", "12.125%", "100%"] {
            assert_eq!(show_loss(loss(text).unwrap()), text);
        }
        let text = "02:00:5e:10:00:ff";
        assert_eq!(show_mac(mac(text).unwrap()), text);
        for bad in ["", "7", "1bit", "10Mbit", "99999999999gbit", "-1kbit"] {
            rate(bad).unwrap_err();
        }
        for bad in ["", "%", "0%", "101%", "1", "0.0001%", "1.%", ".5%"] {
            loss(bad).unwrap_err();
        }
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
    fn rules_are_sentences() {
        let allowed = rule("tcp 80-81 from 10.0.0.0/8 in eth0").unwrap();
        assert_eq!(allowed.direction, Direction::Input);
        assert_eq!(allowed.ports, Some((80, 81)));
        assert_eq!(
            rule("forward any to fd00::1").unwrap().direction,
            Direction::Forward
        );
        for bad in [
            "",
            "tcp 0",
            "tcp 99999",
            "icmp 80",
            "tcp 81-80",
            "tcp from",
            "any out eth0",
            "output any in eth0",
            "tcp 80 80",
            "tcp from 10.0.0.1 to fd00::1",
            "tcp 80; drop",
            "tcp in \"eth0\"",
            "sctp 5",
        ] {
            rule(bad).unwrap_err();
        }
    }

    #[test]
    fn claims_and_ports_are_sentences() {
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
        assert_eq!(
            port_forward("tcp 8080 to [fd00::1]:80").unwrap(),
            (
                Protocol::Tcp,
                8080,
                Via::Address("fd00::1".parse().unwrap()),
                80
            )
        );
        for bad in [
            "tcp 80 to web",
            "tcp 80 to fd00::1:80",
            "icmp 1 to a:1",
            "tcp 1-2 to a:1",
        ] {
            port_forward(bad).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,40}") {
            let _ = (name(&text), end(&text), address(&text), network(&text), mac(&text));
            let _ = (rate(&text), delay(&text), loss(&text), mtu(&text), sysctl(&text));
            let _ = (route(&text), rule(&text), port_forward(&text), claim(&text));
        }
    }
}
