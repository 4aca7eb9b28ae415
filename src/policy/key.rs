//! Every key of a policy file, once: name, type, meaning, the flag that sets it, an example, and how
//! a layer's field is read and shown.
//!
//! Pure data. The parser, the schema, the table in `policies/README.md` and sandbox-policy(5),
//! `sandbox policy explain` and the advice for a mistyped key are all made from [`KEYS`]. A new key
//! is a field of [`Layer`], a field of [`super::Policy`] and a row here.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use super::parse::Item;
use super::spec;
use super::value::Value;
use super::{Carrier, Inspect, Layer, Policy, Seccomp, Strictness, UserNamespace, View};
use crate::document::Fault;
use crate::egress::budget;
use crate::egress::destination::Destination;

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text that the meaning describes.
    Text,
    /// A list of texts.
    Texts,
    /// A list of paths, absolute, or from `~`, or relative to the file's directory.
    Paths,
    /// A table of texts.
    Table,
    /// A length of time: `30s`, `5m`, `1h30m`, or a number of seconds.
    Duration,
    /// A size: `512M`, or a number of bytes.
    Size,
    /// A whole number.
    Count,
    /// A number.
    Number,
    /// A resource limit: `SOFT` or `SOFT:HARD`, each a number or `unlimited`.
    Limit,
}

impl Kind {
    /// The type in a document's words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Choice(words) => words.join(", "),
            Self::Text => "text".to_owned(),
            Self::Texts => "list of texts".to_owned(),
            Self::Paths => "list of paths".to_owned(),
            Self::Table => "table of texts".to_owned(),
            Self::Duration => "time".to_owned(),
            Self::Size => "size".to_owned(),
            Self::Count => "whole number".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Limit => "limit".to_owned(),
        }
    }

    /// Whether the layers' values add up; otherwise the last layer's stands.
    #[must_use]
    pub fn adds_up(self) -> bool {
        matches!(self, Self::Texts | Self::Paths | Self::Table)
    }
}

/// One key of a policy file.
#[derive(Debug)]
#[non_exhaustive]
pub struct Key {
    /// Its section, empty for the keys before the first section.
    pub section: &'static str,
    /// Its name within the section.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it means, in one line.
    pub meaning: &'static str,
    /// The flag that sets it, empty where none does.
    pub flag: &'static str,
    /// A value as it stands in a file.
    pub example: &'static str,
    pub(crate) read: fn(&mut Layer, &Item<'_, '_>) -> Result<(), Fault>,
    pub(crate) value: fn(&Layer) -> Option<Value>,
}

impl Key {
    /// `section.name`, or the name alone before the first section.
    #[must_use]
    pub fn path(&self) -> String {
        if self.section.is_empty() {
            return self.name.to_owned();
        }
        format!("{}.{}", self.section, self.name)
    }

    /// What `layer` says of the key; `None` if nothing.
    #[must_use]
    pub fn value(&self, layer: &Layer) -> Option<Value> {
        (self.value)(layer)
    }

    /// The value where no layer says anything ([`Policy::nothing`]).
    #[must_use]
    pub fn default(&self) -> Option<Value> {
        self.value(&Layer::from(&Policy::nothing()))
    }
}

/// The key `name` of `section`.
#[must_use]
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
}

/// The key that is called `path` (`network.mode`).
#[must_use]
pub fn find_path(path: &str) -> Option<&'static Key> {
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    find(section, name)
}

/// The sections, in the order of the table.
pub fn sections() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    KEYS.iter().filter_map(move |key| {
        let new = key.section != last;
        last = key.section;
        new.then_some(key.section)
    })
}

macro_rules! keys {
    ($([$section:literal] { $($name:literal: $kind:expr, $flag:literal, $example:literal,
        $meaning:literal,
        read $read:expr,
        value $value:expr;)* })*) => {
        /// Every key, in the order of documents; the keys of a section stand together.
        pub static KEYS: &[Key] = &[$($(Key {
            section: $section,
            name: $name,
            kind: $kind,
            meaning: $meaning,
            flag: $flag,
            example: $example,
            read: $read,
            value: $value,
        },)*)*];
    };
}

const VIEWS: Kind = Kind::Choice(&["own", "host"]);

