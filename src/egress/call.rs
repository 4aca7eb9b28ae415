//! What a seccomp notification says, and what a socket address says: bytes that come from inside.
//!
//! Pure; runs in the supervisor. Nothing here is taken for true but that these bytes were given.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// A call that a task of the sandbox waits for (`struct seccomp_notif`, seccomp_unotify(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The notification's own number.
    pub id: u64,
    /// The thread, as the supervisor's process namespace numbers it.
    pub task: i32,
    /// The call's number.
    pub number: u32,
    /// `AUDIT_ARCH_*`.
    pub architecture: u32,
    /// The arguments.
    pub arguments: [u64; 6],
}

impl Call {
    /// Read a notification; `None` for bytes that are none, or one of a task that has no number here.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let long = |at: usize| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let mut arguments = [0; 6];
        for (index, argument) in arguments.iter_mut().enumerate() {
            *argument = long(32 + 8 * index)?;
        }
        Some(Self {
            id: long(0)?,
            task: i32::try_from(word(8)?).ok().filter(|&task| task > 0)?,
            number: word(16)?,
            architecture: word(20)?,
            arguments,
        })
    }

    /// Argument `index` where the kernel takes an int: the low half, whatever is above.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "as the kernel reads it"
    )]
    pub fn int(&self, index: usize) -> i32 {
        self.arguments.get(index).copied().unwrap_or(0) as u32 as i32
    }
}

/// The longest socket address: what is longer, connect(2) refuses (`struct sockaddr_storage`).
pub const LONGEST: usize = 128;
/// `struct sockaddr_un`: the family, and the longest path.
const LONGEST_UNIX: usize = 110;

/// What a Unix socket is asked to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixAddress<'a> {
    /// A file, without the NUL behind it; not empty, and none inside.
    Path(&'a [u8]),
    /// A name that is in no file system: all bytes after the first, which is a NUL.
    Abstract(&'a [u8]),
}

/// Read the address that a Unix socket is given, as unix(7) says; `None` where that is EINVAL.
#[must_use]
pub fn unix_address(bytes: &[u8]) -> Option<UnixAddress<'_>> {
    let (family, name) = split(bytes)?;
    if family != libc::AF_UNIX || name.is_empty() || bytes.len() > LONGEST_UNIX {
        return None;
    }
    if let [0, name @ ..] = name {
        return Some(UnixAddress::Abstract(name));
    }
    let end = name.iter().position(|&byte| byte == 0);
    Some(UnixAddress::Path(name.get(..end.unwrap_or(name.len()))?))
}

/// Read the address that an Internet socket is given (ip(7), ipv6(7)); `None` for one of another kind,
/// or cut short.
#[must_use]
pub fn internet_address(bytes: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = split(bytes)?;
    let port = u16::from_be_bytes(*rest.first_chunk()?);
    match family {
        libc::AF_INET if bytes.len() >= 16 => {
            let ip: [u8; 4] = *rest.get(2..)?.first_chunk()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into())
        }
        libc::AF_INET6 if bytes.len() >= 24 => {
            let flow = u32::from_be_bytes(*rest.get(2..)?.first_chunk()?);
            let ip: [u8; 16] = *rest.get(6..)?.first_chunk()?;
            // The kernel takes one without its last field.
            let scope = rest.get(22..).and_then(|rest| rest.first_chunk());
            let scope = scope.map_or(0, |bytes| u32::from_ne_bytes(*bytes));
            Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into())
        }
        _ => None,
    }
}

fn split(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (family, rest) = bytes.split_first_chunk()?;
    Some((i32::from(u16::from_ne_bytes(*family)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(family: i32, rest: &[u8]) -> Vec<u8> {
        let family = u16::try_from(family).unwrap().to_ne_bytes();
        [&family, rest].concat()
    }

    #[test]
    fn unix_addresses_are_read_as_the_kernel_reads_them() {
        let unix = |rest: &[u8]| address(libc::AF_UNIX, rest);
        let long = unix(&[b'a'; 108]);
        let table = [
            (unix(b"/run/x\0"), Some(UnixAddress::Path(b"/run/x"))),
            (unix(b"/run/x"), Some(UnixAddress::Path(b"/run/x"))),
            (unix(b"x\0y\0"), Some(UnixAddress::Path(b"x"))),
            (unix(b"\0name\0"), Some(UnixAddress::Abstract(b"name\0"))),
            (unix(b"\0"), Some(UnixAddress::Abstract(b""))),
            (long.clone(), Some(UnixAddress::Path(&[b'a'; 108]))),
            (unix(&[b'a'; 109]), None),
            (unix(b""), None),
            (address(libc::AF_INET, b"/run/x"), None),
            (vec![1], None),
            (vec![], None),
        ];
        for (bytes, expected) in &table {
            assert_eq!(unix_address(bytes), *expected, "{bytes:?}");
        }
    }

    #[test]
    fn internet_addresses_are_read_as_the_kernel_reads_them() {
        let four = address(
            libc::AF_INET,
            &[1, 187, 192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0],
        );
        let expected = "192.0.2.7:443".parse().ok();
        assert_eq!(internet_address(&four), expected);
        assert_eq!(internet_address(&four[..15]), None);
        let mut rest = vec![0, 80, 0, 0, 0, 0];
        rest.extend(Ipv6Addr::LOCALHOST.octets());
        let six = address(libc::AF_INET6, &[&rest[..], &[0; 4]].concat());
        assert_eq!(internet_address(&six), "[::1]:80".parse().ok());
        assert_eq!(internet_address(&six[..24]), "[::1]:80".parse().ok());
        assert_eq!(internet_address(&six[..23]), None);
        assert_eq!(internet_address(&address(libc::AF_UNIX, &[0; 14])), None);
        assert_eq!(internet_address(&address(libc::AF_UNSPEC, &[0; 14])), None);
    }

    #[test]
    fn a_notification_is_read_and_a_short_one_is_none() {
        let mut bytes = vec![0; 80];
        bytes[0] = 7;
        bytes[8] = 42;
        bytes[16] = 9;
        bytes[32..40].copy_from_slice(&u64::MAX.to_ne_bytes());
        bytes[72] = 6;
        let call = Call::parse(&bytes).unwrap();
        assert_eq!((call.id, call.task, call.number), (7, 42, 9));
        assert_eq!(call.int(0), -1);
        assert_eq!(call.int(5), 6);
        assert_eq!(Call::parse(&bytes[..79]), None);
        bytes[8] = 0;
        assert_eq!(Call::parse(&bytes), None);
    }
}
