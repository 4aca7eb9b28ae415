//! A question's bytes, and what an answer to it says: of its records only those to which the name leads.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use domain::base::iana::{Class, Rcode};
use domain::base::name::ToLabelIter;
use domain::base::{Message, ParsedName, ParsedRecord, Rtype, ToName};
use domain::rdata::{A, Aaaa, Cname};

use super::{Failure, MAX_ADDRESSES, MAX_ALIASES};
use crate::egress::name::Name;

/// The most records that are read of one answer.
const MAX_RECORDS: usize = 256;

/// A question as it goes out: one, with recursion desired, in class IN.
pub(super) fn query(id: u16, name: &Name, record: Rtype) -> Vec<u8> {
    let mut message = Vec::with_capacity(name.as_str().len() + 18);
    message.extend(id.to_be_bytes());
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.labels() {
        // A label of a Name has 63 bytes at most.
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(record.to_int().to_be_bytes());
    message.extend(Class::IN.to_int().to_be_bytes());
    message
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is none to this question.
    NotThis,
    /// The server cannot or will not tell.
    Unusable,
    /// It did not fit into a datagram.
    Cut,
    Addresses(Vec<IpAddr>),
    /// The name is an alias of this one, by so many steps, of which the server says no more.
    Alias(Name, usize),
    Nothing(Failure),
}

/// The records of one answer that matter.
type Parsed<'a> = ParsedName<&'a [u8]>;

pub(super) fn read(message: &[u8], id: u16, name: &Name, record: Rtype) -> Answer {
    let Ok(message) = Message::from_octets(message) else {
        return Answer::NotThis;
    };
    let header = message.header();
    if !header.qr() || header.id() != id {
        return Answer::NotThis;
    }
    let Ok(question) = message.sole_question() else {
        return Answer::NotThis;
    };
    if (question.qtype(), question.qclass()) != (record, Class::IN)
        || as_name(question.qname()).as_ref() != Some(name)
    {
        return Answer::NotThis;
    }
    if header.tc() {
        return Answer::Cut;
    }
    let rcode = header.rcode();
    if rcode != Rcode::NOERROR && rcode != Rcode::NXDOMAIN {
        return Answer::Unusable;
    }
    let Ok((aliases, addresses)) = records(&message, record) else {
        return Answer::Unusable;
    };
    let end = match header.ra() {
        // It has followed the aliases itself: there is no more to be had.
        true => End::Known,
        false => End::Open,
    };
    follow(question.qname(), &aliases, &addresses, rcode, end)
}

/// The aliases and the addresses of the answer section, each with its owner.
type Records<'a> = (Vec<(Parsed<'a>, Parsed<'a>)>, Vec<(Parsed<'a>, IpAddr)>);

pub(super) fn records<'a>(
    message: &'a Message<&'a [u8]>,
    record: Rtype,
) -> Result<Records<'a>, domain::base::wire::ParseError> {
    let (mut aliases, mut addresses) = (Vec::new(), Vec::new());
    for parsed in message.answer()?.take(MAX_RECORDS) {
        let parsed: ParsedRecord<'a, &'a [u8]> = parsed?;
        if parsed.class() != Class::IN {
            continue;
        }
        match parsed.rtype() {
            Rtype::CNAME => {
                if let Some(alias) = parsed.to_record::<Cname<Parsed<'a>>>()? {
                    aliases.push((parsed.owner().deref_octets(), *alias.data().cname()));
                }
            }
            kind if kind != record => {}
            Rtype::A => {
                if let Some(address) = parsed.to_record::<A>()? {
                    addresses.push((
                        parsed.owner().deref_octets(),
                        IpAddr::V4(address.data().addr()),
                    ));
                }
            }
            _ => {
                if let Some(address) = parsed.to_record::<Aaaa>()? {
                    addresses.push((
                        parsed.owner().deref_octets(),
                        IpAddr::V6(address.data().addr()),
                    ));
                }
            }
        }
    }
    Ok((aliases, addresses))
}

/// Whether an alias without an address may have one elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Known,
    Open,
}

/// From `asked` over its aliases to addresses.
fn follow(
    asked: &Parsed<'_>,
    aliases: &[(Parsed<'_>, Parsed<'_>)],
    addresses: &[(Parsed<'_>, IpAddr)],
    rcode: Rcode,
    end: End,
) -> Answer {
    let mut at = *asked;
    let mut steps = 0;
    while let Some((_, target)) = aliases.iter().find(|(owner, _)| owner.name_eq(&at)) {
        steps += 1;
        if steps > MAX_ALIASES {
            return Answer::Unusable;
        }
        at = *target;
    }
    let mut found: Vec<IpAddr> = Vec::new();
    for (owner, address) in addresses {
        if owner.name_eq(&at) && !found.contains(address) && found.len() < MAX_ADDRESSES {
            found.push(*address);
        }
    }
    if !found.is_empty() {
        return Answer::Addresses(found);
    }
    if rcode == Rcode::NXDOMAIN {
        return Answer::Nothing(Failure::NoSuchName);
    }
    match as_name(&at) {
        Some(name) if steps > 0 && end == End::Open => Answer::Alias(name, steps),
        _ => Answer::Nothing(Failure::NoAddress),
    }
}

fn as_name(name: &Parsed<'_>) -> Option<Name> {
    let labels = name.iter_labels().map(|label| label.as_slice());
    Name::from_labels(labels.filter(|label| !label.is_empty()))
}
