//! Lays layers over each other, and turns the outcome into a [`Policy`] that cannot be wrong.
//!
//! Pure. The laws, which the tests check: an empty layer changes nothing; the way in which layers are
//! grouped does not matter; laying a layer over itself changes nothing. Lists add up (an element
//! keeps its first place), tables add up by name, and of everything else the last layer's word stands.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use super::environment::matches;
use super::key::{KEYS, Key};
use super::layer::{
    EgressLayer, EnvironmentLayer, FilesystemLayer, NamespacesLayer, Origin, ProcessLayer,
};
use super::value::Value;
use super::{
    Egress, Environment, Filesystem, Inspect, Layer, Limit, Namespaces, Network, Policy, Process,
    Seccomp, Strictness, UnixSockets, UserNamespace, View,
};
use crate::egress::destination::{Destination, Hosts, Protocol};
use crate::error::{Error, Result};

/// The policy that `layers`, lowest first, make. Each way in which it is wider than
/// [`Policy::nothing`] is logged as one warning.
///
/// # Errors
/// [`Error::Usage`] when keys contradict each other, or a path is not absolute
/// ([`Layer::resolve`] makes them so).
pub fn merge(layers: &[(Origin, Layer)]) -> Result<Policy> {
    let policy = combine(layers)?;
    for widening in widenings(&policy) {
        tracing::warn!(key = widening.key, "{}", widening.consequence);
    }
    Ok(policy)
}

/// As [`merge`], without the warnings: for describing a policy that is not run.
///
/// # Errors
/// As [`merge`].
pub fn combine(layers: &[(Origin, Layer)]) -> Result<Policy> {
    let mut merged = Layer::from(&Policy::nothing());
    let mut name = "nothing".to_owned();
    let mut required: BTreeSet<PathBuf> = BTreeSet::new();
    for (origin, layer) in layers {
        lay_over(&mut merged, layer);
        match origin {
            Origin::BuiltIn(_) => name = origin.name(),
            Origin::File(_) => {
                name = origin.name();
                required.extend(layer.paths().cloned());
            }
            Origin::Builder | Origin::CommandLine => required.extend(layer.paths().cloned()),
        }
    }
    consistent(&merged)?;
    follow_from_namespaces(&mut merged, layers)?;
    let mut policy = into_policy(merged, name);
    let filesystem = &policy.filesystem;
    let named: BTreeSet<PathBuf> = [
        &filesystem.hide,
        &filesystem.read_only,
        &filesystem.read_write,
    ]
    .into_iter()
    .flatten()
    .cloned()
    .collect();
    policy.filesystem.optional = named.difference(&required).cloned().collect();
    Ok(policy)
}

