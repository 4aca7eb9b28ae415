//! What the sandbox tried to reach and could not: read off its own loopback interface.
//!
//! In the supervisor's loop only. Nothing listens at an address that no rule names, so the kernel
//! itself refuses it at once: a TCP segment with RST and no sequence number of its own (RFC 9293,
//! section 3.10.7.1), or an ICMP message "port unreachable". A packet socket of the sandbox's namespace
//! sees these, and a filter in the kernel drops all else. What it sees was shaped by the sandbox, so
//! nothing but events comes of it, and where it cannot keep up packets are lost.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libc::sock_filter;

use super::destination::Protocol;

/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// The flags RST and ACK of a TCP header.
const RST_ACK: u8 = 0x14;
/// ICMP type and code of "port unreachable" (RFC 792, RFC 4443).
const UNREACHABLE: (u8, u8) = (3, 3);
const UNREACHABLE_V6: (u8, u8) = (1, 4);
const V6_HEADER: usize = 40;

/// Something that the kernel refused to the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Refusal {
    /// Where it wanted to go.
    pub(super) destination: SocketAddr,
    /// TCP or UDP.
    pub(super) protocol: Protocol,
    /// Whence it wanted to go there.
    pub(super) client: SocketAddr,
}

/// The refusal that an IP packet from the sandbox's `lo` tells of. `None` for any other packet, and for
/// one that tells of the sandbox's own loopback addresses.
pub(super) fn parse(packet: &[u8]) -> Option<Refusal> {
    let refusal = match packet.first()? >> 4 {
        4 => parse_v4(packet),
        6 => parse_v6(packet),
        _ => None,
    }?;
    (!refusal.destination.ip().to_canonical().is_loopback()).then_some(refusal)
}

fn parse_v4(packet: &[u8]) -> Option<Refusal> {
    let (protocol, source, client, rest) = split_v4(packet)?;
    match protocol {
        TCP => refused_segment(rest, source.into(), client.into()),
        ICMP if (*rest.first()?, *rest.get(1)?) == UNREACHABLE => {
            let (protocol, client, destination, rest) = split_v4(rest.get(8..)?)?;
            undelivered(protocol, rest, destination.into(), client.into())
        }
        _ => None,
    }
}

fn parse_v6(packet: &[u8]) -> Option<Refusal> {
    let (protocol, source, client, rest) = split_v6(packet)?;
    match protocol {
        TCP => refused_segment(rest, source.into(), client.into()),
        ICMPV6 if (*rest.first()?, *rest.get(1)?) == UNREACHABLE_V6 => {
            let (protocol, client, destination, rest) = split_v6(rest.get(8..)?)?;
            undelivered(protocol, rest, destination.into(), client.into())
        }
        _ => None,
    }
}

/// Protocol, source, destination and payload.
fn split_v4(packet: &[u8]) -> Option<(u8, Ipv4Addr, Ipv4Addr, &[u8])> {
    let first = *packet.first()?;
    let length = usize::from(first & 0xf) * 4;
    // Of a fragment only the first has the ports.
    let fragment = u16::from_be_bytes(*packet.get(6..)?.first_chunk()?) & 0x1fff;
    if first >> 4 != 4 || length < 20 || fragment != 0 {
        return None;
    }
    let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
    Some((
        *packet.get(9)?,
        address(12)?,
        address(16)?,
        packet.get(length..)?,
    ))
}

fn split_v6(packet: &[u8]) -> Option<(u8, Ipv6Addr, Ipv6Addr, &[u8])> {
    if packet.first()? >> 4 != 6 {
        return None;
    }
    let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
    Some((
        *packet.get(6)?,
        address(8)?,
        address(24)?,
        packet.get(V6_HEADER..)?,
    ))
}

/// Of a packet that tells of a refused datagram, what was in the datagram, where all of it is told.
pub(super) fn undelivered_payload(packet: &[u8]) -> Option<&[u8]> {
    const HEADER: usize = 8;
    let (protocol, datagram) = match packet.first()? >> 4 {
        4 => {
            let (ICMP, _, _, rest) = split_v4(packet)? else {
                return None;
            };
            let (protocol, _, _, datagram) = split_v4(rest.get(HEADER..)?)?;
            (protocol, datagram)
        }
        _ => {
            let (ICMPV6, _, _, rest) = split_v6(packet)? else {
                return None;
            };
            let (protocol, _, _, datagram) = split_v6(rest.get(HEADER..)?)?;
            (protocol, datagram)
        }
    };
    let length = usize::from(u16::from_be_bytes(*datagram.get(4..)?.first_chunk()?));
    (protocol == UDP)
        .then(|| datagram.get(HEADER..length))
        .flatten()
}

/// `filter`, which lets through so much of each packet that a small datagram is all in it.
pub(super) fn looking_further(filter: &[sock_filter]) -> Vec<sock_filter> {
    let further = |it: &sock_filter| match (it.code, it.k) {
        (code::RETURN, 1..) => instruction(code::RETURN, 0, 0, FURTHER as u32),
        _ => *it,
    };
    filter.iter().map(further).collect()
}

