//! A pool whose workers do what their clients say.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use super::User;
use super::broker::{Broker, script};

/// The system's Python: every user can run it.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// The worker that does what its clients say, with so many credits.
pub(crate) fn worker(user: &User, credits: u32) -> [String; 4] {
    let example = script(user, "worker.py", include_str!("../../examples/worker.py"));
    let ours = script(user, "pool_worker.py", include_str!("pool_worker.py"));
    let path = |path: PathBuf| path.to_str().expect("it is ours").to_owned();
    [
        PYTHON.to_owned(),
        path(ours),
        path(example),
        credits.to_string(),
    ]
}

/// The command for a broker with such workers on a port of 127.0.0.1.
pub(crate) fn command(user: &User, credits: u32, options: &[&str]) -> Command {
    let worker = worker(user, credits);
    let worker: Vec<&str> = worker.iter().map(String::as_str).collect();
    let mut all = vec!["--listen", "tcp:127.0.0.1:0", "--hand-over", "pool"];
    all.extend(options);
    Broker::command(user, &all, &worker)
}

/// Such a broker, once it serves.
#[track_caller]
pub(crate) fn serve(user: &User, credits: u32, options: &[&str]) -> Broker {
    let mut broker = Broker::launch(&mut command(user, credits, options));
    broker.wait("ready", |_| true);
    broker
}

/// A connection that a worker holds until it is dropped, and which worker that is.
#[track_caller]
pub(crate) fn hold(broker: &Broker) -> (BufReader<TcpStream>, String) {
    have(broker, "hold")
}

/// A connection whose worker says who it is, and then does `what`.
#[track_caller]
pub(crate) fn have(broker: &Broker, what: &str) -> (BufReader<TcpStream>, String) {
    let mut stream = broker.connect();
    writeln!(stream, "{what}").expect("it is connected");
    let mut stream = BufReader::new(stream);
    let mut name = String::new();
    stream.read_line(&mut name).expect("a worker has it");
    (stream, name.trim_end().to_owned())
}
