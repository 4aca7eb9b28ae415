//! Real programs, under the profile that fits each, as root and as an ordinary user.
//!
//! A program that is not installed is skipped, loudly. Those that take long (browsers, the JVM's
//! compiler, builds) run with `SANDBOX_TEST_HEAVY=1`. The table in `docs/programs.md` is made from what
//! these tests showed; the page has the options that single programs need as well.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{User, each_user, have, say, skip, success, text};

/// Where a server gives up waiting for its client, and a client for its server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether tests that take longer than a few seconds are wanted; says so if not.
fn heavy(name: &str) -> bool {
    let wanted = std::env::var_os("SANDBOX_TEST_HEAVY").is_some_and(|value| value == "1");
    if !wanted {
        say(&format!(
            "SKIP {name}: takes long; set SANDBOX_TEST_HEAVY=1"
        ));
    }
    wanted
}

/// An empty directory of `user`'s own, for the program called `name`.
fn workplace(user: &User, name: &str) -> PathBuf {
    let place = user.home.join(format!("program-{name}"));
    if place.exists() {
        fs::remove_dir_all(&place).expect("it is the test's own");
    }
    fs::create_dir_all(&place).expect("a directory can be made");
    give(user, &place);
    place
}

/// Make `path` belong to `user`.
fn give(user: &User, path: &Path) {
    chown(path, Some(user.uid), Some(user.gid)).expect("ours, or root gives it away");
}

/// A file of `user`'s, with `content`.
fn file(user: &User, path: &Path, content: &str) {
    fs::write(path, content).expect("the directory is the test's own");
    give(user, path);
}

/// What a shell `script` in `place` printed in a sandbox made with `options`.
fn shell(user: &User, place: &Path, options: &[&str], script: &str) -> Output {
    let mut launch = user.sandbox(options);
    // Root's own choice of tools may lie where the ordinary user cannot read.
    launch
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("LC_ALL", "C")
        .current_dir(place)
        .args(["--", "/bin/bash", "-c", script]);
    launch.output().expect("the binary can be started")
}

/// Assert that `script` succeeds under `options` as each user and prints `expected` somewhere.
#[track_caller]
fn prints(name: &str, options: &[&str], script: &str, expected: &str) {
    each_user(|user| {
        let place = workplace(user, name);
        let printed = success(user, &shell(user, &place, options, script));
        assert!(printed.contains(expected), "as {}: {printed}", user.name);
    });
}

/// Assert that `script` fails at once under the default policy as each user, saying `reason`.
#[track_caller]
fn refused(name: &str, script: &str, status: i32, reason: &str) {
    each_user(|user| {
        let place = workplace(user, name);
        let start = Instant::now();
        let output = shell(user, &place, &[], script);
        let said = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(status),
            "as {}: {said}",
            user.name
        );
        assert!(said.contains(reason), "as {}: {said}", user.name);
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "as {}: it hung",
            user.name
        );
    });
}

#[test]
fn curl_is_refused_at_once() {
    if have("curl") {
        let script = "curl -sS http://192.0.2.1/";
        refused("curl", script, 7, "Failed to connect to 192.0.2.1");
        let script = "curl -sS http://example.com/";
        refused("curl", script, 6, "Could not resolve host");
    }
}

#[test]
fn ssh_is_refused_at_once() {
    if have("ssh") {
        let script = "ssh -T -o BatchMode=yes 192.0.2.1";
        refused("ssh", script, 255, "Network is unreachable");
    }
}

#[test]
fn python_serves_and_curl_in_the_same_sandbox_fetches() {
    if have("python3") && have("curl") {
        let script = "echo fetched > page
            python3 -m http.server 8099 --bind 127.0.0.1 2>log & server=$!
            for try in {1..50}; do curl -sf http://127.0.0.1:8099/page && break; sleep .1; done
            kill $server";
        prints("python", &[], script, "fetched");
    }
}

#[test]
fn node_calls_its_own_server() {
    if have("node") {
        prints("node", &[], &format!("node -e '{NODE}'"), "answered");
    }
}

/// A server and its client in one script.
const NODE: &str = r#"
const http = require("http");
const server = http.createServer((_, response) => response.end("answered"));
server.listen(0, "127.0.0.1", () => {
  http.get({ host: "127.0.0.1", port: server.address().port }, response => {
    response.pipe(process.stdout);
    response.on("end", () => server.close());
  });
});
"#;

