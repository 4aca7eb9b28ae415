//! The names that profiles may use for errno values, arguments and capabilities.
//!
//! Data only, the same on x86_64 and aarch64.

/// Errno names (errno(3)), by number.
#[rustfmt::skip]
const ERRNOS: &[(&str, u16)] = &[
    ("EPERM", 1), ("ENOENT", 2), ("ESRCH", 3), ("EINTR", 4), ("EIO", 5), ("ENXIO", 6),
    ("E2BIG", 7), ("ENOEXEC", 8), ("EBADF", 9), ("ECHILD", 10), ("EAGAIN", 11), ("ENOMEM", 12),
    ("EACCES", 13), ("EFAULT", 14), ("ENOTBLK", 15), ("EBUSY", 16), ("EEXIST", 17), ("EXDEV", 18),
    ("ENODEV", 19), ("ENOTDIR", 20), ("EISDIR", 21), ("EINVAL", 22), ("ENFILE", 23),
    ("EMFILE", 24), ("ENOTTY", 25), ("ETXTBSY", 26), ("EFBIG", 27), ("ENOSPC", 28),
    ("ESPIPE", 29), ("EROFS", 30), ("EMLINK", 31), ("EPIPE", 32), ("EDOM", 33), ("ERANGE", 34),
    ("EDEADLK", 35), ("ENAMETOOLONG", 36), ("ENOLCK", 37), ("ENOSYS", 38), ("ENOTEMPTY", 39),
    ("ELOOP", 40), ("ENOSTR", 60), ("ENODATA", 61), ("ETIME", 62), ("EPROTO", 71),
    ("EBADMSG", 74), ("EOVERFLOW", 75), ("EUSERS", 87), ("ENOTSOCK", 88), ("EDESTADDRREQ", 89),
    ("EMSGSIZE", 90), ("EPROTOTYPE", 91), ("ENOPROTOOPT", 92), ("EPROTONOSUPPORT", 93),
    ("ESOCKTNOSUPPORT", 94), ("EOPNOTSUPP", 95), ("EPFNOSUPPORT", 96), ("EAFNOSUPPORT", 97),
    ("EADDRINUSE", 98), ("EADDRNOTAVAIL", 99), ("ENETDOWN", 100), ("ENETUNREACH", 101),
    ("ECONNABORTED", 103), ("ECONNRESET", 104), ("ENOBUFS", 105), ("EISCONN", 106),
    ("ENOTCONN", 107), ("ETIMEDOUT", 110), ("ECONNREFUSED", 111), ("EHOSTUNREACH", 113),
    ("ECANCELED", 125),
];

