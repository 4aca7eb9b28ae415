//! UDP: datagrams from inside to allowed destinations, and the answers back.
//!
//! In the supervisor's loop only. A flow is one socket of the command's and one destination; it has a
//! socket outside, connected to the address that was judged, so only that one's answers come back. A flow
//! ends when nothing has gone through it for [`IDLE`], or when a new one needs its place. What cannot be
//! sent now is dropped, as the network would.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg,
};

use super::asking::{self, Asking, Resolution};
use super::budget::{Budgets, Share};
use super::destination::{Asked, Protocol};
use super::engine::{EDGES, Key};
use super::host::Host;
use super::journal::{Journal, Outcome, Wish};
use super::lookup::Failure;
use super::names::Names;
use super::rules::{Refusal, Rules};
use super::who::Callers;
use crate::error;
use crate::policy::Carrier;

/// How long a flow may be silent.
const IDLE: Duration = Duration::from_secs(60);
/// The most flows at a time, where descriptors suffice.
const MOST_FLOWS: usize = 512;
/// The most datagrams that wait for a name to be looked up.
const MOST_WAITING: usize = 8;
/// How many datagrams are taken from one socket before others get their turn.
const TURN: usize = 64;
/// The longest datagram.
const LONGEST: usize = 65_536;

/// Whose flow it is: the socket inside that got the datagram, who sent it, and to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    inlet: usize,
    peer: SocketAddr,
    destination: SocketAddr,
}

#[derive(Debug)]
struct Flow {
    ends: Ends,
    wish: Wish,
    share: Share,
    rule: Arc<str>,
    began: Instant,
    last: Instant,
    timer: Instant,
    address: Option<SocketAddr>,
    out: u64,
    back: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// With what is to be sent then.
    LookingUp(Box<Asking>, Vec<Vec<u8>>),
    Open(UdpSocket),
}

/// What a flow is decided, made and told with.
pub(super) struct Around<'a> {
    pub(super) epoll: &'a Epoll,
    pub(super) rules: &'a Rules,
    pub(super) names: &'a Names,
    pub(super) resolution: &'a mut Resolution,
    pub(super) host: &'a mut Host,
    pub(super) budgets: &'a mut Budgets,
    pub(super) journal: &'a mut Journal,
    pub(super) callers: &'a Callers,
    pub(super) now: Instant,
}

/// Every flow.
#[derive(Debug)]
pub(super) struct Datagrams {
    inlets: Vec<(OwnedFd, SocketAddr)>,
    flows: HashMap<u64, Flow>,
    by_ends: HashMap<Ends, u64>,
    timers: BTreeSet<(Instant, u64)>,
    next_number: u64,
    most: usize,
    buffer: Vec<u8>,
}

impl Datagrams {
    /// At most `most` flows at a time.
    pub(super) fn new(most: usize) -> Self {
        Self {
            inlets: Vec::new(),
            flows: HashMap::new(),
            by_ends: HashMap::new(),
            timers: BTreeSet::new(),
            next_number: 0,
            most: most.clamp(1, MOST_FLOWS),
            buffer: Vec::new(),
        }
    }

    /// How many sockets inside there are.
    pub(super) fn inlets(&self) -> u64 {
        self.inlets.len() as u64
    }

    /// Take over a socket inside that is bound to `address`.
    pub(super) fn add_inlet(&mut self, socket: OwnedFd, address: SocketAddr) {
        self.buffer.resize(LONGEST, 0);
        self.inlets.push((socket, address));
    }

