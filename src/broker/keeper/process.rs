//! The keeper's own half: one loop over the broker's requests, the launches under way and the
//! sandboxes that run.
//!
//! Runs in the process that [`super::Keeper::start_with_files`] forks, with the launcher's privileges,
//! single-threaded, every signal blocked: a terminal's or a service manager's are for the broker, which says
//! what becomes of the sandboxes. It reads from nobody but the broker and its own children before they
//! execute anything.
//!
//! | a sandbox is | until | the broker has been told |
//! | --- | --- | --- |
//! | launching | its report ends, or says that it waits for its connection | nothing |
//! | a spare | its report ends: it executes the command, or was not needed | `Started`, with `go` |
//! | running | its first process is gone | `Started` |
//!
//! At most [`MOST_UNDER_WAY`] are launching at a time; other requests wait in the socket.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, getsockname, getsockopt, socketpair,
    sockopt,
};
use nix::unistd::{Uid, setsid};
use tracing::{debug, error, info, warn};

use super::wire::{Answer, LONGEST_REQUEST, Request};
use super::{Blueprint, Order, Shape, Token, fits, send_all};
use crate::broker::listen;
use crate::cgroup::Group;
use crate::descriptor::Kind;
use crate::error::{self, Error, Result};
use crate::exit;
use crate::launch;
use crate::log::{self, chain};
use crate::plan::Plan;
use crate::policy::Policy;
use crate::printable::Printable;
use crate::spawn::{self, Launch, Spawned};
use crate::sys::child::Disposition;
use crate::sys::packet::{self, Cut};
use crate::sys::parent;

/// Launches under way at a time. The kernel makes namespaces one at a time, so more gain little, and
/// dead ones pile up (`shared/performance.md`).
const MOST_UNDER_WAY: usize = 4;
/// Answers that may wait for the broker before its next request is looked at.
const MOST_ANSWERS: usize = 64;
/// When to try again to send an answer, where nothing tells that there is room.
const RETRY: Duration = Duration::from_millis(10);

/// The broker's socket in the poll set.
const SOCKET: u64 = 0;

/// Which of a sandbox's descriptors the poll set means.
#[derive(Clone, Copy)]
enum Watched {
    Report,
    FirstProcess,
}

fn key(token: Token, watched: Watched) -> u64 {
    match watched {
        Watched::Report => token.number() * 2 + 1,
        Watched::FirstProcess => token.number() * 2 + 2,
    }
}

fn unkey(key: u64) -> Option<(Token, Watched)> {
    let key = key.checked_sub(1)?;
    let watched = if key % 2 == 0 {
        Watched::Report
    } else {
        Watched::FirstProcess
    };
    Some((Token::new(key / 2)?, watched))
}

/// Why the keeper stops.
enum Stop {
    /// The broker is gone.
    BrokerGone,
    /// The broker sent what it never sends.
    Garbage(&'static str),
    /// The kernel refused what the loop cannot do without.
    Refused(Errno),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// The port of an Internet address.
fn port_of(name: &SockaddrStorage) -> Option<u16> {
    let four = name.as_sockaddr_in().map(|name| name.port());
    four.or_else(|| name.as_sockaddr_in6().map(|name| name.port()))
}

/// The keeper, from the fork to its end; the status to exit with.
pub(super) fn run(
    socket: BorrowedFd<'_>,
    blueprint: Blueprint,
    order: Order,
    signal_mask: u64,
    load: &dyn Fn() -> Result<Policy>,
) -> u8 {
    // Sandboxes write to standard error as well.
    log::wait_for_nobody();
    let (message, status) = match keep(socket, blueprint, order, signal_mask, load) {
        Stop::BrokerGone => return 0,
        Stop::Garbage(what) => (what.to_owned(), exit::LAUNCHER_FAILED),
        Stop::Refused(errno) => (error::reason(errno), exit::LAUNCHER_FAILED),
    };
    error!(reason = message, "the keeper ends, with all sandboxes");
    status
}

fn keep(
    socket: BorrowedFd<'_>,
    blueprint: Blueprint,
    order: Order,
    signal_mask: u64,
    load: &dyn Fn() -> Result<Policy>,
) -> Stop {
    let new = || -> std::result::Result<_, Stop> {
        // A descriptor or two for each sandbox.
        let (_, most) = order.open_files;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        prctl::set_name(c"sandbox-keeper")?;
        // A process that was just forked leads no group: this cannot fail. The broker's terminal is
        // not the sandboxes'.
        setsid()?;
        if Uid::effective().is_root() {
            // A spare shares this memory while it waits, without our privileges: whoever may trace
            // *it* must not get at them. (An ordinary user's can be traced by that user alone, and
            // must be dumpable to write its id maps.)
            prctl::set_dumpable(false)?;
        }
        let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        poll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, SOCKET))?;
        // As in `crate::run`: an ignored one would take the sandboxes' status with it.
        Ok((poll, parent::take_disposition(libc::SIGCHLD)?))
    };
    let (poll, sigchld) = match new() {
        Ok(new) => new,
        Err(stop) => return stop,
    };
    let mut process = Process {
        socket,
        poll,
        interest: EpollFlags::EPOLLIN,
        blueprint,
        order,
        signal_mask,
        sigchld,
        load,
        sandboxes: HashMap::new(),
        under_way: 0,
        deadlines: BTreeSet::new(),
        answers: VecDeque::new(),
        room: Room::Some,
    };
    loop {
        if let Err(stop) = process.turn() {
            process.end_all();
            return stop;
        }
    }
}

