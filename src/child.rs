//! The child's half of a launch: every step between the clone and `execve`, in the order of [`Step`].
//!
//! Runs in new processes that share the launcher's memory and thread-local storage while the launcher
//! goes on. Hence: no allocation, no lock, no logging, no panic, nothing of libc; only what
//! [`crate::sys`] offers in `child` and `mount`. Everything needed was made in [`crate::prepare`]. A
//! failure is reported once ([`crate::report`]) and ends the process, and with it the sandbox.
//!
//! [`first`] becomes pid 1: it makes the second process and turns into the init. [`command`] is the
//! second one, or the only one where there is no init; it turns into the command.
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::convert::Infallible;

use nix::errno::Errno;

use crate::broker::connection;
use crate::egress::setup::{Listens, Opening};
use crate::exit;
use crate::plan::LowPorts;
use crate::prepare::{Egress, Init, Loopback, NetworkOrigin, Prepared};
use crate::report::{Failure, READY};
use crate::step::Step;
use crate::sys::child as sys;
use crate::sys::clone::Shared;

/// Where a command that serves one connection has it, besides 0 and 1.
const CONNECTION: i32 = 3;
/// The command's pid in a namespace where it is the second process.
const COMMAND_PID: i32 = 2;

/// The first process of the sandbox.
pub(crate) fn first(shared: &'static Shared<Prepared>) -> ! {
    let prepared = &shared.value;
    let Err(failure) = tie_to_launcher(prepared).and_then(|()| match &prepared.init {
        None => own_id_maps(prepared).and_then(|()| command_steps(prepared)),
        Some(init) => init_steps(shared, init),
    });
    fail(prepared, failure)
}

/// From the first moment: a launcher that is killed in the middle of a launch leaves nothing waiting.
fn tie_to_launcher(prepared: &Prepared) -> Result<(), Failure> {
    for &end in &prepared.launcher_ends {
        prepared.at(Step::ParentDeath, sys::close(end))?;
    }
    match prepared.dies_with_parent {
        true => prepared.at(Step::ParentDeath, sys::die_with_parent()),
        false => Ok(()),
    }
}

/// The second process: the command's.
fn command(shared: &'static Shared<Prepared>) -> ! {
    let Err(failure) = command_steps(&shared.value);
    fail(&shared.value, failure)
}

fn fail(prepared: &Prepared, failure: Failure) -> ! {
    // A lost report is not an error here: the supervisor then sees a sandbox that ended at once.
    let _ = sys::write(prepared.report, &failure.encode());
    sys::exit_now(i32::from(exit::LAUNCHER_FAILED))
}

/// From the clone to the init program: it has what the command has of confinement, and a filter of
/// its own that it installs itself.
fn init_steps(shared: &'static Shared<Prepared>, init: &Init) -> Result<Infallible, Failure> {
    let prepared = &shared.value;
    own_id_maps(prepared)?;
    let second = prepared.at(Step::CloneCommand, shared.start_second(command))?;
    prepared.at(
        Step::CloneCommand,
        (second == COMMAND_PID).then_some(()).ok_or(Errno::ESRCH),
    )?;
    // The network is made here because that takes as long as the mounts, which the command's process
    // makes meanwhile.
    if prepared.network == NetworkOrigin::Unshared {
        prepared.at(Step::Network, hand_over_new_network(init.go_writer))?;
    }
    bring_up_loopback(prepared)?;
    open_low_ports(prepared)?;
    open_ways_out(prepared)?;
    wait_for_release(prepared)?;
    prepared.at(Step::Descriptors, arrange(&[init.status, init.go_writer]))?;
    // A signal that the terminal sent to the launcher's group would be pending here as well, and what
    // the launcher forwards to a command in another session would be taken for the same one.
    if prepared.new_session {
        prepared.at(Step::Session, sys::setsid())?;
    }
    prepared.at(Step::Chdir, sys::chdir(c"/"))?;
    change_identity(prepared)?;
    prepared.at(Step::Capabilities, sys::set_capabilities(0, 0))?;
    prepared.at(Step::NoNewPrivs, sys::set_no_new_privs())?;
    // Again: a change of ids has cleared it (PR_SET_PDEATHSIG(2const)).
    if prepared.dies_with_parent {
        prepared.at(Step::ParentDeath, sys::die_with_parent())?;
    }
    prepared.at(
        Step::Init,
        sys::execute_descriptor(init.program, c"sandbox-init"),
    )?;
    Err(Failure::new(Step::Init, Errno::ENOEXEC))
}

