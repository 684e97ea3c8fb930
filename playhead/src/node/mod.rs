//! One process with its roles, wired to one log and one lake.
//!
//! ```text
//!  ingest ──▶ log (embedded) ──▶ sink ──▶ lake            admin: /healthz /readyz /metrics, the log for tail and audit
//! ```
//! Stopping goes in the events' direction: the edge answers what it accepted, the sink drains, the log closes.
use crate::clock::SystemClock;
use crate::config::Config;
use crate::data_dir::{DataDir, RunningNode};
use crate::storage;
use log::embedded::OpenError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub mod admin;
mod descriptors;
mod metrics;
mod readiness;

pub use readiness::Readiness;

/// How long the edge may take to answer what it accepted, of the 30 s that a stop may take in all: its own
/// `drain_timeout_ms` (12 s), and the last appends.
const INGEST_STOP_MAX: Duration = Duration::from_secs(14);
/// How long the sink may take to bring the rest to the lake. What is left stays in the log, durable.
const SINK_STOP_MAX: Duration = Duration::from_secs(14);
/// How long a command that only looks may keep a starting node waiting.
const LOOKING_MAX: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted: all players that come back at once after an outage, as far as the system
/// allows (net.core.somaxconn).
const BACKLOG: u32 = 4_096;
/// How often a waiting node tries again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How often the log drops what it may drop: a full log takes events again this soon after the lake has the old ones.
const RETAIN_EVERY: Duration = Duration::from_secs(2);

