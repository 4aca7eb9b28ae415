//! A way to the outside for a namespace: a wire to the caller's network, whose packets go out by one named
//! uplink, behind its address. IPv4, and IPv6 where the uplink has that; needs root.
//!
//! What is made outside: one link, one nftables table, and that this link and the uplink forward. A file
//! in [`DIRECTORY`] says so before any of it is done, so that it can be undone by name whatever happens
//! meanwhile: [`disconnect`] takes the link and the table away and sets the uplink back to what it was, once
//! nobody else here needs it. Nothing else of the caller's network is touched, and from the namespace
//! no port of the host is reached (its end of the wire answers pings), and no network but what lies behind
//! the uplink; what has another source address than the wire's own goes nowhere. Nor does what comes in by an
//! uplink that did not forward before get anywhere but to such wires, unless it was asked for: its neighbours
//! would have the host's other links within reach else. Other tables of the host may forbid more.
//!
//! For IPv6 a link's `forwarding` is not asked whether packets pass: it makes the host a router, which
//! forgets the routes that it was told by routers (ip-sysctl). `force_forwarding`, which came with
//! Linux 6.17, does the one without the other. Without it there is IPv6 only on a host that forwards it
//! everywhere already.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::address;
use super::firewall::Interface;
use super::handle::Namespace;
use super::link::{self, NewLink};
use super::name::{LinkName, NamespaceName};
use super::netlink::Connection;
use super::route::{self, Route};
use super::sysctl::Setting;
use crate::error::{Error, Result};
use crate::plan::errno_of;

/// Where it is written down what there is.
pub const DIRECTORY: &str = "/run/sandbox/nat";
/// Networks of four addresses are taken from here where none is named.
const POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 203, 0, 0), 16);
/// The same of IPv6: local addresses with a number drawn once (RFC 4193).
const POOL_V6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd8c, 0x3a91, 0x5e27, 0, 0, 0, 0, 0), 112);
/// How the names of all wires begin outside.
const WIRES: &str = "nat-";
/// How the wire is called in the namespace.
pub const LINK: &str = "nat0";

/// One way out, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Nat {
    /// The link of the caller's network that packets go out by.
    pub uplink: String,
    /// Its end of the wire.
    pub link: String,
    /// The table.
    pub table: String,
    /// The wire's addresses: the first is outside, the second one inside.
    pub network: String,
    /// The same of IPv6, if it leads outside by that.
    #[serde(default)]
    pub network6: Option<String>,
    /// Whether the uplink forwarded before the first of these was made.
    pub forwarded: bool,
    /// Whether its packets of IPv6 were passed on before the first of these that needs it was made.
    #[serde(default)]
    pub forwarded6: bool,
}

/// What networks the wire is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// A free one where none is named.
    pub ipv4: Option<Ipv4Net>,
    /// A free one where none is named, if the uplink has an address of IPv6 that means something outside.
    pub ipv6: Option<Ipv6Net>,
}

/// Where it is written down for the namespace called `name`.
fn file_of(name: &NamespaceName) -> PathBuf {
    Path::new(DIRECTORY).join(name.as_str())
}

/// A short word for `name` that links and tables can be called after: FNV-1a.
fn mark(name: &NamespaceName) -> String {
    let hash = name
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{:010x}", hash >> 24)
}

fn failed(action: &'static str, name: &NamespaceName) -> impl Fn(Errno) -> Error {
    move |errno| Error::host(action, format!("the way out of {name}"), errno)
}

fn locked() -> Result<Flock<File>> {
    let on = |errno| {
        let hint = (errno == Errno::EACCES)
            .then(|| "the way out of a namespace is root's to make: run as root".to_owned());
        Error::host("lock", DIRECTORY, errno).with_hint(hint)
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(DIRECTORY)
        .map_err(|error| on(errno_of(&error)))?;
    let directory = File::open(DIRECTORY).map_err(|error| on(errno_of(&error)))?;
    Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| on(errno))
}

