//! Where a learned policy goes: checked before the command runs, written after it has, whole or not at all.
//!
//! The supervisor can open no file by then. So a thread of its own waits with the directory in its hand,
//! confined to what writing one file needs.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use caps::Capability;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, UnlinkatFlags, access, geteuid, linkat, unlinkat};

use crate::confine;
use crate::error::{Error, Result};
use crate::plan::errno_of;
use crate::printable::page;
use crate::request::{LearnTarget, Replaces};

/// The file, checked.
pub(crate) enum Output {
    Standard,
    File(Place),
}

/// Where a file is to be, and beside it one for a profile of system calls.
pub(crate) struct Place {
    directory: OwnedFd,
    name: OsString,
    profile: String,
    path: PathBuf,
    replaces: Replaces,
}

/// What is to be written.
pub(crate) struct Texts {
    pub(crate) policy: String,
    pub(crate) profile: Option<String>,
}

impl Output {
    /// Look whether `target` can be written, before anything runs.
    ///
    /// # Errors
    /// When it cannot, or is there already and is not to be replaced.
    pub(crate) fn check(target: &LearnTarget, replaces: Replaces) -> Result<Self> {
        let LearnTarget::File(path) = target else {
            return Ok(Self::Standard);
        };
        let shown = path.display().to_string();
        let failed = |errno| Error::host("write", shown.clone(), errno);
        let name = path.file_name().ok_or_else(|| failed(Errno::EISDIR))?;
        let profile = profile_beside(name).ok_or_else(|| {
            let reason =
                "a policy names its profile of system calls by text: choose a name in UTF-8";
            Error::usage(format!("-o {shown}"), reason)
        })?;
        for (path, what) in [
            (path.clone(), "it"),
            (path.with_file_name(&profile), "its profile of system calls"),
        ] {
            match std::fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => {
                    let shown = path.display().to_string();
                    return Err(Error::host("write", shown, Errno::EISDIR));
                }
                Ok(_) if replaces == Replaces::No => {
                    return Err(Error::usage(
                        format!("-o {}", path.display()),
                        format!(
                            "{what} is there already; choose another name, or replace it with --force"
                        ),
                    ));
                }
                Ok(_) => {}
                Err(error) if errno_of(&error) == Errno::ENOENT => {}
                Err(error) => return Err(failed(errno_of(&error))),
            }
        }
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        access(parent, AccessFlags::W_OK | AccessFlags::X_OK).map_err(failed)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = nix::fcntl::open(parent, flags, Mode::empty()).map_err(failed)?;
        Ok(Self::File(Place {
            directory,
            name: name.to_owned(),
            profile,
            path: path.clone(),
            replaces,
        }))
    }

    /// The file that a profile goes to; `None` where there is only one stream.
    pub(crate) fn profile_file(&self) -> Option<&str> {
        match self {
            Self::Standard => None,
            Self::File(place) => Some(&place.profile),
        }
    }

    /// Wait for the text, in a thread that can do nothing else.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(crate) fn start(self) -> Result<Writer> {
        let Self::File(place) = self else {
            return Ok(Writer::Standard);
        };
        let path = place.path.clone();
        let (give, texts) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("sandbox-learn".to_owned())
            .spawn(move || place.wait(&texts))
            .map_err(|error| {
                let errno = errno_of(&error);
                Error::host("start", "the thread that writes what is learned", errno)
            })?;
        Ok(Writer::File { path, give, thread })
    }
}

/// Who writes the file.
pub(crate) enum Writer {
    Standard,
    File {
        path: PathBuf,
        give: Sender<Texts>,
        thread: JoinHandle<std::result::Result<(), Errno>>,
    },
}

