//! A netlink socket that was opened in another namespace, as the netlink library's type.
#![expect(unsafe_code, reason = "the fence: a conversion")]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use netlink_sys::Socket;

/// The same descriptor, owned by the library's type, which closes it.
pub(crate) fn socket(descriptor: OwnedFd) -> Socket {
    // SAFETY: `descriptor` owned it until now, and gives it up here; nothing else owns it.
    unsafe { Socket::from_raw_fd(descriptor.into_raw_fd()) }
}
