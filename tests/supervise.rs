//! What a caller sees of a command in a sandbox: its status, its signals, its streams, its end.
//!
//! Waiting is by end of file: whatever holds the write end of the command's standard output is alive,
//! so a pipe that has ended proves that nothing of the sandbox is. No sleep stands for an event.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;
use serde_json::Value;
use support::{FILLED, User, each_user, have, skip, success, text};

/// How long anything that must end may take: only a failure ever waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is left to read until every writer is gone.
#[track_caller]
fn to_the_end(mut pipe: impl Read + AsFd) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut read = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).expect("it is short");
        let ready = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], timeout);
        assert_eq!(ready, Ok(1), "something is still alive: {}", text(&read));
        let mut chunk = [0; 4096];
        match pipe.read(&mut chunk).expect("a pipe can be read") {
            0 => return text(&read),
            length => read.extend_from_slice(&chunk[..length]),
        }
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid"))
}

/// Start `command` with its standard output to be read.
fn started(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary can be started");
    let stdout = child.stdout.take().expect("it is piped");
    (child, BufReader::new(stdout))
}

/// The next line of `stdout`.
fn line(stdout: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a pipe can be read");
    line.trim_end().to_owned()
}

/// A shell that sets things up and then becomes `sandbox` with `arguments`.
fn by_shell(user: &User, setup: &str, arguments: &[&str]) -> Command {
    let mut shell = user.command("/bin/sh");
    shell
        .args(["-c", &format!("{setup} exec \"$0\" \"$@\"")])
        .arg(&user.sandbox)
        .args(arguments);
    shell
}

fn script<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [options, &["--", "/bin/sh", "-c", script]].concat()
}

fn run(user: &User, options: &[&str], command: &str) -> Output {
    let words = script(options, command);
    user.output(&words)
}

/// A file name of the test's own that does not exist.
fn fresh(user: &User, name: &str) -> PathBuf {
    let path = user.home.join(format!("{name}-{}", std::process::id()));
    if let Err(error) = fs::remove_file(&path) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }
    path
}

// ---- Its status ----

#[test]
fn the_status_is_the_commands_own() {
    each_user(|user| {
        for status in [0, 1, 7, 123, 124, 125, 255] {
            let output = run(user, &[], &format!("exit {status}"));
            assert_eq!(output.status.code(), Some(status), "as {}", user.name);
            assert_eq!(text(&output.stderr), "", "as {}", user.name);
        }
    });
}

#[test]
fn the_status_is_the_commands_own_without_an_init_too() {
    each_user(|user| {
        let output = run(user, &["--as-pid-1"], "exit 7");
        assert_eq!(output.status.code(), Some(7), "as {}", user.name);
    });
}

#[test]
fn death_by_a_signal_is_128_and_its_number() {
    each_user(|user| {
        for (signal, status) in [("TERM", 143), ("KILL", 137), ("SEGV", 139), ("HUP", 129)] {
            let output = run(user, &[], &format!("kill -{signal} $$"));
            assert_eq!(output.status.code(), Some(status), "as {}", user.name);
        }
    });
}

#[test]
fn the_status_is_right_where_the_caller_ignores_sigchld() {
    each_user(|user| {
        for options in [&[][..], &["-q", "--as-pid-1"]] {
            let output = user
                .command("/usr/bin/env")
                .arg("--ignore-signal=CHLD")
                .arg(&user.sandbox)
                .args(script(options, "exit 7"))
                .output()
                .expect("env can be started");
            let said = text(&output.stderr);
            let status = output.status.code();
            assert_eq!(status, Some(7), "as {}, {options:?}: {said}", user.name);
        }
    });
}

#[test]
fn death_by_sigsys_is_told_apart() {
    each_user(|user| {
        let events = fresh(user, "events-sigsys");
        let target = events.to_str().expect("it is text").to_owned();
        let output = run(user, &["--events", &target], "kill -SYS $$");
        assert_eq!(output.status.code(), Some(159), "as {}", user.name);
        assert!(
            text(&output.stderr).contains("killed by the system-call filter"),
            "as {}: {}",
            user.name,
            text(&output.stderr)
        );
        let refused = events_of(&events, "refused");
        assert_eq!(refused["by"], "filter");
        assert_eq!(refused["profile"], "default");
        let exit = events_of(&events, "exit");
        assert_eq!(exit["killed_by_filter"], true);
        assert_eq!(exit["signal"], 31);
    });
}

// ---- Its time ----

#[track_caller]
fn times_out(options: &[&str], command: &str) {
    each_user(|user| {
        let mut all = vec!["--timeout", "100ms", "--kill-after", "100ms"];
        all.extend(options);
        let words = script(&all, command);
        let mut launch = user.command(&user.sandbox);
        let (mut child, stdout) = started(launch.args(words).stderr(Stdio::null()));
        to_the_end(stdout.into_inner());
        let status = child.wait().expect("it is ours");
        assert_eq!(status.code(), Some(124), "as {}", user.name);
    });
}

#[test]
fn a_command_whose_time_is_over_is_ended_with_124() {
    times_out(&[], "sleep 1000");
}

