//! The sink against a log in memory and real tables in a temporary folder, through its public end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod assignment;
mod dead_letters;
mod delivery;
mod group;
mod harness;
mod kills;
mod log_guard;
mod positions;
mod restart;
mod rivals;
mod trouble;
mod upkeep;
