//! A statement's words, one after the other.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;

use super::{Hook, Match, Ports, Protocol, Statement, Verdict, port};
use crate::error::{Error, Result};

/// How a statement is written, for messages and documents.
pub const GRAMMAR: &[(&str, &str)] = &[
    (
        "default HOOK allow|drop",
        "what becomes of packets that no rule is about; HOOK is input, forward or output",
    ),
    (
        "allow|drop|reject HOOK [tcp|udp|icmp] [PORTS] [from NETWORK] [to NETWORK] [in LINK] [out LINK]",
        "a rule; the first one that is about a packet decides; PORTS as 80,443,8000-8010",
    ),
    (
        "masquerade out LINK [from NETWORK]",
        "packets that go out by LINK get its address",
    ),
    (
        "dnat tcp|udp PORT to ADDRESS:PORT [in LINK]",
        "connections to PORT here go to ADDRESS:PORT",
    ),
];

impl FromStr for Statement {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused =
            |reason: String| Error::usage(format!("\"{}\"", text.trim().escape_debug()), reason);
        let mut words = Words(text.split_ascii_whitespace().peekable());
        let statement = words.statement().map_err(refused)?;
        match words.0.next() {
            None => Ok(statement),
            Some(word) => Err(refused(format!(
                "\"{}\" is not understood there",
                word.escape_debug()
            ))),
        }
    }
}

/// The words of a statement that are still to be read.
struct Words<'a>(std::iter::Peekable<std::str::SplitAsciiWhitespace<'a>>);

impl<'a> Words<'a> {
    pub(super) fn next(&mut self, wanted: &str) -> std::result::Result<&'a str, String> {
        self.0.next().ok_or_else(|| format!("{wanted} is missing"))
    }

    fn value<T>(&mut self, wanted: &str) -> std::result::Result<T, String>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let word = self.next(wanted)?;
        word.parse().map_err(|error: T::Err| error.to_string())
    }

    fn network(&mut self) -> std::result::Result<IpNet, String> {
        let word = self.next("a network")?;
        let network = word
            .parse()
            .or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
        network.map(|network| network.trunc()).map_err(|_| {
            format!(
                "\"{}\" is no network: write an address and the length of its prefix, as 10.1.1.0/24",
                word.escape_debug()
            )
        })
    }

    fn hook(&mut self) -> std::result::Result<Hook, String> {
        let word = self.next("input, forward or output")?;
        Hook::of_word(word)
            .ok_or_else(|| format!("\"{}\": use input, forward or output", word.escape_debug()))
    }

    fn statement(&mut self) -> std::result::Result<Statement, String> {
        const VERBS: &str = "default, allow, drop, reject, masquerade or dnat";
        let verb = self.next(VERBS)?;
        if let Some(verdict) = Verdict::of_word(verb) {
            let hook = self.hook()?;
            let wanted = self.wanted(hook)?;
            return Ok(Statement::Rule {
                hook,
                verdict,
                wanted,
            });
        }
        match verb {
            "default" => {
                let hook = self.hook()?;
                match Verdict::of_word(self.next("allow or drop")?) {
                    Some(verdict @ (Verdict::Allow | Verdict::Drop)) => {
                        Ok(Statement::Default { hook, verdict })
                    }
                    _ => Err("a default is allow or drop".to_owned()),
                }
            }
            "masquerade" => self.masquerade(),
            "dnat" => self.dnat(),
            other => Err(format!(
                "\"{}\" is no statement: one begins with {VERBS}",
                other.escape_debug()
            )),
        }
    }

    fn wanted(&mut self, hook: Hook) -> std::result::Result<Match, String> {
        let mut wanted = Match::default();
        if let Some(protocol) = self.0.peek().and_then(|word| Protocol::of_word(word)) {
            self.0.next();
            wanted.protocol = Some(protocol);
        }
        if let Some(word) = self
            .0
            .next_if(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        {
            if !matches!(wanted.protocol, Some(Protocol::Tcp | Protocol::Udp)) {
                return Err("ports are of tcp or udp: say which before them".to_owned());
            }
            for part in word.split(',') {
                let ports: Ports = part.parse().map_err(|error: Error| error.to_string())?;
                wanted.ports.push(ports);
            }
        }
        while let Some(word) = self
            .0
            .next_if(|word| matches!(*word, "from" | "to" | "in" | "out"))
        {
            let before = match word {
                "from" => wanted.from.replace(self.network()?).is_some(),
                "to" => wanted.to.replace(self.network()?).is_some(),
                "in" => wanted.input.replace(self.value("a link")?).is_some(),
                _ => wanted.output.replace(self.value("a link")?).is_some(),
            };
            if before {
                return Err(format!("\"{word}\" is said twice"));
            }
        }
        match (hook, &wanted) {
            (
                Hook::Input,
                Match {
                    output: Some(_), ..
                },
            ) => Err("what is for this namespace goes out by no link".to_owned()),
            (Hook::Output, Match { input: Some(_), .. }) => {
                Err("what comes from this namespace came in by no link".to_owned())
            }
            (
                _,
                Match {
                    from: Some(from),
                    to: Some(to),
                    ..
                },
            ) if from.addr().is_ipv4() != to.addr().is_ipv4() => {
                Err("a packet goes from and to addresses of one family".to_owned())
            }
            _ => Ok(wanted),
        }
    }

    fn masquerade(&mut self) -> std::result::Result<Statement, String> {
        if self.next("\"out\" and a link")? != "out" {
            return Err("say by \"out\" and a link which way out it is about".to_owned());
        }
        let output = self.value("a link")?;
        let from = match self.0.next_if_eq(&"from") {
            Some(_) => Some(self.network()?),
            None => None,
        };
        Ok(Statement::Masquerade { output, from })
    }

    fn dnat(&mut self) -> std::result::Result<Statement, String> {
        let protocol = match Protocol::of_word(self.next("tcp or udp")?) {
            Some(protocol @ (Protocol::Tcp | Protocol::Udp)) => protocol,
            _ => return Err("only tcp and udp have ports: use one of them".to_owned()),
        };
        let port = port(self.next("a port")?).ok_or("a port is a number from 1 to 65535")?;
        if self.next("\"to\" and an address")? != "to" {
            return Err("say by \"to\" and ADDRESS:PORT where connections go".to_owned());
        }
        let word = self.next("ADDRESS:PORT")?;
        let to: SocketAddr = word
            .parse()
            .ok()
            .filter(|to: &SocketAddr| to.port() > 0)
            .filter(|to| !matches!(to, SocketAddr::V6(to) if to.scope_id() != 0))
            .ok_or_else(|| {
                format!(
                    "\"{}\": write ADDRESS:PORT, as 10.1.1.2:80 or [fd00::2]:80",
                    word.escape_debug()
                )
            })?;
        let input = match self.0.next_if_eq(&"in") {
            Some(_) => Some(self.value("a link")?),
            None => None,
        };
        Ok(Statement::Dnat {
            protocol,
            port,
            to,
            input,
        })
    }
}
