//! Limits by control groups, on hosts whose version 2 hierarchy has the controllers.
//!
//! Root makes a group for the test and gives it to the user whose launch is tried, as a service manager
//! delegates one. Where version 1 holds the controllers, nothing can be tried: a controller is in one
//! hierarchy at a time, and moves only when the other is unmounted everywhere (cgroups(7)).

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use support::{User, each_user, skip, text, users};

const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// A group for one user's launches, removed with this.
struct Delegated {
    path: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

/// Where the version 2 hierarchy has all controllers; else why not.
fn hierarchy() -> Result<PathBuf, String> {
    if !users().first().is_some_and(User::is_root) {
        return Err("only root can delegate a group".to_owned());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mount = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after
            .starts_with("cgroup2 ")
            .then(|| before.split(' ').nth(4))?
    });
    let Some(mount) = mount.map(PathBuf::from) else {
        return Err("no version 2 hierarchy is mounted".to_owned());
    };
    let read = |file: &str| fs::read_to_string(mount.join(file)).unwrap_or_default();
    let has = read("cgroup.controllers");
    let missing = |name: &&str| has.split_whitespace().all(|known| known != *name);
    if let Some(missing) = CONTROLLERS.iter().find(|name| missing(name)) {
        return Err(why_not_here(missing));
    }
    if mount.join("cgroup.type").exists() {
        return Err("the first group of all is not in sight".to_owned());
    }
    let handed = read("cgroup.subtree_control");
    for name in CONTROLLERS {
        if handed.split_whitespace().any(|known| known == name) {
            continue;
        }
        // As every service manager does; it limits nothing by itself.
        let control = mount.join("cgroup.subtree_control");
        if let Err(error) = fs::write(control, format!("+{name}")) {
            return Err(format!("{name} cannot be handed down: {error}"));
        }
    }
    Ok(mount)
}

/// What `/proc/cgroups` says of a controller that version 2 does not have.
fn why_not_here(name: &str) -> String {
    let table = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let row = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    match row
        .into_iter()
        .find(|row| row.first() == Some(&name))
        .as_deref()
    {
        Some([_, "0", ..]) => format!("version 2 does not have the {name} controller here"),
        Some([_, hierarchy, groups, ..]) => format!(
            "version 1 holds the {name} controller: hierarchy {hierarchy} of /proc/cgroups, in use \
             by {groups} groups, and mounted where this test may not unmount it"
        ),
        _ => format!("this kernel has no {name} controller"),
    }
}

impl Delegated {
    fn to(user: &User, mount: &Path) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let path = mount.join(format!("sandbox-test-{}", std::process::id()));
        fs::create_dir(&path).expect("root can make a group");
        for file in [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "cgroup.threads",
        ] {
            chown(path.join(file), Some(user.uid), Some(user.gid)).expect("root gives it away");
        }
        Self {
            path,
            _alone: alone,
        }
    }

    /// Run `program` with `arguments` in this group, alone or with a companion.
    fn run(&self, user: &User, company: Company, program: &Path, arguments: &[&str]) -> Output {
        let wait = |command: &mut Command| {
            let child = command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let child = child.stderr(Stdio::piped()).spawn().expect("a shell");
            let members = self.path.join("cgroup.procs");
            fs::write(members, child.id().to_string()).expect("root can move it");
            child
        };
        let companion = match company {
            Company::None => None,
            Company::One => Some(wait(user.command("/bin/sh").args(["-c", "read end"]))),
        };
        let mut shell = user.command("/bin/sh");
        shell.args(["-c", "read go; exec \"$0\" \"$@\" </dev/null"]);
        shell.arg(program).args(arguments).env(IN_GROUP, "1");
        let mut child = wait(&mut shell);
        let mut go = child.stdin.take().expect("it is piped");
        go.write_all(b"go\n").expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        if let Some(mut companion) = companion {
            drop(companion.stdin.take());
            companion.wait().expect("it ends");
        }
        output
    }

    /// What is below it: nothing, when all sandboxes are gone.
    fn left(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.path).expect("it is there").flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        // A process that has just ended leaves its group a moment later.
        while fs::remove_dir(&self.path).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

