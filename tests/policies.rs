//! The shipped policies and the documents made from the key table: as data, without running anything.
//!
//! `SANDBOX_BLESS=1` rewrites the goldens, the schema and the tables in `policies/README.md`.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use sandbox::policy::find::{BUILT_IN, LISTINGS, Places, Purpose, load_from};
use sandbox::policy::key::KEYS;
use sandbox::policy::merge::{combine, widenings};
use sandbox::policy::parse::{from_listing, parse, to_listing};
use sandbox::policy::{Layer, Network, Origin, Policy, Seccomp, Strictness, View};
use sandbox::policy::{describe, schema};
use sandbox::request::Format;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// A host without policy files, whose user lives in /home/user.
fn bare_host() -> Places {
    Places {
        directories: Vec::new(),
        working: "/".into(),
        home: Some("/home/user".into()),
    }
}

fn shipped(name: &str) -> Policy {
    combine(&layers(name)).unwrap()
}

fn layers(name: &str) -> Vec<(Origin, Layer)> {
    load_from(&bare_host(), OsStr::new(name), Purpose::Explain).unwrap()
}

/// That the file at `path` holds `made`; written there instead under `SANDBOX_BLESS=1`.
fn compare(path: &str, made: &str) {
    let path = root().join(path);
    if std::env::var_os("SANDBOX_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "{} is not what the program makes; SANDBOX_BLESS=1 rewrites it; it should be:\n{made}",
        path.display()
    );
}

#[test]
fn every_file_in_the_directory_is_shipped() {
    let mut files: Vec<String> = fs::read_dir(root().join("policies"))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter_map(|file| file.strip_suffix(".toml").map(str::to_owned))
        .collect();
    let mut built_in: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    files.sort();
    built_in.sort_unstable();
    assert_eq!(files, built_in);
}

#[test]
fn every_profile_is_valid_and_says_what_it_extends() {
    for (name, text) in BUILT_IN {
        let layer = parse(Path::new(name), text).unwrap();
        assert!(layer.extends.is_some(), "{name}");
        assert_eq!(shipped(name).name, *name);
    }
}

#[test]
fn every_listing_says_what_its_profile_says() {
    assert_eq!(LISTINGS.len(), BUILT_IN.len());
    for (name, text) in BUILT_IN {
        let parsed = parse(Path::new(name), text).unwrap();
        let listing = to_listing(&parsed);
        compare(&format!("policies/compiled/{name}.txt"), &listing);
        // Nothing that the listing leaves out: a new key that it cannot write fails here.
        let listed = from_listing(&listing).unwrap();
        let resolved = |layer: Layer| combine(&[(Origin::BuiltIn((*name).into()), layer)]);
        let home = Some(Path::new("/home/user"));
        let both = [parsed, listed].map(|layer| layer.resolve(Path::new("/"), home).unwrap());
        let [parsed, listed] = both.map(|layer| resolved(layer).unwrap());
        assert_eq!(parsed, listed, "{name}");
    }
    for broken in [
        "network.mode",
        "network.mode\ttext",
        "no.key\ttext\tx",
        "network.mode\tx\ty",
    ] {
        assert!(from_listing(broken).is_none(), "{broken:?}");
    }
}

#[test]
fn every_profile_says_first_for_whom_it_is() {
    for (name, text) in BUILT_IN {
        let first = text.lines().next().unwrap();
        let purpose = first.strip_prefix("# For: ").expect(name);
        let description = parse(Path::new(name), text).unwrap().description.unwrap();
        assert_eq!(
            purpose.strip_suffix('.'),
            Some(description.as_str()),
            "{name}"
        );
    }
}

#[test]
fn every_line_of_a_profile_has_its_reason() {
    for (name, text) in BUILT_IN {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let frame = line.is_empty()
                || line.starts_with(['#', '[', ']'])
                || line.ends_with('[')
                || line.starts_with("description = ");
            let reason = line
                .rsplit_once(" # ")
                .is_some_and(|(_, reason)| reason.trim().len() > 3);
            assert!(
                frame || reason,
                "{name}.toml:{}: no reason: {line}",
                number + 1
            );
        }
    }
}

#[test]
fn no_profile_widens_anything() {
    for (name, _) in BUILT_IN {
        assert_eq!(widenings(&shipped(name)), [], "{name}");
    }
}

