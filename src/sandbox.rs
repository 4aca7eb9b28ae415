//! The library's front: a builder like [`std::process::Command`], and the running sandbox.
//!
//! Safe in a program with threads: the new processes share its memory until they execute, use none of
//! its locks, and nothing of the calling process is changed but, for a moment, the calling thread's
//! signal mask.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::pipe2;

use crate::cgroup::Group;
use crate::descriptor::{self, Kind};
use crate::egress::budget;
use crate::egress::carry::{Outset, Told};
use crate::egress::destination::Destination;
use crate::egress::notify::Warden;
use crate::egress::publish::Publish;
use crate::egress::service::Service;
use crate::error::{Error, Result};
use crate::init::{self, Record, Stop};
use crate::plan::{Handed, Plan, Situation, errno_of, working_directory};
use crate::policy::{Limit, Network, Policy, spec};
use crate::probe::Support;
use crate::request::Placed;
use crate::spawn::{Order, Spawned};
use crate::supervise::wait_status;
use crate::sys::child::Disposition;
use crate::sys::parent;
use crate::{launch, lower, worker};

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

    /// Decide everything, and run nothing.
    ///
    /// # Errors
    /// As for [`Sandbox::spawn`], as far as it can be known beforehand.
    pub fn plan(&self) -> Result<Plan> {
        let policy = self.effective_policy()?;
        launch::plan(&lower::to_what_can_be_had(&policy), &self.situation(None)?)
    }

    /// Start the command.
    ///
    /// # Errors
    /// When it was not started: [`Error::failed_step`] says where it stopped. Nothing is left then.
    pub fn spawn(&mut self) -> Result<Child> {
        let policy = self.effective_policy()?;
        let lowered = lower::to_what_can_be_had(&policy);
        let mut ends = Ends::default();
        let mut sources = Vec::with_capacity(3 + self.passed.len());
        for (number, stdio) in (0..).zip(&self.standard) {
            sources.push(ends.source(number, stdio)?);
        }
        sources.extend(self.passed.iter().map(|(_, fd)| fd.as_raw_fd()));
        let situation = self.situation(Some(&sources))?;
        let plan = launch::plan(&lowered, &situation)?;
        let outset = Outset::for_launch(&plan)?;
        let published = outset.published()?;
        let group = Group::make(&lowered.policy.cgroup)?;
        let order = || Order {
            descriptors: sources.clone(),
            // As std::process::Command does: Rust ignores SIGPIPE, and hardly a program expects that.
            dispositions: vec![(libc::SIGPIPE, Disposition::Default)],
            signal_mask: Some(0),
            cgroup: group.as_ref().map(Group::directory),
            timing: false,
            awaits_connection: false,
        };
        let (plan, mut spawned) = launch::launch(&lowered, &situation, plan, order)?;
        let (engine, warden) = outset.begin(&plan, &mut spawned, Told::nobody())?;
        let egress = engine.map(Service::start).transpose()?;
        Ok(Child {
            stdin: ends.stdin.map(ChildStdin::from),
            stdout: ends.stdout.map(ChildStdout::from),
            stderr: ends.stderr.map(ChildStderr::from),
            deadline: plan
                .timeout
                .and_then(|timeout| Instant::now().checked_add(timeout)),
            kill_after: plan.kill_after,
            timed_out: false,
            plan,
            ended: None,
            status: None,
            spawned,
            published,
            _egress: egress,
            _warden: warden,
            _group: group,
        })
    }

    /// The same for a broker, which starts it as often as it needs a worker; under the policy `worker`
    /// unless another was set.
    ///
    /// # Errors
    /// When a standard stream is to be a pipe, of which nobody would hold the other end, or a descriptor
    /// cannot be copied.
    pub(crate) fn for_workers(&self) -> Result<Self> {
        let failed = |error| Error::host("copy", "a descriptor", errno_of(&error));
        let stream = |stdio: &Stdio| match stdio {
            Stdio::Inherit => Ok(Stdio::Inherit),
            Stdio::Null => Ok(Stdio::Null),
            Stdio::Descriptor(fd) => Ok(Stdio::Descriptor(fd.try_clone().map_err(failed)?)),
            Stdio::Piped => Err(Error::usage(
                "Stdio::Piped",
                "nobody would read from or write to a worker's pipe; give it a descriptor",
            )),
        };
        let [input, output, error] = &self.standard;
        let mut passed = Vec::with_capacity(self.passed.len());
        for (name, fd) in &self.passed {
            passed.push((name.clone(), fd.try_clone().map_err(failed)?));
        }
        let policy = match &self.policy {
            Some(policy) => policy.clone(),
            None => Policy::built_in("worker")?,
        };
        let mut environment = self.environment.clone();
        let number = OsString::from("3");
        environment.push((worker::CHANNEL_VARIABLE.into(), Some(number)));
        Ok(Self {
            command: self.command.clone(),
            policy: Some(policy),
            changes: self.changes.clone(),
            environment,
            clear_environment: self.clear_environment,
            directory: self.directory.clone(),
            standard: [stream(input)?, stream(output)?, stream(error)?],
            passed,
            unsafe_descriptors: self.unsafe_descriptors,
            files: self.files.clone(),
        })
    }

    /// Start the command as a worker, with `end` of its channel as descriptor 3; the end comes back.
    pub(crate) fn spawn_worker(&mut self, end: OwnedFd) -> Result<(Child, OwnedFd)> {
        self.passed
            .insert(0, (worker::CHANNEL_NAME.to_owned(), end));
        let spawned = self.spawn();
        let (_, end) = self.passed.remove(0);
        Ok((spawned?, end))
    }

    /// Run the command to its end.
    ///
    /// # Errors
    /// As for [`Sandbox::spawn`] and [`Child::wait`].
    pub fn status(&mut self) -> Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// Run the command to its end and collect what it writes to standard output and error, which
    /// become pipes unless they were set.
    ///
    /// # Errors
    /// As for [`Sandbox::spawn`] and [`Child::wait`].
    pub fn output(&mut self) -> Result<Output> {
        for stdio in &mut self.standard[1..] {
            if matches!(stdio, Stdio::Inherit) {
                *stdio = Stdio::Piped;
            }
        }
        self.spawn()?.wait_with_output()
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

    fn effective_policy(&self) -> Result<Policy> {
        let mut policy = match &self.policy {
            Some(policy) => policy.clone(),
            None => Policy::built_in("default")?,
        };
        for change in &self.changes {
            let (files, process) = (&mut policy.filesystem, &mut policy.process);
            match change {
                Change::Network(network) => policy.network = network.clone(),
                Change::Hide(path) => files.hide.push(path.clone()),
                Change::ReadOnly(path) => files.read_only.push(path.clone()),
                Change::ReadWrite(path) => files.read_write.push(path.clone()),
                Change::PrivateTmp => files.private_tmp = true,
                Change::Allow(destination) => policy.egress.allow.push(destination.clone()),
                Change::Deny(destination) => policy.egress.deny.push(destination.clone()),
                Change::MaxBytes(to, most) => {
                    policy.egress.budgets.bytes.insert(to.clone(), *most);
                }
                Change::MaxRate(to, most) => {
                    policy.egress.budgets.rates.insert(to.clone(), *most);
                }
                Change::ProxyEnv(port) => policy.egress.proxy_env = Some(*port),
                Change::Publish(publish) => policy.egress.publish.push(*publish),
                Change::Limit(limit) => {
                    policy
                        .limits
                        .retain(|known| known.resource != limit.resource);
                    policy.limits.push(*limit);
                }
                Change::Timeout(timeout) => process.timeout = Some(*timeout),
                Change::Hostname(name) => process.hostname = Some(name.clone()),
            }
        }
        // One that was raised for another sandbox's connections is not the command's.
        let nofile = spec::RESOURCES.iter().find(|(name, ..)| *name == "nofile");
        if let (Some((soft, hard)), Some(&(name, resource, _))) =
            (parent::descriptor_limit_before(), nofile)
            && policy.limits.iter().all(|limit| limit.resource != resource)
        {
            let number = |number: u64| (number != libc::RLIM_INFINITY).then_some(number);
            policy.limits.push(Limit {
                resource,
                name,
                soft: number(soft),
                hard: number(hard),
            });
        }
        let environment = &mut policy.environment;
        if self.clear_environment {
            environment.clear = true;
            environment.keep.clear();
        }
        for (name, value) in &self.environment {
            match value {
                Some(value) => {
                    environment.set.insert(name.clone(), value.clone());
                }
                None => {
                    environment.set.remove(name);
                    environment.unset.push(name.clone());
                }
            }
        }
        Ok(policy)
    }

    fn situation(&self, sources: Option<&[RawFd]>) -> Result<Situation> {
        let kind = |number: usize| match sources.and_then(|sources| sources.get(number)) {
            Some(&source) => Kind::of_number(source),
            None => Kind::File,
        };
        let standard = [kind(0), kind(1), kind(2)];
        let inherited: Vec<_> = self
            .standard
            .iter()
            .map(|stdio| matches!(stdio, Stdio::Inherit))
            .collect();
        if inherited != [true; 3] || sources.is_some() {
            descriptor::check_standard(&standard, self.unsafe_descriptors)?;
        }
        let mut descriptors = Vec::new();
        for (name, fd) in &self.passed {
            let kind = Kind::of(fd.as_fd());
            descriptor::refuse_dangerous(kind, name, self.unsafe_descriptors)?;
            descriptors.push(Handed {
                name: name.clone(),
                kind,
            });
        }
        let directory = match &self.directory {
            Some(directory) if directory.is_absolute() => directory.clone(),
            Some(directory) => working_directory()?.join(directory),
            None => working_directory()?,
        };
        Ok(Situation {
            command: self.command.clone(),
            environment: std::env::vars_os().collect(),
            directory,
            descriptors,
            standard,
            support: Support::quick(),
            files: self.files.clone(),
            learning: None,
        })
    }
}

