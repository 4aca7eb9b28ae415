//! A filter under construction: a graph of tests whose equal parts exist once, and its layout as
//! classic BPF (bpf(4): forward jumps only, conditional ones at most 255 instructions far).
//!
//! Pure. Because a node is found again by its content, tails that several calls share (returns,
//! equal argument rules) are in the program once.

use std::collections::HashMap;

use libc::sock_filter;

use super::program::{MAX_LEN, Program, code};
use crate::error::{Error, Result};

/// A node of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id(usize);

/// One step of a filter; successors exist before it does, so there are no cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    /// End with this action.
    Return(u32),
    /// Load the word at this offset of `struct seccomp_data`.
    Load(u32, Id),
    /// Mask the loaded word.
    And(u32, Id),
    /// Compare the loaded word (`code::EQUAL`, `GREATER`, `AT_LEAST`) with a constant.
    Branch(u16, u32, Id, Id),
}

/// What is known about a word on the way to a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Known {
    Is(u32),
    IsNot(Vec<u32>),
}

/// Offset and mask of a word.
type Word = (u32, u32);

/// What is known on the way to a node: the word in the accumulator, and facts about words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    loaded: Option<Word>,
    facts: Vec<(Word, Known)>,
}

impl State {
    fn known(&self, word: Word) -> Option<&Known> {
        let found = self.facts.iter().find(|(known, _)| *known == word);
        found.map(|(_, known)| known)
    }

    fn with(&self, word: Word, known: Known) -> Self {
        let mut facts: Vec<_> = self.facts.clone();
        facts.retain(|(other, _)| *other != word);
        facts.push((word, known));
        facts.sort_by_key(|(word, _)| *word);
        Self {
            loaded: self.loaded,
            facts,
        }
    }
}

/// Nodes, each once.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    index: HashMap<Node, Id>,
}

impl Graph {
    /// The node with this content.
    pub(crate) fn add(&mut self, node: Node) -> Id {
        if let Node::Branch(_, _, yes, no) = node
            && yes == no
        {
            return yes;
        }
        *self.index.entry(node).or_insert_with(|| {
            self.nodes.push(node);
            Id(self.nodes.len() - 1)
        })
    }

    /// The graph from `root`, without the loads and tests whose outcome the way there decides.
    ///
    /// A test that is repeated in several rules of one call is then made once. The result may grow
    /// where ways with different knowledge meet: after `budget` nodes it is given up, and `root`
    /// returned as it is; the meaning is the same.
    pub(crate) fn simplify(&mut self, root: Id, mut budget: usize) -> Id {
        let mut seen = HashMap::new();
        self.walk(root, &State::default(), &mut seen, &mut budget)
            .unwrap_or(root)
    }

    fn walk(
        &mut self,
        id: Id,
        state: &State,
        seen: &mut HashMap<(Id, State), Id>,
        budget: &mut usize,
    ) -> Option<Id> {
        let key = (id, state.clone());
        if let Some(done) = seen.get(&key) {
            return Some(*done);
        }
        // Counted on the way in, so that it bounds the depth of the recursion too.
        *budget = budget.checked_sub(1)?;
        let result = match self.nodes[id.0] {
            Node::Return(_) => id,
            Node::Load(offset, next) => {
                let word = (offset, u32::MAX);
                let mut after = state.clone();
                after.loaded = Some(word);
                let next = self.walk(next, &after, seen, budget)?;
                if state.loaded == Some(word) || !self.reads(next) {
                    next
                } else {
                    self.add(Node::Load(offset, next))
                }
            }
            Node::And(mask, next) => {
                let mut after = state.clone();
                after.loaded = state.loaded.map(|(offset, old)| (offset, old & mask));
                let next = self.walk(next, &after, seen, budget)?;
                if self.reads(next) {
                    self.add(Node::And(mask, next))
                } else {
                    next
                }
            }
            Node::Branch(test, k, yes, no) => {
                self.walk_branch(test, k, yes, no, state, seen, budget)?
            }
        };
        seen.insert(key, result);
        Some(result)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one node, and the walk's state"
    )]
    fn walk_branch(
        &mut self,
        test: u16,
        k: u32,
        yes: Id,
        no: Id,
        state: &State,
        seen: &mut HashMap<(Id, State), Id>,
        budget: &mut usize,
    ) -> Option<Id> {
        let word = state.loaded.filter(|_| test == code::EQUAL);
        let Some(word) = word else {
            let yes = self.walk(yes, state, seen, budget)?;
            let no = self.walk(no, state, seen, budget)?;
            return Some(self.add(Node::Branch(test, k, yes, no)));
        };
        let mut not = match state.known(word) {
            Some(Known::Is(value)) => {
                let taken = if *value == k { yes } else { no };
                return self.walk(taken, state, seen, budget);
            }
            Some(Known::IsNot(values)) if values.contains(&k) => {
                return self.walk(no, state, seen, budget);
            }
            Some(Known::IsNot(values)) => values.clone(),
            None => Vec::new(),
        };
        not.push(k);
        not.sort_unstable();
        let yes = self.walk(yes, &state.with(word, Known::Is(k)), seen, budget)?;
        let no = self.walk(no, &state.with(word, Known::IsNot(not)), seen, budget)?;
        Some(self.add(Node::Branch(test, k, yes, no)))
    }

    /// Whether a node looks at the accumulator that its predecessor left.
    fn reads(&self, id: Id) -> bool {
        matches!(self.nodes[id.0], Node::And(..) | Node::Branch(..))
    }

    /// The graph from `root` as a program.
    ///
    /// Laid out from the end, each node before its successors; where one is further than a
    /// conditional jump reaches, a return is repeated, or an unconditional jump put in between.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] beyond the kernel's 4096 instructions.
    pub(crate) fn lay_out(&self, root: Id) -> Result<Program> {
        let mut layout = Layout {
            graph: self,
            reversed: Vec::new(),
            place: vec![None; self.nodes.len()],
        };
        for id in self.order(root) {
            layout.emit(id)?;
        }
        layout.reversed.reverse();
        Ok(Program::new(layout.reversed))
    }

    /// Every node reachable from `root`, successors first, returns before all others.
    fn order(&self, root: Id) -> Vec<Id> {
        let mut done = vec![false; self.nodes.len()];
        let (mut returns, mut others) = (Vec::new(), Vec::new());
        let mut stack = vec![(root, false)];
        while let Some((id, successors_done)) = stack.pop() {
            if successors_done {
                others.push(id);
                continue;
            }
            if std::mem::replace(&mut done[id.0], true) {
                continue;
            }
            match self.nodes[id.0] {
                Node::Return(_) => returns.push(id),
                Node::Load(_, next) | Node::And(_, next) => {
                    stack.extend([(id, true), (next, false)]);
                }
                Node::Branch(_, _, yes, no) => {
                    stack.extend([(id, true), (no, false), (yes, false)]);
                }
            }
        }
        returns.extend(others);
        returns
    }
}

