//! The attempts to reach other processes.

use std::borrow::Cow;
use std::ffi::CString;
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

use super::attempt::{Act, Attempt, Control, Group, Outcome, Trace};
use super::network::open_for_writing;
use super::outside::{Outside, Place, VICTIM_SECRET};
use super::promise::{self, Promised};
use crate::policy::Policy;
use crate::sys::attempt::{self as sys, TerminalRequest, UpperHalf};

const NUMBERS: &str = "process namespace";
const PROC: &str = "own /proc";
const TERMINAL: &str = "filter: terminal ioctls";
const KEYS: &str = "filter: keyrings";
const IPC: &str = "ipc namespace";
const SETTINGS: &str = "read-only /proc/sys, no capability";
const INIT: &str = "undumpable init that holds nothing";

fn row(
    name: &'static str,
    tries: &'static str,
    wall: &'static str,
    control: Control,
    promise: fn(&Policy) -> Promised,
    act: fn(&Outside) -> Outcome,
) -> Attempt {
    Attempt {
        name: Cow::Borrowed(name),
        group: Group::Processes,
        tries,
        wall,
        control,
        promise,
        act: Act::Try(act),
    }
}

/// Every attempt of this part.
pub(super) fn attempts() -> Vec<Attempt> {
    let mut attempts = of_outside_processes();
    attempts.extend(of_init());
    attempts.extend(of_terminals_and_keys());
    attempts.extend(of_shared_objects());
    attempts.extend(of_settings());
    attempts.extend(of_staying_alive());
    attempts
}

fn of_outside_processes() -> Vec<Attempt> {
    use Control::Anyone;
    vec![
        row(
            "ptrace-outside",
            "trace a process outside",
            NUMBERS,
            Anyone,
            promise::processes_or_filter,
            |o| {
                reached(
                    o,
                    ptrace::seize(victim(o), ptrace::Options::empty()),
                    "traced",
                )
            },
        ),
        row(
            "read-memory-outside",
            "process_vm_readv of a process outside",
            NUMBERS,
            Anyone,
            promise::processes_or_filter,
            |o| {
                let mut bytes = [0_u8; VICTIM_SECRET.len()];
                let remote = RemoteIoVec {
                    base: o.victim_secret,
                    len: bytes.len(),
                };
                let read =
                    process_vm_readv(victim(o), &mut [IoSliceMut::new(&mut bytes)], &[remote]);
                match read {
                    Ok(_) if &bytes == VICTIM_SECRET => Outcome::open("its secret was read"),
                    Ok(_) => Outcome::held("a process of the sandbox's own has that number"),
                    Err(errno) => Outcome::refused(errno),
                }
            },
        ),
        row(
            "write-memory-outside",
            "process_vm_writev to a process outside",
            NUMBERS,
            Anyone,
            promise::processes_or_filter,
            |o| {
                let remote = RemoteIoVec {
                    base: o.victim_scratch,
                    len: 1,
                };
                let written = process_vm_writev(victim(o), &[IoSlice::new(b"!")], &[remote]);
                reached(o, written, "its memory was written")
            },
        ),
        row(
            "process-vm-own",
            "process_vm_readv at all",
            "filter: memory of others",
            Anyone,
            promise::memory_of_others,
            |_| {
                let secret = *VICTIM_SECRET;
                let mut bytes = [0_u8; VICTIM_SECRET.len()];
                let remote = RemoteIoVec {
                    base: secret.as_ptr().addr(),
                    len: secret.len(),
                };
                let read =
                    process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut bytes)], &[remote]);
                Outcome::of(read, "the call was made")
            },
        ),
        row(
            "pidfd-open-outside",
            "pidfd_open of a process outside",
            NUMBERS,
            Anyone,
            promise::processes_or_filter,
            |o| reached(o, sys::pidfd_open(victim(o)), "a pidfd"),
        ),
        row(
            "pidfd-getfd-outside",
            "pidfd_getfd from a process outside",
            NUMBERS,
            Anyone,
            promise::processes_or_filter,
            |o| {
                let stolen =
                    sys::pidfd_open(victim(o)).and_then(|pidfd| sys::pidfd_getfd(pidfd.as_fd(), 0));
                reached(o, stolen, "its standard input")
            },
        ),
        row(
            "pidfd-getfd-own",
            "pidfd_getfd at all",
            "filter: descriptors of others",
            Anyone,
            promise::descriptors_of_others,
            |_| {
                let copied = sys::pidfd_open(Pid::this())
                    .and_then(|pidfd| sys::pidfd_getfd(pidfd.as_fd(), 1));
                Outcome::of(copied, "the call was made")
            },
        ),
        row(
            "kill-outside",
            "a signal to a process outside",
            NUMBERS,
            Anyone,
            promise::processes,
            |o| reached(o, kill(victim(o), None), "it may be signalled"),
        ),
        row(
            "kill-launcher",
            "a signal to the launcher, to stop or end it",
            NUMBERS,
            Anyone,
            promise::processes,
            |o| {
                reached(
                    o,
                    kill(Pid::from_raw(o.launcher), None),
                    "it may be signalled",
                )
            },
        ),
        row(
            "proc-mem-outside",
            "/proc/PID/mem of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "mem"),
        ),
        row(
            "proc-environ-outside",
            "/proc/PID/environ of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "environ"),
        ),
        row(
            "proc-fd-outside",
            "/proc/PID/fd of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "fd/0"),
        ),
        row(
            "proc-root-outside",
            "/proc/PID/root of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "root/"),
        ),
        row(
            "proc-cwd-outside",
            "/proc/PID/cwd of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "cwd/"),
        ),
        row(
            "proc-ns-outside",
            "/proc/PID/ns of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "ns/net"),
        ),
        row(
            "see-outside",
            "the processes outside in /proc",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| {
                if is_victim(o) {
                    Outcome::open("it is listed")
                } else {
                    Outcome::refused(Errno::ENOENT)
                }
            },
        ),
    ]
}

