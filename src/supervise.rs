//! The supervisor: what the launcher is from the command's first instruction to its last.
//!
//! One loop over signals, the sandbox's pidfd and the init's reports. It keeps the caller's process
//! group and session, so that a shell's job control works as for any command: what the terminal sends
//! goes to the whole group and is not forwarded; what a process sends to the launcher is.
//!
//! It trusts nothing from inside: reports are decoded by [`crate::init::Record`], and one that makes no
//! sense is ignored. A command cannot stop a launcher that has a time limit to keep.
#![forbid(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::sys::socket::MsgFlags;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgrp, getpid, tcgetpgrp, tcsetpgrp};
use tracing::{debug, info};

use crate::egress::engine::Engine;
use crate::error::{Error, Result};
use crate::init::{self, Heard, Record, Stop};
use crate::spawn::Spawned;
use crate::sys::{memory, parent};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal.
    Killed(i32),
    /// By the launcher, because its time was over.
    TimedOut,
}

impl Ending {
    /// From a wait(2) status.
    #[must_use]
    pub(crate) fn from_wait_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            return Self::Killed(libc::WTERMSIG(status));
        }
        Self::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    }
}

/// The time a command may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimit {
    pub(crate) timeout: Option<Duration>,
    pub(crate) kill_after: Duration,
}

/// Signals that mean something to the command when they are sent to the launcher.
const FORWARDED: &[Signal] = &[
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGALRM,
    Signal::SIGTSTP,
];

/// A command that is not over by then will take its time: what the launch has left in memory goes.
const SETTLING: Duration = Duration::from_millis(100);

/// What a wait has ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// Nothing but egress's, or that it is time for something.
    OfEgress,
    /// The sandbox's or a signal's too.
    Any,
}

/// Watch over a sandbox until it is gone.
pub(crate) struct Supervisor {
    spawned: Spawned,
    signals: SignalFd,
    terminal: Option<Terminal>,
    deadline: Option<Instant>,
    kill_after: Duration,
    /// When memory is given back; `None` once that is done.
    settles: Option<Instant>,
    /// The command has no part in our process group: the terminal's signals must be forwarded.
    own_session: bool,
    timed_out: bool,
    stop_typed: bool,
    /// A SIGCONT has come: what is stopped is to go on.
    resumed: bool,
    /// How often the command was stopped, as far as the init has said.
    stops: u32,
    ended: Option<i32>,
    /// Makes the connections that the policy allows.
    egress: Option<Engine>,
}