#[test]
fn a_command_that_fills_standard_error_has_no_more_time() {
    const REFUSED: &str = r#"
import socket, time
for port in range(1, 9):
    try:
        socket.create_connection(("192.0.2.2", port))
    except OSError as e:
        print(e.errno, flush=True)
time.sleep(45)
"#;
    each_user(|user| {
        let options = [
            "--timeout",
            "2s",
            "--kill-after",
            "100ms",
            "--allow",
            "192.0.2.1:80",
        ];
        let mut launch = user.command(&user.sandbox);
        let program = format!("{FILLED}{REFUSED}");
        launch.args(options).args(["--", "python3", "-c", &program]);
        let (mut child, stdout) = started(launch.stderr(Stdio::piped()));
        // Nobody reads what it says of its refusals.
        let out = to_the_end(stdout.into_inner());
        assert_eq!(out.trim(), ["111"; 8].join("\n"), "as {}", user.name);
        let status = child.wait().expect("it is ours");
        assert_eq!(status.code(), Some(124), "as {}", user.name);
    });
}

#[test]
fn a_command_that_ignores_sigterm_is_killed() {
    times_out(&[], "trap '' TERM; while :; do :; done");
}

#[test]
fn a_command_that_stops_itself_has_no_more_time() {
    times_out(&[], "kill -STOP $$");
}

#[test]
fn a_command_that_went_into_another_session_has_no_more_time() {
    times_out(
        &[],
        "trap '' TERM HUP; setsid sleep 1000 & wait; while :; do :; done",
    );
}

#[test]
fn time_is_over_for_a_command_that_is_pid_1_too() {
    times_out(&["--as-pid-1"], "sleep 1000");
}

// ---- Its signals ----

#[test]
fn each_signal_sent_to_the_launcher_reaches_the_command_once() {
    const SIGNALS: &[Signal] = &[
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGWINCH,
        Signal::SIGTSTP,
        Signal::SIGALRM,
    ];
    each_user(|user| {
        let mut traps = String::new();
        for signal in SIGNALS {
            let name = signal.as_str().trim_start_matches("SIG");
            traps.push_str(&format!("trap 'echo {}' {name}; ", signal.as_str()));
        }
        // A trap ends the wait at once; the pipe's other end is the test's word that all is sent.
        let body = format!(
            "{traps} trap 'kill $idle; exit 9' USR2; sleep 1000 & idle=$!; echo ready; while :; do wait; done"
        );
        let mut launch = user.command(&user.sandbox);
        let (mut child, mut stdout) = started(launch.args(script(&[], &body)));
        assert_eq!(line(&mut stdout), "ready", "as {}", user.name);
        for &signal in SIGNALS {
            kill(pid_of(&child), signal).expect("it is ours");
            assert_eq!(line(&mut stdout), signal.as_str(), "as {}", user.name);
        }
        kill(pid_of(&child), Signal::SIGUSR2).expect("it is ours");
        assert_eq!(line(&mut stdout), "", "one came twice, as {}", user.name);
        let status = child.wait().expect("it is ours");
        assert_eq!(status.code(), Some(9), "as {}", user.name);
    });
}

#[test]
fn a_stopped_command_goes_on_when_the_launcher_is_continued() {
    each_user(|user| {
        // Each stop is its own: the second SIGCONT is about the second one.
        let body = "echo ready; kill -STOP $$; echo again; kill -STOP $$; echo done; exit 7";
        let mut launch = user.command(&user.sandbox);
        let (mut child, mut stdout) = started(launch.args(script(&[], body)));
        let deadline = Instant::now() + PATIENCE;
        for expected in ["ready", "again", "done"] {
            while !is_readable(&stdout) {
                assert!(Instant::now() < deadline, "as {}: it stays", user.name);
                kill(pid_of(&child), Signal::SIGCONT).expect("it is ours");
            }
            assert_eq!(line(&mut stdout), expected, "as {}", user.name);
        }
        let status = child.wait().expect("it is ours");
        assert_eq!(status.code(), Some(7), "as {}", user.name);
    });
}

/// Nobody reads of stops where there is no terminal: what the init says of them must not fill its
/// socket, or it would hang, and never tell of the end.
#[test]
fn a_command_may_be_stopped_any_number_of_times() {
    let stopper = "import os, signal, sys
command = os.getppid()
stopped = lambda: open(f'/proc/{command}/stat').read().rsplit(')', 1)[1].split()[0] == 'T'
for _ in range(1000):
    os.kill(command, signal.SIGSTOP)
    while not stopped(): pass
    os.kill(command, signal.SIGCONT)
";
    each_user(|user| {
        let body = format!("python3 -c \"{stopper}\"; echo done; exit 7");
        let mut launch = user.command(&user.sandbox);
        launch.env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        launch.stderr(Stdio::piped());
        let (mut child, stdout) = started(launch.args(script(&[], &body)));
        assert_eq!(to_the_end(stdout.into_inner()), "done", "as {}", user.name);
        // The launcher holds it to its own end.
        let stderr = child.stderr.take().expect("it is piped");
        assert_eq!(to_the_end(stderr), "", "as {}", user.name);
        let status = child.wait().expect("it is ours");
        assert_eq!(status.code(), Some(7), "as {}", user.name);
    });
}

/// Whether there is a line to read, or will be within a moment.
fn is_readable(stdout: &BufReader<ChildStdout>) -> bool {
    let mut watched = [PollFd::new(stdout.get_ref().as_fd(), PollFlags::POLLIN)];
    !stdout.buffer().is_empty() || poll(&mut watched, 10_u8) == Ok(1)
}

