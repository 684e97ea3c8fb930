//! The sink against a log in memory and real tables in a temporary folder, through its public end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
mod aside;
mod assignment;
mod dead_letters;
mod delivery;
mod gaps;
mod group;
mod harness;
mod kafka;
mod kills;
mod lag;
mod log_guard;
mod made_anew;
mod pipe;
mod positions;
mod recorder;
mod restart;
mod rivals;
mod sparse;
mod stopping;
mod tables;
mod trouble;
mod upkeep;
