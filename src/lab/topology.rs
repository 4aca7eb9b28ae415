//! A lab that makes sense: every name known, every address in its network, nothing left to be decided.
//!
//! Pure. Made from a [`File`] by [`Topology::parse`]; what it is made into is
//! [`super::state`]'s. A mistake is reported with its line before anything is made.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::assign;
use super::file::{self, File, Sited};
use super::spec::{self, Family, Probe, Via, Who};
use crate::document::{Fault, Faulty};
use crate::error::Result;
use crate::netns::firewall::{self, Firewall as Rules, Statement};
use crate::netns::nat;
use crate::netns::traffic::{Discipline, Shape};
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

/// A file on its way to a topology.
struct Building {
    breaks: Vec<usize>,
    topology: Topology,
}

impl Building {
    fn new(path: &Path, text: &str, file: &File) -> Faulty<Self> {
        let stem = || {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let stem = stem.unwrap_or_default();
            spec::name(stem).map_err(|reason| Fault {
                at: 0..0,
                reason: format!("the file's name is no name for a lab ({reason}); give \"name\""),
            })
        };
        let name = match &file.name {
            Some(name) => name.value.clone(),
            None => stem()?,
        };
        Ok(Self {
            breaks: text.match_indices('\n').map(|(at, _)| at).collect(),
            topology: Topology {
                name,
                named: file.named.as_ref().is_some_and(|named| named.value),
                nodes: Vec::new(),
                links: Vec::new(),
                bridges: Vec::new(),
                groups: Vec::new(),
                claims: Vec::new(),
            },
        })
    }

    fn line<T>(&self, value: &Sited<T>) -> usize {
        self.breaks.partition_point(|at| *at < value.at) + 1
    }

    fn build(mut self, file: &File) -> Faulty<Topology> {
        if file.nodes.is_empty() {
            return Err(Fault {
                at: 0..0,
                reason: "a lab has nodes: [nodes.NAME]".to_owned(),
            });
        }
        for node in &file.nodes {
            let line = self.line(&node.name);
            self.topology.nodes.push(Node {
                name: node.name.value.clone(),
                line,
                forward: node.forward,
                interfaces: Vec::new(),
                routes: Vec::new(),
                sysctl: node.sysctl.iter().map(|pair| pair.value.clone()).collect(),
                files: node.files.iter().map(|pair| pair.value.clone()).collect(),
                file_lines: {
                    let lines = node
                        .files
                        .iter()
                        .map(|pair| (&pair.value.0, self.line(pair)));
                    lines.collect::<BTreeMap<_, _>>().into_values().collect()
                },
                uplink: node.uplink.as_ref().map(|uplink| uplink.value.clone()),
                firewall: None,
                firewall_line: match (node.firewall.first(), &node.nft) {
                    (Some(first), _) => self.line(first),
                    (None, Some(nft)) => self.line(nft),
                    (None, None) => line,
                },
                commands: node.run.iter().map(command).collect(),
                command_lines: node.run.iter().map(|run| self.line(run)).collect(),
            });
        }
        for link in &file.links {
            self.link(link)?;
        }
        for bridge in &file.bridges {
            self.bridge(bridge)?;
        }
        self.refuse_two_uses(file)?;
        assign::give_macs(&mut self.topology);
        self.give_addresses(file)?;
        for (number, node) in file.nodes.iter().enumerate() {
            self.routes(number, node)?;
            self.topology.nodes[number].firewall = self.firewall(number, node)?;
        }
        self.groups(file)?;
        self.claims(file)?;
        Ok(self.topology)
    }

    fn find(&self, name: &Sited<String>) -> Faulty<usize> {
        self.topology.node(&name.value).ok_or_else(|| {
            let known = self.topology.nodes.iter().map(|node| node.name.as_str());
            name.fault(format!(
                "no node is called \"{}\"{}",
                name.value,
                values::advice(&name.value, known)
            ))
        })
    }

