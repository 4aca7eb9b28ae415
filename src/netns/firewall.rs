//! A namespace's own firewall: statements in words, validated, rendered to one nftables script.
//!
//! Pure: text to values, values to a script. [`super::nft`] gives the script to nft(8) inside the
//! namespace. Everything that is rendered comes from a type that cannot hold anything but what it is
//! called after (a number, an address, an [`Interface`]), so that no name can end a statement and begin
//! another one.
//!
//! All of it is in one table of its own, [`TABLE`], which the script replaces as a whole: the kernel does
//! all of a script or nothing, and other tables of the namespace are left alone.
//!
//! Here are the values; [`words`] reads a statement, [`script`] renders them.
#![forbid(unsafe_code)]

mod script;
mod words;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use ipnet::IpNet;

pub use self::script::{Firewall, removal};
pub use self::words::GRAMMAR;
use super::name::LinkName;
use crate::error::{Error, Result};

/// The name of our table, of the family `inet`.
pub const TABLE: &str = "sandbox";

/// A link's name that nft(8) can be given in quotes: it knows no way to write a quote or a backslash, and
/// takes an asterisk at the end for any other name that begins so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface(String);

impl TryFrom<&LinkName> for Interface {
    type Error = Error;

    fn try_from(name: &LinkName) -> Result<Self> {
        let text = name.as_str();
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'*');
        if text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::usage(
            format!("link \"{}\"", text.escape_debug()),
            "a firewall can only name links of plain letters, without quotes, backslashes and asterisks",
        ))
    }
}

impl FromStr for Interface {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::try_from(&text.parse::<LinkName>()?)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where packets are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// They are for this namespace.
    Input,
    /// They pass through it.
    Forward,
    /// They come from it.
    Output,
}

impl Hook {
    const ALL: [Self; 3] = [Self::Input, Self::Forward, Self::Output];

    const fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.word() == word)
    }
}

/// What is done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Allow,
    /// It vanishes.
    Drop,
    /// It is refused, and the sender is told.
    Reject,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Drop => "drop",
            Self::Reject => "reject",
        }
    }

    const fn rendered(self) -> &'static str {
        match self {
            Self::Allow => "accept",
            Self::Drop => "drop",
            Self::Reject => "reject",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Allow, Self::Drop, Self::Reject]
            .into_iter()
            .find(|verdict| verdict.word() == word)
    }
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, and ICMPv6 under IPv6.
    Icmp,
}

impl Protocol {
    const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Icmp]
            .into_iter()
            .find(|protocol| protocol.word() == word)
    }
}

/// Ports from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl FromStr for Ports {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(Error::usage(
                format!("port \"{}\"", text.escape_debug()),
                "write a number from 1 to 65535, or two with a hyphen between, as 8000-8010",
            )),
        }
    }
}

/// A port; digits alone, and not 0.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What packets a rule is about: all those that are so in every way that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// What they carry.
    pub protocol: Option<Protocol>,
    /// To one of these ports; of TCP or UDP.
    pub ports: Vec<Ports>,
    /// From there.
    pub from: Option<IpNet>,
    /// To there.
    pub to: Option<IpNet>,
    /// Came in by this link.
    pub input: Option<Interface>,
    /// Go out by this link.
    pub output: Option<Interface>,
}

