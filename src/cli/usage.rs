//! clap's errors in our words: one line, the option first, the nearest known one as advice.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::SUBCOMMANDS;
use crate::error::Error;
use crate::exit;
use crate::policy::spec;

/// The end of `--help`: exit statuses and examples.
pub(super) fn after_help() -> String {
    let mut text = String::from("Exit status:\n");
    for (status, meaning) in exit::TABLE {
        text.push_str(&format!("  {status:<7}{meaning}\n"));
    }
    text.push_str(EXAMPLES);
    text
}

const EXAMPLES: &str = "
Examples:
  Run a build that needs no network:
      sandbox -- make test
  Let a server answer on one port of the host, and call nobody:
      sandbox --net fds --listen tcp:127.0.0.1:8080 -- ./server
  Show what would be done, and run nothing:
      sandbox --policy strict --private-tmp --dry-run -- ./tool

See sandbox(1) for all of it, sandbox-policy(5) for policy files.";

/// What clap found wrong with `argv`, as our error.
pub(super) fn to_error(error: &clap::Error, argv: &[OsString]) -> Error {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let option = word(ContextKind::InvalidArg).map(option_name);
    let value = word(ContextKind::InvalidValue).unwrap_or_default();
    match (error.kind(), option) {
        (ErrorKind::UnknownArgument, Some(option)) => {
            let what = if option.starts_with('-') {
                "option"
            } else {
                "argument"
            };
            Error::usage(
                printable(option),
                match word(ContextKind::SuggestedArg) {
                    Some(near) => {
                        format!("unknown {what}; did you mean \"{}\"?", option_name(near))
                    }
                    None if is_long_option(argv, option) => {
                        format!("unknown {what}; did you mean \"--{option}\"?")
                    }
                    None => format!("unknown {what}; {} --help lists all", called(argv)),
                },
            )
        }
        (ErrorKind::ValueValidation, Some(option)) => {
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            Error::usage(format!("{option} {}", printable(value)), reason)
        }
        (ErrorKind::InvalidValue, Some(option)) => invalid_value(error, option, value),
        (ErrorKind::NoEquals, Some(option)) => Error::usage(
            option,
            format!("put its value after an equals sign, as in {option}=VALUE"),
        ),
        (ErrorKind::TooManyValues, Some(option)) => Error::usage(
            format!("{option} {}", printable(value)),
            "this option takes no value",
        ),
        (ErrorKind::ArgumentConflict, Some(option)) => conflict(error, option),
        (ErrorKind::InvalidUtf8, _) => Error::usage("argument", "this option takes text in UTF-8"),
        (ErrorKind::InvalidSubcommand, _) => {
            let name = word(ContextKind::InvalidSubcommand).unwrap_or_default();
            Error::usage(printable(name), unknown_subcommand(error))
        }
        (ErrorKind::MissingSubcommand, _) => Error::usage(
            "no subcommand given",
            format!("use one of {}", list(error, ContextKind::ValidSubcommand)),
        ),
        (ErrorKind::MissingRequiredArgument, _) => missing(error),
        // Whatever else clap may say: its first line, without its prefix.
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            Error::usage("command line", line.strip_prefix("error: ").unwrap_or(line))
        }
    }
}

fn missing(error: &clap::Error) -> Error {
    let words = list(error, ContextKind::InvalidArg);
    let names: Vec<&str> = words.split(", ").map(option_name).collect();
    let reason = match names.len() {
        1 => "this argument is missing",
        _ => "these arguments are missing",
    };
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let reason = match usage.trim().strip_prefix("Usage: ") {
        Some(usage) => format!("{reason}; write {}", usage.replace(['<', '>'], "")),
        None => reason.to_owned(),
    };
    Error::usage(names.join(" and "), reason)
}

