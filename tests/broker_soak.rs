//! A broker under load for a while, with everything going wrong that does: workers killed, reloads,
//! clients that say nothing, break off, or come from nowhere.
//!
//! Thirty seconds in all unless `SANDBOX_SOAK_SECONDS` says otherwise; `tests/soak/broker` runs it for
//! half an hour. Afterwards every connection has ended in a decision, nothing has leaked, and memory has
//! not grown.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Pid;
use serde_json::Value;
use support::broker::{PATIENCE, descriptors, tcp};
use support::{User, example, skip, users};

/// Clients at a time that behave.
const CLIENTS: usize = 8;

fn duration() -> Duration {
    let seconds = std::env::var("SANDBOX_SOAK_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|it| it.parse().ok()).unwrap_or(30))
}

/// A broker that is asked how it does, and nothing else: its events would fill this process's memory.
struct Soaked {
    child: Child,
    admin: PathBuf,
    address: SocketAddr,
}

impl Soaked {
    fn start(user: &User, mode: &[&str], worker: &[&str]) -> Self {
        let admin = user.home.join(format!("soak-{}.sock", std::process::id()));
        let metrics = format!("unix:{}", admin.display());
        let mut command = user.sandbox(&["serve", "-q", "--listen", "tcp:127.0.0.1:0"]);
        command
            .args(["--metrics", &metrics, "--idle-timeout", "1s"])
            .args(mode)
            .arg("--")
            .args(worker)
            .stderr(Stdio::inherit());
        let child = command.spawn().unwrap();
        let status = until(&admin, |status| status["state"] == "running");
        let address = tcp(status["listeners"][0]["address"].as_str().unwrap());
        Self {
            child,
            admin,
            address,
        }
    }

    fn status(&self) -> Value {
        status(&self.admin).expect("it runs")
    }

    /// Kill one of its workers, or make it read its policy anew.
    fn harm(&self, round: u64) {
        if round % 8 == 7 {
            kill(self.pid(), Signal::SIGHUP).unwrap();
            return;
        }
        let status = self.status();
        let workers = status["workers"].as_array().unwrap();
        let pids: Vec<i64> = workers
            .iter()
            .filter_map(|worker| worker["pid"].as_i64())
            .filter(|&pid| pid > 0)
            .collect();
        let chosen = usize::try_from(round).unwrap() * 5;
        if let Some(pid) = pids.get(chosen % pids.len().max(1)) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(i32::try_from(*pid).unwrap()), Signal::SIGKILL);
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Resident memory in KiB.
    fn memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap()
    }
}

impl Drop for Soaked {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status of the broker whose metrics are at `admin`, if there is one yet.
fn status(admin: &Path) -> Option<Value> {
    let mut stream = UnixStream::connect(admin).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /status HTTP/1.0\r\n\r\n").ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    serde_json::from_str(reply.split_once("\r\n\r\n")?.1).ok()
}

fn until(admin: &Path, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status(admin);
        if let Some(status) = &status
            && holds(status)
        {
            return status.clone();
        }
        assert!(Instant::now() < deadline, "{status:#?}");
        std::thread::yield_now();
    }
}

/// How clients fared.
#[derive(Default)]
struct Fared {
    answered: AtomicU64,
    /// An end without an answer.
    closed: AtomicU64,
    /// Those that did not want one.
    rude: AtomicU64,
}

