//! The attempts to reach a network.

use std::borrow::Cow;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::stat::fstat;
use nix::unistd::Pid;
use sendfd::SendWithFd;

use super::attempt::{Act, Attempt, Control, Group, Outcome};
use super::outside::{Inherited, Outside};
use super::promise::{self, Promised};
use crate::policy::Policy;
use crate::sys::attempt::{self as sys, CloneCall};

/// How long an answer from the host may take: everything is on this machine.
const PATIENCE: Duration = Duration::from_millis(500);

const NAMESPACE: &str = "network namespace";
const FAMILIES: &str = "filter: list of families";
const KINDS: &str = "filter: socket types and protocols";

type Promise = fn(&Policy) -> Promised;

fn row(
    name: &'static str,
    tries: &'static str,
    wall: &'static str,
    control: Control,
    promise: Promise,
    act: fn(&Outside) -> Outcome,
) -> Attempt {
    Attempt {
        name: Cow::Borrowed(name),
        group: Group::Network,
        tries,
        wall,
        control,
        promise,
        act: Act::Try(act),
    }
}

/// Every attempt of this part.
pub(super) fn attempts() -> Vec<Attempt> {
    use Control::{Anyone, Nobody, Root};
    let mut attempts = vec![
        row(
            "connect-host-loopback",
            "connect to 127.0.0.1 of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| greet(IpAddr::V4(Ipv4Addr::LOCALHOST), o.tcp4, o),
        ),
        row(
            "connect-host-loopback6",
            "connect to ::1 of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| greet(IpAddr::V6(Ipv6Addr::LOCALHOST), o.tcp6, o),
        ),
        row(
            "connect-host-mapped",
            "connect to ::ffff:127.0.0.1 of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| greet(IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()), o.tcp4, o),
        ),
        row(
            "connect-host-any",
            "connect to 0.0.0.0 of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| greet(IpAddr::V4(Ipv4Addr::UNSPECIFIED), o.tcp4, o),
        ),
        row(
            "connect-host-any6",
            "connect to :: of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| greet(IpAddr::V6(Ipv6Addr::UNSPECIFIED), o.tcp6, o),
        ),
        row(
            "connect-host-interface",
            "connect to the address of an interface of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| {
                o.interface.map_or_else(
                    || Outcome::skipped("the host has no interface besides lo"),
                    |at| greet(at.ip(), Some(at.port()), o),
                )
            },
        ),
        row(
            "send-host-datagram",
            "send a datagram to the host",
            NAMESPACE,
            Anyone,
            promise::network,
            send_datagram,
        ),
        row(
            "connect-metadata",
            "ask the metadata service of the host's cloud",
            NAMESPACE,
            Nobody,
            promise::metadata,
            |_| ask_metadata(),
        ),
        row(
            "ping-host",
            "ICMP to the host",
            KINDS,
            Nobody,
            promise::sockets,
            |_| {
                let ping = |family: i32, protocol| {
                    sys::socket(word(family), word(libc::SOCK_DGRAM), protocol)
                };
                let both = [ping(libc::AF_INET, 1), ping(libc::AF_INET6, 58)];
                first_open(both.into_iter().map(|socket| ("a ping socket", socket)))
            },
        ),
    ];
    attempts.extend(family_rows());
    attempts.extend([
        row(
            "socket-any-other-family",
            "a socket of any other family, those of later kernels too",
            FAMILIES,
            Nobody,
            promise::sockets,
            |_| {
                first_open(
                    (0..=255)
                        .filter(|family| !listed(*family))
                        .map(|family| ("a socket of an unlisted family", any_kind(family))),
                )
            },
        ),
        row(
            "socket-family-upper-half",
            "a refused family with garbage in the upper half of the word",
            FAMILIES,
            Anyone,
            promise::sockets,
            |_| {
                let family = 0xdead_beef_0000_0000 | word(libc::AF_VSOCK);
                Outcome::of(any_kind(family), "a socket of AF_VSOCK")
            },
        ),
        row(
            "socketpair-other-family",
            "a pair of sockets of another family than Unix",
            FAMILIES,
            Nobody,
            promise::sockets,
            |_| {
                first_open((2..=255).map(|family| {
                    (
                        "a pair of sockets",
                        sys::socketpair(family, word(libc::SOCK_STREAM)),
                    )
                }))
            },
        ),
        row(
            "socket-mptcp",
            "IPPROTO_MPTCP",
            KINDS,
            Anyone,
            promise::sockets,
            |_| {
                Outcome::of(
                    sys::socket(
                        word(libc::AF_INET),
                        word(libc::SOCK_STREAM),
                        word(libc::IPPROTO_MPTCP),
                    ),
                    "a multipath socket",
                )
            },
        ),
        row(
            "socket-raw",
            "SOCK_RAW",
            KINDS,
            Root,
            promise::sockets,
            |_| {
                let raw = |family: i32, protocol: i32| {
                    sys::socket(word(family), word(libc::SOCK_RAW), word(protocol))
                };
                first_open([
                    ("a raw socket", raw(libc::AF_INET, libc::IPPROTO_ICMP)),
                    ("a raw socket", raw(libc::AF_INET6, libc::IPPROTO_ICMPV6)),
                    ("a raw socket", raw(libc::AF_INET, libc::IPPROTO_RAW)),
                ])
            },
        ),
        row(
            "socket-raw-flags",
            "SOCK_RAW with SOCK_CLOEXEC and garbage in the upper half",
            KINDS,
            Root,
            promise::sockets,
            |_| {
                let kind = 0xdead_beef_0000_0000
                    | word(libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
                Outcome::of(
                    sys::socket(word(libc::AF_INET), kind, word(libc::IPPROTO_ICMP)),
                    "a raw socket",
                )
            },
        ),
        row(
            "socket-packet-type",
            "SOCK_PACKET, which the kernel turns into AF_PACKET",
            KINDS,
            Root,
            promise::sockets,
            |_| {
                Outcome::of(
                    sys::socket(word(libc::AF_INET), 10, word(libc::ETH_P_ALL).to_be() >> 48),
                    "a packet socket",
                )
            },
        ),
        row(
            "socket-odd-protocol",
            "odd protocol numbers: SCTP, DCCP, UDP-Lite, and every other",
            KINDS,
            Nobody,
            promise::sockets,
            odd_protocols,
        ),
        row(
            "netlink-other",
            "netlink other than NETLINK_ROUTE",
            "filter: netlink protocols",
            Anyone,
            promise::sockets,
            |_| {
                first_open((1..=31).map(|protocol| {
                    (
                        "a netlink socket",
                        sys::socket(word(libc::AF_NETLINK), word(libc::SOCK_RAW), protocol),
                    )
                }))
            },
        ),
        row(
            "netlink-upper-half",
            "netlink with garbage in the upper half of the protocol",
            "filter: netlink protocols",
            Anyone,
            promise::sockets,
            |_| {
                let protocol = 0xdead_beef_0000_0000 | word(libc::NETLINK_GENERIC);
                Outcome::of(
                    sys::socket(word(libc::AF_NETLINK), word(libc::SOCK_RAW), protocol),
                    "a generic netlink socket",
                )
            },
        ),
        row(
            "loopback-flags",
            "take lo down",
            "capabilities",
            Root,
            promise::network_settings,
            |_| {
                with_socket(|socket| {
                    Outcome::of(sys::set_loopback_flags(socket), "the flags of lo were set")
                })
            },
        ),
        row(
            "route-message",
            "add links, addresses, routes",
            "capabilities",
            Root,
            promise::network_settings,
            route_message,
        ),
        row(
            "network-sysctl",
            "set a sysctl of the network namespace",
            "read-only /proc/sys",
            Root,
            promise::settings,
            |_| open_for_writing("/proc/sys/net/ipv4/ip_forward"),
        ),
        row(
            "io-uring",
            "sockets and connections by io_uring",
            "filter: no io_uring",
            Anyone,
            promise::filtered,
            |_| Outcome::of(sys::io_uring_setup(), "a ring"),
        ),
    ]);
    attempts.extend(sys::RING_CALLS.iter().map(|call| Attempt {
        name: Cow::Owned(call.name.replace('_', "-")),
        group: Group::Network,
        tries: "use a ring that was passed in",
        wall: "filter: no io_uring",
        control: call.control,
        promise: promise::filtered,
        act: Act::Call(call),
    }));
    attempts.extend([
        row(
            "abstract-socket",
            "an abstract Unix socket of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| {
                let address = UnixAddr::from_abstract_name(&o.token);
                match address.and_then(|address| UnixStream::connect_addr(&address)) {
                    Ok(stream) => hear(stream, o),
                    Err(error) => Outcome::stopped(&error),
                }
            },
        ),
        row(
            "path-socket-tmp",
            "a Unix socket by its path below /tmp",
            "hidden sockets, connections decided",
            Anyone,
            promise::path_sockets,
            |o| connect_path(o.socket_in_tmp.as_deref(), o),
        ),
        row(
            "path-socket-elsewhere",
            "a Unix socket by its path elsewhere",
            "hidden sockets, connections decided",
            Anyone,
            promise::path_sockets,
            |o| connect_path(o.socket_elsewhere.as_deref(), o),
        ),
        row(
            "path-socket-run",
            "a Unix socket by its path below /run or the run-time directory",
            "hidden directories",
            Root,
            promise::run_directory,
            |o| connect_path(o.socket_in_run.as_deref(), o),
        ),
        row(
            "path-socket-datagram",
            "a datagram socket by its path",
            "hidden sockets, filter: no datagrams",
            Anyone,
            promise::path_datagrams,
            |o| {
                let Some(path) = &o.datagram_socket else {
                    return Outcome::skipped("no such socket could be made outside");
                };
                match UnixDatagram::unbound().and_then(|socket| socket.send_to(b"x", path)) {
                    Ok(_) => Outcome::open("a datagram was taken"),
                    Err(error) => Outcome::stopped(&error),
                }
            },
        ),
        row(
            "path-socket-of-service",
            "docker, containerd, the buses, systemd, X11, Wayland, agents, nscd and the like",
            "hidden sockets",
            Nobody,
            promise::path_sockets,
            |o| {
                if o.services.is_empty() {
                    return Outcome::skipped("no service that this user can reach");
                }
                o.services
                    .iter()
                    .find(|path| UnixStream::connect(path).is_ok())
                    .map_or_else(
                        || Outcome::held("none was reached"),
                        |path| Outcome::open(path.display().to_string()),
                    )
            },
        ),
        row(
            "pass-descriptor-out",
            "a descriptor to an accomplice outside",
            "no socket in common",
            Anyone,
            promise::every_unix_socket,
            pass_descriptor,
        ),
        row(
            "inherited-directory",
            "a directory left open by the launcher",
            "closed descriptors",
            Anyone,
            promise::always,
            |o| find_inherited(o, &o.inherited.directory),
        ),
        row(
            "inherited-socket",
            "a socket left open by the launcher",
            "closed descriptors",
            Anyone,
            promise::always,
            |o| find_inherited(o, &o.inherited.socket),
        ),
        row(
            "inherited-namespace",
            "a network namespace left open by the launcher",
            "closed descriptors",
            Anyone,
            promise::always,
            |o| find_inherited(o, &o.inherited.namespace),
        ),
        row(
            "inherited-anything",
            "any descriptor above 2",
            "closed descriptors",
            Anyone,
            promise::always,
            |o| match o.surplus.as_slice() {
                [] => Outcome::held("none"),
                found => Outcome::open(format!("descriptors {found:?}")),
            },
        ),
        row(
            "environment",
            "variables that name sockets and proxies",
            "variables removed",
            Nobody,
            promise::environment,
            |o| {
                if o.variables.is_empty() {
                    return Outcome::skipped("none is set outside");
                }
                let kept: Vec<_> = o
                    .variables
                    .iter()
                    .filter(|name| std::env::var_os(name).is_some())
                    .collect();
                if kept.is_empty() {
                    return Outcome::held("none is set");
                }
                Outcome::open(format!("{kept:?}"))
            },
        ),
        row(
            "device-tun",
            "/dev/net/tun",
            "minimal /dev",
            Root,
            promise::devices,
            |_| open_device("/dev/net/tun"),
        ),
        row(
            "device-vhost-net",
            "/dev/vhost-net",
            "minimal /dev",
            Nobody,
            promise::devices,
            |_| open_device("/dev/vhost-net"),
        ),
        row(
            "device-vhost-vsock",
            "/dev/vhost-vsock",
            "minimal /dev",
            Nobody,
            promise::devices,
            |_| open_device("/dev/vhost-vsock"),
        ),
        row(
            "device-vsock",
            "/dev/vsock",
            "minimal /dev",
            Nobody,
            promise::devices,
            |_| open_device("/dev/vsock"),
        ),
        row(
            "interface-ioctls",
            "the host's interfaces by ioctl",
            NAMESPACE,
            Anyone,
            promise::network,
            interfaces_by_ioctl,
        ),
        row(
            "namespace-by-ioctl",
            "the namespace of a socket by SIOCGSKNS",
            "capabilities",
            Root,
            promise::network_settings,
            |o| {
                with_socket(|socket| match sys::socket_namespace(socket) {
                    Ok(namespace) => same_namespace(&namespace, o),
                    Err(errno) => Outcome::refused(errno),
                })
            },
        ),
        row(
            "setns-launcher",
            "setns to the launcher's network namespace by /proc",
            "own /proc",
            Root,
            promise::proc_of_processes,
            |o| join(&format!("/proc/{}/ns/net", o.launcher), Some(o)),
        ),
        row(
            "setns-init",
            "setns to the network namespace of process 1",
            "unreadable init",
            Root,
            promise::init,
            |o| {
                join(
                    &format!("/proc/{}/ns/net", super::processes::init(o)),
                    Some(o),
                )
            },
        ),
        row(
            "setns-own",
            "setns at all",
            "filter: setns",
            Root,
            promise::namespaces,
            |_| join("/proc/self/ns/net", None),
        ),
        row(
            "setns-pidfd",
            "setns to a process by its pidfd",
            "process namespace",
            Root,
            promise::processes_or_filter,
            |o| match sys::pidfd_open(Pid::from_raw(o.victim)) {
                Ok(pidfd) => {
                    Outcome::of(nix::sched::setns(pidfd, CloneFlags::CLONE_NEWNET), "joined")
                }
                Err(errno) => Outcome::refused(errno),
            },
        ),
        row(
            "named-namespaces",
            "/run/netns",
            "hidden /run",
            Nobody,
            promise::run_directory,
            |o| {
                if o.named_namespaces.is_empty() {
                    return Outcome::skipped("the host has none");
                }
                let found = o
                    .named_namespaces
                    .iter()
                    .find(|name| fs::File::open(Path::new("/run/netns").join(name)).is_ok());
                found.map_or_else(
                    || Outcome::held("none is seen"),
                    |name| Outcome::open(name.clone()),
                )
            },
        ),
        row(
            "sys-class-net",
            "/sys/class/net showing the host",
            "own /sys",
            Anyone,
            promise::sys,
            |o| match fs::read_dir("/sys/class/net") {
                Ok(entries) => seen(
                    entries
                        .flatten()
                        .map(|entry| entry.file_name().to_string_lossy().into_owned()),
                    o,
                ),
                Err(error) => Outcome::stopped(&error),
            },
        ),
        row(
            "proc-net-interfaces",
            "/proc/net showing the host's interfaces",
            NAMESPACE,
            Anyone,
            promise::proc_of_network,
            |o| match fs::read_to_string("/proc/net/dev") {
                Ok(text) => seen(
                    text.lines()
                        .filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())),
                    o,
                ),
                Err(error) => Outcome::stopped(&error),
            },
        ),
        row(
            "proc-net-sockets",
            "/proc/net showing the host's sockets",
            NAMESPACE,
            Anyone,
            promise::proc_of_network,
            |o| match (fs::read_to_string("/proc/net/tcp"), o.tcp4) {
                (Ok(text), Some(port)) if text.contains(&format!("0100007F:{port:04X} ")) => {
                    Outcome::open("the host's listener")
                }
                (Ok(_), Some(_)) => Outcome::held("not listed"),
                (Err(error), _) => Outcome::stopped(&error),
                (_, None) => Outcome::skipped("no listener outside"),
            },
        ),
    ]);
    for (name, flag, control) in [
        ("unshare-user", CloneFlags::CLONE_NEWUSER, Anyone),
        ("unshare-net", CloneFlags::CLONE_NEWNET, Root),
        ("unshare-mount", CloneFlags::CLONE_NEWNS, Root),
        ("unshare-pid", CloneFlags::CLONE_NEWPID, Root),
        ("unshare-ipc", CloneFlags::CLONE_NEWIPC, Root),
        ("unshare-uts", CloneFlags::CLONE_NEWUTS, Root),
        ("unshare-cgroup", CloneFlags::CLONE_NEWCGROUP, Root),
    ] {
        attempts.push(unshare_row(name, flag, control));
    }
    attempts.extend([
        row(
            "clone-user",
            "a new user namespace by clone",
            "filter: clone flags",
            Anyone,
            promise::nested,
            |_| {
                Outcome::of(
                    sys::clone_with(CloneCall::Clone, libc::CLONE_NEWUSER),
                    "a namespace",
                )
            },
        ),
        row(
            "clone-user-upper-half",
            "the same with garbage in the upper half of the word",
            "filter: clone flags",
            Anyone,
            promise::nested,
            |_| {
                Outcome::of(
                    sys::clone_with(CloneCall::CloneWithGarbage, libc::CLONE_NEWUSER),
                    "a namespace",
                )
            },
        ),
        row(
            "clone-net",
            "a new network namespace by clone",
            "filter: clone flags",
            Root,
            promise::nested,
            |_| {
                Outcome::of(
                    sys::clone_with(CloneCall::Clone, libc::CLONE_NEWNET),
                    "a namespace",
                )
            },
        ),
        row(
            "clone3-user",
            "a new user namespace by clone3, whose flags no filter sees",
            "filter: no clone3",
            Anyone,
            promise::nested,
            |_| {
                Outcome::of(
                    sys::clone_with(CloneCall::Clone3, libc::CLONE_NEWUSER),
                    "a namespace",
                )
            },
        ),
        row(
            "user-namespace-limit",
            "a user namespace in spite of the filter",
            "user.max_user_namespaces = 0",
            Anyone,
            promise::nested_limit,
            |_| match fs::read_to_string("/proc/sys/user/max_user_namespaces") {
                Ok(limit) if limit.trim() == "0" => Outcome::held("the limit is 0"),
                Ok(limit) => Outcome::open(format!("the limit is {}", limit.trim())),
                Err(error) => Outcome::stopped(&error),
            },
        ),
    ]);
    attempts
}

