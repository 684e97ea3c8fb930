//! Rollups against the same SQL in one batch, and what is refused.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]
mod audit;
mod backfill;
mod closing;
mod days;
mod definitions;
mod events;
mod failures;
mod folding;
mod group;
mod harness;
mod large;
mod late;
mod live;
mod refusals;
mod rewritten;
mod shared;
mod shared_faults;
mod shared_live;
