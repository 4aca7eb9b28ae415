//! The supervisor's thread that connects for the command: each `connect` inside is told to it, decided,
//! and made by it or not at all.
//!
//! A thread of its own, in the program and in the library, for three reasons. A connection that waits
//! must hold up neither signals nor time limits. The supervisor of a command with egress is in a
//! Landlock domain, from which no process of the sandbox may be looked into. And what this thread gives
//! up, ids and calls, the rest of a program that uses the library needs.
//!
//! ```text
//! connect inside ─told─► copy the descriptor, copy the address ─► still waiting? ─► decide
//!     ▲                                                                               │
//!     └────────── result ◄── connect(that file, that copy), without waiting ◄──allowed┘
//! ```
//!
//! The address is read once, and what was read is what is connected to; the descriptor is copied once,
//! and that open file is what is connected. A thread inside that changes either meanwhile changes
//! nothing. No call that is decided by what a pointer points to is ever let go on.
//!
//! Where the thread ends, however it ends, the kernel answers each such call with ENOSYS.
#![forbid(unsafe_code)]

mod learn;

use std::collections::{BTreeSet, HashSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use caps::Capability;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::time::TimeValLike;
use nix::unistd::{getegid, geteuid};
use tracing::{debug, error};

use super::call::{self, Call, UnixAddress};
use super::carry::Told;
use super::direct::{self, Counter, Given, Order, Place, Wanted};
use super::journal::Journal;
use super::setup::V;
use super::unix::{self, Sockets};
use super::who::Callers;
use crate::confine::{self, ChangesIds};
use crate::error::{Error, Result};
use crate::filter::{self, Arch, Beyond, Program, Underlay};
use crate::plan::{Plan, errno_of};
use crate::policy::{Carrier, Network, UnixSockets};
use crate::prepare::Identity;
use crate::proc_file;
use crate::sys::notify::{self, Answer};

/// How many connections wait at a time; the next one is refused with ENOBUFS.
const MOST_WAITING: usize = 512;
/// How often it is looked whether who waits was sent a signal, or is gone.
const LOOK: Duration = Duration::from_millis(20);
/// How long a caller that does not wait is held for the look-up of a name, before it is relayed.
const WITHOUT_WAITING: Duration = Duration::from_millis(100);
/// How long to a Unix socket whose queue is full, of which the kernel tells nothing.
const AGAIN: Duration = Duration::from_millis(5);
/// The thread's stack: what it does is shallow.
const STACK: usize = 256 * 1024;
/// How long the library waits for the thread to end.
const PATIENCE: Duration = Duration::from_millis(500);
/// What the kernel turns into EINTR, or into the call made again, as the signal's handler says.
const ERESTARTSYS: i32 = 512;

/// What lies under the profile's filter, and what is decided by.
#[derive(Clone, Debug)]
pub(crate) struct Policing {
    pub(crate) underlay: Underlay,
    /// Sockets of the host that are allowed.
    pub(crate) allowed: Vec<PathBuf>,
    /// Paths that the mounts cover because a socket of the host is there.
    pub(crate) hidden: BTreeSet<PathBuf>,
    /// Which Unix sockets may be connected to.
    pub(crate) which: UnixSockets,
    /// Who carries Internet connections.
    pub(crate) carrier: Carrier,
    /// Whether sockets with abstract names are the sandbox's own.
    pub(crate) abstract_names: AbstractNames,
    /// Calls beyond the profile, of which it is told where somebody learns.
    pub(crate) beyond: Option<Arc<Beyond>>,
}

/// Whose the abstract names of the command's network are (unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AbstractNames {
    /// The sandbox's alone.
    Own,
    /// Others' too. This thread is in no Landlock domain that would part them, so none is connected to.
    Shared,
}

/// What the child has sent: its listener, and a socket of its network.
#[derive(Debug)]
pub(crate) struct Notifier {
    pub(crate) listener: OwnedFd,
    pub(crate) sample: OwnedFd,
}

/// As whom the thread acts.
#[derive(Clone, Debug)]
struct Ids {
    /// The command's, where they are not the launcher's own.
    command: Option<Identity>,
    /// Kept capabilities.
    kept: HashSet<Capability>,
}

