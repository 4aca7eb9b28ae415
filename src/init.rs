//! The sandbox's init as the launcher holds it: a sealed memfd to execute.
//!
//! The program itself is `src/init/program.rs`, compiled by `build.rs`. Made once in a process's
//! life and then shared by every launch; its seals (memfd_create(2), fcntl(2)) make sure that nobody
//! changes it in between.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{MsgFlags, recv, send};

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));
static DESCRIPTOR: OnceLock<OwnedFd> = OnceLock::new();

/// Kind and value of the records that the init writes, eight bytes each, native byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The command ended with this wait(2) status.
    Ended(i32),
    /// The command was stopped, with this wait(2) status.
    Stopped(i32),
    /// The init could not do its work.
    Failed(Errno),
}

impl Record {
    /// The bytes of one record.
    pub const LENGTH: usize = 8;

    /// Read one record; `None` for anything that the init does not write.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, value) = bytes.split_first_chunk::<4>()?;
        let value = i32::from_ne_bytes(value.try_into().ok()?);
        match i32::from_ne_bytes(*kind) {
            1 => Some(Self::Ended(value)),
            2 => Some(Self::Stopped(value)),
            3 => Some(Self::Failed(Errno::from_raw(value.saturating_neg()))),
            _ => None,
        }
    }
}

/// What there is to hear from an init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Its next record.
    Record(Record),
    /// Nothing, for now.
    Nothing,
    /// Nothing any more: it is gone, and all of its records have been read.
    End,
}

/// The next record of the init at the other end of `status`; never waits.
///
/// An init that ends while a word of ours lies unread in its socket resets the connection, as on a stream:
/// recv(2) tells of that first, once, and has the records that came before it only then.
pub(crate) fn hear(status: BorrowedFd<'_>, flags: MsgFlags) -> Heard {
    let mut bytes = [0; Record::LENGTH];
    let flags = flags | MsgFlags::MSG_DONTWAIT;
    loop {
        match recv(status.as_raw_fd(), &mut bytes, flags) {
            Ok(0) => return Heard::End,
            Ok(length) => match bytes.get(..length).and_then(Record::decode) {
                Some(record) => return Heard::Record(record),
                // Nothing that an init writes.
                None if flags.contains(MsgFlags::MSG_PEEK) => return Heard::Nothing,
                None => {}
            },
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(Errno::EAGAIN) => return Heard::Nothing,
            Err(_) => return Heard::End,
        }
    }
}

/// A stop from which a command may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Whichever it is in.
    Any,
    /// The one with this number: the first that was reported is 1.
    Number(u32),
}

/// Let the command of the init at the other end of `status` go on from `stop`.
pub(crate) fn resume(status: BorrowedFd<'_>, stop: Stop) {
    let number = match stop {
        Stop::Any => 0,
        Stop::Number(number) => number,
    };
    // An init that is gone has nobody to resume.
    let _ = send(
        status.as_raw_fd(),
        &number.to_ne_bytes(),
        MsgFlags::MSG_NOSIGNAL,
    );
}

/// A descriptor of the program, for execveat(2). Since Linux 3.17 (memfd), 3.19 (execveat).
///
/// # Errors
/// When the kernel gives no memory file, or refuses an executable one (`vm.memfd_noexec` 2).
pub(crate) fn descriptor() -> Result<BorrowedFd<'static>, Errno> {
    if let Some(ready) = DESCRIPTOR.get() {
        return Ok(ready.as_fd());
    }
    let made = make()?;
    Ok(DESCRIPTOR.get_or_init(|| made).as_fd())
}

fn make() -> Result<OwnedFd, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // MFD_EXEC says since Linux 6.3 what was understood before; older kernels refuse the flag.
    let executable = MFdFlags::from_bits_retain(0x10);
    let fd = match memfd_create(c"sandbox-init", flags | executable) {
        Err(Errno::EINVAL) => memfd_create(c"sandbox-init", flags),
        other => other,
    }?;
    let mut file = File::from(fd);
    file.write_all(PROGRAM)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(OwnedFd::from(file))
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn records_of_any_other_shape_are_refused() {
        assert_eq!(Record::decode(&[]), None);
        assert_eq!(Record::decode(&[1, 0, 0, 0]), None);
        assert_eq!(Record::decode(&[9, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Record::decode(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        let ended = [1_i32.to_ne_bytes(), 256_i32.to_ne_bytes()].concat();
        assert_eq!(Record::decode(&ended), Some(Record::Ended(256)));
    }

    #[test]
    fn the_last_record_is_heard_of_an_init_that_left_a_word_unread() {
        crate::testing::alone(|| {
            let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
            let (ours, its) = socketpair(AddressFamily::Unix, kind, None, flags).unwrap();
            let none = MsgFlags::empty();
            assert_eq!(hear(ours.as_fd(), none), Heard::Nothing);
            let ended = Record::Ended(7 << 8);
            let record = [1_i32.to_ne_bytes(), (7_i32 << 8).to_ne_bytes()].concat();
            for noise in [&b"x"[..], &record, &[9; 12], &[9; 8], &record] {
                send(its.as_raw_fd(), noise, MsgFlags::empty()).unwrap();
            }
            resume(ours.as_fd(), Stop::Any);
            drop(its);
            assert_eq!(hear(ours.as_fd(), none), Heard::Record(ended));
            assert_eq!(
                hear(ours.as_fd(), MsgFlags::MSG_PEEK),
                Heard::Nothing,
                "looking takes nothing away"
            );
            assert_eq!(hear(ours.as_fd(), none), Heard::Record(ended));
            assert_eq!(hear(ours.as_fd(), none), Heard::End);
            // What comes to nobody.
            resume(ours.as_fd(), Stop::Any);
        });
    }

    #[test]
    fn the_program_is_sealed() {
        let mut copy = File::from(make().unwrap());
        assert!(copy.write_all(b"x").is_err());
    }
}