/// The families that `isolation` names one by one, and who can open them where the kernel has them.
const REFUSED_FAMILIES: &[(&str, i32, Control)] = &[
    ("socket-vsock", libc::AF_VSOCK, Control::Anyone),
    ("socket-bluetooth", libc::AF_BLUETOOTH, Control::Nobody),
    ("socket-nfc", libc::AF_NFC, Control::Nobody),
    ("socket-can", libc::AF_CAN, Control::Nobody),
    ("socket-tipc", libc::AF_TIPC, Control::Nobody),
    ("socket-qipcrtr", 42, Control::Nobody),
    ("socket-rds", libc::AF_RDS, Control::Nobody),
    ("socket-smc", 43, Control::Nobody),
    ("socket-kcm", 41, Control::Nobody),
    ("socket-xdp", libc::AF_XDP, Control::Root),
    ("socket-alg", libc::AF_ALG, Control::Nobody),
    ("socket-key", libc::AF_KEY, Control::Nobody),
    ("socket-packet", libc::AF_PACKET, Control::Root),
    ("socket-iucv", libc::AF_IUCV, Control::Nobody),
    ("socket-llc", libc::AF_LLC, Control::Nobody),
    ("socket-phonet", libc::AF_PHONET, Control::Nobody),
];

fn family_rows() -> impl Iterator<Item = Attempt> {
    fn refused<const INDEX: usize>(_: &Outside) -> Outcome {
        let (_, family, _) = REFUSED_FAMILIES[INDEX];
        Outcome::of(any_kind(word(family)), "a socket")
    }
    const ACTS: [fn(&Outside) -> Outcome; 16] = [
        refused::<0>,
        refused::<1>,
        refused::<2>,
        refused::<3>,
        refused::<4>,
        refused::<5>,
        refused::<6>,
        refused::<7>,
        refused::<8>,
        refused::<9>,
        refused::<10>,
        refused::<11>,
        refused::<12>,
        refused::<13>,
        refused::<14>,
        refused::<15>,
    ];
    REFUSED_FAMILIES
        .iter()
        .zip(ACTS)
        .map(|(&(name, _, control), act)| {
            row(
                name,
                "a socket of a family that the namespace may not cut",
                FAMILIES,
                control,
                promise::sockets,
                act,
            )
        })
}