/// Give the namespace called `name` a way out by `uplink`, on the networks of `wire` or on free ones.
///
/// # Errors
/// When it has one already, or a part of it cannot be made; nothing is left then. What IPv6 lacks is only
/// warned of where no network of IPv6 is named: there is none then.
pub fn connect(
    name: &NamespaceName,
    namespace: &Namespace,
    uplink: &LinkName,
    wire: Wire,
) -> Result<Nat> {
    let _locked = locked()?;
    let own = Namespace::own()?;
    let mut host = own.connect()?;
    let index = host.index_of(uplink)?;
    let network6 = network6(&own, &mut host, (uplink, index), wire.ipv6)?;
    let nat = Nat {
        uplink: Interface::try_from(uplink)?.to_string(),
        link: format!("{WIRES}{}", mark(name)),
        table: format!("sandbox_nat_{}", mark(name)),
        network: match wire.ipv4 {
            Some(network) => check(network.into(), 30)?,
            None => free(&mut host, POOL.into(), 30)?,
        }
        .to_string(),
        forwarded: forwarded(&own, uplink)?,
        forwarded6: match network6 {
            Some(_) => forwarded6(&own, uplink)?,
            None => false,
        },
        network6: network6.map(|network| network.to_string()),
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file_of(name))
        .map_err(|error| {
            let hint = (error.kind() == ErrorKind::AlreadyExists)
                .then(|| format!("it has one: 'sandbox netns nat {name} --off' takes it away"));
            failed("make", name)(errno_of(&error)).with_hint(hint)
        })?;
    let text = serde_json::to_vec(&nat).unwrap_or_default();
    let made = file
        .write_all(&text)
        .map_err(|error| failed("write down", name)(errno_of(&error)))
        .and_then(|()| build(&nat, &own, &mut host, namespace));
    match made {
        Ok(()) => Ok(nat),
        Err(error) => {
            // The first error is the one to tell.
            let _ = undo(name, &nat);
            Err(error)
        }
    }
}

fn build(nat: &Nat, own: &Namespace, host: &mut Connection, namespace: &Namespace) -> Result<()> {
    let ends = ends(nat)?;
    let (ours, theirs): (LinkName, LinkName) = (nat.link.parse()?, LINK.parse()?);
    // The table first: nothing of the host is within reach for a moment.
    own.apply_nft(&script(nat)?)?;
    let wire = NewLink::veth(ours.clone(), theirs.clone()).peer_in(namespace);
    host.perform(&[wire.request()])?;
    if nat.network6.is_some() {
        // Both ends ask for each other by their own addresses, which the kernel would keep to itself for
        // seconds, looking for duplicates that cannot be.
        own.set_sysctl(&of_link(6, &nat.link, "accept_dad")?, "0")?;
        namespace.set_sysctl(&of_link(6, LINK, "accept_dad")?, "0")?;
    }
    let index = host.index_of(&ours)?;
    host.perform(&[link::up(index)])?;
    for (outside, _) in &ends {
        host.perform(&[address::add(index, *outside)])?;
    }
    let mut inner = namespace.connect()?;
    let index = inner.index_of(&theirs)?;
    inner.perform(&[link::up(index)])?;
    for (outside, inside) in &ends {
        inner.perform(&[
            address::add(index, *inside),
            route::add(&Route::default_via(outside.addr())),
        ])?;
    }
    for link in [&nat.link, &nat.uplink] {
        own.set_sysctl(&forwarding(link)?, "1")?;
        if nat.network6.is_some() && forces_forwarding(own, link)? {
            own.set_sysctl(&force_forwarding(link)?, "1")?;
        }
    }
    Ok(())
}

/// The two ends of the wire, outside and inside, of each family that it has.
fn ends(nat: &Nat) -> Result<Vec<(IpNet, IpNet)>> {
    let networks = std::iter::once(&nat.network).chain(&nat.network6);
    networks
        .map(|text| {
            let network: IpNet = text.parse().ok()?;
            // Not an iterator of hosts: of IPv6 the first one is every router's address (RFC 4291).
            let nth = |number: u8| match network.network() {
                IpAddr::V4(first) => {
                    let address = u32::from(first).checked_add(number.into())?;
                    Some(IpAddr::V4(address.into()))
                }
                IpAddr::V6(first) => {
                    let address = u128::from(first).checked_add(number.into())?;
                    Some(IpAddr::V6(address.into()))
                }
            };
            let end = |number| IpNet::new(nth(number)?, network.prefix_len()).ok();
            Some((end(1)?, end(2)?))
        })
        .map(|ends| ends.ok_or_else(|| wrong(nat)))
        .collect()
}

