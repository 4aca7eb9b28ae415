//! How the engine begins: it takes over the sockets that the child has sent, and watches each.
//!
//! How many connections and pipes there may be is settled here, by the room in the descriptor table.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

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
use crate::egress::inner::Inner;
use crate::egress::journal::Journal;
use crate::egress::names::Names;
use crate::egress::refusals::{FILTER_V4, FILTER_V6, looking_further};
use crate::egress::relay::Pipes;
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
