//! A plan for people and for programs: `--dry-run[=text|json]`, and the `start` event.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::egress::destination::Destination;
use crate::mounts::Mount;
use crate::owner::NetworkOwner;
use crate::plan::{IdMaps, LowPorts, Plan};
use crate::policy::{Carrier, Cgroup, Egress, Inspect, UnixSockets, spec};
use crate::printable::Printable;

/// The plan as one JSON object. Documented in `docs/events.md`.
#[must_use]
pub fn json(plan: &Plan) -> Value {
    let filter = plan.filter.as_ref().map(|filter| {
        json!({
            "profile": plan.profile,
            "hash": filter.hash(),
            "instructions": filter.len(),
        })
    });
    json!({
        "policy": plan.policy,
        "program": plan.program.to_string_lossy(),
        "arguments": plan.argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>(),
        "directory": plan.directory.to_string_lossy(),
        "network": spec::show_network(&plan.network).to_string_lossy(),
        "low_ports": plan.low_ports != LowPorts::Closed,
        "namespaces": namespaces(plan),
        "ids": plan.id_maps,
        "joins_user_namespace": plan.network_owner == NetworkOwner::Joined,
        "identity": plan.identity,
        "init": plan.init,
        "capabilities": capabilities(plan),
        "no_new_privs": true,
        "landlock_scopes": plan.landlock_scopes,
        "filter": filter,
        "unix_sockets": unix_sockets(plan),
        "egress": egress(&plan.ways_out),
        "session_keyring": plan.new_keyring,
        "nested_user_namespaces": !plan.forbids_user_namespaces,
        "mounts": plan.mounts,
        "hostname": plan.hostname,
        "new_session": plan.new_session,
        "limits": plan
            .limits
            .iter()
            .map(|limit| format!("{}={}", limit.name, spec::show_limit(limit)))
            .collect::<Vec<_>>(),
        "cgroup": cgroup(&plan.cgroup),
        "descriptors": plan.descriptors.iter().map(|handed| &handed.name).collect::<Vec<_>>(),
        "environment": plan
            .environment
            .iter()
            .map(|(name, _)| name.to_string_lossy())
            .collect::<Vec<_>>(),
        "timeout_seconds": plan.timeout.map(|timeout| timeout.as_secs_f64()),
        "losses": plan.losses,
    })
}

/// The ways through the empty network, in and out; null where there is none.
fn egress(ways: &Egress) -> Value {
    if ways.is_empty() {
        return Value::Null;
    }
    json!({
        "allow": shown(&ways.allow),
        "deny": shown(&ways.deny),
        "inspect": ways.inspect == Inspect::Yes,
        "engine": engine(ways.engine),
        "publish": shown(&ways.publish),
        "max_bytes": budgets(&ways.budgets.bytes, ""),
        "max_rate": budgets(&ways.budgets.rates, "/s"),
        "proxy_env": ways.proxy_env,
    })
}

fn shown(words: &[impl ToString]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn budgets(budgets: &BTreeMap<Destination, u64>, unit: &str) -> BTreeMap<String, String> {
    let words = |(to, most): (&Destination, &u64)| {
        (to.to_string(), format!("{}{unit}", spec::show_size(*most)))
    };
    budgets.iter().map(words).collect()
}

fn engine(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Relay => "relay",
        Carrier::Direct => "direct",
    }
}

/// The limits of the sandbox as a whole, as `--cgroup` takes them.
fn cgroup(limits: &Cgroup) -> Vec<String> {
    let memory = limits
        .memory
        .map(|bytes| format!("memory={}", spec::show_size(bytes)));
    let pids = limits.pids.map(|most| format!("pids={most}"));
    let cpu = limits.cpu.map(|most| format!("cpu={most}"));
    [memory, pids, cpu].into_iter().flatten().collect()
}

/// Which Unix sockets may be connected to, as the policy says it.
fn unix_sockets(plan: &Plan) -> &'static str {
    spec::show_unix_sockets(plan.unix_sockets)
}

