//! Requests to a terminal that reach beyond the command's own use of it.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// What a program may ask of a terminal in order to type on it for others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TerminalRequest {
    /// Put a byte into its input.
    Sti = libc::TIOCSTI as isize,
    /// The console's selection, which can be pasted.
    Linux = libc::TIOCLINUX as isize,
    /// Another line discipline.
    SetDiscipline = libc::TIOCSETD as isize,
    /// Take over the console's output.
    Console = libc::TIOCCONS as isize,
}

/// What stands in the half of the request word that the kernel ignores.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UpperHalf {
    /// Zeros.
    Clear,
    /// Anything else: fools a filter that compares 64 bits.
    Garbage,
}

/// ioctl(2) of `request` on a terminal, with a zeroed argument: byte NUL, discipline N_TTY.
pub(crate) fn terminal_ioctl(
    terminal: BorrowedFd<'_>,
    request: TerminalRequest,
    upper: UpperHalf,
) -> Result<(), Errno> {
    let mut argument = [0_u8; 64];
    let word = request as u64
        | match upper {
            UpperHalf::Clear => 0,
            UpperHalf::Garbage => 0x1234_5678 << 32,
        };
    let fd = terminal.as_raw_fd();
    // SAFETY: each of the four requests reads or writes at most a few bytes at its argument, which
    // has 64.
    let result = unsafe { libc::syscall(libc::SYS_ioctl, fd, word, argument.as_mut_ptr()) };
    Errno::result(result).map(drop)
}

/// Make `terminal` this session's controlling terminal (ioctl_tty(2)).
pub(crate) fn take_terminal(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes a number, not a pointer.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) };
    Errno::result(result).map(drop)
}
