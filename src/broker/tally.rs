//! What the broker counts, and how it shows it: Prometheus' text format and JSON.
//!
//! Pure data and its two renderings. Numbers only grow in the loop; a snapshot is put together when
//! somebody asks.
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::limit::{Gate, Over, Pause};
use crate::printable::Printable;

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The worker was done with it.
    Done,
    /// `--idle-timeout`.
    Idle,
    /// `--total-timeout`.
    Total,
    /// Its worker ended while it had it.
    Lost,
    /// The broker ended, and the time to finish was over.
    Drain,
    /// No sandbox could be launched for it.
    Launch,
    /// The worker refused it.
    Refused,
    /// The broker ended at once.
    Stopped,
}

impl Why {
    /// Each of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Done,
        Self::Idle,
        Self::Total,
        Self::Lost,
        Self::Drain,
        Self::Launch,
        Self::Refused,
        Self::Stopped,
    ];

    /// As events and metrics name it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Idle => Over::Idle.word(),
            Self::Total => Over::Total.word(),
            Self::Lost => "worker-ended",
            Self::Drain => "drain-timeout",
            Self::Launch => "launch-failed",
            Self::Refused => "refused-by-worker",
            Self::Stopped => "broker-ended",
        }
    }
}

impl From<Over> for Why {
    fn from(over: Over) -> Self {
        match over {
            Over::Idle => Self::Idle,
            Over::Total => Self::Total,
        }
    }
}

/// What has happened since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Connections accepted, by listener.
    pub(crate) accepted: Vec<u64>,
    /// Connections closed at once because their source had as many as it may.
    pub(crate) refused: u64,
    closed: [u64; Why::ALL.len()],
    /// Connections taken back from a worker that ended, and given to another.
    pub(crate) returned: u64,
    /// Workers, or sandboxes for a connection, that were started.
    pub(crate) started: u64,
    /// Those that ended.
    pub(crate) ended: u64,
    /// Those that the broker ended because they did not keep to the rules.
    pub(crate) cut_off: u64,
    /// Launches that failed.
    pub(crate) launches_failed: u64,
    /// Reloads of the policy that went well.
    pub(crate) reloads: u64,
}

impl Tally {
    pub(crate) fn new(listeners: usize) -> Self {
        Self {
            accepted: vec![0; listeners],
            ..Self::default()
        }
    }

    /// Count a connection in.
    pub(crate) fn accept(&mut self, listener: usize) {
        if let Some(count) = self.accepted.get_mut(listener) {
            *count = count.saturating_add(1);
        }
    }

    /// Count a connection out.
    pub(crate) fn close(&mut self, why: Why) {
        let count = &mut self.closed[why as usize];
        *count = count.saturating_add(1);
    }

    /// How many were closed for `why`.
    pub(crate) fn closed(&self, why: Why) -> u64 {
        self.closed[why as usize]
    }

    fn all_accepted(&self) -> u64 {
        self.accepted.iter().sum()
    }
}

/// Where a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Asked for, or up and not yet ready.
    Starting,
    /// It serves.
    Ready,
    /// It finishes what it has and gets no more.
    Draining,
    /// A sandbox that waits for a connection.
    Spare,
    /// It is being ended.
    Ending,
}

impl Stage {
    /// Each of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Starting,
        Self::Ready,
        Self::Draining,
        Self::Spare,
        Self::Ending,
    ];

    /// As status and metrics name it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Spare => "spare",
            Self::Ending => "ending",
        }
    }
}

/// One worker at the moment of a look.
#[derive(Clone, Debug)]
pub(crate) struct WorkerView {
    /// The broker's number of it: never used twice.
    pub(crate) worker: u64,
    /// The pid of its sandbox's first process, outside; 0 while it is being launched.
    pub(crate) pid: i32,
    pub(crate) stage: Stage,
    /// Connections that it has; `None` where only the worker knows.
    pub(crate) connections: Option<usize>,
    /// How many more it takes, in a pool.
    pub(crate) credits: Option<u64>,
    pub(crate) age: Duration,
}

/// One listener.
#[derive(Clone, Debug)]
pub(crate) struct ListenerView {
    pub(crate) name: String,
    pub(crate) address: String,
}

/// The limits in force.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LimitsView {
    pub(crate) connections: Option<usize>,
    pub(crate) per_source: Option<usize>,
    pub(crate) idle: Option<Duration>,
    pub(crate) total: Option<Duration>,
    pub(crate) drain: Duration,
}

