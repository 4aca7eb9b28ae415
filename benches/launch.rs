//! Whole-command latency of `sandbox -- /bin/true` against its floor and its peers.
//!
//! All commands take turns in one run, so that what disturbs one disturbs all; medians are printed,
//! and their ratios to the floor. As root, everything runs again as an ordinary user (`nobody`).
//! `cargo bench --bench launch`; `docs/performance.md` says what came out.
//!
//! The floor is this program's own `--floor` mode, a C `main` without Rust's run-time, linked
//! statically like the binary: one clone3(2) with the seven namespaces that the profile `default`
//! makes (user, mount, pid, network, ipc, uts, cgroup), without `CLONE_VM`; in the child its own
//! single-id maps, `lo` up, execve(2); in the parent waitpid(2). No mounts, no filter, no init, no
//! supervisor, nothing dropped: what the kernel asks for the namespaces alone.

#![no_main]
#![expect(
    unsafe_code,
    reason = "the floor is bare system calls, and a C main has no run-time in front of them"
)]
#![expect(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::ffi::{CStr, c_char, c_int};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::Sandbox;

/// Each command is run this often, by turns.
const ROUNDS: usize = 150;
/// Not counted: the first runs fill the caches.
const WARM_UP: usize = 5;
/// Spawns of the library, from a small and from a large process.
const SPAWNS: usize = 100;
const LARGE: usize = 512 << 20;
const NOBODY: u32 = 65534;

// SAFETY: no other function of this program is called `main`; the C library calls it like this.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: argv[0] is there, so argv[1] is in the vector: the first argument, or the null at its end.
    let second = unsafe { argv.add(1) };
    // SAFETY: as above; the C library has filled it in.
    let first = unsafe { *second };
    // SAFETY: a pointer of argv that is not null is a C string.
    if !first.is_null() && unsafe { CStr::from_ptr(first) } == c"--floor" {
        return floor();
    }
    measure();
    0
}

fn measure() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    open_to_all(directory.path());
    let copy = |from: &Path, name: &str| {
        let to = directory.path().join(name);
        fs::copy(from, &to).expect("a program can be copied");
        open_to_all(&to);
        to
    };
    let ours = copy(Path::new(env!("CARGO_BIN_EXE_sandbox")), "sandbox");
    let itself = std::env::current_exe().expect("this program has a path");
    let floor = copy(&itself, "floor");

    let user = nix::unistd::geteuid().as_raw();
    compare(&ours, &floor, user);
    if user == 0 {
        compare(&ours, &floor, NOBODY);
    }
    memory(&ours);
    library();
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

fn compare(ours: &Path, floor: &Path, user: u32) {
    let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let path = |path: &Path| path.display().to_string();
    let candidates: Vec<(&str, Vec<String>)> = vec![
        ("true", line("/bin/true")),
        ("floor", vec![path(floor), "--floor".to_owned()]),
        (
            "sandbox --",
            [vec![path(ours)], line("-- /bin/true")].concat(),
        ),
        ("unshare -rn", line("unshare -rn /bin/true")),
        (
            "unshare, the same seven",
            line("unshare -r --net --pid --fork --mount --ipc --uts --cgroup /bin/true"),
        ),
        (
            "bwrap --unshare-all",
            line("bwrap --unshare-all --dev-bind / / /bin/true"),
        ),
        (
            "firejail --net=none",
            line("firejail --quiet --noprofile --net=none /bin/true"),
        ),
    ];
    let (runs, missing): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|(_, words)| run(words, user).is_some());
    let mut times = vec![Vec::new(); runs.len()];
    for round in 0..WARM_UP + ROUNDS {
        for (at, (_, words)) in runs.iter().enumerate() {
            let took = run(words, user).expect("it ran a moment ago");
            if round >= WARM_UP {
                times[at].push(took);
            }
        }
    }
    let who = if user == 0 { "root" } else { "ordinary user" };
    println!(
        "{:26} {:>9} {:>9} {:>9}",
        format!("as {who}"),
        "p50 µs",
        "p90 µs",
        "to floor"
    );
    let base = runs
        .iter()
        .position(|(name, _)| *name == "floor")
        .map_or(f64::NAN, |at| quantile(&mut times[at], 0.5));
    for (at, (name, _)) in runs.iter().enumerate() {
        let p50 = quantile(&mut times[at], 0.5);
        let p90 = quantile(&mut times[at], 0.9);
        println!("{name:26} {p50:>9.0} {p90:>9.0} {:>9.2}", p50 / base);
    }
    for (name, _) in missing {
        println!("{name:26} does not run here");
    }
}

