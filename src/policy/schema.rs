//! The published JSON Schema, made from the key table.
