//! What a launch takes away from whatever profile it uses: rules that go before the profile's own.
//!
//! The rules are data (`policies/seccomp/overlays/`), in the profile format; a test checks that none
//! of them allows anything.

use std::path::Path;

use super::Context;
use super::parse::parse_profile;
use super::profile::Rule;
use crate::error::Result;

macro_rules! overlay {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../policies/seccomp/overlays/", $name, ".toml")),
        )
    };
}

const NO_SOCKETS: (&str, &str) = overlay!("no-sockets");
const HOST_SOCKETS: (&str, &str) = overlay!("host-sockets");
const HOST_DATAGRAMS: (&str, &str) = overlay!("host-datagrams");
const DIRECT: (&str, &str) = overlay!("direct");
const HOST_PROCESSES: (&str, &str) = overlay!("host-processes");
const GROUP_SIGNALS: (&str, &str) = overlay!("group-signals");

/// The rules that `context` puts before those of the profile.
pub(crate) fn for_context(context: &Context) -> Result<Vec<Rule>> {
    let switches = [
        (context.no_sockets, NO_SOCKETS),
        (context.host_sockets, HOST_SOCKETS),
        (context.host_datagrams, HOST_DATAGRAMS),
        (context.direct, DIRECT),
        (context.host_processes, HOST_PROCESSES),
        (context.refuse_group_signals, GROUP_SIGNALS),
    ];
    let mut rules = Vec::new();
    for (_, (name, text)) in switches.into_iter().filter(|(on, _)| *on) {
        rules.extend(parse_profile(Path::new(name), text)?.rules);
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_only_takes_away() {
        for (name, text) in [
            NO_SOCKETS,
            HOST_SOCKETS,
            HOST_DATAGRAMS,
            DIRECT,
            HOST_PROCESSES,
            GROUP_SIGNALS,
        ] {
            let overlay = parse_profile(Path::new(name), text).unwrap();
            assert!(!overlay.rules.is_empty(), "{name}");
            for clause in overlay.rules.iter().flat_map(|rule| &rule.clauses) {
                assert!(!clause.verdict.permits(), "{name}: {clause:?}");
            }
        }
    }
}
