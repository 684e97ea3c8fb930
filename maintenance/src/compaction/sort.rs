//! Rows sorted by title, hour, session and time, and by their place where these are equal: by DataFusion, which spills to disk
//! what does not fit into its memory. Why by session within the hour: decision 16.
use super::Config;
use crate::limits::BATCH_ROWS;
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef, SortOptions};
use datafusion::common::config::SpillCompression;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, col, lit};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::prelude::SessionConfig;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use lake::table::Error;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The hour of `event_time` is one of the columns that files are sorted by.
const HOUR_US: i64 = 3_600_000_000;

/// Rows to be sorted, as DataFusion asks for them: once.
struct Input {
    schema: SchemaRef,
    rows: Mutex<Option<BoxStream<'static, Result<RecordBatch, Error>>>>,
    /// What went wrong with them.
    failed: Arc<Mutex<Option<Error>>>,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows of files")
    }
}

impl PartitionStream for Input {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        let failed = self.failed.clone();
        let rows = rows.unwrap_or_else(|| futures::stream::empty().boxed()).map_err(move |error| {
            let words = error.to_string();
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            DataFusionError::Execution(words)
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}

/// The same rows in order. Whoever polls it does the work.
pub(crate) fn sorted(
    table: &str,
    schema: SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch, Error>>,
    config: &Config,
    spill_dir: &Path,
) -> Result<BoxStream<'static, Result<RecordBatch, Error>>, Error> {
    let failed = Arc::<Mutex<Option<Error>>>::default();
    let input = Input { schema, rows: Mutex::new(Some(rows)), failed: failed.clone() };
    let (table, spilled_to) = (table.to_owned(), spill_dir.to_owned());
    let of_sort = move |error: &DataFusionError| of_sort(&table, &spilled_to, error);
    let out = execute(input, config, spill_dir).map_err(|error| of_sort(&error))?;
    Ok(out
        .map_err(move |error| {
            let of_input = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            of_input.unwrap_or_else(|| of_sort(&error))
        })
        .boxed())
}

fn execute(input: Input, config: &Config, spill_dir: &Path) -> Result<SendableRecordBatchStream> {
    let schema = input.schema.clone();
    let options = SortOptions { descending: false, nulls_first: false };
    let order = order(&schema)?.into_iter().map(|by| PhysicalSortExpr::new(by, options));
    let order = LexOrdering::new(order).ok_or_else(|| DataFusionError::Internal("no order".to_owned()))?;
    let rows = StreamingTableExec::try_new(schema, vec![Arc::new(input)], None, [], false, None)?;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(config.memory_bytes)))
        .with_temp_file_path(spill_dir)
        .with_max_temp_directory_size(config.spill_bytes_max)
        .build_arc()?;
    let session = SessionConfig::new()
        .with_batch_size(BATCH_ROWS)
        .with_target_partitions(1)
        // For the merge of what was spilled.
        .with_sort_spill_reservation_bytes(config.memory_bytes / 8)
        .with_spill_compression(SpillCompression::Lz4Frame);
    let context = SessionStateBuilder::new().with_config(session).with_runtime_env(runtime).build().task_ctx();
    SortExec::new(order, Arc::new(rows)).execute(0, context)
}

/// What sorted files are sorted by; nulls last.
fn order(schema: &Schema) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
    let column = |name| col(name, schema);
    let at_us: Arc<dyn PhysicalExpr> = Arc::new(CastExpr::new(column("event_time")?, DataType::Int64, None));
    let hour: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(at_us, Operator::Divide, lit(HOUR_US)));
    let rest = ["session_id", "event_time", "_partition", "_offset", "_row"];
    let rest = rest.into_iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok([vec![column("content_id")?, hour], rest].concat())
}

fn of_sort(table: &str, spill_dir: &Path, error: &DataFusionError) -> Error {
    let reason = match error.find_root() {
        DataFusionError::ResourcesExhausted(words) => format!(
            "its rows can't be sorted in so much memory and temporary space (compaction.memory_bytes, \
             compaction.spill_bytes_max): {words}"
        ),
        DataFusionError::IoError(error) => {
            format!("rows can't be spilled to {} (compaction.spill_dir): {error}", spill_dir.display())
        }
        other => format!("sorting its rows: {other}"),
    };
    Error::Broken { table: table.to_owned(), reason }
}
