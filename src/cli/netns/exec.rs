//! `sandbox netns exec`: a command in a namespace, confined as by `sandbox run`, or as ip-netns(8) does; with
//! `--all` in each that has a name.
//!
//! A launch gives up its process's privileges, so that there is one process for each of many: this program
//! again, with `--one=NAME` in place of `--all`. A name is not put where NS is: it may look like an option
//! or a process there.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use clap::Args;

use serde_json::json;

use super::super::run::{RunArgs, no_command};
use super::print::Sheet;
use crate::error::{Error, Result};
use crate::netns::{NamespaceName, Reference, files, named, unconfined};
use crate::plan::errno_of;
use crate::request::Placed;
use crate::sys::process::{self, Interrupts};

/// A right line.
const RIGHT: &str = "sandbox netns exec NAME -- COMMAND";

/// The options of `sandbox netns exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The namespace: NAME, pid:PID, /PATH or .
    #[arg(value_name = "NS", required_unless_present_any = ["all", "one"])]
    namespace: Option<OsString>,

    /// Run the command in each namespace that has a name, one after the other
    ///
    /// There is no NS then; write "--" before the command. Of an ordinary user: in that user's own. The name
    /// stands before what each prints; with --json, all of that and the statuses are printed in the end.
    /// The status is 0, or the first other one.
    #[arg(long)]
    all: bool,

    /// The same, in one
    #[arg(long, value_name = "NAME", hide = true, conflicts_with = "all")]
    one: Option<NamespaceName>,

    /// Run the command with all the caller's rights, as "ip netns exec" does
    ///
    /// Only the network, /sys and the files of /etc/netns/NAME are the namespace's. Takes no other
    /// option. Danger: nothing confines the command.
    #[arg(long)]
    unconfined: bool,

    #[command(flatten)]
    run: RunArgs,
}

impl ExecArgs {
    /// Run the command; the status to exit with.
    ///
    /// # Errors
    /// When it was not run.
    pub(super) fn execute(mut self, sheet: Sheet) -> Result<u8> {
        if self.all {
            return self.execute_in_all(sheet);
        }
        // Before the name is looked for: of "exec -- COMMAND" the command would be taken for it.
        if self.one.is_none() && self.run.command().is_empty() {
            return Err(no_command(RIGHT));
        }
        let namespace = match (self.one.take(), self.namespace.take()) {
            (Some(name), word) => {
                self.run.begin_command(word);
                Reference::Name(name)
            }
            (None, word) => {
                let word = word.unwrap_or_default();
                word.to_string_lossy().parse()?
            }
        };
        let files = match &namespace {
            Reference::Name(name) => files::of(name)?,
            _ => Vec::new(),
        };
        if self.unconfined {
            return self.run_unconfined(&namespace, &files);
        }
        let path = match &namespace {
            Reference::Name(name) => {
                // For its words: that it is there, or what was left behind in its place.
                crate::netns::named::open(name)?;
                crate::netns::named::system_path_of(name)
            }
            Reference::Process(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
            Reference::Path(path) => path.clone(),
            Reference::Own => PathBuf::from("/proc/self/ns/net"),
        };
        self.run.execute_within(path, Placed::over(files))
    }

    fn execute_in_all(self, sheet: Sheet) -> Result<u8> {
        if self.namespace.is_none() {
            return Err(no_command("sandbox netns exec --all -- COMMAND"));
        }
        let failed = |error: std::io::Error| Error::host("start", "sandbox", errno_of(&error));
        let interrupts =
            Interrupts::hold().map_err(|errno| Error::host("block", "signals", errno))?;
        let (mut first, mut said) = (0, Vec::new());
        for (number, name) in named::names_of_caller()?.into_iter().enumerate() {
            let mut command = again(&name);
            let status = match sheet {
                Sheet::Json => {
                    command.stdout(Stdio::piped()).stderr(Stdio::piped());
                    let child = process::spawn_for(&mut command, &interrupts);
                    let output = child
                        .and_then(std::process::Child::wait_with_output)
                        .map_err(failed)?;
                    let status = status_of(output.status);
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    said.push(json!({
                        "name": name,
                        "status": status,
                        "stdout": text(&output.stdout),
                        "stderr": text(&output.stderr),
                    }));
                    status
                }
                Sheet::Text => {
                    let gap = if number > 0 { "\n" } else { "" };
                    super::super::print(&format!("{gap}==> {name} <==\n"))?;
                    let child = process::spawn_for(&mut command, &interrupts);
                    let ended = child.and_then(|mut child| child.wait()).map_err(failed)?;
                    status_of(ended)
                }
            };
            if first == 0 {
                first = status;
            }
            if let Some(signal) = interrupts.seen() {
                // Whoever typed it means all of it.
                first = crate::exit::SIGNAL_BASE.saturating_add(signal);
                break;
            }
        }
        if let Sheet::Json = sheet {
            sheet.print(&json!(said), String::new)?;
        }
        Ok(first)
    }

    fn run_unconfined(&self, namespace: &Reference, files: &[(PathBuf, PathBuf)]) -> Result<u8> {
        let command = self.run.command_alone()?;
        let Some((program, arguments)) = command.split_first() else {
            return Err(no_command(RIGHT));
        };
        unconfined::enter(&namespace.open()?, files)?;
        let error = Command::new(program).args(arguments).exec();
        let errno = errno_of(&error);
        let command = Path::new(program).display().to_string();
        Err(match error.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound {
                command,
                hint: None,
            },
            _ => Error::NotExecutable {
                command,
                errno,
                hint: None,
            },
        })
    }
}

/// This program as it was started, for one namespace in place of all.
fn again(name: &NamespaceName) -> Command {
    let mut words = std::env::args_os();
    let mut command = Command::new("/proc/self/exe");
    command.arg0(words.next().unwrap_or_default());
    let mut one = Some(OsString::from(format!("--one={}", name.as_str())));
    for word in words {
        // The command's own words come later, or this would not have been understood.
        match one.take_if(|_| word == "--all") {
            Some(one) => command.arg(one),
            None => command.arg(word),
        };
    }
    command
}

/// As a shell has it.
fn status_of(ended: ExitStatus) -> u8 {
    let signal = || crate::exit::SIGNAL_BASE.saturating_add(signal_of(ended));
    let code = ended.code().and_then(|code| u8::try_from(code).ok());
    code.unwrap_or_else(signal)
}

fn signal_of(ended: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    u8::try_from(ended.signal().unwrap_or_default()).unwrap_or_default()
}
