//! The log on this machine's disk: fjall, one keyspace a partition, group fsync.
//!
//! Promise: an append that is answered with `Ok` has been fsynced; readers see it only then; offsets of a partition
//! have no gaps and are never given twice. One process owns the directory. Retention drops nothing that a named
//! reader has not released: a full log refuses appends. After a write or fsync that failed the log stops.
//!
//! Not for several machines (Kafka is), nor for records over [`event::limits::RECORD_BYTES_MAX`].
//!
//! ```text
//! append ─▶ queue ─▶ committer ─▶ one batch of all partitions, one fsync ─▶ durable end ─▶ readers
//!             ▲                                                         └─▶ answers
//!          budget ◀───────────────── retention ◀── releases ◀────────────────── readers
//! ```
//! A disk that is nearly full refuses appends ([`crate::AppendError::Full`]) until there is space again. One that is
//! filled by others so fast that a write finds no space (ENOSPC) counts as a failed write: fjall's journal is in an
//! unknown state then. Keep `disk_bytes_max` well below what the disk has (see `docs/decisions/0001-embedded-log.md`).
use event::clock::Clock;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

mod committer;
mod core;
mod directory;
mod folders;
mod handle;
mod journal;
mod layout;
mod partition;
mod queue;
mod reader;
mod recovery;
mod retain;
mod room;
mod store;

/// Settings of an embedded log.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory; one process owns it.
    pub dir: PathBuf,
    /// Topic name, for receipts and provenance; pinned when the directory is made.
    pub topic: String,
    /// Number of partitions; pinned when the directory is made, another number later is an error.
    pub partitions: u32,
    /// Disk budget over all partitions: when it is full of unread records, appends are refused.
    pub disk_bytes_max: u64,
    /// Records are kept at least until read, at most this long after (milliseconds).
    pub retention_ms: u64,
    /// Names of the readers that retention waits for, e.g. `["sink"]`. Further names are refused by
    /// [`crate::Log::reader`].
    pub readers: Vec<String>,
}

/// Why a log directory can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process owns it.
    #[error("{dir} is in use by another process (pid {pid}): stop it, or use another --data directory")]
    Owned {
        /// The directory.
        dir: String,
        /// The owner's process id, or `unknown`.
        pid: String,
    },
    /// There is no log, and none was to be made: see [`open_existing`].
    #[error("{dir} holds no log: check the --data directory, or start playhead with it, which makes one")]
    Absent {
        /// The directory.
        dir: String,
    },
    /// Made with other settings or by a program of another version.
    #[error("{0}")]
    Incompatible(String),
    /// Disk trouble, or bytes that aren't what was written.
    #[error("log directory {dir} can't be opened: {reason}")]
    Io {
        /// The directory.
        dir: String,
        /// What happened.
        reason: String,
    },
}

impl OpenError {
    fn io(dir: &Path, reason: impl ToString) -> Self {
        Self::Io { dir: dir.display().to_string(), reason: reason.to_string() }
    }
}

/// Opens the log, or makes it.
///
/// Call [`crate::Log::close`] when done. The last handle to be dropped closes it too, but then blocks the thread that
/// drops it until the last fsync is done: on an async worker thread other tasks wait with it.
pub async fn open(options: Options, clock: Arc<dyn Clock>) -> Result<Arc<dyn crate::Log>, OpenError> {
    start(options, clock, false).await
}

/// Opens the log as [`open`] does, but makes none, not even the directory: for commands that only look.
///
/// # Errors
/// [`OpenError::Absent`] when there is no log, or one whose making was interrupted, which holds nothing.
pub async fn open_existing(options: Options, clock: Arc<dyn Clock>) -> Result<Arc<dyn crate::Log>, OpenError> {
    start(options, clock, true).await
}

async fn start(options: Options, clock: Arc<dyn Clock>, existing: bool) -> Result<Arc<dyn crate::Log>, OpenError> {
    let dir = options.dir.clone();
    let opened = tokio::task::spawn_blocking(move || recovery::open(&options, clock, existing)).await;
    let core = opened.map_err(|error| OpenError::io(&dir, format!("opening panicked: {error}")))??;
    Ok(Arc::new(handle::Embedded::new(core)))
}

/// Locks; what a panic elsewhere left behind is whole, since states are replaced, not edited, while locked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
