//! The last allocations before the clone: everything that the child uses, in the form in which it
//! uses it. Pure but for the descriptors' numbers, which are the launcher's.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use libc::sock_filter;

use crate::broker::connection;
use crate::egress::setup::Opening;
use crate::error::{Error, Result};
use crate::mounts::{Mounts, Unreachable};
use crate::owner::NetworkOwner;
use crate::plan::{IdMaps, LowPorts, Plan};
use crate::step::Step;
use crate::sys::child::{Disposition, Family, Strings};

/// Whether the child brings `lo` up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loopback {
    /// Up.
    Up,
    /// As it is.
    Untouched,
}

/// What the first process needs to become the init.
pub(crate) struct Init {
    /// The program's memfd.
    pub(crate) program: RawFd,
    /// The init's end of the status socket.
    pub(crate) status: RawFd,
    /// Where the first process hands the network over, and lets the command go once it is the init.
    pub(crate) go_writer: RawFd,
    /// Where the command's process waits for both.
    pub(crate) go_reader: RawFd,
}

/// Who makes the network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkOrigin {
    /// The first process, by unshare(2), while the command's process mounts; it hands it over.
    Unshared,
    /// Nobody any more: the clone made it, or it is one that exists already.
    Given,
}

/// How allowed destinations are reached: done by whoever brings `lo` up.
pub(crate) struct Egress {
    /// Where the sockets are sent.
    pub(crate) channel: RawFd,
    /// Every address of these is made local.
    pub(crate) families: Vec<Family>,
    /// What `lo` has besides its own.
    pub(crate) addresses: Vec<IpAddr>,
    /// The sockets, in order.
    pub(crate) openings: Vec<Opening>,
}

/// The filter below the profile's.
pub(crate) struct Underlay {
    pub(crate) filter: Vec<sock_filter>,
    /// Where its listener is sent, if it has one.
    pub(crate) channel: Option<RawFd>,
}

/// The lines for the id-map files that a process writes for itself.
pub(crate) struct OwnIdMaps {
    pub(crate) uid: Vec<u8>,
    pub(crate) gid: Vec<u8>,
}

/// User and groups to change to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Identity {
    /// Real, effective and saved user id.
    pub uid: u32,
    /// Real, effective and saved group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// One resource limit.
pub(crate) struct Rlimit {
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// Descriptors of the launcher that the child uses, by number: they stay open in the launcher until
/// the child is gone from its memory.
pub(crate) struct Channels {
    /// Write end of the report pipe.
    pub(crate) report: RawFd,
    /// Read end of the pipe on which the launcher says that the id maps are there.
    pub(crate) release: Option<RawFd>,
    /// The init's.
    pub(crate) init: Option<Init>,
    /// The launcher's ends, which the first process closes: while it held them itself, it would never
    /// see their end of file.
    pub(crate) launcher_ends: Vec<RawFd>,
    /// Landlock ruleset.
    pub(crate) landlock: Option<RawFd>,
    /// The launcher's `/proc/sys`, where the sandbox's own network has a setting to be changed.
    pub(crate) settings: Option<RawFd>,
    /// Where sockets for the supervisor are sent.
    pub(crate) egress: Option<RawFd>,
    /// Where the filter's listener is sent.
    pub(crate) notify: Option<RawFd>,
    /// What becomes descriptor 0, 1, 2 and so on.
    pub(crate) descriptors: Vec<RawFd>,
}

/// Everything that the child uses; read-only for it, but for the clock and what it
/// fills into the environment.
pub(crate) struct Prepared {
    pub(crate) report: RawFd,
    pub(crate) release: Option<RawFd>,
    pub(crate) init: Option<Init>,
    pub(crate) launcher_ends: Vec<RawFd>,
    pub(crate) own_id_maps: Option<OwnIdMaps>,
    pub(crate) network: NetworkOrigin,
    pub(crate) loopback: Loopback,
    pub(crate) low_ports: LowPorts,
    pub(crate) settings: Option<RawFd>,
    pub(crate) egress: Option<Egress>,
    pub(crate) forbids_user_namespaces: bool,
    pub(crate) mounts: Option<Mounts>,
    pub(crate) hostname: Option<Vec<u8>>,
    pub(crate) new_keyring: bool,
    pub(crate) limits: Vec<Rlimit>,
    pub(crate) descriptors: Vec<RawFd>,
    pub(crate) new_session: bool,
    pub(crate) directory: CString,
    pub(crate) bounding_drop: Vec<u8>,
    pub(crate) identity: Option<Identity>,
    pub(crate) kept: Vec<u8>,
    pub(crate) kept_mask: u64,
    pub(crate) landlock: Option<RawFd>,
    pub(crate) dies_with_parent: bool,
    pub(crate) dispositions: Vec<(i32, Disposition)>,
    pub(crate) signal_mask: u64,
    pub(crate) listen_pid: Option<usize>,
    /// Where the connection's variables begin in `envp`, if the command waits for a connection.
    pub(crate) receive: Option<usize>,
    pub(crate) underlay: Option<Underlay>,
    pub(crate) filter: Option<Vec<sock_filter>>,
    pub(crate) program: CString,
    pub(crate) argv: Strings,
    pub(crate) envp: Strings,
    pub(crate) clock: Option<Clock>,
}

/// When each step was done, in nanoseconds of `CLOCK_MONOTONIC`; 0 where it was not.
pub(crate) struct Clock(Vec<AtomicU64>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Step::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }

