//! The rows of one day: its windows' newest revisions, put together by DataFusion as they are read.
use super::merging::{Length, Merging};
use crate::Error;
use crate::limits::DAY_BYTES_MAX;
use crate::rollup::{Plan, Refused};
use crate::table::{START, of_another_shape};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlanBuilder, lit};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use event::clock::Micros;
use event::schema::TIME_ZONE;
use futures::{StreamExt, TryStreamExt};
use lake::table::{ActiveFile, Error as LakeError, Table};
use lake::tables::DAY_US;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

const REVISION: &str = "revision";

/// Rows of a batch: what was put to disk is merged in pairs of batches, each row of which may have sketches of 20 KB.
const BATCH_ROWS: usize = 1_024;

/// Rows of a rollup's table that are of windows' newest revisions.
#[derive(Debug)]
struct Newest {
    table: Arc<Table>,
    files: Vec<String>,
    /// By start, µs: which revision is the newest.
    newest: Arc<BTreeMap<i64, i32>>,
    schema: SchemaRef,
}

impl PartitionStream for Newest {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let external = |error: LakeError| DataFusionError::External(Box::new(error));
        let (table, schema, newest) = (self.table.clone(), self.schema.clone(), self.newest.clone());
        let rows = futures::stream::iter(self.files.clone())
            .then(move |path| {
                let (table, schema, newest) = (table.clone(), schema.clone(), newest.clone());
                async move {
                    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                    let batches = table.read_file(&path, Some(&columns)).await?;
                    let name = table.name().to_owned();
                    Ok(batches
                        .map(move |batch| of_newest(&batch?, &newest).ok_or_else(|| of_another_shape(&name, &path))))
                }
            })
            .try_flatten()
            .map_err(external);
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}

fn of_newest(batch: &RecordBatch, newest: &BTreeMap<i64, i32>) -> Option<RecordBatch> {
    let (starts, revisions) = starts_and_revisions(batch)?;
    let keep: BooleanArray =
        starts.zip(revisions).map(|(start, revision)| Some(newest.get(&start) == Some(&revision))).collect();
    filter_record_batch(batch, &keep).ok()
}

fn starts_and_revisions(batch: &RecordBatch) -> Option<(impl Iterator<Item = i64>, impl Iterator<Item = i32>)> {
    let starts = batch.column_by_name(START)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let revisions = batch.column_by_name(REVISION)?.as_primitive_opt::<Int32Type>()?;
    Some((starts.values().iter().copied(), revisions.values().iter().copied()))
}

/// Of the windows that begin within `time`, µs, the newest revision.
async fn newest(table: &Table, files: &[String], time: &Range<i64>) -> Result<BTreeMap<i64, i32>, LakeError> {
    let mut newest = BTreeMap::new();
    for path in files {
        let mut batches = table.read_file(path, Some(&[START, REVISION])).await?;
        while let Some(batch) = batches.try_next().await? {
            let (starts, revisions) =
                starts_and_revisions(&batch).ok_or_else(|| of_another_shape(table.name(), path))?;
            for (start, revision) in starts.zip(revisions).filter(|(start, _)| time.contains(start)) {
                let held = newest.entry(start).or_insert(revision);
                *held = revision.max(*held);
            }
            tokio::task::yield_now().await;
        }
    }
    Ok(newest)
}

fn time(number: i64) -> Range<i64> {
    number.saturating_mul(DAY_US)..(number + 1).saturating_mul(DAY_US)
}

/// The files that may have rows of a day.
pub(super) async fn files(table: &Table, number: i64) -> Result<Vec<ActiveFile>, LakeError> {
    table.files_within(START, std::slice::from_ref(&time(number))).await
}

/// The rows of a UTC day (its number since 1970), out of the files that may have any, computed at `now`, in batches; `None`: it has no window.
///
/// # Errors
/// [`Error::Lake`]. What the rows come to is known as they are read: see [`super::write`].
pub(super) async fn day(
    table: &Arc<Table>,
    files: Vec<ActiveFile>,
    plan: &Plan,
    number: i64,
    now: Micros,
) -> Result<Option<SendableRecordBatchStream>, Error> {
    let time = time(number);
    let files: Vec<String> = files.into_iter().map(|file| file.path).collect();
    let newest = Arc::new(newest(table, &files, &time).await?);
    if newest.is_empty() {
        return Ok(None);
    }
    let merging = merging(plan)?;
    let held = table.schema();
    let read = [REVISION].into_iter().chain(merging.columns().iter().map(String::as_str));
    let fields = read.map(|name| held.field_with_name(name).cloned()).collect::<Result<Vec<_>, _>>();
    let schema = Arc::new(Schema::new(fields.map_err(DataFusionError::from)?));
    let rows = Newest { table: table.clone(), files, newest, schema: schema.clone() };
    let source = StreamingTable::try_new(schema, vec![Arc::new(rows)])?;
    let windows = LogicalPlanBuilder::scan("windows", provider_as_source(Arc::new(source)), None)?.build()?;
    let merged = DataFrame::new(session()?.state(), merging.over(windows, &held)?);
    let closed_at = ScalarValue::TimestampMicrosecond(Some(now), Some(TIME_ZONE.into()));
    Ok(Some(merged.with_column("closed_at", lit(closed_at))?.execute_stream().await?))
}

pub(super) fn merging(plan: &Plan) -> Result<Merging, Error> {
    let refused = |reason: Refused| Error::Broken(format!("its days can't be put together: {reason}"));
    Merging::new(plan, Length::Day).map_err(refused)
}

/// One at a time, beside the folding: on one thread, in bounded memory, more of it on disk.
fn session() -> Result<SessionContext, Error> {
    let runtime = RuntimeEnvBuilder::new().with_memory_limit(DAY_BYTES_MAX, 1.0).build_arc()?;
    Ok(SessionContext::new_with_config_rt(
        SessionConfig::new().with_target_partitions(1).with_batch_size(BATCH_ROWS),
        runtime,
    ))
}
