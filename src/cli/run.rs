//! `sandbox [run] [OPTIONS] [--] COMMAND…`: the options of one launch, and the launch.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser, ValueParser};
use clap::{Args, ValueHint};

use super::descriptors::Descriptors;
use super::options::PolicyOptions;
use crate::error::{Error, Result};
use crate::request::{EventTarget, Format, Learn, Placed, Request};

/// One launch: what it may do, what it is handed, what is told about it.
#[derive(Debug, Default, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    policy: PolicyOptions,
    #[command(flatten)]
    descriptors: Descriptors,
    #[command(flatten)]
    sockets: SocketOptions,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    timing: TimingOptions,

    /// Command to run, and its arguments
    ///
    /// The first word that is no option starts it; everything after is its own. Write "--" before
    /// a command whose name is also that of a subcommand.
    #[arg(value_name = "COMMAND", help_heading = "Command", trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Descriptors")]
struct SocketOptions {
    /// Make the first passed socket standard input and output too
    ///
    /// As inetd does. Needs one of the options above. Off by default.
    #[arg(long)]
    stdin_socket: bool,

    #[command(flatten)]
    kinds: KindOptions,
}

/// Which kinds of descriptors are let through.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Descriptors")]
pub(super) struct KindOptions {
    /// Pass descriptors of kinds that can lead out of the sandbox
    ///
    /// Directories, namespaces, processes, netlink and unconnected packet or datagram sockets.
    /// Off by default. Danger: with such a descriptor the command may leave the sandbox.
    #[arg(long)]
    pub(super) allow_unsafe_fd: bool,
}

/// What is told about a launch.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputOptions {
    /// Write events as JSON lines to FILE or to the open descriptor N
    ///
    /// What isolation was had, what was refused, how it ended. FILE is appended to. Off by
    /// default.
    #[arg(long, value_name = "FILE|fd:N", value_parser = event_target(), value_hint = ValueHint::FilePath)]
    pub(super) events: Option<EventTarget>,

    /// Print what would be done, as text or JSON, and run nothing
    ///
    /// The plan: layers, mounts, filter, descriptors, limits, and what this host lacks. Default
    /// form: text.
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text", hide_possible_values = true, value_parser = format())]
    pub(super) dry_run: Option<Format>,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
struct TimingOptions {
    /// Print the microseconds that each step of the launch took
    ///
    /// On standard error, after the command has ended. Off by default.
    #[arg(long)]
    timing: bool,
}

fn event_target() -> ValueParser {
    OsStringValueParser::new()
        .try_map(|text| parse_event_target(&text))
        .into()
}

fn parse_event_target(text: &OsStr) -> std::result::Result<EventTarget, &'static str> {
    let Some(number) = text.as_bytes().strip_prefix(b"fd:") else {
        if text.is_empty() {
            return Err("name a file, or an open descriptor as fd:N");
        }
        return Ok(EventTarget::File(PathBuf::from(text)));
    };
    let digits = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse::<RawFd>().ok());
    match number {
        Some(number) if digits => Ok(EventTarget::Descriptor(number)),
        _ => Err("write an open descriptor as fd:N (fd:3), a file of such a name as ./fd:N"),
    }
}

fn format() -> ValueParser {
    PossibleValuesParser::new(["text", "json"])
        .map(|word| match word.as_str() {
            "json" => Format::Json,
            _ => Format::Text,
        })
        .into()
}

impl RunArgs {
    /// A launch without options.
    pub(crate) fn plain(command: Vec<OsString>) -> Self {
        Self {
            command,
            ..Self::default()
        }
    }

    /// The command and its arguments, as given.
    pub(crate) fn command(&self) -> &[OsString] {
        &self.command
    }

    /// Have `word`, if there is one, stand before the words of the command.
    pub(crate) fn begin_command(&mut self, word: Option<OsString>) {
        self.command.splice(0..0, word);
    }

    /// Run the command; the status to exit with.
    ///
    /// # Errors
    /// When it was not run.
    pub(crate) fn execute(self) -> Result<u8> {
        self.execute_with(Vec::new(), None)
    }

    /// The policy that the options are laid over, as it was named.
    pub(crate) fn base(&self) -> Option<&OsStr> {
        self.policy.base()
    }

    /// Run the command and learn from it.
    ///
    /// # Errors
    /// When it was not run, or what was learned could not be written.
    pub(crate) fn execute_learning(self, learn: Learn) -> Result<u8> {
        self.execute_with(Vec::new(), Some(learn))
    }

    /// Run the command in the network namespace at `path`, with `files` put in place.
    ///
    /// # Errors
    /// When it was not run.
    pub(crate) fn execute_within(mut self, path: PathBuf, files: Vec<Placed>) -> Result<u8> {
        self.policy.join_network(path)?;
        self.execute_with(files, None)
    }

    /// The command of a line that has no other option.
    ///
    /// # Errors
    /// When it has one.
    pub(crate) fn command_alone(&self) -> Result<&[OsString]> {
        let plain = Self::plain(self.command.clone());
        if format!("{self:?}") != format!("{plain:?}") {
            return Err(Error::usage(
                "--unconfined",
                "no other option goes with it: nothing confines the command then",
            ));
        }
        Ok(&self.command)
    }

    fn execute_with(self, files: Vec<Placed>, learn: Option<Learn>) -> Result<u8> {
        if self.command.is_empty() {
            return Err(no_command("sandbox -- COMMAND; sandbox --help tells more"));
        }
        if self.sockets.stdin_socket && self.descriptors.passed.is_empty() {
            return Err(Error::usage(
                "--stdin-socket",
                "there is no socket; use --listen, --connect, --pass-fd or --receive-from",
            ));
        }
        let policy = self.policy.into_policy()?;
        let request = Request {
            command: self.command,
            descriptors: self.descriptors.passed,
            unsafe_descriptors: self.sockets.kinds.allow_unsafe_fd,
            stdin_socket: self.sockets.stdin_socket,
            events: self.output.events,
            dry_run: self.output.dry_run,
            timing: self.timing.timing,
            files,
            learn,
        };
        crate::run::run(&policy, &request)
    }
}

/// The error of a line without a command, and how to write one.
pub(crate) fn no_command(right: &str) -> Error {
    Error::usage("no command given", format!("write {right}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_targets_are_files_or_descriptors() {
        let file = |path: &str| Ok(EventTarget::File(path.into()));
        let table = [
            ("log.json", file("log.json")),
            ("/var/log/x", file("/var/log/x")),
            ("./fd:3", file("./fd:3")),
            ("fd:3", Ok(EventTarget::Descriptor(3))),
        ];
        for (text, expected) in table {
            assert_eq!(parse_event_target(OsStr::new(text)), expected, "{text}");
        }
        for text in ["", "fd:", "fd:-1", "fd:+3", "fd:x", "fd:99999999999"] {
            assert!(parse_event_target(OsStr::new(text)).is_err(), "{text}");
        }
    }
}
