//! `sandbox man`: the manual pages, made from the clap definitions.

use clap::Args;

use crate::error::Result;

/// The options of `sandbox man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {}

impl ManArgs {
    /// Print the page; the status to exit with.
    ///
    /// # Errors
    /// When standard output takes no more.
    pub(crate) fn execute(&self) -> Result<u8> {
        let mut page = Vec::new();
        clap_mangen::Man::new(super::command())
            .render(&mut page)
            .map_err(|error| super::unwritten(&error))?;
        super::print(&String::from_utf8_lossy(&page))?;
        Ok(0)
    }
}
