//! `--egress direct`: the command gets the connected socket itself, and what it sees is what it would see
//! without a sandbox; what cannot be served so is relayed.
//!
//! Whether a socket was given shows at the server: it names the peer that it sees, and that is the address
//! of the command's own socket then.

mod support;

use support::lab::{Besides, Lab, events, in_lab, printed};
use support::{INTERRUPTED, User, each_user};

/// Connections of each kind. `sees`: whether the server's peer is this very socket.
const KINDS: &str = r#"
import select
def sees(s):
    s.setblocking(True)
    s.settimeout(10)
    s.sendall(b"GET /peer HTTP/1.0\r\n\r\n")
    s.recv(1, socket.MSG_PEEK)
    return s.getpeername()[1], s.getsockname()[0].removeprefix("::ffff:")
def blocking(s, address):
    s.connect(address)
    return s.getblocking()
def not_blocking(s, address):
    s.setblocking(False)
    code = s.connect_ex(address)
    poll = select.poll()
    poll.register(s, select.POLLOUT)
    assert poll.poll(10000), "no news"
    error = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.errorcode.get(code, code), error, s.getblocking()
def watched(s, address):
    s.setblocking(False)
    epoll = select.epoll()
    epoll.register(s, select.EPOLLOUT | select.EPOLLONESHOT)
    epoll.poll(0)
    code = s.connect_ex(address)
    epoll.modify(s, select.EPOLLOUT)
    assert epoll.poll(10), "no news"
    return errno.errorcode.get(code, code)
def copied(s, address):
    copy = s.dup()
    s.connect(address)
    return copy.getpeername()[1] == address[1]
kept = []
def unwatched(s, address):
    kept.append(select.epoll())
    here, there = socket.socketpair()
    kept[0].register(here.fileno(), select.EPOLLIN)
    kept.extend((here, there))
    s.connect(address)
    return len(kept)
def many_sets(s, address):
    # More than are looked through.
    more = [select.epoll() for _ in range(16)]
    s.connect(address)
    return len(more)
def bound(s, address):
    s.bind(("", 0))
    port = s.getsockname()[1]
    s.connect(address)
    return s.getsockname()[1] == port
"#;

#[test]
fn a_socket_is_given_where_it_can_be_and_relayed_where_not() {
    in_lab(|lab, user| {
        let script = format!(
            "{KINDS}
for name in blocking, not_blocking, watched, copied, unwatched, many_sets, bound:
    s = socket.socket()
    print(name.__name__, name(s, ('11.1.0.2', 7)), s.getsockname()[0])
six = socket.socket(socket.AF_INET6)
six.connect(('::ffff:11.1.0.2', 7))
print('mapped', six.getpeername()[0], six.getsockname()[0])
six = socket.socket(socket.AF_INET6)
six.connect(('2a00:1::2', 7))
print('six', six.getsockname()[0])
"
        );
        let name = "direct-events";
        let options = [
            "-q",
            "--egress",
            "direct",
            "--events",
            name,
            "--allow",
            "11.1.0.2:7",
            "--allow",
            "[2a00:1::2]:7",
        ];
        let output = lab
            .python(user, &options, &script)
            .output()
            .expect("started");
        let out = support::success(user, &output);
        // Inside, every address is lo's own, so that who is relayed sees the address that it asked for.
        let expected = "blocking True 11.1.0.1\n\
             not_blocking ('EINPROGRESS', 0, False) 11.1.0.1\n\
             watched EINPROGRESS RELAYED\n\
             copied True RELAYED\n\
             unwatched 3 11.1.0.1\n\
             many_sets 16 RELAYED\n\
             bound True RELAYED\n\
             mapped ::ffff:11.1.0.2 ::ffff:11.1.0.1\n\
             six 2a00:1::1";
        let relayed: Vec<String> = out
            .lines()
            .map(|line| match line.split_whitespace().next() {
                Some("watched" | "copied" | "many_sets" | "bound") => {
                    let (said, address) = line.rsplit_once(' ').expect("two words");
                    assert_ne!(address, "11.1.0.1", "as {}: {line}", user.name);
                    format!("{said} RELAYED")
                }
                _ => line.to_owned(),
            })
            .collect();
        assert_eq!(relayed.join("\n"), expected, "as {}", user.name);
        let told = events(user, name, &output);
        let engine = |wanted: &str| {
            told.iter()
                .filter(|event| event["engine"] == wanted && event["verdict"] == "allowed")
                .count()
        };
        assert_eq!((engine("direct"), engine("relay")), (5, 4), "{told:?}");
    });
}

