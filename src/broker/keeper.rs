//! The keeper: the process that launches sandboxes at the broker's word.
//!
//! ```text
//! broker ── requests ──► keeper ── clone ──► sandboxes
//!        ◄── answers ───           (parent-death signal: they end with it)
//! ```
//!
//! The broker reads what clients and workers send, so it gives up every privilege; a launch needs
//! some. Hence two processes. [`Keeper::start_with_files`] makes the plan, while everything that is wrong
//! with it can still be said before anything is accepted, and forks the keeper off, which keeps the
//! privileges and never reads a byte from a worker or a client. All that a broker which was taken over could
//! get from it is launches of that plan: of a request it takes a number, a signal, values of the variables
//! that describe a connection ([`super::connection`]), and descriptors of the one kind that its [`Shape`]
//! has. A request of any other form ends the keeper, and every sandbox with it.
//!
//! The keeper ends when the broker does (end of file on their socket). A worker's end is for the broker
//! to read off the status socket ([`crate::init::Record`]) that it gets for each sandbox; the keeper
//! reaps it. Closing the status socket ends the sandbox.
//!
//! Here is the broker's handle; [`process`] is the keeper's own half, [`wire`] their messages.
#![forbid(unsafe_code)]

mod process;
#[cfg(test)]
mod tests;
pub mod wire;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use tracing::debug;

use super::connection::{self, Connection};
use super::listen::SocketFile;
use crate::descriptor::{self, Kind, Opened};
use crate::egress::notify::Policing;
use crate::egress::sets;
use crate::error::{Error, Result};
use crate::lower::{self, Lowered};
use crate::plan::{self, Handed, Plan, Situation};
use crate::policy::{Limit, Policy};
use crate::probe::Support;
use crate::request::Request;
use crate::sys::packet::{self, Cut};
use crate::sys::{parent, process as sys};
use crate::{init, launch};
use wire::LONGEST_ANSWER;

/// The broker's name for a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// `number`, if it is below 2^62.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number >> 62 == 0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// What a sandbox is given of the network; known beforehand, so that one plan does for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The listening sockets, from 3 up.
    Listener,
    /// One end of a channel on which connections come, as 3 ("channel").
    Pool,
    /// One connection, as 0, 1 and 3 ("connection").
    Connection,
}

/// What the keeper says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The sandbox's command runs; or, launched without a connection in the shape that has one, it
    /// waits for it on the other end of `go` ([`hand_over`]).
    Started {
        token: Token,
        pid: i32,
        /// Its first process, for poll(2): readable when all of it is gone.
        pidfd: OwnedFd,
        /// What its init reports; closing it ends the sandbox.
        status: OwnedFd,
        go: Option<OwnedFd>,
    },
    /// The sandbox could not be launched. A spare that was started can still fail when it gets its
    /// connection.
    Failed { token: Token, message: String },
    /// What is launched from now on is launched by the new plan.
    Reloaded,
    /// The old plan is kept.
    ReloadFailed(String),
}

/// Variables of the systemd protocols that are the broker's own business.
const OWN_VARIABLES: &[&str] = &[
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "FDSTORE",
];

/// The broker's handle of its keeper. Dropping it ends the keeper with all that it keeps, and waits for
/// that.
#[derive(Debug)]
pub(crate) struct Keeper {
    socket: OwnedFd,
    pid: i32,
    pidfd: OwnedFd,
    shape: Shape,
    /// Requests for which the socket had no room.
    unsent: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// The socket files of `request`'s own descriptors, removed at the end.
    _opened: Opened,
}

impl Keeper {
    /// The plan alone, for people.
    ///
    /// # Errors
    /// When the policy cannot be followed here.
    pub(crate) fn plan(
        load: impl Fn() -> Result<Policy>,
        request: &Request,
        shape: Shape,
        listeners: &[Handed],
    ) -> Result<Plan> {
        let opened = descriptor::open(request)?;
        // None of it is open.
        let order = Order::new(request, shape, listeners, Vec::new(), &opened)?;
        let blueprint = Blueprint::draw(&load()?, &order)?;
        Ok(Rc::unwrap_or_clone(blueprint.plan))
    }

