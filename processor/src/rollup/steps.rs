//! Filters and projections, one after the other, over batches.
use super::Refused;
use super::attempt::evaluate;
use super::plan::nullable;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{DFSchema, Result};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use std::sync::Arc;

/// What is done to a batch.
#[derive(Debug)]
enum Step {
    /// Keeps rows for which this is true.
    Filter(Arc<dyn PhysicalExpr>),
    /// Makes these columns.
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
}

/// Steps, first to last. Columns of a batch behind those that they know are handed on with its rows.
#[derive(Debug, Default)]
pub(super) struct Steps(Vec<Step>);

pub(super) fn physical(expression: &Expr, input: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    create_physical_expr(expression, input, &ExecutionProps::new(), &PhysicalPlanningContext::default())
}

pub(super) fn rows_of(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

impl Steps {
    /// The steps from `plan` down to the first node that is none; that node.
    pub(super) fn down(plan: &LogicalPlan) -> Result<(Steps, &LogicalPlan), Refused> {
        let unplannable = |error: datafusion::error::DataFusionError| {
            Refused::new("an expression can't be evaluated batch by batch", error.strip_backtrace())
        };
        let mut steps = Vec::new();
        let mut node = plan;
        loop {
            node = match node {
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Filter(filter) => {
                    let predicate = physical(&filter.predicate, filter.input.schema());
                    steps.push(Step::Filter(predicate.map_err(unplannable)?));
                    &filter.input
                }
                LogicalPlan::Projection(projection) => {
                    let input = projection.input.schema();
                    let columns = projection.expr.iter().map(|expression| physical(expression, input));
                    let columns = columns.collect::<Result<_>>().map_err(unplannable)?;
                    steps.push(Step::Project(columns, nullable(projection.schema.as_arrow())));
                    &projection.input
                }
                other => {
                    steps.reverse();
                    return Ok((Steps(steps), other));
                }
            };
        }
    }

    /// Whether any of them leaves rows out.
    pub(super) fn filters(&self) -> bool {
        self.0.iter().any(|step| matches!(step, Step::Filter(_)))
    }

    /// Runs them. `known` columns of the batch are the steps' own; those behind are handed on. `failed` counts values.
    pub(super) fn run(&self, mut batch: RecordBatch, mut known: usize, failed: &mut u64) -> Result<RecordBatch> {
        for step in &self.0 {
            batch = match step {
                Step::Filter(predicate) => {
                    let keep = evaluate(predicate.as_ref(), &batch, failed)?;
                    filter_record_batch(&batch, as_boolean_array(&keep)?)?
                }
                Step::Project(columns, schema) => {
                    let rows = batch.num_rows();
                    let made = columns.iter().map(|column| evaluate(column.as_ref(), &batch, failed));
                    let handed_on = batch.columns()[known..].iter().map(|column| Ok(column.clone()));
                    let columns: Vec<ArrayRef> = made.chain(handed_on).collect::<Result<_>>()?;
                    let before = batch.schema();
                    let fields = schema.fields().iter().chain(&before.fields()[known..]).cloned();
                    let with_all = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
                    known = schema.fields().len();
                    rows_of(with_all, columns, rows)?
                }
            };
        }
        Ok(batch)
    }
}
