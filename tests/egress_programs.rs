//! Real programs through `--allow`: each as it does bare, and refused at once elsewhere.
//!
//! Every row of [`PROGRAMS`] is run in the lab's "host" namespace as it is, and then in a sandbox that may
//! reach one destination, against servers as real as the program (`tests/egress/servers.py`). Output and
//! status have to be the same. Then it is aimed at another name and at another address, which bare it reaches
//! just as well: that fails at once, with an event. The table of `docs/egress.md` is made of these rows; with
//! `SANDBOX_BLESS=1` it is written anew. A program that is not installed is skipped, loudly.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use support::lab::{Besides, Lab, events_at};
use support::{User, copy_of, each_user, say, shared_file, skip, text};

/// The host that a row may reach, and those it may not, which serve the same.
const ALLOWED: &str = "www.lab.example";
const OTHERS: [&str; 2] = ["other.lab.example", "11.1.0.3"];

/// A way to reach the destination, compared with none at all.
struct Way {
    title: &'static str,
    /// What a launch is given besides its destination.
    options: &'static [&'static str],
    /// Whether a program cannot tell it from none by what goes wrong either.
    transparent: bool,
}

static WAYS: &[Way] = &[
    Way {
        title: "relay",
        options: &[],
        transparent: true,
    },
    Way {
        title: "--egress direct",
        options: &["--egress", "direct"],
        transparent: true,
    },
    // For those that know of proxies. They say so in their complaints.
    Way {
        title: "--proxy-env",
        options: &["--proxy-env"],
        transparent: false,
    },
];

impl Way {
    /// Whether a program that says so takes it.
    fn carries(&self, says: Says) -> bool {
        self.transparent || says == Says::Http
    }
}

/// Where a refusal comes at once, as far as a busy machine knows the word: no program here gives up by itself
/// so soon.
const AT_ONCE: Duration = Duration::from_secs(15);

/// What a program says to its server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// TLS or HTTP, which `--inspect` understands.
    Http,
    /// Something else, to a host by name or by address.
    Other,
    /// It asks for the name alone.
    Name,
}

/// A program, and a script that has it fetch something from `$HOST`.
struct Program {
    title: &'static str,
    /// What has to be installed for the script: programs, or `import MODULE` of Python's.
    needs: &'static [&'static str],
    /// The server of the lab.
    server: &'static str,
    /// Protocol and ports for `--allow`.
    protocol: &'static str,
    port: u16,
    says: Says,
    /// What the script prints somewhere if it got what it wanted.
    expected: &'static str,
    /// For bash, in a directory of its own. [`run`] names the variables.
    script: &'static str,
}

/// A table of programs, and one test a row.
macro_rules! programs {
    ($($name:ident: $title:literal, $needs:expr, $server:literal $protocol:literal $port:literal, $says:ident,
        $expected:literal, $script:expr;)*) => {
        static PROGRAMS: &[Program] = &[$(Program {
            title: $title,
            needs: &$needs,
            server: $server,
            protocol: $protocol,
            port: $port,
            says: Says::$says,
            expected: $expected,
            script: $script,
        },)*];
        $(#[test]
        fn $name() {
            let row = PROGRAMS.iter().find(|row| row.title == $title);
            as_bare_and_refused_elsewhere(stringify!($name), row.expect("it is one of them"));
        })*
    };
}

