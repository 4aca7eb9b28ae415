//! The resolution of an allowed name outside, as a state machine: what to ask whom, and what came of it.
//!
//! Pure, in the supervisor: files and sockets are elsewhere ([`super::asking`]). It does what the C
//! library of the host would: `/etc/hosts` first, then the servers of `/etc/resolv.conf` one after the
//! other, over UDP and, where an answer was cut, over TCP. A name of a rule is a whole name: the search
//! list and `ndots` do not apply, and neither does `nsswitch.conf`.
//!
//! Only a [`Permitted`] name can be looked up, so nothing else is ever asked outside. An answer counts
//! only with the number and the question that were sent, and of its records only those to which the name
//! leads (CNAME). The addresses are *not* checked here: [`Rules::admit`](super::rules::Rules::admit).
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::base::iana::{Class, Rcode};
use domain::base::name::ToLabelIter;
use domain::base::{Message, ParsedName, ParsedRecord, Rtype, ToName};
use domain::rdata::{A, Aaaa, Cname};

use super::name::Name;
use super::rules::Permitted;

/// resolv.conf(5): the most name servers, time-out and attempts that count.
const MAX_SERVERS: usize = 3;
const MAX_TIMEOUT: u64 = 30;
const MAX_ATTEMPTS: u64 = 5;
/// The most aliases that are followed, within one answer and over all.
const MAX_ALIASES: usize = 16;
/// The most questions that one name of one family may cost, with all its aliases.
const MAX_QUESTIONS: usize = 12;
/// The most records that are read of one answer.
const MAX_RECORDS: usize = 256;
/// The most addresses of one family that count.
const MAX_ADDRESSES: usize = 16;
/// The most names of the hosts file that are kept.
const MAX_HOSTS: usize = 1024;
/// The longest line of either file that is read.
const MAX_LINE: usize = 1024;
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

/// What `/etc/resolv.conf` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whom to ask, in order.
    pub servers: Vec<SocketAddr>,
    /// How long to wait for each.
    pub timeout: Duration,
    /// How often to ask each.
    pub attempts: usize,
    /// `use-vc`: TCP from the start.
    pub transport: Transport,
}

impl Settings {
    /// Read resolv.conf(5): `nameserver`, and of `options` `timeout`, `attempts` and `use-vc`. What is not
    /// understood is passed over, as the C library does. `scope` is the index of a network interface.
    #[must_use]
    pub fn parse(text: &[u8], scope: impl Fn(&str) -> Option<u32>) -> Self {
        let mut settings = Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            attempts: 2,
            transport: Transport::Udp,
        };
        for line in lines(text) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if settings.servers.len() < MAX_SERVERS => {
                    let server = words.next().and_then(|word| server(word, &scope));
                    settings.servers.extend(server);
                }
                Some("options") => words.for_each(|word| settings.option(word)),
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            settings.servers.push((Ipv4Addr::LOCALHOST, 53).into());
        }
        settings
    }

    fn option(&mut self, word: &str) {
        if word == "use-vc" {
            self.transport = Transport::Tcp;
            return;
        }
        let number = |name: &str| word.strip_prefix(name)?.parse::<u64>().ok();
        if let Some(seconds) = number("timeout:") {
            self.timeout = Duration::from_secs(seconds.clamp(1, MAX_TIMEOUT));
        }
        if let Some(attempts) = number("attempts:") {
            self.attempts = usize::try_from(attempts.clamp(1, MAX_ATTEMPTS)).unwrap_or(1);
        }
    }
}

/// A server's address, with an interface behind `%` where it is link-local.
fn server(word: &str, scope: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if let Some((address, interface)) = word.split_once('%') {
        let address = address.parse::<Ipv6Addr>().ok()?;
        let index = interface.parse().ok().or_else(|| scope(interface))?;
        return Some(SocketAddrV6::new(address, 53, 0, index).into());
    }
    Some((word.parse::<IpAddr>().ok()?, 53).into())
}

/// The lines of a file without their comments; what is not text, or too long for a line, is left out.
fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|&b| b == b'\n')
        .filter(|line| line.len() <= MAX_LINE)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(|line| line.split(['#', ';']).next().unwrap_or(line))
}