fn parse_destination(what: &str, text: &str) -> Result<Destination> {
    text.parse()
        .map_err(|reason: spec::Invalid| Error::usage(format!("{what} {text}"), reason.to_string()))
}

/// The pipes to a command: the caller's ends, and the command's while it is being launched.
#[derive(Default)]
struct Ends {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    theirs: Vec<OwnedFd>,
}

impl Ends {
    /// The descriptor that becomes `number` in the command.
    fn source(&mut self, number: RawFd, stdio: &Stdio) -> Result<RawFd> {
        let theirs = match stdio {
            Stdio::Inherit => return Ok(number),
            Stdio::Descriptor(descriptor) => return Ok(descriptor.as_raw_fd()),
            Stdio::Null => {
                let null = File::options().read(true).write(true).open("/dev/null");
                null.map_err(|error| Error::host("open", "/dev/null", errno_of(&error)))?
                    .into()
            }
            Stdio::Piped => {
                let (reader, writer) = pipe2(OFlag::O_CLOEXEC)
                    .map_err(|errno| Error::host("make", "a pipe", errno))?;
                match number {
                    0 => {
                        self.stdin = Some(writer);
                        reader
                    }
                    1 => {
                        self.stdout = Some(reader);
                        writer
                    }
                    _ => {
                        self.stderr = Some(reader);
                        writer
                    }
                }
            }
        };
        let source = theirs.as_raw_fd();
        self.theirs.push(theirs);
        Ok(source)
    }
}

