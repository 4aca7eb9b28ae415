//! Namespaces with names: the files in `/run/netns` that ip-netns(8) makes, made, listed and deleted.
//!
//! A name is an empty file with the namespace mounted on it, and the directory is a shared mount, so
//! that other mount namespaces see names come and go. Byte for byte what iproute2 does, and under the
//! same lock, so that either tool may use and delete what the other made.
//!
//! Every function reads what is there at that moment; names may come and go meanwhile.
#![forbid(unsafe_code)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::Serialize;

use super::handle::{Namespace, identity_at};
use super::name::NamespaceName;
use super::nat;
use super::netlink::{Connection, Request};
use super::user::Home;
use crate::error::{Error, Result};
use crate::plan::errno_of;
use crate::policy::spec::nearest;

/// Where iproute2 keeps names.
pub const DIRECTORY: &str = "/run/netns";

/// The file of `name`, wherever the caller's names are.
#[must_use]
pub fn path_of(name: &NamespaceName) -> PathBuf {
    match Home::of_caller() {
        Some(home) => home.path_of(name),
        None => system_path_of(name),
    }
}

/// The file of `name` in `/run/netns`.
#[must_use]
pub fn system_path_of(name: &NamespaceName) -> PathBuf {
    Path::new(DIRECTORY).join(name.as_str())
}

/// Open the namespace at `path`: a name below `/run/netns` is looked for among the caller's own first,
/// where that is an ordinary user.
///
/// # Errors
/// As for open(2).
pub(crate) fn open_path(path: &Path) -> std::io::Result<File> {
    if let Some(name) = own_name(path)
        && let Some(home) = Home::of_caller()
        && home.path_of(&name).exists()
    {
        let namespace = home.open(&name).map_err(|_| Errno::ESTALE)?;
        return namespace.as_fd().try_clone_to_owned().map(File::from);
    }
    File::open(path)
}

fn own_name(path: &Path) -> Option<NamespaceName> {
    (path.parent()? == Path::new(DIRECTORY)).then(|| NamespaceName::of_entry(path.file_name()?))?
}

/// Make a namespace called `name`. Its `lo` is down, and nothing else is in it.
///
/// # Errors
/// When there is such a name already, or the kernel gives no namespace; nothing is left then.
pub fn add(name: &NamespaceName) -> Result<Namespace> {
    if let Some(home) = Home::of_caller() {
        return home.add(name);
    }
    let namespace = Namespace::make_called(name.to_string())?;
    attach(name, &namespace)?;
    Ok(namespace)
}

/// Give `namespace` the name `name`.
///
/// # Errors
/// When there is such a name already, or it cannot be mounted; nothing is left then.
pub fn attach(name: &NamespaceName, namespace: &Namespace) -> Result<()> {
    if let Some(home) = Home::of_caller() {
        return home.attach(name, namespace);
    }
    prepare_directory()?;
    let path = system_path_of(name);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o000)
        .open(&path)
        .map_err(|error| {
            let hint = (error.kind() == ErrorKind::AlreadyExists).then(|| taken(name));
            Error::host("name the namespace", name.to_string(), errno_of(&error)).with_hint(hint)
        })?;
    let source = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
    let mounted = mount(
        Some(source.as_str()),
        &path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    );
    mounted.map_err(|errno| {
        // Ours, made just now: nobody else has mounted anything on it.
        let _ = fs::remove_file(&path);
        Error::host("name the namespace", name.to_string(), errno)
    })
}

fn taken(name: &NamespaceName) -> String {
    match open(name) {
        Ok(_) => "there is a namespace of this name".to_owned(),
        Err(_) => format!(
            "{} is a file without a namespace, left behind: 'sandbox netns delete {name}' removes it",
            path_of(name).display()
        ),
    }
}

/// The directory of names, made if it is not there.
///
/// # Errors
/// When it cannot be made.
pub fn prepare() -> Result<PathBuf> {
    if let Some(home) = Home::of_caller() {
        home.prepare()?;
        return Ok(home.names());
    }
    prepare_directory()?;
    Ok(PathBuf::from(DIRECTORY))
}

