//! Which Unix sockets are the sandbox's own, and which file a path of the command's means.
//!
//! Runs in the supervisor's thread for notifications ([`super::notify`]). A network namespace does not
//! cut sockets that have a path (unix(7)), so each `connect` to one is decided here.
//!
//! *Own* is a socket on which something inside has called `listen`: the supervisor is told of that call,
//! takes the listening socket and asks the kernel for the file that it is bound to. The file stays open
//! (`O_PATH`), so that its inode's number is nobody else's; it is let go once it has no name any more.
//! No path is compared: whatever is renamed or linked meanwhile, the inode decides.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};

use crate::error::{Error, Result};
use crate::plan::errno_of;
use crate::sys::notify;

/// How many own sockets are remembered; what listens beyond that cannot be connected to by its path.
const MOST_OWN: usize = 512;
/// How often a look-up is tried again that a renaming came in between of (openat2(2), EAGAIN).
const TRIES: usize = 8;

/// An inode, while it is held open.
type Inode = (u64, u64);

/// The sockets that may be connected to by their path.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Held so that the numbers stay theirs.
    allowed: HashMap<Inode, OwnedFd>,
    own: HashMap<Inode, OwnedFd>,
    /// When this many are remembered, the ones without a name are let go.
    tidy_at: usize,
}

impl Sockets {
    /// Those that `paths` lead to now, before the command runs and may change that.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub(crate) fn allow(paths: &[PathBuf]) -> Result<Self> {
        let mut allowed = HashMap::new();
        for path in paths {
            let failed = |errno| Error::host("open", path.display().to_string(), errno);
            let socket = open_path(path).map_err(failed)?;
            allowed.insert(inode(socket.as_fd()).map_err(failed)?, socket);
        }
        Ok(Self {
            allowed,
            own: HashMap::new(),
            tidy_at: 64,
        })
    }

    /// Something inside listens on `socket` from now on.
    pub(crate) fn learn(&mut self, socket: BorrowedFd<'_>) {
        // Bound to a name that is no file, or not the sandbox's to ask about.
        let Ok(file) = notify::bound_file(socket) else {
            return;
        };
        let Ok(inode) = inode(file.as_fd()) else {
            return;
        };
        if self.own.len() >= self.tidy_at {
            self.own
                .retain(|_, file| fstat(&*file).is_ok_and(|found| found.st_nlink > 0));
            self.tidy_at = (2 * self.own.len()).clamp(64, MOST_OWN);
        }
        if self.own.len() < MOST_OWN {
            self.own.insert(inode, file);
        }
    }

    /// Whether something inside listens on `file`.
    pub(crate) fn is_own(&self, file: BorrowedFd<'_>) -> bool {
        inode(file).is_ok_and(|it| self.own.contains_key(&it))
    }

    /// Whether `file` is one of them.
    pub(crate) fn may_be_connected(&self, file: BorrowedFd<'_>) -> bool {
        inode(file).is_ok_and(|it| self.own.contains_key(&it) || self.allowed.contains_key(&it))
    }
}

/// Whether this host has a Unix socket at `path`. Nothing is decided by it.
pub(crate) fn host_has_socket(path: &[u8]) -> bool {
    open_path(Path::new(OsStr::from_bytes(path))).is_ok_and(|file| is_socket(file.as_fd()))
}

/// Whether `file` is a Unix socket's.
pub(crate) fn is_socket(file: BorrowedFd<'_>) -> bool {
    let kind = |mode| SFlag::from_bits_truncate(mode) & SFlag::S_IFMT;
    fstat(file).is_ok_and(|found| kind(found.st_mode) == SFlag::S_IFSOCK)
}

fn inode(file: BorrowedFd<'_>) -> std::result::Result<Inode, Errno> {
    fstat(file).map(|found| (found.st_dev, found.st_ino))
}

/// The file that `path` means to thread `task`, as an `O_PATH` descriptor.
///
/// What is found is decided upon, and connected to, by this very descriptor; so a look-up that goes
/// another way than the kernel's would for the task can be wrong but not harmful.
pub(crate) fn resolve(task: i32, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    let beneath = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
    if let Some((link, rest)) = own_link(path) {
        let start = open_path(&PathBuf::from(format!("/proc/{task}/{link}")))?;
        return match rest.is_empty() {
            true => Ok(start),
            false => look_up(start.as_fd(), rest, beneath),
        };
    }
    let root = || open_path(&PathBuf::from(format!("/proc/{task}/root")));
    if path.first() == Some(&b'/') {
        return look_up(root()?.as_fd(), path, libc::RESOLVE_IN_ROOT);
    }
    let link = PathBuf::from(format!("/proc/{task}/cwd"));
    match look_up(open_path(&link)?.as_fd(), path, beneath) {
        // By a symbolic link, or above the working directory: only from the root can that be told.
        Err(Errno::ELOOP | Errno::EXDEV) => {
            let directory = fs::read_link(link).map_err(|error| errno_of(&error))?;
            let mut whole = directory.into_os_string().into_vec();
            whole.push(b'/');
            whole.extend(path);
            look_up(root()?.as_fd(), &whole, libc::RESOLVE_IN_ROOT)
        }
        found => found,
    }
}

