//! From a record to the text of a policy: what was reached is allowed, and what was refused is a comment.
//!
//! Pure, and the same for the same record: sorted, without times and process numbers; bytes are rounded up,
//! because a handshake differs by a few from one run to the next.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use super::record::{Missed, Record, Use};
use super::{Learning, Profile};
use crate::egress::destination::Destination;
use crate::filter::Beyond;
use crate::policy::value::{printable, quoted};
use crate::supervise::Ending;

/// How many names, and how much of the command, one line tells.
const MOST_NAMES: usize = 64;
const MOST_COMMAND: usize = 200;

/// The run that was learned from.
pub(crate) struct Run<'a> {
    pub(crate) command: &'a [OsString],
    /// The policy that it ran under, but for the options of its command line.
    pub(crate) extends: &'a OsStr,
    pub(crate) learning: Learning,
    pub(crate) ending: Ending,
    /// Its profile of system calls.
    pub(crate) profile: Option<&'a Profile>,
    /// What lies beyond that.
    pub(crate) beyond: Option<&'a Beyond>,
    /// The file that a learned profile goes to, beside the policy; `None` where there is only one stream.
    pub(crate) profile_file: Option<&'a str>,
}

/// The policy's text, and that of the profile of system calls that it names, where there is one.
pub(crate) fn compose(run: &Run<'_>, record: &Record) -> (String, Option<String>) {
    let profile = profile(run, record);
    let mut text = policy(run, record);
    calls(run, record, profile.as_deref(), &mut text);
    missed(record, &mut text);
    (text, profile.filter(|_| run.profile_file.is_some()))
}

/// A profile that permits what the run had beyond its own.
fn profile(run: &Run<'_>, record: &Record) -> Option<String> {
    let beyond = run.beyond.filter(|_| !record.calls.is_empty())?;
    let command = shown(run.command);
    let said = format!("# Written by \"sandbox learn\" from: {command}\n");
    let mut text = match run.profile? {
        Profile::Foreign(_) => return None,
        Profile::Shipped(name) => {
            let description = format!("{name}, and what was learned from {command}");
            format!(
                "{said}description = {}\nextends = {}\n",
                quoted(OsStr::new(&description)),
                quoted(OsStr::new(name))
            )
        }
        Profile::Text(text) => format!("{}\n\n{said}", text.trim_end()),
    };
    for (name, one) in &record.calls {
        let reason = with_users(&one.users, "made while learning");
        push(
            &mut text,
            format_args!(
                "\n[[rule]]\nreason = {}\n{}",
                quoted(OsStr::new(&reason)),
                beyond.rule(name)
            ),
        );
    }
    Some(text)
}

/// What the policy says of system calls beyond the profile.
fn calls(run: &Run<'_>, record: &Record, profile: Option<&str>, text: &mut String) {
    let names: Vec<&str> = record.calls.keys().map(String::as_str).collect();
    let names = names.join(", ");
    match (profile, run.profile_file) {
        _ if names.is_empty() => {}
        (Some(_), Some(file)) => {
            let file = quoted(OsStr::new(&format!("./{file}")));
            push(
                text,
                format_args!("\n[process]\nseccomp = {file}  # permits besides: {names}\n"),
            );
        }
        (Some(profile), None) => {
            text.push_str("\n# System calls beyond the profile were made. With these lines in a file of their own, which\n# [process] seccomp names, they can be:\n");
            for line in profile.lines() {
                push(text, format_args!("#   {line}\n"));
            }
        }
        (None, _) => push(
            text,
            format_args!(
                "\n# System calls beyond the profile were made; allow them there: {names}\n"
            ),
        ),
    }
    if record.refused_calls.is_empty() {
        return;
    }
    text.push_str("\n# System calls that were asked for and stay refused:\n");
    for (name, one) in &record.refused_calls {
        let comment = with_users(&one.users.users, &one.reason);
        push(text, format_args!("#   {name}  # {comment}\n"));
    }
}

/// The policy up to what it allows.
fn policy(run: &Run<'_>, record: &Record) -> String {
    let command = shown(run.command);
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line(&format!("# For: {command}"));
    line(
        "# Written by \"sandbox learn\": what that run reached, each with who used it. Read it before you",
    );
    line("# use it, and give the other options of that run again.");
    if let Some(said) = said(run.ending) {
        line(&format!(
            "# {said}: what it would have done after that is not in here."
        ));
    }
    if run.learning == Learning::Denying {
        line(
            "# It was refused what is marked so below (--deny-while-learning), and perhaps gave up early.",
        );
    }
    if record.overflowed {
        line("# More was seen than is kept: this is not all.");
    }
    line(&format!(
        "description = {}",
        quoted(OsStr::new(&format!("learned from {command}")))
    ));
    line(&format!("extends = {}", quoted(run.extends)));
    egress(record, &mut text);
    text
}

