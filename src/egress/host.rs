//! Whose an address is, this host's own or another's, as the kernel's routes have it now.
//!
//! In the supervisor's loop. A name's owner must not choose what listens on this host. Which addresses are
//! its own is the kernel's to say, by the route that a packet would take (rtnetlink(7)): it may have several
//! in one network, or whole networks of them, and so from where it would send to one says nothing.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tracing::debug;

use super::rules::Whose;
use crate::error::{Error, Result};
use crate::netns::Connection;
use crate::netns::route::Leads;

/// The routes of the network that is dialled from.
#[derive(Debug)]
pub(super) struct Host(Connection);

impl Host {
    /// A socket to ask the kernel by, opened before this process is confined.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn open() -> Result<Self> {
        // The kernel answers before it is back from the question: nothing is waited for.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let kind = (AddressFamily::Netlink, SockType::Raw);
        let socket = socket(kind.0, kind.1, flags, SockProtocol::NetlinkRoute)
            .map_err(|errno| Error::host("open", "a netlink socket", errno))?;
        Connection::on(socket, "this network".to_owned()).map(Self)
    }

    /// Whose `address` is. Asked anew each time: a host's addresses come and go. Where the kernel does not
    /// say, the host's.
    pub(super) fn whose(&mut self, address: IpAddr) -> Whose {
        match self.0.leads(address) {
            // Where no route leads, nothing can be dialled.
            Ok(Leads::Away | Leads::Nowhere) => Whose::Another,
            Ok(Leads::Here) => Whose::Own,
            Err(error) => {
                debug!(%address, %error, "it is not known whose it is");
                Whose::Own
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(protocol: SockProtocol) -> Host {
        let (family, kind) = (AddressFamily::Netlink, SockType::Raw);
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
        Host(Connection::on(socket, "here".to_owned()).unwrap())
    }

    #[test]
    fn where_the_kernel_does_not_say_an_address_is_the_hosts() {
        let address = "192.0.2.1".parse().unwrap();
        // Control: of routes it says that this one is not.
        assert_eq!(
            on(SockProtocol::NetlinkRoute).whose(address),
            Whose::Another
        );
        // Nobody listens to what is sent to this one.
        let deaf = SockProtocol::NetlinkKObjectUEvent;
        assert_eq!(on(deaf).whose(address), Whose::Own);
    }
}
