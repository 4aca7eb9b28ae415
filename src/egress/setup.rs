//! From rules to the sockets that a sandbox's first process makes and sends out.
//!
//! Pure; runs in the launcher, before the clone. A listener stands at every address that a rule names
//! and at the synthetic address of every name, one for each port; at the wildcard only for a network
//! (`10.0.0.0/8`), because there it takes the port away from the sandbox's own loopback too. Names that
//! are met only later get spare sockets, which the supervisor binds then.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::budget::Limits;
use super::destination::{Asked, Protocol};
use super::lookup::{Hosts, Settings};
use super::publish::Publish;
use super::rules::{Permitted, Rules};
use super::synthetic::{OWN, Synthetic};
use crate::error::{Error, Result};
use crate::learn::Learning;
use crate::policy::Inspect;
use crate::sys::child::Family;

/// The most sockets that one policy may need: so many fit in flight to the supervisor and into an
/// ordinary descriptor table (unix(7), `RLIMIT_NOFILE`).
const MOST_WAYS: usize = 960;

/// How many names that are met only later get listeners, where there is room for so many.
const SPARE_NAMES: usize = 64;

/// How many destinations can be learned in each family: one socket for each address and port.
const LEARNED_STREAMS: usize = 240;
const LEARNED_DATAGRAMS: usize = 160;

/// One socket of the sandbox's namespace that the supervisor gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// A TCP socket that listens there.
    Listener(SocketAddr),
    /// The sandbox's name service, by TCP.
    NameStream(SocketAddr),
    /// The same by UDP.
    NameDatagrams(SocketAddr),
    /// A UDP socket that is bound there; at the wildcard, it learns each datagram's destination.
    Datagrams(SocketAddr),
    /// A socket for an address that is not known yet.
    Spare(Protocol, V),
    /// A packet socket that sees what the kernel refuses.
    Watch(V),
    /// The proxy ([`super::front`]).
    Front(SocketAddr),
    /// Where the supervisor makes sockets of this namespace ([`super::inner`]).
    InnerListener(SocketAddr),
    /// One of these sockets, made here.
    Inner(V),
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum V {
    /// IPv4.
    Four,
    /// IPv6.
    Six,
}

impl V {
    /// The version of an address.
    pub(crate) fn of(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::Four,
            SocketAddr::V6(_) => Self::Six,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(address) | Self::NameStream(address) => write!(f, "tcp://{address}"),
            Self::Datagrams(address) | Self::NameDatagrams(address) => write!(f, "udp://{address}"),
            Self::Spare(..) => f.write_str("a spare socket"),
            Self::Watch(V::Four) => f.write_str("the watch for refused IPv4 packets"),
            Self::Watch(V::Six) => f.write_str("the watch for refused IPv6 packets"),
            Self::Front(address) => write!(f, "tcp://{address}, for the proxy"),
            Self::InnerListener(address) => write!(f, "tcp://{address}, for what is published"),
            Self::Inner(_) => f.write_str("a socket for what is published"),
        }
    }
}

/// How the child makes one socket: values for its system calls.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) family: i32,
    pub(crate) kind: i32,
    pub(crate) protocol: i32,
    /// Level, option and value of each setsockopt(2).
    pub(crate) options: &'static [(i32, i32, i32)],
    /// The bytes of a socket address; none where it is not bound.
    pub(crate) address: Vec<u8>,
    pub(crate) listens: Listens,
}

/// Whether a socket is to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listens {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// An IPv6 address is bound although no interface has it; the route makes it local, which IPv4 alone
/// takes for granted. And IPv4 has a socket of its own.
const V6_OPTIONS: &[(i32, i32, i32)] = &[
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1),
    (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1),
];

/// EtherTypes (`<linux/if_ether.h>`), as the kernel wants them: in network order.
const ETH_IP: u16 = 0x0800;
const ETH_IPV6: u16 = 0x86dd;

impl Way {
    /// Where it stands from the start.
    pub(crate) fn place(&self) -> Option<(Protocol, SocketAddr)> {
        match self {
            Self::Listener(address)
            | Self::NameStream(address)
            | Self::Front(address)
            | Self::InnerListener(address) => Some((Protocol::Tcp, *address)),
            Self::Datagrams(address) | Self::NameDatagrams(address) => {
                Some((Protocol::Udp, *address))
            }
            Self::Spare(..) | Self::Watch(_) | Self::Inner(_) => None,
        }
    }

