//! Names of an ordinary user: files in a directory of that user's, and one small process that keeps the
//! namespaces ([`super::holder`]).
//!
//! All of a user's namespaces belong to one user namespace, made with the first of them, so that links
//! can join any two. A file says that a name was given; the holder has what is behind it. If the holder
//! was killed, its names are stale until they are deleted.
//!
//! Names are given and taken one at a time, under a lock.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::unistd::{getegid, geteuid};

use super::handle::Namespace;
use super::holder::{self, Answer, Asked};
use super::name::NamespaceName;
use crate::error::{Error, Result};
use crate::plan::errno_of;
use crate::spawn::Sharing;
use crate::sys::{packet, parent, process, within};

/// How long the holder has to answer, in milliseconds.
const PATIENCE: u16 = 5000;

/// A user namespace of the caller's own making, in which its user and group are themselves, and have every
/// capability once inside. It lives as long as a descriptor of it does.
///
/// # Errors
/// When this host lets the caller make none.
pub fn make_user_namespace() -> Result<OwnedFd> {
    let _sharing = Sharing::begin();
    within::make_user_namespace(geteuid().as_raw(), getegid().as_raw()).map_err(|errno| {
        let hint = "sandbox doctor says what this host lets an ordinary user do";
        Error::host("make", "a user namespace", errno).with_hint(Some(hint.to_owned()))
    })
}

/// Make `directory` where it is not there; nobody else's is taken.
///
/// # Errors
/// When it cannot be made, or is open to others.
pub(crate) fn make_private(directory: &Path) -> Result<()> {
    let object = || directory.display().to_string();
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::host("make", object(), errno_of(&error)));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(directory)
        .map_err(|error| Error::host("look at", object(), errno_of(&error)))?;
    if is_private(&found) {
        return Ok(());
    }
    let hint = "it has to be a directory of your own that is closed to others: remove it, or set XDG_RUNTIME_DIR";
    Err(Error::host("use", object(), Errno::EACCES).with_hint(Some(hint.to_owned())))
}

/// Whether that is a directory of this user's own that is closed to others.
fn is_private(found: &fs::Metadata) -> bool {
    found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0
}

