//! The process that keeps an ordinary user's namespaces: a table of names and open descriptors, and
//! nothing else.
//!
//! Forked by whoever gives the first name, it ends when the last name is taken away, or is killed. It is
//! the user's own process, without a capability, outside of the namespaces that it keeps; behind a filter
//! that leaves it no call but to answer on its socket. It opens nothing and executes nothing.
//!
//! One request a connection, one packet each way; only the same user is answered.
//!
//! | request | with | answer | with |
//! | --- | --- | --- | --- |
//! | `o` | | 0 | the user namespace |
//! | `k` NAME | a namespace | 0, or an errno | |
//! | `g` NAME | | 0, or an errno | the namespace |
//! | `d` NAME | | 0, or an errno; then 1 if it was the last | |
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::geteuid;

use super::name::NamespaceName;
use crate::confine;
use crate::exit;
use crate::sys::{packet, parent, process};

/// How long a client has to say what it wants, in milliseconds.
const PATIENCE: u16 = 1000;
/// The most namespaces that are kept.
const MOST: usize = 4096;
/// More than any request has: a byte and a name.
const LONGEST: usize = 512;

/// The calls of the loop, besides what any program needs.
const CALLS: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_getsockopt,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The user namespace.
    Owner,
    /// To keep a namespace.
    Keep,
    /// A namespace that is kept.
    Get,
    /// To keep it no more.
    Drop,
}

impl Asked {
    pub(super) const fn to_byte(self) -> u8 {
        match self {
            Self::Owner => b'o',
            Self::Keep => b'k',
            Self::Get => b'g',
            Self::Drop => b'd',
        }
    }

    fn of_byte(byte: u8) -> Option<Self> {
        [Self::Owner, Self::Keep, Self::Get, Self::Drop]
            .into_iter()
            .find(|asked| asked.to_byte() == byte)
    }
}

/// What the holder answers where it does what it was asked.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// What it gives.
    pub(super) descriptor: Option<OwnedFd>,
    /// Whether it ends now.
    pub(super) last: bool,
}

impl Answer {
    pub(super) fn decode(bytes: &[u8], descriptors: Vec<OwnedFd>) -> Result<Self, Errno> {
        match bytes {
            [0, rest @ ..] => Ok(Self {
                descriptor: descriptors.into_iter().next(),
                last: rest == [1],
            }),
            [errno, ..] => Err(Errno::from_raw(i32::from(*errno))),
            [] => Err(Errno::ECONNRESET),
        }
    }
}

/// The process's whole life, on `listener`, keeping the user namespace `owner`; its status.
///
/// Both are open, and no other descriptor but 0 to 2 is.
pub(super) fn run(listener: RawFd, owner: RawFd) -> u8 {
    match begin(listener, owner).and_then(Holder::serve) {
        Ok(()) => 0,
        Err(_) => exit::LAUNCHER_FAILED,
    }
}

fn begin(listener: RawFd, owner: RawFd) -> Result<Holder, Errno> {
    // Whoever waits for the end of what the caller's standard output leads to is not kept waiting.
    process::leave_caller()?;
    prctl::set_name(c"sandbox-holder")?;
    let most = u64::try_from(MOST + 64).unwrap_or(u64::MAX);
    let (_, hard) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(hard), hard)?;
    let holder = Holder {
        user: geteuid().as_raw(),
        listener: parent::duplicate(listener)?,
        owner: parent::duplicate(owner)?,
        kept: BTreeMap::new(),
    };
    confine::limit_capabilities(&HashSet::new())?;
    confine::close_to_others()?;
    confine::install(confine::plainly(CALLS))?;
    // They were blocked over the fork.
    parent::swap_signal_mask(0)?;
    Ok(holder)
}

struct Holder {
    /// Who is answered.
    user: u32,
    listener: OwnedFd,
    owner: OwnedFd,
    kept: BTreeMap<NamespaceName, OwnedFd>,
}

impl Holder {
    fn serve(mut self) -> Result<(), Errno> {
        loop {
            let client = match parent::accept(self.listener.as_fd()) {
                Ok((client, _)) => client,
                // A client that went away, or more of them than there is room for.
                Err(Errno::EINTR | Errno::ECONNABORTED | Errno::EMFILE) => continue,
                Err(errno) => return Err(errno),
            };
            if self.answer(&client) {
                return Ok(());
            }
        }
    }

