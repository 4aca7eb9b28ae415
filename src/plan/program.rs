//! What is executed: the program, as the command's own PATH finds it, and its environment.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::{Handed, Situation, errno_of};
use crate::account;
use crate::error::{Error, Result};
use crate::policy::Policy;

/// Where commands are looked up if the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn environment(
    policy: &Policy,
    situation: &Situation,
    account: Option<&account::Account>,
) -> (Vec<(OsString, OsString)>, bool) {
    let mut variables = policy
        .environment
        .apply(situation.environment.iter().cloned());
    let mut set = |name: &str, value: OsString| {
        variables.retain(|(known, _)| known != name);
        variables.push((name.into(), value));
    };
    if let Some(account) = account {
        let explicit = &policy.environment.set;
        for (name, value) in [
            ("HOME", account.home.as_os_str()),
            ("USER", OsStr::new(&account.name)),
            ("LOGNAME", OsStr::new(&account.name)),
        ] {
            if !explicit.contains_key(OsStr::new(name)) && !value.is_empty() {
                set(name, value.into());
            }
        }
    }
    if let Some(port) = policy.egress.proxy_env {
        let explicit = &policy.environment.set;
        let http = format!("http://127.0.0.1:{port}");
        // "h": the proxy resolves the names.
        let socks = format!("socks5h://127.0.0.1:{port}");
        for (name, value) in [
            ("HTTP_PROXY", http.as_str()),
            ("HTTPS_PROXY", &http),
            ("ALL_PROXY", &socks),
            ("NO_PROXY", "localhost,127.0.0.1,::1"),
        ] {
            for name in [name.to_owned(), name.to_ascii_lowercase()] {
                if !explicit.contains_key(OsStr::new(&name)) {
                    set(&name, value.into());
                }
            }
        }
    }
    let descriptors = &situation.descriptors;
    if !descriptors.is_empty() {
        let names: Vec<_> = descriptors
            .iter()
            .map(|handed| handed.name.as_str())
            .collect();
        set("LISTEN_FDS", descriptors.len().to_string().into());
        set("LISTEN_FDNAMES", names.join(":").into());
        // Room for digits, which are the child's to fill in: only it knows its pid as the command
        // sees it.
        set("LISTEN_PID", "0000000000".into());
    }
    for (_, value) in &mut variables {
        *value = substitute(value, descriptors);
    }
    (variables, !descriptors.is_empty())
}

/// `{fd:NAME}` becomes the number of the descriptor of that name.
pub(super) fn substitute(word: &OsStr, descriptors: &[Handed]) -> OsString {
    let mut bytes = word.as_bytes().to_vec();
    if descriptors.is_empty() || !bytes.windows(4).any(|window| window == b"{fd:") {
        return word.to_owned();
    }
    for (number, handed) in (3..).zip(descriptors) {
        let pattern = format!("{{fd:{}}}", handed.name).into_bytes();
        let number: String = format!("{number}");
        while let Some(at) = bytes
            .windows(pattern.len())
            .position(|window| window == pattern)
        {
            bytes.splice(at..at + pattern.len(), number.bytes());
        }
    }
    OsString::from_vec(bytes)
}

/// The program that execve(2) is given, looked up as the command's own PATH says.
pub(super) fn find_program(
    argv: &[OsString],
    environment: &[(OsString, OsString)],
    directory: &Path,
) -> Result<PathBuf> {
    let Some(word) = argv.first().filter(|word| !word.is_empty()) else {
        return Err(Error::usage(
            "COMMAND",
            "an empty word names no program; say what to run, as in 'sandbox -- make'",
        ));
    };
    if word.as_bytes().contains(&b'/') {
        // Without the "./" the path reads better in messages.
        let path = match word.as_bytes().strip_prefix(b"./") {
            Some(rest @ [first, ..]) if *first != b'/' => directory.join(OsStr::from_bytes(rest)),
            _ => directory.join(word),
        };
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT | Errno::ENOTDIR) => {
                let hint = fs::read_link(&path)
                    .map(|to| format!("it is a link to {}, which is not there", to.display()));
                Err(not_found(word, hint.ok()))
            }
            Err(errno) => Err(not_executable(&path, errno)),
        };
    }
    let path = environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value);
    let mut refused = None;
    for folder in std::env::split_paths(path) {
        let candidate = directory.join(folder).join(word);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            // A folder that is closed to us says nothing about what is in it.
            Err(_) if fs::metadata(&candidate).is_err() => {}
            Err(errno) => refused = refused.or(Some((candidate, errno))),
        }
    }
    Err(match refused {
        Some((candidate, errno)) => not_executable(&candidate, errno),
        None => {
            let here = directory.join(word);
            let hint = here.is_file().then(|| {
                let word = word.to_string_lossy();
                format!(
                    "a file of this name is in {}; 'sandbox -- ./{word}'",
                    directory.display()
                )
            });
            not_found(word, hint.or_else(|| shells_own(word).map(str::to_owned)))
        }
    })
}

/// What a word means that only a shell understands.
fn shells_own(word: &OsStr) -> Option<&'static str> {
    /// Of sh(1), where no program of that name does the same.
    const BUILT_IN: &[&str] = &[
        ".", ":", "alias", "cd", "eval", "exec", "exit", "export", "read", "set", "source", "trap",
        "type", "ulimit", "umask", "unset", "wait",
    ];
    let word = word.to_str()?;
    if BUILT_IN.contains(&word) {
        return Some("it is a shell's own; 'sandbox -- sh -c \"...\"' runs a line of shell");
    }
    let (name, _) = word.split_once('=').unwrap_or_default();
    if !name.is_empty() && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
        return Some("a variable for the command is set by --env NAME=VALUE");
    }
    word.contains(char::is_whitespace).then_some(
        "this is one word, with blanks in it; leave the quotes out, or give the line to 'sh -c'",
    )
}

fn not_found(word: &OsStr, hint: Option<String>) -> Error {
    Error::NotFound {
        command: word.to_string_lossy().into_owned(),
        hint,
    }
}

fn executable(path: &Path) -> std::result::Result<(), Errno> {
    let found = fs::metadata(path).map_err(|error| errno_of(&error))?;
    if found.is_dir() {
        return Err(Errno::EISDIR);
    }
    // access(2) lets root execute only what has an execute bit, as execve does.
    access(path, AccessFlags::X_OK)
}

fn not_executable(path: &Path, errno: Errno) -> Error {
    let hint = (errno == Errno::EACCES).then(|| match fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o111 == 0 => {
            let path = path.display();
            format!("it has no execute permission; 'chmod +x {path}'")
        }
        Ok(_) => "this user may not execute it, or its file system is mounted noexec".to_owned(),
        Err(_) => "a directory on the way to it is closed to this user".to_owned(),
    });
    Error::NotExecutable {
        command: path.display().to_string(),
        errno,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Kind;

    fn handed(name: &str) -> Handed {
        Handed {
            name: name.to_owned(),
            kind: Kind::Pipe,
        }
    }

    #[test]
    fn fd_templates_become_numbers_from_three_up() {
        let descriptors = [handed("http"), handed("admin")];
        let substituted = |word: &str| substitute(OsStr::new(word), &descriptors);
        assert_eq!(substituted("NGINX={fd:http};"), "NGINX=3;");
        assert_eq!(substituted("{fd:admin}{fd:admin}"), "44");
        assert_eq!(substituted("{fd:other}"), "{fd:other}");
        assert_eq!(substituted("fd"), "fd");
    }
}
