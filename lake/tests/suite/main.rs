//! What the lake promises, through its public ends.
#![allow(clippy::disallowed_methods, reason = "tests read the environment of the machine they run on")]
mod commit;
mod create;
mod durability;
mod files;
mod merge;
mod simulation;
mod support;
mod syscalls;
mod upkeep;
