//! The subcommands of `sandbox netns` that change what is in a namespace: links, addresses, routes,
//! rules, neighbours, settings.

use std::net::IpAddr;
use std::str::FromStr;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde_json::json;

use super::print::Sheet;
use crate::error::{Error, Result};
use crate::netns::link::{self, Admin, Kind, MacvlanMode, NewLink};
use crate::netns::route::{self, Family, Route, RouteKind, Rule, RuleTarget};
use crate::netns::sysctl::Setting;
use crate::netns::{Connection, LinkName, Mac, Reference, Request, address};

#[derive(Debug, Subcommand)]
pub(super) enum Change {
    /// Join two namespaces, or two ends in one, by a wire: a veth pair
    Veth {
        /// One end: NS:LINK
        #[arg(value_name = "NS:LINK")]
        one: Place,
        /// The other end: NS:LINK
        #[arg(value_name = "NS:LINK")]
        other: Place,
        /// The largest packet that both ends carry, in bytes
        #[arg(long, value_name = "BYTES")]
        mtu: Option<u32>,
        /// Bring both ends up
        #[arg(long)]
        up: bool,
    },
    /// Make, change, move and delete links
    Link {
        #[command(subcommand)]
        verb: LinkVerb,
    },
    /// Give addresses to a link, or take them away
    #[command(visible_alias = "addr")]
    Address {
        /// What to do
        #[arg(value_name = "add|delete", value_parser = add_or_delete)]
        verb: Way,
        #[command(flatten)]
        at: At,
        /// The addresses, each with the length of its prefix, as 10.1.1.1/24
        #[arg(value_name = "ADDRESS/BITS", required = true, value_parser = network)]
        addresses: Vec<IpNet>,
    },
    /// Add, replace and delete routes
    Route(RouteArgs),
    /// Add and delete rules that choose a table of routes
    Rule(RuleArgs),
    /// Say which hardware address a neighbour has, or forget it
    Neighbour {
        /// What to do
        #[arg(value_name = "add|delete", value_parser = add_or_delete)]
        verb: Way,
        #[command(flatten)]
        at: At,
        /// The neighbour's address
        #[arg(value_name = "ADDRESS")]
        address: IpAddr,
        /// Its hardware address
        #[arg(value_name = "MAC")]
        mac: Option<Mac>,
    },
    /// Read or write settings of a namespace's network
    Sysctl {
        /// The namespace
        #[arg(value_name = "NS")]
        namespace: Reference,
        /// Settings below net, as net.ipv4.ip_forward, or with a value to write
        #[arg(value_name = "NAME[=VALUE]", required = true)]
        settings: Vec<Assignment>,
    },
}

/// What is done with something that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Add,
    Delete,
    Replace,
}

fn add_or_delete(text: &str) -> std::result::Result<Way, &'static str> {
    match text {
        "add" => Ok(Way::Add),
        "delete" | "del" => Ok(Way::Delete),
        _ if asks_to_see(text) => Err(SHOWN_BY),
        _ => Err("write add or delete"),
    }
}

/// Words of ip(8) for what is another subcommand here.
fn asks_to_see(text: &str) -> bool {
    matches!(text, "show" | "list" | "ls")
}

const SHOWN_BY: &str = "'sandbox netns show NS' shows all that is there";

fn any_way(text: &str) -> std::result::Result<Way, &'static str> {
    match text {
        "replace" => Ok(Way::Replace),
        other if asks_to_see(other) => Err(SHOWN_BY),
        other => add_or_delete(other).map_err(|_| "write add, replace or delete"),
    }
}

/// A link that there is, in two words.
#[derive(Clone, Debug, Args)]
pub(super) struct At {
    /// The namespace
    #[arg(value_name = "NS")]
    namespace: Reference,
    /// The link
    #[arg(value_name = "LINK")]
    link: LinkName,
}

impl At {
    /// A socket in its namespace, and its index there.
    pub(super) fn open(&self) -> Result<(Connection, u32)> {
        let mut network = self.namespace.open()?.connect()?;
        let index = network.index_of(&self.link)?;
        Ok((network, index))
    }
}

/// `NS:LINK`; the last colon parts them, because a link's name has none.
#[derive(Clone, Debug)]
pub(super) struct Place {
    namespace: Reference,
    link: LinkName,
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((namespace, link)) = text.rsplit_once(':') else {
            return Err(Error::usage(
                format!("\"{}\"", text.escape_debug()),
                "write a namespace and a link in it, as left:veth0",
            ));
        };
        Ok(Self {
            namespace: namespace.parse()?,
            link: link.parse()?,
        })
    }
}

/// `NAME` or `NAME=VALUE`.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    setting: Setting,
    value: Option<String>,
}

