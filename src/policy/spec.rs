//! The small languages of values, as they stand on the command line and in policy files.
//!
//! Pure functions from text to a value that cannot be wrong; no I/O, no panic for any input. Every
//! reason says what would be right. Where a value may hold any bytes (paths, variables) the parser
//! takes `OsStr`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    Carrier, Cgroup, Limit, Network, Seccomp, Strictness, UnixSockets, UserNamespace, View,
};
use crate::egress::budget;
use crate::egress::destination::Destination;
use crate::egress::publish::Publish;
use crate::request::Endpoint;

/// Why a value makes no sense; displayed as the reason alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// What a value parser gives.
pub type Parsed<T> = std::result::Result<T, Invalid>;

/// A value refused for `reason`.
pub(crate) fn invalid<T>(reason: impl Into<String>) -> Parsed<T> {
    Err(Invalid(reason.into()))
}

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

/// Capabilities by name; the index is the kernel's number (capabilities(7)).
pub const CAPABILITIES: &[&str] = &[
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// A destination of `--allow` and `--deny`.
///
/// # Errors
/// When it is none, or could be read in two ways.
pub fn destination(text: &OsStr) -> Parsed<Destination> {
    match text.to_str() {
        Some(text) => text.parse(),
        None => invalid("a destination is plain text"),
    }
}

/// A budget of bytes, `DEST=SIZE`.
///
/// # Errors
/// When it is none.
pub fn max_bytes(text: &str) -> Parsed<(Destination, u64)> {
    let (destination, most) = budget::split(text)?;
    budget::bytes(destination, most)
}

/// A budget of bytes a second, `DEST=SIZE/s`.
///
/// # Errors
/// When it is none.
pub fn max_rate(text: &str) -> Parsed<(Destination, u64)> {
    let (destination, most) = budget::split(text)?;
    budget::rate(destination, most)
}

/// The port of a proxy on the sandbox's loopback.
///
/// # Errors
/// When it is none from 1 to 65535.
pub fn proxy_port(text: &str) -> Parsed<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ => invalid("the proxy's port is a number from 1 to 65535"),
    }
}

/// What `--publish` publishes.
///
/// # Errors
/// When it is nothing of the kind.
pub fn publish(text: &OsStr) -> Parsed<Publish> {
    match text.to_str() {
        Some(text) => text.parse(),
        None => invalid("what is published is plain text"),
    }
}

/// The known word nearest to `word`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long words cannot be typing errors of a known one, and the table below is quadratic.
    if word.len() > 64 {
        return None;
    }
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters have to be added, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// "; did you mean …?", or nothing.
pub(crate) fn advice<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"))
}

/// "; did you mean …? " and `rest`, or "; " and `rest`.
pub(crate) fn advice_and<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    rest: &str,
) -> String {
    let near = advice(word, known);
    let joint = if near.is_empty() { ";" } else { "" };
    format!("{near}{joint} {rest}")
}

/// One of a few words.
fn choice<T: Copy>(text: &str, what: &str, choices: &[(&str, T)]) -> Parsed<T> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    invalid(format!(
        "no {what} is called \"{}\"{}",
        text.escape_debug(),
        advice_and(
            text,
            words.iter().copied(),
            &format!("use one of {}", words.join(", "))
        )
    ))
}

/// A length of time: a number with `ms`, `s`, `m`, `h` or `d`, several joined largest first
/// (`1h30m`), or a bare number of seconds. Never zero.
///
/// # Errors
/// When it is none of these, or zero, or longer than a century.
pub fn duration(text: &str) -> Parsed<Duration> {
    const UNITS: &[(&str, u64)] = &[
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    const CENTURY: u64 = 36_525 * 86_400_000;
    let help = "write a length of time as 30s, 5m, 1h30m or 500ms";
    let seconds = format!("{text}s");
    let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mut rest = if bare { seconds.as_str() } else { text };
    let mut total: u64 = 0;
    let mut next_unit = 0;
    if rest.is_empty() {
        return invalid(help);
    }
    while !rest.is_empty() {
        let (number, after) = leading_digits(rest);
        let Ok(number) = number.parse::<u64>() else {
            return invalid(help);
        };
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let Some(place) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return invalid(help);
        };
        if place < next_unit {
            return invalid(format!("{help}, largest unit first and each once"));
        }
        next_unit = place + 1;
        total = number
            .checked_mul(UNITS[place].1)
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= CENTURY)
            .ok_or_else(|| Invalid("a length of time is a century at most".to_owned()))?;
        rest = after;
    }
    if total == 0 {
        return invalid("a length of time cannot be zero; leave it out for none");
    }
    Ok(Duration::from_millis(total))
}

