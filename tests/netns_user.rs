//! `sandbox netns` without root: names in the user's own directory, kept by a small process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use support::{User, have, skip, success, text, users, with_a_limit_of_network_namespaces};

/// An ordinary user with a run-time directory that no other test has.
struct Ordinary {
    user: &'static User,
    runtime: PathBuf,
}

impl Ordinary {
    fn new(name: &str) -> Option<Self> {
        let Some(user) = users().iter().find(|user| !user.is_root()) else {
            skip(name, "there is no ordinary user here");
            return None;
        };
        let runtime = user.home.join(format!("run-{name}"));
        let _ = fs::remove_dir_all(&runtime);
        fs::create_dir_all(&runtime).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&runtime, Some(user.uid), Some(user.gid)).unwrap();
        let found = Self { user, runtime };
        let made = found.netns(&["add", "probe"]);
        if !made.status.success() && text(&made.stderr).contains("user namespace") {
            skip(name, &text(&made.stderr));
            return None;
        }
        success(user, &made);
        success(user, &found.netns(&["delete", "probe"]));
        Some(found)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.user.sandbox(arguments);
        command.env("XDG_RUNTIME_DIR", &self.runtime);
        command
    }

    fn netns(&self, arguments: &[&str]) -> Output {
        self.command(&[&["netns"], arguments].concat())
            .output()
            .unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        success(self.user, &self.netns(arguments))
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.netns(arguments);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}: {output:?}");
        text(&output.stderr)
    }

    fn socket(&self) -> PathBuf {
        self.runtime.join("sandbox/holder")
    }

    /// The process that keeps the names.
    fn holder(&self) -> Option<u32> {
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let wanted = format!("XDG_RUNTIME_DIR={}\0", self.runtime.display());
            let ours = environment
                .windows(wanted.len())
                .any(|window| window == wanted.as_bytes());
            (name == "sandbox-holder\n" && ours).then_some(pid)
        })
    }
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        if let Some(pid) = self.holder() {
            kill(pid);
        }
        let _ = fs::remove_dir_all(&self.runtime);
    }
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().unwrap());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

