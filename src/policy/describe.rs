//! What `sandbox policy` says: list, show, check, explain, diff, test, for people and for programs.
//!
//! Each function reads the policies that it is asked for and returns the text; printing is the
//! command line's. Text for people ends with a newline; JSON is one value, with a newline.

use std::ffi::OsStr;

use serde_json::{Map, Value as Json, json};

use super::find::{self, BUILT_IN, Purpose};
use super::key::{self, KEYS};
use super::merge::{self, Explained, Source, combine, widenings};
use super::value::{Value, printable, quoted};
use super::{Layer, Network, Origin, Policy, Seccomp, spec};
use crate::egress::destination::{Destination, Ports};
use crate::egress::rules::Verdict;
use crate::egress::sets;
use crate::error::{Error, Result};
use crate::request::Format;

/// Every policy that can be named: its name, for what it is, and where it comes from. One that cannot
/// be used is listed with the reason.
///
/// # Errors
/// When the working directory is gone.
pub fn list(format: Format) -> Result<String> {
    let listed = find::list()?;
    let rows: Vec<(String, String, String)> = listed
        .iter()
        .map(|listed| match &listed.layers {
            Ok(layers) => {
                let top = layers.last();
                let purpose = top.and_then(|(_, layer)| layer.description.clone());
                let from = top.map_or_else(String::new, |(origin, _)| origin.to_string());
                (listed.name.clone(), purpose.unwrap_or_default(), from)
            }
            Err(error) => (
                listed.name.clone(),
                format!("cannot be used: {error}"),
                String::new(),
            ),
        })
        .collect();
    if format == Format::Json {
        let rows = rows.iter().zip(&listed).map(|((name, purpose, from), listed)| {
            json!({ "name": name, "description": purpose, "from": from, "valid": listed.layers.is_ok() })
        });
        return Ok(pretty(&rows.collect()));
    }
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, purpose, from) in &rows {
        text.push_str(&format!("{name:width$}  {}\n", printable(purpose)));
        // Most are shipped; only what stands over a shipped one, or beside, needs a word.
        if from.is_empty() || BUILT_IN.iter().any(|(name, _)| *from == shipped(name)) {
            continue;
        }
        text.push_str(&format!("{:width$}  from {}\n", "", printable(from)));
    }
    Ok(text)
}

/// The whole policy with all its layers merged, as a policy file that stands for itself, or as JSON.
///
/// # Errors
/// When it cannot be found or is not valid.
pub fn show(policy: &OsStr, format: Format) -> Result<String> {
    let policy = combine(&find::load(policy, Purpose::Explain)?)?;
    Ok(show_policy(&policy, format))
}

/// As [`show`], of a policy at hand.
#[must_use]
pub fn show_policy(policy: &Policy, format: Format) -> String {
    match format {
        Format::Text => to_toml(policy),
        Format::Json => pretty(&to_json(policy)),
    }
}

/// That the policy and its system-call profile are valid, which layers it has, and what it gives up.
///
/// # Errors
/// When it, or its system-call profile, cannot be found or is not valid.
pub fn check(policy: &OsStr, format: Format) -> Result<String> {
    let layers = find::load(policy, Purpose::Explain)?;
    let merged = combine(&layers)?;
    if let Seccomp::Profile(name) = &merged.process.seccomp {
        crate::filter::load(name)?;
    }
    sets::all_held(&merged.egress.budgets, &sets::rules(&merged.egress)?)?;
    let wider = widenings(&merged);
    if format == Format::Json {
        let wider: Vec<_> = wider
            .iter()
            .map(|wider| json!({ "key": wider.key, "consequence": wider.consequence }))
            .collect();
        let names: Vec<_> = layers
            .iter()
            .map(|(origin, _)| origin.to_string())
            .collect();
        return Ok(pretty(
            &json!({ "name": merged.name, "valid": true, "layers": names, "wider": wider }),
        ));
    }
    let mut text = format!("{}: valid\n", printable(&merged.name));
    for (origin, _) in &layers {
        text.push_str(&format!("  layer  {}\n", printable(&origin.to_string())));
    }
    for wider in &wider {
        text.push_str(&format!("  wider  {}: {}\n", wider.key, wider.consequence));
    }
    Ok(text)
}

