//! A stand-in address for each name: by it the supervisor knows which *name* a connection is for.
//!
//! Pure. Number N of the names is 198.18.0.0 + N (a block for benchmarks, RFC 2544, that no host has) and
//! N of a unique local prefix. A name keeps its address as long as the sandbox lives, and an address is
//! never given to a second name, so a connection cannot mean another name than the one looked up.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::name::Name;
use super::rules::Permitted;

/// The stand-in addresses of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Of 198.18.0.0/15.
    pub v4: Ipv4Addr,
    /// Of fd73:616e:6462:6f78::/64.
    pub v6: Ipv6Addr,
}

/// A part of both blocks.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// The second byte of its IPv4 addresses.
    v4: u8,
    /// The last segment but one of those of IPv6.
    v6: u16,
}

/// Where the names are that are permitted.
const PERMITTED: Part = Part { v4: 18, v6: 0 };
/// Where those are that are only noted.
const NOTED: Part = Part { v4: 19, v6: 1 };

impl Part {
    const fn pair(self, number: u16) -> Pair {
        let [high, low] = number.to_be_bytes();
        Pair {
            v4: Ipv4Addr::new(198, self.v4, high, low),
            v6: Ipv6Addr::new(0xfd73, 0x616e, 0x6462, 0x6f78, 0, 0, self.v6, number),
        }
    }

    /// The number whose pair has `address`.
    fn number(self, address: IpAddr) -> Option<u16> {
        let (number, of_it): (u16, fn(Pair) -> IpAddr) = match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [.., high, low] = v4.octets();
                (u16::from_be_bytes([high, low]), |pair| pair.v4.into())
            }
            IpAddr::V6(v6) => {
                let [.., number] = v6.segments();
                (number, |pair| pair.v6.into())
            }
        };
        (of_it(self.pair(number)) == address.to_canonical()).then_some(number)
    }
}

/// What no name has: the sandbox's own.
pub const OWN: Pair = PERMITTED.pair(1);

/// The first name's number; those before are for services of ours.
const FIRST: u16 = 16;

/// The most names that get an address. A program may look up any number of names below `*.HOST`; what it
/// costs us ends here.
pub const MAX_NAMES: usize = 4096;

/// What has a number so far, in order, and the number of each name.
#[derive(Clone, Debug)]
struct Numbered<T> {
    part: Part,
    all: Vec<T>,
    numbers: BTreeMap<Name, u16>,
}

impl<T: Clone> Numbered<T> {
    const fn new(part: Part) -> Self {
        Self {
            part,
            all: Vec::new(),
            numbers: BTreeMap::new(),
        }
    }

    fn pair(&self, name: &Name) -> Option<Pair> {
        let number = self.numbers.get(name).copied();
        number.map(|number| self.part.pair(number))
    }

    fn assign(&mut self, name: &Name, one: &T) -> Option<Pair> {
        if let Some(pair) = self.pair(name) {
            return Some(pair);
        }
        if self.all.len() >= MAX_NAMES {
            return None;
        }
        let number = u16::try_from(self.all.len()).ok()?.checked_add(FIRST)?;
        self.all.push(one.clone());
        self.numbers.insert(name.clone(), number);
        Some(self.part.pair(number))
    }

    fn at(&self, address: IpAddr) -> Option<&T> {
        let number = self.part.number(address)?;
        self.all.get(usize::from(number.checked_sub(FIRST)?))
    }
}

/// The names that have an address so far.
#[derive(Clone, Debug)]
pub struct Synthetic {
    names: Numbered<Permitted>,
    /// Names that are not permitted, and only noted.
    noted: Numbered<Name>,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            names: Numbered::new(PERMITTED),
            noted: Numbered::new(NOTED),
        }
    }
}

impl Synthetic {
    /// The addresses of `name`: the same each time. `None` when there are none left for a new one.
    pub fn assign(&mut self, name: &Permitted) -> Option<Pair> {
        self.names.assign(name.name(), name)
    }

