//! What a broker keeps, whatever way it hands over: listeners, the connections that are open, the
//! sandboxes that run, and everything that tells of them.
//!
//! In the broker's loop only. Acts, and counts what it does; who gets what is decided in
//! [`super::crew`] (workers in a pool) and [`super::each`] (a sandbox for each connection).
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, Shutdown, getsockopt, shutdown, sockopt};

use tracing::warn;

use super::address;
use super::channel::{Address, ListenerName, UnixName};
use super::connection::Credentials;
use super::crowd::Crowd;
use super::journal::{Ending, Journal, Told};
use super::keeper::{Keeper, Token};
use super::limit::{Census, Clock, Gate, Holds, Look, Most, Over, Pause, Progress, Source, Times};
use super::listen::{self, Listener, SocketFile};
use super::reactor::{Interest, Key, Reactor, Timers};
use super::settings::{HandOver, Settings};
use super::tally::{ListenerView, Tally, Why};
use crate::error::{Error, Result};
use crate::init::{self, Heard, Record};
use crate::sys::parent;

/// Descriptors that are never used for connections: for channels, sandboxes, and whoever asks for
/// metrics.
const RESERVED: RawFd = 64;
/// The most connections that are still taken out of a queue that nobody counts, when the broker ends.
const MOST_WAITING: u32 = 4096;
/// The first and the longest pause after which it is tried again whether a descriptor is free.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A point in time at which something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// The service manager wants to hear that the broker is alive.
    Watchdog,
    /// It is told how things stand.
    Status,
    /// Whether a descriptor is free.
    Descriptors,
    /// Whether launches work again.
    Launches,
    /// The end of the end.
    Drain,
    /// A connection's limits.
    Guest(u64),
    /// A connection whose time is over, and which its worker has not given back.
    Grace(u64),
    /// A sandbox that was asked to end.
    Kill(u64),
    /// A channel that took nothing for want of memory.
    Channel(u64),
    /// Whether a worker has taken what was put into its channel.
    Taking(u64),
    /// A worker that accepts for itself has run for a while.
    Steady(u64),
}

/// A listener while it is watched.
#[derive(Debug)]
struct Door {
    fd: Option<OwnedFd>,
    /// Removed by the keeper, as the broker may remove nothing.
    _file: Option<SocketFile>,
    name: ListenerName,
    tcp: bool,
    /// What the listener's own address is, where it is that of each connection too.
    local: Option<Address>,
    /// Nobody is let in, and the kernel was told not to say that somebody is there.
    muted: bool,
    /// How many more are let in before it is closed, once the broker comes to its end.
    left: Option<u32>,
    crowd: Crowd,
}

/// A connection that was let in.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) socket: OwnedFd,
    pub(crate) listener: ListenerName,
    pub(crate) peer: Address,
    pub(crate) local: Address,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) accepted: SystemTime,
    door: usize,
    source: Source,
}

/// What comes of looking at a listener.
#[derive(Debug)]
pub(crate) enum Knock {
    Arrival(Box<Arrival>),
    /// Somebody who was sent away.
    Refused,
    Nobody,
    /// It cannot be said who is there: no descriptor, no memory.
    Trouble,
}

/// A connection from its acceptance to its end.
#[derive(Debug)]
struct Guest {
    source: Source,
    since: Instant,
    clock: Clock,
    /// The socket, where limits have to be kept.
    copy: Option<OwnedFd>,
    tcp: bool,
    over: Option<Over>,
    worker: Option<u64>,
}

/// A sandbox that runs.
#[derive(Debug)]
struct Sandbox {
    pid: i32,
    pidfd: OwnedFd,
    status: Option<OwnedFd>,
    since: Instant,
    ended: Option<i32>,
}

/// What all ways to hand over share.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) settings: Settings,
    pub(crate) reactor: Reactor,
    pub(crate) timers: Timers<Timer>,
    pub(crate) keeper: Keeper,
    pub(crate) journal: Journal,
    pub(crate) tally: Tally,
    pub(crate) gate: Gate,
    pub(crate) listeners: Vec<ListenerView>,
    /// Why the last launch failed that did.
    pub(crate) last_failure: Option<String>,
    /// The time of this turn of the loop.
    pub(crate) now: Instant,
    doors: Vec<Door>,
    census: Census,
    guests: HashMap<u64, Guest>,
    sandboxes: HashMap<u64, Sandbox>,
    /// The first descriptor number that is kept for other things than connections.
    reserve: RawFd,
    pause: Duration,
}

