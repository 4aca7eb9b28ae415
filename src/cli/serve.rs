//! `sandbox serve [OPTIONS] -- WORKER…`: the options of a broker, on top of those of a launch.

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, StringValueParser, TypedValueParser, ValueParser};
use clap::{Args, ValueHint};
use nix::sys::signal::Signal;

use super::descriptors::Descriptors;
use super::options::{PolicyOptions, bytes, text};
use super::run::{KindOptions, OutputOptions};
use crate::broker::listen::PortSharing;
use crate::broker::settings::{Asked, HandOver};
use crate::broker::{admin, serve, tally};
use crate::error::{Error, Result};
use crate::exit;
use crate::policy::spec;
use crate::request::{Endpoint, Request, Source};

/// What `--listen` means here; of a single launch it says that the command gets the socket.
const LISTEN_HELP: &str = "Listen on ADDRESS, called NAME";
const LISTEN_LONG_HELP: &str = "Listen on ADDRESS, called NAME

May be given several times. ADDRESS is tcp:HOST:PORT, tcp:[IPv6]:PORT, unix:PATH or \
unix-seqpacket:PATH; an empty HOST means every address, of IPv4 and IPv6, and one in brackets is \
IPv6 alone; port 0 lets the kernel choose. A socket file that nobody listens on is replaced. NAME \
is \"listen\" by default; workers are told it. Sockets inherited by the systemd protocol \
(LISTEN_FDS) are used as well, and suffice. All are opened before anything untrusted starts.";

/// The help's end: exit statuses and examples.
fn after_help() -> String {
    let mut text = String::from("Exit status:\n");
    for (status, meaning) in exit::SERVE_TABLE {
        text.push_str(&format!("  {status:<7}{meaning}\n"));
    }
    text.push_str(EXAMPLES);
    text
}

const EXAMPLES: &str = "
Examples:
  An unmodified server that answers and can call nobody:
      sandbox serve --listen http=tcp::8080 -- ./server
  Four workers that get connections over a channel, at most 20 from one address:
      sandbox serve --listen tcp::8080 --hand-over pool --workers 4 --max-per-source 20 -- ./worker
  A fresh sandbox for each connection, inetd style, three of them made ahead:
      sandbox serve --listen tcp::7000 --hand-over connection --spare 3 -- ./handler
  See how a broker with --metrics unix:/run/web.sock does:
      sandbox serve --status unix:/run/web.sock

See sandbox-serve(1) for all of it.";

/// A broker: where it listens, to whom it hands over, within which limits; and the launch.
#[derive(Debug, Args)]
#[command(
    override_usage = "sandbox serve [OPTIONS] -- WORKER [ARG]...\n       sandbox serve --status ADDRESS [--json]",
    after_long_help = after_help(),
    mut_arg("listen", |listen| listen.help(LISTEN_HELP).long_help(LISTEN_LONG_HELP))
)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    broker: BrokerOptions,
    #[command(flatten)]
    connections: ConnectionOptions,
    #[command(flatten)]
    watching: WatchingOptions,
    #[command(flatten)]
    policy: PolicyOptions,
    #[command(flatten)]
    descriptors: Descriptors,
    #[command(flatten)]
    kinds: KindOptions,
    #[command(flatten)]
    output: OutputOptions,

    /// Program that serves connections, and its arguments
    ///
    /// The first word that is no option starts it; everything after is its own.
    #[arg(value_name = "WORKER", help_heading = "Command", trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Broker")]
struct BrokerOptions {
    /// Hand connections over by MODE: listener, pool or connection
    ///
    /// listener: workers have the listening sockets themselves, by the systemd protocol, as existing
    /// servers want them (the default). pool: workers get connected sockets over a channel
    /// (docs/channel.md). connection: a fresh sandbox for each, the socket on 0, 1 and 3, inetd
    /// style. The policy is "worker" for the first two and "connection" for the last unless --policy
    /// says otherwise.
    #[arg(long, value_name = "MODE", hide_possible_values = true, value_parser = hand_over())]
    hand_over: Option<HandOver>,

    /// Keep N workers
    ///
    /// One that ends is replaced, with growing pauses if it ends soon. Default: 1, as existing
    /// servers bring their own; with --hand-over pool, one for each processor. Not with --hand-over
    /// connection: see --max-connections.
    #[arg(long, value_name = "N", value_parser = count())]
    workers: Option<usize>,

    /// Launch N sandboxes ahead of their connections
    ///
    /// Each waits, confined, for one connection. Only with --hand-over connection. Default: 0.
    #[arg(long, value_name = "N", value_parser = count())]
    spare: Option<usize>,

    /// Let N connections wait in a listener's queue
    ///
    /// That is where they wait while nobody has room: none is dropped before it is full. Default:
    /// as many as the kernel lets (net.core.somaxconn); more than that is an error.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    backlog: Option<u32>,

    /// Let other processes of this user listen on the same TCP ports
    ///
    /// SO_REUSEPORT: the kernel spreads connections over all of them, as when a new broker takes
    /// over from an old one. Off by default.
    #[arg(long)]
    reuse_port: bool,

    /// Ask a worker to finish with the signal NAME
    ///
    /// When it is replaced after SIGHUP, or all come to their end. Only with --hand-over listener.
    /// Default: TERM. nginx finishes its connections after QUIT.
    #[arg(long, value_name = "NAME", value_parser = signal())]
    stop_signal: Option<i32>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
struct ConnectionOptions {
    /// Have N connections at a time
    ///
    /// Further ones wait in the listener's queue. Default: as many as the workers take; with
    /// --hand-over connection, 256. Not with --hand-over listener.
    #[arg(long, value_name = "N", value_parser = count())]
    max_connections: Option<usize>,