    /// The addresses that `name` has already.
    #[must_use]
    pub fn pair(&self, name: &Name) -> Option<Pair> {
        self.names.pair(name)
    }

    /// The name for which `address` stands.
    #[must_use]
    pub fn name(&self, address: IpAddr) -> Option<&Permitted> {
        self.names.at(address)
    }

    /// Addresses for a name that is refused, so that it is learned which port of it is wanted. Nothing
    /// listens there, and it never becomes a [`Permitted`]. `None` when there are none left.
    pub fn note(&mut self, name: &Name) -> Option<Pair> {
        self.noted.assign(name, name)
    }

    /// The refused name for which `address` stands.
    #[must_use]
    pub fn noted(&self, address: IpAddr) -> Option<&Name> {
        self.noted.at(address)
    }

    /// How many names have an address.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.all.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::rules::tests::rules;
    use crate::egress::special;

    fn permitted(name: &str) -> Permitted {
        let rules = rules(&["*.example:1"], &[]);
        rules.permit(&Name::parse(name).unwrap()).unwrap()
    }

    #[test]
    fn names_and_addresses_stand_for_each_other_up_to_the_last() {
        let mut synthetic = Synthetic::default();
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..MAX_NAMES {
            let name = permitted(&format!("n{number}.example"));
            let pair = synthetic.assign(&name).unwrap();
            assert!(seen.insert(pair.v4) && pair != OWN);
            for address in [
                IpAddr::from(pair.v4),
                pair.v4.to_ipv6_mapped().into(),
                pair.v6.into(),
            ] {
                assert_eq!(synthetic.name(address), Some(&name));
                let block = special::block(address).unwrap();
                assert_eq!(block.opened, special::Opened::Never, "{address}");
            }
            assert_eq!(synthetic.assign(&name), Some(pair));
        }
        assert_eq!(synthetic.len(), MAX_NAMES);
        assert_eq!(synthetic.assign(&permitted("more.example")), None);
        assert!(synthetic.assign(&permitted("n7.example")).is_some());
    }

    #[test]
    fn a_name_that_is_only_noted_never_stands_for_one_that_is_permitted() {
        let mut synthetic = Synthetic::default();
        let permitted = permitted("a.example");
        let pair = synthetic.assign(&permitted).unwrap();
        let name = Name::parse("b.example").unwrap();
        let noted = synthetic.note(&name).unwrap();
        assert_eq!(synthetic.note(&name), Some(noted));
        for address in [IpAddr::from(noted.v4), noted.v6.into()] {
            assert_eq!(synthetic.noted(address), Some(&name));
            assert_eq!(synthetic.name(address), None);
            let block = special::block(address).unwrap();
            assert_eq!(block.opened, special::Opened::Never, "{address}");
        }
        for address in [IpAddr::from(pair.v4), pair.v6.into()] {
            assert_eq!(synthetic.noted(address), None);
        }
        for number in 1..MAX_NAMES {
            let name = Name::parse(&format!("n{number}.example")).unwrap();
            assert!(synthetic.note(&name).is_some());
        }
        assert_eq!(synthetic.note(&Name::parse("more.example").unwrap()), None);
    }

    #[test]
    fn an_address_that_was_not_given_stands_for_nothing() {
        let mut synthetic = Synthetic::default();
        synthetic.assign(&permitted("a.example"));
        for address in [
            "198.18.0.0",
            "198.18.0.1",
            "198.18.0.15",
            "198.18.0.17",
            "198.19.0.16",
            "198.18.255.255",
            "10.0.0.16",
            "::10",
            "fd73:616e:6462:6f78::",
            "fd73:616e:6462:6f78::1",
            "fd73:616e:6462:6f78:1::10",
            "fd73:616e:6462:6f79::10",
        ] {
            assert_eq!(synthetic.name(address.parse().unwrap()), None, "{address}");
        }
        assert!(synthetic.name("198.18.0.16".parse().unwrap()).is_some());
    }
}
