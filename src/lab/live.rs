//! A lab that is up: its namespaces, held open, and what was made in them.
//!
//! Runs in the process that keeps the lab: the one that called the library, or the keeper
//! ([`super::keeper`]). Nothing of a lab outlives that process: namespaces end with their last
//! descriptor, and take cables, addresses and rules along; commands end with who launched them. What is
//! not so ([`super::outside`]) is recorded before it is made.
//!
//! An ordinary user's namespaces belong to a user namespace of the lab's own. This process stays outside:
//! what has to be done inside is done by [`crate::sys::within`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::difference::{Action, difference};
use super::files;
use super::outside::Record;
use super::spec::{Family, show_mac};
use super::state::{Cable, Change, Faults, Plug, SWITCH, State, Wiring};
use super::topology::{Command, Interface, Topology};
use crate::error::{Error, Result};
use crate::netns::link::{self, Admin, End, Kind, NewLink};
use crate::netns::sysctl::Setting;
use crate::netns::traffic::Discipline;
use crate::netns::user::make_user_namespace;
use crate::netns::{Connection, Mac, Namespace, Request, address, route, traffic};
use crate::plan::errno_of;
use crate::policy::{Network, Policy};
use crate::request::Placed;
use crate::sandbox::{Child, Sandbox, Stdio};

/// The first index that links get, above those that the kernel gives to links of its own.
const FIRST_INDEX: u32 = 100;
/// The index of `lo`.
const LOOPBACK: u32 = 1;
/// What a link has without another wish.
const USUAL_MTU: u32 = 1500;
/// How long processes that were killed have to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// A lab that is up.
pub(super) struct Live {
    file: PathBuf,
    topology: Topology,
    faults: Faults,
    state: State,
    spaces: BTreeMap<String, Inside>,
    /// What can be queued only when all that is queued now is done.
    later: Vec<(String, Request, usize)>,
    running: Vec<Running>,
    record: Record,
    /// Where commands' output goes; nowhere if nothing is said.
    logs: Option<PathBuf>,
    /// What an ordinary user's namespaces belong to.
    owner: Option<OwnedFd>,
}

/// One namespace.
struct Inside {
    namespace: Namespace,
    connection: Connection,
    indices: BTreeMap<String, u32>,
    next: u32,
    /// Not sent yet, each with its line in the file.
    pending: Vec<(Request, usize)>,
}

/// A command that was started.
pub(super) struct Running {
    pub(super) space: String,
    pub(super) command: Command,
    child: Child,
    ended: Option<ExitStatus>,
}

/// What to do where something is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusals {
    /// Stop.
    Stop,
    /// Go on: it is being undone, and may not have been done.
    Ignore,
}

impl Live {
    /// Nothing yet, for the lab of `file`.
    pub(super) fn new(
        file: &Path,
        topology: Topology,
        record: Record,
        logs: Option<PathBuf>,
    ) -> Result<Self> {
        let owner = match geteuid().is_root() {
            true => None,
            false => Some(make_user_namespace()?),
        };
        Ok(Self {
            file: file.to_owned(),
            topology,
            faults: Faults::default(),
            state: State::default(),
            spaces: BTreeMap::new(),
            later: Vec::new(),
            running: Vec::new(),
            record,
            logs,
            owner,
        })
    }