    /// What the child does for it.
    pub(crate) fn to_opening(self) -> Opening {
        match self {
            Self::Listener(address)
            | Self::NameStream(address)
            | Self::InnerListener(address)
            | Self::Front(address) => internet(
                V::of(address),
                libc::SOCK_STREAM,
                Some(address),
                Listens::Yes,
            ),
            Self::Datagrams(address) if address.ip().is_unspecified() => Opening {
                options: match V::of(address) {
                    V::Four => &[(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)],
                    V::Six => &[
                        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1),
                        (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1),
                        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
                    ],
                },
                ..internet(V::of(address), libc::SOCK_DGRAM, Some(address), Listens::No)
            },
            Self::Datagrams(address) | Self::NameDatagrams(address) => {
                internet(V::of(address), libc::SOCK_DGRAM, Some(address), Listens::No)
            }
            Self::Spare(protocol, version) => {
                let kind = match protocol {
                    Protocol::Tcp => libc::SOCK_STREAM,
                    Protocol::Udp => libc::SOCK_DGRAM,
                };
                internet(version, kind, None, Listens::No)
            }
            Self::Inner(version) => internet(version, libc::SOCK_STREAM, None, Listens::No),
            Self::Watch(version) => Opening {
                family: libc::AF_PACKET,
                kind: libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                protocol: i32::from(match version {
                    V::Four => ETH_IP.to_be(),
                    V::Six => ETH_IPV6.to_be(),
                }),
                options: &[],
                address: Vec::new(),
                listens: Listens::No,
            },
        }
    }
}

fn internet(version: V, kind: i32, address: Option<SocketAddr>, listens: Listens) -> Opening {
    let (family, options) = match version {
        V::Four => (libc::AF_INET, &[][..]),
        V::Six => (libc::AF_INET6, V6_OPTIONS),
    };
    Opening {
        family,
        kind: kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        protocol: 0,
        options,
        address: address.map(bytes).unwrap_or_default(),
        listens,
    }
}

