//! Sockets of any family, with garbage in upper halves, and what ioctls tell of interfaces.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;

use super::calls::call_with_numbers;
use super::owned;

/// socket(2), every argument as the full word that a program may put into the register.
pub(crate) fn socket(family: u64, kind: u64, protocol: u64) -> Result<OwnedFd, Errno> {
    let args = [family, kind, protocol, 0, 0].map(u64::cast_signed);
    owned(call_with_numbers(libc::SYS_socket, args)?)
}

/// socketpair(2) of `family`.
pub(crate) fn socketpair(family: u64, kind: u64) -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut pair: [RawFd; 2] = [-1; 2];
    // SAFETY: `pair` is two ints, which is what the kernel writes.
    let result = unsafe { libc::syscall(libc::SYS_socketpair, family, kind, 0, pair.as_mut_ptr()) };
    Errno::result(result)?;
    Ok((owned(pair[0].into())?, owned(pair[1].into())?))
}

/// A zeroed struct ifreq with `name` and `index`.
fn interface_request(name: &str, index: i32) -> libc::ifreq {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_ifindex: index,
        },
    };
    let room = libc::IFNAMSIZ - 1;
    for (slot, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(room)) {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    request
}

/// The name of network interface `index`, by SIOCGIFNAME on `socket` (netdevice(7)).
pub(crate) fn interface_name(socket: BorrowedFd<'_>, index: i32) -> Result<String, Errno> {
    let mut request = interface_request("", index);
    // SAFETY: SIOCGIFNAME reads and writes one struct ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNAME, &raw mut request) };
    Errno::result(result)?;
    let bytes = request.ifr_name.iter().take_while(|&&c| c != 0);
    let bytes: Vec<u8> = bytes.flat_map(|c| c.to_ne_bytes()).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Set the flags of `lo` to what they are: changes nothing, but needs CAP_NET_ADMIN.
pub(crate) fn set_loopback_flags(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut request = interface_request("lo", 0);
    // SAFETY: SIOCGIFFLAGS reads and writes one struct ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) };
    Errno::result(result)?;
    // SAFETY: SIOCSIFFLAGS reads one struct ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
    Errno::result(result).map(drop)
}

/// The network namespace of `socket`, by SIOCGSKNS; needs CAP_NET_ADMIN there.
pub(crate) fn socket_namespace(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: SIOCGSKNS takes no argument and returns a descriptor.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS, 0) };
    owned(Errno::result(result)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_ignores_the_upper_half_of_its_family() {
        // The reason why the filter has to compare 32 bits.
        assert!(socket(0xdead_0000_0001, 1, 0).is_ok());
    }
}
