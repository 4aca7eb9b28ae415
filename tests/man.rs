//! The manual pages and completions: made from the definitions, complete, and as committed.
//!
//! `SANDBOX_BLESS=1 cargo test --test man` writes `dist/` anew.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::policy::key;
use sandbox::step::Step;

/// What the binary prints for `arguments`.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All pages, as `sandbox man --dir` writes them.
fn pages() -> [(&'static str, String); 5] {
    let dir = tempfile::tempdir().unwrap();
    printed(&["man", "--dir", dir.path().to_str().unwrap()]);
    let names: BTreeSet<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        names
            .iter()
            .map(|name| name.as_os_str())
            .collect::<Vec<_>>(),
        [
            OsStr::new("sandbox-lab.1"),
            OsStr::new("sandbox-netns.1"),
            OsStr::new("sandbox-policy.5"),
            OsStr::new("sandbox-serve.1"),
            OsStr::new("sandbox.1")
        ]
    );
    [
        "sandbox.1",
        "sandbox-serve.1",
        "sandbox-netns.1",
        "sandbox-lab.1",
        "sandbox-policy.5",
    ]
    .map(|name| {
        (
            name,
            std::fs::read_to_string(dir.path().join(name)).unwrap(),
        )
    })
}

fn page(name: &str) -> String {
    let found = pages().into_iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no page {name}")).1
}

/// The text of section `title`.
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let titles = [format!(".SH {title}\n"), format!(".SH \"{title}\"\n")];
    let start = titles
        .iter()
        .find_map(|title| page.find(title).map(|at| at + title.len()))
        .unwrap_or_else(|| panic!("no section {title}"));
    let rest = &page[start..];
    &rest[..rest.find("\n.SH ").unwrap_or(rest.len())]
}

/// Roff's escapes for a hyphen taken back.
fn plain(text: &str) -> String {
    text.replace("\\-", "-")
        .replace("\\fB", "")
        .replace("\\fI", "")
        .replace("\\fR", "")
}

fn assert_committed(path: &Path, made: &str) {
    if std::env::var_os("SANDBOX_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, made).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == made,
        "{} is not what the definitions make; run SANDBOX_BLESS=1 cargo test --test man",
        path.display()
    );
}

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist")
}

#[test]
fn the_committed_pages_are_what_the_definitions_make() {
    for (name, made) in pages() {
        assert_committed(&dist().join("man").join(name), &made);
    }
}

#[test]
fn the_committed_completions_are_what_the_definitions_make() {
    for (shell, name) in [
        ("bash", "sandbox.bash"),
        ("zsh", "_sandbox"),
        ("fish", "sandbox.fish"),
        ("elvish", "sandbox.elv"),
        ("powershell", "_sandbox.ps1"),
    ] {
        let made = printed(&["completions", shell]);
        assert!(made.contains("hide-sockets"), "{shell} knows no option");
        assert!(made.contains("selftest"), "{shell} knows no subcommand");
        // What generators say of an option that is for ourselves, and what is to be replaced in it.
        for word in ["--one", "-l one", "hidden-from-completions", "SANDBOX_"] {
            assert!(!made.contains(word), "{shell} knows {word}");
        }
        assert_committed(&dist().join("completions").join(name), &made);
    }
}

#[test]
fn man_without_a_directory_prints_the_first_page() {
    assert_eq!(printed(&["man"]), page("sandbox.1"));
}

#[test]
fn every_flag_of_the_help_is_in_the_options_of_the_page() {
    every_flag_is_there(&["--help"], "sandbox.1");
    every_flag_is_there(&["serve", "--help"], "sandbox-serve.1");
}

