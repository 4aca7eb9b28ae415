//! What the thread that connects does besides, where it is learned what a command reaches.
#![forbid(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::path::Path;

use super::task::process_of;
use super::{Answer, Work};
use crate::egress::call::{self, Call};
use crate::egress::destination::Protocol;
use crate::egress::direct::{self, Wanted};
use crate::egress::unix;
use crate::egress::who::Who;
use crate::filter::{Fate, verdict_of};
use crate::sys::notify;

impl Work {
    /// Have somebody listen where `call` is about to connect to, if that is to be learned.
    pub(super) fn learns(&self, call: &Call, socket: BorrowedFd<'_>, bytes: &[u8]) -> bool {
        let Some(counter) = self.counter.as_ref().filter(|_| self.journal.learns()) else {
            return false;
        };
        let asked = call::internet_address(bytes).filter(|it| !direct::is_own(it.ip()));
        let protocol = match notify::socket_number(socket, libc::SO_TYPE) {
            Ok(libc::SOCK_STREAM) => Protocol::Tcp,
            Ok(libc::SOCK_DGRAM) => Protocol::Udp,
            _ => return false,
        };
        let Some(asked) = asked else {
            return false;
        };
        counter.order(Wanted::Way {
            id: call.id,
            protocol,
            asked,
            who: process_of(call.task).map(Who::of),
        })
    }

    /// What is to be said to a call beyond the profile; `None` for any other.
    pub(super) fn beyond(&self, call: &Call) -> Option<Answer> {
        let beyond = self.beyond.as_ref()?;
        // What is told under the profile anyway is decided by whoever is told.
        let under = match self.calls.contain(call.number) {
            true => crate::filter::Verdict::Allow,
            false => verdict_of(&self.under, call.number, &call.arguments),
        };
        let (name, fate) = beyond.judge(call.number, &call.arguments, under)?;
        let user = executable_of(call.task);
        Some(match fate {
            Fate::GoesOn => {
                self.journal.learn_call(name, user.as_deref());
                Answer::GoesOn
            }
            Fate::Refused(errno, reason) => {
                self.journal
                    .learn_refused_call(name, &reason, user.as_deref());
                match errno {
                    0 => Answer::Value(0),
                    errno => Answer::Fails(errno),
                }
            }
        })
    }

    /// `file` is connected to. Keep it where it is a socket of the host's.
    pub(super) fn learn_socket(&self, call: &Call, file: BorrowedFd<'_>, asked: &[u8]) {
        if self.journal.learns() && !self.sockets.is_own(file) {
            let path = unix::path_of(file, asked).to_string_lossy().into_owned();
            let user = executable_of(call.task);
            self.journal.learn_socket(path, user.as_deref());
        }
    }

    /// What is at `path` is not connected to.
    pub(super) fn learn_closed(&self, call: &Call, path: &Path, reason: &str) {
        if self.journal.learns() {
            let path = path.to_string_lossy().into_owned();
            let user = executable_of(call.task);
            self.journal.learn_closed(path, reason, user.as_deref());
        }
    }

    /// Nothing is at `path` inside. Keep it where the host has a socket there, which the mounts cover.
    pub(super) fn learn_covered(&self, call: &Call, path: &[u8]) {
        if !self.journal.learns() || path.first() != Some(&b'/') {
            return;
        }
        if unix::host_has_socket(path) {
            let user = executable_of(call.task);
            let path = String::from_utf8_lossy(path).into_owned();
            let reason = "the policy hides it";
            self.journal.learn_closed(path, reason, user.as_deref());
        }
    }
}

/// What the process of `task` executes.
fn executable_of(task: i32) -> Option<String> {
    process_of(task).and_then(|pid| Who::of(pid).executable)
}
