//! Rates and faults of a link: a bucket of tokens for its bandwidth, and delay and loss, where the kernel has
//! them (tc(8), tc-tbf(8), tc-htb(8), tc-netem(8)). Requests, as everything that changes a link is.
//!
//! They hold for what the link *sends*; each end of a wire has its own.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use nix::errno::Errno;

use super::handle::Namespace;
use super::netlink::{Connection, Request};
use crate::error::{Error, Result};

/// TCA_OPTIONS.
const OPTIONS: u16 = 2;
/// TC_LINKLAYER_ETHERNET: no table of rates is needed then.
const ETHERNET: u8 = 1;
/// The longest that a packet waits for its turn.
const PATIENCE: Duration = Duration::from_millis(400);
/// The least that the bucket holds, in bytes: a few packets, or what offloading makes one of.
const LEAST_BURST: u64 = 64 * 1024;

/// A bandwidth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    /// Bits a second, at least 8000.
    bits: u64,
}

/// The words for powers of a thousand, as tc(8) has them.
const UNITS: &[(&str, u64)] = &[
    ("gbit", 1_000_000_000),
    ("mbit", 1_000_000),
    ("kbit", 1_000),
];

impl Rate {
    /// Bits a second.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.bits
    }

    const fn bytes(self) -> u64 {
        self.bits / 8
    }
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = || {
            Error::usage(
                format!("rate \"{}\"", text.escape_debug()),
                "write a number with a unit, from 8kbit to 1000gbit, as 10mbit",
            )
        };
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
            .ok_or_else(refused)?;
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number: Option<u64> = number.parse().ok().filter(|_| digits);
        let bits = number.and_then(|number| number.checked_mul(factor));
        match bits {
            Some(bits @ 8_000..=1_000_000_000_000) => Ok(Self { bits }),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .find(|(_, factor)| self.bits.is_multiple_of(*factor));
        let (word, factor) = unit.copied().unwrap_or(("bit", 1));
        write!(f, "{}{word}", self.bits / factor)
    }
}

/// The share of packets that are lost.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Loss(f64);

impl FromStr for Loss {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = text.strip_suffix('%');
        let plain = |number: &&str| {
            number
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        };
        match number
            .filter(plain)
            .and_then(|number| number.parse::<f64>().ok())
        {
            Some(percent) if (0.0..=100.0).contains(&percent) => Ok(Self(percent)),
            _ => Err(Error::usage(
                format!("loss \"{}\"", text.escape_debug()),
                "write a share from 0% to 100%, as 0.5%",
            )),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Loss {
    /// As the kernel counts it: of 2^32.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the share is from 0 to 1"
    )]
    fn of_kernel(self) -> u32 {
        (self.0 / 100.0 * f64::from(u32::MAX)) as u32
    }
}

/// What holds a link to its rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shaper {
    /// tc-tbf(8): what has waited for long is dropped.
    #[default]
    Tbf,
    /// tc-htb(8): the link's own queue, as long as it is, waits.
    Htb,
}

impl FromStr for Shaper {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "tbf" => Ok(Self::Tbf),
            "htb" => Ok(Self::Htb),
            _ => Err(Error::usage(
                format!("shaper \"{}\"", text.escape_debug()),
                "use tbf or htb",
            )),
        }
    }
}

/// What the kernel needs to have for a [`Shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Discipline {
    /// A rate, by tc-tbf(8).
    Tbf,
    /// A rate, by tc-htb(8).
    Htb,
    /// Delay and loss, by tc-netem(8).
    Netem,
}

