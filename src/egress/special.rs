//! Addresses that a public name has no business to resolve to: a table, and what opens each block.
//!
//! Pure data and a look-up. After the registries of special-purpose addresses (RFC 6890 and its updates),
//! with the addresses at which clouds serve a machine's credentials. An address of these is reached only
//! where a rule names the address, or a network *within* its block: `0.0.0.0/0:80` does not open
//! 127.0.0.1, and 169.254.0.0/16 does not open the metadata service.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// One block of such addresses.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The addresses.
    pub network: IpNet,
    /// What they are, as in "10.0.0.1 is an address of a private network".
    pub kind: &'static str,
    /// What opens them.
    pub opened: Opened,
}

/// What opens a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A rule for an address or network within it.
    ByAddress,
    /// Nothing: there is nobody to reach, or it is a roundabout spelling of another address.
    Never,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits))
}

const fn v6(head: [u16; 4], tail: [u16; 4], bits: u8) -> IpNet {
    let [a, b, c, d] = head;
    let [e, f, g, h] = tail;
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(a, b, c, d, e, f, g, h),
        bits,
    ))
}

macro_rules! blocks {
    ($($opened:ident $network:expr, $kind:literal;)*) => {
        /// Every block; a block within another stands before it.
        pub static BLOCKS: &[Block] = &[$(Block {
            network: $network,
            kind: $kind,
            opened: Opened::$opened,
        },)*];
    };
}

const NONE: [u16; 4] = [0; 4];

blocks! {
    ByAddress v4(169, 254, 169, 254, 32), "a cloud's metadata service";
    ByAddress v4(169, 254, 170, 2, 32), "a cloud's credentials service";
    ByAddress v4(169, 254, 170, 23, 32), "a cloud's credentials service";
    ByAddress v4(100, 100, 100, 200, 32), "a cloud's metadata service";
    ByAddress v4(192, 0, 0, 192, 32), "a cloud's metadata service";
    ByAddress v4(168, 63, 129, 16, 32), "a cloud's host service";
    ByAddress v6([0xfd00, 0x0ec2, 0, 0], [0, 0, 0, 0x254], 128), "a cloud's metadata service";
    ByAddress v6([0xfd20, 0x00ce, 0, 0], [0, 0, 0, 0x254], 128), "a cloud's metadata service";

    Never v4(0, 0, 0, 0, 8), "no host's address";
    ByAddress v4(10, 0, 0, 0, 8), "an address of a private network";
    ByAddress v4(100, 64, 0, 0, 10), "an address of a provider's private network";
    ByAddress v4(127, 0, 0, 0, 8), "the host's own loopback";
    ByAddress v4(169, 254, 0, 0, 16), "a link-local address";
    ByAddress v4(172, 16, 0, 0, 12), "an address of a private network";
    ByAddress v4(192, 0, 0, 0, 24), "an address of the protocols themselves";
    ByAddress v4(192, 0, 2, 0, 24), "an address for documents";
    ByAddress v4(192, 88, 99, 0, 24), "a relay to IPv6";
    ByAddress v4(192, 168, 0, 0, 16), "an address of a private network";
    Never v4(198, 18, 0, 0, 15), "a stand-in for a name inside sandboxes";
    ByAddress v4(198, 51, 100, 0, 24), "an address for documents";
    ByAddress v4(203, 0, 113, 0, 24), "an address for documents";
    ByAddress v4(224, 0, 0, 0, 4), "a multicast address";
    Never v4(255, 255, 255, 255, 32), "the broadcast address";
    ByAddress v4(240, 0, 0, 0, 4), "a reserved address";

    ByAddress v6(NONE, [0, 0, 0, 1], 128), "the host's own loopback";
    Never v6([0, 0, 0, 0], [0, 0xffff, 0, 0], 96), "an IPv4 address in another spelling";
    Never v6(NONE, NONE, 96), "no host's address";
    ByAddress v6([0x64, 0xff9b, 1, 0], NONE, 48), "an address of a private network";
    ByAddress v6([0x100, 0, 0, 0], NONE, 64), "an address that discards all";
    ByAddress v6([0x2001, 0, 0, 0], NONE, 32), "a tunnel to an IPv4 address";
    ByAddress v6([0x2001, 0, 0, 0], NONE, 23), "an address of the protocols themselves";
    ByAddress v6([0x2001, 0xdb8, 0, 0], NONE, 32), "an address for documents";
    ByAddress v6([0x2002, 0, 0, 0], NONE, 16), "a tunnel to an IPv4 address";
    ByAddress v6([0x3fff, 0, 0, 0], NONE, 20), "an address for documents";
    Never v6([0xfd73, 0x616e, 0x6462, 0x6f78], NONE, 64), "a stand-in for a name inside sandboxes";
    ByAddress v6([0xfc00, 0, 0, 0], NONE, 7), "an address of a private network";
    ByAddress v6([0xfe80, 0, 0, 0], NONE, 10), "a link-local address";
    ByAddress v6([0xfec0, 0, 0, 0], NONE, 10), "a site-local address";
    ByAddress v6([0xff00, 0, 0, 0], NONE, 8), "a multicast address";
}

