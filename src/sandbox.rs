//! The library's front: a builder like [`std::process::Command`], and the running sandbox.
//!
//! Safe in a program with threads: the new processes share its memory until they execute, use none of
//! its locks, and nothing of the calling process is changed but, for a moment, the calling thread's
//! signal mask.
#![forbid(unsafe_code)]

mod child;
mod start;

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

pub use self::child::Child;
use crate::egress::budget;
use crate::egress::destination::Destination;
use crate::egress::publish::Publish;
use crate::error::{Error, Result};
use crate::policy::{Limit, Network, Policy, spec};
use crate::request::Placed;

/// What becomes of the command's standard input, output or error.
#[derive(Debug, Default)]
pub enum Stdio {
    /// The caller's own.
    #[default]
    Inherit,
    /// `/dev/null`.
    Null,
    /// A pipe to the caller, found in the [`Child`].
    Piped,
    /// This descriptor.
    Descriptor(OwnedFd),
}

impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(descriptor: T) -> Self {
        Self::Descriptor(descriptor.into())
    }
}

/// A command to run in a sandbox.
///
/// Without further ado it runs under the profile `default`: an empty network with its own loopback, no
/// capability, the host's sockets hidden, a system-call filter. See [`Policy`] for what can be changed.
///
/// ```no_run
/// use sandbox::{Net, Sandbox};
///
/// # fn main() -> sandbox::Result<()> {
/// let mut child = Sandbox::new("python3").arg("plugin.py").net(Net::None).spawn()?;
/// let status = child.wait()?;
/// assert!(status.success());
/// # Ok(())
/// # }
/// ```
///
/// Nothing is left of a sandbox whose [`Child`] was dropped.
#[derive(Debug)]
pub struct Sandbox {
    command: Vec<OsString>,
    policy: Option<Policy>,
    changes: Vec<Change>,
    environment: Vec<(OsString, Option<OsString>)>,
    clear_environment: bool,
    directory: Option<PathBuf>,
    standard: [Stdio; 3],
    passed: Vec<(String, OwnedFd)>,
    unsafe_descriptors: bool,
    files: Vec<Placed>,
}

/// One change to the policy, kept until the policy is known.
#[derive(Clone, Debug)]
enum Change {
    Network(Network),
    Hide(PathBuf),
    ReadOnly(PathBuf),
    ReadWrite(PathBuf),
    PrivateTmp,
    Allow(Destination),
    Deny(Destination),
    Publish(Publish),
    ProxyEnv(u16),
    MaxBytes(Destination, u64),
    MaxRate(Destination, u64),
    Limit(Limit),
    Timeout(Duration),
    Hostname(String),
}