/// Lay `above` over `below`.
pub(crate) fn lay_over(below: &mut Layer, above: &Layer) {
    fn last<T: Clone>(below: &mut Option<T>, above: &Option<T>) {
        if above.is_some() {
            below.clone_from(above);
        }
    }
    fn add<T: Clone + Ord>(below: &mut Vec<T>, above: &[T]) {
        let mut known: BTreeSet<&T> = below.iter().collect();
        let new = above.iter().filter(|element| known.insert(element));
        let new: Vec<T> = new.cloned().collect();
        below.extend(new);
    }

    last(&mut below.description, &above.description);
    last(&mut below.extends, &above.extends);
    last(&mut below.require, &above.require);
    last(&mut below.network, &above.network);
    last(&mut below.unix_sockets, &above.unix_sockets);

    let (to, from) = (&mut below.egress, &above.egress);
    add(&mut to.allow, &from.allow);
    add(&mut to.deny, &from.deny);
    last(&mut to.inspect, &from.inspect);
    last(&mut to.engine, &from.engine);
    add(&mut to.publish, &from.publish);
    last(&mut to.proxy_env, &from.proxy_env);
    to.budgets.bytes.extend(from.budgets.bytes.clone());
    to.budgets.rates.extend(from.budgets.rates.clone());

    let (to, from) = (&mut below.namespaces, &above.namespaces);
    last(&mut to.user, &from.user);
    last(&mut to.pid, &from.pid);
    last(&mut to.mount, &from.mount);
    last(&mut to.ipc, &from.ipc);
    last(&mut to.uts, &from.uts);
    last(&mut to.cgroup, &from.cgroup);

    let (to, from) = (&mut below.filesystem, &above.filesystem);
    last(&mut to.proc, &from.proc);
    last(&mut to.sys, &from.sys);
    last(&mut to.dev, &from.dev);
    last(&mut to.private_tmp, &from.private_tmp);
    add(&mut to.hide, &from.hide);
    last(&mut to.hide_sockets, &from.hide_sockets);
    add(&mut to.read_only, &from.read_only);
    add(&mut to.read_write, &from.read_write);

    let (to, from) = (&mut below.process, &above.process);
    last(&mut to.seccomp, &from.seccomp);
    add(&mut to.cap_add, &from.cap_add);
    last(&mut to.as_pid_1, &from.as_pid_1);
    last(&mut to.new_session, &from.new_session);
    last(&mut to.user, &from.user);
    last(&mut to.group, &from.group);
    last(&mut to.chdir, &from.chdir);
    last(&mut to.hostname, &from.hostname);
    last(&mut to.timeout, &from.timeout);
    last(&mut to.kill_after, &from.kill_after);

    let (to, from) = (&mut below.environment, &above.environment);
    last(&mut to.clear, &from.clear);
    add(&mut to.keep, &from.keep);
    add(&mut to.unset, &from.unset);
    // Within one policy "set" comes last; across layers, what a later layer unsets is gone.
    to.set
        .retain(|name, _| !from.unset.iter().any(|pattern| matches(pattern, name)));
    to.set.extend(from.set.clone());

    for limit in &above.limits {
        below
            .limits
            .retain(|other| other.resource != limit.resource);
        below.limits.push(*limit);
    }
    below.limits.sort_by_key(|limit: &Limit| limit.resource);
    last(&mut below.cgroup.memory, &above.cgroup.memory);
    last(&mut below.cgroup.pids, &above.cgroup.pids);
    last(&mut below.cgroup.cpu, &above.cgroup.cpu);

    // Lines belong to one file.
    below.lines.clear();
    below.extends_at = None;
}

/// Why there is no egress with another network mode.
pub(crate) const EGRESS_NEEDS_LOOPBACK: &str =
    "destinations are reached through the sandbox's own loopback: needs network mode \"loopback\"";

/// The same of what is published.
const PUBLISH_NEEDS_LOOPBACK: &str =
    "what is published is a port of the sandbox's own loopback: needs network mode \"loopback\"";

/// Which key of `egress` says what must not be reached, or how much of it, where nothing would see to it: a
/// network that is not the sandbox's own reaches what it reaches.
pub(crate) fn undecided(network: &Network, egress: &EgressLayer) -> Option<Error> {
    if !matches!(network, Network::Host | Network::Namespace(_)) {
        return None;
    }
    let said = [
        ("egress.deny", !egress.deny.is_empty()),
        ("egress.max-bytes", !egress.budgets.bytes.is_empty()),
        ("egress.max-rate", !egress.budgets.rates.is_empty()),
        ("egress.inspect", egress.inspect == Some(Inspect::Yes)),
    ];
    let (key, _) = said.into_iter().find(|(_, said)| *said)?;
    Some(Error::usage(
        key,
        "nothing stands between the command and a network that is not its own: needs network mode \"loopback\"",
    ))
}

