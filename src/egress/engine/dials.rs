//! From the queue to a connection outside: look up, judge, dial.
//!
//! So many are under way at a time, and so many of these to one destination. What was judged is what is
//! dialled: no name is looked up twice.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::EpollEvent;

use super::key::{EDGES, Key};
use super::{Caller, Engine, Flow, Origin, State, Target};
use crate::egress::asking::{self, Asking};
use crate::egress::dial::{self, Dial, Progress};
use crate::egress::direct::{Given, Waits};
use crate::egress::front;
use crate::egress::journal::Wish;
use crate::egress::lookup::Failure;
use crate::egress::relay::{self, Join, Word};
use crate::egress::setup::V;
use crate::error;

/// How many dials, with the look-ups before them, are under way at a time.
pub(super) const MOST_DIALS: usize = 512;
/// How many of these are for one destination: one that does not answer must not hold up others.
const MOST_DIALS_TO_ONE: usize = 64;

/// What is under way to one destination, and what waits for that.
#[derive(Debug, Default)]
pub(super) struct Dials {
    under_way: usize,
    parked: VecDeque<u64>,
}

impl Engine {
    pub(super) fn start_dials(&mut self, now: Instant) {
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
    pub(super) fn dial_is_over(&mut self, wish: &Wish) {
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

    /// Go on with a look-up or a dial.
    pub(super) fn advance(&mut self, number: u64, now: Instant) {
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
        let whose = |address| self.host.whose(address);
        match self.rules.admit(flow.wish.protocol, &found, port, whose) {
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
            Progress::Connected(outside, address) => self.dialled(number, outside, address),
        }
    }

    /// A dial has reached `address`: who it was for gets the socket, or is joined with it.
    fn dialled(&mut self, number: u64, outside: TcpStream, address: SocketAddr) {
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
                Origin::Proxy(client) => client.begin(&inside),
            };
            flow.state = State::Joined(Join::new(inside, outside));
            self.flows.insert(number, flow);
            match begun {
                true => self.pump(number, Word::Turn),
                false => self.end(number, relay::Outcome::Reset, Some("given up".to_owned())),
            }
        }
    }
}