#[test]
fn the_mask_and_the_ignored_signals_are_the_callers() {
    const SETTING: &[&str] = &["--ignore-signal=PIPE,USR2,CHLD", "--block-signal=USR1,TERM"];
    let lines = |output: &Output, user: &User| -> Vec<String> {
        let status = success(user, output);
        let wanted = |line: &&str| line.starts_with("SigBlk") || line.starts_with("SigIgn");
        status.lines().filter(wanted).map(str::to_owned).collect()
    };
    each_user(|user| {
        let mut outside = user.command("/usr/bin/env");
        outside.args(SETTING).args(["cat", "/proc/self/status"]);
        let mut inside = user.command("/usr/bin/env");
        inside.args(SETTING).arg(&user.sandbox);
        inside.args(["--", "cat", "/proc/self/status"]);
        let outside = lines(&outside.output().expect("env can be started"), user);
        let inside = lines(&inside.output().expect("env can be started"), user);
        assert!(
            outside
                .iter()
                .any(|line| !line.ends_with("0000000000000000")),
            "env did nothing"
        );
        assert_eq!(inside, outside, "as {}", user.name);
    });
}

// ---- Its end ----

#[test]
fn a_daemon_dies_with_the_command() {
    each_user(|user| {
        let body = "(trap '' TERM HUP; setsid sleep 1000 &) ; echo started";
        let mut launch = user.command(&user.sandbox);
        let (mut child, stdout) = started(launch.args(script(&[], body)));
        assert_eq!(
            to_the_end(stdout.into_inner()),
            "started",
            "as {}",
            user.name
        );
        assert!(child.wait().expect("it is ours").success());
    });
}

/// Waits until `holds`, for what comes a moment after the command's first word.
#[track_caller]
fn soon(holds: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{}", otherwise());
        std::thread::yield_now();
    }
}

#[test]
fn the_waiting_launcher_and_the_init_are_confined_and_the_init_holds_nothing() {
    each_user(|user| {
        let mut command = user.sandbox(&script(&[], "echo up; read end"));
        let (mut child, mut stdout) = started(command.stdin(Stdio::piped()));
        assert_eq!(line(&mut stdout), "up");
        let launcher = child.id().to_string();
        let children = format!("/proc/{launcher}/task/{launcher}/children");
        let init = fs::read_to_string(children).expect("it runs");
        let init = init.trim().to_owned();
        let status = |pid: &str, field: &str| {
            let page = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            let mut lines = page.lines().filter_map(|line| line.split_once(':'));
            let found = lines.find(|(name, _)| *name == field);
            found.expect("the kernel has it").1.trim().to_owned()
        };
        // A filter and capabilities are each thread's own.
        let threads = || {
            let tasks = fs::read_dir(format!("/proc/{launcher}/task")).expect("it runs");
            let names = tasks.flatten().map(|task| task.file_name());
            let names = names.map(|name| format!("{launcher}/task/{}", name.display()));
            names.collect::<Vec<_>>()
        };
        let launchers = threads().into_iter().map(|task| ("launcher", task));
        for (who, pid) in launchers.chain([("init", init.clone())]) {
            let pid = &pid;
            for (field, value) in [
                ("Seccomp", "2"),
                ("NoNewPrivs", "1"),
                ("CapEff", "0000000000000000"),
                ("CapPrm", "0000000000000000"),
                ("CapInh", "0000000000000000"),
                ("CapAmb", "0000000000000000"),
            ] {
                let is = || status(pid, field);
                let said = || format!("{who} as {}: {field} is {}", user.name, is());
                soon(|| is() == value, said);
            }
            // A process that cannot be dumped is root's in /proc, whosever it is (proc(5)).
            let owner = fs::metadata(format!("/proc/{pid}/environ")).expect("it runs");
            assert_eq!(owner.uid(), 0, "{who} as {}", user.name);
        }
        // Root alone may look.
        if let Ok(entries) = fs::read_dir(format!("/proc/{init}/fd")) {
            let links = entries.flatten().map(|entry| fs::read_link(entry.path()));
            let mut kinds: Vec<String> = links
                .flatten()
                .map(|link| link.display().to_string())
                .map(|link| link.split('[').next().unwrap_or_default().to_owned())
                .collect();
            kinds.sort();
            // What it reads signals from, and its way to the supervisor.
            assert_eq!(kinds, ["anon_inode:", "socket:"], "as {}", user.name);
            let directory = fs::read_link(format!("/proc/{init}/cwd")).expect("it runs");
            assert_eq!(directory, Path::new("/"), "as {}", user.name);
            let variables = fs::read(format!("/proc/{init}/environ")).expect("it runs");
            assert!(variables.is_empty(), "as {}", user.name);
        }
        drop(child.stdin.take());
        child.wait().expect("it was started here");
    });
}

