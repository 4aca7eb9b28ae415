//! The broker's own confinement: what hands connections on needs no powers itself.
//!
//! Runs in the broker's process once everything is open and the keeper has its half of the work, before
//! the first connection is accepted. A broker that a client or a worker has taken over can then accept
//! on its listeners, move bytes on what it holds, and ask the keeper for launches of the one plan; it
//! cannot dial, listen anew, open a file, execute or trace.
//!
//! Three walls, each whole without the others: no capability and no way to one; a Landlock domain that
//! grants no file, no TCP port, no signal and no abstract socket beyond it (as far as the kernel's
//! version of it goes); and a filter with the calls of the loop.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use caps::{CapSet, Capability};
use landlock::{
    Access, AccessFs, AccessNet, CompatLevel, Compatible, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetStatus, Scope,
};
use nix::errno::Errno;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use tracing::warn;

use crate::confine::{self, Calls};
use crate::error::{Error, Result};
use crate::policy::Strictness;

/// The newest version of Landlock that is asked for; the kernel gives what it has of it.
const LANDLOCK: landlock::ABI = landlock::ABI::V6;

/// The calls of the loop that need no condition.
const CALLS: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // The keeper's end is waited for.
    libc::SYS_ppoll,
    libc::SYS_waitid,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

/// Give up everything that the loop does not need.
///
/// # Errors
/// When something cannot be given up: nothing is served then. Landlock alone may be missing on the
/// host, unless the policy demands everything.
pub(crate) fn confine(strictness: Strictness) -> Result<()> {
    let failed = |errno| Error::host("drop the broker's", "privileges", errno);
    empty_bounding_set().map_err(failed)?;
    confine::limit_capabilities(&HashSet::new()).map_err(failed)?;
    confine::close_to_others().map_err(failed)?;
    enter_landlock(strictness)?;
    confine::install(calls().map_err(failed)?).map_err(failed)
}

/// Root's alone to do; `no_new_privs` makes it no difference to anybody else.
fn empty_bounding_set() -> std::result::Result<(), Errno> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        caps::clear(None, CapSet::Bounding).map_err(|_| Errno::EPERM)?;
    }
    Ok(())
}

/// A domain in which every right is handled and none is granted.
fn enter_landlock(strictness: Strictness) -> Result<()> {
    let entered = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.restrict_self());
    let missing = match entered {
        Ok(RestrictionStatus {
            ruleset: RulesetStatus::FullyEnforced,
            ..
        }) => return Ok(()),
        Ok(RestrictionStatus {
            ruleset: RulesetStatus::PartiallyEnforced,
            ..
        }) if strictness < Strictness::Full => return Ok(()),
        Ok(RestrictionStatus {
            ruleset: RulesetStatus::PartiallyEnforced,
            ..
        }) => "the kernel has only an older version of it",
        Ok(_) => "Landlock is not enabled",
        Err(_) => {
            return Err(Error::host(
                "enter",
                "the broker's Landlock domain",
                Errno::EPERM,
            ));
        }
    };
    if strictness < Strictness::Full {
        warn!("the broker has no Landlock domain of its own: {missing}");
        return Ok(());
    }
    Err(Error::Unsupported {
        layer: "the broker's Landlock domain".to_owned(),
        reason: missing.to_owned(),
        hint: Some(
            "use Linux 6.12 or later with landlock in its lsm= list, or '--require standard'"
                .to_owned(),
        ),
    })
}

