//! The limit of folding: DataFusion's Partial aggregates over one batch in memory, planned once, their states thrown away.
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::compute::cast;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use processor::functions;
use processor::rollup::{Definition, Plan};
use std::sync::{Arc, Mutex};

/// What the leaf of every plan reads.
#[derive(Debug)]
struct Slot {
    schema: SchemaRef,
    batch: Mutex<Option<RecordBatch>>,
}

impl PartitionStream for Slot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batch = self.batch.lock().unwrap().clone().unwrap();
        Box::pin(MemoryStream::try_new(vec![batch], self.schema.clone(), None).unwrap())
    }
}

/// The Partial aggregates of some rollups.
pub struct Partials {
    slot: Arc<Slot>,
    plans: Vec<Arc<dyn ExecutionPlan>>,
    context: Arc<TaskContext>,
}

impl Partials {
    /// Plans each; columns are those that one of them looks at.
    pub async fn new(definitions: &[Definition]) -> Partials {
        let mut names: Vec<String> = Vec::new();
        for definition in definitions {
            names.extend(Plan::new(definition).await.unwrap().columns().map(str::to_owned));
        }
        let canonical = event::schema::canonical();
        let wanted = canonical.fields().iter().filter(|field| names.contains(field.name()));
        let schema: SchemaRef = Arc::new(Schema::new(wanted.map(|field| as_sql(field)).collect::<Vec<_>>()));
        let slot = Arc::new(Slot { schema: schema.clone(), batch: Mutex::default() });
        // Two, or there would be no Partial but a Single; and groups are to be made, whatever their number.
        let mut config = SessionConfig::new().with_target_partitions(2).with_collect_statistics(false);
        config.options_mut().execution.skip_partial_aggregation_probe_ratio_threshold = 1.1;
        let session = SessionContext::new_with_config(config);
        functions::all().into_iter().for_each(|function| session.register_udaf(function));
        let table = StreamingTable::try_new(schema, vec![slot.clone()]).unwrap();
        session.register_table("events", Arc::new(table)).unwrap();
        let mut plans = Vec::new();
        for definition in definitions {
            let plan = session.sql(&definition.sql).await.unwrap().create_physical_plan().await.unwrap();
            plans.push(partial(&plan).expect("a Partial aggregate"));
        }
        Partials { slot, plans, context: session.task_ctx() }
    }

    /// Runs all of them over a decoded batch; how many groups came out.
    pub async fn run(&self, batch: &RecordBatch) -> usize {
        let columns = self
            .slot
            .schema
            .fields()
            .iter()
            .map(|field| cast(batch.column_by_name(field.name()).unwrap(), field.data_type()).unwrap());
        let batch = RecordBatch::try_new(self.slot.schema.clone(), columns.collect()).unwrap();
        *self.slot.batch.lock().unwrap() = Some(batch);
        let mut groups = 0;
        for plan in &self.plans {
            let plan = reset_plan_states(plan.clone()).unwrap();
            let states = collect(plan, self.context.clone()).await.unwrap();
            groups += states.iter().map(RecordBatch::num_rows).sum::<usize>();
        }
        groups
    }
}

/// As rollups have the canonical columns.
fn as_sql(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Utf8 | DataType::Dictionary(..) => DataType::Utf8View,
        other => other.clone(),
    };
    Field::new(field.name(), data_type, field.is_nullable())
}

fn partial(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let is_partial = |aggregate: &AggregateExec| *aggregate.mode() == AggregateMode::Partial;
    match plan.downcast_ref::<AggregateExec>() {
        Some(aggregate) if is_partial(aggregate) => Some(plan.clone()),
        _ => plan.children().into_iter().find_map(partial),
    }
}