impl Sandbox {
    /// A sandbox for `program`: a path, or a name that is looked up in the command's `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            command: vec![program.as_ref().to_owned()],
            policy: None,
            changes: Vec::new(),
            environment: Vec::new(),
            clear_environment: false,
            directory: None,
            standard: [Stdio::Inherit, Stdio::Inherit, Stdio::Inherit],
            passed: Vec::new(),
            unsafe_descriptors: false,
            files: Vec::new(),
        }
    }

    /// Add an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.command.push(argument.as_ref().to_owned());
        self
    }

    /// Add arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        for argument in arguments {
            self.arg(argument);
        }
        self
    }

    /// Run under `policy` instead of the profile `default`. The other methods change it further,
    /// whether they are called before or after.
    pub fn policy(&mut self, policy: Policy) -> &mut Self {
        self.policy = Some(policy);
        self
    }

    /// What the sandbox has of the network.
    pub fn net(&mut self, network: Network) -> &mut Self {
        self.change(Change::Network(network))
    }

    /// Cover a directory or file with nothing.
    pub fn hide(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.change(Change::Hide(path.into()))
    }

    /// Make a tree read-only.
    pub fn read_only(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.change(Change::ReadOnly(path.into()))
    }

    /// Put the file `from` over the one at `path`, which must be there, for the command to see.
    pub fn file(&mut self, from: impl Into<PathBuf>, path: impl Into<PathBuf>) -> &mut Self {
        self.place(Placed::Over {
            source: from.into(),
            path: path.into(),
        })
    }

    /// Put something in place for the command to see.
    pub(crate) fn place(&mut self, placed: Placed) -> &mut Self {
        self.files.push(placed);
        self
    }

    /// Keep a tree writable below a read-only one.
    pub fn read_write(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.change(Change::ReadWrite(path.into()))
    }

    /// A `/tmp` and `/var/tmp` of its own.
    pub fn private_tmp(&mut self) -> &mut Self {
        self.change(Change::PrivateTmp)
    }

    /// Let the command reach a destination outside, written as for `--allow`: `api.example.com:443`,
    /// `*.example.com:443`, `10.0.0.0/8:5432`, `udp://192.0.2.1:123`. Nothing else can be reached.
    ///
    /// The connections are made by a thread of this process, from its own network, until the [`Child`]
    /// is waited for or dropped. For them the process's soft limit of descriptors is raised to the hard one
    /// once such a command runs; commands of later sandboxes still get what it was.
    ///
    /// # Errors
    /// When it is no destination.
    pub fn allow(&mut self, destination: &str) -> Result<&mut Self> {
        Ok(self.change(Change::Allow(parse_destination("allow", destination)?)))
    }

    /// Refuse a destination, whatever is allowed.
    ///
    /// # Errors
    /// When it is no destination.
    pub fn deny(&mut self, destination: &str) -> Result<&mut Self> {
        Ok(self.change(Change::Deny(parse_destination("deny", destination)?)))
    }

    /// Let the host reach a port of the sandbox's loopback, written as for `--publish`:
    /// `127.0.0.1:8080:8000`. The connections are carried by a thread of this process, as for
    /// [`Sandbox::allow`]; a way in, and none out. [`Child::published`] says where it listens.
    ///
    /// # Errors
    /// When it is nothing of the kind.
    pub fn publish(&mut self, what: &str) -> Result<&mut Self> {
        let publish = spec::publish(OsStr::new(what))
            .map_err(|reason| Error::usage(format!("publish {what}"), reason.to_string()))?;
        Ok(self.change(Change::Publish(publish)))
    }

    /// Let so many bytes go to and from a destination in all, as `--max-bytes` does; then its connections
    /// are cut off.
    ///
    /// # Errors
    /// When it is no destination of hosts, or nothing is left of it.
    pub fn max_bytes(&mut self, destination: &str, bytes: u64) -> Result<&mut Self> {
        let (destination, most) =
            budget::bytes(destination, &bytes.to_string()).map_err(|reason| {
                Error::usage(format!("max-bytes {destination}"), reason.to_string())
            })?;
        Ok(self.change(Change::MaxBytes(destination, most)))
    }

    /// Let so many bytes a second go to and from a destination, as `--max-rate` does.
    ///
    /// # Errors
    /// When it is no destination of hosts by TCP, or nothing is left of it.
    pub fn max_rate(&mut self, destination: &str, bytes: u64) -> Result<&mut Self> {
        let (destination, most) =
            budget::rate(destination, &format!("{bytes}/s")).map_err(|reason| {
                Error::usage(format!("max-rate {destination}"), reason.to_string())
            })?;
        Ok(self.change(Change::MaxRate(destination, most)))
    }

    /// Offer an HTTP and SOCKS5 proxy at `port` of the sandbox's loopback, and name it in `HTTP_PROXY` and
    /// the like. It reaches what [`Sandbox::allow`] allows; port 0 is an error of [`Sandbox::spawn`].
    pub fn proxy_env(&mut self, port: u16) -> &mut Self {
        self.change(Change::ProxyEnv(port))
    }

    /// A resource limit (prlimit(2)): its name in lower case without `RLIMIT_`, and the value as
    /// `--limit` takes it ("256", "512M", "unlimited", "SOFT:HARD").
    ///
    /// # Errors
    /// When there is no such limit, or the value makes no sense.
    pub fn limit(&mut self, name: &str, value: &str) -> Result<&mut Self> {
        let limit = spec::limit_value(name, value)
            .map_err(|reason| Error::usage(format!("limit {name}={value}"), reason.to_string()))?;
        Ok(self.change(Change::Limit(limit)))
    }

    /// End the sandbox when it has run for `timeout`. Kept by [`Child::wait`], so only while somebody
    /// waits; [`Child::timed_out`] tells it from a command that ended of itself.
    pub fn timeout(&mut self, timeout: Duration) -> &mut Self {
        self.change(Change::Timeout(timeout))
    }

    /// The host name inside.
    pub fn hostname(&mut self, name: impl Into<String>) -> &mut Self {
        self.change(Change::Hostname(name.into()))
    }

    /// Set a variable in the command's environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        let value = Some(value.as_ref().to_owned());
        self.environment.push((name.as_ref().to_owned(), value));
        self
    }

    /// Set several variables in the command's environment.
    pub fn envs(
        &mut self,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Self {
        for (name, value) in variables {
            self.env(name, value);
        }
        self
    }

    /// Remove a variable from the command's environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.environment.push((name.as_ref().to_owned(), None));
        self
    }

    /// Give the command nothing of the caller's environment.
    pub fn env_clear(&mut self) -> &mut Self {
        self.clear_environment = true;
        self.environment.clear();
        self
    }

    /// The command's working directory. A relative program path is looked up below it.
    pub fn current_dir(&mut self, directory: impl Into<PathBuf>) -> &mut Self {
        self.directory = Some(directory.into());
        self
    }

    /// Standard input. Default: the caller's.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.set_standard(0, stdio.into())
    }

    /// Standard output. Default: the caller's.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.set_standard(1, stdio.into())
    }

    /// Standard error. Default: the caller's.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.set_standard(2, stdio.into())
    }

    /// Give the command a descriptor. The first becomes 3, the next 4, and so on; it is told by the
    /// systemd protocol (`LISTEN_FDS`, sd_listen_fds(3)).
    ///
    /// Of the kinds that lead out of a sandbox (directories, namespaces, netlink sockets, pidfds),
    /// [`Sandbox::spawn`] says so and runs nothing.
    pub fn pass_fd(&mut self, descriptor: impl Into<OwnedFd>) -> &mut Self {
        self.pass_fd_named("passed", descriptor)
    }

    /// The same with a name, for `LISTEN_FDNAMES` and for `{fd:NAME}` in arguments and variables.
    pub fn pass_fd_named(
        &mut self,
        name: impl Into<String>,
        descriptor: impl Into<OwnedFd>,
    ) -> &mut Self {
        self.passed.push((name.into(), descriptor.into()));
        self
    }

    /// Let descriptors in that can lead out of the sandbox.
    pub fn allow_unsafe_fds(&mut self) -> &mut Self {
        self.unsafe_descriptors = true;
        self
    }

    fn change(&mut self, change: Change) -> &mut Self {
        self.changes.push(change);
        self
    }

    fn set_standard(&mut self, number: usize, stdio: Stdio) -> &mut Self {
        if let Some(place) = self.standard.get_mut(number) {
            *place = stdio;
        }
        self
    }
}

fn parse_destination(what: &str, text: &str) -> Result<Destination> {
    text.parse()
        .map_err(|reason: spec::Invalid| Error::usage(format!("{what} {text}"), reason.to_string()))
}
