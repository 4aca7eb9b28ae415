//! Attacks on brokered egress (`--allow`), each with the control that shows it works where nothing holds it.
//!
//! The lab's servers' side is watched ([`Lab::arrived`]): what counts is not what a hostile program is told
//! but what came out. `tests/egress.rs` has more of them beside what must work; what is tried there is not
//! tried again here. `SANDBOX_TEST_RACES=1000000` has each race tried so often.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::lab::{Besides, Lab, in_lab, parse_events, printed};
use support::{User, copy_of, each_user, have, text};

/// What carries the connections that are allowed.
const ENGINES: [&str; 2] = ["relay", "direct"];

/// How a program is run where nothing holds it.
const BARE: [&str; 3] = ["-q", "--net", "host"];

/// The claim as each user in a lab that is watched. Nothing but `may` arrives while it is tried. Then the
/// control, which is to bring about that `forbidden` arrives.
#[track_caller]
fn watched(
    may: &[&str],
    claim: impl Fn(&Lab, &User),
    control: impl Fn(&Lab, &User),
    forbidden: &[&str],
) {
    let Some(lab) = Lab::start(Besides::Watcher) else {
        return;
    };
    // What hosts say of themselves, and the name service that the supervisor asks.
    let allowed = |line: &str| {
        may.contains(&line) || line == "udp 11.1.0.2 53" || !line.starts_with(['t', 'u'])
    };
    each_user(|user| {
        claim(&lab, user);
        let arrived = lab.arrived();
        let more: Vec<&String> = arrived.iter().filter(|line| !allowed(line)).collect();
        assert!(more.is_empty(), "as {}: {more:?} arrived", user.name);
    });
    let Some(user) = support::users().first() else {
        return;
    };
    control(&lab, user);
    let arrived = lab.arrived();
    for line in forbidden {
        assert!(arrived.contains(*line), "no control: {line}: {arrived:?}");
    }
}

/// A program in the sandbox that is told when to go on, by lines.
struct Talk {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Talk {
    fn begin(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter can be started");
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().expect("it is a pipe")),
            child,
        }
    }

    /// The next line; nothing at the end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it is text");
        line.trim().to_owned()
    }

    fn go_on(&mut self) {
        let input = self.input.as_mut().expect("it is not over");
        input.write_all(b"\n").expect("it is there");
    }

    /// How it ends.
    fn status(&mut self) -> i32 {
        let status = self.child.wait().expect("it is there");
        status.code().expect("a launcher ends by itself")
    }

    /// nsenter, env and setpriv have each become the next: the child is the supervisor itself.
    fn supervisor(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("pids are small"))
    }

    /// The supervisor's resident memory, in KiB.
    fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("it has not been waited for");
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number
            .and_then(|number| number.parse().ok())
            .expect("it lives")
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

// ---- spellings ----

#[test]
fn every_spelling_of_an_address_is_the_address() {
    let script = r#"
host = ["127.1", "0177.0.0.1", "0x7f.1", "2130706433", "017700000001", "::ffff:127.0.0.1", "::ffff:7f00:1",
        "0:0:0:0:0:ffff:127.0.0.1", "::127.0.0.1", "0", "0.0.0.0", "localhost", "127.0.0.1.", "::"]
other = ["11.1.3", "013.1.0.3", "0xb.0x1.0x0.0x3", "184614915", "::ffff:11.1.0.3", "::ffff:b01:3", "11.1.0.3."]
same = ["11.1.2", "013.1.0.2", "0xb.1.0.2", "184614914", "::ffff:11.1.0.2", "::FFFF:B01:2"]
for forms in (host, other, same):
    print(sum(attempt(form, 7) == "x" for form in forms))
"#;
    watched(
        &["tcp 11.1.0.2 7"],
        |lab, user| {
            let allow = ["-q", "--allow", "11.1.0.2:7"];
            let out = printed(user, &mut lab.python(user, &allow, script));
            assert_eq!(out, "0\n0\n6", "as {}", user.name);
        },
        |lab, user| {
            let out = printed(user, &mut lab.python(user, &BARE, script));
            // "::127.0.0.1", a name with a dot at the end, and "::" (nobody listens on IPv6) lead nowhere.
            assert_eq!(out, "11\n6\n6");
        },
        &["tcp 11.1.0.3 7"],
    );
}

