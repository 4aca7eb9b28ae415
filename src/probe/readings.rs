//! What the host says about itself: everything that can explain why a probe failed, as values.
//!
//! Runs in the launcher, for the doctor and for a hint after a failure; never on a launch that goes
//! well. Reads only. A file that cannot be read is a reading of "not there".

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Support;

/// Settings that can stop a probe, as paths below `/proc/sys`.
const SYSCTLS: &[&str] = &[
    "kernel/unprivileged_userns_clone",
    "kernel/apparmor_restrict_unprivileged_userns",
    "user/max_user_namespaces",
    "user/max_net_namespaces",
    "user/max_pid_namespaces",
    "user/max_mnt_namespaces",
    "user/max_ipc_namespaces",
    "user/max_uts_namespaces",
    "user/max_cgroup_namespaces",
    "vm/memfd_noexec",
    "net/ipv6/conf/all/disable_ipv6",
];

/// The control groups of this process, as far as limits need them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    /// Where the version 2 hierarchy is mounted, if it is.
    pub mount: Option<PathBuf>,
    /// Our own directory in it.
    pub own: Option<PathBuf>,
    /// The controllers that our own directory could hand on (`cgroup.controllers`).
    pub controllers: Vec<String>,
    /// Other processes in our own directory, where they keep it from handing anything on: not in the
    /// first group of all.
    pub crowd: usize,
    /// Controllers that a version 1 hierarchy holds.
    pub version1: Vec<String>,
}

/// [`Readings::container`] inside a sandbox of ours.
pub(crate) const SANDBOX: &str = "sandbox";

/// The same inside firejail(1), which says so in a variable, as engines do.
pub(crate) const FIREJAIL: &str = "firejail";

/// What the host says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readings {
    /// The cheap facts.
    pub support: Support,
    /// The kernel's release ("6.12.3-amd64").
    pub release: String,
    /// The machine ("x86_64").
    pub machine: String,
    /// Settings by their sysctl(8) name; those that the kernel lacks are left out.
    pub sysctls: BTreeMap<String, i64>,
    /// AppArmor is on.
    pub apparmor: bool,
    /// SELinux is enforcing.
    pub selinux: bool,
    /// The kind of container this runs in, where one can be told; [`SANDBOX`] for a sandbox of ours.
    pub container: Option<String>,
    /// This process is not in the first user namespace.
    pub nested: bool,
    /// This process is in a user namespace without ids (`unshare -U` alone): it may make no namespace.
    pub unmapped: bool,
    /// The root directory is not the root of a mount, as after chroot(2).
    pub chrooted: bool,
    /// Mounts that cover parts of `/proc`.
    pub proc_covers: Vec<String>,
    /// Mounts that cover parts of `/sys` which are not made to be mounted on.
    pub sys_covers: Vec<String>,
    /// `/proc` or `/proc/sys` is mounted read-only.
    pub proc_sys_read_only: bool,
    /// Control groups.
    pub cgroups: Cgroups,
}

