//! What to do about a step that failed.
//!
//! Runs in the launcher after a launch has failed, so it may take its time: it first asks what the
//! host says about itself, and where that does not explain the failure, the table [`ADVICE`].

use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use crate::owner;
use crate::probe::acts::{Act, Failure, Stage};
use crate::probe::{self, Around, Id, Readings, attempt};
use crate::step::Step;

/// What to do about `step` having failed on `object` with `errno`, where that is known: one line,
/// fit to stand behind "hint: ".
#[must_use]
pub fn hint(step: Step, object: &str, errno: Errno) -> Option<String> {
    let cause = || match (step, errno) {
        (Step::JoinNetwork, Errno::EPERM) => owner::hint(Path::new(object)),
        (Step::IdMaps, _) => foreign_proc()
            .or_else(|| unmappable_root(&Readings::take()).filter(|_| errno == Errno::EPERM))
            .or_else(|| cause(step, errno)),
        _ => cause(step, errno),
    };
    let shown = if object.is_empty() { "it" } else { object };
    advise(step, errno, cause).map(|advice| advice.replace("{object}", shown))
}

/// The limit that was met, where it is one; then the host's own reason, then the table.
fn advise(step: Step, errno: Errno, cause: impl FnOnce() -> Option<String>) -> Option<String> {
    let row = |wanted: &dyn Fn(&[Errno]) -> bool| {
        let row = ADVICE
            .iter()
            .find(|(of, errnos, _)| *of == step && wanted(errnos));
        row.map(|(.., advice)| (*advice).to_owned())
    };
    if let Some(scarce) = scarce(errno) {
        return row(&|errnos| errnos.contains(&errno)).or(Some(scarce));
    }
    cause().or_else(|| row(&|errnos| errnos.is_empty() || errnos.contains(&errno)))
}

/// What the host says that explains the failure.
fn cause(step: Step, errno: Errno) -> Option<String> {
    let readings = Readings::take();
    let (id, failure) = suspect(step, errno, &readings)?;
    let cause = probe::explain(id, failure, &readings)?;
    let remedy = cause
        .remedy
        .map_or_else(String::new, |remedy| format!("; {remedy}"));
    Some(format!("{}{remedy}; see 'sandbox doctor'", cause.by))
}

/// The feature that the step leans on, and how it failed.
fn suspect(step: Step, errno: Errno, readings: &Readings) -> Option<(Id, Failure)> {
    let stage = match step {
        Step::Clone => return suspect_namespace(errno, readings),
        Step::IdMaps => Stage::Maps,
        _ => Stage::Act,
    };
    let id = match step {
        Step::IdMaps => Id::UserNamespace,
        Step::Network | Step::Loopback | Step::Egress => Id::NetworkNamespace,
        Step::PrivateMounts => Id::MountNamespace,
        Step::Proc => Id::FreshProc,
        Step::Sys => Id::FreshSys,
        Step::Dev => Id::PrivateDevpts,
        Step::Hide | Step::PrivateTmp => Id::Tmpfs,
        Step::ProcMasks | Step::ReadOnly | Step::ReadWrite => Id::ReadOnlyMount,
        Step::Hostname => Id::UtsNamespace,
        Step::ForbidUserNamespaces => Id::NestedUserNamespaces,
        Step::Keyring => Id::SessionKeyring,
        Step::Descriptors => Id::CloseRange,
        Step::BoundingSet => Id::UserNamespace,
        Step::Landlock => Id::LandlockScopes,
        Step::Seccomp => Id::SeccompFilter,
        _ => return None,
    };
    // A path that the policy names can be missing or in the way: that is no lack of the kernel's.
    let about_the_object = matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::EINVAL)
        && matches!(
            step,
            Step::Hide | Step::ReadOnly | Step::ReadWrite | Step::ProcMasks
        );
    (!about_the_object).then_some((id, Failure { stage, errno }))
}

/// Which of the namespaces that were asked for all at once is refused: found by asking for each.
fn suspect_namespace(errno: Errno, readings: &Readings) -> Option<(Id, Failure)> {
    const EACH: &[(Id, Act)] = &[
        (Id::NetworkNamespace, Act::RaiseLoopback),
        (Id::PidNamespace, Act::BePidOne),
        (Id::MountNamespace, Act::PrivateMounts),
        (Id::IpcNamespace, Act::SharedMemory),
        (Id::UtsNamespace, Act::SetHostname),
        (Id::CgroupNamespace, Act::CgroupNamespace),
    ];
    let of_clone = Failure {
        stage: Stage::Clone,
        errno,
    };
    if errno == Errno::ENOSYS {
        return Some((Id::Clone3, of_clone));
    }
    let user = attempt(Act::UseCapability, Around::UserNamespace);
    let around = match user {
        Ok(()) => Around::UserNamespace,
        Err(_) if readings.support.has(probe::CAP_SYS_ADMIN) && errno != Errno::ENOSPC => {
            Around::Nothing
        }
        Err(failure) => return Some((Id::UserNamespace, failure)),
    };
    EACH.iter()
        .find_map(|(id, act)| Some((*id, attempt(*act, around).err()?)))
}