fn listed(family: u64) -> bool {
    let allowed = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    allowed
        .into_iter()
        .chain(REFUSED_FAMILIES.iter().map(|row| row.1))
        .any(|known| word(known) == family)
}

fn unshare_row(name: &'static str, flag: CloneFlags, control: Control) -> Attempt {
    let act: fn(&Outside) -> Outcome = match flag {
        CloneFlags::CLONE_NEWUSER => |_| unshared(CloneFlags::CLONE_NEWUSER),
        CloneFlags::CLONE_NEWNET => |_| unshared(CloneFlags::CLONE_NEWNET),
        CloneFlags::CLONE_NEWNS => |_| unshared(CloneFlags::CLONE_NEWNS),
        CloneFlags::CLONE_NEWPID => |_| unshared(CloneFlags::CLONE_NEWPID),
        CloneFlags::CLONE_NEWIPC => |_| unshared(CloneFlags::CLONE_NEWIPC),
        CloneFlags::CLONE_NEWUTS => |_| unshared(CloneFlags::CLONE_NEWUTS),
        _ => |_| unshared(CloneFlags::CLONE_NEWCGROUP),
    };
    row(
        name,
        "a new namespace by unshare",
        "filter: unshare flags",
        control,
        promise::nested,
        act,
    )
}

