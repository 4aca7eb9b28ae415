//! Which system calls the sandbox may make: profiles as data, compiled to a short BPF program.
//!
//! Runs in the launcher, before the clone; pure but for [`load`], which may read one file. The child
//! only installs the finished [`Program`] (seccomp(2), Linux 3.17).
//!
//! ```text
//! policies/seccomp/NAME.toml ─┐
//! a file of ours (toml) ──────┼─► Profile ──(Context)──► Table ──► Graph ──► Program
//! OCI / Docker JSON (oci) ────┘            resolve              compile  lay out
//! ```
//!
//! The kernel walks the program once for every call number when it is installed (for its cache of
//! calls that are always allowed), so the cost is numbers × path length. Hence the shape: the
//! architecture word first, then one balanced tree over *ranges* of numbers, and behind its leaves
//! the few calls whose arguments matter, as seccompiler compiles them.
//!
//! Two things hold for every program, whatever the profile says: a call of a foreign architecture
//! (`int 0x80` on x86_64, AArch32 on aarch64) kills the process, and a number from `0x4000_0000` up
//! (x32) is ENOSYS. A number that has no call, or one newer than every call that the profile names,
//! is ENOSYS too, never EPERM, so that run-time libraries fall back (unless the profile's default is to
//! kill).
//!
//! ```
//! use sandbox::filter::{self, Context, Verdict};
//!
//! let profile = filter::load("default")?;
//! let context = Context::default();
//! let program = filter::compile(&profile, &context)?;
//! let clone3 = filter::number("clone3", context.arch).expect("every architecture has clone3");
//! assert_eq!(
//!     filter::interpret(&program, context.arch.audit_word(), clone3, &[0; 6]),
//!     Verdict::Errno(38), // ENOSYS: its flags are behind a pointer
//! );
//! # Ok::<(), sandbox::Error>(())
//! ```

mod beyond;
mod compile;
mod constants;
mod expression;
mod graph;
mod interpret;
mod notify;
mod numbers;
mod oci;
mod overlay;
mod parse;
mod precompiled;
mod profile;
mod program;
mod resolve;

use std::path::{Path, PathBuf};

use nix::errno::Errno;

pub(crate) use beyond::{Beyond, Fate, beyond, verdict_of};
pub(crate) use compile::allow_only;
pub use compile::compile;
pub use interpret::interpret;
pub(crate) use notify::{Tells, Underlay, underlay};
pub use oci::parse_oci;
pub use parse::parse_profile;
pub use profile::{Clause, Condition, Profile, Rule, Test, Verdict, Width};
pub use program::Program;
pub use resolve::{Call, Table, resolve};

use crate::error::{Error, Result};

/// A machine whose system calls we have tables for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// 64-bit x86, without x32.
    X86_64,
    /// 64-bit ARM, little-endian.
    Aarch64,
}

impl Arch {
    /// Both.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The architecture that this program was built for.
    #[must_use]
    pub const fn native() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            Self::X86_64
        }
        #[cfg(target_arch = "aarch64")]
        {
            Self::Aarch64
        }
    }

    /// `AUDIT_ARCH_*`: what the kernel puts into `seccomp_data.arch` for this architecture's calls.
    #[must_use]
    pub const fn audit_word(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// The kernel's name ("x86_64", "aarch64").
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// What a launch adds to its profile: where the filter runs, and what lies inside the sandbox that
/// the profile's author could not know.
///
/// Each switch only ever takes away (`policies/seccomp/overlays/`), except `cap_add`, which lets the
/// profile's rules for kept capabilities apply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one launch"
)]
pub struct Context {
    /// The architecture compiled for.
    pub arch: Arch,
    /// The running kernel's version (major, minor), for `minKernel` in OCI profiles.
    pub kernel: (u16, u16),
    /// No socket can be made or re-aimed (`--net fds`): `socket`, `connect`, `bind`, `sendmsg`,
    /// `sendmmsg` and `sendto` with an address are refused, `listen` does nothing and succeeds;
    /// reading, writing and accepting on passed sockets work, and `socketpair` stays.
    pub no_sockets: bool,
    /// The command is pid 1 itself, so that the filter need not let our init do its work.
    pub as_pid_1: bool,
    /// Refuse signals (and priorities) to "my own process group", because the launcher is in it.
    pub refuse_group_signals: bool,
    /// A socket of the host's network namespace is inside: refuse what could re-aim it, and the
    /// network ioctls (`docs/decisions/0001-host-sockets.md`).
    pub host_sockets: bool,
    /// Such a socket is a datagram socket: refuse every way to send with an address, too.
    pub host_datagrams: bool,
    /// Connected sockets of the host's network are given to the command (`--egress direct`): refuse what
    /// could re-aim one, as far as a filter sees it.
    pub direct: bool,
    /// Processes of the host can be seen (no pid namespace): refuse to trace or open them.
    pub host_processes: bool,
    /// Capabilities that the command keeps, by number (capabilities(7)).
    pub cap_add: Vec<u8>,
}

