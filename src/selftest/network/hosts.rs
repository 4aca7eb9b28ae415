//! Connections and datagrams to the host's own addresses.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use super::{NAMESPACE, hear, row};
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::outside::Outside;
use crate::selftest::promise;

/// How long an answer from the host may take: everything is on this machine.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) fn of_hosts() -> Vec<Attempt> {
    use Control::{Anyone, Nobody};
    vec![
        row(
            "connect-host-loopback",
            "connect to 127.0.0.1 of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| greet(IpAddr::V4(Ipv4Addr::LOCALHOST), o.tcp4, o),
        ),
        row(
            "connect-host-loopback6",
            "connect to ::1 of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| greet(IpAddr::V6(Ipv6Addr::LOCALHOST), o.tcp6, o),
        ),
        row(
            "connect-host-mapped",
            "connect to ::ffff:127.0.0.1 of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| greet(IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()), o.tcp4, o),
        ),
        row(
            "connect-host-any",
            "connect to 0.0.0.0 of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| greet(IpAddr::V4(Ipv4Addr::UNSPECIFIED), o.tcp4, o),
        ),
        row(
            "connect-host-any6",
            "connect to :: of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| greet(IpAddr::V6(Ipv6Addr::UNSPECIFIED), o.tcp6, o),
        ),
        row(
            "connect-host-interface",
            "connect to the address of an interface of the host",
            NAMESPACE,
            Anyone,
            promise::network,
            |o| {
                o.interface.map_or_else(
                    || Outcome::skipped("the host has no interface besides lo"),
                    |at| greet(at.ip(), Some(at.port()), o),
                )
            },
        ),
        row(
            "send-host-datagram",
            "send a datagram to the host",
            NAMESPACE,
            Anyone,
            promise::network,
            send_datagram,
        ),
        row(
            "connect-metadata",
            "ask the metadata service of the host's cloud",
            NAMESPACE,
            Nobody,
            promise::metadata,
            |_| ask_metadata(),
        ),
    ]
}

/// Connect and read the host's greeting: a server of the sandbox's own would not know it.
fn greet(address: IpAddr, port: Option<u16>, outside: &Outside) -> Outcome {
    let Some(port) = port else {
        return Outcome::skipped("the host has no such address");
    };
    match TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE) {
        Ok(stream) => {
            // Without a time limit the worst that happens is that the runner ends the attempt.
            let _ = stream.set_read_timeout(Some(PATIENCE));
            hear(stream, outside)
        }
        Err(error) => Outcome::stopped(&error),
    }
}

/// Any answer is one too many: no such address is anything but that service's.
fn ask_metadata() -> Outcome {
    let ask = || -> std::io::Result<Outcome> {
        let address = SocketAddr::new(promise::METADATA, promise::METADATA_PORT);
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        match stream.read(&mut [0])? {
            0 => Ok(Outcome::held("no answer")),
            _ => Ok(Outcome::open("it answered")),
        }
    };
    ask().unwrap_or_else(|error| Outcome::stopped(&error))
}

fn send_datagram(outside: &Outside) -> Outcome {
    let Some(port) = outside.udp4 else {
        return Outcome::skipped("no socket outside");
    };
    let exchange = || -> std::io::Result<Outcome> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        socket.send(b"?")?;
        let mut answer = [0_u8; 64];
        let length = socket.recv(&mut answer)?;
        if answer.get(..length) == Some(outside.token.as_bytes()) {
            return Ok(Outcome::open("the host answered"));
        }
        Ok(Outcome::held("a stranger answered"))
    };
    exchange().unwrap_or_else(|error| Outcome::stopped(&error))
}