/// A length of time as [`duration`] reads it.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= length {
            text.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    text
}

fn leading_digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// A number of bytes: a number, with `K`, `M`, `G` or `T` for powers of 1024 (`512M`).
///
/// # Errors
/// When it is no such number or does not fit 64 bits.
pub fn size(text: &str) -> Parsed<u64> {
    let help = "write a size as a number of bytes, or with K, M, G or T (512M)";
    let (number, unit) = leading_digits(text);
    let factor: u64 = match unit.trim_end_matches("iB") {
        "" if unit.is_empty() => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return invalid(help),
    };
    let Ok(number) = number.parse::<u64>() else {
        return invalid(help);
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| Invalid("a size has to fit 64 bits".to_owned()))
}

/// A number of bytes as [`size`] reads it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    for (unit, factor) in [
        ("T", 1 << 40),
        ("G", 1 << 30),
        ("M", 1 << 20),
        ("K", 1 << 10),
    ] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
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

/// A network mode: `loopback`, `none`, `fds`, `ns:NAME`, `ns:PATH` or `host`.
///
/// # Errors
/// When it is none of these, or NAME is no name.
pub fn network(text: &OsStr) -> Parsed<Network> {
    if let Some(rest) = text.as_bytes().strip_prefix(b"ns:") {
        let rest = OsStr::from_bytes(rest);
        if rest.as_bytes().contains(&b'/') {
            return path(rest).map(Network::Namespace);
        }
        if rest.is_empty() || rest == "." || rest == ".." || rest.as_bytes().contains(&0) {
            return invalid("write an existing network namespace as ns:NAME or ns:/PATH");
        }
        return Ok(Network::Namespace(Path::new("/run/netns").join(rest)));
    }
    match text.to_str() {
        Some("loopback") => Ok(Network::Loopback),
        Some("none") => Ok(Network::None),
        Some("fds") => Ok(Network::Fds),
        Some("host") => Ok(Network::Host),
        _ => {
            let text = text.to_string_lossy();
            invalid(format!(
                "no network mode is called \"{}\"{}",
                text.escape_debug(),
                advice_and(
                    &text,
                    ["loopback", "none", "fds", "host"],
                    "use one of loopback, none, fds, ns:NAME, ns:/PATH, host"
                )
            ))
        }
    }
}

/// A network mode as [`network`] reads it.
#[must_use]
pub fn show_network(network: &Network) -> OsString {
    match network {
        Network::Loopback => "loopback".into(),
        Network::None => "none".into(),
        Network::Fds => "fds".into(),
        Network::Host => "host".into(),
        Network::Namespace(path) => {
            let mut text = OsString::from("ns:");
            match path.strip_prefix("/run/netns") {
                Ok(name) if name.components().count() == 1 => text.push(name),
                _ => text.push(path),
            }
            text
        }
    }
}

/// Whether the sandbox gets a user namespace: `auto`, `yes` or `no`.
///
/// # Errors
/// When it is none of these.
pub fn user_namespace(text: &str) -> Parsed<UserNamespace> {
    let choices = [
        ("auto", UserNamespace::Auto),
        ("yes", UserNamespace::Yes),
        ("no", UserNamespace::No),
    ];
    choice(text, "user-namespace setting", &choices)
}

/// How connections are carried: `relay` or `direct`.
///
/// # Errors
/// When it is neither.
pub fn carrier(text: &str) -> Parsed<Carrier> {
    let choices = [("relay", Carrier::Relay), ("direct", Carrier::Direct)];
    choice(text, "way to carry connections", &choices)
}

