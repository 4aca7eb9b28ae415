//! The launcher's half of a launch: clone, id maps, and the wait for the child's word.
//!
//! | launcher | first process (pid 1) | command's process (pid 2) |
//! | --- | --- | --- |
//! | clone3 with all namespaces | starts on the launcher's memory | |
//! | | ordinary user: writes its own id maps | |
//! | | clones pid 2 | starts |
//! | root: writes the id maps, releases both | makes the network, hands it over | waits for the maps, mounts |
//! | reads the report pipe to its end | brings `lo` up, waits for the maps | enters the network, mounts `/sys` |
//! | | drops everything, executes the init | limits, drops, filter |
//! | | init confines itself, lets pid 2 go | waits for that |
//! | | supervises | execve |
//! | end of file: the command runs | | |
//!
//! Where there is no init, the first process does both columns' work. A sandbox of the broker's that
//! serves one connection waits for it before the filter, and says so on the report pipe.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use landlock::{RulesetAttr, Scope};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{getpid, gettid, pipe2, write};
use tracing::debug;

use crate::egress::notify::{Notifier, Policing};
use crate::error::{Error, Result};
use crate::init::{Heard, Record};
use crate::mounts::Mount;
use crate::netns::named;
use crate::owner::NetworkOwner;
use crate::plan::{IdMaps, LowPorts, Plan, errno_of};
use crate::policy::Network;
use crate::prepare::{Channels, Init, Manner, Prepared, prepare};
use crate::proc_file;
use crate::report::{Failure, READY};
use crate::step::Step;
use crate::sys::child::Disposition;
use crate::sys::clone::{Flags, Guests, Join, NotStarted};
use crate::sys::message;
use crate::sys::parent;
use crate::{child, doctor, init};

/// A sandbox whose command runs.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// Its first process.
    pub(crate) pidfd: OwnedFd,
    /// That process's pid, for people.
    pub(crate) pid: i32,
    /// The init's reports, if there is one; closing it ends the sandbox.
    pub(crate) status: Option<OwnedFd>,
    /// The sockets of the plan's egress, in its order.
    pub(crate) ways: Vec<OwnedFd>,
    /// Where connections are told, if the plan has them told.
    pub(crate) notifier: Option<Notifier>,
    /// When each step was done, in nanoseconds of `CLOCK_MONOTONIC`, if that was asked for.
    pub(crate) marks: Vec<(Step, u64)>,
}

impl Drop for Spawned {
    /// Whatever comes in between, the command does not outlive what watches over it.
    fn drop(&mut self) {
        end(&self.pidfd);
    }
}

/// How a launch is to be done, besides the plan.
#[derive(Debug, Default)]
pub(crate) struct Order<'a> {
    /// What becomes of the command's descriptors 0, 1, 2 and up.
    pub(crate) descriptors: Vec<RawFd>,
    /// What these signals do to the command, instead of what they do to the launcher.
    pub(crate) dispositions: Vec<(i32, Disposition)>,
    /// The signal mask for the command; `None` for the calling thread's own.
    pub(crate) signal_mask: Option<u64>,
    /// An open control group to start in.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// Take times.
    pub(crate) timing: bool,
    /// The command serves one connection, and waits for it ([`Step::Receive`]) on a socket that
    /// stands in for it at 0, 1 and 3.
    pub(crate) awaits_connection: bool,
}

/// A launch under way: its processes are cloned and may still be on this process's memory.
///
/// Dropping it ends the sandbox.
pub(crate) struct Launch {
    /// `None` only once [`Launch::finish`] has handed it on.
    pidfd: Option<OwnedFd>,
    pid: i32,
    status: Option<OwnedFd>,
    guests: Guests<Prepared>,
    /// Where the sockets of the plan's egress come from.
    egress: Option<OwnedFd>,
    /// Where the filter's listener comes from.
    notify: Option<OwnedFd>,
    /// What the children have said so far.
    said: Vec<u8>,
    released: std::result::Result<(), Errno>,
    /// Given back after `guests` are gone: fields are dropped in this order.
    _sharing: Sharing,
}

