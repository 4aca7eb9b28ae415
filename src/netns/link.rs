//! Links: made, changed, moved and taken away by requests, and listed (rtnetlink(7), `RTM_*LINK`).
//!
//! Both ends of a veth pair are made by one request, wherever each of them is to be. An index may be
//! chosen beforehand, so that a whole namespace is set up by one batch, without asking in between.
#![forbid(unsafe_code)]

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::str::FromStr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoMacVlan, InfoVeth, InfoVlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, MacVlanMode, State,
};
use serde::Serialize;

use super::handle::Namespace;
use super::name::LinkName;
use super::netlink::{Connection, Request};
use crate::error::{Error, Result};

/// A hardware address of six bytes, of one station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// Its bytes.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The locally administered address `02:…` with these last bytes.
    #[must_use]
    pub const fn local(last: [u8; 5]) -> Self {
        let [a, b, c, d, e] = last;
        Self([2, a, b, c, d, e])
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split(':').collect();
        let byte = |word: &&str| {
            let hex = (1..=2).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then(|| u8::from_str_radix(word, 16).ok()).flatten()
        };
        let octets: Option<Vec<u8>> = words.iter().map(byte).collect();
        let refused = |reason: &str| {
            Error::usage(
                format!("hardware address \"{}\"", text.escape_debug()),
                reason,
            )
        };
        let mac = octets
            .and_then(|octets| Self::of_bytes(&octets))
            .ok_or_else(|| refused("write six bytes as 02:00:00:00:00:01"))?;
        if mac.0[0] & 1 == 1 {
            return Err(refused("this is the address of a group, not of a station"));
        }
        if mac.0 == [0; 6] {
            return Err(refused("this is no station's address"));
        }
        Ok(mac)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether a link is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// It carries packets.
    Up,
    /// It does not.
    Down,
}

/// Which link a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkRef {
    /// By its index.
    Index(u32),
    /// By its name.
    Name(LinkName),
}

impl From<u32> for LinkRef {
    fn from(index: u32) -> Self {
        Self::Index(index)
    }
}

impl From<LinkName> for LinkRef {
    fn from(name: LinkName) -> Self {
        Self::Name(name)
    }
}

impl From<&LinkName> for LinkRef {
    fn from(name: &LinkName) -> Self {
        Self::Name(name.clone())
    }
}

impl fmt::Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// How the macvlan links of one parent see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvlanMode {
    /// They do.
    Bridge,
    /// They do not.
    Private,
    /// By way of the switch outside.
    Vepa,
    /// There is only one, which has the parent's address.
    Passthru,
}

/// What a new link is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Two ends joined by a wire.
    Veth {
        /// The other end.
        peer: Box<End>,
    },
    /// A switch.
    Bridge {
        /// Whether it speaks the spanning tree protocol.
        spanning_tree: bool,
    },
    /// Another hardware address on the link with this index.
    Macvlan {
        /// The parent's index, in the namespace of the socket.
        parent: u32,
        /// How such links see each other.
        mode: MacvlanMode,
    },
    /// The packets of the link with this index that have this tag (IEEE 802.1Q).
    Vlan {
        /// The parent's index, in the namespace of the socket.
        parent: u32,
        /// The tag.
        tag: u16,
    },
    /// One that drops all.
    Dummy,
    /// One whose incoming packets can be shaped.
    Ifb,
}

impl Kind {
    /// The kernel's word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Veth { .. } => "veth",
            Self::Bridge { .. } => "bridge",
            Self::Macvlan { .. } => "macvlan",
            Self::Vlan { .. } => "vlan",
            Self::Dummy => "dummy",
            Self::Ifb => "ifb",
        }
    }
}

/// One end of what is made: any link has one, a veth pair two.
#[derive(Clone, Debug)]
pub struct End {
    /// Its name.
    pub name: LinkName,
    /// Where it is made; where the socket is if nothing is said.
    pub namespace: Option<Namespace>,
    /// Its index, chosen beforehand; the kernel's choice if nothing is said.
    pub index: Option<u32>,
    /// Its hardware address; a random one if nothing is said.
    pub mac: Option<Mac>,
    /// The largest packet it carries.
    pub mtu: Option<u32>,
    /// The bridge that it is a port of, by its index, in its own namespace.
    pub master: Option<u32>,
}

