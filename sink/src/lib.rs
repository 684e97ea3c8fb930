//! From the log to the Delta tables `events` and `dead_letters`, exactly once.
//!
//! Promise: for each partition of the log, `events` holds a prefix of that log, each row once among the dedup window's
//! rows, with the place of the record that it came from. Whatever stops the process, at any instruction, the next run
//! goes on from what the tables say, and from nothing else.
//!
//! Not for: receiving events (`ingest`), aggregates (`processor`), merging files (`lake` upkeep), exact dedup over whole
//! dates and compaction (`maintenance`).
//!
//! ```text
//!            ┌────────────────────────── position ◀── txns of `events` (last offset, fingerprint, D, totals)
//!            ▼ seek
//! log ──▶ partition ──▶ intake ──▶ provenance ──▶ buffer ──▶ flush ──▶ 0. identity: is it the same log still?
//!      in order?        decode,    _topic,        by date,             1. dead_letters: files + txns, one commit
//!      same log?        dedup      _partition,    by partition         2. events: files + txns of all partitions,
//!                       window     _offset, _row     ▲                    one commit (compare-and-swap)
//!                                                 flush_policy:        3. log: release
//!                                                 rows, bytes, age
//! ```
//!
//! A partition for which the log does not answer is put aside until it does (`aside.rs`): the others go on.
//!
//! Four rules hold it together:
//! - **Positions come from the tables alone.** At every assignment, after every lost compare-and-swap and after every
//!   offset error the tables are read again, and the log is checked against them (`position.rs`): a log that was made
//!   anew, cut off or wiped stops that partition in words, the others go on.
//! - **Before each commit the log is recognised** (`identity.rs`): by the record at the last committed offset, after all
//!   was read that is committed. Else a log made anew under a running sink would get in.
//! - **Dead letters first.** `dead_letters` is committed before `events`, and its own `txn` says up to where: after a
//!   crash between the two, the records are read again and their dead letters are skipped.
//! - **All or nothing.** A flush is one commit for all partitions. When any of them was moved by another sink, the
//!   files and all buffers are thrown away, and reading starts again from the tables.
use event::clock::Clock;
use event::decode::TimeBounds;
use lake::location::Location;
use lake::upkeep::{Job, Pace};
use log::Log;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

mod aside;
mod backoff;
mod buffer;
mod dead_letter;
mod flush;
mod flush_policy;
mod identity;
mod intake;
mod lag;
mod partition;
mod position;
mod provenance;
mod random;
mod readiness;
mod record;
mod run;
pub mod staging;
mod tables;
mod telemetry;
mod trail;
mod watch;

/// Settings `[sink]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Flush when this many rows are buffered.
    pub flush_rows: usize,
    /// Flush when buffered batches take this much memory. Files are made of them while the next are read, so all that a
    /// sink holds for its rows is about four times this.
    pub flush_bytes: usize,
    /// Flush when the oldest buffered row is this old. Positions without rows are committed after ten times this.
    pub flush_age_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { flush_rows: 1_000_000, flush_bytes: 64 << 20, flush_age_ms: 10_000 }
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

/// What a sink reports before it has tables and partitions: the only reason to be unready that says nothing is wrong.
pub const STARTING: &str = "starting";

/// Tells the node whether this role is ready: `Err` says in words why not.
pub type Report = Arc<dyn Fn(Result<(), String>) + Send + Sync>;

/// Further work on the tables.
#[derive(Debug, Default)]
pub struct Jobs {
    /// On `events`.
    pub events: Vec<Box<dyn Job>>,
    /// On `dead_letters`.
    pub dead_letters: Vec<Box<dyn Job>>,
}

/// Everything a sink is given.
pub struct Parts {
    /// The log it reads.
    pub log: Arc<dyn Log>,
    /// The tables it writes.
    pub lake: Lake,
    /// Rows of the dedup window, a partition (stored with the table when it is made; the table's value wins).
    pub dedup_rows: usize,
    /// Bounds for JSON records that others produced. Decoding is a pure function of a record and these: changing them
    /// between a crash and the restart may judge the records of the flush that was under way in another way.
    pub bounds: TimeBounds,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What is done for each table besides upkeep, under the same lease.
    pub jobs: Jobs,
    /// Readiness.
    pub report: Report,
}

/// Times that nobody needs to set.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Of upkeep.
    pub pace: Pace,
    /// A flush, a look at the tables, or a question to the log that is under way for longer makes the sink unready. It
    /// takes a second or two, and an object store's client gives up a try after about 30 s: what takes longer is no slow
    /// answer but none, and the log fills meanwhile.
    pub slow: Duration,
    /// A partition for which the log fails to answer for so long is put aside, and the others go on; one question that
    /// hangs has twice as long, which is more than a Kafka client gives it (5 s).
    pub answer: Duration,
    /// A sink that drains gives up when the log is silent for so long. What it could not read is read at the next start.
    pub silence: Duration,
    /// How often the lag is told to its gauges.
    pub lag: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            pace: Pace::default(),
            slow: Duration::from_secs(30),
            answer: Duration::from_secs(5),
            silence: Duration::from_secs(5),
            lag: Duration::from_secs(1),
        }
    }
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
    /// An invariant of the sink itself is broken (a bug): nothing of the flush under way was committed.
    #[error("sink is broken: {0}")]
    Broken(String),
}

/// Runs until `shutdown`, then drains: reads to the end of the log as it is then, flushes, returns. The caller bounds
/// the drain: dropping the future at any point is as safe as a crash. A log that is silent ends the drain earlier
/// ([`Timing::silence`]): what was read is committed if the log can still be recognised, the rest is left to the next
/// start, and the last word to `report` says so. A sink without partitions ends at once.
///
/// Returns an error when a table can't be used (another schema, another number of partitions, a broken invariant) or
/// the log is corrupt: the process must stop. Trouble that passes (the store or the log is unavailable) is waited out,
/// unready, with what is buffered kept. Upkeep of the tables that can't go on stops alone, ready, with metric
/// `playhead_lake_upkeep_stopped`.
pub async fn run(config: Config, parts: Parts, shutdown: CancellationToken) -> Result<(), Error> {
    run_with(config, parts, Timing::default(), shutdown).await
}

/// The same with other times: for tests, which can't wait for the next pass.
pub async fn run_with(config: Config, parts: Parts, timing: Timing, shutdown: CancellationToken) -> Result<(), Error> {
    run::run(config, parts, timing, shutdown).await
}
