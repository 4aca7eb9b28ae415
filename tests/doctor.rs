//! `sandbox doctor` on this host, and in states of it that are made for the test: a setting that
//! allows no network namespace, a filter that refuses namespaces, a covered /proc.
//!
//! Each blocked state has its control: the same user, without the obstacle, is told that the feature
//! works.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// The program, where every user can execute it.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sandbox");
        std::fs::copy(env!("CARGO_BIN_EXE_sandbox"), &path).unwrap();
        for entry in [dir.path(), &path] {
            std::fs::set_permissions(entry, PermissionsExt::from_mode(0o755)).unwrap();
        }
        (dir, path)
    });
    path
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

#[derive(Clone, Copy, Debug)]
enum User {
    /// The one who runs the tests.
    Caller,
    /// One without any privilege.
    Ordinary,
}

const USERS: [User; 2] = [User::Caller, User::Ordinary];

/// Words that start what follows them as `user`.
fn as_user(user: User) -> Vec<&'static str> {
    match user {
        User::Ordinary if is_root() => {
            vec![
                "setpriv",
                "--reuid=65533",
                "--regid=65533",
                "--clear-groups",
            ]
        }
        _ => vec!["env"],
    }
}

fn run(words: &[&str]) -> Output {
    let (program, args) = words.split_first().unwrap();
    Command::new(program)
        .args(args)
        .current_dir("/")
        .output()
        .unwrap()
}

/// The doctor's JSON as `user`, with `before` put in front of the command; and its exit status.
fn examine(user: User, before: &[&str]) -> (Value, i32) {
    let mut words = as_user(user);
    words.extend(before);
    words.extend([program().to_str().unwrap(), "doctor", "--json"]);
    let output = run(&words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {stderr}"));
    (json, output.status.code().unwrap())
}

fn feature<'a>(json: &'a Value, id: &str) -> &'a Value {
    json["features"]
        .as_array()
        .unwrap()
        .iter()
        .find(|feature| feature["id"] == id)
        .unwrap_or_else(|| panic!("no {id} in {json:#}"))
}

fn assert_blocked(json: &Value, id: &str, detail: &str, remedy: &str) {
    let feature = feature(json, id);
    assert_eq!(feature["status"], "blocked", "{feature:#}");
    assert!(
        feature["detail"].as_str().unwrap().contains(detail),
        "{feature:#}"
    );
    assert!(
        feature["remedy"].as_str().unwrap().contains(remedy),
        "{feature:#}"
    );
}

/// Whether the host, as it is, lets `user` have `id`; a blocked state says nothing without it.
fn control(user: User, id: &str) -> bool {
    let (json, _) = examine(user, &[]);
    if feature(&json, id)["status"] == "works" {
        return true;
    }
    let reason = format!("{id} does not work here for {user:?} to begin with");
    let all = std::env::var_os("SANDBOX_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(!all, "{reason}");
    eprintln!("SKIP: {reason}");
    false
}

#[test]
fn the_exit_status_says_whether_the_default_policy_can_be_had() {
    for user in USERS {
        let (json, status) = examine(user, &[]);
        assert_eq!(status == 0, json["works"].as_bool().unwrap(), "{json:#}");
        assert_eq!(json["schema"], 1);
    }
}

#[test]
fn an_ordinary_user_and_root_are_told_apart() {
    let (ordinary, _) = examine(User::Ordinary, &[]);
    assert_eq!(ordinary["root"], false);
    assert_eq!(
        feature(&ordinary, "named-network-namespaces")["status"],
        "skipped"
    );
    let (caller, _) = examine(User::Caller, &[]);
    assert_eq!(caller["root"], is_root());
}

#[test]
fn the_page_for_people_opens_with_the_verdict_and_is_plain_in_a_pipe() {
    for user in USERS {
        let (json, status) = examine(user, &[]);
        let mut words = as_user(user);
        words.extend([program().to_str().unwrap(), "doctor"]);
        let output = run(&words);
        let page = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(status));
        assert_eq!(page.lines().next(), json["verdict"].as_str());
        assert!(!page.contains('\x1b'), "{page}");
        for heading in [
            "\nIsolation\n",
            "\nSecond walls\n",
            "\nLimits\n",
            "\nExtras\n",
        ] {
            assert!(page.contains(heading), "{page}");
        }
    }
}

#[test]
fn a_limit_of_no_network_namespaces_is_named_with_the_command_that_lifts_it() {
    for user in USERS {
        if !control(user, "network-namespace") {
            continue;
        }
        let set = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$@\"";
        let (json, status) = examine(user, &["unshare", "-Ur", "sh", "-c", set, "sh"]);
        assert_eq!(status, 1);
        assert_blocked(
            &json,
            "network-namespace",
            "user.max_net_namespaces is 0",
            "sysctl -w user.max_net_namespaces=",
        );
        assert_eq!(feature(&json, "pid-namespace")["status"], "works");
        assert!(
            json["verdict"]
                .as_str()
                .unwrap()
                .contains("no network namespace"),
            "{json:#}"
        );
    }
}

