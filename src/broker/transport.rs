//! Moving the channel's messages, with their descriptors, over a `SOCK_SEQPACKET` pair (unix(7)).
//!
//! Effects only: what the bytes mean is [`super::channel`]'s, who gets what is [`super::pool`]'s.
//!
//! * The broker's end never blocks; a channel that takes no more is an answer, not an error.
//! * The broker keeps a copy of the worker's end. After the worker's death it is what the unread
//!   messages are taken back from, with their descriptors ([`take_back`]). The price: while the copy is
//!   open, the broker sees no end of file when the worker closes its end; a worker's death is told by
//!   its pidfd.
//! * From a worker no descriptor is taken: the kernel drops what comes, and the worker is at fault.
//! * Where a receiver has no numbers left for descriptors, the first ones of a message come and the
//!   rest is dropped by the kernel; those connections are named as torn, nothing is silently lost.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, socketpair};
use sendfd::SendWithFd;

use super::channel::{Delivery, FromWorker, LONGEST, Malformed, ToWorker, encode_connections};
use crate::plan::errno_of;
use crate::sys::message;

/// The most messages that are taken from one worker before it is the others' turn.
pub(super) const MOST_MESSAGES: usize = 32;

/// A connection on its way: what is told of it, and itself.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) delivery: Delivery,
    pub(crate) socket: OwnedFd,
}

/// What has become of a message to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is in the channel.
    Taken,
    /// The channel has no space; poll(2) tells when it has.
    Full,
    /// The kernel has no memory, or too many descriptors of this user are on their way
    /// (`ETOOMANYREFS`, unix(7)): some time later.
    Later,
    /// Nobody reads the other end any more.
    Gone,
}

/// What a worker did to its channel that ends the broker's trust in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Breach {
    /// It shut its end down, or sent an empty message.
    #[error("it shut its channel down")]
    Shut,
    /// It sent descriptors.
    #[error("it sent descriptors")]
    Descriptors,
    /// It sent more than any message has.
    #[error("it sent a message that is too long")]
    TooLong,
    /// It sent what is no message.
    #[error("it sent a malformed message: {0}")]
    Malformed(#[from] Malformed),
    /// The kernel would not read.
    #[error("its channel cannot be read: {0}")]
    Unreadable(Errno),
}

/// The broker's end of a channel.
#[derive(Debug)]
pub(crate) struct Channel {
    /// A `UnixDatagram` because that is the type that sends one message a call; the socket is of
    /// `SOCK_SEQPACKET` and raises no SIGPIPE, as one of `SOCK_STREAM` would.
    socket: UnixDatagram,
    bytes: Vec<u8>,
    numbers: Vec<RawFd>,
}

/// A channel: the broker's end, and the worker's.
pub(crate) fn pair() -> Result<(Channel, OwnedFd), Errno> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    let channel = Channel {
        socket: UnixDatagram::from(ours),
        bytes: Vec::new(),
        numbers: Vec::new(),
    };
    // Ours alone: the two ends are two open file descriptions.
    channel
        .socket
        .set_nonblocking(true)
        .map_err(|error| errno_of(&error))?;
    Ok((channel, theirs))
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Channel {
    /// Send one message with `parcels`; they stay the caller's, who closes what was taken.
    pub(crate) fn send<'a>(
        &mut self,
        parcels: impl ExactSizeIterator<Item = &'a Parcel> + Clone,
    ) -> Result<Sent, Errno> {
        self.bytes.clear();
        let deliveries = parcels.clone().map(|parcel| &parcel.delivery);
        encode_connections(deliveries, &mut self.bytes).map_err(|_| Errno::EMSGSIZE)?;
        self.numbers.clear();
        self.numbers
            .extend(parcels.map(|parcel| parcel.socket.as_raw_fd()));
        loop {
            let sent = self.socket.send_with_fd(&self.bytes, &self.numbers);
            match sent.map_err(|error| errno_of(&error)) {
                Err(Errno::EINTR) => {}
                other => return outcome(other),
            }
        }
    }

    /// Tell the worker to finish what it has and end.
    pub(crate) fn send_drain(&mut self) -> Result<Sent, Errno> {
        self.bytes.clear();
        ToWorker::Drain
            .encode(&mut self.bytes)
            .map_err(|_| Errno::EMSGSIZE)?;
        outcome(
            self.socket
                .send(&self.bytes)
                .map_err(|error| errno_of(&error)),
        )
    }

    /// The next message of the worker, if one is there. Call it again until there is none.
    pub(crate) fn receive(&mut self) -> Result<Option<FromWorker>, Breach> {
        self.bytes.resize(LONGEST, 0);
        let nothing = MsgFlags::empty();
        let (length, flags) =
            match message::receive_bytes(self.socket.as_fd(), &mut self.bytes, nothing) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(Breach::Unreadable(errno)),
            };
        if flags.contains(MsgFlags::MSG_CTRUNC) {
            return Err(Breach::Descriptors);
        }
        if flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(Breach::TooLong);
        }
        match self.bytes.get(..length) {
            None | Some([]) => Err(Breach::Shut),
            Some(bytes) => Ok(Some(FromWorker::decode(bytes)?)),
        }
    }
}

