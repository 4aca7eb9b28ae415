//! `sandbox learn`: a run is recorded, and the policy that is written lets the same run pass and no other.
//!
//! In the small Internet of `tests/support/lab.rs`.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use support::lab::{Besides, Lab, in_lab, printed};
use support::{User, each_user, have, success, text, users};

/// A file of `user`'s that is not there yet.
fn fresh(user: &User, name: &str) -> PathBuf {
    let path = user.home.join(name);
    let _ = fs::remove_file(&path);
    path
}

/// The lines of a policy that grant something, without their comments.
fn granted(policy: &str) -> Vec<&str> {
    let lines = policy.lines().filter(|line| line.starts_with("  \""));
    lines.filter_map(|line| line.split('"').nth(1)).collect()
}

/// The lines that are comments and name something.
fn commented(policy: &str) -> Vec<&str> {
    let lines = policy.lines().filter(|line| line.starts_with("#   \""));
    lines.filter_map(|line| line.split('"').nth(1)).collect()
}

#[test]
fn what_is_asked_of_the_proxy_is_learned_with_nothing_allowed() {
    let script = r#"
s = dial("127.0.0.1", 3128)
s.sendall(b"CONNECT web.test.example:7 HTTP/1.1\r\nHost: web.test.example:7\r\n\r\n")
print(s.recv(4096).split()[1].decode())
"#;
    in_lab(|lab, user| {
        let path = fresh(user, "proxied.toml");
        let file = path.display().to_string();
        let learn = ["learn", "-q", "--force", "-o", &file, "--proxy-env"];
        let denying = [&learn[..], &["--deny-while-learning"]].concat();
        for (options, answer) in [(&denying[..], "403"), (&learn, "200")] {
            let out = printed(user, &mut lab.python(user, options, script));
            assert_eq!(out, answer, "as {}: {options:?}", user.name);
            let policy = fs::read_to_string(&path).unwrap();
            assert_eq!(granted(&policy), ["web.test.example:7"], "{policy}");
        }
        let held = ["-q", "--policy", &file, "--proxy-env"];
        assert_eq!(printed(user, &mut lab.python(user, &held, script)), "200");
    });
}

/// Reaches something in each of the ways that there are.
const EVERY_WAY: &str = r#"
import select
def ask(connected, host, port, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(20)
    if connected:
        s.connect((host, port))
        s.send(b"abc")
    else:
        s.sendto(b"abc", (host, port))
    return s.recv(9).decode()
def watched(host, port):
    """A descriptor that is in an epoll set before it is connected."""
    s = socket.socket()
    s.setblocking(False)
    with select.epoll() as events:
        events.register(s, select.EPOLLOUT)
        s.connect_ex((host, port))
        assert events.poll(20)
        s.setblocking(True)
        s.sendall(b"y")
        return s.recv(1).decode()
print(attempt("web.test.example", 7), attempt("b.sub.example", 7), attempt("11.1.0.2", 100, 20))
print(attempt("2a00:1::2", 7), watched("11.1.0.4", 7), watched(socket.gethostbyname("a.sub.example"), 7))
print(ask(True, "web.test.example", 7), ask(False, "11.1.0.2", 7), ask(False, "four.test.example", 7))
"#;

const ANSWERS: &str = "x x 1\nx y y\nABC ABC ABC";

#[test]
fn a_learned_policy_lets_the_same_run_pass_and_no_other() {
    in_lab(|lab, user| {
        let script = EVERY_WAY.replace("attempt(\"11.1.0.2\", 100, 20)", "count()");
        let script = format!(
            "def count():\n    s = dial('11.1.0.2', 100); s.sendall(b'z'); s.shutdown(1); return s.recv(1).decode()\n{script}"
        );
        let path = fresh(user, "learned.toml");
        let file = path.display().to_string();
        let learn = ["learn", "-q", "-o", &file];
        let out = printed(user, &mut lab.python(user, &learn, &script));
        assert_eq!(out, ANSWERS, "as {}", user.name);
        let first = fs::read_to_string(&path).unwrap();
        assert_eq!(
            granted(&first),
            [
                "a.sub.example:7",
                "b.sub.example:7",
                "udp://four.test.example:7",
                "web.test.example:7",
                "udp://web.test.example:7",
                "udp://11.1.0.2:7",
                "11.1.0.2:100",
                "11.1.0.4:7",
                "[2a00:1::2]:7",
            ],
            "{first}"
        );
        let told = first.lines().find(|line| line.contains("11.1.0.2:100"));
        let told = told.unwrap_or_default();
        assert!(told.contains("python3") && told.contains("1 connection, up to 1K out, 1K in"));

        // A socket of datagrams that was connected is somebody's as well.
        let told = first
            .lines()
            .find(|line| line.contains("udp://web.test.example:7"));
        assert!(told.is_some_and(|line| line.contains("python3")), "{first}");

        // Another run learns the same.
        let again = ["learn", "-q", "--force", "-o", &file];
        printed(user, &mut lab.python(user, &again, &script));
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            first,
            "as {}",
            user.name
        );

        // And passes under it; what it did not do is refused.
        let policy = ["-q", "--policy", &file];
        let out = printed(user, &mut lab.python(user, &policy, &script));
        assert_eq!(out, ANSWERS, "as {}", user.name);
        let other = r#"print(attempt("web.test.example", 101), attempt("11.1.0.3", 7), attempt("six.test.example", 7))"#;
        let out = printed(user, &mut lab.python(user, &policy, other));
        assert_eq!(out, "ECONNREFUSED ECONNREFUSED no name", "as {}", user.name);
        // Control: these answer where they are learned.
        let path = fresh(user, "other.toml");
        let learn = ["learn", "-q", "-o", &path.display().to_string()].map(str::to_owned);
        let learn: Vec<&str> = learn.iter().map(String::as_str).collect();
        let out = printed(user, &mut lab.python(user, &learn, other));
        assert_eq!(out, "ECONNRESET x x", "as {}", user.name);
    });
}

