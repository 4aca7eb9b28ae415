//! What the command finds inside: paths, descriptors, variables, names.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::{Parsed, choice, invalid};
use crate::policy::{Strictness, View};

/// Whose view of a kernel file system: `own` or `host`.
///
/// # Errors
/// When it is neither.
pub fn view(text: &str) -> Parsed<View> {
    choice(text, "view", &[("own", View::Own), ("host", View::Host)])
}

/// How much is demanded of the host: `best-effort`, `standard` or `full`.
///
/// # Errors
/// When it is none of these.
pub fn strictness(text: &str) -> Parsed<Strictness> {
    let choices = [
        ("best-effort", Strictness::BestEffort),
        ("standard", Strictness::Standard),
        ("full", Strictness::Full),
    ];
    choice(text, "level", &choices)
}

/// A path: not empty, without NUL.
///
/// # Errors
/// When it is empty or holds a NUL.
pub fn path(text: &OsStr) -> Parsed<PathBuf> {
    if text.is_empty() {
        return invalid("a path cannot be empty");
    }
    if text.as_bytes().contains(&0) {
        return invalid("a path cannot hold a NUL");
    }
    Ok(PathBuf::from(text))
}

/// An inherited descriptor `N[:NAME]`.
///
/// # Errors
/// When N is no descriptor number or NAME no name.
pub fn descriptor(text: &str) -> Parsed<(RawFd, Option<String>)> {
    let (number, name) = match text.split_once(':') {
        Some((number, name)) => (number, Some(descriptor_name(name)?)),
        None => (text, None),
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    match number.parse::<RawFd>() {
        Ok(number) if digits => Ok((number, name)),
        _ => invalid("write a descriptor as its number, or as N:NAME (3:http)"),
    }
}

/// A descriptor's name, as sd_listen_fds_with_names(3) has them: 1 to 255 printable ASCII characters
/// without `:`. `=` and braces are refused too: both have a meaning in our own options.
///
/// # Errors
/// When it is no such name.
pub fn descriptor_name(text: &str) -> Parsed<String> {
    let fits = |b: u8| b.is_ascii_graphic() && !b":={}".contains(&b);
    if text.is_empty() || text.len() > 255 || !text.bytes().all(fits) {
        return invalid(
            "a descriptor's name is 1 to 255 printable characters without space, \":\", \"=\" or braces",
        );
    }
    Ok(text.to_owned())
}

/// An environment variable `NAME=VALUE`; the value may be any bytes but NUL.
///
/// # Errors
/// When there is no `=`, no name, or a NUL.
pub fn variable(text: &OsStr) -> Parsed<(OsString, OsString)> {
    let bytes = text.as_bytes();
    let Some(equals) = bytes.iter().position(|b| *b == b'=') else {
        return invalid("write a variable as NAME=VALUE");
    };
    let name = variable_name(OsStr::from_bytes(&bytes[..equals]))?;
    let value = variable_value(OsStr::from_bytes(&bytes[equals + 1..]))?;
    Ok((name, value))
}

/// The value of a variable: any bytes but NUL.
///
/// # Errors
/// When it holds a NUL.
pub fn variable_value(text: &OsStr) -> Parsed<OsString> {
    if text.as_bytes().contains(&0) {
        return invalid("a variable's value cannot hold a NUL");
    }
    Ok(text.to_owned())
}

/// The name of a variable: not empty, without `=` and NUL.
///
/// # Errors
/// When it is no such name.
pub fn variable_name(text: &OsStr) -> Parsed<OsString> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.contains(&b'=') || bytes.contains(&0) {
        return invalid("a variable's name is not empty and holds neither \"=\" nor NUL");
    }
    Ok(OsString::from_vec(bytes.to_vec()))
}

/// A variable's name, or the beginning of names with `*` after it.
///
/// # Errors
/// When it is no name, or has a `*` elsewhere.
pub fn variable_pattern(text: &OsStr) -> Parsed<OsString> {
    let name = variable_name(text)?;
    let bytes = name.as_bytes();
    if bytes[..bytes.len() - 1].contains(&b'*') {
        return invalid("\"*\" can stand only at the end of a variable's name");
    }
    Ok(name)
}

/// A host name: 1 to 64 letters, digits, `-` and `.` (uname(2)).
///
/// # Errors
/// When it is no such name.
pub fn hostname(text: &str) -> Parsed<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) || text.starts_with('-') {
        return invalid("a host name is 1 to 64 letters, digits, \"-\" and \".\"");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn descriptors() {
        let help = "write a descriptor as its number, or as N:NAME (3:http)";
        let name = "a descriptor's name is 1 to 255 printable characters without space, \":\", \"=\" or braces";
        check(
            descriptor,
            |(number, name)| format!("{number} {name:?}"),
            &[
                ("3", Ok("3 None")),
                ("0:stdin", Ok("0 Some(\"stdin\")")),
                ("", Err(help)),
                ("+3", Err(help)),
                ("-1", Err(help)),
                ("2147483648", Err(help)),
                ("3:", Err(name)),
                ("3:a:b", Err(name)),
                ("3:{a}", Err(name)),
            ],
        );
    }

    #[test]
    fn variables_of_any_bytes_survive() {
        let odd = OsStr::from_bytes(b"A=\xff=b");
        let value = OsStr::from_bytes(b"\xff=b").to_owned();
        assert_eq!(variable(odd), Ok(("A".into(), value)));
        assert_eq!(variable(OsStr::new("A=")), Ok(("A".into(), "".into())));
        for bad in ["A", "=b", "", "A=\0"] {
            assert!(variable(OsStr::new(bad)).is_err(), "{bad}");
        }
        assert!(variable_pattern(OsStr::new("A*")).is_ok());
        assert!(variable_pattern(OsStr::new("*")).is_ok());
        assert!(variable_pattern(OsStr::new("*A")).is_err());
    }
}
