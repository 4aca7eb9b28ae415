//! The command line: clap types, one file a subcommand; nothing after it sees argv.
//!
//! Runs in the launcher, first of all. A launch is parsed by a clap command that knows the options
//! only; the whole tree, with its subcommands and help, is built when something else is asked for,
//! because building it costs a launch more than parsing does. A line without options needs neither.

mod completions;
mod descriptors;
mod diagnostics;
mod doctor;
mod lab;
mod learn;
mod man;
mod netns;
mod options;
mod policy;
mod run;
mod selftest;
mod serve;
mod usage;

use std::ffi::{OsStr, OsString};
use std::io::Write;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::log::{self, LogFormat, Verbosity};
use crate::policy::spec;
use crate::printable::page;

/// Run a program that you do not trust, in an empty network
///
/// Runs COMMAND so that it reaches no network but what its policy names: in fresh namespaces, with
/// a network of its own in which nothing else is, without privileges, behind a system-call filter,
/// as root and as an ordinary user. If any of this cannot be had on this host, nothing is run.
///
/// The first word that is no option starts COMMAND, unless it is the first word of all and the name
/// of a subcommand: "sandbox doctor" is the subcommand, "sandbox -- doctor" runs a program so called.
#[derive(Debug, Parser)]
#[command(
    name = "sandbox",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    override_usage = "sandbox [run] [OPTIONS] [--] COMMAND [ARG]...\n       sandbox SUBCOMMAND [OPTIONS]",
    subcommand_value_name = "SUBCOMMAND",
    subcommand_help_heading = "Subcommands"
)]
struct Cli {
    #[command(flatten)]
    run: run::RunArgs,
    #[command(flatten)]
    log: LogOptions,
    #[command(subcommand)]
    subcommand: Option<Sub>,
}

/// A launch alone: [`Cli`] without subcommands and their help.
#[derive(Debug, Parser)]
#[command(name = "sandbox", version)]
struct Launch {
    #[command(flatten)]
    run: run::RunArgs,
    #[command(flatten)]
    log: LogOptions,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Run a command; the word "run" may be left out
    #[command(override_usage = "sandbox run [OPTIONS] [--] COMMAND [ARG]...")]
    Run(Box<run::RunArgs>),
    /// Run a command and write the policy under which it would pass
    Learn(Box<learn::LearnArgs>),
    /// Accept connections and hand them to sandboxed workers
    Serve(Box<serve::ServeArgs>),
    /// Make namespaces with names, and links, addresses and rules in them
    Netns(Box<netns::NetnsArgs>),
    /// Make networks of many nodes from a file, look at them, try them
    Lab(Box<lab::LabArgs>),
    /// Say what policies there are and what one means
    Policy(policy::PolicyArgs),
    /// Say what this host can give, what is missing, and the remedy
    Doctor(doctor::DoctorArgs),
    /// Try the known escapes inside such a sandbox
    Selftest(Box<selftest::SelftestArgs>),
    /// Print the completions for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write all pages
    Man(man::ManArgs),
}

/// The names of the subcommands, each of which is only one as the first word of all.
const SUBCOMMANDS: &[&str] = &[
    "run",
    "learn",
    "serve",
    "netns",
    "lab",
    "policy",
    "doctor",
    "selftest",
    "completions",
    "man",
];

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Output")]
struct LogOptions {
    /// Say more: -v what was granted, -vv each step, -vvv everything
    ///
    /// On standard error. Off by default: nothing is said when all is well. Conflicts with -q.
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "quiet")]
    verbose: u8,

    /// Leave warnings out
    ///
    /// Errors are still printed. Danger: warnings say which protection was given up.
    #[arg(short, long, global = true)]
    quiet: bool,

    /// Write messages as FORMAT: text or json
    ///
    /// json is one object a line, errors included. Default: text.
    #[arg(
        long,
        value_name = "FORMAT",
        global = true,
        default_value = "text",
        hide_default_value = true,
        hide_possible_values = true
    )]
    log_format: LogFormat,
}

impl LogOptions {
    fn verbosity(&self) -> Verbosity {
        if self.quiet {
            return Verbosity::Quiet;
        }
        match self.verbose {
            0 => Verbosity::Warnings,
            1 => Verbosity::Info,
            2 => Verbosity::Debug,
            _ => Verbosity::Trace,
        }
    }
}

