//! One netlink socket in a namespace: requests out, the kernel's answers in, in order (netlink(7)).
//!
//! Synchronous: a batch goes out in a few packets, and its acknowledgements are read before anything
//! else is done. A refusal says what the kernel says of it (extended acknowledgements). The kernel does
//! each request by itself: those after a refused one have been done.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use super::handle::Namespace;
use super::name::LinkName;
use crate::error::{Error, Result};
use crate::plan::errno_of;
use crate::sys::netlink;

/// The most requests in one packet, so that the acknowledgements fit into the socket's buffer.
const MOST_IN_ONE: usize = 64;
/// The most bytes in one packet.
const MOST_BYTES: usize = 32 * 1024;
/// Bytes for answers: more than the kernel puts into one packet.
const ROOM: usize = 64 * 1024;
/// NLMSGERR_ATTR_MSG.
const MESSAGE_TEXT: u16 = 1;

/// One change to a network, and the words for it.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) message: RouteNetlinkMessage,
    /// `NLM_F_*` besides those that every request has.
    pub(super) flags: u16,
    /// A verb phrase for messages: "add the link".
    pub(super) action: &'static str,
    /// To what.
    pub(super) object: String,
    /// Namespaces that the message names by descriptor, kept open.
    pub(super) kept: Vec<Namespace>,
    /// What the kernel answers where there is nothing to do.
    pub(super) content: Option<Errno>,
}

impl Request {
    pub(super) fn new(
        message: RouteNetlinkMessage,
        flags: u16,
        action: &'static str,
        object: impl Into<String>,
    ) -> Self {
        Self {
            message,
            flags,
            action,
            object: object.into(),
            kept: Vec::new(),
            content: None,
        }
    }

    /// The same, content when the kernel answers `errno`: what it says is then so already.
    #[must_use]
    pub(super) fn content_with(mut self, errno: Errno) -> Self {
        self.content = Some(errno);
        self
    }

    /// What it does, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} {}", self.action, self.object)
    }

    fn error(&self, label: &str, answer: Answer) -> Error {
        let errno = answer.errno;
        Error::Network {
            action: self.action,
            object: format!("{} in {label}", self.object),
            said: answer.said,
            errno: answer.errno,
            hint: None,
        }
        .with_hint(hint(errno))
    }
}

fn hint(errno: Errno) -> Option<String> {
    let advice = match errno {
        Errno::EPERM => {
            "this needs CAP_NET_ADMIN over the namespace: run as root, or as the user who has made it"
        }
        Errno::EOPNOTSUPP => "this kernel has no such thing: 'sandbox doctor' lists what it has",
        _ => return None,
    };
    Some(advice.to_owned())
}

/// What the kernel answered to one request.
#[derive(Debug)]
struct Answer {
    errno: Errno,
    said: String,
}

/// A netlink socket in a namespace.
pub struct Connection {
    socket: Socket,
    label: String,
    sequence: u32,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// What kind of socket it is on: family, kind, protocol.
pub(super) const SOCKET: (i32, i32, i32) = (libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE);

impl Connection {
    /// A socket in `namespace`.
    ///
    /// # Errors
    /// When it cannot be entered.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        let (family, kind, protocol) = SOCKET;
        let socket = namespace.socket(family, kind, protocol)?;
        Self::on(socket, namespace.label().to_owned())
    }

