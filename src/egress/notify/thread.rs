//! The thread from outside: what is opened before the launch, how it is started, and how it is ended.
//!
//! Runs in the launcher, or in the program that uses the library.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tracing::error;

use super::calls::Calls;
use super::ids::Ids;
use super::{Notifier, Policing, Work};
use crate::egress::carry::Told;
use crate::egress::direct::Counter;
use crate::egress::journal::Journal;
use crate::egress::unix::Sockets;
use crate::error::{Error, Result};
use crate::plan::{Plan, errno_of};
use crate::policy::Carrier;
use crate::sys::notify;

/// The thread's stack: what it does is shallow.
const STACK: usize = 256 * 1024;
/// How long the library waits for the thread to end.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is opened before the launch, so that the command cannot change what is found.
pub(crate) struct Ready {
    sockets: Sockets,
    policing: Policing,
}

impl Ready {
    /// Open what `plan` allows; `None` where nothing will be told.
    ///
    /// # Errors
    /// When an allowed socket cannot be opened.
    pub(crate) fn for_launch(plan: &Plan) -> Result<Option<Self>> {
        let Some(policing) = plan.policing.as_ref().filter(|it| it.tells()) else {
            return Ok(None);
        };
        Ok(Some(Self {
            sockets: Sockets::allow(&policing.allowed)?,
            policing: policing.clone(),
        }))
    }

    /// Whether the side that dials is asked before a connection is made.
    pub(crate) fn orders(&self) -> bool {
        self.policing.carrier == Carrier::Direct || self.policing.beyond.is_some()
    }

    /// Start the thread. Where the command gets sockets, they are ordered at `counter`.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(crate) fn start(
        self,
        plan: &Plan,
        notifier: Notifier,
        counter: Option<Counter>,
        told: Told,
    ) -> Result<Warden> {
        let Told {
            events,
            callers,
            recorder,
        } = told;
        let failed = |errno| Error::host("start", "the thread that connects", errno);
        let Notifier { listener, sample } = notifier;
        let network = notify::network_of(sample.as_fd()).map_err(failed)?;
        notify::switch_quickly(listener.as_fd());
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = EventFd::from_flags(flags).map_err(failed)?;
        let told = stop.as_fd().try_clone_to_owned();
        let told = told.map_err(|error| failed(errno_of(&error)))?;
        let ids = Ids::of(plan);
        let work = Work {
            calls: Calls::native().ok_or_else(|| failed(Errno::ENOSYS))?,
            listener,
            network,
            abstract_names: self.policing.abstract_names,
            which: self.policing.which,
            carrier: self.policing.carrier,
            beyond: self.policing.beyond,
            under: self.policing.underlay.plain,
            counter,
            hidden: self.policing.hidden,
            sockets: self.sockets,
            ids: ids.clone(),
            waiting: Vec::new(),
            callers,
            journal: Journal::new(events, recorder, Instant::now()),
        };
        let thread = thread::Builder::new()
            .name("sandbox-connect".to_owned())
            .stack_size(STACK)
            .spawn(move || match ids.confine() {
                Ok(()) => work.run(&told),
                // The listener is closed: the kernel answers for it.
                Err(errno) => {
                    error!(%errno, "cannot confine the thread that connects: nothing is connected")
                }
            })
            .map_err(|error| failed(errno_of(&error)))?;
        Ok(Warden {
            stop,
            thread: Some(thread),
        })
    }
}

/// The thread at work. Dropping it ends the work.
#[derive(Debug)]
pub(crate) struct Warden {
    pub(super) stop: EventFd,
    thread: Option<JoinHandle<()>>,
}

impl Warden {
    /// Let it work until the sandbox is gone, or this process.
    pub(crate) fn leave(mut self) {
        self.thread = None;
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // It fails only when it has been told already.
        let _ = self.stop.write(1);
        let until = Instant::now() + PATIENCE;
        // A socket inside can make its connect wait; the thread ends once that does.
        while !thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_micros(200));
        }
        if thread.is_finished() {
            // A panic of it has been printed; what it did is over.
            let _ = thread.join();
        }
    }
}