    /// Async-signal-safe: one store.
    pub(crate) fn mark(&self, step: Step, nanoseconds: u64) {
        if let Some(mark) = self.0.get(usize::from(step.to_byte())) {
            mark.store(nanoseconds, Ordering::Relaxed);
        }
    }

    /// The steps done, with their times.
    pub(crate) fn marks(&self) -> Vec<(Step, u64)> {
        let mut marks: Vec<_> = Step::ALL
            .iter()
            .zip(&self.0)
            .map(|(&step, mark)| (step, mark.load(Ordering::Relaxed)))
            .filter(|&(_, time)| time > 0)
            .collect();
        marks.sort_by_key(|&(_, time)| time);
        marks
    }
}

/// How the launcher behaves towards the command, besides the plan.
pub(crate) struct Manner {
    /// The signal mask that the command gets.
    pub(crate) signal_mask: u64,
    /// What these signals do to the command, instead of what they do to the launcher.
    pub(crate) dispositions: Vec<(i32, Disposition)>,
    /// The kernel kills the sandbox when the calling thread ends.
    pub(crate) dies_with_parent: bool,
    /// Take each step's time.
    pub(crate) timing: bool,
    /// The command waits for the connection that it serves.
    pub(crate) awaits_connection: bool,
}

/// Make what the child uses.
///
/// # Errors
/// When a string holds a NUL.
pub(crate) fn prepare(plan: &Plan, channels: Channels, manner: Manner) -> Result<Prepared> {
    let argv = plan
        .argv
        .iter()
        .map(|word| c_string("argument", word))
        .collect::<Result<Vec<_>>>()?;
    let mut listen_pid = None;
    let mut envp = Vec::with_capacity(plan.environment.len());
    for (index, (name, value)) in plan.environment.iter().enumerate() {
        if name == "LISTEN_PID" && plan.sets_listen_pid {
            listen_pid = Some(index);
        }
        let mut variable = name.clone();
        variable.push("=");
        variable.push(value);
        envp.push(c_string("variable", &variable)?);
    }
    let own_id_maps = match plan.id_maps {
        IdMaps::Own { uid, gid } => Some(OwnIdMaps {
            uid: format!("{uid} {uid} 1\n").into_bytes(),
            gid: format!("{gid} {gid} 1\n").into_bytes(),
        }),
        _ => None,
    };
    Ok(Prepared {
        report: channels.report,
        release: channels.release,
        init: channels.init,
        launcher_ends: channels.launcher_ends,
        own_id_maps,
        network: if plan.unshares_network() {
            NetworkOrigin::Unshared
        } else {
            NetworkOrigin::Given
        },
        loopback: if plan.loopback_up {
            Loopback::Up
        } else {
            Loopback::Untouched
        },
        low_ports: plan.low_ports,
        settings: channels.settings,
        egress: plan
            .egress
            .as_ref()
            .zip(channels.egress)
            .map(|(setup, channel)| Egress {
                channel,
                families: setup.families.clone(),
                addresses: setup.own_addresses(),
                openings: setup.ways.iter().map(|way| way.to_opening()).collect(),
            }),
        forbids_user_namespaces: plan.forbids_user_namespaces,
        mounts: if plan.namespaces.mount {
            // In the joined user namespace root has no power over the directories of others.
            let unreachable = match plan.network_owner {
                NetworkOwner::Joined => Unreachable::LeftAlone,
                NetworkOwner::NotJoined => Unreachable::Fails,
            };
            Some(Mounts::prepare(&plan.mounts, unreachable)?)
        } else {
            None
        },
        hostname: plan.hostname.as_ref().map(|name| name.clone().into_bytes()),
        new_keyring: plan.new_keyring,
        limits: plan
            .limits
            .iter()
            .map(|limit| Rlimit {
                resource: limit.resource,
                soft: limit.soft.unwrap_or(u64::MAX),
                hard: limit.hard.unwrap_or(u64::MAX),
            })
            .collect(),
        descriptors: channels.descriptors,
        new_session: plan.new_session,
        directory: c_path(&plan.directory)?,
        bounding_drop: plan.bounding_drop.clone(),
        identity: plan.identity.clone(),
        kept_mask: plan
            .capabilities
            .iter()
            .fold(0, |mask, &bit| mask | 1 << bit),
        kept: plan.capabilities.clone(),
        landlock: channels.landlock,
        dies_with_parent: manner.dies_with_parent,
        dispositions: manner.dispositions,
        signal_mask: manner.signal_mask,
        listen_pid,
        receive: manner.awaits_connection.then_some(envp.len()),
        underlay: plan.policing.as_ref().map(|policing| Underlay {
            filter: policing.underlay.program.instructions().to_vec(),
            channel: channels.notify,
        }),
        filter: plan
            .filter
            .as_ref()
            .map(|filter| filter.instructions().to_vec()),
        program: c_path(&plan.program)?,
        argv: Strings::new(argv.iter().map(CString::as_c_str)),
        envp: if manner.awaits_connection {
            let names = &connection::VARIABLES;
            let strings = envp.iter().map(CString::as_c_str);
            Strings::with_room(strings, names, connection::LONGEST_VALUE)
        } else {
            Strings::new(envp.iter().map(CString::as_c_str))
        },
        clock: manner.timing.then(Clock::new),
    })
}

/// A path for the kernel.
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    c_string("path", path.as_os_str())
}

fn c_string(what: &str, word: &OsStr) -> Result<CString> {
    CString::new(word.as_bytes()).map_err(|_| {
        let shown = word.to_string_lossy().replace('\0', "\\0");
        Error::usage(
            format!("{what} {shown:?}"),
            "holds a NUL byte, which no program can be given",
        )
    })
}
