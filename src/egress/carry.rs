//! What carries a command's connections, for the program and the library alike: opened before the launch,
//! so that what cannot be had is an error while nothing runs, and begun after it.
#![forbid(unsafe_code)]

use std::net::{SocketAddr, TcpListener};

use super::direct;
use super::engine::Engine;
use super::notify::{Ready, Warden};
use super::publish;
use super::who::Callers;
use crate::error::{Error, Result};
use crate::event::Events;
use crate::learn::record::Recorder;
use crate::plan::{Plan, errno_of};
use crate::spawn::Spawned;
use crate::sys::parent;

/// Who is told of what is carried.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) events: Events,
    pub(crate) callers: Callers,
    pub(crate) recorder: Recorder,
}

impl Told {
    /// Nobody.
    pub(crate) fn nobody() -> Self {
        Self {
            events: Events::default(),
            callers: Callers::default(),
            recorder: Recorder::default(),
        }
    }

    /// The same for another thread.
    ///
    /// # Errors
    /// When no descriptor is left.
    fn again(&self) -> Result<Self> {
        Ok(Self {
            events: self.events.again()?,
            callers: self.callers.clone(),
            recorder: self.recorder.clone(),
        })
    }
}

/// What is open outside before the launch.
pub(crate) struct Outset {
    /// Listeners for what is published, in the plan's order.
    published: Vec<TcpListener>,
    /// What the thread that connects will need; `None` where nothing is told.
    connecting: Option<Ready>,
}

impl Outset {
    /// Open what `plan` needs.
    ///
    /// # Errors
    /// When an address to publish at, or an allowed Unix socket, is not to be had.
    pub(crate) fn for_launch(plan: &Plan) -> Result<Self> {
        Ok(Self {
            published: match &plan.egress {
                None => Vec::new(),
                Some(setup) => publish::open(&setup.published)?,
            },
            connecting: Ready::for_launch(plan)?,
        })
    }

    /// Where this host listens for what is published, in order.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub(crate) fn published(&self) -> Result<Vec<SocketAddr>> {
        let addresses = self.published.iter().map(TcpListener::local_addr);
        addresses
            .collect::<std::io::Result<_>>()
            .map_err(|error| Error::host("listen", "", errno_of(&error)))
    }

    /// Begin, with what the launch of `plan` has sent out: the engine, which its owner drives, and the
    /// thread that connects, which works until it is dropped or left.
    ///
    /// # Errors
    /// When either cannot be had.
    pub(crate) fn begin(
        self,
        plan: &Plan,
        spawned: &mut Spawned,
        told: Told,
    ) -> Result<(Option<Engine>, Option<Warden>)> {
        let Self {
            published,
            connecting,
        } = self;
        let mut engine = match &plan.egress {
            None => None,
            Some(setup) => {
                // Only now: the command was started with the caller's limit.
                parent::raise_descriptor_limit()
                    .map_err(|errno| Error::host("raise", "the limit of descriptors", errno))?;
                let ways = std::mem::take(&mut spawned.ways);
                Some(Engine::new(setup, ways, published, told.again()?)?)
            }
        };
        let counter = match (&mut engine, &connecting) {
            (Some(engine), Some(ready)) if ready.orders() => {
                let sides = direct::pair();
                let (dialler, counter) =
                    sides.map_err(|errno| Error::host("order", "connections", errno))?;
                engine.give_directly(dialler)?;
                Some(counter)
            }
            _ => None,
        };
        let warden = match (connecting, spawned.notifier.take()) {
            (Some(ready), Some(notifier)) => Some(ready.start(plan, notifier, counter, told)?),
            _ => None,
        };
        Ok((engine, warden))
    }
}