    /// Answer one client; whether that was the end.
    fn answer(&mut self, client: &OwnedFd) -> bool {
        let peer = getsockopt(client, sockopt::PeerCredentials);
        if peer.map(|peer| peer.uid()) != Ok(self.user) {
            return false;
        }
        let mut ready = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(PATIENCE)) != Ok(1) {
            return false;
        }
        let mut bytes = [0; LONGEST];
        let Ok(packet) = packet::receive(client.as_fd(), &mut bytes) else {
            return false;
        };
        let request = bytes.get(..packet.length).unwrap_or_default();
        let mut end = false;
        // A client that has gone away is answered in vain.
        let _ = match self.decide(request, packet.descriptors) {
            Ok(Given::Nothing) => packet::send(client.as_fd(), &[0], &[]),
            Ok(Given::Last) => {
                end = true;
                packet::send(client.as_fd(), &[0, 1], &[])
            }
            Ok(Given::Descriptor(given)) => packet::send(client.as_fd(), &[0], &[given.as_fd()]),
            Err(errno) => {
                let byte = u8::try_from(errno as i32).unwrap_or(u8::MAX);
                packet::send(client.as_fd(), &[byte], &[])
            }
        };
        end
    }

    fn decide(&mut self, request: &[u8], descriptors: Vec<OwnedFd>) -> Result<Given<'_>, Errno> {
        let (&byte, name) = request.split_first().ok_or(Errno::EINVAL)?;
        let asked = Asked::of_byte(byte).ok_or(Errno::EINVAL)?;
        if asked == Asked::Owner {
            return Ok(Given::Descriptor(&self.owner));
        }
        let name = std::str::from_utf8(name).ok();
        let name: NamespaceName = name
            .and_then(|name| name.parse().ok())
            .ok_or(Errno::EINVAL)?;
        match asked {
            Asked::Owner => Err(Errno::EINVAL),
            Asked::Keep if self.kept.contains_key(&name) => Err(Errno::EEXIST),
            Asked::Keep if self.kept.len() >= MOST => Err(Errno::ENOSPC),
            Asked::Keep => {
                let namespace = descriptors.into_iter().next().ok_or(Errno::EINVAL)?;
                self.kept.insert(name, namespace);
                Ok(Given::Nothing)
            }
            Asked::Get => {
                let namespace = self.kept.get(&name).ok_or(Errno::ENOENT)?;
                Ok(Given::Descriptor(namespace))
            }
            Asked::Drop => {
                self.kept.remove(&name).ok_or(Errno::ENOENT)?;
                Ok(match self.kept.is_empty() {
                    true => Given::Last,
                    false => Given::Nothing,
                })
            }
        }
    }
}

/// What is answered.
enum Given<'a> {
    Nothing,
    Last,
    Descriptor(&'a OwnedFd),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn null() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    fn holder() -> Holder {
        Holder {
            user: 0,
            listener: null(),
            owner: null(),
            kept: BTreeMap::new(),
        }
    }

    #[test]
    fn a_name_is_kept_once_given_and_ends_the_holder_with_the_last() {
        let mut holder = holder();
        let kept = |holder: &mut Holder, name: &[u8], with: Vec<OwnedFd>| {
            let mut request = vec![b'k'];
            request.extend(name);
            holder.decide(&request, with).map(|_| ())
        };
        assert_eq!(kept(&mut holder, b"a", vec![null()]), Ok(()));
        assert_eq!(kept(&mut holder, b"b", vec![null()]), Ok(()));
        assert_eq!(kept(&mut holder, b"a", vec![null()]), Err(Errno::EEXIST));
        assert_eq!(kept(&mut holder, b"c", Vec::new()), Err(Errno::EINVAL));
        assert!(matches!(
            holder.decide(b"ga", Vec::new()),
            Ok(Given::Descriptor(_))
        ));
        assert!(matches!(
            holder.decide(b"gc", Vec::new()),
            Err(Errno::ENOENT)
        ));
        assert!(matches!(
            holder.decide(b"o", Vec::new()),
            Ok(Given::Descriptor(_))
        ));
        assert!(matches!(
            holder.decide(b"da", Vec::new()),
            Ok(Given::Nothing)
        ));
        assert!(matches!(
            holder.decide(b"da", Vec::new()),
            Err(Errno::ENOENT)
        ));
        assert!(matches!(holder.decide(b"db", Vec::new()), Ok(Given::Last)));
    }

    #[test]
    fn only_the_same_user_is_answered() {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
        for (user, answered) in [(geteuid().as_raw(), true), (geteuid().as_raw() + 1, false)] {
            let flags = SockFlag::SOCK_CLOEXEC;
            let kind = SockType::SeqPacket;
            let (client, server) = socketpair(AddressFamily::Unix, kind, None, flags).unwrap();
            packet::send(client.as_fd(), b"o", &[]).unwrap();
            let mut holder = Holder { user, ..holder() };
            assert!(!holder.answer(&server));
            let answer = packet::receive(client.as_fd(), &mut [0; 8]);
            let given = answer.is_ok_and(|answer| answer.descriptors.len() == 1);
            assert_eq!(given, answered, "{user}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let mut holder = holder();
        for request in [&b""[..], b"x", b"k", b"k/", b"g..", b"k\xff", b"ka\0"] {
            let refused = holder.decide(request, vec![null()]);
            assert!(matches!(refused, Err(Errno::EINVAL)), "{request:?}");
        }
    }
}
