//! Open windows as a table: known by the rollup's plan, asked for when they are read.
use crate::OpenWindows;
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::TableType;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use processor::rollup::Plan;
use std::sync::Arc;

/// A rollup's open windows.
#[derive(Debug)]
pub(crate) struct Open {
    rollup: String,
    schema: SchemaRef,
    windows: Arc<dyn OpenWindows>,
}

impl Open {
    /// `window_start`, `window_end`, then what the SQL makes.
    pub(crate) fn new(rollup: &str, plan: &Plan, windows: Arc<dyn OpenWindows>) -> Open {
        let time = |name| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false);
        let own = ["window_start", "window_end"].map(|name| Arc::new(time(name)));
        let fields = own.into_iter().chain(plan.output().fields().iter().cloned());
        Open { rollup: rollup.to_owned(), schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())), windows }
    }
}

#[async_trait]
impl TableProvider for Open {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let batches = self.windows.rows(&self.rollup).await.map_err(DataFusionError::Execution)?;
        let same = |batch: RecordBatch| Ok(RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec())?);
        let batches = batches.into_iter().map(same).collect::<Result<Vec<_>>>().map_err(|error: DataFusionError| {
            let of = &self.rollup;
            DataFusionError::Execution(format!("{of} is kept by other SQL than this configuration has: {error}"))
        })?;
        MemTable::try_new(self.schema.clone(), vec![batches])?.scan(state, projection, filters, limit).await
    }
}
