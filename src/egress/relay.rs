//! Two TCP connections joined: what comes in on one goes out on the other, without passing through
//! this process's memory (splice(2)).
//!
//! In the supervisor's loop only; never waits. The end of one direction is carried over as such
//! (half-close), a reset as a reset, and a reader that is slow slows its writer down: at most one
//! pipe's worth is held for each direction. A connection at rest holds no pipe.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::pipe2;

/// The most that one splice is asked for.
const CHUNK: usize = 1 << 20;
/// The size of a wide pipe. As the kernel makes them they have sixteen places, and a place may hold no
/// more than one page of what a socket has received: 64 KiB for two system calls. This is the most that
/// anybody may ask for (pipe(7), `pipe-max-size`).
const WIDE: i32 = 1 << 20;
/// How many pipes are wide: a quarter of what one user may have of them (pipe(7),
/// `pipe-user-pages-soft`), so that there is enough for others.
const MOST_WIDE: usize = 16;
/// How many bytes one connection may move before others get their turn.
const BUDGET: u64 = 4 << 20;
/// Empty pipes kept for the next connection with something to move.
const KEPT_PIPES: usize = 16;

/// A pipe between two splices.
#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    width: Width,
}

/// How much a pipe holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    /// As the kernel makes it.
    Usual,
    /// [`WIDE`].
    Wide,
}

impl Pipe {
    fn make() -> Result<Self, Errno> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self {
            reader,
            writer,
            width: Width::Usual,
        })
    }

    /// Make it wide, where this user may.
    fn widen(&mut self) {
        if fcntl(&self.writer, FcntlArg::F_SETPIPE_SZ(WIDE)).is_ok() {
            self.width = Width::Wide;
        }
    }
}

/// Pipes, lent to connections while they have something to move.
#[derive(Debug)]
pub(super) struct Pipes {
    idle: Vec<Pipe>,
    lent: usize,
    most: usize,
    wide: usize,
}

impl Pipes {
    /// At most `most` pipes are lent at a time.
    pub(super) fn new(most: usize) -> Self {
        Self {
            idle: Vec::new(),
            lent: 0,
            most,
            wide: 0,
        }
    }

    fn lend(&mut self) -> Option<Pipe> {
        if self.lent >= self.most {
            return None;
        }
        let pipe = match self.idle.pop() {
            Some(pipe) => pipe,
            None => {
                let mut pipe = Pipe::make().ok()?;
                if self.wide < MOST_WIDE {
                    pipe.widen();
                    self.wide += usize::from(pipe.width == Width::Wide);
                }
                pipe
            }
        };
        self.lent += 1;
        Some(pipe)
    }

    /// Take an empty pipe back.
    fn take_back(&mut self, pipe: Pipe) {
        if self.idle.len() >= KEPT_PIPES {
            self.discard(pipe);
            return;
        }
        self.lent = self.lent.saturating_sub(1);
        self.idle.push(pipe);
    }

    /// Give a pipe up with what is in it.
    fn discard(&mut self, pipe: Pipe) {
        self.lent = self.lent.saturating_sub(1);
        self.wide = self
            .wide
            .saturating_sub(usize::from(pipe.width == Width::Wide));
    }
}

/// How one direction goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flowing {
    /// Until one of the two sockets says something.
    Waits,
    /// At once: only its turn is over.
    GoesOn,
    /// When a pipe can be had.
    LacksPipe,
    /// When more may go: there is more than was allowed.
    AtLimit,
    /// Not at all: its end has been passed on.
    Ended,
    /// Not at all: one of the sockets is broken.
    Broken,
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    pipe: Option<Pipe>,
    held: usize,
    source_ended: bool,
    ended: bool,
    /// What has been taken in, and what has gone out.
    taken: u64,
    bytes: u64,
}

