//! Named sets of destinations: `@NAME` in a rule stands for what the file `NAME.toml` lists.
//!
//! In the launcher, while it plans. A set is looked for beside policies, in `sandbox/sets` of the user's
//! and the system's directories, then among the shipped ones; the first found counts, whole. A set holds
//! no other set. `policies/README.md` describes the format.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::Deserialize;
use toml::Spanned;

use super::budget::Limits;
use super::destination::{Destination, set_name};
use super::rules::{Grant, Rules};
use crate::error::{Error, Result};
use crate::policy::find::{self, Places};
use crate::policy::{Egress, spec};

/// The shipped sets: no list of real hosts, which would be wrong somewhere tomorrow.
pub const BUILT_IN: &[(&str, &str)] =
    &[("example", include_str!("../../policies/sets/example.toml"))];

/// The most destinations of one set.
const MAX_DESTINATIONS: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "description")]
    _description: Option<String>,
    destinations: Vec<Spanned<String>>,
}

/// The rules that a policy's lists make, with each set replaced by what it holds.
///
/// # Errors
/// When a set cannot be found or is not valid, or a rule can match nothing.
pub fn rules(egress: &Egress) -> Result<Rules> {
    let has_set = |list: &[Destination]| list.iter().any(|d| matches!(d, Destination::Set(_)));
    // Nothing is read of the environment where no set is named.
    let places = match has_set(&egress.allow) || has_set(&egress.deny) {
        true => Some(Places::of_this_process()?),
        false => None,
    };
    let allow = expand(&egress.allow, places.as_ref())?;
    let deny = expand(&egress.deny, places.as_ref())?;
    Rules::new(allow, deny).map_err(|reason| Error::usage("--allow", reason.to_string()))
}

/// Refuse a budget for what `rules` let nobody reach: a name in it is misspelt, and what was to have a budget
/// has none.
///
/// # Errors
/// When there is one. Where no host is allowed there is nothing to be held to it.
pub(crate) fn all_held(limits: &Limits, rules: &Rules) -> Result<()> {
    if !rules.allow_hosts() {
        return Ok(());
    }
    let of = |key, budgets: &BTreeMap<Destination, u64>| {
        let idle = budgets.keys().find(|to| !rules.may_reach(to));
        idle.map(|to| {
            Error::usage(
                key,
                format!("no --allow or \"allow\" is about {to}, so this holds nothing back"),
            )
        })
    };
    match of("egress.max-bytes", &limits.bytes).or_else(|| of("egress.max-rate", &limits.rates)) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// `destinations`, each set replaced by what it holds.
fn expand(destinations: &[Destination], places: Option<&Places>) -> Result<Vec<Grant>> {
    let mut grants = Vec::new();
    for destination in destinations {
        match (destination, places) {
            (Destination::Set(name), Some(places)) => {
                let held = load(name, places)?.into_iter();
                grants.extend(held.map(|destination| Grant {
                    destination,
                    set: Some(name.clone()),
                }));
            }
            (destination, _) => grants.push(destination.clone().into()),
        }
    }
    Ok(grants)
}

/// The destinations of the set `name`.
///
/// # Errors
/// When there is none in `places`, or it is not valid.
pub fn load(name: &str, places: &Places) -> Result<Vec<Destination>> {
    let name = set_name(name)
        .map_err(|reason| Error::usage(format!("@{}", name.escape_debug()), reason.to_string()))?;
    for directory in directories(places) {
        let path = directory.join(format!("{name}.toml"));
        match std::fs::symlink_metadata(&path) {
            Ok(_) => return parse(&path, &find::read_trusted(&path)?),
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                // What cannot be searched is not for us, as with policies.
                Some(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
                errno => {
                    let errno = errno.unwrap_or(Errno::EIO);
                    return Err(Error::host(
                        "read the set",
                        path.display().to_string(),
                        errno,
                    ));
                }
            },
        }
    }
    if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
        return parse(Path::new(&format!("sets/{name}.toml")), text);
    }
    let known = BUILT_IN.iter().map(|(known, _)| *known);
    let first = directories(places).next().unwrap_or_default();
    let file = first.join(format!("{name}.toml"));
    let rest = format!("a set is a file {}", file.display());
    Err(Error::usage(
        format!("@{name}"),
        format!(
            "no set is called so{}",
            spec::advice_and(&name, known, &rest)
        ),
    ))
}

/// The names of all sets in `places`, each once, sorted.
pub(crate) fn names(places: &Places) -> Vec<String> {
    let shipped = BUILT_IN.iter().map(|(name, _)| *name);
    find::names_beside(shipped, directories(places))
}

/// The directories of sets, the most important first.
fn directories(places: &Places) -> impl Iterator<Item = PathBuf> {
    let parents = places
        .directories
        .iter()
        .filter_map(|directory| directory.parent());
    parents.map(|parent| parent.join("sets"))
}

