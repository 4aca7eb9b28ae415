//! What has to be done so that one state becomes another, in an order that works.
//!
//! Pure. Bringing a lab up is the difference from nothing, taking it down the one to nothing, a partition
//! the one to a state with faults.

use std::collections::BTreeSet;

use super::state::{Cable, Change, Device, Space, State, Wiring};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make a network namespace.
    AddSpace {
        /// Its name.
        space: String,
    },
    /// Let one go, with all that is in it.
    RemoveSpace {
        /// Its name.
        space: String,
    },
    /// Make a bridge.
    AddBridge {
        /// Where.
        space: String,
        /// Its name.
        name: String,
        /// What it is like.
        device: Device,
    },
    /// Take a bridge away.
    RemoveBridge {
        /// Where.
        space: String,
        /// Its name.
        name: String,
    },
    /// Lay a cable.
    AddCable {
        /// By its ends.
        cable: Cable,
        /// What it is like.
        wiring: Wiring,
    },
    /// Change a cable that lies there.
    SetWiring {
        /// By its ends.
        cable: Cable,
        /// What it is to be like.
        wiring: Wiring,
    },
    /// Take a cable away.
    RemoveCable {
        /// By its ends.
        cable: Cable,
    },
    /// Change something inside a namespace.
    InSpace {
        /// In which.
        space: String,
        /// What.
        change: Change,
    },
}

/// What makes `new` of `old`; nothing for two that are the same.
#[must_use]
pub fn difference(old: &State, new: &State) -> Vec<Action> {
    let mut work = Work {
        now: old.clone(),
        actions: Vec::new(),
    };
    // A setting that is no longer given would keep its value: only a new namespace has the kernel's.
    let remade: BTreeSet<&String> = old
        .spaces
        .iter()
        .filter(|(name, space)| match new.spaces.get(*name) {
            None => true,
            Some(wanted) => {
                let kept = |name: &String| wanted.sysctl.contains_key(name);
                !space.sysctl.keys().all(kept)
            }
        })
        .map(|(name, _)| name)
        .collect();
    let nothing = Space::default();
    for (name, space) in &old.spaces {
        let wanted = match new.spaces.get(name) {
            Some(wanted) if !remade.contains(name) => wanted,
            _ => &nothing,
        };
        work.stop_commands(name, space, wanted);
        if space.uplink.is_some() && space.uplink != wanted.uplink {
            work.change(name, Change::Uplink(None));
        }
        if space.named && !wanted.named {
            work.change(name, Change::Named(false));
        }
    }
    for cable in old.cables.keys() {
        let loose = cable.0.iter().any(|plug| remade.contains(&plug.space));
        if loose || !new.cables.contains_key(cable) {
            work.act(Action::RemoveCable {
                cable: cable.clone(),
            });
        }
    }
    for name in &remade {
        work.act(Action::RemoveSpace {
            space: (*name).clone(),
        });
    }
    for name in new.spaces.keys() {
        if !work.now.spaces.contains_key(name) {
            work.act(Action::AddSpace {
                space: name.clone(),
            });
        }
    }
    for (name, wanted) in &new.spaces {
        work.take_away(name, wanted);
        work.add_bridges(name, wanted);
    }
    for (cable, wiring) in &new.cables {
        let (cable, wiring) = (cable.clone(), wiring.clone());
        match work.now.cables.get(&cable) {
            Some(known) if *known == wiring => {}
            Some(_) => work.act(Action::SetWiring { cable, wiring }),
            None => work.act(Action::AddCable { cable, wiring }),
        }
    }
    for (name, wanted) in &new.spaces {
        // Only now: its ports have gone over to others.
        work.remove_bridges(name, wanted);
        work.add(name, wanted);
    }
    // A command may need its neighbours.
    for (name, wanted) in &new.spaces {
        work.start_commands(name, wanted);
    }
    work.actions
}

