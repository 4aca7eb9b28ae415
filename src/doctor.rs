//! `sandbox doctor`: what this host can give, what is missing, and the remedy; and the hint that
//! follows a failed step.
//!
//! Runs in the launcher, outside of any sandbox. The findings come from [`crate::probe`]; here they
//! are only weighed ([`Verdict`], pure) and printed. The JSON is described in `docs/doctor.md`.

mod hint;
mod verdict;

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stdout};

use crate::error::{Error, Result};
use crate::plan::errno_of;
use crate::probe::{FIREJAIL, Finding, Group, Need, Report, SANDBOX, Status, Support};

pub use hint::hint;
pub use verdict::Verdict;

/// The version of the JSON's shape; it grows only when a reader of the last one would break.
const SCHEMA: u32 = 1;

/// Print what this host can give; the process's exit status: 0 if the default policy can be had.
///
/// # Errors
/// When standard output takes no more.
pub fn main(json: bool) -> Result<u8> {
    let report = Support::thorough();
    let verdict = Verdict::of(&report);
    let page = if json {
        to_json(&report, &verdict)
    } else {
        to_text(&report, &verdict, Paint::for_stdout())
    };
    let mut out = stdout().lock();
    out.write_all(page.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::host("write to", "standard output", errno_of(&error)))?;
    Ok(u8::from(!verdict.works()))
}

/// Whether marks are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paint {
    Plain,
    Colour,
}

impl Paint {
    /// Colour only for people who have not said no (no-color.org).
    fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if refused || !stdout().is_terminal() {
            return Self::Plain;
        }
        Self::Colour
    }

    fn paint(self, colour: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{colour}m{text}\x1b[0m"),
        }
    }
}

fn to_text(report: &Report, verdict: &Verdict, paint: Paint) -> String {
    const BOLD: &str = "1";
    const DIM: &str = "2";
    let readings = &report.readings;
    let mut page = String::new();
    let _ = writeln!(page, "{}", paint.paint(BOLD, &verdict.to_string()));
    if let Some(remedy) = verdict.remedy() {
        let _ = writeln!(page, "  → {remedy}");
    }
    let who = if readings.support.root {
        "root"
    } else {
        "an ordinary user"
    };
    let within = readings
        .container
        .as_ref()
        .map(|name| match name.as_str() {
            SANDBOX => ", in a sandbox".to_owned(),
            FIREJAIL => ", in firejail".to_owned(),
            name => format!(", in a {name} container"),
        })
        .unwrap_or_default();
    let place = format!(
        "Linux {} ({}), as {who}{within}",
        readings.release, readings.machine
    );
    let _ = writeln!(page, "{}", paint.paint(DIM, &place));
    for (group, heading) in Group::ALL {
        let _ = writeln!(page, "\n{}", paint.paint(BOLD, heading));
        let rows = report
            .findings
            .iter()
            .filter(|finding| finding.feature.group == *group);
        for finding in rows {
            write_row(&mut page, finding, paint);
        }
    }
    page
}

fn write_row(page: &mut String, finding: &Finding, paint: Paint) {
    let (mark, colour) = mark(finding);
    let row = format!("{:<28}{}", finding.feature.title, finding.detail);
    let _ = writeln!(page, "  {} {}", paint.paint(colour, mark), row.trim_end());
    if matches!(finding.status, Status::Works | Status::Noted) {
        return;
    }
    let _ = writeln!(page, "      for {}", finding.feature.purpose);
    if let Some(remedy) = &finding.remedy {
        let _ = writeln!(page, "      → {remedy}");
    }
}

/// ✓ works, ✗ a loss, – no loss or not tried.
fn mark(finding: &Finding) -> (&'static str, &'static str) {
    const RED: &str = "31";
    const GREEN: &str = "32";
    const YELLOW: &str = "33";
    match (finding.status, finding.feature.need) {
        (Status::Works, _) => ("✓", GREEN),
        (Status::Skipped | Status::Noted, _) | (_, Need::Note) => ("–", YELLOW),
        (Status::Blocked | Status::Absent, _) => ("✗", RED),
    }
}

fn to_json(report: &Report, verdict: &Verdict) -> String {
    let readings = &report.readings;
    let features: Vec<_> = report.findings.iter().map(finding_to_json).collect();
    let page = serde_json::json!({
        "schema": SCHEMA,
        "works": verdict.works(),
        "verdict": verdict.to_string(),
        "remedy": verdict.remedy(),
        "kernel": readings.release,
        "machine": readings.machine,
        "root": readings.support.root,
        "container": readings.container,
        "landlock_abi": readings.support.landlock_abi,
        "features": features,
    });
    format!("{page:#}\n")
}

fn finding_to_json(finding: &Finding) -> serde_json::Value {
    let feature = finding.feature;
    serde_json::json!({
        "id": feature.id.name(),
        "title": feature.title,
        "group": feature.group,
        "need": feature.need,
        "status": finding.status,
        "detail": finding.detail,
        "remedy": finding.remedy,
        "purpose": feature.purpose,
        "since": feature.since,
        "man": feature.man,
        "layers": feature.layers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{FEATURES, Readings};

    fn blocked(feature: &'static crate::probe::Feature) -> Finding {
        Finding {
            feature,
            status: Status::Blocked,
            detail: "because".to_owned(),
            remedy: Some("do this".to_owned()),
        }
    }

    fn all_blocked() -> Report {
        Report {
            readings: Readings::default(),
            findings: FEATURES.iter().map(blocked).collect(),
        }
    }

    #[test]
    fn a_row_that_is_blocked_says_why_for_what_and_the_remedy() {
        let mut row = String::new();
        write_row(&mut row, &blocked(&FEATURES[0]), Paint::Plain);
        assert_eq!(
            row,
            "  ✗ user namespace              because\n      \
             for isolation without root, and for root without its powers\n      → do this\n"
        );
    }

    #[test]
    fn the_plain_page_holds_no_escape_and_the_coloured_one_does() {
        let report = all_blocked();
        let verdict = Verdict::of(&report);
        assert!(!to_text(&report, &verdict, Paint::Plain).contains('\x1b'));
        assert!(to_text(&report, &verdict, Paint::Colour).contains('\x1b'));
    }

    #[test]
    fn every_feature_is_on_the_page_and_in_the_json() {
        let report = all_blocked();
        let verdict = Verdict::of(&report);
        let text = to_text(&report, &verdict, Paint::Plain);
        let json: serde_json::Value = serde_json::from_str(&to_json(&report, &verdict)).unwrap();
        assert_eq!(json["works"], false);
        assert_eq!(json["features"].as_array().unwrap().len(), FEATURES.len());
        for feature in FEATURES {
            assert!(text.contains(&format!(" {}", feature.title)), "{feature:?}");
        }
    }
}
