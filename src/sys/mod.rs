//! One system call a function; the only home of `unsafe`.
//!
//! Two families. `raw`, `clone`, `child` and `mount` serve the child after the clone, which shares
//! its launcher's memory *and thread-local storage*: they issue the system call themselves and never
//! touch libc's `errno`, a lock or the heap. The rest serves the launcher.

pub(crate) mod attempt;
pub(crate) mod child;
pub(crate) mod clone;
#[cfg(test)]
pub(crate) mod guard;
pub(crate) mod inside;
pub(crate) mod memory;
pub(crate) mod message;
pub(crate) mod mount;
pub(crate) mod netlink;
pub(crate) mod notify;
pub(crate) mod packet;
pub(crate) mod parent;
pub(crate) mod process;
mod raw;
pub(crate) mod tunnel;
pub(crate) mod within;
