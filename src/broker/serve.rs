//! `sandbox serve`, from the settings to the exit status.
//!
//! Runs in the launcher, which becomes the broker: one thread, one loop.
//!
//! ```text
//! listeners, service manager, metrics ──► keeper (forked) ──► confined ──► loop ──► status
//!  everything opened                       keeps the privileges   nothing left to open
//! ```
//!
//! [`super::turn`] has the loop and the states that it goes through.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::os::fd::AsFd;

use super::admin::Admin;
use super::journal::Journal;
use super::keeper::{Keeper, Shape};
use super::listen::{self, Inherited, Listener, Options};
use super::notify::Manager;
use super::settings::{HandOver, Settings};
use super::turn::Broker;
use crate::descriptor::Kind;
use crate::error::{Error, Result};
use crate::plan::Handed;
use crate::policy::Policy;
use crate::request::{Endpoint, Request};
use crate::run;

/// Serve until told to end; the status to exit with. `load` gives the policy, now and at each reload.
///
/// # Errors
/// When nothing could be served, or serving could not go on.
pub(crate) fn serve(
    load: impl Fn() -> Result<Policy>,
    request: &Request,
    settings: Settings,
) -> Result<u8> {
    run::open_missing_standard_descriptors()?;
    let policy = load()?;
    let shape = match settings.hand_over {
        HandOver::Listener => Shape::Listener,
        HandOver::Pool => Shape::Pool,
        HandOver::Connection => Shape::Connection,
    };
    let mut journal = Journal::open(request.events.as_ref())?;
    let started = open(&settings, shape, &policy, load, request);
    let (listeners, admin, manager, keeper) = match started {
        Ok(Opened::All(parts)) => *parts,
        Ok(Opened::Printed) => return Ok(0),
        Err(error) => {
            journal.failed(&error);
            return Err(error);
        }
    };
    let broker = Broker::new(
        settings, &policy, listeners, admin, manager, keeper, journal,
    )?;
    broker.run()
}

/// What [`open`] gives.
enum Opened {
    /// Everything that is served with.
    All(Box<(Vec<Listener>, Option<Admin>, Manager, Keeper)>),
    /// Nothing: only the plan was wanted.
    Printed,
}

/// Open everything, and fork the keeper, before anything untrusted starts.
fn open(
    settings: &Settings,
    shape: Shape,
    policy: &Policy,
    load: impl Fn() -> Result<Policy>,
    request: &Request,
) -> Result<Opened> {
    let options = Options {
        backlog: settings.backlog,
        sharing: settings.sharing,
    };
    let mut listeners = Inherited::from_environment().take(&options)?;
    let sockets = check(settings, &listeners)?;
    if let Some(format) = request.dry_run {
        // Nothing is opened, and the service manager is told nothing.
        let handed = match shape {
            Shape::Listener => sockets,
            Shape::Pool | Shape::Connection => Vec::new(),
        };
        run::print(&Keeper::plan(load, request, shape, &handed)?, format)?;
        return Ok(Opened::Printed);
    }
    let manager = Manager::from_environment()?;
    for (name, endpoint) in &settings.listen {
        listeners.push(Listener::open(name, endpoint, &options)?);
    }
    let admin = settings.metrics.as_ref().map(Admin::open).transpose()?;
    // The first time it is the policy that was read already: its warnings are said once.
    let first = RefCell::new(Some(policy.clone()));
    let load = || match first.borrow_mut().take() {
        Some(policy) => Ok(policy),
        None => load(),
    };
    let handed: Vec<_> = match shape {
        Shape::Listener => listeners
            .iter()
            .map(|listener| (listener.name.clone(), listener.fd.as_fd()))
            .collect(),
        Shape::Pool | Shape::Connection => Vec::new(),
    };
    let files = listeners
        .iter()
        .filter_map(|listener| listener.made.as_ref());
    let files: Vec<_> = files.chain(admin.as_ref().and_then(Admin::file)).collect();
    let keeper = Keeper::start_with_files(load, request, shape, &handed, &files)?;
    Ok(Opened::All(Box::new((listeners, admin, manager, keeper))))
}

/// What is listened on, or will be: its name and kind. Refused if that is nothing, or if a limit cannot
/// be kept on it.
fn check(settings: &Settings, inherited: &[Listener]) -> Result<Vec<Handed>> {
    let kind = |is_tcp| match is_tcp {
        true => Kind::InternetStream,
        false => Kind::UnixSocket,
    };
    let own = inherited.iter().map(|listener| {
        let kind = kind(listener.is_tcp());
        (&listener.name, kind, listener.address.clone())
    });
    let named = settings.listen.iter().map(|(name, endpoint)| {
        let kind = kind(matches!(endpoint, Endpoint::Tcp { .. }));
        (name, kind, listen::shown(endpoint))
    });
    let sockets: Vec<_> = own.chain(named).collect();
    if sockets.is_empty() {
        return Err(Error::usage(
            "--listen",
            "say where to listen, as in --listen tcp:127.0.0.1:8080",
        ));
    }
    let timeless = sockets
        .iter()
        .find(|(_, kind, _)| *kind == Kind::UnixSocket);
    if let (Some((_, _, address)), Some(_)) = (timeless, settings.idle) {
        return Err(Error::usage(
            "--idle-timeout",
            format!("the kernel counts bytes on TCP alone, not on {address}; use --total-timeout"),
        ));
    }
    let handed = sockets.into_iter().map(|(name, kind, _)| Handed {
        name: name.clone(),
        kind,
    });
    Ok(handed.collect())
}