#[test]
fn what_curl_and_git_reach_over_tls_is_learned_by_name() {
    let Some(lab) = Lab::start(Besides::RealServers) else {
        return;
    };
    if !lab.serves("nginx") || !["curl", "git", "bash"].iter().all(|it| have(it)) {
        return;
    }
    each_user(|user| {
        let certificate = fresh(user, "ca.pem");
        fs::copy(lab.for_clients().join("ca.pem"), &certificate).expect("the lab has made it");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&certificate, mode).expect("it is ours");
        let clone = user.home.join("learned-clone");
        let script = format!(
            "set -e; curl -sS --http2 --cacert ca.pem https://www.lab.example/protocol
             curl -sSfL http://www.lab.example/moved
             rm -rf {0}; git clone -q https://www.lab.example/repo.git {0}
             cat {0}/README",
            clone.display()
        );
        let run = |options: &[&str]| {
            let mut command = lab.command(user, &user.sandbox.display().to_string());
            command.args(options).args(["--", "bash", "-c", &script]);
            command.env("GIT_SSL_CAINFO", &certificate);
            command.output().expect("nsenter can be started")
        };
        let path = fresh(user, "curl.toml");
        let file = path.display().to_string();
        let learned = success(user, &run(&["learn", "-q", "-o", &file]));
        assert!(
            learned.contains("HTTP/2.0") && learned.contains("page of the lab"),
            "{learned}"
        );
        let policy = fs::read_to_string(&path).unwrap();
        let expected = ["www.lab.example:80", "www.lab.example:443"];
        assert_eq!(granted(&policy), expected, "{policy}");
        let line = policy
            .lines()
            .find(|line| line.contains("www.lab.example:443"));
        let line = line.unwrap_or_default();
        assert!(line.contains("/curl, ") && line.contains("git"), "{policy}");
        let again = success(user, &run(&["-q", "--policy", &file]));
        assert_eq!(again, learned, "as {}", user.name);
        // The same again. No two handshakes are quite alike, and sizes are rounded; a size may all the same
        // be near the next one.
        success(user, &run(&["learn", "-q", "--force", "-o", &file]));
        let sizeless = |policy: &str| -> Vec<String> {
            let lines = policy.lines().map(|line| line.split(", up to").next());
            lines.flatten().map(str::to_owned).collect()
        };
        let second = fs::read_to_string(&path).unwrap();
        assert_eq!(sizeless(&second), sizeless(&policy), "as {}", user.name);
        let _ = fs::remove_dir_all(&clone);
    });
}

