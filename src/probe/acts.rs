//! What a probe's child does: the real thing, in namespaces of its own, and then it ends.
//!
//! Runs in a copy of a process that may have had other threads, whose locks may be held for ever.
//! Hence no allocation, no panic, no lock: only the wrappers of [`crate::sys::probe`] and those of
//! `nix` that are given `&CStr`. An act that would change the host outside a namespace brings that
//! namespace along ([`Act::namespaces`]), so it cannot be run without.

use std::ffi::CStr;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{self, AT_FDCWD, OFlag};
use nix::mount::{MsFlags, mount};
use nix::sys::socket::{
    self, AddressFamily, Backlog, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn,
    SockaddrIn6,
};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd;

use super::sys;
use crate::sys::child;

/// One thing that a probe's child tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Use a capability of the new user namespace, which AppArmor's restriction refuses.
    UseCapability,
    /// Bring `lo` up and read it back.
    RaiseLoopback,
    /// Be pid 1.
    BePidOne,
    /// Make every mount private.
    PrivateMounts,
    /// Make and remove a System V segment.
    SharedMemory,
    /// Set the host name.
    SetHostname,
    /// Be in a cgroup namespace.
    CgroupNamespace,
    /// Mount a fresh `/proc`.
    FreshProc,
    /// Mount a fresh `/sys`.
    FreshSys,
    /// Cover a directory with a tmpfs and write there.
    Tmpfs,
    /// Bind a device node elsewhere and use it there.
    Bind,
    /// Make a tree read-only and be refused a write.
    ReadOnly,
    /// Mount a private devpts.
    Devpts,
    /// Install a system-call filter.
    Filter,
    /// Install a filter with a listener.
    Listener,
    /// The listener knows how to install descriptors.
    AddFd,
    /// Enter a Landlock domain with scopes.
    LandlockScopes,
    /// Write 0 to `user.max_user_namespaces` inside, and then be refused one.
    ForbidUserNamespaces,
    /// Join a new session keyring.
    Keyring,
    /// Execute a sealed memory file.
    SealedExec,
    /// Execute by descriptor.
    Execveat,
    /// close_range(2).
    CloseRange,
    /// Bind to ::1.
    Ipv6,
    /// Let every port be bound, and read that back.
    LowPorts,
    /// Make every address local, listen at one and connect to it.
    LocalRoutes,
    /// Make a veth pair.
    Veth,
    /// Make a bridge.
    Bridge,
    /// Talk to nf_tables.
    Nftables,
    /// Look for the setting that passes packets of IPv6 on for one link.
    ForceForwarding,
    /// Look for tbf, which slows a link down.
    LinkRate,
    /// Look for htb, which slows a link down too.
    LinkRateHtb,
    /// Look for netem, which delays and loses packets.
    LinkDelay,
}

impl Act {
    /// The namespaces without which this act would be about the host, besides the user namespace.
    pub(crate) fn namespaces(self) -> libc::c_int {
        match self {
            Self::RaiseLoopback
            | Self::Ipv6
            | Self::LocalRoutes
            | Self::Veth
            | Self::Bridge
            | Self::Nftables
            | Self::ForceForwarding
            | Self::LinkRate
            | Self::LinkRateHtb
            | Self::LinkDelay => libc::CLONE_NEWNET,
            Self::BePidOne => libc::CLONE_NEWPID,
            Self::PrivateMounts | Self::Tmpfs | Self::Bind | Self::ReadOnly | Self::Devpts => {
                libc::CLONE_NEWNS
            }
            Self::SharedMemory => libc::CLONE_NEWIPC,
            Self::SetHostname => libc::CLONE_NEWUTS,
            Self::CgroupNamespace => libc::CLONE_NEWCGROUP,
            Self::FreshProc => libc::CLONE_NEWNS | libc::CLONE_NEWPID,
            Self::LowPorts => libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET,
            Self::FreshSys => libc::CLONE_NEWNS | libc::CLONE_NEWNET,
            Self::ForbidUserNamespaces => {
                libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID
            }
            Self::UseCapability => libc::CLONE_NEWUSER,
            Self::Filter
            | Self::Listener
            | Self::AddFd
            | Self::LandlockScopes
            | Self::Keyring
            | Self::SealedExec
            | Self::Execveat
            | Self::CloseRange => 0,
        }
    }

    /// Whether the act needs capabilities over its namespaces, which an ordinary user gets only
    /// with a user namespace.
    pub(crate) fn needs_privilege(self) -> bool {
        self.namespaces() != 0
    }
}

