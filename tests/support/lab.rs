//! A small Internet of the test's own (`tests/egress/lab.py`): a "host" namespace in which `sandbox` runs,
//! and beside it one with servers. No packet leaves it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{User, each_user, have, skip, success, text, users};

/// What a lab has besides its simple servers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Besides {
    Nothing,
    /// A watcher in the servers' namespace: what arrives there is in [`Lab::arrived`].
    Watcher,
    /// nginx, PostgreSQL, Redis, sshd and registries (`tests/egress/servers.py`), as far as installed.
    RealServers,
}

/// The lab, up as long as this lives.
pub(crate) struct Lab {
    process: Child,
    /// Its end is the lab's.
    input: Option<ChildStdin>,
    host: String,
    directory: tempfile::TempDir,
    servers: Vec<String>,
    /// How often [`Lab::arrived`] was asked.
    marks: AtomicU16,
}

/// Where the ports begin that [`Lab::arrived`] sends to.
const FIRST_MARK: u16 = 60000;

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

impl Lab {
    /// Start one; `None`, and a line that says so, where it cannot be had.
    #[track_caller]
    pub(crate) fn start(besides: Besides) -> Option<Self> {
        if !["ip", "nsenter", "unshare", "setpriv", "python3", "mount"]
            .iter()
            .all(|program| have(program))
        {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mut command = Command::new("unshare");
        if !users().iter().any(User::is_root) {
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args(["--net", "--mount", "--", "python3"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/egress/lab.py"))
            .arg(directory.path());
        match besides {
            Besides::Nothing => (),
            Besides::Watcher => drop(command.arg("--watch")),
            Besides::RealServers => {
                // Some of them refuse to be root.
                let user = users().iter().find(|user| !user.is_root())?;
                command.arg(format!("--real={}:{}", user.uid, user.gid));
            }
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare can be started");
        let mut line = String::new();
        // What cannot be read says the same as what is not said.
        let _ = BufReader::new(process.stdout.take().expect("it is a pipe")).read_line(&mut line);
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some("ready"), Some(host)) = (words.next().as_deref(), words.next()) else {
            let _ = process.kill();
            let _ = process.wait();
            skip("the lab", "network namespaces cannot be made here");
            return None;
        };
        Some(Self {
            host,
            input: process.stdin.take(),
            process,
            directory,
            servers: words.collect(),
            marks: AtomicU16::new(0),
        })
    }

    /// `program` in the host's namespace, as `user`, in that user's home.
    pub(crate) fn command(&self, user: &User, program: &str) -> Command {
        self.command_in(&user.home, user, program)
    }

    /// `program` in the host's namespace, as `user`, in `place`.
    pub(crate) fn command_in(&self, place: &Path, user: &User, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.host, "--net", "--mount"]);
        if !users().iter().any(User::is_root) {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--").arg("env").arg("-C").arg(place);
        if !user.is_root() && users().iter().any(User::is_root) {
            command
                .arg("setpriv")
                .arg(format!("--reuid={}", user.uid))
                .arg(format!("--regid={}", user.gid))
                .arg("--clear-groups");
        }
        command
            .arg(program)
            .env("HOME", &user.home)
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env_remove("https_proxy")
            .env_remove("http_proxy")
            .stdin(Stdio::null());
        command
    }

    /// `sandbox` with `options`, running `python3 -c SCRIPT`, with a few words of its own ready.
    pub(crate) fn python(&self, user: &User, options: &[&str], script: &str) -> Command {
        let mut command = self.command(user, &user.sandbox.display().to_string());
        let script = format!("{PRELUDE}\n{script}");
        command
            .args(options)
            .args(["--", "/usr/bin/python3", "-c", &script]);
        command
    }

    /// What names the outside name server was asked for.
    pub(crate) fn asked(&self) -> String {
        fs::read_to_string(self.directory.path().join("asked")).unwrap_or_default()
    }

    /// Have the names of which there is more than one story told the one of that number.
    pub(crate) fn turn(&self, number: usize) {
        let path = self.directory.path().join("turn");
        let partial = path.with_extension("new");
        fs::write(&partial, number.to_string()).expect("it is ours");
        fs::rename(partial, path).expect("within one directory");
    }

    /// What arrived in the servers' namespace from the host's so far: `PROTOCOL ADDRESS PORT`, each once.
    /// Of TCP, what opens a connection.
    pub(crate) fn arrived(&self) -> BTreeSet<String> {
        // A datagram to a port that is not used yet comes behind all that is under way. Where there is
        // too much of it, it gets lost like the rest, and another one is sent.
        let port = FIRST_MARK + self.marks.fetch_add(1, Ordering::Relaxed);
        let send = format!("while echo >/dev/udp/11.1.0.2/{port}; do sleep 0.1; done");
        let mut command = self.command(&users()[0], "/bin/bash");
        let mut sender = command
            .args(["-c", &send])
            .spawn()
            .expect("nsenter can be started");
        let is_mark = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            words[0] == "udp" && words[2].parse::<u16>().is_ok_and(|port| port >= FIRST_MARK)
        };
        let mark = format!("udp 11.1.0.2 {port}\n");
        let deadline = Instant::now() + Duration::from_secs(60);
        let lines = loop {
            let lines = fs::read_to_string(self.directory.path().join("arrived"));
            let lines = lines.expect("the lab has a watcher");
            if lines.contains(&mark) || Instant::now() > deadline {
                break lines;
            }
            std::thread::yield_now();
        };
        let _ = sender.kill();
        let _ = sender.wait();
        assert!(lines.contains(&mark), "nothing arrives: {lines}");
        let lines = lines.lines().filter(|line| !is_mark(line));
        lines.map(str::to_owned).collect()
    }

    /// Whether the server called `name` is up; says so if not.
    #[track_caller]
    pub(crate) fn serves(&self, name: &str) -> bool {
        let found = self.servers.iter().any(|server| server == name);
        if !found {
            skip(name, "not installed, or it did not start");
        }
        found
    }

    /// What clients of the real servers need: certificates, keys, and the like.
    pub(crate) fn for_clients(&self) -> PathBuf {
        self.directory.path().join("real/clients")
    }
}

/// What the scripts share.
pub(crate) const PRELUDE: &str = r#"
import errno, os, socket, struct, sys, threading, time
def dial(host, port, timeout=20):
    return socket.create_connection((host, port), timeout)
def attempt(host, port, timeout=20):
    try:
        with dial(host, port, timeout) as s:
            s.sendall(b"x")
            return s.recv(1).decode() or "end"
    except socket.gaierror as e:
        return "no name"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
"#;

/// The lab as each user.
#[track_caller]
pub(crate) fn in_lab(claim: impl Fn(&Lab, &User)) {
    let Some(lab) = Lab::start(Besides::Nothing) else {
        return;
    };
    each_user(|user| claim(&lab, user));
}

/// What `command` printed, which succeeds.
#[track_caller]
pub(crate) fn printed(user: &User, command: &mut Command) -> String {
    success(user, &command.output().expect("nsenter can be started"))
}

/// The events of egress of a run with `--events`, in `user`'s home.
pub(crate) fn events(user: &User, name: &str, output: &Output) -> Vec<Value> {
    events_at(&user.home.join(name), output)
}

/// The events of egress of a run with `--events`, in the file at `path`.
pub(crate) fn events_at(path: &Path, output: &Output) -> Vec<Value> {
    let written = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}: {}", path.display(), text(&output.stderr)));
    let _ = fs::remove_file(path);
    parse_events(&written)
}

/// The events of egress among lines of events.
pub(crate) fn parse_events(written: &str) -> Vec<Value> {
    written
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is an object"))
        .filter(|event: &Value| event["event"] == "egress")
        .collect()
}
