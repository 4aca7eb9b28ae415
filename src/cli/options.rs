//! The options that make a policy: clap types, one struct a help heading, turned into one layer.
//!
//! Pure but for `--env NAME`, which takes the caller's value. Each value is checked by the parser
//! that policy files use ([`crate::policy::spec`]), so that both speak one language. The layer is
//! laid last, over the policy named by `--policy`: a value replaces, a list adds.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{
    OsStringValueParser, PossibleValuesParser, StringValueParser, TypedValueParser, ValueParser,
};
use clap::{Args, ValueHint};

use crate::egress::budget::Limits;
use crate::egress::destination::Destination;
use crate::egress::publish::Publish;
use crate::error::{Error, Result};
use crate::policy::layer::{EgressLayer, Layer};
use crate::policy::{
    Carrier, Cgroup, Inspect, Limit, Network, Policy, Seccomp, Strictness, UnixSockets,
    UserNamespace, View, find, merge, spec,
};

/// A parser of options whose value is text.
pub(super) fn text<T: Clone + Send + Sync + 'static>(
    parse: fn(&str) -> spec::Parsed<T>,
) -> ValueParser {
    StringValueParser::new()
        .try_map(move |text| parse(&text))
        .into()
}

/// A parser of options whose value may be any bytes.
pub(super) fn bytes<T: Clone + Send + Sync + 'static>(
    parse: fn(&OsStr) -> spec::Parsed<T>,
) -> ValueParser {
    OsStringValueParser::new()
        .try_map(move |text| parse(&text))
        .into()
}

/// A parser of options whose value is one of `words`, which completions then know.
fn word<T: Clone + Send + Sync + 'static>(
    words: &'static [&'static str],
    parse: fn(&str) -> spec::Parsed<T>,
) -> ValueParser {
    PossibleValuesParser::new(words)
        .try_map(move |text| parse(&text))
        .into()
}

/// A parser of `--option[=yes|no]`.
fn switch() -> ValueParser {
    PossibleValuesParser::new(["yes", "no"])
        .map(|text| text == "yes")
        .into()
}

/// Everything on the command line that says what the sandbox may do.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PolicyOptions {
    #[command(flatten)]
    base: Base,
    #[command(flatten)]
    network: NetworkOptions,
    #[command(flatten)]
    namespaces: NamespaceOptions,
    #[command(flatten)]
    files: FileOptions,
    #[command(flatten)]
    privileges: PrivilegeOptions,
    #[command(flatten)]
    process: ProcessOptions,
    #[command(flatten)]
    environment: EnvironmentOptions,
    #[command(flatten)]
    limits: LimitOptions,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Policy")]
struct Base {
    /// Start from the policy NAME, or from the policy in FILE
    ///
    /// A word with a slash or ending in .toml is a file; any other is looked up in the user's and
    /// the system's policy directories and then among those shipped ("sandbox policy list"). All
    /// other options are laid over it. Default: default.
    #[arg(long, value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
    policy: Option<OsString>,

    /// Demand protection of LEVEL from this host, or run nothing
    ///
    /// "standard" demands all that the policy says, save second walls that only newer kernels
    /// have. "full" demands those too: Landlock scopes, and a user namespace also for root.
    /// "best-effort" is --best-effort. Default: standard. Conflicts with --best-effort.
    #[arg(long, value_name = "LEVEL", hide_possible_values = true, value_parser = word(&["best-effort", "standard", "full"], spec::strictness))]
    require: Option<Strictness>,

    /// Run with less protection where this host cannot give all
    ///
    /// The only way to accept less than the policy says. Danger: a layer that the host refuses is
    /// left out, and a warning names it. Off by default; without it nothing is run then.
    #[arg(long, conflicts_with = "require")]
    best_effort: bool,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Network")]
struct NetworkOptions {
    /// Give the command the network MODE
    ///
    /// loopback: an empty network of its own, with 127.0.0.1 and ::1 (the default). none: the
    /// same without an interface that is up. fds: the same, and no way to make a socket; only
    /// descriptors given by --pass-fd, --listen, --connect or --receive-from. ns:NAME or ns:/PATH:
    /// an existing network namespace, by a name that "sandbox netns" gave or by a file, and whatever it
    /// reaches; root's to join, and its maker's: one
    /// that belongs to a user namespace of the caller's own making is joined with that namespace,
    /// and user and group ids are those there. host: no network isolation.
    /// Danger: with host and ns: the command reaches what that network reaches.
    #[arg(long, value_name = "MODE", value_parser = bytes(spec::network))]
    net: Option<Network>,

