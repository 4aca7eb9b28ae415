//! Brokered egress: how a command in an empty network reaches what `--allow` names, and only that.
//!
//! The deciding and parsing half is pure: [`destination`] and [`name`] say what a destination is, [`sets`]
//! what a name of several stands for, [`rules`] what may be reached, [`special`] which addresses no public
//! name has, [`budget`] how much goes there. [`synthetic`] gives each name a stand-in address, and [`dns`]
//! tells the command of it; [`lookup`] finds its addresses outside, [`sniff`] reads it in a connection's first
//! bytes, [`front`] in a proxy client's, [`call`] what a system call inside asks for. `setup` makes of rules
//! the sockets that the first process opens, and [`publish`] those outside by which the command is reached.
//!
//! The acting half is the supervisor's. `carry` has it begin, for a program that uses the library in a thread
//! (`service`). `engine` is its loop, with `names` and `asking` for the two sides of the name service, `host`,
//! `dial` and `relay` for connections, `datagram` for UDP, `inner` for the way in, `refusals`, `who` and
//! `journal` for what is told. `notify` is the thread that decides each connect(2), with `unix`; `direct` is
//! between the two. Nothing here runs where a policy allows nothing.

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
