//! What the sandbox does to its mounts: from a list for people to the child's system calls.
//!
//! [`Mount`] is a line of the plan. [`Mounts::prepare`] turns the lines into [`Operation`]s before the
//! clone; [`Mounts::perform`] is the child's half: async-signal-safe, in the new mount namespace.
//!
//! Directories are covered by mounting over them, never by unmounting or pivot_root(2): taking a mount
//! away waits for the kernel's grace periods, and the namespace's end takes them all for nothing
//! (`shared/performance.md`). What is covered stays out of reach, because uncovering it needs
//! CAP_SYS_ADMIN, which the command has not.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::Serialize;

use crate::error::Result;
use crate::prepare::c_path;
use crate::report::Failure;
use crate::step::Step;
use crate::sys::mount::{
    self as sys, Access, Depth, attach_tree, copy_entry, copy_tree, make_file, mkdir, set_access,
    symlink,
};

/// One change to what the sandbox sees of the file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "what", content = "path")]
pub enum Mount {
    /// A file or directory put over another one.
    File {
        /// What is put there.
        source: PathBuf,
        /// Where.
        path: PathBuf,
    },
    /// A directory covered with itself and, where that lacks it, what is in another one; read-only.
    Overlay {
        /// The other one.
        layer: PathBuf,
        /// Where.
        directory: PathBuf,
    },
    /// A directory or a symbolic link on the way to a read-only tree: not to be renamed or removed, for another
    /// tree could take the place then.
    Pinned(PathBuf),
    /// A tree made read-only, with everything mounted below it.
    ReadOnly(PathBuf),
    /// A tree kept writable.
    ReadWrite(PathBuf),
    /// A fresh `/proc`.
    Proc,
    /// A part of `/proc` made read-only, where the kernel has it.
    ProcReadOnly(PathBuf),
    /// A file of `/proc` that reads as empty, where the kernel has it.
    ProcMask(PathBuf),
    /// A fresh `/sys`, read-only.
    Sys,
    /// A minimal `/dev` with these nodes of the host's; the caller's terminal, if any, as `console`.
    Dev {
        /// Device nodes, by their names in `/dev`.
        nodes: Vec<&'static str>,
        /// The caller's terminal.
        console: Option<PathBuf>,
    },
    /// An empty directory of the sandbox's own, writable for all.
    PrivateTmp(PathBuf),
    /// A directory covered with an empty one.
    HideDirectory(PathBuf),
    /// A file covered with `/dev/null`.
    HideFile(PathBuf),
    /// A Unix socket that was there when the plan was made, covered likewise if it still is.
    HideSocket(PathBuf),
    /// A Unix socket that is allowed, taken before a directory above it is covered.
    KeepSocket(PathBuf),
    /// The same socket put back at this path, below what covers it.
    ShowSocket {
        /// Where.
        path: PathBuf,
        /// Which of the kept ones.
        kept: usize,
        /// What has to be made of the way to it.
        directories: Vec<PathBuf>,
    },
}

/// The most allowed sockets that may stand below covered directories.
pub(crate) const MOST_KEPT: usize = 8;

impl Mount {
    /// The step that does it.
    #[must_use]
    pub const fn step(&self) -> Step {
        match self {
            Self::File { .. } | Self::Overlay { .. } => Step::Files,
            Self::Pinned(_) | Self::ReadOnly(_) => Step::ReadOnly,
            Self::ReadWrite(_) => Step::ReadWrite,
            Self::Proc => Step::Proc,
            Self::ProcReadOnly(_) | Self::ProcMask(_) => Step::ProcMasks,
            Self::Sys => Step::Sys,
            Self::Dev { .. } => Step::Dev,
            Self::PrivateTmp(_) => Step::PrivateTmp,
            Self::HideDirectory(_)
            | Self::HideFile(_)
            | Self::HideSocket(_)
            | Self::KeepSocket(_)
            | Self::ShowSocket { .. } => Step::Hide,
        }
    }

    /// The path that a message about it names; empty where the step's words name it.
    #[must_use]
    pub fn object(&self) -> String {
        match self {
            Self::Proc | Self::Sys | Self::Dev { .. } => String::new(),
            Self::File { path, .. }
            | Self::Overlay {
                directory: path, ..
            }
            | Self::Pinned(path)
            | Self::ReadOnly(path)
            | Self::ReadWrite(path)
            | Self::ProcReadOnly(path)
            | Self::ProcMask(path)
            | Self::PrivateTmp(path)
            | Self::HideDirectory(path)
            | Self::HideFile(path)
            | Self::HideSocket(path) => path.display().to_string(),
            Self::KeepSocket(path) | Self::ShowSocket { path, .. } => {
                format!("around {}", path.display())
            }
        }
    }
}

