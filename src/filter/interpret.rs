//! Runs a filter on one call as the kernel would, without the kernel.
//!
//! For tests and `policy explain`; never on a launch.

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