/// The bytes of a socket address (ip(7), ipv6(7)).
fn bytes(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match address {
        SocketAddr::V4(address) => {
            bytes.extend(u16::try_from(libc::AF_INET).unwrap_or(0).to_ne_bytes());
            bytes.extend(address.port().to_be_bytes());
            bytes.extend(address.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(address) => {
            bytes.extend(u16::try_from(libc::AF_INET6).unwrap_or(0).to_ne_bytes());
            bytes.extend(address.port().to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(address.ip().octets());
            bytes.extend(address.scope_id().to_ne_bytes());
        }
    }
    bytes
}

/// What one launch sets up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) rules: Rules,
    /// The sockets, in the order in which they are made and sent.
    pub(crate) ways: Vec<Way>,
    /// The families in which every address becomes local.
    pub(crate) families: Vec<Family>,
    /// The stand-in addresses of the names that rules name.
    pub(crate) synthetic: Synthetic,
    /// Addresses that the host's own files give to allowed names: programs read those files too.
    pub(crate) aliases: Vec<(IpAddr, Permitted)>,
    /// Whether what is sent to a name must name it.
    pub(crate) inspect: Inspect,
    /// How much may go to and from a destination.
    pub(crate) budgets: Limits,
    /// Ports inside that the host reaches.
    pub(crate) published: Vec<Publish>,
}

/// Where sockets for what is published are made. An address of the loopback that hardly any program
/// uses, and a port that none has for itself, so that the command has all others.
const INNER_V4: Ipv4Addr = Ipv4Addr::new(127, 83, 66, 88);
const INNER_PORT: u16 = 1;
/// How many of them the child makes of each family, so that the first connections need not wait.
const FIRST_INNER: usize = 9;

/// The wildcard address of `address`'s family, with its port.
pub(crate) fn any(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, address.port())
}

impl Setup {
    /// Decide what `rules` need on a host that has `families`. The sandbox's name service listens where
    /// `settings` has the host's, because inside the host's resolv.conf is in force too.
    ///
    /// # Errors
    /// When they need more sockets than can be had, or an address family that is not there.
    pub(crate) fn new(
        rules: Rules,
        families: &[Family],
        settings: &Settings,
        place: Place,
        hosts: &Hosts,
        inspect: Inspect,
    ) -> Result<Self> {
        let six = families.contains(&Family::V6);
        let mut synthetic = Synthetic::default();
        let mut aliases = Vec::new();
        for name in rules.names() {
            if synthetic.assign(&name).is_none() {
                return Err(too_many());
            }
            for address in hosts.addresses(name.name()) {
                let address = address.to_canonical();
                if !address.is_loopback() && !address.is_unspecified() {
                    aliases.push((address, name.clone()));
                }
            }
        }
        let services = services(settings, six, place);
        let mut ways = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let wildcards = wildcards(&rules, protocol, six)?;
            let caught = |address: &SocketAddr| wildcards.contains(&any(*address));
            if protocol == Protocol::Udp && services.iter().any(caught) {
                return Err(Error::usage(
                    "egress.allow",
                    "a whole network cannot be allowed on the name servers' port by UDP: the sandbox has a name service of its own; name single addresses",
                ));
            }
            let mut addresses = addresses(&rules, protocol, &synthetic, &aliases, six)?;
            // The wildcard gets what is sent to any address of its family.
            addresses.retain(|address| !caught(address) && !services.contains(address));
            let own = services.iter().copied().filter(|service| !caught(service));
            let way = match protocol {
                Protocol::Tcp => Way::Listener,
                Protocol::Udp => Way::Datagrams,
            };
            let service = match protocol {
                Protocol::Tcp => Way::NameStream,
                Protocol::Udp => Way::NameDatagrams,
            };
            let own: Vec<Way> = own.map(service).collect();
            ways.extend(wildcards.into_iter().chain(addresses).map(way));
            ways.extend(own);
        }
        let versions: Vec<V> = families
            .iter()
            .map(|family| match family {
                Family::V4 => V::Four,
                Family::V6 => V::Six,
            })
            .collect();
        ways.extend(versions.iter().copied().map(Way::Watch));
        check(ways.len())?;
        let below = |protocol| rules.ports_below(protocol).count();
        let spare = (below(Protocol::Tcp) + below(Protocol::Udp)) * versions.len();
        if rules.learns() == Some(Learning::Permitting) {
            let learned = [
                (Protocol::Tcp, LEARNED_STREAMS),
                (Protocol::Udp, LEARNED_DATAGRAMS),
            ];
            for (protocol, sockets) in learned {
                for &version in &versions {
                    ways.extend(std::iter::repeat_n(Way::Spare(protocol, version), sockets));
                }
            }
            check(ways.len())?;
        } else if spare > 0 {
            // At least one name must have room.
            check(ways.len().saturating_add(spare))?;
            let names = ((MOST_WAYS - ways.len()) / spare).min(SPARE_NAMES);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for &version in &versions {
                    let sockets = names * below(protocol);
                    ways.extend(std::iter::repeat_n(Way::Spare(protocol, version), sockets));
                }
            }
        }
        Ok(Self {
            rules,
            ways,
            families: families.to_vec(),
            synthetic,
            aliases,
            inspect,
            budgets: Limits::default(),
            published: Vec::new(),
        })
    }

    /// What a sandbox needs that reaches nothing.
    pub(crate) fn closed() -> Self {
        Self {
            rules: Rules::default(),
            ways: Vec::new(),
            families: Vec::new(),
            synthetic: Synthetic::default(),
            aliases: Vec::new(),
            inspect: Inspect::No,
            budgets: Limits::default(),
            published: Vec::new(),
        }
    }

    /// The same with budgets.
    pub(crate) fn with_budgets(mut self, budgets: &Limits) -> Self {
        self.budgets.clone_from(budgets);
        self
    }

    /// The same with a proxy at `port` of the loopback.
    ///
    /// # Errors
    /// When a rule needs the same address.
    pub(crate) fn with_front(mut self, port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let same = |way: &Way| match way {
            Way::Listener(taken) | Way::NameStream(taken) | Way::InnerListener(taken) => {
                *taken == address || *taken == any(address)
            }
            _ => false,
        };
        if self.ways.iter().any(same) {
            let reason = "a rule, or the name service, needs that port of the loopback itself; choose another";
            return Err(Error::usage(format!("--proxy-env={port}"), reason));
        }
        self.ways.push(Way::Front(address));
        check(self.ways.len())?;
        Ok(self)
    }

    /// The same with ports that are published, on a host that has `families`.
    ///
    /// # Errors
    /// When that is too many sockets, or a rule needs the same address.
    pub(crate) fn with_published(
        mut self,
        published: &[Publish],
        families: &[Family],
    ) -> Result<Self> {
        if published.is_empty() {
            return Ok(self);
        }
        for family in families {
            let (ip, version) = match family {
                Family::V4 => (IpAddr::V4(INNER_V4), V::Four),
                Family::V6 => (IpAddr::V6(Ipv6Addr::LOCALHOST), V::Six),
            };
            let address = SocketAddr::new(ip, INNER_PORT);
            let taken = [address, any(address)].map(Way::Listener);
            if self.ways.iter().any(|way| taken.contains(way)) {
                return Err(Error::usage(
                    "egress.publish",
                    format!(
                        "port {INNER_PORT} of a network, or of {ip}, cannot be allowed beside it"
                    ),
                ));
            }
            self.ways.push(Way::InnerListener(address));
            self.ways
                .extend(std::iter::repeat_n(Way::Inner(version), FIRST_INNER));
        }
        check(self.ways.len())?;
        self.published = published.to_vec();
        Ok(self)
    }

    /// An address for `lo` in each family. Programs that find none there but 127.0.0.1 and ::1 take it that
    /// there is no network, and do not even ask for a name: `AI_ADDRCONFIG` of getaddrinfo(3), aria2, c-ares.
    pub(crate) fn own_addresses(&self) -> Vec<IpAddr> {
        let own = |family: &Family| match family {
            Family::V4 => IpAddr::V4(OWN.v4),
            Family::V6 => IpAddr::V6(OWN.v6),
        };
        self.families.iter().map(own).collect()
    }

    /// Every port that is dialled by TCP, in order: outside, that of name servers among them, and inside.
    pub(crate) fn ports(&self) -> Vec<u16> {
        if self.rules.learns() == Some(Learning::Permitting) {
            return (0..=u16::MAX).collect();
        }
        let mut ports = BTreeSet::new();
        if self.rules.allow_hosts() {
            ports.insert(DOMAIN);
        }
        ports.extend(self.published.iter().map(|publish| publish.inside));
        if !self.published.is_empty() {
            ports.insert(INNER_PORT);
        }
        for (protocol, _, of_network) in self.rules.networks() {
            if protocol == Protocol::Tcp {
                ports.extend(of_network.iter());
            }
        }
        for name in self.rules.names() {
            let asked = Asked::Name(name.name().clone());
            ports.extend(self.rules.ports(Protocol::Tcp, &asked).iter());
        }
        ports.extend(self.rules.ports_below(Protocol::Tcp).iter());
        ports.into_iter().collect()
    }
}

