//! One launch, decided: from a policy, a request and the host to one immutable value.
//!
//! Runs in the launcher before anything is changed. It reads (paths, `/etc/passwd`, what the kernel
//! says of itself) and never writes; whatever can be known to fail, fails here. `--dry-run` prints the
//! result ([`crate::dry_run`]).
//!
//! Here are the values and the order of the decisions; each part of them has a file.
#![forbid(unsafe_code)]

mod confinement;
mod identity;
mod mounts;
mod program;
mod sockets;
mod ways_out;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use serde::Serialize;

use self::confinement::{decide_landlock, decide_policing, filter_context};
use self::identity::{
    decide_account, decide_id_maps, decide_network_owner, decide_user_namespace, last_capability,
    own_identity,
};
pub(crate) use self::mounts::mounts;
use self::mounts::with_files;
use self::program::{environment, find_program, substitute};
use self::ways_out::{decide_egress, decide_low_ports};
use crate::descriptor::Kind;
use crate::dumps;
use crate::egress::notify::Policing;
use crate::egress::sets;
use crate::egress::setup::Setup;
use crate::error::{Error, Result};
use crate::filter::{self, Program};
use crate::learn::Learning;
use crate::mounts::Mount;
use crate::nproc;
use crate::owner::NetworkOwner;
use crate::policy::{Cgroup, Egress, Limit, Namespaces, Network, Policy, Seccomp, UnixSockets};
use crate::prepare::Identity;
use crate::probe::Support;
use crate::request::Placed;

/// How ids inside the user namespace are those outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdMaps {
    /// There is no user namespace.
    None,
    /// One user and one group, written by the child itself.
    Own {
        /// The user, the same inside and outside.
        uid: u32,
        /// The group.
        gid: u32,
    },
    /// Every id that the launcher's own namespace has, written by the launcher (root).
    All,
}

/// Whether the command can bind ports below 1024, for which a network wants a capability at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LowPorts {
    /// As the network has it: it is not the sandbox's own, or has no `lo`.
    Closed,
    /// It can, unless `/proc/sys` is closed to the launcher.
    Tried,
    /// It can, or the launch fails: something that was asked for is of no use otherwise.
    Needed,
}

/// A descriptor that the command gets, opened already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handed {
    /// Its name in `LISTEN_FDNAMES` and `{fd:NAME}`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What the launcher knows when it plans: the command, and what is around it.
#[derive(Clone, Debug)]
pub struct Situation {
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// The caller's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The caller's working directory.
    pub directory: PathBuf,
    /// Descriptors from 3 up, in order.
    pub descriptors: Vec<Handed>,
    /// What 0, 1 and 2 are.
    pub standard: [Kind; 3],
    /// The host.
    pub support: Support,
    /// What is put in place inside.
    pub files: Vec<Placed>,
    /// Whether it is learned what the command reaches.
    pub learning: Option<Learning>,
}

/// Everything that one launch does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The policy's name.
    pub policy: String,
    /// The network.
    pub network: Network,
    /// Whether the network is a namespace of the sandbox's own.
    pub network_namespace: bool,
    /// Whether there is a user namespace.
    pub user_namespace: bool,
    /// Whether the user namespace that owns the network to join is joined first.
    pub network_owner: NetworkOwner,
    /// The other namespaces.
    pub namespaces: Namespaces,
    /// How ids are mapped.
    pub id_maps: IdMaps,
    /// Bring `lo` up.
    pub loopback_up: bool,
    /// Let every port be bound.
    pub low_ports: LowPorts,
    /// How allowed destinations are reached; `None` where nothing is allowed.
    pub(crate) egress: Option<Setup>,
    /// The policy's words for it.
    pub ways_out: Egress,
    /// No user namespaces below this one.
    pub forbids_user_namespaces: bool,
    /// Changes to the file system's view, in order.
    pub mounts: Vec<Mount>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// A session keyring of its own.
    pub new_keyring: bool,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// Control-group limits.
    pub cgroup: Cgroup,
    /// Descriptors from 3 up.
    pub descriptors: Vec<Handed>,
    /// A new session.
    pub new_session: bool,
    /// Working directory.
    pub directory: PathBuf,
    /// User and groups, where they are set.
    pub identity: Option<Identity>,
    /// Capabilities kept.
    pub capabilities: Vec<u8>,
    /// Capabilities taken out of the bounding set.
    pub bounding_drop: Vec<u8>,
    /// Landlock scopes for signals and abstract sockets.
    pub landlock_scopes: bool,
    /// Our init is pid 1.
    pub init: bool,
    /// The filter's profile.
    pub profile: Option<String>,
    /// What lies under it, and of what the supervisor is told.
    pub(crate) policing: Option<Policing>,
    /// Which Unix sockets may be connected to.
    pub unix_sockets: UnixSockets,
    /// The filter itself.
    pub filter: Option<Program>,
    /// The program, absolute.
    pub program: PathBuf,
    /// Its arguments, its name first.
    pub argv: Vec<OsString>,
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// `LISTEN_PID` is ours to fill in.
    pub sets_listen_pid: bool,
    /// Ends it after this long.
    pub timeout: Option<Duration>,
    /// From SIGTERM to SIGKILL.
    pub kill_after: Duration,
    /// What `--best-effort` gave up.
    pub losses: Vec<String>,
}

