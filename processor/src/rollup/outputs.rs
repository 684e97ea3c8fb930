//! What each column of a rollup is made of, and so how rows of several windows are merged into one. Pure.
use super::plan::Aggregate;
use arrow_schema::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::expressions::Literal;

/// How a column of rows of several windows becomes one of a longer time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Merge {
    /// It is a key: rows that agree in all of them are merged.
    Key,
    /// By adding: `count` and `sum`.
    Sum,
    /// By the smallest.
    Min,
    /// By the largest.
    Max,
    /// By `and`, of booleans.
    BoolAnd,
    /// By `or`, of booleans.
    BoolOr,
    /// By `and`, bit by bit.
    BitAnd,
    /// By `or`, bit by bit.
    BitOr,
    /// By `xor`, bit by bit.
    BitXor,
    /// By the sketches of `approx_distinct`, in the column's state.
    Distinct,
    /// By the histograms of `approx_percentile`, in the column's state; the share of values that are not above it.
    Percentile(f64),
}

/// How near two computations of one column of the same events come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Exactness {
    /// It is a key.
    Key,
    /// Equal.
    Equal,
    /// A count or a sum: equal, floats up to what the order of additions changes.
    Sum,
    /// Computed from sums, maybe: the same.
    Rounded,
}

/// One column of a rollup.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) name: String,
    /// `None`: it is an expression over aggregates, or its aggregate can't be merged from what it comes to.
    pub(super) merge: Option<Merge>,
    /// Its place among keys and aggregates.
    pub(super) place: Option<usize>,
}

impl Output {
    pub(super) fn exactness(&self) -> Exactness {
        match self.merge {
            Some(Merge::Key) => Exactness::Key,
            Some(Merge::Sum) => Exactness::Sum,
            None => Exactness::Rounded,
            // Sketches too: they depend on the values alone.
            Some(_) => Exactness::Equal,
        }
    }

    /// The name of the column beside it with the mergeable state of its sketch, and which column of keys and aggregates
    /// that is of.
    fn state(&self) -> Option<(String, usize)> {
        match self.merge {
            Some(Merge::Distinct | Merge::Percentile(_)) => self.place.map(|place| (state_of(&self.name), place)),
            _ => None,
        }
    }
}

/// Name of the column with the state of a sketch's column.
pub fn state_of(column: &str) -> String {
    format!("{column}_state")
}

/// The columns of an optimized plan whose aggregate is of so many keys and these aggregates.
pub(super) fn outputs(plan: &LogicalPlan, keys: usize, aggregates: &[Aggregate]) -> Vec<Output> {
    let merge_of = |place: usize| match place.checked_sub(keys) {
        None => Some(Merge::Key),
        Some(aggregate) => aggregates.get(aggregate).and_then(merge),
    };
    let output = |(at, field): (usize, &std::sync::Arc<Field>)| {
        let place = place(plan, at);
        Output { name: field.name().clone(), merge: place.and_then(merge_of), place }
    };
    plan.schema().fields().iter().enumerate().map(output).collect()
}

/// Which column of the aggregate a column of the plan is, unchanged.
fn place(plan: &LogicalPlan, at: usize) -> Option<usize> {
    match plan {
        LogicalPlan::Aggregate(_) => Some(at),
        LogicalPlan::Filter(filter) => place(&filter.input, at),
        LogicalPlan::SubqueryAlias(alias) => place(&alias.input, at),
        LogicalPlan::Projection(projection) => match unaliased(projection.expr.get(at)?) {
            Expr::Column(column) => place(&projection.input, projection.input.schema().maybe_index_of_column(column)?),
            _ => None,
        },
        _ => None,
    }
}

/// DataFusion gives an expression that it rewrote its old name, below the one that was asked for.
fn unaliased(expression: &Expr) -> &Expr {
    match expression {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// How what an aggregate comes to is merged; `None`: that is not enough for it (`avg`, `stddev`).
fn merge(aggregate: &Aggregate) -> Option<Merge> {
    Some(match aggregate.function.fun().name() {
        "count" | "sum" => Merge::Sum,
        "min" => Merge::Min,
        "max" => Merge::Max,
        "bool_and" => Merge::BoolAnd,
        "bool_or" => Merge::BoolOr,
        "bit_and" => Merge::BitAnd,
        "bit_or" => Merge::BitOr,
        "bit_xor" => Merge::BitXor,
        "approx_distinct" => Merge::Distinct,
        "approx_percentile" => {
            let share = aggregate.function.expressions().get(1)?.downcast_ref::<Literal>()?.value().clone();
            let ScalarValue::Float64(Some(share)) = share else { return None };
            Merge::Percentile(share)
        }
        _ => return None,
    })
}

/// The columns of states, and which of keys and aggregates each is of.
pub(super) fn states(outputs: &[Output]) -> Vec<(Field, usize)> {
    let states = outputs.iter().filter_map(Output::state);
    states.map(|(name, place)| (Field::new(name, DataType::Binary, true), place)).collect()
}