#[derive(Clone, Copy)]
enum Company {
    None,
    One,
}

/// Try `claim` as each user who is given a group, where the host has what that takes.
#[track_caller]
fn each_delegate(claim: impl Fn(&User, &Delegated)) {
    match hierarchy() {
        Err(why) => skip("limits by control groups", &why),
        Ok(mount) => each_user(|user| claim(user, &Delegated::to(user, &mount))),
    }
}

/// A shell `script` under `limits`.
fn limited(user: &User, group: &Delegated, limits: &str, script: &str) -> Output {
    let words = ["--cgroup", limits, "--", "/bin/sh", "-c", script];
    let output = group.run(user, Company::None, &user.sandbox, &words);
    assert_eq!(group.left(), [] as [PathBuf; 0], "as {}", user.name);
    let control = fs::read_to_string(group.path.join("cgroup.subtree_control"));
    assert_eq!(
        control.expect("it is there").trim_end(),
        "",
        "as {}",
        user.name
    );
    output
}

#[test]
fn a_sandbox_has_no_more_memory_than_its_limit() {
    // One line of 64 MB, which has to be held as a whole.
    let hog = "head -c 64000000 /dev/zero | tail -c 64000000 | wc -c";
    each_delegate(|user, group| {
        let output = limited(user, group, "memory=256M", hog);
        assert_eq!(
            text(&output.stdout),
            "64000000",
            "as {}: {output:?}",
            user.name
        );
        let output = limited(user, group, "memory=32M", hog);
        assert_ne!(
            text(&output.stdout),
            "64000000",
            "as {}: {output:?}",
            user.name
        );
    });
}

#[test]
fn a_sandbox_has_no_more_processes_than_its_limit() {
    // The init, the shell, and eight more.
    let many = "for n in 1 2 3 4 5 6 7 8; do sleep 100 & done && echo started; kill $(jobs -p)";
    each_delegate(|user, group| {
        let output = limited(user, group, "pids=10", many);
        assert_eq!(
            text(&output.stdout),
            "started",
            "as {}: {output:?}",
            user.name
        );
        let output = limited(user, group, "pids=9", many);
        assert_eq!(text(&output.stdout), "", "as {}: {output:?}", user.name);
        let said = text(&output.stderr).to_lowercase();
        assert!(said.contains("fork"), "as {}: {said}", user.name);
    });
}

#[test]
fn a_sandbox_has_no_more_processor_time_than_its_limit() {
    // Busy for one to two seconds of the clock.
    let busy = "read up rest < /proc/uptime; end=$((${up%.*} + 2))
        while [ ${up%.*} -lt $end ]; do read up rest < /proc/uptime; done; times";
    // How much of the time that went by the command was given.
    let share = |user: &User, group: &Delegated, limits: &str| -> f64 {
        let began = Instant::now();
        let output = limited(user, group, limits, busy);
        let took = began.elapsed().as_secs_f64();
        let printed = text(&output.stdout);
        let own = printed.lines().next().unwrap_or_default();
        // "0m1.250s 0m0.010s": user and system time of the shell itself.
        let seconds = own.split_whitespace().map(|time| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m')?;
            Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
        });
        let used: Option<f64> = seconds.sum();
        used.unwrap_or_else(|| panic!("as {}: {output:?}", user.name)) / took
    };
    each_delegate(|user, group| {
        let (little, much) = (share(user, group, "cpu=0.1"), share(user, group, "cpu=4"));
        assert!(little < 0.2, "as {}: {little} and {much}", user.name);
        assert!(much > little * 1.5, "as {}: {little} and {much}", user.name);
    });
}

#[test]
fn all_limits_can_be_had_at_once_and_again() {
    each_delegate(|user, group| {
        for _ in 0..2 {
            let output = limited(
                user,
                group,
                "memory=64M,pids=20,cpu=1",
                "cat /proc/self/cgroup",
            );
            assert_eq!(text(&output.stdout), "0::/", "as {}: {output:?}", user.name);
            assert_eq!(text(&output.stderr), "", "as {}", user.name);
        }
    });
}

