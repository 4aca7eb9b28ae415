//! Who the command is: in which user namespace, with which ids and groups, and which capabilities there are.
#![forbid(unsafe_code)]

use nix::unistd::{Gid, Uid, getegid, geteuid};

use super::IdMaps;
use crate::error::{Error, Result};
use crate::owner::{self, NetworkOwner};
use crate::policy::{Network, Policy, UserNamespace};
use crate::prepare::Identity;
use crate::probe::{CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN, Support};
use crate::{account, proc_file};

/// Who has made the user namespace that owns the network has every capability over both from outside,
/// even without one to its name (user_namespaces(7)): so root's command has to be inside, as well as
/// an ordinary user's, who may not join the network otherwise.
pub(super) fn decide_network_owner(policy: &Policy) -> NetworkOwner {
    match (&policy.network, policy.user_namespace) {
        (Network::Namespace(path), UserNamespace::Auto | UserNamespace::No) => owner::to_join(path),
        _ => NetworkOwner::NotJoined,
    }
}

pub(super) fn decide_user_namespace(
    policy: &Policy,
    network_owner: NetworkOwner,
    support: &Support,
) -> Result<bool> {
    let privileged = support.has(CAP_SYS_ADMIN);
    match policy.user_namespace {
        UserNamespace::Yes => Ok(true),
        UserNamespace::No if privileged || network_owner == NetworkOwner::Joined => Ok(false),
        UserNamespace::No => Err(Error::usage(
            "--userns no",
            "only root can make the other namespaces without a user namespace; leave the option out",
        )),
        // A joined network belongs to the user namespace that made it. From one of our own, its
        // /sys could not be mounted.
        UserNamespace::Auto => {
            let joins = matches!(policy.network, Network::Namespace(_));
            Ok(!(joins && (privileged || network_owner == NetworkOwner::Joined)))
        }
    }
}

pub(super) fn decide_id_maps(user_namespace: bool, support: &Support) -> IdMaps {
    if !user_namespace {
        return IdMaps::None;
    }
    if support.root && support.has(CAP_SETUID) && support.has(CAP_SETGID) {
        return IdMaps::All;
    }
    IdMaps::Own {
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
    }
}

/// Where `--user` or `--group` asks for other ids: they are root's to give.
pub(super) fn decide_account(
    policy: &Policy,
    id_maps: IdMaps,
    network_owner: NetworkOwner,
) -> Result<Option<account::Account>> {
    let process = &policy.process;
    if process.user.is_none() && process.group.is_none() {
        return Ok(None);
    }
    if network_owner == NetworkOwner::Joined {
        return Err(Error::usage(
            "--user, --group",
            "the network belongs to a user namespace with ids of its own, which is joined; leave the options out to run as yourself there",
        ));
    }
    if matches!(id_maps, IdMaps::Own { .. }) || !geteuid().is_root() {
        return Err(Error::usage(
            "--user, --group",
            "only root can change user and group ids; leave the options out to run as yourself",
        ));
    }
    account::resolve(process.user.as_deref(), process.group.as_deref()).map(Some)
}

/// Root keeps its ids and loses its supplementary groups. An ordinary user's cannot be dropped: in a
/// user namespace with a map of one's own, setgroups(2) is denied (user_namespaces(7)). In one that is
/// joined, ids are others.
pub(super) fn own_identity(
    id_maps: IdMaps,
    network_owner: NetworkOwner,
    support: &Support,
) -> Option<Identity> {
    let privileged = support.root && support.has(CAP_SETGID) && may_set_groups();
    let as_here =
        !matches!(id_maps, IdMaps::Own { .. }) && network_owner == NetworkOwner::NotJoined;
    (privileged && as_here).then(|| Identity {
        uid: Uid::effective().as_raw(),
        gid: Gid::effective().as_raw(),
        groups: Vec::new(),
    })
}

/// Root of a user namespace with a map of its own may not (user_namespaces(7)).
fn may_set_groups() -> bool {
    proc_file::read_text("/proc/self/setgroups").is_ok_and(|word| word.trim_end() == "allow")
}

/// The highest capability that this kernel knows.
pub(super) fn last_capability() -> u8 {
    proc_file::read_text("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        // Every kernel that can do the rest has these.
        .unwrap_or(40)
}
