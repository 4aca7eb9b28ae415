//! That the table of walls to take out (`tests/mutants/`) is whole: what it would replace is there, and so
//! are the tests that must notice. Trying them takes an hour: `tests/mutants/run`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sandbox::Step;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    rows: BTreeMap<String, String>,
    mutant: Vec<Mutant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    what: String,
    rows: Vec<String>,
    #[serde(default)]
    steps: Vec<String>,
    edits: Vec<Edit>,
    tests: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: PathBuf,
    text: String,
    with: String,
}

fn at(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: impl AsRef<Path>) -> String {
    let path = at(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn table() -> Table {
    toml::from_str(&read("tests/mutants/table.toml")).expect("the table is TOML of this form")
}

#[test]
fn what_a_mutant_replaces_is_there_exactly_once() {
    for mutant in table().mutant {
        assert!(
            !mutant.edits.is_empty() && !mutant.what.is_empty(),
            "{}",
            mutant.name
        );
        for Edit { file, text, with } in mutant.edits {
            let count = read(&file).matches(&text).count();
            assert_eq!(count, 1, "{}: {} has {text:?}", mutant.name, file.display());
            assert_ne!(text, with, "{}", mutant.name);
        }
    }
}

#[test]
fn the_tests_that_must_notice_a_mutant_exist() {
    let sources = read_all(&at("src"));
    for mutant in table().mutant {
        assert!(
            !mutant.tests.is_empty(),
            "{} is noticed by none",
            mutant.name
        );
        for test in &mutant.tests {
            let (target, name) = test.split_once(' ').expect("a target and a name");
            let name = name.rsplit("::").next().unwrap_or_default();
            let text = match target {
                "lib" => sources.clone(),
                target => read(format!("tests/{target}.rs")),
            };
            // A function, or a line of a table of claims.
            let forms = [
                format!("fn {name}("),
                format!("    {name}:"),
                format!("    {name} {{"),
            ];
            let found = forms.iter().any(|form| text.contains(form));
            assert!(found, "{}: {test}", mutant.name);
        }
    }
}

#[test]
fn every_row_and_every_step_of_the_child_has_a_mutant() {
    let table = table();
    let mut names = BTreeSet::new();
    for mutant in &table.mutant {
        assert!(names.insert(&mutant.name), "two are called {}", mutant.name);
    }
    let rows: BTreeSet<&String> = table.mutant.iter().flat_map(|it| &it.rows).collect();
    let known: BTreeSet<&String> = table.rows.keys().collect();
    assert_eq!(rows, known);
    let steps: BTreeSet<&str> = table
        .mutant
        .iter()
        .flat_map(|it| &it.steps)
        .map(String::as_str)
        .collect();
    let child = read("src/child.rs");
    for step in Step::ALL {
        let name = format!("{step:?}");
        // What comes after it is the command: without it there is nothing to hold.
        let needed = child.contains(&format!("Step::{name},")) && *step != Step::Exec;
        assert!(
            steps.contains(name.as_str()) || !needed,
            "no mutant of {name}"
        );
    }
    for step in steps {
        assert!(
            Step::ALL.iter().any(|known| format!("{known:?}") == step),
            "{step}"
        );
    }
}

/// All Rust sources below `directory`, one behind the other.
fn read_all(directory: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(directory).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.push_str(&read_all(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&read(&path));
        }
    }
    all
}