#[test]
fn a_rule_with_an_address_or_name_that_programs_read_differently_is_an_error() {
    each_user(|user| {
        for rule in [
            "0177.0.0.1:7",
            "127.1:7",
            "0x7f000001:7",
            "2130706433:7",
            "[::ffff:11.1.0.2]:7",
            "11.1.0.2.:7",
            "web..test.example:7",
            ".web.test.example:7",
            "web.test.example..:7",
            "*:7",
            "*web.test.example:7",
            "web.*.example:7",
            "web test.example:7",
            "web\u{2024}.test..example:7",
            "xn--\u{e9}:7",
            "xn--a.example:7",
            "0.0.0.0:7",
            "[::]:7",
            "web.test.example:0",
            "web.test.example:7-6",
            "web.test.example:65536",
            "web.test.example:+7",
        ] {
            let output = user.output(&["--allow", rule, "--", "true"]);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "{rule}: {said}");
            assert!(said.starts_with("sandbox: --allow "), "{rule}: {said}");
        }
        // Control: what is plain is none.
        let output = user.output(&["-q", "--allow", "web.test.example:7", "--", "true"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    });
}

/// For scripts: a query, and what the sandbox's name service says to it, as RCODE.
const QUERY: &str = r#"
def message(labels, kind=1, flags=0x0100, end=b"\0", count=1, more=b""):
    name = b"".join(bytes([len(l)]) + l for l in labels)
    return struct.pack(">6H", 0x1234, flags, count, 0, 0, 0) + (name + end + struct.pack(">HH", kind, 1)) * count + more
def answered(packet, server="11.1.0.2", wait=10):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(wait)
        s.connect((server, 53))
        try:
            s.send(packet)
            return s.recv(4096)[3] & 15
        except OSError as e:
            return errno.errorcode.get(e.errno, str(e))
"#;

#[test]
fn a_name_is_itself_in_any_case_and_with_its_dot_and_nothing_else_is() {
    let script = r#"
plain = ["web.test.example", "WEB.Test.EXAMPLE", "web.test.example.", "bücher.example", "BÜCHER.example",
         "xn--bcher-kva.example", "XN--Bcher-KVA.example."]
print(*[attempt(name, 7) for name in plain])
w, t, e = b"web", b"test", b"example"
others = [[b"web.test", e], [b"web.test.example"], [b"web\0", t, e], [b"web\0evil", t, e], [w, t, b"example\0"],
          [w, t, b"example\0evil"], [b"web ", t, e], [b" web", t, e], [w, t, e, b"evil"], [b"evil", w, t, e],
          [b"notweb", t, e], [b"web-", t, e], [b"we\xc2\xadb", t, e], ["wеb".encode(), t, e],
          ["wеb".encode("idna"), t, e], ["ｗｅｂ".encode(), t, e], ["bücher".encode(), e],
          ["bücher".encode("latin1"), e], [b"*", t, e], [b"x" * 63, w, t, e], [t, e], [e], []]
print({answered(message(labels)) for labels in others})
# What is no name: a label of 64 bytes, a pointer to itself, to the header, beyond; no end; a second name.
broken = [message([w, t], end=b"\x40" + b"x" * 64 + b"\0"), message([w, t], end=b"\xc0\x0c"),
          message([w, t], end=b"\xc0\x00"), message([w, t], end=b"\xc3\xff"), message([w, t, e])[:20],
          message([w, t, e], count=2), message([w, t, e], more=b"secret"), message([b"y" * 63] * 4),
          message([w, t, e], count=0)]
print({answered(packet, wait=0.5) for packet in broken} <= {1, "timed out"})
# Not a query: an update, a notice, an answer.
print([answered(message([w, t, e], flags=flags), wait=0.5) for flags in (0x2800, 0x2000, 0x8180)])
"#;
    let script = format!("{QUERY}\n{script}");
    in_lab(|lab, user| {
        let allow = [
            "-q",
            "--allow",
            "web.test.example:7",
            "--allow",
            "bücher.example:7",
        ];
        let out = printed(user, &mut lab.python(user, &allow, &script));
        let expected = "x x x x x x x\n{3}\nTrue\n[4, 4, 'timed out']";
        assert_eq!(out, expected, "as {}", user.name);
        let asked: BTreeSet<String> = lab.asked().lines().map(str::to_owned).collect();
        let allowed = ["web.test.example", "xn--bcher-kva.example"].map(str::to_owned);
        assert_eq!(asked, BTreeSet::from(allowed), "as {}", user.name);
    });
    // Control: the outside server hears such names, and knows some.
    in_lab(|lab, user| {
        let control = "print(answered(message([b'notweb', b'test', b'example'])), attempt('notweb.test.example', 7))";
        let control = format!("{QUERY}\n{control}");
        let out = printed(user, &mut lab.python(user, &BARE, &control));
        assert_eq!(out, "0 x");
        assert!(lab.asked().contains("notweb.test.example"));
    });
}

#[test]
fn a_name_that_ends_or_begins_like_an_allowed_one_is_another() {
    let script = r#"
names = ["notweb.test.example", "web.test.example.evil.example", "below.web.test.example", "xsub.example",
         "a.sub.example.evil.example", "sub.example"]
print(*[attempt(name, 7) for name in names])
print(attempt("web.test.example", 7), attempt("a.sub.example", 7))
"#;
    watched(
        &["tcp 11.1.0.2 7", "tcp 2a00:1::2 7"],
        |lab, user| {
            let allow = [
                "-q",
                "--allow",
                "web.test.example:7",
                "--allow",
                "*.sub.example:7",
            ];
            let out = printed(user, &mut lab.python(user, &allow, script));
            let refused = ["no name"; 6].join(" ");
            assert_eq!(out, format!("{refused}\nx x"), "as {}", user.name);
        },
        |lab, user| {
            let out = printed(user, &mut lab.python(user, &BARE, script));
            assert_eq!(out, "x x x x x no name\nx x");
        },
        &["tcp 11.1.0.3 7"],
    );
}

// ---- what a name's owner can do ----

#[test]
fn a_name_that_changes_to_a_private_address_is_not_dialled_there() {
    in_lab(|lab, user| {
        let script = "
while sys.stdin.readline():
    print(attempt('rebind.example', 7), flush=True)";
        let name = "rebind.json";
        let options = [
            "-q",
            "--private-tmp=no",
            "--events",
            name,
            "--allow",
            "rebind.example:7",
        ];
        let _ = fs::remove_file(user.home.join(name));
        let stories = |options: &[&str]| {
            let mut talk = Talk::begin(&mut lab.python(user, options, script));
            // Public; the host itself; the metadata service and the host; the host and public.
            (0..4)
                .map(|turn| {
                    lab.turn(turn);
                    talk.go_on();
                    talk.line()
                })
                .collect::<Vec<String>>()
        };
        // Each connection has the name looked up again.
        let expected = ["x", "ECONNRESET", "ECONNRESET", "x"];
        assert_eq!(stories(&options), expected, "as {}", user.name);
        let written = fs::read_to_string(user.home.join(name)).expect("it was written");
        let events = parse_events(&written);
        let dialled: Vec<&str> = events
            .iter()
            .filter_map(|event| event["address"].as_str())
            .collect();
        assert_eq!(dialled, ["11.1.0.2:7"; 2], "as {}: {events:?}", user.name);
        // Control: bare, the second time it is the host itself that answers.
        assert_eq!(stories(&BARE)[..2], ["x", "x"], "as {}", user.name);
    });
}

#[test]
fn a_name_that_leads_to_the_host_itself_is_not_dialled_there() {
    let script = r#"
print(attempt(NAME, 70))
for family in (socket.AF_INET, socket.AF_INET6):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.connect(socket.getaddrinfo(NAME, 70, family)[0][4])
        try:
            s.send(b"x")
            print(s.recv(1))
        except OSError as e:
            print(e)
"#;
    in_lab(|lab, user| {
        // The second is of another address in the first one's network, and of one that no link has.
        for (name, address) in [
            ("own.example", "11.1.0.1"),
            ("also-own.example", "11.1.0.5"),
        ] {
            let script = format!("NAME = {name:?}\n{script}");
            let rules = |of: &str| [format!("{of}:70"), format!("udp://{of}:70")];
            let options = |rules: &[String]| {
                let allow = rules
                    .iter()
                    .flat_map(|rule| ["--allow".to_owned(), rule.clone()]);
                ["-q".to_owned()]
                    .into_iter()
                    .chain(allow)
                    .collect::<Vec<_>>()
            };
            let said = |options: &[String]| {
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                printed(user, &mut lab.python(user, &options, &script))
            };
            for engine in ENGINES {
                let mut options = options(&rules(name));
                options.extend(["--egress", engine].map(str::to_owned));
                let out = said(&options);
                let refused =
                    ["ECONNRESET", "ECONNREFUSED"].map(|no| format!("{no}\ntimed out\ntimed out"));
                assert!(
                    refused.contains(&out),
                    "{name} {engine} as {}: {out}",
                    user.name
                );
            }
            // Control: where a rule names the address, it may be the host's; and bare.
            let answered = "x\nb'X'\nb'X'";
            let out = said(&options(&[rules(name), rules(address)].concat()));
            assert_eq!(out, answered, "{name} as {}", user.name);
            let out = printed(user, &mut lab.python(user, &BARE, &script));
            assert_eq!(out, answered, "{name} as {}", user.name);
        }
    });
}

#[test]
fn what_a_request_through_the_proxy_says_counts_in_its_budget() {
    let script = r#"
def get():
    s = socket.create_connection(("127.0.0.1", 3128))
    request = "GET http://four.test.example/ HTTP/1.1\r\nHost: x\r\nSecret: " + "s" * 3000 + "\r\n\r\n"
    try:
        s.sendall(request.encode())
        return s.recv(100)[9:12].decode()
    except OSError as e:
        return errno.errorcode[e.errno]
print(*[get() for _ in range(4)])
"#;
    in_lab(|lab, user| {
        let budgeted = |size: &str| {
            let budget = format!("four.test.example:80={size}");
            let rule = "four.test.example:80";
            let options = ["-q", "--proxy-env", "--allow", rule, "--max-bytes", &budget];
            printed(user, &mut lab.python(user, &options, script))
        };
        assert_eq!(budgeted("4K"), "200 ECONNRESET 403 403", "as {}", user.name);
        // Control: with more of a budget each goes.
        assert_eq!(budgeted("1M"), "200 200 200 200", "as {}", user.name);
    });
}

/// How many names of special addresses the lab has.
const SPECIAL_NAMES: usize = 25;

#[test]
fn no_special_address_is_dialled_for_a_name() {
    let script = format!(
        "began = time.monotonic()
print({{attempt(f'special-{{n}}.example', 7) for n in range({SPECIAL_NAMES})}})
print(attempt('circle.example', 7), time.monotonic() - began < 60)
print(attempt('four.test.example', 7))"
    );
    watched(
        &["tcp 11.1.0.2 7"],
        |lab, user| {
            let allow = [
                "-q",
                "--allow",
                "*.example:7",
                "--allow",
                "*.test.example:7",
            ];
            let out = printed(user, &mut lab.python(user, &allow, &script));
            assert_eq!(
                out, "{'ECONNRESET'}\nECONNRESET True\nx",
                "as {}",
                user.name
            );
        },
        |lab, user| {
            // Control: each is a name that bare has its address; and two lead to the host's own server.
            let script = format!(
                "names = [f'special-{{n}}.example' for n in range({SPECIAL_NAMES})]
def has_one(name):
    try:
        return bool(socket.getaddrinfo(name, 7))
    except socket.gaierror:
        return False
print(all(map(has_one, names)), attempt('special-4.example', 7), attempt('special-17.example', 7))"
            );
            let out = printed(user, &mut lab.python(user, &BARE, &script));
            assert_eq!(out, "True x x");
        },
        &[],
    );
}

#[test]
fn names_and_datagrams_carry_nothing_out() {
    let script = r#"
secret = b"73656372657473"
for labels in ([secret, b"example"], [secret, b"web", b"test", b"example"], [secret * 4, secret * 4, b"example"],
               [secret, b"sub", b"example"]):
    for kind in (1, 28, 16, 10, 65, 252, 255):
        answered(message(labels, kind))
# In an option of EDNS, as a client's subnet is told; and as an update.
opt = b"\0" + struct.pack(">HHIH", 41, 4096, 0, 4 + len(secret)) + struct.pack(">HH", 65001, len(secret)) + secret
packet = bytearray(message([b"web", b"test", b"example"])) + opt
packet[11] = 1
answered(bytes(packet))
answered(message([secret, b"web", b"test", b"example"], flags=0x2800), wait=0.2)
# A zone transfer by TCP.
query = message([secret, b"example"], 252)
with dial("11.1.0.2", 53) as s:
    s.sendall(struct.pack(">H", len(query)) + query)
    s.recv(100)
# Other name servers, other services for names, other protocols.
for address in ("11.1.0.3", "11.1.0.4", "11.1.0.1", "224.0.0.251", "224.0.0.252", "255.255.255.255", "11.1.0.255"):
    for port in (53, 443, 853, 5353, 5355, 123, 7):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            try:
                s.sendto(query, (address, port))
                s.sendto(query, (address, port))
            except OSError:
                pass
for address in ("11.1.0.2", "11.1.0.3", "2a00:1::2"):
    for port in (443, 853, 5353):
        try:
            dial(address, port, 2).sendall(query)
        except OSError:
            pass
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            try:
                s.sendto(query, (address, port))
            except OSError:
                pass
print(attempt("web.test.example", 7))
"#;
    let script = format!("{QUERY}\n{script}");
    watched(
        &["tcp 11.1.0.2 7", "tcp 2a00:1::2 7"],
        |lab, user| {
            let allow = [
                "-q",
                "--allow",
                "web.test.example:7",
                "--allow",
                "*.sub.example:7",
            ];
            let out = printed(user, &mut lab.python(user, &allow, &script));
            assert_eq!(out, "x", "as {}", user.name);
            let asked = lab.asked();
            assert!(
                !asked.contains("73656372657473"),
                "as {}: {asked}",
                user.name
            );
        },
        |lab, user| {
            printed(user, &mut lab.python(user, &BARE, &script));
            assert!(lab.asked().contains("73656372657473"));
        },
        &[
            "udp 11.1.0.3 53",
            "udp 11.1.0.2 443",
            "tcp 11.1.0.2 443",
            "udp 11.1.0.255 53",
        ],
    );
}

#[test]
fn a_port_that_is_allowed_by_tcp_is_not_by_udp_nor_the_other_way_round() {
    let script = r#"
def datagram(host, port):
    family, kind, _, _, to = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as s:
        s.settimeout(2)
        s.connect(to)
        try:
            s.send(b"a")
            return s.recv(9).decode()
        except OSError as e:
            return errno.errorcode.get(e.errno, str(e))
print(attempt("four.test.example", 443), datagram("four.test.example", 443), datagram("11.1.0.2", 443))
print(attempt("four.test.example", 7), datagram("four.test.example", 7), attempt("11.1.0.2", 7))
"#;
    watched(
        &["tcp 11.1.0.2 443", "udp 11.1.0.2 7"],
        |lab, user| {
            let allow = [
                "-q",
                "--allow",
                "four.test.example:443",
                "--allow",
                "udp://four.test.example:7",
            ];
            let out = printed(user, &mut lab.python(user, &allow, script));
            let expected = "x ECONNREFUSED ECONNREFUSED\nECONNREFUSED A ECONNREFUSED";
            assert_eq!(out, expected, "as {}", user.name);
        },
        |lab, user| {
            let out = printed(user, &mut lab.python(user, &BARE, script));
            assert_eq!(out, "x A A\nx A x");
        },
        &["udp 11.1.0.2 443", "tcp 11.1.0.2 7"],
    );
}

#[test]
fn what_a_proxy_is_asked_in_any_form_is_bound_by_the_same_rules() {
    let script = r#"
def asked(request):
    """Whether, after `request`, what is sent comes back: who answers so echoes."""
    try:
        with dial("127.0.0.1", 3128) as s:
            s.sendall(request)
            if request[:1] == b"\5":
                if s.recv(2) != b"\5\0" or s.recv(4)[1:2] != b"\0":
                    return False
                s.recv(6)
            else:
                if b" 200 " not in s.recv(4096):
                    return False
            s.sendall(b"xyz")
            return s.recv(3) == b"xyz"
    except OSError:
        return False
def connect(target, more=b""):
    return b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n" + more + b"\r\n"
def socks(kind, address, port=7, command=1):
    return b"\5\1\0\5" + bytes([command]) + b"\0" + bytes([kind]) + address + struct.pack(">H", port)
def named(name, **more):
    return socks(3, bytes([len(name)]) + name, **more)
v4 = socket.inet_aton
def v6(text):
    return socket.inet_pton(socket.AF_INET6, text)
good = [connect(b"web.test.example:7"), connect(b"WEB.test.example:007"), named(b"web.test.example"),
        named(b"Web.Test.Example")]
bad = [connect(target) for target in (
    b"11.1.0.3:7", b"11.1.3:7", b"013.1.0.3:7", b"184614915:7", b"0xb010003:7", b"[::ffff:11.1.0.3]:7", b"::ffff:11.1.0.3:7",
    b"notweb.test.example:7", b"web.test.example.evil.example:7", b"below.web.test.example:7", b"web.test.example:443",
    b"web.test.example:7:7", b"web.test.example:7@11.1.0.3:7", b"11.1.0.3:7@web.test.example:7",
    b"web.test.example\0.evil.example:7", b"web.test.example%00:7", b"11.1.0.3:7#web.test.example:7", b"web..test.example:7",
    b"127.0.0.1:7", b"127.1:7", b"localhost:7", b"[::1]:7", b"0.0.0.0:7", b"[::]:7", b"169.254.169.254:80",
    b"private.example:7", b"mapped.example:7")]
bad += [connect(b"11.1.0.3:7", b"Host: web.test.example:7\r\n"), b"CONNECT web.test.example:7 HTTP/1.1\r\n 11.1.0.3:7\r\n\r\n"]
bad += [socks(1, v4(a)) for a in ("11.1.0.3", "127.0.0.1", "0.0.0.0", "169.254.169.254")]
bad += [socks(4, v6(a)) for a in ("::ffff:11.1.0.3", "::ffff:127.0.0.1", "::1", "::", "2a00:1::3")]
bad += [named(n) for n in (b"notweb.test.example", b"web.test.example\0", b"web.test.example\0.evil", b"11.1.0.3", b"11.1.3",
                           b"184614915", b"localhost", b"127.0.0.1", b"", b"web..test.example", b"private.example")]
# To listen, and for datagrams: neither is offered.
bad += [named(b"web.test.example", command=n) for n in (0, 2, 3, 255)]
print([asked(request) for request in good], [request for request in bad if asked(request)])
# The request line wins over Host, and what follows in the same connection goes where the first one went.
def get(*requests):
    with dial("127.0.0.1", 3128) as s:
        s.sendall(b"".join(requests))
        s.shutdown(socket.SHUT_WR)
        return s.makefile("rb").read()
get(b"GET http://four.test.example:8080/ HTTP/1.1\r\nHost: 11.1.0.3:8080\r\n\r\n")
get(b"GET http://four.test.example:8080/ HTTP/1.1\r\nHost: four.test.example:8080\r\n\r\n",
    b"GET http://11.1.0.3:8080/ HTTP/1.1\r\nHost: 11.1.0.3:8080\r\n\r\n")
for target in (b"11.1.0.3:8080/", b"four.test.example:8080@11.1.0.3:8080/", b"11.1.0.3:8080#@four.test.example:8080/",
               b"11.1.0.3:8080\\@four.test.example:8080/", b"//11.1.0.3:8080/"):
    get(b"GET http://" + target + b" HTTP/1.1\r\nHost: four.test.example:8080\r\n\r\n")
"#;
    let allow = [
        "-q",
        "--proxy-env",
        "--allow",
        "web.test.example:7",
        "--allow",
        "four.test.example:8080",
        "--allow",
        "private.example:7",
        "--allow",
        "mapped.example:7",
    ];
    watched(
        &["tcp 11.1.0.2 7", "tcp 2a00:1::2 7", "tcp 11.1.0.2 8080"],
        |lab, user| {
            let out = printed(user, &mut lab.python(user, &allow, script));
            assert_eq!(out, "[True, True, True, True] []", "as {}", user.name);
        },
        |lab, user| {
            // Control: with that address allowed, what asks for it is understood.
            let allow = [&allow[..], &["--allow", "11.1.0.3:7,8080"]].concat();
            let out = printed(user, &mut lab.python(user, &allow, script));
            assert!(out.contains("CONNECT 11.1.0.3:7 "), "{out}");
        },
        &["tcp 11.1.0.3 7", "tcp 11.1.0.3 8080"],
    );
}

// ---- what a program can do with sockets ----

/// For scripts: sendmsg(2) and sendmmsg(2) of the C library, with an address for each message.
const MESSAGES: &str = r#"
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
class Vec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]
class Header(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.POINTER(Vec)),
                ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_int), ("done", ctypes.c_uint32), ("pad", ctypes.c_uint32)]
