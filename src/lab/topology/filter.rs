//! What the nodes of a topology let through: their firewalls, with the names in them known.

use std::net::IpAddr;

use super::Firewall;
use super::build::Building;
use crate::document::Faulty;
use crate::lab::{file, spec};
use crate::netns::firewall::{self, Statement};
use crate::netns::nat;
use crate::policy::spec as values;

impl Building {
    pub(super) fn firewall(&self, number: usize, node: &file::Node) -> Faulty<Option<Firewall>> {
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
}
