//! Which table a name is. Tables are opened when a statement names them, so that each sees the newest snapshot.
use crate::parquet::Snapshot;
use crate::rollup::{merged, newest};
use crate::windows::Length;
use crate::{LAKE_TABLES, Lake, OpenWindows};
use async_trait::async_trait;
use datafusion::catalog::memory::MemoryCatalogProvider;
use datafusion::catalog::{CatalogProvider, MemTable, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::datasource::TableType;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use lake::location::Location;
use lake::table::{Error, Table};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Name of the one catalog.
pub(crate) const NAME: &str = "playhead";
/// The schema of names without one.
pub(crate) const DEFAULT_SCHEMA: &str = "lake";

/// What a schema shows of a rollup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// Not rollups: the lake's other tables.
    Lake,
    Newest,
    Revisions,
    Merged(Length),
    Open,
}

const SCHEMAS: [(&str, Shows); 6] = [
    (DEFAULT_SCHEMA, Shows::Lake),
    ("rollups", Shows::Newest),
    ("revisions", Shows::Revisions),
    ("hours", Shows::Merged(Length::Hour)),
    ("days", Shows::Merged(Length::Day)),
    ("live", Shows::Open),
];

#[derive(Debug)]
struct Inner {
    lake: Lake,
    /// Rollups that are kept, whether they have a table or not.
    kept: Vec<String>,
    open_windows: Arc<dyn OpenWindows>,
    runtime: Arc<RuntimeEnv>,
    /// Rollups that have a table, as of the last look.
    found: Mutex<Vec<String>>,
}

/// All tables.
#[derive(Debug, Clone)]
pub(crate) struct Catalog(Arc<Inner>);

impl Catalog {
    pub(crate) fn new(
        lake: Lake,
        kept: Vec<String>,
        open_windows: Arc<dyn OpenWindows>,
        runtime: Arc<RuntimeEnv>,
    ) -> Self {
        Catalog(Arc::new(Inner { lake, kept, open_windows, runtime, found: Mutex::default() }))
    }

    /// As DataFusion asks for it.
    pub(crate) fn provider(&self) -> Result<Arc<dyn CatalogProvider>> {
        let catalog = MemoryCatalogProvider::new();
        for (name, shows) in SCHEMAS {
            catalog.register_schema(name, Arc::new(Schema { inner: self.0.clone(), shows }))?;
        }
        Ok(Arc::new(catalog))
    }

    /// Looks which rollups have a table.
    pub(crate) async fn look(&self) -> Result<(), Error> {
        let found = self.0.lake.rollups.folders().await?;
        *self.0.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// Names of all tables, with their schema.
    pub(crate) fn tables(&self) -> Vec<String> {
        let of = |(name, shows): (&str, Shows)| {
            let tables = Schema { inner: self.0.clone(), shows }.table_names();
            tables.into_iter().map(|table| format!("{name}.{table}")).collect::<Vec<_>>()
        };
        SCHEMAS.into_iter().flat_map(of).collect()
    }
}

#[derive(Debug)]
struct Schema {
    inner: Arc<Inner>,
    shows: Shows,
}

impl Inner {
    /// The newest snapshot of a table; `name` is its own in this catalog.
    async fn snapshot(&self, at: &Location, name: &str) -> Result<Option<(Table, Arc<Snapshot>)>> {
        let external = |error: Error| DataFusionError::External(Box::new(error));
        let Some(table) = Table::open(at).await.map_err(external)? else { return Ok(None) };
        let url = ObjectStoreUrl::parse(format!("lake://{name}"))?;
        self.runtime.register_object_store(url.as_ref(), table.store());
        let snapshot = Snapshot::of(&table, url).await.map_err(external)?;
        Ok(Some((table, Arc::new(snapshot))))
    }

    async fn open_windows(&self, rollup: &str) -> Result<Arc<dyn TableProvider>> {
        let batches = self.open_windows.rows(rollup).await;
        let batches = batches.map_err(DataFusionError::Execution)?;
        let Some(first) = batches.first() else {
            return exec_err!("{rollup} has no open window: nothing has come for it yet");
        };
        Ok(Arc::new(MemTable::try_new(first.schema(), vec![batches.clone()])?))
    }
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        let found = || self.inner.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.shows {
            Shows::Lake => LAKE_TABLES.map(str::to_owned).to_vec(),
            Shows::Open => self.inner.kept.clone(),
            _ => found().into_iter().collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if !self.table_exist(name) {
            return Ok(None);
        }
        let lake = &self.inner.lake;
        let at = match (self.shows, LAKE_TABLES.iter().position(|table| *table == name)) {
            (Shows::Open, _) => return self.inner.open_windows(name).await.map(Some),
            (Shows::Lake, Some(place)) => lake.tables[place].clone(),
            _ => lake.rollups.join(name),
        };
        let Some((table, snapshot)) = self.inner.snapshot(&at, name).await? else {
            return exec_err!("there is no table {name} at {at} yet: its first rows make it");
        };
        match self.shows {
            Shows::Newest => newest(snapshot).map(Some),
            Shows::Merged(length) => merged(name, &table, snapshot, length).await.map(Some),
            _ => Ok(Some(snapshot)),
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        let table_type = match self.shows {
            Shows::Newest | Shows::Merged(_) => TableType::View,
            Shows::Lake | Shows::Revisions => TableType::Base,
            Shows::Open => TableType::Temporary,
        };
        Ok(self.table_exist(name).then_some(table_type))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|table| table == name)
    }
}
