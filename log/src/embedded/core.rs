//! What the handles, readers and the committer of one log share.
use super::OpenError;
use super::directory::Directory;
use super::partition::Partition;
use super::queue::Queue;
use super::room::{self, Room};
use super::store::Store;
use crate::ReadError;
use crate::retention::Rule;
use event::clock::Clock;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// Releases of the named readers, one a partition.
pub(super) type Releases = BTreeMap<String, Vec<u64>>;

pub(super) struct Core {
    pub topic: String,
    /// For messages.
    pub dir: String,
    pub clock: Arc<dyn Clock>,
    pub rule: Rule,
    pub queue: Queue,
    /// Gone when the log is closed. Whoever reads holds the lock, so that closing waits for it.
    pub store: RwLock<Option<Store>>,
    pub releases: Mutex<Releases>,
    /// One retention at a time.
    pub retention: tokio::sync::Mutex<()>,
    /// Durable state, changed by the committer alone.
    partitions: Vec<Mutex<Partition>>,
    changes: watch::Sender<u64>,
    committer: Mutex<Option<JoinHandle<()>>>,
    directory: Mutex<Option<Directory>>,
}

/// What was found on disk.
pub(super) struct Found {
    pub store: Store,
    pub partitions: Vec<Partition>,
    pub releases: Releases,
}

impl Core {
    /// Shares what was found, and starts the committer.
    pub(super) fn start(
        options: &super::Options,
        clock: Arc<dyn Clock>,
        directory: Directory,
        found: Found,
    ) -> Result<Arc<Self>, OpenError> {
        let used_bytes = found.partitions.iter().map(Partition::bytes).sum();
        let disk = File::open(&options.dir).map_err(|error| OpenError::io(&options.dir, error))?;
        let room = Room::new(options.dir.display().to_string(), move || room::space_of(&disk));
        let core = Arc::new(Self {
            topic: options.topic.clone(),
            dir: options.dir.display().to_string(),
            clock,
            rule: Rule { retention_ms: options.retention_ms, bytes_max: options.disk_bytes_max },
            queue: Queue::new(used_bytes, options.disk_bytes_max, room),
            store: RwLock::new(Some(found.store)),
            releases: Mutex::new(found.releases),
            retention: tokio::sync::Mutex::new(()),
            partitions: found.partitions.into_iter().map(Mutex::new).collect(),
            changes: watch::Sender::new(0),
            committer: Mutex::new(None),
            directory: Mutex::new(Some(directory)),
        });
        let of_thread = core.clone();
        let committer = std::thread::Builder::new()
            .name("log-committer".into())
            .spawn(move || super::committer::run(&of_thread))
            .map_err(|error| OpenError::io(&options.dir, error))?;
        *super::lock(&core.committer) = Some(committer);
        for partition in 0..core.count() {
            core.gauge_end(partition, core.bounds(partition).end);
        }
        core.gauge_bytes();
        Ok(core)
    }

    /// Number of partitions.
    pub(super) fn count(&self) -> u32 {
        self.partitions.len() as u32
    }

    /// The partition, which must exist.
    pub(super) fn partition(&self, partition: u32) -> MutexGuard<'_, Partition> {
        super::lock(&self.partitions[partition as usize])
    }

    /// First offset held and durable end.
    pub(super) fn bounds(&self, partition: u32) -> Range<u64> {
        self.partition(partition).bounds()
    }

    /// An error for a partition that does not exist.
    pub(super) fn check(&self, partition: u32) -> Result<(), ReadError> {
        if partition < self.count() { Ok(()) } else { Err(crate::unknown_partition(partition)) }
    }

    /// Wakes who waits for the log to move.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reads the store; blocks.
    pub(super) fn with_store<T>(&self, read: impl FnOnce(&Store) -> Result<T, ReadError>) -> Result<T, ReadError> {
        let store = self.store.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        read(store.as_ref().ok_or_else(closed)?)
    }

    pub(super) fn gauge_end(&self, partition: u32, end: u64) {
        let labels = [("topic", self.topic.clone()), ("partition", partition.to_string())];
        metrics::gauge!("playhead_log_end_offset", &labels).set(end as f64);
    }

    pub(super) fn gauge_bytes(&self) {
        metrics::gauge!("playhead_log_bytes", "topic" => self.topic.clone()).set(self.queue.used_bytes() as f64);
    }

    /// Takes no more appends, waits for those under way, closes the database, and gives the directory free. Blocks.
    /// A second call waits for the first and finds nothing left to do.
    pub(super) fn close(&self) {
        let mut committer = super::lock(&self.committer);
        self.queue.close();
        if let Some(thread) = committer.take()
            && thread.join().is_err()
        {
            tracing::error!(topic = self.topic, "the committer has panicked");
        }
        let store = self.store.write().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        drop(store);
        drop(super::lock(&self.directory).take());
        self.changed();
    }
}

/// The error of who reads a closed log.
pub(super) fn closed() -> ReadError {
    ReadError::Unavailable("log is closed".into())
}