impl Supervisor {
    /// Take over `spawned`, launched when `terminal` had been looked at. The calling thread has every
    /// signal blocked.
    pub(crate) fn new(
        spawned: Spawned,
        terminal: Option<Terminal>,
        limit: TimeLimit,
        own_session: bool,
        egress: Option<Engine>,
    ) -> Result<Self> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&SigSet::all(), flags)
            .map_err(|errno| Error::host("watch signals", "", errno))?;
        Ok(Self {
            spawned,
            signals,
            terminal,
            deadline: limit
                .timeout
                .and_then(|timeout| Instant::now().checked_add(timeout)),
            kill_after: limit.kill_after,
            settles: Instant::now().checked_add(SETTLING),
            own_session,
            timed_out: false,
            stop_typed: false,
            resumed: false,
            stops: 0,
            ended: None,
            egress,
        })
    }

    /// Until the last process of the sandbox is gone.
    pub(crate) fn run(mut self) -> Result<Ending> {
        let waited = loop {
            let news = self.wait_for_news()?;
            if let Some(egress) = &mut self.egress {
                egress.turn();
            }
            // Egress may have much to do and these nothing, and each is a system call.
            if news == News::OfEgress {
                continue;
            }
            self.take_signals();
            self.take_reports();
            if std::mem::take(&mut self.resumed) {
                self.resume(Stop::Number(self.stops));
            }
            if let Some(status) = self.gone()? {
                break status;
            }
        };
        // What the init wrote last may have come with its end.
        self.take_reports();
        if let Some(egress) = self.egress.take() {
            egress.finish();
        }
        if let Some(terminal) = &self.terminal {
            terminal.take_back();
        }
        if self.timed_out {
            return Ok(Ending::TimedOut);
        }
        if self.spawned.status.is_some() && self.ended.is_none() && libc::WIFEXITED(waited) {
            // An init that ends by itself says first how the command did.
            return Err(Error::host(
                "learn the status of",
                "the command",
                Errno::EIO,
            ));
        }
        Ok(Ending::from_wait_status(self.ended.unwrap_or(waited)))
    }

    fn wait_for_news(&mut self) -> Result<News> {
        let signals = self.signals.as_fd();
        let mut watched = vec![
            PollFd::new(self.spawned.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals, PollFlags::POLLIN),
        ];
        // Only a terminal's job control has use for what the init says before the end; the end itself
        // shows on the pidfd.
        let listens = self.ended.is_none() && self.terminal.is_some();
        if let Some(status) = self.spawned.status.as_ref().filter(|_| listens) {
            watched.push(PollFd::new(status.as_fd(), PollFlags::POLLIN));
        }
        let of_others = watched.len();
        if let Some(egress) = &self.egress {
            watched.push(PollFd::new(egress.descriptor(), PollFlags::POLLIN));
        }
        let egress = self.egress.as_ref().and_then(Engine::next);
        let deadlines = [self.deadline, egress, self.settles];
        let timeout = match deadlines.into_iter().flatten().min() {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // Rounded up, so that the loop does not spin through the last millisecond.
                let left = left.as_nanos().div_ceil(1_000_000).min(60_000);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::host("watch", "the sandbox", errno)),
        }
        let others = watched.iter().take(of_others);
        let news = match others.filter_map(PollFd::any).any(|said| said) {
            true => News::Any,
            false => News::OfEgress,
        };
        let over = |deadline: Option<Instant>| deadline.is_some_and(|at| Instant::now() >= at);
        if over(self.settles) {
            self.settles = None;
            memory::give_back_unused();
        }
        if over(self.deadline) {
            self.time_is_over();
        }
        Ok(news)
    }

    fn time_is_over(&mut self) {
        if self.timed_out {
            info!("killing after the time limit");
            self.deadline = None;
            self.send(libc::SIGKILL);
            return;
        }
        info!("the time limit is over");
        self.timed_out = true;
        self.deadline = Instant::now().checked_add(self.kill_after);
        self.send(libc::SIGTERM);
        // A stopped command would not see it.
        self.resume(Stop::Any);
    }

    fn send(&self, signal: i32) {
        // The sandbox may be gone already: then there is nobody to tell.
        let _ = parent::pidfd_send_signal(self.spawned.pidfd.as_fd(), signal);
    }

    fn take_signals(&mut self) {
        while let Ok(Some(information)) = self.signals.read_signal() {
            self.take_signal(&information);
        }
    }

    fn take_signal(&mut self, information: &siginfo) {
        let Some(signal) = i32::try_from(information.ssi_signo)
            .ok()
            .and_then(|number| Signal::try_from(number).ok())
        else {
            return;
        };
        let typed = information.ssi_code == libc::SI_KERNEL;
        if signal == Signal::SIGTSTP && typed {
            self.stop_typed = true;
        }
        if signal == Signal::SIGCONT {
            self.resumed = true;
        }
        // Of a hang-up the kernel tells the session's leader alone, which the launcher may be.
        let had = typed && signal != Signal::SIGHUP && !self.own_session;
        if had || !FORWARDED.contains(&signal) {
            return;
        }
        debug!(signal = signal.as_str(), "forwarded");
        self.send(signal as i32);
    }

    fn take_reports(&mut self) {
        let Some(status) = &self.spawned.status else {
            return;
        };
        let mut stopped = None;
        while let Heard::Record(record) = init::hear(status.as_fd(), MsgFlags::empty()) {
            match record {
                Record::Ended(status) => self.ended = Some(status),
                Record::Stopped(status) => {
                    self.stops = self.stops.wrapping_add(1);
                    stopped = Some(libc::WSTOPSIG(status));
                }
                Record::Failed(errno) => info!(%errno, "the sandbox's init failed"),
            }
        }
        if let Some(signal) = stopped.filter(|_| self.ended.is_none()) {
            self.stop(signal);
        }
    }

    /// The command was stopped: stop as well, as a job of a shell does, and let both go on together.
    fn stop(&mut self, signal: i32) {
        let asked = std::mem::take(&mut self.stop_typed);
        if self.terminal.is_none() || (self.deadline.is_some() && !asked) {
            return;
        }
        debug!(signal, "stopping with the command");
        let holder = self.terminal.as_ref().and_then(Terminal::holder);
        // SIGSTOP, not the same signal: ours are all blocked, and a shell treats both alike.
        let _ = kill(getpid(), Signal::SIGSTOP);
        // Continued, in the foreground or in the background.
        if let Some(terminal) = &self.terminal {
            terminal.note_foreground();
            terminal.hand_over(holder);
        }
        self.resume(Stop::Number(self.stops));
    }

    /// Let the command go on from `stop`.
    fn resume(&self, stop: Stop) {
        match &self.spawned.status {
            Some(status) => init::resume(status.as_fd(), stop),
            None => self.send(libc::SIGCONT),
        }
    }

    /// The first process's wait status once all of the sandbox is gone.
    fn gone(&self) -> Result<Option<i32>> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::__WALL;
        wait_status(self.spawned.pidfd.as_fd(), flags)
    }
}

