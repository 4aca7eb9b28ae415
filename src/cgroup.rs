//! Limits for the whole sandbox by a control group of its own (cgroups(7), version 2).
//!
//! Runs in the launcher: makes a group below its own, sets the limits, and removes the group when the
//! sandbox is gone. The command starts in it (`CLONE_INTO_CGROUP`), so not even its first instruction
//! is outside. Needs a delegated group, or root; the error says how to get one.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::plan::errno_of;
use crate::policy::Cgroup;

/// The period of `cpu.max`, in microseconds: the kernel's default.
const PERIOD: f64 = 100_000.0;

/// A control group that lives as long as this value.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    directory: File,
}

impl Group {
    /// Make one with `limits`; `None` where there are none.
    ///
    /// # Errors
    /// When a limit that was asked for cannot be had.
    pub(crate) fn make(limits: &Cgroup) -> Result<Option<Self>> {
        let wanted = settings(limits);
        if wanted.is_empty() {
            return Ok(None);
        }
        let own = own_group()?;
        enable(&own, &wanted)?;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = own.join(format!("sandbox-{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(|error| failed("make", &path, errno_of(&error)))?;
        let directory =
            File::open(&path).map_err(|error| failed("open", &path, errno_of(&error)))?;
        let group = Self { path, directory };
        for (file, value) in &wanted {
            let file = group.path.join(file);
            fs::write(&file, value).map_err(|error| failed("set", &file, errno_of(&error)))?;
        }
        Ok(Some(group))
    }

    /// The directory that it is made in and removed from.
    pub(crate) fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// For `CLONE_INTO_CGROUP`.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty by now: the sandbox's last process has been waited for.
        let _ = fs::remove_dir(&self.path);
    }
}

fn failed(action: &'static str, path: &Path, errno: Errno) -> Error {
    let hint = match errno {
        Errno::EACCES | Errno::EPERM | Errno::EROFS => {
            "have a group delegated: 'systemd-run --user --scope -p Delegate=yes sandbox …', or run as root"
        }
        Errno::EBUSY => {
            "the launcher's own group has processes, so it can hand out no controllers: start it in a group of its own, as 'systemd-run --scope -p Delegate=yes' does, below a slice that has them"
        }
        Errno::ENOENT => "the controller is not enabled here; see 'sandbox doctor'",
        _ => "see 'sandbox doctor'",
    };
    Error::host(
        match action {
            "make" => "make the control group",
            "open" => "open the control group",
            "enable" => "enable controllers in",
            _ => "set the control group's limit",
        },
        path.display().to_string(),
        errno,
    )
    .with_hint(Some(hint.to_owned()))
}

/// The files to write, by the controller's name before the dot.
fn settings(limits: &Cgroup) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    if let Some(bytes) = limits.memory {
        settings.push(("memory.max", bytes.to_string()));
    }
    if let Some(count) = limits.pids {
        settings.push(("pids.max", count.to_string()));
    }
    if let Some(processors) = limits.cpu {
        settings.push(("cpu.max", format!("{:.0} {PERIOD:.0}", processors * PERIOD)));
    }
    settings
}

/// The launcher's own group as a directory: where version 2 is mounted, and what `/proc` says.
fn own_group() -> Result<PathBuf> {
    let missing = |reason: &str| Error::Unsupported {
        layer: "control-group limits".to_owned(),
        reason: reason.to_owned(),
        hint: Some("mount cgroup2, or use --limit instead".to_owned()),
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // "… root mount-point options … - cgroup2 …" (proc_pid_mountinfo(5)).
    let (root, mount) = mounts
        .lines()
        .find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut fields = before.split(' ').skip(3);
            let found = (fields.next()?, fields.next()?);
            after.starts_with("cgroup2 ").then_some(found)
        })
        .ok_or_else(|| missing("no version 2 control groups are mounted"))?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or_else(|| missing("this process is in no version 2 control group"))?;
    let below = own.strip_prefix(root.trim_end_matches('/')).unwrap_or(own);
    if below.split('/').any(|part| part == "..") {
        return Err(missing(
            "this process's control group is outside of what is mounted",
        ));
    }
    Ok(Path::new(mount).join(below.trim_start_matches('/')))
}

/// Let children of `own` have the controllers that `wanted` needs.
fn enable(own: &Path, wanted: &[(&'static str, String)]) -> Result<()> {
    let read = |file: &str| fs::read_to_string(own.join(file)).unwrap_or_default();
    let (available, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    for (file, _) in wanted {
        let controller = file.split('.').next().unwrap_or(file);
        let has = |list: &str| list.split_whitespace().any(|name| name == controller);
        if has(&enabled) {
            continue;
        }
        if !has(&available) {
            return Err(Error::Unsupported {
                layer: format!("the control-group limit {file}"),
                reason: format!(
                    "the controller {controller} is not available in {}",
                    own.display()
                ),
                hint: Some("see 'sandbox doctor'; or use --limit instead".to_owned()),
            });
        }
        let control = own.join("cgroup.subtree_control");
        fs::write(&control, format!("+{controller}"))
            .map_err(|error| failed("enable", &control, errno_of(&error)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_the_kernels_files() {
        let limits = Cgroup {
            memory: Some(1 << 20),
            pids: Some(7),
            cpu: Some(1.5),
        };
        let expected = [
            ("memory.max", "1048576".to_owned()),
            ("pids.max", "7".to_owned()),
            ("cpu.max", "150000 100000".to_owned()),
        ];
        assert_eq!(settings(&limits), expected);
        assert!(settings(&Cgroup::default()).is_empty());
    }
}
