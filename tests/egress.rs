//! Brokered egress (`--allow`): what is allowed is reached by unmodified programs, and nothing else.
//!
//! Each test has a small Internet of its own (`tests/support/lab.rs`).

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::lab::{Lab, events, in_lab, printed};
use support::{User, each_user, have, success, text};

/// Where events of a run go, in the user's home.
const EVENTS_FILE: &str = "events.json";
const PRIVATE_EVENTS: &str = "private.json";

#[test]
fn an_allowed_address_is_reached_and_no_other() {
    in_lab(|lab, user| {
        let script = r#"
print(attempt("11.1.0.2", 7), attempt("2a00:1::2", 7), attempt("::ffff:11.1.0.2", 7))
print(attempt("11.1.0.2", 80), attempt("11.1.0.3", 7), attempt("2a00:1::2", 80))
print(attempt("11.1.0.1", 7), attempt("127.0.0.1", 7), attempt("::1", 7))
"#;
        let allow = ["-q", "--allow", "11.1.0.2:7", "--allow", "[2a00:1::2]:7"];
        let out = printed(user, &mut lab.python(user, &allow, script));
        let refused = "ECONNREFUSED ECONNREFUSED ECONNREFUSED";
        assert_eq!(
            out,
            format!("x x x\n{refused}\n{refused}"),
            "as {}",
            user.name
        );
        // Control: from the host itself they answer, and without --allow none does.
        let out = printed(
            user,
            &mut lab.python(
                user,
                &["-q", "--net", "host"],
                "print(attempt('11.1.0.3', 7), attempt('127.0.0.1', 7))",
            ),
        );
        assert_eq!(out, "x x");
        let out = printed(
            user,
            &mut lab.python(user, &["-q"], "print(attempt('11.1.0.2', 7))"),
        );
        assert_eq!(out, "ENETUNREACH");
    });
}

#[test]
fn ports_are_lists_and_ranges_and_networks_have_lengths() {
    in_lab(|lab, user| {
        let script = r#"
print(*[attempt("11.1.0.2", port) for port in (6, 7, 8, 80, 8080)])
print(attempt("11.1.0.3", 7), attempt("11.1.0.4", 7), attempt("11.1.1.2", 7))
"#;
        let allow = [
            "-q",
            "--allow",
            "11.1.0.2:7-8,8080",
            "--allow",
            "11.1.0.0/30:7",
        ];
        let out = printed(user, &mut lab.python(user, &allow, script));
        // Port 8: allowed, but nobody listens outside. 8080 wants a request and answers with "H" after.
        let mut lines = out.lines();
        let first = lines.next().unwrap_or_default();
        assert!(
            first.starts_with("ECONNREFUSED x ECONNRESET ECONNREFUSED "),
            "{first}"
        );
        assert_eq!(
            lines.next(),
            Some("x ECONNRESET ECONNRESET"),
            "as {}",
            user.name
        );
        // Control: the address beyond the network answers whoever gets there.
        let script = "print(attempt('11.1.0.4', 7))";
        let out = printed(
            user,
            &mut lab.python(user, &["-q", "--net", "host"], script),
        );
        assert_eq!(out, "x");
    });
}

#[test]
fn deny_beats_allow() {
    in_lab(|lab, user| {
        let script = "print(attempt('2a00:1::2', 7), attempt('11.1.0.2', 7))";
        let allow = ["-q", "--allow", "11.1.0.0/24:7", "--allow", "[2a00:1::2]:7"];
        // Where nothing is denied, both answer.
        for (deny, expected) in [
            (&[][..], "x x"),
            (&["--deny", "11.1.0.2:7"], "x ECONNRESET"),
        ] {
            let options = [&allow[..], deny].concat();
            let out = printed(user, &mut lab.python(user, &options, script));
            assert_eq!(out, expected, "{deny:?} as {}", user.name);
        }
    });
}

#[test]
fn a_half_closed_connection_still_carries_the_answer() {
    in_lab(|lab, user| {
        let script = r#"
with dial("11.1.0.2", 100) as s:
    sent = b"y" * 5_000_000
    s.sendall(sent)
    s.shutdown(socket.SHUT_WR)
    print(s.makefile().read())
"#;
        let out = printed(
            user,
            &mut lab.python(user, &["-q", "--allow", "11.1.0.2:100"], script),
        );
        assert_eq!(out, "5000000 bytes", "as {}", user.name);
    });
}

#[test]
fn a_reset_outside_is_a_reset_inside() {
    in_lab(|lab, user| {
        let out = printed(
            user,
            &mut lab.python(
                user,
                &["-q", "--allow", "11.1.0.2:101"],
                "print(attempt('11.1.0.2', 101))",
            ),
        );
        assert_eq!(out, "ECONNRESET", "as {}", user.name);
    });
}

#[test]
fn bytes_arrive_unchanged_in_both_directions_at_once() {
    in_lab(|lab, user| {
        let script = r#"
import hashlib
block = os.urandom(1 << 20)
with dial("11.1.0.2", 7) as s:
    def send():
        for _ in range(32):
            s.sendall(block)
        s.shutdown(socket.SHUT_WR)
    threading.Thread(target=send).start()
    got, total = hashlib.sha256(), 0
    while data := s.recv(1 << 16):
        got.update(data)
        total += len(data)
want = hashlib.sha256()
for _ in range(32):
    want.update(block)
print(total, got.digest() == want.digest())
"#;
        let out = printed(
            user,
            &mut lab.python(user, &["-q", "--allow", "11.1.0.2:7"], script),
        );
        assert_eq!(out, format!("{} True", 32 << 20), "as {}", user.name);
    });
}

#[test]
fn a_peer_that_does_not_read_stops_the_writer_and_holds_up_nobody_else() {
    in_lab(|lab, user| {
        let script = r#"
stuck = dial("11.1.0.2", 9)
stuck.setblocking(False)
sent = 0
quiet = 0
while quiet < 20:
    try:
        sent += stuck.send(b"z" * 65536)
        quiet = 0
    except BlockingIOError:
        quiet += 1
        time.sleep(0.01)
print(sent < 64 << 20, attempt("11.1.0.2", 7))
"#;
        let allow = ["-q", "--allow", "11.1.0.2:7,9"];
        let out = printed(user, &mut lab.python(user, &allow, script));
        assert_eq!(out, "True x", "as {}", user.name);
    });
}