def send_all(s, targets, flags=0):
    keep, headers = [], (Header * len(targets))()
    for header, (address, port) in zip(headers, targets):
        name = ctypes.create_string_buffer(struct.pack("=H", 2) + struct.pack(">H", port) + socket.inet_aton(address) + bytes(8), 16)
        vec = Vec(b"hello", 5)
        keep += [name, vec]
        header.name, header.namelen = ctypes.addressof(name), 16
        header.iov, header.iovlen = ctypes.pointer(vec), 1
    sent = libc.sendmmsg(s.fileno(), headers, len(targets), flags)
    return sent if sent >= 0 else errno.errorcode[ctypes.get_errno()]
"#;

#[test]
fn no_call_that_sends_and_names_an_address_leads_elsewhere() {
    let script = r#"
fast_open = 0x20000000
good, bad = ("11.1.0.2", 7), ("11.1.0.3", 7)
# Several messages in one call, the first to whom it may be sent.
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.settimeout(1)
for _ in range(5):
    send_all(u, [good, bad, ("11.1.0.4", 7), good, ("11.1.0.2", 443), ("11.1.0.3", 53)])
u.connect(good)
for _ in range(5):
    send_all(u, [bad, bad])
    u.sendmsg([b"x"], [], 0, bad) if _ else None
heard = set()
try:
    while True:
        heard.add(u.recvfrom(99)[1])
except OSError:
    pass
print(heard)
# A connection that is opened by what sends: by each of the calls, and by an option.
for target in (bad, good):
    said = []
    for opening in ("sendto", "sendmsg", "sendmmsg", "option"):
        s = socket.socket()
        try:
            if opening == "sendto":
                s.sendto(b"hello", fast_open, target)
            elif opening == "sendmsg":
                s.sendmsg([b"hello"], [], fast_open, target)
            elif opening == "sendmmsg":
                sent = send_all(s, [target], fast_open)
                if isinstance(sent, str):
                    raise OSError(getattr(errno, sent), sent)
            else:
                s.setsockopt(socket.IPPROTO_TCP, 30, 1)
                s.connect(target)
                s.sendall(b"hello")
            said.append(s.recv(5).decode())
        except OSError as e:
            said.append(errno.errorcode.get(e.errno, str(e)))
        s.close()
    print(*said)
"#;
    let script = format!("{MESSAGES}\n{script}");
    watched(
        &["tcp 11.1.0.2 7", "udp 11.1.0.2 7"],
        |lab, user| {
            let allow = ["-q", "--allow", "11.1.0.2:7", "--allow", "udp://11.1.0.2:7"];
            let out = printed(user, &mut lab.python(user, &allow, &script));
            let lines: Vec<&str> = out.lines().collect();
            assert_eq!(lines[0], "{('11.1.0.2', 7)}", "as {}: {out}", user.name);
            let refused = ["ECONNREFUSED"; 4].join(" ");
            assert_eq!(lines[1], refused, "as {}: {out}", user.name);
            assert_eq!(
                lines[2], "hello hello hello hello",
                "as {}: {out}",
                user.name
            );
        },
        |lab, user| {
            let out = printed(user, &mut lab.python(user, &BARE, &script));
            assert!(
                out.lines()
                    .nth(1)
                    .is_some_and(|line| line.contains("hello")),
                "{out}"
            );
        },
        &["udp 11.1.0.3 7", "tcp 11.1.0.3 7", "udp 11.1.0.2 443"],
    );
}

