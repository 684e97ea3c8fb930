//! The log in Apache Kafka, by librdkafka.
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which topic of which cluster, and how.
#[derive(Debug, Clone)]
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
    /// How long librdkafka tries to deliver a record (`message.timeout.ms`): shorter than anybody waits for it.
    pub delivery_timeout_ms: u64,
    /// librdkafka's own properties, for TLS and SASL. Those that would break a promise are refused.
    pub properties: BTreeMap<String, String>,
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
pub fn check(_options: &Options) -> Result<(), String> {
    Ok(())
}

/// Connects, makes the topic if it is not there, and checks its settings.
pub async fn open(_options: Options) -> Result<Arc<dyn crate::Log>, OpenError> {
    Err(OpenError::Unavailable("being built".into()))
}

/// The same for commands that only look: a topic that is not there is refused, not made.
pub async fn open_existing(options: Options) -> Result<Arc<dyn crate::Log>, OpenError> {
    open(options).await
}
