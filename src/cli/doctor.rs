//! `sandbox doctor`: what this host can give.

use clap::Args;

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
    pub(crate) fn execute(&self) -> u8 {
        crate::doctor::main(self.json)
    }
}