/// Which Unix sockets may be connected to: `own`, `datagrams` or `any`.
///
/// # Errors
/// When it is none of these.
pub fn unix_sockets(text: &str) -> Parsed<UnixSockets> {
    choice(text, "set of Unix sockets", &UNIX_SOCKETS)
}

/// The words for [`unix_sockets`].
const UNIX_SOCKETS: [(&str, UnixSockets); 3] = [
    ("own", UnixSockets::Own),
    ("datagrams", UnixSockets::Datagrams),
    ("any", UnixSockets::Any),
];

/// The word for it.
#[must_use]
pub fn show_unix_sockets(which: UnixSockets) -> &'static str {
    let row = UNIX_SOCKETS.iter().find(|(_, known)| *known == which);
    row.map_or("own", |(word, _)| word)
}

/// Whose view of a kernel file system: `own` or `host`.
///
/// # Errors
/// When it is neither.
pub fn view(text: &str) -> Parsed<View> {
    choice(text, "view", &[("own", View::Own), ("host", View::Host)])
}

/// How much is demanded of the host: `best-effort`, `standard` or `full`.
///
/// # Errors
/// When it is none of these.
pub fn strictness(text: &str) -> Parsed<Strictness> {
    let choices = [
        ("best-effort", Strictness::BestEffort),
        ("standard", Strictness::Standard),
        ("full", Strictness::Full),
    ];
    choice(text, "level", &choices)
}

/// The system-call filter: a profile's name, a file, or `off`. Whether the profile exists is for the
/// filter to say.
///
/// # Errors
/// When it is empty or holds a control character.
pub fn seccomp(text: &str) -> Parsed<Seccomp> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return invalid("name a system-call profile or its file, or say \"off\"");
    }
    if text == "off" {
        return Ok(Seccomp::Off);
    }
    Ok(Seccomp::Profile(text.to_owned()))
}

/// A capability: its name, with or without `CAP_`, in any case, or its number.
///
/// # Errors
/// When no kernel up to now has it.
pub fn capability(text: &str) -> Parsed<u8> {
    let lower = text.to_ascii_lowercase();
    let short = lower.strip_prefix("cap_").unwrap_or(&lower);
    let number = match short.parse::<usize>() {
        Ok(number) => Some(number).filter(|number| *number < CAPABILITIES.len()),
        Err(_) => CAPABILITIES.iter().position(|name| *name == short),
    };
    let Some(number) = number.and_then(|number| u8::try_from(number).ok()) else {
        return invalid(format!(
            "no capability is called \"{}\"{}",
            text.escape_debug(),
            advice_and(short, CAPABILITIES.iter().copied(), "see capabilities(7)")
        ));
    };
    Ok(number)
}

/// The name of capability `number` in lower case without `CAP_`, or the number itself.
#[must_use]
pub fn show_capability(number: u8) -> String {
    CAPABILITIES
        .get(usize::from(number))
        .map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// A path: not empty, without NUL.
///
/// # Errors
/// When it is empty or holds a NUL.
pub fn path(text: &OsStr) -> Parsed<PathBuf> {
    if text.is_empty() {
        return invalid("a path cannot be empty");
    }
    if text.as_bytes().contains(&0) {
        return invalid("a path cannot hold a NUL");
    }
    Ok(PathBuf::from(text))
}

/// Where a socket is opened: `tcp:HOST:PORT`, `tcp:[IPv6]:PORT`, `unix:PATH` or
/// `unix-seqpacket:PATH`. HOST may be empty for every address.
///
/// # Errors
/// When it is none of these.
pub fn endpoint(text: &OsStr) -> Parsed<Endpoint> {
    let bytes = text.as_bytes();
    if let Some(rest) = bytes.strip_prefix(b"unix:") {
        return unix_path(OsStr::from_bytes(rest)).map(Endpoint::Unix);
    }
    if let Some(rest) = bytes.strip_prefix(b"unix-seqpacket:") {
        return unix_path(OsStr::from_bytes(rest)).map(Endpoint::UnixPackets);
    }
    let help =
        "write an address as tcp:HOST:PORT, tcp:[IPv6]:PORT, unix:PATH or unix-seqpacket:PATH";
    let Some(rest) = text.to_str().and_then(|text| text.strip_prefix("tcp:")) else {
        return invalid(help);
    };
    let Some((host, port)) = rest.rsplit_once(':') else {
        return invalid(help);
    };
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return invalid("a port is a number from 0 to 65535");
    }
    let Ok(port) = port.parse::<u16>() else {
        return invalid("a port is a number from 0 to 65535");
    };
    if let Some(inner) = host.strip_prefix('[') {
        let Some(inner) = inner.strip_suffix(']') else {
            return invalid(help);
        };
        if inner.parse::<std::net::Ipv6Addr>().is_err() {
            return invalid(format!(
                "\"{}\" is no IPv6 address; {help}",
                inner.escape_debug()
            ));
        }
        return Ok(Endpoint::Tcp {
            host: inner.to_owned(),
            port,
        });
    }
    if host.contains(':') {
        return invalid("put an IPv6 address in brackets, as tcp:[::1]:PORT");
    }
    let odd = |c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_');
    if host.contains(odd) {
        return invalid(format!(
            "\"{}\" is neither a host name nor an IPv4 address",
            host.escape_debug()
        ));
    }
    Ok(Endpoint::Tcp {
        host: host.to_owned(),
        port,
    })
}

