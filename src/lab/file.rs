//! Reads a lab file: from text to values with their lines, and says exactly where it is wrong.
//!
//! Pure, and fuzzed: it must not panic for any text. [`KEYS`] is every key, once: the reader, the advice
//! for a mistyped key and the tables in docs/lab.md are made from it. How values are written is
//! [`super::spec`]'s; what the names in them mean is [`super::topology`]'s.
//!
//! Here are the values and how each is read; [`keys`] is the list, [`section`] takes the keys of one table.

mod keys;
mod section;

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

pub use self::keys::{KEYS, Key, Table, key_tables};
use self::section::{Section, sited};
use super::spec::{self, Claim, Family, Via};
use crate::document::{Fault, Faulty, in_order, table_of};
use crate::netns::traffic::{Loss, Rate, Shaper};
use crate::policy::spec as values;
use crate::policy::spec::Parsed;

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Sited<T> {
    pub(super) value: T,
    /// The first of its bytes in the text.
    pub(super) at: usize,
}

impl<T> Sited<T> {
    /// What is wrong with it.
    pub(super) fn fault(&self, reason: impl Into<String>) -> Fault {
        Fault {
            at: self.at..self.at,
            reason: reason.into(),
        }
    }

    fn map<U>(self, change: impl FnOnce(T) -> U) -> Sited<U> {
        Sited {
            value: change(self.value),
            at: self.at,
        }
    }
}

/// A file, every value well-formed; what it means is not known yet.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) name: Option<Sited<String>>,
    pub(super) named: Option<Sited<bool>>,
    pub(super) networks: Vec<Network>,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
    pub(super) bridges: Vec<Bridge>,
    pub(super) groups: Vec<(Sited<String>, Vec<Sited<String>>)>,
    pub(super) reachable: Vec<Sited<Claim>>,
    pub(super) unreachable: Vec<Sited<Claim>>,
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) name: Sited<String>,
    pub(super) ranges: Vec<Sited<IpNet>>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: Sited<String>,
    pub(super) forward: bool,
    pub(super) default: Vec<Sited<Via>>,
    pub(super) routes: Vec<Sited<(IpNet, Via)>>,
    pub(super) sysctl: Vec<Sited<(String, String)>>,
    pub(super) files: Vec<Sited<(PathBuf, String)>>,
    pub(super) uplink: Option<Sited<String>>,
    pub(super) firewall: Vec<Sited<String>>,
    pub(super) nft: Option<Sited<String>>,
    pub(super) run: Vec<Sited<Run>>,
}

#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) command: Vec<String>,
    pub(super) policy: String,
    pub(super) environment: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) at: Sited<()>,
    pub(super) ends: [End; 2],
    pub(super) network: Option<Sited<String>>,
    pub(super) mtu: Option<u32>,
    pub(super) up: bool,
}

#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) name: Sited<String>,
    pub(super) members: Vec<End>,
    pub(super) network: Option<Sited<String>>,
    pub(super) node: Option<Sited<String>>,
    pub(super) addresses: Vec<Sited<IpNet>>,
    pub(super) mtu: Option<u32>,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) node: Sited<String>,
    pub(super) interface: Option<Sited<String>>,
    pub(super) addresses: Vec<Sited<IpNet>>,
    pub(super) mac: Option<Sited<[u8; 6]>>,
    pub(super) rate: Option<Rate>,
    pub(super) shaper: Option<Sited<Shaper>>,
    pub(super) delay: Option<Duration>,
    pub(super) jitter: Option<Sited<Duration>>,
    pub(super) loss: Option<Loss>,
}

/// What `text` says.
pub(super) fn read(text: &str) -> Faulty<File> {
    let table = table_of(text)?;
    let lab = Section::new(Table::Lab, table.get_ref(), 0)?;
    let mut file = File {
        name: lab.text("name", spec::name)?,
        named: lab.flag("named")?.map(|named| lab.here(named)),
        ..File::default()
    };
    for (name, section) in lab.named("networks", Table::Network)? {
        file.networks.push(network(name, &section)?);
    }
    for (name, section) in lab.named("nodes", Table::Node)? {
        file.nodes.push(node(name, &section)?);
    }
    for section in lab.sections("links", Table::Link)? {
        file.links.push(link(&section)?);
    }
    for (name, section) in lab.named("bridges", Table::Bridge)? {
        file.bridges.push(bridge(name, &section)?);
    }
    if let Some(groups) = lab.get("groups") {
        let DeValue::Table(groups) = groups.get_ref() else {
            return Err(lab.wrong("groups", groups, "a table of lists"));
        };
        for (name, nodes) in in_order(groups) {
            let name = sited(name, name.get_ref(), spec::name)?;
            file.groups
                .push((name, lab.list_of("groups", nodes, spec::name)?));
        }
    }
    if let Some(check) = lab.section("check", Table::Check)? {
        file.reachable = check.list("reachable", spec::claim)?;
        file.unreachable = check.list("unreachable", spec::claim)?;
    }
    Ok(file)
}