#[test]
fn no_profile_is_wider_than_the_default_in_what_it_hides() {
    let default = shipped("default");
    for (name, _) in BUILT_IN {
        let policy = shipped(name);
        for path in &default.filesystem.hide {
            assert!(policy.filesystem.hide.contains(path), "{name}: {path:?}");
        }
        for variable in &default.environment.unset {
            assert!(
                policy.environment.unset.contains(variable),
                "{name}: {variable:?}"
            );
        }
        assert!(policy.filesystem.hide_sockets, "{name}");
        assert_eq!(policy.filesystem.proc, View::Own, "{name}");
        assert_eq!(policy.process.seccomp, Seccomp::Profile((*name).to_owned()));
        assert!(policy.strictness >= Strictness::Standard, "{name}");
    }
}

#[test]
fn each_profile_has_the_network_that_it_is_for() {
    let modes = BUILT_IN
        .iter()
        .map(|(name, _)| (*name, shipped(name).network));
    let expected = [
        ("default", Network::Loopback),
        ("strict", Network::None),
        ("worker", Network::Fds),
        ("connection", Network::Fds),
        ("build", Network::Loopback),
        ("agent", Network::Loopback),
        ("browser", Network::Loopback),
    ];
    assert_eq!(modes.collect::<Vec<_>>(), expected);
}

#[test]
fn nothing_that_names_a_hidden_socket_or_a_proxy_stays_in_the_environment() {
    let caller = [
        "DBUS_SESSION_BUS_ADDRESS",
        "DISPLAY",
        "DOCKER_HOST",
        "GPG_AGENT_INFO",
        "HTTPS_PROXY",
        "SSH_AUTH_SOCK",
        "WAYLAND_DISPLAY",
        "XDG_RUNTIME_DIR",
        "all_proxy",
        "http_proxy",
        "HOME",
        "LANG",
        "PATH",
    ];
    let caller = caller.map(|name| (name.into(), "x".into()));
    let left = shipped("default").environment.apply(caller);
    let left: Vec<_> = left
        .iter()
        .map(|(name, _)| name.to_str().unwrap())
        .collect();
    assert_eq!(left, ["HOME", "LANG", "PATH"]);
}

#[test]
fn only_shipped_paths_may_be_missing() {
    let policy = shipped("strict");
    let filesystem = &policy.filesystem;
    let named = filesystem.hide.len() + filesystem.read_only.len() + filesystem.read_write.len();
    assert_eq!(filesystem.optional.len(), named);
}

#[test]
fn what_show_prints_is_stable_and_stands_for_itself() {
    for (name, _) in BUILT_IN {
        let policy = shipped(name);
        let text = describe::show_policy(&policy, Format::Text);
        compare(&format!("tests/golden/policy-{name}.toml"), &text);

        let again = parse(Path::new("shown"), &text).unwrap();
        let mut again = combine(&[(Origin::BuiltIn((*name).to_owned()), again)]).unwrap();
        again.name.clone_from(&policy.name);
        assert_eq!(again, policy, "{name}");

        let json = describe::show_policy(&policy, Format::Json);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["name"], *name);
        assert_eq!(json["filesystem"]["hide-sockets"], true);
    }
}

#[test]
fn the_schema_is_what_the_key_table_makes() {
    compare(
        "policies/policy.schema.json",
        &format!("{:#}\n", schema::schema()),
    );
}

