//! Every feature tried out on this host, each in a child of its own.
//!
//! Runs in the launcher for `sandbox doctor`. Children are made one at a time and reaped at once;
//! the one thing made outside of a child, a control group, is removed before the next probe.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType};
use nix::sys::wait::{Id as WaitId, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{self, Gid, Uid};

use super::acts::{self, Act, Failure, Stage, Task};
use super::feature::Probe;
use super::sys;
use super::{CAP_SYS_ADMIN, FEATURES, Feature, Finding, Id, Need, Readings, Status};
use crate::error;

/// Whether a probe's child gets a user namespace around its other namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Around {
    /// Yes, with the caller's own ids mapped.
    UserNamespace,
    /// No: the caller's capabilities must do.
    Nothing,
}

/// Every feature as it was found on this host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// What the host says about itself.
    pub readings: Readings,
    /// One finding for each of [`FEATURES`], in that order.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Try everything.
    #[must_use]
    pub fn take() -> Self {
        let readings = Readings::take();
        let host = Host::new(readings);
        let findings = FEATURES.iter().map(|feature| host.find(feature)).collect();
        Self {
            readings: host.readings,
            findings,
        }
    }

    /// What was found out about `id`.
    #[must_use]
    pub fn finding(&self, id: Id) -> Option<&Finding> {
        self.findings
            .iter()
            .find(|finding| finding.feature.id == id)
    }

    /// The findings that keep the default policy from being had.
    #[must_use]
    pub fn obstacles(&self) -> Vec<&Finding> {
        self.missing(Need::Required)
            .filter(|finding| !self.is_dispensable(finding.feature.id))
            .collect()
    }

    /// Features of `need` that do not work.
    pub(crate) fn missing(&self, need: Need) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.feature.need == need)
            .filter(|finding| finding.status != Status::Works)
    }

    /// Root makes the other namespaces also where it can have no user namespace.
    fn is_dispensable(&self, id: Id) -> bool {
        id == Id::UserNamespace && self.readings.support.has(CAP_SYS_ADMIN)
    }
}

/// The readings, and what the first probe said: which way the others can go.
struct Host {
    readings: Readings,
    user_namespace: Result<(), Failure>,
    cgroup: Result<OwnGroup, Errno>,
}

impl Host {
    fn new(readings: Readings) -> Self {
        Self {
            user_namespace: attempt(Act::UseCapability, Around::UserNamespace),
            cgroup: OwnGroup::make(&readings),
            readings,
        }
    }

    fn find(&self, feature: &'static Feature) -> Finding {
        match feature.probe {
            Probe::Act(act) => self.find_by_act(feature, act),
            Probe::Special => self.find_specially(feature),
        }
    }

    fn find_by_act(&self, feature: &'static Feature, act: Act) -> Finding {
        if feature.id == Id::UserNamespace {
            return self.conclude(
                feature,
                self.user_namespace,
                "ids mapped, capabilities usable",
            );
        }
        let around = match self.user_namespace {
            _ if !act.needs_privilege() => Around::Nothing,
            Ok(()) => Around::UserNamespace,
            Err(_) if act.namespaces() & libc::CLONE_NEWUSER != 0 => {
                return Finding::skipped(feature, "needs a user namespace");
            }
            Err(_) if self.readings.support.has(CAP_SYS_ADMIN) => Around::Nothing,
            Err(_) => return Finding::skipped(feature, "needs a user namespace, or root"),
        };
        self.conclude(feature, attempt(act, around), works_words(feature.id))
    }

