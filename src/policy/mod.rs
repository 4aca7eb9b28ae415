//! What a sandbox may do, as a validated value: no I/O here, no system calls.
//!
//! A policy is made of layers (built-in profile, system file, user file, command line), found by
//! [`find`], read by [`parse`], laid over each other by [`merge`], and turned into a [`Policy`],
//! which cannot hold a wrong value. Every key of a policy file is one row of [`key::KEYS`]: the
//! parser, the schema, the documents and `sandbox policy` are all made from it.

pub mod describe;
pub mod environment;
pub mod find;
pub mod key;
pub mod layer;
pub mod merge;
pub mod parse;
pub mod schema;
pub mod spec;
pub mod value;

pub use layer::{Layer, Origin};

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::egress::budget::Limits;
use crate::egress::destination::Destination;
use crate::egress::publish::Publish;
use crate::error::{Error, Result};

/// What the sandbox has of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// A fresh namespace with `lo` up: 127.0.0.1 and ::1, the sandbox's own.
    Loopback,
    /// A fresh namespace with `lo` down.
    None,
    /// A fresh namespace with `lo` down and no way to make a socket: only passed descriptors.
    Fds,
    /// The existing network namespace at this path (a name means `/run/netns/NAME`).
    Namespace(PathBuf),
    /// The host's own network: no isolation.
    Host,
}

/// Whether the sandbox gets a user namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNamespace {
    /// Yes, except for root on a host that has none.
    Auto,
    /// Always.
    Yes,
    /// Never; needs root.
    No,
}

/// Which namespaces, besides network and user, the sandbox gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one independent switch a namespace, as the kernel has them"
)]
pub struct Namespaces {
    /// pid_namespaces(7).
    pub pid: bool,
    /// mount_namespaces(7).
    pub mount: bool,
    /// ipc_namespaces(7).
    pub ipc: bool,
    /// uts_namespaces(7).
    pub uts: bool,
    /// cgroup_namespaces(7).
    pub cgroup: bool,
}

/// Whether a kernel file system is the sandbox's own or the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Mounted afresh, showing only what is the sandbox's.
    Own,
    /// The host's, left as it is.
    Host,
}

/// Which files the sandbox sees, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// `/proc`.
    pub proc: View,
    /// `/sys`.
    pub sys: View,
    /// `/dev`: own means a minimal one.
    pub dev: View,
    /// A `/tmp` of its own instead of the host's.
    pub private_tmp: bool,
    /// Trees and files covered with nothing.
    pub hide: Vec<PathBuf>,
    /// Hide every Unix socket of the host that has a path the sandbox could see.
    pub hide_sockets: bool,
    /// Trees made read-only.
    pub read_only: Vec<PathBuf>,
    /// Trees kept writable below read-only ones.
    pub read_write: Vec<PathBuf>,
    /// Which of `hide`, `read_only` and `read_write` may be missing on the host (what a shipped
    /// profile names); any other missing path is an error.
    pub optional: Vec<PathBuf>,
}

/// The system-call filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// A profile shipped with the program (`policies/seccomp/NAME.toml`), or a file, ours or in the
    /// OCI JSON format.
    Profile(String),
    /// None.
    Off,
}

/// How the command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The system-call filter.
    pub seccomp: Seccomp,
    /// Capabilities kept, by number (capabilities(7)); empty by default.
    pub cap_add: Vec<u8>,
    /// Leave out our init: the command is pid 1 itself.
    pub as_pid_1: bool,
    /// A new session, without the caller's terminal.
    pub new_session: bool,
    /// Run as this user (name or number); needs root.
    pub user: Option<String>,
    /// Run as this group (name or number); needs root.
    pub group: Option<String>,
    /// Working directory inside.
    pub chdir: Option<PathBuf>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// End everything after this long.
    pub timeout: Option<Duration>,
    /// After the time-out's SIGTERM, this long until SIGKILL.
    pub kill_after: Duration,
}

/// The command's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Start from nothing instead of the caller's environment.
    pub clear: bool,
    /// With `clear`, variables kept all the same; `*` at the end matches any rest.
    pub keep: Vec<OsString>,
    /// Variables removed; `*` at the end matches any rest.
    pub unset: Vec<OsString>,
    /// Variables set; values may be any bytes.
    pub set: BTreeMap<OsString, OsString>,
}

/// One resource limit (prlimit(2)); `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// Its name in lower case without the prefix ("nofile").
    pub name: &'static str,
    /// Soft limit.
    pub soft: Option<u64>,
    /// Hard limit.
    pub hard: Option<u64>,
}

/// What may be reached outside through the supervisor ([`crate::egress`]); nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Destinations that may be reached.
    pub allow: Vec<Destination>,
    /// Those that may not all the same: deny beats allow.
    pub deny: Vec<Destination>,
    /// What is sent to a name must name it.
    pub inspect: Inspect,
    /// How connections are carried.
    pub engine: Carrier,
    /// Ports inside that the host reaches: a way in, and none out.
    pub publish: Vec<Publish>,
    /// How much may go to and from a destination.
    pub budgets: Limits,
    /// The port of a proxy on the sandbox's loopback, which the usual variables name.
    pub proxy_env: Option<u16>,
}