#[test]
fn what_connects_by_sending_is_learned_at_its_second_try() {
    in_lab(|lab, user| {
        let script = r#"
FASTOPEN = 0x20000000
def fast():
    s = socket.socket()
    s.sendto(b"z", FASTOPEN, ("11.1.0.2", 7))
    return s.recv(1).decode()
def again():
    deadline = time.monotonic() + 20
    while True:
        try:
            return fast()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                return "refused"
            time.sleep(0.01)
print(again())
"#;
        let path = fresh(user, "fast.toml");
        let file = path.display().to_string();
        let learn = ["learn", "-q", "-o", &file];
        assert_eq!(printed(user, &mut lab.python(user, &learn, script)), "z");
        let policy = fs::read_to_string(&path).unwrap();
        assert_eq!(granted(&policy), ["11.1.0.2:7"], "{policy}");
    });
}

#[test]
fn what_there_is_no_room_for_is_refused_and_said() {
    in_lab(|lab, user| {
        let script = r#"
server = socket.create_server(("0.0.0.0", 8080))
threading.Thread(target=lambda: server.accept()[0].sendall(b"own"), daemon=True).start()
print(attempt("11.1.0.3", 8080))
print(*sorted({attempt("11.1.0.2", port) for port in range(3000, 3300)}), attempt("2a00:1::2", 7))
"#;
        let path = fresh(user, "many.toml");
        let file = path.display().to_string();
        let learn = ["learn", "-q", "-o", &file];
        let out = printed(user, &mut lab.python(user, &learn, script));
        assert_eq!(out, "o\nECONNREFUSED ECONNRESET x", "as {}", user.name);
        let policy = fs::read_to_string(&path).unwrap();
        assert_eq!(granted(&policy), ["[2a00:1::2]:7"], "{policy}");
        for (destination, reason) in [
            ("11.1.0.2:3000", "Connection refused"),
            ("11.1.0.2:3299", "more destinations than can be learned"),
            ("11.1.0.3:8080", "a server of the command's own"),
        ] {
            let line = policy.lines().find(|line| line.contains(destination));
            let line = line.unwrap_or_default();
            assert!(
                line.starts_with("#   ") && line.contains(reason),
                "{policy}"
            );
        }
    });
}

#[test]
fn a_name_that_is_not_there_is_not_there_while_it_is_learned_either() {
    in_lab(|lab, user| {
        // The first two of what is tried are not there: resolv.conf(5), resolver(3).
        let script = r#"
os.environ["LOCALDOMAIN"] = "none.example test.example"
os.environ["RES_OPTIONS"] = "ndots:3"
again = [sys.executable, "-c", "import socket; print(socket.create_connection(('web', 7)) and 'x')"]
import subprocess
print(subprocess.run(again, capture_output=True, text=True).stdout.strip())
print(attempt("nowhere.example", 7), attempt("web.test.example", 7))
def by_stream():
    name = b"".join(bytes([len(l)]) + l for l in [b"nowhere", b"example"]) + b"\0"
    query = b"\1\2\1\0\0\1" + bytes(6) + name + b"\0\1\0\1"
    with open("/etc/resolv.conf") as settings:
        server = [line.split()[1] for line in settings if line.startswith("nameserver")][0]
    with dial(server, 53) as s:
        s.sendall(struct.pack(">H", len(query)) + query)
        length = struct.unpack(">H", s.recv(2, socket.MSG_WAITALL))[0]
        reply = s.recv(length, socket.MSG_WAITALL)
    return reply[:2] == b"\1\2", reply[3] & 15
print(by_stream())
"#;
        let path = fresh(user, "names.toml");
        let file = path.display().to_string();
        let answers = "x\nno name x\n(True, 3)";
        let learn = ["learn", "-q", "-o", &file];
        let out = printed(user, &mut lab.python(user, &learn, script));
        assert_eq!(out, answers, "as {}", user.name);
        let policy = fs::read_to_string(&path).unwrap();
        assert_eq!(granted(&policy), ["web.test.example:7"], "{policy}");
        assert!(
            !policy.contains("none.example") && !policy.contains("nowhere"),
            "{policy}"
        );
        let run = ["-q", "--policy", &file];
        let out = printed(user, &mut lab.python(user, &run, script));
        assert_eq!(out, answers, "as {}", user.name);
    });
}

