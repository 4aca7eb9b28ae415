//! Listening sockets: opened here, or inherited by the systemd protocol (sd_listen_fds(3)).
//!
//! Runs in the launcher and in the broker before anything untrusted starts and before privileges go,
//! so that ports below 1024 need no privilege later. It promises that every socket it gives is one
//! that listens, of a family that [`crate::descriptor::Kind`] calls harmless, close-on-exec.
//!
//! Which addresses a TCP socket takes is not left to the host's `bindv6only`: an empty HOST is every
//! address of both families in one socket, an address in brackets is IPv6 alone. A Unix socket file
//! that a dead process left is replaced; one that somebody listens on, that is another user's, or that
//! is no socket, never is.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, RenameFlags, fcntl, renameat2};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind, connect,
    getsockname, getsockopt, setsockopt, socket, sockopt,
};
use nix::unistd::{geteuid, getpid};

use crate::descriptor;
use crate::error::{Error, Result};
use crate::policy::spec;
use crate::request::Endpoint;
use crate::sys::parent;

/// The first descriptor that is passed by the systemd protocol.
const FIRST_INHERITED: RawFd = 3;
/// More than any service manager passes; a larger number is a mistake.
const MOST_INHERITED: RawFd = 1024;

/// Whether another process may listen on the same address at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PortSharing {
    /// No.
    #[default]
    Alone,
    /// `SO_REUSEPORT`: the kernel spreads connections over all that listen.
    Shared,
}

/// What an IPv6 socket listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Families {
    /// IPv4 too.
    Both,
    /// IPv6 alone.
    Own,
}

/// How sockets are opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// How many connections may wait to be accepted; `None` for as many as the kernel lets.
    pub(crate) backlog: Option<u32>,
    /// `SO_REUSEPORT`.
    pub(crate) sharing: PortSharing,
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Its name, for the header of a connection and for `LISTEN_FDNAMES`.
    pub(crate) name: String,
    /// What it is bound to, as the kernel says, for people.
    pub(crate) address: String,
    /// The socket.
    pub(crate) fd: OwnedFd,
    /// The socket file, if it was made here.
    pub(crate) made: Option<SocketFile>,
}

impl Listener {
    /// Open `endpoint`.
    ///
    /// # Errors
    /// When it cannot be listened on.
    pub(crate) fn open(name: &str, endpoint: &Endpoint, options: &Options) -> Result<Self> {
        let (fd, made) = open(endpoint, options)?;
        Ok(Self {
            name: name.to_owned(),
            address: address_of(fd.as_fd()),
            fd,
            made,
        })
    }

    /// Whether its connections are TCP, as the kernel counts their bytes.
    pub(crate) fn is_tcp(&self) -> bool {
        family_of(self.fd.as_fd()) != Some(AddressFamily::Unix)
    }
}

/// A socket file that was made here; removed on drop if it is still the same.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> std::result::Result<Self, Errno> {
        Ok(Self {
            // The working directory may be another when it is removed.
            path: std::path::absolute(path).map_err(|error| errno(&error))?,
            identity: identity_of(path)?,
        })
    }
}