#[test]
fn no_option_of_a_socket_leads_elsewhere() {
    let script = r#"
options = [
    ("mark", socket.SOL_SOCKET, 36, struct.pack("I", 1)),
    ("device", socket.SOL_SOCKET, 25, b"outside\0"),
    ("device by number", socket.SOL_SOCKET, 62, struct.pack("I", 2)),
    ("unicast interface", socket.IPPROTO_IP, 50, struct.pack(">I", 2)),
    ("transparent", socket.IPPROTO_IP, 19, struct.pack("I", 1)),
    ("free bind", socket.IPPROTO_IP, 15, struct.pack("I", 1)),
    ("loose source route", socket.IPPROTO_IP, 4, b"\x83\x07\x04" + socket.inet_aton("11.1.0.3") + b"\0"),
    ("strict source route", socket.IPPROTO_IP, 4, b"\x89\x07\x04" + socket.inet_aton("11.1.0.3") + b"\0"),
    ("don't route", socket.SOL_SOCKET, 5, struct.pack("I", 1)),
    ("repair", socket.IPPROTO_TCP, 19, struct.pack("I", 1)),
    ("upper-layer protocol", socket.IPPROTO_TCP, 31, b"tls"),
]
taken = []
for name, level, option, value in options:
    for target in (("11.1.0.3", 7), ("11.1.0.2", 7)):
        s = socket.socket()
        s.settimeout(5)
        try:
            s.setsockopt(level, option, value)
            taken.append(name)
        except OSError:
            pass
        try:
            s.connect(target)
            s.sendall(b"x")
            got = s.recv(1)
        except OSError as e:
            got = None
        if target[0] == "11.1.0.3" and got:
            print(name, "led there")
six = socket.socket(socket.AF_INET6)
try:
    # A routing header of type 0, through another address.
    six.setsockopt(socket.IPPROTO_IPV6, 57, b"\0\x02\0\x01" + bytes(4) + socket.inet_pton(socket.AF_INET6, "2a00:1::3"))
except OSError:
    pass
six.settimeout(5)
try:
    six.connect(("2a00:1::3", 7))
    print("routed there")
except OSError:
    pass
# Two connections with each other's ports, opened at once, need no listener; but both ends are inside.
print("over")
"#;
    watched(
        &["tcp 11.1.0.2 7"],
        |lab, user| {
            for engine in ENGINES {
                let allow = ["-q", "--egress", engine, "--allow", "11.1.0.2:7"];
                let out = printed(user, &mut lab.python(user, &allow, script));
                assert_eq!(out, "over", "{engine} as {}", user.name);
            }
        },
        |lab, user| {
            let out = printed(user, &mut lab.python(user, &BARE, script));
            assert!(out.contains("free bind led there"), "{out}");
        },
        &["tcp 11.1.0.3 7"],
    );
}

