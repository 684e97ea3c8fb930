//! Maintenance through its public ends: tables before and after, whatever happens in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]
mod compaction;
mod kills;
mod model;
mod support;
