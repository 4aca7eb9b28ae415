//! `--publish OUT:IN`: which port of the sandbox's loopback the host reaches, and where.
//!
//! Reading is pure. The sockets outside are opened in the launcher, before anything is launched, with
//! the caller's rights; the connections are carried by [`super::engine`]. It is a way in and none out.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::str::FromStr;

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::plan::errno_of;
use crate::policy::spec::{Invalid, Parsed, invalid};

/// One port that is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Publish {
    /// Where this host listens for it. Port 0 takes one that is free.
    pub outside: SocketAddr,
    /// The port of 127.0.0.1 or `::1` inside.
    pub inside: u16,
}

impl FromStr for Publish {
    type Err = Invalid;

    /// `[ADDRESS:]PORT:PORT`; without ADDRESS on 127.0.0.1, so that no other host is let in unasked.
    fn from_str(text: &str) -> Parsed<Self> {
        let help = "write what is published as 8080:8000, 127.0.0.1:8080:8000 or [::1]:8080:8000";
        if text.starts_with("udp://") {
            return invalid("only TCP is published; leave udp:// out");
        }
        let text = text.strip_prefix("tcp://").unwrap_or(text);
        let Some((outside, inside)) = text.rsplit_once(':') else {
            return invalid(help);
        };
        let (address, outside) = match outside.rsplit_once(':') {
            None => (None, outside),
            Some((address, port)) => (Some(address), port),
        };
        let address = match address {
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(address) => match (address.parse::<Ipv4Addr>(), bracketed(address)) {
                (Ok(address), _) => IpAddr::V4(address),
                (_, Some(address)) => IpAddr::V6(address),
                _ => return invalid(help),
            },
        };
        match (port(outside), port(inside)) {
            (Some(outside), Some(inside)) if inside != 0 => Ok(Self {
                outside: SocketAddr::new(address, outside),
                inside,
            }),
            (Some(_), Some(_)) => invalid("port 0 inside is none"),
            _ => invalid(help),
        }
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.outside, self.inside)
    }
}

fn bracketed(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// In digits alone, without a leading zero.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Listen for what is published, in order.
///
/// # Errors
/// When an address is not to be had: nothing is run then.
pub(crate) fn open(published: &[Publish]) -> Result<Vec<TcpListener>> {
    let listen = |publish: &Publish| {
        let listener = TcpListener::bind(publish.outside).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        listener.map_err(|error| {
            let errno = errno_of(&error);
            let hint = match errno {
                Errno::EADDRINUSE => {
                    "something listens there already; choose another port, or 0 for any"
                }
                Errno::EADDRNOTAVAIL => "this host has no such address",
                Errno::EACCES => "ports below 1024 are root's; choose a higher one",
                _ => "see bind(2)",
            };
            Error::host("listen at", publish.outside.to_string(), errno)
                .with_hint(Some(hint.to_owned()))
        })
    };
    published.iter().map(listen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_read_and_shown_in_one_spelling() {
        for (text, shown) in [
            ("8080:80", "127.0.0.1:8080:80"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80"),
            ("tcp://0.0.0.0:1:65535", "0.0.0.0:1:65535"),
            ("[::1]:8080:80", "[::1]:8080:80"),
            ("[::]:0:80", "[::]:0:80"),
        ] {
            let publish: Publish = text.parse().unwrap();
            assert_eq!(publish.to_string(), shown);
            assert_eq!(shown.parse::<Publish>().unwrap(), publish);
        }
        for text in [
            "",
            ":",
            "80",
            "80:",
            ":80",
            "80:0",
            "80:080",
            "80:65536",
            "localhost:80:80",
            "::1:80:80",
            "[127.0.0.1]:80:80",
            "127.0.0.1:80:80:80",
            "127.1:80:80",
            "udp://80:80",
            "80:+80",
            "8080-8081:80",
        ] {
            assert!(text.parse::<Publish>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_that_is_taken_is_an_error_that_names_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let publish = Publish {
            outside: taken.local_addr().unwrap(),
            inside: 80,
        };
        let error = open(&[publish]).unwrap_err().to_string();
        assert!(error.contains(&publish.outside.to_string()), "{error}");
        // Control: a free one is had.
        let free = "127.0.0.1:0:80".parse().unwrap();
        assert_eq!(open(&[free]).unwrap().len(), 1);
    }
}
