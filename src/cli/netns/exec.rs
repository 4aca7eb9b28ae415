//! `sandbox netns exec`: a command in a namespace, confined as by `sandbox run`, or as ip-netns(8) does.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::super::run::RunArgs;
use crate::error::{Error, Result};
use crate::netns::{Reference, files, unconfined};
use crate::plan::errno_of;

/// The options of `sandbox netns exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The namespace: NAME, pid:PID, /PATH or .
    #[arg(value_name = "NS")]
    namespace: Reference,

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
    pub(crate) fn execute(self) -> Result<u8> {
        let files = match &self.namespace {
            Reference::Name(name) => files::of(name)?,
            _ => Vec::new(),
        };
        if self.unconfined {
            return self.run_unconfined(&files);
        }
        let path = match &self.namespace {
            Reference::Name(name) => {
                // For its words: that it is there, or what was left behind in its place.
                crate::netns::named::open(name)?;
                crate::netns::named::system_path_of(name)
            }
            Reference::Process(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
            Reference::Path(path) => path.clone(),
            Reference::Own => PathBuf::from("/proc/self/ns/net"),
        };
        self.run.execute_within(path, files)
    }

    fn run_unconfined(&self, files: &[(PathBuf, PathBuf)]) -> Result<u8> {
        let command = self.run.command_alone()?;
        let Some((program, arguments)) = command.split_first() else {
            return Err(Error::usage(
                "no command given",
                "write sandbox netns exec NAME -- COMMAND",
            ));
        };
        unconfined::enter(&self.namespace.open()?, files)?;
        let error = Command::new(program).args(arguments).exec();
        let errno = errno_of(&error);
        let command = Path::new(program).display().to_string();
        Err(match error.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound { command },
            _ => Error::NotExecutable {
                command,
                errno,
                hint: None,
            },
        })
    }
}