/// An endpoint as [`endpoint`] reads it.
#[must_use]
pub fn show_endpoint(endpoint: &Endpoint) -> OsString {
    match endpoint {
        Endpoint::Tcp { host, port } if host.contains(':') => format!("tcp:[{host}]:{port}").into(),
        Endpoint::Tcp { host, port } => format!("tcp:{host}:{port}").into(),
        Endpoint::Unix(path) => prefixed("unix:", path),
        Endpoint::UnixPackets(path) => prefixed("unix-seqpacket:", path),
    }
}

fn prefixed(scheme: &str, path: &Path) -> OsString {
    let mut text = OsString::from(scheme);
    text.push(path);
    text
}

/// `[NAME=]ENDPOINT`: the name is the descriptor's in `LISTEN_FDNAMES`.
///
/// # Errors
/// As [`endpoint`] and [`descriptor_name`].
pub fn named_endpoint(text: &OsStr) -> Parsed<(Option<String>, Endpoint)> {
    let bytes = text.as_bytes();
    let equals = bytes.iter().position(|b| *b == b'=');
    let colon = bytes.iter().position(|b| *b == b':');
    // A path may hold "=": only one before the scheme's colon ends a name.
    if let Some(equals) = equals
        && colon.is_none_or(|colon| equals < colon)
    {
        let name = String::from_utf8_lossy(&bytes[..equals]);
        let rest = OsStr::from_bytes(&bytes[equals + 1..]);
        return Ok((Some(descriptor_name(&name)?), endpoint(rest)?));
    }
    Ok((None, endpoint(text)?))
}

/// `[NAME=]ENDPOINT`, of one that can be connected to.
///
/// # Errors
/// As [`named_endpoint`]; and for every address, or any port.
pub fn named_peer(text: &OsStr) -> Parsed<(Option<String>, Endpoint)> {
    match named_endpoint(text)? {
        (_, Endpoint::Tcp { host, port }) if host.is_empty() || port == 0 => {
            invalid("say whom to connect to: a host, and a port from 1 to 65535")
        }
        peer => Ok(peer),
    }
}

/// The path of a Unix socket, with or without `unix:` before it.
///
/// # Errors
/// When it is empty, holds a NUL or is too long for `sun_path` (unix(7)).
pub fn unix_path(text: &OsStr) -> Parsed<PathBuf> {
    let bytes = text.as_bytes();
    let bytes = bytes.strip_prefix(b"unix:").unwrap_or(bytes);
    if bytes.first() == Some(&b'@') {
        return invalid("an abstract Unix socket has no path; name one in the file system");
    }
    let path = path(OsStr::from_bytes(bytes))?;
    if path.as_os_str().len() > 107 {
        return invalid("the path of a Unix socket has 107 bytes at most");
    }
    Ok(path)
}