fn outcome(sent: Result<usize, Errno>) -> Result<Sent, Errno> {
    match sent {
        Ok(_) => Ok(Sent::Taken),
        Err(Errno::EAGAIN) => Ok(Sent::Full),
        Err(Errno::ENOBUFS | Errno::ENOMEM | Errno::ETOOMANYREFS) => Ok(Sent::Later),
        Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ECONNREFUSED | Errno::ENOTCONN) => {
            Ok(Sent::Gone)
        }
        Err(errno) => Err(errno),
    }
}

/// What came out of a worker's end.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// Connections.
    Connections {
        /// Those whose descriptors came.
        parcels: Vec<Parcel>,
        /// Those whose descriptors the kernel dropped.
        torn: Vec<Delivery>,
    },
    /// No more will come.
    Drain,
    /// The broker is gone.
    Closed,
}

/// Why nothing came out of a worker's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Blocked {
    /// No message is there, and the caller did not want to wait.
    #[error("no message is there")]
    Empty,
    /// The kernel would not read.
    #[error("the channel cannot be read: {0}")]
    Unreadable(Errno),
    /// It is no message.
    #[error("the broker sent a malformed message: {0}")]
    Malformed(#[from] Malformed),
}

/// Whether to wait for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until one is there.
    Forever,
    /// Not at all.
    No,
}

/// Take one message out of a worker's end.
pub(crate) fn receive(
    end: BorrowedFd<'_>,
    bytes: &mut Vec<u8>,
    wait: Wait,
) -> Result<Incoming, Blocked> {
    bytes.resize(LONGEST, 0);
    let flags = match wait {
        Wait::Forever => MsgFlags::empty(),
        Wait::No => MsgFlags::MSG_DONTWAIT,
    };
    let received = match message::receive(end, bytes, flags) {
        Ok(received) => received,
        Err(Errno::EAGAIN) => return Err(Blocked::Empty),
        // The broker went away and left something unread.
        Err(Errno::ECONNRESET) => return Ok(Incoming::Closed),
        Err(errno) => return Err(Blocked::Unreadable(errno)),
    };
    let bytes = bytes.get(..received.length).unwrap_or_default();
    if bytes.is_empty() {
        return Ok(Incoming::Closed);
    }
    // A descriptor too many is malformed; one too few is too, unless the kernel says that it dropped
    // some.
    let came = received.descriptors.len();
    let message = match received.flags.contains(MsgFlags::MSG_CTRUNC) {
        false => ToWorker::decode(bytes, came)?,
        true => ToWorker::decode_bytes(bytes)?,
    };
    let mut deliveries = match message {
        ToWorker::Drain => return Ok(Incoming::Drain),
        ToWorker::Connections(deliveries) => deliveries,
    };
    let torn = deliveries.split_off(came.min(deliveries.len()));
    let parcels = deliveries
        .into_iter()
        .zip(received.descriptors)
        .map(|(delivery, socket)| Parcel { delivery, socket })
        .collect();
    Ok(Incoming::Connections { parcels, torn })
}

/// The first connection of the first message in a worker's end, which stays there; `None` where nothing
/// is in it, or no connection.
pub(crate) fn first_left(end: BorrowedFd<'_>) -> Option<u64> {
    let mut bytes = vec![0; LONGEST];
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    // Its descriptors stay with it: there is no room for them here.
    let (length, _) = message::receive_bytes(end, &mut bytes, flags).ok()?;
    match ToWorker::decode_bytes(bytes.get(..length)?) {
        Ok(ToWorker::Connections(deliveries)) => deliveries.first().map(|delivery| delivery.id),
        Ok(ToWorker::Drain) | Err(_) => None,
    }
}

/// What a dead worker had not taken out of its channel.
#[derive(Debug, Default)]
pub(crate) struct TakenBack {
    /// To be given to another worker.
    pub(crate) parcels: Vec<Parcel>,
    /// Dropped by the kernel on the way back, for want of descriptor numbers in the broker.
    pub(crate) torn: Vec<Delivery>,
}

