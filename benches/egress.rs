//! What the relay of `--allow` costs, against bare, a CONNECT proxy on the loopback, pasta and slirp4netns.
//!
//! Throughput of one stream and of sixteen, the time of a connection, and that of a name's look-up. All take
//! turns in one run; medians and their ratios to bare are printed. `cargo bench --bench egress`; with
//! `-- --idle COUNT` instead, what an open connection at rest costs the supervisor; with `-- --rounds N`
//! so many turns.
//!
//! Server, proxy, name server and client are this program. It makes a network of its own for a host, with an
//! address ([`SERVER`]) that pasta and slirp4netns reach by their interfaces; no packet leaves it. A program
//! that is not installed is said to be missing.
#![expect(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Each measurement is made this often, by turns.
const ROUNDS: usize = 9;
/// Bytes of one transfer, over all its streams.
const BYTES: u64 = 1 << 30;
/// Connections, and look-ups, of one measurement.
const TIMES: u32 = 300;
/// Where all servers are.
const SERVER: Ipv4Addr = Ipv4Addr::new(11, 1, 0, 2);
/// The name that is looked up, as it stands in a query.
const NAME: &[u8] = b"\x03web\x05bench\x07example\x00";
const BLOCK: usize = 1 << 17;

/// How the client's connections go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Bare,
    Proxy,
    Pasta,
    Slirp,
    Allow,
    Direct,
}

const WAYS: [(Way, &str); 6] = [
    (Way::Bare, "bare"),
    (Way::Proxy, "proxy"),
    (Way::Pasta, "pasta"),
    (Way::Slirp, "slirp4netns"),
    (Way::Allow, "--allow"),
    (Way::Direct, "--egress direct"),
];

