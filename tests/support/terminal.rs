//! A terminal of the test's own, for a program that believes in a person in front of it.
//!
//! Every wait is for words on the screen, never for time: each shell's prompt has a number, so that
//! the next line is typed when the one before is done with. What is typed is echoed by the terminal;
//! a word to be waited for is therefore typed in a form that is not the word itself (`re""ady`).

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{User, success, text};

/// How long anything that must be shown may take: only a failure ever waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the keyboard sends for Ctrl-C and Ctrl-Z.
pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_Z: &str = "\x1a";
/// For Ctrl-\, which quits.
pub(crate) const CTRL_BACKSLASH: &str = "\x1c";
/// A job that says which signals it is sent, and the window's size at that moment.
pub(crate) const JOB: &str = "python3 -c \"$WITNESS\"";
/// A program that puts `echo typed` into its terminal's input, and says how that went.
pub(crate) const TYPING: &str = "python3 -c \"$TYPIST\"";

/// A terminal of 24 lines of 80 columns, and the program that leads its session.
pub(crate) struct Terminal {
    keyboard: Option<PtyMaster>,
    device: PathBuf,
    leader: Child,
    user: User,
    shown: Vec<u8>,
    read_up_to: usize,
}

impl Terminal {
    /// `program` with `arguments`, started by `user` as a terminal emulator does.
    pub(crate) fn start(user: &User, program: &str, arguments: &[&str]) -> Self {
        let keyboard =
            posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("devpts");
        grantpt(&keyboard).expect("it is ours");
        unlockpt(&keyboard).expect("it is ours");
        let device = PathBuf::from(ptsname_r(&keyboard).expect("it has a name"));
        chown(&device, Some(user.uid), None).expect("ours, or root gives it away");
        size(&device, 24, 80);
        let open = || -> File {
            let mut options = OpenOptions::new();
            options.read(true).write(true);
            options.custom_flags(OFlag::O_NOCTTY.bits());
            options.open(&device).expect("it is unlocked")
        };
        let leader = user
            .command("setsid")
            .args(["--ctty", program])
            .args(arguments)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("TERM", "xterm")
            .env("LC_ALL", "C")
            .env("PS1", r"<out \#>")
            .env("WITNESS", WITNESS)
            .env("TYPIST", TYPIST)
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .expect("setsid is installed");
        Self {
            keyboard: Some(keyboard),
            device,
            leader,
            user: user.clone(),
            shown: Vec::new(),
            read_up_to: 0,
        }
    }

    /// An interactive shell with job control, at its first prompt `<out 1>`.
    pub(crate) fn shell(user: &User) -> Self {
        let mut terminal = Self::start(user, "bash", SHELL);
        terminal.shows("<out 1>");
        terminal
    }

    /// An interactive shell with job control in a sandbox, at its first prompt `<in 1>`.
    pub(crate) fn shell_inside(user: &User) -> Self {
        let sandbox = user.sandbox.to_str().expect("the test chose it");
        let words = [&["--env", r"PS1=<in \#>", "--", "bash"], SHELL].concat();
        let mut terminal = Self::start(user, sandbox, &words);
        terminal.shows("<in 1>");
        terminal
    }

    /// Type `keys`; `\r` is Enter.
    pub(crate) fn types(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().expect("it has not been closed");
        keyboard
            .write_all(keys.as_bytes())
            .expect("the terminal is there");
    }

    /// Type a line, and wait for the words that follow it.
    #[track_caller]
    pub(crate) fn answers(&mut self, line: &str, wanted: &str) -> String {
        self.types(line);
        self.types("\r");
        self.shows(wanted)
    }

    /// Wait until `wanted` is shown after what has been read; what came before it.
    #[track_caller]
    pub(crate) fn shows(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let new = &self.shown[self.read_up_to..];
            if let Some(at) = find(new, wanted.as_bytes()) {
                let before = text(&new[..at]);
                self.read_up_to += at + wanted.len();
                return before;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.read(left) {
                let screen = text(&self.shown);
                panic!("as {}: no {wanted:?} in:\n{screen}", self.user.name);
            }
        }
    }