fn of_init() -> Vec<Attempt> {
    use Control::Anyone;
    vec![
        row(
            "ptrace-init",
            "trace the sandbox's init",
            INIT,
            Anyone,
            promise::init,
            |o| Outcome::of(ptrace::seize(init(o), ptrace::Options::empty()), "traced"),
        ),
        row(
            "proc-mem-init",
            "/proc/1/mem",
            INIT,
            Anyone,
            promise::init,
            |o| read_of_init(o, "mem"),
        ),
        row(
            "proc-environ-init",
            "/proc/1/environ",
            INIT,
            Anyone,
            promise::init,
            |o| read_of_init(o, "environ"),
        ),
        row(
            "proc-exe-init",
            "/proc/1/exe: the launcher's binary, to overwrite it",
            INIT,
            Anyone,
            promise::init,
            |o| read_of_init(o, "exe"),
        ),
        row(
            "proc-root-init",
            "/proc/1/root",
            INIT,
            Anyone,
            promise::init,
            |o| read_of_init(o, "root/"),
        ),
        row(
            "proc-ns-init",
            "/proc/1/ns",
            INIT,
            Anyone,
            promise::init,
            |o| read_of_init(o, "ns/net"),
        ),
        row(
            "proc-fd-init",
            "the descriptors of init",
            INIT,
            Anyone,
            promise::init,
            descriptors_of_init,
        ),
        row(
            "pidfd-getfd-init",
            "pidfd_getfd from init",
            INIT,
            Anyone,
            promise::init,
            |o| {
                let stolen =
                    sys::pidfd_open(init(o)).and_then(|pidfd| sys::pidfd_getfd(pidfd.as_fd(), 0));
                Outcome::of(stolen, "its standard input")
            },
        ),
        row(
            "kill-init",
            "kill init",
            "process 1 ignores its own",
            Control::Nobody,
            promise::init,
            |o| {
                if o.place == Place::Control {
                    return Outcome::skipped("would be aimed at the host's process 1");
                }
                if let Err(errno) = kill(Pid::from_raw(1), Signal::SIGKILL) {
                    return Outcome::refused(errno);
                }
                // Alive to say so: with its init, this process would have ended.
                std::thread::sleep(Duration::from_millis(20));
                Outcome::held("it lives on")
            },
        ),
    ]
}