impl House {
    /// Move in. Nobody is let in yet.
    ///
    /// # Errors
    /// When the listeners cannot be watched.
    pub(crate) fn new(
        settings: Settings,
        listeners: Vec<Listener>,
        keeper: Keeper,
        journal: Journal,
    ) -> Result<Self> {
        let reactor = Reactor::new()?;
        reactor.watch(keeper.as_fd(), Key::Keeper, Interest::Read)?;
        let views: Vec<ListenerView> = listeners
            .iter()
            .map(|listener| ListenerView {
                name: listener.name.clone(),
                address: listener.address.clone(),
            })
            .collect();
        let mut house = Self {
            reactor,
            timers: Timers::default(),
            keeper,
            journal,
            tally: Tally::new(views.len()),
            gate: Gate::default(),
            listeners: views,
            last_failure: None,
            now: Instant::now(),
            doors: Vec::new(),
            census: Census::new(Most {
                connections: settings.max_connections,
                per_source: settings.max_per_source,
            }),
            guests: HashMap::new(),
            sandboxes: HashMap::new(),
            reserve: highest_descriptor().saturating_sub(RESERVED),
            pause: FIRST_PAUSE,
            settings,
        };
        // Workers that accept for themselves have copies already; ours is for those to come.
        for listener in listeners {
            house.add_door(listener)?;
        }
        Ok(house)
    }

    fn add_door(&mut self, listener: Listener) -> Result<()> {
        let name = ListenerName::new(&listener.name)
            .map_err(|reason| Error::usage(listener.name.clone(), reason.to_string()))?;
        let tcp = listener.is_tcp();
        let own = named(address::local_of(listener.fd.as_fd()));
        let everywhere = matches!(&own, Address::Inet(address) if address.ip().is_unspecified());
        if self.settings.hand_over != HandOver::Listener {
            listen::set_nonblocking(&listener.fd)?;
            let place = u64::try_from(self.doors.len()).unwrap_or(u64::MAX);
            // Watched from the first worker on.
            self.reactor
                .watch(listener.fd.as_fd(), Key::Listener(place), Interest::Nothing)?;
        }
        self.doors.push(Door {
            fd: Some(listener.fd),
            _file: listener.made,
            name,
            tcp,
            local: Some(own).filter(|_| !everywhere),
            muted: true,
            left: None,
            crowd: Crowd::default(),
        });
        Ok(())
    }

    // ---- letting in ----

    /// Let nobody in by this listener until [`House::open_doors`].
    pub(crate) fn mute(&mut self, place: usize) {
        if let Some(door) = self.doors.get_mut(place)
            && !door.muted
            && let Some(fd) = &door.fd
        {
            door.muted = true;
            let key = Key::Listener(u64::try_from(place).unwrap_or(u64::MAX));
            self.reactor.change(fd.as_fd(), key, Interest::Nothing);
        }
    }

    /// Watch every listener.
    pub(crate) fn open_doors(&mut self) {
        for (place, door) in (0..).zip(&mut self.doors) {
            if door.muted
                && let Some(fd) = &door.fd
            {
                door.muted = false;
                self.reactor
                    .change(fd.as_fd(), Key::Listener(place), Interest::Read);
            }
        }
    }

    /// Whether to knock again in this turn at a listener where one was let in. At the end always: nothing
    /// else tells then that nobody is left.
    pub(crate) fn expects_another(&mut self, place: usize) -> bool {
        self.doors
            .get_mut(place)
            .is_some_and(|door| door.left.is_some() || door.crowd.expects_another())
    }

    /// A turn at a listener has let so many in.
    pub(crate) fn turned(&mut self, place: usize, let_in: usize) {
        if let Some(door) = self.doors.get_mut(place) {
            door.crowd.turned(let_in);
        }
    }