impl Drop for Launch {
    /// `guests` waits for the children to be gone: so they must be going.
    fn drop(&mut self) {
        if let Some(pidfd) = &self.pidfd {
            end(pidfd);
        }
    }
}

/// Children share this process's memory as long as there is one of these.
///
/// A change of ids in one of them makes the memory undumpable (prctl(2)), lest the new user trace it
/// and so get at ours. It becomes dumpable again, if it was, only when the last one is off it.
pub(crate) struct Sharing;

/// How many launches share the memory, and whether it was dumpable before the first.
static SHARED: Mutex<(usize, bool)> = Mutex::new((0, false));

impl Sharing {
    pub(crate) fn begin() -> Self {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.0 == 0 {
            shared.1 = prctl::get_dumpable() == Ok(true);
        }
        shared.0 += 1;
        Self
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.0 -= 1;
        if *shared == (0, true) && prctl::get_dumpable() == Ok(false) {
            let _ = prctl::set_dumpable(true);
        }
    }
}

/// Launch what `plan` says, the first half: until the sandbox's processes run. [`Launch::finish`] is
/// the second one.
///
/// # Errors
/// When it came to no clone.
pub(crate) fn start(plan: &Plan, order: Order<'_>) -> Result<Launch> {
    let least = RawFd::try_from(order.descriptors.len()).unwrap_or(RawFd::MAX);
    let on = |step: Step| move |errno: Errno| explained(Error::step(step, "", errno), step, errno);
    let pair = |step: Step| -> Result<(OwnedFd, OwnedFd)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(on(step))?;
        Ok((
            lift(reader, least).map_err(on(step))?,
            lift(writer, least).map_err(on(step))?,
        ))
    };
    let (report_reader, report_writer) = pair(Step::Clone)?;
    // Before the clone: where there is no /proc, the children would fail as well, at one step or another.
    let (release, maps) = if plan.id_maps == IdMaps::All {
        let maps = identity_maps().map_err(on(Step::IdMaps))?;
        (Some(pair(Step::IdMaps)?), maps)
    } else {
        (None, <[String; 2]>::default())
    };
    let landlock = if plan.landlock_scopes {
        let ruleset = scopes_ruleset().map_err(on(Step::Landlock))?;
        Some(lift(ruleset, least).map_err(on(Step::Landlock))?)
    } else {
        None
    };
    let settings = hold_settings(plan).map_err(on(Step::LowPorts))?;
    let egress = if plan.egress.is_some() {
        Some(packet_pair(least).map_err(on(Step::Egress))?)
    } else {
        None
    };
    let notify = if plan.policing.as_ref().is_some_and(Policing::tells) {
        Some(packet_pair(least).map_err(on(Step::Notify))?)
    } else {
        None
    };
    let init = if plan.init {
        Some(init_channels(least)?)
    } else {
        None
    };
    let mut lifted = Vec::new();
    let descriptors =
        lift_sources(&order.descriptors, &mut lifted).map_err(on(Step::Descriptors))?;
    let channels = Channels {
        report: report_writer.as_raw_fd(),
        release: release.as_ref().map(|(reader, _)| reader.as_raw_fd()),
        init: init.as_ref().map(InitChannels::numbers),
        launcher_ends: release
            .iter()
            .map(|(_, writer)| writer.as_raw_fd())
            .chain(init.iter().map(|init| init.supervisor.as_raw_fd()))
            .chain(egress.iter().map(|(ours, _)| ours.as_raw_fd()))
            .chain(notify.iter().map(|(ours, _)| ours.as_raw_fd()))
            .collect(),
        landlock: landlock.as_ref().map(AsRawFd::as_raw_fd),
        settings: settings.as_ref().map(AsRawFd::as_raw_fd),
        egress: egress.as_ref().map(|(_, theirs)| theirs.as_raw_fd()),
        notify: notify.as_ref().map(|(_, theirs)| theirs.as_raw_fd()),
        descriptors,
    };
    let caller_mask = parent::block_all_signals().map_err(on(Step::Signals))?;
    let manner = Manner {
        signal_mask: order.signal_mask.unwrap_or(caller_mask),
        dispositions: order.dispositions,
        // The kernel means the parent *thread*: one that may end before the program would take the
        // sandbox with it. The init watches the status socket as well, and that suffices.
        dies_with_parent: gettid() == getpid(),
        timing: order.timing,
        awaits_connection: order.awaits_connection,
    };
    let sharing = Sharing::begin();
    let flags = Flags {
        namespaces: plan.clone_flags(),
        cgroup: order.cgroup.map(|group| group.as_raw_fd()),
        join: None,
    };
    let started = prepare(plan, channels, manner)
        .and_then(|prepared| clone(plan, prepared, (report_reader, report_writer), flags));
    let restored = parent::swap_signal_mask(caller_mask);
    let (guests, pidfd, pid) = started?;
    debug!(
        pid,
        flags = format_args!("{:#x}", flags.namespaces),
        "cloned"
    );
    let mut launch = Launch {
        pidfd: Some(pidfd),
        pid,
        status: init.map(InitChannels::keep_status),
        guests,
        egress: egress.map(|(ours, _)| ours),
        notify: notify.map(|(ours, _)| ours),
        said: Vec::new(),
        released: Ok(()),
        _sharing: sharing,
    };
    restored.map_err(on(Step::Signals))?;
    launch.released = release.map_or(Ok(()), |(reader, writer)| {
        drop(reader);
        write_id_maps(pid, &maps)?;
        write(&writer, &[0; 2]).map(drop)
    });
    Ok(launch)
}

