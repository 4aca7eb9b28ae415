//! A profile in its context, as a table: for each number of one architecture, what happens.
//!
//! Pure. The table is the plain form; the compiled program must say the same for every call, and
//! `tests/filter.rs` proves it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::profile::{CallName, Clause, Profile, Rule, Verdict};
use super::{Arch, CHILD_CALLS, Context, INIT_CALLS, overlay};
use crate::error::{Error, Result};

/// Where the numbers of x32 begin on x86_64 (`__X32_SYSCALL_BIT`); no architecture has calls there.
pub(crate) const X32: u32 = 0x4000_0000;

const ENOSYS: Verdict = Verdict::Errno(38);

/// What happens to one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The kernel's name of the call.
    pub name: &'static str,
    /// Tried in order; the first that matches decides. Each has a condition.
    pub clauses: Vec<Clause>,
    /// The verdict if none does.
    pub otherwise: Verdict,
    /// Why, in order of precedence; empty where only the profile's default speaks.
    pub reasons: Vec<Arc<str>>,
}

impl Call {
    /// The verdict for these arguments.
    #[must_use]
    pub fn verdict(&self, arguments: &[u64; 6]) -> Verdict {
        let clause = self.clauses.iter().find(|clause| clause.matches(arguments));
        clause.map_or(self.otherwise, |clause| clause.verdict)
    }
}

/// A profile in its context: what happens to each call of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The architecture.
    pub arch: Arch,
    /// Every call of the architecture that Linux 6.18 knows, by number.
    pub calls: BTreeMap<u32, Call>,
    /// The verdict for a number below the x32 range that has no call.
    pub unknown: Verdict,
}

impl Table {
    /// The verdict for one call of this architecture.
    #[must_use]
    pub fn verdict(&self, number: u32, arguments: &[u64; 6]) -> Verdict {
        if number >= X32 {
            return ENOSYS;
        }
        self.calls
            .get(&number)
            .map_or(self.unknown, |call| call.verdict(arguments))
    }
}

/// What `profile` says in `context`, call by call.
///
/// # Errors
///
/// [`Error::Usage`] where the profile refuses a call without which nothing could be started
/// ([`CHILD_CALLS`], [`INIT_CALLS`]).
pub fn resolve(profile: &Profile, context: &Context) -> Result<Table> {
    let overlays = overlay::for_context(context)?;
    let mut open: BTreeMap<u32, Draft> = BTreeMap::new();
    for rule in overlays.iter().chain(&profile.rules) {
        if rule.applies.holds(context) {
            apply(rule, context.arch, &mut open);
        }
    }
    // A profile cannot have meant a call that is newer than itself: there its errno would only keep
    // programs from falling back.
    let named = profile.rules.iter().flat_map(|rule| &rule.calls);
    let newest = named
        .filter_map(|call| call.number(context.arch))
        .max()
        .unwrap_or(0);
    let fallback = |number: u32| match profile.default {
        Verdict::Errno(_) if number > newest => ENOSYS,
        verdict => verdict,
    };
    let calls = CallName::all(context.arch)
        .map(|(number, name)| {
            let draft = open.remove(&number).unwrap_or_default();
            let call = Call {
                name,
                clauses: draft.clauses,
                otherwise: draft.closed.unwrap_or_else(|| fallback(number)),
                reasons: draft.reasons,
            };
            (number, call)
        })
        .collect();
    let table = Table {
        arch: context.arch,
        calls,
        unknown: match profile.default {
            Verdict::Errno(_) | Verdict::Allow | Verdict::Log => ENOSYS,
            severe => severe,
        },
    };
    check_own_needs(profile, context, &table)?;
    Ok(table)
}

/// A call while rules are still being added to it.
#[derive(Default)]
struct Draft {
    clauses: Vec<Clause>,
    closed: Option<Verdict>,
    reasons: Vec<Arc<str>>,
}

fn apply(rule: &Rule, arch: Arch, open: &mut BTreeMap<u32, Draft>) {
    for number in rule.calls.iter().filter_map(|call| call.number(arch)) {
        let draft = open.entry(number).or_default();
        if draft.closed.is_some() {
            continue;
        }
        draft.reasons.push(Arc::clone(&rule.reason));
        for clause in &rule.clauses {
            if clause.when.is_empty() {
                draft.closed = Some(clause.verdict);
                break;
            }
            draft.clauses.push(clause.clone());
        }
    }
}

/// The launcher's own calls after the filter is installed must pass.
fn check_own_needs(profile: &Profile, context: &Context, table: &Table) -> Result<()> {
    let refused = |name: &&&str| {
        let call = CallName::find(name)
            .and_then(|call| call.number(context.arch))
            .and_then(|number| table.calls.get(&number));
        // A clause that takes something away from `kill` does not hinder the init.
        !call.is_some_and(|call| {
            call.otherwise.permits() && (call.clauses.is_empty() || **name == "kill")
        })
    };
    let init: &[&str] = if context.as_pid_1 { &[] } else { INIT_CALLS };
    let Some(name) = CHILD_CALLS.iter().chain(init).find(refused) else {
        return Ok(());
    };
    Err(Error::usage(
        format!("seccomp profile \"{}\"", profile.name),
        format!(
            "it must allow {name} whatever its arguments: the launcher itself needs it after the \
             filter is installed"
        ),
    ))
}
