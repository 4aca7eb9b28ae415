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

/// Such a program's children are reaped by the kernel, which keeps no status.
#[test]
fn the_status_comes_back_where_the_program_ignores_sigchld() {
    const NAME: &str = "the_status_comes_back_where_the_program_ignores_sigchld";
    const IGNORES: &str = "SANDBOX_TEST_IGNORES_SIGCHLD";
    if std::env::var_os(IGNORES).is_none() {
        // A disposition is the whole process's, and other tests run in this one.
        let status = std::process::Command::new("env")
            .arg("--ignore-signal=CHLD")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(IGNORES, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    assert_eq!(shell("exit 7").status().unwrap().code(), Some(7));
    let mut child = Sandbox::new("cat").stdin(Stdio::Piped).spawn().unwrap();
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
}

#[test]
fn a_signal_is_told_from_a_status() {
    let status = shell("kill -USR1 $$").status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGUSR1));
}

#[test]
fn a_stopped_command_can_be_continued() {
    let mut child = shell("kill -STOP $$; exit 7").spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut status = None;
    while status.is_none() && Instant::now() < deadline {
        // It may not have stopped yet: then there is nothing to continue, and the next one does.
        child.signal(Signal::SIGCONT).unwrap();
        status = child.try_wait().unwrap();
    }
    assert_eq!(status.unwrap().code(), Some(7));
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
fn the_hosts_network_is_there_where_it_is_asked_for() {
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    let output = shell("readlink /proc/self/ns/net").net(Net::Host).output();
    let output = output.unwrap().stdout;
    assert_eq!(
        String::from_utf8_lossy(&output).trim_end(),
        own.to_str().unwrap()
    );
}

#[test]
fn what_nothing_would_keep_from_the_command_is_refused() {
    let host = |change: fn(&mut Sandbox) -> sandbox::Result<&mut Sandbox>| {
        let mut sandbox = shell("true");
        change(sandbox.net(Net::Host)).unwrap();
        sandbox.spawn().unwrap_err().to_string()
    };
    for (said, key) in [
        (host(|it| it.deny("192.0.2.1:80")), "egress.deny"),
        (
            host(|it| it.max_bytes("192.0.2.1:80", 1)),
            "egress.max-bytes",
        ),
        (host(|it| it.max_rate("192.0.2.1:80", 1)), "egress.max-rate"),
    ] {
        assert!(
            said.starts_with(key) && said.contains(": nothing stands between"),
            "{said}"
        );
    }
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
fn a_time_limit_is_told_from_a_signal_of_somebody_else() {
    let limited = |script: &str, limit| {
        let mut child = shell(script).timeout(limit).spawn().unwrap();
        let status = child.wait().unwrap();
        (status.signal(), child.timed_out())
    };
    let kept = limited("sleep 1000", Duration::from_millis(50));
    assert_eq!(kept, (Some(libc::SIGTERM), true));
    // The control: the same status, of itself.
    let own = limited("kill -TERM $$", Duration::from_secs(600));
    assert_eq!(own, (Some(libc::SIGTERM), false));
}

#[test]
fn the_environment_is_what_was_asked_for() {
    let output = Sandbox::new("/usr/bin/env")
        .env_clear()
        .env("ONE", "1")
        .envs([("TWO", "2"), ("THREE", "3")])
        .env_remove("TWO")
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"ONE=1\nTHREE=3\n");
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
fn joining_a_network_does_not_move_the_calling_thread() {
    let mut holder = std::process::Command::new("unshare")
        .args([
            "--map-root-user",
            "--net",
            "sh",
            "-c",
            "echo ready; read end",
        ])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    let stdout = holder.stdout.as_mut().unwrap();
    stdout.read_exact(&mut ready).unwrap();
    let path = format!("/proc/{}/ns/net", holder.id());
    let own = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let before = own();
    let output = Sandbox::new("readlink")
        .arg("/proc/self/ns/net")
        .net(Net::Namespace(path.clone().into()))
        .output()
        .unwrap();
    let joined = std::fs::read_link(path).unwrap();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(own(), before);
    assert_ne!(joined, before);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.trim_end(), joined.to_str().unwrap());
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
        // Not SigQ: it counts the queued signals of all of this user's processes.
        let kept = [
            "SigPnd",
            "SigBlk",
            "SigIgn",
            "SigCgt",
            "ShdPnd",
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

#[test]
fn an_allowed_destination_is_reached_through_a_thread_of_this_process() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut connection, _) = listener.accept().unwrap();
        let mut asked = [0; 4];
        connection.read_exact(&mut asked).unwrap();
        connection.write_all(b"pong").unwrap();
        asked
    });
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{}; printf ping >&3; head -c 4 <&3",
        address.port()
    );
    let mut sandbox = Sandbox::new("bash");
    sandbox.args(["-c", &script]);
    // Control: it is what is allowed that makes the difference.
    let output = sandbox.output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    let output = sandbox
        .allow(&address.to_string())
        .unwrap()
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"pong", "{output:?}");
    assert_eq!(server.join().unwrap(), *b"ping");
    assert!(sandbox.allow("no destination").is_err());
    let error = sandbox.net(Net::None).spawn().unwrap_err();
    assert!(error.to_string().contains("egress.allow"), "{error}");
}

#[test]
fn of_unix_sockets_a_program_reaches_its_own_and_no_others() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("outside");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let program = "
import socket, sys, tempfile
own = tempfile.mkdtemp() + '/own'
listener = socket.socket(socket.AF_UNIX)
listener.bind(own)
listener.listen()
for path in own, sys.argv[1]:
    print(socket.socket(socket.AF_UNIX).connect_ex(path))";
    let run = |text: &str| {
        let file = outside.path().join("policy.toml");
        std::fs::write(&file, text).unwrap();
        let output = Sandbox::new("python3")
            .policy(sandbox::Policy::from_file(&file).unwrap())
            .args(["-c", program])
            .arg(&path)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).replace('\n', " ")
    };
    let shown = "extends = \"default\"\n[filesystem]\nhide-sockets = false\n";
    assert_eq!(run(shown), "0 111 ");
    let any = format!("{shown}[network]\nunix-sockets = \"any\"\n");
    assert_eq!(run(&any), "0 0 ");
}
