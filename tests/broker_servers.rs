//! The recipes of `examples/serve/`: real servers behind `sandbox serve`, each started by its `run`.
//!
//! Each has a route that calls a port that the client names, as a bug would. The control is the same
//! `run` with another `sandbox` first in `PATH`, which hands the socket over in the same way and
//! isolates nothing. A server that is not installed is skipped, loudly.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use support::broker::{Broker, connect};
use support::{User, each_user, have, skip, success, text, users};

/// Where the system's own programs are: what lies in root's home is not for everybody.
const SYSTEM: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// A `sandbox` that gives the listener on its standard input on as descriptor 3, and isolates nothing.
const BARE_LISTENER: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do
    case $1 in --env) export "$2"; shift ;; esac
    shift
done
shift
exec 3<&0 </dev/null
LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http exec "$@"
"#;

/// The same for a connection, as 0, 1 and 3.
const BARE_CONNECTION: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do shift; done
shift
exec 1<&0 3<&0
exec "$@"
"#;

/// A server outside, which answers "reached" and counts those that it has answered.
struct Outside {
    port: u16,
    reached: Arc<AtomicUsize>,
}

impl Outside {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let reached = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reached);
        thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                let Ok(mut stream) = stream else { return };
                thread::spawn(move || {
                    let mut request = [0; 4096];
                    // A client that leaves is none of this server's business.
                    let _ = stream.read(&mut request);
                    let _ = stream.write_all(
                        b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nreached\n",
                    );
                });
            }
        });
        Self { port, reached }
    }

    fn count(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }
}

/// A copy of a recipe that belongs to one user.
struct Recipe<'a> {
    user: &'a User,
    place: PathBuf,
    /// The address in its `run`.
    address: SocketAddr,
}

impl<'a> Recipe<'a> {
    /// A copy of the recipe called `name` for `user`, with a port that was free a moment ago in place
    /// of its own, which is `port`.
    fn copy(user: &'a User, name: &str, port: u16) -> Self {
        let place = user.home.join(format!("serve-{name}"));
        if place.exists() {
            fs::remove_dir_all(&place).unwrap();
        }
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/serve");
        let written = format!("127.0.0.1:{port}");
        copy(&from.join(name), &place, &written, &address.to_string());
        let recipe = Self {
            user,
            place,
            address,
        };
        recipe.give();
        recipe
    }

    /// Let all of it belong to its user.
    fn give(&self) {
        give(&self.place, self.user);
    }

    /// Build it with `words`, as whoever runs the tests: the tool chain is theirs.
    fn build(&self, words: &[&str]) {
        let output = Command::new(words[0])
            .args(&words[1..])
            .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go-cache"))
            .env("GOFLAGS", "-buildvcs=false")
            .env("CGO_ENABLED", "0")
            .current_dir(&self.place)
            .output()
            .unwrap();
        success(self.user, &output);
        self.give();
    }

    /// Its `run`, with the `sandbox` that lies in `directory`.
    fn run(&self, directory: &Path, options: &[&str]) -> Command {
        let mut command = self.user.command(self.place.join("run"));
        command
            .env("PATH", format!("{}:{SYSTEM}", directory.display()))
            .env("LC_ALL", "C.UTF-8")
            .args(options);
        command
    }

    /// Behind the broker.
    fn serve(&self, options: &[&str]) -> Broker {
        let mut all = vec!["--events", "fd:2"];
        all.extend(options);
        let directory = self.user.sandbox.parent().unwrap();
        let mut broker = Broker::launch(&mut self.run(directory, &all));
        broker.wait("ready", |_| true);
        broker
    }

