//! Why a probe failed: from where it failed and what the host says about itself.
//!
//! Pure: a function of values, so that hosts which are not at hand (AppArmor, SELinux, containers)
//! are tested as tables.

use nix::errno::Errno;

use super::acts::{Failure, Stage};
use super::{CAP_SYS_ADMIN, FIREJAIL, Feature, Id, Readings, SANDBOX};
use crate::error;

/// How a feature stands on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It was done, and it worked.
    Works,
    /// The kernel has it, and something on this host refuses it.
    Blocked,
    /// This kernel does not have it.
    Absent,
    /// It could not be tried, as something that it needs is missing.
    Skipped,
    /// It is there, and that is neither good nor bad in itself.
    Noted,
}

/// What was found out about one feature.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The feature.
    pub feature: &'static Feature,
    /// How it stands.
    pub status: Status,
    /// Where it works: how well. Otherwise: what stops it. One line, no full stop.
    pub detail: String,
    /// What to do about it: a command or an option. One line.
    pub remedy: Option<String>,
}

impl Finding {
    /// It works, `detail` says how well.
    pub(crate) fn works(feature: &'static Feature, detail: impl Into<String>) -> Self {
        Self {
            feature,
            status: Status::Works,
            detail: detail.into(),
            remedy: None,
        }
    }

    /// It could not be tried.
    pub(crate) fn skipped(feature: &'static Feature, why: impl Into<String>) -> Self {
        Self {
            feature,
            status: Status::Skipped,
            detail: why.into(),
            remedy: None,
        }
    }

    /// It failed; why, and what to do, follow from `readings`.
    pub(crate) fn failed(feature: &'static Feature, failure: Failure, readings: &Readings) -> Self {
        if let Some(cause) = explain(feature.id, failure, readings) {
            return Self {
                feature,
                status: cause.status,
                detail: cause.by,
                remedy: cause.remedy,
            };
        }
        let at = match failure.stage {
            Stage::Clone => "the clone fails",
            Stage::Maps => "mapping ids fails",
            Stage::Act => "it fails",
            Stage::Killed => "the probe was killed",
        };
        Self {
            feature,
            status: Status::Blocked,
            detail: format!("{at}: {}", error::reason(failure.errno)),
            remedy: option_without(feature.id),
        }
    }
}

/// What stops a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) status: Status,
    /// What stops it, as a sentence without a full stop.
    pub(crate) by: String,
    /// What to do, as an imperative.
    pub(crate) remedy: Option<String>,
}

