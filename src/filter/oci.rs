//! Import of seccomp profiles in the JSON format of the OCI runtime specification and of Docker.
//!
//! Pure, and meant for hostile text: anything is either a [`Profile`] or an error.
//!
//! What the formats leave to the engine is decided as the engines do:
//! * arguments are compared in 64 bits;
//! * tests of *different* arguments must all hold; if any argument is tested twice, each test of the
//!   entry counts on its own, any of them suffices;
//! * an entry without tests decides a call whatever other entries say; of several with tests the first
//!   that matches decides;
//! * an entry whose action and errno are the default's has no effect;
//! * names of calls that x86_64 and aarch64 do not have are without effect, and listed.
//!
//! Differently from them: sub-architectures (i386, x32, 32-bit ARM) stay refused, and TRACE and NOTIFY
//! are errors, because nobody would answer.

use std::path::Path;

use serde::Deserialize;

use super::parse::mistake;
use super::profile::{Applies, CallName, Clause, Condition, Profile, Rule, Test, Verdict, Width};
use super::{Arch, constants};
use crate::error::{Error, Result};

const EPERM: u32 = 1;
/// The highest errno that a filter can return (`MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: String,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u64,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// The profile in `text`, in the OCI runtime's or Docker's JSON format.
///
/// # Errors
///
/// [`Error::Policy`] (file "oci") with the place of a mistake in the JSON; what is wrong in an entry
/// is said with the entry's position in the list.
pub fn parse_oci(text: &str) -> Result<Profile> {
    parse_file(Path::new("oci"), text)
}

pub(crate) fn parse_file(file: &Path, text: &str) -> Result<Profile> {
    let parsed: File = serde_json::from_str(text).map_err(|error| json_error(file, &error))?;
    profile(&parsed)
        .map_err(|reason| mistake(file, text, 0, reason))
        .map(|profile| Profile {
            name: file.display().to_string(),
            ..profile
        })
}

fn json_error(file: &Path, error: &serde_json::Error) -> Error {
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    Error::Policy {
        file: file.to_owned(),
        line: error.line().max(1),
        column: error.column().max(1),
        reason: words.to_owned(),
    }
}

fn profile(file: &File) -> std::result::Result<Profile, String> {
    check_architectures(file)?;
    let default = verdict(
        &file.default_action,
        file.default_errno_ret,
        file.default_errno.as_deref(),
    )
    .map_err(|reason| format!("defaultAction: {reason}"))?;
    let (mut certain, mut tested) = (Vec::new(), Vec::new());
    let mut ignored = Vec::new();
    for (at, entry) in file.syscalls.iter().flatten().enumerate() {
        let rule =
            rule(entry, &mut ignored).map_err(|reason| format!("syscalls[{at}]: {reason}"))?;
        if rule.clauses.iter().all(|clause| clause.verdict == default) {
            continue;
        }
        if rule.clauses.iter().any(|clause| clause.when.is_empty()) {
            certain.push(rule);
        } else {
            tested.push(rule);
        }
    }
    certain.append(&mut tested);
    ignored.sort_unstable();
    ignored.dedup();
    Ok(Profile {
        name: String::new(),
        description: "imported from an OCI seccomp profile".to_owned(),
        default,
        rules: certain,
        ignored,
    })
}

/// A profile that lists architectures must list the one that we run on.
fn check_architectures(file: &File) -> std::result::Result<(), String> {
    let listed: Vec<&str> = match (&file.architectures, &file.arch_map) {
        (Some(names), _) if !names.is_empty() => names.iter().map(String::as_str).collect(),
        (_, Some(maps)) if !maps.is_empty() => {
            maps.iter().map(|map| map.architecture.as_str()).collect()
        }
        _ => return Ok(()),
    };
    if listed.iter().any(|name| oci_arch(name).is_some()) {
        return Ok(());
    }
    Err("it lists neither SCMP_ARCH_X86_64 nor SCMP_ARCH_AARCH64".to_owned())
}

fn oci_arch(name: &str) -> Option<Arch> {
    match name {
        "SCMP_ARCH_X86_64" | "amd64" | "x86_64" => Some(Arch::X86_64),
        "SCMP_ARCH_AARCH64" | "arm64" | "aarch64" => Some(Arch::Aarch64),
        _ => None,
    }
}

fn rule(entry: &Entry, ignored: &mut Vec<String>) -> std::result::Result<Rule, String> {
    let verdict = verdict(&entry.action, entry.errno_ret, entry.errno.as_deref())?;
    let names: Vec<&String> = entry
        .name
        .iter()
        .chain(entry.names.iter().flatten())
        .collect();
    if names.is_empty() {
        return Err("it names no call".to_owned());
    }
    let mut calls = Vec::with_capacity(names.len());
    for name in names {
        match CallName::find(name) {
            Some(call) => calls.push(call),
            None => ignored.push(name.clone()),
        }
    }
    let conditions = entry.args.iter().flatten().map(condition);
    let conditions: Vec<Condition> = conditions.collect::<std::result::Result<_, String>>()?;
    Ok(Rule {
        calls,
        clauses: clauses(conditions, verdict),
        reason: entry
            .comment
            .as_deref()
            .filter(|comment| !comment.is_empty())
            .unwrap_or("imported")
            .into(),
        applies: applies(entry)?,
    })
}