/// The whole broker at the moment of a look.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// `listener`, `pool` or `connection`.
    pub(crate) hand_over: &'static str,
    /// `starting`, `running`, `reloading` or `draining`.
    pub(crate) state: &'static str,
    pub(crate) pid: i32,
    /// The keeper's pid.
    pub(crate) keeper: i32,
    pub(crate) age: Duration,
    pub(crate) listeners: &'a [ListenerView],
    pub(crate) workers: Vec<WorkerView>,
    /// Connections that are open; `None` where only the workers know.
    pub(crate) open: Option<usize>,
    pub(crate) sources: usize,
    pub(crate) limits: LimitsView,
    pub(crate) gate: &'a Gate,
    pub(crate) tally: &'a Tally,
}

impl View<'_> {
    /// As JSON: one object, whose fields are never renamed.
    pub(crate) fn to_json(&self) -> Value {
        let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs_f64());
        let tally = self.tally;
        let workers: Vec<Value> = self
            .workers
            .iter()
            .map(|worker| {
                json!({
                    "worker": worker.worker,
                    "pid": worker.pid,
                    "state": worker.stage.word(),
                    "connections": worker.connections,
                    "credits": worker.credits,
                    "seconds": worker.age.as_secs_f64(),
                })
            })
            .collect();
        let listeners: Vec<Value> = self
            .listeners
            .iter()
            .zip(&tally.accepted)
            .map(|(listener, accepted)| {
                json!({
                    "name": listener.name,
                    "address": listener.address,
                    "accepted": accepted,
                })
            })
            .collect();
        let closed: serde_json::Map<String, Value> = Why::ALL
            .iter()
            .map(|&why| (why.word().to_owned(), tally.closed(why).into()))
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "hand_over": self.hand_over,
            "state": self.state,
            "pid": self.pid,
            "keeper": self.keeper,
            "seconds": self.age.as_secs_f64(),
            "paused": self.gate.reasons().map(Pause::word).collect::<Vec<_>>(),
            "listeners": listeners,
            "workers": workers,
            "connections": {
                "open": self.open,
                "sources": self.sources,
                "accepted": tally.all_accepted(),
                "refused": tally.refused,
                "returned": tally.returned,
                "closed": closed,
            },
            "limits": {
                "max_connections": self.limits.connections,
                "max_per_source": self.limits.per_source,
                "idle_seconds": seconds(self.limits.idle),
                "total_seconds": seconds(self.limits.total),
                "drain_seconds": self.limits.drain.as_secs_f64(),
            },
            "launches": {
                "started": tally.started,
                "ended": tally.ended,
                "cut_off": tally.cut_off,
                "failed": tally.launches_failed,
                "reloads": tally.reloads,
            },
        })
    }

    /// In Prometheus' text format, version 0.0.4.
    pub(crate) fn to_metrics(&self) -> String {
        let tally = self.tally;
        let mut page = Page(String::new());
        page.family("info", "gauge", "What this broker is; always 1.");
        page.sample(
            "info",
            &[
                ("version", env!("CARGO_PKG_VERSION")),
                ("hand_over", self.hand_over),
            ],
            1,
        );
        page.family("uptime_seconds", "gauge", "Seconds since the start.");
        page.sample("uptime_seconds", &[], self.age.as_secs());
        page.family(
            "draining",
            "gauge",
            "Whether the broker is coming to its end.",
        );
        page.sample("draining", &[], u64::from(self.state == "draining"));
        page.family("accepted_total", "counter", "Connections accepted.");
        for (listener, &accepted) in self.listeners.iter().zip(&tally.accepted) {
            page.sample(
                "accepted_total",
                &[("listener", &listener.name), ("address", &listener.address)],
                accepted,
            );
        }
        page.family(
            "refused_total",
            "counter",
            "Connections closed at once by a limit.",
        );
        page.sample(
            "refused_total",
            &[("limit", "max-per-source")],
            tally.refused,
        );
        page.family(
            "closed_total",
            "counter",
            "Connections that are over, by reason.",
        );
        for why in Why::ALL {
            page.sample("closed_total", &[("why", why.word())], tally.closed(why));
        }
        page.family(
            "returned_total",
            "counter",
            "Connections given to another worker because theirs ended before it took them.",
        );
        page.sample("returned_total", &[], tally.returned);
        if let Some(open) = self.open {
            page.family("open", "gauge", "Connections that are open.");
            page.sample("open", &[], number(open));
            page.family("sources", "gauge", "Sources that have a connection.");
            page.sample("sources", &[], number(self.sources));
        }
        page.family(
            "paused",
            "gauge",
            "Whether nothing is accepted at the moment, by reason.",
        );
        let reasons: Vec<Pause> = self.gate.reasons().collect();
        for pause in Pause::ALL {
            let holds = u64::from(reasons.contains(&pause));
            page.sample("paused", &[("reason", pause.word())], holds);
        }
        page.family("pauses_total", "counter", "How often accepting paused.");
        for pause in Pause::ALL {
            let times = self.gate.times(pause);
            page.sample("pauses_total", &[("reason", pause.word())], times);
        }
        page.family("workers", "gauge", "Workers, by state.");
        for stage in Stage::ALL {
            let count = self.workers.iter().filter(|it| it.stage == stage).count();
            page.sample("workers", &[("state", stage.word())], number(count));
        }
        self.add_loads(&mut page);
        page.family("launches_total", "counter", "Sandboxes launched.");
        page.sample("launches_total", &[], tally.started);
        page.family(
            "launch_failures_total",
            "counter",
            "Launches that failed; each was tried again.",
        );
        page.sample("launch_failures_total", &[], tally.launches_failed);
        page.family("worker_ends_total", "counter", "Sandboxes that ended.");
        page.sample("worker_ends_total", &[], tally.ended);
        page.family(
            "worker_cut_offs_total",
            "counter",
            "Workers ended because they did not keep to the rules.",
        );
        page.sample("worker_cut_offs_total", &[], tally.cut_off);
        page.family("reloads_total", "counter", "Reloads of the policy.");
        page.sample("reloads_total", &[], tally.reloads);
        page.0
    }

    /// Each worker of a pool: few, so that each may have a line of its own.
    fn add_loads(&self, page: &mut Page) {
        let loads: Vec<(String, u64, u64)> = self
            .workers
            .iter()
            .filter_map(|it| Some((it.worker.to_string(), number(it.connections?), it.credits?)))
            .collect();
        if loads.is_empty() {
            return;
        }
        page.family(
            "worker_connections",
            "gauge",
            "Connections that a worker of the pool has.",
        );
        for (worker, connections, _) in &loads {
            page.sample("worker_connections", &[("worker", worker)], *connections);
        }
        page.family(
            "worker_credits",
            "gauge",
            "How many more connections a worker of the pool takes.",
        );
        for (worker, _, credits) in &loads {
            page.sample("worker_credits", &[("worker", worker)], *credits);
        }
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The text format in the making.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.0,
            "# HELP sandbox_broker_{name} {help}\n# TYPE sandbox_broker_{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let _ = write!(self.0, "sandbox_broker_{name}");
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", escaped(text));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {value}");
    }
}