impl SocketFile {
    /// Remove it, if it is still the same.
    pub(crate) fn remove(&self) {
        if identity_of(&self.path) == Ok(self.identity) {
            // It may have been removed by whoever else uses the name: nothing is lost then.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Open `endpoint` as a blocking socket that listens, with the file that was made for it.
///
/// # Errors
/// When it cannot be listened on.
pub(crate) fn open(
    endpoint: &Endpoint,
    options: &Options,
) -> Result<(OwnedFd, Option<SocketFile>)> {
    check_backlog(options.backlog)?;
    let failed = |errno| cannot_listen(endpoint, errno);
    match endpoint {
        Endpoint::Unix(path) => unix(path, SockType::Stream, options)
            .map(|(fd, made)| (fd, Some(made)))
            .map_err(failed),
        Endpoint::UnixPackets(path) => unix(path, SockType::SeqPacket, options)
            .map(|(fd, made)| (fd, Some(made)))
            .map_err(failed),
        Endpoint::Tcp { host, port } if host.is_empty() => {
            every(*port, options).map(|fd| (fd, None)).map_err(failed)
        }
        Endpoint::Tcp { host, port } => {
            let mut last = Errno::EADDRNOTAVAIL;
            for address in descriptor::look_up("--listen", host, *port)? {
                match tcp(address, Families::Own, options) {
                    Ok(fd) => return Ok((fd, None)),
                    Err(errno) => last = errno,
                }
            }
            Err(failed(last))
        }
    }
}

fn cannot_listen(endpoint: &Endpoint, errno: Errno) -> Error {
    let advice = match errno {
        Errno::EADDRINUSE => "something listens there already; stop it, or choose another",
        Errno::EACCES => "ports below 1024 and foreign directories need more rights",
        Errno::EADDRNOTAVAIL => "no interface of this host has that address",
        Errno::EEXIST => "a file is in the way that is no socket of this user; remove it",
        _ => return Error::host("listen on", shown(endpoint), errno),
    };
    Error::host("listen on", shown(endpoint), errno).with_hint(Some(advice.to_owned()))
}

/// An endpoint for people.
pub(crate) fn shown(endpoint: &Endpoint) -> String {
    spec::show_endpoint(endpoint).to_string_lossy().into_owned()
}

/// The kernel cuts what is above its own limit without a word (listen(2)).
fn check_backlog(backlog: Option<u32>) -> Result<()> {
    let Some(backlog) = backlog else {
        return Ok(());
    };
    let file = "/proc/sys/net/core/somaxconn";
    let most = fs::read_to_string(file)
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok());
    match most {
        Some(most) if backlog > most => Err(Error::usage(
            format!("--backlog {backlog}"),
            format!("this host lets {most} connections wait; raise net.core.somaxconn first"),
        )),
        _ => Ok(()),
    }
}

/// Every address of this host.
fn every(port: u16, options: &Options) -> std::result::Result<OwnedFd, Errno> {
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    match tcp(any, Families::Both, options) {
        // A host without IPv6.
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => {
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
            tcp(any, Families::Own, options)
        }
        other => other,
    }
}

fn tcp(
    address: SocketAddr,
    families: Families,
    options: &Options,
) -> std::result::Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // A restart must not wait for the connections of the last run to be forgotten.
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &(families == Families::Own))?;
    }
    if options.sharing == PortSharing::Shared {
        setsockopt(&fd, sockopt::ReusePort, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    parent::listen(fd.as_fd(), options.backlog)?;
    Ok(fd)
}

fn unix(
    path: &Path,
    kind: SockType,
    options: &Options,
) -> std::result::Result<(OwnedFd, SocketFile), Errno> {
    let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    match bind(fd.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) => {
            let made = SocketFile::of(path)?;
            parent::listen(fd.as_fd(), options.backlog)?;
            Ok((fd, made))
        }
        Err(Errno::EADDRINUSE) => replace_stale(path, kind, options),
        Err(errno) => Err(errno),
    }
}

/// Put a socket of ours in the place of one that nobody listens on any more.
///
/// The old file is moved aside first and looked at once more, so that a socket that another process puts
/// there meanwhile is put back. (Not bound aside and moved here: it would have the wrong name for
/// whoever asks it, getsockname(2).)
fn replace_stale(
    path: &Path,
    kind: SockType,
    options: &Options,
) -> std::result::Result<(OwnedFd, SocketFile), Errno> {
    let stale = stale_identity(path)?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", getpid()));
    let aside = PathBuf::from(aside);
    let go = |from: &Path, to: &Path| {
        renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)
    };
    go(path, &aside)?;
    if identity_of(&aside) != Ok(stale) {
        go(&aside, path)?;
        return Err(Errno::EADDRINUSE);
    }
    let _ = fs::remove_file(&aside);
    let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    let made = SocketFile::of(path)?;
    parent::listen(fd.as_fd(), options.backlog)?;
    Ok((fd, made))
}

/// Which file is at `path`, if it is a socket of this user that nobody listens on.
fn stale_identity(path: &Path) -> std::result::Result<(u64, u64), Errno> {
    let found = fs::symlink_metadata(path).map_err(|error| errno(&error))?;
    if !found.file_type().is_socket() || found.uid() != geteuid().as_raw() {
        return Err(Errno::EEXIST);
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    for kind in [SockType::Stream, SockType::SeqPacket, SockType::Datagram] {
        let probe = socket(AddressFamily::Unix, kind, flags, None)?;
        match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
            // Of another type: alive or not, only its own type tells.
            Err(Errno::EPROTOTYPE) => {}
            Err(Errno::ECONNREFUSED) => return Ok((found.dev(), found.ino())),
            // It answers, or its queue is full: somebody is there.
            _ => return Err(Errno::EADDRINUSE),
        }
    }
    Err(Errno::EADDRINUSE)
}

