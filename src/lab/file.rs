//! Reads a lab file: from text to values with their lines, and says exactly where it is wrong.
//!
//! Pure, and fuzzed: it must not panic for any text. [`KEYS`] is every key, once: the reader, the advice
//! for a mistyped key and the tables in docs/lab.md are made from it. How values are written is
//! [`super::spec`]'s; what the names in them mean is [`super::topology`]'s.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::spec::{self, Claim, Family, Via};
use crate::document::{Fault, Faulty, in_order, table_of};
use crate::netns::traffic::{Loss, Rate, Shaper};
use crate::policy::spec as values;
use crate::policy::spec::Parsed;

/// The tables of a lab file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Table {
    /// Before the first heading.
    Lab,
    /// A range of addresses to be given out.
    Network,
    /// A node: a network namespace.
    Node,
    /// A command that runs in a node as long as the lab is up.
    Run,
    /// A cable between two nodes.
    Link,
    /// One end of a cable, or a member of a bridge.
    End,
    /// A switch.
    Bridge,
    /// Who must reach whom.
    Check,
}

impl Table {
    /// All, in the order of the documents.
    pub const ALL: [Self; 8] = [
        Self::Lab,
        Self::Network,
        Self::Node,
        Self::Run,
        Self::Link,
        Self::End,
        Self::Bridge,
        Self::Check,
    ];

    /// As it stands in a file.
    #[must_use]
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Lab => "before the first heading",
            Self::Network => "[networks.NAME]",
            Self::Node => "[nodes.NAME]",
            Self::Run => "[[nodes.NAME.run]]",
            Self::Link => "[[links]]",
            Self::End => "{ … } of \"ends\" and \"members\"",
            Self::Bridge => "[bridges.NAME]",
            Self::Check => "[check]",
        }
    }
}

/// One key of a lab file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Key {
    /// Its table.
    pub table: Table,
    /// Its name.
    pub name: &'static str,
    /// What it takes, in a document's words.
    pub takes: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn key(table: Table, name: &'static str, takes: &'static str, meaning: &'static str) -> Key {
    Key {
        table,
        name,
        takes,
        meaning,
    }
}

/// Every key.
pub const KEYS: &[Key] = &[
    key(
        Table::Lab,
        "name",
        "name",
        "The lab's name; the file's, without \".toml\", where it is left out",
    ),
    key(
        Table::Lab,
        "named",
        "true or false",
        "Whether nodes are also /run/netns/LAB.NODE, for ip(8) and \"sandbox netns\"; needs root",
    ),
    key(
        Table::Lab,
        "networks",
        "tables",
        "Ranges of addresses to be given out, by name",
    ),
    key(Table::Lab, "nodes", "tables", "Nodes, by name"),
    key(
        Table::Lab,
        "links",
        "list of tables",
        "Cables between two nodes",
    ),
    key(Table::Lab, "bridges", "tables", "Switches, by name"),
    key(
        Table::Lab,
        "groups",
        "table of lists of nodes",
        "Names for several nodes, for claims and partitions",
    ),
    key(Table::Lab, "check", "table", "Who must reach whom"),
    key(Table::Network, "ipv4", "network", "The IPv4 addresses"),
    key(Table::Network, "ipv6", "network", "The IPv6 addresses"),
    key(
        Table::Node,
        "forward",
        "true or false",
        "Whether it sends on what is for others (a router); default false",
    ),
    key(
        Table::Node,
        "default",
        "node, address, or a list",
        "Where it sends what no other route is for",
    ),
    key(
        Table::Node,
        "routes",
        "list of routes",
        "\"NETWORK via NODE\" or \"NETWORK via ADDRESS\"",
    ),
    key(
        Table::Node,
        "sysctl",
        "table of texts",
        "Kernel settings of its network (\"net.ipv4.tcp_ecn\" = \"1\")",
    ),
    key(
        Table::Node,
        "files",
        "table of texts",
        "What its commands see at these paths: contents by absolute path",
    ),
    key(
        Table::Node,
        "uplink",
        "interface of the host",
        "Joins it to the host's network by a link nat0, behind the address of this interface; IPv6 too where that has it; needs root",
    ),
    key(
        Table::Node,
        "firewall",
        "list of statements",
        "What it lets through, and NAT: see below; everything passes where it is left out",
    ),
    key(
        Table::Node,
        "nft",
        "text",
        "The same in nft(8)'s own words, loaded after it; the tables are the node's own",
    ),
    key(
        Table::Node,
        "run",
        "list of tables",
        "Commands that run as long as the lab is up",
    ),
    key(
        Table::Run,
        "command",
        "list of texts",
        "The program and its arguments",
    ),
    key(
        Table::Run,
        "policy",
        "policy",
        "The policy that it runs under; default \"default\"",
    ),
    key(
        Table::Run,
        "environment",
        "table of texts",
        "Variables set for it",
    ),
    key(
        Table::Link,
        "ends",
        "two ends",
        "\"NODE\", \"NODE:INTERFACE\" or a table",
    ),
    key(
        Table::Link,
        "network",
        "network",
        "Where the ends get addresses from",
    ),
    key(
        Table::Link,
        "mtu",
        "whole number",
        "The largest packet, in bytes",
    ),
    key(
        Table::Link,
        "up",
        "true or false",
        "false: the cable is not plugged in",
    ),
    key(Table::End, "node", "node", "Whose interface it is"),
    key(
        Table::End,
        "interface",
        "name",
        "The interface's name; default eth0, eth1, …, links before bridges",
    ),
    key(
        Table::End,
        "addresses",
        "list of addresses",
        "\"10.1.1.1/24\": instead of the network's next ones, for each family",
    ),
    key(
        Table::End,
        "mac",
        "hardware address",
        "Default: made from the names",
    ),
    key(
        Table::End,
        "rate",
        "rate",
        "What it sends at most: \"10mbit\"",
    ),
    key(
        Table::End,
        "shaper",
        "tbf or htb",
        "What holds it to its rate; default tbf",
    ),
    key(
        Table::End,
        "delay",
        "time",
        "How long what it sends is held back (netem): \"20ms\"",
    ),
    key(Table::End, "jitter", "time", "How much the delay varies"),
    key(
        Table::End,
        "loss",
        "percentage",
        "How much of what it sends is lost (netem): \"0.5%\"",
    ),
    key(
        Table::Bridge,
        "members",
        "list of ends",
        "The nodes that are plugged in",
    ),
    key(
        Table::Bridge,
        "network",
        "network",
        "Where they get addresses from",
    ),
    key(
        Table::Bridge,
        "node",
        "node",
        "Makes the bridge an interface of this node, with an address of its own",
    ),
    key(
        Table::Bridge,
        "addresses",
        "list of addresses",
        "Of that node on the bridge, instead of the network's next ones",
    ),
    key(
        Table::Bridge,
        "mtu",
        "whole number",
        "The largest packet, in bytes",
    ),
    key(
        Table::Check,
        "reachable",
        "list of claims",
        "\"A -> B\", \"A <-> B\", \"A -> B tcp 80\"; \"*\" is every node, a group all of its own",
    ),
    key(
        Table::Check,
        "unreachable",
        "list of claims",
        "The same, for what must not be reached",
    ),
];

