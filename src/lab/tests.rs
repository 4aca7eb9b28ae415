//! What the pure half promises: mistakes at their line, addresses in their networks, differences that
//! lead where they say.

use std::path::Path;

use proptest::prelude::*;

use super::difference::{Action, difference};
use super::state::{Change, Faults, State};
use super::topology::{Reach, Topology};

fn parse(text: &str) -> Topology {
    Topology::parse(Path::new("lab.toml"), text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refusal(text: &str) -> String {
    Topology::parse(Path::new("lab.toml"), text)
        .unwrap_err()
        .to_string()
}

/// Two networks with a router between.
const ROUTER: &str = r#"
[networks.left]
ipv4 = "10.0.1.0/24"
ipv6 = "fd00:1::/64"
[networks.right]
ipv4 = "10.0.2.0/24"
[nodes.a]
default = "r"
[nodes.r]
forward = true
[nodes.b]
default = "r"
[nodes.c]
[[links]]
ends = ["r", "a"]
network = "left"
[bridges.lan]
network = "right"
members = ["r:lan0", { node = "b", rate = "10mbit" }, "c"]
[groups]
far = ["b", "c"]
[check]
reachable = ["a <-> b", "a -> r"]
unreachable = ["* -> c", "r -> 10.9.9.9"]
"#;

#[test]
fn addresses_are_given_in_order_and_names_resolved() {
    let lab = parse(ROUTER);
    let shown = |node: &str| -> Vec<String> {
        let node = &lab.nodes[lab.node(node).unwrap()];
        node.interfaces
            .iter()
            .map(|one| format!("{} {:?}", one.name, one.addresses))
            .collect()
    };
    assert_eq!(
        shown("r"),
        ["eth0 [10.0.1.1/24, fd00:1::1/64]", "lan0 [10.0.2.1/24]"]
    );
    assert_eq!(shown("a"), ["eth0 [10.0.1.2/24, fd00:1::2/64]"]);
    assert_eq!(shown("c"), ["eth0 [10.0.2.3/24]"]);
    let routes: Vec<String> = lab.nodes[0]
        .routes
        .iter()
        .map(|route| format!("{} {} {}", route.to, route.via, route.interface))
        .collect();
    assert_eq!(routes, ["0.0.0.0/0 10.0.1.1 eth0", "::/0 fd00:1::1 eth0"]);
    assert_eq!(lab.named("far").unwrap(), [2, 3]);
    assert_eq!(lab.named("a,far").unwrap(), [0, 2, 3]);
    assert_eq!(
        lab.named("fa").unwrap_err().to_string(),
        "no node or group is called \"fa\"; did you mean \"a\"?"
    );
    // a and r to c, b to c; the exact claims stand beside them.
    let claims = |reach| {
        lab.claims
            .iter()
            .filter(|claim| claim.expected == reach)
            .count()
    };
    assert_eq!(claims(Reach::Unreached), 4);
    assert_eq!(claims(Reach::Reached), 3);
}

#[test]
fn the_more_exact_claim_stands() {
    let nodes = "[nodes.a]\n[nodes.b]\n[nodes.c]\n[groups]\ng = [\"a\", \"b\"]\n[check]\n";
    let lab = parse(&format!(
        "{nodes}reachable = [\"* -> c\", \"a -> c\"]\nunreachable = [\"g -> c\"]"
    ));
    let found: Vec<_> = lab
        .claims
        .iter()
        .map(|claim| (claim.from, claim.expected))
        .collect();
    assert_eq!(found, [(0, Reach::Reached), (1, Reach::Unreached)]);
    let error = refusal(&format!(
        "{nodes}reachable = [\"a -> c\"]\nunreachable = [\"a <-> c\"]"
    ));
    assert_eq!(error, "lab.toml:8:16: line 7 claims the opposite");
}

#[test]
fn every_mistake_is_reported_at_its_line() {
    let ab = "[nodes.a]\n[nodes.b]\n";
    let table = [
        ("", "lab.toml:1:1: a lab has nodes: [nodes.NAME]".to_owned()),
        (
            "[nodes.a]\n[nodes.a]",
            "lab.toml:2:8: duplicate key".to_owned(),
        ),
        (
            "[nodes.a]\nforwrd = true",
            "lab.toml:2:1: unknown key \"forwrd\"; did you mean \"forward\"?".to_owned(),
        ),
        (
            "[nodes.a]\nmembers = []",
            "lab.toml:2:1: unknown key \"members\"; \"members\" belongs in [bridges.NAME]"
                .to_owned(),
        ),
        (
            "[nodes.a]\nforward = 1",
            "lab.toml:2:11: \"forward\" takes true or false, not a number".to_owned(),
        ),
        (
            "[nodes.\"a.b\"]",
            "lab.toml:1:8: \"a.b\" has a '.'; a name has letters, digits, \"-\" and \"_\" only"
                .to_owned(),
        ),
        (
            "[nodes.sixteen-letters-]",
            "lab.toml:1:8: \"sixteen-letters-\" has 16 bytes; a name has 15 at most".to_owned(),
        ),
        (
            &format!("{ab}[[links]]\nends = [\"a\", \"bb\"]"),
            "lab.toml:4:14: no node is called \"bb\"; did you mean \"b\"?".to_owned(),
        ),
        (
            &format!("{ab}[[links]]\nends = [\"a\"]"),
            "lab.toml:3:1: a link has two ends: ends = [\"NODE\", \"NODE\"]".to_owned(),
        ),
        (
            &format!("{ab}[[links]]\nends = [\"a\", \"a\"]"),
            "lab.toml:4:14: both ends of the link are of one node".to_owned(),
        ),
        (
            &format!("{ab}[[links]]\nends = [\"a:x\", \"b\"]\n[[links]]\nends = [\"a:x\", \"b\"]"),
            "lab.toml:6:9: node \"a\" has an interface \"x\" already".to_owned(),
        ),
        (
            "[networks.x]\nipv4 = \"10.0.0.0/8\"\n[networks.y]\nipv4 = \"10.1.0.0/16\"\n[nodes.a]",
            "lab.toml:4:8: 10.1.0.0/16 overlaps 10.0.0.0/8 of network \"x\" in line 2".to_owned(),
        ),
        (
            &format!(
                "{ab}[networks.x]\nipv4 = \"10.0.0.0/24\"\n[[links]]\nnetwork = \"x\"\n\
                 ends = [\"a\", {{ node = \"b\", addresses = [\"10.0.1.1/24\"] }}]"
            ),
            "lab.toml:7:41: 10.0.1.1/24 is outside of network \"x\", 10.0.0.0/24".to_owned(),
        ),
        (
            &format!(
                "{ab}[networks.x]\nipv4 = \"10.0.0.0/31\"\n[bridges.s]\nnetwork = \"x\"\n\
                 members = [\"a\", \"b\", \"a\"]"
            ),
            "lab.toml:5:10: network \"x\", 10.0.0.0/31, has fewer addresses than it has interfaces"
                .to_owned(),
        ),
        (
            &format!("{ab}[[links]]\nends = [\"a\", {{ node = \"b\", shaper = \"htb\" }}]"),
            "lab.toml:4:37: \"shaper\" holds it to a rate; give \"rate\"".to_owned(),
        ),
        (
            &format!(
                "{ab}[[links]]\nends = [\"a\", {{ node = \"b\", rate = \"1mbit\", loss = \"1%\", shaper = \"htb\" }}]"
            ),
            "lab.toml:4:66: netem, which delays and loses, has a rate of its own".to_owned(),
        ),
        (
            &format!("{ab}[[links]]\nends = [\"a\", {{ node = \"b\", shaper = \"hfsc\" }}]"),
            "lab.toml:4:37: shaper \"hfsc\": use tbf or htb".to_owned(),
        ),
        (
            "[nodes.a]\ndefault = \"10.0.0.1\"",
            "lab.toml:2:11: 10.0.0.1 is in no network of node \"a\"".to_owned(),
        ),
        (
            "[nodes.a]\nfirewall = [\"default input drop\",\n\"allow input tcp 80 in eth9\"]",
            "lab.toml:3:1: node \"a\" has no interface \"eth9\"".to_owned(),
        ),
        (
            "[nodes.a]\n[[nodes.a.run]]\npolicy = \"worker\"",
            "lab.toml:2:1: \"command\" is missing: a list of the program and its arguments"
                .to_owned(),
        ),
    ];
    for (text, message) in table {
        assert_eq!(refusal(text), message, "{text}");
    }
}

#[test]
fn a_file_whose_name_is_no_name_needs_one_inside() {
    let text = "[nodes.a]";
    let error = Topology::parse(Path::new("/x/my.lab.toml"), text).unwrap_err();
    assert!(error.to_string().contains("give \"name\""), "{error}");
    let lab = Topology::parse(Path::new("my.lab.toml"), &format!("name = \"my\"\n{text}"));
    assert_eq!(lab.unwrap().name, "my");
}

fn states(text: &str) -> State {
    State::desired(&parse(text), &Faults::default())
}

fn applied(old: &State, actions: &[Action]) -> State {
    let mut state = old.clone();
    for action in actions {
        state.apply(action);
    }
    state
}

#[test]
fn nothing_differs_from_itself() {
    let state = states(ROUTER);
    assert_eq!(difference(&state, &state), []);
    // Nor does a file that only lines moved in.
    assert_eq!(
        difference(&state, &states(&ROUTER.replace("\n[", "\n\n["))),
        []
    );
}

#[test]
fn one_more_route_is_one_action() {
    let more = ROUTER.replace("[nodes.c]\n", "[nodes.c]\ndefault = \"r\"\n");
    let actions = difference(&states(ROUTER), &states(&more));
    assert!(
        matches!(
            &actions[..],
            [Action::InSpace { space, change: Change::AddRoute(route) }]
                if space == "c" && route.to.prefix_len() == 0
        ),
        "{actions:?}"
    );
}

#[test]
fn a_partition_cuts_links_and_divides_bridges_and_heals() {
    let lab = parse(ROUTER);
    let whole = State::desired(&lab, &Faults::default());
    let parted = State::desired(
        &lab,
        &Faults {
            parts: vec![vec![0, 1], vec![2, 3]],
            ..Faults::default()
        },
    );
    let masters: Vec<_> = parted
        .cables
        .values()
        .filter_map(|wiring| wiring.masters[1].clone())
        .collect();
    assert_eq!(masters, ["~b0.1", "~b0.1", "lan"]);
    for (from, to) in [(&whole, &parted), (&parted, &whole)] {
        assert_eq!(&applied(from, &difference(from, to)), to);
    }
    // No namespace is made anew for it.
    let kept =
        |action: &Action| !matches!(action, Action::AddSpace { .. } | Action::AddCable { .. });
    assert!(difference(&whole, &parted).iter().all(kept));
}

#[test]
fn a_setting_taken_out_makes_its_node_anew() {
    let set = ROUTER.replace(
        "[nodes.c]\n",
        "[nodes.c]\nsysctl = { \"net.ipv4.tcp_ecn\" = \"1\" }\n",
    );
    let (old, new) = (states(&set), states(ROUTER));
    let actions = difference(&old, &new);
    assert!(actions.contains(&Action::RemoveSpace {
        space: "c".to_owned()
    }));
    assert_eq!(applied(&old, &actions), new);
}

#[test]
fn the_documents_tables_name_every_key_once() {
    let page = super::file::key_tables();
    for key in super::file::KEYS {
        assert!(
            page.contains(&format!("| `{}` |", key.name)),
            "{}",
            key.name
        );
    }
}

#[test]
fn pictures_are_xml_and_show_every_node() {
    let lab = parse(ROUTER);
    let svg = super::graph::svg(&lab);
    for node in &lab.nodes {
        assert!(svg.contains(&format!(">{}</text>", node.name)), "{svg}");
    }
    assert_eq!(svg.matches("<line ").count(), 4);
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    let text = super::graph::text(&lab);
    assert!(text.contains("\nr (forwards)\n"), "{text}");
    assert!(text.contains("{10mbit}"), "{text}");
}

/// A file made of a few choices.
fn some_file() -> impl Strategy<Value = String> {
    let node = (0..3_u8, any::<bool>(), any::<bool>());
    let nodes = proptest::collection::vec(node, 2..7);
    let links = proptest::collection::vec((0..7_usize, 0..7_usize, any::<bool>()), 0..8);
    let members = proptest::collection::vec(0..7_usize, 0..8);
    (nodes, links, members, any::<bool>()).prop_map(|(nodes, links, members, home)| {
        let mut text = String::new();
        for (number, (kind, forward, set)) in nodes.iter().enumerate() {
            text.push_str(&format!("[nodes.n{number}]\nforward = {forward}\n"));
            if *set {
                text.push_str("sysctl = { \"net.ipv4.tcp_ecn\" = \"1\" }\n");
            }
            if *kind == 1 {
                text.push_str("firewall = [\"default input drop\", \"allow input tcp 80\"]\n");
            }
            if *kind == 2 {
                text.push_str("run = [{ command = [\"sleep\", \"9\"] }]\n");
            }
        }
        for (number, (one, other, up)) in links.iter().enumerate() {
            let (one, other) = (one % nodes.len(), other % nodes.len());
            if one == other {
                continue;
            }
            text.push_str(&format!(
                "[networks.l{number}]\nipv4 = \"10.{number}.0.0/24\"\nipv6 = \"fd00:{number}::/64\"\n\
                 [[links]]\nends = [\"n{one}\", \"n{other}\"]\nnetwork = \"l{number}\"\nup = {up}\n"
            ));
        }
        let members: Vec<String> = members
            .iter()
            .map(|member| member % nodes.len())
            .filter(|member| !home || *member != 0)
            .map(|member| format!("\"n{member}\""))
            .collect();
        let home = if home { "node = \"n0\"\n" } else { "" };
        text.push_str(&format!(
            "[networks.s]\nipv4 = \"10.99.0.0/24\"\n[bridges.s]\nnetwork = \"s\"\n{home}members = [{}]\n",
            members.join(", ")
        ));
        text
    })
}

proptest! {
    #[test]
    fn a_difference_leads_where_it_says(
        old in some_file(),
        new in some_file(),
        parts in proptest::collection::vec(proptest::collection::vec(0..3_usize, 0..3), 0..3),
    ) {
        let faults = Faults { parts, ..Faults::default() };
        let states = [
            State::default(),
            State::desired(&parse(&old), &Faults::default()),
            State::desired(&parse(&old), &faults),
            State::desired(&parse(&new), &faults),
        ];
        for one in &states {
            for other in &states {
                prop_assert_eq!(&applied(one, &difference(one, other)), other);
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _ = Topology::parse(Path::new("lab.toml"), &text);
    }

    #[test]
    fn no_change_to_a_good_file_makes_the_reader_panic(at in 0..600_usize, put in ".{0,6}", cut in 0..9_usize) {
        let mut text = ROUTER.to_owned();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &put);
        let _ = Topology::parse(Path::new("lab.toml"), &text);
    }
}