impl End {
    /// One with nothing chosen.
    #[must_use]
    pub const fn new(name: LinkName) -> Self {
        Self {
            name,
            namespace: None,
            index: None,
            mac: None,
            mtu: None,
            master: None,
        }
    }

    fn message(&self, kept: &mut Vec<Namespace>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = self.index.unwrap_or(0);
        let name = self.name.as_str().to_owned();
        let mut attributes = vec![LinkAttribute::IfName(name)];
        if let Some(namespace) = &self.namespace {
            attributes.push(LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd()));
            kept.push(namespace.clone());
        }
        attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        attributes.extend(self.master.map(LinkAttribute::Controller));
        message.attributes = attributes;
        message
    }
}

/// A link to be made.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// The link itself.
    pub end: End,
    /// Whether it is up at once. The peer of a wire never is: the kernel does not bring up an end
    /// before there is the other.
    pub admin: Admin,
    /// What it is.
    pub kind: Kind,
}

impl NewLink {
    /// One of `kind`, called `name`.
    #[must_use]
    pub const fn new(name: LinkName, kind: Kind) -> Self {
        Self {
            end: End::new(name),
            admin: Admin::Down,
            kind,
        }
    }

    /// A veth pair, both ends where the socket is.
    #[must_use]
    pub fn veth(name: LinkName, peer: LinkName) -> Self {
        Self::new(
            name,
            Kind::Veth {
                peer: Box::new(End::new(peer)),
            },
        )
    }

    /// A bridge without spanning tree protocol.
    #[must_use]
    pub const fn bridge(name: LinkName) -> Self {
        Self::new(
            name,
            Kind::Bridge {
                spanning_tree: false,
            },
        )
    }

    /// The same, made in `namespace` instead of where the socket is.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &Namespace) -> Self {
        self.end.namespace = Some(namespace.clone());
        self
    }

    /// The same with the other end, if it has one, in `namespace`.
    #[must_use]
    pub fn peer_in(mut self, namespace: &Namespace) -> Self {
        if let Kind::Veth { peer } = &mut self.kind {
            peer.namespace = Some(namespace.clone());
        }
        self
    }

    /// The same, up at once, save the other end of a wire.
    #[must_use]
    pub const fn up(mut self) -> Self {
        self.admin = Admin::Up;
        self
    }

    /// The same with the index `index`.
    #[must_use]
    pub fn with_index(mut self, index: u32) -> Self {
        self.end.index = Some(index);
        self
    }

    /// The request that makes it. Refused where a link is called so already.
    #[must_use]
    pub fn request(&self) -> Request {
        let mut kept = Vec::new();
        let mut message = self.end.message(&mut kept);
        if self.admin == Admin::Up {
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
        }
        let (kind, data) = match &self.kind {
            Kind::Veth { peer } => {
                let peer = InfoVeth::Peer(peer.message(&mut kept));
                (InfoKind::Veth, Some(InfoData::Veth(peer)))
            }
            Kind::Bridge { spanning_tree } => {
                use netlink_packet_route::link::BridgeStpState;
                let state = if *spanning_tree {
                    BridgeStpState::KernelStp
                } else {
                    BridgeStpState::Disabled
                };
                let data = InfoData::Bridge(vec![InfoBridge::StpState(state)]);
                (InfoKind::Bridge, Some(data))
            }
            Kind::Macvlan { parent, mode } => {
                message.attributes.push(LinkAttribute::Link(*parent));
                let mode = match mode {
                    MacvlanMode::Bridge => MacVlanMode::Bridge,
                    MacvlanMode::Private => MacVlanMode::Private,
                    MacvlanMode::Vepa => MacVlanMode::Vepa,
                    MacvlanMode::Passthru => MacVlanMode::Passthrough,
                };
                let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]);
                (InfoKind::MacVlan, Some(data))
            }
            Kind::Vlan { parent, tag } => {
                message.attributes.push(LinkAttribute::Link(*parent));
                let data = InfoData::Vlan(vec![InfoVlan::Id(*tag)]);
                (InfoKind::Vlan, Some(data))
            }
            Kind::Dummy => (InfoKind::Dummy, None),
            Kind::Ifb => (InfoKind::Ifb, None),
        };
        let mut info = vec![LinkInfo::Kind(kind)];
        info.extend(data.map(LinkInfo::Data));
        message.attributes.push(LinkAttribute::LinkInfo(info));
        let object = match &self.kind {
            Kind::Veth { peer } => format!("{} with its peer {} (veth)", self.end.name, peer.name),
            kind => format!("{} ({})", self.end.name, kind.word()),
        };
        let message = RouteNetlinkMessage::NewLink(message);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let mut request = Request::new(message, flags, "add the link", object);
        request.kept = kept;
        request
    }
}