fn unshared(flag: CloneFlags) -> Outcome {
    Outcome::of(nix::sched::unshare(flag), "a namespace")
}

fn word(value: i32) -> u64 {
    u64::from(value.cast_unsigned())
}

/// A socket of `family`, of whichever type it has.
fn any_kind(family: u64) -> Result<OwnedFd, Errno> {
    let mut refusal = Errno::EAFNOSUPPORT;
    for kind in [
        libc::SOCK_STREAM,
        libc::SOCK_DGRAM,
        libc::SOCK_RAW,
        libc::SOCK_SEQPACKET,
    ] {
        match sys::socket(family, word(kind), 0) {
            Ok(socket) => return Ok(socket),
            Err(errno) => refusal = errno,
        }
    }
    Err(refusal)
}

/// Open by the first that succeeded, else held by what the last met.
fn first_open<T>(tried: impl IntoIterator<Item = (&'static str, Result<T, Errno>)>) -> Outcome {
    let mut outcome = Outcome::held("nothing to try");
    for (evidence, result) in tried {
        outcome = Outcome::of(result, evidence);
        if matches!(outcome, Outcome::Open(_)) {
            break;
        }
    }
    outcome
}

/// Connect and read the host's greeting: a server of the sandbox's own would not know it.
fn greet(address: IpAddr, port: Option<u16>, outside: &Outside) -> Outcome {
    let Some(port) = port else {
        return Outcome::skipped("the host has no such address");
    };
    match TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE) {
        Ok(stream) => {
            // Without a time limit the worst that happens is that the runner ends the attempt.
            let _ = stream.set_read_timeout(Some(PATIENCE));
            hear(stream, outside)
        }
        Err(error) => Outcome::stopped(&error),
    }
}

