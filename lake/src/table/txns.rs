//! The `txn`s of a snapshot: read once, all of them, then kept up commit by commit.
//!
//! delta-rs reads one at a time, each from the whole log since its checkpoint. A sink asks for six a partition, and on
//! a store each commit is a request: so all are read in one pass, the checkpoint's column `txn` and the commits after
//! it, newest first to win. A log of another shape (checkpoints in parts, thousands of commits without one) is left to
//! delta-rs.
use super::Table;
use crate::error::{self, Error};
use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{Array as _, RecordBatch};
use arrow_schema::DataType;
use deltalake_core::kernel::Action;
use futures::{StreamExt as _, TryStreamExt as _};
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

/// Commits whose `txn`s are read one by one at a reload; a snapshot further behind reads them anew when asked.
const CATCH_UP_MAX: u64 = 64;
/// Commits since the checkpoint that are read in one pass: their actions are in memory, eight at a time.
const COMMITS_MAX: u64 = 2_000;
/// Commits that are read at the same time.
const COMMITS_AT_ONCE: usize = 8;

/// What is known of a snapshot's `txn`s.
#[derive(Debug, Default)]
pub(super) struct Txns {
    values: HashMap<String, Option<i64>>,
    /// What is not among `values` is not in the table.
    whole: bool,
}

impl Txns {
    pub(super) fn set(&mut self, app: String, value: i64) {
        self.values.insert(app, Some(value));
    }
}

impl Table {
    /// The value of a `txn` in the snapshot.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the log can't be read now.
    pub async fn txn(&self, app: &str) -> Result<Option<i64>, Error> {
        if let Some(known) = self.known(app) {
            return Ok(known);
        }
        if let Some(values) = self.all_txns().await? {
            *self.known_txns() = Txns { values, whole: true };
            return Ok(self.known(app).unwrap_or_default());
        }
        let value = self.state.transaction_version(self.log.as_ref(), app).await;
        let value = value.map_err(|error| error::delta(&self.name, "read a txn", error))?;
        self.known_txns().values.insert(app.to_owned(), value);
        Ok(value)
    }

    /// `Some(None)`: known not to be in the table.
    fn known(&self, app: &str) -> Option<Option<i64>> {
        let txns = self.known_txns();
        txns.values.get(app).copied().or(txns.whole.then_some(None))
    }

    pub(super) fn known_txns(&self) -> MutexGuard<'_, Txns> {
        self.txns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies the `txn`s of the commits after `before`, so that none is read from the whole log again.
    pub(super) async fn catch_up_txns(&self, before: u64, after: u64) -> Result<(), Error> {
        let behind = after - before > CATCH_UP_MAX;
        let unknown = self.known_txns().values.is_empty() && !self.known_txns().whole;
        let moved = if behind || unknown { None } else { self.txns_of_commits(before, after).await? };
        let mut txns = self.known_txns();
        match moved {
            Some(moved) => txns.values.extend(moved),
            None => *txns = Txns::default(),
        }
        Ok(())
    }

    /// The `txn`s that the commits after `before` set; `None` when one of them is gone.
    async fn txns_of_commits(&self, before: u64, last: u64) -> Result<Option<HashMap<String, Option<i64>>>, Error> {
        let commits = (before + 1..=last).map(|version| self.actions(version)).collect::<Vec<_>>();
        let mut commits = futures::stream::iter(commits).buffered(COMMITS_AT_ONCE);
        let mut moved = HashMap::new();
        while let Some(actions) = commits.try_next().await? {
            let Some(actions) = actions else { return Ok(None) };
            for action in actions {
                if let Action::Txn(txn) = action {
                    moved.insert(txn.app_id, Some(txn.version));
                }
            }
        }
        Ok(Some(moved))
    }

    /// All of them; `None` for a log of another shape.
    async fn all_txns(&self) -> Result<Option<HashMap<String, Option<i64>>>, Error> {
        let version = self.version();
        let checkpoint = crate::upkeep::last_checkpoint(self).await?;
        let first = checkpoint.map_or(0, |checkpoint| checkpoint + 1);
        if first > version + 1 || version + 1 - first > COMMITS_MAX {
            return Ok(None);
        }
        let mut values = match checkpoint {
            None => HashMap::new(),
            Some(checkpoint) => match self.txns_of_checkpoint(checkpoint).await? {
                Some(values) => values,
                None => return Ok(None),
            },
        };
        // Version 0 has none before it, and none of ours in it: but another engine's may.
        let since = match checkpoint {
            None => match self.actions(0).await? {
                None => return Ok(None),
                Some(actions) => {
                    values.extend(actions.into_iter().filter_map(|action| match action {
                        Action::Txn(txn) => Some((txn.app_id, Some(txn.version))),
                        _ => None,
                    }));
                    0
                }
            },
            Some(checkpoint) => checkpoint,
        };
        let Some(moved) = self.txns_of_commits(since, version).await? else { return Ok(None) };
        values.extend(moved);
        Ok(Some(values))
    }

    async fn txns_of_checkpoint(&self, version: u64) -> Result<Option<HashMap<String, Option<i64>>>, Error> {
        let path = format!("_delta_log/{version:020}.checkpoint.parquet");
        let Some(bytes) = self.file_bytes(&path).await? else { return Ok(None) };
        let doing = format!("read {path}");
        let failed = |error: &parquet::errors::ParquetError| error::parquet(&self.name, &doing, error);
        let opened = self.open_file_of(&path, bytes).await?;
        let fields = opened.footer.parquet_schema().root_schema().get_fields();
        let Some(column) = fields.iter().position(|field| field.name() == "txn") else {
            return Ok(Some(HashMap::new()));
        };
        let mask = ProjectionMask::roots(opened.footer.parquet_schema(), [column]);
        let rows = ParquetRecordBatchStreamBuilder::new_with_metadata(opened.file.clone(), opened.footer.clone())
            .with_projection(mask)
            .build();
        let mut rows = rows.map_err(|error| failed(&error))?;
        let mut values = HashMap::new();
        while let Some(batch) = rows.try_next().await.map_err(|error| failed(&error))? {
            let Some(()) = take(&batch, &mut values) else {
                return Err(Error::broken(&self.name, format!("{path} has a column txn of another shape")));
            };
        }
        Ok(Some(values))
    }
}

/// The rows of a checkpoint's column `txn {appId, version, lastUpdated}`; `None` when it is shaped in another way.
fn take(batch: &RecordBatch, values: &mut HashMap<String, Option<i64>>) -> Option<()> {
    let txns = batch.column(0).as_struct_opt()?;
    let apps = arrow_cast::cast(txns.column_by_name("appId")?, &DataType::Utf8).ok()?;
    let versions = arrow_cast::cast(txns.column_by_name("version")?, &DataType::Int64).ok()?;
    let (apps, versions) = (apps.as_string::<i32>(), versions.as_primitive::<Int64Type>());
    for row in 0..txns.len() {
        if txns.is_valid(row) && apps.is_valid(row) && versions.is_valid(row) {
            values.insert(apps.value(row).to_owned(), Some(versions.value(row)));
        }
    }
    Some(())
}