/// The actions so far, and what is there after them.
struct Work {
    now: State,
    actions: Vec<Action>,
}

impl Work {
    fn act(&mut self, action: Action) {
        self.now.apply(&action);
        self.actions.push(action);
    }

    fn change(&mut self, space: &str, change: Change) {
        self.act(Action::InSpace {
            space: space.to_owned(),
            change,
        });
    }

    fn space(&self, name: &str) -> Space {
        self.now.spaces.get(name).cloned().unwrap_or_default()
    }

    fn stop_commands(&mut self, name: &str, space: &Space, wanted: &Space) {
        let mut kept = wanted.commands.clone();
        // One that runs sees the files that were there when it started.
        if space.files != wanted.files {
            kept.clear();
        }
        for command in &space.commands {
            match kept.iter().position(|known| known == command) {
                Some(found) => {
                    kept.remove(found);
                }
                None => self.change(name, Change::RemoveCommand(command.clone())),
            }
        }
    }

    fn start_commands(&mut self, name: &str, wanted: &Space) {
        let mut running = self.space(name).commands;
        for command in &wanted.commands {
            match running.iter().position(|known| known == command) {
                Some(found) => {
                    running.remove(found);
                }
                None => self.change(name, Change::AddCommand(command.clone())),
            }
        }
    }

    fn take_away(&mut self, name: &str, wanted: &Space) {
        for route in self.space(name).routes.difference(&wanted.routes) {
            self.change(name, Change::RemoveRoute(route.clone()));
        }
        for (interface, address) in self.space(name).addresses.difference(&wanted.addresses) {
            self.change(name, Change::RemoveAddress(interface.clone(), *address));
        }
        for interface in self.space(name).traffic.keys() {
            if !wanted.traffic.contains_key(interface) {
                self.change(name, Change::Traffic(interface.clone(), None));
            }
        }
    }

    fn add_bridges(&mut self, name: &str, wanted: &Space) {
        let now = self.space(name).bridges;
        for (bridge, device) in &wanted.bridges {
            if now.get(bridge) == Some(device) {
                continue;
            }
            self.act(Action::AddBridge {
                space: name.to_owned(),
                name: bridge.clone(),
                device: *device,
            });
        }
    }

    fn remove_bridges(&mut self, name: &str, wanted: &Space) {
        for bridge in self.space(name).bridges.keys() {
            if !wanted.bridges.contains_key(bridge) {
                self.act(Action::RemoveBridge {
                    space: name.to_owned(),
                    name: bridge.clone(),
                });
            }
        }
    }

    fn add(&mut self, name: &str, wanted: &Space) {
        let now = self.space(name);
        if wanted.named && !now.named {
            self.change(name, Change::Named(true));
        }
        if now.forward != wanted.forward {
            self.change(name, Change::Forward(wanted.forward));
        }
        for (setting, value) in &wanted.sysctl {
            if now.sysctl.get(setting) != Some(value) {
                self.change(name, Change::Sysctl(setting.clone(), value.clone()));
            }
        }
        // In place before there is anything to let through.
        if now.firewall != wanted.firewall {
            let firewall = wanted.firewall.clone().map(Box::new);
            self.change(name, Change::Firewall(firewall));
        }
        for (interface, address) in wanted.addresses.difference(&now.addresses) {
            self.change(name, Change::AddAddress(interface.clone(), *address));
        }
        for (interface, traffic) in &wanted.traffic {
            if now.traffic.get(interface) != Some(traffic) {
                self.change(name, Change::Traffic(interface.clone(), Some(*traffic)));
            }
        }
        for route in wanted.routes.difference(&now.routes) {
            self.change(name, Change::AddRoute(route.clone()));
        }
        if now.uplink != wanted.uplink {
            self.change(name, Change::Uplink(wanted.uplink.clone()));
        }
        if now.files != wanted.files {
            self.change(name, Change::Files(wanted.files.clone()));
        }
    }
}
