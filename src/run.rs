//! One launch of the program, from policy and request to exit status.
//!
//! Runs in the launcher's main thread. What the library offers to other programs is
//! [`crate::Sandbox`]; this adds what belongs to a command of its own: the terminal, signals, events,
//! the supervisor's own confinement.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

use tracing::{info, warn};

use crate::cgroup::Group;
use crate::descriptor::{self, Kind, Opened};
use crate::egress::carry::{Outset, Told};
use crate::egress::who::Callers;
use crate::error::{Error, Result};
use crate::event::{self, Events};
use crate::learn::output::{Output, Texts};
use crate::learn::record::Recorder;
use crate::learn::{Learning, Profile, compose};
use crate::plan::{Plan, Situation, errno_of, working_directory};
use crate::policy::Policy;
use crate::printable;
use crate::probe::Support;
use crate::request::{Format, Request};
use crate::spawn::{Order, Spawned};
use crate::supervise::{Ending, Supervisor, Terminal, TimeLimit};
use crate::sys::parent;
use crate::{confine, dry_run, launch, log, lower};

/// Run the command of `request` under `policy`; the status to exit with.
///
/// Blocks every signal in the calling thread and gives up the process's privileges once the command
/// runs: for a program whose only job this is.
///
/// # Errors
/// When the command was not run.
pub fn run(policy: &Policy, request: &Request) -> Result<u8> {
    let mut events = Events::open(request.events.as_ref())?;
    let result = supervised(policy, request, &mut events);
    if let Err(error) = &result {
        events.failed(error);
    }
    result
}

fn supervised(policy: &Policy, request: &Request, events: &mut Events) -> Result<u8> {
    let began = Instant::now();
    open_missing_standard_descriptors()?;
    let lowered = lower::to_what_can_be_had(policy);
    let mut opened = descriptor::open(request)?;
    if request.stdin_socket && opened.descriptors.is_empty() {
        return Err(Error::usage(
            "--stdin-socket",
            "needs a socket: add --pass-fd, --connect or --receive-from",
        ));
    }
    let situation = situation(request, &opened)?;
    let plan = launch::plan(&lowered, &situation)?;
    if let Some(format) = request.dry_run {
        return print(&plan, format);
    }
    let output = request.learn.as_ref();
    let output = output.map(|learn| Output::check(&learn.target, learn.replaces));
    let output = output.transpose()?;
    let profile = match &output {
        Some(_) => Profile::of(&lowered.policy.process.seccomp)?,
        None => None,
    };
    let profile_file = output.as_ref().and_then(Output::profile_file);
    let profile_file = profile_file.map(str::to_owned);
    let planned = Instant::now();
    let outset = Outset::for_launch(&plan)?;
    let group = Group::make(&lowered.policy.cgroup)?;
    let signal_mask =
        parent::block_all_signals().map_err(|errno| Error::host("block signals", "", errno))?;
    // Where the caller ignores it, the kernel would reap the sandbox behind our back, and take the
    // status with it: execve(2) gives a process SIGCHLD as its exit signal, whatever clone3 said.
    let sigchld = parent::take_disposition(libc::SIGCHLD)
        .map_err(|errno| Error::host("wait for", "children", errno))?;
    let mut sources: Vec<RawFd> = vec![0, 1, 2];
    sources.extend(opened.descriptors.iter().map(|(_, fd)| fd.as_raw_fd()));
    if let Some(&socket) = sources.get(3).filter(|_| request.stdin_socket) {
        sources.splice(0..2, [socket, socket]);
    }
    let order = || Order {
        descriptors: sources.clone(),
        dispositions: vec![(libc::SIGCHLD, sigchld)],
        signal_mask: Some(signal_mask),
        cgroup: group.as_ref().map(Group::directory),
        timing: request.timing,
        awaits_connection: false,
    };
    let terminal = Terminal::open();
    let (plan, mut spawned) = launch::launch(&lowered, &situation, plan, order)?;
    let running = Instant::now();
    log::wait_for_nobody();
    info!(pid = spawned.pid, policy = %plan.policy, "the command runs");
    if request.timing {
        print_timing(&spawned, began, planned, running);
    }
    if request.learn.as_ref().map(|learn| learn.learning) == Some(Learning::Permitting) {
        warn!("every public destination is reached while it is learned");
    }
    events.started(&plan, spawned.pid);
    // Ours are closed now, or a peer would never see the command close its own.
    opened.descriptors.clear();
    let limit = TimeLimit {
        timeout: plan.timeout,
        kill_after: plan.kill_after,
    };
    let recorder = match request.learn {
        Some(_) => Recorder::begin(),
        None => Recorder::default(),
    };
    let told = events.are_read() || tracing::enabled!(tracing::Level::INFO) || recorder.is_on();
    let callers = match told && plan.egress.is_some() {
        true => Callers::noted(),
        false => Callers::default(),
    };
    let told = Told {
        events: events.again()?,
        callers,
        recorder: recorder.clone(),
    };
    // Before this process is confined: the thread that connects has to do what the rest need not.
    let (egress, warden) = outset.begin(&plan, &mut spawned, told)?;
    if let Some(warden) = warden {
        warden.leave();
    }
    let writer = output.map(Output::start).transpose()?;
    let supervisor = Supervisor::new(spawned, terminal, limit, plan.new_session, egress)?;
    confine::confine(&plan, group.as_ref())?;
    let ending = supervisor.run()?;
    let status = event::status(ending);
    if ending == Ending::Killed(libc::SIGSYS) {
        events.killed_by_filter(&plan);
    }
    events.ended(ending, status, running.elapsed());
    say_unusual(&plan, ending);
    if let (Some(learn), Some(writer)) = (&request.learn, writer) {
        let run = compose::Run {
            command: &request.command,
            extends: &learn.extends,
            learning: learn.learning,
            ending,
            profile: profile.as_ref(),
            beyond: plan.policing.as_ref().and_then(|it| it.beyond.as_deref()),
            profile_file: profile_file.as_deref(),
        };
        let (policy, profile) = compose::compose(&run, &recorder.read());
        writer.write(Texts { policy, profile })?;
    }
    Ok(status)
}