impl FromStr for Assignment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
            None => (text, None),
        };
        Ok(Self {
            setting: name.parse()?,
            value,
        })
    }
}

fn network(text: &str) -> std::result::Result<IpNet, &'static str> {
    let whole = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    whole.map_err(|_| "write an address and the length of its prefix, as 10.1.1.1/24 or fd00::1/64")
}

#[derive(Debug, Subcommand)]
pub(super) enum LinkVerb {
    /// Make a link; "netns veth" makes two ends of a wire
    Add(NewLinkArgs),
    /// Change a link
    Set(LinkSetArgs),
    /// Delete a link; of a wire, both ends
    #[command(visible_alias = "del")]
    Delete {
        #[command(flatten)]
        at: At,
    },
}

#[derive(Debug, Args)]
pub(super) struct NewLinkArgs {
    /// The namespace
    #[arg(value_name = "NS")]
    namespace: Reference,
    /// The new link
    #[arg(value_name = "LINK")]
    link: LinkName,
    /// What it is: bridge, macvlan, vlan, dummy, tun or tap
    #[arg(value_name = "KIND", value_parser = ["bridge", "macvlan", "vlan", "dummy", "tun", "tap"], hide_possible_values = true)]
    kind: String,
    /// The link that a macvlan or vlan lies on
    #[arg(long, value_name = "LINK", required_if_eq_any([("kind", "macvlan"), ("kind", "vlan")]))]
    parent: Option<LinkName>,
    /// How macvlan links of one parent see each other: bridge, private, vepa or passthru
    ///
    /// Default: bridge.
    #[arg(long, value_name = "MODE", value_parser = macvlan_mode)]
    mode: Option<MacvlanMode>,
    /// The tag of a vlan, from 1 to 4094
    #[arg(long, value_name = "TAG", required_if_eq("kind", "vlan"), value_parser = clap::value_parser!(u16).range(1..=4094))]
    tag: Option<u16>,
    /// The hardware address
    #[arg(long, value_name = "MAC")]
    mac: Option<Mac>,
    /// The largest packet, in bytes
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Make it a port of this bridge
    #[arg(long, value_name = "BRIDGE")]
    bridge: Option<LinkName>,
    /// Bring it up
    #[arg(long)]
    up: bool,
}

fn macvlan_mode(text: &str) -> std::result::Result<MacvlanMode, &'static str> {
    Ok(match text {
        "bridge" => MacvlanMode::Bridge,
        "private" => MacvlanMode::Private,
        "vepa" => MacvlanMode::Vepa,
        "passthru" => MacvlanMode::Passthru,
        _ => return Err("use one of bridge, private, vepa, passthru"),
    })
}

#[derive(Debug, Args)]
pub(super) struct LinkSetArgs {
    #[command(flatten)]
    at: At,
    /// Bring it up, or take it down
    #[arg(value_name = "up|down", value_parser = admin)]
    admin: Option<Admin>,
    /// The hardware address
    #[arg(long, value_name = "MAC")]
    mac: Option<Mac>,
    /// The largest packet, in bytes
    #[arg(long, value_name = "BYTES")]
    mtu: Option<u32>,
    /// Make it a port of this bridge
    #[arg(long, value_name = "BRIDGE", conflicts_with = "no_bridge")]
    bridge: Option<LinkName>,
    /// Make it no bridge's port
    #[arg(long)]
    no_bridge: bool,
    /// Call it so from now on
    #[arg(long, value_name = "LINK")]
    name: Option<LinkName>,
    /// Move it to another namespace
    #[arg(long, value_name = "NS")]
    to: Option<Reference>,
}

fn admin(text: &str) -> std::result::Result<Admin, &'static str> {
    match text {
        "up" => Ok(Admin::Up),
        "down" => Ok(Admin::Down),
        _ => Err("write up or down"),
    }
}

#[derive(Debug, Args)]
pub(super) struct RouteArgs {
    /// What to do
    #[arg(value_name = "add|replace|delete", value_parser = any_way)]
    verb: Way,
    /// The namespace
    #[arg(value_name = "NS")]
    namespace: Reference,
    /// Where it leads to: a network as 10.2.0.0/16, or "default" with --via
    #[arg(value_name = "NETWORK|default")]
    destination: String,
    /// The next router
    #[arg(long, value_name = "ADDRESS")]
    via: Option<IpAddr>,
    /// The link it goes out by
    #[arg(long, value_name = "LINK")]
    link: Option<LinkName>,
    /// The source address of what is sent from here
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// The smaller number wins
    #[arg(long, value_name = "NUMBER")]
    metric: Option<u32>,
    /// The table; default: 254, the main one
    #[arg(long, value_name = "NUMBER")]
    table: Option<u32>,
    /// What is done: unicast, local, blackhole, unreachable or prohibit
    #[arg(long, value_name = "KIND", value_parser = route_kind)]
    kind: Option<RouteKind>,
    /// The next router is on the link, though no address says so
    #[arg(long)]
    onlink: bool,
}

