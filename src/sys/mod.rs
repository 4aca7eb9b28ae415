//! One system call a function; the only home of `unsafe`.

pub(crate) mod probe;
