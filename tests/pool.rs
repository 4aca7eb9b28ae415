//! Connections handed over to sandboxed workers: the library's broker, its workers in Rust and Python,
//! and what neither a worker nor its end can do.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbox::broker::{Accepted, Broker, Counts, Event, Unsent};
use sandbox::worker::ListenerName;
use sandbox::{Error, Policy, Sandbox};
use support::{User, each_user, example, shared_file, text};

/// Where a test gives up: nothing here takes long.
const PATIENCE: Duration = Duration::from_secs(60);
/// The system's Python: every user can run it.
const PYTHON: &str = "/usr/bin/python3";

/// Whether there is a Python; says so if not.
fn have_python() -> bool {
    let found = Path::new(PYTHON).exists();
    if !found {
        support::skip("a Python worker", "no /usr/bin/python3");
    }
    found
}

/// The example `broker`, serving.
struct Server {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    /// Started by `user` with `workers` workers of the command `worker`.
    fn start(user: &User, address: &str, workers: &str, worker: &[&str]) -> Self {
        let mut process = user
            .command(example("broker"))
            .args([address, workers])
            .args(worker)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example can be started");
        let input = process.stdin.take();
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it writes text");
        let address = line
            .strip_prefix("listening on ")
            .and_then(|address| address.trim().parse().ok())
            .unwrap_or_else(|| panic!("as {}: {line:?}", user.name));
        Self {
            process,
            input,
            output,
            address,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream
    }

    /// The answer to a request, whole.
    fn get(&self) -> io::Result<String> {
        let mut stream = self.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Drained: every line that it wrote since it listened.
    fn end(mut self) -> Vec<String> {
        drop(self.input.take());
        let lines = (&mut self.output)
            .lines()
            .map(|line| line.expect("it writes text"))
            .collect();
        let status = self.process.wait().expect("it is ours");
        assert!(status.success(), "{status}: {lines:?}");
        lines
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The number called `name` in the last line, which is of [`Counts`].
fn count(lines: &[String], name: &str) -> u64 {
    let last = lines.last().expect("it says its counts");
    let (_, rest) = last
        .split_once(&format!("{name}: "))
        .unwrap_or_else(|| panic!("no {name} in {lines:?}"));
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits
        .and_then(|digits| digits.parse().ok())
        .expect("a number")
}

fn answers_many(worker: &[&str]) {
    each_user(|user| {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let server = Server::start(user, address, "2", worker);
            // Each client has its own address in its own answer, whoever served it.
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..10 {
                            let mut stream = server.connect();
                            stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
                            let mut answer = String::new();
                            stream.read_to_string(&mut answer).unwrap();
                            let port = stream.local_addr().unwrap().port().to_string();
                            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
                            assert!(answer.contains(&port), "{answer}");
                            let own = server.address.port().to_string();
                            assert!(answer.contains(&own), "{answer}");
                            assert!(answer.ends_with(" by accepted\n"), "{answer}");
                        }
                    });
                }
            });
            let lines = server.end();
            assert_eq!(count(&lines, "sent"), 40, "as {}: {lines:?}", user.name);
            assert_eq!(count(&lines, "done"), 40, "as {}: {lines:?}", user.name);
            assert_eq!(count(&lines, "lost"), 0, "as {}: {lines:?}", user.name);
        }
    });
}

#[test]
fn a_rust_worker_answers_the_connections_that_it_is_sent() {
    let worker = example("worker");
    let worker = worker.to_str().unwrap();
    answers_many(&[worker]);
    answers_many(&[worker, "4"]);
}

#[test]
fn a_python_worker_answers_the_connections_that_it_is_sent() {
    if have_python() {
        let worker = shared_file("examples/worker.py");
        answers_many(&[PYTHON, worker.to_str().unwrap()]);
    }
}

#[cfg(feature = "tokio")]
#[test]
fn an_asynchronous_worker_answers_the_connections_that_it_is_sent() {
    let worker = example("worker_tokio");
    answers_many(&[worker.to_str().unwrap()]);
}