/// `word` as a shell takes it: in quotes where it would be none, or several, or something else.
fn shell_word(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "_-+=:,./@%".contains(c);
    if !word.is_empty() && !word.starts_with('=') && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The plan as lines for people.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let mut page = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{name:<14} {}", Printable(value));
    };
    let command: Vec<_> = plan.argv.iter().map(|word| shell_word(word)).collect();
    line("command", &command.join(" "));
    line("program", &plan.program.to_string_lossy());
    line("directory", &plan.directory.to_string_lossy());
    line("policy", &plan.policy);
    line(
        "network",
        &spec::show_network(&plan.network).to_string_lossy(),
    );
    if plan.low_ports != LowPorts::Closed {
        line("ports", "every one can be bound, those below 1024 too");
    }
    line("namespaces", &namespaces(plan).join(" "));
    line(
        "ids",
        &match plan.id_maps {
            IdMaps::None if plan.network_owner == NetworkOwner::Joined => {
                "those of the network's user namespace, which is joined".to_owned()
            }
            IdMaps::None => "the host's".to_owned(),
            IdMaps::Own { uid, gid } => format!("user {uid}, group {gid}, nobody else's"),
            IdMaps::All => "all, as outside".to_owned(),
        },
    );
    if let Some(identity) = &plan.identity {
        line(
            "run as",
            &format!(
                "user {}, group {}, no other groups",
                identity.uid, identity.gid
            ),
        );
    }
    line(
        "pid 1",
        if plan.init {
            "sandbox's init"
        } else {
            "the command, or the host's"
        },
    );
    let kept = capabilities(plan);
    line(
        "capabilities",
        &if kept.is_empty() {
            "none".to_owned()
        } else {
            kept.join(" ")
        },
    );
    line(
        "privileges",
        "no_new_privs, securebits locked, a new session keyring",
    );
    line(
        "Landlock",
        if plan.landlock_scopes {
            "signals and abstract sockets end at the sandbox"
        } else {
            "not on this kernel"
        },
    );
    match (&plan.profile, &plan.filter) {
        (Some(profile), Some(filter)) => line(
            "filter",
            &format!(
                "{profile}: {} instructions, {}",
                filter.len(),
                filter.hash()
            ),
        ),
        _ => line("filter", "off"),
    }
    line(
        "Unix sockets",
        match plan.unix_sockets {
            UnixSockets::Own => "streams to the sandbox's own and to those that are allowed",
            UnixSockets::Datagrams => {
                "streams to the sandbox's own and to those that are allowed; datagrams to any in sight"
            }
            UnixSockets::Any => "any in sight",
        },
    );
    for mount in &plan.mounts {
        line("file system", &mount_words(mount));
    }
    if let Some(name) = &plan.hostname {
        line("host name", name);
    }
    for limit in &plan.limits {
        line(
            "limit",
            &format!("{}={}", limit.name, spec::show_limit(limit)),
        );
    }
    for limit in cgroup(&plan.cgroup) {
        line("limit", &format!("{limit}, of the whole sandbox"));
    }
    for (number, handed) in (3..).zip(&plan.descriptors) {
        line(
            "descriptor",
            &format!("{number} {} ({:?})", handed.name, handed.kind),
        );
    }
    let ways = &plan.ways_out;
    for destination in &ways.allow {
        line("allowed", &destination.to_string());
    }
    if !ways.allow.is_empty() {
        for destination in &ways.deny {
            line("denied", &destination.to_string());
        }
        let inspected = match ways.inspect {
            Inspect::Yes => ", TLS and HTTP that name the host only",
            Inspect::No => "",
        };
        line("carried by", &format!("{}{inspected}", engine(ways.engine)));
    }
    for (budgets, unit) in [(&ways.budgets.bytes, ""), (&ways.budgets.rates, "/s")] {
        for (to, most) in budgets {
            let most = spec::show_size(*most);
            line("budget", &format!("{most}{unit} to and from {to}"));
        }
    }
    if let Some(port) = ways.proxy_env {
        line("proxy", &format!("at 127.0.0.1:{port} inside"));
    }
    for publish in plan.egress.iter().flat_map(|setup| &setup.published) {
        line(
            "published",
            &format!("port {} inside at {}", publish.inside, publish.outside),
        );
    }
    if let Some(timeout) = plan.timeout {
        line("time limit", &spec::show_duration(timeout));
    }
    for loss in &plan.losses {
        line("LOST", loss);
    }
    page
}

fn namespaces(plan: &Plan) -> Vec<&'static str> {
    let own = plan.namespaces;
    [
        (plan.user_namespace, "user"),
        (plan.network_namespace, "net"),
        (own.pid, "pid"),
        (own.mount, "mount"),
        (own.ipc, "ipc"),
        (own.uts, "uts"),
        (own.cgroup, "cgroup"),
    ]
    .into_iter()
    .filter_map(|(wanted, name)| wanted.then_some(name))
    .collect()
}

fn capabilities(plan: &Plan) -> Vec<String> {
    plan.capabilities
        .iter()
        .map(|&bit| spec::show_capability(bit))
        .collect()
}

fn mount_words(mount: &Mount) -> String {
    let verb = match mount {
        Mount::Proc => return "fresh /proc".to_owned(),
        Mount::Sys => return "fresh /sys, read-only".to_owned(),
        Mount::Dev { nodes, console } => {
            let console = console
                .as_ref()
                .map(|path| format!(", console is {}", path.display()));
            return format!(
                "minimal /dev: {}{}",
                nodes.join(" "),
                console.unwrap_or_default()
            );
        }
        Mount::File { source, path } => {
            return format!("{} in place of {}", source.display(), path.display());
        }
        Mount::Overlay { layer, directory } => {
            return format!(
                "what {} lacks, from {}; read-only",
                directory.display(),
                layer.display()
            );
        }
        Mount::ReadOnly(_) | Mount::ProcReadOnly(_) => "read-only",
        Mount::Pinned(_) => "not to be moved",
        Mount::ReadWrite(_) => "writable",
        Mount::ProcMask(_)
        | Mount::HideDirectory(_)
        | Mount::HideFile(_)
        | Mount::HideSocket(_) => "hidden",
        Mount::KeepSocket(path) => return format!("kept for later {}", path.display()),
        Mount::ShowSocket { path, .. } => return format!("shown again {}", path.display()),
        Mount::PrivateTmp(_) => "private",
    };
    format!("{verb} {}", mount.object())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_pasted_into_a_shell() {
        for (word, shown) in [
            ("make", "make"),
            ("--env=A=b,c:d/e", "--env=A=b,c:d/e"),
            ("", "''"),
            ("a b", "'a b'"),
            ("$HOME", "'$HOME'"),
            ("~", "'~'"),
            ("*", "'*'"),
            ("{a,b}", "'{a,b}'"),
            ("=cat", "'=cat'"),
            ("it's", r"'it'\''s'"),
            ("naïve", "naïve"),
        ] {
            assert_eq!(shell_word(OsStr::new(word)), shown);
        }
    }
}
