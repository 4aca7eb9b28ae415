//! The handle of a running command: its status, its signals, its end.
#![forbid(unsafe_code)]

use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::MsgFlags;
use nix::sys::wait::WaitPidFlag;

use crate::cgroup::Group;
use crate::egress::notify::Warden;
use crate::egress::service::Service;
use crate::error::{Error, Result};
use crate::init::{self, Heard, Record, Stop};
use crate::plan::Plan;
use crate::spawn::Spawned;
use crate::supervise::wait_status;
use crate::sys::parent;

/// A running sandbox. Dropping it ends it, with everything inside.
#[derive(Debug)]
pub struct Child {
    /// The caller's end of a piped standard input.
    pub stdin: Option<ChildStdin>,
    /// The caller's end of a piped standard output.
    pub stdout: Option<ChildStdout>,
    /// The caller's end of a piped standard error.
    pub stderr: Option<ChildStderr>,
    pub(super) plan: Plan,
    pub(super) deadline: Option<Instant>,
    pub(super) kill_after: Duration,
    pub(super) timed_out: bool,
    pub(super) ended: Option<i32>,
    pub(super) status: Option<ExitStatus>,
    pub(super) spawned: Spawned,
    pub(super) published: Vec<SocketAddr>,
    /// Makes the connections that the policy allows, until the sandbox is gone.
    pub(super) _egress: Option<Service>,
    /// Connects for the command.
    pub(super) _warden: Option<Warden>,
    /// Removed after the sandbox is gone: fields are dropped in this order.
    pub(super) _group: Option<Group>,
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

    /// Where this host listens for what is published ([`crate::Sandbox::publish`]), in order.
    #[must_use]
    pub fn published(&self) -> &[SocketAddr] {
        &self.published
    }

    /// Whether [`Child::wait`] has ended it because its time was over ([`crate::Sandbox::timeout`]).
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
        while let Heard::Record(record) = init::hear(status.as_fd(), MsgFlags::empty()) {
            if let Record::Ended(status) = record {
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