impl Plan {
    /// Whether the network namespace is made after the clone: by the first process, while the
    /// command's process mounts (`docs/decisions/0002-network-beside-mounts.md`).
    #[must_use]
    pub fn unshares_network(&self) -> bool {
        self.network_namespace && self.init
    }

    /// The namespaces that the clone makes, as `CLONE_NEW*` flags.
    #[must_use]
    pub fn clone_flags(&self) -> u64 {
        let flag = |wanted: bool, flag: i32| {
            if wanted {
                u64::from(flag.unsigned_abs())
            } else {
                0
            }
        };
        flag(self.user_namespace, libc::CLONE_NEWUSER)
            | flag(
                self.network_namespace && !self.unshares_network(),
                libc::CLONE_NEWNET,
            )
            | flag(self.namespaces.pid, libc::CLONE_NEWPID)
            | flag(self.namespaces.mount, libc::CLONE_NEWNS)
            | flag(self.namespaces.ipc, libc::CLONE_NEWIPC)
            | flag(self.namespaces.uts, libc::CLONE_NEWUTS)
            | flag(self.namespaces.cgroup, libc::CLONE_NEWCGROUP)
    }
}

/// Decide everything.
///
/// # Errors
/// When the policy asks for what this host, this user or this command line cannot give.
pub fn plan(policy: &Policy, situation: &Situation) -> Result<Plan> {
    let support = &situation.support;
    let process = &policy.process;
    let network_owner = decide_network_owner(policy);
    let user_namespace = decide_user_namespace(policy, network_owner, support)?;
    let id_maps = decide_id_maps(user_namespace, support);
    let landlock_scopes = decide_landlock(policy, support)?;
    let init = policy.namespaces.pid && !process.as_pid_1;
    let directory = match &process.chdir {
        Some(directory) => situation.directory.join(directory),
        None => situation.directory.clone(),
    };
    let account = decide_account(policy, id_maps, network_owner)?;
    nproc::check(policy)?;
    let (environment, sets_listen_pid) = environment(policy, situation, account.as_ref());
    let argv: Vec<OsString> = situation
        .command
        .iter()
        .map(|word| substitute(word, &situation.descriptors))
        .collect();
    let program = find_program(&argv, &environment, &directory)?;
    let (profile, filter, beyond) = match &process.seccomp {
        Seccomp::Off => (None, None, None),
        Seccomp::Profile(name) => {
            let context = filter_context(policy, situation, init, landlock_scopes);
            let (filter, beyond) = match situation.learning {
                None => (filter::program(name, &context)?, None),
                Some(_) => {
                    let (program, beyond) = filter::beyond(name, &context)?;
                    (program, Some(beyond))
                }
            };
            (Some(name.clone()), Some(filter), beyond)
        }
    };
    let rules = sets::rules(&policy.egress)?.learning(situation.learning);
    sets::all_held(&policy.egress.budgets, &rules)?;
    let mounts = with_files(&situation.files, policy, mounts(policy, support, &rules)?)?;
    let policing = match &filter {
        Some(filter) => decide_policing(policy, filter, beyond, &mounts, &rules)?,
        None => None,
    };
    if situation.learning.is_some() && !policing.as_ref().is_some_and(Policing::tells) {
        return Err(Error::usage("learn", UNSEEN));
    }
    Ok(Plan {
        policing,
        unix_sockets: match policy.network {
            Network::Host => UnixSockets::Any,
            _ => policy.unix_sockets,
        },
        policy: policy.name.clone(),
        network: policy.network.clone(),
        network_namespace: matches!(
            policy.network,
            Network::Loopback | Network::None | Network::Fds
        ),
        user_namespace,
        network_owner,
        namespaces: policy.namespaces,
        id_maps,
        loopback_up: policy.network == Network::Loopback,
        low_ports: decide_low_ports(policy, user_namespace, &rules),
        egress: decide_egress(policy, user_namespace, rules)?,
        ways_out: policy.egress.clone(),
        forbids_user_namespaces: user_namespace,
        mounts,
        hostname: process.hostname.clone(),
        new_keyring: true,
        limits: dumps::reachable(policy.limits.clone()),
        cgroup: policy.cgroup,
        descriptors: situation.descriptors.clone(),
        new_session: process.new_session,
        directory,
        identity: account
            .map(|account| Identity {
                uid: account.uid,
                gid: account.gid,
                groups: Vec::new(),
            })
            .or_else(|| own_identity(id_maps, network_owner, support)),
        bounding_drop: (0..=last_capability())
            .filter(|bit| !process.cap_add.contains(bit))
            .collect(),
        capabilities: process.cap_add.clone(),
        landlock_scopes,
        init,
        profile,
        filter,
        program,
        argv,
        environment,
        sets_listen_pid,
        timeout: process.timeout,
        kill_after: process.kill_after,
        losses: Vec::new(),
    })
}

/// Why nothing can be learned.
const UNSEEN: &str = "this launch's connections cannot be seen: leave out --seccomp off, passed sockets, and every --net but loopback";

/// The caller's working directory.
///
/// # Errors
/// When there is none any more.
pub(crate) fn working_directory() -> Result<PathBuf> {
    std::env::current_dir().map_err(|error| {
        let hint = "it was removed, or is closed to this user: change to another one first";
        Error::host("find", "the working directory", errno_of(&error))
            .with_hint(Some(hint.to_owned()))
    })
}

/// The errno of an I/O error of the standard library.
pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
