//! What there should be of a lab, as plain data that two of can be compared.
//!
//! Pure. [`State::desired`] lays out a topology with its faults, such as a partition; nothing else knows
//! about faults. [`State::apply`] says what an action leaves behind, so that [`super::difference`] is
//! checked against it and the acting half records what it has done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ipnet::IpNet;

use super::assign::mac_of;
use super::difference::Action;
use super::spec::Family;
use super::topology::{Command, Firewall, Join, Route, Topology};
use crate::netns::traffic::Shape;

/// The space that bridges of no node are in. No node can be called so.
pub const SWITCH: &str = "~switch";

/// Everything that a lab is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Network namespaces by name: the nodes', and [`SWITCH`].
    pub spaces: BTreeMap<String, Space>,
    /// The cables between them.
    pub cables: BTreeMap<Cable, Wiring>,
}

/// What is in one network namespace, besides the ends of cables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    /// Bridges with their largest packet.
    pub bridges: BTreeMap<String, Device>,
    /// Addresses by interface.
    pub addresses: BTreeSet<(String, IpNet)>,
    /// Routes.
    pub routes: BTreeSet<Route>,
    /// Whether it sends on what is for others.
    pub forward: bool,
    /// Whether it has a name in `/run/netns`.
    pub named: bool,
    /// Other kernel settings.
    pub sysctl: BTreeMap<String, String>,
    /// What holds up what interfaces send.
    pub traffic: BTreeMap<String, Shape>,
    /// What is let through.
    pub firewall: Option<Firewall>,
    /// The host's interface that it reaches the outside by.
    pub uplink: Option<String>,
    /// Files that commands see.
    pub files: BTreeMap<PathBuf, String>,
    /// What runs in it.
    pub commands: Vec<Command>,
}

/// A bridge's own interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The largest packet.
    pub mtu: Option<u32>,
}

/// A cable, by its ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cable(pub [Plug; 2]);

/// One end of a cable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plug {
    /// In which space.
    pub space: String,
    /// The interface's name.
    pub interface: String,
    /// Its hardware address.
    pub mac: [u8; 6],
}

/// What of a cable can change while it lies there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wiring {
    /// Whether it is plugged in.
    pub up: bool,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// Of which bridge each end is a port.
    pub masters: [Option<String>; 2],
}

/// What is broken on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Interfaces whose cable is unplugged: node and interface, by number.
    pub down: BTreeSet<(usize, usize)>,
    /// Nodes that are cut off from those of other parts. Who is in none is in the first.
    pub parts: Vec<Vec<usize>>,
}

impl Faults {
    fn part(&self, node: usize) -> usize {
        let named = self.parts.iter().position(|part| part.contains(&node));
        named.unwrap_or_default()
    }
}

impl State {
    /// What there should be of `topology`, broken as `faults` say.
    #[must_use]
    pub fn desired(topology: &Topology, faults: &Faults) -> Self {
        let mut state = Self::default();
        for node in &topology.nodes {
            let space = Space {
                forward: node.forward,
                named: topology.named,
                sysctl: node.sysctl.clone(),
                routes: node.routes.iter().cloned().collect(),
                firewall: node.firewall.clone(),
                uplink: node.uplink.clone(),
                files: node.files.clone(),
                commands: node.commands.clone(),
                ..Space::default()
            };
            state.spaces.insert(node.name.clone(), space);
        }
        state.lay_links(topology, faults);
        state.lay_bridges(topology, faults);
        for (number, node) in topology.nodes.iter().enumerate() {
            let Some(space) = state.spaces.get_mut(&node.name) else {
                continue;
            };
            for (place, interface) in node.interfaces.iter().enumerate() {
                let name = &interface.name;
                let cut = match interface.join {
                    Join::Link(link) => !is_up(topology, faults, link),
                    Join::Port(_) => faults.down.contains(&(number, place)),
                    Join::Bridge(_) => false,
                };
                if interface.traffic != Shape::default() {
                    space.traffic.insert(name.clone(), interface.traffic);
                }
                // What the kernel forgets when an interface goes down is not there.
                if cut {
                    space.routes.retain(|route| route.interface != *name);
                    continue;
                }
                let addresses = interface.addresses.iter();
                space
                    .addresses
                    .extend(addresses.map(|address| (name.clone(), *address)));
            }
        }
        state
    }

    fn lay_links(&mut self, topology: &Topology, faults: &Faults) {
        for (number, link) in topology.links.iter().enumerate() {
            let cable = Cable(link.ends.map(|end| plug_of(topology, end)));
            let wiring = Wiring {
                up: is_up(topology, faults, number),
                mtu: link.mtu,
                masters: [None, None],
            };
            self.cables.insert(cable, wiring);
        }
    }

