//! What the broker lets in and for how long: numbers, sources, time, and when it does not accept.
//!
//! Pure: it is told of connections and of the time, and answers with decisions. In the broker's loop
//! only.
//!
//! A limit in total stops accepting, and the kernel's backlog holds the rest. A limit per source
//! cannot do that, because who it is shows only once the connection is there: it refuses.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// Where a connection comes from, as far as limits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// One IPv4 address.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address: any host has all of the rest (RFC 4291, 2.5.1).
    V6([u16; 4]),
    /// A user of this host, over a Unix socket.
    User(u32),
}

impl Source {
    /// An IPv4 address that came over an IPv6 socket is IPv4.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Most {
    /// In total.
    pub(crate) connections: Option<usize>,
    /// From one source.
    pub(crate) per_source: Option<usize>,
}

/// The connections that are open.
#[derive(Debug, Default)]
pub(crate) struct Census {
    most: Most,
    open: usize,
    by_source: HashMap<Source, usize>,
}

/// A source has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Census {
    pub(crate) fn new(most: Most) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    /// Whether no more can be let in at all.
    pub(crate) fn is_full(&self) -> bool {
        self.most.connections.is_some_and(|most| self.open >= most)
    }

    /// How many there are.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// From how many sources.
    pub(crate) fn sources(&self) -> usize {
        self.by_source.len()
    }

    /// Let one in, and count it.
    pub(crate) fn admit(&mut self, source: Source) -> Result<(), TooMany> {
        let count = self.by_source.get(&source).copied().unwrap_or_default();
        if self.most.per_source.is_some_and(|most| count >= most) {
            return Err(TooMany);
        }
        self.by_source.insert(source, count.saturating_add(1));
        self.open = self.open.saturating_add(1);
        Ok(())
    }

    /// One that was let in is over.
    pub(crate) fn release(&mut self, source: Source) {
        self.open = self.open.saturating_sub(1);
        if let Some(count) = self.by_source.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

/// How long a connection may last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// Without a byte to or from the peer.
    pub(crate) idle: Option<Duration>,
    /// At all.
    pub(crate) total: Option<Duration>,
}

/// Why a connection's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// No byte for too long.
    Idle,
    /// It lasted too long.
    Total,
}

impl Over {
    /// As events and metrics name it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle-timeout",
            Self::Total => "total-timeout",
        }
    }
}

/// What moved on a connection so far, as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes received, and bytes acknowledged by the peer: what the network moved, whatever the worker
    /// or the peer merely claims.
    pub(crate) bytes: u64,
    /// How long ago the last of it came.
    pub(crate) since: Duration,
}

/// The clock of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    times: Times,
    began: Instant,
    moved: Instant,
    bytes: u64,
}

/// What a look at the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Look again then.
    At(Instant),
    /// There is no limit.
    Never,
    /// Time is over.
    Over(Over),
}

impl Clock {
    pub(crate) fn new(times: Times, now: Instant) -> Self {
        Self {
            times,
            began: now,
            moved: now,
            bytes: 0,
        }
    }

    /// What is due at `now`, when so much has moved.
    pub(crate) fn look(&mut self, now: Instant, progress: Option<Progress>) -> Look {
        if let Some(progress) = progress
            && progress.bytes != self.bytes
        {
            self.bytes = progress.bytes;
            // What moved before it was accepted (a request sent at once) does not make it older.
            self.moved = now
                .checked_sub(progress.since)
                .map_or(self.moved, |moved| moved.max(self.moved));
        }
        let end = |from: Instant, limit: Option<Duration>| {
            limit.and_then(|limit| from.checked_add(limit))
        };
        let (total, idle) = (
            end(self.began, self.times.total),
            end(self.moved, self.times.idle),
        );
        if total.is_some_and(|total| total <= now) {
            return Look::Over(Over::Total);
        }
        if idle.is_some_and(|idle| idle <= now) {
            return Look::Over(Over::Idle);
        }
        match total.into_iter().chain(idle).min() {
            Some(next) => Look::At(next),
            None => Look::Never,
        }
    }
}

/// Why nothing is accepted for the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// No worker has room.
    Workers,
    /// `--max-connections`.
    Connections,
    /// No descriptor is free, here or on the host.
    Descriptors,
    /// Sandboxes cannot be launched as fast as connections come, or at all.
    Launches,
}

impl Pause {
    /// Each of them.
    pub(crate) const ALL: [Self; 4] = [
        Self::Workers,
        Self::Connections,
        Self::Descriptors,
        Self::Launches,
    ];

