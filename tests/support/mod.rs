//! What the promise tests share: the real binary, run as root and as an ordinary user.
//!
//! A claim about the sandbox holds for both, so each is tried by [`each_user`]. A test that cannot be
//! made here says so in a line of its own and passes, unless `SANDBOX_TEST_REQUIRE=all` is set.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};

pub(crate) mod broker;
pub(crate) mod lab;
pub(crate) mod netns;
pub(crate) mod pool;
pub(crate) mod report;
pub(crate) mod systemd;
pub(crate) mod terminal;

/// The ordinary user that root's tests make where there is none.
const TEST_USER: &str = "sbxtest";

/// One whose launches are tried.
#[derive(Clone, Debug)]
pub(crate) struct User {
    /// How messages call it.
    pub(crate) name: &'static str,
    /// User id.
    pub(crate) uid: u32,
    /// Group id.
    pub(crate) gid: u32,
    /// A directory of its own.
    pub(crate) home: PathBuf,
    /// The binary, where this user can execute it.
    pub(crate) sandbox: PathBuf,
}

impl User {
    /// Whether it is root.
    pub(crate) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// `program`, run by this user with an environment that names sockets and proxies, and no input.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        if self.uid != own_uid() {
            command.uid(self.uid).gid(self.gid);
        }
        command
            .env("HOME", &self.home)
            .env("USER", self.name)
            .env("SSH_AUTH_SOCK", "/run/ssh-agent.socket")
            .env("https_proxy", "http://127.0.0.1:3128")
            .current_dir(&self.home)
            .stdin(Stdio::null());
        command
    }

    /// `sandbox` with `arguments`, run by this user.
    pub(crate) fn sandbox(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.sandbox);
        command.args(arguments);
        command
    }

    /// What `sandbox` with `arguments` printed, and how it ended.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.sandbox(arguments)
            .output()
            .expect("the binary can be started")
    }

    /// Whether this host can give a sandbox at all; if not, why. A host that can, by the doctor's
    /// word, but where a launch fails, is a failure of ours, which the tests then show.
    fn trial(&self) -> Result<(), String> {
        if self.output(&["doctor"]).status.success() {
            return Ok(());
        }
        let output = self.output(&["--", "/bin/true"]);
        Err(format!(
            "no sandbox here: {}: {}",
            output.status,
            text(&output.stderr)
        ))
    }
}

/// What starts the program that it is given as arguments, for `user`, in a user namespace that allows no more
/// than `limit` network namespaces; `None`, and a line that says so, where that cannot be had.
pub(crate) fn with_a_limit_of_network_namespaces(user: &User, limit: u32) -> Option<Command> {
    // An ordinary user stays one: the rights by which the limit is set do not reach the program.
    let (map, drop): (&[&str], _) = match user.is_root() {
        true => (&["--map-root-user"], "env"),
        false => (
            &["--map-current-user", "--keep-caps"],
            "setpriv --inh-caps=-all --ambient-caps=-all",
        ),
    };
    let script = format!("echo {limit} >/proc/sys/user/max_net_namespaces && exec {drop} \"$@\"");
    let command = || {
        let mut command = user.command("unshare");
        command
            .arg("--user")
            .args(map)
            .args(["--mount", "sh", "-c", &script, "sh"]);
        command
    };
    match command().arg("true").output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            skip("a limit of namespaces", &text(&output.stderr));
            return None;
        }
        Err(error) => {
            skip("a limit of namespaces", &error.to_string());
            return None;
        }
    }
    Some(command())
}

/// Bytes of output as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// Assert that `output` is a success, and give what it printed.
#[track_caller]
pub(crate) fn success(user: &User, output: &Output) -> String {
    assert!(
        output.status.success(),
        "as {}: {}\nstdout: {}\nstderr: {}",
        user.name,
        output.status,
        text(&output.stdout),
        text(&output.stderr),
    );
    text(&output.stdout)
}