/// A `/proc` that numbers processes otherwise than this one's namespace does (pid_namespaces(7)), as where a
/// tool has made a process namespace and left the old `/proc` in place.
fn foreign_proc() -> Option<String> {
    let shown = std::fs::read_link("/proc/self").ok()?;
    (shown.to_str() != Some(&*std::process::id().to_string())).then(|| {
        "/proc here is another process namespace's: mount a fresh one around sandbox (bwrap --proc /proc, unshare --mount-proc)".to_owned()
    })
}

/// Root that has lost CAP_SETFCAP, as in a container or under another sandbox, may not map root, not even
/// its own (user_namespaces(7)).
fn unmappable_root(readings: &Readings) -> Option<String> {
    let unmappable = readings.support.root && !readings.support.has(probe::CAP_SETFCAP);
    unmappable.then(|| {
        "root without CAP_SETFCAP cannot be mapped: run as an ordinary user, or leave root that capability".to_owned()
    })
}

/// Descriptors that a launch takes for itself at most; `tests/failure.rs` tries it.
const LAUNCH_TAKES: u64 = 21;

/// A limit that any step can meet. It says nothing of the step, so no other way round it is offered, unless
/// [`ADVICE`] has a row for just this.
fn scarce(errno: Errno) -> Option<String> {
    Some(match errno {
        Errno::EMFILE => getrlimit(Resource::RLIMIT_NOFILE)
            .map_or_else(|_| too_few_files(0, u64::MAX), |(soft, hard)| too_few_files(soft, hard)),
        Errno::ENFILE => "the host has as many files open as fs.file-max allows".to_owned(),
        Errno::EFBIG => "the limit on the size of files is too low for a launch: see 'ulimit -f'; --limit fsize is for the command alone".to_owned(),
        _ => return None,
    })
}

/// The limit in numbers. All of it may be taken already, so what is advised is on top of it.
fn too_few_files(soft: u64, hard: u64) -> String {
    let enough = soft.saturating_add(LAUNCH_TAKES);
    let by_whom = match hard < enough {
        true => format!(", as root: the hard limit is {hard}"),
        false => String::new(),
    };
    format!(
        "the limit on open files is {soft}, and a launch takes up to {LAUNCH_TAKES} besides those that are open: raise it, with 'ulimit -n {enough}'{by_whom}"
    )
}

