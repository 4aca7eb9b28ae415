//! Unix sockets by path: those of the host are out of reach, but for the ones that `--allow unix:PATH` names.
//!
//! They are let through by the mounts, so the same program reaches one that stands beside another that it
//! does not.

mod support;

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::{INTERRUPTED, User, each_user, have, text};

/// Two sockets that answer, in a directory of their own that `user` may search.
struct Sockets {
    folder: PathBuf,
}

impl Sockets {
    fn new(user: &User, name: &str) -> Self {
        let folder = user.home.join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("deep/er")).expect("the directory is writable");
        for socket in ["one", "two", "deep/er/three"] {
            let path = folder.join(socket);
            let listener = UnixListener::bind(&path).expect("the name is new");
            std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).expect("root, or own");
            std::thread::spawn(move || {
                for mut peer in listener.incoming().flatten() {
                    let _ = peer.write_all(b"answer");
                }
            });
        }
        let link = folder.join("link");
        std::os::unix::fs::symlink("deep/er/three", link).expect("the name is new");
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a program inside gets of each of `paths`: what is answered, or the error's name.
fn tried(user: &User, options: &[&str], paths: &[&str]) -> String {
    const PROGRAM: &str = "
import errno, socket, sys
for path in sys.argv[1:]:
    try:
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(path)
        print(peer.recv(9).decode())
    except OSError as error:
        print(errno.errorcode[error.errno])
";
    let output = user
        .command(&user.sandbox)
        .args(options)
        .args(["--", "python3", "-c", PROGRAM])
        .args(paths)
        .output()
        .expect("it can be started");
    let complaint = text(&output.stderr);
    assert!(output.status.success(), "as {}: {complaint}", user.name);
    text(&output.stdout).replace('\n', " ").trim().to_owned()
}

#[test]
fn of_the_hosts_sockets_the_allowed_one_answers_and_no_other() {
    if !have("python3") {
        return;
    }
    each_user(|user| {
        let sockets = Sockets::new(user, "sockets");
        let (one, two, three, link) = (
            sockets.path("one"),
            sockets.path("two"),
            sockets.path("deep/er/three"),
            sockets.path("link"),
        );
        let all = [&*one, &*two, &*three, &*link];
        let folder = sockets.folder.display().to_string();
        let allow = |path: &str| format!("--allow=unix:{path}");

        // The controls: outside the sandbox all answer, and inside none.
        let any = ["--hide-sockets=no", "--unix-sockets=any"];
        let open = tried(user, &any, &all);
        assert_eq!(open, "answer answer answer answer", "as {}", user.name);
        let none = tried(user, &[], &all);
        let refused = "ECONNREFUSED";
        assert_eq!(none, [refused; 4].join(" "), "as {}", user.name);

        // Each wall alone: the mounts, and the supervisor that connects.
        for alone in ["--hide-sockets=no", "--unix-sockets=any"] {
            let held = tried(user, &[alone], &all);
            assert_eq!(held, none, "{alone} as {}", user.name);
            let lets_one = tried(user, &[alone, &allow(&one)], &all);
            let expected = format!("answer {refused} {refused} {refused}");
            assert_eq!(lets_one, expected, "{alone} as {}", user.name);
        }

        let lets_one = tried(user, &[&allow(&one)], &all);
        let expected = format!("answer {refused} {refused} {refused}");
        assert_eq!(lets_one, expected, "as {}", user.name);

        let hidden = ["--hide", &folder];
        let below = tried(
            user,
            &[&hidden[..], &[&allow(&one), &allow(&three)]].concat(),
            &all,
        );
        assert_eq!(below, "answer ENOENT answer ENOENT", "as {}", user.name);

        let by_link = tried(user, &[&hidden[..], &[&allow(&link)]].concat(), &all);
        assert_eq!(by_link, "ENOENT ENOENT ENOENT answer", "as {}", user.name);

        let denied = format!("--deny=unix:{one}");
        let both = tried(user, &[&allow(&one), &denied, &allow(&two)], &all);
        let expected = format!("{refused} answer {refused} {refused}");
        assert_eq!(both, expected, "as {}", user.name);
    });
}

