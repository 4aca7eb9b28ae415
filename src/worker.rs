//! For programs that a broker gives connections to: `sandbox serve --hand-over pool`, or
//! [`crate::Broker`].
//!
//! Runs in the worker, inside the sandbox, where no socket can be made: connections come accepted over
//! the channel that is descriptor 3 (`docs/channel.md`), each with its addresses and the listener that
//! it came in by.
//!
//! ```no_run
//! use std::io::{Read, Write};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     for connection in sandbox::worker::Worker::from_env()? {
//!         let mut connection = connection?;
//!         let mut request = [0; 4096];
//!         let _ = connection.stream.read(&mut request);
//!         let _ = connection.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
//!         // Dropping it closes the connection, and lets the broker send another.
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The broker sends no more connections at a time than the worker has credits for
//! ([`Worker::with_credits`]). A [`Connection`] holds one of them until it is dropped. What was given
//! back is gathered while further connections are at hand, for a millisecond at most, and sent before the
//! worker waits: one system call for many connections under load.
//!
//! It makes no system call that the seccomp profile `worker` refuses: `recvmsg` to receive, `sendto`
//! without an address to answer.
#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
mod asynchronous;
mod link;
mod stream;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};
use std::{env, io};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};

#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncStream, AsyncWorker};
pub use stream::Stream;

pub use crate::broker::channel::{Address, ListenerName, Refusal, UnixName};
use crate::broker::transport::{self, Blocked, Incoming, Parcel, Wait};
use crate::error::{Error, Result};
use crate::sys::parent;
use link::Link;

/// The variable that has the channel's descriptor number.
pub const CHANNEL_VARIABLE: &str = "SANDBOX_CHANNEL";
/// The channel's name in `LISTEN_FDNAMES`.
pub const CHANNEL_NAME: &str = "channel";
/// How many connections a worker has at a time unless it says otherwise.
pub const DEFAULT_CREDITS: u32 = 16;

/// Whether this process has taken its channel: a second hello would end the broker's trust.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The worker's end of the channel: gives connections, one after the other.
///
/// As an iterator it ends when the broker wants no more of this worker; see [`Worker::accept`].
#[derive(Debug)]
pub struct Worker {
    link: Arc<Link>,
    queue: VecDeque<Parcel>,
    bytes: Vec<u8>,
    stage: Stage,
    /// How often in a row nothing was there when it looked.
    quiet: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The broker does not know yet that it is there.
    Silent,
    /// Connections come.
    Serving,
    /// None will come any more.
    Over,
}