fn refused_segment(segment: &[u8], source: IpAddr, client: IpAddr) -> Option<Refusal> {
    let port = u16::from_be_bytes(*segment.first_chunk()?);
    let to = u16::from_be_bytes(*segment.get(2..)?.first_chunk()?);
    let sequence = u32::from_be_bytes(*segment.get(4..)?.first_chunk()?);
    (*segment.get(13)? == RST_ACK && sequence == 0).then_some(Refusal {
        destination: SocketAddr::new(source, port),
        protocol: Protocol::Tcp,
        client: SocketAddr::new(client, to),
    })
}

fn undelivered(
    protocol: u8,
    datagram: &[u8],
    destination: IpAddr,
    client: IpAddr,
) -> Option<Refusal> {
    let from = u16::from_be_bytes(*datagram.first_chunk()?);
    let port = u16::from_be_bytes(*datagram.get(2..)?.first_chunk()?);
    (protocol == UDP).then_some(Refusal {
        destination: SocketAddr::new(destination, port),
        protocol: Protocol::Udp,
        client: SocketAddr::new(client, from),
    })
}

/// Instructions of a classic BPF program (`<linux/bpf_common.h>`).
mod code {
    pub(super) const LOAD_BYTE: u16 = 0x30;
    pub(super) const LOAD_BYTE_INDEXED: u16 = 0x50;
    pub(super) const LOAD_HEADER_LENGTH: u16 = 0xb1;
    pub(super) const JUMP_EQUAL: u16 = 0x15;
    pub(super) const RETURN: u16 = 0x06;
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// How much of a packet is looked at.
pub(super) const LOOK: usize = 128;
/// The same while it is learned whom datagrams are for: the kernel tells so much of one, and no more
/// (RFC 1812, 4.3.2.3; RFC 4443, 2.4).
pub(super) const FURTHER: usize = 1280;

/// The filter for IPv4 packets: TCP with RST and ACK, or ICMP "unreachable".
pub(super) const FILTER_V4: &[sock_filter] = &[
    instruction(code::LOAD_BYTE, 0, 0, 9),
    instruction(code::LOAD_HEADER_LENGTH, 0, 0, 0),
    instruction(code::JUMP_EQUAL, 0, 2, TCP as u32),
    instruction(code::LOAD_BYTE_INDEXED, 0, 0, 13),
    instruction(code::JUMP_EQUAL, 3, 4, RST_ACK as u32),
    instruction(code::JUMP_EQUAL, 0, 3, ICMP as u32),
    instruction(code::LOAD_BYTE_INDEXED, 0, 0, 0),
    instruction(code::JUMP_EQUAL, 0, 1, UNREACHABLE.0 as u32),
    instruction(code::RETURN, 0, 0, LOOK as u32),
    instruction(code::RETURN, 0, 0, 0),
];

/// The same for IPv6.
pub(super) const FILTER_V6: &[sock_filter] = &[
    instruction(code::LOAD_BYTE, 0, 0, 6),
    instruction(code::JUMP_EQUAL, 0, 2, TCP as u32),
    instruction(code::LOAD_BYTE, 0, 0, V6_HEADER as u32 + 13),
    instruction(code::JUMP_EQUAL, 3, 4, RST_ACK as u32),
    instruction(code::JUMP_EQUAL, 0, 3, ICMPV6 as u32),
    instruction(code::LOAD_BYTE, 0, 0, V6_HEADER as u32),
    instruction(code::JUMP_EQUAL, 0, 1, UNREACHABLE_V6.0 as u32),
    instruction(code::RETURN, 0, 0, LOOK as u32),
    instruction(code::RETURN, 0, 0, 0),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
        packet.extend(source);
        packet.extend(destination);
        packet.extend(payload);
        packet
    }

    fn v6(protocol: u8, source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
        for address in [source, destination] {
            packet.extend(address.parse::<Ipv6Addr>().unwrap().octets());
        }
        packet.extend(payload);
        packet
    }

