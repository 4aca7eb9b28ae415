//! `sandbox lab`: networks of many nodes, declared in a file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};
use serde_json::{Value as Json, json};
use tracing::warn;

use super::run::RunArgs;
use crate::error::{Error, Result};
use crate::lab::{self, Asked, graph};
use crate::policy::spec;

/// The options of `sandbox lab`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = false, after_long_help = EXAMPLES)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    verb: Verb,

    /// Print JSON
    ///
    /// Default: text for people, and nothing where something is only done.
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "\
A LAB is the path of its FILE (with a slash, or ending in .toml), or the NAME of one that is up.

Examples:
  Bring a lab up, look at it, try what its file claims, and take it away:
      sandbox lab up router.toml
      sandbox lab status router
      sandbox lab check router
      sandbox lab exec router left -- curl http://10.0.2.2/
      sandbox lab down router
  Cut nodes off from each other, and join them again:
      sandbox lab partition three a b,c
      sandbox lab heal three
  Draw it:
      sandbox lab graph --svg router.toml > router.svg

See sandbox-lab(1) for all of it, and docs/lab.md for the file.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make what a file says; of a lab that is up only what differs
    ///
    /// All or nothing. Undoes partitions.
    Up {
        /// The file
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Take a lab away, with all that runs in it
    Down {
        /// The lab
        #[arg(value_name = "LAB", value_hint = ValueHint::FilePath)]
        lab: OsString,
    },
    /// List the labs of this user
    #[command(visible_alias = "ls")]
    List,
    /// Run a command in a node, confined as by "sandbox run"
    #[command(override_usage = "sandbox lab exec LAB NODE [OPTIONS] [--] COMMAND [ARG]...")]
    Exec(Box<ExecArgs>),
    /// Print a lab's links, addresses, traffic and commands
    Status {
        /// The lab
        #[arg(value_name = "LAB", value_hint = ValueHint::FilePath)]
        lab: OsString,
    },
    /// Draw a file's lab, as text or as a picture
    Graph {
        /// The file
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Print a picture, as SVG
        ///
        /// Default: text.
        #[arg(long)]
        svg: bool,
    },
    /// Try who reaches whom; the status is 1 if anything is not as claimed
    Check {
        /// The lab
        #[arg(value_name = "LAB", value_hint = ValueHint::FilePath)]
        lab: OsString,
        /// Wait TIME for an answer
        ///
        /// What is not reached takes as long. Default: 1s.
        #[arg(long, value_name = "TIME", value_parser = wait, default_value = "1s", hide_default_value = true)]
        wait: Duration,
    },
    /// Cut parts of a lab off from each other
    Partition {
        /// The lab
        #[arg(value_name = "LAB", value_hint = ValueHint::FilePath)]
        lab: OsString,
        /// Nodes and groups, commas between; the first part has those not named, too
        #[arg(value_name = "NODE,...", num_args = 2.., required = true)]
        parts: Vec<String>,
    },
    /// Unplug the cable of a node's interface
    Unplug {
        /// The lab
        #[arg(value_name = "LAB", value_hint = ValueHint::FilePath)]
        lab: OsString,
        /// The interface
        #[arg(value_name = "NODE:INTERFACE")]
        end: String,
    },
    /// Plug the cable of a node's interface in again
    Plug {
        /// The lab
        #[arg(value_name = "LAB", value_hint = ValueHint::FilePath)]
        lab: OsString,
        /// The interface
        #[arg(value_name = "NODE:INTERFACE")]
        end: String,
    },
    /// Undo partitions, and plug every cable in
    Heal {
        /// The lab
        #[arg(value_name = "LAB", value_hint = ValueHint::FilePath)]
        lab: OsString,
    },
}

/// The options of `sandbox lab exec`.
#[derive(Debug, Args)]
struct ExecArgs {
    /// The lab
    #[arg(value_name = "LAB", value_hint = ValueHint::FilePath)]
    lab: OsString,
    /// The node
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    run: RunArgs,
}