#[test]
fn the_groups_of_root_do_not_get_in() {
    if !have("setpriv") {
        return;
    }
    each_user(|user| {
        // An ordinary user's stay: setgroups(2) is refused in a user namespace of one's own.
        if !user.is_root() {
            return;
        }
        let groups = |program: &str, words: &[&str]| {
            let mut command = user.command("setpriv");
            command.args(["--groups", "0,7,12345", program]).args(words);
            success(user, &command.output().expect("setpriv can be started"))
        };
        assert_eq!(groups("id", &["-G"]), "0 7 12345");
        let sandbox = user.sandbox.to_str().expect("text");
        assert_eq!(groups(sandbox, &["--", "id", "-G"]), "0");
    });
}

#[test]
fn nothing_outlives_a_killed_launcher() {
    each_user(|user| {
        for options in [&[][..], &["--as-pid-1"], &["--new-session"]] {
            let body = "trap '' TERM HUP; sleep 1000 & setsid sleep 1000 & echo ready; wait; wait";
            let mut launch = user.command(&user.sandbox);
            let (mut child, mut stdout) = started(launch.args(script(options, body)));
            assert_eq!(line(&mut stdout), "ready", "as {}", user.name);
            child.kill().expect("it is ours");
            to_the_end(stdout.into_inner());
            child.wait().expect("it is ours");
        }
    });
}

#[test]
fn nothing_outlives_a_launcher_killed_where_sigchld_is_ignored() {
    each_user(|user| {
        let mut launch = user.command("/usr/bin/env");
        launch.arg("--ignore-signal=CHLD").arg(&user.sandbox);
        let body = "setsid sleep 1000 & echo ready; sleep 1000";
        let (mut child, mut stdout) = started(launch.args(script(&[], body)));
        assert_eq!(line(&mut stdout), "ready", "as {}", user.name);
        child.kill().expect("it is ours");
        to_the_end(stdout.into_inner());
        child.wait().expect("it is ours");
    });
}

/// The moment is random on purpose: between the launcher's first instruction and the command's.
#[test]
fn nothing_outlives_a_launcher_killed_at_any_moment_of_the_launch() {
    each_user(|user| {
        let mut seed = u64::from(std::process::id()) | 1;
        for round in 0..200 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let moment = Duration::from_micros(seed % 12_000);
            let mut launch = user.command(&user.sandbox);
            let (mut child, stdout) = started(launch.args(["--", "/bin/sleep", "1000"]));
            let began = Instant::now();
            while began.elapsed() < moment {
                std::hint::spin_loop();
            }
            child.kill().expect("it is ours");
            to_the_end(stdout.into_inner());
            let status = child.wait().expect("it is ours");
            assert!(!status.success(), "round {round}, as {}", user.name);
        }
    });
}

#[test]
fn orphans_are_reaped_inside() {
    each_user(|user| {
        // Two hundred orphans end; then no zombie is left but one that ends this very moment.
        let body = "i=0; while [ $i -lt 200 ]; do (true &) ; i=$((i+1)); done; n=99; t=0
            while [ $n -gt 0 ] && [ $t -lt 1000 ]; do
                n=$(cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '); t=$((t+1)); done
            echo $n";
        let output = run(user, &[], body);
        assert_eq!(success(user, &output), "0", "as {}", user.name);
    });
}

// ---- Its streams and descriptors ----

#[test]
fn a_large_stream_passes_through_unharmed() {
    each_user(|user| {
        let mut launch = user.sandbox(&["--", "cat"]);
        let mut child = launch
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let sent: Vec<u8> = (0..16_u32 << 20).map(|at| (at % 251) as u8).collect();
        let mut stdin = child.stdin.take().expect("it is piped");
        let (sent, received) = std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                stdin.write_all(&sent).expect("cat reads all");
                sent
            });
            let mut received = Vec::new();
            let mut stdout = child.stdout.take().expect("it is piped");
            stdout.read_to_end(&mut received).expect("it can be read");
            (writer.join().expect("it does not panic"), received)
        });
        assert!(
            received == sent,
            "{} bytes, as {}",
            received.len(),
            user.name
        );
        assert!(child.wait().expect("it is ours").success());
    });
}

#[test]
fn large_arguments_and_environments_arrive_whole() {
    each_user(|user| {
        let large = "x".repeat(100_000);
        let mut launch =
            user.sandbox(&["--", "/bin/sh", "-c", "echo $# ${#1} ${#9} ${#LARGE}", "sh"]);
        launch.args(vec![&large; 14]).env("LARGE", &large);
        let printed = success(user, &launch.output().expect("the binary can be started"));
        assert_eq!(printed, "14 100000 100000 100000", "as {}", user.name);
    });
}

#[test]
fn closed_standard_descriptors_are_the_null_device() {
    each_user(|user| {
        let body = "for n in 0 1 2; do test -c /proc/self/fd/$n || exit 1; done; exit 7";
        let words = script(&[], body);
        let mut launch = by_shell(user, "exec 0<&- 1>&- 2>&-;", &words);
        let status = launch.status().expect("sh can be started");
        assert_eq!(status.code(), Some(7), "as {}", user.name);
    });
}

#[test]
fn descriptors_that_nobody_passed_are_closed() {
    each_user(|user| {
        let list = "ls /proc/$$/fd; exit 0";
        let setup = "exec 5</etc/passwd 9</etc/group;";
        let outside = user
            .command("/bin/sh")
            .args(["-c", &format!("{setup} {list}")])
            .output()
            .expect("sh can be started");
        let outside = success(user, &outside);
        assert!(outside.lines().any(|number| number == "9"), "{outside}");
        let words = script(&[], list);
        let inside = by_shell(user, setup, &words).output();
        let inside = success(user, &inside.expect("sh can be started"));
        let numbers: Vec<&str> = inside.split_whitespace().filter(|n| *n != "10").collect();
        assert_eq!(numbers, ["0", "1", "2"], "as {}", user.name);
    });
}