#[test]
fn a_thousand_connections_at_once_all_answer() {
    in_lab(|lab, user| {
        let script = r#"
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = [dial("11.1.0.2", 7) for _ in range(1000)]
for n, s in enumerate(held):
    s.sendall(b"%04d" % n)
print(all(s.recv(4, socket.MSG_WAITALL) == b"%04d" % n for n, s in enumerate(held)))
"#;
        let out = printed(
            user,
            &mut lab.python(user, &["-q", "--allow", "11.1.0.2:7"], script),
        );
        assert_eq!(out, "True", "as {}", user.name);
    });
}

#[test]
fn dials_that_get_no_answer_hold_up_no_other() {
    in_lab(|lab, user| {
        // 11.1.0.99 never answers: a dial to it takes its whole minute.
        let script = r#"
def hang():
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("11.1.0.99", 7))
    return s
hanging = [hang() for _ in range(100)]
began = time.monotonic()
print(attempt("11.1.0.2", 7), time.monotonic() - began < 20)
"#;
        let allow = ["-q", "--allow", "11.1.0.2:7", "--allow", "11.1.0.99:7"];
        let out = printed(user, &mut lab.python(user, &allow, script));
        assert_eq!(out, "x True", "as {}", user.name);
    });
}

#[test]
fn a_refusal_is_told_with_the_flag_that_would_allow_it() {
    in_lab(|lab, user| {
        let script = "for _ in range(3): attempt('11.1.0.3', 7); attempt('11.1.0.2', 7)";
        let options = [
            "--allow",
            "11.1.0.2:7",
            "--private-tmp=no",
            "--events",
            EVENTS_FILE,
        ];
        // What an earlier run may have left.
        let _ = fs::remove_file(user.home.join(EVENTS_FILE));
        let output = lab.python(user, &options, script).output().unwrap();
        success(user, &output);
        let lines = text(&output.stderr);
        assert_eq!(
            lines
                .lines()
                .filter(|line| line.contains("refused"))
                .count(),
            1,
            "{lines}"
        );
        assert!(
            lines.contains("11.1.0.3:7") && lines.contains("--allow 11.1.0.3:7"),
            "{lines}"
        );
        let events = events(user, EVENTS_FILE, &output);
        let with = |verdict: &str| -> Vec<&Value> {
            events
                .iter()
                .filter(|event| event["verdict"] == verdict)
                .collect()
        };
        let (refused, allowed) = (with("refused"), with("allowed"));
        assert_eq!((refused.len(), allowed.len()), (3, 3), "{events:?}");
        assert_eq!(refused[0]["destination"], "11.1.0.3:7");
        assert_eq!(refused[0]["flag"], "--allow 11.1.0.3:7");
        assert_eq!(allowed[0]["destination"], "11.1.0.2:7");
        assert_eq!(allowed[0]["address"], "11.1.0.2:7");
        assert_eq!(allowed[0]["rule"], "11.1.0.2:7");
        assert_eq!(
            (&allowed[0]["bytes_out"], &allowed[0]["bytes_in"]),
            (&1.into(), &1.into())
        );
    });
}

/// The program's own name, a host that it asks for and a socket that it wants: all of its choosing.
#[test]
fn no_name_from_inside_reaches_the_terminal_raw() {
    const NAME: &str = "ev\u{1b}[2Jil protocol=none";
    let script = r#"
attempt("11.1.0.2", 7)
server = next(line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver"))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
label = b"a\x1b]0;title\x07\xc2\x9b"
question = bytes([len(label)]) + label + b"\x07example\0\0\x01\0\x01"
s.sendto(b"\0\x01\x01\0\0\x01\0\0\0\0\0\0" + question, (server, 53))
s.recv(512)
u = socket.socket(socket.AF_UNIX)
try: u.connect(os.environ["HOME"] + "/a\x1b[31m\nsandbox: error: b")
except OSError: pass
"#;
    in_lab(|lab, user| {
        let program = user.home.join(NAME);
        fs::copy("/usr/bin/python3", &program).unwrap();
        let socket = user.home.join("a\u{1b}[31m\nsandbox: error: b");
        let _ = fs::remove_file(&socket);
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let script = format!("{}\n{script}", support::lab::PRELUDE);
        for format in ["text", "json"] {
            let output = lab
                .command(user, &user.sandbox.display().to_string())
                .args(["-v", "--log-format", format, "--allow", "11.1.0.2:7", "--"])
                .arg(&program)
                .args(["-c", &script])
                .output()
                .unwrap();
            success(user, &output);
            let said = String::from_utf8(output.stderr).unwrap();
            let raw = said.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(raw, None, "{said:?}");
            assert!(!said.contains("\nsandbox: error"), "{said}");
            // All three are told.
            let (name, host) = match format {
                "text" => ("ev\\u{1b}[2Jil protocol=none\"", "\\027]0;title"),
                _ => ("ev\\u001b[2Jil protocol=none\"", "\\\\027]0;title"),
            };
            for part in [name, host, "[31m"] {
                assert!(said.contains(part), "as {}: {part}: {said}", user.name);
            }
        }
        fs::remove_file(&socket).unwrap();
        fs::remove_file(&program).unwrap();
    });
}

#[test]
fn a_refused_port_of_a_name_is_told_by_the_name() {
    in_lab(|lab, user| {
        let script = "print(attempt('web.test.example', 80), attempt('web.test.example', 7))";
        let mut command = lab.python(user, &["--allow", "web.test.example:7"], script);
        let output = command.output().unwrap();
        assert_eq!(success(user, &output), "ECONNREFUSED x", "as {}", user.name);
        let lines = text(&output.stderr);
        let refused: Vec<&str> = lines.lines().filter(|l| l.contains("refused")).collect();
        let expected = "sandbox: warning: refused protocol=tcp destination=web.test.example:80 \
            reason=\"only tcp port 7 allowed there\" would_allow=\"--allow web.test.example:80\"";
        assert_eq!(refused, [expected], "as {}: {lines}", user.name);
    });
}

/// The command is connected before anybody is dialled: it sees a reset, and nobody but the supervisor knows
/// why.
#[test]
fn what_is_allowed_and_not_there_is_told_once() {
    in_lab(|lab, user| {
        let script = "print(*[attempt('nowhere.example', 7) for _ in range(3)])";
        let run = |options: &[&str]| {
            let output = lab.python(user, options, script).output().unwrap();
            let out = success(user, &output);
            assert_eq!(out, "ECONNRESET ECONNRESET ECONNRESET", "as {}", user.name);
            text(&output.stderr)
        };
        let said = run(&["--allow", "nowhere.example:7"]);
        let told: Vec<&str> = said.lines().filter(|l| l.contains("not reached")).collect();
        let expected = "sandbox: warning: allowed, and not reached protocol=tcp \
            destination=nowhere.example:7 reason=\"no such name\"";
        assert_eq!(told, [expected], "as {}: {said}", user.name);
        assert_eq!(run(&["-q", "--allow", "nowhere.example:7"]), "");
    });
}

#[test]
fn nothing_is_reached_once_the_supervisor_is_stopped_or_killed() {
    in_lab(|lab, user| {
        let script = r#"
s = dial("11.1.0.2", 7)
s.sendall(b"a"); s.recv(1)
print("up", flush=True)
sys.stdin.readline()
s.settimeout(0.5)
try:
    s.sendall(b"b")
    print("got", s.recv(1), flush=True)
except OSError as e:
    print("nothing", flush=True)
sys.stdin.readline()
s.settimeout(20)
print("got", s.recv(1), flush=True)
time.sleep(600)
"#;
        let mut child = lab
            .python(user, &["-q", "--allow", "11.1.0.2:7"], script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            line.trim().to_owned()
        };
        assert_eq!(line(), "up");
        // nsenter, env and setpriv have each become the next: the child is the supervisor itself.
        let supervisor = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(supervisor, nix::sys::signal::SIGSTOP).unwrap();
        input.write_all(b"\n").unwrap();
        assert_eq!(line(), "nothing", "as {}", user.name);
        // Control: it was the supervisor that was missing.
        nix::sys::signal::kill(supervisor, nix::sys::signal::SIGCONT).unwrap();
        input.write_all(b"\n").unwrap();
        assert_eq!(line(), "got b'b'");
        nix::sys::signal::kill(supervisor, nix::sys::signal::SIGKILL).unwrap();
        child.wait().unwrap();
        // And the command has gone with it: the pipe has no other end any more.
        assert_eq!(line(), "");
    });
}

#[test]
fn the_supervisor_has_no_capability_and_opens_no_file() {
    in_lab(|lab, user| {
        let script = "print('up', flush=True); attempt('11.1.0.2', 7); sys.stdin.readline()";
        let mut child = lab
            .python(user, &["-q", "--allow", "11.1.0.2:7"], script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            if status.contains("Seccomp:\t2") || Instant::now() > deadline {
                break status;
            }
            std::thread::yield_now();
        };
        for expected in [
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.contains(expected), "as {}: {status}", user.name);
        }
        drop(child.stdin.take());
        child.wait().unwrap();
    });
}

