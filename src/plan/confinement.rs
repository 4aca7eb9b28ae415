//! What confines the command's calls: Landlock, the filter, and what lies under it.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Situation;
use super::sockets::sockets_let_through;
use crate::descriptor::Kind;
use crate::egress::notify::Policing;
use crate::egress::rules::Rules;
use crate::error::{Error, Result};
use crate::filter::{self, Arch, Beyond, Context, Program};
use crate::mounts::Mount;
use crate::policy::{Carrier, Network, Policy, Strictness};
use crate::probe::Support;

/// The first Landlock ABI with scopes for signals and abstract sockets: Linux 6.12.
const LANDLOCK_SCOPES: u32 = 6;

pub(super) fn decide_landlock(policy: &Policy, support: &Support) -> Result<bool> {
    if support.landlock_abi >= LANDLOCK_SCOPES {
        return Ok(true);
    }
    if policy.strictness < Strictness::Full {
        return Ok(false);
    }
    Err(Error::Unsupported {
        layer: "Landlock scopes".to_owned(),
        reason: match support.landlock_abi {
            0 => "Landlock is not enabled".to_owned(),
            abi => format!("the kernel has Landlock ABI {abi}, and scopes came with ABI 6"),
        },
        hint: Some(
            "use Linux 6.12 or later with landlock in its lsm= list, or '--require standard'"
                .to_owned(),
        ),
    })
}

pub(super) fn filter_context(
    policy: &Policy,
    situation: &Situation,
    init: bool,
    landlock_scopes: bool,
) -> Context {
    let kinds = || {
        let handed = situation.descriptors.iter().map(|handed| handed.kind);
        situation.standard.into_iter().chain(handed)
    };
    let (major, minor) = situation.support.kernel;
    let narrow = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    Context {
        kernel: (narrow(major), narrow(minor)),
        no_sockets: policy.network == Network::Fds,
        as_pid_1: !init,
        refuse_group_signals: !landlock_scopes,
        // More may come over a Unix socket that is handed in: a channel to a broker is one.
        host_sockets: policy.network == Network::Fds
            || kinds().any(|kind| kind.is_internet_socket() || kind.is_datagram_socket())
            || situation
                .descriptors
                .iter()
                .any(|handed| handed.kind == Kind::UnixSocket),
        host_datagrams: kinds().any(Kind::is_datagram_socket),
        direct: policy.egress.engine == Carrier::Direct && !policy.egress.is_empty(),
        host_processes: !policy.namespaces.pid,
        cap_add: policy.process.cap_add.clone(),
        ..Context::default()
    }
}

/// What has to lie under `filter`, so that the Unix sockets that may not be reached are not. With the
/// host's network its abstract names are open as well, and with a passed socket nothing can be connected.
pub(super) fn decide_policing(
    policy: &Policy,
    filter: &Program,
    beyond: Option<Beyond>,
    mounts: &[Mount],
    rules: &Rules,
) -> Result<Option<Policing>> {
    if policy.network == Network::Host {
        return Ok(None);
    }
    let carrier = match (rules.learns(), rules.allow_hosts()) {
        (None, true) => policy.egress.engine,
        // Who learns sees all that is carried.
        _ => Carrier::Relay,
    };
    let (which, arch) = (policy.unix_sockets, Arch::native());
    let Some(underlay) = filter::underlay(filter, which, carrier, beyond.as_ref(), arch) else {
        return Ok(None);
    };
    let allowed = sockets_let_through(rules)?.into_iter();
    Ok(Some(Policing {
        underlay,
        allowed: allowed.map(|one| one.socket).collect(),
        hidden: mounts
            .iter()
            .filter_map(|mount| match mount {
                Mount::HideSocket(path) => Some(path.clone()),
                _ => None,
            })
            .collect(),
        abstract_names: Policing::abstract_names_of(&policy.network),
        which,
        carrier,
        beyond: beyond.map(Arc::new),
    }))
}
