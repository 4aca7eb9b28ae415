//! `--max-bytes DEST=N` and `--max-rate DEST=N/s`: how much may go to and from a destination.
//!
//! Pure but for the clock that it is told. A budget is one for all connections of the sandbox that its
//! destination covers, as the command asked for it, and counts both directions together. What is over the
//! bytes is cut off; what is over the rate waits where it is: nothing is read that could not be passed on.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::destination::{Asked, Destination, Hosts, Ports, Protocol};
use crate::policy::spec::{self, Parsed, invalid};

/// The part of a second's rate that may come at once, after a while of less.
const BURSTS_A_SECOND: u64 = 4;
/// How many steps a second's rate is passed on in, at least where that is more than a few bytes.
const STEPS_A_SECOND: u64 = 50;
/// The largest such step.
const STEP: u64 = 64 << 10;

/// A destination that can have a budget: ports of hosts.
///
/// # Errors
/// When it is a Unix socket, a set, or no destination.
fn of_hosts(text: &str) -> Parsed<Destination> {
    match text.parse()? {
        network @ Destination::Network { .. } => Ok(network),
        _ => invalid("a budget is for hosts and ports, not for a Unix socket or a set"),
    }
}

/// How many bytes may go to and from a destination: its text, and `10M`.
///
/// # Errors
/// When either is none.
pub fn bytes(destination: &str, most: &str) -> Parsed<(Destination, u64)> {
    match spec::size(most)? {
        0 => invalid("a budget of no bytes allows nothing; leave the destination out of --allow"),
        most => Ok((of_hosts(destination)?, most)),
    }
}

/// How many bytes a second may go to and from a destination: its text, and `1M/s`.
///
/// # Errors
/// When either is none, or the destination is one of UDP, which could only be kept to it by losing some.
pub fn rate(destination: &str, most: &str) -> Parsed<(Destination, u64)> {
    let destination = of_hosts(destination)?;
    if matches!(
        destination,
        Destination::Network {
            protocol: Protocol::Udp,
            ..
        }
    ) {
        return invalid("a rate is for TCP: of UDP it could only be kept by losing datagrams");
    }
    let Some(size) = most.strip_suffix("/s") else {
        return invalid("write a rate as bytes a second, as 500K/s");
    };
    match spec::size(size)? {
        0 => {
            invalid("a rate of nothing lets nothing through; leave the destination out of --allow")
        }
        most => Ok((destination, most)),
    }
}

/// `DEST=N` apart.
///
/// # Errors
/// When there is no `=`.
pub fn split(text: &str) -> Parsed<(&str, &str)> {
    match text.rsplit_once('=') {
        Some(apart) => Ok(apart),
        None => invalid("write a budget as DEST=SIZE, as example.com:443=10M"),
    }
}

/// What a policy says of budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, in both directions together.
    pub bytes: BTreeMap<Destination, u64>,
    /// Bytes a second.
    pub rates: BTreeMap<Destination, u64>,
}

/// One budget, and what is left of it.
#[derive(Debug)]
struct Budget {
    text: Arc<str>,
    protocol: Protocol,
    hosts: Hosts,
    ports: Ports,
    kind: Kind,
    /// Connections that are on it now.
    flows: u64,
}

#[derive(Debug)]
enum Kind {
    Bytes { most: u64, used: u64 },
    Rate { most: u64, left: u64, at: Instant },
}

/// Which budgets a connection is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Share(Vec<usize>);

/// Why something is cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    text: Arc<str>,
    most: u64,
}

/// Whether bytes may go before all else of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    Goes,
    /// Not before then.
    Waits(Instant),
    Spent(Spent),
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = spec::show_size(self.most);
        write!(f, "the budget of {size} bytes for {} is used up", self.text)
    }
}

/// Every budget of one sandbox.
#[derive(Debug, Default)]
pub(super) struct Budgets(Vec<Budget>);

