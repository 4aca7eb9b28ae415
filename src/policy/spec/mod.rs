//! The small languages of values, as they stand on the command line and in policy files.
//!
//! Pure functions from text to a value that cannot be wrong; no I/O, no panic for any input. Every
//! reason says what would be right. Where a value may hold any bytes (paths, variables) the parser
//! takes `OsStr`.

mod endpoint;
mod inside;
mod limit;
mod near;
mod network;
mod privilege;
mod quantity;

use std::fmt;

pub use endpoint::{endpoint, named_endpoint, named_peer, show_endpoint, unix_path};
pub use inside::{
    descriptor, descriptor_name, hostname, path, strictness, variable, variable_name,
    variable_pattern, variable_value, view,
};
pub use limit::{
    RESOURCES, Unit, cgroup, cgroup_cpu, cgroup_memory, cgroup_pids, limit, limit_value, show_limit,
};
pub(crate) use near::{advice, advice_and, nearest};
pub use network::{
    carrier, destination, max_bytes, max_rate, network, proxy_port, publish, show_network,
    show_unix_sockets, unix_sockets,
};
pub use privilege::{
    CAPABILITIES, account, capability, namespaces, seccomp, show_capability, user_namespace,
};
pub use quantity::{duration, show_duration, show_size, size};

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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Limit, Seccomp, Strictness, UserNamespace, View};

    /// What `parse` makes of each text: the value shown again, or its whole refusal.
    pub(super) fn check<T>(
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
