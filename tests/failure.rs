//! Every step of a launch, made to fail for real: the message names the step, its object and the
//! kernel's reason; the status is 125; the command did not run.
//!
//! Most steps are made to fail by a filter around the launcher, which answers one system call with an
//! errno, as a container's filter does.
#![expect(
    unsafe_code,
    reason = "Command::pre_exec, to put a filter around the launcher"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sandbox::Step;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use support::{User, each_user, have, skip, success, text};

/// A system call that fails for the launcher and its children, with EDOM: no kernel gives that.
#[derive(Clone, Copy)]
struct Refused {
    call: libc::c_long,
    /// Only where this argument has this value.
    when: Option<(u8, u64)>,
}

/// Flags of seccomp(2), with which the filter is installed that tells the supervisor of calls.
const NEW_LISTENER: u64 = 1 << 3;
const WAIT_KILLABLE_RECV: u64 = 1 << 5;

fn refuse(call: libc::c_long) -> Refused {
    Refused { call, when: None }
}

fn refuse_when(call: libc::c_long, argument: u8, value: u64) -> Refused {
    Refused {
        call,
        when: Some((argument, value)),
    }
}

fn filter(refused: Refused) -> BpfProgram {
    let rules = refused.when.map(|(argument, value)| {
        let condition =
            SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, value)
                .expect("a sixth argument at most");
        SeccompRule::new(vec![condition]).expect("one condition")
    });
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("supported");
    SeccompFilter::new(
        BTreeMap::from([(refused.call, rules.into_iter().collect())]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EDOM.unsigned_abs()),
        arch,
    )
    .expect("the rules are well formed")
    .try_into()
    .expect("it is short")
}

/// What `step` says when it fails on `object` for `reason`.
fn message(step: Step, object: &str, reason: &str) -> String {
    let space = if object.is_empty() { "" } else { " " };
    format!("sandbox: cannot {step}{space}{object}: {reason}")
}

/// Run `touch` in a sandbox with `options`; nothing must be touched.
#[track_caller]
fn fails(user: &User, options: &[&str], expected: &str, around: impl FnOnce(&mut Command)) {
    let proof = user.home.join(format!("ran-{}", rand()));
    let proof_word = proof.to_str().expect("it is text");
    // Some options are warned about; the error is what counts here.
    let mut words = [&["-q"], options].concat();
    words.extend(["--", "touch", proof_word]);
    let mut command = user.sandbox(&words);
    around(&mut command);
    let output: Output = command.output().expect("the binary can be started");
    let said = text(&output.stderr);
    let first = said.lines().next().unwrap_or_default();
    assert_eq!(first, expected, "as {}: {said}", user.name);
    assert_eq!(output.status.code(), Some(125), "as {}: {said}", user.name);
    assert!(!proof.exists(), "as {}: the command has run", user.name);
}

/// Launch within namespaces that unshare(1) makes, with these words before the launcher's: that nothing was
/// run, and what was said.
#[track_caller]
fn fails_within(user: &User, unshare: &[&str]) -> String {
    let output = user
        .command("unshare")
        .args(unshare)
        .arg(&user.sandbox)
        .args(["--", "echo", "ran"])
        .output()
        .expect("unshare is there");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "as {}: {said}", user.name);
    assert_eq!(text(&output.stdout), "");
    said
}

#[track_caller]
fn begins_with_line(user: &User, said: &str, expected: &str) {
    assert_eq!(
        said.lines().next(),
        Some(expected),
        "as {}: {said}",
        user.name
    );
}

fn rand() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_nanos()
}