impl Ids {
    fn of(plan: &Plan) -> Self {
        let other = |identity: &&Identity| {
            (identity.uid, identity.gid) != (geteuid().as_raw(), getegid().as_raw())
        };
        let command = plan.identity.as_ref().filter(other).cloned();
        let mut kept = HashSet::new();
        // Over a user namespace of its own making this process has every capability, without one to its
        // name (user_namespaces(7)).
        if !plan.user_namespace {
            kept.insert(Capability::CAP_NET_ADMIN);
            if command.is_some() {
                kept.insert(Capability::CAP_SYS_PTRACE);
            }
        }
        let held = caps::read(None, caps::CapSet::Permitted).unwrap_or_default();
        kept.retain(|capability| held.contains(capability));
        Self { command, kept }
    }

    /// Take the ids, and give up what is not needed. The effective user stays the launcher's, who owns
    /// the sandbox's user namespace and so may look into it.
    fn assume(&self) -> std::result::Result<(), Errno> {
        if let Some(Identity { uid, gid, groups }) = &self.command {
            let own = geteuid().as_raw();
            notify::set_own_groups(*gid, groups)?;
            notify::set_own_user(*uid, own, own)?;
            notify::set_file_user(*uid);
        }
        confine::limit_capabilities(&self.kept)
    }

    /// Take the ids and give up every call that connecting does not need.
    fn confine(&self) -> std::result::Result<(), Errno> {
        self.assume()?;
        confine::confine_connecting(match self.command {
            Some(_) => ChangesIds::Yes,
            None => ChangesIds::No,
        })
    }

    /// Make a call as the command: a Unix socket's file asks whose it is, and its other end learns who
    /// came.
    fn as_command(
        &self,
        call: impl FnOnce() -> std::result::Result<(), Errno>,
    ) -> std::result::Result<(), Errno> {
        const AS_IT_IS: u32 = u32::MAX;
        let Some(Identity { uid, .. }) = &self.command else {
            return call();
        };
        let own = geteuid().as_raw();
        notify::set_own_user(AS_IT_IS, *uid, AS_IT_IS)?;
        let made = call();
        notify::set_own_user(AS_IT_IS, own, AS_IT_IS)?;
        notify::set_file_user(*uid);
        made
    }
}

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

impl Policing {
    /// Whether the supervisor is told of calls.
    pub(crate) fn tells(&self) -> bool {
        self.underlay.tells == filter::Tells::Yes
    }

    /// Whose the abstract names of `network` are.
    pub(crate) fn abstract_names_of(network: &Network) -> AbstractNames {
        match network {
            Network::Namespace(_) | Network::Host => AbstractNames::Shared,
            _ => AbstractNames::Own,
        }
    }
}

/// The thread at work. Dropping it ends the work.
#[derive(Debug)]
pub(crate) struct Warden {
    stop: EventFd,
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

/// The numbers of the calls that are told.
#[derive(Clone, Copy, Debug)]
struct Calls {
    connect: u32,
    listen: u32,
    bind: u32,
}

impl Calls {
    fn contain(self, number: u32) -> bool {
        [self.connect, self.listen].contains(&number)
    }

    fn native() -> Option<Self> {
        let number = |name| filter::number(name, Arch::native());
        Some(Self {
            connect: number("connect")?,
            listen: number("listen")?,
            bind: number("bind")?,
        })
    }
}

/// A call of the command's that waits for its connection, as that of a socket that is not O_NONBLOCK does.
#[derive(Debug)]
struct Waiting {
    id: u64,
    task: i32,
    socket: OwnedFd,
    destination: Destination,
    stage: Stage,
    /// Until when it waits (`SO_SNDTIMEO`).
    until: Option<Instant>,
    looks_at: Instant,
}

/// What a call waits for.
#[derive(Debug)]
enum Stage {
    /// Its own socket is being connected.
    Own,
    /// A socket of the host's is ordered for it, to be put where the number is.
    Ordered(i32, Place),
    /// It waits for somebody to listen where it goes.
    Learned,
    /// It has got one that is on its way, and connects it again.
    Given,
}

/// What a socket is connected to.
#[derive(Debug)]
enum Destination {
    /// The bytes of a socket address, in the socket's own family.
    Address(Vec<u8>),
    /// The file of a Unix socket.
    File(OwnedFd),
}

/// What came of an attempt.
enum Attempt {
    Over(Answer),
    /// It is under way, and shows on the descriptor.
    UnderWay,
    /// The other side has no room.
    Full,
}

struct Work {
    calls: Calls,
    listener: OwnedFd,
    /// Which network the sandbox's sockets belong to.
    network: u64,
    abstract_names: AbstractNames,
    which: UnixSockets,
    carrier: Carrier,
    beyond: Option<Arc<Beyond>>,
    /// What lies under the profile, without the calls beyond it.
    under: Program,
    /// Where the side that dials is asked.
    counter: Option<Counter>,
    hidden: BTreeSet<PathBuf>,
    sockets: Sockets,
    ids: Ids,
    waiting: Vec<Waiting>,
    callers: Callers,
    journal: Journal,
}

impl Work {
    fn run(mut self, stop: &OwnedFd) {
        loop {
            let (news, ready) = match self.wait(stop) {
                Some(found) => found,
                None => return,
            };
            self.take_given();
            if news {
                self.take();
            }
            self.look_after(&ready);
        }
    }