    fn find_specially(&self, feature: &'static Feature) -> Finding {
        match feature.id {
            Id::Clone3 => {
                // Whether its child can be waited for is the next feature's question.
                let made = clone3(None).map(|child| {
                    let _ = reap_by_pidfd(&child);
                });
                self.conclude(feature, made, "")
            }
            Id::Pidfd => {
                let waited = clone3(None).and_then(|child| reap_by_pidfd(&child));
                self.conclude(feature, waited, "")
            }
            Id::Landlock => match sys::landlock_abi() {
                Ok(abi) => Finding::works(feature, format!("ABI {abi}")),
                Err(errno) => self.conclude(feature, Err(acting(errno)), ""),
            },
            Id::CgroupDelegation => match &self.cgroup {
                Ok(_) => Finding::works(feature, ""),
                Err(errno) => no_group(feature, *errno, &self.readings),
            },
            Id::CloneIntoCgroup => self.find_clone_into_cgroup(feature),
            Id::CgroupMemory => self.find_controller(feature, "memory"),
            Id::CgroupPids => self.find_controller(feature, "pids"),
            Id::CgroupCpu => self.find_controller(feature, "cpu"),
            Id::Vsock => find_vsock(feature),
            _ => self.find_named_netns(feature),
        }
    }

    fn conclude(
        &self,
        feature: &'static Feature,
        outcome: Result<(), Failure>,
        words: &str,
    ) -> Finding {
        match outcome {
            Ok(()) => Finding::works(feature, words),
            Err(failure) => Finding::failed(feature, failure, &self.readings),
        }
    }

    fn find_clone_into_cgroup(&self, feature: &'static Feature) -> Finding {
        let Ok(group) = &self.cgroup else {
            return Finding::skipped(feature, "needs a control group of our own");
        };
        let outcome = File::open(&group.0)
            .map_err(|error| acting(errno_of(&error)))
            .and_then(|group| clone3(Some(&group)))
            .and_then(|child| reap_by_pidfd(&child));
        self.conclude(feature, outcome, "")
    }

    fn find_controller(&self, feature: &'static Feature, controller: &str) -> Finding {
        if self.cgroup.is_err() {
            return Finding::skipped(feature, "needs a control group of our own");
        }
        let groups = &self.readings.cgroups;
        if groups.controllers.iter().any(|name| name == controller) {
            return Finding::works(feature, "");
        }
        let (detail, remedy) = if groups.version1.iter().any(|name| name == controller) {
            (
                format!("control groups version 1 hold the {controller} controller"),
                "boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all".to_owned(),
            )
        } else {
            (
                format!("the {controller} controller is not handed down to us"),
                format!("systemd-run --user --scope -p Delegate=\"{controller}\" sandbox …"),
            )
        };
        Finding {
            feature,
            status: Status::Blocked,
            detail,
            remedy: Some(remedy),
        }
    }

    fn find_named_netns(&self, feature: &'static Feature) -> Finding {
        if !self.readings.support.has(CAP_SYS_ADMIN) {
            return Finding::skipped(feature, "only root can keep names in /run/netns");
        }
        self.conclude(feature, attempt(Act::PrivateMounts, Around::Nothing), "")
    }
}

/// A control group made for the time of the probes; removed when dropped.
struct OwnGroup(PathBuf);

impl OwnGroup {
    fn make(readings: &Readings) -> Result<Self, Errno> {
        let own = readings.cgroups.own.as_ref().ok_or(Errno::ENOENT)?;
        if readings.cgroups.crowd > 0 {
            return Err(Errno::EBUSY);
        }
        let path = own.join(format!("sandbox-probe-{}", unistd::getpid()));
        fs::create_dir(&path).map_err(|error| errno_of(&error))?;
        let group = Self(path);
        // A directory that we can make is worth nothing unless we may also put processes there,
        // which asks for the right to write to the file of the common ancestor (cgroups(7)).
        for members in [&own.join("cgroup.procs"), &group.0.join("cgroup.procs")] {
            File::options()
                .write(true)
                .open(members)
                .map_err(|error| errno_of(&error))?;
        }
        Ok(group)
    }
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        // Its only member was a child that has been reaped.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Try `act` in a child, in the namespaces that it needs.
pub(crate) fn attempt(act: Act, around: Around) -> Result<(), Failure> {
    let mut flags = act.namespaces();
    if around == Around::UserNamespace && act.needs_privilege() {
        flags |= libc::CLONE_NEWUSER;
    }
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC).map_err(acting)?;
    let task = Task {
        act,
        maps: (flags & libc::CLONE_NEWUSER != 0).then(own_maps),
        report: writer,
    };
    let child = sys::clone_task(flags, &task).map_err(cloning)?;
    // Our end must be closed, or a killed child would never read as end of file.
    drop(task);
    let mut report = Vec::new();
    let read = File::from(reader).read_to_end(&mut report);
    reap(|| WaitId::Pid(child))?;
    read.map_err(|error| acting(errno_of(&error)))?;
    acts::decode(&report)
}

