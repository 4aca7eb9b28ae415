//! What `sandbox selftest --json` finds, run once a user, and what a test asserts of it.

use std::sync::OnceLock;

use serde_json::Value;

use super::{User, say, skip, text, users};

/// One user's findings.
pub(crate) struct Report {
    /// Who ran it.
    pub(crate) user: &'static User,
    /// How it ended.
    pub(crate) status: Option<i32>,
    /// One object an attempt.
    pub(crate) attempts: Vec<Value>,
}

/// What the selftest found, one report a user; run once.
pub(crate) fn reports() -> &'static [Report] {
    static REPORTS: OnceLock<Vec<Report>> = OnceLock::new();
    REPORTS.get_or_init(|| users().iter().map(report).collect())
}

fn report(user: &'static User) -> Report {
    let output = user.output(&["selftest", "--json"]);
    let printed = serde_json::from_slice::<Value>(&output.stdout);
    let Ok(Value::Object(mut found)) = printed else {
        panic!(
            "as {}: {}: {}",
            user.name,
            output.status,
            text(&output.stderr)
        );
    };
    let Some(Value::Array(attempts)) = found.remove("attempts") else {
        panic!("as {}: no attempts", user.name);
    };
    Report {
        user,
        status: output.status.code(),
        attempts,
    }
}

/// What became of an attempt at one place: its outcome and the evidence.
pub(crate) fn outcome<'a>(attempt: &'a Value, place: &str) -> (&'a str, &'a str) {
    let word = |key: &str| attempt[place][key].as_str().unwrap_or_default();
    (word("outcome"), word("evidence"))
}

/// `name` is held inside for one of `reasons`, and open outside to whom it can be.
pub(crate) fn is_held(name: &str, reasons: &[&str]) {
    for Report { user, attempts, .. } in reports() {
        let attempt = attempts.iter().find(|attempt| attempt["name"] == name);
        let attempt = attempt.unwrap_or_else(|| panic!("no attempt is called {name}"));
        let control = outcome(attempt, "outside");
        match (attempt["open_outside_to"].as_str(), control.0) {
            (_, "open") => (),
            (Some("anyone"), _) => panic!("as {}: no control: {control:?}", user.name),
            (Some("root"), _) if user.is_root() => panic!("as root: no control: {control:?}"),
            // The host refuses it, too: its capability, or a kernel without the feature.
            _ => say(&format!(
                "NOTE {name} as {}: no control: {}",
                user.name, control.1
            )),
        }
        match outcome(attempt, "inside") {
            ("held", reason) => assert!(
                reasons.contains(&reason),
                "{name} as {}: held by {reason:?}, not by any of {reasons:?}",
                user.name,
            ),
            ("skipped", why) => skip(name, why),
            (outcome, evidence) => panic!("{name} as {}: {outcome}: {evidence}", user.name),
        }
    }
}