/// A user's directory for names.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// Where an ordinary user's names are: `sandbox` below `$XDG_RUNTIME_DIR`, else below `/run/user/UID`,
    /// else `/tmp/sandbox-UID`; the first that is the user's own and closed to others. `None` for root,
    /// whose names are in `/run/netns`.
    #[must_use]
    pub fn of_caller() -> Option<Self> {
        let uid = geteuid();
        if uid.is_root() {
            return None;
        }
        let own = |path: &Path| {
            let found = fs::symlink_metadata(path).ok();
            found.is_some_and(|found| is_private(&found))
        };
        let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let usual = PathBuf::from(format!("/run/user/{uid}"));
        let runtime = named
            .filter(|path| path.is_absolute())
            .into_iter()
            .chain([usual])
            .find(|path| own(path));
        Some(Self(match runtime {
            Some(runtime) => runtime.join("sandbox"),
            None => PathBuf::from(format!("/tmp/sandbox-{uid}")),
        }))
    }

    /// The file of `name`.
    #[must_use]
    pub fn path_of(&self, name: &NamespaceName) -> PathBuf {
        self.names().join(name.as_str())
    }

    /// Where the files of names are.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.0.join("netns")
    }

    /// Make the directories where they are not there; nobody else's are taken.
    ///
    /// # Errors
    /// When they cannot be made, or are open to others.
    pub fn prepare(&self) -> Result<()> {
        make_private(&self.0)?;
        make_private(&self.names())
    }

    /// The directory itself, which other things of the user's are kept in, too.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    fn lock(&self) -> Result<Flock<File>> {
        self.prepare()?;
        let failed = |errno| Error::host("lock", self.0.display().to_string(), errno);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.0.join("lock"))
            .map_err(|error| failed(errno_of(&error)))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno))
    }

    /// Make a namespace called `name`.
    ///
    /// # Errors
    /// When there is such a name already, or it cannot be made or kept; nothing is left then.
    pub fn add(&self, name: &NamespaceName) -> Result<Namespace> {
        let _locked = self.lock()?;
        self.check_free(name)?;
        let owner = self.holders_owner()?;
        let namespace = Namespace::make_owned(owner.as_fd(), name.to_string())?;
        self.keep(name, &namespace)?;
        Ok(namespace)
    }

    /// Give `namespace`, one of the user's own, the name `name`.
    ///
    /// # Errors
    /// As [`Home::add`].
    pub fn attach(&self, name: &NamespaceName, namespace: &Namespace) -> Result<()> {
        let _locked = self.lock()?;
        self.check_free(name)?;
        self.holders_owner()?;
        self.keep(name, namespace)
    }

    fn check_free(&self, name: &NamespaceName) -> Result<()> {
        let path = self.path_of(name);
        if !path.exists() {
            return Ok(());
        }
        let hint = match self.open(name) {
            Ok(_) => "there is a namespace of this name".to_owned(),
            Err(_) => format!(
                "its namespace has ended with the process that kept it: 'sandbox netns delete {name}' frees the name"
            ),
        };
        Err(
            Error::host("name the namespace", name.to_string(), Errno::EEXIST)
                .with_hint(Some(hint)),
        )
    }

    fn keep(&self, name: &NamespaceName, namespace: &Namespace) -> Result<()> {
        let failed = |errno| Error::host("name the namespace", name.to_string(), errno);
        let path = self.path_of(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(errno_of(&error)))?;
        self.ask(Asked::Keep, Some(name), Some(namespace.as_fd()))
            .map(drop)
            .map_err(|errno| {
                // Ours, made just now.
                let _ = fs::remove_file(&path);
                failed(errno)
            })
    }

    /// The namespace called `name`.
    ///
    /// # Errors
    /// ENOENT where there is no such name; another one where what was behind it is gone.
    pub fn open(&self, name: &NamespaceName) -> Result<Namespace> {
        let failed = |errno| Error::host("open the namespace", name.to_string(), errno);
        let path = self.path_of(name);
        if !path.exists() {
            return Err(failed(Errno::ENOENT));
        }
        let answer = self.ask(Asked::Get, Some(name), None);
        match answer.map(|answer| answer.descriptor) {
            Ok(Some(descriptor)) => {
                Namespace::from_descriptor_called(descriptor, name.to_string())
            }
            Err(Errno::EACCES) => {
                make_private(&self.0)?;
                Err(failed(Errno::EACCES))
            }
            _ => Err(failed(Errno::ESTALE).with_hint(Some(format!(
                "its namespace has ended with the process that kept it: 'sandbox netns delete {name}' frees the name"
            )))),
        }
    }

    /// Take the name `name` away. The namespace goes on while processes or descriptors keep it.
    ///
    /// # Errors
    /// When there is no such name.
    pub fn delete(&self, name: &NamespaceName) -> Result<()> {
        let _locked = self.lock()?;
        let failed = |errno| Error::host("delete the namespace", name.to_string(), errno);
        // First, so that nobody who sees the file finds nothing behind it.
        fs::remove_file(self.path_of(name)).map_err(|error| failed(errno_of(&error)))?;
        // Nobody answers where it was stale.
        if let Ok(Answer { last: true, .. }) = self.ask(Asked::Drop, Some(name), None) {
            // The holder ends with its last name.
            let _ = fs::remove_file(self.socket());
        }
        Ok(())
    }

    fn socket(&self) -> PathBuf {
        self.0.join("holder")
    }

    /// The user namespace of the holder, which is started where there is none. Under the lock.
    fn holders_owner(&self) -> Result<OwnedFd> {
        if let Ok(Answer {
            descriptor: Some(owner),
            ..
        }) = self.ask(Asked::Owner, None, None)
        {
            return Ok(owner);
        }
        self.start_holder()
    }

    fn start_holder(&self) -> Result<OwnedFd> {
        let failed = |errno| Error::host("start", "the process that keeps namespaces", errno);
        let owner = make_user_namespace()?;
        // Left behind by one that was killed; the lock says that nobody else is starting one.
        let _ = fs::remove_file(self.socket());
        let flags = SockFlag::SOCK_CLOEXEC;
        let listener =
            socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(failed)?;
        let (_directory, path) = self.short_path().map_err(failed)?;
        UnixAddr::new(&path)
            .and_then(|address| bind(listener.as_raw_fd(), &address))
            .and_then(|()| listen(&listener, Backlog::MAXCONN))
            .map_err(failed)?;
        let number = listener.as_raw_fd();
        let kept = owner.as_raw_fd();
        let forked = process::fork(&[listener.as_fd(), owner.as_fd()], || {
            holder::run(number, kept)
        });
        match forked {
            Ok(_) => Ok(owner),
            Err(errno) => {
                let _ = fs::remove_file(self.socket());
                let hint = (errno == Errno::EBUSY).then(|| {
                    "a program with threads cannot start it: name a namespace with 'sandbox netns add' before".to_owned()
                });
                Err(failed(errno).with_hint(hint))
            }
        }
    }

    /// The socket's path, however long that of the directory is: sun_path has 108 bytes (unix(7)).
    ///
    /// By its own path where there is room: `/proc/net/unix` then tells it, and sandboxes hide what that
    /// tells.
    fn short_path(&self) -> std::result::Result<(File, PathBuf), Errno> {
        let directory = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(&self.0)
            .map_err(|error| errno_of(&error))?;
        // In a directory of another's, in /tmp, that other would give namespaces of its choice.
        let found = directory.metadata().map_err(|error| errno_of(&error))?;
        if !is_private(&found) {
            return Err(Errno::EACCES);
        }
        let socket = self.socket();
        if UnixAddr::new(&socket).is_ok() {
            return Ok((directory, socket));
        }
        let path = format!("/proc/self/fd/{}/holder", directory.as_raw_fd());
        Ok((directory, PathBuf::from(path)))
    }

    fn ask(
        &self,
        asked: Asked,
        name: Option<&NamespaceName>,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> std::result::Result<Answer, Errno> {
        let (_directory, path) = self.short_path()?;
        let socket = parent::connect_packets(&path)?;
        let mut request = vec![asked.to_byte()];
        request.extend(
            name.map(|name| name.as_str().as_bytes())
                .unwrap_or_default(),
        );
        let descriptors: Vec<_> = descriptor.into_iter().collect();
        packet::send(socket.as_fd(), &request, &descriptors)?;
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut ready, PollTimeout::from(PATIENCE)) {
                Err(Errno::EINTR) => {}
                Ok(0) => return Err(Errno::ETIMEDOUT),
                Err(errno) => return Err(errno),
                Ok(_) => break,
            }
        }
        let mut bytes = [0; 8];
        let packet = packet::receive(socket.as_fd(), &mut bytes)?;
        Answer::decode(
            bytes.get(..packet.length).unwrap_or_default(),
            packet.descriptors,
        )
    }
}