/// The whole tree of commands: what help, manual pages and completions are made from.
fn command() -> clap::Command {
    Cli::command().after_long_help(usage::after_help())
}

/// What the words ask for: it said its part already, or something is to be done.
enum Asked {
    Printed,
    Action(LogOptions, Action),
}

/// What is to be done.
enum Action {
    Run(Box<run::RunArgs>),
    Sub(Sub),
}

/// Do what `argv` (the program's own name first) asks for; the status to exit with.
///
/// Errors are printed here, once.
#[must_use]
pub fn main(argv: &[OsString]) -> u8 {
    if let Some(status) = crate::selftest::hidden(argv) {
        return status;
    }
    let (format, result) = match parse(argv) {
        Ok(Asked::Printed) => return 0,
        Ok(Asked::Action(options, action)) => {
            log::init(options.verbosity(), options.log_format);
            (options.log_format, execute(action))
        }
        Err(error) => (format_asked_for(argv), Err(error)),
    };
    result.unwrap_or_else(|error| {
        let error = match &error {
            Error::NotFound { command, .. }
                if argv.get(1).is_some_and(|word| word == &**command) =>
            {
                let advice = meant(command);
                error.with_hint(advice)
            }
            _ => error,
        };
        log::report(&error, format);
        error.exit_status()
    })
}

/// The form of messages that a line asks for which is wrong otherwise.
fn format_asked_for(argv: &[OsString]) -> LogFormat {
    let ours = argv.iter().take_while(|word| *word != "--");
    let words: Vec<&OsString> = ours.collect();
    let apart = words
        .windows(2)
        .any(|pair| pair == ["--log-format", "json"]);
    match apart || words.iter().any(|word| *word == "--log-format=json") {
        true => LogFormat::Json,
        false => LogFormat::Text,
    }
}

/// What a first word that is no program's name was most likely meant as.
fn meant(word: &str) -> Option<String> {
    match word {
        "help" => Some("'sandbox --help' tells what there is".to_owned()),
        "version" => Some("'sandbox --version' tells it".to_owned()),
        _ => spec::nearest(word, SUBCOMMANDS.iter().copied())
            .map(|near| format!("did you mean the subcommand \"{near}\"?")),
    }
}

impl From<Launch> for Asked {
    fn from(launch: Launch) -> Self {
        Self::Action(launch.log, Action::Run(Box::new(launch.run)))
    }
}

fn execute(action: Action) -> Result<u8> {
    match action {
        Action::Run(args) | Action::Sub(Sub::Run(args)) => args.execute(),
        Action::Sub(Sub::Learn(args)) => args.execute(),
        Action::Sub(Sub::Serve(args)) => args.execute(),
        Action::Sub(Sub::Netns(args)) => args.execute(),
        Action::Sub(Sub::Lab(args)) => args.execute(),
        Action::Sub(Sub::Policy(args)) => args.execute(),
        Action::Sub(Sub::Doctor(args)) => args.execute(),
        Action::Sub(Sub::Selftest(args)) => args.execute(),
        Action::Sub(Sub::Completions(args)) => args.execute(),
        Action::Sub(Sub::Man(args)) => args.execute(),
    }
}

fn parse(argv: &[OsString]) -> Result<Asked> {
    let first = argv.get(1).and_then(|word| word.to_str());
    if first == Some("run") {
        let rest = argv.iter().take(1).chain(argv.iter().skip(2));
        return match Launch::try_parse_from(rest) {
            Ok(launch) => {
                refuse_detached_value(argv, launch.run.command())?;
                Ok(launch.into())
            }
            Err(_) => parse_all(argv),
        };
    }
    if first.is_some_and(|word| SUBCOMMANDS.contains(&word)) {
        return parse_all(argv);
    }
    if let Some(command) = command_alone(argv) {
        let (run, log) = (run::RunArgs::plain(command), LogOptions::default());
        return Ok(Launch { run, log }.into());
    }
    // Whatever goes wrong here, the whole tree says better: it knows its help and its usage.
    let Ok(launch) = Launch::try_parse_from(argv) else {
        return parse_all(argv);
    };
    refuse_late_subcommand(argv, launch.run.command())?;
    refuse_detached_value(argv, launch.run.command())?;
    Ok(launch.into())
}