/// waitid(2) on a pidfd, as a wait(2) status; `None` while it runs.
pub(crate) fn wait_status(pidfd: BorrowedFd<'_>, flags: WaitPidFlag) -> Result<Option<i32>> {
    loop {
        return match waitid(Id::PIDFd(pidfd), flags) {
            Ok(WaitStatus::Exited(_, code)) => Ok(Some((code & 0xff) << 8)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ok(Some(signal as i32)),
            Ok(_) => Ok(None),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(Error::host("wait for", "the sandbox", errno)),
        };
    }
}

/// The controlling terminal, whose foreground process group a command may change.
pub(crate) struct Terminal {
    file: File,
    foreground: std::cell::Cell<Option<Pid>>,
}

impl Terminal {
    /// The terminal, if there is one; before the launch, for a shell takes it at once.
    pub(crate) fn open() -> Option<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()?;
        let terminal = Self {
            file,
            foreground: std::cell::Cell::new(None),
        };
        terminal.note_foreground();
        Some(terminal)
    }

    fn note_foreground(&self) {
        self.foreground.set(
            tcgetpgrp(&self.file)
                .ok()
                .filter(|&group| group == getpgrp()),
        );
    }

    /// The group that has the terminal, if it is one that the command has made.
    fn holder(&self) -> Option<Pid> {
        self.foreground.get()?;
        tcgetpgrp(&self.file)
            .ok()
            .filter(|&group| group != getpgrp())
    }

    /// Let `holder` have the terminal again, if it is ours to give: a shell inside is a group of its
    /// own, of which the shell that has resumed us knows nothing.
    fn hand_over(&self, holder: Option<Pid>) {
        if let Some(holder) = holder.filter(|_| self.foreground.get().is_some()) {
            let _ = tcsetpgrp(&self.file, holder);
        }
    }

    /// Give the terminal back to our own group, if it was ours and is another's now. SIGTTOU, which
    /// that would raise in the background, is blocked.
    fn take_back(&self) {
        if let Some(ours) = self.foreground.get()
            && tcgetpgrp(&self.file) != Ok(ours)
        {
            let _ = tcsetpgrp(&self.file, ours);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_is_read_as_the_manual_says() {
        assert_eq!(Ending::from_wait_status(0), Ending::Exited(0));
        assert_eq!(Ending::from_wait_status(255 << 8), Ending::Exited(255));
        assert_eq!(Ending::from_wait_status(9), Ending::Killed(9));
        assert_eq!(Ending::from_wait_status(31 | 0x80), Ending::Killed(31));
    }
}