/// From the clone to the command's first instruction.
fn command_steps(prepared: &Prepared) -> Result<Infallible, Failure> {
    if prepared.init.is_none() {
        bring_up_loopback(prepared)?;
        open_low_ports(prepared)?;
        open_ways_out(prepared)?;
    }
    wait_for_release(prepared)?;
    if prepared.forbids_user_namespaces {
        let written = sys::write_file(c"/proc/sys/user/max_user_namespaces", b"0");
        prepared.at(Step::ForbidUserNamespaces, written)?;
    }
    match &prepared.mounts {
        Some(mounts) => mounts.perform(|step| prepared.mark(step), || enter_network(prepared))?,
        None => enter_network(prepared)?,
    }
    if let Some(name) = &prepared.hostname {
        prepared.at(Step::Hostname, sys::sethostname(name))?;
    }
    if prepared.new_keyring {
        prepared.at(Step::Keyring, sys::join_new_session_keyring())?;
    }
    police_sockets(prepared)?;
    for (index, limit) in prepared.limits.iter().enumerate() {
        let set = sys::setrlimit(limit.resource, limit.soft, limit.hard);
        set.map_err(|errno| Failure::with_object(Step::Limits, index, errno))?;
    }
    prepared.at(Step::Descriptors, arrange(&prepared.descriptors))?;
    if prepared.new_session {
        prepared.at(Step::Session, sys::setsid())?;
    }
    prepared.at(Step::Chdir, sys::chdir(&prepared.directory))?;
    for &capability in &prepared.bounding_drop {
        prepared.at(Step::BoundingSet, sys::drop_from_bounding_set(capability))?;
    }
    change_identity(prepared)?;
    prepared.at(Step::Capabilities, limit_capabilities(prepared))?;
    prepared.at(Step::NoNewPrivs, sys::set_no_new_privs())?;
    if let Some(ruleset) = prepared.landlock {
        prepared.at(Step::Landlock, sys::landlock_restrict_self(ruleset))?;
    }
    if prepared.init.is_none() && prepared.dies_with_parent {
        prepared.at(Step::ParentDeath, sys::die_with_parent())?;
    }
    // What receives a connection is ours, and the command's filter need not let it.
    if let Some(first) = prepared.receive {
        wait_for_init(prepared)?;
        receive_connection(prepared, first)?;
    }
    if let Some(filter) = &prepared.filter {
        prepared.at(Step::Seccomp, sys::install_filter(filter))?;
    }
    if prepared.receive.is_none() {
        wait_for_init(prepared)?;
    }
    for &(signal, disposition) in &prepared.dispositions {
        prepared.at(Step::Signals, sys::set_disposition(signal, disposition))?;
    }
    prepared.at(Step::Signals, sys::set_signal_mask(prepared.signal_mask))?;
    if let Some(index) = prepared.listen_pid {
        prepared.envp.set_decimal(index, sys::getpid());
    }
    prepared.at(
        Step::Exec,
        sys::execve(&prepared.program, &prepared.argv, &prepared.envp),
    )?;
    Err(Failure::new(Step::Exec, Errno::ENOEXEC))
}

/// Until the init is confined and off the launcher's memory, nothing untrusted may run.
fn wait_for_init(prepared: &Prepared) -> Result<(), Failure> {
    match &prepared.init {
        Some(init) => prepared.at(Step::Init, wait_for_byte(init.go_reader)),
        None => Ok(()),
    }
}

/// Wait for the connection that the command is to serve, on the socket that stands in its places
/// until then. Its variables begin at `first` in the environment.
///
/// This may take for ever, so nothing is kept open but what the command gets: an end of another
/// sandbox's channel that was copied with the launcher's descriptors would hide its end of file.
fn receive_connection(prepared: &Prepared, first: usize) -> Result<(), Failure> {
    let report = prepared.report;
    let given = i32::try_from(prepared.descriptors.len()).unwrap_or(i32::MAX);
    let (before, after) = (report.saturating_sub(1), report.saturating_add(1));
    prepared.at(Step::Receive, sys::close_range(given, before))?;
    prepared.at(Step::Receive, sys::close_range(after, i32::MAX))?;
    prepared.at(Step::Receive, sys::write(report, &READY))?;
    let mut buffer = [0; connection::LONGEST];
    let received = match sys::receive_descriptor(CONNECTION, &mut buffer) {
        // Nobody needs it any more.
        Err(Errno::EPIPE) => sys::exit_now(0),
        received => received,
    };
    let (socket, length) = prepared.at(Step::Receive, received)?;
    prepared.at(Step::Receive, sys::check_is_connection(socket))?;
    let values = buffer.get(..length).and_then(connection::decode);
    let values = prepared.at(Step::Receive, values.ok_or(Errno::EBADMSG))?;
    let filled = prepared.envp.fill(first, values.into_iter());
    prepared.at(Step::Receive, filled)?;
    for target in [0, 1, CONNECTION] {
        prepared.at(Step::Receive, sys::dup_to(socket, target))?;
    }
    Ok(())
}