impl Cause {
    fn blocked(by: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            status: Status::Blocked,
            by: by.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn absent(by: impl Into<String>, remedy: Option<String>) -> Self {
        Self {
            status: Status::Absent,
            by: by.into(),
            remedy,
        }
    }
}

/// Why `failure` befell the feature `id`, where the readings tell; the surest reason first.
pub(crate) fn explain(id: Id, failure: Failure, readings: &Readings) -> Option<Cause> {
    let refused = matches!(failure.errno, Errno::EPERM | Errno::EACCES);
    inside_a_sandbox(failure, readings)
        .or_else(|| missing_from_kernel(id, failure, readings))
        .or_else(|| namespace_limit(id, failure, readings))
        .or_else(|| setting_of_its_own(id, failure, readings))
        .or_else(|| refused.then(|| without_ids(id, readings)).flatten())
        .or_else(|| refused.then(|| covered(id, readings)).flatten())
        .or_else(|| refused.then(|| userns_setting(readings)).flatten())
        .or_else(|| filtered(failure, readings))
        .or_else(|| {
            refused
                .then(|| security_module(failure, readings))
                .flatten()
        })
        .or_else(|| refused.then(|| chroot(id, readings)).flatten())
        .or_else(|| {
            refused
                .then(|| missing_capability(failure, readings))
                .flatten()
        })
}

/// A sandbox of ours refuses all that another would need, and so does firejail, whatever its profile: it makes
/// `/proc/sys` read-only and covers other parts of `/proc`.
fn inside_a_sandbox(failure: Failure, readings: &Readings) -> Option<Cause> {
    let by_a_wall = matches!(
        failure.errno,
        Errno::EPERM | Errno::EACCES | Errno::ENOSYS | Errno::ENOSPC | Errno::EROFS
    ) || failure.stage == Stage::Killed;
    let (around, remedy) = match readings.container.as_deref() {
        Some(SANDBOX) => (
            "a sandbox already",
            "leave the inner sandbox out (what it would run is confined as it is), or start it outside of the other one",
        ),
        Some(FIREJAIL) => (
            FIREJAIL,
            "start sandbox outside of firejail, of which no option permits a sandbox inside",
        ),
        _ => return None,
    };
    by_a_wall.then(|| {
        Cause::blocked(
            format!("this runs inside {around}, which refuses it"),
            remedy,
        )
    })
}

/// The errno says that the kernel does not know the call, and its version or make bears that out.
fn missing_from_kernel(id: Id, failure: Failure, readings: &Readings) -> Option<Cause> {
    let feature = super::feature(id);
    let since = super::parse_version(feature.since)?;
    let unknown = matches!(
        failure.errno,
        Errno::ENOSYS
            | Errno::EINVAL
            | Errno::EOPNOTSUPP
            | Errno::ENODEV
            | Errno::EAFNOSUPPORT
            | Errno::EPROTONOSUPPORT
            | Errno::E2BIG
            | Errno::EBADF
    );
    if !unknown {
        return None;
    }
    if readings.support.kernel < since {
        return Some(Cause::absent(
            format!("Linux {} is too old", readings.release),
            Some(format!("run Linux {} or newer", feature.since)),
        ));
    }
    if failure.errno == Errno::EOPNOTSUPP && matches!(id, Id::Landlock | Id::LandlockScopes) {
        return Some(Cause::blocked(
            "Landlock is built in but not enabled at boot",
            "add landlock to the kernel parameter lsm=",
        ));
    }
    // With a filter installed, ENOSYS says nothing about the kernel.
    if failure.errno == Errno::ENOSYS && readings.support.filtered {
        return None;
    }
    if matches!(id, Id::Ipv6 | Id::ForwardIpv6) {
        return Some(Cause::absent("this kernel runs without IPv6", None));
    }
    Some(Cause::absent(
        "this kernel was built without it, or its module cannot be loaded",
        module(id).map(|module| format!("modprobe {module}")),
    ))
}

fn module(id: Id) -> Option<&'static str> {
    match id {
        Id::Veth => Some("veth"),
        Id::Bridge => Some("bridge"),
        Id::Nftables => Some("nf_tables"),
        Id::LinkRate => Some("sch_tbf"),
        Id::LinkRateHtb => Some("sch_htb"),
        Id::LinkDelay => Some("sch_netem"),
        _ => None,
    }
}

/// Who has no id in its user namespace makes no other one (user_namespaces(7)).
fn without_ids(id: Id, readings: &Readings) -> Option<Cause> {
    (readings.unmapped && id == Id::UserNamespace).then(|| {
        Cause::blocked(
            "the user namespace around this has no ids mapped",
            "map them where it is made, as 'unshare --user --map-current-user' does",
        )
    })
}

/// ENOSPC from a clone is a limit on the number of namespaces (namespaces(7)).
fn namespace_limit(id: Id, failure: Failure, readings: &Readings) -> Option<Cause> {
    let exhausted = matches!(failure.errno, Errno::ENOSPC | Errno::EUSERS);
    if failure.stage != Stage::Clone || !exhausted {
        return None;
    }
    let settings: &[&str] = match id {
        Id::UserNamespace => &["user.max_user_namespaces"],
        Id::NetworkNamespace
        | Id::FreshSys
        | Id::Ipv6
        | Id::LowPorts
        | Id::EgressRelay
        | Id::Veth
        | Id::Bridge
        | Id::Nftables
        | Id::ForwardIpv6
        | Id::LinkRate
        | Id::LinkRateHtb
        | Id::LinkDelay => &["user.max_net_namespaces", "user.max_mnt_namespaces"],
        Id::PidNamespace => &["user.max_pid_namespaces"],
        Id::IpcNamespace => &["user.max_ipc_namespaces"],
        Id::UtsNamespace => &["user.max_uts_namespaces"],
        Id::CgroupNamespace => &["user.max_cgroup_namespaces"],
        _ => &["user.max_mnt_namespaces", "user.max_pid_namespaces"],
    };
    let zero = settings
        .iter()
        .find(|setting| readings.sysctl(setting) == Some(0));
    if let Some(setting) = zero {
        return Some(Cause::blocked(
            format!("{setting} is 0 here"),
            format!("sysctl -w {setting}=10000"),
        ));
    }
    let setting = settings.first()?;
    Some(Cause::blocked(
        format!("as many namespaces exist as {setting} allows here or in a namespace above"),
        format!("raise {setting} in the first user namespace, or end what holds them (lsns)"),
    ))
}

