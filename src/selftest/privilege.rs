//! The attempts to gain privilege, or more of the kernel.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::geteuid;

use super::attempt::{Act, Attempt, Control, Group, Outcome};
use super::network::open_device;
use super::outside::Outside;
use super::promise::{self, Promised};
use crate::policy::Policy;
use crate::sys::attempt::{self as sys, Call};

const PRIVILEGES: &str = "no_new_privs, empty bounding set";
const MOUNTS: &str = "no capability, filter";
const SURFACE: &str = "filter: default deny";
#[cfg(target_arch = "x86_64")]
const CONVENTION: &str = "filter: architecture check";

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
        group: Group::Privilege,
        tries,
        wall,
        control,
        promise,
        act: Act::Try(act),
    }
}

fn calls(
    table: &'static [Call],
    tries: &'static str,
    wall: &'static str,
) -> impl Iterator<Item = Attempt> {
    table.iter().map(move |call| Attempt {
        name: Cow::Owned(format!("call-{}", call.name.replace('_', "-"))),
        group: Group::Privilege,
        tries,
        wall,
        control: call.control,
        promise: promise::filter_without_capabilities,
        act: Act::Call(call),
    })
}

/// Every attempt of this part.
pub(super) fn attempts() -> Vec<Attempt> {
    use Control::{Anyone, Nobody, Root};
    let mut attempts = vec![
        row(
            "set-user-id",
            "a set-user-ID program (su, sudo, ping)",
            PRIVILEGES,
            Anyone,
            promise::always,
            set_user_id,
        ),
        row(
            "new-privileges",
            "privileges by executing anything",
            PRIVILEGES,
            Anyone,
            promise::always,
            |_| match nix::sys::prctl::get_no_new_privs() {
                Ok(true) => Outcome::held("no_new_privs is set"),
                Ok(false) => Outcome::open("no_new_privs is not set"),
                Err(errno) => Outcome::refused(errno),
            },
        ),
        row(
            "capability-sets",
            "a capability left in any of the five sets",
            "empty sets",
            Root,
            promise::capabilities,
            |_| capability_sets(),
        ),
        row(
            "raise-capabilities",
            "capset of what a host's network needs",
            "empty sets",
            Root,
            promise::capabilities,
            |_| Outcome::of(sys::raise_capabilities(), "capabilities"),
        ),
        row(
            "secure-bits",
            "capabilities from user id 0",
            "locked securebits",
            Anyone,
            promise::capabilities,
            |_| {
                // NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE and the lock of each, KEEP_CAPS locked.
                const LOCKED: i32 = 0b1110_1111;
                match sys::secure_bits() {
                    Ok(bits) if bits & LOCKED == LOCKED => Outcome::held("locked"),
                    Ok(bits) => Outcome::open(format!("securebits are {bits:#x}")),
                    Err(errno) => Outcome::refused(errno),
                }
            },
        ),
        row(
            "make-device",
            "mknod of a device",
            MOUNTS,
            Root,
            promise::filter_without_capabilities,
            |o| {
                let path =
                    std::env::temp_dir().join(format!("{}-node-{}", o.token, std::process::id()));
                let made = mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 3));
                if made.is_ok() {
                    // It names /dev/null; a leftover would be untidy, not dangerous.
                    let _ = fs::remove_file(&path);
                }
                Outcome::of(made, "a device node")
            },
        ),
        row(
            "open-by-handle",
            "open_by_handle_at, past every mount that hides a file",
            MOUNTS,
            Root,
            promise::filter_without_capabilities,
            |o| {
                let Some(handle) = &o.handle else {
                    return Outcome::skipped("the file system outside has no handles");
                };
                match fs::File::open(&o.handle_mount) {
                    Ok(mount) => Outcome::of(
                        sys::open_handle(std::os::fd::AsFd::as_fd(&mount), handle),
                        "the file",
                    ),
                    Err(error) => Outcome::stopped(&error),
                }
            },
        ),
        row(
            "name-to-handle",
            "name_to_handle_at",
            MOUNTS,
            Anyone,
            promise::filter_without_capabilities,
            |_| Outcome::of_call(sys::file_handle(c"/").map(|_| 0)),
        ),
    ];
    attempts.extend(calls(
        sys::MOUNT_CALLS,
        "mount, unmount, change the root",
        MOUNTS,
    ));
    attempts.extend(calls(
        sys::SURFACE_CALLS,
        "a call that nobody inside needs",
        SURFACE,
    ));
    #[cfg(target_arch = "x86_64")]
    attempts.extend([
        row(
            "i386-getpid",
            "a 32-bit call by int 0x80",
            CONVENTION,
            Anyone,
            promise::filtered,
            |_| Outcome::of(sys::i386(sys::I386Call::Getpid), "the call was made"),
        ),
        row(
            "i386-socket",
            "a socket by int 0x80",
            CONVENTION,
            Anyone,
            promise::filtered,
            |_| Outcome::of(sys::i386(sys::I386Call::Socket), "the call was made"),
        ),
        row(
            "x32-getpid",
            "an x32 call (bit 30 of the number)",
            "filter: explicit x32 refusal",
            Nobody,
            promise::filtered,
            |_| Outcome::of_call(sys::x32_getpid()),
        ),
    ]);
    attempts.extend([
        row(
            "call-newer-than-filter",
            "a call newer than the filter",
            "filter: default deny with ENOSYS",
            Nobody,
            promise::filtered,
            |_| Outcome::of_call(sys::call_from_the_future()),
        ),
        row(
            "device-kmsg",
            "the kernel's log by /dev/kmsg",
            "minimal /dev",
            Root,
            promise::devices,
            |_| open_device("/dev/kmsg"),
        ),
        row(
            "device-kvm",
            "/dev/kvm",
            "minimal /dev",
            Nobody,
            promise::devices,
            |_| open_device("/dev/kvm"),
        ),
        row(
            "device-fuse",
            "/dev/fuse",
            "minimal /dev",
            Nobody,
            promise::devices,
            |_| open_device("/dev/fuse"),
        ),
        row(
            "device-memory",
            "/dev/mem",
            "minimal /dev",
            Nobody,
            promise::devices,
            |_| open_device("/dev/mem"),
        ),
        row(
            "device-loop-control",
            "/dev/loop-control",
            "minimal /dev",
            Nobody,
            promise::devices,
            |_| open_device("/dev/loop-control"),
        ),
        row(
            "device-userfaultfd",
            "/dev/userfaultfd",
            "minimal /dev",
            Nobody,
            promise::devices,
            |_| open_device("/dev/userfaultfd"),
        ),
        row(
            "device-blocks",
            "the host's disks",
            "minimal /dev",
            Anyone,
            promise::devices,
            |o| {
                if o.disks.is_empty() {
                    return Outcome::skipped("the host has none");
                }
                o.disks
                    .iter()
                    .find(|disk| Path::new(disk).exists())
                    .map_or_else(
                        || Outcome::refused(Errno::ENOENT),
                        |disk| Outcome::open(format!("{disk} is there")),
                    )
            },
        ),
        row(
            "overwrite-itself",
            "the launcher's binary by /proc/self/exe",
            "read-only while it runs",
            Nobody,
            promise::always,
            |_| super::network::open_for_writing("/proc/self/exe"),
        ),
    ]);
    attempts
}

