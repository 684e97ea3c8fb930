//! A rollup's SQL, taken apart: what is done below, in and above its aggregate.
//!
//! ```text
//! events ─▶ below: filters, projections ─▶ keys, arguments ─▶ [ groups and accumulators: fold ] ─▶ above ─▶ rows
//! ```
//! Planned once, by DataFusion, over the canonical columns.
use super::attempt::evaluate;
use super::check::check;
use super::outputs::{self, Exactness, Merge, Output};
use super::steps::{Steps, physical, rows_of};
use super::{Definition, Evaluated, Events, Refused, events};
use crate::functions;
use crate::limits::COLUMNS_MAX;
use crate::windows::Windows;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::prelude::SessionContext;
use event::schema::{Column, TIME_ZONE};
use std::collections::HashSet;
use std::sync::Arc;

/// The table that rollups are of.
const EVENTS: &str = "events";

/// Columns of a rollup's table that its SQL can't name, in their order.
pub(crate) const OWN_COLUMNS: [&str; 5] = ["window_start", "window_end", "revision", "closed_at", "positions"];

/// A rollup, ready to run.
#[derive(Debug)]
pub struct Plan {
    /// How its time is cut.
    pub windows: Windows,
    /// Columns of events that are looked at, by their place in the canonical schema.
    intake: Vec<usize>,
    scan: SchemaRef,
    below: Steps,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    aggregates: Vec<Aggregate>,
    /// Keys, then aggregates.
    aggregated: SchemaRef,
    above: Steps,
    output: SchemaRef,
    outputs: Vec<Output>,
    /// Columns of the states of sketches, and which of keys and aggregates each is of.
    states: Vec<(Field, usize)>,
    /// As DataFusion shows it.
    shown: String,
}

/// One aggregate of the SQL.
#[derive(Debug)]
pub(crate) struct Aggregate {
    pub(crate) function: Arc<AggregateFunctionExpr>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

impl Aggregate {
    /// Whether its arguments are such that it can be kept for many groups.
    fn check(&self) -> Result<(), Refused> {
        let name = self.function.fun().name();
        if !self.function.groups_accumulator_supported() {
            return Err(Refused::new(
                format!("{name} of these arguments is not kept for many groups at once"),
                "aggregate one column of numbers, texts or times; of booleans bool_and or bool_or",
            ));
        }
        if name == "avg" && matches!(self.function.field().data_type(), DataType::Decimal128(..)) {
            return Err(Refused::new(
                "avg of decimals fails for all when one is too large",
                "cast its argument to double",
            ));
        }
        let made = self.function.create_groups_accumulator();
        made.map(|_| ()).map_err(|error| Refused::new(format!("{name} can't be kept"), error.strip_backtrace()))
    }
}

/// Every field may be null: the key of the groups that are put together is, where it is no text.
pub(super) fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// There are not too many, and `(other)` can be told from every group.
fn check_keys(keys: &[Arc<dyn PhysicalExpr>], input: &Schema, aggregates: usize) -> Result<(), Refused> {
    if keys.len() + aggregates > COLUMNS_MAX {
        return Err(Refused::new(
            format!("it has {} keys and aggregates", keys.len() + aggregates),
            format!("at most {COLUMNS_MAX}: make two rollups"),
        ));
    }
    let has_text = keys.iter().any(|key| key.data_type(input).is_ok_and(|data_type| is_text(&data_type)));
    if keys.is_empty() || has_text {
        return Ok(());
    }
    Err(Refused::new(
        "no column of its GROUP BY is a text, in which the smallest of too many groups could be named (other)",
        "cast one to varchar, or add one",
    ))
}

impl Plan {
    /// Plans a definition, or says why it can't be kept.
    pub async fn new(definition: &Definition) -> Result<Plan, Refused> {
        let windows = definition.windows()?;
        let context = SessionContext::new();
        functions::all().into_iter().for_each(|function| context.register_udaf(function));
        let table = Arc::new(EmptyTable::new(events::schema()));
        let wrong = |error: DataFusionError| Refused::new("the SQL is wrong", error.strip_backtrace());
        context.register_table(EVENTS, table).map_err(wrong)?;
        let state = context.state();
        let written = state.create_logical_plan(&definition.sql).await.map_err(wrong)?;
        check(&written)?;
        let optimized = state.optimize(&written).map_err(wrong)?;
        let (above, node) = Steps::down(&optimized)?;
        let LogicalPlan::Aggregate(aggregate) = node else { return Err(unexpected(node)) };
        let (below, node) = Steps::down(&aggregate.input)?;
        let LogicalPlan::TableScan(scan) = node else { return Err(unexpected(node)) };
        let intake = columns_of(scan)?;

        let input = aggregate.input.schema();
        let keys =
            aggregate.group_expr.iter().map(|key| physical(key, input)).collect::<Result<Vec<_>>>().map_err(wrong)?;
        let lower = |expression| {
            let (props, context) = (ExecutionProps::new(), PhysicalPlanningContext::default());
            let lowered = LoweredAggregateBuilder::new(expression, input, input.as_arrow(), &props, &context).build();
            lowered.map(|lowered| Aggregate { function: lowered.aggregate, filter: lowered.filter })
        };
        let aggregates = aggregate.aggr_expr.iter().map(lower).collect::<Result<Vec<_>>>().map_err(wrong)?;
        aggregates.iter().try_for_each(Aggregate::check)?;
        check_keys(&keys, input.as_arrow(), aggregates.len())?;
        let output = nullable(optimized.schema().as_arrow());
        let outputs = outputs::outputs(&optimized, keys.len(), &aggregates);
        let states = outputs::states(&outputs);
        check_output(&output, &states)?;
        Ok(Plan {
            windows,
            intake,
            scan: Arc::new(scan.projected_schema.as_arrow().clone()),
            below,
            keys,
            aggregates,
            aggregated: nullable(aggregate.schema.as_arrow()),
            above,
            output,
            outputs,
            states,
            shown: optimized.display_indent().to_string(),
        })
    }

