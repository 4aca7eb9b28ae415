//! What the command's environment is: the caller's, seen through a policy.
//!
//! Pure. The order is clear, keep, unset, set: what a policy sets is there whatever it removes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::Environment;

impl Environment {
    /// The command's variables, made from the `caller`'s, sorted by name.
    #[must_use]
    pub fn apply(
        &self,
        caller: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Vec<(OsString, OsString)> {
        let any = |patterns: &[OsString], name: &OsStr| {
            patterns.iter().any(|pattern| matches(pattern, name))
        };
        let mut variables: Vec<_> = caller
            .into_iter()
            .filter(|(name, _)| !self.clear || any(&self.keep, name))
            .filter(|(name, _)| !any(&self.unset, name) && !self.set.contains_key(name))
            .chain(self.set.clone())
            .collect();
        variables.sort();
        variables
    }
}

/// Whether `name` is `pattern`, or begins with what stands before its final `*`.
#[must_use]
pub fn matches(pattern: &OsStr, name: &OsStr) -> bool {
    match pattern.as_bytes().strip_suffix(b"*") {
        Some(start) => name.as_bytes().starts_with(start),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn pairs(all: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        let own = |(name, value): &(&str, &str)| (name.into(), value.into());
        all.iter().map(own).collect()
    }

    #[test]
    fn the_order_is_clear_keep_unset_set() {
        let environment = Environment {
            clear: true,
            keep: vec!["LC_*".into(), "HOME".into(), "TERM".into()],
            unset: vec!["LC_ALL".into(), "TERM".into()],
            set: BTreeMap::from([("TERM".into(), "dumb".into())]),
        };
        let caller = pairs(&[
            ("HOME", "/h"),
            ("LC_ALL", "C"),
            ("LC_TIME", "de"),
            ("TERM", "xterm"),
            ("USER", "u"),
        ]);
        assert_eq!(
            environment.apply(caller),
            pairs(&[("HOME", "/h"), ("LC_TIME", "de"), ("TERM", "dumb")])
        );
    }

    #[test]
    fn values_of_any_bytes_survive() {
        let odd = OsStr::from_bytes(b"\xff\xfe").to_owned();
        let environment = Environment {
            clear: false,
            keep: Vec::new(),
            unset: Vec::new(),
            set: BTreeMap::from([("A".into(), odd.clone())]),
        };
        let caller = vec![("B".into(), odd.clone())];
        assert_eq!(
            environment.apply(caller),
            [("A".into(), odd.clone()), ("B".into(), odd)]
        );
    }
}
