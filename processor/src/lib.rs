//! Rollups: SQL over events, kept window by window as the log is read, and written to the lake when a window closes.
//!
//! ```text
//!  [[rollup]] ─▶ Definition ─▶ Plan: what is done below, in and above the one aggregate
//!                                │
//!  log ─▶ decode, dedup ─▶ below: filters, projections ─▶ keys and arguments ─▶ open windows ─▶ above ─▶ rows
//!           (reading)                                        (fold, kept)          by start      (close, look)
//!                                                                                                   │
//!  lake: rollups/NAME ◀── one commit: rows, W, and for each partition P, S, D ◀── run ◀─────────────┘
//! ```
//! Promise: what a window shows is what the same SQL gives over the same events in one batch: equal where aggregates are
//! exact, up to rounding where they add floats, within the stated error where they are sketches ([`functions`]). A window
//! of which the SQL filters every event out shows no row. A window's rows are committed once, whatever stops the process:
//! the log is the state, and the table says from where on to read it again.
//!
//! - [`rollup`]: what is configured, and how SQL is checked and taken apart.
//! - [`functions`]: the aggregates of our own, whose states merge and can be read by others.
//! - [`fold`]: the open windows of a rollup.
//! - [`windows`]: which windows an event is in. [`watermark`]: when they close. [`recovery`]: what was counted already.
//! - [`live`]: what is open, for who looks.
//! - `run`: the loop; `kept`: one rollup in it; `table`: where its rows go; `late`: what came too late, and its correction.
//! - [`days`]: windows put together to days.
//! - [`audit`]: closed windows against what the lake has.
//! - `partials`: the way from several processors' parts to a window's rows.
//!
//! DataFusion parses, plans, evaluates expressions and keeps the accumulators; what it has no notion of is a window that
//! stays open between batches.
//!
//! An event that comes after its window was closed is marked, and the window is computed again from the table `events`
//! (`late`).
//!
//! Windows are of all partitions. Where readers share them (over Kafka), each processor commits what its own come to, and the
//! parts are merged (`partials`). Over an embedded log one process reads all; a further one stands by (`run/standby`).
pub mod audit;
pub mod days;
pub mod fold;
pub mod functions;
mod gathered;
mod kept;
mod late;
pub use late::{backfill, rewritten};
pub mod limits;
pub mod live;
mod partials;
mod positions;
pub mod progress;
mod reading;
pub mod recovery;
pub mod rollup;
mod run;
mod table;
mod telemetry;
pub mod watermark;
pub mod windows;

use event::clock::Clock;
use event::decode::TimeBounds;
use lake::location::Location;
use lake::upkeep::Pace;
use live::{Live, Peers};
use log::Log;
use rollup::{Definition, Refused};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The rollups; each has its own table.
    pub rollups: Vec<Definition>,
    /// What a rollup may hold.
    pub bounds: fold::Bounds,
    /// Memory of the open windows of all rollups, bytes; of more the smallest groups of the largest window are put together.
    pub open_bytes_max: usize,
}

/// Where the tables are.
#[derive(Debug, Clone)]
pub struct Lake {
    /// Folder of the rollups' tables; each is named as its rollup.
    pub rollups: Location,
    /// Folder of the tables of days, named as the rollups.
    pub days: Location,
    /// Folder of the tables of what is to be merged, where several processors share the partitions; named as the rollups.
    pub partials: Location,
    /// The table of windows that late events came for.
    pub late_windows: Location,
    /// The sink's table of events: what windows are corrected from.
    pub events: Location,
}

/// What a processor reports before it has tables and partitions.
pub const STARTING: &str = "starting";

/// Tells the node whether this role is ready: `Err` says in words why not.
pub type Report = Arc<dyn Fn(Result<(), String>) + Send + Sync>;

/// Everything a processor is given.
pub struct Parts {
    /// The log it reads.
    pub log: Arc<dyn Log>,
    /// The tables it writes.
    pub lake: Lake,
    /// Rows of the dedup window, a partition; where the table `events` is there already, it says (the sink's way, or the
    /// two would count different events).
    pub dedup_rows: usize,
    /// Bounds for JSON records that others produced, as the sink has them.
    pub bounds: TimeBounds,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Where windows are shown as they are now: made of the same rollups, in the same order.
    pub live: Arc<Live>,
    /// Those that share the partitions, to show what all of them have open; `None`: this one shows its own part.
    pub peers: Option<Arc<dyn Peers>>,
    /// Readiness.
    pub report: Report,
}

