//! What a run tells: live and at its end.
use hdrhistogram::Histogram;
use serde::Serialize;
use std::sync::atomic::AtomicU64;

/// Live figures, read by a progress display.
#[derive(Debug, Default)]
pub struct Progress {
    /// Events sent so far.
    pub sent: AtomicU64,
    /// Events acknowledged so far.
    pub acknowledged: AtomicU64,
    /// Events rejected so far.
    pub rejected: AtomicU64,
}

/// Latencies of requests, from when they were due; milliseconds.
///
/// Three significant digits. A request that was tried again counts until the answer that settled it; one that was given
/// up counts with the time it had waited by then. What was never sent (`Report::not_sent`) is not in here.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
#[allow(missing_docs)]
pub struct LatencyMs {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl LatencyMs {
    /// Of a histogram of microseconds; all zero when it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> LatencyMs {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        LatencyMs { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() as f64 / 1000.0 }
    }
}

/// What came of a run. (`--json` prints it.)
///
/// `events = acknowledged + rejected + unknown`; `not_sent` comes on top.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Requests answered or given up.
    pub requests: u64,
    /// Events sent (each copy of a planned duplicate counts, retries don't).
    pub events: u64,
    /// Events that a 2xx accepted.
    pub acknowledged: u64,
    /// Of these the distinct ones, without the bad: what a lake must hold, no more and no less.
    pub distinct_acknowledged: u64,
    /// Events refused for good, by index in a 2xx or by a 3xx or 4xx (but 408 and 429).
    pub rejected: u64,
    /// Events whose fate is not known when the time is over.
    pub unknown: u64,
    /// Events that were due and never sent: the collector was so slow that the queue was full, or the run was stopped.
    /// Above zero, the latencies are too good.
    pub not_sent: u64,
    /// Copies of the audience model's planned duplicates.
    pub duplicates_sent: u64,
    /// Bad events that the audience model sent on purpose.
    pub bad_sent: u64,
    /// Of these, rejected.
    pub bad_rejected: u64,
    /// Attempts after a request's first.
    pub retries: u64,
    /// Requests that the generator itself released more than 5 ms after they were due: it, or its machine, was busy.
    pub late: u64,
    /// Wall seconds.
    pub seconds: f64,
    /// acknowledged / seconds.
    pub events_per_s: f64,
    /// Latencies.
    pub latency_ms: LatencyMs,
    /// CPU seconds of the generator's own threads, user and system; null where the platform does not tell.
    pub cpu_seconds: f64,
    /// The first answer or error that was not a 2xx which accepts all: what to look at when figures surprise.
    pub first_trouble: Option<String>,
}
