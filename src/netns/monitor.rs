//! Names as they come and go: inotify(7) on the directory of names.
#![forbid(unsafe_code)]

use std::fmt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde::Serialize;

use super::name::NamespaceName;
use super::named;
use crate::error::{Error, Result};

/// What happened to a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "event", content = "name")]
pub enum Event {
    /// It came.
    Add(NamespaceName),
    /// It went.
    Delete(NamespaceName),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(name) => write!(f, "add {name}"),
            Self::Delete(name) => write!(f, "delete {name}"),
        }
    }
}

/// Call `tell` with every change from now on, until it fails.
///
/// # Errors
/// When the directory cannot be watched, or what `tell` says.
pub fn watch(mut tell: impl FnMut(Event) -> Result<()>) -> Result<()> {
    let directory = named::prepare()?;
    let failed = |errno| Error::host("watch", directory.display().to_string(), errno);
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).map_err(failed)?;
    let wanted = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
    inotify
        .add_watch(Path::new(&directory), wanted)
        .map_err(failed)?;
    loop {
        let events = match inotify.read_events() {
            Err(Errno::EINTR) => continue,
            events => events.map_err(failed)?,
        };
        for event in events {
            let name = event.name.as_deref().and_then(NamespaceName::of_entry);
            let Some(name) = name else { continue };
            tell(if event.mask.contains(AddWatchFlags::IN_CREATE) {
                Event::Add(name)
            } else {
                Event::Delete(name)
            })?;
        }
    }
}