/// How far an act came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The clone into the namespaces.
    Clone,
    /// Writing the id maps.
    Maps,
    /// The act itself.
    Act,
    /// The child was killed (by a filter) before it could tell.
    Killed,
}

/// Where an act failed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) stage: Stage,
    pub(crate) errno: Errno,
}

/// What one probe's child is told; made before the clone.
pub(crate) struct Task {
    /// What it does.
    pub(crate) act: Act,
    /// Its maps, where it has a user namespace: one line each for uid and gid.
    pub(crate) maps: Option<(Vec<u8>, Vec<u8>)>,
    /// Where it reports.
    pub(crate) report: OwnedFd,
}

/// Carry `task` out, report, end. Async-signal-safe.
pub(crate) fn carry_out(task: &Task) -> ! {
    let (stage, errno) = match steps(task) {
        Ok(()) => (0, 0),
        Err(Failure {
            stage: Stage::Maps,
            errno,
        }) => (1, errno as i32),
        Err(Failure { errno, .. }) => (2, errno as i32),
    };
    let [a, b, c, d] = errno.to_ne_bytes();
    // A lost report reads as "killed", which is as good as the truth gets.
    let _ = unistd::write(&task.report, &[stage, a, b, c, d]);
    sys::exit_now(0)
}

/// What [`carry_out`] wrote; fewer bytes mean that the child was killed.
pub(crate) fn decode(report: &[u8]) -> Result<(), Failure> {
    let killed = Failure {
        stage: Stage::Killed,
        errno: Errno::EPERM,
    };
    let [stage, errno @ ..] = report else {
        return Err(killed);
    };
    let Ok(errno) = <[u8; 4]>::try_from(errno) else {
        return Err(killed);
    };
    let errno = Errno::from_raw(i32::from_ne_bytes(errno));
    match stage {
        0 => Ok(()),
        1 => Err(Failure {
            stage: Stage::Maps,
            errno,
        }),
        _ => Err(Failure {
            stage: Stage::Act,
            errno,
        }),
    }
}

fn steps(task: &Task) -> Result<(), Failure> {
    if let Some((uid_map, gid_map)) = &task.maps {
        write_maps(uid_map, gid_map).map_err(|errno| Failure {
            stage: Stage::Maps,
            errno,
        })?;
    }
    perform(task.act).map_err(|errno| Failure {
        stage: Stage::Act,
        errno,
    })
}

fn write_maps(uid_map: &[u8], gid_map: &[u8]) -> Result<(), Errno> {
    write_file(c"/proc/self/setgroups", b"deny")?;
    write_file(c"/proc/self/uid_map", uid_map)?;
    write_file(c"/proc/self/gid_map", gid_map)
}

fn write_file(path: &CStr, bytes: &[u8]) -> Result<(), Errno> {
    let file = fcntl::openat(
        AT_FDCWD,
        path,
        OFlag::O_WRONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    unistd::write(&file, bytes).map(drop)
}

fn perform(act: Act) -> Result<(), Errno> {
    // Nothing that is mounted here may reach the host, also where no user namespace protects it.
    if act.namespaces() & libc::CLONE_NEWNS != 0 {
        private_mounts()?;
    }
    match act {
        Act::UseCapability => sys::drop_bound(35), // CAP_WAKE_ALARM: unused by what follows
        Act::RaiseLoopback => raise_loopback(),
        Act::BePidOne if unistd::getpid().as_raw() == 1 => Ok(()),
        Act::BePidOne => Err(Errno::ESRCH),
        Act::PrivateMounts | Act::CgroupNamespace => Ok(()),
        Act::SharedMemory => sys::shmget_private().and_then(sys::shm_remove),
        Act::SetHostname => unistd::sethostname("probe"),
        Act::FreshProc => fresh_proc(),
        Act::FreshSys => mount_fresh(c"sysfs", c"/sys", MsFlags::MS_RDONLY, None),
        Act::Tmpfs => tmpfs().map(drop),
        Act::Bind => bind_device(),
        Act::ReadOnly => read_only(),
        Act::Devpts => mount_fresh(
            c"devpts",
            c"/dev/pts",
            MsFlags::empty(),
            Some(c"newinstance,ptmxmode=0666,mode=0620"),
        ),
        Act::Filter => allow_filters().and_then(|()| sys::seccomp_allow_all()),
        Act::Listener => allow_filters()
            .and_then(|()| sys::seccomp_listener())
            .map(drop),
        Act::AddFd => add_fd(),
        Act::LandlockScopes => landlock_scopes(),
        Act::ForbidUserNamespaces => forbid_user_namespaces(),
        Act::Keyring => sys::join_session_keyring(),
        Act::SealedExec => sealed_exec(),
        Act::Execveat => execveat(),
        Act::CloseRange => sys::close_range_nothing(),
        Act::Ipv6 => bind_ipv6_loopback(),
        Act::LowPorts => open_low_ports(),
        Act::LocalRoutes => reach_local_routes(),
        Act::Veth => new_link(b"veth"),
        Act::Bridge => new_link(b"bridge"),
        Act::Nftables => nf_tables_generation(),
        Act::ForceForwarding => force_forwarding(),
        Act::LinkRate => queueing_discipline(b"tbf"),
        Act::LinkRateHtb => queueing_discipline(b"htb"),
        Act::LinkDelay => queueing_discipline(b"netem"),
    }
}

fn private_mounts() -> Result<(), Errno> {
    mount(
        None::<&CStr>,
        c"/",
        None::<&CStr>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&CStr>,
    )
}

fn mount_fresh(kind: &CStr, on: &CStr, more: MsFlags, options: Option<&CStr>) -> Result<(), Errno> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | more;
    mount(Some(kind), on, Some(kind), flags, options)
}

