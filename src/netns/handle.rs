//! An open network namespace, however it was named: by its name, a path, a process, a descriptor.
//!
//! It lives as long as a handle of it does (network_namespaces(7)). One that belongs to a user namespace
//! of the caller's own making is entered by way of that one, so that an ordinary user has what `root` has
//! ([`crate::owner`]).
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::fmt;
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::name::NamespaceName;
use super::named;
use super::netlink::{Connection, SOCKET};
use crate::error::{Error, Result};
use crate::owner;
use crate::plan::errno_of;
use crate::spawn::Sharing;
use crate::sys::parent;
use crate::sys::within::{Call, Network, Refused, both_within, within};

/// A network namespace, kept alive. Copies are cheap and name the same one.
#[derive(Clone, Debug)]
pub struct Namespace(Arc<Open>);

#[derive(Debug)]
struct Open {
    network: OwnedFd,
    /// The user namespace to join first.
    owner: Option<OwnedFd>,
    /// How messages call it.
    label: String,
}

/// Which namespace somebody means, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By its name: `blue`.
    Name(NamespaceName),
    /// By a process in it: `pid:1234`.
    Process(i32),
    /// By a file: `/proc/1234/ns/net`.
    Path(PathBuf),
    /// The caller's own: `.`.
    Own,
}

impl Reference {
    /// Open it.
    ///
    /// # Errors
    /// When there is no such namespace.
    pub fn open(&self) -> Result<Namespace> {
        match self {
            Self::Name(name) => named::open(name),
            Self::Process(pid) => Namespace::of_process(*pid),
            Self::Path(path) => Namespace::at(path),
            Self::Own => Namespace::own(),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "." {
            return Ok(Self::Own);
        }
        if text.starts_with('/') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        let Some(number) = text.strip_prefix("pid:") else {
            return text.parse().map(Self::Name);
        };
        match number.parse() {
            Ok(pid) if pid > 0 => Ok(Self::Process(pid)),
            _ => Err(Error::usage(
                format!("\"{}\"", text.escape_debug()),
                "write a process as pid:NUMBER",
            )),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Process(pid) => write!(f, "pid:{pid}"),
            Self::Path(path) => path.display().fmt(f),
            Self::Own => f.write_str("."),
        }
    }
}

/// What is opened of a namespace from inside.
const ITSELF: Call<'static> = Call::Open {
    path: c"/proc/self/ns/net",
    flags: libc::O_RDONLY,
};

