//! The binary from the outside: processes, signals, files, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod audit;
mod bad_input;
mod commands;
mod documents;
mod durability;
mod kills;
mod node;
