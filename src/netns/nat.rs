//! A way to the outside for a namespace: a wire to the caller's network, whose packets go out by one named
//! uplink, behind its address. IPv4; needs root.
//!
//! What is made outside: one link, one nftables table, `forwarding` of that link and of the uplink. A file
//! in [`DIRECTORY`] says so before any of it is done, so that it can be undone by name whatever happens
//! meanwhile: [`disconnect`] takes the link and the table away and sets the uplink's `forwarding` back, once
//! nobody else here needs it. Nothing else of the caller's network is touched, and from the namespace
//! no port of the host is reached (its end of the wire answers pings), and no network but what lies behind the
//! uplink. Other tables of the host may forbid more.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};
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
    /// Whether the uplink forwarded before the first of these was made.
    pub forwarded: bool,
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

/// Give the namespace called `name` a way out by `uplink`, on `network` or on a free one.
///
/// # Errors
/// When it has one already, or a part of it cannot be made; nothing is left then.
pub fn connect(
    name: &NamespaceName,
    namespace: &Namespace,
    uplink: &LinkName,
    network: Option<Ipv4Net>,
) -> Result<Nat> {
    let _locked = locked()?;
    let own = Namespace::own()?;
    let mut host = own.connect()?;
    host.index_of(uplink)?;
    let nat = Nat {
        uplink: Interface::try_from(uplink)?.to_string(),
        link: format!("nat-{}", mark(name)),
        table: format!("sandbox_nat_{}", mark(name)),
        network: match network {
            Some(network) => check(network)?,
            None => free(&mut host)?,
        }
        .to_string(),
        forwarded: forwarded(&own, uplink)?,
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
    let network: Ipv4Net = nat.network.parse().map_err(|_| wrong(nat))?;
    let mut hosts = network.hosts();
    let (Some(outside), Some(inside)) = (hosts.next(), hosts.next()) else {
        return Err(wrong(nat));
    };
    let with_prefix = |address: Ipv4Addr| {
        IpNet::new(IpAddr::V4(address), network.prefix_len()).map_err(|_| wrong(nat))
    };
    let (ours, theirs): (LinkName, LinkName) = (nat.link.parse()?, LINK.parse()?);
    // The table first: nothing of the host is within reach for a moment.
    own.apply_nft(&script(nat))?;
    let wire = NewLink::veth(ours.clone(), theirs.clone()).peer_in(namespace);
    host.perform(&[wire.request()])?;
    let index = host.index_of(&ours)?;
    host.perform(&[address::add(index, with_prefix(outside)?), link::up(index)])?;
    let mut inner = namespace.connect()?;
    let index = inner.index_of(&theirs)?;
    inner.perform(&[
        address::add(index, with_prefix(inside)?),
        link::up(index),
        route::add(&Route::default_via(IpAddr::V4(outside))),
    ])?;
    for link in [&nat.link, &nat.uplink] {
        own.set_sysctl(&forwarding(link)?, "1")?;
    }
    Ok(())
}

fn wrong(nat: &Nat) -> Error {
    Error::usage(format!("network {}", nat.network), "it is no IPv4 network")
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
    own.apply_nft(&format!(
        "table inet {0}\ndelete table inet {0}\n",
        nat.table
    ))?;
    let shared = others(name).any(|other| other.uplink == nat.uplink);
    let uplink: LinkName = nat.uplink.parse()?;
    if !shared && !nat.forwarded && host.link(&uplink).is_ok() {
        own.set_sysctl(&forwarding(&nat.uplink)?, "0")?;
    }
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
    format!("net/ipv4/conf/{link}/forwarding").parse()
}

/// Whether `uplink` forwarded before any of ours was made.
fn forwarded(own: &Namespace, uplink: &LinkName) -> Result<bool> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let before = entries
        .filter_map(|entry| read(&entry.path()))
        .find(|other| other.uplink == uplink.as_str());
    match before {
        Some(other) => Ok(other.forwarded),
        None => Ok(own.sysctl(&forwarding(uplink.as_str())?)? == "1"),
    }
}

fn check(network: Ipv4Net) -> Result<Ipv4Net> {
    if network.prefix_len() <= 30 {
        return Ok(network.trunc());
    }
    Err(Error::usage(
        format!("--network {network}"),
        "two addresses are needed: a prefix of 30 bits or fewer",
    ))
}

/// A network of four addresses of the pool that nothing of the host leads to.
fn free(host: &mut Connection) -> Result<Ipv4Net> {
    let taken: Vec<Ipv4Net> = host
        .routes()?
        .into_iter()
        .filter_map(|route| match route.destination {
            IpNet::V4(network) if network.prefix_len() > 0 => Some(network),
            _ => None,
        })
        .collect();
    let overlaps = |one: &Ipv4Net| {
        let meets = |two: &Ipv4Net| one.contains(two) || two.contains(one);
        taken.iter().any(meets)
    };
    let subnets = POOL.subnets(30).map_err(|_| exhausted())?;
    let mut free = subnets.filter(|network| !overlaps(network));
    free.next().ok_or_else(exhausted)
}

fn exhausted() -> Error {
    Error::host("find a free network in", POOL.to_string(), Errno::ENOSPC)
        .with_hint(Some("name one with --network".to_owned()))
}

/// Every name in it is one of ours, or an [`Interface`].
fn script(nat: &Nat) -> String {
    let Nat {
        uplink,
        link,
        table,
        network,
        ..
    } = nat;
    format!(
        "table inet {table}
delete table inet {table}
table inet {table} {{
\tchain input {{
\t\ttype filter hook input priority filter; policy accept;
\t\tiifname \"{link}\" ct state established,related accept
\t\tiifname \"{link}\" icmp type echo-request accept
\t\tiifname \"{link}\" drop
\t}}
\tchain forward {{
\t\ttype filter hook forward priority filter; policy accept;
\t\tiifname \"{link}\" oifname != \"{uplink}\" drop
\t\toifname \"{link}\" ct state established,related accept
\t\toifname \"{link}\" drop
\t}}
\tchain outward {{
\t\ttype nat hook postrouting priority srcnat;
\t\toifname \"{uplink}\" ip saddr {network} masquerade
\t}}
}}
"
    )
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
        assert!(check("10.0.0.0/30".parse().unwrap()).is_ok());
        assert_eq!(
            check("10.0.0.9/24".parse().unwrap()).unwrap().to_string(),
            "10.0.0.0/24"
        );
        assert!(check("10.0.0.0/31".parse().unwrap()).is_err());
    }
}
