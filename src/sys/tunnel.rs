//! The ioctls of `/dev/net/tun`.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// What a tunnel's packets begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// An IP header: tun.
    Ip,
    /// An Ethernet header: tap.
    Ethernet,
}

/// ioctl(2) `TUNSETIFF` and `TUNSETPERSIST`: make the link `name` where `device` was opened, to stay when
/// that is closed.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn make(device: BorrowedFd<'_>, name: &str, layer: Layer) -> Result<(), Errno> {
    let flags = libc::IFF_NO_PI
        | match layer {
            Layer::Ip => libc::IFF_TUN,
            Layer::Ethernet => libc::IFF_TAP,
        };
    let mut request = [0_u8; size_of::<libc::ifreq>()];
    let room = request.get_mut(..libc::IFNAMSIZ - 1).ok_or(Errno::EINVAL)?;
    let place = room.get_mut(..name.len()).ok_or(Errno::ENAMETOOLONG)?;
    place.copy_from_slice(name.as_bytes());
    let flags = i16::try_from(flags)
        .map_err(|_| Errno::EINVAL)?
        .to_ne_bytes();
    let place = request.get_mut(libc::IFNAMSIZ..libc::IFNAMSIZ + 2);
    place.ok_or(Errno::EINVAL)?.copy_from_slice(&flags);
    let fd = device.as_raw_fd();
    // SAFETY: the kernel reads and writes a `struct ifreq` there, whose size `request` has; bytes need
    // no alignment, which the kernel's copying does not ask for either.
    Errno::result(unsafe { libc::ioctl(fd, libc::TUNSETIFF, request.as_mut_ptr()) })?;
    // SAFETY: takes a number.
    Errno::result(unsafe { libc::ioctl(fd, libc::TUNSETPERSIST, 1) }).map(drop)
}
