//! `sandbox serve --hand-over pool`: connections go to workers over a channel, with real clients.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::broker::{Broker, PATIENCE, exchange, exists, tcp};
use support::pool::{PYTHON, command, have, hold, serve};
use support::{each_user, text};

#[test]
fn a_worker_answers_and_knows_by_which_listener_who_came() {
    each_user(|user| {
        let socket = user.home.join("pool.sock");
        let named = format!("files=unix:{}", socket.display());
        let options = [
            "--listen",
            "six=tcp:[::1]:0",
            "--listen",
            &named,
            "--workers",
            "1",
        ];
        let mut broker = serve(user, 4, &options);
        let client = broker.connect();
        let (own, theirs) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let expected = |listener: &str, peer: SocketAddr, local: SocketAddr| match peer {
            SocketAddr::V4(_) => format!(
                "{listener} ('{}', {}) ('{}', {})",
                peer.ip(),
                peer.port(),
                local.ip(),
                local.port()
            ),
            SocketAddr::V6(_) => format!(
                "{listener} ('{}', {}, 0, 0) ('{}', {}, 0, 0)",
                peer.ip(),
                peer.port(),
                local.ip(),
                local.port()
            ),
        };
        assert_eq!(exchange(client, "who\n"), expected("listen", own, theirs));
        let client = TcpStream::connect(tcp(&broker.listener(1))).unwrap();
        let (own, theirs) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(exchange(client, "who\n"), expected("six", own, theirs));
        let mut client = UnixStream::connect(&socket).unwrap();
        client.write_all(b"who\n").unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, format!("files  {}", socket.display()));
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        assert!(!support::broker::exists(&socket), "its file is left behind");
    });
}

#[test]
fn the_least_loaded_worker_gets_the_next_connection() {
    each_user(|user| {
        let mut broker = serve(user, 8, &["--workers", "3"]);
        let held: Vec<_> = (0..6).map(|_| hold(&broker)).collect();
        let mut names: Vec<&str> = held.iter().map(|(_, name)| name.as_str()).collect();
        names.sort_unstable();
        let counts: Vec<usize> = names.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
        assert_eq!(counts, [2, 2, 2], "as {}: {names:?}", user.name);
        // One gives both of its own back: it is the next, twice.
        let freed = held[0].1.clone();
        let (free, rest): (Vec<_>, Vec<_>) = held.into_iter().partition(|(_, name)| *name == freed);
        drop(free);
        for _ in 0..2 {
            broker.wait("closed", |_| true);
        }
        let next: Vec<_> = (0..2).map(|_| hold(&broker)).collect();
        assert!(next.iter().all(|(_, name)| *name == freed), "{next:?}");
        drop((rest, next));
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
    });
}

#[test]
fn clients_wait_while_all_workers_are_busy_and_are_served_then() {
    each_user(|user| {
        let metrics = format!("unix:{}", user.home.join("busy.sock").display());
        let options = ["--workers", "2", "--metrics", &metrics];
        let mut broker = serve(user, 1, &options);
        let held: Vec<_> = (0..2).map(|_| hold(&broker)).collect();
        // They are connected, by the kernel; nobody has accepted them.
        let waiting: Vec<_> = (0..20).map(|_| broker.connect()).collect();
        broker.wait("paused", |event| event["reason"] == "workers-busy");
        let status = broker.status(user, 1);
        assert_eq!(status["connections"]["open"], 2);
        assert_eq!(status["connections"]["accepted"], 2);
        assert_eq!(status["paused"][0], "workers-busy");
        drop(held);
        for client in waiting {
            let said = exchange(client, "echo served\n");
            assert!(said.ends_with(" served"), "as {}: {said}", user.name);
        }
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        assert_eq!(broker.all("accepted").len(), 22);
        assert!(
            broker.all("closed").iter().all(|it| it["why"] == "done"),
            "{:#?}",
            broker.events
        );
    });
}

#[test]
fn the_last_words_of_a_worker_that_has_ended_are_heard() {
    each_user(|user| {
        let mut broker = serve(user, 64, &["--workers", "1"]);
        let pid = broker.all("worker-started")[0]["pid"].as_i64().unwrap();
        // More words than are taken from one worker at a time.
        let held: Vec<_> = (0..40).map(|_| hold(&broker)).collect();
        let (mut last, _) = have(&broker, "last");
        broker.signal(Signal::SIGSTOP);
        drop(held);
        assert_eq!(last.read(&mut [0]).unwrap(), 0);
        let deadline = Instant::now() + PATIENCE;
        while exists(format!("/proc/{pid}").as_ref()) {
            assert!(Instant::now() < deadline, "the keeper does not reap it");
            std::thread::yield_now();
        }
        broker.signal(Signal::SIGCONT);
        broker.wait("worker-ended", |it| it["status"] == 3);
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        let closed = broker.all("closed");
        let count = |why: &str| closed.iter().filter(|it| it["why"] == why).count();
        assert_eq!(
            (count("done"), count("worker-ended")),
            (40, 1),
            "as {}: {closed:#?}",
            user.name
        );
    });
}

