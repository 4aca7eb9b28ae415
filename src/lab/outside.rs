//! What of a lab would outlive the process that keeps it: names in `/run/netns`, the way to the host's
//! network, files that commands see.
//!
//! Each is recorded in the lab's directory before it is made. What a keeper that was killed has left is
//! so found and taken away by the next `up` or `down`; what only looks like it is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::lacking;
use crate::error::{Error, Result};
use crate::netns::user::make_private;
use crate::netns::{Namespace, NamespaceName, named, nat};
use crate::plan::errno_of;
use crate::request::Placed;

/// The record's file in a lab's directory.
const FILE: &str = "record.json";

/// What was made outside of a lab's own namespaces.
pub(super) struct Record {
    directory: PathBuf,
    made: Made,
}

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Made {
    /// Names in `/run/netns`, with what identifies the namespace: another's is not ours to take away.
    names: BTreeMap<String, (u64, u64)>,
    /// Nodes with a way out, as [`nat`] calls them.
    ways_out: BTreeSet<String>,
    /// Files by node: where each lies, and where it is seen.
    files: BTreeMap<String, Vec<(PathBuf, PathBuf)>>,
    /// Layers for what the host has not, by node: where each lies, and the directory that it is put into.
    #[serde(default)]
    layers: BTreeMap<String, Vec<(PathBuf, PathBuf)>>,
}

impl Record {
    /// Nothing yet, for the lab whose directory is to be `directory`.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            made: Made::default(),
        }
    }

    /// What was left in `directory` by a keeper that is gone.
    pub(super) fn left_in(directory: PathBuf) -> Self {
        let text = fs::read_to_string(directory.join(FILE)).unwrap_or_default();
        // One that was being written tells of nothing that is there yet.
        let made = serde_json::from_str(&text).unwrap_or_default();
        Self { directory, made }
    }

    fn write(&self) -> Result<()> {
        make_private(&self.directory)?;
        let text = serde_json::to_string(&self.made).unwrap_or_default();
        let (file, partial) = (self.directory.join(FILE), self.directory.join("record.new"));
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, &file))
            .map_err(|error| Error::host("write", file.display().to_string(), errno_of(&error)))
    }

    /// Give the namespace of a node its name.
    pub(super) fn name(&mut self, lab: &str, space: &str, namespace: &Namespace) -> Result<()> {
        let name = format!("{lab}.{space}");
        self.made.names.insert(name.clone(), namespace.identity()?);
        self.write()?;
        let attached = name
            .parse()
            .and_then(|name: NamespaceName| named::attach(&name, namespace));
        if attached.is_err() {
            // What has that name is another's.
            self.made.names.remove(&name);
            self.write()?;
        }
        attached
    }

    /// Take a node's name away.
    pub(super) fn unname(&mut self, lab: &str, space: &str) -> Result<()> {
        let name = format!("{lab}.{space}");
        if let Some(identity) = self.made.names.remove(&name) {
            remove_name(&name, identity)?;
        }
        self.write()
    }

    /// Join a node to the host's network.
    pub(super) fn join(
        &mut self,
        space: &str,
        namespace: &Namespace,
        interface: &str,
    ) -> Result<()> {
        let name = self.name_outside(space);
        self.made.ways_out.insert(name.clone());
        self.write()?;
        let wire = nat::Wire::default();
        nat::connect(&name.parse()?, namespace, &interface.parse()?, wire).map(drop)
    }

    /// Part a node from the host's network.
    pub(super) fn part(&mut self, space: &str) -> Result<()> {
        let name = self.name_outside(space);
        nat::disconnect(&name.parse()?)?;
        self.made.ways_out.remove(&name);
        self.write()
    }

    /// What a node is called outside: unlike that of any other lab that is up.
    fn name_outside(&self, space: &str) -> String {
        let lab = self.directory.file_name().unwrap_or_default();
        format!("{}.{space}", lab.to_string_lossy())
    }

    /// Keep what commands of a node see at some paths.
    pub(super) fn files(&mut self, space: &str, files: &BTreeMap<PathBuf, String>) -> Result<()> {
        let (mut pairs, mut layers) = (Vec::new(), Vec::new());
        if !files.is_empty() {
            let directory = self.directory.join("files");
            make_private(&self.directory)?;
            make_private(&directory)?;
            let own = directory.join(space);
            make_private(&own)?;
            for (number, (path, contents)) in files.iter().enumerate() {
                let file = own.join(number.to_string());
                fs::write(&file, contents).map_err(|error| {
                    Error::host("write", file.display().to_string(), errno_of(&error))
                })?;
                pairs.push((file, path.clone()));
            }
            for (number, (ground, lacking)) in lacking(files.keys())?.into_iter().enumerate() {
                let layer = own.join(format!("layer{number}"));
                lay(&layer, &lacking).map_err(|error| {
                    Error::host("make", layer.display().to_string(), errno_of(&error))
                })?;
                layers.push((layer, ground));
            }
        }
        self.made.layers.insert(space.to_owned(), layers);
        self.made.files.insert(space.to_owned(), pairs);
        self.write()
    }

    /// What commands of a node see: the layers first, because files are put over what is in them.
    pub(super) fn files_of(&self, space: &str) -> Vec<Placed> {
        let of = |made: &BTreeMap<String, Vec<_>>| made.get(space).cloned().unwrap_or_default();
        let layers = of(&self.made.layers).into_iter();
        let mut placed: Vec<Placed> = layers
            .map(|(layer, directory)| Placed::Into { layer, directory })
            .collect();
        placed.extend(Placed::over(of(&self.made.files)));
        placed
    }

    /// Take everything away, and the directory.
    pub(super) fn undo(&mut self) {
        let made = std::mem::take(&mut self.made);
        for (name, identity) in made.names {
            // The other ones are to go all the same.
            let _ = remove_name(&name, identity);
        }
        for name in made.ways_out {
            let gone = name
                .parse()
                .and_then(|name: NamespaceName| nat::disconnect(&name));
            if let Err(error) = gone {
                tracing::warn!(node = %name, %error, "its way out is not taken away");
            }
        }
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(directory = %self.directory.display(), %error, "not removed");
            }
            _ => {}
        }
    }
}

/// Make `layer` a directory with an empty file at each of `paths`, all for everybody to read: what is in it
/// is to be covered.
fn lay(layer: &Path, paths: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    match fs::remove_dir_all(layer) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    fs::create_dir(layer)?;
    open(layer, 0o755)?;
    for path in paths {
        let whole = layer.join(path);
        let directories = path.ancestors().skip(1).collect::<Vec<_>>();
        for directory in directories.iter().rev().map(|one| layer.join(one)) {
            if !directory.exists() {
                fs::create_dir(&directory)?;
                open(&directory, 0o755)?;
            }
        }
        fs::write(&whole, "")?;
        open(&whole, 0o644)?;
    }
    Ok(())
}

fn remove_name(name: &str, identity: (u64, u64)) -> Result<()> {
    let name: NamespaceName = name.parse()?;
    let path = named::path_of(&name);
    let same =
        |path: &Path| fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == identity);
    match same(&path) {
        true => named::delete(&name),
        false => Ok(()),
    }
}
