//! The broker for a program that accepts connections itself: [`Broker`].
//!
//! Runs in that program, on whichever thread calls it. No thread of its own: it looks after its workers
//! while it is called, above all in [`Broker::wait_for`], which stands where the program would wait for
//! its listener. Who gets what is [`super::pool`]'s to decide; this does it.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::address;
use super::channel::{Address, Delivery, FromWorker, ListenerName};
use super::pool::{Full, Overdue, Phase, Pool, Settings, WorkerId};
use super::transport::{self, Channel, Parcel, Sent, TakenBack};
use crate::error::{Error, Result};
use crate::sandbox::{Child, Sandbox};

/// What workers give back is read when this many connections were sent since the last time, …
const READ_AFTER: u32 = 16;
/// … or so long ago, …
const READ_WITHIN: Duration = Duration::from_millis(10);
/// … and while more are out than this, every message of theirs is: they must not fill the channel.
const MANY: usize = 64;
/// When to try again what the kernel had no room for.
const LATER: Duration = Duration::from_millis(5);
/// The most events that are kept for a program that does not ask for them.
const MOST_EVENTS: usize = 1024;

/// A connection to hand over: an accepted socket, and what the worker is told of it.
///
/// Made of a `TcpStream`, a `UnixStream` or what `accept` returns. The socket goes as it is: a worker
/// that reads and writes it blocking needs one that is not non-blocking.
#[derive(Debug)]
pub struct Accepted {
    socket: OwnedFd,
    listener: Option<ListenerName>,
    peer: Option<Address>,
    local: Option<Address>,
    deadline: Option<Duration>,
    accepted: SystemTime,
}

impl Accepted {
    /// From any connected stream socket.
    pub fn new(socket: impl Into<OwnedFd>) -> Self {
        Self {
            socket: socket.into(),
            listener: None,
            peer: None,
            local: None,
            deadline: None,
            accepted: SystemTime::now(),
        }
    }

    /// Say by which listener it came in; without this the worker sees "accepted".
    #[must_use]
    pub fn listener(mut self, name: ListenerName) -> Self {
        self.listener = Some(name);
        self
    }

    /// Say who the client is, instead of asking the kernel: behind a proxy, for example.
    #[must_use]
    pub fn peer(mut self, peer: impl Into<Address>) -> Self {
        self.peer = Some(peer.into());
        self
    }

    /// Say where the client connected to, instead of asking the kernel: for a listener that is bound to one
    /// address, it is that one.
    #[must_use]
    pub fn local(mut self, local: impl Into<Address>) -> Self {
        self.local = Some(local.into());
        self
    }

    /// Say how long it may take from now on. It is the worker's to keep.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> Self {
        self.deadline = Some(time);
        self
    }
}

impl AsFd for Accepted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Accepted> for OwnedFd {
    fn from(accepted: Accepted) -> Self {
        accepted.socket
    }
}

impl From<TcpStream> for Accepted {
    fn from(stream: TcpStream) -> Self {
        Self::new(stream)
    }
}

impl From<UnixStream> for Accepted {
    fn from(stream: UnixStream) -> Self {
        Self::new(stream)
    }
}

impl From<(TcpStream, SocketAddr)> for Accepted {
    fn from((stream, peer): (TcpStream, SocketAddr)) -> Self {
        Self::new(stream).peer(peer)
    }
}

/// Why a connection was not sent; it comes back.
#[derive(Debug)]
pub struct SendError {
    /// The connection.
    pub connection: Box<Accepted>,
    /// Why.
    pub reason: Unsent,
}

/// Why a connection was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unsent {
    /// No worker has credit left now.
    #[error("every worker has as many connections as it will have at a time")]
    Full,
    /// Something else.
    #[error(transparent)]
    Failed(Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot hand over a connection: {}", self.reason)
    }
}

impl std::error::Error for SendError {}

/// What has become of the connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Put into a worker's channel; those that came back, again.
    pub sent: u64,
    /// Given back by a worker.
    pub done: u64,
    /// Refused by a worker.
    pub refused: u64,
    /// Taken back from a worker that ended.
    pub returned: u64,
    /// With a worker when it ended.
    pub lost: u64,
}

