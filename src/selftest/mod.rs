//! The known escapes, tried inside a sandbox made with the given options.

use crate::error::Result;
use crate::policy::Policy;
use crate::request::Request;

/// Run every attempt inside such a sandbox and print HELD or OPEN for each.
///
/// # Errors
/// When the sandbox cannot be made.
pub fn main(_policy: &Policy, _request: &Request, _json: bool) -> Result<u8> {
    Ok(crate::exit::LAUNCHER_FAILED)
}
