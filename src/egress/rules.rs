//! May this destination be reached? The allow and deny rules of one sandbox, and the answer with its
//! reason.
//!
//! Pure. Two questions are asked, at two moments: [`Rules::decide`] when the command asks (for a name or
//! an address), and `Rules::admit` for every address to which a name was resolved outside, before it is
//! dialled. Deny beats allow, by name and by address; without a rule the answer is no. Only [`Rules`]
//! makes a [`Permitted`], without which no name is looked up outside.
#![forbid(unsafe_code)]

mod refusal;
#[cfg(test)]
pub(super) mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;

pub use self::refusal::{Reason, Refusal};
use super::destination::{Asked, Destination, Hosts, Ports, Protocol};
use super::name::Name;
use super::special;
use crate::learn::Learning;
use crate::policy::spec::{Parsed, invalid};

/// A destination with the set that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The destination; no set.
    pub destination: Destination,
    /// The set's name.
    pub set: Option<String>,
}

impl From<Destination> for Grant {
    fn from(destination: Destination) -> Self {
        Self {
            destination,
            set: None,
        }
    }
}

/// One rule about hosts.
#[derive(Clone, Debug)]
struct Rule {
    /// As people know it.
    text: Arc<str>,
    protocol: Protocol,
    hosts: Hosts,
    ports: Ports,
}

/// One rule about a Unix socket.
#[derive(Clone, Debug)]
struct UnixRule {
    text: Arc<str>,
    path: PathBuf,
}

/// The rules of one sandbox.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    allow_unix: Vec<UnixRule>,
    deny_unix: Vec<UnixRule>,
    learning: Option<Learning>,
}

/// A name that the rules allow on some port: the only thing that is ever looked up outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Permitted(Name);

impl Permitted {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.0
    }
}

/// Allowed, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The rule as it stands in the policy, with its set if it came from one.
    pub rule: Arc<str>,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// This host's.
    Own,
    /// Some other host's.
    Another,
}

/// The answer to one question.
pub type Verdict = Result<Allowed, Refusal>;

impl Rules {
    /// The rules that `allow` and `deny` make. Sets were replaced by what is in them
    /// ([`super::sets::rules`]).
    ///
    /// # Errors
    /// When a rule of `allow` can match nothing, or one is still a set.
    pub fn new(
        allow: impl IntoIterator<Item = Grant>,
        deny: impl IntoIterator<Item = Grant>,
    ) -> Parsed<Self> {
        let mut rules = Self::default();
        for grant in allow {
            if let Destination::Network {
                hosts: Hosts::Addresses(network),
                ..
            } = &grant.destination
                && let Some(block) = special::closed_for_ever(network)
            {
                return invalid(format!(
                    "{}: nothing can be reached there; it is {}",
                    grant.destination, block.kind
                ));
            }
            sort_in(grant, &mut rules.allow, &mut rules.allow_unix)?;
        }
        for grant in deny {
            sort_in(grant, &mut rules.deny, &mut rules.deny_unix)?;
        }
        Ok(rules)
    }

    /// The same, while it is learned what a command reaches: [`Learning::Permitting`] permits whatever a
    /// rule for one host could, unless a denial names it or it is of a special block, which only an
    /// express rule opens.
    #[must_use]
    pub fn learning(mut self, learning: Option<Learning>) -> Self {
        self.learning = learning;
        self
    }

    /// Whether it is learned what a command reaches, and how.
    #[must_use]
    pub fn learns(&self) -> Option<Learning> {
        self.learning
    }

    /// Whether nothing at all is allowed: then nothing of egress is set up.
    #[must_use]
    pub fn allow_nothing(&self) -> bool {
        !self.allow_hosts() && self.allow_unix.is_empty()
    }

    /// Whether hosts may be allowed, not only Unix sockets.
    #[must_use]
    pub fn allow_hosts(&self) -> bool {
        !self.allow.is_empty() || self.learning.is_some()
    }

    /// Whether a rule of `allow`, before any denial, is about something of `destination`.
    #[must_use]
    pub(crate) fn may_reach(&self, destination: &Destination) -> bool {
        let rule = |rule: &Rule| Destination::Network {
            protocol: rule.protocol,
            hosts: rule.hosts.clone(),
            ports: rule.ports.clone(),
        };
        self.learning == Some(Learning::Permitting)
            || self
                .allow
                .iter()
                .any(|allow| rule(allow).meets(destination))
    }

    /// Whether the command may talk to `port` of `asked`. For a name, those addresses that it
    /// is resolved to are judged besides, once they are known.
    ///
    /// # Errors
    /// When not, with the reason.
    pub fn decide(&self, protocol: Protocol, asked: &Asked, port: u16) -> Verdict {
        if let Some(rule) = self.denying(protocol, asked, port) {
            return Err(Refusal {
                reason: Reason::Denied(Arc::clone(&rule.text)),
                remedy: None,
            });
        }
        if let Some(rule) = self.covering(protocol, asked, port) {
            return Ok(Allowed {
                rule: Arc::clone(&rule.text),
            });
        }
        if self.learning == Some(Learning::Permitting) && may_be_learned(asked, port) {
            return Ok(Allowed {
                rule: LEARNED.into(),
            });
        }
        Err(self.not_allowed(protocol, asked, port))
    }