/// What a worker that was taken over tries with the connection that it has, and what comes of it: as a
/// worker it answers with the list, without a channel it tries the same outside.
const ATTACKS: &str = r#"
import ctypes, errno, fcntl, os, socket, struct, sys

libc = ctypes.CDLL(None, use_errno=True)

def outcome(attempt, connection):
    try:
        return attempt(connection) or "OK"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))

def dissolve(connection):
    if libc.connect(connection.fileno(), bytes(28), 28) != 0:   # AF_UNSPEC
        raise OSError(ctypes.get_errno(), "connect")

def after_dissolving(attempt):
    def both(connection):
        try:
            dissolve(connection)
        except OSError:
            pass
        return attempt(connection)
    return both

def elsewhere(connection):
    connection.connect(target.getsockname())

def listen(connection):
    connection.listen()
    if not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "IGNORED"

def fast_open(connection):
    connection.sendto(b"x", socket.MSG_FASTOPEN, target.getsockname())

def source_route(option):
    # A type 4 routing header (RFC 8754) by way of another host.
    header = struct.pack("BBBBBBH", 0, 4, 4, 1, 1, 0, 0) + socket.inet_pton(socket.AF_INET6, "::1") * 2
    return lambda connection: connection.setsockopt(socket.IPPROTO_IPV6, option, header)

def join(number, *addresses):
    # struct group_req, struct group_source_req (ipv6(7)): of the first interface.
    words = struct.pack("@I4x", 1)
    for address in addresses:
        words += struct.pack("@HHI16s", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, address)).ljust(128, b"\0")
    return lambda connection: connection.setsockopt(socket.IPPROTO_IPV6, number, words)

def pass_on(connection):
    ours, theirs = socket.socketpair()
    socket.send_fds(ours, [b"x"], [connection.fileno()])

def make(family, kind):
    return lambda connection: socket.socket(family, kind).close()

attempts = {
    "dissolve the connection": dissolve,
    "connect elsewhere": after_dissolving(elsewhere),
    "bind": after_dissolving(lambda connection: connection.bind(("::", 0))),
    "listen": after_dissolving(listen),
    "connect by sending": after_dissolving(fast_open),
    "send to an address": lambda connection: socket.fromfd(
        connection.fileno(), connection.family, connection.type).sendto(b"x", ("::1", 9, 0, 0)),
    "sendmsg": lambda connection: connection.sendmsg([b"x"]) and None,
    "pass the connection on": pass_on,
    "list interfaces": lambda connection: fcntl.ioctl(
        connection, 0x8912, struct.pack("iP", 0, 0)) and None,
    "take the socket's namespace": lambda connection: os.close(fcntl.ioctl(connection, 0x894C)),
    "bind to a device": lambda connection: connection.setsockopt(socket.SOL_SOCKET, 25, b"lo\0"),
    "bind to an interface": lambda connection: connection.setsockopt(socket.SOL_SOCKET, 62, 1),
    "source route": source_route(57),
    "sticky packet options": lambda connection: connection.setsockopt(
        socket.IPPROTO_IPV6, 6, b""),
    "send by an interface": lambda connection: connection.setsockopt(
        socket.IPPROTO_IPV6, 50, bytes(16) + struct.pack("i", 1)),
    "join a group": join(42, "ff02::5ab"),
    "join a sender's group": join(46, "ff02::5ac", "2001:db8::1"),
}
for family in range(1, 50):
    for kind in (1, 2, 3, 5):
        attempts[f"make a socket of family {family} and type {kind}"] = make(family, kind)

def pair():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        return client, listener.accept()[0]

class Nowhere:
    def getsockname(self):
        return ("::1", 9, 0, 0)

if "SANDBOX_CHANNEL" not in os.environ:
    target = socket.create_server(("::1", 0), family=socket.AF_INET6)
    for name, attempt in attempts.items():
        client, server = pair()
        print(f"{name}: {outcome(attempt, server)}")
    sys.exit()

