//! Windows put together: the SQL of a view over a rollup's newest revisions. Pure.
use datafusion::functions::expr_fn::date_trunc;
use datafusion::functions_aggregate::expr_fn::{bit_and, bit_or, bit_xor, bool_and, bool_or, max, min, sum};
use datafusion::logical_expr::{AggregateUDF, Expr, lit};
use datafusion::prelude::{col, ident};
use processor::rollup::{Merge, state_of};

/// How long the windows are that others are put together to, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Hour,
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
pub(crate) struct Merging {
    pub(crate) keys: Vec<Expr>,
    pub(crate) measures: Vec<Expr>,
    /// All columns, in order.
    pub(crate) columns: Vec<String>,
}

/// The merging of a rollup's columns over windows of this length, by the start of each.
pub(crate) fn merging(columns: &[(&str, Merge)], length: Length, merges: &[AggregateUDF]) -> Merging {
    let start = date_trunc(lit(length.unit()), col("window_start")).alias("window_start");
    let mut merging = Merging {
        keys: vec![start],
        measures: vec![max(col("window_end")).alias("window_end")],
        columns: vec!["window_start".to_owned(), "window_end".to_owned()],
    };
    for (name, merge) in columns {
        match measure(name, *merge, merges) {
            Some(measure) => merging.measures.push(measure.alias(*name)),
            None => merging.keys.push(ident(*name)),
        }
        merging.columns.push((*name).to_owned());
    }
    merging
}

/// `None`: it is a key.
fn measure(name: &str, merge: Merge, merges: &[AggregateUDF]) -> Option<Expr> {
    let of_state = |function: &str, mut more: Vec<Expr>| {
        more.insert(0, ident(state_of(name)));
        merges.iter().find(|of| of.name() == function).map(|of| of.call(more))
    };
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
        Merge::Distinct => of_state("approx_distinct_merge", Vec::new()),
        Merge::Percentile(share) => of_state("approx_percentile_merge", vec![lit(share)]),
    }
}
