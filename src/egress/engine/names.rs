//! The clients of the sandbox's name service, and the listeners that an answer needs.
//!
//! What is answered is decided by [`Names`](crate::egress::names::Names); a name that is learned is looked up
//! first ([`super::inquiry`]).
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::sys::epoll::{EpollEvent, EpollFlags};
use tracing::debug;

use super::accept::Accepting;
use super::inquiry::Asker;
use super::key::Key;
use super::{Engine, LOOKS};
use crate::egress::destination::Protocol;
use crate::egress::names::Reply;

impl Engine {
    /// A client of the name service by TCP.
    pub(super) fn begin_talk(&mut self, stream: TcpStream, now: Instant) {
        let number = self.new_number();
        // As long as there is something to read: only some of it is taken at a time.
        let event = EpollEvent::new(EpollFlags::EPOLLIN, Key::Talk(number).to_data());
        if self.epoll.add(&stream, event).is_ok() {
            self.names.begin_talk(number, stream, now);
        }
    }

    pub(super) fn talk(&mut self, number: u64) {
        self.names.read_stream(number);
        while let Some(reply) = self.names.hear_stream(number, &self.rules) {
            self.answer_name(Asker::Stream(number), reply);
        }
    }

    pub(super) fn answer_datagrams(&mut self, place: u64) {
        for _ in 0..LOOKS {
            let Some((peer, reply)) = self.names.hear_datagram(place, &self.rules) else {
                return;
            };
            self.answer_name(Asker::Datagram(place, peer), reply);
        }
    }

    /// Before a name is answered, its listeners are there; a refused one is told.
    pub(super) fn tell_and_listen(&mut self, reply: Reply) -> Vec<u8> {
        if let Some(refused) = &reply.refused {
            self.journal.refused_name(refused, Instant::now());
        }
        if let Some(name) = reply.named.filter(|_| self.journal.learns()) {
            self.journal.learn_name(&name.to_string());
        }
        for (protocol, address, socket) in reply.sockets {
            self.watch_way(protocol, address, socket);
        }
        reply.message
    }

    /// Take what comes to `socket`, which has just been bound to `address` inside.
    pub(super) fn watch_way(&mut self, protocol: Protocol, address: SocketAddr, socket: OwnedFd) {
        if protocol == Protocol::Udp {
            let key = Key::Datagrams(self.datagrams.inlets());
            let event = EpollEvent::new(EpollFlags::EPOLLIN, key.to_data());
            if self.epoll.add(&socket, event).is_ok() {
                self.datagrams.add_inlet(socket, address);
            }
            return;
        }
        let place = self.listeners.len() as u64;
        let interest = match self.accepting {
            Accepting::Yes => EpollFlags::EPOLLIN,
            _ => EpollFlags::empty(),
        };
        let event = EpollEvent::new(interest, Key::Listener(place).to_data());
        if self.epoll.add(&socket, event).is_ok() {
            debug!(%address, "listens for a name");
            self.listeners.push(TcpListener::from(socket));
        }
    }
}
