//! Which Unix sockets are connected to: the file that the caller's path leads to, opened once and judged.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;

use super::{AbstractNames, Destination, Work};
use crate::egress::call::{self, Call, UnixAddress};
use crate::egress::unix;
use crate::policy::UnixSockets;
use crate::sys::notify;

impl Work {
    /// Where a Unix socket is to be connected to, if it may.
    pub(super) fn unix_destination(
        &mut self,
        call: &Call,
        socket: BorrowedFd<'_>,
        bytes: &[u8],
    ) -> std::result::Result<Destination, Errno> {
        let kind = notify::socket_number(socket, libc::SO_TYPE)?;
        if kind == libc::SOCK_DGRAM && bytes.get(..2) == Some(&[0, 0]) {
            // AF_UNSPEC dissolves a connection.
            return Ok(Destination::Address(bytes.to_vec()));
        }
        let path = match call::unix_address(bytes).ok_or(Errno::EINVAL)? {
            UnixAddress::Path(path) => path,
            UnixAddress::Abstract(_) if self.abstract_names == AbstractNames::Own => {
                return Ok(Destination::Address(bytes.to_vec()));
            }
            UnixAddress::Abstract(name) => {
                let name = String::from_utf8_lossy(name).escape_debug().to_string();
                self.journal.refused_socket(
                    "unix",
                    format!("@{name}"),
                    "others have abstract names in this network too",
                    None,
                    Instant::now(),
                );
                return Err(Errno::ECONNREFUSED);
            }
        };
        let file =
            unix::resolve(call.task, path).inspect_err(|_| self.learn_covered(call, path))?;
        let is_socket = unix::is_socket(file.as_fd());
        // Datagrams can be sent to any without a connection, where there are datagrams at all.
        let free = kind == libc::SOCK_DGRAM || self.which == UnixSockets::Any;
        if is_socket && (free || self.sockets.may_be_connected(file.as_fd())) {
            self.learn_socket(call, file.as_fd(), path);
            return Ok(Destination::File(file));
        }
        let found = unix::path_of(file.as_fd(), path);
        let reason = match is_socket {
            true => "nothing in the sandbox listens there",
            false if self.hidden.contains(&found) => "the policy hides it",
            // Any other file has nothing to do with sockets.
            false => return Err(Errno::ECONNREFUSED),
        };
        self.learn_closed(call, &found, reason);
        let shown: String = found.to_string_lossy().escape_debug().collect();
        let flag = format!("--allow unix:{shown}");
        self.journal
            .refused_socket("unix", shown, reason, Some(flag), Instant::now());
        Err(Errno::ECONNREFUSED)
    }
}
