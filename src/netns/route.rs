//! Routes, rules that choose between tables of them, and neighbours; both families (rtnetlink(7),
//! `RTM_*ROUTE`, `RTM_*RULE`, `RTM_*NEIGH`).
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use serde::Serialize;

use super::address::{as_text, family};
use super::link::Mac;
use super::name::LinkName;
use super::netlink::{Connection, Request};
use crate::error::{Error, Result};

/// The table that is looked up where no rule says otherwise.
pub const MAIN_TABLE: u32 = 254;

/// What is done with packets that a route matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// They are passed on.
    #[default]
    Unicast,
    /// They are for this namespace itself.
    Local,
    /// They vanish.
    Blackhole,
    /// They are refused: no route.
    Unreachable,
    /// They are refused: forbidden.
    Prohibit,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The network that it leads to; `0.0.0.0/0` and `::/0` are the default.
    #[serde(serialize_with = "as_text")]
    pub destination: IpNet,
    /// What is done.
    pub kind: RouteKind,
    /// The next router, of either family.
    pub via: Option<IpAddr>,
    /// The index of the link that it goes out by.
    pub link: Option<u32>,
    /// The source address of what is sent from here.
    pub source: Option<IpAddr>,
    /// The smaller one wins.
    pub metric: Option<u32>,
    /// Its table.
    pub table: u32,
    /// The next router is on the link, though no address says so.
    pub onlink: bool,
}

impl Route {
    /// A route to `destination` in the main table, with nothing else said.
    #[must_use]
    pub const fn to(destination: IpNet) -> Self {
        Self {
            destination,
            kind: RouteKind::Unicast,
            via: None,
            link: None,
            source: None,
            metric: None,
            table: MAIN_TABLE,
            onlink: false,
        }
    }

    /// The default route of IPv4 or IPv6 by way of `router`.
    #[must_use]
    pub fn default_via(router: IpAddr) -> Self {
        let any = match router {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self::to(IpNet::new(any, 0).expect("0 is a length of any family")).via(router)
    }

    /// The same by way of `router`.
    #[must_use]
    pub const fn via(mut self, router: IpAddr) -> Self {
        self.via = Some(router);
        self
    }

    /// The same out of the link with index `link`.
    #[must_use]
    pub const fn by_link(mut self, link: u32) -> Self {
        self.link = Some(link);
        self
    }

    fn message(&self) -> RouteMessage {
        let network = self.destination.trunc();
        let mut message = RouteMessage::default();
        message.header.address_family = family(&network.addr());
        message.header.destination_prefix_length = network.prefix_len();
        message.header.table = match u8::try_from(self.table) {
            Ok(table) => table,
            Err(_) => RouteHeader::RT_TABLE_UNSPEC,
        };
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = match self.kind {
            RouteKind::Unicast => RouteType::Unicast,
            RouteKind::Local => RouteType::Local,
            RouteKind::Blackhole => RouteType::BlackHole,
            RouteKind::Unreachable => RouteType::Unreachable,
            RouteKind::Prohibit => RouteType::Prohibit,
        };
        message.header.scope = match (self.kind, self.via, network) {
            (RouteKind::Local, ..) => RouteScope::Host,
            (RouteKind::Unicast, None, IpNet::V4(_)) => RouteScope::Link,
            _ => RouteScope::Universe,
        };
        if self.onlink {
            message.header.flags = RouteFlags::Onlink;
        }
        let attributes = &mut message.attributes;
        if network.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(to_address(network.addr())));
        }
        match (self.via, network) {
            (Some(IpAddr::V6(router)), IpNet::V4(_)) => {
                attributes.push(RouteAttribute::Via(RouteVia::Inet6(router)));
            }
            (Some(IpAddr::V4(router)), IpNet::V6(_)) => {
                attributes.push(RouteAttribute::Via(RouteVia::Inet(router)));
            }
            (Some(router), _) => attributes.push(RouteAttribute::Gateway(to_address(router))),
            (None, _) => {}
        }
        attributes.extend(self.link.map(RouteAttribute::Oif));
        let source = self.source.map(to_address);
        attributes.extend(source.map(RouteAttribute::PrefSource));
        attributes.extend(self.metric.map(RouteAttribute::Priority));
        attributes.push(RouteAttribute::Table(self.table));
        message
    }

    fn of_message(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let any = match header.address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let kind = match header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Local => RouteKind::Local,
            RouteType::BlackHole => RouteKind::Blackhole,
            RouteType::Unreachable => RouteKind::Unreachable,
            RouteType::Prohibit => RouteKind::Prohibit,
            _ => return None,
        };
        let mut destination = any;
        let mut route = Self::to(IpNet::new(any, 0).ok()?);
        route.kind = kind;
        route.table = u32::from(header.table);
        route.onlink = header.flags.contains(RouteFlags::Onlink);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => destination = from_address(address)?,
                RouteAttribute::Gateway(address) => route.via = from_address(address),
                RouteAttribute::Via(RouteVia::Inet(router)) => {
                    route.via = Some(IpAddr::V4(*router));
                }
                RouteAttribute::Via(RouteVia::Inet6(router)) => {
                    route.via = Some(IpAddr::V6(*router));
                }
                RouteAttribute::Oif(link) => route.link = Some(*link),
                RouteAttribute::PrefSource(address) => route.source = from_address(address),
                RouteAttribute::Priority(metric) => route.metric = Some(*metric),
                RouteAttribute::Table(table) => route.table = *table,
                _ => {}
            }
        }
        route.destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
        Some(route)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RouteKind::Unicast => "",
            RouteKind::Local => "local ",
            RouteKind::Blackhole => "blackhole ",
            RouteKind::Unreachable => "unreachable ",
            RouteKind::Prohibit => "prohibit ",
        };
        write!(f, "{kind}{}", self.destination)?;
        if let Some(router) = self.via {
            write!(f, " via {router}")?;
        }
        if let Some(link) = self.link {
            write!(f, " by link {link}")?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " in table {}", self.table)?;
        }
        Ok(())
    }
}