#[test]
fn names_are_looked_up_and_judged_for_a_given_socket_as_for_a_relayed_one() {
    in_lab(|lab, user| {
        let script = r#"
for host in ("four.test.example", "six.test.example", "half-dead.example", "to-private.example", "other.test.example"):
    try:
        # Waits: who does not is relayed where the look-up takes long.
        s = dial(host, 7, None)
        s.sendall(b"x")
        print(host, s.recv(1).decode(), s.getsockname()[0].removeprefix("::ffff:"))
    except socket.gaierror:
        print(host, "no name")
    except OSError as e:
        print(host, errno.errorcode.get(e.errno, str(e)))
"#;
        let hosts = ["four.test", "six.test", "half-dead", "to-private"];
        let rules: Vec<String> = hosts
            .iter()
            .map(|host| format!("--allow={host}.example:7"))
            .collect();
        let mut options = vec!["-q", "--egress", "direct"];
        options.extend(rules.iter().map(String::as_str));
        let out = printed(user, &mut lab.python(user, &options, script));
        let mut lines = out.lines();
        assert_eq!(lines.next(), Some("four.test.example x 11.1.0.1"), "{out}");
        assert_eq!(lines.next(), Some("six.test.example x 2a00:1::1"), "{out}");
        assert!(
            lines
                .next()
                .is_some_and(|line| line.starts_with("half-dead.example x ")),
            "as {}: {out}",
            user.name
        );
        assert_eq!(
            lines.next(),
            Some("to-private.example ECONNREFUSED"),
            "{out}"
        );
        assert_eq!(lines.next(), Some("other.test.example no name"), "{out}");
    });
}

#[test]
fn what_is_not_allowed_is_refused_and_a_server_that_is_not_there_is_told() {
    in_lab(|lab, user| {
        let script = r#"
print(attempt("11.1.0.2", 80), attempt("11.1.0.3", 7), attempt("2a00:1::2", 7), attempt("11.1.0.2", 8))
own = socket.create_server(("127.0.0.1", 0))
peer = socket.create_connection(own.getsockname())
print(peer.getpeername() == own.getsockname(), own.accept()[1] == peer.getsockname())
"#;
        let options = ["-q", "--egress", "direct", "--allow", "11.1.0.2:7-8"];
        let out = printed(user, &mut lab.python(user, &options, script));
        let expected = "ECONNREFUSED ECONNREFUSED ECONNREFUSED ECONNREFUSED\nTrue True";
        assert_eq!(out, expected, "as {}", user.name);
    });
}

#[test]
fn what_was_set_before_is_set_and_waiting_is_as_ever() {
    in_lab(|lab, user| {
        let script = r#"
import fcntl
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 3, 0))
s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 40000)
before = s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
s.connect(("11.1.0.2", 7))
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
      s.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
      struct.unpack("ii", s.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)),
      struct.unpack("ll", s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)),
      s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == before, s.getsockname()[0])
for inherits in False, True:
    s = socket.socket()
    s.set_inheritable(inherits)
    s.connect(("11.1.0.2", 7))
    print(s.get_inheritable() == inherits, fcntl.fcntl(s, fcntl.F_GETFL) & os.O_NONBLOCK)
# To an address that says nothing.
print(interrupted(socket.socket(), ("11.1.0.99", 7)))
"#;
        let options = [
            "-q",
            "--egress",
            "direct",
            "--allow",
            "11.1.0.2:7",
            "--allow",
            "11.1.0.99:7",
        ];
        let script = format!("{INTERRUPTED}{script}");
        let out = printed(user, &mut lab.python(user, &options, &script));
        let expected = "1 1 77 (1, 5) (3, 0) True 11.1.0.1\nTrue 0\nTrue 0\n('interrupted', True)";
        assert_eq!(out, expected, "as {}", user.name);
    });
}

/// Unmodified programs, each doing the same without a sandbox and with either engine.
#[test]
fn programs_say_the_same_bare_relayed_and_given() {
    let Some(lab) = Lab::start(Besides::Nothing) else {
        return;
    };
    let asynchronous = r#"
import asyncio
async def main():
    async def one(n):
        reader, writer = await asyncio.open_connection("11.1.0.2", 7)
        writer.write(b"%d" % n)
        said = await reader.readexactly(len(b"%d" % n))
        writer.close()
        return said.decode()
    print(sum([int(x) for x in await asyncio.gather(*[one(n) for n in range(200)])]))
asyncio.run(main())
"#;
    let threads = r#"
total = []
def one(n):
    s = dial("11.1.0.2", 100)
    s.sendall(b"y" * 300000)
    s.shutdown(socket.SHUT_WR)
    total.append(int(s.makefile().read().split()[0]))
threads = [threading.Thread(target=one, args=(n,)) for n in range(20)]
[t.start() for t in threads]
[t.join() for t in threads]
print(sum(total))
"#;
    let curl = r#"
import subprocess
for host in ("11.1.0.2:8080", "11.1.0.2:8"):
    run = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", "http://" + host + "/"],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    print(run.stdout, run.returncode in (7, 56) if host.endswith(":8") else run.returncode)
"#;
    let run = |user: &User, options: &[&str], script: &str| {
        printed(user, &mut lab.python(user, options, script))
    };
    each_user(|user| {
        for script in [asynchronous, threads, curl] {
            let bare = run(user, &["-q", "--net", "host"], script);
            for engine in ["relay", "direct"] {
                let allow = ["-q", "--egress", engine, "--allow", "11.1.0.2:7-8,100,8080"];
                let said = run(user, &allow, script);
                assert_eq!(said, bare, "{engine} as {}", user.name);
            }
        }
    });
}