/// Say that `name` was not tried, and why.
///
/// # Panics
/// With `SANDBOX_TEST_REQUIRE=all`.
#[track_caller]
pub(crate) fn skip(name: &str, reason: &str) {
    let required = std::env::var_os("SANDBOX_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(!required, "{name} could not be tried: {reason}");
    say(&format!("SKIP {name}: {reason}"));
}

/// A line on standard error that the test harness does not capture: a skip must be seen.
pub(crate) fn say(line: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether `program` is installed; says so if not.
#[track_caller]
pub(crate) fn have(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path
        .split(':')
        .any(|directory| Path::new(directory).join(program).is_file());
    if !found {
        skip(program, "not installed");
    }
    found
}

/// Everyone whose launches are tried: root and an ordinary user where root runs the tests, else
/// whoever does. Each of them can have a sandbox here.
pub(crate) fn users() -> &'static [User] {
    static USERS: OnceLock<Vec<User>> = OnceLock::new();
    USERS.get_or_init(|| {
        let mut users = vec![myself()];
        if own_uid() == 0 {
            match ordinary() {
                Some(user) => users.push(user),
                None => skip("an ordinary user", "none can be made"),
            }
        }
        users.retain(|user| match user.trial() {
            Ok(()) => true,
            Err(reason) => {
                skip(user.name, &reason);
                false
            }
        });
        users
    })
}

/// Try a claim as each user.
pub(crate) fn each_user(claim: impl Fn(&User)) {
    users().iter().for_each(claim);
}

fn own_uid() -> u32 {
    fs::metadata("/proc/self").expect("/proc is mounted").uid()
}

fn myself() -> User {
    let found = fs::metadata("/proc/self").expect("/proc is mounted");
    User {
        name: if found.uid() == 0 {
            "root"
        } else {
            "an ordinary user"
        },
        uid: found.uid(),
        gid: found.gid(),
        home: home_of(found.uid(), found.gid()),
        sandbox: executable(),
    }
}

fn ordinary() -> Option<User> {
    let (uid, gid) = ids_of(TEST_USER).or_else(|| {
        let made = Command::new("useradd")
            .args(["--no-create-home", "--shell", "/bin/sh", TEST_USER])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        // Another test binary may have made it meanwhile: what counts is whether it is there now.
        drop(made);
        ids_of(TEST_USER)
    })?;
    Some(User {
        name: "an ordinary user",
        uid,
        gid,
        home: home_of(uid, gid),
        sandbox: executable(),
    })
}

fn ids_of(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// The one directory that the tests leave behind, emptied of older copies when the binary changes.
///
/// Cargo's own where everyone can get there; some profiles cover `/tmp`, `/var/tmp` and homes. From a
/// clone whose path is long another, because Unix sockets are bound below it (unix(7): 108 bytes).
fn shared() -> PathBuf {
    const SHORT: usize = 32;
    let own = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let open = |part: &Path| fs::metadata(part).is_ok_and(|found| found.mode() & 0o001 != 0);
    let covered = ["/tmp", "/var/tmp", "/run", "/home", "/root"];
    let suits = own.ancestors().all(open) && !covered.iter().any(|part| own.starts_with(part));
    let short = own.as_os_str().len() <= SHORT;
    let parent = match own_uid() {
        0 if !suits || !short => Path::new("/opt"),
        // The tests of the profiles that cover it fail here; there is no other place for all users.
        1.. if !short => Path::new("/var/tmp"),
        _ => own,
    };
    let mut name = format!("sandbox-tests-{}", own_uid());
    if parent != own {
        // Clones share neither binaries nor sockets.
        sweep(parent, &format!("{name}-"));
        let mut hasher = DefaultHasher::new();
        own.hash(&mut hasher);
        name = format!("{name}-{:08x}", hasher.finish() >> 32);
    }
    let directory = parent.join(name);
    if let Err(error) = fs::create_dir(&directory) {
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::AlreadyExists,
            "{}",
            directory.display()
        );
    }
    let found = fs::symlink_metadata(&directory).expect("it was just made");
    assert!(
        found.is_dir() && found.uid() == own_uid(),
        "{} is not ours",
        directory.display()
    );
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("it is ours");
    if parent != own {
        // Another test binary may be making it, to the same place.
        let _ = std::os::unix::fs::symlink(own, directory.join(CLONE));
    }
    directory
}

/// In a shared directory outside of a clone: a link to the clone's own, gone with the clone.
const CLONE: &str = "clone";

/// Remove the shared directories of clones that are gone, in `parent` by names with `prefix`.
fn sweep(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.metadata().is_ok_and(|found| found.uid() == own_uid());
        let link = entry.path().join(CLONE);
        let named = entry.file_name().to_string_lossy().starts_with(prefix);
        if ours && named && link.is_symlink() && !link.exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn home_of(uid: u32, gid: u32) -> PathBuf {
    let home = shared().join(format!("home-{uid}"));
    // Said by every test, not by the one whose socket's name happens to be the longest.
    assert!(
        home.as_os_str().len() <= 60,
        "{} leaves too little of a Unix socket's 107 bytes",
        home.display()
    );
    fs::create_dir_all(&home).expect("a directory can be made");
    if uid != own_uid() {
        std::os::unix::fs::chown(&home, Some(uid), Some(gid)).expect("root can give it away");
    }
    home
}

/// A copy of the binary that every user can execute.
fn executable() -> PathBuf {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| copy_of(Path::new(env!("CARGO_BIN_EXE_sandbox")), "sandbox"))
        .clone()
}

/// A copy of `built` that every user can execute, called `name`, in place of older ones.
pub(crate) fn copy_of(built: &Path, name: &str) -> PathBuf {
    static COPYING: Mutex<()> = Mutex::new(());
    // A test that failed while it held the lock left nothing half done: the rename is last.
    let _copying = COPYING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let found = fs::metadata(built).expect("cargo has built it");
    let prefix = format!("{name}-copy-");
    let stamp = format!(
        "{prefix}{}-{}-{}",
        found.ino(),
        found.mtime(),
        found.mtime_nsec()
    );
    let directory = shared().join(&stamp);
    let copy = directory.join(name);
    if copy.exists() {
        return copy;
    }
    for old in fs::read_dir(shared()).into_iter().flatten().flatten() {
        if old.file_name().to_string_lossy().starts_with(&prefix) && old.file_name() != *stamp {
            // In use by another run of an older build: it stays until the next one.
            let _ = fs::remove_dir_all(old.path());
        }
    }
    fs::create_dir_all(&directory).expect("a directory can be made");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("it is ours");
    // Under another name first: a test binary that runs at the same time must not see half.
    let partial = directory.join(format!("partial-{}", std::process::id()));
    fs::copy(built, &partial).expect("there is room for a copy");
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::rename(&partial, &copy).expect("within one directory");
    copy
}

/// Says which test's body a test binary is to run, because it is in the sandbox.
const INSIDE: &str = "SANDBOX_TEST_INSIDE";

/// Run `body` as each user, outside and then in a sandbox made with `options`: the test binary starts
/// itself there, for the one test called `name`.
#[track_caller]
pub(crate) fn inside(name: &str, options: &[&str], body: fn()) {
    if std::env::var_os(INSIDE).is_some_and(|wanted| wanted == name) {
        return body();
    }
    let built = std::env::current_exe().expect("this binary has a file");
    let program = copy_of(&built, env!("CARGO_CRATE_NAME"));
    let words = ["--exact", name, "--nocapture", "--test-threads=1"];
    each_user(|user| {
        let outside = user
            .command(&program)
            .args(words)
            .env(INSIDE, name)
            .output();
        success(user, &outside.expect("this binary can be started"));
        let mut launch = user.sandbox(options);
        launch.arg("--").arg(&program).args(words).env(INSIDE, name);
        let printed = success(user, &launch.output().expect("the binary can be started"));
        assert!(printed.contains("1 passed"), "as {}: {printed}", user.name);
    });
}

/// The example called `name`, built, in a place where every user can execute it.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let binary = Path::new(env!("CARGO_BIN_EXE_sandbox"));
    let profile = binary.parent().expect("it lies in a directory");
    BUILT.get_or_init(|| {
        // `cargo test` builds them, `cargo test --test NAME` does not.
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--offline", "--examples"]);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if cfg!(feature = "tokio") {
            build.args(["--features", "tokio"]);
        }
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(
            build.status().is_ok_and(|status| status.success()),
            "the examples cannot be built"
        );
    });
    copy_of(&profile.join("examples").join(name), name)
}

/// The file at `path` of the repository, in a place where every user can read it.
pub(crate) fn shared_file(path: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let name = file.file_name().and_then(|name| name.to_str());
    copy_of(&file, name.expect("a file has a name"))
}

/// For Python: fill standard error, which nobody reads.
pub(crate) const FILLED: &str = r#"
import os
os.set_blocking(2, False)
for size in (4096, 1):
    try:
        while True:
            os.write(2, b"x" * size)
    except BlockingIOError:
        pass
# As it was: O_NONBLOCK is everybody's who has the pipe.
os.set_blocking(2, True)
"#;

/// For Python: whether a signal's handler runs while `peer` waits to be connected to `address`.
pub(crate) const INTERRUPTED: &str = r#"
import signal, time
def interrupted(peer, address):
    class Up(Exception):
        pass
    def up(*_):
        raise Up
    signal.signal(signal.SIGALRM, up)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    began = time.monotonic()
    try:
        peer.connect(address)
        return "connected"
    except Up:
        return "interrupted", time.monotonic() - began < 5
"#;
