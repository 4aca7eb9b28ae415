//! Shared memory, semaphores and message queues of the host.

use std::fs;

use super::row;
use crate::selftest::attempt::{Attempt, Control, Outcome};
use crate::selftest::promise;
use crate::sys::attempt as sys;

const IPC: &str = "ipc namespace";

pub(super) fn of_shared_objects() -> Vec<Attempt> {
    use Control::Anyone;
    vec![
        row(
            "shared-memory",
            "System V shared memory of the host",
            IPC,
            Anyone,
            promise::ipc,
            |o| {
                let found = sys::find_shared_memory(o.ipc_key).and_then(sys::map_shared_memory);
                Outcome::of(found, "mapped")
            },
        ),
        row(
            "shared-memory-by-id",
            "the same by its number",
            IPC,
            Anyone,
            promise::ipc,
            |o| Outcome::of(sys::map_shared_memory(o.shared_memory), "mapped"),
        ),
        row(
            "semaphores",
            "System V semaphores of the host",
            IPC,
            Anyone,
            promise::ipc,
            |o| Outcome::of(sys::find_semaphore(o.ipc_key), "found"),
        ),
        row(
            "message-queue",
            "System V message queues of the host",
            IPC,
            Anyone,
            promise::ipc,
            |o| Outcome::of(sys::find_message_queue(o.ipc_key), "found"),
        ),
        row(
            "posix-queue",
            "POSIX message queues of the host",
            IPC,
            Anyone,
            promise::ipc,
            |o| {
                Outcome::of(
                    sys::open_queue(&o.queue(), sys::QueueAccess::Find),
                    "opened",
                )
            },
        ),
        row(
            "posix-shared-memory",
            "POSIX shared memory of the host, in /dev/shm",
            "own /dev/shm",
            Anyone,
            promise::shared_files,
            |o| match &o.shared_file {
                Some(path) => match fs::read_to_string(path) {
                    Ok(_) => Outcome::open("read"),
                    Err(error) => Outcome::stopped(&error),
                },
                None => Outcome::skipped("the host has no /dev/shm"),
            },
        ),
    ]
}
