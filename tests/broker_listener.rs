//! `sandbox serve --hand-over listener`: servers that accept for themselves, unmodified.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::broker::{Broker, exchange, script, tcp, versioned_policy};
use support::{FILLED, User, each_user};

const PYTHON: &str = "/usr/bin/python3";

/// A server that knows nothing of this program: it takes sockets by the systemd protocol, serves a
/// connection at a time, and finishes on SIGTERM or SIGUSR1. A client says one word.
const SERVER: &str = r#"
import os, select, signal, socket
names = os.environ["LISTEN_FDNAMES"].split(":")
assert os.environ["LISTEN_PID"] == str(os.getpid())
sockets = [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]
name = os.urandom(4).hex()
ended = []
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: ended.append(number))
wake, waker = socket.socketpair()
waker.setblocking(False)
signal.set_wakeup_fd(waker.fileno())
for one in sockets:
    one.setblocking(False)
def answer(word, listener):
    if word == b"name":
        return name
    if word == b"shutdown":
        sockets[0].shutdown(socket.SHUT_RDWR)
        return "shut down"
    if word == b"listener":
        return listener
    if word == b"policy":
        return os.environ.get("VERSION", "none")
    if word.startswith(b"fetch"):
        try:
            socket.create_connection(("127.0.0.1", int(word.split()[1])), 5)
            return "fetched"
        except OSError as error:
            return error.strerror
    return "what?"
os.write(2, b"serving\n")
while not ended:
    ready, _, _ = select.select(sockets + [wake], [], [])
    for one in ready:
        if one is wake:
            continue
        try:
            client, _ = one.accept()
        except BlockingIOError:
            continue  # another worker has it
        client.setblocking(True)
        word = client.makefile("rb").readline().strip()
        client.sendall(answer(word, names[sockets.index(one)]).encode())
        client.close()
os.write(2, f"ended by {ended[0]}\n".encode())
"#;

fn serve(user: &User, options: &[&str]) -> Broker {
    let server: PathBuf = script(user, "server.py", SERVER);
    let mut all = vec!["--listen", "web=tcp:127.0.0.1:0"];
    all.extend(options);
    Broker::start(user, &all, &[PYTHON, server.to_str().unwrap()])
}

#[test]
fn a_server_has_every_listener_by_its_name() {
    each_user(|user| {
        let mut broker = serve(user, &["--listen", "both=tcp::0"]);
        broker.wait_said("serving", 1);
        assert_eq!(broker.ask("listener\n"), "web");
        let port = tcp(&broker.listener(1)).port();
        for host in ["127.0.0.1", "::1"] {
            let client = TcpStream::connect((host, port)).unwrap();
            assert_eq!(exchange(client, "listener\n"), "both", "{host}");
        }
        broker.stop();
        assert!(
            broker.said.contains(&"ended by 15".to_owned()),
            "{:?}",
            broker.said
        );
    });
}

#[test]
fn a_server_can_fetch_nothing() {
    let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = outside.local_addr().unwrap().port();
    each_user(|user| {
        // The control: the same server, without a sandbox.
        let server = script(user, "server.py", SERVER);
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let start = "exec 3<&0; LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_PID=$$ exec \"$@\"";
        let mut bare = user
            .command("/bin/sh")
            .args(["-c", start, "sh", PYTHON])
            .arg(&server)
            .stdin(std::os::fd::OwnedFd::from(socket))
            .spawn()
            .unwrap();
        let ask = |client| exchange(client, &format!("fetch {port}\n"));
        assert_eq!(ask(support::broker::connect(address)), "fetched");
        bare.kill().unwrap();
        bare.wait().unwrap();
        let mut broker = serve(user, &[]);
        let said = ask(broker.connect());
        assert_eq!(said, "Operation not permitted", "as {}", user.name);
        broker.stop();
    });
}

#[test]
fn a_worker_that_is_killed_is_replaced_and_another_serves_meanwhile() {
    each_user(|user| {
        let mut broker = serve(user, &["--workers", "2"]);
        let before = broker.ask("name\n");
        for _ in 0..3 {
            let started = broker.all("worker-started");
            let pid = started.last().unwrap()["pid"].as_i64().unwrap();
            kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
            broker.wait("worker-ended", |it| it["signal"] == 9);
            assert!(!broker.ask("name\n").is_empty());
            broker.wait("worker-started", |_| true);
        }
        assert!(!before.is_empty());
        broker.stop();
    });
}

#[test]
fn a_listener_that_a_worker_has_shut_down_listens_again_for_the_next() {
    each_user(|user| {
        // Of its own choice, so that it is kept: free a moment ago.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let server: PathBuf = script(user, "server.py", SERVER);
        let server = server.to_str().unwrap();
        let listen = format!("web=tcp:{address}");
        let mut broker = Broker::start(user, &["--listen", &listen], &[PYTHON, server]);
        let before = broker.ask("name\n");
        assert_eq!(broker.ask("shutdown\n"), "shut down");
        broker.wait("worker-ended", |it| it["status"] == 1);
        broker.wait("worker-started", |_| true);
        assert_ne!(broker.ask("name\n"), before, "as {}", user.name);
        broker.stop();
    });
}

