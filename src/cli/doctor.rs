//! `sandbox doctor`: what this host can give.

use clap::Args;

use crate::error::Result;

/// The options of `sandbox doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print JSON
    ///
    /// Default: a table for people.
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    /// Print what this host can give; the status to exit with.
    ///
    /// # Errors
    /// When standard output takes no more.
    pub(crate) fn execute(&self) -> Result<u8> {
        crate::doctor::main(self.json)
    }
}
