//! The laws of merging, and what is refused and named.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::policy::key::KEYS;
use crate::policy::parse::parse;
use crate::policy::{Network, View};
use std::ffi::OsString;

fn layer(text: &str) -> Layer {
    parse(Path::new("test"), text).unwrap()
}

fn over(below: &Layer, above: &Layer) -> Layer {
    let mut below = below.clone();
    lay_over(&mut below, above);
    below
}

/// A layer made of the examples of some keys, and of elements that overlap.
fn any_layer() -> impl Strategy<Value = Layer> {
    let words = ["A", "B", "AB", "A*", "B*"];
    (
        proptest::collection::vec(any::<bool>(), KEYS.len()),
        proptest::collection::vec(0..words.len(), 0..4),
        proptest::collection::vec(0..3usize, 0..3),
        1..9u64,
    )
        .prop_map(move |(said, unset, set, limit)| {
            let mut layer = Layer::default();
            for (key, said) in KEYS.iter().zip(said) {
                if said {
                    let section = match key.section {
                        "" => String::new(),
                        section => format!("[{section}]\n"),
                    };
                    let text = format!("{section}{} = {}", key.name, key.example);
                    lay_over(&mut layer, &parse(Path::new("example"), &text).unwrap());
                }
            }
            for index in unset {
                let pattern = OsString::from(words[index]);
                if !layer.environment.unset.contains(&pattern) {
                    layer.environment.unset.push(pattern);
                }
            }
            for index in set {
                layer
                    .environment
                    .set
                    .insert(words[index].into(), limit.to_string().into());
            }
            layer.cgroup.pids = Some(limit);
            layer
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_empty_layer_changes_nothing(a in any_layer()) {
        prop_assert_eq!(&over(&a, &Layer::default()), &a);
        prop_assert_eq!(&over(&Layer::default(), &a), &a);
    }

    #[test]
    fn how_layers_are_grouped_does_not_matter(a in any_layer(), b in any_layer(), c in any_layer()) {
        prop_assert_eq!(over(&over(&a, &b), &c), over(&a, &over(&b, &c)));
    }

    #[test]
    fn a_layer_over_itself_changes_nothing(a in any_layer()) {
        prop_assert_eq!(&over(&a, &a), &a);
    }
}

#[test]
fn the_last_scalar_stands_and_lists_add_up() {
    let below = layer("[network]\nmode = \"none\"\n[filesystem]\nhide = [\"/a\", \"/b\"]");
    let above = layer("[network]\nmode = \"fds\"\n[filesystem]\nhide = [\"/b\", \"/c\"]");
    let merged = over(&below, &above);
    assert_eq!(merged.network, Some(Network::Fds));
    assert_eq!(
        merged.filesystem.hide,
        ["/a", "/b", "/c"].map(PathBuf::from)
    );
}

#[test]
fn what_a_later_layer_unsets_is_not_set_and_what_it_sets_is() {
    let below = layer("[environment]\nset = { A = \"1\", B = \"1\" }\nunset = [\"C\"]");
    let above = layer("[environment]\nset = { C = \"2\" }\nunset = [\"A*\"]");
    let set = over(&below, &above).environment.set;
    let expected = [("B", "1"), ("C", "2")].map(|(n, v)| (n.into(), v.into()));
    assert_eq!(set.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn nothing_is_wide() {
    assert_eq!(widenings(&Policy::nothing()), []);
    assert_eq!(widenings(&combine(&[]).unwrap()), []);
}

#[test]
fn every_widening_is_named() {
    let wide = layer(
        "require = \"best-effort\"\n[network]\nmode = \"host\"\n[namespaces]\nuser = \"no\"\n\
             pid = false\nipc = false\nuts = false\ncgroup = false\n[filesystem]\ndev = \"host\"\n\
             hide-sockets = false\n[process]\nseccomp = \"off\"\ncap-add = [\"kill\"]",
    );
    let policy = combine(&[(Origin::CommandLine, wide)]).unwrap();
    let keys: Vec<_> = widenings(&policy).iter().map(|w| w.key).collect();
    assert_eq!(
        keys,
        [
            "network.mode",
            "namespaces.user",
            "namespaces.pid",
            "namespaces.ipc",
            "namespaces.uts",
            "namespaces.cgroup",
            "filesystem.proc",
            "filesystem.dev",
            "filesystem.hide-sockets",
            "process.seccomp",
            "process.cap-add",
            "require",
        ]
    );
}

#[test]
fn a_name_by_udp_is_named_where_names_are_inspected() {
    let keys = |allow: &str, inspect: bool| -> Vec<&str> {
        let text = format!("[egress]\nallow = [\"{allow}\"]\ninspect = {inspect}");
        let policy = combine(&[(Origin::CommandLine, layer(&text))]).unwrap();
        widenings(&policy).iter().map(|w| w.key).collect()
    };
    for allow in ["udp://a.example:443", "udp://*.a.example:443"] {
        assert_eq!(keys(allow, true), ["egress.allow", "egress.inspect"]);
        assert_eq!(keys(allow, false), ["egress.allow"]);
    }
    for allow in ["a.example:443", "udp://192.0.2.1:443"] {
        assert_eq!(keys(allow, true), ["egress.allow"]);
    }
}

#[test]
fn contradictions_are_refused() {
    let table = [
        (
            "[namespaces]\npid = false\n[process]\nas-pid-1 = true",
            "process.as-pid-1: the command cannot be process 1 without a process namespace of its own",
        ),
        (
            "[namespaces]\nuts = false\n[process]\nhostname = \"x\"",
            "process.hostname = \"x\": a host name of its own needs a uts namespace; without it the host would be renamed",
        ),
        (
            "[namespaces]\nmount = false\n[filesystem]\nhide = [\"/a\"]",
            "filesystem.hide: needs a mount namespace of its own (asked for by the command line)",
        ),
        (
            "[namespaces]\npid = false\n[filesystem]\nproc = \"own\"",
            "filesystem.proc: needs a process namespace of its own (asked for by the command line)",
        ),
        ("[filesystem]\nhide = [\"a\"]", "a: not an absolute path"),
        (
            "[network]\nunix-sockets = \"own\"\n[process]\nseccomp = \"off\"",
            "network.unix-sockets: needs a system-call filter (asked for by the command line)",
        ),
        (
            "[network]\nmode = \"host\"\nunix-sockets = \"datagrams\"",
            "network.unix-sockets: needs a network namespace of its own (asked for by the command line)",
        ),
    ];
    for (text, expected) in table {
        let error = combine(&[(Origin::CommandLine, layer(text))]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn what_nothing_would_keep_from_the_command_is_refused() {
    let keys = [
        "deny = [\"a.example:80\"]",
        "inspect = true",
        "[egress.max-bytes]\n\"a.example:80\" = \"1M\"",
        "[egress.max-rate]\n\"a.example:80\" = \"1M/s\"",
    ];
    for key in keys {
        let said = |mode: &str| {
            let text = format!("[network]\nmode = \"{mode}\"\n[egress]\n{key}");
            combine(&[(Origin::CommandLine, layer(&text))])
        };
        for mode in ["host", "ns:/proc/self/ns/net"] {
            let error = said(mode).unwrap_err().to_string();
            assert!(error.starts_with("egress."), "{key}: {error}");
            assert!(
                error.ends_with("needs network mode \"loopback\""),
                "{error}"
            );
        }
        // There nothing is reached, or only what is allowed.
        for mode in ["loopback", "none", "fds"] {
            assert!(said(mode).is_ok(), "{key} {mode}");
        }
    }
}

#[test]
fn only_paths_of_shipped_profiles_may_be_missing() {
    let shipped = layer("[filesystem]\nhide = [\"/a\", \"/b\"]");
    let own = layer("[filesystem]\nhide = [\"/b\", \"/c\"]");
    let policy = combine(&[
        (Origin::BuiltIn("x".to_owned()), shipped),
        (Origin::CommandLine, own),
    ])
    .unwrap();
    assert_eq!(policy.filesystem.optional, [PathBuf::from("/a")]);
    assert_eq!(policy.name, "x");
}

#[test]
fn sharing_the_mount_namespace_gives_up_what_a_shipped_profile_hides() {
    let shipped = layer("[filesystem]\nhide = [\"/a\"]");
    let own = layer("[namespaces]\nmount = false");
    let layers = [
        (Origin::BuiltIn("x".to_owned()), shipped),
        (Origin::CommandLine, own),
    ];
    let policy = combine(&layers).unwrap();
    assert_eq!(policy.filesystem.hide, Vec::<PathBuf>::new());
    assert_eq!(policy.filesystem.proc, View::Host);
    let explained = explain(&layers).unwrap();
    let of = |path: &str| explained.iter().find(|e| e.key.path() == path).unwrap();
    assert_eq!(of("filesystem.proc").source, Source::Follows);
    assert_eq!(
        of("namespaces.mount").source,
        Source::Layer(Origin::CommandLine, Some(2))
    );
}

#[test]
fn a_policy_and_its_layer_are_the_same() {
    let policy = combine(&[(Origin::CommandLine, layer("[cgroup]\ncpu = 1.5"))]).unwrap();
    let again = combine(&[(Origin::CommandLine, Layer::from(&policy))]).unwrap();
    assert_eq!(again, policy);
}