/// The words by which the program was called so far: with its subcommand, where there is one.
fn called(argv: &[OsString]) -> String {
    let first = argv.get(1).and_then(|word| word.to_str());
    match first.filter(|word| SUBCOMMANDS.contains(word)) {
        Some(word) => format!("sandbox {word}"),
        None => "sandbox".to_owned(),
    }
}

/// Whether the subcommand of `argv` has an option that is `word` behind dashes, as where ip(8) has the bare
/// word.
fn is_long_option(argv: &[OsString], word: &str) -> bool {
    let mut command = super::command();
    for name in argv.iter().skip(1) {
        match command.find_subcommand(name) {
            Some(below) => command = below.clone(),
            None => break,
        }
    }
    command
        .get_arguments()
        .any(|argument| argument.get_long() == Some(word))
}

fn invalid_value(error: &clap::Error, option: &str, value: &str) -> Error {
    let choices = list(error, ContextKind::ValidValue);
    if value.is_empty() {
        let reason = if choices.is_empty() {
            "this option needs a value".to_owned()
        } else {
            format!("this option needs a value; use one of {choices}")
        };
        return Error::usage(option, reason);
    }
    // Not clap's own suggestion, which is "pool" for "foo".
    let rest = format!("use one of {choices}");
    let advice = spec::advice_and(value, choices.split(", "), &rest);
    Error::usage(
        format!("{option} {}", printable(value)),
        format!("no such value{advice}"),
    )
}

fn conflict(error: &clap::Error, option: &str) -> Error {
    let other = match error.get(ContextKind::PriorArg) {
        Some(ContextValue::String(other)) => option_name(other).to_owned(),
        Some(ContextValue::Strings(others)) => {
            let names: Vec<&str> = others.iter().map(|other| option_name(other)).collect();
            names.join(", ")
        }
        _ => String::new(),
    };
    if other == option || other.is_empty() {
        return Error::usage(option, "this option can be given only once");
    }
    Error::usage(option, format!("this option does not go with {other}"))
}

fn unknown_subcommand(error: &clap::Error) -> String {
    match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(near)) if !near.is_empty() => {
            format!(
                "unknown subcommand; did you mean \"{}\"?",
                near.join("\" or \"")
            )
        }
        Some(ContextValue::String(near)) => {
            format!("unknown subcommand; did you mean \"{near}\"?")
        }
        _ => "unknown subcommand; --help lists all".to_owned(),
    }
}

fn list(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::Strings(words)) => words.join(", "),
        Some(ContextValue::String(word)) => word.clone(),
        _ => String::new(),
    }
}

/// The option's name in the way clap shows it: without its value.
fn option_name(shown: &str) -> &str {
    if !shown.starts_with('-') {
        let word = shown.trim_end_matches("...");
        let inner = word
            .strip_prefix('<')
            .and_then(|word| word.strip_suffix('>'));
        let inner = inner.or_else(|| word.strip_prefix('[')?.strip_suffix(']'));
        return inner.unwrap_or(word);
    }
    shown
        .split([' ', '[', '=', '<', '.'])
        .next()
        .unwrap_or(shown)
}

fn printable(word: &str) -> String {
    word.escape_debug()
        .to_string()
        .replace("\\\"", "\"")
        .replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_option_is_what_stands_before_its_value() {
        for (shown, name) in [
            ("--net <MODE>", "--net"),
            ("--hide-sockets[=<yes|no>]", "--hide-sockets"),
            ("--quiet", "--quiet"),
            ("<SHELL>", "SHELL"),
            ("<NAME>...", "NAME"),
            ("[LINK]", "LINK"),
            ("<NAME[=VALUE]>...", "NAME[=VALUE]"),
            ("--verbose...", "--verbose"),
        ] {
            assert_eq!(option_name(shown), name);
        }
    }

    #[test]
    fn help_ends_with_every_exit_status() {
        let text = after_help();
        for (status, meaning) in exit::TABLE {
            assert!(
                text.contains(&format!("  {status:<7}{meaning}\n")),
                "{status}"
            );
        }
    }
}
