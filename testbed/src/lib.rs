//! Real servers for tests: an Apache Kafka broker, an S3-compatible store, and an HTTP proxy that lets requests fail;
//! ports and processes of a test for what it starts itself.
//!
//! Promise: each is a process (or thread) of the test that started it, on free ports of loopback, and ends with it,
//! even when the test is killed. A server that is not installed fails the test in words: `scripts/setup servers`
//! installs it. Nothing here needs an async runtime, and all of it may be called from within one (it blocks).
//!
//! ```text
//!  test process ──▶ Broker ──▶ java kafka.Kafka ─┐ data: $TMPDIR/playhead-testbed-UID/runs/..., removed at the end;
//!       │    └────▶ Store  ──▶ minio server ─────┘ what a killed test left, the next one removes
//!       └─────────▶ Proxy (a thread) ──▶ Store
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "all of it serves tests, and fails them"
)]

mod installed;
pub mod kafka;
pub mod object_store;
pub mod process;
pub mod proxy;
pub mod scratch;