#[test]
fn the_supervisor_has_entered_its_landlock_domain() {
    // A domain cannot be seen from outside. What it stops is tried in `src/confine.rs`.
    in_lab(|lab, user| {
        let output = lab
            .python(user, &["-vvv", "--allow", "11.1.0.2:7"], "pass")
            .output()
            .unwrap();
        let said = text(&output.stderr);
        let entered = said
            .lines()
            .find(|line| line.contains("the supervisor has entered its domain"));
        let line = entered.unwrap_or_else(|| panic!("as {}: {said}", user.name));
        assert!(
            line.contains("FullyEnforced") || line.contains("PartiallyEnforced"),
            "as {}: {line}",
            user.name
        );
    });
}

#[test]
fn low_ports_and_every_port_of_loopback_stay_the_commands_own() {
    in_lab(|lab, user| {
        let script = r#"
s = socket.socket()
s.bind(("127.0.0.1", 7777)); s.listen()
c = dial("127.0.0.1", 7777)
print("own server")
s = socket.socket()
s.bind(("127.0.0.1", 8080)); s.listen()
print("same port")
"#;
        let out = printed(
            user,
            &mut lab.python(user, &["-q", "--allow", "11.1.0.2:8080"], script),
        );
        assert_eq!(out, "own server\nsame port", "as {}", user.name);
    });
}

#[test]
fn allow_needs_the_sandboxs_own_loopback() {
    each_user(|user| {
        for mode in ["none", "fds", "host"] {
            let output = user.output(&["--net", mode, "--allow", "11.1.0.2:7", "--", "true"]);
            assert_eq!(output.status.code(), Some(125));
            assert!(
                text(&output.stderr).contains("egress.allow"),
                "{}",
                text(&output.stderr)
            );
        }
        // What is not to be reached would be, and in silence.
        for option in [
            &["--deny", "11.1.0.2:7"][..],
            &["--max-bytes", "11.1.0.2:7=1"],
            &["--max-rate", "11.1.0.2:7=1/s"],
            &["--inspect"],
            &["--unix-sockets", "own"],
        ] {
            let options = [&["--net", "host"], option, &["--", "true"]].concat();
            let output = user.output(&options);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "{option:?}: {said}");
            assert!(said.contains(": needs "), "{said}");
        }
    });
}

/// A misspelt destination would leave what is meant without its budget, and in silence.
#[test]
fn a_budget_for_what_nothing_allows_is_refused() {
    each_user(|user| {
        for (options, key, named) in [
            (
                [
                    "--allow=api.example.com:443",
                    "--max-bytes=api.example:443=1M",
                ],
                "max-bytes",
                "api.example:443",
            ),
            (
                ["--allow=11.1.0.2:7", "--max-rate=11.1.0.2:8=1M/s"],
                "max-rate",
                "11.1.0.2:8",
            ),
            // A budget for an address does not count what a name was resolved to.
            (
                ["--allow=*.example:7", "--max-bytes=11.1.0.2:7=1M"],
                "max-bytes",
                "11.1.0.2:7",
            ),
        ] {
            let output = user.output(&["-q", options[0], options[1], "--", "echo", "ran"]);
            let expected = format!(
                "sandbox: egress.{key}: no --allow or \"allow\" is about {named}, so this holds nothing back"
            );
            assert_eq!(text(&output.stderr), expected, "as {}", user.name);
            assert_eq!(output.status.code(), Some(125), "as {}", user.name);
            assert_eq!(text(&output.stdout), "", "as {}", user.name);
        }
        // The controls: one that is about part of what is allowed, and one in a policy that allows nothing
        // yet.
        for options in [
            &["--allow=*.example:7", "--max-bytes=a.example:1-9=1M"][..],
            &["--max-bytes=a.example:7=1M"],
        ] {
            let output = user.output(&[&["-q"], options, &["--", "echo", "ran"]].concat());
            assert_eq!(success(user, &output), "ran", "{options:?}");
        }
    });
}

