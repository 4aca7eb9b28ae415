//! `sandbox serve` under load, against its floors and its peers.
//!
//! Every server is up all the time and all take turns, a slice of the load each, so that what disturbs
//! one disturbs all. A client opens a connection, sends one request, reads the answer to its end: that
//! is one latency. Medians of the rounds are printed, and ratios. `docs/performance.md` says what came
//! out.
//!
//! ```console
//! $ cargo bench --bench broker                  # all of it; what is not installed is left out, loudly
//! $ cargo bench --bench broker -- pool          # or: listener, connection
//! $ cargo bench --bench broker -- --million     # the broker's memory over a million connections
//! ```
//!
//! The servers of its own are this program again, told by its first argument what it is.

#![expect(clippy::print_stdout, reason = "it is a program that prints tables")]

use std::env;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, setsockopt, socketpair, sockopt,
};
use nix::unistd::Pid;
use sandbox::worker::Worker;

/// How often each takes its turn.
const ROUNDS: usize = 15;
/// Connections in one turn of a server that is quick, and of one that starts a process for each.
const MANY: usize = 1500;
const FEW: usize = 60;
/// How many clients there are at once.
const CLIENTS: [usize; 2] = [1, 16];
/// Between two connections of a client that waits: no server is then busy with the one before.
const PAUSE: Duration = Duration::from_millis(20);
/// Workers of every pool.
const WORKERS: usize = 2;
/// A client's patience: only a failure ever waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const BODY: usize = 512;

/// What every server answers: as many bytes as nginx does.
fn answer() -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: {BODY}\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + BODY, b'x');
    answer
}

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let first = words.first().map_or("", String::as_str);
    let done = match first {
        "--handler" => handle(),
        "--pool-worker" => pool_worker(),
        "--accept-worker" => accept_worker(),
        "--floor" => floor(),
        "--floor-worker" => floor_worker(),
        "--million" => {
            million(
                words
                    .get(1)
                    .and_then(|n| n.parse().ok())
                    .unwrap_or(1_000_000),
            );
            Ok(())
        }
        _ => {
            let wanted = |name: &str| {
                let named: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
                named.is_empty() || named.iter().any(|word| *word == name)
            };
            if wanted("pool") {
                pool();
            }
            if wanted("listener") {
                listener();
            }
            if wanted("connection") {
                connection();
            }
            Ok(())
        }
    };
    if let Err(error) = done {
        println!("{first}: {error}");
    }
}

// ---- what serves ----

/// Read a request, answer it.
fn serve(mut stream: impl Read + Write, answer: &[u8]) {
    let mut request = [0; 1024];
    // Clients come and go as they like.
    let _ = stream.read(&mut request);
    let _ = stream.write_all(answer);
}

/// One connection on standard input and output.
fn handle() -> io::Result<()> {
    let mut request = [0; 1024];
    let _length = io::stdin().read(&mut request)?;
    io::stdout().write_all(&answer())?;
    io::stdout().flush()
}

/// A worker of `sandbox serve --hand-over pool`.
fn pool_worker() -> io::Result<()> {
    let answer = answer();
    let worker = Worker::from_env().map_err(io::Error::other)?;
    for connection in worker {
        serve(&mut connection.map_err(io::Error::other)?.stream, &answer);
    }
    Ok(())
}

/// Accepts for itself from the listener that is standard input, or descriptor 3 by the systemd protocol.
fn accept_worker() -> io::Result<()> {
    let answer = answer();
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    loop {
        serve(listener.accept()?.0, &answer);
    }
}

/// The floor of a pool: one process accepts and sends what it has accepted to workers by turns; nothing
/// else. The listener is standard input.
fn floor() -> io::Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        let mut command = Command::new(env::current_exe()?);
        let child = command.arg("--floor-worker").stdin(theirs).spawn()?;
        workers.push((ours, child));
    }
    loop {
        for (channel, _) in &workers {
            let (client, _) = listener.accept()?;
            sendmsg::<()>(
                channel.as_raw_fd(),
                &[IoSlice::new(b"x")],
                &[ControlMessage::ScmRights(&[client.as_raw_fd()])],
                MsgFlags::empty(),
                None,
            )?;
        }
    }
}

