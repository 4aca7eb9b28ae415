//! The table of everything that the launcher needs of a kernel, each thing once.
//!
//! Pure data. `sandbox doctor` prints it in this order, `docs/doctor.md` explains its columns.

use super::acts::Act;

/// Which part of the doctor's page a feature belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The walls themselves.
    Isolation,
    /// What stands behind the walls.
    Second,
    /// Control groups.
    Limits,
    /// What single options and later commands use.
    Extras,
}

impl Group {
    /// Every group, in the order in which they are printed, with its heading.
    pub const ALL: &'static [(Group, &'static str)] = &[
        (Group::Isolation, "Isolation"),
        (Group::Second, "Second walls"),
        (Group::Limits, "Limits"),
        (Group::Extras, "Extras"),
    ];
}

/// What is lost without a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// The default policy cannot be had.
    Required,
    /// The default policy can be had, with one wall fewer; `--require full` cannot.
    Wall,
    /// Only what [`Feature::purpose`] names.
    Option,
    /// Nothing; it is worth knowing.
    Note,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $id:ident = $name:literal,)*) => {
        /// The name of one feature; stable, as it is part of `--json`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Id { $($(#[$doc])* $id,)* }

        impl Id {
            /// The name that `--json` prints.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Id::$id => $name,)* }
            }
        }
    };
}

ids! {
    /// user_namespaces(7), with ids mapped and capabilities usable.
    UserNamespace = "user-namespace",
    /// network_namespaces(7), with `lo` up.
    NetworkNamespace = "network-namespace",
    /// pid_namespaces(7).
    PidNamespace = "pid-namespace",
    /// mount_namespaces(7), with private mounts.
    MountNamespace = "mount-namespace",
    /// ipc_namespaces(7).
    IpcNamespace = "ipc-namespace",
    /// uts_namespaces(7).
    UtsNamespace = "uts-namespace",
    /// cgroup_namespaces(7).
    CgroupNamespace = "cgroup-namespace",
    /// clone3(2) with all of them at once.
    Clone3 = "clone3",
    /// waitid(2) with `P_PIDFD`.
    Pidfd = "pidfd",
    /// close_range(2).
    CloseRange = "close-range",
    /// A fresh `/proc`.
    FreshProc = "fresh-proc",
    /// A fresh `/sys`.
    FreshSys = "fresh-sys",
    /// tmpfs.
    Tmpfs = "tmpfs",
    /// Bind mounts over what is there.
    BindMount = "bind-mount",
    /// mount_setattr(2).
    ReadOnlyMount = "read-only-mount",
    /// devpts with `newinstance`.
    PrivateDevpts = "private-devpts",
    /// seccomp(2) filters.
    SeccompFilter = "seccomp-filter",
    /// landlock(7), any version.
    Landlock = "landlock",
    /// Landlock's scopes for signals and abstract sockets.
    LandlockScopes = "landlock-scopes",
    /// `user.max_user_namespaces` writable inside.
    NestedUserNamespaces = "forbid-nested-user-namespaces",
    /// keyctl(2).
    SessionKeyring = "session-keyring",
    /// memfd_create(2), executable and sealed.
    SealedExec = "sealed-exec",
    /// execveat(2).
    Execveat = "execveat",
    /// A control group of our own.
    CgroupDelegation = "cgroup-delegation",
    /// `CLONE_INTO_CGROUP`.
    CloneIntoCgroup = "clone-into-cgroup",
    /// The memory controller.
    CgroupMemory = "cgroup-memory",
    /// The pids controller.
    CgroupPids = "cgroup-pids",
    /// The cpu controller.
    CgroupCpu = "cgroup-cpu",
    /// IPv6 on the sandbox's loopback.
    Ipv6 = "ipv6-loopback",
    /// Ports below 1024 bound without a capability.
    LowPorts = "low-ports",
    /// Every address made local, as --allow needs it.
    EgressRelay = "egress-relay",
    /// seccomp_unotify(2).
    SeccompNotify = "seccomp-notify",
    /// Descriptors put into the caller.
    SeccompAddFd = "seccomp-addfd",
    /// AF_VSOCK.
    Vsock = "vsock",
    /// veth(4).
    Veth = "veth",
    /// Bridges.
    Bridge = "bridge",
    /// nf_tables.
    Nftables = "nftables",
    /// Packets of IPv6 passed on for single links.
    ForwardIpv6 = "forward-ipv6",
    /// tc-tbf(8).
    LinkRate = "link-rate",
    /// tc-htb(8).
    LinkRateHtb = "link-rate-htb",
    /// tc-netem(8).
    LinkDelay = "link-delay",
    /// `/run/netns` can hold names.
    NamedNetns = "named-network-namespaces",
}

