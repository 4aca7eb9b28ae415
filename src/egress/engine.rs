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
//!
//! Here are the values and the loop's turn; [`open`] takes the sockets over. A connection's way is told in
//! this order: [`accept`], or [`proxy`], or [`direct`]; [`inspect`]; [`dials`]; and [`flow`], how it begins,
//! moves its bytes and ends.
#![forbid(unsafe_code)]

mod accept;
mod dials;
mod direct;
mod flow;
mod inquiry;
mod inspect;
mod key;
mod learn;
mod names;
mod open;
mod proxy;
mod refused;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};

use self::accept::{Accepting, Gate};
use self::dials::Dials;
use self::inquiry::Inquiries;
pub(super) use self::key::{EDGES, Key};
use self::proxy::{Asks, Client};
use super::asking::{Asking, Resolution};
use super::budget::{Budgets, Share};
use super::datagram::{Around, Datagrams};
use super::destination::Asked;
use super::dial::Dial;
use super::direct::{Dialler, Order};
use super::host::Host;
use super::inner::Inner;
use super::journal::{Inbound, Journal, Wish};
use super::names::Names;
use super::publish::Publish;
use super::relay::{self, Join, Pipes, Word};
use super::rules::{Permitted, Rules};
use super::setup::V;
use super::who::Callers;
use crate::policy::Inspect;

/// How many events are taken from the kernel at a time.
const BATCH: usize = 128;
/// How long accepting rests where the host has no descriptor left.
const REST: Duration = Duration::from_millis(100);
/// How long a client may take to say whom it wants, where that is inspected.
const HELLO: Duration = Duration::from_secs(10);
/// How many refusals are read off the watch at a time.
const LOOKS: usize = 64;

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
    host: Host,
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
            host: &mut self.host,
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
}