    /// Until there is something to do: whether a call was told, and which calls that wait show something.
    /// `None` at the end.
    fn wait(&self, stop: &OwnedFd) -> Option<(bool, Vec<u64>)> {
        let mut watched = vec![
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
        ];
        let both = watched.len();
        for waiting in &self.waiting {
            // One that was not begun with shows that it is hung up.
            let interest = match (&waiting.stage, &waiting.destination) {
                (Stage::Ordered(..) | Stage::Learned, _) => {
                    watched.push(PollFd::new(stop.as_fd(), PollFlags::empty()));
                    continue;
                }
                (_, Destination::Address(_)) => PollFlags::POLLOUT,
                (_, Destination::File(_)) => PollFlags::empty(),
            };
            watched.push(PollFd::new(waiting.socket.as_fd(), interest));
        }
        if let Some(counter) = &self.counter {
            watched.push(PollFd::new(counter.descriptor(), PollFlags::POLLIN));
        }
        let timeout = match self.waiting.iter().map(|waiting| waiting.looks_at).min() {
            None => PollTimeout::NONE,
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::ZERO)
            }
        };
        match poll(&mut watched, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Some((false, Vec::new())),
            Err(_) => return None,
        }
        let seen = |at: usize| watched.get(at).and_then(PollFd::revents);
        let told = seen(0).unwrap_or(PollFlags::empty());
        // Of the last task that could tell anything.
        let over = told.contains(PollFlags::POLLHUP) && !told.contains(PollFlags::POLLIN);
        if over || seen(1).is_some_and(|seen| !seen.is_empty()) {
            return None;
        }
        let ready = (0..)
            .zip(&self.waiting)
            .filter(|(at, _)| seen(both + at).is_some_and(|seen| !seen.is_empty()))
            .map(|(_, waiting)| waiting.id)
            .collect();
        Some((told.contains(PollFlags::POLLIN), ready))
    }

    /// Take one call, and answer it if that can be done now.
    fn take(&mut self) {
        let Ok(bytes) = notify::receive(self.listener.as_fd()) else {
            return;
        };
        let Some(call) = Call::parse(&bytes) else {
            let id = bytes.first_chunk().map_or(0, |id| u64::from_ne_bytes(*id));
            self.answer(id, Answer::Fails(libc::ENOSYS));
            return;
        };
        let native = call.architecture == Arch::native().audit_word();
        let beyond = native.then(|| self.beyond(&call)).flatten();
        let answer = match call.number {
            _ if beyond.as_ref().is_some_and(|it| *it != Answer::GoesOn) => beyond,
            number if number == self.calls.listen && native => Some(self.listens(&call)),
            number if number == self.calls.bind && native => Some(
                self.binds(&call)
                    .unwrap_or_else(|errno| Answer::Fails(errno as i32)),
            ),
            number if number == self.calls.connect && native => self
                .connects(&call)
                .unwrap_or_else(|errno| Some(Answer::Fails(errno as i32))),
            // A call beyond the profile that goes on, or nothing that was to be told.
            _ => Some(beyond.unwrap_or(Answer::Fails(libc::ENOSYS))),
        };
        if let Some(answer) = answer {
            self.answer(call.id, answer);
        }
    }

    fn answer(&self, id: u64, answer: Answer) {
        // Who was killed meanwhile needs none.
        let _ = notify::answer(self.listener.as_fd(), id, answer);
    }

    /// The socket that `call` names first.
    fn socket(&self, call: &Call) -> std::result::Result<OwnedFd, Errno> {
        let task = notify::open_task(call.task, || process_of(call.task))?;
        notify::copy_descriptor(task.as_fd(), call.int(0))
    }

    /// Something inside is about to listen.
    ///
    /// Where it may have a socket of the host's, the call is made here, on the very socket that was looked
    /// at: otherwise the number could mean another by the time that the kernel makes it.
    fn listens(&mut self, call: &Call) -> Answer {
        let direct = self.carrier == Carrier::Direct;
        let socket = match self.socket(call) {
            Ok(socket) => socket,
            Err(errno) if direct => return Answer::Fails(errno as i32),
            Err(_) => return Answer::GoesOn,
        };
        let socket = socket.as_fd();
        let own = notify::network_of(socket).map(|network| network == self.network);
        // Once it was a descriptor of a task that waits, it is one of the sandbox's.
        if own == Ok(true) && notify::still_waits(self.listener.as_fd(), call.id) {
            if notify::socket_number(socket, libc::SO_DOMAIN) == Ok(libc::AF_UNIX) {
                self.sockets.learn(socket);
            }
            if direct {
                return match self.ids.as_command(|| notify::listen(socket, call.int(1))) {
                    Ok(()) => Answer::Value(0),
                    Err(errno) => Answer::Fails(errno as i32),
                };
            }
        }
        match own {
            // It has no pointer: what it is made with is what the kernel was given.
            _ if !direct => Answer::GoesOn,
            Err(errno) => Answer::Fails(errno as i32),
            Ok(_) => Answer::Fails(libc::EINVAL),
        }
    }

    /// Something inside is about to bind a socket, which may be one of the host's. An Internet socket is
    /// bound here. A Unix socket's file is the caller's to make, with its mask and its directory: that call
    /// goes on. A number that means a closed socket of the host's by then takes a port there that nothing
    /// can be reached on, for it can neither listen nor connect.
    fn binds(&mut self, call: &Call) -> std::result::Result<Answer, Errno> {
        let socket = self.socket(call)?;
        let socket = socket.as_fd();
        if notify::socket_number(socket, libc::SO_DOMAIN)? == libc::AF_UNIX {
            return Ok(Answer::GoesOn);
        }
        let mut room = [0; call::LONGEST];
        let bytes = self.address(call, &mut room)?;
        if notify::network_of(socket)? != self.network {
            return Err(Errno::EINVAL);
        }
        if !notify::still_waits(self.listener.as_fd(), call.id) {
            return Err(Errno::EINTR);
        }
        notify::bind(socket, bytes).map(|()| Answer::Value(0))
    }

    /// The socket address that `call` has second and third, read once.
    fn address<'a>(
        &self,
        call: &Call,
        room: &'a mut [u8; call::LONGEST],
    ) -> std::result::Result<&'a [u8], Errno> {
        let length = usize::try_from(call.int(2)).map_err(|_| Errno::EINVAL)?;
        let bytes = room.get_mut(..length).ok_or(Errno::EINVAL)?;
        let [_, address, ..] = call.arguments;
        notify::read_memory(call.task, address, bytes)?;
        Ok(bytes)
    }

    /// Decide a `connect` and begin it; `None` where it waits.
    fn connects(&mut self, call: &Call) -> std::result::Result<Option<Answer>, Errno> {
        let socket = self.socket(call)?;
        let mut room = [0; call::LONGEST];
        let bytes = self.address(call, &mut room)?;
        let family = notify::socket_number(socket.as_fd(), libc::SO_DOMAIN)?;
        let own = notify::network_of(socket.as_fd())? == self.network;
        let destination = match family {
            libc::AF_UNIX if own => self.unix_destination(call, socket.as_fd(), bytes)?,
            _ => Destination::Address(bytes.to_vec()),
        };
        // All that was looked at was of a task that waits still, and not of another with its number.
        if !notify::still_waits(self.listener.as_fd(), call.id) {
            return Ok(None);
        }
        let waits = Waits::of(socket.as_fd())?;
        if own && self.learns(call, socket.as_fd(), bytes) {
            self.keep(call, socket, destination, Stage::Learned, None)?;
            return Ok(None);
        }
        if let Some(place) = self.order(call, socket.as_fd(), bytes, &waits, own) {
            let limit = match waits.waits {
                true => waits.limit,
                false => Some(WITHOUT_WAITING),
            };
            let stage = Stage::Ordered(call.int(0), place);
            self.keep(call, socket, destination, stage, limit)?;
            return Ok(None);
        }
        if !own {
            return self.connects_again(call, socket, destination, &waits);
        }
        match self.noted(call.task, socket.as_fd(), &destination, &waits) {
            Attempt::Over(answer) => Ok(Some(answer)),
            Attempt::UnderWay | Attempt::Full => {
                self.keep(call, socket, destination, Stage::Own, waits.limit)?;
                Ok(None)
            }
        }
    }

    /// Make an attempt for `task`, and note whose it is where somebody wants to know.
    fn noted(
        &self,
        task: i32,
        socket: BorrowedFd<'_>,
        destination: &Destination,
        waits: &Waits,
    ) -> Attempt {
        let attempt = || self.attempt(socket, destination, waits);
        let stream = notify::socket_number(socket, libc::SO_TYPE) == Ok(libc::SOCK_STREAM);
        let told = stream || self.journal.learns();
        let to = match destination {
            Destination::Address(bytes) if told && !waits.local => call::internet_address(bytes),
            _ => None,
        };
        match to {
            Some(to) => self.callers.note(|| process_of(task), socket, to, attempt),
            None => attempt(),
        }
    }

    /// Have `call` wait.
    fn keep(
        &mut self,
        call: &Call,
        socket: OwnedFd,
        destination: Destination,
        stage: Stage,
        limit: Option<Duration>,
    ) -> std::result::Result<(), Errno> {
        if self.waiting.len() >= MOST_WAITING {
            return Err(Errno::ENOBUFS);
        }
        let now = Instant::now();
        self.waiting.push(Waiting {
            id: call.id,
            task: call.task,
            socket,
            stage,
            until: limit.and_then(|limit| now.checked_add(limit)),
            looks_at: now + AGAIN,
            destination,
        });
        Ok(())
    }

    /// Order a socket of the host's, where one may take this one's place: where in the caller's table.
    fn order(
        &self,
        call: &Call,
        socket: BorrowedFd<'_>,
        bytes: &[u8],
        waits: &Waits,
        own: bool,
    ) -> Option<Place> {
        let direct = self.carrier == Carrier::Direct;
        let counter = self.counter.as_ref().filter(|_| direct)?;
        let asked = call::internet_address(bytes).filter(|it| !direct::is_own(it.ip()))?;
        let number = |option| notify::socket_number(socket, option);
        let family = match number(libc::SO_DOMAIN) {
            Ok(libc::AF_INET) if asked.is_ipv4() => V::Four,
            Ok(libc::AF_INET6) if asked.is_ipv6() => V::Six,
            _ => return None,
        };
        let stream = number(libc::SO_TYPE) == Ok(libc::SOCK_STREAM);
        let tcp = number(libc::SO_PROTOCOL) == Ok(libc::IPPROTO_TCP);
        let told = waits.flags.contains(OFlag::O_ASYNC);
        if !stream || !tcp || told || state_of(socket) != Some(CLOSED) {
            return None;
        }
        // One that was given and has failed may be tried again.
        if own && is_bound(socket) {
            return None;
        }
        let place = direct::replaceable(call.task, call.int(0))?;
        let order = Order {
            id: call.id,
            asked,
            family,
            waits: match waits.waits {
                true => direct::Waits::Yes,
                false => direct::Waits::No,
            },
            options: direct::options_of(socket),
        };
        counter.order(Wanted::Socket(order)).then_some(place)
    }

    /// Connecting a socket of another network: one that was given to the command, or handed in by somebody.
    /// It is never done; but a program that asks whether its connection has come about is answered.
    fn connects_again(
        &mut self,
        call: &Call,
        socket: OwnedFd,
        destination: Destination,
        waits: &Waits,
    ) -> std::result::Result<Option<Answer>, Errno> {
        let asks = match &destination {
            Destination::Address(bytes) => call::internet_address(bytes).is_some(),
            Destination::File(_) => false,
        };
        match state_of(socket.as_fd()) {
            Some(SYN_SENT) if asks && waits.waits => {
                self.keep(call, socket, destination, Stage::Given, waits.limit)?;
                return Ok(None);
            }
            Some(SYN_SENT) if asks => return Err(Errno::EALREADY),
            Some(CLOSED) if asks => {
                if let Some(error) = pending_error(socket.as_fd()) {
                    return Err(error);
                }
            }
            Some(_) if asks => return Err(Errno::EISCONN),
            _ => {}
        }
        self.journal.refused_socket(
            "socket",
            "a socket of another network".to_owned(),
            "only the sandbox's own sockets can be connected; another one keeps the peer that it has",
            None,
            Instant::now(),
        );
        Err(Errno::EACCES)
    }

    /// Put what was given into the callers' tables.
    fn take_given(&mut self) {
        let given = self.counter.as_ref().map(Counter::take);
        for (id, given) in given.into_iter().flatten() {
            // Who is interrupted, or killed, does without: what was given is closed.
            let Some(at) = self.waiting.iter().position(|one| {
                one.id == id && matches!(one.stage, Stage::Ordered(..) | Stage::Learned)
            }) else {
                continue;
            };
            let one = self.waiting.swap_remove(at);
            let Stage::Ordered(number, place) = one.stage else {
                self.connect_inside(one);
                continue;
            };
            match given {
                Given::Failed(errno) => self.answer(id, Answer::Fails(errno as i32)),
                Given::Inside => self.connect_inside(one),
                Given::Connected(socket) => {
                    direct::lingers_as(one.socket.as_fd(), socket.as_fd());
                    self.put(id, &socket, number, place, Answer::Value(0));
                }
                Given::Begun(socket) => {
                    direct::lingers_as(one.socket.as_fd(), socket.as_fd());
                    self.put(id, &socket, number, place, Answer::Fails(libc::EINPROGRESS));
                }
            }
        }
    }

    /// Make descriptor `number` of the caller this socket, and let it go on.
    fn put(&self, id: u64, socket: &OwnedFd, number: i32, place: Place, answer: Answer) {
        let waits = answer == Answer::Value(0);
        let prepared = match waits {
            // It was opened not to wait; its caller's does.
            true => fcntl(socket, FcntlArg::F_GETFL).and_then(|flags| {
                let flags = OFlag::from_bits_retain(flags) - OFlag::O_NONBLOCK;
                fcntl(socket, FcntlArg::F_SETFL(flags)).map(drop)
            }),
            false => Ok(()),
        };
        let listener = self.listener.as_fd();
        let put = prepared.and_then(|()| {
            notify::put_descriptor(listener, id, socket.as_fd(), number, place.closes)
        });
        match put {
            Ok(()) => self.answer(id, answer),
            Err(errno) => self.answer(id, Answer::Fails(errno as i32)),
        }
    }

    /// What no socket was given for goes its way in the sandbox's own network.
    fn connect_inside(&mut self, mut one: Waiting) {
        let Ok(waits) = Waits::of(one.socket.as_fd()) else {
            self.answer(one.id, Answer::Fails(libc::EBADF));
            return;
        };
        match self.noted(one.task, one.socket.as_fd(), &one.destination, &waits) {
            Attempt::Over(answer) => self.answer(one.id, answer),
            Attempt::UnderWay | Attempt::Full => {
                one.stage = Stage::Own;
                self.waiting.push(one);
            }
        }
    }

    /// Where a Unix socket is to be connected to, if it may.
    fn unix_destination(
        &mut self,
        call: &Call,
        socket: BorrowedFd<'_>,
        bytes: &[u8],
    ) -> std::result::Result<Destination, Errno> {
        let kind = notify::socket_number(socket, libc::SO_TYPE)?;
        if kind == libc::SOCK_DGRAM && bytes.get(..2) == Some(&[0, 0]) {
            // AF_UNSPEC dissolves a connection.
            return Ok(Destination::Address(bytes.to_vec()));
        }
        let path = match call::unix_address(bytes).ok_or(Errno::EINVAL)? {
            UnixAddress::Path(path) => path,
            UnixAddress::Abstract(_) if self.abstract_names == AbstractNames::Own => {
                return Ok(Destination::Address(bytes.to_vec()));
            }
            UnixAddress::Abstract(name) => {
                let name = String::from_utf8_lossy(name).escape_debug().to_string();
                self.journal.refused_socket(
                    "unix",
                    format!("@{name}"),
                    "others have abstract names in this network too",
                    None,
                    Instant::now(),
                );
                return Err(Errno::ECONNREFUSED);
            }
        };
        let file =
            unix::resolve(call.task, path).inspect_err(|_| self.learn_covered(call, path))?;
        let is_socket = unix::is_socket(file.as_fd());
        // Datagrams can be sent to any without a connection, where there are datagrams at all.
        let free = kind == libc::SOCK_DGRAM || self.which == UnixSockets::Any;
        if is_socket && (free || self.sockets.may_be_connected(file.as_fd())) {
            self.learn_socket(call, file.as_fd(), path);
            return Ok(Destination::File(file));
        }
        let found = unix::path_of(file.as_fd(), path);
        let reason = match is_socket {
            true => "nothing in the sandbox listens there",
            false if self.hidden.contains(&found) => "the policy hides it",
            // Any other file has nothing to do with sockets.
            false => return Err(Errno::ECONNREFUSED),
        };
        self.learn_closed(call, &found, reason);
        let shown: String = found.to_string_lossy().escape_debug().collect();
        let flag = format!("--allow unix:{shown}");
        self.journal
            .refused_socket("unix", shown, reason, Some(flag), Instant::now());
        Err(Errno::ECONNREFUSED)
    }

    fn attempt(&self, socket: BorrowedFd<'_>, destination: &Destination, waits: &Waits) -> Attempt {
        // Whatever has led here: a socket of another network is connected to nothing.
        if notify::network_of(socket) != Ok(self.network) {
            return Attempt::Over(Answer::Fails(libc::EACCES));
        }
        let connected = waits.without_waiting(socket, || match destination {
            Destination::Address(bytes) => notify::connect(socket, bytes),
            Destination::File(file) => {
                let address = address_of(file);
                self.ids.as_command(|| notify::connect(socket, &address))
            }
        });
        match connected {
            Ok(()) => Attempt::Over(Answer::Value(0)),
            Err(Errno::EINPROGRESS | Errno::EALREADY) if waits.waits => Attempt::UnderWay,
            Err(Errno::EAGAIN) if waits.waits && waits.local => Attempt::Full,
            Err(errno) => Attempt::Over(Answer::Fails(errno as i32)),
        }
    }

    /// See what has become of the connections that wait; those at `ready` show something.
    fn look_after(&mut self, ready: &[u64]) {
        let now = Instant::now();
        for mut one in std::mem::take(&mut self.waiting) {
            let shows = ready.contains(&one.id);
            if !shows && one.looks_at > now {
                self.waiting.push(one);
                continue;
            }
            if !notify::still_waits(self.listener.as_fd(), one.id) {
                continue;
            }
            let over = match self.again(&one, shows) {
                Attempt::Over(answer) => Some(answer),
                _ if has_signal(one.task) => Some(Answer::Fails(ERESTARTSYS)),
                _ => None,
            };
            if let Some(answer) = over {
                self.answer(one.id, answer);
                continue;
            }
            one.looks_at = now
                + match one.destination {
                    Destination::Address(_) => LOOK,
                    Destination::File(_) => AGAIN,
                };
            let late = one.until.is_some_and(|until| until <= now);
            match (late, &one.stage, &one.destination) {
                (false, ..) => self.waiting.push(one),
                // The dial takes too long for a caller that does not wait: the relay waits for it.
                (true, Stage::Ordered(..), _) => {
                    one.until = None;
                    self.connect_inside(one);
                }
                (true, _, Destination::Address(_)) => {
                    self.answer(one.id, Answer::Fails(libc::EINPROGRESS));
                }
                (true, _, Destination::File(_)) => {
                    self.answer(one.id, Answer::Fails(libc::EAGAIN));
                }
            }
        }
    }

    /// Try again what waits, if it may have come about.
    fn again(&self, one: &Waiting, shows: bool) -> Attempt {
        let waits = match Waits::of(one.socket.as_fd()) {
            Ok(waits) => Waits {
                waits: true,
                ..waits
            },
            Err(errno) => return Attempt::Over(Answer::Fails(errno as i32)),
        };
        match (&one.stage, &one.destination) {
            (Stage::Ordered(..) | Stage::Learned, _) => Attempt::UnderWay,
            (Stage::Given, _) => match (
                state_of(one.socket.as_fd()),
                pending_error(one.socket.as_fd()),
            ) {
                (_, Some(error)) => Attempt::Over(Answer::Fails(error as i32)),
                (Some(SYN_SENT), None) => Attempt::UnderWay,
                (Some(CLOSED) | None, None) => Attempt::Over(Answer::Fails(libc::ECONNABORTED)),
                (Some(_), None) => Attempt::Over(Answer::Value(0)),
            },
            (Stage::Own, Destination::Address(_)) if !shows => Attempt::UnderWay,
            (Stage::Own, destination) => self.attempt(one.socket.as_fd(), destination, &waits),
        }
    }
}

