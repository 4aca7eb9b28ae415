//! Labs: the shipped ones come up, are as they claim, and leave nothing; bad files change nothing; a
//! crash at any moment is cleaned up.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use sandbox::lab::Topology;
use serde_json::Value as Json;
use support::{User, each_user, have, shared_file, success, text, users};

/// The labs in `examples/labs`, by name.
fn examples() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/labs");
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            Some(
                entry
                    .file_name()
                    .to_str()?
                    .strip_suffix(".toml")?
                    .to_owned(),
            )
        })
        .collect();
    names.sort();
    names
}

/// A file of a lab that nobody else has, in a directory that is gone with it.
struct File {
    path: PathBuf,
    name: String,
    user: User,
    _directory: tempfile::TempDir,
}

impl File {
    /// One called `name` and some number, with `text`.
    fn new(user: &User, name: &str, text: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("lab")
            .tempdir_in("/tmp")
            .unwrap();
        fs::set_permissions(
            directory.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let name = format!("{name}{}", std::process::id() % 100_000);
        let path = directory.path().join(format!("{name}.toml"));
        let file = Self {
            path,
            name,
            user: user.clone(),
            _directory: directory,
        };
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, format!("name = \"{}\"\n{text}", self.name)).unwrap();
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn lab(&self, words: &[&str]) -> Output {
        let mut arguments = vec!["lab"];
        arguments.extend(words);
        self.user.output(&arguments)
    }

    fn up(&self) -> String {
        success(&self.user, &self.lab(&["up", self.path(), "--json"]))
    }

    fn status(&self) -> Json {
        let page = success(&self.user, &self.lab(&["status", &self.name, "--json"]));
        serde_json::from_str(&page).unwrap()
    }

    fn check(&self) -> Output {
        self.lab(&["check", &self.name])
    }

    /// What a command in a node printed.
    fn exec(&self, node: &str, words: &[&str]) -> Output {
        let mut arguments = vec!["exec", &self.name, node, "-q", "--"];
        arguments.extend(words);
        self.lab(&arguments)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A test that failed in the middle leaves nothing either.
        let _ = self.lab(&["down", &self.name]);
    }
}

fn lines(output: &Output) -> String {
    text(&output.stderr)
}

/// Namespaces of processes whose executable is the tests' copy: what keepers and commands hold.
fn keepers(name: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let state = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let is_dead = state.contains(") Z ");
        let named = |word: &&[u8]| String::from_utf8_lossy(word).contains(name);
        if !is_dead && words.get(1) == Some(&b"lab".as_slice()) && words.iter().any(named) {
            found.push(pid);
        }
    }
    found
}

