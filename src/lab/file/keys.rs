//! Every key of a lab file, once, with its table and what it means.

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

pub(super) const fn key(
    table: Table,
    name: &'static str,
    takes: &'static str,
    meaning: &'static str,
) -> Key {
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
