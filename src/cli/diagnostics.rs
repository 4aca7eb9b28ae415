//! Each step of a launch that can fail: why it does, and what to do. The manual page's DIAGNOSTICS.
//!
//! Pure data. What to do on *this* host, where that can be told, is the hint that goes with the
//! message ([`crate::doctor`]).

use crate::step::Step;

/// Why a step fails, and what to do about it.
pub(super) struct Diagnostic {
    /// The usual cause.
    pub(super) cause: &'static str,
    /// The remedy.
    pub(super) remedy: &'static str,
}

/// What the manual page says of `step`. No arm is left to a wildcard: a new step has to be explained.
pub(super) fn of(step: Step) -> Diagnostic {
    let (cause, remedy) = match step {
        Step::Clone => (
            "The host does not let this user make user namespaces (a sysctl, a security module, a container's own filter), or a limit of namespaces is reached.",
            "sandbox doctor names what blocks it and the line that lifts it; as root, --userns no does without a user namespace.",
        ),
        Step::JoinNetwork => (
            "The namespace named by --net ns: is not one, or belongs to a user namespace in which the caller has no rights: the host's, another user's, or one outside of that in which sandbox runs.",
            "The hint names whose it is. Check the name with ip netns list; joining a namespace of the host needs root, one of another user that user or root.",
        ),
        Step::IdMaps => (
            "The kernel refused the map of user or group ids: the file system is mounted read-only, or a security module forbids it.",
            "sandbox doctor; as root, --userns no.",
        ),
        Step::CloneCommand => (
            "A limit of processes is reached: --limit nproc, pids in a control group, or the host's own.",
            "Raise the limit.",
        ),
        Step::Network => (
            "The limit user.max_net_namespaces is reached, or the host takes capabilities from unprivileged user namespaces.",
            "sandbox doctor names the limit or the security module; as root, --userns no.",
        ),
        Step::Loopback => (
            "The network namespace was made, but its loopback interface stayed down; some hosts take capabilities from unprivileged user namespaces at this point.",
            "sandbox doctor names the security module; --net none needs no interface.",
        ),
        Step::LowPorts => (
            "/proc/sys is read-only here, as in containers; and a published port below 1024, or with --userns no a name that is met later, needs a setting of the sandbox's own network there.",
            "Publish another port, or give the command --cap-add NET_BIND_SERVICE; leave --userns no out.",
        ),
        Step::Egress => (
            "A route or a socket that --allow needs could not be made inside: a limit of descriptors (--limit nofile), or the host takes capabilities from unprivileged user namespaces.",
            "Name fewer ports; sandbox doctor names the security module; as root, --userns no.",
        ),
        Step::PrivateMounts => (
            "The mount namespace cannot be cut from the host's: the host takes capabilities from unprivileged user namespaces.",
            "sandbox doctor; --share mount does without one and loses all that hides files.",
        ),
        Step::Files => (
            "A file of /etc/netns/NAME cannot stand in for the one of /etc that it is called after: one is a file and the other a directory, or one of them is gone.",
            "Make the two alike, or remove the one in /etc/netns/NAME.",
        ),
        Step::Proc => (
            "The host covers parts of /proc, as containers do, and the kernel then refuses a fresh one to an unprivileged user.",
            "--proc host accepts the host's, with its processes in view; or start the container with an uncovered /proc.",
        ),
        Step::ProcMasks => (
            "A part of /proc could not be covered or made read-only.",
            "--proc host leaves /proc alone; sandbox doctor says what the host allows.",
        ),
        Step::Sys => (
            "The host covers parts of /sys, and the kernel then refuses a fresh one to an unprivileged user.",
            "--sys host accepts the host's, with its devices in view.",
        ),
        Step::Dev => (
            "The minimal /dev could not be mounted: a node is missing on the host, or mounting is forbidden.",
            "--dev host leaves the host's in place.",
        ),
        Step::Hide => (
            "The path that --hide or the policy names does not exist, or cannot be covered.",
            "Correct the path; sandbox policy explain says which layer names it.",
        ),
        Step::ReadOnly => (
            "The path does not exist, or the kernel refused to change its mount.",
            "Correct the path; sandbox policy explain says which layer names it.",
        ),
        Step::ReadWrite => (
            "The path does not exist, or is read-only on the host already.",
            "Correct the path, or make it writable outside first.",
        ),
        Step::PrivateTmp => (
            "A memory file system could not be mounted over /tmp.",
            "Leave --private-tmp out, or use --private-tmp=no over a policy that has it.",
        ),
        Step::Hostname => (
            "The host name could not be set in the sandbox's own uts namespace.",
            "Leave --hostname out, or do not share uts.",
        ),
        Step::ForbidUserNamespaces => (
            "The limit of nested user namespaces could not be written: /proc/sys is read-only or covered here.",
            "sandbox doctor; --best-effort leaves it to the system-call filter.",
        ),
        Step::Keyring => (
            "The session keyring could not be replaced: the quota of keys is used up.",
            "Raise kernel.keys.maxkeys, or wait until the kernel has collected old keyrings.",
        ),
        Step::Notify => (
            "A filter with a listener is installed around sandbox already (a container's, or another tool's), of which there can be one only, or the kernel has none.",
            "sandbox doctor; --unix-sockets any does without it, and leaves the host's Unix sockets to be hidden by mounts alone.",
        ),
        Step::Limits => (
            "A hard limit cannot be raised without privilege.",
            "Ask for no more than ulimit -H shows.",
        ),
        Step::Descriptors => (
            "A passed descriptor is not open, or there are more than the limit of open files allows.",
            "Check the numbers of --pass-fd and --limit nofile.",
        ),
        Step::Session => (
            "A new session could not be started.",
            "Leave --new-session out.",
        ),
        Step::Chdir => (
            "The directory does not exist inside the sandbox: it is hidden, or the caller may not enter it.",
            "Name one that exists with --chdir; the caller's own directory is the default.",
        ),
        Step::BoundingSet => (
            "The capability bounding set could not be emptied.",
            "sandbox doctor; a security module must be in the way.",
        ),
        Step::Identity => (
            "The user or group cannot be changed: it is not mapped in the user namespace, or the caller is not root.",
            "Run as root for --user and --group.",
        ),
        Step::Capabilities => (
            "Capabilities could not be dropped, or were still there when read back.",
            "Report it: this must not happen on any kernel that is supported.",
        ),
        Step::NoNewPrivs => (
            "The kernel did not accept, or did not show, no_new_privs.",
            "Report it: this must not happen on any kernel that is supported.",
        ),
        Step::Landlock => (
            "The kernel has Landlock and yet refused the domain.",
            "--best-effort does without it: namespaces stay the first wall.",
        ),
        Step::ParentDeath => (
            "The launcher was gone before the sandbox was tied to its life.",
            "Nothing to do: whoever killed the launcher stopped the launch.",
        ),
        Step::Init => (
            "The sandbox's first process could not take its place.",
            "--as-pid-1 does without it.",
        ),
        Step::Receive => (
            "What the broker sent to a sandbox that serves one connection was no connected socket.",
            "Report it: the broker sends nothing else. The connection is closed.",
        ),
        Step::Seccomp => (
            "The kernel has no system-call filters, or refused this one.",
            "sandbox doctor; --best-effort does without it.",
        ),
        Step::Signals => (
            "The caller's signal mask could not be put back.",
            "Report it: this must not happen on any kernel that is supported.",
        ),
        Step::Exec => (
            "The command is not executable, its interpreter is missing, or it is hidden inside. Exit status 126 or 127.",
            "Check the file, its first line and its permissions as the command's user would see them.",
        ),
    };
    Diagnostic { cause, remedy }
}