impl Readings {
    /// Read them all.
    #[must_use]
    pub fn take() -> Self {
        let (release, machine) = nix::sys::utsname::uname().map_or_else(
            |_| Default::default(),
            |name| {
                (
                    name.release().to_string_lossy().into_owned(),
                    name.machine().to_string_lossy().into_owned(),
                )
            },
        );
        let mounts = parse_mounts(&read("/proc/self/mountinfo"));
        let support = Support::quick();
        let proc_covers = covers(&mounts, "/proc/", EMPTY_PROC_DIRECTORIES);
        let nested = is_nested(&read("/proc/self/uid_map"));
        // A machine whose image was made from a container's keeps the marks of one.
        let is_fenced = support.filtered || nested || !proc_covers.is_empty();
        let sysctls = read_sysctls();
        let is_sandbox = is_sandbox(
            read("/proc/1/comm").trim_end(),
            support,
            caps::read(None, caps::CapSet::Bounding).is_ok_and(|set| set.is_empty()),
            sysctls.get("user.max_user_namespaces").copied(),
        );
        Self {
            support,
            release,
            machine,
            sysctls,
            apparmor: read("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
            selinux: read("/sys/fs/selinux/enforce").starts_with('1'),
            container: is_sandbox
                .then(|| SANDBOX.to_owned())
                .or_else(|| is_fenced.then(container).flatten()),
            nested,
            unmapped: ["uid_map", "gid_map"].iter().any(|map| {
                fs::read_to_string(format!("/proc/self/{map}"))
                    .is_ok_and(|map| map.trim().is_empty())
            }),
            chrooted: !mounts.is_empty() && mounts.iter().all(|mount| mount.on != "/"),
            proc_covers,
            sys_covers: covers(&mounts, "/sys/", EMPTY_SYS_DIRECTORIES),
            proc_sys_read_only: last(&mounts, "/proc/sys")
                .or_else(|| last(&mounts, "/proc"))
                .is_some_and(|mount| mount.read_only),
            cgroups: cgroups(&mounts),
        }
    }

    /// The value of a setting, by its sysctl(8) name.
    #[must_use]
    pub fn sysctl(&self, name: &str) -> Option<i64> {
        self.sysctls.get(name).copied()
    }
}

/// Directories of proc that exist to be mounted on, which the kernel ignores in the same way.
const EMPTY_PROC_DIRECTORIES: &[&str] = &["/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd"];

/// Directories of sysfs that exist to be mounted on; the kernel ignores what covers them
/// when it decides whether a fresh `/sys` would reveal something.
const EMPTY_SYS_DIRECTORIES: &[&str] = &[
    "/sys/fs/bpf",
    "/sys/fs/cgroup",
    "/sys/fs/fuse/connections",
    "/sys/fs/pstore",
    "/sys/fs/selinux",
    "/sys/fs/smackfs",
    "/sys/fs/resctrl",
    "/sys/firmware/efi/efivars",
    "/sys/kernel/config",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
    "/sys/hypervisor/s390",
];

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    on: String,
    kind: String,
    read_only: bool,
    /// Options of the file system itself; of a version 1 control group, its controllers.
    options: String,
}

fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(4);
            let (on, options) = (left.next()?, left.next()?);
            let mut right = right.split(' ');
            Some(Mount {
                on: on.to_owned(),
                kind: right.next()?.to_owned(),
                read_only: options.split(',').any(|option| option == "ro"),
                options: right.nth(1).unwrap_or_default().to_owned(),
            })
        })
        .collect()
}

/// The mount that is on top at exactly `on`.
fn last<'a>(mounts: &'a [Mount], on: &str) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.on == on)
}

fn covers(mounts: &[Mount], below: &str, harmless: &[&str]) -> Vec<String> {
    let is_harmless = |on: &str| {
        harmless.iter().any(|dir| {
            on == *dir
                || on
                    .strip_prefix(dir)
                    .is_some_and(|rest| rest.starts_with('/'))
        })
    };
    let mut found: Vec<_> = mounts
        .iter()
        .filter(|mount| mount.on.starts_with(below) && !is_harmless(&mount.on))
        .map(|mount| mount.on.clone())
        .collect();
    found.dedup();
    found
}

fn cgroups(mounts: &[Mount]) -> Cgroups {
    let mount = mounts
        .iter()
        .find(|mount| mount.kind == "cgroup2")
        .map(|mount| PathBuf::from(&mount.on));
    let own = own_group(&read("/proc/self/cgroup"))
        .zip(mount.as_ref())
        .map(|(path, mount)| mount.join(path))
        .filter(|path| path.join("cgroup.procs").is_file());
    let words = |path: &Path| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    };
    Cgroups {
        controllers: own
            .as_ref()
            .map(|own| words(&own.join("cgroup.controllers")))
            .unwrap_or_default(),
        crowd: own
            .as_ref()
            .filter(|own| own.join("cgroup.type").exists())
            .map_or(0, |own| {
                let me = std::process::id().to_string();
                let members = words(&own.join("cgroup.procs"));
                members.iter().filter(|member| **member != me).count()
            }),
        mount,
        own,
        version1: mounts
            .iter()
            .filter(|mount| mount.kind == "cgroup")
            .flat_map(|mount| mount.options.split(','))
            .filter(|option| ["memory", "pids", "cpu"].contains(option))
            .map(str::to_owned)
            .collect(),
    }
}

