//! The groups of one window: their keys, and an accumulator for each aggregate.
use super::Bounds;
use crate::rollup::{Evaluated, Plan, is_text};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array, new_null_array};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::take::take;
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What stands in each text of the key of the groups that were put together; other types have null.
pub(crate) const OTHER: &str = "(other)";

/// What is kept of the groups when there are too many: so that it need not be done again at the next batch.
const KEPT_PART: usize = 2;

/// The keys of groups, numbered from 0. Two that come in one batch may be numbered in another order than they came
/// (DataFusion sets keys aside whose hashes collide, and clients can choose such keys): what was numbered before keeps its
/// number, and nothing else may be relied on.
enum Keys {
    /// Without a GROUP BY there is one group.
    One,
    Many(Box<dyn GroupValues>),
}

impl Keys {
    fn new(schema: SchemaRef) -> Result<Keys> {
        match schema.fields().is_empty() {
            true => Ok(Keys::One),
            false => Ok(Keys::Many(new_group_values(schema, &GroupOrdering::None)?)),
        }
    }

    fn number(&mut self, keys: &[ArrayRef], rows: usize, numbers: &mut Vec<usize>) -> Result<()> {
        match self {
            Keys::One => {
                numbers.clear();
                numbers.resize(rows, 0);
                Ok(())
            }
            Keys::Many(values) => values.intern(keys, numbers),
        }
    }

    fn take_all(&mut self) -> Result<Vec<ArrayRef>> {
        match self {
            Keys::One => Ok(Vec::new()),
            Keys::Many(values) => values.emit(EmitTo::All),
        }
    }

    /// How many; without a GROUP BY the one, whether it has events or not.
    fn len(&self) -> usize {
        match self {
            Keys::One => 1,
            Keys::Many(values) => values.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Keys::One => 0,
            Keys::Many(values) => values.size(),
        }
    }
}

/// The groups of one window.
pub(super) struct Groups {
    plan: Arc<Plan>,
    bounds: Bounds,
    keys: Keys,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// By group: events folded into it.
    events: Vec<u64>,
    grouped_as_other: u64,
    /// The number of `(other)`.
    other: Option<usize>,
    numbers: Vec<usize>,
}

