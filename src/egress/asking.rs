//! The sockets of one [`Lookup`]: questions sent outside and answers read, nothing waited for.
//!
//! In the supervisor's loop only, driven like a dial ([`super::dial`]). Each question goes out of a socket
//! of its own, connected to the one server, so the kernel drops what others send, and each has a port
//! that cannot be guessed (RFC 5452).
#![forbid(unsafe_code)]

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, recv, send, socket,
};

use super::dns::{self, Framed};
use super::lookup::{Ask, Failure, Hosts, Lookup, Settings, Taken, Transport};
use super::rules::{Permitted, Rules};

/// The longest datagram that is read: none that we ask for is longer (no EDNS).
const DATAGRAM: usize = 4096;
/// The most datagrams that are read of one socket at a time.
const MOST_DATAGRAMS: usize = 64;

/// The longest host file that is read.
const MAX_FILE: u64 = 16 << 20;

/// How the host resolves names, read once: the supervisor opens no file later.
#[derive(Debug)]
pub(super) struct Resolution {
    /// `/etc/resolv.conf`.
    pub(super) settings: Arc<Settings>,
    /// `/etc/hosts`, as far as the rules allow its names.
    pub(super) hosts: Hosts,
    /// For the numbers of queries; a keyed hash of a counter is not to be foretold.
    keys: RandomState,
    drawn: u64,
}

impl Resolution {
    /// Read the host's files; one that is missing says nothing, as for the C library.
    pub(super) fn read(rules: &Rules) -> Self {
        let (settings, hosts) = host_files(rules);
        Self {
            settings: Arc::new(settings),
            hosts,
            keys: RandomState::new(),
            drawn: 0,
        }
    }

    /// A number for a query.
    pub(super) fn random(&mut self) -> u16 {
        self.drawn = self.drawn.wrapping_add(1);
        let [first, second, ..] = self.keys.hash_one(self.drawn).to_ne_bytes();
        u16::from_ne_bytes([first, second])
    }
}

/// `/etc/resolv.conf`, and `/etc/hosts` as far as the rules allow its names.
pub(crate) fn host_files(rules: &Rules) -> (Settings, Hosts) {
    let scope = |name: &str| nix::net::if_::if_nametoindex(name).ok();
    (
        Settings::parse(&contents("/etc/resolv.conf"), scope),
        Hosts::parse(&contents("/etc/hosts"), |name| rules.permit(name).is_some()),
    )
}

fn contents(path: &str) -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(file) = File::open(path) {
        // What was read before an error still says something.
        let _ = file.take(MAX_FILE).read_to_end(&mut text);
    }
    text
}

/// How a look-up stands.
#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing before then, unless one of its sockets has something.
    Waits(Instant),
    /// Over: addresses, not judged yet, or why there are none.
    Over(Result<Vec<IpAddr>, Failure>),
}

/// One look-up with its sockets.
#[derive(Debug)]
pub(super) struct Asking {
    lookup: Lookup,
    channels: Vec<Channel>,
    known: Vec<IpAddr>,
}

/// The socket of one question.
#[derive(Debug)]
struct Channel {
    number: u32,
    transport: Transport,
    socket: OwnedFd,
    /// What is still to be sent.
    out: Vec<u8>,
    /// What has come of a stream.
    heard: Vec<u8>,
}

/// What a channel has for the look-up.
enum News {
    /// Nothing yet.
    Quiet,
    /// The question was answered, or need not be.
    Done,
    /// The server is not there, or talks nonsense.
    Broken,
}

impl Asking {
    /// Look `name` up. Nothing is sent before the first [`Asking::advance`].
    /// Where `known` has its addresses, nobody is asked.
    pub(super) fn new(name: &Permitted, settings: &Arc<Settings>, known: &[IpAddr]) -> Self {
        Self {
            lookup: Lookup::new(name, settings),
            channels: Vec::new(),
            known: known.to_vec(),
        }
    }