/// Whether the broker's socket takes answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Some,
    /// Until it is writable.
    None,
    /// Until some descriptors that are on their way have arrived; nothing tells when.
    NoDescriptors,
}

struct Process<'a> {
    socket: BorrowedFd<'a>,
    poll: Epoll,
    /// What the socket is watched for.
    interest: EpollFlags,
    blueprint: Blueprint,
    order: Order,
    signal_mask: u64,
    /// What a command gets back of it.
    sigchld: Disposition,
    load: &'a dyn Fn() -> Result<Policy>,
    sandboxes: HashMap<Token, Sandbox>,
    under_way: usize,
    deadlines: BTreeSet<(Instant, Token)>,
    answers: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    room: Room,
}

struct Sandbox {
    stage: Stage,
    plan: Rc<Plan>,
    /// When its time is over.
    deadline: Option<Instant>,
    /// It was told that its time is over.
    warned: bool,
    /// Removed after the sandbox is gone: fields are dropped in this order.
    _group: Option<Group>,
}

enum Stage {
    Launching {
        launch: Launch,
        /// For a spare: the broker's end of the socket on which its connection comes.
        go: Option<OwnedFd>,
    },
    Spare(Launch),
    Running(Spawned),
    /// Taken apart.
    Gone,
}

impl Stage {
    fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Launching { launch, .. } | Self::Spare(launch) => launch.pidfd(),
            Self::Running(spawned) => Some(spawned.pidfd.as_fd()),
            Self::Gone => None,
        }
    }
}

