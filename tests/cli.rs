//! The command line as a user meets it: help, whole messages, exit statuses. Nothing here launches.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

fn sandbox(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args(arguments)
        .env_remove("SANDBOX_NO_SUCH_VARIABLE")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What the words give: exit status, standard output, standard error.
fn said(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = sandbox(arguments);
    (
        output.status.code(),
        text(&output.stdout).to_owned(),
        text(&output.stderr).to_owned(),
    )
}

/// The one message that the words are refused with.
#[track_caller]
fn assert_refused(arguments: &[&str], message: &str) {
    let (status, out, err) = said(arguments);
    assert_eq!(err, format!("sandbox: {message}\n"), "{arguments:?}");
    assert_eq!(out, "", "{arguments:?}");
    assert_eq!(status, Some(125), "{arguments:?}");
}

#[test]
fn no_command_is_an_error_that_says_how_to_give_one() {
    let message = "no command given: write sandbox -- COMMAND; sandbox --help tells more";
    assert_refused(&[], message);
    assert_refused(&["--net", "none"], message);
    assert_refused(&["run", "--"], message);
    let message = "no command given: write sandbox netns exec NAME -- COMMAND";
    assert_refused(&["netns", "exec", "left"], message);
    assert_refused(&["netns", "exec", "--", "ls"], message);
}

#[test]
fn an_unknown_flag_names_the_nearest_one() {
    assert_refused(
        &["--nett", "none", "ls"],
        "--nett: unknown option; did you mean \"--net\"?",
    );
    assert_refused(
        &["--hide-socket", "ls"],
        "--hide-socket: unknown option; did you mean \"--hide-sockets\"?",
    );
    assert_refused(
        &["--frobnicate", "ls"],
        "--frobnicate: unknown option; sandbox --help lists all",
    );
    assert_refused(
        &["-c", "ls"],
        "-c: unknown option; sandbox --help lists all",
    );
    assert_refused(
        &["selftest", "--nett", "none"],
        "--nett: unknown option; did you mean \"--net\"?",
    );
}

#[test]
fn a_wrong_value_says_what_would_be_right() {
    for (arguments, message) in [
        (
            &["--net", "bridge", "ls"][..],
            "--net bridge: no network mode is called \"bridge\"; use one of loopback, none, fds, \
             ns:NAME, ns:/PATH, host",
        ),
        (
            &["--userns", "maybe", "ls"],
            "--userns maybe: no such value; use one of auto, yes, no",
        ),
        (
            &["--require", "ful", "ls"],
            "--require ful: no such value; did you mean \"full\"? use one of best-effort, standard, full",
        ),
        (
            &["--hide-sockets=may", "ls"],
            "--hide-sockets may: no such value; use one of yes, no",
        ),
        (
            &["--timeout", "0", "ls"],
            "--timeout 0: a length of time cannot be zero; leave it out for none",
        ),
        (
            &["--limit", "nofiles=3", "ls"],
            "--limit nofiles=3: no resource limit is called \"nofiles\"; did you mean \"nofile\"?",
        ),
        (
            &["--cap-add", "net_amin", "ls"],
            "--cap-add net_amin: no capability is called \"net_amin\"; did you mean \"net_admin\"? see capabilities(7)",
        ),
        (
            &["--pass-fd", "x", "ls"],
            "--pass-fd x: write a descriptor as its number, or as N:NAME (3:http)",
        ),
        (
            &["--listen", "127.0.0.1:80", "ls"],
            "--listen 127.0.0.1:80: write an address as tcp:HOST:PORT, tcp:[IPv6]:PORT, unix:PATH or unix-seqpacket:PATH",
        ),
        (
            &["--events", "fd:x", "ls"],
            "--events fd:x: write an open descriptor as fd:N (fd:3), a file of such a name as ./fd:N",
        ),
        (
            &["--log-format", "xml", "ls"],
            "--log-format xml: no such value; use one of text, json",
        ),
    ] {
        assert_refused(arguments, message);
    }
}

#[test]
fn a_missing_value_a_needless_one_and_a_second_one_are_errors() {
    assert_refused(&["--net"], "--net: this option needs a value");
    assert_refused(
        &["--userns"],
        "--userns: this option needs a value; use one of auto, yes, no",
    );
    assert_refused(
        &["--timing=3", "ls"],
        "--timing 3: this option takes no value",
    );
    assert_refused(
        &["--user", "a", "--user", "b", "ls"],
        "--user: this option can be given only once",
    );
}

/// Or its value would be run as the program, with the options that follow as its own.
#[test]
fn a_value_without_its_equals_sign_is_not_run() {
    for (arguments, message) in [
        (
            &["--private-tmp", "yes", "--", "ls"][..],
            "--private-tmp yes: write --private-tmp=yes; to run a program called yes write \
             --private-tmp -- yes",
        ),
        (
            &[
                "run",
                "--proxy-env",
                "3128",
                "--allow",
                "a.example:80",
                "ls",
            ],
            "--proxy-env 3128: write --proxy-env=3128; to run a program called 3128 write \
             --proxy-env -- 3128",
        ),
    ] {
        assert_refused(arguments, message);
    }
    // The controls: a word that is no value of the option, and one that two dashes make a program.
    for words in [
        &["--private-tmp", "ls", "-l"][..],
        &["--private-tmp", "--", "yes", "-l"],
    ] {
        let (status, out, err) = said(&[&["--dry-run"], words].concat());
        let program = words.iter().find(|word| !word.starts_with('-')).unwrap();
        assert_eq!(status, Some(0), "{err}");
        assert!(out.contains(&format!("/{program}\n")), "{out}");
    }
}

#[test]
fn a_first_word_that_is_nearly_a_subcommand_is_asked_about() {
    for (word, hint) in [
        ("doctr", "did you mean the subcommand \"doctor\"?"),
        ("help", "'sandbox --help' tells what there is"),
        ("version", "'sandbox --version' tells it"),
    ] {
        let (status, _, err) = said(&[word]);
        let expected = format!("sandbox: {word}: command not found\n  hint: {hint}\n");
        assert_eq!((status, err), (Some(127), expected));
        // Behind two dashes it is meant as a program.
        let (status, _, err) = said(&["--", word]);
        let expected = format!("sandbox: {word}: command not found\n");
        assert_eq!((status, err), (Some(127), expected));
    }
}

#[test]
fn words_that_only_a_shell_understands_are_told_apart_from_missing_programs() {
    let shell = "it is a shell's own; 'sandbox -- sh -c \"...\"' runs a line of shell";
    let variable = "a variable for the command is set by --env NAME=VALUE";
    let blanks =
        "this is one word, with blanks in it; leave the quotes out, or give the line to 'sh -c'";
    for (word, hint) in [
        ("cd", shell),
        ("CC=gcc", variable),
        ("make test", blanks),
        // The control: a word that is a shell's neither way.
        ("=x", ""),
    ] {
        let (status, _, err) = said(&["--", word]);
        let hint = match hint {
            "" => String::new(),
            hint => format!("  hint: {hint}\n"),
        };
        let expected = format!("sandbox: {word}: command not found\n{hint}");
        assert_eq!((status, err), (Some(127), expected));
    }
}

#[test]
fn words_of_ip_lead_to_what_they_are_called_here() {
    let shown = "'sandbox netns show NS' shows all that is there";
    assert_refused(
        &[
            "netns", "route", "add", "left", "default", "via", "10.1.1.1",
        ],
        "via: unknown argument; did you mean \"--via\"?",
    );
    assert_refused(
        &["netns", "addr", "show", "left"],
        &format!("add|delete show: {shown}"),
    );
    assert_refused(
        &["netns", "route", "list", "left"],
        &format!("add|replace|delete list: {shown}"),
    );
    // The control: a word that is no option either.
    assert_refused(
        &["netns", "route", "add", "left", "default", "through"],
        "through: unknown argument; sandbox netns --help lists all",
    );
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    assert_refused(
        &["--best-effort", "--require", "full", "ls"],
        "--best-effort: this option does not go with --require",
    );
    assert_refused(
        &["-v", "-q", "ls"],
        "--verbose: this option does not go with --quiet",
    );
    assert_refused(
        &["--stdin-socket", "ls"],
        "--stdin-socket: there is no socket; use --listen, --connect, --pass-fd or --receive-from",
    );
}

#[test]
fn a_callers_variable_that_is_not_there_is_an_error() {
    assert_refused(
        &["--env", "SANDBOX_NO_SUCH_VARIABLE", "ls"],
        "--env SANDBOX_NO_SUCH_VARIABLE: the caller has no such variable; write NAME=VALUE to set one",
    );
}

#[test]
fn subcommands_stand_first() {
    assert_refused(
        &["--net", "none", "doctor"],
        "doctor: a subcommand stands before all options; to run a program of this name write \
         sandbox -- doctor",
    );
}

#[test]
fn a_subcommands_own_words_are_checked() {
    assert_refused(
        &["policy"],
        "no subcommand given: use one of list, show, check, explain, test, diff",
    );
    assert_refused(
        &["policy", "shw"],
        "shw: unknown subcommand; did you mean \"show\"?",
    );
    assert_refused(
        &["completions"],
        "SHELL: this argument is missing; write sandbox completions SHELL",
    );
    assert_refused(
        &["policy", "test"],
        "NAME|FILE and DEST: these arguments are missing; write sandbox policy test NAME|FILE DEST",
    );
    assert_refused(
        &["completions", "tcsh"],
        "SHELL tcsh: no such value; use one of bash, elvish, fish, powershell, zsh",
    );
    assert_refused(
        &["completions", "basj"],
        "SHELL basj: no such value; did you mean \"bash\"? use one of bash, elvish, fish, \
         powershell, zsh",
    );
    assert_refused(
        &["netns", "sysctl", ".", "kernel.pid_max"],
        "NAME[=VALUE] kernel.pid_max: setting \"kernel.pid_max\": only settings below net belong to \
         a network namespace, as net.ipv4.ip_forward",
    );
    assert_refused(
        &["netns", "add", "pid:1"],
        "NAME pid:1: namespace \"pid:1\": pid: stands before the number of a process whose \
         namespace is meant",
    );
    assert_refused(
        &["doctor", "extra"],
        "extra: unknown argument; sandbox doctor --help lists all",
    );
}

#[test]
fn a_word_that_is_no_text_is_refused_where_text_is_needed() {
    let output = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .args([
            OsStr::new("--hostname"),
            OsStr::from_bytes(b"a\xff"),
            OsStr::new("ls"),
        ])
        .output()
        .unwrap();
    assert_eq!(
        text(&output.stderr),
        "sandbox: argument: this option takes text in UTF-8\n"
    );
    assert_eq!(output.status.code(), Some(125));
}

#[test]
fn a_message_cannot_talk_to_the_terminal() {
    let (status, _, err) = said(&["--net", "\x1b[2J\n", "ls"]);
    assert_eq!(status, Some(125));
    assert!(
        !err.trim_end_matches('\n').contains(char::is_control),
        "{err:?}"
    );
    let (_, _, err) = said(&["--\x1b[2J", "ls"]);
    assert!(
        !err.trim_end_matches('\n').contains(char::is_control),
        "{err:?}"
    );
}

#[test]
fn help_and_version_go_to_standard_output_with_status_0() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["run", "--help"],
        &["--net", "none", "--help"],
        &["policy", "--help"],
        &["policy", "show", "-h"],
        &["doctor", "--help"],
        &["selftest", "--help"],
        &["completions", "--help"],
        &["man", "--help"],
    ] {
        let (status, out, err) = said(arguments);
        assert_eq!(status, Some(0), "{arguments:?}");
        assert_eq!(err, "", "{arguments:?}");
        assert!(out.contains("Usage: sandbox"), "{arguments:?}: {out}");
    }
    let version = concat!("sandbox ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(
        said(&["--version"]),
        (Some(0), version.to_owned(), String::new())
    );
    assert_eq!(said(&["-V"]), (Some(0), version.to_owned(), String::new()));
}

