//! A broker under test: the real binary, told where to listen by the kernel, watched by its events.
//!
//! No test waits for time to pass: each waits for the event that says what has happened, and
//! [`PATIENCE`] is only how long a failure takes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::User;

/// How long anything that must happen may take: only a failure ever waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running broker. It is killed if the test fails.
pub(crate) struct Broker {
    child: Child,
    lines: Receiver<String>,
    /// Every event so far.
    pub(crate) events: Vec<Value>,
    /// Everything else that came on standard error.
    pub(crate) said: Vec<String>,
    /// How many of `events` have been waited for.
    seen: usize,
}

impl Broker {
    /// Start `sandbox serve` with `options`, as `user`, and wait until it serves.
    #[track_caller]
    pub(crate) fn start(user: &User, options: &[&str], worker: &[&str]) -> Self {
        let mut broker = Self::launch(&mut Self::command(user, options, worker));
        broker.wait("ready", |_| true);
        broker
    }

    /// The command for that.
    pub(crate) fn command(user: &User, options: &[&str], worker: &[&str]) -> Command {
        let mut command = user.sandbox(&["serve", "--events", "fd:2"]);
        command.args(options).arg("--").args(worker);
        command
    }

    /// Start `command`, a broker whose events go to standard error.
    pub(crate) fn launch(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        let errors = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(errors).split(b'\n') {
                let Ok(line) = line else { return };
                if sender
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            events: Vec::new(),
            said: Vec::new(),
            seen: 0,
        }
    }

    /// The broker's own pid.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next event called `name` that `fits`, from where the last wait ended.
    #[track_caller]
    pub(crate) fn wait(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(event) = self.events.get(self.seen) {
                self.seen += 1;
                if event["event"] == name && fits(event) {
                    return event.clone();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.note(line),
                Err(_) => panic!(
                    "no event \"{name}\"; events: {:#?}\nsaid: {:#?}",
                    self.events, self.said
                ),
            }
        }
    }

    /// Wait until `line` was said `times` times, by whomever.
    #[track_caller]
    pub(crate) fn wait_said(&mut self, line: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.said.iter().filter(|said| *said == line).count() < times {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.note(line),
                Err(_) => panic!("nobody said \"{line}\": {:#?}", self.said),
            }
        }
    }

    fn note(&mut self, line: String) {
        // Workers write there too, and not whole lines at a time: one may have begun before the event.
        let begin = line.find("{\"time\":").unwrap_or(0);
        let (before, event) = line.split_at(begin);
        match serde_json::from_str::<Value>(event) {
            Ok(event) if event.is_object() => {
                self.events.push(event);
                if !before.is_empty() {
                    self.said.push(before.to_owned());
                }
            }
            _ => self.said.push(line),
        }
    }

    /// Do `act` again and again until an event called `name` has come: that is the clock of the test.
    #[track_caller]
    pub(crate) fn until(&mut self, name: &str, mut act: impl FnMut(&Self)) {
        let deadline = Instant::now() + PATIENCE;
        while self.all(name).is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no event \"{name}\": {:#?}", self.events);
            act(self);
            thread::yield_now();
            self.catch_up();
        }
    }

    /// Take in what has come so far.
    pub(crate) fn catch_up(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.note(line);
        }
    }

    /// What it said until its end, where that must come by itself or has been asked for.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.note(line),
                // Nothing of it is left that could say anything: broker, keeper and sandboxes.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it goes on: {:#?}", self.events),
            }
        }
        self.child.wait().expect("it was started here")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    /// Ask it to end, and wait for that; it must end well.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.finish();
        assert!(
            status.success(),
            "{status}: {:#?}\n{:#?}",
            self.events,
            self.said
        );
    }

    /// Where listener number `index` listens.
    #[track_caller]
    pub(crate) fn listener(&self, index: usize) -> String {
        let mut listeners = self.events.iter().filter(|it| it["event"] == "listening");
        let listener = listeners.nth(index).expect("there are so many listeners");
        listener["address"].as_str().expect("text").to_owned()
    }

    /// The TCP address of the first listener.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        tcp(&self.listener(0))
    }

    /// A connection to the first listener.
    #[track_caller]
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    /// What a client gets that says `words` and then no more.
    #[track_caller]
    pub(crate) fn ask(&self, words: &str) -> String {
        exchange(self.connect(), words)
    }

    /// All events called `name` so far.
    pub(crate) fn all(&self, name: &str) -> Vec<&Value> {
        self.events
            .iter()
            .filter(|it| it["event"] == name)
            .collect()
    }

    /// The status that its `--metrics` at listener number `index` gives.
    #[track_caller]
    pub(crate) fn status(&self, user: &User, index: usize) -> Value {
        let address = self.listener(index);
        let output = user.output(&["serve", "--status", &address, "--json"]);
        serde_json::from_str(&super::success(user, &output)).expect("it is JSON")
    }

    /// That every connection that was accepted has ended in exactly one decision.
    #[track_caller]
    pub(crate) fn assert_every_connection_is_accounted_for(&self) {
        let ids = |name: &str| {
            let mut ids: Vec<u64> = self
                .all(name)
                .iter()
                .map(|event| event["id"].as_u64().expect("a number"))
                .collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(ids("accepted"), ids("closed"));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in `tcp:ADDRESS`.
#[track_caller]
pub(crate) fn tcp(address: &str) -> SocketAddr {
    let address = address.strip_prefix("tcp:").expect("it is TCP");
    address.parse().expect("it is an address")
}

/// A connection to `address`, that gives up some time.
#[track_caller]
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is ours");
    stream
}

/// Say `words` and no more; what comes back until the end.
#[track_caller]
pub(crate) fn exchange(mut stream: TcpStream, words: &str) -> String {
    stream.write_all(words.as_bytes()).expect("it is connected");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("it is connected");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("an answer comes, or the end");
    answer
}

/// A file of this user's own, with `text` in it, that workers can read.
pub(crate) fn script(user: &User, name: &str, text: &str) -> PathBuf {
    let path = user.home.join(name);
    let partial = user.home.join(format!(
        "{name}-{}-{:?}",
        std::process::id(),
        thread::current().id()
    ));
    std::fs::write(&partial, text).expect("there is room");
    std::fs::rename(&partial, &path).expect("within one directory");
    path
}

/// A policy for workers that tells them its `version`; the same file for all versions of one test.
pub(crate) fn versioned_policy(user: &User, version: &str) -> PathBuf {
    let name = format!(
        "policy-{}-{:?}.toml",
        std::process::id(),
        thread::current().id()
    );
    let text = format!(
        "description = \"a worker's\"\nextends = \"worker\"\n\
         [environment]\nset = {{ VERSION = \"{version}\" }}\n"
    );
    script(user, &name, &text)
}

/// How many descriptors process `pid` has open.
pub(crate) fn descriptors(pid: i64) -> usize {
    let directory = format!("/proc/{pid}/fd");
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

/// Whether `path` is there.
pub(crate) fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}