fn add(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

/// Ask, and wait for the answer or the end.
fn polite(address: SocketAddr, fared: &Fared) {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    let asked = stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .and_then(|()| stream.read_to_string(&mut answer));
    match asked {
        Ok(_) if answer.starts_with("HTTP/1.1 200 ") => add(&fared.answered),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("a client hangs"),
        _ => add(&fared.closed),
    };
}

/// Say nothing, until one is cut.
fn silent(address: SocketAddr, fared: &Fared) {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let read = stream.read(&mut [0; 1]);
    assert!(
        !read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
        "a silent client is never cut"
    );
    add(&fared.rude);
}

/// Break off in the middle of the question, with a reset, or with half of the connection open.
fn abrupt(address: SocketAddr, fared: &Fared) {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    let _ = stream.write_all(b"GET / HT");
    match add(&fared.rude) % 2 {
        0 => {
            let linger = libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            setsockopt(&stream, sockopt::Linger, &linger).unwrap();
        }
        _ => {
            let _ = stream.shutdown(Shutdown::Write);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.read(&mut [0; 1]);
        }
    }
}

/// `rhythm`: after so many answers of one client something goes wrong.
fn soak(user: &User, mode: &[&str], worker: &[&str], rhythm: u64, time: Duration) {
    let mut soaked = Soaked::start(user, mode, worker);
    let fared = Fared::default();
    polite(soaked.address, &fared);
    let settled = |status: &Value| {
        let workers = status["workers"].as_array().unwrap();
        // A worker may have said hello before the keeper's word of it has come, with two descriptors.
        let whole = |it: &Value| it["pid"].as_i64() > Some(0);
        let steady = |it: &Value| whole(it) && (it["state"] == "ready" || it["state"] == "spare");
        status["connections"]["open"] == 0
            && status["state"] == "running"
            && workers.len() == 3
            && workers.iter().all(steady)
    };
    let before = until(&soaked.admin, settled);
    let pids = [&before["pid"], &before["keeper"]].map(|pid| pid.as_i64().unwrap());
    let open_before = pids.map(descriptors);
    let over = AtomicBool::new(false);
    let end = Instant::now() + time;
    let early = Instant::now() + time / 4;
    let memory = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (soaked, fared, over, memory) = (&soaked, &fared, &over, &memory);
        for number in 0..CLIENTS {
            scope.spawn(move || {
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    polite(soaked.address, fared);
                    count += 1;
                    if number > 0 {
                        continue;
                    }
                    if count % rhythm == 0 {
                        soaked.harm(count / rhythm);
                    }
                    if Instant::now() > early && memory.load(Ordering::Relaxed) == 0 {
                        memory.store(soaked.memory(), Ordering::Relaxed);
                    }
                    if Instant::now() > end {
                        over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
        for rude in [silent, abrupt] {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    rude(soaked.address, fared);
                }
            });
        }
    });
    let after = until(&soaked.admin, settled);
    // What has ended is closed a moment later.
    let grown = |now: [usize; 2]| now[0] > open_before[0] || now[1] > open_before[1];
    let mut open_after = pids.map(descriptors);
    let deadline = Instant::now() + PATIENCE;
    while grown(open_after) && Instant::now() < deadline {
        open_after = pids.map(descriptors);
        std::thread::yield_now();
    }
    if open_before.contains(&0) {
        skip("counting a broker's descriptors", "only root sees them");
    }
    assert!(
        !grown(open_after),
        "descriptors leak: {open_before:?}, then {open_after:?}: {after:#}"
    );
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (answered, closed) = (count(&fared.answered), count(&fared.closed));
    let number = |path: &str| after.pointer(path).unwrap().as_u64().unwrap();
    let decisions: u64 = after["connections"]["closed"]
        .as_object()
        .unwrap()
        .values()
        .map(|count| count.as_u64().unwrap())
        .sum();
    assert_eq!(number("/connections/accepted"), decisions, "{after:#}");
    assert!(answered > rhythm, "only {answered} answers: {after:#}");
    let explained = number("/connections/closed/worker-ended")
        + number("/connections/closed/idle-timeout")
        + number("/connections/closed/launch-failed");
    assert!(closed <= explained, "{closed} without an answer: {after:#}");
    let (early, late) = (count(&memory), soaked.memory());
    assert!(
        late < early + early / 4 + 2048,
        "{early} KiB, then {late} KiB"
    );
    support::say(&format!(
        "soak {mode:?} as {}: {answered} answered, {closed} closed, {} rude, {} sandboxes, \
         {} returned, {early} then {late} KiB",
        user.name,
        count(&fared.rude),
        number("/launches/started"),
        number("/connections/returned"),
    ));
    kill(soaked.pid(), Signal::SIGTERM).unwrap();
    assert!(soaked.child.wait().unwrap().success());
}

#[test]
fn whatever_goes_wrong_every_connection_ends_in_a_decision_and_nothing_leaks() {
    let worker = example("worker");
    let worker = [worker.to_str().unwrap(), "4"];
    // All of the question is read: what is left unread makes of the end a reset.
    let handler = "while read -r line && [ \"${#line}\" -gt 1 ]; do :; done; \
                   printf 'HTTP/1.1 200 OK\\r\\n\\r\\nhello\\n'";
    let handler = ["/bin/sh", "-c", handler];
    let time = duration() / u32::try_from(users().len().max(1) * 2).unwrap();
    for user in users() {
        let pool = ["--hand-over", "pool", "--workers", "3"];
        soak(user, &pool, &worker, 150, time);
        let connection = ["--hand-over", "connection", "--spare", "3"];
        soak(user, &connection, &handler, 10, time);
    }
}