/// Install the filter below the profile's. Its listener goes to the supervisor, with a socket that shows
/// which network is the sandbox's; nothing of it stays here.
///
/// Before the limits and the capabilities go: with a low limit of descriptors, the kernel lets none be
/// sent while others of the same user are on their way (unix(7), ETOOMANYREFS). Nothing that follows
/// here is a call that the filter knows.
fn police_sockets(prepared: &Prepared) -> Result<(), Failure> {
    let Some(underlay) = &prepared.underlay else {
        return Ok(());
    };
    let Some(channel) = underlay.channel else {
        return prepared.at(Step::Notify, sys::install_filter(&underlay.filter));
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    let sample = prepared.at(Step::Notify, sys::make_socket(libc::AF_UNIX, kind, 0))?;
    let installed = sys::install_telling_filter(&underlay.filter);
    let listener = prepared.at(Step::Notify, installed)?;
    let sent = sys::send_descriptors(channel, &[listener, sample]);
    prepared.at(Step::Notify, sent)?;
    for ours in [listener, sample, channel] {
        prepared.at(Step::Notify, sys::close(ours))?;
    }
    Ok(())
}

/// The single-id map that a process may write for itself (user_namespaces(7)).
fn own_id_maps(prepared: &Prepared) -> Result<(), Failure> {
    let Some(maps) = &prepared.own_id_maps else {
        return Ok(());
    };
    prepared.at(
        Step::IdMaps,
        sys::write_file(c"/proc/self/uid_map", &maps.uid),
    )?;
    // Without this an ordinary user may not write gid_map; it is what keeps setgroups(2) shut.
    prepared.at(
        Step::IdMaps,
        sys::write_file(c"/proc/self/setgroups", b"deny"),
    )?;
    prepared.at(
        Step::IdMaps,
        sys::write_file(c"/proc/self/gid_map", &maps.gid),
    )
}

/// An empty network namespace, and a descriptor of it to the command's process.
fn hand_over_new_network(socket: i32) -> Result<(), Errno> {
    sys::unshare_network()?;
    let namespace = sys::open(c"/proc/self/ns/net", libc::O_RDONLY)?;
    // Whoever is not there any more to take it has reported why.
    let _ = sys::send_descriptors(socket, &[namespace]);
    sys::close(namespace)
}

/// From the command's process: the network namespace that the first one has made.
fn enter_network(prepared: &Prepared) -> Result<(), Failure> {
    let (NetworkOrigin::Unshared, Some(init)) = (prepared.network, &prepared.init) else {
        return Ok(());
    };
    let received = sys::receive_descriptor(init.go_reader, &mut [0]);
    let (namespace, _) = prepared.at(Step::JoinNetwork, received)?;
    prepared.at(Step::JoinNetwork, sys::setns(namespace, libc::CLONE_NEWNET))?;
    prepared.at(Step::JoinNetwork, sys::close(namespace))
}

fn bring_up_loopback(prepared: &Prepared) -> Result<(), Failure> {
    match prepared.loopback {
        Loopback::Up => prepared.at(Step::Loopback, sys::bring_up_loopback()),
        Loopback::Untouched => Ok(()),
    }
}

/// Every port of this network is the command's, which has no capability. What `/proc/sys/net` holds is the
/// caller's own network's, through whichever `/proc`; the launcher's is held because this one's may be
/// read-only by now.
fn open_low_ports(prepared: &Prepared) -> Result<(), Failure> {
    let Some(settings) = prepared.settings else {
        return Ok(());
    };
    match sys::write_file_at(settings, c"net/ipv4/ip_unprivileged_port_start", b"0") {
        // Nothing is less safe without it, and the program is told when it binds.
        Err(_) if prepared.low_ports == LowPorts::Tried => Ok(()),
        written => prepared.at(Step::LowPorts, written),
    }
}

/// Every address becomes this namespace's own, and the supervisor gets the sockets at those that are
/// allowed. A failure tells which socket it was.
fn open_ways_out(prepared: &Prepared) -> Result<(), Failure> {
    let Some(egress) = &prepared.egress else {
        return Ok(());
    };
    // No socket has this number, so that none is named.
    let none = usize::MAX;
    let failed = |index| move |errno| Failure::with_object(Step::Egress, index, errno);
    for &family in &egress.families {
        sys::make_every_address_local(family).map_err(failed(none))?;
    }
    for &address in &egress.addresses {
        sys::add_loopback_address(address).map_err(failed(none))?;
    }
    let mut index = 0;
    for openings in egress.openings.chunks(sys::DESCRIPTORS_A_MESSAGE) {
        let mut sockets = [-1; sys::DESCRIPTORS_A_MESSAGE];
        for (socket, opening) in sockets.iter_mut().zip(openings) {
            *socket = open_socket(opening).map_err(failed(index))?;
            index = index.saturating_add(1);
        }
        let made = sockets.get(..openings.len()).unwrap_or_default();
        hand_out(egress, made).map_err(failed(none))?;
    }
    prepared.mark(Step::Egress);
    Ok(())
}

fn open_socket(opening: &Opening) -> Result<i32, Errno> {
    let socket = sys::make_socket(opening.family, opening.kind, opening.protocol)?;
    for &(level, option, value) in opening.options {
        sys::set_socket_option(socket, level, option, value)?;
    }
    if !opening.address.is_empty() {
        sys::bind_socket(socket, &opening.address)?;
    }
    if opening.listens == Listens::Yes {
        sys::listen_on(socket)?;
    }
    Ok(socket)
}

fn hand_out(egress: &Egress, sockets: &[i32]) -> Result<(), Errno> {
    sys::send_descriptors(egress.channel, sockets)?;
    sockets.iter().try_for_each(|&socket| sys::close(socket))
}

/// Where the launcher writes the maps: one byte a process says that they are there.
fn wait_for_release(prepared: &Prepared) -> Result<(), Failure> {
    match prepared.release {
        Some(reader) => prepared.at(Step::IdMaps, wait_for_byte(reader)),
        None => Ok(()),
    }
}

fn wait_for_byte(reader: i32) -> Result<(), Errno> {
    match sys::read(reader, &mut [0])? {
        1 => Ok(()),
        _ => Err(Errno::EPIPE),
    }
}

/// Descriptor `n` becomes what `sources` has at `n`; all above close at execve.
fn arrange(sources: &[i32]) -> Result<(), Errno> {
    for (target, &source) in (0..).zip(sources) {
        if source == target {
            sys::keep_over_exec(target)?;
            continue;
        }
        sys::dup_to(source, target)?;
    }
    sys::close_on_exec_from(i32::try_from(sources.len()).unwrap_or(i32::MAX))
}

fn change_identity(prepared: &Prepared) -> Result<(), Failure> {
    let Some(identity) = &prepared.identity else {
        return Ok(());
    };
    prepared.at(Step::Identity, sys::keep_capabilities())?;
    prepared.at(Step::Identity, sys::setgroups(&identity.groups))?;
    prepared.at(Step::Identity, sys::setresgid(identity.gid))?;
    prepared.at(Step::Identity, sys::setresuid(identity.uid))
}

/// Exactly the kept capabilities in every set, the ambient one too, and no way to others.
fn limit_capabilities(prepared: &Prepared) -> Result<(), Errno> {
    sys::clear_ambient_set()?;
    // Not inheritable: what has left the bounding set cannot be made so.
    sys::set_capabilities(prepared.kept_mask | SETPCAP, prepared.kept_mask)?;
    for &capability in &prepared.kept {
        sys::raise_ambient(capability)?;
    }
    sys::set_securebits(SECUREBITS)?;
    sys::set_capabilities(prepared.kept_mask, prepared.kept_mask)
}

/// CAP_SETPCAP, which locking the secure bits needs.
const SETPCAP: u64 = 1 << 8;
/// NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each locked, and KEEP_CAPS locked off
/// (capabilities(7)).
const SECUREBITS: usize = 0b1110_1111;

impl Prepared {
    fn at<T>(&self, step: Step, result: Result<T, Errno>) -> Result<T, Failure> {
        let done = result.map_err(|errno| Failure::new(step, errno))?;
        self.mark(step);
        Ok(done)
    }

    fn mark(&self, step: Step) {
        if let Some(clock) = &self.clock {
            clock.mark(step, sys::now());
        }
    }
}
