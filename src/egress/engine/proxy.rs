//! The proxy's clients, from the first byte until they have said whom they want.
//!
//! What they say is read by [`front`]; what is not understood yet stays in the
//! socket.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use nix::sys::epoll::EpollEvent;

use super::flow::dismiss;
use super::key::{EDGES, Key};
use super::{Engine, Origin, Target};
use crate::egress::destination::{Asked, Protocol};
use crate::egress::front::{self, Front, Turn};
use crate::egress::journal::Wish;
use crate::policy::Inspect;

/// A client of the proxy that has asked for something.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) front: Front,
    /// What is to be sent to the destination first.
    pub(super) head: Vec<u8>,
    pub(super) answered: bool,
    /// What it is told where nothing comes of it.
    pub(super) otherwise: front::Outcome,
}

/// One that has not asked yet.
#[derive(Debug)]
pub(super) struct Asks {
    pub(super) stream: TcpStream,
    pub(super) front: Front,
    pub(super) began: Instant,
}

impl Engine {
    /// A client of the proxy.
    pub(super) fn greet(&mut self, stream: TcpStream) {
        let number = self.new_number();
        let event = EpollEvent::new(EDGES, Key::Client(number).to_data());
        if stream.set_nonblocking(true).is_err() || self.epoll.add(&stream, event).is_err() {
            return;
        }
        let asks = Asks {
            stream,
            front: Front::default(),
            began: Instant::now(),
        };
        self.clients.insert(number, asks);
        self.listen_to(number);
    }

    /// Go on with what a client of the proxy says. What is not understood yet stays in its socket.
    pub(super) fn listen_to(&mut self, number: u64) {
        let Some(mut client) = self.clients.remove(&number) else {
            return;
        };
        let mut bytes = vec![0; front::MOST];
        loop {
            let length = match client.stream.peek(&mut bytes) {
                Ok(length @ 1..) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.clients.insert(number, client);
                    return;
                }
                Ok(_) | Err(_) => return,
            };
            let (asked, port, read, head) =
                match client.front.read(bytes.get(..length).unwrap_or_default()) {
                    Turn::More => {
                        self.clients.insert(number, client);
                        return;
                    }
                    Turn::End(farewell) => {
                        dismiss(&client.stream, &farewell);
                        return;
                    }
                    Turn::Send { reply, read } => {
                        // Who does not take two bytes is not waited for.
                        let taken = take_off(&client.stream, read);
                        if !taken || (&client.stream).write_all(&reply).is_err() {
                            return;
                        }
                        continue;
                    }
                    Turn::Asks { asked, port, read } => (asked, port, read, Vec::new()),
                    Turn::Requests {
                        asked,
                        port,
                        read,
                        head,
                    } => (asked, port, read, head),
                };
            if take_off(&client.stream, read) {
                self.ask_for(client, asked, port, head);
            }
            return;
        }
    }

    /// A client of the proxy has said whom it wants: may it?
    fn ask_for(&mut self, asks: Asks, asked: Asked, port: u16, head: Vec<u8>) {
        let now = Instant::now();
        let Asks { stream, front, .. } = asks;
        // It may have asked the name service itself.
        let meant = match asked {
            Asked::Name(_) => None,
            Asked::Address(ip) => {
                let address = SocketAddr::new(ip, port);
                self.names.meant_by(&self.rules, Protocol::Tcp, address)
            }
        };
        let asked = meant.map_or(asked, |name| Asked::Name(name.name().clone()));
        let target = match &asked {
            Asked::Name(name) => self.rules.permit(name).map(Target::Name),
            Asked::Address(ip) => Some(Target::Address(SocketAddr::new(*ip, port))),
        };
        let wish = Wish {
            protocol: Protocol::Tcp,
            asked,
            port,
            who: match (stream.peer_addr(), stream.local_addr()) {
                (Ok(peer), Ok(here)) => self.callers.find(peer, here),
                _ => None,
            },
        };
        let verdict = self.rules.decide(wish.protocol, &wish.asked, wish.port);
        let (allowed, target) = match (verdict, target) {
            (Ok(allowed), Some(target)) => (allowed, target),
            (Err(refusal), _) => {
                self.journal.refused(&wish, &refusal, now);
                dismiss(&stream, &front.answer(front::Outcome::Refused));
                return;
            }
            // What is allowed is permitted.
            (Ok(_), None) => return,
        };
        let mut client = Client {
            front,
            head,
            answered: false,
            otherwise: front::Outcome::Unreachable,
        };
        // It says nothing to the destination before it is told that this is reached; and of a request the
        // head is ours.
        let inspected = self.inspect == Inspect::Yes && client.head.is_empty();
        if inspected
            && matches!(target, Target::Name(_))
            && !client.answer(&stream, front::Outcome::Connected)
        {
            return;
        }
        // Watched anew, as what it is now.
        let _ = self.epoll.delete(&stream);
        let origin = Origin::Proxy(Box::new(client));
        self.begin(stream, wish, allowed.rule, target, origin, now);
    }
}

impl Client {
    /// Tell it the outcome; whether it takes that.
    pub(super) fn answer(&mut self, mut stream: &TcpStream, outcome: front::Outcome) -> bool {
        self.answered = true;
        stream.write_all(&self.front.answer(outcome)).is_ok()
    }

    /// Its destination is reached.
    pub(super) fn begin(&mut self, inside: &TcpStream) -> bool {
        self.answered || self.answer(inside, front::Outcome::Connected)
    }
}

/// Take `count` bytes that are there off `stream`.
fn take_off(mut stream: &TcpStream, count: usize) -> bool {
    stream.read_exact(&mut vec![0; count]).is_ok()
}
