//! `sandbox man`: the manual pages, made from the clap definitions, the tables and `docs/man`.
//!
//! What a definition says is taken from there: options, exit statuses, steps, keys. What only a
//! person can say stands in `docs/man/*.roff`. The pages made are kept in `dist/man`.

use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::{Arg, Args, Command, ValueHint};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::diagnostics;
use crate::error::{Error, Result};
use crate::exit;
use crate::policy::key;
use crate::step::Step;

/// The options of `sandbox man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write all pages into the directory DIR
    ///
    /// sandbox.1, sandbox-serve.1, sandbox-netns.1, sandbox-lab.1 and sandbox-policy.5; files of these
    /// names are replaced. Without it, sandbox(1) is printed.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

impl ManArgs {
    /// Print the page, or write all; the status to exit with.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn execute(&self) -> Result<u8> {
        let Some(dir) = &self.dir else {
            super::print(&sandbox_page())?;
            return Ok(0);
        };
        for (name, page) in [
            ("sandbox.1", sandbox_page()),
            ("sandbox-serve.1", serve_page()),
            ("sandbox-netns.1", netns_page()),
            ("sandbox-lab.1", lab_page()),
            ("sandbox-policy.5", policy_page()),
        ] {
            let path = dir.join(name);
            std::fs::write(&path, page).map_err(|error| {
                Error::host("write", path.display().to_string(), super::errno(&error))
            })?;
        }
        Ok(0)
    }
}

/// One page in the making: roff made here, and fragments taken as they are.
struct Page(String);

impl Page {
    fn new(name: &str, section: u8) -> Self {
        let mut title = Roff::new();
        let version = concat!("sandbox ", env!("CARGO_PKG_VERSION"));
        let section = section.to_string();
        title.control("TH", [name, section.as_str(), "", version, "Sandbox"]);
        Self(title.to_roff())
    }

    fn add(&mut self, build: impl FnOnce(&mut Roff)) {
        let mut roff = Roff::new();
        build(&mut roff);
        self.0.push_str(&roff.to_roff());
    }

    fn section(&mut self, title: &str) {
        self.add(|roff| {
            roff.control("SH", [title]);
        });
    }

