//! Changes to links, addresses, routes and sysctls.

use nix::errno::Errno;

use super::{open_for_writing, row, with_socket, word};
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::outside::Outside;
use crate::selftest::promise;
use crate::sys::attempt as sys;

pub(super) fn of_settings() -> Vec<Attempt> {
    use Control::Root;
    vec![
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
    ]
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