/// Of a path through a task's own links in `/proc`, which only that task could follow, the link and what
/// comes after it.
fn own_link(path: &[u8]) -> Option<(String, &[u8])> {
    let links = [&b"/proc/self/"[..], b"/proc/thread-self/"];
    let inside = links.iter().find_map(|link| path.strip_prefix(*link));
    let (rest, directory) = match (inside, path.strip_prefix(b"/dev/fd/")) {
        (Some(rest), _) => match rest.strip_prefix(b"fd/") {
            Some(rest) => (rest, "fd"),
            None => {
                let (link, rest) = first_part(rest);
                let link = ["cwd", "root"]
                    .into_iter()
                    .find(|it| it.as_bytes() == link)?;
                return Some((link.to_owned(), rest));
            }
        },
        (None, Some(rest)) => (rest, "fd"),
        (None, None) => return None,
    };
    let (number, rest) = first_part(rest);
    let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
    Some((format!("{directory}/{number}"), rest))
}

fn first_part(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().position(|&byte| byte == b'/');
    let (first, rest) = path.split_at(end.unwrap_or(path.len()));
    let slashes = rest.iter().take_while(|&&byte| byte == b'/').count();
    (first, rest.get(slashes..).unwrap_or_default())
}

fn look_up(
    directory: BorrowedFd<'_>,
    path: &[u8],
    resolve: u64,
) -> std::result::Result<OwnedFd, Errno> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    let mut found = Err(Errno::EAGAIN);
    for _ in 0..TRIES {
        found = notify::open_within(directory, &path, resolve);
        if found.as_ref().err() != Some(&Errno::EAGAIN) {
            break;
        }
    }
    found
}

fn open_path(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path);
    opened.map(File::into).map_err(|error| errno_of(&error))
}

/// The path that `file` has, to be told: nothing is decided by it.
pub(crate) fn path_of(file: BorrowedFd<'_>, asked: &[u8]) -> PathBuf {
    let link = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    link.unwrap_or_else(|_| PathBuf::from(OsStr::from_bytes(asked)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_tasks_own_links_are_told_from_other_paths() {
        let table: [(&str, Option<(&str, &str)>); 11] = [
            ("/proc/self/fd/5", Some(("fd/5", ""))),
            ("/proc/self/fd/5//a/b", Some(("fd/5", "a/b"))),
            ("/proc/thread-self/fd/0/x", Some(("fd/0", "x"))),
            ("/dev/fd/7/x", Some(("fd/7", "x"))),
            ("/proc/self/cwd/x", Some(("cwd", "x"))),
            ("/proc/self/root/x", Some(("root", "x"))),
            ("/proc/self/fd/-1/x", None),
            ("/proc/self/fd//x", None),
            ("/proc/self/exe", None),
            ("/proc/1/fd/5", None),
            ("/run/x", None),
        ];
        for (path, expected) in table {
            let found = own_link(path.as_bytes());
            let expected = expected.map(|(link, rest)| (link.to_owned(), rest.as_bytes()));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_path_is_found_as_the_task_means_it() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink("socket", folder.path().join("link")).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let same = |path: &Path| {
            let found = resolve(own, path.as_os_str().as_bytes()).unwrap();
            assert!(is_socket(found.as_fd()));
            let wanted = open_path(&socket).unwrap();
            assert_eq!(inode(found.as_fd()), inode(wanted.as_fd()), "{path:?}");
        };
        same(&socket);
        same(&folder.path().join("link"));
        let up: PathBuf = fs::canonicalize(".")
            .unwrap()
            .ancestors()
            .skip(1)
            .map(|_| "..")
            .collect();
        let inside = folder.path().strip_prefix("/").unwrap();
        same(&up.join(inside).join("./link"));
        let directory = File::open(folder.path()).unwrap();
        let number = directory.as_raw_fd();
        same(&PathBuf::from(format!("/proc/self/fd/{number}/socket")));
        assert_eq!(resolve(own, b"/missing/x").err(), Some(Errno::ENOENT));
        assert_eq!(resolve(own, b"").err(), Some(Errno::ENOENT));
    }

    #[test]
    fn only_what_was_allowed_or_listens_inside_may_be_connected() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        let _listeners = [&one, &two].map(|path| UnixListener::bind(path).unwrap());
        let sockets = Sockets::allow(std::slice::from_ref(&one)).unwrap();
        let may = |path: &Path| sockets.may_be_connected(open_path(path).unwrap().as_fd());
        assert!(may(&one));
        assert!(!may(&two));
        // Another file that takes the name is another file.
        fs::rename(&two, &one).unwrap();
        assert!(!may(&one));
    }
}
