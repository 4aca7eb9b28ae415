//! Real daemons across a lab, confined, as root and as an ordinary user: servers run in one node and
//! clients in another.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sandbox::{Lab, RunningLab};
use support::{User, each_user, have, success, text};

/// A directory of the user's own, short and gone with the value.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new(user: &User) -> Self {
        let made = tempfile::Builder::new()
            .prefix("labd")
            .tempdir_in("/var/tmp")
            .unwrap();
        fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(made.path(), Some(user.uid), Some(user.gid)).unwrap();
        Self(made)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Write a file that the user may read.
    fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }
}

/// A lab that is up, and taken down with the value.
struct Up<'a> {
    user: &'a User,
    name: String,
    file: String,
}

impl<'a> Up<'a> {
    fn new(user: &'a User, directory: &Directory, name: &str, lab: &str) -> Self {
        let name = format!("{name}{}", std::process::id() % 100_000);
        let path = directory.write("lab.toml", &format!("name = \"{name}\"\n{lab}"));
        let file = path.to_str().unwrap().to_owned();
        success(user, &user.output(&["lab", "up", &file]));
        Self { user, name, file }
    }

    /// What `words` print in `node`, once they succeed.
    fn until_done(&self, node: &str, words: &[&str]) -> String {
        self.until_done_with(&[], node, words)
    }

