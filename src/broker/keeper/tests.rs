//! The keeper, tried for real: each test in a process of its own, as root and as an ordinary user.

mod launches;
mod process;
mod spares;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::{Pid, Uid};

use super::*;
use crate::broker::channel::Address;
use crate::init::Record;
use crate::testing::alone;

/// Longer than anything here takes, however busy the machine is.
const LONG: u16 = 30_000;

fn token(number: u64) -> Token {
    Token::new(number).unwrap()
}

fn connection_policy() -> Result<Policy> {
    Policy::built_in("connection")
}

fn worker_policy() -> Result<Policy> {
    Policy::built_in("worker")
}

fn shell(script: &str) -> Request {
    Request {
        command: ["/bin/sh", "-c", script].map(OsString::from).to_vec(),
        ..Request::default()
    }
}

/// A keeper of sandboxes that serve a connection with `script`.
fn keeper(script: &str) -> Keeper {
    Keeper::start(connection_policy, &shell(script), Shape::Connection, &[]).unwrap()
}

#[track_caller]
fn readable(fd: BorrowedFd<'_>) {
    let mut watched = [PollFd::new(fd, PollFlags::POLLIN)];
    let count = poll(&mut watched, PollTimeout::from(LONG)).unwrap();
    assert_eq!(count, 1, "nothing came");
}

#[track_caller]
fn answer(keeper: &mut Keeper) -> Answer {
    loop {
        if let Some(answer) = keeper.receive().unwrap() {
            return answer;
        }
        readable(keeper.as_fd());
    }
}

/// A sandbox as the broker has it.
struct Started {
    token: Token,
    pid: i32,
    pidfd: OwnedFd,
    status: OwnedFd,
    go: Option<OwnedFd>,
}

impl Started {
    #[track_caller]
    fn next(keeper: &mut Keeper) -> Self {
        match answer(keeper) {
            Answer::Started {
                token,
                pid,
                pidfd,
                status,
                go,
            } => Self {
                token,
                pid,
                pidfd,
                status,
                go,
            },
            other => panic!("{other:?}"),
        }
    }

    /// Where a spare waits for its connection.
    #[track_caller]
    fn go(&self) -> BorrowedFd<'_> {
        self.go.as_ref().unwrap().as_fd()
    }

    /// Its connection for a spare; nobody else has it then.
    #[track_caller]
    fn give(&self, server: impl AsFd, connection: &Connection) {
        hand_over(self.go(), server.as_fd(), connection).unwrap();
    }

    /// A client's end of such a connection.
    #[track_caller]
    fn connected(&self) -> TcpStream {
        let (client, server, connection) = dialled();
        self.give(server, &connection);
        client
    }

    /// Until all of it is gone; what its init said last.
    #[track_caller]
    fn ended(&self) -> Option<Record> {
        readable(self.pidfd.as_fd());
        let mut record = [0; Record::LENGTH];
        let length = recv(self.status.as_raw_fd(), &mut record, MsgFlags::MSG_DONTWAIT).ok()?;
        Record::decode(&record[..length])
    }

    /// Its second process: the command's.
    fn command(&self) -> i32 {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }
}

/// A spare that waits.
#[track_caller]
fn spare(keeper: &mut Keeper, number: u64) -> Started {
    keeper.launch(token(number), &[], None).unwrap();
    let started = Started::next(keeper);
    assert_eq!(started.token, token(number));
    assert!(started.go.is_some());
    started
}

/// A connection over TCP: the client's end, the server's, and what the broker knows of it.
fn dialled() -> (TcpStream, TcpStream, Connection) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, peer) = listener.accept().unwrap();
    let connection = Connection {
        listener: "web".to_owned(),
        peer: Address::Inet(peer),
        local: Address::Inet(listener.local_addr().unwrap()),
        credentials: None,
    };
    (client, server, connection)
}

/// Ask for a sandbox for a connection that nobody else has: the client's end of that.
#[track_caller]
fn launch(keeper: &mut Keeper, number: u64) -> TcpStream {
    let (client, server, connection) = dialled();
    keeper
        .launch(token(number), &[server.as_fd()], Some(&connection))
        .unwrap();
    client
}

/// All that comes, to the end.
fn all_of(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// How many descriptors a process has.
fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// A directory of this user's own, empty; outside of what profiles hide.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = Path::new("/dev/shm").join(format!("sandbox-test-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const GREET: &str = "read -r line; echo \"$line, $REMOTE_ADDR:$REMOTE_PORT\"";

/// How many descriptors a keeper has that has nothing to do.
#[track_caller]
fn settled(keeper: &mut Keeper) -> usize {
    keeper.reload().unwrap();
    assert!(matches!(answer(keeper), Answer::Reloaded));
    descriptors(keeper.pid())
}

/// Until the keeper has `count` descriptors: it reaps in its own time.
#[track_caller]
fn comes_back_to(keeper: &Keeper, count: usize) {
    let deadline = Instant::now() + Duration::from_millis(u64::from(LONG));
    while descriptors(keeper.pid()) != count && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(descriptors(keeper.pid()), count);
}
