//! HTTP to the log: decode, route, batch, append, answer.
use event::clock::Clock;
use event::decode::TimeBounds;
use log::Writer;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Settings `[ingest]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the event edge.
    pub listen: SocketAddr,
    /// Listen beyond loopback without write keys.
    pub allow_anonymous: bool,
    /// Largest body after decompression.
    pub body_bytes_max: usize,
    /// Most events in one body.
    pub events_max: usize,
    /// Largest ratio of decompressed to compressed bytes.
    pub decompression_ratio_max: usize,
    /// Most connections open at once.
    pub connections_max: usize,
    /// A request's headers must be there within this.
    pub header_timeout_ms: u64,
    /// A request's body must be there within this.
    pub body_timeout_ms: u64,
    /// A connection without a request is closed after this.
    pub idle_timeout_ms: u64,
    /// How long a request waits for its batch to be durable before it gets 503.
    pub append_timeout_ms: u64,
    /// Wait at least this long for a batch to fill; 0: batches clock themselves.
    pub linger_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allow_anonymous: false,
            body_bytes_max: 4 << 20,
            events_max: 10_000,
            decompression_ratio_max: 100,
            connections_max: 10_000,
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 75_000,
            append_timeout_ms: 10_000,
            linger_ms: 0,
        }
    }
}

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
    /// Readiness.
    pub report: Report,
}

/// Why the edge stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log has stopped: the process must too.
    #[error(transparent)]
    Log(#[from] log::AppendError),
    /// The listener failed.
    #[error("listener failed: {0}")]
    Listener(String),
}

/// Serves until `shutdown`; then stops accepting, answers what was accepted, and returns.
pub async fn run(config: Config, parts: Parts, shutdown: CancellationToken) -> Result<(), Error> {
    let _ = (config, parts, shutdown);
    unimplemented!()
}