/// The harmless device nodes: those that every process needs and that lead nowhere.
pub const DEVICE_NODES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// In the place of a tree that is not there; no descriptor.
const NO_TREE: RawFd = -1;

/// Detached trees that one line may hold at a time.
const OWN_SLOTS: usize = 8;
/// Those, and the ones held from one line to another.
const SLOTS: usize = OWN_SLOTS + MOST_KEPT;

/// The child's system calls for a list of mounts.
#[derive(Default)]
pub(crate) struct Mounts {
    operations: Vec<Operation>,
    /// Those from here on need the sandbox's own network namespace: a fresh `/sys` shows that of
    /// whoever mounts it.
    in_network: usize,
    /// Sockets kept so far.
    kept: usize,
    unreachable: Unreachable,
}

struct Operation {
    step: Step,
    /// Which line of the plan it is for, so that a failure can name its path.
    line: usize,
    call: Call,
}

enum Call {
    Private,
    Mount {
        source: CString,
        target: CString,
        kind: Option<&'static CStr>,
        flags: libc::c_ulong,
        data: Option<Cow<'static, CStr>>,
    },
    Copy(CString, Depth, usize),
    /// A device node, if the host has it.
    CopyNode(CString, usize),
    /// The same node in the new directory.
    Node(usize, CString),
    SetAccessOfCopy(usize, Access),
    SetAccess(CString, Depth, Access),
    Attach(usize, CString),
    /// Mount it onto itself: what is mounted on, nobody moves.
    Pin(CString),
    /// Make it read-only, if there is such a thing.
    Protect(CString),
    /// Cover it with nothing, if there is such a thing.
    Mask(CString, Unreachable),
    Directory(CString),
    Link(&'static CStr, CString),
}

/// What is done about a socket that the child cannot get to, where the launcher could.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// The launch fails.
    #[default]
    Fails,
    /// It needs no cover: the command is the same user, with fewer capabilities.
    LeftAlone,
}

/// What covers a file.
const DEV_NULL: &CStr = c"/dev/null";

const QUIET: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

impl Mounts {
    /// Lay out the system calls for `mounts`, in their order; none at all without a mount namespace.
    ///
    /// # Errors
    /// When a path holds a NUL.
    pub(crate) fn prepare(mounts: &[Mount], unreachable: Unreachable) -> Result<Self> {
        let mut list = Self {
            unreachable,
            ..Self::default()
        };
        list.push(Step::PrivateMounts, 0, Call::Private);
        let sys = mounts.iter().position(|mount| *mount == Mount::Sys);
        let (before, after) = mounts.split_at(sys.unwrap_or(mounts.len()));
        for (line, mount) in before.iter().enumerate() {
            list.add(line, mount)?;
        }
        list.in_network = list.operations.len();
        for (line, mount) in after.iter().enumerate() {
            list.add(before.len() + line, mount)?;
        }
        Ok(list)
    }

    fn push(&mut self, step: Step, line: usize, call: Call) {
        self.operations.push(Operation { step, line, call });
    }

