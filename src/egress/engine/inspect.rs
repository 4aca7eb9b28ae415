//! Where it is inspected whom a client names: its first bytes are looked at before anything is dialled.
#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::time::Instant;

use super::flow::dismiss;
use super::{Caller, Engine, Flow, State};
use crate::egress::relay;
use crate::egress::sniff::{self, Inspection};

impl Engine {
    /// Look at the first bytes that the client has sent; they stay where they are.
    pub(super) fn look_into(&mut self, number: u64, now: Instant) {
        let Some(Flow {
            wish,
            state: State::Inspecting(stream, _),
            ..
        }) = self.flows.get(&number)
        else {
            return;
        };
        let mut bytes = vec![0; sniff::MOST];
        let inspection = match stream.peek(&mut bytes) {
            // Over before anything was said.
            Ok(0) => Err("nothing is sent".to_owned()),
            Ok(length) => {
                let sent = bytes.get(..length).unwrap_or_default();
                Ok(sniff::inspect(sent, &wish.asked, wish.port))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Inspection::More),
            Err(error) => Err(error.to_string()),
        };
        match inspection {
            Ok(Inspection::More) => {}
            Ok(Inspection::Passed) => {
                self.set_timer(number, None);
                let Some(mut flow) = self.flows.remove(&number) else {
                    return;
                };
                if let State::Inspecting(stream, target) = flow.state {
                    flow.state = State::Queued(Caller::Stream(stream), target);
                }
                self.flows.insert(number, flow);
                self.queue.push_back(number);
            }
            Ok(Inspection::Refused(finding)) => {
                let reason = finding.fault.to_string();
                self.journal.refused_for(wish, &reason, now);
                dismiss(stream, finding.farewell());
                self.end(number, relay::Outcome::Ended, Some(reason));
            }
            Err(reason) => self.end(number, relay::Outcome::Reset, Some(reason)),
        }
    }
}
