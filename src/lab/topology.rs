//! A lab that makes sense: every name known, every address in its network, nothing left to be decided.
//!
//! Pure. Made from a [`file::File`] by [`Topology::parse`]; what it is made into is
//! [`super::state`]'s. A mistake is reported with its line before anything is made.
//!
//! Here are the values; [`build`] makes them of a file, in its order.

mod build;
mod claims;
mod filter;
mod routes;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use self::build::Building;
use super::file;
use super::spec::{Family, Probe};
use crate::error::Result;
use crate::netns::firewall::Firewall as Rules;
use crate::netns::traffic::Shape;
use crate::policy::spec as values;

/// A validated lab.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// Its name.
    pub name: String,
    /// Whether nodes have names in `/run/netns`.
    pub named: bool,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The cables.
    pub links: Vec<Link>,
    /// The switches.
    pub bridges: Vec<Bridge>,
    /// Nodes by group.
    pub groups: Vec<(String, Vec<usize>)>,
    /// Who must reach whom, and who must not.
    pub claims: Vec<Claim>,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// Whether it sends on what is for others.
    pub forward: bool,
    /// Its interfaces, besides `lo`.
    pub interfaces: Vec<Interface>,
    /// Its routes, besides those to its own networks.
    pub routes: Vec<Route>,
    /// Kernel settings.
    pub sysctl: BTreeMap<String, String>,
    /// Files that its commands see.
    pub files: BTreeMap<PathBuf, String>,
    /// Where each of them is in the file.
    pub file_lines: Vec<usize>,
    /// The host's interface that it reaches the outside by.
    pub uplink: Option<String>,
    /// What it lets through; everything where there is none.
    pub firewall: Option<Firewall>,
    /// The firewall's line in the file.
    pub firewall_line: usize,
    /// What runs in it.
    pub commands: Vec<Command>,
    /// The commands' lines in the file.
    pub command_lines: Vec<usize>,
}

/// One interface of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// What it sends is held up by this.
    pub traffic: Shape,
    /// What it is plugged into.
    pub join: Join,
}

/// What an interface is plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// This link.
    Link(usize),
    /// A port of this bridge.
    Port(usize),
    /// It is this bridge itself.
    Bridge(usize),
}

/// A cable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its line in the file.
    pub line: usize,
    /// Node and its interface, by number.
    pub ends: [(usize, usize); 2],
    /// The largest packet.
    pub mtu: Option<u32>,
    /// Whether it is plugged in.
    pub up: bool,
}

/// A switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Its line in the file.
    pub line: usize,
    /// The node whose interface it is.
    pub home: Option<usize>,
    /// Node and its interface, by number.
    pub members: Vec<(usize, usize)>,
    /// The largest packet.
    pub mtu: Option<u32>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to; everywhere with a prefix of no length.
    pub to: IpNet,
    /// By which gateway.
    pub via: IpAddr,
    /// Through which interface.
    pub interface: String,
}

/// What a node lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firewall {
    /// In our words.
    pub statements: Rules,
    /// And in nft's.
    pub nft: String,
}

/// A command that runs as long as the lab is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The policy's name, or its file.
    pub policy: String,
    /// Variables set.
    pub environment: Vec<(String, String)>,
}

/// Whether something is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It is.
    Reached,
    /// It is not.
    Unreached,
}

/// A claim about one pair of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its line in the file.
    pub line: usize,
    /// From which node.
    pub from: usize,
    /// To which, or to no node but an address.
    pub to: Option<usize>,
    /// The addresses tried; all must be reached, or none.
    pub addresses: Vec<IpAddr>,
    /// By what.
    pub probe: Probe,
    /// What is claimed.
    pub expected: Reach,
}

impl Topology {
    /// The lab that `text`, the contents of the file at `path`, describes.
    ///
    /// # Errors
    /// [`crate::Error::Policy`] with line and column, for anything that makes no sense.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        file::read(text)
            .and_then(|file| Building::new(path, text, &file)?.build(&file))
            .map_err(|fault| fault.into_error(path, text))
    }

    /// The node called `name`.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// An interface, by numbers.
    #[must_use]
    pub fn interface(&self, (node, interface): (usize, usize)) -> &Interface {
        &self.nodes[node].interfaces[interface]
    }

    /// The nodes that `word` names: a node, a group, several of both with commas between.
    ///
    /// # Errors
    /// With the word that names nothing.
    pub fn named(&self, word: &str) -> values::Parsed<Vec<usize>> {
        let mut found = Vec::new();
        for name in word.split(',').map(str::trim) {
            if let Some(node) = self.node(name) {
                found.push(node);
                continue;
            }
            match self.groups.iter().find(|(group, _)| group == name) {
                Some((_, nodes)) => found.extend(nodes),
                None => {
                    let nodes = self.nodes.iter().map(|node| node.name.as_str());
                    let groups = self.groups.iter().map(|(name, _)| name.as_str());
                    return values::invalid(format!(
                        "no node or group is called \"{}\"{}",
                        name.escape_debug(),
                        values::advice(name, nodes.chain(groups))
                    ));
                }
            }
        }
        Ok(found)
    }

    /// What the interfaces of a link or bridge are plugged into together: node and interface.
    pub(super) fn segment(&self, join: Join) -> Vec<(usize, usize)> {
        match join {
            Join::Link(link) => self.links[link].ends.to_vec(),
            Join::Port(bridge) | Join::Bridge(bridge) => {
                let home = self.bridges[bridge].home.map(|node| {
                    let own = |interface: &Interface| interface.join == Join::Bridge(bridge);
                    let interface = self.nodes[node].interfaces.iter().position(own);
                    (node, interface.unwrap_or_default())
                });
                let members = self.bridges[bridge].members.iter().copied();
                home.into_iter().chain(members).collect()
            }
        }
    }

    /// The addresses by which `from` knows `to`: those on a link that both are on, else the first of
    /// each family.
    pub(super) fn addresses_of(&self, from: usize, to: usize) -> Vec<IpAddr> {
        let neighbours = self.nodes[from]
            .interfaces
            .iter()
            .flat_map(|interface| self.segment(interface.join))
            .filter(|(node, _)| *node == to)
            .map(|end| self.interface(end));
        let all = self.nodes[to].interfaces.iter();
        let mut found: Vec<IpAddr> = Vec::new();
        for address in neighbours.chain(all).flat_map(|found| &found.addresses) {
            let family = Family::of(address.addr());
            if found.iter().all(|known| Family::of(*known) != family) {
                found.push(address.addr());
            }
        }
        found
    }
}

/// The network that every address of a family is in.
pub(super) fn everywhere(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}