    fn plug_in(&mut self, end: &file::End, join: Join) -> Faulty<(usize, usize)> {
        let node = self.find(&end.node)?;
        let traffic = Shape {
            rate: end.rate,
            shaper: end.shaper.as_ref().map(|one| one.value).unwrap_or_default(),
            delay: end.delay,
            jitter: end.jitter.as_ref().map(|jitter| jitter.value),
            loss: end.loss,
        };
        if let Some(jitter) = end.jitter.as_ref().filter(|_| end.delay.is_none()) {
            return Err(jitter.fault("\"jitter\" is how much the delay varies; give \"delay\""));
        }
        if let Some(shaper) = &end.shaper {
            match traffic.needs() {
                Some(Discipline::Tbf | Discipline::Htb) => {}
                Some(_) => {
                    return Err(
                        shaper.fault("netem, which delays and loses, has a rate of its own")
                    );
                }
                None => {
                    return Err(shaper.fault("\"shaper\" holds it to a rate; give \"rate\""));
                }
            }
        }
        let interfaces = &self.topology.nodes[node].interfaces;
        let taken = |name: &str| interfaces.iter().any(|other| other.name == name);
        let name = match &end.interface {
            Some(name) if taken(&name.value) => {
                return Err(name.fault(format!(
                    "node \"{}\" has an interface \"{}\" already",
                    end.node.value, name.value
                )));
            }
            Some(name) => name.value.clone(),
            None => (0..)
                .map(|number| format!("eth{number}"))
                .find(|name| !taken(name))
                .unwrap_or_default(),
        };
        let interface = Interface {
            name,
            line: self.line(&end.node),
            mac: end.mac.as_ref().map_or([0; 6], |mac| mac.value),
            addresses: Vec::new(),
            traffic,
            join,
        };
        let interfaces = &mut self.topology.nodes[node].interfaces;
        interfaces.push(interface);
        Ok((node, interfaces.len() - 1))
    }

    fn link(&mut self, link: &file::Link) -> Faulty<()> {
        let join = Join::Link(self.topology.links.len());
        let [left, right] = &link.ends;
        let ends = [self.plug_in(left, join)?, self.plug_in(right, join)?];
        if ends[0].0 == ends[1].0 {
            return Err(right.node.fault("both ends of the link are of one node"));
        }
        let line = self.line(&link.at);
        self.topology.links.push(Link {
            line,
            ends,
            mtu: link.mtu,
            up: link.up,
        });
        Ok(())
    }

    fn bridge(&mut self, bridge: &file::Bridge) -> Faulty<()> {
        let number = self.topology.bridges.len();
        let line = self.line(&bridge.name);
        if self.topology.node(&bridge.name.value).is_some() {
            return Err(bridge.name.fault(format!(
                "\"{}\" is a node and a bridge; give one another name",
                bridge.name.value
            )));
        }
        let mut home = None;
        if let Some(name) = &bridge.node {
            let node = self.find(name)?;
            let interfaces = &mut self.topology.nodes[node].interfaces;
            if interfaces
                .iter()
                .any(|other| other.name == bridge.name.value)
            {
                return Err(bridge.name.fault(format!(
                    "node \"{}\" has an interface \"{}\" already",
                    name.value, bridge.name.value
                )));
            }
            interfaces.push(Interface {
                name: bridge.name.value.clone(),
                line,
                mac: [0; 6],
                addresses: Vec::new(),
                traffic: Shape::default(),
                join: Join::Bridge(number),
            });
            home = Some(node);
        }
        if let (None, Some(address)) = (home, bridge.addresses.first()) {
            return Err(address
                .fault("a bridge has addresses only as an interface of a node; give \"node\""));
        }
        let mut members = Vec::new();
        for end in &bridge.members {
            let member = self.plug_in(end, Join::Port(number))?;
            if Some(member.0) == home {
                return Err(end
                    .node
                    .fault("the bridge is an interface of this node already"));
            }
            members.push(member);
        }
        self.topology.bridges.push(Bridge {
            name: bridge.name.value.clone(),
            line,
            home,
            members,
            mtu: bridge.mtu,
        });
        Ok(())
    }

    /// A network is of one link or bridge.
    fn refuse_two_uses(&self, file: &File) -> Faulty<()> {
        let links = file.links.iter().map(|link| &link.network);
        let bridges = file.bridges.iter().map(|bridge| &bridge.network);
        let mut used: BTreeMap<&str, usize> = BTreeMap::new();
        for name in links.chain(bridges).flatten() {
            let known = file
                .networks
                .iter()
                .map(|network| network.name.value.as_str());
            if known.clone().all(|known| known != name.value) {
                return Err(name.fault(format!(
                    "no network is called \"{}\"{}",
                    name.value,
                    values::advice(&name.value, known)
                )));
            }
            if let Some(line) = used.insert(&name.value, self.line(name)) {
                return Err(name.fault(format!(
                    "network \"{}\" is that of line {line} already; a network is of one link or bridge",
                    name.value
                )));
            }
        }
        Ok(())
    }