    /// Whether `address`, to which an allowed name was resolved, may be dialled for it. The owner of a name
    /// must not choose this host's own services, so one that is `whose` the host's needs a rule for it as an
    /// address.
    ///
    /// # Errors
    /// When not, with the reason.
    fn judge(
        &self,
        protocol: Protocol,
        address: IpAddr,
        port: u16,
        mut whose: impl FnMut(IpAddr) -> Whose,
    ) -> Result<(), Refusal> {
        // The one that is dialled.
        let address = address.to_canonical();
        let asked = Asked::Address(address);
        if let Some(rule) = self.denying(protocol, &asked, port) {
            return Err(Refusal {
                reason: Reason::Denied(Arc::clone(&rule.text)),
                remedy: None,
            });
        }
        if special::block(address).is_some() {
            return self.decide(protocol, &asked, port).map(drop);
        }
        if self.covering(protocol, &asked, port).is_some() || whose(address) == Whose::Another {
            return Ok(());
        }
        Err(Refusal {
            reason: Reason::Special(address, "an address of this host itself"),
            remedy: Some(as_a_rule(protocol, &asked, port)),
        })
    }

    /// Of the `addresses` to which an allowed name was resolved, those that may be dialled for it.
    ///
    /// # Errors
    /// When none may, with the reason for the first.
    pub(crate) fn admit(
        &self,
        protocol: Protocol,
        addresses: &[IpAddr],
        port: u16,
        mut whose: impl FnMut(IpAddr) -> Whose,
    ) -> Result<Vec<IpAddr>, Refusal> {
        let mut first = None;
        let mut admitted = Vec::new();
        for &address in addresses {
            match self.judge(protocol, address, port, &mut whose) {
                Ok(()) => admitted.push(address.to_canonical()),
                Err(refusal) => first = first.or(Some(refusal)),
            }
        }
        match first {
            Some(refusal) if admitted.is_empty() => Err(refusal),
            _ => Ok(admitted),
        }
    }

    /// Whether a Unix socket of the host may be connected to by its path.
    ///
    /// # Errors
    /// When not, with the reason.
    pub fn decide_unix(&self, path: &Path) -> Verdict {
        let naming = |rules: &[UnixRule]| {
            let rule = rules.iter().find(|rule| rule.path == path);
            rule.map(|rule| Arc::clone(&rule.text))
        };
        if let Some(rule) = naming(&self.deny_unix) {
            return Err(Refusal {
                reason: Reason::Denied(rule),
                remedy: None,
            });
        }
        match naming(&self.allow_unix) {
            Some(rule) => Ok(Allowed { rule }),
            None => Err(Refusal {
                reason: Reason::NotAllowed,
                remedy: Some(format!("unix:{}", path.display())),
            }),
        }
    }

    /// The name, where some port of it is allowed and not denied: then it may be looked up.
    #[must_use]
    pub fn permit(&self, name: &Name) -> Option<Permitted> {
        let asked = Asked::Name(name.clone());
        let some = |protocol| !self.ports(protocol, &asked).is_empty();
        if self.learning == Some(Learning::Permitting) && !name.is_localhost() {
            return (!self.denies_all(&asked)).then(|| Permitted(name.clone()));
        }
        (some(Protocol::Tcp) || some(Protocol::Udp)).then(|| Permitted(name.clone()))
    }

    /// Whether a rule allows some port of `name`, and not only that it is learned.
    #[must_use]
    pub fn allows_expressly(&self, name: &Name) -> bool {
        let asked = Asked::Name(name.clone());
        let some = |protocol| !self.ports(protocol, &asked).is_empty();
        some(Protocol::Tcp) || some(Protocol::Udp)
    }

    /// Whether every port of `asked` is denied.
    fn denies_all(&self, asked: &Asked) -> bool {
        let left = |protocol: Protocol| {
            let denying = self.deny.iter();
            let denying = denying.filter(|rule| rule.protocol == protocol && rule.covers(asked));
            denying.fold(Ports::all(), |left, rule| left.without(&rule.ports))
        };
        left(Protocol::Tcp).is_empty() && left(Protocol::Udp).is_empty()
    }

    /// The ports of `asked` that may be reached. What listens inside listens on these.
    #[must_use]
    pub fn ports(&self, protocol: Protocol, asked: &Asked) -> Ports {
        let mut ports = Ports::none();
        for rule in &self.allow {
            if rule.protocol == protocol && rule.covers_openly(asked) {
                ports = ports.and(&rule.ports);
            }
        }
        for rule in &self.deny {
            if rule.protocol == protocol && rule.covers(asked) {
                ports = ports.without(&rule.ports);
            }
        }
        ports
    }

