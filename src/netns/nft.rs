//! nft(8), run inside a namespace with a script on its standard input: the kernel does all of a script or
//! nothing of it.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;

use super::firewall::{self, Firewall};
use super::handle::Namespace;
use crate::error::{Error, Result};
use crate::plan::errno_of;
use crate::spawn::Sharing;
use crate::sys::inside;

/// Where nft(8) may be; nothing is looked up in PATH.
const PLACES: &[&str] = &[
    "/usr/sbin/nft",
    "/sbin/nft",
    "/usr/local/sbin/nft",
    "/usr/bin/nft",
];

/// The nft(8) of this host.
#[must_use]
pub fn program() -> Option<&'static Path> {
    PLACES.iter().map(Path::new).find(|path| path.is_file())
}

impl Namespace {
    /// Put `firewall` in place of whatever this program put there before. Other tables stay.
    ///
    /// # Errors
    /// When nft(8) is not there or refuses; nothing has changed then.
    pub fn set_firewall(&self, firewall: &Firewall) -> Result<()> {
        self.run_nft("set the firewall", &firewall.script())
            .map(drop)
    }

    /// Take our firewall away. Other tables stay.
    ///
    /// # Errors
    /// When nft(8) is not there or refuses.
    pub fn clear_firewall(&self) -> Result<()> {
        self.run_nft("clear the firewall", &firewall::removal())
            .map(drop)
    }

    /// Run a script of nft(8)'s own language, all or nothing, in this namespace alone.
    ///
    /// # Errors
    /// When nft(8) is not there or refuses; nothing has changed then.
    pub fn apply_nft(&self, script: &str) -> Result<()> {
        self.run_nft("apply the nft script", script).map(drop)
    }

    /// Every table of this namespace, as nft(8) prints them.
    ///
    /// # Errors
    /// When nft(8) is not there or refuses.
    pub fn list_nft(&self) -> Result<String> {
        self.run_nft("list the firewall", "list ruleset\n")
    }

    /// What nft(8) says to `script`.
    pub(super) fn run_nft(&self, action: &'static str, script: &str) -> Result<String> {
        let failed = |said: String, errno| Error::Network {
            action,
            object: format!("of {}", self.label()),
            said,
            errno,
            hint: None,
        };
        let Some(program) = program() else {
            let missing = failed("there is no nft(8)".to_owned(), Errno::ENOENT);
            return Err(missing.with_hint(Some("install nftables".to_owned())));
        };
        let mut command = Command::new(program);
        command
            .args(["-f", "-"])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let _sharing = Sharing::begin();
        let spawned = inside::spawn(&mut command, self);
        let mut child = spawned.map_err(|error| failed(String::new(), errno_of(&error)))?;
        let input = child.stdin.take();
        let (written, output) = std::thread::scope(|scope| {
            // On a thread of its own: nft(8) may answer before it has read all.
            let writer = scope.spawn(move || match input {
                Some(mut input) => input.write_all(script.as_bytes()),
                None => Ok(()),
            });
            let output = child.wait_with_output();
            (writer.join(), output)
        });
        let output = output.map_err(|error| failed(String::new(), errno_of(&error)))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().next().unwrap_or_default();
            let said = first
                .strip_prefix("/dev/stdin:")
                .unwrap_or(first)
                .to_owned();
            let errno = match said.contains("Operation not permitted") {
                true => Errno::EPERM,
                false => Errno::EINVAL,
            };
            return Err(failed(said, errno));
        }
        match written {
            Ok(Ok(())) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ok(Err(error)) => Err(failed(String::new(), errno_of(&error))),
            Err(_) => Err(failed(String::new(), Errno::EIO)),
        }
    }
}