#[test]
fn an_allowed_name_is_reached_by_programs_that_know_nothing_of_it() {
    in_lab(|lab, user| {
        let script = r#"
print(attempt("web.test.example", 7), attempt("WEB.test.example.", 7), attempt("four.test.example", 7))
print(attempt("web.test.example", 80), attempt("other.test.example", 7), attempt("test.example", 7))
import subprocess
print(subprocess.run(["getent", "hosts", "nowhere.example"]).returncode)
found = subprocess.run(["getent", "ahosts", "four.test.example"], capture_output=True, text=True).stdout
print("198.18." in found, "11.1." in found)
"#;
        let allow = [
            "-q",
            "--allow",
            "web.test.example:7",
            "--allow",
            "four.test.example:7",
        ];
        let out = printed(user, &mut lab.python(user, &allow, script));
        let expected = "x x x\nECONNREFUSED no name no name\n2\nTrue False";
        assert_eq!(out, expected, "as {}", user.name);
    });
}

#[test]
fn programs_that_look_for_an_address_of_their_own_first_find_one() {
    in_lab(|lab, user| {
        let script = r#"
def found(family):
    try:
        return len(socket.getaddrinfo("web.test.example", 7, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG))
    except socket.gaierror as e:
        return e.strerror
print(found(socket.AF_INET), found(socket.AF_INET6), found(socket.AF_UNSPEC))
"#;
        let allow = ["-q", "--allow", "web.test.example:7"];
        let out = printed(user, &mut lab.python(user, &allow, script));
        assert_eq!(out, "1 1 2", "as {}", user.name);
    });
}

/// Every port can be bound, but not where the name service and the relay are, nor around them.
#[test]
fn what_listens_inside_for_the_supervisor_cannot_be_taken_from_it() {
    in_lab(|lab, user| {
        let script = r#"
servers = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")]
name = socket.getaddrinfo("web.test.example", 7, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
taken = []
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    places = [(s, 53) for s in servers + ["0.0.0.0"] if ":" not in s]
    if kind == socket.SOCK_STREAM:
        places += [(name, 7), ("0.0.0.0", 7)]
    for place in places:
        for options in ([], [socket.SO_REUSEADDR], [socket.SO_REUSEADDR, socket.SO_REUSEPORT]):
            s = socket.socket(socket.AF_INET, kind)
            for option in options:
                s.setsockopt(socket.SOL_SOCKET, option, 1)
            try:
                s.bind(place)
                if kind == socket.SOCK_STREAM:
                    s.listen()
                taken.append((kind, place, options))
            except OSError as e:
                if e.errno != errno.EADDRINUSE:
                    print(e)
print(taken)
own = socket.socket(); own.bind(("127.0.0.1", 7)); own.listen()
print(attempt("web.test.example", 7), attempt("four.test.example", 7))
"#;
        let out = printed(
            user,
            &mut lab.python(user, &["-q", "--allow", "web.test.example:7"], script),
        );
        assert_eq!(out, "[]\nx no name", "as {}", user.name);
    });
}

/// A command that is there first has its own server, and nothing of anybody else's.
#[test]
fn a_port_taken_before_its_name_is_met_leads_nowhere_else() {
    in_lab(|lab, user| {
        let script = r#"
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 7)); s.listen()
def own():
    c, _ = s.accept(); s.close(); c.recv(1); c.sendall(b"o")
threading.Thread(target=own).start()
print(attempt("a.sub.example", 7), attempt("127.0.0.1", 9))
print(attempt("b.sub.example", 7))
"#;
        let out = printed(
            user,
            &mut lab.python(user, &["-q", "--allow", "*.sub.example:7"], script),
        );
        assert_eq!(out, "o ECONNREFUSED\nx", "as {}", user.name);
    });
}

#[test]
fn names_below_a_name_are_reached_with_low_ports_too() {
    in_lab(|lab, user| {
        let script = r#"
print(attempt("a.sub.example", 7), attempt("b.sub.example", 7), attempt("sub.example", 7))
print(attempt("a.sub.example.evil", 7), attempt("notsub.example", 7), attempt("a.sub.example", 80))
"#;
        let out = printed(
            user,
            &mut lab.python(user, &["-q", "--allow", "*.sub.example:7"], script),
        );
        assert_eq!(
            out, "x x no name\nno name no name ECONNREFUSED",
            "as {}",
            user.name
        );
        if user.is_root() {
            let options = ["-q", "--userns", "no", "--allow", "*.sub.example:7"];
            let script = "print(attempt('a.sub.example', 7), attempt('sub.example', 7))";
            let out = printed(user, &mut lab.python(user, &options, script));
            assert_eq!(out, "x no name");
        }
    });
}

#[test]
fn curl_reaches_an_allowed_name_and_the_server_sees_the_name() {
    if !have("curl") {
        return;
    }
    in_lab(|lab, user| {
        let mut command = lab.command(user, &user.sandbox.display().to_string());
        let url = "http://web.test.example/";
        command.args([
            "-q",
            "--allow",
            "web.test.example:80",
            "--",
            "curl",
            "-sS",
            url,
        ]);
        let out = printed(user, &mut command);
        assert!(out.starts_with("Host: web.test.example from "), "{out}");
        let mut command = lab.command(user, &user.sandbox.display().to_string());
        let url = "http://four.test.example/";
        command.args([
            "-q",
            "--allow",
            "web.test.example:80",
            "--",
            "curl",
            "-sS",
            url,
        ]);
        let output = command.output().unwrap();
        // Could not resolve host.
        assert_eq!(output.status.code(), Some(6), "{output:?}");
    });
}

#[test]
fn a_name_that_is_not_allowed_is_never_asked_outside() {
    in_lab(|lab, user| {
        let script = r#"
import secrets
def ask(packet, kind=socket.SOCK_DGRAM, server="11.1.0.2"):
    try:
        with socket.socket(socket.AF_INET, kind) as s:
            s.settimeout(5)
            s.connect((server, 53))
            s.sendall(packet)
            return s.recv(4096)
    except OSError as e:
        return errno.errorcode.get(e.errno, "?")
def query(name, kind):
    labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split("."))
    return b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0" + labels + b"\0" + struct.pack(">HH", kind, 1)
for name in ("secret-leak.example", "secret-leak.web.test.example", "secret-leak.sub.example.com"):
    attempt(name, 7)
    for kind in (1, 28, 16, 5, 15, 65, 255, 12):
        answer = ask(query(name, kind))
        assert answer[3] & 15 == 3, (name, kind, answer)
# By TCP too, and no TXT of a name that is allowed.
framed = struct.pack(">H", len(query("secret-leak.example", 1))) + query("secret-leak.example", 1)
assert ask(framed, socket.SOCK_STREAM)[5] & 15 == 3
answer = ask(query("web.test.example", 16))
assert answer[3] & 15 == 0 and answer[6:8] == b"\0\0", answer
# Another name server is no way either.
print(ask(query("secret-leak.example", 1), server="11.1.0.3"))
print(attempt("web.test.example", 7))
"#;
        let out = printed(
            user,
            &mut lab.python(user, &["-q", "--allow", "web.test.example:7"], script),
        );
        assert_eq!(out, "ECONNREFUSED\nx", "as {}", user.name);
        let asked = lab.asked();
        assert!(!asked.contains("secret"), "{asked}");
        // Control: the log sees what is asked.
        assert!(asked.contains("web.test.example"), "{asked}");
    });
}