    fn add(&mut self, line: usize, mount: &Mount) -> Result<()> {
        let step = mount.step();
        match mount {
            Mount::File { source, path } => {
                let copy = Call::Copy(c_path(source)?, Depth::Recursive, 0);
                self.push(step, line, copy);
                self.push(step, line, Call::Attach(0, c_path(path)?));
            }
            Mount::Overlay { layer, directory } => {
                let call = Call::Mount {
                    source: c"overlay".into(),
                    target: c_path(directory)?,
                    kind: Some(c"overlay"),
                    flags: libc::MS_RDONLY,
                    data: Some(Cow::Owned(layers(&[directory, layer])?)),
                };
                self.push(step, line, call);
            }
            Mount::Pinned(path) => self.push(step, line, Call::Pin(c_path(path)?)),
            Mount::ReadOnly(path) if path == Path::new("/") => {
                let call = Call::SetAccess(c"/".into(), Depth::Recursive, Access::ReadOnly);
                self.push(step, line, call);
            }
            Mount::ReadOnly(path) => self.bind_onto_itself(step, line, path, Access::ReadOnly)?,
            Mount::ReadWrite(path) => self.bind_onto_itself(step, line, path, Access::ReadWrite)?,
            Mount::ProcReadOnly(path) => self.push(step, line, Call::Protect(c_path(path)?)),
            Mount::ProcMask(path) => {
                self.push(step, line, Call::Mask(c_path(path)?, Unreachable::Fails));
            }
            Mount::HideSocket(path) => {
                let call = Call::Mask(c_path(path)?, self.unreachable);
                self.push(step, line, call);
            }
            Mount::Proc => self.fresh(step, line, c"proc", c"/proc", QUIET, None),
            Mount::Sys => {
                self.fresh(step, line, c"sysfs", c"/sys", QUIET | libc::MS_RDONLY, None);
            }
            Mount::Dev { nodes, console } => self.devices(line, nodes, console.as_deref())?,
            Mount::PrivateTmp(path) => {
                let flags = libc::MS_NOSUID | libc::MS_NODEV;
                self.fresh(
                    step,
                    line,
                    c"tmpfs",
                    &c_path(path)?,
                    flags,
                    Some(c"mode=1777"),
                );
            }
            Mount::HideDirectory(path) => {
                let data = Some(c"mode=755,size=16m");
                self.fresh(step, line, c"tmpfs", &c_path(path)?, QUIET, data);
            }
            Mount::KeepSocket(path) => {
                let slot = OWN_SLOTS + self.kept;
                self.kept += 1;
                self.push(step, line, Call::Copy(c_path(path)?, Depth::One, slot));
            }
            Mount::ShowSocket {
                path,
                kept,
                directories,
            } => {
                for directory in directories {
                    self.push(step, line, Call::Directory(c_path(directory)?));
                }
                self.push(step, line, Call::Node(OWN_SLOTS + kept, c_path(path)?));
            }
            Mount::HideFile(path) => {
                let call = Call::Mount {
                    source: DEV_NULL.into(),
                    target: c_path(path)?,
                    kind: None,
                    flags: libc::MS_BIND,
                    data: None,
                };
                self.push(step, line, call);
            }
        }
        Ok(())
    }

    fn fresh(
        &mut self,
        step: Step,
        line: usize,
        kind: &'static CStr,
        target: &CStr,
        flags: libc::c_ulong,
        data: Option<&'static CStr>,
    ) {
        let call = Call::Mount {
            source: kind.into(),
            target: target.into(),
            kind: Some(kind),
            flags,
            data: data.map(Cow::Borrowed),
        };
        self.push(step, line, call);
    }

    fn bind_onto_itself(
        &mut self,
        step: Step,
        line: usize,
        path: &Path,
        access: Access,
    ) -> Result<()> {
        let path = c_path(path)?;
        self.push(step, line, Call::Copy(path.clone(), Depth::Recursive, 0));
        self.push(step, line, Call::SetAccessOfCopy(0, access));
        self.push(step, line, Call::Attach(0, path));
        Ok(())
    }