/// Something that happened to a worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// It is ready for this many connections at a time.
    #[non_exhaustive]
    Ready {
        /// Its pid outside.
        pid: u32,
        /// Its capacity.
        credits: u32,
    },
    /// It has ended.
    #[non_exhaustive]
    Ended {
        /// Its pid outside.
        pid: u32,
        /// How.
        status: Option<ExitStatus>,
        /// What it did, if the broker has killed it for that.
        fault: Option<String>,
        /// Connections that it had not taken: others get them.
        returned: Vec<u64>,
        /// Connections that it had: they were closed with it.
        lost: Vec<u64>,
        /// In which time another is started in its place.
        again: Option<Duration>,
    },
    /// One could not be started; it is tried again.
    #[non_exhaustive]
    NotStarted {
        /// Why not.
        error: Error,
        /// In which time it is tried again.
        again: Option<Duration>,
    },
}

#[derive(Debug)]
struct Running {
    channel: Channel,
    /// A copy of the worker's end, to take back what it leaves unread.
    end: OwnedFd,
    child: Child,
    fault: Option<String>,
}

/// Hands connected sockets over to sandboxed workers: for a server that keeps its accept loop.
///
/// Each worker is a [`Sandbox`] with a channel as descriptor 3, under the policy `worker` unless another
/// was set. It can make no socket of its own: it answers the clients whose connections it is sent, and
/// nobody else. A worker that ends is replaced, after a wait that grows while it keeps ending soon; what it
/// had not taken goes to others.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use sandbox::{Broker, Sandbox};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // A worker in twelve lines of Python; `sandbox::worker` has the Rust side.
/// let mut broker = Broker::new(Sandbox::new("python3").current_dir("/").args(["-c", r#"
/// import socket, struct
/// channel = socket.socket(fileno=3)
/// channel.send(struct.pack("<BBHIIHH", 1, 0x81, 0, 16, 1, 0, 0))         # hello, one at a time
/// while True:
///     message, descriptors, _, _ = socket.recv_fds(channel, 16384, 16)
///     if not message or message[1] == 2:                                 # end, or drain
///         break
///     with socket.socket(fileno=descriptors[0]) as client:
///         client.sendall(b"hello from inside\n")
///     channel.send(struct.pack("<BBHIIHH", 1, 0x82, 1, 24, 1, 0, 0) + message[8:16])
/// "#]))?;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
///
/// // The accept loop, one turn of it:
/// broker.wait_for(&listener)?;            // somebody waits, and some worker has credit
/// broker.send(listener.accept()?)?;
///
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "hello from inside\n");
/// let counts = broker.drain(std::time::Duration::from_secs(10))?;
/// assert_eq!((counts.sent, counts.done, counts.lost), (1, 1, 0));
/// # Ok(())
/// # }
/// ```
///
/// Dropping it kills its workers.
#[derive(Debug)]
pub struct Broker {
    sandbox: Sandbox,
    pool: Pool,
    workers: BTreeMap<WorkerId, Running>,
    /// Admitted connections that are in no channel.
    waiting: HashMap<u64, Parcel>,
    events: VecDeque<Event>,
    counts: Counts,
    unnamed: ListenerName,
    epoll: Epoll,
    /// In the epoll set, for [`Broker::as_fd`].
    timer: TimerFd,
    /// What the timer is set to.
    alarm: Option<Instant>,
    sent_since: u32,
    looked: Instant,
    /// When to try again what the kernel had no room for.
    later: Option<Instant>,
}