    /// On `socket`, as [`SOCKET`] says, in the namespace that is called `label`.
    pub(crate) fn on(socket: OwnedFd, label: String) -> Result<Self> {
        let mut socket = netlink::socket(socket);
        let prepared = socket
            .bind(&SocketAddr::new(0, 0))
            .and_then(|()| socket.connect(&SocketAddr::new(0, 0)))
            .and_then(|()| socket.set_ext_ack(true))
            .and_then(|()| socket.set_cap_ack(true));
        prepared
            .map_err(|error| Error::host("talk to the kernel in", &*label, errno_of(&error)))?;
        // Links and routes are listed by what is asked for; older kernels list all, and are filtered.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self {
            socket,
            label,
            sequence: 0,
            buffer: Vec::with_capacity(ROOM),
        })
    }

    /// How messages call the namespace.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Do all of `requests`, in order, in as few packets as may be.
    ///
    /// # Errors
    /// The first refusal. Requests before it are done, and those after it that were in the same packet
    /// as well: a caller that wants all or nothing takes the namespace away.
    pub fn perform(&mut self, requests: &[Request]) -> Result<()> {
        self.perform_all(requests).map_err(|(_, error)| error)
    }

    /// As [`Connection::perform`]; which request was refused comes with the refusal.
    ///
    /// # Errors
    /// The first refusal, and the place of its request.
    pub(crate) fn perform_all(
        &mut self,
        requests: &[Request],
    ) -> std::result::Result<(), (usize, Error)> {
        let mut done = 0;
        while let Some(rest) = requests.get(done..).filter(|rest| !rest.is_empty()) {
            let sent = self.send(rest).map_err(|error| (done, error))?;
            let now = rest.get(..sent).unwrap_or(rest);
            self.acknowledged(now)
                .map_err(|(index, error)| (done + index, error))?;
            done += sent;
        }
        Ok(())
    }

    /// Send as many of `requests` as fit into one packet; how many.
    fn send(&mut self, requests: &[Request]) -> Result<usize> {
        let mut packet = Vec::with_capacity(4096);
        let mut count = 0;
        for request in requests.iter().take(MOST_IN_ONE) {
            let sequence = self.sequence.wrapping_add(1);
            let flags = NLM_F_REQUEST | NLM_F_ACK | request.flags;
            let bytes = encode(request.message.clone(), flags, sequence);
            if count > 0 && packet.len() + bytes.len() > MOST_BYTES {
                break;
            }
            packet.extend_from_slice(&bytes);
            self.sequence = sequence;
            count += 1;
        }
        self.transmit(&packet)?;
        Ok(count)
    }

    fn transmit(&self, packet: &[u8]) -> Result<()> {
        loop {
            match self.socket.send(packet, 0) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                sent => {
                    return sent
                        .map(drop)
                        .map_err(|error| self.broken(errno_of(&error)));
                }
            }
        }
    }

    fn broken(&self, errno: Errno) -> Error {
        Error::host("talk to the kernel in", &*self.label, errno)
    }

    /// Read one packet of answers.
    fn receive(&mut self) -> Result<()> {
        self.buffer.clear();
        loop {
            match self.socket.recv(&mut self.buffer, libc::MSG_TRUNC) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(errno_of(&error))),
                Ok(length) if length > self.buffer.len() => {
                    return Err(self.broken(Errno::EMSGSIZE));
                }
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Read the answers to the last `requests` sent.
    fn acknowledged(&mut self, requests: &[Request]) -> std::result::Result<(), (usize, Error)> {
        let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
        let first = self.sequence.wrapping_sub(count).wrapping_add(1);
        let mut open = requests.len();
        let mut refused: Option<(usize, Answer)> = None;
        while open > 0 {
            self.receive().map_err(|error| (0, error))?;
            for (header, bytes) in Messages(&self.buffer) {
                let index = header.sequence_number.wrapping_sub(first);
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let Some(request) = requests.get(index) else {
                    continue;
                };
                if header.message_type != NLMSG_ERROR {
                    continue;
                }
                open = open.saturating_sub(1);
                let Some(answer) = answer(bytes) else {
                    continue;
                };
                let later = refused.as_ref().is_some_and(|(other, _)| *other < index);
                if request.content != Some(answer.errno) && !later {
                    refused = Some((index, answer));
                }
            }
        }
        match refused.and_then(|(index, answer)| Some((index, requests.get(index)?, answer))) {
            Some((index, request, answer)) => Err((index, request.error(&self.label, answer))),
            None => Ok(()),
        }
    }

    /// Everything of one kind that `message` asks for.
    pub(super) fn list(
        &mut self,
        message: RouteNetlinkMessage,
        what: &'static str,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        // The kernel says where a list changed while it was made; once more, then.
        for _ in 0..8 {
            if let Some(found) = self.list_once(message.clone(), NLM_F_DUMP, what)? {
                return Ok(found);
            }
        }
        Err(self.asked(what, Answer::of(Errno::EINTR)))
    }

    /// The one thing that `message` asks for; `None` where there is none.
    pub(super) fn get(
        &mut self,
        message: RouteNetlinkMessage,
        what: &'static str,
    ) -> Result<Option<RouteNetlinkMessage>> {
        let found = self.list_once(message, NLM_F_ACK, what);
        match found {
            Ok(found) => Ok(found.and_then(|found| found.into_iter().next())),
            Err(Error::Network {
                errno: Errno::ENODEV | Errno::ENOENT,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn asked(&self, what: &'static str, answer: Answer) -> Error {
        Error::Network {
            action: what,
            object: format!("in {}", self.label),
            said: answer.said,
            errno: answer.errno,
            hint: None,
        }
    }

    /// `None` where the kernel says that the list is not whole.
    fn list_once(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: &'static str,
    ) -> Result<Option<Vec<RouteNetlinkMessage>>> {
        const NLM_F_DUMP_INTR: u16 = 0x10;
        self.sequence = self.sequence.wrapping_add(1);
        let packet = encode(message, NLM_F_REQUEST | flags, self.sequence);
        self.transmit(&packet)?;
        let (mut found, mut whole) = (Vec::new(), true);
        loop {
            self.receive()?;
            let mut failed = None;
            let mut done = false;
            for (header, bytes) in Messages(&self.buffer) {
                if header.sequence_number != self.sequence {
                    continue;
                }
                whole &= header.flags & NLM_F_DUMP_INTR == 0;
                match header.message_type {
                    NLMSG_ERROR => {
                        failed = answer(bytes);
                        done = true;
                    }
                    NLMSG_DONE => done = true,
                    _ => {
                        // What the library does not understand is left out.
                        let parsed = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes);
                        if let Ok(NetlinkMessage {
                            payload: NetlinkPayload::InnerMessage(message),
                            ..
                        }) = parsed
                        {
                            found.push(message);
                        }
                    }
                }
            }
            if let Some(answer) = failed {
                return Err(self.asked(what, answer));
            }
            if done {
                return Ok(whole.then_some(found));
            }
        }
    }

    /// The index of the link `name`.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn index_of(&mut self, name: &LinkName) -> Result<u32> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.as_str().to_owned()));
        let found = self.get(RouteNetlinkMessage::GetLink(message), "look for the link")?;
        match found {
            Some(RouteNetlinkMessage::NewLink(link)) => Ok(link.header.index),
            _ => Err(Error::host(
                "find the link",
                format!("{name} in {}", self.label),
                Errno::ENODEV,
            )),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Answer {
    fn of(errno: Errno) -> Self {
        Self {
            errno,
            said: String::new(),
        }
    }
}

/// One message's bytes, padded.
fn encode(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len().next_multiple_of(4)];
    message.serialize(&mut bytes);
    bytes
}

/// The messages of a packet, each with its header and all its bytes.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (NetlinkHeader, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let buffer = NetlinkBuffer::new_checked(&self.0).ok()?;
        let length = usize::try_from(buffer.length()).ok()?;
        let mut header = NetlinkHeader::default();
        header.length = buffer.length();
        header.message_type = buffer.message_type();
        header.flags = buffer.flags();
        header.sequence_number = buffer.sequence_number();
        let message = self.0.get(..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((header, message))
    }
}

/// What an `NLMSG_ERROR` message says; `None` for an acknowledgement.
///
/// The number, the header of the request, and then attributes: no more of the request, as
/// `NETLINK_CAP_ACK` asks.
fn answer(message: &[u8]) -> Option<Answer> {
    const HEADER: usize = 16;
    let body = message.get(HEADER..)?;
    let code = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
    if code == 0 {
        return None;
    }
    let attributes = body.get(4 + HEADER..).unwrap_or_default();
    let said = NlasIterator::new(attributes)
        .filter_map(std::result::Result::ok)
        .find(|attribute| attribute.kind() == MESSAGE_TEXT)
        .map(|attribute| {
            let text = attribute.value();
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        });
    Some(Answer {
        errno: Errno::from_raw(code.wrapping_neg()),
        said: said.unwrap_or_default(),
    })
}
