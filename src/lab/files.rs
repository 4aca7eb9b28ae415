//! Where the files that a node's commands see go: over those of the host, or into a directory of it.
//!
//! A mount needs something to be put over. What is not there is had without making it on the host: an
//! overlay of the nearest directory that is there, whose other layer has empty files for it, covers that
//! directory for the commands alone. Nothing can be written there then, as the layers are the host's and
//! the lab's. Decides, and reads; [`super::outside`] keeps the layers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::plan::errno_of;

/// What a sandbox has of its own at these places: nothing of the host is seen there.
const OWN: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Something there that a file can be put over, or the directory that the way to it ends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// It is there.
    File,
    /// Only this directory is, and lacks `rest`.
    Directory {
        /// Its whole path, without symbolic links.
        directory: PathBuf,
        /// What is missing below it.
        rest: PathBuf,
    },
}

/// What there is at `path`.
///
/// # Errors
/// When nothing can be put there.
pub(super) fn ground_of(path: &Path) -> Result<Ground> {
    let refuse = |reason: String| Err(Error::usage(format!("file {}", path.display()), reason));
    let failed = |error: std::io::Error| {
        Error::host("look at", path.display().to_string(), errno_of(&error))
    };
    if fs::metadata(path).is_ok() {
        return Ok(Ground::File);
    }
    let mut ancestors = path.ancestors();
    let found = ancestors.find(|one| fs::symlink_metadata(one).is_ok());
    let found = found.unwrap_or(Path::new("/"));
    match fs::metadata(found) {
        Ok(metadata) if !metadata.is_dir() => {
            return refuse(format!("{} is no directory", found.display()));
        }
        Err(error) if errno_of(&error) == Errno::ENOENT => {
            return refuse(format!("{} is a symbolic link to nothing", found.display()));
        }
        metadata => metadata.map_err(failed)?,
    };
    let rest = path.strip_prefix(found).unwrap_or(path).to_owned();
    let directory = fs::canonicalize(found).map_err(failed)?;
    if directory == Path::new("/") {
        return refuse(
            "it is in / itself, or in a directory there that is missing: use one that is there"
                .to_owned(),
        );
    }
    if let Some(own) = OWN.iter().find(|own| directory.starts_with(own)) {
        return refuse(format!(
            "a sandbox has a {own} of its own, and nothing is put there"
        ));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    if let Some(below) = mount_below(&directory, &mounts) {
        return refuse(format!(
            "it is missing, and cannot be put into {} because {} is mounted below that",
            directory.display(),
            below.display()
        ));
    }
    Ok(Ground::Directory { directory, rest })
}

/// A mount that an overlay of `directory` would not show, by the text of proc_pid_mountinfo(5).
fn mount_below(directory: &Path, mounts: &str) -> Option<PathBuf> {
    let point = |line: &str| line.split(' ').nth(4).map(unescaped);
    let mut points = mounts.lines().filter_map(point);
    points.find(|point| point != directory && point.starts_with(directory))
}

/// As the kernel writes a path: blanks and backslashes in octal.
fn unescaped(text: &str) -> PathBuf {
    let mut path = text.to_owned();
    for (written, meant) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        path = path.replace(written, meant);
    }
    PathBuf::from(path)
}

/// The directories that `files` need an overlay of, each with what it lacks; none is below another one,
/// as the upper one's overlay shows the lower one's too.
///
/// # Errors
/// When one of them can be put nowhere.
pub(super) fn lacking<'a>(
    files: impl Iterator<Item = &'a PathBuf>,
) -> Result<BTreeMap<PathBuf, BTreeSet<PathBuf>>> {
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for file in files {
        if let Ground::Directory { directory, rest } = ground_of(file)? {
            found.push((directory, rest));
        }
    }
    Ok(by_the_highest(found))
}

fn by_the_highest(mut found: Vec<(PathBuf, PathBuf)>) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    // A directory comes before what is below it.
    found.sort();
    let mut by_directory: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for (directory, rest) in found {
        let mut above = directory.ancestors();
        match above.find(|one| by_directory.contains_key(*one)) {
            Some(above) => {
                let between = directory.strip_prefix(above).unwrap_or(Path::new(""));
                let rest = between.join(rest);
                by_directory
                    .entry(above.to_owned())
                    .or_default()
                    .insert(rest);
            }
            None => drop(by_directory.entry(directory).or_default().insert(rest)),
        }
    }
    by_directory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_put_into_the_nearest_directory() {
        let place = tempfile::tempdir().unwrap();
        let place = fs::canonicalize(place.path()).unwrap();
        fs::write(place.join("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", place.join("link")).unwrap();
        std::os::unix::fs::symlink(&place, place.join("here")).unwrap();
        assert_eq!(ground_of(&place.join("file")).unwrap(), Ground::File);
        let expected = Ground::Directory {
            directory: place.clone(),
            rest: "a/b".into(),
        };
        assert_eq!(ground_of(&place.join("a/b")).unwrap(), expected);
        assert_eq!(ground_of(&place.join("here/a/b")).unwrap(), expected);
        for (path, reason) in [
            (place.join("file/x"), "is no directory"),
            (place.join("link/x"), "is a symbolic link to nothing"),
            (place.join("link"), "is a symbolic link to nothing"),
            ("/no-such-directory/x".into(), "it is in / itself"),
            (
                "/proc/no-such-file".into(),
                "a sandbox has a /proc of its own",
            ),
            (
                "/sys/no-such-file".into(),
                "a sandbox has a /sys of its own",
            ),
            (
                "/dev/no-such-file".into(),
                "a sandbox has a /dev of its own",
            ),
        ] {
            let said = ground_of(&path).unwrap_err().to_string();
            assert!(said.contains(reason), "{}: {said}", path.display());
        }
    }

    #[test]
    fn a_mount_below_is_seen() {
        let mounts = "1 0 8:1 / / rw - ext4 x rw\n2 1 8:2 / /srv/a\\040b rw - ext4 y rw\n";
        let below = |directory: &str| mount_below(Path::new(directory), mounts);
        assert_eq!(below("/srv"), Some("/srv/a b".into()));
        assert_eq!(below("/srv/a b"), None);
        assert_eq!(below("/srv/a"), None);
    }

    #[test]
    fn one_overlay_is_enough_for_a_directory_and_those_below() {
        let pair = |(directory, rest): (&str, &str)| (directory.into(), rest.into());
        let found = [
            ("/srv/a", "x"),
            ("/srv", "y/z"),
            ("/srv/a/b", "w"),
            ("/etc", "v"),
        ];
        let grouped = by_the_highest(found.map(pair).to_vec());
        let shown: Vec<String> = grouped
            .iter()
            .map(|(directory, rest)| format!("{} {rest:?}", directory.display()))
            .collect();
        assert_eq!(shown, [r#"/etc {"v"}"#, r#"/srv {"a/b/w", "a/x", "y/z"}"#]);
    }
}
