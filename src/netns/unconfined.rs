//! What `ip netns exec` does before it runs a command, done to the calling process, which is to become
//! the command: nothing of it is undone.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::handle::Namespace;
use crate::error::{Error, Result};
use crate::sys::inside;

/// Enter `namespace` with a `/sys` of its own and `files` put over those that they stand in for.
///
/// For a process with one thread that is about to execute something else.
///
/// # Errors
/// When a part of it is refused; the process should then end.
pub fn enter(namespace: &Namespace, files: &[(PathBuf, PathBuf)]) -> Result<()> {
    let failed = |action| move |errno| Error::host(action, namespace.label(), errno);
    if let Some(owner) = namespace.owner() {
        setns(owner, CloneFlags::CLONE_NEWUSER).map_err(failed("enter the user namespace of"))?;
        inside::keep_network_capabilities().map_err(failed("keep capabilities in"))?;
    }
    setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| {
        let advice = (errno == Errno::EPERM).then(|| "run as root".to_owned());
        failed("enter the network namespace")(errno).with_hint(advice)
    })?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("make a mount namespace for"))?;
    let nothing = None::<&str>;
    // What is mounted here stays here; what the host mounts later is still seen.
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        nothing,
    )
    .map_err(failed("cut mounts off for"))?;
    // It shows the links of whoever mounts it. An ordinary user may not uncover what is below.
    let _ = umount2("/sys", MntFlags::MNT_DETACH);
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("sysfs"), "/sys", Some("sysfs"), quiet, nothing)
        .map_err(failed("mount /sys for"))?;
    for (from, to) in files {
        mount(Some(from), to, nothing, MsFlags::MS_BIND, nothing)
            .map_err(|errno| Error::host("put in place", from.display().to_string(), errno))?;
    }
    Ok(())
}
