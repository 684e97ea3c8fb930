//! The roles of a node as tasks: started with what each needs, ended within a limit.
use super::Error;
use super::readiness::Readiness;
use crate::clock::SystemClock;
use crate::compaction::compaction;
use crate::config::Config;
use crate::storage::Storage;
use ingest::pages::Pages;
use lake::tables::{EVENT_DATE, RECEIVED_DATE};
use log::Log;
use maintenance::Scope;
use maintenance::retention::Retention;
use processor::live::{Live, Peers};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

/// How often an embedded log drops what it may drop: a full log takes events again this soon after the lake has the
/// old ones.
const RETAIN_EVERY: Duration = Duration::from_secs(2);

/// A task that ends with an error of its role.
pub type Task<E> = JoinHandle<Result<(), E>>;

/// Starts the edge.
pub fn ingest(
    config: &Config,
    connections_max: usize,
    listener: TcpListener,
    pages: Option<Pages>,
    log: &Arc<dyn Log>,
    readiness: &Arc<Readiness>,
    stop: &CancellationToken,
) -> Task<ingest::Error> {
    let edge = ingest::Config { connections_max, ..config.ingest.clone() };
    let parts = ingest::Parts {
        listener,
        writer: log.writer(),
        bounds: config.events.bounds(),
        clock: Arc::new(SystemClock),
        random_id: Arc::new(random_id),
        pages,
        report: readiness.reporter("ingest"),
    };
    tokio::spawn(ingest::run(edge, parts, stop.clone()))
}

/// Starts the sink.
pub fn sink(
    config: &Config,
    storage: &Storage,
    log: &Arc<dyn Log>,
    readiness: &Arc<Readiness>,
    stop: &CancellationToken,
) -> Task<sink::Error> {
    maintenance::describe();
    let parts = sink::Parts {
        jobs: jobs(config, storage),
        log: log.clone(),
        lake: storage.lake.tables(),
        dedup_rows: config.dedup.rows,
        bounds: config.events.bounds(),
        clock: Arc::new(SystemClock),
        report: readiness.reporter("sink"),
    };
    tokio::spawn(sink::run(config.sink.clone(), parts, stop.clone()))
}

/// What is done for the tables besides upkeep. Retention first: what ends is not sorted before.
fn jobs(config: &Config, storage: &Storage) -> sink::Jobs {
    let (events_days, dead_letters_days) = (config.retention.events_days, config.retention.dead_letters_days);
    sink::Jobs {
        events: vec![
            Box::new(Retention::new(EVENT_DATE, events_days)),
            Box::new(compaction(config, storage, Scope::Due)),
        ],
        dead_letters: vec![Box::new(Retention::new(RECEIVED_DATE, dead_letters_days))],
    }
}

/// Starts the processor.
pub fn process(
    config: &Config,
    storage: &Storage,
    log: &Arc<dyn Log>,
    (live, peers): (&Arc<Live>, Arc<dyn Peers>),
    readiness: &Arc<Readiness>,
    stop: &CancellationToken,
) -> Task<processor::Error> {
    let parts = processor::Parts {
        log: log.clone(),
        lake: storage.lake.rollups(),
        dedup_rows: config.dedup.rows,
        bounds: config.events.bounds(),
        clock: Arc::new(SystemClock),
        live: live.clone(),
        peers: Some(peers),
        report: readiness.reporter("process"),
    };
    tokio::spawn(processor::run(config.rollups(), parts, stop.clone()))
}

/// Starts the embedded log's retention.
pub fn retention(log: &Arc<dyn Log>, stop: &CancellationToken) -> Task<log::ReadError> {
    tokio::spawn(retain(log.clone(), stop.clone()))
}

async fn retain(log: Arc<dyn Log>, stop: CancellationToken) -> Result<(), log::ReadError> {
    let mut ticks = tokio::time::interval(RETAIN_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => match log.retain().await {
                Err(log::ReadError::Unavailable(reason)) => tracing::warn!(reason, "log could not be trimmed now, trying again"),
                done => done?,
            },
        }
    }
}

/// Waits for the end of a task; one that was never started does not end.
pub async fn ended<E>(task: &mut Option<Task<E>>) -> Result<Result<(), E>, JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// What an ended role said.
pub fn flatten<E: Into<Error>>(role: &str, ended: Result<Result<(), E>, JoinError>) -> Result<(), Error> {
    match ended {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(Error::Role(format!("{role} ended abnormally: {error}"))),
    }
}

/// Waits for the end of a role that was told to stop.
pub async fn within<E: Into<Error>>(limit: Duration, role: &str, task: Option<Task<E>>) -> Result<(), Error> {
    let Some(task) = task else { return Ok(()) };
    let abort = task.abort_handle();
    match tokio::time::timeout(limit, task).await {
        Ok(ended) => flatten(role, ended),
        Err(_) => {
            abort.abort();
            Err(Error::Role(format!(
                "{role} did not stop within {} s; what it had not finished is in the log and goes on at the next start",
                limit.as_secs()
            )))
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the binary is where randomness comes from")]
fn random_id() -> [u8; 16] {
    uuid::Uuid::new_v4().into_bytes()
}
