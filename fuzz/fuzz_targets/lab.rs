//! Any text is a lab or one located mistake; a lab can be laid out, compared, drawn, and its rules hold
//! no name that ends a statement.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sandbox::Error;
use sandbox::lab::difference::difference;
use sandbox::lab::state::{Faults, State};
use sandbox::lab::{Topology, graph};

fuzz_target!(|text: &str| {
    match Topology::parse(Path::new("fuzz.toml"), text) {
        Ok(lab) => {
            let parts = vec![vec![0], vec![lab.nodes.len() - 1]];
            let parted = Faults { parts, ..Faults::default() };
            let states = [
                State::default(),
                State::desired(&lab, &Faults::default()),
                State::desired(&lab, &parted),
            ];
            for old in &states {
                for new in &states {
                    let mut state = old.clone();
                    for action in difference(old, new) {
                        state.apply(&action);
                    }
                    assert_eq!(&state, new);
                }
            }
            let _ = graph::text(&lab);
            // Quadratic.
            if lab.nodes.len() < 20 {
                let _ = graph::svg(&lab);
            }
            for firewall in lab.nodes.iter().filter_map(|node| node.firewall.as_ref()) {
                let script = firewall.statements.script();
                assert_eq!(script.matches('{').count(), script.matches('}').count());
            }
        }
        Err(Error::Policy { line, .. }) => {
            assert!((1..=text.lines().count() + 1).contains(&line), "line {line} of {text:?}");
        }
        Err(other) => panic!("no place: {other}"),
    }
});