    /// The columns that it makes.
    pub fn output(&self) -> &SchemaRef {
        &self.output
    }

    /// Columns that stand beside them in the rollup's table: the mergeable states of its sketches, null where a group has
    /// no value.
    pub fn states(&self) -> impl Iterator<Item = &Field> {
        self.states.iter().map(|(field, _)| field)
    }

    /// How rows of several windows become rows of a longer time, by column; refused when one can't be merged.
    pub fn merges(&self) -> Result<Vec<(&str, Merge)>, Refused> {
        if self.has_having() {
            return Err(Refused::new(
                "its HAVING leaves groups out in each window, which may belong to the longer time",
                "leave out the HAVING, and filter when you read",
            ));
        }
        if let Some(key) = self.missing_key() {
            return Err(Refused::new(
                format!("it groups by {}, which is not among its columns", self.aggregated.field(key).name()),
                "select every column that it groups by",
            ));
        }
        let merge = |output: &Output| match output.merge {
            Some(merge) => Ok(merge),
            None => Err(Refused::new(
                format!("column {} can't be merged from its values", output.name),
                "select the counts and sums that it is made of, and divide when you read",
            )),
        };
        self.outputs.iter().map(|output| Ok((output.name.as_str(), merge(output)?))).collect()
    }

    /// A key that is not among its columns.
    fn missing_key(&self) -> Option<usize> {
        (0..self.keys.len()).find(|key| self.outputs.iter().all(|output| output.place != Some(*key)))
    }

    /// Whether its rows can be told apart by their columns.
    pub(crate) fn has_every_key(&self) -> bool {
        self.missing_key().is_none()
    }

    /// Whether it leaves groups out by what they come to.
    pub(crate) fn has_having(&self) -> bool {
        self.above.filters()
    }

    /// By column, how near another computation of the same events comes.
    pub(crate) fn exactness(&self) -> impl Iterator<Item = (&str, Exactness)> {
        self.outputs.iter().map(|output| (output.name.as_str(), output.exactness()))
    }

    /// How DataFusion shows what is done, one step a line, the last one first.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Names of the columns of events that it looks at.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.scan.fields().iter().map(|field| field.name().as_str())
    }

    pub(crate) fn aggregates(&self) -> &[Aggregate] {
        &self.aggregates
    }