programs! {
    curl_over_http_1: "curl, HTTP/1.1 over TLS", ["curl"], "nginx" "tcp" 443, Http, "HTTP/1.1",
        "curl -sS --http1.1 --cacert ca.pem https://$HOST/protocol";
    curl_over_http_2: "curl, HTTP/2", ["curl"], "nginx" "tcp" 443, Http, "HTTP/2.0",
        "curl -sS --http2 --cacert ca.pem https://$HOST/protocol";
    curl_without_tls: "curl, plain HTTP, with a redirection", ["curl"], "nginx" "tcp" 80, Http, "page of the lab",
        "curl -sSfL http://$HOST/moved";
    wget: "wget", ["wget"], "nginx" "tcp" 443, Http, "page of the lab",
        "wget -q --tries=1 --ca-certificate=ca.pem -O - https://$HOST/page";
    git_over_https: "git clone, https", ["git"], "nginx" "tcp" 443, Http, "from the registry",
        "git -c http.sslCAInfo=$PWD/ca.pem clone -q https://$HOST/repo.git clone
        cat clone/README && git -C clone rev-parse HEAD";
    git_over_ssh: "git clone, ssh", ["git", "ssh"], "sshd" "tcp" 22, Other, "from the registry",
        "GIT_SSH_COMMAND=\"ssh $SSH\" git clone -q \"$LOGIN@$HOST:$REPOSITORY\" clone
        cat clone/README && git -C clone rev-parse HEAD";
    ssh: "ssh", ["ssh"], "sshd" "tcp" 22, Other, "42",
        "ssh $SSH $LOGIN@$HOST 'echo $((6*7))'";
    scp: "scp", ["scp"], "sshd" "tcp" 22, Other, "from the registry",
        "scp -q $SSH $LOGIN@$HOST:${REPOSITORY%/*}/work/README copy && cat copy";
    psql: "psql", ["psql"], "postgres" "tcp" 5432, Other, "42|lab",
        "psql -h $HOST -U lab -d postgres -Atc 'select 6*7, current_user'";
    redis_cli: "redis-cli", ["redis-cli"], "redis" "tcp" 6379, Other, "PONG",
        "redis-cli -e -h $HOST ping";
    pip: "pip install", ["pip3"], "nginx" "tcp" 443, Http, "from the registry",
        "/usr/bin/python3 -m pip -q install --isolated --index-url https://$HOST/simple --cert ca.pem --target . \
            --no-cache-dir --retries 0 --disable-pip-version-check --no-deps --root-user-action=ignore labpkg &&
        /usr/bin/python3 -c 'import labpkg; print(labpkg.WORD)'";
    npm: "npm install", ["npm"], "nginx" "tcp" 443, Http, "from the registry",
        "npm install --silent --registry https://$HOST/npm/ --cafile ca.pem --fetch-retries=0 --cache ./cache \
            --no-audit --no-fund --no-update-notifier labpkg >&2 &&
        node -p 'require(\"labpkg\")'";
    cargo: "cargo fetch", ["cargo"], "nginx" "tcp" 443, Http, "from the registry",
        "mkdir -p src .cargo && echo 'fn main() {}' >src/main.rs &&
        printf '[package]\\nname=\"tried\"\\nversion=\"1.0.0\"\\n[dependencies]\\nlabpkg=\"1\"\\n' >Cargo.toml &&
        printf '[source.crates-io]\\nreplace-with=\"lab\"\\n[source.lab]\\nregistry=\"sparse+https://%s/index/\"\\n' \
            $HOST >.cargo/config.toml &&
        CARGO_HOME=$PWD/home CARGO_NET_RETRY=0 CARGO_HTTP_CAINFO=$PWD/ca.pem cargo -q fetch &&
        cat home/registry/src/*/labpkg-1.0.0/src/lib.rs";
    apt: "apt-get update and download", ["apt-get", "dpkg-deb"], "nginx" "tcp" 443, Http, "from the registry",
        "mkdir -p lists/partial cache/archives/partial state && : >state/status &&
        echo \"deb [trusted=yes] https://$HOST/deb ./\" >sources.list &&
        get() { apt-get -qq -o Dir::Etc::SourceList=$PWD/sources.list -o Dir::Etc::SourceParts=/none \
            -o Dir::State=$PWD/state -o Dir::State::Lists=$PWD/lists -o Dir::State::Status=$PWD/state/status \
            -o Dir::Cache=$PWD/cache -o Acquire::Retries=0 -o Acquire::https::CaInfo=$PWD/ca.pem \
            -o APT::Update::Error-Mode=any -o APT::Sandbox::User=$(id -un) \"$@\"; } &&
        get update && get download labpkg && dpkg-deb -f labpkg_1.0_all.deb Description";
    go: "Go's net/http, its own resolver", ["fetch-go"], "nginx" "tcp" 443, Http, "page of the lab",
        "SSL_CERT_FILE=$PWD/ca.pem GODEBUG=netdns=go $TOOLS/fetch-go https://$HOST/page";
    java: "Java's HttpClient, HTTP/2", ["java", "javac"], "nginx" "tcp" 443, Http, "HTTP_2 page of the lab",
        "java -XX:-UsePerfData -XX:TieredStopAtLevel=1 -cp $TOOLS Fetch https://$HOST/page";
    node: "Node's fetch", ["node"], "nginx" "tcp" 443, Http, "page of the lab",
        "NODE_EXTRA_CA_CERTS=ca.pem node -e 'fetch(`https://${process.env.HOST}/page`)
            .then(r => r.text()).then(t => process.stdout.write(t))'";
    urllib: "Python's urllib", ["python3"], "nginx" "tcp" 443, Http, "page of the lab",
        "SSL_CERT_FILE=ca.pem /usr/bin/python3 -c 'import os, urllib.request as u
print(u.urlopen(\"https://%s/page\" % os.environ[\"HOST\"]).read().decode())'";
    requests: "Python's requests", ["import requests"], "nginx" "tcp" 443, Http, "page of the lab",
        "REQUESTS_CA_BUNDLE=ca.pem /usr/bin/python3 -c 'import os, requests
print(requests.get(\"https://%s/page\" % os.environ[\"HOST\"]).text)'";
    asyncio: "Python's asyncio, 50 connections at once", ["python3"], "nginx" "tcp" 443, Http, "50 page of the lab",
        "SSL_CERT_FILE=ca.pem /usr/bin/python3 -c '
import asyncio, os, ssl
async def page(host, context):
    reader, writer = await asyncio.open_connection(host, 443, ssl=context)
    writer.write(b\"GET /page HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n\" % host.encode())
    return (await reader.read()).split(b\"\\r\\n\\r\\n\")[1]
async def main():
    context = ssl.create_default_context()
    pages = await asyncio.gather(*(page(os.environ[\"HOST\"], context) for _ in range(50)))
    print(len(pages), set(pages).pop().decode())
asyncio.run(main())'";
    aria2: "aria2, 8 connections for one file", ["aria2c"], "nginx" "tcp" 443, Http, "  big",
        "aria2c -q -x8 -s8 -k1M --max-tries=1 --ca-certificate=ca.pem https://$HOST/big && sha256sum big";
    static_musl: "a static program of musl's", ["fetch-musl"], "nginx" "tcp" 80, Http, "page of the lab",
        "$TOOLS/fetch-musl $HOST";
    epoll_before_connect: "a descriptor in an epoll set before connect", ["fetch"], "nginx" "tcp" 80, Http,
        "page of the lab",
        "$TOOLS/fetch -e $HOST";
    io_uring: "a program of io_uring's, which falls back", ["fetch-uring"], "nginx" "tcp" 80, Http, "page of the lab",
        "$TOOLS/fetch-uring -u $HOST 2>said; e=$?; grep -v ring said; exit $e";
    dig_over_udp: "dig", ["dig"], "names" "tcp" 80, Name, "status: NOERROR",
        "dig +tries=1 $HOST A | grep -o 'status: NOERROR'";
    dig_over_tcp: "dig +tcp", ["dig"], "names" "tcp" 80, Name, "status: NOERROR",
        "dig +tcp +tries=1 $HOST A | grep -o 'status: NOERROR'";
    sntp: "SNTP, by UDP", ["python3"], "ntp" "udp" 123, Other, "2023-08-02",
        "/usr/bin/python3 -c 'import datetime, os, socket, struct
family, kind, _, _, to = socket.getaddrinfo(os.environ[\"HOST\"], 123, type=socket.SOCK_DGRAM)[0]
s = socket.socket(family, kind)
s.settimeout(20)
s.connect(to)
s.send(b\"\\x23\" + bytes(47))
seconds, = struct.unpack(\">I\", s.recv(48)[40:44])
print(datetime.datetime.utcfromtimestamp(seconds - 2208988800))'";
}

/// What has to fail the same, or as differently as is said: script, and what each says.
struct Failure {
    title: &'static str,
    needs: &'static [&'static str],
    server: &'static str,
    port: u16,
    script: &'static str,
    bare: &'static str,
    /// `None`: the very same output and status.
    /// Several, of which one must come, are parted by " or ".
    inside: Option<&'static str>,
}

static FAILURES: &[Failure] = &[
    Failure {
        title: "curl: 404",
        needs: &["curl"],
        server: "nginx",
        port: 443,
        script: "curl -sSf --cacert ca.pem https://$HOST/missing",
        bare: "The requested URL returned error: 404",
        inside: None,
    },
    Failure {
        title: "curl: a certificate by nobody known",
        needs: &["curl"],
        server: "nginx",
        port: 443,
        script: "curl -sS https://$HOST/page",
        bare: "SSL certificate problem: unable to get local issuer certificate",
        inside: None,
    },
    Failure {
        title: "curl: a certificate for another name",
        needs: &["curl"],
        server: "nginx",
        port: 443,
        script: "curl -sS --cacert ca.pem --connect-to evil.example:443:$HOST:443 https://evil.example/",
        bare: "SSL: no alternative certificate subject name matches target host name 'evil.example'",
        inside: None,
    },
    Failure {
        title: "curl: no such name",
        needs: &["curl"],
        server: "nginx",
        port: 443,
        script: "curl -sS https://nowhere.lab.example/",
        bare: "Could not resolve host: nowhere.lab.example",
        inside: None,
    },
    Failure {
        title: "curl: a server that resets",
        needs: &["curl"],
        server: "nginx",
        port: 101,
        script: "curl -sS http://$HOST:101/",
        bare: "Recv failure: Connection reset by peer",
        inside: None,
    },
    Failure {
        title: "curl: nobody listens at an allowed port",
        needs: &["curl"],
        server: "nginx",
        port: 1,
        script: "curl -sS http://$HOST:1/ 2>&1 | sed 's/ after [0-9]* ms//'",
        bare: "Failed to connect to www.lab.example port 1: Couldn't connect to server",
        // The reset comes after the connection, or so soon after that curl takes it for a failed one.
        inside: Some("Recv failure: Connection reset by peer or Couldn't connect to server"),
    },
    Failure {
        title: "wget: 403",
        needs: &["wget"],
        server: "nginx",
        port: 443,
        script: "wget -q -S --tries=1 --ca-certificate=ca.pem https://$HOST/secret 2>&1 | sed -n 1p; exit ${PIPESTATUS[0]}",
        bare: "403 Forbidden",
        inside: None,
    },
    Failure {
        title: "git: no such repository",
        needs: &["git"],
        server: "nginx",
        port: 443,
        script: "git -c http.sslCAInfo=$PWD/ca.pem clone -q https://$HOST/none.git",
        bare: "repository 'https://www.lab.example/none.git/' not found",
        inside: None,
    },
    Failure {
        title: "ssh: a key that is not known",
        needs: &["ssh"],
        server: "sshd",
        port: 22,
        script: "ssh-keygen -q -t ed25519 -N '' -f other && ssh ${SSH/key/other} $LOGIN@$HOST true",
        bare: "Permission denied (publickey",
        inside: None,
    },
    Failure {
        title: "psql: no such database",
        needs: &["psql"],
        server: "postgres",
        port: 5432,
        script: "psql -h $HOST -U lab -d none -c 'select 1' 2>&1 | sed 's/([^)]*), port/port/'; exit ${PIPESTATUS[0]}",
        bare: "FATAL:  database \"none\" does not exist",
        inside: None,
    },
    Failure {
        title: "redis-cli: no such command",
        needs: &["redis-cli"],
        server: "redis",
        port: 6379,
        script: "redis-cli -e -h $HOST nonsense",
        bare: "ERR unknown command",
        inside: None,
    },
    Failure {
        title: "pip: no such package",
        needs: &["pip3"],
        server: "nginx",
        port: 443,
        script: "/usr/bin/python3 -m pip -q install --isolated --index-url https://$HOST/simple --cert ca.pem \
            --target . --no-cache-dir --retries 0 --disable-pip-version-check --root-user-action=ignore none",
        bare: "No matching distribution found for none",
        inside: None,
    },
    Failure {
        title: "npm: no such package",
        needs: &["npm"],
        server: "nginx",
        port: 443,
        script: "npm view --registry https://$HOST/npm/ --cafile ca.pem --fetch-retries=0 --cache ./cache \
            --no-update-notifier none 2>&1 | grep -v -e _logs -e 'complete log'; exit ${PIPESTATUS[0]}",
        bare: "404 Not Found",
        inside: None,
    },
];

/// The lab with real servers: one for all tests of this binary.
fn lab() -> Option<&'static Lab> {
    static LAB: OnceLock<Option<Lab>> = OnceLock::new();
    LAB.get_or_init(|| Lab::start(Besides::RealServers))
        .as_ref()
}

const GO: &str = r#"package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	response, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	io.Copy(os.Stdout, response.Body)
}
"#;

const JAVA: &str = r#"
import java.io.FileInputStream;
import java.net.URI;
import java.net.http.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import javax.net.ssl.*;

class Fetch {
    public static void main(String[] arguments) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var file = new FileInputStream("ca.pem")) {
            store.setCertificateEntry("lab", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        HttpClient client = HttpClient.newBuilder().sslContext(context).build();
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
        var response = client.send(request, HttpResponse.BodyHandlers.ofString());
        System.out.print(response.version() + " " + response.body());
        System.exit(0);
    }
}
"#;

/// Programs of our own that are built here, as far as there is what builds them; every user can read them.
fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let here = tempfile::tempdir().expect("a directory can be made");
        let source = here.path().join("fetch.c");
        fs::copy(shared_file("tests/egress/fetch.c"), &source).expect("it can be read");
        fs::create_dir(here.path().join("go")).expect("it is empty");
        fs::write(here.path().join("go/fetch.go"), GO).expect("it is empty");
        fs::write(here.path().join("Fetch.java"), JAVA).expect("it is empty");
        let builds = [
            "cc -O1 -o fetch fetch.c",
            "musl-gcc -static -O1 -o fetch-musl fetch.c",
            "cc -O1 -DURING -o fetch-uring fetch.c -luring",
            "javac Fetch.java",
            "CGO_ENABLED=0 GO111MODULE=off go build -o fetch-go go/fetch.go",
        ];
        let running = builds.map(|build| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("{build} >build.log 2>&1")]);
            command
                .current_dir(here.path())
                .spawn()
                .expect("there is a shell")
        });
        for mut build in running {
            // What could not be built is missed by whoever needs it.
            let _ = build.wait();
        }
        let mut place = PathBuf::new();
        for file in [
            "fetch",
            "fetch-musl",
            "fetch-uring",
            "Fetch.class",
            "fetch-go",
        ] {
            let built = here.path().join(file);
            if built.exists() {
                let copy = copy_of(&built, file);
                // Together, for one variable; each may be of another build.
                place = copy
                    .parent()
                    .and_then(Path::parent)
                    .expect("two above")
                    .join("fetch-tools");
                fs::create_dir_all(&place).expect("it is ours");
                fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).expect("it is ours");
                let partial = place.join(format!("{file}.{}", std::process::id()));
                fs::copy(&copy, &partial).expect("there is room");
                fs::rename(&partial, place.join(file)).expect("within one directory");
            }
        }
        place
    })
}

/// Where programs are: the tool chain that builds this lies elsewhere than the rest.
fn search_path() -> String {
    let cargo = Path::new(env!("CARGO"))
        .parent()
        .expect("it is in a directory");
    format!(
        "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:{}",
        cargo.display()
    )
}

/// Whether `user` has what a script needs; says so if not.
fn available(user: &User, needs: &[&str]) -> bool {
    needs.iter().all(|need| {
        let script = match need.strip_prefix("import ") {
            Some(_) => format!("/usr/bin/python3 -c '{need}'"),
            None if need.starts_with("fetch") => format!("test -x {}/{need}", tools().display()),
            // Some are scripts that find their tool chain only for whom it was installed.
            None => format!("p=$(command -v {need}) && test -r $p"),
        };
        let mut command = user.command("/bin/bash");
        let output = command
            .args(["-c", &script])
            .env("PATH", search_path())
            .output();
        let found = output.is_ok_and(|output| output.status.success());
        if !found {
            skip(need, &format!("not installed for {}", user.name));
        }
        found
    })
}

/// An empty directory of `user`'s own with what clients of the lab need.
fn workplace(lab: &Lab, user: &User, name: &str) -> PathBuf {
    let place = user.home.join(format!("egress-{name}"));
    if place.exists() {
        fs::remove_dir_all(&place).expect("it is the test's own");
    }
    fs::create_dir_all(&place).expect("a directory can be made");
    for file in fs::read_dir(lab.for_clients()).expect("the lab has made it") {
        let file = file.expect("it can be read");
        let copy = place.join(file.file_name());
        fs::copy(file.path(), &copy).expect("it can be read");
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).expect("ours");
        chown(&copy, Some(user.uid), Some(user.gid)).expect("ours, or root gives it away");
    }
    chown(&place, Some(user.uid), Some(user.gid)).expect("ours, or root gives it away");
    place
}

const EVENTS: &str = "events.json";

/// `script` in a new `place` of that name, for `host`: bare, or with `options` in a sandbox.
fn run(
    lab: &Lab,
    user: &User,
    name: &str,
    host: &str,
    options: Option<&[&str]>,
    script: &str,
) -> Output {
    let place = workplace(lab, user, name);
    let login = fs::read_to_string(place.join("user")).unwrap_or_default();
    let mut command = match options {
        None => lab.command_in(&place, user, "/bin/bash"),
        Some(options) => {
            let mut command = lab.command_in(&place, user, &user.sandbox.display().to_string());
            command
                .args(options)
                .args(["--events", EVENTS, "--", "/bin/bash"]);
            command
        }
    };
    let tools = if script.contains("$TOOLS") {
        tools()
    } else {
        Path::new("")
    };
    let ssh = "-F none -i key -o UserKnownHostsFile=known_hosts -o BatchMode=yes -o IdentitiesOnly=yes \
        -o GlobalKnownHostsFile=none -o UpdateHostKeys=no";
    command
        .args(["-c", script])
        // Proxies, certificates and the like of whoever runs the tests.
        .env_clear()
        .env("PATH", search_path())
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", &place)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("HOST", host)
        .env("TOOLS", tools)
        .env("SSH", ssh)
        .env("LOGIN", login)
        .env("REPOSITORY", lab.for_clients().with_file_name("repo.git"))
        .output()
        .expect("nsenter can be started")
}

/// The row's script does as it does bare where it may, and fails at once where it may not.
fn as_bare_and_refused_elsewhere(name: &str, row: &Program) {
    let Some(lab) = lab() else { return };
    if !lab.serves(row.server) {
        return;
    }
    each_user(|user| {
        if !available(user, row.needs) {
            return;
        }
        let allow = format!("{}://{ALLOWED}:{}", row.protocol, row.port);
        let bare = run(lab, user, name, ALLOWED, None, row.script);
        let shown = text(&bare.stdout);
        assert!(
            bare.status.success() && shown.contains(row.expected),
            "as {}, bare: {bare:?}",
            user.name
        );
        for way in WAYS.iter().filter(|way| way.carries(row.says)) {
            let mut options = [&["-q", "--allow", &allow], way.options].concat();
            let inside = run(lab, user, name, ALLOWED, Some(&options), row.script);
            let about = format!("as {}, {}", user.name, way.title);
            same(&about, way, &bare, &inside);
            if row.says == Says::Http && way.transparent {
                options.push("--inspect");
                let inside = run(lab, user, name, ALLOWED, Some(&options), row.script);
                same(&format!("{about}, inspected"), way, &bare, &inside);
            }
        }
        for other in OTHERS {
            if row.says == Says::Name && other != OTHERS[0] {
                continue;
            }
            // The control: it is there for whom nothing holds.
            let bare = run(lab, user, name, other, None, row.script);
            assert!(
                bare.status.success(),
                "as {}, bare, {other}: {bare:?}",
                user.name
            );
            for way in WAYS.iter().filter(|way| way.carries(row.says)) {
                let options = [&["--allow", &allow], way.options].concat();
                let began = Instant::now();
                let inside = run(lab, user, name, other, Some(&options), row.script);
                let took = began.elapsed();
                let about = format!("as {}, {}, {other}: {inside:?}", user.name, way.title);
                assert!(!inside.status.success(), "{about}");
                assert!(!text(&inside.stdout).contains(row.expected), "{about}");
                assert!(took < AT_ONCE, "{took:?}: {about}");
                let place = user.home.join(format!("egress-{name}"));
                let events = events_at(&place.join(EVENTS), &inside);
                let told = events.iter().any(|event| {
                    event["verdict"] == "refused"
                        && event["destination"]
                            .as_str()
                            .is_some_and(|destination| destination.starts_with(other))
                });
                assert!(told, "{about}: {events:?}");
            }
        }
        let _ = fs::remove_dir_all(user.home.join(format!("egress-{name}")));
    });
}

/// The same output and status; where the way is transparent, the same complaints too.
#[track_caller]
fn same(about: &str, way: &Way, bare: &Output, inside: &Output) {
    assert_eq!(
        (inside.status.code(), text(&inside.stdout)),
        (bare.status.code(), text(&bare.stdout)),
        "{about}: {}",
        text(&inside.stderr)
    );
    if way.transparent {
        assert_eq!(text(&inside.stderr), text(&bare.stderr), "{about}");
    }
}

#[test]
fn what_fails_bare_fails_the_same_inside() {
    let Some(lab) = lab() else { return };
    each_user(|user| {
        for (number, row) in FAILURES.iter().enumerate() {
            if !lab.serves(row.server) || !available(user, row.needs) {
                continue;
            }
            let name = format!("failure-{number}");
            let allow = format!("{ALLOWED}:{}", row.port);
            let bare = run(lab, user, &name, ALLOWED, None, row.script);
            let said = text(&bare.stdout) + &text(&bare.stderr);
            assert!(said.contains(row.bare), "{}, bare: {said}", row.title);
            for way in WAYS.iter().filter(|way| way.transparent) {
                let about = format!("{} as {}, {}", row.title, user.name, way.title);
                let options = [&["-q", "--allow", &allow], way.options].concat();
                let inside = run(lab, user, &name, ALLOWED, Some(&options), row.script);
                match row.inside {
                    None => same(&about, way, &bare, &inside),
                    Some(expected) => {
                        let said = text(&inside.stdout) + &text(&inside.stderr);
                        let mut any = expected.split(" or ");
                        assert!(any.any(|one| said.contains(one)), "{about}: {said}");
                    }
                }
            }
            let _ = fs::remove_dir_all(user.home.join(format!("egress-{name}")));
        }
    });
}

#[test]
fn another_host_behind_an_allowed_ones_address_is_reached_unless_inspected() {
    let Some(lab) = lab() else { return };
    if !lab.serves("nginx") {
        return;
    }
    // Both names have the same address and server; the hello, or the request, says which is meant.
    let scripts = [
        "curl -sS --cacert ca.pem --connect-to other.lab.example:443:$HOST:443 https://other.lab.example/protocol",
        "curl -sS -H 'Host: other.lab.example' http://$HOST/protocol",
    ];
    each_user(|user| {
        if !available(user, &["curl"]) {
            return;
        }
        for script in scripts {
            let options = ["-q", "--allow", "www.lab.example:80,443"];
            let output = run(lab, user, "fronting", ALLOWED, Some(&options), script);
            let said = text(&output.stdout);
            assert!(
                said.ends_with(" other.lab.example"),
                "as {}: {output:?}",
                user.name
            );
            let options = [&options[..], &["--inspect"]].concat();
            let output = run(lab, user, "fronting", ALLOWED, Some(&options), script);
            let said = text(&output.stdout);
            assert!(!said.contains("other"), "as {}: {output:?}", user.name);
            let events = events_at(&user.home.join("egress-fronting").join(EVENTS), &output);
            let refused = events.iter().filter(|event| event["verdict"] == "refused");
            assert_eq!(refused.count(), 1, "as {}: {events:?}", user.name);
        }
        let _ = fs::remove_dir_all(user.home.join("egress-fronting"));
    });
}

/// The tables of `docs/egress.md`, as the rows of this file say.
fn tables() -> String {
    let mut page = String::from("| program | server | ");
    for way in WAYS {
        page += &format!("`{}` | ", way.title);
    }
    page += "elsewhere |\n| --- | --- |";
    page += &" --- |".repeat(WAYS.len() + 1);
    page += "\n";
    for row in PROGRAMS {
        let server = match row.server {
            "names" => "any name server".to_owned(),
            server => format!("{server}, {} {}", row.protocol, row.port),
        };
        page += &format!("| {} | {server} |", row.title);
        for way in WAYS {
            page += match row.says {
                _ if !way.carries(row.says) => " – |",
                Says::Http if way.transparent => " as bare; so with `--inspect` |",
                Says::Http | Says::Other => " as bare |",
                Says::Name => " a stand-in address |",
            };
        }
        page += " refused at once |\n";
    }
    page += "\n| failure | bare | inside |\n| --- | --- | --- |\n";
    for row in FAILURES {
        let inside = row.inside.unwrap_or("the same, to the byte");
        page += &format!("| {} | {} | {inside} |\n", row.title, row.bare);
    }
    page
}

#[test]
fn the_tables_of_the_document_are_what_is_tried_here() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/egress.md");
    let page = fs::read_to_string(&path).expect("it is there");
    let (before, rest) = page
        .split_once("<!-- programs -->\n")
        .expect("it has a place for them");
    let (written, after) = rest
        .split_once("<!-- /programs -->\n")
        .expect("it has an end");
    if std::env::var_os("SANDBOX_BLESS").is_some_and(|value| value == "1") {
        let page = format!(
            "{before}<!-- programs -->\n{}<!-- /programs -->\n{after}",
            tables()
        );
        fs::write(&path, page).expect("it can be written");
        say("docs/egress.md was written anew");
        return;
    }
    assert_eq!(written, tables(), "SANDBOX_BLESS=1 writes it anew");
}