impl Namespace {
    /// A fresh namespace, without a name: it ends with the last handle, process or link that keeps it.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn make() -> Result<Self> {
        Self::make_within(None, "a new namespace".to_owned())
    }

    /// The same, called `label` in messages.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn make_called(label: impl Into<String>) -> Result<Self> {
        Self::make_within(None, label.into())
    }

    /// The same, belonging to the user namespace `owner`, which this process's user has made.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub fn make_owned(owner: BorrowedFd<'_>, label: impl Into<String>) -> Result<Self> {
        Self::make_within(Some(owner), label.into())
    }

    /// The same, with a socket in it, for less than the two apart.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub(crate) fn make_connected(
        owner: Option<BorrowedFd<'_>>,
        label: &str,
    ) -> Result<(Self, Connection)> {
        let _sharing = Sharing::begin();
        let (family, kind, protocol) = SOCKET;
        let socket = Call::Socket {
            family,
            kind,
            protocol,
        };
        let [network, socket] = both_within(owner, Network::Fresh, [ITSELF, socket])
            .map_err(|refused| not_made(label, refused))?;
        let namespace = Self::of_new(network, owner, label.to_owned())?;
        let connection = Connection::on(socket, label.to_owned())?;
        Ok((namespace, connection))
    }

    fn make_within(owner: Option<BorrowedFd<'_>>, label: String) -> Result<Self> {
        let _sharing = Sharing::begin();
        let network =
            within(owner, Network::Fresh, ITSELF).map_err(|refused| not_made(&label, refused))?;
        Self::of_new(network, owner, label)
    }

    fn of_new(network: OwnedFd, owner: Option<BorrowedFd<'_>>, label: String) -> Result<Self> {
        let owner = owner
            .map(|owner| owner.try_clone_to_owned())
            .transpose()
            .map_err(|error| Error::host("keep", &*label, errno_of(&error)))?;
        Ok(Self(Arc::new(Open {
            network,
            owner,
            label,
        })))
    }

    /// The namespace at `path`: a name of iproute2's, or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// When there is none.
    pub fn at(path: &Path) -> Result<Self> {
        Self::at_called(path, path.display().to_string())
    }

    pub(super) fn at_called(path: &Path, label: String) -> Result<Self> {
        let file = File::open(path)
            .map_err(|error| Error::host("open the namespace", &*label, errno_of(&error)))?;
        Self::from_descriptor_called(file.into(), label)
    }

    /// The namespace that process `pid` is in.
    ///
    /// # Errors
    /// When there is no such process, or it is not the caller's to look at.
    pub fn of_process(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        let file = File::open(&path).map_err(|error| {
            Error::host(
                "open the namespace of process",
                pid.to_string(),
                errno_of(&error),
            )
        })?;
        Self::from_descriptor_called(file.into(), format!("pid:{pid}"))
    }

    /// The namespace that the calling thread is in.
    ///
    /// # Errors
    /// When `/proc` does not show it.
    pub fn own() -> Result<Self> {
        Self::at_called(
            Path::new("/proc/thread-self/ns/net"),
            "this namespace".to_owned(),
        )
    }

    /// The namespace that `descriptor` is open on.
    ///
    /// # Errors
    /// When it is open on something else.
    pub fn from_descriptor(descriptor: OwnedFd) -> Result<Self> {
        Self::from_descriptor_called(descriptor, "an open namespace".to_owned())
    }

    pub(super) fn from_descriptor_called(network: OwnedFd, label: String) -> Result<Self> {
        match parent::namespace_kind(network.as_fd()) {
            Ok(libc::CLONE_NEWNET) => {}
            _ => return Err(Error::usage(label, "this is no network namespace")),
        }
        let owner = owner::of_open(network.as_fd());
        Ok(Self(Arc::new(Open {
            network,
            owner,
            label,
        })))
    }

    /// How messages call it.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// The device and inode by which two handles are the same namespace.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn identity(&self) -> Result<(u64, u64)> {
        let copy = self.0.network.try_clone();
        copy.and_then(|copy| File::from(copy).metadata())
            .map(|found| (found.dev(), found.ino()))
            .map_err(|error| Error::host("look at", self.label(), errno_of(&error)))
    }

    /// A netlink socket in it.
    ///
    /// # Errors
    /// When it cannot be entered.
    pub fn connect(&self) -> Result<Connection> {
        Connection::open(self)
    }

    /// Run `body` in it, on a thread that ends with it, and wait. What `body` opens stays there.
    ///
    /// The thread shares the process's other namespaces. Not for a namespace of a user namespace that
    /// would have to be joined first: no thread can (setns(2)), only a process.
    ///
    /// # Errors
    /// When it cannot be entered; EPERM says that it is not the caller's.
    ///
    /// # Panics
    /// When `body` does.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        let result = std::thread::scope(|scope| {
            let run = || setns(&self.0.network, CloneFlags::CLONE_NEWNET).map(|()| body());
            scope.spawn(run).join()
        });
        match result {
            Ok(done) => done.map_err(|errno| not_entered(self.label(), errno)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A socket in it.
    ///
    /// # Errors
    /// When it cannot be entered, or the socket cannot be had.
    pub fn socket(&self, family: i32, kind: i32, protocol: i32) -> Result<OwnedFd> {
        self.call(Call::Socket {
            family,
            kind,
            protocol,
        })
        .map_err(|refused| match refused {
            Refused::Call(errno) => Error::host("open a socket in", self.label(), errno),
            refused => not_entered(self.label(), refused.errno()),
        })
    }

    /// A file as it looks from inside: `/proc/sys/net` and `/dev/net/tun` differ by namespace.
    pub(super) fn open_file(&self, path: &CStr, flags: i32) -> Result<File> {
        self.call(Call::Open { path, flags })
            .map(File::from)
            .map_err(|refused| match refused {
                Refused::Call(errno) => Error::host(
                    "open",
                    format!("{} in {}", path.to_string_lossy(), self.label()),
                    errno,
                ),
                refused => not_entered(self.label(), refused.errno()),
            })
    }

    fn call(&self, call: Call<'_>) -> std::result::Result<OwnedFd, Refused> {
        let _sharing = Sharing::begin();
        let owner = self.0.owner.as_ref().map(AsFd::as_fd);
        match within(owner, Network::Of(self.0.network.as_fd()), call) {
            // An ordinary user may not even join the namespace that is there already.
            Err(Refused::Namespace(Errno::EPERM)) if self.is_own() => {
                within(None, Network::Own, call)
            }
            made => made,
        }
    }

    /// Whether the calling thread is in it.
    fn is_own(&self) -> bool {
        let own = identity_at("/proc/thread-self/ns/net");
        own.is_some() && own == self.identity().ok()
    }

    /// The user namespace that has to be joined first, if any.
    pub(crate) fn owner(&self) -> Option<BorrowedFd<'_>> {
        self.0.owner.as_ref().map(AsFd::as_fd)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.network.as_fd()
    }
}

fn not_made(label: &str, refused: Refused) -> Error {
    let errno = refused.errno();
    let hint = match (refused, errno) {
        (Refused::Namespace(_), Errno::EPERM) => Some("this needs CAP_SYS_ADMIN: run as root"),
        (Refused::Namespace(_), Errno::ENOSPC) => Some(
            "the limit of network namespaces is reached: see user.max_net_namespaces (namespaces(7))",
        ),
        _ => None,
    };
    Error::host("make the network namespace", label, errno).with_hint(hint.map(str::to_owned))
}

fn not_entered(label: &str, errno: Errno) -> Error {
    let hint = match errno {
        Errno::EPERM => {
            Some("joining it needs CAP_SYS_ADMIN where it was made: run as root".to_owned())
        }
        _ => None,
    };
    Error::host("enter the network namespace", label, errno).with_hint(hint)
}

/// What identifies the namespace behind the file at `path`, if there is one to be seen.
pub(super) fn identity_at(path: impl AsRef<Path>) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_meant_by_name_process_or_path() {
        let table = [
            ("blue", Reference::Name("blue".parse().unwrap())),
            ("pid:12", Reference::Process(12)),
            ("/proc/1/ns/net", Reference::Path("/proc/1/ns/net".into())),
            (".", Reference::Own),
        ];
        for (text, meant) in table {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference, meant);
            assert_eq!(reference.to_string(), text);
        }
        for text in ["", "..", "a/b", "pid:", "pid:0", "pid:-1", "pid:x"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn our_own_namespace_is_no_other_kind_of_namespace() {
        let own = Namespace::own().unwrap();
        assert_eq!(own.identity().ok(), identity_at("/proc/self/ns/net"));
        for other in ["/proc/self/ns/user", "/proc/self/status", "/"] {
            let error = Namespace::at(Path::new(other)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{other}: this is no network namespace")
            );
        }
    }
}