/// NAT64 (RFC 6052): the IPv4 address is the last 32 bits. Networks with IPv6 alone reach everything so.
const NAT64: IpNet = v6([0x64, 0xff9b, 0, 0], NONE, 96);
/// What a translator would reach behind it, where that is itself of a block.
static TRANSLATED: Block = Block {
    network: NAT64,
    kind: "a translation of a special IPv4 address",
    opened: Opened::Never,
};
/// All unicast addresses given out so far; the rest of IPv6 is reserved.
const GLOBAL: IpNet = v6([0x2000, 0, 0, 0], NONE, 3);
static RESERVED: Block = Block {
    network: v6(NONE, NONE, 0),
    kind: "a reserved address",
    opened: Opened::ByAddress,
};

/// The IPv4 address that a translator reaches for `address`.
#[must_use]
pub fn behind_translator(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V6(v6) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = v6.octets();
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        _ => None,
    }
}

/// The block of `address`; `None` for one that any name may resolve to.
#[must_use]
pub fn block(address: IpAddr) -> Option<&'static Block> {
    let address = address.to_canonical();
    if let Some(inner) = behind_translator(address) {
        return block(inner).map(|_| &TRANSLATED);
    }
    let known = BLOCKS.iter().find(|block| block.network.contains(&address));
    match known {
        None if address.is_ipv6() && !GLOBAL.contains(&address) => Some(&RESERVED),
        known => known,
    }
}

/// Whether a rule for `network` opens `address`, which lies in it.
#[must_use]
pub fn opens(network: &IpNet, address: IpAddr) -> bool {
    match block(address) {
        None => true,
        // Not one block but what is left over: any network without the rest of IPv6 in it.
        Some(block) if *block == RESERVED => !network.contains(&GLOBAL),
        Some(block) => block.opened == Opened::ByAddress && block.network.contains(network),
    }
}

/// The block that makes a rule for `network` match nothing at all.
#[must_use]
pub fn closed_for_ever(network: &IpNet) -> Option<&'static Block> {
    let within = |block: &&Block| block.network.contains(network);
    let first = BLOCKS.iter().find(within);
    first.filter(|block| block.opened == Opened::Never)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(address: &str) -> Option<&'static str> {
        block(address.parse().unwrap()).map(|block| block.kind)
    }

    #[test]
    fn a_block_within_another_stands_before_it() {
        for (position, inner) in BLOCKS.iter().enumerate() {
            for outer in BLOCKS.iter().take(position) {
                assert!(
                    !outer.network.contains(&inner.network),
                    "{inner:?} is never found"
                );
            }
            assert_eq!(inner.network.trunc(), inner.network, "{inner:?}");
        }
    }

    #[test]
    fn public_addresses_are_of_no_block() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "93.184.215.14",
            "100.63.255.255",
            "126.0.0.1",
            "128.0.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.167.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:2800::1",
            "2a00::1",
            "64:ff9b::1.1.1.1",
            "::ffff:1.1.1.1",
            "2620:fe::fe",
        ] {
            assert_eq!(kind(address), None, "{address}");
        }
    }

    #[test]
    fn addresses_that_rebinding_aims_at_are_of_a_block() {
        for (address, words) in [
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("0.0.0.0", "no host's"),
            ("0.1.2.3", "no host's"),
            ("::", "no host's"),
            ("::127.0.0.1", "no host's"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("::ffff:192.168.1.1", "private"),
            ("100.64.0.1", "provider"),
            ("169.254.1.1", "link-local"),
            ("169.254.169.254", "metadata"),
            ("::ffff:169.254.169.254", "metadata"),
            ("fd00:ec2::254", "metadata"),
            ("64:ff9b::169.254.169.254", "translation"),
            ("64:ff9b::7f00:1", "translation"),
            ("64:ff9b:1::1", "private"),
            ("2002:7f00:1::", "tunnel"),
            ("2001::1", "tunnel"),
            ("198.18.0.5", "stand-in"),
            ("fd73:616e:6462:6f78::5", "stand-in"),
            ("fd12::1", "private"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("224.0.0.251", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("250.1.1.1", "reserved"),
            ("4000::1", "reserved"),
        ] {
            let kind = kind(address).unwrap_or("none");
            assert!(kind.contains(words), "{address}: {kind}");
        }
    }

    #[test]
    fn only_a_rule_within_a_block_opens_it() {
        for (network, address, open) in [
            ("0.0.0.0/0", "1.1.1.1", true),
            ("0.0.0.0/0", "127.0.0.1", false),
            ("0.0.0.0/0", "169.254.169.254", false),
            ("127.0.0.0/8", "127.0.0.1", true),
            ("127.0.0.1/32", "127.0.0.1", true),
            ("126.0.0.0/7", "127.0.0.1", false),
            ("169.254.0.0/16", "169.254.1.1", true),
            ("169.254.0.0/16", "169.254.169.254", false),
            ("169.254.169.254/32", "169.254.169.254", true),
            ("198.18.0.5/32", "198.18.0.5", false),
            ("0.0.0.0/32", "0.0.0.0", false),
            ("::/0", "::1", false),
            ("::1/128", "::1", true),
            ("fc00::/7", "fd00::1", true),
            ("fc00::/7", "fd73:616e:6462:6f78::5", false),
            ("64:ff9b::/96", "64:ff9b::7f00:1", false),
            ("4000::/8", "4000::1", true),
            ("::/0", "4000::1", false),
        ] {
            let network: IpNet = network.parse().unwrap();
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(opens(&network, address), open, "{network} {address}");
        }
    }
}
