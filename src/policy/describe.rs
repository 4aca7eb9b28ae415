//! What `sandbox policy` says: list, show, check, explain, diff.

use std::ffi::OsStr;

use crate::error::{Error, Result};
use crate::request::Format;

fn not_yet() -> Result<String> {
    Err(Error::usage("sandbox policy", "not in this build yet"))
}

/// Every policy that can be named.
///
/// # Errors
/// When a directory cannot be read.
pub fn list(_format: Format) -> Result<String> {
    not_yet()
}

/// The whole policy, all layers merged.
///
/// # Errors
/// When it cannot be found or is not valid.
pub fn show(_policy: &OsStr, _format: Format) -> Result<String> {
    not_yet()
}

/// That the policy is valid, and what it widens.
///
/// # Errors
/// When it cannot be found or is not valid.
pub fn check(_policy: &OsStr, _format: Format) -> Result<String> {
    not_yet()
}

/// Each key's value, meaning and the layer it came from; only `key` where one is given.
///
/// # Errors
/// When the policy or the key is not known.
pub fn explain(_policy: &OsStr, _key: Option<&str>, _format: Format) -> Result<String> {
    not_yet()
}

/// What `b` has otherwise than `a`.
///
/// # Errors
/// When either cannot be found or is not valid.
pub fn diff(_a: &OsStr, _b: &OsStr, _format: Format) -> Result<String> {
    not_yet()
}
