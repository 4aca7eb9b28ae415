//! Packets with descriptors between two processes of ours: `SOCK_SEQPACKET` and `SCM_RIGHTS`
//! (unix(7)).
//!
//! The receiving half is [`super::message`]'s, with room for few descriptors.
#![forbid(unsafe_code)]

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::message;

/// More descriptors than any packet of ours has, so that a surplus is seen.
const ROOM: usize = 8;

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
    let message = message::receive_within::<{ message::room_for(ROOM) }>(
        socket,
        buffer,
        MsgFlags::MSG_DONTWAIT,
    )?;
    Ok(Packet {
        length: message.length,
        descriptors: message.descriptors,
        cut: if message.flags.contains(MsgFlags::MSG_CTRUNC) {
            Cut::Descriptors
        } else if message.flags.contains(MsgFlags::MSG_TRUNC) {
            Cut::Bytes
        } else {
            Cut::Nothing
        },
    })
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
        // Alone: what another test forks holds a copy of each end until it executes.
        crate::testing::alone(|| {
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
        });
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
