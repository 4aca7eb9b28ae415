//! Users and groups by name: `/etc/passwd` and `/etc/group`, read directly.
//!
//! A statically linked program has no NSS (nss(5)); names that only a directory service knows are
//! given as numbers.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::plan::errno_of;

/// A user with its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: PathBuf,
}

/// What `--user` and `--group` mean; without a user it stays the caller's.
pub(crate) fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Account> {
    let mut account = match user {
        Some(user) => find_user(user)?,
        None => Account {
            name: String::new(),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            home: PathBuf::new(),
        },
    };
    if let Some(group) = group {
        account.gid = find_group(group)?;
    }
    Ok(account)
}

fn find_user(wanted: &str) -> Result<Account> {
    let table = read("/etc/passwd")?;
    if let Some(account) = table
        .lines()
        .filter_map(parse_user)
        .find(|account| account.name == wanted || wanted.parse() == Ok(account.uid))
    {
        return Ok(account);
    }
    match wanted.parse() {
        Ok(id) => Ok(Account {
            name: wanted.to_owned(),
            uid: id,
            gid: id,
            home: PathBuf::from("/"),
        }),
        Err(_) => Err(Error::usage(
            format!("--user {wanted}"),
            "no such user in /etc/passwd; a user of a directory service is given by number",
        )),
    }
}

fn find_group(wanted: &str) -> Result<u32> {
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    let table = read("/etc/group")?;
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?, fields.nth(1)?.parse().ok()?))
        })
        .find_map(|(name, id)| (name == wanted).then_some(id))
        .ok_or_else(|| {
            Error::usage(
                format!("--group {wanted}"),
                "no such group in /etc/group; a group of a directory service is given by number",
            )
        })
}

fn parse_user(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = fields[..] else {
        return None;
    };
    Some(Account {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: PathBuf::from(home),
    })
}

fn read(path: &str) -> Result<String> {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|error| Error::host("read", path, errno_of(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_an_entry_is_its_own_group() {
        let account = resolve(Some("3999999"), None).unwrap();
        assert_eq!((account.uid, account.gid), (3_999_999, 3_999_999));
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = resolve(Some("no such user"), None).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("--user no such user: no such user in /etc/passwd")
        );
    }
}