impl Broker {
    /// Start a worker as `sandbox` says, which is not used further and may be changed. More workers are
    /// added with [`Broker::add_worker`].
    ///
    /// # Errors
    /// As for [`Sandbox::spawn`]; and when a standard stream is to be a pipe.
    pub fn new(sandbox: &mut Sandbox) -> Result<Self> {
        let now = Instant::now();
        let settings = Settings {
            workers: 0,
            ..Settings::default()
        };
        let name = ListenerName::new("accepted")
            .map_err(|reason| Error::usage("accepted", reason.to_string()))?;
        let watch = |errno| Error::host("watch", "the workers", errno);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(watch)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(watch)?;
        // No worker has the number 0.
        epoll
            .add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, 0))
            .map_err(watch)?;
        let mut broker = Self {
            sandbox: sandbox.for_workers()?,
            pool: Pool::new(settings, now),
            workers: BTreeMap::new(),
            waiting: HashMap::new(),
            events: VecDeque::new(),
            counts: Counts::default(),
            unnamed: name,
            epoll,
            timer,
            alarm: None,
            sent_since: 0,
            looked: now,
            later: None,
        };
        broker.add_worker()?;
        Ok(broker)
    }

    /// Have one worker more.
    ///
    /// # Errors
    /// As for [`Sandbox::spawn`]: this one was not started then, and will be tried again.
    pub fn add_worker(&mut self) -> Result<()> {
        self.looked = Instant::now();
        self.pool.grow(self.looked);
        match self.start_due() {
            None => Ok(()),
            Some((error, _)) => Err(error),
        }
    }

    /// Start the workers that are due; the last failure, if there was one.
    fn start_due(&mut self) -> Option<(Error, Option<Duration>)> {
        let mut failed = None;
        while let Some(worker) = self.pool.due(self.looked) {
            if let Err(error) = self.start(worker) {
                let again = self.pool.ended(worker, &[], self.looked).again;
                let again = again.map(|at| at.saturating_duration_since(self.looked));
                failed = Some((error, again));
            }
        }
        failed
    }

    fn start(&mut self, worker: WorkerId) -> Result<()> {
        let (channel, end) =
            transport::pair().map_err(|errno| Error::host("make", "a channel", errno))?;
        let (child, end) = self.sandbox.spawn_worker(end)?;
        for fd in [channel.as_fd(), child.pidfd()] {
            self.epoll
                .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, worker.0))
                .map_err(|errno| Error::host("watch", "a worker", errno))?;
        }
        let running = Running {
            channel,
            end,
            child,
            fault: None,
        };
        self.workers.insert(worker, running);
        Ok(())
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() >= MOST_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Hand a connection over, waiting for a worker to have credit; its number.
    ///
    /// # Errors
    /// When the kernel refuses. The connection comes back.
    pub fn send(&mut self, connection: impl Into<Accepted>) -> std::result::Result<u64, SendError> {
        let mut connection = Box::new(connection.into());
        loop {
            match self.try_send(*connection) {
                Err(SendError {
                    connection: back,
                    reason: Unsent::Full,
                }) => connection = back,
                other => return other,
            }
            if let Err(error) = self.wait(&[]) {
                let reason = Unsent::Failed(error);
                return Err(SendError { connection, reason });
            }
        }
    }

    /// Hand a connection over if some worker has credit; its number.
    ///
    /// # Errors
    /// When none has, or the kernel refuses. The connection comes back.
    pub fn try_send(
        &mut self,
        connection: impl Into<Accepted>,
    ) -> std::result::Result<u64, SendError> {
        let id = self.queue(connection)?;
        if let Err(error) = self.flush()
            && let Some(parcel) = self.forget(id)
        {
            return Err(SendError {
                connection: Box::new(back(parcel)),
                reason: Unsent::Failed(error),
            });
        }
        Ok(id)
    }

    /// Take a connection if some worker has credit, and send it with others at the next
    /// [`Broker::flush`]: one message for several, which costs much less than one for each. Its number.
    ///
    /// ```no_run
    /// # fn turn(broker: &mut sandbox::Broker, listener: std::net::TcpListener) -> Result<(), Box<dyn std::error::Error>> {
    /// // One turn of an accept loop; the listener does not block.
    /// broker.wait_for(&listener)?;
    /// while broker.has_credit()
    ///     && let Ok(connection) = listener.accept()
    /// {
    ///     broker.queue(connection)?;
    /// }
    /// broker.flush()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When no worker has credit, or the kernel refuses. The connection comes back.
    pub fn queue(
        &mut self,
        connection: impl Into<Accepted>,
    ) -> std::result::Result<u64, SendError> {
        let connection = connection.into();
        let unsent = |connection, reason| {
            let connection = Box::new(connection);
            Err(SendError { connection, reason })
        };
        self.sent_since = self.sent_since.saturating_add(1);
        let due = self.sent_since >= READ_AFTER || self.looked.elapsed() >= READ_WITHIN;
        if (due || self.pool.room() == 0)
            && let Err(error) = self.attend()
        {
            return unsent(connection, Unsent::Failed(error));
        }
        if self.pool.room() == 0 {
            return unsent(connection, Unsent::Full);
        }
        self.admit(connection).or_else(|failed| {
            let (connection, error) = *failed;
            unsent(connection, Unsent::Failed(error))
        })
    }

    /// Send what was queued.
    ///
    /// # Errors
    /// When the kernel refuses. What was not sent waits, and [`Broker::take_back`] gives it back.
    pub fn flush(&mut self) -> Result<()> {
        self.deliver()
    }

    /// Whether some worker has credit, by what was last read from them.
    #[must_use]
    pub fn has_credit(&self) -> bool {
        self.pool.room() > 0
    }

    /// How many connections the workers would take now.
    ///
    /// # Errors
    /// As for [`Broker::attend`].
    pub fn credits(&mut self) -> Result<usize> {
        self.attend()?;
        Ok(self.pool.room())
    }

    /// How many connections are with the workers or wait for one.
    ///
    /// # Errors
    /// As for [`Broker::attend`].
    pub fn outstanding(&mut self) -> Result<usize> {
        self.attend()?;
        Ok(self.held().saturating_add(self.pool.waiting()))
    }

    /// What has become of the connections so far, by what was read from the workers.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The next thing that happened to a worker, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Connections that no worker has: those that came back when no other had credit. They are given out
    /// again by and by; this is for a program that would rather answer them itself.
    pub fn take_back(&mut self) -> Vec<Accepted> {
        let mut ids: Vec<_> = self.waiting.keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter()
            .filter_map(|id| self.forget(id))
            .map(back)
            .collect()
    }

    /// Wait until `listener` has a connection to accept *and* some worker has credit, and look after the
    /// workers meanwhile. While none has credit, clients wait in the listener's backlog.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait_for(&mut self, listener: impl AsFd) -> Result<()> {
        self.wait_for_any(&[listener.as_fd()]).map(drop)
    }

    /// The same for several listeners, or whatever becomes readable: the place of one that is.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait_for_any(&mut self, listeners: &[BorrowedFd<'_>]) -> Result<usize> {
        loop {
            if let Some(ready) = self.wait(listeners)? {
                return Ok(ready);
            }
        }
    }

    /// Do what there is to do without waiting: read what workers say, notice those that have ended, give
    /// what comes back to others. Needed often only where [`Broker::wait_for`] is not used: whenever the
    /// descriptor of [`Broker::as_fd`] is readable.
    ///
    /// # Errors
    /// When the kernel refuses to say how a worker ended, or to send.
    pub fn attend(&mut self) -> Result<()> {
        self.sent_since = 0;
        self.looked = Instant::now();
        let (speaking, ended) = self.news()?;
        for worker in speaking {
            self.listen_to(worker);
        }
        for (worker, overdue) in self.pool.overdue(self.looked) {
            let words = match overdue {
                Overdue::Hello => "it said nothing",
                Overdue::Drain => "it did not finish",
            };
            self.blame(worker, words.to_owned());
        }
        for worker in ended {
            self.bury(worker)?;
        }
        if let Some((error, again)) = self.start_due() {
            self.tell(Event::NotStarted { error, again });
        }
        let workers: Vec<_> = self.workers.keys().copied().collect();
        for worker in workers {
            self.pool.set_full(worker, Full::No);
        }
        self.later = None;
        self.deliver()?;
        self.set_timer()
    }

    /// Have the descriptor readable when something is due. Always in the future: what was due has been
    /// done.
    fn set_timer(&mut self) -> Result<()> {
        let wake = self.wake_at();
        if wake == self.alarm {
            return Ok(());
        }
        self.alarm = wake;
        let set = match wake {
            None => self.timer.unset(),
            Some(wake) => {
                let left = wake.saturating_duration_since(Instant::now());
                let left = left.max(Duration::from_nanos(1));
                let once = Expiration::OneShot(TimeSpec::from_duration(left));
                self.timer.set(once, TimerSetTimeFlags::empty())
            }
        };
        set.map_err(|errno| Error::host("set", "a timer", errno))
    }

    fn wake_at(&self) -> Option<Instant> {
        self.pool.wake_at().into_iter().chain(self.later).min()
    }

    /// Tell the workers to finish, wait until they have ended, and kill those that have not after
    /// `within`. Connections that wait for a worker are given out before; those that nobody takes are
    /// closed at the end.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn drain(mut self, within: Duration) -> Result<Counts> {
        let over = Instant::now().checked_add(within);
        self.pool.drain();
        while !self.workers.is_empty() || self.pool.waiting() > 0 {
            let now = Instant::now();
            for worker in self.pool.whom_to_drain(now) {
                self.tell_to_drain(worker);
            }
            if over.is_some_and(|over| now >= over) {
                let unserved = self.take_back().len();
                self.counts.lost = self
                    .counts
                    .lost
                    .saturating_add(u64::try_from(unserved).unwrap_or(0));
                let workers: Vec<_> = self.workers.keys().copied().collect();
                for worker in workers {
                    self.blame(worker, "it did not finish".to_owned());
                }
            }
            self.kill_cut_off()?;
            self.wait_until(over)?;
        }
        Ok(self.counts)
    }

    fn tell_to_drain(&mut self, worker: WorkerId) {
        if let Some(running) = self.workers.get_mut(&worker) {
            // A worker whose channel takes no message is killed when its time is over.
            let _ = running.channel.send_drain();
        }
    }

    fn held(&self) -> usize {
        self.pool
            .loads()
            .fold(0, |sum, load| sum.saturating_add(load.held))
    }

    fn admit(&mut self, connection: Accepted) -> std::result::Result<u64, Box<(Accepted, Error)>> {
        let (peer, local) = match addresses(&connection) {
            Ok(addresses) => addresses,
            Err(errno) => {
                let error = Error::host("hand over", "this descriptor", errno);
                return Err(Box::new((connection, error)));
            }
        };
        let id = self.pool.admit();
        let delivery = Delivery {
            id,
            listener: connection.listener.unwrap_or_else(|| self.unnamed.clone()),
            peer,
            local,
            accepted: connection.accepted,
            deadline: connection.deadline,
        };
        let socket = connection.socket;
        self.waiting.insert(id, Parcel { delivery, socket });
        Ok(id)
    }

    /// A connection that is in no channel, out of here.
    fn forget(&mut self, id: u64) -> Option<Parcel> {
        let parcel = self.waiting.remove(&id)?;
        self.pool.forget(id);
        Some(parcel)
    }

    /// Send out what waits, as far as it is taken.
    fn deliver(&mut self) -> Result<()> {
        let mut failed = None;
        while failed.is_none() {
            let messages = self.pool.assign();
            if messages.is_empty() {
                break;
            }
            for (worker, ids) in messages {
                if let Err(errno) = self.deliver_to(worker, &ids) {
                    self.pool.unsent(worker, &ids);
                    failed = Some(Error::host("send connections to", "a worker", errno));
                }
            }
        }
        self.kill_cut_off()?;
        failed.map_or(Ok(()), Err)
    }

    fn deliver_to(&mut self, worker: WorkerId, ids: &[u64]) -> std::result::Result<(), Errno> {
        let Some(running) = self.workers.get_mut(&worker) else {
            self.pool.unsent(worker, ids);
            return Ok(());
        };
        let parcels: Vec<_> = ids.iter().filter_map(|id| self.waiting.get(id)).collect();
        match running.channel.send(parcels.into_iter())? {
            Sent::Taken => {
                for id in ids {
                    // Our copy of the socket is closed here.
                    self.waiting.remove(id);
                    self.counts.sent = self.counts.sent.saturating_add(1);
                }
            }
            Sent::Full => {
                self.pool.unsent(worker, ids);
                self.pool.set_full(worker, Full::Yes);
                self.later = Instant::now().checked_add(LATER);
            }
            Sent::Later => {
                self.pool.unsent(worker, ids);
                self.pool.set_full(worker, Full::Yes);
                self.later = Instant::now().checked_add(LATER);
            }
            Sent::Gone => {
                self.pool.unsent(worker, ids);
                self.blame(worker, "it shut its channel down".to_owned());
            }
        }
        Ok(())
    }

    /// Which workers have something to say, and which have ended.
    fn news(&self) -> Result<(Vec<WorkerId>, Vec<WorkerId>)> {
        let mut watched: Vec<_> = self
            .workers
            .values()
            .flat_map(|running| [running.channel.as_fd(), running.child.pidfd()])
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        wait(&mut watched, PollTimeout::ZERO)?;
        let (mut speaking, mut ended) = (Vec::new(), Vec::new());
        for (&worker, pair) in self.workers.keys().zip(watched.chunks_exact(2)) {
            let [channel, pidfd] = pair else { continue };
            if channel.any() != Some(false) {
                speaking.push(worker);
            }
            if pidfd.any() != Some(false) {
                ended.push(worker);
            }
        }
        Ok((speaking, ended))
    }

    fn listen_to(&mut self, worker: WorkerId) {
        loop {
            let Some(running) = self.workers.get_mut(&worker) else {
                return;
            };
            if running.fault.is_some() {
                return;
            }
            let message = match running.channel.receive() {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(breach) => return self.blame(worker, breach.to_string()),
            };
            let pid = running.child.id();
            if let Err(fault) = self.hear(worker, pid, message) {
                return self.blame(worker, fault.to_string());
            }
        }
    }

    fn hear(
        &mut self,
        worker: WorkerId,
        pid: u32,
        message: FromWorker,
    ) -> std::result::Result<(), super::pool::Fault> {
        let now = self.looked;
        let (ids, credits, count) = match message {
            FromWorker::Hello { credits } => {
                self.pool.hello(worker, credits, now)?;
                self.tell(Event::Ready { pid, credits });
                return Ok(());
            }
            FromWorker::Done { ids, credits } => (ids, credits, &mut self.counts.done),
            FromWorker::Refused { ids, credits, .. } => (ids, credits, &mut self.counts.refused),
        };
        self.pool.done(worker, &ids, credits, now)?;
        *count = count.saturating_add(length(&ids));
        Ok(())
    }

    /// The worker is not trusted any more.
    fn blame(&mut self, worker: WorkerId, fault: String) {
        self.pool.cut_off(worker, self.looked);
        if let Some(running) = self.workers.get_mut(&worker) {
            running.fault.get_or_insert(fault);
            // It may speak on: nobody listens, and epoll(7) need not tell.
            let _ = self.epoll.delete(running.channel.as_fd());
        }
    }

    fn kill_cut_off(&mut self) -> Result<()> {
        for worker in self.pool.cut_off_workers() {
            if let Some(running) = self.workers.get(&worker) {
                running.child.kill()?;
            }
        }
        Ok(())
    }

    /// A worker that has ended: what it left, and what it took along.
    fn bury(&mut self, worker: WorkerId) -> Result<()> {
        // Its last words may be that it was through with something.
        self.listen_to(worker);
        let Some(running) = self.workers.get_mut(&worker) else {
            return Ok(());
        };
        let status = running.child.try_wait();
        let Some(running) = self.workers.remove(&worker) else {
            return Ok(());
        };
        let TakenBack { parcels, .. } = transport::take_back(running.end.as_fd());
        let unread: Vec<_> = parcels.iter().map(|parcel| parcel.delivery.id).collect();
        let ended = self.pool.ended(worker, &unread, self.looked);
        let kept = parcels
            .into_iter()
            .filter(|parcel| ended.returned.contains(&parcel.delivery.id));
        self.waiting
            .extend(kept.map(|parcel| (parcel.delivery.id, parcel)));
        let counts = &mut self.counts;
        counts.returned = counts.returned.saturating_add(length(&ended.returned));
        counts.lost = counts.lost.saturating_add(length(&ended.lost));
        let again = ended.again;
        self.tell(Event::Ended {
            pid: running.child.id(),
            status: status?,
            fault: running.fault,
            returned: ended.returned,
            lost: ended.lost,
            again: again.map(|at| at.saturating_duration_since(self.looked)),
        });
        Ok(())
    }

    /// Wait for one of `listeners` or the workers, which are looked after: the place of one that is
    /// readable, if somebody can take what it gives.
    fn wait(&mut self, listeners: &[BorrowedFd<'_>]) -> Result<Option<usize>> {
        let room = self.pool.room();
        let listeners = match room {
            0 => &[],
            _ => listeners,
        };
        // What is given back is not worth a wake-up while there is credit.
        let starting = self.pool.loads().any(|load| load.phase == Phase::Starting);
        let lazy = room > 0 && self.held() <= MANY && self.waiting.is_empty() && !starting;
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut watched: Vec<_> = listeners.iter().copied().map(watch).collect();
        match lazy {
            true => watched.extend(
                self.workers
                    .values()
                    .map(|running| watch(running.child.pidfd())),
            ),
            false => watched.push(watch(self.epoll.0.as_fd())),
        }
        let timeout = timeout_until(self.wake_at());
        wait(&mut watched, timeout)?;
        let ready = |fd: &PollFd<'_>| fd.any() != Some(false);
        let (ours, theirs) = watched.split_at(listeners.len());
        let place = ours.iter().position(ready);
        if place.is_none() || theirs.iter().any(ready) {
            self.attend()?;
        }
        Ok(place.filter(|_| self.pool.room() > 0))
    }

    fn wait_until(&mut self, over: Option<Instant>) -> Result<()> {
        let timeout = timeout_until(self.wake_at().into_iter().chain(over).min());
        wait(
            &mut [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)],
            timeout,
        )?;
        self.attend()
    }
}

