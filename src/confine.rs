//! How a process of ours gives up what it needs no more: capabilities, dumps, new privileges, calls.
//!
//! Runs in the supervisor once the command runs and all files are open, and in the broker
//! ([`crate::broker::confine`]) before it accepts. Irreversible, so only the program does it, never
//! the library.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashSet};

use caps::{CapSet, Capability};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr,
};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::geteuid;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use tracing::debug;

use crate::cgroup::Group;
use crate::error::{Error, Result};
use crate::filter::{Program, Verdict, allow_only};
use crate::plan::Plan;
use crate::sys::child::install_filter;
use crate::sys::notify::REQUESTS;

/// Calls, each with the rules of which one must hold; without rules it is allowed.
pub(crate) type Calls = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// What any program uses that only turns in a loop: its allocator, its clock, its end.
const BASE: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_recvfrom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_futex,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// What the supervisor's loop and its tidying up use besides.
const SUPERVISOR: &[libc::c_long] = &[
    libc::SYS_ppoll,
    libc::SYS_sendto,
    libc::SYS_waitid,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_getpgid,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_clock_nanosleep,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_unlinkat,
    libc::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getpgrp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
];

/// What it uses besides where it makes connections for the command ([`crate::egress::engine`]).
const EGRESS: &[libc::c_long] = &[
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_pipe2,
    libc::SYS_splice,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

/// The newest Landlock whose rights we know by name: Linux 6.12.
const LANDLOCK: ABI = ABI::V6;
/// With more ports than this, Landlock is not told of them one by one.
const MOST_PORTS: usize = 4096;

/// Give up everything that watching, and removing `group` afterwards, does not need.
///
/// # Errors
/// When something cannot be given up: the command is ended then.
pub(crate) fn confine(plan: &Plan, group: Option<&Group>) -> Result<()> {
    // A command of another user, without a user namespace of ours, is only root's to kill.
    let other_user = plan
        .identity
        .as_ref()
        .is_some_and(|identity| identity.uid != geteuid().as_raw());
    let kill = (other_user && !plan.user_namespace).then_some(Capability::CAP_KILL);
    let kept: HashSet<Capability> = kill
        .into_iter()
        .chain(group.and_then(Group::needs).filter(|_| geteuid().is_root()))
        .collect();
    let failed = |errno| Error::host("drop the supervisor's", "privileges", errno);
    limit_capabilities(&kept).map_err(failed)?;
    close_to_others().map_err(failed)?;
    let mut calls = plainly(SUPERVISOR);
    if let Some(egress) = &plan.egress {
        enter_landlock(&egress.ports(), group).map_err(failed)?;
        calls.extend(plainly(EGRESS));
        calls.insert(libc::SYS_socket, sockets().map_err(failed)?);
    }
    install(calls).map_err(failed)
}

/// What the thread uses that connects for the command ([`crate::egress::notify`]).
const CONNECTING: &[libc::c_long] = &[
    libc::SYS_ppoll,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_readlinkat,
    libc::SYS_openat2,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_vm_readv,
    // With sockets of the host's: to look for copies, and for the sandbox's own.
    libc::SYS_getdents64,
    libc::SYS_kcmp,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_clock_nanosleep,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// Give up, in the calling thread alone, what connecting for the command does not need.
///
/// # Errors
/// When something cannot be given up: the thread must not go on then.
pub(crate) fn confine_connecting(ids: ChangesIds) -> std::result::Result<(), Errno> {
    prctl::set_no_new_privs()?;
    let mut calls = plainly(CONNECTING);
    if ids == ChangesIds::Yes {
        calls.extend(plainly(&[
            libc::SYS_geteuid,
            libc::SYS_setresuid,
            libc::SYS_setfsuid,
        ]));
    }
    let argument = |index, value| {
        let length = SeccompCmpArgLen::Dword;
        SeccompCondition::new(index, length, SeccompCmpOp::Eq, value).map_err(|_| Errno::EINVAL)
    };
    let equal = |value| argument(1, value);
    let rule = |condition| SeccompRule::new(vec![condition]).map_err(|_| Errno::EINVAL);
    let requests = REQUESTS.iter().map(|&request| rule(equal(request.into())?));
    calls.insert(
        libc::SYS_ioctl,
        requests.collect::<std::result::Result<_, _>>()?,
    );
    // The one option of a socket that is given away (crate::egress::direct::lingers_as).
    let int = |value: i32| u64::try_from(value).map_err(|_| Errno::EINVAL);
    let lingers = vec![
        argument(1, int(libc::SOL_SOCKET)?)?,
        argument(2, int(libc::SO_LINGER)?)?,
    ];
    let lingers = SeccompRule::new(lingers).map_err(|_| Errno::EINVAL)?;
    calls.insert(libc::SYS_setsockopt, vec![lingers]);
    // To look, not to change: no mode but O_RDONLY, nothing made, nothing cut.
    let changes = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND;
    let mask = u64::try_from(changes).map_err(|_| Errno::EINVAL)?;
    let looks = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), 0);
    let looks = looks.map_err(|_| Errno::EINVAL)?;
    calls.insert(libc::SYS_openat, vec![rule(looks)?]);
    install(calls)
}

