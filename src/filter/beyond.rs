//! Calls beyond a profile, told while it is learned what a command makes (`sandbox learn`).
//!
//! Pure; runs in the launcher, and in the supervisor for each call that is told. A call that the profile
//! refuses whatever its arguments is let through by the filter and told instead, so that it is seen; then
//! it is refused all the same, or goes on.
//!
//! It goes on only where the profile's author said nothing about it (its default refuses it), and the
//! shipped profile `default`, which is for any program that nobody knows, would let this very call
//! through. What a rule refuses stays refused: namespaces, mounts, tracing, keyrings, rings and the like
//! in every shipped profile. No more is decided by a call than its number and the values of its
//! arguments, which nobody can change meanwhile; what pointers point to does not matter to either.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::profile::{CallName, Clause, Rule, Verdict};
use super::resolve::Call;
use super::{Context, Program, Table, compile, interpret, load, resolve};
use crate::error::Result;

/// Calls that no rule of any shipped profile names, and that are as harmless as what it names.
const HARMLESS: &[&str] = &["remap_file_pages", "sysfs", "ustat", "vmsplice"];
/// One that is never let go on: it is a way into other processes, and some profiles let it.
const NEVER: &[&str] = &["ptrace"];
/// Ones that are not told: run-time libraries try them first, always, and do as well without.
const UNTOLD: &[&str] = &["clone3"];
/// EPERM: in the place of a verdict that kills, so that more can be learned.
const REFUSED: i32 = 1;

/// What is told, and what is said to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beyond {
    told: BTreeMap<u32, Call>,
    /// What the profile `default` says.
    ordinary: Table,
}

/// What becomes of a call that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    GoesOn,
    /// With this errno, or 0 for "not made, and returns 0"; and why.
    Refused(i32, Arc<str>),
}

impl Beyond {
    /// The numbers of the calls that are told.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.told.keys().copied()
    }

    /// What becomes of a call; `None` for one that the profile permits. `under` is what lies under the
    /// profile without anything told: what that refuses stays refused too.
    pub(crate) fn judge(
        &self,
        number: u32,
        arguments: &[u64; 6],
        under: Verdict,
    ) -> Option<(&'static str, Fate)> {
        let call = self.told.get(&number)?;
        let named = HARMLESS.contains(&call.name);
        let ordinary = named || self.ordinary.verdict(number, arguments).permits();
        let refused = |reason: Arc<str>| Fate::Refused(errno(call.verdict(arguments)), reason);
        let fate = match call.reasons.first() {
            Some(reason) => refused(Arc::clone(reason)),
            None if NEVER.contains(&call.name) => {
                refused("it is a way into other processes".into())
            }
            None if !ordinary || !under.permits() => {
                refused("no shipped profile lets just any program make it".into())
            }
            None => Fate::GoesOn,
        };
        Some((call.name, fate))
    }
}

impl Beyond {
    /// What a profile says that lets `name` through, as [`super::parse_profile`] reads it, below a rule's
    /// reason: no more than the profile `default` does.
    pub(crate) fn rule(&self, name: &str) -> String {
        let mut rule = format!("calls = [\"{name}\"]\n");
        let ordinary = self.ordinary.calls.values().find(|call| call.name == name);
        let Some(call) = ordinary.filter(|_| !HARMLESS.contains(&name)) else {
            return rule + "verdict = \"allow\"\n";
        };
        if !call.clauses.is_empty() {
            rule.push_str("when = [\n");
            for clause in &call.clauses {
                let tests: Vec<String> = clause.when.iter().map(ToString::to_string).collect();
                let verdict = clause.verdict;
                rule.push_str(&format!(
                    "  {{ if = \"{}\", verdict = \"{verdict}\" }},\n",
                    tests.join(" and ")
                ));
            }
            rule.push_str("]\n");
        }
        rule + &format!("verdict = \"{}\"\n", call.otherwise)
    }
}