fn of_terminals_and_keys() -> Vec<Attempt> {
    use Control::{Anyone, Nobody};
    vec![
        row(
            "tiocsti",
            "type on the terminal by TIOCSTI",
            TERMINAL,
            Anyone,
            promise::filtered,
            |_| on_terminal(TerminalRequest::Sti, UpperHalf::Clear),
        ),
        row(
            "tiocsti-upper-half",
            "TIOCSTI with garbage in the upper half of the word",
            TERMINAL,
            Anyone,
            promise::filtered,
            |_| on_terminal(TerminalRequest::Sti, UpperHalf::Garbage),
        ),
        row(
            "tioclinux",
            "paste on the console by TIOCLINUX",
            TERMINAL,
            Anyone,
            promise::filtered,
            |_| on_terminal(TerminalRequest::Linux, UpperHalf::Clear),
        ),
        row(
            "tioclinux-upper-half",
            "TIOCLINUX with garbage in the upper half of the word",
            TERMINAL,
            Anyone,
            promise::filtered,
            |_| on_terminal(TerminalRequest::Linux, UpperHalf::Garbage),
        ),
        row(
            "tiocsetd",
            "another line discipline by TIOCSETD",
            TERMINAL,
            Anyone,
            promise::filtered,
            |_| on_terminal(TerminalRequest::SetDiscipline, UpperHalf::Clear),
        ),
        row(
            "tioccons",
            "the console's output by TIOCCONS",
            TERMINAL,
            Nobody,
            promise::filtered,
            |o| {
                if o.place == Place::Control {
                    return Outcome::skipped("would take over the host's console");
                }
                on_terminal(TerminalRequest::Console, UpperHalf::Clear)
            },
        ),
        row(
            "session-keyring",
            "a key of the session keyring",
            KEYS,
            Anyone,
            promise::filtered,
            |o| {
                let Some(serial) = o.session_key else {
                    return Outcome::skipped("no key could be made outside");
                };
                key_read(serial, o)
            },
        ),
        row(
            "user-keyring",
            "a key of the keyring that a user's processes share",
            KEYS,
            Anyone,
            promise::filtered,
            |o| {
                let name = c_string(&format!("{}-user", o.token));
                Outcome::of(
                    sys::search_key(sys::USER_KEYRING, &name),
                    "the key was found",
                )
            },
        ),
        row("add-key", "add_key", KEYS, Anyone, promise::filtered, |o| {
            let name = c_string(&format!("{}-added", o.token));
            match sys::add_key(&name, b"x", sys::USER_KEYRING) {
                Ok(serial) => {
                    // Left linked it would only hold a few bytes until the user's last process ends.
                    let _ = sys::unlink_key(serial, sys::USER_KEYRING);
                    Outcome::open("a key was added")
                }
                Err(errno) => Outcome::refused(errno),
            }
        }),
        row(
            "request-key",
            "request_key",
            KEYS,
            Anyone,
            promise::filtered,
            |o| Outcome::of(sys::request_key(&c_string(&o.token)), "the key was found"),
        ),
        row("keyctl", "keyctl", KEYS, Anyone, promise::filtered, |_| {
            Outcome::of(sys::keyring_id(sys::USER_KEYRING), "the user's keyring")
        }),
    ]
}

