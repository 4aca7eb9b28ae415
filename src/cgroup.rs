//! Limits for the whole sandbox by a control group of its own (cgroups(7), version 2).
//!
//! Runs in the launcher: makes a group below its own, sets the limits, and removes the group when the
//! sandbox is gone. The command starts in it (`CLONE_INTO_CGROUP`), so not even its first instruction
//! is outside. Needs a delegated group, or root; the error says how to get one.
//!
//! ```text
//! the launcher's own group        hands its controllers down, and so has no processes (cgroups(7))
//! ├─ sandbox-launcher-PID-N       the launcher, while there are limited sandboxes
//! └─ sandbox-PID-N                a sandbox, with its limits
//! ```
//!
//! In the first group of all, which may have both, the launcher stays where it is.
//!
//! A launcher that is killed removes nothing, so the next one in its place does: each holds a lock on
//! the directory of each group that it has made, which the kernel takes back at its end. A name would
//! not do, since pids are used again, and are others in each pid namespace.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use caps::Capability;
use nix::errno::Errno;
use tracing::debug;

use crate::error::{Error, Result};
use crate::plan::errno_of;
use crate::policy::Cgroup;

/// The period of `cpu.max`, in microseconds: the kernel's default.
const PERIOD: f64 = 100_000.0;
/// Not there without swap, or without accounting of it: then there is nothing to limit.
const SWAP: &str = "memory.swap.max";

/// What the names of sandboxes' groups begin with; a pid and a number follow.
const GROUP: &str = "sandbox-";
/// The same of the launchers' own.
const NEST: &str = "sandbox-launcher-";

