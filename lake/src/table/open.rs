//! Opening a table, and making it when there is none.
//!
//! What a store refuses at an opening (no access, no such bucket) is refused here in words; once a table is open the
//! same is passing trouble: it says what to do, and goes on by itself when that was done.
use super::{Spec, Table, arrow_schema, statistics_columns};
use crate::commit::strict;
use crate::error::{self, Error, Missing};
use crate::location::{Location, Place};
use crate::store::{log_store, require_conditional_puts};
use deltalake_core::DeltaTable;
use deltalake_core::kernel::StructType;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::table::state::DeltaTableState;
use futures::StreamExt as _;
use object_store::ObjectStore;
use object_store::path::Path as StorePath;
use object_store::prefix::PrefixStore;
use std::sync::{Arc, Mutex};
use url::Url;

impl Table {
    /// Opens the table, or makes it as `spec` says. An existing one must have the spec's columns (it may have
    /// more; nullable ones that it lacks are added) and keeps its own properties. When two make it at once, the
    /// loser opens what the winner made.
    ///
    /// # Errors
    /// [`Error::Incompatible`] when the table has other columns or is not one we can write, and when the store ignores
    /// the condition of a put, which commits go by (proven at each call with a small object); [`Error::Refused`];
    /// [`Error::Broken`] when there are data files but no Delta log.
    pub async fn open_or_create(location: &Location, spec: &Spec) -> Result<Table, Error> {
        let Some(place) = location.place(true).await? else {
            unreachable!("a place that is made is there");
        };
        Table::open_or_create_at(place, spec).await
    }

    /// The same over any store, rooted at the root of `url`: for other stores, and for tests that let one fail.
    pub async fn open_or_create_with_store(store: Arc<dyn ObjectStore>, url: Url, spec: &Spec) -> Result<Table, Error> {
        Table::open_or_create_at(Place::on(store, url), spec).await
    }

    /// Opens an existing table to read; `None` if there is none.
    pub async fn open(location: &Location) -> Result<Option<Table>, Error> {
        match location.place(false).await? {
            Some(place) => Table::open_at(&place).await.map_err(|error| error.at_opening(&display_name(&place.url))),
            None => Ok(None),
        }
    }

    async fn open_or_create_at(place: Place, spec: &Spec) -> Result<Table, Error> {
        Table::found_or_made(&place, spec).await.map_err(|error| error.at_opening(&display_name(&place.url)))
    }

    async fn found_or_made(place: &Place, spec: &Spec) -> Result<Table, Error> {
        if place.disk.is_none() {
            let (name, store) = (display_name(&place.url), rooted_at_table(place)?);
            require_conditional_puts(&name, store.as_ref()).await?;
        }
        if let Some(table) = Table::open_at(place).await? {
            return table.fitted_to(spec).await;
        }
        let created = create(place, spec).await;
        match Table::open_at(place).await? {
            Some(table) => table.fitted_to(spec).await,
            None => match created {
                Err(error) => Err(error),
                Ok(()) => Err(Error::broken(&display_name(&place.url), "it was made, but it is not there")),
            },
        }
    }

    /// A table that was there already: with all that `spec` wants of it.
    async fn fitted_to(mut self, spec: &Spec) -> Result<Table, Error> {
        self.add_missing_columns(&spec.schema).await?;
        self.require(&spec.schema, &spec.partition_columns)?;
        Ok(self)
    }

    async fn open_at(place: &Place) -> Result<Option<Table>, Error> {
        let name = display_name(&place.url);
        if let Some(disk) = &place.disk {
            let recovered = disk.recover().await;
            recovered.map_err(|error| error::store(&name, "sync its log", &error, Missing::Passes))?;
        }
        let delta = handle(place)?;
        let log = delta.log_store();
        let store = log.object_store(None);
        if !has_log(&name, store.as_ref()).await? {
            return no_table(&name, store.as_ref()).await.map(|()| None);
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
        // A counter that appears with its first value has not grown to Prometheus.
        for name in
            ["playhead_lake_commits_total", "playhead_lake_commit_conflicts_total", "playhead_lake_merged_files_total"]
        {
            metrics::counter!(name, "table" => table.label.clone()).increment(0);
        }
        Ok(table)
    }
}

fn display_name(url: &Url) -> String {
    match url.to_file_path() {
        Ok(path) if url.scheme() == "file" => path.display().to_string().trim_end_matches('/').to_owned(),
        _ => url.as_str().trim_end_matches('/').to_owned(),
    }
}

/// The store as seen from the table.
fn rooted_at_table(place: &Place) -> Result<Arc<dyn ObjectStore>, Error> {
    let prefix = StorePath::from_url_path(place.url.path());
    let prefix = prefix.map_err(|error| Error::incompatible(&display_name(&place.url), error.to_string()))?;
    Ok(Arc::new(PrefixStore::new(place.store.clone(), prefix)))
}

/// delta-rs' handle of the table.
fn handle(place: &Place) -> Result<DeltaTable, Error> {
    let mut root = place.url.clone();
    root.set_path(&format!("{}/", place.url.path().trim_end_matches('/')));
    Ok(DeltaTable::new(log_store(rooted_at_table(place)?, place.store.clone(), &root)))
}

/// Whether a commit or a checkpoint is there. A listing that the store answers with "not found" is no empty one: the
/// bucket is missing.
async fn has_log(name: &str, store: &dyn ObjectStore) -> Result<bool, Error> {
    let mut files = store.list(Some(&StorePath::from("_delta_log")));
    while let Some(file) = files.next().await {
        let file = file.map_err(|error| error::store(name, "look for its log", &error, Missing::Passes))?;
        let held = file.location.filename().is_some_and(|name| {
            let (version, kind) = name.split_once('.').unwrap_or((name, ""));
            let known = kind == "json" || kind.starts_with("checkpoint.");
            version.len() == 20 && version.bytes().all(|b| b.is_ascii_digit()) && known
        });
        if held {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A place without a Delta log may be made into a table only if nothing says that it was one.
async fn no_table(name: &str, store: &dyn ObjectStore) -> Result<(), Error> {
    let mut files = store.list(None);
    while let Some(file) = files.next().await {
        let file = file.map_err(|error| error::store(name, "list it", &error, Missing::Passes))?;
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
    properties.insert(super::STATISTICS_COLUMNS.to_owned(), spec.statistics_columns.join(","));
    let created = CreateBuilder::new()
        .with_log_store(handle(place)?.log_store())
        .with_columns(schema.fields().cloned())
        .with_partition_columns(spec.partition_columns.clone())
        .with_configuration(properties.into_iter().map(|(key, value)| (key, Some(value))))
        .with_raise_if_key_not_exists(false)
        .with_commit_properties(strict())
        .await;
    created.map(|_| ()).map_err(|error| error::delta(&name, "make it", error))
}
