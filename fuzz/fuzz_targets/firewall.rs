//! Firewall statements: whatever the text, what is rendered holds no more than the statements say, so no
//! name or word can end one and begin another.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sandbox::netns::firewall::{Firewall, Statement, TABLE};

fuzz_target!(|text: &str| {
    let Ok(firewall) = Firewall::parse(Path::new("fuzz"), text) else {
        return;
    };
    let script = firewall.script();
    let count = |wanted: fn(&Statement) -> bool| {
        firewall.statements().iter().filter(|it| wanted(it)).count()
    };
    let rules = count(|it| matches!(it, Statement::Rule { .. }));
    let inward = count(|it| matches!(it, Statement::Dnat { .. }));
    let outward = count(|it| matches!(it, Statement::Masquerade { .. }));
    // Four lines around the chains, of which three are of six, five and six lines; two for translations.
    let chains = 6 + 5 + 6;
    let translations = [inward, outward].map(|some| if some > 0 { some + 3 } else { 0 });
    let lines = 4 + chains + rules + translations.iter().sum::<usize>();
    assert_eq!(script.lines().count(), lines, "{script}");
    // Outside of quotes, nothing that nft takes for the end of a statement, a comment or a variable; inside
    // of them, no quote.
    for line in script.lines() {
        assert!(line.is_ascii() && line.matches('"').count().is_multiple_of(2), "{line}");
        let outside: String = line.split('"').step_by(2).collect();
        let ends = outside.matches(';').count();
        assert!(ends <= usize::from(outside.contains("type ")) * 2, "{line}");
        assert!(!outside.contains(['#', '$', '\\', '@', '\'']), "{line}");
        assert!(!line.contains("include") || line.contains('"'), "{line}");
    }
    assert_eq!(script.matches("\ntable ").count(), 1, "{script}");
    assert!(script.contains(&format!("table inet {TABLE} {{\n")), "{script}");
});
