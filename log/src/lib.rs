//! A durable, partitioned log: one trait, three kinds (kafka, embedded, memory).
//!
//! Promise: what [`Writer::append`] answered with `Ok` is durable, as [`Writer::ack`] says where; a [`Reader`] sees
//! nothing that is not; offsets of a partition grow by one and are never given twice; nothing is dropped that a named
//! reader has not released. The same suite of tests runs over every kind.
//!
//! Not for: finding records by anything but offset and time, nor for knowing what is in them.
//!
//! ```text
//!  ingest ─▶ Writer ─▶ partition 0: 0 1 2 3 ... ─▶ Reader (sink) ──▶ releases ─┐
//!                      partition 1: 0 1 2 ...   ─▶ Reader (tail)               ▼
//!                                   └──────────── retention drops ◀────────────┘
//! ```
use async_trait::async_trait;
use event::clock::Micros;
use event::limits::RECORD_BYTES_MAX;
pub use event::record::Record;
use std::ops::Range;
use std::sync::Arc;

mod cursor;
pub mod embedded;
pub mod kafka;
pub mod memory;
mod retention;

/// What a 2xx of this log means; the receipt's `ack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// Fsynced on this node's disk.
    Disk,
    /// Acknowledged by all in-sync replicas.
    Kafka,
}

/// Why an append was not acknowledged, by what the caller must do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Not written and not going to be: answer 503, the client tries again later.
    #[error("log is full: {0}")]
    Full(String),
    /// Perhaps written, perhaps not (a lost reply, a time-out): the client tries again, dedup makes that harmless.
    #[error("append has an unknown outcome: {0}")]
    Unknown(String),
    /// The record is over the limit: refuse it, trying again won't help.
    #[error("record of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// The record's bytes, payload and headers.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The log has stopped (a failed fsync, a broken invariant): stop the process.
    #[error("log has stopped: {0}")]
    Stopped(String),
}

/// Why a read failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The position is below what the log still has, or above its end: this partition stops until an operator decides.
    #[error("partition {partition}: offset {offset} is outside of the log's {start}..{end}")]
    OutOfRange {
        /// Partition.
        partition: u32,
        /// Where the reader is or wants to be.
        offset: u64,
        /// First offset that the log has.
        start: u64,
        /// Next offset that it will give.
        end: u64,
    },
    /// Passing trouble: try again.
    #[error("log can't be read now: {0}")]
    Unavailable(String),
    /// Bytes on disk that aren't what was written: stop loudly.
    #[error("log is corrupt: {0}")]
    Corrupt(String),
}

/// A record with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Partition.
    pub partition: u32,
    /// Offset, from 0; without gaps where [`Log::is_gapless`].
    pub offset: u64,
    /// When the log took it (its own clock, never decreasing within a partition).
    pub timestamp: Micros,
    /// Headers and payload.
    pub record: Record,
}

/// What a reader comes upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These partitions are this reader's now; it must `seek` each before records of it come.
    Assigned(Vec<u32>),
    /// No longer: throw away what is buffered of them.
    Revoked(Vec<u32>),
    /// The next record of a partition.
    Record(Entry),
    /// Everything durable of this partition was handed out; `end` is the next offset. Given once each time the
    /// end is reached; `next` then waits for more.
    CaughtUp {
        /// Partition.
        partition: u32,
        /// Its next offset.
        end: u64,
    },
}

/// Takes records. Cheap to share; `append` may be called concurrently, order within a partition is the order of
/// the calls' first poll.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Number of partitions, fixed when the log was made.
    fn partitions(&self) -> u32;
    /// What an acknowledgement means here.
    fn ack(&self) -> Ack;
    /// Makes what the first append would wait for. What fails now is said by that append.
    fn warm_up(&self) {}
    /// Appends; durable when it returns `Ok`.
    async fn append(&self, partition: u32, record: Record) -> Result<u64, AppendError>;
}

/// Reads records; never past what is durable.
#[async_trait]
pub trait Reader: Send {
    /// The next thing; cancel-safe; waits while there is nothing.
    async fn next(&mut self) -> Result<Next, ReadError>;
    /// The next record of `partition` handed out will be `offset` (the end offset is allowed).
    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), ReadError>;
    /// First offset still held, and the next one to be written (durable ones only).
    async fn bounds(&mut self, partition: u32) -> Result<Range<u64>, ReadError>;
    /// The first offset whose timestamp is at or after `time`; `None`: all are earlier.
    async fn offset_at(&mut self, partition: u32, time: Micros) -> Result<Option<u64>, ReadError>;
    /// Fingerprint of the record that stands at `offset` now, read afresh from the log; `None`: none does (dropped, not
    /// yet written, or an offset that no record took). Does not move the reader. By it a log that was made anew under
    /// a running reader is noticed: offsets alone can't tell.
    async fn fingerprint_at(&mut self, partition: u32, offset: u64) -> Result<Option<i64>, ReadError>;
    /// This reader needs nothing below `offset` any more; kept across restarts.
    async fn release(&mut self, partition: u32, offset: u64) -> Result<(), ReadError>;
}

/// A log: makes writers and readers. Readers of one name share its releases.
#[async_trait]
pub trait Log: Send + Sync {
    /// The topic's name, e.g. `events`.
    fn topic(&self) -> &str;
    /// Names the log for `txn` ids: `embedded`, or Kafka's cluster id.
    fn cluster(&self) -> &str;
    /// False: some offsets are taken by no record (in Kafka, by the markers of other producers' transactions), so that
    /// a reader may come upon a record above the next offset and has lost nothing. True: an offset that is missing is a
    /// lost record.
    fn is_gapless(&self) -> bool {
        true
    }
    /// Whether readers of one name share the partitions, each having some (Kafka's consumer groups). False: each has all.
    fn is_shared(&self) -> bool {
        false
    }
    /// A writer.
    fn writer(&self) -> Arc<dyn Writer>;
    /// A reader named `name` (`sink`, `processor`: retention waits for these; `None`: a bystander such as tail or audit).
    async fn reader(&self, name: Option<&str>) -> Result<Box<dyn Reader>, ReadError>;
    /// Drops what retention allows; never what a named reader has not released. Called at intervals by the owner.
    async fn retain(&self) -> Result<(), ReadError>;
    /// Ends the log: waits for appends under way, syncs, gives the directory free.
    async fn close(&self) -> Result<(), AppendError>;
}

/// Refuses a record over the limit, whatever the log.
pub(crate) fn within_limit(record: &Record) -> Result<(), AppendError> {
    let (bytes, max) = (record.bytes(), RECORD_BYTES_MAX);
    if bytes > max { Err(AppendError::TooLarge { bytes, max }) } else { Ok(()) }
}

pub(crate) fn over_budget(used: u64, max: u64) -> AppendError {
    AppendError::Full(format!(
        "{used} of {max} bytes hold records that a reader has not released: let the readers catch up, or raise the disk budget"
    ))
}

pub(crate) fn no_such_partition(partition: u32, partitions: u32) -> AppendError {
    AppendError::Stopped(format!("partition {partition} was asked for, but there are {partitions}"))
}

pub(crate) fn unknown_partition(partition: u32) -> ReadError {
    ReadError::OutOfRange { partition, offset: 0, start: 0, end: 0 }
}

pub(crate) fn nameless_release() -> ReadError {
    ReadError::Unavailable("a reader without a name has nothing to release".into())
}