impl Worker {
    /// Take the channel that the environment names: `SANDBOX_CHANNEL`, else the descriptor called
    /// "channel" in `LISTEN_FDNAMES` (sd_listen_fds(3)).
    ///
    /// Nothing is sent until the first [`Worker::accept`]: a worker gets ready before that.
    ///
    /// # Errors
    /// When there is none, because the program was not started by a broker, or it was taken already.
    pub fn from_env() -> Result<Self> {
        let number = number_from(|name| env::var(name).ok(), std::process::id())?;
        let failed = |errno| Error::host("use the broker's channel", number.to_string(), errno);
        let channel = parent::duplicate(number).map_err(failed)?;
        if !is_channel(channel.as_fd()) {
            return Err(Error::usage(
                format!("{CHANNEL_VARIABLE}={number}"),
                "this descriptor is no SOCK_SEQPACKET Unix socket",
            ));
        }
        // The number stays open, lest somebody else gets it, but not in programs run from here.
        parent::look_at(number, |fd| {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        })
        .map_err(failed)?;
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Err(Error::usage(
                CHANNEL_VARIABLE,
                "this process has taken its channel already",
            ));
        }
        Ok(Self {
            link: Arc::new(Link::new(channel, DEFAULT_CREDITS)),
            queue: VecDeque::new(),
            bytes: Vec::new(),
            stage: Stage::Silent,
            quiet: 0,
        })
    }

    /// Have up to `credits` connections at a time, instead of [`DEFAULT_CREDITS`].
    ///
    /// One that serves its connections one after the other wants few, so that none waits behind a slow
    /// one while another worker is idle; one that has them all under way wants as many as it can carry.
    #[must_use]
    pub fn with_credits(self, credits: u32) -> Self {
        self.link.set_credits(credits);
        self
    }

    /// Wait for the next connection.
    ///
    /// `None` means that no more will come: the broker drains its workers, or is gone. The program
    /// should finish what it has ([`Worker::finish`]), and end. Connections whose time was over before
    /// they came here are refused, not returned.
    ///
    /// # Errors
    /// When the channel fails; no more will come then either.
    pub fn accept(&mut self) -> Result<Option<Connection>> {
        let result = self.next_connection();
        if result.is_err() {
            self.stage = Stage::Over;
        }
        result
    }

    fn next_connection(&mut self) -> Result<Option<Connection>> {
        if self.stage == Stage::Silent {
            self.link.say_hello().map_err(cannot_send)?;
            self.stage = Stage::Serving;
        }
        loop {
            while let Some(parcel) = self.queue.pop_front() {
                if let Some(connection) = self.open(parcel) {
                    self.link.tell_if_due().map_err(cannot_send)?;
                    return Ok(Some(connection));
                }
            }
            if self.stage == Stage::Over {
                self.link.tell().map_err(cannot_send)?;
                return Ok(None);
            }
            match self.receive_or_wait()? {
                Ok(incoming) => self.take(incoming),
                Err(Blocked::Empty) => self.link.wait_readable().map_err(cannot_receive)?,
                Err(blocked) => return Err(failed_to_receive(blocked)),
            }
        }
    }

    /// Look whether more is there before telling the broker what was given back: under load one message
    /// then tells of several. After a quiet while only now and then, for looking is a system call too.
    fn receive_or_wait(&mut self) -> Result<std::result::Result<Incoming, Blocked>> {
        if self.quiet < 2 || self.quiet.is_multiple_of(8) {
            match self.receive(Wait::No) {
                Err(Blocked::Empty) => {}
                received => {
                    self.quiet = 0;
                    return Ok(received);
                }
            }
        }
        self.quiet = self.quiet.wrapping_add(1);
        self.link.begin_to_wait().map_err(cannot_send)?;
        let received = self.receive(Wait::Forever);
        self.link.end_to_wait();
        Ok(received)
    }

    fn receive(&mut self, wait: Wait) -> std::result::Result<Incoming, Blocked> {
        transport::receive(self.link.as_fd(), &mut self.bytes, wait)
    }

    fn take(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Drain | Incoming::Closed => self.stage = Stage::Over,
            Incoming::Connections { parcels, torn } => {
                self.link.hold(parcels.len().saturating_add(torn.len()));
                self.queue.extend(parcels);
                for delivery in torn {
                    // No descriptor number was left for it.
                    self.link
                        .refuse(delivery.id, delivery.accepted, Refusal::Overloaded);
                }
            }
        }
    }

    /// The connection, unless its time is over.
    fn open(&self, parcel: Parcel) -> Option<Connection> {
        let Parcel { delivery, socket } = parcel;
        let deadline = delivery
            .deadline
            .and_then(|time| delivery.accepted.checked_add(time));
        if deadline.is_some_and(|deadline| deadline <= SystemTime::now()) {
            drop(socket);
            self.link
                .refuse(delivery.id, delivery.accepted, Refusal::Expired);
            return None;
        }
        Some(Connection {
            stream: Stream::new(socket, &delivery.peer),
            peer: delivery.peer,
            local: delivery.local,
            listener: delivery.listener,
            accepted: delivery.accepted,
            deadline,
            credit: Credit {
                id: delivery.id,
                accepted: delivery.accepted,
                link: Some(Arc::clone(&self.link)),
            },
        })
    }

    /// Wait until every connection has been given back, for a program that serves them in threads. Those
    /// that have come and were not accepted are refused.
    ///
    /// # Errors
    /// When the broker cannot be told.
    pub fn finish(mut self) -> Result<()> {
        self.refuse_queue();
        self.link.wait_idle();
        self.link.tell().map_err(cannot_send)
    }

    fn refuse_queue(&mut self) {
        for Parcel { delivery, socket } in self.queue.drain(..) {
            drop(socket);
            self.link
                .refuse(delivery.id, delivery.accepted, Refusal::Overloaded);
        }
    }

    /// Serve connections with `handle` in `threads` threads (at least one), until no more will come and
    /// all are finished.
    ///
    /// ```no_run
    /// # fn main() -> sandbox::Result<()> {
    /// use std::io::Write;
    /// sandbox::worker::Worker::from_env()?.with_credits(8).serve(8, |mut connection| {
    ///     let _ = connection.stream.write_all(b"hello\n");
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`Worker::accept`].
    pub fn serve(self, threads: usize, handle: impl Fn(Connection) + Sync) -> Result<()> {
        let shared = Mutex::new(self);
        // The thread that has the lock waits for a connection; the others wait for the lock.
        let next = || {
            let mut worker = shared.lock().unwrap_or_else(PoisonError::into_inner);
            worker.accept()
        };
        let work = || -> Result<()> {
            while let Some(connection) = next()? {
                handle(connection);
            }
            Ok(())
        };
        let result = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            // A handler that panicked panics again here.
            others.into_iter().fold(own, |result, thread| {
                let ended = thread.join().unwrap_or_else(|panic| {
                    std::panic::resume_unwind(panic);
                });
                result.and(ended)
            })
        });
        let worker = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.and(worker.finish())
    }
}

impl Iterator for Worker {
    type Item = Result<Connection>;

    fn next(&mut self) -> Option<Self::Item> {
        self.accept().transpose()
    }
}

impl AsFd for Worker {
    /// The channel, to wait for it together with others (poll(2)). Connections that came in the same
    /// message as one that was accepted do not show here.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

/// A connection, and the right to have it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connection<S = Stream> {
    /// The socket. It comes as the broker's program had it: blocking, unless that made it otherwise.
    pub stream: S,
    /// The client.
    pub peer: Address,
    /// Where the client connected to.
    pub local: Address,
    /// The listener that it came in by.
    pub listener: ListenerName,
    /// When it was accepted.
    pub accepted: SystemTime,
    /// When its time is over, if there is a limit. The broker ends a worker that does not keep it.
    pub deadline: Option<SystemTime>,
    // Last: the socket is closed before the broker is told.
    credit: Credit,
}

