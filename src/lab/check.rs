//! Tries who reaches whom: `sandbox lab check`.
//!
//! Runs in the process that keeps the lab, with sockets opened inside the nodes; no program is needed
//! there. A ping is an ICMP echo request, which the kernel of the other node answers. For TCP and UDP a
//! probe brings its own other end, unless something in the node has the port already: what is tried is
//! the network, and the real server where there is one. All probes are under way at once.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    Backlog, MsgFlags, SockaddrStorage, bind, connect, getsockopt, listen, recv, recvfrom, send,
    sendto, sockopt,
};

use super::live::Live;
use super::matrix::{Finding, Matrix};
use super::spec::{Family, Probe};
use super::topology::{Claim, Reach};
use crate::error::{self, Error, Result};
use crate::netns::{Namespace, ping};

/// How long until a packet that was not answered is sent again.
const AGAIN: Duration = Duration::from_millis(200);
/// The most probes under way, each with a socket or two.
const MOST: usize = 256;
/// What a datagram says.
const DATAGRAM: &[u8] = b"sandbox lab check\n";

/// Try every claim; each answer may take as long as `wait`.
///
/// # Errors
/// When the sockets for it cannot be had.
pub(super) fn check(live: &Live, wait: Duration) -> Result<Matrix> {
    let claims = live.topology().claims.clone();
    let all: Vec<(usize, IpAddr)> = claims
        .iter()
        .enumerate()
        .flat_map(|(number, claim)| {
            claim
                .addresses
                .iter()
                .map(move |address| (number, *address))
        })
        .collect();
    let mut answers: Vec<Vec<(IpAddr, Answer)>> = vec![Vec::new(); claims.len()];
    for some in all.chunks(MOST) {
        let mut round = Round::begin(live, &claims, some)?;
        round.run(wait);
        for trial in round.trials {
            if let Some(answers) = answers.get_mut(trial.claim) {
                answers.push((trial.address.ip(), trial.answer));
            }
        }
    }
    let findings = claims
        .into_iter()
        .zip(answers)
        .map(|(claim, answers)| finding(claim, &answers));
    Ok(Matrix::new(live.topology(), findings.collect()))
}

/// A node is reached if all its addresses are, and not reached if none is.
fn finding(claim: Claim, answers: &[(IpAddr, Answer)]) -> Finding {
    let reached = |answer: &Answer| *answer == Answer::Reached;
    let odd = answers
        .iter()
        .find(|(_, answer)| reached(answer) != (claim.expected == Reach::Reached));
    let (found, detail) = match (odd, claim.expected) {
        _ if answers.is_empty() => {
            let detail = "they have no address of one family".to_owned();
            (Reach::Unreached, detail)
        }
        (None, expected) => (expected, String::new()),
        (Some((address, answer)), Reach::Reached) => {
            (Reach::Unreached, format!("{address}: {}", answer.words()))
        }
        (Some((address, _)), Reach::Unreached) => (Reach::Reached, address.to_string()),
    };
    Finding {
        claim,
        found,
        detail,
    }
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing yet.
    None,
    /// The right answer.
    Reached,
    /// A refusal.
    Refused(Errno),
}

impl Answer {
    fn words(&self) -> String {
        match self {
            Self::None => "no answer".to_owned(),
            Self::Reached => "answered".to_owned(),
            Self::Refused(errno) => error::reason(*errno),
        }
    }
}

/// One probe to one address.
struct Trial {
    claim: usize,
    address: SocketAddr,
    probe: Probe,
    /// Among the round's sockets.
    socket: usize,
    /// What tells its answer from that of others on the same socket.
    sequence: u16,
    answer: Answer,
    refusals: Refusals,
}

/// What a refused connection means.
#[derive(Clone, Debug)]
enum Refusals {
    /// That nobody is there.
    Final,
    /// That a server may be about to listen: it is tried again, from here.
    TryAgain(Namespace),
}

/// Probes that are under way together.
struct Round {
    sockets: Vec<OwnedFd>,
    /// Other ends that we have brought.
    servers: Vec<(OwnedFd, Probe)>,
    trials: Vec<Trial>,
    /// What tells our echo requests from those of others.
    identity: u16,
}

