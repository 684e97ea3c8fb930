//! Opening a table, and making it when there is none.
use super::{Spec, Table, arrow_schema, statistics_columns};
use crate::error::{self, Error, Missing};
use crate::location::{Location, Place};
use deltalake_core::kernel::StructType;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::table::state::DeltaTableState;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use futures::StreamExt as _;
use object_store::ObjectStore;
use std::sync::{Arc, Mutex};
use url::Url;

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
    properties.insert(super::STATISTICS_COLUMNS.to_owned(), spec.statistics_columns.join(","));
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
