//! A real systemd: process 1 of namespaces of its own, in a user namespace, where it can reach neither the
//! host's manager nor anything else that is the host's root's.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::broker::{PATIENCE, connect};
use super::{User, have, skip, text};

const MANAGER: &str = "/usr/lib/systemd/systemd";

/// Host ids that nobody else has: the manager's root is the first of them.
const FIRST_ID: u32 = 1_000_000;
const IDS: u32 = 65_536;

/// From the new namespaces to the manager: nothing of the host is writable, and what the manager says goes to a
/// file. `$1` is the directory of units, `$2` the manager.
const BOOT: &str = r#"
set -e
mount -o remount,bind,ro /
mount -t tmpfs none /run
mount -t proc none /proc
mount -t cgroup2 none /sys/fs/cgroup
: > /run/said
mount --bind /run/said /dev/kmsg
mount --bind /dev/null /dev/console
export container=sandbox-test SYSTEMD_UNIT_PATH="$1"
exec "$2" --log-target=kmsg --show-status=no
"#;

/// What any manager needs, where all units are a test's own.
const TARGETS: [&str; 5] = ["sysinit", "basic", "sockets", "shutdown", "multi-user"];

/// A manager that runs. It ends, with all that it has started, when it is dropped or this process ends.
pub(crate) struct Manager {
    /// Keeps the user namespace until the manager is in it.
    holder: Child,
    child: Child,
    group: PathBuf,
    units: PathBuf,
}

impl Manager {
    /// Start one that knows `units`, by name and text, and has started none of them; `None`, and a line that
    /// says so, where it cannot be had.
    #[track_caller]
    pub(crate) fn boot(user: &User, units: &[(&str, String)]) -> Option<Self> {
        if !["nsenter", "unshare", "setpriv", "mount", "systemctl"]
            .iter()
            .all(|program| have(program))
        {
            return None;
        }
        let cannot = |reason: &str| {
            skip("systemd", reason);
            None
        };
        if !user.is_root() {
            return cannot("only root can map the ids that it needs");
        }
        if !Path::new(MANAGER).is_file() {
            return cannot("it is not installed");
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("units-{}-{count}", std::process::id());
        let Some(group) = make_group(&name) else {
            return cannot("no version 2 hierarchy of control groups is to be had");
        };
        let place = user.home.join(name);
        write_units(&place, units);
        let Some(holder) = hold_namespace() else {
            let _ = fs::remove_dir(&group);
            return cannot("no user namespace with more than one id can be made");
        };
        let enter = "echo $$ > \"$1/cgroup.procs\"; shift; exec \"$@\"";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", enter, "sh"]).arg(&group);
        command.args(["nsenter", "--user", "--setuid=0", "--setgid=0"]);
        command.arg(format!("--target={}", holder.id()));
        command.args(["setpriv", "--pdeathsig=KILL", "unshare", "--kill-child"]);
        command.args(["--mount", "--pid", "--cgroup", "--ipc", "--uts", "--net"]);
        command.args(["--fork", "/bin/sh", "-c", BOOT, "sh"]);
        command.arg(&place).arg(MANAGER);
        let errors = File::create(place.join("errors")).expect("it is ours");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn();
        let mut manager = Self {
            holder,
            child: child.expect("a shell can be started"),
            group,
            units: place,
        };
        match manager.wait_until_it_is_up() {
            Ok(()) => Some(manager),
            Err(said) => cannot(&format!("it does not start here: {said}")),
        }
    }

    fn wait_until_it_is_up(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(_)) = self.child.try_wait() {
                let errors = fs::read(self.units.join("errors")).unwrap_or_default();
                return Err(text(&errors));
            }
            if self.pid().is_some() && self.is("default.target", "active") {
                return Ok(());
            }
            thread::yield_now();
        }
        Err(self.said())
    }

    /// The manager's pid outside.
    fn pid(&self) -> Option<i32> {
        let parent = self.child.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        children.ok()?.split_whitespace().next()?.parse().ok()
    }

    /// `program`, beside what the manager starts, as root there.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        if let Some(pid) = self.pid() {
            command.arg(format!("--target={pid}"));
        }
        command.args(["--user", "--mount", "--pid", "--net", "--setuid=0"]);
        command.args(["--setgid=0", program]).stdin(Stdio::null());
        command
    }

    /// What systemctl(1) with `words` says.
    pub(crate) fn systemctl(&self, words: &[&str]) -> Output {
        let mut command = self.command("systemctl");
        command.args(words).output().expect("it can be started")
    }

    /// Have systemctl(1) do `words`.
    #[track_caller]
    pub(crate) fn done(&self, words: &[&str]) -> String {
        let output = self.systemctl(words);
        let errors = text(&output.stderr);
        assert!(
            output.status.success(),
            "{words:?}: {errors}\n{}",
            self.said()
        );
        text(&output.stdout)
    }

    /// Whether `unit` is in `state`.
    pub(crate) fn is(&self, unit: &str, state: &str) -> bool {
        text(&self.systemctl(&["is-active", unit]).stdout) == state
    }

    /// What systemctl(1) shows as `property` of `unit`.
    #[track_caller]
    pub(crate) fn show(&self, unit: &str, property: &str) -> String {
        self.done(&["show", "--value", "--property", property, unit])
    }

    /// A connection to `port` on the loopback of what the manager starts.
    #[track_caller]
    pub(crate) fn connect(&self, port: u16) -> TcpStream {
        let pid = self.pid().expect("it runs");
        let network = File::open(format!("/proc/{pid}/ns/net")).expect("it runs");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // A thread of its own enters, and ends; the socket stays where it was made.
        let entered = thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter");
            connect(address)
        });
        entered
            .join()
            .unwrap_or_else(|_| panic!("nothing listens: {}", self.said()))
    }

    /// All that the manager and what it has started have said.
    pub(crate) fn said(&self) -> String {
        let output = self.command("cat").arg("/run/said").output();
        output.map_or_else(|error| error.to_string(), |output| text(&output.stdout))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            // With the first process the kernel ends all the others.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        let deadline = Instant::now() + PATIENCE;
        // What was killed is gone a moment later.
        while self.group.exists() && Instant::now() < deadline {
            remove_groups(&self.group);
            thread::yield_now();
        }
        let _ = fs::remove_dir_all(&self.units);
    }
}

