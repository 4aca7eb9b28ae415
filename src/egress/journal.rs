//! What is told of egress: an event for each decision, a line for people about what was refused, and
//! the sums.
//!
//! In the supervisor's loop only. What comes from inside is bounded here before it is told: at most
//! [`MOST_LINES`] different refusals are printed, and past [`EVENTS_A_SECOND`] refusals are counted
//! instead of written.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::destination::{Asked, Protocol};
use super::dns::RefusedName;
use super::rules::{self, Reason};
use super::who::Who;
use crate::event::Events;
use crate::learn::record::{Came, Recorder, Target};
use crate::log;
use crate::policy::Carrier;

/// How many different refusals are printed.
const MOST_LINES: usize = 32;
/// How many refusals a second are written as events.
const EVENTS_A_SECOND: u32 = 100;
/// How many destinations the sums name.
const MOST_SUMS: usize = 1024;

/// What the command asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) protocol: Protocol,
    pub(super) asked: Asked,
    pub(super) port: u16,
    /// Which program, where that is known.
    pub(super) who: Option<Who>,
}

impl Wish {
    fn destination(&self) -> String {
        format!("{}:{}", self.asked, self.port)
    }

    fn target(&self) -> Target {
        Target::new(self.protocol, &self.asked, self.port)
    }

    fn executable(&self) -> Option<&str> {
        self.who.as_ref().and_then(|who| who.executable.as_deref())
    }
}

/// A connection from outside, to what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inbound {
    /// Where it was accepted.
    pub(super) outside: SocketAddr,
    /// Whose it is.
    pub(super) peer: SocketAddr,
}

/// How a connection that the rules allow came to its end.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) wish: Wish,
    pub(super) rule: String,
    /// The address that was dialled; `None` where none could be.
    pub(super) address: Option<SocketAddr>,
    /// Bytes from who began it.
    pub(super) there: u64,
    pub(super) back: u64,
    pub(super) took: Duration,
    /// Why nothing came of it.
    pub(super) failure: Option<String>,
    /// Who carries it.
    pub(super) engine: Carrier,
}

#[derive(Debug, Default)]
struct Sum {
    connections: u64,
    failures: u64,
    out: u64,
    back: u64,
}

/// The teller.
#[derive(Debug)]
pub(super) struct Journal {
    events: Events,
    /// What is learned.
    recorder: Recorder,
    printed: HashSet<String>,
    /// The second that is counted, and how many refusals it had.
    second: Instant,
    in_second: u32,
    unwritten: u64,
    refused: u64,
    sums: BTreeMap<String, Sum>,
    /// Of what came in, by what is published.
    inbound: BTreeMap<String, Sum>,
}

impl Sum {
    fn shown(&self, out: u64, back: u64) -> Value {
        json!({
            "connections": self.connections,
            "failures": self.failures,
            "bytes_out": out,
            "bytes_in": back,
        })
    }

    fn add(&mut self, outcome: &Outcome) {
        self.connections += 1;
        self.failures += u64::from(outcome.failure.is_some());
        self.out = self.out.saturating_add(outcome.there);
        self.back = self.back.saturating_add(outcome.back);
    }
}

impl Journal {
    pub(super) fn new(events: Events, recorder: Recorder, now: Instant) -> Self {
        Self {
            events,
            recorder,
            printed: HashSet::new(),
            second: now,
            in_second: 0,
            unwritten: 0,
            refused: 0,
            sums: BTreeMap::new(),
            inbound: BTreeMap::new(),
        }
    }

    /// The rules, or what was found out later, refuse `wish`.
    pub(super) fn refused(&mut self, wish: &Wish, refusal: &rules::Refusal, now: Instant) {
        let (reason, flag) = (refusal.to_string(), refusal.flag());
        self.learn_refusal(wish, refusal);
        let protocol = wish.protocol.to_string();
        let who = wish.who.as_ref();
        self.tell_refusal(&protocol, wish.destination(), &reason, flag, who, now);
    }

    /// Keep, where somebody learns, that `wish` is refused; it is told by whoever refuses it.
    pub(super) fn learn_refusal(&mut self, wish: &Wish, refusal: &rules::Refusal) {
        let open = matches!(refusal.reason, Reason::NotAllowed | Reason::OtherPorts(..))
            && rules::may_be_learned(&wish.asked, wish.port);
        match open {
            true => self.recorder.wanted(wish.target(), wish.executable()),
            false => {
                let reason = refusal.to_string();
                self.recorder
                    .special(wish.target(), reason, wish.executable());
            }
        }
    }