/// What `/etc/hosts` says of the names that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(BTreeMap<Name, Vec<IpAddr>>);

impl Hosts {
    /// Read hosts(5), and keep the names that are `wanted`.
    #[must_use]
    pub fn parse(text: &[u8], wanted: impl Fn(&Name) -> bool) -> Self {
        let mut hosts: BTreeMap<Name, Vec<IpAddr>> = BTreeMap::new();
        for line in lines(text) {
            let mut words = line.split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            for name in words.filter_map(|word| Name::from_ascii(word.as_bytes())) {
                let known = hosts.contains_key(&name);
                if (!known && hosts.len() >= MAX_HOSTS) || !wanted(&name) {
                    continue;
                }
                let addresses = hosts.entry(name).or_default();
                if !addresses.contains(&address) && addresses.len() < 2 * MAX_ADDRESSES {
                    addresses.push(address);
                }
            }
        }
        Self(hosts)
    }

    /// The addresses of `name`; none where the file does not have it.
    #[must_use]
    pub fn addresses(&self, name: &Name) -> &[IpAddr] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
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

/// A question as it goes out: one, with recursion desired, in class IN.
fn query(id: u16, name: &Name, record: Rtype) -> Vec<u8> {
    let mut message = Vec::with_capacity(name.as_str().len() + 18);
    message.extend(id.to_be_bytes());
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.labels() {
        // A label of a Name has 63 bytes at most.
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(record.to_int().to_be_bytes());
    message.extend(Class::IN.to_int().to_be_bytes());
    message
}

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It is none to this question.
    NotThis,
    /// The server cannot or will not tell.
    Unusable,
    /// It did not fit into a datagram.
    Cut,
    Addresses(Vec<IpAddr>),
    /// The name is an alias of this one, by so many steps, of which the server says no more.
    Alias(Name, usize),
    Nothing(Failure),
}

/// The records of one answer that matter.
type Parsed<'a> = ParsedName<&'a [u8]>;

fn read(message: &[u8], id: u16, name: &Name, record: Rtype) -> Answer {
    let Ok(message) = Message::from_octets(message) else {
        return Answer::NotThis;
    };
    let header = message.header();
    if !header.qr() || header.id() != id {
        return Answer::NotThis;
    }
    let Ok(question) = message.sole_question() else {
        return Answer::NotThis;
    };
    if (question.qtype(), question.qclass()) != (record, Class::IN)
        || as_name(question.qname()).as_ref() != Some(name)
    {
        return Answer::NotThis;
    }
    if header.tc() {
        return Answer::Cut;
    }
    let rcode = header.rcode();
    if rcode != Rcode::NOERROR && rcode != Rcode::NXDOMAIN {
        return Answer::Unusable;
    }
    let Ok((aliases, addresses)) = records(&message, record) else {
        return Answer::Unusable;
    };
    let end = match header.ra() {
        // It has followed the aliases itself: there is no more to be had.
        true => End::Known,
        false => End::Open,
    };
    follow(question.qname(), &aliases, &addresses, rcode, end)
}

/// The aliases and the addresses of the answer section, each with its owner.
type Records<'a> = (Vec<(Parsed<'a>, Parsed<'a>)>, Vec<(Parsed<'a>, IpAddr)>);

fn records<'a>(
    message: &'a Message<&'a [u8]>,
    record: Rtype,
) -> Result<Records<'a>, domain::base::wire::ParseError> {
    let (mut aliases, mut addresses) = (Vec::new(), Vec::new());
    for parsed in message.answer()?.take(MAX_RECORDS) {
        let parsed: ParsedRecord<'a, &'a [u8]> = parsed?;
        if parsed.class() != Class::IN {
            continue;
        }
        match parsed.rtype() {
            Rtype::CNAME => {
                if let Some(alias) = parsed.to_record::<Cname<Parsed<'a>>>()? {
                    aliases.push((parsed.owner().deref_octets(), *alias.data().cname()));
                }
            }
            kind if kind != record => {}
            Rtype::A => {
                if let Some(address) = parsed.to_record::<A>()? {
                    addresses.push((
                        parsed.owner().deref_octets(),
                        IpAddr::V4(address.data().addr()),
                    ));
                }
            }
            _ => {
                if let Some(address) = parsed.to_record::<Aaaa>()? {
                    addresses.push((
                        parsed.owner().deref_octets(),
                        IpAddr::V6(address.data().addr()),
                    ));
                }
            }
        }
    }
    Ok((aliases, addresses))
}

