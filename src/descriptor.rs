//! The descriptors that the command is given: opened outside first, looked at, then handed over.
//!
//! Runs in the launcher. A descriptor is a capability: one of the wrong kind leads around every
//! namespace. A directory opens the host's files (openat(2)), a namespace can be joined, a netlink or
//! packet socket sees the host's network, a pidfd reaches a process. Those are refused.
#![forbid(unsafe_code)]

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt,
    sockopt,
};
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::isatty;

use crate::broker::listen::{self, SocketFile, shown};
use crate::error::{Error, Result};
use crate::plan::{Handed, errno_of};
use crate::request::{Endpoint, Request, Source};
use crate::sys::{message, parent};

/// How long a `--connect` may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What a descriptor is, as far as it matters to a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Closed.
    Closed,
    /// A regular file, or a memfd.
    File,
    /// A pipe or FIFO.
    Pipe,
    /// A harmless character device: a terminal, `/dev/null`, `/dev/urandom`.
    Device,
    /// Any other.
    OtherDevice,
    /// TCP.
    InternetStream,
    /// UDP.
    InternetDatagram,
    /// A Unix socket of streams or packets.
    UnixSocket,
    /// A Unix socket of datagrams: each may name another peer, by path too.
    UnixDatagram,
    /// eventfd(2), timerfd, signalfd, epoll, inotify.
    Event,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// An entry of `/proc`.
    ProcessFile,
    /// Opened with `O_PATH`.
    PathOnly,
    /// A namespace.
    Namespace,
    /// A pidfd.
    Process,
    /// A netlink socket.
    Netlink,
    /// A packet, raw or other socket.
    OtherSocket,
    /// io_uring, bpf, a file system context or whatever else the kernel makes without a name.
    OtherObject,
}

impl Kind {
    /// A socket of which each message may name another peer.
    #[must_use]
    pub fn is_datagram_socket(self) -> bool {
        matches!(self, Self::InternetDatagram | Self::UnixDatagram)
    }

    /// An IPv4 or IPv6 socket: one that lives in the host's network namespace.
    #[must_use]
    pub fn is_internet_socket(self) -> bool {
        matches!(self, Self::InternetStream | Self::InternetDatagram)
    }

