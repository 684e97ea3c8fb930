//! One process with its roles, wired to one log and one lake.
//!
//! ```text
//!  ingest ──▶ log (embedded, or Kafka) ─┬▶ sink ──────▶ lake    admin: /healthz /readyz /metrics, and the embedded
//!  (up, ingest)                          └▶ processor ──▶ lake           log for tail and audit
//!                                      (up; sink, process)
//! ```
//! Starting goes against the events' direction: admin server, log, sink and processor, edge. Stopping goes with it: the
//! edge answers what it accepted, the sink drains, the processor closes what is complete, the log closes.
use crate::config::{self, Config};
use crate::data_dir::{DataDir, RunningNode};
use crate::live;
use crate::roles::Roles;
use crate::storage::{LogPlace, Storage};
use processor::live::Live;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tasks::{Task, ended, flatten, within};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

mod address;
pub mod admin;
mod descriptors;
mod error;
mod metrics;
mod opening;
mod readiness;
mod screen;
mod tasks;

pub use error::Error;
pub use readiness::Readiness;

use address::Address;

/// Edge and sink together, of the 30 s that a stop may take in all.
const STOP_MAX: Duration = Duration::from_secs(27);
/// The least that the log is given to close, after them.
const CLOSE_MIN: Duration = Duration::from_secs(1);
/// How long the edge may take to answer what it accepted: its own `drain_timeout_ms` (12 s), and the last appends.
const INGEST_STOP_MAX: Duration = Duration::from_secs(14);

/// A running node.
pub struct Node {
    /// Address that takes events; `None`: not this node's role.
    pub listen: Option<SocketAddr>,
    /// Admin address.
    pub admin: SocketAddr,
    /// Address that shows rollups as they are now; `None`: not this node's role.
    pub live: Option<SocketAddr>,
    readiness: Arc<Readiness>,
    /// The directory that says where this node is.
    announced: Option<DataDir>,
    log: Arc<dyn log::Log>,
    ingest: Option<Task<ingest::Error>>,
    sink: Option<Task<sink::Error>>,
    process: Option<Task<processor::Error>>,
    retention: Option<Task<log::ReadError>>,
    stop_ingest: CancellationToken,
    /// Of sink and processor.
    stop_readers: CancellationToken,
    stop_admin: CancellationToken,
}

impl Node {
    /// Starts every role; returns when all are under way (ready or not: [`Node::ready`]). A Kafka that does not answer
    /// is waited for: the admin server says so meanwhile, and events are not listened for.
    pub async fn start(config: &Config, storage: &Storage, roles: Roles) -> Result<Node, Error> {
        // Without a rollup there is nothing to process, and nobody to wait for.
        let kept = config.rollups();
        let roles = Roles { process: roles.process && !kept.rollups.is_empty(), ..roles };
        if roles.process {
            processor::check(&kept).await?;
        }
        let files_max = descriptors::raise();
        let connections_max = match roles.ingest {
            true => descriptors::connections(config.ingest.connections_max, files_max).map_err(Error::Machine)?,
            false => 0,
        };
        // Before the addresses: of two nodes started by mistake, the directory's words say more than a taken port's.
        let owned = match storage.log {
            LogPlace::Embedded { .. } => Some(opening::owned(&storage.log).await?),
            LogPlace::Kafka(_) => None,
        };
        let events = roles.ingest.then(|| Address::take(config.ingest.listen, "--listen")).transpose()?;
        let admin_address = Address::take(config.admin.listen, "--admin")?;
        let (listen, admin) = (events.as_ref().map(Address::get), admin_address.get());
        // With an edge, on its address.
        let screen =
            (roles.process && !roles.ingest).then(|| Address::take(config.live.listen, "live.listen")).transpose()?;
        let shown_at = if roles.process { listen.or(screen.as_ref().map(Address::get)) } else { None };

        let stop_admin = CancellationToken::new();
        let stop_if_it_fails = stop_admin.clone().drop_guard();
        let exposition = metrics::install(stop_admin.clone());
        let readiness = Arc::new(Readiness::new(roles.names()));
        let live = Live::new(&kept.rollups);
        let state = admin::State {
            readiness: readiness.clone(),
            exposition,
            log: owned.clone().map(admin::OwnedLog::new),
            live: roles.process.then(|| live.clone()),
        };
        tokio::spawn(admin::serve(admin_address.listen()?, state, stop_admin.clone()));

        let retained = owned.clone();
        let log = match owned {
            Some(log) => log,
            None => {
                ignored_settings(config);
                tracing::info!(%admin, brokers = config.kafka.brokers.join(","), "opening the log");
                let report = readiness.reporter_of_all();
                let log = opening::shared(&storage.log, &report).await?;
                report(sink::STARTING);
                log
            }
        };
        let (stop_ingest, stop_readers) = (CancellationToken::new(), CancellationToken::new());
        let sink = roles.sink.then(|| tasks::sink(config, storage, &log, &readiness, &stop_readers));
        let peers = Arc::new(live::Peers::new(&config.live.peers, &config.live.token, shown_at));
        let process =
            roles.process.then(|| tasks::process(config, storage, &log, (&live, peers), &readiness, &stop_readers));
        screen.map(|address| screen::serve(config, &live, address, &stop_ingest)).transpose()?;
        let pages = listen.filter(|_| roles.process).map(|at| screen::pages(config, &live, at, &stop_ingest));
        let listener = events.map(Address::listen).transpose()?;
        let ingest = listener
            .map(|listener| tasks::ingest(config, connections_max, listener, pages, &log, &readiness, &stop_ingest));
        let retention = retained.map(|log| tasks::retention(&log, &stop_ingest));
        let announced = announce(storage, listen, admin)?;
        stop_if_it_fails.disarm();
        Ok(Node {
            listen,
            admin,
            live: shown_at,
            readiness,
            announced,
            log,
            ingest,
            sink,
            process,
            retention,
            stop_ingest,
            stop_readers,
            stop_admin,
        })
    }