#[test]
fn what_is_no_socket_or_is_hidden_by_name_cannot_be_allowed() {
    each_user(|user| {
        let sockets = Sockets::new(user, "no-sockets");
        let one = sockets.path("one");
        let folder = sockets.folder.display().to_string();
        let missing = Path::new(&folder).join("missing").display().to_string();
        let hides: [&[&str]; 3] = [&[], &[], &["--hide", &one]];
        for ((path, options), reason) in [&missing, &folder, &one].into_iter().zip(hides).zip([
            "No such file or directory",
            "this is no Unix socket",
            "names this very socket",
        ]) {
            let output = user
                .command(&user.sandbox)
                .args(options)
                .arg(format!("--allow=unix:{path}"))
                .args(["--", "true"])
                .output()
                .expect("it can be started");
            assert_eq!(output.status.code(), Some(125), "{reason} as {}", user.name);
            let message = text(&output.stderr);
            assert!(message.contains(reason), "as {}: {message}", user.name);
            assert!(
                message.contains(&format!("--allow unix:{path}")),
                "{message}"
            );
        }
    });
}

/// Run `program` in Python inside, with the mounts' wall taken down, so that the supervisor's stands
/// alone; what it printed and what was told.
fn python(user: &User, options: &[&str], program: &str, arguments: &[&str]) -> (String, String) {
    let output = user
        .command(&user.sandbox)
        .args(["-q", "--hide-sockets=no"])
        .args(options)
        .args(["--", "python3", "-c", program])
        .args(arguments)
        .output()
        .expect("it can be started");
    let complaint = text(&output.stderr);
    assert!(output.status.success(), "as {}: {complaint}", user.name);
    (text(&output.stdout), complaint)
}

#[test]
fn a_refused_socket_is_told_with_the_option_that_would_allow_it() {
    if !have("python3") {
        return;
    }
    each_user(|user| {
        let sockets = Sockets::new(user, "told");
        let one = sockets.path("one");
        let events = user.home.join(format!("events-{}", std::process::id()));
        let _ = fs::remove_file(&events);
        let events = events.display().to_string();
        let program = "
import socket, sys
print(socket.socket(socket.AF_UNIX).connect_ex(sys.argv[1]))";
        let (said, _) = python(user, &["--events", &events], program, &[&one]);
        assert_eq!(said, "111", "as {}", user.name);
        let lines = fs::read_to_string(&events).expect("they were asked for");
        let refused = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
            .find(|event| event["event"] == "egress")
            .expect("it was told");
        assert_eq!(refused["verdict"], "refused");
        assert_eq!(refused["protocol"], "unix");
        assert_eq!(refused["destination"], *one);
        assert_eq!(refused["flag"], format!("--allow unix:{one}"));
    });
}

/// What a program does with sockets of its own, in one run: each line is a claim.
const OWN: &str = r#"
import errno, os, socket, struct, sys, threading
folder = sys.argv[1]
os.chdir(folder)
def answer(listener, count=1):
    def serve():
        for _ in range(count):
            listener.accept()[0].sendall(b"own")
    threading.Thread(target=serve, daemon=True).start()
def listen(path, kind=socket.SOCK_STREAM):
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(path)
    listener.listen()
    return listener
def ask(path, kind=socket.SOCK_STREAM):
    peer = socket.socket(socket.AF_UNIX, kind)
    try:
        peer.connect(path)
        return peer.recv(9).decode()
    except OSError as error:
        return errno.errorcode[error.errno]