/// Whether the policy lets a command reach `destination`, with the rule or the reason; and that as one
/// answer for all its ports.
///
/// # Errors
/// When the policy or the destination is not valid, or the policy's network is not one of rules.
pub fn test(policy: &OsStr, destination: &OsStr, format: Format) -> Result<(String, Answer)> {
    let policy = combine(&find::load(policy, Purpose::Explain)?)?;
    test_policy(&policy, destination, format)
}

/// Whether everything that was asked for is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All of it.
    Allowed,
    /// Not all of it.
    Refused,
}

/// As [`test()`], of a policy at hand.
///
/// # Errors
/// As [`test()`].
pub fn test_policy(
    policy: &Policy,
    destination: &OsStr,
    format: Format,
) -> Result<(String, Answer)> {
    let shown = destination.to_string_lossy().into_owned();
    let what = || format!("destination \"{}\"", shown.escape_debug());
    let parsed = spec::destination(destination)
        .map_err(|reason| Error::usage(what(), reason.to_string()))?;
    match &policy.network {
        Network::Loopback | Network::None | Network::Fds => {}
        other => {
            return Err(Error::usage(
                format!("policy \"{}\"", policy.name.escape_debug()),
                format!(
                    "its network mode is {}, of which no rule decides what can be reached",
                    spec::show_network(other).to_string_lossy()
                ),
            ));
        }
    }
    let rules = sets::rules(&policy.egress)?;
    let single = "test one host by name or address, or one Unix socket";
    let verdicts: Vec<(String, Verdict)> = match parsed {
        Destination::Network {
            protocol,
            hosts,
            ports,
        } => {
            let asked = hosts.one().ok_or_else(|| Error::usage(what(), single))?;
            if ports.count() > MOST_TESTED {
                let reason = format!("test {MOST_TESTED} ports at most at once");
                return Err(Error::usage(what(), reason));
            }
            let decide = |port| {
                let one = Destination::Network {
                    protocol,
                    hosts: hosts.clone(),
                    ports: Ports::one(port),
                };
                (one.to_string(), rules.decide(protocol, &asked, port))
            };
            ports.iter().map(decide).collect()
        }
        Destination::Unix(path) => {
            vec![(format!("unix:{}", path.display()), rules.decide_unix(&path))]
        }
        Destination::Set(_) => return Err(Error::usage(what(), single)),
    };
    let answer = match verdicts.iter().all(|(_, verdict)| verdict.is_ok()) {
        true => Answer::Allowed,
        false => Answer::Refused,
    };
    if format == Format::Json {
        return Ok((pretty(&verdicts.iter().map(verdict_json).collect()), answer));
    }
    Ok((verdicts.iter().map(verdict_text).collect(), answer))
}

/// The most ports that one test goes through.
const MOST_TESTED: usize = 1024;

fn verdict_json((destination, verdict): &(String, Verdict)) -> Json {
    match verdict {
        Ok(allowed) => json!({
            "destination": destination, "verdict": "allowed", "rule": &*allowed.rule,
        }),
        Err(refusal) => json!({
            "destination": destination, "verdict": "refused", "reason": refusal.to_string(),
            "flag": refusal.flag(),
        }),
    }
}

fn verdict_text((destination, verdict): &(String, Verdict)) -> String {
    let destination = printable(destination);
    match verdict {
        Ok(allowed) => format!("{destination}  allowed  by {}\n", printable(&allowed.rule)),
        Err(refusal) => {
            let flag = refusal.flag().map_or_else(String::new, |flag| {
                format!("; {} would allow it", printable(&flag))
            });
            format!(
                "{destination}  refused  {}{flag}\n",
                printable(&refusal.to_string())
            )
        }
    }
}

