//! What the command may: capabilities, filters, namespaces, as whom.

use super::{Parsed, advice_and, choice, invalid};
use crate::policy::{Seccomp, UserNamespace};

/// Capabilities by name; the index is the kernel's number (capabilities(7)).
pub const CAPABILITIES: &[&str] = &[
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Whether the sandbox gets a user namespace: `auto`, `yes` or `no`.
///
/// # Errors
/// When it is none of these.
pub fn user_namespace(text: &str) -> Parsed<UserNamespace> {
    let choices = [
        ("auto", UserNamespace::Auto),
        ("yes", UserNamespace::Yes),
        ("no", UserNamespace::No),
    ];
    choice(text, "user-namespace setting", &choices)
}

/// The system-call filter: a profile's name, a file, or `off`. Whether the profile exists is for the
/// filter to say.
///
/// # Errors
/// When it is empty or holds a control character.
pub fn seccomp(text: &str) -> Parsed<Seccomp> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return invalid("name a system-call profile or its file, or say \"off\"");
    }
    if text == "off" {
        return Ok(Seccomp::Off);
    }
    Ok(Seccomp::Profile(text.to_owned()))
}

/// A capability: its name, with or without `CAP_`, in any case, or its number.
///
/// # Errors
/// When no kernel up to now has it.
pub fn capability(text: &str) -> Parsed<u8> {
    let lower = text.to_ascii_lowercase();
    let short = lower.strip_prefix("cap_").unwrap_or(&lower);
    let number = match short.parse::<usize>() {
        Ok(number) => Some(number).filter(|number| *number < CAPABILITIES.len()),
        Err(_) => CAPABILITIES.iter().position(|name| *name == short),
    };
    let Some(number) = number.and_then(|number| u8::try_from(number).ok()) else {
        return invalid(format!(
            "no capability is called \"{}\"{}",
            text.escape_debug(),
            advice_and(short, CAPABILITIES.iter().copied(), "see capabilities(7)")
        ));
    };
    Ok(number)
}

/// The name of capability `number` in lower case without `CAP_`, or the number itself.
#[must_use]
pub fn show_capability(number: u8) -> String {
    CAPABILITIES
        .get(usize::from(number))
        .map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// A user or group: a name or a number.
///
/// # Errors
/// When it is neither.
pub fn account(text: &str) -> Parsed<String> {
    // passwd(5) has a colon between fields; a name of digits only would be taken for a number.
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == ':' || c == '/';
    if text.is_empty() || text.starts_with('-') || text.contains(odd) {
        return invalid("name a user or group by name or number");
    }
    if text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<u32>().is_ok_and(|id| id == u32::MAX)
        || text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u32>().is_err()
    {
        return invalid("a user or group number is below 4294967295");
    }
    Ok(text.to_owned())
}

/// Names of namespaces with commas between (`--share pid,ipc`), as they stand in `[namespaces]`.
///
/// # Errors
/// When a name is none of `pid`, `mount`, `ipc`, `uts`, `cgroup`.
pub fn namespaces(text: &str) -> Parsed<Vec<&'static str>> {
    let choices = ["pid", "mount", "ipc", "uts", "cgroup"].map(|name| (name, name));
    text.split(',')
        .map(|name| choice(name, "namespace to share", &choices))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn capabilities() {
        check(
            capability,
            |number| format!("{number} {}", show_capability(number)),
            &[
                ("chown", Ok("0 chown")),
                ("CAP_NET_BIND_SERVICE", Ok("10 net_bind_service")),
                ("21", Ok("21 sys_admin")),
                ("cap_checkpoint_restore", Ok("40 checkpoint_restore")),
                (
                    "41",
                    Err("no capability is called \"41\"; see capabilities(7)"),
                ),
                (
                    "net_bnd_service",
                    Err(
                        "no capability is called \"net_bnd_service\"; did you mean \"net_bind_service\"? see capabilities(7)",
                    ),
                ),
                ("", Err("no capability is called \"\"; see capabilities(7)")),
            ],
        );
    }

    #[test]
    fn capabilities_have_the_numbers_that_the_caps_crate_knows() {
        for (number, name) in CAPABILITIES.iter().enumerate() {
            let upper = format!("CAP_{}", name.to_ascii_uppercase());
            let known: caps::Capability = upper.parse().unwrap();
            assert_eq!(usize::from(known.index()), number, "{name}");
        }
        assert_eq!(CAPABILITIES.len(), caps::all().len());
    }
}
