//! A profile in its context → BPF: the architecture guard, one balanced tree over ranges of numbers,
//! and behind it what seccompiler makes of the calls whose arguments matter.
//!
//! Pure. seccompiler's program for one call alone loses its preamble (architecture, number) and its
//! instructions become nodes of the [`Graph`]; its last return, which stands for "no rule matched",
//! is where the next group of clauses, or the call's own last verdict, is joined on.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::graph::{Graph, Id, Node};
use super::numbers::END;
use super::profile::{Clause, Condition, Profile, Test, Verdict, Width};
use super::program::{MAX_LEN, Program, code};
use super::resolve::{Call, Table, X32, resolve};
use super::{Arch, Context};
use crate::error::{Error, Result};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// seccompiler's instructions before the first rule of a filter for one call: load, compare, return
/// for the architecture; load and compare for the number.
const PREAMBLE: usize = 5;

/// How many nodes simplifying one call may visit; the shipped profiles need a tenth of it.
const SIMPLIFY_BUDGET: usize = 1024;

/// The program that decides as `profile` says in `context`.
///
/// # Errors
///
/// [`Error::Usage`] where the profile refuses what the launcher itself needs, or where the program
/// would be longer than the kernel takes.
pub fn compile(profile: &Profile, context: &Context) -> Result<Program> {
    let table = resolve(profile, context)?;
    let mut graph = Graph::default();
    let ranges = ranges(&table, &mut graph)?;
    let tree = tree(&ranges, END, &mut graph);
    guarded(tree, context.arch, &mut graph)
}

/// The program that allows these calls, each where one of its rules holds or without any rule, and
/// answers every other with `otherwise`: for processes of our own.
///
/// # Errors
///
/// [`Error::Usage`] where there is more than the kernel takes.
pub(crate) fn allow_only(
    calls: BTreeMap<libc::c_long, Vec<SeccompRule>>,
    otherwise: Verdict,
) -> Result<Program> {
    let arch = Arch::native();
    let mut graph = Graph::default();
    let allow = graph.add(Node::Return(Verdict::Allow.action()));
    let refuse = graph.add(Node::Return(otherwise.action()));
    let mut nodes: BTreeMap<u32, Id> = BTreeMap::from([(0, refuse)]);
    for (number, rules) in calls {
        let Ok(number) = u32::try_from(number) else {
            continue;
        };
        let node = match rules.is_empty() {
            true => allow,
            false => rules_node(
                number,
                "our own",
                rules,
                Verdict::Allow,
                arch,
                refuse,
                &mut graph,
            )?,
        };
        nodes.insert(number, node);
        nodes.entry(number + 1).or_insert(refuse);
    }
    let mut ranges: Vec<(u32, Id)> = nodes.into_iter().collect();
    ranges.dedup_by_key(|(_, node)| *node);
    let tree = tree(&ranges, END, &mut graph);
    guarded(tree, arch, &mut graph)
}

/// A tree over the numbers behind the check of the architecture.
fn guarded(tree: Id, arch: Arch, graph: &mut Graph) -> Result<Program> {
    let native = graph.add(Node::Load(NUMBER, tree));
    let foreign = graph.add(Node::Return(Verdict::KillProcess.action()));
    let guard = graph.add(Node::Branch(
        code::EQUAL,
        arch.audit_word(),
        native,
        foreign,
    ));
    let root = graph.add(Node::Load(ARCHITECTURE, guard));
    graph.lay_out(root)
}

/// The first number of each run of numbers that are treated alike, in order, from 0 to the end.
fn ranges(table: &Table, graph: &mut Graph) -> Result<Vec<(u32, Id)>> {
    let unknown = graph.add(Node::Return(table.unknown.action()));
    let x32 = graph.add(Node::Return(Verdict::Errno(38).action()));
    let mut ranges: Vec<(u32, Id)> = Vec::new();
    let mut begin = |number, id| {
        if ranges.last().is_none_or(|(_, last)| *last != id) {
            ranges.push((number, id));
        }
    };
    let mut next = 0;
    for (&number, call) in &table.calls {
        if next < number {
            begin(next, unknown);
        }
        begin(number, call_node(number, call, table.arch, graph)?);
        next = number + 1;
    }
    begin(next, unknown);
    begin(X32, x32);
    Ok(ranges)
}

/// A search tree over the ranges, the last of which ends before `end`; balanced by how many numbers
/// lie on each side, because the kernel walks it once for each number when the filter is installed.
fn tree(ranges: &[(u32, Id)], end: u32, graph: &mut Graph) -> Id {
    if let [(_, only)] = ranges {
        return *only;
    }
    let middle = ranges[0].0.midpoint(end);
    let split = (1..ranges.len())
        .min_by_key(|&split| ranges[split].0.abs_diff(middle))
        .expect("there are at least two ranges");
    let (low, high) = ranges.split_at(split);
    let bound = high[0].0;
    let low = tree(low, bound, graph);
    let high = tree(high, end.max(bound), graph);
    graph.add(Node::Branch(code::AT_LEAST, bound, high, low))
}

