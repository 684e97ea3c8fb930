//! The log in Apache Kafka, by librdkafka.
//!
//! Promise: as every log's; an append that answered `Ok` was acknowledged by all in-sync replicas. A topic whose
//! settings would break a promise is refused in words before anything is written to it. A reader never jumps: a
//! position that the topic does not have is an error until it is sought anew, and what a broken batch held is never
//! skipped.
//!
//! Not for: keeping positions (they are in the tables; the group's commits are for lag tools), nor for telling a topic
//! from another of the same name that came after it: offsets can't, fingerprints do ([`crate::Reader::fingerprint_at`]).
//!
//! ```text
//!  Writer ──▶ producer (idempotent, acks=all; made anew after a fatal error) ──▶ topic
//!
//!  Reader ◀── fetcher: partitions and offsets given by hand ◀─────────────────── topic
//!         ◀── membership: which partitions are ours; no records ◀─────────────── group `{group_id}-{name}`
//!         ◀── queries: bounds, offset of a time, the record at an offset ◀────── topic
//! ```
use crate::{AppendError, ReadError};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

mod client;
mod connect;
mod entry;
mod fetcher;
mod membership;
mod places;
mod producer;
mod properties;
mod queries;
mod reader;
mod rights;
mod telemetry;
mod topic;
mod writer;

use producer::Producer;

/// After it has flushed, a closing log waits this long for its clients to end: consumers leave their groups.
const LEAVE_WAIT: Duration = Duration::from_secs(5);
/// A flush ends with the last delivery timeout; this much more for what librdkafka does after it.
const FLUSH_MARGIN: Duration = Duration::from_secs(1);

/// Which topic of which cluster, and how.
#[derive(Clone)]
pub struct Options {
    /// Bootstrap brokers, `HOST:PORT` each.
    pub brokers: Vec<String>,
    /// Topic; made if it is not there.
    pub topic: String,
    /// Partitions that the topic has, or is made with.
    pub partitions: u32,
    /// Replicas that the topic is made with; `None`: the broker's default.
    pub replication_factor: Option<u16>,
    /// `retention.ms` that the topic is made with; a shorter one of an existing topic is a warning.
    pub retention_ms: u64,
    /// Prefix of the consumer group: a reader named `sink` joins group `{group_id}-sink`.
    pub group_id: String,
    /// `group.instance.id` of this process in its groups; empty: it is a new member each time it starts. One that starts again
    /// under the same name has its partitions at once, and no other member notices.
    pub group_instance_id: String,
    /// How long librdkafka tries to deliver a record (`message.timeout.ms`): shorter than anybody waits for it.
    pub delivery_timeout_ms: u64,
    /// librdkafka's own properties, for TLS and SASL. Those that would break a promise are refused.
    pub properties: BTreeMap<String, String>,
}

impl fmt::Debug for Options {
    /// Properties by their names alone: their values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .field("replication_factor", &self.replication_factor)
            .field("retention_ms", &self.retention_ms)
            .field("group_id", &self.group_id)
            .field("group_instance_id", &self.group_instance_id)
            .field("delivery_timeout_ms", &self.delivery_timeout_ms)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

/// Why there is no log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// No broker answers (yet): try again.
    #[error("Kafka does not answer: {0}")]
    Unavailable(String),
    /// A setting, here or of the topic, breaks a promise, or access is denied: says which and what to do.
    #[error("{0}")]
    Refused(String),
}

/// What of the options can't work, in words; asks no broker.
pub fn check(options: &Options) -> Result<(), String> {
    properties::check(options)
}

/// Kafka's rule for the names of topics.
pub fn check_topic(name: &str) -> Result<(), String> {
    topic::check_name(name)
}

/// Connects, makes the topic if it is not there, and checks its settings.
pub async fn open(options: Options) -> Result<Arc<dyn crate::Log>, OpenError> {
    Ok(start(options, connect::Absent::Make).await?)
}

/// The same for commands that only look: a topic that is not there is refused, not made.
pub async fn open_existing(options: Options) -> Result<Arc<dyn crate::Log>, OpenError> {
    Ok(start(options, connect::Absent::Refuse).await?)
}

async fn start(options: Options, absent: connect::Absent) -> Result<Arc<Log>, OpenError> {
    telemetry::describe();
    let options = Arc::new(options);
    let cluster = connect::connect(options.clone(), absent).await?;
    let closing = client::Closing::default();
    let producer = Producer::new(options.clone(), &closing);
    let shared = Shared { cluster, producer, closed: watch::Sender::new(false), closing, options };
    Ok(Arc::new(Log { shared: Arc::new(shared) }))
}

/// What writers and readers of one log share.
struct Shared {
    options: Arc<Options>,
    cluster: String,
    producer: Producer,
    closed: watch::Sender<bool>,
    /// Clients that are ending: consumers leave their groups.
    closing: client::Closing,
}

struct Log {
    shared: Arc<Shared>,
}

#[async_trait]
impl crate::Log for Log {
    fn topic(&self) -> &str {
        &self.shared.options.topic
    }

    fn cluster(&self) -> &str {
        &self.shared.cluster
    }

    fn is_gapless(&self) -> bool {
        false
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn writer(&self) -> Arc<dyn crate::Writer> {
        Arc::new(writer::Writer::new(self.shared.clone()))
    }

    async fn reader(&self, name: Option<&str>) -> Result<Box<dyn crate::Reader>, ReadError> {
        let reader = reader::Reader::new(self.shared.clone(), name)?;
        Ok(Box::new(reader))
    }

    /// The broker's retention drops records, by its own settings.
    async fn retain(&self) -> Result<(), ReadError> {
        Ok(())
    }

    async fn close(&self) -> Result<(), AppendError> {
        self.shared.closed.send_replace(true);
        let limit = Duration::from_millis(self.shared.options.delivery_timeout_ms) + FLUSH_MARGIN;
        let flushed = self.shared.producer.close(limit).await;
        self.shared.closing.wait(LEAVE_WAIT).await;
        flushed
    }
}

/// What unit tests begin with.
#[cfg(test)]
fn options() -> Options {
    Options {
        brokers: vec!["kafka:9092".into()],
        topic: "events".into(),
        partitions: 4,
        replication_factor: None,
        retention_ms: 1_000,
        group_id: "playhead".into(),
        group_instance_id: String::new(),
        delivery_timeout_ms: 1_000,
        properties: BTreeMap::new(),
    }
}
