//! Statements to one script for nft(8).
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use ipnet::IpNet;

use super::{Hook, Match, Protocol, Statement, TABLE, Verdict};
use crate::error::{Error, Result};

/// All statements of a namespace, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firewall {
    statements: Vec<Statement>,
}

impl FromIterator<Statement> for Firewall {
    fn from_iter<T: IntoIterator<Item = Statement>>(statements: T) -> Self {
        Self {
            statements: statements.into_iter().collect(),
        }
    }
}

impl Firewall {
    /// The firewall that `text` describes: a statement a line, and comments after `#`. Messages call it
    /// `file`.
    ///
    /// # Errors
    /// The first line that is no statement.
    pub fn parse(file: &Path, text: &str) -> Result<Self> {
        let mut statements = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let said = line.split('#').next().unwrap_or_default();
            if said.trim().is_empty() {
                continue;
            }
            let column = said
                .chars()
                .take_while(|letter| letter.is_whitespace())
                .count();
            statements.push(said.parse().map_err(|error| Error::Policy {
                file: file.to_owned(),
                line: index + 1,
                column: column + 1,
                reason: match error {
                    Error::Usage { reason, .. } => reason,
                    other => other.to_string(),
                },
            })?);
        }
        Ok(Self { statements })
    }

    /// Its statements.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    fn default_of(&self, hook: Hook) -> Verdict {
        let said = self
            .statements
            .iter()
            .rev()
            .find_map(|statement| match statement {
                Statement::Default {
                    hook: other,
                    verdict,
                } if *other == hook => Some(*verdict),
                _ => None,
            });
        said.unwrap_or(Verdict::Allow)
    }

    /// The script that puts it in place of whatever was in our table.
    #[must_use]
    pub fn script(&self) -> String {
        let mut script = removal();
        let _ = writeln!(script, "table inet {TABLE} {{");
        for hook in Hook::ALL {
            self.chain(hook, &mut script);
        }
        self.translations(&mut script);
        script.push_str("}\n");
        script
    }

    fn chain(&self, hook: Hook, script: &mut String) {
        let default = self.default_of(hook);
        let word = hook.word();
        let _ = writeln!(script, "\tchain {word} {{");
        let _ = writeln!(
            script,
            "\t\ttype filter hook {word} priority filter; policy {};",
            default.rendered()
        );
        // Answers to what was let through, and what IPv6 cannot do without (RFC 4890, 4.4.1).
        script.push_str("\t\tct state established,related accept\n");
        match hook {
            Hook::Input => script.push_str("\t\tiifname \"lo\" accept\n"),
            Hook::Output => script.push_str("\t\toifname \"lo\" accept\n"),
            Hook::Forward => script.push_str("\t\tct status dnat accept\n"),
        }
        if hook != Hook::Forward {
            script.push_str(
                "\t\ticmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept\n",
            );
        }
        for statement in &self.statements {
            if let Statement::Rule {
                hook: of,
                verdict,
                wanted,
            } = statement
                && *of == hook
            {
                let _ = writeln!(
                    script,
                    "\t\t{}counter {}",
                    wanted.rendered(),
                    verdict.rendered()
                );
            }
        }
        script.push_str("\t}\n");
    }

    fn translations(&self, script: &mut String) {
        let (mut inward, mut outward) = (String::new(), String::new());
        for statement in &self.statements {
            match statement {
                Statement::Dnat {
                    protocol,
                    port,
                    to,
                    input,
                } => {
                    let family = match to {
                        SocketAddr::V4(_) => "ip",
                        SocketAddr::V6(_) => "ip6",
                    };
                    let version = match to {
                        SocketAddr::V4(_) => "ipv4",
                        SocketAddr::V6(_) => "ipv6",
                    };
                    let by = input.as_ref().map(|link| format!("iifname \"{link}\" "));
                    let _ = writeln!(
                        inward,
                        "\t\t{}meta nfproto {version} {} dport {port} counter dnat {family} to {to}",
                        by.unwrap_or_default(),
                        protocol.word(),
                    );
                }
                Statement::Masquerade { output, from } => {
                    let from = from.map(|network| source(network, "saddr"));
                    let _ = writeln!(
                        outward,
                        "\t\toifname \"{output}\" {}counter masquerade",
                        from.unwrap_or_default()
                    );
                }
                Statement::Default { .. } | Statement::Rule { .. } => {}
            }
        }
        for (name, hook, priority, rules) in [
            ("inward", "prerouting", "dstnat", inward),
            ("outward", "postrouting", "srcnat", outward),
        ] {
            if !rules.is_empty() {
                let _ = write!(
                    script,
                    "\tchain {name} {{\n\t\ttype nat hook {hook} priority {priority};\n{rules}\t}}\n"
                );
            }
        }
    }
}

/// The script that takes our table away, whether it is there or not.
#[must_use]
pub fn removal() -> String {
    format!("table inet {TABLE}\ndelete table inet {TABLE}\n")
}

impl Match {
    /// The same for nft(8), with a blank after it.
    fn rendered(&self) -> String {
        let mut text = String::new();
        if let Some(link) = &self.input {
            let _ = write!(text, "iifname \"{link}\" ");
        }
        if let Some(link) = &self.output {
            let _ = write!(text, "oifname \"{link}\" ");
        }
        if let Some(network) = self.from {
            text.push_str(&source(network, "saddr"));
        }
        if let Some(network) = self.to {
            text.push_str(&source(network, "daddr"));
        }
        match self.protocol {
            Some(Protocol::Icmp) => text.push_str("meta l4proto { icmp, ipv6-icmp } "),
            Some(protocol) if self.ports.is_empty() => {
                let _ = write!(text, "meta l4proto {} ", protocol.word());
            }
            Some(protocol) => {
                let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
                let _ = write!(
                    text,
                    "{} dport {{ {} }} ",
                    protocol.word(),
                    ports.join(", ")
                );
            }
            None => {}
        }
        text
    }
}

fn source(network: IpNet, end: &str) -> String {
    let family = match network {
        IpNet::V4(_) => "ip",
        IpNet::V6(_) => "ip6",
    };
    format!("{family} {end} {network} ")
}
