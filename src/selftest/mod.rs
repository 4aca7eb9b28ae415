//! The known escapes, tried inside a sandbox made with the given options.
//!
//! This process sets up what the attempts aim at ([`outside`]), looks for what they left behind
//! afterwards, and prints the table. Two children of it, forked before any thread is started, make
//! the attempts: one launches the sandbox with the given policy, the other, as the control, no
//! sandbox. The command is this program again both times ([`runner`]), which reports over its
//! standard output.
//!
//! An attempt is HELD, OPEN or SKIPPED. One that is open though the policy rules it out fails the
//! selftest. A held one proves little unless its control was open: `--json` shows both.

mod attempt;
mod network;
mod outside;
mod privilege;
mod processes;
mod promise;
mod report;
mod runner;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use self::attempt::{Act, Attempt, Outcome, Trace};
use self::outside::{Place, Stage, survivors};
use self::report::Finding;
use self::runner::Line;
use crate::error::{Error, Result};
use crate::exit;
use crate::log::LogFormat;
use crate::policy::Policy;
use crate::request::Request;
use crate::sys::attempt as sys;

pub use runner::hidden;

/// The status when something is open that the policy rules out.
const OPEN: u8 = 1;

/// What became of each attempt, by name.
type Outcomes = BTreeMap<String, Outcome>;

/// Run every attempt inside such a sandbox and print HELD or OPEN for each; the status to exit with:
/// 0, 1 when anything that the policy rules out is open, or the launcher's own where it failed.
///
/// Must be called from a single-threaded process, which it forks; the program of that process must be
/// `sandbox` itself, since it is started again inside (see [`hidden`]).
///
/// # Errors
/// When what the attempts aim at cannot be set up, or the sandbox gave no results.
pub fn main(policy: &Policy, request: &Request, json: bool) -> Result<u8> {
    let program = std::env::current_exe().map_err(|error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Error::host("find this program's own file", "", errno)
    })?;
    crate::log::leave_refusals_out();
    let mut stage = Stage::set_up(&program)?;
    let launched = Half::begin(&mut stage, Place::Inside, |command| {
        let request = Request {
            command,
            ..request.clone()
        };
        crate::run::run(policy, &request).unwrap_or_else(|error| {
            crate::log::report(&error, LogFormat::Text);
            error.exit_status()
        })
    })?;
    let control = Half::begin(&mut stage, Place::Control, make_outside)?;
    stage.serve();

    let token = &stage.outside.token;
    let mut inside = match launched.finish()? {
        Ok(outcomes) => outcomes,
        Err(status) => return Ok(status),
    };
    look_for_survivors(&mut inside, token);
    let mut control = control.finish()?.unwrap_or_default();
    look_for_survivors(&mut control, token);

    let missing = || Outcome::skipped("no result came out of the sandbox");
    let findings: Vec<Finding> = attempt::all()
        .into_iter()
        .map(|attempt: Attempt| Finding {
            inside: inside.remove(&*attempt.name).unwrap_or_else(missing),
            control: control.remove(&*attempt.name).unwrap_or_else(missing),
            promised: attempt.promised(policy),
            attempt,
        })
        .collect();
    report::print(&findings, json)?;
    let broken = findings.iter().any(Finding::is_broken);
    Ok(if broken { OPEN } else { 0 })
}

/// The attempts at one place, under way in a child of this process.
struct Half {
    pid: Pid,
    output: OwnedFd,
    /// Written to, to let it begin. Its brother may have a copy, so closing it tells nothing.
    start: OwnedFd,
}

impl Half {
    /// Fork the child, which waits to be let go and then makes the attempts by `launch`, given the
    /// command that does so; its status is the child's. Nothing may have started a thread yet.
    ///
    /// The child has a session of its own, so that a signal to the launcher's process group reaches
    /// it alone, and the child tells whether it came.
    fn begin(
        stage: &mut Stage,
        place: Place,
        launch: impl FnOnce(Vec<OsString>) -> u8,
    ) -> Result<Self> {
        let cannot = |errno| Error::host("start the launcher", "", errno);
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(cannot)?;
        let (wait, start) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(cannot)?;
        let program = stage.program.clone().into_os_string();
        let child = || -> std::result::Result<u8, Errno> {
            nix::unistd::setsid()?;
            let signals = catch_signal()?;
            nix::unistd::dup2_stdout(&writer)?;
            // A parent that ends without a word wants no attempts.
            if read_retrying(&wait)? == 0 {
                return Ok(exit::LAUNCHER_FAILED);
            }
            stage.outside.launcher = std::process::id().cast_signed();
            let described = stage.described(place);
            let status = launch(vec![program, "__attempts".into(), described.into()]);
            if let Some(evidence) = signal_arrived(&signals) {
                tell(Trace::Signal, &evidence);
            }
            Ok(status)
        };
        let start = std::cell::RefCell::new(Some(start));
        let pid = sys::fork(|| {
            drop(start.take());
            child().unwrap_or(exit::LAUNCHER_FAILED).into()
        })
        .map_err(cannot)?;
        let start = start
            .take()
            .expect("only the child has taken it, in its own memory");
        Ok(Self {
            pid,
            output: reader,
            start,
        })
    }

