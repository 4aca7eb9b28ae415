//! The supervisor's own confinement: what watches over a sandbox needs no powers itself.
//!
//! Runs in the launcher once the command runs and all files are open: no capability, no_new_privs,
//! not dumpable, and a filter with the few calls of the loop. Irreversible, so only the program does
//! it, never the library.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sys::prctl;

use crate::error::{Error, Result};
use crate::filter::{Program, Verdict, allow_only};
use crate::plan::Plan;
use crate::sys::child::install_filter;

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

/// The answer to any other: EPERM.
const REFUSED: Verdict = Verdict::Errno(1);

/// Give up everything that watching does not need.
///
/// # Errors
/// When something cannot be given up: the command is ended then.
pub(crate) fn confine(plan: &Plan) -> Result<()> {
    let failed = |errno| Error::host("drop the supervisor's", "privileges", errno);
    // A command of another user, without a user namespace of ours, is only root's to kill.
    let other_user = plan
        .identity
        .as_ref()
        .is_some_and(|identity| identity.uid != nix::unistd::geteuid().as_raw());
    let kept: HashSet<Capability> = if other_user && !plan.user_namespace {
        HashSet::from([Capability::CAP_KILL])
    } else {
        HashSet::new()
    };
    let refused = |_| failed(Errno::EPERM);
    caps::clear(None, CapSet::Ambient).map_err(refused)?;
    caps::clear(None, CapSet::Inheritable).map_err(refused)?;
    caps::set(None, CapSet::Effective, &kept).map_err(refused)?;
    caps::set(None, CapSet::Permitted, &kept).map_err(refused)?;
    prctl::set_dumpable(false).map_err(failed)?;
    prctl::set_no_new_privs().map_err(failed)?;
    let program = program().map_err(|_| failed(Errno::EINVAL))?;
    install_filter(program.instructions()).map_err(failed)
}

/// Other calls are refused, not deadly: whatever they were for, the command is still watched.
fn program() -> Result<Program> {
    let calls = CALLS.iter().map(|&call| (call, Vec::new())).collect();
    allow_only(calls, REFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Arch, interpret};

    #[test]
    fn the_supervisors_calls_are_allowed_and_no_others() {
        let program = program().unwrap();
        let native = Arch::native().audit_word();
        for number in (0..600).chain([0x4000_0000, u32::MAX]) {
            let expected = match CALLS.contains(&libc::c_long::from(number)) {
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
}