#[test]
fn long_help_tells_dangers_exit_statuses_and_examples() {
    let (_, long, _) = said(&["--help"]);
    for (status, meaning) in sandbox::exit::TABLE {
        let line = format!("  {status:<7}{meaning}\n");
        assert!(long.contains(&line), "{status}");
    }
    assert!(long.contains("Examples:\n"));
    assert!(long.contains("Danger: "));
    let (_, short, _) = said(&["-h"]);
    assert!(!short.contains("Danger: ") && short.len() < long.len() / 2);
}

#[test]
fn help_after_the_command_is_the_commands() {
    // Refused for a reason of its own, before any launch: so the help was not ours.
    let (status, out, err) = said(&["--policy", "no-such-policy", "ls", "--help"]);
    assert_eq!(status, Some(125));
    assert_eq!(out, "");
    assert!(err.starts_with("sandbox: "), "{err}");
}

#[test]
fn an_error_in_json_is_one_object() {
    // One that is found only in the options themselves, too; after the two dashes they are the command's.
    let (_, _, err) = said(&["--log-format=json", "--nett", "x", "ls"]);
    let value: serde_json::Value = serde_json::from_str(&err).unwrap();
    assert_eq!(
        value["message"],
        "--nett: unknown option; did you mean \"--net\"?"
    );
    let (_, _, err) = said(&["--nett", "x", "--", "ls", "--log-format", "json"]);
    assert!(err.starts_with("sandbox: --nett"), "{err}");
    let output = sandbox(&["--log-format", "json", "--policy", "no-such-policy", "ls"]);
    assert_eq!(output.status.code(), Some(125));
    let lines: Vec<&str> = text(&output.stderr).lines().collect();
    let [line] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["level"], "error");
    assert_eq!(value["status"], 125);
    assert!(
        value["message"]
            .as_str()
            .unwrap()
            .contains("no-such-policy")
    );
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    for arguments in [
        &["man"][..],
        &["--help"],
        &["completions", "bash"],
        &["doctor"],
        &["doctor", "--json"],
    ] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_sandbox"))
            .args(arguments)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(
            text(&output.stderr),
            "sandbox: cannot write to standard output: No space left on device\n",
            "{arguments:?}"
        );
        assert_eq!(output.status.code(), Some(125), "{arguments:?}");
    }
}

