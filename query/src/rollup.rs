//! Views of a rollup's table: of each window the newest revision; windows put together to hours and days.
use crate::parquet::Snapshot;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::{Column, JoinType, Result, ScalarValue, TableReference, exec_err, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::logical_expr::utils::{conjunction, disjunction};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::prelude::{col, ident};
use lake::table::Table;
use processor::days::{Length, Merging};
use processor::rollup::{Definition, Plan};
use std::ops::Range;
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

/// Days of a rollup that are kept as rows.
pub(crate) struct Kept {
    /// Of the table that has them.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Which they are, µs, in order.
    pub(crate) times: Vec<Range<i64>>,
}

/// The newest revisions of windows, put together to longer ones; those of times that are kept so are taken from there.
pub(crate) async fn merged(
    name: &str,
    table: &Table,
    revisions: Arc<Snapshot>,
    length: Length,
    kept: Option<Kept>,
) -> Result<Arc<dyn TableProvider>> {
    let Some(definition) = Definition::of_table(name, table) else {
        return exec_err!("the table of {name} does not say what SQL it is of");
    };
    let plan = match Plan::new(&definition).await {
        Ok(plan) => plan,
        Err(refused) => return plan_err!("rollup {name} can't be planned: {refused}"),
    };
    let merging = match Merging::new(&plan, length) {
        Ok(merging) => merging,
        Err(refused) => return plan_err!("windows of {name} can't be put together: {refused}"),
    };
    let mut windows = newest_plan(revisions)?;
    let mut rows = None;
    if let Some(Kept { snapshot, times }) = kept {
        let columns = merging.columns().iter().map(ident).collect::<Vec<_>>();
        let source = provider_as_source(snapshot);
        let of_days = LogicalPlanBuilder::scan("kept", source, None)?.filter(begins_within(&times))?;
        rows = Some(of_days.project(columns)?.build()?);
        windows = LogicalPlanBuilder::from(windows).filter(begins_within(&between(&times)))?.build()?;
    }
    let merged = merging.over(windows, &table.schema())?;
    let plan = match rows {
        Some(rows) => LogicalPlanBuilder::from(rows).union(merged)?.build()?,
        None => merged,
    };
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// The times before, between and after these, which are in order.
fn between(times: &[Range<i64>]) -> Vec<Range<i64>> {
    let starts = std::iter::once(i64::MIN).chain(times.iter().map(|time| time.end));
    let ends = times.iter().map(|time| time.start).chain([i64::MAX]);
    starts.zip(ends).map(|(start, end)| start..end).collect()
}

fn begins_within(times: &[Range<i64>]) -> Expr {
    let at = |time| lit(ScalarValue::TimestampMicrosecond(Some(time), Some("UTC".into())));
    let within = |time: &Range<i64>| {
        let after = (time.start > i64::MIN).then(|| col("window_start").gt_eq(at(time.start)));
        let before = (time.end < i64::MAX).then(|| col("window_start").lt(at(time.end)));
        conjunction(after.into_iter().chain(before)).unwrap_or(lit(true))
    };
    disjunction(times.iter().map(within)).unwrap_or(lit(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_is_before_between_and_after() {
        let always = i64::MIN..i64::MAX;
        assert_eq!(between(&[]), std::slice::from_ref(&always));
        assert_eq!(between(&[10..20, 30..40]), [i64::MIN..10, 20..30, 40..i64::MAX]);
    }
}
