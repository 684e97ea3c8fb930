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
pub use crate::file::{ActiveFile, DataFile};

use crate::durable::DurableFileSystem;
use crate::error::{self, Missing};
use crate::location::{Location, Place};
use arrow_schema::{Schema, SchemaRef};
use deltalake_core::kernel::engine::arrow_conversion::{TryIntoArrow as _, TryIntoKernel as _};
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::kernel::{Action, LogicalFileView, StructType};
use deltalake_core::logstore::{LogStoreRef, commit_uri_from_version, get_actions};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::table::state::DeltaTableState;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use futures::StreamExt as _;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use url::Url;

/// Delta's property that names the columns with min/max statistics.
const STATISTICS_COLUMNS: &str = "delta.dataSkippingStatsColumns";

/// Commits whose `txn`s are read one by one at a reload; a snapshot further behind reads them anew when asked.
const TXN_CATCH_UP_MAX: u64 = 64;

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
    disk: Option<DurableFileSystem>,
    schema: SchemaRef,
    txns: Mutex<HashMap<String, Option<i64>>>,
}

impl Table {
    /// Opens the table, or makes it as `spec` says. An existing one must have the spec's columns (it may have
    /// more) and keeps its own properties. When two make it at once, the loser opens what the winner made.
    ///
    /// # Errors
    /// [`Error::Incompatible`] when the table has other columns or is not one we can write; [`Error::Broken`] when
    /// there are data files but no Delta log.
    pub async fn open_or_create(location: &Location, spec: &Spec) -> Result<Table, Error> {
        let Some(place) = location.place(true).await? else {
            unreachable!("a place that is made is there");
        };
        Table::open_or_create_at(place, spec).await
    }

    /// The same over any store, rooted at the root of `url`: for other stores, and for tests that let one fail.
    pub async fn open_or_create_with_store(store: Arc<dyn ObjectStore>, url: Url, spec: &Spec) -> Result<Table, Error> {
        Table::open_or_create_at(Place { url, store, disk: None }, spec).await
    }

    /// Opens an existing table to read; `None` if there is none.
    pub async fn open(location: &Location) -> Result<Option<Table>, Error> {
        match location.place(false).await? {
            Some(place) => Table::open_at(&place).await,
            None => Ok(None),
        }
    }

    async fn open_or_create_at(place: Place, spec: &Spec) -> Result<Table, Error> {
        if let Some(table) = Table::open_at(&place).await? {
            table.require(&spec.schema, &spec.partition_columns)?;
            return Ok(table);
        }
        let created = create(&place, spec).await;
        match Table::open_at(&place).await? {
            Some(table) => {
                table.require(&spec.schema, &spec.partition_columns)?;
                Ok(table)
            }
            None => match created {
                Err(error) => Err(error),
                Ok(()) => Err(Error::broken(place.url.as_str(), "it was made, but it is not there")),
            },
        }
    }

    async fn open_at(place: &Place) -> Result<Option<Table>, Error> {
        let name = display_name(&place.url);
        if let Some(disk) = &place.disk {
            let recovered = disk.recover().await;
            recovered.map_err(|error| error::store(&name, "sync its log", &error, Missing::Passes))?;
        }
        let delta = handle(place)?;
        let log = delta.log_store();
        let there = log.is_delta_table_location().await.map_err(|error| error::delta(&name, "look for it", error))?;
        if !there {
            return no_table(&name, log.object_store(None).as_ref()).await.map(|()| None);
        }
        let state = DeltaTableState::try_new(log.as_ref(), None).await;
        let state = state.map_err(|error| error::delta(&name, "read its log", error))?;
        Table::new(place, delta, state).map(Some)
    }

