//! The documents of labs: the tables of keys in docs/lab.md are those of the program.
//!
//! `SANDBOX_BLESS=1` rewrites them.

use std::fs;
use std::path::Path;

use sandbox::lab::file::{KEYS, key_tables};

#[test]
fn the_tables_of_keys_are_the_programs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lab.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- keys:").expect("a mark");
    let (mark, rest) = rest.split_once("-->\n").expect("its end");
    let (_, after) = rest.split_once("<!-- /keys -->").expect("the other mark");
    let made = format!(
        "{before}<!-- keys:{mark}-->\n{}\n<!-- /keys -->{after}",
        key_tables()
    );
    if std::env::var_os("SANDBOX_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
        return;
    }
    assert!(
        page == made,
        "docs/lab.md is not what the program makes; SANDBOX_BLESS=1 rewrites it"
    );
    assert!(
        KEYS.iter()
            .all(|key| page.contains(key.meaning.split('|').next().unwrap()))
    );
}

#[test]
fn every_shipped_lab_is_named_in_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/lab.md")).unwrap();
    for entry in fs::read_dir(root.join("examples/labs")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        assert!(page.contains(&format!("examples/labs/{name})")), "{name}");
    }
}