    /// As [`Keeper::start_with_files`], without files.
    #[cfg(test)]
    pub(crate) fn start(
        load: impl Fn() -> Result<Policy>,
        request: &Request,
        shape: Shape,
        listeners: &[(String, BorrowedFd<'_>)],
    ) -> Result<Self> {
        Self::start_with_files(load, request, shape, listeners, &[])
    }

    /// Plan, then fork the keeper. `load` gives the policy, now and at each [`Keeper::reload`], in the
    /// keeper then. `listeners` are for [`Shape::Listener`]; `request`'s own descriptors follow what the
    /// shape gives.
    ///
    /// The keeper removes `files` when it ends.
    ///
    /// The process must have no other thread. Commands get the calling thread's signal mask.
    ///
    /// # Errors
    /// When the policy cannot be followed here, or no process can be made.
    pub(crate) fn start_with_files(
        load: impl Fn() -> Result<Policy>,
        request: &Request,
        shape: Shape,
        listeners: &[(String, BorrowedFd<'_>)],
        files: &[&SocketFile],
    ) -> Result<Self> {
        let failed = |errno| Error::host("start", "the broker's keeper", errno);
        let mut opened = descriptor::open(request)?;
        let handed = listeners.iter().map(|(name, fd)| Handed {
            name: name.clone(),
            kind: Kind::of(*fd),
        });
        let handed: Vec<Handed> = handed.collect();
        let open = listeners.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
        let order = Order::new(request, shape, &handed, open, &opened)?;
        let blueprint = Blueprint::draw(&load()?, &order)?;
        // Made here, where a failure can be told.
        let program = init::descriptor().map_err(failed)?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let (socket, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).map_err(failed)?;
        let mut kept = vec![theirs.as_fd(), program];
        kept.extend(listeners.iter().map(|(_, fd)| *fd));
        kept.extend(opened.descriptors.iter().map(|(_, fd)| fd.as_fd()));
        let mask = parent::block_all_signals().map_err(failed)?;
        parent::swap_signal_mask(mask).map_err(failed)?;
        let run = || {
            let status = process::run(theirs.as_fd(), blueprint, order, mask, &load);
            // Here, because a broker that has given up its rights can remove no file.
            for file in files {
                file.remove();
            }
            status
        };
        let (pid, pidfd) = sys::fork(&kept, run).map_err(failed)?;
        debug!(pid, "keeper forked");
        // The keeper's are the ones that count: a peer must see the last sandbox close its own.
        opened.descriptors.clear();
        Ok(Self {
            socket,
            pid,
            pidfd,
            shape,
            unsent: VecDeque::new(),
            _opened: opened,
        })
    }

    /// The keeper's pid, for people.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable when [`Keeper::receive`] has something.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether requests wait for room: then [`Keeper::flush`] when [`Keeper::as_fd`] is writable.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Ask for a sandbox. With [`Shape::Pool`] `descriptors` is the worker's end of its channel; with
    /// [`Shape::Connection`] the connection that `peer` describes, or nothing for a spare. They can be
    /// closed after that. Never waits; the answer is [`Answer::Started`] or [`Answer::Failed`].
    ///
    /// # Errors
    /// When the keeper is gone, or this process can open no descriptor.
    pub(crate) fn launch(
        &mut self,
        token: Token,
        descriptors: &[BorrowedFd<'_>],
        peer: Option<&Connection>,
    ) -> Result<()> {
        debug_assert!(
            fits(self.shape, peer.is_some(), descriptors.len()),
            "a launch that the keeper would take for garbage"
        );
        let values = peer.map(Connection::encode);
        self.send(&wire::Request::Launch { token, values }, descriptors)
    }

    /// Send `signal` to a sandbox's command. One that has ended is no error.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn signal(&mut self, token: Token, signal: Signal) -> Result<()> {
        self.send(&wire::Request::Signal { token, signal }, &[])
    }

    /// Ask for a new plan, from the policy as it is now: [`Answer::Reloaded`], or
    /// [`Answer::ReloadFailed`] and the old one is kept. Sandboxes that run, spares too, stay as they
    /// are.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn reload(&mut self) -> Result<()> {
        self.send(&wire::Request::Reload, &[])
    }

    fn send(&mut self, request: &wire::Request, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        self.flush()?;
        let bytes = request.encode();
        if self.unsent.is_empty() {
            match packet::send(self.as_fd(), &bytes, descriptors) {
                Err(errno) if is_full(errno) => {}
                sent => return sent.map_err(gone),
            }
        }
        let copies = descriptors
            .iter()
            .map(|fd| parent::duplicate(fd.as_raw_fd()))
            .collect::<std::result::Result<_, _>>()
            .map_err(|errno| Error::host("ask", "the broker's keeper", errno))?;
        self.unsent.push_back((bytes, copies));
        Ok(())
    }

    /// Send what had no room.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn flush(&mut self) -> Result<()> {
        send_all(self.socket.as_fd(), &mut self.unsent)
            .map(drop)
            .map_err(gone)
    }

    /// The next answer, if there is one; never waits.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn receive(&mut self) -> Result<Option<Answer>> {
        self.flush()?;
        let mut buffer = [0; LONGEST_ANSWER];
        let packet = match packet::receive(self.as_fd(), &mut buffer) {
            Err(Errno::EAGAIN) => return Ok(None),
            received => received.map_err(gone)?,
        };
        if packet.length == 0 {
            return Err(gone(Errno::EPIPE));
        }
        let answer = buffer.get(..packet.length).and_then(wire::Answer::decode);
        let mut descriptors = packet.descriptors.into_iter();
        let answer = match (answer, packet.cut) {
            (Some(wire::Answer::Started { token, .. }), Cut::Descriptors) => Answer::Failed {
                token,
                message: "this process can open no more descriptors".to_owned(),
            },
            (Some(wire::Answer::Started { token, pid }), Cut::Nothing) => {
                let (pidfd, status) = (descriptors.next(), descriptors.next());
                let missing = || gone(Errno::EBADMSG);
                Answer::Started {
                    token,
                    pid,
                    pidfd: pidfd.ok_or_else(missing)?,
                    status: status.ok_or_else(missing)?,
                    go: descriptors.next(),
                }
            }
            (Some(wire::Answer::Failed { token, message }), Cut::Nothing) => {
                Answer::Failed { token, message }
            }
            (Some(wire::Answer::Reloaded), Cut::Nothing) => Answer::Reloaded,
            (Some(wire::Answer::Kept(message)), Cut::Nothing) => Answer::ReloadFailed(message),
            _ => return Err(gone(Errno::EBADMSG)),
        };
        Ok(Some(answer))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // More than ending some thousand sandboxes takes.
        let patience = PollTimeout::from(30_000_u16);
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
        let mut watched = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut watched, patience), Ok(1..)) {
            let _ = parent::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        }
        let _ = waitid(Id::PIDFd(self.pidfd.as_fd()), WaitPidFlag::WEXITED);
    }
}

