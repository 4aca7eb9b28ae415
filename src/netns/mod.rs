//! Network namespaces and what is in them: names, links, addresses, routes, firewalls.
//!
//! Runs in whatever process asks, which never leaves its own namespaces: what has to be done inside
//! another one is a system call of a process made for it ([`crate::sys`]), or a request on a netlink
//! socket that was opened there (rtnetlink(7)).
//!
//! Requests are values, made by pure functions ([`link`], [`address`], [`route`], [`traffic`]);
//! [`Connection::perform`] sends them, many at a time. Undoing is left to the caller, as is deciding
//! what there should be: a network namespace takes all that is in it along when it ends.
//!
//! ```no_run
//! use sandbox::netns::{Namespace, address, link};
//!
//! # fn main() -> sandbox::Result<()> {
//! let (one, other) = (Namespace::make()?, Namespace::make()?);
//! let pair = link::NewLink::veth("veth0".parse()?, "veth1".parse()?).peer_in(&other);
//! let mut network = one.connect()?;
//! network.perform(&[pair.request()])?;
//! let veth0 = network.index_of(&"veth0".parse()?)?;
//! network.perform(&[address::add(veth0, "10.1.1.1/24".parse().expect("an address"))])
//! # }
//! ```

pub mod address;
pub mod files;
pub mod firewall;
pub mod handle;
mod holder;
pub mod link;
pub mod monitor;
pub mod name;
pub mod named;
pub mod nat;
pub mod netlink;
pub mod nft;
pub mod ping;
pub mod route;
pub mod sysctl;
pub mod traffic;
pub mod tunnel;
pub mod unconfined;
pub mod user;

pub use firewall::Firewall;
pub use handle::{Namespace, Reference};
pub use link::Mac;
pub use name::{LinkName, NamespaceName};
pub use netlink::{Connection, Request};
