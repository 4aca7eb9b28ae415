//! Who owns a network namespace that is to be joined (`--net ns:`), and what follows from that.
//!
//! Every namespace belongs to the user namespace in which it was made (ioctl_ns(2)), and only a
//! capability there lets it be joined. Who has made a user namespace has all of them in it, once inside
//! (user_namespaces(7)). So a user may join what `unshare --net --map-root-user` made for the same
//! user, by way of its owner; and a process of that user that is not inside could change the network,
//! having no capability of its own.
//!
//! Runs in the launcher, for the plan and for a hint; reads only.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::netns::named;
use crate::sys::parent;

/// Whether the user namespace that owns the network is joined, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkOwner {
    /// It is joined first, and the sandbox's other namespaces belong to it.
    Joined,
    /// It is left alone.
    NotJoined,
}

/// The user namespace that owns a network namespace, as seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The launcher's own.
    Here,
    /// One below it, in the power of this user.
    Ours,
    /// One below it, in the power of another user.
    User(u32),
    /// One above it or beside it.
    OutOfSight,
}

/// Whether the owner of the network namespace at `path` is to be joined first.
pub(crate) fn to_join(path: &Path) -> NetworkOwner {
    match owner_of(path) {
        Some(Owner::Ours) => NetworkOwner::Joined,
        _ => NetworkOwner::NotJoined,
    }
}

/// The user namespace that owns the network `namespace`, where it is to be joined first.
pub(crate) fn of_open(namespace: BorrowedFd<'_>) -> Option<OwnedFd> {
    match owner_of_open(namespace)? {
        Owner::Ours => parent::namespace_owner(namespace).ok(),
        _ => None,
    }
}

/// What to do about the network namespace at `path` that could not be joined for want of rights.
pub(crate) fn hint(path: &Path) -> Option<String> {
    Some(match owner_of(path)? {
        Owner::Here => "it belongs to the user namespace that sandbox runs in, and joining it needs CAP_SYS_ADMIN there: run as root".to_owned(),
        Owner::Ours => "it belongs to a user namespace that you have made: leave --userns yes out, and that one is joined first".to_owned(),
        Owner::User(uid) => format!("it belongs to a user namespace that user {uid} has made: run as that user, or as root"),
        Owner::OutOfSight => "it belongs to a user namespace outside of the one that sandbox runs in: start sandbox there".to_owned(),
    })
}

/// `None` where there is no such namespace.
fn owner_of(path: &Path) -> Option<Owner> {
    let namespace = named::open_path(path).ok()?;
    owner_of_open(namespace.as_fd())
}

/// The same of an open namespace.
fn owner_of_open(namespace: BorrowedFd<'_>) -> Option<Owner> {
    let mut below = match parent::namespace_owner(namespace) {
        Ok(owner) => File::from(owner),
        Err(Errno::EPERM) => return Some(Owner::OutOfSight),
        Err(_) => return None,
    };
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let here = identity(fs::metadata("/proc/self/ns/user").ok()?);
    if identity(below.metadata().ok()?) == here {
        return Some(Owner::Here);
    }
    // Whoever has made the child of ours that it is below has the power over all of it.
    let maker = loop {
        let above = File::from(parent::namespace_owner(below.as_fd()).ok()?);
        if identity(above.metadata().ok()?) == here {
            break parent::user_namespace_maker(below.as_fd()).ok()?;
        }
        below = above;
    };
    Some(if maker == geteuid().as_raw() {
        Owner::Ours
    } else {
        Owner::User(maker)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_network_is_owned_from_here() {
        let network = Path::new("/proc/self/ns/net");
        let hint = hint(network).unwrap();
        assert!(hint.ends_with("run as root"), "{hint}");
        assert_eq!(to_join(network), NetworkOwner::NotJoined);
    }

    #[test]
    fn what_is_no_namespace_has_no_owner() {
        for path in ["/proc/self/status", "/nonexistent", "/"] {
            assert_eq!(owner_of(Path::new(path)), None, "{path}");
        }
    }
}