/// Changes to one link; what is not said stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Up or down.
    pub admin: Option<Admin>,
    /// The largest packet.
    pub mtu: Option<u32>,
    /// The hardware address.
    pub mac: Option<Mac>,
    /// The bridge that it is a port of, by its index; 0 for none.
    pub master: Option<u32>,
    /// Another name. While it is up only newer kernels (6.2) do this.
    pub name: Option<LinkName>,
    /// Another namespace, where it is down and has no address.
    pub namespace: Option<Namespace>,
}

/// Bring a link up.
#[must_use]
pub fn up(link: impl Into<LinkRef>) -> Request {
    let change = Change {
        admin: Some(Admin::Up),
        ..Change::default()
    };
    set(link, &change)
}

/// Take a link down.
#[must_use]
pub fn down(link: impl Into<LinkRef>) -> Request {
    let change = Change {
        admin: Some(Admin::Down),
        ..Change::default()
    };
    set(link, &change)
}

/// Change a link.
#[must_use]
pub fn set(link: impl Into<LinkRef>, change: &Change) -> Request {
    let link = link.into();
    let mut message = meant(&link);
    if let Some(admin) = change.admin {
        message.header.change_mask = LinkFlags::Up;
        if admin == Admin::Up {
            message.header.flags = LinkFlags::Up;
        }
    }
    let attributes = &mut message.attributes;
    attributes.extend(change.mtu.map(LinkAttribute::Mtu));
    attributes.extend(change.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes.extend(change.master.map(LinkAttribute::Controller));
    if let Some(namespace) = &change.namespace {
        attributes.push(LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd()));
    }
    if let Some(name) = &change.name {
        // By name, the kernel takes IFLA_IFNAME for which link is meant: renaming goes by index.
        attributes.push(LinkAttribute::IfName(name.as_str().to_owned()));
    }
    let action = match change {
        Change {
            admin: Some(Admin::Up),
            mtu: None,
            mac: None,
            master: None,
            name: None,
            namespace: None,
        } => "bring up",
        Change {
            admin: Some(Admin::Down),
            mtu: None,
            mac: None,
            master: None,
            name: None,
            namespace: None,
        } => "take down",
        Change {
            namespace: Some(_), ..
        } => "move the link",
        Change { name: Some(_), .. } => "rename the link",
        _ => "change the link",
    };
    let mut request = Request::new(
        RouteNetlinkMessage::SetLink(message),
        0,
        action,
        link.to_string(),
    );
    request.kept.extend(change.namespace.clone());
    request
}

/// Take a link away; of a veth pair both ends.
#[must_use]
pub fn delete(link: impl Into<LinkRef>) -> Request {
    let link = link.into();
    let message = RouteNetlinkMessage::DelLink(meant(&link));
    Request::new(message, 0, "delete the link", link.to_string())
}

fn meant(link: &LinkRef) -> LinkMessage {
    let mut message = LinkMessage::default();
    match link {
        LinkRef::Index(index) => message.header.index = *index,
        LinkRef::Name(name) => {
            let name = LinkAttribute::IfName(name.as_str().to_owned());
            message.attributes.push(name);
        }
    }
    message
}

