//! The table of every key of a policy file.
