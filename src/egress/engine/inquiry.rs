//! Names that are learned are looked up outside before they are answered inside.
//!
//! Where names are listed, what is not on the list does not exist. While they are learned, any could be:
//! without asking, the first of a search list would always be the one, and a program would never hear
//! that a name is not there. What is found is only whether it is; a connection looks it up anew.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Instant;

use nix::sys::epoll::EpollEvent;
use nix::sys::socket::SockaddrStorage;

use super::{EDGES, Engine, Key};
use crate::egress::asking::{Asking, Progress};
use crate::egress::dns;
use crate::egress::lookup::Failure;
use crate::egress::name::Name;
use crate::egress::names::Reply;
use crate::learn::Learning;

/// How many names are looked up at a time; more are answered as if they were there.
const MOST: usize = 64;
/// How many answers wait for one.
const MOST_WAITING: usize = 16;
/// How many names are remembered.
const MOST_KNOWN: usize = 4096;

/// Who waits for an answer of the name service.
#[derive(Debug)]
pub(super) enum Asker {
    /// At this socket, who sends from there.
    Datagram(u64, SockaddrStorage),
    Stream(u64),
}

#[derive(Debug)]
struct Inquiry {
    name: Name,
    asking: Asking,
    waiting: Vec<(Asker, Reply)>,
    /// When it is looked at again.
    timer: Instant,
}

/// The look-ups under way, and what was found.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    under_way: BTreeMap<u64, Inquiry>,
    known: BTreeMap<Name, Result<(), Failure>>,
}

impl Inquiries {
    /// When one has something to do even if nothing becomes readable.
    pub(super) fn next(&self) -> Option<Instant> {
        self.under_way.values().map(|inquiry| inquiry.timer).min()
    }
}

impl Engine {
    /// Answer `client`, at once or when it is known whether what it asks for is there.
    pub(super) fn answer_name(&mut self, client: Asker, reply: Reply) {
        let Some(name) = reply.named.clone().filter(|name| self.is_learned(name)) else {
            self.answer(client, reply);
            return;
        };
        if let Some(found) = self.inquiries.known.get(&name) {
            let found = *found;
            self.answer(client, as_found(reply, found));
            return;
        }
        let mut under_way = self.inquiries.under_way.values_mut();
        if let Some(inquiry) = under_way.find(|inquiry| inquiry.name == name) {
            // Who asks again is answered once more, and who asks too often is not.
            if inquiry.waiting.len() < MOST_WAITING {
                inquiry.waiting.push((client, reply));
            }
            return;
        }
        let permitted = self.rules.permit(&name);
        let Some(permitted) = permitted.filter(|_| self.inquiries.under_way.len() < MOST) else {
            self.answer(client, reply);
            return;
        };
        let known = self.resolution.hosts.addresses(&name);
        let inquiry = Inquiry {
            asking: Asking::new(&permitted, &self.resolution.settings, known),
            name,
            waiting: vec![(client, reply)],
            timer: Instant::now(),
        };
        let number = self.new_number();
        self.inquiries.under_way.insert(number, inquiry);
        self.inquire(number, Instant::now());
    }

    /// Whether `name` is permitted only because it is learned.
    fn is_learned(&self, name: &Name) -> bool {
        self.rules.learns() == Some(Learning::Permitting) && !self.rules.allows_expressly(name)
    }

    fn answer(&mut self, client: Asker, reply: Reply) {
        let made = self.tell_and_listen(reply);
        match client {
            Asker::Datagram(place, peer) => self.names.answer_datagram(place, peer, &made),
            Asker::Stream(number) => self.names.answer_stream(number, &made),
        }
    }

    /// Go on with a look-up.
    pub(super) fn inquire(&mut self, number: u64, now: Instant) {
        let Some(inquiry) = self.inquiries.under_way.get_mut(&number) else {
            return;
        };
        let (epoll, resolution) = (&self.epoll, &mut self.resolution);
        let progress = inquiry.asking.advance(
            now,
            || resolution.random(),
            |socket| {
                let event = EpollEvent::new(EDGES, Key::Inquiry(number).to_data());
                // Without it the question is given up when its time is over.
                let _ = epoll.add(socket, event);
            },
        );
        let found = match progress {
            Progress::Waits(until) => {
                inquiry.timer = until;
                return;
            }
            Progress::Over(found) => found.map(drop),
        };
        let Some(inquiry) = self.inquiries.under_way.remove(&number) else {
            return;
        };
        // Servers that are silent now may answer later.
        let lasts = found != Err(Failure::NoAnswer);
        if lasts && self.inquiries.known.len() < MOST_KNOWN {
            self.inquiries.known.insert(inquiry.name, found);
        }
        for (client, reply) in inquiry.waiting {
            self.answer(client, as_found(reply, found));
        }
    }

    /// Go on with those whose time has come.
    pub(super) fn inquire_further(&mut self, now: Instant) {
        let due = self.inquiries.under_way.iter();
        let due = due.filter(|(_, inquiry)| inquiry.timer <= now);
        let due: Vec<u64> = due.map(|(number, _)| *number).collect();
        for number in due {
            self.inquire(number, now);
        }
    }
}

/// `reply` where its name was found, and what says so where it was not.
fn as_found(mut reply: Reply, found: Result<(), Failure>) -> Reply {
    let Err(failure) = found else {
        return reply;
    };
    reply.message = dns::without_answers(&reply.message, failure);
    // Under a policy it is not there either.
    reply.named = None;
    reply
}