    /// How it leads out of a sandbox, if it does.
    #[must_use]
    pub fn danger(self) -> Option<&'static str> {
        Some(match self {
            Self::Directory => "a directory: the host's files can be opened through it",
            Self::BlockDevice => "a block device: it holds the host's files",
            Self::OtherDevice => {
                "a device that is no terminal: it may be hardware, or an interface of the host's network"
            }
            Self::ProcessFile => "a file of /proc: it shows or changes a process outside",
            Self::PathOnly => "an O_PATH descriptor: it can be opened or executed past the policy",
            Self::Namespace => "a namespace: it can be joined",
            Self::Process => "a pidfd: it reaches a process outside",
            Self::Netlink => "a netlink socket: it sees the host's network",
            Self::OtherSocket => "a packet, raw or unusual socket: it sees the host's network",
            Self::OtherObject => "a kernel object of a kind that is not known to be harmless",
            _ => return None,
        })
    }

    /// Look at descriptor `number`, open or not.
    #[must_use]
    pub fn of_number(number: RawFd) -> Self {
        parent::look_at(number, Self::of)
    }

    /// Look at `fd`.
    #[must_use]
    pub fn of(fd: BorrowedFd<'_>) -> Self {
        let Ok(status) = fstat(fd) else {
            return Self::Closed;
        };
        let flags = fcntl(fd, FcntlArg::F_GETFL).map_or(OFlag::empty(), OFlag::from_bits_retain);
        if flags.contains(OFlag::O_PATH) {
            return Self::PathOnly;
        }
        match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFSOCK => Self::of_socket(fd),
            SFlag::S_IFIFO => Self::Pipe,
            SFlag::S_IFCHR => Self::of_device(fd, status.st_rdev),
            SFlag::S_IFBLK => Self::BlockDevice,
            SFlag::S_IFDIR => Self::Directory,
            _ => Self::of_file(fd),
        }
    }

    /// By its number: those of memory that hold nothing, null, zero, full, random and urandom, are 3, 5, 7, 8
    /// and 9 of major 1 on every Linux (`Documentation/admin-guide/devices.txt`).
    fn of_device(fd: BorrowedFd<'_>, number: u64) -> Self {
        let is_empty = major(number) == 1 && [3, 5, 7, 8, 9].contains(&minor(number));
        match is_empty || isatty(fd).unwrap_or(false) {
            true => Self::Device,
            false => Self::OtherDevice,
        }
    }

    fn of_socket(fd: BorrowedFd<'_>) -> Self {
        let family = getsockname::<SockaddrStorage>(fd.as_raw_fd())
            .ok()
            .and_then(|address| address.family());
        let kind = getsockopt(&fd, sockopt::SockType).ok();
        match (family, kind) {
            (Some(AddressFamily::Unix), Some(SockType::Datagram)) => Self::UnixDatagram,
            (Some(AddressFamily::Unix), _) => Self::UnixSocket,
            (Some(AddressFamily::Inet | AddressFamily::Inet6), Some(SockType::Stream)) => {
                Self::InternetStream
            }
            (Some(AddressFamily::Inet | AddressFamily::Inet6), Some(SockType::Datagram)) => {
                Self::InternetDatagram
            }
            (Some(AddressFamily::Netlink), _) => Self::Netlink,
            _ => Self::OtherSocket,
        }
    }

    fn of_file(fd: BorrowedFd<'_>) -> Self {
        const NSFS: FsType = FsType(0x6e73_6673);
        const PIDFS: FsType = FsType(0x5049_4446);
        const PROCFS: FsType = FsType(0x9fa0);
        match fstatfs(fd).map(|found| found.filesystem_type()) {
            Ok(NSFS) => return Self::Namespace,
            Ok(PIDFS) => return Self::Process,
            Ok(PROCFS) => return Self::ProcessFile,
            _ => {}
        }
        let Ok(name) = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) else {
            return Self::OtherObject;
        };
        match name.as_os_str().as_bytes().strip_prefix(b"anon_inode:") {
            None => Self::File,
            Some(b"[eventfd]" | b"[timerfd]" | b"[signalfd]" | b"[eventpoll]" | b"inotify") => {
                Self::Event
            }
            Some(b"[pidfd]") => Self::Process,
            Some(_) => Self::OtherObject,
        }
    }
}

/// Opened descriptors, in the order in which the command gets them from 3 up.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    pub(crate) descriptors: Vec<(Handed, OwnedFd)>,
    /// Socket files that `--listen unix:` made; removed when the launch is over.
    made: Vec<SocketFile>,
}

/// Open or take over everything that `request` names.
///
/// # Errors
/// When something cannot be opened, or is of a kind that leads out of the sandbox.
pub(crate) fn open(request: &Request) -> Result<Opened> {
    let mut opened = Opened::default();
    for passed in &request.descriptors {
        let mut add = |fd: OwnedFd, what: String| -> Result<()> {
            let kind = Kind::of(fd.as_fd());
            refuse_dangerous(kind, &what, request.unsafe_descriptors)?;
            let name = passed.name.clone();
            opened.descriptors.push((Handed { name, kind }, fd));
            Ok(())
        };
        match &passed.source {
            Source::Inherited(number) => {
                let fd = parent::duplicate(*number).map_err(|errno| {
                    Error::host("pass descriptor", number.to_string(), errno).with_hint(Some(
                        format!("open it in the caller, as in '{number}<file'"),
                    ))
                })?;
                add(fd, format!("--pass-fd {number}"))?;
            }
            Source::Listen(endpoint) => {
                let (fd, made) = listen::open(endpoint, &listen::Options::default())?;
                add(fd, "--listen".to_owned())?;
                opened.made.extend(made);
            }
            Source::Connect(endpoint) => add(connect(endpoint)?, "--connect".to_owned())?,
            Source::Receive(path) => {
                for fd in receive(path)? {
                    add(fd, format!("--receive-from unix:{}", path.display()))?;
                }
            }
        }
    }
    Ok(opened)
}

/// Refuse 0, 1 and 2 too if they are of a kind that leads out.
pub(crate) fn check_standard(kinds: &[Kind; 3], unsafe_descriptors: bool) -> Result<()> {
    for (name, &kind) in ["standard input", "standard output", "standard error"]
        .iter()
        .zip(kinds)
    {
        refuse_dangerous(kind, name, unsafe_descriptors)?;
    }
    Ok(())
}

