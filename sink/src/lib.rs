//! From the log to the Delta tables `events` and `dead_letters`, exactly once.
use event::clock::Clock;
use event::decode::TimeBounds;
use lake::location::Location;
use log::Log;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Settings `[sink]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Flush when this many rows are buffered.
    pub flush_rows: usize,
    /// Flush when buffered batches take this much memory.
    pub flush_bytes: usize,
    /// Flush when the oldest buffered row is this old.
    pub flush_age_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { flush_rows: 1_000_000, flush_bytes: 128 << 20, flush_age_ms: 10_000 }
    }
}

/// Where the tables are.
#[derive(Debug, Clone)]
pub struct Lake {
    /// Table `events`.
    pub events: Location,
    /// Table `dead_letters`.
    pub dead_letters: Location,
}

/// Tells the node whether this role is ready: `Err` says in words why not.
pub type Report = Arc<dyn Fn(Result<(), String>) + Send + Sync>;

/// Everything a sink is given.
pub struct Parts {
    /// The log it reads.
    pub log: Arc<dyn Log>,
    /// The tables it writes.
    pub lake: Lake,
    /// Rows of the dedup window, a partition (stored with the table when it is made; the table's value wins).
    pub dedup_rows: usize,
    /// Bounds for JSON records that others produced.
    pub bounds: TimeBounds,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Readiness.
    pub report: Report,
}

/// Why a sink stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lake's table can't be used.
    #[error(transparent)]
    Lake(#[from] lake::table::Error),
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] log::ReadError),
}

/// Runs until `shutdown`, then drains: reads to the end of the log, flushes, returns.
pub async fn run(config: Config, parts: Parts, shutdown: CancellationToken) -> Result<(), Error> {
    let _ = (config, parts, shutdown);
    unimplemented!()
}
