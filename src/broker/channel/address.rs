//! What a message says of a connection's two ends, and of the listener: types that hold nothing else than
//! may be sent.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::{Decoded, Malformed, SUN_PATH};
use crate::policy::spec;

/// A listener's name, by the rules of `LISTEN_FDNAMES` (sd_listen_fds(3)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerName(Arc<str>);

impl ListenerName {
    /// Take `name` if it is one: 1 to 255 printable ASCII characters without space, `:`, `=` or braces.
    ///
    /// # Errors
    /// [`Malformed::Name`].
    pub fn new(name: &str) -> Decoded<Self> {
        match spec::descriptor_name(name) {
            Ok(_) => Ok(Self(name.into())),
            Err(_) => Err(Malformed::Name),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a Unix socket, as `sun_path` holds it. By default none.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct UnixName(Vec<u8>);

impl UnixName {
    /// Take the bytes of `sun_path`, without a path's terminating NUL: none for an unnamed socket, a
    /// NUL first for an abstract one, otherwise a path.
    ///
    /// # Errors
    /// [`Malformed::Address`] when they are more than `sun_path` holds, or a path with a NUL.
    pub fn new(bytes: &[u8]) -> Decoded<Self> {
        let path = bytes.first().is_some_and(|&first| first != 0);
        if bytes.len() > SUN_PATH || (path && bytes.contains(&0)) {
            return Err(Malformed::Address);
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The bytes of `sun_path`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path, if it has one.
    #[must_use]
    pub fn as_path(&self) -> Option<&Path> {
        match self.0.first() {
            None | Some(0) => None,
            Some(_) => Some(Path::new(OsStr::from_bytes(&self.0))),
        }
    }

    /// The abstract name, if that is what it has.
    #[must_use]
    pub fn as_abstract(&self) -> Option<&[u8]> {
        self.0.strip_prefix(&[0])
    }

    /// Whether it has no name: a client that did not bind.
    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixName({self})")
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_abstract() {
            Some(name) => write!(f, "unix:@{}", name.escape_ascii()),
            None => write!(f, "unix:{}", self.0.escape_ascii()),
        }
    }
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4 or IPv6. An IPv6 flow label is not transmitted.
    Inet(SocketAddr),
    /// A Unix socket.
    Unix(UnixName),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(name) => name.fmt(f),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}
