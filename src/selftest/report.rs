//! What the selftest found, for people and for programs.

use std::io::{self, Write};

use nix::errno::Errno;
use serde_json::{Value, json};

use super::attempt::{Attempt, Control, Group, Outcome};
use super::promise::Promised;
use crate::error::{Error, Result};
use crate::printable::page;

/// One attempt and what became of it.
#[derive(Debug)]
pub(super) struct Finding {
    /// The attempt.
    pub(super) attempt: Attempt,
    /// What became of it in the sandbox.
    pub(super) inside: Outcome,
    /// What became of it outside.
    pub(super) control: Outcome,
    /// Whether the policy rules it out.
    pub(super) promised: Promised,
}

impl Finding {
    /// Open although the policy rules it out.
    pub(super) fn is_broken(&self) -> bool {
        self.promised == Promised::Yes && matches!(self.inside, Outcome::Open(_))
    }

    /// The verdict, in capitals where it counts.
    fn verdict(&self) -> &'static str {
        match (&self.inside, self.promised) {
            (Outcome::Held(_), _) => "HELD",
            (Outcome::Open(_), Promised::Yes) => "OPEN",
            (Outcome::Open(_), Promised::No(_)) => "not promised",
            (Outcome::Skipped(_), _) => "SKIPPED",
        }
    }

    fn evidence(&self) -> String {
        let (Outcome::Held(text) | Outcome::Open(text) | Outcome::Skipped(text)) = &self.inside;
        match (&self.inside, self.promised) {
            (Outcome::Open(_), Promised::No(reason)) => format!("{reason}: {text}"),
            _ => text.clone(),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.attempt.name,
            "group": self.attempt.group,
            "tries": self.attempt.tries,
            "wall": self.attempt.wall,
            "promised": self.promised == Promised::Yes,
            "not_promised_because": match self.promised {
                Promised::Yes => None,
                Promised::No(reason) => Some(reason),
            },
            "open_outside_to": match self.attempt.control {
                Control::Anyone => "anyone",
                Control::Root => "root",
                Control::Nobody => "depends",
            },
            "inside": self.inside,
            "outside": self.control,
        })
    }
}

/// Print the findings on standard output.
///
/// # Errors
/// When standard output takes no more.
pub(super) fn print(findings: &[Finding], as_json: bool) -> Result<()> {
    let text = if as_json {
        render_json(findings)
    } else {
        render_table(findings)
    };
    let mut output = io::stdout().lock();
    output
        .write_all(page(&text).as_bytes())
        .and_then(|()| output.flush())
        .map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            Error::host("write to standard output", "", errno)
        })
}

fn render_json(findings: &[Finding]) -> String {
    let list: Vec<_> = findings.iter().map(Finding::to_json).collect();
    let value = json!({ "version": 1, "attempts": list, "summary": counts(findings) });
    format!("{value:#}\n")
}

fn counts(findings: &[Finding]) -> Value {
    let count = |verdict: &str| {
        findings
            .iter()
            .filter(|found| found.verdict() == verdict)
            .count()
    };
    json!({
        "held": count("HELD"),
        "open": count("OPEN"),
        "not_promised": count("not promised"),
        "skipped": count("SKIPPED"),
    })
}

fn render_table(findings: &[Finding]) -> String {
    let names = findings.iter().map(|found| found.attempt.name.len());
    let width = names.max().unwrap_or(0);
    let mut text = String::new();
    for group in [Group::Network, Group::Processes, Group::Privilege] {
        text.push_str(&format!("{}\n", group.title()));
        for found in findings.iter().filter(|found| found.attempt.group == group) {
            text.push_str(&format!(
                "  {:<12} {:<width$} {:<38} {}\n",
                found.verdict(),
                found.attempt.name,
                found.attempt.wall,
                escape(&found.evidence()),
            ));
        }
        text.push('\n');
    }
    let counts = counts(findings);
    text.push_str(&format!(
        "{} held, {} open, {} not promised, {} skipped\n",
        counts["held"], counts["open"], counts["not_promised"], counts["skipped"]
    ));
    text
}

/// Evidence comes out of the sandbox: nothing in it may act on a terminal.
fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let shown: Vec<char> = if c.is_control() {
                c.escape_default().collect()
            } else {
                vec![c]
            };
            shown
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(inside: Outcome, promised: Promised) -> Finding {
        let attempt = super::super::attempt::all().remove(0);
        Finding {
            attempt,
            inside,
            control: Outcome::open("x"),
            promised,
        }
    }

    #[test]
    fn only_what_is_promised_and_open_fails_the_selftest() {
        assert!(finding(Outcome::open("x"), Promised::Yes).is_broken());
        assert!(!finding(Outcome::open("x"), Promised::No("off")).is_broken());
        assert!(!finding(Outcome::held("EPERM"), Promised::Yes).is_broken());
        assert!(!finding(Outcome::skipped("x"), Promised::Yes).is_broken());
    }

    #[test]
    fn evidence_cannot_act_on_a_terminal() {
        let text = render_table(&[finding(Outcome::held("a\u{1b}[2Jb"), Promised::Yes)]);
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("a\\u{1b}[2Jb"));
    }
}