/// How allowed TCP connections are carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// The supervisor joins two connections: nothing inside holds a socket of the host's network.
    #[default]
    Relay,
    /// Where it can be done, the command gets the connected socket itself ([`crate::egress::direct`]).
    Direct,
}

/// Whether the first bytes of a TCP connection to an allowed name are read ([`crate::egress::sniff`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inspect {
    /// They are not: whatever is spoken passes.
    #[default]
    No,
    /// They must be TLS or HTTP and name the host that was allowed.
    Yes,
}

/// Which Unix sockets the command may connect to by their path ([`crate::egress::unix`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnixSockets {
    /// Those that listen inside the sandbox, and those that `unix:PATH` allows. There are none of
    /// datagrams, which could be sent to any.
    #[default]
    Own,
    /// The same for streams and packets; datagrams may be sent to any socket in sight.
    Datagrams,
    /// Whatever is in sight.
    Any,
}

impl Egress {
    /// Whether nothing may be reached, in or out, so that nothing is set up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.publish.is_empty()
    }
}

/// Limits by control group (cgroups(7), version 2).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cgroup {
    /// `memory.max`, bytes.
    pub memory: Option<u64>,
    /// `pids.max`.
    pub pids: Option<u64>,
    /// `cpu.max`, in processors (1.5 is one and a half).
    pub cpu: Option<f64>,
}

/// How much protection is demanded of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strictness {
    /// Accept less, and say what was lost. The only way to weaken.
    BestEffort,
    /// Every protection of the policy, save the second walls that only newer kernels have.
    Standard,
    /// Those too: Landlock scopes, a user namespace also for root.
    Full,
}

/// A validated policy: what one launch may do.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The name or file it came from.
    pub name: String,
    /// One line saying for whom it is.
    pub description: String,
    /// Network.
    pub network: Network,
    /// Which Unix sockets may be connected to.
    pub unix_sockets: UnixSockets,
    /// What may be reached outside.
    pub egress: Egress,
    /// User namespace.
    pub user_namespace: UserNamespace,
    /// Other namespaces.
    pub namespaces: Namespaces,
    /// Files.
    pub filesystem: Filesystem,
    /// Process.
    pub process: Process,
    /// Environment.
    pub environment: Environment,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// Control-group limits.
    pub cgroup: Cgroup,
    /// Strictness.
    pub strictness: Strictness,
}

impl Policy {
    /// The strictest policy that still runs programs, with no layer at all: a network of its own, all
    /// namespaces, no capability, the default system-call filter; no path is hidden by name, no
    /// variable removed. What a file with `extends = "nothing"` starts from.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            name: find::NOTHING.to_owned(),
            description: String::new(),
            network: Network::Loopback,
            unix_sockets: UnixSockets::Own,
            egress: Egress::default(),
            user_namespace: UserNamespace::Auto,
            namespaces: Namespaces {
                pid: true,
                mount: true,
                ipc: true,
                uts: true,
                cgroup: true,
            },
            filesystem: Filesystem {
                proc: View::Own,
                sys: View::Own,
                dev: View::Own,
                private_tmp: false,
                hide: Vec::new(),
                hide_sockets: true,
                read_only: Vec::new(),
                read_write: Vec::new(),
                optional: Vec::new(),
            },
            process: Process {
                seccomp: Seccomp::Profile("default".to_owned()),
                cap_add: Vec::new(),
                as_pid_1: false,
                new_session: false,
                user: None,
                group: None,
                chdir: None,
                hostname: None,
                timeout: None,
                kill_after: Duration::from_secs(10),
            },
            environment: Environment {
                clear: false,
                keep: Vec::new(),
                unset: Vec::new(),
                set: BTreeMap::new(),
            },
            limits: Vec::new(),
            cgroup: Cgroup::default(),
            strictness: Strictness::Standard,
        }
    }

    /// The profile `name` as shipped, whatever files of that name the host has.
    ///
    /// # Errors
    /// When no shipped profile is called so, or it names a path below `~` and `HOME` is not set.
    pub fn built_in(name: &str) -> Result<Self> {
        if find::BUILT_IN.iter().all(|(known, _)| *known != name) {
            let known = find::BUILT_IN.iter().map(|(known, _)| *known);
            return Err(Error::usage(
                format!("policy \"{}\"", name.escape_debug()),
                format!(
                    "no shipped profile is called so{}",
                    spec::advice(name, known)
                ),
            ));
        }
        let places = find::Places::of_this_process()?.without_directories();
        merge::merge(&find::load_from(
            &places,
            OsStr::new(name),
            find::Purpose::Run,
        )?)
    }

    /// The policy that `name_or_file` names, as `--policy` does; a file's path from `directory`.
    ///
    /// # Errors
    /// When there is none, or it is not valid.
    pub fn named(name_or_file: &OsStr, directory: &Path) -> Result<Self> {
        let mut places = find::Places::of_this_process()?;
        places.working = directory.to_owned();
        merge::merge(&find::load_from(&places, name_or_file, find::Purpose::Run)?)
    }

    /// The policy in the file at `path`, with all that it extends.
    ///
    /// # Errors
    /// When it, or one that it extends, cannot be read or is not valid.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let places = find::Places::of_this_process()?;
        // Joined, so that a bare word is a file here and not a policy's name.
        let path = places.working.join(path);
        merge::merge(&find::load_from(
            &places,
            path.as_os_str(),
            find::Purpose::Run,
        )?)
    }
}