impl Launch {
    /// Readable when [`Launch::advance`] has something to do.
    pub(crate) fn report(&self) -> BorrowedFd<'_> {
        self.guests.report()
    }

    /// Take in what the children say; whether [`Launch::finish`] would wait no more. Waits itself
    /// until [`Launch::report`] is readable.
    ///
    /// # Errors
    /// When the report cannot be read.
    pub(crate) fn advance(&mut self) -> std::result::Result<bool, Errno> {
        self.guests
            .read_some(&mut self.said)
            .map_err(|error| errno_of(&error))
    }

    /// Whether only the command's connection is missing ([`Order::awaits_connection`]).
    pub(crate) fn is_ready(&self) -> bool {
        self.said.starts_with(&READY)
    }

    /// The sandbox's first process.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// That process's pid, for people.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// The init's reports, for somebody else; closing them ends the sandbox.
    pub(crate) fn take_status(&mut self) -> Option<OwnedFd> {
        self.status.take()
    }

    /// The second half: wait until the command runs.
    ///
    /// # Errors
    /// When a step failed; nothing is left then.
    pub(crate) fn finish(mut self, plan: &Plan) -> Result<Spawned> {
        let read = self
            .guests
            .read_report(&mut self.said)
            .map_err(|error| errno_of(&error));
        let failure = cause(Failure::decode(&self.said), self.released.and(read));
        if let Some(failure) = failure {
            return Err(failed(plan, failure));
        }
        // An init that could not confine itself has ended, and the command with it, without a word
        // here.
        if let Some(errno) = self.status.as_ref().and_then(init_failure) {
            return Err(explained(
                Error::step(Step::Init, "", errno),
                Step::Init,
                errno,
            ));
        }
        let ways = match &self.egress {
            None => Vec::new(),
            Some(channel) => receive_ways(plan, channel)?,
        };
        let notifier = match &self.notify {
            None => None,
            Some(channel) => Some(receive_notifier(channel)?),
        };
        let clock = self.guests.value().clock.as_ref();
        let marks = clock.map(|clock| clock.marks()).unwrap_or_default();
        debug!(pid = self.pid, "the command runs");
        let pidfd = self.pidfd.take().expect("only this function takes it");
        Ok(Spawned {
            pidfd,
            pid: self.pid,
            status: self.status.take(),
            ways,
            notifier,
            marks,
        })
    }
}