/// A label's value: what the format gives a meaning to is written as an escape.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The status for people, made from [`View::to_json`] as another process got it.
pub(crate) fn describe(status: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => Printable(text).to_string(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float:.0}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    };
    let at = |path: &str| text(status.pointer(path).unwrap_or(&Value::Null));
    let mut page = format!(
        "{} broker {}, pid {}, for {} s",
        at("/hand_over"),
        at("/state"),
        at("/pid"),
        at("/seconds")
    );
    let paused = status.pointer("/paused").and_then(Value::as_array);
    for reason in paused.into_iter().flatten() {
        let _ = write!(page, ", paused: {}", text(reason));
    }
    page.push_str("\n\n");
    let list = |path: &str| {
        let list = status.pointer(path).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let mut table = Table::new(&["LISTENER", "ADDRESS", "ACCEPTED"]);
    for listener in list("/listeners") {
        table.row(["name", "address", "accepted"].map(|field| text(&listener[field])));
    }
    table.print(&mut page);
    let mut table = Table::new(&[
        "WORKER",
        "PID",
        "STATE",
        "CONNECTIONS",
        "CREDITS",
        "SECONDS",
    ]);
    for worker in list("/workers") {
        let fields = [
            "worker",
            "pid",
            "state",
            "connections",
            "credits",
            "seconds",
        ];
        table.row(fields.map(|field| text(&worker[field])));
    }
    table.print(&mut page);
    let _ = writeln!(
        page,
        "connections: {} open from {} sources, {} accepted, {} refused, {} returned",
        at("/connections/open"),
        at("/connections/sources"),
        at("/connections/accepted"),
        at("/connections/refused"),
        at("/connections/returned")
    );
    let closed = status
        .pointer("/connections/closed")
        .and_then(Value::as_object);
    let closed: Vec<String> = closed
        .into_iter()
        .flatten()
        .map(|(why, count)| format!("{} {why}", text(count)))
        .collect();
    let _ = writeln!(page, "closed: {}", closed.join(", "));
    let _ = writeln!(
        page,
        "limits: {} connections, {} per source, idle {} s, total {} s, drain {} s",
        at("/limits/max_connections"),
        at("/limits/max_per_source"),
        at("/limits/idle_seconds"),
        at("/limits/total_seconds"),
        at("/limits/drain_seconds")
    );
    let _ = writeln!(
        page,
        "launches: {} started, {} ended, {} cut off, {} failed, {} reloads",
        at("/launches/started"),
        at("/launches/ended"),
        at("/launches/cut_off"),
        at("/launches/failed"),
        at("/launches/reloads")
    );
    page
}

