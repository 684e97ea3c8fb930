//! What SQL a rollup can be kept of, and what to write instead. Pure.
//!
//! A rollup is merged from batches in bounded memory, and computed again from the lake with the same result. So it is one
//! aggregate over `events`, whose functions have states of bounded size that merge, and in which nothing depends on when
//! or in what order it is computed.
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{AggregateFunction, Expr};
use datafusion::logical_expr::{LogicalPlan, Volatility};

/// Why a rollup can't be kept, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {instead}")]
pub struct Refused {
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub instead: String,
}

impl Refused {
    pub(crate) fn new(what: impl Into<String>, instead: impl Into<String>) -> Self {
        Refused { what: what.into(), instead: instead.into() }
    }
}

/// Aggregates with a state of bounded size that merges, in whatever order.
const MERGEABLE: [&str; 16] = [
    "approx_distinct",
    "approx_percentile",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "count",
    "max",
    "min",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// Checks a plan as it was written, before the optimizer has changed it.
pub(super) fn check(plan: &LogicalPlan) -> Result<(), Refused> {
    let mut aggregates = 0;
    let mut refused = None;
    let walked = plan.apply_with_subqueries(|node| {
        let found = check_node(node).and_then(|()| check_expressions(node));
        aggregates += usize::from(matches!(node, LogicalPlan::Aggregate(_)));
        Ok(match found {
            Ok(()) => TreeNodeRecursion::Continue,
            Err(reason) => {
                refused = Some(reason);
                TreeNodeRecursion::Stop
            }
        })
    });
    if let Some(refused) = refused {
        return Err(refused);
    }
    walked.map_err(|error| Refused::new("the SQL can't be planned", error.strip_backtrace()))?;
    match aggregates {
        1 => Ok(()),
        0 => Err(Refused::new(
            "it aggregates nothing",
            "count, sum or otherwise aggregate; single events are in the table events",
        )),
        _ => Err(Refused::new(
            "it aggregates an aggregate",
            "make two rollups, or combine their rows when you read them",
        )),
    }
}

fn check_node(node: &LogicalPlan) -> Result<(), Refused> {
    let (what, instead) = match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::SubqueryAlias(_) => return Ok(()),
        LogicalPlan::Join(_) => {
            ("a join", "an event must carry what it is grouped by; join the rollup's rows when you read them")
        }
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
            ("order and limit", "a rollup keeps every group; sort and cut its rows when you read them")
        }
        LogicalPlan::Window(_) => {
            ("a window function", "the rollup's own window cuts time; window functions can read its rows")
        }
        LogicalPlan::Union(_) => ("a union", "make a rollup of each part"),
        LogicalPlan::Distinct(_) => ("distinct rows", "group by the columns instead"),
        LogicalPlan::Subquery(_) => ("a subquery", "filter with an expression over the event's own columns"),
        LogicalPlan::Unnest(_) => ("unnest", "an event counts once; read single keys of custom as custom['key']"),
        LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => ("a select without a table", "select from events"),
        _ => ("this statement", "a rollup is one select ... from events ... group by ..."),
    };
    Err(Refused::new(format!("{what} can't be kept as events come"), instead))
}

fn check_expressions(node: &LogicalPlan) -> Result<(), Refused> {
    let mut refused = None;
    let walked = node.apply_expressions(|expression| {
        expression.apply(|part| {
            Ok(match check_expression(part) {
                Ok(()) => TreeNodeRecursion::Continue,
                Err(reason) => {
                    refused = Some(reason);
                    TreeNodeRecursion::Stop
                }
            })
        })
    });
    match refused {
        Some(refused) => Err(refused),
        None => walked.map(|_| ()).map_err(|error| Refused::new("the SQL can't be planned", error.strip_backtrace())),
    }
}

fn check_expression(expression: &Expr) -> Result<(), Refused> {
    match expression {
        Expr::AggregateFunction(function) => check_aggregate(function),
        Expr::ScalarFunction(function) if function.func.signature().volatility != Volatility::Immutable => {
            Err(Refused::new(
                format!("{}() gives another value each time", function.func.name()),
                "use event_time or received_at: a rollup is computed again from the lake, with the same result",
            ))
        }
        Expr::GroupingSet(_) => {
            Err(Refused::new("grouping sets can't be kept as events come", "make a rollup for each of them"))
        }
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => Err(Refused::new(
            "a subquery can't be kept as events come",
            "filter with an expression over the event's own columns",
        )),
        _ => Ok(()),
    }
}

fn check_aggregate(function: &AggregateFunction) -> Result<(), Refused> {
    let name = function.func.name();
    let refuse = |what: String, instead: &str| Err(Refused::new(what, instead));
    match name {
        "count" if function.params.distinct => {
            refuse("count(distinct ...) needs every value".to_owned(), "approx_distinct(...) is within 1.6 % of it")
        }
        "median" | "percentile_cont" | "quantile_cont" | "approx_median" => {
            refuse(format!("{name} needs every value"), "approx_percentile(x, 0.5) is within 1/128 of it")
        }
        "approx_percentile_cont" | "approx_percentile_cont_with_weight" => refuse(
            format!("the state of {name} changes between versions"),
            "approx_percentile(x, p) is within 1/128 of the value",
        ),
        "array_agg" | "string_agg" => {
            refuse(format!("{name} keeps every value"), "group by the column, or read the table events")
        }
        "first_value" | "last_value" | "nth_value" => {
            refuse(format!("{name} depends on the order of events"), "min or max, or group by the column")
        }
        _ if !MERGEABLE.contains(&name) => refuse(
            format!("{name} is not known to merge in bounded memory"),
            "use count, sum, min, max, avg, approx_distinct, approx_percentile, bool_and, bool_or, stddev or var",
        ),
        _ if function.params.distinct => {
            refuse(format!("{name}(distinct ...) needs every value"), "leave out distinct, or use approx_distinct")
        }
        _ if !function.params.order_by.is_empty() => {
            refuse(format!("{name} with an order depends on the order of events"), "leave out the order")
        }
        _ => Ok(()),
    }
}
