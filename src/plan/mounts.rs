//! The file system's view: what is mounted, covered and shown, in order.
//!
//! As the host is now: which paths are there, which sockets are listed.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io::IsTerminal;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::errno_of;
use super::sockets::{host_sockets, show_sockets, sockets_let_through};
use crate::egress::rules::Rules;
use crate::error::{self, Error, Result};
use crate::mounts::{DEVICE_NODES, Mount};
use crate::pinned;
use crate::policy::{Filesystem, Network, Policy, UserNamespace, View, find};
use crate::probe::Support;
use crate::request::Placed;

/// Parts of `/proc`, fresh or the host's, through which root, even without a capability, could change
/// or read the host: procfs goes by user id there.
const PROC_READ_ONLY: &[&str] = &["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi"];
const PROC_MASKED: &[&str] = &[
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "timer_list",
    "sched_debug",
    "latency_stats",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "vmallocinfo",
];

/// `files` first, so that whatever covers a path covers these too.
pub(super) fn with_files(
    files: &[Placed],
    policy: &Policy,
    mounts: Vec<Mount>,
) -> Result<Vec<Mount>> {
    if !files.is_empty() && !policy.namespaces.mount {
        return Err(Error::usage(
            "--share mount",
            "files are put in place of others here, which needs a mount namespace of the sandbox's own",
        ));
    }
    let files = files.iter().cloned().map(|placed| match placed {
        Placed::Over { source, path } => Mount::File { source, path },
        Placed::Into { layer, directory } => Mount::Overlay { layer, directory },
    });
    Ok(files.chain(mounts).collect())
}

/// The mounts as the host is now: which paths are there, which sockets are listed.
///
/// # Errors
/// When a path that the policy names is not there.
pub(crate) fn mounts(policy: &Policy, support: &Support, rules: &Rules) -> Result<Vec<Mount>> {
    if !policy.namespaces.mount {
        return Ok(Vec::new());
    }
    let filesystem = &in_both_homes(&policy.filesystem);
    let optional: BTreeSet<&Path> = filesystem.optional.iter().map(PathBuf::as_path).collect();
    let resolve = |option: &str, paths: &[PathBuf]| -> Result<Vec<PathBuf>> {
        let mut resolved = Vec::new();
        for path in paths {
            // Most of what a shipped profile hides is on few hosts: one look instead of one for each
            // component.
            if optional.contains(path.as_path()) && fs::symlink_metadata(path).is_err() {
                continue;
            }
            match fs::canonicalize(path) {
                Ok(path) => resolved.push(path),
                Err(_) if optional.contains(path.as_path()) => {}
                Err(error) => {
                    let what = format!("{option} {}", path.display());
                    let reason = match errno_of(&error) {
                        Errno::ENOENT => {
                            "there is no such path; leave it out, or create it first".to_owned()
                        }
                        errno => error::reason(errno),
                    };
                    return Err(Error::usage(what, reason));
                }
            }
        }
        resolved.sort();
        resolved.dedup();
        Ok(resolved)
    };
    let let_through = sockets_let_through(rules)?;
    let mut mounts = Vec::new();
    let mut read_only = resolve("--read-only", &filesystem.read_only)?;
    // The kernel lets uid 0 write there without any capability; others may own a control group.
    if filesystem.sys == View::Host && Path::new("/sys").exists() {
        read_only.push(PathBuf::from("/sys"));
    }
    if !read_only.iter().any(|path| path == Path::new("/")) {
        mounts.extend(pinned::on_the_ways_to(&filesystem.read_only).map(Mount::Pinned));
    }
    mounts.extend(read_only.into_iter().map(Mount::ReadOnly));
    let read_write = resolve("--read-write", &filesystem.read_write)?;
    mounts.extend(read_write.into_iter().map(Mount::ReadWrite));
    if filesystem.proc == View::Own {
        mounts.push(Mount::Proc);
    }
    mounts.extend(proc_protection(support));
    if filesystem.dev == View::Own {
        mounts.push(Mount::Dev {
            nodes: DEVICE_NODES.to_vec(),
            console: terminal(),
        });
    }
    let mut covered = Vec::new();
    if filesystem.private_tmp {
        for folder in ["/tmp", "/var/tmp"] {
            if let Ok(folder) = fs::canonicalize(folder) {
                covered.push(folder);
            }
        }
        covered.dedup();
        mounts.extend(covered.iter().cloned().map(Mount::PrivateTmp));
    }
    // As late as can be: it needs the network namespace, which is made meanwhile.
    if filesystem.sys == View::Own {
        // The /sys in sight may be the joined network's own, and the same is not mounted on itself.
        let joins = matches!(policy.network, Network::Namespace(_));
        if joins {
            mounts.push(Mount::HideDirectory(PathBuf::from("/sys")));
        }
        // From a user namespace of its own a network that another one made has none to show: it stays empty.
        if !(joins && policy.user_namespace == UserNamespace::Yes) {
            mounts.push(Mount::Sys);
        }
    }
    let hide = resolve("--hide", &filesystem.hide)?;
    let named: BTreeSet<PathBuf> = hide.iter().cloned().collect();
    for path in hide {
        if covered.iter().any(|above| path.starts_with(above)) {
            continue;
        }
        if path.is_dir() {
            covered.push(path.clone());
            mounts.push(Mount::HideDirectory(path));
        } else {
            mounts.push(Mount::HideFile(path));
        }
    }
    if filesystem.hide_sockets {
        let replaced = [(filesystem.dev, "/dev"), (filesystem.sys, "/sys")];
        let replaced = replaced.into_iter().filter(|(view, _)| *view == View::Own);
        covered.extend(replaced.map(|(_, folder)| PathBuf::from(folder)));
        let gone = |path: &PathBuf| covered.iter().any(|above| path.starts_with(above));
        let sockets = host_sockets().into_iter();
        let allowed = |path: &PathBuf| let_through.iter().any(|one| one.socket == *path);
        let sockets = sockets.filter(|path| !gone(path) && !named.contains(path) && !allowed(path));
        mounts.extend(sockets.map(Mount::HideSocket));
    }
    show_sockets(let_through, &mut mounts)?;
    Ok(mounts)
}

