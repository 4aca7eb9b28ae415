//! `sandbox netns firewall` and `sandbox netns shape`.

use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};
use ipnet::IpNet;
use nix::errno::Errno;
use serde_json::json;

use super::super::options::text;
use super::change::At;
use super::print::Sheet;
use crate::error::{Error, Result};
use crate::netns::firewall::{Firewall, Statement};
use crate::netns::ping::{Echo, ping};
use crate::netns::traffic::{self, Discipline, Loss, Rate, Shape, Shaper};
use crate::netns::{LinkName, NamespaceName, Reference, named, nat};
use crate::plan::errno_of;
use crate::policy::spec;

#[derive(Debug, Subcommand)]
pub(super) enum FirewallVerb {
    /// Put a firewall in place of the one that was set before
    ///
    /// A statement is one of: "default HOOK allow|drop", where HOOK is input, forward or output;
    /// "allow|drop|reject HOOK [tcp|udp|icmp] [PORTS] [from NETWORK] [to NETWORK] [in LINK] [out LINK]";
    /// "masquerade out LINK [from NETWORK]"; "dnat tcp|udp PORT to ADDRESS:PORT [in LINK]". The first
    /// rule that is about a packet decides. Answers to what was let through, the loopback interface and
    /// the neighbour discovery of IPv6 always pass. All of it stands in the table "inet sandbox" of the
    /// namespace; other tables there, and the host's, are left alone.
    Set {
        /// The namespace
        #[arg(value_name = "NS")]
        namespace: Reference,
        /// Statements, each a word of the shell: 'allow input tcp 80'
        #[arg(
            value_name = "STATEMENT",
            required_unless_present = "file",
            conflicts_with = "file"
        )]
        statements: Vec<Statement>,
        /// Read statements from FILE, one a line; "-" is standard input
        ///
        /// Comments stand after "#".
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Run a script in the language of nft(8) in a namespace, all or nothing
    Nft {
        /// The namespace
        #[arg(value_name = "NS")]
        namespace: Reference,
        /// The script; "-" is standard input
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Print every table of a namespace, as nft(8) does
    Show {
        /// The namespace
        #[arg(value_name = "NS")]
        namespace: Reference,
    },
    /// Take the firewall away that was set; other tables stay
    Clear {
        /// The namespace
        #[arg(value_name = "NS")]
        namespace: Reference,
    },
}

impl FirewallVerb {
    /// Do it.
    pub(super) fn execute(self, sheet: Sheet) -> Result<()> {
        match self {
            Self::Set {
                namespace,
                statements,
                file,
            } => {
                let firewall = match file {
                    Some(file) => Firewall::parse(&file, &read(&file)?)?,
                    None => statements.into_iter().collect(),
                };
                namespace.open()?.set_firewall(&firewall)
            }
            Self::Nft { namespace, file } => namespace.open()?.apply_nft(&read(&file)?),
            Self::Show { namespace } => {
                let listed = namespace.open()?.list_nft()?;
                sheet.print(&json!({ "nft": listed }), || listed.clone())
            }
            Self::Clear { namespace } => namespace.open()?.clear_firewall(),
        }
    }
}

fn read(file: &Path) -> Result<String> {
    let failed = |error| Error::host("read", file.display().to_string(), errno_of(&error));
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).map_err(failed)
}

#[derive(Debug, Args)]
pub(super) struct PingArgs {
    /// The namespace
    #[arg(value_name = "NS")]
    namespace: Reference,
    /// Who is asked
    #[arg(value_name = "ADDRESS")]
    address: IpAddr,
    /// Ask so often, a second apart
    ///
    /// Default: 1.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "1",
        hide_default_value = true
    )]
    count: u16,
    /// Wait for each echo no longer than TIME
    ///
    /// Default: 1s.
    #[arg(long, value_name = "TIME", value_parser = text(spec::duration))]
    timeout: Option<Duration>,
}