    /// Let the command reach DEST outside
    ///
    /// HOST:PORT, *.HOST:PORT (every name below HOST), IP:PORT, IP/BITS:PORT or [IPv6]:PORT; PORT may
    /// be a list with ranges, as 80,443,8000-8010. TCP, or UDP after udp://. Or unix:PATH, a Unix socket of
    /// the host; or @SET, what the file of that name lists. The command stays in its empty network: this
    /// program makes each connection for it, and refuses all others at once. Needs
    /// --net loopback. May be given several times. Danger: what is reached may pass anything on.
    #[arg(long, value_name = "DEST", value_parser = bytes(spec::destination))]
    allow: Vec<Destination>,

    /// Refuse DEST, whatever --allow and the policy allow
    ///
    /// Written as for --allow. May be given several times. Default: what is not allowed is refused.
    #[arg(long, value_name = "DEST", value_parser = bytes(spec::destination))]
    deny: Vec<Destination>,

    /// Refuse what is sent to an allowed name without naming it
    ///
    /// Of each TCP connection to a name of --allow the first bytes must be a TLS hello or an HTTP
    /// request for that very name, so that no other host at the same address is reached. Nothing is
    /// decrypted. Off by default. Danger: protocols in which the server speaks first, such as SSH,
    /// do not work with it.
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", hide_possible_values = true, value_parser = switch())]
    inspect: Option<bool>,

    /// Let the host reach the port IN of the command's loopback at OUT
    ///
    /// Written as [ADDRESS:]PORT:PORT, with an IPv6 ADDRESS in brackets: 8080:8000,
    /// 0.0.0.0:8080:8000, [::1]:8080:8000. TCP. Without ADDRESS this host alone reaches it, at
    /// 127.0.0.1; port 0 outside takes a free one, which --events names. It is a way in and none out,
    /// with or without --allow. Needs --net loopback. May be given several times. Danger: whoever
    /// reaches ADDRESS talks to the command.
    #[arg(long, value_name = "OUT:IN", value_parser = bytes(spec::publish))]
    publish: Vec<Publish>,

    /// How allowed TCP connections are carried: relay or direct
    ///
    /// relay: the supervisor joins a connection inside with one outside (the default). direct: the
    /// command gets the connected socket itself, which is as fast as without a sandbox, wherever that
    /// can be done; the rest is relayed. Danger: the socket is one of the host's network. What could
    /// turn it to another destination is refused for the whole sandbox.
    #[arg(long, value_name = "ENGINE", hide_possible_values = true, value_parser = word(&["relay", "direct"], spec::carrier))]
    egress: Option<Carrier>,

    /// Which Unix sockets may be connected to by path: own, datagrams, any
    ///
    /// own: those that listen inside the sandbox, and those of --allow unix:PATH; datagrams, which
    /// could be sent to any, there are none of (the default). datagrams: the same, and datagrams may
    /// be sent to any socket in sight. any: whatever is in sight. Danger: a service of the host that
    /// is reached by a path that is not hidden may do for the command what the sandbox does not let
    /// it do itself.
    #[arg(long, value_name = "WHICH", hide_possible_values = true, value_parser = word(&["own", "datagrams", "any"], spec::unix_sockets))]
    unix_sockets: Option<UnixSockets>,

    /// Let SIZE bytes go to and from DEST in all, and cut it off then
    ///
    /// DEST as for --allow, of hosts and ports; SIZE with K, M, G or T. One budget for all connections that
    /// DEST covers, both directions together; connections over it are reset, and new ones refused.
    /// May be given several times. Default: no limit.
    #[arg(long, value_name = "DEST=SIZE", value_parser = text(spec::max_bytes))]
    max_bytes: Vec<(Destination, u64)>,

    /// Let SIZE bytes a second go to and from DEST
    ///
    /// As --max-bytes, for TCP; SIZE/s, as 500K/s. What is over it waits; nothing is lost. May be given
    /// several times. Default: no limit.
    #[arg(long, value_name = "DEST=SIZE/s", value_parser = text(spec::max_rate))]
    max_rate: Vec<(Destination, u64)>,

