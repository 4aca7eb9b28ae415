//! Callers that get the socket itself (`--egress direct`): their orders are decided, dialled for, given.
//!
//! What cannot be given so is left to the sandbox's own network, where the relay serves or refuses it.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::key::Key;
use super::{Caller, Engine, Flow, Origin, State, Target};
use crate::egress::budget::Share;
use crate::egress::destination::{Asked, Protocol};
use crate::egress::dial::Dial;
use crate::egress::direct::{Dialler, Given, Order, Wanted};
use crate::egress::journal::{Outcome, Wish};
use crate::egress::relay;
use crate::error::{self, Error, Result};
use crate::policy::{Carrier, Inspect};

impl Engine {
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

    pub(super) fn take_orders(&mut self) {
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
    pub(super) fn begin_direct(&mut self, number: u64, now: Instant) {
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
    pub(super) fn hand_over(
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
    pub(super) fn leave_inside(&mut self, number: u64) {
        self.set_timer(number, None);
        let Some(flow) = self.flows.remove(&number) else {
            return;
        };
        if let State::Dialling(Caller::Direct(order), _) = flow.state {
            self.dial_is_over(&flow.wish);
            self.give(order.id, Given::Inside);
        }
    }

    pub(super) fn fail_direct(&self, order: &Order, errno: Option<Errno>) {
        self.give(
            order.id,
            Given::Failed(errno.unwrap_or(Errno::ECONNREFUSED)),
        );
    }
}
