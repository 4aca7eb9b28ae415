//! Which attempts a policy rules out: one function a wall, from the policy's value alone.

use std::net::{IpAddr, Ipv4Addr};

use crate::egress::destination::{Asked, Protocol};
use crate::egress::sets;
use crate::filter::{self, Context, Verdict, interpret};
use crate::policy::{Network, Policy, Seccomp, UnixSockets, UserNamespace, View};

/// Whether a policy rules an attempt out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promised {
    /// It does.
    Yes,
    /// It does not, because of this.
    No(&'static str),
}

impl Promised {
    fn when(kept: bool, otherwise: &'static str) -> Self {
        if kept { Self::Yes } else { Self::No(otherwise) }
    }

    fn and(self, next: Self) -> Self {
        if self == Self::Yes { next } else { self }
    }

    fn or(self, next: Self) -> Self {
        if self == Self::Yes { self } else { next }
    }
}

/// Whatever the policy says.
pub(crate) fn always(_: &Policy) -> Promised {
    Promised::Yes
}

/// The network namespace is the sandbox's own.
pub(crate) fn network(policy: &Policy) -> Promised {
    match policy.network {
        Network::Loopback | Network::None | Network::Fds => Promised::Yes,
        Network::Namespace(_) => Promised::No("the network namespace is a given one"),
        Network::Host => Promised::No("the network is the host's"),
    }
}

/// Where clouds tell a host about itself, credentials included.
pub(crate) const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
/// By HTTP.
pub(crate) const METADATA_PORT: u16 = 80;

/// The network is the sandbox's own, and no rule names that address.
pub(crate) fn metadata(policy: &Policy) -> Promised {
    let asked = Asked::Address(METADATA);
    let allowed = sets::rules(&policy.egress)
        .is_ok_and(|rules| rules.decide(Protocol::Tcp, &asked, METADATA_PORT).is_ok());
    network(policy).and(Promised::when(!allowed, "a rule of the policy allows it"))
}

/// A system-call profile that ships with the program is in force.
pub(crate) fn filtered(policy: &Policy) -> Promised {
    let shipped = match &policy.process.seccomp {
        Seccomp::Profile(name) => !name.contains(['/', '.']),
        Seccomp::Off => return Promised::No("the system-call filter is off"),
    };
    Promised::when(shipped, "the system-call profile is a given one")
}

/// No capability is kept.
pub(crate) fn capabilities(policy: &Policy) -> Promised {
    Promised::when(policy.process.cap_add.is_empty(), "capabilities are kept")
}

/// The filter is in force and no capability opens a hole in it.
pub(crate) fn filter_without_capabilities(policy: &Policy) -> Promised {
    filtered(policy).and(capabilities(policy))
}

/// The profile refuses call `number` with these arguments. What cannot be read here cannot be
/// launched either, so it does not matter what is said of it.
pub(crate) fn refused_by_profile(policy: &Policy, number: u32, arguments: [u64; 6]) -> Promised {
    let Seccomp::Profile(name) = &policy.process.seccomp else {
        return Promised::No("the system-call filter is off");
    };
    let context = Context {
        cap_add: policy.process.cap_add.clone(),
        ..Context::default()
    };
    let verdict = filter::program(name, &context)
        .map(|program| interpret(&program, context.arch.audit_word(), number, &arguments));
    let allowed = matches!(verdict, Ok(Verdict::Allow | Verdict::Log));
    Promised::when(!allowed, "the system-call profile lets it through")
}

/// Memory of other processes cannot be read, not even of one's own.
pub(crate) fn memory_of_others(policy: &Policy) -> Promised {
    let number = filter::number("process_vm_readv", Context::default().arch);
    let refused = refused_by_profile(policy, number.unwrap_or_default(), [0; 6]);
    filter_without_capabilities(policy).and(refused)
}

/// Descriptors of other processes cannot be copied, not even of one's own.
pub(crate) fn descriptors_of_others(policy: &Policy) -> Promised {
    let number = filter::number("pidfd_getfd", Context::default().arch);
    let refused = refused_by_profile(policy, number.unwrap_or_default(), [0; 6]);
    filter_without_capabilities(policy).and(refused)
}

/// No new socket of such a kind, or none that leads anywhere.
pub(crate) fn sockets(policy: &Policy) -> Promised {
    filter_without_capabilities(policy)
}

/// The network namespace's settings cannot be changed.
pub(crate) fn network_settings(policy: &Policy) -> Promised {
    capabilities(policy)
}

/// No descriptor of a host network namespace, whichever way.
pub(crate) fn namespaces(policy: &Policy) -> Promised {
    capabilities(policy).and(filtered(policy))
}

/// Nested user namespaces are refused by the filter.
pub(crate) fn nested(policy: &Policy) -> Promised {
    filter_without_capabilities(policy)
}

