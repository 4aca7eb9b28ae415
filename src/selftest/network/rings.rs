//! io_uring, whose operations no filter sees.

use std::borrow::Cow;

use super::row;
use crate::selftest::attempt::{Act, Attempt, Control, Group, Outcome};
use crate::selftest::promise;
use crate::sys::attempt as sys;

pub(super) fn of_rings() -> Vec<Attempt> {
    use Control::Anyone;
    let mut attempts = vec![row(
        "io-uring",
        "sockets and connections by io_uring",
        "filter: no io_uring",
        Anyone,
        promise::filtered,
        |_| Outcome::of(sys::io_uring_setup(), "a ring"),
    )];
    attempts.extend(sys::RING_CALLS.iter().map(|call| Attempt {
        name: Cow::Owned(call.name.replace('_', "-")),
        group: Group::Network,
        tries: "use a ring that was passed in",
        wall: "filter: no io_uring",
        control: call.control,
        promise: promise::filtered,
        act: Act::Call(call),
    }));
    attempts
}