/// The keys of each table as Markdown, for docs/lab.md.
#[must_use]
pub fn key_tables() -> String {
    let mut page = String::new();
    for table in Table::ALL {
        page.push_str(&format!("\n### `{}`\n\n", table.heading()));
        page.push_str("| key | takes | meaning |\n| --- | --- | --- |\n");
        for key in KEYS.iter().filter(|key| key.table == table) {
            page.push_str(&format!(
                "| `{}` | {} | {} |\n",
                key.name,
                key.takes,
                key.meaning.replace('|', "\\|")
            ));
        }
    }
    page
}

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

/// A table of the file, all of whose keys are known.
struct Section<'a, 'i> {
    kind: Table,
    table: &'a DeTable<'i>,
    at: usize,
}

impl<'a, 'i> Section<'a, 'i> {
    fn new(kind: Table, table: &'a DeTable<'i>, at: usize) -> Faulty<Self> {
        let section = Self { kind, table, at };
        for (name, _) in in_order(table) {
            let word = name.get_ref().as_ref();
            if section.knows(word) {
                continue;
            }
            let here = || KEYS.iter().filter(|key| key.table == kind);
            let elsewhere = KEYS.iter().find(|key| key.name == word);
            let advice = match (values::nearest(word, here().map(|key| key.name)), elsewhere) {
                (Some(near), _) => format!("did you mean \"{near}\"?"),
                (None, Some(key)) => format!("\"{word}\" belongs in {}", key.table.heading()),
                (None, None) => {
                    let names: Vec<&str> = here().map(|key| key.name).collect();
                    format!("use one of {}", names.join(", "))
                }
            };
            return Err(Fault {
                at: name.span(),
                reason: format!("unknown key \"{}\"; {advice}", word.escape_debug()),
            });
        }
        Ok(section)
    }

    fn knows(&self, name: &str) -> bool {
        KEYS.iter()
            .any(|key| key.table == self.kind && key.name == name)
    }

    fn get(&self, name: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        debug_assert!(self.knows(name), "{name} is in the table of keys");
        self.table.get(name)
    }

    fn here<T>(&self, value: T) -> Sited<T> {
        Sited { value, at: self.at }
    }

    fn wrong(&self, name: &str, value: &Spanned<DeValue<'_>>, takes: &str) -> Fault {
        Fault {
            at: value.span(),
            reason: format!("\"{name}\" takes {takes}, not {}", kind_of(value.get_ref())),
        }
    }