    fn lay_bridges(&mut self, topology: &Topology, faults: &Faults) {
        for (number, bridge) in topology.bridges.iter().enumerate() {
            let home = bridge.home.map(|node| topology.nodes[node].name.as_str());
            let space = home.unwrap_or(SWITCH).to_owned();
            let base = bridge.home.map_or(0, |home| faults.part(home));
            let device = |name: &str| Device {
                mac: mac_of(&format!("{}/{space}/{name}", topology.name), 0),
                mtu: bridge.mtu,
            };
            let add = |state: &mut Self, name: &str| {
                let bridges = &mut state.spaces.entry(space.clone()).or_default().bridges;
                bridges.insert(name.to_owned(), device(name));
            };
            add(self, &bridge.name);
            for &(node, interface) in &bridge.members {
                // A part that the bridge is not in gets one of its own.
                let master = match faults.part(node) {
                    part if part == base => bridge.name.clone(),
                    part => format!("~b{number}.{part}"),
                };
                add(self, &master);
                let member = plug_of(topology, (node, interface));
                let port = format!("{}/{}/{}", bridge.name, member.space, member.interface);
                let mac = mac_of(&format!("{}/{port}", topology.name), 1);
                let digits = mac[1..].iter().map(|byte| format!("{byte:02x}"));
                let port = Plug {
                    space: space.clone(),
                    interface: format!("~{}", digits.collect::<String>()),
                    mac,
                };
                let wiring = Wiring {
                    up: !faults.down.contains(&(node, interface)),
                    mtu: bridge.mtu,
                    masters: [None, Some(master)],
                };
                self.cables.insert(Cable([member, port]), wiring);
            }
        }
    }

    /// What is there after `action`, as far as it can be told without looking.
    pub fn apply(&mut self, action: &Action) {
        match action {
            Action::AddSpace { space } => {
                self.spaces.insert(space.clone(), Space::default());
            }
            Action::RemoveSpace { space } => {
                self.spaces.remove(space);
            }
            Action::AddBridge {
                space,
                name,
                device,
            } => {
                let bridges = &mut self.spaces.entry(space.clone()).or_default().bridges;
                bridges.insert(name.clone(), *device);
            }
            Action::RemoveBridge { space, name } => {
                if let Some(space) = self.spaces.get_mut(space) {
                    space.bridges.remove(name);
                    space.forget(name);
                }
            }
            Action::AddCable { cable, wiring } | Action::SetWiring { cable, wiring } => {
                self.cables.insert(cable.clone(), wiring.clone());
            }
            Action::RemoveCable { cable } => {
                self.cables.remove(cable);
                for plug in &cable.0 {
                    if let Some(space) = self.spaces.get_mut(&plug.space) {
                        space.forget(&plug.interface);
                    }
                }
            }
            Action::InSpace { space, change } => {
                if let Some(space) = self.spaces.get_mut(space) {
                    space.apply(change);
                }
            }
        }
    }
}

impl Space {
    /// What goes along with an interface.
    fn forget(&mut self, interface: &str) {
        self.addresses.retain(|(name, _)| name != interface);
        self.routes.retain(|route| route.interface != interface);
        self.traffic.remove(interface);
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::RemoveCommand(command) => {
                if let Some(found) = self.commands.iter().position(|known| known == command) {
                    self.commands.remove(found);
                }
            }
            Change::AddCommand(command) => self.commands.push(command.clone()),
            Change::Uplink(uplink) => self.uplink.clone_from(uplink),
            Change::RemoveRoute(route) => {
                self.routes.remove(route);
            }
            Change::AddRoute(route) => {
                self.routes.insert(route.clone());
            }
            // With the last one the kernel forgets the routes; with the first, others of its network.
            Change::RemoveAddress(interface, address) => {
                self.routes.retain(|route| route.interface != *interface);
                self.addresses
                    .retain(|(name, other)| name != interface || other.trunc() != address.trunc());
            }
            Change::AddAddress(interface, address) => {
                self.addresses.insert((interface.clone(), *address));
            }
            Change::Forward(forward) => self.forward = *forward,
            Change::Named(named) => self.named = *named,
            Change::Sysctl(name, value) => {
                self.sysctl.insert(name.clone(), value.clone());
            }
            Change::Traffic(interface, None) => {
                self.traffic.remove(interface);
            }
            Change::Traffic(interface, Some(traffic)) => {
                self.traffic.insert(interface.clone(), *traffic);
            }
            Change::Firewall(firewall) => self.firewall = firewall.as_deref().cloned(),
            Change::Files(files) => self.files.clone_from(files),
        }
    }

    /// Whether it has an address of `family`.
    #[must_use]
    pub fn speaks(&self, family: Family) -> bool {
        self.addresses
            .iter()
            .any(|(_, address)| Family::of(address.addr()) == family)
    }
}

/// A change inside one space.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// End a command.
    RemoveCommand(Command),
    /// Start one.
    AddCommand(Command),
    /// Join it to the host's network, or part it from there.
    Uplink(Option<String>),
    /// Take a route away.
    RemoveRoute(Route),
    /// Add a route.
    AddRoute(Route),
    /// Take an interface's address away.
    RemoveAddress(String, IpNet),
    /// Give an interface an address.
    AddAddress(String, IpNet),
    /// Let it send on what is for others, or no longer.
    Forward(bool),
    /// Give it a name in `/run/netns`, or take that away.
    Named(bool),
    /// Set a kernel setting.
    Sysctl(String, String),
    /// Hold up what an interface sends, or no longer.
    Traffic(String, Option<Shape>),
    /// Replace the firewall, or take it away.
    Firewall(Option<Box<Firewall>>),
    /// Replace what commands that start from now on see.
    Files(BTreeMap<PathBuf, String>),
}

fn plug_of(topology: &Topology, end: (usize, usize)) -> Plug {
    let interface = topology.interface(end);
    Plug {
        space: topology.nodes[end.0].name.clone(),
        interface: interface.name.clone(),
        mac: interface.mac,
    }
}

fn is_up(topology: &Topology, faults: &Faults, link: usize) -> bool {
    let link = &topology.links[link];
    let [(left, _), (right, _)] = link.ends;
    let together = faults.part(left) == faults.part(right);
    link.up && together && link.ends.iter().all(|end| !faults.down.contains(end))
}
