//! The keeper, tried for real: each test in a process of its own, as root and as an ordinary user.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};
use nix::unistd::{Pid, Uid};

use super::*;
use crate::broker::channel::{Address, UnixName};
use crate::broker::connection::Credentials;
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

#[test]
fn a_spare_answers_a_connection() {
    alone(|| {
        let mut keeper = keeper(GREET);
        let spare = spare(&mut keeper, 1);
        let (mut client, server, connection) = dialled();
        spare.give(server, &connection);
        client.write_all(b"hello\n").unwrap();
        let expected = format!("hello, {}\n", client.local_addr().unwrap());
        assert_eq!(all_of(client), expected);
        assert_eq!(spare.ended(), Some(Record::Ended(0)));
    });
}

#[test]
fn a_sandbox_launched_for_a_connection_answers_it() {
    alone(|| {
        let mut keeper = keeper(GREET);
        let (mut client, server, connection) = dialled();
        keeper
            .launch(token(1), &[server.as_fd()], Some(&connection))
            .unwrap();
        drop(server);
        client.write_all(b"hello\n").unwrap();
        let started = Started::next(&mut keeper);
        assert!(started.go.is_none());
        let expected = format!("hello, {}\n", client.local_addr().unwrap());
        assert_eq!(all_of(client), expected);
        assert_eq!(started.ended(), Some(Record::Ended(0)));
    });
}

#[test]
fn the_command_finds_its_connection_on_0_1_and_3_and_no_other_descriptor() {
    alone(|| {
        let script = "readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/3; \
            for fd in 0 1 2 3 4 5 6 7 8 9; do test -e /proc/$$/fd/$fd && echo -n \"$fd \"; done; \
            test $LISTEN_PID = $$ && echo \"$LISTEN_FDS $LISTEN_FDNAMES\"";
        let mut keeper = keeper(script);
        let spare = spare(&mut keeper, 1);
        let (client, server, connection) = dialled();
        spare.give(server, &connection);
        let said = all_of(client);
        let lines: Vec<_> = said.lines().collect();
        let [zero, one, three, rest] = lines[..] else {
            panic!("{said}");
        };
        assert!(
            zero.starts_with("socket:") && zero == one && one == three,
            "{said}"
        );
        assert_eq!(rest, "0 1 2 3 1 connection");
    });
}

#[test]
fn descriptors_of_the_request_follow_the_connection() {
    use crate::request::{Passed, Source};
    alone(|| {
        let directory = Directory::new();
        let file = directory.0.join("file");
        fs::write(&file, "passed\n").unwrap();
        let opened = File::open(&file).unwrap();
        let request = Request {
            descriptors: vec![Passed {
                source: Source::Inherited(opened.as_raw_fd()),
                name: "extra".to_owned(),
            }],
            ..shell("echo $LISTEN_FDNAMES; exec cat <&4")
        };
        let mut keeper =
            Keeper::start(connection_policy, &request, Shape::Connection, &[]).unwrap();
        let waiting = spare(&mut keeper, 1);
        let (client, server, connection) = dialled();
        waiting.give(server, &connection);
        assert_eq!(all_of(client), "connection:extra\npassed\n");
    });
}

#[test]
fn the_environment_tells_of_the_connection_and_of_no_other() {
    alone(|| {
        // As if the broker's caller had them, served by another such server.
        let load = || {
            let mut policy = connection_policy()?;
            for name in ["TCPREMOTEHOST", "REMOTE_ADDR", "UNIXREMOTEEUID", "KEPT"] {
                policy.environment.set.insert(name.into(), "another".into());
            }
            Ok(policy)
        };
        let script = "env | grep -E '^(PROTO|TCP|UNIX|REMOTE|SANDBOX|KEPT)' | sort";
        let mut keeper = Keeper::start(load, &shell(script), Shape::Connection, &[]).unwrap();
        let first = spare(&mut keeper, 1);
        let (client, server, connection) = dialled();
        first.give(server, &connection);
        let (peer, local) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let expected = format!(
            "KEPT=another\nPROTO=TCP\nREMOTE_ADDR=127.0.0.1\nREMOTE_PORT={0}\nSANDBOX_LISTENER=web\n\
             TCPLOCALIP=127.0.0.1\nTCPLOCALPORT={1}\nTCPREMOTEIP=127.0.0.1\nTCPREMOTEPORT={0}\n",
            peer.port(),
            local.port(),
        );
        assert_eq!(all_of(client), expected);
        // Another kind of connection, from the same plan.
        let second = spare(&mut keeper, 2);
        let (client, server) = UnixStream::pair().unwrap();
        let connection = Connection {
            listener: "local".to_owned(),
            peer: Address::Unix(UnixName::default()),
            local: Address::Unix(UnixName::new(b"/run/x").unwrap()),
            credentials: Some(Credentials {
                uid: 1,
                gid: 2,
                pid: 3,
            }),
        };
        second.give(server, &connection);
        let expected = "KEPT=another\nPROTO=UNIX\nSANDBOX_LISTENER=local\nUNIXLOCALPATH=/run/x\n\
             UNIXREMOTEEGID=2\nUNIXREMOTEEUID=1\nUNIXREMOTEPID=3\n";
        assert_eq!(all_of(client), expected);
    });
}

