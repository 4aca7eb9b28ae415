//! The known escapes, tried inside a sandbox made with the given options.
//!
//! Three processes. This one sets up what the attempts aim at ([`outside`]), makes every attempt
//! outside first, as the control, and prints the table. A child of it, forked before any thread is
//! started, launches the sandbox with the given policy. The command in it is this program again
//! ([`runner`]), which makes the attempts there and reports over its standard output.
//!
//! An attempt is HELD, OPEN or SKIPPED. One that is open though the policy rules it out fails the
//! selftest. A held one proves little unless its control was open: `--json` shows both.

mod attempt;
#[path = "../sys/attempt.rs"]
mod calls;
mod network;
mod outside;
mod privilege;
mod processes;
mod promise;
mod report;
mod runner;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use self::attempt::{Act, Attempt, Outcome, Trace};
use self::calls as sys;
use self::outside::{Place, Stage, survivors};
use self::report::Finding;
use self::runner::Line;
use crate::error::{Error, Result};
use crate::exit;
use crate::log::LogFormat;
use crate::policy::Policy;
use crate::request::Request;

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
    let signals = catch_signal()?;
    let mut stage = Stage::set_up(&program)?;
    let launched = Launch::begin(policy, request, &program, &mut stage)?;
    stage.serve();

    let mut inside = match launched.results()? {
        Ok(outcomes) => outcomes,
        Err(status) => return Ok(status),
    };
    let token = &stage.outside.token;
    observe(&mut inside, Trace::Signal, || signal_arrived(&signals));
    observe(&mut inside, Trace::Survivor, || survivor(token));
    let mut control = control(&program, &stage)?;
    observe(&mut control, Trace::Signal, || signal_arrived(&signals));
    observe(&mut control, Trace::Survivor, || survivor(token));

    let missing = || Outcome::skipped("no result came out of the sandbox");
    let findings: Vec<Finding> = attempt::all()
        .into_iter()
        .map(|attempt: Attempt| Finding {
            inside: inside.remove(&*attempt.name).unwrap_or_else(missing),
            control: control.remove(&*attempt.name).unwrap_or_else(missing),
            promised: (attempt.promise)(policy),
            attempt,
        })
        .collect();
    report::print(&findings, json)?;
    let broken = findings.iter().any(Finding::is_broken);
    Ok(if broken { OPEN } else { 0 })
}

/// A launch under way in a child of this process.
struct Launch {
    pid: Pid,
    output: OwnedFd,
}

impl Launch {
    /// Fork the launcher. It is told of the stage as it is now; nothing may have started a thread.
    fn begin(
        policy: &Policy,
        request: &Request,
        program: &Path,
        stage: &mut Stage,
    ) -> Result<Self> {
        let cannot = |errno| Error::host("start the launcher", "", errno);
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(cannot)?;
        let pid = sys::fork(|| {
            stage.outside.launcher = std::process::id().cast_signed();
            if nix::unistd::dup2_stdout(&writer).is_err() {
                return exit::LAUNCHER_FAILED.into();
            }
            let described = stage.described(Place::Inside);
            let command = [
                program.as_os_str().to_owned(),
                "__attempts".into(),
                described.into(),
            ];
            let request = Request {
                command: command.into(),
                ..request.clone()
            };
            match crate::run::run(policy, &request) {
                Ok(status) => status.into(),
                Err(error) => {
                    crate::log::report(&error, LogFormat::Text);
                    error.exit_status().into()
                }
            }
        })
        .map_err(cannot)?;
        drop(writer);
        Ok(Self {
            pid,
            output: reader,
        })
    }

    /// What came out of the sandbox, or the status of a launch that failed.
    fn results(self) -> Result<std::result::Result<Outcomes, u8>> {
        let outcomes = parse_lines(BufReader::new(File::from(self.output)));
        let status = match waitpid(self.pid, None) {
            Ok(WaitStatus::Exited(_, status)) => {
                u8::try_from(status).unwrap_or(exit::LAUNCHER_FAILED)
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => exit::for_signal(signal as i32),
            Ok(_) | Err(_) => exit::LAUNCHER_FAILED,
        };
        if status == exit::LAUNCHER_FAILED && outcomes.is_empty() {
            return Ok(Err(status));
        }
        if outcomes.is_empty() {
            return Err(Error::usage(
                "selftest",
                format!(
                    "no attempt was made (status {status}); this program must be visible inside"
                ),
            ));
        }
        Ok(Ok(outcomes))
    }
}

/// Make every attempt outside, by the same program in the same way.
fn control(program: &Path, stage: &Stage) -> Result<Outcomes> {
    let output = Command::new(program)
        .arg("__attempts")
        .arg(stage.described(Place::Control))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            Error::host("make the attempts outside", "", errno)
        })?;
    Ok(parse_lines(BufReader::new(output.stdout.as_slice())))
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
fn catch_signal() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGURG);
    set.thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC))
        .map_err(|errno| Error::host("watch for a signal", "", errno))
}

fn signal_arrived(signals: &SignalFd) -> Option<String> {
    let arrived = signals.read_signal().ok().flatten()?;
    Some(format!("SIGURG from process {}", arrived.ssi_pid))
}

/// Whether anything of the sandbox lives on. It is ended here.
fn survivor(token: &str) -> Option<String> {
    // The attempts' own processes may be on their way out still: those are no survivors.
    let mut found = survivors(token);
    for _ in 0..50 {
        if found.is_empty() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
        found = survivors(token);
    }
    for &pid in &found {
        // Gone in between: then it needs no end.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    Some(format!("process {found:?}"))
}

/// Open every attempt that leaves `trace`, where it is found. The attempt itself could not tell.
fn observe(outcomes: &mut Outcomes, trace: Trace, find: impl FnOnce() -> Option<String>) {
    let Some(evidence) = find() else {
        return;
    };
    for attempt in attempt::all() {
        if matches!(attempt.act, Act::Leave(_, left) if left == trace) {
            outcomes.insert(attempt.name.into_owned(), Outcome::open(evidence.clone()));
        }
    }
}
