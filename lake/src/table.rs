//! One Delta table: its snapshot, what the snapshot says, and how to get a newer one.
//!
//! ```text
//!  open ─▶ snapshot V ─┬─▶ version, schema, property, txn, files   (all of the same version)
//!           ▲          ├─▶ write_file, read_file                   (write.rs, read.rs)
//!           └─ reload ─┴─▶ commit ─▶ snapshot V+1                  (commit.rs)
//! ```
//!
//! A snapshot changes only by [`Table::reload`] and [`Table::commit`]: what was decided from it stays true of it.
pub use crate::commit::{Commit, Outcome, Txn};
pub use crate::error::Error;
pub use crate::file::{ActiveFile, DataFile, Layout};
pub use crate::stats::FileStatistics;

mod evolve;
mod log;
mod open;
mod txns;

use crate::durable::DurableFileSystem;
use crate::error::{self, Missing};
use crate::stats::times_of;
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use deltalake_core::DeltaTable;
use deltalake_core::kernel::LogicalFileView;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoArrow as _;
use deltalake_core::logstore::LogStoreRef;
use deltalake_core::table::state::DeltaTableState;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Delta's property that names the columns with min/max statistics.
const STATISTICS_COLUMNS: &str = "delta.dataSkippingStatsColumns";

/// What a table is when it is made.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Arrow schema of the table, partition columns included, no dictionaries.
    pub schema: SchemaRef,
    /// Partition columns, e.g. `event_date`.
    pub partition_columns: Vec<String>,
    /// Table properties: Delta's own, and ours (`playhead.partitions`, `playhead.dedup.rows`, ...).
    pub properties: BTreeMap<String, String>,
    /// Columns with min/max statistics in the Add actions, e.g. event_time, _partition, _offset, content_id. Kept
    /// with the table, as Delta's `delta.dataSkippingStatsColumns`.
    pub statistics_columns: Vec<String>,
}

/// A table and the snapshot last seen of it.
#[derive(Debug)]
pub struct Table {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) delta: DeltaTable,
    pub(crate) state: DeltaTableState,
    pub(crate) log: LogStoreRef,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) partition_columns: Vec<String>,
    pub(crate) statistics_columns: Vec<String>,
    pub(crate) disk: Option<DurableFileSystem>,
    schema: SchemaRef,
    txns: Mutex<txns::Txns>,
}

impl Table {
    /// Where it is, as messages say it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells it from every other table, one that was made anew at the same place too.
    pub fn id(&self) -> String {
        self.state.metadata().id().to_owned()
    }

    /// Version of the snapshot.
    pub fn version(&self) -> u64 {
        self.state.version()
    }

    /// The table's schema in Arrow.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Columns that its data files hold: the schema less the partition columns.
    pub fn data_schema(&self) -> SchemaRef {
        let held = |name: &str| !self.partition_columns.iter().any(|column| column == name);
        let fields: Vec<_> = self.schema.fields().iter().filter(|field| held(field.name())).cloned().collect();
        Arc::new(Schema::new(fields))
    }

    /// A table property.
    pub fn property(&self, name: &str) -> Option<String> {
        self.state.metadata().configuration().get(name).cloned()
    }

    /// All active files.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for files with deletion vectors: their rows are not all there.
    pub async fn files(&self) -> Result<Vec<ActiveFile>, Error> {
        self.views().map(|view| self.active(&view)).collect()
    }

    /// All active files, each with what the log says of its columns.
    ///
    /// # Errors
    /// As [`Table::files`].
    pub async fn files_with_statistics(&self) -> Result<Vec<(ActiveFile, FileStatistics)>, Error> {
        self.views().map(|view| Ok((self.active(&view)?, FileStatistics::of(view.stats().as_deref())))).collect()
    }

    /// Active files that may have rows whose `column`, a time, is in one of these ranges, µs: all of which the
    /// statistics do not say otherwise.
    ///
    /// # Errors
    /// As [`Table::files`].
    pub async fn files_within(&self, column: &str, ranges: &[Range<i64>]) -> Result<Vec<ActiveFile>, Error> {
        let within = |view: &LogicalFileView| {
            let (min, max) = times_of(view.stats().as_deref(), column);
            ranges.iter().any(|range| min < range.end && max >= range.start)
        };
        self.views().filter(within).map(|view| self.active(&view)).collect()
    }

    /// Of each active file the smallest and the largest value that `column`, a time, may have in it, µs.
    pub fn times<'a>(&'a self, column: &'a str) -> impl Iterator<Item = (i64, i64)> + 'a {
        self.views().map(|view| times_of(view.stats().as_deref(), column))
    }

    /// The smallest value of `column`, a time, that a file may have, µs; `None`: there is no file.
    ///
    /// # Errors
    /// As [`Table::files`].
    pub async fn first_time(&self, column: &str) -> Result<Option<i64>, Error> {
        Ok(self.views().map(|view| times_of(view.stats().as_deref(), column).0).min())
    }

    /// The store that its files are read from, by their paths: for a reader of Parquet other than [`Table::read_file`].
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// Columns by which its rows are in folders; they are not in its files.
    pub fn partition_columns(&self) -> &[String] {
        &self.partition_columns
    }

