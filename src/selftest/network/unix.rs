//! Unix sockets of the host, by name and by path, and what could be passed over one.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixStream};
use std::path::Path;

use sendfd::SendWithFd;

use super::{NAMESPACE, hear, row};
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::outside::Outside;
use crate::selftest::promise;

pub(super) fn of_unix_sockets() -> Vec<Attempt> {
    use Control::{Anyone, Nobody, Root};
    vec![
        row(
            "abstract-socket",
            "an abstract Unix socket of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| {
                let address = UnixAddr::from_abstract_name(&o.token);
                match address.and_then(|address| UnixStream::connect_addr(&address)) {
                    Ok(stream) => hear(stream, o),
                    Err(error) => Outcome::stopped(&error),
                }
            },
        ),
        row(
            "path-socket-tmp",
            "a Unix socket by its path below /tmp",
            "hidden sockets, connections decided",
            Anyone,
            promise::path_sockets,
            |o| connect_path(o.socket_in_tmp.as_deref(), o),
        ),
        row(
            "path-socket-elsewhere",
            "a Unix socket by its path elsewhere",
            "hidden sockets, connections decided",
            Anyone,
            promise::path_sockets,
            |o| connect_path(o.socket_elsewhere.as_deref(), o),
        ),
        row(
            "path-socket-run",
            "a Unix socket by its path below /run or the run-time directory",
            "hidden directories",
            Root,
            promise::run_directory,
            |o| connect_path(o.socket_in_run.as_deref(), o),
        ),
        row(
            "path-socket-datagram",
            "a datagram socket by its path",
            "hidden sockets, filter: no datagrams",
            Anyone,
            promise::path_datagrams,
            |o| {
                let Some(path) = &o.datagram_socket else {
                    return Outcome::skipped("no such socket could be made outside");
                };
                match UnixDatagram::unbound().and_then(|socket| socket.send_to(b"x", path)) {
                    Ok(_) => Outcome::open("a datagram was taken"),
                    Err(error) => Outcome::stopped(&error),
                }
            },
        ),
        row(
            "path-socket-of-service",
            "docker, containerd, the buses, systemd, X11, Wayland, agents, nscd and the like",
            "hidden sockets",
            Nobody,
            promise::path_sockets,
            |o| {
                if o.services.is_empty() {
                    return Outcome::skipped("no service that this user can reach");
                }
                o.services
                    .iter()
                    .find(|path| UnixStream::connect(path).is_ok())
                    .map_or_else(
                        || Outcome::held("none was reached"),
                        |path| Outcome::open(path.display().to_string()),
                    )
            },
        ),
        row(
            "pass-descriptor-out",
            "a descriptor to an accomplice outside",
            "no socket in common",
            Anyone,
            promise::every_unix_socket,
            pass_descriptor,
        ),
    ]
}

fn connect_path(path: Option<&Path>, outside: &Outside) -> Outcome {
    let Some(path) = path else {
        return Outcome::skipped("no such socket could be made outside");
    };
    match UnixStream::connect(path) {
        Ok(stream) => hear(stream, outside),
        Err(error) => Outcome::stopped(&error),
    }
}

fn pass_descriptor(outside: &Outside) -> Outcome {
    let paths = [
        &outside.socket_in_tmp,
        &outside.socket_elsewhere,
        &outside.socket_in_run,
    ];
    let by_path = paths.into_iter().flatten().map(UnixStream::connect);
    let by_name =
        UnixAddr::from_abstract_name(&outside.token).and_then(|at| UnixStream::connect_addr(&at));
    let mut outcome = Outcome::held("no accomplice was reached");
    for connected in by_path.chain([by_name]) {
        outcome = match connected.and_then(|stream| stream.send_with_fd(b"x", &[0])) {
            Ok(_) => return Outcome::open("standard input was handed over"),
            Err(error) => Outcome::stopped(&error),
        };
    }
    outcome
}
