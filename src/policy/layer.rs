//! One layer of a policy: what a file, the command line or the builder says, every key optional.
//!
//! Pure values. A layer knows nothing of the layers below it; [`crate::policy::merge`] lays them
//! over each other. Its shape is the shape of the TOML file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    Carrier, Cgroup, Inspect, Limit, Network, Seccomp, Strictness, UnixSockets, UserNamespace, View,
};
use crate::egress::budget::Limits;
use crate::egress::destination::Destination;
use crate::egress::publish::Publish;
use crate::error::{Error, Result};

/// Where a layer came from, lowest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Origin {
    /// A profile shipped with the program.
    BuiltIn(String),
    /// A policy file.
    File(PathBuf),
    /// The caller of the library.
    Builder,
    /// The command line.
    CommandLine,
}

impl Origin {
    /// The policy's name: the profile's, the file's, or the word for the layer.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::BuiltIn(name) => name.clone(),
            Self::File(path) => path.display().to_string(),
            Self::Builder => "builder".to_owned(),
            Self::CommandLine => "command line".to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(name) => write!(f, "built-in profile {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Builder => f.write_str("the builder"),
            Self::CommandLine => f.write_str("the command line"),
        }
    }
}

/// One layer: `None` and empty mean that the layer says nothing about a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    /// `description`.
    pub description: Option<String>,
    /// `extends`: the policy that this one is laid over, by name or path.
    pub extends: Option<String>,
    /// `require`.
    pub require: Option<Strictness>,
    /// `network.mode`.
    pub network: Option<Network>,
    /// `network.unix-sockets`.
    pub unix_sockets: Option<UnixSockets>,
    /// `[egress]`.
    pub egress: EgressLayer,
    /// `[namespaces]`.
    pub namespaces: NamespacesLayer,
    /// `[filesystem]`.
    pub filesystem: FilesystemLayer,
    /// `[process]`.
    pub process: ProcessLayer,
    /// `[environment]`.
    pub environment: EnvironmentLayer,
    /// `[limits]`, one entry a resource, in the order of [`crate::policy::spec::RESOURCES`].
    pub limits: Vec<Limit>,
    /// `[cgroup]`.
    pub cgroup: Cgroup,
    /// The line on which a file says each thing, by key, or by `key=element` for lists and tables.
    pub(crate) lines: BTreeMap<String, usize>,
    /// Line and column of `extends` in its file: what is wrong with the policy that it names is
    /// reported there.
    pub(crate) extends_at: Option<(usize, usize)>,
}

/// `[egress]` of a layer. Lists add to those of the layers below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressLayer {
    /// Destinations that may be reached.
    pub allow: Vec<Destination>,
    /// Destinations that may not.
    pub deny: Vec<Destination>,
    /// What is sent to a name must name it.
    pub inspect: Option<Inspect>,
    /// How connections are carried.
    pub engine: Option<Carrier>,
    /// Ports inside that the host reaches.
    pub publish: Vec<Publish>,
    /// Budgets of bytes and rates; a later layer's word on a destination stands.
    pub budgets: Limits,
    /// The port of a proxy inside.
    pub proxy_env: Option<u16>,
}

/// `[namespaces]` of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespacesLayer {
    /// A user namespace.
    pub user: Option<UserNamespace>,
    /// pid_namespaces(7).
    pub pid: Option<bool>,
    /// mount_namespaces(7).
    pub mount: Option<bool>,
    /// ipc_namespaces(7).
    pub ipc: Option<bool>,
    /// uts_namespaces(7).
    pub uts: Option<bool>,
    /// cgroup_namespaces(7).
    pub cgroup: Option<bool>,
}

/// `[filesystem]` of a layer. Lists add to those of the layers below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesystemLayer {
    /// `/proc`.
    pub proc: Option<View>,
    /// `/sys`.
    pub sys: Option<View>,
    /// `/dev`.
    pub dev: Option<View>,
    /// A `/tmp` of its own.
    pub private_tmp: Option<bool>,
    /// Trees and files covered with nothing.
    pub hide: Vec<PathBuf>,
    /// Hide the host's Unix sockets that have a path.
    pub hide_sockets: Option<bool>,
    /// Trees made read-only.
    pub read_only: Vec<PathBuf>,
    /// Trees kept writable below read-only ones.
    pub read_write: Vec<PathBuf>,
}