/// Values of arguments.
#[rustfmt::skip]
const VALUES: &[(&str, u64)] = &[
    // socket(2); SOCK_FLAGS is what may be or-ed to the type
    ("AF_UNIX", 1), ("AF_INET", 2), ("AF_INET6", 10), ("AF_NETLINK", 16), ("AF_PACKET", 17),
    ("SOCK_STREAM", 1), ("SOCK_DGRAM", 2), ("SOCK_RAW", 3), ("SOCK_FLAGS", 0x80800),
    ("IPPROTO_IP", 0), ("IPPROTO_TCP", 6), ("IPPROTO_UDP", 17), ("NETLINK_ROUTE", 0),
    ("TCP_ULP", 31), ("TCP_REPAIR", 19), ("TCP_FASTOPEN_CONNECT", 30), ("SO_ATTACH_FILTER", 26),
    ("SO_ATTACH_BPF", 50), ("SO_ATTACH_REUSEPORT_CBPF", 51), ("SO_ATTACH_REUSEPORT_EBPF", 52),
    ("MSG_FASTOPEN", 0x2000_0000), ("IPPROTO_IPV6", 41),
    // setsockopt(2): socket(7), ip(7), ipv6(7)
    ("SOL_SOCKET", 1), ("SO_BINDTODEVICE", 25), ("SO_MARK", 36), ("SO_BINDTOIFINDEX", 62),
    ("IP_OPTIONS", 4), ("IP_UNICAST_IF", 50), ("IPV6_2292PKTOPTIONS", 6), ("IPV6_PKTINFO", 50),
    ("IPV6_RTHDR", 57), ("IPV6_UNICAST_IF", 76),
    ("IP_ADD_MEMBERSHIP", 35), ("IP_UNBLOCK_SOURCE", 37), ("IP_BLOCK_SOURCE", 38),
    ("IP_ADD_SOURCE_MEMBERSHIP", 39), ("IP_MSFILTER", 41), ("MCAST_JOIN_GROUP", 42),
    ("MCAST_BLOCK_SOURCE", 43), ("MCAST_UNBLOCK_SOURCE", 44), ("MCAST_JOIN_SOURCE_GROUP", 46),
    ("MCAST_MSFILTER", 48), ("IPV6_ADD_MEMBERSHIP", 20), ("IPV6_JOIN_ANYCAST", 27),
    // clone(2): the low byte is the signal there, so that CLONE_NEWTIME is for unshare(2) only
    ("CLONE_NEW_ANY", 0x7e02_0000), ("CLONE_NEWTIME", 0x80),
    // ioctl_tty(2), ioctl_console(2)
    ("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c), ("TIOCCONS", 0x541d), ("TIOCSETD", 0x5423),
    ("KD_IOCTLS", 0x4b00), ("VT_IOCTLS", 0x5600), ("SOCKET_IOCTLS", 0x8900),
    ("WIRELESS_IOCTLS", 0x8b00),
    // prctl(2)
    ("PR_MCE_KILL", 33), ("PR_SET_MM", 35), ("PR_SET_IO_FLUSHER", 57), ("PR_SCHED_CORE", 62),
    // personality(2)
    ("PER_LINUX", 0), ("PER_QUERY", 0xffff_ffff), ("ADDR_NO_RANDOMIZE", 0x4_0000),
    // mknod(2)
    ("S_IFMT", 0o170_000), ("S_IFCHR", 0o020_000), ("S_IFBLK", 0o060_000),
    // setpriority(2), ioprio_set(2), kill(2)
    ("PRIO_PGRP", 1), ("IOPRIO_WHO_PGRP", 2), ("OWN_GROUP", 0),
];

/// Capabilities (capabilities(7)), by number.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

pub(crate) fn errno(name: &str) -> Option<u16> {
    let found = ERRNOS.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number)
}

pub(crate) fn errno_name(number: u16) -> Option<&'static str> {
    let found = ERRNOS.iter().find(|(_, known)| *known == number);
    found.map(|(name, _)| *name)
}

pub(crate) fn value(name: &str) -> Option<u64> {
    let found = VALUES.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number)
}

pub(crate) fn value_names() -> impl Iterator<Item = &'static str> {
    VALUES.iter().map(|(name, _)| *name)
}

pub(crate) fn errno_names() -> impl Iterator<Item = &'static str> {
    ERRNOS.iter().map(|(name, _)| *name)
}

pub(crate) fn capability(name: &str) -> Option<u8> {
    let found = CAPABILITIES.iter().position(|known| *known == name)?;
    u8::try_from(found).ok()
}

pub(crate) fn capability_names() -> impl Iterator<Item = &'static str> {
    CAPABILITIES.iter().copied()
}

