//! The engine in a thread of its own, for [`crate::Child`]: a program that uses the library has a loop
//! of its own, or none.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::engine::Engine;
use crate::error::{Error, Result};
use crate::plan::errno_of;

/// An engine at work. Dropping it ends the work.
#[derive(Debug)]
pub(crate) struct Service {
    stop: EventFd,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Let `engine` work in a thread.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(engine: Engine) -> Result<Self> {
        let failed = |errno| Error::host("start", "the thread for egress", errno);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = EventFd::from_flags(flags).map_err(failed)?;
        let told = stop.as_fd().try_clone_to_owned();
        let told = told.map_err(|error| failed(errno_of(&error)))?;
        let thread = thread::Builder::new()
            .name("sandbox-egress".to_owned())
            .spawn(move || work(engine, &told))
            .map_err(|error| failed(errno_of(&error)))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It fails only when it has been told already.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed; what it did is over.
            let _ = thread.join();
        }
    }
}

fn work(mut engine: Engine, stop: &OwnedFd) {
    loop {
        let timeout = match engine.next() {
            None => PollTimeout::NONE,
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                let left = left.as_nanos().div_ceil(1_000_000).min(60_000);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut watched = [
            PollFd::new(engine.descriptor(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            // Without it nothing could be done for the command: its connections end.
            Err(_) => break,
        }
        let over = watched
            .get(1)
            .and_then(PollFd::any)
            .is_some_and(|told| told);
        if over {
            break;
        }
        engine.turn();
    }
    engine.finish();
}