#[test]
fn npm_runs_a_package_s_tests() {
    if !have("npm") {
        return;
    }
    each_user(|user| {
        let place = workplace(user, "npm");
        let package =
            r#"{"name": "tried", "version": "1.0.0", "scripts": {"test": "node test.js"}}"#;
        file(user, &place.join("package.json"), package);
        file(user, &place.join("test.js"), NODE);
        let output = shell(user, &place, &["--policy", "build"], "npm test --offline");
        let printed = success(user, &output);
        assert!(printed.contains("answered"), "as {}: {printed}", user.name);
    });
}

#[test]
fn go_tests_a_package_with_a_server() {
    if !have("go") || !heavy("go test") {
        return;
    }
    each_user(|user| {
        let place = workplace(user, "go");
        file(user, &place.join("go.mod"), "module tried\n\ngo 1.18\n");
        file(user, &place.join("tried_test.go"), GO);
        let script = "GOPROXY=off GOFLAGS=-mod=mod go test -count=1 ./...";
        let output = shell(user, &place, &["--policy", "build"], script);
        let printed = success(user, &output);
        assert!(printed.starts_with("ok"), "as {}: {printed}", user.name);
    });
}

/// A Go test that starts a server and calls it.
const GO: &str = r#"package tried

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestServer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil || response.StatusCode != 404 {
		t.Fatal(response, err)
	}
}
"#;

#[test]
fn git_commits_and_clones() {
    if have("git") {
        let script = "set -e
            git init -q one && cd one && echo a > a && git add a
            git -c user.name=n -c user.email=e@example.com commit -qm first
            cd .. && git clone -q one two && git -C two fsck && git -C two log --format=%s";
        prints("git", &[], script, "first");
    }
}

#[test]
fn java_starts() {
    if have("java") {
        prints("java-version", &[], "java -version 2>&1", "version");
    }
}

#[test]
fn java_threads_and_sockets_work() {
    if !have("java") || !heavy("java threads") {
        return;
    }
    each_user(|user| {
        let place = workplace(user, "java");
        file(user, &place.join("Tried.java"), JAVA);
        let printed = success(user, &shell(user, &place, &[], "java Tried.java"));
        assert_eq!(printed, "8 threads, one connection", "as {}", user.name);
    });
}

/// A Java program with threads and a server of its own.
const JAVA: &str = r#"
import java.net.*;
import java.util.concurrent.atomic.AtomicInteger;

public class Tried {
    public static void main(String[] arguments) throws Exception {
        AtomicInteger ran = new AtomicInteger();
        Thread[] threads = new Thread[8];
        for (int i = 0; i < threads.length; i++) (threads[i] = new Thread(ran::incrementAndGet)).start();
        for (Thread thread : threads) thread.join();
        try (ServerSocket server = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1"))) {
            new Socket("127.0.0.1", server.getLocalPort()).close();
            server.accept().close();
        }
        System.out.println(ran + " threads, one connection");
    }
}
"#;

#[test]
fn cargo_builds_offline() {
    if !have("cargo") || !heavy("cargo build") {
        return;
    }
    // The tool chain may lie in root's home: whoever runs the tests has it, the other user may not.
    let user = &support::users()[0];
    let place = workplace(user, "cargo");
    fs::create_dir(place.join("src")).expect("the directory is the test's own");
    let manifest =
        "[package]\nname = \"tried\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n";
    file(user, &place.join("Cargo.toml"), manifest);
    file(
        user,
        &place.join("src/main.rs"),
        "fn main() { println!(\"built\"); }\n",
    );
    let mut launch = user.sandbox(&["--policy", "build", "--", "cargo", "run", "--offline", "-q"]);
    if let Some(home) = std::env::var_os("HOME") {
        launch.env("HOME", home);
    }
    launch.env_remove("CARGO_TARGET_DIR").current_dir(&place);
    let output = launch.output().expect("the binary can be started");
    assert_eq!(success(user, &output), "built");
}

#[test]
fn small_tools_work() {
    let tools = [
        (
            "tar",
            "echo a > a; tar czf a.tgz a; gzip -t a.tgz; tar tzf a.tgz",
            "a",
        ),
        (
            "sqlite3",
            "sqlite3 f 'create table t(a); insert into t values(42); select a from t'",
            "42",
        ),
        (
            "perl",
            "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 1, LocalAddr => \"127.0.0.1\"); print \"joined\" if IO::Socket::INET->new(PeerAddr => \"127.0.0.1\", PeerPort => $s->sockport)'",
            "joined",
        ),
        ("ps", "ps -e -o comm=", "sandbox-init"),
        ("top", "TERM=dumb top -bn1", "sandbox"),
        ("ip", "ip -br addr", "127.0.0.1/8"),
        ("date", "TZ=America/New_York date +%Z", "E"),
        ("locale", "LC_ALL=C.UTF-8 locale charmap", "UTF-8"),
        (
            "stress-ng",
            "stress-ng -q --cpu 1 --vm 1 --vm-bytes 16M --fork 1 --pipe 1 --sock 1 --mutex 1 -t 1 && echo calm",
            "calm",
        ),
    ];
    for (tool, script, expected) in tools {
        if have(tool) {
            prints(tool, &[], script, expected);
        }
    }
}

