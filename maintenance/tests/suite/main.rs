//! Maintenance through its public ends: tables before and after, whatever happens in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]
mod compaction;
mod faulty;
mod kills;
mod model;
mod recorded;
mod replay;
mod replay_kills;
mod replay_model;
mod retention;
mod support;