#[test]
fn a_limit_of_no_user_namespaces_is_named_and_what_follows_from_it_is_not_blamed() {
    if !control(User::Ordinary, "user-namespace") {
        return;
    }
    let set = "echo 0 > /proc/sys/user/max_user_namespaces && exec \
               setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
    let (json, status) = examine(User::Ordinary, &["unshare", "-Ur", "sh", "-c", set, "sh"]);
    assert_eq!(status, 1);
    assert_blocked(
        &json,
        "user-namespace",
        "user.max_user_namespaces is 0",
        "sysctl -w user.max_user_namespaces=",
    );
    assert_eq!(feature(&json, "network-namespace")["status"], "skipped");
}

#[test]
fn a_covered_proc_names_what_covers_it_and_the_option_that_accepts_the_loss() {
    for user in USERS {
        if !control(user, "fresh-proc") {
            continue;
        }
        // Locked by a second user namespace, as a container's masks are.
        let cover = "mount -t tmpfs none /proc/fs && exec unshare -U -r \"$@\"";
        let (json, status) = examine(user, &["unshare", "-Urm", "sh", "-c", cover, "sh"]);
        assert_eq!(status, 1);
        assert_blocked(&json, "fresh-proc", "/proc/fs", "--proc host");
        assert_eq!(feature(&json, "fresh-sys")["status"], "works");
    }
}

#[test]
fn a_filter_that_refuses_namespaces_is_named() {
    for user in USERS {
        if !control(user, "user-namespace") {
            continue;
        }
        // The filter stays on this thread and on what it starts.
        let examined = std::thread::spawn(move || {
            refuse_namespaces();
            examine(user, &[])
        });
        let (json, status) = examined.join().unwrap();
        let remedy = match json["container"].as_str() {
            Some("kubernetes") => "give the pod",
            Some("docker" | "podman") => "start the container",
            _ => "run sandbox outside",
        };
        assert_blocked(&json, "user-namespace", "filter", remedy);
        assert_blocked(&json, "clone3", "filter", remedy);
        assert_eq!(status, 1);
    }
}

/// What container engines install: no clone with namespaces, no clone3 at all.
fn refuse_namespaces() {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };

    let arch = std::env::consts::ARCH.try_into().unwrap();
    let namespaces = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    let with_namespaces = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(namespaces),
        namespaces,
    )
    .unwrap();
    let table = [
        (
            libc::SYS_clone,
            vec![SeccompRule::new(vec![with_namespaces]).unwrap()],
            libc::EPERM,
        ),
        (libc::SYS_clone3, vec![], libc::ENOSYS),
    ];
    for (call, rules, errno) in table {
        let filter = SeccompFilter::new(
            [(call, rules)].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(errno.cast_unsigned()),
            arch,
        )
        .unwrap();
        let program: seccompiler::BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
    }
}

#[test]
fn limits_by_control_group_are_only_promised_where_a_group_can_be_made() {
    for user in USERS {
        let (json, _) = examine(user, &[]);
        let own = feature(&json, "cgroup-delegation");
        for id in [
            "clone-into-cgroup",
            "cgroup-memory",
            "cgroup-pids",
            "cgroup-cpu",
        ] {
            let skipped = feature(&json, id)["status"] == "skipped";
            assert_eq!(skipped, own["status"] != "works", "{id}: {json:#}");
        }
    }
    if is_root() {
        let (json, _) = examine(User::Ordinary, &[]);
        assert_blocked(&json, "cgroup-delegation", "", "");
    }
}

#[test]
fn the_doctor_leaves_no_process_and_no_control_group() {
    let marker = format!("sandbox-doctor-test-{}", std::process::id());
    let (_, _) = examine(User::Caller, &["env", &format!("MARKER={marker}")]);
    let left = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("environ")).ok())
        .filter(|environ| {
            environ
                .windows(marker.len())
                .any(|window| window == marker.as_bytes())
        })
        .count();
    assert_eq!(left, 0);
    let pid = run_doctor_for_its_pid();
    let name = format!("sandbox-probe-{pid}");
    assert!(!is_below(Path::new("/sys/fs/cgroup"), &name));
}

fn run_doctor_for_its_pid() -> u32 {
    let mut child = Command::new(program())
        .args(["doctor", "--json"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    child.wait().unwrap();
    child.id()
}

fn is_below(dir: &Path, name: &str) -> bool {
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            is_dir && (entry.file_name() == name || is_below(&entry.path(), name))
        })
    })
}
