//! Links whose other end is a program: tun and tap, made to stay (`/dev/net/tun`).
#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use super::handle::Namespace;
use super::name::LinkName;
use crate::error::{Error, Result};
use crate::sys::tunnel;

pub use crate::sys::tunnel::Layer;

/// Make the link `name` in `namespace`. It stays without a program, until it is deleted.
///
/// # Errors
/// When there is a link of this name, or this host has no `/dev/net/tun`.
pub fn add(namespace: &Namespace, name: &LinkName, layer: Layer) -> Result<()> {
    // TUNSETIFF would take a link of this kind that there is already for its own.
    if namespace.connect()?.link(name).is_ok() {
        let object = format!("{name} in {}", namespace.label());
        return Err(Error::host(
            "add the link",
            object,
            nix::errno::Errno::EEXIST,
        ));
    }
    let device = namespace.open_file(c"/dev/net/tun", libc::O_RDWR)?;
    tunnel::make(device.as_fd(), name.as_str(), layer).map_err(|errno| {
        Error::host(
            "add the link",
            format!("{name} in {}", namespace.label()),
            errno,
        )
    })
}