fn fresh_proc() -> Result<(), Errno> {
    mount_fresh(c"proc", c"/proc", MsFlags::MS_NODEV, None)
}

/// Cover `/tmp`, which every host has, and make the file `/tmp/probe` there.
fn tmpfs() -> Result<OwnedFd, Errno> {
    mount_fresh(
        c"tmpfs",
        c"/tmp",
        MsFlags::MS_NODEV,
        Some(c"size=64k,mode=0700"),
    )?;
    fcntl::openat(
        AT_FDCWD,
        c"/tmp/probe",
        OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC,
        Mode::S_IRUSR | Mode::S_IWUSR,
    )
}

fn bind_device() -> Result<(), Errno> {
    tmpfs()?;
    mount(
        Some(c"/dev/null"),
        c"/tmp/probe",
        None::<&CStr>,
        MsFlags::MS_BIND,
        None::<&CStr>,
    )?;
    let node = fcntl::openat(
        AT_FDCWD,
        c"/tmp/probe",
        OFlag::O_RDWR | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    unistd::write(&node, b"x").map(drop)
}

fn read_only() -> Result<(), Errno> {
    drop(tmpfs()?);
    sys::make_read_only(c"/tmp")?;
    match fcntl::openat(AT_FDCWD, c"/tmp/probe", OFlag::O_WRONLY, Mode::empty()) {
        Err(Errno::EROFS) => Ok(()),
        Err(errno) => Err(errno),
        Ok(_) => Err(Errno::EBADE),
    }
}

/// An unprivileged filter or Landlock domain needs `no_new_privs` first (seccomp(2)).
fn allow_filters() -> Result<(), Errno> {
    nix::sys::prctl::set_no_new_privs()
}

fn add_fd() -> Result<(), Errno> {
    allow_filters()?;
    let listener = sys::seccomp_listener()?;
    match sys::notif_addfd_nobody(listener.as_fd()) {
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
        Ok(()) => Err(Errno::EBADE),
    }
}

fn landlock_scopes() -> Result<(), Errno> {
    allow_filters()?;
    let ruleset = sys::landlock_scopes()?;
    sys::landlock_restrict_self(ruleset.as_fd())
}

fn forbid_user_namespaces() -> Result<(), Errno> {
    // The launcher writes through its fresh /proc; a container's own often has /proc/sys read-only.
    // Where a fresh one is refused, that is for its own probe to tell.
    let _ = fresh_proc();
    write_file(c"/proc/sys/user/max_user_namespaces", b"0")?;
    match sys::clone_and_exit(libc::CLONE_NEWUSER) {
        Err(Errno::ENOSPC) => Ok(()),
        Err(errno) => Err(errno),
        Ok(pid) => {
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::__WALL);
            Err(Errno::EBADE)
        }
    }
}

fn sealed_exec() -> Result<(), Errno> {
    let file = sys::memfd_executable()?;
    // No format knows these bytes: ENOEXEC comes only after every check of the file has passed.
    unistd::write(&file, b"....")?;
    fcntl::fcntl(
        &file,
        fcntl::FcntlArg::F_ADD_SEALS(
            fcntl::SealFlag::F_SEAL_WRITE
                | fcntl::SealFlag::F_SEAL_GROW
                | fcntl::SealFlag::F_SEAL_SHRINK
                | fcntl::SealFlag::F_SEAL_SEAL,
        ),
    )?;
    match sys::execveat_itself(file.as_fd()) {
        Errno::ENOEXEC => Ok(()),
        errno => Err(errno),
    }
}