#[test]
fn a_passed_descriptor_is_the_third_and_has_its_name() {
    each_user(|user| {
        let body = "read word <&3; echo $word $LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID == $$))";
        let words = script(&["--pass-fd", "7:words"], body);
        let path = fresh(user, "passed");
        fs::write(&path, "hello\n").expect("there is room");
        let setup = format!("exec 7<{};", path.display());
        let output = by_shell(user, &setup, &words).output();
        let printed = success(user, &output.expect("sh can be started"));
        assert_eq!(printed, "hello 1 words 1", "as {}", user.name);
    });
}

#[test]
fn a_directory_is_no_descriptor_to_pass() {
    each_user(|user| {
        let witness = fresh(user, "witness-directory");
        let body = format!("touch {}", witness.display());
        let words = script(&["--pass-fd", "7"], &body);
        for setup in ["exec 7<.;", "exec 7</proc/self/ns/net;"] {
            let output = by_shell(user, setup, &words).output();
            let output = output.expect("sh can be started");
            assert_eq!(output.status.code(), Some(125), "{setup} as {}", user.name);
            assert!(!witness.exists(), "{setup} as {}: it ran", user.name);
        }
    });
}

#[test]
fn a_device_that_is_no_terminal_is_no_descriptor_to_pass() {
    each_user(|user| {
        // An interface of the host's network, once it is set up; and whichever this user may open.
        let devices = ["/dev/net/tun", "/dev/kmsg", "/dev/fuse", "/dev/kvm"];
        let can = |device: &&&str| {
            let test = format!("exec 7<{device}");
            let tried = user.command("sh").args(["-c", &test]).output();
            tried.is_ok_and(|tried| tried.status.success())
        };
        let Some(device) = devices.iter().find(can) else {
            return support::skip("a device to pass", "this user may open none");
        };
        let run = |options: &[&str], setup: String| {
            let output = by_shell(user, &setup, &script(options, "echo it ran")).output();
            output.expect("sh can be started")
        };
        let passed = format!("exec 7<{device};");
        let input = format!("exec <{device};");
        for (options, setup) in [(&["--pass-fd", "7"][..], &passed), (&[], &input)] {
            let output = run(options, setup.clone());
            let said = support::text(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "as {}: {said}", user.name);
            assert!(said.contains("--allow-unsafe-fd accepts that"), "{said}");
        }
        let accepted = run(&["--pass-fd", "7", "--allow-unsafe-fd"], passed);
        assert!(accepted.status.success(), "as {}: {accepted:?}", user.name);
    });
}

/// A listening socket that `user` may connect to.
fn listening(user: &User, name: &str) -> (UnixListener, String) {
    let path = fresh(user, name);
    let listener = UnixListener::bind(&path).expect("the directory is writable");
    std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).expect("root, or its own");
    (listener, format!("unix:{}", path.display()))
}

#[test]
fn a_connected_socket_is_the_commands_only_way_out() {
    each_user(|user| {
        let (listener, address) = listening(user, "connect");
        let words = script(
            &["--net", "fds", "--connect", &address],
            "echo from inside >&3",
        );
        let mut child = user
            .command(&user.sandbox)
            .args(words)
            .spawn()
            .expect("it starts");
        let (peer, _) = listener.accept().expect("it connects");
        assert_eq!(to_the_end(peer), "from inside", "as {}", user.name);
        assert!(child.wait().expect("it is ours").success());
    });
}

#[test]
fn a_name_of_the_hosts_file_can_be_connected_to() {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    each_user(|user| {
        let connect = |name: &str| {
            let address = format!("tcp:{name}:{port}");
            user.output(&script(&["--connect", &address], "echo from inside >&3"))
        };
        let unknown = connect("nobody.invalid");
        assert_eq!(unknown.status.code(), Some(125), "as {}", user.name);
        assert!(
            text(&unknown.stderr).contains("\"nobody.invalid\" is not in /etc/hosts"),
            "as {}: {}",
            user.name,
            text(&unknown.stderr)
        );
        if !hosts.contains("localhost") {
            return skip("a name for --connect", "localhost is not in /etc/hosts");
        }
        success(user, &connect("localhost"));
        let (peer, _) = listener.accept().expect("it connects");
        assert_eq!(to_the_end(peer), "from inside", "as {}", user.name);
    });
}

#[test]
fn a_socket_can_be_standard_input_and_output() {
    each_user(|user| {
        let (listener, address) = listening(user, "stdin");
        let options = ["--connect", &address, "--stdin-socket"];
        let words = script(&options, "read word; echo \"$word back\"");
        let mut child = user
            .command(&user.sandbox)
            .args(words)
            .spawn()
            .expect("it starts");
        let (mut peer, _) = listener.accept().expect("it connects");
        peer.write_all(b"there and\n").expect("it is connected");
        assert_eq!(to_the_end(peer), "there and back", "as {}", user.name);
        assert!(child.wait().expect("it is ours").success());
    });
}

