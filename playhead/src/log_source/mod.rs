//! The log for commands that only look: opened here, or through the admin address of the node that owns it.
//!
//! ```text
//! embedded, nobody runs   opened here: this process owns it for now, and nothing comes to it meanwhile
//! embedded, a node runs   through the node's admin server (node.json says where)
//! Kafka                   opened here, as a bystander: no group, no position of anybody is moved
//! ```
use crate::data_dir::RunningNode;
use crate::storage::{LogPlace, OpenError};
use log::{Entry, Log, ReadError};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

mod following;
mod reading;
mod wire;

pub use reading::{bounds, read};
pub use wire::{Batch, OutOfRange};

/// The embedded log's name in the tables' `txn`s, where another process has it open.
const EMBEDDED_CLUSTER: &str = "embedded";

/// How long a log that nobody owns is waited for, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// Why the log can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log itself.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its place.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Another process owns it, and does not answer.
    #[error("the log is in use by another process, and its admin address {address} does not answer: {reason}")]
    Admin {
        /// Where it was asked.
        address: String,
        /// What came back.
        reason: String,
    },
    /// Another process owns it, and answered something else.
    #[error("the log is in use by another process, and its admin address {address} answered {words}")]
    Answered {
        /// Where it was asked.
        address: String,
        /// Status and body.
        words: String,
    },
    /// Another process owns it and did not say where it listens.
    #[error(
        "the log is in use by process {pid}, which has not announced its admin address (a node that still starts, or \
         another command?)"
    )]
    Unannounced {
        /// The owner.
        pid: String,
    },
}

/// First offset held and next one to be written, for each partition.
pub type Bounds = Vec<Range<u64>>;

/// The log, wherever it can be had.
pub struct LogSource {
    way: Way,
    cluster: String,
    topic: String,
    gapless: bool,
}

enum Way {
    /// Open in this process.
    Open {
        log: Arc<dyn Log>,
        /// Nobody else can have it open.
        owned: bool,
        /// Consecutive reads of a partition share a reader.
        kept: Mutex<Option<reading::Cursor>>,
    },
    /// Through the node that owns it.
    Admin { client: Box<wire::RemoteLog>, node: RunningNode },
}

impl LogSource {
    /// Opens the log, or finds the node that owns it.
    pub async fn open(place: &LogPlace) -> Result<LogSource, Error> {
        match (place.open_existing().await, place) {
            (Ok(log), _) => {
                let (cluster, topic, gapless) = (log.cluster().to_owned(), log.topic().to_owned(), log.is_gapless());
                let way = Way::Open { log, owned: place.owned().is_some(), kept: Mutex::default() };
                Ok(LogSource { way, cluster, topic, gapless })
            }
            (
                Err(OpenError::Embedded(log::embedded::OpenError::Owned { pid, .. })),
                LogPlace::Embedded { data, options },
            ) => {
                // What a killed node announced is still there, and somebody else may listen at that address.
                let node = data.announced().filter(|node| node.pid.to_string() == pid);
                let node = node.ok_or(Error::Unannounced { pid })?;
                let way = Way::Admin { client: Box::new(wire::RemoteLog::new(node.admin.clone())), node };
                let (cluster, topic) = (EMBEDDED_CLUSTER.to_owned(), options.topic.clone());
                Ok(LogSource { way, cluster, topic, gapless: true })
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// The log's name in the tables' `txn`s.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// See [`Log::is_gapless`].
    pub fn is_gapless(&self) -> bool {
        self.gapless
    }

    /// Whether records may come, and the lake may move, while one looks: a node runs on it, or it is Kafka, which is
    /// nobody's.
    pub fn is_live(&self) -> bool {
        !matches!(self.way, Way::Open { owned: true, .. })
    }

    /// The node that owns the log, if one does.
    pub fn owner(&self) -> Option<&RunningNode> {
        match &self.way {
            Way::Admin { node, .. } => Some(node),
            Way::Open { .. } => None,
        }
    }

    /// What makes the node that owns the log unready, by role; `None`: there is no such node.
    pub async fn unready(&self) -> Result<Option<BTreeMap<String, String>>, Error> {
        match &self.way {
            Way::Open { .. } => Ok(None),
            Way::Admin { client, .. } => client.unready().await.map(Some),
        }
    }

    /// Bounds of all partitions.
    pub async fn bounds(&self) -> Result<Bounds, Error> {
        match &self.way {
            Way::Open { log, .. } => Ok(self.patiently(async || bounds(log.as_ref()).await).await?),
            Way::Admin { client, .. } => client.bounds().await,
        }
    }

    /// Records from `offset` on; empty at the end.
    pub async fn read(&self, partition: u32, offset: u64) -> Result<Vec<Entry>, Error> {
        match &self.way {
            Way::Open { log, kept, .. } => {
                let mut kept = kept.lock().await;
                let read = async || reading::read_on(log.as_ref(), &mut kept, partition, offset).await;
                Ok(self.patiently(read).await?)
            }
            Way::Admin { client, .. } => client.read(partition, offset).await,
        }
    }

    /// A broker that starts again, or gives a partition to another one, is waited for. What this process owns is not.
    async fn patiently<T>(&self, mut ask: impl AsyncFnMut() -> Result<T, ReadError>) -> Result<T, ReadError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask().await {
                Err(ReadError::Unavailable(_)) if self.is_live() && Instant::now() < deadline => sleep(ASK_AGAIN).await,
                answered => return answered,
            }
        }
    }

    /// Gives the log free, where it was opened here.
    pub async fn close(self) {
        if let Way::Open { log, kept, .. } = self.way {
            drop(kept);
            if let Err(error) = log.close().await {
                tracing::warn!(%error, "log could not be closed");
            }
        }
    }
}