/// One line of a firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// What becomes of packets that no rule is about: `default input drop`. Without one they pass.
    Default {
        /// Which packets.
        hook: Hook,
        /// Allow or drop.
        verdict: Verdict,
    },
    /// `allow input tcp 80,443 from 10.1.1.0/24 in eth0`.
    Rule {
        /// Which packets.
        hook: Hook,
        /// What is done.
        verdict: Verdict,
        /// Which of them.
        wanted: Match,
    },
    /// `masquerade out eth0 from 10.1.1.0/24`: packets get the address of the link they go out by.
    Masquerade {
        /// The link.
        output: Interface,
        /// Only packets from there.
        from: Option<IpNet>,
    },
    /// `dnat tcp 8080 to 10.1.1.2:80 in eth0`: connections to a port go to another address.
    Dnat {
        /// TCP or UDP.
        protocol: Protocol,
        /// The port here.
        port: u16,
        /// Where they go.
        to: SocketAddr,
        /// Only those that came in by this link.
        input: Option<Interface>,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use std::path::Path;

    fn statement(text: &str) -> Statement {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_firewall_becomes_one_script() {
        let text = "
            # a web server
            default input drop
            allow input tcp 80,443,8000-8010 from 10.1.1.0/24 in eth0  # the web
            reject forward udp to fd00::/64 in a out b
            drop output icmp
            masquerade out eth0 from 10.1.1.0/24
            dnat tcp 8080 to 10.1.1.2:80 in eth0
            dnat udp 53 to [fd00::2]:53
        ";
        let firewall = Firewall::parse(Path::new("x"), text).unwrap();
        let expected = r#"table inet sandbox
delete table inet sandbox
table inet sandbox {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iifname "lo" accept
		icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
		iifname "eth0" ip saddr 10.1.1.0/24 tcp dport { 80, 443, 8000-8010 } counter accept
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
		ct status dnat accept
		iifname "a" oifname "b" ip6 daddr fd00::/64 meta l4proto udp counter reject
	}
	chain output {
		type filter hook output priority filter; policy accept;
		ct state established,related accept
		oifname "lo" accept
		icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
		meta l4proto { icmp, ipv6-icmp } counter drop
	}
	chain inward {
		type nat hook prerouting priority dstnat;
		iifname "eth0" meta nfproto ipv4 tcp dport 8080 counter dnat ip to 10.1.1.2:80
		meta nfproto ipv6 udp dport 53 counter dnat ip6 to [fd00::2]:53
	}
	chain outward {
		type nat hook postrouting priority srcnat;
		oifname "eth0" ip saddr 10.1.1.0/24 counter masquerade
	}
}
"#;
        assert_eq!(firewall.script(), expected);
    }

    #[test]
    fn what_is_wrong_with_a_statement_is_told_with_its_place() {
        let error = Firewall::parse(
            Path::new("lab.nft"),
            "default input drop\n  allow input tcp 0\n",
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "lab.nft:2:3: port \"0\": write a number from 1 to 65535, or two with a hyphen between, as 8000-8010"
        );
        for (text, reason) in [
            (
                "permit input",
                "\"permit\" is no statement: one begins with default, allow, drop, reject, masquerade or dnat",
            ),
            ("allow", "input, forward or output is missing"),
            ("allow inwards", "\"inwards\": use input, forward or output"),
            (
                "allow input 80",
                "ports are of tcp or udp: say which before them",
            ),
            (
                "allow input icmp 80",
                "ports are of tcp or udp: say which before them",
            ),
            (
                "allow input out eth0",
                "what is for this namespace goes out by no link",
            ),
            (
                "drop output in eth0",
                "what comes from this namespace came in by no link",
            ),
            (
                "drop forward from 10.0.0.0/8 to ::/0",
                "a packet goes from and to addresses of one family",
            ),
            (
                "allow input from 10.0.0.0/33",
                "\"10.0.0.0/33\" is no network: write an address and the length of its prefix, as 10.1.1.0/24",
            ),
            (
                "allow input from 10.0.0.0/8 from ::/0",
                "\"from\" is said twice",
            ),
            ("allow input accept", "\"accept\" is not understood there"),
            ("default input reject", "a default is allow or drop"),
            (
                "masquerade eth0",
                "say by \"out\" and a link which way out it is about",
            ),
            (
                "dnat icmp 1 to 10.0.0.1:1",
                "only tcp and udp have ports: use one of them",
            ),
            (
                "dnat tcp 80 to 10.0.0.1",
                "\"10.0.0.1\": write ADDRESS:PORT, as 10.1.1.2:80 or [fd00::2]:80",
            ),
            (
                "dnat tcp 80 to [fe80::1%2]:80",
                "\"[fe80::1%2]:80\": write ADDRESS:PORT, as 10.1.1.2:80 or [fd00::2]:80",
            ),
        ] {
            let error = text.parse::<Statement>().unwrap_err().to_string();
            assert!(error.ends_with(reason), "{text}: {error}");
        }
    }

    #[test]
    fn no_name_of_a_link_ends_a_statement() {
        for name in ["a\"b", "a\\b", "eth*", "é", "a\";flush", "\u{1}"] {
            let text = format!("allow input in {name}");
            assert!(text.parse::<Statement>().is_err(), "{name}");
        }
        // The kernel takes these, and quotes make them harmless.
        for name in ["a;b", "{", "}", "$x", "@y", "#", "drop"] {
            let text = format!("allow input in {name}");
            let firewall: Firewall = [statement(&text)].into_iter().collect();
            assert!(
                firewall
                    .script()
                    .contains(&format!("iifname \"{name}\" counter accept"))
            );
        }
    }

    proptest! {
        /// What is rendered has a line for each statement and no other, whatever the names are.
        #[test]
        fn no_name_begins_a_statement_of_its_own(
            verbs in prop::collection::vec("(allow|drop|reject) (input in|output out) ", 1..4),
            names in prop::collection::vec("[!-~ -]{1,15}", 1..4),
        ) {
            let lines = verbs.iter().zip(&names).map(|(verb, name)| format!("{verb}{name}"));
            let taken: Vec<Statement> = lines.filter_map(|line| line.parse().ok()).collect();
            let count = taken.len();
            let script = taken.into_iter().collect::<Firewall>().script();
            prop_assert_eq!(script.lines().count(), 21 + count);
            for line in script.lines() {
                prop_assert!(line.matches('"').count() % 2 == 0, "{}", line);
                let outside: String = line.split('"').step_by(2).collect();
                let ends = if outside.contains("type filter hook") { 2 } else { 0 };
                prop_assert_eq!(outside.matches(';').count(), ends, "{}", line);
                prop_assert!(!outside.contains(['#', '$', '\\', '@']), "{}", line);
            }
        }
    }

    #[test]
    fn the_grammar_names_every_verb() {
        for verb in ["default", "allow", "drop", "reject", "masquerade", "dnat"] {
            assert!(
                GRAMMAR.iter().any(|(line, _)| line.contains(verb)),
                "{verb}"
            );
        }
    }
}
