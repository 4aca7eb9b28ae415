//! Groups of nodes, and who must reach whom: of two claims about a pair the more exact one stands.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::build::Building;
use super::{Claim, Reach};
use crate::document::Faulty;
use crate::lab::file::{File, Sited};
use crate::lab::spec::{self, Family, Who};

impl Building {
    pub(super) fn groups(&mut self, file: &File) -> Faulty<()> {
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

    pub(super) fn claims(&mut self, file: &File) -> Faulty<()> {
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