#[test]
fn what_only_an_express_rule_opens_stays_refused_and_is_a_comment() {
    in_lab(|lab, user| {
        let script = r#"
print(attempt("169.254.169.254", 80), attempt("metadata.example", 80), attempt("private.example", 7))
print(attempt("10.0.0.1", 7), attempt("127.0.0.1", 7), attempt("mapped.example", 7), attempt("11.1.0.3", 7))
"#;
        let path = fresh(user, "special.toml");
        let file = path.display().to_string();
        let options = ["learn", "-q", "-o", &file, "--deny", "11.1.0.3:7"];
        let out = printed(user, &mut lab.python(user, &options, script));
        let (at_once, later) = ("ECONNREFUSED", "ECONNRESET");
        assert_eq!(
            out,
            format!("{at_once} {later} {later}\n{at_once} {at_once} {later} {at_once}"),
            "as {}",
            user.name
        );
        let policy = fs::read_to_string(&path).unwrap();
        assert_eq!(granted(&policy), [""; 0], "{policy}");
        assert_eq!(
            commented(&policy),
            [
                "mapped.example:7",
                "metadata.example:80",
                "private.example:7",
                "10.0.0.1:7",
                "11.1.0.3:7",
                "169.254.169.254:80"
            ],
            "{policy}"
        );
        let reasons = [
            "169.254.169.254 is a cloud's metadata service",
            "10.0.0.1 is an address of a private network",
            "denied by 11.1.0.3:7",
        ];
        assert!(reasons.iter().all(|it| policy.contains(it)), "{policy}");
        // It is a policy all the same.
        success(user, &user.output(&["policy", "check", &file]));
    });
}

#[test]
fn an_express_rule_opens_what_it_names_while_learning_and_is_learned() {
    in_lab(|lab, user| {
        let path = fresh(user, "express.toml");
        let file = path.display().to_string();
        // The host's own loopback: its name server is there.
        let options = ["learn", "-q", "-o", &file, "--allow", "127.0.0.1:7"];
        let script = "print(attempt('127.0.0.1', 7), attempt('127.0.0.1', 8))";
        let out = printed(user, &mut lab.python(user, &options, script));
        assert_eq!(out, "x ECONNREFUSED", "as {}", user.name);
        let policy = fs::read_to_string(&path).unwrap();
        assert_eq!(granted(&policy), ["127.0.0.1:7"], "{policy}");
    });
}

#[test]
fn nothing_is_asked_or_dialled_while_it_is_refused_and_all_is_listed() {
    let Some(lab) = Lab::start(Besides::Watcher) else {
        return;
    };
    each_user(|user| {
        // The lab's own neighbour discovery goes on by itself.
        let sent = || -> Vec<String> {
            let arrived = lab.arrived().into_iter();
            let kinds = ["tcp ", "udp "];
            arrived
                .filter(|line| kinds.iter().any(|kind| line.starts_with(kind)))
                .collect()
        };
        let before = (lab.asked(), sent());
        let script = r#"
def send(host, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(3):
        s.sendto(b"abc", (host, port))
print(attempt("web.test.example", 7), attempt("11.1.0.2", 80), attempt("2a00:1::2", 7), attempt("169.254.169.254", 80))
send("11.1.0.2", 9); send("four.test.example", 9)
socket.gethostbyname("idle.example")
"#;
        let path = fresh(user, "denied.toml");
        let file = path.display().to_string();
        let options = ["learn", "-q", "--deny-while-learning", "-o", &file];
        let out = printed(user, &mut lab.python(user, &options, script));
        assert_eq!(out, ["ECONNREFUSED"; 4].join(" "), "as {}", user.name);
        assert_eq!((lab.asked(), sent()), before, "as {}", user.name);
        let policy = fs::read_to_string(&path).unwrap();
        let expected = [
            "udp://four.test.example:9",
            "web.test.example:7",
            "udp://11.1.0.2:9",
            "11.1.0.2:80",
            "[2a00:1::2]:7",
        ];
        assert_eq!(granted(&policy), expected, "{policy}");
        assert_eq!(commented(&policy), ["169.254.169.254:80"], "{policy}");
        assert!(policy.contains("#   idle.example\n"), "{policy}");
        assert!(policy.contains("refused while learning"), "{policy}");

        // What the options allow is reached, and learned as reached.
        let options = [&options[..], &["--force", "--allow", "web.test.example:7"]].concat();
        let out = printed(user, &mut lab.python(user, &options, script));
        assert!(out.starts_with("x ECONNREFUSED"), "as {}: {out}", user.name);
        let policy = fs::read_to_string(&path).unwrap();
        assert_eq!(granted(&policy), expected, "{policy}");
        // Control: the watcher sees what is let go.
        assert!(
            lab.arrived().contains("tcp 11.1.0.2 7") || lab.arrived().contains("tcp 2a00:1::2 7")
        );
        assert!(lab.asked().contains("web.test.example"));
    });
}

/// A Unix socket of the host that answers.
fn answering(user: &User, name: &str) -> PathBuf {
    let path = fresh(user, name);
    let listener = UnixListener::bind(&path).expect("the name is new");
    std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).expect("root, or own");
    std::thread::spawn(move || {
        for mut peer in listener.incoming().flatten() {
            let _ = peer.write_all(b"answer");
        }
    });
    path
}