    /// The names that rules name one by one, each once, and of which some port may be reached.
    #[must_use]
    pub fn names(&self) -> Vec<Permitted> {
        let mut names: Vec<&Name> = Vec::new();
        for rule in &self.allow {
            if let Hosts::Named(name) = &rule.hosts
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        names
            .into_iter()
            .filter_map(|name| self.permit(name))
            .collect()
    }

    /// The ports of the names that are met only later (`*.HOST`), before any denial.
    #[must_use]
    pub fn ports_below(&self, protocol: Protocol) -> Ports {
        let mut ports = Ports::none();
        for rule in &self.allow {
            if rule.protocol == protocol && matches!(rule.hosts, Hosts::Below(_)) {
                ports = ports.and(&rule.ports);
            }
        }
        ports
    }

    /// The networks that rules name, single addresses among them, with their ports, before any denial.
    pub fn networks(&self) -> impl Iterator<Item = (Protocol, IpNet, &Ports)> {
        self.allow.iter().filter_map(|rule| match rule.hosts {
            Hosts::Addresses(network) => Some((rule.protocol, network, &rule.ports)),
            _ => None,
        })
    }

    /// The Unix sockets that may be connected to.
    pub fn unix_sockets(&self) -> impl Iterator<Item = &Path> {
        let paths = self.allow_unix.iter().map(|rule| rule.path.as_path());
        paths.filter(|path| self.decide_unix(path).is_ok())
    }

    /// The rule of `allow` that covers it.
    fn covering(&self, protocol: Protocol, asked: &Asked, port: u16) -> Option<&Rule> {
        self.allow.iter().find(|rule| {
            rule.protocol == protocol && rule.ports.contain(port) && rule.covers_openly(asked)
        })
    }

    /// The rule of `deny` that names it.
    fn denying(&self, protocol: Protocol, asked: &Asked, port: u16) -> Option<&Rule> {
        self.deny.iter().find(|rule| {
            rule.protocol == protocol && rule.ports.contain(port) && rule.covers(asked)
        })
    }

    /// Why no rule of `allow` helped.
    fn not_allowed(&self, protocol: Protocol, asked: &Asked, port: u16) -> Refusal {
        let this = as_a_rule(protocol, asked, port);
        if let Asked::Address(address) = asked
            && let Some(block) = special::block(*address)
        {
            return match block.opened {
                special::Opened::ByAddress => Refusal {
                    reason: Reason::Special(*address, block.kind),
                    remedy: Some(this),
                },
                special::Opened::Never => Refusal {
                    reason: Reason::Unreachable(*address, block.kind),
                    remedy: None,
                },
            };
        }
        let other = match protocol {
            Protocol::Tcp => Protocol::Udp,
            Protocol::Udp => Protocol::Tcp,
        };
        let reason = [protocol, other]
            .into_iter()
            .map(|protocol| (protocol, self.ports(protocol, asked)))
            .find(|(_, ports)| !ports.is_empty())
            .map_or(Reason::NotAllowed, |(protocol, ports)| {
                Reason::OtherPorts(protocol, ports)
            });
        let nobody = matches!(asked, Asked::Name(name) if name.is_localhost()) || port == 0;
        Refusal {
            reason,
            remedy: (!nobody).then_some(this),
        }
    }
}

/// A destination as `--allow` takes it.
fn as_a_rule(protocol: Protocol, asked: &Asked, port: u16) -> String {
    match protocol {
        Protocol::Tcp => format!("{asked}:{port}"),
        Protocol::Udp => format!("udp://{asked}:{port}"),
    }
}

impl Rule {
    fn covers(&self, asked: &Asked) -> bool {
        let behind = match asked {
            Asked::Address(address) => special::behind_translator(*address).map(Asked::Address),
            Asked::Name(_) => None,
        };
        self.hosts.cover(asked) || behind.is_some_and(|behind| self.hosts.cover(&behind))
    }

    /// As a rule of `allow`: a special address needs a rule within its block.
    fn covers_openly(&self, asked: &Asked) -> bool {
        self.hosts.cover(asked)
            && match (&self.hosts, asked) {
                (Hosts::Addresses(network), Asked::Address(address)) => {
                    special::opens(network, *address)
                }
                _ => true,
            }
    }
}

/// In the place of a rule, where a destination is reached because it is learned.
const LEARNED: &str = "learning";

/// Whether a rule that a policy learns may name this: not what only an express rule opens.
#[must_use]
pub fn may_be_learned(asked: &Asked, port: u16) -> bool {
    let open = match asked {
        Asked::Name(name) => !name.is_localhost(),
        Asked::Address(address) => special::block(*address).is_none(),
    };
    open && port != 0
}

fn sort_in(grant: Grant, hosts: &mut Vec<Rule>, unix: &mut Vec<UnixRule>) -> Parsed<()> {
    let text: Arc<str> = match &grant.set {
        Some(set) => format!("{} of @{set}", grant.destination).into(),
        None => grant.destination.to_string().into(),
    };
    match grant.destination {
        Destination::Network {
            protocol,
            hosts: which,
            ports,
        } => hosts.push(Rule {
            text,
            protocol,
            hosts: which,
            ports,
        }),
        Destination::Unix(path) => unix.push(UnixRule { text, path }),
        Destination::Set(name) => return invalid(format!("the set @{name} was not looked up")),
    }
    Ok(())
}