#[test]
fn a_spare_that_is_not_needed_ends_and_leaves_nothing() {
    alone(|| {
        let mut keeper = keeper("exit 9");
        let before = settled(&mut keeper);
        let mut spare = spare(&mut keeper, 1);
        assert!(descriptors(keeper.pid()) > before);
        drop(spare.go.take());
        assert_eq!(
            spare.ended(),
            Some(Record::Ended(0)),
            "by itself, and the command did not run"
        );
        comes_back_to(&keeper, before);
    });
}

#[test]
fn a_spare_is_ended_by_closing_its_status() {
    alone(|| {
        let mut keeper = keeper("exit 9");
        let spare = spare(&mut keeper, 1);
        let Started {
            pidfd, status, go, ..
        } = spare;
        drop(status);
        readable(pidfd.as_fd());
        let (_client, server, connection) = dialled();
        let handed = hand_over(go.unwrap().as_fd(), server.as_fd(), &connection);
        assert_eq!(
            handed,
            Err(Errno::EPIPE),
            "the broker learns that another one must do"
        );
    });
}

#[test]
fn one_spare_holds_nothing_of_another() {
    alone(|| {
        let mut keeper = keeper("echo ran");
        let mut first = spare(&mut keeper, 1);
        let second = spare(&mut keeper, 2);
        let numbers: Vec<String> = fs::read_dir(format!("/proc/{}/fd", second.command()))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        // 0 to 3, and the report.
        assert_eq!(numbers.len(), 5, "{numbers:?}");
        // Each end of file is seen, though the other one was cloned while these were open.
        drop(first.go.take());
        assert_eq!(first.ended(), Some(Record::Ended(0)));
        let Started { status, pidfd, .. } = second;
        let third = spare(&mut keeper, 3);
        drop(status);
        readable(pidfd.as_fd());
        drop(third);
    });
}

#[test]
fn a_keeper_that_is_killed_leaves_no_sandbox() {
    alone(|| {
        let mut keeper = keeper("read -r line; echo \"$line\"; exec sleep 1000");
        let spare_one = spare(&mut keeper, 1);
        let running = spare(&mut keeper, 2);
        let (mut client, server, connection) = dialled();
        running.give(server, &connection);
        client.write_all(b"up\n").unwrap();
        let mut line = [0; 3];
        client.read_exact(&mut line).unwrap();
        kill(Pid::from_raw(keeper.pid()), Signal::SIGKILL).unwrap();
        assert_eq!(spare_one.ended(), None, "killed, without a word");
        assert_eq!(running.ended(), None);
        readable(keeper.as_fd());
        assert!(keeper.receive().is_err(), "the broker learns of it");
    });
}

#[test]
fn a_keeper_whose_broker_is_gone_ends_with_all_its_sandboxes() {
    alone(|| {
        let mut keeper = keeper("exec sleep 1000");
        let spare = spare(&mut keeper, 1);
        let (_client, server, connection) = dialled();
        keeper
            .launch(token(2), &[server.as_fd()], Some(&connection))
            .unwrap();
        let running = Started::next(&mut keeper);
        let pid = keeper.pid();
        drop(keeper);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        readable(spare.pidfd.as_fd());
        readable(running.pidfd.as_fd());
    });
}