/// Each key's value and meaning, whose word it is, and the flag that changes it; only of the key
/// `wanted` where one is given.
///
/// # Errors
/// When the policy or the key is not known, or the policy is not valid.
pub fn explain(policy: &OsStr, wanted: Option<&str>, format: Format) -> Result<String> {
    explain_layers(&find::load(policy, Purpose::Explain)?, wanted, format)
}

/// As [`explain`], of layers at hand.
///
/// # Errors
/// When the key is not known, or the policy is not valid.
pub fn explain_layers(
    layers: &[(Origin, Layer)],
    wanted: Option<&str>,
    format: Format,
) -> Result<String> {
    let mut explained = merge::explain(layers)?;
    if let Some(wanted) = wanted {
        let chosen = choose(wanted)?;
        explained.retain(|one| chosen.contains(&one.key.path()));
    }
    if format == Format::Json {
        return Ok(pretty(&explained.iter().map(explained_json).collect()));
    }
    Ok(explained
        .iter()
        .map(explained_text)
        .collect::<Vec<_>>()
        .join("\n"))
}

/// The keys that `wanted` means: `section.key`, `key`, or a whole `section`.
fn choose(wanted: &str) -> Result<Vec<String>> {
    if let Some(key) = key::find_path(wanted).filter(|key| key.name != "extends") {
        return Ok(vec![key.path()]);
    }
    let chosen: Vec<String> = KEYS
        .iter()
        .filter(|key| key.name != "extends" && (key.name == wanted || key.section == wanted))
        .map(key::Key::path)
        .collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let paths: Vec<String> = KEYS.iter().map(key::Key::path).collect();
    let known = paths.iter().map(String::as_str);
    let known = known.chain(KEYS.iter().map(|key| key.name));
    Err(Error::usage(
        format!("key \"{}\"", wanted.escape_debug()),
        format!("no key is called so{}", spec::advice(wanted, known)),
    ))
}

/// What `b` has otherwise than `a`, key by key; empty where they are the same.
///
/// # Errors
/// When either cannot be found or is not valid.
pub fn diff(a: &OsStr, b: &OsStr, format: Format) -> Result<String> {
    let load = |policy| {
        Ok(Layer::from(&combine(&find::load(
            policy,
            Purpose::Explain,
        )?)?))
    };
    let (a, b): (Layer, Layer) = (load(a)?, load(b)?);
    let different = KEYS.iter().filter_map(|key| {
        let (old, new) = (key.value(&a), key.value(&b));
        (key.name != "description" && old != new).then_some((key, old, new))
    });
    if format == Format::Json {
        let json = |value: Option<Value>| value.map_or(Json::Null, |value| value.to_json());
        let rows = different
            .map(|(key, old, new)| json!({ "key": key.path(), "a": json(old), "b": json(new) }));
        return Ok(pretty(&rows.collect()));
    }
    let mut text = String::new();
    for (key, old, new) in different {
        if !key.kind.adds_up() {
            let word = |value: Option<Value>| value.map_or("nothing".to_owned(), |v| v.to_string());
            text.push_str(&format!("{}: {} -> {}\n", key.path(), word(old), word(new)));
            continue;
        }
        text.push_str(&format!("{}:\n", key.path()));
        let (old, new) = (lines_of(old), lines_of(new));
        for line in old.iter().filter(|line| !new.contains(line)) {
            text.push_str(&format!("  - {line}\n"));
        }
        for line in new.iter().filter(|line| !old.contains(line)) {
            text.push_str(&format!("  + {line}\n"));
        }
        if old.len() == new.len() && old.iter().all(|line| new.contains(line)) {
            text.push_str("  the same, in another order\n");
        }
    }
    Ok(text)
}

