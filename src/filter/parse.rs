//! Our own profile format: TOML, every mistake with its line and column.
//!
//! Pure: text in, [`Profile`] out; `extends` reaches shipped profiles only, so that no file is read.
//! `policies/seccomp/README.md` describes the format for people.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::expression;
use super::profile::{Applies, CallName, Clause, Profile, Rule, Verdict};
use super::{builtin_names, builtin_text, constants, numbers};
use crate::error::{Error, Result};

/// How many profiles may stand on each other.
const MOST_LEVELS: usize = 8;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    description: String,
    extends: Option<Spanned<String>>,
    default: Option<Spanned<String>>,
    #[serde(default)]
    rule: Vec<FileRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileRule {
    reason: Spanned<String>,
    calls: Vec<Spanned<String>>,
    #[serde(default)]
    when: Vec<FileClause>,
    verdict: Option<Spanned<String>>,
    with_capability: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileClause {
    r#if: Spanned<String>,
    verdict: Spanned<String>,
}

/// The profile in `text`, which came from `file` (a path or a shipped name, for messages).
///
/// # Errors
///
/// [`Error::Policy`] with the place of the first mistake, and the nearest known word where there is
/// one.
pub fn parse_profile(file: &Path, text: &str) -> Result<Profile> {
    parse_level(file, text, 0)
}

fn parse_level(file: &Path, text: &str, level: usize) -> Result<Profile> {
    let at = |span: Range<usize>, reason: String| mistake(file, text, span.start, reason);
    let parsed: File = toml::from_str(text).map_err(|error| {
        at(
            error.span().unwrap_or(0..0),
            error.message().replace('\n', " "),
        )
    })?;
    let base = match &parsed.extends {
        None => None,
        Some(name) => Some(base(name.get_ref(), level).map_err(|reason| at(name.span(), reason))?),
    };
    let own_default = match &parsed.default {
        None => None,
        Some(word) => {
            Some(expression::verdict(word.get_ref()).map_err(|reason| at(word.span(), reason))?)
        }
    };
    let mut rules = Vec::with_capacity(parsed.rule.len());
    for source in &parsed.rule {
        rules.push(rule(source).map_err(|(span, reason)| at(span, reason))?);
    }
    let (base_rules, base_default) = base.map_or((Vec::new(), Verdict::Errno(38)), |base| {
        (base.rules, base.default)
    });
    rules.extend(base_rules);
    Ok(Profile {
        name: file.display().to_string(),
        description: parsed.description,
        default: own_default.unwrap_or(base_default),
        rules,
        ignored: Vec::new(),
    })
}

fn base(name: &str, level: usize) -> std::result::Result<Profile, String> {
    if level == MOST_LEVELS {
        return Err(format!(
            "more than {MOST_LEVELS} profiles extend each other"
        ));
    }
    let Some(text) = builtin_text(name) else {
        let advice = constants::nearest(name, builtin_names())
            .map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
        return Err(format!("no shipped profile \"{name}\"{advice}"));
    };
    parse_level(Path::new(name), text, level + 1).map_err(|error| error.to_string())
}

fn rule(source: &FileRule) -> std::result::Result<Rule, (Range<usize>, String)> {
    if source.reason.get_ref().trim().is_empty() {
        return Err((source.reason.span(), "a rule needs its reason".to_owned()));
    }
    let mut calls = Vec::with_capacity(source.calls.len());
    for name in &source.calls {
        calls.push(call(name.get_ref()).map_err(|reason| (name.span(), reason))?);
    }
    let mut clauses = Vec::new();
    for clause in &source.when {
        let verdict = word(&clause.verdict)?;
        let conjunctions = expression::parse(clause.r#if.get_ref())
            .map_err(|reason| (clause.r#if.span(), reason))?;
        clauses.extend(
            conjunctions
                .into_iter()
                .map(|when| Clause { when, verdict }),
        );
    }
    if let Some(verdict) = &source.verdict {
        clauses.push(Clause {
            when: Vec::new(),
            verdict: word(verdict)?,
        });
    }
    if clauses.is_empty() {
        let reason = "the rule says nothing: it needs \"when\", \"verdict\" or both";
        return Err((source.reason.span(), reason.to_owned()));
    }
    let mut applies = Applies::default();
    if let Some(name) = &source.with_capability {
        let capability = constants::capability(name.get_ref()).ok_or_else(|| {
            let near = constants::nearest(name.get_ref(), constants::capability_names());
            let advice = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
            (
                name.span(),
                format!("unknown capability \"{}\"{advice}", name.get_ref()),
            )
        })?;
        applies.with_capabilities.push(capability);
    }
    Ok(Rule {
        calls,
        clauses,
        reason: source.reason.get_ref().as_str().into(),
        applies,
    })
}

fn word(text: &Spanned<String>) -> std::result::Result<Verdict, (Range<usize>, String)> {
    expression::verdict(text.get_ref()).map_err(|reason| (text.span(), reason))
}

fn call(name: &str) -> std::result::Result<CallName, String> {
    CallName::find(name).ok_or_else(|| {
        let known = numbers::TABLE.iter().map(|(known, ..)| *known);
        let advice = constants::nearest(name, known)
            .map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
        format!("no system call \"{name}\"{advice}")
    })
}

/// An error at a byte of the text.
pub(crate) fn mistake(file: &Path, text: &str, offset: usize, reason: String) -> Error {
    let before = text.get(..offset).unwrap_or("");
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Error::Policy {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        parse_profile(Path::new("p.toml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_mistake_is_shown_where_it_is() {
        let head = "description = \"d\"\n[[rule]]\nreason = \"r\"\n";
        for (rest, expected) in [
            (
                "calls = [\"raed\"]\nverdict = \"allow\"\n",
                "p.toml:4:10: no system call \"raed\"; did you mean \"read\"?",
            ),
            (
                "calls = [\"read\"]\nverdict = \"alow\"\n",
                "p.toml:5:11: unknown verdict \"alow\"; it is allow, log, errno NAME, succeed, trap, kill-thread or kill",
            ),
            (
                "calls = [\"read\"]\nverdict = \"errno EPREM\"\n",
                "p.toml:5:11: unknown errno \"EPREM\"; did you mean EPERM?",
            ),
            (
                "calls = [\"read\"]\n",
                "p.toml:3:10: the rule says nothing: it needs \"when\", \"verdict\" or both",
            ),
            (
                "calls = [\"read\"]\nverdict = \"allow\"\nwith-capability = \"CAP_SYS_ADMN\"\n",
                "p.toml:6:19: unknown capability \"CAP_SYS_ADMN\"; did you mean CAP_SYS_ADMIN?",
            ),
        ] {
            assert_eq!(message(&format!("{head}{rest}")), expected);
        }
        let unknown_key = message("description = \"d\"\ndefualt = \"allow\"\n");
        assert!(
            unknown_key.starts_with("p.toml:2:1: unknown field `defualt`"),
            "{unknown_key}"
        );
        assert_eq!(
            message("description = \"d\"\nextends = \"defualt\"\n"),
            "p.toml:2:11: no shipped profile \"defualt\"; did you mean \"default\"?"
        );
    }
}