    /// Let it begin, and wait for what came out; the status of a launch that failed.
    fn finish(self) -> Result<std::result::Result<Outcomes, u8>> {
        nix::unistd::write(&self.start, &[1])
            .map_err(|errno| Error::host("start the launcher", "", errno))?;
        let outcomes = parse_lines(BufReader::new(File::from(self.output)));
        let status = match waitpid(self.pid, None) {
            Ok(WaitStatus::Exited(_, status)) => {
                u8::try_from(status).unwrap_or(exit::LAUNCHER_FAILED)
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => exit::for_signal(signal as i32),
            Ok(_) | Err(_) => exit::LAUNCHER_FAILED,
        };
        if !outcomes.is_empty() {
            return Ok(Ok(outcomes));
        }
        if status == exit::LAUNCHER_FAILED {
            return Ok(Err(status));
        }
        Err(Error::usage(
            "selftest",
            format!("no attempt was made (status {status}): the policy hides this program's file"),
        ))
    }
}

fn read_retrying(from: &OwnedFd) -> std::result::Result<usize, Errno> {
    loop {
        match nix::unistd::read(from, &mut [0]) {
            Err(Errno::EINTR) => (),
            result => return result,
        }
    }
}

/// Make every attempt outside, by the same program in the same way.
fn make_outside(command: Vec<OsString>) -> u8 {
    let Some((program, arguments)) = command.split_first() else {
        return exit::LAUNCHER_FAILED;
    };
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let code = status.ok().and_then(|status| status.code());
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(exit::LAUNCHER_FAILED)
}

/// Add a line for each attempt that leaves `trace`, which was found: the last word on it counts.
fn tell(trace: Trace, evidence: &str) {
    let mut output = std::io::stdout();
    for attempt in leaving(trace) {
        let line = Line {
            name: attempt.name.into_owned(),
            outcome: Outcome::open(evidence),
        };
        // After whatever stands on an unfinished line. A lost line shows as the attempt's own word.
        let text = serde_json::to_string(&line).unwrap_or_default();
        let _ = writeln!(output, "\n{text}");
    }
}

/// The attempts that leave `trace` where they work.
fn leaving(trace: Trace) -> impl Iterator<Item = Attempt> {
    let leaves =
        move |attempt: &Attempt| matches!(attempt.act, Act::Leave(_, left) if left == trace);
    attempt::all().into_iter().filter(leaves)
}

/// Lines from an untrusted place: what is no result is left out, and then shows as missing.
fn parse_lines(input: impl BufRead) -> Outcomes {
    let lines = input.lines().map_while(std::result::Result::ok);
    lines
        .filter_map(|line| serde_json::from_str::<Line>(&line).ok())
        .map(|line| (line.name, line.outcome))
        .collect()
}

/// Block the signal that an attempt sends to process groups, so that it can be seen to have arrived.
/// SIGURG, because it hurts nobody who gets it by mistake: it is ignored by default.
fn catch_signal() -> std::result::Result<SignalFd, Errno> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGURG);
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

fn signal_arrived(signals: &SignalFd) -> Option<String> {
    let arrived = signals.read_signal().ok().flatten()?;
    Some(format!("SIGURG from process {}", arrived.ssi_pid))
}

/// Open the attempts to outlive the sandbox where something did. It is ended here.
fn look_for_survivors(outcomes: &mut Outcomes, token: &str) {
    // Outside, the attempts' own processes may be on their way out still: those are no survivors.
    let deadline = Instant::now() + Duration::from_millis(500);
    let mut found = survivors(token);
    while !found.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        found = survivors(token);
    }
    if found.is_empty() {
        return;
    }
    for &pid in &found {
        // Gone in between: then it needs no end.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    for attempt in leaving(Trace::Survivor) {
        let evidence = format!("process {found:?}");
        outcomes.insert(attempt.name.into_owned(), Outcome::open(evidence));
    }
}