    /// As events and metrics name it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Workers => "workers-busy",
            Self::Connections => "max-connections",
            Self::Descriptors => "no-descriptors",
            Self::Launches => "launches",
        }
    }

    /// Whether it is worth a word at once: it means that something is wrong, not that there is much to
    /// do.
    fn is_news(self) -> bool {
        matches!(self, Self::Descriptors | Self::Launches)
    }
}

/// How long a pause lasts before it is worth a word: under load, short ones come and go all the time.
pub(crate) const WORTH_A_WORD: Duration = Duration::from_secs(1);

/// Whether connections are accepted, and why not.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pauses: [Paused; Pause::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Paused {
    since: Option<Instant>,
    said: bool,
    times: u64,
}

/// What is to be said of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// It lasts.
    Paused(Pause),
    /// It is over, after so long.
    Resumed(Pause, Duration),
}

impl Gate {
    /// Whether connections are accepted.
    pub(crate) fn is_open(&self) -> bool {
        self.pauses.iter().all(|pause| pause.since.is_none())
    }

    /// Whether it is closed for `pause`.
    pub(crate) fn holds(&self, pause: Pause) -> bool {
        self.of(pause).since.is_some()
    }

    /// The reasons that hold at the moment.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = Pause> {
        Pause::ALL
            .into_iter()
            .filter(|&pause| self.of(pause).since.is_some())
    }

    /// How often it was closed for `pause`.
    pub(crate) fn times(&self, pause: Pause) -> u64 {
        self.of(pause).times
    }

    /// Close or open it for one reason; what is to be said of it, if anything.
    pub(crate) fn set(&mut self, pause: Pause, holds: Holds, now: Instant) -> Option<Word> {
        let state = &mut self.pauses[pause as usize];
        match (state.since, holds) {
            (None, Holds::Yes) => {
                state.since = Some(now);
                state.times = state.times.saturating_add(1);
                state.said = pause.is_news();
                state.said.then_some(Word::Paused(pause))
            }
            (Some(since), Holds::No) => {
                state.since = None;
                let said = std::mem::take(&mut state.said);
                said.then(|| Word::Resumed(pause, now.saturating_duration_since(since)))
            }
            _ => None,
        }
    }

    /// What has lasted long enough by `now` to be worth a word: each once.
    pub(crate) fn lasting(&mut self, now: Instant) -> Vec<Word> {
        let mut words = Vec::new();
        for pause in Pause::ALL {
            let state = &mut self.pauses[pause as usize];
            let lasts = state
                .since
                .is_some_and(|since| now.saturating_duration_since(since) >= WORTH_A_WORD);
            if lasts && !state.said {
                state.said = true;
                words.push(Word::Paused(pause));
            }
        }
        words
    }

    /// When [`Gate::lasting`] may have something to say next.
    pub(crate) fn next_word(&self) -> Option<Instant> {
        self.pauses
            .iter()
            .filter(|state| !state.said)
            .filter_map(|state| state.since?.checked_add(WORTH_A_WORD))
            .min()
    }

    fn of(&self, pause: Pause) -> &Paused {
        &self.pauses[pause as usize]
    }
}

/// Whether a reason to pause holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Yes,
    No,
}

impl Holds {
    /// From a question's answer.
    pub(crate) fn when(it_does: bool) -> Self {
        if it_does { Self::Yes } else { Self::No }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1:2:3"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_ne!(Source::User(1), Source::User(2));
    }

    #[test]
    fn a_full_house_is_one_that_has_as_many_as_it_may() {
        let mut census = Census::new(Most {
            connections: Some(2),
            per_source: None,
        });
        for _ in 0..2 {
            assert!(!census.is_full());
            census.admit(source("192.0.2.1")).unwrap();
        }
        assert!(census.is_full());
        census.release(source("192.0.2.1"));
        assert!(!census.is_full());
        assert_eq!(census.open(), 1);
    }

