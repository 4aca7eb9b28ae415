//! The resolution of an allowed name outside, as a state machine: what to ask whom, and what came of it.
//!
//! Pure, in the supervisor: files and sockets are elsewhere ([`super::asking`]). It does what the C
//! library of the host would: `/etc/hosts` first, then the servers of `/etc/resolv.conf` one after the
//! other, over UDP and, where an answer was cut, over TCP. A name of a rule is a whole name: the search
//! list and `ndots` do not apply, and neither does `nsswitch.conf`.
//!
//! Only a [`Permitted`] name can be looked up, so nothing else is ever asked outside. An answer counts
//! only with the number and the question that were sent, and of its records only those to which the name
//! leads (CNAME). The addresses are *not* checked here: `Rules::admit` does that.
//!
//! Here is the state machine; [`files`] reads what the host says, [`answer`] what a server does.
#![forbid(unsafe_code)]

mod answer;
mod files;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::base::Rtype;

use self::answer::{Answer, query, read};
pub use self::files::{Hosts, Settings};
use super::name::Name;
use super::rules::Permitted;

/// The most aliases that are followed, within one answer and over all.
const MAX_ALIASES: usize = 16;
/// The most questions that one name of one family may cost, with all its aliases.
const MAX_QUESTIONS: usize = 12;
/// The most addresses of one family that count.
const MAX_ADDRESSES: usize = 16;
/// How long the addresses of one family wait for those of the other.
const PATIENCE: Duration = Duration::from_millis(250);

/// What carries a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A stream, with the length in front ([`super::dns::frame`]).
    Tcp,
}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The servers say that it does not exist.
    NoSuchName,
    /// It exists, without an address.
    NoAddress,
    /// No server gave an answer that could be used.
    NoAnswer,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName => "no such name",
            Self::NoAddress => "the name has no address",
            Self::NoAnswer => "no name server answers",
        })
    }
}

/// One question to send, to one server, from a socket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// By which the answer is handed back; never used twice in a lookup.
    pub number: u32,
    /// Whom.
    pub server: SocketAddr,
    /// How.
    pub transport: Transport,
    /// The question (without the length that precedes it over TCP).
    pub query: Vec<u8>,
}

/// What came of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was not the answer to this question: go on waiting on that socket.
    Ignored,
    /// The socket is done with.
    Done,
}

/// The resolution of one name.
#[derive(Debug)]
pub struct Lookup {
    settings: Arc<Settings>,
    families: [Family; 2],
    next_number: u32,
}

/// The questions for the addresses of one family, one at a time.
#[derive(Debug)]
struct Family {
    record: Rtype,
    /// Who is asked about: the name, later what it is an alias of.
    name: Name,
    asked: usize,
    aliases: usize,
    /// Over all servers: which try is next.
    attempt: usize,
    transport: Transport,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The next question can go out.
    Ready,
    /// A question is out.
    Waits {
        number: u32,
        id: u16,
        until: Instant,
    },
    /// Over, with addresses, since then.
    Found(Vec<IpAddr>, Instant),
    /// Over, without.
    Failed(Failure),
}

impl Lookup {
    /// Begin to look up `name`.
    #[must_use]
    pub fn new(name: &Permitted, settings: &Arc<Settings>) -> Self {
        let family = |record| Family {
            record,
            name: name.name().clone(),
            asked: 0,
            aliases: 0,
            attempt: 0,
            transport: settings.transport,
            state: State::Ready,
        };
        Self {
            settings: Arc::clone(settings),
            families: [family(Rtype::AAAA), family(Rtype::A)],
            next_number: 0,
        }
    }

