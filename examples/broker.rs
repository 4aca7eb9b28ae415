//! A server that keeps its accept loop, and has its connections served by sandboxed workers.
//!
//! `cargo run --example broker -- 127.0.0.1:8080 2 WORKER [ARG]...` starts two workers; for WORKER see
//! `examples/worker.rs` and `examples/worker.py`. It ends when its standard input does.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::time::Duration;

use sandbox::{Broker, Sandbox};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args_os().skip(1);
    let usage = "usage: broker ADDRESS WORKERS WORKER [ARG]...";
    let address = words.next().ok_or(usage)?;
    let workers: u32 = words
        .next()
        .and_then(|word| word.to_str()?.parse().ok())
        .ok_or(usage)?;
    let mut sandbox = Sandbox::new(words.next().ok_or(usage)?);
    sandbox.args(words);

    let listener = TcpListener::bind(address.to_str().ok_or(usage)?)?;
    say(&format!("listening on {}", listener.local_addr()?))?;
    // A client that is gone again before it is accepted must not stop the server in accept.
    listener.set_nonblocking(true)?;
    let mut broker = Broker::new(&mut sandbox)?;
    for _ in 1..workers {
        broker.add_worker()?;
    }

    let input = io::stdin();
    let watched = [listener.as_fd(), input.as_fd()];
    // Clients wait in the backlog while no worker has credit.
    while broker.wait_for_any(&watched)? == 0 {
        while let Some(event) = broker.next_event() {
            say(&format!("{event:?}"))?;
        }
        match listener.accept() {
            Ok(connection) => drop(broker.send(connection)?),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error.into()),
        }
    }
    drop(listener);
    let counts = broker.drain(Duration::from_secs(10))?;
    say(&format!("{counts:?}"))?;
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
