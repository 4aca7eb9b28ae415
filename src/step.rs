//! The steps of a launch, in the order in which they happen: their names, their words for people
//! and the byte that stands for each on the report channel. Defined once, here.

use std::fmt;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)*) => {
        /// One step between the clone and the command's first instruction.
        ///
        /// Displayed as a verb phrase, so that every message reads "cannot …".
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Step { $($(#[$doc])* $name,)* }

        impl Step {
            /// Every step, in launch order.
            pub const ALL: &'static [Step] = &[$(Step::$name,)*];

            /// What the step does, as a verb phrase.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $(Step::$name => $words,)* }
            }
        }
    };
}

steps! {
    /// setns(2) into an existing network namespace: that of `--net ns:`, or, for the command's process,
    /// the one that the first process has made.
    JoinNetwork = "join the network namespace",
    /// clone3(2) of the sandbox's first process, with all namespaces at once; where there is an init,
    /// the network follows ([`Step::Network`]).
    Clone = "create the namespaces",
    /// `/proc/PID/uid_map` and `gid_map` (user_namespaces(7)).
    IdMaps = "map user and group ids",
    /// clone of the command's process under the init.
    CloneCommand = "create the command's process",
    /// unshare(2) of the network namespace, by the first process while the second one mounts.
    Network = "create the network namespace",
    /// `lo` up, read back.
    Loopback = "bring up the loopback interface",
    /// `net.ipv4.ip_unprivileged_port_start` = 0 in the sandbox's own network (ip(7)).
    LowPorts = "let every port be bound",
    /// Routes, and sockets for the supervisor, by which allowed destinations are reached.
    Egress = "open the ways out",
    /// `user.max_user_namespaces` = 0 inside.
    ForbidUserNamespaces = "forbid nested user namespaces",
    /// Make every mount private to the new mount namespace.
    PrivateMounts = "make the mounts private",
    /// Put files in place of others (`sandbox netns exec`).
    Files = "put in place the file",
    /// Make a path read-only.
    ReadOnly = "make a path read-only",
    /// Make a path writable below a read-only one.
    ReadWrite = "make a path writable",
    /// Mount a fresh `/proc` for the new process namespace.
    Proc = "mount a fresh /proc",
    /// Make `/proc/sys` and its like read-only, and mask what shows the host.
    ProcMasks = "protect parts of /proc",
    /// Mount a fresh `/sys` for the new network namespace.
    Sys = "mount a fresh /sys",
    /// A `/dev` with the harmless nodes only.
    Dev = "mount a minimal /dev",
    /// A `/tmp` of its own.
    PrivateTmp = "mount a private /tmp",
    /// Cover a path with nothing.
    Hide = "hide a path",
    /// sethostname(2) in the new uts namespace.
    Hostname = "set the host name",
    /// A new, empty session keyring (keyctl(2)).
    Keyring = "join a new session keyring",
    /// seccomp(2): the filter below the profile's, whose listener the supervisor gets
    /// (seccomp_unotify(2)).
    Notify = "have connections told to the supervisor",
    /// prlimit(2).
    Limits = "set resource limits",
    /// Put passed descriptors in their places and close all others.
    Descriptors = "arrange the descriptors",
    /// setsid(2).
    Session = "start a new session",
    /// Working directory.
    Chdir = "change to the working directory",
    /// Bounding set, securebits.
    BoundingSet = "drop the capability bounding set",
    /// setgroups(2), setresgid(2), setresuid(2).
    Identity = "change user and group",
    /// Effective, permitted, inheritable and ambient sets, read back.
    Capabilities = "drop capabilities",
    /// prctl(PR_SET_NO_NEW_PRIVS), read back.
    NoNewPrivs = "set no_new_privs",
    /// landlock_restrict_self(2).
    Landlock = "enter the Landlock domain",
    /// prctl(PR_SET_PDEATHSIG).
    ParentDeath = "tie the sandbox to the launcher's life",
    /// The init program takes its place as pid 1.
    Init = "start the sandbox's init",
    /// recvmsg(2) of the socket that the command is to serve (a sandbox of the broker's).
    Receive = "receive the connection",
    /// seccomp(2).
    Seccomp = "install the system-call filter",
    /// rt_sigprocmask(2), signal dispositions.
    Signals = "restore the signal mask",
    /// execve(2) of the command.
    Exec = "execute the command",
}

impl Step {
    /// The step that stands for `byte` on the report channel; `None` for a byte that no step has.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// The byte that stands for this step on the report channel.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_the_wire() {
        for &step in Step::ALL {
            assert_eq!(Step::from_byte(step.to_byte()), Some(step));
        }
        assert_eq!(Step::from_byte(u8::MAX), None);
    }
}