target = Nowhere()
channel = socket.socket(fileno=3)
channel.send(struct.pack("<BBHIIHH", 1, 0x81, 0, 16, 1, 0, 0))
while True:
    message, descriptors, _, _ = socket.recv_fds(channel, 16384, 16)
    if not message or message[1] == 2:
        break
    connection = socket.socket(fileno=descriptors[0])
    for name, attempt in attempts.items():
        connection.sendall(f"{name}: {outcome(attempt, connection)}\n".encode())
    connection.close()
    channel.send(struct.pack("<BBHIIHH", 1, 0x82, 1, 24, 1, 0, 0) + message[8:16])
"#;

fn outcomes(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.rsplit_once(": "))
        .map(|(name, outcome)| (name.to_owned(), outcome.to_owned()))
        .collect()
}

#[test]
fn a_worker_answers_and_cannot_make_or_redirect_a_socket() {
    if !have_python() {
        return;
    }
    each_user(|user| {
        let outside = user
            .command(PYTHON)
            .args(["-c", ATTACKS])
            .output()
            .expect("it runs");
        let outside = outcomes(&support::success(user, &outside));
        let server = Server::start(user, "[::1]:0", "1", &[PYTHON, "-c", ATTACKS]);
        let mut answer = String::new();
        server.connect().read_to_string(&mut answer).unwrap();
        let inside = outcomes(&answer);
        assert_eq!(
            inside.keys().collect::<Vec<_>>(),
            outside.keys().collect::<Vec<_>>()
        );
        let mut open = Vec::new();
        for (name, outcome) in &inside {
            // Servers that are handed a listener call listen again: it does nothing and says nothing.
            let held = ["EPERM", "IGNORED"].contains(&outcome.as_str());
            if !held {
                open.push(format!("{name}: {outcome}"));
            }
        }
        assert!(open.is_empty(), "as {}: {open:#?}", user.name);
        // The control: outside, on the same kind of connection, it goes well.
        let must_be_open = [
            "dissolve the connection",
            "connect elsewhere",
            "bind",
            "listen",
            "connect by sending",
            "sendmsg",
            "pass the connection on",
            "list interfaces",
            "bind to a device",
            "bind to an interface",
            "source route",
            "sticky packet options",
            "send by an interface",
            "join a group",
            "join a sender's group",
            "make a socket of family 1 and type 1",
            "make a socket of family 2 and type 1",
            "make a socket of family 10 and type 2",
            "make a socket of family 16 and type 3",
        ];
        for name in must_be_open {
            assert_eq!(outside[name], "OK", "as {}: {name}", user.name);
        }
        // Of these the kernel itself refuses some, or all, outside as well.
        let others = inside
            .keys()
            .filter(|name| !must_be_open.contains(&name.as_str()) && !name.starts_with("make"));
        let others: Vec<_> = others.map(String::as_str).collect();
        assert_eq!(
            others,
            ["send to an address", "take the socket's namespace"]
        );
        if user.is_root() {
            assert_eq!(outside["take the socket's namespace"], "OK");
        }
        let lines = server.end();
        assert_eq!(count(&lines, "done"), 1, "{lines:?}");
    });
}

#[test]
fn a_worker_with_sockets_of_its_own_cannot_redirect_its_connection_either() {
    if !have_python() {
        return;
    }
    let mut sandbox = Sandbox::new(PYTHON);
    sandbox
        .args(["-c", ATTACKS])
        .policy(Policy::built_in("default").unwrap())
        .current_dir("/");
    let mut broker = Broker::new(&mut sandbox).unwrap();
    let (mut client, server) = tcp_pair_at("[::1]:0");
    broker.send(server).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let inside = outcomes(&answer);
    for name in [
        "dissolve the connection",
        "connect elsewhere",
        "bind",
        "connect by sending",
        "list interfaces",
        "take the socket's namespace",
        "bind to a device",
        "source route",
        "join a group",
        "join a sender's group",
    ] {
        assert_eq!(inside[name], "EPERM", "{name}");
    }
    assert_eq!(inside["listen"], "IGNORED");
    assert_eq!(inside["make a socket of family 2 and type 1"], "OK");
}