    /// Go on: read what has come, send what is due. `watch` is given each new socket, to be watched for
    /// reading and writing, edge-triggered; it is closed when it is done with.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        mut random: impl FnMut() -> u16,
        mut watch: impl FnMut(BorrowedFd<'_>),
    ) -> Progress {
        if !self.known.is_empty() {
            return Progress::Over(Ok(std::mem::take(&mut self.known)));
        }
        let lookup = &mut self.lookup;
        self.channels
            .retain_mut(|channel| match channel.turn(lookup, now) {
                News::Quiet => true,
                News::Done => false,
                News::Broken => {
                    lookup.broke(channel.number);
                    false
                }
            });
        loop {
            let asks = self.lookup.questions(now, &mut random);
            if asks.is_empty() {
                break;
            }
            for ask in asks {
                match Channel::open(&ask) {
                    Ok(channel) => {
                        watch(channel.socket.as_fd());
                        self.channels.push(channel);
                    }
                    Err(_) => self.lookup.broke(ask.number),
                }
            }
        }
        // Questions whose time is over.
        self.channels
            .retain(|channel| self.lookup.waits_for(channel.number));
        match (self.lookup.outcome(now), self.lookup.next_moment()) {
            (Some(outcome), _) => Progress::Over(outcome),
            (None, Some(moment)) => Progress::Waits(moment),
            (None, None) => Progress::Over(Err(Failure::NoAnswer)),
        }
    }
}

