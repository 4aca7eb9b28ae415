//! The broker's loop, and the states that it goes through.
//!
//! One thread; each turn does what is due and then waits for what comes. Nothing here can open, dial or
//! execute anything any more ([`super::confine`]).
//!
//! | it is | until | and then |
//! | --- | --- | --- |
//! | starting | every worker is ready once | serves; a worker that fails before is the end |
//! | running | SIGHUP | reloading, while it goes on serving |
//! | | SIGTERM or SIGINT | draining |
//! | reloading | every worker is a new one | running |
//! | draining | nothing is open | status 0 |
//! | | its time is over | status 124, and what is open is closed |
//! | | another SIGTERM or SIGINT | status 128 and the signal |
//! | any | the keeper is gone | status 125: closed, not open |
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::getpid;
use tracing::debug;

use super::admin::{Admin, Page};
use super::confine;
use super::crew::Crew;
use super::each::Each;
use super::house::{House, Knock, Timer};
use super::journal::{Ending, Journal};
use super::keeper::{Answer, Keeper, Token};
use super::limit::{Holds, Pause};
use super::listen::Listener;
use super::notify::{Manager, State as Told};
use super::pool::WorkerId;
use super::reactor::{Interest, Key};
use super::settings::{HandOver, Settings};
use super::tally::{LimitsView, View, Why, WorkerView};
use crate::error::{Error, Result};
use crate::exit;
use crate::log;
use crate::policy::Policy;
use crate::sys::parent;

/// The most connections that are accepted at one listener before it is the others' turn.
const BURST: usize = 64;
/// A signal to end that comes so soon after the first is its echo: timeout(1) sends to its child, and
/// again to the whole process group.
const ECHO: Duration = Duration::from_millis(300);
/// How often the service manager is told how things stand.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Where the broker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Running,
    /// The keeper makes a new plan.
    Replanning,
    /// It has one: workers are replaced.
    Replacing,
    /// Nobody is let in any more; until the listeners are closed, those who waited already are.
    Draining,
    Over,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Replanning | Self::Replacing => "reloading",
            Self::Draining | Self::Over => "draining",
        }
    }
}

/// How many workers that accept for themselves may end before all are ready: what a server needs for its
/// start may come a moment later. One of ours that ends then is broken.
const EARLY_ENDS: u32 = 3;

/// Who serves.
#[derive(Debug)]
enum Staff {
    Crew(Crew),
    Each(Each),
}

/// The broker, ready to serve.
pub(super) struct Broker {
    house: House,
    staff: Staff,
    state: State,
    status: u8,
    /// A reload was asked for while another was under way.
    reload_again: bool,
    draining_since: Option<Instant>,
    /// Sandboxes that ended before the broker was ready.
    early_ends: u32,
    keeper_interest: Interest,
    signals: SignalFd,
    manager: Manager,
    admin: Option<Admin>,
    began: Instant,
}