    /// The lab as it was declared.
    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What is broken on purpose.
    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The namespace called `name`.
    pub(super) fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.spaces.get(name).map(|inside| &inside.namespace)
    }

    /// A socket for questions in the namespace called `name`.
    pub(super) fn connection(&mut self, name: &str) -> Option<&mut Connection> {
        self.spaces
            .get_mut(name)
            .map(|inside| &mut inside.connection)
    }

    /// The commands, and how each ended that has.
    pub(super) fn commands(&mut self) -> Vec<(&str, &Command, Option<ExitStatus>)> {
        for running in &mut self.running {
            if running.ended.is_none() {
                running.ended = running.child.try_wait().ok().flatten();
            }
        }
        let said = |running: &Running| running.ended;
        self.running
            .iter()
            .map(|running| (running.space.as_str(), &running.command, said(running)))
            .collect()
    }

    /// Readable when one of those that run has ended.
    pub(super) fn running(&self) -> impl Iterator<Item = std::os::fd::BorrowedFd<'_>> {
        let runs = self
            .running
            .iter()
            .filter(|running| running.ended.is_none());
        runs.map(|running| running.child.pidfd())
    }

    /// What commands of a node see.
    pub(super) fn files_of(&self, space: &str) -> Vec<Placed> {
        self.record.files_of(space)
    }

    /// Make of it what `topology` says, and nothing broken: all of it, or nothing.
    ///
    /// # Errors
    /// What was refused, with its line; the lab is then as it was before.
    pub(super) fn become_topology(&mut self, file: &Path, topology: Topology) -> Result<usize> {
        let old = std::mem::replace(&mut self.topology, topology);
        let old_file = std::mem::replace(&mut self.file, file.to_owned());
        let result = self.become_state(Faults::default());
        if result.is_err() {
            self.topology = old;
            self.file = old_file;
        }
        result
    }

    /// Break what `faults` say, and heal what they do not: all of it, or nothing. How many actions that took.
    ///
    /// # Errors
    /// What was refused, with its line; the lab is then as it was before.
    pub(super) fn become_state(&mut self, faults: Faults) -> Result<usize> {
        self.refuse_what_cannot_be()?;
        let before = self.state.clone();
        let wanted = State::desired(&self.topology, &faults);
        let actions = difference(&before, &wanted);
        if let Err((error, line)) = self.perform(&actions, &wanted, Refusals::Stop) {
            let file = self.file.clone();
            if before.spaces.is_empty() {
                self.clear();
            } else {
                let back = difference(&self.state.clone(), &before);
                // What was not done cannot be undone; whatever else is refused, the state says so.
                let _ = self.perform(&back, &before, Refusals::Ignore);
            }
            let source = Box::new(error);
            return Err(Error::Lab { file, line, source });
        }
        self.faults = faults;
        Ok(actions.len())
    }

    /// What this kernel or this user cannot have, before anything is made.
    fn refuse_what_cannot_be(&self) -> Result<()> {
        let refuse = |line: usize, source: Error| {
            Err(Error::Lab {
                file: self.file.clone(),
                line,
                source: Box::new(source),
            })
        };
        for node in &self.topology.nodes {
            for (path, line) in node.files.keys().zip(&node.file_lines) {
                if let Err(error) = files::ground_of(path) {
                    return refuse(*line, error);
                }
            }
            if node.uplink.is_some() && self.owner.is_some() {
                return refuse(
                    node.line,
                    Error::usage("uplink", "joining the host's network needs root"),
                );
            }
        }
        let interfaces = self.topology.nodes.iter().flat_map(|node| &node.interfaces);
        for needed in Discipline::ALL {
            let needs = |one: &&Interface| one.traffic.needs() == Some(needed);
            if let Some(interface) = interfaces.clone().find(needs)
                && !needed.is_there_in(&mut self.make_namespace("a trial")?.1)?
            {
                let error = Error::Unsupported {
                    layer: needed.purpose().to_owned(),
                    reason: needed.lack().to_owned(),
                    hint: None,
                };
                return refuse(interface.line, error);
            }
        }
        if self.topology.named && self.owner.is_some() {
            let error = Error::usage("named", "names in /run/netns need root");
            return refuse(1, error);
        }
        Ok(())
    }

    fn make_namespace(&self, label: &str) -> Result<(Namespace, Connection)> {
        Namespace::make_connected(self.owner.as_ref().map(AsFd::as_fd), label)
    }

    fn perform(
        &mut self,
        actions: &[Action],
        wanted: &State,
        refusals: Refusals,
    ) -> std::result::Result<(), (Error, usize)> {
        let mut last = Stage::Inside;
        for action in actions {
            let stage = Stage::of(action);
            let done_first = stage != last && matches!(last, Stage::Loosen | Stage::Lay);
            if done_first || stage == Stage::Start {
                self.flush(refusals)?;
            }
            last = stage;
            let line = self.line_of(action);
            let done = self.act(action, wanted, line);
            self.state.apply(action);
            match done {
                Err(error) if refusals == Refusals::Stop => return Err((error, line)),
                _ => {}
            }
        }
        self.flush(refusals)?;
        // What waited for the other end of a cable.
        self.flush(refusals)
    }

    /// Send what is queued.
    fn flush(&mut self, refusals: Refusals) -> std::result::Result<(), (Error, usize)> {
        for inside in self.spaces.values_mut() {
            let pending = std::mem::take(&mut inside.pending);
            let (requests, lines): (Vec<Request>, Vec<usize>) = pending.into_iter().unzip();
            match inside.connection.perform_all(&requests) {
                Err((index, error)) if refusals == Refusals::Stop => {
                    return Err((error, lines.get(index).copied().unwrap_or(1)));
                }
                _ => {}
            }
        }
        for (space, request, line) in std::mem::take(&mut self.later) {
            if let Some(inside) = self.spaces.get_mut(&space) {
                inside.pending.push((request, line));
            }
        }
        Ok(())
    }

    fn inside(&mut self, space: &str) -> Result<&mut Inside> {
        self.spaces
            .get_mut(space)
            .ok_or_else(|| Error::host("find", space, Errno::ENOENT))
    }

    fn act(&mut self, action: &Action, wanted: &State, line: usize) -> Result<()> {
        match action {
            Action::AddSpace { space } => self.add_space(space, wanted, line),
            Action::RemoveSpace { space } => {
                self.end_processes(&BTreeSet::from([space.clone()]));
                self.spaces.remove(space);
                Ok(())
            }
            Action::AddBridge {
                space,
                name,
                device,
            } => {
                let inside = self.inside(space)?;
                let index = inside.index_for(name);
                let mut bridge = NewLink::bridge(name.parse()?).with_index(index).up();
                bridge.end.mac = Some(mac_of(device.mac)?);
                bridge.end.mtu = device.mtu;
                inside.pending.push((bridge.request(), line));
                Ok(())
            }
            Action::RemoveBridge { space, name } => {
                let inside = self.inside(space)?;
                if let Some(index) = inside.indices.remove(name) {
                    inside.pending.push((link::delete(index), line));
                }
                Ok(())
            }
            Action::AddCable { cable, wiring } => self.add_cable(cable, wiring, line),
            Action::SetWiring { cable, wiring } => self.set_wiring(cable, wiring, line),
            Action::RemoveCable { cable } => {
                let [first, second] = &cable.0;
                self.inside(&second.space)?
                    .indices
                    .remove(&second.interface);
                let inside = self.inside(&first.space)?;
                if let Some(index) = inside.indices.remove(&first.interface) {
                    inside.pending.push((link::delete(index), line));
                }
                Ok(())
            }
            Action::InSpace { space, change } => self.change(space, change, line),
        }
    }

    fn add_space(&mut self, space: &str, wanted: &State, line: usize) -> Result<()> {
        let (namespace, connection) = self.make_namespace(space)?;
        // Who sends on for others asks for its neighbours by the link's own address, which the kernel
        // would keep to itself for seconds, looking for duplicates that cannot be.
        let wish = wanted.spaces.get(space);
        if wish.is_some_and(|wish| wish.forward && wish.speaks(Family::V6)) {
            let setting: Setting = "net.ipv6.conf.default.accept_dad".parse()?;
            namespace.set_sysctl(&setting, "0")?;
        }
        let inside = Inside {
            namespace,
            connection,
            indices: BTreeMap::new(),
            next: FIRST_INDEX,
            pending: vec![(link::up(LOOPBACK), line)],
        };
        self.spaces.insert(space.to_owned(), inside);
        Ok(())
    }

    /// Both ends by one request, made where the bridge is: only the link itself can be made a port at
    /// once, its peer cannot.
    fn add_cable(&mut self, cable: &Cable, wiring: &Wiring, line: usize) -> Result<()> {
        let [near, far] = &cable.0;
        let master = match &wiring.masters[1] {
            Some(bridge) => Some(self.index(&far.space, bridge)?),
            None => None,
        };
        let near_index = self.inside(&near.space)?.index_for(&near.interface);
        let far_index = self.inside(&far.space)?.index_for(&far.interface);
        let end = |plug: &Plug, index: u32| -> Result<End> {
            let mut end = End::new(plug.interface.parse()?);
            end.index = Some(index);
            end.mac = Some(mac_of(plug.mac)?);
            end.mtu = wiring.mtu;
            Ok(end)
        };
        let mut peer = end(near, near_index)?;
        peer.namespace = Some(self.inside(&near.space)?.namespace.clone());
        let kind = Kind::Veth {
            peer: Box::new(peer),
        };
        let mut pair = NewLink::new(far.interface.parse()?, kind);
        pair.end = end(far, far_index)?;
        pair.end.master = master;
        if wiring.up {
            pair.admin = Admin::Up;
        }
        self.inside(&far.space)?
            .pending
            .push((pair.request(), line));
        if wiring.up {
            // Once there are both.
            let up = link::up(near_index);
            self.later.push((near.space.clone(), up, line));
        }
        Ok(())
    }

    fn set_wiring(&mut self, cable: &Cable, wiring: &Wiring, line: usize) -> Result<()> {
        let admin = if wiring.up { Admin::Up } else { Admin::Down };
        for (plug, master) in cable.0.iter().zip(&wiring.masters) {
            let master = match master {
                Some(bridge) => Some(self.index(&plug.space, bridge)?),
                None => None,
            };
            let index = self.index(&plug.space, &plug.interface)?;
            let change = link::Change {
                admin: Some(admin),
                mtu: Some(wiring.mtu.unwrap_or(USUAL_MTU)),
                master,
                ..link::Change::default()
            };
            let request = link::set(index, &change);
            self.inside(&plug.space)?.pending.push((request, line));
        }
        Ok(())
    }

    fn index(&self, space: &str, interface: &str) -> Result<u32> {
        self.spaces
            .get(space)
            .and_then(|inside| inside.indices.get(interface))
            .copied()
            .ok_or_else(|| Error::host("find", format!("{interface} in {space}"), Errno::ENODEV))
    }

    fn change(&mut self, space: &str, change: &Change, line: usize) -> Result<()> {
        let request = match change {
            Change::RemoveAddress(interface, net) => {
                address::delete(self.index(space, interface)?, *net)
            }
            Change::AddAddress(interface, net) => {
                address::ensure(self.index(space, interface)?, *net)
            }
            Change::RemoveRoute(wanted) => route::delete(&self.route(space, wanted)?),
            Change::AddRoute(wanted) => route::replace(&self.route(space, wanted)?),
            Change::Forward(forward) => {
                let value = if *forward { "1" } else { "0" };
                let namespace = &self.inside(space)?.namespace;
                namespace.set_sysctl(&Setting::forwarding_v4(), value)?;
                return namespace.set_sysctl(&Setting::forwarding_v6(), value);
            }
            Change::Sysctl(name, value) => {
                let setting: Setting = name.parse()?;
                return self.inside(space)?.namespace.set_sysctl(&setting, value);
            }
            Change::Traffic(interface, traffic) => {
                let index = self.index(space, interface)?;
                let inside = self.inside(space)?;
                let requests = traffic::shape(index, &traffic.unwrap_or_default());
                let requests = requests.into_iter().map(|request| (request, line));
                inside.pending.extend(requests);
                return Ok(());
            }
            Change::Firewall(firewall) => {
                let namespace = self.inside(space)?.namespace.clone();
                // The namespace is the lab's alone: nobody else has a table there.
                let mut script = "flush ruleset\n".to_owned();
                if let Some(firewall) = firewall {
                    script.push_str(&firewall.statements.script());
                    script.push_str(&firewall.nft);
                    script.push('\n');
                }
                return namespace.apply_nft(&script);
            }
            Change::Named(named) => {
                let lab = self.topology.name.clone();
                let namespace = self.inside(space)?.namespace.clone();
                return match named {
                    // The bridges' is nobody's to enter.
                    _ if space == SWITCH => Ok(()),
                    true => self.record.name(&lab, space, &namespace),
                    false => self.record.unname(&lab, space),
                };
            }
            Change::Uplink(uplink) => {
                let namespace = self.inside(space)?.namespace.clone();
                return match uplink {
                    Some(interface) => self.record.join(space, &namespace, interface),
                    None => self.record.part(space),
                };
            }
            Change::Files(files) => return self.record.files(space, files),
            Change::AddCommand(command) => return self.start(space, command),
            Change::RemoveCommand(command) => {
                let same = |one: &Running| one.space == space && one.command == *command;
                if let Some(found) = self.running.iter().position(same) {
                    drop(self.running.remove(found));
                }
                return Ok(());
            }
        };
        self.inside(space)?.pending.push((request, line));
        Ok(())
    }

    fn route(&self, space: &str, wanted: &super::topology::Route) -> Result<route::Route> {
        let index = self.index(space, &wanted.interface)?;
        Ok(route::Route::to(wanted.to).via(wanted.via).by_link(index))
    }

    /// A sandbox for `program` in the node called `space`.
    pub(super) fn sandbox(&self, space: &str, program: &str) -> Result<Sandbox> {
        let namespace = self
            .namespace(space)
            .ok_or_else(|| Error::usage(format!("node {space}"), "there is no such node"))?;
        let mut sandbox = Sandbox::new(program);
        sandbox.net(Network::Namespace(path_of(namespace)));
        for placed in self.record.files_of(space) {
            sandbox.place(placed);
        }
        Ok(sandbox)
    }

    fn start(&mut self, space: &str, command: &Command) -> Result<()> {
        let Some((program, arguments)) = command.command.split_first() else {
            return Ok(());
        };
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        let policy = Policy::named(command.policy.as_ref(), directory)?;
        let mut sandbox = self.sandbox(space, program)?;
        sandbox.args(arguments).policy(policy).stdin(Stdio::Null);
        for (name, value) in &command.environment {
            sandbox.env(name, value);
        }
        if let Some(logs) = &self.logs {
            let log = log_of(logs, space)?;
            let copy = log.try_clone();
            let copy = copy.map_err(|error| Error::host("share", "a log", errno_of(&error)))?;
            sandbox.stdout(log).stderr(copy);
        }
        self.running.push(Running {
            space: space.to_owned(),
            command: command.clone(),
            child: sandbox.spawn()?,
            ended: None,
        });
        Ok(())
    }

    /// Take everything away.
    pub(super) fn clear(&mut self) {
        self.running.clear();
        self.end_processes(&self.spaces.keys().cloned().collect());
        self.record.undo();
        self.spaces.clear();
        self.state = State::default();
        self.faults = Faults::default();
    }

    /// End every process that is in one of these namespaces still: they would keep it.
    fn end_processes(&self, spaces: &BTreeSet<String>) {
        let identity = |name: &String| self.namespace(name)?.identity().ok();
        let theirs: BTreeSet<(u64, u64)> = spaces.iter().filter_map(identity).collect();
        // Looking through all processes is most of what taking a small lab away costs.
        if theirs.is_empty() {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = processes_in(&theirs);
            if found.is_empty() || Instant::now() > deadline {
                return;
            }
            for pid in found {
                // Gone already is as good.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Which line of the file an action comes from.
    fn line_of(&self, action: &Action) -> usize {
        let of_interface = |space: &str, interface: &str| {
            let node = self.topology.nodes.iter().find(|node| node.name == space)?;
            let found = node.interfaces.iter().find(|one| one.name == interface);
            Some(found.map_or(node.line, |found| found.line))
        };
        let of_bridge = |name: &str| {
            let bridge = self.topology.bridges.iter().find(|one| one.name == name)?;
            Some(bridge.line)
        };
        let of_node = |space: &str| {
            let node = self.topology.nodes.iter().find(|node| node.name == space)?;
            Some(node.line)
        };
        let found = match action {
            Action::AddSpace { space } | Action::RemoveSpace { space } => of_node(space),
            Action::AddBridge { name, .. } | Action::RemoveBridge { name, .. } => of_bridge(name),
            Action::AddCable { cable, .. }
            | Action::SetWiring { cable, .. }
            | Action::RemoveCable { cable } => {
                of_interface(&cable.0[0].space, &cable.0[0].interface)
            }
            Action::InSpace { space, change } => match change {
                Change::AddAddress(interface, _)
                | Change::RemoveAddress(interface, _)
                | Change::Traffic(interface, _) => of_interface(space, interface),
                Change::Firewall(_) => self
                    .topology
                    .nodes
                    .iter()
                    .find(|node| node.name == *space)
                    .map(|node| node.firewall_line),
                Change::AddCommand(command) => self
                    .topology
                    .nodes
                    .iter()
                    .find(|node| node.name == *space)
                    .and_then(|node| {
                        let place = node.commands.iter().position(|one| one == command)?;
                        node.command_lines.get(place).copied()
                    }),
                _ => of_node(space),
            },
        };
        found.unwrap_or(1)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Inside {
    fn index_for(&mut self, name: &str) -> u32 {
        let index = self.next;
        self.next += 1;
        self.indices.insert(name.to_owned(), index);
        index
    }
}

/// Which actions may be queued together: what one namespace's socket gets stays in order, but between
/// two sockets there is none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Cables are taken away: their names become free at both ends.
    Loosen,
    /// Cables are laid: what comes next needs both ends.
    Lay,
    /// Commands start: they need everything.
    Start,
    /// Anything else stays within one namespace.
    Inside,
}

impl Stage {
    const fn of(action: &Action) -> Self {
        match action {
            Action::RemoveCable { .. } => Self::Loosen,
            Action::AddCable { .. } => Self::Lay,
            Action::InSpace {
                change: Change::AddCommand(_),
                ..
            } => Self::Start,
            _ => Self::Inside,
        }
    }
}

fn mac_of(mac: [u8; 6]) -> Result<Mac> {
    show_mac(mac).parse()
}

/// A path by which this process finds `namespace`.
pub(super) fn path_of(namespace: &Namespace) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd()))
}

fn log_of(directory: &Path, space: &str) -> Result<File> {
    let path = directory.join(format!("{space}.log"));
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Error::host("open", path.display().to_string(), errno_of(&error)))
}

/// The processes that are in one of these namespaces.
fn processes_in(namespaces: &BTreeSet<(u64, u64)>) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter(|pid| {
            let found = fs::metadata(format!("/proc/{pid}/ns/net"));
            found.is_ok_and(|found| namespaces.contains(&(found.dev(), found.ino())))
        })
        .collect()
}