    /// When [`Datagrams::expire`] has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// Datagrams have come from inside.
    pub(super) fn take(&mut self, place: u64, around: &mut Around<'_>) {
        let Ok(inlet) = usize::try_from(place) else {
            return;
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..TURN {
            let Some((socket, bound)) = self.inlets.get(inlet) else {
                break;
            };
            match receive(socket, *bound, &mut buffer) {
                Ok((length, peer, destination)) => {
                    let ends = Ends {
                        inlet,
                        peer,
                        destination,
                    };
                    self.send(ends, buffer.get(..length).unwrap_or_default(), around);
                }
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        self.buffer = buffer;
    }

    /// A datagram that was sent to `destination` before there was an inlet for it: as if it came there now.
    pub(super) fn take_late(
        &mut self,
        peer: SocketAddr,
        destination: SocketAddr,
        datagram: &[u8],
        around: &mut Around<'_>,
    ) {
        let bound = |(_, address): &(OwnedFd, SocketAddr)| *address == destination;
        if let Some(inlet) = self.inlets.iter().position(bound) {
            let ends = Ends {
                inlet,
                peer,
                destination,
            };
            self.send(ends, datagram, around);
        }
    }

    fn send(&mut self, ends: Ends, datagram: &[u8], around: &mut Around<'_>) {
        let number = match self.by_ends.get(&ends) {
            Some(number) => *number,
            None => match self.begin(ends, around) {
                Some(number) => number,
                None => return,
            },
        };
        let Some(flow) = self.flows.get_mut(&number) else {
            return;
        };
        flow.last = around.now;
        match &mut flow.state {
            State::LookingUp(_, waiting) if waiting.len() < MOST_WAITING => {
                waiting.push(datagram.to_vec());
            }
            State::LookingUp(..) => {}
            State::Open(socket) => {
                let length = datagram.len() as u64;
                if let Err(spent) = around.budgets.spend(&flow.share, length, around.now) {
                    let reason = spent.to_string();
                    around.journal.refused_for(&flow.wish, &reason, around.now);
                    return;
                }
                // What is refused now was refused of an earlier one; the command would be told that, too.
                if socket.send(datagram).is_ok() {
                    flow.out = flow.out.saturating_add(length);
                }
            }
        }
        if matches!(flow.state, State::LookingUp(..)) {
            self.advance(number, around);
        }
    }

    /// A new flow, if the rules allow it.
    fn begin(&mut self, ends: Ends, around: &mut Around<'_>) -> Option<u64> {
        let name = around
            .names
            .meant_by(around.rules, Protocol::Udp, ends.destination);
        let wish = Wish {
            protocol: Protocol::Udp,
            asked: match &name {
                Some(name) => Asked::Name(name.name().clone()),
                None => Asked::Address(ends.destination.ip()),
            },
            port: ends.destination.port(),
            who: around.callers.find(ends.peer, ends.destination),
        };
        let allowed = match around.rules.decide(Protocol::Udp, &wish.asked, wish.port) {
            Ok(allowed) => allowed,
            Err(refusal) => {
                around.journal.refused(&wish, &refusal, around.now);
                return None;
            }
        };
        if self.flows.len() >= self.most {
            let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.last);
            let oldest = oldest.map(|(number, _)| *number)?;
            self.end(oldest, None, around);
        }
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1);
        let (state, address) = match &name {
            Some(name) => {
                let known = around.resolution.hosts.addresses(name.name());
                let asking = Asking::new(name, &around.resolution.settings, known);
                (State::LookingUp(Box::new(asking), Vec::new()), None)
            }
            None => {
                let opened = open(&[ends.destination], number, around.epoll);
                let (socket, address) = opened.ok()?;
                (State::Open(socket), Some(address))
            }
        };
        let timer = around.now + IDLE;
        let share = around.budgets.join(wish.protocol, &wish.asked, wish.port);
        self.timers.insert((timer, number));
        self.by_ends.insert(ends, number);
        let flow = Flow {
            ends,
            wish,
            share,
            rule: allowed.rule,
            began: around.now,
            last: around.now,
            timer,
            address,
            out: 0,
            back: 0,
            state,
        };
        self.flows.insert(number, flow);
        Some(number)
    }

    /// The flow's socket outside, or one that looks its name up, has something.
    pub(super) fn outside(&mut self, number: u64, around: &mut Around<'_>) {
        match self.flows.get(&number).map(|flow| &flow.state) {
            Some(State::LookingUp(..)) => self.advance(number, around),
            Some(State::Open(_)) => self.bring_back(number, around),
            None => {}
        }
    }

    fn advance(&mut self, number: u64, around: &mut Around<'_>) {
        let Some(flow) = self.flows.get_mut(&number) else {
            return;
        };
        let State::LookingUp(asking, _) = &mut flow.state else {
            return;
        };
        let (epoll, resolution) = (around.epoll, &mut *around.resolution);
        let watch = |socket: std::os::fd::BorrowedFd<'_>| {
            let event = EpollEvent::new(EDGES, Key::DatagramsOutside(number).to_data());
            // Without it the question is given up when its time is over.
            let _ = epoll.add(socket, event);
        };
        match asking.advance(around.now, || resolution.random(), watch) {
            asking::Progress::Waits(until) => {
                self.timers.remove(&(flow.timer, number));
                flow.timer = until;
                self.timers.insert((until, number));
            }
            asking::Progress::Over(found) => self.judge(number, found, around),
        }
    }