    /// Have N connections at a time from one source
    ///
    /// Further ones are closed at once. A source is an IPv4 address, the first 64 bits of an IPv6
    /// address, or a user of this host over a Unix socket. Default: no limit. Not with --hand-over
    /// listener.
    #[arg(long, value_name = "N", value_parser = count())]
    max_per_source: Option<usize>,

    /// End a connection on which no byte has moved for DURATION
    ///
    /// Bytes received, or acknowledged by the peer, as the kernel counts them; only over TCP.
    /// Default: no limit. Not with --hand-over listener.
    #[arg(long, value_name = "DURATION", value_parser = text(spec::duration))]
    idle_timeout: Option<Duration>,

    /// End a connection after DURATION, whatever it does
    ///
    /// Default: no limit. Not with --hand-over listener.
    #[arg(long, value_name = "DURATION", value_parser = text(spec::duration))]
    total_timeout: Option<Duration>,

    /// Give connections DURATION to end when the broker does
    ///
    /// After SIGTERM or SIGINT nothing more is accepted, and what is left when the time is over is
    /// ended. Also how long a replaced worker may take. Default: 30s.
    #[arg(long, value_name = "DURATION", value_parser = text(spec::duration))]
    drain_timeout: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Watching")]
struct WatchingOptions {
    /// Answer for metrics and status on ADDRESS
    ///
    /// HTTP: /metrics in Prometheus' text format, /status in JSON. ADDRESS is unix:PATH, or
    /// tcp:HOST:PORT with a loopback address. Off by default.
    #[arg(long, value_name = "ADDRESS", value_parser = bytes(spec::endpoint))]
    metrics: Option<Endpoint>,

    /// Print how the broker whose --metrics is ADDRESS does, and run nothing
    ///
    /// Its workers, load and limits at a glance.
    #[arg(long, value_name = "ADDRESS", value_parser = bytes(spec::endpoint))]
    status: Option<Endpoint>,

    /// With --status, print JSON
    ///
    /// Default: tables for people.
    #[arg(long, requires = "status")]
    json: bool,
}

fn hand_over() -> ValueParser {
    let words = HandOver::ALL.map(HandOver::word);
    PossibleValuesParser::new(words)
        .map(|word| {
            let mut known = HandOver::ALL.into_iter();
            known.rfind(|mode| mode.word() == word).unwrap_or_default()
        })
        .into()
}

fn count() -> ValueParser {
    StringValueParser::new()
        .try_map(|text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<usize>().ok().filter(|_| digits);
            number.ok_or("write a number")
        })
        .into()
}

fn signal() -> ValueParser {
    StringValueParser::new()
        .try_map(|text| {
            let upper = text.to_ascii_uppercase();
            let name = upper.strip_prefix("SIG").unwrap_or(&upper);
            format!("SIG{name}")
                .parse::<Signal>()
                .map(|signal| signal as i32)
                .map_err(|_| "write a signal as its name (TERM, QUIT, USR1)")
        })
        .into()
}

impl ServeArgs {
    /// Serve, or print another broker's status; the status to exit with.
    ///
    /// # Errors
    /// When nothing was served.
    pub(crate) fn execute(self) -> Result<u8> {
        if let Some(endpoint) = &self.watching.status {
            if !self.command.is_empty() {
                return Err(Error::usage(
                    "--status",
                    "asks another broker and runs nothing; leave the command out",
                ));
            }
            let status = admin::fetch_status(endpoint)?;
            let page = match self.watching.json {
                true => format!("{status:#}\n"),
                false => tally::describe(&status),
            };
            super::print(&page)?;
            return Ok(0);
        }
        if self.command.is_empty() {
            return Err(Error::usage(
                "no worker given",
                "write sandbox serve --listen ADDRESS -- WORKER; sandbox serve --help tells more",
            ));
        }
        let hand_over = self.broker.hand_over.unwrap_or_default();
        let (listening, passed): (Vec<_>, Vec<_>) = self
            .descriptors
            .passed
            .into_iter()
            .partition(|passed| matches!(passed.source, Source::Listen(_)));
        let listen = listening
            .into_iter()
            .filter_map(|passed| match passed.source {
                Source::Listen(endpoint) => Some((passed.name, endpoint)),
                _ => None,
            });
        let settings = Asked {
            listen: listen.collect(),
            hand_over,
            workers: self.broker.workers,
            spare: self.broker.spare,
            backlog: self.broker.backlog,
            sharing: match self.broker.reuse_port {
                true => PortSharing::Shared,
                false => PortSharing::Alone,
            },
            max_connections: self.connections.max_connections,
            max_per_source: self.connections.max_per_source,
            idle_timeout: self.connections.idle_timeout,
            total_timeout: self.connections.total_timeout,
            drain_timeout: self.connections.drain_timeout,
            stop_signal: self.broker.stop_signal,
            metrics: self.watching.metrics,
        }
        .check()?;
        let request = Request {
            command: self.command,
            descriptors: passed,
            unsafe_descriptors: self.kinds.allow_unsafe_fd,
            stdin_socket: false,
            events: self.output.events,
            dry_run: self.output.dry_run,
            timing: false,
            files: Vec::new(),
            learn: None,
        };
        let options = self.policy;
        let policy = move || {
            let policy = options
                .clone()
                .into_policy_from(hand_over.default_policy())?;
            // A worker that found nothing where its policy allows something would be a riddle.
            match policy.egress.is_empty() {
                true => Ok(policy),
                false => Err(Error::usage(
                    "egress.allow",
                    "the broker gives its workers no way out yet, and publishes nothing but its listeners; leave it out, or run the server alone",
                )),
            }
        };
        serve::serve(policy, &request, settings)
    }
}
