//! What the lake promises, through its public ends.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests read the environment and the clock, say what they measured, and end where something is wrong"
)]
mod commit;
mod create;
mod durability;
mod files;
mod merge;
mod network;
mod simulation;
mod stores;
mod support;
mod syscalls;
mod upkeep;