/// Settings that stop just this feature.
fn setting_of_its_own(id: Id, failure: Failure, readings: &Readings) -> Option<Cause> {
    match id {
        Id::SealedExec if readings.sysctl("vm.memfd_noexec") == Some(2) => Some(Cause::blocked(
            "vm.memfd_noexec is 2",
            "sysctl -w vm.memfd_noexec=1",
        )),
        Id::Ipv6 if readings.sysctl("net.ipv6.conf.all.disable_ipv6") == Some(1) => {
            Some(Cause::blocked(
                "net.ipv6.conf.all.disable_ipv6 is 1",
                "sysctl -w net.ipv6.conf.all.disable_ipv6=0",
            ))
        }
        Id::Ipv6 if failure.errno == Errno::EADDRNOTAVAIL => Some(Cause::absent(
            "lo gets no ::1: IPv6 is off in new namespaces",
            None,
        )),
        Id::NestedUserNamespaces | Id::LowPorts if failure.errno == Errno::EROFS => {
            Some(Cause::blocked(
                "/proc/sys is read-only, as in containers",
                container_remedy(readings),
            ))
        }
        Id::SessionKeyring if failure.errno == Errno::EDQUOT => Some(Cause::blocked(
            "this user has as many keys as kernel.keys.maxkeys allows",
            "raise kernel.keys.maxkeys, or clear what /proc/key-users counts",
        )),
        _ => None,
    }
}

/// The kernel refuses a fresh `/proc` or `/sys` that would show more than the one in sight.
fn covered(id: Id, readings: &Readings) -> Option<Cause> {
    let (what, covers, option) = match id {
        Id::FreshProc => ("/proc", &readings.proc_covers, "--proc host"),
        Id::FreshSys => ("/sys", &readings.sys_covers, "--sys host"),
        _ => return None,
    };
    let first = covers.first()?;
    let rest = match covers.len() {
        1 => String::new(),
        many => format!(" and {} more", many - 1),
    };
    let start = match readings.container.as_deref() {
        Some("podman") => ", or start the container with --security-opt unmask=ALL",
        Some("docker") => ", or start the container with --security-opt systempaths=unconfined",
        Some("kubernetes") => ", or give the container procMount: Unmasked",
        _ => "",
    };
    Some(Cause::blocked(
        format!("parts of {what} are covered ({first}{rest}), so the kernel refuses a fresh one"),
        format!("accept the host's with {option}{start}"),
    ))
}

