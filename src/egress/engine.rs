//! The supervisor's half of egress: it accepts what the command dials, decides, dials outside, joins.
//!
//! Runs in the supervisor's loop (a thread of [`crate::Child`] for the library), on an epoll queue of
//! its own. Nothing here waits, and everything is bounded: connections, dials under way, pipes, what is
//! told. At the bound it stops accepting, so that the kernel's queue holds the rest up.
//!
//! ```text
//! listener inside ─accept─► decide ─refused─► reset, event
//!                             │ allowed
//!                             ▼
//!                           queue ─► look up, judge (a name) ─► dial ─► join ─► event
//! ```
//!
//! An accepted connection's own address is the one that the command asked for: the kernel's word, not
//! the command's. Where it stands for a name, the name is looked up outside now, every address judged
//! now, and what was judged is what is dialled.
//!
//! What is published goes the other way: accepted outside, dialled inside ([`super::inner`]).
#![forbid(unsafe_code)]

mod inquiry;
mod learn;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::{MsgFlags, recv};
use tracing::debug;

use self::inquiry::{Asker, Inquiries};
use super::asking::{self, Asking, Resolution};
use super::budget::{Budgets, Share};
use super::carry::Told;
use super::datagram::{Around, Datagrams};
use super::destination::{Asked, Protocol};
use super::dial::{self, Dial, Progress};
use super::direct::{Dialler, Given, Order, Waits, Wanted};
use super::front::{self, Front, Turn};
use super::inner::Inner;
use super::journal::{Inbound, Journal, Outcome, Wish};
use super::lookup::Failure;
use super::names::{Names, Reply};
use super::publish::Publish;
use super::refusals::{self, FILTER_V4, FILTER_V6, looking_further};
use super::relay::{self, Join, Pipes, Word};
use super::rules::{Permitted, Rules};
use super::setup::{Setup, V, Way};
use super::sniff::{self, Inspection};
use super::who::Callers;
use crate::epoll_data::{NUMBERS, pack, unpack};
use crate::error::{self, Error, Result};
use crate::learn::Learning;
use crate::policy::{Carrier, Inspect};
use crate::sys::parent;

/// How many dials, with the look-ups before them, are under way at a time.
const MOST_DIALS: usize = 512;
/// How many of these are for one destination: one that does not answer must not hold up others.
const MOST_DIALS_TO_ONE: usize = 64;
/// The most connections at a time, where descriptors suffice.
const MOST_FLOWS: usize = 16_384;
/// Pipes lent at a time.
const MOST_PIPES: usize = 256;
/// Descriptors kept free for what the supervisor does besides.
const RESERVE: usize = 64;
/// How many events are taken from the kernel at a time.
const BATCH: usize = 128;
/// How many connections are accepted from one listener before others get their turn.
const ACCEPTS: usize = 64;
/// How long accepting rests where the host has no descriptor left.
const REST: Duration = Duration::from_millis(100);
/// How long a client may take to say whom it wants, where that is inspected.
const HELLO: Duration = Duration::from_secs(10);
/// How many refusals are read off the watch at a time.
const LOOKS: usize = 64;

/// Whose descriptor it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Listener(u64),
    /// Callers that want sockets.
    Orders(u64),
    Watch(u64),
    /// The sandbox's name service, by UDP.
    Names(u64),
    /// A client of it by TCP.
    Talk(u64),
    /// A UDP socket inside.
    Datagrams(u64),
    /// Sockets outside of a UDP flow.
    DatagramsOutside(u64),
    /// The connection from inside.
    Inside(u64),
    /// Connections to outside, of which one dial may have several.
    Outside(u64),
    /// A listener outside.
    Published(u64),
    /// A listener inside that makes sockets.
    Inner(u64),
    /// The proxy's listener.
    Proxy(u64),
    /// A client of the proxy that has not said yet whom it wants.
    Client(u64),
    /// Sockets of the look-up of a name that is learned.
    Inquiry(u64),
}

impl Key {
    pub(super) fn to_data(self) -> u64 {
        let (kind, number) = match self {
            Self::Listener(place) => (0, place),
            Self::Watch(place) => (1, place),
            Self::Inside(number) => (2, number),
            Self::Outside(number) => (3, number),
            Self::Names(place) => (4, place),
            Self::Talk(number) => (5, number),
            Self::Datagrams(place) => (6, place),
            Self::DatagramsOutside(number) => (7, number),
            Self::Published(place) => (8, place),
            Self::Orders(number) => (12, number),
            Self::Inner(place) => (9, place),
            Self::Proxy(place) => (10, place),
            Self::Client(number) => (11, number),
            Self::Inquiry(number) => (13, number),
        };
        pack(kind, number)
    }

    fn from_data(data: u64) -> Option<Self> {
        let (kind, number) = unpack(data);
        Some(match kind {
            0 => Self::Listener(number),
            1 => Self::Watch(number),
            2 => Self::Inside(number),
            3 => Self::Outside(number),
            4 => Self::Names(number),
            5 => Self::Talk(number),
            6 => Self::Datagrams(number),
            7 => Self::DatagramsOutside(number),
            8 => Self::Published(number),
            9 => Self::Inner(number),
            10 => Self::Proxy(number),
            11 => Self::Client(number),
            12 => Self::Orders(number),
            13 => Self::Inquiry(number),
            _ => return None,
        })
    }
}

