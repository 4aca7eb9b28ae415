//! For unit tests that change a process for good or fork it: each in a process of its own with one
//! thread, as root and as an ordinary user.
#![forbid(unsafe_code)]

use std::process::Command;

use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::sys::process;

/// Says which test is to run its body, because it is in a process of its own.
const ALONE: &str = "SANDBOX_TEST_ALONE";
/// An ordinary user, where root runs the tests: one that no account has.
const ORDINARY: u32 = 64_321;

/// Run `body`, of the calling test, in a process that does nothing else; where root runs the tests, as
/// root and then as an ordinary user.
#[track_caller]
pub(crate) fn alone(body: fn()) {
    // The harness gives each test a thread of its name.
    let thread = std::thread::current();
    let name = thread.name().unwrap();
    if std::env::var_os(ALONE).is_none_or(|wanted| wanted != name) {
        let itself = std::env::current_exe().unwrap();
        let output = Command::new(itself)
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(ALONE, name)
            // Some profiles cover /tmp, and so the directory that the tests run in where it is there.
            .current_dir("/")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}\n{complained}"
        );
        return;
    }
    let who = if Uid::effective().is_root() {
        "root"
    } else {
        "an ordinary user"
    };
    assert!(process::in_a_copy(body), "as {who}");
    if Uid::effective().is_root() && !process::in_a_copy(become_ordinary) {
        let required = std::env::var_os("SANDBOX_TEST_REQUIRE").is_some_and(|value| value == "all");
        assert!(!required, "root cannot become an ordinary user here");
        return;
    }
    if Uid::effective().is_root() {
        let as_ordinary = || {
            become_ordinary();
            body();
        };
        assert!(process::in_a_copy(as_ordinary), "as an ordinary user");
    }
}

fn become_ordinary() {
    let (uid, gid) = (Uid::from_raw(ORDINARY), Gid::from_raw(ORDINARY));
    setgroups(&[]).unwrap();
    setresgid(gid, gid, gid).unwrap();
    setresuid(uid, uid, uid).unwrap();
    // As after an execve, which a user's own program has had.
    prctl::set_dumpable(true).unwrap();
    std::env::set_current_dir("/").unwrap();
}