impl<S> Connection<S> {
    /// The broker's number for it, as in its events.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.credit.id
    }

    /// What is left of its time: `None` if there is no limit.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| {
            deadline
                .duration_since(SystemTime::now())
                .unwrap_or_default()
        })
    }

    /// Close it unserved and tell the broker why.
    pub fn refuse(self, reason: Refusal) {
        let Self { stream, credit, .. } = self;
        drop(stream);
        credit.refuse(reason);
    }

    /// The socket, and the credit to keep for as long as the socket is in use.
    #[must_use]
    pub fn into_parts(self) -> (S, Credit) {
        (self.stream, self.credit)
    }
}

impl Connection {
    /// Let reads and writes fail (`WouldBlock`) once its time is over. Nothing if there is no limit.
    ///
    /// The time that is left is counted from now for each of them: to be called again after a long one.
    ///
    /// # Errors
    /// When it is over already, or the kernel refuses.
    pub fn apply_deadline(&self) -> io::Result<()> {
        match self.time_left() {
            None => Ok(()),
            Some(Duration::ZERO) => Err(io::ErrorKind::TimedOut.into()),
            left => {
                self.stream.set_read_timeout(left)?;
                self.stream.set_write_timeout(left)
            }
        }
    }
}

/// One connection's place at this worker. Dropping it lets the broker send another.
#[derive(Debug)]
pub struct Credit {
    id: u64,
    accepted: SystemTime,
    link: Option<Arc<Link>>,
}

impl Credit {
    fn refuse(mut self, reason: Refusal) {
        if let Some(link) = self.link.take() {
            link.refuse(self.id, self.accepted, reason);
        }
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            link.give_back(self.id, self.accepted);
        }
    }
}

fn cannot_send(errno: Errno) -> Error {
    Error::host("answer", "the broker", errno)
}

fn cannot_receive(errno: Errno) -> Error {
    Error::host("receive connections from", "the broker", errno)
}

fn failed_to_receive(blocked: Blocked) -> Error {
    match blocked {
        Blocked::Unreadable(errno) => cannot_receive(errno),
        Blocked::Empty => cannot_receive(Errno::EAGAIN),
        Blocked::Malformed(reason) => Error::usage(
            "the broker's channel",
            format!("a malformed message came: {reason}"),
        ),
    }
}

/// The channel's number, by the two ways of telling it.
fn number_from(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Result<RawFd> {
    if let Some(value) = variable(CHANNEL_VARIABLE) {
        return match value.parse() {
            Ok(number) if number >= 0 => Ok(number),
            _ => Err(Error::usage(
                format!("{CHANNEL_VARIABLE}={value}"),
                "is no descriptor number",
            )),
        };
    }
    let mine = variable("LISTEN_PID") == Some(pid.to_string());
    let names = variable("LISTEN_FDNAMES").filter(|_| mine);
    let place = names
        .iter()
        .flat_map(|names| names.split(':'))
        .position(|name| name == CHANNEL_NAME)
        .and_then(|place| RawFd::try_from(place).ok()?.checked_add(3));
    place.ok_or_else(|| {
        Error::usage(
            CHANNEL_VARIABLE,
            "is not set: this program is a worker, started by 'sandbox serve --hand-over pool' or by \
             sandbox::Broker",
        )
    })
}

fn is_channel(fd: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;
    let family = getsockname::<SockaddrStorage>(fd.as_raw_fd())
        .ok()
        .and_then(|address| address.family());
    let kind = getsockopt(&fd, sockopt::SockType);
    family == Some(AddressFamily::Unix) && kind == Ok(SockType::SeqPacket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_is_found_by_its_variable_or_its_name() {
        let found = |variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            number_from(variable, 7).map_err(|error| error.to_string())
        };
        assert_eq!(found(&[("SANDBOX_CHANNEL", "9")]), Ok(9));
        let names = ("LISTEN_FDNAMES", "web:channel:log");
        assert_eq!(found(&[names, ("LISTEN_PID", "7")]), Ok(4));
        for wrong in ["", "x", "-1", "99999999999"] {
            let error = found(&[("SANDBOX_CHANNEL", wrong)]).unwrap_err();
            assert!(error.contains("is no descriptor number"), "{error}");
        }
        // Another process's descriptors, or none of that name.
        for none in [
            &[names, ("LISTEN_PID", "8")][..],
            &[("LISTEN_FDNAMES", "web"), ("LISTEN_PID", "7")],
            &[],
        ] {
            assert!(found(none).unwrap_err().contains("is not set"));
        }
    }

    #[test]
    fn only_a_unix_socket_of_packets_is_a_channel() {
        let (_channel, end) = transport::pair().unwrap();
        assert!(is_channel(end.as_fd()));
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!is_channel(stream.as_fd()));
        assert!(!is_channel(
            std::fs::File::open("/dev/null").unwrap().as_fd()
        ));
    }
}
