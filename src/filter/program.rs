//! A finished filter: the instructions that the kernel takes, readable and with a stable name.

use std::fmt::Write as _;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET,
    BPF_W, sock_filter,
};

use super::profile::Verdict;

/// The kernel's limit on the instructions of one filter (`BPF_MAXINSNS`).
pub(crate) const MAX_LEN: usize = 4096;

#[expect(
    clippy::cast_possible_truncation,
    reason = "the kernel's field is 16 bits, the constants are small"
)]
pub(crate) mod code {
    use super::*;
    pub(crate) const LOAD: u16 = (BPF_LD | BPF_W | BPF_ABS) as u16;
    pub(crate) const AND: u16 = (BPF_ALU | BPF_AND | BPF_K) as u16;
    pub(crate) const JUMP: u16 = (BPF_JMP | BPF_JA) as u16;
    pub(crate) const EQUAL: u16 = (BPF_JMP | BPF_JEQ | BPF_K) as u16;
    pub(crate) const GREATER: u16 = (BPF_JMP | BPF_JGT | BPF_K) as u16;
    pub(crate) const AT_LEAST: u16 = (BPF_JMP | BPF_JGE | BPF_K) as u16;
    pub(crate) const RETURN: u16 = (BPF_RET | BPF_K) as u16;
}

/// A compiled filter, ready for seccomp(2): at most 4096 instructions, forward jumps only, every
/// path ends in a return.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program(Vec<sock_filter>);

impl Program {
    pub(crate) fn new(instructions: Vec<sock_filter>) -> Self {
        Self(instructions)
    }

    /// The instructions, for `struct sock_fprog`.
    #[must_use]
    pub fn instructions(&self) -> &[sock_filter] {
        &self.0
    }

    /// How many instructions; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a program is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A name for exactly this program: 32 hexadecimal digits (FNV-1a, 128 bits, over the
    /// instructions in the kernel's little-endian layout). For logs and comparison; no protection
    /// against someone who looks for two programs with the same name.
    #[must_use]
    pub fn hash(&self) -> String {
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let mut hash = BASIS;
        for instruction in &self.0 {
            let [c0, c1] = instruction.code.to_le_bytes();
            let [k0, k1, k2, k3] = instruction.k.to_le_bytes();
            for byte in [c0, c1, instruction.jt, instruction.jf, k0, k1, k2, k3] {
                hash = (hash ^ u128::from(byte)).wrapping_mul(PRIME);
            }
        }
        format!("{hash:032x}")
    }

    /// The program as text that [`Program::from_listing`] reads: an instruction a line, its code, both
    /// jumps and its constant in hexadecimal.
    #[must_use]
    pub fn listing(&self) -> String {
        let mut text = String::new();
        for sock_filter { code, jt, jf, k } in &self.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{code:02x} {jt:02x} {jf:02x} {k:08x}");
        }
        text
    }

    /// The program that [`Program::listing`] wrote; `None` for any other text.
    pub(crate) fn from_listing(text: &str) -> Option<Self> {
        let instruction = |line: &str| {
            let mut words = line.split(' ');
            let instruction = sock_filter {
                code: u16::from_str_radix(words.next()?, 16).ok()?,
                jt: u8::from_str_radix(words.next()?, 16).ok()?,
                jf: u8::from_str_radix(words.next()?, 16).ok()?,
                k: u32::from_str_radix(words.next()?, 16).ok()?,
            };
            words.next().is_none().then_some(instruction)
        };
        text.lines()
            .map(instruction)
            .collect::<Option<_>>()
            .map(Self)
    }

    /// One line an instruction, with absolute jump targets, for people.
    #[must_use]
    pub fn disassemble(&self) -> String {
        let mut text = String::new();
        for (at, instruction) in self.0.iter().enumerate() {
            let next = at + 1;
            let (yes, no) = (
                next + usize::from(instruction.jt),
                next + usize::from(instruction.jf),
            );
            let k = instruction.k;
            let line = match instruction.code {
                code::LOAD => format!("load {}", field(k)),
                code::AND => format!("and {k:#x}"),
                code::JUMP => format!("jump {}", next + k as usize),
                code::EQUAL => format!("if == {k:#x} then {yes} else {no}"),
                code::GREATER => format!("if > {k:#x} then {yes} else {no}"),
                code::AT_LEAST => format!("if >= {k:#x} then {yes} else {no}"),
                code::RETURN => format!("return {}", Verdict::from_action(k)),
                other => format!("unknown {other:#x} {k:#x}"),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{at:4}: {line}");
        }
        text
    }
}

/// The name of a word of `struct seccomp_data`.
fn field(offset: u32) -> String {
    match offset {
        0 => "number".to_owned(),
        4 => "architecture".to_owned(),
        8 => "address.low".to_owned(),
        12 => "address.high".to_owned(),
        _ if (offset - 16).is_multiple_of(8) => format!("arg{}.low", (offset - 16) / 8),
        _ => format!("arg{}.high", (offset - 16) / 8),
    }
}