    /// Size of a file in the store, bytes; `None` if it isn't there.
    pub async fn file_bytes(&self, path: &str) -> Result<Option<u64>, Error> {
        match self.store.head(&self.store_path(path)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error::store(&self.name, "look for a file", &error, Missing::Passes)),
        }
    }

    /// The bytes of a file, as the store has them.
    ///
    /// # Errors
    /// [`Error::Broken`]: it is not there.
    pub async fn file_chunks(&self, path: &str) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let got = self.store.get(&self.store_path(path)?).await;
        let got = got.map_err(|error| error::store(&self.name, "read a file", &error, Missing::Breaks))?;
        let name = self.name.clone();
        let failed = move |error| error::store(&name, "read a file", &error, Missing::Breaks);
        Ok(got.into_stream().map_err(failed).boxed())
    }

    /// Deletes files that were written but never committed; failures are only logged. Looks at the newest snapshot
    /// first and keeps whatever is active there; when it can't look, it deletes nothing.
    pub async fn discard(&self, files: &[DataFile]) {
        let mut newest = self.state.clone();
        if let Err(error) = newest.update(self.log.as_ref(), None).await {
            tracing::warn!(table = self.name, %error, files = files.len(), "discarded files stay: no snapshot");
            return;
        }
        let active: std::collections::HashSet<String> =
            newest.log_data().iter().map(|view| view.path().into_owned()).collect();
        for file in files {
            if active.contains(&file.path) {
                tracing::error!(table = self.name, path = file.path, "not discarded: the file is part of the table");
                continue;
            }
            let Ok(path) = self.store_path(&file.path) else { continue };
            if let Err(error) = self.store.delete(&path).await {
                tracing::warn!(table = self.name, path = file.path, %error, "a discarded file stays");
            }
        }
    }

    /// Views of the snapshot's files, in no order that means anything.
    pub(crate) fn views(&self) -> impl Iterator<Item = LogicalFileView> + '_ {
        self.state.log_data().into_iter()
    }

    pub(crate) fn active(&self, view: &LogicalFileView) -> Result<ActiveFile, Error> {
        if view.deletion_vector_descriptor().is_some() {
            let reason =
                format!("file {} has a deletion vector; purge them with the engine that made them", view.path());
            return Err(Error::incompatible(&self.name, reason));
        }
        Ok(ActiveFile::from(view))
    }

    /// A path of the Delta log as a path of the store.
    pub(crate) fn store_path(&self, path: &str) -> Result<StorePath, Error> {
        StorePath::parse(path).map_err(|error| Error::incompatible(&self.name, format!("path {path:?}: {error}")))
    }

    /// Takes over the snapshot that a commit of ours made.
    pub(crate) fn adopt(&mut self, state: DeltaTableState, txns: &[Txn]) {
        self.state = state;
        let mut known = self.known_txns();
        for txn in txns {
            known.set(txn.app.clone(), txn.new);
        }
    }

    /// Checks that the table has `columns`, each with its type, and is partitioned by `partition_columns`.
    pub(crate) fn require(&self, columns: &Schema, partition_columns: &[String]) -> Result<(), Error> {
        for wanted in columns.fields() {
            match self.schema.field_with_name(wanted.name()) {
                Err(_) => {
                    let reason = format!(
                        "column {} is missing: it was made by an older version; add the column ({}, nullable) with \
                         any engine that writes Delta, or use another location",
                        wanted.name(),
                        wanted.data_type()
                    );
                    return Err(Error::incompatible(&self.name, reason));
                }
                Ok(held) if !same_type(held.data_type(), wanted.data_type()) => {
                    let reason = format!(
                        "column {} is {} there and {} here; use another location",
                        wanted.name(),
                        held.data_type(),
                        wanted.data_type()
                    );
                    return Err(Error::incompatible(&self.name, reason));
                }
                Ok(_) => {}
            }
        }
        if self.state.metadata().partition_columns() != partition_columns {
            let held = self.state.metadata().partition_columns();
            let reason = format!("it is partitioned by {held:?}, not by {partition_columns:?}; use another location");
            return Err(Error::incompatible(&self.name, reason));
        }
        Ok(())
    }

    /// What we neither write nor read rightly.
    fn check_features(&self) -> Result<(), Error> {
        let mode = self.property("delta.columnMapping.mode");
        if mode.as_deref().is_some_and(|mode| mode != "none") {
            return Err(Error::incompatible(&self.name, "column mapping is on; use another location"));
        }
        for name in ["delta.appendOnly", "delta.enableDeletionVectors", "delta.enableChangeDataFeed"] {
            if self.property(name).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
                return Err(Error::incompatible(
                    &self.name,
                    format!("{name} is set; unset it or use another location"),
                ));
            }
        }
        if self.property("delta.setTransactionRetentionDuration").is_some() {
            let reason = "delta.setTransactionRetentionDuration is set: the positions of idle partitions would expire, \
                          and their rows would be doubled; unset it";
            return Err(Error::incompatible(&self.name, reason));
        }
        Ok(())
    }
}

fn arrow_schema(name: &str, state: &DeltaTableState) -> Result<SchemaRef, Error> {
    let schema: Result<Schema, _> = state.schema().as_ref().try_into_arrow();
    schema.map(Arc::new).map_err(|error| Error::incompatible(name, format!("its schema has no Arrow form: {error}")))
}

fn statistics_columns(state: &DeltaTableState) -> Vec<String> {
    let columns = state.metadata().configuration().get(STATISTICS_COLUMNS);
    let names = columns.map(|names| names.split(',').map(|name| name.trim().to_owned()));
    names.into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

/// Types that are the same in a Delta table: names inside a map and nullability of its values may differ.
fn same_type(held: &arrow_schema::DataType, wanted: &arrow_schema::DataType) -> bool {
    use arrow_schema::DataType::{Map, Struct};
    match (held, wanted) {
        (Map(held, _), Map(wanted, _)) => match (held.data_type(), wanted.data_type()) {
            (Struct(held), Struct(wanted)) => {
                let pairs = held.iter().zip(wanted);
                held.len() == wanted.len() && pairs.into_iter().all(|(h, w)| same_type(h.data_type(), w.data_type()))
            }
            _ => false,
        },
        _ => held == wanted,
    }
}
