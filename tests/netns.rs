//! `sandbox netns`: names, in both directions with iproute2's `ip netns`, and what is done in them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use support::netns::{done, netns, root};
use support::{User, each_user, have, success, text, users, with_a_limit_of_network_namespaces};

/// A name that no other test has; deleted at the end, whatever has become of it.
struct Name(String);

impl Name {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("sbxt-{}-{count}", std::process::id()))
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.path(), nix::mount::MntFlags::MNT_DETACH);
        let _ = fs::remove_file(self.path());
    }
}

/// The message of a line that must fail with 125.
fn refused(user: &User, arguments: &[&str]) -> String {
    let output = netns(user, arguments);
    assert_eq!(output.status.code(), Some(125), "{arguments:?}: {output:?}");
    text(&output.stderr)
}

fn ip(arguments: &[&str]) -> Output {
    Command::new("ip").args(arguments).output().unwrap()
}

fn ip_done(arguments: &[&str]) -> String {
    let output = ip(arguments);
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
    text(&output.stdout)
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// `sleep` in the namespace `name`; killed at the end.
struct Sleeper(Child);

impl Sleeper {
    fn in_namespace(name: &str) -> Self {
        let path = format!("/run/netns/{name}");
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={path}")).args(["sleep", "1000"]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let wanted = fs::metadata(&path).unwrap().ino();
        let own = format!("/proc/{}/ns/net", child.id());
        while fs::metadata(&own).unwrap().ino() != wanted {
            std::thread::yield_now();
        }
        Self(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_name_of_ours_is_iproute2s_and_the_reverse() {
    let Some(root) = root("both_directions") else {
        return;
    };
    if !have("ip") {
        return;
    }
    let (ours, theirs) = (Name::new(), Name::new());
    done(root, &["add", &ours]);
    ip_done(&["netns", "add", &theirs]);
    let listed = ip_done(&["netns", "list"]);
    assert!(
        listed
            .lines()
            .any(|line| line.split(' ').next() == Some(&*ours)),
        "{listed}"
    );
    let listed = done(root, &["list"]);
    assert!(
        listed
            .lines()
            .any(|line| line.split(' ').next() == Some(&*theirs)),
        "{listed}"
    );
    // Each runs a command in the other's.
    let inside = ip_done(&["netns", "exec", &ours, "readlink", "/proc/self/ns/net"]);
    let number = fs::metadata(ours.path()).unwrap().ino();
    assert_eq!(inside.trim(), format!("net:[{number}]"));
    let inside = done(
        root,
        &["exec", &theirs, "--", "readlink", "/proc/self/ns/net"],
    );
    let number = fs::metadata(theirs.path()).unwrap().ino();
    assert_eq!(inside.trim(), format!("net:[{number}]"));
    // The files look the same.
    let look = |name: &Name| {
        let found = fs::symlink_metadata(name.path()).unwrap();
        (found.mode(), found.uid(), found.dev())
    };
    assert_eq!(look(&ours), look(&theirs));
    // Each deletes the other's.
    ip_done(&["netns", "delete", &ours]);
    done(root, &["delete", &theirs]);
    assert!(!ours.path().exists() && !theirs.path().exists());
}

/// A shell `script`, whose `$1` is the program, in a mount namespace of its own.
fn in_own_mounts(root: &User, script: &str) -> Output {
    Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(&root.sandbox)
        .output()
        .unwrap()
}

#[test]
fn the_directory_is_a_shared_mount_as_iproute2_makes_it() {
    let Some(root) = root("propagation") else {
        return;
    };
    if !have("unshare") {
        return;
    }
    // In a mount namespace where /run/netns is none yet, an adder of ours, seen from a copy of that one
    // which was made before.
    let script = r#"
        umount -l /run/netns 2>/dev/null; mount -t tmpfs none /run && mkdir -p /run/netns
        "$1" netns add first || exit 1
        grep -q " /run/netns .*shared:" /proc/self/mountinfo || { cat /proc/self/mountinfo; exit 2; }
        unshare --mount --propagation unchanged sleep 1000 &
        while ! [ -e /proc/$!/root/run/netns/first ] || [ "$(readlink /proc/$!/ns/mnt)" = "$(readlink /proc/$$/ns/mnt)" ]; do :; done
        "$1" netns add second
        nsenter --target $! --mount stat -fc %T /run/netns/second
        kill $!
    "#;
    let output = in_own_mounts(root, script);
    assert_eq!(success(root, &output), "nsfs");
}

#[test]
fn adders_at_once_lose_no_name_and_leave_none_half_made() {
    let Some(root) = root("adders") else {
        return;
    };
    if !have("ip") {
        return;
    }
    // The first of all makes the directory a mount: in a mount namespace of their own, all are first.
    let script = r#"
        umount -l /run/netns 2>/dev/null; mount -t tmpfs none /run
        for i in $(seq 50); do
            "$1" netns add ours$i & ip netns add theirs$i &
        done
        wait
        ls /run/netns | wc -l
        for name in /run/netns/*; do stat -fc %T "$name"; done | sort | uniq -c | tr -s ' '
        for name in /run/netns/*; do stat -Lc %i "$name"; done | sort -u | wc -l
        grep -c " /run/netns " /proc/self/mountinfo
        for i in $(seq 50); do
            "$1" netns delete theirs$i & ip netns delete ours$i &
        done
        wait
        ls /run/netns | wc -l
    "#;
    let output = in_own_mounts(root, script);
    assert_eq!(
        success(root, &output),
        "100\n 100 nsfs\n100\n1\n0",
        "{output:?}"
    );
}

#[test]
fn a_name_is_given_once() {
    let Some(root) = root("once") else { return };
    let name = Name::new();
    done(root, &["add", &name]);
    let number = fs::metadata(name.path()).unwrap().ino();
    let said = refused(root, &["add", &name]);
    assert_eq!(
        said,
        format!(
            "sandbox: cannot name the namespace {0}: File exists\n  hint: there is a namespace of this name",
            &*name
        )
    );
    assert_eq!(fs::metadata(name.path()).unwrap().ino(), number);
}

#[test]
fn several_are_made_or_none() {
    let Some(root) = root("several") else { return };
    let (first, second, taken) = (Name::new(), Name::new(), Name::new());
    done(root, &["add", &taken]);
    refused(root, &["add", &first, &second, &taken]);
    assert!(!first.path().exists() && !second.path().exists() && taken.path().exists());
}

#[test]
fn of_an_unknown_name_it_is_told_where_names_are_listed_and_the_nearest() {
    let Some(root) = root("unknown_name") else {
        return;
    };
    let name = Name::new();
    done(root, &["add", &name]);
    let near = format!("{}x", &*name);
    let listed = "'sandbox netns list' lists those that there are";
    each_user(|user| {
        for (verb, arguments) in [("delete", ["delete", &near]), ("open", ["show", &near])] {
            assert_eq!(
                refused(user, &arguments),
                format!(
                    "sandbox: cannot {verb} the namespace {near}: No such file or directory\n  \
                     hint: did you mean '{}'? {listed}",
                    &*name
                ),
                "as {}",
                user.name
            );
        }
        let said = refused(user, &["delete", "nothing-that-is-like-it"]);
        assert!(said.ends_with(&format!("hint: {listed}")), "{said}");
    });
    let user = users().iter().find(|user| !user.is_root());
    if let Some(user) = user {
        let said = refused(user, &["delete", &name]);
        assert!(said.ends_with("are root's: run as root"), "{said}");
    }
}

#[test]
fn a_full_limit_of_namespaces_is_told_and_leaves_no_name() {
    let Some(root) = root("a limit") else { return };
    if !have("unshare") {
        return;
    }
    let Some(mut limited) = with_a_limit_of_network_namespaces(root, 1) else {
        return;
    };
    // With a /run of its own.
    let script = r#"
        mount -t tmpfs none /run || exit 3
        "$1" netns add one || exit 4
        "$1" netns add two three
        echo "status $?"
        ls /run/netns
    "#;
    let output = limited
        .args(["sh", "-c", script, "sh"])
        .arg(&root.sandbox)
        .output()
        .unwrap();
    assert_eq!(success(root, &output), "status 125\none");
    assert_eq!(
        text(&output.stderr),
        "sandbox: cannot make the network namespace two: No space left on device\n  \
         hint: the limit of network namespaces is reached: see user.max_net_namespaces (namespaces(7))"
    );
}

#[test]
fn a_file_left_behind_is_told_and_cleaned() {
    let Some(root) = root("stale") else { return };
    let (name, other) = (Name::new(), Name::new());
    done(root, &["add", &other]);
    fs::write(name.path(), "").unwrap();
    let listed = json(&done(root, &["list", "--json"]));
    let state = |name: &str| {
        let all = listed.as_array().unwrap();
        all.iter().find(|entry| entry["name"] == name).unwrap()["state"].clone()
    };
    assert_eq!(
        (state(&name), state(&other)),
        ("stale".into(), "live".into())
    );
    assert!(
        done(root, &["list"]).contains(&format!("{} (stale: a file without a namespace)", &*name))
    );
    for line in [
        &["exec", &name, "--", "true"][..],
        &["show", &name],
        &["add", &name],
    ] {
        let said = refused(root, line);
        assert!(
            said.contains("is a file without a namespace, left behind"),
            "{said}"
        );
    }
    done(root, &["delete", &name]);
    assert!(!name.path().exists());
}

#[test]
fn a_deleted_namespace_lives_on_in_its_processes() {
    let Some(root) = root("delete") else { return };
    let name = Name::new();
    done(root, &["add", &name]);
    let sleeper = Sleeper::in_namespace(&name);
    assert_eq!(done(root, &["pids", &name]), sleeper.pid());
    assert_eq!(ip_done(&["netns", "pids", &name]), sleeper.pid());
    assert_eq!(done(root, &["identify", &sleeper.pid()]), *name);
    assert!(done(root, &["list"]).contains(&format!("{} (1 process)", &*name)));
    done(root, &["delete", &name]);
    let number = fs::metadata(format!("/proc/{}/ns/net", sleeper.pid()))
        .unwrap()
        .ino();
    assert_eq!(done(root, &["identify", &sleeper.pid()]), "");
    // And back under another name.
    let again = Name::new();
    done(root, &["attach", &again, &sleeper.pid()]);
    assert_eq!(fs::metadata(again.path()).unwrap().ino(), number);
    assert_eq!(
        json(&done(root, &["identify", &sleeper.pid(), "--json"])),
        json(&format!("[\"{}\"]", &*again))
    );
}

#[test]
fn a_number_is_given_and_listed_as_iproute2_does() {
    let Some(root) = root("nsid") else { return };
    let (one, other) = (Name::new(), Name::new());
    done(root, &["add", &one, &other]);
    let number = 100_000 + std::process::id() % 1000;
    done(root, &["set", &one, &number.to_string()]);
    let listed = format!("{} (id: {number})", &*one);
    assert!(done(root, &["list"]).lines().any(|line| line == listed));
    assert!(
        ip_done(&["netns", "list"])
            .lines()
            .any(|line| line.trim_end() == listed)
    );
    let chosen = done(root, &["set", &other]);
    assert!(chosen.trim().parse::<u32>().is_ok(), "{chosen}");
    let said = refused(root, &["set", &one, &(number + 1).to_string()]);
    assert!(said.contains("cannot set the number of"), "{said}");
}

#[test]
fn names_are_told_as_they_come_and_go() {
    let Some(root) = root("monitor") else { return };
    let name = Name::new();
    let mut monitor = root
        .sandbox(&["netns", "monitor", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
    // Until it watches: names of others may come in between.
    let mut seen = BTreeSet::new();
    let watched = Name::new();
    let tick = std::thread::spawn({
        let (user, watched) = (root.clone(), watched.0.clone());
        move || {
            for _ in 0..200 {
                done(&user, &["add", &watched]);
                done(&user, &["delete", &watched]);
            }
        }
    });
    let ready = json(&lines.next().unwrap().unwrap());
    assert!(
        ready["event"] == "add" || ready["event"] == "delete",
        "{ready}"
    );
    done(root, &["add", &name]);
    done(root, &["delete", &name]);
    while seen.len() < 2 {
        let event = json(&lines.next().unwrap().unwrap());
        if event["name"] == *name {
            seen.insert(event["event"].as_str().unwrap().to_owned());
        }
    }
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    tick.join().unwrap();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["add", "delete"]);
}