#[test]
fn a_socket_that_another_process_is_given_is_bound_by_the_same_rules() {
    let script = r#"
import array, ctypes
libc = ctypes.CDLL(None, use_errno=True)
here, there = socket.socketpair()
if os.fork() == 0:
    # Who gets them: it uses them, and then aims them anew.
    _, fds, _, _ = socket.recv_fds(there, 9, 9)
    stream, datagrams, listening = [socket.socket(fileno=fd) for fd in fds]
    stream.settimeout(20)
    stream.sendall(b"x")
    said = [stream.recv(1).decode()]
    unspec = struct.pack("H14x", socket.AF_UNSPEC)
    libc.connect(stream.fileno(), unspec, 16)
    try:
        stream.connect(("11.1.0.3", 7))
        said.append("led there")
    except OSError as e:
        said.append(errno.errorcode.get(e.errno, str(e)))
    datagrams.settimeout(1)
    datagrams.send(b"a")
    said.append(datagrams.recv(9).decode())
    datagrams.sendto(b"b", ("11.1.0.3", 7))
    try:
        said.append(datagrams.recv(9).decode())
    except OSError as e:
        said.append(errno.errorcode.get(e.errno, str(e)))
    listening.settimeout(0.5)
    try:
        listening.accept()
        said.append("accepted")
    except OSError as e:
        said.append(str(e))
    print(*said, flush=True)
    os._exit(0)
stream = dial("11.1.0.2", 7)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.connect(("11.1.0.2", 7))
listening = socket.socket()
listening.bind(("0.0.0.0", 4242))
listening.listen()
socket.send_fds(here, [b"x"], [stream.fileno(), datagrams.fileno(), listening.fileno()])
os.wait()
"#;
    watched(
        &["tcp 11.1.0.2 7", "udp 11.1.0.2 7"],
        |lab, user| {
            let allow = ["-q", "--allow", "11.1.0.2:7", "--allow", "udp://11.1.0.2:7"];
            // A socket of the host's is not dissolved, so that it still has its peer.
            for (engine, again) in [("relay", "ECONNREFUSED"), ("direct", "EISCONN")] {
                let options = [&allow[..], &["--egress", engine]].concat();
                let out = printed(user, &mut lab.python(user, &options, script));
                let expected = format!("x {again} A timed out timed out");
                assert_eq!(out, expected, "{engine} as {}", user.name);
            }
        },
        |lab, user| {
            let out = printed(user, &mut lab.python(user, &BARE, script));
            assert!(out.starts_with("x led there A"), "{out}");
        },
        &["tcp 11.1.0.3 7", "udp 11.1.0.3 7"],
    );
}