impl Lane {
    fn flow(&mut self, from: &mut Side, to: &mut Side, pipes: &mut Pipes, most: u64) -> Flowing {
        if self.ended {
            return Flowing::Ended;
        }
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let stop_at = self.taken.saturating_add(most.min(BUDGET));
        loop {
            if let Some(pipe) = self.pipe.as_ref().filter(|_| self.held > 0) {
                if !to.writable {
                    return Flowing::Waits;
                }
                match splice(&pipe.reader, None, &to.stream, None, self.held, flags) {
                    Ok(moved) => {
                        self.held = self.held.saturating_sub(moved);
                        self.bytes = self.bytes.saturating_add(moved as u64);
                    }
                    Err(Errno::EAGAIN) => to.writable = false,
                    Err(Errno::EINTR) => {}
                    Err(_) => return Flowing::Broken,
                }
                continue;
            }
            if self.source_ended {
                self.rest(pipes);
                self.ended = true;
                return match to.stream.shutdown(Shutdown::Write) {
                    Ok(()) => Flowing::Ended,
                    Err(_) => Flowing::Broken,
                };
            }
            if !from.readable {
                self.rest(pipes);
                return Flowing::Waits;
            }
            let room = stop_at.saturating_sub(self.taken);
            if room == 0 && most > BUDGET {
                self.rest(pipes);
                return Flowing::GoesOn;
            }
            // Whether there is more decides between a limit and an end.
            if room == 0 {
                match from.stream.peek(&mut [0]) {
                    Ok(0) => self.source_ended = true,
                    Ok(_) => {
                        self.rest(pipes);
                        return Flowing::AtLimit;
                    }
                    Err(error) => match error.kind() {
                        ErrorKind::WouldBlock => from.readable = false,
                        ErrorKind::Interrupted => {}
                        _ => return Flowing::Broken,
                    },
                }
                continue;
            }
            if self.pipe.is_none() {
                self.pipe = pipes.lend();
            }
            let Some(pipe) = &self.pipe else {
                return Flowing::LacksPipe;
            };
            let length = usize::try_from(room).unwrap_or(CHUNK).min(CHUNK);
            match splice(&from.stream, None, &pipe.writer, None, length, flags) {
                Ok(0) => self.source_ended = true,
                Ok(taken) => {
                    self.held = taken;
                    self.taken = self.taken.saturating_add(taken as u64);
                }
                // The pipe is empty: it is the socket that has nothing.
                Err(Errno::EAGAIN) => from.readable = false,
                Err(Errno::EINTR) => {}
                Err(_) => return Flowing::Broken,
            }
        }
    }

    /// Give the empty pipe back.
    fn rest(&mut self, pipes: &mut Pipes) {
        if let Some(pipe) = self.pipe.take() {
            pipes.take_back(pipe);
        }
    }
}

/// How a joined pair goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// When one of its sockets says something.
    Waits,
    /// At once, after the others.
    GoesOn,
    /// When another connection gives a pipe back.
    LacksPipe,
    /// When more may go.
    AtLimit,
    /// Not at all: both directions came to their end.
    Ended,
    /// Not at all: one side was reset, or is broken, and the other is told by a reset.
    Reset,
}

/// Who has said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Nobody: it is only its turn.
    Turn,
    /// The connection from inside, in epoll's words.
    Inside(EpollFlags),
    /// The one to outside.
    Outside(EpollFlags),
}

/// One connection, and what it has said of itself and not been asked since: a call that could only
/// say "not yet" costs as much as one that moves something.
#[derive(Debug)]
struct Side {
    stream: TcpStream,
    readable: bool,
    writable: bool,
}

impl Side {
    /// Nothing is known of it yet, so it is to be asked.
    fn new(stream: TcpStream) -> Self {
        // Its peer's own choice of when to send is not to be delayed again here.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            readable: true,
            writable: true,
        }
    }

    /// Whether it is broken. What it received before that can still be read.
    fn hear(&mut self, events: EpollFlags) -> bool {
        let over = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        let read = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | over;
        self.readable |= events.intersects(read);
        self.writable |= events.intersects(EpollFlags::EPOLLOUT | over);
        events.contains(EpollFlags::EPOLLERR)
    }
}

/// A connection from inside and one to outside.
#[derive(Debug)]
pub(super) struct Join {
    inside: Side,
    outside: Side,
    up: Lane,
    down: Lane,
}

impl Join {
    /// Join two connections whose calls do not wait.
    pub(super) fn new(inside: TcpStream, outside: TcpStream) -> Self {
        Self {
            inside: Side::new(inside),
            outside: Side::new(outside),
            up: Lane::default(),
            down: Lane::default(),
        }
    }