impl Default for Context {
    /// The native architecture and a kernel that has everything; no switch is on.
    fn default() -> Self {
        Self {
            arch: Arch::native(),
            kernel: (u16::MAX, u16::MAX),
            no_sockets: false,
            as_pid_1: false,
            refuse_group_signals: false,
            host_sockets: false,
            direct: false,
            host_datagrams: false,
            host_processes: false,
            cap_add: Vec::new(),
        }
    }
}

/// Calls that the launcher's child makes between the filter's installation and the command's first
/// instruction; every profile must allow them whatever their arguments.
pub const CHILD_CALLS: &[&str] = &[
    "write",
    "close",
    "rt_sigaction",
    "rt_sigprocmask",
    "execve",
    "execveat",
    "exit_group",
];

/// Calls that the sandbox's init makes under the same filter; needed unless the command is pid 1.
pub const INIT_CALLS: &[&str] = &["read", "kill", "wait4", "waitid", "rt_sigtimedwait"];

macro_rules! builtin {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../policies/seccomp/", $name, ".toml"))),)*]
    };
}

const BUILTIN: &[(&str, &str)] = builtin![
    "default",
    "strict",
    "worker",
    "connection",
    "build",
    "agent",
    "browser"
];

/// The names of the profiles shipped with the program.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// The text of a profile shipped with the program.
#[must_use]
pub fn builtin_text(name: &str) -> Option<&'static str> {
    BUILTIN
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// The program for a profile by name or path: [`load`], then [`compile`].
///
/// For a shipped profile in a context without switches or capabilities on the native architecture,
/// which is what most launches ask for, the program is in the binary already, and nothing is parsed.
///
/// # Errors
///
/// Those of [`load`] and [`compile`].
pub fn program(name_or_path: &str, context: &Context) -> Result<Program> {
    if let Some(program) = precompiled::find(name_or_path, context) {
        return Ok(program);
    }
    compile(&load(name_or_path)?, context)
}

/// The number of a system call on an architecture; `None` where it has no such call.
#[must_use]
pub fn number(name: &str, arch: Arch) -> Option<u32> {
    profile::CallName::find(name).and_then(|call| call.number(arch))
}

/// The profile shipped under this name, or the one in this file: ours (TOML), or in the OCI runtime's
/// or Docker's JSON format.
///
/// A word without a slash that is a shipped name means that profile; anything else is a path. A file
/// whose first character is `{` is JSON.
///
/// # Errors
///
/// [`Error::Host`] where the file cannot be read, [`Error::Policy`] with the position where it is not
/// valid, [`Error::Usage`] for a word that is neither a name nor a path.
pub fn load(name_or_path: &str) -> Result<Profile> {
    if let Some(text) = builtin_text(name_or_path) {
        return parse_profile(Path::new(name_or_path), text);
    }
    let path = Path::new(name_or_path);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_word(name_or_path) => {
            return Err(unknown_name(name_or_path));
        }
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(invalid(path, "the file is not UTF-8 text"));
        }
        Err(error) => {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            return Err(Error::host("read seccomp profile", name_or_path, errno));
        }
    };
    if is_oci(&text) {
        return oci::parse_file(path, &text);
    }
    parse_profile(path, &text)
}

/// Whether a profile's text is in the OCI format, and not in ours.
pub(crate) fn is_oci(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn is_word(name: &str) -> bool {
    !name.contains('/') && !name.contains('.')
}

fn unknown_name(name: &str) -> Error {
    let known: Vec<&str> = builtin_names().collect();
    let advice = constants::nearest(name, known.iter().copied())
        .map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
    Error::usage(
        format!("seccomp profile \"{name}\""),
        format!(
            "no such profile, and no such file{advice} (shipped: {}; \"off\" for none)",
            known.join(", ")
        ),
    )
}

fn invalid(file: &Path, reason: impl Into<String>) -> Error {
    Error::Policy {
        file: PathBuf::from(file),
        line: 1,
        column: 1,
        reason: reason.into(),
    }
}
