//! The inside half: makes the attempts, each in a process of its own, and prints what became of them.
//!
//! Runs as the sandbox's command (`sandbox __attempts JSON`), and once outside as the control. It is
//! a single thread, so that it may fork. An attempt that the filter kills is one that was held.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, waitpid};
use serde::{Deserialize, Serialize};

use super::attempt::{self, Attempt, Outcome};
use super::outside::{Outside, be_victim};
use crate::exit;
use crate::sys::attempt as sys;

/// How long one attempt may take, in seconds; then SIGALRM ends it.
const PATIENCE: u32 = 10;

/// One attempt's line on standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// The attempt's name.
    pub(super) name: String,
    /// What became of it.
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// The parts that the program plays for its own selftest, none of which is for people:
/// `__attempts JSON`, `__attempt NAME JSON` and `__victim`. `None` for every other command line.
pub fn hidden(argv: &[std::ffi::OsString]) -> Option<u8> {
    let words: Vec<&str> = argv
        .get(1..)?
        .iter()
        .map_while(|word| word.to_str())
        .collect();
    match words.as_slice() {
        ["__victim"] => Some(be_victim()),
        ["__attempts", json] => Some(run_all(json, |_| true)),
        ["__attempt", name, json] => Some(run_all(json, |attempt| attempt.name == *name)),
        _ => None,
    }
}

fn run_all(json: &str, wanted: impl Fn(&Attempt) -> bool) -> u8 {
    let surplus = sys::open_descriptors();
    let Ok(outside) = serde_json::from_str::<Outside>(json) else {
        return exit::LAUNCHER_FAILED;
    };
    let outside = Outside { surplus, ..outside };
    let mut output = std::io::stdout();
    let mut ran = 0_u32;
    for attempt in attempt::all().iter().filter(|attempt| wanted(attempt)) {
        let line = Line {
            name: attempt.name.clone().into_owned(),
            outcome: isolate(attempt, &outside),
        };
        let text = serde_json::to_string(&line).unwrap_or_default();
        if writeln!(output, "{text}").is_err() {
            return exit::LAUNCHER_FAILED;
        }
        ran += 1;
    }
    if ran == 0 { exit::LAUNCHER_FAILED } else { 0 }
}

/// Make `attempt` in a process of its own.
fn isolate(attempt: &Attempt, outside: &Outside) -> Outcome {
    let (reader, writer) = match nix::unistd::pipe() {
        Ok(pipe) => pipe,
        Err(errno) => return Outcome::skipped(format!("no pipe: {errno:?}")),
    };
    let forked = sys::fork(|| {
        nix::unistd::alarm::set(PATIENCE);
        // An accomplice that hangs up is an errno, not this process's end.
        let mut broken_pipe = SigSet::empty();
        broken_pipe.add(Signal::SIGPIPE);
        let _ = broken_pipe.thread_block();
        let outcome = attempt.run(outside);
        let text = serde_json::to_string(&outcome).unwrap_or_default();
        // One write below PIPE_BUF; a lost one shows as an attempt without a result.
        let written = File::from(writer).write_all(format!("{text}\n").as_bytes());
        i32::from(written.is_err())
    });
    let pid = match forked {
        Ok(pid) => pid,
        Err(errno) => return Outcome::skipped(format!("no process: {errno:?}")),
    };
    let result = read_result(reader);
    match (result, waitpid(pid, None)) {
        (Some(outcome), _) => outcome,
        (None, Ok(WaitStatus::Signaled(_, Signal::SIGSYS, _))) => {
            Outcome::held("killed by the filter")
        }
        (None, Ok(WaitStatus::Signaled(_, Signal::SIGALRM, _))) => {
            Outcome::skipped(format!("no result within {PATIENCE} s"))
        }
        (None, Ok(WaitStatus::Signaled(_, signal, _))) => {
            Outcome::held(format!("killed by {signal}"))
        }
        (None, ended) => Outcome::skipped(format!("no result: {ended:?}")),
    }
}

fn read_result(reader: OwnedFd) -> Option<Outcome> {
    let mut line = String::new();
    BufReader::new(File::from(reader))
        .read_line(&mut line)
        .ok()?;
    serde_json::from_str(&line).ok()
}