    /// The command without isolation, with `socket` to serve.
    fn bare(&self, script: &str, socket: impl Into<OwnedFd>) -> Command {
        let directory = self.place.join("bare");
        let path = directory.join("sandbox");
        if !path.exists() {
            // Its /tmp is not its own.
            let here = format!("{}/", self.place.display());
            copy(&self.place, &self.place, "/tmp/", &here);
            fs::create_dir_all(&directory).unwrap();
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = self.run(&directory, &[]);
        command
            .stdin(Stdio::from(socket.into()))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Serves one connection after the other, each by a process of its own, without isolation.
    fn bare_connections(&self, count: usize) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let socket = listener.try_clone().unwrap();
        // Made once before, as whoever is served must not be in the way.
        drop(self.bare(BARE_CONNECTION, socket));
        let (user, place) = (self.user.clone(), self.place.clone());
        thread::spawn(move || {
            let recipe = Recipe {
                user: &user,
                place,
                address,
            };
            for _ in 0..count {
                let (client, _) = listener.accept().unwrap();
                let mut command = recipe.bare(BARE_CONNECTION, client.try_clone().unwrap());
                let mut child = command
                    .stdout(Stdio::from(OwnedFd::from(client)))
                    .spawn()
                    .unwrap();
                // What it has become shows in what its client got.
                drop(command);
                let _ = child.wait();
            }
        });
        address
    }
}

/// Ends a server, whatever becomes of the test.
struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        // It is the head of its own process group, with all of its workers.
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        let _ = nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// A copy of what is in `from`, with `replacement` in place of `text`.
fn copy(from: &Path, to: &Path, text: &str, replacement: &str) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target, text, replacement);
            continue;
        }
        // What was built in the folder itself is not text, and is built anew.
        let Ok(content) = fs::read_to_string(entry.path()) else {
            continue;
        };
        fs::write(&target, content.replace(text, replacement)).unwrap();
        let mode = fs::metadata(entry.path()).unwrap().permissions();
        fs::set_permissions(&target, mode).unwrap();
    }
}

fn give(path: &Path, user: &User) {
    lchown(path, Some(user.uid), Some(user.gid)).expect("ours, or root gives it away");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

/// What an HTTP server at `address` answers to a request for `path`.
fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = connect(address);
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    rest(stream)
}

/// What a FastCGI server at `address` answers for `script` with `query`.
fn fastcgi(address: SocketAddr, script: &Path, query: &str) -> String {
    fn record(kind: u8, content: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        let mut bytes = vec![1, kind, 0, 1, high, low, 0, 0];
        bytes.extend_from_slice(content);
        bytes
    }
    const BEGIN: u8 = 1;
    const PARAMETERS: u8 = 4;
    const INPUT: u8 = 5;
    let mut parameters = Vec::new();
    for (name, value) in [
        ("SCRIPT_FILENAME", script.to_str().unwrap()),
        ("REQUEST_METHOD", "GET"),
        ("QUERY_STRING", query),
    ] {
        let length = u32::try_from(value.len()).unwrap() | 1 << 31;
        parameters.push(u8::try_from(name.len()).unwrap());
        parameters.extend_from_slice(&length.to_be_bytes());
        parameters.extend_from_slice(name.as_bytes());
        parameters.extend_from_slice(value.as_bytes());
    }
    let mut stream = connect(address);
    for (kind, content) in [
        (BEGIN, [0, 1, 0, 0, 0, 0, 0, 0].as_slice()),
        (PARAMETERS, &parameters),
        (PARAMETERS, &[]),
        (INPUT, &[]),
    ] {
        stream.write_all(&record(kind, content)).unwrap();
    }
    rest(stream)
}

fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is no matter; no answer shows in what is returned.
    let _ = stream.read_to_end(&mut answer);
    text(&answer)
}

/// Whether `ask` for the port of a server outside reaches it, and what it brought.
fn reaches(outside: &Outside, ask: impl FnOnce(u16) -> String) -> (bool, String) {
    let before = outside.count();
    let said = ask(outside.port);
    (outside.count() > before && said.contains("reached"), said)
}