fn route_kind(text: &str) -> std::result::Result<RouteKind, &'static str> {
    Ok(match text {
        "unicast" => RouteKind::Unicast,
        "local" => RouteKind::Local,
        "blackhole" => RouteKind::Blackhole,
        "unreachable" => RouteKind::Unreachable,
        "prohibit" => RouteKind::Prohibit,
        _ => return Err("use one of unicast, local, blackhole, unreachable, prohibit"),
    })
}

#[derive(Debug, Args)]
pub(super) struct RuleArgs {
    /// What to do
    #[arg(value_name = "add|delete", value_parser = add_or_delete)]
    verb: Way,
    /// The namespace
    #[arg(value_name = "NS")]
    namespace: Reference,
    /// For packets from this network
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    from: Option<IpNet>,
    /// For packets to this network
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    to: Option<IpNet>,
    /// For packets that came in by this link
    #[arg(long, value_name = "LINK")]
    input: Option<LinkName>,
    /// For packets that go out by this link
    #[arg(long, value_name = "LINK")]
    output: Option<LinkName>,
    /// For packets with this mark
    #[arg(long, value_name = "NUMBER")]
    mark: Option<u32>,
    /// The smaller number comes first
    #[arg(long, value_name = "NUMBER")]
    priority: Option<u32>,
    /// The table that is looked up
    #[arg(long, value_name = "NUMBER")]
    table: u32,
    /// For IPv6, where no network says so
    #[arg(long)]
    ipv6: bool,
}

impl Change {
    /// Do it.
    pub(super) fn execute(self, sheet: Sheet) -> Result<()> {
        match self {
            Self::Veth {
                one,
                other,
                mtu,
                up,
            } => wire(&one, &other, mtu, up),
            Self::Link { verb } => verb.execute(),
            Self::Address {
                verb,
                at,
                addresses,
            } => {
                let (mut network, index) = at.open()?;
                let request = |&address: &IpNet| match verb {
                    Way::Delete => address::delete(index, address),
                    _ => address::add(index, address),
                };
                one_by_one(&mut network, addresses.iter().map(request))
            }
            Self::Route(route) => route.execute(),
            Self::Rule(rule) => rule.execute(),
            Self::Neighbour {
                verb,
                at,
                address,
                mac,
            } => {
                let (mut network, index) = at.open()?;
                let request = match (verb, mac) {
                    (Way::Delete, _) => route::delete_neighbour(index, address),
                    (_, Some(mac)) => route::add_neighbour(index, address, mac),
                    (_, None) => {
                        return Err(Error::usage("MAC", "this argument is missing"));
                    }
                };
                network.perform(&[request])
            }
            Self::Sysctl {
                namespace,
                settings,
            } => sysctl(&namespace, &settings, sheet),
        }
    }
}

/// One packet each, so that nothing is done after a refusal.
fn one_by_one(network: &mut Connection, requests: impl IntoIterator<Item = Request>) -> Result<()> {
    requests
        .into_iter()
        .try_for_each(|request| network.perform(&[request]))
}

fn wire(one: &Place, other: &Place, mtu: Option<u32>, up: bool) -> Result<()> {
    let (here, there) = (one.namespace.open()?, other.namespace.open()?);
    let mut wire = NewLink::veth(one.link.clone(), other.link.clone()).peer_in(&there);
    wire.end.mtu = mtu;
    if let Kind::Veth { peer } = &mut wire.kind {
        peer.mtu = mtu;
    }
    let mut network = here.connect()?;
    network.perform(&[wire.request()])?;
    if !up {
        return Ok(());
    }
    network.perform(&[link::up(&one.link)])?;
    there.connect()?.perform(&[link::up(&other.link)])
}

impl LinkVerb {
    fn execute(self) -> Result<()> {
        match self {
            Self::Add(args) => args.execute(),
            Self::Set(args) => args.execute(),
            Self::Delete { at } => {
                let network = at.namespace.open()?;
                network.connect()?.perform(&[link::delete(at.link)])
            }
        }
    }
}