impl Process<'_> {
    /// Wait for something to happen, and do what there is to do.
    fn turn(&mut self) -> std::result::Result<(), Stop> {
        self.send_answers()?;
        self.watch_socket()?;
        let mut events = [EpollEvent::empty(); 64];
        let count = match self.poll.wait(&mut events, self.timeout()) {
            Err(Errno::EINTR) => 0,
            waited => waited?,
        };
        for event in events.iter().take(count) {
            match unkey(event.data()) {
                None => self.take_requests(event.events())?,
                Some((token, Watched::Report)) => self.take_report(token)?,
                Some((token, Watched::FirstProcess)) => self.take_off(token)?,
            }
        }
        self.keep_time();
        Ok(())
    }

    fn send_answers(&mut self) -> std::result::Result<(), Stop> {
        self.room = match send_all(self.socket, &mut self.answers) {
            Ok(None) => Room::Some,
            Ok(Some(Errno::EAGAIN)) => Room::None,
            Ok(Some(_)) => Room::NoDescriptors,
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(Stop::BrokerGone),
            Err(errno) => return Err(errno.into()),
        };
        Ok(())
    }

    /// Look at the next request only while it can be taken up; the end of the broker always shows.
    fn watch_socket(&mut self) -> std::result::Result<(), Stop> {
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLIN, self.takes_requests());
        interest.set(EpollFlags::EPOLLOUT, self.room == Room::None);
        if interest != self.interest {
            let mut event = EpollEvent::new(interest, SOCKET);
            self.poll.modify(self.socket, &mut event)?;
            self.interest = interest;
        }
        Ok(())
    }

    fn takes_requests(&self) -> bool {
        self.under_way < MOST_UNDER_WAY && self.answers.len() < MOST_ANSWERS
    }

    fn timeout(&self) -> EpollTimeout {
        let next = self.deadlines.first().map(|(deadline, _)| *deadline);
        let mut left = next.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if self.room == Room::NoDescriptors {
            left = Some(left.map_or(RETRY, |left| left.min(RETRY)));
        }
        match left {
            None => EpollTimeout::NONE,
            // Rounded up, so that the loop does not spin through the last millisecond.
            Some(left) => {
                let milliseconds = left.as_millis().saturating_add(1).min(60_000);
                EpollTimeout::try_from(milliseconds).unwrap_or(EpollTimeout::NONE)
            }
        }
    }

    fn take_requests(&mut self, events: EpollFlags) -> std::result::Result<(), Stop> {
        if events.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return Err(Stop::BrokerGone);
        }
        while self.takes_requests() {
            let mut buffer = [0; LONGEST_REQUEST];
            let packet = match packet::receive(self.socket, &mut buffer) {
                Err(Errno::EAGAIN) => break,
                Err(Errno::ECONNRESET) => return Err(Stop::BrokerGone),
                received => received?,
            };
            if packet.length == 0 && packet.descriptors.is_empty() {
                return Err(Stop::BrokerGone);
            }
            if packet.cut == Cut::Bytes {
                return Err(Stop::Garbage("a request was too long"));
            }
            let request = buffer.get(..packet.length).and_then(Request::decode);
            let Some(request) = request else {
                return Err(Stop::Garbage("a request was none"));
            };
            self.take_up(request, packet.descriptors, packet.cut)?;
        }
        Ok(())
    }

    fn take_up(
        &mut self,
        request: Request,
        descriptors: Vec<OwnedFd>,
        cut: Cut,
    ) -> std::result::Result<(), Stop> {
        match request {
            Request::Launch { token, values } => {
                let came = descriptors.len();
                if self.sandboxes.contains_key(&token) {
                    return Err(Stop::Garbage("a request was for a sandbox that there is"));
                }
                if cut == Cut::Descriptors && came == 0 {
                    let error = Error::host("receive", "a descriptor", Errno::EMFILE);
                    self.say_failed(token, &error);
                    return Ok(());
                }
                let shape = self.order.shape;
                let known = |fd: &OwnedFd| match Kind::of(fd.as_fd()) {
                    Kind::UnixSocket => true,
                    Kind::InternetStream => shape == Shape::Connection,
                    _ => false,
                };
                let fits = fits(shape, values.is_some(), came);
                if cut != Cut::Nothing || !fits || !descriptors.iter().all(known) {
                    return Err(Stop::Garbage(
                        "a launch had other descriptors than it may have",
                    ));
                }
                if let Err(error) = self.launch(token, values, &descriptors)? {
                    self.say_failed(token, &error);
                }
            }
            Request::Signal { .. } | Request::Reload if !descriptors.is_empty() => {
                return Err(Stop::Garbage("a request had descriptors that has none"));
            }
            Request::Signal { token, signal } => self.signal(token, signal as i32),
            Request::Reload => self.reload(),
        }
        Ok(())
    }

    /// Start one launch. The inner error is the launch's, the outer one the keeper's.
    fn launch(
        &mut self,
        token: Token,
        values: Option<Vec<u8>>,
        descriptors: &[OwnedFd],
    ) -> std::result::Result<Result<()>, Stop> {
        let sandbox = match self.start(values, descriptors) {
            Ok(sandbox) => sandbox,
            Err(error) => return Ok(Err(error)),
        };
        let Stage::Launching { launch, .. } = &sandbox.stage else {
            return Ok(Ok(()));
        };
        debug!(token = token.number(), pid = launch.pid(), "launching");
        let watch = |fd: Option<BorrowedFd<'_>>, watched| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, key(token, watched));
            self.poll.add(fd.ok_or(Errno::EBADF)?, event)
        };
        watch(Some(launch.report()), Watched::Report)?;
        watch(launch.pidfd(), Watched::FirstProcess)?;
        self.sandboxes.insert(token, sandbox);
        self.under_way += 1;
        Ok(Ok(()))
    }

    fn start(&mut self, values: Option<Vec<u8>>, descriptors: &[OwnedFd]) -> Result<Sandbox> {
        self.blueprint.refresh()?;
        let plan = &self.blueprint.plan;
        let group = Group::make(&plan.cgroup)?;
        let given = descriptors.first().map(AsRawFd::as_raw_fd);
        let mut sources: Vec<RawFd> = vec![0, 1, 2];
        let mut go = None;
        let mut waits = None;
        match self.order.shape {
            Shape::Listener => self.listen_again()?,
            Shape::Pool => sources.extend(given),
            Shape::Connection => {
                let (ours, theirs) = self.go()?;
                let stand_in = theirs.as_raw_fd();
                sources = vec![stand_in, stand_in, 2, stand_in];
                waits = Some(theirs);
                match (values, descriptors.first()) {
                    (Some(values), Some(socket)) => {
                        packet::send(ours.as_fd(), &values, &[socket.as_fd()]).map_err(no_go)?;
                    }
                    _ => go = Some(ours),
                }
            }
        }
        sources.extend(&self.order.open);
        let order = || spawn::Order {
            descriptors: sources.clone(),
            dispositions: vec![(libc::SIGCHLD, self.sigchld)],
            signal_mask: Some(self.signal_mask),
            cgroup: group.as_ref().map(Group::directory),
            timing: false,
            awaits_connection: waits.is_some(),
        };
        let Blueprint {
            lowered, situation, ..
        } = &self.blueprint;
        let (other, launch) = launch::start(lowered, situation, plan, order)?;
        Ok(Sandbox {
            stage: Stage::Launching { launch, go },
            plan: other.map_or_else(|| Rc::clone(plan), Rc::new),
            deadline: None,
            warned: false,
            _group: group,
        })
    }

    /// Have every listener listen. Workers share them, so one that was taken over can shut them down for all
    /// (shutdown(2)); what it did is not to outlast it.
    fn listen_again(&self) -> Result<()> {
        for &number in &self.order.listeners {
            let failed = |errno| Error::host("listen with descriptor", number.to_string(), errno);
            let listener = parent::duplicate(number).map_err(failed)?;
            if getsockopt(&listener, sockopt::AcceptConn).map_err(failed)? {
                continue;
            }
            // A port that the kernel chose went with the listener, and the next one would be another.
            if getsockname::<SockaddrStorage>(number).is_ok_and(|name| port_of(&name) == Some(0)) {
                let hint = "a worker has shut it down, and its port was not one of --listen: start the broker again";
                return Err(failed(Errno::EADDRNOTAVAIL).with_hint(Some(hint.to_owned())));
            }
            parent::listen(listener.as_fd(), None).map_err(failed)?;
            warn!(
                address = listen::address_of(listener.as_fd()),
                "a worker had shut a listener down: it listens again"
            );
        }
        Ok(())
    }

    /// The socket on which a connection comes: the broker's end, and the sandbox's.
    fn go(&self) -> Result<(OwnedFd, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC;
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).map_err(no_go)
    }

    /// What a launch under way, or a spare, has to say.
    fn take_report(&mut self, token: Token) -> std::result::Result<(), Stop> {
        let Some(sandbox) = self.sandboxes.get_mut(&token) else {
            return Ok(());
        };
        let (Stage::Launching { launch, .. } | Stage::Spare(launch)) = &mut sandbox.stage else {
            return Ok(());
        };
        if launch.advance()? {
            return self.take_result(token);
        }
        if launch.is_ready() {
            self.take_spare(token);
        }
        Ok(())
    }

    /// A launch waits for its connection: if that is not on its way, it is a spare now.
    fn take_spare(&mut self, token: Token) {
        let Some(sandbox) = self.sandboxes.get_mut(&token) else {
            return;
        };
        match std::mem::replace(&mut sandbox.stage, Stage::Gone) {
            Stage::Launching {
                mut launch,
                go: Some(go),
            } => {
                let (pid, status) = (launch.pid(), launch.take_status());
                let copy = launch.pidfd().map(|fd| parent::duplicate(fd.as_raw_fd()));
                sandbox.stage = Stage::Spare(launch);
                self.under_way -= 1;
                self.say_started(token, pid, copy, status, Some(go));
            }
            other => sandbox.stage = other,
        }
    }

    /// The report has ended: the command runs, or the launch has failed.
    fn take_result(&mut self, token: Token) -> std::result::Result<(), Stop> {
        let Some(sandbox) = self.sandboxes.get_mut(&token) else {
            return Ok(());
        };
        let (launch, told) = match std::mem::replace(&mut sandbox.stage, Stage::Gone) {
            Stage::Launching { launch, .. } => (launch, Told::Nothing),
            Stage::Spare(launch) => (launch, Told::Started),
            other => {
                sandbox.stage = other;
                return Ok(());
            }
        };
        if told == Told::Nothing {
            self.under_way -= 1;
        }
        self.poll.delete(launch.report())?;
        let ready = launch.is_ready() || self.order.shape != Shape::Connection;
        if let Some(pidfd) = launch.pidfd() {
            self.poll.delete(pidfd)?;
        }
        let finished = launch
            .finish(&sandbox.plan)
            .and_then(|spawned| match ready {
                true => Ok(spawned),
                // Killed, as by a memory limit.
                false => Err(Error::host(
                    "wait for",
                    "a sandbox that has ended",
                    Errno::ESRCH,
                )),
            });
        let mut spawned = match finished {
            Ok(spawned) => spawned,
            Err(error) => {
                self.sandboxes.remove(&token);
                self.say_failed(token, &error);
                return Ok(());
            }
        };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, key(token, Watched::FirstProcess));
        self.poll.add(spawned.pidfd.as_fd(), event)?;
        let (pid, status) = (spawned.pid, spawned.status.take());
        let copy = (told == Told::Nothing).then(|| parent::duplicate(spawned.pidfd.as_raw_fd()));
        sandbox.stage = Stage::Running(spawned);
        sandbox.deadline = sandbox
            .plan
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        self.deadlines
            .extend(sandbox.deadline.map(|deadline| (deadline, token)));
        if told == Told::Nothing {
            self.say_started(token, pid, copy, status, None);
        }
        Ok(())
    }

    fn say_started(
        &mut self,
        token: Token,
        pid: i32,
        pidfd: Option<std::result::Result<OwnedFd, Errno>>,
        status: Option<OwnedFd>,
        go: Option<OwnedFd>,
    ) {
        let (Some(Ok(pidfd)), Some(status)) = (pidfd, status) else {
            // Without them it cannot be watched: it ends, the status socket being closed here.
            let error = Error::host("watch", "the sandbox", Errno::EMFILE);
            self.say_failed(token, &error);
            return;
        };
        let answer = Answer::Started { token, pid };
        let descriptors = [pidfd, status].into_iter().chain(go).collect();
        self.answers.push_back((answer.encode(), descriptors));
    }

    fn say_failed(&mut self, token: Token, error: &Error) {
        let message = worded(error);
        info!(token = token.number(), message, "not launched");
        let answer = Answer::Failed { token, message };
        self.answers.push_back((answer.encode(), Vec::new()));
    }

    /// A sandbox's first process is gone, and all of it.
    fn take_off(&mut self, token: Token) -> std::result::Result<(), Stop> {
        // If it was being launched there is a result now, and it may be the last of it.
        self.take_result(token)?;
        let Some(sandbox) = self.sandboxes.remove(&token) else {
            return Ok(());
        };
        if let Some(pidfd) = sandbox.stage.pidfd() {
            self.poll.delete(pidfd)?;
        }
        if let Some(deadline) = sandbox.deadline {
            self.deadlines.remove(&(deadline, token));
        }
        debug!(token = token.number(), "ended");
        Ok(())
    }

    /// Send `signal` to a sandbox's command, if both are there yet and still.
    fn signal(&self, token: Token, signal: i32) {
        let sandbox = self.sandboxes.get(&token);
        if let Some(pidfd) = sandbox.and_then(|sandbox| sandbox.stage.pidfd()) {
            let _ = parent::pidfd_send_signal(pidfd, signal);
        }
    }

    fn reload(&mut self) {
        let answer = match (self.load)().and_then(|policy| Blueprint::draw(&policy, &self.order)) {
            Ok(blueprint) => {
                self.blueprint = blueprint;
                Answer::Reloaded
            }
            Err(error) => Answer::Kept(worded(&error)),
        };
        self.answers.push_back((answer.encode(), Vec::new()));
    }

    /// End the sandboxes whose time is over: SIGTERM first, as the policy says.
    fn keep_time(&mut self) {
        let now = Instant::now();
        while let Some(&(deadline, token)) = self.deadlines.first() {
            if deadline > now {
                return;
            }
            self.deadlines.pop_first();
            let Some(sandbox) = self.sandboxes.get_mut(&token) else {
                continue;
            };
            let (warned, kill_after) = (sandbox.warned, sandbox.plan.kill_after);
            sandbox.warned = true;
            sandbox.deadline = now.checked_add(kill_after).filter(|_| !warned);
            self.deadlines
                .extend(sandbox.deadline.map(|deadline| (deadline, token)));
            if warned {
                self.signal(token, libc::SIGKILL);
                continue;
            }
            info!(token = token.number(), "the time limit is over");
            self.signal(token, libc::SIGTERM);
            // A stopped command would not see it.
            self.signal(token, libc::SIGCONT);
        }
    }

    /// Nothing outlives the keeper: kill all at once, then wait for each.
    fn end_all(&mut self) {
        for token in self.sandboxes.keys() {
            self.signal(*token, libc::SIGKILL);
        }
        self.sandboxes.clear();
    }
}

/// What the broker has been told of a sandbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Started,
}

fn no_go(errno: Errno) -> Error {
    Error::host("make", "a socket for a connection", errno)
}

/// An error in one printable line, with what to do about it.
fn worded(error: &Error) -> String {
    let hint = error.hint().map(|hint| format!("; hint: {hint}"));
    let line = chain(error) + &hint.unwrap_or_default();
    Printable(&line).to_string()
}
