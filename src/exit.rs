//! The exit statuses of `sandbox`: one table, quoted by `--help`, the man page and the README.
//!
//! Pure data; used by the launcher after everything else is over. The numbers are those of
//! env(1), timeout(1) and the container engines, so that scripts need not learn new ones.

/// The time limit given with `--timeout` ran out.
pub const TIMED_OUT: u8 = 124;
/// The launcher failed; the command was not run, or its end could not be learnt.
pub const LAUNCHER_FAILED: u8 = 125;
/// The command was found but could not be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;
/// Added to the number of the signal that killed the command.
pub const SIGNAL_BASE: u8 = 128;

/// Each status and its meaning, in the order in which documents list them.
pub const TABLE: &[(&str, &str)] = &[
    ("0-123", "the command's own status"),
    ("124", "the command was ended because --timeout ran out"),
    ("125", "sandbox itself failed; the command was not run"),
    ("126", "the command was found but could not be executed"),
    ("127", "the command was not found"),
    (
        "128+N",
        "the command was killed by signal N (159: by the system-call filter)",
    ),
];

/// The same for `sandbox serve`, whose workers' statuses are events.
pub const SERVE_TABLE: &[(&str, &str)] = &[
    (
        "0",
        "it was told to end, and every connection came to its own end",
    ),
    (
        "124",
        "it was told to end, and --drain-timeout ran out: what was open was closed",
    ),
    (
        "125",
        "it could not serve, or could not go on: its message says why",
    ),
    ("126", "the worker was found but could not be executed"),
    ("127", "the worker was not found"),
    (
        "128+N",
        "it was told to end by signal N a second time, and ended everything at once",
    ),
];

/// The same for `sandbox netns`.
pub const NETNS_TABLE: &[(&str, &str)] = &[
    ("0", "it was done"),
    ("125", "it was not done: the message says why"),
    (
        "other",
        "of exec: the command's own, as sandbox(1) lists them",
    ),
];

/// The same for `sandbox lab`.
pub const LAB_TABLE: &[(&str, &str)] = &[
    ("0", "it was done; of check: everything is as claimed"),
    ("1", "of check: something is not as claimed"),
    (
        "125",
        "it was not done, and nothing is half done: the message says why",
    ),
    (
        "other",
        "of exec: the command's own, as sandbox(1) lists them",
    ),
];

/// The status for a command that signal `signal` killed.
#[must_use]
pub fn for_signal(signal: i32) -> u8 {
    SIGNAL_BASE.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX))
}