/// Give the command that runs `body` descriptor `given`, as a broker called `name` does.
fn by_a_broker(user: &User, name: &str, given: std::os::fd::BorrowedFd<'_>, body: &str) -> Output {
    let (listener, address) = listening(user, name);
    let words = script(&["--receive-from", &address], body);
    let child = user
        .command(&user.sandbox)
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let (channel, _) = listener.accept().expect("it connects");
    let rights = [given.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&rights)];
    let payload = [std::io::IoSlice::new(b"x")];
    sendmsg::<()>(
        channel.as_raw_fd(),
        &payload,
        &message,
        MsgFlags::empty(),
        None,
    )
    .expect("it is connected");
    drop(channel);
    child.wait_with_output().expect("it is ours")
}

#[test]
fn a_brokers_descriptor_reaches_the_command() {
    each_user(|user| {
        let (ours, theirs) = UnixStream::pair().expect("a pair can be made");
        let output = by_a_broker(user, "broker", theirs.as_fd(), "echo by the broker >&3");
        drop(theirs);
        assert_eq!(to_the_end(ours), "by the broker", "as {}", user.name);
        assert!(output.status.success(), "as {}: {output:?}", user.name);
    });
}

#[test]
fn a_brokers_descriptor_that_leads_out_is_refused() {
    each_user(|user| {
        for path in ["/", "/proc/self/ns/net", "/proc/self/status"] {
            let file = fs::File::open(path).expect("it is there");
            let output = by_a_broker(user, "bad-broker", file.as_fd(), "echo it ran");
            let said = support::text(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "{path}: {said}");
            assert!(said.contains("--receive-from"), "{path}: {said}");
            assert!(output.stdout.is_empty(), "{path} as {}", user.name);
        }
    });
}

// ---- What is told ----

/// The one line of `file` that tells of `event`.
#[track_caller]
fn events_of(file: &Path, event: &str) -> Value {
    let lines = fs::read_to_string(file).expect("the events were written");
    let mut found = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"))
        .filter(|line| line["event"] == event);
    let one = found
        .next()
        .unwrap_or_else(|| panic!("no {event} in {lines}"));
    assert!(found.next().is_none(), "two of {event} in {lines}");
    assert!(one["time"].is_f64(), "{one}");
    one
}

#[test]
fn start_and_exit_are_told_as_json() {
    each_user(|user| {
        let file = fresh(user, "events");
        let target = file.to_str().expect("it is text").to_owned();
        let output = run(user, &["--events", &target], "exit 7");
        assert_eq!(output.status.code(), Some(7));
        let start = events_of(&file, "start");
        assert!(start["pid"].is_i64(), "{start}");
        assert_eq!(start["plan"]["network"], "loopback");
        let exit = events_of(&file, "exit");
        assert_eq!(exit["status"], 7);
        assert_eq!(exit["timed_out"], false);
        assert_eq!(exit["signal"], Value::Null);
        assert!(exit["seconds"].is_f64(), "{exit}");
    });
}

#[test]
fn a_launch_that_failed_is_told_as_json() {
    each_user(|user| {
        let file = fresh(user, "events-error");
        let target = file.to_str().expect("it is text").to_owned();
        let options = ["--events", &target, "--chdir", "/nonexistent"];
        let output = run(user, &options, "true");
        assert_eq!(output.status.code(), Some(125));
        let error = events_of(&file, "error");
        assert_eq!(error["step"], "Chdir");
        assert_eq!(error["status"], 125);
        assert_eq!(
            error["message"],
            "cannot change to the working directory /nonexistent"
        );
        assert_eq!(error["reason"], "No such file or directory");
        assert!(
            error["hint"]
                .as_str()
                .is_some_and(|hint| hint.contains("--chdir"))
        );
    });
}

#[test]
fn events_that_nobody_could_read_are_refused_beforehand() {
    each_user(|user| {
        // Standard input is /dev/null, open for reading; 99 is not open.
        for (target, hint) in [("fd:0", "reading only"), ("fd:99", "Bad file descriptor")] {
            let output = run(user, &["--events", target], "echo ran");
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "as {}: {said}", user.name);
            assert!(said.contains(hint), "as {}: {said}", user.name);
            assert_eq!(text(&output.stdout), "", "as {}", user.name);
        }
        // The control: standard output can be written to.
        let printed = success(user, &run(user, &["--events", "fd:1"], "echo ran"));
        assert!(printed.contains("\"event\":\"exit\""), "{printed}");
    });
}

/// A full disk ends no command; but who reads the file later must not take it for the whole.
#[test]
fn events_that_cannot_be_written_are_told_once() {
    each_user(|user| {
        let output = run(user, &["--events", "/dev/full"], "echo ran");
        assert_eq!(success(user, &output), "ran", "as {}", user.name);
        let expected = "sandbox: warning: events are lost: they cannot be written \
            reason=\"No space left on device\"";
        assert_eq!(text(&output.stderr), expected, "as {}", user.name);
    });
}