impl Channel {
    fn open(ask: &Ask) -> Result<Self, Errno> {
        let family = match ask.server {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let (kind, out) = match ask.transport {
            Transport::Udp => (SockType::Datagram, ask.query.clone()),
            Transport::Tcp => (
                SockType::Stream,
                dns::frame(&ask.query).ok_or(Errno::EMSGSIZE)?,
            ),
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, kind, flags, None)?;
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(ask.server)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno),
        }
        let mut channel = Self {
            number: ask.number,
            transport: ask.transport,
            socket,
            out,
            heard: Vec::new(),
        };
        channel.flush()?;
        Ok(channel)
    }

    /// Send what can be sent now.
    fn flush(&mut self) -> Result<(), Errno> {
        while !self.out.is_empty() {
            match send(self.socket.as_raw_fd(), &self.out, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => drop(self.out.drain(..sent.min(self.out.len()))),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn turn(&mut self, lookup: &mut Lookup, now: Instant) -> News {
        if !lookup.waits_for(self.number) {
            return News::Done;
        }
        if self.flush().is_err() {
            return News::Broken;
        }
        match self.transport {
            Transport::Udp => self.read_datagrams(lookup, now),
            Transport::Tcp => self.read_stream(lookup, now),
        }
    }

    fn read_datagrams(&mut self, lookup: &mut Lookup, now: Instant) -> News {
        let mut buffer = [0; DATAGRAM];
        for _ in 0..MOST_DATAGRAMS {
            let length = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return News::Quiet,
                Err(_) => return News::Broken,
            };
            let message = buffer.get(..length).unwrap_or_default();
            if lookup.hear(self.number, message, now) == Taken::Done {
                return News::Done;
            }
        }
        // So many that are no answer: the next server.
        News::Broken
    }

    fn read_stream(&mut self, lookup: &mut Lookup, now: Instant) -> News {
        let mut buffer = [0; DATAGRAM];
        loop {
            match dns::unframe(&self.heard, usize::from(u16::MAX)) {
                Framed::More => {}
                Framed::Unreadable => return News::Broken,
                Framed::Message(message, _) => {
                    return match lookup.hear(self.number, message, now) {
                        Taken::Done => News::Done,
                        // Nothing else was asked on this stream.
                        Taken::Ignored => News::Broken,
                    };
                }
            }
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(0) => return News::Broken,
                Ok(length) => self
                    .heard
                    .extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return News::Quiet,
                Err(_) => return News::Broken,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, UdpSocket};
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;
    use crate::egress::name::Name;
    use crate::egress::rules::tests::rules;

    fn asking(servers: Vec<SocketAddr>) -> Asking {
        let name = Name::parse("a.example").unwrap();
        let permitted = rules(&["a.example:443"], &[]).permit(&name).unwrap();
        let settings = Settings {
            servers,
            timeout: Duration::from_secs(20),
            attempts: 1,
            transport: Transport::Udp,
        };
        Asking::new(&permitted, &Arc::new(settings), &[])
    }

    fn finish(asking: &mut Asking) -> Result<Vec<IpAddr>, Failure> {
        loop {
            match asking.advance(Instant::now(), || 0x4242, |_| {}) {
                Progress::Over(outcome) => return outcome,
                Progress::Waits(until) => {
                    let mut watched = Vec::new();
                    for channel in &asking.channels {
                        let mut flags = PollFlags::POLLIN;
                        flags.set(PollFlags::POLLOUT, !channel.out.is_empty());
                        watched.push(PollFd::new(channel.socket.as_fd(), flags));
                    }
                    let left = until.saturating_duration_since(Instant::now());
                    let left = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
                    poll(&mut watched, PollTimeout::from(left)).unwrap();
                }
            }
        }
    }

    /// The answer to `query`: 1.2.3.4 for A, nothing for AAAA.
    fn answer(query: &[u8]) -> Vec<u8> {
        let mut message = query.to_vec();
        message[2] |= 0x80;
        message[3] = 0x80;
        if query.ends_with(&[0, 1, 0, 1]) {
            message[7] = 1;
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]);
        }
        message
    }

    fn receive(server: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 512];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        (buffer[..length].to_vec(), from)
    }

    #[test]
    fn numbers_of_queries_do_not_repeat_from_one_start_to_the_next() {
        let draw = || {
            let mut resolution = Resolution::read(&Rules::default());
            [(); 8].map(|()| resolution.random())
        };
        let (first, second) = (draw(), draw());
        assert_ne!(first, second);
        assert!(first.iter().any(|number| *number != first[0]));
    }

    #[test]
    fn a_name_is_resolved_over_datagrams() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            for _ in 0..2 {
                let (query, from) = receive(&server);
                // Not an answer, then the answer.
                server.send_to(b"nonsense", from).unwrap();
                server.send_to(&answer(&query), from).unwrap();
            }
        });
        let found = finish(&mut asking(vec![address])).unwrap();
        assert_eq!(found, [IpAddr::from([1, 2, 3, 4])]);
        served.join().unwrap();
    }

    #[test]
    fn a_cut_answer_is_read_from_a_stream() {
        let (server, stream) = loop {
            let stream = TcpListener::bind("127.0.0.1:0").unwrap();
            // The same port by both: taken by somebody else now and then.
            if let Ok(server) = UdpSocket::bind(stream.local_addr().unwrap()) {
                break (server, stream);
            }
        };
        let address = server.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            for _ in 0..2 {
                let (query, from) = receive(&server);
                let mut cut = answer(&query);
                cut.truncate(query.len());
                cut[7] = 0;
                cut[2] |= 2;
                server.send_to(&cut, from).unwrap();
            }
            for _ in 0..2 {
                let (mut client, _) = stream.accept().unwrap();
                let mut length = [0; 2];
                client.read_exact(&mut length).unwrap();
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                client.read_exact(&mut query).unwrap();
                // In two pieces.
                let framed = dns::frame(&answer(&query)).unwrap();
                client.write_all(&framed[..5]).unwrap();
                client.write_all(&framed[5..]).unwrap();
            }
        });
        let found = finish(&mut asking(vec![address])).unwrap();
        assert_eq!(found, [IpAddr::from([1, 2, 3, 4])]);
        served.join().unwrap();
    }

    #[test]
    fn a_server_that_is_not_there_is_followed_by_the_next_at_once() {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let gone_address = gone.local_addr().unwrap();
        drop(gone);
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            for _ in 0..2 {
                let (query, from) = receive(&server);
                server.send_to(&answer(&query), from).unwrap();
            }
        });
        let began = Instant::now();
        let found = finish(&mut asking(vec![gone_address, address])).unwrap();
        assert_eq!(found, [IpAddr::from([1, 2, 3, 4])]);
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "waited for nobody"
        );
        served.join().unwrap();
        assert_eq!(
            finish(&mut asking(vec![gone_address])),
            Err(Failure::NoAnswer)
        );
    }
}