/// An inherited descriptor `N[:NAME]`.
///
/// # Errors
/// When N is no descriptor number or NAME no name.
pub fn descriptor(text: &str) -> Parsed<(RawFd, Option<String>)> {
    let (number, name) = match text.split_once(':') {
        Some((number, name)) => (number, Some(descriptor_name(name)?)),
        None => (text, None),
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    match number.parse::<RawFd>() {
        Ok(number) if digits => Ok((number, name)),
        _ => invalid("write a descriptor as its number, or as N:NAME (3:http)"),
    }
}

/// A descriptor's name, as sd_listen_fds_with_names(3) has them: 1 to 255 printable ASCII characters
/// without `:`. `=` and braces are refused too: both have a meaning in our own options.
///
/// # Errors
/// When it is no such name.
pub fn descriptor_name(text: &str) -> Parsed<String> {
    let fits = |b: u8| b.is_ascii_graphic() && !b":={}".contains(&b);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(fits) {
        return invalid(
            "a descriptor's name is 1 to 255 printable characters without space, \":\", \"=\" or braces",
        );
    }
    Ok(text.to_owned())
}

/// An environment variable `NAME=VALUE`; the value may be any bytes but NUL.
///
/// # Errors
/// When there is no `=`, no name, or a NUL.
pub fn variable(text: &OsStr) -> Parsed<(OsString, OsString)> {
    let bytes = text.as_bytes();
    let Some(equals) = bytes.iter().position(|b| *b == b'=') else {
        return invalid("write a variable as NAME=VALUE");
    };
    let name = variable_name(OsStr::from_bytes(&bytes[..equals]))?;
    let value = variable_value(OsStr::from_bytes(&bytes[equals + 1..]))?;
    Ok((name, value))
}

/// The value of a variable: any bytes but NUL.
///
/// # Errors
/// When it holds a NUL.
pub fn variable_value(text: &OsStr) -> Parsed<OsString> {
    if text.as_bytes().contains(&0) {
        return invalid("a variable's value cannot hold a NUL");
    }
    Ok(text.to_owned())
}

/// The name of a variable: not empty, without `=` and NUL.
///
/// # Errors
/// When it is no such name.
pub fn variable_name(text: &OsStr) -> Parsed<OsString> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.contains(&b'=') || bytes.contains(&0) {
        return invalid("a variable's name is not empty and holds neither \"=\" nor NUL");
    }
    Ok(OsString::from_vec(bytes.to_vec()))
}

/// A variable's name, or the beginning of names with `*` after it.
///
/// # Errors
/// When it is no name, or has a `*` elsewhere.
pub fn variable_pattern(text: &OsStr) -> Parsed<OsString> {
    let name = variable_name(text)?;
    let bytes = name.as_bytes();
    if bytes[..bytes.len() - 1].contains(&b'*') {
        return invalid("\"*\" can stand only at the end of a variable's name");
    }
    Ok(name)
}

/// A user or group: a name or a number.
///
/// # Errors
/// When it is neither.
pub fn account(text: &str) -> Parsed<String> {
    // passwd(5) has a colon between fields; a name of digits only would be taken for a number.
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == ':' || c == '/';
    if text.is_empty() || text.starts_with('-') || text.contains(odd) {
        return invalid("name a user or group by name or number");
    }
    if text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<u32>().is_ok_and(|id| id == u32::MAX)
        || text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u32>().is_err()
    {
        return invalid("a user or group number is below 4294967295");
    }
    Ok(text.to_owned())
}

/// A host name: 1 to 64 letters, digits, `-` and `.` (uname(2)).
///
/// # Errors
/// When it is no such name.
pub fn hostname(text: &str) -> Parsed<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) || text.starts_with('-') {
        return invalid("a host name is 1 to 64 letters, digits, \"-\" and \".\"");
    }
    Ok(text.to_owned())
}