    /// Move what can be moved, at most `most` bytes in both directions together.
    pub(super) fn turn(&mut self, pipes: &mut Pipes, word: Word, most: u64) -> Outcome {
        let broken = match word {
            Word::Turn => false,
            Word::Inside(events) => self.inside.hear(events),
            Word::Outside(events) => self.outside.hear(events),
        };
        let (inside, outside) = (&mut self.inside, &mut self.outside);
        let before = self.up.taken;
        let up = self.up.flow(inside, outside, pipes, most);
        // Without a limit there is none for what is left, either.
        let left = match most {
            u64::MAX => most,
            most => most.saturating_sub(self.up.taken.saturating_sub(before)),
        };
        let down = self.down.flow(outside, inside, pipes, left);
        let either = |state| up == state || down == state;
        if broken || either(Flowing::Broken) {
            return Outcome::Reset;
        }
        if up == Flowing::Ended && down == Flowing::Ended {
            return Outcome::Ended;
        }
        if either(Flowing::AtLimit) {
            return Outcome::AtLimit;
        }
        if either(Flowing::GoesOn) {
            return Outcome::GoesOn;
        }
        if either(Flowing::LacksPipe) {
            return Outcome::LacksPipe;
        }
        Outcome::Waits
    }

    /// Send `bytes` outside before all that comes from inside; whether it takes them. Few, for which a new
    /// connection has room.
    pub(super) fn send_ahead(&mut self, bytes: &[u8]) -> bool {
        let count = bytes.len() as u64;
        self.up.taken = self.up.taken.saturating_add(count);
        self.up.bytes = self.up.bytes.saturating_add(count);
        self.outside.stream.write_all(bytes).is_ok()
    }

    /// Bytes that were taken in, of both directions: what a budget is charged with.
    pub(super) fn taken(&self) -> u64 {
        self.up.taken.saturating_add(self.down.taken)
    }

    /// Bytes that went out, and bytes that came in.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.up.bytes, self.down.bytes)
    }

    /// Close both connections; as a reset where `outcome` is one.
    pub(super) fn close(mut self, outcome: Outcome, pipes: &mut Pipes) {
        for lane in [&mut self.up, &mut self.down] {
            if let Some(pipe) = lane.pipe.take() {
                pipes.discard(pipe);
            }
        }
        if outcome != Outcome::Ended {
            reset(self.inside.stream);
            reset(self.outside.stream);
        }
    }
}