/// How a feature is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// By doing it in a child.
    Act(Act),
    /// By the way of [`super::report`], which has a line for it.
    Special,
}

/// One thing that the launcher needs of a kernel.
#[derive(Debug)]
#[non_exhaustive]
pub struct Feature {
    /// Its stable name.
    pub id: Id,
    /// Its words for people.
    pub title: &'static str,
    /// Where it is printed.
    pub group: Group,
    /// What is lost without it.
    pub need: Need,
    /// What the launcher needs it for.
    pub purpose: &'static str,
    /// The first kernel that has it, "major.minor".
    pub since: &'static str,
    /// Where to read on.
    pub man: &'static str,
    /// The layers of a sandbox that lean on it, in the words of the policy.
    pub layers: &'static [&'static str],
    /// How it is found out.
    pub(crate) probe: Probe,
}

use Group::{Extras, Isolation, Limits, Second};
use Need::{Note, Option as Optional, Required, Wall};
use Probe::Special;

const fn act(act: Act) -> Probe {
    Probe::Act(act)
}

/// Everything that the launcher needs of a kernel, in the order of the doctor's page.
#[rustfmt::skip]
pub static FEATURES: &[Feature] = &[
    Feature { id: Id::UserNamespace, title: "user namespace", group: Isolation, need: Required, purpose: "isolation without root, and for root without its powers", since: "3.8", man: "user_namespaces(7)", layers: &["userns"], probe: act(Act::UseCapability) },
    Feature { id: Id::NetworkNamespace, title: "network namespace", group: Isolation, need: Required, purpose: "the wall: a network of its own, empty but for lo", since: "3.0", man: "network_namespaces(7)", layers: &["net"], probe: act(Act::RaiseLoopback) },
    Feature { id: Id::PidNamespace, title: "pid namespace", group: Isolation, need: Required, purpose: "the host's processes out of reach; nothing outlives the launcher", since: "3.8", man: "pid_namespaces(7)", layers: &["pid", "proc"], probe: act(Act::BePidOne) },
    Feature { id: Id::MountNamespace, title: "mount namespace", group: Isolation, need: Required, purpose: "hiding the host's sockets and files", since: "3.8", man: "mount_namespaces(7)", layers: &["mount", "filesystem"], probe: act(Act::PrivateMounts) },
    Feature { id: Id::IpcNamespace, title: "ipc namespace", group: Isolation, need: Required, purpose: "the host's System V and POSIX queues out of reach", since: "3.8", man: "ipc_namespaces(7)", layers: &["ipc"], probe: act(Act::SharedMemory) },
    Feature { id: Id::UtsNamespace, title: "uts namespace", group: Isolation, need: Required, purpose: "a host name of its own", since: "3.8", man: "uts_namespaces(7)", layers: &["uts"], probe: act(Act::SetHostname) },
    Feature { id: Id::CgroupNamespace, title: "cgroup namespace", group: Isolation, need: Required, purpose: "the host's control groups out of sight", since: "4.6", man: "cgroup_namespaces(7)", layers: &["cgroup"], probe: act(Act::CgroupNamespace) },
    Feature { id: Id::Clone3, title: "clone3", group: Isolation, need: Required, purpose: "all namespaces in one call, with clean signal handlers", since: "5.5", man: "clone3(2)", layers: &["launch"], probe: Special },
    Feature { id: Id::Pidfd, title: "pidfd", group: Isolation, need: Required, purpose: "waiting for and ending exactly our child", since: "5.4", man: "pidfd_open(2)", layers: &["supervision"], probe: Special },
    Feature { id: Id::CloseRange, title: "close_range", group: Isolation, need: Required, purpose: "no descriptor gets in that was not named", since: "5.11", man: "close_range(2)", layers: &["descriptors"], probe: act(Act::CloseRange) },
    Feature { id: Id::FreshProc, title: "fresh /proc", group: Isolation, need: Required, purpose: "only the sandbox's own processes in /proc", since: "3.8", man: "proc(5)", layers: &["proc"], probe: act(Act::FreshProc) },
    Feature { id: Id::FreshSys, title: "fresh /sys", group: Isolation, need: Required, purpose: "only the sandbox's own interfaces in /sys/class/net", since: "3.8", man: "sysfs(5)", layers: &["sys"], probe: act(Act::FreshSys) },
    Feature { id: Id::Tmpfs, title: "tmpfs", group: Isolation, need: Required, purpose: "covering directories, a private /tmp", since: "3.8", man: "tmpfs(5)", layers: &["hide", "private-tmp", "dev"], probe: act(Act::Tmpfs) },
    Feature { id: Id::BindMount, title: "bind mounts", group: Isolation, need: Required, purpose: "covering files, the harmless nodes of /dev", since: "3.8", man: "mount(2)", layers: &["hide", "dev"], probe: act(Act::Bind) },
    Feature { id: Id::ReadOnlyMount, title: "read-only trees", group: Isolation, need: Required, purpose: "making a whole tree read-only in one call", since: "5.12", man: "mount_setattr(2)", layers: &["read-only", "proc", "sys"], probe: act(Act::ReadOnly) },
    Feature { id: Id::PrivateDevpts, title: "private devpts", group: Isolation, need: Required, purpose: "terminals of its own in a minimal /dev", since: "4.7", man: "pts(4)", layers: &["dev"], probe: act(Act::Devpts) },
    Feature { id: Id::SeccompFilter, title: "system-call filter", group: Second, need: Required, purpose: "refusing the calls and socket families that no namespace cuts", since: "3.17", man: "seccomp(2)", layers: &["seccomp"], probe: act(Act::Filter) },
    Feature { id: Id::SeccompNotify, title: "filter notifications", group: Second, need: Required, purpose: "a second wall before the host's Unix sockets: each connection decided", since: "5.0", man: "seccomp_unotify(2)", layers: &["unix-sockets", "egress"], probe: act(Act::Listener) },
    Feature { id: Id::Landlock, title: "Landlock", group: Second, need: Wall, purpose: "a second wall around files", since: "5.13", man: "landlock(7)", layers: &["landlock"], probe: Special },
    Feature { id: Id::LandlockScopes, title: "Landlock scopes", group: Second, need: Wall, purpose: "a second wall around signals and abstract sockets", since: "6.12", man: "landlock(7)", layers: &["landlock"], probe: act(Act::LandlockScopes) },
    Feature { id: Id::NestedUserNamespaces, title: "no nested user namespaces", group: Second, need: Wall, purpose: "a second wall against capabilities regained", since: "4.9", man: "namespaces(7)", layers: &["userns"], probe: act(Act::ForbidUserNamespaces) },
    Feature { id: Id::SessionKeyring, title: "session keyring", group: Second, need: Wall, purpose: "the caller's keys out of reach", since: "2.6", man: "session-keyring(7)", layers: &["keyring"], probe: act(Act::Keyring) },
    Feature { id: Id::SealedExec, title: "sealed executables", group: Second, need: Optional, purpose: "running an init that nothing on disk can change", since: "3.17", man: "memfd_create(2)", layers: &["init"], probe: act(Act::SealedExec) },
    Feature { id: Id::Execveat, title: "execveat", group: Second, need: Optional, purpose: "executing the very file that was checked", since: "3.19", man: "execveat(2)", layers: &["exec"], probe: act(Act::Execveat) },
    Feature { id: Id::CgroupDelegation, title: "control group of our own", group: Limits, need: Optional, purpose: "--cgroup", since: "4.5", man: "cgroups(7)", layers: &["cgroup-limits"], probe: Special },
    Feature { id: Id::CloneIntoCgroup, title: "clone into it", group: Limits, need: Optional, purpose: "--cgroup from the first instruction", since: "5.7", man: "clone3(2)", layers: &["cgroup-limits"], probe: Special },
    Feature { id: Id::CgroupMemory, title: "memory limit", group: Limits, need: Optional, purpose: "--cgroup memory=", since: "4.5", man: "cgroups(7)", layers: &["cgroup-limits"], probe: Special },
    Feature { id: Id::CgroupPids, title: "process limit", group: Limits, need: Optional, purpose: "--cgroup pids=", since: "4.5", man: "cgroups(7)", layers: &["cgroup-limits"], probe: Special },
    Feature { id: Id::CgroupCpu, title: "processor limit", group: Limits, need: Optional, purpose: "--cgroup cpu=", since: "4.15", man: "cgroups(7)", layers: &["cgroup-limits"], probe: Special },
    Feature { id: Id::Ipv6, title: "IPv6 loopback", group: Extras, need: Note, purpose: "::1 inside", since: "3.0", man: "ipv6(7)", layers: &["net"], probe: act(Act::Ipv6) },
    Feature { id: Id::LowPorts, title: "low ports", group: Extras, need: Note, purpose: "servers inside at ports below 1024", since: "4.11", man: "ip(7)", layers: &["net"], probe: act(Act::LowPorts) },
    Feature { id: Id::EgressRelay, title: "egress by relay", group: Extras, need: Optional, purpose: "--allow, --publish", since: "3.8", man: "rtnetlink(7)", layers: &["egress"], probe: act(Act::LocalRoutes) },
    Feature { id: Id::SeccompAddFd, title: "descriptors by notification", group: Extras, need: Optional, purpose: "--egress direct", since: "5.14", man: "seccomp_unotify(2)", layers: &["egress"], probe: act(Act::AddFd) },
    Feature { id: Id::Vsock, title: "AF_VSOCK", group: Extras, need: Note, purpose: "knowing that only the filter cuts it off", since: "3.9", man: "vsock(7)", layers: &["seccomp"], probe: Special },
    Feature { id: Id::Veth, title: "veth pairs", group: Extras, need: Optional, purpose: "labs", since: "3.0", man: "veth(4)", layers: &["lab"], probe: act(Act::Veth) },
    Feature { id: Id::Bridge, title: "bridges", group: Extras, need: Optional, purpose: "labs", since: "3.0", man: "ip-link(8)", layers: &["lab"], probe: act(Act::Bridge) },
    Feature { id: Id::Nftables, title: "nf_tables", group: Extras, need: Optional, purpose: "labs with a firewall", since: "3.13", man: "nft(8)", layers: &["lab"], probe: act(Act::Nftables) },
    Feature { id: Id::ForwardIpv6, title: "IPv6 by an uplink", group: Extras, need: Optional, purpose: "netns nat and uplinks of labs by IPv6 (IPv4 works without)", since: "6.17", man: "ipv6(7)", layers: &["lab"], probe: act(Act::ForceForwarding) },
    Feature { id: Id::LinkRate, title: "rates of links", group: Extras, need: Optional, purpose: "netns shape --rate, labs with a rate", since: "3.0", man: "tc-tbf(8)", layers: &["lab"], probe: act(Act::LinkRate) },
    Feature { id: Id::LinkRateHtb, title: "rates of links by htb", group: Extras, need: Optional, purpose: "netns shape --shaper htb, labs with that", since: "3.0", man: "tc-htb(8)", layers: &["lab"], probe: act(Act::LinkRateHtb) },
    Feature { id: Id::LinkDelay, title: "delay and loss", group: Extras, need: Optional, purpose: "netns shape --delay and --loss, labs with them", since: "3.0", man: "tc-netem(8)", layers: &["lab"], probe: act(Act::LinkDelay) },
    Feature { id: Id::NamedNetns, title: "named network namespaces", group: Extras, need: Optional, purpose: "sandbox netns, ip netns", since: "3.8", man: "ip-netns(8)", layers: &["netns"], probe: Special },
];

/// The table's row of `id`.
#[must_use]
pub fn feature(id: Id) -> &'static Feature {
    FEATURES
        .iter()
        .find(|feature| feature.id == id)
        .expect("FEATURES has a row for every Id")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_feature_stands_once_and_is_complete() {
        let names: BTreeSet<_> = FEATURES.iter().map(|feature| feature.id.name()).collect();
        assert_eq!(names.len(), FEATURES.len());
        // NamedNetns is the last variant; so the table has a row for every one.
        assert_eq!(Id::NamedNetns as usize + 1, FEATURES.len());
        for feature in FEATURES {
            let version: Vec<_> = feature.since.split('.').map(str::parse::<u32>).collect();
            assert!(matches!(version[..], [Ok(_), Ok(_)]), "{feature:?}");
            assert!(feature.man.ends_with(')'), "{feature:?}");
            assert!(!feature.layers.is_empty(), "{feature:?}");
        }
    }
}