/// A link that there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name; any bytes that the kernel let somebody choose.
    pub name: String,
    /// What it is, in the kernel's word ("veth"); `loopback`, or `device` for hardware.
    pub kind: String,
    /// Whether it was brought up.
    pub admin: Admin,
    /// Whether packets can pass: up, and whatever is at the other end, too.
    pub carrier: bool,
    /// The largest packet.
    pub mtu: u32,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// The index of its parent or its other end, there.
    pub peer: Option<u32>,
    /// The number that this namespace gives to the one where that is, if it is another one.
    pub peer_nsid: Option<i32>,
    /// What it received.
    pub received: Traffic,
    /// What it sent.
    pub sent: Traffic,
}

/// Counters of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}

impl Link {
    fn of_message(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            kind: if flags.contains(LinkFlags::Loopback) {
                "loopback".to_owned()
            } else {
                "device".to_owned()
            },
            admin: if flags.contains(LinkFlags::Up) {
                Admin::Up
            } else {
                Admin::Down
            },
            carrier: flags.contains(LinkFlags::LowerUp),
            mtu: 0,
            mac: None,
            master: None,
            peer: None,
            peer_nsid: None,
            received: Traffic::default(),
            sent: Traffic::default(),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(bytes) => {
                    link.mac = Mac::of_bytes(bytes).filter(|mac| mac.0 != [0; 6]);
                }
                LinkAttribute::Controller(index) => link.master = Some(*index),
                LinkAttribute::Link(index) if *index != link.index => link.peer = Some(*index),
                LinkAttribute::LinkNetNsId(id) => link.peer_nsid = Some(*id),
                LinkAttribute::OperState(State::Down | State::LowerLayerDown) => {
                    link.carrier = false;
                }
                LinkAttribute::LinkInfo(info) => {
                    for part in info {
                        if let LinkInfo::Kind(kind) = part {
                            link.kind = kind.to_string();
                        }
                    }
                }
                LinkAttribute::Stats64(stats) => {
                    link.received = Traffic {
                        packets: stats.rx_packets,
                        bytes: stats.rx_bytes,
                        dropped: stats.rx_dropped,
                    };
                    link.sent = Traffic {
                        packets: stats.tx_packets,
                        bytes: stats.tx_bytes,
                        dropped: stats.tx_dropped,
                    };
                }
                _ => {}
            }
        }
        link
    }
}

impl Connection {
    /// Every link, in the order of their indices.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let found = self.list(message, "list links")?;
        let mut links: Vec<Link> = found
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(Link::of_message(link)),
                _ => None,
            })
            .collect();
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The link that `link` means.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn link(&mut self, link: impl Into<LinkRef>) -> Result<Link> {
        let link = link.into();
        let message = RouteNetlinkMessage::GetLink(meant(&link));
        match self.get(message, "look for the link")? {
            Some(RouteNetlinkMessage::NewLink(found)) => Ok(Link::of_message(&found)),
            _ => Err(Error::host(
                "find the link",
                format!("{link} in {}", self.label()),
                nix::errno::Errno::ENODEV,
            )),
        }
    }

    /// Rename the link `link`.
    ///
    /// # Errors
    /// When there is no such link, or another one is called so.
    pub fn rename(&mut self, link: impl Into<LinkRef>, name: &LinkName) -> Result<()> {
        let index = match link.into() {
            LinkRef::Index(index) => index,
            LinkRef::Name(old) => self.index_of(&old)?,
        };
        let change = Change {
            name: Some(name.clone()),
            ..Change::default()
        };
        self.perform(&[set(index, &change)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_one_stations() {
        for (text, shown) in [
            ("02:00:00:00:00:01", "02:00:00:00:00:01"),
            ("a:B:c:D:e:F", "0a:0b:0c:0d:0e:0f"),
        ] {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "02:00:00:00:00:1g",
            "02:00:00:00:00:001",
            "+2:00:00:00:00:01",
            "01:00:00:00:00:01",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