    /// Offer a proxy at PORT inside, and name it in the environment
    ///
    /// For programs that insist on a proxy; others need none. It is at the loopback's PORT, speaks HTTP
    /// (CONNECT and http:// URLs) and SOCKS5, and reaches what --allow allows. Sets HTTP_PROXY, HTTPS_PROXY,
    /// ALL_PROXY and NO_PROXY, in capitals and small letters, unless --env does. PORT is 3128 if it is left
    /// out. Off by default; needs --allow.
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "3128", value_parser = text(spec::proxy_port))]
    proxy_env: Option<u16>,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Namespaces")]
struct NamespaceOptions {
    /// Whether to use a user namespace: auto, yes or no
    ///
    /// auto makes one, except for root on a host that has none, and for a joined network (the
    /// default). no needs root:
    /// the other namespaces are then made with root's rights and belong to the host's user namespace.
    /// User and group ids inside are the caller's own either way.
    #[arg(long, value_name = "WHEN", hide_possible_values = true, value_parser = word(&["auto", "yes", "no"], spec::user_namespace))]
    userns: Option<UserNamespace>,

    /// Share the NAMESPACES with the host instead of making fresh ones
    ///
    /// A list of pid, mount, ipc, uts and cgroup with commas between. All are fresh by default.
    /// Danger: sharing pid shows the host's processes; sharing mount leaves every file and Unix
    /// socket of the host in view and makes --hide, --read-only and the like impossible; sharing
    /// ipc shares its System V memory and message queues. The network has an option of its own,
    /// --net.
    #[arg(long, value_name = "NAMESPACES", value_parser = text(spec::namespaces))]
    share: Vec<Vec<&'static str>>,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Files")]
struct FileOptions {
    /// Whose /proc the command sees: its own or the host's
    ///
    /// own shows only the sandbox's processes (the default). Danger: host shows the host's
    /// processes, and is what to accept where a container refuses a fresh one.
    #[arg(long, value_name = "VIEW", hide_possible_values = true, value_parser = word(&["own", "host"], spec::view))]
    proc: Option<View>,

    /// Whose /sys the command sees: its own or the host's
    ///
    /// own shows only the sandbox's network devices (the default). Danger: host shows the
    /// host's, read-only.
    #[arg(long, value_name = "VIEW", hide_possible_values = true, value_parser = word(&["own", "host"], spec::view))]
    sys: Option<View>,

    /// Whose /dev the command sees: its own or the host's
    ///
    /// own has null, zero, full, random, urandom, tty, pts and shm (the default). Danger: host
    /// leaves every device node in place that the file permissions open to the caller.
    #[arg(long, value_name = "VIEW", hide_possible_values = true, value_parser = word(&["own", "host"], spec::view))]
    dev: Option<View>,

    /// Make PATH and everything below it read-only
    ///
    /// May be given several times. Files are as writable as the caller's permissions make them by
    /// default. Connecting to a Unix socket below PATH is not stopped by it: see --hide.
    #[arg(long, value_name = "PATH", value_parser = bytes(spec::path), value_hint = ValueHint::AnyPath)]
    read_only: Vec<PathBuf>,

    /// Keep PATH writable below a read-only tree
    ///
    /// May be given several times; the longest path wins over --read-only.
    #[arg(long, value_name = "PATH", value_parser = bytes(spec::path), value_hint = ValueHint::AnyPath)]
    read_write: Vec<PathBuf>,

    /// Cover PATH, a directory or file, with nothing
    ///
    /// May be given several times. Adds to what the policy hides; PATH must exist.
    #[arg(long, value_name = "PATH", value_parser = bytes(spec::path), value_hint = ValueHint::AnyPath)]
    hide: Vec<PathBuf>,

    /// Hide the host's Unix sockets that have a path
    ///
    /// An empty network does not cut them, and a helper behind one may reach any network. On in
    /// every policy that is shipped. Danger: =no leaves them within reach.
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", hide_possible_values = true, value_parser = switch())]
    hide_sockets: Option<bool>,

