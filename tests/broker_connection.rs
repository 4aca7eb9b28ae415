//! `sandbox serve --hand-over connection`: a fresh sandbox for each connection, with real clients.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;

use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};
use support::broker::{Broker, exchange, tcp};
use support::{User, each_user, skip, users};

fn serve(user: &User, options: &[&str], handler: &str) -> Broker {
    let mut all = vec!["--listen", "tcp:127.0.0.1:0", "--hand-over", "connection"];
    all.extend(options);
    Broker::start(user, &all, &["/bin/sh", "-c", handler])
}

/// A handler that answers each line with itself until the end.
const ECHO: &str = "while read -r line; do echo \"$line\"; done";

/// A client that has had an answer: its sandbox runs.
fn talking(broker: &Broker) -> BufReader<TcpStream> {
    let mut stream = broker.connect();
    stream.write_all(b"hello\n").unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
    stream
}

/// What comes until the end, however it ends.
fn rest(mut stream: BufReader<TcpStream>) -> String {
    let mut text = String::new();
    // A reset is an end too.
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn the_socket_is_on_0_1_and_3_and_the_environment_says_who_came() {
    each_user(|user| {
        let handler = "read -r word; echo \"$word $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALIP \
                       $TCPLOCALPORT $PROTO $REMOTE_ADDR $REMOTE_PORT $LISTEN_FDS\"; echo three >&3";
        let options = ["--listen", "six=tcp:[::1]:0"];
        let mut broker = serve(user, &options, handler);
        for index in 0..2 {
            let client = TcpStream::connect(tcp(&broker.listener(index))).unwrap();
            let (own, theirs) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let expected = format!(
                "word {ip} {port} {local} {local_port} TCP {ip} {port} 1\nthree\n",
                ip = own.ip(),
                port = own.port(),
                local = theirs.ip(),
                local_port = theirs.port(),
            );
            assert_eq!(exchange(client, "word\n"), expected, "as {}", user.name);
        }
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
    });
}

#[test]
fn unix_streams_and_packets_are_served_as_well() {
    each_user(|user| {
        let path = |name: &str| user.home.join(format!("{name}-{}", std::process::id()));
        let (streams, packets) = (path("streams"), path("packets"));
        let first = format!("unix:{}", streams.display());
        let second = format!("packets=unix-seqpacket:{}", packets.display());
        let options = [
            "--hand-over",
            "connection",
            "--listen",
            &first,
            "--listen",
            &second,
        ];
        let handler = "read -r word; echo \"$word $PROTO $UNIXREMOTEEUID $SANDBOX_LISTENER\"";
        let mut broker = Broker::start(user, &options, &["/bin/sh", "-c", handler]);
        let mut client = UnixStream::connect(&streams).unwrap();
        client.write_all(b"word\n").unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        let own = nix::unistd::geteuid();
        assert_eq!(said, format!("word UNIX {own} listen\n"));
        let flags = SockFlag::SOCK_CLOEXEC;
        let client: OwnedFd =
            socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
        connect(client.as_raw_fd(), &UnixAddr::new(&packets).unwrap()).unwrap();
        // A shell reads a byte at a time, and the rest of a packet is lost with that.
        for byte in [b"w", b"\n"] {
            send(client.as_raw_fd(), byte, MsgFlags::empty()).unwrap();
        }
        let mut said = [0; 100];
        let length = recv(client.as_raw_fd(), &mut said, MsgFlags::empty()).unwrap();
        let expected = format!("w UNIX {own} packets\n");
        assert_eq!(said[..length], *expected.as_bytes());
        broker.stop();
        for path in [streams, packets] {
            assert!(
                !support::broker::exists(&path),
                "{} is left",
                path.display()
            );
        }
    });
}

#[test]
fn each_connection_has_a_sandbox_of_its_own() {
    each_user(|user| {
        let handler = "ls /tmp; echo mark >/tmp/mark; ls /tmp; echo $$";
        let mut broker = serve(user, &["--spare", "1"], handler);
        for _ in 0..4 {
            assert_eq!(broker.ask(""), "mark\n2\n", "as {}", user.name);
        }
        broker.stop();
        let started = broker.all("handed-over");
        let mut workers: Vec<_> = started.iter().map(|it| it["worker"].as_u64()).collect();
        workers.sort_unstable();
        workers.dedup();
        assert_eq!(workers.len(), 4);
    });
}

#[test]
fn a_connection_gets_a_spare_that_was_there_before_it_and_another_takes_its_place() {
    each_user(|user| {
        let mut broker = serve(user, &["--spare", "2"], ECHO);
        let before: Vec<_> = broker
            .all("worker-started")
            .iter()
            .map(|it| it["worker"].clone())
            .collect();
        assert_eq!(before.len(), 2);
        let client = talking(&broker);
        let handed = broker.wait("handed-over", |_| true);
        assert!(before.contains(&handed["worker"]), "{:#?}", broker.events);
        broker.wait("worker-started", |_| true);
        drop(client);
        broker.wait("closed", |it| it["why"] == "done");
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
    });
}

#[test]
fn further_connections_wait_for_a_sandbox_to_end_and_are_served_then() {
    each_user(|user| {
        let mut broker = serve(user, &["--max-connections", "2"], ECHO);
        let held = [talking(&broker), talking(&broker)];
        let waiting: Vec<_> = (0..3).map(|_| broker.connect()).collect();
        broker.wait("paused", |it| it["reason"] == "max-connections");
        assert_eq!(broker.all("accepted").len(), 2);
        drop(held);
        for client in waiting {
            assert_eq!(exchange(client, "served\n"), "served\n");
        }
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        assert_eq!(broker.all("accepted").len(), 5);
    });
}

#[test]
fn a_sandbox_whose_connection_is_over_time_is_asked_to_end_and_then_ended() {
    // The second one does not listen.
    for (handler, ending) in [
        ("echo begun; sleep 1000", "signal 15"),
        (
            "trap '' TERM; echo begun; sleep 1000 & wait; sleep 1000",
            "signal 9",
        ),
    ] {
        each_user(|user| {
            let options = ["--total-timeout", "200ms", "--kill-after", "200ms"];
            let mut broker = serve(user, &options, handler);
            assert_eq!(broker.ask(""), "begun\n", "as {}", user.name);
            let closed = broker.wait("closed", |_| true);
            assert_eq!(closed["why"], "total-timeout");
            assert_eq!(closed["detail"], ending);
            broker.stop();
        });
    }
}

#[test]
fn an_idle_connection_is_ended_and_one_that_moves_is_not() {
    each_user(|user| {
        let mut broker = serve(user, &["--idle-timeout", "500ms"], ECHO);
        let idle = talking(&broker);
        let mut moving = talking(&broker);
        // A byte now and then, until the other is ended.
        broker.until("closed", |_| {
            moving.get_mut().write_all(b"x\n").unwrap();
            let mut line = String::new();
            moving.read_line(&mut line).unwrap();
            assert_eq!(line, "x\n");
        });
        let ended = broker.all("closed")[0];
        assert_eq!(
            (&ended["id"], &ended["why"]),
            (&1.into(), &"idle-timeout".into())
        );
        assert_eq!(rest(idle), "");
        drop(moving);
        broker.wait("closed", |it| it["id"] == 2 && it["why"] == "done");
        broker.stop();
    });
}

#[test]
fn the_end_waits_for_connections_that_are_open_and_refuses_others() {
    each_user(|user| {
        let mut broker = serve(user, &["--spare", "1"], ECHO);
        let mut client = talking(&broker);
        let address = broker.address();
        broker.signal(Signal::SIGTERM);
        broker.wait("draining", |it| it["open"] == 1);
        // The spare goes; the other stays.
        broker.wait("worker-ended", |_| true);
        assert!(TcpStream::connect(address).is_err());
        client.get_mut().write_all(b"still\n").unwrap();
        client.get_mut().shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(client), "still\n");
        assert!(broker.finish().success());
        broker.assert_every_connection_is_accounted_for();
        assert_eq!(broker.all("closed")[0]["why"], "done");
    });
}

