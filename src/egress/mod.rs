//! Brokered egress: how a command in an empty network reaches what `--allow` names, and only that.
//!
//! The deciding and parsing half is pure: [`destination`] and [`name`] say what a destination is,
//! [`rules`] what may be reached, [`special`] which addresses no public name has.
//! [`synthetic`] gives each name a stand-in address, and [`dns`] tells the command of it.
//! Nothing here runs where a policy allows nothing.

pub mod budget;
pub mod call;
pub mod destination;
pub mod dns;
pub mod front;
pub mod lookup;
pub mod name;
pub mod publish;
pub mod rules;
pub mod sets;
pub mod sniff;
pub mod special;
pub mod synthetic;

pub(crate) mod asking;
pub(crate) mod carry;
mod datagram;
mod dial;
pub(crate) mod direct;
pub(crate) mod engine;
mod host;
mod inner;
mod journal;
mod names;
pub(crate) mod notify;
mod refusals;
mod relay;
pub(crate) mod service;
pub(crate) mod setup;
pub(crate) mod unix;
pub(crate) mod who;