/// Until `true`, or for some seconds.
fn soon(what: &str, question: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !question() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const PAIR: &str = "\
[networks.n]
ipv4 = \"10.1.0.0/24\"
[nodes.a]
[nodes.b]
[[links]]
ends = [\"a\", \"b\"]
network = \"n\"
[check]
reachable = [\"a <-> b\"]
";

#[test]
fn every_shipped_lab_comes_up_is_as_it_claims_and_leaves_nothing() {
    for name in examples() {
        let shipped = shared_file(&format!("examples/labs/{name}.toml"));
        let written = fs::read_to_string(&shipped).unwrap();
        let first = written.lines().next().unwrap();
        assert!(
            first.starts_with("# For: "),
            "{name} does not say for what it is"
        );
        let topology = Topology::parse(&shipped, &written).unwrap();
        assert!(!topology.claims.is_empty(), "{name} claims nothing");
        each_user(|user| {
            let file = File::new(user, "ex", &written);
            if name == "uplink" && !user.is_root() {
                let error = lines(&file.lab(&["up", file.path()]));
                assert!(
                    error.contains("joining the host's network needs root"),
                    "{error}"
                );
                return;
            }
            file.up();
            let checked = file.check();
            assert!(
                checked.status.success(),
                "{name} as {}: {}\n{}",
                user.name,
                text(&checked.stdout),
                lines(&checked)
            );
            assert_eq!(
                file.status()["nodes"].as_array().unwrap().len(),
                topology.nodes.len()
            );
            success(user, &file.lab(&["down", &file.name]));
            assert!(keepers(&file.name).is_empty(), "{name}");
            let gone = file.lab(&["status", &file.name]);
            assert_eq!(
                lines(&gone),
                format!(
                    "sandbox: lab {0}: it is not up: sandbox lab up {0}.toml",
                    file.name
                )
            );
        });
    }
}

#[test]
fn up_again_does_what_differs_and_nothing_where_nothing_does() {
    each_user(|user| {
        let file = File::new(user, "again", PAIR);
        let made = |page: &str| -> u64 {
            let value: Json = serde_json::from_str(page).unwrap();
            value["changes"].as_u64().unwrap()
        };
        assert!(made(&file.up()) > 3);
        assert_eq!(made(&file.up()), 0);
        let mac = |status: &Json| status["nodes"][0]["interfaces"][0]["mac"].clone();
        let before = file.status();
        let more = "[nodes.c]\n[networks.m]\nipv4 = \"10.2.0.0/24\"\n[[links]]\nends = [\"c\", \"b\"]\nnetwork = \"m\"\n";
        file.write(&format!(
            "{}{more}",
            PAIR.replace("[nodes.b]", "[nodes.b]\nforward = true")
        ));
        assert!(made(&file.up()) > 0);
        let after = file.status();
        assert_eq!(after["nodes"].as_array().unwrap().len(), 3);
        assert_eq!(mac(&before), mac(&after));
        // The first cable was not laid anew: its counters go on.
        let sent = |status: &Json| status["nodes"][0]["interfaces"][0]["sent"]["packets"].as_u64();
        assert!(sent(&after) >= sent(&before));
        assert!(file.check().status.success());
        file.write(PAIR);
        file.up();
        assert_eq!(file.status()["nodes"].as_array().unwrap().len(), 2);
        assert!(file.check().status.success());
    });
}

#[test]
fn a_command_in_a_node_is_confined_and_has_the_nodes_network() {
    each_user(|user| {
        let file = File::new(user, "exec", PAIR);
        file.up();
        let addresses = success(user, &file.exec("b", &["cat", "/proc/net/fib_trie"]));
        assert!(addresses.contains("10.1.0.2"), "{addresses}");
        let status = success(user, &file.exec("b", &["cat", "/proc/self/status"]));
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        let refused = file.lab(&["exec", &file.name, "bb", "-q", "--", "true"]);
        assert_eq!(refused.status.code(), Some(125));
        assert_eq!(
            lines(&refused),
            "sandbox: node \"bb\": the lab has no such node; did you mean \"b\"?"
        );
        let twice = file.lab(&["exec", &file.name, "b", "--net", "none", "--", "true"]);
        assert_eq!(twice.status.code(), Some(125));
    });
}

#[test]
fn a_partition_cuts_and_heals_links_and_bridges() {
    let lab = "\
[networks.n]
ipv4 = \"10.1.0.0/24\"
[networks.m]
ipv4 = \"10.2.0.0/24\"
ipv6 = \"fd00:2::/64\"
[nodes.a]
[nodes.b]
[nodes.c]
[[links]]
ends = [\"a\", \"b\"]
network = \"n\"
[bridges.s]
network = \"m\"
members = [\"a:s\", \"b:s\", \"c:s\"]
[groups]
others = [\"b\", \"c\"]
[check]
reachable = [\"* <-> *\"]
";
    each_user(|user| {
        let file = File::new(user, "part", lab);
        file.up();
        assert!(file.check().status.success());
        success(user, &file.lab(&["partition", &file.name, "a", "others"]));
        let checked = file.check();
        assert_eq!(checked.status.code(), Some(1), "{}", text(&checked.stdout));
        let page = text(&checked.stdout);
        for pair in [
            "a does not reach b",
            "a does not reach c",
            "c does not reach a",
        ] {
            assert!(page.contains(pair), "{page}");
        }
        assert!(!page.contains("b does not reach c"), "{page}");
        assert_eq!(file.status()["partition"][1][1], "c");
        success(user, &file.lab(&["heal", &file.name]));
        let healed = file.check();
        assert!(healed.status.success(), "{}", text(&healed.stdout));
        success(user, &file.lab(&["unplug", &file.name, "c:s"]));
        assert_eq!(file.check().status.code(), Some(1));
        success(user, &file.lab(&["plug", &file.name, "c:s"]));
        let healed = file.check();
        assert!(healed.status.success(), "{}", text(&healed.stdout));
        let unknown = file.lab(&["partition", &file.name, "a", "d"]);
        assert_eq!(unknown.status.code(), Some(125));
    });
}

#[test]
fn commands_of_a_node_run_as_long_as_the_lab_and_say_what_they_say() {
    if !have("python3") {
        return;
    }
    let server = "\
import socket
s = socket.create_server((\"10.1.0.2\", 8080))
print(\"listening\", flush=True)
while True:
    s.accept()[0].sendall(open(\"/etc/hosts\").read().encode())
";
    let lab = format!(
        "{PAIR}{}[[nodes.b.run]]\ncommand = [\"python3\", \"-c\", '''\n{server}''']\n",
        "[nodes.b.files]\n\"/etc/hosts\" = \"10.1.0.1 a-of-the-lab\\n\"\n"
    )
    .replace("[nodes.b]\n", "");
    each_user(|user| {
        let file = File::new(user, "run", &lab);
        file.up();
        let client = "\
import socket, time
for attempt in range(100):
    try:
        print(socket.create_connection((\"10.1.0.2\", 8080), 5).recv(99).decode(), end=\"\")
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
";
        let said = success(user, &file.exec("a", &["python3", "-c", client]));
        assert_eq!(said, "10.1.0.1 a-of-the-lab");
        // Whoever joins the node sees the file as well, the other node does not.
        let own = success(user, &file.exec("b", &["cat", "/etc/hosts"]));
        assert_eq!(own, "10.1.0.1 a-of-the-lab");
        let other = success(user, &file.exec("a", &["cat", "/etc/hosts"]));
        assert!(!other.contains("a-of-the-lab"));
        let command = &file.status()["nodes"][1]["commands"][0];
        assert_eq!(command["state"], "running", "{command}");
        success(user, &file.lab(&["down", &file.name]));
        let ours = || {
            let entries = fs::read_dir("/proc").unwrap().flatten();
            let lines =
                entries.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default());
            lines
                .filter(|line| String::from_utf8_lossy(line).contains("s.accept()[0]"))
                .count()
        };
        soon("the server outlives the lab", || ours() == 0);
    });
}

#[test]
fn a_command_of_the_file_is_under_the_policy_that_is_named() {
    // Under the one of the two that lies beside the lab's file the host is called otherwise.
    const POLICIES: [&str; 2] = ["default", "named.toml"];
    let run = |policy: &str| {
        let script = "[ $(hostname) = elsewhere ]";
        format!(
            "[[nodes.b.run]]\npolicy = \"{policy}\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n"
        )
    };
    let lab = format!("{PAIR}{}", POLICIES.map(run).concat()).replace("[nodes.b]\n", "");
    each_user(|user| {
        let file = File::new(user, "policy", &lab);
        let policy = "extends = \"default\"\n[process]\nhostname = \"elsewhere\" # to be told\n";
        fs::write(file.path.with_file_name(POLICIES[1]), policy).unwrap();
        file.up();
        let state = |number: usize| {
            let status = file.status();
            let command = &status["nodes"][1]["commands"][number];
            command["state"].as_str().unwrap().to_owned()
        };
        soon("they do not end", || {
            (0..2).all(|number| state(number) != "running")
        });
        assert_eq!(state(0), "ended: exit status: 1");
        assert_eq!(state(1), "ended: exit status: 0");
    });
}

#[test]
fn a_file_that_the_host_has_not_is_seen_by_the_commands_of_its_node_alone() {
    each_user(|user| {
        let file = File::new(user, "files", "");
        let place = file.path.parent().unwrap().to_owned();
        // A name that has to be written otherwise for the kernel.
        let ground = place.join("a:b,c\\d");
        fs::create_dir_all(ground.join("there")).unwrap();
        fs::write(ground.join("there/of-the-host"), "host\n").unwrap();
        std::os::unix::fs::chown(&ground, Some(user.uid), Some(user.gid)).unwrap();
        let at = |path: &str| ground.join(path).display().to_string();
        let of_lab = |paths: &[&str]| {
            let line = |path: &&str| format!("'{}' = \"of the lab\\n\"\n", at(path));
            let lines: String = paths.iter().map(line).collect();
            format!("[nodes.b.files]\n{lines}")
        };
        let with = |files: &str| {
            format!(
                "{PAIR}{files}[[nodes.b.run]]\ncommand = [\"cat\", '{}']\n",
                at("new/deep/one")
            )
            .replace("[nodes.b]\n", "")
        };
        file.write(&with(&of_lab(&[
            "new/deep/one",
            "there/two",
            "there/of-the-host",
        ])));
        file.up();
        let log = || {
            let words = ["exec", &file.name, "b", "-q", "--", "sh", "-c"];
            let script = format!(
                "cd '{}' && cat new/deep/one there/two there/of-the-host; ls . there; \
                 touch x new/x; cat {}",
                ground.display(),
                file.path()
            );
            file.lab(&[&words[..], &[&script]].concat())
        };
        let seen = log();
        let said = text(&seen.stdout);
        assert!(
            said.starts_with(
                "of the lab\nof the lab\nof the lab\n.:\nnew\nthere\n\nthere:\nof-the-host\ntwo\nname ="
            ),
            "{said}{}",
            lines(&seen)
        );
        assert_eq!(lines(&seen).matches("Read-only file system").count(), 2);
        // The command of the file has seen it too.
        let state = || file.status()["nodes"][1]["commands"][0]["state"].clone();
        soon("cat does not end", || state() != "running");
        assert_eq!(state(), "ended: exit status: 0");
        // Neither the other node nor the host has any of it.
        let words = ["exec", &file.name, "a", "-q", "--", "ls", &at("")];
        assert_eq!(success(user, &file.lab(&words)), "there");
        let words = [
            "exec",
            &file.name,
            "a",
            "-q",
            "--",
            "cat",
            &at("there/of-the-host"),
        ];
        assert_eq!(success(user, &file.lab(&words)), "host");
        assert_eq!(fs::read_dir(&ground).unwrap().count(), 1);
        // What cannot be had is told with its line, and changes nothing.
        for (path, reason) in [
            (at("there/of-the-host/x"), "is no directory"),
            ("/no-such-directory/x".to_owned(), "it is in / itself"),
            (
                "/proc/no-such-file".to_owned(),
                "a sandbox has a /proc of its own",
            ),
        ] {
            let bad = format!(
                "{}'{path}' = \"\"\n",
                of_lab(&["new/deep/one", "there/two"])
            );
            file.write(&with(&bad));
            let refused = file.lab(&["up", file.path()]);
            assert_eq!(refused.status.code(), Some(125), "{path}");
            let said = lines(&refused);
            let line = 1 + fs::read_to_string(&file.path)
                .unwrap()
                .lines()
                .position(|line| line.starts_with(&format!("'{path}'")))
                .unwrap();
            assert!(said.contains(&format!(".toml:{line}: ")), "{said}");
            assert!(said.contains(reason), "{said}");
            assert!(text(&log().stdout).starts_with("of the lab\nof the lab\nof the lab\n"));
        }
        success(user, &file.lab(&["down", &file.name]));
        assert_eq!(fs::read_dir(&ground).unwrap().count(), 1);
    });
}

#[test]
fn down_ends_what_runs_in_a_node_still() {
    each_user(|user| {
        let file = File::new(user, "still", PAIR);
        file.up();
        // A length that no other run of this test on this host has.
        let long = (86_000_000 + std::process::id()).to_string();
        let words = ["lab", "exec", &file.name, "a", "-q", "--", "sleep", &long];
        let mut still = user
            .sandbox(&words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let inside = || {
            let entries = fs::read_dir("/proc").unwrap().flatten();
            let lines =
                entries.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default());
            lines
                .filter(|line| line.starts_with(format!("sleep\0{long}\0").as_bytes()))
                .count()
        };
        soon("it does not start", || inside() > 0);
        success(user, &file.lab(&["down", &file.name]));
        assert_eq!(inside(), 0);
        assert!(!still.wait().unwrap().success());
    });
}

#[test]
fn a_file_that_is_refused_changes_nothing() {
    each_user(|user| {
        let file = File::new(user, "bad", PAIR);
        file.up();
        let before = file.status()["nodes"][0]["interfaces"][0]["mac"].clone();
        for (from, to, line, reason) in [
            (
                "[nodes.b]",
                "[nodes.b]\ndefault = \"c\"",
                6,
                "no node is called \"c\"",
            ),
            (
                "ends = [\"a\", \"b\"]",
                "ends = [\"a\", \"x\"]",
                7,
                "no node is called \"x\"",
            ),
            ("[nodes.b]", "[nodes.b]\n[nodes.a]", 6, "duplicate key"),
            // Only the kernel knows these.
            (
                "[nodes.b]",
                "[nodes.b]\nsysctl = { \"net.ipv4.no_such_thing\" = \"1\" }",
                5,
                "no_such_thing",
            ),
            (
                "[nodes.b]",
                "[nodes.b]\nrun = [{ command = [\"/no/such/program\"] }]",
                6,
                "command not found",
            ),
        ] {
            file.write(&PAIR.replace(from, to));
            let refused = file.lab(&["up", file.path()]);
            assert_eq!(refused.status.code(), Some(125), "{to}");
            let said = lines(&refused);
            assert!(said.contains(&format!(".toml:{line}:")), "{to}: {said}");
            assert!(said.contains(reason), "{to}: {said}");
            assert_eq!(
                said.lines().filter(|line| !line.contains("hint:")).count(),
                1,
                "{said}"
            );
            // As before, and it works.
            assert_eq!(file.status()["nodes"][0]["interfaces"][0]["mac"], before);
            let checked = file.check();
            assert!(checked.status.success(), "{to}: {}", text(&checked.stdout));
        }
    });
}

#[test]
fn a_file_that_is_refused_at_first_leaves_nothing() {
    each_user(|user| {
        let text = PAIR.replace(
            "[nodes.b]",
            "[nodes.b]\nsysctl = { \"net.ipv4.no_such_thing\" = \"1\" }",
        );
        let file = File::new(user, "none", &text);
        let refused = file.lab(&["up", file.path()]);
        assert_eq!(refused.status.code(), Some(125));
        soon("a keeper stays", || keepers(&file.name).is_empty());
        let listed = success(user, &file.lab(&["list"]));
        assert!(!listed.contains(&file.name), "{listed}");
    });
}

#[test]
fn two_at_a_time_bring_up_one_lab() {
    each_user(|user| {
        let file = File::new(user, "two", PAIR);
        let words = ["lab", "up", file.path()];
        let started: Vec<_> = (0..4)
            .map(|_| user.sandbox(&words).spawn().unwrap())
            .collect();
        for mut child in started {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(keepers(&file.name).len(), 1);
        assert!(file.check().status.success());
    });
}

#[test]
fn a_stale_name_is_said_with_the_line_and_left_alone() {
    let Some(root) = users().iter().find(|user| user.is_root()) else {
        return;
    };
    let file = File::new(root, "stale", &format!("named = true\n{PAIR}"));
    // Makes the directory what it is to be.
    file.up();
    assert!(
        Path::new("/run/netns")
            .join(format!("{}.a", file.name))
            .exists()
    );
    let shown = Command::new("ip").args(["netns", "list"]).output();
    if let Ok(shown) = shown {
        assert!(text(&shown.stdout).contains(&format!("{}.b", file.name)));
    }
    success(root, &file.lab(&["down", &file.name]));
    let stale = Path::new("/run/netns").join(format!("{}.b", file.name));
    assert!(!stale.exists());
    fs::write(&stale, "").unwrap();
    let refused = file.lab(&["up", file.path()]);
    assert_eq!(refused.status.code(), Some(125));
    let said = lines(&refused);
    assert!(said.contains(".toml:6: "), "{said}");
    assert!(said.contains(&format!("{}.b", file.name)), "{said}");
    assert!(stale.exists());
    let half = Path::new("/run/netns").join(format!("{}.a", file.name));
    soon("a name is half made", || !half.exists());
    fs::remove_file(&stale).unwrap();
}

#[test]
fn an_ordinary_user_is_told_what_needs_root() {
    let Some(user) = users().iter().find(|user| !user.is_root()) else {
        return;
    };
    for (line, words) in [
        (
            "[nodes.b]\nuplink = \"eth0\"",
            "joining the host's network needs root",
        ),
        ("[nodes.b]\n#", "names in /run/netns need root"),
    ] {
        let named = if words.starts_with("names") {
            "named = true\n"
        } else {
            ""
        };
        let text = format!("{named}{}", PAIR.replace("[nodes.b]", line));
        let file = File::new(user, "needs", &text);
        let said = lines(&file.lab(&["up", file.path()]));
        assert!(said.contains(words), "{said}");
    }
}

/// How often a lab is killed while it is made: `SANDBOX_TEST_KILLS`, or a few times.
fn kills() -> u64 {
    std::env::var("SANDBOX_TEST_KILLS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(6)
}

#[test]
fn killed_at_any_moment_it_leaves_nothing() {
    each_user(|user| {
        let named = if user.is_root() { "named = true\n" } else { "" };
        let lab = format!(
            "{named}{}[[nodes.a.run]]\ncommand = [\"sleep\", \"86398\"]\n",
            PAIR.replace("[nodes.a]\n", "")
        );
        let file = File::new(user, "kill", &lab);
        let clean = || {
            let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
            let ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(&file.name);
            let names = names.map(|entry| entry.file_name()).filter(ours).count();
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            let mounts = mounts
                .lines()
                .filter(|line| line.contains(&file.name))
                .count();
            let entries = fs::read_dir("/proc").unwrap().flatten();
            let lines =
                entries.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default());
            let commands = lines
                .filter(|line| line.starts_with(b"sleep\x0086398"))
                .count();
            names == 0 && mounts == 0 && commands == 0 && keepers(&file.name).is_empty()
        };
        // How long it takes, to have the moments spread over it.
        let began = Instant::now();
        file.up();
        let takes = began.elapsed();
        success(user, &file.lab(&["down", &file.name]));
        let count = kills();
        for number in 0..count {
            let mut command = user.sandbox(&["lab", "up", file.path()]);
            // One group: the keeper leaves it only later.
            command
                .process_group(0)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            let moment = takes.as_micros() as u64 * (number * 7919 % count) / count;
            std::thread::sleep(Duration::from_micros(moment));
            let mut doomed = keepers(&file.name);
            match number % 3 {
                // The one who asked, the keeper, or both.
                0 => doomed.retain(|pid| *pid == child.id() as i32),
                1 => doomed.retain(|pid| *pid != child.id() as i32),
                _ => {}
            }
            for pid in doomed {
                let pid = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
            let _ = child.wait();
            success(user, &file.lab(&["down", &file.name]));
            soon("something is left", clean);
        }
        // And it can be made again.
        file.up();
        assert!(file.check().status.success());
        success(user, &file.lab(&["down", &file.name]));
        soon("something is left", clean);
    });
}

#[test]
fn the_example_of_a_partition_does_what_it_says() {
    let example = support::example("lab_partition");
    each_user(|user| {
        let output = user.command(&example).output().unwrap();
        assert_eq!(
            success(user, &output),
            "together: each of the three sees all\n\
             partition: one is alone, two and three are a quorum\n\
             healed: each of the three sees all"
        );
    });
}

/// A network beside the host, made with ip(8): an uplink, and a namespace behind it.
struct Outside {
    uplink: String,
    name: String,
}

impl Outside {
    fn new() -> Self {
        let mark = std::process::id() % 100_000;
        let (uplink, name) = (format!("lab{mark}"), format!("lab-outside{mark}"));
        for words in [
            format!("netns add {name}"),
            format!("link add {uplink} type veth peer name eth0 netns {name}"),
            format!("link set {uplink} up"),
            format!("addr add 198.51.100.1/30 dev {uplink}"),
            format!("-n {name} link set eth0 up"),
            format!("-n {name} addr add 198.51.100.2/30 dev eth0"),
            format!("addr add 2001:db8:77::1/64 dev {uplink} nodad"),
            format!("-n {name} addr add 2001:db8:77::2/64 dev eth0 nodad"),
        ] {
            let status = Command::new("ip").args(words.split(' ')).status().unwrap();
            assert!(status.success(), "ip {words}");
        }
        Self { uplink, name }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        for words in [
            format!("link del {}", self.uplink),
            format!("netns del {}", self.name),
        ] {
            let _ = Command::new("ip").args(words.split(' ')).status();
        }
    }
}

#[test]
fn an_uplink_leads_outside_and_is_gone_with_the_lab_or_after_its_keeper() {
    let Some(root) = users().iter().find(|user| user.is_root()) else {
        return;
    };
    if !have("ip") || !have("nft") {
        return;
    }
    let outside = Outside::new();
    // A server of the host's own, which is there for the host alone.
    let listener = std::net::TcpListener::bind("198.51.100.1:0").unwrap();
    let own = listener.local_addr().unwrap();
    std::net::TcpStream::connect(own).unwrap();
    let lab = format!(
        "{}[nodes.gateway]\nuplink = \"{}\"\nforward = true\n\
         firewall = [\"masquerade out nat0\"]\n\
         [nodes.inner]\ndefault = \"gateway\"\n\
         [[links]]\nends = [\"gateway\", \"inner\"]\nnetwork = \"n\"\n\
         [check]\nreachable = [\"gateway -> 198.51.100.2\", \"inner -> 198.51.100.2\"{}]\n\
         unreachable = [\"inner -> 198.51.100.1 tcp {}\"]\n",
        "[networks.n]\nipv4 = \"10.9.0.0/24\"\nipv6 = \"fd00:9::/64\"\n",
        outside.uplink,
        if Path::new("/proc/sys/net/ipv6/conf/lo/force_forwarding").exists() {
            ", \"gateway -> 2001:db8:77::2\", \"inner -> 2001:db8:77::2\""
        } else {
            support::skip("an uplink by IPv6", "this kernel cannot");
            ""
        },
        own.port()
    );
    let file = File::new(root, "up", &lab);
    let left = || {
        let rules = Command::new("nft")
            .args(["list", "tables"])
            .output()
            .unwrap();
        let links = Command::new("ip").args(["-br", "link"]).output().unwrap();
        let found = text(&rules.stdout).matches("sandbox_nat_").count()
            + text(&links.stdout).matches("nat-").count();
        let records = fs::read_dir("/run/sandbox/nat")
            .into_iter()
            .flatten()
            .flatten();
        let ours =
            |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&file.name);
        (found, records.filter(ours).count())
    };
    let before = left();
    file.up();
    let checked = file.check();
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    assert_eq!(left().1, 1);
    success(root, &file.lab(&["down", &file.name]));
    soon("something is left outside", || left() == before);
    file.up();
    for pid in keepers(&file.name) {
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    soon("the keeper lives", || keepers(&file.name).is_empty());
    assert_eq!(left().1, 1, "what a killed keeper leaves is recorded");
    success(root, &file.lab(&["down", &file.name]));
    soon("something is left outside", || left() == before);
}

#[test]
fn what_this_kernel_has_not_is_said_with_the_line() {
    use sandbox::netns::traffic::Discipline;
    for (needed, words) in [
        (Discipline::Netem, "delay = \"20ms\""),
        (Discipline::Htb, "rate = \"10mbit\", shaper = \"htb\""),
        (Discipline::Tbf, "rate = \"10mbit\""),
    ] {
        let Ok(is_there) = needed.is_there() else {
            support::skip("a lack of the kernel", "it cannot be tried here");
            return;
        };
        each_user(|user| {
            let end = format!("ends = [\"a\", {{ node = \"b\", {words} }}]");
            let text = PAIR.replace("ends = [\"a\", \"b\"]", &end);
            let file = File::new(user, "lack", &text);
            if is_there {
                file.up();
                let checked = file.check();
                assert!(checked.status.success(), "{words}");
                success(user, &file.lab(&["down", &file.name]));
                return;
            }
            let refused = file.lab(&["up", file.path()]);
            assert_eq!(refused.status.code(), Some(125));
            let said = lines(&refused);
            assert!(
                said.contains(".toml:7: ") && said.contains(needed.lack()),
                "{said}"
            );
            assert!(keepers(&file.name).is_empty());
        });
    }
}

#[test]
fn a_full_limit_of_namespaces_is_said_with_the_line_and_leaves_nothing() {
    if !have("unshare") || !have("setpriv") {
        return;
    }
    each_user(|user| {
        let many: String = (0..8)
            .map(|number| format!("[nodes.m{number}]\n"))
            .collect();
        let file = File::new(user, "full", &format!("{PAIR}{many}"));
        let Some(mut limited) = support::with_a_limit_of_network_namespaces(user, 6) else {
            return;
        };
        let output = limited
            .arg(&user.sandbox)
            .args(["lab", "up", file.path()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(125));
        let said = lines(&output);
        assert!(
            said.contains(".toml:1") && said.contains("max_net_namespaces"),
            "{said}"
        );
        soon("a keeper stays", || keepers(&file.name).is_empty());
        assert_eq!(
            success(user, &file.lab(&["list"]))
                .matches(&file.name)
                .count(),
            0
        );
    });
}