/// States of a TCP socket (tcp(7), `<linux/tcp.h>`).
const SYN_SENT: u8 = 2;
const CLOSED: u8 = 7;

/// The state of a TCP socket.
fn state_of(socket: BorrowedFd<'_>) -> Option<u8> {
    let mut state = [0];
    notify::get_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut state).ok()?;
    let [state] = state;
    Some(state)
}

/// What went wrong with a socket, which is told once.
fn pending_error(socket: BorrowedFd<'_>) -> Option<Errno> {
    let error = notify::socket_number(socket, libc::SO_ERROR).ok()?;
    (error != 0).then(|| Errno::from_raw(error))
}

/// Whether a socket has a port already, which another one would not have.
fn is_bound(socket: BorrowedFd<'_>) -> bool {
    let name =
        nix::sys::socket::getsockname::<nix::sys::socket::SockaddrStorage>(socket.as_raw_fd());
    let Ok(name) = name else {
        return true;
    };
    let four = name
        .as_sockaddr_in()
        .map(|name| (name.port(), name.ip().is_unspecified()));
    let six = name
        .as_sockaddr_in6()
        .map(|name| (name.port(), name.ip().is_unspecified()));
    four.or(six) != Some((0, true))
}

/// How a socket waits in connect(2).
struct Waits {
    flags: OFlag,
    /// Not O_NONBLOCK.
    waits: bool,
    /// A Unix socket, which waits in silence where the listener's queue is full.
    local: bool,
    /// `SO_SNDTIMEO`.
    limit: Option<Duration>,
}