impl NewLinkArgs {
    fn execute(self) -> Result<()> {
        let namespace = self.namespace.open()?;
        let mut network = namespace.connect()?;
        let parent = match &self.parent {
            Some(parent) => network.index_of(parent)?,
            None => 0,
        };
        let master = match &self.bridge {
            Some(bridge) => Some(network.index_of(bridge)?),
            None => None,
        };
        let kind = match self.kind.as_str() {
            "tun" | "tap" => return self.make_tunnel(&namespace, &mut network, master),
            "macvlan" => Kind::Macvlan {
                parent,
                mode: self.mode.unwrap_or(MacvlanMode::Bridge),
            },
            "vlan" => Kind::Vlan {
                parent,
                tag: self.tag.unwrap_or_default(),
            },
            "dummy" => Kind::Dummy,
            _ => Kind::Bridge {
                spanning_tree: false,
            },
        };
        let mut new = NewLink::new(self.link, kind);
        new.end.mac = self.mac;
        new.end.mtu = self.mtu;
        new.end.master = master;
        if self.up {
            new = new.up();
        }
        network.perform(&[new.request()])
    }

    fn make_tunnel(
        &self,
        namespace: &crate::netns::Namespace,
        network: &mut Connection,
        master: Option<u32>,
    ) -> Result<()> {
        let layer = match self.kind.as_str() {
            "tap" => crate::netns::tunnel::Layer::Ethernet,
            _ => crate::netns::tunnel::Layer::Ip,
        };
        crate::netns::tunnel::add(namespace, &self.link, layer)?;
        let change = link::Change {
            admin: self.up.then_some(Admin::Up),
            mtu: self.mtu,
            mac: self.mac,
            master,
            ..link::Change::default()
        };
        let changed = network.perform(&[link::set(&self.link, &change)]);
        if changed.is_err() {
            // All or nothing; the first error is the one to tell.
            let _ = network.perform(&[link::delete(&self.link)]);
        }
        changed
    }
}

impl LinkSetArgs {
    fn execute(self) -> Result<()> {
        let (mut network, index) = self.at.open()?;
        let master = match (&self.bridge, self.no_bridge) {
            (Some(bridge), _) => Some(network.index_of(bridge)?),
            (None, true) => Some(0),
            (None, false) => None,
        };
        let change = link::Change {
            admin: self.admin,
            mtu: self.mtu,
            mac: self.mac,
            master,
            name: self.name,
            namespace: self.to.as_ref().map(Reference::open).transpose()?,
        };
        network.perform(&[link::set(index, &change)])
    }
}

impl RouteArgs {
    fn execute(self) -> Result<()> {
        let mut route = match (self.destination.as_str(), self.via) {
            ("default", Some(router)) => Route::default_via(router),
            ("default", None) => {
                return Err(Error::usage(
                    "default",
                    "say by --via which router, or write 0.0.0.0/0 or ::/0 with --link",
                ));
            }
            (text, _) => Route::to(network(text).map_err(|reason| {
                Error::usage(format!("route to \"{}\"", text.escape_debug()), reason)
            })?),
        };
        let mut network = self.namespace.open()?.connect()?;
        route.via = self.via;
        route.link = match &self.link {
            Some(link) => Some(network.index_of(link)?),
            None => None,
        };
        route.source = self.source;
        route.metric = self.metric;
        route.table = self.table.unwrap_or(route::MAIN_TABLE);
        route.kind = self.kind.unwrap_or_default();
        route.onlink = self.onlink;
        network.perform(&[match self.verb {
            Way::Add => route::add(&route),
            Way::Replace => route::replace(&route),
            Way::Delete => route::delete(&route),
        }])
    }
}

impl RuleArgs {
    fn execute(self) -> Result<()> {
        let six = self.ipv6
            || [self.from, self.to]
                .iter()
                .flatten()
                .any(|it| it.addr().is_ipv6());
        let family = if six { Family::V6 } else { Family::V4 };
        let mut rule = Rule::new(family, RuleTarget::Table(self.table));
        rule.from = self.from;
        rule.to = self.to;
        rule.input = self.input.map(|link| link.as_str().to_owned());
        rule.output = self.output.map(|link| link.as_str().to_owned());
        rule.mark = self.mark;
        rule.priority = self.priority;
        let mut network = self.namespace.open()?.connect()?;
        network.perform(&[match self.verb {
            Way::Delete => route::delete_rule(&rule),
            _ => route::add_rule(&rule),
        }])
    }
}

fn sysctl(namespace: &Reference, settings: &[Assignment], sheet: Sheet) -> Result<()> {
    let namespace = namespace.open()?;
    let mut read = serde_json::Map::new();
    for Assignment { setting, value } in settings {
        match value {
            Some(value) => namespace.set_sysctl(setting, value)?,
            None => {
                read.insert(setting.to_string(), json!(namespace.sysctl(setting)?));
            }
        }
    }
    let text = || {
        let line = |(name, value): (&String, &serde_json::Value)| {
            format!("{name} = {}\n", value.as_str().unwrap_or_default())
        };
        read.iter().map(line).collect()
    };
    sheet.print(&serde_json::Value::Object(read.clone()), text)
}