/// A worker that does what descriptor 4 says, a letter at a time, and says there when it has done it.
const PUPPET: &str = r#"
import os, socket, struct, sys
channel, strings = socket.socket(fileno=3), socket.socket(fileno=4)
held = []
def say(kind, ids=(), credits=8):
    ids = b"".join(ids)
    head = struct.pack("<BBHIIHH", 1, kind, len(ids) // 8, 16 + len(ids), credits, 0, 0)
    channel.send(head + ids)
def take():
    message, descriptors, _, _ = socket.recv_fds(channel, 16384, 16)
    if not message or message[1] != 1:
        return None
    # Unix sockets without names: every record is 84 bytes long, with a name of four.
    for number, descriptor in enumerate(descriptors):
        at = 8 + number * 84
        held.append((message[at:at + 8], socket.socket(fileno=descriptor)))
    return True
def serve(count=1):
    for _ in range(count):
        id, client = held.pop(0)
        client.sendall(b"served")
        client.close()
        say(0x82, [id])
def everything():
    say(0x81)
    while take():
        serve(len(held))
acts = {
    "F": lambda: [say(0x82) for _ in range(100)],
    "h": lambda: say(0x81),
    "t": take,
    "s": serve,
    "e": everything,
    "G": lambda: channel.send(b"GET / HTTP/1.1\r\n\r\n"),
    "L": lambda: channel.send(bytes(100000)),
    "E": lambda: channel.send(b""),
    "C": lambda: say(0x82, credits=2**31),
    "U": lambda: say(0x82, [bytes([255] * 8)]),
    "T": lambda: say(0x82, [held[0][0]] * 2),
    "V": lambda: channel.send(bytes([2]) + struct.pack("<BHIIHH", 0x82, 0, 16, 8, 0, 0)),
    "S": lambda: channel.shutdown(socket.SHUT_RDWR),
    "x": lambda: os._exit(3),
}
while letter := strings.recv(1).decode():
    acts[letter]()
    strings.send(letter.encode())
"#;

/// A broker with puppets, and the strings of them all: whoever is alive and asked reads.
struct Theatre {
    broker: Broker,
    strings: UnixStream,
    opened: Instant,
}

impl Theatre {
    fn open() -> Self {
        let (strings, theirs) = UnixStream::pair().unwrap();
        strings.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut sandbox = Sandbox::new(PYTHON);
        sandbox
            .args(["-c", PUPPET])
            .pass_fd_named("strings", theirs)
            .current_dir("/");
        let broker = Broker::new(&mut sandbox).unwrap();
        let opened = Instant::now();
        Self {
            broker,
            strings,
            opened,
        }
    }

    /// Have the puppet do `letters`, one after the other.
    fn act(&mut self, letters: &str) {
        for letter in letters.bytes() {
            self.tell(letter);
            let strings = self.strings.try_clone().unwrap();
            self.look_after_until_readable(&strings);
            let mut done = [0];
            self.strings.read_exact(&mut done).unwrap();
            assert_eq!(done[0], letter);
        }
    }

    /// What a server's event loop does.
    fn look_after_until_readable(&mut self, other: impl AsFd) {
        while self.wait_for_news(other.as_fd()) {}
    }

    /// Wait for the broker or `other`, for whatever time it takes; whether it was the broker alone.
    fn wait_for_news(&mut self, other: BorrowedFd<'_>) -> bool {
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let broker = self.broker.as_fd().try_clone_to_owned().unwrap();
        let mut watched = [watch(broker.as_fd()), watch(other)];
        poll(&mut watched, 60_000_u16).unwrap();
        assert!(self.opened.elapsed() < PATIENCE, "nothing comes");
        self.broker.attend().unwrap();
        watched[1].any() == Some(false)
    }

    /// Everything that comes for a client.
    fn rest(&mut self, mut client: UnixStream) -> String {
        let mut answer = String::new();
        loop {
            self.look_after_until_readable(&client);
            let mut part = [0; 64];
            match client.read(&mut part).unwrap() {
                0 => return answer,
                length => answer.push_str(std::str::from_utf8(&part[..length]).unwrap()),
            }
        }
    }

    /// Have it do what it does not come back from.
    fn tell(&mut self, letter: u8) {
        self.strings.write_all(&[letter]).unwrap();
    }

    /// A connection sent to it: the client's end.
    fn send(&mut self) -> UnixStream {
        let (client, server) = UnixStream::pair().unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        self.broker
            .send(Accepted::new(server).listener(ListenerName::new("test").unwrap()))
            .unwrap();
        client
    }

    /// Wait for the next event that `wanted` takes, looking after the workers.
    fn wait<T>(&mut self, wanted: impl Fn(Event) -> Option<T>) -> T {
        loop {
            while let Some(event) = self.broker.next_event() {
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
            // Nothing but the broker has anything to say.
            let (silent, _other) = UnixStream::pair().unwrap();
            self.wait_for_news(silent.as_fd());
        }
    }

    fn wait_ready(&mut self) -> u32 {
        self.wait(|event| match event {
            Event::Ready { pid, .. } => Some(pid),
            _ => None,
        })
    }

    fn wait_ended(&mut self) -> (Option<String>, Vec<u64>, Vec<u64>) {
        self.wait(|event| match event {
            Event::Ended {
                fault,
                returned,
                lost,
                ..
            } => Some((fault, returned, lost)),
            _ => None,
        })
    }
}

/// What `act` gives, if that comes in time: for what waits by itself.
fn within<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || sender.send(act()));
    receiver.recv_timeout(PATIENCE).expect("it comes to an end")
}

