//! A host name: read from people (IDNA) or from the wire, in one spelling, compared as bytes.
//!
//! Pure. A [`Name`] is lower-case ASCII without the trailing dot, has one to 63 of `a-z 0-9 - _` in each
//! label and 253 in all, and cannot be taken for an IP address. What people write goes through UTS-46
//! (crate `idna`); what comes from inside must be ASCII already and is only lower-cased.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::policy::spec::{Parsed, invalid};

/// The longest name, without the trailing dot (RFC 1035, 2.3.4).
pub const MAX_NAME: usize = 253;
/// The longest label.
const MAX_LABEL: usize = 63;
/// The longest text that is looked at: no name in Unicode needs more.
const MAX_TEXT: usize = 4 * MAX_NAME;

/// A host name in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// A name as people write it: any case, a trailing dot or none, Unicode or punycode.
    ///
    /// # Errors
    /// When it is no name, or looks like an IP address.
    pub fn parse(text: &str) -> Parsed<Self> {
        let refuse = |reason: &str| {
            let start: String = text.chars().take(MAX_NAME).collect();
            invalid(format!(
                "\"{}\" is no host name: {reason}",
                start.escape_debug()
            ))
        };
        if text.len() > MAX_TEXT {
            return refuse(TOO_LONG);
        }
        let lower = text.to_ascii_lowercase();
        let in_unicode =
            !lower.is_ascii() || lower.split('.').any(|label| label.starts_with("xn--"));
        let ascii = match in_unicode {
            false => lower,
            true => match Uts46::new().to_ascii(
                lower.as_bytes(),
                AsciiDenyList::EMPTY,
                Hyphens::CheckFirstLast,
                DnsLength::Ignore,
            ) {
                Ok(ascii) => ascii.into_owned(),
                Err(_) => return refuse("it is not valid in IDNA (UTS 46)"),
            },
        };
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        match check(name) {
            Ok(()) => Ok(Self(name.into())),
            Err(reason) => refuse(reason),
        }
    }

    /// A name as programs send it: ASCII in any case, a trailing dot or none. `None` for what no rule
    /// can name.
    #[must_use]
    pub fn from_ascii(text: &[u8]) -> Option<Self> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        if text.len() > MAX_NAME {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
        check(&text).ok()?;
        Some(Self(text.into()))
    }

    /// A name from its labels, as a DNS message has them. `None` for what no rule can name; a label with
    /// a dot or a NUL in it is such.
    #[must_use]
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut text = Vec::new();
        for label in labels {
            if label.contains(&b'.') || text.len() + label.len() > MAX_NAME {
                return None;
            }
            if !text.is_empty() {
                text.push(b'.');
            }
            text.extend_from_slice(label);
            if label.is_empty() {
                return None;
            }
        }
        if text.ends_with(b".") {
            return None;
        }
        Self::from_ascii(&text)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its labels, leftmost first.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether the name lies below `parent`, at any depth; no name lies below itself.
    #[must_use]
    pub fn is_below(&self, parent: &Self) -> bool {
        self.0
            .strip_suffix(&*parent.0)
            .is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
    }

    /// Whether any name can lie below this one.
    #[must_use]
    pub fn has_room_below(&self) -> bool {
        self.0.len() + 2 <= MAX_NAME
    }

    /// Whether the name means the machine itself, wherever it is asked (RFC 6761, 6.3).
    #[must_use]
    pub fn is_localhost(&self) -> bool {
        self.labels().last() == Some("localhost")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const TOO_LONG: &str = "a name has 253 characters at most";

/// Whether `name`, lower-cased and without its trailing dot, is one.
fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > MAX_NAME {
        return Err(TOO_LONG);
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err("it has an empty label");
        }
        if label.len() > MAX_LABEL {
            return Err("a label has 63 characters at most");
        }
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if !label.bytes().all(fits) {
            return Err("a label has letters, digits, \"-\" and \"_\" only");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a label neither starts nor ends with \"-\"");
        }
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if is_number(last) {
        return Err("it ends in a number, as an IP address; write that as four decimal numbers");
    }
    Ok(())
}