/// The directory, and it a shared mount of its own. The first of several does it; the others wait.
fn prepare_directory() -> Result<()> {
    let on = |errno| {
        Error::host("prepare", DIRECTORY, errno).with_hint(
            (errno == Errno::EPERM || errno == Errno::EACCES)
                .then(|| "names below it are root's to make".to_owned()),
        )
    };
    match DirBuilder::new().mode(0o755).create(DIRECTORY) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(on(errno_of(&error))),
        _ => {}
    }
    let directory = File::open(DIRECTORY).map_err(|error| on(errno_of(&error)))?;
    let _locked =
        Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| on(errno))?;
    let nothing = None::<&str>;
    let share = || {
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(Some(""), DIRECTORY, Some("none"), flags, nothing)
    };
    match share() {
        // It is no mount point yet.
        Err(Errno::EINVAL) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(DIRECTORY), DIRECTORY, Some("none"), flags, nothing).map_err(on)?;
            share().map_err(on)
        }
        shared => shared.map_err(on),
    }
}

/// The namespace called `name`.
///
/// # Errors
/// When there is none.
pub fn open(name: &NamespaceName) -> Result<Namespace> {
    if let Some(home) = Home::of_caller()
        && home.path_of(name).exists()
    {
        return home.open(name);
    }
    let path = system_path_of(name);
    let missing = |errno| Error::host("open the namespace", name.to_string(), errno);
    let file = File::open(&path).map_err(|error| {
        let errno = errno_of(&error);
        missing(errno).with_hint(unknown(name, errno))
    })?;
    Namespace::from_descriptor_called(file.into(), name.to_string()).map_err(|_| {
        missing(Errno::EINVAL).with_hint(Some(format!(
            "{} is a file without a namespace, left behind: 'sandbox netns delete {name}' removes it",
            path.display()
        )))
    })
}

/// What to do about a `name` that there is none of.
fn unknown(name: &NamespaceName, errno: Errno) -> Option<String> {
    if errno != Errno::ENOENT {
        return None;
    }
    let known = names().unwrap_or_default();
    Some(
        match nearest(name.as_str(), known.iter().map(NamespaceName::as_str)) {
            Some(near) => {
                format!("did you mean '{near}'? 'sandbox netns list' lists those that there are")
            }
            None => "'sandbox netns list' lists those that there are".to_owned(),
        },
    )
}

/// Take the name `name` away. The namespace goes on while processes, descriptors or links keep it.
///
/// A file that was left behind without a namespace is removed as well, and so is the namespace's way to the
/// outside ([`nat`]).
///
/// # Errors
/// When there is no such name.
pub fn delete(name: &NamespaceName) -> Result<()> {
    if let Some(home) = Home::of_caller()
        && home.path_of(name).exists()
    {
        return home.delete(name);
    }
    let path = system_path_of(name);
    let failed = |errno| Error::host("delete the namespace", name.to_string(), errno);
    // First: of a name that there is none of, an ordinary user would hear that it is root's.
    if let Err(error) = fs::symlink_metadata(&path) {
        let errno = errno_of(&error);
        return Err(failed(errno).with_hint(unknown(name, errno)));
    }
    if path.exists() {
        nat::disconnect(name)?;
    }
    match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // EINVAL: nothing is mounted there.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => {
            let hint = (errno == Errno::EPERM)
                .then(|| "names in /run/netns are root's: run as root".to_owned());
            return Err(failed(errno).with_hint(hint));
        }
    }
    fs::remove_file(&path).map_err(|error| failed(errno_of(&error)))
}

/// What there is behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A namespace.
    Live,
    /// A file only: being made at this moment, or left behind.
    Stale,
}

/// A name that there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Named {
    /// The name.
    pub name: NamespaceName,
    /// Its file.
    pub path: PathBuf,
    /// What is behind it.
    pub state: State,
    /// The number that the caller's namespace gives it, if it has given one.
    pub nsid: Option<i32>,
    /// The processes in it, as many as the caller may see.
    pub pids: Vec<i32>,
}

/// Every name, in their order.
///
/// # Errors
/// When they cannot be read.
pub fn list() -> Result<Vec<Named>> {
    let mut found = Vec::new();
    let mut own: Option<Connection> = None;
    let processes = processes();
    for (name, path) in entries()? {
        let mut named = Named {
            name,
            path,
            state: State::Stale,
            nsid: None,
            pids: Vec::new(),
        };
        if let Ok(namespace) = open_entry(&named.name, &named.path) {
            named.state = State::Live;
            let identity = namespace.identity()?;
            named.pids = processes
                .iter()
                .filter(|(_, other)| *other == identity)
                .map(|(pid, _)| *pid)
                .collect();
            if own.is_none() {
                own = Some(Namespace::own()?.connect()?);
            }
            if let Some(own) = &mut own {
                named.nsid = own.nsid_of(&namespace)?;
            }
        } else if fs::symlink_metadata(&named.path).is_err() {
            // Deleted since.
            continue;
        }
        found.push(named);
    }
    Ok(found)
}