fn floor_worker() -> io::Result<()> {
    let answer = answer();
    let channel = io::stdin().as_fd().try_clone_to_owned()?;
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    loop {
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(channel.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
        if message.bytes == 0 {
            return Ok(());
        }
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(descriptors) = part {
                for descriptor in descriptors {
                    serve(owned(descriptor), &answer);
                }
            }
        }
    }
}

#[expect(unsafe_code, reason = "a received descriptor is a number")]
fn owned(descriptor: std::os::fd::RawFd) -> TcpStream {
    // SAFETY: the kernel has just made this descriptor for this process, and nobody else has it.
    unsafe { TcpStream::from_raw_fd(descriptor) }
}

// ---- starting them ----

/// A server that listens.
struct Server {
    name: &'static str,
    place: Place,
    child: Child,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                // Reset at the end: the host would otherwise remember each one for a minute.
                let linger = nix::libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                setsockopt(&stream, sockopt::Linger, &linger)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Stream::Unix(stream))
            }
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn exchange(&mut self) -> io::Result<usize> {
        let mut answer = [0; 2048];
        let mut length = 0;
        match self {
            Self::Tcp(stream) => stream.write_all(REQUEST)?,
            Self::Unix(stream) => stream.write_all(REQUEST)?,
        }
        loop {
            let part = &mut answer[length..];
            match match self {
                Self::Tcp(stream) => stream.read(part)?,
                Self::Unix(stream) => stream.read(part)?,
            } {
                0 => return Ok(length),
                more => length += more,
            }
        }
    }
}

