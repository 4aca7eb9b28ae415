//! What the engine does besides, where it is learned what a command reaches: listeners on demand.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

use super::Engine;
use crate::egress::destination::Protocol;
use crate::egress::journal::Wish;
use crate::egress::refusals;
use crate::egress::synthetic::OWN;
use crate::egress::who::Who;
use crate::learn::Learning;

impl Engine {
    /// The command is about to go to `address`, or has just sent something there: see to it that somebody
    /// listens there, if it may be reached.
    pub(super) fn learn(&mut self, protocol: Protocol, address: SocketAddr, who: Option<Who>) {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let own = [IpAddr::from(OWN.v4), OWN.v6.into()];
        if self.names.is_service(address) || own.contains(&address.ip()) {
            return;
        }
        let wish = self.wish(protocol, address, who);
        match self.rules.decide(protocol, &wish.asked, wish.port) {
            // A datagram's destination is wanted by whoever sends there: getaddrinfo(3) connects only to see
            // whence it would be reached.
            Err(_) if protocol == Protocol::Udp => {}
            // It is told where the kernel refuses it.
            Err(refusal) => self.journal.learn_refusal(&wish, &refusal),
            Ok(_) if self.rules.learns() == Some(Learning::Permitting) => {
                match self.names.open_at(protocol, address) {
                    Ok(Some(socket)) => self.watch_way(protocol, address, socket),
                    Ok(None) => {}
                    Err(errno) => self.journal.not_learned(&wish, errno),
                }
            }
            Ok(_) => {}
        }
    }

    /// The kernel has refused `wish`, as `packet` tells, because nobody listened there yet: it was sent
    /// without a connect. From now on somebody does, and a datagram is taken as if it came only now.
    pub(super) fn learn_late(
        &mut self,
        wish: &Wish,
        from: SocketAddr,
        destination: SocketAddr,
        packet: &[u8],
    ) {
        self.learn(wish.protocol, destination, wish.who.clone());
        if wish.protocol == Protocol::Tcp {
            return;
        }
        if let Some(datagram) = refusals::undelivered_payload(packet) {
            self.with_datagrams(|flows, around| {
                flows.take_late(from, destination, datagram, around);
            });
        }
    }
}
