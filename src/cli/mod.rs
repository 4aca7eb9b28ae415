//! The command line: clap types, one file a subcommand; nothing after it sees argv.