/// Why a launch came to nothing, if it did: of what a child has said and of what went wrong here, that which
/// was not the consequence of the other.
fn cause(said: Option<Failure>, here: std::result::Result<(), Errno>) -> Option<Failure> {
    let Err(errno) = here else {
        return said;
    };
    let maps = Failure::new(Step::IdMaps, errno);
    let Some(failure) = said else {
        return Some(maps);
    };
    Some(match errno {
        // Nobody was left to let go.
        Errno::EPIPE => failure,
        // The id maps of a child that has ended cannot be written, for reasons that are none.
        Errno::EACCES | Errno::ESRCH if failure.step != Step::IdMaps => failure,
        // It was not let go because that had failed here, or failed besides.
        _ => maps,
    })
}

/// The sockets of `plan`'s egress. The child has sent them all before it let the command run.
fn receive_ways(plan: &Plan, channel: &OwnedFd) -> Result<Vec<OwnedFd>> {
    let failed = |errno| Error::step(Step::Egress, "", errno);
    let expected = plan.egress.as_ref().map_or(0, |setup| setup.ways.len());
    let mut ways = Vec::with_capacity(expected);
    while ways.len() < expected {
        let received = message::receive(channel.as_fd(), &mut [0], MsgFlags::MSG_DONTWAIT);
        let received = received.map_err(failed)?;
        if received.descriptors.is_empty() || received.flags.contains(MsgFlags::MSG_CTRUNC) {
            return Err(failed(Errno::EMFILE));
        }
        ways.extend(received.descriptors);
    }
    Ok(ways)
}

/// What the child sends once its filter tells of calls: before it lets the command run.
fn receive_notifier(channel: &OwnedFd) -> Result<Notifier> {
    let failed = |errno| Error::step(Step::Notify, "", errno);
    let received = message::receive(channel.as_fd(), &mut [0], MsgFlags::MSG_DONTWAIT);
    let received = received.map_err(failed)?;
    match <[OwnedFd; 2]>::try_from(received.descriptors) {
        Ok([listener, sample]) => Ok(Notifier { listener, sample }),
        Err(_) => Err(failed(Errno::EMFILE)),
    }
}

/// The init's own report of a failure, if that is what it said first. Left in the socket.
fn init_failure(status: &OwnedFd) -> Option<Errno> {
    match init::hear(status.as_fd(), MsgFlags::MSG_PEEK) {
        Heard::Record(Record::Failed(errno)) => Some(errno),
        _ => None,
    }
}

/// Clone, in the network namespace to join if there is one.
fn clone(
    plan: &Plan,
    prepared: Prepared,
    (report, report_writer): (OwnedFd, OwnedFd),
    mut flags: Flags,
) -> Result<(Guests<Prepared>, OwnedFd, i32)> {
    let joined = match &plan.network {
        Network::Namespace(path) => Joined::open(path, plan.network_owner)
            .map(Some)
            .map_err(|errno| not_started(plan, NotStarted::Join(errno)))?,
        _ => None,
    };
    flags.join = joined.as_ref().map(Joined::numbers);
    let started = Guests::start(prepared, report, flags, child::first);
    // The children's copies are the only ones now: the report ends with them.
    drop(report_writer);
    started.map_err(|reason| not_started(plan, reason))
}

fn not_started(plan: &Plan, reason: NotStarted) -> Error {
    let (step, object, errno) = match (reason, &plan.network) {
        (NotStarted::Join(errno), Network::Namespace(path)) => {
            (Step::JoinNetwork, path.display().to_string(), errno)
        }
        (NotStarted::Join(errno) | NotStarted::Clone(errno), _) => {
            (Step::Clone, String::new(), errno)
        }
    };
    let hint = doctor::hint(step, &object, errno);
    Error::step(step, object, errno).with_hint(hint)
}

/// The namespaces to join, open.
struct Joined {
    owner: Option<OwnedFd>,
    network: OwnedFd,
}

impl Joined {
    fn open(path: &Path, owner: NetworkOwner) -> std::result::Result<Self, Errno> {
        let network = OwnedFd::from(named::open_path(path).map_err(|error| errno_of(&error))?);
        let owner = match owner {
            NetworkOwner::Joined => Some(parent::namespace_owner(network.as_fd())?),
            NetworkOwner::NotJoined => None,
        };
        Ok(Self { owner, network })
    }

