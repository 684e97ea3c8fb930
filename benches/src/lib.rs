//! The load generator: an audience over real HTTP, open loop, latencies from the time a request was due.
use serde::Serialize;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Where the load goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// `http://HOST:PORT`
    pub url: String,
    /// `/v1/events`
    pub path: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Body format.
    pub format: Format,
}

/// How bodies are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One event a line.
    Ndjson,
    /// An array.
    Json,
}

/// What is sent.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Valid, distinct 480-byte events at a fixed rate.
    Rate {
        /// Events per second.
        events_per_s: f64,
    },
    /// The audience model.
    Audience {
        /// Concurrent viewers once all have come.
        viewers: u64,
    },
}

/// A run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to.
    pub target: Target,
    /// What.
    pub shape: Shape,
    /// Most events a request.
    pub batch: usize,
    /// How long.
    pub duration: Duration,
    /// Same seed, same events (but for times, which are relative to `start_ms`).
    pub seed: u64,
    /// Connections.
    pub connections: usize,
    /// Epoch milliseconds of the run's start.
    pub start_ms: i64,
}

/// Live figures, read by a progress display.
#[derive(Debug, Default)]
pub struct Progress {
    /// Events sent so far.
    pub sent: std::sync::atomic::AtomicU64,
    /// Events acknowledged so far.
    pub acknowledged: std::sync::atomic::AtomicU64,
    /// Events rejected so far.
    pub rejected: std::sync::atomic::AtomicU64,
}

/// Latencies of requests, from when they were due; milliseconds.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
#[allow(missing_docs)]
pub struct LatencyMs {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// What came of a run. (`--json` prints it.)
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Requests answered or given up.
    pub requests: u64,
    /// Events sent (each copy of a planned duplicate counts, retries don't).
    pub events: u64,
    /// Events that a 2xx accepted.
    pub acknowledged: u64,
    /// Events refused for good, by index in a 2xx or by a 4xx.
    pub rejected: u64,
    /// Events whose fate is not known when the time is over.
    pub unknown: u64,
    /// Copies of the audience model's planned duplicates.
    pub duplicates_sent: u64,
    /// Bad events that the audience model sent on purpose.
    pub bad_sent: u64,
    /// Wall seconds.
    pub seconds: f64,
    /// acknowledged / seconds.
    pub events_per_s: f64,
    /// Latencies.
    pub latency_ms: LatencyMs,
    /// CPU of the generator itself.
    pub cpu_seconds: f64,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target's URL is not usable.
    #[error("{0}")]
    Target(String),
    /// The file of acknowledged ids can't be written.
    #[error("acknowledged ids can't be written: {0}")]
    Acked(std::io::Error),
}

/// Runs the load. `acked` gets one UUID a line for each event that a 2xx accepted, flushed as they come.
pub async fn run(
    options: Options,
    acked: Option<Box<dyn std::io::Write + Send>>,
    progress: std::sync::Arc<Progress>,
    stop: CancellationToken,
) -> Result<Report, Error> {
    let _ = (options, acked, progress, stop);
    unimplemented!()
}
