//! A broker's life: how it starts, is reloaded, ends, is watched, and what it can do itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::broker::{Broker, PATIENCE, connect, descriptors, tcp, versioned_policy};
use support::pool::{command, hold, serve};
use support::{User, each_user, skip};

/// What became of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It had its answer.
    Answered,
    /// It had an end without an answer.
    Closed,
    /// Nobody let it in.
    Refused,
}

/// One client that asks one question; the address that it came from, and what became of it.
fn client(address: SocketAddr) -> (Option<SocketAddr>, Outcome) {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) else {
        return (None, Outcome::Refused);
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let own = stream.local_addr().ok();
    let mut said = String::new();
    let asked = stream
        .write_all(b"echo on\n")
        .and_then(|()| stream.shutdown(std::net::Shutdown::Write))
        .and_then(|()| stream.read_to_string(&mut said));
    match asked {
        Ok(_) if said.ends_with(" on") => (own, Outcome::Answered),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("a client hangs"),
        _ => (own, Outcome::Closed),
    }
}

/// Clients that come again and again, several at a time, while `meanwhile` goes on; what became of
/// each.
fn under_load(address: SocketAddr, meanwhile: impl FnOnce()) -> Vec<(Option<SocketAddr>, Outcome)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut outcomes = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let outcome = client(address);
                        outcomes.push(outcome);
                        if outcome.1 == Outcome::Refused {
                            break;
                        }
                    }
                    outcomes
                })
            })
            .collect();
        meanwhile();
        over.store(true, Ordering::Relaxed);
        let all = clients.into_iter().map(|it| it.join().unwrap());
        all.flatten().collect()
    })
}

/// For each client's address, why the broker closed its connection.
fn decisions(broker: &Broker) -> HashMap<String, Vec<String>> {
    let mut peers: HashMap<u64, String> = HashMap::new();
    let mut decisions: HashMap<String, Vec<String>> = HashMap::new();
    for event in &broker.events {
        let id = || event["id"].as_u64().unwrap();
        if event["event"] == "accepted" {
            peers.insert(id(), event["peer"].as_str().unwrap().to_owned());
        }
        if event["event"] == "closed" {
            let why = event["why"].as_str().unwrap().to_owned();
            decisions.entry(peers[&id()].clone()).or_default().push(why);
        }
    }
    decisions
}

#[test]
fn a_reload_under_load_loses_nobody() {
    each_user(|user| {
        let mut broker = serve(user, 2, &["--workers", "2"]);
        let address = broker.address();
        let outcomes = under_load(address, || {
            for _ in 0..3 {
                broker.signal(Signal::SIGHUP);
                broker.wait("reloaded", |_| true);
                for _ in 0..2 {
                    let ended = broker.wait("worker-ended", |_| true);
                    assert_eq!(ended["status"], 0, "as {}: {ended}", user.name);
                }
            }
        });
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        assert!(outcomes.len() > 20, "{}", outcomes.len());
        let unhappy = outcomes.iter().filter(|it| it.1 != Outcome::Answered);
        assert_eq!(unhappy.count(), 0, "as {}", user.name);
    });
}

#[test]
fn an_end_under_load_answers_whoever_was_accepted() {
    each_user(|user| {
        let mut broker = serve(user, 2, &["--workers", "2"]);
        let address = broker.address();
        let outcomes = under_load(address, || {
            for _ in 0..100 {
                broker.wait("closed", |_| true);
            }
            broker.stop();
        });
        broker.assert_every_connection_is_accounted_for();
        let accepted: Vec<&str> = broker
            .all("accepted")
            .iter()
            .map(|it| it["peer"].as_str().unwrap())
            .collect();
        let answered: Vec<String> = outcomes
            .iter()
            .filter(|it| it.1 == Outcome::Answered)
            .map(|it| it.0.unwrap().to_string())
            .collect();
        assert_eq!(accepted.len(), answered.len(), "as {}", user.name);
        assert!(broker.all("closed").iter().all(|it| it["why"] == "done"));
    });
}