os.mkdir("inner")
listener = listen("inner/socket")
answer(listener, 8)
os.symlink("inner/socket", "link")
print("relative", ask("inner/socket"))
print("dotted", ask("./inner/../inner/socket"))
print("absolute", ask(os.path.abspath("inner/socket")))
print("by a link", ask("link"))
os.chdir("inner")
print("from above", ask("../inner/socket"))
os.chdir("..")
directory = os.open("inner", os.O_PATH)
print("by a descriptor", ask("/proc/self/fd/%d/socket" % directory))
os.rename("inner/socket", "inner/renamed")
print("renamed", ask("inner/renamed"))
os.link("inner/renamed", "hard")
print("by a hard link", ask("hard"))
listener.close()
print("closed", ask("hard"))
print("no socket", ask("inner"))
print("not there", ask("missing"))
packets = listen("packets", socket.SOCK_SEQPACKET)
answer(packets)
print("packets", ask("packets", socket.SOCK_SEQPACKET))
print("other kind", ask("packets"))
abstract = listen("\0abstract")
answer(abstract)
print("abstract", ask("\0abstract"))
child = listen("child")
if os.fork() == 0:
    child.accept()[0].sendall(b"own")
    os._exit(0)
print("of another process", ask("child"))
def kinds(make):
    try:
        make()
        return "made"
    except OSError as error:
        return errno.errorcode[error.errno]
for kind in socket.SOCK_DGRAM, socket.SOCK_RAW:
    print("type", int(kind), kinds(lambda: socket.socket(socket.AF_UNIX, kind)),
          kinds(lambda: socket.socketpair(socket.AF_UNIX, kind)))
peer = socket.socket(socket.AF_UNIX)
whole = listen("whole")
peer.connect("whole")
there = whole.accept()[0]
print("peer", struct.unpack("3i", there.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1:] == (os.getuid(), os.getgid()))
print("name", peer.getpeername())
"#;

#[test]
fn sockets_of_its_own_are_reached_by_every_path_that_they_have() {
    if !have("python3") {
        return;
    }
    each_user(|user| {
        let folder = user.home.join(format!("own-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the directory is writable");
        std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid)).expect("root, or own");
        let shown = folder.display().to_string();
        let (said, complaint) = python(user, &[], OWN, &[&shown]);
        let expected = "relative own\ndotted own\nabsolute own\nby a link own\nfrom above own\n\
             by a descriptor own\nrenamed own\nby a hard link own\nclosed ECONNREFUSED\n\
             no socket ECONNREFUSED\nnot there ENOENT\npackets own\nother kind EPROTOTYPE\n\
             abstract own\nof another process own\n\
             type 2 ESOCKTNOSUPPORT ESOCKTNOSUPPORT\ntype 3 ESOCKTNOSUPPORT ESOCKTNOSUPPORT\n\
             peer True\nname whole";
        assert_eq!(said, expected, "as {}: {complaint}", user.name);
        let _ = fs::remove_dir_all(&folder);
    });
}

#[test]
fn with_another_user_sockets_are_that_users() {
    if !have("python3") {
        return;
    }
    let Some(root) = support::users().iter().find(|user| user.is_root()) else {
        return;
    };
    let program = r#"
import os, socket, struct, tempfile
path = tempfile.mkdtemp() + "/socket"
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.chmod(path, 0o600)
listener.listen()
peer = socket.socket(socket.AF_UNIX)
peer.connect(path)
there = listener.accept()[0]
print(struct.unpack("3i", there.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1:], os.getuid())
"#;
    for more in [&[][..], &["--userns", "no"]] {
        // Not one of root's own, which others may not execute.
        let path = "PATH=/usr/local/bin:/usr/bin:/bin";
        let options = [&["--user", "65534", "--private-tmp", "--env", path], more].concat();
        let (said, complaint) = python(root, &options, program, &[]);
        assert_eq!(said, "(65534, 65534) 65534", "{more:?}: {complaint}");
    }
}

/// Waiting as connect(2) does: for room in a queue, until a time is over, until a signal comes.
const WAITING: &str = r#"
import errno, os, signal, socket, struct, tempfile, threading, time
def filled(listener, address):
    held = []
    while True:
        peer = socket.socket(listener.family)
        peer.setblocking(False)
        code = peer.connect_ex(address)
        held.append(peer)
        if code in (errno.EAGAIN, errno.EINPROGRESS):
            time.sleep(0.05)
            if code == errno.EAGAIN or peer.connect_ex(address) == errno.EALREADY:
                return held
def limited(listener, address):
    peer = socket.socket(listener.family)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200000))
    began = time.monotonic()
    code = peer.connect_ex(address)
    return errno.errorcode[code], 0.15 < time.monotonic() - began < 5