/// Empty a worker's end. What is in it was sent by this broker; a message that is not as it sends them
/// ends the taking, and what came before it is returned.
pub(crate) fn take_back(end: BorrowedFd<'_>) -> TakenBack {
    let mut taken = TakenBack::default();
    let mut bytes = Vec::new();
    loop {
        match receive(end, &mut bytes, Wait::No) {
            Ok(Incoming::Connections { parcels, torn }) => {
                taken.parcels.extend(parcels);
                taken.torn.extend(torn);
            }
            Ok(Incoming::Drain) => {}
            Ok(Incoming::Closed) | Err(_) => return taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::SystemTime;

    use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
    use nix::sys::socket::{Shutdown, send, shutdown};

    use super::super::channel::{Address, ListenerName, MOST_CONNECTIONS, UnixName};
    use super::*;

    fn parcel(id: u64) -> (UnixStream, Parcel) {
        let (client, server) = UnixStream::pair().unwrap();
        let unnamed = || Address::Unix(UnixName::new(b"").unwrap());
        let delivery = Delivery {
            id,
            listener: ListenerName::new("test").unwrap(),
            peer: unnamed(),
            local: unnamed(),
            accepted: SystemTime::UNIX_EPOCH,
            deadline: None,
        };
        let socket = server.into();
        (client, Parcel { delivery, socket })
    }

    fn hello(end: &OwnedFd) {
        let mut bytes = Vec::new();
        FromWorker::Hello { credits: 1 }.encode(&mut bytes).unwrap();
        send(end.as_raw_fd(), &bytes, MsgFlags::empty()).unwrap();
    }

    #[test]
    fn looking_at_what_is_left_takes_nothing() {
        let (mut channel, end) = pair().unwrap();
        assert_eq!(first_left(end.as_fd()), None);
        let (mut client, first) = parcel(7);
        let (_other, second) = parcel(8);
        assert_eq!(channel.send([&first].into_iter()), Ok(Sent::Taken));
        assert_eq!(channel.send([&second].into_iter()), Ok(Sent::Taken));
        drop((first, second));
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        assert_eq!(first_left(end.as_fd()), Some(7));
        assert_eq!(first_left(end.as_fd()), Some(7));
        assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() <= before);
        let taken = take_back(end.as_fd());
        let ids: Vec<u64> = taken.parcels.iter().map(|it| it.delivery.id).collect();
        assert_eq!((ids, taken.torn.len()), (vec![7, 8], 0));
        assert_eq!(first_left(end.as_fd()), None);
        let socket = taken.parcels.into_iter().next().unwrap().socket;
        UnixStream::from(socket).write_all(b"whole").unwrap();
        let mut read = String::new();
        client.read_to_string(&mut read).unwrap();
        assert_eq!(read, "whole");
    }

    #[test]
    fn a_batch_arrives_whole_and_its_sockets_are_the_ones_sent() {
        let (mut channel, end) = pair().unwrap();
        let (clients, parcels): (Vec<_>, Vec<_>) = (0..MOST_CONNECTIONS as u64).map(parcel).unzip();
        assert_eq!(channel.send(parcels.iter()), Ok(Sent::Taken));
        drop(parcels);
        let Ok(Incoming::Connections { parcels, torn }) =
            receive(end.as_fd(), &mut Vec::new(), Wait::Forever)
        else {
            panic!("no connections");
        };
        assert!(torn.is_empty());
        assert_eq!(parcels.len(), MOST_CONNECTIONS);
        for (mut client, parcel) in clients.into_iter().zip(parcels) {
            let mut server = UnixStream::from(parcel.socket);
            server.write_all(&parcel.delivery.id.to_le_bytes()).unwrap();
            drop(server);
            let mut read = Vec::new();
            client.read_to_end(&mut read).unwrap();
            assert_eq!(read, parcel.delivery.id.to_le_bytes());
        }
        assert!(matches!(
            receive(end.as_fd(), &mut Vec::new(), Wait::No),
            Err(Blocked::Empty)
        ));
    }

    #[test]
    fn what_was_not_taken_comes_back_after_the_worker_is_gone() {
        let (mut channel, end) = pair().unwrap();
        let copy = end.try_clone().unwrap();
        let (mut clients, parcels): (Vec<_>, Vec<_>) = (1..=3).map(parcel).unzip();
        for parcel in &parcels {
            assert_eq!(channel.send([parcel].into_iter()), Ok(Sent::Taken));
        }
        drop(parcels);
        assert_eq!(channel.send_drain(), Ok(Sent::Taken));
        // The worker takes one, and ends with it.
        drop(receive(end.as_fd(), &mut Vec::new(), Wait::Forever));
        drop(end);
        assert_eq!(clients.remove(0).read(&mut [0]).unwrap(), 0);
        let taken = take_back(copy.as_fd());
        let ids: Vec<_> = taken.parcels.iter().map(|p| p.delivery.id).collect();
        assert_eq!(ids, [2, 3]);
        for (parcel, mut client) in taken.parcels.into_iter().zip(clients) {
            UnixStream::from(parcel.socket).write_all(b"x").unwrap();
            let mut read = Vec::new();
            client.read_to_end(&mut read).unwrap();
            assert_eq!(read, b"x");
        }
    }

    #[test]
    fn a_full_channel_is_said_to_be_full_and_takes_more_when_it_was_read() {
        let (mut channel, end) = pair().unwrap();
        let (_client, one) = parcel(1);
        let mut taken = 0_u32;
        while channel.send([&one].into_iter()).unwrap() == Sent::Taken {
            taken += 1;
        }
        assert!(taken > 16, "{taken}");
        while receive(end.as_fd(), &mut Vec::new(), Wait::No).is_ok() {}
        assert_eq!(channel.send([&one].into_iter()), Ok(Sent::Taken));
    }

    #[test]
    fn a_worker_that_closed_its_end_raises_no_signal() {
        let pipe = SigSet::from(Signal::SIGPIPE);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&pipe), Some(&mut before)).unwrap();
        let pending = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("SigPnd:"));
            let set = u64::from_str_radix(line.unwrap()[7..].trim(), 16).unwrap();
            set & (1 << (libc::SIGPIPE - 1)) != 0
        };
        let (mut channel, end) = pair().unwrap();
        drop(end);
        assert_eq!(channel.send([&parcel(1).1].into_iter()), Ok(Sent::Gone));
        assert_eq!(channel.send_drain(), Ok(Sent::Gone));
        assert!(!pending());
        // The control: a stream raises it.
        let (stream, peer) = UnixStream::pair().unwrap();
        drop(peer);
        assert_eq!(
            stream.send_with_fd(b"x", &[]).unwrap_err().raw_os_error(),
            Some(libc::EPIPE)
        );
        assert!(pending());
        pipe.wait().unwrap();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).unwrap();
    }

    #[test]
    fn each_breach_of_a_worker_is_told_from_the_others() {
        type Act = fn(&OwnedFd);
        let table: [(&str, Act, Breach); 5] = [
            (
                "shut down",
                |end| shutdown(end.as_raw_fd(), Shutdown::Write).unwrap(),
                Breach::Shut,
            ),
            (
                "an empty message",
                |end| {
                    send(end.as_raw_fd(), &[], MsgFlags::empty()).unwrap();
                },
                Breach::Shut,
            ),
            (
                "a long message",
                |end| {
                    send(end.as_raw_fd(), &[1; LONGEST + 1], MsgFlags::empty()).unwrap();
                },
                Breach::TooLong,
            ),
            (
                "a descriptor",
                |end| {
                    let socket = UnixDatagram::from(end.try_clone().unwrap());
                    socket.send_with_fd(b"x", &[0]).unwrap();
                },
                Breach::Descriptors,
            ),
            (
                "a message for the other side",
                |end| {
                    let mut bytes = Vec::new();
                    ToWorker::Drain.encode(&mut bytes).unwrap();
                    send(end.as_raw_fd(), &bytes, MsgFlags::empty()).unwrap();
                },
                Breach::Malformed(Malformed::Kind(2)),
            ),
        ];
        for (what, act, breach) in table {
            let (mut channel, end) = pair().unwrap();
            assert_eq!(channel.receive(), Ok(None));
            hello(&end);
            assert!(matches!(
                channel.receive(),
                Ok(Some(FromWorker::Hello { credits: 1 }))
            ));
            act(&end);
            assert_eq!(channel.receive(), Err(breach), "{what}");
        }
    }

    #[test]
    fn the_brokers_end_is_told_whether_it_had_read_all_or_not() {
        for read in [Wait::No, Wait::Forever] {
            let (mut channel, end) = pair().unwrap();
            hello(&end);
            if read == Wait::Forever {
                channel.receive().unwrap();
            }
            drop(channel);
            assert!(matches!(
                receive(end.as_fd(), &mut Vec::new(), Wait::Forever),
                Ok(Incoming::Closed)
            ));
        }
    }
}
