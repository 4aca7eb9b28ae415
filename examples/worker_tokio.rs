//! A worker that serves many connections at a time in tokio's run-time (cargo feature `tokio`).
//!
//! `sandbox serve --listen 127.0.0.1:8080 --hand-over pool -- worker_tokio`, or see `examples/broker.rs`.

use std::time::Duration;

use sandbox::worker::{AsyncStream, Connection, Worker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest request that is read.
const LONGEST: usize = 16 << 10;
/// How long a client may take in all, unless the broker gives it less.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let mut worker = Worker::from_env()?.with_credits(1000).into_async()?;
    while let Some(connection) = worker.accept().await? {
        tokio::spawn(async move {
            let patience = connection
                .time_left()
                .map_or(PATIENCE, |left| left.min(PATIENCE));
            // Clients come and go as they like.
            let _ = tokio::time::timeout(patience, answer(connection)).await;
        });
    }
    worker.finish().await?;
    Ok(())
}

async fn answer(mut connection: Connection<AsyncStream>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let length = connection.stream.read_buf(&mut request).await?;
        if length == 0 || request.len() > LONGEST {
            return Ok(());
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
    connection.stream.write_all(response.as_bytes()).await?;
    connection.stream.shutdown().await
}
