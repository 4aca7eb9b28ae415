//! The Unix sockets of the host, and those that are allowed: taken before they are covered, and shown after.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::errno_of;
use crate::egress::rules::Rules;
use crate::error::{self, Error, Result};
use crate::mounts::Mount;
use crate::proc_file;

/// A Unix socket of the host that is allowed by its path.
pub(super) struct LetThrough {
    /// The rule's path, without links but for its last part.
    path: PathBuf,
    /// What it leads to.
    pub(super) socket: PathBuf,
}

/// The Unix sockets that the rules allow.
pub(super) fn sockets_let_through(rules: &Rules) -> Result<Vec<LetThrough>> {
    let mut sockets = Vec::new();
    for path in rules.unix_sockets() {
        let refuse =
            |reason: &str| Error::usage(format!("--allow unix:{}", path.display()), reason);
        let found =
            fs::canonicalize(path).map_err(|error| refuse(&error::reason(errno_of(&error))))?;
        if !fs::metadata(&found).is_ok_and(|found| found.file_type().is_socket()) {
            return Err(refuse("this is no Unix socket"));
        }
        let place = path.parent().zip(path.file_name());
        let (parent, name) = place.ok_or_else(|| refuse("this is no Unix socket"))?;
        let parent =
            fs::canonicalize(parent).map_err(|error| refuse(&error::reason(errno_of(&error))))?;
        sockets.push(LetThrough {
            path: parent.join(name),
            socket: found,
        });
    }
    Ok(sockets)
}

/// Unix sockets with a path, as the kernel lists those of the launcher's network namespace.
///
/// A socket bound later, or in another network namespace, is not in the list.
pub(super) fn host_sockets() -> Vec<PathBuf> {
    let Ok(table) = proc_file::read("/proc/net/unix") else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = table
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            line.iter()
                .position(|&byte| byte == b'/')
                .map(|at| &line[at..])
        })
        .map(|path| PathBuf::from(OsStr::from_bytes(path)))
        .collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .filter(|path| fs::metadata(path).is_ok_and(|found| found.file_type().is_socket()))
        .collect()
}

/// Take the allowed sockets that `mounts` cover before it does, and put them back after.
pub(super) fn show_sockets(sockets: Vec<LetThrough>, mounts: &mut Vec<Mount>) -> Result<()> {
    let mut kept = Vec::new();
    let mut shown = Vec::new();
    let mut made: BTreeSet<PathBuf> = BTreeSet::new();
    for LetThrough { path, socket } in sockets {
        let refuse =
            |reason: &str| Error::usage(format!("--allow unix:{}", path.display()), reason);
        let mut above = None;
        for mount in mounts.iter() {
            match mount {
                Mount::HideDirectory(cover) | Mount::PrivateTmp(cover)
                    if path.starts_with(cover) =>
                {
                    above = Some(cover.clone());
                }
                Mount::HideFile(hidden) if *hidden == path || *hidden == socket => {
                    return Err(refuse(
                        "--hide, or hide of the policy, names this very socket",
                    ));
                }
                Mount::Dev { .. } if path.starts_with("/dev") => {
                    return Err(refuse(
                        "it is not in a /dev of its own; that needs --dev host",
                    ));
                }
                _ => {}
            }
        }
        let Some(cover) = above else {
            continue;
        };
        if kept.len() == crate::mounts::MOST_KEPT {
            return Err(refuse("too many sockets below hidden directories"));
        }
        let mut directories: Vec<PathBuf> = path
            .ancestors()
            .skip(1)
            .take_while(|folder| **folder != *cover)
            .filter(|folder| made.insert(folder.to_path_buf()))
            .map(Path::to_path_buf)
            .collect();
        directories.reverse();
        shown.push(Mount::ShowSocket {
            path,
            kept: kept.len(),
            directories,
        });
        kept.push(Mount::KeepSocket(socket));
    }
    mounts.splice(0..0, kept);
    mounts.extend(shown);
    Ok(())
}