/// Keys, `events`, and the states of each aggregate in turn.
pub(super) fn partial_schema(plan: &Plan) -> Result<SchemaRef> {
    let keys = plan.key_schema();
    let named = |name: String, field: &Field| Field::new(name, field.data_type().clone(), true);
    let mut fields: Vec<Field> =
        keys.fields().iter().enumerate().map(|(at, key)| named(format!("key_{at}"), key)).collect();
    fields.push(Field::new("events", DataType::UInt64, false));
    for (of, aggregate) in plan.aggregates().iter().enumerate() {
        let states = aggregate.function.state_fields()?;
        fields.extend(states.iter().enumerate().map(|(at, state)| named(format!("state_{of}_{at}"), state)));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn accumulators(plan: &Plan) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
    plan.aggregates().iter().map(|aggregate| aggregate.function.create_groups_accumulator()).collect()
}

impl Groups {
    pub(super) fn new(plan: Arc<Plan>, bounds: Bounds) -> Result<Groups> {
        Ok(Groups {
            keys: Keys::new(plan.key_schema())?,
            accumulators: accumulators(&plan)?,
            events: Vec::new(),
            grouped_as_other: 0,
            other: None,
            numbers: Vec::new(),
            plan,
            bounds,
        })
    }

    /// Adds rows.
    pub(super) fn add(&mut self, rows: &Evaluated) -> Result<()> {
        self.keys.number(&rows.keys, rows.times.len(), &mut self.numbers)?;
        if rows.times.is_empty() {
            return Ok(());
        }
        self.events.resize(self.keys.len(), 0);
        self.numbers.iter().for_each(|number| self.events[*number] += 1);
        let groups = self.events.len();
        for (at, accumulator) in self.accumulators.iter_mut().enumerate() {
            accumulator.update_batch(&rows.arguments[at], &self.numbers, rows.filters[at].as_ref(), groups)?;
        }
        if groups > self.bounds.groups_max { self.group_as_other(self.bounds.groups_max / KEPT_PART) } else { Ok(()) }
    }

    /// What they come to, to be merged with others ([`partial_schema`]).
    pub(super) fn into_partial(mut self) -> Result<RecordBatch> {
        let mut columns = self.keys.take_all()?;
        columns.push(Arc::new(UInt64Array::from(std::mem::take(&mut self.events))));
        for mut accumulator in std::mem::take(&mut self.accumulators) {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        Ok(RecordBatch::try_new(partial_schema(&self.plan)?, columns)?)
    }

    /// The same; the groups stay.
    pub(super) fn partial(&mut self) -> Result<RecordBatch> {
        let mut kept = Groups::new(self.plan.clone(), self.bounds)?;
        std::mem::swap(self, &mut kept);
        let grouped_as_other = kept.grouped_as_other;
        let partial = kept.into_partial()?;
        self.merge(&partial, grouped_as_other)?;
        Ok(partial)
    }

    /// Adds what others came to; of its groups so many were put together as `(other)`.
    pub(super) fn merge(&mut self, partial: &RecordBatch, grouped_as_other: u64) -> Result<()> {
        let (columns, keys) = (partial.columns(), self.plan.key_schema().fields().len());
        self.keys.number(&columns[..keys], partial.num_rows(), &mut self.numbers)?;
        self.grouped_as_other += grouped_as_other;
        if partial.num_rows() == 0 {
            return Ok(());
        }
        self.events.resize(self.keys.len(), 0);
        let events = columns[keys].as_primitive::<UInt64Type>();
        self.numbers.iter().zip(events.values()).for_each(|(number, events)| self.events[*number] += events);
        let (groups, mut states) = (self.events.len(), &columns[keys + 1..]);
        for (accumulator, aggregate) in self.accumulators.iter_mut().zip(self.plan.aggregates()) {
            let (own, others) = states.split_at(aggregate.function.state_fields()?.len());
            accumulator.merge_batch(own, &self.numbers, groups)?;
            states = others;
        }
        if groups > self.bounds.groups_max { self.group_as_other(self.bounds.groups_max / KEPT_PART) } else { Ok(()) }
    }

    /// The rows that the SQL makes of the groups, which stay; how many values are null since their expression failed.
    pub(super) fn rows(&mut self) -> Result<(RecordBatch, u64)> {
        let groups = self.events.len();
        let as_shown: Vec<usize> = (0..groups).collect();
        let mut columns = self.keys.take_all()?;
        self.keys = Keys::new(self.plan.key_schema())?;
        self.keys.number(&columns, groups, &mut self.numbers)?;
        self.renumber(groups);
        let (shown, kept) = (accumulators(&self.plan)?, accumulators(&self.plan)?);
        let given_away = std::mem::replace(&mut self.accumulators, kept);
        for ((mut given_away, mut shown), kept) in given_away.into_iter().zip(shown).zip(&mut self.accumulators) {
            let states = given_away.state(EmitTo::All)?;
            shown.merge_batch(&states, &as_shown, groups)?;
            columns.push(shown.evaluate(EmitTo::All)?);
            kept.merge_batch(&states, &self.numbers, groups)?;
        }
        self.plan.finish(columns, Vec::new(), groups)
    }

    /// The same rows, for the last time, with the states of their sketches.
    pub(super) fn finish(mut self) -> Result<(RecordBatch, u64)> {
        let groups = self.events.len();
        let as_they_are: Vec<usize> = (0..groups).collect();
        let mut columns = self.keys.take_all()?;
        let keys = columns.len();
        let kept: BTreeSet<usize> = self.plan.state_places().collect();
        let mut states = BTreeMap::new();
        for (at, mut accumulator) in std::mem::take(&mut self.accumulators).into_iter().enumerate() {
            if kept.contains(&(keys + at)) {
                // A sketch gives its state away, and is evaluated from that.
                let state = accumulator.state(EmitTo::All)?;
                accumulator = self.plan.aggregates()[at].function.create_groups_accumulator()?;
                accumulator.merge_batch(&state, &as_they_are, groups)?;
                states.extend(state.into_iter().next().map(|state| (keys + at, state)));
            }
            columns.push(accumulator.evaluate(EmitTo::All)?);
        }
        let states = self.plan.state_places().filter_map(|place| states.get(&place).cloned()).collect();
        self.plan.finish(columns, states, groups)
    }

    /// Counts go where their keys went.
    fn renumber(&mut self, groups: usize) {
        let mut events = vec![0; groups];
        self.numbers.iter().zip(&self.events).for_each(|(number, count)| events[*number] = *count);
        self.events = events;
        self.other = self.other.map(|other| self.numbers[other]);
    }

    /// Puts the smaller half of the groups together.
    pub(super) fn shrink(&mut self) -> Result<()> {
        self.group_as_other(self.events.len() / KEPT_PART)
    }

    /// Puts the smallest groups together: those with the fewest events, until so many are left beside `(other)`.
    fn group_as_other(&mut self, keep: usize) -> Result<()> {
        let groups = self.events.len();
        let keep = keep.max(1);
        let mut by_size: Vec<u32> = (0..groups as u32).collect();
        // Of equal ones the older stay, so that the outcome depends on the events alone.
        by_size.sort_by_key(|group| (std::cmp::Reverse(self.events[*group as usize]), *group));
        let mut is_kept = vec![false; groups];
        by_size[..keep].iter().for_each(|group| is_kept[*group as usize] = true);
        let kept: UInt32Array = (0..groups as u32).filter(|group| is_kept[*group as usize]).collect();

        let columns = self.keys.take_all()?;
        let columns = columns.iter().map(|column| with_other(column, &kept)).collect::<Result<Vec<_>>>()?;
        self.keys = Keys::new(self.plan.key_schema())?;
        let mut numbers = Vec::new();
        self.keys.number(&columns, kept.len() + 1, &mut numbers)?;
        // The last is (other)'s, which may be among those that were kept.
        let other = numbers[kept.len()];
        let mut to = vec![other; groups];
        kept.iter().flatten().zip(&numbers).for_each(|(group, number)| to[group as usize] = *number);

        let left = self.keys.len();
        let mut events = vec![0; left];
        to.iter().zip(&self.events).for_each(|(to, count)| events[*to] += count);
        let again = self.other.is_some_and(|other| !is_kept[other]);
        self.grouped_as_other += (groups - kept.len() - usize::from(again)) as u64;
        self.other = Some(other);
        self.events = events;
        let fresh = accumulators(&self.plan)?;
        for (mut accumulator, mut fresh) in std::mem::take(&mut self.accumulators).into_iter().zip(fresh) {
            fresh.merge_batch(&accumulator.state(EmitTo::All)?, &to, left)?;
            self.accumulators.push(fresh);
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Events that were folded.
    pub(super) fn events(&self) -> u64 {
        self.events.iter().sum()
    }

    pub(super) fn grouped_as_other(&self) -> u64 {
        self.grouped_as_other
    }

    pub(super) fn bytes(&self) -> usize {
        let accumulators: usize = self.accumulators.iter().map(|accumulator| accumulator.size()).sum();
        self.keys.bytes() + accumulators + self.events.capacity() * size_of::<u64>()
    }
}

/// The kept rows of a key's column, and one more for the others.
fn with_other(column: &ArrayRef, kept: &UInt32Array) -> Result<ArrayRef> {
    let kept = take(column, kept, None)?;
    let other = match is_text(column.data_type()) {
        true => cast(&StringArray::from_iter_values([OTHER]), column.data_type())?,
        false => new_null_array(column.data_type(), 1),
    };
    Ok(concat(&[kept.as_ref(), other.as_ref()])?)
}