fn rest(mut client: UnixStream) -> String {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_a_killed_worker_had_not_taken_is_served_by_another() {
    if !have_python() {
        return;
    }
    let mut theatre = Theatre::open();
    theatre.act("h");
    let pid = theatre.wait_ready();
    let clients: Vec<_> = (0..4).map(|_| theatre.send()).collect();
    // It takes two of four, and is through with the first of them.
    theatre.act("tts");
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    let (fault, returned, lost) = theatre.wait_ended();
    assert_eq!((fault, returned, lost), (None, vec![3, 4], vec![2]));
    // The one started in its place gets them.
    theatre.tell(b'e');
    let answers: Vec<_> = clients
        .into_iter()
        .map(|client| theatre.rest(client))
        .collect();
    assert_eq!(answers, ["served", "", "served", "served"]);
    let Theatre {
        broker, strings, ..
    } = theatre;
    // Without strings a puppet ends.
    drop(strings);
    let counts = broker.drain(PATIENCE).unwrap();
    assert_eq!((counts.sent, counts.done), (6, 3));
    assert_eq!((counts.returned, counts.lost), (2, 1));
}

#[test]
fn a_worker_that_breaks_the_rules_is_cut_off_and_its_connections_go_to_others() {
    if !have_python() {
        return;
    }
    let table = [
        ("G", "malformed message: it is of version 71"),
        ("L", "too long"),
        ("E", "shut its channel down"),
        ("S", "shut its channel down"),
        ("C", "claims 2147483648 credits, and 4096 is the most"),
        ("U", "gave back connection 18446744073709551615"),
        ("T", "gave back connection 1, which"),
        ("V", "of version 2 of the channel"),
        ("h", "said hello twice"),
        ("sT", "gave back connection 2, which"),
    ];
    for (acts, words) in table {
        let mut theatre = Theatre::open();
        theatre.act("h");
        theatre.wait_ready();
        let clients: Vec<_> = (0..3).map(|_| theatre.send()).collect();
        theatre.act("tt");
        let (right, wrong) = acts.split_at(acts.len() - 1);
        theatre.act(right);
        // It is killed before it can say that it has done it.
        theatre.tell(wrong.as_bytes()[0]);
        let (fault, returned, lost) = theatre.wait_ended();
        let fault = fault.expect("it was killed for something");
        assert!(fault.contains(words), "{acts}: {fault}");
        assert_eq!(returned, [3], "{acts}");
        let served = usize::from(acts.starts_with('s'));
        assert_eq!(lost, &[1, 2][served..], "{acts}");
        // The next one serves what came back, and whoever comes.
        theatre.tell(b'e');
        let last = theatre.send();
        assert_eq!(theatre.rest(last), "served", "{acts}");
        let mut clients = clients.into_iter().map(|client| theatre.rest(client));
        let first = clients.next().unwrap();
        assert_eq!(first, ["", "served"][served], "{acts}");
        assert_eq!(clients.next().unwrap(), "", "{acts}");
        assert_eq!(clients.next().unwrap(), "served", "{acts}");
    }
}

#[test]
fn a_worker_that_ends_by_itself_is_replaced() {
    if !have_python() {
        return;
    }
    let mut theatre = Theatre::open();
    for _ in 0..3 {
        theatre.act("h");
        theatre.wait_ready();
        theatre.tell(b'x');
        let again = theatre.wait(|event| match event {
            Event::Ended { status, again, .. } => Some((status, again)),
            _ => None,
        });
        assert_eq!(again.0.and_then(|status| status.code()), Some(3));
        assert!(again.1.is_some());
    }
    theatre.tell(b'e');
    theatre.wait_ready();
    let client = theatre.send();
    assert_eq!(theatre.rest(client), "served");
}

#[test]
fn nobody_is_given_more_than_it_asked_for_and_clients_wait_in_the_backlog() {
    if !have_python() {
        return;
    }
    let mut theatre = Theatre::open();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Before its hello it has no credit.
    let (client, server) = UnixStream::pair().unwrap();
    let error = theatre.broker.try_send(server).unwrap_err();
    assert!(matches!(error.reason, Unsent::Full), "{error}");
    drop((client, error));
    theatre.act("h");
    theatre.wait_ready();
    assert_eq!(theatre.broker.credits().unwrap(), 8);
    let mut clients: Vec<_> = (0..8).map(|_| theatre.send()).collect();
    assert_eq!(theatre.broker.credits().unwrap(), 0);
    let (client, server) = UnixStream::pair().unwrap();
    let error = theatre.broker.try_send(server).unwrap_err();
    assert!(matches!(error.reason, Unsent::Full), "{error}");
    // It came back whole.
    let socket: std::os::fd::OwnedFd = (*error.connection).into();
    UnixStream::from(socket).write_all(b"back").unwrap();
    assert_eq!(rest(client), "back");
    // A client in the backlog is not announced before somebody gives a credit back.
    let _waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theatre.act("ts");
    theatre.broker.wait_for(&listener).unwrap();
    assert_eq!(theatre.broker.credits().unwrap(), 1);
    assert_eq!(rest(clients.remove(0)), "served");
    assert_eq!(theatre.broker.outstanding().unwrap(), 7);
}

#[test]
fn a_worker_that_does_not_finish_is_killed_when_its_time_is_over() {
    if !have_python() {
        return;
    }
    let mut theatre = Theatre::open();
    theatre.act("h");
    theatre.wait_ready();
    let client = theatre.send();
    theatre.act("t");
    let Theatre {
        broker, strings, ..
    } = theatre;
    let counts = within(move || broker.drain(Duration::from_millis(50))).unwrap();
    assert_eq!((counts.sent, counts.done, counts.lost), (1, 0, 1));
    assert_eq!(rest(client), "");
    drop(strings);
}

#[test]
fn of_a_worker_that_talks_much_some_is_heard_at_a_time() {
    if !have_python() {
        return;
    }
    let mut theatre = Theatre::open();
    theatre.act("h");
    theatre.wait_ready();
    theatre.tell(b'F');
    theatre.strings.read_exact(&mut [0]).unwrap();
    let mut broker = theatre.broker;
    let mut has_more = || {
        broker.attend().unwrap();
        let mut watched = [PollFd::new(broker.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, 0_u16).unwrap() == 1
    };
    // One that never ends would have the server's time for ever.
    assert!(has_more());
    while has_more() {}
}

#[test]
fn connections_without_a_worker_can_be_taken_back() {
    if !have_python() {
        return;
    }
    let mut theatre = Theatre::open();
    theatre.act("h");
    let pid = theatre.wait_ready();
    let client = theatre.send();
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    theatre.wait_ended();
    // Its successor has not said hello.
    let mut back = theatre.broker.take_back();
    let socket: std::os::fd::OwnedFd = back.remove(0).into();
    UnixStream::from(socket).write_all(b"sorry").unwrap();
    assert_eq!(rest(client), "sorry");
    assert!(back.is_empty());
    assert_eq!(theatre.broker.outstanding().unwrap(), 0);
}

/// A broker in this process with one Rust worker.
fn rust_broker(change: impl FnOnce(&mut Sandbox)) -> Broker {
    let mut sandbox = Sandbox::new(example("worker"));
    sandbox.current_dir("/");
    change(&mut sandbox);
    Broker::new(&mut sandbox).unwrap()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    tcp_pair_at("127.0.0.1:0")
}

fn tcp_pair_at(address: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    (client, listener.accept().unwrap().0)
}

fn ask(client: &mut TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_worker_is_told_what_the_server_said_of_the_connection() {
    let mut broker = rust_broker(|_| ());
    let (mut client, server) = tcp_pair();
    let peer: SocketAddr = "[2001:db8::5]:99".parse().unwrap();
    let name = ListenerName::new("front").unwrap();
    broker
        .send(Accepted::new(server).listener(name).peer(peer))
        .unwrap();
    let answer = ask(&mut client);
    assert!(answer.contains("hello [2001:db8::5]:99, "), "{answer}");
    assert!(answer.ends_with(" by front\n"), "{answer}");
}

#[test]
fn what_waits_is_accepted_and_sent_by_one_call() {
    let mut broker = rust_broker(|_| ());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let unix = tempfile::tempdir().unwrap();
    let unix = unix.path().join("socket");
    let unix_listener = UnixListener::bind(&unix).unwrap();
    unix_listener.set_nonblocking(true).unwrap();
    // One at a time, and many at once: all are answered, by one or several calls.
    for crowd in [1, 1, 1, 20, 20, 1] {
        // All ask before anything is accepted: the worker has few at a time.
        let ask_at_once = |_| {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client
        };
        let mut clients: Vec<_> = (0..crowd).map(ask_at_once).collect();
        let mut sent = 0;
        while sent < crowd {
            sent += broker.accept_from(&listener).unwrap();
        }
        assert_eq!(sent, crowd);
        for client in &mut clients {
            let own = client.local_addr().unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.contains(&format!("hello {own}, ")), "{answer}");
        }
    }
    let mut client = UnixStream::connect(&unix).unwrap();
    assert_eq!(broker.accept_from(&unix_listener).unwrap(), 1);
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(rest(client).contains("hello "));
    // What is no listener is an error, not a loop.
    let (_client, server) = tcp_pair();
    server.shutdown(std::net::Shutdown::Both).unwrap();
    let error = broker.accept_from(&server).unwrap_err().to_string();
    assert!(error.contains("accept from the listener"), "{error}");
}

#[test]
fn a_connection_whose_time_is_over_is_refused() {
    let mut broker = rust_broker(|_| ());
    let (mut client, server) = tcp_pair();
    broker
        .send(Accepted::new(server).deadline(Duration::from_nanos(1)))
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "");
    // The control: with time enough it is served.
    let (mut client, server) = tcp_pair();
    broker
        .send(Accepted::new(server).deadline(PATIENCE))
        .unwrap();
    assert!(ask(&mut client).starts_with("HTTP/1.1 200"));
    let counts = broker.drain(PATIENCE).unwrap();
    assert_eq!((counts.done, counts.refused, counts.lost), (1, 1, 0));
}

#[test]
fn a_worker_without_descriptors_left_refuses_and_serves_on() {
    // Standard streams, the channel twice, and room for three.
    let mut broker = rust_broker(|sandbox| {
        sandbox.arg("6").limit("nofile", "8").unwrap();
    });
    let mut pairs = Vec::new();
    for _ in 0..6 {
        let (client, server) = tcp_pair();
        broker.send(server).unwrap();
        pairs.push(client);
    }
    // Those for which there was no number are closed at once, the others are held until they speak.
    let refused = pairs.split_off(3);
    for mut client in refused {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "");
    }
    for client in &mut pairs {
        assert!(ask(client).starts_with("HTTP/1.1 200"));
    }
    let (mut client, server) = tcp_pair();
    broker.send(server).unwrap();
    assert!(ask(&mut client).starts_with("HTTP/1.1 200"));
    let counts = broker.drain(PATIENCE).unwrap();
    assert_eq!((counts.done, counts.refused, counts.lost), (4, 3, 0));
}