    fn give_addresses(&mut self, file: &File) -> Faulty<()> {
        let mut taken = assign::Taken::default();
        for network in &file.networks {
            for range in &network.ranges {
                let what = format!("network \"{}\"", network.name.value);
                taken.range(range, what, self.line(range))?;
            }
        }
        let declared = |name: &Option<Sited<String>>| {
            let name = name.as_ref()?;
            file.networks
                .iter()
                .find(|network| network.name.value == name.value)
        };
        let links = file.links.iter().enumerate().map(|(number, link)| {
            let given: Vec<_> = link
                .ends
                .iter()
                .map(|end| end.addresses.as_slice())
                .collect();
            (
                Join::Link(number),
                declared(&link.network),
                given,
                link.at.clone(),
            )
        });
        let bridges = file.bridges.iter().enumerate().map(|(number, bridge)| {
            let home = bridge.node.as_ref().map(|_| bridge.addresses.as_slice());
            let members = bridge.members.iter().map(|end| end.addresses.as_slice());
            let given: Vec<_> = home.into_iter().chain(members).collect();
            let at = Sited {
                value: (),
                at: bridge.name.at,
            };
            (Join::Bridge(number), declared(&bridge.network), given, at)
        });
        for (join, network, given, at) in links.chain(bridges) {
            let line = self.line(&at);
            let ends = self.topology.segment(join);
            let addresses = assign::addresses(network, &given, &at, line, &mut taken)?;
            for ((node, interface), addresses) in ends.into_iter().zip(addresses) {
                self.topology.nodes[node].interfaces[interface].addresses = addresses;
            }
        }
        Ok(())
    }

    fn routes(&mut self, number: usize, node: &file::Node) -> Faulty<()> {
        let mut routes: Vec<Route> = Vec::new();
        let mut add = |found: Vec<Route>, fault: &dyn Fn(String) -> Fault| {
            for route in found {
                if routes.iter().any(|known| known.to == route.to) {
                    return Err(fault(format!("there is a route to {} already", route.to)));
                }
                routes.push(route);
            }
            Ok(())
        };
        for route in &node.routes {
            let (to, via) = &route.value;
            let gateways = self.gateways(number, via, Some(Family::of(to.addr())));
            let gateways = gateways.map_err(|reason| route.fault(reason))?;
            let found = gateways.into_iter().map(|(via, interface)| Route {
                to: *to,
                via,
                interface,
            });
            add(found.collect(), &|reason| route.fault(reason))?;
        }
        for via in &node.default {
            let gateways = self.gateways(number, &via.value, None);
            let gateways = gateways.map_err(|reason| via.fault(reason))?;
            let found = gateways.into_iter().map(|(via, interface)| Route {
                to: everywhere(Family::of(via)),
                via,
                interface,
            });
            let found: Vec<Route> = found.collect();
            let is_v4 = |route: &Route| Family::of(route.via) == Family::V4;
            if node.uplink.is_some() && found.iter().any(is_v4) {
                return Err(via.fault("the node's default route is that of its uplink"));
            }
            add(found, &|reason| via.fault(reason))?;
        }
        self.topology.nodes[number].routes = routes;
        Ok(())
    }

