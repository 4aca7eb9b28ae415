//! What happened, as JSON lines for programs: `--events FILE|fd:N`.
//!
//! Written by the launcher alone. Every line is one object with `time` (seconds since 1970, UTC),
//! `event`, and the fields of that event; fields may be added, never renamed. `docs/events.md` lists
//! them.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::RawFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::{Value, json};
use tracing::warn;

use crate::error::{self, Error, Result};
use crate::plan::{Plan, errno_of};
use crate::printable::page;
use crate::request::EventTarget;
use crate::supervise::Ending;
use crate::sys::parent;
use crate::{dry_run, exit};

/// A descriptor of the caller's, which can be written to.
fn descriptor(number: RawFd) -> Result<File> {
    let failed = |errno| Error::host("write events to descriptor", number.to_string(), errno);
    let own = parent::duplicate(number).map_err(failed)?;
    let flags = fcntl(&own, FcntlArg::F_GETFL).map_err(failed)?;
    if OFlag::from_bits_retain(flags) & OFlag::O_ACCMODE == OFlag::O_RDONLY {
        return Err(failed(Errno::EBADF).with_hint(Some(format!(
            "it is open for reading only; open it for writing, as in '{number}>file'"
        ))));
    }
    Ok(File::from(own))
}

/// Where events go, opened before anything runs.
#[derive(Debug, Default)]
pub(crate) struct Events {
    file: Option<File>,
    /// It was said that some cannot be written.
    lost: bool,
}

impl Events {
    /// Open the target.
    ///
    /// # Errors
    /// When it cannot be opened: events were asked for.
    pub(crate) fn open(target: Option<&EventTarget>) -> Result<Self> {
        let file = match target {
            None => None,
            Some(EventTarget::File(path)) => Some(
                File::options()
                    .append(true)
                    .create(true)
                    .open(path)
                    .map_err(|error| {
                        Error::host(
                            "open the event file",
                            path.display().to_string(),
                            errno_of(&error),
                        )
                    })?,
            ),
            Some(EventTarget::Descriptor(number)) => Some(descriptor(*number)?),
        };
        Ok(Self { file, lost: false })
    }

    /// The same target again, for who tells besides.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn again(&self) -> Result<Self> {
        let copy = self.file.as_ref().map(File::try_clone).transpose();
        copy.map(|file| Self {
            file,
            lost: self.lost,
        })
        .map_err(|error| Error::host("write events", "", errno_of(&error)))
    }

    /// Whether anybody reads them.
    pub(crate) fn are_read(&self) -> bool {
        self.file.is_some()
    }

    /// The sandbox is up and its command runs.
    pub(crate) fn started(&mut self, plan: &Plan, pid: i32) {
        self.write(
            "start",
            || json!({ "pid": pid, "plan": dry_run::json(plan) }),
        );
    }

    /// Nothing was run.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.write("error", || {
            json!({
                "step": error.failed_step().map(|step| format!("{step:?}")),
                "message": error.to_string(),
                "reason": error::causes(error),
                "hint": error.hint(),
                "status": error.exit_status(),
            })
        });
    }

    /// The command did what its system-call filter answers with death. Which call it was, the kernel
    /// tells its log alone.
    pub(crate) fn killed_by_filter(&mut self, plan: &Plan) {
        self.write(
            "refused",
            || json!({ "by": "filter", "profile": plan.profile, "verdict": "kill" }),
        );
    }

    /// The command has ended.
    pub(crate) fn ended(&mut self, ending: Ending, status: u8, took: Duration) {
        self.write("exit", || {
            let signal = match ending {
                Ending::Killed(signal) => Some(signal),
                _ => None,
            };
            json!({
                "status": status,
                "signal": signal,
                "timed_out": ending == Ending::TimedOut,
                "killed_by_filter": signal == Some(libc::SIGSYS),
                "seconds": took.as_secs_f64(),
            })
        });
    }

    /// One line; `fields` is asked for an object only if somebody listens.
    pub(crate) fn write(&mut self, event: &str, fields: impl FnOnce() -> Value) {
        let Some(file) = &mut self.file else {
            return;
        };
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut line = json!({ "time": time.as_secs_f64(), "event": event });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields()) {
            line.extend(fields);
        }
        // One write a line, so that lines of several launchers do not mix.
        let written = file.write_all(page(&format!("{line}\n")).as_bytes());
        // A reader that went away, or a full disk, is no reason to end the command. Who went away knows;
        // whoever reads a file later would take it for the whole.
        if let Err(error) = written
            && error.kind() != ErrorKind::BrokenPipe
            && !self.lost
        {
            self.lost = true;
            warn!(reason = %errno_of(&error).desc(), "events are lost: they cannot be written");
        }
    }
}

/// The exit status for `ending`.
pub(crate) fn status(ending: Ending) -> u8 {
    match ending {
        Ending::Exited(code) => code,
        Ending::Killed(signal) => exit::for_signal(signal),
        Ending::TimedOut => exit::TIMED_OUT,
    }
}