fn of_shared_objects() -> Vec<Attempt> {
    use Control::Anyone;
    vec![
        row(
            "shared-memory",
            "System V shared memory of the host",
            IPC,
            Anyone,
            promise::ipc,
            |o| {
                let found = sys::find_shared_memory(o.ipc_key).and_then(sys::map_shared_memory);
                Outcome::of(found, "mapped")
            },
        ),
        row(
            "shared-memory-by-id",
            "the same by its number",
            IPC,
            Anyone,
            promise::ipc,
            |o| Outcome::of(sys::map_shared_memory(o.shared_memory), "mapped"),
        ),
        row(
            "semaphores",
            "System V semaphores of the host",
            IPC,
            Anyone,
            promise::ipc,
            |o| Outcome::of(sys::find_semaphore(o.ipc_key), "found"),
        ),
        row(
            "message-queue",
            "System V message queues of the host",
            IPC,
            Anyone,
            promise::ipc,
            |o| Outcome::of(sys::find_message_queue(o.ipc_key), "found"),
        ),
        row(
            "posix-queue",
            "POSIX message queues of the host",
            IPC,
            Anyone,
            promise::ipc,
            |o| {
                Outcome::of(
                    sys::open_queue(&o.queue(), sys::QueueAccess::Find),
                    "opened",
                )
            },
        ),
        row(
            "posix-shared-memory",
            "POSIX shared memory of the host, in /dev/shm",
            "own /dev/shm",
            Anyone,
            promise::shared_files,
            |o| match &o.shared_file {
                Some(path) => match fs::read_to_string(path) {
                    Ok(_) => Outcome::open("read"),
                    Err(error) => Outcome::stopped(&error),
                },
                None => Outcome::skipped("the host has no /dev/shm"),
            },
        ),
    ]
}

fn of_settings() -> Vec<Attempt> {
    use Control::{Nobody, Root};
    vec![
        row(
            "core-pattern",
            "core_pattern",
            SETTINGS,
            Root,
            promise::settings,
            |_| open_for_writing("/proc/sys/kernel/core_pattern"),
        ),
        row(
            "modprobe-path",
            "the modprobe path",
            SETTINGS,
            Nobody,
            promise::settings,
            |_| open_for_writing("/proc/sys/kernel/modprobe"),
        ),
        row(
            "uevent-helper",
            "uevent_helper",
            "own /sys",
            Nobody,
            promise::sys_settings,
            |_| open_for_writing("/sys/kernel/uevent_helper"),
        ),
        row(
            "binfmt-misc",
            "binfmt_misc",
            SETTINGS,
            Nobody,
            promise::settings,
            |_| open_for_writing("/proc/sys/fs/binfmt_misc/register"),
        ),
        row(
            "sysrq",
            "sysrq",
            SETTINGS,
            Nobody,
            promise::settings,
            |_| open_for_writing("/proc/sysrq-trigger"),
        ),
        row(
            "any-sysctl",
            "any file below /proc/sys",
            SETTINGS,
            Root,
            promise::settings,
            |_| any_writable(&["/proc/sys"], 8),
        ),
        row(
            "proc-irq",
            "/proc/irq, /proc/bus, /proc/fs",
            SETTINGS,
            Nobody,
            promise::settings,
            |_| {
                any_writable(
                    &[
                        "/proc/irq",
                        "/proc/bus",
                        "/proc/fs",
                        "/proc/acpi",
                        "/proc/scsi",
                    ],
                    4,
                )
            },
        ),
        row(
            "any-sys-file",
            "any file below /sys",
            "own /sys",
            Root,
            promise::sys_settings,
            |_| any_writable(&["/sys"], 5),
        ),
        row(
            "kernel-memory",
            "/proc/kcore",
            "masked entries",
            Nobody,
            promise::settings,
            |_| match fs::File::open("/proc/kcore")
                .and_then(|mut file| std::io::Read::read(&mut file, &mut [0_u8; 4]))
            {
                Ok(0) => Outcome::held("it is empty"),
                Ok(_) => Outcome::open("the kernel's memory"),
                Err(error) => Outcome::stopped(&error),
            },
        ),
        row(
            "cgroup-files",
            "the host's cgroups: release_agent, cgroup.procs, delegation",
            "no writable cgroup mount",
            Root,
            promise::sys_settings,
            |_| any_writable(&["/sys/fs/cgroup"], 2),
        ),
        row(
            "cgroup-path",
            "the host's cgroup path",
            "cgroup namespace",
            Nobody,
            promise::cgroup,
            |o| match fs::read_to_string("/proc/self/cgroup") {
                Ok(_) if o.cgroup.lines().all(|line| line.ends_with(":/")) => {
                    Outcome::skipped("the launcher is in the root cgroup")
                }
                Ok(text) if text == o.cgroup => Outcome::open(text.trim().to_owned()),
                Ok(_) => Outcome::held("it shows as the root"),
                Err(error) => Outcome::stopped(&error),
            },
        ),
    ]
}

