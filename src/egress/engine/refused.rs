//! What the kernel has refused inside, read off the watches and told.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Instant;

use nix::sys::socket::{MsgFlags, recv};

use super::{Engine, LOOKS};
use crate::egress::destination::{Asked, Protocol};
use crate::egress::journal::Wish;
use crate::egress::refusals;
use crate::egress::rules::Permitted;
use crate::egress::who::Who;
use crate::learn::Learning;

impl Engine {
    /// What who goes to `address` means.
    pub(super) fn wish(&self, protocol: Protocol, address: SocketAddr, who: Option<Who>) -> Wish {
        let meant = self.names.meant_by(&self.rules, protocol, address);
        let name = meant.as_ref().map(Permitted::name);
        let name = name.or_else(|| self.names.noted_by(address.ip()));
        Wish {
            protocol,
            asked: match name {
                Some(name) => Asked::Name(name.clone()),
                None => Asked::Address(address.ip()),
            },
            port: address.port(),
            who,
        }
    }

    pub(super) fn look_at_watches(&mut self) {
        for place in 0..self.watches.len() {
            self.look(place as u64);
        }
    }

    /// Read what the kernel has refused.
    pub(super) fn look(&mut self, place: u64) {
        let now = Instant::now();
        for _ in 0..LOOKS {
            let Some(watch) = usize::try_from(place)
                .ok()
                .and_then(|place| self.watches.get(place))
            else {
                return;
            };
            let mut packet = [0; refusals::FURTHER];
            let Ok(length) = recv(watch.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) else {
                return;
            };
            let Some(refused) = packet.get(..length).and_then(refusals::parse) else {
                continue;
            };
            let destination = refused.destination;
            let destination = SocketAddr::new(destination.ip().to_canonical(), destination.port());
            let who = match refused.protocol {
                Protocol::Tcp => self.callers.find(refused.client, destination),
                Protocol::Udp => None,
            };
            // A stand-in means its name, of which another port may be allowed.
            let wish = self.wish(refused.protocol, destination, who);
            let permits = self.rules.learns() == Some(Learning::Permitting);
            match self.rules.decide(wish.protocol, &wish.asked, wish.port) {
                Err(refusal) => self.journal.refused(&wish, &refusal, now),
                // The first that goes to a destination that is learned: nobody listened there yet.
                Ok(_) if permits => {
                    let packet = packet.get(..length).unwrap_or_default();
                    self.learn_late(&wish, refused.client, destination, packet);
                }
                // What the rules allow and the kernel refuses is a socket of the sandbox's own.
                Ok(_) => {}
            }
        }
    }
}