/// Why a node did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] crate::data_dir::Error),
    /// What this process may use of the machine.
    #[error("{0}")]
    Machine(String),
    /// The log's directory.
    #[error(transparent)]
    OpenLog(#[from] OpenError),
    /// An address is taken.
    #[error("{address} can't be listened on: {reason}; choose another with --{option}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The option that sets it.
        option: &'static str,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The edge stopped by itself.
    #[error("ingest stopped: {0}")]
    Ingest(#[from] ingest::Error),
    /// The sink stopped by itself.
    #[error("sink stopped: {0}")]
    Sink(#[from] sink::Error),
    /// The log could not be closed cleanly.
    #[error("log could not be closed: {0}")]
    CloseLog(log::AppendError),
    /// The log could not be trimmed: its disk is not to be trusted.
    #[error("log could not be trimmed: {0}")]
    Retain(log::ReadError),
    /// A role panicked, or its time to stop ran out.
    #[error("{0}")]
    Role(String),
}

/// A running node.
pub struct Node {
    /// Address that takes events.
    pub listen: SocketAddr,
    /// Admin address.
    pub admin: SocketAddr,
    readiness: Arc<Readiness>,
    data: DataDir,
    log: Arc<dyn log::Log>,
    ingest: JoinHandle<Result<(), ingest::Error>>,
    sink: JoinHandle<Result<(), sink::Error>>,
    retention: JoinHandle<Result<(), log::ReadError>>,
    stop_ingest: CancellationToken,
    stop_sink: CancellationToken,
    stop_admin: CancellationToken,
}

impl Node {
    /// Starts every role; returns when all are under way (ready or not: [`Node::ready`]).
    pub async fn start(config: &Config, data: DataDir) -> Result<Node, Error> {
        let mut edge = config.ingest.clone();
        edge.connections_max = descriptors::connections(edge.connections_max).map_err(Error::Machine)?;
        let log = open_log(config, &data).await?;
        let listener = bind(config.ingest.listen, "listen")?;
        let admin_listener = bind(config.admin.listen, "admin")?;
        let local = |listener: &TcpListener, given| listener.local_addr().unwrap_or(given);
        let (listen, admin) = (local(&listener, config.ingest.listen), local(&admin_listener, config.admin.listen));

        let readiness = Arc::new(Readiness::new(["ingest", "sink"]));
        let (stop_ingest, stop_sink, stop_admin) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let exposition = metrics::install(stop_admin.clone());
        let state = admin::State {
            readiness: readiness.clone(),
            log: log.clone(),
            exposition,
            log_reads: Arc::new(Semaphore::new(admin::LOG_READS_MAX)),
        };
        tokio::spawn(admin::serve(admin_listener, state, stop_admin.clone()));
        let sink = tokio::spawn(sink::run(
            config.sink.clone(),
            sink::Parts {
                log: log.clone(),
                lake: storage::lake_of(&data),
                dedup_rows: config.dedup.rows,
                bounds: config.events.bounds(),
                clock: Arc::new(SystemClock),
                report: readiness.reporter("sink"),
            },
            stop_sink.clone(),
        ));
        let ingest = tokio::spawn(ingest::run(
            edge,
            ingest::Parts {
                listener,
                writer: log.writer(),
                bounds: config.events.bounds(),
                clock: Arc::new(SystemClock),
                random_id: Arc::new(random_id),
                report: readiness.reporter("ingest"),
            },
            stop_ingest.clone(),
        ));
        let retention = tokio::spawn(retain(log.clone(), stop_ingest.clone()));
        data.announce(&RunningNode { pid: std::process::id(), listen: listen.to_string(), admin: admin.to_string() })?;
        Ok(Node { listen, admin, readiness, data, log, ingest, sink, retention, stop_ingest, stop_sink, stop_admin })
    }

    /// Waits until every role is ready.
    pub fn ready(&self) -> impl Future<Output = ()> + use<> {
        let readiness = self.readiness.clone();
        async move { readiness.wait().await }
    }

    /// Waits until a role stops by itself, which none does in health; then stops the others and says why.
    pub async fn failed(&mut self) -> Error {
        let ended = tokio::select! {
            ended = &mut self.ingest => flatten("ingest", ended),
            ended = &mut self.sink => flatten("sink", ended),
            ended = &mut self.retention => flatten("retention", ended.map(|result| result.map_err(Error::Retain))),
        };
        let error = ended.err().unwrap_or_else(|| Error::Role("a role ended without being asked to".into()));
        tracing::error!(%error, "stopping");
        self.stop_ingest.cancel();
        self.stop_sink.cancel();
        self.stop_admin.cancel();
        self.data.retract();
        error
    }

    /// Stops in the events' direction, within 30 s.
    pub async fn stop(self) -> Result<(), Error> {
        let took_events = self.readiness.was_ready();
        self.readiness.stopping();
        self.stop_ingest.cancel();
        let edge = within(INGEST_STOP_MAX, "ingest", self.ingest).await;
        self.retention.abort();
        self.stop_sink.cancel();
        let drained = within(SINK_STOP_MAX, "sink", self.sink).await;
        // After the drain only what the sink can't mend by itself is left: stopped partitions.
        let stuck = self.readiness.unready().remove("sink").filter(|_| took_events);
        let closed = self.log.close().await.map_err(Error::CloseLog);
        self.stop_admin.cancel();
        self.data.retract();
        edge.and(drained).and(closed)?;
        match stuck {
            Some(reason) => Err(Error::Role(format!("stopped, but not everything accepted is in the lake: {reason}"))),
            None => Ok(()),
        }
    }
}

/// A command that only looks (audit, tail, status) may have the log for a moment: that is waited out. A node that runs
/// is not.
async fn open_log(config: &Config, data: &DataDir) -> Result<Arc<dyn log::Log>, OpenError> {
    let deadline = Instant::now() + LOOKING_MAX;
    loop {
        match storage::open_log(config, data).await {
            Err(OpenError::Owned { pid, .. })
                if Instant::now() < deadline && data.announced().is_none_or(|node| node.pid.to_string() != pid) =>
            {
                tracing::info!(pid, "another command looks at the log: waiting for it");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            opened => return opened,
        }
    }
}

fn bind(address: SocketAddr, option: &'static str) -> Result<TcpListener, Error> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must get the ports that its predecessor's last connections still hold.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|reason| Error::Listen { address, option, reason })
}

fn flatten<E: Into<Error>>(role: &str, ended: Result<Result<(), E>, tokio::task::JoinError>) -> Result<(), Error> {
    match ended {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(Error::Role(format!("{role} ended abnormally: {error}"))),
    }
}

async fn within<E: Into<Error>>(limit: Duration, role: &str, task: JoinHandle<Result<(), E>>) -> Result<(), Error> {
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

async fn retain(log: Arc<dyn log::Log>, stop: CancellationToken) -> Result<(), log::ReadError> {
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

#[allow(clippy::disallowed_methods, reason = "the binary is where randomness comes from")]
fn random_id() -> [u8; 16] {
    uuid::Uuid::new_v4().into_bytes()
}