#[test]
fn draining_waits_for_connections_in_threads() {
    let mut broker = rust_broker(|sandbox| {
        sandbox.arg("2");
    });
    let (mut one, server) = tcp_pair();
    broker.send(server).unwrap();
    let (mut other, server) = tcp_pair();
    broker.send(server).unwrap();
    let drained = thread::spawn(move || broker.drain(PATIENCE).unwrap());
    // Whether they speak before or after the worker was told makes no difference.
    assert!(ask(&mut one).starts_with("HTTP/1.1 200"));
    assert!(ask(&mut other).starts_with("HTTP/1.1 200"));
    let counts = drained.join().unwrap();
    assert_eq!((counts.done, counts.lost), (2, 0));
}

#[test]
fn a_client_that_is_gone_before_it_is_sent_harms_nobody() {
    let mut broker = rust_broker(|_| ());
    let (client, server) = tcp_pair();
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    drop(client);
    broker.send(server).unwrap();
    let (mut client, server) = tcp_pair();
    broker.send(server).unwrap();
    assert!(ask(&mut client).starts_with("HTTP/1.1 200"));
    assert_eq!(broker.drain(PATIENCE).unwrap().done, 2);
}

#[test]
fn a_worker_cannot_have_pipes_that_nobody_reads() {
    let mut sandbox = Sandbox::new("true");
    sandbox.stdout(sandbox::Stdio::Piped);
    assert!(matches!(
        Broker::new(&mut sandbox),
        Err(Error::Usage { .. })
    ));
}