fn wrong(nat: &Nat) -> Error {
    Error::usage(
        format!("network {}", nat.network),
        "it is no network with room for two ends",
    )
}

/// Take the way out of the namespace called `name` away, if it has one.
///
/// # Errors
/// When a part of it cannot be taken away; what is left is found again by the same call.
pub fn disconnect(name: &NamespaceName) -> Result<()> {
    let path = file_of(name);
    if !path.exists() {
        return Ok(());
    }
    let _locked = locked()?;
    match read(&path) {
        Some(nat) => undo(name, &nat),
        // Cut off while it was written: nothing else was made yet.
        None => remove(name),
    }
}

fn read(path: &Path) -> Option<Nat> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The way out of the namespace called `name`, if it has one.
#[must_use]
pub fn of(name: &NamespaceName) -> Option<Nat> {
    read(&file_of(name))
}

fn undo(name: &NamespaceName, nat: &Nat) -> Result<()> {
    let own = Namespace::own()?;
    let mut host = own.connect()?;
    let link: LinkName = nat.link.parse()?;
    if host.link(&link).is_ok() {
        host.perform(&[link::delete(&link)])?;
    }
    let shared = others(name).any(|other| other.uplink == nat.uplink);
    let uplink: LinkName = nat.uplink.parse()?;
    let is_there = host.link(&uplink).is_ok();
    if !shared && !nat.forwarded && is_there {
        own.set_sysctl(&forwarding(&nat.uplink)?, "0")?;
    }
    let needs = |other: &Nat| other.uplink == nat.uplink && other.network6.is_some();
    let shared = others(name).any(|other| needs(&other));
    if nat.network6.is_some() && !shared && !nat.forwarded6 && is_there {
        own.set_sysctl(&force_forwarding(&nat.uplink)?, "0")?;
    }
    // Last: without it the uplink, as long as it forwards, does so for its neighbours.
    own.apply_nft(&format!(
        "table inet {0}\ndelete table inet {0}\n",
        nat.table
    ))?;
    remove(name)
}

fn remove(name: &NamespaceName) -> Result<()> {
    fs::remove_file(file_of(name)).map_err(|error| failed("forget", name)(errno_of(&error)))
}

/// What is written down for other namespaces.
fn others(name: &NamespaceName) -> impl Iterator<Item = Nat> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let own = file_of(name);
    entries
        .map(|entry| entry.path())
        .filter(move |path| *path != own)
        .filter_map(|path| read(&path))
}

fn forwarding(link: &str) -> Result<Setting> {
    of_link(4, link, "forwarding")
}

fn force_forwarding(link: &str) -> Result<Setting> {
    of_link(6, link, "force_forwarding")
}

fn of_link(version: u8, link: &str, setting: &str) -> Result<Setting> {
    format!("net/ipv{version}/conf/{link}/{setting}").parse()
}

/// What is written down for the ways out by `uplink` that there are.
fn by(uplink: &LinkName) -> impl Iterator<Item = Nat> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| read(&entry.path()))
        .filter(|other| other.uplink == uplink.as_str())
}

/// Whether `uplink` forwarded before any of ours was made.
fn forwarded(own: &Namespace, uplink: &LinkName) -> Result<bool> {
    match by(uplink).next() {
        Some(other) => Ok(other.forwarded),
        None => Ok(own.sysctl(&forwarding(uplink.as_str())?)? == "1"),
    }
}