#[test]
fn a_name_that_leads_to_a_private_address_is_not_dialled() {
    in_lab(|lab, user| {
        let script = r#"
names = ("private.example", "to-private.example", "metadata.example", "mapped.example")
print(*[attempt(name, 7) for name in names])
print(attempt("mixed.example", 7), attempt("alias.example", 7), attempt("half-dead.example", 7))
"#;
        let options = [
            "--private-tmp=no",
            "--events",
            PRIVATE_EVENTS,
            "--allow",
            "*.example:7",
        ];
        // What an earlier run may have left.
        let _ = fs::remove_file(user.home.join(PRIVATE_EVENTS));
        let output = lab.python(user, &options, script).output().unwrap();
        let out = success(user, &output);
        let reset = "ECONNRESET ECONNRESET ECONNRESET ECONNRESET";
        assert_eq!(out, format!("{reset}\nx x x"), "as {}", user.name);
        let events = events(user, PRIVATE_EVENTS, &output);
        let told = |name: &str| {
            events.iter().any(|event| {
                event["verdict"] == "refused"
                    && event["destination"] == format!("{name}:7")
                    && event["reason"]
                        .as_str()
                        .is_some_and(|reason| !reason.is_empty())
            })
        };
        assert!(
            told("private.example") && told("metadata.example"),
            "{events:?}"
        );
        // Of the mixed answer the public address was dialled, and no other.
        let dialled = events.iter().find(|event| {
            event["destination"] == "mixed.example:7" && event["verdict"] == "allowed"
        });
        assert_eq!(dialled.unwrap()["address"], "11.1.0.2:7");
    });
}

#[test]
fn datagrams_reach_allowed_destinations_and_are_answered_from_there() {
    in_lab(|lab, user| {
        let script = r#"
def ping(host, port, family=socket.AF_INET, timeout=5):
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.settimeout(timeout)
            s.connect((host, port))
            s.send(b"ping")
            return s.recv(100).decode()
    except socket.gaierror:
        return "no name"
    except OSError as e:
        return errno.errorcode.get(e.errno, "silence")
print(ping("11.1.0.2", 7), ping("2a00:1::2", 7, socket.AF_INET6), ping("web.test.example", 7))
print(ping("web.test.example", 7, socket.AF_INET6), ping("a.sub.example", 7))
print(ping("11.1.0.3", 7), ping("11.1.0.2", 8), ping("8.8.8.8", 53), ping("8.8.8.8", 443), ping("a.sub.example", 9))
# TCP is another thing.
print(attempt("11.1.0.2", 7), attempt("a.sub.example", 7))
# One socket, not connected: each answer comes from where the question went.
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(5)
    for host in ("11.1.0.2", socket.gethostbyname("web.test.example")):
        s.sendto(b"one", (host, 7))
        data, peer = s.recvfrom(100)
        assert (data, peer) == (b"ONE", (host, 7)), (data, peer)
    big = os.urandom(8000).lower()
    s.sendto(big, ("11.1.0.2", 7))
    assert s.recv(9000) == big.upper()
print("each")
"#;
        let allow = [
            "-q",
            "--allow",
            "udp://11.1.0.2:7",
            "--allow",
            "udp://[2a00:1::2]:7",
            "--allow",
            "udp://web.test.example:7",
            "--allow",
            "udp://*.sub.example:7",
        ];
        let out = printed(user, &mut lab.python(user, &allow, script));
        let refused = "ECONNREFUSED";
        let expected = format!(
            "PING PING PING\nPING PING\n{refused} {refused} {refused} {refused} {refused}\n{refused} {refused}\neach"
        );
        assert_eq!(out, expected, "as {}", user.name);
    });
}

#[test]
fn datagrams_to_a_network_are_answered_from_the_address_asked() {
    in_lab(|lab, user| {
        let script = r#"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(5)
    s.sendto(b"one", ("11.1.0.2", 7))
    print(*s.recvfrom(100))
    s.settimeout(0.5)
    for host in ("11.1.1.2", "11.1.0.3", "127.0.0.1"):
        s.sendto(b"one", (host, 7))
    try:
        print(s.recvfrom(100))
    except OSError as e:
        print("silence")
"#;
        let allow = [
            "-q",
            "--allow",
            "udp://11.1.0.0/24:7",
            "--deny",
            "udp://11.1.0.3:7",
        ];
        let out = printed(user, &mut lab.python(user, &allow, script));
        assert_eq!(out, "b'ONE' ('11.1.0.2', 7)\nsilence", "as {}", user.name);
    });
}

