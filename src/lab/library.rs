//! The library's side of labs: a network for a test, made from a file and gone with the value.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::live::Live;
use super::matrix::Matrix;
use super::outside::Record;
use super::topology::Topology;
use super::{check, place};
use crate::error::{Error, Result};
use crate::netns::Namespace;
use crate::sandbox::Sandbox;

/// A lab that was read, and makes sense.
///
/// ```no_run
/// use sandbox::Lab;
///
/// # fn main() -> sandbox::Result<()> {
/// let mut lab = Lab::from_file("three.toml")?.up()?;
/// assert!(lab.check()?.holds());
/// lab.partition(&["a", "b,c"])?;
/// let status = lab.sandbox("a", "my-client")?.arg("--once").status()?;
/// assert!(!status.success(), "nobody is there to be reached");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lab {
    file: PathBuf,
    topology: Topology,
}

impl Lab {
    /// The lab that the file at `path` describes.
    ///
    /// # Errors
    /// When it cannot be read, or makes no sense.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let (file, _, topology) = super::read(path.as_ref())?;
        Ok(Self { file, topology })
    }

    /// The lab that `text` describes, called `name` in messages.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn from_text(name: &str, text: &str) -> Result<Self> {
        let file = PathBuf::from(format!("{name}.toml"));
        let topology = Topology::parse(&file, text)?;
        Ok(Self { file, topology })
    }

    /// What it describes.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Make it: all of it, or nothing. Any number of labs of one file may be up at a time.
    ///
    /// As an ordinary user, it is made in a user namespace of its own.
    ///
    /// # Errors
    /// What the kernel refused, with the line of the file.
    pub fn up(self) -> Result<RunningLab> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let labs = place::labs()?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let directory = labs.join(format!(
            "{}~{}.{number}",
            self.topology.name,
            std::process::id()
        ));
        let record = Record::new(directory);
        let mut live = Live::new(&self.file, self.topology.clone(), record, None)?;
        live.become_topology(&self.file, self.topology)?;
        Ok(RunningLab(live))
    }
}

/// A lab that is up. Dropping it takes everything away, and ends what runs in it.
pub struct RunningLab(Live);

impl std::fmt::Debug for RunningLab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningLab")
            .field("topology", self.0.topology())
            .finish_non_exhaustive()
    }
}

impl RunningLab {
    /// What it was made from.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        self.0.topology()
    }

    /// A sandbox for `program` in the network of `node`, with the node's files.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn sandbox(&self, node: &str, program: &str) -> Result<Sandbox> {
        self.0.sandbox(node, program)
    }

    /// The network of `node`: for sockets of the caller's own, and [`Namespace::run`].
    ///
    /// # Errors
    /// When there is no such node.
    pub fn namespace(&self, node: &str) -> Result<&Namespace> {
        self.0
            .namespace(node)
            .ok_or_else(|| Error::usage(format!("node {node}"), "there is no such node"))
    }

    /// Try who reaches whom.
    ///
    /// # Errors
    /// When the sockets for it cannot be had.
    pub fn check(&self) -> Result<Matrix> {
        check::check(&self.0, Duration::from_secs(1))
    }

    /// Cut groups of nodes off from each other: each is named by its nodes or groups, commas between.
    /// Nodes in none stay with the first.
    ///
    /// # Errors
    /// When a name is no node's, or the kernel refuses; nothing is changed then.
    pub fn partition(&mut self, parts: &[&str]) -> Result<()> {
        let parts: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
        self.0.partition(&parts).map(drop)
    }

    /// Unplug the cable at `end`, written `NODE:INTERFACE`.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses.
    pub fn unplug(&mut self, end: &str) -> Result<()> {
        self.0.plug(end, false).map(drop)
    }

    /// Plug the cable at `end` in again.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses.
    pub fn plug(&mut self, end: &str) -> Result<()> {
        self.0.plug(end, true).map(drop)
    }

    /// Undo partitions, and plug every cable in.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn heal(&mut self) -> Result<()> {
        self.0.heal().map(drop)
    }
}

impl Live {
    /// Cut the nodes of `parts` off from each other. How many actions that took.
    pub(super) fn partition(&mut self, parts: &[String]) -> Result<usize> {
        let mut faults = self.faults().clone();
        let mut seen = BTreeSet::new();
        faults.parts.clear();
        for part in parts {
            let wrong = |reason: String| Error::usage(format!("partition \"{part}\""), reason);
            let nodes = self.topology().named(part);
            let nodes = nodes.map_err(|reason| wrong(reason.to_string()))?;
            if let Some(node) = nodes.iter().find(|node| !seen.insert(**node)) {
                let name = &self.topology().nodes[*node].name;
                return Err(wrong(format!("node \"{name}\" is in two parts")));
            }
            faults.parts.push(nodes);
        }
        if faults.parts.len() < 2 {
            return Err(Error::usage(
                "partition",
                "there are two parts at least: A,B and C,D",
            ));
        }
        self.become_state(faults)
    }

    /// Plug an interface's cable in or out. How many actions that took.
    pub(super) fn plug(&mut self, end: &str, up: bool) -> Result<usize> {
        let place = end.split_once(':').and_then(|(node, interface)| {
            let node = self.topology().node(node)?;
            let interfaces = &self.topology().nodes[node].interfaces;
            let found = interfaces.iter().position(|one| one.name == interface)?;
            Some((node, found))
        });
        let Some(place) = place else {
            return Err(Error::usage(
                format!("\"{}\"", end.escape_debug()),
                "the lab has no such interface; write NODE:INTERFACE",
            ));
        };
        let mut faults = self.faults().clone();
        match up {
            true => faults.down.remove(&place),
            false => faults.down.insert(place),
        };
        self.become_state(faults)
    }

    /// Undo all faults. How many actions that took.
    pub(super) fn heal(&mut self) -> Result<usize> {
        self.become_state(super::state::Faults::default())
    }
}