/// What the command can reach belongs to what is written down about it.
#[test]
fn a_plan_names_every_way_through_the_empty_network() {
    each_user(|user| {
        let options = [
            "-q",
            "--allow=a.example:80",
            "--deny=udp://192.0.2.0/24:53",
            "--max-bytes=a.example:80=1M",
            "--max-rate=a.example:80=2K/s",
            "--proxy-env=3129",
            "--inspect",
            "--publish=127.0.0.1:0:8000",
        ];
        let planned = |format: &str| {
            let words = [&options[..], &[format, "--", "true"]].concat();
            success(user, &user.output(&words))
        };
        let plan: Value = serde_json::from_str(&planned("--dry-run=json")).expect("JSON");
        let expected = serde_json::json!({
            "allow": ["a.example:80"],
            "deny": ["udp://192.0.2.0/24:53"],
            "inspect": true,
            "engine": "relay",
            "publish": ["127.0.0.1:0:8000"],
            "max_bytes": {"a.example:80": "1M"},
            "max_rate": {"a.example:80": "2K/s"},
            "proxy_env": 3129,
        });
        assert_eq!(plan["egress"], expected, "as {}", user.name);
        let page = planned("--dry-run");
        for line in [
            "allowed        a.example:80",
            "denied         udp://192.0.2.0/24:53",
            "carried by     relay, TLS and HTTP that name the host only",
            "budget         1M to and from a.example:80",
            "budget         2K/s to and from a.example:80",
            "proxy          at 127.0.0.1:3129 inside",
            "published      port 8000 inside at 127.0.0.1:0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}: {page}");
        }
        // The control: where there is none, none is named.
        let output = user.output(&["--dry-run=json", "--", "true"]);
        let plan: Value = serde_json::from_str(&success(user, &output)).expect("JSON");
        assert_eq!(plan["egress"], Value::Null);
    });
}

#[test]
fn a_dry_run_runs_nothing() {
    each_user(|user| {
        let witness = fresh(user, "witness-dry");
        let body = format!("touch {}", witness.display());
        for option in ["--dry-run", "--dry-run=json"] {
            let output = run(user, &[option], &body);
            assert!(success(user, &output).contains("loopback"));
            assert!(!witness.exists(), "as {}: it ran", user.name);
        }
        // The control: without the option the very same words do run it.
        success(user, &run(user, &[], &body));
        assert!(witness.exists(), "as {}", user.name);
        fs::remove_file(witness).expect("it is there");
    });
}

#[test]
fn a_read_only_tree_keeps_its_place_and_no_other_takes_it() {
    const INSIDE: &str = "
import errno, os
def said(name, act):
    try:
        act()
        print(name, 'OK')
    except OSError as error:
        print(name, errno.errorcode[error.errno])
said('write', lambda: open('a/b/file', 'a'))
said('make', lambda: open('a/b/new', 'w'))
said('write by the link', lambda: open('link', 'a'))
said('move', lambda: os.rename('a/b', 'a/c'))
said('move what is above', lambda: os.rename('a', 'c'))
said('remove the link', lambda: os.unlink('link'))
said('move the link', lambda: os.rename('link', 'c'))
said('move what the link goes through', lambda: os.rename('way', 'c'))
said('write beside', lambda: open('a/beside', 'w'))
";
    each_user(|user| {
        let folder = user.home.join(format!("pinned-{}", std::process::id()));
        let tried = |program: &str, options: &[&str]| {
            let _ = fs::remove_dir_all(&folder);
            let script = "mkdir -p a/b way; echo > a/b/file; ln -s ../a/b/file way/file; ln -s way/file link";
            fs::create_dir_all(&folder).expect("the directory is writable");
            std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid))
                .expect("root, or own");
            let in_folder = |program: &str, arguments: &[&str]| {
                let mut command = user.command(program);
                let output = command.current_dir(&folder).args(arguments).output();
                support::success(user, &output.expect("it can be started"))
            };
            in_folder("sh", &["-c", script]);
            let arguments = [options, &["python3", "-c", INSIDE]].concat();
            in_folder(program, &arguments)
        };
        let sandbox = user.sandbox.to_str().expect("UTF-8");
        let options = ["-q", "--read-only", "a/b", "--read-only", "link", "--"];
        let inside = tried(sandbox, &options);
        let expected = "write EROFS\nmake EROFS\nwrite by the link EROFS\nmove EBUSY\nmove what is above EBUSY\n\
                        remove the link EBUSY\nmove the link EBUSY\nmove what the link goes through EBUSY\n\
                        write beside OK";
        assert_eq!(inside.trim(), expected, "as {}", user.name);
        let outside = tried("env", &[]);
        let moved = "move OK\nmove what is above OK\nremove the link OK";
        assert!(outside.contains(moved), "as {}: {outside}", user.name);
        fs::remove_dir_all(&folder).expect("it is there");
    });
}

#[test]
fn what_is_mounted_below_a_read_only_tree_is_read_only_too() {
    if !support::have("unshare") {
        return;
    }
    each_user(|user| {
        let folder = user.home.join(format!("below-{}", std::process::id()));
        let mount = "mkdir -p \"$0/sub\" && mount -t tmpfs none \"$0/sub\" && exec \"$@\"";
        let tried = |words: &[&str]| {
            let mut command = user.command("unshare");
            command.args(["-Urm", "sh", "-c", mount]).arg(&folder);
            command
                .args(words)
                .args(["sh", "-c", "echo > \"$0/sub/file\""]);
            let output = command.arg(&folder).output().expect("it can be started");
            support::text(&output.stderr)
        };
        let sandbox = user.sandbox.to_str().expect("UTF-8");
        let folder_name = folder.to_str().expect("UTF-8");
        for read_only in [folder_name, "/"] {
            let inside = tried(&[sandbox, "-q", "--read-only", read_only, "--"]);
            assert!(inside.contains("Read-only file system"), "{inside}");
        }
        assert_eq!(tried(&[sandbox, "-q", "--"]), "", "as {}", user.name);
        fs::remove_dir_all(&folder).expect("it is there");
    });
}