/// The known word most like `word`, if any is like it: at most a third of its letters differ.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The cost is the product of both lengths, and `word` may be anything.
    let limit = word.len().min(40).div_ceil(3);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed or changed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_names_are_the_kernels() {
        for (name, number) in ERRNOS {
            let errno = nix::errno::Errno::from_raw(i32::from(*number));
            assert_eq!(format!("{errno:?}"), *name);
        }
    }

    #[test]
    fn argument_values_are_the_c_librarys() {
        let expected: &[(&str, i64)] = &[
            ("AF_UNIX", libc::AF_UNIX.into()),
            ("AF_INET", libc::AF_INET.into()),
            ("AF_INET6", libc::AF_INET6.into()),
            ("AF_NETLINK", libc::AF_NETLINK.into()),
            ("AF_PACKET", libc::AF_PACKET.into()),
            ("SOCK_STREAM", libc::SOCK_STREAM.into()),
            ("SOCK_DGRAM", libc::SOCK_DGRAM.into()),
            ("SOCK_RAW", libc::SOCK_RAW.into()),
            (
                "SOCK_FLAGS",
                (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC).into(),
            ),
            ("IPPROTO_TCP", libc::IPPROTO_TCP.into()),
            ("IPPROTO_UDP", libc::IPPROTO_UDP.into()),
            ("NETLINK_ROUTE", libc::NETLINK_ROUTE.into()),
            ("IPPROTO_IPV6", libc::IPPROTO_IPV6.into()),
            ("SOL_SOCKET", libc::SOL_SOCKET.into()),
            ("SO_BINDTODEVICE", libc::SO_BINDTODEVICE.into()),
            ("SO_MARK", libc::SO_MARK.into()),
            ("SO_BINDTOIFINDEX", libc::SO_BINDTOIFINDEX.into()),
            ("IP_OPTIONS", libc::IP_OPTIONS.into()),
            ("IPV6_PKTINFO", libc::IPV6_PKTINFO.into()),
            ("IPV6_RTHDR", libc::IPV6_RTHDR.into()),
            ("IP_ADD_MEMBERSHIP", libc::IP_ADD_MEMBERSHIP.into()),
            ("IP_UNBLOCK_SOURCE", libc::IP_UNBLOCK_SOURCE.into()),
            ("IP_BLOCK_SOURCE", libc::IP_BLOCK_SOURCE.into()),
            (
                "IP_ADD_SOURCE_MEMBERSHIP",
                libc::IP_ADD_SOURCE_MEMBERSHIP.into(),
            ),
            ("IP_MSFILTER", libc::IP_MSFILTER.into()),
            ("MCAST_JOIN_GROUP", libc::MCAST_JOIN_GROUP.into()),
            ("MCAST_BLOCK_SOURCE", libc::MCAST_BLOCK_SOURCE.into()),
            ("MCAST_UNBLOCK_SOURCE", libc::MCAST_UNBLOCK_SOURCE.into()),
            (
                "MCAST_JOIN_SOURCE_GROUP",
                libc::MCAST_JOIN_SOURCE_GROUP.into(),
            ),
            ("MCAST_MSFILTER", libc::MCAST_MSFILTER.into()),
            ("IPV6_ADD_MEMBERSHIP", libc::IPV6_ADD_MEMBERSHIP.into()),
            ("IPV6_JOIN_ANYCAST", libc::IPV6_JOIN_ANYCAST.into()),
            ("TCP_ULP", libc::TCP_ULP.into()),
            ("MSG_FASTOPEN", libc::MSG_FASTOPEN.into()),
            (
                "CLONE_NEW_ANY",
                (libc::CLONE_NEWNS
                    | libc::CLONE_NEWCGROUP
                    | libc::CLONE_NEWUTS
                    | libc::CLONE_NEWIPC
                    | libc::CLONE_NEWUSER
                    | libc::CLONE_NEWPID
                    | libc::CLONE_NEWNET)
                    .into(),
            ),
            ("TIOCSTI", libc::TIOCSTI.cast_signed()),
            ("TIOCLINUX", libc::TIOCLINUX.cast_signed()),
            ("TIOCCONS", libc::TIOCCONS.cast_signed()),
            ("PR_MCE_KILL", libc::PR_MCE_KILL.into()),
            ("PR_SET_MM", libc::PR_SET_MM.into()),
            ("ADDR_NO_RANDOMIZE", libc::ADDR_NO_RANDOMIZE.into()),
            ("S_IFMT", libc::S_IFMT.into()),
            ("S_IFCHR", libc::S_IFCHR.into()),
            ("S_IFBLK", libc::S_IFBLK.into()),
            ("PRIO_PGRP", libc::PRIO_PGRP.into()),
        ];
        for (name, number) in expected {
            assert_eq!(value(name), Some(number.cast_unsigned()), "{name}");
        }
    }

    #[test]
    fn a_word_far_from_all_has_no_nearest() {
        assert_eq!(nearest("defualt", ["default", "strict"]), Some("default"));
        assert_eq!(nearest("zzzzzz", ["default", "strict"]), None);
    }
}