fn call_node(number: u32, call: &Call, arch: Arch, graph: &mut Graph) -> Result<Id> {
    let mut next = graph.add(Node::Return(call.otherwise.action()));
    if call.clauses.is_empty() {
        return Ok(next);
    }
    let groups = call
        .clauses
        .chunk_by(|one, other| one.verdict == other.verdict);
    for group in groups.collect::<Vec<_>>().into_iter().rev() {
        next = group_node(number, call.name, group, arch, next, graph)?;
    }
    Ok(graph.simplify(next, SIMPLIFY_BUDGET))
}

/// Clauses with one verdict, compiled by seccompiler; `next` is where a call goes that none matches.
fn group_node(
    number: u32,
    name: &str,
    group: &[Clause],
    arch: Arch,
    next: Id,
    graph: &mut Graph,
) -> Result<Id> {
    let verdict = group[0].verdict;
    let rules = group.iter().map(rule).collect::<Option<Vec<_>>>();
    let rules = rules.ok_or_else(|| too_many(name))?;
    rules_node(number, name, rules, verdict, arch, next, graph)
}

/// Rules with one verdict, compiled by seccompiler; `next` is where a call goes that none matches.
fn rules_node(
    number: u32,
    name: &str,
    rules: Vec<SeccompRule>,
    verdict: Verdict,
    arch: Arch,
    next: Id,
    graph: &mut Graph,
) -> Result<Id> {
    let program = sub_program(number, rules, verdict, arch).ok_or_else(|| too_many(name))?;
    // After the rules come two returns, "no rule matched" and "another number"; long rules jump to
    // the second when they mean the first.
    let (_, rules) = program.split_at(PREAMBLE);
    let end = rules.len() - 2;
    let mut ids = vec![next; rules.len()];
    for at in (0..end).rev() {
        let to = |skip: u32| ids[at + 1 + skip as usize];
        let instruction = &rules[at];
        let node = match instruction.code {
            code::LOAD => Node::Load(instruction.k, to(0)),
            code::AND => Node::And(instruction.k, to(0)),
            code::RETURN => Node::Return(verdict.action()),
            code::JUMP => {
                ids[at] = to(instruction.k);
                continue;
            }
            test => Node::Branch(
                test,
                instruction.k,
                to(instruction.jt.into()),
                to(instruction.jf.into()),
            ),
        };
        ids[at] = graph.add(node);
    }
    Ok(ids[0])
}

fn too_many(name: &str) -> Error {
    Error::usage(
        format!("seccomp profile, rules for {name}"),
        format!("too many for the {MAX_LEN} instructions that the kernel takes"),
    )
}

fn sub_program(
    number: u32,
    rules: Vec<SeccompRule>,
    verdict: Verdict,
    arch: Arch,
) -> Option<BpfProgram> {
    // The two actions only have to differ: both are replaced.
    let matched = match verdict {
        Verdict::Allow => SeccompAction::Allow,
        _ => SeccompAction::Errno(1),
    };
    let target = match arch {
        Arch::X86_64 => TargetArch::x86_64,
        Arch::Aarch64 => TargetArch::aarch64,
    };
    let rules = BTreeMap::from([(i64::from(number), rules)]);
    let filter = SeccompFilter::new(rules, SeccompAction::Trap, matched, target).ok()?;
    filter.try_into().ok()
}

fn rule(clause: &Clause) -> Option<SeccompRule> {
    let conditions: Option<Vec<_>> = clause.when.iter().map(condition).collect();
    SeccompRule::new(conditions?).ok()
}

fn condition(condition: &Condition) -> Option<SeccompCondition> {
    let width = match condition.width {
        Width::Low32 => SeccompCmpArgLen::Dword,
        Width::Full64 => SeccompCmpArgLen::Qword,
    };
    let test = match condition.test {
        Test::Eq => SeccompCmpOp::Eq,
        Test::Ne => SeccompCmpOp::Ne,
        Test::Lt => SeccompCmpOp::Lt,
        Test::Le => SeccompCmpOp::Le,
        Test::Gt => SeccompCmpOp::Gt,
        Test::Ge => SeccompCmpOp::Ge,
        Test::Masked(mask) => SeccompCmpOp::MaskedEq(mask),
    };
    SeccompCondition::new(condition.argument, width, test, condition.value).ok()
}
