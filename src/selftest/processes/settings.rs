//! Settings of the kernel through which it can be made to act outside, and control groups.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::row;
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::network::open_for_writing;
use crate::selftest::promise;

const SETTINGS: &str = "read-only /proc/sys, no capability";

pub(super) fn of_settings() -> Vec<Attempt> {
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
