//! A sandbox for each connection: launched for it, or taken from those that wait.
//!
//! In the broker's loop only. A connection is held here until its sandbox runs, so that a launch that
//! fails can be tried again; meanwhile nobody else is let in.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::connection::{Connection, Ready, Spares};
use super::house::{Arrival, House, Timer};
use super::journal::Ending;
use super::keeper::{self, Token};
use super::limit::{Holds, Over, Pause};
use super::settings::Settings;
use super::tally::{Stage, Why, WorkerView};
use crate::error::{Error, Result};

/// The most connections whose sandboxes are being launched: more at a time are no faster, as the kernel
/// makes namespaces one after another, and the queue of the kernel is the better place to wait.
const MOST_LAUNCHING: usize = 16;
/// How long launching is tried again for one connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first and the longest pause after a launch that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A connection whose sandbox is not there yet.
#[derive(Debug)]
struct Waiting {
    socket: OwnedFd,
    connection: Connection,
    since: Instant,
}

/// What a token stands for.
#[derive(Debug)]
enum Role {
    /// Being launched for a connection.
    Launching(u64),
    /// Being launched to wait.
    Preparing,
    /// Waits at the other end of this socket.
    Spare(OwnedFd),
    /// Serves a connection.
    Serving(u64),
    /// Is being ended.
    Ending,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Each {
    spares: Spares,
    roles: HashMap<u64, Role>,
    waiting: HashMap<u64, Waiting>,
    /// Connections whose launch has failed: the oldest is the next.
    again: BTreeSet<u64>,
    launching: usize,
    pause: Duration,
    next_token: u64,
    next_guest: u64,
    kill_after: Duration,
    draining: bool,
}

impl Each {
    pub(crate) fn new(settings: &Settings, kill_after: Duration) -> Self {
        Self {
            // One at first, so that a host that cannot launch is found out before anybody is let in.
            spares: Spares::new(settings.spare.max(1)),
            roles: HashMap::new(),
            waiting: HashMap::new(),
            again: BTreeSet::new(),
            launching: 0,
            pause: FIRST_PAUSE,
            next_token: 1,
            next_guest: 1,
            kill_after,
            draining: false,
        }
    }

    // ---- sandboxes come and go ----

    /// Do what is due: launch what is missing.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn tick(&mut self, house: &mut House) -> Result<()> {
        if self.draining || !self.again.is_empty() {
            return Ok(());
        }
        for _ in 0..self.spares.missing(usize::MAX, house.now) {
            let token = self.new_token(Role::Preparing)?;
            self.spares.asked(token);
            house.keeper.launch(token, &[], None)?;
        }
        Ok(())
    }

    fn new_token(&mut self, role: Role) -> Result<Token> {
        let number = self.next_token;
        self.next_token = number.saturating_add(1);
        let token = Token::new(number).ok_or_else(|| Error::worker("there were too many"))?;
        self.roles.insert(number, role);
        Ok(token)
    }

