//! Packets with descriptors between two processes of ours: `SOCK_SEQPACKET` and `SCM_RIGHTS`
//! (unix(7)).
//!
//! The receiving half is not nix's: where descriptors were cut off, for want of room or because this
//! process may have no more, that one gives an error and forgets those that did come.
#![expect(unsafe_code, reason = "the fence: one system call per function")]

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// More descriptors than any packet of ours has, so that a surplus is seen.
const ROOM: usize = 8;
/// `struct cmsghdr`: a length, a level, a type.
const HEADER: usize = size_of::<usize>() + 8;

/// A received packet.
#[derive(Debug)]
pub(crate) struct Packet {
    /// Its bytes that the buffer has; 0 at the end of file too.
    pub(crate) length: usize,
    /// Its descriptors, close-on-exec.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// What it had besides.
    pub(crate) cut: Cut,
}

/// What was cut off a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing.
    Nothing,
    /// Bytes: it was longer than the buffer.
    Bytes,
    /// Descriptors: there were too many, or this process may open no more.
    Descriptors,
}

/// Send `bytes`, at least one, with `descriptors`; never waits, never raises SIGPIPE.
///
/// Not async-signal-safe: allocates.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control: &[_] = if numbers.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control,
            flags,
            None,
        ) {
            Err(Errno::EINTR) => {}
            sent => return sent.map(drop),
        }
    }
}

/// Receive one packet; never waits.
///
/// Not async-signal-safe: allocates, and uses libc's errno.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Packet, Errno> {
    // Words, because the kernel lays headers out in them.
    let mut control = [0_usize; (HEADER + ROOM * size_of::<RawFd>()).div_ceil(size_of::<usize>())];
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: `msghdr` is numbers and pointers; all zero means "nothing there".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    let length = loop {
        message.msg_controllen = size_of_val(&control);
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        // SAFETY: the kernel writes at most `iov_len` bytes into the exclusive slice, at most
        // `msg_controllen` into `control`, and the header itself; all live over the call.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        match Errno::result(received) {
            Err(Errno::EINTR) => {}
            received => break received?,
        }
    };
    let filled = message.msg_controllen;
    let control: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let numbers = rights(control.get(..filled).unwrap_or(&control));
    let descriptors = numbers
        .into_iter()
        // SAFETY: recvmsg(2) made these descriptors for this process, and nothing else owns them.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect();
    Ok(Packet {
        length: usize::try_from(length).unwrap_or(0),
        descriptors,
        cut: if message.msg_flags & libc::MSG_CTRUNC != 0 {
            Cut::Descriptors
        } else if message.msg_flags & libc::MSG_TRUNC != 0 {
            Cut::Bytes
        } else {
            Cut::Nothing
        },
    })
}

/// The numbers in the control messages of kind `SCM_RIGHTS` (cmsg(3)).
fn rights(mut control: &[u8]) -> Vec<RawFd> {
    let mut numbers = Vec::new();
    while let Some((length, rest)) = control.split_first_chunk() {
        let length = usize::from_ne_bytes(*length).min(control.len());
        let Some((level, rest)) = rest.split_first_chunk() else {
            break;
        };
        let Some((kind, _)) = rest.split_first_chunk() else {
            break;
        };
        let is_rights = i32::from_ne_bytes(*level) == libc::SOL_SOCKET
            && i32::from_ne_bytes(*kind) == libc::SCM_RIGHTS;
        let data = control.get(HEADER..length).unwrap_or_default();
        if is_rights {
            let (words, _) = data.as_chunks();
            numbers.extend(words.iter().map(|&word| RawFd::from_ne_bytes(word)));
        }
        let next = length.max(HEADER).next_multiple_of(size_of::<usize>());
        control = control.get(next..).unwrap_or_default();
    }
    numbers
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use nix::sys::resource::{Resource, setrlimit};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC;
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
    }

    #[test]
    fn bytes_and_descriptors_arrive_together() {
        let (here, there) = pair();
        let file = File::open("/dev/null").unwrap();
        for count in 0..=3 {
            let sent = vec![file.as_fd(); count];
            send(here.as_fd(), b"hello", &sent).unwrap();
            let mut buffer = [0; 16];
            let packet = receive(there.as_fd(), &mut buffer).unwrap();
            assert_eq!(&buffer[..packet.length], b"hello");
            assert_eq!(packet.descriptors.len(), count);
            assert_eq!(packet.cut, Cut::Nothing);
        }
        let nothing = receive(there.as_fd(), &mut [0; 16]).map(|_| ());
        assert_eq!(nothing, Err(Errno::EAGAIN));
        drop(here);
        assert_eq!(receive(there.as_fd(), &mut [0; 16]).unwrap().length, 0);
    }

    #[test]
    fn what_is_cut_off_is_told() {
        let (here, there) = pair();
        send(here.as_fd(), &[7; 17], &[]).unwrap();
        assert_eq!(
            receive(there.as_fd(), &mut [0; 16]).unwrap().cut,
            Cut::Bytes
        );
        let file = File::open("/dev/null").unwrap();
        send(here.as_fd(), b"x", &[file.as_fd(); 20]).unwrap();
        let packet = receive(there.as_fd(), &mut [0; 16]).unwrap();
        assert_eq!(packet.cut, Cut::Descriptors);
        assert!(
            packet.descriptors.len() >= ROOM,
            "those that came are owned"
        );
    }

    #[test]
    fn descriptors_that_this_process_may_not_have_are_told() {
        crate::testing::alone(|| {
            let (here, there) = pair();
            let file = File::open("/dev/null").unwrap();
            send(here.as_fd(), b"x", &[file.as_fd(), file.as_fd()]).unwrap();
            let next = nix::unistd::dup(&file).unwrap().as_raw_fd();
            // Room for one of the two.
            let most = u64::try_from(next).unwrap() + 1;
            setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
            let packet = receive(there.as_fd(), &mut [0; 16]).unwrap();
            assert_eq!(packet.cut, Cut::Descriptors);
            assert_eq!(packet.descriptors.len(), 1);
        });
    }
}
