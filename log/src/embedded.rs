//! The log on this machine's disk: fjall, one keyspace a partition, group fsync.
use event::clock::Clock;
use std::path::PathBuf;
use std::sync::Arc;

/// Settings of an embedded log.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory; one process owns it.
    pub dir: PathBuf,
    /// Topic name, for receipts and provenance.
    pub topic: String,
    /// Number of partitions; pinned when the directory is made, another number later is an error.
    pub partitions: u32,
    /// Disk budget over all partitions: when it is full of unread records, appends are refused.
    pub disk_bytes_max: u64,
    /// Records are kept at least until read, at most this long after (milliseconds).
    pub retention_ms: u64,
    /// Names of the readers that retention waits for, e.g. `["sink"]`.
    pub readers: Vec<String>,
}

/// Why a log directory can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process owns it.
    #[error("{dir} is in use by another process (pid {pid}): stop it, or use another --data directory")]
    Owned { dir: String, pid: String },
    /// Made with other settings or by a newer version.
    #[error("{0}")]
    Incompatible(String),
    /// Disk trouble.
    #[error("log directory {dir} can't be opened: {reason}")]
    Io { dir: String, reason: String },
}

/// Opens the log, or makes it.
pub async fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Arc<dyn crate::Log>, OpenError> {
    let _ = (options, clock);
    unimplemented!()
}
