//! Gives out addresses and hardware addresses: the same ones each time for the same file.
//!
//! Pure. Addresses are given in the order of the file, lowest first, around those that the file gives
//! itself; hardware addresses are made from the names.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::file::{Network, Sited};
use super::spec::{Family, show_mac};
use super::topology::Topology;
use crate::document::Faulty;

/// Ranges that are taken, each by one network, link or bridge.
#[derive(Default)]
pub(super) struct Taken {
    ranges: Vec<(IpNet, String, usize)>,
}

impl Taken {
    /// Take `range` for `what`, of `line`.
    pub(super) fn range(&mut self, range: &Sited<IpNet>, what: String, line: usize) -> Faulty<()> {
        let net = range.value.trunc();
        for (other, owner, line) in &self.ranges {
            if other.contains(&net) || net.contains(other) {
                return Err(
                    range.fault(format!("{net} overlaps {other} of {owner} in line {line}"))
                );
            }
        }
        self.ranges.push((net, what, line));
        Ok(())
    }
}

/// The addresses of the interfaces on one link or bridge, in their order.
///
/// `given` are those that the file gives each. Without a declared network the first one given says
/// what the network is, and nobody else gets any.
pub(super) fn addresses(
    network: Option<&Network>,
    given: &[&[Sited<IpNet>]],
    at: &Sited<()>,
    line: usize,
    taken: &mut Taken,
) -> Faulty<Vec<Vec<IpNet>>> {
    let mut all: Vec<Vec<IpNet>> = given
        .iter()
        .map(|own| own.iter().map(|address| address.value).collect())
        .collect();
    for family in Family::BOTH {
        let mine = |address: &&Sited<IpNet>| Family::of(address.value.addr()) == family;
        let declared = network.and_then(|network| {
            let range = network.ranges.iter().find(mine)?;
            Some((network, range.value))
        });
        let first = given.iter().flat_map(|own| own.iter()).find(mine);
        let range = match (&declared, first) {
            (Some((_, range)), _) => *range,
            (None, Some(first)) => {
                taken.range(first, "a link or bridge".to_owned(), line)?;
                first.value.trunc()
            }
            (None, None) => continue,
        };
        let mut used: BTreeSet<IpAddr> = BTreeSet::new();
        for address in given.iter().flat_map(|own| own.iter()).filter(mine) {
            if address.value.trunc() != range {
                let whose = declared.as_ref().map_or_else(
                    || "the network of the other end".to_owned(),
                    |(network, _)| format!("network \"{}\"", network.name.value),
                );
                return Err(
                    address.fault(format!("{} is outside of {whose}, {range}", address.value))
                );
            }
            if !used.insert(address.value.addr()) {
                return Err(address.fault(format!("{} is given twice", address.value.addr())));
            }
        }
        let Some((network, range)) = declared else {
            continue;
        };
        let mut next = hosts(range).filter(|address| !used.contains(address));
        for own in &mut all {
            if own
                .iter()
                .any(|address| Family::of(address.addr()) == family)
            {
                continue;
            }
            let Some(address) = next.next() else {
                return Err(at.fault(format!(
                    "network \"{}\", {range}, has fewer addresses than it has interfaces",
                    network.name.value
                )));
            };
            let assigned = IpNet::new(address, range.prefix_len());
            own.push(assigned.expect("the prefix is that of a network of this family"));
        }
    }
    Ok(all)
}

/// The addresses of a network that an interface may have, lowest first.
fn hosts(range: IpNet) -> impl Iterator<Item = IpAddr> {
    let (first, last) = match range {
        IpNet::V4(net) => (
            u128::from(u32::from(net.network())),
            u128::from(u32::from(net.broadcast())),
        ),
        IpNet::V6(net) => (u128::from(net.network()), u128::from(net.broadcast())),
    };
    // A network of one or two addresses has none to spare for itself; IPv6 has no broadcast.
    let small = last - first < 2;
    let from = if small { first } else { first + 1 };
    let to = match range {
        IpNet::V4(_) if !small => last - 1,
        _ => last,
    };
    let address = move |number: u128| match range {
        IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    };
    (from..=to).map(address)
}

/// Give each interface that has none a hardware address of its own.
pub(super) fn give_macs(topology: &mut Topology) {
    let lab = topology.name.clone();
    let mut used: BTreeSet<[u8; 6]> = topology
        .nodes
        .iter()
        .flat_map(|node| &node.interfaces)
        .map(|interface| interface.mac)
        .collect();
    for node in &mut topology.nodes {
        for interface in &mut node.interfaces {
            if interface.mac != [0; 6] {
                continue;
            }
            let name = format!("{lab}/{}/{}", node.name, interface.name);
            let mac = (0..)
                .map(|attempt| mac_of(&name, attempt))
                .find(|mac| !used.contains(mac))
                .unwrap_or([2, 0, 0, 0, 0, 1]);
            debug_assert!(mac[0] == 2, "{}", show_mac(mac));
            used.insert(mac);
            interface.mac = mac;
        }
    }
}

/// A hardware address made from a name (FNV-1a), marked as one that no maker of hardware gave.
pub(super) fn mac_of(name: &str, attempt: u64) -> [u8; 6] {
    let seed = 0xcbf2_9ce4_8422_2325_u64.wrapping_add(attempt);
    let hash = name.bytes().fold(seed, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = (hash ^ (hash >> 24)).to_le_bytes();
    [2, a, b, c, d, e]
}
