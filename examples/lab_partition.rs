//! A test of network software, as a program: three replicas of a service, one node each, that tell each
//! other that they live; then the network is cut in two, and healed.
//!
//!     cargo run --example lab_partition
//!
//! The replicas are this same program, started in the nodes as `lab_partition replica PEER...`. Each says
//! how many of the three it sees; two are a quorum. Nothing of it needs root.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use sandbox::{Lab, Stdio};

const LAB: &str = r#"
[networks.cluster]
ipv4 = "10.40.0.0/24"

[nodes.one]
[nodes.two]
[nodes.three]

[bridges.switch]
network = "cluster"
members = ["one", "two", "three"]

[groups]
majority = ["two", "three"]
"#;

/// How often a replica says that it lives.
const BEAT: Duration = Duration::from_millis(50);
/// How long one is believed to live after that.
const TRUST: Duration = Duration::from_millis(600);
/// Enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().collect();
    if words.get(1).is_some_and(|word| word == "replica") {
        return replica(words.get(2..).unwrap_or_default());
    }
    let program = std::env::current_exe()?;
    let program = program.to_str().ok_or("this program's path is no text")?;
    let mut lab = Lab::from_text("partition", LAB)?.up()?;
    let mut replicas = Vec::new();
    for node in ["one", "two", "three"] {
        let mut sandbox = lab.sandbox(node, program)?;
        sandbox.arg("replica").stdout(Stdio::Piped);
        sandbox.args(["10.40.0.1", "10.40.0.2", "10.40.0.3"]);
        let mut child = sandbox.spawn()?;
        let output = child.stdout.take().ok_or("it has a pipe")?;
        let (tell, told) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        replicas.push((node, told, child));
    }

    let say = |what: &str| writeln!(std::io::stdout(), "{what}");
    for (node, told, _) in &replicas {
        wait_for(node, told, "sees 3")?;
    }
    say("together: each of the three sees all")?;

    lab.partition(&["one", "majority"])?;
    for ((node, told, _), wanted) in replicas.iter().zip(["sees 1", "sees 2", "sees 2"]) {
        wait_for(node, told, wanted)?;
    }
    say("partition: one is alone, two and three are a quorum")?;

    lab.heal()?;
    for (node, told, _) in &replicas {
        wait_for(node, told, "sees 3")?;
    }
    say("healed: each of the three sees all")?;
    Ok(())
}

/// Read what a replica says until it says `wanted`.
fn wait_for(node: &str, told: &Receiver<String>, wanted: &str) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match told.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) if line == wanted => return Ok(()),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => return Err(format!("{node} never {wanted}")),
            Err(RecvTimeoutError::Disconnected) => return Err(format!("{node} ended")),
        }
    }
}

/// Tell every peer, and say how many are heard of.
fn replica(peers: &[String]) -> Result<(), Box<dyn Error>> {
    let socket = UdpSocket::bind(("0.0.0.0", 7000))?;
    socket.set_read_timeout(Some(BEAT))?;
    let mut heard: Vec<Option<Instant>> = vec![None; peers.len()];
    let mut last = 0;
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next {
            next = Instant::now() + BEAT;
            for peer in peers {
                // Who cannot be reached is what this is about.
                let _ = socket.send_to(b"I live", (peer.as_str(), 7000));
            }
        }
        let mut buffer = [0; 16];
        if let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let from = from.ip().to_string();
            if let Some(place) = peers.iter().position(|peer| *peer == from) {
                heard[place] = Some(Instant::now());
            }
        }
        let lives = |heard: &&Option<Instant>| heard.is_some_and(|when| when.elapsed() < TRUST);
        let seen = heard.iter().filter(lives).count();
        if seen != last {
            last = seen;
            writeln!(std::io::stdout(), "sees {seen}")?;
            std::io::stdout().flush()?;
        }
    }
}
