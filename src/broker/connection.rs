//! One connection for a sandbox of its own, inetd style: what its command finds in the environment,
//! the bytes that carry it there, and how many sandboxes wait ahead for connections.
//!
//! Pure: values in, values out. Used in the broker, which knows the connection; in the keeper, which
//! lets the broker choose nothing but values of these variables; and in the child, which fills them in
//! just before it executes the command. What a peer can choose, its socket's path, is hostile: a value
//! that is not printable is left out.
//!
//! The variables are those that inetd-style programs know: ucspi-tcp's (tcp-environ(5)), for Unix
//! sockets ucspi-unix's (unixserver(1)), and systemd's for `Accept=yes` (systemd.socket(5)). `PROTO` is
//! `TCP` for IPv6 too, so that `${PROTO}REMOTEIP` is there for every program; an IPv4 peer of an IPv6
//! listener is written as IPv4.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::channel::Address;
use super::keeper::Token;

/// Every variable that a connection can set, in the order in which its values are encoded.
pub const VARIABLES: [&str; 12] = [
    "PROTO",
    "TCPREMOTEIP",
    "TCPREMOTEPORT",
    "TCPLOCALIP",
    "TCPLOCALPORT",
    "UNIXLOCALPATH",
    "UNIXREMOTEEUID",
    "UNIXREMOTEEGID",
    "UNIXREMOTEPID",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "SANDBOX_LISTENER",
];

/// The longest value.
pub const LONGEST_VALUE: usize = u8::MAX as usize;
/// The longest encoding of a connection's values.
pub const LONGEST: usize = VARIABLES.len() * (1 + LONGEST_VALUE);

/// Variables that would tell of another connection, were they inherited. Those that a name server or
/// the peer's ident server fills in for ucspi-tcp are never set here.
const STALE: &[&str] = &[
    "TCPREMOTE",
    "TCPLOCAL",
    "TCPINTERFACE",
    "TCP6",
    "UNIXREMOTE",
    "UNIXLOCAL",
];

/// Whether an inherited variable called `name` must not reach a command that serves one connection.
pub(crate) fn is_stale(name: &str) -> bool {
    VARIABLES.contains(&name) || STALE.iter().any(|start| name.starts_with(start))
}

/// Who called connect(2) on a Unix socket (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id, in the broker's pid namespace.
    pub pid: i32,
}

/// What kind of address a connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4, an IPv4 peer of an IPv6 listener included.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// A Unix socket.
    Unix,
}

/// An accepted connection, as its command is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The name of the listener that it came in by.
    pub listener: String,
    /// The client.
    pub peer: Address,
    /// The client's other end: where it connected to.
    pub local: Address,
    /// Who the client is, where the kernel knows.
    pub credentials: Option<Credentials>,
}

impl Connection {
    /// The peer's kind of address.
    #[must_use]
    pub fn family(&self) -> Family {
        match &self.peer {
            Address::Unix(_) => Family::Unix,
            Address::Inet(address) if address.ip().to_canonical().is_ipv4() => Family::Ipv4,
            Address::Inet(_) => Family::Ipv6,
        }
    }

    /// Each variable's value, in the order of [`VARIABLES`]; `None` where it has none.
    #[must_use]
    pub fn values(&self) -> [Option<String>; VARIABLES.len()] {
        let value = |name: &str| match name {
            "PROTO" => Some(match self.family() {
                Family::Unix => "UNIX".to_owned(),
                Family::Ipv4 | Family::Ipv6 => "TCP".to_owned(),
            }),
            "TCPREMOTEIP" => ip(&self.peer),
            "TCPREMOTEPORT" | "REMOTE_PORT" => port(&self.peer),
            "TCPLOCALIP" => ip(&self.local),
            "TCPLOCALPORT" => port(&self.local),
            "UNIXLOCALPATH" => unix_name(&self.local),
            "UNIXREMOTEEUID" => self.credentials.map(|peer| peer.uid.to_string()),
            "UNIXREMOTEEGID" => self.credentials.map(|peer| peer.gid.to_string()),
            "UNIXREMOTEPID" => self.credentials.map(|peer| peer.pid.to_string()),
            "REMOTE_ADDR" => ip(&self.peer).or_else(|| unix_name(&self.peer)),
            "SANDBOX_LISTENER" => Some(self.listener.clone()),
            _ => None,
        };
        VARIABLES.map(|name| value(name).filter(|value| is_value(value.as_bytes())))
    }