/// Our group of version 2 below its mount, by `/proc/self/cgroup` (cgroups(7)).
fn own_group(membership: &str) -> Option<&str> {
    membership
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        // A group outside of our cgroup namespace reads "/..": that would lead out of the mount.
        .filter(|path| !path.split('/').any(|part| part == ".."))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn read_sysctls() -> BTreeMap<String, i64> {
    SYSCTLS
        .iter()
        .filter_map(|path| {
            let text = read(&format!("/proc/sys/{path}"));
            Some((path.replace('/', "."), text.trim().parse().ok()?))
        })
        .collect()
}

/// Only the first user namespace maps every id to itself.
fn is_nested(uid_map: &str) -> bool {
    let words: Vec<_> = uid_map.split_whitespace().collect();
    !words.is_empty() && words != ["0", "0", "4294967295"]
}

/// Whether this runs in a sandbox of ours: by its init's name, or by the walls that no container has all
/// of, where the command is process 1 itself.
fn is_sandbox(
    first_process: &str,
    support: Support,
    bounding_set_is_empty: bool,
    max_user_namespaces: Option<i64>,
) -> bool {
    let walls = support.filtered
        && support.no_new_privs
        && bounding_set_is_empty
        && max_user_namespaces == Some(0);
    first_process == "sandbox-init" || walls
}

fn container() -> Option<String> {
    // First: the marks of a container around it are seen through.
    if std::env::var_os("container").is_some_and(|name| name == FIREJAIL) {
        return Some(FIREJAIL.to_owned());
    }
    if Path::new("/run/.containerenv").exists() {
        return Some("podman".to_owned());
    }
    if Path::new("/.dockerenv").exists() {
        return Some("docker".to_owned());
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("kubernetes".to_owned());
    }
    let systemd = read("/run/systemd/container");
    let name = systemd.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_a_container_are_covers_and_mount_points_are_not() {
        let mounts = parse_mounts(
            "20 1 0:5 / /proc rw,nosuid - proc proc rw\n\
             21 20 0:9 / /proc/acpi ro,relatime - tmpfs tmpfs ro\n\
             22 20 0:9 / /proc/sys ro,nosuid - proc proc rw\n\
             23 20 0:9 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw\n\
             30 1 0:6 / /sys ro shared:3 - sysfs sysfs rw\n\
             31 30 0:7 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n\
             32 30 0:8 / /sys/firmware ro - tmpfs tmpfs ro\n",
        );
        assert_eq!(
            covers(&mounts, "/proc/", &["/proc/sys/fs/binfmt_misc"]),
            ["/proc/acpi", "/proc/sys"]
        );
        assert_eq!(
            covers(&mounts, "/sys/", EMPTY_SYS_DIRECTORIES),
            ["/sys/firmware"]
        );
        assert!(last(&mounts, "/proc/sys").unwrap().read_only);
        assert!(!last(&mounts, "/proc").unwrap().read_only);
    }

    #[test]
    fn only_the_whole_identity_map_is_the_first_user_namespace() {
        assert!(!is_nested("         0          0 4294967295\n"));
        assert!(is_nested("         0          0          1\n"));
        assert!(is_nested("0 100000 65536\n"));
    }

    #[test]
    fn a_sandbox_is_known_by_its_init_or_by_all_its_walls() {
        let walled = Support {
            filtered: true,
            no_new_privs: true,
            ..Support::default()
        };
        let container = Support {
            no_new_privs: false,
            ..walled
        };
        for (first_process, support, empty, limit, expected) in [
            ("sandbox-init", Support::default(), false, Some(9), true),
            ("sh", walled, true, Some(0), true),
            ("sh", walled, true, Some(9), false),
            ("sh", walled, true, None, false),
            ("sh", walled, false, Some(0), false),
            ("sh", container, true, Some(0), false),
            ("systemd", Support::default(), false, Some(0), false),
        ] {
            assert_eq!(
                is_sandbox(first_process, support, empty, limit),
                expected,
                "{first_process} {support:?} {empty} {limit:?}"
            );
        }
    }

    #[test]
    fn a_control_group_is_ours_only_below_the_mount() {
        for (membership, group) in [
            (
                "4:memory:/x\n0::/user.slice/a..b\n",
                Some("user.slice/a..b"),
            ),
            ("0::/\n", Some("")),
            ("0::/../../other\n", None),
            ("4:memory:/x\n", None),
        ] {
            assert_eq!(own_group(membership), group, "{membership}");
        }
    }
}