#[test]
fn a_keeper_has_nothing_of_its_brokers() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut keeper = keeper("echo ran");
        let waiting = spare(&mut keeper, 1);
        TcpStream::connect(address).expect("the control");
        drop(listener);
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        drop(waiting);
    });
}

#[test]
fn signals_that_a_terminal_or_a_service_manager_sends_are_not_the_keepers() {
    alone(|| {
        let mut keeper = keeper("echo ran");
        let pid = Pid::from_raw(keeper.pid());
        for signal in [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGPIPE,
        ] {
            kill(pid, signal).unwrap();
        }
        let (client, server, connection) = dialled();
        let waiting = spare(&mut keeper, 1);
        waiting.give(server, &connection);
        assert_eq!(all_of(client), "ran\n");
        assert_eq!(nix::unistd::getsid(Some(pid)), Ok(pid), "no terminal");
    });
}

#[test]
fn commands_have_the_signal_mask_of_the_brokers_caller() {
    alone(|| {
        let script = "exec grep -E '^(SigBlk|SigIgn)' /proc/self/status";
        let own = fs::read_to_string("/proc/thread-self/status").unwrap();
        let expected: Vec<_> = own
            .lines()
            .filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"))
            .collect();
        let mut keeper = keeper(script);
        let (client, server, connection) = dialled();
        let waiting = spare(&mut keeper, 1);
        waiting.give(server, &connection);
        assert_eq!(all_of(client).lines().collect::<Vec<_>>(), expected);
    });
}

#[test]
fn the_keeper_may_open_more_files_than_a_command() {
    use nix::sys::resource::setrlimit;
    alone(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 100, hard).unwrap();
        let load = || Policy::built_in("default");
        let request = shell("ulimit -Sn; ulimit -Hn");
        let mut keeper = Keeper::start(load, &request, Shape::Connection, &[]).unwrap();
        let (client, server, connection) = dialled();
        let waiting = spare(&mut keeper, 1);
        waiting.give(server, &connection);
        assert_eq!(all_of(client), format!("100\n{hard}\n"));
        let limits = fs::read_to_string(format!("/proc/{}/limits", keeper.pid())).unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let words: Vec<_> = line.unwrap().split_whitespace().collect();
        let hard = hard.to_string();
        assert_eq!(words[3..5], [&*hard, &*hard]);
    });
}

#[test]
fn a_thousand_launches_leak_no_descriptor() {
    alone(|| {
        let mut keeper = keeper("echo done");
        let own = i32::try_from(std::process::id()).unwrap();
        let before = settled(&mut keeper);
        let own_before = descriptors(own);
        for round in 0..250 {
            let mut clients = Vec::new();
            for number in 0..4 {
                let (client, server, connection) = dialled();
                let token = token(100 + round * 4 + number);
                keeper
                    .launch(token, &[server.as_fd()], Some(&connection))
                    .unwrap();
                clients.push(client);
            }
            for _ in 0..4 {
                let _ = Started::next(&mut keeper).ended();
            }
            for client in clients {
                assert_eq!(all_of(client), "done\n");
            }
        }
        assert_eq!(descriptors(own), own_before);
        comes_back_to(&keeper, before);
    });
}

#[test]
fn failing_launches_leak_no_descriptor_and_say_why() {
    alone(|| {
        let load = || {
            let mut policy = connection_policy()?;
            policy.process.chdir = Some("/nonexistent".into());
            Ok(policy)
        };
        let mut keeper = Keeper::start(load, &shell("true"), Shape::Connection, &[]).unwrap();
        let before = settled(&mut keeper);
        for number in 0..20 {
            let (_client, server, connection) = dialled();
            match number % 2 {
                0 => keeper.launch(token(number), &[], None).unwrap(),
                _ => keeper
                    .launch(token(number), &[server.as_fd()], Some(&connection))
                    .unwrap(),
            }
            let Answer::Failed {
                token: failed,
                message,
            } = answer(&mut keeper)
            else {
                panic!("it cannot start");
            };
            assert_eq!(failed, token(number));
            let expected = "cannot change to the working directory /nonexistent: No such file or directory; hint: ";
            assert!(message.starts_with(expected), "{message}");
        }
        assert_eq!(descriptors(keeper.pid()), before);
    });
}