fn of_staying_alive() -> Vec<Attempt> {
    let left = |name, tries, wall, promise, act, trace| Attempt {
        name: Cow::Borrowed(name),
        group: Group::Processes,
        tries,
        wall,
        control: Control::Anyone,
        promise,
        act: Act::Leave(act, trace),
    };
    vec![
        left(
            "outlive",
            "stay alive: double fork, setsid, every signal blocked",
            "process namespace ends with init",
            promise::processes as fn(&Policy) -> Promised,
            daemonize as fn(&Outside) -> Outcome,
            Trace::Survivor,
        ),
        left(
            "signal-process-group",
            "a signal to the launcher's process group",
            "Landlock signal scope, or a group of its own",
            promise::processes,
            |_| match kill(Pid::from_raw(0), Signal::SIGURG) {
                Ok(()) => Outcome::held("none arrived at the launcher"),
                Err(errno) => Outcome::refused(errno),
            },
            Trace::Signal,
        ),
    ]
}

fn victim(outside: &Outside) -> Pid {
    Pid::from_raw(outside.victim)
}

/// Whether the number in this process namespace is the same process as outside.
fn is_same_numbering(outside: &Outside) -> bool {
    nix::sys::stat::stat("/proc/self/ns/pid")
        .is_ok_and(|found| found.st_ino == outside.pid_namespace)
}

/// Open where `result` succeeded on the process outside, not on one that has its number inside.
fn reached<T>(outside: &Outside, result: Result<T, Errno>, evidence: &str) -> Outcome {
    if result.is_ok() && !is_same_numbering(outside) {
        return Outcome::held("a process of the sandbox's own has that number");
    }
    Outcome::of(result, evidence)
}

fn is_victim(outside: &Outside) -> bool {
    fs::read(format!("/proc/{}/cmdline", outside.victim))
        .is_ok_and(|line| line.windows(8).any(|word| word == b"__victim"))
}

fn proc_file(outside: &Outside, name: &str) -> Outcome {
    let path = format!("/proc/{}/{name}", outside.victim);
    match fs::File::open(&path) {
        Ok(_) if is_victim(outside) => Outcome::open(format!("{path} opens")),
        Ok(_) => Outcome::held("a process of the sandbox's own has that number"),
        Err(error) => Outcome::stopped(&error),
    }
}

/// The sandbox's init; outside, the victim stands in for it, as a process of the same user.
pub(super) fn init(outside: &Outside) -> Pid {
    match outside.place {
        Place::Inside => Pid::from_raw(1),
        Place::Control => victim(outside),
    }
}

/// How many descriptors init has is no secret to its own user: what they lead to is.
fn descriptors_of_init(outside: &Outside) -> Outcome {
    let directory = format!("/proc/{}/fd", init(outside));
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries.flatten(),
        Err(error) => return Outcome::stopped(&error),
    };
    let mut outcome = Outcome::held("it has none");
    for entry in entries {
        outcome = match fs::read_link(entry.path()) {
            Ok(target) => return Outcome::open(target.display().to_string()),
            Err(error) => Outcome::stopped(&error),
        };
    }
    outcome
}