impl Writer {
    /// Write `texts`.
    ///
    /// # Errors
    /// When they are not there as a whole then. The policy is printed on standard error, so that it is not
    /// lost.
    pub(crate) fn write(self, texts: Texts) -> Result<()> {
        let text = texts.policy.clone();
        let (path, give, thread) = match self {
            Self::Standard => {
                let mut out = std::io::stdout().lock();
                let written = out
                    .write_all(page(&text).as_bytes())
                    .and_then(|()| out.flush());
                return written
                    .map_err(|error| Error::host("write to", "standard output", errno_of(&error)));
            }
            Self::File { path, give, thread } => (path, give, thread),
        };
        // It fails only where the thread has ended, and then the thread says why.
        let _ = give.send(texts);
        drop(give);
        let written = thread.join().unwrap_or(Err(Errno::EIO));
        written.map_err(|errno| {
            // If this cannot be printed either, the error still is told by the status.
            let _ = std::io::stderr().lock().write_all(page(&text).as_bytes());
            let hint = match errno {
                Errno::EEXIST => "it was made meanwhile; what was learned is printed above",
                _ => "what was learned is printed above",
            };
            Error::host("write", path.display().to_string(), errno).with_hint(Some(hint.to_owned()))
        })
    }
}

/// The name of the profile that goes beside a policy in a file called `name`.
fn profile_beside(name: &OsStr) -> Option<String> {
    let name = name.to_str()?;
    let stem = name.strip_suffix(".toml").unwrap_or(name);
    Some(format!("{stem}.seccomp.toml"))
}

/// What the thread uses.
const WRITING: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_fsync,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_unlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
];

impl Place {
    fn wait(&self, texts: &Receiver<Texts>) -> std::result::Result<(), Errno> {
        // Root may write into others' directories by this alone.
        let mut kept = HashSet::new();
        if geteuid().is_root() {
            let held = caps::read(None, caps::CapSet::Permitted).unwrap_or_default();
            kept.insert(Capability::CAP_DAC_OVERRIDE);
            kept.retain(|capability| held.contains(capability));
        }
        confine::limit_capabilities(&kept)?;
        nix::sys::prctl::set_no_new_privs()?;
        confine::install(confine::plainly(WRITING))?;
        match texts.recv() {
            Ok(texts) => self.put_all(&texts),
            // The command was not run to its end.
            Err(_) => Ok(()),
        }
    }

    /// The profile first: a policy that is there names one that is.
    fn put_all(&self, texts: &Texts) -> std::result::Result<(), Errno> {
        let profile = OsStr::new(&self.profile);
        if let Some(text) = &texts.profile {
            self.put(profile, text.as_bytes())?;
        }
        let put = self.put(&self.name, texts.policy.as_bytes());
        if put.is_err() && texts.profile.is_some() && self.replaces == Replaces::No {
            // It is ours, and nobody names it.
            let _ = unlinkat(self.directory.as_fd(), profile, UnlinkatFlags::NoRemoveDir);
        }
        put
    }

    /// Have the whole text there under this name, or nothing.
    fn put(&self, name: &OsStr, text: &[u8]) -> std::result::Result<(), Errno> {
        let mut partial = OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}.new", std::process::id()));
        let directory = self.directory.as_fd();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o666);
        let mut file = File::from(openat(directory, partial.as_os_str(), flags, mode)?);
        let written = file.write_all(text).and_then(|()| file.sync_all());
        let put = written
            .map_err(|error| errno_of(&error))
            .and_then(|()| rename(directory, &partial, name, self.replaces));
        if put.is_err() {
            // What is left is told by its name.
            let _ = unlinkat(directory, partial.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
        put
    }
}

fn rename(
    directory: BorrowedFd<'_>,
    from: &OsStr,
    to: &OsStr,
    replaces: Replaces,
) -> std::result::Result<(), Errno> {
    if replaces == Replaces::Yes {
        return renameat(directory, from, directory, to);
    }
    match renameat2(
        directory,
        from,
        directory,
        to,
        RenameFlags::RENAME_NOREPLACE,
    ) {
        // A file system that does not know of this knows of links.
        Err(Errno::EINVAL) => {
            linkat(directory, from, directory, to, AtFlags::empty())?;
            unlinkat(directory, from, UnlinkatFlags::NoRemoveDir)
        }
        done => done,
    }
}