/// What is allowed.
fn egress(record: &Record, text: &mut String) {
    let mut grants: Vec<(String, String)> = Vec::new();
    let refused = |target| !record.reached.contains_key(target);
    let mut targets: Vec<_> = record.reached.keys().collect();
    targets.extend(record.wanted.keys().filter(|target| refused(target)));
    targets.sort();
    for target in targets {
        let comment = match (record.reached.get(target), record.wanted.get(target)) {
            (Some(one), _) => reached(one, target.use_word()),
            (None, Some(one)) => with_users(&one.users, "refused while learning"),
            (None, None) => continue,
        };
        grants.push((target.text(), comment));
    }
    for (path, one) in &record.sockets {
        grants.push((format!("unix:{path}"), reached(one, "connection")));
    }
    // What no policy could say stays out: a path that is no text, for instance.
    grants.retain(|(grant, _)| grant.parse::<Destination>().is_ok());
    if grants.is_empty() {
        return;
    }
    text.push_str("\n[egress]\nallow = [\n");
    for (grant, comment) in grants {
        let grant = quoted(OsStr::new(&grant));
        push(text, format_args!("  {grant},  # {comment}\n"));
    }
    text.push_str("]\n");
}

/// What is not, and why.
fn missed(record: &Record, text: &mut String) {
    let special = record
        .special
        .iter()
        .map(|(target, one)| (target.text(), one));
    let closed = record
        .closed
        .iter()
        .map(|(path, one)| (format!("unix:{path}"), one));
    comments(
        "Asked for and refused. A rule has to name each of these expressly: think before you add it.",
        special.chain(closed).collect(),
        text,
    );
    let refused =
        |target| record.reached.contains_key(target) || record.special.contains_key(target);
    let failed = record.failed.iter().filter(|(target, _)| !refused(target));
    comments(
        "Asked for in vain: nothing came of it, so nothing is allowed.",
        failed.map(|(target, one)| (target.text(), one)).collect(),
        text,
    );
    let dialled: BTreeSet<&str> = [
        record.reached.keys().collect::<Vec<_>>(),
        record.wanted.keys().collect(),
        record.special.keys().collect(),
        record.failed.keys().collect(),
    ]
    .into_iter()
    .flatten()
    .map(super::record::Target::host)
    .collect();
    let idle: Vec<&str> = record
        .names
        .iter()
        .map(String::as_str)
        .filter(|name| !dialled.contains(name))
        .collect();
    if !idle.is_empty() {
        text.push_str(
            "\n# Looked up and never dialled; under this policy these names do not exist:\n",
        );
        for name in idle.iter().take(MOST_NAMES) {
            push(text, format_args!("#   {}\n", printable(name)));
        }
        if idle.len() > MOST_NAMES {
            push(
                text,
                format_args!("#   and {} more\n", idle.len() - MOST_NAMES),
            );
        }
    }
}

fn comments(heading: &str, lines: Vec<(String, &Missed)>, text: &mut String) {
    if lines.is_empty() {
        return;
    }
    push(text, format_args!("\n# {heading}\n"));
    for (grant, one) in lines {
        let grant = quoted(OsStr::new(&grant));
        let comment = with_users(&one.users.users, &one.reason);
        push(text, format_args!("#   {grant},  # {comment}\n"));
    }
}

/// Who has reached something, and how much of it.
fn reached(one: &Use, word: &str) -> String {
    let s = if one.times == 1 { "" } else { "s" };
    let mut what = format!("{} {word}{s}", one.times);
    if one.out + one.back > 0 {
        push(
            &mut what,
            format_args!(", up to {} out, {} in", rounded(one.out), rounded(one.back)),
        );
    }
    with_users(&one.users, &what)
}

fn with_users(users: &BTreeSet<String>, what: &str) -> String {
    let users: Vec<String> = users.iter().map(|user| printable(user)).collect();
    match users.is_empty() {
        true => printable(what),
        false => format!("{}: {}", users.join(", "), printable(what)),
    }
}