    /// The bytes that [`decode`] reads.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        for value in self.values() {
            let value = value.unwrap_or_default();
            // Longer ones are no value: `is_value` has left them out.
            bytes.push(u8::try_from(value.len()).unwrap_or(0));
            bytes.extend_from_slice(value.as_bytes());
        }
        bytes
    }
}

fn ip(address: &Address) -> Option<String> {
    match address {
        Address::Inet(address) => Some(address.ip().to_canonical().to_string()),
        Address::Unix(_) => None,
    }
}

fn port(address: &Address) -> Option<String> {
    match address {
        Address::Inet(address) => Some(address.port().to_string()),
        Address::Unix(_) => None,
    }
}

/// As systemd writes it: the path, or an abstract name after an `@`.
fn unix_name(address: &Address) -> Option<String> {
    let Address::Unix(name) = address else {
        return None;
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    match name.as_abstract() {
        Some(name) => Some(format!("@{}", text(name)?)),
        None => text(name.as_bytes()),
    }
}

/// Whether `bytes` may be a variable's value: printable ASCII, not empty, not too long.
fn is_value(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.len() <= LONGEST_VALUE
        && bytes.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// The values in `bytes`, in the order of [`VARIABLES`], an empty one where there is none; `None` for
/// bytes that [`Connection::encode`] does not make.
///
/// Async-signal-safe: arithmetic on the slice, no allocation.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<[&[u8]; VARIABLES.len()]> {
    let mut values: [&[u8]; VARIABLES.len()] = [&[]; VARIABLES.len()];
    let mut rest = bytes;
    for value in &mut values {
        let (&length, after) = rest.split_first()?;
        (*value, rest) = after.split_at_checked(usize::from(length))?;
        if length > 0 && !is_value(value) {
            return None;
        }
    }
    rest.is_empty().then_some(values)
}

/// The most sandboxes that may wait for connections.
pub(crate) const MOST_SPARES: usize = 256;
/// After a launch that failed, the first pause and the longest: each failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The sandboxes that wait, or are being launched to wait, for connections to come.
#[derive(Debug)]
pub(crate) struct Spares {
    wanted: usize,
    /// The oldest first.
    waiting: VecDeque<Token>,
    launching: Vec<Token>,
    /// Those of `launching` that have the plan from before a reload under way.
    before_reload: Vec<Token>,
    pause: Duration,
    not_before: Option<Instant>,
}

impl Spares {
    /// Keep `wanted` of them, at most [`MOST_SPARES`].
    pub(crate) fn new(wanted: usize) -> Self {
        Self {
            wanted: wanted.min(MOST_SPARES),
            waiting: VecDeque::new(),
            launching: Vec::new(),
            before_reload: Vec::new(),
            pause: FIRST_PAUSE,
            not_before: None,
        }
    }

    /// How many to launch now, where `room` more sandboxes may be.
    pub(crate) fn missing(&self, room: usize, now: Instant) -> usize {
        if self.not_before.is_some_and(|moment| now < moment) {
            return 0;
        }
        let there = self.waiting.len().saturating_add(self.launching.len());
        self.wanted.saturating_sub(there).min(room)
    }

    /// When to ask again, if not before, because launches failed.
    pub(crate) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// `token` was asked for.
    pub(crate) fn asked(&mut self, token: Token) {
        self.launching.push(token);
    }

    /// `token` waits for a connection. It may be too old a one: then it is to be closed.
    #[must_use]
    pub(crate) fn ready(&mut self, token: Token) -> Ready {
        self.pause = FIRST_PAUSE;
        self.not_before = None;
        self.forget(token);
        if take_out(&mut self.before_reload, token) {
            return Ready::Outdated;
        }
        self.waiting.push_back(token);
        Ready::Waits
    }

    /// `token` could not be launched.
    pub(crate) fn failed(&mut self, token: Token, now: Instant) {
        self.forget(token);
        take_out(&mut self.before_reload, token);
        self.not_before = now.checked_add(self.pause);
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
    }

    /// One for a connection.
    pub(crate) fn take(&mut self) -> Option<Token> {
        self.waiting.pop_front()
    }

    /// `token` has ended, whatever it was doing. Whether it was one that waited.
    pub(crate) fn ended(&mut self, token: Token) -> bool {
        self.forget(token);
        let before = self.waiting.len();
        self.waiting.retain(|&known| known != token);
        self.waiting.len() < before
    }

    /// The keeper was asked for a new plan.
    pub(crate) fn reload_asked(&mut self) {
        self.before_reload.clone_from(&self.launching);
    }

    /// The keeper has the new plan: those that wait with the old one are to be closed.
    pub(crate) fn reloaded(&mut self) -> Vec<Token> {
        self.waiting.drain(..).collect()
    }

    /// The keeper has kept the old plan.
    pub(crate) fn reload_failed(&mut self) {
        self.before_reload.clear();
    }

    fn forget(&mut self, token: Token) {
        take_out(&mut self.launching, token);
    }
}

/// What a spare that has been launched is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// It waits for a connection.
    Waits,
    /// It was launched by a plan that has been replaced.
    Outdated,
}

