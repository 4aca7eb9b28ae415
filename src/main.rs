//! The program: arguments in, exit status out. Everything else is the library's.
#![no_main]

#[path = "sys/entry.rs"]
mod entry;

/// Do what the arguments ask for; the status to exit with.
fn start() -> u8 {
    let argv: Vec<_> = std::env::args_os().collect();
    sandbox::cli::main(&argv)
}
