//! What the filter costs a launch: reading and compiling a profile in the launcher, installing the
//! program in the child.
//!
//! Each installation is timed inside a fresh forked child; the variants are interleaved, and medians
//! are printed, also as ratios to the smallest filter possible. `cargo bench --bench filter`.

#![expect(
    unsafe_code,
    reason = "a filter cannot be taken off again: each goes into a forked child"
)]
#![expect(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::time::Instant;

use sandbox::filter::{self, Arch, Context, Verdict, compile, load};

const ROUNDS: usize = 400;

fn main() {
    let mut programs: Vec<(String, Vec<libc::sock_filter>)> =
        vec![("allow all".to_owned(), smallest())];
    for name in filter::builtin_names() {
        let profile = load(name).expect("shipped profiles are valid");
        let program = compile(&profile, &Context::default()).expect("shipped profiles compile");
        programs.push((name.to_owned(), program.instructions().to_vec()));
    }
    programs.push(("default, linear".to_owned(), linear()));

    let mut times: Vec<Vec<u64>> = vec![Vec::new(); programs.len()];
    for _ in 0..ROUNDS {
        for (at, (_, program)) in programs.iter().enumerate() {
            times[at].push(install_in_child(program));
        }
    }
    println!(
        "{:16} {:>12} {:>10} {:>8}",
        "installing", "instructions", "p50 µs", "ratio"
    );
    let base = median(&mut times[0]);
    for (at, (name, program)) in programs.iter().enumerate() {
        let p50 = median(&mut times[at]);
        let ratio = p50 as f64 / base as f64;
        println!(
            "{name:16} {:>12} {:>10.1} {ratio:>8.2}",
            program.len(),
            p50 as f64 / 1e3
        );
    }

    println!(
        "{:16} {:>12} {:>10} {:>11}",
        "preparing", "read µs", "compile µs", "built-in µs"
    );
    for name in filter::builtin_names() {
        let profile = load(name).expect("shipped profiles are valid");
        let mut read = time(|| drop(load(name)));
        let mut built = time(|| drop(compile(&profile, &Context::default())));
        let mut ready = time(|| drop(filter::program(name, &Context::default())));
        let micros = |times: &mut [u64]| median(times) as f64 / 1e3;
        println!(
            "{name:16} {:>12.1} {:>10.1} {:>11.1}",
            micros(&mut read),
            micros(&mut built),
            micros(&mut ready)
        );
    }
}

fn time(action: impl Fn()) -> Vec<u64> {
    let one = |_| {
        let start = Instant::now();
        action();
        start.elapsed().as_nanos() as u64
    };
    (0..ROUNDS).map(one).collect()
}

fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times[times.len() / 2]
}

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Check the architecture, allow all.
fn smallest() -> Vec<libc::sock_filter> {
    vec![
        instruction(0x20, 0, 0, 4),
        instruction(0x15, 1, 0, Arch::native().audit_word()),
        instruction(0x06, 0, 0, Verdict::KillProcess.action()),
        instruction(0x06, 0, 0, Verdict::Allow.action()),
    ]
}

/// The plain verdicts of the default profile as a list, one test and one return a call.
fn linear() -> Vec<libc::sock_filter> {
    let profile = load("default").expect("shipped profiles are valid");
    let table = filter::resolve(&profile, &Context::default()).expect("it resolves");
    let mut program = smallest();
    program.truncate(3);
    program.push(instruction(0x20, 0, 0, 0));
    for (number, call) in &table.calls {
        if call.otherwise != table.unknown {
            program.push(instruction(0x15, 0, 1, *number));
            program.push(instruction(0x06, 0, 0, call.otherwise.action()));
        }
    }
    program.push(instruction(0x06, 0, 0, table.unknown.action()));
    program
}

/// Nanoseconds that seccomp(2) took in a child of its own.
fn install_in_child(program: &[libc::sock_filter]) -> u64 {
    let mut pipe = [0; 2];
    // SAFETY: room for the two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: the child makes system calls only, then exits.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let fprog = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_ptr().cast_mut(),
        };
        // SAFETY: no pointer is passed.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let start = Instant::now();
        // SAFETY: `fprog` points to the program, which outlives the call; the kernel copies it.
        let done = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const fprog,
            )
        };
        let took = start.elapsed().as_nanos() as u64;
        // SAFETY: eight bytes of this frame.
        unsafe { libc::write(pipe[1], (&raw const took).cast(), 8) };
        // SAFETY: takes no pointer and does not return.
        unsafe { libc::_exit(i32::from(done != 0)) };
    }
    let mut took = 0_u64;
    // SAFETY: room for eight bytes.
    let read = unsafe { libc::read(pipe[0], (&raw mut took).cast(), 8) };
    let mut status = 0;
    // SAFETY: the child is ours, the status has room.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!((read, status), (8, 0), "the filter was not installed");
    for descriptor in pipe {
        // SAFETY: this function opened it.
        unsafe { libc::close(descriptor) };
    }
    took
}
