//! The settings of a namespace's network: `/proc/sys/net` as it is inside.
//!
//! A name is dots or slashes between words, as sysctl(8) takes it, below `net`; nothing else of
//! `/proc/sys` belongs to a network namespace.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use super::handle::Namespace;
use crate::error::{Error, Result};
use crate::plan::errno_of;

/// The name of a setting below `net`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    /// With dots, as it was given.
    name: String,
    /// With slashes, below `/proc/sys`.
    path: String,
}

impl Setting {
    /// Whether packets of IPv4 are passed on.
    #[must_use]
    pub fn forwarding_v4() -> Self {
        Self::known("net.ipv4.ip_forward")
    }

    /// Whether packets of IPv6 are passed on.
    #[must_use]
    pub fn forwarding_v6() -> Self {
        Self::known("net.ipv6.conf.all.forwarding")
    }

    fn known(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: name.replace('.', "/"),
        }
    }
}

impl FromStr for Setting {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |reason: &str| {
            Err(Error::usage(
                format!("setting \"{}\"", text.escape_debug()),
                reason,
            ))
        };
        // As sysctl(8): what stands first between two words is what divides them; the other one is
        // part of a word (net.ipv4.conf.eth0/1.forwarding).
        let path = match text.find(['.', '/']).map(|at| text.as_bytes()[at]) {
            Some(b'.') => text
                .chars()
                .map(|letter| match letter {
                    '.' => '/',
                    '/' => '.',
                    other => other,
                })
                .collect(),
            _ => text.to_owned(),
        };
        if text.contains('\0') {
            return refused("a setting's name has no NUL");
        }
        if !path.starts_with("net/") {
            return refused(
                "only settings below net belong to a network namespace, as net.ipv4.ip_forward",
            );
        }
        if path.split('/').any(|word| matches!(word, "" | "." | "..")) {
            return refused("write a setting as words with dots between, as net.ipv4.ip_forward");
        }
        Ok(Self {
            name: text.to_owned(),
            path,
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name.escape_debug())
    }
}

impl Namespace {
    /// Set `setting` to `value`.
    ///
    /// # Errors
    /// When this kernel has no such setting, or does not take the value.
    pub fn set_sysctl(&self, setting: &Setting, value: &str) -> Result<()> {
        let mut file = self.open_sysctl(setting, libc::O_WRONLY)?;
        // In one write: the kernel takes each for a whole value.
        file.write_all(value.as_bytes()).map_err(|error| {
            let object = format!("{setting} to {} in {}", value.escape_debug(), self.label());
            Error::host("set", object, errno_of(&error))
        })
    }

    /// What `setting` is.
    ///
    /// # Errors
    /// When this kernel has no such setting.
    pub fn sysctl(&self, setting: &Setting) -> Result<String> {
        let mut file = self.open_sysctl(setting, libc::O_RDONLY)?;
        let mut value = String::new();
        file.read_to_string(&mut value).map_err(|error| {
            let object = format!("{setting} in {}", self.label());
            Error::host("read", object, errno_of(&error))
        })?;
        Ok(value.trim_end().to_owned())
    }

    fn open_sysctl(&self, setting: &Setting, flags: i32) -> Result<std::fs::File> {
        let path =
            CString::new(format!("/proc/sys/{}", setting.path)).expect("a Setting holds no NUL");
        self.open_file(&path, flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_below_net() {
        for (text, path) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                "net/ipv4/conf/eth0.1/forwarding",
            ),
        ] {
            assert_eq!(text.parse::<Setting>().unwrap().path, path);
        }
        for text in [
            "",
            "net",
            "net.",
            "kernel.core_pattern",
            "net/../kernel/core_pattern",
            "net.//.kernel",
            "net/ipv4//ip_forward",
            "/net/ipv4/ip_forward",
            "net.a\0b",
        ] {
            assert!(text.parse::<Setting>().is_err(), "{text}");
        }
    }
}