#[test]
fn man_names_the_directory_that_it_cannot_write_to() {
    assert_refused(
        &["man", "--dir", "/no/such/directory"],
        "cannot write /no/such/directory/sandbox.1: No such file or directory",
    );
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    // SIGPIPE is as the caller left it: Rust's run-time would have set it to ignored.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .arg("man")
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(13));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn policies_can_be_listed_shown_and_explained() {
    let (status, out, err) = said(&["policy", "list"]);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    for name in [
        "default",
        "strict",
        "worker",
        "connection",
        "build",
        "agent",
        "browser",
    ] {
        assert!(out.contains(name), "{name}: {out}");
    }
    for arguments in [
        &["policy", "list", "--json"][..],
        &["policy", "show", "strict", "--json"],
        &["policy", "--json", "explain", "default"],
        &["policy", "diff", "default", "strict", "--json"],
    ] {
        let (status, out, err) = said(arguments);
        assert_eq!((status, err.as_str()), (Some(0), ""), "{arguments:?}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap();
    }
}

#[test]
fn a_destination_can_be_tested_without_running_anything() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("fetch.toml");
    let policy = "# For: a test.\n[egress]\nallow = [\"api.example.com:443\", \"@example\"]\n";
    std::fs::write(&file, policy).unwrap();
    let file = file.to_str().unwrap();
    for (destination, status, line) in [
        (
            "api.example.com:443",
            0,
            "api.example.com:443  allowed  by api.example.com:443\n",
        ),
        (
            "a.files.example.com:443",
            0,
            "a.files.example.com:443  allowed  by *.files.example.com:443 of @example\n",
        ),
        (
            "api.example.com.evil:443",
            1,
            "api.example.com.evil:443  refused  no rule allows it; \
             --allow api.example.com.evil:443 would allow it\n",
        ),
    ] {
        let (got, out, err) = said(&["policy", "test", file, destination]);
        assert_eq!((got, out.as_str(), err.as_str()), (Some(status), line, ""));
    }
    let (status, out, err) = said(&["policy", "test", file, "example.com"]);
    assert_eq!((status, out.as_str()), (Some(125), ""));
    assert!(err.contains("has no port"), "{err}");
    let (status, ..) = said(&["policy", "test", "default", "api.example.com:443"]);
    assert_eq!(status, Some(1), "the control");
}