    fn numbers(&self) -> Join {
        Join {
            owner: self.owner.as_ref().map(AsRawFd::as_raw_fd),
            network: self.network.as_raw_fd(),
        }
    }
}

/// Kill the sandbox's first process and take it off the process table.
pub(crate) fn end(pidfd: &OwnedFd) {
    // It may have ended by itself: then there is only the waiting to do.
    let _ = parent::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
    let _ = waitid(
        Id::PIDFd(pidfd.as_fd()),
        WaitPidFlag::WEXITED | WaitPidFlag::__WALL,
    );
}

/// The init's channels, while both processes need them.
struct InitChannels {
    program: OwnedFd,
    supervisor: OwnedFd,
    status: OwnedFd,
    go_reader: OwnedFd,
    go_writer: OwnedFd,
}

fn init_channels(least: RawFd) -> Result<InitChannels> {
    let on = |errno| explained(Error::step(Step::Init, "", errno), Step::Init, errno);
    // The init arranges two descriptors of its own; the command's are lifted above all of its.
    let least = least.max(3);
    let program = init::descriptor().map_err(on)?;
    let program = parent::duplicate_above(program.as_raw_fd(), least).map_err(on)?;
    let (supervisor, status) = packet_pair(least).map_err(on)?;
    let (go_reader, go_writer) = packet_pair(least).map_err(on)?;
    Ok(InitChannels {
        program,
        supervisor,
        status,
        go_reader,
        go_writer,
    })
}

impl InitChannels {
    fn numbers(&self) -> Init {
        Init {
            program: self.program.as_raw_fd(),
            status: self.status.as_raw_fd(),
            go_writer: self.go_writer.as_raw_fd(),
            go_reader: self.go_reader.as_raw_fd(),
        }
    }

    /// Close the child's ends, or their ends of file would never be seen.
    fn keep_status(self) -> OwnedFd {
        self.supervisor
    }
}

/// The two ends of a socket of packets, numbered `least` or higher.
fn packet_pair(least: RawFd) -> std::result::Result<(OwnedFd, OwnedFd), Errno> {
    let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
    let (one, other) = socketpair(AddressFamily::Unix, kind, None, flags)?;
    Ok((lift(one, least)?, lift(other, least)?))
}

/// The same descriptor, numbered `least` or higher.
fn lift(fd: OwnedFd, least: RawFd) -> std::result::Result<OwnedFd, Errno> {
    if fd.as_raw_fd() >= least {
        return Ok(fd);
    }
    parent::duplicate_above(fd.as_raw_fd(), least)
}

/// Numbers that no assignment of targets 0, 1, 2, … can overwrite before its turn.
fn lift_sources(
    sources: &[RawFd],
    lifted: &mut Vec<OwnedFd>,
) -> std::result::Result<Vec<RawFd>, Errno> {
    let least = RawFd::try_from(sources.len()).unwrap_or(RawFd::MAX);
    (0..)
        .zip(sources)
        .map(|(target, &source)| {
            if source == target || source >= least {
                return Ok(source);
            }
            let copy = parent::duplicate_above(source, least)?;
            let number = copy.as_raw_fd();
            lifted.push(copy);
            Ok(number)
        })
        .collect()
}

/// A Landlock ruleset that only cuts signals and abstract Unix sockets off at the sandbox's edge.
fn scopes_ruleset() -> std::result::Result<OwnedFd, Errno> {
    let created = landlock::Ruleset::default()
        .scope(Scope::Signal | Scope::AbstractUnixSocket)
        .and_then(landlock::Ruleset::create)
        .map_err(|error| kernels_reason(&error).unwrap_or(Errno::EOPNOTSUPP))?;
    Option::<OwnedFd>::from(created).ok_or(Errno::EOPNOTSUPP)
}

