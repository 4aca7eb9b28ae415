//! Why a destination may not be reached, in words, and the flag that would allow it.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::egress::destination::{Ports, Protocol};

/// Refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What would be allowed to allow it, as `--allow` takes it; `None` where nothing does.
    pub remedy: Option<String>,
}

/// Why a destination is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No rule names it.
    NotAllowed,
    /// Rules name it, with these other ports.
    OtherPorts(Protocol, Ports),
    /// This rule of `deny` names it.
    Denied(Arc<str>),
    /// It is, or its name was resolved to, this address of a special block, which only a rule within
    /// that block opens.
    Special(IpAddr, &'static str),
    /// As `Special`, but nothing opens it.
    Unreachable(IpAddr, &'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("no rule allows it"),
            Self::OtherPorts(protocol, ports) => {
                let s = if ports.count() == 1 { "" } else { "s" };
                write!(f, "only {protocol} port{s} {ports} allowed there")
            }
            Self::Denied(rule) => write!(f, "denied by {rule}"),
            Self::Special(address, kind) | Self::Unreachable(address, kind) => {
                write!(f, "{address} is {kind}")
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl Refusal {
    /// The option that would allow it; `None` where none does.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        self.remedy
            .as_ref()
            .map(|remedy| format!("--allow {remedy}"))
    }
}
