//! `sandbox netns` as root: names in /run/netns are root's to make.

use std::process::Output;

use super::{User, skip, success, users};

/// Root; `None`, and a line that says so, where the test called `name` cannot be made.
pub(crate) fn root(name: &str) -> Option<&'static User> {
    let root = users().iter().find(|user| user.is_root());
    if root.is_none() {
        skip(name, "names in /run/netns are root's to make");
    }
    root
}

/// What `sandbox netns` with `arguments` has said.
pub(crate) fn netns(user: &User, arguments: &[&str]) -> Output {
    user.output(&[&["netns"], arguments].concat())
}

/// What it prints; it must succeed.
#[track_caller]
pub(crate) fn done(user: &User, arguments: &[&str]) -> String {
    success(user, &netns(user, arguments))
}
