//! A person at a terminal: job control inside a sandbox, and of a sandbox as a job.

mod support;

use std::fs;

use support::terminal::{CTRL_BACKSLASH, CTRL_C, CTRL_Z, JOB, TYPING, Terminal};
use support::{each_user, have, skip};

/// Whether what every test here types on is installed.
fn have_a_shell() -> bool {
    ["bash", "setsid", "stty", "python3"].into_iter().all(have)
}

#[test]
fn ctrl_c_interrupts_the_foreground_job_alone() {
    if !have_a_shell() {
        return;
    }
    each_user(|user| {
        let mut terminal = Terminal::shell_inside(user);
        terminal.answers("sleep 1000 &", "<in 2>");
        terminal.answers("sh -c 'echo re\"\"ady; exec sleep 1000'", "ready");
        terminal.types(CTRL_C);
        terminal.shows("<in 3>");
        terminal.answers("echo status=$?", "status=130");
        terminal.shows("<in 4>");
        // The shell and its other job live on.
        let jobs = terminal.answers("jobs", "<in 5>");
        assert!(jobs.contains("Running"), "as {}: {jobs}", user.name);
        terminal.types("exit 7\r");
        assert_eq!(terminal.ends().code(), Some(7), "as {}", user.name);
    });
}

#[test]
fn ctrl_z_stops_a_job_and_fg_and_bg_resume_it() {
    if !have_a_shell() {
        return;
    }
    each_user(|user| {
        let mut terminal = Terminal::shell_inside(user);
        terminal.answers(JOB, "ready");
        terminal.types(CTRL_Z);
        terminal.shows("Stopped");
        terminal.shows("<in 2>");
        // In the background it runs, until it wants to read what is typed.
        terminal.answers("bg", "SIGCONT");
        let mut jobs = || terminal.answers("jobs; echo li\"\"sted", "listed");
        assert!(
            (0..1000).any(|_| jobs().contains("Stopped")),
            "as {}",
            user.name
        );
        // In the foreground it reads it.
        terminal.types("fg\rword\r");
        terminal.shows("read word");
        terminal.shows("SIGCONT");
        terminal.answers("more", "read more");
        terminal.types(CTRL_BACKSLASH);
        terminal.shows("SIGQUIT");
        terminal.shows("<in ");
        terminal.answers("echo status=$?", "status=9");
    });
}

#[test]
fn a_new_window_size_reaches_the_program() {
    if !have_a_shell() {
        return;
    }
    each_user(|user| {
        let mut terminal = Terminal::shell_inside(user);
        terminal.answers("stty size", "24 80");
        terminal.answers(JOB, "ready");
        terminal.resize(50, 132);
        terminal.shows("SIGWINCH 132 50");
        terminal.types(CTRL_BACKSLASH);
        terminal.shows("<in 3>");
        terminal.answers("stty size", "50 132");
    });
}

#[test]
fn an_editor_has_the_screen_and_puts_it_back() {
    if !have_a_shell() || !have("vim") {
        return;
    }
    each_user(|user| {
        let name = format!("written-{}", std::process::id());
        let mut terminal = Terminal::shell_inside(user);
        let modes = terminal.modes();
        terminal.answers(&format!("vim -u NONE -N {name}"), "\x1b[?1049h");
        terminal.shows(&name);
        assert_ne!(terminal.modes(), modes, "as {}", user.name);
        terminal.types("iof an editor");
        terminal.shows("of an editor");
        terminal.types("\x1b:wq\r");
        terminal.shows("\x1b[?1049l");
        terminal.shows("<in 2>");
        assert_eq!(terminal.modes(), modes, "as {}", user.name);
        let file = user.home.join(name);
        let written = fs::read_to_string(&file).expect("vim wrote it");
        fs::remove_file(file).expect("it is there");
        assert_eq!(written, "of an editor\n", "as {}", user.name);
    });
}

#[test]
fn a_pager_goes_by_the_window_and_the_keys() {
    if !have_a_shell() || !have("less") {
        return;
    }
    each_user(|user| {
        let mut terminal = Terminal::shell_inside(user);
        let modes = terminal.modes();
        terminal.answers("seq 500 | less", "\x1b[?1049h");
        // 24 lines: the last is less's own.
        let page = terminal.shows("\n:");
        assert!(page.contains("\n23"), "as {}: {page}", user.name);
        assert!(!page.contains("\n24"), "as {}: {page}", user.name);
        terminal.types(" ");
        terminal.shows("\n46");
        terminal.types("q");
        terminal.shows("\x1b[?1049l");
        terminal.shows("<in 2>");
        assert_eq!(terminal.modes(), modes, "as {}", user.name);
    });
}