/// The program for a profile by name or path that lets through what is told, and what that is.
///
/// # Errors
/// Those of [`load`] and [`compile`].
pub(crate) fn beyond(name_or_path: &str, context: &Context) -> Result<(Program, Beyond)> {
    let mut profile = load(name_or_path)?;
    let table = resolve(&profile, context)?;
    let refuses = |call: &Call| {
        let permits = |clause: &Clause| clause.verdict.permits();
        !call.otherwise.permits() && !call.clauses.iter().any(permits)
    };
    let told: BTreeMap<u32, Call> = table
        .calls
        .into_iter()
        .filter(|(_, call)| refuses(call) && !UNTOLD.contains(&call.name))
        .collect();
    // After the overlays, before all else: what an overlay takes away is neither made nor told.
    let seen = Rule {
        calls: told
            .values()
            .filter_map(|call| CallName::find(call.name))
            .collect(),
        clauses: vec![Clause {
            when: Vec::new(),
            verdict: Verdict::Allow,
        }],
        reason: "told to the supervisor".into(),
        applies: super::profile::Applies::default(),
    };
    profile.rules.insert(0, seen);
    let program = compile(&profile, context)?;
    // As for any program: what a capability lets is not learned from who has it.
    let anybody = Context {
        cap_add: Vec::new(),
        ..context.clone()
    };
    let ordinary = resolve(&load("default")?, &anybody)?;
    Ok((program, Beyond { told, ordinary }))
}

fn errno(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Errno(errno) => i32::from(errno),
        _ => REFUSED,
    }
}