/// The claim for a server with its listening socket: it answers, it reaches nobody, and bare it does.
fn answers_and_calls_nobody(
    name: &str,
    port: u16,
    build: &[&str],
    ask: impl Fn(&Recipe<'_>, Option<u16>) -> String,
) {
    let outside = Outside::start();
    each_user(|user| {
        let recipe = Recipe::copy(user, name, port);
        if !build.is_empty() {
            recipe.build(build);
        }
        let mut broker = recipe.serve(&[]);
        let said = ask(&recipe, None);
        assert!(said.contains("answered"), "as {}: {said}", user.name);
        let before = outside.count();
        let (reached, said) = reaches(&outside, |port| ask(&recipe, Some(port)));
        assert!(!reached, "as {}: {said}", user.name);
        assert_eq!(outside.count(), before, "as {}: it was called", user.name);
        let explained = ["refused", "500 Internal", "503 Service"];
        assert!(
            explained.iter().any(|words| said.contains(words)),
            "as {}: {said}",
            user.name
        );
        // It still serves.
        assert!(ask(&recipe, None).contains("answered"));
        broker.stop();

        let listener = TcpListener::bind(recipe.address).unwrap();
        let mut command = recipe.bare(BARE_LISTENER, listener);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let bare = Bare(command.spawn().unwrap());
        drop(command);
        let (reached, said) = reaches(&outside, |port| ask(&recipe, Some(port)));
        assert!(reached, "bare, as {}: {said}", user.name);
        drop(bare);
    });
}

fn web(name: &str, build: &[&str]) {
    answers_and_calls_nobody(name, 8080, build, |recipe, port| match port {
        Some(port) => http(recipe.address, &format!("/fetch?port={port}")),
        None => http(recipe.address, "/"),
    });
}

#[test]
fn nginx_answers_and_calls_nobody() {
    if have("nginx") {
        web("nginx", &[]);
    }
}

#[test]
fn gunicorn_answers_and_calls_nobody() {
    if have("gunicorn") {
        web("gunicorn", &[]);
    }
}

#[test]
fn uvicorn_answers_and_calls_nobody() {
    if have("uvicorn") {
        web("uvicorn", &[]);
    }
}

#[test]
fn node_answers_and_calls_nobody() {
    if have("node") {
        web("node", &[]);
    }
}

#[test]
fn a_go_server_answers_and_calls_nobody() {
    if have("go") {
        web("go", &["go", "build", "-o", "server", "main.go"]);
    }
}

#[test]
fn a_rust_server_answers_and_calls_nobody() {
    if have("rustc") {
        web("rust", &["rustc", "-o", "server", "main.rs"]);
    }
}

#[test]
fn haproxy_answers_and_calls_nobody() {
    if have("haproxy") {
        web("haproxy", &[]);
    }
}

#[test]
fn php_fpm_answers_and_calls_nobody() {
    if have("php-fpm8.2") {
        answers_and_calls_nobody("php-fpm", 9000, &[], |recipe, port| {
            let query = port.map_or(String::new(), |port| format!("port={port}"));
            fastcgi(recipe.address, &recipe.place.join("index.php"), &query)
        });
    }
}

/// The claim for a web server of one connection each.
fn one_connection_each(name: &str, page: &str, fetch: &str, expected: &str) {
    let outside = Outside::start();
    each_user(|user| {
        let recipe = Recipe::copy(user, name, 8080);
        let mut broker = recipe.serve(&[]);
        for _ in 0..4 {
            let said = http(recipe.address, page);
            assert!(said.contains(expected), "as {}: {said}", user.name);
        }
        let before = outside.count();
        let fetch = |address, port| http(address, &format!("{fetch}?port={port}"));
        let (reached, said) = reaches(&outside, |port| fetch(recipe.address, port));
        assert!(!reached, "as {}: {said}", user.name);
        assert!(said.contains("refused"), "as {}: {said}", user.name);
        assert_eq!(outside.count(), before, "as {}: it was called", user.name);
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
        assert_eq!(broker.all("accepted").len(), 5);

        let address = recipe.bare_connections(1);
        let (reached, said) = reaches(&outside, |port| fetch(address, port));
        assert!(reached, "bare, as {}: {said}", user.name);
    });
}

#[test]
fn a_shell_script_serves_one_connection_each_and_calls_nobody() {
    if have("bash") {
        one_connection_each("http-shell", "/", "/fetch", "answered 127.0.0.1");
    }
}

#[test]
fn busybox_serves_one_connection_each_and_calls_nobody() {
    if have("busybox") {
        one_connection_each("busybox-httpd", "/index.html", "/cgi-bin/fetch", "answered");
    }
}

#[test]
fn a_repository_is_cloned_from_git_daemon() {
    if !have("git") {
        return;
    }
    each_user(|user| {
        let recipe = Recipe::copy(user, "git-daemon", 9418);
        let shell = |script: &str| {
            let mut command = user.command("/bin/sh");
            command
                .args(["-ec", script])
                .env("PATH", SYSTEM)
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("GIT_TERMINAL_PROMPT", "0")
                .current_dir(&recipe.place);
            success(user, &command.output().unwrap())
        };
        shell(
            "git init -q --bare repositories/one.git; git init -q work; cd work; echo a > a; git add a
             git -c user.name=n -c user.email=e@example.com commit -qm first
             git push -q ../repositories/one.git HEAD:refs/heads/main
             git --git-dir ../repositories/one.git symbolic-ref HEAD refs/heads/main",
        );
        let mut broker = recipe.serve(&[]);
        let clone = format!(
            "git clone -q git://{}/one.git cloned; git -C cloned fsck; git -C cloned log --format=%s",
            recipe.address
        );
        assert_eq!(shell(&clone), "first", "as {}", user.name);
        broker.stop();
        broker.assert_every_connection_is_accounted_for();
    });
}

#[test]
fn a_login_over_ssh_works_and_forwards_nothing() {
    let Some(ordinary) = users().iter().find(|user| !user.is_root()) else {
        return skip("sshd", "there is no ordinary user to log in");
    };
    if !have("sshd") || !have("ssh") || !have("ssh-keygen") {
        return;
    }
    let outside = Outside::start();
    let passwords = fs::read_to_string("/etc/passwd").unwrap();
    let is_theirs = |line: &&str| line.split(':').nth(2) == Some(&ordinary.uid.to_string());
    let Some(line) = passwords.lines().find(is_theirs) else {
        return skip("sshd", "the user is not in /etc/passwd");
    };
    let login = line.split(':').next().unwrap();
    each_user(|user| {
        // Whoever starts the broker, the ordinary user is who logs in.
        let mut recipe = Recipe::copy(user, "sshd", 2222);
        for key in ["host_key", "own_key"] {
            let mut command = user.command("/usr/bin/ssh-keygen");
            command
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(recipe.place.join(key));
            success(user, &command.output().unwrap());
        }
        fs::copy(
            recipe.place.join("own_key.pub"),
            recipe.place.join("authorized_keys"),
        )
        .unwrap();
        give(&recipe.place, ordinary);
        let ssh = |address: SocketAddr, words: &[&str]| -> Output {
            let mut command = ordinary.command("/usr/bin/ssh");
            command
                .args(["-F", "/dev/null", "-o", "StrictHostKeyChecking=no"])
                .args([
                    "-o",
                    "UserKnownHostsFile=/dev/null",
                    "-o",
                    "IdentitiesOnly=yes",
                ])
                .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-T"])
                .args(["-p", &address.port().to_string(), "-l", login, "-i"])
                .arg(recipe.place.join("own_key"))
                .args(words);
            command.output().unwrap()
        };
        let options: &[&str] = if user.is_root() {
            &["--user", login]
        } else {
            &[]
        };
        let mut broker = recipe.serve(options);
        let output = ssh(recipe.address, &["127.0.0.1", "id -un; ls /sys/class/net"]);
        assert_eq!(
            success(user, &output),
            format!("{login}\nlo"),
            "as {}",
            user.name
        );
        let forward = format!("127.0.0.1:{}", outside.port);
        let before = outside.count();
        let output = ssh(recipe.address, &["-W", &forward, "127.0.0.1"]);
        let said = text(&output.stderr);
        assert!(!output.status.success(), "as {}: {said}", user.name);
        assert!(said.contains("open failed"), "as {}: {said}", user.name);
        assert_eq!(outside.count(), before);
        broker.stop();
        broker.assert_every_connection_is_accounted_for();

        recipe.user = ordinary;
        let address = recipe.bare_connections(1);
        let output = ssh(address, &["-W", &forward, "127.0.0.1"]);
        assert!(outside.count() > before, "bare: {}", text(&output.stderr));
    });
}

/// Every recipe is run by a test of this file: a folder that is not is found here.
#[test]
fn every_recipe_is_tried() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/serve");
    let tests = include_str!("broker_servers.rs");
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let name = entry.file_name().into_string().unwrap();
            assert!(
                tests.contains(&format!("\"{name}\"")),
                "{name} is not tried"
            );
            assert!(entry.path().join("run").is_file(), "{name} has no run");
        }
    }
}