#[test]
fn inspection_lets_through_what_names_the_allowed_host_only() {
    in_lab(|lab, user| {
        let script = r#"
import ssl
def ask(request):
    with dial("web.test.example", 80) as s:
        s.sendall(request)
        answer = b""
        try:
            while data := s.recv(4096):
                answer += data
        except OSError:
            return "reset"
        return answer.split(b"\r\n")[0].decode() or "nothing"
def hello(name):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with dial("web.test.example", 80, 2) as s:
            context.wrap_socket(s, server_hostname=name)
    except (ssl.SSLError, OSError) as e:
        return "unrecognized name" if "UNRECOGNIZED_NAME" in str(e).upper() else "other"
print(ask(b"GET / HTTP/1.1\r\nHost: web.test.example\r\n\r\n"))
print(ask(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"))
print(ask(b"GET / HTTP/1.1\r\n\r\n"))
print(ask(b"SSH-2.0-x\r\n"), ask(b"\0\1\2\3"))
# The plain server cannot answer a hello, but the one with the right name gets there.
print(hello("web.test.example"), hello("evil.example"))
"#;
        let allow = ["-q", "--allow", "web.test.example:80"];
        let inspecting = [&allow[..], &["--inspect"]].concat();
        let out = printed(user, &mut lab.python(user, &inspecting, script));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "HTTP/1.0 200 OK", "as {}: {out}", user.name);
        assert_eq!(
            lines[1], "HTTP/1.1 403 Forbidden",
            "as {}: {out}",
            user.name
        );
        assert_eq!(
            lines[2], "HTTP/1.1 403 Forbidden",
            "as {}: {out}",
            user.name
        );
        assert!(!lines[3].contains("HTTP/1.0"), "{out}");
        assert_eq!(
            lines[4], "other unrecognized name",
            "as {}: {out}",
            user.name
        );
        // Control: without it, whatever is said passes.
        let script = script.replace("print(ask(b\"SSH", "sys.exit()\nprint(ask(b\"SSH");
        let out = printed(user, &mut lab.python(user, &allow, &script));
        assert_eq!(out, ["HTTP/1.0 200 OK"; 3].join("\n"));
    });
}

#[test]
fn the_known_escapes_are_held_with_ways_out_as_well() {
    each_user(|user| {
        let allow = ["--allow", "192.0.2.1:443", "--allow", "*.web.example:443"];
        let words = [&["selftest", "-q"], &allow[..]].concat();
        let output = user.output(&words);
        let page = success(user, &output);
        let last = page.lines().last().unwrap_or_default();
        assert!(last.contains(" 0 open"), "as {}: {page}", user.name);
    });
}

#[test]
fn no_trick_with_a_socket_leads_elsewhere() {
    in_lab(|lab, user| {
        let script = r#"
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def told(act):
    try:
        return act() or "done"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
# An established connection, dissolved and aimed again: the new aim is decided like any other.
s = dial("11.1.0.2", 7)
s.sendall(b"x"); s.recv(1)
unspec = struct.pack("H14x", socket.AF_UNSPEC)
assert libc.connect(s.fileno(), unspec, 16) == 0
print(told(lambda: s.connect(("11.1.0.3", 7))))
# It can listen, but only inside.
s = dial("11.1.0.2", 7)
libc.connect(s.fileno(), unspec, 16)
s.bind(("0.0.0.0", 5555)); s.listen()
print(dial("11.1.0.2", 5555).getpeername())
# Fast open dials as connect does.
f = socket.socket()
print(told(lambda: f.sendto(b"x", 0x20000000, ("11.1.0.3", 7)) and f.recv(1) and "sent"))
# A datagram socket, connected to what is allowed, sends elsewhere.
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(1)
u.connect(("11.1.0.2", 7)); u.send(b"a"); assert u.recv(9) == b"A"
u.sendto(b"b", ("11.1.0.3", 7))
print(told(lambda: u.recv(9)))
# Other protocols, devices, the namespace behind a socket.
print(told(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)))
print(told(lambda: dial("11.1.0.2", 7).setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"outside\0")))
import fcntl
print(told(lambda: fcntl.ioctl(dial("11.1.0.2", 7), 0x894C) > 2 and "namespace"))
print(sorted(name for _, name in socket.if_nameindex()))
# A wish for another source address is granted inside, and means nothing outside.
b = socket.socket(); b.bind(("11.1.0.9", 0)); b.connect(("11.1.0.2", 80))
b.sendall(b"GET / HTTP/1.0\r\n\r\n")
print(b.makefile().read().split(" from ")[-1])
"#;
        let allow = [
            "-q",
            "--allow",
            "11.1.0.2:7,80",
            "--allow",
            "udp://11.1.0.2:7",
        ];
        let out = printed(user, &mut lab.python(user, &allow, script));
        let expected = [
            "ECONNREFUSED",
            "('11.1.0.2', 5555)",
            "ECONNREFUSED",
            "timed out",
        ];
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[..4], expected, "as {}: {out}", user.name);
        assert!(
            lines[4].starts_with("EPROTONOSUPPORT") || lines[4].starts_with("EPERM"),
            "{out}"
        );
        assert!(["EPERM", "ENODEV"].contains(&lines[5]), "{out}");
        assert_eq!(lines[6], "EPERM", "{out}");
        assert_eq!(lines[7], "['lo']", "{out}");
        assert_eq!(lines[8], "11.1.0.1", "{out}");
    });
}

