//! Where labs are kept: a directory of the user's that ends with the machine's run.
//!
//! `/run/sandbox/labs` for root; for others `sandbox/labs` in `XDG_RUNTIME_DIR`, or
//! `/tmp/sandbox-UID/labs` where that is not set. Each lab that is up has a directory of its name there,
//! with the keeper's socket, the record of what outlives the keeper, and the commands' output.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

use crate::error::{Error, Result};
use crate::plan::errno_of;

/// The directory of labs, made where it is not there.
///
/// # Errors
/// When it cannot be made, or is not this user's alone.
pub(super) fn labs() -> Result<PathBuf> {
    let uid = geteuid();
    let base = match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        _ if uid.is_root() => PathBuf::from("/run/sandbox"),
        Some(directory) if directory.is_absolute() && is_ours(&directory) => {
            directory.join("sandbox")
        }
        _ => PathBuf::from(format!("/tmp/sandbox-{uid}")),
    };
    make_private(&base)?;
    let labs = base.join("labs");
    make_private(&labs)?;
    Ok(labs)
}

fn is_ours(directory: &Path) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw())
}

/// Make `directory` for this user alone, or see that it is.
pub(super) fn make_private(directory: &Path) -> Result<()> {
    let shown = || directory.display().to_string();
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made.map_err(|error| Error::host("make", shown(), errno_of(&error)))?,
    }
    let found = fs::symlink_metadata(directory)
        .map_err(|error| Error::host("look at", shown(), errno_of(&error)))?;
    // Another user could have made it first, to see or change what is in it.
    if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(Error::host("use", shown(), Errno::EPERM).with_hint(Some(
            "it has to be a directory that only this user can write to: remove it".to_owned(),
        )));
    }
    Ok(())
}

/// Keep others from bringing labs up or down, until it is dropped.
///
/// # Errors
/// When the directory cannot be locked.
pub(super) fn lock(labs: &Path) -> Result<Flock<File>> {
    let shown = || labs.display().to_string();
    let directory =
        File::open(labs).map_err(|error| Error::host("open", shown(), errno_of(&error)))?;
    Flock::lock(directory, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::host("lock", shown(), errno))
}

/// The names of the labs that have a directory.
pub(super) fn names(labs: &Path) -> Vec<String> {
    let entries = fs::read_dir(labs).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