    /// See who is at a listener, and let one in.
    pub(crate) fn knock(&mut self, place: usize) -> Knock {
        let Some(door) = self.doors.get_mut(place) else {
            return Knock::Nobody;
        };
        let Some(fd) = &door.fd else {
            return Knock::Nobody;
        };
        if door.left == Some(0) {
            self.close_door(place);
            return Knock::Nobody;
        }
        let (socket, peer) = match parent::accept(fd.as_fd()) {
            Ok(accepted) => accepted,
            Err(Errno::EAGAIN) => {
                // Who comes after the last call finds it closed.
                if door.left.is_some() {
                    self.close_door(place);
                }
                return Knock::Nobody;
            }
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                self.no_descriptors();
                return Knock::Trouble;
            }
            // Another process that has it may have shut it down: it would be told without end.
            Err(errno @ (Errno::EINVAL | Errno::EBADF | Errno::ENOTSOCK | Errno::EOPNOTSUPP)) => {
                let listener = door.name.as_str();
                warn!(listener, %errno, "a listener accepts no more");
                self.close_door(place);
                return Knock::Trouble;
            }
            // What befell a connection before it was accepted (accept(2)).
            Err(_) => return Knock::Refused,
        };
        if let Some(left) = &mut door.left {
            *left = left.saturating_sub(1);
        }
        let number = socket.as_raw_fd();
        let credentials = match door.tcp {
            true => None,
            false => credentials_of(&socket),
        };
        let peer = named(peer.as_ref().map_or(Err(Errno::ENOTCONN), address::of));
        let local = match &door.local {
            Some(local) => local.clone(),
            None => named(address::local_of(socket.as_fd())),
        };
        let source = match (&peer, credentials) {
            (Address::Inet(address), _) => Source::of(address.ip()),
            (Address::Unix(_), credentials) => {
                Source::User(credentials.map_or(u32::MAX, |peer| peer.uid))
            }
        };
        let arrival = Arrival {
            listener: door.name.clone(),
            peer,
            local,
            credentials,
            accepted: SystemTime::now(),
            door: place,
            source,
            socket,
        };
        self.tally.accept(place);
        if self.census.admit(source).is_err() {
            self.tally.refused = self.tally.refused.saturating_add(1);
            self.journal.refused(
                Told {
                    listener: arrival.listener.as_str(),
                    peer: &arrival.peer,
                },
                "max-per-source",
            );
            return Knock::Refused;
        }
        if number >= self.reserve {
            self.no_descriptors();
        }
        Knock::Arrival(Box::new(arrival))
    }

    /// Count an arrival among the guests, as number `id`.
    pub(crate) fn welcome(&mut self, id: u64, arrival: &Arrival) {
        self.journal.accepted(
            id,
            Told {
                listener: arrival.listener.as_str(),
                peer: &arrival.peer,
            },
        );
        let times = Times {
            idle: self.settings.idle,
            total: self.settings.total,
        };
        let limited = times.idle.or(times.total).is_some();
        let copy = match limited {
            true => parent::duplicate(arrival.socket.as_raw_fd()).ok(),
            false => None,
        };
        let mut guest = Guest {
            source: arrival.source,
            since: self.now,
            clock: Clock::new(times, self.now),
            copy,
            tcp: self.doors.get(arrival.door).is_some_and(|door| door.tcp),
            over: None,
            worker: None,
        };
        if let Look::At(at) = guest.clock.look(self.now, None) {
            self.timers.set(Timer::Guest(id), at);
        }
        self.guests.insert(id, guest);
    }

    /// How many more may be let in, by the limit in total.
    pub(crate) fn room(&self) -> usize {
        match self.settings.max_connections {
            None => usize::MAX,
            Some(most) => most.saturating_sub(self.census.open()),
        }
    }

    /// How many are open, and from how many sources.
    pub(crate) fn open(&self) -> (usize, usize) {
        (self.census.open(), self.census.sources())
    }

    /// Whether there are as many as there may be.
    pub(crate) fn is_full(&self) -> bool {
        self.census.is_full()
    }

    fn no_descriptors(&mut self) {
        if let Some(word) = self.gate.set(Pause::Descriptors, Holds::Yes, self.now) {
            self.journal.gate(word);
        }
        if !self.timers.is_set(Timer::Descriptors) {
            self.wait_for_descriptors();
        }
    }

    fn wait_for_descriptors(&mut self) {
        if let Some(at) = self.now.checked_add(self.pause) {
            self.timers.set(Timer::Descriptors, at);
        }
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
    }

    /// See whether a descriptor is free again, by taking one.
    pub(crate) fn try_descriptors(&mut self) {
        let taken = parent::duplicate(self.keeper.as_fd().as_raw_fd());
        if !taken.is_ok_and(|fd| fd.as_raw_fd() < self.reserve) {
            self.wait_for_descriptors();
            return;
        }
        self.pause = FIRST_PAUSE;
        if let Some(word) = self.gate.set(Pause::Descriptors, Holds::No, self.now) {
            self.journal.gate(word);
        }
    }

    // ---- the last call ----

    /// Whoever waits already is still let in; then the listeners are closed.
    pub(crate) fn last_call(&mut self) {
        for door in &mut self.doors {
            if let Some(fd) = &door.fd {
                let waiting = listen::waiting(fd.as_fd()).unwrap_or(MOST_WAITING);
                door.left = Some(waiting);
            }
        }
        // Those at which nobody waits would never be looked at again.
        for place in 0..self.doors.len() {
            if self.doors.get(place).is_some_and(|it| it.left == Some(0)) {
                self.close_door(place);
            }
        }
    }

    /// Let nobody in any more.
    pub(crate) fn close_doors(&mut self) {
        for place in 0..self.doors.len() {
            self.close_door(place);
        }
    }

    fn close_door(&mut self, place: usize) {
        if let Some(fd) = self.doors.get_mut(place).and_then(|door| door.fd.take()) {
            self.reactor.forget(fd.as_fd());
        }
    }

    /// The listeners that are not closed.
    pub(crate) fn open_places(&self) -> Vec<usize> {
        let doors = self.doors.iter().enumerate();
        doors
            .filter(|(_, door)| door.fd.is_some())
            .map(|(place, _)| place)
            .collect()
    }

    /// Whether every listener is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.doors.iter().all(|door| door.fd.is_none())
    }

    // ---- guests ----

    /// A connection was given to a worker.
    pub(crate) fn handed_over(&mut self, id: u64, worker: u64) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.worker = Some(worker);
            self.journal.handed_over(id, worker);
        }
    }

    /// A connection was taken back from a worker that ended.
    pub(crate) fn taken_back(&mut self, id: u64, worker: u64) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.worker = None;
            self.tally.returned = self.tally.returned.saturating_add(1);
            self.journal.returned(id, worker);
        }
    }

    /// Whether a limit has ended a connection already.
    pub(crate) fn is_over(&self, id: u64) -> bool {
        self.guests
            .get(&id)
            .is_some_and(|guest| guest.over.is_some())
    }

    /// Whose a connection is.
    pub(crate) fn worker_of(&self, id: u64) -> Option<u64> {
        self.guests.get(&id).and_then(|guest| guest.worker)
    }

    /// A connection is over. What a limit has ended is over because of that, whatever came of it.
    pub(crate) fn release(&mut self, id: u64, why: Why, detail: Option<&str>) {
        let Some(guest) = self.guests.remove(&id) else {
            return;
        };
        let why = match (why, guest.over) {
            (Why::Done | Why::Refused | Why::Lost, Some(over)) => Why::from(over),
            _ => why,
        };
        self.timers.cancel(Timer::Guest(id));
        self.timers.cancel(Timer::Grace(id));
        self.census.release(guest.source);
        self.tally.close(why);
        let took = self.now.saturating_duration_since(guest.since);
        self.journal.closed(id, why, detail, took);
    }

    /// Look at a connection's clock; why its time is over, if it is.
    pub(crate) fn look(&mut self, id: u64) -> Option<Over> {
        let guest = self.guests.get_mut(&id)?;
        let progress = match &guest.copy {
            Some(copy) if guest.tcp => progress_of(copy.as_fd()),
            _ => None,
        };
        match guest.clock.look(self.now, progress) {
            Look::At(at) => {
                self.timers.set(Timer::Guest(id), at);
                None
            }
            Look::Never => None,
            Look::Over(over) => Some(over),
        }
    }

    /// Cut a connection whose time is over: its peer and its worker see its end.
    pub(crate) fn cut(&mut self, id: u64, over: Over) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.over = Some(over);
            if let Some(copy) = &guest.copy {
                // It may be over already.
                let _ = shutdown(copy.as_raw_fd(), Shutdown::Both);
            }
        }
    }

    /// A connection's time is over; whoever has it is ended.
    pub(crate) fn note_over(&mut self, id: u64, over: Over) {
        if let Some(guest) = self.guests.get_mut(&id) {
            guest.over = Some(over);
        }
    }

    /// All that are open.
    pub(crate) fn guests(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.guests.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    // ---- sandboxes ----

    /// A sandbox was launched: it is watched from now on.
    ///
    /// # Errors
    /// When it cannot be: it ends then.
    pub(crate) fn started(
        &mut self,
        worker: u64,
        pid: i32,
        pidfd: OwnedFd,
        status: OwnedFd,
    ) -> Result<()> {
        self.reactor
            .watch(pidfd.as_fd(), Key::Process(worker), Interest::Read)?;
        self.reactor
            .watch(status.as_fd(), Key::Status(worker), Interest::Read)?;
        self.tally.started = self.tally.started.saturating_add(1);
        self.journal.worker_started(worker, pid);
        self.sandboxes.insert(
            worker,
            Sandbox {
                pid,
                pidfd,
                status: Some(status),
                since: self.now,
                ended: None,
            },
        );
        Ok(())
    }

    /// A launch failed.
    pub(crate) fn launch_failed(&mut self, worker: u64, message: &str) {
        self.tally.launches_failed = self.tally.launches_failed.saturating_add(1);
        self.journal.launch_failed(worker, message);
        self.last_failure = Some(message.to_owned());
    }

    /// Read what a sandbox's init reports.
    pub(crate) fn read_status(&mut self, worker: u64) {
        let Some(sandbox) = self.sandboxes.get_mut(&worker) else {
            return;
        };
        let Some(status) = &sandbox.status else {
            return;
        };
        loop {
            match init::hear(status.as_fd(), MsgFlags::empty()) {
                Heard::Record(Record::Ended(status)) => sandbox.ended = Some(status),
                Heard::Record(_) => {}
                Heard::Nothing => return,
                // Its pidfd tells when all of the sandbox is gone.
                Heard::End => {
                    self.reactor.forget(status.as_fd());
                    return;
                }
            }
        }
    }

    /// All of a sandbox is gone: how it ended and how long it ran.
    pub(crate) fn finished(&mut self, worker: u64) -> Option<(Ending, Duration)> {
        self.read_status(worker);
        let sandbox = self.sandboxes.remove(&worker)?;
        self.reactor.forget(sandbox.pidfd.as_fd());
        if let Some(status) = &sandbox.status {
            self.reactor.forget(status.as_fd());
        }
        self.timers.cancel(Timer::Kill(worker));
        let ending = sandbox.ended.map_or(Ending::Killed, Ending::Command);
        let took = self.now.saturating_duration_since(sandbox.since);
        self.tally.ended = self.tally.ended.saturating_add(1);
        self.journal.worker_ended(worker, ending, took);
        Some((ending, took))
    }

    /// Ask a sandbox's command to end.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn signal(&mut self, worker: u64, signal: Signal) -> Result<()> {
        match Token::new(worker) {
            Some(token) => self.keeper.signal(token, signal),
            None => Ok(()),
        }
    }

    /// End a sandbox now.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn kill(&mut self, worker: u64) -> Result<()> {
        let Some(sandbox) = self.sandboxes.get_mut(&worker) else {
            return Ok(());
        };
        // What it has said so far is known; nothing else that it may say matters.
        if let Some(status) = sandbox.status.take() {
            self.reactor.forget(status.as_fd());
        }
        self.signal(worker, Signal::SIGKILL)
    }

    /// Whether a sandbox runs.
    pub(crate) fn runs(&self, worker: u64) -> bool {
        self.sandboxes.contains_key(&worker)
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.sandboxes.len()
    }

    /// A sandbox's pid and age; zero for one that is still being launched.
    pub(crate) fn age_of(&self, worker: u64) -> (i32, Duration) {
        match self.sandboxes.get(&worker) {
            None => (0, Duration::ZERO),
            Some(sandbox) => (
                sandbox.pid,
                self.now.saturating_duration_since(sandbox.since),
            ),
        }
    }
}

/// One more than the highest number that a descriptor may have here.
fn highest_descriptor() -> RawFd {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    limit
        .ok()
        .and_then(|(soft, _)| RawFd::try_from(soft).ok())
        .unwrap_or(RawFd::MAX)
}

fn credentials_of(socket: &OwnedFd) -> Option<Credentials> {
    let peer = getsockopt(socket, sockopt::PeerCredentials).ok()?;
    Some(Credentials {
        uid: peer.uid(),
        gid: peer.gid(),
        pid: peer.pid(),
    })
}

/// Without a name where the kernel says none.
fn named(address: std::result::Result<Address, Errno>) -> Address {
    address.unwrap_or_else(|_| Address::Unix(UnixName::default()))
}

/// What has moved on a connection.
fn progress_of(socket: BorrowedFd<'_>) -> Option<Progress> {
    let counters = parent::tcp_counters(socket).ok()?;
    let since = counters.since_received.min(counters.since_acknowledged);
    Some(Progress {
        bytes: counters
            .bytes_received
            .saturating_add(counters.bytes_acknowledged),
        since: Duration::from_millis(u64::from(since)),
    })
}
