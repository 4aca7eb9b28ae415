//! What the broker tells: events as JSON lines for programs, and a line on standard error for people
//! where something is wrong.
//!
//! In the broker's loop only. Every connection that was accepted ends in exactly one `closed`; a peer's
//! address is written as the kernel gave it, escaped.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde_json::{Value, json};
use tracing::{info, warn};

use super::limit::{Pause, Word};
use super::tally::Why;
use crate::error::{Error, Result};
use crate::event::Events;
use crate::request::EventTarget;

/// How a sandbox ended, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its command ended with this wait(2) status, as its init says.
    Command(i32),
    /// It was killed, or its init was.
    Killed,
}

impl Ending {
    fn status(self) -> Option<i32> {
        match self {
            Self::Command(status) if libc::WIFEXITED(status) => Some(libc::WEXITSTATUS(status)),
            _ => None,
        }
    }

    fn signal(self) -> Option<i32> {
        match self {
            Self::Command(status) if libc::WIFSIGNALED(status) => Some(libc::WTERMSIG(status)),
            Self::Command(_) => None,
            Self::Killed => Some(libc::SIGKILL),
        }
    }

    /// For people.
    pub(crate) fn words(self) -> String {
        match (self.status(), self.signal()) {
            (Some(status), _) => format!("exit status {status}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "for no known reason".to_owned(),
        }
    }
}

/// A connection as events tell of it.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) listener: &'a str,
    pub(crate) peer: &'a dyn std::fmt::Display,
}

/// Where it is told.
#[derive(Debug, Default)]
pub(crate) struct Journal(Events);

impl Journal {
    /// Open the target.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(target: Option<&EventTarget>) -> Result<Self> {
        Events::open(target).map(Self)
    }

    /// Nothing was served, or no more is.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.0.failed(error);
    }

    pub(crate) fn listening(&mut self, name: &str, address: &str) {
        info!(name, address, "listening");
        self.0.write(
            "listening",
            || json!({ "listener": name, "address": address }),
        );
    }

    /// As many workers as are wanted are ready.
    pub(crate) fn ready(&mut self, workers: usize) {
        info!(workers, "ready");
        self.0.write("ready", || json!({ "workers": workers }));
    }

    pub(crate) fn worker_started(&mut self, worker: u64, pid: i32) {
        info!(worker, pid, "a worker was started");
        self.0
            .write("worker-started", || json!({ "worker": worker, "pid": pid }));
    }

    pub(crate) fn worker_ended(&mut self, worker: u64, ending: Ending, took: Duration) {
        self.0.write("worker-ended", || {
            json!({
                "worker": worker,
                "status": ending.status(),
                "signal": ending.signal(),
                "killed_by_filter": ending.signal() == Some(libc::SIGSYS),
                "seconds": took.as_secs_f64(),
            })
        });
        if ending.signal() == Some(libc::SIGSYS) {
            self.0.write(
                "worker-refused",
                || json!({ "worker": worker, "by": "filter", "verdict": "kill" }),
            );
        }
    }

    /// A worker that was not told to end has ended; another takes its place after `pause`.
    pub(crate) fn worker_replaced(&mut self, worker: u64, ending: Ending, pause: Duration) {
        let ending = ending.words();
        let pause = pause.as_secs_f64();
        warn!(worker, ending, pause, "a worker ended and is replaced");
    }

    /// A worker did what ends the broker's trust in it.
    pub(crate) fn cut_off(&mut self, worker: u64, reason: &str) {
        warn!(worker, reason, "a worker was cut off");
        self.0.write(
            "worker-cut-off",
            || json!({ "worker": worker, "reason": reason }),
        );
    }

    pub(crate) fn launch_failed(&mut self, worker: u64, message: &str) {
        warn!(worker, reason = message, "a sandbox could not be launched");
        self.0.write(
            "launch-failed",
            || json!({ "worker": worker, "message": message }),
        );
    }

    pub(crate) fn accepted(&mut self, id: u64, told: Told<'_>) {
        self.0.write(
            "accepted",
            || json!({ "id": id, "listener": told.listener, "peer": told.peer.to_string() }),
        );
    }

    pub(crate) fn handed_over(&mut self, id: u64, worker: u64) {
        self.0
            .write("handed-over", || json!({ "id": id, "worker": worker }));
    }

    pub(crate) fn refused(&mut self, told: Told<'_>, limit: &str) {
        self.0.write("refused", || {
            json!({
                "listener": told.listener,
                "peer": told.peer.to_string(),
                "limit": limit,
            })
        });
    }

    pub(crate) fn closed(&mut self, id: u64, why: Why, detail: Option<&str>, took: Duration) {
        self.0.write("closed", || {
            let mut fields = json!({
                "id": id,
                "why": why.word(),
                "seconds": took.as_secs_f64(),
            });
            if let (Value::Object(fields), Some(detail)) = (&mut fields, detail) {
                fields.insert("detail".to_owned(), detail.into());
            }
            fields
        });
    }

    pub(crate) fn returned(&mut self, id: u64, worker: u64) {
        self.0
            .write("returned", || json!({ "id": id, "worker": worker }));
    }

    /// Accepting pauses or goes on.
    pub(crate) fn gate(&mut self, word: Word) {
        match word {
            Word::Paused(pause) => {
                match pause {
                    Pause::Descriptors | Pause::Launches => {
                        warn!(reason = pause.word(), "accepting is paused");
                    }
                    Pause::Workers | Pause::Connections => {
                        info!(reason = pause.word(), "accepting is paused");
                    }
                }
                self.0.write("paused", || json!({ "reason": pause.word() }));
            }
            Word::Resumed(pause, took) => {
                info!(reason = pause.word(), "accepting goes on");
                self.0.write(
                    "resumed",
                    || json!({ "reason": pause.word(), "seconds": took.as_secs_f64() }),
                );
            }
        }
    }

    pub(crate) fn reloaded(&mut self) {
        info!("the policy was read anew; workers are replaced");
        self.0.write("reloaded", || json!({}));
    }

    pub(crate) fn reload_failed(&mut self, message: &str) {
        warn!(
            reason = message,
            "the policy was not reloaded: the old one stays"
        );
        self.0
            .write("reload-failed", || json!({ "message": message }));
    }

    pub(crate) fn draining(&mut self, signal: &str, open: usize) {
        info!(signal, open, "no more is accepted");
        self.0
            .write("draining", || json!({ "signal": signal, "open": open }));
    }

    pub(crate) fn stopped(&mut self, status: u8) {
        info!(status, "all is over");
        self.0.write("stopped", || json!({ "status": status }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_a_status_or_a_signal() {
        let table = [
            (Ending::Command(0), Some(0), None, "exit status 0"),
            (Ending::Command(3 << 8), Some(3), None, "exit status 3"),
            (Ending::Command(15), None, Some(15), "signal 15"),
            (Ending::Killed, None, Some(9), "signal 9"),
        ];
        for (ending, status, signal, words) in table {
            assert_eq!((ending.status(), ending.signal()), (status, signal));
            assert_eq!(ending.words(), words);
        }
    }
}
