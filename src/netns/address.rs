//! Addresses of links, both families (rtnetlink(7), `RTM_*ADDR`).
#![forbid(unsafe_code)]

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use serde::Serialize;

use super::netlink::{Connection, Request};
use crate::error::Result;

/// Give the link with index `link` the address and prefix of `address`.
///
/// An address of IPv6 is good at once: duplicates are not looked for, as there is nobody to have it yet
/// in a network that is just being made.
#[must_use]
pub fn add(link: u32, address: IpNet) -> Request {
    let mut message = message(link, address);
    if let IpNet::V4(network) = address
        && network.prefix_len() < 31
    {
        let broadcast = AddressAttribute::Broadcast(network.broadcast());
        message.attributes.push(broadcast);
    }
    if let IpNet::V6(_) = address {
        message.header.flags = AddressHeaderFlags::Nodad;
        let flags = AddressAttribute::Flags(AddressFlags::Nodad);
        message.attributes.push(flags);
    }
    let message = RouteNetlinkMessage::NewAddress(message);
    let object = format!("{address} to link {link}");
    Request::new(
        message,
        NLM_F_CREATE | NLM_F_EXCL,
        "add the address",
        object,
    )
}

/// Take `address` away from the link with index `link`.
#[must_use]
pub fn delete(link: u32, address: IpNet) -> Request {
    let message = RouteNetlinkMessage::DelAddress(message(link, address));
    let object = format!("{address} from link {link}");
    Request::new(message, 0, "delete the address", object)
}

/// As [`add`], content with an address that is there already.
#[must_use]
pub fn ensure(link: u32, address: IpNet) -> Request {
    add(link, address).content_with(Errno::EEXIST)
}

fn message(link: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(&address.addr());
    message.header.prefix_len = address.prefix_len();
    message.header.index = link;
    if address.addr().is_loopback() {
        message.header.scope = AddressScope::Host;
    }
    message.attributes = vec![
        AddressAttribute::Local(address.addr()),
        AddressAttribute::Address(address.addr()),
    ];
    message
}

/// The family of an address, as the kernel calls it.
pub(super) const fn family(address: &IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// An address that there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Address {
    /// The index of the link that has it.
    pub link: u32,
    /// The address with the length of its prefix.
    #[serde(serialize_with = "as_text")]
    pub address: IpNet,
    /// How far it means something: `global`, `site`, `link`, `host`.
    pub scope: String,
    /// Whether it cannot be used yet, because duplicates are looked for still.
    pub tentative: bool,
}

pub(super) fn as_text<S: serde::Serializer>(
    value: &impl std::fmt::Display,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Address {
    fn of_message(message: &AddressMessage) -> Option<Self> {
        let mut local = None;
        let mut tentative = message.header.flags.contains(AddressHeaderFlags::Tentative);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => local = Some(*address),
                AddressAttribute::Address(address) => local = local.or(Some(*address)),
                AddressAttribute::Flags(flags) => {
                    tentative |= flags.contains(AddressFlags::Tentative);
                }
                _ => {}
            }
        }
        // Of a point-to-point link, the one called local is our own.
        for attribute in &message.attributes {
            if let AddressAttribute::Local(address) = attribute {
                local = Some(*address);
            }
        }
        let scope = match message.header.scope {
            AddressScope::Universe => "global".to_owned(),
            AddressScope::Site => "site".to_owned(),
            AddressScope::Link => "link".to_owned(),
            AddressScope::Host => "host".to_owned(),
            other => u8::from(other).to_string(),
        };
        Some(Self {
            link: message.header.index,
            address: IpNet::new(local?, message.header.prefix_len).ok()?,
            scope,
            tentative,
        })
    }
}

impl Connection {
    /// Every address of every link.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let found = self.list(message, "list addresses")?;
        Ok(found
            .iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewAddress(address) => Address::of_message(address),
                _ => None,
            })
            .collect())
    }
}
