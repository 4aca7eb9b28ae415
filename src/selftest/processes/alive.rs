//! Staying alive when the sandbox ends.

use std::borrow::Cow;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::policy::Policy;
use crate::selftest::attempt::{Act, Attempt, Control, Group, Outcome, Trace};
use crate::selftest::outside::Outside;
use crate::selftest::promise::{self, Promised};
use crate::sys::attempt as sys;

pub(super) fn of_staying_alive() -> Vec<Attempt> {
    let left = |name, tries, wall, promise, act, trace| Attempt {
        name: Cow::Borrowed(name),
        group: Group::Processes,
        tries,
        wall,
        control: Control::Anyone,
        promise,
        act: Act::Leave(act, trace),
    };
    vec![
        left(
            "outlive",
            "stay alive: double fork, setsid, every signal blocked",
            "process namespace ends with init",
            promise::processes as fn(&Policy) -> Promised,
            daemonize as fn(&Outside) -> Outcome,
            Trace::Survivor,
        ),
        left(
            "signal-process-group",
            "a signal to the launcher's process group",
            "Landlock signal scope, or a group of its own",
            promise::processes,
            |_| match kill(Pid::from_raw(0), Signal::SIGURG) {
                Ok(()) => Outcome::held("none arrived at the launcher"),
                Err(errno) => Outcome::refused(errno),
            },
            Trace::Signal,
        ),
    ]
}

/// Leave a process behind that no signal but SIGKILL ends. Outside it is looked for afterwards.
fn daemonize(_: &Outside) -> Outcome {
    let forked = sys::fork(|| {
        let _ = nix::unistd::setsid();
        i32::from(sys::fork(linger).is_err())
    });
    match forked.and_then(|pid| nix::sys::wait::waitpid(pid, None)) {
        Ok(_) => Outcome::held("it ended with the sandbox"),
        Err(errno) => Outcome::refused(errno),
    }
}

/// Wait ten seconds, holding nothing that anybody waits for.
fn linger() -> i32 {
    let _ = nix::unistd::alarm::cancel();
    let _ = SigSet::all().thread_block();
    for descriptor in 0..1024 {
        sys::close_descriptor(descriptor);
    }
    std::thread::sleep(Duration::from_secs(10));
    0
}