#[test]
fn a_program_that_was_not_started_by_a_broker_says_so() {
    let output = Command::new(example("worker")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("SANDBOX_CHANNEL"), "{said}");
}

#[test]
fn the_broker_keeps_no_descriptor_of_a_connection() {
    each_user(|user| {
        let worker = example("worker");
        let server = Server::start(user, "127.0.0.1:0", "2", &[worker.to_str().unwrap()]);
        let open = || {
            let path = format!("/proc/{}/fd", server.process.id());
            fs::read_dir(path).expect("it runs").count()
        };
        server.get().unwrap();
        let before = open();
        for _ in 0..100 {
            assert!(server.get().unwrap().starts_with("HTTP/1.1 200"));
        }
        // The last client had its answer: the broker's copy was closed before the worker had it.
        assert_eq!(open(), before, "as {}", user.name);
        server.end();
    });
}

#[test]
fn no_client_hangs_while_workers_are_killed() {
    let worker = example("worker");
    each_user(|user| {
        let mut server = Server::start(user, "127.0.0.1:0", "2", &[worker.to_str().unwrap(), "4"]);
        let address = server.address;
        let get = move || -> io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let clients: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(move || {
                    let mut served = 0;
                    for _ in 0..150 {
                        match get() {
                            Ok(answer) if answer.starts_with("HTTP/1.1 200") => served += 1,
                            // Its worker died with it: an end, or a reset.
                            Ok(answer) => assert_eq!(answer, ""),
                            Err(error) => {
                                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                            }
                        }
                    }
                    served
                })
            })
            .collect();
        let mut killed = 0;
        let mut line = String::new();
        while killed < 4 && !clients.iter().all(thread::JoinHandle::is_finished) {
            line.clear();
            server.output.read_line(&mut line).unwrap();
            let pid = line
                .strip_prefix("Ready { pid: ")
                .and_then(|rest| rest.split(',').next()?.parse().ok());
            if let Some(pid) = pid {
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
                killed += 1;
            }
        }
        let served: u64 = clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum();
        assert!(served >= 400, "as {}: {served}", user.name);
        let lines = server.end();
        let number = |name| count(&lines, name);
        assert_eq!(number("sent"), 600 + number("returned"), "{lines:?}");
        assert_eq!(number("done") + number("lost"), 600, "{lines:?}");
    });
}

#[test]
fn counts_begin_at_nothing() {
    assert_eq!(rust_broker(|_| ()).counts(), Counts::default());
}