impl Discipline {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Tbf, Self::Htb, Self::Netem];

    const fn kind(self) -> &'static str {
        match self {
            Self::Tbf => "tbf",
            Self::Htb => "htb",
            Self::Netem => "netem",
        }
    }

    /// What it is for.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Tbf | Self::Htb => "a rate",
            Self::Netem => "delay and loss",
        }
    }

    /// What to say where the kernel lacks it.
    #[must_use]
    pub const fn lack(self) -> &'static str {
        match self {
            Self::Tbf => "this kernel has no tbf, which slows links down (CONFIG_NET_SCH_TBF)",
            Self::Htb => "this kernel has no htb, which slows links down (CONFIG_NET_SCH_HTB)",
            Self::Netem => {
                "this kernel has no netem, which delays and loses packets (CONFIG_NET_SCH_NETEM)"
            }
        }
    }

    /// Whether this kernel has it, tried in a namespace of its own.
    ///
    /// # Errors
    /// When there is no namespace to try it in.
    pub fn is_there(self) -> Result<bool> {
        self.is_there_in(&mut Namespace::make()?.connect()?)
    }

    /// The same, tried in the namespace of `network`, whose `lo` is nobody's yet.
    pub(crate) fn is_there_in(self, network: &mut Connection) -> Result<bool> {
        let mut wanted = Shape {
            rate: Some(Rate { bits: 1_000_000 }),
            ..Shape::default()
        };
        match self {
            Self::Tbf => {}
            Self::Htb => wanted.shaper = Shaper::Htb,
            Self::Netem => wanted.delay = Some(Duration::from_millis(1)),
        }
        // `lo` is the first link of every namespace.
        match network.perform(&shape(1, &wanted)) {
            Ok(()) => Ok(true),
            Err(Error::Network {
                errno: Errno::ENOENT | Errno::EOPNOTSUPP,
                ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What becomes of what a link sends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shape {
    /// No more than this.
    pub rate: Option<Rate>,
    /// By what it is held to that; netem, where it is needed, does so itself.
    pub shaper: Shaper,
    /// Each packet later by this; needs a kernel with netem.
    pub delay: Option<Duration>,
    /// Give or take this; needs a delay.
    pub jitter: Option<Duration>,
    /// This share is lost; needs a kernel with netem.
    pub loss: Option<Loss>,
}

impl Shape {
    /// What the kernel needs to have for it.
    #[must_use]
    pub const fn needs(&self) -> Option<Discipline> {
        if self.delay.is_some() || self.jitter.is_some() || self.loss.is_some() {
            return Some(Discipline::Netem);
        }
        match (self.rate, self.shaper) {
            (None, _) => None,
            (Some(_), Shaper::Tbf) => Some(Discipline::Tbf),
            (Some(_), Shaper::Htb) => Some(Discipline::Htb),
        }
    }
}

/// Have the link with index `link` send as `shape` says, in place of what was said before: requests that are
/// to be made in their order.
#[must_use]
pub fn shape(link: u32, shape: &Shape) -> Vec<Request> {
    let Some(needed) = shape.needs() else {
        return vec![clear(link)];
    };
    let options = match needed {
        Discipline::Tbf => shape.rate.map(tbf).unwrap_or_default(),
        Discipline::Htb => htb(),
        Discipline::Netem => netem(shape),
    };
    let mut queue = root(link);
    if needed == Discipline::Htb {
        queue.header.handle = HTB_QUEUE;
    }
    let object = format!("link {link} ({})", needed.kind());
    let request = |message, options| {
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        let options = TcAttribute::Other(DefaultNla::new(OPTIONS, options));
        let kind = TcAttribute::Kind(needed.kind().to_owned());
        let (mut message, wrap): (TcMessage, fn(TcMessage) -> RouteNetlinkMessage) = message;
        message.attributes.extend([kind, options]);
        Request::new(wrap(message), flags, "shape", object.clone())
    };
    let new_queue = request((queue, RouteNetlinkMessage::NewQueueDiscipline), options);
    match (needed, shape.rate) {
        (Discipline::Htb, Some(rate)) => {
            let mut class = root(link);
            class.header.parent = HTB_QUEUE;
            class.header.handle = HTB_CLASS;
            let class = (class, RouteNetlinkMessage::NewTrafficClass as fn(_) -> _);
            // EINVAL: one is there, which cannot be changed and need not: the class has the rate. Where
            // there is none, there is no class to be made.
            let new_queue = new_queue.content_with(Errno::EINVAL);
            vec![new_queue, request(class, htb_class(rate))]
        }
        _ => vec![new_queue],
    }
}

/// Have the link with index `link` send as fast as it can again.
#[must_use]
pub fn clear(link: u32) -> Request {
    let message = RouteNetlinkMessage::DelQueueDiscipline(root(link));
    // ENOENT: it does so already.
    Request::new(message, 0, "shape no more", format!("link {link}")).content_with(Errno::ENOENT)
}

fn root(link: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = i32::try_from(link).unwrap_or_default();
    message.header.parent = TcHandle::ROOT;
    message
}

/// `TCA_TBF_*` attributes.
fn tbf(rate: Rate) -> Vec<u8> {
    let bytes = rate.bytes();
    let burst = burst(bytes);
    let waiting = u128::from(bytes) * PATIENCE.as_millis() / 1000;
    let limit = saturating(
        u64::try_from(waiting)
            .unwrap_or(u64::MAX)
            .saturating_add(burst),
    );
    // struct tc_tbf_qopt: rate, peak rate, limit, buffer, mtu.
    let mut parameters = ratespec(bytes);
    parameters.extend(ratespec(0));
    for number in [limit, 0, 0] {
        parameters.extend(number.to_ne_bytes());
    }
    let mut attributes = attribute(1, parameters);
    if bytes > u64::from(u32::MAX) {
        attributes.extend(attribute(4, bytes.to_ne_bytes().to_vec()));
    }
    attributes.extend(attribute(6, saturating(burst).to_ne_bytes().to_vec()));
    attributes
}

/// The queue's number, and that of its only class, which gets everything.
const HTB_QUEUE: TcHandle = TcHandle { major: 1, minor: 0 };
const HTB_CLASS: TcHandle = TcHandle { major: 1, minor: 1 };

/// `TCA_HTB_INIT` with struct tc_htb_glob: version, rate2quantum, defcls, debug, direct_pkts.
fn htb() -> Vec<u8> {
    let numbers = [3, 10, u32::from(HTB_CLASS.minor), 0, 0];
    attribute(2, numbers.into_iter().flat_map(u32::to_ne_bytes).collect())
}

/// `TCA_HTB_*` attributes of a class.
fn htb_class(rate: Rate) -> Vec<u8> {
    let bytes = rate.bytes();
    let burst = burst(bytes);
    // How long the whole burst takes, in the kernel's ticks of 64 ns (PSCHED_SHIFT).
    let nanoseconds = u128::from(burst) * 1_000_000_000 / u128::from(bytes);
    let ticks = saturating(u64::try_from(nanoseconds >> 6).unwrap_or(u64::MAX));
    // As much as the kernel would choose, in bounds of which it would warn otherwise.
    let quantum = saturating((bytes / 10).clamp(1500, 200_000));
    // struct tc_htb_opt: rate, ceil, buffer, cbuffer, quantum, level, prio.
    let mut parameters = ratespec(bytes);
    parameters.extend(ratespec(bytes));
    for number in [ticks, ticks, quantum, 0, 0] {
        parameters.extend(number.to_ne_bytes());
    }
    let mut attributes = attribute(1, parameters);
    if bytes > u64::from(u32::MAX) {
        for kind in [6, 7] {
            attributes.extend(attribute(kind, bytes.to_ne_bytes().to_vec()));
        }
    }
    attributes
}

/// Ten milliseconds' worth: the timer's grain shows otherwise.
fn burst(bytes: u64) -> u64 {
    (bytes / 100).clamp(LEAST_BURST, u64::from(u32::MAX / 2))
}

/// struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu, rate.
fn ratespec(bytes: u64) -> Vec<u8> {
    let mut spec = vec![0, if bytes > 0 { ETHERNET } else { 0 }, 0, 0, 0, 0, 0, 0];
    spec.extend(saturating(bytes).to_ne_bytes());
    spec
}

/// struct tc_netem_qopt and `TCA_NETEM_*` attributes.
fn netem(shape: &Shape) -> Vec<u8> {
    const QUEUE: u32 = 100_000;
    let nanoseconds = |time: Option<Duration>| {
        let time = time.unwrap_or_default().as_nanos();
        i64::try_from(time).unwrap_or(i64::MAX)
    };
    let loss = shape.loss.map(Loss::of_kernel).unwrap_or_default();
    let mut options = Vec::new();
    // latency, limit, loss, gap, duplicate, jitter; both times are told below, in full.
    for number in [0, QUEUE, loss, 0, 0, 0] {
        options.extend(number.to_ne_bytes());
    }
    for (kind, time) in [(10, shape.delay), (11, shape.jitter)] {
        options.extend(attribute(kind, nanoseconds(time).to_ne_bytes().to_vec()));
    }
    if let Some(rate) = shape.rate {
        // struct tc_netem_rate: rate, packet overhead, cell size, cell overhead.
        let mut parameters = saturating(rate.bytes()).to_ne_bytes().to_vec();
        parameters.extend([0; 12]);
        options.extend(attribute(6, parameters));
        if rate.bytes() > u64::from(u32::MAX) {
            options.extend(attribute(8, rate.bytes().to_ne_bytes().to_vec()));
        }
    }
    options
}

fn attribute(kind: u16, value: Vec<u8>) -> Vec<u8> {
    let attribute = DefaultNla::new(kind, value);
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

fn saturating(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_unit() {
        for (text, bits) in [
            ("8kbit", 8_000),
            ("10mbit", 10_000_000),
            ("1000gbit", 1_000_000_000_000),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.bits(), bits);
            assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }
        for text in [
            "",
            "10",
            "mbit",
            "-1mbit",
            "+1mbit",
            "1.5mbit",
            "7kbit",
            "1001gbit",
            "10Mbit",
            "99999999999999999999gbit",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_loss_is_a_share() {
        assert_eq!("100%".parse::<Loss>().unwrap().of_kernel(), u32::MAX);
        assert_eq!("0%".parse::<Loss>().unwrap().of_kernel(), 0);
        assert_eq!("0.5%".parse::<Loss>().unwrap().to_string(), "0.5%");
        for text in ["", "1", "%", "101%", "-1%", "NaN%", "inf%", "1e1%"] {
            assert!(text.parse::<Loss>().is_err(), "{text}");
        }
    }
}
