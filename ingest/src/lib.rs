//! The event edge: HTTP to the log. Decode, route, batch, append, answer.
//!
//! Promise: a 2xx is sent only when every accepted event is durable in the log; everything is bounded ([`limits`],
//! [`Config`]); at a bound the client gets 408, 413 or 503, and an acknowledged event is never the one that is dropped.
//! Not for TLS, authentication, health or metrics endpoints: a proxy ends TLS, the node's admin server has the others.
//!
//! ```text
//!            accept          edge             body            events              partition_worker
//! client ──▶ cap,      ──▶ path,      ──▶ deadline,   ──▶ decode, route ──▶ batching ──▶ encode ──▶ log::Writer
//!            deadlines      CORS           inflate,         by session        (fills while one        │
//!   ▲                                      budget                             is under way)           │
//!   └──── receipt: 200 | 204 ◀── all durable ◀────────── outcome of each batch ◀──────────────────────┘
//!   └──── problem: 4xx | 503 ◀── refused, failed, too late
//! ```
mod accept;
mod batching;
mod body;
mod budget;
mod config;
mod cors;
mod cpu_bound;
mod deadline_stream;
mod decompression;
mod edge;
mod events;
mod instruments;
pub mod limits;
mod pace;
pub mod pages;
mod partition_worker;
pub mod problem;
mod readiness;
mod receipt;

use crate::accept::Acceptor;
use crate::batching::Bounds;
use crate::body::Bodies;
use crate::cpu_bound::DecodeTurns;
use crate::edge::Edge;
use crate::instruments::Instruments;
use crate::pace::Pace;
use crate::pages::Pages;
use crate::partition_worker::{Partition, Worker};
use crate::readiness::Readiness;
pub use config::Config;
use event::clock::Clock;
use event::decode::TimeBounds;
use event::limits::RECORD_BYTES_MAX;
use log::{AppendError, Writer};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Tells the node whether this role is ready: `Err` says in words why not.
pub type Report = Arc<dyn Fn(Result<(), String>) + Send + Sync>;

/// Everything the edge is given.
pub struct Parts {
    /// An already bound listener.
    pub listener: TcpListener,
    /// The log.
    pub writer: Arc<dyn Writer>,
    /// Accepted times.
    pub bounds: TimeBounds,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Random ids for events with neither id nor session.
    pub random_id: Arc<dyn Fn() -> [u8; 16] + Send + Sync>,
    /// What else is served on its address.
    pub pages: Option<Pages>,
    /// Readiness.
    pub report: Report,
}

/// Why the edge stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log has stopped: the process must too.
    #[error(transparent)]
    Log(#[from] AppendError),
    /// The listener failed.
    #[error("listener failed: {0}")]
    Listener(String),
    /// The settings can't work.
    #[error("{0}")]
    Config(String),
    /// A worker of a partition panicked: a bug.
    #[error("a partition's worker ended: {0}")]
    Worker(String),
}

/// Serves until `shutdown`; then stops accepting, answers what was accepted, and returns. Returns `Err` by itself when
/// the log or the listener is broken, after the requests under way got their 503.
///
/// Install the metrics recorder before.
pub async fn run(config: Config, parts: Parts, shutdown: CancellationToken) -> Result<(), Error> {
    let address = parts.listener.local_addr().map_err(|error| Error::Listener(error.to_string()))?;
    config.check(address).map_err(Error::Config)?;
    let instruments = Arc::new(Instruments::new());
    parts.writer.warm_up();
    let stall = (Duration::from_millis(config.append_timeout_ms) / 2).max(limits::STALL_TIME_MIN);
    let readiness = Arc::new(Readiness::begin(parts.report, parts.writer.partitions(), stall));
    // Half of the time that requests have is left for the append.
    let wait_max = Duration::from_millis(config.append_timeout_ms) / 2;
    let pace = Pace::new(config.appends_per_s, parts.writer.partitions(), wait_max, Instant::now());
    let pace = Arc::new(pace);
    let (partitions, mut workers) = start_workers(&config, &parts.writer, &pace, &instruments, &readiness);
    let drain_timeout = Duration::from_millis(config.drain_timeout_ms);
    let edge = Arc::new(Edge {
        bodies: Bodies::new(&config),
        decode_turns: DecodeTurns::of_this_machine(),
        config,
        partitions: partitions.clone(),
        pace,
        writer: parts.writer,
        clock: parts.clock,
        bounds: parts.bounds,
        random_id: parts.random_id,
        pages: parts.pages,
        instruments,
    });
    tracing::info!(%address, partitions = partitions.len(), "event edge is listening");

    let stop = shutdown.child_token();
    // The accept loop ends with this future, also when it is dropped.
    let _stop_on_drop = stop.clone().drop_guard();
    let accepting = tokio::spawn(Acceptor::new(edge, stop.clone()).run(parts.listener));
    let failed = supervise(&mut workers, &readiness, stall, &stop).await;
    readiness.stop();
    stop.cancel();
    let drained_by = Instant::now() + drain_timeout;
    let accepted = accepting.await.unwrap_or_else(|error| Err(Error::Listener(error.to_string())));
    for partition in &partitions {
        partition.close();
    }
    // What is left in the batches nobody waits for but a client's retry: a log that hangs gets what time is left.
    let appended_by = drained_by.max(Instant::now() + limits::LAST_APPENDS_TIME_MIN);
    if timeout_at(appended_by, all_ended(&mut workers)).await.is_err() {
        tracing::warn!("appends are abandoned: the log did not answer in time, and nobody waits for them");
        // One in the midst of encoding is left to its end.
        let _ = timeout(limits::CUT_TIME_MAX, workers.shutdown()).await;
    }
    failed.map_or(accepted, Err)
}

type Workers = JoinSet<Result<(), AppendError>>;

fn start_workers(
    config: &Config,
    writer: &Arc<dyn Writer>,
    pace: &Arc<Pace>,
    instruments: &Arc<Instruments>,
    readiness: &Arc<Readiness>,
) -> (Vec<Arc<Partition>>, Workers) {
    let bounds = Bounds {
        record_bytes_max: RECORD_BYTES_MAX,
        waiting_max: limits::BATCHES_WAITING_MAX,
        linger: Duration::from_millis(config.linger_ms),
    };
    let partitions: Vec<_> = (0..writer.partitions()).map(|number| Arc::new(Partition::new(number, bounds))).collect();
    let mut workers = JoinSet::new();
    for partition in &partitions {
        let worker = Worker {
            partition: partition.clone(),
            writer: writer.clone(),
            pace: pace.clone(),
            instruments: instruments.clone(),
            readiness: readiness.clone(),
        };
        workers.spawn(worker.run());
    }
    (partitions, workers)
}

/// Waits until told to stop (`None`) or until a worker ends, which it never does by itself but in failure.
async fn supervise(
    workers: &mut Workers,
    readiness: &Readiness,
    stall: Duration,
    stop: &CancellationToken,
) -> Option<Error> {
    let mut ticks = interval((stall / 2).min(limits::UNREADY_TIME / 5));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return None,
            Some(ended) = workers.join_next() => return Some(worker_error(ended)),
            _ = ticks.tick() => readiness.review(Instant::now()),
        }
    }
}

fn worker_error(ended: Result<Result<(), AppendError>, JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => Error::Log(error),
        Ok(Ok(())) => Error::Worker("without being told to".to_owned()),
        Err(error) => Error::Worker(error.to_string()),
    }
}

async fn all_ended(workers: &mut Workers) {
    while workers.join_next().await.is_some() {}
}