#[test]
fn floods_leave_the_supervisor_small_and_others_served() {
    in_lab(|lab, user| {
        let script = r#"
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
print("up", flush=True)
sys.stdin.readline()
# Refused connections and names, dials without an answer, half a DNS message, datagrams, flows.
for n in range(3000):
    attempt("11.1.0.3", 1 + n % 60000, 1)
def hang(n):
    s = socket.socket(); s.setblocking(False); s.connect_ex(("11.1.0.99", 7)); return s
hanging = [hang(n) for n in range(600)]
resolver = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")][0]
def half():
    s = dial(resolver, 53); s.sendall(b"\xff"); return s
halves = [half() for _ in range(200)]
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(5000):
    try:
        u.sendto(os.urandom(300), (resolver, 53))
    except OSError:
        pass
flows = []
for n in range(700):
    f = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    f.sendto(b"x" * 1000, ("11.1.0.2", 7)); flows.append(f)
print(attempt("11.1.0.2", 7), attempt("web.test.example", 7), flush=True)
sys.stdin.readline()
"#;
        let allow = [
            "-q",
            "--allow",
            "11.1.0.2:7",
            "--allow",
            "11.1.0.99:7",
            "--allow",
            "web.test.example:7",
            "--allow",
            "udp://11.1.0.2:7",
        ];
        let mut child = lab
            .python(user, &allow, script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            line.trim().to_owned()
        };
        let resident = || -> u64 {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            let line = status
                .lines()
                // Not of its file: it gives the pages of its code back after a while, and they return.
                .find(|line| line.starts_with("RssAnon"))
                .unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        assert_eq!(line(), "up");
        let before = resident();
        input.write_all(b"\n").unwrap();
        assert_eq!(line(), "x x", "as {}", user.name);
        let grown = resident().saturating_sub(before);
        assert!(grown < 8 * 1024, "as {}: grew by {grown} KiB", user.name);
        drop(input);
        child.wait().unwrap();
    });
}

/// `curl` with a proxy that it is told of by `how`, for `url`; what it prints and with which status.
fn curl_by_proxy(lab: &Lab, user: &User, allow: &[&str], how: &[&str], url: &str) -> Output {
    let mut command = lab.command(user, &user.sandbox.display().to_string());
    command.args(["-q", "--events", "proxy.json", "--proxy-env"]);
    command.args(allow.iter().flat_map(|dest| ["--allow", dest]));
    command.args([
        "--",
        "curl",
        "-sS",
        "-m",
        "20",
        "-o",
        "-",
        "-w",
        " %{http_code} %{http_connect}",
    ]);
    command.args(how).arg(url);
    command.output().expect("nsenter can be started")
}

#[test]
fn programs_that_insist_on_a_proxy_have_one_and_reach_by_it_what_is_allowed() {
    if !have("curl") {
        return;
    }
    in_lab(|lab, user| {
        let allow = [
            "four.test.example:80",
            "11.1.0.3:8080",
            "private.example:80",
            "gone.example:80",
        ];
        let tunnel = ["-p", "-x", "http://127.0.0.1:3128"];
        let socks = ["-x", "socks5h://127.0.0.1:3128"];
        // What is in the variables; curl takes no http_proxy in capitals.
        let plain: [&str; 0] = [];
        for (how, connect) in [(&tunnel[..], "200"), (&socks, "000"), (&plain, "000")] {
            let get = |url: &str| {
                let output = curl_by_proxy(lab, user, &allow, how, url);
                (text(&output.stdout), output.status.code())
            };
            let (said, code) = get("http://four.test.example/x");
            assert_eq!(code, Some(0), "as {}: {how:?}: {said}", user.name);
            assert!(
                said.starts_with("Host: four.test.example from 11.1.0.1"),
                "{how:?}: {said}"
            );
            assert!(
                said.ends_with(&format!(" 200 {connect}")),
                "{how:?}: {said}"
            );
            let (said, _) = get("http://11.1.0.3:8080/");
            assert!(
                said.starts_with("Host: 11.1.0.3:8080 from 11.1.0.1"),
                "{how:?}: {said}"
            );
            // What is not allowed is refused in the client's own words, and told.
            let output = curl_by_proxy(lab, user, &allow, how, "http://11.1.0.2:8080/");
            let refused = text(&output.stdout);
            let expected = match how {
                [] => " 403 000",
                ["-p", ..] => " 000 403",
                _ => " 000 000",
            };
            assert_eq!(
                refused,
                expected,
                "as {}: {how:?}: {}",
                user.name,
                text(&output.stderr)
            );
            let events = events(user, "proxy.json", &output);
            let flag = "--allow 11.1.0.2:8080";
            assert!(
                events
                    .iter()
                    .any(|event| event["verdict"] == "refused" && event["flag"] == flag),
                "{events:?}"
            );
            // A name that is allowed and does not exist, and one whose address may not be dialled.
            for (url, http) in [
                ("http://gone.example/", "502"),
                ("http://private.example/", "403"),
            ] {
                let (said, _) = get(url);
                let expected = match how {
                    [] => format!(" {http} 000"),
                    ["-p", ..] => format!(" 000 {http}"),
                    _ => " 000 000".to_owned(),
                };
                assert_eq!(said, expected, "as {}: {how:?}: {url}", user.name);
            }
        }
        // Nothing but the allowed names went outside.
        assert!(!lab.asked().contains("11.1.0"), "{}", lab.asked());
    });
}

#[test]
fn the_proxys_variables_are_set_unless_others_are_and_its_port_is_a_choice() {
    in_lab(|lab, user| {
        let script = r#"
def nonsense():
    with dial("127.0.0.1", 8888) as s:
        s.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return s.recv(100).split(b"\r")[0].decode()
for name in ["HTTP_PROXY", "https_proxy", "all_proxy", "NO_PROXY"]:
    print(os.environ.get(name))
print(attempt("127.0.0.1", 3128), nonsense())
import urllib.request
print(urllib.request.urlopen("http://four.test.example/").read().decode())
"#;
        let options = [
            "-q",
            "--allow",
            "four.test.example:80",
            "--proxy-env=8888",
            "--env",
            "all_proxy=mine",
        ];
        let out = printed(user, &mut lab.python(user, &options, script));
        let lines: Vec<&str> = out.lines().collect();
        let http = "http://127.0.0.1:8888";
        assert_eq!(lines[..4], [http, http, "mine", "localhost,127.0.0.1,::1"]);
        // A client that says nonsense is answered so.
        assert_eq!(lines[4], "ECONNREFUSED HTTP/1.1 400 Bad Request");
        assert!(
            lines[5].starts_with("Host: four.test.example from 11.1.0.1"),
            "{out}"
        );
        // The port is the proxy's alone, and nothing allowed makes no proxy.
        for options in [
            &["--allow", "127.0.0.1:3128", "--proxy-env"][..],
            &["--allow", "11.0.0.0/8:3128", "--proxy-env"],
            &["--proxy-env"],
        ] {
            let mut command = lab.command(user, &user.sandbox.display().to_string());
            let output = command
                .args(options)
                .args(["--", "/bin/true"])
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(125), "{options:?}");
            assert!(text(&output.stderr).contains("proxy-env"), "{options:?}");
        }
    });
}

#[test]
fn wget_goes_by_the_variables() {
    if !have("wget") {
        return;
    }
    in_lab(|lab, user| {
        let mut command = lab.command(user, &user.sandbox.display().to_string());
        command.args(["-q", "--allow", "four.test.example:80", "--proxy-env", "--"]);
        command.args(["wget", "-q", "-O", "-", "http://four.test.example/"]);
        let out = printed(user, &mut command);
        assert!(
            out.starts_with("Host: four.test.example from 11.1.0.1"),
            "{out}"
        );
    });
}

#[test]
fn the_proxy_inspects_too() {
    in_lab(|lab, user| {
        let script = r#"
def through(host, port, first):
    with dial("127.0.0.1", 3128) as s:
        s.sendall(b"CONNECT %s:%d HTTP/1.1\r\n\r\n" % (host, port))
        head = s.recv(1000)
        if b" 200 " not in head:
            return head.split(b" ")[1].decode()
        s.sendall(first)
        data = b""
        try:
            while more := s.recv(1000):
                data += more
        except ConnectionResetError:
            return "reset"
        return data.split(b"\r\n")[0].decode()
get = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n"
print(through(b"four.test.example", 80, get % b"four.test.example"))
print(through(b"four.test.example", 80, get % b"other.example"))
print(through(b"other.example", 80, b""))
# A request by its URL is named by the URL, whatever its Host says.
with dial("127.0.0.1", 3128) as s:
    s.sendall(b"GET http://four.test.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n")
    data = b""
    while more := s.recv(1000):
        data += more
print(data.split(b"\r\n")[-1].decode())
"#;
        let options = [
            "-q",
            "--inspect",
            "--allow",
            "four.test.example:80",
            "--proxy-env",
        ];
        let out = printed(user, &mut lab.python(user, &options, script));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "HTTP/1.0 200 OK", "{out}");
        assert!(lines[1].starts_with("HTTP/1.1 403"), "{out}");
        assert_eq!(lines[2], "403", "{out}");
        assert!(lines[3].starts_with("Host: four.test.example"), "{out}");
    });
}