    /// A sandbox runs, or waits at the other end of `go`.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn started(
        &mut self,
        house: &mut House,
        token: Token,
        go: Option<OwnedFd>,
    ) -> Result<()> {
        let number = token.number();
        match (self.roles.remove(&number), go) {
            (Some(Role::Launching(guest)), None) => {
                self.launching = self.launching.saturating_sub(1);
                self.resume(house)?;
                // Unless its time was over in between.
                if self.waiting.remove(&guest).is_none() {
                    return self.end(house, number);
                }
                self.roles.insert(number, Role::Serving(guest));
                house.handed_over(guest, number);
                Ok(())
            }
            (Some(Role::Preparing), Some(go)) => match self.spares.ready(token) {
                Ready::Waits if !self.draining => {
                    self.roles.insert(number, Role::Spare(go));
                    Ok(())
                }
                _ => self.end(house, number),
            },
            _ => self.end(house, number),
        }
    }

    /// A sandbox could not be launched; or a spare failed once it had its connection.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn failed(&mut self, house: &mut House, token: Token, message: &str) -> Result<()> {
        let number = token.number();
        house.launch_failed(number, message);
        match self.roles.remove(&number) {
            Some(Role::Launching(guest)) => {
                self.launching = self.launching.saturating_sub(1);
                self.try_later(house, guest, message);
            }
            Some(Role::Preparing) => self.spares.failed(token, house.now),
            Some(Role::Spare(_)) => {
                self.spares.ended(token);
                self.spares.failed(token, house.now);
            }
            // It has the connection already, and has closed it.
            Some(Role::Serving(guest)) => house.release(guest, Why::Launch, Some(message)),
            Some(Role::Ending) | None => {}
        }
        Ok(())
    }

    fn try_later(&mut self, house: &mut House, guest: u64, message: &str) {
        match self.waiting.get(&guest) {
            Some(waiting) if house.now.saturating_duration_since(waiting.since) < PATIENCE => {
                self.again.insert(guest);
            }
            Some(_) => {
                self.waiting.remove(&guest);
                house.release(guest, Why::Launch, Some(message));
            }
            // Its time was over meanwhile.
            None => {}
        }
        // Whatever has become of this one: nobody is let in and no other one tried before the pause is over.
        if let Some(word) = house.gate.set(Pause::Launches, Holds::Yes, house.now) {
            house.journal.gate(word);
        }
        if !house.timers.is_set(Timer::Launches) {
            if let Some(at) = house.now.checked_add(self.pause) {
                house.timers.set(Timer::Launches, at);
            }
            self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// The pause after a launch that failed is over: the oldest connection tries again, and if that
    /// goes well the others follow.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn launch_again(&mut self, house: &mut House) -> Result<()> {
        while let Some(guest) = self.again.pop_first() {
            if self.waiting.contains_key(&guest) {
                return self.launch(house, guest);
            }
        }
        self.resume(house)
    }

    /// Launches work: go on with all that wait.
    fn resume(&mut self, house: &mut House) -> Result<()> {
        self.pause = FIRST_PAUSE;
        house.timers.cancel(Timer::Launches);
        while let Some(guest) = self.again.pop_first() {
            if self.waiting.contains_key(&guest) {
                self.launch(house, guest)?;
            }
        }
        if let Some(word) = house.gate.set(Pause::Launches, Holds::No, house.now) {
            house.journal.gate(word);
        }
        Ok(())
    }

    /// All of a sandbox is gone.
    pub(crate) fn ended(&mut self, house: &mut House, number: u64, ending: Ending) {
        match self.roles.remove(&number) {
            Some(Role::Serving(guest)) => {
                let why = match ending {
                    Ending::Command(_) => Why::Done,
                    Ending::Killed => Why::Lost,
                };
                house.release(guest, why, Some(&ending.words()));
            }
            Some(Role::Spare(_)) => {
                if let Some(token) = Token::new(number) {
                    self.spares.ended(token);
                    // Something ends them: not at once again.
                    self.spares.failed(token, house.now);
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, house: &mut House, number: u64) -> Result<()> {
        self.roles.insert(number, Role::Ending);
        house.kill(number)
    }

    // ---- connections come and go ----

    /// How many more connections can be taken.
    pub(crate) fn room(&self) -> usize {
        MOST_LAUNCHING.saturating_sub(self.launching.saturating_add(self.again.len()))
    }

    /// Take a connection: a spare gets it, or a sandbox is launched for it.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn welcome(&mut self, house: &mut House, arrival: Arrival) -> Result<()> {
        let guest = self.next_guest;
        self.next_guest = guest.saturating_add(1);
        house.welcome(guest, &arrival);
        let connection = Connection {
            listener: arrival.listener.as_str().to_owned(),
            peer: arrival.peer,
            local: arrival.local,
            credentials: arrival.credentials,
        };
        let socket = arrival.socket;
        while let Some(token) = self.spares.take() {
            let number = token.number();
            let Some(Role::Spare(go)) = self.roles.remove(&number) else {
                continue;
            };
            if keeper::hand_over(go.as_fd(), socket.as_fd(), &connection).is_ok() {
                self.roles.insert(number, Role::Serving(guest));
                house.handed_over(guest, number);
                return Ok(());
            }
            self.end(house, number)?;
        }
        self.waiting.insert(
            guest,
            Waiting {
                socket,
                connection,
                since: house.now,
            },
        );
        self.launch(house, guest)
    }

    fn launch(&mut self, house: &mut House, guest: u64) -> Result<()> {
        let token = self.new_token(Role::Launching(guest))?;
        let Some(waiting) = self.waiting.get(&guest) else {
            return Ok(());
        };
        self.launching = self.launching.saturating_add(1);
        let descriptors = [waiting.socket.as_fd()];
        house
            .keeper
            .launch(token, &descriptors, Some(&waiting.connection))
    }

    /// A connection's time is over: it ends here if its sandbox is not there yet; else the sandbox is
    /// asked to end, and ended.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn time_over(&mut self, house: &mut House, guest: u64, over: Over) -> Result<()> {
        if self.waiting.remove(&guest).is_some() {
            // A launch that is under way for it is ended when it is there.
            house.release(guest, Why::from(over), None);
            return Ok(());
        }
        house.note_over(guest, over);
        let Some(number) = house.worker_of(guest) else {
            return Ok(());
        };
        house.signal(number, Signal::SIGTERM)?;
        // A stopped command would not see it.
        house.signal(number, Signal::SIGCONT)?;
        if let Some(at) = house.now.checked_add(self.kill_after) {
            house.timers.set(Timer::Kill(number), at);
        }
        Ok(())
    }

    // ---- all of them ----

    /// The keeper was asked for a new plan.
    pub(crate) fn reload_asked(&mut self) {
        self.spares.reload_asked();
    }

    /// The keeper has it: those that wait with the old one go.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn reloaded(&mut self, house: &mut House) -> Result<()> {
        for token in self.spares.reloaded() {
            self.roles.remove(&token.number());
            self.end(house, token.number())?;
        }
        Ok(())
    }

    /// The keeper has kept the old plan.
    pub(crate) fn reload_failed(&mut self) {
        self.spares.reload_failed();
    }

    /// The host can launch: from now on as many wait as are wanted.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn proven(&mut self, house: &mut House) -> Result<()> {
        if house.settings.spare == 0 {
            self.dismiss_spares(house)?;
            self.spares = Spares::new(0);
        }
        Ok(())
    }

    fn dismiss_spares(&mut self, house: &mut House) -> Result<()> {
        while let Some(token) = self.spares.take() {
            self.roles.remove(&token.number());
            self.end(house, token.number())?;
        }
        Ok(())
    }

    /// No more connections come: nobody has to wait for them.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub(crate) fn drain(&mut self, house: &mut House) -> Result<()> {
        self.draining = true;
        self.dismiss_spares(house)
    }

    /// Whether as many sandboxes wait as are wanted at first.
    pub(crate) fn is_ready(&self, settings: &Settings) -> bool {
        let spare = |role: &&Role| matches!(role, Role::Spare(_));
        self.roles.values().filter(spare).count() >= settings.spare.max(1)
    }

    /// Whether nobody and nothing is left.
    pub(crate) fn is_over(&self) -> bool {
        self.draining && self.roles.is_empty() && self.waiting.is_empty()
    }

    /// Connections whose sandboxes are not there yet are closed.
    pub(crate) fn give_up(&mut self, house: &mut House, why: Why) {
        let waiting: Vec<u64> = self.waiting.drain().map(|(guest, _)| guest).collect();
        for guest in waiting {
            house.release(guest, why, None);
        }
        self.again.clear();
    }

    /// When [`Each::tick`] has something to do next.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.spares.not_before().filter(|_| !self.draining)
    }

    /// Every sandbox.
    pub(crate) fn views(&self, house: &House) -> Vec<WorkerView> {
        let mut views: Vec<WorkerView> = self
            .roles
            .iter()
            .map(|(&number, role)| {
                let (pid, age) = house.age_of(number);
                let (stage, connections) = match role {
                    Role::Launching(_) => (Stage::Starting, 1),
                    Role::Preparing => (Stage::Starting, 0),
                    Role::Spare(_) => (Stage::Spare, 0),
                    Role::Serving(_) => (Stage::Ready, 1),
                    Role::Ending => (Stage::Ending, 0),
                };
                WorkerView {
                    worker: number,
                    pid,
                    stage,
                    connections: Some(connections),
                    credits: None,
                    age,
                }
            })
            .collect();
        views.sort_by_key(|view| view.worker);
        views
    }
}
