//! Views of a rollup's table: of each window the newest revision; windows put together to hours and days.
use crate::parquet::Snapshot;
use crate::windows::{Length, merging};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::{Column, JoinType, Result, TableReference, exec_err, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::prelude::{col, ident};
use lake::table::Table;
use processor::rollup::{Definition, Plan};
use std::sync::Arc;

/// Of each window the newest revision.
pub(crate) fn newest(revisions: Arc<Snapshot>) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(ViewTable::new(newest_plan(revisions)?, None)))
}

/// The numbers of the newest revisions are the side that is held: there are far fewer than rows.
fn newest_plan(revisions: Arc<Snapshot>) -> Result<LogicalPlan> {
    let source = provider_as_source(revisions);
    let newest = LogicalPlanBuilder::scan("newest", source.clone(), None)?
        .aggregate([col("window_start")], [max(col("revision")).alias("revision")])?;
    let all = LogicalPlanBuilder::scan("revisions", source, None)?.build()?;
    let of = |table: &str, name: &str| Column::new(Some(TableReference::bare(table)), name);
    let on = (
        vec![of("newest", "window_start"), Column::from_name("revision")],
        vec![of("revisions", "window_start"), of("revisions", "revision")],
    );
    newest.join(all, JoinType::RightSemi, on, None)?.build()
}

/// The newest revisions of windows, put together to longer ones.
pub(crate) async fn merged(
    name: &str,
    table: &Table,
    revisions: Arc<Snapshot>,
    length: Length,
) -> Result<Arc<dyn TableProvider>> {
    let Some(definition) = Definition::of_table(name, table) else {
        return exec_err!("the table of {name} does not say what SQL it is of");
    };
    let plan = match Plan::new(&definition).await {
        Ok(plan) => plan,
        Err(refused) => return plan_err!("rollup {name} can't be planned: {refused}"),
    };
    let columns = match plan.merges() {
        Ok(columns) => columns,
        Err(refused) => return plan_err!("windows of {name} can't be put together: {refused}"),
    };
    let merging = merging(&columns, length, &processor::functions::merging());
    let mut windows = LogicalPlanBuilder::from(newest_plan(revisions)?);
    if plan.windows.of_event() > 1 {
        // Windows that overlap hold an event several times: those of every whole length tile time.
        let start_us = cast(col("window_start"), arrow_schema::DataType::Int64);
        windows = windows.filter((start_us % lit(plan.windows.length_us())).eq(lit(0_i64)))?;
    }
    let plan =
        windows.aggregate(merging.keys, merging.measures)?.project(merging.columns.iter().map(ident))?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}
