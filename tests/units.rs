//! `dist/systemd/`: the unit files are what systemd understands, and their commands what we do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use support::broker::{PATIENCE, exchange, script};
use support::systemd::Manager;
use support::{User, each_user, example, have, success, text, users};

const UNITS: [&str; 5] = [
    "sandbox-pool.socket",
    "sandbox-pool.service",
    "sandbox-serve.service",
    "sandbox-connection.socket",
    "sandbox-connection@.service",
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/systemd")
}

/// A unit with the programs that are here in place of those that an administrator has.
fn unit(name: &str, user: &User) -> String {
    fs::read_to_string(directory().join(name))
        .unwrap()
        .replace("/usr/local/bin/sandbox", user.sandbox.to_str().unwrap())
        .replace("/usr/local/bin/my-worker", "/bin/true")
        .replace("/usr/local/bin/my-handler", "/bin/cat")
        .replace("/usr/sbin/nginx", "/bin/true")
}

/// What `systemd-analyze verify` says of the units in `place`, and whether it is content.
fn verify(place: &Path) -> (bool, String) {
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(UNITS.map(|name| place.join(name.replace('@', "@one"))))
        .output()
        .unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output.status.success(), said)
}

#[test]
fn systemd_understands_every_unit() {
    if !have("systemd-analyze") {
        return;
    }
    let user = &users()[0];
    let place = user.home.join("units");
    fs::create_dir_all(&place).unwrap();
    for name in UNITS {
        fs::write(place.join(name), unit(name, user)).unwrap();
    }
    let (content, said) = verify(&place);
    assert!(content, "{said}");
    let ours: Vec<_> = said.lines().filter(|it| it.contains("sandbox-")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
    // The control: it does look at them.
    let wrong = unit("sandbox-pool.service", user).replace("WatchdogSec=30s", "WatchdogSec=soon");
    fs::write(place.join("sandbox-pool.service"), wrong).unwrap();
    let (_, said) = verify(&place);
    assert!(said.contains("Failed to parse sec value"), "{said}");
}

#[test]
fn every_unit_is_tried() {
    let mut found: Vec<_> = fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut tried = UNITS.map(str::to_owned);
    tried.sort();
    assert_eq!(found, tried);
}

/// The words of a unit's command; none of them has a blank or a quote in it.
fn command(name: &str, user: &User) -> Vec<String> {
    let unit = unit(name, user);
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let line = line.unwrap().trim_start_matches('-');
    assert!(!line.contains(['"', '\'', '\\']), "{line}");
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_command_of_each_broker_is_one_that_it_takes() {
    each_user(|user| {
        for name in ["sandbox-pool.service", "sandbox-serve.service"] {
            let words = command(name, user);
            let at = words.iter().position(|word| word == "--").unwrap();
            let mut planned = words[1..at].to_vec();
            // What only root or nobody has here.
            for (from, to) in [("tcp::80", "tcp:127.0.0.1:0"), ("/run/", "/var/tmp/none/")] {
                for word in &mut planned {
                    *word = word.replace(from, to);
                }
            }
            for option in ["--metrics", "--user"] {
                if let Some(at) = planned.iter().position(|word| word == option) {
                    planned.drain(at..at + 2);
                }
            }
            if !planned.iter().any(|word| word == "--listen") {
                planned.extend(["--listen".to_owned(), "tcp:127.0.0.1:0".to_owned()]);
            }
            planned.push("--dry-run".to_owned());
            planned.extend_from_slice(&words[at..]);
            let planned: Vec<&str> = planned.iter().map(String::as_str).collect();
            let printed = success(user, &user.output(&planned));
            assert!(printed.contains("fds"), "{name}: {printed}");
        }
    });
}

#[test]
fn the_command_for_one_connection_serves_it() {
    each_user(|user| {
        let words = command("sandbox-connection@.service", user);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut command = user.command(&words[0]);
        let output = server.try_clone().unwrap();
        command
            .args(&words[1..words.len() - 1])
            .args([
                "/bin/sh",
                "-c",
                "read line; echo $line $REMOTE_ADDR $LISTEN_FDS",
            ])
            .env("REMOTE_ADDR", "192.0.2.7")
            .env("REMOTE_PORT", "7")
            .env("LISTEN_FDS", "1")
            .stdin(Stdio::from(OwnedFd::from(server)))
            .stdout(Stdio::from(OwnedFd::from(output)));
        let mut child = command.spawn().unwrap();
        drop(command);
        client.write_all(b"hello\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello 192.0.2.7\n", "as {}", user.name);
        assert!(child.wait().unwrap().success());
    });
}

/// What an HTTP client gets that asks at `port` of what `manager` starts.
#[track_caller]
fn ask(manager: &Manager, port: u16) -> String {
    exchange(manager.connect(port), "GET / HTTP/1.0\r\n\r\n")
}

/// Wait until `holds`.
#[track_caller]
fn until(manager: &Manager, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not {what}: {}", manager.said());
        thread::yield_now();
    }
}

/// As whom the main process of `unit` runs, by the name there.
#[track_caller]
fn runs_as(manager: &Manager, unit: &str) -> String {
    let pid = manager.show(unit, "MainPID");
    let output = manager
        .command("stat")
        .args(["--format=%U", &format!("/proc/{pid}")])
        .output();
    text(&output.unwrap().stdout)
}

#[test]
fn a_real_systemd_starts_the_pool_for_its_first_connection_reloads_and_stops_it() {
    let (name, socket) = ("sandbox-pool.service", "sandbox-pool.socket");
    let Some(user) = users().first() else { return };
    let worker = example("worker");
    let service = unit(name, user).replace("/bin/true", worker.to_str().unwrap());
    let units = [(name, service), (socket, unit(socket, user))];
    let Some(manager) = Manager::boot(user, &units) else {
        return;
    };
    manager.done(&["start", socket]);
    assert!(manager.is(name, "inactive"), "nobody has come yet");
    let answer = ask(&manager, 8080);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // It has said that it is ready: until then it would be "activating".
    until(&manager, "ready", || manager.is(name, "active"));
    assert_eq!(runs_as(&manager, name), "www-data");
    let status = || -> Value {
        let mut asked = manager.command(user.sandbox.to_str().unwrap());
        asked.args(["serve", "--json", "--status"]);
        let output = asked.arg("unix:/run/sandbox-pool/metrics.sock").output();
        serde_json::from_str(&success(user, &output.unwrap())).unwrap()
    };
    let workers = || -> Vec<u64> {
        let status = status();
        let workers = status["workers"].as_array().unwrap();
        workers
            .iter()
            .map(|worker| worker["worker"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(workers(), [1, 2, 3, 4]);
    manager.done(&["reload", name]);
    until(&manager, "reloaded", || workers() == [5, 6, 7, 8]);
    assert!(manager.is(name, "active"));
    assert!(ask(&manager, 8080).starts_with("HTTP/1.1 200 "));
    manager.done(&["stop", name]);
    assert!(manager.is(name, "inactive"));
    assert_eq!(manager.show(name, "Result"), "success");
    // The socket has stayed.
    assert!(ask(&manager, 8080).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_real_systemd_starts_a_sandbox_for_each_connection_and_forgets_it() {
    let (name, socket) = ("sandbox-connection@.service", "sandbox-connection.socket");
    let Some(user) = users().first() else { return };
    let units = [name, socket].map(|name| (name, unit(name, user)));
    let Some(manager) = Manager::boot(user, &units) else {
        return;
    };
    let instances = || {
        let words = ["list-units", "--all", "--plain", "--no-legend"];
        let said = manager.done(&[&words[..], &["sandbox-connection@*"]].concat());
        let units = said.lines().filter_map(|line| line.split(' ').next());
        units.map(str::to_owned).collect::<Vec<String>>()
    };
    manager.done(&["start", socket]);
    assert_eq!(instances(), [""; 0]);
    let mut clients = [7000; 2].map(|port| manager.connect(port));
    for (client, words) in clients.iter_mut().zip([b"one\n", b"two\n"]) {
        client.write_all(words).unwrap();
        let mut echo = [0; 4];
        client.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, words);
    }
    let running = instances();
    assert_eq!(running.len(), 2, "{running:?}");
    for unit in &running {
        assert_eq!(runs_as(&manager, unit), "www-data");
    }
    for client in clients {
        assert_eq!(exchange(client, "the rest\n"), "the rest\n");
    }
    until(&manager, "forgotten", || instances().is_empty());
}

/// Answers whoever comes by the first socket that it is given.
const ACCEPTS: &str = "
import os, socket
assert os.environ['LISTEN_FDS'] == '1' and os.environ['NGINX'] == '3;'
listener = socket.socket(fileno=3)
while True:
    client = listener.accept()[0]
    client.recv(1000)
    client.sendall(b'HTTP/1.1 200 OK\\r\\n\\r\\n')
    client.close()
";

#[test]
fn a_real_systemd_starts_a_server_that_has_a_privileged_port() {
    let name = "sandbox-serve.service";
    let Some(user) = users().first() else { return };
    if !have("python3") {
        return;
    }
    let server = script(user, "accepts.py", ACCEPTS);
    let from = "/bin/true -e stderr -c /srv/site/nginx.conf";
    let to = format!("/usr/bin/python3 {}", server.display());
    let service = unit(name, user).replace(from, &to);
    let Some(manager) = Manager::boot(user, &[(name, service)]) else {
        return;
    };
    // Done when it has said that it is ready.
    manager.done(&["start", name]);
    assert!(manager.is(name, "active"));
    assert!(ask(&manager, 80).starts_with("HTTP/1.1 200 "));
    let mut server = manager.command("ps");
    server.args(["-o", "user=", "-C", "python3"]);
    assert_eq!(text(&server.output().unwrap().stdout), "www-data");
    manager.done(&["stop", name]);
    assert_eq!(manager.show(name, "Result"), "success");
}