#[test]
fn when_the_time_to_end_is_over_what_is_open_is_closed_and_the_status_says_so() {
    each_user(|user| {
        let mut broker = serve(user, &["--drain-timeout", "200ms"], ECHO);
        let client = talking(&broker);
        broker.signal(Signal::SIGINT);
        assert_eq!(broker.finish().code(), Some(124));
        assert_eq!(rest(client), "");
        assert_eq!(broker.all("closed")[0]["why"], "drain-timeout");
        assert_eq!(broker.all("stopped")[0]["status"], 124);
    });
}

#[test]
fn a_second_signal_ends_everything_at_once() {
    each_user(|user| {
        let mut broker = serve(user, &[], ECHO);
        let client = talking(&broker);
        broker.signal(Signal::SIGTERM);
        // An echo of the first is not a second: it takes one that comes later.
        broker.wait("draining", |_| true);
        broker.until("stopped", |broker| broker.signal(Signal::SIGTERM));
        assert_eq!(broker.all("stopped")[0]["status"], 143);
        assert_eq!(broker.finish().code(), Some(143));
        assert_eq!(rest(client), "");
        assert_eq!(broker.all("closed")[0]["why"], "broker-ended");
    });
}

#[test]
fn a_handler_can_call_nobody() {
    let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = outside.local_addr().unwrap().port();
    let dial = format!(
        "import socket\ntry:\n  socket.create_connection(('127.0.0.1', {port}), 5); print('reached')\n\
         except OSError as error: print(error.strerror)"
    );
    each_user(|user| {
        let output = user
            .command("/usr/bin/python3")
            .args(["-c", &dial])
            .output();
        assert_eq!(support::success(user, &output.unwrap()), "reached");
        let options = ["--listen", "tcp:127.0.0.1:0", "--hand-over", "connection"];
        let worker = ["/usr/bin/python3", "-c", &dial];
        let mut broker = Broker::start(user, &options, &worker);
        let said = broker.ask("");
        assert!(
            !said.is_empty() && said != "reached\n",
            "as {}: {said}",
            user.name
        );
        broker.stop();
    });
}