/// The elements of a list or table, one text each.
fn lines_of(value: Option<Value>) -> Vec<String> {
    match value {
        Some(Value::List(items)) => items.iter().map(|item| quoted(item)).collect(),
        Some(Value::Map(pairs)) => pairs
            .iter()
            .map(|(name, value)| {
                format!("{} = {}", printable(&name.to_string_lossy()), quoted(value))
            })
            .collect(),
        Some(value) => vec![value.to_string()],
        None => Vec::new(),
    }
}

/// A policy as a file that stands for itself.
fn to_toml(policy: &Policy) -> String {
    let layer = Layer::from(policy);
    let mut text = format!("# {}, with all its layers\n", printable(&policy.name));
    let mut section = "";
    for key in KEYS {
        let value = match key.name {
            // Whatever it was laid over is in here already.
            "extends" => Some(Value::text(find::NOTHING)),
            _ => key.value(&layer),
        };
        let Some(value) = value else {
            continue;
        };
        if key.section != section {
            section = key.section;
            text.push_str(&format!("\n[{section}]\n"));
        }
        let short = value.to_string();
        if let Value::List(items) = &value
            && short.len() > 60
        {
            text.push_str(&format!("{} = [\n", key.name));
            for item in items {
                text.push_str(&format!("  {},\n", quoted(item)));
            }
            text.push_str("]\n");
            continue;
        }
        text.push_str(&format!("{} = {short}\n", key.name));
    }
    text
}

/// A policy as JSON, section by section.
fn to_json(policy: &Policy) -> Json {
    let layer = Layer::from(policy);
    let mut top = Map::new();
    top.insert("name".to_owned(), json!(policy.name));
    for key in KEYS {
        let Some(value) = key.value(&layer) else {
            continue;
        };
        let value = value.to_json();
        if key.section.is_empty() {
            top.insert(key.name.to_owned(), value);
            continue;
        }
        if let Json::Object(section) = top
            .entry(key.section)
            .or_insert_with(|| Json::Object(Map::new()))
        {
            section.insert(key.name.to_owned(), value);
        }
    }
    Json::Object(top)
}

fn explained_text(explained: &Explained) -> String {
    let key = explained.key;
    let value = match &explained.value {
        None => "nothing".to_owned(),
        Some(value) if key.kind.adds_up() => match value.elements().len() {
            1 => "1 entry".to_owned(),
            number => format!("{number} entries"),
        },
        Some(value) => value.to_string(),
    };
    let mut text = format!("{} = {value}\n", key.path());
    text.push_str(&format!("    {}\n", key.meaning));
    let lines = lines_of(explained.value.clone());
    for ((_, source), line) in explained.elements.iter().zip(&lines) {
        text.push_str(&format!("      {line:30}  {}\n", source_text(source)));
    }
    if explained.elements.is_empty() {
        text.push_str(&format!("    {}\n", source_text(&explained.source)));
    }
    if !key.flag.is_empty() {
        text.push_str(&format!("    flag {}\n", key.flag));
    }
    text
}

fn source_text(source: &Source) -> String {
    match source {
        Source::Default => "no layer says otherwise".to_owned(),
        Source::Follows => "follows from a shared namespace".to_owned(),
        Source::Layer(origin, None) => format!("from {}", printable(&origin.to_string())),
        Source::Layer(origin, Some(line)) => {
            format!("from {}, line {line}", printable(&origin.to_string()))
        }
    }
}

fn explained_json(explained: &Explained) -> Json {
    let elements: Vec<Json> = explained
        .elements
        .iter()
        .map(|(element, source)| {
            json!({ "element": element.to_string_lossy(), "source": source_json(source) })
        })
        .collect();
    json!({
        "key": explained.key.path(),
        "value": explained.value.as_ref().map_or(Json::Null, Value::to_json),
        "source": source_json(&explained.source),
        "elements": elements,
        "meaning": explained.key.meaning,
        "flag": explained.key.flag,
    })
}