// ---- races ----

/// The program of `tests/egress/race.c`, built, where every user can execute it.
fn racer() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let here = tempfile::tempdir().expect("a directory can be made");
        let built = here.path().join("race");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/egress/race.c");
        let mut build = Command::new("cc");
        build
            .args(["-O1", "-pthread", "-o"])
            .arg(&built)
            .arg(source);
        assert!(build.status().is_ok_and(|status| status.success()));
        copy_of(&built, "race")
    })
}

/// How many tries a race is given: a few seconds' worth, or as many as are asked for.
fn tries() -> String {
    std::env::var("SANDBOX_TEST_RACES").unwrap_or_else(|_| "2000".to_owned())
}

#[track_caller]
fn no_race_leads_elsewhere(kind: &str) {
    if !have("cc") {
        return;
    }
    let race = |lab: &Lab, user: &User, options: &[&str], tries: &[&str]| {
        let mut command = lab.command(user, &user.sandbox.display().to_string());
        command.args(options).arg("--").arg(racer());
        printed(
            user,
            command
                .args([kind, "11.1.0.2", "11.1.0.3", "7"])
                .args(tries),
        )
    };
    watched(
        &["tcp 11.1.0.2 7"],
        |lab, user| {
            for engine in ENGINES {
                let options = ["-q", "--egress", engine, "--allow", "11.1.0.2:7"];
                let out = race(lab, user, &options, &[&tries(), "60"]);
                // It was a race: both happened.
                let numbers = out
                    .split_whitespace()
                    .filter(|word| word.parse::<u64>().is_ok_and(|n| n > 0));
                assert_eq!(numbers.count(), 2, "{engine} as {}: {out}", user.name);
            }
        },
        // Whether one of them leads there is up to the scheduler; not one of twenty is not.
        |lab, user| (0..20).for_each(|_| drop(race(lab, user, &BARE, &["2000", "1"]))),
        &["tcp 11.1.0.3 7"],
    );
}

#[test]
fn an_address_that_changes_while_it_is_connected_to_leads_nowhere_else() {
    no_race_leads_elsewhere("address");
}

#[test]
fn a_descriptor_that_changes_while_it_is_connected_leads_nowhere_else() {
    no_race_leads_elsewhere("descriptor");
}

// ---- sockets of the host's, in the command's hands ----

#[test]
fn a_socket_that_was_given_is_not_aimed_anew() {
    let script = r#"
import ctypes, fcntl
libc = ctypes.CDLL(None, use_errno=True)
def said(name, act):
    try:
        print(name, act())
    except OSError as e:
        print(name, errno.errorcode.get(e.errno, str(e)))
def given():
    s = dial("11.1.0.2", 7)
    s.sendall(b"x")
    assert s.recv(1) == b"x"
    return s
bad = ("11.1.0.3", 7)
def over():
    # Reset from here: closed, and without a port.
    s = given()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.shutdown(socket.SHUT_RDWR)
    time.sleep(0.2)
    return s
def failed():
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("11.1.0.2", 8))
    time.sleep(0.2)
    return s
def begun():
    # Given while its peer has not answered; then no more under way.
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("11.1.0.99", 7))
    s.shutdown(socket.SHUT_RDWR)
    return s