#[test]
fn under_load_and_with_workers_killed_at_random_every_connection_ends_in_a_decision() {
    each_user(|user| {
        let metrics = format!("unix:{}", user.home.join("chaos.sock").display());
        let options = ["--workers", "3", "--metrics", &metrics];
        let mut broker = serve(user, 3, &options);
        let address = broker.address();
        let status = broker.status(user, 1);
        let pids = [&status["pid"], &status["keeper"]].map(|pid| pid.as_i64().unwrap());
        let before = pids.map(descriptors);
        let outcomes = under_load(address, || {
            for round in 0..8_usize {
                // Whichever was started last, first or in between.
                let alive: Vec<i64> = alive(&broker);
                let victim = alive[round * 7 % alive.len()];
                let victim = Pid::from_raw(i32::try_from(victim).unwrap());
                kill(victim, Signal::SIGKILL).unwrap();
                broker.wait("worker-ended", |it| it["signal"] == 9);
                broker.wait("worker-started", |_| true);
                for _ in 0..20 {
                    broker.wait("closed", |it| it["why"] == "done");
                }
            }
        });
        // Until all are ready again.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = broker.status(user, 1);
            let workers = status["workers"].as_array().unwrap();
            let ready = workers.iter().filter(|it| it["state"] == "ready").count();
            if (ready, workers.len()) == (3, 3) && status["connections"]["open"] == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{status:#}");
        }
        let after = pids.map(descriptors);
        if before.contains(&0) {
            skip("counting a broker's descriptors", "only root sees them");
        }
        assert_eq!(before, after, "as {}: descriptors leak", user.name);
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        let mut decisions = decisions(&broker);
        for (peer, outcome) in outcomes {
            let peer = peer.unwrap().to_string();
            let whys = decisions.get_mut(&peer).unwrap();
            match outcome {
                Outcome::Answered => {
                    // It may have been lost after the answer, in the worker's last moment.
                    assert!(!whys.is_empty());
                }
                Outcome::Closed => {
                    let lost = whys.iter().position(|why| why == "worker-ended");
                    let lost = lost.unwrap_or_else(|| panic!("{peer}: {whys:?}"));
                    whys.remove(lost);
                }
                Outcome::Refused => panic!("it listens all the time"),
            }
        }
    });
}

/// The pids of workers that have not ended yet.
fn alive(broker: &Broker) -> Vec<i64> {
    let mut alive: BTreeMap<u64, i64> = BTreeMap::new();
    for event in &broker.events {
        let worker = || event["worker"].as_u64().unwrap();
        if event["event"] == "worker-started" {
            alive.insert(worker(), event["pid"].as_i64().unwrap());
        }
        if event["event"] == "worker-ended" {
            alive.remove(&worker());
        }
    }
    alive.into_values().collect()
}