fn execveat() -> Result<(), Errno> {
    let root = fcntl::openat(
        AT_FDCWD,
        c"/",
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    // A directory is always refused so; a kernel or a filter without the call answers otherwise.
    match sys::execveat_itself(root.as_fd()) {
        Errno::EACCES => Ok(()),
        errno => Err(errno),
    }
}

fn raise_loopback() -> Result<(), Errno> {
    let socket = socket::socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let up = libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
    let flags = sys::loopback_flags(socket.as_fd())?;
    sys::set_loopback_flags(socket.as_fd(), flags | up)?;
    if sys::loopback_flags(socket.as_fd())? & up == 0 {
        return Err(Errno::ENETDOWN);
    }
    Ok(())
}

fn bind_ipv6_loopback() -> Result<(), Errno> {
    raise_loopback()?;
    let socket = socket::socket(
        AddressFamily::Inet6,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let address = SockaddrIn6::from(std::net::SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0));
    socket::bind(socket.as_raw_fd(), &address)
}

fn open_low_ports() -> Result<(), Errno> {
    // As for the ban on user namespaces.
    let _ = fresh_proc();
    let setting = c"/proc/sys/net/ipv4/ip_unprivileged_port_start";
    write_file(setting, b"0")?;
    let file = fcntl::openat(AT_FDCWD, setting, OFlag::O_RDONLY, Mode::empty())?;
    let mut found = [0; 2];
    match unistd::read(&file, &mut found)? {
        2 if found == *b"0\n" => Ok(()),
        _ => Err(Errno::EBADE),
    }
}

/// What brokered egress asks of a network ([`crate::egress`]); of IPv6 only where there is one.
fn reach_local_routes() -> Result<(), Errno> {
    let socket = |family| socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    raise_loopback()?;
    child::make_every_address_local(child::Family::V4)?;
    // An address of nobody's (RFC 5737).
    let listener = socket(AddressFamily::Inet)?;
    socket::bind(listener.as_raw_fd(), &SockaddrIn::new(192, 0, 2, 1, 1))?;
    socket::listen(&listener, Backlog::new(1)?)?;
    let client = socket(AddressFamily::Inet)?;
    socket::connect(client.as_raw_fd(), &SockaddrIn::new(192, 0, 2, 1, 1))?;
    let Ok(six) = socket(AddressFamily::Inet6) else {
        return Ok(());
    };
    let loopback = SockaddrIn6::from(std::net::SocketAddrV6::new(Ipv6Addr::LOCALHOST, 2, 0, 0));
    if socket::bind(six.as_raw_fd(), &loopback).is_err() {
        return Ok(());
    }
    child::make_every_address_local(child::Family::V6)?;
    let listener = socket(AddressFamily::Inet6)?;
    let (level, option) = (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND);
    child::set_socket_option(listener.as_raw_fd(), level, option, 1)?;
    let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let address = SockaddrIn6::from(std::net::SocketAddrV6::new(address, 1, 0, 0));
    socket::bind(listener.as_raw_fd(), &address)
}

/// Make a link of `kind` (rtnetlink(7)): `RTM_NEWLINK` with nothing but `IFLA_INFO_KIND`.
fn new_link(kind: &[u8]) -> Result<(), Errno> {
    const LENGTH: u8 = 52;
    let mut message = [0u8; LENGTH as usize];
    // nlmsghdr: length, type 16 RTM_NEWLINK, REQUEST | ACK | EXCL | CREATE.
    put(&mut message, 0, u32::from(LENGTH).to_ne_bytes());
    put(&mut message, 4, 16u16.to_ne_bytes());
    put(&mut message, 6, 0x605u16.to_ne_bytes());
    // After 16 bytes of ifinfomsg: IFLA_LINKINFO (18) holding IFLA_INFO_KIND (1) of 12 bytes.
    put(&mut message, 32, 20u16.to_ne_bytes());
    put(&mut message, 34, 18u16.to_ne_bytes());
    put(&mut message, 36, 16u16.to_ne_bytes());
    put(&mut message, 38, 1u16.to_ne_bytes());
    for (to, from) in message.iter_mut().skip(40).zip(kind) {
        *to = *from;
    }
    ask(SockProtocol::NetlinkRoute, &message)
}

/// Ask for a queueing discipline of `kind` on `lo`, without the options that it cannot do without: the
/// kernel says EINVAL if it knows the kind.
fn queueing_discipline(kind: &[u8]) -> Result<(), Errno> {
    const LENGTH: u8 = 48;
    let mut message = [0u8; LENGTH as usize];
    // nlmsghdr: length, type 36 RTM_NEWQDISC, REQUEST | ACK | EXCL | CREATE.
    put(&mut message, 0, u32::from(LENGTH).to_ne_bytes());
    put(&mut message, 4, 36u16.to_ne_bytes());
    put(&mut message, 6, 0x605u16.to_ne_bytes());
    // tcmsg: the first link of every namespace, at its root. Then TCA_KIND (1) of 12 bytes.
    put(&mut message, 20, 1u32.to_ne_bytes());
    put(&mut message, 28, u32::MAX.to_ne_bytes());
    put(&mut message, 36, 12u16.to_ne_bytes());
    put(&mut message, 38, 1u16.to_ne_bytes());
    for (to, from) in message.iter_mut().skip(40).zip(kind) {
        *to = *from;
    }
    match ask(SockProtocol::NetlinkRoute, &message) {
        Err(Errno::EINVAL) => Ok(()),
        Err(Errno::ENOENT) => Err(Errno::EOPNOTSUPP),
        answered => answered,
    }
}

/// `/proc/sys/net` shows the settings of the network that its reader is in.
fn force_forwarding() -> Result<(), Errno> {
    let setting = c"/proc/sys/net/ipv6/conf/lo/force_forwarding";
    match fcntl::openat(
        AT_FDCWD,
        setting,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    ) {
        Err(Errno::ENOENT) => Err(Errno::EOPNOTSUPP),
        opened => opened.map(drop),
    }
}

/// Ask nf_tables for its generation: the cheapest request, and it needs `CAP_NET_ADMIN` like all.
fn nf_tables_generation() -> Result<(), Errno> {
    const LENGTH: u8 = 20;
    let mut message = [0u8; LENGTH as usize];
    // nlmsghdr: length, NFNL_SUBSYS_NFTABLES (10) << 8 | NFT_MSG_GETGEN (16), REQUEST.
    put(&mut message, 0, u32::from(LENGTH).to_ne_bytes());
    put(&mut message, 4, (10u16 << 8 | 16).to_ne_bytes());
    put(&mut message, 6, 1u16.to_ne_bytes());
    ask(SockProtocol::NetlinkNetFilter, &message)
}

fn put<const N: usize>(message: &mut [u8], at: usize, bytes: [u8; N]) {
    for (to, from) in message.iter_mut().skip(at).zip(bytes) {
        *to = from;
    }
}

/// Send one netlink request to the kernel and take its first answer (netlink(7)).
fn ask(protocol: SockProtocol, message: &[u8]) -> Result<(), Errno> {
    const NLMSG_ERROR: [u8; 2] = 2u16.to_ne_bytes();
    let socket = socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )?;
    socket::send(socket.as_raw_fd(), message, MsgFlags::empty())?;
    let mut answer = [0u8; 256];
    let length = receive(socket.as_fd(), &mut answer)?;
    let answer = answer.get(..length).ok_or(Errno::EBADMSG)?;
    if answer.get(4..6) != Some(&NLMSG_ERROR) {
        return Ok(());
    }
    let code = answer
        .get(16..20)
        .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
        .ok_or(Errno::EBADMSG)?;
    match i32::from_ne_bytes(code) {
        0 => Ok(()),
        code => Err(Errno::from_raw(code.saturating_neg())),
    }
}

fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    socket::recv(socket.as_raw_fd(), buffer, MsgFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_cut_short_means_killed() {
        for cut in [&[][..], &[0], &[0, 0, 0, 0]] {
            assert_eq!(decode(cut).unwrap_err().stage, Stage::Killed);
        }
        assert_eq!(decode(&[0; 5]), Ok(()));
    }

    #[test]
    fn an_act_that_mounts_has_a_mount_namespace() {
        for act in [
            Act::PrivateMounts,
            Act::FreshProc,
            Act::FreshSys,
            Act::Tmpfs,
            Act::Bind,
            Act::ReadOnly,
            Act::Devpts,
            Act::ForbidUserNamespaces,
            Act::LowPorts,
        ] {
            assert_ne!(act.namespaces() & libc::CLONE_NEWNS, 0, "{act:?}");
        }
    }
}