    /// Waits until every role is ready.
    pub fn ready(&self) -> impl Future<Output = ()> + use<> {
        let readiness = self.readiness.clone();
        async move { readiness.wait().await }
    }

    /// Waits until a role stops by itself, which none does in health; then stops the others and says why.
    pub async fn failed(&mut self) -> Error {
        let ended = tokio::select! {
            end = ended(&mut self.ingest) => flatten("ingest", end),
            end = ended(&mut self.sink) => flatten("sink", end),
            end = ended(&mut self.process) => flatten("processor", end),
            end = ended(&mut self.retention) => flatten("retention", end.map(|result| result.map_err(Error::Retain))),
        };
        let error = ended.err().unwrap_or_else(|| Error::Role("a role ended without being asked to".into()));
        tracing::error!(%error, "stopping");
        self.stop_ingest.cancel();
        self.stop_readers.cancel();
        self.stop_admin.cancel();
        if let Some(data) = &self.announced {
            data.retract();
        }
        error
    }

    /// Stops in the events' direction, within 30 s. What a sink has not brought to the lake by then stays in the log,
    /// durable.
    pub async fn stop(self) -> Result<(), Error> {
        let stop_by = Instant::now() + STOP_MAX;
        let took_events = self.readiness.was_ready();
        self.readiness.stopping();
        self.stop_ingest.cancel();
        let edge = within(INGEST_STOP_MAX, "ingest", self.ingest).await;
        if let Some(retention) = self.retention {
            retention.abort();
        }
        self.stop_readers.cancel();
        let left = stop_by.saturating_duration_since(Instant::now());
        let (drained, processed) =
            tokio::join!(within(left, "sink", self.sink), within(left, "processor", self.process));
        // After the drain only what the sink can't mend by itself is left: stopped partitions, or a lake that was never
        // there. A node that is stopped before it took anything up leaves nothing behind.
        let stuck = self.readiness.unready().remove("sink").filter(|reason| took_events || reason != sink::STARTING);
        let closed = timeout_at(stop_by.max(Instant::now() + CLOSE_MIN), self.log.close()).await;
        let closed = closed.unwrap_or_else(|_| Err(log::AppendError::Unknown("it takes too long".into())));
        self.stop_admin.cancel();
        if let Some(data) = self.announced {
            data.retract();
        }
        let ended = edge.and(drained).and(processed).and(closed.map_err(Error::CloseLog));
        match (stuck, ended) {
            (None, ended) => ended,
            (Some(reason), ended) => {
                let how = ended.err().map_or_else(|| "stopped".to_owned(), |error| error.to_string());
                Err(Error::Role(format!("{how}, but not everything accepted is in the lake: {reason}")))
            }
        }
    }
}

/// Tells other commands where the owner of an embedded log is. Roles over Kafka need not be found: who wants to look
/// reads the topic.
fn announce(storage: &Storage, listen: Option<SocketAddr>, admin: SocketAddr) -> Result<Option<DataDir>, Error> {
    let (Some(data), Some(listen)) = (storage.log.owned(), listen) else { return Ok(None) };
    data.announce(&RunningNode { pid: std::process::id(), listen: listen.to_string(), admin: admin.to_string() })?;
    Ok(Some(data.clone()))
}

fn ignored_settings(config: &Config) {
    if config.log != config::Log::default() {
        tracing::warn!("settings [log] are the embedded log's: Kafka's topic has its own, see kafka.retention_ms");
    }
}
