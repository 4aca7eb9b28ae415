//! Where labs are kept: a directory of the user's that ends with the machine's run.
//!
//! `/run/sandbox/labs` for root; for others `labs` in the directory that has their names of namespaces
//! ([`crate::netns::user::Home`]). Each lab that is up has a directory of its name there, with the keeper's
//! socket, the record of what outlives the keeper, and the commands' output.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Result};
use crate::netns::user::{Home, make_private};
use crate::plan::errno_of;

/// Where root's labs are, among other things of root's.
const ROOTS: &str = "/run/sandbox";

/// The directory of labs, made where it is not there.
///
/// # Errors
/// When it cannot be made, or is not this user's alone.
pub(super) fn labs() -> Result<PathBuf> {
    let labs = match Home::of_caller() {
        Some(home) => {
            make_private(home.directory())?;
            home.directory().join("labs")
        }
        None => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(ROOTS)
                .map_err(|error| Error::host("make", ROOTS, errno_of(&error)))?;
            Path::new(ROOTS).join("labs")
        }
    };
    make_private(&labs)?;
    Ok(labs)
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