fn read_of_init(outside: &Outside, name: &str) -> Outcome {
    let path = format!("/proc/{}/{name}", init(outside));
    match fs::File::open(&path) {
        Ok(_) => Outcome::open(format!("{path} opens")),
        Err(error) => Outcome::stopped(&error),
    }
}

/// Ask `request` of a terminal that is this process's own, so that a typed byte hurts nobody.
fn on_terminal(request: TerminalRequest, upper: UpperHalf) -> Outcome {
    let terminal = match nix::pty::openpty(None, None) {
        Ok(terminal) => terminal,
        Err(errno) => return Outcome::skipped(format!("no terminal can be made: {errno:?}")),
    };
    // Without its master the terminal hangs up on its session, which must live on to report.
    let _ = SigSet::all().thread_block();
    // TIOCSTI is for one's controlling terminal only.
    let own = nix::unistd::setsid().and_then(|_| sys::take_terminal(terminal.slave.as_fd()));
    if let Err(errno) = own {
        return Outcome::skipped(format!("no terminal can be taken: {errno:?}"));
    }
    ask_terminal(terminal.slave.as_fd(), request, upper)
}

fn ask_terminal(terminal: BorrowedFd<'_>, request: TerminalRequest, upper: UpperHalf) -> Outcome {
    Outcome::of_call(sys::terminal_ioctl(terminal, request, upper).map(|()| 0))
}

fn key_read(serial: i32, outside: &Outside) -> Outcome {
    match sys::read_key(serial) {
        Ok(payload) if payload == outside.token.as_bytes() => Outcome::open("its payload"),
        Ok(_) => Outcome::held("another key has that serial"),
        Err(errno) => Outcome::refused(errno),
    }
}

pub(super) fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// The first file below `roots` that opens for writing. Nothing is written.
fn any_writable(roots: &[&str], depth: usize) -> Outcome {
    let mut left: Vec<_> = roots
        .iter()
        .map(|root| (std::path::PathBuf::from(root), 0))
        .collect();
    let mut looked_at = 0_usize;
    while let Some((directory, level)) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() && level < depth {
                left.push((entry.path(), level + 1));
            }
            // Only what its mode lets one write: opening the rest fails anyway, and takes long.
            let may = || {
                entry
                    .metadata()
                    .is_ok_and(|found| found.permissions().mode() & 0o222 != 0)
            };
            if !kind.is_file() || !may() {
                continue;
            }
            looked_at += 1;
            if fs::OpenOptions::new()
                .write(true)
                .open(entry.path())
                .is_ok()
            {
                return Outcome::open(format!("{} opens for writing", entry.path().display()));
            }
        }
    }
    match looked_at {
        0 => Outcome::held("there is none"),
        _ => Outcome::held("none opens for writing"),
    }
}

/// Leave a process behind that no signal but SIGKILL ends. Outside it is looked for afterwards.
fn daemonize(_: &Outside) -> Outcome {
    let forked = sys::fork(|| {
        let _ = nix::unistd::setsid();
        i32::from(sys::fork(linger).is_err())
    });
    match forked.and_then(|pid| nix::sys::wait::waitpid(pid, None)) {
        Ok(_) => Outcome::held("it ended with the sandbox"),
        Err(errno) => Outcome::refused(errno),
    }
}

/// Wait ten seconds, holding nothing that anybody waits for.
fn linger() -> i32 {
    let _ = nix::unistd::alarm::cancel();
    let _ = SigSet::all().thread_block();
    for descriptor in 0..1024 {
        sys::close_descriptor(descriptor);
    }
    std::thread::sleep(Duration::from_secs(10));
    0
}