fn every_flag_is_there(help: &[&str], name: &str) {
    let help = printed(help);
    let page = page(name);
    let options = plain(section(&page, "OPTIONS"));
    let flags: BTreeSet<&str> = help
        .lines()
        .filter(|line| line.trim_start().starts_with('-'))
        .flat_map(|line| line.split_whitespace())
        .filter(|word| word.starts_with("--"))
        .map(|word| word.split(['[', '=', '.', ',']).next().unwrap())
        .collect();
    assert!(flags.len() > 40, "the help shows only {flags:?}");
    let missing: Vec<_> = flags
        .iter()
        .filter(|flag| {
            !options
                .lines()
                .any(|line| line.split([' ', '[', ',']).any(|word| word == **flag))
        })
        .collect();
    assert!(missing.is_empty(), "not in OPTIONS: {missing:?}");
}

#[test]
fn every_step_is_in_the_diagnostics_in_launch_order() {
    let page = page("sandbox.1");
    let diagnostics = plain(section(&page, "DIAGNOSTICS"));
    let mut rest = diagnostics.as_str();
    for step in Step::ALL {
        let term = format!("\ncannot {step}\n");
        let at = rest
            .find(&term)
            .unwrap_or_else(|| panic!("not there, or not in order: {step}"));
        rest = &rest[at + term.len() - 1..];
        let entry = &rest[..rest.find("\n.TP").unwrap_or(rest.len())];
        let paragraphs: Vec<_> = entry.split("\n.IP\n").collect();
        assert_eq!(paragraphs.len(), 2, "{step} has a cause and a remedy");
        assert!(
            paragraphs.iter().all(|text| text.trim().len() > 10),
            "{step}"
        );
    }
}

#[test]
fn the_sections_stand_in_the_order_of_the_house_style() {
    let page = page("sandbox.1");
    let titles: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".SH "))
        .map(|title| title.trim_matches('"').to_owned())
        .collect();
    assert_eq!(
        titles,
        [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "SUBCOMMANDS",
            "POLICIES",
            "EXIT STATUS",
            "ENVIRONMENT",
            "EXAMPLES",
            "DIAGNOSTICS",
            "REQUIREMENTS",
            "SECURITY",
            "SEE ALSO",
        ]
    );
}

#[test]
fn every_exit_status_is_in_the_page() {
    for (name, table) in [
        ("sandbox.1", sandbox::exit::TABLE),
        ("sandbox-serve.1", sandbox::exit::SERVE_TABLE),
        ("sandbox-netns.1", sandbox::exit::NETNS_TABLE),
        ("sandbox-lab.1", sandbox::exit::LAB_TABLE),
    ] {
        let page = page(name);
        let statuses = plain(section(&page, "EXIT STATUS"));
        for (status, _) in table {
            assert!(
                statuses.lines().any(|line| line == *status),
                "{name}: {status}"
            );
        }
    }
}

#[test]
fn every_key_is_in_the_policy_page_below_its_section() {
    let page = page("sandbox-policy.5");
    let keys = plain(section(&page, "KEYS"));
    for key in key::KEYS {
        let heading = match key.section {
            "" => ".SS \"Before the first section\"".to_owned(),
            name => format!(".SS [{name}]"),
        };
        let start = keys
            .find(&heading)
            .unwrap_or_else(|| panic!("no {heading}"));
        let below = &keys[start + heading.len()..];
        let below = &below[..below.find("\n.SS ").unwrap_or(below.len())];
        let term = format!("\n{} = ", key.name);
        assert!(below.contains(&term), "{} is not below {heading}", key.name);
    }
}

#[test]
fn the_grammar_opens_the_policy_page_in_ten_lines() {
    let page = page("sandbox-policy.5");
    let grammar = section(&page, "SYNOPSIS");
    let lines = grammar
        .lines()
        .filter(|line| !line.starts_with('.'))
        .count();
    assert_eq!(lines, 10);
}

#[test]
fn the_pages_are_plain_ascii() {
    for (name, made) in pages() {
        let odd: BTreeSet<char> = made.chars().filter(|c| !c.is_ascii()).collect();
        assert!(odd.is_empty(), "{name}: {odd:?}");
    }
}