    /// The nodes are copied before the tmpfs covers them, and attached inside it after.
    fn devices(
        &mut self,
        line: usize,
        nodes: &[&'static str],
        console: Option<&Path>,
    ) -> Result<()> {
        let step = Step::Dev;
        let node = |name: &str| c_path(&Path::new("/dev").join(name));
        let sources = nodes.iter().map(|&name| Ok((node(name)?, node(name)?)));
        let terminal = console.map(|path| Ok((c_path(path)?, node("console")?)));
        let pairs: Vec<(CString, CString)> = sources
            .chain(terminal)
            .take(OWN_SLOTS)
            .collect::<Result<_>>()?;
        for (slot, (source, _)) in pairs.iter().enumerate() {
            self.push(step, line, Call::CopyNode(source.clone(), slot));
        }
        let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
        self.fresh(
            step,
            line,
            c"tmpfs",
            c"/dev",
            flags,
            Some(c"mode=755,size=64k"),
        );
        for (slot, (_, target)) in pairs.into_iter().enumerate() {
            self.push(step, line, Call::Node(slot, target));
        }
        self.push(step, line, Call::Directory(node("pts")?));
        let data = Some(c"newinstance,ptmxmode=0666,mode=620");
        self.fresh(
            step,
            line,
            c"devpts",
            c"/dev/pts",
            libc::MS_NOSUID | libc::MS_NOEXEC,
            data,
        );
        self.push(step, line, Call::Directory(node("shm")?));
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        self.fresh(step, line, c"tmpfs", c"/dev/shm", flags, Some(c"mode=1777"));
        for (name, target) in [
            ("ptmx", c"pts/ptmx"),
            ("fd", c"/proc/self/fd"),
            ("stdin", c"/proc/self/fd/0"),
            ("stdout", c"/proc/self/fd/1"),
            ("stderr", c"/proc/self/fd/2"),
        ] {
            self.push(step, line, Call::Link(target, node(name)?));
        }
        let call = Call::SetAccess(c"/dev".into(), Depth::One, Access::ReadOnly);
        self.push(step, line, call);
        Ok(())
    }

    /// Do it all, in order, and `enter_network` before what needs the sandbox's own network.
    ///
    /// Async-signal-safe: system calls on prepared values.
    pub(crate) fn perform(
        &self,
        done: impl Fn(Step),
        enter_network: impl FnOnce() -> std::result::Result<(), Failure>,
    ) -> std::result::Result<(), Failure> {
        let (before, after) = self
            .operations
            .split_at_checked(self.in_network)
            .unwrap_or((&self.operations, &[]));
        let mut trees = [NO_TREE; SLOTS];
        perform(before, &mut trees, &done)?;
        enter_network()?;
        perform(after, &mut trees, &done)
    }
}

/// `paths` as the read-only layers of an overlay, the highest first (Linux, overlayfs).
fn layers(paths: &[&PathBuf]) -> Result<CString> {
    let mut data = b"lowerdir=".to_vec();
    for (number, path) in paths.iter().enumerate() {
        if number > 0 {
            data.push(b':');
        }
        for &byte in path.as_os_str().as_bytes() {
            if matches!(byte, b':' | b',' | b'\\') {
                data.push(b'\\');
            }
            data.push(byte);
        }
    }
    c_path(Path::new(OsStr::from_bytes(&data)))
}

fn perform(
    operations: &[Operation],
    trees: &mut [RawFd; SLOTS],
    done: impl Fn(Step),
) -> std::result::Result<(), Failure> {
    for Operation { step, line, call } in operations {
        call.perform(trees)
            .map_err(|errno| Failure::with_object(*step, *line, errno))?;
        done(*step);
    }
    Ok(())
}

impl Call {
    fn perform(&self, trees: &mut [RawFd; SLOTS]) -> std::result::Result<(), Errno> {
        let tree =
            |trees: &[RawFd; SLOTS], slot: usize| trees.get(slot).copied().unwrap_or(NO_TREE);
        let keep = |trees: &mut [RawFd; SLOTS], slot: usize, copied: RawFd| {
            let place = trees.get_mut(slot).ok_or(Errno::EMFILE)?;
            *place = copied;
            Ok(())
        };
        match self {
            Self::Private => {
                let flags = libc::MS_REC | libc::MS_PRIVATE;
                sys::mount(None, c"/", None, flags, None)
            }
            Self::Mount {
                source,
                target,
                kind,
                flags,
                data,
            } => sys::mount(Some(source), target, *kind, *flags, data.as_deref()),
            Self::Copy(path, depth, slot) => keep(trees, *slot, copy_tree(path, *depth)?),
            Self::CopyNode(path, slot) => match copy_tree(path, Depth::One) {
                Err(Errno::ENOENT) => keep(trees, *slot, NO_TREE),
                copied => keep(trees, *slot, copied?),
            },
            Self::Node(slot, _) if tree(trees, *slot) == NO_TREE => Ok(()),
            Self::Node(slot, path) => {
                make_file(path)?;
                attach_tree(tree(trees, *slot), path)?;
                crate::sys::child::close(tree(trees, *slot))
            }
            Self::SetAccessOfCopy(slot, access) => {
                set_access(tree(trees, *slot), c"", Depth::Recursive, *access)
            }
            Self::SetAccess(path, depth, access) => {
                set_access(libc::AT_FDCWD, path, *depth, *access)
            }
            Self::Attach(slot, path) => {
                attach_tree(tree(trees, *slot), path)?;
                crate::sys::child::close(tree(trees, *slot))
            }
            Self::Pin(path) => {
                let copy = copy_entry(path)?;
                attach_tree(copy, path)?;
                crate::sys::child::close(copy)
            }
            Self::Protect(path) => match copy_tree(path, Depth::Recursive) {
                Err(Errno::ENOENT) => Ok(()),
                Err(errno) => Err(errno),
                Ok(copy) => {
                    set_access(copy, c"", Depth::Recursive, Access::ReadOnly)?;
                    attach_tree(copy, path)?;
                    crate::sys::child::close(copy)
                }
            },
            Self::Mask(path, unreachable) => {
                match sys::mount(Some(DEV_NULL), path, None, libc::MS_BIND, None) {
                    Err(Errno::EACCES) if *unreachable == Unreachable::LeftAlone => Ok(()),
                    // Which of the two is missing? Without what covers it, it would stay uncovered.
                    Err(Errno::ENOENT) => match copy_tree(path, Depth::One) {
                        Err(Errno::ENOENT) => Ok(()),
                        _ => Err(Errno::ENOENT),
                    },
                    other => other,
                }
            }
            Self::Directory(path) => mkdir(path, 0o755),
            Self::Link(target, path) => symlink(target, path),
        }
    }
}
