//! `--best-effort`: the policy without what this host cannot give, and what was lost.
//!
//! The only place where a protection that was asked for is given up, and only on request.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use tracing::warn;

use crate::nproc;
use crate::policy::{Network, Policy, Strictness, UnixSockets, UserNamespace, View};
use crate::probe::{CAP_SYS_ADMIN, Id, Report, Status, Support};

pub(crate) fn to_what_can_be_had(policy: &Policy) -> Lowered<'_> {
    let mut lowered = Lowered {
        policy: Cow::Borrowed(policy),
        losses: Vec::new(),
        network_namespace: true,
        forbids_user_namespaces: true,
    };
    if policy.strictness != Strictness::BestEffort {
        return lowered;
    }
    lower(
        &mut lowered,
        &Support::thorough(),
        Support::quick().has(CAP_SYS_ADMIN),
    );
    without_void_limit(&mut lowered);
    for loss in &lowered.losses {
        warn!(lost = loss, "less protection than the policy asks for");
    }
    lowered
}

/// What is left of a policy.
#[derive(Debug)]
pub(crate) struct Lowered<'a> {
    /// Unchanged unless it accepts less.
    pub(crate) policy: Cow<'a, Policy>,
    /// What was given up, each with its reason.
    pub(crate) losses: Vec<String>,
    /// Whether a network namespace can be had.
    pub(crate) network_namespace: bool,
    /// Whether user namespaces inside can be forbidden.
    pub(crate) forbids_user_namespaces: bool,
}

impl Lowered<'_> {
    /// The same, of a copy of the policy.
    pub(crate) fn into_owned(self) -> Lowered<'static> {
        Lowered {
            policy: Cow::Owned(self.policy.into_owned()),
            losses: self.losses,
            network_namespace: self.network_namespace,
            forbids_user_namespaces: self.forbids_user_namespaces,
        }
    }
}

fn lower(lowered: &mut Lowered<'_>, report: &Report, privileged: bool) {
    let Lowered {
        policy,
        losses,
        network_namespace,
        forbids_user_namespaces,
    } = lowered;
    let policy = policy.to_mut();
    let mut lacks = |id: Id, consequence: &str| {
        let finding = report.finding(id);
        let missing = finding.is_none_or(|finding| finding.status != Status::Works);
        if missing {
            let reason = finding.map_or("unknown", |finding| finding.detail.as_str());
            losses.push(format!("{}: {reason}; {consequence}", id.name()));
        }
        missing
    };
    if policy.user_namespace != UserNamespace::No
        && lacks(Id::UserNamespace, "no namespaces for an ordinary user")
    {
        policy.user_namespace = UserNamespace::No;
        if !privileged {
            // Nothing can be unshared: the filter, no_new_privs and Landlock are what is left.
            *network_namespace = false;
            without_namespaces(policy);
            without_egress(policy, losses);
            return;
        }
    }
    *forbids_user_namespaces = policy.user_namespace == UserNamespace::No
        || !lacks(
            Id::NestedUserNamespaces,
            "user namespaces inside are the filter's alone to refuse",
        );
    let own_network = matches!(
        policy.network,
        Network::Loopback | Network::None | Network::Fds
    );
    if own_network
        && lacks(
            Id::NetworkNamespace,
            "the filter refuses every socket instead",
        )
    {
        policy.network = Network::Fds;
        *network_namespace = false;
    }
    let own = &mut policy.namespaces;
    own.pid = own.pid && !lacks(Id::PidNamespace, "processes of the host can be seen");
    own.mount = own.mount && !lacks(Id::MountNamespace, "files and sockets are not hidden");
    own.ipc = own.ipc && !lacks(Id::IpcNamespace, "System V objects are the host's");
    own.uts = own.uts && !lacks(Id::UtsNamespace, "the host name is the host's");
    own.cgroup = own.cgroup && !lacks(Id::CgroupNamespace, "control groups can be seen");
    let files = &mut policy.filesystem;
    if files.proc == View::Own && lacks(Id::FreshProc, "/proc is the host's") {
        files.proc = View::Host;
    }
    if files.sys == View::Own && lacks(Id::FreshSys, "/sys is the host's") {
        files.sys = View::Host;
    }
    if files.dev == View::Own && lacks(Id::PrivateDevpts, "/dev is the host's") {
        files.dev = View::Host;
    }
    if policy.unix_sockets != UnixSockets::Any
        && lacks(
            Id::SeccompNotify,
            "Unix sockets of the host are hidden by mounts alone",
        )
    {
        policy.unix_sockets = UnixSockets::Any;
    }
    if !policy.namespaces.pid {
        policy.filesystem.proc = View::Host;
    }
    if !policy.namespaces.mount {
        without_mounts(policy);
    }
    if policy.network != Network::Loopback {
        without_egress(policy, losses);
    }
}

fn without_void_limit(lowered: &mut Lowered<'_>) {
    let Some(void) = nproc::void(&lowered.policy).map(|limit| limit.resource) else {
        return;
    };
    let policy = lowered.policy.to_mut();
    policy.limits.retain(|limit| limit.resource != void);
    lowered.losses.push(format!(
        "limits.nproc: {}; its processes are not counted",
        nproc::REASON
    ));
}

fn without_egress(policy: &mut Policy, losses: &mut Vec<String>) {
    if !std::mem::take(&mut policy.egress).is_empty() {
        let lost = "egress: needs a network namespace; nothing is reached, in or out";
        losses.push(lost.to_owned());
    }
}

fn without_namespaces(policy: &mut Policy) {
    policy.network = Network::Fds;
    let own = &mut policy.namespaces;
    (own.pid, own.mount, own.ipc, own.uts, own.cgroup) = (false, false, false, false, false);
    policy.process.hostname = None;
    without_mounts(policy);
}

fn without_mounts(policy: &mut Policy) {
    let files = &mut policy.filesystem;
    (files.proc, files.sys, files.dev) = (View::Host, View::Host, View::Host);
    files.private_tmp = false;
    files.hide_sockets = false;
    files.hide.clear();
    files.read_only.clear();
    files.read_write.clear();
}