/// What `under` says of a call, without what it tells.
pub(crate) fn verdict_of(under: &Program, number: u32, arguments: &[u64; 6]) -> Verdict {
    interpret(under, super::Arch::native().audit_word(), number, arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Arch, builtin_names, number};

    const ANY: Verdict = Verdict::Allow;

    fn of(profile: &str) -> (Program, Beyond) {
        beyond(profile, &Context::default()).unwrap()
    }

    fn fate(beyond: &Beyond, name: &str, arguments: [u64; 6]) -> Option<Fate> {
        let number = number(name, Arch::native()).unwrap();
        beyond.judge(number, &arguments, ANY).map(|(_, fate)| fate)
    }

    #[test]
    fn what_a_rule_refuses_is_told_and_stays_refused() {
        for profile in builtin_names() {
            let (program, beyond) = of(profile);
            for name in [
                "mount",
                "setns",
                "bpf",
                "keyctl",
                "kexec_load",
                "io_uring_setup",
                "userfaultfd",
                "perf_event_open",
                "init_module",
                "pidfd_getfd",
                "chroot",
                "reboot",
            ] {
                let fate = fate(&beyond, name, [0; 6]);
                assert!(
                    matches!(fate, Some(Fate::Refused(1 | 38, _))),
                    "{profile} {name}: {fate:?}"
                );
                let number = number(name, Arch::native()).unwrap();
                assert!(
                    verdict_of(&program, number, &[0; 6]).permits(),
                    "{name} is not seen"
                );
            }
            assert_eq!(fate(&beyond, "read", [0; 6]), None);
            // Of these something is permitted: the filter looks at the arguments as ever.
            for (name, arguments) in [
                ("socket", [40, 1, 0, 0, 0, 0]),
                ("clone", [0x1000_0000, 0, 0, 0, 0, 0]),
                ("unshare", [0x1000_0000, 0, 0, 0, 0, 0]),
                ("ioctl", [0, 0x5412, 0, 0, 0, 0]),
                ("clone3", [0; 6]),
            ] {
                assert_eq!(fate(&beyond, name, arguments), None, "{profile} {name}");
                let number = number(name, Arch::native()).unwrap();
                let verdict = verdict_of(&program, number, &arguments);
                assert!(!verdict.permits(), "{profile} {name}: {verdict:?}");
            }
        }
        let ptrace = fate(&of("agent").1, "ptrace", [0; 6]);
        assert!(matches!(ptrace, Some(Fate::Refused(1, _))), "{ptrace:?}");
        let splice = fate(&of("strict").1, "splice", [0; 6]);
        assert!(matches!(splice, Some(Fate::Refused(38, _))), "{splice:?}");
    }

    #[test]
    fn what_only_the_default_refuses_goes_on_where_the_default_profile_permits_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("few.toml");
        let needed = crate::filter::CHILD_CALLS
            .iter()
            .chain(crate::filter::INIT_CALLS);
        let needed: Vec<String> = needed.map(|name| format!("{name:?}")).collect();
        let text = format!(
            "description = \"few\"\ndefault = \"kill\"\n\
             [[rule]]\nreason = \"needed\"\ncalls = [{}]\nverdict = \"allow\"\n\
             [[rule]]\nreason = \"mine\"\ncalls = [\"unlink\"]\nverdict = \"errno EACCES\"\n",
            needed.join(", ")
        );
        std::fs::write(&path, text).unwrap();
        let (_, beyond) = of(path.to_str().unwrap());
        let goes_on = |name, arguments| fate(&beyond, name, arguments) == Some(Fate::GoesOn);
        for (name, arguments) in [
            ("openat", [0; 6]),
            ("socket", [2, 1, 0, 0, 0, 0]),
            ("clone", [0x11, 0, 0, 0, 0, 0]),
            ("ioctl", [0, 0x5401, 0, 0, 0, 0]),
            ("vmsplice", [0; 6]),
        ] {
            assert!(goes_on(name, arguments), "{name}");
        }
        for (name, arguments) in [
            ("socket", [40, 1, 0, 0, 0, 0]),
            ("socket", [2, 3, 0, 0, 0, 0]),
            ("clone", [0x1000_0011, 0, 0, 0, 0, 0]),
            ("unshare", [0x4000_0000, 0, 0, 0, 0, 0]),
            ("ioctl", [0, 0x5412, 0, 0, 0, 0]),
            ("ioctl", [0, 0x5412 | 7 << 32, 0, 0, 0, 0]),
            ("personality", [0x40_0000, 0, 0, 0, 0, 0]),
            ("mknod", [0, 0o020_000, 0, 0, 0, 0]),
            ("ptrace", [0; 6]),
            ("mount", [0; 6]),
            ("bpf", [0; 6]),
            ("io_uring_setup", [0; 6]),
            ("setns", [0; 6]),
            ("keyctl", [0; 6]),
            ("kexec_load", [0; 6]),
            ("modify_ldt", [0; 6]),
        ] {
            if number(name, Arch::native()).is_some() {
                let fate = fate(&beyond, name, arguments);
                assert!(
                    matches!(fate, Some(Fate::Refused(1, _))),
                    "{name}: {fate:?}"
                );
            }
        }
        // The rule that is learned for one lets no more through than the profile `default`.
        let default = resolve(&load("default").unwrap(), &Context::default()).unwrap();
        for name in [
            "socket",
            "clone",
            "ioctl",
            "openat",
            "personality",
            "mount",
            "vmsplice",
        ] {
            let rule = beyond.rule(name);
            let text = format!(
                "description = \"d\"\nextends = \"default\"\n[[rule]]\nreason = \"r\"\n{rule}"
            );
            let read = crate::filter::parse_profile(std::path::Path::new("x"), &text).unwrap();
            let table = resolve(&read, &Context::default()).unwrap();
            let Some(number) = number(name, Arch::native()) else {
                continue;
            };
            for (first, second) in [
                (0, 0),
                (1, 1),
                (2, 1),
                (2, 3),
                (40, 1),
                (0x1000_0011, 0),
                (0, 0x5412),
            ] {
                let arguments = [first, second, 0, 0, 0, 0];
                let expected = match name {
                    "vmsplice" => Verdict::Allow,
                    _ => default.verdict(number, &arguments),
                };
                assert_eq!(
                    table.verdict(number, &arguments),
                    expected,
                    "{name} {arguments:?}: {rule}"
                );
            }
        }
        // A rule of the profile's author, though every other profile lets it.
        if number("unlink", Arch::native()).is_some() {
            let own = fate(&beyond, "unlink", [0; 6]);
            assert_eq!(own, Some(Fate::Refused(13, "mine".into())));
        }
        // What lies under the profile counts too.
        let socket = number("socket", Arch::native()).unwrap();
        let judged = beyond.judge(socket, &[1, 2, 0, 0, 0, 0], Verdict::Errno(94));
        assert!(matches!(judged, Some((_, Fate::Refused(..)))), "{judged:?}");
    }
}
