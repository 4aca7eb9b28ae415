//! Limits of resources and of control groups.

use super::{Invalid, Parsed, advice, advice_and, duration, invalid, show_size, size};
use crate::policy::{Cgroup, Limit};

/// Resources that prlimit(2) knows: name, number, and what its unit is.
pub const RESOURCES: &[(&str, u32, Unit)] = &[
    ("cpu", libc::RLIMIT_CPU, Unit::Seconds),
    ("fsize", libc::RLIMIT_FSIZE, Unit::Bytes),
    ("data", libc::RLIMIT_DATA, Unit::Bytes),
    ("stack", libc::RLIMIT_STACK, Unit::Bytes),
    ("core", libc::RLIMIT_CORE, Unit::Bytes),
    ("rss", libc::RLIMIT_RSS, Unit::Bytes),
    ("nproc", libc::RLIMIT_NPROC, Unit::Count),
    ("nofile", libc::RLIMIT_NOFILE, Unit::Count),
    ("memlock", libc::RLIMIT_MEMLOCK, Unit::Bytes),
    ("as", libc::RLIMIT_AS, Unit::Bytes),
    ("locks", libc::RLIMIT_LOCKS, Unit::Count),
    ("sigpending", libc::RLIMIT_SIGPENDING, Unit::Count),
    ("msgqueue", libc::RLIMIT_MSGQUEUE, Unit::Bytes),
    ("nice", libc::RLIMIT_NICE, Unit::Count),
    ("rtprio", libc::RLIMIT_RTPRIO, Unit::Count),
    ("rttime", libc::RLIMIT_RTTIME, Unit::Microseconds),
];

/// What the number of a resource limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes; `K`, `M`, `G`, `T` (powers of 1024) may follow.
    Bytes,
    /// A plain number.
    Count,
    /// Seconds.
    Seconds,
    /// Microseconds.
    Microseconds,
}

/// A resource limit `NAME=SOFT[:HARD]` (`nofile=1024`, `as=2G`, `core=0`, `nproc=100:200`).
///
/// # Errors
/// When the name or a value is wrong, or the soft limit above the hard one.
pub fn limit(text: &str) -> Parsed<Limit> {
    let Some((name, value)) = text.split_once('=') else {
        return invalid("write a limit as NAME=SOFT or NAME=SOFT:HARD (nofile=1024)");
    };
    limit_value(name, value)
}

/// The limit of resource `name`, its value being `SOFT[:HARD]`; each a number or `unlimited`.
///
/// # Errors
/// As [`limit`].
pub fn limit_value(name: &str, value: &str) -> Parsed<Limit> {
    let lower = name.to_ascii_lowercase();
    let short = lower.strip_prefix("rlimit_").unwrap_or(&lower);
    let Some(&(name, resource, unit)) = RESOURCES.iter().find(|(known, ..)| *known == short) else {
        return invalid(format!(
            "no resource limit is called \"{}\"{}",
            name.escape_debug(),
            advice(short, RESOURCES.iter().map(|(name, ..)| *name))
        ));
    };
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let (soft, hard) = (limit_number(soft, unit)?, limit_number(hard, unit)?);
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return invalid("the soft limit cannot be above the hard limit");
    }
    Ok(Limit {
        resource,
        name,
        soft,
        hard,
    })
}

fn limit_number(text: &str, unit: Unit) -> Parsed<Option<u64>> {
    if text == "unlimited" || text == "infinity" {
        return Ok(None);
    }
    let number = match unit {
        Unit::Bytes => size(text)?,
        Unit::Seconds if text.ends_with(|c: char| c.is_ascii_alphabetic()) => {
            duration(text)?.as_secs()
        }
        Unit::Count | Unit::Seconds | Unit::Microseconds => text.parse().map_err(|_| {
            Invalid("a limit is a number or \"unlimited\", as SOFT or SOFT:HARD".to_owned())
        })?,
    };
    // The kernel's RLIM_INFINITY is the largest number; it has a word of its own here.
    if number == u64::MAX {
        return Ok(None);
    }
    Ok(Some(number))
}

/// The value of `limit` as [`limit_value`] reads it.
#[must_use]
pub fn show_limit(limit: &Limit) -> String {
    let bytes = RESOURCES
        .iter()
        .any(|(name, _, unit)| *name == limit.name && *unit == Unit::Bytes);
    let show = |number: Option<u64>| match number {
        None => "unlimited".to_owned(),
        Some(number) if bytes => show_size(number),
        Some(number) => number.to_string(),
    };
    if limit.soft == limit.hard {
        return show(limit.soft);
    }
    format!("{}:{}", show(limit.soft), show(limit.hard))
}

