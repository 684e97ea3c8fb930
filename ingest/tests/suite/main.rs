//! The event edge over real TCP and a log in memory, in one test binary.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in what its tests share")]
mod bodies;
mod client;
mod connections;
mod cors;
mod descriptors;
mod durability;
mod encodings;
mod large_bodies;
mod load;
mod measured;
mod measures;
mod node;
mod pace;
mod posts;
mod shutdown;