fn own_maps() -> (Vec<u8>, Vec<u8>) {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    (
        format!("{uid} {uid} 1").into_bytes(),
        format!("{gid} {gid} 1").into_bytes(),
    )
}

/// A child made by clone3(2), into `cgroup` where one is given; it has ended, or is about to.
fn clone3(cgroup: Option<&File>) -> Result<OwnedFd, Failure> {
    sys::clone3_and_exit(0, cgroup.map(AsFd::as_fd)).map_err(cloning)
}

fn reap_by_pidfd(child: &OwnedFd) -> Result<(), Failure> {
    reap(|| WaitId::PIDFd(child.as_fd()))
}

/// Wait for a child that sends no signal when it ends.
fn reap<'fd>(child: impl Fn() -> WaitId<'fd>) -> Result<(), Failure> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::__WALL;
    loop {
        return match waitid(child(), flags) {
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(acting(errno)),
            Ok(WaitStatus::Signaled(..)) => Err(Failure {
                stage: Stage::Killed,
                errno: Errno::EPERM,
            }),
            Ok(_) => Ok(()),
        };
    }
}

fn cloning(errno: Errno) -> Failure {
    Failure {
        stage: Stage::Clone,
        errno,
    }
}

fn acting(errno: Errno) -> Failure {
    Failure {
        stage: Stage::Act,
        errno,
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn works_words(id: Id) -> &'static str {
    match id {
        Id::NetworkNamespace => "lo up",
        _ => "",
    }
}

fn no_group(feature: &'static Feature, errno: Errno, readings: &Readings) -> Finding {
    let (detail, remedy) = if readings.cgroups.mount.is_none() {
        (
            "control groups version 2 are not mounted".to_owned(),
            "boot with systemd.unified_cgroup_hierarchy=1".to_owned(),
        )
    } else if readings.cgroups.own.is_none() {
        (
            "our own control group is not in sight here".to_owned(),
            "start the container with --cgroupns=private, or run outside of it".to_owned(),
        )
    } else if readings.cgroups.crowd > 0 {
        (
            format!(
                "{} other processes are in our own group, which can hand nothing down then",
                readings.cgroups.crowd
            ),
            "systemd-run --user --scope -p Delegate=yes sandbox …".to_owned(),
        )
    } else {
        (
            format!("not delegated to this user: {}", error::reason(errno)),
            "systemd-run --user --scope -p Delegate=yes sandbox …".to_owned(),
        )
    };
    Finding {
        feature,
        status: Status::Blocked,
        detail,
        remedy: Some(remedy),
    }
}

fn find_vsock(feature: &'static Feature) -> Finding {
    let made = socket::socket(
        AddressFamily::Vsock,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    match made {
        Ok(_) => Finding::works(
            feature,
            "present; no namespace cuts it off, only the filter",
        ),
        Err(_) => Finding {
            feature,
            status: Status::Absent,
            detail: "not there, so nothing to cut off".to_owned(),
            remedy: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_leaves_no_child_and_no_descriptor() {
        let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = descriptors();
        for _ in 0..3 {
            let _ = attempt(Act::UseCapability, Around::UserNamespace);
            let _ = attempt(Act::CloseRange, Around::Nothing);
            reap_by_pidfd(&clone3(None).unwrap()).unwrap();
        }
        // Other tests of this process open and close files too: only a leak of ours would add up.
        assert!(descriptors() < before + 9);
    }

    #[test]
    fn every_feature_has_its_finding_in_order() {
        let report = Report::take();
        let found: Vec<_> = report.findings.iter().map(|f| f.feature.id).collect();
        let table: Vec<_> = FEATURES.iter().map(|f| f.id).collect();
        assert_eq!(found, table);
    }
}