/// A running sandbox. Dropping it ends it, with everything inside.
#[derive(Debug)]
pub struct Child {
    /// The caller's end of a piped standard input.
    pub stdin: Option<ChildStdin>,
    /// The caller's end of a piped standard output.
    pub stdout: Option<ChildStdout>,
    /// The caller's end of a piped standard error.
    pub stderr: Option<ChildStderr>,
    plan: Plan,
    deadline: Option<Instant>,
    kill_after: Duration,
    timed_out: bool,
    ended: Option<i32>,
    status: Option<ExitStatus>,
    spawned: Spawned,
    published: Vec<SocketAddr>,
    /// Makes the connections that the policy allows, until the sandbox is gone.
    _egress: Option<Service>,
    /// Connects for the command.
    _warden: Option<Warden>,
    /// Removed after the sandbox is gone: fields are dropped in this order.
    _group: Option<Group>,
}

impl Child {
    /// The pid of the sandbox's first process, in the caller's pid namespace.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.spawned.pid.unsigned_abs()
    }

    /// A descriptor of the sandbox's first process: readable (poll(2)) when all of it is gone.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.spawned.pidfd.as_fd()
    }

    /// Where this host listens for what is published ([`Sandbox::publish`]), in order.
    #[must_use]
    pub fn published(&self) -> &[SocketAddr] {
        &self.published
    }

    /// Whether [`Child::wait`] has ended it because its time was over ([`Sandbox::timeout`]).
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// What was launched.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// End the sandbox, with everything inside (SIGKILL). It still has to be waited for.
    ///
    /// # Errors
    /// When the kernel refuses; a sandbox that is gone already is no error.
    pub fn kill(&self) -> Result<()> {
        self.send(libc::SIGKILL)
    }

    /// Send `signal` to the command.
    ///
    /// # Errors
    /// When the kernel refuses; a sandbox that is gone already is no error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.send(signal as i32)
    }

    fn send(&self, signal: i32) -> Result<()> {
        // The init does not pass this one on: it may have come to a whole process group.
        if let Some(status) = self
            .spawned
            .status
            .as_ref()
            .filter(|_| signal == libc::SIGCONT)
        {
            init::resume(status.as_fd(), Stop::Any);
            return Ok(());
        }
        match parent::pidfd_send_signal(self.pidfd(), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(Error::host("send a signal to", "the sandbox", errno)),
        }
    }

    /// Close its standard input, if piped, and wait until all of the sandbox is gone.
    ///
    /// The status is the command's. Past the time limit, if there is one, the command gets SIGTERM and
    /// later the sandbox SIGKILL.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.stdin = None;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            let timeout = match self.deadline {
                None => PollTimeout::NONE,
                Some(deadline) => {
                    let left = deadline
                        .saturating_duration_since(Instant::now())
                        .as_millis();
                    PollTimeout::try_from(left.saturating_add(1).min(60_000))
                        .unwrap_or(PollTimeout::MAX)
                }
            };
            match poll(&mut [PollFd::new(self.pidfd(), PollFlags::POLLIN)], timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::host("wait for", "the sandbox", errno)),
            }
            if self
                .deadline
                .is_none_or(|deadline| Instant::now() < deadline)
            {
                continue;
            }
            if self.timed_out {
                self.deadline = None;
                self.kill()?;
                continue;
            }
            self.timed_out = true;
            self.deadline = Instant::now().checked_add(self.kill_after);
            self.send(libc::SIGTERM)?;
            self.send(libc::SIGCONT)?;
        }
    }

    /// The status, if all of the sandbox is gone.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
        let gone = match wait_status(self.pidfd(), flags) {
            Err(Error::Host {
                errno: Errno::ECHILD,
                ..
            }) => Some(self.reaped_by_the_kernel()?),
            waited => waited?,
        };
        self.take_reports();
        self.status = gone.map(|status| ExitStatus::from_raw(self.ended.unwrap_or(status)));
        Ok(self.status)
    }

    /// The wait status of a sandbox in a program that ignores SIGCHLD: what the init has said.
    fn reaped_by_the_kernel(&mut self) -> Result<i32> {
        self.take_reports();
        match (self.ended, &self.spawned.status) {
            (Some(status), _) => Ok(status),
            // An init ends without a word only if it is killed.
            (None, Some(_)) => Ok(libc::SIGKILL),
            (None, None) => Err(
                Error::host("learn the status of", "the command", Errno::ECHILD).with_hint(Some(
                    "this program ignores SIGCHLD, so the kernel keeps no status; give it its default action, or leave process.as-pid-1 out".to_owned(),
                )),
            ),
        }
    }

    fn take_reports(&mut self) {
        let Some(status) = &self.spawned.status else {
            return;
        };
        let mut record = [0; Record::LENGTH];
        while let Ok(Record::LENGTH) = recv(status.as_raw_fd(), &mut record, MsgFlags::MSG_DONTWAIT)
        {
            if let Some(Record::Ended(status)) = Record::decode(&record) {
                self.ended = Some(status);
            }
        }
    }

    /// Wait to the end and collect what the command wrote to piped standard output and error.
    ///
    /// # Errors
    /// As for [`Child::wait`].
    pub fn wait_with_output(mut self) -> Result<Output> {
        self.stdin = None;
        // Read both at once, or a command that fills one pipe would wait for ever.
        let stderr = self
            .stderr
            .take()
            .map(|pipe| thread::spawn(move || read_to_end(pipe)));
        let stdout = self
            .stdout
            .take()
            .map(|pipe| thread::spawn(move || read_to_end(pipe)));
        let status = self.wait()?;
        let collect = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
            reader
                .and_then(|reader| reader.join().ok())
                .unwrap_or_default()
        };
        Ok(Output {
            status,
            stdout: collect(stdout),
            stderr: collect(stderr),
        })
    }
}

fn read_to_end(mut pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What came before an error is what there is.
    let _ = pipe.read_to_end(&mut bytes);
    bytes
}
