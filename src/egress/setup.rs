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

use super::destination::{Asked, Protocol};
use super::rules::Rules;
use crate::error::{Error, Result};
use crate::sys::child::Family;

/// The most sockets that one policy may need: so many fit in flight to the supervisor and into an
/// ordinary descriptor table (unix(7), `RLIMIT_NOFILE`).
const MOST_WAYS: usize = 960;

/// One socket of the sandbox's namespace that the supervisor gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// A TCP socket that listens there.
    Listener(SocketAddr),
    /// A packet socket that sees what the kernel refuses.
    Watch(V),
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum V {
    /// IPv4.
    Four,
    /// IPv6.
    Six,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(address) => write!(f, "tcp://{address}"),
            Self::Watch(V::Four) => f.write_str("the watch for refused IPv4 packets"),
            Self::Watch(V::Six) => f.write_str("the watch for refused IPv6 packets"),
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
    /// What the child does for it.
    pub(crate) fn to_opening(self) -> Opening {
        match self {
            Self::Listener(address) => {
                let (family, options) = match address {
                    SocketAddr::V4(_) => (libc::AF_INET, &[][..]),
                    SocketAddr::V6(_) => (libc::AF_INET6, V6_OPTIONS),
                };
                Opening {
                    family,
                    kind: libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                    protocol: 0,
                    options,
                    address: bytes(address),
                    listens: Listens::Yes,
                }
            }
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

/// What one launch sets up: empty where nothing is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) rules: Rules,
    /// The sockets, in the order in which they are made and sent.
    pub(crate) ways: Vec<Way>,
    /// The families in which every address becomes local.
    pub(crate) families: Vec<Family>,
}

impl Setup {
    /// Decide what `rules` need on a host that has `families`.
    ///
    /// # Errors
    /// When they need more sockets than can be had, or an address family that is not there.
    pub(crate) fn new(rules: Rules, families: &[Family]) -> Result<Self> {
        let has = |family| families.contains(&family);
        let mut wildcards: BTreeSet<SocketAddr> = BTreeSet::new();
        let mut listeners: BTreeSet<SocketAddr> = BTreeSet::new();
        for (protocol, network, ports) in rules.networks() {
            if protocol == Protocol::Udp {
                continue;
            }
            let (family, any) = match network {
                IpNet::V4(_) => (Family::V4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                IpNet::V6(_) => (Family::V6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            };
            if !has(family) {
                return Err(Error::usage(
                    format!("--allow {network}"),
                    "this host has no IPv6",
                ));
            }
            if network.prefix_len() < network.max_prefix_len() {
                check(wildcards.len().saturating_add(ports.count()))?;
                wildcards.extend(ports.iter().map(|port| SocketAddr::new(any, port)));
                continue;
            }
            let ports = rules.ports(protocol, &Asked::Address(network.addr()));
            check(listeners.len().saturating_add(ports.count()))?;
            listeners.extend(
                ports
                    .iter()
                    .map(|port| SocketAddr::new(network.addr(), port)),
            );
        }
        // The wildcard gets what is sent to any address of its family.
        listeners.retain(|address| {
            let any = match address {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            !wildcards.contains(&SocketAddr::new(any, address.port()))
        });
        let watches = families.iter().map(|family| match family {
            Family::V4 => Way::Watch(V::Four),
            Family::V6 => Way::Watch(V::Six),
        });
        let ways: Vec<Way> = wildcards
            .into_iter()
            .chain(listeners)
            .map(Way::Listener)
            .chain(watches)
            .collect();
        check(ways.len())?;
        Ok(Self {
            rules,
            ways,
            families: families.to_vec(),
        })
    }
}

impl Setup {
    /// Every port that is dialled outside by TCP, in order.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let mut ports = BTreeSet::new();
        for (protocol, _, of_network) in self.rules.networks() {
            if protocol == Protocol::Tcp {
                ports.extend(of_network.iter());
            }
        }
        ports.into_iter().collect()
    }
}

fn check(ways: usize) -> Result<()> {
    if ways <= MOST_WAYS {
        return Ok(());
    }
    Err(Error::usage(
        "--allow",
        format!(
            "needs more than {MOST_WAYS} sockets: one for each address and port; name fewer ports"
        ),
    ))
}