impl Round {
    fn begin(live: &Live, claims: &[Claim], some: &[(usize, IpAddr)]) -> Result<Self> {
        let mut round = Self {
            sockets: Vec::new(),
            servers: Vec::new(),
            trials: Vec::new(),
            // Any number does: sockets of other checks are in other namespaces, or differ by it.
            identity: u16::try_from(std::process::id() & 0xffff).unwrap_or(1),
        };
        let mut raw: BTreeMap<(usize, Family), usize> = BTreeMap::new();
        for (sequence, (number, address)) in some.iter().enumerate() {
            let Some(claim) = claims.get(*number) else {
                continue;
            };
            let family = Family::of(*address);
            let target = SocketAddr::new(*address, port_of(claim.probe));
            let (kind, protocol) = match (claim.probe, family) {
                (Probe::Icmp, Family::V4) => (libc::SOCK_RAW, libc::IPPROTO_ICMP),
                (Probe::Icmp, Family::V6) => (libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
                (Probe::Tcp(_), _) => (libc::SOCK_STREAM, 0),
                (Probe::Udp(_), _) => (libc::SOCK_DGRAM, 0),
            };
            let brought = match claim.to {
                Some(node) => round.bring_server(live, node, target, claim.probe)?,
                None => false,
            };
            let refusals = match live.namespace(&live.topology().nodes[claim.from].name) {
                Some(from) if !brought && claim.expected == Reach::Reached => {
                    Refusals::TryAgain(from.clone())
                }
                _ => Refusals::Final,
            };
            let known = raw.get(&(claim.from, family)).copied();
            let socket = match known.filter(|_| claim.probe == Probe::Icmp) {
                Some(socket) => socket,
                None => {
                    let socket = open(live, claim.from, family, kind, protocol)?;
                    round.sockets.push(socket);
                    round.sockets.len() - 1
                }
            };
            if claim.probe == Probe::Icmp {
                raw.insert((claim.from, family), socket);
            }
            let mut trial = Trial {
                claim: *number,
                address: target,
                probe: claim.probe,
                socket,
                sequence: u16::try_from(sequence).unwrap_or_default(),
                answer: Answer::None,
                refusals,
            };
            if let Some(socket) = round.sockets.get(socket)
                && claim.probe != Probe::Icmp
            {
                trial.answer = begin_to_connect(socket, target);
            }
            round.trials.push(trial);
        }
        Ok(round)
    }

    /// Listen at the other end, if nothing does there; whether it was needed.
    fn bring_server(
        &mut self,
        live: &Live,
        node: usize,
        address: SocketAddr,
        probe: Probe,
    ) -> Result<bool> {
        let kind = match probe {
            Probe::Icmp => return Ok(false),
            Probe::Tcp(_) => libc::SOCK_STREAM,
            Probe::Udp(_) => libc::SOCK_DGRAM,
        };
        let socket = open(live, node, Family::of(address.ip()), kind, 0)?;
        // Taken already, by a real server or for another probe: that one answers.
        if bind(socket.as_raw_fd(), &SockaddrStorage::from(address)).is_err() {
            return Ok(false);
        }
        if kind == libc::SOCK_STREAM {
            let backlog = Backlog::new(128).unwrap_or(Backlog::MAXCONN);
            listen(&socket, backlog)
                .map_err(|errno| Error::host("listen on", address.to_string(), errno))?;
        }
        self.servers.push((socket, probe));
        Ok(true)
    }

    fn run(&mut self, wait: Duration) {
        let end = Instant::now() + wait;
        let mut next = Instant::now();
        loop {
            let now = Instant::now();
            let open = self.trials.iter().any(Trial::is_open);
            if now >= end || !open {
                return;
            }
            if now >= next {
                self.connect_again();
                self.send();
                next = now + AGAIN;
            }
            self.wait(end.min(next).saturating_duration_since(now));
            self.serve();
            self.receive();
        }
    }

    /// A new connection in the place of each that was refused, where that is worth while.
    fn connect_again(&mut self) {
        for trial in &mut self.trials {
            let (Answer::Refused(Errno::ECONNREFUSED), Refusals::TryAgain(from), Probe::Tcp(_)) =
                (&trial.answer, &trial.refusals, trial.probe)
            else {
                continue;
            };
            let family = family_of(trial.address.ip());
            let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
            if let (Ok(fresh), Some(socket)) = (
                from.socket(family, kind, 0),
                self.sockets.get_mut(trial.socket),
            ) {
                *socket = fresh;
                trial.answer = begin_to_connect(socket, trial.address);
            }
        }
    }

    fn wait(&self, time: Duration) {
        let open =
            |number: usize, trial: &Trial| trial.socket == number && trial.answer == Answer::None;
        let mut watched: Vec<PollFd<'_>> = self
            .servers
            .iter()
            .filter(|(_, probe)| matches!(probe, Probe::Udp(_)))
            .map(|(server, _)| PollFd::new(server.as_fd(), PollFlags::POLLIN))
            .collect();
        for (number, socket) in self.sockets.iter().enumerate() {
            let Some(trial) = self.trials.iter().find(|trial| open(number, trial)) else {
                continue;
            };
            let flags = match trial.probe {
                Probe::Tcp(_) => PollFlags::POLLOUT,
                _ => PollFlags::POLLIN,
            };
            watched.push(PollFd::new(socket.as_fd(), flags));
        }
        let time = PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        // Interrupted is as good as in time: everything is looked at anyway.
        let _ = poll(&mut watched, time);
    }

    fn send(&mut self) {
        let identity = self.identity;
        for trial in &mut self.trials {
            let Some(socket) = self.sockets.get(trial.socket) else {
                continue;
            };
            if trial.answer != Answer::None {
                continue;
            }
            let sent = match trial.probe {
                Probe::Tcp(_) => continue,
                Probe::Udp(_) => send(socket.as_raw_fd(), DATAGRAM, MsgFlags::MSG_NOSIGNAL),
                Probe::Icmp => {
                    let packet = ping::request(trial.address.ip(), identity, trial.sequence);
                    let to = SockaddrStorage::from(trial.address);
                    sendto(socket.as_raw_fd(), &packet, &to, MsgFlags::MSG_NOSIGNAL)
                }
            };
            if let Err(errno) = sent
                && !matches!(errno, Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS)
            {
                trial.answer = Answer::Refused(errno);
            }
        }
    }

    /// Answer datagrams.
    fn serve(&self) {
        let mut buffer = [0; 128];
        for (server, probe) in &self.servers {
            if !matches!(probe, Probe::Udp(_)) {
                continue;
            }
            let number = server.as_raw_fd();
            while let Ok((length, Some(from))) = recvfrom::<SockaddrStorage>(number, &mut buffer) {
                let said = buffer.get(..length).unwrap_or_default();
                // Lost is sent again.
                let _ = sendto(number, said, &from, MsgFlags::MSG_NOSIGNAL);
            }
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 1500];
        for (number, socket) in self.sockets.iter().enumerate() {
            let mut mine: Vec<&mut Trial> = self
                .trials
                .iter_mut()
                .filter(|trial| trial.socket == number && trial.answer == Answer::None)
                .collect();
            let Some(first) = mine.first_mut() else {
                continue;
            };
            match first.probe {
                Probe::Tcp(_) => first.answer = tcp_answer(socket),
                Probe::Udp(_) => match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                    Ok(_) => first.answer = Answer::Reached,
                    Err(Errno::EAGAIN | Errno::EINTR) => {}
                    Err(errno) => first.answer = Answer::Refused(errno),
                },
                Probe::Icmp => {
                    let number = socket.as_raw_fd();
                    while let Ok((length, Some(from))) =
                        recvfrom::<SockaddrStorage>(number, &mut buffer)
                    {
                        let packet = buffer.get(..length).unwrap_or_default();
                        let Some(from) = address_of(&from) else {
                            continue;
                        };
                        let found = mine.iter_mut().find(|trial| {
                            trial.address.ip() == from
                                && ping::is_answer(from, packet, self.identity, trial.sequence)
                        });
                        if let Some(trial) = found {
                            trial.answer = Answer::Reached;
                        }
                    }
                }
            }
        }
    }
}