fn situation(request: &Request, opened: &Opened) -> Result<Situation> {
    let standard = [0, 1, 2].map(Kind::of_number);
    descriptor::check_standard(&standard, request.unsafe_descriptors)?;
    Ok(Situation {
        command: request.command.clone(),
        environment: std::env::vars_os().collect(),
        directory: working_directory()?,
        descriptors: opened
            .descriptors
            .iter()
            .map(|(handed, _)| handed.clone())
            .collect(),
        standard,
        support: Support::quick(),
        files: request.files.clone(),
        learning: request.learn.as_ref().map(|learn| learn.learning),
    })
}

/// A closed 0, 1 or 2 would be given to the next thing that is opened, and so to the command.
pub(crate) fn open_missing_standard_descriptors() -> Result<()> {
    for number in 0..=2 {
        if Kind::of_number(number) != Kind::Closed {
            continue;
        }
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(|error| Error::host("open", "/dev/null", errno_of(&error)))?;
        // The lowest free number is the one that was closed: kept open for good.
        parent::keep_standard(OwnedFd::from(null));
    }
    Ok(())
}

/// Print `plan` for `--dry-run`; the status to exit with.
///
/// # Errors
/// When standard output takes no more.
pub(crate) fn print(plan: &Plan, format: Format) -> Result<u8> {
    let page = match format {
        Format::Text => dry_run::text(plan),
        Format::Json => format!("{:#}\n", dry_run::json(plan)),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(printable::page(&page).as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::host("print", "the plan", errno_of(&error)))?;
    Ok(0)
}

/// Each step's end, in microseconds since the launcher began to plan, and how long it took.
fn print_timing(spawned: &Spawned, began: Instant, planned: Instant, running: Instant) {
    let micros = |from: Instant, to: Instant| (to - from).as_micros();
    let mut page = format!(
        "sandbox: timing: plan {} µs, launch {} µs\n",
        micros(began, planned),
        micros(planned, running)
    );
    let mut last = spawned.marks.first().map_or(0, |&(_, time)| time);
    for &(step, time) in &spawned.marks {
        let took = time.saturating_sub(last) / 1000;
        page.push_str(&format!("sandbox: timing: {took:>6} µs  {step}\n"));
        last = time;
    }
    let _ = std::io::stderr().lock().write_all(page.as_bytes());
}

fn say_unusual(plan: &Plan, ending: Ending) {
    match ending {
        Ending::TimedOut => warn!(
            seconds = plan.timeout.unwrap_or_default().as_secs_f64(),
            "the command was ended because its time was over"
        ),
        Ending::Killed(libc::SIGSYS) => warn!(
            profile = plan.profile.as_deref().unwrap_or("none"),
            "the command was killed by the system-call filter"
        ),
        _ => {}
    }
}