fn identity_of(path: &Path) -> std::result::Result<(u64, u64), Errno> {
    let found = fs::symlink_metadata(path).map_err(|error| errno(&error))?;
    Ok((found.dev(), found.ino()))
}

fn errno(error: &std::io::Error) -> Errno {
    crate::plan::errno_of(error)
}

fn family_of(fd: BorrowedFd<'_>) -> Option<AddressFamily> {
    getsockname::<SockaddrStorage>(fd.as_raw_fd())
        .ok()
        .and_then(|address| address.family())
}

/// What a socket is bound to, for people: `tcp:127.0.0.1:80`, `unix:/run/x`.
pub(super) fn address_of(fd: BorrowedFd<'_>) -> String {
    let Ok(address) = getsockname::<SockaddrStorage>(fd.as_raw_fd()) else {
        return "unknown".to_owned();
    };
    if let Some(address) = address.as_sockaddr_in() {
        return format!("tcp:{address}");
    }
    if let Some(address) = address.as_sockaddr_in6() {
        return format!("tcp:{address}");
    }
    let scheme = match getsockopt(&fd, sockopt::SockType) {
        Ok(SockType::SeqPacket) => "unix-seqpacket",
        _ => "unix",
    };
    let Some(unix) = address.as_unix_addr() else {
        return "unknown".to_owned();
    };
    match (unix.path(), unix.as_abstract()) {
        (Some(path), _) => format!("{scheme}:{}", path.display()),
        (None, Some(name)) => format!("{scheme}:@{}", String::from_utf8_lossy(name)),
        (None, None) => format!("{scheme}:"),
    }
}

/// What the environment says of inherited sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inherited {
    /// `LISTEN_PID`.
    pub(crate) pid: Option<OsString>,
    /// `LISTEN_FDS`.
    pub(crate) count: Option<OsString>,
    /// `LISTEN_FDNAMES`.
    pub(crate) names: Option<OsString>,
}

impl Inherited {
    /// As the process was started.
    pub(crate) fn from_environment() -> Self {
        Self {
            pid: std::env::var_os("LISTEN_PID"),
            count: std::env::var_os("LISTEN_FDS"),
            names: std::env::var_os("LISTEN_FDNAMES"),
        }
    }

    /// The name of each inherited socket, from descriptor 3 up; none if they are for another process.
    ///
    /// # Errors
    /// When the variables contradict themselves.
    fn names(&self, own: i32) -> Result<Vec<String>> {
        let number = |word: &OsString| word.to_str().and_then(|word| word.parse::<RawFd>().ok());
        let (Some(pid), Some(count)) = (&self.pid, &self.count) else {
            return Ok(Vec::new());
        };
        if number(pid) != Some(own) {
            // Left over from a process before us (sd_listen_fds(3)).
            return Ok(Vec::new());
        }
        let wrong = |reason: &str| Error::usage("LISTEN_FDS", reason);
        let count = number(count)
            .filter(|count| (0..=MOST_INHERITED).contains(count))
            .ok_or_else(|| wrong("is not a number of descriptors; see sd_listen_fds(3)"))?;
        let count = usize::try_from(count).unwrap_or_default();
        let Some(names) = &self.names else {
            return Ok(vec!["listen".to_owned(); count]);
        };
        let names = names
            .to_str()
            .ok_or_else(|| Error::usage("LISTEN_FDNAMES", "is no text"))?;
        let names: Vec<&str> = match names {
            "" => Vec::new(),
            names => names.split(':').collect(),
        };
        if names.len() != count {
            return Err(Error::usage(
                "LISTEN_FDNAMES",
                format!("has {} names for {count} descriptors", names.len()),
            ));
        }
        names
            .into_iter()
            .map(|name| match name {
                "" => Ok("listen".to_owned()),
                name => spec::descriptor_name(name)
                    .map_err(|reason| Error::usage("LISTEN_FDNAMES", reason.to_string())),
            })
            .collect()
    }

