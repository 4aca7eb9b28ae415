//! From a lab's file to its topology: nodes, links and bridges, each mistake with its place.
//!
//! Where everything is plugged in, addresses and routes follow ([`super::routes`]), then what each node lets
//! through ([`super::filter`]), then what is claimed ([`super::claims`]).

use std::collections::BTreeMap;
use std::path::Path;

use super::{Bridge, Command, Interface, Join, Link, Node, Topology};
use crate::document::{Fault, Faulty};
use crate::lab::file::{self, File, Sited};
use crate::lab::{assign, spec};
use crate::netns::traffic::{Discipline, Shape};
use crate::policy::spec as values;

/// A file on its way to a topology.
pub(super) struct Building {
    pub(super) breaks: Vec<usize>,
    pub(super) topology: Topology,
}

impl Building {
    pub(super) fn new(path: &Path, text: &str, file: &File) -> Faulty<Self> {
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

    pub(super) fn line<T>(&self, value: &Sited<T>) -> usize {
        self.breaks.partition_point(|at| *at < value.at) + 1
    }

    pub(super) fn build(mut self, file: &File) -> Faulty<Topology> {
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

    pub(super) fn find(&self, name: &Sited<String>) -> Faulty<usize> {
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
}

pub(super) fn command(run: &Sited<file::Run>) -> Command {
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