#[test]
fn a_worker_that_fills_standard_error_holds_up_nobody() {
    const SERVES: &str = r#"
import socket
client, _ = socket.socket(fileno=3).accept()
client.sendall(b"served")
os._exit(1)
"#;
    each_user(|user| {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let listen = format!("tcp:{address}");
        let server: PathBuf = script(user, "fills.py", &format!("{FILLED}{SERVES}"));
        let mut command = user.sandbox(&["serve", "--listen", &listen, "--"]);
        // Nobody reads what the broker says of each worker that has ended.
        let errors = command.arg(PYTHON).arg(server).stderr(Stdio::piped());
        let mut broker = errors.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let served = [(); 2].map(|()| {
            let mut client = loop {
                match TcpStream::connect(address) {
                    Err(_) if Instant::now() < deadline => continue,
                    connected => break connected.unwrap(),
                }
            };
            let patience = Duration::from_secs(20);
            client.set_read_timeout(Some(patience)).unwrap();
            let mut words = String::new();
            client.read_to_string(&mut words).map(|_| words).ok()
        });
        broker.kill().unwrap();
        broker.wait().unwrap();
        let both = [(); 2].map(|()| Some("served".to_owned()));
        assert_eq!(served, both, "as {}", user.name);
    });
}

#[test]
fn after_a_reload_new_workers_serve_by_the_new_policy_and_the_old_are_asked_to_finish() {
    each_user(|user| {
        let file = versioned_policy(user, "one");
        let options = [
            "--policy",
            file.to_str().unwrap(),
            "--workers",
            "2",
            "--stop-signal",
            "USR1",
        ];
        let mut broker = serve(user, &options);
        broker.wait_said("serving", 2);
        assert_eq!(broker.ask("policy\n"), "one");
        versioned_policy(user, "two");
        broker.signal(Signal::SIGHUP);
        broker.wait("reloaded", |_| true);
        for _ in 0..2 {
            broker.wait("worker-ended", |it| it["status"] == 0);
        }
        broker.wait_said("serving", 4);
        assert_eq!(broker.ask("policy\n"), "two");
        // What is no policy changes nothing.
        std::fs::write(&file, "this is no policy").unwrap();
        broker.signal(Signal::SIGHUP);
        let failed = broker.wait("reload-failed", |_| true);
        let message = failed["message"].as_str().unwrap();
        assert!(message.contains(file.to_str().unwrap()), "{failed}");
        assert_eq!(broker.ask("policy\n"), "two");
        broker.stop();
        std::fs::remove_file(file).unwrap();
        let told = broker.said.iter().filter(|it| *it == "ended by 10").count();
        assert_eq!(told, 4, "{:?}", broker.said);
    });
}

#[test]
fn a_server_that_ends_at_its_start_is_tried_again_and_then_the_end_of_the_broker() {
    each_user(|user| {
        let options = ["--listen", "tcp:127.0.0.1:0"];
        let worker = ["/bin/sh", "-c", "exit 3"];
        let mut broker = Broker::launch(&mut Broker::command(user, &options, &worker));
        let status = broker.finish();
        assert_eq!(status.code(), Some(125), "as {}", user.name);
        let last = "sandbox: cannot start a worker: it ended before it was ready: exit status 3";
        assert!(broker.said.contains(&last.to_owned()), "{:?}", broker.said);
        assert_eq!(broker.all("worker-ended").len(), 4);
        assert_eq!(broker.all("ready").len(), 0);
    });
}

#[test]
fn a_server_that_needs_a_second_try_is_ready_once_it_stays() {
    each_user(|user| {
        let proof = user.home.join(format!("tried-{}", std::process::id()));
        let script = format!(
            "test -e {0} || {{ : >{0}; exit 3; }}; exec sleep 1000",
            proof.display()
        );
        let home = user.home.to_str().unwrap();
        let options = ["--listen", "tcp:127.0.0.1:0", "--read-write", home];
        let mut broker = Broker::start(user, &options, &["/bin/sh", "-c", &script]);
        assert_eq!(broker.all("worker-ended").len(), 1, "as {}", user.name);
        // One that is told to end while nobody knows yet whether it serves is asked, as others are.
        let second = broker.all("worker-started")[1]["pid"].as_i64().unwrap();
        kill(
            Pid::from_raw(i32::try_from(second).unwrap()),
            Signal::SIGKILL,
        )
        .unwrap();
        broker.wait("worker-started", |it| it["worker"] == 3);
        broker.signal(Signal::SIGTERM);
        let ended = broker.wait("worker-ended", |it| it["worker"] == 3);
        assert_eq!(ended["signal"], 15, "as {}", user.name);
        assert!(broker.finish().success());
        std::fs::remove_file(proof).unwrap();
    });
}