fn hear(stream: impl Read, outside: &Outside) -> Outcome {
    let mut greeting = String::new();
    let room = u64::try_from(outside.token.len()).unwrap_or(0);
    match stream.take(room).read_to_string(&mut greeting) {
        Ok(_) if greeting == outside.token => Outcome::open("the host answered"),
        Ok(_) => Outcome::held("a stranger answered"),
        Err(error) => Outcome::stopped(&error),
    }
}

/// Any answer is one too many: no such address is anything but that service's.
fn ask_metadata() -> Outcome {
    let ask = || -> std::io::Result<Outcome> {
        let address = SocketAddr::new(promise::METADATA, promise::METADATA_PORT);
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        match stream.read(&mut [0])? {
            0 => Ok(Outcome::held("no answer")),
            _ => Ok(Outcome::open("it answered")),
        }
    };
    ask().unwrap_or_else(|error| Outcome::stopped(&error))
}

fn send_datagram(outside: &Outside) -> Outcome {
    let Some(port) = outside.udp4 else {
        return Outcome::skipped("no socket outside");
    };
    let exchange = || -> std::io::Result<Outcome> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        socket.send(b"?")?;
        let mut answer = [0_u8; 64];
        let length = socket.recv(&mut answer)?;
        if answer.get(..length) == Some(outside.token.as_bytes()) {
            return Ok(Outcome::open("the host answered"));
        }
        Ok(Outcome::held("a stranger answered"))
    };
    exchange().unwrap_or_else(|error| Outcome::stopped(&error))
}

