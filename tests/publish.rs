//! `--publish`: the host reaches a port of the sandbox's loopback, and the sandbox reaches nothing by it.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{User, each_user, have, success, text};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that answers each connection with what it sent in capitals, once that has ended.
const SERVER: &str = r#"
import errno, socket, sys, threading
def serve(family, address, port):
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(1024)
    def loop():
        while True:
            threading.Thread(target=answer, args=listener.accept(), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()
def answer(connection, peer):
    with connection:
        data = b""
        while more := connection.recv(65536):
            data += more
        connection.sendall(data.upper())
def attempt(host, port):
    try:
        with socket.create_connection((host, port), 5) as s:
            s.sendall(b"x")
            return s.recv(1).decode() or "end"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
"#;

/// A sandbox that publishes, up as long as this lives.
struct Published<'a> {
    user: &'a User,
    process: Child,
    events: std::path::PathBuf,
    lines: BufReader<std::process::ChildStdout>,
}

impl Drop for Published<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl<'a> Published<'a> {
    /// Run `script` after [`SERVER`]; it says "ready", and ends with its standard input.
    fn start(user: &'a User, options: &[&str], script: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("published-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let events = user.home.join(&name);
        let _ = fs::remove_file(&events);
        let script = format!("{SERVER}\n{script}\nprint('ready', flush=True)\nsys.stdin.read()");
        let mut process = user
            .sandbox(&["-q", "--events", &name])
            .args(options)
            .args(["--", "/usr/bin/python3", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let lines = BufReader::new(process.stdout.take().expect("it is a pipe"));
        let mut published = Self {
            user,
            process,
            events,
            lines,
        };
        published.wait_for("ready");
        published
    }

    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("it says something");
        if line.trim() != word {
            let mut said = String::new();
            let _ = self.process.kill();
            if let Some(mut stderr) = self.process.stderr.take() {
                let _ = stderr.read_to_string(&mut said);
            }
            panic!("as {}: {line:?}, {said}", self.user.name);
        }
    }

    fn events(&self) -> Vec<Value> {
        let written = fs::read_to_string(&self.events).unwrap_or_default();
        let lines = written.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("each line is an object"))
            .collect()
    }

    /// Wait for `count` events of one kind.
    fn wait_for_events(&self, kind: &str, count: usize) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let mut events = self.events();
            events.retain(|event| event["event"] == kind);
            if events.len() >= count {
                return events;
            }
            assert!(began.elapsed() < PATIENCE, "no {kind}: {:?}", self.events());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn addresses(&self, count: usize) -> Vec<SocketAddr> {
        let events = self.wait_for_events("listening", count);
        let address = |event: &Value| event["address"].as_str().and_then(|a| a.parse().ok());
        let addresses: Option<Vec<_>> = events.iter().map(address).collect();
        addresses.expect("each says where")
    }
}