fn wait(text: &str) -> spec::Parsed<Duration> {
    spec::duration(text)
}

impl LabArgs {
    /// Do what was asked for; the status to exit with.
    ///
    /// # Errors
    /// When it cannot be done.
    pub(crate) fn execute(self) -> Result<u8> {
        let print = |value: &Json, text: &dyn Fn() -> String| match self.json {
            true => super::print(&format!("{value:#}\n")),
            false => super::print(&text()),
        };
        let nothing = &String::new;
        match self.verb {
            Verb::Up { file } => {
                let (name, changes) = lab::up(&file)?;
                print(&json!({ "name": name, "changes": changes }), nothing)?;
            }
            Verb::Down { lab } => {
                let name = name_of(lab)?;
                let found = lab::down(&name)?;
                if !found {
                    warn!(lab = %name, "no lab of this name was up");
                }
                print(&json!({ "name": name, "was-up": found }), nothing)?;
            }
            Verb::List => {
                let labs = lab::list()?;
                let text = || {
                    let line = |(name, up): &(String, bool)| match up {
                        true => format!("{name}\n"),
                        false => format!("{name} (left behind: sandbox lab down {name})\n"),
                    };
                    labs.iter().map(line).collect()
                };
                let value = labs
                    .iter()
                    .map(|(name, up)| json!({ "name": name, "up": up }));
                print(&value.collect(), &text)?;
            }
            Verb::Exec(args) => {
                let name = name_of(args.lab)?;
                let joined = lab::join(&name, &args.node)?;
                return args.run.execute_within(joined.path(), joined.files.clone());
            }
            Verb::Status { lab } => {
                let status = lab::ask(&name_of(lab)?, Asked::Status)?;
                print(&status, &|| lab::status_text(&status))?;
            }
            Verb::Graph { file, svg } => {
                let lab = lab::Lab::from_file(&file)?;
                let page = match svg {
                    true => graph::svg(lab.topology()),
                    false => graph::text(lab.topology()),
                };
                super::print(&page)?;
            }
            Verb::Check { lab, wait } => {
                let found = lab::ask(&name_of(lab)?, Asked::Check { wait })?;
                let text = || found["text"].as_str().unwrap_or_default().to_owned();
                print(&found["matrix"], &text)?;
                return Ok(u8::from(found["matrix"]["holds"] != true));
            }
            Verb::Partition { lab, parts } => {
                let done = lab::ask(&name_of(lab)?, Asked::Partition { parts })?;
                print(&json!({ "changes": done }), nothing)?;
            }
            Verb::Unplug { lab, end } => {
                let done = lab::ask(&name_of(lab)?, Asked::Link { end, up: false })?;
                print(&json!({ "changes": done }), nothing)?;
            }
            Verb::Plug { lab, end } => {
                let done = lab::ask(&name_of(lab)?, Asked::Link { end, up: true })?;
                print(&json!({ "changes": done }), nothing)?;
            }
            Verb::Heal { lab } => {
                let done = lab::ask(&name_of(lab)?, Asked::Heal)?;
                print(&json!({ "changes": done }), nothing)?;
            }
        }
        Ok(0)
    }
}

/// The name of the lab that `word` means: a file's, or the word itself.
fn name_of(word: OsString) -> Result<String> {
    let path = Path::new(&word);
    let is_file = path.extension().is_some_and(|end| end == "toml")
        || path.components().count() > 1
        || path.is_absolute();
    if is_file {
        return Ok(lab::Lab::from_file(path)?.topology().name.clone());
    }
    match word.into_string() {
        Ok(name) if lab::is_name(&name) => Ok(name),
        Ok(other) => Err(not_a_lab(&other)),
        Err(other) => Err(not_a_lab(&other.to_string_lossy())),
    }
}

fn not_a_lab(word: &str) -> Error {
    Error::usage(
        format!("lab \"{}\"", word.escape_debug()),
        "write a lab's name, or its file as NAME.toml",
    )
}
