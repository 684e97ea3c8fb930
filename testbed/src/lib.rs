//! Real servers for tests: an Apache Kafka broker, an S3-compatible store, and an HTTP proxy that lets requests fail.
//!
//! Promise: each is a process (or thread) of the test that started it, on free ports of loopback, and ends with it.
//! A server that is not installed fails the test in words: `scripts/setup test` installs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it serves tests, and fails them")]

pub mod kafka;
pub mod object_store;
pub mod proxy;