impl Server {
    /// Start `command`, and wait until it answers at `place`.
    fn start(name: &'static str, place: Place, mut command: Command) -> Self {
        command.process_group(0);
        if env::var_os("SANDBOX_BENCH_VERBOSE").is_none() {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let child = command.spawn().expect("the server can be started");
        let server = Self { name, place, child };
        let start = Instant::now();
        while let Err(error) = server.once() {
            assert!(start.elapsed() < PATIENCE, "{name}: {error}");
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn once(&self) -> io::Result<Duration> {
        let start = Instant::now();
        let length = self.place.connect()?.exchange()?;
        if length < BODY {
            return Err(io::Error::other(format!("{length} bytes")));
        }
        Ok(start.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let head = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        // Asked first, as sandboxes end with their broker; then whatever is left of its group.
        let _ = killpg(head, Signal::SIGTERM);
        for _ in 0..50 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = killpg(head, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// A listener for a server that takes it as its standard input.
fn passed() -> (Place, OwnedFd) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    // Beyond the standard library's 128.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN).expect("it is bound");
    let address = listener.local_addr().expect("it is bound");
    (Place::Tcp(address), OwnedFd::from(listener))
}

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound")
}

/// This program as one of its own servers.
fn own(mode: &str) -> Vec<String> {
    let own = env::current_exe().expect("this program has a file");
    vec![own.to_str().expect("text").to_owned(), mode.to_owned()]
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

/// `sandbox serve` with `options`, for `worker`.
fn sandbox(
    name: &'static str,
    place: Option<Place>,
    options: &[&str],
    worker: &[String],
) -> Server {
    let place = place.unwrap_or_else(|| Place::Tcp(free()));
    let listen = match &place {
        Place::Tcp(address) => format!("tcp:{address}"),
        Place::Unix(path) => format!("unix:{}", path.display()),
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
    command.args(["serve", "--listen", &listen]).args(options);
    command.arg("--").args(worker).stdin(Stdio::null());
    Server::start(name, place, command)
}

fn installed(program: &str) -> Option<PathBuf> {
    let found = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .map(|directory| Path::new(directory).join(program))
        .into_iter()
        .find(|path| path.is_file());
    if found.is_none() {
        println!("SKIP {program}: not installed");
    }
    found
}

/// Files of this run.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        // Not below /tmp, which profiles cover.
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let directory = tempfile::tempdir_in(parent).expect("a directory can be made");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), open).expect("it is ours");
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn nginx(&self, name: &str, address: SocketAddr) -> PathBuf {
        let body = "x".repeat(BODY);
        let place = self.path(name);
        fs::create_dir_all(&place).expect("it is ours");
        let user = if nix::unistd::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let text = format!(
            "daemon off; {user} worker_processes {WORKERS}; pid nginx.pid; error_log stderr crit;
             events {{ worker_connections 1024; }}
             http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy;
               fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
               server {{ listen {address} backlog=4096; default_type text/plain;
                 location / {{ return 200 '{body}'; }} }} }}\n"
        );
        fs::write(place.join("nginx.conf"), text).expect("it is ours");
        place
    }
}

fn nginx_words(program: &Path, place: &Path) -> Vec<String> {
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    ["-e", "stderr", "-p", &text(place), "-c", "nginx.conf"]
        .into_iter()
        .fold(vec![text(program)], |mut words, word| {
            words.push(word.to_owned());
            words
        })
}

// ---- the load ----

/// What a server did in one turn.
struct Turn {
    latencies: Vec<f64>,
    rate: f64,
    failures: usize,
}

/// `total` connections by `clients` at once.
fn turn(place: &Place, clients: usize, total: usize, pause: Duration) -> Turn {
    let left = AtomicUsize::new(total);
    let start = Instant::now();
    let parts: Vec<(Vec<f64>, usize)> = thread::scope(|scope| {
        let client = || {
            let (mut latencies, mut failures) = (Vec::with_capacity(total), 0);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                if !pause.is_zero() {
                    thread::sleep(pause);
                }
                let start = Instant::now();
                match place.connect().and_then(|mut stream| stream.exchange()) {
                    Ok(length) if length >= BODY => {
                        latencies.push(start.elapsed().as_secs_f64() * 1e6);
                    }
                    _ => failures += 1,
                }
            }
            (latencies, failures)
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        let joined = threads
            .into_iter()
            .map(|it| it.join().expect("a client counts"));
        joined.collect()
    });
    let seconds = start.elapsed().as_secs_f64();
    let failures = parts.iter().map(|(_, failures)| failures).sum();
    let latencies: Vec<f64> = parts
        .into_iter()
        .flat_map(|(latencies, _)| latencies)
        .collect();
    Turn {
        rate: latencies.len() as f64 / seconds,
        latencies,
        failures,
    }
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values
        .get((last as f64 * part) as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

/// Of each turn the rate, the median and the 99th percentile; and all failures.
type Figures = (Vec<f64>, Vec<f64>, Vec<f64>, usize);

/// All of `servers` by turns, and a table with ratios to the first.
fn compare(title: &str, servers: &[(Server, usize)], clients: usize, pause: Duration) {
    let rounds: usize = env::var("SANDBOX_BENCH_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(ROUNDS);
    let mut all: Vec<Figures> = Vec::new();
    all.resize_with(servers.len(), Default::default);
    for round in 0..=rounds {
        for ((server, total), (rates, medians, tails, failures)) in servers.iter().zip(&mut all) {
            let mut turn = turn(&server.place, clients, *total, pause);
            // The first fills the caches.
            if round > 0 {
                rates.push(turn.rate);
                medians.push(quantile(&mut turn.latencies, 0.5));
                tails.push(quantile(&mut turn.latencies, 0.99));
                *failures += turn.failures;
            }
            // What it has started ahead is there again when the next begins.
            thread::sleep(Duration::from_millis(30));
        }
    }
    let kind = if pause.is_zero() { "" } else { ", 20 ms apart" };
    println!("\n{title}: {clients} at once{kind}; medians of {rounds} turns");
    println!("| server | conn/s | to the first | p50 µs | to the first | p99 µs | failed |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut first: Option<(Vec<f64>, Vec<f64>)> = None;
    for ((server, _), (mut rates, mut medians, mut tails, failures)) in servers.iter().zip(all) {
        let (base_rates, base_medians) =
            first.get_or_insert_with(|| (rates.clone(), medians.clone()));
        // Turn by turn: what disturbed the machine in a round disturbed both.
        let ratio = |own: &[f64], base: &[f64]| {
            let mut ratios: Vec<f64> = own.iter().zip(base).map(|(own, base)| own / base).collect();
            quantile(&mut ratios, 0.5)
        };
        let by_rate = ratio(&rates, base_rates);
        let by_median = ratio(&medians, base_medians);
        println!(
            "| {} | {:.0} | {by_rate:.2} | {:.0} | {by_median:.2} | {:.0} | {failures} |",
            server.name,
            quantile(&mut rates, 0.5),
            quantile(&mut medians, 0.5),
            quantile(&mut tails, 0.5),
        );
    }
}

// ---- the comparisons ----

/// Connected sockets over a channel.
fn pool() {
    let files = Files::new();
    let workers = WORKERS.to_string();
    let (place, socket) = passed();
    let mut floor = command(&own("--floor"));
    floor.stdin(socket);
    let mut servers = vec![(Server::start("accept and sendmsg", place, floor), MANY)];
    let options = ["--hand-over", "pool", "--workers", &workers];
    servers.push((
        sandbox("sandbox serve, pool", None, &options, &own("--pool-worker")),
        MANY,
    ));
    let (place, socket) = passed();
    // Two of them; a shell gives what it puts in the background no standard input.
    let mut accepting = Command::new("/bin/sh");
    let script = "exec 3<&0; \"$0\" \"$1\" <&3 & exec \"$0\" \"$1\" <&3";
    accepting.args(["-c", script]).args(own("--accept-worker"));
    accepting.stdin(socket);
    servers.push((Server::start("workers that accept", place, accepting), MANY));
    if let Some(program) = installed("nginx") {
        let address = free();
        let words = nginx_words(&program, &files.nginx("nginx", address));
        let server = Server::start("nginx", Place::Tcp(address), command(&words));
        servers.push((server, MANY));
    }
    for clients in CLIENTS {
        compare("pool", &servers, clients, Duration::ZERO);
    }
}

/// The same server with its listening socket, bare and in a sandbox.
fn listener() {
    let files = Files::new();
    let (place, socket) = passed();
    let mut bare = command(&own("--accept-worker"));
    bare.stdin(socket);
    let mut inside = vec!["/bin/sh".to_owned(), "-c".to_owned()];
    inside.push("exec \"$0\" \"$1\" <&3".to_owned());
    inside.extend(own("--accept-worker"));
    let servers = [
        (Server::start("Rust, bare", place, bare), MANY),
        (sandbox("Rust, sandbox serve", None, &[], &inside), MANY),
    ];
    for clients in CLIENTS {
        compare("listener", &servers, clients, Duration::ZERO);
    }
    drop(servers);
    let Some(program) = installed("nginx") else {
        return;
    };
    let address = free();
    let words = nginx_words(&program, &files.nginx("bare", address));
    let bare = Server::start("nginx, bare", Place::Tcp(address), command(&words));
    let address = free();
    let place = files.nginx("inside", address);
    let writable = place.to_str().expect("text").to_owned();
    let options = ["--env", "NGINX=3;", "--read-write", &writable];
    let words = nginx_words(&program, &place);
    let inside = sandbox(
        "nginx, sandbox serve",
        Some(Place::Tcp(address)),
        &options,
        &words,
    );
    let servers = [(bare, MANY), (inside, MANY)];
    for clients in CLIENTS {
        compare("listener", &servers, clients, Duration::ZERO);
    }
}

/// A process for each connection.
fn connection() {
    let files = Files::new();
    let handler = own("--handler");
    let mut servers = Vec::new();
    if let Some(program) = installed("tcpserver") {
        let tcpserver = |name, extra: &[&str]| {
            let address = free();
            let mut command = Command::new(&program);
            command
                .args([
                    "-q",
                    "-H",
                    "-R",
                    "-l",
                    "0",
                    "-b",
                    "1024",
                    "-c",
                    "256",
                    "127.0.0.1",
                ])
                .arg(address.port().to_string())
                .args(extra)
                .args(&handler)
                .stdin(Stdio::null());
            Server::start(name, Place::Tcp(address), command)
        };
        servers.push((tcpserver("tcpserver, no isolation", &[]), FEW));
        if let Some(unshare) = installed("unshare") {
            // What the kernel asks for a network namespace, and no isolation besides.
            let words = [unshare.to_str().expect("text"), "--net", "--"];
            servers.push((tcpserver("tcpserver + unshare --net", &words), FEW));
        }
        if let Some(bwrap) = installed("bwrap") {
            let bwrap = bwrap.to_str().expect("text").to_owned();
            let words = [
                bwrap.as_str(),
                "--unshare-net",
                "--dev-bind",
                "/",
                "/",
                "--",
            ];
            servers.push((tcpserver("tcpserver + bwrap --unshare-net", &words), FEW));
            let words = [
                bwrap.as_str(),
                "--unshare-all",
                "--dev-bind",
                "/",
                "/",
                "--",
            ];
            servers.push((tcpserver("tcpserver + bwrap --unshare-all", &words), FEW));
        }
    }
    if let Some(program) = installed("inetd") {
        let address = free();
        let path = files.path("inetd.conf");
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
        let user = user
            .ok()
            .flatten()
            .map_or_else(|| "root".to_owned(), |user| user.name);
        let line = format!(
            "127.0.0.1:{} stream tcp nowait {user} {} {}\n",
            address.port(),
            handler[0],
            handler.join(" ")
        );
        fs::write(&path, line).expect("it is ours");
        let mut command = Command::new(program);
        command
            .args(["-i", "-R", "1000000"])
            .arg(path)
            .stdin(Stdio::null());
        servers.push((
            Server::start("inetd, no isolation", Place::Tcp(address), command),
            FEW,
        ));
    }
    let each = ["--hand-over", "connection"];
    servers.push((sandbox("sandbox serve", None, &each, &handler), FEW));
    let spares = [each.as_slice(), &["--spare", "8"]].concat();
    servers.push((
        sandbox("sandbox serve --spare 8", None, &spares, &handler),
        FEW,
    ));
    for clients in CLIENTS {
        compare("connection", &servers, clients, Duration::ZERO);
    }
    compare("connection", &servers, 1, PAUSE);
    drop(servers);
    if let Some(program) = installed("s6-ipcserver") {
        let place = Place::Unix(files.path("s6.sock"));
        let Place::Unix(path) = &place else { return };
        let mut command = Command::new(program);
        command
            .args(["-c", "256"])
            .arg(path)
            .args(&handler)
            .stdin(Stdio::null());
        let ours = |name| Some(Place::Unix(files.path(name)));
        let servers = [
            (
                Server::start("s6-ipcserver, no isolation", place, command),
                FEW,
            ),
            (
                sandbox("sandbox serve", ours("one.sock"), &each, &handler),
                FEW,
            ),
            (
                sandbox(
                    "sandbox serve --spare 8",
                    ours("two.sock"),
                    &spares,
                    &handler,
                ),
                FEW,
            ),
        ];
        for clients in CLIENTS {
            compare("connection, Unix socket", &servers, clients, Duration::ZERO);
        }
        compare("connection, Unix socket", &servers, 1, PAUSE);
    }
}

// ---- memory ----

/// The broker's and the keeper's memory while `total` connections pass through a pool.
fn million(total: usize) {
    let workers = WORKERS.to_string();
    let options = ["--hand-over", "pool", "--workers", &workers];
    let server = sandbox("sandbox serve, pool", None, &options, &own("--pool-worker"));
    let broker = server.child.id();
    println!(
        "| connections | conn/s | failed | broker RSS KiB | its own | descriptors | keeper RSS KiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let step = (total / 20).max(1);
    let (mut done, mut failed) = (0, 0);
    while done <= total {
        let part = turn(&server.place, 16, step, Duration::ZERO);
        done += step;
        failed += part.failures;
        let children = fs::read_to_string(format!("/proc/{broker}/task/{broker}/children"));
        let keeper = children.unwrap_or_default();
        let keeper = keeper
            .split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok());
        let open = fs::read_dir(format!("/proc/{broker}/fd")).map_or(0, Iterator::count);
        println!(
            "| {done} | {:.0} | {failed} | {} | {} | {open} | {} |",
            part.rate,
            memory(broker, "VmRSS:"),
            memory(broker, "RssAnon:"),
            keeper.map_or(0, |keeper| memory(keeper, "VmRSS:")),
        );
    }
}

/// A figure of `/proc/PID/status`, in KiB.
fn memory(pid: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