    fn segment(source: u16, sequence: u32, flags: u8) -> Vec<u8> {
        let mut segment = source.to_be_bytes().to_vec();
        segment.extend([0x9c, 0x40]);
        segment.extend(sequence.to_be_bytes());
        segment.extend([0, 0, 0, 1, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        segment
    }

    fn udp(destination: u16) -> Vec<u8> {
        let mut datagram = vec![0x9c, 0x40];
        datagram.extend(destination.to_be_bytes());
        datagram.extend([0, 8, 0, 0]);
        datagram
    }

    fn icmp(kind: (u8, u8), original: &[u8]) -> Vec<u8> {
        let mut message = vec![kind.0, kind.1, 0, 0, 0, 0, 0, 0];
        message.extend(original);
        message
    }

    /// Of a client at `client`, port 40000.
    fn refusal(destination: &str, protocol: Protocol, client: &str) -> Option<Refusal> {
        Some(Refusal {
            destination: destination.parse().unwrap(),
            protocol,
            client: SocketAddr::new(client.parse().unwrap(), 40000),
        })
    }

    #[test]
    fn a_refused_connection_is_told_by_its_reset() {
        let packet = v4(TCP, [8, 8, 8, 8], [8, 8, 8, 8], &segment(80, 0, RST_ACK));
        assert_eq!(
            parse(&packet),
            refusal("8.8.8.8:80", Protocol::Tcp, "8.8.8.8")
        );
        let packet = v6(TCP, "2001:db8::1", "::1", &segment(443, 0, RST_ACK));
        assert_eq!(
            parse(&packet),
            refusal("[2001:db8::1]:443", Protocol::Tcp, "::1")
        );
    }

    #[test]
    fn other_segments_and_the_sandboxs_own_addresses_are_not_refusals() {
        let seen = |source: [u8; 4], segment: &[u8]| parse(&v4(TCP, source, source, segment));
        assert_eq!(seen([8, 8, 8, 8], &segment(80, 7, RST_ACK)), None);
        assert_eq!(seen([8, 8, 8, 8], &segment(80, 0, 0x02)), None);
        assert_eq!(seen([127, 0, 0, 1], &segment(80, 0, RST_ACK)), None);
        assert_eq!(parse(&v6(TCP, "::1", "::1", &segment(1, 0, RST_ACK))), None);
    }

    #[test]
    fn a_refused_datagram_is_told_by_what_came_back() {
        let original = v4(UDP, [8, 8, 8, 8], [8, 8, 4, 4], &udp(53));
        let packet = v4(
            ICMP,
            [8, 8, 4, 4],
            [8, 8, 8, 8],
            &icmp(UNREACHABLE, &original),
        );
        assert_eq!(
            parse(&packet),
            refusal("8.8.4.4:53", Protocol::Udp, "8.8.8.8")
        );
        let original = v6(UDP, "::1", "2001:db8::1", &udp(123));
        let packet = v6(
            ICMPV6,
            "2001:db8::1",
            "::1",
            &icmp(UNREACHABLE_V6, &original),
        );
        assert_eq!(
            parse(&packet),
            refusal("[2001:db8::1]:123", Protocol::Udp, "::1")
        );
        // Of TCP it is no refusal, and a time exceeded is none either.
        let original = v4(TCP, [8, 8, 8, 8], [8, 8, 4, 4], &udp(53));
        let message = icmp(UNREACHABLE, &original);
        assert_eq!(parse(&v4(ICMP, [8, 8, 4, 4], [8, 8, 8, 8], &message)), None);
        let message = icmp((11, 0), &original);
        assert_eq!(parse(&v4(ICMP, [8, 8, 4, 4], [8, 8, 8, 8], &message)), None);
    }

    #[test]
    fn a_datagram_is_had_from_its_refusal_where_all_of_it_is_told() {
        let datagram = |payload: &[u8]| {
            let mut datagram = udp(53);
            datagram[4..6].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
            datagram.extend(payload);
            datagram
        };
        let (four, eight) = ([8, 8, 4, 4], [8, 8, 8, 8]);
        let told = |protocol| {
            let original = v4(protocol, eight, four, &datagram(b"question"));
            v4(ICMP, four, eight, &icmp(UNREACHABLE, &original))
        };
        let packet = told(UDP);
        assert_eq!(undelivered_payload(&packet), Some(&b"question"[..]));
        assert_eq!(undelivered_payload(&told(TCP)), None);
        let original = v6(UDP, "::1", "2001:db8::1", &datagram(b"question"));
        let reply = icmp(UNREACHABLE_V6, &original);
        let six = v6(ICMPV6, "2001:db8::1", "::1", &reply);
        assert_eq!(undelivered_payload(&six), Some(&b"question"[..]));
        // One that says less of itself than there is, and ones that are cut.
        let original = v4(UDP, eight, four, &[53, 53, 0, 53, 0, 7, 0, 0, 1]);
        let short = v4(ICMP, four, eight, &icmp(UNREACHABLE, &original));
        assert_eq!(undelivered_payload(&short), None);
        for packet in [packet, six] {
            for length in 0..packet.len() {
                assert_eq!(undelivered_payload(&packet[..length]), None, "{length}");
            }
        }
    }

    #[test]
    fn no_cut_and_no_odd_packet_is_read_beyond_its_end() {
        let original = v6(UDP, "::1", "2001:db8::1", &udp(123));
        let packet = v6(
            ICMPV6,
            "2001:db8::1",
            "::1",
            &icmp(UNREACHABLE_V6, &original),
        );
        for length in 0..packet.len() - 4 {
            assert_eq!(parse(&packet[..length]), None, "{length}");
        }
        let mut packet = v4(TCP, [8, 8, 8, 8], [8, 8, 8, 8], &segment(80, 0, RST_ACK));
        for length in 0..34 {
            assert_eq!(parse(&packet[..length]), None, "{length}");
        }
        packet[0] = 0x44;
        assert_eq!(parse(&packet), None);
        packet[0] = 0x4f;
        assert_eq!(parse(&packet), None);
        // The second part of a fragmented packet.
        packet[0] = 0x45;
        packet[7] = 1;
        assert_eq!(parse(&packet), None);
    }
}