    /// Take the inherited sockets over: each is looked at first, and must be one that listens.
    ///
    /// # Errors
    /// When one of them is anything else.
    pub(crate) fn take(&self, options: &Options) -> Result<Vec<Listener>> {
        let names = self.names(getpid().as_raw())?;
        let mut listeners = Vec::with_capacity(names.len());
        for (number, name) in (FIRST_INHERITED..).zip(names) {
            let fd = parent::take_over(number).map_err(|errno| {
                Error::host(
                    "take over the inherited descriptor",
                    number.to_string(),
                    errno,
                )
            })?;
            check_listens(fd.as_fd(), number)?;
            if options.backlog.is_some() {
                check_backlog(options.backlog)?;
                parent::listen(fd.as_fd(), options.backlog).map_err(|errno| {
                    Error::host("set the backlog of descriptor", number.to_string(), errno)
                })?;
            }
            listeners.push(Listener {
                name,
                address: address_of(fd.as_fd()),
                fd,
                made: None,
            });
        }
        Ok(listeners)
    }
}

/// Refuse what is no listening stream or packet socket of a family that we know.
fn check_listens(fd: BorrowedFd<'_>, number: RawFd) -> Result<()> {
    let family = family_of(fd);
    let kind = getsockopt(&fd, sockopt::SockType).ok();
    let fits = matches!(
        (family, kind),
        (
            Some(AddressFamily::Inet | AddressFamily::Inet6),
            Some(SockType::Stream)
        ) | (
            Some(AddressFamily::Unix),
            Some(SockType::Stream | SockType::SeqPacket)
        )
    );
    if fits && getsockopt(&fd, sockopt::AcceptConn) == Ok(true) {
        return Ok(());
    }
    Err(Error::usage(
        format!("inherited descriptor {number}"),
        "is no socket that listens; the socket unit needs ListenStream= or \
         ListenSequentialPacket=, and Accept=no",
    ))
}

/// A socket that no accept waits on.
///
/// # Errors
/// When the flag cannot be set.
pub(crate) fn set_nonblocking(socket: &OwnedFd) -> Result<()> {
    let failed = |errno| Error::host("set up", "a listener", errno);
    let flags = fcntl(socket, FcntlArg::F_GETFL).map_err(failed)?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(socket, FcntlArg::F_SETFL(flags))
        .map(drop)
        .map_err(failed)
}

