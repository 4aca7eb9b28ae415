//! One launch from policy and request to exit status.

use crate::error::Result;
use crate::policy::Policy;
use crate::request::Request;

/// Run the command of `request` under `policy`; the status to exit with.
///
/// # Errors
/// When the command was not run.
pub fn run(_policy: &Policy, _request: &Request) -> Result<u8> {
    Ok(crate::exit::LAUNCHER_FAILED)
}