/// As the doctor says it.
fn landlock_abi() -> u64 {
    let user = &support::users()[0];
    let output = user.output(&["doctor", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    told["landlock_abi"].as_u64().expect("a number")
}

#[track_caller]
fn fails_when_refused(step: Step, object: &str, options: &[&str], refused: Refused) {
    // Without it there is no domain for the command, and so no such step.
    const SCOPES: u64 = 6;
    if step == Step::Landlock && landlock_abi() < SCOPES {
        skip(
            "no_landlock_domain",
            "Landlock has no scopes before Linux 6.12",
        );
        return;
    }
    each_user(|user| fails_for(user, step, object, options, refused));
}

#[track_caller]
fn fails_for(user: &User, step: Step, object: &str, options: &[&str], refused: Refused) {
    let program = filter(refused);
    let expected = message(step, object, "Numerical argument out of domain");
    fails(user, options, &expected, |command| {
        let install = move || {
            seccompiler::apply_filter(&program).map_err(|_| io::Error::from_raw_os_error(libc::EIO))
        };
        // SAFETY: between fork and exec; `apply_filter` makes two system calls and does not allocate.
        unsafe { command.pre_exec(install) };
    });
}

macro_rules! steps {
    ($($test:ident: $step:ident $object:literal $options:tt, $refused:expr;)*) => {
        $(#[test]
        fn $test() {
            fails_when_refused(Step::$step, $object, &$options, $refused);
        })*

        /// The steps that the table above makes fail.
        const IN_TABLE: &[Step] = &[$(Step::$step,)*];
    };
}

const NOSUID: u64 = libc::MS_NOSUID;
const NODEV: u64 = libc::MS_NODEV;
const NOEXEC: u64 = libc::MS_NOEXEC;
const STREAM: u64 = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u64;

#[rustfmt::skip]
steps! {
    no_network: Network "" [], refuse_when(libc::SYS_unshare, 0, libc::CLONE_NEWNET as u64);
    no_loopback: Loopback "" [], refuse_when(libc::SYS_ioctl, 1, libc::SIOCSIFFLAGS);
    no_way_out: Egress "tcp://192.0.2.1:443" ["--allow", "192.0.2.1:443"], refuse_when(libc::SYS_socket, 1, STREAM);
    no_route_out: Egress "" ["--allow", "192.0.2.1:443"], refuse_when(libc::SYS_socket, 0, libc::AF_NETLINK as u64);
    mounts_not_private: PrivateMounts "" [], refuse_when(libc::SYS_mount, 3, libc::MS_REC | libc::MS_PRIVATE);
    not_read_only: ReadOnly "/etc" ["--read-only", "/etc"], refuse(libc::SYS_mount_setattr);
    not_writable: ReadWrite "/etc" ["--read-write", "/etc"], refuse(libc::SYS_open_tree);
    no_fresh_proc: Proc "" [], refuse_when(libc::SYS_mount, 3, NOSUID | NODEV | NOEXEC);
    proc_not_protected: ProcMasks "/proc/sys" [], refuse(libc::SYS_open_tree);
    no_fresh_sys: Sys "" [], refuse_when(libc::SYS_mount, 3, NOSUID | NODEV | NOEXEC | libc::MS_RDONLY);
    no_minimal_dev: Dev "" [], refuse_when(libc::SYS_mount, 3, NOSUID | NOEXEC);
    no_private_tmp: PrivateTmp "/tmp" ["--private-tmp", "--dev", "host", "--chdir", "/"], refuse_when(libc::SYS_mount, 3, NOSUID | NODEV);
    not_hidden: Hide "/run" ["--proc", "host", "--sys", "host", "--dev", "host"], refuse_when(libc::SYS_mount, 3, NOSUID | NODEV | NOEXEC);
    no_host_name: Hostname "" ["--hostname", "inside"], refuse(libc::SYS_sethostname);
    no_keyring: Keyring "" [], refuse(libc::SYS_keyctl);
    descriptors_not_closed: Descriptors "" [], refuse(libc::SYS_close_range);
    no_session: Session "" ["--new-session"], refuse(libc::SYS_setsid);
    bounding_set_not_dropped: BoundingSet "" [], refuse_when(libc::SYS_prctl, 0, libc::PR_CAPBSET_DROP as u64);
    securebits_not_locked: Capabilities "" [], refuse_when(libc::SYS_prctl, 0, libc::PR_SET_SECUREBITS as u64);
    privileges_to_be_gained: NoNewPrivs "" [], refuse_when(libc::SYS_prctl, 0, libc::PR_SET_NO_NEW_PRIVS as u64);
    no_landlock_domain: Landlock "" [], refuse(libc::SYS_landlock_restrict_self);
    not_tied_to_the_launcher: ParentDeath "" [], refuse_when(libc::SYS_prctl, 0, libc::PR_SET_PDEATHSIG as u64);
    no_init: Init "" [], refuse(libc::SYS_execveat);
    signal_mask_not_restored: Signals "" [], refuse_when(libc::SYS_rt_sigprocmask, 2, 0);
    no_listener: Notify "" [], refuse_when(libc::SYS_seccomp, 1, NEW_LISTENER | WAIT_KILLABLE_RECV);
    no_filter: Seccomp "" ["--as-pid-1", "--unix-sockets", "any"], refuse_when(libc::SYS_seccomp, 1, 0);
}

#[test]
fn identity_not_changed() {
    each_user(|user| {
        if user.is_root() {
            fails_for(user, Step::Identity, "", &[], refuse(libc::SYS_setresuid));
        }
    });
}

#[test]
fn no_namespaces() {
    each_user(|user| {
        let expected = message(Step::Clone, "", "No space left on device");
        let script = "echo 0 > /proc/sys/user/max_pid_namespaces && exec \"$@\"";
        let proof = user.home.join(format!("ran-{}", rand()));
        let mut command = user.command("unshare");
        command
            .args(["-Ur", "sh", "-c", script, "sh"])
            .arg(&user.sandbox);
        command.args(["--", "touch"]).arg(&proof);
        let output = command.output().expect("unshare is there");
        let said = text(&output.stderr);
        assert_eq!(
            said.lines().next(),
            Some(&*expected),
            "as {}: {said}",
            user.name
        );
        assert!(
            said.contains("max_pid_namespaces"),
            "the hint names it: {said}"
        );
        assert_eq!(output.status.code(), Some(125), "as {}", user.name);
        assert!(!proof.exists(), "as {}: the command has run", user.name);
    });
}

#[test]
fn ids_not_mapped() {
    each_user(|user| {
        let script = "mount -t tmpfs none /proc && exec \"$@\"";
        let said = fails_within(user, &["-Urm", "sh", "-c", script, "sh"]);
        let expected = message(Step::IdMaps, "", "No such file or directory");
        begins_with_line(user, &said, &expected);
        assert!(
            said.contains("there is no /proc here"),
            "as {}: {said}",
            user.name
        );
    });
}

#[test]
fn a_program_in_a_covered_directory_is_told_what_covers_it() {
    each_user(|user| {
        let tool = PathBuf::from(format!("/tmp/tool-{}-{}", user.uid, rand()));
        fs::write(&tool, "#!/bin/sh\necho ran\n").expect("/tmp is writable");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("ours");
        let word = tool.to_str().expect("UTF-8");
        let run = |options: &[&str]| user.output(&[options, &["--", word]].concat());
        let covered = run(&["--policy", "strict"]);
        let expected = format!(
            "sandbox: cannot execute {word}: No such file or directory\n  hint: /tmp is the sandbox's own, \
             empty at the start: keep it elsewhere, or leave the host's with '--private-tmp=no'"
        );
        assert_eq!(text(&covered.stderr), expected, "as {}", user.name);
        let hidden = run(&["--hide", "/tmp"]);
        assert!(
            text(&hidden.stderr).ends_with("hint: the policy hides /tmp: keep it elsewhere"),
            "as {}: {}",
            user.name,
            text(&hidden.stderr)
        );
        // The control: what the hint says helps.
        let output = run(&["--policy", "strict", "--private-tmp=no"]);
        assert_eq!(success(user, &output), "ran", "as {}", user.name);
        fs::remove_file(&tool).expect("ours");
    });
}

#[test]
fn a_read_only_proc_is_named_where_ids_cannot_be_mapped() {
    each_user(|user| {
        let script = "mount -o remount,bind,ro /proc && exec \"$@\"";
        let within = ["-Urmpf", "--mount-proc", "sh", "-c", script, "sh"];
        let said = fails_within(user, &within);
        let expected = message(Step::IdMaps, "", "Read-only file system");
        begins_with_line(user, &said, &expected);
        assert!(
            said.contains("hint: /proc is mounted read-only here"),
            "{said}"
        );
    });
}

#[test]
fn a_user_namespace_without_ids_is_named() {
    each_user(|user| {
        let said = fails_within(user, &["--user", "--"]);
        let expected = message(Step::Clone, "", "Operation not permitted");
        begins_with_line(user, &said, &expected);
        assert!(
            said.contains("the user namespace around this has no ids mapped; map them"),
            "as {}: {said}",
            user.name
        );
    });
}

#[test]
fn a_missing_proc_is_not_blamed_on_a_descriptor() {
    each_user(|user| {
        let file = user.home.join(format!("input-{}", rand()));
        fs::write(&file, "").expect("home is writable");
        let script = "mount -t tmpfs none /proc && exec \"$@\"";
        let output = user
            .command("unshare")
            .args(["-Urm", "sh", "-c", script, "sh"])
            .arg(&user.sandbox)
            .args(["--", "echo", "ran"])
            .stdin(fs::File::open(&file).expect("it is there"))
            .output()
            .expect("unshare is there");
        fs::remove_file(&file).expect("ours");
        let said = text(&output.stderr);
        let expected = "sandbox: standard input: cannot be looked at: there is no /proc here";
        assert!(said.starts_with(expected), "as {}: {said}", user.name);
        assert_eq!(output.status.code(), Some(125), "as {}", user.name);
        assert_eq!(text(&output.stdout), "");
    });
}

#[test]
fn a_foreign_proc_is_named_where_ids_cannot_be_mapped() {
    each_user(|user| {
        if !user.is_root() {
            return;
        }
        let said = fails_within(user, &["-Urpf", "--"]);
        assert!(
            said.contains("/proc here is another process namespace's"),
            "{said}"
        );
    });
}

#[test]
fn in_firejail_it_is_told_what_refuses_a_sandbox() {
    if !have("firejail") {
        return;
    }
    each_user(|user| {
        // It serves only those of /etc/passwd, of whom the tests' ordinary user is none.
        if !user.is_root() {
            return;
        }
        let firejail = |words: &[&str]| {
            let mut command = user.command("firejail");
            command.args(["--quiet", "--noprofile"]).args(words);
            command.output().expect("firejail is there")
        };
        if !firejail(&["true"]).status.success() {
            skip("firejail", "does not run here");
            return;
        }
        let sandbox = user.sandbox.to_str().expect("text");
        let output = firejail(&[sandbox, "--", "echo", "ran"]);
        let said = text(&output.stderr);
        let hint =
            "hint: this runs inside firejail, which refuses it; start sandbox outside of firejail";
        assert!(said.contains(hint), "{said}");
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert_eq!(text(&output.stdout), "");
    });
}

#[test]
fn root_that_cannot_be_mapped_is_told_why() {
    each_user(|user| {
        if !user.is_root() {
            return;
        }
        let output = user
            .command("setpriv")
            .args(["--bounding-set", "-setfcap", "--"])
            .arg(&user.sandbox)
            .args(["--", "echo", "ran"])
            .output()
            .expect("setpriv is there");
        let said = text(&output.stderr);
        assert!(said.contains("hint: root without CAP_SETFCAP"), "{said}");
        assert_eq!(output.status.code(), Some(125), "{said}");
        assert_eq!(text(&output.stdout), "");
    });
}

#[test]
fn a_limit_of_files_is_named_and_not_the_step_that_met_it() {
    each_user(|user| {
        let launch = |limit: &str, policy: &str| {
            // Nothing is open but 0, 1 and 2, whatever the tests were started with.
            let script = format!(
                "for n in /proc/self/fd/*; do n=${{n##*/}}; [ $n -lt 3 ] || eval \"exec $n>&-\"; done; \
                 {limit}; exec \"$@\""
            );
            let output = user
                .command("bash")
                .args(["-c", &script, "bash"])
                .arg(&user.sandbox)
                .args(["--policy", policy, "--", "echo", "ran"])
                .output();
            output.expect("bash is there")
        };
        for limit in [5_u64, 10] {
            let output = launch(&format!("ulimit -S -n {limit}"), "default");
            let said = text(&output.stderr);
            let expected = format!(
                "Too many open files\n  hint: the limit on open files is {limit}, and a launch takes \
                 up to 21 besides those that are open: raise it, with 'ulimit -n {}'",
                limit + 21
            );
            assert!(
                said.ends_with(&expected),
                "as {}, {limit}: {said}",
                user.name
            );
            assert_eq!(output.status.code(), Some(125), "as {}", user.name);
            assert_eq!(text(&output.stdout), "");
        }
        // What the hint says is so: 21 besides 0, 1 and 2.
        for policy in ["default", "strict", "build", "agent", "browser"] {
            let output = launch("ulimit -n 24", policy);
            let said = text(&output.stderr);
            assert_eq!(
                text(&output.stdout),
                "ran",
                "as {}, {policy}: {said}",
                user.name
            );
        }
    });
}

#[test]
fn nested_user_namespaces_not_forbidden() {
    each_user(|user| {
        let script =
            "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
        let run = |options: &[&str]| {
            let mut command = user.command("unshare");
            command.args(["-Urm", "sh", "-c", script, "sh"]);
            command.arg(&user.sandbox).args(options);
            let output = command.args(["--", "echo", "ran"]).output();
            output.expect("unshare is there")
        };
        // As the hint says, one may do without, and is told.
        let output = run(&["--best-effort"]);
        let said = text(&output.stderr);
        assert_eq!(text(&output.stdout), "ran", "as {}: {said}", user.name);
        let lost = "lost=\"forbid-nested-user-namespaces: ";
        assert!(said.contains(lost), "as {}: {said}", user.name);
        let output = run(&[]);
        let said = text(&output.stderr);
        let expected = message(Step::ForbidUserNamespaces, "", "Read-only file system");
        assert_eq!(
            said.lines().next(),
            Some(&*expected),
            "as {}: {said}",
            user.name
        );
        assert_eq!(output.status.code(), Some(125), "as {}", user.name);
        assert_eq!(text(&output.stdout), "");
    });
}

/// What nobody asked for is left; a published port that no server could bind is an error.
#[test]
fn low_ports_that_are_needed_not_opened() {
    each_user(|user| {
        let script = "mount --bind /proc/sys/net /proc/sys/net && \
                      mount -o remount,bind,ro /proc/sys/net && exec \"$@\"";
        let run = |publish: &str| {
            let options = ["-q", "--proc", "host", "--publish", publish];
            let output = user
                .command("unshare")
                .args(["-Urm", "sh", "-c", script, "sh"])
                .arg(&user.sandbox)
                .args(options)
                .args(["--", "echo", "ran"])
                .output();
            output.expect("unshare is there")
        };
        assert_eq!(text(&run("0:1024").stdout), "ran", "as {}", user.name);
        let output = run("0:1023");
        let said = text(&output.stderr);
        let expected = message(Step::LowPorts, "", "Read-only file system");
        let first = said.lines().next();
        assert_eq!(first, Some(&*expected), "as {}: {said}", user.name);
        assert!(said.contains("--cap-add NET_BIND_SERVICE"), "{said}");
        assert_eq!(output.status.code(), Some(125), "as {}", user.name);
        assert_eq!(text(&output.stdout), "");
    });
}

#[test]
fn no_such_network_to_join() {
    each_user(|user| {
        let options = ["--net", "ns:/proc/self/ns/uts"];
        // An ordinary user is asked for CAP_SYS_ADMIN before the kind is looked at… or after.
        let reason = if user.is_root() {
            "Invalid argument"
        } else {
            "Operation not permitted"
        };
        let object = "/proc/self/ns/uts";
        let output = user.output(&["-q", options[0], options[1], "--", "echo", "ran"]);
        let said = text(&output.stderr);
        let either = [
            message(Step::JoinNetwork, object, reason),
            message(Step::JoinNetwork, object, "Invalid argument"),
        ];
        let first = said.lines().next().unwrap_or_default().to_owned();
        assert!(either.contains(&first), "as {}: {said}", user.name);
        assert_eq!(output.status.code(), Some(125), "as {}", user.name);
        assert_eq!(text(&output.stdout), "");
    });
}

#[test]
fn limit_not_set() {
    each_user(|user| {
        let expected = message(Step::Limits, "nofile", "Operation not permitted");
        fails(user, &["--limit", "nofile=1:99999999"], &expected, |_| {});
    });
}

/// Starts nine processes, and says so when it could.
const MANY: &str = "for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done 2>/dev/null; echo all";

#[test]
fn a_limit_of_processes_holds_or_is_refused() {
    let map = fs::read_to_string("/proc/self/uid_map").expect("there is /proc");
    let first = map.split_whitespace().eq(["0", "0", "4294967295"]);
    each_user(|user| {
        let run = |options: &[&str]| user.output(&[options, &["--", "sh", "-c", MANY]].concat());
        let held = |output: &Output| {
            assert_eq!(text(&output.stdout), "", "as {}", user.name);
            let status = output.status.code();
            assert!(
                status.is_some_and(|code| code != 0 && code != 125),
                "as {}: {status:?}: {}",
                user.name,
                text(&output.stderr)
            );
        };
        assert_eq!(text(&run(&[]).stdout), "all", "as {}", user.name);
        if !user.is_root() {
            held(&run(&["--limit", "nproc=5"]));
            // Root of a user namespace is an ordinary user to the limit.
            let inside = user
                .command("unshare")
                .arg("-Ur")
                .arg(&user.sandbox)
                .args(["--limit", "nproc=5", "--", "sh", "-c", MANY])
                .output();
            held(&inside.expect("unshare is there"));
            return;
        }
        held(&run(&["--user", "65534", "--limit", "nproc=5"]));
        if !first {
            skip("root and nproc", "root is an ordinary user here");
            return;
        }
        for options in [
            &["--limit", "nproc=5"][..],
            &["--limit=nproc=5", "--user=0"],
        ] {
            let output = run(options);
            assert_eq!(
                text(&output.stderr),
                "sandbox: this host cannot give --limit nproc=5: the kernel exempts root from it\n  \
                 hint: '--cgroup pids=5' holds root too; or run the command as another user (--user)"
            );
            assert_eq!(output.status.code(), Some(125));
            assert_eq!(text(&output.stdout), "");
        }
        // Who gives up protection is told.
        let output = run(&["--best-effort", "--limit", "nproc=5"]);
        assert_eq!(text(&output.stdout), "all");
        let said = text(&output.stderr);
        assert!(
            said.contains("limits.nproc: the kernel exempts root from it"),
            "{said}"
        );
        // Whom a server becomes with the capability that it keeps is held.
        if !have("python3") {
            return;
        }
        let become_another = |options: &[&str]| {
            let become_it =
                "import os, sys; os.setuid(65534); os.execvp('sh', ['sh', '-c', sys.argv[1]])";
            let keeping = [
                "--cap-add",
                "SETUID",
                "--",
                "python3",
                "-c",
                become_it,
                MANY,
            ];
            user.output(&[options, &keeping].concat())
        };
        assert_eq!(text(&become_another(&[]).stdout), "all");
        held(&become_another(&["--limit", "nproc=5"]));
    });
}

#[test]
fn directory_not_changed_to() {
    each_user(|user| {
        let expected = message(Step::Chdir, "/nonexistent", "No such file or directory");
        fails(user, &["--chdir", "/nonexistent"], &expected, |_| {});
    });
}

#[test]
fn command_not_executed() {
    each_user(|user| {
        let program = |name: &str, content: &str| {
            let path = user.home.join(format!("{name}-{}", rand()));
            fs::write(&path, content).expect("home is writable");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
            path
        };
        let run = |path: &Path| {
            let output = user.output(&["--", path.to_str().expect("text")]);
            fs::remove_file(path).expect("ours");
            (output.status.code(), text(&output.stderr))
        };
        let lost = program("lost", "#!/nonexistent/interpreter\n");
        let (code, said) = run(&lost);
        assert_eq!(code, Some(127), "as {}: {said}", user.name);
        let expected = format!("sandbox: cannot execute {}: No such file", lost.display());
        assert!(said.starts_with(&expected), "{said}");
        assert!(
            said.contains("its interpreter /nonexistent/interpreter,"),
            "the hint says which: {said}"
        );
        let foreign = program("foreign", "#! /bin/sh\r\necho ran\r\n");
        let (code, said) = run(&foreign);
        assert_eq!(code, Some(127), "as {}: {said}", user.name);
        assert!(said.contains("ends in a carriage return"), "{said}");
        let noise = program("noise", "no program at all\n");
        let (code, said) = run(&noise);
        assert_eq!(code, Some(126), "as {}: {said}", user.name);
        let expected = format!(
            "sandbox: cannot execute {}: Exec format error",
            noise.display()
        );
        assert!(said.starts_with(&expected), "{said}");
    });
}

/// What a word that names no program was meant as, with the control that the right word is run.
#[test]
fn a_command_that_is_not_found_is_explained() {
    each_user(|user| {
        let place = user.home.join(format!("words-{}", rand()));
        let closed = place.join("closed");
        fs::create_dir_all(&closed).expect("home is writable");
        for path in [place.join("tool"), closed.join("tool")] {
            fs::write(&path, "#!/bin/sh\necho ran\n").expect("home is writable");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        }
        std::os::unix::fs::symlink("nowhere", place.join("link")).expect("home is writable");
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).expect("ours");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("ours");
        let run = |word: &str| {
            let mut command = user.sandbox(&["--", word]);
            let output = command.current_dir(&place).output().expect("it starts");
            (
                output.status.code(),
                text(&output.stderr),
                text(&output.stdout),
            )
        };
        let shown = place.display();
        assert_eq!(run("./tool"), (Some(0), String::new(), "ran".to_owned()));
        for (word, status, said) in [
            (
                "tool",
                127,
                format!(
                    "tool: command not found\n  hint: a file of this name is in {shown}; 'sandbox -- ./tool'"
                ),
            ),
            (
                "./link",
                127,
                "./link: command not found\n  hint: it is a link to nowhere, which is not there"
                    .to_owned(),
            ),
            ("./none", 127, "./none: command not found".to_owned()),
        ] {
            let expected = (Some(status), format!("sandbox: {said}"), String::new());
            assert_eq!(run(word), expected, "as {}", user.name);
        }
        let (status, said, _) = run("./closed/tool");
        let expected =
            format!("sandbox: cannot execute {shown}/closed/tool: Permission denied\n  hint: ");
        assert!(said.starts_with(&expected), "as {}: {said}", user.name);
        assert!(
            said.contains("closed to this user"),
            "as {}: {said}",
            user.name
        );
        assert_eq!(status, Some(126), "as {}", user.name);
        fs::remove_dir_all(&place).expect("ours");
    });
}

#[test]
fn a_working_directory_that_is_gone_is_told_with_what_to_do() {
    each_user(|user| {
        let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
        let output = user
            .command("sh")
            .args(["-c", script, "sh"])
            .arg(&user.sandbox)
            .args(["--", "echo", "ran"])
            .current_dir(&user.home)
            .output()
            .expect("sh is there");
        assert_eq!(
            text(&output.stderr),
            "sandbox: cannot find the working directory: No such file or directory\n  \
             hint: it was removed, or is closed to this user: change to another one first"
        );
        assert_eq!(output.status.code(), Some(125), "as {}", user.name);
    });
}

#[test]
fn no_step_is_forgotten() {
    let alone = [
        Step::JoinNetwork,
        Step::Clone,
        Step::IdMaps,
        Step::ForbidUserNamespaces,
        Step::LowPorts,
        Step::Limits,
        Step::Chdir,
        Step::Identity,
        Step::Exec,
    ];
    // The second clone3 looks like the first to a filter, its flags being in memory, and no limit of
    // the kernel lets one of the two pass for root.
    let cannot = [Step::CloneCommand];
    // Only a broker's sandbox does it: src/broker/keeper/tests.rs. Only `netns exec`: tests/netns.rs.
    let elsewhere = [Step::Receive, Step::Files];
    for step in Step::ALL {
        let ways = [IN_TABLE, &alone, &cannot, &elsewhere]
            .into_iter()
            .filter(|list| list.contains(step));
        assert_eq!(ways.count(), 1, "{step:?}");
    }
}