/// Where a network's ports are listened for.
fn wildcards(rules: &Rules, protocol: Protocol, six: bool) -> Result<BTreeSet<SocketAddr>> {
    let mut wildcards = BTreeSet::new();
    for (of, network, ports) in rules.networks() {
        if of != protocol {
            continue;
        }
        if matches!(network, IpNet::V6(_)) && !six {
            let what = format!("--allow {network}");
            return Err(Error::usage(what, "this host has no IPv6"));
        }
        if network.prefix_len() < network.max_prefix_len() {
            check(wildcards.len().saturating_add(ports.count()))?;
            let at = |port| any(SocketAddr::new(network.addr(), port));
            wildcards.extend(ports.iter().map(at));
        }
    }
    Ok(wildcards)
}

/// The single addresses and the names' addresses, with their ports.
fn addresses(
    rules: &Rules,
    protocol: Protocol,
    synthetic: &Synthetic,
    aliases: &[(IpAddr, Permitted)],
    six: bool,
) -> Result<BTreeSet<SocketAddr>> {
    let mut addresses: BTreeSet<SocketAddr> = BTreeSet::new();
    let mut add = |ip: IpAddr, asked: &Asked| {
        if ip.is_ipv6() && !six {
            return Ok(());
        }
        let ports = rules.ports(protocol, asked);
        check(addresses.len().saturating_add(ports.count()))?;
        addresses.extend(ports.iter().map(|port| SocketAddr::new(ip, port)));
        Ok(())
    };
    for (of, network, _) in rules.networks() {
        if of == protocol && network.prefix_len() == network.max_prefix_len() {
            add(network.addr(), &Asked::Address(network.addr()))?;
        }
    }
    for name in rules.names() {
        let asked = Asked::Name(name.name().clone());
        if let Some(pair) = synthetic.pair(name.name()) {
            add(IpAddr::V4(pair.v4), &asked)?;
            add(IpAddr::V6(pair.v6), &asked)?;
        }
    }
    for (address, name) in aliases {
        add(*address, &Asked::Name(name.name().clone()))?;
    }
    Ok(addresses)
}

/// Where the host's resolv.conf lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `/etc` itself, where the command sees it.
    Etc,
    /// Elsewhere, or nowhere: `/etc` has a link to it, and the sandbox may not.
    Elsewhere,
}

/// The port of name servers.
const DOMAIN: u16 = 53;

/// Where programs ask for names: at the host's own servers' addresses, which are local inside.
fn services(settings: &Settings, six: bool, place: Place) -> Vec<SocketAddr> {
    let mut services: Vec<SocketAddr> = Vec::new();
    for server in &settings.servers {
        // A link-local address belongs to an interface that is not there inside.
        let scoped = matches!(server, SocketAddr::V6(address) if address.scope_id() != 0);
        let unspecified = server.ip().is_unspecified();
        if !scoped && !unspecified && (six || server.is_ipv4()) && !services.contains(server) {
            services.push(*server);
        }
    }
    // Where resolv.conf is itself a link to what the sandbox does not see, or names nobody who can be
    // asked inside, programs ask their own host.
    if services.is_empty() || place == Place::Elsewhere {
        services.push(SocketAddr::from((Ipv4Addr::LOCALHOST, DOMAIN)));
    }
    services
}

fn check(ways: usize) -> Result<()> {
    match ways <= MOST_WAYS {
        true => Ok(()),
        false => Err(too_many()),
    }
}

fn too_many() -> Error {
    Error::usage(
        "--allow",
        format!(
            "needs more than {MOST_WAYS} sockets: one for each address, family and port; name fewer ports"
        ),
    )
}