    fn new(place: &Place, delta: DeltaTable, state: DeltaTableState) -> Result<Table, Error> {
        let name = display_name(&place.url);
        let label = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        let log = delta.log_store();
        let schema = arrow_schema(&name, &state)?;
        let partition_columns = state.metadata().partition_columns().to_vec();
        let statistics_columns = statistics_columns(&state);
        let (store, disk, txns) = (log.object_store(None), place.disk.clone(), Mutex::default());
        let table =
            Table { name, label, delta, state, log, store, partition_columns, statistics_columns, disk, schema, txns };
        table.check_features()?;
        Ok(table)
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

    /// The value of a `txn` in the snapshot.
    pub async fn txn(&self, app: &str) -> Result<Option<i64>, Error> {
        if let Some(known) = self.known_txns().get(app) {
            return Ok(*known);
        }
        let value = self.state.transaction_version(self.log.as_ref(), app).await;
        let value = value.map_err(|error| error::delta(&self.name, "read a txn", error))?;
        self.known_txns().insert(app.to_owned(), value);
        Ok(value)
    }

    /// The newest snapshot.
    ///
    /// # Errors
    /// [`Error::Incompatible`] when another writer made the table anew or dropped a column.
    pub async fn reload(&mut self) -> Result<(), Error> {
        let mut state = self.state.clone();
        let updated = state.update(self.log.as_ref(), None).await;
        updated.map_err(|error| error::delta(&self.name, "read its log", error))?;
        let (before, after) = (self.version(), state.version());
        if after < before {
            return Err(Error::broken(&self.name, format!("its log went back from version {before} to {after}")));
        }
        if state.metadata().id() != self.state.metadata().id() {
            return Err(Error::incompatible(&self.name, "it was deleted and made anew; restart to use the new one"));
        }
        if after > before {
            self.sync_log().await?;
            self.catch_up_txns(before, after).await?;
            let schema = arrow_schema(&self.name, &state)?;
            let old = std::mem::replace(&mut self.schema, schema);
            self.state = state;
            self.check_features()?;
            self.require(&old, &self.partition_columns)?;
            self.statistics_columns = statistics_columns(&self.state);
        } else {
            self.state = state;
            self.require_log().await?;
        }
        Ok(())
    }

    /// A log without news may be a log that is gone: the kernel doesn't tell the two apart.
    async fn require_log(&self) -> Result<(), Error> {
        let newest = commit_uri_from_version(Some(self.version()));
        match self.store.head(&newest).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::NotFound { .. }) => {
                // Another writer's cleanup may leave a checkpoint alone.
                let opened = DeltaTableState::try_new(self.log.as_ref(), None).await;
                opened.map(drop).map_err(|error| {
                    let reason = format!("commit {} is gone from its log: {error}; restore _delta_log", self.version());
                    Error::broken(&self.name, reason)
                })
            }
            Err(error) => Err(error::store(&self.name, "look at its log", &error, Missing::Passes)),
        }
    }

    /// All active files.
    ///
    /// # Errors
    /// [`Error::Incompatible`] for files with deletion vectors: their rows are not all there.
    pub async fn files(&self) -> Result<Vec<ActiveFile>, Error> {
        self.views().map(|view| self.active(&view)).collect()
    }

    /// Size of a file in the store, bytes; `None` if it isn't there.
    pub async fn file_bytes(&self, path: &str) -> Result<Option<u64>, Error> {
        match self.store.head(&self.store_path(path)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error::store(&self.name, "look for a file", &error, Missing::Passes)),
        }
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
            known.insert(txn.app.clone(), Some(txn.new));
        }
    }

    /// The actions of one commit; `None` when log cleanup deleted it.
    pub(crate) async fn actions(&self, version: u64) -> Result<Option<Vec<Action>>, Error> {
        let entry = self.log.read_commit_entry(version).await;
        let Some(bytes) = entry.map_err(|error| error::delta(&self.name, "read a commit", error))? else {
            return Ok(None);
        };
        let actions = get_actions(version, &bytes);
        actions.map(Some).map_err(|error| error::delta(&self.name, "read a commit", error))
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

    fn known_txns(&self) -> MutexGuard<'_, HashMap<String, Option<i64>>> {
        self.txns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies the `txn`s of the commits after `before`, so that none is read from the whole log again.
    async fn catch_up_txns(&self, before: u64, after: u64) -> Result<(), Error> {
        let mut moved = HashMap::new();
        let known = after - before <= TXN_CATCH_UP_MAX && !self.known_txns().is_empty();
        for version in (before + 1..=after).filter(|_| known) {
            let Some(actions) = self.actions(version).await? else {
                self.known_txns().clear();
                return Ok(());
            };
            for action in actions {
                if let Action::Txn(txn) = action {
                    moved.insert(txn.app_id, Some(txn.version));
                }
            }
        }
        let mut txns = self.known_txns();
        if known {
            txns.extend(moved)
        } else {
            txns.clear()
        }
        Ok(())
    }

    /// What another writer committed is visible before its folder is synced: nothing builds on it until it is.
    async fn sync_log(&self) -> Result<(), Error> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let folder: PathBuf = disk.base().join("_delta_log");
        let synced = disk.sync_folder(folder).await;
        synced.map_err(|error| error::store(&self.name, "sync its log", &error, Missing::Passes))
    }
}

fn display_name(url: &Url) -> String {
    match url.to_file_path() {
        Ok(path) if url.scheme() == "file" => path.display().to_string().trim_end_matches('/').to_owned(),
        _ => url.to_string(),
    }
}

fn handle(place: &Place) -> Result<DeltaTable, Error> {
    let name = display_name(&place.url);
    let builder = DeltaTableBuilder::from_url(place.url.clone());
    let built =
        builder.and_then(|builder| builder.with_storage_backend(place.store.clone(), place.url.clone()).build());
    built.map_err(|error| error::delta(&name, "use its location", error))
}

/// A place without a Delta log may be made into a table only if nothing says that it was one.
async fn no_table(name: &str, store: &dyn ObjectStore) -> Result<(), Error> {
    let mut files = store.list(None);
    while let Some(file) = files.next().await {
        let file = match file {
            Err(object_store::Error::NotFound { .. }) => return Ok(()),
            listed => listed.map_err(|error| error::store(name, "list it", &error, Missing::Passes))?,
        };
        if file.location.as_ref().ends_with(".parquet") {
            let reason = format!(
                "{} is there, but no commit in _delta_log: the log was lost; restore it, or move the folder away to \
                 begin anew",
                file.location
            );
            return Err(Error::broken(name, reason));
        }
    }
    Ok(())
}

async fn create(place: &Place, spec: &Spec) -> Result<(), Error> {
    let name = display_name(&place.url);
    let schema: StructType = (&*spec.schema)
        .try_into_kernel()
        .map_err(|error| Error::incompatible(&name, format!("its schema is not one of Delta's: {error}")))?;
    let mut properties = spec.properties.clone();
    properties.insert(STATISTICS_COLUMNS.to_owned(), spec.statistics_columns.join(","));
    let commit = CommitProperties::default()
        .with_max_retries(0)
        .with_create_checkpoint(false)
        .with_cleanup_expired_logs(Some(false));
    let created = CreateBuilder::new()
        .with_log_store(handle(place)?.log_store())
        .with_columns(schema.fields().cloned())
        .with_partition_columns(spec.partition_columns.clone())
        .with_configuration(properties.into_iter().map(|(key, value)| (key, Some(value))))
        .with_raise_if_key_not_exists(false)
        .with_commit_properties(commit)
        .await;
    created.map(|_| ()).map_err(|error| error::delta(&name, "make it", error))
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
