//! Processes outside the sandbox: tracing, reading, signalling, and what `/proc` shows of them.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::kill;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

use super::{row, victim};
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::outside::{Outside, VICTIM_SECRET};
use crate::selftest::promise;
use crate::sys::attempt as sys;

const NUMBERS: &str = "process namespace";
const PROC: &str = "own /proc";

pub(super) fn of_outside_processes() -> Vec<Attempt> {
    use Control::Anyone;
    vec![
        row(
            "ptrace-outside",
            "trace a process outside",
            NUMBERS,
            Anyone,
            promise::processes_or_filter,
            |o| {
                reached(
                    o,
                    ptrace::seize(victim(o), ptrace::Options::empty()),
                    "traced",
                )
            },
        ),
        row(
            "read-memory-outside",
            "process_vm_readv of a process outside",
            NUMBERS,
            Anyone,
            promise::processes_or_filter,
            |o| {
                let mut bytes = [0_u8; VICTIM_SECRET.len()];
                let remote = RemoteIoVec {
                    base: o.victim_secret,
                    len: bytes.len(),
                };
                let read =
                    process_vm_readv(victim(o), &mut [IoSliceMut::new(&mut bytes)], &[remote]);
                match read {
                    Ok(_) if &bytes == VICTIM_SECRET => Outcome::open("its secret was read"),
                    Ok(_) => Outcome::held("a process of the sandbox's own has that number"),
                    Err(errno) => Outcome::refused(errno),
                }
            },
        ),
        row(
            "write-memory-outside",
            "process_vm_writev to a process outside",
            NUMBERS,
            Anyone,
            promise::processes_or_filter,
            |o| {
                let remote = RemoteIoVec {
                    base: o.victim_scratch,
                    len: 1,
                };
                let written = process_vm_writev(victim(o), &[IoSlice::new(b"!")], &[remote]);
                reached(o, written, "its memory was written")
            },
        ),
        row(
            "process-vm-own",
            "process_vm_readv at all",
            "filter: memory of others",
            Anyone,
            promise::memory_of_others,
            |_| {
                let secret = *VICTIM_SECRET;
                let mut bytes = [0_u8; VICTIM_SECRET.len()];
                let remote = RemoteIoVec {
                    base: secret.as_ptr().addr(),
                    len: secret.len(),
                };
                let read =
                    process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut bytes)], &[remote]);
                Outcome::of(read, "the call was made")
            },
        ),
        row(
            "pidfd-open-outside",
            "pidfd_open of a process outside",
            NUMBERS,
            Anyone,
            promise::processes_or_filter,
            |o| reached(o, sys::pidfd_open(victim(o)), "a pidfd"),
        ),
        row(
            "pidfd-getfd-outside",
            "pidfd_getfd from a process outside",
            NUMBERS,
            Anyone,
            promise::processes_or_filter,
            |o| {
                let stolen =
                    sys::pidfd_open(victim(o)).and_then(|pidfd| sys::pidfd_getfd(pidfd.as_fd(), 0));
                reached(o, stolen, "its standard input")
            },
        ),
        row(
            "pidfd-getfd-own",
            "pidfd_getfd at all",
            "filter: descriptors of others",
            Anyone,
            promise::descriptors_of_others,
            |_| {
                let copied = sys::pidfd_open(Pid::this())
                    .and_then(|pidfd| sys::pidfd_getfd(pidfd.as_fd(), 1));
                Outcome::of(copied, "the call was made")
            },
        ),
        row(
            "kill-outside",
            "a signal to a process outside",
            NUMBERS,
            Anyone,
            promise::processes,
            |o| reached(o, kill(victim(o), None), "it may be signalled"),
        ),
        row(
            "kill-launcher",
            "a signal to the launcher, to stop or end it",
            NUMBERS,
            Anyone,
            promise::processes,
            |o| {
                reached(
                    o,
                    kill(Pid::from_raw(o.launcher), None),
                    "it may be signalled",
                )
            },
        ),
        row(
            "proc-mem-outside",
            "/proc/PID/mem of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "mem"),
        ),
        row(
            "proc-environ-outside",
            "/proc/PID/environ of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "environ"),
        ),
        row(
            "proc-fd-outside",
            "/proc/PID/fd of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "fd/0"),
        ),
        row(
            "proc-root-outside",
            "/proc/PID/root of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "root/"),
        ),
        row(
            "proc-cwd-outside",
            "/proc/PID/cwd of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "cwd/"),
        ),
        row(
            "proc-ns-outside",
            "/proc/PID/ns of a process outside",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| proc_file(o, "ns/net"),
        ),
        row(
            "see-outside",
            "the processes outside in /proc",
            PROC,
            Anyone,
            promise::proc_of_processes,
            |o| {
                if is_victim(o) {
                    Outcome::open("it is listed")
                } else {
                    Outcome::refused(Errno::ENOENT)
                }
            },
        ),
    ]
}

/// Whether the number in this process namespace is the same process as outside.
fn is_same_numbering(outside: &Outside) -> bool {
    nix::sys::stat::stat("/proc/self/ns/pid")
        .is_ok_and(|found| found.st_ino == outside.pid_namespace)
}

/// Open where `result` succeeded on the process outside, not on one that has its number inside.
fn reached<T>(outside: &Outside, result: Result<T, Errno>, evidence: &str) -> Outcome {
    if result.is_ok() && !is_same_numbering(outside) {
        return Outcome::held("a process of the sandbox's own has that number");
    }
    Outcome::of(result, evidence)
}

fn is_victim(outside: &Outside) -> bool {
    fs::read(format!("/proc/{}/cmdline", outside.victim))
        .is_ok_and(|line| line.windows(8).any(|word| word == b"__victim"))
}

fn proc_file(outside: &Outside, name: &str) -> Outcome {
    let path = format!("/proc/{}/{name}", outside.victim);
    match fs::File::open(&path) {
        Ok(_) if is_victim(outside) => Outcome::open(format!("{path} opens")),
        Ok(_) => Outcome::held("a process of the sandbox's own has that number"),
        Err(error) => Outcome::stopped(&error),
    }
}