/// The command of a line without options, the most frequent one: building clap's table of options
/// takes a twentieth of a whole launch.
fn command_alone(argv: &[OsString]) -> Option<Vec<OsString>> {
    let (first, rest) = argv.get(1..)?.split_first()?;
    let bytes = first.as_encoded_bytes();
    let command = match bytes {
        b"--" => rest,
        [b'-', ..] | [] => return None,
        _ => argv.get(1..)?,
    };
    (!command.is_empty()).then(|| command.to_vec())
}

/// A subcommand's name after options is most likely meant as one; nobody should have to guess.
fn refuse_late_subcommand(argv: &[OsString], command: &[OsString]) -> Result<()> {
    let Some(name) = command.first().and_then(|word| word.to_str()) else {
        return Ok(());
    };
    let before = argv.len().checked_sub(command.len() + 1);
    if before
        .and_then(|index| argv.get(index))
        .map(OsString::as_os_str)
        == Some(OsStr::new("--"))
    {
        return Ok(());
    }
    if SUBCOMMANDS.contains(&name) {
        return Err(Error::usage(
            name,
            format!(
                "a subcommand stands before all options; to run a program of this name write sandbox -- {name}"
            ),
        ));
    }
    Ok(())
}

/// `--private-tmp yes -- COMMAND` would run yes(1) with our options as its own.
fn refuse_detached_value(argv: &[OsString], command: &[OsString]) -> Result<()> {
    let [word, next, ..] = command else {
        return Ok(());
    };
    let before = argv.len().checked_sub(command.len() + 1);
    let option = before.and_then(|index| argv.get(index));
    let (Some(option), Some(value)) = (option.and_then(|option| option.to_str()), word.to_str())
    else {
        return Ok(());
    };
    let goes_on = next.as_encoded_bytes().starts_with(b"-");
    if !goes_on || option == "--" || !option.starts_with("--") || option.contains('=') {
        return Ok(());
    }
    let joined = format!("{option}={value}");
    if Launch::try_parse_from(["sandbox", &joined, "true"]).is_err() {
        return Ok(());
    }
    Err(Error::usage(
        format!("{option} {value}"),
        format!("write {joined}; to run a program called {value} write {option} -- {value}"),
    ))
}

fn parse_all(argv: &[OsString]) -> Result<Asked> {
    let error = match Cli::try_parse_from(argv) {
        Ok(Cli {
            log,
            subcommand: Some(sub),
            ..
        }) => {
            return Ok(Asked::Action(log, Action::Sub(sub)));
        }
        Ok(Cli { log, run, .. }) => {
            refuse_late_subcommand(argv, run.command())?;
            return Ok(Launch { run, log }.into());
        }
        Err(error) => error,
    };
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::DisplayVersion
    ) {
        // Once more, with the parts of the help that are worth making only now.
        let Err(error) = command().try_get_matches_from(argv) else {
            return Ok(Asked::Printed);
        };
        if !error.use_stderr() {
            return match error.print().and_then(|()| std::io::stdout().flush()) {
                Ok(()) => Ok(Asked::Printed),
                Err(error) => Err(unwritten(&error)),
            };
        }
        return Err(usage::to_error(&error, argv));
    }
    Err(usage::to_error(&error, argv))
}

/// Write `text` to standard output, all of it, and nothing in it that a terminal acts on.
///
/// Rust's run-time, which would flush at the end, does not run in our binary: so it is done here.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(page(text).as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| unwritten(&error))
}

fn unwritten(error: &std::io::Error) -> Error {
    Error::host("write to", "standard output", errno(error))
}