    /// What is to be asked now. A question whose time is over is given up for the next one.
    /// `random` gives a query its number.
    pub fn questions(&mut self, now: Instant, mut random: impl FnMut() -> u16) -> Vec<Ask> {
        let mut asks = Vec::new();
        for family in &mut self.families {
            if matches!(family.state, State::Waits { until, .. } if now >= until) {
                family.next_server();
            }
            if family.state != State::Ready {
                continue;
            }
            let servers = &self.settings.servers;
            let server = servers.get(family.attempt % servers.len().max(1));
            let tried = family.attempt >= servers.len().saturating_mul(self.settings.attempts);
            let (Some(&server), false) = (server, tried || family.asked >= MAX_QUESTIONS) else {
                family.state = State::Failed(Failure::NoAnswer);
                continue;
            };
            let (number, id) = (self.next_number, random());
            self.next_number = self.next_number.wrapping_add(1);
            family.asked += 1;
            family.state = State::Waits {
                number,
                id,
                until: now + self.settings.timeout,
            };
            asks.push(Ask {
                number,
                server,
                transport: family.transport,
                query: query(id, &family.name, family.record),
            });
        }
        asks
    }

    /// Whether question `number` is still waited for; its socket is of no use otherwise.
    #[must_use]
    pub fn waits_for(&self, number: u32) -> bool {
        self.families
            .iter()
            .any(|family| matches!(family.state, State::Waits { number: n, .. } if n == number))
    }

    /// What came from the server that question `number` went to.
    pub fn hear(&mut self, number: u32, message: &[u8], now: Instant) -> Taken {
        let waiting = self
            .families
            .iter_mut()
            .find_map(|family| match family.state {
                State::Waits { number: n, id, .. } if n == number => Some((family, id)),
                _ => None,
            });
        let Some((family, id)) = waiting else {
            return Taken::Done;
        };
        match read(message, id, &family.name, family.record) {
            Answer::NotThis => return Taken::Ignored,
            Answer::Unusable => family.next_server(),
            Answer::Cut => match family.transport {
                Transport::Udp => {
                    family.transport = Transport::Tcp;
                    family.state = State::Ready;
                }
                Transport::Tcp => family.next_server(),
            },
            Answer::Addresses(addresses) => family.state = State::Found(addresses, now),
            Answer::Nothing(failure) => family.state = State::Failed(failure),
            Answer::Alias(name, aliases) => {
                family.aliases += aliases;
                family.state = match family.aliases > MAX_ALIASES {
                    true => State::Failed(Failure::NoAnswer),
                    false => State::Ready,
                };
                family.name = name;
                family.attempt = 0;
            }
        }
        Taken::Done
    }

    /// The socket of question `number` failed: the server is not there, or closed the stream.
    pub fn broke(&mut self, number: u32) {
        for family in &mut self.families {
            if matches!(family.state, State::Waits { number: n, .. } if n == number) {
                family.next_server();
            }
        }
    }

    /// When to come back if nothing is heard; `None` when it is over.
    #[must_use]
    pub fn next_moment(&self) -> Option<Instant> {
        let moments = self
            .families
            .iter()
            .filter_map(|family| match &family.state {
                State::Waits { until, .. } => Some(*until),
                State::Found(_, since) => Some(*since + PATIENCE),
                State::Ready | State::Failed(_) => None,
            });
        let waits = |family: &Family| matches!(family.state, State::Waits { .. } | State::Ready);
        self.families.iter().any(waits).then(|| moments.min())?
    }

    /// The addresses, IPv6 first, or why there are none; `None` while it is not over. The addresses of
    /// one family do not wait long for the other's, as servers that never answer one of the two
    /// questions are common.
    #[must_use]
    pub fn outcome(&self, now: Instant) -> Option<Result<Vec<IpAddr>, Failure>> {
        let mut all = Vec::new();
        let mut failure = None;
        let mut late = false;
        let mut patience_over = false;
        for family in &self.families {
            match &family.state {
                State::Found(addresses, since) => {
                    all.extend_from_slice(addresses);
                    patience_over |= now >= *since + PATIENCE;
                }
                // The other family's servers may have said more.
                State::Failed(Failure::NoAnswer) => failure = failure.or(Some(Failure::NoAnswer)),
                State::Failed(why) => failure = Some(*why),
                State::Ready | State::Waits { .. } => late = true,
            }
        }
        if late && (!patience_over || all.is_empty()) {
            return None;
        }
        match all.is_empty() {
            false => Some(Ok(all)),
            true => Some(Err(failure.unwrap_or(Failure::NoAnswer))),
        }
    }
}

impl Family {
    fn next_server(&mut self) {
        self.attempt += 1;
        self.state = State::Ready;
    }
}