/// For each step its likeliest errnos, and what to do; no errno means any. `{object}` stands for
/// what the step was done to. The first row that fits counts.
#[rustfmt::skip]
const ADVICE: &[(Step, &[Errno], &str)] = &[
    (Step::Clone, &[Errno::EPERM, Errno::EACCES], "this user may not create namespaces here; 'sandbox doctor' says which and why"),
    (Step::Clone, &[Errno::EAGAIN], "this user has as many processes as allowed: see 'ulimit -u' and pids.max of the control group"),
    (Step::Clone, &[Errno::ENOMEM], "the kernel has no memory, or the control group's pids.max or the pid namespace's init is gone"),
    (Step::Clone, &[Errno::ENOSPC, Errno::EUSERS], "a limit user.max_*_namespaces is reached, or namespaces are nested 32 deep; see 'sysctl user'"),
    (Step::Clone, &[Errno::ENOSYS, Errno::EINVAL, Errno::E2BIG], "this kernel or its container's filter does not know clone3 with these flags; Linux 5.7 is needed"),
    (Step::Clone, &[Errno::EBUSY], "the control group has members in groups below it, and cannot take any itself"),
    (Step::Clone, &[], "'sandbox doctor' tries each namespace apart"),
    (Step::JoinNetwork, &[Errno::ENOENT], "there is no such network namespace; 'sandbox netns list' lists those with a name"),
    (Step::JoinNetwork, &[Errno::EPERM, Errno::EACCES], "joining needs CAP_SYS_ADMIN over the namespace's owner: run as root"),
    (Step::JoinNetwork, &[], "{object} must be a network namespace: a name of 'sandbox netns list' or a path such as /proc/PID/ns/net"),
    (Step::IdMaps, &[Errno::ENOENT], "there is no /proc here, which sandbox needs: mount it first"),
    (Step::IdMaps, &[Errno::EPERM, Errno::EACCES], "only the caller's own ids can be mapped without root; leave --user and --group out, or run as root"),
    (Step::IdMaps, &[Errno::EROFS], "/proc is mounted read-only here, and ids are mapped by writing to it: mount a fresh one around sandbox (bwrap --proc /proc)"),
    (Step::IdMaps, &[], "the ids asked for must exist in the namespace that sandbox runs in; see /proc/self/uid_map"),
    (Step::CloneCommand, &[Errno::EAGAIN], "the limit on processes is too low for the init and the command: raise --limit nproc or --cgroup pids"),
    (Step::CloneCommand, &[], "the limits set leave no room for the command's process: raise --limit or --cgroup"),
    (Step::Network, &[Errno::ENOSPC, Errno::EUSERS], "the limit user.max_net_namespaces is reached; see 'sysctl user'"),
    (Step::Network, &[], "'sandbox doctor' tries a network namespace alone"),
    (Step::Egress, &[Errno::EMFILE, Errno::ENFILE, Errno::ETOOMANYREFS], "the limit on descriptors is too low for the sockets that --allow needs; see 'ulimit -n', or name fewer ports"),
    (Step::Egress, &[Errno::EADDRINUSE], "two rules of --allow ask for the same address and port, of which one is a network's"),
    (Step::Egress, &[], "the kernel refuses a route or a socket that --allow needs; without --allow it is not asked"),
    (Step::LowPorts, &[], "/proc/sys cannot be written to here: use a port from 1024 up, or '--cap-add NET_BIND_SERVICE'"),
    (Step::Loopback, &[], "--net none leaves lo down"),
    (Step::PrivateMounts, &[], "--share mount keeps the host's mounts, and loses what hides the host's files"),
    (Step::Files, &[Errno::ENOENT], "a file of /etc/netns, or {object} itself, has just gone: try again"),
    (Step::Files, &[Errno::ENODEV], "this kernel has no overlayfs, by which a file is put where the host has none: name one that is there"),
    (Step::Files, &[], "{object} and the file of /etc/netns that is to stand in for it must both be files, or both directories"),
    (Step::Proc, &[Errno::EPERM, Errno::EACCES], "this host refuses a fresh /proc, as containers do; --proc host accepts the host's"),
    (Step::Proc, &[], "--proc host accepts the host's /proc"),
    (Step::ProcMasks, &[], "--proc host leaves /proc as it is"),
    (Step::Sys, &[Errno::EPERM, Errno::EACCES], "this host refuses a fresh /sys, as containers do; --sys host accepts the host's"),
    (Step::Sys, &[Errno::ENOENT], "there is no /sys here to put it in place of; '--sys host' leaves it so"),
    (Step::Sys, &[], "--sys host accepts the host's /sys"),
    (Step::Dev, &[Errno::ENOENT], "there is no /dev here to put it in place of, or a node is missing; '--dev host' leaves it so"),
    (Step::Dev, &[], "--dev host accepts the host's /dev"),
    (Step::Hide, &[Errno::ENOENT], "{object} does not exist: leave it out, or create it first"),
    (Step::Hide, &[], "{object} must be a directory or a file that this user can reach"),
    (Step::ReadOnly, &[Errno::ENOENT], "{object} does not exist: leave it out, or create it first"),
    (Step::ReadOnly, &[Errno::ENOSYS], "read-only trees need mount_setattr, Linux 5.12"),
    (Step::ReadOnly, &[], "{object} must be a directory or a file that this user can reach"),
    (Step::ReadWrite, &[Errno::ENOENT], "{object} does not exist: leave it out, or create it first"),
    (Step::ReadWrite, &[Errno::EPERM], "{object} is read-only on the host itself, which a sandbox cannot undo"),
    (Step::ReadWrite, &[], "{object} must be a directory or a file that this user can reach"),
    (Step::PrivateTmp, &[], "leave --private-tmp out to use the host's /tmp"),
    (Step::Hostname, &[Errno::EINVAL], "a host name has at most 64 bytes"),
    (Step::Hostname, &[], "a host name of its own needs the uts namespace: leave --hostname or --share uts out"),
    (Step::ForbidUserNamespaces, &[], "--best-effort goes on without; the system-call filter refuses them as well"),
    (Step::Keyring, &[Errno::ENOSYS], "this kernel has no keyrings; --best-effort goes on without"),
    (Step::Keyring, &[Errno::EDQUOT], "this user has as many keys as kernel.keys.maxkeys allows"),
    (Step::Keyring, &[], "a filter around sandbox refuses keyctl; --best-effort goes on without"),
    (Step::Limits, &[Errno::EPERM, Errno::EACCES], "only root can raise a hard limit: see 'ulimit -H -a', and ask for no more, by --limit {object}=NUMBER"),
    (Step::Limits, &[Errno::EINVAL], "the soft limit must not be above the hard one"),
    (Step::Limits, &[], "'ulimit -H -a' shows what this user may set"),
    (Step::Descriptors, &[Errno::ENOSYS], "close_range is missing: Linux 5.11 is needed"),
    (Step::Descriptors, &[Errno::EBADF], "{object} is not open in the launcher; see 'ls -l /proc/self/fd' there"),
    (Step::Descriptors, &[Errno::EMFILE], "more descriptors are passed than --limit nofile allows"),
    (Step::Descriptors, &[], "the descriptors passed must be open, and fewer than 'ulimit -n'"),
    (Step::Session, &[], "leave --new-session out: the process already leads its group"),
    (Step::Chdir, &[Errno::ENOTDIR], "it is not a directory: give another with --chdir"),
    (Step::Chdir, &[Errno::ENOENT], "the directory is not there inside the sandbox (it may be hidden): give another with --chdir"),
    (Step::Chdir, &[], "the directory cannot be entered inside the sandbox: give another with --chdir"),
    (Step::BoundingSet, &[], "sandbox needs CAP_SETPCAP for this; leave the user namespace on (--userns yes)"),
    (Step::Identity, &[Errno::EPERM], "only root can change user or group: leave --user and --group out, or run as root"),
    (Step::Identity, &[Errno::EINVAL], "the user or group is not mapped inside; --userns no changes ids for real"),
    (Step::Identity, &[Errno::EAGAIN], "that user has as many processes as its limit allows"),
    (Step::Identity, &[], "see 'id' for what the user is allowed"),
    (Step::Capabilities, &[], "--cap-add can only keep a capability that the launcher has"),
    (Step::NoNewPrivs, &[], "a filter around sandbox refuses prctl; run it outside of that filter"),
    (Step::Landlock, &[Errno::E2BIG], "16 Landlock domains are already nested; start sandbox from outside of them"),
    (Step::Landlock, &[Errno::ENOSYS, Errno::EOPNOTSUPP], "Landlock is off here; --best-effort goes on without this second wall"),
    (Step::Landlock, &[], "--best-effort goes on without this second wall"),
    (Step::ParentDeath, &[Errno::ESRCH], "the launcher ended while the sandbox was being made"),
    (Step::ParentDeath, &[], "a filter around sandbox refuses prctl; run it outside of that filter"),
    (Step::Init, &[], "--as-pid-1 runs the command without the init"),
    (Step::Receive, &[Errno::EMFILE], "the limit on open files leaves no room for the connection: raise --limit nofile"),
    (Step::Receive, &[], "only a connected socket can be served, and a broker sends nothing else: report this"),
    (Step::Notify, &[Errno::EBUSY], "another filter with a listener is installed around sandbox, as some containers have, and there can be one only; '--unix-sockets any' does without, and the host's sockets are hidden by mounts alone"),
    (Step::Notify, &[Errno::EINVAL, Errno::ENOSYS], "this kernel cannot have connections told to the supervisor; '--unix-sockets any' does without, and the host's sockets are hidden by mounts alone"),
    (Step::Notify, &[], "'--unix-sockets any' does without, and the host's sockets are hidden by mounts alone"),
    (Step::Seccomp, &[Errno::ENOMEM], "the filters installed around sandbox leave no room for another (32,768 instructions in all)"),
    (Step::Seccomp, &[Errno::EACCES], "no_new_privs is not set: a filter around sandbox refuses prctl"),
    (Step::Seccomp, &[Errno::EBUSY], "another filter with a listener is already installed around sandbox"),
    (Step::Seccomp, &[Errno::EINVAL, Errno::ENOSYS], "this kernel was built without CONFIG_SECCOMP_FILTER"),
    (Step::Seccomp, &[], "'sandbox policy check' tells whether the profile itself is right"),
    (Step::Signals, &[], "a filter around sandbox refuses rt_sigprocmask; run it outside of that filter"),
    (Step::Exec, &[Errno::ENOENT], "the interpreter in the first line of {object}, or its dynamic loader, is not there inside the sandbox"),
    (Step::Exec, &[Errno::EACCES], "{object} must be a file with execute permission, on a file system not mounted noexec"),
    (Step::Exec, &[Errno::ENOEXEC], "{object} is of no format that this kernel executes: another machine's, or a script without #!"),
    (Step::Exec, &[Errno::E2BIG], "arguments and environment are too large: --clear-env shortens them"),
    (Step::Exec, &[Errno::ETXTBSY], "{object} is open for writing"),
    (Step::Exec, &[Errno::EPERM], "the system-call filter or a mount option refuses to execute {object}"),
    (Step::Exec, &[], "'file' tells what {object} is"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_advice_that_reads_as_one_line() {
        for &step in Step::ALL {
            let advice = advise(step, Errno::EPERM, || None);
            let advice = advice.unwrap_or_else(|| panic!("no advice for {step:?}"));
            assert!(!advice.ends_with('.') && !advice.contains('\n'), "{advice}");
        }
    }

    #[test]
    fn no_row_is_out_of_reach() {
        for (row, (step, errnos, advice)) in ADVICE.iter().enumerate() {
            let hidden = ADVICE[..row].iter().any(|(other, before, _)| {
                other == step
                    && (before.is_empty()
                        || (!errnos.is_empty() && errnos.iter().all(|e| before.contains(e))))
            });
            assert!(!hidden, "{step:?}: {advice}");
        }
    }

    #[test]
    fn a_reason_of_the_host_goes_before_the_table() {
        let told = advise(Step::Clone, Errno::EPERM, || {
            Some("the host's reason".to_owned())
        });
        assert_eq!(told.as_deref(), Some("the host's reason"));
    }

    #[test]
    fn a_limit_is_not_blamed_on_the_step_that_met_it() {
        for &step in Step::ALL {
            let told = advise(step, Errno::EMFILE, || Some("the host's reason".to_owned()));
            let told = told.unwrap_or_default();
            let of_files = told.contains("ulimit -n") || told.contains("--limit nofile");
            assert!(of_files, "{step:?}: {told}");
        }
        let told = advise(Step::Init, Errno::EFBIG, || None).unwrap_or_default();
        assert!(told.contains("ulimit -f"), "{told}");
    }

    #[test]
    fn a_limit_of_files_that_only_root_can_raise_is_told_so() {
        let told = too_few_files(16, 37);
        assert!(told.ends_with("'ulimit -n 37'"), "{told}");
        let told = too_few_files(16, 36);
        assert!(told.ends_with("as root: the hard limit is 36"), "{told}");
    }

    #[test]
    fn root_that_cannot_be_mapped_is_told_so() {
        let mut readings = Readings::default();
        readings.support.root = true;
        let told = unmappable_root(&readings).unwrap_or_default();
        assert!(told.contains("CAP_SETFCAP"), "{told}");
        // The controls: an ordinary user needs no capability, and root that has it is not the cause.
        readings.support.root = false;
        assert_eq!(unmappable_root(&readings), None);
        readings.support.root = true;
        readings.support.capabilities = u64::MAX;
        assert_eq!(unmappable_root(&readings), None);
    }

    #[test]
    fn the_object_stands_in_the_advice() {
        assert_eq!(
            hint(Step::Hide, "/no/such", Errno::ENOENT).as_deref(),
            Some("/no/such does not exist: leave it out, or create it first")
        );
    }

    /// The kernel's real refusal, under a filter on this thread alone, as a container has one.
    #[test]
    fn a_refused_clone_under_a_filter_names_the_filter() {
        use seccompiler::{SeccompAction, SeccompFilter};

        let hinted = std::thread::spawn(|| {
            let filter = SeccompFilter::new(
                [(libc::SYS_clone, vec![]), (libc::SYS_clone3, vec![])].into(),
                SeccompAction::Allow,
                SeccompAction::Errno(libc::EPERM.cast_unsigned()),
                std::env::consts::ARCH.try_into().unwrap(),
            )
            .unwrap();
            let program: seccompiler::BpfProgram = filter.try_into().unwrap();
            seccompiler::apply_filter(&program).unwrap();
            hint(Step::Clone, "", Errno::EPERM)
        });
        let hinted = hinted.join().unwrap().unwrap();
        assert!(hinted.contains("system-call filter"), "{hinted}");
        assert!(hinted.ends_with("see 'sandbox doctor'"), "{hinted}");
    }

    #[test]
    fn a_missing_path_is_not_blamed_on_the_kernel() {
        let readings = Readings::take();
        assert_eq!(suspect(Step::Hide, Errno::ENOENT, &readings), None);
        assert!(suspect(Step::Proc, Errno::EPERM, &readings).is_some());
    }
}