/// For connections: each change is told once.
pub(super) const EDGES: EpollFlags = EpollFlags::EPOLLIN
    .union(EpollFlags::EPOLLOUT)
    .union(EpollFlags::EPOLLRDHUP)
    .union(EpollFlags::EPOLLET);

/// One connection that the rules allow.
#[derive(Debug)]
struct Flow {
    wish: Wish,
    origin: Origin,
    share: Share,
    rule: Arc<str>,
    began: Instant,
    /// The address that was dialled.
    address: Option<SocketAddr>,
    /// Why it could not be dialled.
    errno: Option<Errno>,
    /// When its dial is looked at again.
    timer: Option<Instant>,
    state: State,
}

/// Whence a connection comes.
#[derive(Debug)]
enum Origin {
    /// From inside, to the destination's own address.
    Plain,
    /// From inside, through the proxy.
    Proxy(Box<Client>),
    /// From outside: then "inside" and "outside" below are the other way round.
    Outside(Inbound),
}

/// A client of the proxy that has asked for something.
#[derive(Debug)]
struct Client {
    front: Front,
    /// What is to be sent to the destination first.
    head: Vec<u8>,
    answered: bool,
    /// What it is told where nothing comes of it.
    otherwise: front::Outcome,
}

/// One that has not asked yet.
#[derive(Debug)]
struct Asks {
    stream: TcpStream,
    front: Front,
    began: Instant,
}

#[derive(Debug)]
enum State {
    /// Waits for the client's first bytes.
    Inspecting(TcpStream, Target),
    /// Waits until fewer dials are under way.
    Queued(Caller, Target),
    LookingUp(Caller, Box<Asking>),
    Dialling(Caller, Dial),
    Joined(Join),
}

/// Who a connection is for.
#[derive(Debug)]
enum Caller {
    /// One that was accepted, and is relayed.
    Stream(TcpStream),
    /// A caller that gets the socket itself.
    Direct(Box<Order>),
}

/// Where a connection is to go.
#[derive(Debug)]
enum Target {
    Address(SocketAddr),
    Name(Permitted),
    /// This port of the sandbox's loopback.
    Inside(u16),
}

/// Which listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Inside(u64),
    Published(u64),
    Proxy(u64),
}

/// What is under way to one destination, and what waits for that.
#[derive(Debug, Default)]
struct Dials {
    under_way: usize,
    parked: VecDeque<u64>,
}

/// Whether listeners are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    Yes,
    /// Not until there are fewer connections.
    Full,
    /// Not until then.
    Rests(Instant),
}

/// The engine.
#[derive(Debug)]
pub(crate) struct Engine {
    epoll: Epoll,
    rules: Rules,
    inspect: Inspect,
    budgets: Budgets,
    names: Names,
    inquiries: Inquiries,
    resolution: Resolution,
    datagrams: Datagrams,
    listeners: Vec<TcpListener>,
    proxies: Vec<TcpListener>,
    /// Clients of the proxy, by number, and so the oldest first.
    clients: BTreeMap<u64, Asks>,
    published: Vec<(TcpListener, Publish)>,
    inner: Inner,
    /// Connections from outside that wait for a socket inside.
    waiting: VecDeque<u64>,
    /// The family in which the sandbox's servers were found last.
    served: V,
    watches: Vec<OwnedFd>,
    flows: HashMap<u64, Flow>,
    next_number: u64,
    most_flows: usize,
    /// Connections that wait for their dial, in the order in which they came.
    queue: VecDeque<u64>,
    dials: usize,
    /// The same for each destination that has dials under way.
    destinations: HashMap<(Asked, u16), Dials>,
    /// When a dial is to be looked at again.
    timers: BTreeSet<(Instant, u64)>,
    /// Joined connections that go on without an event.
    ready: VecDeque<u64>,
    starved: VecDeque<u64>,
    pipes: Pipes,
    accepting: Accepting,
    callers: Callers,
    journal: Journal,
    /// Where callers order connections that they get themselves.
    dialler: Option<Dialler>,
}

