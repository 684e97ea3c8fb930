//! SQL over the lake, for people who look: DataFusion over the newest snapshot of each table.
//!
//! ```text
//!  SQL ─▶ catalog: which table a name is ─┬▶ parquet: files of a Delta snapshot, those that can't match left out
//!                                         ├▶ rollup: newest revisions, hours and days merged from states
//!                                         └▶ OpenWindows: what the processor holds now
//! ```
//! | schema | its tables |
//! |---|---|
//! | `lake` (the default) | `events`, `dead_letters`, `late_windows` |
//! | `rollups` | each rollup: of each window the newest revision |
//! | `revisions` | each rollup: every revision |
//! | `hours`, `days` | each rollup that can be merged: its windows put together; days that are kept as such are taken so |
//! | `live` | each rollup that is kept: its open windows |
//!
//! Promise: a statement sees one snapshot of each table that it names, the newest one when it began. Nothing can be
//! written. Not a server: one session, of one process.
mod catalog;
mod functions;
mod open;
mod parquet;
mod rollup;

pub use functions::bin_to_uuid;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use catalog::Catalog;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::dataframe::DataFrame;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::DFParser;
use lake::location::Location;
use processor::rollup::Definition;
use std::sync::Arc;

/// Memory of a statement, bytes; what sorts and joins more goes to disk, in the system's temporary folder.
pub const MEMORY_BYTES_MAX: usize = 1 << 30;

/// Where the tables are.
#[derive(Debug, Clone)]
pub struct Lake {
    /// Each of [`LAKE_TABLES`], in that order.
    pub tables: [Location; 3],
    /// Folder of the rollups' tables.
    pub rollups: Location,
    /// Folder of the tables of days, which may be missing.
    pub days: Location,
}

/// Tables that are not rollups.
pub const LAKE_TABLES: [&str; 3] = ["events", "dead_letters", "late_windows"];

/// The windows that a processor holds open now.
#[async_trait]
pub trait OpenWindows: std::fmt::Debug + Send + Sync {
    /// Rows of a rollup's open windows: `window_start`, `window_end`, then what its SQL makes. `Err`: why they can't be
    /// had, in words.
    async fn rows(&self, rollup: &str) -> Result<Vec<RecordBatch>, String>;
}

/// A session.
pub struct Query {
    context: SessionContext,
    catalog: Catalog,
}

impl Query {
    /// Over these tables; `kept` are the rollups whose open windows may be asked for.
    pub fn new(lake: Lake, kept: Vec<Definition>, open_windows: Arc<dyn OpenWindows>) -> Result<Query> {
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(MEMORY_BYTES_MAX, 1.0).build_arc()?;
        let config = SessionConfig::new()
            .with_information_schema(true)
            // It plans a LIMIT over keys of a view that it can't carry out (55.2: "Ordering direction required for DISTINCT").
            .set_bool("datafusion.optimizer.enable_distinct_aggregation_soft_limit", false)
            .with_default_catalog_and_schema(catalog::NAME, catalog::DEFAULT_SCHEMA)
            .with_create_default_catalog_and_schema(false);
        let mut context = SessionContext::new_with_config_rt(config, runtime.clone());
        processor::functions::all()
            .into_iter()
            .chain(processor::functions::merging())
            .for_each(|function| context.register_udaf(function));
        functions::all().into_iter().for_each(|function| context.register_udf(function));
        context.register_expr_planner(Arc::new(functions::IdsAsText))?;
        context.add_analyzer_rule(Arc::new(functions::IdsInLists));
        let catalog = Catalog::new(lake, kept, open_windows, runtime);
        context.register_catalog(catalog::NAME, catalog.provider()?);
        Ok(Query { context, catalog })
    }

    /// Plans a statement: one that reads.
    ///
    /// # Errors
    /// The statement is wrong, writes, or names a table that is not there or can't be read.
    pub async fn plan(&self, sql: &str) -> Result<DataFrame> {
        match DFParser::parse_sql(sql)?.len() {
            1 => {}
            0 => return plan_err!("there is no statement"),
            more => return plan_err!("there are {more} statements: give one at a time"),
        }
        self.look().await?;
        let reads_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let planned = self.context.sql_with_options(sql, reads_only).await;
        planned.map_err(|error| match error.find_root() {
            DataFusionError::Plan(words) if words.starts_with("table '") && words.ends_with("' not found") => {
                match self.catalog.absent().last() {
                    Some(place) => {
                        DataFusionError::Plan(format!("there is no table at {place} yet: its first rows make it"))
                    }
                    None => DataFusionError::Plan(format!("{words}; there are: {}", self.tables().join(", "))),
                }
            }
            DataFusionError::Plan(words) if words.contains(" not supported: ") => {
                DataFusionError::Plan(format!("nothing can be written or set here ({words})"))
            }
            _ => error,
        })
    }

    /// Looks which tables there are.
    pub async fn look(&self) -> Result<()> {
        self.catalog.look().await.map_err(|error| DataFusionError::External(Box::new(error)))
    }

    /// Names of all tables, with their schema: what a prompt completes.
    pub fn tables(&self) -> Vec<String> {
        self.catalog.tables()
    }
}