const fn to_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

const fn from_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// Add a route. Refused where there is one for the same network, metric and table.
#[must_use]
pub fn add(route: &Route) -> Request {
    let message = RouteNetlinkMessage::NewRoute(route.message());
    Request::new(
        message,
        NLM_F_CREATE | NLM_F_EXCL,
        "add the route",
        route.to_string(),
    )
}

/// Add a route in place of the one for the same network, metric and table.
#[must_use]
pub fn replace(route: &Route) -> Request {
    let message = RouteNetlinkMessage::NewRoute(route.message());
    Request::new(
        message,
        NLM_F_CREATE | NLM_F_REPLACE,
        "set the route",
        route.to_string(),
    )
}

/// Take a route away.
#[must_use]
pub fn delete(route: &Route) -> Request {
    let mut message = route.message();
    // Whoever made it, and however far it was said to mean something.
    message.header.protocol = RouteProtocol::Unspec;
    message.header.scope = RouteScope::NoWhere;
    let message = RouteNetlinkMessage::DelRoute(message);
    Request::new(message, 0, "delete the route", route.to_string())
}

/// Which family of addresses a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "ipv4")]
    V4,
    /// IPv6.
    #[serde(rename = "ipv6")]
    V6,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleTarget {
    /// This table is looked up.
    Table(u32),
    /// Packets vanish.
    Blackhole,
    /// They are refused: no route.
    Unreachable,
    /// They are refused: forbidden.
    Prohibit,
}

/// A rule that chooses a table of routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its family.
    pub family: Family,
    /// The smaller one comes first; the kernel's choice if nothing is said.
    pub priority: Option<u32>,
    /// For packets from there.
    #[serde(serialize_with = "maybe_as_text")]
    pub from: Option<IpNet>,
    /// For packets to there.
    #[serde(serialize_with = "maybe_as_text")]
    pub to: Option<IpNet>,
    /// For packets that came in by this link.
    pub input: Option<String>,
    /// For packets that go out by this link.
    pub output: Option<String>,
    /// For packets with this mark.
    pub mark: Option<u32>,
    /// What is done.
    pub target: RuleTarget,
}