/// Whether packets of IPv6 were passed on from `uplink` before any of ours needed it.
fn forwarded6(own: &Namespace, uplink: &LinkName) -> Result<bool> {
    match by(uplink).find(|other| other.network6.is_some()) {
        Some(other) => Ok(other.forwarded6),
        // Without the setting nothing is set, and nothing is to be set back.
        None if !forces_forwarding(own, uplink.as_str())? => Ok(true),
        None => Ok(own.sysctl(&force_forwarding(uplink.as_str())?)? == "1"),
    }
}

/// Whether the kernel can pass packets of IPv6 on for single links.
fn forces_forwarding(own: &Namespace, link: &str) -> Result<bool> {
    match own.sysctl(&force_forwarding(link)?) {
        Ok(_) => Ok(true),
        Err(Error::Host {
            errno: Errno::ENOENT,
            ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What to say where IPv6 cannot be had.
const NO_IPV6: &str = "this kernel cannot forward IPv6 for single links (Linux 6.17 can), and this host does \
                       not forward it everywhere";

/// The network of IPv6 that the wire gets, if it gets one: `named`, or a free one where `uplink`, with that
/// index, leads anywhere by IPv6.
fn network6(
    own: &Namespace,
    host: &mut Connection,
    (uplink, index): (&LinkName, u32),
    named: Option<Ipv6Net>,
) -> Result<Option<IpNet>> {
    let leads = |one: &address::Address| {
        one.link == index && one.address.addr().is_ipv6() && one.scope == "global"
    };
    if named.is_none() && !host.addresses()?.iter().any(leads) {
        return Ok(None);
    }
    let possible = forces_forwarding(own, uplink.as_str())?
        || own
            .sysctl(&Setting::forwarding_v6())
            .is_ok_and(|value| value == "1");
    match (named, possible) {
        (Some(network), true) => check(network.into(), 126).map(Some),
        (None, true) => free(host, POOL_V6.into(), 126).map(Some),
        (Some(network), false) => Err(Error::Unsupported {
            layer: format!("a way out by IPv6 ({network})"),
            reason: NO_IPV6.to_owned(),
            hint: Some("leave out the network of IPv6".to_owned()),
        }),
        (None, false) => {
            tracing::warn!(%uplink, "the way out is by IPv4 only: {NO_IPV6}");
            Ok(None)
        }
    }
}

fn check(network: IpNet, longest: u8) -> Result<IpNet> {
    if network.prefix_len() <= longest {
        return Ok(network.trunc());
    }
    Err(Error::usage(
        format!("--network {network}"),
        format!("two addresses are needed: a prefix of {longest} bits or fewer"),
    ))
}

/// A network of `pool` with prefixes of `length` bits that nothing of the host leads to.
fn free(host: &mut Connection, pool: IpNet, length: u8) -> Result<IpNet> {
    let taken: Vec<IpNet> = host
        .routes()?
        .into_iter()
        .map(|route| route.destination)
        // Multicast (ff00::/8) and link-local routes are no matter; a default one leads everywhere.
        .filter(|network| network.prefix_len() > 0)
        .collect();
    let overlaps = |one: &IpNet| {
        let meets = |two: &IpNet| one.contains(two) || two.contains(one);
        taken.iter().any(meets)
    };
    let subnets = pool.subnets(length).map_err(|_| exhausted(pool))?;
    let mut free = subnets.filter(|network| !overlaps(network));
    free.next().ok_or_else(|| exhausted(pool))
}

fn exhausted(pool: IpNet) -> Error {
    Error::host("find a free network in", pool.to_string(), Errno::ENOSPC)
        .with_hint(Some("name one with --network".to_owned()))
}

/// Every name in it is one of ours, or an [`Interface`]; networks and addresses are read from text first.
fn script(nat: &Nat) -> Result<String> {
    let Nat {
        uplink,
        link,
        table,
        ..
    } = nat;
    let (mut echoes, mut sources, mut behind) = (String::new(), String::new(), String::new());
    for (outside, _) in ends(nat)? {
        let network = outside.trunc();
        let host = outside.addr();
        let (family, icmp) = match network {
            IpNet::V4(_) => ("ip", "icmp"),
            IpNet::V6(_) => ("ip6", "icmpv6"),
        };
        echoes += &format!(
            "\t\tiifname \"{link}\" {family} daddr {host} {icmp} type echo-request accept\n"
        );
        sources += &format!("\t\tiifname \"{link}\" {family} saddr {network} accept\n");
        behind += &format!("\t\toifname \"{uplink}\" {family} saddr {network} masquerade\n");
    }
    // A link forwards to every other one; the wires of other namespaces have tables of their own. What others
    // of the host's links have asked for is answered: whoever lets them out meanwhile, as a container engine
    // does, finds the uplink forwarding already.
    let mut strangers = String::new();
    let opened = [
        (!nat.forwarded, "ipv4"),
        (nat.network6.is_some() && !nat.forwarded6, "ipv6"),
    ];
    for (_, family) in opened.into_iter().filter(|(opened, _)| *opened) {
        strangers += &format!(
            "\t\tiifname \"{uplink}\" meta nfproto {family} oifname != \"{WIRES}*\" ct state new,invalid,untracked drop\n"
        );
    }
    Ok(format!(
        "table inet {table}
delete table inet {table}
table inet {table} {{
\tchain input {{
\t\ttype filter hook input priority filter; policy accept;
\t\tiifname \"{link}\" ct state established,related accept
\t\tiifname \"{link}\" icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
{echoes}\t\tiifname \"{link}\" drop
\t}}
\tchain forward {{
\t\ttype filter hook forward priority filter; policy accept;
\t\tiifname \"{link}\" oifname != \"{uplink}\" drop
{sources}\t\tiifname \"{link}\" drop
{strangers}\t\toifname \"{link}\" ct state established,related accept
\t\toifname \"{link}\" drop
\t}}
\tchain outward {{
\t\ttype nat hook postrouting priority srcnat;
{behind}\t}}
}}
"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_what_is_made_are_short_and_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..1000 {
            let name: NamespaceName = format!("namespace-{number}").parse().unwrap();
            let link = format!("nat-{}", mark(&name));
            assert!(link.parse::<LinkName>().is_ok(), "{link}");
            assert!(seen.insert(link));
        }
    }

    #[test]
    fn a_network_has_room_for_both_ends() {
        assert!(check("10.0.0.0/30".parse().unwrap(), 30).is_ok());
        assert_eq!(
            check("10.0.0.9/24".parse().unwrap(), 30)
                .unwrap()
                .to_string(),
            "10.0.0.0/24"
        );
        assert!(check("10.0.0.0/31".parse().unwrap(), 30).is_err());
        assert!(check("fd00::/126".parse().unwrap(), 126).is_ok());
        assert!(check("fd00::/127".parse().unwrap(), 126).is_err());
    }

    #[test]
    fn what_was_written_down_before_there_was_ipv6_is_read() {
        let text = r#"{"uplink":"eth0","link":"nat-1","table":"sandbox_nat_1","network":"10.203.0.0/30","forwarded":true}"#;
        let nat: Nat = serde_json::from_str(text).unwrap();
        assert_eq!((nat.network6.as_ref(), nat.forwarded6), (None, false));
        assert!(!script(&nat).unwrap().contains("ip6 "));
        let strangers = |nat: &Nat| {
            let script = script(nat).unwrap();
            ["ipv4", "ipv6"].map(|family| script.contains(&format!("nfproto {family} oifname")))
        };
        assert_eq!(strangers(&nat), [false, false], "it forwarded before");
        let six = Nat {
            network6: Some("fd00::4/126".to_owned()),
            ..nat
        };
        assert_eq!(strangers(&six), [false, true]);
        let ends: Vec<String> = ends(&six)
            .unwrap()
            .iter()
            .map(|(outside, inside)| format!("{outside} {inside}"))
            .collect();
        assert_eq!(
            ends,
            ["10.203.0.1/30 10.203.0.2/30", "fd00::5/126 fd00::6/126"]
        );
        assert!(
            script(&six)
                .unwrap()
                .contains("ip6 saddr fd00::4/126 masquerade")
        );
    }
}
