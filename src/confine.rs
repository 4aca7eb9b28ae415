//! The supervisor's own confinement: what watches over a sandbox needs no powers itself.
//!
//! Runs in the launcher once the command runs and all files are open: no capability, no_new_privs,
//! not dumpable, and a filter with the few calls of the loop. Irreversible, so only the program does
//! it, never the library.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashSet};

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::geteuid;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::cgroup::Group;
use crate::error::{Error, Result};
use crate::plan::Plan;

/// What the supervisor's loop, its allocator, and its tidying up use.
const CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_waitid,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getpgid,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
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
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_unlinkat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getpgrp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Give up everything that watching, and removing `group` afterwards, does not need.
///
/// # Errors
/// When something cannot be given up: the command is ended then.
pub(crate) fn confine(plan: &Plan, group: Option<&Group>) -> Result<()> {
    let failed = |errno| Error::host("drop the supervisor's", "privileges", errno);
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
    let refused = |_| failed(Errno::EPERM);
    caps::clear(None, CapSet::Ambient).map_err(refused)?;
    caps::clear(None, CapSet::Inheritable).map_err(refused)?;
    caps::set(None, CapSet::Effective, &kept).map_err(refused)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(refused)?;
    prctl::set_dumpable(false).map_err(failed)?;
    prctl::set_no_new_privs().map_err(failed)?;
    let program = program().map_err(|_| failed(Errno::EINVAL))?;
    seccompiler::apply_filter(&program).map_err(|_| failed(Errno::EINVAL))
}

/// Other calls are refused, not deadly: whatever they were for, the command is still watched.
fn program() -> std::result::Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let rules: BTreeMap<_, _> = CALLS.iter().map(|&call| (call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch)?.try_into()
}
