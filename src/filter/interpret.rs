//! Runs a filter on one call as the kernel would, without the kernel.
//!
//! For tests and `policy explain`; on a launch, for what has to lie under a profile.

use std::collections::HashSet;

use super::profile::Verdict;
use super::program::{Program, code};

/// What `program` says to the call `number` of the architecture whose `AUDIT_ARCH_*` word is
/// `architecture`, with these arguments.
#[must_use]
pub fn interpret(
    program: &Program,
    architecture: u32,
    number: u32,
    arguments: &[u64; 6],
) -> Verdict {
    let instructions = program.instructions();
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        // Every path of a Program ends in a return; were it not so, the kernel would refuse it.
        let Some(instruction) = instructions.get(at) else {
            return Verdict::KillProcess;
        };
        let k = instruction.k;
        at += 1;
        let passed = match instruction.code {
            code::LOAD => {
                accumulator = word(k, architecture, number, arguments);
                continue;
            }
            code::AND => {
                accumulator &= k;
                continue;
            }
            code::JUMP => {
                at += k as usize;
                continue;
            }
            code::RETURN => return Verdict::from_action(k),
            code::EQUAL => accumulator == k,
            code::GREATER => accumulator > k,
            code::AT_LEAST => accumulator >= k,
            _ => return Verdict::KillProcess,
        };
        at += usize::from(if passed {
            instruction.jt
        } else {
            instruction.jf
        });
    }
}

/// Whether `program` lets the call `number` through with some arguments, of which those that are `Some` are
/// known, as the ints that the kernel takes. Never no where there are any; yes for some tests that
/// contradict each other.
pub(crate) fn may_permit(
    program: &Program,
    architecture: u32,
    number: u32,
    arguments: &[Option<u64>; 6],
) -> bool {
    let instructions = program.instructions();
    let values = arguments.map(Option::unwrap_or_default);
    let is_known = |offset: u32| match offset {
        0..16 => true,
        // The upper half of an int is nobody's business.
        _ if !offset.is_multiple_of(8) => false,
        _ => arguments[(offset as usize - 16) / 8].is_some(),
    };
    let mut seen = HashSet::new();
    let mut waiting: Vec<(usize, Option<u32>)> = vec![(0, None)];
    while let Some((at, accumulator)) = waiting.pop() {
        let Some(instruction) = instructions.get(at) else {
            continue;
        };
        // Ways that meet go on as one.
        if !seen.insert((at, accumulator)) {
            continue;
        }
        let (k, next) = (instruction.k, at + 1);
        let yes = (next + usize::from(instruction.jt), accumulator);
        let no = (next + usize::from(instruction.jf), accumulator);
        let compare: fn(u32, u32) -> bool = match instruction.code {
            code::LOAD => {
                let word = is_known(k).then(|| word(k, architecture, number, &values));
                waiting.push((next, word));
                continue;
            }
            code::AND => {
                waiting.push((next, accumulator.map(|word| word & k)));
                continue;
            }
            code::JUMP => {
                waiting.push((next + k as usize, accumulator));
                continue;
            }
            code::RETURN if Verdict::from_action(k).permits() => return true,
            code::EQUAL => |word, k| word == k,
            code::GREATER => |word, k| word > k,
            code::AT_LEAST => |word, k| word >= k,
            _ => continue,
        };
        match accumulator.map(|word| compare(word, k)) {
            Some(true) => waiting.push(yes),
            Some(false) => waiting.push(no),
            None => waiting.extend([yes, no]),
        }
    }
    false
}

/// The word at an offset of `struct seccomp_data` on a little-endian machine.
fn word(offset: u32, architecture: u32, number: u32, arguments: &[u64; 6]) -> u32 {
    match offset {
        0 => number,
        4 => architecture,
        8 | 12 => 0,
        _ => {
            let argument = arguments[(offset as usize - 16) / 8];
            let half = if offset.is_multiple_of(8) {
                argument
            } else {
                argument >> 32
            };
            (half & u64::from(u32::MAX)) as u32
        }
    }
}