struct Layout<'a> {
    graph: &'a Graph,
    /// The program from its end.
    reversed: Vec<sock_filter>,
    /// Where each node, or a jump to it, is in `reversed`: the nearest one.
    place: Vec<Option<usize>>,
}

impl Layout<'_> {
    fn emit(&mut self, id: Id) -> Result<()> {
        match self.graph.nodes[id.0] {
            Node::Return(action) => self.push(code::RETURN, 0, 0, action)?,
            Node::Load(offset, next) => {
                self.bring(next, 0)?;
                self.push(code::LOAD, 0, 0, offset)?;
            }
            Node::And(mask, next) => {
                self.bring(next, 0)?;
                self.push(code::AND, 0, 0, mask)?;
            }
            Node::Branch(test, k, yes, no) => {
                // Bringing the second near may push the first one instruction further away.
                self.bring(yes, 254)?;
                self.bring(no, 255)?;
                let (yes, no) = (self.distance(yes), self.distance(no));
                let reach = |distance| u8::try_from(distance).expect("brought within reach");
                self.push(test, reach(yes), reach(no), k)?;
            }
        }
        self.place[id.0] = Some(self.reversed.len() - 1);
        Ok(())
    }

    /// Make sure that an instruction emitted now reaches `id` by skipping at most `reach` others.
    fn bring(&mut self, id: Id, reach: usize) -> Result<()> {
        let distance = self.distance(id);
        if distance <= reach {
            return Ok(());
        }
        match self.graph.nodes[id.0] {
            Node::Return(action) => self.push(code::RETURN, 0, 0, action)?,
            _ => self.push(
                code::JUMP,
                0,
                0,
                u32::try_from(distance).expect("a program is short"),
            )?,
        }
        self.place[id.0] = Some(self.reversed.len() - 1);
        Ok(())
    }

    /// How many instructions an instruction emitted now would skip to reach `id`.
    fn distance(&self, id: Id) -> usize {
        let place = self.place[id.0].expect("successors are laid out first");
        self.reversed.len() - 1 - place
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Result<()> {
        if self.reversed.len() == MAX_LEN {
            return Err(Error::usage(
                "seccomp profile",
                format!(
                    "it compiles to more than the {MAX_LEN} instructions that the kernel takes; \
                     it needs fewer argument rules"
                ),
            ));
        }
        self.reversed.push(sock_filter { code, jt, jf, k });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Verdict, interpret};

    /// A list of `count` tests of argument 0, each with a return of its own.
    fn ladder(count: u32) -> (Graph, Id) {
        let mut graph = Graph::default();
        let mut next = graph.add(Node::Return(Verdict::Allow.action()));
        for k in (0..count).rev() {
            let hit = graph.add(Node::Return(Verdict::Errno(k as u16 + 1).action()));
            next = graph.add(Node::Branch(code::EQUAL, k, hit, next));
        }
        let root = graph.add(Node::Load(16, next));
        (graph, root)
    }

    #[test]
    fn jumps_further_than_255_instructions_land_where_they_should() {
        let (graph, root) = ladder(1000);
        let program = graph.lay_out(root).unwrap();
        for k in 0..1000_u16 {
            let verdict = interpret(&program, 0, 0, &[u64::from(k), 0, 0, 0, 0, 0]);
            assert_eq!(verdict, Verdict::Errno(k + 1));
        }
        assert_eq!(
            interpret(&program, 0, 0, &[1000, 0, 0, 0, 0, 0]),
            Verdict::Allow
        );
    }

    #[test]
    fn a_program_too_long_for_the_kernel_is_an_error() {
        let (graph, root) = ladder(4000);
        let error = graph.lay_out(root).unwrap_err();
        assert!(error.to_string().contains("4096 instructions"), "{error}");
    }

    #[test]
    fn simplifying_drops_a_test_whose_outcome_is_known() {
        let mut graph = Graph::default();
        let allow = graph.add(Node::Return(Verdict::Allow.action()));
        let kill = graph.add(Node::Return(Verdict::KillProcess.action()));
        let again = graph.add(Node::Branch(code::EQUAL, 7, allow, kill));
        let again = graph.add(Node::Load(16, again));
        let first = graph.add(Node::Branch(code::EQUAL, 7, again, kill));
        let root = graph.add(Node::Load(16, first));
        let simple = graph.simplify(root, 100);
        assert_eq!(graph.lay_out(root).unwrap().len(), 6);
        assert_eq!(graph.lay_out(simple).unwrap().len(), 4);
        assert_eq!(graph.simplify(root, 1), root);
    }
}