/// A user whom nobody else is: limits of processes count for the user.
const LONELY: u32 = 61_234;

#[test]
fn while_sandboxes_cannot_be_launched_connections_wait_and_are_served_later() {
    let Some(root) = users().iter().find(|user| user.is_root()) else {
        skip(
            "a full limit of processes",
            "needs root, to be a user of its own",
        );
        return;
    };
    // Broker, keeper, and two sandboxes of three (init, shell, and what it starts): no more.
    if !support::have("prlimit") {
        return;
    }
    let mut command = std::process::Command::new("prlimit");
    command
        .arg("--nproc=5:5")
        .arg(&root.sandbox)
        .args(["serve", "--events", "fd:2", "--hand-over", "connection"])
        .args(["--listen", "tcp:127.0.0.1:0", "--max-connections", "8"])
        .args(["--", "/bin/sh", "-c", ECHO])
        .uid(LONELY)
        .gid(LONELY)
        .current_dir("/")
        .env("HOME", "/");
    let mut broker = Broker::launch(&mut command);
    broker.wait("ready", |_| true);
    let held = talking(&broker);
    let waiting: Vec<_> = (0..3).map(|_| broker.connect()).collect();
    broker.wait("launch-failed", |_| true);
    broker.wait("paused", |it| it["reason"] == "launches");
    drop(held);
    // All at once: there is room for one sandbox, and it may be the one of whoever would speak last.
    let exchanges: Vec<_> = waiting
        .into_iter()
        .map(|client| std::thread::spawn(|| exchange(client, "served\n")))
        .collect();
    for exchange in exchanges {
        assert_eq!(exchange.join().expect("it is served"), "served\n");
    }
    broker.stop();
    broker.assert_every_connection_is_accounted_for();
    assert!(broker.all("closed").iter().all(|it| it["why"] == "done"));
    assert!(!broker.all("resumed").is_empty());
}

#[test]
fn a_handler_that_its_filter_kills_is_told_apart() {
    each_user(|user| {
        let options = ["--hand-over", "connection", "--listen", "tcp:127.0.0.1:0"];
        let mut broker = Broker::start(user, &options, &["/bin/sh", "-c", "kill -SYS $$"]);
        assert_eq!(broker.ask(""), "", "as {}", user.name);
        // The first to end was only tried.
        let ended = broker.wait("worker-ended", |it| it["signal"] == 31);
        assert_eq!(ended["killed_by_filter"], true, "as {}", user.name);
        let refused = broker.wait("worker-refused", |_| true);
        assert_eq!(refused["by"], "filter", "as {}", user.name);
        assert_eq!(refused["worker"], ended["worker"], "as {}", user.name);
        broker.stop();
    });
}