keys! {
    [""] {
        "description": Kind::Text, "", "\"builds of our site\"",
            "One line saying for whom the policy is",
            read |layer, item| { layer.description = Some(item.text(|t| Ok(t.to_owned()))?); Ok(()) },
            value |layer| layer.description.as_ref().map(Value::text);
        "extends": Kind::Text, "--policy NAME|FILE", "\"build\"",
            "The policy that this one is laid over: a name, a file, or \"nothing\"; without it, the one of the same name below, else \"default\"",
            read |layer, item| { layer.extends = Some(item.text(|t| Ok(t.to_owned()))?); Ok(()) },
            value |layer| layer.extends.as_ref().map(Value::text);
        "require": Kind::Choice(&["best-effort", "standard", "full"]), "--require LEVEL", "\"full\"",
            "How much must be had of this host: all that can be, all save second walls of newer kernels, or those too",
            read |layer, item| { layer.require = Some(item.text(spec::strictness)?); Ok(()) },
            value |layer| layer.require.map(|level| Value::text(match level {
                Strictness::BestEffort => "best-effort",
                Strictness::Standard => "standard",
                Strictness::Full => "full",
            }));
    }
    ["network"] {
        "mode": Kind::Text, "--net MODE", "\"fds\"",
            "What there is of the network: loopback, none, fds (only passed descriptors), ns:NAME, ns:/PATH, or host (no isolation)",
            read |layer, item| { layer.network = Some(item.text(|t| spec::network(OsStr::new(t)))?); Ok(()) },
            value |layer| layer.network.as_ref().map(|mode| Value::Text(spec::show_network(mode)));
        "unix-sockets": Kind::Choice(&["own", "datagrams", "any"]), "--unix-sockets WHICH", "\"own\"",
            "Which Unix sockets may be connected to by their path: the sandbox's own and those of unix:PATH, these and datagrams to any, or any in sight",
            read |layer, item| { layer.unix_sockets = Some(item.text(spec::unix_sockets)?); Ok(()) },
            value |layer| layer.unix_sockets.map(|which| Value::text(spec::show_unix_sockets(which)));
    }
    ["egress"] {
        "allow": Kind::Texts, "--allow DEST", "[\"api.example.com:443\"]",
            "Destinations that may be reached: HOST:PORT, *.HOST:PORT, IP[/BITS]:PORT, after udp:// by UDP; unix:PATH; @SET",
            read |layer, item| { layer.egress.allow = item.list(spec::destination)?; Ok(()) },
            value |layer| Value::list(layer.egress.allow.iter().map(|dest| dest.to_string().into()));
        "deny": Kind::Texts, "--deny DEST", "[\"10.0.0.0/8:1-65535\"]",
            "Destinations that may not be reached, whatever is allowed",
            read |layer, item| { layer.egress.deny = item.list(spec::destination)?; Ok(()) },
            value |layer| Value::list(layer.egress.deny.iter().map(|dest| dest.to_string().into()));
        "inspect": Kind::Flag, "--inspect", "true",
            "What is sent by TCP to an allowed name must be TLS or HTTP and name it; nothing is decrypted",
            read |layer, item| { layer.egress.inspect = Some(inspect(item.flag()?)); Ok(()) },
            value |layer| layer.egress.inspect.map(|inspect| Value::Flag(inspect == Inspect::Yes));
        "engine": Kind::Choice(&["relay", "direct"]), "--egress ENGINE", "\"direct\"",
            "How allowed TCP connections are carried: by the supervisor (relay), or where that can be done by a socket of the host that the command gets once it is connected (direct)",
            read |layer, item| { layer.egress.engine = Some(item.text(spec::carrier)?); Ok(()) },
            value |layer| layer.egress.engine.map(|engine| Value::text(match engine {
                Carrier::Relay => "relay",
                Carrier::Direct => "direct",
            }));
        "publish": Kind::Texts, "--publish OUT:IN", "[\"127.0.0.1:8080:8000\"]",
            "Ports of the sandbox's loopback that the host reaches: [ADDRESS:]PORT outside, PORT inside; no way out",
            read |layer, item| { layer.egress.publish = item.list(spec::publish)?; Ok(()) },
            value |layer| Value::list(layer.egress.publish.iter().map(|publish| publish.to_string().into()));
        "max-bytes": Kind::Table, "--max-bytes DEST=SIZE", "{ \"api.example.com:443\" = \"10M\" }",
            "How many bytes may go to and from a destination in all; then its connections are cut off",
            read |layer, item| {
                let budgets = item.pairs(|to, most| budget::bytes(&to.to_string_lossy(), &most.to_string_lossy()))?;
                layer.egress.budgets.bytes = budgets.into_iter().collect();
                Ok(())
            },
            value |layer| show_budgets(&layer.egress.budgets.bytes, "");
        "max-rate": Kind::Table, "--max-rate DEST=SIZE/s", "{ \"api.example.com:443\" = \"1M/s\" }",
            "How many bytes a second may go to and from a destination; what is more waits",
            read |layer, item| {
                let budgets = item.pairs(|to, most| budget::rate(&to.to_string_lossy(), &most.to_string_lossy()))?;
                layer.egress.budgets.rates = budgets.into_iter().collect();
                Ok(())
            },
            value |layer| show_budgets(&layer.egress.budgets.rates, "/s");
        "proxy-env": Kind::Count, "--proxy-env", "3128",
            "An HTTP and SOCKS5 proxy on this port of the sandbox's loopback, which HTTP_PROXY and the like name, for programs that insist on one",
            read |layer, item| { layer.egress.proxy_env = Some(item.number(spec::proxy_port)?); Ok(()) },
            value |layer| layer.egress.proxy_env.map(|port| Value::Count(port.into()));
    }
    ["namespaces"] {
        "user": Kind::Choice(&["auto", "yes", "no"]), "--userns WHEN", "\"yes\"",
            "A user namespace: always, never (needs root), or where the host has them",
            read |layer, item| { layer.namespaces.user = Some(item.text(spec::user_namespace)?); Ok(()) },
            value |layer| layer.namespaces.user.map(|when| Value::text(match when {
                UserNamespace::Auto => "auto",
                UserNamespace::Yes => "yes",
                UserNamespace::No => "no",
            }));
        "pid": Kind::Flag, "--share pid", "true",
            "A process namespace: the sandbox sees, and can signal, only its own processes, and ends as one",
            read |layer, item| { layer.namespaces.pid = Some(item.flag()?); Ok(()) },
            value |layer| layer.namespaces.pid.map(Value::Flag);
        "mount": Kind::Flag, "--share mount", "true",
            "A mount namespace; everything in [filesystem] needs it",
            read |layer, item| { layer.namespaces.mount = Some(item.flag()?); Ok(()) },
            value |layer| layer.namespaces.mount.map(Value::Flag);
        "ipc": Kind::Flag, "--share ipc", "true",
            "An ipc namespace: none of the host's System V objects and message queues",
            read |layer, item| { layer.namespaces.ipc = Some(item.flag()?); Ok(()) },
            value |layer| layer.namespaces.ipc.map(Value::Flag);
        "uts": Kind::Flag, "--share uts", "true",
            "A uts namespace: a host name of its own",
            read |layer, item| { layer.namespaces.uts = Some(item.flag()?); Ok(()) },
            value |layer| layer.namespaces.uts.map(Value::Flag);
        "cgroup": Kind::Flag, "--share cgroup", "true",
            "A cgroup namespace: the host's control groups are not shown",
            read |layer, item| { layer.namespaces.cgroup = Some(item.flag()?); Ok(()) },
            value |layer| layer.namespaces.cgroup.map(Value::Flag);
    }
    ["filesystem"] {
        "proc": VIEWS, "--proc VIEW", "\"own\"",
            "/proc: one that shows only the sandbox's processes, or the host's",
            read |layer, item| { layer.filesystem.proc = Some(item.text(spec::view)?); Ok(()) },
            value |layer| layer.filesystem.proc.map(show_view);
        "sys": VIEWS, "--sys VIEW", "\"own\"",
            "/sys: one that shows only the sandbox's network devices, or the host's",
            read |layer, item| { layer.filesystem.sys = Some(item.text(spec::view)?); Ok(()) },
            value |layer| layer.filesystem.sys.map(show_view);
        "dev": VIEWS, "--dev VIEW", "\"own\"",
            "/dev: a minimal one with the harmless devices, or the host's",
            read |layer, item| { layer.filesystem.dev = Some(item.text(spec::view)?); Ok(()) },
            value |layer| layer.filesystem.dev.map(show_view);
        "private-tmp": Kind::Flag, "--private-tmp", "true",
            "An empty /tmp and /var/tmp of its own",
            read |layer, item| { layer.filesystem.private_tmp = Some(item.flag()?); Ok(()) },
            value |layer| layer.filesystem.private_tmp.map(Value::Flag);
        "hide": Kind::Paths, "--hide PATH", "[\"~/.ssh\"]",
            "Trees and files covered with nothing",
            read |layer, item| { layer.filesystem.hide = item.list(spec::path)?; Ok(()) },
            value |layer| Value::paths(&layer.filesystem.hide);
        "hide-sockets": Kind::Flag, "--hide-sockets", "true",
            "Cover every Unix socket of the host that the sandbox could see by its path",
            read |layer, item| { layer.filesystem.hide_sockets = Some(item.flag()?); Ok(()) },
            value |layer| layer.filesystem.hide_sockets.map(Value::Flag);
        "read-only": Kind::Paths, "--read-only PATH", "[\"/\"]",
            "Trees made read-only",
            read |layer, item| { layer.filesystem.read_only = item.list(spec::path)?; Ok(()) },
            value |layer| Value::paths(&layer.filesystem.read_only);
        "read-write": Kind::Paths, "--read-write PATH", "[\"./target\"]",
            "Trees kept writable below read-only ones",
            read |layer, item| { layer.filesystem.read_write = item.list(spec::path)?; Ok(()) },
            value |layer| Value::paths(&layer.filesystem.read_write);
    }
    ["process"] {
        "seccomp": Kind::Text, "--seccomp PROFILE", "\"strict\"",
            "The system-call filter: a shipped profile, a file (ours, or OCI JSON), or \"off\"",
            read |layer, item| { layer.process.seccomp = Some(item.text(spec::seccomp)?); Ok(()) },
            value |layer| layer.process.seccomp.as_ref().map(|seccomp| match seccomp {
                Seccomp::Profile(name) => Value::text(name),
                Seccomp::Off => Value::text("off"),
            });
        "cap-add": Kind::Texts, "--cap-add NAME", "[\"net_bind_service\"]",
            "Capabilities kept; none by default (capabilities(7))",
            read |layer, item| { layer.process.cap_add = item.list(|t| spec::capability(&t.to_string_lossy()))?; Ok(()) },
            value |layer| Value::list(layer.process.cap_add.iter().map(|n| spec::show_capability(*n).into()));
        "as-pid-1": Kind::Flag, "--as-pid-1", "true",
            "Leave out our init: the command is process 1 itself and has to reap",
            read |layer, item| { layer.process.as_pid_1 = Some(item.flag()?); Ok(()) },
            value |layer| layer.process.as_pid_1.map(Value::Flag);
        "new-session": Kind::Flag, "--new-session", "true",
            "A new session, without the caller's terminal and job control (setsid(2))",
            read |layer, item| { layer.process.new_session = Some(item.flag()?); Ok(()) },
            value |layer| layer.process.new_session.map(Value::Flag);
        "user": Kind::Text, "--user USER", "\"nobody\"",
            "Run as this user, a name or number; needs root",
            read |layer, item| { layer.process.user = Some(item.number(spec::account)?); Ok(()) },
            value |layer| layer.process.user.as_ref().map(Value::text);
        "group": Kind::Text, "--group GROUP", "\"nogroup\"",
            "Run as this group, a name or number; needs root",
            read |layer, item| { layer.process.group = Some(item.number(spec::account)?); Ok(()) },
            value |layer| layer.process.group.as_ref().map(Value::text);
        "chdir": Kind::Text, "--chdir PATH", "\"/srv/work\"",
            "The working directory inside",
            read |layer, item| { layer.process.chdir = Some(item.text(|t| spec::path(OsStr::new(t)))?); Ok(()) },
            value |layer| layer.process.chdir.as_ref().map(Value::text);
        "hostname": Kind::Text, "--hostname NAME", "\"sandbox\"",
            "The host name inside",
            read |layer, item| { layer.process.hostname = Some(item.text(spec::hostname)?); Ok(()) },
            value |layer| layer.process.hostname.as_ref().map(Value::text);
        "timeout": Kind::Duration, "--timeout DURATION", "\"5m\"",
            "End everything after this long, with status 124",
            read |layer, item| { layer.process.timeout = Some(item.number(spec::duration)?); Ok(()) },
            value |layer| layer.process.timeout.map(|t| Value::text(spec::show_duration(t)));
        "kill-after": Kind::Duration, "--kill-after DURATION", "\"10s\"",
            "How long after the time-out's SIGTERM the SIGKILL comes",
            read |layer, item| { layer.process.kill_after = Some(item.number(spec::duration)?); Ok(()) },
            value |layer| layer.process.kill_after.map(|t| Value::text(spec::show_duration(t)));
    }
    ["environment"] {
        "clear": Kind::Flag, "--clear-env", "true",
            "Start from no variables instead of the caller's",
            read |layer, item| { layer.environment.clear = Some(item.flag()?); Ok(()) },
            value |layer| layer.environment.clear.map(Value::Flag);
        "keep": Kind::Texts, "--keep-env NAME", "[\"PATH\", \"LC_*\"]",
            "With clear, variables kept all the same; * at the end matches any rest",
            read |layer, item| { layer.environment.keep = item.list(spec::variable_pattern)?; Ok(()) },
            value |layer| Value::list(layer.environment.keep.iter().cloned());
        "unset": Kind::Texts, "--unset-env NAME", "[\"AWS_*\"]",
            "Variables removed; * at the end matches any rest",
            read |layer, item| { layer.environment.unset = item.list(spec::variable_pattern)?; Ok(()) },
            value |layer| Value::list(layer.environment.unset.iter().cloned());
        "set": Kind::Table, "--env NAME=VALUE", "{ LANG = \"C.UTF-8\" }",
            "Variables set, last of all",
            read |layer, item| {
                let pairs = item.pairs(|name, value| {
                    Ok((spec::variable_name(name)?, spec::variable_value(value)?))
                })?;
                layer.environment.set = pairs.into_iter().collect();
                Ok(())
            },
            value |layer| {
                let set = &layer.environment.set;
                let pairs = set.iter().map(|(name, value)| (name.clone(), value.clone()));
                (!set.is_empty()).then(|| Value::Map(pairs.collect()))
            };
    }
    ["limits"] {
        "cpu": Kind::Limit, "--limit cpu=SECONDS", "\"60\"", "Processor time, in seconds",
            read read_limit, value |layer| show_limit(layer, "cpu");
        "fsize": Kind::Limit, "--limit fsize=SIZE", "\"1G\"", "Size of a file written",
            read read_limit, value |layer| show_limit(layer, "fsize");
        "data": Kind::Limit, "--limit data=SIZE", "\"2G\"", "Private writable memory of a process",
            read read_limit, value |layer| show_limit(layer, "data");
        "stack": Kind::Limit, "--limit stack=SIZE", "\"8M\"", "Stack of a process",
            read read_limit, value |layer| show_limit(layer, "stack");
        "core": Kind::Limit, "--limit core=SIZE", "\"1\"",
            "Size of a core dump; 1 also keeps the kernel from starting the host's dump handler (core(5))",
            read read_limit, value |layer| show_limit(layer, "core");
        "rss": Kind::Limit, "--limit rss=SIZE", "\"1G\"", "Resident memory; no effect since Linux 2.4.30",
            read read_limit, value |layer| show_limit(layer, "rss");
        "nproc": Kind::Limit, "--limit nproc=NUMBER", "\"500\"",
            "Processes and threads of the user, everywhere, which root is not held to; [cgroup] pids counts the sandbox alone",
            read read_limit, value |layer| show_limit(layer, "nproc");
        "nofile": Kind::Limit, "--limit nofile=NUMBER", "\"1024:4096\"", "Open descriptors of a process",
            read read_limit, value |layer| show_limit(layer, "nofile");
        "memlock": Kind::Limit, "--limit memlock=SIZE", "\"64K\"", "Locked memory",
            read read_limit, value |layer| show_limit(layer, "memlock");
        "as": Kind::Limit, "--limit as=SIZE", "\"4G\"", "Address space of a process",
            read read_limit, value |layer| show_limit(layer, "as");
        "locks": Kind::Limit, "--limit locks=NUMBER", "\"100\"", "File locks; no effect since Linux 2.4.25",
            read read_limit, value |layer| show_limit(layer, "locks");
        "sigpending": Kind::Limit, "--limit sigpending=NUMBER", "\"1000\"", "Signals queued",
            read read_limit, value |layer| show_limit(layer, "sigpending");
        "msgqueue": Kind::Limit, "--limit msgqueue=SIZE", "\"800K\"", "POSIX message queues",
            read read_limit, value |layer| show_limit(layer, "msgqueue");
        "nice": Kind::Limit, "--limit nice=NUMBER", "\"20\"", "Ceiling of the nice value, as 20 minus it",
            read read_limit, value |layer| show_limit(layer, "nice");
        "rtprio": Kind::Limit, "--limit rtprio=NUMBER", "\"0\"", "Ceiling of the real-time priority",
            read read_limit, value |layer| show_limit(layer, "rtprio");
        "rttime": Kind::Limit, "--limit rttime=NUMBER", "\"200000\"",
            "Microseconds of real-time processor time without a blocking call",
            read read_limit, value |layer| show_limit(layer, "rttime");
    }
    ["cgroup"] {
        "memory": Kind::Size, "--cgroup memory=SIZE", "\"512M\"",
            "Memory of the whole sandbox, without swap (memory.max, memory.swap.max)",
            read |layer, item| { layer.cgroup.memory = Some(item.number(spec::cgroup_memory)?); Ok(()) },
            value |layer| layer.cgroup.memory.map(|bytes| Value::text(spec::show_size(bytes)));
        "pids": Kind::Count, "--cgroup pids=NUMBER", "100",
            "Processes and threads of the whole sandbox (pids.max)",
            read |layer, item| { layer.cgroup.pids = Some(item.number(spec::cgroup_pids)?); Ok(()) },
            value |layer| layer.cgroup.pids.map(Value::Count);
        "cpu": Kind::Number, "--cgroup cpu=NUMBER", "1.5",
            "Processors of the whole sandbox (cpu.max)",
            read |layer, item| { layer.cgroup.cpu = Some(item.number(spec::cgroup_cpu)?); Ok(()) },
            value |layer| layer.cgroup.cpu.map(Value::Number);
    }
}