    /// Give the command an empty /tmp and /var/tmp of its own
    ///
    /// They are kept in memory and end with the sandbox. Default: the policy's choice.
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", hide_possible_values = true, value_parser = switch())]
    private_tmp: Option<bool>,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Privileges")]
struct PrivilegeOptions {
    /// Filter system calls by PROFILE, by the profile in FILE, or not at all
    ///
    /// FILE is one of ours (TOML) or an OCI (Docker) seccomp profile in JSON. Default: the
    /// policy's. Danger: off leaves out the filter, which alone stops address families without a
    /// namespace, io_uring and terminal tricks.
    #[arg(long, value_name = "PROFILE|FILE|off", value_parser = text(spec::seccomp), value_hint = ValueHint::FilePath)]
    seccomp: Option<Seccomp>,

    /// Keep the capability CAP
    ///
    /// By name or number, as in capabilities(7); may be given several times. None is kept by
    /// default. Danger: a capability is a way around some walls; with --userns=no it holds on the
    /// host, else within the sandbox's own user namespace only.
    #[arg(long, value_name = "CAP", value_parser = text(spec::capability))]
    cap_add: Vec<u8>,

    /// Run the command as USER
    ///
    /// A name or number; needs root. Default: the caller's. Without --group, that user's group.
    #[arg(long, value_name = "USER", value_parser = text(spec::account), value_hint = ValueHint::Username)]
    user: Option<String>,

    /// Run the command as GROUP
    ///
    /// A name or number; needs root. Default: the caller's, or that of --user.
    #[arg(long, value_name = "GROUP", value_parser = text(spec::account))]
    group: Option<String>,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Process")]
struct ProcessOptions {
    /// Start the command in the directory PATH
    ///
    /// Looked up inside the sandbox; a relative PATH counts from the caller's directory, which is
    /// the default.
    #[arg(long, value_name = "PATH", value_parser = bytes(spec::path), value_hint = ValueHint::DirPath)]
    chdir: Option<PathBuf>,

    /// Call the host NAME inside
    ///
    /// Default: the policy's, else the host's own name. Needs a fresh uts namespace.
    #[arg(long, value_name = "NAME", value_parser = text(spec::hostname))]
    hostname: Option<String>,

    /// Make the command process 1 itself
    ///
    /// Leaves out the small init that reaps orphans and forwards signals. Off by default. The
    /// kernel then delivers no signal to the command that it does not handle.
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", hide_possible_values = true, value_parser = switch())]
    as_pid_1: Option<bool>,

    /// Start the command in a new session, without the terminal
    ///
    /// Off by default, so that job control works; the filter stops the terminal tricks. Turn it
    /// on with --seccomp off.
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", hide_possible_values = true, value_parser = switch())]
    new_session: Option<bool>,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Environment")]
struct EnvironmentOptions {
    /// Set the variable NAME to VALUE, or pass on the caller's NAME
    ///
    /// May be given several times; wins over --clear-env and --unset-env.
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = bytes(variable))]
    env: Vec<Variable>,

    /// Remove the variable NAME
    ///
    /// May be given several times; NAME* removes all that start so. The shipped policies remove
    /// variables that name hidden sockets and proxies.
    #[arg(long, value_name = "NAME", value_parser = bytes(spec::variable_pattern))]
    unset_env: Vec<OsString>,

    /// Start from an empty environment
    ///
    /// Off by default: the command has the caller's environment, secrets in it included.
    #[arg(long, value_name = "yes|no", num_args = 0..=1, require_equals = true, default_missing_value = "yes", hide_possible_values = true, value_parser = switch())]
    clear_env: Option<bool>,

    /// With --clear-env, keep the variable NAME all the same
    ///
    /// May be given several times; NAME* keeps all that start so.
    #[arg(long, value_name = "NAME", value_parser = bytes(spec::variable_pattern))]
    keep_env: Vec<OsString>,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
struct LimitOptions {
    /// Set a resource limit as NAME=SOFT or NAME=SOFT:HARD
    ///
    /// NAME as in prlimit(2) in lower case without RLIMIT_ (nofile, nproc, as, cpu, fsize, core and others);
    /// sizes take K, M, G and T; "unlimited" is a value. nproc does not hold root, and is an error then:
    /// "--cgroup pids=N" does. May be given several times.
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = text(spec::limit))]
    limit: Vec<Limit>,