    /// `wish` would be permitted while it is learned, and nobody could be made to listen for it.
    pub(super) fn not_learned(&mut self, wish: &Wish, errno: Errno) {
        let reason = match errno {
            Errno::EMFILE => "more destinations than can be learned in one run",
            Errno::EADDRINUSE => "a server of the command's own has that port of every address",
            errno => errno.desc(),
        };
        let protocol = wish.protocol.to_string();
        self.print(&wish.destination(), &protocol, reason, None);
        self.recorder
            .missed(wish.target(), reason.to_owned(), wish.executable());
    }

    /// A name was looked up.
    pub(super) fn learn_name(&self, name: &str) {
        self.recorder.name(name.to_owned());
    }

    /// A Unix socket of the host was connected to.
    pub(super) fn learn_socket(&self, path: String, user: Option<&str>) {
        self.recorder.socket(path, user);
    }

    /// One was not.
    pub(super) fn learn_closed(&self, path: String, reason: &str, user: Option<&str>) {
        self.recorder.closed(path, reason, user);
    }

    /// A call beyond the profile was made.
    pub(super) fn learn_call(&self, name: &str, user: Option<&str>) {
        self.recorder.call(name.to_owned(), user);
    }

    /// One was not.
    pub(super) fn learn_refused_call(&self, name: &str, reason: &str, user: Option<&str>) {
        self.recorder.refused_call(name.to_owned(), reason, user);
    }

    /// Whether anything is learned.
    pub(super) fn learns(&self) -> bool {
        self.recorder.is_on()
    }

    /// `wish` is refused for what was sent.
    pub(super) fn refused_for(&mut self, wish: &Wish, reason: &str, now: Instant) {
        let protocol = wish.protocol.to_string();
        let who = wish.who.as_ref();
        self.tell_refusal(&protocol, wish.destination(), reason, None, who, now);
    }

    /// A name was asked for that is not allowed.
    pub(super) fn refused_name(&mut self, refused: &RefusedName, now: Instant) {
        let (reason, flag) = (refused.refusal.to_string(), refused.refusal.flag());
        self.tell_refusal("name", refused.name.clone(), &reason, flag, None, now);
    }

    /// A socket was not connected.
    pub(super) fn refused_socket(
        &mut self,
        protocol: &str,
        destination: String,
        reason: &str,
        flag: Option<String>,
        now: Instant,
    ) {
        self.tell_refusal(protocol, destination, reason, flag, None, now);
    }

