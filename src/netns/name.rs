//! The names of namespaces and of links: types that hold only what iproute2 and the kernel take.
//!
//! Pure.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::{Error, Result};

/// The most bytes that a file's name may have: NAME_MAX.
const NAME_MAX: usize = 255;
/// The most bytes that a link's name may have: IFNAMSIZ less the NUL.
const LINK_NAME_MAX: usize = 15;

/// The name of a namespace: that of a file in a directory of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NamespaceName(String);

impl NamespaceName {
    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that a directory's entry has; `None` where no namespace is called so.
    #[must_use]
    pub fn of_entry(name: &OsStr) -> Option<Self> {
        name.to_str()?.parse().ok()
    }
}

impl FromStr for NamespaceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let reason = match text {
            "" => "a namespace's name has at least one character".to_owned(),
            "." | ".." => "this names a directory; choose another name".to_owned(),
            _ if text.starts_with("pid:") => {
                "pid: stands before the number of a process whose namespace is meant".to_owned()
            }
            _ if text.contains('/') => {
                "a namespace's name has no slash: it is a file in a directory of names".to_owned()
            }
            _ if text.contains('\0') => "a namespace's name has no NUL".to_owned(),
            _ if text.len() > NAME_MAX => format!(
                "a namespace's name has at most {NAME_MAX} bytes; this has {}",
                text.len()
            ),
            _ => return Ok(Self(text.to_owned())),
        };
        Err(Error::usage(
            format!("namespace \"{}\"", text.escape_debug()),
            reason,
        ))
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}

/// The name of a link, as the kernel's `dev_valid_name` takes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LinkName(String);

impl LinkName {
    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `lo`.
    #[must_use]
    pub fn loopback() -> Self {
        Self("lo".to_owned())
    }
}

impl FromStr for LinkName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The kernel's isspace goes by bytes in Latin 1, where 0xA0 is one too.
        let is_space = |byte: &u8| matches!(byte, b'\t'..=b'\r' | b' ' | 0xA0);
        let reason = match text {
            "" => "a link's name has at least one character".to_owned(),
            "." | ".." => "the kernel takes no such name".to_owned(),
            "all" | "default" => {
                "the kernel keeps this name for the settings of all links".to_owned()
            }
            _ if text.len() > LINK_NAME_MAX => format!(
                "a link's name has at most {LINK_NAME_MAX} bytes; this has {}",
                text.len()
            ),
            _ if text.contains(['/', ':', '%', '\0']) || text.as_bytes().iter().any(is_space) => {
                "a link's name has no slash, colon, percent sign or blank".to_owned()
            }
            _ => return Ok(Self(text.to_owned())),
        };
        Err(Error::usage(
            format!("link \"{}\"", text.escape_debug()),
            reason,
        ))
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespaces_name_is_a_files() {
        let long = "x".repeat(NAME_MAX);
        for name in ["netns1", "a.b", "...", "-x", "a b", "Ä", &long] {
            assert_eq!(
                name.parse::<NamespaceName>().unwrap().as_str(),
                name,
                "{name}"
            );
        }
        let too_long = "x".repeat(NAME_MAX + 1);
        for name in ["", ".", "..", "a/b", "/", "a\0b", &too_long] {
            assert!(name.parse::<NamespaceName>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_links_name_is_what_the_kernel_takes() {
        for name in ["lo", "veth0", "a-b_c.d", "...", "fifteen-letters", "é"] {
            assert_eq!(name.parse::<LinkName>().unwrap().as_str(), name, "{name}");
        }
        let refused = [
            "",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\tb",
            "a\u{b}b",
            "veth%d",
            "all",
            "default",
            "sixteen-letters-",
            "a\0",
            "à", // 0xC3 0xA0
        ];
        for name in refused {
            assert!(name.parse::<LinkName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn messages_say_what_is_wrong_with_a_name() {
        let error = "sixteen-letters-".parse::<LinkName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "link \"sixteen-letters-\": a link's name has at most 15 bytes; this has 16"
        );
        let error = "a/\n".parse::<NamespaceName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "namespace \"a/\\n\": a namespace's name has no slash: it is a file in a directory of names"
        );
    }
}
