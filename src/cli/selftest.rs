//! `sandbox selftest`: the known escapes, tried inside a sandbox made with the given options.

use clap::Args;

use super::options::PolicyOptions;
use crate::error::Result;
use crate::request::Request;

/// The options of `sandbox selftest`.
#[derive(Debug, Args)]
pub(crate) struct SelftestArgs {
    #[command(flatten)]
    policy: PolicyOptions,

    /// Print JSON
    ///
    /// Default: a table for people.
    #[arg(long, help_heading = "Output")]
    json: bool,
}

impl SelftestArgs {
    /// Try them; the status to exit with.
    ///
    /// # Errors
    /// When the sandbox cannot be made.
    pub(crate) fn execute(self) -> Result<u8> {
        let policy = self.policy.into_policy()?;
        crate::selftest::main(&policy, &Request::default(), self.json)
    }
}
