//! Which table a name is. Tables are opened when a statement names them, so that each sees the newest snapshot.
use crate::open::Open;
use crate::parquet::Snapshot;
use crate::rollup::{Kept, merged, newest};
use crate::{LAKE_TABLES, Lake, OpenWindows};
use async_trait::async_trait;
use datafusion::catalog::memory::MemoryCatalogProvider;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::datasource::TableType;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use lake::location::Location;
use lake::table::{Error, Table};
use processor::days::Length;
use processor::rollup::{Definition, Plan};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    kept: Vec<Definition>,
    open_windows: Arc<dyn OpenWindows>,
    runtime: Arc<RuntimeEnv>,
    looked: Mutex<Looked>,
}

/// What a statement sees.
#[derive(Debug, Default)]
struct Looked {
    /// Rollups that have a table.
    found: Vec<String>,
    /// Tables that it named, by their place: whoever names one twice sees one snapshot.
    opened: BTreeMap<String, Opened>,
    /// Where there is no table yet.
    absent: Vec<String>,
}

type Opened = (Arc<Table>, Arc<Snapshot>);

/// All tables.
#[derive(Debug, Clone)]
pub(crate) struct Catalog(Arc<Inner>);

impl Catalog {
    pub(crate) fn new(
        lake: Lake,
        kept: Vec<Definition>,
        open_windows: Arc<dyn OpenWindows>,
        runtime: Arc<RuntimeEnv>,
    ) -> Self {
        Catalog(Arc::new(Inner { lake, kept, open_windows, runtime, looked: Mutex::default() }))
    }

    /// As DataFusion asks for it.
    pub(crate) fn provider(&self) -> Result<Arc<dyn CatalogProvider>> {
        let catalog = MemoryCatalogProvider::new();
        for (name, shows) in SCHEMAS {
            catalog.register_schema(name, Arc::new(Schema { inner: self.0.clone(), shows }))?;
        }
        Ok(Arc::new(catalog))
    }

    /// Begins a statement: looks which rollups have a table, and forgets what was seen before.
    pub(crate) async fn look(&self) -> Result<(), Error> {
        let found = self.0.lake.rollups.folders().await?;
        *self.0.looked() = Looked { found, ..Looked::default() };
        Ok(())
    }

    /// Where the statement named a table that is not there yet.
    pub(crate) fn absent(&self) -> Vec<String> {
        self.0.looked().absent.clone()
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
    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot that the statement has of a table: the newest, when it is named first.
    async fn snapshot(&self, at: &Location, folder: &str) -> Result<Option<Opened>> {
        if let Some(opened) = self.looked().opened.get(folder) {
            return Ok(Some(opened.clone()));
        }
        let external = |error: Error| DataFusionError::External(Box::new(error));
        let Some(table) = Table::open(at).await.map_err(external)? else { return Ok(None) };
        let url = ObjectStoreUrl::parse(format!("lake://{folder}"))?;
        self.runtime.register_object_store(url.as_ref(), table.store());
        let snapshot = Snapshot::of(&table, url).await.map_err(external)?;
        let opened = (Arc::new(table), Arc::new(snapshot));
        self.looked().opened.insert(folder.to_owned(), opened.clone());
        Ok(Some(opened))
    }

    /// The days of a rollup that are kept as its windows are in this snapshot of its table. None where their table can't be used
    /// (somebody deleted rows of it by deletion vectors): windows say the same, and who computes days says what is wrong.
    async fn kept_days(&self, name: &str, rollup: &Table) -> Result<Option<Kept>> {
        let kept = async {
            let at = self.lake.days.join(name);
            let Some((days, snapshot)) = self.snapshot(&at, &format!("days.{name}")).await? else { return Ok(None) };
            let times = processor::days::kept(name, rollup, &days).await;
            let times = times.map_err(|error| DataFusionError::External(Box::new(error)))?;
            Ok((!times.is_empty()).then_some(Kept { snapshot, times }))
        };
        match kept.await {
            Err(DataFusionError::External(error))
                if matches!(error.downcast_ref(), Some(Error::Incompatible { .. } | Error::Broken { .. })) =>
            {
                Ok(None)
            }
            kept => kept,
        }
    }

    async fn open_windows(&self, definition: &Definition) -> Result<Arc<dyn TableProvider>> {
        let plan = match Plan::new(definition).await {
            Ok(plan) => plan,
            Err(refused) => return plan_err!("rollup {} can't be planned: {refused}", definition.name),
        };
        Ok(Arc::new(Open::new(&definition.name, &plan, self.open_windows.clone())))
    }
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        match self.shows {
            Shows::Lake => LAKE_TABLES.map(str::to_owned).to_vec(),
            Shows::Open => self.inner.kept.iter().map(|definition| definition.name.clone()).collect(),
            _ => self.inner.looked().found.clone(),
        }
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if !self.table_exist(name) {
            return Ok(None);
        }
        let lake = &self.inner.lake;
        let (at, folder) = match (self.shows, LAKE_TABLES.iter().position(|table| *table == name)) {
            (Shows::Open, _) => {
                let Some(definition) = self.inner.kept.iter().find(|of| of.name == name) else { return Ok(None) };
                return self.inner.open_windows(definition).await.map(Some);
            }
            (Shows::Lake, Some(place)) => (lake.tables[place].clone(), format!("lake.{name}")),
            _ => (lake.rollups.join(name), format!("rollups.{name}")),
        };
        let Some((table, snapshot)) = self.inner.snapshot(&at, &folder).await? else {
            self.inner.looked().absent.push(at.to_string());
            return Ok(None);
        };
        match self.shows {
            Shows::Newest => newest(snapshot).map(Some),
            Shows::Merged(length) => {
                let kept = match length {
                    Length::Day => self.inner.kept_days(name, &table).await?,
                    Length::Hour => None,
                };
                merged(name, &table, snapshot, length, kept).await.map(Some)
            }
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
