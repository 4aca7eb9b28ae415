//! Bringing a lab up and taking it down, against the same made with ip(8): a bridge with 2, 20 and 200
//! nodes, each a namespace with `lo` up, a cable to the bridge, and an address.
//!
//! All ways take turns in one run, so that what disturbs one disturbs all; medians are printed, and how
//! many times longer ip(8) takes. `ip` is a process a command; `ip -batch` is one process for all names,
//! one for all that is made in the bridge's namespace, and one for each node, as ip(8) enters one
//! namespace a process. Needs root. `cargo bench --bench lab`; docs/performance.md says what came out.

#![expect(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Each way at each size is run this often, by turns.
const ROUNDS: usize = 5;
const SIZES: [usize; 3] = [2, 20, 200];

fn main() {
    // `cargo test --benches` asks for nothing but that it starts.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    println!(
        "| nodes | sandbox lab: up, down | ip -batch: up, down | ip: up, down | ip -batch / lab | ip / lab |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for size in SIZES {
        let file = directory.path().join("bench-lab.toml");
        std::fs::write(&file, lab(size)).expect("it can be written");
        let mut times: [Vec<(Duration, Duration)>; 3] = Default::default();
        for round in 0..=ROUNDS {
            let taken = [
                time(size, || ours("up", &file), || ours("down", &file)),
                time(size, || batch_up(size), || batch_down(size)),
                time(size, || single_up(size), || single_down(size)),
            ];
            // The first fills the caches.
            if round > 0 {
                for (times, taken) in times.iter_mut().zip(taken) {
                    times.push(taken);
                }
            }
        }
        let [lab, batch, single] = times.map(|times| {
            let up = median(times.iter().map(|(up, _)| *up).collect());
            let down = median(times.iter().map(|(_, down)| *down).collect());
            (up, down)
        });
        let sum = |(up, down): (f64, f64)| up + down;
        let shown = |(up, down): (f64, f64)| format!("{up:.1}, {down:.1} ms");
        println!(
            "| {size} | {} | {} | {} | {:.1} | {:.1} |",
            shown(lab),
            shown(batch),
            shown(single),
            sum(batch) / sum(lab),
            sum(single) / sum(lab),
        );
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn time(size: usize, up: impl FnOnce(), down: impl FnOnce()) -> (Duration, Duration) {
    let began = Instant::now();
    up();
    let made = began.elapsed();
    let began = Instant::now();
    down();
    let gone = began.elapsed();
    // The kernel takes namespaces apart later, and would disturb the next way.
    std::thread::sleep(Duration::from_millis(300 + 10 * size as u64));
    (made, gone)
}

fn run(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(child.wait().expect("it ends").success(), "{command:?}");
}

fn ip(words: &str) {
    run(Command::new("ip").args(words.split(' ')), "");
}

fn ours(verb: &str, file: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
    run(command.args(["lab", verb]).arg(file), "");
}

fn lab(size: usize) -> String {
    let mut text = "[networks.n]\nipv4 = \"10.0.0.0/16\"\n".to_owned();
    let mut members = Vec::new();
    for node in 0..size {
        let _ = writeln!(text, "[nodes.n{node}]");
        members.push(format!("\"n{node}\""));
    }
    let members = members.join(", ");
    let _ = writeln!(
        text,
        "[bridges.switch]\nnetwork = \"n\"\nmembers = [{members}]"
    );
    text
}

fn address(node: usize) -> String {
    format!("10.0.{}.{}/16", node / 250, node % 250 + 1)
}

fn name(node: usize) -> String {
    format!("bench-lab-{node}")
}

const SWITCH: &str = "bench-lab-switch";

fn single_up(size: usize) {
    ip(&format!("netns add {SWITCH}"));
    ip(&format!("-n {SWITCH} link add switch up type bridge"));
    for node in 0..size {
        let name = name(node);
        ip(&format!("netns add {name}"));
        ip(&format!("-n {SWITCH} {}", cable(node)));
        for words in inside(node) {
            ip(&format!("-n {name} {words}"));
        }
    }
}

fn single_down(size: usize) {
    for node in 0..size {
        ip(&format!("netns del {}", name(node)));
    }
    ip(&format!("netns del {SWITCH}"));
}

fn batch_up(size: usize) {
    let mut names = format!("netns add {SWITCH}\n");
    let mut cables = "link add switch up type bridge\n".to_owned();
    for node in 0..size {
        let _ = writeln!(names, "netns add {}", name(node));
        let _ = writeln!(cables, "{}", cable(node));
    }
    run(Command::new("ip").args(["-batch", "-"]), &names);
    run(
        Command::new("ip").args(["-n", SWITCH, "-batch", "-"]),
        &cables,
    );
    for node in 0..size {
        let lines = inside(node).join("\n") + "\n";
        run(
            Command::new("ip").args(["-n", &name(node), "-batch", "-"]),
            &lines,
        );
    }
}

fn batch_down(size: usize) {
    let mut lines = format!("netns del {SWITCH}\n");
    for node in 0..size {
        let _ = writeln!(lines, "netns del {}", name(node));
    }
    run(Command::new("ip").args(["-batch", "-"]), &lines);
}

fn cable(node: usize) -> String {
    format!(
        "link add p{node} up master switch type veth peer name eth0 netns {}",
        name(node)
    )
}

fn inside(node: usize) -> [String; 3] {
    [
        "link set lo up".to_owned(),
        "link set eth0 up".to_owned(),
        format!("addr add {} dev eth0", address(node)),
    ]
}
