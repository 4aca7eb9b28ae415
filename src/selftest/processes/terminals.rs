//! The terminal that the command was given, and keyrings.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::SigSet;

use super::{c_string, row};
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::outside::{Outside, Place};
use crate::selftest::promise;
use crate::sys::attempt::{self as sys, TerminalRequest, UpperHalf};

const TERMINAL: &str = "filter: terminal ioctls";
const KEYS: &str = "filter: keyrings";

pub(super) fn of_terminals_and_keys() -> Vec<Attempt> {
    use Control::{Anyone, Nobody};
    vec![
        row(
            "tiocsti",
            "type on the terminal by TIOCSTI",
            TERMINAL,
            Anyone,
            promise::filtered,
            |_| on_terminal(TerminalRequest::Sti, UpperHalf::Clear),
        ),
        row(
            "tiocsti-upper-half",
            "TIOCSTI with garbage in the upper half of the word",
            TERMINAL,
            Anyone,
            promise::filtered,
            |_| on_terminal(TerminalRequest::Sti, UpperHalf::Garbage),
        ),
        row(
            "tioclinux",
            "paste on the console by TIOCLINUX",
            TERMINAL,
            Anyone,
            promise::filtered,
            |_| on_terminal(TerminalRequest::Linux, UpperHalf::Clear),
        ),
        row(
            "tioclinux-upper-half",
            "TIOCLINUX with garbage in the upper half of the word",
            TERMINAL,
            Anyone,
            promise::filtered,
            |_| on_terminal(TerminalRequest::Linux, UpperHalf::Garbage),
        ),
        row(
            "tiocsetd",
            "another line discipline by TIOCSETD",
            TERMINAL,
            Anyone,
            promise::filtered,
            |_| on_terminal(TerminalRequest::SetDiscipline, UpperHalf::Clear),
        ),
        row(
            "tioccons",
            "the console's output by TIOCCONS",
            TERMINAL,
            Nobody,
            promise::filtered,
            |o| {
                if o.place == Place::Control {
                    return Outcome::skipped("would take over the host's console");
                }
                on_terminal(TerminalRequest::Console, UpperHalf::Clear)
            },
        ),
        row(
            "session-keyring",
            "a key of the session keyring",
            KEYS,
            Anyone,
            promise::filtered,
            |o| {
                let Some(serial) = o.session_key else {
                    return Outcome::skipped("no key could be made outside");
                };
                key_read(serial, o)
            },
        ),
        row(
            "user-keyring",
            "a key of the keyring that a user's processes share",
            KEYS,
            Anyone,
            promise::filtered,
            |o| {
                let name = c_string(&format!("{}-user", o.token));
                Outcome::of(
                    sys::search_key(sys::USER_KEYRING, &name),
                    "the key was found",
                )
            },
        ),
        row("add-key", "add_key", KEYS, Anyone, promise::filtered, |o| {
            let name = c_string(&format!("{}-added", o.token));
            match sys::add_key(&name, b"x", sys::USER_KEYRING) {
                Ok(serial) => {
                    // Left linked it would only hold a few bytes until the user's last process ends.
                    let _ = sys::unlink_key(serial, sys::USER_KEYRING);
                    Outcome::open("a key was added")
                }
                Err(errno) => Outcome::refused(errno),
            }
        }),
        row(
            "request-key",
            "request_key",
            KEYS,
            Anyone,
            promise::filtered,
            |o| Outcome::of(sys::request_key(&c_string(&o.token)), "the key was found"),
        ),
        row("keyctl", "keyctl", KEYS, Anyone, promise::filtered, |_| {
            Outcome::of(sys::keyring_id(sys::USER_KEYRING), "the user's keyring")
        }),
    ]
}

/// Ask `request` of a terminal that is this process's own, so that a typed byte hurts nobody.
fn on_terminal(request: TerminalRequest, upper: UpperHalf) -> Outcome {
    let terminal = match nix::pty::openpty(None, None) {
        Ok(terminal) => terminal,
        Err(errno) => return Outcome::skipped(format!("no terminal can be made: {errno:?}")),
    };
    // Without its master the terminal hangs up on its session, which must live on to report.
    let _ = SigSet::all().thread_block();
    // TIOCSTI is for one's controlling terminal only.
    let own = nix::unistd::setsid().and_then(|_| sys::take_terminal(terminal.slave.as_fd()));
    if let Err(errno) = own {
        return Outcome::skipped(format!("no terminal can be taken: {errno:?}"));
    }
    ask_terminal(terminal.slave.as_fd(), request, upper)
}

fn ask_terminal(terminal: BorrowedFd<'_>, request: TerminalRequest, upper: UpperHalf) -> Outcome {
    Outcome::of_call(sys::terminal_ioctl(terminal, request, upper).map(|()| 0))
}

fn key_read(serial: i32, outside: &Outside) -> Outcome {
    match sys::read_key(serial) {
        Ok(payload) if payload == outside.token.as_bytes() => Outcome::open("its payload"),
        Ok(_) => Outcome::held("another key has that serial"),
        Err(errno) => Outcome::refused(errno),
    }
}
