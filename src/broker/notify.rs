//! What the broker tells the service manager that started it (sd_notify(3)): ready, reloading,
//! stopping, a line of status, and that it is alive (sd_watchdog_enabled(3)).
//!
//! The socket is connected before the broker confines itself; afterwards it is only written to, and
//! never waited for: a manager that does not read is not the connections' problem.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket,
};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::getpid;
use tracing::debug;

use crate::error::{Error, Result};

/// What the manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State<'a> {
    /// Connections are served.
    Ready(&'a str),
    /// The policy is being read anew.
    Reloading,
    /// No new connections; the others come to their end.
    Stopping(&'a str),
    /// How it stands.
    Status(&'a str),
    /// The loop turns.
    Alive,
}

impl State<'_> {
    /// The message, at `now` microseconds of `CLOCK_MONOTONIC`.
    fn encode(self, now: u64) -> String {
        match self {
            Self::Ready(status) => format!("READY=1\nSTATUS={}", one_line(status)),
            // Without the time, a manager cannot tell this reload from the one before.
            Self::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading"),
            Self::Stopping(status) => format!("STOPPING=1\nSTATUS={}", one_line(status)),
            Self::Status(status) => format!("STATUS={}", one_line(status)),
            Self::Alive => "WATCHDOG=1".to_owned(),
        }
    }
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    socket: Option<OwnedFd>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// Connect to the one that the environment names.
    ///
    /// # Errors
    /// When it names one that is not there: it would wait for a word that never comes.
    pub(crate) fn from_environment() -> Result<Self> {
        Self::new(
            std::env::var_os("NOTIFY_SOCKET").as_deref(),
            std::env::var_os("WATCHDOG_USEC"),
            std::env::var_os("WATCHDOG_PID"),
        )
    }

    fn new(
        address: Option<&OsStr>,
        watchdog: Option<OsString>,
        watched: Option<OsString>,
    ) -> Result<Self> {
        let Some(address) = address else {
            return Ok(Self::default());
        };
        let failed = |errno| {
            Error::host(
                "connect to the service manager at",
                address.display().to_string(),
                errno,
            )
            .with_hint(Some(
                "NOTIFY_SOCKET names it; unset it to run without".into(),
            ))
        };
        let target = match address.as_bytes() {
            [b'/', ..] => UnixAddr::new(address),
            [b'@', name @ ..] => UnixAddr::new_abstract(name),
            _ => Err(Errno::EAFNOSUPPORT),
        }
        .map_err(failed)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket =
            socket(AddressFamily::Unix, SockType::Datagram, flags, None).map_err(failed)?;
        connect(socket.as_raw_fd(), &target).map_err(failed)?;
        Ok(Self {
            socket: Some(socket),
            watchdog: watchdog_interval(watchdog, watched, getpid().as_raw()),
        })
    }

    /// How often it wants to hear that the broker is alive: at least that often.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tell it.
    pub(crate) fn tell(&self, state: State<'_>) {
        let Some(socket) = &self.socket else {
            return;
        };
        let message = state.encode(now());
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        if let Err(errno) = send(socket.as_raw_fd(), message.as_bytes(), flags) {
            debug!(%errno, "the service manager was not told");
        }
    }
}

fn now() -> u64 {
    let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC) else {
        return 0;
    };
    let time = Duration::from(time);
    u64::try_from(time.as_micros()).unwrap_or_default()
}

/// Half of what the manager waits, so that one late word is not the end.
fn watchdog_interval(
    microseconds: Option<OsString>,
    pid: Option<OsString>,
    own: i32,
) -> Option<Duration> {
    let number = |word: OsString| word.to_str().and_then(|word| word.parse::<u64>().ok());
    if let Some(pid) = pid
        && number(pid) != u64::try_from(own).ok()
    {
        // Meant for another process (sd_watchdog_enabled(3)).
        return None;
    }
    number(microseconds?)
        .filter(|&microseconds| microseconds > 0)
        .map(|microseconds| Duration::from_micros(microseconds) / 2)
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_state_is_the_managers_words() {
        let table = [
            (State::Ready("2 workers"), "READY=1\nSTATUS=2 workers"),
            (
                State::Reloading,
                "RELOADING=1\nMONOTONIC_USEC=7\nSTATUS=reloading",
            ),
            (State::Stopping("a\nb"), "STOPPING=1\nSTATUS=a b"),
            (State::Status("x"), "STATUS=x"),
            (State::Alive, "WATCHDOG=1"),
        ];
        for (state, expected) in table {
            assert_eq!(state.encode(7), expected);
        }
    }

    #[test]
    fn a_manager_at_a_path_and_one_at_an_abstract_name_both_hear() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("sandbox-notify-{}", getpid());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let abstract_one = UnixDatagram::bind_addr(&address).unwrap();
        for (manager, address) in [
            (at_path, path.into_os_string()),
            (abstract_one, format!("@{name}").into()),
        ] {
            let told = Manager::new(Some(&address), None, None).unwrap();
            told.tell(State::Alive);
            assert_eq!(heard(&manager), "WATCHDOG=1");
        }
    }

    #[test]
    fn a_manager_that_is_not_there_is_an_error_and_none_is_not() {
        assert!(Manager::new(Some(OsStr::new("/nonexistent/x")), None, None).is_err());
        assert!(Manager::new(Some(OsStr::new("vsock:2:1")), None, None).is_err());
        Manager::new(None, None, None).unwrap().tell(State::Alive);
    }

    #[test]
    fn the_watchdog_is_told_twice_in_its_time_if_it_means_us() {
        let interval = |microseconds: &str, pid: Option<&str>| {
            watchdog_interval(Some(microseconds.into()), pid.map(Into::into), 7)
        };
        assert_eq!(interval("3000000", None), Some(Duration::from_millis(1500)));
        assert_eq!(interval("2000", Some("7")), Some(Duration::from_millis(1)));
        assert_eq!(interval("2000", Some("8")), None);
        assert_eq!(interval("0", None), None);
        assert_eq!(interval("x", None), None);
        assert_eq!(watchdog_interval(None, None, 7), None);
    }
}
