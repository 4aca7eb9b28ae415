//! `sandbox policy`: what policies there are, and what one means.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueHint};

use crate::error::Result;
use crate::policy::describe;
use crate::request::Format;

/// The options of `sandbox policy`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = false)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,

    /// Print JSON
    ///
    /// Default: text for people.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the policies that can be named, and where each comes from
    List,
    /// Print a policy with all its layers merged
    Show {
        /// The policy, by name or file
        #[arg(value_name = "NAME|FILE", default_value = "default", value_hint = ValueHint::FilePath)]
        policy: OsString,
    },
    /// Say whether a policy is valid, and what it widens
    Check {
        /// The policy, by name or file
        #[arg(value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
        policy: OsString,
    },
    /// Say each key's value, its meaning and where it came from
    Explain {
        /// The policy, by name or file
        #[arg(value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
        policy: OsString,
        /// Only this key, as in network.mode
        #[arg(value_name = "KEY")]
        key: Option<String>,
    },
    /// Say whether a policy lets a command reach a destination; the status is 1 if not
    Test {
        /// The policy, by name or file
        #[arg(value_name = "NAME|FILE", value_hint = ValueHint::FilePath)]
        policy: OsString,
        /// HOST:PORT, IP:PORT or [IPv6]:PORT, after udp:// by UDP, or unix:PATH
        #[arg(value_name = "DEST", value_hint = ValueHint::Hostname)]
        destination: OsString,
    },
    /// Say what a policy has otherwise than another
    Diff {
        /// The policy to compare with, by name or file
        #[arg(value_name = "OLD", value_hint = ValueHint::FilePath)]
        old: OsString,
        /// The policy that is compared, by name or file
        #[arg(value_name = "NEW", value_hint = ValueHint::FilePath)]
        new: OsString,
    },
}

impl PolicyArgs {
    /// Print what was asked for; the status to exit with.
    ///
    /// # Errors
    /// When a policy cannot be found or is not valid.
    pub(crate) fn execute(self) -> Result<u8> {
        let format = if self.json {
            Format::Json
        } else {
            Format::Text
        };
        let mut status = 0;
        let text = match self.verb {
            Verb::List => describe::list(format),
            Verb::Show { policy } => describe::show(&policy, format),
            Verb::Check { policy } => describe::check(&policy, format),
            Verb::Explain { policy, key } => describe::explain(&policy, key.as_deref(), format),
            Verb::Test {
                policy,
                destination,
            } => describe::test(&policy, &destination, format).map(|(text, answer)| {
                status = u8::from(answer == describe::Answer::Refused);
                text
            }),
            Verb::Diff { old, new } => describe::diff(&old, &new, format),
        }?;
        super::print(&text)?;
        Ok(status)
    }
}