impl Trial {
    /// Whether its answer may change still.
    fn is_open(&self) -> bool {
        match (&self.answer, &self.refusals) {
            (Answer::None, _) => true,
            (Answer::Refused(Errno::ECONNREFUSED), Refusals::TryAgain(_)) => {
                matches!(self.probe, Probe::Tcp(_))
            }
            _ => false,
        }
    }
}

fn begin_to_connect(socket: &OwnedFd, target: SocketAddr) -> Answer {
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Answer::None,
        Err(errno) => Answer::Refused(errno),
    }
}

const fn family_of(address: IpAddr) -> i32 {
    match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    }
}

const fn port_of(probe: Probe) -> u16 {
    match probe {
        Probe::Icmp => 0,
        Probe::Tcp(port) | Probe::Udp(port) => port,
    }
}

fn open(live: &Live, node: usize, family: Family, kind: i32, protocol: i32) -> Result<OwnedFd> {
    let name = live
        .topology()
        .nodes
        .get(node)
        .map(|node| node.name.clone());
    let name = name.unwrap_or_default();
    let Some(namespace) = live.namespace(&name) else {
        return Err(Error::host("find", name, Errno::ENOENT));
    };
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    namespace.socket(family, kind | libc::SOCK_NONBLOCK, protocol)
}

/// Whether the connection is there, refused, or under way still.
fn tcp_answer(socket: &OwnedFd) -> Answer {
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    if !matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1..)) {
        return Answer::None;
    }
    match getsockopt(socket, sockopt::SocketError) {
        Ok(0) => Answer::Reached,
        Ok(number) => Answer::Refused(Errno::from_raw(number)),
        Err(errno) => Answer::Refused(errno),
    }
}

fn address_of(from: &SockaddrStorage) -> Option<IpAddr> {
    match (from.as_sockaddr_in(), from.as_sockaddr_in6()) {
        (Some(from), _) => Some(IpAddr::V4(from.ip())),
        (_, Some(from)) => Some(IpAddr::V6(from.ip())),
        _ => None,
    }
}