impl PingArgs {
    /// Do it; the status to exit with.
    pub(super) fn execute(self, sheet: Sheet) -> Result<u8> {
        let namespace = self.namespace.open()?;
        let patience = self.timeout.unwrap_or(Duration::from_secs(1));
        let mut echoes = Vec::new();
        for sequence in 0..self.count {
            if sequence > 0 {
                std::thread::sleep(Duration::from_secs(1));
            }
            echoes.push(ping(&namespace, self.address, sequence, patience)?);
        }
        let line = |echo: &Echo| match echo {
            Echo::Answered(seconds) => {
                format!("{} answered in {:.3} ms\n", self.address, seconds * 1000.0)
            }
            Echo::Silence => format!("{} did not answer\n", self.address),
        };
        let value = json!({ "address": self.address, "echoes": echoes });
        sheet.print(&value, || echoes.iter().map(line).collect())?;
        Ok(u8::from(echoes.contains(&Echo::Silence)))
    }
}

#[derive(Debug, Args)]
pub(super) struct NatArgs {
    /// The namespace
    #[arg(value_name = "NAME")]
    name: NamespaceName,
    /// The link of the caller's network that leads outside
    #[arg(
        long,
        value_name = "LINK",
        required_unless_present = "off",
        conflicts_with = "off"
    )]
    uplink: Option<LinkName>,
    /// The network of the wire, of 30 bits or fewer, of 126 for IPv6; once for each family
    ///
    /// Its first address is outside, its second one inside. Default: a free one of 10.203.0.0/16, and one
    /// of fd8c:3a91:5e27::/112 if the uplink has IPv6. One of IPv6 insists on it.
    #[arg(long, value_name = "NETWORK", conflicts_with = "off")]
    network: Vec<IpNet>,
    /// Take the way out away again
    #[arg(long)]
    off: bool,
}

impl NatArgs {
    /// Do it.
    pub(super) fn execute(self, sheet: Sheet) -> Result<()> {
        let Some(uplink) = self.uplink else {
            return nat::disconnect(&self.name);
        };
        let namespace = named::open(&self.name)?;
        let mut wire = nat::Wire::default();
        for network in self.network {
            let before = match network {
                IpNet::V4(network) => wire.ipv4.replace(network).is_some(),
                IpNet::V6(network) => wire.ipv6.replace(network).is_some(),
            };
            if before {
                return Err(Error::usage(
                    format!("--network {network}"),
                    "the wire has one network of each family",
                ));
            }
        }
        let made = nat::connect(&self.name, &namespace, &uplink, wire)?;
        sheet.print(&json!(made), String::new)
    }
}

#[derive(Debug, Args)]
pub(super) struct ShapeArgs {
    #[command(flatten)]
    at: At,
    /// Send no more than RATE: a number with kbit, mbit or gbit
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// Hold it to the rate by tbf or by htb, if the kernel has it
    ///
    /// Default: tbf, which drops what has waited for long.
    #[arg(
        long,
        value_name = "tbf|htb",
        requires = "rate",
        conflicts_with_all = ["delay", "jitter", "loss"]
    )]
    shaper: Option<Shaper>,
    /// Send each packet later by TIME, as 20ms; needs a kernel with netem
    #[arg(long, value_name = "TIME", value_parser = text(spec::duration))]
    delay: Option<Duration>,
    /// Give or take TIME
    #[arg(long, value_name = "TIME", requires = "delay", value_parser = text(spec::duration))]
    jitter: Option<Duration>,
    /// Lose this share of packets, as 0.5%; needs a kernel with netem
    #[arg(long, value_name = "PERCENT")]
    loss: Option<Loss>,
}

impl ShapeArgs {
    /// Do it.
    pub(super) fn execute(self) -> Result<()> {
        let shape = Shape {
            rate: self.rate,
            shaper: self.shaper.unwrap_or_default(),
            delay: self.delay,
            jitter: self.jitter,
            loss: self.loss,
        };
        let (mut network, link) = self.at.open()?;
        let shaped = network.perform(&traffic::shape(link, &shape));
        let Some(needed) = shape.needs() else {
            return shaped;
        };
        match shaped {
            Err(Error::Network {
                errno: Errno::ENOENT,
                ..
            }) => Err(Error::Unsupported {
                layer: needed.purpose().to_owned(),
                reason: needed.lack().to_owned(),
                hint: match needed {
                    Discipline::Tbf => Some("try --shaper htb".to_owned()),
                    Discipline::Htb => Some("leave out --shaper".to_owned()),
                    _ => Some(
                        "leave out --delay, --jitter and --loss: --rate does without".to_owned(),
                    ),
                },
            }),
            shaped => shaped,
        }
    }
}