/// Control-group limits `memory=512M,pids=100,cpu=1.5`, each at most once.
///
/// # Errors
/// When a name or value is wrong.
pub fn cgroup(text: &str) -> Parsed<Cgroup> {
    let mut cgroup = Cgroup::default();
    for part in text.split(',') {
        let Some((name, value)) = part.split_once('=') else {
            return invalid("write control-group limits as memory=512M,pids=100,cpu=1.5");
        };
        let twice = match name {
            "memory" => cgroup.memory.replace(cgroup_memory(value)?).is_some(),
            "pids" => cgroup.pids.replace(cgroup_pids(value)?).is_some(),
            "cpu" => cgroup.cpu.replace(cgroup_cpu(value)?).is_some(),
            _ => {
                return invalid(format!(
                    "no control-group limit is called \"{}\"{}",
                    name.escape_debug(),
                    advice_and(name, ["memory", "pids", "cpu"], "use memory, pids or cpu")
                ));
            }
        };
        if twice {
            return invalid(format!("\"{name}\" is given twice"));
        }
    }
    Ok(cgroup)
}

/// `memory.max`: a size above zero.
///
/// # Errors
/// When it is none.
pub fn cgroup_memory(text: &str) -> Parsed<u64> {
    match size(text)? {
        0 => invalid("a memory limit cannot be zero"),
        bytes => Ok(bytes),
    }
}

/// `pids.max`: a number above zero.
///
/// # Errors
/// When it is none.
pub fn cgroup_pids(text: &str) -> Parsed<u64> {
    match text.parse::<u64>() {
        Ok(number) if number > 0 => Ok(number),
        _ => invalid("a limit of processes is a whole number above zero"),
    }
}

/// `cpu.max` in processors: 0.01 to 100,000.
///
/// # Errors
/// When it is no such number.
pub fn cgroup_cpu(text: &str) -> Parsed<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match text.parse::<f64>() {
        Ok(number) if plain && (0.01..=100_000.0).contains(&number) => Ok(number),
        _ => invalid("a limit of processors is a number from 0.01 up (1.5)"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn limits() {
        let numbers = "a limit is a number or \"unlimited\", as SOFT or SOFT:HARD";
        check(
            limit,
            |limit| format!("{}={}", limit.name, show_limit(&limit)),
            &[
                ("nofile=1024", Ok("nofile=1024")),
                ("NOFILE=1024:4096", Ok("nofile=1024:4096")),
                ("RLIMIT_AS=2G", Ok("as=2G")),
                ("core=0:unlimited", Ok("core=0:unlimited")),
                ("stack=unlimited", Ok("stack=unlimited")),
                ("cpu=1m30s", Ok("cpu=90")),
                ("rttime=200000", Ok("rttime=200000")),
                (
                    "nofile",
                    Err("write a limit as NAME=SOFT or NAME=SOFT:HARD (nofile=1024)"),
                ),
                (
                    "nofiles=1",
                    Err("no resource limit is called \"nofiles\"; did you mean \"nofile\"?"),
                ),
                ("nofile=", Err(numbers)),
                ("nofile=1K", Err(numbers)),
                ("nofile=1:", Err(numbers)),
                ("nofile=1:2:3", Err(numbers)),
                (
                    "nofile=2:1",
                    Err("the soft limit cannot be above the hard limit"),
                ),
                (
                    "nofile=unlimited:1",
                    Err("the soft limit cannot be above the hard limit"),
                ),
            ],
        );
    }

    #[test]
    fn control_groups() {
        let show = |c: Cgroup| format!("{:?} {:?} {:?}", c.memory, c.pids, c.cpu);
        let pids = "a limit of processes is a whole number above zero";
        let cpu = "a limit of processors is a number from 0.01 up (1.5)";
        check(
            cgroup,
            show,
            &[
                (
                    "memory=1K,pids=100,cpu=1.5",
                    Ok("Some(1024) Some(100) Some(1.5)"),
                ),
                ("cpu=2", Ok("None None Some(2.0)")),
                (
                    "",
                    Err("write control-group limits as memory=512M,pids=100,cpu=1.5"),
                ),
                ("memory=0", Err("a memory limit cannot be zero")),
                ("pids=0", Err(pids)),
                ("pids=-1", Err(pids)),
                ("cpu=0", Err(cpu)),
                ("cpu=nan", Err(cpu)),
                ("cpu=1e9", Err(cpu)),
                ("pids=1,pids=2", Err("\"pids\" is given twice")),
                (
                    "pid=1",
                    Err(
                        "no control-group limit is called \"pid\"; did you mean \"pids\"? use memory, pids or cpu",
                    ),
                ),
            ],
        );
    }
}
