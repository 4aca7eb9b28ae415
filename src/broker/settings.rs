//! What one broker is asked to do besides launching: where it listens, how it hands over, its limits.
//!
//! Plain values, made by the command line; checked once, before anything is opened. What a hand-over
//! mode cannot keep is an error there: a limit that is silently not kept would be worse than none.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::connection::MOST_SPARES;
use super::listen::PortSharing;
use crate::error::{Error, Result};
use crate::request::Endpoint;

/// How connections get to those who serve them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum HandOver {
    /// Workers have the listening sockets and accept for themselves.
    #[default]
    Listener,
    /// Workers get connected sockets over a channel.
    Pool,
    /// A fresh sandbox for each connection.
    Connection,
}

impl HandOver {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Listener, Self::Pool, Self::Connection];

    /// As the command line names it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Pool => "pool",
            Self::Connection => "connection",
        }
    }

    /// The policy for what is launched, where none was named.
    pub(crate) fn default_policy(self) -> &'static str {
        match self {
            Self::Listener | Self::Pool => "worker",
            Self::Connection => "connection",
        }
    }

    /// Whether the broker sees the connections.
    fn accepts(self) -> bool {
        self != Self::Listener
    }
}

/// The most workers of a pool.
const MOST_WORKERS: usize = 1024;
/// How many sandboxes there are at a time for a connection each, where nothing was said: enough for a
/// small service, few enough that nobody fills the host with namespaces.
const DEFAULT_SANDBOXES: usize = 256;
/// How long connections may take to end when the broker does, where nothing was said.
pub(crate) const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// As given: nothing is checked yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) listen: Vec<(String, Endpoint)>,
    pub(crate) hand_over: HandOver,
    pub(crate) workers: Option<usize>,
    pub(crate) spare: Option<usize>,
    pub(crate) backlog: Option<u32>,
    pub(crate) sharing: PortSharing,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_per_source: Option<usize>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) total_timeout: Option<Duration>,
    pub(crate) drain_timeout: Option<Duration>,
    pub(crate) stop_signal: Option<i32>,
    pub(crate) metrics: Option<Endpoint>,
}

/// Everything decided.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) listen: Vec<(String, Endpoint)>,
    pub(crate) hand_over: HandOver,
    /// Workers at a time; 0 where each connection has its own.
    pub(crate) workers: usize,
    /// Sandboxes that wait for a connection.
    pub(crate) spare: usize,
    pub(crate) backlog: Option<u32>,
    pub(crate) sharing: PortSharing,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_per_source: Option<usize>,
    pub(crate) idle: Option<Duration>,
    pub(crate) total: Option<Duration>,
    pub(crate) drain: Duration,
    /// What asks a worker that accepts for itself to finish.
    pub(crate) stop_signal: i32,
    pub(crate) metrics: Option<Endpoint>,
}