impl Waits {
    fn of(socket: BorrowedFd<'_>) -> std::result::Result<Self, Errno> {
        let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
        let waits = !flags.contains(OFlag::O_NONBLOCK);
        let local = notify::socket_number(socket, libc::SO_DOMAIN)? == libc::AF_UNIX;
        let limit = match waits {
            false => None,
            true => getsockopt(&socket, sockopt::SendTimeout)
                .ok()
                .map(|limit| limit.num_microseconds())
                .and_then(|limit| u64::try_from(limit).ok())
                .filter(|&limit| limit > 0)
                .map(Duration::from_micros),
        };
        Ok(Self {
            flags,
            waits,
            local,
            limit,
        })
    }

    /// Do `what` while the open file is O_NONBLOCK. It is the command's as well; that it shows the flag
    /// for the length of one call is the price for not waiting here.
    fn without_waiting<T>(&self, socket: BorrowedFd<'_>, what: impl FnOnce() -> T) -> T {
        if !self.waits {
            return what();
        }
        let set = |flags: OFlag| fcntl(socket, FcntlArg::F_SETFL(flags));
        // It fails for no socket.
        let _ = set(self.flags | OFlag::O_NONBLOCK);
        let done = what();
        let _ = set(self.flags);
        done
    }
}

/// The address by which this process reaches an open file of a Unix socket.
fn address_of(file: &OwnedFd) -> Vec<u8> {
    let family = u16::try_from(libc::AF_UNIX).unwrap_or_default();
    let mut bytes = family.to_ne_bytes().to_vec();
    bytes.extend(format!("/proc/self/fd/{}\0", file.as_raw_fd()).into_bytes());
    bytes
}