/// `user.max_user_namespaces` is 0 inside.
pub(crate) fn nested_limit(policy: &Policy) -> Promised {
    let own = policy.user_namespace != UserNamespace::No
        && !matches!(policy.network, Network::Namespace(_));
    Promised::when(
        own && policy.filesystem.proc == View::Own,
        "there is no user namespace of its own, or /proc is the host's",
    )
}

/// Path sockets are hidden, or not connected to.
pub(crate) fn path_sockets(policy: &Policy) -> Promised {
    hidden_sockets(policy).or(policed(policy, UnixSockets::Datagrams))
}

/// Path sockets of datagrams are hidden, or there are no datagrams.
pub(crate) fn path_datagrams(policy: &Policy) -> Promised {
    hidden_sockets(policy).or(policed(policy, UnixSockets::Own))
}

fn hidden_sockets(policy: &Policy) -> Promised {
    Promised::when(
        policy.filesystem.hide_sockets && policy.namespaces.mount,
        "path sockets are not hidden",
    )
}

/// Connections to path sockets are decided by the supervisor; `most` is the widest setting that counts.
fn policed(policy: &Policy, most: UnixSockets) -> Promised {
    let which = policy.unix_sockets;
    let policed = which == UnixSockets::Own || which == most;
    Promised::when(
        policed && policy.network != Network::Host && policy.process.seccomp != Seccomp::Off,
        "path sockets are neither hidden nor policed",
    )
}

/// Path sockets are hidden, and abstract ones cut.
pub(crate) fn every_unix_socket(policy: &Policy) -> Promised {
    network(policy).and(path_sockets(policy))
}

/// The default hidden directories.
pub(crate) fn run_directory(policy: &Policy) -> Promised {
    let hidden = policy.filesystem.hide.iter().any(|path| path == "/run");
    Promised::when(hidden && policy.namespaces.mount, "/run is not hidden")
}

/// Variables that name hidden sockets are removed.
pub(crate) fn environment(policy: &Policy) -> Promised {
    let removed = |name: &str| policy.environment.unset.iter().any(|entry| entry == name);
    Promised::when(
        policy.environment.clear || removed("SSH_AUTH_SOCK"),
        "the environment is passed on",
    )
}

/// `/dev` is a minimal one.
pub(crate) fn devices(policy: &Policy) -> Promised {
    Promised::when(
        policy.filesystem.dev == View::Own && policy.namespaces.mount,
        "/dev is the host's",
    )
}

/// `/sys` is the sandbox's own.
pub(crate) fn sys(policy: &Policy) -> Promised {
    let own = policy.filesystem.sys == View::Own && policy.namespaces.mount;
    network(policy).and(Promised::when(own, "/sys is the host's"))
}

/// `/proc` is the sandbox's own, and its network too.
pub(crate) fn proc_of_network(policy: &Policy) -> Promised {
    network(policy)
}

/// Nothing below `/proc/sys` and `/sys` can be written.
pub(crate) fn settings(policy: &Policy) -> Promised {
    let own = policy.filesystem.proc == View::Own && policy.namespaces.mount;
    Promised::when(own, "/proc is the host's").and(capabilities(policy))
}

/// `/sys` cannot be written.
pub(crate) fn sys_settings(policy: &Policy) -> Promised {
    let own = policy.filesystem.sys == View::Own && policy.namespaces.mount;
    Promised::when(own, "/sys is the host's").and(capabilities(policy))
}

/// Outside processes have no number inside.
pub(crate) fn processes(policy: &Policy) -> Promised {
    Promised::when(policy.namespaces.pid, "the process namespace is shared")
}

/// Outside processes have no number inside, or the filter refuses the call.
pub(crate) fn processes_or_filter(policy: &Policy) -> Promised {
    processes(policy).or(filter_without_capabilities(policy))
}

/// Outside processes cannot be seen in `/proc`.
pub(crate) fn proc_of_processes(policy: &Policy) -> Promised {
    let own = policy.filesystem.proc == View::Own && policy.namespaces.mount;
    processes(policy).and(Promised::when(own, "/proc is the host's"))
}

/// There is an init of ours.
pub(crate) fn init(policy: &Policy) -> Promised {
    let ours = Promised::when(!policy.process.as_pid_1, "the command is process 1 itself");
    processes(policy).and(ours).and(capabilities(policy))
}

/// System V and POSIX objects are the sandbox's own.
pub(crate) fn ipc(policy: &Policy) -> Promised {
    Promised::when(policy.namespaces.ipc, "the ipc namespace is shared")
}

/// `/dev/shm` is the sandbox's own.
pub(crate) fn shared_files(policy: &Policy) -> Promised {
    devices(policy)
}

/// The cgroup namespace is the sandbox's own.
pub(crate) fn cgroup(policy: &Policy) -> Promised {
    Promised::when(policy.namespaces.cgroup, "the cgroup namespace is shared")
}