impl Asked {
    /// Check what was asked for.
    ///
    /// # Errors
    /// [`Error::Usage`] for what the hand-over mode cannot keep, or what makes no sense.
    pub(crate) fn check(self) -> Result<Settings> {
        let mode = self.hand_over;
        let only = |option: &str, given: bool, fits: bool, reason: &str| match given && !fits {
            true => Err(Error::usage(
                option,
                format!("{reason}; not with --hand-over {}", mode.word()),
            )),
            false => Ok(()),
        };
        let unseen = "only the worker sees the connections that it accepts";
        let accepts = mode.accepts();
        let max = self.max_connections;
        only("--max-connections", max.is_some(), accepts, unseen)?;
        let per_source = self.max_per_source;
        only("--max-per-source", per_source.is_some(), accepts, unseen)?;
        only(
            "--idle-timeout",
            self.idle_timeout.is_some(),
            accepts,
            unseen,
        )?;
        only(
            "--total-timeout",
            self.total_timeout.is_some(),
            accepts,
            unseen,
        )?;
        let each = mode == HandOver::Connection;
        only(
            "--spare",
            self.spare.is_some(),
            each,
            "sandboxes wait ahead only where each connection has its own",
        )?;
        only(
            "--workers",
            self.workers.is_some(),
            !each,
            "each connection has a sandbox of its own; --max-connections says how many",
        )?;
        only(
            "--stop-signal",
            self.stop_signal.is_some(),
            mode == HandOver::Listener,
            "a worker that gets connections is told otherwise",
        )?;
        for (option, limit) in [
            ("--workers", self.workers),
            ("--max-connections", max),
            ("--max-per-source", per_source),
        ] {
            if limit == Some(0) {
                return Err(Error::usage(
                    format!("{option} 0"),
                    "nobody would ever be served",
                ));
            }
        }
        for (option, limit) in [
            ("--idle-timeout", self.idle_timeout),
            ("--total-timeout", self.total_timeout),
        ] {
            if limit == Some(Duration::ZERO) {
                return Err(Error::usage(
                    format!("{option} 0"),
                    "nobody would ever be served; leave it out for no limit",
                ));
            }
        }
        if self.workers.is_some_and(|workers| workers > MOST_WORKERS) {
            return Err(Error::usage("--workers", format!("{MOST_WORKERS} at most")));
        }
        if self.spare.is_some_and(|spare| spare > MOST_SPARES) {
            return Err(Error::usage("--spare", format!("{MOST_SPARES} at most")));
        }
        let max_connections = max.or(each.then_some(DEFAULT_SANDBOXES));
        let spare = self.spare.unwrap_or(0);
        if let Some(most) = max_connections
            && spare > most
        {
            return Err(Error::usage(
                format!("--spare {spare}"),
                format!("more than --max-connections ({most}) would never be used"),
            ));
        }
        Ok(Settings {
            listen: self.listen,
            hand_over: mode,
            workers: match mode {
                HandOver::Connection => 0,
                // Existing servers bring workers of their own.
                HandOver::Listener => self.workers.unwrap_or(1),
                HandOver::Pool => self.workers.unwrap_or_else(processors),
            },
            spare,
            backlog: self.backlog,
            sharing: self.sharing,
            max_connections,
            max_per_source: per_source,
            idle: self.idle_timeout,
            total: self.total_timeout,
            drain: self.drain_timeout.unwrap_or(DEFAULT_DRAIN),
            stop_signal: self.stop_signal.unwrap_or(libc::SIGTERM),
            metrics: self.metrics,
        })
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(MOST_WORKERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(mode: HandOver) -> Asked {
        Asked {
            hand_over: mode,
            ..Asked::default()
        }
    }

    /// What one option adds.
    type Add = fn(&mut Asked);

    #[test]
    fn each_option_goes_with_the_modes_that_can_keep_it_and_no_other() {
        use HandOver::{Connection, Listener, Pool};
        let table: &[(&str, Add, &[HandOver])] = &[
            ("--workers", |a| a.workers = Some(2), &[Listener, Pool]),
            ("--spare", |a| a.spare = Some(2), &[Connection]),
            (
                "--max-connections",
                |a| a.max_connections = Some(2),
                &[Pool, Connection],
            ),
            (
                "--max-per-source",
                |a| a.max_per_source = Some(2),
                &[Pool, Connection],
            ),
            (
                "--idle-timeout",
                |a| a.idle_timeout = Some(DEFAULT_DRAIN),
                &[Pool, Connection],
            ),
            (
                "--total-timeout",
                |a| a.total_timeout = Some(DEFAULT_DRAIN),
                &[Pool, Connection],
            ),
            (
                "--drain-timeout",
                |a| a.drain_timeout = Some(Duration::ZERO),
                &HandOver::ALL,
            ),
            ("--stop-signal", |a| a.stop_signal = Some(3), &[Listener]),
            ("--backlog", |a| a.backlog = Some(1), &HandOver::ALL),
        ];
        for (name, add, fits) in table {
            for mode in HandOver::ALL {
                let mut asked = asked(mode);
                add(&mut asked);
                match asked.check() {
                    Ok(_) => assert!(fits.contains(&mode), "{name} with {}", mode.word()),
                    Err(error) => {
                        assert!(!fits.contains(&mode), "{name}: {error}");
                        let text = error.to_string();
                        assert!(text.starts_with(name), "{text}");
                        assert!(text.ends_with(mode.word()), "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn limits_under_which_nobody_is_served_are_refused() {
        let table: &[Add] = &[
            |a| a.workers = Some(0),
            |a| a.workers = Some(MOST_WORKERS + 1),
            |a| a.max_connections = Some(0),
            |a| a.max_per_source = Some(0),
            |a| a.idle_timeout = Some(Duration::ZERO),
            |a| a.total_timeout = Some(Duration::ZERO),
        ];
        for add in table {
            let mut asked = asked(HandOver::Pool);
            add(&mut asked);
            assert!(asked.clone().check().is_err(), "{asked:?}");
        }
        let mut asked = asked(HandOver::Connection);
        asked.max_connections = Some(MOST_SPARES + 1);
        asked.spare = asked.max_connections;
        assert!(asked.clone().check().is_err(), "more than are kept");
        asked.max_connections = Some(2);
        asked.spare = Some(3);
        assert!(asked.check().is_err(), "more than are used");
    }

    #[test]
    fn every_mode_serves_somebody_without_any_option() {
        for mode in HandOver::ALL {
            let settings = asked(mode).check().unwrap();
            let bounded = settings.workers > 0 || settings.max_connections.is_some();
            assert!(bounded, "{}", mode.word());
        }
    }
}
