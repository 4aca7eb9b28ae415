//! Whether it is worth looking for another connection at a listener where one was just found.
//!
//! An accept(2) that finds nobody is dear: the kernel makes the socket and its file before it looks into the
//! queue. Where connections come one at a time, each would pay for that; so the looking goes by what the last
//! turns found. Nothing is missed: who still waits is told again (poll(2), epoll(7), level-triggered).
#![forbid(unsafe_code)]

/// So many turns that let one in, until another is looked for all the same.
const EVERY: u8 = 8;

/// What one listener's last turns were like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Crowd {
    several: bool,
    turns: u8,
}

impl Crowd {
    /// One was let in: look for another in this turn?
    pub(crate) fn expects_another(&mut self) -> bool {
        if self.several {
            return true;
        }
        self.turns = self.turns.wrapping_add(1) % EVERY;
        self.turns == 0
    }

    /// A turn ended that let so many in.
    pub(crate) fn turned(&mut self, let_in: usize) {
        self.several = let_in > 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls of accept(2) that a turn makes with so many waiting, and how many it lets in.
    fn turn(crowd: &mut Crowd, waiting: usize) -> (usize, usize) {
        let (mut calls, mut let_in) = (0, 0);
        loop {
            calls += 1;
            if let_in == waiting {
                break;
            }
            let_in += 1;
            if !crowd.expects_another() {
                break;
            }
        }
        crowd.turned(let_in);
        (calls, let_in)
    }

    #[test]
    fn one_at_a_time_costs_few_vain_looks() {
        let mut crowd = Crowd::default();
        let calls: usize = (0..80).map(|_| turn(&mut crowd, 1).0).sum();
        assert_eq!(calls, 90);
    }

    #[test]
    fn a_crowd_is_noticed_and_let_in_together_until_it_is_gone() {
        let mut crowd = Crowd::default();
        let before = (0..8).map(|_| turn(&mut crowd, 5).1).collect::<Vec<_>>();
        assert_eq!(before, [1, 1, 1, 1, 1, 1, 1, 2]);
        assert_eq!(turn(&mut crowd, 9), (10, 9));
        assert_eq!(turn(&mut crowd, 1), (2, 1));
        assert_eq!(turn(&mut crowd, 1), (1, 1));
    }
}