    /// Limit the sandbox as a whole: memory=SIZE,pids=N,cpu=N
    ///
    /// Any of the three. Needs a control group (version 2) that the caller may write, as under
    /// "systemd-run --user --scope -p Delegate=yes". Default: no limit.
    #[arg(long, value_name = "LIMITS", value_parser = text(spec::cgroup))]
    cgroup: Option<Cgroup>,

    /// End everything after DURATION, with exit status 124
    ///
    /// 30s, 5m, 1h30m, or a number of seconds. SIGTERM first, then --kill-after. Default: none.
    #[arg(long, value_name = "DURATION", value_parser = text(spec::duration))]
    timeout: Option<Duration>,

    /// Wait DURATION between SIGTERM and SIGKILL when --timeout runs out
    ///
    /// Default: the policy's.
    #[arg(long, value_name = "DURATION", value_parser = text(spec::duration))]
    kill_after: Option<Duration>,
}

/// What `--env` says: a value, or the caller's.
#[derive(Clone, Debug)]
enum Variable {
    Set(OsString, OsString),
    Callers(OsString),
}

fn variable(text: &OsStr) -> spec::Parsed<Variable> {
    if text.as_encoded_bytes().contains(&b'=') {
        return spec::variable(text).map(|(name, value)| Variable::Set(name, value));
    }
    spec::variable_name(text).map(Variable::Callers)
}

impl PolicyOptions {
    /// The policy that the options are laid over, as it was named.
    pub(crate) fn base(&self) -> Option<&OsStr> {
        self.base.policy.as_deref()
    }

    /// Take the network namespace at `path`, as `--net ns:` does.
    ///
    /// # Errors
    /// When the options name a network already.
    pub(crate) fn join_network(&mut self, path: PathBuf) -> Result<()> {
        if self.network.net.is_some() {
            return Err(Error::usage(
                "--net",
                "the namespace is named already; use sandbox run to choose another network",
            ));
        }
        self.network.net = Some(Network::Namespace(path));
        Ok(())
    }

    /// The policy named by `--policy` with the other options laid over it.
    ///
    /// # Errors
    /// When the policy cannot be found, is not valid, or does not go with the options.
    pub(crate) fn into_policy(self) -> Result<Policy> {
        self.into_policy_from("default")
    }

    /// The same, starting from the policy `default` where `--policy` names none.
    ///
    /// # Errors
    /// As [`PolicyOptions::into_policy`].
    pub(crate) fn into_policy_from(self, default: &str) -> Result<Policy> {
        let base = self.base.policy.clone();
        let places = find::Places::of_this_process()?;
        let layer = self
            .into_layer()?
            .resolve(&places.working, places.home.as_deref())?;
        let mut layers = find::load_from(
            &places,
            base.as_deref().unwrap_or(OsStr::new(default)),
            find::Purpose::Run,
        )?;
        layers.push((crate::policy::Origin::CommandLine, layer));
        merge::merge(&layers)
    }