/// Whether the thread acts as another user than the launcher's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangesIds {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Internet sockets of streams and datagrams.
fn sockets() -> std::result::Result<Vec<SeccompRule>, Errno> {
    /// What is not SOCK_NONBLOCK or SOCK_CLOEXEC.
    const TYPE: u64 = 0xf;
    let int = |value: i32| u64::try_from(value).map_err(|_| Errno::EINVAL);
    let condition = |argument, operation, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)
            .map_err(|_| Errno::EINVAL)
    };
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            let conditions = vec![
                condition(0, SeccompCmpOp::Eq, int(family)?)?,
                condition(1, SeccompCmpOp::MaskedEq(TYPE), int(kind)?)?,
                condition(2, SeccompCmpOp::Eq, 0)?,
            ];
            rules.push(SeccompRule::new(conditions).map_err(|_| Errno::EINVAL)?);
        }
    }
    Ok(rules)
}

/// A domain without a right to any file, in which only `ports` can be connected to by TCP; as much of
/// that as the kernel has. It is a second wall: the filter lets no file be opened either.
fn enter_landlock(ports: &[u16], group: Option<&Group>) -> std::result::Result<(), Errno> {
    let refused = |_| Errno::EPERM;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .map_err(refused)?;
    if ports.len() <= MOST_PORTS {
        ruleset = ruleset
            .handle_access(AccessNet::ConnectTcp)
            .map_err(refused)?;
    }
    let mut created = ruleset.create().map_err(refused)?;
    if ports.len() <= MOST_PORTS {
        let ports = ports.iter().map(|&port| {
            Ok::<_, landlock::RulesetError>(NetPort::new(port, AccessNet::ConnectTcp))
        });
        created = created.add_rules(ports).map_err(refused)?;
    }
    if let Some(group) = group {
        let directory = PathFd::new(group.parent()).map_err(|_| Errno::ENOENT)?;
        let rule = PathBeneath::new(directory, AccessFs::RemoveDir);
        created = created.add_rule(rule).map_err(refused)?;
    }
    let entered = created.restrict_self().map_err(refused)?;
    debug!(landlock = ?entered.ruleset, "the supervisor has entered its domain");
    Ok(())
}

/// Keep the capabilities `kept` alone.
pub(crate) fn limit_capabilities(kept: &HashSet<Capability>) -> std::result::Result<(), Errno> {
    let refused = |_| Errno::EPERM;
    caps::clear(None, CapSet::Ambient).map_err(refused)?;
    caps::clear(None, CapSet::Inheritable).map_err(refused)?;
    caps::set(None, CapSet::Effective, kept).map_err(refused)?;
    caps::set(None, CapSet::Permitted, kept).map_err(refused)
}

/// Not to be traced or dumped by whoever has the same user, and never more privileged.
pub(crate) fn close_to_others() -> std::result::Result<(), Errno> {
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()
}

/// `calls` without a condition, for [`install`].
pub(crate) fn plainly(calls: &[libc::c_long]) -> Calls {
    calls.iter().map(|&call| (call, Vec::new())).collect()
}

/// The answer to any other: EPERM.
const REFUSED: Verdict = Verdict::Errno(1);

/// Refuse every system call but `calls` and what any program needs. Refused, not deadly: whatever it
/// was for, the loop goes on. After `no_new_privs`.
pub(crate) fn install(calls: Calls) -> std::result::Result<(), Errno> {
    let program = program(calls).map_err(|_| Errno::EINVAL)?;
    install_filter(program.instructions())
}

fn program(mut calls: Calls) -> Result<Program> {
    calls.extend(plainly(BASE));
    allow_only(calls, REFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Arch, interpret};

    #[test]
    fn the_supervisors_calls_are_allowed_and_no_others() {
        let program = program(plainly(SUPERVISOR)).unwrap();
        let native = Arch::native().audit_word();
        for number in (0..600).chain([0x4000_0000, u32::MAX]) {
            let call = libc::c_long::from(number);
            let expected = match BASE.contains(&call) || SUPERVISOR.contains(&call) {
                true => Verdict::Allow,
                false => REFUSED,
            };
            assert_eq!(
                interpret(&program, native, number, &[0; 6]),
                expected,
                "{number}"
            );
        }
        let killed = interpret(&program, !native, 0, &[0; 6]);
        assert_eq!(killed, Verdict::KillProcess);
        assert!(program.len() < 90, "{}", program.len());
    }

    #[test]
    fn in_the_supervisors_domain_there_are_its_ports_and_no_files() {
        use std::io::ErrorKind::PermissionDenied;
        use std::net::{TcpListener, TcpStream};

        // Rights for ports came with Linux 6.7.
        const PORTS: u32 = 4;
        if crate::probe::Support::quick().landlock_abi < PORTS {
            return;
        }
        crate::testing::alone(|| {
            let servers = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            let [allowed, other] = servers.each_ref().map(|it| it.local_addr().unwrap());
            assert!(TcpStream::connect(other).is_ok());
            assert!(std::fs::File::open("/etc/passwd").is_ok());
            prctl::set_no_new_privs().unwrap();
            enter_landlock(&[allowed.port()], None).unwrap();
            assert!(TcpStream::connect(allowed).is_ok());
            let refused = TcpStream::connect(other).unwrap_err();
            assert_eq!(refused.kind(), PermissionDenied, "{refused}");
            let refused = std::fs::File::open("/etc/passwd").unwrap_err();
            assert_eq!(refused.kind(), PermissionDenied, "{refused}");
        });
    }
}
