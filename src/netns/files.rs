//! The files that stand in for those of `/etc` in a namespace: `/etc/netns/NAME/FILE` for `/etc/FILE`, as
//! ip-netns(8) documents. Reads only.
#![forbid(unsafe_code)]

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::name::NamespaceName;
use crate::error::{Error, Result};
use crate::plan::errno_of;

/// Where such files are.
pub const DIRECTORY: &str = "/etc/netns";

/// What stands in for what in the namespace called `name`: pairs of a path and the one it is put over.
///
/// As with `ip netns exec`, one that there is nothing to put over for is left out with a warning.
///
/// # Errors
/// When the files cannot be listed.
pub fn of(name: &NamespaceName) -> Result<Vec<(PathBuf, PathBuf)>> {
    of_directory(&Path::new(DIRECTORY).join(name.as_str()))
}

fn of_directory(directory: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(|error| {
            Error::host("read", directory.display().to_string(), errno_of(&error))
        })?,
    };
    let mut pairs = Vec::new();
    for entry in entries.flatten() {
        let target = Path::new("/etc").join(entry.file_name());
        match fs::canonicalize(&target) {
            Ok(target) => pairs.push((entry.path(), target)),
            Err(_) => warn!(
                file = %entry.path().display(),
                "left out: there is nothing in /etc to put it over"
            ),
        }
    }
    pairs.sort();
    Ok(pairs)
}