#[test]
fn one_is_who_one_was() {
    each_user(|user| {
        let place = workplace(user, "id");
        let script = "id -u; id -g; whoami";
        let inside = success(user, &shell(user, &place, &[], script));
        let outside = user.command("/bin/sh").args(["-c", script]).output();
        let outside = text(&outside.expect("there is a shell").stdout);
        assert_eq!(inside, outside, "as {}", user.name);
    });
}

#[test]
fn debuggers_work_on_the_sandbox_s_own_processes() {
    if have("strace") {
        let script = "strace -o trace -e trace=execve /bin/true; cat trace";
        prints(
            "strace",
            &["--policy", "build"],
            script,
            "execve(\"/bin/true\"",
        );
    }
    if have("gdb") {
        let script = "gdb -q -batch -ex run --args /bin/true";
        prints("gdb", &["--policy", "build"], script, "exited normally");
    }
}

#[test]
fn a_sandbox_in_a_sandbox_is_refused_for_what_it_is() {
    let hint = "\n  hint: this runs inside a sandbox already, which refuses it; leave the inner \
                sandbox out (what it would run is confined as it is), or start it outside of the \
                other one; see 'sandbox doctor'";
    each_user(|user| {
        let program = user.sandbox.to_str().expect("the test chose it").to_owned();
        for (outer, reason) in [
            (&[][..], "Function not implemented"),
            (&["--as-pid-1"], "Function not implemented"),
            // Its init gives it away, and the limit on user namespaces holds.
            (&["--seccomp", "off"], "No space left on device"),
        ] {
            let words = [&["-q"], outer, &["--", &program, "--", "/bin/true"]].concat();
            let output = user.output(&words);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "as {}: {said}", user.name);
            let expected = format!("sandbox: cannot create the namespaces: {reason}{hint}");
            assert_eq!(said, expected, "as {}: {outer:?}", user.name);
        }
    });
}