    /// A file of `docs/man`.
    fn fragment(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// A term and what is said of it.
    fn entry(&mut self, term: Vec<Inline>, paragraphs: &[&str]) {
        self.add(|roff| {
            roff.control("TP", []).text(term);
            for (index, paragraph) in paragraphs.iter().enumerate() {
                if index > 0 {
                    roff.control("IP", []);
                }
                roff.text([roman(*paragraph)]);
            }
        });
    }
}

/// sandbox(1).
fn sandbox_page() -> String {
    let mut command = super::command();
    command.build();
    let mut page = Page::new("SANDBOX", 1);
    page.section("NAME");
    page.add(|roff| {
        roff.text([roman(
            "sandbox - run a program that you do not trust, in an empty network",
        )]);
    });
    page.fragment(include_str!("../../docs/man/synopsis.roff"));
    page.fragment(include_str!("../../docs/man/description.roff"));
    page.section("OPTIONS");
    options(&mut page, &command);
    page.section("SUBCOMMANDS");
    for subcommand in command.get_subcommands() {
        subcommand_entry(&mut page, "sandbox", subcommand);
    }
    page.fragment(include_str!("../../docs/man/policies.roff"));
    page.section("EXIT STATUS");
    for (status, meaning) in exit::TABLE {
        page.entry(vec![bold(*status)], &[&sentence(meaning)]);
    }
    page.fragment(include_str!("../../docs/man/environment.roff"));
    page.fragment(include_str!("../../docs/man/examples.roff"));
    page.fragment(include_str!("../../docs/man/diagnostics.roff"));
    for &step in Step::ALL {
        let diagnostic = diagnostics::of(step);
        page.entry(
            vec![bold(format!("cannot {step}"))],
            &[diagnostic.cause, diagnostic.remedy],
        );
    }
    page.fragment(include_str!("../../docs/man/requirements.roff"));
    page.fragment(include_str!("../../docs/man/security.roff"));
    page.fragment(include_str!("../../docs/man/see-also.roff"));
    page.0
}

/// sandbox-serve(1).
fn serve_page() -> String {
    let mut command = super::command();
    command.build();
    let mut page = Page::new("SANDBOX-SERVE", 1);
    page.section("NAME");
    page.add(|roff| {
        roff.text([roman(
            "sandbox-serve - accept connections and hand them to sandboxed workers",
        )]);
    });
    page.fragment(include_str!("../../docs/man/serve-description.roff"));
    page.section("OPTIONS");
    if let Some(serve) = command.find_subcommand("serve") {
        options(&mut page, serve);
    }
    page.fragment(include_str!("../../docs/man/serve-signals.roff"));
    page.section("EXIT STATUS");
    for (status, meaning) in exit::SERVE_TABLE {
        page.entry(vec![bold(*status)], &[&sentence(meaning)]);
    }
    page.fragment(include_str!("../../docs/man/serve-rest.roff"));
    page.0
}

/// sandbox-netns(1).
fn netns_page() -> String {
    verbs_page(&Verbs {
        subcommand: "netns",
        purpose: "named network namespaces, and what is in them",
        description: include_str!("../../docs/man/netns-description.roff"),
        statuses: exit::NETNS_TABLE,
        rest: include_str!("../../docs/man/netns-rest.roff"),
    })
}

/// sandbox-lab(1).
fn lab_page() -> String {
    verbs_page(&Verbs {
        subcommand: "lab",
        purpose: "networks of many nodes, declared in a file",
        description: include_str!("../../docs/man/lab-description.roff"),
        statuses: exit::LAB_TABLE,
        rest: include_str!("../../docs/man/lab-rest.roff"),
    })
}

/// What the page of a subcommand that has verbs of its own is made from.
struct Verbs {
    subcommand: &'static str,
    purpose: &'static str,
    description: &'static str,
    statuses: &'static [(&'static str, &'static str)],
    rest: &'static str,
}

fn verbs_page(verbs: &Verbs) -> String {
    let mut command = super::command();
    command.build();
    let name = verbs.subcommand;
    let mut page = Page::new(&format!("SANDBOX-{}", name.to_uppercase()), 1);
    page.section("NAME");
    page.add(|roff| {
        roff.text([roman(format!("sandbox-{name} - {}", verbs.purpose))]);
    });
    page.fragment(verbs.description);
    page.section("VERBS");
    if let Some(subcommand) = command.find_subcommand(name) {
        for argument in shown(subcommand).filter(|argument| argument.get_long() == Some("json")) {
            argument_entry(&mut page, argument);
        }
        for verb in subcommand.get_subcommands() {
            subcommand_entry(&mut page, &format!("sandbox {name}"), verb);
        }
    }
    page.section("EXIT STATUS");
    for (status, meaning) in verbs.statuses {
        page.entry(vec![bold(*status)], &[&sentence(meaning)]);
    }
    page.fragment(verbs.rest);
    page.0
}

/// sandbox-policy(5).
fn policy_page() -> String {
    let mut page = Page::new("SANDBOX-POLICY", 5);
    page.fragment(include_str!("../../docs/man/policy-grammar.roff"));
    page.section("KEYS");
    for section in std::iter::once("").chain(key::sections()) {
        let title = match section {
            "" => "Before the first section".to_owned(),
            name => format!("[{name}]"),
        };
        page.add(|roff| {
            roff.control("SS", [title.as_str()]);
        });
        for key in key::KEYS.iter().filter(|key| key.section == section) {
            let kind = key.kind.words();
            let term = vec![bold(key.name), roman(" = "), italic(kind)];
            let mut facts = format!("Example: {} = {}.", key.name, key.example);
            if let Some(default) = key.default().map(|value| value.to_string())
                && !default.is_empty()
            {
                facts.push_str(&format!(" Default: {default}."));
            }
            if !key.flag.is_empty() {
                facts.push_str(&format!(" Option: {}.", key.flag));
            }
            if key.kind.adds_up() {
                facts.push_str(" Adds up over the layers.");
            }
            page.entry(term, &[&sentence(key.meaning), &facts]);
        }
    }
    page.fragment(include_str!("../../docs/man/policy-rest.roff"));
    page.0
}

/// The options of `command` under their headings, in the order of the definitions.
fn options(page: &mut Page, command: &Command) {
    let mut headings: Vec<Option<&str>> = Vec::new();
    for argument in shown(command) {
        if !headings.contains(&argument.get_help_heading()) {
            headings.push(argument.get_help_heading());
        }
    }
    for heading in headings {
        page.add(|roff| {
            roff.control("SS", [heading.unwrap_or("General")]);
        });
        for argument in shown(command).filter(|argument| argument.get_help_heading() == heading) {
            argument_entry(page, argument);
        }
    }
}

fn shown(command: &Command) -> impl Iterator<Item = &Arg> {
    command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
}

fn argument_entry(page: &mut Page, argument: &Arg) {
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let help = help.map(StyledStr::to_string).unwrap_or_default();
    let mut paragraphs: Vec<String> = help
        .split("\n\n")
        .map(|text| text.replace('\n', " "))
        .collect();
    if let Some(first) = paragraphs.first_mut() {
        *first = sentence(first);
    }
    let paragraphs: Vec<&str> = paragraphs.iter().map(String::as_str).collect();
    page.entry(term(argument), &paragraphs);
}

/// `-v, --verbose`, `--net MODE`, `--hide-sockets[=yes|no]`, `COMMAND`.
fn term(argument: &Arg) -> Vec<Inline> {
    let mut term = Vec::new();
    if let Some(short) = argument.get_short() {
        term.push(bold(format!("-{short}")));
    }
    if let Some(long) = argument.get_long() {
        if !term.is_empty() {
            term.push(roman(", "));
        }
        term.push(bold(format!("--{long}")));
    }
    let takes_value = argument
        .get_num_args()
        .is_some_and(|range| range.takes_values());
    let Some(names) = argument.get_value_names().filter(|_| takes_value) else {
        return term;
    };
    let names = names.join(" ");
    let optional = argument
        .get_num_args()
        .is_some_and(|range| range.min_values() == 0);
    match (argument.is_positional(), optional) {
        (true, _) => term.push(italic(names)),
        (false, true) => term.extend([roman("[="), italic(names), roman("]")]),
        (false, false) => term.extend([roman(" "), italic(names)]),
    }
    term
}

/// A subcommand with its own arguments and, below it, its own subcommands.
fn subcommand_entry(page: &mut Page, before: &str, command: &Command) {
    let name = format!("{before} {}", command.get_name());
    let mut line = vec![bold(name.as_str())];
    for positional in command.get_positionals() {
        let word = positional.get_value_names().map(|names| names.join(" "));
        let word = word.unwrap_or_default();
        line.push(match positional.is_required_set() {
            true => roman(" "),
            false => roman(" ["),
        });
        line.push(italic(word));
        if !positional.is_required_set() {
            line.push(roman("]"));
        }
    }
    let about = command
        .get_about()
        .map(StyledStr::to_string)
        .unwrap_or_default();
    let own: Vec<&Arg> = shown(command)
        .filter(|argument| argument.get_long().is_some() && !is_explained(argument, before))
        .collect();
    // "run" and "selftest" take the options of a launch, which stand above.
    let takes_launch = own
        .iter()
        .any(|argument| argument.get_long() == Some("net"));
    page.entry(line, &[&sentence(&about)]);
    if takes_launch {
        let rest = match command.get_name() {
            "run" => "Takes the options above.",
            "learn" => "Takes the options above, and:",
            "serve" => "Takes the options above and its own: see sandbox-serve(1).",
            "exec" => "Takes the options of sandbox(1), save --net.",
            _ => "Takes the options above that make a policy.",
        };
        page.add(|roff| {
            roff.control("IP", []).text([roman(rest)]);
        });
    }
    if let Some(own @ ("netns" | "lab")) = name.strip_prefix("sandbox ") {
        page.add(|roff| {
            let rest = roman(format!("Its verbs are told in sandbox-{own}(1)."));
            roff.control("IP", []).text([rest]);
        });
        return;
    }
    page.add(|roff| {
        roff.control("RS", []);
    });
    for argument in own {
        let own_page = command.get_name() == "serve";
        let its_own = [
            "json",
            "unconfined",
            "all",
            "output",
            "force",
            "deny-while-learning",
        ]
        .map(Some)
        .contains(&argument.get_long());
        if !takes_launch || (its_own && !own_page) {
            argument_entry(page, argument);
        }
    }
    for subcommand in command.get_subcommands() {
        subcommand_entry(page, &name, subcommand);
    }
    page.add(|roff| {
        roff.control("RE", []);
    });
}

/// Whether an option of a subcommand below `before` is explained already: with the options that
/// every subcommand has, or with the subcommand that passes it down.
fn is_explained(argument: &Arg, before: &str) -> bool {
    let common = ["help", "version", "verbose", "quiet", "log-format"];
    argument
        .get_long()
        .is_some_and(|long| common.contains(&long))
        || (argument.is_global_set() && before != "sandbox")
}

/// `text` as a sentence: a capital letter first, a full stop last.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    let mut text = first.unwrap_or_default() + letters.as_str();
    if !text.ends_with(['.', '?', '!']) {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_sentence_once() {
        assert_eq!(
            sentence("the command was not found"),
            "The command was not found."
        );
        assert_eq!(sentence("Done."), "Done.");
        assert_eq!(sentence(""), ".");
    }
}