/// The settings that keep ordinary users from user namespaces.
fn userns_setting(readings: &Readings) -> Option<Cause> {
    let privileged = readings.support.has(CAP_SYS_ADMIN) && !readings.nested;
    if privileged {
        return None;
    }
    if readings.sysctl("kernel.unprivileged_userns_clone") == Some(0) {
        return Some(Cause::blocked(
            "kernel.unprivileged_userns_clone is 0",
            "sysctl -w kernel.unprivileged_userns_clone=1",
        ));
    }
    if readings.sysctl("kernel.apparmor_restrict_unprivileged_userns") == Some(1) {
        return Some(Cause::blocked(
            "this host sets kernel.apparmor_restrict_unprivileged_userns=1",
            "give sandbox an AppArmor profile with `userns,`, or \
             sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ));
    }
    None
}

/// A filter that was there before us.
fn filtered(failure: Failure, readings: &Readings) -> Option<Cause> {
    let by_filter = matches!(failure.errno, Errno::EPERM | Errno::EACCES | Errno::ENOSYS)
        || failure.stage == Stage::Killed;
    if !by_filter || !readings.support.filtered {
        return None;
    }
    // A call that the filter lets through may be refused by a capability the container lacks; the
    // container's options are the remedy either way.
    Some(Cause::blocked(
        match &readings.container {
            Some(name) => format!("the system-call filter or the rights of this {name} container"),
            None => "a system-call filter that this process was started under".to_owned(),
        },
        container_remedy(readings),
    ))
}

fn container_remedy(readings: &Readings) -> String {
    match readings.container.as_deref() {
        Some("docker") => "start the container with --security-opt seccomp=unconfined \
             --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
            .to_owned(),
        Some("podman") => "start the container with --security-opt seccomp=unconfined \
             --security-opt unmask=ALL"
            .to_owned(),
        Some("kubernetes") => "give the pod seccompProfile: Unconfined, procMount: Unmasked and \
             hostUsers: false"
            .to_owned(),
        _ => "run sandbox outside of the container or service that installed it \
             (systemd: RestrictNamespaces=, SystemCallFilter=)"
            .to_owned(),
    }
}

fn security_module(failure: Failure, readings: &Readings) -> Option<Cause> {
    if readings.selinux && failure.errno == Errno::EACCES {
        return Some(Cause::blocked(
            "SELinux refuses it",
            "see `ausearch -m avc -ts recent`, and allow it with a local policy module",
        ));
    }
    if readings.apparmor && failure.errno == Errno::EACCES {
        return Some(Cause::blocked(
            "an AppArmor profile refuses it",
            "see `journalctl -k -g apparmor`, and allow it in that profile",
        ));
    }
    None
}

/// A process whose root was changed may not make user namespaces (clone(2)).
fn chroot(id: Id, readings: &Readings) -> Option<Cause> {
    (id == Id::UserNamespace && readings.chrooted).then(|| {
        Cause::blocked(
            "this process runs in a chroot, where user namespaces are refused",
            "enter the tree with pivot_root (bwrap, systemd-nspawn) instead of chroot",
        )
    })
}

fn missing_capability(failure: Failure, readings: &Readings) -> Option<Cause> {
    let lacks = readings.support.root && !readings.support.has(CAP_SYS_ADMIN);
    (lacks && failure.stage == Stage::Clone).then(|| {
        Cause::blocked(
            "this root lacks CAP_SYS_ADMIN, as in containers",
            "add the capability (--cap-add SYS_ADMIN), or allow user namespaces there",
        )
    })
}

/// The option that accepts doing without a feature.
fn option_without(id: Id) -> Option<String> {
    let option = match id {
        Id::FreshProc => "--proc host",
        Id::FreshSys => "--sys host",
        Id::PrivateDevpts => "--dev host",
        Id::PidNamespace => "--share pid",
        Id::IpcNamespace => "--share ipc",
        Id::UtsNamespace => "--share uts",
        Id::CgroupNamespace => "--share cgroup",
        Id::SeccompFilter => "--seccomp off",
        Id::SeccompNotify => "--unix-sockets any",
        _ => return None,
    };
    Some(format!("accept the loss with {option}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Support;

    fn host() -> Readings {
        Readings {
            support: Support {
                kernel: (6, 8),
                ..Support::default()
            },
            release: "6.8.0-45-generic".to_owned(),
            ..Readings::default()
        }
    }

    fn with_sysctl(mut readings: Readings, name: &str, value: i64) -> Readings {
        readings.sysctls.insert(name.to_owned(), value);
        readings
    }

    fn at(stage: Stage, errno: Errno) -> Failure {
        Failure { stage, errno }
    }

    /// Hosts that are not at hand, each with the words that must stand in the cause and the remedy.
    #[test]
    fn each_known_obstacle_is_named_with_its_remedy() {
        let ubuntu = with_sysctl(host(), "kernel.apparmor_restrict_unprivileged_userns", 1);
        let debian = with_sysctl(host(), "kernel.unprivileged_userns_clone", 0);
        let none_allowed = with_sysctl(host(), "user.max_user_namespaces", 0);
        let no_networks = with_sysctl(host(), "user.max_net_namespaces", 0);
        let noexec = with_sysctl(host(), "vm.memfd_noexec", 2);
        let fedora = Readings {
            selinux: true,
            ..host()
        };
        let chroot = Readings {
            chrooted: true,
            ..host()
        };
        let unmapped = Readings {
            unmapped: true,
            nested: true,
            ..host()
        };
        let mut docker = Readings {
            container: Some("docker".to_owned()),
            proc_covers: vec!["/proc/acpi".to_owned(), "/proc/kcore".to_owned()],
            ..host()
        };
        docker.support.filtered = true;
        let mut sandbox = Readings {
            container: Some(SANDBOX.to_owned()),
            ..docker.clone()
        };
        sandbox
            .sysctls
            .insert("user.max_user_namespaces".to_owned(), 0);
        let firejail = Readings {
            container: Some(FIREJAIL.to_owned()),
            ..docker.clone()
        };
        let mut service = host();
        service.support.filtered = true;
        let mut old = host();
        old.support.kernel = (5, 4);
        old.release = "5.4.0".to_owned();

        let table = [
            (
                &ubuntu,
                Id::UserNamespace,
                at(Stage::Maps, Errno::EPERM),
                "apparmor_restrict",
                "profile",
            ),
            (
                &ubuntu,
                Id::NetworkNamespace,
                at(Stage::Act, Errno::EPERM),
                "apparmor_restrict",
                "=0",
            ),
            (
                &ubuntu,
                Id::FreshProc,
                at(Stage::Act, Errno::EACCES),
                "apparmor_restrict",
                "=0",
            ),
            (
                &debian,
                Id::UserNamespace,
                at(Stage::Clone, Errno::EPERM),
                "userns_clone is 0",
                "=1",
            ),
            (
                &none_allowed,
                Id::UserNamespace,
                at(Stage::Clone, Errno::ENOSPC),
                "user.max_user_namespaces is 0",
                "sysctl -w user.max_user_namespaces=",
            ),
            (
                &no_networks,
                Id::NetworkNamespace,
                at(Stage::Clone, Errno::ENOSPC),
                "user.max_net_namespaces is 0",
                "sysctl -w user.max_net_namespaces=",
            ),
            (
                &no_networks,
                Id::PidNamespace,
                at(Stage::Clone, Errno::ENOSPC),
                "as many namespaces",
                "lsns",
            ),
            (
                &fedora,
                Id::UserNamespace,
                at(Stage::Clone, Errno::EACCES),
                "SELinux",
                "ausearch",
            ),
            (
                &chroot,
                Id::UserNamespace,
                at(Stage::Clone, Errno::EPERM),
                "chroot",
                "pivot_root",
            ),
            (
                &unmapped,
                Id::UserNamespace,
                at(Stage::Clone, Errno::EPERM),
                "no ids mapped",
                "--map-current-user",
            ),
            (
                &docker,
                Id::UserNamespace,
                at(Stage::Clone, Errno::EPERM),
                "docker container",
                "seccomp=unconfined",
            ),
            (
                &docker,
                Id::Clone3,
                at(Stage::Clone, Errno::ENOSYS),
                "docker container",
                "seccomp=unconfined",
            ),
            (
                &docker,
                Id::FreshProc,
                at(Stage::Act, Errno::EPERM),
                "/proc/acpi and 1 more",
                "--proc host",
            ),
            (
                &sandbox,
                Id::Clone3,
                at(Stage::Clone, Errno::ENOSYS),
                "inside a sandbox already",
                "leave the inner sandbox out",
            ),
            (
                &sandbox,
                Id::UserNamespace,
                at(Stage::Clone, Errno::ENOSPC),
                "inside a sandbox already",
                "outside of the other one",
            ),
            (
                &firejail,
                Id::NestedUserNamespaces,
                at(Stage::Act, Errno::EROFS),
                "inside firejail",
                "outside of firejail",
            ),
            (
                &service,
                Id::SessionKeyring,
                at(Stage::Killed, Errno::EPERM),
                "filter",
                "SystemCallFilter=",
            ),
            (
                &old,
                Id::CloseRange,
                at(Stage::Act, Errno::ENOSYS),
                "Linux 5.4.0 is too old",
                "5.11",
            ),
            (
                &old,
                Id::LandlockScopes,
                at(Stage::Act, Errno::ENOSYS),
                "too old",
                "6.12",
            ),
            (
                &noexec,
                Id::SealedExec,
                at(Stage::Act, Errno::EACCES),
                "vm.memfd_noexec is 2",
                "=1",
            ),
        ];
        for (readings, id, failure, by, remedy) in table {
            let cause =
                explain(id, failure, readings).unwrap_or_else(|| panic!("{id:?} {failure:?}"));
            assert!(cause.by.contains(by), "{id:?} {failure:?}: {cause:?}");
            assert!(
                cause.remedy.as_deref().unwrap_or("").contains(remedy),
                "{id:?} {failure:?}: {cause:?}"
            );
        }
    }

    #[test]
    fn a_setting_for_ordinary_users_is_not_blamed_on_the_hosts_root() {
        let mut readings = with_sysctl(host(), "kernel.unprivileged_userns_clone", 0);
        readings.support.capabilities = u64::MAX;
        assert_eq!(
            explain(Id::UserNamespace, at(Stage::Clone, Errno::EPERM), &readings),
            None
        );
        // Root of a container is an ordinary user to the host.
        readings.nested = true;
        assert!(explain(Id::UserNamespace, at(Stage::Clone, Errno::EPERM), &readings).is_some());
    }

    #[test]
    fn without_a_reason_no_reason_is_made_up() {
        assert_eq!(
            explain(Id::FreshProc, at(Stage::Act, Errno::EIO), &host()),
            None
        );
        let finding = Finding::failed(
            crate::probe::feature(Id::FreshProc),
            at(Stage::Act, Errno::EIO),
            &host(),
        );
        assert_eq!(finding.detail, "it fails: Input/output error");
        assert!(finding.remedy.unwrap().contains("--proc host"));
    }

    #[test]
    fn landlock_that_is_off_at_boot_is_told_from_a_kernel_without() {
        let off = explain(Id::Landlock, at(Stage::Act, Errno::EOPNOTSUPP), &host()).unwrap();
        assert_eq!(off.status, Status::Blocked);
        assert!(off.remedy.unwrap().contains("lsm="));
        let without = explain(Id::Landlock, at(Stage::Act, Errno::ENOSYS), &host()).unwrap();
        assert_eq!(without.status, Status::Absent);
    }
}