/// The number of connections that wait in a TCP listener's queue; for others nobody says.
pub(crate) fn waiting(listener: BorrowedFd<'_>) -> Option<u32> {
    parent::tcp_counters(listener)
        .ok()
        .map(|counters| counters.unacknowledged)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use nix::sys::socket::{Shutdown, shutdown};

    use super::*;

    fn tcp_endpoint(host: &str) -> Endpoint {
        Endpoint::Tcp {
            host: host.to_owned(),
            port: 0,
        }
    }

    fn listens(endpoint: &Endpoint) -> (OwnedFd, Option<SocketFile>) {
        open(endpoint, &Options::default()).unwrap()
    }

    fn refused(endpoint: &Endpoint) -> Errno {
        match open(endpoint, &Options::default()) {
            Err(Error::Host { errno, .. }) => errno,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_empty_host_takes_both_families_and_brackets_take_one() {
        for (host, connects_by_v4) in [("", true), ("::", false), ("::1", false), ("0.0.0.0", true)]
        {
            let (fd, _) = listens(&tcp_endpoint(host));
            let address = getsockname::<SockaddrStorage>(fd.as_raw_fd()).unwrap();
            let port = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => v4.port(),
                (_, Some(v6)) => v6.port(),
                _ => panic!("{host}: no port"),
            };
            let connected = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            assert_eq!(connected, connects_by_v4, "\"{host}\"");
        }
    }

    #[test]
    fn a_shared_port_is_taken_twice_and_another_is_not() {
        let shared = Options {
            sharing: PortSharing::Shared,
            ..Options::default()
        };
        for (options, expected) in [
            (shared, None),
            (Options::default(), Some(Errno::EADDRINUSE)),
        ] {
            let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
            let first = tcp(any, Families::Own, &options).unwrap();
            let taken = getsockname::<SockaddrStorage>(first.as_raw_fd()).unwrap();
            let taken = SocketAddr::from(*taken.as_sockaddr_in().unwrap());
            assert_eq!(tcp(taken, Families::Own, &options).err(), expected);
        }
    }

    #[test]
    fn a_socket_file_that_nobody_listens_on_is_replaced_and_removed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "std leaves it behind");
        let (fd, made) = listens(&Endpoint::UnixPackets(path.clone()));
        assert!(parent::connect_unix(&path).is_ok());
        let name = format!("unix-seqpacket:{}", path.display());
        assert_eq!(address_of(fd.as_fd()), name);
        drop((fd, made));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn a_socket_that_somebody_listens_on_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let _other = UnixListener::bind(&path).unwrap();
        assert_eq!(refused(&Endpoint::Unix(path.clone())), Errno::EADDRINUSE);
        assert_eq!(
            refused(&Endpoint::UnixPackets(path.clone())),
            Errno::EADDRINUSE
        );
        assert!(UnixStream::connect(&path).is_ok());
        let datagrams = dir.path().join("d");
        let _other = UnixDatagram::bind(&datagrams).unwrap();
        assert_eq!(refused(&Endpoint::Unix(datagrams)), Errno::EADDRINUSE);
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        fs::write(&path, "precious").unwrap();
        assert_eq!(refused(&Endpoint::Unix(path.clone())), Errno::EEXIST);
        let link = dir.path().join("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(refused(&Endpoint::Unix(link)), Errno::EEXIST);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_socket_file_that_another_put_there_meanwhile_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let ours = listens(&Endpoint::Unix(path.clone()));
        fs::remove_file(&path).unwrap();
        let _theirs = UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_backlog_that_the_kernel_would_cut_is_an_error() {
        let options = Options {
            backlog: Some(u32::MAX),
            ..Options::default()
        };
        let error = open(&tcp_endpoint("127.0.0.1"), &options).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("raise net.core.somaxconn first"),
            "{error}"
        );
    }

    fn inherited(pid: &str, count: &str, names: Option<&str>) -> Inherited {
        Inherited {
            pid: Some(pid.into()),
            count: Some(count.into()),
            names: names.map(Into::into),
        }
    }

    #[test]
    fn inherited_names_are_read_as_the_protocol_says() {
        let names = |pid, count, names| inherited(pid, count, names).names(7);
        assert_eq!(
            names("7", "2", Some("http:admin")).unwrap(),
            ["http", "admin"]
        );
        assert_eq!(names("7", "2", None).unwrap(), ["listen", "listen"]);
        assert_eq!(
            names("7", "2", Some(":x.socket")).unwrap(),
            ["listen", "x.socket"]
        );
        assert!(names("8", "2", None).unwrap().is_empty(), "another's");
        assert!(names("", "2", None).unwrap().is_empty());
        assert!(Inherited::default().names(7).unwrap().is_empty());
        for (count, given) in [
            ("-1", None),
            ("x", None),
            ("100000", None),
            ("2", Some("a")),
            ("1", Some("a b")),
        ] {
            assert!(names("7", count, given).is_err(), "{count} {given:?}");
        }
    }

    #[test]
    fn only_sockets_that_listen_are_taken_over() {
        let check = |fd: OwnedFd| check_listens(fd.as_fd(), 3).is_ok();
        assert!(check(listens(&tcp_endpoint("127.0.0.1")).0));
        let dir = tempfile::tempdir().unwrap();
        let (packets, _made) = listens(&Endpoint::UnixPackets(dir.path().join("p")));
        assert!(check(packets));
        assert!(!check(UnixStream::pair().unwrap().0.into()));
        assert!(!check(
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into()
        ));
        assert!(!check(fs::File::open("/dev/null").unwrap().into()));
        let (stopped, _) = listens(&tcp_endpoint("127.0.0.1"));
        shutdown(stopped.as_raw_fd(), Shutdown::Read).unwrap();
        assert!(!check(stopped), "it listens no more");
    }

    #[test]
    fn connections_that_wait_are_counted() {
        let (fd, _) = listens(&tcp_endpoint("127.0.0.1"));
        assert_eq!(waiting(fd.as_fd()), Some(0));
        let address = getsockname::<SockaddrStorage>(fd.as_raw_fd()).unwrap();
        let port = address.as_sockaddr_in().unwrap().port();
        let _clients = [(); 2].map(|()| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
        assert_eq!(waiting(fd.as_fd()), Some(2));
    }
}