    fn judge(&mut self, number: u64, found: Result<Vec<IpAddr>, Failure>, around: &mut Around<'_>) {
        let Some(flow) = self.flows.get_mut(&number) else {
            return;
        };
        let port = flow.wish.port;
        let opened = found
            .map_err(|failure| Fault::Failed(failure.to_string()))
            .and_then(|found| {
                let whose = |address| around.host.whose(address);
                let admitted = around.rules.admit(Protocol::Udp, &found, port, whose);
                admitted.map_err(Fault::Refused)
            })
            .and_then(|admitted| {
                let at = |address| SocketAddr::new(address, port);
                let addresses: Vec<SocketAddr> = admitted.into_iter().map(at).collect();
                let opened = open(&addresses, number, around.epoll);
                opened.map_err(|errno| Fault::Failed(error::reason(errno)))
            });
        match opened {
            Err(Fault::Refused(refusal)) => {
                around.journal.refused(&flow.wish, &refusal, around.now);
                self.end(number, Some(refusal.to_string()), around);
            }
            Err(Fault::Failed(reason)) => self.end(number, Some(reason), around),
            Ok((socket, address)) => {
                let new = State::Open(socket);
                let State::LookingUp(_, waiting) = std::mem::replace(&mut flow.state, new) else {
                    return;
                };
                flow.address = Some(address);
                let ends = flow.ends;
                self.timers.remove(&(flow.timer, number));
                flow.timer = around.now + IDLE;
                self.timers.insert((flow.timer, number));
                for datagram in waiting {
                    self.send(ends, &datagram, around);
                }
            }
        }
    }

    fn bring_back(&mut self, number: u64, around: &mut Around<'_>) {
        let Some(flow) = self.flows.get_mut(&number) else {
            return;
        };
        let State::Open(outside) = &flow.state else {
            return;
        };
        let Some((inlet, bound)) = self.inlets.get(flow.ends.inlet) else {
            return;
        };
        for _ in 0..TURN {
            let length = match outside.recv(&mut self.buffer) {
                Ok(length) => length,
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    // What an ICMP message said of an earlier datagram.
                    Some(Errno::ECONNREFUSED | Errno::EINTR) => continue,
                    _ => return,
                },
            };
            let datagram = self.buffer.get(..length).unwrap_or_default();
            let length = datagram.len() as u64;
            if let Err(spent) = around.budgets.spend(&flow.share, length, around.now) {
                let reason = spent.to_string();
                around.journal.refused_for(&flow.wish, &reason, around.now);
                continue;
            }
            if answer(inlet, *bound, &flow.ends, datagram).is_ok() {
                flow.back = flow.back.saturating_add(length);
                flow.last = around.now;
            }
        }
    }

    /// End what has been silent for long, go on with what is looked up.
    pub(super) fn expire(&mut self, around: &mut Around<'_>) {
        while let Some(&(at, number)) = self.timers.first().filter(|(at, _)| *at <= around.now) {
            self.timers.remove(&(at, number));
            let Some(flow) = self.flows.get_mut(&number) else {
                continue;
            };
            if matches!(flow.state, State::LookingUp(..)) {
                self.advance(number, around);
                continue;
            }
            let end = flow.last + IDLE;
            if end <= around.now {
                self.end(number, None, around);
                continue;
            }
            flow.timer = end;
            self.timers.insert((end, number));
        }
    }

    /// End all flows.
    pub(super) fn finish(&mut self, around: &mut Around<'_>) {
        let numbers: Vec<u64> = self.flows.keys().copied().collect();
        for number in numbers {
            self.end(number, None, around);
        }
    }

    fn end(&mut self, number: u64, failure: Option<String>, around: &mut Around<'_>) {
        let Some(flow) = self.flows.remove(&number) else {
            return;
        };
        around.budgets.leave(&flow.share);
        self.by_ends.remove(&flow.ends);
        self.timers.remove(&(flow.timer, number));
        around.journal.ended(&Outcome {
            wish: flow.wish,
            rule: flow.rule.to_string(),
            address: flow.address,
            there: flow.out,
            back: flow.back,
            took: flow.began.elapsed(),
            failure,
            engine: Carrier::Relay,
        });
    }
}

enum Fault {
    Refused(Refusal),
    Failed(String),
}