#[test]
fn a_worker_that_does_not_keep_to_the_rules_is_cut_off_and_the_others_go_on() {
    for (crime, reason) in [
        ("garbage", "malformed"),
        ("lie", "which it does not hold"),
        ("shut", "shut its channel down"),
    ] {
        each_user(|user| {
            let mut broker = serve(user, 4, &["--workers", "2"]);
            let held: Vec<_> = (0..2).map(|_| hold(&broker)).collect();
            let mut criminal = broker.connect();
            criminal.write_all(format!("{crime}\n").as_bytes()).unwrap();
            let cut = broker.wait("worker-cut-off", |_| true);
            assert!(
                cut["reason"].as_str().unwrap().contains(reason),
                "{crime}: {cut}"
            );
            // Its sandbox ends, and with it what it held: one connection, and the criminal's.
            let ended = broker.wait("worker-ended", |it| it["worker"] == cut["worker"]);
            assert_eq!(ended["signal"], 9);
            broker.wait("worker-started", |_| true);
            let still = held
                .into_iter()
                .map(|(mut stream, _)| {
                    stream
                        .get_mut()
                        .shutdown(std::net::Shutdown::Write)
                        .unwrap();
                    let mut rest = String::new();
                    stream.read_to_string(&mut rest).unwrap_or_default();
                    rest
                })
                .filter(|rest| rest == "held")
                .count();
            assert_eq!(still, 1, "{crime} as {}: the other's is served", user.name);
            assert!(broker.ask("echo on\n").ends_with(" on"));
            broker.stop();
            broker.assert_every_connection_is_accounted_for();
            let lost = broker.all("closed");
            let lost = lost.iter().filter(|it| it["why"] == "worker-ended");
            assert_eq!(lost.count(), 2, "{crime}: {:#?}", broker.events);
        });
    }
}

#[test]
fn connections_that_a_dead_worker_had_not_taken_are_served_by_another() {
    each_user(|user| {
        // The first worker is stopped, so that it takes nothing of what is sent to it.
        let mut broker = serve(user, 8, &["--workers", "1"]);
        let (held, _) = hold(&broker);
        let pid = broker.all("worker-started")[0]["pid"].as_i64().unwrap();
        stop(child_of(pid));
        let waiting: Vec<_> = (0..5).map(|_| broker.connect()).collect();
        for _ in 0..6 {
            broker.wait("handed-over", |_| true);
        }
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
        for client in waiting {
            let said = exchange(client, "echo again\n");
            assert!(said.ends_with(" again"), "as {}: {said}", user.name);
        }
        drop(held);
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        assert_eq!(broker.all("returned").len(), 5);
        let lost = broker.all("closed");
        let lost: Vec<_> = lost
            .iter()
            .filter(|it| it["why"] == "worker-ended")
            .collect();
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert_eq!(lost[0]["id"], 1);
    });
}

#[test]
fn a_worker_that_takes_nothing_more_is_passed_over_and_replaced_once_it_has_nothing_else() {
    each_user(|user| {
        let mut broker = serve(user, 2, &["--workers", "2"]);
        // One stops, with nothing to do: it gets a connection, and is replaced.
        let stopped = broker.all("worker-started")[0].clone();
        stop(child_of(stopped["pid"].as_i64().unwrap()));
        let clients: Vec<_> = (0..2).map(|_| broker.connect()).collect();
        let said = clients.into_iter().map(|it| exchange(it, "echo served\n"));
        for said in said.collect::<Vec<_>>() {
            assert!(said.ends_with(" served"), "as {}: {said}", user.name);
        }
        let cut = broker.wait("worker-cut-off", |_| true);
        assert_eq!(cut["reason"], "it does not take what it is sent");
        assert_eq!(cut["worker"], stopped["worker"], "as {}", user.name);
        broker.wait("worker-started", |_| true);
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        assert_eq!(broker.all("returned").len(), 1);
    });
}

