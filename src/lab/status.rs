//! What there is of a lab, read from the kernel: `sandbox lab status`.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::live::Live;
use super::state::SWITCH;
use crate::error::Result;
use crate::netns::Connection;

/// Everything of a lab that is up, as JSON.
///
/// # Errors
/// When the kernel does not answer.
pub(super) fn of(live: &mut Live) -> Result<Json> {
    let names: Vec<String> = live
        .topology()
        .nodes
        .iter()
        .map(|node| node.name.clone())
        .collect();
    let mut commands: BTreeMap<String, Vec<Json>> = BTreeMap::new();
    for (space, command, ended) in live.commands() {
        let state = match ended {
            None => "running".to_owned(),
            Some(status) => format!("ended: {status}"),
        };
        commands.entry(space.to_owned()).or_default().push(json!({
            "command": command.command,
            "policy": command.policy,
            "state": state,
        }));
    }
    let mut nodes = Vec::new();
    for name in names {
        let Some(connection) = live.connection(&name) else {
            continue;
        };
        nodes.push(json!({
            "name": name,
            "interfaces": interfaces(connection)?,
            "commands": commands.remove(&name).unwrap_or_default(),
        }));
    }
    let switch = match live.connection(SWITCH) {
        Some(connection) => interfaces(connection)?,
        None => Vec::new(),
    };
    let topology = live.topology();
    let broken = live.faults();
    let name_of = |node: &usize| topology.nodes[*node].name.as_str();
    let parts: Vec<Vec<&str>> = broken
        .parts
        .iter()
        .map(|part| part.iter().map(name_of).collect())
        .collect();
    let unplugged: Vec<String> = broken
        .down
        .iter()
        .map(|&end| format!("{}:{}", name_of(&end.0), topology.interface(end).name))
        .collect();
    Ok(json!({
        "name": topology.name,
        "nodes": nodes,
        "switch": switch,
        "partition": parts,
        "unplugged": unplugged,
    }))
}

fn interfaces(connection: &mut Connection) -> Result<Vec<Json>> {
    let addresses = connection.addresses()?;
    let links = connection.links()?;
    let shown = links
        .iter()
        .filter(|link| link.kind != "loopback")
        .map(|link| {
            let own = addresses
                .iter()
                .filter(|address| address.link == link.index && address.scope == "global");
            let own: Vec<String> = own.map(|address| address.address.to_string()).collect();
            json!({
                "name": link.name,
                "kind": link.kind,
                "admin": link.admin,
                "carrier": link.carrier,
                "mtu": link.mtu,
                "mac": link.mac,
                "addresses": own,
                "received": link.received,
                "sent": link.sent,
            })
        });
    Ok(shown.collect())
}

/// The same for people.
#[must_use]
pub(crate) fn text(status: &Json) -> String {
    let word = |value: &Json, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let list = |value: &Json| -> Vec<Json> { value.as_array().cloned().unwrap_or_default() };
    let words = |value: &Json, between: &str| -> String {
        let words = list(value);
        let words: Vec<&str> = words.iter().filter_map(Json::as_str).collect();
        words.join(between)
    };
    let mut page = format!("lab {}\n", word(status, "name"));
    for node in list(&status["nodes"]) {
        page.push_str(&format!("\n{}\n", word(&node, "name")));
        for link in list(&node["interfaces"]) {
            let state = match (link["admin"] == "up", link["carrier"] == true) {
                (true, true) => "up",
                (true, false) => "no carrier",
                (false, _) => "down",
            };
            let count = |way: &str, what: &str| link[way][what].as_u64().unwrap_or_default();
            let line = format!(
                "  {:<15} {state:<10} {:<30} in {} ({} B)  out {} ({} B)",
                word(&link, "name"),
                words(&link["addresses"], " "),
                count("received", "packets"),
                count("received", "bytes"),
                count("sent", "packets"),
                count("sent", "bytes"),
            );
            page.push_str(&line);
            page.push('\n');
        }
        for command in list(&node["commands"]) {
            page.push_str(&format!(
                "  {}: {}\n",
                words(&command["command"], " "),
                word(&command, "state")
            ));
        }
    }
    let parts = list(&status["partition"]);
    if !parts.is_empty() {
        let parts: Vec<String> = parts.iter().map(|part| words(part, ",")).collect();
        page.push_str(&format!("\npartition: {}\n", parts.join(" | ")));
    }
    let unplugged = words(&status["unplugged"], " ");
    if !unplugged.is_empty() {
        page.push_str(&format!("\nunplugged: {unplugged}\n"));
    }
    page
}