/// The same, with what shipped profiles hide and protect below HOME hidden and protected in the home that
/// the user database has, too: what is to be kept from a command is in either, whoever has set HOME.
fn in_both_homes(filesystem: &Filesystem) -> Cow<'_, Filesystem> {
    let optional = &filesystem.optional;
    let home = find::home_by_environment();
    // Most launches name nothing below it, and need not ask.
    let home = home.filter(|home| optional.iter().any(|path| path.starts_with(home)));
    let Some((home, other)) = home.and_then(|home| Some((home, find::home_by_id()?))) else {
        return Cow::Borrowed(filesystem);
    };
    if home == other {
        return Cow::Borrowed(filesystem);
    }
    let mut both = filesystem.clone();
    for list in [&mut both.hide, &mut both.read_only] {
        let shipped = list.iter().filter(|path| optional.contains(path));
        let below = shipped.filter_map(|path| path.strip_prefix(&home).ok());
        let more: Vec<PathBuf> = below.map(|rest| other.join(rest)).collect();
        both.optional.extend(more.iter().cloned());
        list.extend(more);
    }
    Cow::Owned(both)
}

/// An ordinary user is kept out of most of these by their modes; `/proc/sys` is closed to all. Which
/// of them a kernel has, the child finds out for nothing.
fn proc_protection(support: &Support) -> Vec<Mount> {
    let path = |name: &&str| Path::new("/proc").join(name);
    if !support.root {
        return vec![Mount::ProcReadOnly(PathBuf::from("/proc/sys"))];
    }
    let read_only = PROC_READ_ONLY.iter().map(path).map(Mount::ProcReadOnly);
    let masked = PROC_MASKED.iter().map(path).map(Mount::ProcMask);
    read_only.chain(masked).collect()
}

/// The terminal that the caller has on 0, 1 or 2, so that ttyname(3) finds it in the new `/dev`.
fn terminal() -> Option<PathBuf> {
    let found = if std::io::stdin().is_terminal() {
        0
    } else if std::io::stdout().is_terminal() {
        1
    } else if std::io::stderr().is_terminal() {
        2
    } else {
        return None;
    };
    let path = fs::read_link(format!("/proc/self/fd/{found}")).ok()?;
    fs::metadata(&path)
        .is_ok_and(|it| it.file_type().is_char_device())
        .then_some(path)
}