/// The kernel's reason behind an I/O error.
fn errno(error: &std::io::Error) -> nix::errno::Errno {
    error
        .raw_os_error()
        .map_or(nix::errno::Errno::EIO, nix::errno::Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn launched(line: &[&str]) -> Vec<OsString> {
        match parse(&words(line)) {
            Ok(Asked::Action(_, Action::Run(run) | Action::Sub(Sub::Run(run)))) => {
                run.command().to_vec()
            }
            Ok(_) => panic!("{line:?} is no launch"),
            Err(error) => panic!("{line:?}: {error}"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        Launch::command().debug_assert();
        command().debug_assert();
    }

    #[test]
    fn every_subcommand_is_in_the_table() {
        let command = Cli::command();
        let names: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        assert_eq!(names, SUBCOMMANDS);
    }

    #[test]
    fn every_option_has_a_line_and_a_paragraph_of_help() {
        for arg in Launch::command()
            .get_arguments()
            .filter(|arg| arg.get_long().is_some())
        {
            let short = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let name = arg.get_long().unwrap_or_default();
            assert!(!short.ends_with('.'), "--{name}: full stop");
            assert!(short.len() <= 72, "--{name}: {} characters", short.len());
            if !["help", "version"].contains(&name) {
                assert!(arg.get_long_help().is_some(), "--{name} has no paragraph");
            }
        }
    }

    #[test]
    fn options_after_the_program_are_the_programs() {
        let command = launched(&["sandbox", "curl", "--policy", "x", "--nonsense", "-v"]);
        assert_eq!(command, ["curl", "--policy", "x", "--nonsense", "-v"]);
    }

    #[test]
    fn a_line_without_options_means_the_same_without_clap() {
        for line in [
            &["sandbox", "--", "ls", "-l"][..],
            &["sandbox", "ls", "-l", "--", "--net"],
            &["sandbox", "--", "--", "x"],
            &["sandbox", "--", "doctor", "--json"],
            &["sandbox", "--", "-v"],
            &["sandbox", "--", ""],
            &["sandbox", "./-x"],
        ] {
            let line = words(line);
            let alone = command_alone(&line).expect("it has no option");
            let launch = Launch {
                run: run::RunArgs::plain(alone),
                log: LogOptions::default(),
            };
            let parsed = Launch::try_parse_from(&line).unwrap();
            assert_eq!(format!("{launch:?}"), format!("{parsed:?}"), "{line:?}");
        }
        for line in [
            &["sandbox"][..],
            &["sandbox", "--"],
            &["sandbox", ""],
            &["sandbox", "-v", "ls"],
            &["sandbox", "--net=none", "ls"],
        ] {
            assert_eq!(command_alone(&words(line)), None, "{line:?}");
        }
    }

    #[test]
    fn two_dashes_belong_to_the_program_once_it_has_started() {
        let line = ["sandbox", "--net", "none", "--", "sh", "--", "-c"];
        assert_eq!(launched(&line), ["sh", "--", "-c"]);
        assert_eq!(launched(&["sandbox", "env", "--", "x"]), ["env", "--", "x"]);
    }

    #[test]
    fn the_word_run_may_be_left_out() {
        for line in [
            &["sandbox", "ls", "-l"][..],
            &["sandbox", "--", "ls", "-l"],
            &["sandbox", "run", "ls", "-l"],
            &["sandbox", "run", "--", "ls", "-l"],
            &["sandbox", "run", "--net", "none", "ls", "-l"],
        ] {
            assert_eq!(launched(line), ["ls", "-l"], "{line:?}");
        }
    }

    #[test]
    fn two_dashes_make_a_subcommands_name_a_program() {
        assert_eq!(launched(&["sandbox", "--", "doctor"]), ["doctor"]);
        assert_eq!(launched(&["sandbox", "-v", "--", "lab", "x"]), ["lab", "x"]);
        assert_eq!(launched(&["sandbox", "run", "doctor"]), ["doctor"]);
    }

    #[test]
    fn a_subcommands_name_after_options_is_refused() {
        let Err(error) = parse(&words(&["sandbox", "--net", "none", "doctor"])) else {
            panic!("accepted")
        };
        assert_eq!(
            error.to_string(),
            "doctor: a subcommand stands before all options; to run a program of this name write \
             sandbox -- doctor"
        );
    }

    #[test]
    fn log_options_may_follow_a_subcommand() {
        let Ok(Asked::Action(log, Action::Sub(Sub::Doctor(_)))) = parse(&words(&[
            "sandbox",
            "doctor",
            "-vv",
            "--log-format",
            "json",
        ])) else {
            panic!("no doctor")
        };
        assert_eq!(log.verbosity(), Verbosity::Debug);
        assert_eq!(log.log_format, LogFormat::Json);
    }

    #[test]
    fn bytes_that_are_no_text_reach_the_command() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(vec![b'a', 0xff, b'b']);
        let line = vec!["sandbox".into(), "echo".into(), odd.clone()];
        let Ok(Asked::Action(_, Action::Run(run))) = parse(&line) else {
            panic!("no launch")
        };
        assert_eq!(run.command(), [OsString::from("echo"), odd]);
    }
}
