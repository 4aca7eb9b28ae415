//! What a command was seen to reach and to be refused.
//!
//! Noted by the supervisor's loop and by the thread that connects, read once the command has ended.
//! Everything here was chosen by the command: it is bounded, and nothing is decided by it.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::egress::destination::{Asked, Protocol};

/// How many different things of one kind are kept.
const MOST: usize = 4096;
/// How many programs are named for one.
const MOST_USERS: usize = 4;

/// A destination as the command named it. Ordered as it is to be written: names before addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    kind: Kind,
    host: String,
    port: u16,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Name,
    Address,
}

impl Target {
    pub(crate) fn new(protocol: Protocol, asked: &Asked, port: u16) -> Self {
        Self {
            kind: match asked {
                Asked::Name(_) => Kind::Name,
                Asked::Address(_) => Kind::Address,
            },
            host: asked.to_string(),
            port,
            protocol,
        }
    }

    /// What one use of it is called.
    pub(crate) fn use_word(&self) -> &'static str {
        match self.protocol {
            Protocol::Tcp => "connection",
            Protocol::Udp => "flow",
        }
    }

    /// The host alone.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// As a policy writes it.
    pub(crate) fn text(&self) -> String {
        let scheme = match self.protocol {
            Protocol::Tcp => "",
            Protocol::Udp => "udp://",
        };
        format!("{scheme}{}:{}", self.host, self.port)
    }
}

/// Who used something, and how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) times: u64,
    pub(crate) out: u64,
    pub(crate) back: u64,
    pub(crate) users: BTreeSet<String>,
}

impl Use {
    fn add(&mut self, user: Option<&str>) {
        self.times = self.times.saturating_add(1);
        self.used_by(user);
    }

    fn used_by(&mut self, user: Option<&str>) {
        if let Some(user) = user.filter(|_| self.users.len() < MOST_USERS) {
            self.users.insert(user.to_owned());
        }
    }
}

/// Something that did not come about, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) reason: String,
    pub(crate) users: Use,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Destinations to which there was a connection or a datagram.
    pub(crate) reached: BTreeMap<Target, Use>,
    /// Those of which nothing came: nobody there, no such name.
    pub(crate) failed: BTreeMap<Target, Missed>,
    /// Those that were refused because no rule names them, and that learning would permit.
    pub(crate) wanted: BTreeMap<Target, Use>,
    /// Those that only an express rule opens, or nothing does.
    pub(crate) special: BTreeMap<Target, Missed>,
    /// Names that were looked up.
    pub(crate) names: BTreeSet<String>,
    /// Unix sockets of the host that were connected to.
    pub(crate) sockets: BTreeMap<String, Use>,
    /// Those that were refused.
    pub(crate) closed: BTreeMap<String, Missed>,
    /// System calls beyond the profile that went on.
    pub(crate) calls: BTreeMap<String, Use>,
    /// Those that did not.
    pub(crate) refused_calls: BTreeMap<String, Missed>,
    /// More was seen than is kept.
    pub(crate) overflowed: bool,
}

/// What came of a connection that the rules permit.
pub(crate) struct Came<'a> {
    pub(crate) out: u64,
    pub(crate) back: u64,
    /// Why nothing did.
    pub(crate) failure: Option<&'a str>,
}

impl Record {
    /// The value of `key` in the map that `of` picks, if there is room for it.
    fn entry<K: Ord + 'static, V: Default + 'static>(
        &mut self,
        of: Of<K, V>,
        key: K,
    ) -> Option<&mut V> {
        let map = of(self);
        if map.len() >= MOST && !map.contains_key(&key) {
            self.overflowed = true;
            return None;
        }
        Some(of(self).entry(key).or_default())
    }
}

/// Picks a map of a record's.
type Of<K, V> = fn(&mut Record) -> &mut BTreeMap<K, V>;

/// One's hand on the record; nobody's where nothing is learned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Option<Arc<Mutex<Record>>>);

impl Recorder {
    /// A new record.
    pub(crate) fn begin() -> Self {
        Self(Some(Arc::default()))
    }

    /// Whether anything is kept.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    fn note(&self, what: impl FnOnce(&mut Record)) {
        if let Some(record) = &self.0 {
            what(&mut record.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// `key` was used once more.
    fn used<K: Ord + 'static>(&self, of: Of<K, Use>, key: K, user: Option<&str>) {
        self.note(|record| {
            if let Some(one) = record.entry(of, key) {
                one.add(user);
            }
        });
    }

    /// `key` was refused. Told more than once: how often is not known.
    fn refused<K: Ord + 'static>(
        &self,
        of: Of<K, Missed>,
        key: K,
        reason: String,
        user: Option<&str>,
    ) {
        self.note(|record| {
            if let Some(one) = record.entry(of, key) {
                one.reason = reason;
                one.users.used_by(user);
            }
        });
    }

    /// A connection that the rules permit has ended.
    pub(crate) fn ended(&self, target: Target, came: &Came<'_>, user: Option<&str>) {
        self.note(
            |record| match came.failure.filter(|_| came.out + came.back == 0) {
                None => {
                    if let Some(one) = record.entry(|it| &mut it.reached, target) {
                        one.add(user);
                        one.out = one.out.saturating_add(came.out);
                        one.back = one.back.saturating_add(came.back);
                    }
                }
                Some(failure) => {
                    if let Some(one) = record.entry(|it| &mut it.failed, target) {
                        one.reason = failure.to_owned();
                        one.users.add(user);
                    }
                }
            },
        );
    }

    /// A destination was refused that learning would permit.
    pub(crate) fn wanted(&self, target: Target, user: Option<&str>) {
        self.note(|record| {
            // Told more than once: how often is not known.
            if let Some(one) = record.entry(|it| &mut it.wanted, target) {
                one.used_by(user);
            }
        });
    }

    /// A destination was refused that stays so.
    pub(crate) fn special(&self, target: Target, reason: String, user: Option<&str>) {
        self.refused(|it| &mut it.special, target, reason, user);
    }

    /// A destination could not be reached for a reason of ours.
    pub(crate) fn missed(&self, target: Target, reason: String, user: Option<&str>) {
        self.refused(|it| &mut it.failed, target, reason, user);
    }

    /// A name was looked up.
    pub(crate) fn name(&self, name: String) {
        self.note(|record| match record.names.len() < MOST {
            true => drop(record.names.insert(name)),
            false => record.overflowed = true,
        });
    }

    /// A Unix socket of the host was connected to.
    pub(crate) fn socket(&self, path: String, user: Option<&str>) {
        self.used(|it| &mut it.sockets, path, user);
    }

    /// One was refused.
    pub(crate) fn closed(&self, path: String, reason: &str, user: Option<&str>) {
        self.refused(|it| &mut it.closed, path, reason.to_owned(), user);
    }

    /// A system call beyond the profile went on.
    pub(crate) fn call(&self, name: String, user: Option<&str>) {
        self.used(|it| &mut it.calls, name, user);
    }

    /// One was refused.
    pub(crate) fn refused_call(&self, name: String, reason: &str, user: Option<&str>) {
        self.refused(|it| &mut it.refused_calls, name, reason.to_owned(), user);
    }

    /// What was seen so far.
    pub(crate) fn read(&self) -> Record {
        let record = self.0.as_ref();
        record.map_or_else(Record::default, |record| {
            record
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        })
    }
}
