//! What the relay of `--allow` costs: throughput of one stream and of sixteen, and the time of a
//! connection, against bare and against a CONNECT proxy on the loopback.
//!
//! All take turns in one run; medians and their ratios to bare are printed. Server, proxy and client are
//! this program; the client is started bare and in a sandbox. `cargo bench --bench egress`.
#![expect(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

/// Each measurement is made this often, by turns.
const ROUNDS: usize = 9;
/// Bytes of one transfer, over all its streams.
const BYTES: u64 = 1 << 30;
/// Connections of one measurement, each with a byte there and a byte back.
const CONNECTIONS: u32 = 300;

const BLOCK: usize = 1 << 17;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let [_, role, server, proxy, what] = words.as_slice()
        && role == "--client"
    {
        let server = server.parse().expect("an address");
        println!("{}", client(server, proxy.parse().ok(), what));
        return;
    }
    let server = serve(answer);
    let proxy = serve(relay);
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let itself = std::env::current_exe().expect("this program has a path");
    let copy = directory.path().join("client");
    fs::copy(&itself, &copy).expect("a program can be copied");
    for what in ["stream", "streams", "connections"] {
        let mut taken = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            let ways = [
                run(&[], &copy, server, "", what),
                run(&[], &copy, server, &proxy.to_string(), what),
                run(&["--allow", &server.to_string()], &copy, server, "", what),
            ];
            for (all, one) in taken.iter_mut().zip(ways) {
                all.push(one);
            }
        }
        let [bare, proxied, relayed] = taken.map(median);
        let (unit, better) = match what {
            "connections" => ("µs", "less is better"),
            _ => ("MiB/s", "more is better"),
        };
        println!(
            "{what:12} bare {bare:8.0} {unit}, proxy {proxied:8.0} ({:.2}), --allow {relayed:8.0} ({:.2}); {better}",
            proxied / bare,
            relayed / bare
        );
    }
}

/// What the client measures, bare or with `options` of the sandbox.
fn run(options: &[&str], client: &Path, server: SocketAddr, proxy: &str, what: &str) -> f64 {
    let mut command = match options {
        [] => Command::new(client),
        options => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
            command.arg("-q").args(options).arg("--").arg(client);
            command
        }
    };
    let output = command
        .args(["--client", &server.to_string(), proxy, what])
        .output()
        .expect("the client can be started");
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let problem = String::from_utf8_lossy(&output.stderr);
    printed
        .parse()
        .unwrap_or_else(|_| panic!("{printed} {problem}"))
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn serve(handle: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
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

fn client(server: SocketAddr, proxy: Option<SocketAddr>, what: &str) -> f64 {
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
    let streams = match what {
        "stream" => 1,
        "streams" => 16,
        _ => {
            let mut each: Vec<f64> = Vec::new();
            for _ in 0..CONNECTIONS {
                let began = Instant::now();
                fetch(0);
                each.push(began.elapsed().as_secs_f64() * 1e6);
            }
            return median(each);
        }
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