fn inspect(flag: bool) -> Inspect {
    match flag {
        true => Inspect::Yes,
        false => Inspect::No,
    }
}

fn show_budgets(budgets: &BTreeMap<Destination, u64>, unit: &str) -> Option<Value> {
    let pairs = budgets.iter().map(|(to, most)| {
        let most = format!("{}{unit}", spec::show_size(*most));
        (to.to_string().into(), most.into())
    });
    (!budgets.is_empty()).then(|| Value::Map(pairs.collect()))
}

fn show_view(view: View) -> Value {
    Value::text(match view {
        View::Own => "own",
        View::Host => "host",
    })
}

fn read_limit(layer: &mut Layer, item: &Item<'_, '_>) -> Result<(), Fault> {
    let limit = item.number(|text| spec::limit_value(item.key.name, text))?;
    layer
        .limits
        .retain(|other| other.resource != limit.resource);
    layer.limits.push(limit);
    Ok(())
}

fn show_limit(layer: &Layer, name: &str) -> Option<Value> {
    let limit = layer.limits.iter().find(|limit| limit.name == name)?;
    Some(Value::text(spec::show_limit(limit)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::parse::parse;
    use crate::policy::spec::RESOURCES;

    #[test]
    fn every_example_is_read_and_shown() {
        for key in KEYS {
            let section = match key.section {
                "" => String::new(),
                section => format!("[{section}]\n"),
            };
            let text = format!("{section}{} = {}", key.name, key.example);
            let layer = parse(Path::new("example"), &text).unwrap();
            let shown = key.value(&layer).expect("an example says something");
            let again = format!("{section}{} = {shown}", key.name);
            let mut reread = parse(Path::new("shown"), &again).unwrap();
            reread.lines.clone_from(&layer.lines);
            reread.extends_at = layer.extends_at;
            assert_eq!(reread, layer, "{again}");
        }
    }

    #[test]
    fn keys_are_named_once_and_sections_stand_together() {
        let mut paths: Vec<_> = KEYS.iter().map(Key::path).collect();
        let all = paths.len();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), all);
        let sections: Vec<_> = sections().collect();
        let mut once = sections.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), sections.len());
    }

    #[test]
    fn every_resource_has_a_key() {
        let limits: Vec<_> = KEYS
            .iter()
            .filter(|key| key.section == "limits")
            .map(|key| key.name)
            .collect();
        let resources: Vec<_> = RESOURCES.iter().map(|(name, ..)| *name).collect();
        assert_eq!(limits, resources);
    }
}