#[test]
fn a_socket_of_the_hosts_is_learned_where_an_option_allows_it_and_is_a_comment_elsewhere() {
    if !have("python3") {
        return;
    }
    each_user(|user| {
        let [one, two] = ["one.s", "two.s"].map(|name| answering(user, name));
        let [one, two] = [one, two].map(|path| path.display().to_string());
        let script = format!(
            "
import errno, os, socket
own = socket.socket(socket.AF_UNIX); own.bind('own.s'); own.listen()
for path in ['{one}', '{two}', 'own.s']:
    try:
        peer = socket.socket(socket.AF_UNIX); peer.connect(path)
        print(path == 'own.s' or peer.recv(9).decode())
    except OSError as error:
        print(errno.errorcode[error.errno])
os.unlink('own.s')"
        );
        let path = fresh(user, "sockets.toml");
        let file = path.display().to_string();
        let allow = format!("unix:{one}");
        let python = ["--", "python3", "-c", &script];
        let learn = ["learn", "-q", "-o", &file, "--allow", &allow];
        let out = success(user, &user.output(&[&learn[..], &python].concat()));
        assert_eq!(out, "answer\nECONNREFUSED\nTrue", "as {}", user.name);
        let policy = fs::read_to_string(&path).unwrap();
        assert_eq!(granted(&policy), [&allow], "{policy}");
        assert_eq!(commented(&policy), [format!("unix:{two}")], "{policy}");
        let run = ["-q", "--policy", &file];
        let out = success(user, &user.output(&[&run[..], &python].concat()));
        assert_eq!(out, "answer\nECONNREFUSED\nTrue", "as {}", user.name);
    });
}

#[test]
fn a_file_is_there_whole_or_as_it_was() {
    each_user(|user| {
        let folder = user.home.join("learn-files");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid)).expect("root, or own");
        let path = folder.join("one.toml");
        let file = path.display().to_string();
        let learn = |options: &[&str], command: &[&str]| {
            let output = [&["learn", "-o", &file], options, &["--"], command].concat();
            let output = user.output(&output);
            (
                output.status.code(),
                text(&output.stdout),
                text(&output.stderr),
            )
        };
        let names = || -> Vec<String> {
            let entries = fs::read_dir(&folder).unwrap();
            let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
            entries.map(|entry| name(entry.unwrap())).collect()
        };

        // A command that is not run leaves nothing.
        let (status, ..) = learn(&[], &["./no-such-command"]);
        assert_eq!((status, names()), (Some(127), vec![]), "as {}", user.name);

        // One that fails has its own status, and the file says so.
        let (status, ..) = learn(&[], &["sh", "-c", "exit 7"]);
        assert_eq!((status, names()), (Some(7), vec!["one.toml".to_owned()]));
        let policy = fs::read_to_string(&path).unwrap();
        assert!(
            policy.contains("# The command failed with status 7"),
            "{policy}"
        );
        success(user, &user.output(&["--policy", &file, "--", "true"]));

        // A file that is there is kept, and nothing is run.
        let (status, out, complaint) = learn(&[], &["echo", "run"]);
        assert_eq!((status, out.as_str()), (Some(125), ""), "{complaint}");
        assert_eq!(
            complaint,
            format!(
                "sandbox: -o {file}: it is there already; choose another name, or replace it with --force"
            )
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), policy);

        // Also one that is made meanwhile; what was learned is not lost.
        fs::remove_file(&path).unwrap();
        let script = format!("echo mine > {file}");
        let (status, _, complaint) = learn(&["-q"], &["sh", "-c", &script]);
        assert_eq!(status, Some(125), "{complaint}");
        assert!(complaint.contains("extends = \"default\""), "{complaint}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine\n");
        assert_eq!(names(), ["one.toml"]);

        let (status, ..) = learn(&["--force"], &["true"]);
        assert_eq!((status, names()), (Some(0), vec!["one.toml".to_owned()]));
        let policy = fs::read_to_string(&path).unwrap();
        assert!(policy.contains("extends = \"default\""), "{policy}");

        // Standard output has it behind the command's own.
        let output = user.output(&[
            "learn", "-o", "-", "--policy", "build", "--", "echo", "said",
        ]);
        let out = success(user, &output);
        assert!(out.starts_with("said\n# For: echo said\n"), "{out}");
        assert!(out.ends_with("extends = \"build\""), "{out}");

        // A policy in a file is named from wherever the new one lies.
        let output = [
            "learn",
            "-o",
            "-",
            "--policy",
            "learn-files/one.toml",
            "--",
            "true",
        ];
        let out = success(user, &user.output(&output));
        assert!(out.contains(&format!("extends = \"{file}\"")), "{out}");
        let _ = fs::remove_dir_all(&folder);
    });
}

