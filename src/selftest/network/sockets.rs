//! Sockets of other families, types and protocols than a command needs.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::{row, word};
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::outside::Outside;
use crate::selftest::promise;
use crate::sys::attempt as sys;

const FAMILIES: &str = "filter: list of families";
const KINDS: &str = "filter: socket types and protocols";

pub(super) fn of_sockets() -> Vec<Attempt> {
    use Control::{Anyone, Nobody, Root};
    let mut attempts = vec![row(
        "ping-host",
        "ICMP to the host",
        KINDS,
        Nobody,
        promise::sockets,
        |_| {
            let ping =
                |family: i32, protocol| sys::socket(word(family), word(libc::SOCK_DGRAM), protocol);
            let both = [ping(libc::AF_INET, 1), ping(libc::AF_INET6, 58)];
            first_open(both.into_iter().map(|socket| ("a ping socket", socket)))
        },
    )];
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