/// `[process]` of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessLayer {
    /// The system-call filter.
    pub seccomp: Option<Seccomp>,
    /// Capabilities kept, by number; adds to the layers below.
    pub cap_add: Vec<u8>,
    /// The command is pid 1 itself.
    pub as_pid_1: Option<bool>,
    /// A new session, without the caller's terminal.
    pub new_session: Option<bool>,
    /// User name or number.
    pub user: Option<String>,
    /// Group name or number.
    pub group: Option<String>,
    /// Working directory inside.
    pub chdir: Option<PathBuf>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// End everything after this long.
    pub timeout: Option<Duration>,
    /// From the time-out's SIGTERM to SIGKILL.
    pub kill_after: Option<Duration>,
}

/// `[environment]` of a layer. `keep` and `unset` add to those of the layers below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentLayer {
    /// Start from nothing.
    pub clear: Option<bool>,
    /// Kept when cleared; `*` at the end matches any rest.
    pub keep: Vec<OsString>,
    /// Removed; `*` at the end matches any rest.
    pub unset: Vec<OsString>,
    /// Set. A variable that a later layer unsets is no longer set.
    pub set: BTreeMap<OsString, OsString>,
}

impl Layer {
    /// Every path that `[filesystem]` names.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let filesystem = &self.filesystem;
        [
            &filesystem.hide,
            &filesystem.read_only,
            &filesystem.read_write,
        ]
        .into_iter()
        .flatten()
    }

    /// The same layer with every path absolute: `~` is `home`, a relative path is below `base` (the
    /// directory of the file that names it, or the working directory for the command line).
    ///
    /// # Errors
    /// [`Error::Usage`] when a path starts with `~` and there is no home.
    pub fn resolve(mut self, base: &Path, home: Option<&Path>) -> Result<Self> {
        let filesystem = &mut self.filesystem;
        let paths = [
            &mut filesystem.hide,
            &mut filesystem.read_only,
            &mut filesystem.read_write,
        ];
        for path in paths.into_iter().flatten() {
            let resolved = absolute(path, base, home)?;
            // Lines are filed under the path as written; file them under what it became too.
            for key in ["hide", "read-only", "read-write"] {
                let written = format!("filesystem.{key}={}", path.display());
                if let Some(line) = self.lines.get(&written).copied() {
                    let became = format!("filesystem.{key}={}", resolved.display());
                    self.lines.insert(became, line);
                }
            }
            *path = resolved;
        }
        if let Some(path) = &mut self.process.chdir {
            *path = absolute(path, base, home)?;
        }
        if let Some(Network::Namespace(path)) = &mut self.network {
            *path = absolute(path, base, home)?;
        }
        if let Some(Seccomp::Profile(name)) = &mut self.process.seccomp
            && names_a_file(name)
        {
            *name = absolute(Path::new(name), base, home)?
                .to_string_lossy()
                .into_owned();
        }
        Ok(self)
    }
}

/// Whether `word` names a file and not something shipped: it has a slash or a known suffix.
pub(crate) fn names_a_file(word: &str) -> bool {
    word.contains('/') || word.ends_with(".toml") || word.ends_with(".json")
}

/// `path` made absolute and free of `.` components; `..` is left to the kernel, for a symbolic link may
/// stand before it.
fn absolute(path: &Path, base: &Path, home: Option<&Path>) -> Result<PathBuf> {
    if let Ok(rest) = path.strip_prefix("~") {
        let Some(home) = home else {
            return Err(Error::usage(
                path.display().to_string(),
                "~ stands for HOME, which is not set to an absolute path",
            ));
        };
        return Ok(home.join(rest).components().collect());
    }
    Ok(base.join(path).components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_from_the_home_or_the_base() {
        let layer = Layer {
            filesystem: FilesystemLayer {
                hide: vec!["~/.ssh".into(), "/run".into(), "~".into(), "a/./b".into()],
                ..FilesystemLayer::default()
            },
            ..Layer::default()
        };
        let layer = layer
            .resolve(Path::new("/work"), Some(Path::new("/home/u")))
            .unwrap();
        let hide: Vec<_> = layer.filesystem.hide.iter().map(|p| p.to_str()).collect();
        assert_eq!(
            hide,
            [
                Some("/home/u/.ssh"),
                Some("/run"),
                Some("/home/u"),
                Some("/work/a/b")
            ]
        );
    }

    #[test]
    fn a_home_path_without_a_home_is_an_error() {
        let layer = Layer {
            filesystem: FilesystemLayer {
                hide: vec!["~/.ssh".into()],
                ..FilesystemLayer::default()
            },
            ..Layer::default()
        };
        let error = layer.resolve(Path::new("/"), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "~/.ssh: ~ stands for HOME, which is not set to an absolute path"
        );
    }
}