#[test]
fn a_budget_of_bytes_lets_that_many_through_and_no_more() {
    in_lab(|lab, user| {
        // The echo doubles what is sent; the other port has no budget.
        let script = r#"
def exchange(port, count):
    try:
        with dial("11.1.0.2", port) as s:
            s.sendall(b"x" * count)
            s.shutdown(socket.SHUT_WR)
            got = 0
            while data := s.recv(65536):
                got += len(data)
            return str(got)
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
print(exchange(7, 200000), exchange(7, 200000), exchange(7, 400000), exchange(7, 1))
print(exchange(100, 1000000))
"#;
        let options = [
            "-q",
            "--events",
            EVENTS_FILE,
            "--allow",
            "11.1.0.2:7,100",
            "--max-bytes",
            "11.1.0.2:7=1M",
        ];
        let output = lab.python(user, &options, script).output().unwrap();
        let out = success(user, &output);
        let lines: Vec<&str> = out.lines().collect();
        let words: Vec<&str> = lines[0].split(' ').collect();
        // A reset that comes between two calls shows as one of these, by which call finds it.
        let cut_off = |word: &str| ["ECONNRESET", "ENOTCONN", "EPIPE"].contains(&word);
        let words: Vec<&str> = words
            .iter()
            .map(|word| if cut_off(word) { "cut off" } else { word })
            .collect();
        assert_eq!(
            words,
            ["200000", "200000", "cut off", "cut off"],
            "as {}",
            user.name
        );
        // What the server says of how much came.
        assert_eq!(lines[1], "13", "{out}");
        let events = events(user, EVENTS_FILE, &output);
        let moved: u64 = events
            .iter()
            .filter(|event| event["destination"] == "11.1.0.2:7")
            .map(|event| {
                let bytes = |name: &str| event[name].as_u64().unwrap_or(0);
                bytes("bytes_in") + bytes("bytes_out")
            })
            .sum();
        assert!((1 << 19..=1 << 20).contains(&moved), "{moved} {events:?}");
        let reason = "the budget of 1M bytes for 11.1.0.2:7 is used up";
        let refused = events.iter().filter(|event| event["verdict"] == "refused");
        let reasons: Vec<&Value> = refused.map(|event| &event["reason"]).collect();
        assert_eq!(reasons, [reason, reason], "{events:?}");
    });
}

#[test]
fn a_rate_holds_back_and_loses_nothing() {
    in_lab(|lab, user| {
        let script = r#"
def fetch(results):
    with dial("11.1.0.2", 7) as s:
        began = time.monotonic()
        s.sendall(b"x" * 150000)
        s.shutdown(socket.SHUT_WR)
        got = 0
        while data := s.recv(65536):
            got += len(data)
        results.append((got, time.monotonic() - began))
results = []
threads = [threading.Thread(target=fetch, args=(results,)) for _ in range(2)]
[t.start() for t in threads]; [t.join() for t in threads]
print([got for got, _ in results])
print(max(took for _, took in results), min(took for _, took in results))
"#;
        let options = [
            "-q",
            "--allow",
            "11.1.0.2:7",
            "--max-rate",
            "11.1.0.2:7=300K/s",
        ];
        let out = printed(user, &mut lab.python(user, &options, script));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "[150000, 150000]", "as {}", user.name);
        // 600,000 bytes in both directions, of which a quarter of a second's may come at once.
        let mut took = lines[1].split(' ').map(|word| word.parse::<f64>().unwrap());
        let (longest, shortest) = (took.next().unwrap(), took.next().unwrap());
        assert!(longest > 1.5, "{out}");
        // None starves the other.
        assert!(shortest > longest / 3.0, "{out}");
    });
}

#[test]
fn datagrams_over_their_budget_are_dropped_and_told() {
    in_lab(|lab, user| {
        let script = r#"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
answers = 0
for _ in range(10):
    s.sendto(b"x" * 100, ("11.1.0.2", 7))
    try:
        answers += len(s.recv(1000))
    except TimeoutError:
        break
print(answers)
"#;
        let options = [
            "-q",
            "--events",
            EVENTS_FILE,
            "--allow",
            "udp://11.1.0.2:7",
            "--max-bytes",
            "udp://11.1.0.2:7=650",
        ];
        let output = lab.python(user, &options, script).output().unwrap();
        assert_eq!(success(user, &output), "300", "as {}", user.name);
        let events = events(user, EVENTS_FILE, &output);
        assert!(
            events.iter().any(|event| event["verdict"] == "refused"),
            "{events:?}"
        );
    });
}

#[test]
fn events_name_the_program_that_connected() {
    in_lab(|lab, user| {
        let script = r#"
import subprocess
print(attempt("web.test.example", 7), attempt("11.1.0.3", 7), attempt("2a00:1::2", 80))
subprocess.run(["/bin/bash", "-c", "exec 3<>/dev/tcp/11.1.0.2/7"])
"#;
        let options = [
            "-q",
            "--events",
            EVENTS_FILE,
            "--allow",
            "web.test.example:7",
            "--allow",
            "11.1.0.2:7",
        ];
        let output = lab.python(user, &options, script).output().unwrap();
        assert_eq!(success(user, &output), "x ECONNREFUSED ECONNREFUSED");
        let events = events(user, EVENTS_FILE, &output);
        for (destination, program) in [
            ("web.test.example:7", "python"),
            ("11.1.0.3:7", "python"),
            ("[2a00:1::2]:80", "python"),
            ("11.1.0.2:7", "bash"),
        ] {
            let event = events
                .iter()
                .find(|event| event["destination"] == destination)
                .unwrap_or_else(|| panic!("{destination}: {events:?}"));
            let executable = event["executable"].as_str().unwrap_or_default();
            assert!(executable.contains(program), "as {}: {event}", user.name);
            assert!(event["pid"].as_i64().is_some_and(|pid| pid > 1), "{event}");
        }
    });
}