    /// The options as one layer.
    fn into_layer(self) -> Result<Layer> {
        let require = match self.base.best_effort {
            true => Some(Strictness::BestEffort),
            false => self.base.require,
        };
        let mut layer = Layer {
            require,
            network: self.network.net,
            unix_sockets: self.network.unix_sockets,
            egress: EgressLayer {
                allow: self.network.allow,
                deny: self.network.deny,
                inspect: self.network.inspect.map(|inspect| match inspect {
                    true => Inspect::Yes,
                    false => Inspect::No,
                }),
                engine: self.network.egress,
                publish: self.network.publish,
                proxy_env: self.network.proxy_env,
                budgets: Limits {
                    bytes: self.network.max_bytes.into_iter().collect(),
                    rates: self.network.max_rate.into_iter().collect(),
                },
            },
            ..Layer::default()
        };
        self.namespaces.lay(&mut layer);
        self.files.lay(&mut layer);
        self.privileges.lay(&mut layer);
        self.process.lay(&mut layer);
        self.environment.lay(&mut layer)?;
        self.limits.lay(&mut layer);
        Ok(layer)
    }
}

impl NamespaceOptions {
    fn lay(self, layer: &mut Layer) {
        let namespaces = &mut layer.namespaces;
        namespaces.user = self.userns;
        for name in self.share.into_iter().flatten() {
            let fresh = match name {
                "pid" => &mut namespaces.pid,
                "mount" => &mut namespaces.mount,
                "ipc" => &mut namespaces.ipc,
                "uts" => &mut namespaces.uts,
                _ => &mut namespaces.cgroup,
            };
            *fresh = Some(false);
        }
    }
}

impl FileOptions {
    fn lay(self, layer: &mut Layer) {
        let files = &mut layer.filesystem;
        files.proc = self.proc;
        files.sys = self.sys;
        files.dev = self.dev;
        files.read_only = self.read_only;
        files.read_write = self.read_write;
        files.hide = self.hide;
        files.hide_sockets = self.hide_sockets;
        files.private_tmp = self.private_tmp;
    }
}

impl PrivilegeOptions {
    fn lay(self, layer: &mut Layer) {
        let process = &mut layer.process;
        process.seccomp = self.seccomp;
        process.cap_add = self.cap_add;
        process.user = self.user;
        process.group = self.group;
    }
}

impl ProcessOptions {
    fn lay(self, layer: &mut Layer) {
        let process = &mut layer.process;
        process.chdir = self.chdir;
        process.hostname = self.hostname;
        process.as_pid_1 = self.as_pid_1;
        process.new_session = self.new_session;
    }
}

impl EnvironmentOptions {
    fn lay(self, layer: &mut Layer) -> Result<()> {
        let environment = &mut layer.environment;
        environment.clear = self.clear_env;
        environment.keep = self.keep_env;
        environment.unset = self.unset_env;
        for variable in self.env {
            let (name, value) = match variable {
                Variable::Set(name, value) => (name, value),
                Variable::Callers(name) => {
                    let value = std::env::var_os(&name).ok_or_else(|| {
                        let name = name.display().to_string();
                        Error::usage(
                            format!("--env {}", name.escape_debug()),
                            "the caller has no such variable; write NAME=VALUE to set one",
                        )
                    })?;
                    (name, value)
                }
            };
            environment.set.insert(name, value);
        }
        Ok(())
    }
}

impl LimitOptions {
    fn lay(self, layer: &mut Layer) {
        for limit in self.limit {
            layer
                .limits
                .retain(|other| other.resource != limit.resource);
            layer.limits.push(limit);
        }
        layer.limits.sort_by_key(|limit| limit.resource);
        layer.cgroup = self.cgroup.unwrap_or_default();
        layer.process.timeout = self.timeout;
        layer.process.kill_after = self.kill_after;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        policy: PolicyOptions,
    }

    fn layer(options: &[&str]) -> Layer {
        let words = std::iter::once("sandbox").chain(options.iter().copied());
        let line = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        line.policy.into_layer().unwrap()
    }

    #[test]
    fn no_options_make_an_empty_layer() {
        assert_eq!(layer(&[]), Layer::default());
    }

    /// What an option does to an empty layer.
    type Effect = fn(&mut Layer);