/// A control group that lives as long as this value.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    /// Holds the claim.
    directory: File,
    /// Given up last: the home hands nothing down any more then.
    _lease: Lease,
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
        let lease = Lease::take(&wanted)?;
        let (path, directory) = make_claimed(&lease.home, GROUP)?;
        let group = Self {
            path,
            directory,
            _lease: lease,
        };
        for (file, value) in &wanted {
            let path = group.path.join(file);
            match fs::write(&path, value) {
                Err(error) if errno_of(&error) == Errno::ENOENT && *file == SWAP => {}
                written => written.map_err(|error| failed("set", &path, errno_of(&error)))?,
            }
        }
        Ok(Some(group))
    }

    /// What its removal needs of root: the first group of all is read-only even to its owner.
    pub(crate) fn needs(&self) -> Option<Capability> {
        self._lease
            .in_first_group
            .then_some(Capability::CAP_DAC_OVERRIDE)
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

/// One group's part in the home.
#[derive(Debug)]
struct Lease {
    home: PathBuf,
    in_first_group: bool,
}

impl Lease {
    fn take(wanted: &[(&'static str, String)]) -> Result<Self> {
        let mut known = known();
        let (leases, mut home) = match known.take() {
            Some(known) => known,
            None => (0, Home::make(own_group()?, wanted)?),
        };
        let lease = home.enable(wanted).map(|()| Self {
            home: home.path.clone(),
            in_first_group: home.nest.is_none(),
        });
        let leases = leases.saturating_add(u32::from(lease.is_ok()));
        *known = (leases > 0).then_some((leases, home));
        lease
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut known = known();
        *known = known
            .take()
            .map(|(leases, home)| (leases.saturating_sub(1), home))
            .filter(|(leases, _)| *leases > 0);
    }
}

/// The launcher's own group, made to hand its controllers down.
#[derive(Debug)]
struct Home {
    path: PathBuf,
    /// Its controllers for the groups below.
    control: File,
    /// Those that were not handed down before.
    enabled: BTreeSet<&'static str>,
    /// Where this process is meanwhile.
    nest: Option<Nest>,
}

/// The one home of this process, and how many leases there are of it. A second group must not look for
/// it from inside the nest.
static HOME: Mutex<Option<(u32, Home)>> = Mutex::new(None);

fn known() -> MutexGuard<'static, Option<(u32, Home)>> {
    HOME.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Home {
    fn make(path: PathBuf, wanted: &[(&'static str, String)]) -> Result<Self> {
        let open = |file: &str| {
            let path = path.join(file);
            let file = File::options().write(true).open(&path);
            file.map_err(|error| failed("enable", &path, errno_of(&error)))
        };
        available(&path, wanted)?;
        sweep(&path);
        let (control, members) = (open("cgroup.subtree_control")?, open("cgroup.procs")?);
        // Only the first group of all has no type.
        let nest = if path.join("cgroup.type").exists() {
            Some(Nest::make(&path, members)?)
        } else {
            None
        };
        Ok(Self {
            control,
            path,
            enabled: BTreeSet::new(),
            nest,
        })
    }

    fn enable(&mut self, wanted: &[(&'static str, String)]) -> Result<()> {
        available(&self.path, wanted)?;
        let control = self.path.join("cgroup.subtree_control");
        let before = fs::read_to_string(&control).unwrap_or_default();
        for controller in controllers(wanted) {
            if before.split_whitespace().any(|name| name == controller) {
                continue;
            }
            self.control
                .write_all(format!("+{controller}").as_bytes())
                .map_err(|error| failed("enable", &control, errno_of(&error)))?;
            self.enabled.insert(controller);
        }
        Ok(())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // In the first group of all others may have come to use them meanwhile.
        let Some(nest) = &self.nest else { return };
        for controller in &self.enabled {
            let _ = (&self.control).write_all(format!("-{controller}").as_bytes());
        }
        nest.leave();
    }
}

/// A group for this process alone, and the way back out of it.
#[derive(Debug)]
struct Nest {
    path: PathBuf,
    /// Holds the claim.
    _directory: File,
    /// The members of the group that it came from. Open beforehand: the supervisor may open nothing.
    back: File,
}

/// Writes the calling process into a group: 0 stands for it, with all its threads.
const MYSELF: &[u8] = b"0";

impl Nest {
    fn make(home: &Path, back: File) -> Result<Self> {
        let (path, directory) = make_claimed(home, NEST)?;
        let nest = Self {
            path,
            _directory: directory,
            back,
        };
        let members = nest.path.join("cgroup.procs");
        if let Err(error) = fs::write(&members, MYSELF) {
            nest.leave();
            return Err(failed("enter", &nest.path, errno_of(&error)));
        }
        Ok(nest)
    }

    fn leave(&self) {
        // Whatever cannot be undone is an empty group, which limits nothing.
        let _ = (&self.back).write_all(MYSELF);
        let _ = fs::remove_dir(&self.path);
    }
}

/// A new directory in `home`, called `prefix` and more, and the claim on it: a lock that another
/// process's [`sweep`] respects.
fn make_claimed(home: &Path, prefix: &str) -> Result<(PathBuf, File)> {
    /// Each a sweep that came between the making and the lock.
    const TRIES: u32 = 100;
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut last = Errno::EAGAIN;
    let mut path = home.to_owned();
    for _ in 0..TRIES {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        path = home.join(format!("{prefix}{}-{number}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => {}
            // Of a launcher that had our pid, in another pid namespace or before us.
            Err(error) if errno_of(&error) == Errno::EEXIST => {
                last = Errno::EEXIST;
                continue;
            }
            Err(error) => return Err(failed("make", &path, errno_of(&error))),
        }
        match claim(&path) {
            Ok(directory) => return Ok((path, directory)),
            Err(errno @ (Errno::ENOENT | Errno::EAGAIN)) => last = errno,
            Err(errno) => {
                let _ = fs::remove_dir(&path);
                return Err(failed("open", &path, errno));
            }
        }
    }
    Err(failed("make", &path, last))
}

/// The lock on the directory at `path`: EAGAIN where another process has it, ENOENT where it has been
/// removed meanwhile.
fn claim(path: &Path) -> std::result::Result<File, Errno> {
    let directory = File::open(path).map_err(|error| errno_of(&error))?;
    directory.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Errno::EAGAIN,
        TryLockError::Error(error) => errno_of(&error),
    })?;
    let inode = |found: std::io::Result<fs::Metadata>| found.map(|it| it.ino()).ok();
    match inode(fs::symlink_metadata(path)) == inode(directory.metadata()) {
        true => Ok(directory),
        false => Err(Errno::ENOENT),
    }
}

/// Remove the groups of launchers that are gone from `home`. One that has processes or groups in it
/// the kernel keeps, whatever we think of it.
fn sweep(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.to_str().is_some_and(is_ours) {
            continue;
        }
        // The claim is held over the removal, so that no owner takes it for its own in between.
        if let Ok(_claim) = claim(&entry.path()) {
            let removed = fs::remove_dir(entry.path());
            debug!(
                group = ?name,
                removed = removed.is_ok(),
                "a control group whose launcher is gone"
            );
        }
    }
}

/// Whether [`make_claimed`] gives such names.
fn is_ours(name: &str) -> bool {
    let rest = name.strip_prefix(NEST).or_else(|| name.strip_prefix(GROUP));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    rest.and_then(|rest| rest.split_once('-'))
        .is_some_and(|(pid, count)| number(pid) && number(count))
}

fn failed(action: &'static str, path: &Path, errno: Errno) -> Error {
    let hint = match errno {
        Errno::EACCES | Errno::EPERM | Errno::EROFS => {
            "have a group delegated: 'systemd-run --user --scope -p Delegate=yes sandbox …', or run as root"
        }
        Errno::EBUSY => {
            "other processes are in the launcher's own group, so it can hand no controllers down: start the launcher in a group of its own, as 'systemd-run --user --scope -p Delegate=yes sandbox …' does"
        }
        Errno::ENOENT => "the controller is not enabled here; see 'sandbox doctor'",
        _ => "see 'sandbox doctor'",
    };
    Error::host(
        match action {
            "make" => "make the control group",
            "open" => "open the control group",
            "enter" => "enter the control group",
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
        settings.push((SWAP, "0".to_owned()));
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

/// The controllers that `wanted` needs.
fn controllers<'a>(
    wanted: &'a [(&'static str, String)],
) -> impl Iterator<Item = &'static str> + 'a {
    let names = wanted
        .iter()
        .map(|(file, _)| file.split('.').next().unwrap_or(file));
    names.collect::<BTreeSet<_>>().into_iter()
}

/// That the group at `home` has the controllers that `wanted` needs.
fn available(home: &Path, wanted: &[(&'static str, String)]) -> Result<()> {
    let has = fs::read_to_string(home.join("cgroup.controllers")).unwrap_or_default();
    let missing =
        controllers(wanted).find(|&wanted| has.split_whitespace().all(|name| name != wanted));
    match missing {
        None => Ok(()),
        Some(controller) => Err(Error::Unsupported {
            layer: format!("the control-group limit of {controller}"),
            reason: format!(
                "the controller {controller} is not available in {}",
                home.display()
            ),
            hint: Some("see 'sandbox doctor'; or use --limit instead".to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plain directory: locks and names are the same there.
    fn home() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn groups_of_launchers_that_are_gone_are_swept_and_no_others() {
        let home = home();
        let at = |name: &str| home.path().join(name);
        for name in ["sandbox-1-0", "sandbox-launcher-1-0"] {
            fs::create_dir(at(name)).unwrap();
        }
        let others = [
            "sandbox-test-1",
            "sandbox-1",
            "sandbox-1-x",
            "mine",
            "sandbox--1",
        ];
        for name in others {
            fs::create_dir(at(name)).unwrap();
        }
        // In use: claimed, though empty as between the making and the clone.
        let (held, claim) = make_claimed(home.path(), GROUP).unwrap();
        // Not claimed any more, but not empty either.
        fs::create_dir_all(at("sandbox-2-0/group")).unwrap();
        sweep(home.path());
        assert!(!at("sandbox-1-0").exists() && !at("sandbox-launcher-1-0").exists());
        assert!(others.iter().all(|name| at(name).exists()));
        assert!(held.exists() && at("sandbox-2-0").exists());
        // Its owner is gone now.
        drop(claim);
        sweep(home.path());
        assert!(!held.exists());
    }

    #[test]
    fn makers_and_sweepers_at_once_lose_no_group_in_use() {
        let home = home();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        sweep(home.path());
                    }
                });
            }
            for _ in 0..500 {
                let (path, claim) = make_claimed(home.path(), NEST).unwrap();
                std::thread::yield_now();
                assert!(path.exists());
                drop(claim);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn limits_become_the_kernels_files() {
        let limits = Cgroup {
            memory: Some(1 << 20),
            pids: Some(7),
            cpu: Some(1.5),
        };
        let expected = [
            ("memory.max", "1048576".to_owned()),
            ("memory.swap.max", "0".to_owned()),
            ("pids.max", "7".to_owned()),
            ("cpu.max", "150000 100000".to_owned()),
        ];
        assert_eq!(settings(&limits), expected);
        assert!(settings(&Cgroup::default()).is_empty());
    }
}