    /// The same, with `options` of the sandbox.
    fn until_done_with(&self, options: &[&str], node: &str, words: &[&str]) -> String {
        let mut line = vec!["lab", "exec", &self.name, node, "-q"];
        line.extend(options);
        line.push("--");
        line.extend(words);
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let output = self.user.output(&line);
            if output.status.success() {
                return text(&output.stdout);
            }
            assert!(
                Instant::now() < end,
                "as {}: {words:?}: {}{}\n{}",
                self.user.name,
                text(&output.stdout),
                text(&output.stderr),
                text(&self.user.output(&["lab", "status", &self.name]).stdout)
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let _ = self.user.output(&["lab", "down", &self.file]);
    }
}

const PAIR: &str = "\
[networks.n]
ipv4 = \"10.1.0.0/24\"
[nodes.client]
[nodes.server]
[[links]]
ends = [\"client\", \"server\"]
network = \"n\"
[check]
reachable = [\"client <-> server\"]
";

fn toml_list(words: &[&str]) -> String {
    format!("{words:?}")
}

fn with_server(command: &[&str]) -> String {
    format!(
        "{PAIR}[[nodes.server.run]]\ncommand = {}\n",
        toml_list(command)
    )
}

#[test]
fn nginx_serves_curl_across_a_cable() {
    if !have("nginx") || !have("curl") {
        return;
    }
    each_user(|user| {
        let directory = Directory::new(user);
        let at = directory.path().to_str().unwrap();
        directory.write("index.html", "across the cable\n");
        // It would give its directories to another, which takes a capability.
        let stays = if user.is_root() {
            "user root root;"
        } else {
            ""
        };
        let configuration = directory.write(
            "nginx.conf",
            &format!(
                "{stays} daemon off; master_process off; pid {at}/pid; error_log stderr;\n\
                 events {{}}\n\
                 http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
                 fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
                 server {{ listen 10.1.0.2:8080; root {at}; }} }}\n"
            ),
        );
        let lab = with_server(&[
            "nginx",
            "-c",
            configuration.to_str().unwrap(),
            "-e",
            "stderr",
        ]);
        let up = Up::new(user, &directory, "nginx", &lab);
        let said = up.until_done("client", &["curl", "-sSf", "http://10.1.0.2:8080/"]);
        assert_eq!(said, "across the cable");
    });
}

#[test]
fn postgresql_answers_a_client_across_a_cable() {
    if !have("postgres") || !have("initdb") || !have("psql") {
        return;
    }
    // It refuses to run as root.
    each_user(|user| {
        if user.is_root() {
            return;
        }
        let directory = Directory::new(user);
        let data = directory.path().join("data");
        let data = data.to_str().unwrap();
        let words = ["-D", data, "-A", "trust", "-U", "lab", "--no-sync"];
        success(user, &user.command("initdb").args(words).output().unwrap());
        let access = directory.path().join("data/pg_hba.conf");
        fs::write(&access, "host all all 10.1.0.1/32 trust\n").unwrap();
        let lab = with_server(&[
            "postgres",
            "-D",
            data,
            "-c",
            "listen_addresses=10.1.0.2",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
        ]);
        let up = Up::new(user, &directory, "pg", &lab);
        let query = [
            "psql",
            "-h",
            "10.1.0.2",
            "-U",
            "lab",
            "-Atc",
            "select 6 * 7",
            "postgres",
        ];
        assert_eq!(up.until_done("client", &query), "42");
    });
}

#[test]
fn dnsmasq_answers_with_the_labs_own_names() {
    if !have("dnsmasq") || !have("python3") {
        return;
    }
    let client = "\
import socket, struct
question = b\"\".join(bytes([len(part)]) + part for part in b\"web.lab\".split(b\".\")) + b\"\\0\"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.sendto(struct.pack(\">6H\", 7, 0x100, 1, 0, 0, 0) + question + struct.pack(\">2H\", 1, 1), (\"10.1.0.2\", 5353))
print(socket.inet_ntoa(s.recv(512)[-4:]))
";
    each_user(|user| {
        let directory = Directory::new(user);
        let lab = with_server(&[
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--port=5353",
            "--listen-address=10.1.0.2",
            "--bind-interfaces",
            "--pid-file=",
            "--user=",
            "--group=",
            "--address=/web.lab/10.1.0.77",
            "--log-facility=-",
        ]);
        let up = Up::new(user, &directory, "dns", &lab);
        assert_eq!(
            up.until_done("client", &["python3", "-c", client]),
            "10.1.0.77"
        );
    });
}

#[test]
fn iperf3_is_held_to_the_rate_of_its_cable() {
    if !have("iperf3") {
        return;
    }
    each_user(|user| {
        let directory = Directory::new(user);
        let lab = with_server(&["iperf3", "-s", "-B", "10.1.0.2"]).replace(
            "ends = [\"client\", \"server\"]",
            "ends = [{ node = \"client\", rate = \"20mbit\" }, \"server\"]",
        );
        let up = Up::new(user, &directory, "iperf", &lab);
        let report = up.until_done("client", &["iperf3", "-c", "10.1.0.2", "-t", "2", "-J"]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let bits = report["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .unwrap();
        // A bucket's worth may go faster.
        assert!(bits < 26e6, "{bits}");
        assert!(bits > 2e6, "{bits}");
    });
}

#[test]
fn bird_speakers_tell_each_other_their_routes() {
    if !have("bird") || !have("birdc") {
        return;
    }
    each_user(|user| {
        let directory = Directory::new(user);
        let at = directory.path().to_str().unwrap();
        for (own, other, route) in [(1, 2, "172.16.1.0/24"), (2, 1, "172.16.2.0/24")] {
            directory.write(
                &format!("bird{own}.conf"),
                &format!(
                    "router id 10.1.0.{own};\nprotocol device {{}}\n\
                     protocol static {{ ipv4; route {route} blackhole; }}\n\
                     protocol bgp peer {{ local 10.1.0.{own} port 1179 as 6500{own};\n\
                     neighbor 10.1.0.{other} port 1179 as 6500{other};\n\
                     connect delay time 1; connect retry time 1;\n\
                     ipv4 {{ import all; export all; }}; }}\n"
                ),
            );
        }
        let run = |number: u8, node: &str| {
            let (configuration, socket) = (
                format!("{at}/bird{number}.conf"),
                format!("{at}/{number}.ctl"),
            );
            let command = toml_list(&["bird", "-f", "-c", &configuration, "-s", &socket]);
            format!("[[nodes.{node}.run]]\ncommand = {command}\n")
        };
        let lab = format!("{PAIR}{}{}", run(1, "client"), run(2, "server"));
        let up = Up::new(user, &directory, "bird", &lab);
        let control = format!("{at}/1.ctl");
        let learnt = [
            "sh",
            "-c",
            "birdc -s $0 show route | grep '172.16.2.0/24.*AS65002'",
            &control,
        ];
        // The daemon listens on it in a sandbox of its own.
        let any = ["--unix-sockets", "any"];
        let said = up.until_done_with(&any, "client", &learnt);
        assert!(said.contains("172.16.2.0/24"), "{said}");
    });
}

/// The library's side, in this process: with the threads of the test harness.
#[test]
fn the_library_makes_a_lab_for_a_test_and_takes_it_away() {
    let mut lab: RunningLab = Lab::from_text("library", PAIR).unwrap().up().unwrap();
    assert!(lab.check().unwrap().holds());
    let from = lab.namespace("client").unwrap();
    let socket = from.socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    drop(socket);
    lab.unplug("server:eth0").unwrap();
    lab.heal().unwrap();
    assert!(lab.namespace("nobody").is_err());
    let output = lab
        .sandbox("server", "/bin/cat")
        .unwrap()
        .arg("/proc/net/fib_trie")
        .output();
    let said = text(&output.unwrap().stdout);
    assert!(said.contains("10.1.0.2"), "{said}");
}