#[test]
fn what_a_killed_launcher_has_left_is_removed_by_the_next() {
    each_delegate(|user, group| {
        for name in ["sandbox-1-0", "sandbox-launcher-1-0"] {
            fs::create_dir(group.path.join(name)).expect("root can make a group");
        }
        // Nothing is left, it says.
        limited(user, group, "pids=20", "true");
    });
}

#[test]
fn a_group_with_other_processes_is_refused_with_the_remedy() {
    each_delegate(|user, group| {
        let words = ["--cgroup", "memory=64M", "--", "echo", "ran"];
        let output = group.run(user, Company::One, &user.sandbox, &words);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "as {}: {said}", user.name);
        assert!(
            said.contains("subtree_control: Device or resource busy"),
            "{said}"
        );
        assert!(said.contains("systemd-run --user --scope"), "{said}");
        assert_eq!(text(&output.stdout), "", "as {}", user.name);
        assert_eq!(group.left(), [] as [PathBuf; 0], "as {}", user.name);
    });
}

/// Set for what runs in a delegated group.
const IN_GROUP: &str = "SANDBOX_TEST_IN_GROUP";

#[test]
fn a_program_with_limited_sandboxes_comes_back_to_its_group() {
    const NAME: &str = "a_program_with_limited_sandboxes_comes_back_to_its_group";
    if std::env::var_os(IN_GROUP).is_some() {
        return in_group();
    }
    each_delegate(|user, group| {
        let built = std::env::current_exe().expect("this binary has a file");
        let program = support::copy_of(&built, env!("CARGO_CRATE_NAME"));
        let words = ["--exact", NAME, "--nocapture"];
        let output = group.run(user, Company::None, &program, &words);
        assert!(output.status.success(), "as {}: {output:?}", user.name);
        assert_eq!(group.left(), [] as [PathBuf; 0], "as {}", user.name);
    });
}

fn in_group() {
    let own = || fs::read_to_string("/proc/self/cgroup").expect("it is there");
    let before = own();
    let mut policy = sandbox::Policy::built_in("default").expect("it is shipped");
    policy.cgroup.memory = Some(64 << 20);
    let mut command = sandbox::Sandbox::new("cat");
    command.policy(policy.clone()).stdin(sandbox::Stdio::Piped);
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let mut command = sandbox::Sandbox::new("true");
            command.policy(policy.clone());
            std::thread::spawn(move || command.status().map(|status| status.success()))
        })
        .collect();
    let mut last = command.spawn().expect("it starts");
    for thread in threads {
        assert!(thread.join().expect("no panic").expect("it starts"));
    }
    assert_ne!(own(), before, "it had to leave its group");
    assert!(last.wait().expect("it ends").success());
    drop(last);
    assert_eq!(own(), before);
}

#[test]
fn what_cannot_be_limited_is_not_run() {
    each_user(|user| {
        let output = user.output(&["--cgroup", "memory=64M", "--", "echo", "ran"]);
        // Root in the first group of all can have them, and there is nothing to refuse.
        if output.status.success() {
            let mount = hierarchy().expect("it gave limits");
            let entries = fs::read_dir(mount).expect("it is mounted").flatten();
            let left: Vec<_> = entries
                .filter(|entry| {
                    let name = entry.file_name();
                    let name = name.to_string_lossy();
                    // Not the ones that other tests delegate meanwhile.
                    name.starts_with("sandbox-") && !name.starts_with("sandbox-test-")
                })
                .map(|entry| entry.path())
                .collect();
            assert!(left.is_empty(), "as {}: {left:?}", user.name);
            return;
        }
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "as {}: {said}", user.name);
        assert!(said.contains("hint: "), "as {}: {said}", user.name);
        assert_eq!(text(&output.stdout), "", "as {}", user.name);
    });
}