#[test]
fn a_worker_that_has_closed_its_channel_and_lives_on_is_noticed() {
    each_user(|user| {
        let mut broker = serve(user, 4, &["--workers", "1"]);
        // The connection by which it was told is one that it has, so it might be busy.
        let mut last = broker.connect();
        last.write_all(b"close\n").unwrap();
        let mut name = [0; 9];
        last.read_exact(&mut name).unwrap();
        // The call that was waiting on the closed end gives it one more.
        assert!(broker.ask("echo more\n").ends_with(" more"));
        let waiting = broker.connect();
        broker.wait("returned", |_| true);
        let pid = broker.all("worker-started")[0]["pid"].as_i64().unwrap();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
        assert!(exchange(waiting, "echo again\n").ends_with(" again"));
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
    });
}

/// Stop a process, with all of its threads, before they take another message.
fn stop(pid: Pid) {
    kill(pid, Signal::SIGSTOP).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let stopped = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with('T'))
    };
    let tasks = || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    while !tasks().flatten().all(stopped) {
        assert!(Instant::now() < deadline, "it does not stop");
        std::thread::yield_now();
    }
}

/// The command of the sandbox whose init is `pid`.
fn child_of(pid: i64) -> Pid {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).unwrap();
    Pid::from_raw(children.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
fn from_inside_a_worker_nothing_can_be_dialled() {
    let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = outside.local_addr().unwrap().port();
    each_user(|user| {
        // The control: the same attempts, outside.
        let dial = format!(
            "import socket; a=('127.0.0.1', {port}); socket.create_connection(a, 5).close(); \
             socket.socket(socket.AF_UNIX).close(); \
             socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', a); print('reached')"
        );
        let output = user.command(PYTHON).args(["-c", &dial]).output().unwrap();
        assert_eq!(support::success(user, &output), "reached");
        let mut broker = serve(user, 4, &["--workers", "1"]);
        let said = broker.ask(&format!("dial 127.0.0.1 {port}\n"));
        for came in said.split(", ") {
            assert!(
                !came.is_empty() && came != "reached",
                "as {}: {said}",
                user.name
            );
        }
        assert_eq!(said.split(", ").count(), 3, "{said}");
        broker.stop();
    });
}

#[test]
fn a_worker_is_told_nothing_of_the_service_managers_protocols() {
    each_user(|user| {
        let mut command = command(user, 4, &[]);
        command
            .env("LISTEN_PID", "1")
            .env("LISTEN_FDS", "1")
            .env("WATCHDOG_USEC", "1000000")
            .env("KEPT", "yes");
        let mut broker = Broker::launch(&mut command);
        broker.wait("ready", |_| true);
        let environment = broker.ask("environment\n");
        let names: Vec<&str> = environment.split(' ').collect();
        assert!(names.contains(&"KEPT"), "{environment}");
        assert!(names.contains(&"SANDBOX_CHANNEL"), "{environment}");
        assert!(!names.contains(&"WATCHDOG_USEC"), "{environment}");
        broker.stop();
    });
}

#[test]
fn a_worker_that_cannot_be_started_is_the_end_of_the_broker() {
    each_user(|user| {
        for (worker, message) in [
            (
                ["/bin/false"].as_slice(),
                "sandbox: cannot start a worker: it ended before it was ready: exit status 1",
            ),
            (
                &["/nonexistent/worker"],
                "sandbox: /nonexistent/worker: command not found",
            ),
        ] {
            let options = ["--listen", "tcp:127.0.0.1:0", "--hand-over", "pool"];
            let mut broker = Broker::launch(&mut Broker::command(user, &options, worker));
            let status = broker.finish();
            let expected = if worker[0] == "/bin/false" { 125 } else { 127 };
            assert_eq!(status.code(), Some(expected), "{:#?}", broker.said);
            assert_eq!(broker.said.last().unwrap(), message);
            assert_eq!(broker.all("error").len(), 1, "{:#?}", broker.events);
        }
    });
}

#[test]
fn a_limit_that_a_mode_cannot_keep_is_a_usage_error() {
    each_user(|user| {
        for (options, message) in [
            (
                ["--max-per-source", "2"].as_slice(),
                "sandbox: --max-per-source: only the worker sees the connections that it accepts; \
                 not with --hand-over listener",
            ),
            (
                &["--hand-over", "pool", "--spare", "2"],
                "sandbox: --spare: sandboxes wait ahead only where each connection has its own; \
                 not with --hand-over pool",
            ),
            (
                &["--metrics", "tcp:0.0.0.0:0"],
                "sandbox: --metrics tcp:0.0.0.0:0: only loopback: write tcp:127.0.0.1:PORT or \
                 unix:PATH",
            ),
        ] {
            let mut arguments = vec!["serve", "--listen", "tcp:127.0.0.1:0"];
            arguments.extend(options);
            arguments.extend(["--", "/bin/true"]);
            let output = user.output(&arguments);
            assert_eq!(output.status.code(), Some(125));
            assert_eq!(text(&output.stderr), message);
        }
    });
}