fn source_json(source: &Source) -> Json {
    match source {
        Source::Default => json!({ "layer": "default" }),
        Source::Follows => json!({ "layer": "follows" }),
        Source::Layer(origin, line) => json!({ "layer": origin.to_string(), "line": line }),
    }
}

fn shipped(name: &str) -> String {
    Origin::BuiltIn(name.to_owned()).to_string()
}

fn pretty(json: &Json) -> String {
    format!("{json:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let mut policy = Policy::nothing();
        policy.egress.allow = vec![
            "api.example.com:443".parse().unwrap(),
            "*.example.org:80-82".parse().unwrap(),
            "10.0.0.0/8:5432".parse().unwrap(),
            "unix:/run/a".parse().unwrap(),
        ];
        policy.egress.deny = vec!["no.example.org:80".parse().unwrap()];
        policy
    }

    fn said(policy: &Policy, destination: &str) -> std::result::Result<(String, Answer), String> {
        test_policy(policy, OsStr::new(destination), Format::Text)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_destination_is_allowed_by_a_rule_or_refused_for_a_reason() {
        for (destination, answer, line) in [
            (
                "API.example.com.:443",
                Answer::Allowed,
                "api.example.com:443  allowed  by api.example.com:443\n",
            ),
            (
                "api.example.com:80",
                Answer::Refused,
                "api.example.com:80  refused  only tcp port 443 allowed there; --allow api.example.com:80 would allow it\n",
            ),
            (
                "no.example.org:80-81",
                Answer::Refused,
                "no.example.org:80  refused  denied by no.example.org:80\n\
                 no.example.org:81  allowed  by *.example.org:80-82\n",
            ),
            (
                "10.1.2.3:5432",
                Answer::Allowed,
                "10.1.2.3:5432  allowed  by 10.0.0.0/8:5432\n",
            ),
            (
                "udp://[::1]:53",
                Answer::Refused,
                "udp://[::1]:53  refused  ::1 is the host's own loopback; --allow udp://[::1]:53 would allow it\n",
            ),
            (
                "unix:/run/a",
                Answer::Allowed,
                "unix:/run/a  allowed  by unix:/run/a\n",
            ),
            (
                "unix:/run/b",
                Answer::Refused,
                "unix:/run/b  refused  no rule allows it; --allow unix:/run/b would allow it\n",
            ),
        ] {
            let expected = (line.to_owned(), answer);
            assert_eq!(said(&policy(), destination), Ok(expected), "{destination}");
        }
    }

    #[test]
    fn what_is_not_one_destination_cannot_be_tested() {
        let single = "test one host by name or address, or one Unix socket";
        for destination in ["*.example.org:80", "10.0.0.0/8:1", "@example"] {
            let expected = format!("destination \"{destination}\": {single}");
            assert_eq!(said(&policy(), destination), Err(expected));
        }
        let many = said(&policy(), "a.example:1-65535").unwrap_err();
        assert!(many.ends_with("test 1024 ports at most at once"), "{many}");
        let mut host = policy();
        host.network = Network::Host;
        let error = said(&host, "api.example.com:443").unwrap_err();
        assert!(error.contains("network mode is host"), "{error}");
    }

    #[test]
    fn programs_are_told_the_same() {
        let both = OsStr::new("no.example.org:80-81");
        let (text, answer) = test_policy(&policy(), both, Format::Json).unwrap();
        let json: Json = serde_json::from_str(&text).unwrap();
        let expected = json!([
            {
                "destination": "no.example.org:80", "verdict": "refused",
                "reason": "denied by no.example.org:80", "flag": null,
            },
            {
                "destination": "no.example.org:81", "verdict": "allowed",
                "rule": "*.example.org:80-82",
            },
        ]);
        assert_eq!((json, answer), (expected, Answer::Refused));
    }
}