#[test]
fn an_invalid_policy_file_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "# For: a test.\n[network]\nmod = \"none\"\n").unwrap();
    let file = file.to_str().unwrap();
    for arguments in [&["policy", "check", file][..], &["--policy", file, "ls"]] {
        let (status, out, err) = said(arguments);
        assert_eq!((status, out.as_str()), (Some(125), ""), "{arguments:?}");
        assert!(err.starts_with(&format!("sandbox: {file}:3:1: ")), "{err}");
        assert!(err.contains("\"mode\""), "{err}");
    }
}

/// As bash calls the function: the words, which of them is completed, and the one before it.
#[test]
fn names_of_policies_and_sets_are_completed() {
    const ASK: &str = r#"
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
[ "${prev%@}" = "$prev" ] || cur=@$cur
_sandbox sandbox "$cur" "$prev"
printf '%s\n' "${COMPREPLY[@]}"
"#;
    let home = tempfile::tempdir().unwrap();
    for (kind, name) in [
        ("policies", "mine"),
        ("policies", "$(touch ran)"),
        ("sets", "here"),
    ] {
        let directory = home.path().join(".config/sandbox").join(kind);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{name}.toml")), "").unwrap();
    }
    let script = home.path().join("completions.bash");
    std::fs::write(&script, sandbox(&["completions", "bash"]).stdout).unwrap();
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_sandbox"));
    let path = format!("{}:/usr/bin:/bin", binary.parent().unwrap().display());
    let asked = |words: &[&str]| {
        let output = Command::new("bash")
            .args(["-c", ASK, "bash"])
            .arg(&script)
            .arg("sandbox")
            .args(words)
            .env("PATH", &path)
            .env("HOME", home.path())
            .env_remove("XDG_CONFIG_HOME")
            .current_dir(home.path())
            .output()
            .unwrap();
        text(&output.stdout).trim_end().replace('\n', " ")
    };
    assert_eq!(asked(&["--policy", "ag"]), "agent");
    assert_eq!(asked(&["serve", "--policy", "m"]), "mine");
    assert!(!asked(&["--policy", ""]).contains("touch"));
    assert!(!home.path().join("ran").exists());
    assert_eq!(asked(&["--allow", ""]), "@example @here");
    assert_eq!(asked(&["learn", "--deny", "@", "h"]), "@here");
    // "--policy=ag" and the like, as bash takes them apart.
    assert_eq!(asked(&["--policy", "=", "ag"]), "agent");
    assert_eq!(asked(&["--require", "=", "f"]), "full");
    assert_eq!(asked(&["--allow", "=@", "h"]), "@here");
    for verb in ["show", "check", "explain", "test"] {
        assert_eq!(asked(&["policy", verb, "ag"]), "agent", "{verb}");
    }
    assert_eq!(asked(&["policy", "diff", "agent", "m"]), "mine");
    assert_eq!(asked(&["policy", "list", "m"]), "", "the control");
}
