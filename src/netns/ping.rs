//! Echo requests from inside a namespace (ICMP: RFC 792, RFC 4443), answered by the kernel at the other end.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde::Serialize;

use super::handle::Namespace;
use crate::error::{Error, Result};
use crate::plan::errno_of;

/// What came of one request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Echo {
    /// It was answered after this many seconds.
    Answered(f64),
    /// Nobody answered in time.
    Silence,
}

/// Ask `address` from inside `namespace` for the echo number `sequence`, and wait for it no longer than
/// `patience`.
///
/// # Errors
/// When it cannot be sent: there is no route, or a firewall forbids it.
pub fn ping(
    namespace: &Namespace,
    address: IpAddr,
    sequence: u16,
    patience: Duration,
) -> Result<Echo> {
    let failed = |error: std::io::Error| {
        let object = format!("{address} from {}", namespace.label());
        Error::host("ping", object, errno_of(&error))
    };
    let (family, protocol) = match address {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6),
    };
    // The calls of a raw socket are those of a socket of datagrams, without a port.
    let socket = UdpSocket::from(namespace.socket(family, libc::SOCK_RAW, protocol)?);
    let identity = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
    socket
        .connect(SocketAddr::new(address, 0))
        .map_err(failed)?;
    let began = Instant::now();
    socket
        .send(&request(address, identity, sequence))
        .map_err(failed)?;
    let mut buffer = [0; 1500];
    loop {
        let left = patience.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(Echo::Silence);
        }
        socket.set_read_timeout(Some(left)).map_err(failed)?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) => match errno_of(&error) {
                Errno::EAGAIN | Errno::EINTR => continue,
                _ => return Err(failed(error)),
            },
        };
        let packet = buffer.get(..length).unwrap_or_default();
        if is_answer(address, packet, identity, sequence) {
            return Ok(Echo::Answered(began.elapsed().as_secs_f64()));
        }
    }
}

/// An echo request to `address`.
pub(crate) fn request(address: IpAddr, identity: u16, sequence: u16) -> Vec<u8> {
    let kind = match address {
        IpAddr::V4(_) => 8,
        IpAddr::V6(_) => 128,
    };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identity.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(b"sandbox netns ping");
    // Of ICMPv6 the kernel makes the checksum, which covers addresses that only it knows.
    if address.is_ipv4() {
        let sum = checksum(&message).to_be_bytes();
        if let Some(place) = message.get_mut(2..4) {
            place.copy_from_slice(&sum);
        }
    }
    message
}

/// RFC 1071; of an even number of bytes.
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    });
    let sum = words.fold(0_u32, u32::wrapping_add);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

/// Whether `packet` is the answer; of IPv4 it begins with the header of IP.
pub(crate) fn is_answer(address: IpAddr, packet: &[u8], identity: u16, sequence: u16) -> bool {
    let (kind, message) = match address {
        IpAddr::V4(_) => {
            let header = packet.first().map_or(0, |byte| usize::from(byte & 0xf) * 4);
            (0, packet.get(header..).unwrap_or_default())
        }
        IpAddr::V6(_) => (129, packet),
    };
    let [a, b] = identity.to_be_bytes();
    let [c, d] = sequence.to_be_bytes();
    matches!(message, [found, 0, _, _, rest @ ..] if *found == kind && rest.starts_with(&[a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_ipv4_has_its_checksum() {
        let message = request("10.0.0.1".parse().unwrap(), 7, 9);
        assert_eq!(message.get(..2), Some(&[8, 0][..]));
        assert_eq!(message.len() % 2, 0);
        assert_eq!(checksum(&message), 0, "the sum over all is then nothing");
    }

    #[test]
    fn only_the_own_answer_is_taken() {
        let six: IpAddr = "fd00::1".parse().unwrap();
        assert!(is_answer(six, &[129, 0, 1, 2, 0, 7, 0, 9, 1], 7, 9));
        assert!(!is_answer(six, &[129, 0, 1, 2, 0, 7, 0, 8, 1], 7, 9));
        assert!(!is_answer(six, &[128, 0, 1, 2, 0, 7, 0, 9, 1], 7, 9));
        let four: IpAddr = "10.0.0.1".parse().unwrap();
        let mut packet = vec![0x45; 20];
        packet.extend([0, 0, 1, 2, 0, 7, 0, 9]);
        assert!(is_answer(four, &packet, 7, 9));
        assert!(!is_answer(four, &packet[..24], 7, 9));
        assert!(!is_answer(four, &[], 7, 9));
    }
}