fn maybe_as_text<S: serde::Serializer>(
    value: &Option<IpNet>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

impl Rule {
    /// A rule for every packet of `family`.
    #[must_use]
    pub const fn new(family: Family, target: RuleTarget) -> Self {
        Self {
            family,
            priority: None,
            from: None,
            to: None,
            input: None,
            output: None,
            mark: None,
            target,
        }
    }

    /// The same for packets that came in by `link`.
    #[must_use]
    pub fn coming_by(mut self, link: &LinkName) -> Self {
        self.input = Some(link.as_str().to_owned());
        self
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = match self.family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        };
        message.header.action = match self.target {
            RuleTarget::Table(_) => RuleAction::ToTable,
            RuleTarget::Blackhole => RuleAction::Blackhole,
            RuleTarget::Unreachable => RuleAction::Unreachable,
            RuleTarget::Prohibit => RuleAction::Prohibit,
        };
        let attributes = &mut message.attributes;
        attributes.extend(self.priority.map(RuleAttribute::Priority));
        if let Some(network) = self.from {
            message.header.src_len = network.prefix_len();
            attributes.push(RuleAttribute::Source(network.trunc().addr()));
        }
        if let Some(network) = self.to {
            message.header.dst_len = network.prefix_len();
            attributes.push(RuleAttribute::Destination(network.trunc().addr()));
        }
        attributes.extend(self.input.clone().map(RuleAttribute::Iifname));
        attributes.extend(self.output.clone().map(RuleAttribute::Oifname));
        attributes.extend(self.mark.map(RuleAttribute::FwMark));
        if let RuleTarget::Table(table) = self.target {
            message.header.table = u8::try_from(table).unwrap_or_default();
            attributes.push(RuleAttribute::Table(table));
        }
        message
    }

    fn of_message(message: &RuleMessage) -> Option<Self> {
        let family = match message.header.family {
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
            _ => return None,
        };
        let mut table = u32::from(message.header.table);
        let mut rule = Self::new(family, RuleTarget::Table(0));
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Priority(priority) => rule.priority = Some(*priority),
                RuleAttribute::Source(address) => {
                    rule.from = IpNet::new(*address, message.header.src_len).ok();
                }
                RuleAttribute::Destination(address) => {
                    rule.to = IpNet::new(*address, message.header.dst_len).ok();
                }
                RuleAttribute::Iifname(name) => rule.input = Some(name.clone()),
                RuleAttribute::Oifname(name) => rule.output = Some(name.clone()),
                RuleAttribute::FwMark(mark) => rule.mark = Some(*mark),
                RuleAttribute::Table(found) => table = *found,
                _ => {}
            }
        }
        rule.priority = rule.priority.or(Some(0));
        rule.target = match message.header.action {
            RuleAction::ToTable => RuleTarget::Table(table),
            RuleAction::Blackhole => RuleTarget::Blackhole,
            RuleAction::Unreachable => RuleTarget::Unreachable,
            RuleAction::Prohibit => RuleTarget::Prohibit,
            _ => return None,
        };
        Some(rule)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            Some(network) => write!(f, "from {network}")?,
            None => f.write_str("from all")?,
        }
        if let Some(network) = self.to {
            write!(f, " to {network}")?;
        }
        if let Some(link) = &self.input {
            write!(f, " in by {}", link.escape_debug())?;
        }
        if let Some(link) = &self.output {
            write!(f, " out by {}", link.escape_debug())?;
        }
        if let Some(mark) = self.mark {
            write!(f, " with mark {mark:#x}")?;
        }
        match self.target {
            RuleTarget::Table(table) => write!(f, " to table {table}"),
            RuleTarget::Blackhole => f.write_str(" blackhole"),
            RuleTarget::Unreachable => f.write_str(" unreachable"),
            RuleTarget::Prohibit => f.write_str(" prohibit"),
        }
    }
}

/// Add a rule.
#[must_use]
pub fn add_rule(rule: &Rule) -> Request {
    let message = RouteNetlinkMessage::NewRule(rule.message());
    Request::new(
        message,
        NLM_F_CREATE | NLM_F_EXCL,
        "add the rule",
        rule.to_string(),
    )
}

/// Take a rule away.
#[must_use]
pub fn delete_rule(rule: &Rule) -> Request {
    let message = RouteNetlinkMessage::DelRule(rule.message());
    Request::new(message, 0, "delete the rule", rule.to_string())
}

/// A neighbour: which hardware address an address has on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// The index of the link.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// The hardware address, where it is known.
    pub mac: Option<Mac>,
    /// What the kernel makes of it: `permanent`, `reachable`, `stale`, `failed` and so on.
    pub state: String,
}