fn network(name: Sited<String>, section: &Section<'_, '_>) -> Faulty<Network> {
    let mut ranges = Vec::new();
    for (key, family) in [("ipv4", Family::V4), ("ipv6", Family::V6)] {
        ranges.extend(section.text(key, |text| spec::network_of(text, family))?);
    }
    if ranges.is_empty() {
        return Err(name.fault(format!(
            "network \"{}\" has no addresses; give \"ipv4\", \"ipv6\" or both",
            name.value
        )));
    }
    Ok(Network { name, ranges })
}

fn node(name: Sited<String>, section: &Section<'_, '_>) -> Faulty<Node> {
    let mut run = Vec::new();
    for inner in section.sections("run", Table::Run)? {
        run.push(command(&inner)?);
    }
    let plain = |text: &str| match text.contains('\0') {
        true => values::invalid("a file here is text without NUL"),
        false => Ok(text.to_owned()),
    };
    Ok(Node {
        forward: section.flag("forward")?.unwrap_or(false),
        default: section.one_or_more("default", spec::via)?,
        routes: section.list("routes", spec::route)?,
        sysctl: section.pairs("sysctl", spec::sysctl, spec::sysctl_value)?,
        files: section.pairs("files", absolute, plain)?,
        uplink: section.text("uplink", spec::interface)?,
        // Understood with the names of nodes only.
        firewall: section.list("firewall", |text| Ok(text.to_owned()))?,
        nft: section.text("nft", plain)?,
        run,
        name,
    })
}

fn absolute(text: &str) -> Parsed<PathBuf> {
    let path = PathBuf::from(text);
    let dotted = path.components().any(|part| part.as_os_str() == "..");
    if !path.is_absolute() || dotted || text.contains('\0') || text.ends_with('/') {
        return values::invalid(format!(
            "\"{}\": write the whole path of a file, from \"/\" and without \"..\"",
            text.escape_debug()
        ));
    }
    Ok(path)
}

fn command(section: &Section<'_, '_>) -> Faulty<Sited<Run>> {
    let word = |text: &str| match text.contains('\0') {
        true => values::invalid("an argument has no NUL"),
        false => Ok(text.to_owned()),
    };
    let command: Vec<String> = section
        .list("command", word)?
        .into_iter()
        .map(|word| word.value)
        .collect();
    if command.first().is_none_or(String::is_empty) {
        return Err(section
            .here(())
            .fault("\"command\" is missing: a list of the program and its arguments"));
    }
    let policy = section.text("policy", word)?;
    let environment = section.pairs("environment", variable, word)?;
    Ok(section.here(Run {
        command,
        policy: policy.map_or_else(|| "default".to_owned(), |policy| policy.value),
        environment: environment.into_iter().map(|pair| pair.value).collect(),
    }))
}

fn variable(text: &str) -> Parsed<String> {
    values::variable_name(text.as_ref())?;
    Ok(text.to_owned())
}

fn link(section: &Section<'_, '_>) -> Faulty<Link> {
    let ends = section.ends("ends")?;
    let Ok(ends) = <[End; 2]>::try_from(ends) else {
        return Err(section
            .here(())
            .fault("a link has two ends: ends = [\"NODE\", \"NODE\"]"));
    };
    Ok(Link {
        at: section.here(()),
        ends,
        network: section.text("network", spec::name)?,
        mtu: section.number("mtu", spec::mtu)?,
        up: section.flag("up")?.unwrap_or(true),
    })
}

fn bridge(name: Sited<String>, section: &Section<'_, '_>) -> Faulty<Bridge> {
    // It becomes an interface's.
    let name = Sited {
        value: spec::interface(&name.value).map_err(|reason| name.fault(reason.to_string()))?,
        at: name.at,
    };
    Ok(Bridge {
        name,
        members: section.ends("members")?,
        network: section.text("network", spec::name)?,
        node: section.text("node", spec::name)?,
        addresses: section.list("addresses", spec::address)?,
        mtu: section.number("mtu", spec::mtu)?,
    })
}

fn end(section: &Section<'_, '_>) -> Faulty<End> {
    let Some(node) = section.text("node", spec::name)? else {
        return Err(section
            .here(())
            .fault("\"node\" is missing: whose interface is it?"));
    };
    let plain = |found: Option<Sited<_>>| found.map(|found| found.value);
    Ok(End {
        node,
        interface: section.text("interface", spec::interface)?,
        addresses: section.list("addresses", spec::address)?,
        mac: section.text("mac", spec::mac)?,
        rate: section.text("rate", spec::rate)?.map(|rate| rate.value),
        shaper: section.text("shaper", spec::shaper)?,
        delay: plain(section.text("delay", spec::delay)?),
        jitter: section.text("jitter", spec::delay)?,
        loss: section.text("loss", spec::loss)?.map(|loss| loss.value),
    })
}