/// Ends a server, whatever becomes of the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; the sandbox dies with its launcher.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server started as `launch` says, its complaints in a file for the message of a failure.
fn serve(mut launch: Command, log: &Path) -> Server {
    let log = fs::File::create(log).expect("the directory is the test's own");
    launch.stdout(Stdio::null()).stderr(log);
    Server(launch.spawn().expect("the binary can be started"))
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// What the server at `port` of the host answers to a request for `path`.
fn fetch(port: u16, path: &str, log: &Path) -> String {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let start = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(
                start.elapsed() < PATIENCE,
                "{error}: {}",
                fs::read_to_string(log).unwrap_or_default()
            ),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("it is not zero");
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .expect("it has just connected");
    let mut answer = Vec::new();
    // A reset after the answer is no matter; no answer shows in what is returned.
    let _ = stream.read_to_end(&mut answer);
    let log = fs::read_to_string(log).unwrap_or_default();
    format!("{}\n{log}", text(&answer))
}

#[test]
fn gunicorn_answers_on_a_passed_socket_and_calls_nobody() {
    if !have("gunicorn") {
        return;
    }
    each_user(|user| {
        let place = workplace(user, "gunicorn");
        file(user, &place.join("tried.py"), PYTHON);
        let log = place.join("log");
        let port = free_port();
        let listen = format!("tcp:127.0.0.1:{port}");
        // The workplace lies below /var/tmp, which a private one would hide.
        let mut launch = user.sandbox(&["--policy", "worker", "--private-tmp=no"]);
        launch.args(["--read-write", "/tmp", "--listen", &listen, "--"]);
        launch.args(["gunicorn", "--workers", "1", "tried:app"]);
        launch
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir(&place);
        launch.env("WHERE", port.to_string());
        let _server = serve(launch, &log);
        let answer = fetch(port, "/", &log);
        assert!(answer.contains("200 OK"), "as {}: {answer}", user.name);
        assert!(
            answer.contains("refused: [Errno 1]"),
            "as {}: {answer}",
            user.name
        );
    });
}

/// An application that tries to call the host, and says what became of it.
const PYTHON: &str = r#"
import os, socket

def app(environ, start):
    try:
        socket.create_connection(("127.0.0.1", int(os.environ["WHERE"])), 2)
        said = "connected"
    except OSError as error:
        said = "refused: %s" % error
    start("200 OK", [("Content-Type", "text/plain")])
    return [said.encode()]
"#;

/// Start `words` in `place` under the worker profile, listening for it on a port of the host; it must
/// answer there with what it says to `path`, and what came of its own call to that port.
#[track_caller]
fn answers_and_calls_nobody(user: &User, place: &Path, words: &[&str], expected: &[&str]) {
    let log = place.join("log");
    let port = free_port();
    let listen = format!("web=tcp:127.0.0.1:{port}");
    // The workplace may lie below /var/tmp, which a private one would hide.
    let mut launch = user.sandbox(&["--policy", "worker", "--private-tmp=no"]);
    launch.args(["--listen", &listen, "--"]).args(words);
    launch
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("WHERE", port.to_string())
        .current_dir(place);
    let _server = serve(launch, &log);
    let answer = fetch(port, "/", &log);
    for expected in expected {
        assert!(answer.contains(expected), "as {}: {answer}", user.name);
    }
    // The control: outside the same program reaches the port, and says so.
    let mut outside = user.command(words[0]);
    outside
        .args(&words[1..])
        .env("WHERE", port.to_string())
        .env("CALL", "only")
        .current_dir(place);
    let output = outside.output().expect("it is installed");
    let said = text(&output.stdout);
    assert!(said.contains("connected"), "as {}: {output:?}", user.name);
}

#[test]
fn node_answers_on_a_passed_socket_and_calls_nobody() {
    if !have("node") {
        return;
    }
    each_user(|user| {
        let place = workplace(user, "node-listen");
        file(user, &place.join("server.js"), NODE_LISTENER);
        let words = ["node", "server.js", "{fd:web}"];
        let expected = ["200 OK", "refused: EPERM"];
        answers_and_calls_nobody(user, &place, &words, &expected);
    });
}

/// A server on a descriptor, which tries to call the host for each request.
const NODE_LISTENER: &str = r#"
const http = require("http"), net = require("net");
function call(done) {
  const socket = net.connect({ host: "127.0.0.1", port: +process.env.WHERE, autoSelectFamily: false });
  socket.on("connect", () => { socket.destroy(); done("connected"); });
  socket.on("error", error => done("refused: " + error.code));
}
if (process.env.CALL) call(console.log);
else http.createServer((_, response) => call(said => response.end(said)))
  .listen({ fd: +process.argv[2] });
"#;

#[test]
fn uvicorn_answers_on_a_passed_socket_and_calls_nobody() {
    if !have("uvicorn") || !have("python3") {
        return;
    }
    each_user(|user| {
        let place = workplace(user, "uvicorn");
        file(user, &place.join("tried.py"), UVICORN);
        let words = ["python3", "tried.py", "{fd:web}"];
        let expected = ["200 OK", "refused: [Errno 1]"];
        answers_and_calls_nobody(user, &place, &words, &expected);
    });
}

/// An ASGI application that tries to call the host, run as `uvicorn --fd` does.
const UVICORN: &str = r#"
import os, socket, sys

def call():
    try:
        socket.create_connection(("127.0.0.1", int(os.environ["WHERE"])), 2)
        return "connected"
    except OSError as error:
        return "refused: %s" % error

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": call().encode()})

if os.environ.get("CALL"):
    print(call())
elif __name__ == "__main__":
    os.execvp("uvicorn", ["uvicorn", "--fd", sys.argv[1], "tried:app"])
"#;

#[test]
fn a_c_program_takes_its_sockets_by_the_systemd_protocol() {
    if !have("cc") {
        return;
    }
    each_user(|user| {
        let place = workplace(user, "protocol");
        let source = place.join("server.c");
        file(user, &source, PROTOCOL);
        let mut compile = user.command("cc");
        compile.args(["-Wall", "-o", "server", "server.c"]);
        let output = compile.current_dir(&place).output();
        success(user, &output.expect("it is installed"));
        let expected = ["200 OK", "1 socket called web", "refused: 1"];
        answers_and_calls_nobody(user, &place, &["./server"], &expected);
    });
}

/// sd_listen_fds(3) in a few lines, as its page describes it; then one answer.
const PROTOCOL: &str = r#"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void call(char *said, size_t size) {
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(getenv("WHERE"))) };
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        snprintf(said, size, "connected");
    else
        snprintf(said, size, "refused: %d", errno);
}

