//! What the child says: which step failed, on which of its objects, and why.
//!
//! Written by the child with one write(2), read by the launcher. End of file without one means that
//! everything went well. A child that waits for its connection says before that it does ([`READY`]).

use nix::errno::Errno;

use crate::step::Step;

/// Said by a child that has come so far that only its connection is missing.
pub const READY: [u8; Failure::LENGTH] = [Step::Receive.to_byte(), 1, 0, 0, 0, 0, 0, 0];

/// A failed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The step.
    pub step: Step,
    /// Which of the step's objects (mounts, limits), from 0.
    pub object: u16,
    /// The kernel's reason.
    pub errno: Errno,
}

impl Failure {
    /// Bytes of one encoded failure.
    pub const LENGTH: usize = 8;

    pub(crate) const fn new(step: Step, errno: Errno) -> Self {
        Self {
            step,
            object: 0,
            errno,
        }
    }

    pub(crate) fn with_object(step: Step, object: usize, errno: Errno) -> Self {
        Self {
            step,
            object: u16::try_from(object).unwrap_or(u16::MAX),
            errno,
        }
    }

    /// The bytes for the channel. Async-signal-safe: arithmetic only.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let [o0, o1] = self.object.to_le_bytes();
        let [e0, e1, e2, e3] = (self.errno as i32).to_le_bytes();
        [self.step.to_byte(), 0, o0, o1, e0, e1, e2, e3]
    }

    /// Read the first failure of `bytes`, behind a [`READY`] if there is one; `None` for what
    /// [`Failure::encode`] does not make.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(&READY).unwrap_or(bytes);
        let &[step, 0, o0, o1, e0, e1, e2, e3] = bytes.first_chunk()? else {
            return None;
        };
        Some(Self {
            step: Step::from_byte(step)?,
            object: u16::from_le_bytes([o0, o1]),
            errno: Errno::from_raw(i32::from_le_bytes([e0, e1, e2, e3])),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_channel() {
        for &step in Step::ALL {
            let failure = Failure::with_object(step, 300, Errno::EPERM);
            assert_eq!(Failure::decode(&failure.encode()), Some(failure));
        }
    }

    #[test]
    fn ready_is_no_failure_and_may_come_before_one() {
        assert_eq!(Failure::decode(&READY), None);
        let failure = Failure::new(Step::Exec, Errno::ENOENT);
        let both = [READY, failure.encode()].concat();
        assert_eq!(Failure::decode(&both), Some(failure));
        assert_eq!(Failure::decode(&[READY, READY].concat()), None);
    }

    #[test]
    fn other_bytes_are_no_failure() {
        assert_eq!(Failure::decode(&[]), None);
        assert_eq!(Failure::decode(&[0; 7]), None);
        assert_eq!(Failure::decode(&[255, 0, 0, 0, 1, 0, 0, 0]), None);
        assert_eq!(Failure::decode(&[0, 1, 0, 0, 1, 0, 0, 0]), None);
    }
}