#[test]
fn every_flag_of_the_key_table_is_a_flag_of_the_program() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args(["run", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let words: Vec<&str> = help
        .split(|c: char| c.is_whitespace() || "[=,".contains(c))
        .collect();
    for key in KEYS.iter().filter(|key| !key.flag.is_empty()) {
        let flag = key.flag.split(' ').next().unwrap();
        assert!(words.contains(&flag), "{}: {flag}", key.path());
    }
}

#[test]
fn the_readme_has_the_tables_of_keys_and_profiles() {
    let readme = fs::read_to_string(root().join("policies/README.md")).unwrap();
    let mut made = readme.clone();
    for (name, table) in [
        ("profiles", schema::profile_table()),
        ("keys", schema::key_table()),
    ] {
        let start = format!("<!-- {name} -->\n");
        let (before, rest) = made.split_once(&start).expect(name);
        let (_, after) = rest.split_once("<!-- end -->").expect(name);
        made = format!("{before}{start}{table}<!-- end -->{after}");
    }
    compare("policies/README.md", &made);
}

#[test]
fn explain_names_the_file_and_line_of_each_word() {
    let strict = layers("strict");
    let explain = |key| describe::explain_layers(&strict, Some(key), Format::Text).unwrap();
    assert_eq!(
        explain("network.mode"),
        "network.mode = \"none\"\n    \
         What there is of the network: loopback, none, fds (only passed descriptors), ns:NAME, ns:/PATH, or host (no isolation)\n    \
         from built-in profile strict, line 7\n    \
         flag --net MODE\n"
    );
    let hide = explain("hide");
    assert!(hide.contains("\"/run\""), "{hide}");
    assert!(
        hide.contains("from built-in profile default, line 12"),
        "{hide}"
    );
    assert!(
        hide.contains("from built-in profile strict, line 18"),
        "{hide}"
    );
    assert!(explain("namespaces.pid").contains("no layer says otherwise"));
}

#[test]
fn explain_advises_on_a_mistyped_key() {
    let error = describe::explain_layers(&layers("default"), Some("network.mod"), Format::Text);
    assert_eq!(
        error.unwrap_err().to_string(),
        "key \"network.mod\": no key is called so; did you mean \"network.mode\"?"
    );
}

#[test]
fn list_names_every_shipped_profile() {
    let json = describe::list(Format::Json).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let text = describe::list(Format::Text).unwrap();
    for (name, _) in BUILT_IN {
        let listed = json
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == *name);
        assert_eq!(listed.unwrap()["valid"], true, "{name}");
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}");
    }
}

#[test]
fn explain_as_json_has_every_key_with_its_source() {
    let json = describe::explain_layers(&layers("worker"), None, Format::Json).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mode = json
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["key"] == "network.mode");
    let source = &mode.unwrap()["source"];
    assert_eq!(source["layer"], "built-in profile worker");
    assert_eq!(source["line"], 6);
}

#[test]
fn check_and_diff_say_what_a_file_changes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.toml");
    fs::write(
        &file,
        "extends = \"nothing\"\n[network]\nmode = \"host\"\n[filesystem]\nhide = [\"x\"]\n",
    )
    .unwrap();
    let check = describe::check(file.as_os_str(), Format::Text).unwrap();
    let shown = file.display();
    assert_eq!(
        check,
        format!(
            "{shown}: valid\n  layer  {shown}\n  wider  network.mode: \
             no network isolation: the command has the host's network\n"
        )
    );
    let diff = describe::diff(OsStr::new("nothing"), file.as_os_str(), Format::Text).unwrap();
    assert_eq!(
        diff,
        format!(
            "network.mode: \"loopback\" -> \"host\"\n\
             filesystem.sys: \"own\" -> \"host\"\n\
             filesystem.hide:\n  + \"{}/x\"\n",
            directory.path().display()
        )
    );
    assert_eq!(
        describe::diff(file.as_os_str(), file.as_os_str(), Format::Text).unwrap(),
        ""
    );
}

#[test]
fn check_refuses_a_system_call_profile_that_does_not_exist() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.toml");
    let with = |profile: &str| {
        let text = format!("[process]\nseccomp = \"{profile}\"\n");
        fs::write(&file, text).unwrap();
        describe::check(file.as_os_str(), Format::Text)
    };
    for (name, _) in BUILT_IN {
        assert!(with(name).is_ok(), "{name}");
    }
    assert!(with("defalt").is_err());
    assert!(with("./none.json").is_err());
}

#[test]
fn a_file_that_is_wrong_is_refused_at_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.toml");
    fs::write(&file, "[network]\nmod = \"fds\"\n").unwrap();
    let error = describe::check(file.as_os_str(), Format::Text).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}:2:1: unknown key \"mod\"; did you mean \"mode\"?",
            file.display()
        )
    );
    assert_eq!(error.exit_status(), 125);
}

#[test]
fn the_builders_constructors_find_profiles_and_files() {
    assert_eq!(Policy::built_in("worker").unwrap().network, Network::Fds);
    assert_eq!(
        Policy::built_in("wroker").unwrap_err().to_string(),
        "policy \"wroker\": no shipped profile is called so; did you mean \"worker\"?"
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.toml");
    fs::write(&file, "extends = \"worker\"\n").unwrap();
    assert_eq!(Policy::from_file(&file).unwrap().network, Network::Fds);
    assert!(Policy::from_file(directory.path().join("none.toml")).is_err());
}
