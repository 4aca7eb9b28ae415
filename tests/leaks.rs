//! Nothing is left of a sandbox: no process, namespace, mount, control group or temporary file.
//!
//! `SANDBOX_SOAK=10000 cargo test --test leaks` is the soak; without it a short one.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{User, each_user};

/// What a sandbox could leave behind, as far as it can be told apart from what others do meanwhile.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    /// Processes that run the copy of the binary that belongs to this test, or its init.
    processes: usize,
    mounts: usize,
    temporary: BTreeSet<PathBuf>,
}

fn traces(token: &str) -> Traces {
    let processes = fs::read_dir("/proc")
        .expect("/proc is there")
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("environ")).ok())
        .filter(|environ| {
            environ
                .windows(token.len())
                .any(|part| part == token.as_bytes())
        })
        .count();
    let mounts = fs::read_to_string("/proc/self/mounts").expect("it is there");
    let temporary = fs::read_dir("/tmp").expect("/tmp is there").flatten();
    Traces {
        processes,
        mounts: mounts.lines().count(),
        temporary: temporary
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().contains("sandbox"))
            .collect(),
    }
}

/// Launches `count` times, eight at a time, each third one failing and each seventh one killed.
fn launch_many(user: &User, token: &str, count: usize) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let mut command = match number % 21 {
                        3 | 6 | 9 => user.sandbox(&["--chdir", "/nonexistent", "--", "true"]),
                        7 | 14 => user.sandbox(&["--", "sleep", "1000"]),
                        _ => user.sandbox(&["--", "true"]),
                    };
                    let mut child = command
                        .env("SANDBOX_LEAK_TEST", token)
                        .stderr(std::process::Stdio::piped())
                        .spawn()
                        .expect("the binary can be started");
                    if matches!(number % 21, 7 | 14) {
                        // Killed at some moment of its launch or after it.
                        thread::sleep(Duration::from_micros(
                            u64::try_from(number % 97).unwrap_or(0) * 60,
                        ));
                        child.kill().expect("it is ours");
                    }
                    let output = child.wait_with_output().expect("it is ours");
                    let expected = match number % 21 {
                        3 | 6 | 9 => Some(125),
                        7 | 14 => None,
                        _ => Some(0),
                    };
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert_eq!(output.status.code(), expected, "{said}");
                }
            });
        }
    });
}

#[test]
fn launches_leave_nothing_behind() {
    let count = std::env::var("SANDBOX_SOAK").map_or(200, |count| count.parse().expect("a number"));
    each_user(|user| {
        let token = format!("leak-{}-{}", std::process::id(), user.uid);
        let before = traces(&token);
        assert_eq!(before.processes, 0);
        launch_many(user, &token, count);
        // What was killed is taken down by the kernel in its own time.
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut after = traces(&token);
        while after != before && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
            after = traces(&token);
        }
        assert_eq!(after, before, "as {}", user.name);
    });
}

#[test]
fn a_running_sandbox_is_seen_by_this_test() {
    each_user(|user| {
        let token = format!("control-{}-{}", std::process::id(), user.uid);
        let mut child = user
            .sandbox(&["--", "sh", "-c", "echo up; sleep 1000"])
            .env("SANDBOX_LEAK_TEST", &token)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let mut up = [0; 3];
        let mut stdout = child.stdout.take().expect("it is piped");
        std::io::Read::read_exact(&mut stdout, &mut up).expect("it says so");
        assert!(traces(&token).processes > 0, "as {}", user.name);
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    });
}
