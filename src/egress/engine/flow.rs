//! A connection that the rules allow, from its beginning to its end: its number, its time, its bytes.
//!
//! Whatever ends it, it leaves its budget, its place among the dials and the proxy's last words here, and
//! is told once.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::epoll::EpollEvent;

use super::key::{EDGES, Key};
use super::{Caller, Engine, Flow, HELLO, Origin, State, Target};
use crate::egress::budget::{Ahead, Share};
use crate::egress::journal::{Outcome, Wish};
use crate::egress::relay::{self, Word};
use crate::egress::{front, sniff};
use crate::epoll_data::NUMBERS;
use crate::policy::{Carrier, Inspect};

impl Engine {
    pub(super) fn begin(
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

    pub(super) fn new_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = self.next_number.wrapping_add(1) & NUMBERS;
        number
    }

    pub(super) fn set_timer(&mut self, number: u64, at: Option<Instant>) {
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
    pub(super) fn pump(&mut self, number: u64, word: Word) {
        let Some(Flow {
            share,
            timer,
            origin,
            state: State::Joined(join),
            ..
        }) = self.flows.get_mut(&number)
        else {
            return;
        };
        let limited = *share != Share::default();
        if let Origin::Proxy(client) = origin
            && !client.head.is_empty()
        {
            match self
                .budgets
                .take_ahead(share, client.head.len(), Instant::now())
            {
                Ahead::Goes => {
                    if !join.send_ahead(&std::mem::take(&mut client.head)) {
                        self.end(number, relay::Outcome::Reset, Some("given up".to_owned()));
                        return;
                    }
                }
                Ahead::Waits(until) => {
                    self.set_timer(number, Some(until));
                    return;
                }
                Ahead::Spent(spent) => {
                    self.cut_off(number, &spent.to_string());
                    return;
                }
            }
        }
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
    pub(super) fn fail(&mut self, number: u64, reason: String, otherwise: front::Outcome) {
        if let Some(flow) = self.flows.get_mut(&number) {
            let direct = matches!(
                flow.state,
                State::LookingUp(Caller::Direct(_), _) | State::Dialling(Caller::Direct(_), _)
            );
            match &mut flow.origin {
                Origin::Proxy(client) => client.otherwise = otherwise,
                // A refusal was told already.
                Origin::Plain if !direct && otherwise != front::Outcome::Refused => {
                    self.journal.not_reached(&flow.wish, &reason);
                }
                Origin::Plain | Origin::Outside(_) => {}
            }
        }
        self.end(number, relay::Outcome::Reset, Some(reason));
    }

    /// A connection is over.
    pub(super) fn end(&mut self, number: u64, outcome: relay::Outcome, failure: Option<String>) {
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

/// Tell a client that it is refused, in what it speaks. What it has sent is taken off first: closing
/// with unread bytes would be a reset, and the words would be lost.
pub(super) fn dismiss(mut stream: &TcpStream, farewell: &[u8]) {
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
