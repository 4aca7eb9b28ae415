//! `dist/systemd/`: the unit files are what systemd understands, and their commands what we do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{User, each_user, have, success, text, users};

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