/// The names alone, in their order.
///
/// # Errors
/// When they cannot be read.
pub fn names() -> Result<Vec<NamespaceName>> {
    Ok(entries()?.into_iter().map(|(name, _)| name).collect())
}

/// The names whose namespaces are the caller's to enter: for an ordinary user the own ones, for root those of
/// `/run/netns`.
///
/// # Errors
/// When the directory cannot be read.
pub fn names_of_caller() -> Result<Vec<NamespaceName>> {
    let own = Home::of_caller().map(|home| home.names());
    let is_callers = |path: &Path| {
        own.as_ref()
            .is_none_or(|own| path.parent() == Some(own.as_path()))
    };
    let entries = entries()?.into_iter();
    let callers = entries.filter(|(_, path)| is_callers(path));
    Ok(callers.map(|(name, _)| name).collect())
}

/// Every name with its file: those of `/run/netns`, and before them an ordinary user's own, which hide
/// others that are called so.
fn entries() -> Result<Vec<(NamespaceName, PathBuf)>> {
    let home = Home::of_caller().map(|home| home.names());
    let mut found: Vec<(NamespaceName, PathBuf)> = Vec::new();
    for directory in home.into_iter().chain([PathBuf::from(DIRECTORY)]) {
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.map_err(|error| {
                Error::host("read", directory.display().to_string(), errno_of(&error))
            })?,
        };
        for entry in entries.flatten() {
            if let Some(name) = NamespaceName::of_entry(&entry.file_name())
                && !found.iter().any(|(other, _)| *other == name)
            {
                found.push((name, entry.path()));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn open_entry(name: &NamespaceName, path: &Path) -> Result<Namespace> {
    if path.starts_with(DIRECTORY) {
        return Namespace::at_called(path, name.to_string());
    }
    open(name)
}

/// The names of the namespace that process `pid` is in: none, one, or several.
///
/// # Errors
/// When there is no such process.
pub fn identify(pid: i32) -> Result<Vec<NamespaceName>> {
    let wanted = Namespace::of_process(pid)?.identity()?;
    let is_wanted = |(name, path): &(NamespaceName, PathBuf)| {
        let identity = match path.starts_with(DIRECTORY) {
            true => identity_at(path),
            false => open(name).and_then(|found| found.identity()).ok(),
        };
        identity == Some(wanted)
    };
    let found = entries()?.into_iter().filter(is_wanted);
    Ok(found.map(|(name, _)| name).collect())
}

/// The processes in `namespace`, as many as the caller may see.
///
/// # Errors
/// When the kernel does not say which namespace it is.
pub fn pids(namespace: &Namespace) -> Result<Vec<i32>> {
    let wanted = namespace.identity()?;
    let mut pids: Vec<i32> = processes()
        .into_iter()
        .filter(|(_, identity)| *identity == wanted)
        .map(|(pid, _)| pid)
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Every process that the caller may look at, with its network namespace.
fn processes() -> Vec<(i32, (u64, u64))> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, identity_at(format!("/proc/{pid}/ns/net"))?))
        })
        .collect()
}

impl Connection {
    /// The number that this namespace gives to `other`, if it has given one.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn nsid_of(&mut self, other: &Namespace) -> Result<Option<i32>> {
        let mut message = NsidMessage::default();
        message
            .attributes
            .push(NsidAttribute::Fd(descriptor(other)));
        let message = RouteNetlinkMessage::GetNsId(message);
        let Some(RouteNetlinkMessage::NewNsId(answer)) = self.get(message, "ask for a number")?
        else {
            return Ok(None);
        };
        Ok(answer
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                _ => None,
            }))
    }
}

/// Have the socket's namespace call `other` by the number `id`; by one of the kernel's choice if none is
/// given. A number once given stays.
#[must_use]
pub fn set_nsid(other: &Namespace, id: Option<u32>) -> Request {
    let mut message = NsidMessage::default();
    let number = id.and_then(|id| i32::try_from(id).ok()).unwrap_or(-1);
    message.attributes = vec![
        NsidAttribute::Fd(descriptor(other)),
        NsidAttribute::Id(number),
    ];
    let object = match id {
        Some(id) => format!("{} to {id}", other.label()),
        None => format!("{} to a free one", other.label()),
    };
    let message = RouteNetlinkMessage::NewNsId(message);
    let mut request = Request::new(message, 0, "set the number of", object);
    request.kept.push(other.clone());
    request
}

fn descriptor(namespace: &Namespace) -> u32 {
    u32::try_from(namespace.as_fd().as_raw_fd()).expect("a descriptor is not negative")
}