    /// The addresses that `via` means for a node, and by which of its interfaces each is reached.
    fn gateways(
        &self,
        number: usize,
        via: &Via,
        family: Option<Family>,
    ) -> std::result::Result<Vec<(IpAddr, String)>, String> {
        let node = &self.topology.nodes[number];
        let fits = |address: IpAddr| family.is_none_or(|family| Family::of(address) == family);
        match via {
            Via::Address(address) => {
                if !fits(*address) {
                    return Err(format!("{address} is of another family than the network"));
                }
                let own = |interface: &Interface| {
                    interface.addresses.iter().any(|net| net.addr() == *address)
                };
                if node.interfaces.iter().any(own) {
                    return Err(format!("{address} is the node's own address"));
                }
                let near = |interface: &&Interface| {
                    interface.addresses.iter().any(|net| net.contains(address))
                };
                match node.interfaces.iter().find(near) {
                    Some(interface) => Ok(vec![(*address, interface.name.clone())]),
                    None => Err(format!(
                        "{address} is in no network of node \"{}\"",
                        node.name
                    )),
                }
            }
            Via::Node(name) => {
                let Some(gateway) = self.topology.node(name) else {
                    let known = self.topology.nodes.iter().map(|node| node.name.as_str());
                    return Err(format!(
                        "no node is called \"{name}\"{}",
                        values::advice(name, known)
                    ));
                };
                let mut found: Vec<(IpAddr, String)> = Vec::new();
                for interface in &node.interfaces {
                    let ends = self.topology.segment(interface.join);
                    let theirs = ends
                        .into_iter()
                        .filter(|(other, _)| *other == gateway && gateway != number)
                        .flat_map(|end| &self.topology.interface(end).addresses);
                    for address in theirs.map(IpNet::addr) {
                        let near = interface.addresses.iter().any(|net| net.contains(&address));
                        let known = |(known, _): &(IpAddr, String)| {
                            Family::of(*known) == Family::of(address)
                        };
                        if near && fits(address) && !found.iter().any(known) {
                            found.push((address, interface.name.clone()));
                        }
                    }
                }
                if found.is_empty() {
                    return Err(format!(
                        "node \"{name}\" has no address on a link or bridge that node \"{}\" is on, too",
                        node.name
                    ));
                }
                Ok(found)
            }
        }
    }

    fn firewall(&self, number: usize, node: &file::Node) -> Faulty<Option<Firewall>> {
        if node.firewall.is_empty() && node.nft.is_none() {
            return Ok(None);
        }
        let mut statements = Vec::new();
        for written in &node.firewall {
            for text in self.with_addresses(number, &written.value) {
                let statement = spec::statement(&text);
                let statement = statement.map_err(|reason| written.fault(reason.to_string()))?;
                self.refuse_unknown_links(number, &statement)
                    .map_err(|reason| written.fault(reason))?;
                statements.push(statement);
            }
        }
        Ok(Some(Firewall {
            statements: statements.into_iter().collect(),
            nft: node
                .nft
                .as_ref()
                .map_or_else(String::new, |nft| nft.value.clone()),
        }))
    }