#[test]
fn where_connections_cannot_be_seen_nothing_is_learned_and_nothing_run() {
    each_user(|user| {
        let table = [
            (
                &["--net", "none"][..],
                "learn: this launch's connections cannot be seen",
            ),
            (
                &["--net", "host"],
                "learn: this launch's connections cannot be seen",
            ),
            (
                &["--net", "fds"],
                "learn: this launch's connections cannot be seen",
            ),
            (
                &["--seccomp", "off"],
                "learn: this launch's connections cannot be seen",
            ),
        ];
        for (options, reason) in table {
            let learn = [&["learn", "-q", "-o", "-"], options, &["--", "echo", "run"]].concat();
            let output = user.output(&learn);
            let complaint = text(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "{options:?}: {complaint}");
            assert_eq!(text(&output.stdout), "", "{options:?}");
            assert!(
                complaint.starts_with(&format!("sandbox: {reason}")),
                "{complaint}"
            );
        }
    });
}

/// Makes calls by their x86_64 or aarch64 numbers, and says what comes of each.
const CALLS: &str = r#"
import ctypes, errno, os, platform, socket
libc = ctypes.CDLL(None, use_errno=True)
intel = platform.machine() == "x86_64"
def call(numbers, *arguments):
    result = libc.syscall(numbers[0 if intel else 1], *arguments)
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]
def made(*arguments):
    try:
        socket.socket(*arguments).close()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
room = ctypes.create_string_buffer(256)
print(call((319, 279), room, 0), call((278, 75), -1, room, 0, 0))
print(call((165, 40), 0, 0, 0, 0, 0), call((250, 219), 0, 0), call((425, 425), 1, room), call((308, 268), -1, 0))
print(call((56, 220), 0x10000011, 0, 0, 0, 0), call((101, 117), 0, 0, 0, 0))
print(made(socket.AF_INET, socket.SOCK_STREAM), made(socket.AF_UNIX, socket.SOCK_DGRAM), made(socket.AF_INET, socket.SOCK_RAW), made(40, socket.SOCK_STREAM))
"#;

/// The shipped profile `default`, without some calls that it permits.
fn narrower() -> String {
    let without = |text: &str, what: &str, instead: &str| {
        assert_eq!(text.matches(what).count(), 1, "{what}");
        text.replace(what, instead)
    };
    let text = include_str!("../policies/seccomp/default.toml");
    let text = without(text, "\"memfd_create\", ", "");
    let text = without(&text, "calls = [\"ptrace\"]", "calls = [\"uselib\"]");
    // Nothing is said of sockets.
    let socket = "calls = [\"socket\"]\nwhen = [\n  { if = \"arg0 == AF_UNIX\"";
    let other = socket.replace("\"socket\"", "\"uselib\"");
    without(&text, socket, &other)
}