/// The number after `name:` in a task's status file.
fn status_number(status: &str, name: &str, radix: u32) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(line.strip_prefix(':')?.trim(), radix).ok()
}

/// The process of thread `task`.
fn process_of(task: i32) -> Option<i32> {
    let status = proc_file::read_text(format!("/proc/{task}/status")).ok()?;
    status_number(&status, "Tgid", 10).and_then(|pid| i32::try_from(pid).ok())
}

/// Whether thread `task` has a signal to take, so that a call of its own would be interrupted.
fn has_signal(task: i32) -> bool {
    let Ok(status) = proc_file::read_text(format!("/proc/{task}/status")) else {
        return false;
    };
    let set = |name| status_number(&status, name, 16).unwrap_or(0);
    let found = (set("SigPnd") | set("ShdPnd")) & !set("SigBlk");
    if found != 0 {
        debug!(task, found = format_args!("{found:#x}"), "is interrupted");
    }
    found != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_status_file_are_found() {
        let status = "Name:\tx\nTgid:\t17\nSigPnd:\t0000000000000401\n";
        assert_eq!(status_number(status, "Tgid", 10), Some(17));
        assert_eq!(status_number(status, "SigPnd", 16), Some(0x401));
        assert_eq!(status_number(status, "SigBlk", 16), None);
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(process_of(own), Some(own));
        assert!(!has_signal(own));
    }
}
