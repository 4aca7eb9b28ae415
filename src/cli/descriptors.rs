//! The options that hand the command descriptors, in the order in which they were given.
//!
//! clap keeps the order within one option only; the command gets 3, 4, 5… in the order of the whole
//! line, so it is put together here from the places that clap remembers.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, StringValueParser, TypedValueParser, ValueParser};
use clap::error::{Error, ErrorKind};
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueHint};

use crate::policy::spec;
use crate::request::{Passed, Source};

/// The descriptors that the command gets from 3 up, in the order of the line.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    /// Each with its source and name.
    pub passed: Vec<Passed>,
}

/// What clap is told; [`Descriptors`] takes the values.
#[derive(Debug, Args)]
#[command(next_help_heading = "Descriptors")]
struct Flags {
    /// Pass the open descriptor N, called NAME
    ///
    /// The command finds it from 3 up, in the order of these options, by the systemd protocol:
    /// LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES (sd_listen_fds(3)), and {fd:NAME} in its
    /// arguments. NAME is "passed" by default. Nothing else above 2 gets in. Refused for kinds
    /// that lead out of the sandbox: see --allow-unsafe-fd.
    #[arg(long, value_name = "N[:NAME]", value_parser = pass())]
    pass_fd: Vec<Passed>,

    /// Listen on ADDRESS outside and pass the socket, called NAME
    ///
    /// ADDRESS is tcp:HOST:PORT, tcp:[IPv6]:PORT, unix:PATH or unix-seqpacket:PATH; an empty HOST
    /// means every address, of IPv4 and IPv6, and one in brackets is IPv6 alone; port 0 lets the
    /// kernel choose. A name for HOST must be in /etc/hosts: DNS is not asked. A socket file that
    /// nobody listens on is replaced. Opened before anything untrusted starts. NAME is "listen" by
    /// default. The command can answer those that connect, and call nobody.
    #[arg(long, value_name = "[NAME=]ADDRESS", value_parser = listen())]
    listen: Vec<Passed>,

    /// Connect to ADDRESS outside and pass the socket, called NAME
    ///
    /// ADDRESS as for --listen, but of one host and one port. The one connection that the command
    /// then has; if it fails, nothing is run. NAME is "connect" by default.
    #[arg(long, value_name = "[NAME=]ADDRESS", value_parser = connect())]
    connect: Vec<Passed>,

    /// Take connected sockets from a broker listening on unix:PATH
    ///
    /// The launcher connects there and receives descriptors (SCM_RIGHTS, unix(7)) before the
    /// command starts. They are called "received".
    #[arg(long, value_name = "unix:PATH", value_parser = receive(), value_hint = ValueHint::FilePath)]
    receive_from: Vec<Passed>,
}

/// The ids that clap gives the options of [`Flags`].
const IDS: [&str; 4] = ["pass_fd", "listen", "connect", "receive_from"];

fn pass() -> ValueParser {
    StringValueParser::new()
        .try_map(|text| {
            let (number, name) = spec::descriptor(&text)?;
            Ok::<_, spec::Invalid>(passed(Source::Inherited(number), name, "passed"))
        })
        .into()
}

fn listen() -> ValueParser {
    OsStringValueParser::new()
        .try_map(|text| {
            let (name, endpoint) = spec::named_endpoint(&text)?;
            Ok::<_, spec::Invalid>(passed(Source::Listen(endpoint), name, "listen"))
        })
        .into()
}

fn connect() -> ValueParser {
    OsStringValueParser::new()
        .try_map(|text| {
            let (name, endpoint) = spec::named_peer(&text)?;
            Ok::<_, spec::Invalid>(passed(Source::Connect(endpoint), name, "connect"))
        })
        .into()
}

fn receive() -> ValueParser {
    OsStringValueParser::new()
        .try_map(|text| {
            let path: PathBuf = spec::unix_path(OsStr::new(&text))?;
            Ok::<_, spec::Invalid>(passed(Source::Receive(path), None, "received"))
        })
        .into()
}

fn passed(source: Source, name: Option<String>, kind: &str) -> Passed {
    Passed {
        source,
        name: name.unwrap_or_else(|| kind.to_owned()),
    }
}

impl Args for Descriptors {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args_for_update(command)
    }
}

impl FromArgMatches for Descriptors {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut placed: Vec<(usize, Passed)> = Vec::new();
        for id in IDS {
            let values = matches
                .try_get_many::<Passed>(id)
                .map_err(|_| Error::new(ErrorKind::UnknownArgument))?;
            let places = matches.indices_of(id);
            placed.extend(
                places
                    .into_iter()
                    .flatten()
                    .zip(values.into_iter().flatten().cloned()),
            );
        }
        placed.sort_by_key(|(place, _)| *place);
        Ok(Self {
            passed: placed.into_iter().map(|(_, passed)| passed).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::request::Endpoint;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        descriptors: Descriptors,
    }

    #[test]
    fn descriptors_keep_the_order_of_the_line_over_different_options() {
        let line = Line::try_parse_from([
            "sandbox",
            "--listen",
            "tcp:127.0.0.1:80",
            "--pass-fd",
            "7:log",
            "--receive-from=unix:/b",
            "--listen=admin=unix:/a",
            "--connect",
            "db=tcp:[::1]:5432",
            "--pass-fd=8",
        ])
        .unwrap_or_else(|error| panic!("{error}"));
        let tcp = |host: &str, port| Endpoint::Tcp {
            host: host.into(),
            port,
        };
        let expected = [
            ("listen", Source::Listen(tcp("127.0.0.1", 80))),
            ("log", Source::Inherited(7)),
            ("received", Source::Receive("/b".into())),
            ("admin", Source::Listen(Endpoint::Unix("/a".into()))),
            ("db", Source::Connect(tcp("::1", 5432))),
            ("passed", Source::Inherited(8)),
        ]
        .map(|(name, source)| Passed {
            source,
            name: name.into(),
        });
        assert_eq!(line.descriptors.passed, expected);
    }

    #[test]
    fn the_ids_are_those_that_clap_knows() {
        let command = Flags::augment_args(Command::new("sandbox"));
        let ids: Vec<_> = command
            .get_arguments()
            .map(|arg| arg.get_id().as_str())
            .collect();
        assert_eq!(ids, IDS);
    }
}