#[test]
fn what_is_wrong_with_the_plan_is_said_before_anything_is_accepted() {
    alone(|| {
        let missing = Request {
            command: vec!["/nonexistent".into()],
            ..Request::default()
        };
        let error = Keeper::start(connection_policy, &missing, Shape::Connection, &[]).unwrap_err();
        assert_eq!(error.to_string(), "/nonexistent: command not found");
        let alone = || {
            let mut policy = connection_policy()?;
            policy.process.as_pid_1 = true;
            Ok(policy)
        };
        let error = Keeper::start(alone, &shell("true"), Shape::Connection, &[]).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error}");
        let unreadable = || Policy::from_file("/nonexistent.toml");
        assert!(Keeper::start(unreadable, &shell("true"), Shape::Pool, &[]).is_err());
    });
}

#[test]
fn a_process_with_threads_has_no_keeper() {
    alone(|| {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        let error = Keeper::start(connection_policy, &shell("true"), Shape::Connection, &[]);
        assert!(error.is_err());
        drop(stop);
        let _ = thread.join().unwrap();
    });
}

#[test]
fn a_spare_that_cannot_execute_says_so_when_it_should() {
    alone(|| {
        let directory = Directory::new();
        let program = directory.0.join("program");
        fs::copy("/bin/sh", &program).unwrap();
        let request = Request {
            command: [program.as_os_str(), "-c".as_ref(), "echo ran".as_ref()]
                .map(OsString::from)
                .to_vec(),
            ..Request::default()
        };
        let load = || {
            let mut policy = connection_policy()?;
            policy.filesystem.dev = crate::policy::View::Host;
            Ok(policy)
        };
        let mut keeper = Keeper::start(load, &request, Shape::Connection, &[]).unwrap();
        let good = spare(&mut keeper, 1);
        let bad = spare(&mut keeper, 2);
        let (client, server, connection) = dialled();
        good.give(server, &connection);
        assert_eq!(all_of(client), "ran\n", "the control");
        fs::remove_file(&program).unwrap();
        let (client, server, connection) = dialled();
        bad.give(server, &connection);
        assert_eq!(all_of(client), "", "it is closed");
        let Answer::Failed {
            token: failed,
            message,
        } = answer(&mut keeper)
        else {
            panic!("it cannot execute");
        };
        assert_eq!(failed, token(2));
        assert!(message.starts_with("cannot execute "), "{message}");
    });
}

