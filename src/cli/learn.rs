//! `sandbox learn -o FILE [OPTIONS] -- COMMAND…`: the options of a launch, and where what is learned goes.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::run::RunArgs;
use crate::error::{Error, Result};
use crate::learn::Learning;
use crate::policy::layer::names_a_file;
use crate::request::{Learn, LearnTarget, Replaces};

const EXAMPLES: &str = "\
Examples:
  Learn what a build fetches, then hold it to that:
      sandbox learn -o build.toml -- make
      sandbox --policy ./build.toml -- make
  See what a program would like to reach, without letting it:
      sandbox learn -o - --deny-while-learning -- ./installer
  Let it also use one Unix socket of the host, and learn whether it does:
      sandbox learn -o app.toml --allow unix:/run/postgresql/.s.PGSQL.5432 -- ./app

See docs/egress.md for what is learned and what stays refused.";

/// Run a command, and write the policy under which the same run would pass.
#[derive(Debug, Args)]
#[command(
    override_usage = "sandbox learn -o FILE [OPTIONS] [--] COMMAND [ARG]...",
    after_long_help = EXAMPLES
)]
pub(crate) struct LearnArgs {
    #[command(flatten)]
    learn: LearnOptions,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Learning")]
struct LearnOptions {
    /// Write the policy to FILE, or to standard output where it is "-"
    ///
    /// Written once the command has ended, whatever its status, and whole or not at all. A file that is
    /// there already is an error before anything runs; see --force.
    #[arg(short, long, value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    output: PathBuf,

    /// Replace FILE if it is there
    ///
    /// Off by default.
    #[arg(long)]
    force: bool,

    /// Refuse what the options do not allow, and write it down all the same
    ///
    /// Nothing is looked up or dialled for it. Off by default: every destination is reached, save those
    /// that only an express rule opens (the host's loopback, private networks, metadata services) and
    /// what --deny names. Danger: without this option the command may send anything to anybody.
    #[arg(long)]
    deny_while_learning: bool,
}

impl LearnArgs {
    /// Run the command; its status.
    ///
    /// # Errors
    /// When it was not run, or what was learned could not be written.
    pub(crate) fn execute(self) -> Result<u8> {
        let LearnOptions {
            output,
            force,
            deny_while_learning,
        } = self.learn;
        let learn = Learn {
            learning: match deny_while_learning {
                true => Learning::Denying,
                false => Learning::Permitting,
            },
            target: match output.as_os_str() == "-" {
                true => LearnTarget::Standard,
                false => LearnTarget::File(output),
            },
            replaces: match force {
                true => Replaces::Yes,
                false => Replaces::No,
            },
            extends: extended(self.run.base())?,
        };
        self.run.execute_learning(learn)
    }
}

/// The policy of the run, as another file may name it from wherever it lies.
fn extended(base: Option<&OsStr>) -> Result<OsString> {
    let base = base.unwrap_or(OsStr::new("default"));
    if !names_a_file(&base.to_string_lossy()) {
        return Ok(base.to_owned());
    }
    let path = std::fs::canonicalize(base).map_err(|error| {
        Error::host(
            "open",
            base.to_string_lossy().into_owned(),
            super::errno(&error),
        )
    })?;
    Ok(path.into_os_string())
}