/// What the server answers to `words`.
fn ask(address: SocketAddr, words: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(words)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_published_port_is_reached_from_the_host_with_both_ends_carried_over() {
    if !have("python3") {
        return;
    }
    each_user(|user| {
        let options = ["--publish", "127.0.0.1:0:8000"];
        let published = Published::start(user, &options, "serve(2, '127.0.0.1', 8000)");
        let address = published.addresses(1)[0];
        assert!(address.ip().is_loopback());
        let words = vec![b'a'; 3_000_000];
        assert_eq!(ask(address, &words).unwrap(), vec![b'A'; 3_000_000]);
        let inbound = &published.wait_for_events("inbound", 1)[0];
        assert_eq!(inbound["verdict"], "allowed", "{inbound}");
        assert_eq!(inbound["bytes_in"], 3_000_000, "{inbound}");
        assert_eq!(inbound["bytes_out"], 3_000_000, "{inbound}");
        assert_eq!(inbound["inside"], 8000, "{inbound}");
        // A port inside that is not published is not reached: nothing of the host leads there.
        assert!(ask(SocketAddr::from(([127, 0, 0, 1], 8000)), b"x").is_err());
    });
}

#[test]
fn a_port_below_1024_is_published_too() {
    if !have("python3") {
        return;
    }
    each_user(|user| {
        let options = ["--publish", "127.0.0.1:0:80", "--publish", "127.0.0.1:0:1"];
        let script = "serve(2, '127.0.0.1', 80); serve(2, '127.0.0.1', 1)";
        let published = Published::start(user, &options, script);
        for address in published.addresses(2) {
            let answer = ask(address, b"a request").unwrap();
            assert_eq!(answer, b"A REQUEST", "as {}", user.name);
        }
    });
}

#[test]
fn more_connections_at_once_than_sockets_are_kept_ready_are_all_served() {
    if !have("python3") {
        return;
    }
    each_user(|user| {
        let options = ["--publish", "0:8000"];
        let published = Published::start(user, &options, "serve(2, '0.0.0.0', 8000)");
        let address = published.addresses(1)[0];
        let all: Vec<_> = (0..200)
            .map(|number: u32| {
                thread::spawn(move || ask(address, format!("n{number}").as_bytes()).unwrap())
            })
            .collect();
        for (number, one) in all.into_iter().enumerate() {
            assert_eq!(one.join().unwrap(), format!("N{number}").as_bytes());
        }
        assert_eq!(published.wait_for_events("inbound", 200).len(), 200);
    });
}

#[test]
fn a_server_of_either_family_is_found_and_one_that_is_not_there_is_a_reset() {
    if !have("python3") {
        return;
    }
    each_user(|user| {
        let options = ["--publish", "0:8000", "--publish", "0:8001"];
        let published = Published::start(user, &options, "serve(10, '::1', 8000)");
        let addresses = published.addresses(2);
        assert_eq!(ask(addresses[0], b"six").unwrap(), b"SIX");
        let error = ask(addresses[1], b"x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        // The first one goes on.
        assert_eq!(ask(addresses[0], b"again").unwrap(), b"AGAIN");
        let failed = published.wait_for_events("inbound", 3);
        assert!(failed.iter().any(|event| event["verdict"] == "failed"));
    });
}

#[test]
fn what_is_published_is_no_way_out() {
    if !have("python3") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"y"));
        }
    });
    each_user(|user| {
        // To the host's own port, to where sockets are made, and to an address of the world.
        let script = format!(
            r#"
print(attempt("127.0.0.1", {port}), attempt("127.83.66.88", 1), attempt("192.0.2.1", 80))
"#,
            port = host.port()
        );
        let script = format!("{SERVER}\n{script}");
        let python = ["--", "/usr/bin/python3", "-c", &script];
        let run = |options: &[&str]| {
            let all: Vec<&str> = options.iter().chain(&python).copied().collect();
            success(user, &user.output(&all))
        };
        let out = run(&["-q", "--publish", "0:8000"]);
        let [host, made, world] = out.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{out}");
        };
        assert_eq!((host, world), ("ECONNREFUSED", "ENETUNREACH"), "{out}");
        // It is taken, and closed at once.
        assert!(["end", "ECONNRESET"].contains(&made), "{out}");
        // Control: with the host's network the first is reached.
        assert!(run(&["-q", "--net", "host"]).starts_with("y "));
    });
}

#[test]
fn an_address_that_is_taken_is_an_error_and_nothing_runs() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    each_user(|user| {
        let publish = format!("{address}:80");
        let output = user.output(&["--publish", &publish, "--", "/bin/echo", "ran"]);
        assert_eq!(output.status.code(), Some(125));
        assert_eq!(text(&output.stdout), "");
        let said = text(&output.stderr);
        assert!(
            said.contains(&format!(
                "cannot listen at {address}: Address already in use"
            )),
            "{said}"
        );
        // A dry run listens nowhere.
        success(
            user,
            &user.output(&["--dry-run", "--publish", &publish, "--", "/bin/true"]),
        );
    });
}

#[test]
fn a_network_without_a_loopback_of_its_own_publishes_nothing() {
    each_user(|user| {
        for net in ["none", "fds", "host"] {
            let output = user.output(&["--net", net, "--publish", "0:80", "--", "/bin/true"]);
            assert_eq!(output.status.code(), Some(125), "{net}");
            assert!(text(&output.stderr).contains("egress.publish"), "{net}");
        }
    });
}

#[test]
fn it_works_beside_allowed_destinations() {
    if !have("python3") {
        return;
    }
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in server.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"y"));
        }
    });
    each_user(|user| {
        let script =
            format!("serve(2, '127.0.0.1', 8000)\nassert attempt('127.0.0.1', {port}) == 'y'");
        let allow = format!("127.0.0.1:{port}");
        let options = ["--publish", "0:8000", "--allow", &allow];
        let published = Published::start(user, &options, &script);
        assert_eq!(ask(published.addresses(1)[0], b"both").unwrap(), b"BOTH");
    });
}

#[test]
fn the_library_publishes_and_says_where() {
    if !have("python3") {
        return;
    }
    let script = format!(
        "{SERVER}\nserve(2, '127.0.0.1', 8000)\nprint('ready', flush=True)\nsys.stdin.read()"
    );
    let mut sandbox = sandbox::Sandbox::new("/usr/bin/python3");
    sandbox.args(["-c", &script]).publish("0:8000").unwrap();
    sandbox
        .stdin(sandbox::Stdio::Piped)
        .stdout(sandbox::Stdio::Piped);
    let mut child = match sandbox.spawn() {
        Ok(child) => child,
        Err(error) => return support::skip("the library", &error.to_string()),
    };
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    assert_eq!(ask(child.published()[0], b"library").unwrap(), b"LIBRARY");
    assert!(child.wait().unwrap().success());
    assert!(sandbox::Sandbox::new("true").publish("80").is_err());
}