#[test]
fn a_spare_takes_nothing_but_one_connection() {
    alone(|| {
        let mut keeper = keeper("echo ran");
        let (_client, server, connection) = dialled();
        let values = connection.encode();
        let file = File::open("/etc/passwd").unwrap();
        let folder = File::open("/").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let table: [(&[u8], Vec<BorrowedFd<'_>>, &str); 8] = [
            (
                &values,
                vec![file.as_fd()],
                "Socket operation on non-socket",
            ),
            (
                &values,
                vec![folder.as_fd()],
                "Socket operation on non-socket",
            ),
            (
                &values,
                vec![listener.as_fd()],
                "Transport endpoint is already connected",
            ),
            (
                &values,
                vec![datagrams.as_fd()],
                "Protocol wrong type for socket",
            ),
            (
                &values,
                vec![server.as_fd(), server.as_fd()],
                "Protocol error",
            ),
            (&values, vec![], "Protocol error"),
            (b"LD_PRELOAD=/x", vec![server.as_fd()], "Bad message"),
            (&[b'x'; 5000], vec![server.as_fd()], "Message too long"),
        ];
        for (number, (bytes, descriptors, reason)) in (1..).zip(table) {
            let spare = spare(&mut keeper, number);
            packet::send(spare.go(), bytes, &descriptors).unwrap();
            let Answer::Failed {
                token: failed,
                message,
            } = answer(&mut keeper)
            else {
                panic!("{reason}");
            };
            assert_eq!(failed, token(number));
            let expected = format!("cannot receive the connection: {reason}; hint: ");
            assert!(message.starts_with(&expected), "{message}");
        }
        // The control: the same values with the connection.
        let spare = spare(&mut keeper, 99);
        packet::send(spare.go(), &values, &[server.as_fd()]).unwrap();
        assert_eq!(spare.ended(), Some(Record::Ended(0)));
    });
}

#[test]
fn a_connection_that_the_kernel_does_not_give_is_said() {
    alone(|| {
        refuse(libc::SYS_recvmsg, 0, 3);
        let mut keeper = keeper("echo ran");
        for number in 0..2 {
            let (client, server, connection) = dialled();
            keeper
                .launch(token(number), &[server.as_fd()], Some(&connection))
                .unwrap();
            drop(server);
            let Answer::Failed { message, .. } = answer(&mut keeper) else {
                panic!("it cannot receive");
            };
            let reason = "Numerical argument out of domain";
            let expected = format!("cannot receive the connection: {reason}; hint: ");
            assert!(message.starts_with(&expected), "{message}");
            assert_eq!(all_of(client), "", "it is closed");
        }
    });
}

/// From now on `call` fails in this process and its children, with EDOM, where `argument` is `value`.
fn refuse(call: libc::c_long, argument: u8, value: u64) {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };
    let (length, operator) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
    let condition = SeccompCondition::new(argument, length, operator, value).unwrap();
    let rule = SeccompRule::new(vec![condition]).unwrap();
    let filter = SeccompFilter::new(
        std::collections::BTreeMap::from([(call, vec![rule])]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EDOM.unsigned_abs()),
        TargetArch::try_from(std::env::consts::ARCH).unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

#[test]
fn garbage_ends_the_keeper_and_every_sandbox() {
    alone(|| {
        let file = File::open("/etc/passwd").unwrap();
        let (_client, server, connection) = dialled();
        let launch = |token| {
            wire::Request::Launch {
                token,
                values: None,
            }
            .encode()
        };
        let with_values = wire::Request::Launch {
            token: token(2),
            values: Some(connection.encode()),
        };
        let with_values = with_values.encode();
        let table: [(&[u8], Vec<BorrowedFd<'_>>, &str); 10] = [
            (b"x", vec![], "no request"),
            (b"\x01/bin/sh -c evil", vec![], "no request"),
            (&[0xff; wire::LONGEST_REQUEST + 1], vec![], "too long"),
            (&launch(token(1)), vec![], "there is such a sandbox"),
            (
                &launch(token(2)),
                vec![server.as_fd()],
                "a connection without its values",
            ),
            (&with_values, vec![], "values without a connection"),
            (&with_values, vec![file.as_fd()], "a file"),
            (
                &with_values,
                vec![server.as_fd(), server.as_fd()],
                "two connections",
            ),
            (&with_values, vec![server.as_fd(); 20], "twenty"),
            (
                &wire::Request::Reload.encode(),
                vec![file.as_fd()],
                "a reload with a file",
            ),
        ];
        for (bytes, descriptors, why) in table {
            let mut keeper = keeper("exec sleep 1000");
            let spare = spare(&mut keeper, 1);
            packet::send(keeper.as_fd(), bytes, &descriptors).unwrap();
            readable(keeper.as_fd());
            assert!(keeper.receive().is_err(), "{why}");
            assert_eq!(spare.ended(), None, "{why}");
        }
        // The control: the same, but right.
        let mut keeper = keeper("exec sleep 1000");
        packet::send(keeper.as_fd(), &with_values, &[server.as_fd()]).unwrap();
        let _ = Started::next(&mut keeper);
    });
}

#[test]
fn requests_never_wait_however_many() {
    alone(|| {
        let mut keeper = keeper("echo done");
        let began = Instant::now();
        for number in 0..100 {
            keeper.launch(token(number), &[], None).unwrap();
        }
        // More than the socket has room for.
        for _ in 0..2000 {
            keeper.signal(token(5000), Signal::SIGTERM).unwrap();
        }
        assert!(keeper.has_unsent(), "or this proves nothing");
        assert!(began.elapsed() < Duration::from_millis(u64::from(LONG)));
        let mut seen: Vec<_> = (0..100).map(|_| Started::next(&mut keeper).token).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..100).map(token).collect::<Vec<_>>());
        keeper.reload().unwrap();
        while keeper.has_unsent() {
            let mut watched = [PollFd::new(keeper.as_fd(), PollFlags::POLLOUT)];
            poll(&mut watched, PollTimeout::from(LONG)).unwrap();
            keeper.flush().unwrap();
        }
        assert!(matches!(answer(&mut keeper), Answer::Reloaded));
    });
}

#[test]
fn a_signal_reaches_the_command() {
    alone(|| {
        let mut keeper =
            keeper("trap 'echo got it; exit 3' TERM; echo up; while :; do sleep 0.01; done");
        let (client, server, connection) = dialled();
        keeper
            .launch(token(1), &[server.as_fd()], Some(&connection))
            .unwrap();
        drop(server);
        let started = Started::next(&mut keeper);
        let mut up = [0; 3];
        (&client).read_exact(&mut up).unwrap();
        keeper.signal(token(1), Signal::SIGTERM).unwrap();
        assert_eq!(all_of(client), "got it\n");
        assert_eq!(started.ended(), Some(Record::Ended(3 << 8)));
        // Now there is none: no error, and the keeper goes on.
        keeper.signal(token(1), Signal::SIGKILL).unwrap();
        drop(spare(&mut keeper, 2));
    });
}

#[test]
fn a_new_policy_is_used_after_a_reload_and_a_wrong_one_is_not() {
    alone(|| {
        let directory = Directory::new();
        let file = directory.0.join("policy.toml");
        let write = |value: &str| {
            let text =
                format!("extends = \"connection\"\n[environment]\nset = {{ WHICH = {value} }}\n");
            fs::write(&file, text).unwrap();
        };
        write("\"old\"");
        let load = || Policy::from_file(&file);
        let request = shell("echo $WHICH");
        let mut keeper = Keeper::start(load, &request, Shape::Connection, &[]).unwrap();
        let asked = |keeper: &mut Keeper, spare: Started| {
            let (client, server, connection) = dialled();
            spare.give(server, &connection);
            let _ = keeper;
            all_of(client)
        };
        let before = spare(&mut keeper, 1);
        write("\"new\"");
        keeper.reload().unwrap();
        assert!(matches!(answer(&mut keeper), Answer::Reloaded));
        let after = spare(&mut keeper, 2);
        assert_eq!(
            asked(&mut keeper, before),
            "old\n",
            "what waited stays as it was"
        );
        assert_eq!(asked(&mut keeper, after), "new\n");
        write("wrong");
        keeper.reload().unwrap();
        let Answer::ReloadFailed(message) = answer(&mut keeper) else {
            panic!("the file is not valid");
        };
        assert!(message.contains("policy.toml:3:"), "{message}");
        let third = spare(&mut keeper, 3);
        assert_eq!(asked(&mut keeper, third), "new\n");
    });
}

#[test]
fn a_worker_of_a_pool_has_its_channel() {
    alone(|| {
        let script = "echo \"$SANDBOX_CHANNEL $LISTEN_FDNAMES\" >&3; cat <&3 >&2";
        let mut keeper = Keeper::start(worker_policy, &shell(script), Shape::Pool, &[]).unwrap();
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        keeper.launch(token(1), &[theirs.as_fd()], None).unwrap();
        drop(theirs);
        let started = Started::next(&mut keeper);
        readable(ours.as_fd());
        let mut buffer = [0; 64];
        let packet = packet::receive(ours.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..packet.length], b"3 channel\n");
        // Nobody but the worker holds its end, and nobody but us the other.
        drop(ours);
        assert_eq!(started.ended(), Some(Record::Ended(0)));
    });
}

