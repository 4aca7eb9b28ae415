//! Connections a second through the pool against a bare accept-and-sendmsg loop: `cargo bench --bench pool`.
//!
//! All servers run at once and take turns under load in one run, so that what disturbs one disturbs all.
//! Each round gives every server's ratio to the floor of that round; medians over the rounds are printed.
//! `docs/performance.md` says what came out.
//!
//! * *floor*: accept(2), sendmsg(2) with the descriptor to the workers by turns, close(2); a worker does
//!   recvmsg(2), reads, writes, closes. No header, no credits, no isolation, and nothing that would notice
//!   a worker's death. *floor, sandboxed*: the same loop and workers, these under the policy `worker`.
//! * *floor, told*: the same, but each worker sends a byte for each connection that it is done with, and the
//!   broker reads them now and then: the least that a broker needs to know who has room.
//! * *pool*: [`sandbox::Broker`] and [`sandbox::worker`], as in the examples.
//! * *alone*: one process that accepts for itself.
//!
//! The clients are threads of this process: each connects, sends a request, reads to the end. Besides the
//! rate, the processor time of the server's processes for each connection is counted: other load on the
//! machine changes that less.

#![expect(clippy::print_stdout, reason = "it is a program that prints a table")]
#![expect(clippy::unwrap_used, reason = "a measurement stops where it fails")]

use std::fs;
use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, send,
    socketpair,
};
use sandbox::worker::Worker;
use sandbox::{Broker, Policy, Sandbox};
use sendfd::SendWithFd;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\nHello, world\n";
/// Clients at a time.
const CLIENTS: [usize; 2] = [1, 16];
const ROUNDS: usize = 15;
/// One server's turn.
const TURN: Duration = Duration::from_millis(400);

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("--alone") => alone(),
        Some("--floor") => floor(number(&words), Isolation::None, Words::None),
        Some("--floor-told") => floor(number(&words), Isolation::None, Words::Done),
        Some("--floor-sandboxed") => floor(number(&words), Isolation::Sandbox, Words::None),
        Some("--pool") => pool(number(&words)),
        Some("--floor-worker") => floor_worker(),
        Some("--pool-worker") => pool_worker(),
        _ => measure(),
    }
}

fn number(words: &[String]) -> usize {
    words[2].parse().unwrap()
}

// ---- servers ----

fn announce() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    listener
}

/// What every worker does with a connection.
fn answer(stream: &mut (impl Read + Write)) {
    let mut request = [0; 1024];
    if stream.read(&mut request).is_ok_and(|length| length > 0) {
        let _ = stream.write_all(RESPONSE);
    }
}

fn alone() {
    let listener = announce();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        answer(&mut stream);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Isolation {
    None,
    Sandbox,
}

/// Whether the floor's workers say when they are done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    None,
    Done,
}

/// What is heard of the floor's workers after so many connections.
const HEARD_AFTER: usize = 16;

fn floor(workers: usize, isolation: Isolation, words: Words) {
    let itself = std::env::current_exe().unwrap();
    let mut children = Vec::new();
    let mut sandboxes = Vec::new();
    let channels: Vec<_> = (0..workers)
        .map(|_| {
            let (ours, theirs) = socketpair(
                AddressFamily::Unix,
                SockType::SeqPacket,
                None,
                SockFlag::SOCK_CLOEXEC,
            )
            .unwrap();
            match isolation {
                Isolation::None => {
                    let mut worker = Command::new(&itself);
                    worker.arg("--floor-worker").arg("0").stdin(theirs);
                    worker.args((words == Words::Done).then_some("told"));
                    children.push(worker.spawn().unwrap());
                }
                Isolation::Sandbox => {
                    let mut worker = Sandbox::new(&itself);
                    worker
                        .args(["--floor-worker", "3"])
                        .policy(Policy::built_in("worker").unwrap())
                        .current_dir("/")
                        .pass_fd(theirs);
                    sandboxes.push(worker.spawn().unwrap());
                }
            }
            UnixDatagram::from(ours)
        })
        .collect();
    let listener = announce();
    for (count, channel) in channels.iter().cycle().enumerate() {
        let (stream, _) = listener.accept().unwrap();
        channel.send_with_fd(b"x", &[stream.as_raw_fd()]).unwrap();
        if words == Words::Done && count % HEARD_AFTER == 0 {
            for channel in &channels {
                while recv(channel.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT).is_ok() {}
            }
        }
    }
}

