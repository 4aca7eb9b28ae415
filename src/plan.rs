//! One launch, decided: from a policy, a request and the host to one immutable value.
//!
//! Runs in the launcher before anything is changed. It reads (paths, `/etc/passwd`, what the kernel
//! says of itself) and never writes; whatever can be known to fail, fails here. `--dry-run` prints the
//! result ([`crate::dry_run`]).
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::IsTerminal;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, Gid, Uid, access, getegid, geteuid};
use serde::Serialize;

use crate::account;
use crate::descriptor::Kind;
use crate::dumps;
use crate::egress::destination::Protocol;
use crate::egress::notify::Policing;
use crate::egress::rules::Rules;
use crate::egress::setup::{Place, Setup};
use crate::egress::{asking, sets};
use crate::error::{self, Error, Result};
use crate::filter::{self, Arch, Beyond, Context, Program};
use crate::learn::Learning;
use crate::mounts::{DEVICE_NODES, Mount};
use crate::owner::{self, NetworkOwner};
use crate::pinned;
use crate::policy::merge;
use crate::policy::{
    Carrier, Cgroup, Egress, Limit, Namespaces, Network, Policy, Seccomp, Strictness, UnixSockets,
    UserNamespace, View,
};
use crate::prepare::Identity;
use crate::probe::{CAP_SYS_ADMIN, Support};
use crate::proc_file;
use crate::request::Placed;
use crate::sys::child::Family;

/// CAP_SETGID, CAP_SETUID (capabilities(7)).
const CAP_SETGID: u8 = 6;
const CAP_SETUID: u8 = 7;
/// The first Landlock ABI with scopes for signals and abstract sockets: Linux 6.12.
const LANDLOCK_SCOPES: u32 = 6;
/// Below this, binding needs CAP_NET_BIND_SERVICE (ip(7), `ip_unprivileged_port_start`).
const FIRST_OPEN_PORT: u16 = 1024;
/// Where commands are looked up if the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

