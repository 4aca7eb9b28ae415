//! The sandbox's name service at its sockets, and the listeners of names that are met only later.
//!
//! In the supervisor's loop only. What an answer says is decided by [`super::dns`], purely; here is who
//! asked, and that a name's listeners are there before it is answered. Clients by TCP are few and short
//! of time: nothing of ours needs them, and each costs memory.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, bind, recvfrom, sendto};

use super::destination::{Asked, Protocol};
use super::dns::{self, Framed, Heard, MAX_QUERY, RefusedName};
use super::name::Name;
use super::rules::{Permitted, Rules};
use super::setup::{Setup, V, Way, any};
use super::synthetic::Synthetic;
use crate::learn::Learning;
use crate::sys::child::Family;
use crate::sys::parent;

/// The most clients by TCP at a time; a new one takes the place of the oldest.
const MOST_TALKS: usize = 32;
/// How long a client by TCP may stay.
const LONGEST_TALK: Duration = Duration::from_secs(30);
/// RCODE of a server that cannot (RFC 1035, 4.1.1).
const SERVER_FAILURE: u8 = 2;

/// What is to be sent, and done before.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) message: Vec<u8>,
    pub(super) refused: Option<RefusedName>,
    /// The name that was asked for and answered.
    pub(super) named: Option<Name>,
    /// New listeners, not watched yet.
    pub(super) sockets: Vec<(Protocol, SocketAddr, OwnedFd)>,
}

/// One client by TCP.
#[derive(Debug)]
struct Talk {
    stream: TcpStream,
    heard: Vec<u8>,
    began: Instant,
}

/// Names inside.
#[derive(Debug)]
pub(super) struct Names {
    synthetic: Synthetic,
    aliases: Vec<(IpAddr, Permitted)>,
    /// The addresses of the service.
    addresses: BTreeSet<SocketAddr>,
    services: Vec<OwnedFd>,
    spares: Vec<(Protocol, V, OwnedFd)>,
    /// Whether the sandbox has IPv6.
    has_six: bool,
    /// Names whose listeners are there.
    ready: BTreeSet<Name>,
    /// Where there is a socket already, which a learning command need not be given.
    taken: BTreeSet<(Protocol, SocketAddr)>,
    talks: BTreeMap<u64, Talk>,
}

impl Names {
    pub(super) fn new(setup: &Setup) -> Self {
        let addresses = setup.ways.iter().filter_map(|way| match way {
            Way::NameDatagrams(address) => Some(*address),
            _ => None,
        });
        Self {
            synthetic: setup.synthetic.clone(),
            aliases: setup.aliases.clone(),
            addresses: addresses.collect(),
            services: Vec::new(),
            spares: Vec::new(),
            has_six: setup.families.contains(&Family::V6),
            ready: setup
                .rules
                .names()
                .iter()
                .map(|name| name.name().clone())
                .collect(),
            taken: setup.ways.iter().filter_map(Way::place).collect(),
            talks: BTreeMap::new(),
        }
    }

    /// The service's datagram sockets, in order.
    pub(super) fn services(&self) -> &[OwnedFd] {
        &self.services
    }

    pub(super) fn serve(&mut self, socket: OwnedFd) {
        self.services.push(socket);
    }

    pub(super) fn keep_spare(&mut self, protocol: Protocol, version: V, socket: OwnedFd) {
        self.spares.push((protocol, version, socket));
    }

    fn take_spare(&mut self, protocol: Protocol, version: V) -> Option<OwnedFd> {
        let mut spares = self.spares.iter();
        let at = spares.position(|spare| (spare.0, spare.1) == (protocol, version))?;
        Some(self.spares.swap_remove(at).2)
    }

