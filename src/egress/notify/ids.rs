//! As whom the thread acts: what it gives up before it takes the first call, and what it connects with.
#![forbid(unsafe_code)]

use std::collections::HashSet;

use caps::Capability;
use nix::errno::Errno;
use nix::unistd::{getegid, geteuid};

use crate::confine::{self, ChangesIds};
use crate::plan::Plan;
use crate::prepare::Identity;
use crate::sys::notify;

/// As whom the thread acts.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    /// The command's, where they are not the launcher's own.
    command: Option<Identity>,
    /// Kept capabilities.
    kept: HashSet<Capability>,
}

impl Ids {
    pub(super) fn of(plan: &Plan) -> Self {
        let other = |identity: &&Identity| {
            (identity.uid, identity.gid) != (geteuid().as_raw(), getegid().as_raw())
        };
        let command = plan.identity.as_ref().filter(other).cloned();
        let mut kept = HashSet::new();
        // Over a user namespace of its own making this process has every capability, without one to its
        // name (user_namespaces(7)).
        if !plan.user_namespace {
            kept.insert(Capability::CAP_NET_ADMIN);
            if command.is_some() {
                kept.insert(Capability::CAP_SYS_PTRACE);
            }
        }
        let held = caps::read(None, caps::CapSet::Permitted).unwrap_or_default();
        kept.retain(|capability| held.contains(capability));
        Self { command, kept }
    }

    /// Take the ids, and give up what is not needed. The effective user stays the launcher's, who owns
    /// the sandbox's user namespace and so may look into it.
    fn assume(&self) -> std::result::Result<(), Errno> {
        if let Some(Identity { uid, gid, groups }) = &self.command {
            let own = geteuid().as_raw();
            notify::set_own_groups(*gid, groups)?;
            notify::set_own_user(*uid, own, own)?;
            notify::set_file_user(*uid);
        }
        confine::limit_capabilities(&self.kept)
    }

    /// Take the ids and give up every call that connecting does not need.
    pub(super) fn confine(&self) -> std::result::Result<(), Errno> {
        self.assume()?;
        confine::confine_connecting(match self.command {
            Some(_) => ChangesIds::Yes,
            None => ChangesIds::No,
        })
    }

    /// Make a call as the command: a Unix socket's file asks whose it is, and its other end learns who
    /// came.
    pub(super) fn as_command(
        &self,
        call: impl FnOnce() -> std::result::Result<(), Errno>,
    ) -> std::result::Result<(), Errno> {
        const AS_IT_IS: u32 = u32::MAX;
        let Some(Identity { uid, .. }) = &self.command else {
            return call();
        };
        let own = geteuid().as_raw();
        notify::set_own_user(AS_IT_IS, *uid, AS_IT_IS)?;
        let made = call();
        notify::set_own_user(AS_IT_IS, own, AS_IT_IS)?;
        notify::set_file_user(*uid);
        made
    }
}
