//! May this destination be reached? The allow and deny rules of one sandbox, and the answer with its
//! reason.
//!
//! Pure. Two questions are asked, at two moments: [`Rules::decide`] when the command asks (for a name or
//! an address), and [`Rules::judge`] for every address to which a name was resolved outside, before it is
//! dialled. Deny beats allow, by name and by address; without a rule the answer is no. Only [`Rules`]
//! makes a [`Permitted`], without which no name is looked up outside.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;

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
pub enum Whose {
    /// This host's.
    Own,
    /// Some other host's.
    Another,
}

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
    pub fn may_reach(&self, destination: &Destination) -> bool {
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

    /// Whether the command may talk to `port` of `asked`. For a name, [`Rules::judge`] is to be asked
    /// besides, for each address that it is resolved to.
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
    pub fn judge(
        &self,
        protocol: Protocol,
        address: IpAddr,
        port: u16,
        whose: impl Fn(IpAddr) -> Whose,
    ) -> Result<(), Refusal> {
        let asked = Asked::Address(address.to_canonical());
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
            reason: Reason::Special(address.to_canonical(), "an address of this host itself"),
            remedy: Some(as_a_rule(protocol, &asked, port)),
        })
    }

    /// Of the `addresses` to which an allowed name was resolved, those that may be dialled for it.
    ///
    /// # Errors
    /// When none may, with the reason for the first.
    pub fn admit(
        &self,
        protocol: Protocol,
        addresses: &[IpAddr],
        port: u16,
        whose: impl Fn(IpAddr) -> Whose,
    ) -> Result<Vec<IpAddr>, Refusal> {
        let mut first = None;
        let mut admitted = Vec::new();
        for &address in addresses {
            match self.judge(protocol, address, port, &whose) {
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

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::egress) fn rules(allow: &[&str], deny: &[&str]) -> Rules {
        let grants = |texts: &[&str]| -> Vec<Grant> {
            let read = |text: &&str| text.parse::<Destination>().unwrap().into();
            texts.iter().map(read).collect()
        };
        Rules::new(grants(allow), grants(deny)).unwrap()
    }

    fn anothers(_: IpAddr) -> Whose {
        Whose::Another
    }

    #[test]
    fn a_name_leads_to_the_host_itself_only_where_a_rule_names_that_address() {
        let judged = |allow: &[&str], address: &str| {
            let judge = |rules: &Rules| {
                let own = |_| Whose::Own;
                rules.judge(Protocol::Tcp, address.parse().unwrap(), 443, own)
            };
            let rules = rules(allow, &[]);
            let learning = rules.clone().learning(Some(Learning::Permitting));
            assert_eq!(judge(&rules), judge(&learning));
            judge(&rules)
        };
        for address in ["11.0.0.1", "::ffff:11.0.0.1"] {
            let refusal = judged(&["web.example:443", "11.0.0.1:80"], address).unwrap_err();
            let said = "11.0.0.1 is an address of this host itself";
            assert_eq!(refusal.to_string(), said);
            assert_eq!(refusal.flag().unwrap(), "--allow 11.0.0.1:443");
            for rule in ["11.0.0.1:443", "11.0.0.0/8:443"] {
                assert_eq!(judged(&[rule, "web.example:443"], address), Ok(()));
            }
        }
        // One of a block needs a rule within that, whosever it is.
        assert!(judged(&["0.0.0.0/0:443"], "10.0.0.1").is_err());
        assert_eq!(judged(&["10.0.0.0/8:443"], "10.0.0.1"), Ok(()));
    }

    /// `udp://` or nothing, host, port.
    fn ask(rules: &Rules, what: &str) -> Verdict {
        let (protocol, rest) = match what.strip_prefix("udp://") {
            Some(rest) => (Protocol::Udp, rest),
            None => (Protocol::Tcp, what),
        };
        let (host, port) = rest.rsplit_once(':').unwrap();
        let asked = Asked::from_ascii(host.as_bytes()).unwrap();
        rules.decide(protocol, &asked, port.parse().unwrap())
    }

    /// The rule, or the reason with the flag.
    type Expected = Result<&'static str, (&'static str, Option<&'static str>)>;

    #[test]
    fn while_learning_what_a_rule_for_one_host_could_allow_is_permitted() {
        let open = ["11.1.0.2:7", "udp://[2a00:1::2]:9", "web.example:443"];
        let closed = [
            "10.0.0.1:7",
            "127.0.0.1:7",
            "[::1]:7",
            "169.254.169.254:80",
            "[64:ff9b::7f00:1]:7",
            "0.0.0.0:7",
            "198.18.0.16:7",
            "224.0.0.1:7",
            "localhost:7",
            "x.localhost:7",
            "11.1.0.2:0",
            "denied.example:443",
            "11.1.0.9:7",
        ];
        let deny = ["denied.example:443", "11.1.0.9:1-65535"];
        let learning = |learning| rules(&["10.9.9.9:7"], &deny).learning(learning);
        let permitting = learning(Some(Learning::Permitting));
        let denying = learning(Some(Learning::Denying));
        for what in open {
            assert!(ask(&permitting, what).is_ok(), "{what}");
            assert!(ask(&denying, what).is_err(), "{what}");
            assert!(ask(&learning(None), what).is_err(), "{what}");
        }
        for what in closed {
            assert!(ask(&permitting, what).is_err(), "{what}");
        }
        for rules in [&permitting, &denying] {
            assert!(rules.allow_hosts());
            assert!(ask(rules, "10.9.9.9:7").is_ok());
        }
        // A name is looked up for it, and what that gives is judged as ever.
        let name = |text| Name::parse(text).unwrap();
        assert!(permitting.permit(&name("web.example")).is_some());
        assert!(permitting.permit(&name("localhost")).is_none());
        assert!(permitting.permit(&name("denied.example")).is_some());
        let whole = ["whole.example:1-65535", "udp://whole.example:1-65535"];
        let whole = rules(&[], &whole).learning(Some(Learning::Permitting));
        assert!(whole.permit(&name("whole.example")).is_none());
        assert!(denying.permit(&name("web.example")).is_none());
        let judged =
            |text: &str| permitting.judge(Protocol::Tcp, text.parse().unwrap(), 7, anothers);
        assert!(judged("11.1.0.2").is_ok() && judged("10.9.9.9").is_ok());
        assert!(judged("10.0.0.1").is_err() && judged("169.254.169.254").is_err());
    }

    #[test]
    fn the_verdict_comes_with_rule_or_reason_and_flag() {
        let rules = rules(
            &[
                "api.example.com:443",
                "*.example.org:80,443",
                "udp://ntp.example:123",
                "10.1.0.0/16:5432",
                "0.0.0.0/0:22",
                "[::1]:80",
            ],
            &["bad.example.org:1-65535", "10.1.2.3:5432", "9.9.9.9:22"],
        );
        let table: &[(&str, Expected)] = &[
            ("api.example.com:443", Ok("api.example.com:443")),
            ("API.EXAMPLE.COM.:443", Ok("api.example.com:443")),
            (
                "api.example.com:80",
                Err((
                    "only tcp port 443 allowed there",
                    Some("--allow api.example.com:80"),
                )),
            ),
            (
                "udp://api.example.com:443",
                Err((
                    "only tcp port 443 allowed there",
                    Some("--allow udp://api.example.com:443"),
                )),
            ),
            (
                "notapi.example.com:443",
                Err(("no rule allows it", Some("--allow notapi.example.com:443"))),
            ),
            (
                "api.example.com.evil:443",
                Err((
                    "no rule allows it",
                    Some("--allow api.example.com.evil:443"),
                )),
            ),
            ("a.b.example.org:80", Ok("*.example.org:80,443")),
            (
                "example.org:80",
                Err(("no rule allows it", Some("--allow example.org:80"))),
            ),
            (
                "bad.example.org:443",
                Err(("denied by bad.example.org:1-65535", None)),
            ),
            ("udp://ntp.example:123", Ok("udp://ntp.example:123")),
            ("10.1.9.9:5432", Ok("10.1.0.0/16:5432")),
            ("::ffff:10.1.9.9:5432", Ok("10.1.0.0/16:5432")),
            ("10.1.2.3:5432", Err(("denied by 10.1.2.3:5432", None))),
            (
                "::ffff:10.1.2.3:5432",
                Err(("denied by 10.1.2.3:5432", None)),
            ),
            (
                "10.2.0.1:22",
                Err((
                    "10.2.0.1 is an address of a private network",
                    Some("--allow 10.2.0.1:22"),
                )),
            ),
            ("8.8.8.8:22", Ok("0.0.0.0/0:22")),
            ("9.9.9.9:22", Err(("denied by 9.9.9.9:22", None))),
            (
                "8.8.8.8:23",
                Err(("only tcp port 22 allowed there", Some("--allow 8.8.8.8:23"))),
            ),
            (
                "169.254.169.254:22",
                Err((
                    "169.254.169.254 is a cloud's metadata service",
                    Some("--allow 169.254.169.254:22"),
                )),
            ),
            (
                "127.0.0.1:22",
                Err((
                    "127.0.0.1 is the host's own loopback",
                    Some("--allow 127.0.0.1:22"),
                )),
            ),
            ("0.0.0.0:22", Err(("0.0.0.0 is no host's address", None))),
            (
                "198.18.0.7:22",
                Err(("198.18.0.7 is a stand-in for a name inside sandboxes", None)),
            ),
            ("[::1]:80", Ok("[::1]:80")),
            (
                "2606::1:80",
                Err(("no rule allows it", Some("--allow [2606::1]:80"))),
            ),
            ("localhost:80", Err(("no rule allows it", None))),
            ("8.8.8.8:0", Err(("only tcp port 22 allowed there", None))),
        ];
        for (what, expected) in table {
            let got = ask(&rules, what);
            match (&got, expected) {
                (Ok(allowed), Ok(rule)) => assert_eq!(&*allowed.rule, *rule, "{what}"),
                (Err(refusal), Err((reason, flag))) => {
                    assert_eq!(refusal.to_string(), *reason, "{what}");
                    assert_eq!(refusal.flag().as_deref(), *flag, "{what}");
                    if let Some(remedy) = &refusal.remedy {
                        let destination: Destination = remedy.parse().unwrap();
                        let wider = Rules::new([destination.into()], []).unwrap();
                        assert!(
                            ask(&wider, what).is_ok(),
                            "{what}: the remedy does not help"
                        );
                    }
                }
                _ => panic!("{what}: {got:?}"),
            }
        }
    }

    #[test]
    fn each_address_of_a_name_is_judged() {
        let rules = rules(
            &["app.example:443", "db.example:5432", "10.0.0.5:5432"],
            &["6.6.6.0/24:443"],
        );
        let judge = |address: &str, port| {
            let judged = rules.judge(Protocol::Tcp, address.parse().unwrap(), port, anothers);
            judged.map_err(|refusal| refusal.to_string())
        };
        assert_eq!(judge("1.2.3.4", 443), Ok(()));
        assert_eq!(judge("2606::1", 443), Ok(()));
        assert_eq!(judge("10.0.0.5", 5432), Ok(()));
        for (address, port, reason) in [
            ("10.0.0.5", 443, "private"),
            ("10.0.0.6", 5432, "private"),
            ("127.0.0.1", 443, "loopback"),
            ("::1", 443, "loopback"),
            ("::ffff:127.0.0.1", 443, "loopback"),
            ("169.254.169.254", 443, "metadata"),
            ("64:ff9b::7f00:1", 443, "translation"),
            ("6.6.6.6", 443, "denied by 6.6.6.0/24:443"),
            ("::ffff:6.6.6.6", 443, "denied by 6.6.6.0/24:443"),
            ("64:ff9b::606:606", 443, "denied by 6.6.6.0/24:443"),
            ("0.0.0.0", 443, "no host's"),
        ] {
            let error = judge(address, port).unwrap_err();
            assert!(error.contains(reason), "{address}: {error}");
        }
    }

    #[test]
    fn a_name_is_looked_up_only_where_a_port_is_left() {
        let rules = rules(
            &[
                "a.example:443",
                "b.example:80,443",
                "*.c.example:1",
                "9.9.9.9:53",
            ],
            &[
                "a.example:443",
                "b.example:80",
                "no.c.example:1-65535",
                "udp://b.example:443",
            ],
        );
        let permitted = |name: &str| rules.permit(&Name::parse(name).unwrap()).is_some();
        assert!(!permitted("a.example"));
        assert!(permitted("b.example"));
        assert!(permitted("x.c.example"));
        assert!(!permitted("c.example"));
        assert!(!permitted("no.c.example"));
        assert!(!permitted("secret.b.example"));
        let names: Vec<String> = rules.names().iter().map(|p| p.name().to_string()).collect();
        assert_eq!(names, ["b.example"]);
        let asked = Asked::Name(Name::parse("b.example").unwrap());
        assert_eq!(rules.ports(Protocol::Tcp, &asked).to_string(), "443");
    }

    #[test]
    fn unix_sockets_are_named_by_their_whole_path() {
        let rules = rules(&["unix:/run/a", "unix:/run/b"], &["unix:/run/b"]);
        assert!(rules.decide_unix(Path::new("/run/a")).is_ok());
        let refusal = |path| rules.decide_unix(Path::new(path)).unwrap_err();
        assert_eq!(refusal("/run/b").to_string(), "denied by unix:/run/b");
        assert_eq!(
            refusal("/run/a/x").flag(),
            Some("--allow unix:/run/a/x".into())
        );
        assert_eq!(
            rules.unix_sockets().collect::<Vec<_>>(),
            [Path::new("/run/a")]
        );
        assert!(!rules.allow_hosts() && !rules.allow_nothing());
    }

    #[test]
    fn a_rule_that_can_match_nothing_is_refused() {
        for text in [
            "0.0.0.7:80",
            "198.18.0.1:80",
            "[fd73:616e:6462:6f78::1]:80",
            "@x",
            "[::1:2]:3",
        ] {
            let destination: Destination = text.parse().unwrap();
            assert!(Rules::new([destination.into()], []).is_err(), "{text}");
        }
    }

    fn some_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
            (0u8..=255, 0u8..=255).prop_map(|(c, d)| IpAddr::from([169, 254, c, d])),
            any::<[u8; 4]>().prop_map(|[a, b, c, d]| {
                let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, a, b, c, d];
                IpAddr::from(mapped)
            }),
        ]
    }

    proptest! {
        #[test]
        fn no_wide_rule_opens_a_special_address(address in some_address(), port in 1u16..) {
            let wide = rules(&["0.0.0.0/0:1-65535", "[::/0]:1-65535", "*.com:1-65535"], &[]);
            let asked = Asked::Address(address.to_canonical());
            let special = special::block(address).is_some();
            prop_assert_eq!(wide.decide(Protocol::Tcp, &asked, port).is_err(), special);
            prop_assert_eq!(wide.judge(Protocol::Tcp, address, port, anothers).is_err(), special);
        }

        #[test]
        fn every_spelling_of_an_address_has_one_verdict(octets in any::<[u8; 4]>(), port in 1u16..) {
            let rules = rules(&["10.0.0.0/8:1-40000", "0.0.0.0/0:80"], &["128.0.0.0/1:80"]);
            let v4 = IpAddr::from(octets);
            let [a, b, c, d] = octets;
            let mapped = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, a, b, c, d]);
            prop_assert_eq!(
                rules.judge(Protocol::Tcp, v4, port, anothers),
                rules.judge(Protocol::Tcp, mapped, port, anothers)
            );
        }

        #[test]
        fn deny_beats_allow(ports in (1u16..500, 1u16..500), port in 1u16..500) {
            let (first, last) = (ports.0.min(ports.1), ports.0.max(ports.1));
            let range = format!("a.example:{first}-{last}");
            let rules = rules(&["a.example:1-65535"], &[&range]);
            let asked = Asked::Name(Name::parse("a.example").unwrap());
            let denied = (first..=last).contains(&port);
            prop_assert_eq!(rules.decide(Protocol::Tcp, &asked, port).is_err(), denied);
            prop_assert_eq!(rules.ports(Protocol::Tcp, &asked).contain(port), !denied);
        }
    }
}