/// Close a connection with a reset (socket(7), `SO_LINGER`).
pub(super) fn reset(stream: TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // It fails for no connected socket; closing is what counts.
    let _ = setsockopt(&stream, sockopt::Linger, &linger);
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::thread;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// As if the connection from inside had said all at once.
    const ASKED: Word = Word::Inside(EpollFlags::EPOLLIN.union(EpollFlags::EPOLLOUT));

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (one, listener.accept().unwrap().0)
    }

    /// A client, a server, and what joins them.
    fn joined() -> (TcpStream, Join, TcpStream) {
        let ((client, inside), (outside, server)) = (pair(), pair());
        inside.set_nonblocking(true).unwrap();
        outside.set_nonblocking(true).unwrap();
        (client, Join::new(inside, outside), server)
    }

    /// Turn until it is over or both sockets have nothing to say for long.
    fn run(join: &mut Join, pipes: &mut Pipes) -> Outcome {
        loop {
            let both = PollFlags::POLLIN;
            let mut watched = [
                PollFd::new(join.inside.stream.as_fd(), both),
                PollFd::new(join.outside.stream.as_fd(), both),
            ];
            if join.up.held > 0 {
                watched[1].set_events(both | PollFlags::POLLOUT);
            }
            if join.down.held > 0 {
                watched[0].set_events(both | PollFlags::POLLOUT);
            }
            poll(&mut watched, PollTimeout::from(2000_u16)).unwrap();
            // poll(2) and epoll have the same numbers.
            let said = watched.map(|fd| {
                let events = fd.revents().unwrap_or(PollFlags::empty());
                EpollFlags::from_bits_truncate(events.bits().into())
            });
            for word in [Word::Inside(said[0]), Word::Outside(said[1])] {
                match join.turn(pipes, word, u64::MAX) {
                    Outcome::Waits | Outcome::GoesOn => {}
                    over => return over,
                }
            }
        }
    }

    #[test]
    fn bytes_and_both_ends_are_carried_over() {
        let (mut client, mut join, mut server) = joined();
        let mut pipes = Pipes::new(4);
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let at_client = thread::spawn(move || {
            let (mut writer, mut answer) = (client.try_clone().unwrap(), String::new());
            writer.write_all(&sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            client.read_to_string(&mut answer).unwrap();
            answer
        });
        let at_server = thread::spawn(move || {
            let mut received = Vec::new();
            server.read_to_end(&mut received).unwrap();
            // The other direction is still open.
            server.write_all(b"thanks").unwrap();
            received
        });
        assert_eq!(run(&mut join, &mut pipes), Outcome::Ended);
        assert_eq!(join.bytes(), (3_000_000, 6));
        join.close(Outcome::Ended, &mut pipes);
        assert_eq!(at_server.join().unwrap(), expected);
        assert_eq!(at_client.join().unwrap(), "thanks");
        assert_eq!(pipes.lent, 0);
    }

    #[test]
    fn a_reset_on_one_side_is_a_reset_on_the_other() {
        let (mut client, mut join, server) = joined();
        let mut pipes = Pipes::new(4);
        reset(server);
        let outcome = run(&mut join, &mut pipes);
        assert_eq!(outcome, Outcome::Reset);
        join.close(outcome, &mut pipes);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn what_came_before_a_reset_still_arrives() {
        let (mut client, mut join, mut server) = joined();
        let mut pipes = Pipes::new(4);
        server.write_all(b"last words").unwrap();
        // Only once they are there, or the reset would overtake them in the kernel.
        join.outside.stream.set_nonblocking(false).unwrap();
        join.outside.stream.peek(&mut [0]).unwrap();
        join.outside.stream.set_nonblocking(true).unwrap();
        reset(server);
        let outcome = run(&mut join, &mut pipes);
        assert_eq!(outcome, Outcome::Reset);
        let mut words = [0; 10];
        client.read_exact(&mut words).unwrap();
        assert_eq!(&words, b"last words");
        join.close(outcome, &mut pipes);
    }

    #[test]
    fn a_slow_reader_stops_its_writer_and_costs_one_pipe() {
        let (mut client, mut join, mut server) = joined();
        let mut pipes = Pipes::new(4);
        client.set_nonblocking(true).unwrap();
        let chunk = [7; 65_536];
        let (mut sent, mut idle) = (0_usize, 0);
        while idle < 50 {
            match client.write(&chunk) {
                Ok(count) => (sent, idle) = (sent + count, 0),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    idle += 1;
                }
            }
            let outcome = join.turn(&mut pipes, ASKED, u64::MAX);
            assert!(matches!(outcome, Outcome::Waits | Outcome::GoesOn));
        }
        assert_eq!(pipes.lent, 1);
        assert!(join.up.held > 0, "nothing is held");
        // Control: it goes on when it is read.
        client.set_nonblocking(false).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            server.read_to_end(&mut received).unwrap();
            received.len()
        });
        run(&mut join, &mut pipes);
        assert_eq!(reader.join().unwrap(), sent);
    }

    #[test]
    fn no_byte_more_than_is_allowed_goes_and_a_whole_transfer_is_no_more() {
        let (mut client, mut join, mut server) = joined();
        let mut pipes = Pipes::new(4);
        client.write_all(&[7; 1000]).unwrap();
        join.inside.stream.set_nonblocking(false).unwrap();
        join.inside.stream.peek(&mut [0; 1000]).unwrap();
        join.inside.stream.set_nonblocking(true).unwrap();
        assert_eq!(join.turn(&mut pipes, ASKED, 400), Outcome::AtLimit);
        assert_eq!((join.bytes(), join.taken()), ((400, 0), 400));
        assert_eq!(join.turn(&mut pipes, Word::Turn, 0), Outcome::AtLimit);
        assert_eq!(pipes.lent, 0);
        server.read_exact(&mut [0; 400]).unwrap();
        assert_eq!(join.turn(&mut pipes, Word::Turn, 600), Outcome::Waits);
        assert_eq!(join.bytes(), (1000, 0));
        // Its end passes, with nothing left to go.
        client.shutdown(Shutdown::Write).unwrap();
        server.read_exact(&mut [0; 600]).unwrap();
        join.inside.stream.set_nonblocking(false).unwrap();
        assert_eq!(join.inside.stream.peek(&mut [0]).unwrap(), 0);
        join.inside.stream.set_nonblocking(true).unwrap();
        assert_eq!(join.turn(&mut pipes, ASKED, 0), Outcome::Waits);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_connection_at_rest_holds_no_pipe_and_one_without_a_pipe_waits_for_it() {
        let (mut client, mut join, mut server) = joined();
        let mut none = Pipes::new(0);
        client.write_all(b"x").unwrap();
        let outcome = join.turn(&mut none, ASKED, u64::MAX);
        assert_eq!(outcome, Outcome::LacksPipe);
        let mut pipes = Pipes::new(1);
        while join.bytes().0 == 0 {
            join.turn(&mut pipes, ASKED, u64::MAX);
        }
        assert_eq!((pipes.lent, pipes.idle.len()), (0, 1));
        server.read_exact(&mut [0]).unwrap();
        assert!(size_of::<Join>() < 256);
    }
}
