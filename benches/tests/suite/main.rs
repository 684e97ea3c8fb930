//! The load generator from outside: against a small HTTP server that answers as a test orders, and by the bodies that it
//! plans.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, also in what its tests share")]
mod accounting;
mod audience_mix;
mod determinism;
mod open_loop;
mod rate_bodies;
mod server;

use benches::{Format, Options, Shape, Target};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// 2026-11-22, a round number.
pub const START_MS: i64 = 1_795_300_000_000;

/// A run of a second at a rate.
pub fn at_rate(url: &str, events_per_s: f64, batch: usize) -> Options {
    Options {
        target: Target { url: url.to_owned(), path: "/v1/events".to_owned(), headers: vec![], format: Format::Ndjson },
        shape: Shape::Rate { events_per_s },
        batch,
        duration: Duration::from_secs(1),
        seed: 7,
        run: Uuid::from_u128(1),
        connections: 4,
        start_ms: START_MS,
        speed: 1.0,
    }
}

/// A run of twenty seconds that shows ten minutes of an audience.
pub fn of_audience(url: &str, viewers: u64, batch: usize) -> Options {
    Options {
        shape: Shape::Audience { viewers },
        duration: Duration::from_secs(20),
        speed: 30.0,
        ..at_rate(url, 1.0, batch)
    }
}

/// A file of acknowledged ids that the test can read.
#[derive(Clone, Default)]
pub struct AckedFile(Arc<Mutex<Vec<u8>>>);

impl AckedFile {
    /// Its ids, in order.
    pub fn ids(&self) -> Vec<Uuid> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// To be handed to a run.
    pub fn writer(&self) -> Option<Box<dyn Write + Send>> {
        Some(Box::new(self.clone()))
    }
}

impl Write for AckedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