    fn tell_refusal(
        &mut self,
        protocol: &str,
        destination: String,
        reason: &str,
        flag: Option<String>,
        who: Option<&Who>,
        now: Instant,
    ) {
        self.refused += 1;
        self.print(&destination, protocol, reason, flag.as_deref());
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.in_second) = (now, 0);
        }
        self.in_second = self.in_second.saturating_add(1);
        if self.in_second > EVENTS_A_SECOND {
            self.unwritten += 1;
            return;
        }
        let unwritten = std::mem::take(&mut self.unwritten);
        self.events.write("egress", || {
            let mut fields = json!({
                "verdict": "refused",
                "protocol": protocol,
                "destination": destination,
                "reason": reason,
                "flag": flag,
                "pid": who.map(|who| who.pid),
                "executable": who.and_then(|who| who.executable.as_deref()),
            });
            if let (Value::Object(fields), 1..) = (&mut fields, unwritten) {
                fields.insert("not_written_before".to_owned(), unwritten.into());
            }
            fields
        });
    }

    fn print(&mut self, destination: &str, protocol: &str, reason: &str, flag: Option<&str>) {
        if !self.is_news(format!("{protocol} {destination}")) {
            return;
        }
        match flag {
            Some(flag) => {
                warn!(target: log::REFUSALS, protocol, destination, reason, would_allow = flag, "refused");
            }
            None => warn!(target: log::REFUSALS, protocol, destination, reason, "refused"),
        }
        self.say_if_last();
    }

    /// `wish` is allowed, and nobody was there: the command was connected by then, and sees a reset. The
    /// event follows at the connection's end.
    pub(super) fn not_reached(&mut self, wish: &Wish, reason: &str) {
        let (protocol, destination) = (wish.protocol.to_string(), wish.destination());
        if self.is_news(format!("not reached {protocol} {destination}")) {
            warn!(target: log::REFUSALS, protocol, destination, reason, "allowed, and not reached");
            self.say_if_last();
        }
    }

    /// Whether a line about `what` is to be printed: the first, as long as there are few.
    fn is_news(&mut self, what: String) -> bool {
        self.printed.len() < MOST_LINES && self.printed.insert(what)
    }

    fn say_if_last(&self) {
        if self.printed.len() == MOST_LINES {
            warn!(target: log::REFUSALS, "further refusals are not printed");
        }
    }

    /// A connection that the rules allow has ended.
    pub(super) fn ended(&mut self, outcome: &Outcome) {
        let destination = outcome.wish.destination();
        info!(
            protocol = %outcome.wish.protocol,
            destination,
            pid = outcome.wish.who.as_ref().map(|who| who.pid),
            executable = outcome.wish.who.as_ref().and_then(|who| who.executable.as_deref()),
            out = outcome.there,
            back = outcome.back,
            failure = outcome.failure.as_deref(),
            "reached"
        );
        let known = self.sums.len() < MOST_SUMS || self.sums.contains_key(&destination);
        let sum = match known {
            true => self.sums.entry(destination.clone()).or_default(),
            false => self.sums.entry("others".to_owned()).or_default(),
        };
        sum.add(outcome);
        let came = Came {
            out: outcome.there,
            back: outcome.back,
            failure: match (&outcome.failure, outcome.address) {
                (None, None) => Some("the command ended before there was an answer"),
                (failure, _) => failure.as_deref(),
            },
        };
        let executable = outcome.wish.executable();
        self.recorder
            .ended(outcome.wish.target(), &came, executable);
        // What a caller does with a socket of its own is not seen here.
        let (engine, known_bytes) = match outcome.engine {
            Carrier::Relay => ("relay", true),
            Carrier::Direct => ("direct", outcome.failure.is_some()),
        };
        self.events.write("egress", || {
            json!({
                "verdict": verdict(outcome),
                "protocol": outcome.wish.protocol.to_string(),
                "destination": destination,
                "address": outcome.address.map(|address| address.to_string()),
                "rule": outcome.rule,
                "engine": engine,
                "bytes_out": known_bytes.then_some(outcome.there),
                "bytes_in": known_bytes.then_some(outcome.back),
                "seconds": outcome.took.as_secs_f64(),
                "reason": outcome.failure,
                "pid": outcome.wish.who.as_ref().map(|who| who.pid),
                "executable": outcome.wish.who.as_ref().and_then(|who| who.executable.as_deref()),
            })
        });
    }

    /// This host listens at `outside` for the sandbox's port `inside`.
    pub(super) fn listens(&mut self, outside: SocketAddr, inside: u16) {
        info!(%outside, inside, "published");
        self.events.write(
            "listening",
            || json!({ "address": outside.to_string(), "inside": inside }),
        );
    }

    /// A connection from outside has ended.
    pub(super) fn inbound_ended(&mut self, inbound: &Inbound, outcome: &Outcome) {
        info!(
            outside = %inbound.outside,
            peer = %inbound.peer,
            inside = outcome.wish.port,
            into = outcome.there,
            out = outcome.back,
            failure = outcome.failure.as_deref(),
            "let in"
        );
        let sums = &mut self.inbound;
        sums.entry(outcome.rule.clone()).or_default().add(outcome);
        self.events.write("inbound", || {
            json!({
                "verdict": verdict(outcome),
                "address": inbound.outside.to_string(),
                "peer": inbound.peer.to_string(),
                "inside": outcome.wish.port,
                "bytes_in": outcome.there,
                "bytes_out": outcome.back,
                "seconds": outcome.took.as_secs_f64(),
                "reason": outcome.failure,
            })
        });
    }

    /// The sums, at the end.
    pub(super) fn summarise(&mut self) {
        for (destination, sum) in &self.sums {
            info!(
                destination,
                connections = sum.connections,
                failures = sum.failures,
                out = sum.out,
                back = sum.back,
                "in all"
            );
        }
        if self.refused > 0 {
            info!(refused = self.refused, "in all");
        }
        if self.sums.is_empty() && self.inbound.is_empty() && self.refused == 0 {
            return;
        }
        self.events.write("egress-summary", || {
            let out = self
                .sums
                .iter()
                .map(|(to, sum)| (to.clone(), sum.shown(sum.out, sum.back)));
            let inbound = self.inbound.iter();
            let inbound = inbound.map(|(at, sum)| (at.clone(), sum.shown(sum.back, sum.out)));
            json!({
                "destinations": out.collect::<Map<String, Value>>(),
                "inbound": inbound.collect::<Map<String, Value>>(),
                "refused": self.refused,
            })
        });
    }
}

fn verdict(outcome: &Outcome) -> &'static str {
    match outcome.failure {
        None => "allowed",
        Some(_) => "failed",
    }
}