/// What has to lie under `filter`, so that the Unix sockets that may not be reached are not. With the
/// host's network its abstract names are open as well, and with a passed socket nothing can be connected.
fn decide_policing(
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

/// What has to be set up for the destinations that are allowed.
fn decide_egress(policy: &Policy, user_namespace: bool, rules: Rules) -> Result<Option<Setup>> {
    let egress = &policy.egress;
    // What the library was told, no merging has seen.
    if let Some(error) = merge::undecided(&policy.network, &egress.into()) {
        return Err(error);
    }
    if egress.is_empty() && rules.learns().is_none() {
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
        let closed = Setup::closed().with_published(&egress.publish, &families)?;
        return Ok((!closed.published.is_empty()).then_some(closed));
    }
    if !user_namespace && rules.learns() == Some(Learning::Permitting) {
        return Err(Error::usage(
            "learn",
            "needs a user namespace, because it meets names and ports only later; leave out --userns no",
        ));
    }
    let low = |port: u16| port < FIRST_OPEN_PORT;
    if !user_namespace && rules.ports_below(Protocol::Tcp).iter().any(low) {
        return Err(Error::usage(
            "egress.allow",
            format!(
                "names that are not known beforehand (*.HOST), with ports below {FIRST_OPEN_PORT}, need a user namespace"
            ),
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

/// Who has made the user namespace that owns the network has every capability over both from outside,
/// even without one to its name (user_namespaces(7)): so root's command has to be inside, as well as
/// an ordinary user's, who may not join the network otherwise.
fn decide_network_owner(policy: &Policy) -> NetworkOwner {
    match (&policy.network, policy.user_namespace) {
        (Network::Namespace(path), UserNamespace::Auto | UserNamespace::No) => owner::to_join(path),
        _ => NetworkOwner::NotJoined,
    }
}

fn decide_user_namespace(
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

fn decide_id_maps(user_namespace: bool, support: &Support) -> IdMaps {
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

fn decide_landlock(policy: &Policy, support: &Support) -> Result<bool> {
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

/// Where `--user` or `--group` asks for other ids: they are root's to give.
fn decide_account(
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
fn own_identity(
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

fn filter_context(
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

/// The highest capability that this kernel knows.
fn last_capability() -> u8 {
    proc_file::read_text("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        // Every kernel that can do the rest has these.
        .unwrap_or(40)
}

fn environment(
    policy: &Policy,
    situation: &Situation,
    account: Option<&account::Account>,
) -> (Vec<(OsString, OsString)>, bool) {
    let mut variables = policy
        .environment
        .apply(situation.environment.iter().cloned());
    let mut set = |name: &str, value: OsString| {
        variables.retain(|(known, _)| known != name);
        variables.push((name.into(), value));
    };
    if let Some(account) = account {
        let explicit = &policy.environment.set;
        for (name, value) in [
            ("HOME", account.home.as_os_str()),
            ("USER", OsStr::new(&account.name)),
            ("LOGNAME", OsStr::new(&account.name)),
        ] {
            if !explicit.contains_key(OsStr::new(name)) && !value.is_empty() {
                set(name, value.into());
            }
        }
    }
    if let Some(port) = policy.egress.proxy_env {
        let explicit = &policy.environment.set;
        let http = format!("http://127.0.0.1:{port}");
        // "h": the proxy resolves the names.
        let socks = format!("socks5h://127.0.0.1:{port}");
        for (name, value) in [
            ("HTTP_PROXY", http.as_str()),
            ("HTTPS_PROXY", &http),
            ("ALL_PROXY", &socks),
            ("NO_PROXY", "localhost,127.0.0.1,::1"),
        ] {
            for name in [name.to_owned(), name.to_ascii_lowercase()] {
                if !explicit.contains_key(OsStr::new(&name)) {
                    set(&name, value.into());
                }
            }
        }
    }
    let descriptors = &situation.descriptors;
    if !descriptors.is_empty() {
        let names: Vec<_> = descriptors
            .iter()
            .map(|handed| handed.name.as_str())
            .collect();
        set("LISTEN_FDS", descriptors.len().to_string().into());
        set("LISTEN_FDNAMES", names.join(":").into());
        // Room for digits, which are the child's to fill in: only it knows its pid as the command
        // sees it.
        set("LISTEN_PID", "0000000000".into());
    }
    for (_, value) in &mut variables {
        *value = substitute(value, descriptors);
    }
    (variables, !descriptors.is_empty())
}

/// `{fd:NAME}` becomes the number of the descriptor of that name.
fn substitute(word: &OsStr, descriptors: &[Handed]) -> OsString {
    let mut bytes = word.as_bytes().to_vec();
    if descriptors.is_empty() || !bytes.windows(4).any(|window| window == b"{fd:") {
        return word.to_owned();
    }
    for (number, handed) in (3..).zip(descriptors) {
        let pattern = format!("{{fd:{}}}", handed.name).into_bytes();
        let number: String = format!("{number}");
        while let Some(at) = bytes
            .windows(pattern.len())
            .position(|window| window == pattern)
        {
            bytes.splice(at..at + pattern.len(), number.bytes());
        }
    }
    OsString::from_vec(bytes)
}

/// The program that execve(2) is given, looked up as the command's own PATH says.
fn find_program(
    argv: &[OsString],
    environment: &[(OsString, OsString)],
    directory: &Path,
) -> Result<PathBuf> {
    let Some(word) = argv.first().filter(|word| !word.is_empty()) else {
        return Err(Error::usage(
            "COMMAND",
            "an empty word names no program; say what to run, as in 'sandbox -- make'",
        ));
    };
    if word.as_bytes().contains(&b'/') {
        // Without the "./" the path reads better in messages.
        let path = match word.as_bytes().strip_prefix(b"./") {
            Some(rest @ [first, ..]) if *first != b'/' => directory.join(OsStr::from_bytes(rest)),
            _ => directory.join(word),
        };
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {
                let hint = fs::read_link(&path)
                    .map(|to| format!("it is a link to {}, which is not there", to.display()));
                Err(not_found(word, hint.ok()))
            }
            Err(errno) => Err(not_executable(&path, errno)),
        };
    }
    let path = environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value);
    let mut refused = None;
    for folder in std::env::split_paths(path) {
        let candidate = directory.join(folder).join(word);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            // A folder that is closed to us says nothing about what is in it.
            Err(_) if fs::metadata(&candidate).is_err() => {}
            Err(errno) => refused = refused.or(Some((candidate, errno))),
        }
    }
    Err(match refused {
        Some((candidate, errno)) => not_executable(&candidate, errno),
        None => {
            let here = directory.join(word);
            let hint = here.is_file().then(|| {
                let word = word.to_string_lossy();
                format!(
                    "a file of this name is in {}; 'sandbox -- ./{word}'",
                    directory.display()
                )
            });
            not_found(word, hint)
        }
    })
}

fn not_found(word: &OsStr, hint: Option<String>) -> Error {
    Error::NotFound {
        command: word.to_string_lossy().into_owned(),
        hint,
    }
}

fn executable(path: &Path) -> std::result::Result<(), Errno> {
    let found = fs::metadata(path).map_err(|error| errno_of(&error))?;
    if found.is_dir() {
        return Err(Errno::EISDIR);
    }
    // access(2) lets root execute only what has an execute bit, as execve does.
    access(path, AccessFlags::X_OK)
}

fn not_executable(path: &Path, errno: Errno) -> Error {
    let hint = (errno == Errno::EACCES).then(|| match fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            let path = path.display();
            format!("it has no execute permission; 'chmod +x {path}'")
        }
        Ok(_) => "this user may not execute it, or its file system is mounted noexec".to_owned(),
        Err(_) => "a directory on the way to it is closed to this user".to_owned(),
    });
    Error::NotExecutable {
        command: path.display().to_string(),
        errno,
        hint,
    }
}

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

/// Parts of `/proc`, fresh or the host's, through which root, even without a capability, could change
/// or read the host: procfs goes by user id there.
const PROC_READ_ONLY: &[&str] = &["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi"];
const PROC_MASKED: &[&str] = &[
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "timer_list",
    "sched_debug",
    "latency_stats",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "vmallocinfo",
];

/// `files` first, so that whatever covers a path covers these too.
fn with_files(files: &[Placed], policy: &Policy, mounts: Vec<Mount>) -> Result<Vec<Mount>> {
    if !files.is_empty() && !policy.namespaces.mount {
        return Err(Error::usage(
            "--share mount",
            "files are put in place of others here, which needs a mount namespace of the sandbox's own",
        ));
    }
    let files = files.iter().cloned().map(|placed| match placed {
        Placed::Over { source, path } => Mount::File { source, path },
        Placed::Into { layer, directory } => Mount::Overlay { layer, directory },
    });
    Ok(files.chain(mounts).collect())
}

/// The mounts as the host is now: which paths are there, which sockets are listed.
///
/// # Errors
/// When a path that the policy names is not there.
pub(crate) fn mounts(policy: &Policy, support: &Support, rules: &Rules) -> Result<Vec<Mount>> {
    if !policy.namespaces.mount {
        return Ok(Vec::new());
    }
    let filesystem = &policy.filesystem;
    let optional: BTreeSet<&Path> = filesystem.optional.iter().map(PathBuf::as_path).collect();
    let resolve = |option: &str, paths: &[PathBuf]| -> Result<Vec<PathBuf>> {
        let mut resolved = Vec::new();
        for path in paths {
            // Most of what a shipped profile hides is on few hosts: one look instead of one for each
            // component.
            if optional.contains(path.as_path()) && fs::symlink_metadata(path).is_err() {
                continue;
            }
            match fs::canonicalize(path) {
                Ok(path) => resolved.push(path),
                Err(_) if optional.contains(path.as_path()) => {}
                Err(error) => {
                    let what = format!("{option} {}", path.display());
                    let reason = match errno_of(&error) {
                        Errno::ENOENT => {
                            "there is no such path; leave it out, or create it first".to_owned()
                        }
                        errno => error::reason(errno),
                    };
                    return Err(Error::usage(what, reason));
                }
            }
        }
        resolved.sort();
        resolved.dedup();
        Ok(resolved)
    };
    let let_through = sockets_let_through(rules)?;
    let mut mounts = Vec::new();
    let mut read_only = resolve("--read-only", &filesystem.read_only)?;
    // The kernel lets uid 0 write there without any capability; others may own a control group.
    if filesystem.sys == View::Host && Path::new("/sys").exists() {
        read_only.push(PathBuf::from("/sys"));
    }
    if !read_only.iter().any(|path| path == Path::new("/")) {
        mounts.extend(pinned::on_the_ways_to(&filesystem.read_only).map(Mount::Pinned));
    }
    mounts.extend(read_only.into_iter().map(Mount::ReadOnly));
    let read_write = resolve("--read-write", &filesystem.read_write)?;
    mounts.extend(read_write.into_iter().map(Mount::ReadWrite));
    if filesystem.proc == View::Own {
        mounts.push(Mount::Proc);
    }
    mounts.extend(proc_protection(support));
    if filesystem.dev == View::Own {
        mounts.push(Mount::Dev {
            nodes: DEVICE_NODES.to_vec(),
            console: terminal(),
        });
    }
    let mut covered = Vec::new();
    if filesystem.private_tmp {
        for folder in ["/tmp", "/var/tmp"] {
            if let Ok(folder) = fs::canonicalize(folder) {
                covered.push(folder);
            }
        }
        covered.dedup();
        mounts.extend(covered.iter().cloned().map(Mount::PrivateTmp));
    }
    // As late as can be: it needs the network namespace, which is made meanwhile.
    if filesystem.sys == View::Own {
        // The /sys in sight may be the joined network's own, and the same is not mounted on itself.
        let joins = matches!(policy.network, Network::Namespace(_));
        if joins {
            mounts.push(Mount::HideDirectory(PathBuf::from("/sys")));
        }
        // From a user namespace of its own a network that another one made has none to show: it stays empty.
        if !(joins && policy.user_namespace == UserNamespace::Yes) {
            mounts.push(Mount::Sys);
        }
    }
    let hide = resolve("--hide", &filesystem.hide)?;
    let named: BTreeSet<PathBuf> = hide.iter().cloned().collect();
    for path in hide {
        if covered.iter().any(|above| path.starts_with(above)) {
            continue;
        }
        if path.is_dir() {
            covered.push(path.clone());
            mounts.push(Mount::HideDirectory(path));
        } else {
            mounts.push(Mount::HideFile(path));
        }
    }
    if filesystem.hide_sockets {
        let replaced = [(filesystem.dev, "/dev"), (filesystem.sys, "/sys")];
        let replaced = replaced.into_iter().filter(|(view, _)| *view == View::Own);
        covered.extend(replaced.map(|(_, folder)| PathBuf::from(folder)));
        let gone = |path: &PathBuf| covered.iter().any(|above| path.starts_with(above));
        let sockets = host_sockets().into_iter();
        let allowed = |path: &PathBuf| let_through.iter().any(|one| one.socket == *path);
        let sockets = sockets.filter(|path| !gone(path) && !named.contains(path) && !allowed(path));
        mounts.extend(sockets.map(Mount::HideSocket));
    }
    show_sockets(let_through, &mut mounts)?;
    Ok(mounts)
}

/// A Unix socket of the host that is allowed by its path.
struct LetThrough {
    /// The rule's path, without links but for its last part.
    path: PathBuf,
    /// What it leads to.
    socket: PathBuf,
}

/// The Unix sockets that the rules allow.
fn sockets_let_through(rules: &Rules) -> Result<Vec<LetThrough>> {
    let mut sockets = Vec::new();
    for path in rules.unix_sockets() {
        let refuse =
            |reason: &str| Error::usage(format!("--allow unix:{}", path.display()), reason);
        let found =
            fs::canonicalize(path).map_err(|error| refuse(&error::reason(errno_of(&error))))?;
        if !fs::metadata(&found).is_ok_and(|found| found.file_type().is_socket()) {
            return Err(refuse("this is no Unix socket"));
        }
        let place = path.parent().zip(path.file_name());
        let (parent, name) = place.ok_or_else(|| refuse("this is no Unix socket"))?;
        let parent =
            fs::canonicalize(parent).map_err(|error| refuse(&error::reason(errno_of(&error))))?;
        sockets.push(LetThrough {
            path: parent.join(name),
            socket: found,
        });
    }
    Ok(sockets)
}

/// Take the allowed sockets that `mounts` cover before it does, and put them back after.
fn show_sockets(sockets: Vec<LetThrough>, mounts: &mut Vec<Mount>) -> Result<()> {
    let mut kept = Vec::new();
    let mut shown = Vec::new();
    let mut made: BTreeSet<PathBuf> = BTreeSet::new();
    for LetThrough { path, socket } in sockets {
        let refuse =
            |reason: &str| Error::usage(format!("--allow unix:{}", path.display()), reason);
        let mut above = None;
        for mount in mounts.iter() {
            match mount {
                Mount::HideDirectory(cover) | Mount::PrivateTmp(cover)
                    if path.starts_with(cover) =>
                {
                    above = Some(cover.clone());
                }
                Mount::HideFile(hidden) if *hidden == path || *hidden == socket => {
                    return Err(refuse(
                        "--hide, or hide of the policy, names this very socket",
                    ));
                }
                Mount::Dev { .. } if path.starts_with("/dev") => {
                    return Err(refuse(
                        "it is not in a /dev of its own; that needs --dev host",
                    ));
                }
                _ => {}
            }
        }
        let Some(cover) = above else {
            continue;
        };
        if kept.len() == crate::mounts::MOST_KEPT {
            return Err(refuse("too many sockets below hidden directories"));
        }
        let mut directories: Vec<PathBuf> = path
            .ancestors()
            .skip(1)
            .take_while(|folder| **folder != *cover)
            .filter(|folder| made.insert(folder.to_path_buf()))
            .map(Path::to_path_buf)
            .collect();
        directories.reverse();
        shown.push(Mount::ShowSocket {
            path,
            kept: kept.len(),
            directories,
        });
        kept.push(Mount::KeepSocket(socket));
    }
    mounts.splice(0..0, kept);
    mounts.extend(shown);
    Ok(())
}

/// An ordinary user is kept out of most of these by their modes; `/proc/sys` is closed to all. Which
/// of them a kernel has, the child finds out for nothing.
fn proc_protection(support: &Support) -> Vec<Mount> {
    let path = |name: &&str| Path::new("/proc").join(name);
    if !support.root {
        return vec![Mount::ProcReadOnly(PathBuf::from("/proc/sys"))];
    }
    let read_only = PROC_READ_ONLY.iter().map(path).map(Mount::ProcReadOnly);
    let masked = PROC_MASKED.iter().map(path).map(Mount::ProcMask);
    read_only.chain(masked).collect()
}

/// The terminal that the caller has on 0, 1 or 2, so that ttyname(3) finds it in the new `/dev`.
fn terminal() -> Option<PathBuf> {
    let found = if std::io::stdin().is_terminal() {
        0
    } else if std::io::stdout().is_terminal() {
        1
    } else if std::io::stderr().is_terminal() {
        2
    } else {
        return None;
    };
    let path = fs::read_link(format!("/proc/self/fd/{found}")).ok()?;
    fs::metadata(&path)
        .is_ok_and(|it| it.file_type().is_char_device())
        .then_some(path)
}

/// Unix sockets with a path, as the kernel lists those of the launcher's network namespace.
///
/// A socket bound later, or in another network namespace, is not in the list.
fn host_sockets() -> Vec<PathBuf> {
    let Ok(table) = proc_file::read("/proc/net/unix") else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            line.iter()
                .position(|&byte| byte == b'/')
                .map(|at| &line[at..])
        })
        .map(|path| PathBuf::from(OsStr::from_bytes(path)))
        .collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .filter(|path| fs::metadata(path).is_ok_and(|found| found.file_type().is_socket()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(name: &str) -> Handed {
        Handed {
            name: name.to_owned(),
            kind: Kind::Pipe,
        }
    }

    #[test]
    fn fd_templates_become_numbers_from_three_up() {
        let descriptors = [handed("http"), handed("admin")];
        let substituted = |word: &str| substitute(OsStr::new(word), &descriptors);
        assert_eq!(substituted("NGINX={fd:http};"), "NGINX=3;");
        assert_eq!(substituted("{fd:admin}{fd:admin}"), "44");
        assert_eq!(substituted("{fd:other}"), "{fd:other}");
        assert_eq!(substituted("fd"), "fd");
    }
}
