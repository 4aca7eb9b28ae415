//! What must keep its place so that a read-only tree keeps its own.
//!
//! Pure but for looking; runs in the launcher, for the plan. A tree that is mounted read-only is read-only
//! wherever it goes, and it goes along when a directory above it is renamed. Then whoever may write to the
//! directory above that one makes another tree of the same name. So all that the command's user could rename
//! or remove on the way is mounted onto itself ([`crate::mounts::Mount::Pinned`]): what is mounted on, the
//! kernel lets nobody move (rename(2), EBUSY).
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// What of the ways to `paths` this user could rename or remove: directories and symbolic links, from the
/// root down.
pub(crate) fn on_the_ways_to(paths: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        for one in movable(path) {
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }
    found.into_iter()
}

/// The same of one way; none where it leads nowhere.
fn movable(path: &Path) -> Vec<PathBuf> {
    /// As the kernel (path_resolution(7)).
    const MOST_LINKS: usize = 40;
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().rev();
        parts.map(|part| part.as_os_str().to_owned()).collect()
    };
    let (mut at, mut links, mut found) = (PathBuf::from("/"), 0, Vec::new());
    // The next one last.
    let mut left = parts(path);
    while let Some(part) = left.pop() {
        match part.to_str() {
            Some("/") => at = PathBuf::from("/"),
            Some(".") => {}
            Some("..") => {
                at.pop();
            }
            _ => {
                let here = at.join(&part);
                let link = fs::read_link(&here).ok();
                if link.is_none() && fs::symlink_metadata(&here).is_err() {
                    return Vec::new();
                }
                // The last one is mounted on anyway.
                let on_the_way = link.is_some() || !left.is_empty();
                if on_the_way && access(&at, AccessFlags::W_OK).is_ok() {
                    found.push(here.clone());
                }
                match link {
                    Some(_) if links >= MOST_LINKS => return Vec::new(),
                    Some(target) => {
                        links += 1;
                        left.extend(parts(&target));
                    }
                    None => at = here,
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_and_links_on_the_way_are_found_from_the_root_down() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let below = |path: &str| root.join(path);
        fs::create_dir_all(below("a/b")).unwrap();
        fs::write(below("a/b/file"), "").unwrap();
        symlink("a/../a/b", below("link")).unwrap();
        symlink("loop", below("loop")).unwrap();
        let found = |path: &str| -> Vec<String> {
            let paths = [below(path)];
            let found = on_the_ways_to(&paths);
            let found = found.filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_owned()));
            found
                .map(|path| path.display().to_string())
                .filter(|path| !path.is_empty())
                .collect()
        };
        assert_eq!(found("a/b/file"), ["a", "a/b"]);
        assert_eq!(found("a"), Vec::<String>::new());
        assert_eq!(found("link/file"), ["link", "a", "a/b"]);
        assert_eq!(found("link"), ["link", "a"]);
        for nothing in ["missing", "a/missing", "loop"] {
            assert_eq!(on_the_ways_to(&[below(nothing)]).count(), 0, "{nothing}");
        }
    }
}