int main(void) {
    char said[64], answer[256], request[4096];
    call(said, sizeof said);
    if (getenv("CALL"))
        return puts(said) < 0;
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (!pid || atoi(pid) != getpid() || !count || atoi(count) < 1)
        return 1;
    int fd = accept(3, NULL, NULL);
    if (fd < 0 || read(fd, request, sizeof request) < 0)
        return 2;
    snprintf(answer, sizeof answer, "HTTP/1.0 200 OK\r\n\r\n%s socket called %s, %s\n",
             count, getenv("LISTEN_FDNAMES"), said);
    if (write(fd, answer, strlen(answer)) < 0)
        return 3;
    close(fd);
    pause();
}
"#;

#[test]
fn nginx_answers_on_a_passed_socket_and_calls_nobody() {
    if !have("nginx") {
        return;
    }
    each_user(|user| {
        let place = workplace(user, "nginx");
        let log = place.join("log");
        let port = free_port();
        let user_line = if user.is_root() { "user root;" } else { "" };
        let configuration = format!(
            "daemon off; {user_line} worker_processes 1; pid nginx.pid; error_log stderr error;
             events {{ }}
             http {{
               access_log off;
               client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
               uwsgi_temp_path uwsgi; scgi_temp_path scgi;
               server {{
                 listen 127.0.0.1:{port};
                 location / {{ return 200 'answered'; }}
                 location /out {{ proxy_pass http://127.0.0.1:{port}; }}
               }}
             }}\n"
        );
        file(user, &place.join("nginx.conf"), &configuration);
        let directory = place.to_str().expect("the test chose it");
        let listen = format!("tcp:127.0.0.1:{port}");
        let mut launch = user.sandbox(&["--policy", "worker", "--private-tmp=no"]);
        launch.args(["--read-write", directory, "--listen", &listen]);
        launch.args(["--env", "NGINX=3;", "--", "nginx", "-e", "stderr"]);
        launch.args(["-p", directory, "-c", "nginx.conf"]);
        launch
            .env("PATH", "/usr/sbin:/usr/bin:/bin")
            .current_dir(&place);
        let _server = serve(launch, &log);
        let answer = fetch(port, "/", &log);
        assert!(answer.contains("answered"), "as {}: {answer}", user.name);
        let answer = fetch(port, "/out", &log);
        assert!(
            answer.contains("500 Internal"),
            "as {}: {answer}",
            user.name
        );
        assert!(
            answer.contains("Operation not permitted"),
            "as {}: {answer}",
            user.name
        );
    });
}

#[test]
fn chromium_prints_a_local_page() {
    if !have("chromium") || !heavy("chromium") {
        return;
    }
    each_user(|user| {
        let place = workplace(user, "chromium");
        let page = place.join("page.html");
        file(user, &page, "<h1>printed</h1>");
        let script = "chromium --headless --no-sandbox --user-data-dir=$PWD/data \
                      --print-to-pdf=$PWD/page.pdf file://$PWD/page.html";
        success(user, &shell(user, &place, &["--policy", "browser"], script));
        let printed = fs::read(place.join("page.pdf")).expect("it was printed");
        assert!(printed.starts_with(b"%PDF-"), "as {}", user.name);
    });
}

#[test]
fn firefox_makes_the_picture_that_it_makes_outside() {
    if !have("firefox") || !heavy("firefox") {
        return;
    }
    each_user(|user| {
        let place = workplace(user, "firefox");
        file(user, &place.join("page.html"), "<h1>printed</h1>");
        let script = |name: &str| {
            format!(
                "export HOME=$PWD; mkdir data-{name} && firefox --headless --no-remote \
                 --profile $PWD/data-{name} --screenshot $PWD/{name}.png file://$PWD/page.html"
            )
        };
        let picture = |name: &str| fs::read(place.join(format!("{name}.png")));
        let mut outside = user.command("/bin/bash");
        outside.args(["-c", &script("outside")]).current_dir(&place);
        let output = outside.output().expect("there is a shell");
        let Ok(expected) = picture("outside") else {
            return skip(
                "firefox",
                &format!("it makes no picture outside: {output:?}"),
            );
        };
        let options = ["--policy", "browser"];
        success(user, &shell(user, &place, &options, &script("inside")));
        let made = picture("inside").expect("it was made");
        assert!(made.starts_with(b"\x89PNG"), "as {}", user.name);
        assert!(made == expected, "as {}: {} bytes", user.name, made.len());
    });
}