impl Engine {
    /// Take over the sockets that the child has sent, in the order of `setup`, and the listeners of what
    /// it publishes.
    ///
    /// # Errors
    /// When they cannot be watched.
    pub(crate) fn new(
        setup: &Setup,
        sockets: Vec<OwnedFd>,
        published: Vec<TcpListener>,
        told: Told,
    ) -> Result<Self> {
        let failed = |errno| Error::host("watch", "the ways out of the sandbox", errno);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(failed)?;
        let (mut listeners, mut watches) = (Vec::new(), Vec::new());
        let (most_flows, most_pipes) = bounds(setup.ways.len());
        let mut datagrams = Datagrams::new(most_flows / 4);
        let mut names = Names::new(setup);
        let mut inner = Inner::default();
        let mut proxies = Vec::new();
        for (way, socket) in setup.ways.iter().zip(sockets) {
            match way {
                Way::Spare(protocol, version) => names.keep_spare(*protocol, *version, socket),
                Way::Inner(version) => inner.add(*version, socket),
                Way::Front(_) => {
                    let key = Key::Proxy(proxies.len() as u64);
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, key.to_data());
                    epoll.add(&socket, event).map_err(failed)?;
                    proxies.push(TcpListener::from(socket));
                }
                Way::InnerListener(address) => {
                    let key = Key::Inner(inner.places());
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, key.to_data());
                    epoll.add(&socket, event).map_err(failed)?;
                    inner.add_listener(socket, *address);
                }
                Way::Datagrams(address) => {
                    let key = Key::Datagrams(datagrams.inlets());
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, key.to_data());
                    epoll.add(&socket, event).map_err(failed)?;
                    datagrams.add_inlet(socket, *address);
                }
                Way::NameDatagrams(_) => {
                    let key = Key::Names(names.services().len() as u64);
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, key.to_data());
                    epoll.add(&socket, event).map_err(failed)?;
                    names.serve(socket);
                }
                Way::Listener(_) | Way::NameStream(_) => {
                    let key = Key::Listener(listeners.len() as u64);
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, key.to_data());
                    epoll.add(&socket, event).map_err(failed)?;
                    listeners.push(TcpListener::from(socket));
                }
                Way::Watch(version) => {
                    let filter = match version {
                        V::Four => FILTER_V4,
                        V::Six => FILTER_V6,
                    };
                    let filter = match setup.rules.learns() {
                        None => filter.to_vec(),
                        Some(_) => looking_further(filter),
                    };
                    parent::attach_filter(socket.as_fd(), &filter).map_err(failed)?;
                    let key = Key::Watch(watches.len() as u64);
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, key.to_data());
                    epoll.add(&socket, event).map_err(failed)?;
                    watches.push(socket);
                }
            }
        }
        let now = Instant::now();
        let Told {
            events,
            callers,
            recorder,
        } = told;
        let mut journal = Journal::new(events, recorder, now);
        for (place, (listener, publish)) in (0..).zip(published.iter().zip(&setup.published)) {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, Key::Published(place).to_data());
            epoll.add(listener, event).map_err(failed)?;
            if let Ok(address) = listener.local_addr() {
                journal.listens(address, publish.inside);
            }
        }
        let published = published.into_iter().zip(setup.published.iter().copied());
        Ok(Self {
            epoll,
            rules: setup.rules.clone(),
            inspect: setup.inspect,
            budgets: Budgets::new(&setup.budgets, now),
            names,
            inquiries: Inquiries::default(),
            resolution: Resolution::read(&setup.rules),
            datagrams,
            listeners,
            proxies,
            clients: BTreeMap::new(),
            published: published.collect(),
            inner,
            waiting: VecDeque::new(),
            served: V::Four,
            watches,
            flows: HashMap::new(),
            next_number: 0,
            most_flows,
            queue: VecDeque::new(),
            dials: 0,
            destinations: HashMap::new(),
            timers: BTreeSet::new(),
            ready: VecDeque::new(),
            starved: VecDeque::new(),
            pipes: Pipes::new(most_pipes),
            accepting: Accepting::Yes,
            callers,
            dialler: None,
            journal,
        })
    }

    /// Readable when [`Engine::turn`] has something to do.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// When [`Engine::turn`] has something to do even if nothing becomes readable.
    pub(crate) fn next(&self) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(Instant::now());
        }
        let rest = match self.accepting {
            Accepting::Rests(until) => Some(until),
            _ => None,
        };
        let timer = self.timers.first().map(|&(at, _)| at);
        let lacks = !self.starved.is_empty() || !self.waiting.is_empty();
        let pipe = lacks.then(|| Instant::now() + REST);
        let oldest = self.clients.first_key_value();
        let client = oldest.map(|(_, client)| client.began + HELLO);
        let names = self.inquiries.next();
        [rest, timer, pipe, client, names, self.datagrams.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Do what can be done now; never waits.
    pub(crate) fn turn(&mut self) {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = self
            .epoll
            .wait(&mut events, EpollTimeout::ZERO)
            .unwrap_or(0);
        for event in events.iter().take(count) {
            if let Some(key) = Key::from_data(event.data()) {
                self.take(key, event.events());
            }
        }
        for _ in 0..self.ready.len() {
            if let Some(number) = self.ready.pop_front() {
                self.pump(number, Word::Turn);
            }
        }
        for _ in 0..self.starved.len() {
            if let Some(number) = self.starved.pop_front() {
                self.pump(number, Word::Turn);
            }
        }
        let now = Instant::now();
        while let Some(&(_, number)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.set_timer(number, None);
            self.advance(number, now);
        }
        // One that does not say what it wants.
        while let Some(oldest) = self.clients.first_entry()
            && now >= oldest.get().began + HELLO
        {
            relay::reset(oldest.remove().stream);
        }
        if !self.waiting.is_empty() {
            self.inner.refill();
            self.queue.append(&mut self.waiting);
        }
        self.inquire_further(now);
        self.start_dials(now);
        self.accept_again(now);
        self.with_datagrams(Datagrams::expire);
    }

    /// Let the UDP flows do something.
    fn with_datagrams(&mut self, act: impl FnOnce(&mut Datagrams, &mut Around<'_>)) {
        let mut around = Around {
            epoll: &self.epoll,
            rules: &self.rules,
            names: &self.names,
            resolution: &mut self.resolution,
            budgets: &mut self.budgets,
            journal: &mut self.journal,
            callers: &self.callers,
            now: Instant::now(),
        };
        act(&mut self.datagrams, &mut around);
    }

    /// The sandbox is gone: tell what is left to tell.
    pub(crate) fn finish(mut self) {
        // What was on its way when the command ended still goes out.
        self.turn();
        let numbers: Vec<u64> = self.flows.keys().copied().collect();
        for number in numbers {
            self.end(number, relay::Outcome::Reset, None);
        }
        self.with_datagrams(Datagrams::finish);
        self.look_at_watches();
        self.journal.summarise();
    }

    fn take(&mut self, key: Key, events: EpollFlags) {
        let broken = events.contains(EpollFlags::EPOLLERR);
        match key {
            Key::Names(place) => self.answer_datagrams(place),
            Key::Talk(number) => self.talk(number),
            Key::Datagrams(place) => {
                self.with_datagrams(|flows, around| flows.take(place, around));
            }
            Key::DatagramsOutside(number) => {
                self.with_datagrams(|flows, around| flows.outside(number, around));
            }
            Key::Listener(place) => self.accept(Gate::Inside(place)),
            Key::Published(place) => self.accept(Gate::Published(place)),
            Key::Proxy(place) => self.accept(Gate::Proxy(place)),
            Key::Client(number) => self.listen_to(number),
            Key::Inner(place) => self.inner.turn(place),
            Key::Watch(place) => self.look(place),
            Key::Orders(_) => self.take_orders(),
            Key::Inquiry(number) => self.inquire(number, Instant::now()),
            Key::Inside(number) => match self.flows.get(&number).map(|flow| &flow.state) {
                Some(State::Joined(_)) => self.pump(number, Word::Inside(events)),
                Some(State::Inspecting(..)) if !broken => self.look_into(number, Instant::now()),
                // A half-close is none: the server may answer all the same.
                Some(_) if broken || events.contains(EpollFlags::EPOLLHUP) => {
                    self.end(number, relay::Outcome::Reset, Some("given up".to_owned()));
                }
                _ => {}
            },
            Key::Outside(number) => match self.flows.get(&number).map(|flow| &flow.state) {
                Some(State::Joined(_)) => self.pump(number, Word::Outside(events)),
                Some(_) => self.advance(number, Instant::now()),
                None => {}
            },
        }
    }

    fn accept(&mut self, gate: Gate) {
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
    fn decide(&mut self, stream: TcpStream, peer: SocketAddr) {
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

    /// Give sockets to callers as well.
    ///
    /// # Errors
    /// When their orders cannot be watched.
    pub(crate) fn give_directly(&mut self, dialler: Dialler) -> Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, Key::Orders(0).to_data());
        let watched = self.epoll.add(dialler.descriptor(), event);
        watched.map_err(|errno| Error::host("watch", "the connections asked for", errno))?;
        self.dialler = Some(dialler);
        Ok(())
    }

    fn take_orders(&mut self) {
        let orders = self.dialler.as_ref().map(Dialler::take);
        for order in orders.into_iter().flatten() {
            match order {
                Wanted::Socket(order) => self.take_order(order),
                Wanted::Way {
                    id,
                    protocol,
                    asked,
                    who,
                } => {
                    self.learn(protocol, asked, who);
                    self.give(id, Given::Inside);
                }
            }
        }
    }

    fn give(&self, id: u64, given: Given) {
        if let Some(dialler) = &self.dialler {
            dialler.give(id, given);
        }
    }

    /// A caller wants a socket: may it, and can it be one? If not, the sandbox's own network serves it,
    /// where the relay tells of what is refused.
    fn take_order(&mut self, order: Order) {
        let asked_for = SocketAddr::new(order.asked.ip().to_canonical(), order.asked.port());
        let protocol = Protocol::Tcp;
        let (asked, target) = match self.names.meant_by(&self.rules, protocol, asked_for) {
            Some(name) => (Asked::Name(name.name().clone()), Target::Name(name)),
            None => (Asked::Address(asked_for.ip()), Target::Address(asked_for)),
        };
        let inspected = self.inspect == Inspect::Yes && matches!(target, Target::Name(_));
        let decided = self.rules.decide(protocol, &asked, asked_for.port());
        // What may pass so many bytes has them counted where it is relayed.
        let share = self.budgets.join(protocol, &asked, asked_for.port());
        self.budgets.leave(&share);
        let (Ok(allowed), false, false, true) = (
            decided,
            inspected || share != Share::default(),
            self.names.is_service(asked_for),
            self.flows.len() < self.most_flows,
        ) else {
            self.give(order.id, Given::Inside);
            return;
        };
        let flow = Flow {
            wish: Wish {
                protocol,
                asked,
                port: asked_for.port(),
                who: None,
            },
            origin: Origin::Plain,
            share: Share::default(),
            rule: allowed.rule,
            began: Instant::now(),
            address: None,
            errno: None,
            timer: None,
            state: State::Queued(Caller::Direct(Box::new(order)), target),
        };
        let number = self.new_number();
        self.flows.insert(number, flow);
        self.queue.push_back(number);
    }

    /// A caller that does not wait gets a socket that is on its way to the first address that can be begun
    /// with.
    fn begin_direct(&mut self, number: u64, now: Instant) {
        self.set_timer(number, None);
        let Some(mut flow) = self.flows.remove(&number) else {
            return;
        };
        let State::Dialling(Caller::Direct(order), mut dial) = flow.state else {
            self.flows.insert(number, flow);
            return;
        };
        match dial.begin(|_| order.open()) {
            Ok((socket, address)) => {
                self.dial_is_over(&flow.wish);
                self.hand_over(&order, Given::Begun(socket), flow.wish, &flow.rule, address);
            }
            Err(errno) => {
                flow.errno = Some(errno);
                flow.state = State::Dialling(Caller::Direct(order), Dial::new(&[], now));
                self.flows.insert(number, flow);
                self.end(number, relay::Outcome::Reset, Some(error::reason(errno)));
            }
        }
    }

    /// The caller has its socket. From here on it is nobody's business here, and nothing of it is kept.
    fn hand_over(
        &mut self,
        order: &Order,
        given: Given,
        wish: Wish,
        rule: &str,
        address: SocketAddr,
    ) {
        if let Given::Connected(socket) | Given::Begun(socket) = &given {
            // An epoll set goes on watching a file that is open somewhere. One that was never added is none.
            let _ = self.epoll.delete(socket);
        }
        self.give(order.id, given);
        let ip = address.ip().to_canonical();
        self.journal.ended(&Outcome {
            wish,
            rule: rule.to_owned(),
            address: Some(SocketAddr::new(ip, address.port())),
            there: 0,
            back: 0,
            took: Duration::ZERO,
            failure: None,
            engine: Carrier::Direct,
        });
    }

    /// No address fits the caller's socket.
    fn leave_inside(&mut self, number: u64) {
        self.set_timer(number, None);
        let Some(flow) = self.flows.remove(&number) else {
            return;
        };
        if let State::Dialling(Caller::Direct(order), _) = flow.state {
            self.dial_is_over(&flow.wish);
            self.give(order.id, Given::Inside);
        }
    }

    fn fail_direct(&self, order: &Order, errno: Option<Errno>) {
        self.give(
            order.id,
            Given::Failed(errno.unwrap_or(Errno::ECONNREFUSED)),
        );
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

    /// A client of the proxy.
    fn greet(&mut self, stream: TcpStream) {
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
    fn listen_to(&mut self, number: u64) {
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

    fn begin(
        &mut self,
        stream: TcpStream,
        wish: Wish,
        rule: Arc<str>,
        target: Target,
        mut origin: Origin,
        now: Instant,
    ) {
        let share = match &origin {
            Origin::Outside(_) => Share::default(),
            Origin::Plain | Origin::Proxy(_) => {
                self.budgets.join(wish.protocol, &wish.asked, wish.port)
            }
        };
        if let Some(spent) = self.budgets.spent(&share) {
            self.budgets.leave(&share);
            self.journal.refused_for(&wish, &spent.to_string(), now);
            if let Origin::Proxy(client) = &mut origin {
                client.otherwise = front::Outcome::Refused;
            }
            origin.turn_away(stream);
            return;
        }
        let number = self.new_number();
        let event = EpollEvent::new(EDGES, Key::Inside(number).to_data());
        if self.epoll.add(&stream, event).is_err() {
            self.budgets.leave(&share);
            relay::reset(stream);
            return;
        }
        let ours = matches!(&origin, Origin::Proxy(client) if !client.head.is_empty());
        let inspected = self.inspect == Inspect::Yes && matches!(target, Target::Name(_)) && !ours;
        let state = match inspected {
            true => State::Inspecting(stream, target),
            false => State::Queued(Caller::Stream(stream), target),
        };
        let flow = Flow {
            wish,
            origin,
            share,
            rule,
            began: now,
            address: None,
            errno: None,
            timer: None,
            state,
        };
        self.flows.insert(number, flow);
        match inspected {
            true => {
                self.set_timer(number, Some(now + HELLO));
                self.look_into(number, now);
            }
            false => self.queue.push_back(number),
        }
    }

    /// Look at the first bytes that the client has sent; they stay where they are.
    fn look_into(&mut self, number: u64, now: Instant) {
        let Some(Flow {
            wish,
            state: State::Inspecting(stream, _),
            ..
        }) = self.flows.get(&number)
        else {
            return;
        };
        let mut bytes = vec![0; sniff::MOST];
        let inspection = match stream.peek(&mut bytes) {
            // Over before anything was said.
            Ok(0) => Err("nothing is sent".to_owned()),
            Ok(length) => {
                let sent = bytes.get(..length).unwrap_or_default();
                Ok(sniff::inspect(sent, &wish.asked, wish.port))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Inspection::More),
            Err(error) => Err(error.to_string()),
        };
        match inspection {
            Ok(Inspection::More) => {}
            Ok(Inspection::Passed) => {
                self.set_timer(number, None);
                let Some(mut flow) = self.flows.remove(&number) else {
                    return;
                };
                if let State::Inspecting(stream, target) = flow.state {
                    flow.state = State::Queued(Caller::Stream(stream), target);
                }
                self.flows.insert(number, flow);
                self.queue.push_back(number);
            }
            Ok(Inspection::Refused(finding)) => {
                let reason = finding.fault.to_string();
                self.journal.refused_for(wish, &reason, now);
                dismiss(stream, finding.farewell());
                self.end(number, relay::Outcome::Ended, Some(reason));
            }
            Err(reason) => self.end(number, relay::Outcome::Reset, Some(reason)),
        }
    }

    fn start_dials(&mut self, now: Instant) {
        while self.dials < MOST_DIALS {
            let Some(number) = self.queue.pop_front() else {
                return;
            };
            // It may have been given up meanwhile.
            let Some(mut flow) = self.flows.remove(&number) else {
                continue;
            };
            if let State::Queued(client, target) = flow.state {
                if matches!(target, Target::Inside(_)) && !self.inner.is_ready(self.served) {
                    self.waiting.push_back(number);
                    flow.state = State::Queued(client, target);
                    self.flows.insert(number, flow);
                    continue;
                }
                let destination = (flow.wish.asked.clone(), flow.wish.port);
                let dials = self.destinations.entry(destination).or_default();
                if dials.under_way >= MOST_DIALS_TO_ONE {
                    dials.parked.push_back(number);
                    flow.state = State::Queued(client, target);
                    self.flows.insert(number, flow);
                    continue;
                }
                dials.under_way += 1;
                flow.state = match target {
                    Target::Address(address) => {
                        let addresses = match &client {
                            Caller::Stream(_) => vec![address],
                            Caller::Direct(order) => order.fitting(&[address]),
                        };
                        State::Dialling(client, Dial::new(&addresses, now))
                    }
                    Target::Inside(port) => {
                        let mut both = [
                            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                            SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
                        ];
                        both.sort_by_key(|address| V::of(*address) != self.served);
                        State::Dialling(client, Dial::new(&both, now))
                    }
                    Target::Name(name) => {
                        let known = self.resolution.hosts.addresses(name.name());
                        let settings = &self.resolution.settings;
                        State::LookingUp(client, Box::new(Asking::new(&name, settings, known)))
                    }
                };
                self.dials += 1;
                self.flows.insert(number, flow);
                self.advance(number, now);
            } else {
                self.flows.insert(number, flow);
            }
        }
    }

    /// A dial to `wish` is over: the next one that waits for that may be started.
    fn dial_is_over(&mut self, wish: &Wish) {
        self.dials = self.dials.saturating_sub(1);
        let destination = (wish.asked.clone(), wish.port);
        let Some(dials) = self.destinations.get_mut(&destination) else {
            return;
        };
        dials.under_way = dials.under_way.saturating_sub(1);
        while let Some(next) = dials.parked.pop_front() {
            // It may have been given up meanwhile.
            if self.flows.contains_key(&next) {
                self.queue.push_front(next);
                break;
            }
        }
        if dials.under_way == 0 && dials.parked.is_empty() {
            self.destinations.remove(&destination);
        }
    }

    fn new_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1) & NUMBERS;
        number
    }

    /// Go on with a look-up or a dial.
    fn advance(&mut self, number: u64, now: Instant) {
        if let Some(Flow {
            state: State::Joined(_),
            ..
        }) = self.flows.get(&number)
        {
            self.pump(number, Word::Turn);
            return;
        }
        if let Some(Flow {
            wish,
            state: State::Inspecting(..),
            ..
        }) = self.flows.get(&number)
        {
            let reason = "nothing that names the server is sent";
            self.journal.refused_for(wish, reason, now);
            self.end(number, relay::Outcome::Reset, Some(reason.to_owned()));
            return;
        }
        if let Some(Flow {
            state: State::LookingUp(_, asking),
            ..
        }) = self.flows.get_mut(&number)
        {
            let (epoll, resolution) = (&self.epoll, &mut self.resolution);
            let progress = asking.advance(
                now,
                || resolution.random(),
                |socket| {
                    let event = EpollEvent::new(EDGES, Key::Outside(number).to_data());
                    // Without it the question is given up when its time is over.
                    let _ = epoll.add(socket, event);
                },
            );
            match progress {
                asking::Progress::Waits(until) => self.set_timer(number, Some(until)),
                asking::Progress::Over(found) => self.judge(number, found, now),
            }
            return;
        }
        self.advance_dial(number, now);
    }

    /// A name was looked up: dial the addresses that may be dialled for it.
    fn judge(
        &mut self,
        number: u64,
        found: std::result::Result<Vec<IpAddr>, Failure>,
        now: Instant,
    ) {
        let found = match found {
            Ok(found) => found,
            Err(failure) => {
                let otherwise = match failure {
                    Failure::NoAnswer => front::Outcome::TimedOut,
                    _ => front::Outcome::NoSuchHost,
                };
                self.fail(number, failure.to_string(), otherwise);
                return;
            }
        };
        let Some(mut flow) = self.flows.remove(&number) else {
            return;
        };
        let port = flow.wish.port;
        match self.rules.admit(flow.wish.protocol, &found, port) {
            Err(refusal) => {
                self.journal.refused(&flow.wish, &refusal, now);
                self.flows.insert(number, flow);
                self.fail(number, refusal.to_string(), front::Outcome::Refused);
            }
            Ok(admitted) => {
                let addresses: Vec<SocketAddr> = admitted
                    .into_iter()
                    .map(|address| SocketAddr::new(address, port))
                    .collect();
                if let State::LookingUp(client, _) = flow.state {
                    let addresses = match &client {
                        Caller::Stream(_) => addresses,
                        Caller::Direct(order) => order.fitting(&addresses),
                    };
                    flow.state = State::Dialling(client, Dial::new(&addresses, now));
                    self.flows.insert(number, flow);
                    self.advance_dial(number, now);
                }
            }
        }
    }

    /// Go on with a dial.
    fn advance_dial(&mut self, number: u64, now: Instant) {
        if let Some(Flow {
            state: State::Dialling(Caller::Direct(order), dial),
            ..
        }) = self.flows.get(&number)
        {
            // The relay's own listener, or the kernel's refusal, serves what the caller's socket cannot.
            // So does it where several addresses are to be raced for one that does not wait.
            match (order.waits, dial.untried()) {
                (_, 0) if dial.is_over() => return self.leave_inside(number),
                (Waits::No, 1) => return self.begin_direct(number, now),
                (Waits::No, _) => return self.leave_inside(number),
                (Waits::Yes, _) => {}
            }
        }
        let Some(Flow {
            origin,
            errno: last,
            state: State::Dialling(client, dial),
            ..
        }) = self.flows.get_mut(&number)
        else {
            return;
        };
        let (epoll, inner) = (&self.epoll, &mut self.inner);
        let progress = dial.advance(
            now,
            |address| match (&*origin, &*client) {
                (Origin::Outside(_), _) => inner.take(V::of(address)),
                (_, Caller::Stream(_)) => dial::open(address),
                (_, Caller::Direct(order)) => order.open(),
            },
            |socket| {
                let event = EpollEvent::new(EDGES, Key::Outside(number).to_data());
                // Without it the attempt is looked at when the next one is due.
                let _ = epoll.add(socket, event);
            },
        );
        match progress {
            Progress::Waits(until) => self.set_timer(number, Some(until)),
            Progress::Failed(errno) => {
                *last = Some(errno);
                let otherwise = match errno {
                    Errno::ECONNREFUSED => front::Outcome::ConnectionRefused,
                    Errno::ETIMEDOUT => front::Outcome::TimedOut,
                    _ => front::Outcome::Unreachable,
                };
                self.fail(number, error::reason(errno), otherwise);
            }
            Progress::Connected(outside, address) => {
                self.set_timer(number, None);
                let Some(mut flow) = self.flows.remove(&number) else {
                    return;
                };
                self.dial_is_over(&flow.wish);
                if let State::Dialling(Caller::Direct(order), _) = flow.state {
                    let socket = OwnedFd::from(outside);
                    self.hand_over(
                        &order,
                        Given::Connected(socket),
                        flow.wish,
                        &flow.rule,
                        address,
                    );
                    return;
                }
                if let State::Dialling(Caller::Stream(inside), _) = flow.state {
                    flow.address = Some(address);
                    let begun = match &mut flow.origin {
                        Origin::Plain => true,
                        Origin::Outside(_) => {
                            self.served = V::of(address);
                            true
                        }
                        Origin::Proxy(client) => client.begin(&inside, &outside),
                    };
                    flow.state = State::Joined(Join::new(inside, outside));
                    self.flows.insert(number, flow);
                    match begun {
                        true => self.pump(number, Word::Turn),
                        false => {
                            self.end(number, relay::Outcome::Reset, Some("given up".to_owned()))
                        }
                    }
                }
            }
        }
    }

    fn set_timer(&mut self, number: u64, at: Option<Instant>) {
        let Some(flow) = self.flows.get_mut(&number) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut flow.timer, at) {
            self.timers.remove(&(before, number));
        }
        if let Some(at) = at {
            self.timers.insert((at, number));
        }
    }

    /// Move what a joined connection has to move, as far as its budgets go.
    fn pump(&mut self, number: u64, word: Word) {
        let Some(Flow {
            share,
            timer,
            state: State::Joined(join),
            ..
        }) = self.flows.get_mut(&number)
        else {
            return;
        };
        let limited = *share != Share::default();
        let (most, before) = match limited {
            false => (u64::MAX, 0),
            true => (self.budgets.allowance(share, Instant::now()), join.taken()),
        };
        let outcome = join.turn(&mut self.pipes, word, most);
        if limited {
            self.budgets
                .charge(share, join.taken().saturating_sub(before));
        }
        match outcome {
            relay::Outcome::Waits => {}
            relay::Outcome::GoesOn => self.ready.push_back(number),
            relay::Outcome::LacksPipe => self.starved.push_back(number),
            relay::Outcome::AtLimit => match self.budgets.spent(share) {
                Some(spent) => self.cut_off(number, &spent.to_string()),
                None if timer.is_none() => {
                    let now = Instant::now();
                    let next = self.budgets.next(share, now);
                    self.set_timer(number, Some(next));
                }
                None => {}
            },
            over => self.end(number, over, None),
        }
    }

    /// A budget is used up.
    fn cut_off(&mut self, number: u64, reason: &str) {
        if let Some(flow) = self.flows.get(&number) {
            self.journal.refused_for(&flow.wish, reason, Instant::now());
        }
        self.end(number, relay::Outcome::Reset, Some(reason.to_owned()));
    }

    /// Nothing comes of a connection, and a client of the proxy is told so.
    fn fail(&mut self, number: u64, reason: String, otherwise: front::Outcome) {
        let flow = self.flows.get_mut(&number);
        if let Some(Origin::Proxy(client)) = flow.map(|flow| &mut flow.origin) {
            client.otherwise = otherwise;
        }
        self.end(number, relay::Outcome::Reset, Some(reason));
    }

    /// A connection is over.
    fn end(&mut self, number: u64, outcome: relay::Outcome, failure: Option<String>) {
        self.set_timer(number, None);
        let Some(mut flow) = self.flows.remove(&number) else {
            return;
        };
        self.budgets.leave(&flow.share);
        let direct = matches!(
            flow.state,
            State::Queued(Caller::Direct(_), _)
                | State::LookingUp(Caller::Direct(_), _)
                | State::Dialling(Caller::Direct(_), _)
        );
        let (there, back) = match flow.state {
            State::Inspecting(stream, _) | State::Queued(Caller::Stream(stream), _) => {
                if outcome != relay::Outcome::Ended {
                    flow.origin.turn_away(stream);
                }
                (0, 0)
            }
            State::Queued(Caller::Direct(order), _) => {
                self.fail_direct(&order, flow.errno);
                (0, 0)
            }
            State::LookingUp(client, _) | State::Dialling(client, _) => {
                self.dial_is_over(&flow.wish);
                match client {
                    Caller::Stream(stream) => flow.origin.turn_away(stream),
                    Caller::Direct(order) => self.fail_direct(&order, flow.errno),
                }
                (0, 0)
            }
            State::Joined(join) => {
                let bytes = join.bytes();
                join.close(outcome, &mut self.pipes);
                bytes
            }
        };
        let outcome = Outcome {
            wish: flow.wish,
            rule: flow.rule.to_string(),
            address: flow.address,
            there,
            back,
            took: flow.began.elapsed(),
            failure,
            engine: match direct {
                true => Carrier::Direct,
                false => Carrier::Relay,
            },
        };
        match flow.origin {
            Origin::Plain | Origin::Proxy(_) => self.journal.ended(&outcome),
            Origin::Outside(inbound) => self.journal.inbound_ended(&inbound, &outcome),
        }
    }

    fn stop_accepting(&mut self, why: Accepting) {
        if self.accepting == Accepting::Yes {
            self.watch_listeners(EpollFlags::empty());
        }
        self.accepting = why;
    }

    fn accept_again(&mut self, now: Instant) {
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

    /// A client of the name service by TCP.
    fn begin_talk(&mut self, stream: TcpStream, now: Instant) {
        let number = self.new_number();
        let event = EpollEvent::new(EDGES, Key::Talk(number).to_data());
        if self.epoll.add(&stream, event).is_ok() {
            self.names.begin_talk(number, stream, now);
        }
    }

    fn talk(&mut self, number: u64) {
        while let Some(reply) = self.names.hear_stream(number, &self.rules) {
            self.answer_name(Asker::Stream(number), reply);
        }
    }

    fn answer_datagrams(&mut self, place: u64) {
        for _ in 0..LOOKS {
            let Some((peer, reply)) = self.names.hear_datagram(place, &self.rules) else {
                return;
            };
            self.answer_name(Asker::Datagram(place, peer), reply);
        }
    }

    /// Before a name is answered, its listeners are there; a refused one is told.
    fn tell_and_listen(&mut self, reply: Reply) -> Vec<u8> {
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
    fn watch_way(&mut self, protocol: Protocol, address: SocketAddr, socket: OwnedFd) {
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

    fn look_at_watches(&mut self) {
        for place in 0..self.watches.len() {
            self.look(place as u64);
        }
    }

    /// Read what the kernel has refused.
    fn look(&mut self, place: u64) {
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
            let wish = match self.rules.learns() {
                None => Wish {
                    protocol: refused.protocol,
                    asked: Asked::Address(destination.ip()),
                    port: destination.port(),
                    who,
                },
                Some(_) => self.wish(refused.protocol, destination, who),
            };
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

impl Origin {
    /// Nothing comes of it: a reset, or words where the client waits for some.
    fn turn_away(&mut self, stream: TcpStream) {
        match self {
            Self::Proxy(client) if !client.answered => {
                dismiss(&stream, &client.front.answer(client.otherwise));
            }
            _ => relay::reset(stream),
        }
    }
}

impl Client {
    /// Tell it the outcome; whether it takes that.
    fn answer(&mut self, mut stream: &TcpStream, outcome: front::Outcome) -> bool {
        self.answered = true;
        stream.write_all(&self.front.answer(outcome)).is_ok()
    }

    /// Its destination is reached. Few bytes, for which two new connections have room.
    fn begin(&mut self, inside: &TcpStream, mut outside: &TcpStream) -> bool {
        let told = self.answered || self.answer(inside, front::Outcome::Connected);
        let head = std::mem::take(&mut self.head);
        told && outside.write_all(&head).is_ok()
    }
}

/// Take `count` bytes that are there off `stream`.
fn take_off(mut stream: &TcpStream, count: usize) -> bool {
    stream.read_exact(&mut vec![0; count]).is_ok()
}

/// Tell a client that it is refused, in what it speaks. What it has sent is taken off first: closing
/// with unread bytes would be a reset, and the words would be lost.
fn dismiss(mut stream: &TcpStream, farewell: &[u8]) {
    let mut bytes = [0; 4096];
    for _ in 0..sniff::MOST / bytes.len() + 1 {
        match stream.read(&mut bytes) {
            Ok(1..) => {}
            _ => break,
        }
    }
    // Who does not take so few bytes learns it by the end.
    let _ = stream.write_all(farewell);
    let _ = stream.shutdown(Shutdown::Write);
}

/// How many connections and pipes the descriptor table has room for, with `ways` in it already.
fn bounds(ways: usize) -> (usize, usize) {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let left = limit.saturating_sub(ways + RESERVE);
    // A quarter for pipes, two descriptors each.
    let pipes = (left / 8).clamp(1, MOST_PIPES);
    let dials = MOST_DIALS.min(left / 8);
    let flows = left.saturating_sub(2 * pipes + dials) / 3;
    (flows.clamp(1, MOST_FLOWS), pipes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_survives_the_kernel() {
        for key in [
            Key::Listener(0),
            Key::Watch(1),
            Key::Inside(NUMBERS),
            Key::Outside(7),
            Key::Names(0),
            Key::Talk(9),
            Key::Datagrams(1),
            Key::DatagramsOutside(2),
            Key::Orders(0),
            Key::Published(0),
            Key::Inner(1),
            Key::Proxy(0),
            Key::Client(3),
            Key::Inquiry(5),
        ] {
            assert_eq!(Key::from_data(key.to_data()), Some(key));
        }
        assert_eq!(Key::from_data(u64::MAX), None);
    }
}
