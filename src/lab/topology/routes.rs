//! The addresses of a topology's interfaces, and the routes of its nodes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::build::Building;
use super::{Interface, Join, Route, everywhere};
use crate::document::{Fault, Faulty};
use crate::lab::assign;
use crate::lab::file::{self, File, Sited};
use crate::lab::spec::{Family, Via};
use crate::policy::spec as values;

impl Building {
    pub(super) fn give_addresses(&mut self, file: &File) -> Faulty<()> {
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

    pub(super) fn routes(&mut self, number: usize, node: &file::Node) -> Faulty<()> {
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
}