/// What a run has set up.
struct Lab {
    client: std::path::PathBuf,
    server: SocketAddr,
    proxy: SocketAddr,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let after = |word: &str| {
        let at = words.iter().position(|known| known == word)?;
        words.get(at + 1).cloned()
    };
    if let [_, role, server, proxy, what] = words.as_slice()
        && role == "--client"
    {
        let server = server.parse().expect("an address");
        println!("{}", client(server, proxy.parse().ok(), what));
        return ExitCode::SUCCESS;
    }
    if !words.iter().any(|word| word == "--lab") {
        return make_network(&words);
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    set_up(directory.path());
    let client = directory.path().join("client");
    let itself = std::env::current_exe().expect("this program has a path");
    fs::copy(&itself, &client).expect("a program can be copied");
    answer_names();
    let lab = Lab {
        client,
        server: serve(SERVER, answer),
        proxy: serve(Ipv4Addr::LOCALHOST, relay),
    };
    if let Some(count) = after("--idle") {
        idle(&lab, count.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let rounds = after("--rounds").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    table(&lab, rounds);
    ExitCode::SUCCESS
}

/// The same program again, in a network of its own.
fn make_network(words: &[String]) -> ExitCode {
    let mut command = Command::new("unshare");
    if !nix::unistd::Uid::effective().is_root() {
        command.arg("--map-root-user");
    }
    let status = command
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .arg("--lab")
        .args(words.iter().skip(1))
        .status()
        .expect("unshare can be started");
    match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The host's side of the network, with a default route, which pasta asks for.
fn set_up(directory: &Path) {
    let run = |line: &str| {
        let mut words = line.split(' ');
        let status = Command::new(words.next().unwrap_or_default())
            .args(words)
            .status();
        assert!(status.is_ok_and(|status| status.success()), "{line}");
    };
    run("ip link set lo up");
    run("ip link add wan type veth peer name other");
    run("ip link set wan up");
    run("ip link set other up");
    run("ip address add 11.1.0.1/24 dev wan");
    run(&format!("ip address add {SERVER}/32 dev lo"));
    run("ip route add default via 11.1.0.254 dev wan");
    let config = directory.join("resolv.conf");
    fs::write(&config, format!("nameserver {SERVER}\n")).expect("a file can be written");
    let real = fs::canonicalize("/etc/resolv.conf").expect("there is one");
    run(&format!(
        "mount --bind {} {}",
        config.display(),
        real.display()
    ));
}

fn table(lab: &Lab, rounds: usize) {
    let have = |way| match way {
        Way::Pasta => installed("pasta"),
        Way::Slirp => installed("slirp4netns"),
        _ => true,
    };
    let (there, missing): (Vec<_>, Vec<_>) = WAYS.into_iter().partition(|(way, _)| have(*way));
    for (_, name) in missing {
        println!("SKIPPED: {name} is not installed");
    }
    for (what, unit, better) in [
        ("stream", "MiB/s", "more"),
        ("streams", "MiB/s", "more"),
        ("connections", "µs", "less"),
        ("names", "µs", "less"),
    ] {
        // A name is nobody's affair but the resolver's.
        let fits = |way| what != "names" || matches!(way, Way::Bare | Way::Allow);
        let ways: Vec<_> = there.iter().filter(|(way, _)| fits(*way)).collect();
        let mut taken = vec![Vec::new(); ways.len()];
        for _ in 0..rounds {
            for (all, (way, _)) in taken.iter_mut().zip(&ways) {
                all.push(run(lab, *way, what));
            }
        }
        let medians: Vec<f64> = taken.into_iter().map(median).collect();
        let bare = medians.first().copied().unwrap_or_default();
        print!("{what:12}");
        for ((_, name), median) in ways.iter().zip(&medians) {
            print!(" {name} {median:.0} ({:.2})", median / bare);
        }
        println!(" {unit}; {better} is better");
    }
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// What the client measures.
fn run(lab: &Lab, way: Way, what: &str) -> f64 {
    let proxy = match way {
        Way::Proxy => lab.proxy.to_string(),
        _ => String::new(),
    };
    let mut command = match way {
        Way::Bare | Way::Proxy => Command::new(&lab.client),
        Way::Pasta => started(
            "pasta",
            &["--config-net", "--quiet", "--runas", "0", "--"],
            lab,
        ),
        Way::Slirp => started("unshare", &["--net", "--"], lab),
        Way::Allow => sandboxed(lab, "relay"),
        Way::Direct => sandboxed(lab, "direct"),
    };
    let mut client = command
        .args(["--client", &lab.server.to_string(), &proxy, what])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client can be started");
    let helper = (way == Way::Slirp).then(|| slirp(&client));
    let mut printed = String::new();
    if let Some(mut stdout) = client.stdout.take() {
        let _ = stdout.read_to_string(&mut printed);
    }
    if let Some(mut helper) = helper {
        let _ = helper.kill();
        let _ = helper.wait();
    }
    let mut problem = String::new();
    if let Some(mut stderr) = client.stderr.take() {
        let _ = stderr.read_to_string(&mut problem);
    }
    let _ = client.wait();
    let number = printed.trim().parse();
    number.unwrap_or_else(|_| panic!("{way:?} {what}: {printed} {problem}"))
}

fn started(program: &str, options: &[&str], lab: &Lab) -> Command {
    let mut command = Command::new(program);
    command.args(options).arg(&lab.client);
    command
}

fn sandboxed(lab: &Lab, engine: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
    let server = lab.server.to_string();
    command.args(["-q", "--egress", engine]);
    command.args(["--allow", &server, "--allow", "web.bench.example:80"]);
    command.arg("--").arg(&lab.client);
    command
}

/// slirp4netns for the network of `client`, once it has one of its own.
fn slirp(client: &Child) -> Child {
    let network = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let pid = client.id().to_string();
    while network(&pid) == network("self") {
        thread::sleep(Duration::from_millis(1));
    }
    Command::new("slirp4netns")
        .args(["--configure", "--mtu=65520", &pid, "tap0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("slirp4netns can be started")
}

/// What `count` open connections at rest cost the supervisor of memory of its own.
fn idle(lab: &Lab, count: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be asked");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("it can be raised");
    let room = hard.saturating_sub(1200) / 3;
    if count > room {
        println!("the limit of descriptors, {hard}, has room for {room} connections");
    }
    let count = count.min(room);
    let server = hold();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
    let mut sandbox = command
        .args(["-q", "--allow", &server.to_string(), "--"])
        .arg(&lab.client)
        .args([
            "--client",
            &server.to_string(),
            "",
            &format!("idle {count}"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client can be started");
    let mut lines = BufReader::new(sandbox.stdout.take().expect("it is a pipe"));
    let mut next = |word: &str| {
        let mut line = String::new();
        lines.read_line(&mut line).expect("it says something");
        assert_eq!(line.trim(), word);
    };
    next("begin");
    let before = own_memory(sandbox.id());
    sandbox
        .stdin
        .as_mut()
        .expect("it is a pipe")
        .write_all(b"\n")
        .expect("it listens");
    next("held");
    // The last of them may still be on their way to the relay's far side.
    thread::sleep(Duration::from_secs(1));
    let after = own_memory(sandbox.id());
    println!(
        "{count} connections held: {} KiB of the supervisor's own before, {} with them; {:.0} bytes each",
        before / 1024,
        after / 1024,
        (after.saturating_sub(before)) as f64 / count as f64
    );
    drop(sandbox.stdin.take());
    let _ = sandbox.wait();
}

/// Bytes of anonymous memory that `pid` has resident.
fn own_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.expect("the kernel says so") * 1024
}

/// A server that keeps what it accepts.
fn hold() -> SocketAddr {
    let listener = TcpListener::bind(SocketAddrV4::new(SERVER, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
    address
}

/// A name server that answers every query with [`SERVER`].
fn answer_names() {
    let socket = UdpSocket::bind(SocketAddrV4::new(SERVER, 53)).expect("the port is free");
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut query) {
            let mut reply = query.get(..length).unwrap_or_default().to_vec();
            let kind = reply
                .len()
                .checked_sub(3)
                .and_then(|at| reply.get(at))
                .copied();
            reply.splice(2..4, [0x81, 0x80]);
            if kind == Some(1) {
                reply.splice(6..8, [0, 1]);
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                reply.extend(SERVER.octets());
            }
            let _ = socket.send_to(&reply, peer);
        }
    });
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn serve(at: Ipv4Addr, handle: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddrV4::new(at, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = handle.clone();
            thread::spawn(move || handle(stream));
        }
    });
    address
}

/// Eight bytes say how much to send; none of it means: one byte back.
fn answer(mut stream: TcpStream) {
    let mut wanted = [0; 8];
    if stream.read_exact(&mut wanted).is_err() {
        return;
    }
    let mut left = u64::from_le_bytes(wanted);
    let block = vec![7; BLOCK];
    if left == 0 {
        let _ = stream.write_all(&[1]);
    }
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        if stream.write_all(&block[..length]).is_err() {
            return;
        }
        left -= length as u64;
    }
}

/// A proxy that reads the head of a CONNECT and then copies, as proxies do.
fn relay(mut client: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head);
    let target = head.split(' ').nth(1).unwrap_or_default();
    let Ok(mut server) = TcpStream::connect(target) else {
        return;
    };
    let _ = client.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    let (Ok(mut up), Ok(mut down)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    thread::spawn(move || copy(&mut up, &mut server));
    copy(&mut down, &mut client);
}

fn copy(from: &mut TcpStream, to: &mut TcpStream) {
    let mut block = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut block) {
        if to.write_all(&block[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn dial(server: SocketAddr, proxy: Option<SocketAddr>) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.unwrap_or(server)).expect("it is reached");
    if proxy.is_some() {
        let request = format!("CONNECT {server} HTTP/1.1\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it takes that");
        let mut answer = [0; 19];
        stream.read_exact(&mut answer).expect("it answers");
    }
    stream
}

/// One question for the address of [`NAME`], asked where resolv.conf says.
fn look_up() {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port is free");
    socket
        .connect(SocketAddrV4::new(SERVER, 53))
        .expect("a route is there");
    let mut query = vec![0x42, 0x42, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(NAME);
    query.extend([0, 1, 0, 1]);
    socket.send(&query).expect("it is sent");
    let mut reply = [0; 512];
    let length = socket.recv(&mut reply).expect("it is answered");
    assert!(length > query.len(), "no address");
}

fn client(server: SocketAddr, proxy: Option<SocketAddr>, what: &str) -> f64 {
    if let Some(count) = what.strip_prefix("idle ") {
        open_many(server, count.parse().expect("a number"));
        return 0.0;
    }
    let fetch = move |bytes: u64| {
        let mut stream = dial(server, proxy);
        stream.write_all(&bytes.to_le_bytes()).expect("it asks");
        let mut block = vec![0; BLOCK];
        let mut total = 0;
        while let Ok(length @ 1..) = stream.read(&mut block) {
            total += length as u64;
        }
        assert_eq!(total, bytes.max(1));
    };
    // slirp4netns may not be there yet.
    let began = Instant::now();
    while TcpStream::connect(server).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "no way there");
        thread::sleep(Duration::from_millis(5));
    }
    let each = |act: &dyn Fn()| {
        let mut each: Vec<f64> = Vec::new();
        for _ in 0..TIMES {
            let began = Instant::now();
            act();
            each.push(began.elapsed().as_secs_f64() * 1e6);
        }
        median(each)
    };
    let streams = match what {
        "stream" => 1,
        "streams" => 16,
        "names" => return each(&look_up),
        _ => return each(&|| fetch(0)),
    };
    let began = Instant::now();
    let all: Vec<_> = (0..streams)
        .map(|_| thread::spawn(move || fetch(BYTES / streams)))
        .collect();
    for one in all {
        one.join().expect("it fetches");
    }
    BYTES as f64 / f64::from(1 << 20) / began.elapsed().as_secs_f64()
}

/// Open connections, keep them until standard input ends.
fn open_many(server: SocketAddr, count: usize) {
    println!("begin");
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    let open = |_| TcpStream::connect(server).expect("it is reached");
    let held: Vec<TcpStream> = (0..count).map(open).collect();
    println!("held");
    let _ = std::io::stdin().read_line(&mut line);
    drop(held);
}