/// The destinations in the text of a set's file.
///
/// # Errors
/// [`Error::Policy`] with the place of the first mistake.
pub fn parse(file: &Path, text: &str) -> Result<Vec<Destination>> {
    let at = |offset: usize, reason: String| {
        let before = text.get(..offset).unwrap_or(text);
        Error::Policy {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
            reason,
        }
    };
    let parsed: File = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        at(offset, error.message().replace('\n', " "))
    })?;
    if parsed.destinations.len() > MAX_DESTINATIONS {
        return Err(at(
            0,
            format!("more than {MAX_DESTINATIONS} destinations in one set"),
        ));
    }
    let mut destinations = Vec::new();
    for written in &parsed.destinations {
        let start = written.span().start;
        match written.get_ref().parse() {
            Ok(Destination::Set(_)) => {
                return Err(at(
                    start,
                    "a set holds no other set; name both in the rule".to_owned(),
                ));
            }
            Ok(destination) => destinations.push(destination),
            Err(reason) => return Err(at(start, reason.to_string())),
        }
    }
    Ok(destinations)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::egress::destination::{Asked, Protocol};

    fn places(files: &[(&str, &str)]) -> (tempfile::TempDir, Places) {
        let root = tempfile::tempdir().unwrap();
        let mut directories = Vec::new();
        for place in ["user", "system"] {
            fs::create_dir_all(root.path().join(place).join("sets")).unwrap();
            directories.push(root.path().join(place).join("policies"));
        }
        for (name, text) in files {
            fs::write(root.path().join(format!("{name}.toml")), text).unwrap();
        }
        let places = Places {
            directories,
            working: root.path().to_owned(),
            home: None,
        };
        (root, places)
    }

    fn shown(name: &str, places: &Places) -> Vec<String> {
        let loaded = load(name, places).unwrap();
        loaded.iter().map(ToString::to_string).collect()
    }

    fn refusal(name: &str, places: &Places) -> String {
        let error = load(name, places).unwrap_err().to_string();
        error.replace(&format!("{}/", places.working.display()), "")
    }

    #[test]
    fn every_shipped_set_is_valid_and_each_of_its_destinations_has_its_reason() {
        for (name, text) in BUILT_IN {
            let destinations = parse(Path::new(name), text).unwrap();
            assert!(!destinations.is_empty(), "{name}");
            assert!(text.starts_with("# For: "), "{name}");
            let explained = text.lines().filter(|line| line.trim().starts_with('"'));
            assert!(explained.clone().all(|line| line.contains("# ")), "{name}");
            assert_eq!(
                explained.count(),
                destinations.len(),
                "one a line in {name}"
            );
        }
    }

    #[test]
    fn the_users_set_stands_before_the_systems_and_the_shipped_one() {
        let own = "destinations = [\"a.example:1\"]";
        let other = "destinations = [\"b.example:2\"]";
        let (_root, places) = places(&[
            ("user/sets/example", own),
            ("system/sets/example", other),
            ("system/sets/more", other),
        ]);
        assert_eq!(shown("example", &places), ["a.example:1"]);
        assert_eq!(shown("more", &places), ["b.example:2"]);
        let shipped = shown("example", &places.without_directories());
        assert!(shipped.contains(&"index.example.com:443".to_owned()));
    }

    #[test]
    fn a_mistake_is_reported_at_its_place() {
        let (_root, places) = places(&[
            (
                "user/sets/port",
                "# x\ndestinations = [\n  \"a.example\",\n]",
            ),
            ("user/sets/nested", "destinations = [\"@port\"]"),
            ("user/sets/key", "destinations = []\nallow = []"),
            ("user/sets/empty", ""),
        ]);
        let port =
            "user/sets/port.toml:3:3: \"a.example\" has no port; write one, as example.com:443";
        assert_eq!(refusal("port", &places), port);
        let nested = "user/sets/nested.toml:1:17: a set holds no other set";
        assert!(refusal("nested", &places).starts_with(nested));
        assert!(refusal("key", &places).starts_with("user/sets/key.toml:2:1: unknown field"));
        assert!(refusal("empty", &places).contains("missing field"));
        let unknown = "@exmaple: no set is called so; did you mean \"example\"? a set is a file user/sets/exmaple.toml";
        assert_eq!(refusal("exmaple", &places), unknown);
        assert!(refusal("../policies/x", &places).contains("a set's name"));
    }

    #[test]
    fn a_rule_of_a_set_says_so() {
        let egress = Egress {
            allow: vec!["@example".parse().unwrap()],
            deny: vec!["mirror.example.net:80".parse().unwrap()],
            ..Egress::default()
        };
        let rules = rules(&egress).unwrap();
        let decide = |name: &str, port| {
            let asked = Asked::from_ascii(name.as_bytes()).unwrap();
            rules.decide(Protocol::Tcp, &asked, port)
        };
        let allowed = decide("index.example.com", 443).unwrap();
        assert_eq!(&*allowed.rule, "index.example.com:443 of @example");
        assert!(decide("mirror.example.net", 80).is_err());
        assert!(decide("mirror.example.net", 8000).is_ok());
    }
}