#[test]
fn an_agents_command_writes_no_policy_for_the_next_one() {
    const INSIDE: &str = "d=$HOME/.config/sandbox/policies; mv $HOME/.config $HOME/other; mkdir -p $d; \
                          printf '[network]\\nmode = \"host\"\\n' > $d/agent.toml; echo mine > $HOME/project";
    each_user(|user| {
        let home = user.home.join(format!("agent-{}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join(".config")).expect("the directory is writable");
        for path in [home.clone(), home.join(".config")] {
            std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).expect("root, or own");
        }
        let run = |program: &str, options: &[&str]| {
            let mut command = user.command(program);
            command.env("HOME", &home).env_remove("XDG_CONFIG_HOME");
            command.current_dir(&home).args(options);
            support::success(
                user,
                &command
                    .args(["sh", "-c", INSIDE])
                    .output()
                    .expect("it starts"),
            );
        };
        let policy = home.join(".config/sandbox/policies/agent.toml");
        run(
            user.sandbox.to_str().expect("UTF-8"),
            &["-q", "--policy", "agent", "--"],
        );
        assert!(
            !policy.exists() && !home.join("other").exists(),
            "as {}",
            user.name
        );
        assert!(home.join("project").exists());
        run("env", &[]);
        assert!(policy.exists(), "as {}", user.name);
        fs::remove_dir_all(&home).expect("it is there");
    });
}

#[test]
fn another_users_policies_and_sets_are_not_found_by_name() {
    use std::os::unix::fs::{chown, symlink};

    let all = support::users();
    let (Some(root), Some(other)) = (
        all.iter().find(|user| user.is_root()),
        all.iter().find(|user| !user.is_root()),
    ) else {
        return support::skip("another user's policy", "only root can be somebody else");
    };
    // As after 'sudo -E': HOME is still that of who has become root.
    let home = other.home.join(format!("found-{}", std::process::id()));
    let place = home.join(".config/sandbox");
    fs::create_dir_all(place.join("policies")).expect("it works");
    fs::create_dir_all(place.join("sets")).expect("it works");
    let wide = "[network]\nmode = \"host\"\n";
    fs::write(place.join("policies/mine.toml"), wide).expect("it works");
    fs::write(
        place.join("sets/mine.toml"),
        "destinations = [\"192.0.2.1:80\"]\n",
    )
    .expect("it works");
    let theirs = ["policies/mine.toml", "sets/mine.toml"].map(|file| place.join(file));
    let run = |options: &[&str]| {
        let mut command = root.sandbox(&[&["-q"], options, &["--", "true"]].concat());
        command.env("HOME", &home).env_remove("XDG_CONFIG_HOME");
        let output = command.output().expect("it works");
        (output.status.code(), support::text(&output.stderr))
    };
    let named = [&["--policy", "mine"][..], &["--allow", "@mine"]];
    for options in named {
        assert_eq!(run(options), (Some(0), String::new()), "{options:?}");
    }
    for file in &theirs {
        chown(file, Some(other.uid), Some(other.gid)).expect("it works");
    }
    for options in named {
        let (code, said) = run(options);
        assert_eq!(code, Some(125), "{options:?}: {said}");
        assert!(
            said.contains("who would decide what your command may"),
            "{said}"
        );
    }
    // Who names the file itself has read it.
    let path = theirs[0].to_str().expect("it works");
    assert_eq!(run(&["--policy", path]).0, Some(0));
    // A link of theirs to a file of root's that is wide.
    let elsewhere = home.join("wide.toml");
    fs::write(&elsewhere, wide).expect("it works");
    fs::remove_file(&theirs[0]).expect("it works");
    symlink(&elsewhere, &theirs[0]).expect("it works");
    assert_eq!(run(named[0]).0, Some(0));
    std::os::unix::fs::lchown(&theirs[0], Some(other.uid), Some(other.gid)).expect("it works");
    assert_eq!(run(named[0]).0, Some(125));
    fs::remove_dir_all(&home).expect("it works");
}

#[test]
fn under_a_hard_limit_of_no_core_dumps_none_is_asked_for_where_no_handler_is() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").expect("it is there");
    let handled = pattern.starts_with(['|', '@']);
    each_user(|user| {
        let output = user
            .command("sh")
            .args(["-c", "ulimit -c 0; exec \"$@\"", "sh"])
            .arg(&user.sandbox)
            .args(["--", "sh", "-c", "ulimit -Hc"])
            .output()
            .expect("sh is there");
        let said = text(&output.stderr);
        if !handled {
            assert_eq!(text(&output.stdout), "0", "as {}: {said}", user.name);
        } else if !user.is_root() {
            assert_eq!(output.status.code(), Some(125), "as {}: {said}", user.name);
        }
    });
}