impl Budgets {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        let bytes = limits
            .bytes
            .iter()
            .map(|(destination, &most)| (destination, Kind::Bytes { most, used: 0 }));
        let rates = limits.rates.iter().map(|(destination, &most)| {
            let left = burst(most);
            (
                destination,
                Kind::Rate {
                    most,
                    left,
                    at: now,
                },
            )
        });
        let budget = |(destination, kind): (&Destination, Kind)| match destination {
            Destination::Network {
                protocol,
                hosts,
                ports,
            } => Some(Budget {
                text: destination.to_string().into(),
                protocol: *protocol,
                hosts: hosts.clone(),
                ports: ports.clone(),
                kind,
                flows: 0,
            }),
            Destination::Unix(_) | Destination::Set(_) => None,
        };
        Self(bytes.chain(rates).filter_map(budget).collect())
    }

    /// A new connection's share; to be given back.
    pub(super) fn join(&mut self, protocol: Protocol, asked: &Asked, port: u16) -> Share {
        let mut share = Share::default();
        for (at, budget) in self.0.iter_mut().enumerate() {
            if budget.protocol == protocol
                && budget.ports.contain(port)
                && budget.hosts.cover(asked)
            {
                budget.flows += 1;
                share.0.push(at);
            }
        }
        share
    }

    /// A connection is over.
    pub(super) fn leave(&mut self, share: &Share) {
        for at in &share.0 {
            if let Some(budget) = self.0.get_mut(*at) {
                budget.flows = budget.flows.saturating_sub(1);
            }
        }
    }

    /// Which budget of `share` is used up.
    pub(super) fn spent(&self, share: &Share) -> Option<Spent> {
        share.0.iter().find_map(|at| match self.0.get(*at) {
            Some(Budget {
                text,
                kind: Kind::Bytes { most, used },
                ..
            }) if used >= most => Some(Spent {
                text: Arc::clone(text),
                most: *most,
            }),
            _ => None,
        })
    }

    /// How many bytes may go now.
    pub(super) fn allowance(&mut self, share: &Share, now: Instant) -> u64 {
        let mut least = u64::MAX;
        for at in &share.0 {
            let Some(budget) = self.0.get_mut(*at) else {
                continue;
            };
            let left = match &mut budget.kind {
                Kind::Bytes { most, used } => most.saturating_sub(*used),
                Kind::Rate { most, left, at } => {
                    refill(*most, left, at, now);
                    // To each the same, so that none takes all.
                    left.div_ceil(budget.flows.max(1))
                }
            };
            least = least.min(left);
        }
        least
    }

    /// When it is worth asking again for a connection that may move nothing now.
    pub(super) fn next(&self, share: &Share, now: Instant) -> Instant {
        let waits = share.0.iter().filter_map(|at| match self.0.get(*at)?.kind {
            Kind::Bytes { .. } => None,
            Kind::Rate { most, left, at } => {
                let lacking = step(most).saturating_sub(left);
                Some(at + Duration::from_nanos(lacking.saturating_mul(1_000_000_000) / most.max(1)))
            }
        });
        waits.max().unwrap_or(now)
    }

    /// `count` bytes have gone.
    pub(super) fn charge(&mut self, share: &Share, count: u64) {
        for at in &share.0 {
            match self.0.get_mut(*at).map(|budget| &mut budget.kind) {
                Some(Kind::Bytes { used, .. }) => *used = used.saturating_add(count),
                Some(Kind::Rate { most, left, at }) => {
                    // What is over that is waited for before more is left.
                    let over = count.saturating_sub(*left).saturating_mul(1_000_000_000);
                    *at += Duration::from_nanos(over / (*most).max(1));
                    *left = left.saturating_sub(count);
                }
                None => {}
            }
        }
    }

    /// Let `count` bytes go before all else of a connection, as a whole: now, once the rate lets anything
    /// go, which then pays for them, or not at all.
    pub(super) fn take_ahead(&mut self, share: &Share, count: usize, now: Instant) -> Ahead {
        let count = count as u64;
        let bytes = |budget: &Budget| match budget.kind {
            Kind::Bytes { most, used } => Some(most.saturating_sub(used)),
            Kind::Rate { .. } => None,
        };
        let left = share.0.iter().filter_map(|at| bytes(self.0.get(*at)?));
        if left.min().is_some_and(|left| left < count) {
            // As with datagrams.
            self.charge(share, count);
            return self.spent(share).map_or(Ahead::Goes, Ahead::Spent);
        }
        if self.allowance(share, now) == 0 {
            return Ahead::Waits(self.next(share, now));
        }
        self.charge(share, count);
        Ahead::Goes
    }

    /// Let a datagram of `count` bytes go as a whole, or not at all.
    pub(super) fn spend(&mut self, share: &Share, count: u64, now: Instant) -> Result<(), Spent> {
        if share.0.is_empty() {
            return Ok(());
        }
        // An empty datagram says something, too.
        if let Some(spent) = self.spent(share) {
            return Err(spent);
        }
        if self.allowance(share, now) >= count {
            self.charge(share, count);
            return Ok(());
        }
        // What does not fit is the end of it: smaller ones must not slip through for ever.
        self.charge(share, count);
        Err(self.spent(share).unwrap_or(Spent {
            text: "".into(),
            most: 0,
        }))
    }
}

