//! Network devices in `/dev`, and ioctls of sockets.

use super::{NAMESPACE, open_device, row, same_namespace, seen, with_socket};
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::outside::Outside;
use crate::selftest::promise;
use crate::sys::attempt as sys;

pub(super) fn of_devices() -> Vec<Attempt> {
    use Control::{Anyone, Nobody, Root};
    vec![
        row(
            "device-tun",
            "/dev/net/tun",
            "minimal /dev",
            Root,
            promise::devices,
            |_| open_device("/dev/net/tun"),
        ),
        row(
            "device-vhost-net",
            "/dev/vhost-net",
            "minimal /dev",
            Nobody,
            promise::devices,
            |_| open_device("/dev/vhost-net"),
        ),
        row(
            "device-vhost-vsock",
            "/dev/vhost-vsock",
            "minimal /dev",
            Nobody,
            promise::devices,
            |_| open_device("/dev/vhost-vsock"),
        ),
        row(
            "device-vsock",
            "/dev/vsock",
            "minimal /dev",
            Nobody,
            promise::devices,
            |_| open_device("/dev/vsock"),
        ),
        row(
            "interface-ioctls",
            "the host's interfaces by ioctl",
            NAMESPACE,
            Anyone,
            promise::network,
            interfaces_by_ioctl,
        ),
        row(
            "namespace-by-ioctl",
            "the namespace of a socket by SIOCGSKNS",
            "capabilities",
            Root,
            promise::network_settings,
            |o| {
                with_socket(|socket| match sys::socket_namespace(socket) {
                    Ok(namespace) => same_namespace(&namespace, o),
                    Err(errno) => Outcome::refused(errno),
                })
            },
        ),
    ]
}

fn interfaces_by_ioctl(outside: &Outside) -> Outcome {
    with_socket(|socket| {
        seen(
            (1..64).filter_map(|index| sys::interface_name(socket, index).ok()),
            outside,
        )
    })
}