#[test]
fn every_worker_has_the_listening_sockets() {
    alone(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [
            ("web".to_owned(), listener.as_fd()),
            ("admin".to_owned(), other.as_fd()),
        ];
        let script =
            "echo \"$LISTEN_FDS $LISTEN_FDNAMES\"; exec readlink /proc/self/fd/3 /proc/self/fd/4";
        let (reader, writer) = nix::unistd::pipe().unwrap();
        nix::unistd::dup2_stdout(&writer).unwrap();
        drop(writer);
        let mut keeper =
            Keeper::start(worker_policy, &shell(script), Shape::Listener, &listeners).unwrap();
        let inode = |fd: BorrowedFd<'_>| {
            fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap()
        };
        let expected = format!(
            "2 web:admin\n{}\n{}\n",
            inode(listener.as_fd()).display(),
            inode(other.as_fd()).display(),
        );
        let mut output = File::from(reader);
        for number in 1..=2 {
            keeper.launch(token(number), &[], None).unwrap();
            assert_eq!(Started::next(&mut keeper).ended(), Some(Record::Ended(0)));
            let mut said = vec![0; expected.len()];
            output.read_exact(&mut said).unwrap();
            assert_eq!(String::from_utf8_lossy(&said), expected);
        }
    });
}

#[test]
fn a_sandbox_ends_when_its_time_is_over() {
    alone(|| {
        let load = || {
            let mut policy = connection_policy()?;
            policy.process.timeout = Some(Duration::from_millis(50));
            policy.process.kill_after = Duration::from_millis(50);
            Ok(policy)
        };
        let script = "trap 'echo asked' TERM; while :; do sleep 0.01; done";
        let mut keeper = Keeper::start(load, &shell(script), Shape::Connection, &[]).unwrap();
        let waiting = spare(&mut keeper, 1);
        let (client, server, connection) = dialled();
        keeper
            .launch(token(2), &[server.as_fd()], Some(&connection))
            .unwrap();
        drop(server);
        let running = Started::next(&mut keeper);
        assert_eq!(running.ended(), None, "killed");
        assert!(all_of(client).starts_with("asked\n"));
        // A spare's time has not begun.
        let (_client, server, connection) = dialled();
        waiting.give(server, &connection);
        assert_eq!(waiting.ended(), None, "killed, but later");
    });
}

