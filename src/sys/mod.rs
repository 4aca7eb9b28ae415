//! One system call a function; the only home of `unsafe`.