impl AsFd for Broker {
    /// Readable when [`Broker::attend`] has something to do (an epoll descriptor).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn wait(watched: &mut [PollFd<'_>], timeout: PollTimeout) -> Result<()> {
    match poll(watched, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error::host("wait for", "the workers", errno)),
    }
}

fn timeout_until(wake: Option<Instant>) -> PollTimeout {
    let Some(wake) = wake else {
        return PollTimeout::NONE;
    };
    // Rounded up, so that the loop does not spin through the last millisecond.
    let left = wake.saturating_duration_since(Instant::now()).as_millis();
    PollTimeout::try_from(left.saturating_add(1).min(60_000)).unwrap_or(PollTimeout::MAX)
}

/// Both ends of it; what was not said, the kernel is asked.
fn addresses(connection: &Accepted) -> std::result::Result<(Address, Address), Errno> {
    let local = match &connection.local {
        Some(local) => local.clone(),
        None => address::local_of(connection.as_fd())?,
    };
    let peer = match &connection.peer {
        Some(peer) => peer.clone(),
        None => address::peer_of(connection.as_fd(), &local)?,
    };
    Ok((peer, local))
}

fn back(parcel: Parcel) -> Accepted {
    let Parcel { delivery, socket } = parcel;
    Accepted {
        socket,
        listener: Some(delivery.listener),
        peer: Some(delivery.peer),
        local: Some(delivery.local),
        deadline: delivery.deadline,
        accepted: delivery.accepted,
    }
}

fn length(ids: &[u64]) -> u64 {
    u64::try_from(ids.len()).unwrap_or(u64::MAX)
}