/// Times that nobody needs to set.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How often ends of the log are asked for, and complete windows closed.
    pub tick: Duration,
    /// Positions are committed so often, where no window closes.
    pub commit: Duration,
    /// After log or lake did not answer.
    pub retry: Duration,
    /// Windows that late events came for are marked so often, and before each commit.
    pub mark: Duration,
    /// One that stands by takes over when no other has committed for so long: three times what a living one takes.
    pub take_over: Duration,
    /// Between two looks at what can be corrected.
    pub correct: Duration,
    /// Between two looks at what others that share the partitions have committed.
    pub look: Duration,
    /// Of the tables' upkeep.
    pub pace: Pace,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            tick: Duration::from_secs(1),
            commit: Duration::from_secs(30),
            retry: Duration::from_secs(1),
            mark: Duration::from_secs(2),
            take_over: Duration::from_secs(90),
            correct: Duration::from_secs(5),
            look: Duration::from_secs(2),
            pace: Pace::default(),
        }
    }
}

/// Why a processor stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rollup can't be kept.
    #[error("rollup {rollup}: {reason}")]
    Refused {
        /// Its name.
        rollup: String,
        /// Why, and what to write instead.
        reason: Refused,
    },
    /// Two rollups have one name.
    #[error("two rollups are named {0}: each has a table of its name, give one another")]
    Twice(String),
    /// A rollup's table can't be used.
    #[error(transparent)]
    Lake(#[from] lake::table::Error),
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] log::ReadError),
    /// Evaluating or aggregating failed, for whatever events.
    #[error("a rollup can't be computed: {0}")]
    Computing(#[from] datafusion::common::DataFusionError),
    /// Late events of more windows than are kept: the processor waits until some are corrected.
    #[error(
        "more than {} windows wait to be computed from the table events: is a sink writing it? Nothing more is counted \
         until some are",
        limits::LATE_WINDOWS_MAX
    )]
    TooManyLate,
    /// An invariant of the processor itself is broken (a bug): nothing of what was under way was committed.
    #[error("processor is broken: {0}")]
    Broken(String),
}

impl Error {
    /// Trouble that passes, in words.
    pub(crate) fn passing(&self) -> Option<String> {
        match self {
            Error::Lake(lake::table::Error::Unavailable(reason)) => Some(format!("the lake does not answer: {reason}")),
            Error::Log(log::ReadError::Unavailable(reason)) => Some(format!("the log does not answer: {reason}")),
            Error::TooManyLate => Some(self.to_string()),
            _ => None,
        }
    }
}

/// Whether each rollup can be kept, asked before anything is opened or listened on.
pub async fn check(config: &Config) -> Result<(), Error> {
    for (definition, plan) in run::plans(config).await? {
        let open_us = plan.windows.length_us() + definition.allowed_lateness.as_micros() as i64;
        let (open, most) = (open_us / plan.windows.slide_us(), config.bounds.windows_max);
        if open > most as i64 / 2 {
            let reason = Refused::new(
                format!("{open} of its windows are open at any time, and at most {most} are kept open"),
                "lengthen its windows, shorten allowed_lateness, or raise processor.open_windows_max to twice as many",
            );
            return Err(Error::Refused { rollup: definition.name.clone(), reason });
        }
    }
    Ok(())
}

/// Runs until `shutdown`, then closes what is complete by then and returns: what is not committed is read again at the
/// next start. Dropping the future at any point is as safe.
///
/// Returns an error when a rollup or its table can't be used or the log is corrupt: the process must stop. Trouble that
/// passes is waited out, unready. A log that is not the one that the tables were counted from stops the reading, in
/// words, unready, until the next start.
pub async fn run(config: Config, parts: Parts, shutdown: CancellationToken) -> Result<(), Error> {
    run_with(config, parts, Timing::default(), shutdown).await
}

/// The same with other times: for tests, which can't wait for the next tick.
pub async fn run_with(config: Config, parts: Parts, timing: Timing, shutdown: CancellationToken) -> Result<(), Error> {
    run::run(config, parts, timing, shutdown).await
}
