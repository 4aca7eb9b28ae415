//! What a broker lets in and for how long, and what it does when it has run out of something.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use support::broker::{Broker, PATIENCE, exchange};
use support::pool::{command, hold, serve};
use support::{each_user, text};

/// A connection that comes from `source`.
fn from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    let [a, b, c, d] = source.octets();
    bind(fd.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0)).unwrap();
    let SocketAddr::V4(address) = address else {
        panic!("it is IPv4");
    };
    connect(fd.as_raw_fd(), &SockaddrIn::from(address)).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes until the end, however it ends.
fn rest(mut stream: impl Read) -> String {
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn one_source_has_its_share_and_no_more_and_another_has_its_own() {
    each_user(|user| {
        let mut broker = serve(user, 8, &["--workers", "1", "--max-per-source", "2"]);
        let held = [hold(&broker), hold(&broker)];
        // The kernel connects it; the broker closes it at once.
        assert_eq!(rest(broker.connect()), "");
        let refused = broker.wait("refused", |_| true);
        assert_eq!(refused["limit"], "max-per-source");
        let other = from(Ipv4Addr::new(127, 0, 0, 2), broker.address());
        assert!(exchange(other, "echo other\n").ends_with(" other"));
        drop(held);
        broker.wait("closed", |it| it["id"] == 1);
        assert!(broker.ask("echo again\n").ends_with(" again"));
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
    });
}

#[test]
fn a_source_on_a_unix_socket_is_a_user() {
    each_user(|user| {
        let path = user.home.join(format!("source-{}", std::process::id()));
        let listen = format!("unix:{}", path.display());
        let options = [
            "--listen",
            &listen,
            "--workers",
            "1",
            "--max-per-source",
            "1",
        ];
        let mut broker = serve(user, 8, &options);
        let mut first = UnixStream::connect(&path).unwrap();
        first.write_all(b"hold\n").unwrap();
        broker.wait("handed-over", |_| true);
        assert_eq!(rest(UnixStream::connect(&path).unwrap()), "");
        broker.wait("refused", |_| true);
        first.shutdown(Shutdown::Write).unwrap();
        assert!(rest(first).ends_with("held"));
        broker.stop();
    });
}

#[test]
fn in_total_there_are_no_more_connections_than_were_allowed() {
    each_user(|user| {
        let mut broker = serve(user, 8, &["--workers", "2", "--max-connections", "3"]);
        let held = [hold(&broker), hold(&broker), hold(&broker)];
        let waiting: Vec<_> = (0..3).map(|_| broker.connect()).collect();
        broker.wait("paused", |it| it["reason"] == "max-connections");
        assert_eq!(broker.all("accepted").len(), 3);
        drop(held);
        for client in waiting {
            assert!(exchange(client, "echo served\n").ends_with(" served"));
        }
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
    });
}

#[test]
fn a_client_that_says_nothing_is_cut_and_one_that_goes_on_is_not() {
    each_user(|user| {
        let options = ["--workers", "1", "--idle-timeout", "400ms"];
        let mut broker = serve(user, 8, &options);
        let silent = broker.connect();
        let (mut moving, _) = hold(&broker);
        // A byte now and then, until the other is cut: that is the clock of this test.
        while broker.all("closed").is_empty() {
            moving.get_mut().write_all(b"x").unwrap();
            std::thread::yield_now();
            broker.catch_up();
        }
        let closed = broker.all("closed");
        assert_eq!(closed.len(), 1);
        assert_eq!(closed[0]["why"], "idle-timeout");
        assert_eq!(closed[0]["id"], 1);
        assert_eq!(rest(silent), "");
        moving.get_mut().shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(moving), "held");
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        assert!(broker.all("worker-cut-off").is_empty());
    });
}

#[test]
fn a_slow_client_is_cut_when_its_time_is_over_although_it_goes_on() {
    each_user(|user| {
        let options = ["--workers", "1", "--total-timeout", "400ms"];
        let mut broker = serve(user, 8, &options);
        let mut client = broker.connect();
        // A line that never ends.
        while broker.all("closed").is_empty() {
            let _ = client.write_all(b"x");
            std::thread::yield_now();
            broker.catch_up();
        }
        assert_eq!(broker.all("closed")[0]["why"], "total-timeout");
        assert!(broker.ask("echo next\n").ends_with(" next"));
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        assert!(broker.all("worker-cut-off").is_empty());
    });
}

#[test]
fn a_worker_that_keeps_a_connection_past_its_time_is_cut_off_and_replaced() {
    each_user(|user| {
        let options = ["--workers", "1", "--total-timeout", "300ms"];
        let mut broker = serve(user, 8, &options);
        let mut client = broker.connect();
        client.write_all(b"keep\n").unwrap();
        let cut = broker.wait("worker-cut-off", |_| true);
        assert_eq!(cut["reason"], "it kept connection 1 past its time");
        let closed = broker.wait("closed", |_| true);
        assert_eq!(closed["why"], "total-timeout");
        assert_eq!(rest(client), "");
        broker.wait("worker-started", |_| true);
        assert!(broker.ask("echo next\n").ends_with(" next"));
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
    });
}

#[test]
fn idle_time_is_counted_on_tcp_alone() {
    each_user(|user| {
        let path = user.home.join(format!("idle-{}", std::process::id()));
        let listen = format!("unix:{}", path.display());
        let options = ["--listen", &listen, "--idle-timeout", "1s"];
        let output = command(user, 8, &options).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        let expected = format!(
            "sandbox: --idle-timeout: the kernel counts bytes on TCP alone, not on {listen}; \
             use --total-timeout"
        );
        assert!(
            text(&output.stderr).ends_with(&expected),
            "{}",
            text(&output.stderr)
        );
        assert!(!support::broker::exists(&path), "its file is left behind");
    });
}

#[test]
fn without_descriptors_it_accepts_no_more_says_so_once_and_goes_on_later() {
    each_user(|user| {
        if !support::have("prlimit") {
            return;
        }
        // A limit of time makes it keep a copy of each connection.
        let options = ["--workers", "1", "--total-timeout", "1h"];
        let inner = command(user, 200, &options);
        let mut limited = user.command("/usr/bin/prlimit");
        limited
            .arg("--nofile=110:110")
            .arg(inner.get_program())
            .args(inner.get_args());
        let mut broker = Broker::launch(&mut limited);
        broker.wait("ready", |_| true);
        let clients: Vec<_> = (0..80)
            .map(|_| {
                let mut client = broker.connect();
                client.write_all(b"hold\n").unwrap();
                client
            })
            .collect();
        broker.wait("paused", |it| it["reason"] == "no-descriptors");
        for client in clients {
            client.shutdown(Shutdown::Write).unwrap();
            assert!(rest(client).ends_with("held"), "as {}", user.name);
        }
        assert!(broker.ask("echo on\n").ends_with(" on"));
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        assert_eq!(broker.all("accepted").len(), 81);
        assert!(broker.all("closed").iter().all(|it| it["why"] == "done"));
        assert!(!broker.all("resumed").is_empty());
        let said = broker
            .said
            .iter()
            .filter(|it| it.contains("no-descriptors"));
        assert!(said.count() <= broker.all("paused").len());
    });
}
