//! What has to be set up for the destinations that are allowed and the ports that are published.
#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use super::{LowPorts, UNSEEN};
use crate::egress::asking;
use crate::egress::destination::Protocol;
use crate::egress::rules::Rules;
use crate::egress::setup::{Place, Setup};
use crate::error::{Error, Result};
use crate::learn::Learning;
use crate::policy::{Network, Policy, merge};
use crate::probe::CAP_NET_BIND_SERVICE;
use crate::sys::child::Family;

/// Below this, a new network lets nobody bind without that capability (ip(7),
/// `ip_unprivileged_port_start`).
const FIRST_OPEN_PORT: u16 = 1024;

/// The network is nobody else's, so every port is the command's; only a published one is worth an error.
/// Without a user namespace the supervisor, which has no capability, binds those of names that are met
/// later.
pub(super) fn decide_low_ports(policy: &Policy, user_namespace: bool, rules: &Rules) -> LowPorts {
    let low = |port: u16| port < FIRST_OPEN_PORT;
    let capable = policy.process.cap_add.contains(&CAP_NET_BIND_SERVICE);
    let published = || policy.egress.publish.iter().any(|one| low(one.inside));
    let below = |protocol| rules.ports_below(protocol).iter().any(low);
    match policy.network {
        Network::Loopback if !capable && published() => LowPorts::Needed,
        Network::Loopback if !user_namespace && (below(Protocol::Tcp) || below(Protocol::Udp)) => {
            LowPorts::Needed
        }
        Network::Loopback => LowPorts::Tried,
        _ => LowPorts::Closed,
    }
}

/// What has to be set up for the destinations that are allowed.
pub(super) fn decide_egress(
    policy: &Policy,
    user_namespace: bool,
    rules: Rules,
) -> Result<Option<Setup>> {
    let egress = &policy.egress;
    // What the library was told, no merging has seen.
    let (network, deny, budgets) = (&policy.network, &egress.deny, &egress.budgets);
    if let Some(error) = merge::undecided(network, deny, budgets, egress.inspect) {
        return Err(error);
    }
    if egress.is_empty() && egress.proxy_env.is_none() && rules.learns().is_none() {
        return Ok(None);
    }
    if policy.network != Network::Loopback {
        return Err(match rules.learns() {
            None => Error::usage("egress.allow", merge::EGRESS_NEEDS_LOOPBACK),
            Some(_) => Error::usage("learn", UNSEEN),
        });
    }
    let mut families = vec![Family::V4];
    if Path::new("/proc/net/if_inet6").exists() {
        families.push(Family::V6);
    }
    // Unix sockets are let through by the mounts: nothing has to be carried for them.
    if !rules.allow_hosts() {
        if egress.proxy_env.is_some() {
            return Err(Error::usage(
                "egress.proxy-env",
                "the proxy reaches what is allowed, and no host is: needs egress.allow",
            ));
        }
        let closed = Setup::closed().with_published(&egress.publish, &families)?;
        return Ok((!closed.published.is_empty()).then_some(closed));
    }
    if !user_namespace && rules.learns() == Some(Learning::Permitting) {
        return Err(Error::usage(
            "learn",
            "needs a user namespace, because it meets names and ports only later; leave out --userns no",
        ));
    }
    let (settings, hosts) = asking::host_files(&rules);
    let place = match fs::canonicalize("/etc/resolv.conf") {
        Ok(path) if path.starts_with("/etc") => Place::Etc,
        _ => Place::Elsewhere,
    };
    let setup = Setup::new(rules, &families, &settings, place, &hosts, egress.inspect)?
        .with_published(&egress.publish, &families)?
        .with_budgets(&egress.budgets);
    match egress.proxy_env {
        None => Ok(Some(setup)),
        Some(port) => setup.with_front(port).map(Some),
    }
}