/// The loop's calls with their conditions.
fn calls() -> std::result::Result<Calls, Errno> {
    let mut calls = confine::plainly(CALLS);
    let own = u64::try_from(nix::unistd::getpid().as_raw()).unwrap_or_default();
    let fast_open = u64::try_from(libc::MSG_FASTOPEN).unwrap_or_default();
    let unix = u64::try_from(libc::AF_UNIX).unwrap_or_default();
    let packets = u64::try_from(libc::SOCK_SEQPACKET).unwrap_or_default();
    let type_bits = 0xf;
    // Never to an address, and never the first bytes of a connection: that would be dialling.
    calls.insert(
        libc::SYS_sendto,
        vec![rule(&[
            masked(3, fast_open, 0)?,
            SeccompCondition::new(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
                .map_err(|_| Errno::EINVAL)?,
        ])?],
    );
    calls.insert(libc::SYS_sendmsg, vec![rule(&[masked(2, fast_open, 0)?])?]);
    // The channel of a new worker.
    calls.insert(
        libc::SYS_socketpair,
        vec![rule(&[equal(0, unix)?, masked(1, type_bits, packets)?])?],
    );
    let commands = [libc::F_DUPFD_CLOEXEC, libc::F_GETFL, libc::F_GETFD];
    calls.insert(
        libc::SYS_fcntl,
        commands
            .into_iter()
            .map(|command| {
                let command = u64::try_from(command).map_err(|_| Errno::EINVAL)?;
                rule(&[equal(1, command)?])
            })
            .collect::<std::result::Result<_, Errno>>()?,
    );
    // How a socket of the channel is made one that is never waited for.
    calls.insert(libc::SYS_ioctl, vec![rule(&[equal(1, libc::FIONBIO)?])?]);
    // To itself: how a panic ends the process.
    calls.insert(libc::SYS_tgkill, vec![rule(&[equal(0, own)?])?]);
    Ok(calls)
}

fn rule(conditions: &[SeccompCondition]) -> std::result::Result<SeccompRule, Errno> {
    SeccompRule::new(conditions.to_vec()).map_err(|_| Errno::EINVAL)
}

/// An int argument: its upper half is nobody's business.
fn equal(argument: u8, value: u64) -> std::result::Result<SeccompCondition, Errno> {
    compare(argument, SeccompCmpOp::Eq, value)
}

fn masked(argument: u8, mask: u64, value: u64) -> std::result::Result<SeccompCondition, Errno> {
    compare(argument, SeccompCmpOp::MaskedEq(mask), value)
}

fn compare(
    argument: u8,
    operation: SeccompCmpOp,
    value: u64,
) -> std::result::Result<SeccompCondition, Errno> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)
        .map_err(|_| Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{BufRead, BufReader, IoSlice, Read, Write};
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::process::{Child, Command, Stdio};

    use nix::sys::ptrace;
    use nix::sys::signal::{Signal, kill};
    use nix::sys::socket::{
        AddressFamily, Backlog, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, UnixAddr,
        bind, connect, listen, sendmsg, sendto, setsockopt, socket, socketpair, sockopt,
    };
    use nix::unistd::{Gid, Pid, Uid, execv, geteuid, setresgid, setresuid};

    use super::*;
    use crate::probe::Support;

    /// Says which test's body this process is to run, and as whom.
    const ALONE: &str = "SANDBOX_TEST_ALONE";
    const NOBODY: &str = "nobody";

    /// Run `body` in a process of its own, because what it does cannot be undone: as the user who
    /// tests, and, where that is root, as one who is not.
    fn alone(test: &str, body: fn()) {
        let name = format!("broker::confine::tests::{test}");
        if let Some(whom) = std::env::var_os(ALONE) {
            if whom == NOBODY {
                setresgid(Gid::from(65534), Gid::from(65534), Gid::from(65534)).unwrap();
                setresuid(Uid::from(65534), Uid::from(65534), Uid::from(65534)).unwrap();
                // The change of ids has taken it away; here it has to be confinement that does.
                nix::sys::prctl::set_dumpable(true).unwrap();
            }
            return body();
        }
        let whom: &[&str] = match geteuid().is_root() {
            true => &["oneself", NOBODY],
            false => &["oneself"],
        };
        for whom in whom {
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &name, "--nocapture", "--test-threads=1"])
                .env(ALONE, whom)
                .status()
                .unwrap();
            assert!(status.success(), "{test} as {whom}: {status}");
        }
    }

    /// A process of ours outside, which ends with its standard input.
    fn accomplice() -> Child {
        Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// An attempt that works before, and must be refused afterwards.
    struct Attempts {
        stream: OwnedFd,
        unbound: OwnedFd,
        datagrams: OwnedFd,
        udp: UdpSocket,
        nobody_listens: SockaddrIn,
        accomplice: Child,
    }

    type Attempt = (&'static str, fn(&Attempts) -> nix::Result<()>);

    const ATTEMPTS: &[Attempt] = &[
        ("socket inet", |_| tcp().map(drop)),
        ("socket unix", |_| {
            let flags = SockFlag::SOCK_CLOEXEC;
            socket(AddressFamily::Unix, SockType::Stream, flags, None).map(drop)
        }),
        ("connect", |it| {
            // It may be refused by whoever is not there: it was dialled.
            match connect(it.stream.as_raw_fd(), &it.nobody_listens) {
                Err(Errno::ECONNREFUSED) => Ok(()),
                other => other,
            }
        }),
        ("bind", |it| {
            match bind(it.unbound.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)) {
                // The second time.
                Err(Errno::EINVAL) => Ok(()),
                other => other,
            }
        }),
        ("listen", |it| listen(&it.unbound, Backlog::MAXCONN)),
        ("fast open by sendto", |it| {
            let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
            dialled(sendto(
                it.stream.as_raw_fd(),
                b"x",
                &it.nobody_listens,
                flags,
            ))
        }),
        ("fast open by sendmsg", |it| {
            let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
            let bytes = [IoSlice::new(b"x")];
            let to = Some(&it.nobody_listens);
            dialled(sendmsg(it.stream.as_raw_fd(), &bytes, &[], flags, to))
        }),
        ("sendto an address", |it| {
            let flags = MsgFlags::empty();
            dialled(sendto(it.udp.as_raw_fd(), b"x", &it.nobody_listens, flags))
        }),
        ("socketpair of streams", |_| {
            let flags = SockFlag::SOCK_CLOEXEC;
            socketpair(AddressFamily::Unix, SockType::Stream, None, flags).map(drop)
        }),
        ("setsockopt", |it| {
            setsockopt(&it.stream, sockopt::KeepAlive, &true)
        }),
        ("open", |_| File::open("/dev/null").map(drop).map_err(errno)),
        ("read a directory", |_| {
            fs::read_dir("/").map(drop).map_err(errno)
        }),
        ("stat", |_| fs::metadata("/").map(drop).map_err(errno)),
        ("unlink", |_| match fs::remove_file("/nonexistent/x") {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(errno),
        }),
        ("start a thread", |_| {
            let thread = std::thread::Builder::new().spawn(|| ()).map_err(errno)?;
            thread.join().map_err(|_| Errno::ECHILD)
        }),
        ("start a program", |_| {
            Command::new("true").status().map(drop).map_err(errno)
        }),
        ("trace", |it| {
            let pid = accomplice_pid(it);
            ptrace::seize(pid, ptrace::Options::empty())?;
            // Detaching needs it to be stopped.
            kill(pid, Signal::SIGSTOP)?;
            nix::sys::wait::waitpid(pid, None)?;
            ptrace::detach(pid, None)
        }),
        ("signal", |it| kill(accomplice_pid(it), Signal::SIGCONT)),
        ("make a memory file", |_| {
            let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
            nix::sys::memfd::memfd_create(c"x", flags).map(drop)
        }),
        ("find its own name", |_| {
            std::env::current_dir().map(drop).map_err(errno)
        }),
    ];

    fn accomplice_pid(attempts: &Attempts) -> Pid {
        Pid::from_raw(i32::try_from(attempts.accomplice.id()).unwrap())
    }

    fn errno(error: std::io::Error) -> Errno {
        Errno::from_raw(error.raw_os_error().unwrap_or(0))
    }

    fn tcp() -> nix::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        socket(
            AddressFamily::Inet,
            SockType::Stream,
            flags,
            SockProtocol::Tcp,
        )
    }

    /// Whatever comes of it, something has gone out.
    fn dialled(sent: nix::Result<usize>) -> nix::Result<()> {
        match sent {
            Err(Errno::EPERM) => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    impl Attempts {
        fn new() -> Self {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            Self {
                stream: tcp().unwrap(),
                unbound: tcp().unwrap(),
                datagrams: UnixDatagram::unbound().unwrap().into(),
                udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
                nobody_listens: SockaddrIn::new(127, 0, 0, 1, port),
                accomplice: accomplice(),
            }
        }
    }

    #[test]
    fn the_filter_alone_refuses_everything_that_reaches_out() {
        alone(
            "the_filter_alone_refuses_everything_that_reaches_out",
            || {
                let attempts = Attempts::new();
                for (what, attempt) in ATTEMPTS {
                    let worked = attempt(&attempts);
                    assert!(
                        !matches!(worked, Err(Errno::EPERM | Errno::EACCES)),
                        "{what} is no attempt: {worked:?}"
                    );
                }
                confine::close_to_others().unwrap();
                confine::install(calls().unwrap()).unwrap();
                for (what, attempt) in ATTEMPTS {
                    assert_eq!(attempt(&attempts), Err(Errno::EPERM), "{what}");
                }
                assert_eq!(execv(c"/bin/true", &[c"true"]), Err(Errno::EPERM));
                let flags = SockFlag::SOCK_CLOEXEC;
                socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
                drop(attempts);
            },
        );
    }

    #[test]
    fn landlock_alone_grants_no_file_port_or_abstract_socket() {
        alone(
            "landlock_alone_grants_no_file_port_or_abstract_socket",
            || {
                let abi = Support::quick().landlock_abi;
                if abi == 0 {
                    return;
                }
                let name =
                    SocketAddr::from_abstract_name(format!("x-{}", std::process::id())).unwrap();
                let _outside = UnixDatagram::bind_addr(&name).unwrap();
                let inside = UnixDatagram::unbound().unwrap();
                let open = || File::open("/dev/null").map(drop).map_err(errno);
                let listens = || TcpListener::bind("127.0.0.1:0").map(drop).map_err(errno);
                let sends = || inside.send_to_addr(b"x", &name).map(drop).map_err(errno);
                assert_eq!((open(), listens(), sends()), (Ok(()), Ok(()), Ok(())));
                confine::close_to_others().unwrap();
                enter_landlock(Strictness::Standard).unwrap();
                assert_eq!(open(), Err(Errno::EACCES));
                if abi >= 4 {
                    assert_eq!(listens(), Err(Errno::EACCES));
                }
                if abi >= 6 {
                    assert_eq!(sends(), Err(Errno::EPERM));
                }
            },
        );
    }

    /// What the kernel says of a process or thread, by field.
    fn status_of(whom: &str) -> impl Fn(&str) -> String + use<> {
        let text = fs::read_to_string(format!("/proc/{whom}/status")).unwrap();
        move |field| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("no {field}"))
                .trim()
                .to_owned()
        }
    }

    #[test]
    fn afterwards_there_is_no_capability_and_every_wall_stands() {
        const NAME: &str = "afterwards_there_is_no_capability_and_every_wall_stands";
        if std::env::var_os(ALONE).is_some() {
            return alone(NAME, || {
                let name =
                    SocketAddr::from_abstract_name(format!("y-{}", std::process::id())).unwrap();
                let _outside = UnixDatagram::bind_addr(&name).unwrap();
                let address =
                    UnixAddr::new_abstract(format!("y-{}", std::process::id()).as_bytes()).unwrap();
                let attempts = Attempts::new();
                let datagram = || {
                    let (fd, bytes) = (attempts.datagrams.as_raw_fd(), [IoSlice::new(b"x")]);
                    sendmsg(fd, &bytes, &[], MsgFlags::empty(), Some(&address)).map(drop)
                };
                assert_eq!(datagram(), Ok(()));
                let scoped = Support::quick().landlock_abi >= 6;
                confine(Strictness::Standard).unwrap();
                // The one thing that the filter lets through, so that it shows who refuses it.
                if scoped {
                    assert_eq!(datagram(), Err(Errno::EPERM), "there is no Landlock domain");
                }
                let thread = nix::unistd::gettid();
                std::io::stdout()
                    .write_all(format!("\nconfined {thread}\n").as_bytes())
                    .unwrap();
                // Until the other side has had a look.
                let _ = std::io::stdin().read(&mut [0]);
            });
        }
        let whom: &[&str] = match geteuid().is_root() {
            true => &["oneself", NOBODY],
            false => &["oneself"],
        };
        for whom in whom {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &format!("broker::confine::tests::{NAME}")])
                .args(["--nocapture", "--test-threads=1"])
                .env(ALONE, whom)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
            let thread = loop {
                let line = output.next().expect("it says when it is confined").unwrap();
                if let Some(thread) = line.strip_prefix("confined ") {
                    break thread.to_owned();
                }
            };
            let status = status_of(&format!("{}/task/{thread}", child.id()));
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert_eq!(status(set), "0000000000000000", "{set} as {whom}");
            }
            if *whom != NOBODY && geteuid().is_root() {
                assert_eq!(status("CapBnd"), "0000000000000000");
                assert_ne!(status_of("self")("CapEff"), status("CapEff"));
            }
            assert_eq!(
                (status("NoNewPrivs"), status("Seccomp")),
                ("1".into(), "2".into())
            );
            // What cannot be dumped belongs to root (proc(5)).
            let owner = fs::metadata(format!("/proc/{}/fd", child.id()));
            let owner = std::os::unix::fs::MetadataExt::uid(&owner.unwrap());
            assert_eq!(owner, 0, "it can be traced by its own user");
            drop(child.stdin.take());
            output.for_each(drop);
            assert!(child.wait().unwrap().success(), "as {whom}");
        }
    }
}
