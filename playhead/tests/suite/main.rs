//! The binary from the outside: processes, signals, files, exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "tests")]
mod audit;
mod bad_input;
mod cluster;
mod commands;
mod compaction;
mod documents;
mod durability;
mod faults_kafka;
mod faults_sinks;
mod faults_store;
mod interop;
mod kills;
mod live;
mod maintenance_store;
mod node;
mod process;
mod processors;
mod replay;
mod roles;
mod rollups;
mod rounds;
mod secured;
mod sql;
mod steady;
mod topic_made_anew;
