//! `sandbox completions`: the completions of each shell, made from the clap definitions.
//!
//! What clap's generators cannot say is put in afterwards: names that are known only when they are asked
//! for, by a hidden option of this very command, and that hidden options are hidden.

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::egress::sets;
use crate::error::{Error, Result};
use crate::policy::find::{self, Places};

/// The options of `sandbox completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to print the completions for
    #[arg(value_name = "SHELL", value_enum, required_unless_present = "words")]
    shell: Option<Shell>,

    /// Print words of a kind instead, one a line: what the completions themselves ask for
    #[arg(long, value_name = "KIND", value_enum, hide = true)]
    words: Option<Words>,
}

/// Words that depend on the files of whoever types.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Words {
    /// The names of policies.
    Policies,
    /// Those of sets of destinations, as a rule has them.
    Sets,
}

impl Words {
    /// Whether `argument` takes such words.
    fn fit(self, argument: &clap::Arg) -> bool {
        match self {
            Self::Policies => ["policy", "old", "new"].contains(&argument.get_id().as_str()),
            Self::Sets => ["allow", "deny"].contains(&argument.get_id().as_str()),
        }
    }

    /// What stands for them in what the generators make; no other word is so called.
    const fn marker(self) -> &'static str {
        match self {
            Self::Policies => "SANDBOX_POLICIES",
            Self::Sets => "SANDBOX_SETS",
        }
    }

    /// What a shell runs for them. They hold letters, digits and `-_.@` only, so that no shell makes
    /// anything else of them.
    const fn command(self) -> &'static str {
        match self {
            Self::Policies => "sandbox completions --words policies 2>/dev/null",
            Self::Sets => "sandbox completions --words sets 2>/dev/null",
        }
    }

    fn all(self) -> Result<Vec<String>> {
        let places = Places::of_this_process()?;
        Ok(match self {
            Self::Policies => find::names(&places),
            Self::Sets => {
                let names = sets::names(&places).into_iter();
                names.map(|name| format!("@{name}")).collect()
            }
        })
    }
}

/// The long name that a hidden option has in what the generators make.
const HIDDEN: &str = "hidden-from-completions";

/// How the script for bash knows which option a word belongs to. The shell takes the "=" before a value, the "@"
/// of a set, and both together for words of their own.
const BASH_PREVIOUS: &str = "    prev=\"$3\"\n";
const BASH_PREVIOUS_OF_VALUE: &str = "    prev=\"$3\"
    if [[ \"${prev}\" == = || \"${prev}\" == ?(=)@ && \"${cur}\" == @* ]]; then
        prev=\"${COMP_WORDS[COMP_CWORD-2]}\"
    fi
";

impl CompletionsArgs {
    /// Print them; the status to exit with.
    ///
    /// # Errors
    /// When standard output takes no more.
    pub(crate) fn execute(&self) -> Result<u8> {
        let text = match (self.words, self.shell) {
            (Some(words), _) => words.all()?.join("\n") + "\n",
            (None, Some(shell)) => script(shell)?,
            (None, None) => String::new(),
        };
        super::print(&text)?;
        Ok(0)
    }
}

fn script(shell: Shell) -> Result<String> {
    let mut script = Vec::new();
    let mut command = marked(super::command());
    clap_complete::generate(shell, &mut command, "sandbox", &mut script);
    let script = String::from_utf8(script)
        .map_err(|_| Error::usage("completions", "the script is no text"))?;
    let script = without_hidden(shell, &script);
    let script = match shell {
        Shell::Bash => script.replacen(BASH_PREVIOUS, BASH_PREVIOUS_OF_VALUE, 1),
        _ => script,
    };
    let words = Words::value_variants().iter();
    Ok(words.fold(script, |script, words| with_words(shell, script, *words)))
}

/// `command` with marks where something is put in or taken out.
fn marked(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| {
        let name = argument.get_long().unwrap_or_default();
        let mut words = Words::value_variants().iter();
        match words.find(|words| words.fit(&argument)) {
            Some(words) => argument.value_parser(PossibleValuesParser::new([words.marker()])),
            None if argument.is_hide_set() && !name.is_empty() => argument.long(HIDDEN),
            None => argument,
        }
    });
    command.mut_subcommands(marked)
}

/// The lines that offer hidden options, and what follows them, taken out.
fn without_hidden(shell: Shell, script: &str) -> String {
    let option = format!("--{HIDDEN}");
    let mut inside = false;
    let mut kept = String::with_capacity(script.len());
    for line in script.lines() {
        let begins = line.trim_start();
        match shell {
            // The option's own branch of a case, up to its end.
            Shell::Bash if begins == format!("{option})") => inside = true,
            Shell::Bash if inside => inside = begins != ";;",
            Shell::Bash => kept += &(line.replace(&format!(" {option}"), "") + "\n"),
            _ if line.contains(HIDDEN) => {}
            _ => kept += &(line.to_owned() + "\n"),
        }
    }
    kept
}

/// `script` with `words` asked for where they are to be completed: of policies besides files.
fn with_words(shell: Shell, script: String, words: Words) -> String {
    let (marker, command) = (words.marker(), words.command());
    match shell {
        // Where no word fits, files are offered (complete -o default).
        // Two arguments that take the same words are two of a kind.
        Shell::Bash => script
            .replace(&format!("{marker} {marker}"), marker)
            .replace(marker, &format!("$({command})")),
        Shell::Zsh => {
            let files = match words {
                Words::Policies => "; _files",
                Words::Sets => "",
            };
            let action = format!("{{compadd -- ${{(f)\"$({command})\"}}{files}}}");
            script.replace(&format!("({marker})"), &action)
        }
        Shell::Fish => {
            let files = match words {
                Words::Policies => "-F",
                Words::Sets => "-f",
            };
            let offered = format!("-f -a \"{marker}\\t''\"");
            script.replace(&offered, &format!("{files} -a \"({command})\""))
        }
        _ => script,
    }
}