    /// Fields of the keys.
    pub(crate) fn key_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.aggregated.fields()[..self.keys.len()].to_vec()))
    }

    /// What a batch of events is to this rollup.
    pub fn evaluate(&self, events: &Events) -> Result<Evaluated> {
        let mut columns = self.intake.iter().map(|place| events.column(*place)).collect::<Result<Vec<_>>>()?;
        columns.push(Arc::new(Int64Array::from(events.times().to_vec())));
        let mut fields = self.scan.fields().to_vec();
        fields.push(Arc::new(Field::new("event time, us", DataType::Int64, false)));
        let batch = rows_of(Arc::new(Schema::new(fields)), columns, events.rows())?;
        let mut failed = 0;
        let batch = self.below.run(batch, self.scan.fields().len(), &mut failed)?;
        let mut evaluated = |expression: &Arc<dyn PhysicalExpr>| evaluate(expression.as_ref(), &batch, &mut failed);
        let keys = self.keys.iter().map(&mut evaluated).collect::<Result<_>>()?;
        let (mut arguments, mut filters) = (Vec::new(), Vec::new());
        for aggregate in &self.aggregates {
            arguments.push(aggregate.function.expressions().iter().map(&mut evaluated).collect::<Result<_>>()?);
            filters.push(match &aggregate.filter {
                Some(filter) => Some(as_boolean_array(&evaluated(filter)?)?.clone()),
                None => None,
            });
        }
        let times = batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>();
        Ok(Evaluated { times: times.values().to_vec(), keys, arguments, filters, failed })
    }

    /// Which of keys and aggregates each column of [`Plan::states`] is of.
    pub(crate) fn state_places(&self) -> impl Iterator<Item = usize> {
        self.states.iter().map(|(_, place)| *place)
    }

    /// The rows of keys and aggregates, and behind them as many of [`Plan::states`] as are given; how many values are null
    /// since their expression failed.
    pub(crate) fn finish(
        &self,
        mut columns: Vec<ArrayRef>,
        states: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<(RecordBatch, u64)> {
        let fields = self.aggregated.fields().iter().cloned();
        let of_states = self.states().take(states.len()).map(|field| Arc::new(field.clone()));
        let schema = Arc::new(Schema::new(fields.chain(of_states).collect::<Vec<_>>()));
        columns.extend(states);
        let batch = rows_of(schema, columns, rows)?;
        let mut failed = 0;
        Ok((self.above.run(batch, self.aggregated.fields().len(), &mut failed)?, failed))
    }
}

fn unexpected(node: &LogicalPlan) -> Refused {
    Refused::new(
        format!("the SQL is more than filters, one aggregate and expressions: {}", node.display()),
        "a rollup is one select ... from events ... group by ...",
    )
}

/// Columns that a scan takes, by their place in the canonical schema.
fn columns_of(scan: &TableScan) -> Result<Vec<usize>, Refused> {
    let taken = scan.projected_schema.fields().iter().map(|field| Column::by_name(field.name()).map(Column::index));
    match taken.collect::<Option<Vec<_>>>() {
        Some(taken) if scan.table_name.table() == EVENTS && scan.filters.is_empty() && scan.fetch.is_none() => {
            Ok(taken)
        }
        _ => Err(Refused::new("the SQL reads more than the canonical columns of events", "select from events alone")),
    }
}

fn check_output(output: &Schema, states: &[(Field, usize)]) -> Result<(), Refused> {
    let mut names: HashSet<String> = states.iter().map(|(state, _)| state.name().to_lowercase()).collect();
    for field in output.fields() {
        let name = field.name();
        // Names of a table's columns differ by more than the case of their letters.
        let lower = name.to_lowercase();
        if !names.insert(lower.clone()) {
            return Err(Refused::new(format!("two columns are named {name}"), "give one another name with AS"));
        }
        if OWN_COLUMNS.contains(&lower.as_str()) {
            return Err(Refused::new(
                format!("a column is named {name}, and so is one that every rollup has"),
                "give it another name with AS",
            ));
        }
        let plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(Refused::new(
                format!("a column would be named {name}"),
                "give it a name of letters, digits and underscores with AS",
            ));
        }
        if !is_storable(field.data_type()) {
            return Err(Refused::new(
                format!("column {name} is of type {}, which tables can't hold", field.data_type()),
                "cast it to a string, a number, a boolean or a time",
            ));
        }
    }
    Ok(())
}

/// What Delta has a type for, and readers agree on.
fn is_storable(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, Boolean, Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64};
    matches!(
        data_type,
        Binary | BinaryView | Boolean | Date32 | Decimal128(..) | Float32 | Float64 | Int8 | Int16 | Int32 | Int64
    ) || is_text(data_type)
        || matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == TIME_ZONE)
}

/// What can name a group `(other)`.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
}
