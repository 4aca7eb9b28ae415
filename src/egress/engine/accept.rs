//! Connections are accepted, from inside and from outside, and decided on.
//!
//! Those of the proxy are decided on once they have said whom they want ([`super::proxy`]). At the bound,
//! or where the host has no descriptor left, listeners are not watched, and the kernel's queue holds the
//! rest up.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::key::Key;
use super::{Engine, Origin, REST, Target};
use crate::egress::destination::{Asked, Protocol};
use crate::egress::journal::{Inbound, Wish};
use crate::egress::relay;

/// How many connections are accepted from one listener before others get their turn.
const ACCEPTS: usize = 64;

/// Which listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Inside(u64),
    Published(u64),
    Proxy(u64),
}

/// Whether listeners are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepting {
    Yes,
    /// Not until there are fewer connections.
    Full,
    /// Not until then.
    Rests(Instant),
}

impl Engine {
    pub(super) fn accept(&mut self, gate: Gate) {
        for _ in 0..ACCEPTS {
            if self.connections() >= self.most_flows {
                self.stop_accepting(Accepting::Full);
                return;
            }
            let place = |place| usize::try_from(place).unwrap_or(usize::MAX);
            let listener = match gate {
                Gate::Inside(at) => self.listeners.get(place(at)),
                Gate::Proxy(at) => self.proxies.get(place(at)),
                Gate::Published(at) => self.published.get(place(at)).map(|(listener, _)| listener),
            };
            let Some(listener) = listener else { return };
            match listener.accept() {
                Ok((stream, peer)) => match gate {
                    Gate::Inside(_) => self.decide(stream, peer),
                    Gate::Proxy(_) => self.greet(stream),
                    Gate::Published(at) => self.let_in(stream, peer, place(at)),
                },
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                        self.stop_accepting(Accepting::Rests(Instant::now() + REST));
                        return;
                    }
                    Some(Errno::EAGAIN) | None => return,
                    // One that was gone before it was accepted.
                    Some(_) => {}
                },
            }
        }
    }

    /// A connection from inside: to where, and may it?
    pub(super) fn decide(&mut self, stream: TcpStream, peer: SocketAddr) {
        let now = Instant::now();
        let Ok(asked_for) = stream.local_addr() else {
            return;
        };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let asked_for = SocketAddr::new(asked_for.ip().to_canonical(), asked_for.port());
        if self.names.is_service(asked_for) {
            self.begin_talk(stream, now);
            return;
        }
        let (asked, target) = match self.names.meant_by(&self.rules, Protocol::Tcp, asked_for) {
            Some(name) => (Asked::Name(name.name().clone()), Target::Name(name)),
            None => (Asked::Address(asked_for.ip()), Target::Address(asked_for)),
        };
        let wish = Wish {
            protocol: Protocol::Tcp,
            asked,
            port: asked_for.port(),
            who: self.callers.find(peer, asked_for),
        };
        match self.rules.decide(wish.protocol, &wish.asked, wish.port) {
            Ok(allowed) => self.begin(stream, wish, allowed.rule, target, Origin::Plain, now),
            Err(refusal) => {
                relay::reset(stream);
                self.journal.refused(&wish, &refusal, now);
            }
        }
    }

    /// A connection from outside, to a port that is published.
    fn let_in(&mut self, stream: TcpStream, peer: SocketAddr, place: usize) {
        let publish = self.published.get(place).map(|(_, publish)| *publish);
        let (Some(publish), Ok(outside)) = (publish, stream.local_addr()) else {
            return;
        };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let wish = Wish {
            protocol: Protocol::Tcp,
            asked: Asked::Address(Ipv4Addr::LOCALHOST.into()),
            port: publish.inside,
            who: None,
        };
        let origin = Origin::Outside(Inbound { outside, peer });
        let (rule, target) = (publish.to_string().into(), Target::Inside(publish.inside));
        self.begin(stream, wish, rule, target, origin, Instant::now());
    }

    /// How many there are from inside and to it.
    fn connections(&self) -> usize {
        self.flows.len() + self.clients.len()
    }

    fn stop_accepting(&mut self, why: Accepting) {
        if self.accepting == Accepting::Yes {
            self.watch_listeners(EpollFlags::empty());
        }
        self.accepting = why;
    }

    pub(super) fn accept_again(&mut self, now: Instant) {
        let again = match self.accepting {
            Accepting::Yes => false,
            Accepting::Full => self.connections() < self.most_flows,
            Accepting::Rests(until) => now >= until,
        };
        if again {
            self.accepting = Accepting::Yes;
            self.watch_listeners(EpollFlags::EPOLLIN);
        }
    }

    fn watch_listeners(&self, interest: EpollFlags) {
        let inside = (0..).zip(&self.listeners);
        let inside = inside.map(|(place, listener)| (Key::Listener(place), listener));
        let outside = (0..).zip(&self.published);
        let outside = outside.map(|(place, (listener, _))| (Key::Published(place), listener));
        let proxies = (0..).zip(&self.proxies);
        let proxies = proxies.map(|(place, listener)| (Key::Proxy(place), listener));
        for (key, listener) in inside.chain(outside).chain(proxies) {
            let mut event = EpollEvent::new(interest, key.to_data());
            // It fails only for what is not watched, and each of them is.
            let _ = self.epoll.modify(listener, &mut event);
        }
    }
}
