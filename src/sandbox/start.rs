//! From what was built to a running command: the policy is merged, the launch planned and made.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs::File;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::child::Child;
use super::{Change, Sandbox, Stdio};
use crate::cgroup::Group;
use crate::descriptor::{self, Kind};
use crate::egress::carry::{Outset, Told};
use crate::egress::service::Service;
use crate::error::{Error, Result};
use crate::plan::{Handed, Plan, Situation, errno_of, working_directory};
use crate::policy::{Limit, Network, Policy, View, spec};
use crate::probe::Support;
use crate::spawn::Order;
use crate::sys::child::Disposition;
use crate::sys::parent;
use crate::{launch, lower, worker};

impl Sandbox {
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
        // As merging does: a fresh /sys needs a network of the sandbox's own (sysfs_get_tree in the kernel).
        if policy.network == Network::Host {
            policy.filesystem.sys = View::Host;
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

/// The pipes to a command: the caller's ends, and the command's while it is being launched.
#[derive(Default)]
struct Ends {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
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
