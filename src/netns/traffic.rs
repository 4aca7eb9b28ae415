//! Rates and faults of a link: a token bucket for its bandwidth, and delay and loss where the kernel has
//! them (tc(8), tc-tbf(8), tc-netem(8)). Requests, as everything that changes a link is.
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
use super::netlink::Request;
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

/// What becomes of what a link sends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shape {
    /// No more than this.
    pub rate: Option<Rate>,
    /// Each packet later by this; needs a kernel with netem.
    pub delay: Option<Duration>,
    /// Give or take this; needs a delay.
    pub jitter: Option<Duration>,
    /// This share is lost; needs a kernel with netem.
    pub loss: Option<Loss>,
}

impl Shape {
    /// Whether it needs a kernel with netem.
    #[must_use]
    pub const fn needs_netem(&self) -> bool {
        self.delay.is_some() || self.jitter.is_some() || self.loss.is_some()
    }
}

/// Have the link with index `link` send as `shape` says, in place of what was said before.
#[must_use]
pub fn shape(link: u32, shape: &Shape) -> Request {
    if *shape == Shape::default() {
        return clear(link);
    }
    let (kind, options) = if shape.needs_netem() {
        ("netem", netem(shape))
    } else {
        ("tbf", shape.rate.map(tbf).unwrap_or_default())
    };
    let mut message = root(link);
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    let options = TcAttribute::Other(DefaultNla::new(OPTIONS, options));
    message.attributes.push(options);
    let message = RouteNetlinkMessage::NewQueueDiscipline(message);
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    Request::new(message, flags, "shape", format!("link {link} ({kind})"))
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
    // Ten milliseconds' worth: the timer's grain shows otherwise.
    let burst = (bytes / 100).clamp(LEAST_BURST, u64::from(u32::MAX / 2));
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

/// Whether this kernel has netem, tried in a namespace of its own.
///
/// # Errors
/// When there is no namespace to try it in.
pub fn has_netem() -> Result<bool> {
    has_netem_in(&Namespace::make()?)
}

/// The same, tried in `namespace`, whose `lo` is nobody's yet.
pub(crate) fn has_netem_in(namespace: &Namespace) -> Result<bool> {
    let mut network = namespace.connect()?;
    let wanted = Shape {
        delay: Some(Duration::from_millis(1)),
        ..Shape::default()
    };
    // `lo` is the first link of every namespace.
    match network.perform(&[shape(1, &wanted)]) {
        Ok(()) => Ok(true),
        Err(Error::Network {
            errno: Errno::ENOENT | Errno::EOPNOTSUPP,
            ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What to say where [`has_netem`] says no.
pub const NO_NETEM: &str =
    "this kernel has no netem, which delays and loses packets (CONFIG_NET_SCH_NETEM)";

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
