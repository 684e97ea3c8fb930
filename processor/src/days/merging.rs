//! Windows put together to hours and days, as DataFusion plans it. Pure.
use crate::functions;
use crate::rollup::{Merge, Plan, Refused, state_of};
use arrow_schema::{DataType, Schema};
use datafusion::common::{DataFusionError, Result};
use datafusion::functions::expr_fn::date_trunc;
use datafusion::functions_aggregate::expr_fn::{bit_and, bit_or, bit_xor, bool_and, bool_or, max, min, sum};
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::prelude::{col, ident};

/// How long the windows are that others are put together to, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Length {
    /// As `date_trunc` names it.
    fn unit(self) -> &'static str {
        match self {
            Length::Hour => "hour",
            Length::Day => "day",
        }
    }
}

/// What rows are grouped by, and what is made of each group.
#[derive(Debug)]
pub struct Merging {
    keys: Vec<Expr>,
    measures: Vec<Expr>,
    /// All columns, in order.
    columns: Vec<String>,
    /// Length of the windows that are put together, µs, where they overlap.
    overlapping_us: Option<i64>,
}

impl Merging {
    /// Of a rollup's windows to longer ones.
    ///
    /// # Errors
    /// Its columns can't be merged from their values, and what to select instead.
    pub fn new(plan: &Plan, length: Length) -> Result<Merging, Refused> {
        let start = date_trunc(lit(length.unit()), col("window_start")).alias("window_start");
        let mut merging = Merging {
            keys: vec![start],
            measures: vec![max(col("window_end")).alias("window_end")],
            columns: vec!["window_start".to_owned(), "window_end".to_owned()],
            overlapping_us: (plan.windows.of_event() > 1).then(|| plan.windows.length_us()),
        };
        let merges = functions::merging();
        let mut states = Vec::new();
        for (name, merge) in plan.merges()? {
            merging.columns.push(name.to_owned());
            match measure(name, merge, &merges) {
                Some(measure) => merging.measures.push(measure.alias(name)),
                None => merging.keys.push(ident(name)),
            }
            if let Some(union) = union_of(merge).and_then(|function| of_state(&merges, function, name, Vec::new())) {
                merging.measures.push(union.alias(state_of(name)));
                states.push(state_of(name));
            }
        }
        merging.columns.extend(states);
        Ok(merging)
    }

    /// `window_start`, `window_end`, the rollup's columns, the states of its sketches: the last ones of its table.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Puts together what this plan gives, which are rows of newest revisions, with the types that `table` has: an integer's
    /// sum is wider, elsewhere.
    ///
    /// # Errors
    /// The rows do not have the rollup's columns.
    pub fn over(self, windows: LogicalPlan, table: &Schema) -> Result<LogicalPlan> {
        let mut windows = LogicalPlanBuilder::from(windows);
        if let Some(length_us) = self.overlapping_us {
            // An event is in several of these: those of every whole length tile time.
            let start_us = cast(col("window_start"), DataType::Int64);
            windows = windows.filter((start_us % lit(length_us)).eq(lit(0_i64)))?;
        }
        let typed = |name: &String| {
            let data_type = table.field_with_name(name)?.data_type().clone();
            Ok(cast(ident(name), data_type).alias(name))
        };
        let columns = self.columns.iter().map(typed).collect::<Result<Vec<Expr>, DataFusionError>>()?;
        windows.aggregate(self.keys, self.measures)?.project(columns)?.build()
    }
}

fn of_state(merges: &[AggregateUDF], function: &str, name: &str, mut more: Vec<Expr>) -> Option<Expr> {
    more.insert(0, ident(state_of(name)));
    merges.iter().find(|of| of.name() == function).map(|of| of.call(more))
}

/// What makes one state of several.
fn union_of(merge: Merge) -> Option<&'static str> {
    match merge {
        Merge::Distinct => Some("approx_distinct_union"),
        Merge::Percentile(_) => Some("approx_percentile_union"),
        _ => None,
    }
}

/// `None`: it is a key.
fn measure(name: &str, merge: Merge, merges: &[AggregateUDF]) -> Option<Expr> {
    let column = ident(name);
    match merge {
        Merge::Key => None,
        Merge::Sum => Some(sum(column)),
        Merge::Min => Some(min(column)),
        Merge::Max => Some(max(column)),
        Merge::BoolAnd => Some(bool_and(column)),
        Merge::BoolOr => Some(bool_or(column)),
        Merge::BitAnd => Some(bit_and(column)),
        Merge::BitOr => Some(bit_or(column)),
        Merge::BitXor => Some(bit_xor(column)),
        Merge::Distinct => of_state(merges, "approx_distinct_merge", name, Vec::new()),
        Merge::Percentile(share) => of_state(merges, "approx_percentile_merge", name, vec![lit(share)]),
    }
}
