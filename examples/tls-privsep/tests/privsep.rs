//! The example as it is run, with OpenSSL as its client.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tls-privsep");

/// The front; its end ends the rest.
struct Front {
    child: Child,
    address: String,
}

impl Front {
    fn start(place: &Path) -> Self {
        let mut child = Command::new(place.join("program"))
            .args(["127.0.0.1:0", "cert.pem", "key.pem"])
            .current_dir(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it is built");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        output
            .read_line(&mut line)
            .expect("it says where it listens");
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .expect("it listens");
        let address = address.to_owned();
        // Nobody reads further; a pipe that is closed would end it.
        std::mem::forget(output);
        Self { child, address }
    }

    fn ask(&self, place: &Path, path: &str) -> String {
        let mut client = Command::new("openssl")
            .args([
                "s_client",
                "-quiet",
                "-verify_return_error",
                "-CAfile",
                "cert.pem",
            ])
            .args(["-servername", "localhost", "-verify_hostname", "localhost"])
            .args(["-connect", &self.address])
            .current_dir(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed");
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        let mut input = client.stdin.take().expect("it is piped");
        input.write_all(request.as_bytes()).expect("it reads");
        let output = client.wait_with_output().expect("it ends");
        drop(input);
        let said = text(&output);
        assert!(said.contains("200 OK"), "{said}");
        said
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(output: &Output) -> String {
    let both = [output.stderr.as_slice(), &output.stdout].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The program, a key and a certificate for it, not below /tmp, which the sandboxes have of their own.
fn place(name: &str) -> std::path::PathBuf {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let covered = ["/tmp", "/var/tmp"]
        .iter()
        .any(|above| own.starts_with(above));
    let base = if covered {
        Path::new("/opt/tls-privsep-tests")
    } else {
        own
    };
    let place = base.join(name);
    fs::create_dir_all(&place).expect("it is ours");
    // By another process: a file that this one has open for writing could not be executed.
    let copied = Command::new("cp")
        .args(["--remove-destination", PROGRAM])
        .arg(place.join("program"))
        .status();
    assert!(copied.expect("cp is there").success());
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(&place)
        .output()
        .expect("openssl is installed");
    assert!(output.status.success(), "{}", text(&output));
    place
}

#[test]
fn the_worker_serves_tls_without_the_key_and_reaches_nothing() {
    let place = place("serves");
    let outside = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let port = outside
        .local_addr()
        .expect("it is bound")
        .port()
        .to_string();
    // The control: the same attempts, outside.
    let key = place.join("key.pem");
    let control = Command::new(PROGRAM)
        .arg("--attack")
        .arg(&key)
        .arg(&port)
        .output();
    let control = text(&control.expect("it is built"));
    assert_eq!(control.trim(), "key: read, dial: reached");

    let front = Front::start(&place);
    assert!(front.ask(&place, "/").ends_with("answered"));
    let said = front.ask(&place, &format!("/attack?port={port}"));
    let attacked = said
        .lines()
        .find(|line| line.contains("dial:"))
        .expect("a report");
    assert!(!attacked.contains("key: read"), "{attacked}");
    assert!(
        attacked.contains("dial: Operation not permitted"),
        "{attacked}"
    );
    assert!(
        attacked.contains("signature: the holder of the key refuses"),
        "{attacked}"
    );
    // And it goes on.
    assert!(front.ask(&place, "/").ends_with("answered"));
}

#[test]
fn both_parts_are_in_networks_of_their_own() {
    let place = place("networks");
    let front = Front::start(&place);
    assert!(front.ask(&place, "/").ends_with("answered"));
    let network = |pid: &str| {
        let path = format!("/proc/{pid}/ns/net");
        fs::metadata(path).map(|found| found.ino()).ok()
    };
    let ours = network("self").expect("/proc is mounted");
    let mut parts = descendants(&front.child.id().to_string());
    parts.retain(|pid| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        words.contains("--worker") || words.contains("--key")
    });
    assert_eq!(parts.len(), 2, "{parts:?}");
    for pid in parts {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        assert!(status.contains("Seccomp:\t2"), "{status}");
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
        assert!(network(&pid).is_none_or(|theirs| theirs != ours));
    }
}

fn descendants(pid: &str) -> Vec<String> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    let children = children.split_whitespace().map(str::to_owned);
    children
        .flat_map(|child| {
            std::iter::once(child.clone())
                .chain(descendants(&child))
                .collect::<Vec<_>>()
        })
        .collect()
}