#[test]
fn what_comes_and_goes_on_the_host_stops_no_launch() {
    alone(|| {
        let directory = Directory::new();
        let (early, late) = (directory.0.join("early"), directory.0.join("late"));
        let load = || {
            let mut policy = Policy::built_in("default")?;
            policy.filesystem.dev = crate::policy::View::Host;
            Ok(policy)
        };
        let listener = UnixListener::bind(&early).unwrap();
        let script = format!(
            "for path in {} {}; do test -S $path && echo seen; test -c $path && echo hidden; done",
            early.display(),
            late.display()
        );
        let mut keeper = Keeper::start(load, &shell(&script), Shape::Connection, &[]).unwrap();
        let mut ask = |number| {
            let (client, server, connection) = dialled();
            keeper
                .launch(token(number), &[server.as_fd()], Some(&connection))
                .unwrap();
            drop(server);
            let _started = Started::next(&mut keeper);
            all_of(client)
        };
        assert_eq!(ask(1), "hidden\n");
        drop(listener);
        fs::remove_file(&early).unwrap();
        assert_eq!(ask(2), "", "there is none");
        let _listener = UnixListener::bind(&late).unwrap();
        assert_eq!(ask(3), "hidden\n", "one that came after the keeper");
    });
}

#[test]
fn no_step_of_a_spare_allocates() {
    alone(|| {
        crate::sys::guard::arm();
        let mut keeper = keeper("echo done");
        let waiting = spare(&mut keeper, 1);
        let (client, server, connection) = dialled();
        waiting.give(server, &connection);
        assert_eq!(all_of(client), "done\n");
        // Nor one that is not needed, nor one that fails.
        let mut unneeded = spare(&mut keeper, 2);
        drop(unneeded.go.take());
        assert_eq!(unneeded.ended(), Some(Record::Ended(0)));
        let failing = spare(&mut keeper, 3);
        packet::send(failing.go(), b"x", &[]).unwrap();
        assert!(matches!(answer(&mut keeper), Answer::Failed { .. }));
    });
}

#[test]
fn nobody_traces_the_keeper_through_a_spare() {
    alone(|| {
        let mut keeper = keeper("true");
        let waiting = spare(&mut keeper, 1);
        // Root's keeper has privileges that its spares, which share its memory, have not.
        if !Uid::effective().is_root() {
            return;
        }
        let spare = waiting.command();
        let open =
            |pid: i32| File::open(format!("/proc/{pid}/mem")).map_err(|e| plan::errno_of(&e));
        let tried = crate::sys::process::in_a_copy(|| {
            use caps::CapSet;
            caps::clear(None, CapSet::Effective).unwrap();
            caps::clear(None, CapSet::Permitted).unwrap();
            let own = nix::unistd::getpid().as_raw();
            let control = crate::sys::process::in_a_copy(|| drop(open(own).unwrap()));
            assert!(control, "another process of root without capabilities");
            assert_eq!(open(spare).unwrap_err(), Errno::EACCES);
        });
        assert!(tried);
    });
}

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
