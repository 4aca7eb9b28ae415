//! What `sandbox netns` prints: for people, or as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::error::Result;
use crate::netns::link::{Admin, Link};
use crate::netns::monitor::Event;
use crate::netns::named::{self, Named, State};
use crate::netns::route::MAIN_TABLE;
use crate::netns::{Namespace, NamespaceName};

/// How it is printed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sheet {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Sheet {
    /// Print `value`, or the same as text.
    pub(super) fn print(self, value: &Value, text: impl FnOnce() -> String) -> Result<()> {
        match self {
            Self::Text => super::super::print(&text()),
            Self::Json => super::super::print(&format!("{value:#}\n")),
        }
    }

    /// Names that were made: nothing for people.
    pub(super) fn print_made(self, names: &[NamespaceName]) -> Result<()> {
        let made = names
            .iter()
            .map(|name| json!({ "name": name, "path": named::path_of(name) }));
        self.print(&made.collect(), String::new)
    }

    /// As ip-netns(8) lists names, with the processes behind.
    pub(super) fn print_names(self, found: &[Named]) -> Result<()> {
        let text = || {
            let mut text = String::new();
            for named in found {
                let _ = write!(text, "{}", named.name);
                if let Some(id) = named.nsid {
                    let _ = write!(text, " (id: {id})");
                }
                match (named.state, named.pids.len()) {
                    (State::Stale, _) => text.push_str(" (stale: a file without a namespace)"),
                    (State::Live, 0) => {}
                    (State::Live, 1) => text.push_str(" (1 process)"),
                    (State::Live, count) => {
                        let _ = write!(text, " ({count} processes)");
                    }
                }
                text.push('\n');
            }
            text
        };
        self.print(&json!(found), text)
    }

    /// One line of `monitor`.
    pub(super) fn print_event(self, event: &Event) -> Result<()> {
        match self {
            Self::Text => super::super::print(&format!("{event}\n")),
            Self::Json => super::super::print(&format!("{}\n", json!(event))),
        }
    }

    /// All that is in a namespace.
    pub(super) fn print_contents(self, namespace: &Namespace) -> Result<()> {
        let mut network = namespace.connect()?;
        let links = network.links()?;
        let addresses = network.addresses()?;
        let routes = network.routes()?;
        let rules = network.rules()?;
        let neighbours = network.neighbours()?;
        let value = json!({
            "namespace": namespace.label(),
            "links": links,
            "addresses": addresses,
            "routes": routes,
            "rules": rules,
            "neighbours": neighbours,
        });
        let name_of = |index: u32| {
            let found = links.iter().find(|link| link.index == index);
            found.map_or_else(
                || index.to_string(),
                |link| link.name.escape_debug().to_string(),
            )
        };
        let text = || {
            let mut text = String::new();
            for link in &links {
                text.push_str(&link_line(link, &name_of));
                for address in addresses.iter().filter(|it| it.link == link.index) {
                    let tentative = if address.tentative { " tentative" } else { "" };
                    let _ = writeln!(text, "    {}{tentative}", address.address);
                }
            }
            let shown: Vec<_> = routes
                .iter()
                .filter(|route| route.table == MAIN_TABLE || route.table > 255)
                .collect();
            heading(&mut text, "routes", shown.is_empty());
            for route in shown {
                let mut line = route.to_string();
                if let Some(index) = route.link {
                    let by = format!(" by link {index}");
                    line = line.replace(&by, &format!(" by {}", name_of(index)));
                }
                let _ = writeln!(text, "    {line}");
            }
            heading(&mut text, "rules", rules.is_empty());
            for rule in &rules {
                let priority = rule.priority.unwrap_or_default();
                let _ = writeln!(text, "    {priority}: {rule}");
            }
            if !neighbours.is_empty() {
                heading(&mut text, "neighbours", false);
            }
            for neighbour in &neighbours {
                let mac = neighbour.mac.map(|mac| format!(" {mac}"));
                let _ = writeln!(
                    text,
                    "    {} by {}{} {}",
                    neighbour.address,
                    name_of(neighbour.link),
                    mac.unwrap_or_default(),
                    neighbour.state
                );
            }
            text
        };
        self.print(&value, text)
    }
}

fn heading(text: &mut String, title: &str, empty: bool) {
    let none = if empty { " none" } else { "" };
    let _ = writeln!(text, "{title}:{none}");
}

fn link_line(link: &Link, name_of: &impl Fn(u32) -> String) -> String {
    let state = match (link.admin, link.carrier) {
        (Admin::Down, _) => "down",
        (Admin::Up, true) => "up",
        (Admin::Up, false) => "up, no carrier",
    };
    let mut line = format!(
        "{}: {} {} {state} mtu {}",
        link.index,
        link.name.escape_debug(),
        link.kind,
        link.mtu
    );
    if let Some(mac) = link.mac {
        let _ = write!(line, " {mac}");
    }
    if let Some(master) = link.master {
        let _ = write!(line, " in {}", name_of(master));
    }
    match (link.peer, link.peer_nsid) {
        (Some(peer), Some(nsid)) => {
            let _ = write!(line, " to link {peer} of namespace {nsid}");
        }
        (Some(peer), None) => {
            let _ = write!(line, " to {}", name_of(peer));
        }
        _ => {}
    }
    line.push('\n');
    line
}