pub(crate) fn refuse_dangerous(kind: Kind, what: &str, unsafe_descriptors: bool) -> Result<()> {
    match kind.danger() {
        Some(_) if kind == Kind::OtherObject && !Path::new("/proc/self/fd").exists() => {
            Err(Error::usage(
                what,
                "cannot be looked at: there is no /proc here, which sandbox needs; mount it first",
            ))
        }
        Some(danger) if !unsafe_descriptors => Err(Error::usage(
            what,
            format!("is {danger}; --allow-unsafe-fd accepts that"),
        )),
        _ => Ok(()),
    }
}

/// Connect to `endpoint`.
///
/// # Errors
/// When nobody answers there.
pub(crate) fn connect(endpoint: &Endpoint) -> Result<OwnedFd> {
    let failed =
        |error: std::io::Error| Error::host("connect to", shown(endpoint), errno_of(&error));
    match endpoint {
        Endpoint::Unix(path) => UnixStream::connect(path).map(OwnedFd::from).map_err(failed),
        Endpoint::UnixPackets(path) => parent::connect_packets(path)
            .map_err(|errno| Error::host("connect to", shown(endpoint), errno)),
        Endpoint::Tcp { host, port } => {
            let mut last = None;
            for address in look_up("--connect", host, *port)? {
                match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                    Ok(stream) => return Ok(OwnedFd::from(stream)),
                    Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                        last = Some(std::io::Error::from_raw_os_error(libc::ETIMEDOUT));
                    }
                    Err(error) => last = Some(error),
                }
            }
            Err(failed(last.unwrap_or_else(|| {
                std::io::Error::from_raw_os_error(libc::EADDRNOTAVAIL)
            })))
        }
    }
}

/// The address that `host` is, or those of its name in `/etc/hosts`, in order; at least one.
///
/// DNS is not asked: a static program has no getaddrinfo(3), and a name server's word would decide
/// where the one way out of a sandbox leads.
pub(crate) fn look_up(option: &str, host: &str, port: u16) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let table = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let found = addresses_in(&table, host);
    if found.is_empty() {
        return Err(Error::usage(
            format!("{option} tcp:{host}:{port}"),
            format!(
                "\"{host}\" is not in /etc/hosts, and DNS is not asked; give an address, such as one that 'getent ahosts {host}' prints"
            ),
        ));
    }
    let with_port = |address| SocketAddr::new(address, port);
    Ok(found.into_iter().map(with_port).collect())
}

/// What a table such as `/etc/hosts` (hosts(5)) says of `host`.
fn addresses_in(table: &str, host: &str) -> Vec<IpAddr> {
    let of_host = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words
            .any(|name| name.eq_ignore_ascii_case(host))
            .then_some(address)
    };
    table.lines().filter_map(of_host).collect()
}