fn odd_protocols(_: &Outside) -> Outcome {
    let usual = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP].map(word);
    let families = [libc::AF_INET, libc::AF_INET6].map(word);
    let kinds = [
        libc::SOCK_STREAM,
        libc::SOCK_DGRAM,
        libc::SOCK_SEQPACKET,
        libc::SOCK_DCCP,
    ]
    .map(word);
    // Past 255 there is MPTCP (262); a later kernel may number on.
    let odd = (1..=300)
        .filter(|protocol| !usual.contains(protocol) && *protocol != word(libc::IPPROTO_MPTCP));
    first_open(odd.flat_map(|protocol| {
        families.into_iter().flat_map(move |family| {
            kinds.map(|kind| {
                (
                    "a socket of an odd protocol",
                    sys::socket(family, kind, protocol),
                )
            })
        })
    }))
}

/// A socket of any sort for ioctls: some modes have none but Unix ones.
fn with_socket(act: impl FnOnce(BorrowedFd<'_>) -> Outcome) -> Outcome {
    let made = sys::socket(word(libc::AF_INET), word(libc::SOCK_DGRAM), 0)
        .or_else(|_| sys::socket(word(libc::AF_UNIX), word(libc::SOCK_DGRAM), 0));
    match made {
        Ok(socket) => act(socket.as_fd()),
        Err(errno) => Outcome::refused(errno),
    }
}

/// RTM_NEWADDR for an interface that no host has: EPERM without the capability, ENODEV with it.
fn route_message(_: &Outside) -> Outcome {
    use nix::sys::socket::{MsgFlags, recv, send};
    let socket = match sys::socket(word(libc::AF_NETLINK), word(libc::SOCK_RAW), 0) {
        Ok(socket) => socket,
        Err(errno) => return Outcome::refused(errno),
    };
    // struct nlmsghdr, struct ifaddrmsg, IFA_LOCAL 192.0.2.1 (netlink(7), rtnetlink(7)).
    let mut message: Vec<u8> = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend(libc::RTM_NEWADDR.to_ne_bytes());
    message.extend(5_u16.to_ne_bytes()); // NLM_F_REQUEST | NLM_F_ACK
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]); // sequence, port
    message.extend([2, 32, 0, 0]); // AF_INET, prefix length
    message.extend(0x7fff_fff0_u32.to_ne_bytes()); // no such interface
    message.extend([8, 0, 2, 0, 192, 0, 2, 1]);
    let socket = std::os::fd::AsRawFd::as_raw_fd(&socket);
    if let Err(errno) = send(socket, &message, MsgFlags::empty()) {
        return Outcome::refused(errno);
    }
    let mut answer = [0_u8; 256];
    if let Err(errno) = recv(socket, &mut answer, MsgFlags::empty()) {
        return Outcome::refused(errno);
    }
    let errno =
        i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]).saturating_neg();
    match Errno::from_raw(errno) {
        errno @ (Errno::EPERM | Errno::EACCES) => Outcome::refused(errno),
        errno => Outcome::open(format!("the message was acted upon: {errno:?}")),
    }
}

