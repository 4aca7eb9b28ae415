//! In which ways a policy is wider than nothing.

use crate::egress::destination::{Destination, Hosts, Protocol};
use crate::policy::{
    Inspect, Network, Policy, Seccomp, Strictness, UnixSockets, UserNamespace, View,
};

/// One way in which a policy gives up a protection that [`Policy::nothing`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Widening {
    /// The key that does it.
    pub key: &'static str,
    /// What the command can do that it could not otherwise.
    pub consequence: &'static str,
}

/// Every way in which `policy` gives up a protection.
#[must_use]
pub fn widenings(policy: &Policy) -> Vec<Widening> {
    let Policy {
        namespaces,
        filesystem,
        process,
        ..
    } = policy;
    // What follows from a shared mount namespace is said once, by that.
    let own_mounts = namespaces.mount;
    let uninspected = |allowed: &Destination| {
        matches!(
            allowed,
            Destination::Network {
                protocol: Protocol::Udp,
                hosts: Hosts::Named(_) | Hosts::Below(_),
                ..
            }
        )
    };
    let table: [(bool, &str, &str); 21] = [
        (
            policy.network == Network::Host,
            "network.mode",
            "no network isolation: the command has the host's network",
        ),
        (
            !policy.egress.allow.is_empty(),
            "egress.allow",
            "the command reaches the allowed destinations, through the supervisor",
        ),
        (
            policy.egress.inspect == Inspect::Yes && policy.egress.allow.iter().any(uninspected),
            "egress.inspect",
            "datagrams to an allowed name are not inspected: by UDP (QUIC) another host at its address may be reached",
        ),
        (
            !policy.egress.publish.is_empty(),
            "egress.publish",
            "whoever reaches the published address reaches the command's port",
        ),
        (
            policy.user_namespace == UserNamespace::No,
            "namespaces.user",
            "no user namespace: ids inside are the host's",
        ),
        (
            !namespaces.pid,
            "namespaces.pid",
            "no process namespace: the command sees the host's processes, and may outlive the launcher",
        ),
        (
            !namespaces.mount,
            "namespaces.mount",
            "no mount namespace: nothing of the host's files and Unix sockets is hidden, and root may write the kernel's settings in /proc/sys and /sys",
        ),
        (
            !namespaces.ipc,
            "namespaces.ipc",
            "no ipc namespace: the command has the host's System V objects and message queues",
        ),
        (
            !namespaces.uts,
            "namespaces.uts",
            "no uts namespace: the command has the host's own host name",
        ),
        (
            !namespaces.cgroup,
            "namespaces.cgroup",
            "no cgroup namespace: the command sees the host's control groups",
        ),
        (
            own_mounts && filesystem.proc == View::Host,
            "filesystem.proc",
            "the host's /proc is shown",
        ),
        (
            own_mounts && filesystem.sys == View::Host && policy.network != Network::Host,
            "filesystem.sys",
            "the host's /sys is shown, with its network devices",
        ),
        (
            own_mounts && filesystem.dev == View::Host,
            "filesystem.dev",
            "the host's /dev is shown, with every device that the user may open",
        ),
        (
            own_mounts && !filesystem.hide_sockets,
            "filesystem.hide-sockets",
            "Unix sockets of the host are not looked for: any at a path that is not hidden leads out",
        ),
        (
            policy.unix_sockets == UnixSockets::Any,
            "network.unix-sockets",
            "any Unix socket in sight may be connected to, whoever listens on it",
        ),
        (
            policy.unix_sockets == UnixSockets::Datagrams,
            "network.unix-sockets",
            "datagrams may be sent to any Unix socket in sight, whoever has it",
        ),
        (
            process.seccomp == Seccomp::Off,
            "process.seccomp",
            "no system-call filter: io_uring, AF_VSOCK and the whole kernel surface are open",
        ),
        (
            !process.cap_add.is_empty(),
            "process.cap-add",
            "the command keeps capabilities",
        ),
        (
            process.as_pid_1,
            "process.as-pid-1",
            "no init: the command has to reap, and default signal actions do not end it",
        ),
        (
            matches!(policy.network, Network::Namespace(_)),
            "network.mode",
            "the command has whatever the joined network namespace reaches",
        ),
        (
            policy.strictness == Strictness::BestEffort,
            "require",
            "protections that this host cannot give are left out",
        ),
    ];
    table
        .into_iter()
        .filter(|(wider, ..)| *wider)
        .map(|(_, key, consequence)| Widening { key, consequence })
        .collect()
}
