//! Data files: written but not yet part of the table, and active.
use deltalake_core::kernel::{Add, LogicalFileView};
use std::collections::BTreeMap;

/// How the rows of a data file lie, which its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// As they came: a row group for each partition of the log, in its order. `part-{uuid}`.
    Log,
    /// As they are asked for: sorted, in smaller row groups, with what prunes within the file. `sorted-{uuid}`. Only
    /// compaction writes it: its rows have no copies among the rows that were there then.
    Sorted,
}

impl Layout {
    /// What the names of its files begin with.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Layout::Log => "part-",
            Layout::Sorted => "sorted-",
        }
    }
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
    /// When the oldest of its rows was written, where they come out of other files, ms; `None`: with the file.
    pub oldest_ms: Option<i64>,
}

impl DataFile {
    /// As it will be in the table, for who reads it before it is; written at `at_ms`.
    pub fn as_active(&self, at_ms: i64) -> ActiveFile {
        ActiveFile {
            path: self.path.clone(),
            partition_values: self.partition_values.clone(),
            bytes: self.bytes,
            rows: Some(self.rows),
            modification_time: self.oldest_ms.unwrap_or(at_ms),
        }
    }

    /// The Add action; `modification_time` as the store says, ms. The log says that of the oldest rows: a file that is merged
    /// again and again would never be old.
    pub(crate) fn add(&self, modification_time: i64, data_change: bool) -> Add {
        Add {
            path: self.path.clone(),
            partition_values: self.partition_values.clone().into_iter().collect(),
            size: i64::try_from(self.bytes).unwrap_or(i64::MAX),
            modification_time: self.oldest_ms.unwrap_or(modification_time),
            data_change,
            stats: Some(self.stats.clone()),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        }
    }
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
    /// When its rows were written, those of them that were first, ms.
    pub modification_time: i64,
}

impl ActiveFile {
    /// How its rows lie. A file that another engine wrote is taken for one whose rows lie as they came.
    pub fn layout(&self) -> Layout {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        if name.starts_with(Layout::Sorted.prefix()) { Layout::Sorted } else { Layout::Log }
    }
}

impl From<&LogicalFileView> for ActiveFile {
    fn from(view: &LogicalFileView) -> ActiveFile {
        ActiveFile {
            path: view.path().into_owned(),
            partition_values: view.partition_values_map().into_iter().collect(),
            bytes: u64::try_from(view.size()).unwrap_or(0),
            rows: view.num_records().map(|rows| rows as u64),
            modification_time: view.modification_time(),
        }
    }
}
