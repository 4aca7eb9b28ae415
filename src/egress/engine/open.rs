//! How the engine begins: it takes over the sockets that the child has sent, and watches each.
//!
//! How many connections and pipes there may be is settled here, by the room in the descriptor table.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::resource::{Resource, getrlimit};

use super::Engine;
use super::accept::Accepting;
use super::dials::MOST_DIALS;
use super::inquiry::Inquiries;
use super::key::Key;
use crate::egress::asking::Resolution;
use crate::egress::budget::Budgets;
use crate::egress::carry::Told;
use crate::egress::datagram::Datagrams;
use crate::egress::host::Host;
use crate::egress::inner::Inner;
use crate::egress::journal::Journal;
use crate::egress::names::Names;
use crate::egress::refusals::{FILTER_V4, FILTER_V6, looking_further};
use crate::egress::relay::Pipes;
use crate::egress::rules::Rules;
use crate::egress::setup::{Setup, V, Way};
use crate::error::{Error, Result};
use crate::sys::parent;

/// The most connections at a time, where descriptors suffice.
const MOST_FLOWS: usize = 16_384;
/// Pipes lent at a time.
const MOST_PIPES: usize = 256;
/// Descriptors kept free for what the supervisor does besides.
const RESERVE: usize = 64;

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
        let (most_flows, most_pipes) = bounds(setup.ways.len());
        let mut kept = Sockets {
            listeners: Vec::new(),
            proxies: Vec::new(),
            watches: Vec::new(),
            names: Names::new(setup),
            datagrams: Datagrams::new(most_flows / 4),
            inner: Inner::default(),
        };
        for (way, socket) in setup.ways.iter().zip(sockets) {
            kept.keep(way, socket, &setup.rules, &epoll)
                .map_err(failed)?;
        }
        let now = Instant::now();
        let Told {
            events,
            callers,
            recorder,
        } = told;
        let mut journal = Journal::new(events, recorder, now);
        for (place, (listener, publish)) in (0..).zip(published.iter().zip(&setup.published)) {
            watch(&epoll, listener, Key::Published(place)).map_err(failed)?;
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
            names: kept.names,
            inquiries: Inquiries::default(),
            resolution: Resolution::read(&setup.rules),
            host: Host::open()?,
            datagrams: kept.datagrams,
            listeners: kept.listeners,
            proxies: kept.proxies,
            clients: BTreeMap::new(),
            published: published.collect(),
            inner: kept.inner,
            waiting: VecDeque::new(),
            served: V::Four,
            watches: kept.watches,
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
}

/// The sockets that the child has sent, each where it belongs.
struct Sockets {
    listeners: Vec<TcpListener>,
    proxies: Vec<TcpListener>,
    watches: Vec<OwnedFd>,
    names: Names,
    datagrams: Datagrams,
    inner: Inner,
}

impl Sockets {
    /// Keep `socket`, which is for `way`, and watch it where something comes to it.
    fn keep(
        &mut self,
        way: &Way,
        socket: OwnedFd,
        rules: &Rules,
        epoll: &Epoll,
    ) -> std::result::Result<(), Errno> {
        match way {
            Way::Spare(protocol, version) => self.names.keep_spare(*protocol, *version, socket),
            Way::Inner(version) => self.inner.add(*version, socket),
            Way::Front(_) => {
                watch(epoll, &socket, Key::Proxy(self.proxies.len() as u64))?;
                self.proxies.push(TcpListener::from(socket));
            }
            Way::InnerListener(address) => {
                watch(epoll, &socket, Key::Inner(self.inner.places()))?;
                self.inner.add_listener(socket, *address);
            }
            Way::Datagrams(address) => {
                watch(epoll, &socket, Key::Datagrams(self.datagrams.inlets()))?;
                self.datagrams.add_inlet(socket, *address);
            }
            Way::NameDatagrams(_) => {
                let place = self.names.services().len() as u64;
                watch(epoll, &socket, Key::Names(place))?;
                self.names.serve(socket);
            }
            Way::Listener(_) | Way::NameStream(_) => {
                watch(epoll, &socket, Key::Listener(self.listeners.len() as u64))?;
                self.listeners.push(TcpListener::from(socket));
            }
            Way::Watch(version) => {
                let filter = match version {
                    V::Four => FILTER_V4,
                    V::Six => FILTER_V6,
                };
                let filter = match rules.learns() {
                    None => filter.to_vec(),
                    Some(_) => looking_further(filter),
                };
                parent::attach_filter(socket.as_fd(), &filter)?;
                watch(epoll, &socket, Key::Watch(self.watches.len() as u64))?;
                self.watches.push(socket);
            }
        }
        Ok(())
    }
}

/// Have `epoll` tell by `key` when something comes to `socket`.
fn watch(epoll: &Epoll, socket: impl AsFd, key: Key) -> std::result::Result<(), Errno> {
    epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, key.to_data()))
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