/// Microseconds from before the spawn to after the wait; `None` if it did not succeed.
fn run(words: &[String], user: u32) -> Option<f64> {
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if user != nix::unistd::geteuid().as_raw() {
        command.uid(user).gid(user).env("HOME", "/");
    }
    let began = Instant::now();
    let status = command.status().ok()?;
    let took = began.elapsed();
    status.success().then_some(took.as_secs_f64() * 1e6)
}

/// What the launcher holds while it waits.
fn memory(ours: &Path) {
    let mut child = Command::new(ours)
        .args(["--", "/bin/cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // The answer shows that the command runs.
    use std::io::{Read, Write};
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"x").expect("cat reads");
    let mut output = child.stdout.take().expect("piped");
    output.read_exact(&mut [0]).expect("cat answers");
    // By then it has given back what it needs no more.
    std::thread::sleep(Duration::from_millis(300));
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let status = fs::read_to_string(status).expect("it runs");
    let value = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map_or("?", str::trim)
            .to_owned()
    };
    println!(
        "the waiting launcher: resident {}, of that not of a file {}",
        value("VmRSS:"),
        value("RssAnon:")
    );
    drop(input);
    let _ = child.wait();
}

/// [`Sandbox::spawn`] and wait, from this process as it is and with much more memory in use; the two
/// cannot take turns one by one, so they do in blocks.
fn library() {
    let spawn = || {
        let began = Instant::now();
        let mut child = Sandbox::new("/bin/true").spawn().expect("it can be run");
        let spawned = began.elapsed();
        child.wait().expect("it ends");
        spawned.as_secs_f64() * 1e6
    };
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..SPAWNS / 20 {
        small.extend((0..20).map(|_| spawn()));
        let ballast = vec![1_u8; LARGE];
        std::hint::black_box(&ballast);
        large.extend((0..20).map(|_| spawn()));
        drop(ballast);
    }
    let (small, large) = (quantile(&mut small, 0.5), quantile(&mut large, 0.5));
    println!(
        "Sandbox::spawn: {small:.0} µs; with 512 MB resident {large:.0} µs, {:.2} of that",
        large / small
    );
}

fn quantile(times: &mut [f64], part: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * part) as usize]
}

/// One clone3, one execve, one waitpid.
fn floor() -> c_int {
    let uid = nix::unistd::geteuid();
    let gid = nix::unistd::getegid();
    let uid_map = format!("{uid} {uid} 1\n");
    let gid_map = format!("{gid} {gid} 1\n");
    // SAFETY: integers only; all zero means "nothing asked".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = (libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    let size = size_of::<libc::clone_args>();
    // SAFETY: without CLONE_VM the child has its own copy of this memory, and this process has one
    // thread, so it goes on like after fork(2).
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) };
    if pid == 0 {
        let written = put(c"/proc/self/uid_map", &uid_map)
            && put(c"/proc/self/setgroups", "deny")
            && put(c"/proc/self/gid_map", &gid_map);
        if written && loopback_up() {
            let path = c"/bin/true".as_ptr();
            let argv = [path, std::ptr::null()];
            let envp = [std::ptr::null()];
            // SAFETY: path and both vectors are C strings, the vectors ended by null.
            unsafe { libc::execve(path, argv.as_ptr(), envp.as_ptr()) };
        }
        // SAFETY: ends this process.
        unsafe { libc::_exit(125) };
    }
    let mut status = -1;
    // SAFETY: `status` is an integer to write to.
    let waited = unsafe { libc::waitpid(pid as libc::pid_t, &raw mut status, 0) };
    c_int::from(pid < 0 || waited < 0 || status != 0)
}

fn put(path: &CStr, text: &str) -> bool {
    // SAFETY: a C string.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    // SAFETY: the bytes of `text`.
    let written = unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) };
    // SAFETY: opened above, or -1, which is refused.
    unsafe { libc::close(fd) };
    usize::try_from(written) == Ok(text.len())
}

fn loopback_up() -> bool {
    // SAFETY: no pointer.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    let mut ifr_name = [0; libc::IFNAMSIZ];
    ifr_name[0] = b'l' as c_char;
    ifr_name[1] = b'o' as c_char;
    let request = libc::ifreq {
        ifr_name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::IFF_UP as libc::c_short,
        },
    };
    // SAFETY: SIOCSIFFLAGS reads an ifreq.
    unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw const request) == 0 }
}