unspec = struct.pack("H14x", socket.AF_UNSPEC)
def dissolve(s):
    if libc.connect(s.fileno(), unspec, 16):
        raise OSError(ctypes.get_errno(), "")
for name, make in (("given", given), ("over", over), ("failed", failed), ("begun", begun)):
    said(name + " dissolved", lambda: dissolve(make()))
    said(name + " again", lambda: make().connect(bad))
    def both():
        s = make()
        try:
            dissolve(s)
        except OSError:
            pass
        s.connect(bad)
    said(name + " dissolved, again", both)
    said(name + " bound", lambda: make().bind(("0.0.0.0", 0)))
    said(name + " listens", lambda: make().listen(1))
    for call in ("sendto", "sendmsg"):
        def opened():
            s = make()
            if call == "sendto":
                return s.sendto(b"x", 0x20000000, bad)
            return s.sendmsg([b"x"], [], 0x20000000, bad)
        said(name + " opened by " + call, opened)
    said(name + " opened by sendmmsg", lambda: send_all(make(), [bad], 0x20000000))
    # What lists the host's interfaces, and hands out its namespace.
    said(name + " interfaces", lambda: fcntl.ioctl(make(), 0x8912, bytes(16)))
    said(name + " namespace", lambda: fcntl.ioctl(make(), 0x894c))
    said(name + " radio network", lambda: fcntl.ioctl(make(), 0x8b1b, bytes(32)))
    for option, level, number, value in (
        ("device", 1, 25, b"outside\0"), ("device by number", 1, 62, bytes(4)), ("mark", 1, 36, bytes(4)),
        ("interface", 0, 50, bytes(4)), ("route", 0, 4, b"\x83\x07\x04\x0b\x01\x00\x03\0"), ("route by IPv6", 41, 57, bytes(8)),
        ("repair", 6, 19, bytes(4)), ("fast open", 6, 30, b"\1\0\0\0"), ("filter", 1, 26, bytes(16)),
        ("group", 0, 42, struct.pack("@I4xHH4s", 1, 2, 0, bytes((239, 1, 2, 3))).ljust(136, b"\0")),
        ("group and sender", 0, 39, bytes((239, 1, 2, 3, 127, 0, 0, 1, 192, 0, 2, 9))),
    ):
        said(name + " " + option, lambda: make().setsockopt(level, number, value))
"#;
    let script = format!("{MESSAGES}\n{script}");
    watched(
        &["tcp 11.1.0.2 7", "tcp 11.1.0.2 8", "tcp 11.1.0.99 7"],
        |lab, user| {
            let direct = ["-q", "--egress", "direct"];
            let allow = ["--allow", "11.1.0.2:7-8", "--allow", "11.1.0.99:7"];
            let options = [&direct[..], &allow].concat();
            let out = printed(user, &mut lab.python(user, &options, &script));
            let lines: Vec<&str> = out.lines().collect();
            assert_eq!(lines.len(), 4 * 22, "as {}: {out}", user.name);
            for line in lines {
                let (what, said) = line.rsplit_once(' ').expect("two words");
                let may: &[&str] = match what.split_once(' ').expect("two words").1 {
                    "dissolved" => &["EACCES"],
                    "again" | "dissolved, again" => &["EISCONN", "EACCES", "ECONNREFUSED"],
                    "bound" | "listens" => &["EINVAL"],
                    opened if opened.starts_with("opened") => &["ENOTSUP", "EOPNOTSUPP"],
                    _ => &["EPERM"],
                };
                assert!(may.contains(&said), "as {}: {line}", user.name);
            }
        },
        |lab, user| {
            let out = printed(user, &mut lab.python(user, &BARE, &script));
            for opened in [
                "over bound None",
                "begun listens None",
                "given interface None",
                "given dissolved, again None",
                "given group None",
                "given group and sender None",
            ] {
                assert!(out.contains(opened), "{out}");
            }
        },
        &["tcp 11.1.0.3 7"],
    );
}

#[test]
fn a_listener_is_not_made_of_a_socket_of_the_hosts_by_a_race() {
    let script = r#"
# One thread listens on a number that another makes mean a socket of its own and one that was given.
own, slot = socket.socket(), socket.socket()
own.bind(("0.0.0.0", 0))
number = slot.fileno()
given = dial("11.1.0.2", 7)
given.shutdown(socket.SHUT_RDWR)
time.sleep(0.1)
over = False
def swap():
    while not over:
        os.dup2(own.fileno(), number)
        os.dup2(given.fileno(), number)
thread = threading.Thread(target=swap)
thread.start()
listened = 0
for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 2000):
    try:
        slot.listen(1)
        listened += 1
    except OSError:
        pass
over = True
thread.join()
print(listened > 0, given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
"#;
    in_lab(|lab, user| {
        let options = ["-q", "--egress", "direct", "--allow", "11.1.0.2:7"];
        let out = printed(user, &mut lab.python(user, &options, script));
        assert_eq!(out, "True 0", "as {}", user.name);
    });
}

// ---- the supervisor ----

/// Who is in a network namespace other than the test's own and below `pid`: pids.
fn inhabitants(pid: Pid) -> Vec<i32> {
    let mut found = Vec::new();
    let mut waiting = vec![pid.as_raw()];
    while let Some(pid) = waiting.pop() {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let child = child.parse().expect("the kernel writes numbers");
            found.push(child);
            waiting.push(child);
        }
    }
    found
}

/// A transfer of a few seconds, and what becomes of it.
const TRANSFER: &str = r#"
s = dial("11.1.0.2", 100)
s.settimeout(1)
block, sent, shown = b"z" * 65536, 0, False
total = 64 << 20
while sent < total:
    try:
        sent += s.send(block[:total - sent])
    except TimeoutError:
        # Nobody takes it any more: the supervisor was stopped.
        # Nor does anybody connect: that waits, or is refused.
        said = []
        tries = [threading.Thread(target=lambda to=to: said.append(attempt(to, 7)), daemon=True)
                 for to in ("11.1.0.2", "11.1.0.3")]
        for one in tries: one.start()
        for one in tries: one.join(1)
        print("stuck", "x" in said, flush=True)
        s.settimeout(60)
    if sent > 1 << 20 and not shown:
        shown = True
        print("under way", flush=True)
        sys.stdin.readline()