/// Columns as wide as their widest cell.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(titles: &[&str]) -> Self {
        Self {
            rows: vec![titles.iter().map(|&title| title.to_owned()).collect()],
        }
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn print(&self, page: &mut String) {
        let columns = self.rows.first().map_or(0, Vec::len);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            page.push_str(cells.join("  ").trim_end());
            page.push('\n');
        }
        page.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(gate: &'a Gate, tally: &'a Tally, listeners: &'a [ListenerView]) -> View<'a> {
        View {
            hand_over: "pool",
            state: "running",
            pid: 7,
            keeper: 8,
            age: Duration::from_secs(60),
            listeners,
            workers: vec![WorkerView {
                worker: 3,
                pid: 12,
                stage: Stage::Ready,
                connections: Some(2),
                credits: Some(6),
                age: Duration::from_secs(5),
            }],
            open: Some(2),
            sources: 1,
            limits: LimitsView {
                connections: Some(100),
                ..LimitsView::default()
            },
            gate,
            tally,
        }
    }

    fn listeners() -> [ListenerView; 1] {
        [ListenerView {
            name: "web".to_owned(),
            address: "unix:/a \"b\"\\c\nd".to_owned(),
        }]
    }

    #[test]
    fn every_sample_has_its_family_and_is_well_formed() {
        let (gate, mut tally, listeners) = (Gate::default(), Tally::new(1), listeners());
        tally.accept(0);
        tally.close(Why::Idle);
        let page = view(&gate, &tally, &listeners).to_metrics();
        let mut family = "";
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap();
                continue;
            }
            if line.starts_with("# HELP ") {
                continue;
            }
            let name = line.split(['{', ' ']).next().unwrap();
            assert_eq!(name, family, "{line}");
            let value = line.rsplit(' ').next().unwrap();
            assert!(value.parse::<u64>().is_ok(), "{line}");
        }
        assert!(page.contains("sandbox_broker_closed_total{why=\"idle-timeout\"} 1\n"));
        assert!(page.contains("sandbox_broker_worker_credits{worker=\"3\"} 6\n"));
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let (gate, tally, listeners) = (Gate::default(), Tally::new(1), listeners());
        let page = view(&gate, &tally, &listeners).to_metrics();
        let expected = "sandbox_broker_accepted_total{listener=\"web\",address=\
                        \"unix:/a \\\"b\\\"\\\\c\\nd\"} 0\n";
        assert!(page.contains(expected), "{page}");
    }

    #[test]
    fn the_status_for_people_has_every_worker_listener_and_limit() {
        let (gate, tally, listeners) = (Gate::default(), Tally::new(1), listeners());
        let page = describe(&view(&gate, &tally, &listeners).to_json());
        assert!(
            page.starts_with("pool broker running, pid 7, for 60 s\n"),
            "{page}"
        );
        assert!(
            page.contains("\n3       12   ready  2            6        5\n"),
            "{page}"
        );
        assert!(
            page.contains("limits: 100 connections, - per source"),
            "{page}"
        );
    }

    #[test]
    fn a_status_that_makes_no_sense_is_described_without_a_panic() {
        for odd in [json!(null), json!([]), json!({"workers": 3, "paused": {}})] {
            assert!(describe(&odd).contains("limits:"));
        }
    }
}