/// Refuse what contradicts itself.
fn consistent(layer: &Layer) -> Result<()> {
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
    let network = layer.network.as_ref();
    if let Some(error) = network.and_then(|network| undecided(network, &layer.egress)) {
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
fn follow_from_namespaces(merged: &mut Layer, layers: &[(Origin, Layer)]) -> Result<()> {
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

/// A layer in which every key that has a default is set, as a policy.
fn into_policy(layer: Layer, name: String) -> Policy {
    let base = Policy::nothing();
    let Layer {
        namespaces,
        filesystem,
        process,
        environment,
        ..
    } = layer;
    Policy {
        name,
        description: layer.description.unwrap_or(base.description),
        network: layer.network.unwrap_or(base.network),
        unix_sockets: layer.unix_sockets.unwrap_or(base.unix_sockets),
        egress: Egress {
            allow: layer.egress.allow,
            deny: layer.egress.deny,
            inspect: layer.egress.inspect.unwrap_or(base.egress.inspect),
            engine: layer.egress.engine.unwrap_or(base.egress.engine),
            publish: layer.egress.publish,
            proxy_env: layer.egress.proxy_env,
            budgets: layer.egress.budgets,
        },
        user_namespace: namespaces.user.unwrap_or(base.user_namespace),
        namespaces: Namespaces {
            pid: namespaces.pid.unwrap_or(base.namespaces.pid),
            mount: namespaces.mount.unwrap_or(base.namespaces.mount),
            ipc: namespaces.ipc.unwrap_or(base.namespaces.ipc),
            uts: namespaces.uts.unwrap_or(base.namespaces.uts),
            cgroup: namespaces.cgroup.unwrap_or(base.namespaces.cgroup),
        },
        filesystem: Filesystem {
            proc: filesystem.proc.unwrap_or(base.filesystem.proc),
            sys: filesystem.sys.unwrap_or(base.filesystem.sys),
            dev: filesystem.dev.unwrap_or(base.filesystem.dev),
            private_tmp: filesystem
                .private_tmp
                .unwrap_or(base.filesystem.private_tmp),
            hide: filesystem.hide,
            hide_sockets: filesystem
                .hide_sockets
                .unwrap_or(base.filesystem.hide_sockets),
            read_only: filesystem.read_only,
            read_write: filesystem.read_write,
            optional: Vec::new(),
        },
        process: Process {
            seccomp: process.seccomp.unwrap_or(base.process.seccomp),
            cap_add: process.cap_add,
            as_pid_1: process.as_pid_1.unwrap_or(base.process.as_pid_1),
            new_session: process.new_session.unwrap_or(base.process.new_session),
            user: process.user,
            group: process.group,
            chdir: process.chdir,
            hostname: process.hostname,
            timeout: process.timeout,
            kill_after: process.kill_after.unwrap_or(base.process.kill_after),
        },
        environment: Environment {
            clear: environment.clear.unwrap_or(base.environment.clear),
            keep: environment.keep,
            unset: environment.unset,
            set: environment.set,
        },
        limits: layer.limits,
        cgroup: layer.cgroup,
        strictness: layer.require.unwrap_or(base.strictness),
    }
}

impl From<&Egress> for EgressLayer {
    fn from(egress: &Egress) -> Self {
        Self {
            allow: egress.allow.clone(),
            deny: egress.deny.clone(),
            inspect: Some(egress.inspect),
            engine: Some(egress.engine),
            publish: egress.publish.clone(),
            proxy_env: egress.proxy_env,
            budgets: egress.budgets.clone(),
        }
    }
}

/// The layer that says all of a policy.
impl From<&Policy> for Layer {
    fn from(policy: &Policy) -> Self {
        let Policy {
            namespaces,
            filesystem,
            process,
            environment,
            ..
        } = policy;
        Self {
            description: Some(policy.description.clone()).filter(|text| !text.is_empty()),
            extends: None,
            require: Some(policy.strictness),
            network: Some(policy.network.clone()),
            unix_sockets: Some(policy.unix_sockets),
            egress: EgressLayer::from(&policy.egress),
            namespaces: NamespacesLayer {
                user: Some(policy.user_namespace),
                pid: Some(namespaces.pid),
                mount: Some(namespaces.mount),
                ipc: Some(namespaces.ipc),
                uts: Some(namespaces.uts),
                cgroup: Some(namespaces.cgroup),
            },
            filesystem: FilesystemLayer {
                proc: Some(filesystem.proc),
                sys: Some(filesystem.sys),
                dev: Some(filesystem.dev),
                private_tmp: Some(filesystem.private_tmp),
                hide: filesystem.hide.clone(),
                hide_sockets: Some(filesystem.hide_sockets),
                read_only: filesystem.read_only.clone(),
                read_write: filesystem.read_write.clone(),
            },
            process: ProcessLayer {
                seccomp: Some(process.seccomp.clone()),
                cap_add: process.cap_add.clone(),
                as_pid_1: Some(process.as_pid_1),
                new_session: Some(process.new_session),
                user: process.user.clone(),
                group: process.group.clone(),
                chdir: process.chdir.clone(),
                hostname: process.hostname.clone(),
                timeout: process.timeout,
                kill_after: Some(process.kill_after),
            },
            environment: EnvironmentLayer {
                clear: Some(environment.clear),
                keep: environment.keep.clone(),
                unset: environment.unset.clone(),
                set: environment.set.clone(),
            },
            limits: policy.limits.clone(),
            cgroup: policy.cgroup,
            lines: BTreeMap::new(),
            extends_at: None,
        }
    }
}

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

/// Where one key's value came from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Explained {
    /// The key.
    pub key: &'static Key,
    /// Its value in the merged policy.
    pub value: Option<Value>,
    /// Whose word it is; for lists and tables see `elements`.
    pub source: Source,
    /// Each element of a list, or name of a table, and whose word it is.
    pub elements: Vec<(OsString, Source)>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

/// Whose word something is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Nobody's: the value that stands when no layer says anything.
    Default,
    /// It follows from another key (a shared namespace).
    Follows,
    /// A layer's, with the line in its file.
    Layer(Origin, Option<usize>),
}

/// Each key's value in the policy that `layers` make, and the layer that it came from.
///
/// # Errors
/// As [`merge`].
pub fn explain(layers: &[(Origin, Layer)]) -> Result<Vec<Explained>> {
    let merged = Layer::from(&combine(layers)?);
    let explained = KEYS.iter().filter(|key| key.name != "extends").map(|key| {
        let value = key.value(&merged);
        let elements = value.as_ref().map_or_else(Vec::new, |value| {
            value
                .elements()
                .into_iter()
                .map(|element| (element.to_owned(), element_source(layers, key, element)))
                .collect()
        });
        let said = layers
            .iter()
            .rev()
            .find_map(|(origin, layer)| Some((origin, layer, key.value(layer)?)));
        let source = match said {
            _ if key.kind.adds_up() && value.is_none() => Source::Default,
            None if value == key.default() => Source::Default,
            Some((origin, layer, said)) if key.kind.adds_up() || Some(&said) == value.as_ref() => {
                let line = layer.lines.get(&key.path()).copied();
                Source::Layer(origin.clone(), line)
            }
            _ => Source::Follows,
        };
        Explained {
            key,
            value,
            source,
            elements,
        }
    });
    Ok(explained.collect())
}

/// The layer that brought `element`: the last one for a table, the first one for a list.
fn element_source(layers: &[(Origin, Layer)], key: &Key, element: &std::ffi::OsStr) -> Source {
    let has = |(_, layer): &&(Origin, Layer)| {
        key.value(layer)
            .is_some_and(|value| value.elements().contains(&element))
    };
    let found = match key.kind {
        super::key::Kind::Table => layers.iter().rev().find(has),
        _ => layers.iter().find(has),
    };
    let Some((origin, layer)) = found else {
        return Source::Default;
    };
    let place = format!("{}={}", key.path(), element.to_string_lossy());
    let line = layer.lines.get(&place).copied();
    Source::Layer(origin.clone(), line)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::parse::parse;

    fn layer(text: &str) -> Layer {
        parse(Path::new("test"), text).unwrap()
    }

    fn over(below: &Layer, above: &Layer) -> Layer {
        let mut below = below.clone();
        lay_over(&mut below, above);
        below
    }

    /// A layer made of the examples of some keys, and of elements that overlap.
    fn any_layer() -> impl Strategy<Value = Layer> {
        let words = ["A", "B", "AB", "A*", "B*"];
        (
            proptest::collection::vec(any::<bool>(), KEYS.len()),
            proptest::collection::vec(0..words.len(), 0..4),
            proptest::collection::vec(0..3usize, 0..3),
            1..9u64,
        )
            .prop_map(move |(said, unset, set, limit)| {
                let mut layer = Layer::default();
                for (key, said) in KEYS.iter().zip(said) {
                    if said {
                        let section = match key.section {
                            "" => String::new(),
                            section => format!("[{section}]\n"),
                        };
                        let text = format!("{section}{} = {}", key.name, key.example);
                        lay_over(&mut layer, &parse(Path::new("example"), &text).unwrap());
                    }
                }
                for index in unset {
                    let pattern = OsString::from(words[index]);
                    if !layer.environment.unset.contains(&pattern) {
                        layer.environment.unset.push(pattern);
                    }
                }
                for index in set {
                    layer
                        .environment
                        .set
                        .insert(words[index].into(), limit.to_string().into());
                }
                layer.cgroup.pids = Some(limit);
                layer
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn an_empty_layer_changes_nothing(a in any_layer()) {
            prop_assert_eq!(&over(&a, &Layer::default()), &a);
            prop_assert_eq!(&over(&Layer::default(), &a), &a);
        }

        #[test]
        fn how_layers_are_grouped_does_not_matter(a in any_layer(), b in any_layer(), c in any_layer()) {
            prop_assert_eq!(over(&over(&a, &b), &c), over(&a, &over(&b, &c)));
        }

        #[test]
        fn a_layer_over_itself_changes_nothing(a in any_layer()) {
            prop_assert_eq!(&over(&a, &a), &a);
        }
    }

    #[test]
    fn the_last_scalar_stands_and_lists_add_up() {
        let below = layer("[network]\nmode = \"none\"\n[filesystem]\nhide = [\"/a\", \"/b\"]");
        let above = layer("[network]\nmode = \"fds\"\n[filesystem]\nhide = [\"/b\", \"/c\"]");
        let merged = over(&below, &above);
        assert_eq!(merged.network, Some(Network::Fds));
        assert_eq!(
            merged.filesystem.hide,
            ["/a", "/b", "/c"].map(PathBuf::from)
        );
    }

    #[test]
    fn what_a_later_layer_unsets_is_not_set_and_what_it_sets_is() {
        let below = layer("[environment]\nset = { A = \"1\", B = \"1\" }\nunset = [\"C\"]");
        let above = layer("[environment]\nset = { C = \"2\" }\nunset = [\"A*\"]");
        let set = over(&below, &above).environment.set;
        let expected = [("B", "1"), ("C", "2")].map(|(n, v)| (n.into(), v.into()));
        assert_eq!(set.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_is_wide() {
        assert_eq!(widenings(&Policy::nothing()), []);
        assert_eq!(widenings(&combine(&[]).unwrap()), []);
    }

    #[test]
    fn every_widening_is_named() {
        let wide = layer(
            "require = \"best-effort\"\n[network]\nmode = \"host\"\n[namespaces]\nuser = \"no\"\n\
             pid = false\nipc = false\nuts = false\ncgroup = false\n[filesystem]\ndev = \"host\"\n\
             hide-sockets = false\n[process]\nseccomp = \"off\"\ncap-add = [\"kill\"]",
        );
        let policy = combine(&[(Origin::CommandLine, wide)]).unwrap();
        let keys: Vec<_> = widenings(&policy).iter().map(|w| w.key).collect();
        assert_eq!(
            keys,
            [
                "network.mode",
                "namespaces.user",
                "namespaces.pid",
                "namespaces.ipc",
                "namespaces.uts",
                "namespaces.cgroup",
                "filesystem.proc",
                "filesystem.dev",
                "filesystem.hide-sockets",
                "process.seccomp",
                "process.cap-add",
                "require",
            ]
        );
    }

    #[test]
    fn a_name_by_udp_is_named_where_names_are_inspected() {
        let keys = |allow: &str, inspect: bool| -> Vec<&str> {
            let text = format!("[egress]\nallow = [\"{allow}\"]\ninspect = {inspect}");
            let policy = combine(&[(Origin::CommandLine, layer(&text))]).unwrap();
            widenings(&policy).iter().map(|w| w.key).collect()
        };
        for allow in ["udp://a.example:443", "udp://*.a.example:443"] {
            assert_eq!(keys(allow, true), ["egress.allow", "egress.inspect"]);
            assert_eq!(keys(allow, false), ["egress.allow"]);
        }
        for allow in ["a.example:443", "udp://192.0.2.1:443"] {
            assert_eq!(keys(allow, true), ["egress.allow"]);
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let table = [
            (
                "[namespaces]\npid = false\n[process]\nas-pid-1 = true",
                "process.as-pid-1: the command cannot be process 1 without a process namespace of its own",
            ),
            (
                "[namespaces]\nuts = false\n[process]\nhostname = \"x\"",
                "process.hostname = \"x\": a host name of its own needs a uts namespace; without it the host would be renamed",
            ),
            (
                "[namespaces]\nmount = false\n[filesystem]\nhide = [\"/a\"]",
                "filesystem.hide: needs a mount namespace of its own (asked for by the command line)",
            ),
            (
                "[namespaces]\npid = false\n[filesystem]\nproc = \"own\"",
                "filesystem.proc: needs a process namespace of its own (asked for by the command line)",
            ),
            ("[filesystem]\nhide = [\"a\"]", "a: not an absolute path"),
            (
                "[network]\nunix-sockets = \"own\"\n[process]\nseccomp = \"off\"",
                "network.unix-sockets: needs a system-call filter (asked for by the command line)",
            ),
            (
                "[network]\nmode = \"host\"\nunix-sockets = \"datagrams\"",
                "network.unix-sockets: needs a network namespace of its own (asked for by the command line)",
            ),
        ];
        for (text, expected) in table {
            let error = combine(&[(Origin::CommandLine, layer(text))]).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn what_nothing_would_keep_from_the_command_is_refused() {
        let keys = [
            "deny = [\"a.example:80\"]",
            "inspect = true",
            "[egress.max-bytes]\n\"a.example:80\" = \"1M\"",
            "[egress.max-rate]\n\"a.example:80\" = \"1M/s\"",
        ];
        for key in keys {
            let said = |mode: &str| {
                let text = format!("[network]\nmode = \"{mode}\"\n[egress]\n{key}");
                combine(&[(Origin::CommandLine, layer(&text))])
            };
            for mode in ["host", "ns:/proc/self/ns/net"] {
                let error = said(mode).unwrap_err().to_string();
                assert!(error.starts_with("egress."), "{key}: {error}");
                assert!(
                    error.ends_with("needs network mode \"loopback\""),
                    "{error}"
                );
            }
            // There nothing is reached, or only what is allowed.
            for mode in ["loopback", "none", "fds"] {
                assert!(said(mode).is_ok(), "{key} {mode}");
            }
        }
    }

    #[test]
    fn only_paths_of_shipped_profiles_may_be_missing() {
        let shipped = layer("[filesystem]\nhide = [\"/a\", \"/b\"]");
        let own = layer("[filesystem]\nhide = [\"/b\", \"/c\"]");
        let policy = combine(&[
            (Origin::BuiltIn("x".to_owned()), shipped),
            (Origin::CommandLine, own),
        ])
        .unwrap();
        assert_eq!(policy.filesystem.optional, [PathBuf::from("/a")]);
        assert_eq!(policy.name, "x");
    }

    #[test]
    fn sharing_the_mount_namespace_gives_up_what_a_shipped_profile_hides() {
        let shipped = layer("[filesystem]\nhide = [\"/a\"]");
        let own = layer("[namespaces]\nmount = false");
        let layers = [
            (Origin::BuiltIn("x".to_owned()), shipped),
            (Origin::CommandLine, own),
        ];
        let policy = combine(&layers).unwrap();
        assert_eq!(policy.filesystem.hide, Vec::<PathBuf>::new());
        assert_eq!(policy.filesystem.proc, View::Host);
        let explained = explain(&layers).unwrap();
        let of = |path: &str| explained.iter().find(|e| e.key.path() == path).unwrap();
        assert_eq!(of("filesystem.proc").source, Source::Follows);
        assert_eq!(
            of("namespaces.mount").source,
            Source::Layer(Origin::CommandLine, Some(2))
        );
    }

    #[test]
    fn a_policy_and_its_layer_are_the_same() {
        let policy = combine(&[(Origin::CommandLine, layer("[cgroup]\ncpu = 1.5"))]).unwrap();
        let again = combine(&[(Origin::CommandLine, Layer::from(&policy))]).unwrap();
        assert_eq!(again, policy);
    }
}