#[test]
fn calls_of_which_the_profile_says_nothing_are_learned_and_what_it_refuses_stays_refused() {
    if !have("python3") {
        return;
    }
    each_user(|user| {
        let profile = fresh(user, "narrow.toml");
        fs::write(&profile, narrower()).unwrap();
        let profile = profile.display().to_string();
        let path = fresh(user, "calls.toml");
        let beside = fresh(user, "calls.seccomp.toml");
        let file = path.display().to_string();
        let python = ["--", "python3", "-c", CALLS];
        let run = |options: &[&str]| success(user, &user.output(&[options, &python].concat()));

        let refused = "EPERM EPERM ENOSYS EPERM\nEPERM";
        let before = run(&["-q", "--seccomp", &profile]);
        let expected = format!("ENOSYS ENOSYS\n{refused} ENOSYS\nENOSYS ENOSYS ENOSYS ENOSYS");
        assert_eq!(before, expected, "as {}", user.name);

        // What lies behind a pointer does not matter: the calls themselves go on. A Unix socket of datagrams
        // is refused by what lies under the profile, a raw one and VSOCK by the profile `default`.
        let learned = format!("ok EBADF\n{refused} ENOSYS\nok ENOSYS ENOSYS ENOSYS");
        let out = run(&["learn", "-q", "-o", &file, "--seccomp", &profile]);
        assert_eq!(out, learned, "as {}", user.name);
        let policy = fs::read_to_string(&path).unwrap();
        let names = "seccomp = \"./calls.seccomp.toml\"  # permits besides: memfd_create, socket, vmsplice\n";
        assert!(policy.contains(names), "{policy}");
        for name in [
            "io_uring_setup",
            "keyctl",
            "mount",
            "ptrace",
            "setns",
            "socket",
        ] {
            assert!(
                policy.contains(&format!("\n#   {name}  # ")),
                "{name}: {policy}"
            );
        }

        // Under the policy they go on too, and no other sockets than those that the profile `default`
        // permits.
        let out = run(&["-q", "--policy", &file]);
        let sockets = "ok ESOCKTNOSUPPORT EPROTONOSUPPORT EAFNOSUPPORT";
        let learned = format!("ok EBADF\n{refused} ENOSYS\n{sockets}");
        assert_eq!(out, learned, "as {}", user.name);
        let _ = fs::remove_file(&path);
        let kept = user.output(&["learn", "-q", "-o", &file, "--", "true"]);
        let complaint = text(&kept.stderr);
        assert_eq!(kept.status.code(), Some(125), "{complaint}");
        assert!(
            complaint.contains("its profile of system calls is there already"),
            "{complaint}"
        );
        drop(beside);
    });
}

#[test]
fn every_thread_of_a_learning_supervisor_is_confined_and_the_file_is_written_all_the_same() {
    each_user(|user| {
        // Root also writes where only its capability lets it.
        let others = users().iter().find(|other| !other.is_root());
        let place = match user.is_root() {
            true => others.unwrap_or(user),
            false => user,
        };
        let path = fresh(place, "confined.toml");
        let file = path.display().to_string();
        let script = "echo up; read line";
        let mut child = user
            .sandbox(&["learn", "-q", "-o", &file, "--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let tasks = || -> Vec<String> {
            let folder = format!("/proc/{}/task", child.id());
            let entries = fs::read_dir(folder).unwrap().flatten();
            let status = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("status"));
            entries.filter_map(|entry| status(entry).ok()).collect()
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let confined = |status: &String| status.contains("Seccomp:\t2");
        let tasks = loop {
            let tasks = tasks();
            if tasks.len() == 3 && tasks.iter().all(confined) || Instant::now() > deadline {
                break tasks;
            }
            std::thread::yield_now();
        };
        assert_eq!(tasks.len(), 3, "as {}: {tasks:?}", user.name);
        for status in &tasks {
            let writes = status.starts_with("Name:\tsandbox-learn\n") && user.is_root();
            // CAP_DAC_OVERRIDE.
            let kept = if writes { 2 } else { 0 };
            for expected in [
                format!("CapEff:\t{kept:016x}"),
                format!("CapPrm:\t{kept:016x}"),
                "CapInh:\t0000000000000000".to_owned(),
                "CapAmb:\t0000000000000000".to_owned(),
                "NoNewPrivs:\t1".to_owned(),
                "Seccomp:\t2".to_owned(),
            ] {
                assert!(status.contains(&expected), "as {}: {status}", user.name);
            }
        }
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("extends"));
        let _ = fs::remove_file(&path);
    });
}