/// Whether an alias without an address may have one elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Known,
    Open,
}

/// From `asked` over its aliases to addresses.
fn follow(
    asked: &Parsed<'_>,
    aliases: &[(Parsed<'_>, Parsed<'_>)],
    addresses: &[(Parsed<'_>, IpAddr)],
    rcode: Rcode,
    end: End,
) -> Answer {
    let mut at = *asked;
    let mut steps = 0;
    while let Some((_, target)) = aliases.iter().find(|(owner, _)| owner.name_eq(&at)) {
        steps += 1;
        if steps > MAX_ALIASES {
            return Answer::Unusable;
        }
        at = *target;
    }
    let mut found: Vec<IpAddr> = Vec::new();
    for (owner, address) in addresses {
        if owner.name_eq(&at) && !found.contains(address) && found.len() < MAX_ADDRESSES {
            found.push(*address);
        }
    }
    if !found.is_empty() {
        return Answer::Addresses(found);
    }
    if rcode == Rcode::NXDOMAIN {
        return Answer::Nothing(Failure::NoSuchName);
    }
    match as_name(&at) {
        Some(name) if steps > 0 && end == End::Open => Answer::Alias(name, steps),
        _ => Answer::Nothing(Failure::NoAddress),
    }
}

fn as_name(name: &Parsed<'_>) -> Option<Name> {
    let labels = name.iter_labels().map(|label| label.as_slice());
    Name::from_labels(labels.filter(|label| !label.is_empty()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::egress::rules::Whose;
    use crate::egress::rules::tests::rules;

    fn permitted(name: &str) -> Permitted {
        let name = Name::parse(name).unwrap();
        rules(&[&format!("{name}:443")], &[]).permit(&name).unwrap()
    }

    fn settings(text: &str) -> Arc<Settings> {
        Arc::new(Settings::parse(text.as_bytes(), |_| None))
    }

    fn one_server() -> Arc<Settings> {
        settings("nameserver 192.0.2.53\n")
    }

    /// A record of an answer: owner, type, data.
    fn record(owner: &str, kind: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = wire(owner);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 9]);
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
        bytes
    }

    fn wire(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes
    }

    const RA: u8 = 0x80;

    /// An answer to `query` with these records; `low` is the second byte of flags.
    fn answer(query: &[u8], low: u8, records: &[Vec<u8>]) -> Vec<u8> {
        let mut message = query.to_vec();
        message[2] |= 0x80;
        message[3] = low;
        message[7] = u8::try_from(records.len()).unwrap();
        message.extend(records.concat());
        message
    }

    struct Asking {
        lookup: Lookup,
        now: Instant,
        /// Every name that was ever asked for.
        names: BTreeSet<String>,
    }

    impl Asking {
        fn new(name: &str, settings: &Arc<Settings>) -> Self {
            Self {
                lookup: Lookup::new(&permitted(name), settings),
                now: Instant::now(),
                names: BTreeSet::new(),
            }
        }

        fn questions(&mut self) -> Vec<Ask> {
            let asks = self.lookup.questions(self.now, || 0x1234);
            for ask in &asks {
                let message = Message::from_octets(&*ask.query).unwrap();
                let question = message.sole_question().unwrap();
                self.names.insert(question.qname().to_string());
            }
            asks
        }

        fn hear(&mut self, ask: &Ask, message: &[u8]) -> Taken {
            self.lookup.hear(ask.number, message, self.now)
        }

        fn outcome(&self) -> Option<Result<Vec<String>, Failure>> {
            let outcome = self.lookup.outcome(self.now)?;
            Some(outcome.map(|all| all.iter().map(ToString::to_string).collect()))
        }
    }

    fn found(addresses: &[&str]) -> Option<Result<Vec<String>, Failure>> {
        Some(Ok(addresses.iter().map(|a| (*a).to_owned()).collect()))
    }

    const V4: [u8; 4] = [1, 2, 3, 4];
    const V6: [u8; 16] = [0x26, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    #[test]
    fn both_families_are_asked_at_once_and_both_answers_count() {
        let mut asking = Asking::new("a.example", &one_server());
        let asks = asking.questions();
        assert_eq!(asks.len(), 2);
        assert!(asks.iter().all(|ask| ask.transport == Transport::Udp));
        assert!(asking.questions().is_empty());
        let v4 = answer(&asks[1].query, RA, &[record("A.Example", 1, &V4)]);
        assert_eq!(asking.hear(&asks[1], &v4), Taken::Done);
        assert_eq!(asking.outcome(), None);
        let v6 = answer(&asks[0].query, RA, &[record("a.example", 28, &V6)]);
        asking.hear(&asks[0], &v6);
        assert_eq!(asking.outcome(), found(&["2606::1", "1.2.3.4"]));
        assert_eq!(asking.lookup.next_moment(), None);
        assert_eq!(asking.names, BTreeSet::from(["a.example".to_owned()]));
    }

    #[test]
    fn an_answer_to_something_else_is_not_heard() {
        let mut asking = Asking::new("a.example", &one_server());
        let asks = asking.questions();
        let good = answer(&asks[1].query, RA, &[record("a.example", 1, &V4)]);
        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut message = good.clone();
            change(&mut message);
            message
        };
        for (message, what) in [
            (changed(&|m| m[1] ^= 1), "another number"),
            (changed(&|m| m[2] &= 0x7f), "a question"),
            (changed(&|m| m[5] = 0), "no question"),
            (changed(&|m| m[13] = b'b'), "another name"),
            (changed(&|m| m[24] = 28), "another type"),
            (changed(&|m| m[26] = 3), "another class"),
            (Vec::new(), "nothing"),
            (vec![0; 4000], "zeroes"),
        ] {
            assert_eq!(asking.hear(&asks[1], &message), Taken::Ignored, "{what}");
            assert!(asking.lookup.waits_for(asks[1].number), "{what}");
        }
        assert_eq!(asking.hear(&asks[1], &good), Taken::Done);
        assert!(!asking.lookup.waits_for(asks[1].number));
        let other = answer(&asks[1].query, RA, &[record("a.example", 1, &[6, 6, 6, 6])]);
        assert_eq!(asking.hear(&asks[1], &other), Taken::Done, "late");
        asking.now += PATIENCE;
        assert_eq!(asking.outcome(), found(&["1.2.3.4"]));
    }

    #[test]
    fn only_addresses_to_which_the_name_leads_count() {
        let alias = |from: &str, to: &str| record(from, 5, &wire(to));
        for (records, expected) in [
            (
                vec![alias("a.example", "b.example"), record("b.example", 1, &V4)],
                found(&["1.2.3.4"]),
            ),
            (
                vec![
                    record("c.example", 1, &V4),
                    alias("b.example", "c.example"),
                    alias("a.example", "B.example"),
                ],
                found(&["1.2.3.4"]),
            ),
            (
                // An alias stands alone; what stands beside it is not the name's.
                vec![
                    alias("a.example", "b.example"),
                    record("a.example", 1, &[6, 6, 6, 6]),
                    record("b.example", 1, &V4),
                ],
                found(&["1.2.3.4"]),
            ),
            (
                vec![record("victim.example", 1, &[6, 6, 6, 6])],
                Some(Err(Failure::NoAddress)),
            ),
            (
                vec![record("a.example", 28, &V6)],
                Some(Err(Failure::NoAddress)),
            ),
            (
                vec![alias("a.example", "b.example")],
                Some(Err(Failure::NoAddress)),
            ),
        ] {
            let mut asking = Asking::new("a.example", &one_server());
            let asks = asking.questions();
            asking.hear(&asks[0], &answer(&asks[0].query, RA, &[]));
            asking.hear(&asks[1], &answer(&asks[1].query, RA, &records));
            assert_eq!(asking.outcome(), expected);
            assert!(asking.questions().is_empty());
        }
    }

    #[test]
    fn an_alias_that_a_server_does_not_follow_is_asked_for() {
        let mut asking = Asking::new("a.example", &one_server());
        let asks = asking.questions();
        asking.hear(&asks[0], &answer(&asks[0].query, 3, &[]));
        let alias = record("a.example", 5, &wire("b.other"));
        asking.hear(&asks[1], &answer(&asks[1].query, 0, &[alias]));
        assert_eq!(asking.outcome(), None);
        let again = asking.questions();
        assert_eq!(again.len(), 1);
        let v4 = answer(&again[0].query, 0, &[record("b.other", 1, &V4)]);
        asking.hear(&again[0], &v4);
        assert_eq!(asking.outcome(), found(&["1.2.3.4"]));
    }

    #[test]
    fn aliases_in_a_circle_or_without_end_cost_a_bounded_number_of_questions() {
        for next in [
            |_: usize| "b.example".to_owned(),
            |n: usize| format!("n{n}.example"),
        ] {
            let mut asking = Asking::new("a.example", &one_server());
            let mut total = 0;
            while asking.outcome().is_none() {
                for ask in asking.questions() {
                    total += 1;
                    let message = Message::from_octets(&*ask.query).unwrap();
                    let owner = message.sole_question().unwrap().qname().to_string();
                    let alias = record(&owner, 5, &wire(&next(total)));
                    let reply = answer(&ask.query, 0, &[alias]);
                    asking.hear(&ask, &reply);
                }
            }
            assert!(total <= 2 * MAX_QUESTIONS, "{total}");
            assert!(asking.outcome().unwrap().is_err());
        }
    }

    #[test]
    fn a_cut_answer_is_asked_for_again_over_tcp() {
        let mut asking = Asking::new("a.example", &one_server());
        let asks = asking.questions();
        let mut cut = answer(&asks[1].query, RA, &[]);
        cut[2] |= 2;
        asking.hear(&asks[1], &cut);
        let again = asking.questions();
        assert_eq!((again.len(), again[0].transport), (1, Transport::Tcp));
        assert_eq!(again[0].server, asks[1].server);
        // A server that cuts over TCP as well is of no use.
        asking.hear(&again[0], &cut);
        assert_ne!(asking.questions().len(), 0);
    }

    #[test]
    fn servers_that_fail_are_followed_by_the_next_and_all_come_round_again() {
        let settings =
            settings("nameserver 192.0.2.1\nnameserver 192.0.2.2\noptions attempts:2 timeout:1\n");
        let mut asking = Asking::new("a.example", &settings);
        let mut servers = Vec::new();
        for round in 0.. {
            let asks = asking.questions();
            let Some(ask) = asks.iter().find(|ask| ask.query.ends_with(&[0, 1, 0, 1])) else {
                break;
            };
            servers.push(ask.server.to_string());
            match round {
                0 => asking.lookup.broke(ask.number),
                1 => {
                    asking.hear(ask, &answer(&ask.query, RA | 2, &[]));
                }
                _ => {}
            }
            for other in asks.iter().filter(|other| other.number != ask.number) {
                asking.lookup.broke(other.number);
            }
            if asking.lookup.waits_for(ask.number) {
                asking.now = asking.lookup.next_moment().unwrap();
            }
        }
        let expected = [
            "192.0.2.1:53",
            "192.0.2.2:53",
            "192.0.2.1:53",
            "192.0.2.2:53",
        ];
        assert_eq!(servers, expected);
        assert_eq!(asking.outcome(), Some(Err(Failure::NoAnswer)));
        assert_eq!(asking.lookup.next_moment(), None);
    }

    #[test]
    fn a_name_that_does_not_exist_is_not_asked_for_twice() {
        let mut asking = Asking::new("a.example", &one_server());
        for ask in asking.questions() {
            asking.hear(&ask, &answer(&ask.query, RA | 3, &[]));
        }
        assert!(asking.questions().is_empty());
        assert_eq!(asking.outcome(), Some(Err(Failure::NoSuchName)));
    }

    #[test]
    fn addresses_beyond_all_measure_are_left_out() {
        let records: Vec<_> = (0..200)
            .map(|n| record("a.example", 1, &[1, 2, 3, n]))
            .collect();
        let mut asking = Asking::new("a.example", &one_server());
        let asks = asking.questions();
        asking.hear(&asks[1], &answer(&asks[1].query, RA, &records));
        asking.now += PATIENCE;
        assert_eq!(asking.outcome().unwrap().unwrap().len(), MAX_ADDRESSES);
    }

    #[test]
    fn resolv_conf_is_read_as_the_c_library_does() {
        let text = "# comment\nsearch corp.example\nnameserver 192.0.2.1 # first\n\
            nameserver nonsense\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\n\
            nameserver 192.0.2.9\noptions ndots:5 timeout:0 attempts:99 use-vc rotate\n";
        let parsed = Settings::parse(text.as_bytes(), |name| (name == "eth0").then_some(7));
        let servers: Vec<_> = parsed.servers.iter().map(ToString::to_string).collect();
        assert_eq!(
            servers,
            ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%7]:53"]
        );
        assert_eq!(parsed.timeout, Duration::from_secs(1));
        assert_eq!((parsed.attempts, parsed.transport), (5, Transport::Tcp));
        assert_eq!(settings("").servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(settings("nameserver fe80::1%eth9").servers.len(), 1);
    }

    #[test]
    fn of_the_hosts_file_only_wanted_names_are_kept() {
        let text = b"127.0.0.1 localhost\n10.0.0.5\tDB.example db # the database\n\
            ::1 db.example\n10.0.0.5 db.example\nnonsense db.example\n10.0.0.6 other.example\n";
        let hosts = Hosts::parse(text, |name| name.as_str() == "db.example");
        let name = Name::parse("db.example").unwrap();
        let expected: [IpAddr; 2] = ["10.0.0.5".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(hosts.addresses(&name), expected);
        assert_eq!(hosts.0.len(), 1);
    }

    #[test]
    fn rebinding_gains_nothing() {
        let rules = rules(&["a.example:443"], &[]);
        let admit = |addresses: &[&str]| {
            let all: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            let protocol = crate::egress::destination::Protocol::Tcp;
            let admitted = rules.admit(protocol, &all, 443, |_| Whose::Another);
            admitted.map_err(|refusal| refusal.to_string())
        };
        let public: IpAddr = "1.2.3.4".parse().unwrap();
        assert_eq!(admit(&["1.2.3.4"]), Ok(vec![public]));
        // First public, then private; and both at once.
        assert_eq!(
            admit(&["10.0.0.1"]),
            Err("10.0.0.1 is an address of a private network".into())
        );
        assert_eq!(
            admit(&["127.0.0.1", "1.2.3.4", "::ffff:10.0.0.1"]),
            Ok(vec![public])
        );
        assert_eq!(
            admit(&["169.254.169.254", "::1"]),
            Err("169.254.169.254 is a cloud's metadata service".into())
        );
        assert_eq!(admit(&[]), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn whatever_recursive_servers_answer_only_the_name_is_asked_for(
            answers in proptest::collection::vec(
                (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..40,
            ),
        ) {
            let mut asking = Asking::new("a.example", &one_server());
            for (low, tail) in answers {
                for ask in asking.questions() {
                    let mut message = answer(&ask.query, low | RA, &[]);
                    message[7] = 1;
                    message.extend(&tail);
                    asking.hear(&ask, &message);
                }
                asking.now += Duration::from_millis(600);
            }
            let expected = BTreeSet::from(["a.example".to_owned()]);
            prop_assert!(asking.names.is_subset(&expected), "{:?}", asking.names);
            prop_assert!(asking.lookup.next_number as usize <= 2 * MAX_QUESTIONS);
        }
    }
}
