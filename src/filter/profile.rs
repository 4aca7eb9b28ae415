//! A profile as a value: rules in order, each for some calls, each with its reason.
//!
//! Pure data without I/O. A [`Profile`] holds only calls that exist, arguments 0 to 5 and errno
//! values that fit, because the parsers ([`super::parse_profile`], [`super::parse_oci`]) checked them.

use std::fmt;
use std::sync::Arc;

use super::numbers::{NONE, TABLE};
use super::{Arch, constants};

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is made.
    Allow,
    /// It is made, and the kernel logs it (`SECCOMP_RET_LOG`, Linux 4.14).
    Log,
    /// It is not made and fails with this errno; 0 is "not made, and returns 0".
    Errno(u16),
    /// SIGSYS, which the program may handle.
    Trap,
    /// The calling thread dies.
    KillThread,
    /// The whole process dies of SIGSYS (Linux 4.14).
    KillProcess,
}

impl Verdict {
    /// The filter's return value (`SECCOMP_RET_*` with data).
    #[must_use]
    pub const fn action(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Log => libc::SECCOMP_RET_LOG,
            Self::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
            Self::Trap => libc::SECCOMP_RET_TRAP,
            Self::KillThread => libc::SECCOMP_RET_KILL_THREAD,
            Self::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }

    /// The verdict that a filter's return value stands for; as the kernel does, anything unknown is
    /// [`Verdict::KillProcess`].
    #[must_use]
    pub const fn from_action(action: u32) -> Self {
        match action & libc::SECCOMP_RET_ACTION_FULL {
            libc::SECCOMP_RET_ALLOW => Self::Allow,
            libc::SECCOMP_RET_LOG => Self::Log,
            libc::SECCOMP_RET_ERRNO => Self::Errno((action & libc::SECCOMP_RET_DATA) as u16),
            libc::SECCOMP_RET_TRAP => Self::Trap,
            libc::SECCOMP_RET_KILL_THREAD => Self::KillThread,
            _ => Self::KillProcess,
        }
    }

    /// Whether the call is made.
    #[must_use]
    pub const fn permits(self) -> bool {
        matches!(self, Self::Allow | Self::Log)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => f.write_str("allow"),
            Self::Log => f.write_str("log"),
            Self::Errno(0) => f.write_str("succeed"),
            Self::Errno(errno) => match constants::errno_name(*errno) {
                Some(name) => write!(f, "errno {name}"),
                None => write!(f, "errno {errno}"),
            },
            Self::Trap => f.write_str("trap"),
            Self::KillThread => f.write_str("kill-thread"),
            Self::KillProcess => f.write_str("kill"),
        }
    }
}

/// How much of an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// The low 32 bits, as the kernel does where it takes an int: garbage above changes nothing.
    Low32,
    /// All 64 bits.
    Full64,
}

/// How an argument is compared with a value; always unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Equal after both have been masked.
    Masked(u64),
}

/// One test of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// How much of it.
    pub width: Width,
    /// How.
    pub test: Test,
    /// With what.
    pub value: u64,
}

impl Condition {
    /// Whether the arguments of a call pass.
    #[must_use]
    pub fn holds(&self, arguments: &[u64; 6]) -> bool {
        let keep = match self.width {
            Width::Low32 => u64::from(u32::MAX),
            Width::Full64 => u64::MAX,
        };
        let argument = arguments[usize::from(self.argument)] & keep;
        let value = self.value & keep;
        match self.test {
            Test::Eq => argument == value,
            Test::Ne => argument != value,
            Test::Lt => argument < value,
            Test::Le => argument <= value,
            Test::Gt => argument > value,
            Test::Ge => argument >= value,
            Test::Masked(mask) => argument & mask == value & mask,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arg{}", self.argument)?;
        if self.width == Width::Full64 {
            f.write_str(":64")?;
        }
        let word = match self.test {
            Test::Eq => "==",
            Test::Ne => "!=",
            Test::Lt => "<",
            Test::Le => "<=",
            Test::Gt => ">",
            Test::Ge => ">=",
            Test::Masked(mask) => return write!(f, " & {mask:#x} == {:#x}", self.value & mask),
        };
        write!(f, " {word} {:#x}", self.value)
    }
}

/// A verdict for the calls whose arguments pass every condition; without conditions, for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// All must hold.
    pub when: Vec<Condition>,
    /// Then this.
    pub verdict: Verdict,
}

impl Clause {
    /// Whether the arguments of a call pass every condition.
    #[must_use]
    pub fn matches(&self, arguments: &[u64; 6]) -> bool {
        self.when.iter().all(|condition| condition.holds(arguments))
    }
}

/// A system call that exists on some architecture: a row of the number table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallName(u16);

impl CallName {
    /// The call of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let row = TABLE
            .binary_search_by(|(known, ..)| (*known).cmp(name))
            .ok()?;
        u16::try_from(row).ok().map(Self)
    }

    /// The kernel's name of the call.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE[usize::from(self.0)].0
    }

    /// Its number; `None` where the architecture has no such call.
    #[must_use]
    pub fn number(self, arch: Arch) -> Option<u32> {
        let (_, x86_64, aarch64) = TABLE[usize::from(self.0)];
        let number = match arch {
            Arch::X86_64 => x86_64,
            Arch::Aarch64 => aarch64,
        };
        (number != NONE).then_some(u32::from(number))
    }

    /// Every call of an architecture.
    pub(crate) fn all(arch: Arch) -> impl Iterator<Item = (u32, &'static str)> {
        (0..TABLE.len()).filter_map(move |row| {
            let call = Self(u16::try_from(row).ok()?);
            Some((call.number(arch)?, call.name()))
        })
    }
}

/// When a rule applies at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applies {
    /// Only where the command keeps all of these capabilities.
    pub with_capabilities: Vec<u8>,
    /// Not where the command keeps any of these.
    pub without_capabilities: Vec<u8>,
    /// Only on these architectures; empty means all.
    pub architectures: Vec<Arch>,
    /// Not on these.
    pub not_architectures: Vec<Arch>,
    /// Only from this kernel on.
    pub min_kernel: Option<(u16, u16)>,
    /// Only before this kernel.
    pub before_kernel: Option<(u16, u16)>,
    /// Never: it is for architectures that we do not have, or contradicts itself.
    pub never: bool,
}

impl Applies {
    pub(crate) fn holds(&self, context: &super::Context) -> bool {
        let kept = |capability: &u8| context.cap_add.contains(capability);
        !self.never
            && self.with_capabilities.iter().all(kept)
            && !self.without_capabilities.iter().any(kept)
            && (self.architectures.is_empty() || self.architectures.contains(&context.arch))
            && !self.not_architectures.contains(&context.arch)
            && self.min_kernel.is_none_or(|least| context.kernel >= least)
            && self
                .before_kernel
                .is_none_or(|first| context.kernel < first)
    }
}

/// What a profile says about some calls, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which calls.
    pub calls: Vec<CallName>,
    /// Tried in order; the first that matches decides. If none does, the next rule of the same call.
    pub clauses: Vec<Clause>,
    /// Why.
    pub reason: Arc<str>,
    /// When the rule applies.
    pub applies: Applies,
}

/// A system-call profile: for each call, the first clause that matches in the first rule that has
/// one; for all others, the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name or file it came from.
    pub name: String,
    /// One line saying for whom it is.
    pub description: String,
    /// The verdict for calls that no rule decides.
    pub default: Verdict,
    /// In order of precedence.
    pub rules: Vec<Rule>,
    /// Names in an imported profile that are no calls of our architectures: without effect.
    pub ignored: Vec<String>,
}