/// Take the descriptors of one message from the broker at `path`.
fn receive(path: &Path) -> Result<Vec<OwnedFd>> {
    let failed = |errno| {
        Error::host(
            "receive descriptors from",
            path.display().to_string(),
            errno,
        )
    };
    let socket = parent::connect_unix(path).map_err(failed)?;
    let mut bytes = [0_u8; 4096];
    let message =
        message::receive(socket.as_fd(), &mut bytes, MsgFlags::empty()).map_err(failed)?;
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        // Some were dropped: the command would miss them, or take one for another.
        return Err(failed(Errno::EMFILE));
    }
    let received = message.descriptors;
    if received.is_empty() {
        return Err(Error::usage(
            format!("--receive-from unix:{}", path.display()),
            "the broker closed the connection, or sent a message without a descriptor",
        ));
    }
    Ok(received)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    use std::os::unix::net::UnixDatagram;

    use landlock::{AccessFs, RulesetAttr};
    use nix::sys::socket::{SockFlag, SockProtocol};

    use super::*;
    use crate::sys::attempt;

    #[test]
    fn a_name_has_all_its_addresses_of_the_table() {
        let table = "# 10.0.0.1 db\n::1 localhost ip6-localhost\n127.0.0.1\tlocalhost # db\n\
                     bad db\n10.0.0.2 www DB.example db\n";
        let found = |host: &str| -> Vec<String> {
            let found = addresses_in(table, host);
            found.iter().map(ToString::to_string).collect()
        };
        assert_eq!(found("localhost"), ["::1", "127.0.0.1"]);
        assert_eq!(found("db"), ["10.0.0.2"]);
        assert_eq!(found("db.EXAMPLE"), ["10.0.0.2"]);
        assert!(found("www.example").is_empty());
    }

    #[test]
    fn a_name_that_is_not_in_the_table_is_told_what_to_do() {
        let error = look_up("--connect", "db.invalid", 5432).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--connect tcp:db.invalid:5432: \"db.invalid\" is not in /etc/hosts, and DNS is not \
             asked; give an address, such as one that 'getent ahosts db.invalid' prints"
        );
    }

    #[test]
    fn kinds_that_lead_out_are_told_from_those_that_do_not() {
        let open = |path: &str| OwnedFd::from(fs::File::open(path).unwrap());
        let kind = |fd: OwnedFd| Kind::of(fd.as_fd());
        assert_eq!(kind(open("/")), Kind::Directory);
        for harmless in ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/ptmx"] {
            assert_eq!(kind(open(harmless)), Kind::Device, "{harmless}");
        }
        for other in ["/dev/kmsg", "/dev/net/tun", "/dev/fuse"] {
            // Not everybody may, and not every host has them.
            if let Ok(file) = std::fs::File::open(other) {
                assert_eq!(kind(file.into()), Kind::OtherDevice, "{other}");
                assert!(Kind::OtherDevice.danger().is_some());
            }
        }
        assert_eq!(kind(open("/proc/self/ns/net")), Kind::Namespace);
        assert_eq!(kind(open("/proc/self/status")), Kind::ProcessFile);
        let path = fs::File::options()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open("/etc/passwd");
        assert_eq!(kind(path.unwrap().into()), Kind::PathOnly);
        let oneself = attempt::pidfd_open(nix::unistd::getpid()).unwrap();
        assert_eq!(kind(oneself), Kind::Process);
        let links = SockProtocol::NetlinkRoute;
        let made = |family, protocol| {
            let flags = SockFlag::SOCK_CLOEXEC;
            nix::sys::socket::socket(family, SockType::Raw, flags, protocol)
        };
        let netlink = made(AddressFamily::Netlink, Some(links)).unwrap();
        assert_eq!(kind(netlink), Kind::Netlink);
        // Root's alone.
        for (family, protocol) in [
            (AddressFamily::Packet, None),
            (AddressFamily::Inet, Some(SockProtocol::Raw)),
        ] {
            if let Ok(raw) = made(family, protocol) {
                assert_eq!(kind(raw), Kind::OtherSocket, "{family:?}");
            }
        }
        let ruleset = landlock::Ruleset::default()
            .handle_access(AccessFs::Execute)
            .and_then(landlock::Ruleset::create);
        if let Some(ruleset) = Option::<OwnedFd>::from(ruleset.unwrap()) {
            assert_eq!(kind(ruleset), Kind::OtherObject);
        }
        let blocks = fs::read_dir("/dev").unwrap().flatten();
        let blocks = blocks.filter(|it| it.file_type().is_ok_and(|it| it.is_block_device()));
        for file in blocks.filter_map(|it| fs::File::open(it.path()).ok()) {
            assert_eq!(kind(file.into()), Kind::BlockDevice);
        }
        for dangerous in [
            Kind::Directory,
            Kind::BlockDevice,
            Kind::OtherDevice,
            Kind::ProcessFile,
            Kind::PathOnly,
            Kind::Namespace,
            Kind::Process,
            Kind::Netlink,
            Kind::OtherSocket,
            Kind::OtherObject,
        ] {
            assert!(refuse_dangerous(dangerous, "it", false).is_err());
            assert!(refuse_dangerous(dangerous, "it", true).is_ok());
        }
        assert_eq!(kind(open("/etc/passwd")), Kind::File);
        assert_eq!(
            kind(std::net::TcpListener::bind("127.0.0.1:0").unwrap().into()),
            Kind::InternetStream
        );
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(kind(datagram.into()), Kind::InternetDatagram);
        assert_eq!(kind(UnixStream::pair().unwrap().0.into()), Kind::UnixSocket);
        let datagrams = UnixDatagram::pair().unwrap().0;
        assert_eq!(kind(datagrams.into()), Kind::UnixDatagram);
        let (reader, _writer) = nix::unistd::pipe().unwrap();
        assert_eq!(kind(reader), Kind::Pipe);
    }
}