fn clauses(conditions: Vec<Condition>, verdict: Verdict) -> Vec<Clause> {
    let mut tested = [false; 6];
    let repeated = conditions
        .iter()
        .any(|condition| std::mem::replace(&mut tested[usize::from(condition.argument)], true));
    if !repeated {
        return vec![Clause {
            when: conditions,
            verdict,
        }];
    }
    let one = |condition| Clause {
        when: vec![condition],
        verdict,
    };
    conditions.into_iter().map(one).collect()
}

fn condition(argument: &Argument) -> std::result::Result<Condition, String> {
    let index = u8::try_from(argument.index).ok().filter(|index| *index < 6);
    let index = index.ok_or_else(|| format!("there is no argument {}", argument.index))?;
    let (test, value) = match argument.op.as_str() {
        "SCMP_CMP_NE" => (Test::Ne, argument.value),
        "SCMP_CMP_LT" => (Test::Lt, argument.value),
        "SCMP_CMP_LE" => (Test::Le, argument.value),
        "SCMP_CMP_EQ" => (Test::Eq, argument.value),
        "SCMP_CMP_GE" => (Test::Ge, argument.value),
        "SCMP_CMP_GT" => (Test::Gt, argument.value),
        // The mask is the first value, what is compared with the second.
        "SCMP_CMP_MASKED_EQ" => (Test::Masked(argument.value), argument.value_two),
        other => return Err(format!("unknown op \"{other}\"")),
    };
    Ok(Condition {
        argument: index,
        width: Width::Full64,
        test,
        value,
    })
}

fn verdict(
    action: &str,
    number: Option<u32>,
    name: Option<&str>,
) -> std::result::Result<Verdict, String> {
    match action {
        "SCMP_ACT_ALLOW" => Ok(Verdict::Allow),
        "SCMP_ACT_LOG" => Ok(Verdict::Log),
        "SCMP_ACT_TRAP" => Ok(Verdict::Trap),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(Verdict::KillThread),
        "SCMP_ACT_KILL_PROCESS" => Ok(Verdict::KillProcess),
        "SCMP_ACT_ERRNO" => errno(number, name),
        "SCMP_ACT_TRACE" | "SCMP_ACT_NOTIFY" => Err(format!(
            "{action} hands the call to another process, and sandbox runs none; use SCMP_ACT_ERRNO"
        )),
        other => Err(format!("unknown action \"{other}\"")),
    }
}

fn errno(number: Option<u32>, name: Option<&str>) -> std::result::Result<Verdict, String> {
    let named = match (number, name) {
        (None, Some(name)) => Some(
            constants::errno(name)
                .ok_or_else(|| format!("unknown errno \"{name}\""))?
                .into(),
        ),
        (number, _) => number,
    };
    let value = named.unwrap_or(EPERM);
    if value > MAX_ERRNO {
        return Err(format!("errno {value} is above the highest, {MAX_ERRNO}"));
    }
    u16::try_from(value)
        .map(Verdict::Errno)
        .map_err(|_| format!("errno {value} is out of range"))
}

fn applies(entry: &Entry) -> std::result::Result<Applies, String> {
    let none = Filter::default();
    let (includes, excludes) = (
        entry.includes.as_ref().unwrap_or(&none),
        entry.excludes.as_ref().unwrap_or(&none),
    );
    let wanted = |filter: &Filter| {
        filter
            .arches
            .iter()
            .flatten()
            .map(|a| oci_arch(a))
            .collect()
    };
    let included: Vec<Option<Arch>> = wanted(includes);
    let excluded: Vec<Option<Arch>> = wanted(excludes);
    Ok(Applies {
        with_capabilities: capabilities(includes)?,
        without_capabilities: capabilities(excludes)?,
        never: !included.is_empty() && included.iter().all(Option::is_none),
        architectures: included.into_iter().flatten().collect(),
        not_architectures: excluded.into_iter().flatten().collect(),
        min_kernel: includes.min_kernel.as_deref().map(kernel).transpose()?,
        before_kernel: excludes.min_kernel.as_deref().map(kernel).transpose()?,
    })
}

fn capabilities(filter: &Filter) -> std::result::Result<Vec<u8>, String> {
    let names = filter.caps.iter().flatten();
    names
        .map(|name| {
            constants::capability(name).ok_or_else(|| format!("unknown capability \"{name}\""))
        })
        .collect()
}

fn kernel(version: &str) -> std::result::Result<(u16, u16), String> {
    let mut parts = version.split('.').map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(format!("minKernel \"{version}\" is no version like 4.8")),
    }
}
