//! Receiving a message with descriptors over a Unix socket.
//!
//! Here and not with `nix`, because of what becomes of descriptors that do not fit: where the process
//! has no numbers left (`RLIMIT_NOFILE`), the kernel installs the first ones, drops the rest and sets
//! `MSG_CTRUNC`; nix then gives an error and forgets the ones installed.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;

/// The kernel's own limit of descriptors in one message (SCM_MAX_FD, unix(7)).
const MOST_DESCRIPTORS: usize = 253;
/// Length, level and type of a control message; data follows, and the next one at a multiple of eight.
const HEADER: usize = 16;

/// Bytes of control data that carry so many descriptors.
pub(super) const fn room_for(descriptors: usize) -> usize {
    (HEADER + descriptors * size_of::<RawFd>()).next_multiple_of(8)
}

/// As the kernel wants it: aligned like `struct cmsghdr`.
#[repr(align(8))]
struct Control<const BYTES: usize>([u8; BYTES]);

/// One received message.
#[derive(Debug)]
pub(crate) struct Message {
    /// How many bytes it has, or had room for.
    pub(crate) length: usize,
    /// `MSG_TRUNC`: bytes were cut. `MSG_CTRUNC`: descriptors were dropped.
    pub(crate) flags: MsgFlags,
    /// The descriptors that came, in the order in which they were sent; all close-on-exec.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// recvmsg(2) with room for every descriptor that one message can have.
///
/// Not async-signal-safe: uses libc's errno, allocates.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    flags: MsgFlags,
) -> Result<Message, Errno> {
    receive_within::<{ room_for(MOST_DESCRIPTORS) }>(socket, bytes, flags)
}

/// The same with `ROOM` bytes for control data ([`room_for`]): the kernel drops the descriptors that do
/// not fit, and says `MSG_CTRUNC`.
///
/// Not async-signal-safe: uses libc's errno, allocates.
pub(super) fn receive_within<const ROOM: usize>(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    flags: MsgFlags,
) -> Result<Message, Errno> {
    let mut control = Control([0; ROOM]);
    let message = receive_into(socket, bytes, &mut control.0, flags)?;
    let numbers = rights(control.0.get(..message.control).unwrap_or_default());
    let descriptors = numbers
        .into_iter()
        // SAFETY: recvmsg(2) has just made these descriptors for this process, each named once, and
        // nothing else owns them.
        .map(|number| unsafe { OwnedFd::from_raw_fd(number) })
        .collect();
    Ok(Message {
        length: message.length,
        flags: message.flags,
        descriptors,
    })
}

/// recvmsg(2) that takes no descriptor: the kernel drops those that came and says `MSG_CTRUNC`.
///
/// For messages from somebody who could otherwise fill this process's descriptor table.
///
/// Not async-signal-safe: uses libc's errno.
pub(crate) fn receive_bytes(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    flags: MsgFlags,
) -> Result<(usize, MsgFlags), Errno> {
    let message = receive_into(socket, bytes, &mut [], flags)?;
    Ok((message.length, message.flags))
}

struct Taken {
    length: usize,
    control: usize,
    flags: MsgFlags,
}

fn receive_into(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    control: &mut [u8],
    flags: MsgFlags,
) -> Result<Taken, Errno> {
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: integers and null pointers; all zero is a message without anything.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !control.is_empty() {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = control.len();
    }
    let flags = (flags | MsgFlags::MSG_CMSG_CLOEXEC).bits();
    loop {
        // SAFETY: both buffers live over the call and have the lengths given; the kernel writes no
        // further.
        let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        match Errno::result(result) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(length) => {
                return Ok(Taken {
                    length: usize::try_from(length).unwrap_or(0),
                    control: message.msg_controllen,
                    flags: MsgFlags::from_bits_retain(message.msg_flags),
                });
            }
        }
    }
}

/// The descriptors of every `SCM_RIGHTS` in control data that the kernel has written (cmsg(3)).
fn rights(control: &[u8]) -> Vec<RawFd> {
    let mut found = Vec::new();
    let mut left = control;
    while let Some((header, _)) = left.split_first_chunk::<HEADER>() {
        let [length, kind] = header.as_chunks::<8>().0 else {
            break;
        };
        let length = usize::from_ne_bytes(*length);
        let Some(data) = left.get(HEADER..length) else {
            break;
        };
        let [level, kind] = kind.as_chunks::<4>().0 else {
            break;
        };
        let (level, kind) = (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind));
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            found.extend(
                data.as_chunks::<4>()
                    .0
                    .iter()
                    .map(|n| RawFd::from_ne_bytes(*n)),
            );
        }
        left = left.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use sendfd::SendWithFd;

    use super::*;

    #[test]
    fn descriptors_arrive_in_order_and_close_on_exec() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let pairs = [(); 3].map(|()| UnixStream::pair().unwrap());
        let inode = |fd: BorrowedFd<'_>| nix::sys::stat::fstat(fd).unwrap().st_ino;
        let sent: Vec<_> = pairs.iter().cycle().take(MOST_DESCRIPTORS).collect();
        let numbers: Vec<_> = sent.iter().map(|(_, end)| end.as_raw_fd()).collect();
        ours.send_with_fd(b"as many as there can be", &numbers)
            .unwrap();
        let mut bytes = [0; 64];
        let message = receive(theirs.as_fd(), &mut bytes, MsgFlags::empty()).unwrap();
        assert_eq!(&bytes[..message.length], b"as many as there can be");
        let cut = MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC;
        assert!(!message.flags.intersects(cut));
        assert_eq!(message.descriptors.len(), MOST_DESCRIPTORS);
        for ((_, end), received) in sent.into_iter().zip(message.descriptors) {
            assert_eq!(inode(end.as_fd()), inode(received.as_fd()));
            let flags = nix::fcntl::fcntl(&received, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, libc::FD_CLOEXEC);
        }
    }

    #[test]
    fn descriptors_that_are_not_wanted_are_closed_by_the_kernel_and_told() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let (mut outside, inside) = UnixStream::pair().unwrap();
        ours.send_with_fd(b"x", &[inside.as_raw_fd()]).unwrap();
        drop(inside);
        let (length, flags) =
            receive_bytes(theirs.as_fd(), &mut [0; 8], MsgFlags::empty()).unwrap();
        assert_eq!(length, 1);
        assert!(flags.contains(MsgFlags::MSG_CTRUNC));
        // Nobody has the other end any more.
        assert_eq!(outside.read(&mut [0]).unwrap(), 0);
        ours.send(b"y").unwrap();
        let (_, flags) = receive_bytes(theirs.as_fd(), &mut [0; 8], MsgFlags::empty()).unwrap();
        assert!(!flags.contains(MsgFlags::MSG_CTRUNC));
    }

    #[test]
    fn a_message_that_is_too_long_says_so() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.send(b"123456789").unwrap();
        let message = receive(theirs.as_fd(), &mut [0; 8], MsgFlags::empty()).unwrap();
        assert!(message.flags.contains(MsgFlags::MSG_TRUNC));
        let nothing = receive(theirs.as_fd(), &mut [0; 8], MsgFlags::MSG_DONTWAIT);
        assert_eq!(nothing.unwrap_err(), Errno::EAGAIN);
    }
}
