//! One Delta table: its snapshot, and the commit that moves it by compare-and-swap.
use crate::location::Location;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use std::collections::BTreeMap;

/// What a table is when it is made.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Arrow schema of the table, partition columns included, no dictionaries.
    pub schema: SchemaRef,
    /// Partition columns, e.g. `event_date`.
    pub partition_columns: Vec<String>,
    /// Table properties: Delta's own, and ours (`playhead.partitions`, `playhead.dedup.rows`, ...).
    pub properties: BTreeMap<String, String>,
    /// Columns with min/max statistics in the Add actions, e.g. event_time, _partition, _offset, content_id.
    pub statistics_columns: Vec<String>,
}

/// Why a table operation failed, by what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Passing trouble of the store: try again later; nothing was committed.
    #[error("lake store is unavailable: {0}")]
    Unavailable(String),
    /// The table isn't ours to write or read: another schema, a newer protocol, bad properties. Stop in words.
    #[error("table {table} is incompatible: {reason}")]
    Incompatible { table: String, reason: String },
    /// A broken invariant (a failed fsync, a file that is missing). Stop loudly.
    #[error("table {table} is broken: {reason}")]
    Broken { table: String, reason: String },
}

/// A data file written and synced, not yet part of the table.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Path relative to the table, e.g. `event_date=2026-11-22/part-<uuid>.zstd.parquet`.
    pub path: String,
    /// Partition values, as Delta writes them.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Delta's stats JSON (numRecords, minValues, maxValues, nullCount).
    pub stats: String,
}

/// A file that the snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveFile {
    /// Relative path.
    pub path: String,
    /// Partition values.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Size as the Delta log says.
    pub bytes: u64,
    /// numRecords of its stats.
    pub rows: Option<u64>,
    /// Milliseconds.
    pub modification_time: i64,
}

/// A `txn` action and the value it must replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    /// appId.
    pub app: String,
    /// The value in the snapshot that the caller decided from.
    pub expected: Option<i64>,
    /// The value to set.
    pub new: i64,
}

/// One commit: all of it, or nothing.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Files to add.
    pub adds: Vec<DataFile>,
    /// Files to remove (merging small files); the commit only goes while each is still active.
    pub removes: Vec<ActiveFile>,
    /// Fences: checked against each snapshot that the commit is built on.
    pub txns: Vec<Txn>,
    /// False for a rewrite of the same rows.
    pub data_change: bool,
    /// Extra commitInfo, e.g. rows read, duplicates.
    pub info: BTreeMap<String, serde_json::Value>,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the table (perhaps since an earlier try whose reply was lost).
    Committed { version: u64 },
    /// Another writer moved a fence or removed a file: throw these files away and read again from the table.
    Superseded,
}

/// A table and the snapshot last seen of it.
#[derive(Debug)]
pub struct Table {}

impl Table {
    /// Opens the table, or makes it as `spec` says. An existing one must have the spec's columns (it may have
    /// more) and keeps its own properties.
    pub async fn open_or_create(location: &Location, spec: &Spec) -> Result<Table, Error> {
        let _ = (location, spec);
        unimplemented!()
    }
    /// Opens an existing table to read; `None` if there is none.
    pub async fn open(location: &Location) -> Result<Option<Table>, Error> {
        let _ = location;
        unimplemented!()
    }
    /// Version of the snapshot.
    pub fn version(&self) -> u64 {
        unimplemented!()
    }
    /// The table's schema in Arrow.
    pub fn schema(&self) -> SchemaRef {
        unimplemented!()
    }
    /// A table property.
    pub fn property(&self, name: &str) -> Option<String> {
        let _ = name;
        unimplemented!()
    }
    /// The value of a `txn` in the snapshot.
    pub async fn txn(&self, app: &str) -> Result<Option<i64>, Error> {
        let _ = app;
        unimplemented!()
    }
    /// The newest snapshot.
    pub async fn reload(&mut self) -> Result<(), Error> {
        unimplemented!()
    }
    /// All active files.
    pub async fn files(&self) -> Result<Vec<ActiveFile>, Error> {
        unimplemented!()
    }
    /// Writes one durable Parquet file (zstd-1). Each group of `row_groups` becomes row groups of its own: the sink
    /// passes one group for each log partition, or session_id's dictionary overflows. Batches have the table's
    /// schema less the partition columns; dictionary arrays are accepted for string columns.
    pub async fn write_file(
        &self,
        partition_values: BTreeMap<String, Option<String>>,
        row_groups: Vec<Vec<RecordBatch>>,
    ) -> Result<DataFile, Error> {
        let _ = (partition_values, row_groups);
        unimplemented!()
    }
    /// Reads columns of a file, in batches, from this table's store.
    pub async fn read_file(
        &self,
        path: &str,
        columns: Option<&[&str]>,
    ) -> Result<futures::stream::BoxStream<'static, Result<RecordBatch, Error>>, Error> {
        let _ = (path, columns);
        unimplemented!()
    }
    /// Size of a file in the store; `None` if it isn't there.
    pub async fn file_bytes(&self, path: &str) -> Result<Option<u64>, Error> {
        let _ = path;
        unimplemented!()
    }
    /// Deletes files that were written but never committed; failures are only logged (vacuum finds them).
    pub async fn discard(&self, files: &[DataFile]) {
        let _ = files;
    }
    /// Commits by strict compare-and-swap on the snapshot (`max_retries(0)`); the one place of the protocol:
    /// on any error reload and look at every fence: all new: committed (a lost reply); all expected and all
    /// removes still active: the same again; anything else: superseded.
    pub async fn commit(&mut self, commit: &Commit) -> Result<Outcome, Error> {
        let _ = commit;
        unimplemented!()
    }
}