/// `/proc/sys` as it is here, for the one setting of the sandbox's own network that is changed; `None`
/// where none is, or where it can be left.
fn hold_settings(plan: &Plan) -> std::result::Result<Option<OwnedFd>, Errno> {
    // Never one of the host's network, whatever was planned.
    if !plan.network_namespace || plan.low_ports == LowPorts::Closed {
        return Ok(None);
    }
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    match open("/proc/sys", flags, Mode::empty()) {
        Err(_) if plan.low_ports == LowPorts::Tried => Ok(None),
        held => held.map(Some),
    }
}

/// The errno that a library has wrapped in errors of its own.
fn kernels_reason(error: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return Some(errno_of(error));
    }
    kernels_reason(error.source()?)
}

/// The files of a process's id maps (user_namespaces(7)).
const MAPS: [&str; 2] = ["uid_map", "gid_map"];

/// Every id of this namespace, as itself: the contents of [`MAPS`].
fn identity_maps() -> std::result::Result<[String; 2], Errno> {
    let identity = |file| {
        let own = proc_file::read_text(format!("/proc/self/{file}")).map_err(|e| errno_of(&e))?;
        let lines = own.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (first, _, count) = (words.next()?, words.next()?, words.next()?);
            Some(format!("{first} {first} {count}\n"))
        });
        Ok(lines.collect())
    };
    let [users, groups] = MAPS;
    Ok([identity(users)?, identity(groups)?])
}

fn write_id_maps(pid: i32, maps: &[String; 2]) -> std::result::Result<(), Errno> {
    for (file, map) in MAPS.iter().zip(maps) {
        fs::write(format!("/proc/{pid}/{file}"), map).map_err(|e| errno_of(&e))?;
    }
    Ok(())
}

fn explained(error: Error, step: Step, errno: Errno) -> Error {
    error.with_hint(doctor::hint(step, "", errno))
}

/// The child's failure in the plan's words.
fn failed(plan: &Plan, failure: Failure) -> Error {
    let Failure {
        step,
        object,
        errno,
    } = failure;
    let index = usize::from(object);
    let object = match step {
        Step::Exec => return not_executed(plan, errno),
        Step::Limits => plan.limits.get(index).map(|limit| limit.name.to_owned()),
        Step::Chdir => Some(plan.directory.display().to_string()),
        Step::Egress => plan
            .egress
            .as_ref()
            .and_then(|setup| setup.ways.get(index).map(ToString::to_string)),
        _ => plan
            .mounts
            .get(index)
            .filter(|mount| mount.step() == step)
            .map(|mount| mount.object()),
    }
    .unwrap_or_default();
    let hint = match step {
        Step::Chdir if plan.directory.is_dir() => Some(
            "the policy hides it; choose another with --chdir, or '--private-tmp=no'".to_owned(),
        ),
        _ => doctor::hint(step, &object, errno),
    };
    Error::step(step, object, errno).with_hint(hint)
}

fn not_executed(plan: &Plan, errno: Errno) -> Error {
    let hint = match errno {
        Errno::ENOENT => covered(plan, &plan.program).or_else(|| Some(missing_part(&plan.program))),
        Errno::ENOEXEC => {
            Some("it is no program for this machine; a script needs a '#!' line".to_owned())
        }
        Errno::EACCES => Some("its directory is closed to this user, or mounted noexec".to_owned()),
        _ => None,
    };
    Error::NotExecutable {
        command: plan.program.display().to_string(),
        errno,
        hint,
    }
}

/// Which mount of the plan covers `path` with a directory of the sandbox's own.
fn covered(plan: &Plan, path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    plan.mounts.iter().find_map(|mount| match mount {
        Mount::PrivateTmp(at) if path.starts_with(at) => Some(format!(
            "{} is the sandbox's own, empty at the start: keep it elsewhere, or leave the host's with '--private-tmp=no'",
            at.display()
        )),
        Mount::HideDirectory(at) if path.starts_with(at) => {
            Some(format!("the policy hides {}: keep it elsewhere", at.display()))
        }
        _ => None,
    })
}