fn gone(errno: Errno) -> Error {
    Error::host("go on without", "the broker's keeper", errno)
}

/// Whether a message cannot be sent now, but can later: no room in the socket, or too many descriptors
/// on their way (unix(7)).
fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::ENOBUFS | Errno::ETOOMANYREFS)
}

/// Send from the front of `messages` until there is no room; why there is none, if so.
fn send_all(
    socket: BorrowedFd<'_>,
    messages: &mut VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
) -> std::result::Result<Option<Errno>, Errno> {
    while let Some((bytes, descriptors)) = messages.front() {
        let borrowed: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        match packet::send(socket, bytes, &borrowed) {
            Err(errno) if is_full(errno) => return Ok(Some(errno)),
            sent => sent?,
        }
        messages.pop_front();
    }
    Ok(None)
}

/// Whether a launch has what its shape says: the values of a connection, and so many descriptors.
fn fits(shape: Shape, has_values: bool, descriptors: usize) -> bool {
    match shape {
        Shape::Listener => !has_values && descriptors == 0,
        Shape::Pool => !has_values && descriptors == 1,
        Shape::Connection => descriptors == usize::from(has_values),
    }
}

/// Give `connection`, which `socket` is, to the spare sandbox that waits at the other end of `go`; both
/// can be closed after that.
///
/// # Errors
/// `EPIPE` or `ECONNRESET` when the spare has ended: another one may do. `ETOOMANYREFS` when too many
/// descriptors are on their way (unix(7)): later it may do.
pub(crate) fn hand_over(
    go: BorrowedFd<'_>,
    socket: BorrowedFd<'_>,
    connection: &Connection,
) -> std::result::Result<(), Errno> {
    packet::send(go, &connection.encode(), &[socket])
}

/// What every launch is given besides the policy. Does not change while the keeper lives.
struct Order {
    shape: Shape,
    command: Vec<OsString>,
    /// What 0, 1 and 2 are.
    standard: [Kind; 3],
    /// From 3 up: what the shape gives, then what the request does.
    descriptors: Vec<Handed>,
    /// Those of `descriptors` that are open already, the last ones.
    open: Vec<RawFd>,
    /// Those of `open` that listen.
    listeners: Vec<RawFd>,
    directory: PathBuf,
    environment: Vec<(OsString, OsString)>,
    /// The caller's limits of open files, soft and hard: the keeper raises its own.
    open_files: (u64, u64),
}