    /// Read what is shown; `false` at the terminal's end.
    fn read(&mut self, patience: Duration) -> bool {
        let timeout = PollTimeout::try_from(patience).expect("it is short");
        let keyboard = self.keyboard.as_mut().expect("it has not been closed");
        let mut watched = [PollFd::new(keyboard.as_fd(), PollFlags::POLLIN)];
        if poll(&mut watched, timeout).expect("it can be watched") == 0 {
            return true;
        }
        let mut chunk = [0; 4096];
        match keyboard.read(&mut chunk) {
            // EIO: nobody has the terminal open any more.
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.shown.extend_from_slice(&chunk[..length]);
                true
            }
        }
    }

    /// Make the window another size.
    pub(crate) fn resize(&mut self, lines: u16, columns: u16) {
        size(&self.device, lines, columns);
    }

    /// The terminal's modes, as stty(1) writes them.
    pub(crate) fn modes(&self) -> String {
        stty(&self.device, &["-g"])
    }

    /// Read to the session's end; how its leader ended.
    #[track_caller]
    pub(crate) fn ends(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while self.read(deadline.saturating_duration_since(Instant::now())) {
            assert!(
                Instant::now() < deadline,
                "as {}: it does not end:\n{}",
                self.user.name,
                text(&self.shown)
            );
        }
        self.leader_ended()
    }

    /// Close the window; how the session's leader ended for it.
    #[track_caller]
    pub(crate) fn hang_up(mut self) -> ExitStatus {
        self.keyboard = None;
        self.leader_ended()
    }

    #[track_caller]
    fn leader_ended(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(i32::try_from(self.leader.id()).expect("a pid"));
        let (tell, told) = mpsc::channel();
        let leader = &mut self.leader;
        std::thread::scope(|scope| {
            scope.spawn(move || tell.send(leader.wait().expect("it is ours")));
            told.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                kill(pid, Signal::SIGKILL).expect("it has not been waited for");
                panic!("as {}: it does not end", self.user.name);
            })
        })
    }
}

impl Drop for Terminal {
    /// The kernel hangs up on all others when the leader is gone.
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

/// What [`JOB`] runs. It waits for signals with sigwait(3), so that none comes at a moment when it would
/// be overlooked. SIGQUIT ends it; after SIGCONT it reads a line, where a job in the background is
/// stopped.
const WITNESS: &str = "import os, signal, sys
told = {signal.SIGINT, signal.SIGQUIT, signal.SIGCONT, signal.SIGWINCH}
signal.pthread_sigmask(signal.SIG_BLOCK, told)
print('ready', flush=True)
while True:
    signal_sent = signal.sigwait(told)
    print(signal_sent.name, *os.get_terminal_size(), flush=True)
    if signal_sent == signal.SIGCONT:
        print('read', sys.stdin.readline().strip(), flush=True)
    if signal_sent == signal.SIGQUIT:
        sys.exit(9)
";

/// What [`TYPING`] runs.
const TYPIST: &str = "import fcntl, termios
try:
    for byte in b'echo ty\"\"ped\\n':
        fcntl.ioctl(0, termios.TIOCSTI, bytes([byte]))
    print('all in')
except OSError as error:
    print('errno', error.errno)
";

/// A bash that shows nothing but what its commands say: no start-up files, no line editor.
const SHELL: &[&str] = &["--norc", "--noprofile", "--noediting", "-i"];

fn size(device: &std::path::Path, lines: u16, columns: u16) {
    let (lines, columns) = (lines.to_string(), columns.to_string());
    stty(device, &["rows", &lines, "cols", &columns]);
}

fn stty(device: &std::path::Path, words: &[&str]) -> String {
    let output = Command::new("stty")
        .arg("-F")
        .arg(device)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("stty is installed");
    success(&super::users()[0], &output)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}
