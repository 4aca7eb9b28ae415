//! `/etc/resolv.conf` and `/etc/hosts`, read as the C library does.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use super::{MAX_ADDRESSES, Transport};
use crate::egress::name::Name;

/// resolv.conf(5): the most name servers, time-out and attempts that count.
const MAX_SERVERS: usize = 3;
const MAX_TIMEOUT: u64 = 30;
const MAX_ATTEMPTS: u64 = 5;
/// The most names of the hosts file that are kept.
const MAX_HOSTS: usize = 1024;
/// The longest line of either file that is read.
const MAX_LINE: usize = 1024;

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
pub(super) fn server(word: &str, scope: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::parse(text.as_bytes(), |_| None)
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
}
