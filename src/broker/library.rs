//! The broker for a program that accepts connections itself: [`Broker`].
//!
//! Runs in that program, on whichever thread calls it. No thread of its own: it looks after its workers
//! while it is called, above all in [`Broker::wait_for`], which stands where the program would wait for
//! its listener. Who gets what is [`super::pool`]'s to decide; this does it: connections here, and
//! [`workers`] its workers.
#![forbid(unsafe_code)]

mod accepted;
mod told;
mod workers;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::channel::{Delivery, ListenerName};
use super::crowd::Crowd;
use super::pool::{Full, Overdue, Phase, Pool, Settings, WorkerId};
use super::transport::{Channel, Parcel, Sent};
use crate::error::{Error, Result};
use crate::sandbox::{Child, Sandbox};
pub use accepted::Accepted;
use accepted::{accept, addresses, back};
pub use told::{Counts, Event, SendError, Unsent};

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
    /// At the listeners of [`Broker::accept_from`].
    crowd: Crowd,
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
            crowd: Crowd::default(),
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

    /// A turn of the accept loop in one call, for a program that need not see its connections before the
    /// workers do: wait as [`Broker::wait_for`] does, then accept what waits, as far as the workers have
    /// credit, and send it, several connections in one message. How many they were; 0 where a client was
    /// gone again. `listener` should not block.
    ///
    /// ```no_run
    /// # fn serve(mut broker: sandbox::Broker) -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
    /// listener.set_nonblocking(true)?;
    /// loop {
    ///     broker.accept_from(&listener)?;
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the kernel refuses to wait, accept or send, as it does where the process has no descriptor left
    /// (accept(2)). A connection that was accepted and cannot be sent at all is closed with that.
    pub fn accept_from(&mut self, listener: impl AsFd) -> Result<usize> {
        let listener = listener.as_fd();
        self.wait_for(listener)?;
        let mut accepted = 0_usize;
        let mut taken = Ok(true);
        while self.has_credit() {
            taken = self.take_from(listener);
            if !matches!(taken, Ok(true)) {
                break;
            }
            accepted = accepted.saturating_add(1);
            if !self.crowd.expects_another() {
                break;
            }
        }
        self.crowd.turned(accepted);
        self.flush()?;
        taken.map(|_| accepted)
    }

    /// Queue the connection that waits at a listener, if one does.
    fn take_from(&mut self, listener: BorrowedFd<'_>) -> Result<bool> {
        let Some(connection) = accept(listener)? else {
            return Ok(false);
        };
        let queued = self.queue(connection).or_else(|unsent| match unsent {
            // The worker with the credit has ended just now: wait for another.
            SendError {
                connection,
                reason: Unsent::Full,
            } => self.send(*connection),
            failed => Err(failed),
        });
        match queued {
            Ok(_) => Ok(true),
            Err(SendError {
                reason: Unsent::Failed(error),
                ..
            }) => Err(error),
            // `send` waits instead.
            Err(_) => Ok(false),
        }
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
            Sent::Full | Sent::Later => {
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

fn length(ids: &[u64]) -> u64 {
    u64::try_from(ids.len()).unwrap_or(u64::MAX)
}
