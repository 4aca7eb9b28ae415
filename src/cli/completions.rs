//! `sandbox completions`: the completions of each shell, made from the clap definitions.

use clap::Args;
use clap_complete::Shell;

use crate::error::{Error, Result};

/// The options of `sandbox completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to print the completions for
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    /// Print them; the status to exit with.
    ///
    /// # Errors
    /// When standard output takes no more.
    pub(crate) fn execute(&self) -> Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "sandbox", &mut script);
        let script = String::from_utf8(script)
            .map_err(|_| Error::usage("completions", "the script is no text"))?;
        super::print(&script)?;
        Ok(0)
    }
}