/// The next power of two from 1 KiB.
fn rounded(bytes: u64) -> String {
    let kib = bytes.div_ceil(1024).max(1);
    let kib = kib.checked_next_power_of_two().unwrap_or(u64::MAX);
    match kib {
        0..1024 => format!("{kib}K"),
        1024..0x10_0000 => format!("{}M", kib / 1024),
        _ => format!("{}G", kib / 0x10_0000),
    }
}

/// The command on one line.
fn shown(command: &[OsString]) -> String {
    let words: Vec<String> = command
        .iter()
        .map(|word| printable(&word.to_string_lossy()))
        .collect();
    let whole = words.join(" ");
    match whole.char_indices().nth(MOST_COMMAND) {
        None => whole,
        Some((end, _)) => format!("{}…", whole.get(..end).unwrap_or_default()),
    }
}

/// How a run ended that did not end well.
fn said(ending: Ending) -> Option<String> {
    match ending {
        Ending::Exited(0) => None,
        Ending::Exited(status) => Some(format!("The command failed with status {status}")),
        Ending::Killed(signal) => Some(format!("The command was killed by signal {signal}")),
        Ending::TimedOut => Some("The command was ended because its time was over".to_owned()),
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes any text");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::egress::destination::{Asked, Protocol};
    use crate::filter;
    use crate::learn::record::{Came, Recorder, Target};

    fn target(text: &str) -> Target {
        let (protocol, rest) = match text.strip_prefix("udp://") {
            Some(rest) => (Protocol::Udp, rest),
            None => (Protocol::Tcp, text),
        };
        let (host, port) = rest.rsplit_once(':').unwrap();
        let asked = Asked::from_ascii(host.as_bytes()).unwrap();
        Target::new(protocol, &asked, port.parse().unwrap())
    }

    const WELL: Came<'_> = Came {
        out: 1025,
        back: 3 << 20,
        failure: None,
    };

    fn seen(order: &[usize]) -> Record {
        let recorder = Recorder::begin();
        let notes: [&dyn Fn(); 10] = [
            &|| recorder.ended(target("web.example:443"), &WELL, Some("/usr/bin/b")),
            &|| recorder.ended(target("web.example:443"), &WELL, Some("/usr/bin/a")),
            &|| {
                recorder.ended(
                    target("udp://[2a00::1]:53"),
                    &Came {
                        out: 1,
                        back: 0,
                        ..WELL
                    },
                    None,
                )
            },
            &|| recorder.wanted(target("web.example:443"), None),
            &|| recorder.wanted(target("11.0.0.1:80"), Some("/x\ny")),
            &|| recorder.special(target("10.0.0.1:80"), "private".to_owned(), None),
            &|| {
                let came = Came {
                    out: 0,
                    back: 0,
                    failure: Some("no such name"),
                };
                recorder.ended(target("gone.example:1"), &came, None);
                recorder.ended(target("web.example:443"), &came, None);
            },
            &|| recorder.socket("/srv/a b\"c".to_owned(), None),
            &|| recorder.closed("/run/x".to_owned(), "hidden", Some("/usr/bin/a")),
            &|| {
                recorder.name("web.example".to_owned());
                recorder.name("idle.example".to_owned());
            },
        ];
        order.iter().for_each(|&at| notes[at]());
        recorder.read()
    }

    fn run(command: &[OsString]) -> Run<'_> {
        Run {
            command,
            extends: OsStr::new("default"),
            learning: Learning::Permitting,
            ending: Ending::Exited(0),
            profile: None,
            beyond: None,
            profile_file: None,
        }
    }

    #[test]
    fn a_policy_has_what_was_reached_and_says_what_was_not() {
        let command = ["make".into(), "a\nb".into()];
        let (text, _) = compose(&run(&command), &seen(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
        let expected = r#"# For: make a\nb
# Written by "sandbox learn": what that run reached, each with who used it. Read it before you
# use it, and give the other options of that run again.
description = "learned from make a\\nb"
extends = "default"

[egress]
allow = [
  "web.example:443",  # /usr/bin/a, /usr/bin/b: 2 connections, up to 4K out, 8M in
  "11.0.0.1:80",  # /x\ny: refused while learning
  "udp://[2a00::1]:53",  # 1 flow, up to 1K out, 1K in
  "unix:/srv/a b\"c",  # 1 connection
]

# Asked for and refused. A rule has to name each of these expressly: think before you add it.
#   "10.0.0.1:80",  # private
#   "unix:/run/x",  # /usr/bin/a: hidden

# Asked for in vain: nothing came of it, so nothing is allowed.
#   "gone.example:1",  # no such name

# Looked up and never dialled; under this policy these names do not exist:
#   idle.example
"#;
        assert_eq!(text, expected);
        // It is one, and in whatever order things came, the same.
        let table: toml::Table = text.parse().unwrap();
        let allow = table["egress"]["allow"].as_array().unwrap();
        assert_eq!(allow.len(), 4);
        let (other, _) = compose(&run(&command), &seen(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]));
        assert_eq!(other, text);
    }

    #[test]
    fn nothing_of_a_command_leaves_its_comment() {
        let command = [
            "\n[egress]\nallow=[\"*.x:1\"]".into(),
            "é".repeat(300).into(),
        ];
        let (text, _) = compose(&run(&command), &Record::default());
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table.keys().collect::<Vec<_>>(), ["description", "extends"]);
        assert!(
            text.lines().all(|line| line.chars().count() < 260),
            "{text}"
        );
    }

    #[test]
    fn what_went_wrong_is_said() {
        for (ending, said) in [
            (Ending::Exited(3), "failed with status 3"),
            (Ending::Killed(9), "killed by signal 9"),
            (Ending::TimedOut, "its time was over"),
        ] {
            let run = Run {
                ending,
                learning: Learning::Denying,
                ..run(&[])
            };
            let (text, _) = compose(&run, &Record::default());
            assert!(
                text.contains(said) && text.contains("--deny-while-learning"),
                "{text}"
            );
        }
    }

    #[test]
    fn calls_beyond_the_profile_make_a_profile_of_their_own() {
        let recorder = Recorder::begin();
        recorder.call("vmsplice".to_owned(), Some("/usr/bin/b"));
        recorder.call("ustat".to_owned(), None);
        recorder.refused_call("mount".to_owned(), "it is", Some("/usr/bin/a"));
        let record = recorder.read();
        let command = ["x".into()];
        let shipped = || Profile::Shipped("strict".to_owned());
        let (_, beyond) = filter::beyond("strict", &filter::Context::default()).unwrap();
        let with = |profile: Profile, profile_file| {
            let run = Run {
                profile: Some(&profile),
                beyond: Some(&beyond),
                profile_file,
                ..run(&command)
            };
            compose(&run, &record)
        };
        let (text, profile) = with(shipped(), Some("x.seccomp.toml"));
        assert!(
            text.contains("seccomp = \"./x.seccomp.toml\"  # permits besides: ustat, vmsplice\n"),
            "{text}"
        );
        assert!(text.contains("#   mount  # /usr/bin/a: it is\n"), "{text}");
        let profile = profile.unwrap();
        let read = filter::parse_profile(Path::new("x"), &profile).unwrap();
        let context = filter::Context::default();
        let permits = |read: &filter::Profile, name: &str| {
            let table = filter::resolve(read, &context).unwrap();
            let number = filter::number(name, context.arch).unwrap();
            table.verdict(number, &[0; 6]).permits()
        };
        assert!(permits(&read, "vmsplice") && !permits(&read, "mount"));
        assert!(!permits(&filter::load("strict").unwrap(), "vmsplice"));

        let (text, profile) = with(shipped(), None);
        assert_eq!(profile, None);
        assert!(text.contains("#   extends = \"strict\"\n"), "{text}");
        assert!(text.parse::<toml::Table>().is_ok());

        let own = filter::builtin_text("default").unwrap().to_owned();
        let (_, profile) = with(Profile::Text(own), Some("x.seccomp.toml"));
        let read = filter::parse_profile(Path::new("x"), &profile.unwrap()).unwrap();
        assert!(permits(&read, "vmsplice") && permits(&read, "read") && !permits(&read, "mount"));

        let foreign = Profile::Foreign("y.json".to_owned());
        let (text, profile) = with(foreign, Some("x.seccomp.toml"));
        assert_eq!(profile, None);
        assert!(
            text.contains("allow them there: ustat, vmsplice\n"),
            "{text}"
        );
    }

    #[test]
    fn sizes_are_rounded_up() {
        let table = [
            (0, "1K"),
            (1024, "1K"),
            (1025, "2K"),
            (1 << 20, "1M"),
            ((1 << 30) + 1, "2G"),
        ];
        for (bytes, text) in table {
            assert_eq!(rounded(bytes), text, "{bytes}");
        }
    }
}