pub(super) fn open_for_writing(path: &str) -> Outcome {
    match fs::OpenOptions::new().write(true).open(path) {
        Ok(_) => Outcome::open(format!("{path} opens for writing")),
        Err(error) => Outcome::stopped(&error),
    }
}

pub(super) fn open_device(path: &str) -> Outcome {
    match fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Outcome::open(format!("{path} opens")),
        Err(error) => Outcome::stopped(&error),
    }
}

fn connect_path(path: Option<&Path>, outside: &Outside) -> Outcome {
    let Some(path) = path else {
        return Outcome::skipped("no such socket could be made outside");
    };
    match UnixStream::connect(path) {
        Ok(stream) => hear(stream, outside),
        Err(error) => Outcome::stopped(&error),
    }
}

fn pass_descriptor(outside: &Outside) -> Outcome {
    let paths = [
        &outside.socket_in_tmp,
        &outside.socket_elsewhere,
        &outside.socket_in_run,
    ];
    let by_path = paths.into_iter().flatten().map(UnixStream::connect);
    let by_name =
        UnixAddr::from_abstract_name(&outside.token).and_then(|at| UnixStream::connect_addr(&at));
    let mut outcome = Outcome::held("no accomplice was reached");
    for connected in by_path.chain([by_name]) {
        outcome = match connected.and_then(|stream| stream.send_with_fd(b"x", &[0])) {
            Ok(_) => return Outcome::open("standard input was handed over"),
            Err(error) => Outcome::stopped(&error),
        };
    }
    outcome
}