    fn flag(&self, name: &str) -> Faulty<Option<bool>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Some(*flag)),
            _ => Err(self.wrong(name, value, "true or false")),
        }
    }

    fn number<T>(&self, name: &str, parse: fn(&str) -> Parsed<T>) -> Faulty<Option<T>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Integer(number) => {
                let found = sited(value, &number.to_string(), parse);
                found.map(|found| Some(found.value))
            }
            _ => Err(self.wrong(name, value, "a whole number")),
        }
    }

    fn text<T>(&self, name: &str, parse: impl Fn(&str) -> Parsed<T>) -> Faulty<Option<Sited<T>>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        self.text_of(name, value, "a string", &parse).map(Some)
    }

    fn text_of<T>(
        &self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        takes: &str,
        parse: &impl Fn(&str) -> Parsed<T>,
    ) -> Faulty<Sited<T>> {
        match value.get_ref() {
            DeValue::String(text) => sited(value, text, parse),
            _ => Err(self.wrong(name, value, takes)),
        }
    }

    fn list<T>(&self, name: &str, parse: impl Fn(&str) -> Parsed<T>) -> Faulty<Vec<Sited<T>>> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(value) => self.list_of(name, value, parse),
        }
    }

    fn list_of<T>(
        &self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Faulty<Vec<Sited<T>>> {
        let takes = "a list of strings";
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.wrong(name, value, takes));
        };
        items
            .iter()
            .map(|item| self.text_of(name, item, takes, &parse))
            .collect()
    }

    fn one_or_more<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Parsed<T>,
    ) -> Faulty<Vec<Sited<T>>> {
        match self.get(name).map(Spanned::get_ref) {
            Some(DeValue::String(_)) => Ok(self.text(name, parse)?.into_iter().collect()),
            _ => self.list(name, parse),
        }
    }

    fn pairs<K, V>(
        &self,
        name: &str,
        key: impl Fn(&str) -> Parsed<K>,
        parse: impl Fn(&str) -> Parsed<V>,
    ) -> Faulty<Vec<Sited<(K, V)>>> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(name, value, "a table of strings"));
        };
        let mut pairs = Vec::new();
        for (left, right) in in_order(table) {
            let left = sited(left, left.get_ref(), &key)?;
            let right = self.text_of(name, right, "a table of strings", &parse)?;
            pairs.push(left.map(|left| (left, right.value)));
        }
        Ok(pairs)
    }

    fn section(&self, name: &str, kind: Table) -> Faulty<Option<Section<'a, 'i>>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(name, value, "a table"));
        };
        Section::new(kind, table, value.span().start).map(Some)
    }

    fn named(&self, name: &str, kind: Table) -> Faulty<Vec<(Sited<String>, Section<'a, 'i>)>> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(name, value, "a table for each name"));
        };
        let mut sections = Vec::new();
        for (key, value) in in_order(table) {
            let name = sited(key, key.get_ref(), spec::name)?;
            let DeValue::Table(inner) = value.get_ref() else {
                return Err(self.wrong(&name.value, value, "a table"));
            };
            sections.push((name, Section::new(kind, inner, key.span().start)?));
        }
        Ok(sections)
    }

    fn sections(&self, name: &str, kind: Table) -> Faulty<Vec<Section<'a, 'i>>> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let takes = "a list of tables";
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.wrong(name, value, takes));
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            let DeValue::Table(inner) = item.get_ref() else {
                return Err(self.wrong(name, item, takes));
            };
            sections.push(Section::new(kind, inner, item.span().start)?);
        }
        Ok(sections)
    }

    fn ends(&self, name: &str) -> Faulty<Vec<End>> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let takes = "a list of \"NODE\", \"NODE:INTERFACE\" or tables";
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.wrong(name, value, takes));
        };
        let mut ends = Vec::new();
        for item in items.iter() {
            ends.push(match item.get_ref() {
                DeValue::String(text) => {
                    let Sited { value, at } = sited(item, text, spec::end)?;
                    let (node, interface) = value;
                    End {
                        node: Sited { value: node, at },
                        interface: interface.map(|value| Sited { value, at }),
                        addresses: Vec::new(),
                        mac: None,
                        rate: None,
                        shaper: None,
                        delay: None,
                        jitter: None,
                        loss: None,
                    }
                }
                DeValue::Table(inner) => end(&Section::new(Table::End, inner, item.span().start)?)?,
                _ => return Err(self.wrong(name, item, takes)),
            });
        }
        Ok(ends)
    }
}

fn sited<T, S>(
    place: &Spanned<S>,
    text: &str,
    parse: impl Fn(&str) -> Parsed<T>,
) -> Faulty<Sited<T>> {
    match parse(text) {
        Ok(value) => Ok(Sited {
            value,
            at: place.span().start,
        }),
        Err(reason) => Err(Fault {
            at: place.span(),
            reason: reason.to_string(),
        }),
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