/// A control group that is the manager's own, below the first one of all.
fn make_group(name: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_second = after.starts_with("cgroup2 ");
        is_second.then(|| before.split(' ').nth(4)).flatten()
    })?;
    let group = Path::new(mount).join(format!("sandbox-{name}"));
    fs::create_dir(&group).ok()?;
    let files = [
        "",
        "cgroup.procs",
        "cgroup.subtree_control",
        "cgroup.threads",
    ];
    let given = files
        .iter()
        .try_for_each(|file| chown(group.join(file), Some(FIRST_ID), Some(FIRST_ID)));
    match given {
        Ok(()) => Some(group),
        Err(_) => {
            let _ = fs::remove_dir(&group);
            None
        }
    }
}

fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn write_units(place: &Path, units: &[(&str, String)]) {
    fs::create_dir_all(place.join("service.d")).expect("it is ours");
    let write = |name: &str, words: &str| fs::write(place.join(name), words).expect("it is ours");
    for target in TARGETS {
        write(
            &format!("{target}.target"),
            "[Unit]\nDefaultDependencies=no\n",
        );
    }
    write("default.target", "[Unit]\n");
    // There is no journal.
    write(
        "service.d/said.conf",
        "[Service]\nStandardError=append:/run/said\n",
    );
    for (name, words) in units {
        write(name, words);
    }
}

/// A process in a new user namespace in which the ids from [`FIRST_ID`] are those from 0. It ends when its
/// standard input does.
fn hold_namespace() -> Option<Child> {
    let mut holder = Command::new("unshare")
        .args(["--user", "cat"])
        .stdin(Stdio::piped())
        .spawn()
        .ok()?;
    let place = PathBuf::from(format!("/proc/{}", holder.id()));
    let own = fs::read_link("/proc/self/ns/user").ok();
    let deadline = Instant::now() + PATIENCE;
    while fs::read_link(place.join("ns/user")).ok() == own && Instant::now() < deadline {
        thread::yield_now();
    }
    let ids = format!("0 {FIRST_ID} {IDS}");
    let map = |name: &str| fs::write(place.join(name), &ids);
    if map("uid_map").and_then(|()| map("gid_map")).is_err() {
        let _ = holder.kill();
        let _ = holder.wait();
        return None;
    }
    Some(holder)
}