    /// Whether the service is there.
    pub(super) fn is_service(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// The name that is meant by who connects to `address`: it stands for the name, or the host's own
    /// files give it to the name and no rule allows the address as such.
    pub(super) fn meant_by(
        &self,
        rules: &Rules,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Option<Permitted> {
        if let Some(name) = self.synthetic.name(address.ip()) {
            return Some(name.clone());
        }
        let may = |asked: &Asked| rules.decide(protocol, asked, address.port()).is_ok();
        if may(&Asked::Address(address.ip())) {
            return None;
        }
        let named = self.aliases.iter().filter(|(ip, _)| *ip == address.ip());
        named
            .map(|(_, name)| name)
            .find(|name| may(&Asked::Name(name.name().clone())))
            .cloned()
    }

    /// The next datagram that came to the service, and what to answer. `None` when there is none left.
    pub(super) fn hear_datagram(
        &mut self,
        place: u64,
        rules: &Rules,
    ) -> Option<(SockaddrStorage, Reply)> {
        let service = usize::try_from(place)
            .ok()
            .and_then(|place| self.services.get(place))?;
        let mut message = [0; MAX_QUERY + 1];
        let (length, peer) = loop {
            match recvfrom::<SockaddrStorage>(service.as_raw_fd(), &mut message) {
                Ok((length, Some(peer))) => break (length, peer),
                Ok((_, None)) | Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        };
        let heard = dns::hear(
            message.get(..length).unwrap_or_default(),
            rules,
            &mut self.synthetic,
        );
        Some((peer, self.reply(heard, rules)))
    }

    pub(super) fn answer_datagram(&self, place: u64, peer: SockaddrStorage, message: &[u8]) {
        let service = usize::try_from(place)
            .ok()
            .and_then(|place| self.services.get(place));
        if let Some(service) = service.filter(|_| !message.is_empty()) {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            // Who does not take it asks again.
            let _ = sendto(service.as_raw_fd(), message, &peer, flags);
        }
    }

    pub(super) fn begin_talk(&mut self, number: u64, stream: TcpStream, now: Instant) {
        self.talks
            .retain(|_, talk| now.saturating_duration_since(talk.began) < LONGEST_TALK);
        if self.talks.len() >= MOST_TALKS {
            self.talks.pop_first();
        }
        let talk = Talk {
            stream,
            heard: Vec::new(),
            began: now,
        };
        self.talks.insert(number, talk);
    }

    /// Take in what a client by TCP has sent, some of it: others get their turn before the rest.
    pub(super) fn read_stream(&mut self, number: u64) {
        let Some(talk) = self.talks.get_mut(&number) else {
            return;
        };
        let mut buffer = [0; MAX_QUERY];
        match talk.stream.read(&mut buffer) {
            Ok(length @ 1..) => talk
                .heard
                .extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => drop(self.talks.remove(&number)),
        }
    }

    /// The next whole message of those that were taken in, and what to answer. `None` when there is none
    /// yet, or the client has gone.
    pub(super) fn hear_stream(&mut self, number: u64, rules: &Rules) -> Option<Reply> {
        let talk = self.talks.get_mut(&number)?;
        match dns::unframe(&talk.heard, MAX_QUERY) {
            Framed::More => None,
            Framed::Unreadable => {
                self.talks.remove(&number);
                None
            }
            Framed::Message(message, end) => {
                let heard = dns::hear(message, rules, &mut self.synthetic);
                talk.heard.drain(..end);
                Some(self.reply(heard, rules))
            }
        }
    }

    pub(super) fn answer_stream(&mut self, number: u64, message: &[u8]) {
        let Some(talk) = self.talks.get_mut(&number) else {
            return;
        };
        let sent = dns::frame(message)
            .filter(|_| !message.is_empty())
            .is_some_and(|framed| talk.stream.write_all(&framed).is_ok());
        // One who does not take so little is not waited for.
        if !sent {
            self.talks.remove(&number);
        }
    }

    fn reply(&mut self, heard: Heard, rules: &Rules) -> Reply {
        let mut message = heard.reply.unwrap_or_default();
        let mut sockets = Vec::new();
        if let Some(name) = &heard.asked {
            match self.open(name, rules) {
                Ok(opened) => sockets = opened,
                // No listener, no address.
                Err(_) => {
                    if let Some(code) = message.get_mut(3) {
                        *code = *code & 0xf0 | SERVER_FAILURE;
                    }
                }
            }
        }
        Reply {
            message,
            refused: heard.refused,
            named: heard.asked.map(|name| name.name().clone()).or(heard.noted),
            sockets,
        }
    }

    /// The listeners of `name` that are not there yet. The supervisor may bind them, whatever the port: it
    /// owns the sandbox's user namespace (user_namespaces(7)).
    fn open(
        &mut self,
        name: &Permitted,
        rules: &Rules,
    ) -> std::result::Result<Vec<(Protocol, SocketAddr, OwnedFd)>, Errno> {
        let mut opened = Vec::new();
        // While it is learned which ports there are, each waits for the first who wants it.
        let learned = rules.learns() == Some(Learning::Permitting);
        if learned || self.ready.contains(name.name()) {
            return Ok(opened);
        }
        let pair = self.synthetic.pair(name.name()).ok_or(Errno::ENOENT)?;
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let ports = rules.ports(protocol, &Asked::Name(name.name().clone()));
            for port in ports.iter() {
                for (version, ip) in [(V::Four, pair.v4.into()), (V::Six, pair.v6.into())] {
                    if version == V::Six && !self.has_six {
                        continue;
                    }
                    let address = SocketAddr::new(ip, port);
                    let spare = self.take_spare(protocol, version).ok_or(Errno::EMFILE)?;
                    match bind(spare.as_raw_fd(), &SockaddrStorage::from(address)) {
                        // A wildcard is there already.
                        Err(Errno::EADDRINUSE) => continue,
                        other => other?,
                    }
                    if protocol == Protocol::Tcp {
                        parent::listen(spare.as_fd(), None)?;
                    }
                    opened.push((protocol, address, spare));
                }
            }
        }
        self.ready.insert(name.name().clone());
        Ok(opened)
    }

    /// A socket for `address`, which is learned, where there is none yet.
    ///
    /// # Errors
    /// When there are no more: `EMFILE`; when the command has a server of its own there: `EADDRINUSE`.
    pub(super) fn open_at(
        &mut self,
        protocol: Protocol,
        address: SocketAddr,
    ) -> std::result::Result<Option<OwnedFd>, Errno> {
        let there = |at: SocketAddr| self.taken.contains(&(protocol, at));
        if there(address) || there(any(address)) {
            return Ok(None);
        }
        let version = V::of(address);
        let spare = self.take_spare(protocol, version).ok_or(Errno::EMFILE)?;
        let bound = bind(spare.as_raw_fd(), &SockaddrStorage::from(address));
        let opened = bound.and_then(|()| match protocol {
            Protocol::Tcp => parent::listen(spare.as_fd(), None),
            Protocol::Udp => Ok(()),
        });
        match opened {
            Ok(()) => {
                self.taken.insert((protocol, address));
                Ok(Some(spare))
            }
            Err(errno) => {
                self.keep_spare(protocol, version, spare);
                Err(errno)
            }
        }
    }

    /// The name that is refused and for which `address` stands.
    pub(super) fn noted_by(&self, address: IpAddr) -> Option<&Name> {
        self.synthetic.noted(address)
    }
}