s.shutdown(socket.SHUT_WR)
print(s.makefile().read(), flush=True)
"#;

#[test]
fn a_stopped_supervisor_holds_a_transfer_up_and_lets_nothing_out() {
    watched(
        &["tcp 11.1.0.2 100", "tcp 11.1.0.2 7"],
        |lab, user| {
            let allow = ["-q", "--allow", "11.1.0.2:7,100"];
            let mut talk = Talk::begin(&mut lab.python(user, &allow, TRANSFER));
            assert_eq!(talk.line(), "under way", "as {}", user.name);
            kill(talk.supervisor(), Signal::SIGSTOP).unwrap();
            talk.go_on();
            assert_eq!(talk.line(), "stuck False", "as {}", user.name);
            kill(talk.supervisor(), Signal::SIGCONT).unwrap();
            assert_eq!(
                talk.line(),
                format!("{} bytes", 64 << 20),
                "as {}",
                user.name
            );
        },
        |_, _| (),
        &[],
    );
}

#[test]
fn a_killed_supervisor_leaves_nobody_alive_and_no_way_out() {
    watched(
        &["tcp 11.1.0.2 100"],
        |lab, user| {
            // A grandchild that has left its session and ignores what can be ignored tries on and on.
            let script = format!(
                r#"
import signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (1, 2, 3, 13, 15, 20, 21, 22):
            signal.signal(number, signal.SIG_IGN)
        while True:
            attempt("11.1.0.3", 7, 1)
    os._exit(0)
{TRANSFER}"#
            );
            let allow = ["-q", "--allow", "11.1.0.2:100"];
            let mut talk = Talk::begin(&mut lab.python(user, &allow, &script));
            assert_eq!(talk.line(), "under way", "as {}", user.name);
            let inside = inhabitants(talk.supervisor());
            // The first process, the command, and its grandchild.
            assert!(inside.len() >= 3, "as {}: {inside:?}", user.name);
            kill(talk.supervisor(), Signal::SIGKILL).unwrap();
            talk.child.wait().unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            let alive = |pid: &i32| {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                // A zombie, whose parent has not seen to it yet, is not alive.
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
            };
            while inside.iter().any(alive) && Instant::now() < deadline {
                std::thread::yield_now();
            }
            let left: Vec<&i32> = inside.iter().filter(|pid| alive(pid)).collect();
            for &&pid in &left {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            assert!(left.is_empty(), "as {}: {left:?} live on", user.name);
            // Nor has anybody else its output open.
            assert_eq!(talk.line(), "", "as {}", user.name);
        },
        |lab, user| {
            printed(
                user,
                &mut lab.python(user, &BARE, "attempt('11.1.0.3', 7, 1)"),
            );
        },
        &["tcp 11.1.0.3 7"],
    );
}

#[test]
fn resets_clients_that_say_nothing_and_names_without_end_leave_others_served() {
    in_lab(|lab, user| {
        let script = r#"
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
print("up", attempt("11.1.0.2", 7), attempt("a.sub.example", 7), flush=True)
sys.stdin.readline()
# Connections that are reset at once, by several at a time; while they come, somebody else is served.
def resets(n):
    for _ in range(1000):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            s.connect(("11.1.0.2", 7))
        except OSError:
            pass
        s.close()
threads = [threading.Thread(target=resets, args=(n,)) for n in range(4)]
for t in threads: t.start()
served = {attempt("11.1.0.2", 7) for _ in range(20)}
for t in threads: t.join()
# Connections to somebody who never reads, each as full as it gets.
stuck = []
for _ in range(200):
    s = dial("11.1.0.2", 9)
    s.setblocking(False)
    try:
        while True:
            s.send(b"z" * 65536)
    except BlockingIOError:
        stuck.append(s)
# The name service: half messages by TCP that never end, and more names than there can be.
halves = []
for _ in range(500):
    s = dial("11.1.0.2", 53)
    s.sendall(b"\x00\x40" + b"x" * 10)
    halves.append(s)
codes = {answered(message([b"n%d" % n, b"sub", b"example"]), wait=20) for n in range(5000)}
for n in range(3000):
    answered(message([b"n%d" % n, b"not", b"allowed"]), wait=20)
served |= {attempt("11.1.0.2", 7), attempt("a.sub.example", 7)}
print(served, codes, flush=True)
sys.stdin.readline()
"#;
        let script = format!("{QUERY}\n{script}");
        let allow = [
            "-q",
            "--allow",
            "11.1.0.2:7,9",
            "--allow",
            "*.sub.example:7",
        ];
        let mut talk = Talk::begin(&mut lab.python(user, &allow, &script));
        assert_eq!(talk.line(), "up x x", "as {}", user.name);
        let before = talk.resident();
        talk.go_on();
        // Some names got an address; for the others there was no room.
        assert_eq!(talk.line(), "{'x'} {0, 2}", "as {}", user.name);
        let grown = talk.resident().saturating_sub(before);
        assert!(grown < 8 * 1024, "as {}: grew by {grown} KiB", user.name);
    });
}

#[test]
fn a_client_of_the_name_service_that_asks_without_end_holds_up_nobody() {
    in_lab(|lab, user| {
        let script = r#"
import signal
framed = message([b"web", b"test", b"example"])
framed = struct.pack(">H", len(framed)) + framed
read, write = os.pipe()
for _ in range(2):
    if os.fork() == 0:
        signal.alarm(40)
        s = dial("11.1.0.2", 53)
        def ask():
            while True:
                s.sendall(framed * 2000)
        threading.Thread(target=ask, daemon=True).start()
        s.recv(1)
        os.write(write, b"x")
        while s.recv(1 << 20):
            pass
        os._exit(0)
os.read(read, 1), os.read(read, 1)
print(attempt("web.test.example", 7), flush=True)
signal.alarm(40)
signal.pause()
"#;
        let script = format!("{QUERY}\n{script}");
        let allow = ["-q", "--allow", "web.test.example:7"];
        let mut talk = Talk::begin(&mut lab.python(user, &allow, &script));
        assert_eq!(talk.line(), "x", "as {}", user.name);
        // The supervisor hears what it is sent, too.
        kill(talk.supervisor(), Signal::SIGTERM).expect("it is there");
        assert_eq!(
            talk.status(),
            128 + Signal::SIGTERM as i32,
            "as {}",
            user.name
        );
    });
}