    /// A statement for each address of the node that "to NODE:PORT" names; others as they are.
    fn with_addresses(&self, number: usize, text: &str) -> Vec<String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let place = words
            .windows(2)
            .position(|pair| pair[0] == "to")
            .map(|to| to + 1);
        let named = place.and_then(|place| {
            let (name, port) = words[place].rsplit_once(':')?;
            Some((place, self.topology.node(name)?, port))
        });
        let Some((place, node, port)) = named else {
            return vec![text.to_owned()];
        };
        let addresses = self.topology.addresses_of(number, node).into_iter();
        let statements = addresses.map(|address| {
            let target = match address {
                IpAddr::V4(address) => format!("{address}:{port}"),
                IpAddr::V6(address) => format!("[{address}]:{port}"),
            };
            let mut words = words.clone();
            words[place] = &target;
            words.join(" ")
        });
        statements.collect()
    }

    fn refuse_unknown_links(
        &self,
        number: usize,
        statement: &Statement,
    ) -> std::result::Result<(), String> {
        let named = match statement {
            Statement::Default { .. } => Vec::new(),
            Statement::Rule { wanted, .. } => vec![&wanted.input, &wanted.output],
            Statement::Dnat { input, .. } => vec![input],
            Statement::Masquerade { output, .. } => {
                return self.refuse_unknown_link(number, output);
            }
        };
        let mut named = named.into_iter().flatten();
        named.try_for_each(|link| self.refuse_unknown_link(number, link))
    }

    fn refuse_unknown_link(
        &self,
        number: usize,
        link: &firewall::Interface,
    ) -> std::result::Result<(), String> {
        let node = &self.topology.nodes[number];
        let name = link.to_string();
        let mut names = node
            .interfaces
            .iter()
            .map(|interface| interface.name.as_str());
        let uplink = node.uplink.is_some() && name == nat::LINK;
        if uplink || name == "lo" || names.clone().any(|known| known == name) {
            return Ok(());
        }
        Err(format!(
            "node \"{}\" has no interface \"{name}\"{}",
            node.name,
            values::advice(&name, &mut names)
        ))
    }

    fn groups(&mut self, file: &File) -> Faulty<()> {
        for (name, members) in &file.groups {
            if self.topology.node(&name.value).is_some() {
                return Err(name.fault(format!(
                    "\"{}\" is a node and a group; give one another name",
                    name.value
                )));
            }
            let mut nodes = Vec::new();
            for member in members {
                let node = self.find(member)?;
                if nodes.contains(&node) {
                    return Err(member.fault(format!("\"{}\" is in it twice", member.value)));
                }
                nodes.push(node);
            }
            self.topology.groups.push((name.value.clone(), nodes));
        }
        Ok(())
    }

    fn claims(&mut self, file: &File) -> Faulty<()> {
        // The more exactly a claim names its nodes, the more it counts.
        let mut made: BTreeMap<usize, Vec<(usize, Claim)>> = BTreeMap::new();
        let unreachable = file
            .unreachable
            .iter()
            .map(|claim| (claim, Reach::Unreached));
        let reachable = file.reachable.iter().map(|claim| (claim, Reach::Reached));
        for (written, expected) in reachable.chain(unreachable) {
            let spec::Claim {
                from,
                to,
                both_ways,
                probe,
            } = &written.value;
            let mut ways = vec![(from, to)];
            if *both_ways {
                ways.push((to, from));
            }
            for (from, to) in ways {
                let (senders, exactness) = self.who(written, from)?;
                let (targets, other) = match to {
                    Who::Address(address) => (vec![Err(*address)], 2),
                    who => {
                        let (nodes, exactness) = self.who(written, who)?;
                        (nodes.into_iter().map(Ok).collect(), exactness)
                    }
                };
                for &from in &senders {
                    for &target in &targets {
                        if target == Ok(from) {
                            continue;
                        }
                        let claim = Claim {
                            line: self.line(written),
                            from,
                            to: target.ok(),
                            addresses: match target {
                                Ok(node) => self.addresses_for(from, node),
                                Err(address) => vec![address],
                            },
                            probe: *probe,
                            expected,
                        };
                        let known = made.entry(from).or_default();
                        settle(known, exactness + other, claim)
                            .map_err(|reason| written.fault(reason))?;
                    }
                }
            }
        }
        let all = made.into_values().flatten().map(|(_, claim)| claim);
        self.topology.claims = all.collect();
        Ok(())
    }

    /// Of the families that both have.
    fn addresses_for(&self, from: usize, to: usize) -> Vec<IpAddr> {
        let own = self.topology.addresses_of(to, from);
        let mut theirs = self.topology.addresses_of(from, to);
        theirs.retain(|address| {
            own.iter()
                .any(|own| Family::of(*own) == Family::of(*address))
        });
        theirs
    }

    fn who(&self, claim: &Sited<spec::Claim>, who: &Who) -> Faulty<(Vec<usize>, usize)> {
        match who {
            Who::All | Who::Address(_) => Ok(((0..self.topology.nodes.len()).collect(), 0)),
            Who::Named(name) => {
                let nodes = self.topology.named(name);
                let nodes = nodes.map_err(|reason| claim.fault(reason.to_string()))?;
                let exactness = match self.topology.node(name) {
                    Some(_) => 2,
                    None => 1,
                };
                Ok((nodes, exactness))
            }
        }
    }
}

fn command(run: &Sited<file::Run>) -> Command {
    let file::Run {
        command,
        policy,
        environment,
    } = run.value.clone();
    Command {
        command,
        policy,
        environment,
    }
}

/// Add `claim` to those of its node, or let the more exact of two stand.
fn settle(
    known: &mut Vec<(usize, Claim)>,
    exactness: usize,
    claim: Claim,
) -> std::result::Result<(), String> {
    let same = |(_, other): &&mut (usize, Claim)| {
        let target = |claim: &Claim| {
            (
                claim.to,
                claim.to.is_none().then(|| claim.addresses.clone()),
            )
        };
        other.probe == claim.probe && target(other) == target(&claim)
    };
    match known.iter_mut().find(same) {
        None => known.push((exactness, claim)),
        Some((other, old)) if *other == exactness && old.expected != claim.expected => {
            return Err(format!("line {} claims the opposite", old.line));
        }
        Some((other, old)) if *other <= exactness => {
            *other = exactness;
            *old = claim;
        }
        Some(_) => {}
    }
    Ok(())
}

/// The network that every address of a family is in.
pub(super) fn everywhere(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}