impl Order {
    fn new(
        request: &Request,
        shape: Shape,
        listeners: &[Handed],
        mut open: Vec<RawFd>,
        opened: &Opened,
    ) -> Result<Self> {
        let handed = |name: &str, kind| Handed {
            name: name.to_owned(),
            kind,
        };
        let kinds = [0, 1, 2].map(Kind::of_number);
        let (standard, mut descriptors) = match shape {
            Shape::Listener => (kinds, listeners.to_vec()),
            Shape::Pool => (kinds, vec![handed("channel", Kind::UnixSocket)]),
            Shape::Connection => {
                // Of the two kinds that it may be, the one that the filter trusts less.
                let socket = Kind::InternetStream;
                let [_, _, error] = kinds;
                let standard = [socket, socket, error];
                (standard, vec![handed("connection", socket)])
            }
        };
        descriptor::check_standard(&standard, request.unsafe_descriptors)?;
        let own = opened.descriptors.iter();
        let listeners = open.clone();
        descriptors.extend(own.clone().map(|(handed, _)| handed.clone()));
        open.extend(own.map(|(_, fd)| fd.as_raw_fd()));
        Ok(Self {
            shape,
            command: request.command.clone(),
            standard,
            descriptors,
            open,
            listeners,
            directory: plan::working_directory()?,
            environment: std::env::vars_os()
                .filter(|(name, _)| !OWN_VARIABLES.iter().any(|own| name == own))
                .collect(),
            open_files: getrlimit(Resource::RLIMIT_NOFILE)
                .map_err(|errno| Error::host("read", "the limit of open files", errno))?,
        })
    }
}

/// The plan by which sandboxes are launched, and what it was made from.
struct Blueprint {
    lowered: Lowered<'static>,
    situation: Situation,
    plan: Rc<Plan>,
}

impl Blueprint {
    fn draw(policy: &Policy, order: &Order) -> Result<Self> {
        let lowered = lower::to_what_can_be_had(policy).into_owned();
        let situation = Situation {
            command: order.command.clone(),
            environment: order.environment.clone(),
            directory: order.directory.clone(),
            descriptors: order.descriptors.clone(),
            standard: order.standard,
            support: Support::quick(),
            files: Vec::new(),
            learning: None,
        };
        let plan = launch::plan(&lowered, &situation)?;
        let mut blueprint = Self {
            lowered,
            situation,
            plan: Rc::new(plan),
        };
        blueprint.fit(order)?;
        Ok(blueprint)
    }

    /// What a sandbox of the keeper's needs besides what any launch does.
    fn fit(&mut self, order: &Order) -> Result<()> {
        if !self.plan.init {
            // Its status socket is how the broker learns of the command's end, and ends it.
            return Err(Error::usage(
                "--as-pid-1, --pid no",
                "leave the sandbox without its init, which a broker needs; leave them out",
            ));
        }
        if self.plan.policing.as_ref().is_some_and(Policing::tells) {
            // Passed sockets keep a filter from allowing any connection, so there is nothing to tell.
            return Err(Error::usage(
                "--unix-sockets own",
                "a broker connects for nobody; use '--unix-sockets any'",
            ));
        }
        let plan = Rc::make_mut(&mut self.plan);
        if plan.limits.iter().all(|limit| limit.name != "nofile") {
            let (soft, hard) = order.open_files;
            plan.limits.push(Limit {
                resource: libc::RLIMIT_NOFILE,
                name: "nofile",
                soft: Some(soft),
                hard: Some(hard),
            });
        }
        let environment = &mut plan.environment;
        match order.shape {
            Shape::Listener => {}
            Shape::Pool => {
                environment.retain(|(name, _)| name != "SANDBOX_CHANNEL");
                environment.push(("SANDBOX_CHANNEL".into(), "3".into()));
            }
            Shape::Connection => environment
                .retain(|(name, _)| name.to_str().is_none_or(|name| !connection::is_stale(name))),
        }
        Ok(())
    }

    /// The mounts are for paths and sockets that come and go on the host: look again.
    fn refresh(&mut self) -> Result<()> {
        let policy = &self.lowered.policy;
        let rules = sets::rules(&policy.egress)?;
        let mounts = plan::mounts(policy, &self.situation.support, &rules)?;
        if mounts != self.plan.mounts {
            Rc::make_mut(&mut self.plan).mounts = mounts;
        }
        Ok(())
    }
}