fn soon(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_ordinary_users_namespaces_are_joined_later_by_name() {
    let Some(one) = Ordinary::new("join") else {
        return;
    };
    one.done(&["add", "left", "right"]);
    let listed: serde_json::Value = serde_json::from_str(&one.done(&["list", "--json"])).unwrap();
    let own: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| {
            entry["path"]
                .as_str()
                .unwrap()
                .starts_with(one.runtime.to_str().unwrap())
        })
        .map(|entry| {
            (
                entry["name"].as_str().unwrap(),
                entry["state"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(own, [("left", "live"), ("right", "live")]);
    let number = |line: &[&str]| success(one.user, &one.command(line).output().unwrap());
    let by_exec = number(&[
        "netns",
        "exec",
        "left",
        "--",
        "readlink",
        "/proc/self/ns/net",
    ]);
    let by_net = number(&["--net", "ns:left", "--", "readlink", "/proc/self/ns/net"]);
    let right = number(&["--net", "ns:right", "--", "readlink", "/proc/self/ns/net"]);
    assert_eq!(by_exec, by_net);
    assert_ne!(by_net, right);
    let user = number(&["netns", "exec", "left", "--", "id", "-u"]);
    assert_eq!(user, one.user.uid.to_string());
}

#[test]
fn a_command_is_run_in_each_of_the_users_own() {
    let Some(one) = Ordinary::new("all") else {
        return;
    };
    one.done(&["add", "left", "right"]);
    let seen = |name: &str| {
        let line = ["exec", name, "-q", "--", "readlink", "/proc/self/ns/net"];
        one.done(&line)
    };
    let expected = format!(
        "==> left <==\n{}\n\n==> right <==\n{}",
        seen("left"),
        seen("right")
    );
    let line = ["exec", "--all", "-q", "--", "readlink", "/proc/self/ns/net"];
    assert_eq!(one.done(&line), expected);
}

/// The second of two is not started when the first one is interrupted, or its launcher killed.
#[test]
fn a_run_in_each_ends_with_a_signal_to_all_or_with_its_own_end() {
    let Some(one) = Ordinary::new("ended") else {
        return;
    };
    one.done(&["add", "left", "right"]);
    for (signal, status) in [
        (nix::sys::signal::Signal::SIGINT, Some(130)),
        (nix::sys::signal::Signal::SIGKILL, None),
    ] {
        let mark = one.user.home.join("all-mark");
        let _ = fs::remove_file(&mark);
        // Nobody else's.
        let idle = format!("sleep 86391.{}", std::process::id());
        let script = format!("echo x >>{}; exec {idle}", mark.display());
        let line = ["netns", "exec", "--all", "-q", "--", "sh", "-c", &script];
        // Whoever started this test may have had it ignored.
        let mut child = one
            .user
            .command("env")
            .arg("--default-signal=INT")
            .arg(&one.user.sandbox)
            .args(line)
            .env("XDG_RUNTIME_DIR", &one.runtime)
            .process_group(0)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let sleeps = || {
            let entries = fs::read_dir("/proc").unwrap().flatten();
            let lines =
                entries.map(|entry| fs::read(entry.path().join("cmdline")).unwrap_or_default());
            lines
                .filter(|line| line.starts_with(idle.replace(' ', "\0").as_bytes()))
                .count()
        };
        soon("it does not start", || sleeps() == 1);
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        match status {
            // As a terminal does: the whole group, of which the command is one too.
            Some(_) => nix::sys::signal::killpg(pid, signal).unwrap(),
            None => nix::sys::signal::kill(pid, signal).unwrap(),
        }
        assert_eq!(child.wait().unwrap().code(), status);
        soon("the command outlives it", || sleeps() == 0);
        assert_eq!(fs::read_to_string(&mark).unwrap(), "x\n");
    }
}

#[test]
fn a_full_limit_of_namespaces_is_told_and_leaves_no_name() {
    let Some(one) = Ordinary::new("limit") else {
        return;
    };
    if !have("unshare") || !have("setpriv") {
        return;
    }
    let Some(mut limited) = with_a_limit_of_network_namespaces(one.user, 1) else {
        return;
    };
    let output = limited
        .arg(&one.user.sandbox)
        .args(["netns", "add", "left", "right"])
        .env("XDG_RUNTIME_DIR", &one.runtime)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(
        text(&output.stderr),
        "sandbox: cannot make the network namespace right: No space left on device\n  \
         hint: the limit of network namespaces is reached: see user.max_net_namespaces (namespaces(7))"
    );
    let names = fs::read_dir(one.runtime.join("sandbox/netns")).unwrap();
    assert_eq!(names.count(), 0);
    soon("the holder stays", || one.holder().is_none());
}

#[test]
fn a_wire_joins_two_of_them_and_a_firewall_holds() {
    let Some(one) = Ordinary::new("wire") else {
        return;
    };
    one.done(&["add", "left", "right"]);
    one.done(&["veth", "left:veth0", "right:veth1", "--up"]);
    one.done(&["address", "add", "left", "veth0", "10.1.1.1/24"]);
    one.done(&["address", "add", "right", "veth1", "10.1.1.2/24"]);
    one.done(&["sysctl", "right", "net.ipv4.ip_forward=1"]);
    assert_eq!(
        one.done(&["sysctl", "right", "net.ipv4.ip_forward"]),
        "net.ipv4.ip_forward = 1"
    );
    if !have("python3") {
        return;
    }
    let server = "import socket; s = socket.create_server(('10.1.1.2', 80)); print('ready', flush=True); s.accept()";
    let mut listening = one
        .command(&[
            "netns",
            "exec",
            "right",
            "--unconfined",
            "--",
            "python3",
            "-c",
            server,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 5];
    std::io::Read::read_exact(listening.stdout.as_mut().unwrap(), &mut first).unwrap_or_default();
    let client = "import socket; socket.create_connection(('10.1.1.2', 80), 0.5)";
    let dial = || one.netns(&["exec", "left", "--", "python3", "-c", client]);
    if sandbox::netns::nft::program().is_some() {
        one.done(&["firewall", "set", "right", "drop input tcp 80"]);
        assert!(!dial().status.success());
        one.done(&["firewall", "clear", "right"]);
    }
    success(one.user, &dial());
    assert!(listening.wait().unwrap().success());
}

#[test]
fn the_holder_ends_with_the_last_name() {
    let Some(one) = Ordinary::new("last") else {
        return;
    };
    assert_eq!(one.holder(), None);
    one.done(&["add", "a"]);
    let holder = one.holder();
    assert!(holder.is_some());
    one.done(&["add", "b"]);
    assert_eq!(one.holder(), holder, "one holder keeps them all");
    one.done(&["delete", "a"]);
    one.done(&["show", "b"]);
    one.done(&["delete", "b"]);
    soon("the holder ends", || one.holder().is_none());
    assert!(!one.socket().exists());
}

#[test]
fn names_are_stale_after_a_crash_and_are_freed() {
    let Some(one) = Ordinary::new("crash") else {
        return;
    };
    one.done(&["add", "a", "b"]);
    kill(one.holder().unwrap());
    soon("it is gone", || one.holder().is_none());
    assert!(one.done(&["list"]).contains("a (stale: "));
    for line in [
        &["show", "a"][..],
        &["exec", "a", "--", "true"],
        &["add", "a"],
    ] {
        let said = one.refused(line);
        assert!(
            said.contains("its namespace has ended with the process that kept it"),
            "{said}"
        );
    }
    let joined = one
        .command(&["--net", "ns:a", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(joined.status.code(), Some(125), "{joined:?}");
    one.done(&["delete", "a"]);
    one.done(&["add", "a"]);
    one.done(&["show", "a"]);
    assert!(one.done(&["list"]).contains("b (stale: "));
    one.done(&["delete", "a", "b"]);
    assert_eq!(
        fs::read_dir(one.runtime.join("sandbox/netns"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn adders_at_once_share_one_holder_and_lose_no_name() {
    let Some(one) = Ordinary::new("adders") else {
        return;
    };
    let names: Vec<String> = (0..24).map(|number| format!("n{number}")).collect();
    let started: Vec<_> = names
        .iter()
        .map(|name| one.command(&["netns", "add", name]).spawn().unwrap())
        .collect();
    for mut adder in started {
        assert!(adder.wait().unwrap().success());
    }
    for name in &names {
        one.done(&["show", name]);
    }
    let started: Vec<_> = names
        .iter()
        .map(|name| one.command(&["netns", "delete", name]).spawn().unwrap())
        .collect();
    for mut deleter in started {
        assert!(deleter.wait().unwrap().success());
    }
    soon("the holder ends", || one.holder().is_none());
}

#[test]
fn the_holder_is_confined() {
    let Some(one) = Ordinary::new("confined") else {
        return;
    };
    one.done(&["add", "a"]);
    let pid = one.holder().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!(field("CapPrm:"), "0000000000000000");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    // Nothing of the caller's is open in it: three times /dev/null, its socket, the user namespace, "a".
    let open: Vec<PathBuf> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap())
        .collect();
    let null = open
        .iter()
        .filter(|path| *path == Path::new("/dev/null"))
        .count();
    let spaces = open
        .iter()
        .filter(|path| path.to_string_lossy().starts_with("user:["))
        .count();
    let nets = open
        .iter()
        .filter(|path| path.to_string_lossy().starts_with("net:["))
        .count();
    assert_eq!((null, nets), (3, 1), "{open:?}");
    assert!(spaces >= 1 && open.len() <= 8, "{open:?}");
}

#[test]
fn a_directory_that_others_may_enter_is_not_used() {
    let Some(one) = Ordinary::new("open") else {
        return;
    };
    let base = one.runtime.join("sandbox");
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
    let said = one.refused(&["add", "a"]);
    assert!(
        said.contains("a directory of your own that is closed to others"),
        "{said}"
    );
}

#[test]
fn another_user_joins_none_of_them() {
    let Some(one) = Ordinary::new("other") else {
        return;
    };
    if !users().iter().any(User::is_root) {
        skip("other", "only root can be another user here");
        return;
    }
    one.done(&["add", "a"]);
    let nobody = 65_534;
    let dialled = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&one.user.sandbox)
        .args(["--net", "ns:a", "--", "true"])
        .env("XDG_RUNTIME_DIR", &one.runtime)
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(dialled.status.code(), Some(125), "as {nobody}: {dialled:?}");
    success(
        one.user,
        &one.command(&["--net", "ns:a", "--", "true"])
            .output()
            .unwrap(),
    );
}

#[test]
fn who_made_the_directory_first_gives_no_namespaces() {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept, bind, listen, socket,
    };
    use std::os::fd::AsRawFd;

    let Some(one) = Ordinary::new("first") else {
        return;
    };
    if !users().iter().any(User::is_root) {
        skip("first", "only root can be another user here");
        return;
    }
    // As in /tmp, where anybody may be the first.
    let base = one.runtime.join("sandbox");
    fs::remove_dir_all(&base).unwrap();
    fs::create_dir_all(base.join("netns")).unwrap();
    fs::write(base.join("netns/a"), "").unwrap();
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fake = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    let path = base.join("holder");
    bind(fake.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&fake, Backlog::new(5).unwrap()).unwrap();
    for path in [base.join("netns"), path] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let said = one.refused(&["exec", "a", "--", "true"]);
    assert!(
        said.contains("a directory of your own that is closed to others"),
        "{said}"
    );
    let joined = one.command(&["--net", "ns:a", "--", "true"]).output();
    assert_eq!(joined.unwrap().status.code(), Some(125));
    assert_eq!(accept(fake.as_raw_fd()), Err(nix::errno::Errno::EAGAIN));
}
