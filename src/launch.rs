//! Plan, then act: what the program ([`crate::run`]) and the library ([`crate::Sandbox`]) share.
#![forbid(unsafe_code)]

use nix::errno::Errno;
use tracing::info;

use crate::error::{Error, Result};
use crate::lower::Lowered;
use crate::plan::{self, Plan, Situation};
use crate::policy::{Policy, Strictness, UserNamespace};
use crate::probe::CAP_SYS_ADMIN;
use crate::spawn::{self, Launch, Order, Spawned};
use crate::step::Step;

/// The plan for what is left of a policy.
///
/// # Errors
/// As for [`plan::plan`].
pub(crate) fn plan(lowered: &Lowered<'_>, situation: &Situation) -> Result<Plan> {
    plan_with(lowered, &lowered.policy, situation)
}

fn plan_with(lowered: &Lowered<'_>, policy: &Policy, situation: &Situation) -> Result<Plan> {
    let mut plan = plan::plan(policy, situation)?;
    plan.network_namespace &= lowered.network_namespace;
    plan.forbids_user_namespaces &= lowered.forbids_user_namespaces;
    plan.losses.clone_from(&lowered.losses);
    Ok(plan)
}

/// Launch `plan`. The plan that was launched comes back ([`start`]).
///
/// # Errors
/// When a step failed; nothing is left then.
pub(crate) fn launch<'a>(
    lowered: &Lowered<'_>,
    situation: &Situation,
    plan: Plan,
    order: impl Fn() -> Order<'a>,
) -> Result<(Plan, Spawned)> {
    let (other, launch) = start(lowered, situation, &plan, order)?;
    let plan = other.unwrap_or(plan);
    let spawned = launch.finish(&plan)?;
    Ok((plan, spawned))
}

/// The first half of a launch. For root on a host without user namespaces a second plan does without
/// one, as `--userns=auto` means, and comes back as the one to go on with.
///
/// # Errors
/// When it came to no clone.
pub(crate) fn start<'a>(
    lowered: &Lowered<'_>,
    situation: &Situation,
    plan: &Plan,
    order: impl Fn() -> Order<'a>,
) -> Result<(Option<Plan>, Launch)> {
    match spawn::start(plan, order()) {
        Ok(launch) => Ok((None, launch)),
        Err(error) if may_do_without_user_namespace(&lowered.policy, situation, &error) => {
            info!("this host gives root no user namespace: going on without");
            let policy = Policy {
                user_namespace: UserNamespace::No,
                ..lowered.policy.as_ref().clone()
            };
            let plan = plan_with(lowered, &policy, situation)?;
            let launch = spawn::start(&plan, order())?;
            Ok((Some(plan), launch))
        }
        Err(error) => Err(error),
    }
}

fn may_do_without_user_namespace(policy: &Policy, situation: &Situation, error: &Error) -> bool {
    let refused = matches!(
        error,
        Error::Step {
            step: Step::Clone,
            errno: Errno::EPERM | Errno::ENOSPC | Errno::EUSERS | Errno::EINVAL,
            ..
        }
    );
    refused
        && policy.user_namespace == UserNamespace::Auto
        && policy.strictness < Strictness::Full
        && situation.support.has(CAP_SYS_ADMIN)
}
