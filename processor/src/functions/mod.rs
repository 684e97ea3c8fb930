//! Aggregates of our own: their states merge, have a version, and can be read by others.
//!
//! | function | error | state |
//! |---|---|---|
//! | `approx_distinct(x)` | 1.6 % (one standard deviation), exact below some hundred | an Apache DataSketches HLL of lg k = 12 |
//! | `approx_percentile(x, p)` | 1/128 of the value at most, from a thousandth to 2^51 | a histogram with fixed boundaries ([`histogram`]) |
//!
//! `approx_distinct_merge(state)` and `approx_percentile_merge(state, p)` take states in place of values;
//! `approx_distinct_union(state)` and `approx_percentile_union(state)` give the state of states together.
//!
//! DataFusion's own are not used: their states changed between its versions, and old ones merge without an error, wrongly.
mod distinct;
pub mod histogram;
mod percentile;
mod sketch;
mod union;

use datafusion::logical_expr::AggregateUDF;
use sketch::Takes;

fn of(takes: Takes) -> Vec<AggregateUDF> {
    vec![
        AggregateUDF::from(distinct::ApproxDistinct::new(takes)),
        AggregateUDF::from(percentile::ApproxPercentile::new(takes)),
    ]
}

/// Those of events.
pub fn all() -> Vec<AggregateUDF> {
    of(Takes::Values)
}

/// Those of states: of several windows, or groups, the value of them together, and their state.
pub fn merging() -> Vec<AggregateUDF> {
    let mut functions = of(Takes::States);
    functions.push(AggregateUDF::from(union::Union::<distinct::Hll>::new("approx_distinct_union")));
    functions.push(AggregateUDF::from(union::Union::<histogram::Histogram>::new("approx_percentile_union")));
    functions
}