/// Names of namespaces with commas between (`--share pid,ipc`), as they stand in `[namespaces]`.
///
/// # Errors
/// When a name is none of `pid`, `mount`, `ipc`, `uts`, `cgroup`.
pub fn namespaces(text: &str) -> Parsed<Vec<&'static str>> {
    let choices = ["pid", "mount", "ipc", "uts", "cgroup"].map(|name| (name, name));
    text.split(',')
        .map(|name| choice(name, "namespace to share", &choices))
        .collect()
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
    use proptest::prelude::*;

    use super::*;

    /// What `parse` makes of each text: the value shown again, or its whole refusal.
    fn check<T>(
        parse: impl Fn(&str) -> Parsed<T>,
        show: impl Fn(T) -> String,
        table: &[(&str, std::result::Result<&str, &str>)],
    ) {
        for (text, expected) in table {
            let got = parse(text).map(&show).map_err(|reason| reason.to_string());
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn durations() {
        let help = "write a length of time as 30s, 5m, 1h30m or 500ms";
        let order =
            "write a length of time as 30s, 5m, 1h30m or 500ms, largest unit first and each once";
        let long = "a length of time is a century at most";
        check(
            duration,
            show_duration,
            &[
                ("30s", Ok("30s")),
                ("30", Ok("30s")),
                ("5m", Ok("5m")),
                ("1h30m", Ok("1h30m")),
                ("90m", Ok("1h30m")),
                ("1d", Ok("24h")),
                ("1s500ms", Ok("1s500ms")),
                ("", Err(help)),
                ("s", Err(help)),
                ("1x", Err(help)),
                ("1h30", Err(help)),
                ("-1s", Err(help)),
                ("1.5s", Err(help)),
                ("1 s", Err(help)),
                ("30m1h", Err(order)),
                ("1s1s", Err(order)),
                (
                    "0",
                    Err("a length of time cannot be zero; leave it out for none"),
                ),
                (
                    "0h0s",
                    Err("a length of time cannot be zero; leave it out for none"),
                ),
                ("40000d", Err(long)),
                ("18446744073709551615d", Err(long)),
                ("99999999999999999999s", Err(help)),
            ],
        );
    }

    #[test]
    fn sizes() {
        let help = "write a size as a number of bytes, or with K, M, G or T (512M)";
        check(
            size,
            show_size,
            &[
                ("0", Ok("0")),
                ("1000", Ok("1000")),
                ("1024", Ok("1K")),
                ("512M", Ok("512M")),
                ("512MiB", Ok("512M")),
                ("2T", Ok("2T")),
                ("18446744073709551615", Ok("18446744073709551615")),
                ("", Err(help)),
                ("M", Err(help)),
                ("1MB", Err(help)),
                ("1m", Err(help)),
                ("1iB", Err(help)),
                ("-1", Err(help)),
                ("18446744073709551616", Err(help)),
                ("18446744073709551615K", Err("a size has to fit 64 bits")),
            ],
        );
    }

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
    fn networks() {
        let namespace = "write an existing network namespace as ns:NAME or ns:/PATH";
        check(
            |text| network(OsStr::new(text)),
            |mode| {
                show_network(&mode)
                    .into_string()
                    .expect("UTF-8 in, UTF-8 out")
            },
            &[
                ("loopback", Ok("loopback")),
                ("none", Ok("none")),
                ("fds", Ok("fds")),
                ("host", Ok("host")),
                ("ns:blue", Ok("ns:blue")),
                ("ns:/run/netns/blue", Ok("ns:blue")),
                ("ns:/proc/1/ns/net", Ok("ns:/proc/1/ns/net")),
                ("ns:", Err(namespace)),
                ("ns:..", Err(namespace)),
                (
                    "bridge",
                    Err(
                        "no network mode is called \"bridge\"; use one of loopback, none, fds, ns:NAME, ns:/PATH, host",
                    ),
                ),
                (
                    "lopback",
                    Err(
                        "no network mode is called \"lopback\"; did you mean \"loopback\"? use one of loopback, none, fds, ns:NAME, ns:/PATH, host",
                    ),
                ),
            ],
        );
    }

    #[test]
    fn capabilities() {
        check(
            capability,
            |number| format!("{number} {}", show_capability(number)),
            &[
                ("chown", Ok("0 chown")),
                ("CAP_NET_BIND_SERVICE", Ok("10 net_bind_service")),
                ("21", Ok("21 sys_admin")),
                ("cap_checkpoint_restore", Ok("40 checkpoint_restore")),
                (
                    "41",
                    Err("no capability is called \"41\"; see capabilities(7)"),
                ),
                (
                    "net_bnd_service",
                    Err(
                        "no capability is called \"net_bnd_service\"; did you mean \"net_bind_service\"? see capabilities(7)",
                    ),
                ),
                ("", Err("no capability is called \"\"; see capabilities(7)")),
            ],
        );
    }

    #[test]
    fn capabilities_have_the_numbers_that_the_caps_crate_knows() {
        for (number, name) in CAPABILITIES.iter().enumerate() {
            let upper = format!("CAP_{}", name.to_ascii_uppercase());
            let known: caps::Capability = upper.parse().unwrap();
            assert_eq!(usize::from(known.index()), number, "{name}");
        }
        assert_eq!(CAPABILITIES.len(), caps::all().len());
    }

    #[test]
    fn a_peer_is_one_host_and_one_port() {
        let whom = Err("say whom to connect to: a host, and a port from 1 to 65535");
        check(
            |text| named_peer(OsStr::new(text)),
            |(name, endpoint)| format!("{name:?} {endpoint:?}"),
            &[
                ("tcp::80", whom),
                ("tcp:localhost:0", whom),
                ("db=tcp:[::1]:0", whom),
                (
                    "db=unix:/run/x.sock",
                    Ok("Some(\"db\") Unix(\"/run/x.sock\")"),
                ),
            ],
        );
    }

    #[test]
    fn endpoints() {
        let help =
            "write an address as tcp:HOST:PORT, tcp:[IPv6]:PORT, unix:PATH or unix-seqpacket:PATH";
        let port = "a port is a number from 0 to 65535";
        let long = format!("unix:/{}", "x".repeat(107));
        check(
            |text| endpoint(OsStr::new(text)),
            |endpoint| {
                show_endpoint(&endpoint)
                    .into_string()
                    .expect("UTF-8 in, UTF-8 out")
            },
            &[
                ("tcp:127.0.0.1:80", Ok("tcp:127.0.0.1:80")),
                ("tcp:localhost:0", Ok("tcp:localhost:0")),
                ("tcp::8080", Ok("tcp::8080")),
                ("tcp:[::1]:80", Ok("tcp:[::1]:80")),
                ("unix:/run/x.sock", Ok("unix:/run/x.sock")),
                ("unix:a:b", Ok("unix:a:b")),
                ("unix-seqpacket:/run/x", Ok("unix-seqpacket:/run/x")),
                ("unix-dgram:/run/x", Err(help)),
                ("", Err(help)),
                ("80", Err(help)),
                ("udp:1.2.3.4:5", Err(help)),
                ("tcp:80", Err(help)),
                ("tcp:[::1:80", Err(help)),
                ("tcp:h:", Err(port)),
                ("tcp:h:65536", Err(port)),
                ("tcp:h:+1", Err(port)),
                (
                    "tcp:::1:80",
                    Err("put an IPv6 address in brackets, as tcp:[::1]:PORT"),
                ),
                (
                    "tcp:[x]:80",
                    Err(
                        "\"x\" is no IPv6 address; write an address as tcp:HOST:PORT, tcp:[IPv6]:PORT, unix:PATH or unix-seqpacket:PATH",
                    ),
                ),
                (
                    "tcp:a b:80",
                    Err("\"a b\" is neither a host name nor an IPv4 address"),
                ),
                ("unix:", Err("a path cannot be empty")),
                (
                    "unix:@x",
                    Err("an abstract Unix socket has no path; name one in the file system"),
                ),
                (
                    &long,
                    Err("the path of a Unix socket has 107 bytes at most"),
                ),
            ],
        );
    }

    #[test]
    fn an_endpoint_may_be_named_before_its_scheme_only() {
        let named = |text| named_endpoint(OsStr::new(text)).unwrap();
        assert_eq!(named("http=tcp::80").0.as_deref(), Some("http"));
        assert_eq!(named("unix:/a=b"), (None, Endpoint::Unix("/a=b".into())));
        assert!(named_endpoint(OsStr::new("=tcp::80")).is_err());
        assert!(named_endpoint(OsStr::new("a b=tcp::80")).is_err());
    }

    #[test]
    fn descriptors() {
        let help = "write a descriptor as its number, or as N:NAME (3:http)";
        let name = "a descriptor's name is 1 to 255 printable characters without space, \":\", \"=\" or braces";
        check(
            descriptor,
            |(number, name)| format!("{number} {name:?}"),
            &[
                ("3", Ok("3 None")),
                ("0:stdin", Ok("0 Some(\"stdin\")")),
                ("", Err(help)),
                ("+3", Err(help)),
                ("-1", Err(help)),
                ("2147483648", Err(help)),
                ("3:", Err(name)),
                ("3:a:b", Err(name)),
                ("3:{a}", Err(name)),
            ],
        );
    }

    #[test]
    fn variables_of_any_bytes_survive() {
        let odd = OsStr::from_bytes(b"A=\xff=b");
        let value = OsStr::from_bytes(b"\xff=b").to_owned();
        assert_eq!(variable(odd), Ok(("A".into(), value)));
        assert_eq!(variable(OsStr::new("A=")), Ok(("A".into(), "".into())));
        for bad in ["A", "=b", "", "A=\0"] {
            assert!(variable(OsStr::new(bad)).is_err(), "{bad}");
        }
        assert!(variable_pattern(OsStr::new("A*")).is_ok());
        assert!(variable_pattern(OsStr::new("*")).is_ok());
        assert!(variable_pattern(OsStr::new("*A")).is_err());
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

    #[test]
    fn accounts_and_host_names() {
        for good in ["nobody", "0", "1000", "svc$", "a.b-c_d"] {
            assert!(account(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-1",
            "4294967295",
            "4294967296",
            "a b",
            "a:b",
            "a/b",
            "a\n",
        ] {
            assert!(account(bad).is_err(), "{bad}");
        }
        for good in ["a", "a.b-c", &"x".repeat(64)] {
            assert!(hostname(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "a_b", "é", &"x".repeat(65)] {
            assert!(hostname(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_of_a_few() {
        assert_eq!(namespaces("pid,uts"), Ok(vec!["pid", "uts"]));
        assert_eq!(
            namespaces("pid,utc").unwrap_err().to_string(),
            "no namespace to share is called \"utc\"; did you mean \"uts\"? use one of pid, mount, ipc, uts, cgroup"
        );
        assert!(namespaces("").is_err());
        assert_eq!(view("own"), Ok(View::Own));
        assert_eq!(strictness("full"), Ok(Strictness::Full));
        assert_eq!(user_namespace("no"), Ok(UserNamespace::No));
        assert_eq!(seccomp("off"), Ok(Seccomp::Off));
        assert!(seccomp("").is_err());
    }

    #[test]
    fn the_nearest_word_is_near() {
        let known = ["read-only", "read-write", "hide", "proc"];
        assert_eq!(nearest("readonly", known), Some("read-only"));
        assert_eq!(nearest("hdie", known), Some("hide"));
        assert_eq!(nearest("xyz", known), None);
        assert_eq!(nearest(&"h".repeat(100_000), known), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let any = OsStr::from_bytes(&bytes);
            let text = String::from_utf8_lossy(&bytes);
            let _ = (duration(&text), size(&text), limit(&text), network(any), capability(&text));
            let _ = (endpoint(any), named_endpoint(any), descriptor(&text), variable(any));
            let _ = (variable_pattern(any), cgroup(&text), account(&text), hostname(&text));
            let _ = (limit_value("nofile", &text), limit_value("cpu", &text), limit_value("as", &text));
        }

        #[test]
        fn what_is_shown_reads_back(
            millis in 1..1_000_000_000_000u64,
            bytes in any::<u64>(),
            soft in 0..1000u64,
            more in 0..1000u64,
        ) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(time)), Ok(time));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
            for (name, resource, _) in RESOURCES {
                let limit = Limit {
                    resource: *resource,
                    name,
                    soft: Some(soft),
                    hard: Some(soft + more),
                };
                prop_assert_eq!(limit_value(name, &show_limit(&limit)), Ok(limit));
            }
        }
    }
}