/// What may come at once.
fn burst(most: u64) -> u64 {
    (most / BURSTS_A_SECOND).max(step(most))
}

/// What is worth waking up for.
fn step(most: u64) -> u64 {
    (most / STEPS_A_SECOND).clamp(1, STEP)
}

/// Add what time has brought since `at`.
fn refill(most: u64, left: &mut u64, at: &mut Instant, now: Instant) {
    let passed = now.saturating_duration_since(*at);
    let nanos = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
    let brought = u128::from(most) * u128::from(nanos) / 1_000_000_000;
    let brought = u64::try_from(brought).unwrap_or(u64::MAX);
    // Time that has brought no whole byte still counts the next time.
    if brought > 0 {
        *left = left.saturating_add(brought).min(burst(most));
        *at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::name::Name;

    fn budgets(of_bytes: &[(&str, &str)], of_rates: &[(&str, &str)], now: Instant) -> Budgets {
        let limits = Limits {
            bytes: of_bytes.iter().map(|(d, n)| bytes(d, n).unwrap()).collect(),
            rates: of_rates.iter().map(|(d, n)| rate(d, n).unwrap()).collect(),
        };
        Budgets::new(&limits, now)
    }

    fn named(name: &str) -> Asked {
        Asked::Name(Name::parse(name).unwrap())
    }

    #[test]
    fn budgets_are_read_or_say_what_is_wrong() {
        assert_eq!(
            split("a.example:443=10M").unwrap(),
            ("a.example:443", "10M")
        );
        assert!(split("a.example:443").is_err());
        assert_eq!(bytes("a.example:443", "10M").unwrap().1, 10 << 20);
        assert_eq!(rate("a.example:443", "500K/s").unwrap().1, 500 << 10);
        assert!(bytes("udp://a.example:443", "1").is_ok());
        for (destination, most) in [
            ("unix:/run/x", "1M"),
            ("@set", "1M"),
            ("a.example", "1M"),
            ("a.example:443", "0"),
            ("a.example:443", "x"),
            ("a.example:443", "1M/s"),
        ] {
            assert!(bytes(destination, most).is_err(), "{destination} {most}");
        }
        for (destination, most) in [
            ("udp://a.example:443", "1M/s"),
            ("a.example:443", "1M"),
            ("a.example:443", "0/s"),
        ] {
            assert!(rate(destination, most).is_err(), "{destination} {most}");
        }
    }

    #[test]
    fn one_budget_is_for_all_that_its_destination_covers_and_no_more() {
        let now = Instant::now();
        let mut all = budgets(
            &[("*.example:80,443", "100"), ("b.example:443", "30")],
            &[],
            now,
        );
        let a = all.join(Protocol::Tcp, &named("a.example"), 443);
        let b = all.join(Protocol::Tcp, &named("b.example"), 443);
        let other = all.join(Protocol::Tcp, &named("a.example"), 22);
        assert_eq!(other, all.join(Protocol::Udp, &named("a.example"), 443));
        assert_eq!(all.allowance(&other, now), u64::MAX);
        assert_eq!((all.allowance(&a, now), all.allowance(&b, now)), (100, 30));
        all.charge(&b, 30);
        assert_eq!((all.allowance(&a, now), all.allowance(&b, now)), (70, 0));
        assert_eq!(all.spent(&a), None);
        let words = "the budget of 30 bytes for b.example:443 is used up";
        assert_eq!(all.spent(&b).unwrap().to_string(), words);
        assert_eq!(all.spend(&a, 70, now), Ok(()));
        assert!(all.spend(&a, 1, now).is_err());
        assert_eq!(all.spend(&other, 1 << 40, now), Ok(()));
    }

    #[test]
    fn a_datagram_that_does_not_fit_ends_the_budget() {
        let now = Instant::now();
        let mut all = budgets(&[("udp://a.example:53", "100")], &[], now);
        let share = all.join(Protocol::Udp, &named("a.example"), 53);
        assert_eq!(all.spend(&share, 60, now), Ok(()));
        assert!(all.spend(&share, 60, now).is_err());
        assert!(all.spend(&share, 1, now).is_err());
    }

    #[test]
    fn an_empty_datagram_does_not_go_once_the_budget_is_used_up() {
        let now = Instant::now();
        let mut all = budgets(&[("udp://a.example:53", "100")], &[], now);
        let share = all.join(Protocol::Udp, &named("a.example"), 53);
        assert_eq!(all.spend(&share, 0, now), Ok(()));
        assert_eq!(all.spend(&share, 100, now), Ok(()));
        assert!(all.spend(&share, 0, now).is_err());
    }

    #[test]
    fn what_goes_ahead_of_a_connection_is_paid_for() {
        let start = Instant::now();
        let mut all = budgets(
            &[("a.example:80", "100")],
            &[("b.example:80", "100/s")],
            start,
        );
        let share = all.join(Protocol::Tcp, &named("a.example"), 80);
        assert_eq!(all.take_ahead(&share, 60, start), Ahead::Goes);
        assert_eq!(all.allowance(&share, start), 40);
        assert!(matches!(all.take_ahead(&share, 41, start), Ahead::Spent(_)));
        assert_eq!(all.allowance(&share, start), 0);
        // More than a rate lets go at once goes all the same, and what follows waits for as long.
        let share = all.join(Protocol::Tcp, &named("b.example"), 80);
        assert_eq!(all.take_ahead(&share, 1025, start), Ahead::Goes);
        let Ahead::Waits(until) = all.take_ahead(&share, 1, start) else {
            panic!("it goes");
        };
        let waits = until - start;
        assert!((10_000..=10_040).contains(&waits.as_millis()), "{waits:?}");
        let soon = start + Duration::from_secs(9);
        assert_eq!(all.allowance(&share, soon), 0);
        let later = start + Duration::from_millis(10_500);
        assert_eq!(all.take_ahead(&share, 1, later), Ahead::Goes);
    }

    #[test]
    fn a_rate_is_kept_over_time_and_shared() {
        let start = Instant::now();
        let mut all = budgets(&[], &[("a.example:443", "1000/s")], start);
        let one = all.join(Protocol::Tcp, &named("a.example"), 443);
        let mut moved = 0;
        for millisecond in 0..5000 {
            let now = start + Duration::from_millis(millisecond);
            let count = all.allowance(&one, now);
            all.charge(&one, count);
            moved += count;
        }
        assert!((4900..=5300).contains(&moved), "{moved}");
        let now = start + Duration::from_secs(5);
        let next = all.next(&one, now);
        assert!(
            next > now && next <= now + Duration::from_millis(21),
            "{:?}",
            next - now
        );
        // A second one gets its part.
        let other = all.join(Protocol::Tcp, &named("a.example"), 443);
        let later = now + Duration::from_secs(60);
        assert_eq!(all.allowance(&one, later), 125);
        all.leave(&other);
        assert_eq!(all.allowance(&one, later), 250);
    }
}
