//! Statements over tables that are written here, as a sink and a processor write them.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]
mod lake_tables;
mod rollups;