def waited(listener, address):
    peer = socket.socket(listener.family)
    def take():
        time.sleep(0.2)
        while True:
            listener.accept()
    threading.Thread(target=take, daemon=True).start()
    peer.connect(address)
    return peer.getpeername() == address, peer.getblocking()
path = tempfile.mkdtemp(dir="/tmp") + "/socket"
for family, address in (socket.AF_UNIX, path), (socket.AF_INET, ("127.0.0.1", 0)):
    listener = socket.socket(family)
    listener.bind(address)
    address = listener.getsockname()
    listener.listen(0)
    held = filled(listener, address)
    print(family.name, limited(listener, address), interrupted(socket.socket(family), address), waited(listener, address))
"#;

#[test]
fn a_connection_waits_as_long_as_connect_would() {
    if !have("python3") {
        return;
    }
    each_user(|user| {
        let began = std::time::Instant::now();
        let options = ["--private-tmp", "--timeout", "60"];
        let program = format!("{INTERRUPTED}{WAITING}");
        let (said, complaint) = python(user, &options, &program, &[]);
        let expected = "AF_UNIX ('EAGAIN', True) ('interrupted', True) (True, True)\n\
             AF_INET ('EINPROGRESS', True) ('interrupted', True) (True, True)";
        assert_eq!(said, expected, "as {}: {complaint}", user.name);
        assert!(began.elapsed().as_secs() < 50, "{:?}", began.elapsed());
    });
}

/// Threads that swap the descriptor and rewrite the address while another connects. `argv`: a socket that
/// must not be reached, how many tries.
const RACE: &str = r#"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
static struct sockaddr_un allowed, refused, shared;
static int number, unix_one, other;
static volatile int over;
static void *rewrite(void *unused) {
    while (!over) {
        memcpy((void *)&shared, &allowed, sizeof shared);
        memcpy((void *)&shared, &refused, sizeof shared);
    }
    return unused;
}
static void *swap(void *unused) {
    while (!over) {
        int fresh = socket(AF_UNIX, SOCK_STREAM, 0), inet = socket(AF_INET, SOCK_STREAM, 0);
        dup2(fresh, number);
        dup2(inet, number);
        dup2(fresh, number);
        close(fresh);
        close(inet);
    }
    return unused;
}
static void *serve(void *listener) {
    for (;;) {
        int peer = accept(*(int *)listener, 0, 0);
        if (peer < 0) return 0;
        if (write(peer, "own", 3) < 0) {}
        close(peer);
    }
}
int main(int argc, char **argv) {
    long tries = atol(argv[2]), own = 0, wrong = 0;
    pthread_t threads[3];
    allowed.sun_family = refused.sun_family = AF_UNIX;
    snprintf(allowed.sun_path, sizeof allowed.sun_path, "%s", argv[3]);
    snprintf(refused.sun_path, sizeof refused.sun_path, "%s", argv[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (void *)&allowed, sizeof allowed) || listen(listener, 64)) return 2;
    number = socket(AF_UNIX, SOCK_STREAM, 0);
    pthread_create(&threads[0], 0, serve, &listener);
    pthread_create(&threads[1], 0, rewrite, 0);
    pthread_create(&threads[2], 0, swap, 0);
    for (long i = 0; i < tries; i++) {
        char said[16] = "";
        struct timeval limit = {0, 20000};
        if (connect(number, (void *)&shared, sizeof shared)) continue;
        /* Whatever the number is now: one that says anything else than "own" is one too many. */
        setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ssize_t got = recv(number, said, sizeof said - 1, MSG_DONTWAIT);
        if (got > 0 && !strcmp(said, "own")) own++;
        else if (got > 0) wrong++;
    }
    over = 1;
    printf("wrong %ld own %s\n", wrong, own >= 0 ? "some" : "none");
    return 0;
}
"#;