    #[test]
    fn one_source_cannot_take_anothers_share() {
        let mut census = Census::new(Most {
            connections: None,
            per_source: Some(1),
        });
        let (one, other) = (source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(census.admit(one), Ok(()));
        assert_eq!(census.admit(one), Err(TooMany));
        assert_eq!(census.admit(other), Ok(()));
        census.release(one);
        assert_eq!(census.admit(one), Ok(()));
        census.release(one);
        census.release(other);
        assert_eq!((census.open(), census.sources()), (0, 0), "nothing is kept");
    }

    #[test]
    fn without_limits_everybody_is_let_in_for_ever() {
        let mut census = Census::new(Most::default());
        for _ in 0..1000 {
            census.admit(source("::1")).unwrap();
            assert!(!census.is_full());
        }
        let now = Instant::now();
        let mut clock = Clock::new(Times::default(), now);
        assert_eq!(clock.look(now + SECOND * 1_000_000, None), Look::Never);
    }

    #[test]
    fn the_total_limit_counts_from_the_beginning_whatever_moves() {
        let times = Times {
            idle: None,
            total: Some(SECOND * 10),
        };
        let began = Instant::now();
        let mut clock = Clock::new(times, began);
        let moving = |bytes| {
            Some(Progress {
                bytes,
                since: Duration::ZERO,
            })
        };
        assert_eq!(
            clock.look(began + SECOND * 9, moving(1)),
            Look::At(began + SECOND * 10)
        );
        assert_eq!(
            clock.look(began + SECOND * 10, moving(2)),
            Look::Over(Over::Total)
        );
    }

    #[test]
    fn the_idle_limit_counts_from_the_last_byte() {
        let times = Times {
            idle: Some(SECOND * 10),
            total: None,
        };
        let began = Instant::now();
        let mut clock = Clock::new(times, began);
        let at = |second| began + SECOND * second;
        let moved = |bytes, ago| {
            Some(Progress {
                bytes,
                since: SECOND * ago,
            })
        };
        assert_eq!(clock.look(at(0), moved(0, 0)), Look::At(at(10)));
        // At 10 a byte has come 4 seconds ago: idle no earlier than 16.
        assert_eq!(clock.look(at(10), moved(1, 4)), Look::At(at(16)));
        // Acknowledgements without a byte are no progress.
        assert_eq!(clock.look(at(16), moved(1, 0)), Look::Over(Over::Idle));
    }

    #[test]
    fn bytes_that_came_before_the_connection_was_accepted_do_not_age_it() {
        let times = Times {
            idle: Some(SECOND * 10),
            total: None,
        };
        let began = Instant::now();
        let mut clock = Clock::new(times, began);
        let progress = Progress {
            bytes: 5,
            since: SECOND * 60,
        };
        assert_eq!(
            clock.look(began, Some(progress)),
            Look::At(began + SECOND * 10)
        );
    }

    #[test]
    fn the_earlier_limit_is_the_next_look() {
        let times = Times {
            idle: Some(SECOND * 3),
            total: Some(SECOND * 2),
        };
        let began = Instant::now();
        let mut clock = Clock::new(times, began);
        assert_eq!(clock.look(began, None), Look::At(began + SECOND * 2));
    }

    #[test]
    fn the_gate_is_open_only_when_no_reason_holds() {
        let now = Instant::now();
        let mut gate = Gate::default();
        assert!(gate.is_open());
        gate.set(Pause::Workers, Holds::Yes, now);
        gate.set(Pause::Descriptors, Holds::Yes, now);
        gate.set(Pause::Workers, Holds::No, now);
        assert!(!gate.is_open());
        assert_eq!(gate.reasons().collect::<Vec<_>>(), [Pause::Descriptors]);
        gate.set(Pause::Descriptors, Holds::No, now);
        assert!(gate.is_open());
        assert_eq!(gate.times(Pause::Workers), 1);
    }

    #[test]
    fn only_a_pause_that_lasts_is_worth_a_word_and_then_so_is_its_end() {
        let now = Instant::now();
        let mut gate = Gate::default();
        gate.set(Pause::Workers, Holds::Yes, now);
        assert_eq!(gate.lasting(now), []);
        assert_eq!(gate.set(Pause::Workers, Holds::No, now), None);
        gate.set(Pause::Workers, Holds::Yes, now);
        assert_eq!(gate.next_word(), Some(now + WORTH_A_WORD));
        let later = now + SECOND * 2;
        assert_eq!(gate.lasting(later), [Word::Paused(Pause::Workers)]);
        assert_eq!(gate.lasting(later), [], "said once");
        assert_eq!(gate.next_word(), None);
        assert_eq!(
            gate.set(Pause::Workers, Holds::No, later),
            Some(Word::Resumed(Pause::Workers, SECOND * 2))
        );
    }

    #[test]
    fn a_pause_because_something_is_wrong_is_said_at_once_and_once() {
        let now = Instant::now();
        let mut gate = Gate::default();
        let said = gate.set(Pause::Descriptors, Holds::Yes, now);
        assert_eq!(said, Some(Word::Paused(Pause::Descriptors)));
        assert_eq!(gate.set(Pause::Descriptors, Holds::Yes, now), None);
        assert_eq!(gate.lasting(now + SECOND * 9), []);
        let over = gate.set(Pause::Descriptors, Holds::No, now + SECOND);
        assert_eq!(over, Some(Word::Resumed(Pause::Descriptors, SECOND)));
    }
}