/// Run a set-user-ID program and look whether it became its owner.
fn set_user_id(outside: &Outside) -> Outcome {
    let Some(program) = &outside.set_user_id else {
        return Outcome::skipped("the host has no such program");
    };
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::stopped(&error),
    };
    // The kernel lets the parent of a new program go on shortly before it gives the program its ids;
    // even one that has ended since keeps them until it is waited for.
    let deadline = Instant::now() + Duration::from_millis(200);
    let mut outcome = effective_id(child.id());
    while matches!(outcome, Outcome::Held(_)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
        outcome = effective_id(child.id());
    }
    // End of file on its input ends it, where it may not be killed.
    drop(child.stdin.take());
    let _ = child.kill();
    let _ = child.wait();
    outcome
}

fn effective_id(pid: u32) -> Outcome {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let effective = ids
        .and_then(|ids| ids.split_whitespace().nth(1))
        .and_then(|id| id.parse::<u32>().ok());
    match effective {
        Some(id) if id != geteuid().as_raw() => Outcome::open(format!("it ran as user {id}")),
        Some(_) => Outcome::held("it ran as its caller"),
        None => Outcome::skipped("its ids could not be read"),
    }
}

fn capability_sets() -> Outcome {
    let status = match fs::read_to_string("/proc/self/status") {
        Ok(status) => status,
        Err(error) => return Outcome::stopped(&error),
    };
    let full: Vec<_> = status
        .lines()
        .filter_map(|line| line.strip_prefix("Cap")?.split_once(":\t"))
        .filter(|(_, mask)| mask.bytes().any(|digit| digit != b'0'))
        .map(|(set, mask)| format!("{set} {mask}"))
        .collect();
    if full.is_empty() {
        return Outcome::held("all five are empty");
    }
    Outcome::open(full.join(", "))
}