#[test]
fn a_sandbox_is_a_job_of_the_shell_around_it() {
    if !have_a_shell() {
        return;
    }
    each_user(|user| {
        let mut terminal = Terminal::shell(user);
        let job = "echo re\"\"ady; read word; echo \"got <$word>\"; read word; exit 7";
        let sandbox = user.sandbox.display();
        terminal.answers(&format!("{sandbox} -- bash -c '{job}'"), "ready");
        terminal.types(CTRL_Z);
        terminal.shows("Stopped");
        terminal.shows("<out 2>");
        let jobs = terminal.answers("jobs", "<out 3>");
        assert!(jobs.contains("Stopped"), "as {}: {jobs}", user.name);
        terminal.types("fg\rword\r");
        terminal.shows("got <word>");
        // And once more: stopping is not a thing of the first time alone.
        terminal.types(CTRL_Z);
        terminal.shows("Stopped");
        terminal.shows("<out 4>");
        terminal.types("fg\rword\r");
        terminal.shows("<out 5>");
        terminal.answers("echo status=$?", "status=7");
    });
}

#[test]
fn a_shell_inside_can_suspend_the_sandbox() {
    if !have_a_shell() {
        return;
    }
    each_user(|user| {
        let mut terminal = Terminal::shell(user);
        let sandbox = user.sandbox.display();
        let options = "--env 'PS1=<in \\#>' -- bash --norc --noprofile --noediting -i";
        terminal.answers(&format!("{sandbox} {options}"), "<in 1>");
        // At its prompt a shell ignores Ctrl-Z.
        terminal.types(CTRL_Z);
        terminal.answers("kill -STOP $$", "Stopped");
        terminal.shows("<out 2>");
        terminal.answers("fg", "<in");
        terminal.answers("sh -c 'echo re\"\"ady; exec sleep 1000'", "ready");
        terminal.types(CTRL_C);
        terminal.shows("<in");
        terminal.answers("exit 7", "<out 3>");
        terminal.answers("echo status=$?", "status=7");
    });
}

#[test]
fn the_terminal_is_given_back_at_the_end() {
    if !have_a_shell() {
        return;
    }
    each_user(|user| {
        // A script has no job control of its own, so nobody but the launcher gives it back; and the
        // shell inside is given no time to.
        let sandbox = user.sandbox.display();
        let inside = "--env 'PS1=<in \\#>' -- bash --norc --noprofile --noediting -i";
        let script = format!("{sandbox} {inside}; echo status=$?; read word; echo \"got <$word>\"");
        let mut terminal = Terminal::start(user, "sh", &["-c", &script]);
        terminal.shows("<in 1>");
        terminal.answers("kill -KILL $$", "status=137");
        terminal.answers("word", "got <word>");
        assert!(terminal.ends().success(), "as {}", user.name);
    });
}

#[test]
fn ctrl_c_reaches_a_command_once() {
    if !have_a_shell() {
        return;
    }
    each_user(|user| {
        for options in [
            "",
            "--new-session",
            "--as-pid-1",
            "--as-pid-1 --new-session",
        ] {
            let mut terminal = Terminal::shell(user);
            let sandbox = user.sandbox.display();
            terminal.answers(&format!("{sandbox} -q {options} -- {JOB}"), "ready");
            terminal.types(CTRL_C);
            terminal.shows("SIGINT");
            terminal.types(CTRL_C);
            terminal.shows("SIGINT");
            terminal.types(CTRL_BACKSLASH);
            let rest = terminal.shows("<out 2>");
            assert!(
                rest.contains("SIGQUIT"),
                "as {}, {options}: {rest}",
                user.name
            );
            assert!(
                !rest.contains("SIGINT"),
                "as {}, {options}: {rest}",
                user.name
            );
            terminal.answers("echo status=$?", "status=9");
        }
    });
}

#[test]
fn closing_the_window_ends_the_sandbox() {
    if !have_a_shell() {
        return;
    }
    each_user(|user| {
        let mut terminal = Terminal::shell_inside(user);
        terminal.answers(JOB, "ready\r\n");
        let status = terminal.hang_up();
        assert_eq!(status.code(), Some(129), "as {}", user.name);
        let sandbox = user.sandbox.to_str().expect("the test chose it");
        let mut terminal = Terminal::start(user, sandbox, &["--", "sh", "-c", JOB]);
        terminal.shows("ready\r\n");
        let status = terminal.hang_up();
        assert_eq!(status.code(), Some(129), "as {}", user.name);
    });
}

#[test]
fn nothing_inside_types_on_the_terminal() {
    if !have_a_shell() {
        return;
    }
    each_user(|user| {
        let mut terminal = Terminal::shell(user);
        let mut run = |line: &str| {
            terminal.types(line);
            terminal.types("; echo status=$?\r");
            let said = terminal.shows("status=0");
            // Whatever was put in would be read before this line.
            let after = terminal.answers("echo af\"\"ter", "after");
            (said, after.contains("typed\r\n"))
        };
        let (said, typed) = run(TYPING);
        if !typed {
            // Since Linux 6.2 it can be kept from all but CAP_SYS_ADMIN: no control then.
            let setting = "/proc/sys/dev/tty/legacy_tiocsti";
            let legacy = fs::read_to_string(setting).unwrap_or_default();
            let why = format!("outside: {said:?}, dev.tty.legacy_tiocsti is {legacy:?}");
            skip(&format!("TIOCSTI as {}", user.name), &why);
        }
        let (said, typed) = run(&format!("{} -- {TYPING}", user.sandbox.display()));
        assert!(said.contains("errno 1"), "as {}: {said}", user.name);
        assert!(!typed, "as {}", user.name);
    });
}
