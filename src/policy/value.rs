//! A key's value as people and programs read it.