fn take_out(tokens: &mut Vec<Token>, token: Token) -> bool {
    let before = tokens.len();
    tokens.retain(|&known| known != token);
    tokens.len() < before
}

#[cfg(test)]
mod tests {
    use super::super::channel::UnixName;
    use super::*;

    fn inet(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    fn unix(name: &[u8]) -> Address {
        Address::Unix(UnixName::new(name).unwrap())
    }

    fn connection(peer: Address, local: Address) -> Connection {
        Connection {
            listener: "web".to_owned(),
            peer,
            local,
            credentials: None,
        }
    }

    /// Only what is set, as `NAME=VALUE`.
    fn environment(connection: &Connection) -> Vec<String> {
        VARIABLES
            .iter()
            .zip(connection.values())
            .filter_map(|(name, value)| Some(format!("{name}={}", value?)))
            .collect()
    }

    #[test]
    fn an_ipv4_connection_is_told_as_ucspi_and_systemd_do() {
        let connection = connection(inet("192.0.2.7:4711"), inet("198.51.100.1:80"));
        assert_eq!(connection.family(), Family::Ipv4);
        let expected = [
            "PROTO=TCP",
            "TCPREMOTEIP=192.0.2.7",
            "TCPREMOTEPORT=4711",
            "TCPLOCALIP=198.51.100.1",
            "TCPLOCALPORT=80",
            "REMOTE_ADDR=192.0.2.7",
            "REMOTE_PORT=4711",
            "SANDBOX_LISTENER=web",
        ];
        assert_eq!(environment(&connection), expected);
    }

    #[test]
    fn an_ipv6_connection_has_the_same_variables() {
        let connection = connection(inet("[2001:db8::7]:4711"), inet("[2001:db8::1]:80"));
        assert_eq!(connection.family(), Family::Ipv6);
        let expected = [
            "PROTO=TCP",
            "TCPREMOTEIP=2001:db8::7",
            "TCPREMOTEPORT=4711",
            "TCPLOCALIP=2001:db8::1",
            "TCPLOCALPORT=80",
            "REMOTE_ADDR=2001:db8::7",
            "REMOTE_PORT=4711",
            "SANDBOX_LISTENER=web",
        ];
        assert_eq!(environment(&connection), expected);
    }

    #[test]
    fn an_ipv4_peer_of_an_ipv6_listener_is_ipv4() {
        let connection = connection(inet("[::ffff:192.0.2.7]:1"), inet("[::ffff:127.0.0.1]:2"));
        assert_eq!(connection.family(), Family::Ipv4);
        let told = environment(&connection);
        assert!(
            told.contains(&"REMOTE_ADDR=192.0.2.7".to_owned()),
            "{told:?}"
        );
        assert!(
            told.contains(&"TCPLOCALIP=127.0.0.1".to_owned()),
            "{told:?}"
        );
    }

    #[test]
    fn a_unix_connection_tells_who_the_peer_is() {
        let named = Connection {
            credentials: Some(Credentials {
                uid: 1000,
                gid: 100,
                pid: 4711,
            }),
            ..connection(unix(b""), unix(b"/run/web.sock"))
        };
        assert_eq!(named.family(), Family::Unix);
        let expected = [
            "PROTO=UNIX",
            "UNIXLOCALPATH=/run/web.sock",
            "UNIXREMOTEEUID=1000",
            "UNIXREMOTEEGID=100",
            "UNIXREMOTEPID=4711",
            "SANDBOX_LISTENER=web",
        ];
        assert_eq!(environment(&named), expected);
    }

    #[test]
    fn a_unix_peer_is_named_by_path_or_abstract_name() {
        let peer = |name: &[u8]| {
            let [.., address, _, _] = connection(unix(name), unix(b"/s")).values();
            address
        };
        assert_eq!(peer(b"/tmp/client"), Some("/tmp/client".to_owned()));
        assert_eq!(peer(b"\0client"), Some("@client".to_owned()));
        assert_eq!(peer(b""), None);
    }

    #[test]
    fn a_name_that_the_peer_made_unprintable_is_left_out() {
        for name in [
            &b"/tmp/a\nLD_PRELOAD=/x"[..],
            b"/tmp/\x1b[2J",
            b"/tmp/\xff",
            b"\0a\0b",
            "/tmp/\u{e9}".as_bytes(),
        ] {
            let connection = connection(unix(name), unix(b"/s"));
            let told = environment(&connection);
            assert!(
                !told.iter().any(|line| line.starts_with("REMOTE_ADDR")),
                "{told:?}"
            );
            assert!(decode(&connection.encode()).is_some());
        }
    }

    #[test]
    fn values_survive_the_way() {
        for connection in [
            connection(inet("192.0.2.7:4711"), inet("198.51.100.1:80")),
            connection(inet("[2001:db8::7]:4711"), inet("[2001:db8::1]:80")),
            connection(unix(b"\0x"), unix(&[b'p'; 107])),
        ] {
            let bytes = connection.encode();
            assert!(bytes.len() <= LONGEST);
            let decoded = decode(&bytes).unwrap().map(<[u8]>::to_vec);
            let values = connection.values();
            assert_eq!(
                decoded,
                values.map(|value| value.unwrap_or_default().into_bytes())
            );
        }
    }

    #[test]
    fn other_bytes_are_no_values() {
        let none = [0; VARIABLES.len()];
        assert!(decode(&none).is_some(), "the control");
        let with = |first: &[u8]| [first, &none[1..]].concat();
        assert!(decode(&with(b"\x03TCP")).is_some(), "the control");
        for (wrong, why) in [
            (vec![], "nothing"),
            (none[1..].to_vec(), "one too few"),
            ([&none[..], &[0]].concat(), "one too many"),
            (with(b"\xffTCP"), "longer than it is"),
            (with(b"\x03T\0P"), "a NUL"),
            (with(b"\x03T\nP"), "a line end"),
            (with(b"\x03T\x7fP"), "a control character"),
            (with(b"\x03T\x80P"), "not ASCII"),
        ] {
            assert_eq!(decode(&wrong), None, "{why}");
        }
    }

    #[test]
    fn no_variable_of_another_connection_is_inherited() {
        for name in VARIABLES {
            assert!(is_stale(name), "{name}");
        }
        for name in [
            "TCPREMOTEHOST",
            "TCPREMOTEINFO",
            "TCP6REMOTEIP",
            "UNIXLOCALUID",
        ] {
            assert!(is_stale(name), "{name}");
        }
        for name in ["PATH", "PROTOCOL", "REMOTE_USER", "TCP"] {
            assert!(!is_stale(name), "{name}");
        }
    }

    fn token(number: u64) -> Token {
        Token::new(number).unwrap()
    }

    #[test]
    fn spares_are_kept_at_the_number_wanted() {
        let now = Instant::now();
        let mut spares = Spares::new(2);
        assert_eq!(spares.missing(9, now), 2);
        assert_eq!(spares.missing(1, now), 1, "no more than there is room for");
        spares.asked(token(1));
        spares.asked(token(2));
        assert_eq!(spares.missing(9, now), 0, "those under way count");
        assert_eq!(spares.take(), None, "they cannot be had yet");
        assert_eq!(spares.ready(token(2)), Ready::Waits);
        assert_eq!(spares.ready(token(1)), Ready::Waits);
        assert_eq!(spares.take(), Some(token(2)), "the oldest first");
        assert_eq!(spares.missing(9, now), 1);
        assert!(spares.ended(token(1)), "one that died while it waited");
        assert!(!spares.ended(token(2)), "one that has a connection");
        assert_eq!(spares.missing(9, now), 2);
        assert_eq!(spares.take(), None);
    }

    #[test]
    fn never_more_spares_than_the_most() {
        assert_eq!(
            Spares::new(usize::MAX).missing(usize::MAX, Instant::now()),
            MOST_SPARES
        );
        assert_eq!(Spares::new(0).missing(usize::MAX, Instant::now()), 0);
    }

    #[test]
    fn failing_launches_are_tried_ever_more_seldom() {
        let mut now = Instant::now();
        let mut spares = Spares::new(1);
        let mut pauses = Vec::new();
        for number in 0..9 {
            assert_eq!(spares.missing(9, now), 1);
            spares.asked(token(number));
            spares.failed(token(number), now);
            let next = spares.not_before().unwrap();
            assert_eq!(spares.missing(9, now), 0);
            pauses.push(next.duration_since(now).as_millis());
            now = next;
        }
        assert_eq!(
            pauses,
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        spares.asked(token(99));
        assert_eq!(spares.ready(token(99)), Ready::Waits);
        assert_eq!(spares.not_before(), None, "a success ends it");
    }

    #[test]
    fn a_reload_replaces_every_spare_of_the_old_plan() {
        let mut spares = Spares::new(3);
        (1..=3).for_each(|number| spares.asked(token(number)));
        assert_eq!(spares.ready(token(1)), Ready::Waits);
        spares.reload_asked();
        assert_eq!(
            spares.ready(token(2)),
            Ready::Outdated,
            "it was asked for before"
        );
        spares.asked(token(4));
        assert_eq!(spares.reloaded(), [token(1)]);
        assert_eq!(spares.ready(token(3)), Ready::Outdated);
        assert_eq!(spares.ready(token(4)), Ready::Waits);
        assert_eq!(spares.missing(9, Instant::now()), 2);
    }

    #[test]
    fn a_failed_reload_keeps_the_spares() {
        let mut spares = Spares::new(2);
        spares.asked(token(1));
        spares.asked(token(2));
        assert_eq!(spares.ready(token(1)), Ready::Waits);
        spares.reload_asked();
        spares.reload_failed();
        assert_eq!(spares.ready(token(2)), Ready::Waits);
        assert_eq!(spares.take(), Some(token(1)));
    }
}