#[test]
fn threads_that_swap_descriptor_and_address_reach_nothing_else() {
    if !have("cc") {
        return;
    }
    let tries = std::env::var("SANDBOX_TEST_RACES").unwrap_or_else(|_| "3000".to_owned());
    each_user(|user| {
        let folder = user.home.join(format!("race-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the directory is writable");
        let (source, program) = (folder.join("race.c"), folder.join("race"));
        fs::write(&source, RACE).expect("writable");
        let built = std::process::Command::new("cc")
            .args(["-O1", "-pthread", "-o"])
            .args([&program, &source])
            .status()
            .expect("it is installed");
        assert!(built.success());
        std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid)).expect("root, or own");
        let outside = folder.join("outside");
        let listener = UnixListener::bind(&outside).expect("the name is new");
        std::os::unix::fs::chown(&outside, Some(user.uid), Some(user.gid)).expect("root, or own");
        listener.set_nonblocking(true).expect("a socket");
        let (outside, inside) = (outside.display().to_string(), folder.join("inside"));
        let output = user
            .command(&user.sandbox)
            .args(["-q", "--hide-sockets=no", "--"])
            .arg(&program)
            .args([&outside, &tries, &inside.display().to_string()])
            .output()
            .expect("it can be started");
        let complaint = text(&output.stderr);
        assert!(output.status.success(), "as {}: {complaint}", user.name);
        assert_eq!(text(&output.stdout), "wrong 0 own some");
        // Who listens outside was never called.
        let called = listener.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(
            called,
            Err(std::io::ErrorKind::WouldBlock),
            "as {}",
            user.name
        );
        let _ = fs::remove_dir_all(&folder);
    });
}

#[test]
fn a_datagram_socket_that_is_handed_in_sends_to_its_peer_and_to_no_path() {
    const INSIDE: &str = r#"
import errno, os, socket, sys
number, path = int(sys.argv[1]), sys.argv[2]
given = socket.socket(fileno=number)
# Bound after the start: nothing covers it.
given.send(b"ready")
given.recv(9)
def said(name, act):
    try:
        act()
        print(name, "OK")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
said("sendto", lambda: given.sendto(b"x", path))
said("sendmsg", lambda: given.sendmsg([b"x"], [], 0, path))
said("connect", lambda: given.connect(path))
said("send", lambda: given.send(b"x"))
"#;
    each_user(|user| {
        let folder = user.home.join(format!("dg-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the directory is writable");
        let path = folder.join("late");
        let tried = |program: &str, before: &[&str], number: &str| {
            let (ours, theirs) = UnixDatagram::pair().expect("a pair");
            let _ = fs::remove_file(&path);
            let mut command = user.command(program);
            command
                .args(before)
                .args(["python3", "-c", INSIDE, number])
                .arg(&path)
                .stdin(OwnedFd::from(theirs))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let child = command.spawn().expect("it can be started");
            drop(command);
            let mut bytes = [0; 9];
            let length = ours.recv(&mut bytes).expect("it says that it is there");
            assert_eq!(&bytes[..length], b"ready");
            let late = UnixDatagram::bind(&path).expect("the name is new");
            std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid)).expect("root, or own");
            ours.send(b"go").expect("it waits");
            let output = child.wait_with_output().expect("it ends");
            late.set_nonblocking(true).expect("a socket");
            let came = late.recv(&mut bytes).is_ok();
            (support::success(user, &output).replace('\n', " "), came)
        };
        let refused = "sendto EPERM sendmsg EPERM connect EPERM send OK".to_owned();
        let sandbox = user.sandbox.to_str().expect("UTF-8");
        for options in [&["-q"][..], &["-q", "--unix-sockets", "any"]] {
            let all = [options, &["--"]].concat();
            let inside = tried(sandbox, &all, "0");
            assert_eq!(inside, (refused.clone(), false), "as {}", user.name);
        }
        let passed = ["-q", "--pass-fd", "0", "--"];
        assert_eq!(
            tried(sandbox, &passed, "3"),
            (refused, false),
            "as {}",
            user.name
        );
        let bare = "sendto OK sendmsg OK connect OK send OK".to_owned();
        assert_eq!(tried("env", &[], "0"), (bare, true), "as {}", user.name);
        fs::remove_dir_all(&folder).expect("it is there");
    });
}