/// What execve(2) did not find of a program that the launcher has seen.
fn missing_part(program: &Path) -> String {
    let Some(interpreter) = interpreter(program) else {
        return "the file is there, but it, or its dynamic loader ('ldd'), is hidden by the policy or missing".to_owned();
    };
    let shown = interpreter.display();
    if interpreter.as_os_str().as_bytes().ends_with(b"\r") {
        return "its first line ends in a carriage return, which counts as part of the interpreter's name: give it Unix line ends".to_owned();
    }
    match interpreter.exists() {
        true => format!("it, or its interpreter {shown}, is hidden by the policy"),
        false => format!("its interpreter {shown}, named in its first line, is not there"),
    }
}

/// The interpreter that the first line of a script names (execve(2)).
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut start = [0; 256];
    // The launcher looked at it already, and a pipe that has taken its place is not waited for.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(program);
    let length = file.ok()?.read(&mut start).ok()?;
    let line = start.get(..length)?.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let word = line.split(blank).find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(word)))
}

#[cfg(test)]
mod tests {
    use nix::unistd::Uid;

    use super::*;
    use crate::descriptor::Kind;
    use crate::plan::{self, Situation};
    use crate::policy::Policy;
    use crate::probe::Support;
    use crate::testing::alone;

    #[test]
    fn of_two_failures_the_one_is_told_that_was_no_consequence_of_the_other() {
        let maps = |errno| Some(Failure::new(Step::IdMaps, errno));
        let network = Some(Failure::new(Step::Network, Errno::ENOSPC));
        for (said, here, told) in [
            (None, Ok(()), None),
            (network, Ok(()), network),
            (maps(Errno::EPERM), Ok(()), maps(Errno::EPERM)),
            (None, Err(Errno::EACCES), maps(Errno::EACCES)),
            // The child waited for its maps in vain.
            (maps(Errno::EPIPE), Err(Errno::EACCES), maps(Errno::EACCES)),
            // The child had ended before they could be written, or before it could be let go.
            (network, Err(Errno::EACCES), network),
            (network, Err(Errno::ESRCH), network),
            (network, Err(Errno::EPIPE), network),
            (maps(Errno::EPERM), Err(Errno::EPIPE), maps(Errno::EPERM)),
            // Both failed, each for itself: the earlier step is told.
            (network, Err(Errno::ENOENT), maps(Errno::ENOENT)),
        ] {
            assert_eq!(cause(said, here), told, "{said:?} {here:?}");
        }
    }

    #[test]
    fn nobody_traces_a_launcher_through_a_child_of_another_user() {
        alone(|| {
            if !Uid::effective().is_root() {
                return;
            }
            let mut policy = Policy::built_in("default").unwrap();
            policy.process.user = Some("65534".to_owned());
            let situation = Situation {
                command: vec!["/bin/true".into()],
                environment: Vec::new(),
                directory: "/".into(),
                descriptors: Vec::new(),
                standard: [Kind::File; 3],
                support: Support::quick(),
                files: Vec::new(),
                learning: None,
            };
            let plan = plan::plan(&policy, &situation).unwrap();
            let order = |descriptors, awaits_connection| Order {
                descriptors,
                awaits_connection,
                ..Order::default()
            };
            assert_eq!(prctl::get_dumpable(), Ok(true), "or this proves nothing");
            let short = start(&plan, order(vec![0, 1, 2], false)).unwrap();
            let flags = SockFlag::SOCK_CLOEXEC;
            let kind = SockType::SeqPacket;
            let (_go, theirs) = socketpair(AddressFamily::Unix, kind, None, flags).unwrap();
            let go = theirs.as_raw_fd();
            let mut long = start(&plan, order(vec![go, go, 2, go], true)).unwrap();
            while !long.is_ready() {
                assert_eq!(long.advance(), Ok(false));
            }
            drop(short.finish(&plan).unwrap());
            assert_eq!(
                prctl::get_dumpable(),
                Ok(false),
                "one shares the memory still"
            );
            drop(long);
            assert_eq!(prctl::get_dumpable(), Ok(true));
        });
    }
}