/// Say for good which hardware address `address` has on the link with index `link`.
#[must_use]
pub fn add_neighbour(link: u32, address: IpAddr, mac: Mac) -> Request {
    let mut message = neighbour(link, address);
    message.header.state = NeighbourState::Permanent;
    let bytes = mac.octets().to_vec();
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(bytes));
    let object = format!("{address} at {mac} on link {link}");
    let message = RouteNetlinkMessage::NewNeighbour(message);
    Request::new(
        message,
        NLM_F_CREATE | NLM_F_REPLACE,
        "set the neighbour",
        object,
    )
}

/// Forget the neighbour `address` of the link with index `link`.
#[must_use]
pub fn delete_neighbour(link: u32, address: IpAddr) -> Request {
    let message = RouteNetlinkMessage::DelNeighbour(neighbour(link, address));
    let object = format!("{address} on link {link}");
    Request::new(message, 0, "delete the neighbour", object)
}

fn neighbour(link: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(&address);
    message.header.ifindex = link;
    let address = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes = vec![NeighbourAttribute::Destination(address)];
    message
}

impl Neighbour {
    fn of_message(message: &NeighbourMessage) -> Option<Self> {
        let (mut address, mut mac) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => {
                    address = Some(IpAddr::V4(*found));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => {
                    address = Some(IpAddr::V6(*found));
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = <[u8; 6]>::try_from(bytes.as_slice())
                        .ok()
                        .and_then(|bytes| {
                            let [a, b, c, d, e, g] = bytes;
                            format!("{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{g:x}").parse().ok()
                        });
                }
                _ => {}
            }
        }
        Some(Self {
            link: message.header.ifindex,
            address: address?,
            mac,
            state: message.header.state.to_string().to_lowercase(),
        })
    }
}

/// Where a packet would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    /// To another host.
    Away,
    /// To this host itself: an address of its own, or one that it answers for (local, anycast, broadcast).
    Here,
    /// No route leads there.
    Nowhere,
}

impl Connection {
    /// Every route of every table, of both families.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let message = RouteNetlinkMessage::GetRoute(message);
            let found = self.list(message, "list routes")?;
            routes.extend(found.iter().filter_map(|message| match message {
                RouteNetlinkMessage::NewRoute(route) => Route::of_message(route),
                _ => None,
            }));
        }
        Ok(routes)
    }

    /// Where a packet of this process to `address` would go.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(crate) fn leads(&mut self, address: IpAddr) -> Result<Leads> {
        let mut message = RouteMessage::default();
        let (family, bits, destination) = match address {
            IpAddr::V4(four) => (AddressFamily::Inet, 32, RouteAddress::Inet(four)),
            IpAddr::V6(six) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(six)),
        };
        message.header.address_family = family;
        message.header.destination_prefix_length = bits;
        let destination = RouteAttribute::Destination(destination);
        message.attributes.push(destination);
        match self.get(RouteNetlinkMessage::GetRoute(message), "look for the route") {
            Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Ok(match route.header.kind {
                RouteType::Unicast => Leads::Away,
                _ => Leads::Here,
            }),
            // The last two: a kernel, or a host, without IPv6.
            Err(Error::Network {
                errno:
                    Errno::ENETUNREACH
                    | Errno::EHOSTUNREACH
                    | Errno::EACCES
                    | Errno::EAFNOSUPPORT
                    | Errno::EOPNOTSUPP,
                ..
            }) => Ok(Leads::Nowhere),
            Err(error) => Err(error),
            Ok(_) => Err(Error::host("look for", "the route", Errno::ENOMSG)),
        }
    }

    /// Every rule, of both families.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn rules(&mut self) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let message = RouteNetlinkMessage::GetRule(message);
            let found = self.list(message, "list rules")?;
            rules.extend(found.iter().filter_map(|message| match message {
                RouteNetlinkMessage::NewRule(rule) => Rule::of_message(rule),
                _ => None,
            }));
        }
        Ok(rules)
    }

    /// Every neighbour that is known.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>> {
        let message = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let found = self.list(message, "list neighbours")?;
        Ok(found
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewNeighbour(neighbour) => Neighbour::of_message(neighbour),
                _ => None,
            })
            .collect())
    }
}