/// What inet_aton(3) and web browsers take for a number: then the whole may be an address in octal,
/// hexadecimal or with fewer parts, which programs read in different ways.
fn is_number(label: &str) -> bool {
    let hexadecimal = label
        .strip_prefix("0x")
        .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    hexadecimal || label.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_has_one_spelling() {
        for (text, name) in [
            ("example.com", "example.com"),
            ("EXAMPLE.Com", "example.com"),
            ("example.com.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example.", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("example\u{3002}com", "example.com"),
            ("ｅxample.com", "example.com"),
            ("faß.de", "xn--fa-hia.de"),
            ("my_host.local", "my_host.local"),
            ("r3---sn-x.example", "r3---sn-x.example"),
            ("db", "db"),
            ("1e100.net", "1e100.net"),
            ("4.3.2.1.in-addr.arpa", "4.3.2.1.in-addr.arpa"),
        ] {
            assert_eq!(
                Name::parse(text).map(|n| n.to_string()),
                Ok(name.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        let long_label = format!("{}.com", "a".repeat(64));
        let long = format!("{}com", "a.".repeat(126));
        for (text, reason) in [
            ("", "it is empty"),
            (".", "it is empty"),
            ("a..b", "empty label"),
            (".a", "empty label"),
            ("a..", "empty label"),
            ("a b", "letters, digits"),
            ("a\0.com", "letters, digits"),
            ("a.com\0", "letters, digits"),
            ("a\n", "letters, digits"),
            ("a/b", "letters, digits"),
            ("a%2eb", "letters, digits"),
            ("*.a", "letters, digits"),
            ("user@a", "letters, digits"),
            ("-a.com", "neither starts nor ends"),
            ("a-.com", "neither starts nor ends"),
            (&long_label, "63 characters"),
            (&long, "253 characters"),
            (&"é".repeat(4000), "253 characters"),
            ("xn--a", "not valid in IDNA"),
            ("xn--\u{fc}", "not valid in IDNA"),
            ("a\u{202e}b.com", "not valid in IDNA"),
            ("127.1", "ends in a number"),
            ("0177.0.0.1", "ends in a number"),
            ("0x7f.0.0.1", "ends in a number"),
            ("0x7f000001", "ends in a number"),
            ("0x", "ends in a number"),
            ("2130706433", "ends in a number"),
            ("127.0.0.1", "ends in a number"),
            ("127.0.0.1.", "ends in a number"),
            ("１２７.0.0.1", "ends in a number"),
            ("①.com.1", "ends in a number"),
        ] {
            let error = Name::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
            assert!(error.contains("is no host name"), "{error}");
            assert!(!error.contains(['\0', '\n', '\u{202e}']), "{error:?}");
        }
    }

    #[test]
    fn what_programs_send_is_ascii_or_nothing() {
        let name = |bytes: &[u8]| Name::from_ascii(bytes).map(|name| name.to_string());
        assert_eq!(name(b"WWW.Example.com."), Some("www.example.com".into()));
        assert_eq!(
            name(b"xn--bcher-kva.example"),
            Some("xn--bcher-kva.example".into())
        );
        for refused in [
            &b""[..],
            b".",
            b"a..b",
            b"b\xc3\xbccher.example",
            b"a\0b",
            b"\xff",
            b"10.0.0.1",
            b"a b",
        ] {
            assert_eq!(name(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn a_dot_or_nul_within_a_label_names_nothing() {
        let labels =
            |labels: &[&[u8]]| Name::from_labels(labels.iter().copied()).map(|n| n.to_string());
        assert_eq!(
            labels(&[b"Api", b"example", b"com"]),
            Some("api.example.com".into())
        );
        assert_eq!(labels(&[b"api.example", b"com"]), None);
        assert_eq!(labels(&[b"api", b"example.com"]), None);
        assert_eq!(labels(&[b"example", b"com\0"]), None);
        assert_eq!(labels(&[b"example.com"]), None);
        assert_eq!(labels(&[b"example", b"com."]), None);
        assert_eq!(labels(&[b"a", b"", b"b"]), None);
        assert_eq!(labels(&[]), None);
        let many: Vec<&[u8]> = vec![b"a"; 200];
        assert_eq!(labels(&many), None);
    }

    #[test]
    fn below_is_below_a_dot() {
        let below = |name: &str, parent: &str| {
            Name::parse(name)
                .unwrap()
                .is_below(&Name::parse(parent).unwrap())
        };
        assert!(below("a.example.com", "example.com"));
        assert!(below("a.b.example.com", "example.com"));
        assert!(!below("example.com", "example.com"));
        assert!(!below("notexample.com", "example.com"));
        assert!(!below("example.com.evil", "example.com"));
        assert!(!below("example.com", "a.example.com"));
    }

    proptest! {
        #[test]
        fn a_name_reads_back_as_itself(text in "[a-zA-ZäöüßÄ0-9._-]{0,20}|\\PC{0,30}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(&Name::parse(name.as_str()).unwrap(), &name);
                prop_assert_eq!(&Name::from_ascii(name.as_str().as_bytes()).unwrap(), &name);
                prop_assert_eq!(&Name::from_labels(name.labels().map(str::as_bytes)).unwrap(), &name);
            }
        }

        #[test]
        fn any_bytes_are_a_name_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(name) = Name::from_ascii(&bytes) {
                prop_assert!(name.as_str().is_ascii() && name.as_str().len() <= MAX_NAME);
            }
        }
    }
}
