//! What the kernel says of the task that makes a call: its process, and whether a signal waits for it.
#![forbid(unsafe_code)]

use tracing::debug;

use crate::proc_file;

/// The number after `name:` in a task's status file.
fn status_number(status: &str, name: &str, radix: u32) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(line.strip_prefix(':')?.trim(), radix).ok()
}

/// The process of thread `task`.
pub(super) fn process_of(task: i32) -> Option<i32> {
    let status = proc_file::read_text(format!("/proc/{task}/status")).ok()?;
    status_number(&status, "Tgid", 10).and_then(|pid| i32::try_from(pid).ok())
}

/// Whether thread `task` has a signal to take, so that a call of its own would be interrupted.
pub(super) fn has_signal(task: i32) -> bool {
    let Ok(status) = proc_file::read_text(format!("/proc/{task}/status")) else {
        return false;
    };
    let set = |name| status_number(&status, name, 16).unwrap_or(0);
    let found = (set("SigPnd") | set("ShdPnd")) & !set("SigBlk");
    if found != 0 {
        debug!(task, found = format_args!("{found:#x}"), "is interrupted");
    }
    found != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_status_file_are_found() {
        let status = "Name:\tx\nTgid:\t17\nSigPnd:\t0000000000000401\n";
        assert_eq!(status_number(status, "Tgid", 10), Some(17));
        assert_eq!(status_number(status, "SigPnd", 16), Some(0x401));
        assert_eq!(status_number(status, "SigBlk", 16), None);
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(process_of(own), Some(own));
        assert!(!has_signal(own));
    }
}
