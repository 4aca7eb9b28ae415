//! Whose descriptor it is that shows something: what the engine's epoll queue gives back for each.
#![forbid(unsafe_code)]

use nix::sys::epoll::EpollFlags;

use crate::epoll_data::{pack, unpack};

/// Whose descriptor it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::egress) enum Key {
    Listener(u64),
    /// Callers that want sockets.
    Orders(u64),
    Watch(u64),
    /// The sandbox's name service, by UDP.
    Names(u64),
    /// A client of it by TCP.
    Talk(u64),
    /// A UDP socket inside.
    Datagrams(u64),
    /// Sockets outside of a UDP flow.
    DatagramsOutside(u64),
    /// The connection from inside.
    Inside(u64),
    /// Connections to outside, of which one dial may have several.
    Outside(u64),
    /// A listener outside.
    Published(u64),
    /// A listener inside that makes sockets.
    Inner(u64),
    /// The proxy's listener.
    Proxy(u64),
    /// A client of the proxy that has not said yet whom it wants.
    Client(u64),
    /// Sockets of the look-up of a name that is learned.
    Inquiry(u64),
}

impl Key {
    pub(in crate::egress) fn to_data(self) -> u64 {
        let (kind, number) = match self {
            Self::Listener(place) => (0, place),
            Self::Watch(place) => (1, place),
            Self::Inside(number) => (2, number),
            Self::Outside(number) => (3, number),
            Self::Names(place) => (4, place),
            Self::Talk(number) => (5, number),
            Self::Datagrams(place) => (6, place),
            Self::DatagramsOutside(number) => (7, number),
            Self::Published(place) => (8, place),
            Self::Orders(number) => (12, number),
            Self::Inner(place) => (9, place),
            Self::Proxy(place) => (10, place),
            Self::Client(number) => (11, number),
            Self::Inquiry(number) => (13, number),
        };
        pack(kind, number)
    }

    pub(super) fn from_data(data: u64) -> Option<Self> {
        let (kind, number) = unpack(data);
        Some(match kind {
            0 => Self::Listener(number),
            1 => Self::Watch(number),
            2 => Self::Inside(number),
            3 => Self::Outside(number),
            4 => Self::Names(number),
            5 => Self::Talk(number),
            6 => Self::Datagrams(number),
            7 => Self::DatagramsOutside(number),
            8 => Self::Published(number),
            9 => Self::Inner(number),
            10 => Self::Proxy(number),
            11 => Self::Client(number),
            12 => Self::Orders(number),
            13 => Self::Inquiry(number),
            _ => return None,
        })
    }
}

/// For connections: each change is told once.
pub(in crate::egress) const EDGES: EpollFlags = EpollFlags::EPOLLIN
    .union(EpollFlags::EPOLLOUT)
    .union(EpollFlags::EPOLLRDHUP)
    .union(EpollFlags::EPOLLET);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoll_data::NUMBERS;

    #[test]
    fn every_key_survives_the_kernel() {
        for key in [
            Key::Listener(0),
            Key::Watch(1),
            Key::Inside(NUMBERS),
            Key::Outside(7),
            Key::Names(0),
            Key::Talk(9),
            Key::Datagrams(1),
            Key::DatagramsOutside(2),
            Key::Orders(0),
            Key::Published(0),
            Key::Inner(1),
            Key::Proxy(0),
            Key::Client(3),
            Key::Inquiry(5),
        ] {
            assert_eq!(Key::from_data(key.to_data()), Some(key));
        }
        assert_eq!(Key::from_data(u64::MAX), None);
    }
}