fn floor_worker() {
    let channel: RawFd = std::env::args().nth(2).unwrap().parse().unwrap();
    let tells = std::env::args().nth(3).is_some();
    let mut space = nix::cmsg_space!([RawFd; 1]);
    loop {
        let mut byte = [0];
        let mut buffers = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(channel, &mut buffers, Some(&mut space), flags);
        // A broker that was killed with words unread has reset it.
        let Some(message) = message.ok().filter(|message| message.bytes > 0) else {
            return;
        };
        for control in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(descriptors) = control {
                for descriptor in descriptors {
                    let mut stream = TcpStream::from(own(descriptor));
                    answer(&mut stream);
                    drop(stream);
                    if tells {
                        send(channel, b"d", MsgFlags::empty()).unwrap();
                    }
                }
            }
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the floor receives with nix, which gives numbers"
)]
fn own(number: RawFd) -> OwnedFd {
    // SAFETY: recvmsg(2) has just made it, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn pool(workers: usize) {
    let mut sandbox = Sandbox::new(std::env::current_exe().unwrap());
    sandbox.arg("--pool-worker").current_dir("/");
    let mut broker = Broker::new(&mut sandbox).unwrap();
    for _ in 1..workers {
        broker.add_worker().unwrap();
    }
    let listener = announce();
    listener.set_nonblocking(true).unwrap();
    loop {
        broker.accept_from(&listener).unwrap();
    }
}

fn pool_worker() {
    for connection in Worker::from_env().unwrap() {
        answer(&mut connection.unwrap().stream);
    }
}

// ---- load ----

struct Server {
    name: &'static str,
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(name: &'static str, words: &[&str]) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self {
            name,
            process,
            address,
        }
    }
}

impl Server {
    /// Of all its processes.
    fn processor_time(&self) -> Duration {
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| {
                let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
                Some((pid, parent))
            })
            .collect();
        let mut tree = vec![self.process.id()];
        let mut at = 0;
        while let Some(&parent) = tree.get(at) {
            tree.extend(
                parents
                    .iter()
                    .filter(|(_, of)| *of == parent)
                    .map(|(pid, _)| pid),
            );
            at += 1;
        }
        // The first number is nanoseconds on a processor.
        let spent = tree.iter().filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
            stat.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn measure() {
    let servers = [
        Server::start("floor, 1 worker", &["--floor", "1"]),
        Server::start("floor, 1 worker, sandboxed", &["--floor-sandboxed", "1"]),
        Server::start("floor, 1 worker, told", &["--floor-told", "1"]),
        Server::start("pool, 1 worker", &["--pool", "1"]),
        Server::start("floor, 2 workers", &["--floor", "2"]),
        Server::start("floor, 2 workers, sandboxed", &["--floor-sandboxed", "2"]),
        Server::start("floor, 2 workers, told", &["--floor-told", "2"]),
        Server::start("pool, 2 workers", &["--pool", "2"]),
        Server::start("alone", &["--alone"]),
    ];
    for clients in CLIENTS {
        let mut rates = vec![Vec::new(); servers.len()];
        let mut costs = vec![Vec::new(); servers.len()];
        for round in 0..=ROUNDS {
            for (at, server) in servers.iter().enumerate() {
                let before = server.processor_time();
                let (served, time) = load(server.address, clients);
                let spent = server.processor_time() - before;
                // The first round only warms up.
                if round > 0 {
                    rates[at].push(served / time.as_secs_f64());
                    costs[at].push(spent.as_secs_f64() * 1e6 / served);
                }
            }
        }
        println!("\n{clients} clients at a time");
        println!(
            "{:28} {:>10} {:>18} {:>10} {:>12}",
            "", "conn/s", "to floor (p25-p75)", "to floor", "µs each"
        );
        for (at, server) in servers.iter().enumerate() {
            let floor = match server.name.contains('2') {
                true => 4,
                false => 0,
            };
            let mut ratios: Vec<f64> = rates[at]
                .iter()
                .zip(&rates[floor])
                .map(|(rate, floor)| rate / floor)
                .collect();
            let between = format!(
                "{:.2}-{:.2}",
                quantile(&mut ratios, 0.25),
                quantile(&mut ratios, 0.75)
            );
            println!(
                "{:28} {:>10.0} {between:>18} {:>10.2} {:>12.1}",
                server.name,
                quantile(&mut rates[at].clone(), 0.5),
                quantile(&mut ratios, 0.5),
                quantile(&mut costs[at], 0.5),
            );
        }
    }
}

/// How many connections were connected, asked and read to their end, and in which time.
fn load(address: SocketAddr, clients: usize) -> (f64, Duration) {
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let served: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| client(address, &over)))
            .collect();
        thread::sleep(TURN);
        over.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    (served as f64, began.elapsed())
}

fn client(address: SocketAddr, over: &AtomicBool) -> u64 {
    let mut served = 0;
    while !over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(REQUEST).unwrap();
        let mut answer = [0; 1024];
        let mut length = 0;
        loop {
            match stream.read(&mut answer[length..]).unwrap() {
                0 => break,
                more => length += more,
            }
        }
        assert_eq!(&answer[..length], RESPONSE);
        served += 1;
    }
    served
}

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part) as usize]
}
