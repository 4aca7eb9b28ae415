//! The builder: what a program that uses the library sees.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use sandbox::{Error, Net, Sandbox, Stdio, Step};

fn shell(script: &str) -> Sandbox {
    let mut sandbox = Sandbox::new("/bin/sh");
    sandbox.arg("-c").arg(script);
    sandbox
}

#[test]
fn output_and_status_come_back() {
    let output = shell("echo out; echo err >&2; exit 7")
        .stdin(Stdio::Null)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        (&b"out\n"[..], &b"err\n"[..])
    );
}

#[test]
fn a_signal_is_told_from_a_status() {
    let status = shell("kill -USR1 $$").status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGUSR1));
}

#[test]
fn the_command_reaches_no_listener_of_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("exec 2>/dev/null; : < /dev/tcp/127.0.0.1/{port} && echo reached");
    // The control: outside it is reached.
    let outside = std::process::Command::new("bash")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert_eq!(outside.stdout, b"reached\n");
    for network in [Net::Loopback, Net::None, Net::Fds] {
        let output = Sandbox::new("bash")
            .args(["-c", &script])
            .net(network)
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn piped_input_is_closed_by_waiting() {
    let mut child = Sandbox::new("cat")
        .stdin(Stdio::Piped)
        .stdout(Stdio::Piped)
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"through").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"through");
}

#[test]
fn a_passed_descriptor_is_number_three_and_named() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let script = "echo $LISTEN_FDS $LISTEN_FDNAMES $1 >&3; test \"$LISTEN_PID\" = $$";
    let mut sandbox = shell(script);
    sandbox
        .args(["sh", "{fd:log}"])
        .pass_fd_named("log", writer);
    assert!(sandbox.status().unwrap().success());
    drop(sandbox);
    let mut written = String::new();
    reader.read_to_string(&mut written).unwrap();
    assert_eq!(written, "1 log 3\n");
}

#[test]
fn a_descriptor_that_leads_out_is_refused() {
    let error = shell("true")
        .pass_fd(std::fs::File::open("/").unwrap())
        .spawn()
        .unwrap_err();
    assert!(matches!(error, Error::Usage { .. }), "{error}");
    assert!(error.to_string().contains("a directory"), "{error}");
}

#[test]
fn an_error_names_its_step() {
    let error = shell("true")
        .current_dir("/nonexistent")
        .spawn()
        .unwrap_err();
    assert_eq!(error.failed_step(), Some(Step::Chdir));
    assert_eq!(error.exit_status(), 125);
    let Error::Step { errno, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(errno, Errno::ENOENT);
    assert!(matches!(
        Sandbox::new("no such program").spawn(),
        Err(Error::NotFound { .. })
    ));
}

#[test]
fn a_dropped_child_is_gone() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let child = shell("setsid sleep 1000 & echo up; sleep 1000")
        .stdout(Stdio::from(writer))
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    reader.read_exact(&mut up).unwrap();
    drop(child);
    // The daemon held the pipe as well.
    assert_eq!(reader.read(&mut up).unwrap(), 0);
}

#[test]
fn kill_and_signal_reach_the_sandbox() {
    let mut child = Sandbox::new("sleep").arg("1000").spawn().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    child.signal(Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
    let mut child = Sandbox::new("sleep").arg("1000").spawn().unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    assert_eq!(
        child.wait().unwrap().signal(),
        Some(libc::SIGKILL),
        "twice the same"
    );
    child.kill().expect("a sandbox that is gone is no error");
}

#[test]
fn a_time_limit_is_kept_while_waiting() {
    let began = Instant::now();
    let status = Sandbox::new("sleep")
        .arg("1000")
        .timeout(Duration::from_millis(50))
        .status();
    assert_eq!(status.unwrap().signal(), Some(libc::SIGTERM));
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn the_environment_is_what_was_asked_for() {
    let output = Sandbox::new("/usr/bin/env")
        .env_clear()
        .env("ONE", "1")
        .env("TWO", "2")
        .env_remove("TWO")
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"ONE=1\n");
}

#[test]
fn many_threads_launch_at_once() {
    let threads: Vec<_> = (0..8)
        .map(|number: u8| {
            thread::spawn(move || {
                for round in 0..10 {
                    let wanted = number.wrapping_mul(10).wrapping_add(round);
                    let status = shell(&format!("exit {wanted}")).status().unwrap();
                    assert_eq!(status.code(), Some(i32::from(wanted)));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_thread_that_ends_does_not_take_its_sandbox_along() {
    let mut child = thread::spawn(|| Sandbox::new("cat").stdin(Stdio::Piped).spawn().unwrap())
        .join()
        .unwrap();
    assert!(child.try_wait().unwrap().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_calling_process_is_not_changed() {
    let before = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    shell("true").status().unwrap();
    let after = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let kept = |status: &str| -> Vec<String> {
        let kept = [
            // Not SigQ, which counts what all of the user's processes have.
            "SigPnd",
            "SigBlk",
            "SigIgn",
            "SigCgt",
            "Shd",
            "Cap",
            "NoNewPrivs",
            "Seccomp",
            "Uid",
            "Gid",
            "Groups",
        ];
        let kept = |line: &&str| kept.iter().any(|name| line.starts_with(name));
        status.lines().filter(kept).map(str::to_owned).collect()
    };
    assert_eq!(kept(&before), kept(&after));
    assert_eq!(nix::sys::prctl::get_dumpable(), Ok(true));
}

#[test]
fn a_plan_runs_nothing() {
    let plan = Sandbox::new("true").net(Net::None).plan().unwrap();
    assert_eq!(plan.network, Net::None);
    assert!(plan.program.ends_with("true"));
}

#[test]
fn the_pidfd_tells_the_end() {
    let mut child = shell("true").spawn().unwrap();
    let pidfd = child.pidfd().as_fd().try_clone_to_owned().unwrap();
    let mut watched = [nix::poll::PollFd::new(
        pidfd.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    assert_eq!(
        nix::poll::poll(&mut watched, nix::poll::PollTimeout::NONE),
        Ok(1)
    );
    assert!(child.try_wait().unwrap().is_some());
}