    #[test]
    fn each_option_sets_its_key_and_no_other() {
        let table: &[(&[&str], Effect)] = &[
            (&["--net", "fds"], |l| l.network = Some(Network::Fds)),
            (&["--net", "ns:blue"], |l| {
                l.network = Some(Network::Namespace("/run/netns/blue".into()));
            }),
            (&["--publish", "8080:80"], |l| {
                l.egress.publish = vec!["127.0.0.1:8080:80".parse().unwrap()];
            }),
            (&["--egress", "direct"], |l| {
                l.egress.engine = Some(Carrier::Direct);
            }),
            (&["--unix-sockets", "any"], |l| {
                l.unix_sockets = Some(UnixSockets::Any);
            }),
            (&["--max-bytes", "a.example:1=1K"], |l| {
                let to = "a.example:1".parse().unwrap();
                l.egress.budgets.bytes.insert(to, 1024);
            }),
            (&["--max-rate", "a.example:1=1K/s"], |l| {
                let to = "a.example:1".parse().unwrap();
                l.egress.budgets.rates.insert(to, 1024);
            }),
            (&["--proxy-env"], |l| l.egress.proxy_env = Some(3128)),
            (&["--proxy-env=8080"], |l| {
                l.egress.proxy_env = Some(8080);
            }),
            (&["--require", "full"], |l| {
                l.require = Some(Strictness::Full)
            }),
            (&["--best-effort"], |l| {
                l.require = Some(Strictness::BestEffort);
            }),
            (&["--userns", "no"], |l| {
                l.namespaces.user = Some(UserNamespace::No);
            }),
            (&["--share", "pid"], |l| l.namespaces.pid = Some(false)),
            (&["--share", "mount"], |l| l.namespaces.mount = Some(false)),
            (&["--share", "ipc,uts", "--share", "cgroup"], |l| {
                l.namespaces.ipc = Some(false);
                l.namespaces.uts = Some(false);
                l.namespaces.cgroup = Some(false);
            }),
            (&["--proc", "host"], |l| {
                l.filesystem.proc = Some(View::Host)
            }),
            (&["--sys", "host"], |l| l.filesystem.sys = Some(View::Host)),
            (&["--dev", "own"], |l| l.filesystem.dev = Some(View::Own)),
            (&["--read-only", "/a", "--read-only", "/b"], |l| {
                l.filesystem.read_only = vec!["/a".into(), "/b".into()];
            }),
            (&["--read-write", "/a"], |l| {
                l.filesystem.read_write = vec!["/a".into()];
            }),
            (&["--hide", "/a"], |l| l.filesystem.hide = vec!["/a".into()]),
            (&["--hide-sockets"], |l| {
                l.filesystem.hide_sockets = Some(true);
            }),
            (&["--hide-sockets=no"], |l| {
                l.filesystem.hide_sockets = Some(false);
            }),
            (&["--private-tmp"], |l| {
                l.filesystem.private_tmp = Some(true)
            }),
            (&["--seccomp", "off"], |l| {
                l.process.seccomp = Some(Seccomp::Off);
            }),
            (&["--seccomp", "strict"], |l| {
                l.process.seccomp = Some(Seccomp::Profile("strict".into()));
            }),
            (&["--cap-add", "CAP_NET_RAW", "--cap-add", "0"], |l| {
                l.process.cap_add = vec![13, 0];
            }),
            (&["--user", "nobody"], |l| {
                l.process.user = Some("nobody".into())
            }),
            (&["--group", "65534"], |l| {
                l.process.group = Some("65534".into())
            }),
            (&["--chdir", "/tmp"], |l| {
                l.process.chdir = Some("/tmp".into())
            }),
            (&["--hostname", "inside"], |l| {
                l.process.hostname = Some("inside".into());
            }),
            (&["--as-pid-1"], |l| l.process.as_pid_1 = Some(true)),
            (&["--new-session=no"], |l| {
                l.process.new_session = Some(false)
            }),
            (&["--env", "A=b=c", "--env", "B="], |l| {
                l.environment.set.insert("A".into(), "b=c".into());
                l.environment.set.insert("B".into(), "".into());
            }),
            (&["--unset-env", "LC_*"], |l| {
                l.environment.unset = vec!["LC_*".into()];
            }),
            (&["--clear-env"], |l| l.environment.clear = Some(true)),
            (&["--keep-env", "TERM"], |l| {
                l.environment.keep = vec!["TERM".into()];
            }),
            (&["--cgroup", "pids=10"], |l| l.cgroup.pids = Some(10)),
            (&["--timeout", "90s"], |l| {
                l.process.timeout = Some(Duration::from_secs(90));
            }),
            (&["--kill-after", "2"], |l| {
                l.process.kill_after = Some(Duration::from_secs(2));
            }),
        ];
        for (options, effect) in table {
            let mut expected = Layer::default();
            effect(&mut expected);
            assert_ne!(expected, Layer::default(), "{options:?} does nothing");
            assert_eq!(layer(options), expected, "{options:?}");
        }
    }

    #[test]
    fn the_last_limit_of_a_resource_stands_and_the_others_stay() {
        let limits = layer(&[
            "--limit",
            "nofile=10",
            "--limit",
            "core=0",
            "--limit",
            "nofile=20:30",
        ])
        .limits;
        let shown: Vec<_> = limits
            .iter()
            .map(|limit| (limit.name, limit.soft, limit.hard))
            .collect();
        assert_eq!(
            shown,
            [("core", Some(0), Some(0)), ("nofile", Some(20), Some(30))]
        );
    }

    #[test]
    fn a_name_alone_takes_the_callers_variable() {
        let path = std::env::var_os("PATH").unwrap();
        let set = layer(&["--env", "PATH"]).environment.set;
        assert_eq!(set.get(OsStr::new("PATH")), Some(&path));
    }
}