impl Broker {
    /// Give up what the loop does not need, and get ready for it.
    ///
    /// # Errors
    /// When something cannot be watched or given up.
    pub(super) fn new(
        settings: Settings,
        policy: &Policy,
        listeners: Vec<Listener>,
        admin: Option<Admin>,
        manager: Manager,
        keeper: Keeper,
        journal: Journal,
    ) -> Result<Self> {
        // After the fork: the commands get what the caller has.
        let failed = |errno| Error::host("watch", "signals", errno);
        parent::block_all_signals().map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let mut watched = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            watched.add(signal);
        }
        let signals = SignalFd::with_flags(&watched, flags).map_err(failed)?;
        raise_descriptor_limit();
        let now = Instant::now();
        let staff = match settings.hand_over {
            HandOver::Connection => Staff::Each(Each::new(&settings, policy.process.kill_after)),
            HandOver::Listener | HandOver::Pool => Staff::Crew(Crew::new(&settings, now)),
        };
        let mut house = House::new(settings, listeners, keeper, journal)?;
        house
            .reactor
            .watch(signals.as_fd(), Key::Signals, Interest::Read)?;
        if let Some(admin) = &admin {
            admin.watch(&house.reactor)?;
        }
        // Workers write to standard error as well.
        log::wait_for_nobody();
        if let Err(error) = confine::confine(policy.strictness) {
            house.journal.failed(&error);
            return Err(error);
        }
        Ok(Self {
            house,
            staff,
            state: State::Starting,
            status: 0,
            reload_again: false,
            draining_since: None,
            early_ends: 0,
            keeper_interest: Interest::Read,
            signals,
            manager,
            admin,
            began: now,
        })
    }

    /// Serve until it is over; the status to exit with.
    ///
    /// # Errors
    /// When it cannot go on: all that was served is ended then.
    pub(super) fn run(mut self) -> Result<u8> {
        let views = self.house.listeners.clone();
        for listener in &views {
            self.house
                .journal
                .listening(&listener.name, &listener.address);
        }
        if let Some(admin) = &self.admin {
            self.house.journal.listening("metrics", admin.address());
        }
        if let Some(interval) = self.manager.watchdog() {
            self.arm(Timer::Watchdog, interval);
        }
        let result = loop {
            match self.turn() {
                Ok(()) if self.state == State::Over => break Ok(self.status),
                Ok(()) => {}
                Err(error) => break Err(error),
            }
        };
        self.give_up(match result {
            Ok(exit::TIMED_OUT) => Why::Drain,
            _ => Why::Stopped,
        });
        match &result {
            Ok(status) => self.house.journal.stopped(*status),
            Err(error) => self.house.journal.failed(error),
        }
        result
    }

    /// One turn of the loop: do what is due, then wait for what comes.
    fn turn(&mut self) -> Result<()> {
        self.house.now = Instant::now();
        while let Some(timer) = self.house.timers.pop(self.house.now) {
            self.due(timer)?;
        }
        if let Some(admin) = &mut self.admin {
            admin.expire(&self.house.reactor, self.house.now);
        }
        self.step()?;
        match &mut self.staff {
            Staff::Crew(crew) => {
                crew.tick(&mut self.house)?;
                crew.hand_over(&mut self.house);
            }
            Staff::Each(each) => each.tick(&mut self.house)?,
        }
        if self.state == State::Over {
            return Ok(());
        }
        self.open_or_close();
        if self.state == State::Draining && self.take_the_last()? {
            // There is something to hand over, or nothing left to wait for.
            return Ok(());
        }
        self.watch_keeper();
        let patience = self
            .next_deadline()
            .map(|at| at.saturating_duration_since(Instant::now()));
        let ready = self.house.reactor.wait(patience)?;
        self.house.now = Instant::now();
        for key in ready {
            self.take(key)?;
        }
        Ok(())
    }

    /// Requests that had no room are sent when it has some.
    fn watch_keeper(&mut self) {
        let interest = match self.house.keeper.has_unsent() {
            true => Interest::Both,
            false => Interest::Read,
        };
        if interest != self.keeper_interest {
            self.keeper_interest = interest;
            self.house
                .reactor
                .change(self.house.keeper.as_fd(), Key::Keeper, interest);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let staff = match &self.staff {
            Staff::Crew(crew) => crew.wake_at(self.house.now),
            Staff::Each(each) => each.wake_at(),
        };
        let admin = self.admin.as_ref().and_then(Admin::next_deadline);
        let word = self.house.gate.next_word();
        let timers = self.house.timers.next();
        [staff, admin, word, timers].into_iter().flatten().min()
    }

    fn arm(&mut self, timer: Timer, after: Duration) {
        if let Some(at) = self.house.now.checked_add(after) {
            self.house.timers.set(timer, at);
        }
    }

    fn due(&mut self, timer: Timer) -> Result<()> {
        match timer {
            Timer::Watchdog => {
                self.manager.tell(Told::Alive);
                if let Some(interval) = self.manager.watchdog() {
                    self.arm(Timer::Watchdog, interval);
                }
            }
            Timer::Status => {
                self.manager.tell(Told::Status(&self.in_a_line()));
                self.arm(Timer::Status, STATUS_EVERY);
            }
            Timer::Descriptors => self.house.try_descriptors(),
            Timer::Launches => {
                if let Staff::Each(each) = &mut self.staff {
                    each.launch_again(&mut self.house)?;
                }
            }
            Timer::Drain => {
                self.status = exit::TIMED_OUT;
                self.state = State::Over;
            }
            Timer::Guest(id) => {
                if let Some(over) = self.house.look(id) {
                    match &mut self.staff {
                        Staff::Crew(crew) => crew.time_over(&mut self.house, id, over),
                        Staff::Each(each) => each.time_over(&mut self.house, id, over)?,
                    }
                }
            }
            Timer::Grace(id) => {
                if let Staff::Crew(crew) = &mut self.staff {
                    crew.grace_over(&mut self.house, id);
                }
            }
            Timer::Kill(worker) => self.house.kill(worker)?,
            Timer::Taking(worker) => {
                if let Staff::Crew(crew) = &mut self.staff {
                    crew.look_whether_taken(&mut self.house, worker)?;
                }
            }
            Timer::Steady(worker) => {
                if let Staff::Crew(crew) = &mut self.staff {
                    crew.steady(&mut self.house, worker)?;
                }
            }
            Timer::Channel(worker) => {
                if let Staff::Crew(crew) = &mut self.staff {
                    crew.try_again(&mut self.house, WorkerId(worker))?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, key: Key) -> Result<()> {
        match key {
            Key::Signals => self.take_signals(),
            Key::Keeper => self.take_answers(),
            Key::Listener(place) => self.accept(usize::try_from(place).unwrap_or(usize::MAX)),
            Key::Admin => {
                if let Some(admin) = &mut self.admin {
                    admin.accept(&self.house.reactor, self.house.now);
                }
                Ok(())
            }
            Key::Client(id) => {
                self.serve_client(id);
                Ok(())
            }
            Key::Channel(worker) => match &mut self.staff {
                Staff::Crew(crew) => crew.hear(&mut self.house, worker),
                Staff::Each(_) => Ok(()),
            },
            Key::Status(worker) => {
                self.house.read_status(worker);
                Ok(())
            }
            Key::Process(worker) => self.bury(worker),
        }
    }

    // ---- signals and states ----

    fn take_signals(&mut self) -> Result<()> {
        while let Ok(Some(information)) = self.signals.read_signal() {
            let signal = i32::try_from(information.ssi_signo)
                .ok()
                .and_then(|number| Signal::try_from(number).ok());
            match signal {
                Some(Signal::SIGHUP) => self.reload()?,
                Some(signal @ (Signal::SIGTERM | Signal::SIGINT)) => self.stop(signal)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<()> {
        match self.state {
            // While workers are replaced, too: the new ones may be those that do not work.
            State::Running | State::Replacing => {
                self.state = State::Replanning;
                self.manager.tell(Told::Reloading);
                if let Staff::Each(each) = &mut self.staff {
                    each.reload_asked();
                }
                self.house.keeper.reload()
            }
            // Not lost: done once that is over.
            State::Starting | State::Replanning => {
                self.reload_again = true;
                Ok(())
            }
            State::Draining | State::Over => Ok(()),
        }
    }

    fn reloaded(&mut self) -> Result<()> {
        self.after_planning();
        self.house.journal.reloaded();
        self.house.tally.reloads = self.house.tally.reloads.saturating_add(1);
        match &mut self.staff {
            Staff::Crew(crew) => crew.replace_all(&mut self.house),
            Staff::Each(each) => each.reloaded(&mut self.house),
        }
    }

    fn after_planning(&mut self) {
        if self.state == State::Replanning {
            self.state = State::Replacing;
        }
    }

    /// Come to the end: at once, if that was asked for before.
    fn stop(&mut self, signal: Signal) -> Result<()> {
        if let Some(since) = self.draining_since {
            if self.house.now.saturating_duration_since(since) < ECHO {
                return Ok(());
            }
            self.status = exit::for_signal(signal as i32);
            self.state = State::Over;
            return Ok(());
        }
        let serves = self.state != State::Starting;
        self.state = State::Draining;
        self.draining_since = Some(self.house.now);
        self.manager.tell(Told::Stopping(&self.in_a_line()));
        let (open, _) = self.house.open();
        self.house.journal.draining(signal.as_str(), open);
        self.arm(Timer::Drain, self.house.settings.drain);
        match self.house.settings.hand_over {
            HandOver::Pool | HandOver::Connection if serves => self.house.last_call(),
            _ => self.house.close_doors(),
        }
        Ok(())
    }

    /// Go on to the next state, if it is time for that.
    fn step(&mut self) -> Result<()> {
        if self.state == State::Starting
            && let Some(reason) = self.house.last_failure.take()
        {
            return Err(Error::worker(reason));
        }
        let ready = match &self.staff {
            Staff::Crew(crew) => crew.is_ready(&self.house.settings),
            Staff::Each(each) => {
                self.state != State::Starting || each.is_ready(&self.house.settings)
            }
        };
        match self.state {
            State::Starting if ready => {
                self.state = State::Running;
                if let Staff::Each(each) = &mut self.staff {
                    each.proven(&mut self.house)?;
                }
                self.house.journal.ready(self.house.running());
                self.manager.tell(Told::Ready(&self.in_a_line()));
                self.arm(Timer::Status, STATUS_EVERY);
            }
            State::Replacing if ready => {
                self.state = State::Running;
                self.manager.tell(Told::Ready(&self.in_a_line()));
            }
            State::Draining if self.house.is_closed() => {
                match &mut self.staff {
                    Staff::Crew(crew) => crew.drain(&mut self.house)?,
                    Staff::Each(each) => each.drain(&mut self.house)?,
                }
                let over = match &self.staff {
                    Staff::Crew(crew) => crew.is_over(),
                    Staff::Each(each) => each.is_over(),
                };
                if over {
                    self.state = State::Over;
                }
            }
            _ => {}
        }
        let settled = matches!(self.state, State::Running | State::Replacing);
        if settled && std::mem::take(&mut self.reload_again) {
            self.reload()?;
        }
        Ok(())
    }

    /// Nothing is awaited any more: what is open is closed, and said to be.
    fn give_up(&mut self, why: Why) {
        match &mut self.staff {
            Staff::Crew(crew) => crew.give_up(&mut self.house, why),
            Staff::Each(each) => each.give_up(&mut self.house, why),
        }
        for id in self.house.guests() {
            self.house.release(id, why, None);
        }
    }

    // ---- sandboxes ----

    fn take_answers(&mut self) -> Result<()> {
        while let Some(answer) = self.house.keeper.receive()? {
            self.take_answer(answer)?;
        }
        Ok(())
    }

    fn take_answer(&mut self, answer: Answer) -> Result<()> {
        match answer {
            Answer::Started {
                token,
                pid,
                pidfd,
                status,
                go,
            } => {
                self.house.started(token.number(), pid, pidfd, status)?;
                match &mut self.staff {
                    Staff::Crew(crew) => {
                        crew.started(&mut self.house, token.number());
                        Ok(())
                    }
                    Staff::Each(each) => each.started(&mut self.house, token, go),
                }
            }
            Answer::Failed { token, message } => self.failed(token, &message),
            Answer::Reloaded => self.reloaded(),
            Answer::ReloadFailed(message) => {
                self.after_planning();
                self.house.journal.reload_failed(&message);
                if let Staff::Each(each) = &mut self.staff {
                    each.reload_failed();
                }
                Ok(())
            }
        }
    }

    fn failed(&mut self, token: Token, message: &str) -> Result<()> {
        match &mut self.staff {
            Staff::Crew(crew) => crew.failed(&mut self.house, WorkerId(token.number()), message),
            Staff::Each(each) => each.failed(&mut self.house, token, message),
        }
    }

    fn bury(&mut self, worker: u64) -> Result<()> {
        let Some((ending, _)) = self.house.finished(worker) else {
            return Ok(());
        };
        if self.state == State::Starting {
            self.early_ends = self.early_ends.saturating_add(1);
            let listens = self.house.settings.hand_over == HandOver::Listener;
            if !listens || self.early_ends > EARLY_ENDS {
                return Err(ended_early(ending));
            }
        }
        match &mut self.staff {
            Staff::Crew(crew) => crew.ended(&mut self.house, worker, ending),
            Staff::Each(each) => {
                each.ended(&mut self.house, worker, ending);
                Ok(())
            }
        }
    }

    // ---- connections ----

    fn room(&self) -> usize {
        let staff = match &self.staff {
            Staff::Crew(crew) => crew.room(),
            Staff::Each(each) => each.room(),
        };
        staff.min(self.house.room())
    }

    fn accept(&mut self, place: usize) -> Result<()> {
        let room = self.room();
        if room == 0 || !self.house.gate.is_open() {
            self.house.mute(place);
            return Ok(());
        }
        let mut let_in = 0;
        while let_in < room.min(BURST) {
            match self.house.knock(place) {
                Knock::Arrival(arrival) => match &mut self.staff {
                    Staff::Crew(crew) => crew.welcome(&mut self.house, *arrival),
                    Staff::Each(each) => each.welcome(&mut self.house, *arrival)?,
                },
                Knock::Refused => {}
                Knock::Nobody | Knock::Trouble => break,
            }
            let_in += 1;
            if !self.house.gate.is_open() || !self.house.expects_another(place) {
                break;
            }
        }
        self.house.turned(place, let_in);
        Ok(())
    }

    /// After the last call: let in who waits, and close where nobody does, which nothing else would
    /// tell. Whether that changed anything.
    fn take_the_last(&mut self) -> Result<bool> {
        let before = (self.house.open_places(), self.house.open());
        for place in &before.0 {
            self.accept(*place)?;
        }
        Ok(before != (self.house.open_places(), self.house.open()))
    }

    /// Let people in, or not, as things stand.
    fn open_or_close(&mut self) {
        let listens = self.house.settings.hand_over != HandOver::Listener;
        if !listens || self.state == State::Starting || self.house.is_closed() {
            return;
        }
        let now = self.house.now;
        let busy = match &self.staff {
            Staff::Crew(crew) => crew.room() == 0,
            Staff::Each(each) => each.room() == 0 && !self.house.gate.holds(Pause::Launches),
        };
        let words = [
            (Pause::Workers, Holds::when(busy)),
            (Pause::Connections, Holds::when(self.house.is_full())),
        ]
        .map(|(pause, holds)| self.house.gate.set(pause, holds, now));
        for word in words.into_iter().flatten() {
            self.house.journal.gate(word);
        }
        for word in self.house.gate.lasting(now) {
            self.house.journal.gate(word);
        }
        if self.house.gate.is_open() {
            self.house.open_doors();
        }
    }

    // ---- who asks ----

    fn serve_client(&mut self, id: u64) {
        let Some(mut admin) = self.admin.take() else {
            return;
        };
        admin.serve(id, &self.house.reactor, |page| match page {
            Page::Metrics => self.view().to_metrics(),
            Page::Status => format!("{}\n", self.view().to_json()),
        });
        self.admin = Some(admin);
    }

    fn workers(&self) -> Vec<WorkerView> {
        match &self.staff {
            Staff::Crew(crew) => crew.views(&self.house),
            Staff::Each(each) => each.views(&self.house),
        }
    }

    fn view(&self) -> View<'_> {
        let settings = &self.house.settings;
        let (open, sources) = self.house.open();
        View {
            hand_over: settings.hand_over.word(),
            state: self.state.word(),
            pid: getpid().as_raw(),
            keeper: self.house.keeper.pid(),
            age: self.house.now.saturating_duration_since(self.began),
            listeners: &self.house.listeners,
            workers: self.workers(),
            open: (settings.hand_over != HandOver::Listener).then_some(open),
            sources,
            limits: LimitsView {
                connections: settings.max_connections,
                per_source: settings.max_per_source,
                idle: settings.idle,
                total: settings.total,
                drain: settings.drain,
            },
            gate: &self.house.gate,
            tally: &self.house.tally,
        }
    }

    /// How things stand, for the service manager.
    fn in_a_line(&self) -> String {
        let running = self.house.running();
        match self.house.settings.hand_over {
            HandOver::Listener => format!("{}: {running} workers", self.state.word()),
            _ => format!(
                "{}: {running} workers, {} connections",
                self.state.word(),
                self.house.open().0
            ),
        }
    }
}

fn ended_early(ending: Ending) -> Error {
    Error::worker(format!("it ended before it was ready: {}", ending.words()))
}

/// As many descriptors as this process may have at all: each connection on its way needs one.
fn raise_descriptor_limit() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        debug!("the limit of open files stays as it is");
    }
}
