//! What a broker lets in and for how long, and what it does when it has run out of something.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use serde_json::Value;
use support::broker::{Broker, PATIENCE, exchange};
use support::pool::{PYTHON, command, hold, serve};
use support::{User, each_user, text, users};

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
        // A byte now and then, until the other is cut.
        broker.until("closed", |_| moving.get_mut().write_all(b"x").unwrap());
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
        broker.until("closed", |_| {
            let _ = client.write_all(b"x");
        });
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

/// Runs the command after the number of a system call and an errno, with that call refused with it.
const REFUSING: &str = "
import ctypes, os, struct, sys
number, errno, *command = sys.argv[1:]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, int(number)), (6, 0, 0, 0x50000 | int(errno)), (6, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *step) for step in steps))
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
program = Program(len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program)) == 0
os.execv(command[0], command)
";

#[test]
fn where_the_host_has_no_open_files_left_it_waits_and_can_be_told_to_end() {
    each_user(|user| {
        // ENFILE is everybody's, so that it is not made here: accept4(2) only says so.
        let options = ["--workers", "1", "--drain-timeout", "500ms"];
        let inner = command(user, 4, &options);
        let mut outer = user.command(PYTHON);
        outer.args(["-c", REFUSING]);
        outer.args([
            nix::libc::SYS_accept4.to_string(),
            nix::libc::ENFILE.to_string(),
        ]);
        outer.arg(inner.get_program()).args(inner.get_args());
        let mut broker = Broker::launch(&mut outer);
        broker.wait("ready", |_| true);
        let client = broker.connect();
        broker.wait("paused", |it| it["reason"] == "no-descriptors");
        // Tried again, at once and then less and less often: neither given up nor without end.
        broker.wait("resumed", |it| it["reason"] == "no-descriptors");
        broker.wait("paused", |it| it["reason"] == "no-descriptors");
        broker.signal(Signal::SIGTERM);
        // Whoever waits cannot be let in.
        assert_eq!(broker.finish().code(), Some(124), "as {}", user.name);
        assert_eq!(rest(client), "");
        assert!(broker.all("paused").len() < 100, "as {}", user.name);
    });
}

#[test]
fn a_worker_that_never_says_hello_is_cut_off_after_thirty_seconds() {
    // Once: it takes that long.
    let Some(user) = users().last() else { return };
    let options = ["--listen", "tcp:127.0.0.1:0", "--hand-over", "pool"];
    let worker = ["/bin/sleep", "1000"];
    let began = Instant::now();
    let mut broker = Broker::launch(&mut Broker::command(user, &options, &worker));
    let cut = broker.wait("worker-cut-off", |_| true);
    assert_eq!(cut["reason"], "it was not ready in time");
    assert!(began.elapsed() >= Duration::from_secs(30));
    assert_eq!(broker.finish().code(), Some(125));
    assert!(broker.all("ready").is_empty());
}

/// A broker in a user namespace of its own, whose limit of network namespaces is nobody else's
/// (namespaces(7)).
///
/// The kernel frees a namespace some time after its end, and nobody is told when: so it is the limit that
/// goes up and down, and not the number of those that are there.
struct Confined {
    broker: Broker,
    limit: BufReader<UnixStream>,
}

impl Confined {
    #[track_caller]
    fn start(user: &User) -> Self {
        let setting = "exec 3<&0 0</dev/null; while read -r limit; do \
             echo \"$limit\" > /proc/sys/user/max_net_namespaces; echo set >&3; \
             done <&3 2>/dev/null & exec \"$@\" 3<&- 0</dev/null";
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut outer = user.command("unshare");
        outer
            .args(["-Ur", "sh", "-c", setting, "sh"])
            .arg(&user.sandbox);
        outer.args(["serve", "--events", "fd:2", "--hand-over", "connection"]);
        outer.args(["--listen", "tcp:127.0.0.1:0", "--", "/bin/sh", "-c"]);
        outer.arg("read -r line; echo \"$line\"; read -r end");
        outer.stdin(OwnedFd::from(theirs));
        let mut broker = Broker::launch(&mut outer);
        // Or this process would hold the other end of it, too.
        drop(outer);
        broker.wait("ready", |_| true);
        let limit = BufReader::new(ours);
        Self { broker, limit }
    }

    /// Let the broker have `limit` network namespaces.
    #[track_caller]
    fn set_limit(&mut self, limit: &str) {
        writeln!(self.limit.get_mut(), "{limit}").unwrap();
        let mut answer = String::new();
        self.limit.read_line(&mut answer).unwrap();
        assert_eq!(answer, "set\n");
    }

    /// Clients of whom none can be served, once the broker has found that out.
    #[track_caller]
    fn in_vain(&mut self) -> Vec<TcpStream> {
        self.set_limit("0");
        let clients = (0..5).map(|_| self.broker.connect()).collect();
        self.broker.wait("launch-failed", |it| {
            it["message"]
                .as_str()
                .is_some_and(|it| it.contains("create the n"))
        });
        self.broker.wait("paused", |it| it["reason"] == "launches");
        clients
    }

    /// What comes of `clients` and of one who comes after them: each is served, or has waited ten seconds for
    /// that, and the last one cannot have.
    #[track_caller]
    fn end(mut self, user: &User, clients: Vec<TcpStream>) {
        let mut served = 0;
        for mut client in clients {
            let _ = client.write_all(b"served\n");
            let _ = client.shutdown(Shutdown::Write);
            served += usize::from(rest(client) == "served\n");
        }
        self.broker.wait("resumed", |it| it["reason"] == "launches");
        assert_eq!(self.broker.ask("later\n"), "later\n", "as {}", user.name);
        drop(self.limit);
        self.broker.stop();
        self.broker.assert_every_connection_is_accounted_for();
        let closed = self.broker.all("closed");
        let (done, failed): (Vec<&Value>, _) = closed.iter().partition(|it| it["why"] == "done");
        assert_eq!(done.len(), served + 1, "as {}: {closed:#?}", user.name);
        for it in failed {
            assert_eq!(it["why"], "launch-failed", "as {}", user.name);
            assert!(
                it["seconds"].as_f64().unwrap() >= 10.0,
                "as {}: {it}",
                user.name
            );
        }
    }
}

#[test]
fn while_no_namespace_is_left_connections_wait_and_are_served_later() {
    if !support::have("unshare") {
        return;
    }
    each_user(|user| {
        let mut confined = Confined::start(user);
        let clients = confined.in_vain();
        confined.set_limit("100");
        confined.end(user, clients);
    });
}

#[test]
fn after_connections_were_given_up_for_want_of_namespaces_others_are_served() {
    if !support::have("unshare") {
        return;
    }
    // Once: it takes those ten seconds.
    let Some(user) = users().last() else { return };
    let mut confined = Confined::start(user);
    let clients = confined.in_vain();
    confined
        .broker
        .wait("closed", |it| it["why"] == "launch-failed");
    confined.set_limit("100");
    confined.end(user, clients);
}