/// The broker of `inner`, started as a service manager does: with `socket` as descriptor 3.
fn activated(user: &User, socket: OwnedFd, names: &str, inner: &std::process::Command) -> Broker {
    let start = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    let mut command = user.command("/bin/sh");
    command
        .args(["-c", start, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env("LISTEN_FDNAMES", names)
        .stdin(Stdio::from(socket));
    Broker::launch(&mut command)
}

/// A pool's command without a listener of its own.
fn without_listener(user: &User) -> std::process::Command {
    let words = support::pool::worker(user, 4);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Broker::command(user, &["--hand-over", "pool", "--workers", "1"], &words)
}

#[test]
fn sockets_are_inherited_by_the_systemd_protocol_with_their_names() {
    each_user(|user| {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut broker = activated(user, socket.into(), "front", &without_listener(user));
        broker.wait("ready", |_| true);
        assert_eq!(broker.address(), address);
        let said = broker.ask("who\n");
        assert!(said.starts_with("front "), "as {}: {said}", user.name);
        // What it inherited is not the worker's, which has a channel.
        assert_eq!(broker.ask("variable LISTEN_FDNAMES\n"), "channel");
        assert_eq!(broker.ask("variable LISTEN_FDS\n"), "1");
        broker.stop();
    });
}

#[test]
fn an_inherited_descriptor_that_does_not_listen_is_refused() {
    each_user(|user| {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut broker = activated(user, ours.into(), "front", &without_listener(user));
        assert_eq!(broker.finish().code(), Some(125));
        assert_eq!(
            broker.said.last().unwrap(),
            "sandbox: inherited descriptor 3: is no socket that listens; the socket unit needs \
             ListenStream= or ListenSequentialPacket=, and Accept=no"
        );
    });
}

#[test]
fn descriptors_for_another_process_are_left_alone() {
    each_user(|user| {
        let mut command = without_listener(user);
        command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
        let mut broker = Broker::launch(&mut command);
        assert_eq!(broker.finish().code(), Some(125));
        assert!(broker.said.last().unwrap().contains("say where to listen"));
    });
}

#[test]
fn the_service_manager_is_told_when_it_serves_reloads_and_ends_and_that_it_lives() {
    each_user(|user| {
        let path = user.home.join(format!("notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = command(user, 4, &["--workers", "1"]);
        command
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000");
        let mut broker = Broker::launch(&mut command);
        let wait_for = |word: &str| {
            let mut message = [0; 512];
            loop {
                let length = manager.recv(&mut message).expect("it tells in time");
                let text = String::from_utf8_lossy(&message[..length]).into_owned();
                if text.lines().any(|line| line == word) {
                    return text;
                }
                let known = ["WATCHDOG=1", "READY=1", "STATUS=", "RELOADING=1"];
                assert!(known.iter().any(|start| text.starts_with(start)), "{text}");
            }
        };
        let ready = wait_for("READY=1");
        assert!(
            ready.contains("STATUS=running: 1 workers, 0 connections"),
            "{ready}"
        );
        wait_for("WATCHDOG=1");
        wait_for("WATCHDOG=1");
        broker.signal(Signal::SIGHUP);
        assert!(wait_for("RELOADING=1").contains("MONOTONIC_USEC="));
        wait_for("READY=1");
        broker.signal(Signal::SIGTERM);
        wait_for("STOPPING=1");
        assert!(broker.finish().success());
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn a_service_manager_that_is_not_there_is_an_error_before_anything_runs() {
    each_user(|user| {
        let mut command = command(user, 4, &[]);
        command.env("NOTIFY_SOCKET", "/nonexistent/notify");
        let mut broker = Broker::launch(&mut command);
        assert_eq!(broker.finish().code(), Some(125));
        assert!(broker.all("worker-started").is_empty());
    });
}

/// What HTTP gives for `path` at `stream`.
fn http(mut stream: impl Read + Write, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn metrics_and_status_are_served_on_a_unix_socket_and_on_loopback() {
    each_user(|user| {
        let path = user.home.join(format!("metrics-{}", std::process::id()));
        for metrics in [
            format!("unix:{}", path.display()),
            "tcp:127.0.0.1:0".to_owned(),
        ] {
            let options = ["--workers", "2", "--metrics", &metrics];
            let mut broker = serve(user, 4, &options);
            let (held, _) = hold(&broker);
            broker.ask("echo on\n");
            broker.wait("closed", |_| true);
            let get = |page: &str| match metrics.starts_with("unix:") {
                true => http(UnixStream::connect(&path).unwrap(), page),
                false => http(connect(tcp(&broker.listener(1))), page),
            };
            let (head, body) = get("/metrics");
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(
                head.contains("Content-Type: text/plain; version=0.0.4"),
                "{head}"
            );
            let value = |name: &str| {
                let line = body.lines().find_map(|line| line.strip_prefix(name));
                let line = line.unwrap_or_else(|| panic!("no {name}: {body}"));
                line.trim().parse::<u64>().unwrap()
            };
            assert_eq!(value("sandbox_broker_open "), 1);
            assert_eq!(value("sandbox_broker_closed_total{why=\"done\"}"), 1);
            assert_eq!(value("sandbox_broker_workers{state=\"ready\"}"), 2);
            assert_eq!(value("sandbox_broker_launches_total "), 2);
            let (_, body) = get("/status");
            let status: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(status["hand_over"], "pool");
            assert_eq!(status["pid"], broker.pid());
            assert_eq!(status["connections"]["accepted"], 2);
            assert!(get("/").0.starts_with("HTTP/1.1 404 "));
            let shown = user.output(&["serve", "--status", &broker.listener(1)]);
            let shown = support::success(user, &shown);
            assert!(shown.starts_with("pool broker running, pid "), "{shown}");
            drop(held);
            broker.stop();
        }
        assert!(!support::broker::exists(&path), "its file is left behind");
    });
}

/// What the kernel says of a process, by field.
fn field(pid: i64, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name}"))
        .trim()
        .to_owned()
}

#[test]
fn a_broker_that_serves_has_no_capability_and_a_filter_of_its_own() {
    each_user(|user| {
        for mode in ["listener", "pool", "connection"] {
            let metrics = format!("unix:{}", user.home.join("confined.sock").display());
            let options = [
                "--listen",
                "tcp:127.0.0.1:0",
                "--hand-over",
                mode,
                "--metrics",
                &metrics,
            ];
            let words = support::pool::worker(user, 4);
            let words: Vec<&str> = match mode {
                "pool" => words.iter().map(String::as_str).collect(),
                _ => vec!["/bin/sleep", "1000"],
            };
            let mut broker = Broker::start(user, &options, &words);
            let pid = i64::from(broker.pid());
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(
                    field(pid, set),
                    "0000000000000000",
                    "{set} as {}",
                    user.name
                );
            }
            if user.is_root() {
                assert_eq!(field(pid, "CapBnd"), "0000000000000000");
                // The control: the keeper launches, and has what that takes.
                let keeper = broker.status(user, 1)["keeper"].as_i64().unwrap();
                assert_ne!(field(keeper, "CapEff"), "0000000000000000");
            }
            assert_eq!(field(pid, "NoNewPrivs"), "1");
            assert_eq!(field(pid, "Seccomp"), "2");
            assert_eq!(field(pid, "Threads"), "1");
            // What cannot be dumped belongs to root (proc(5)).
            let fds = std::fs::metadata(format!("/proc/{pid}/fd")).unwrap();
            assert_eq!(std::os::unix::fs::MetadataExt::uid(&fds), 0);
            broker.signal(Signal::SIGTERM);
            broker.finish();
        }
    });
}

#[test]
fn without_its_keeper_a_broker_ends_with_everything() {
    each_user(|user| {
        let metrics = format!("unix:{}", user.home.join("keeperless.sock").display());
        let mut broker = serve(user, 4, &["--workers", "2", "--metrics", &metrics]);
        let (mut held, _) = hold(&broker);
        let keeper = broker.status(user, 1)["keeper"].as_i64().unwrap();
        kill(
            Pid::from_raw(i32::try_from(keeper).unwrap()),
            Signal::SIGKILL,
        )
        .unwrap();
        // The end of standard error: nothing that had it is left.
        assert_eq!(broker.finish().code(), Some(125));
        let mut said = String::new();
        let _ = held.read_to_string(&mut said);
        assert_eq!(said, "");
        assert_eq!(broker.all("error").len(), 1, "{:#?}", broker.events);
        broker.assert_every_connection_is_accounted_for();
        assert!(
            broker.said.last().unwrap().contains("the broker's keeper"),
            "{:?}",
            broker.said
        );
    });
}

#[test]
fn when_a_broker_is_killed_nothing_of_it_lives_on() {
    each_user(|user| {
        let path = user.home.join(format!("killed-{}", std::process::id()));
        let listen = format!("unix:{}", path.display());
        let mut broker = serve(user, 4, &["--workers", "2", "--listen", &listen]);
        let (_held, _) = hold(&broker);
        broker.signal(Signal::SIGKILL);
        // The end of standard error: nothing that had it is left.
        assert_eq!(broker.finish().code(), None);
        assert!(!support::broker::exists(&path), "its socket is left behind");
    });
}

#[test]
fn a_socket_file_of_a_dead_process_is_replaced_and_one_in_use_is_not() {
    each_user(|user| {
        let path = user.home.join(format!("stale-{}", std::process::id()));
        let listen = format!("unix:{}", path.display());
        drop(UnixListener::bind(&path).unwrap());
        if nix::unistd::geteuid().is_root() && !user.is_root() {
            // Another user's is not theirs to replace.
            let output = command(user, 4, &["--listen", &listen]).output().unwrap();
            assert_eq!(output.status.code(), Some(125));
            std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).unwrap();
        }
        let mut broker = serve(user, 4, &["--workers", "1", "--listen", &listen]);
        let output = command(user, 4, &["--listen", &listen]).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        let said = support::text(&output.stderr);
        assert!(said.contains("Address already in use"), "{said}");
        assert!(UnixStream::connect(&path).is_ok());
        broker.stop();
        assert!(!support::broker::exists(&path));
    });
}

#[test]
fn a_dry_run_prints_the_plan_and_runs_nothing() {
    each_user(|user| {
        let output = command(user, 4, &["--dry-run=json"]).output().unwrap();
        let plan = support::success(user, &output);
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        assert_eq!(plan["policy"], "worker");
        assert_eq!(plan["network"], "fds");
        assert_eq!(plan["descriptors"][0], "channel");
        assert_eq!(support::text(&output.stderr), "");
        // Nor does it listen, not even where nobody else does.
        let path = user.home.join(format!("dry-{}", std::process::id()));
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = [
            "--listen".to_owned(),
            format!("web=tcp:{}", taken.local_addr().unwrap()),
            "--listen".to_owned(),
            format!("unix:{}", path.display()),
            "--dry-run=json".to_owned(),
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let output = Broker::command(user, &options, &["/bin/true"]).output();
        let plan = support::success(user, &output.unwrap());
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        assert_eq!(plan["descriptors"], serde_json::json!(["web", "listen"]));
        assert!(!support::broker::exists(&path), "as {}", user.name);
    });
}

#[test]
fn who_waits_in_the_queues_when_the_end_begins_is_still_served() {
    each_user(|user| {
        let path = user.home.join(format!("last-{}", std::process::id()));
        let listen = format!("unix:{}", path.display());
        let mut broker = serve(user, 1, &["--workers", "1", "--listen", &listen]);
        let (held, _) = hold(&broker);
        let waiting: Vec<_> = (0..3).map(|_| broker.connect()).collect();
        let mut local = UnixStream::connect(&path).unwrap();
        let address = broker.address();
        broker.signal(Signal::SIGTERM);
        broker.wait("draining", |it| it["open"] == 1);
        drop(held);
        for client in waiting {
            let said = support::broker::exchange(client, "echo last\n");
            assert!(said.ends_with(" last"), "as {}: {said}", user.name);
        }
        local.write_all(b"echo last\n").unwrap();
        local.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = String::new();
        local.read_to_string(&mut said).unwrap();
        assert!(said.ends_with(" last"), "as {}: {said}", user.name);
        assert!(broker.finish().success());
        broker.assert_every_connection_is_accounted_for();
        assert_eq!(broker.all("accepted").len(), 5);
        assert!(TcpStream::connect(address).is_err());
    });
}

#[test]
fn an_old_worker_that_does_not_finish_in_time_is_ended_and_nobody_waits_for_it() {
    each_user(|user| {
        let options = ["--workers", "1", "--drain-timeout", "300ms"];
        let mut broker = serve(user, 4, &options);
        let (_held, _) = hold(&broker);
        broker.signal(Signal::SIGHUP);
        broker.wait("reloaded", |_| true);
        let cut = broker.wait("worker-cut-off", |_| true);
        assert_eq!(cut["reason"], "it did not finish in time");
        assert_eq!(cut["worker"], 1);
        let closed = broker.wait("closed", |_| true);
        assert_eq!(closed["why"], "worker-ended");
        assert!(broker.ask("echo new\n").ends_with(" new"));
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
    });
}

#[test]
fn a_policy_under_which_workers_fail_takes_nobody_from_service_and_can_be_put_right() {
    each_user(|user| {
        let file = versioned_policy(user, "one");
        let options = ["--policy", file.to_str().unwrap(), "--workers", "1"];
        let mut broker = serve(user, 4, &options);
        versioned_policy(user, "broken");
        broker.signal(Signal::SIGHUP);
        for _ in 0..3 {
            broker.wait("worker-ended", |it| it["status"] == 7);
            assert_eq!(broker.ask("variable VERSION\n"), "one", "as {}", user.name);
        }
        versioned_policy(user, "two");
        broker.signal(Signal::SIGHUP);
        broker.wait("worker-ended", |it| it["worker"] == 1 && it["status"] == 0);
        assert_eq!(broker.ask("variable VERSION\n"), "two");
        broker.stop();
        std::fs::remove_file(file).unwrap();
    });
}

#[test]
fn two_brokers_share_a_port_only_if_both_want_to() {
    each_user(|user| {
        let shared = serve(user, 4, &["--workers", "1", "--reuse-port"]);
        let listen = format!("tcp:{}", shared.address());
        let output = command(user, 4, &["--listen", &listen]).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        let both = ["--workers", "1", "--reuse-port", "--listen", &listen];
        let mut second = serve(user, 4, &both);
        assert_eq!(tcp(&second.listener(1)), shared.address());
        second.stop();
    });
}

#[test]
fn told_to_end_before_it_serves_it_ends() {
    each_user(|user| {
        // It says nothing, so it is never ready.
        let options = ["--listen", "tcp:127.0.0.1:0", "--hand-over", "pool"];
        let worker = ["/bin/sleep", "1000"];
        let mut broker = Broker::launch(&mut Broker::command(user, &options, &worker));
        broker.wait("worker-started", |_| true);
        broker.signal(Signal::SIGTERM);
        assert!(broker.finish().success(), "{:#?}", broker.said);
        assert!(broker.all("ready").is_empty());
    });
}

/// A port below 1024 on which nothing listens.
fn low_port() -> Option<u16> {
    (600..1024)
        .rev()
        .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}

#[test]
fn a_port_below_1024_is_bound_before_the_right_to_it_goes() {
    let Some(port) = low_port() else {
        skip("a port below 1024", "it takes root, and a free one");
        return;
    };
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let privileged = first.trim().parse::<u16>().unwrap() > port;
    each_user(|user| {
        let listen = format!("low=tcp:127.0.0.1:{port}");
        let options = ["--workers", "1", "--listen", &listen];
        if privileged && !user.is_root() {
            let output = command(user, 4, &options).output().unwrap();
            assert_eq!(output.status.code(), Some(125));
            let said = support::text(&output.stderr);
            assert!(
                said.contains("Permission denied\n  hint: ports below 1024"),
                "{said}"
            );
            return;
        }
        let mut broker = serve(user, 4, &options);
        let said = support::broker::exchange(connect(tcp(&broker.listener(1))), "who\n");
        assert!(said.starts_with("low "), "{said}");
        assert_eq!(field(i64::from(broker.pid()), "CapEff"), "0000000000000000");
        broker.stop();
    });
}
