//! What contradicts itself is refused, and what depends on a shared namespace follows it.

use crate::egress::budget::Limits;
use crate::egress::destination::Destination;
use crate::error::{Error, Result};
use crate::policy::layer::{EgressLayer, FilesystemLayer, Origin};
use crate::policy::{Inspect, Layer, Network, Seccomp, UnixSockets, View};

/// Why there is no egress with another network mode.
pub(crate) const EGRESS_NEEDS_LOOPBACK: &str =
    "destinations are reached through the sandbox's own loopback: needs network mode \"loopback\"";
/// The same of what is published.
const PUBLISH_NEEDS_LOOPBACK: &str =
    "what is published is a port of the sandbox's own loopback: needs network mode \"loopback\"";

/// Which key of `egress` says what must not be reached, or how much of it, where nothing would see to it: a
/// network that is not the sandbox's own reaches what it reaches.
pub(crate) fn undecided(
    network: &Network,
    deny: &[Destination],
    budgets: &Limits,
    inspect: Inspect,
) -> Option<Error> {
    if !matches!(network, Network::Host | Network::Namespace(_)) {
        return None;
    }
    let said = [
        ("egress.deny", !deny.is_empty()),
        ("egress.max-bytes", !budgets.bytes.is_empty()),
        ("egress.max-rate", !budgets.rates.is_empty()),
        ("egress.inspect", inspect == Inspect::Yes),
    ];
    let (key, _) = said.into_iter().find(|(_, said)| *said)?;
    Some(Error::usage(
        key,
        "nothing stands between the command and a network that is not its own: needs network mode \"loopback\"",
    ))
}

/// Refuse what contradicts itself.
pub(super) fn consistent(layer: &Layer) -> Result<()> {
    if let Some(path) = layer.paths().find(|path| !path.is_absolute()) {
        return Err(Error::usage(
            path.display().to_string(),
            "not an absolute path",
        ));
    }
    if layer.network != Some(Network::Loopback) {
        if !layer.egress.allow.is_empty() {
            return Err(Error::usage("egress.allow", EGRESS_NEEDS_LOOPBACK));
        }
        if !layer.egress.publish.is_empty() {
            return Err(Error::usage("egress.publish", PUBLISH_NEEDS_LOOPBACK));
        }
    }
    let EgressLayer {
        deny,
        budgets,
        inspect,
        ..
    } = &layer.egress;
    let of = |network| undecided(network, deny, budgets, inspect.unwrap_or_default());
    if let Some(error) = layer.network.as_ref().and_then(of) {
        return Err(error);
    }
    let process = &layer.process;
    if process.as_pid_1 == Some(true) && layer.namespaces.pid == Some(false) {
        return Err(Error::usage(
            "process.as-pid-1",
            "the command cannot be process 1 without a process namespace of its own",
        ));
    }
    if let Some(hostname) = &process.hostname
        && layer.namespaces.uts == Some(false)
    {
        return Err(Error::usage(
            format!("process.hostname = \"{hostname}\""),
            "a host name of its own needs a uts namespace; without it the host would be renamed",
        ));
    }
    Ok(())
}

/// Where a namespace is shared, what depends on it is the host's too. That is an error for what
/// somebody asked for, and follows in silence (besides the namespace's own warning) for what a
/// shipped profile has.
pub(super) fn follow_from_namespaces(merged: &mut Layer, layers: &[(Origin, Layer)]) -> Result<()> {
    let asked = |said: fn(&Layer) -> bool| {
        layers
            .iter()
            .find(|(origin, layer)| !matches!(origin, Origin::BuiltIn(_)) && said(layer))
            .map(|(origin, _)| origin)
    };
    let refuse = |what: &str, needs: &str, origin: &Origin| {
        Err(Error::usage(
            what,
            format!("needs {needs} (asked for by {origin})"),
        ))
    };
    let own_mounts = "a mount namespace of its own";
    if merged.namespaces.mount == Some(false) {
        // Each is a row of its own, so that the error names the key.
        type Wants = (&'static str, fn(&Layer) -> bool);
        let wants: &[Wants] = &[
            ("filesystem.proc", |l| l.filesystem.proc == Some(View::Own)),
            ("filesystem.sys", |l| l.filesystem.sys == Some(View::Own)),
            ("filesystem.dev", |l| l.filesystem.dev == Some(View::Own)),
            ("filesystem.private-tmp", |l| {
                l.filesystem.private_tmp == Some(true)
            }),
            ("filesystem.hide-sockets", |l| {
                l.filesystem.hide_sockets == Some(true)
            }),
            ("filesystem.hide", |l| !l.filesystem.hide.is_empty()),
            ("filesystem.read-only", |l| {
                !l.filesystem.read_only.is_empty()
            }),
        ];
        for (what, said) in wants {
            if let Some(origin) = asked(*said) {
                return refuse(what, own_mounts, origin);
            }
        }
        merged.filesystem = FilesystemLayer {
            proc: Some(View::Host),
            sys: Some(View::Host),
            dev: Some(View::Host),
            private_tmp: Some(false),
            hide_sockets: Some(false),
            ..FilesystemLayer::default()
        };
    }
    // The filter tells of each connection; in the host's network its abstract names are open as well.
    if merged.unix_sockets != Some(UnixSockets::Any) {
        let asked = asked(|l| l.unix_sockets.is_some());
        let off = merged.process.seccomp == Some(Seccomp::Off);
        let host = merged.network == Some(Network::Host);
        match asked {
            Some(origin) if off => {
                return refuse("network.unix-sockets", "a system-call filter", origin);
            }
            Some(origin) if host => {
                return refuse(
                    "network.unix-sockets",
                    "a network namespace of its own",
                    origin,
                );
            }
            _ => {}
        }
    }
    // A fresh /proc shows the mounter's process namespace, and only its owner may mount one.
    if merged.namespaces.pid == Some(false) {
        if let Some(origin) = asked(|l| l.filesystem.proc == Some(View::Own)) {
            return refuse("filesystem.proc", "a process namespace of its own", origin);
        }
        merged.filesystem.proc = Some(View::Host);
    }
    // The same holds for /sys and the network namespace (sysfs_get_tree in the kernel).
    if merged.network == Some(Network::Host) {
        if let Some(origin) = asked(|l| l.filesystem.sys == Some(View::Own)) {
            return refuse("filesystem.sys", "a network namespace of its own", origin);
        }
        merged.filesystem.sys = Some(View::Host);
    }
    Ok(())
}
