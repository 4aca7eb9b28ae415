//! The worker as a task of a tokio run-time (cargo feature `tokio`).
//!
//! The channel is as in [`super::Worker`]; what was given back is sent by the task that waits in
//! [`AsyncWorker::accept`], so that task should do nothing else: spawn the connections.
#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixDatagram, UnixStream};

use super::link::{Link, Parked};
use super::{Connection, Refusal, Stage, Stream, Worker, cannot_receive, cannot_send};
use super::{Wait, failed_to_receive};
use crate::broker::transport::Blocked;
use crate::error::Result;
use crate::plan::errno_of;

/// The worker's end of the channel for a tokio run-time: see [`Worker::into_async`].
#[derive(Debug)]
pub struct AsyncWorker {
    /// A copy of the channel's descriptor, for readiness only. (tokio's `AsyncFd` would do without one,
    /// and is unsafe to make.)
    io: UnixDatagram,
    worker: Worker,
}

impl Worker {
    /// The same for the tokio run-time that this is called in.
    ///
    /// ```no_run
    /// use tokio::io::AsyncWriteExt;
    ///
    /// # async fn run() -> sandbox::Result<()> {
    /// let worker = sandbox::worker::Worker::from_env()?.with_credits(1000);
    /// let mut worker = worker.into_async()?;
    /// while let Some(mut connection) = worker.accept().await? {
    ///     tokio::spawn(async move {
    ///         let _ = connection.stream.write_all(b"hello\n").await;
    ///     });
    /// }
    /// worker.finish().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the channel cannot be registered with the run-time.
    ///
    /// # Panics
    /// Outside a tokio run-time with its I/O driver on, as tokio's own sockets do.
    pub fn into_async(self) -> Result<AsyncWorker> {
        let copy = self.link.use_task().map_err(cannot_receive)?;
        let io = UnixDatagram::from_std(copy).map_err(|error| cannot_receive(errno_of(&error)))?;
        Ok(AsyncWorker { io, worker: self })
    }
}

impl AsyncWorker {
    /// Wait for the next connection; as [`Worker::accept`]. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the channel fails; no more will come then either.
    pub async fn accept(&mut self) -> Result<Option<Connection<AsyncStream>>> {
        let result = poll_fn(|context| self.poll_accept(context)).await;
        if result.is_err() {
            self.worker.stage = Stage::Over;
        }
        result
    }

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Connection<AsyncStream>>>> {
        let Self { io, worker } = self;
        if worker.stage == Stage::Silent {
            worker.link.say_hello().map_err(cannot_send)?;
            worker.stage = Stage::Serving;
        }
        loop {
            let told = poll_tell(io, &worker.link, context).map_err(cannot_send)?;
            while let Some(parcel) = worker.queue.pop_front() {
                if let Some(connection) = worker.open(parcel).and_then(registered) {
                    return Poll::Ready(Ok(Some(connection)));
                }
            }
            if worker.stage == Stage::Over {
                return told.map(|()| Ok(None));
            }
            match io.poll_recv_ready(context) {
                Poll::Ready(ready) => ready.map_err(|error| cannot_receive(errno_of(&error)))?,
                Poll::Pending if worker.link.park(context.waker()) => return Poll::Pending,
                // Something was given back in between.
                Poll::Pending => continue,
            }
            // WouldBlock tells the run-time that there is no more for now.
            let mut received = None;
            let _ = io.try_io(Interest::READABLE, || {
                match received.insert(worker.receive(Wait::No)) {
                    Err(Blocked::Empty) => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(()),
                }
            });
            match received {
                None | Some(Err(Blocked::Empty)) => {}
                Some(Ok(incoming)) => worker.take(incoming),
                Some(Err(blocked)) => return Poll::Ready(Err(failed_to_receive(blocked))),
            }
        }
    }

    /// Wait until every connection has been given back and the broker knows. Those that have come and
    /// were not accepted are refused.
    ///
    /// # Errors
    /// When the broker cannot be told.
    pub async fn finish(mut self) -> Result<()> {
        self.worker.refuse_queue();
        poll_fn(|context| {
            loop {
                ready!(poll_tell(&self.io, &self.worker.link, context)?);
                match self.worker.link.park_until_idle(context.waker()) {
                    Parked::Idle => return Poll::Ready(Ok(())),
                    Parked::Yes => return Poll::Pending,
                    Parked::No => {}
                }
            }
        })
        .await
        .map_err(cannot_send)
    }
}

/// Send what there is to tell.
fn poll_tell(
    io: &UnixDatagram,
    link: &Link,
    context: &mut Context<'_>,
) -> std::result::Result<Poll<()>, Errno> {
    loop {
        match io.poll_send_ready(context) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(ready) => ready.map_err(|error| errno_of(&error))?,
        }
        let told = io.try_io(Interest::WRITABLE, || match link.try_tell()? {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        });
        match told {
            Ok(()) => return Ok(Poll::Ready(())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(errno_of(&error)),
        }
    }
}

/// The connection with its socket in the run-time; refused where that has no room for it.
fn registered(connection: Connection) -> Option<Connection<AsyncStream>> {
    let Connection {
        stream,
        peer,
        local,
        listener,
        accepted,
        deadline,
        credit,
    } = connection;
    match AsyncStream::try_from(stream) {
        Err(_) => {
            credit.refuse(Refusal::Overloaded);
            None
        }
        Ok(stream) => Some(Connection {
            stream,
            peer,
            local,
            listener,
            accepted,
            deadline,
            credit,
        }),
    }
}

/// A connection's socket in a tokio run-time.
#[derive(Debug)]
pub enum AsyncStream {
    /// IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl TryFrom<Stream> for AsyncStream {
    type Error = io::Error;

    fn try_from(stream: Stream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        match stream {
            Stream::Tcp(stream) => TcpStream::from_std(stream).map(Self::Tcp),
            Stream::Unix(stream) => UnixStream::from_std(stream).map(Self::Unix),
        }
    }
}

macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Tcp($stream) => $call,
            Self::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for AsyncStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for AsyncStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

impl AsFd for AsyncStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