/// Whether any open descriptor is the one that the launcher left open.
fn find_inherited(outside: &Outside, left: &Inherited) -> Outcome {
    for number in &outside.surplus {
        let link = format!("/proc/self/fd/{number}");
        // By the link where it can be followed, as a namespace and a directory can.
        if let Ok(found) = fs::metadata(&link)
            && left.is(&found)
        {
            return Outcome::open(format!("descriptor {number}"));
        }
    }
    if outside.surplus.contains(&left.number) {
        return Outcome::open(format!("descriptor {}, of another file", left.number));
    }
    Outcome::refused(Errno::EBADF)
}

fn interfaces_by_ioctl(outside: &Outside) -> Outcome {
    with_socket(|socket| {
        seen(
            (1..64).filter_map(|index| sys::interface_name(socket, index).ok()),
            outside,
        )
    })
}

/// Open where one of the interfaces listed is the host's.
fn seen(mut names: impl Iterator<Item = String>, outside: &Outside) -> Outcome {
    if outside.interfaces.is_empty() {
        return Outcome::skipped("the host has no interface besides lo");
    }
    names
        .find(|name| outside.interfaces.contains(name))
        .map_or_else(
            || Outcome::held("none of the host's"),
            |name| Outcome::open(format!("the host's {name}")),
        )
}

fn same_namespace(namespace: &OwnedFd, outside: &Outside) -> Outcome {
    match fstat(namespace) {
        Ok(found) if found.st_ino == outside.network_namespace => {
            Outcome::open("the host's namespace")
        }
        Ok(_) => Outcome::open("the sandbox's own namespace"),
        Err(errno) => Outcome::refused(errno),
    }
}

/// setns(2) by a path; with `outside`, only the host's namespace counts.
fn join(path: &str, outside: Option<&Outside>) -> Outcome {
    let namespace = match fs::File::open(path) {
        Ok(file) => OwnedFd::from(file),
        Err(error) => return Outcome::stopped(&error),
    };
    if let Err(errno) = nix::sched::setns(&namespace, CloneFlags::CLONE_NEWNET) {
        return Outcome::refused(errno);
    }
    outside.map_or_else(
        || Outcome::open("joined"),
        |outside| same_namespace(&namespace, outside),
    )
}
