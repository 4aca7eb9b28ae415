//! A worker that answers HTTP requests, one a connection, on connections that it is sent.
//!
//! `sandbox serve --listen 127.0.0.1:8080 --hand-over pool --workers 2 -- worker [THREADS]`, or see
//! `examples/broker.rs`. Inside its sandbox it can make no socket: it answers, and calls nobody.

use std::io::{Read, Write};
use std::time::Duration;

use sandbox::worker::{Connection, Refusal, Worker};

/// The longest request that is read.
const LONGEST: usize = 16 << 10;
/// How long a client may take to send or take something, unless the broker gives it less.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = match std::env::args().nth(1) {
        Some(number) => number.parse()?,
        None => 1,
    };
    // Each thread has one connection under way and one at hand.
    let credits = u32::try_from(threads)?.saturating_mul(2);
    let worker = Worker::from_env()?.with_credits(credits);
    worker.serve(threads, |connection| {
        // Clients come and go as they like.
        let _ = answer(connection);
    })?;
    Ok(())
}

fn answer(mut connection: Connection) -> std::io::Result<()> {
    let patience = connection
        .time_left()
        .map_or(PATIENCE, |left| left.min(PATIENCE));
    if patience.is_zero() {
        connection.refuse(Refusal::Expired);
        return Ok(());
    }
    connection.stream.set_read_timeout(Some(patience))?;
    connection.stream.set_write_timeout(Some(patience))?;
    let mut request = Vec::new();
    let mut part = [0; 4096];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match connection.stream.read(&mut part)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&part[..length]),
        }
        if request.len() > LONGEST {
            return connection.stream.write_all(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n",
            );
        }
    }
    let body = format!(
        "hello {}, you came to {} by {}\n",
        connection.peer, connection.local, connection.listener
    );
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    connection.stream.write_all(response.as_bytes())
}