/// A socket outside, connected to the first of `addresses` that can be.
fn open(
    addresses: &[SocketAddr],
    number: u64,
    epoll: &Epoll,
) -> Result<(UdpSocket, SocketAddr), Errno> {
    let errno = |error: std::io::Error| crate::plan::errno_of(&error);
    let mut last = Errno::EHOSTUNREACH;
    for &address in addresses {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let opened = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.connect(address)?;
            Ok(socket)
        });
        match opened.map_err(errno) {
            Ok(socket) => {
                // As long as there is one: others get their turn after some.
                let event =
                    EpollEvent::new(EpollFlags::EPOLLIN, Key::DatagramsOutside(number).to_data());
                epoll.add(socket.as_fd(), event)?;
                return Ok((socket, address));
            }
            Err(errno) => last = errno,
        }
    }
    Err(last)
}

/// One datagram from inside: its length, who sent it, and to where.
fn receive(
    socket: &OwnedFd,
    bound: SocketAddr,
    buffer: &mut [u8],
) -> Result<(usize, SocketAddr, SocketAddr), Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let peer = message.address.as_ref().and_then(to_address);
    let mut ip = bound.ip();
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(information) => {
                ip = Ipv4Addr::from(information.ipi_addr.s_addr.to_ne_bytes()).into();
            }
            ControlMessageOwned::Ipv6PacketInfo(information) => {
                ip = Ipv6Addr::from(information.ipi6_addr.s6_addr).into();
            }
            _ => {}
        }
    }
    let peer = peer.ok_or(Errno::EINTR)?;
    Ok((message.bytes, peer, SocketAddr::new(ip, bound.port())))
}

/// Send `datagram` to the command, from the address that it had sent to.
fn answer(socket: &OwnedFd, bound: SocketAddr, ends: &Ends, datagram: &[u8]) -> Result<(), Errno> {
    let parts = [IoSlice::new(datagram)];
    let peer = SockaddrStorage::from(ends.peer);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let (four, six);
    let control = match ends.destination.ip() {
        _ if !bound.ip().is_unspecified() => None,
        IpAddr::V4(ip) => {
            let address = libc::in_addr {
                s_addr: u32::from_ne_bytes(ip.octets()),
            };
            four = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: address,
                ipi_addr: address,
            };
            Some(ControlMessage::Ipv4PacketInfo(&four))
        }
        IpAddr::V6(ip) => {
            six = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 0,
            };
            Some(ControlMessage::Ipv6PacketInfo(&six))
        }
    };
    let control: Vec<ControlMessage<'_>> = control.into_iter().collect();
    sendmsg(socket.as_raw_fd(), &parts, &control, flags, Some(&peer)).map(drop)
}

fn to_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(four) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*four).into()));
    }
    address
        .as_sockaddr_in6()
        .map(|six| SocketAddr::V6((*six).into()))
}

#[cfg(test)]
mod tests {
    use nix::sys::epoll::EpollCreateFlags;

    use super::*;
    use crate::egress::budget::Limits;
    use crate::egress::rules::tests::rules;
    use crate::egress::setup::Setup;
    use crate::event::Events;
    use crate::learn::record::Recorder;

    fn bound() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn who_sends_without_end_holds_up_nobody() {
        // In one network the inlet is the server as well: what is sent on comes back to it.
        let ((server, inlet), (command, peer)) = (bound(), bound());
        let rules = rules(&[&format!("udp://{inlet}")], &[]);
        let mut flows = Datagrams::new(1);
        flows.add_inlet(server.try_clone().unwrap().into(), inlet);
        let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
        let now = Instant::now();
        let mut around = Around {
            epoll: &epoll,
            rules: &rules,
            names: &Names::new(&Setup::closed()),
            resolution: &mut Resolution::read(&rules),
            host: &mut Host::open().unwrap(),
            budgets: &mut Budgets::new(&Limits::default(), now),
            journal: &mut Journal::new(Events::default(), Recorder::default(), now),
            callers: &Callers::default(),
            now,
        };
        flows.take_late(peer, inlet, b"x", &mut around);
        let (_, outside) = server.recv_from(&mut [0]).unwrap();
        let sent = TURN + 10;
        for _ in 0..sent {
            server.send_to(b"y", outside).unwrap();
        }
        let came = || (0..).take_while(|_| command.recv(&mut [0]).is_ok()).count();
        for expected in [TURN, sent - TURN] {
            // It is told again as long as there is something.
            let mut event = [EpollEvent::empty()];
            assert_eq!(epoll.wait(&mut event, 0_u8), Ok(1));
            flows.outside(0, &mut around);
            assert_eq!(came(), expected);
        }
        assert_eq!(epoll.wait(&mut [EpollEvent::empty()], 0_u8), Ok(0));
    }
}
