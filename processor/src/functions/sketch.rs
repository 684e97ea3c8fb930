//! A sketch for each group: what DataFusion asks of an accumulator, for any sketch.
use arrow_array::builder::BinaryBuilder;
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_schema::DataType;
use datafusion::common::cast::as_binary_array;
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use std::fmt::Debug;
use std::sync::Arc;

/// Values in few bytes, mergeable.
pub trait Sketch: Clone + Debug + Send + Sync + 'static {
    /// A value as the sketch takes it.
    type Value: Copy;

    /// Of no values.
    fn empty() -> Self;
    /// What the rows of `values` are to the sketch; null rows are nothing.
    fn values(values: &ArrayRef) -> Result<Vec<Option<Self::Value>>>;
    /// Adds a value.
    fn add(&mut self, value: Self::Value);
    /// Adds all of another.
    fn merge(&mut self, other: &Self) -> Result<()>;
    /// Its bytes, with their version.
    fn to_bytes(&self) -> Vec<u8>;
    /// From its bytes.
    fn from_bytes(bytes: &[u8]) -> Result<Self>;
    /// Memory that it takes beside itself.
    fn heap_bytes(&self) -> usize;
}

/// What comes of a sketch: an array with a row a sketch.
pub type Finish<S> = Arc<dyn Fn(&[Option<S>]) -> Result<ArrayRef> + Send + Sync>;

/// What is aggregated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Takes {
    /// Values.
    Values,
    /// Sketches of values, by their bytes: what was aggregated already.
    States,
}

/// The types of a merging function's arguments: a state, then what else it takes.
pub fn coerce_state(function: &str, arg_types: &[DataType]) -> Result<Vec<DataType>> {
    use DataType::{Binary, BinaryView, LargeBinary, Null};
    match arg_types {
        [Binary | BinaryView | LargeBinary | Null, rest @ ..] => Ok([&[Binary], rest].concat()),
        _ => plan_err!("{function} takes a state: a column of a rollup whose name ends with _state"),
    }
}

/// A sketch for each group. Groups without a value have none: they are most where keys are many.
pub struct SketchAccumulator<S> {
    sketches: Vec<Option<S>>,
    heap_bytes: usize,
    takes: Takes,
    finish: Finish<S>,
}

impl<S: Sketch> SketchAccumulator<S> {
    /// Of no groups.
    pub fn new(takes: Takes, finish: Finish<S>) -> Self {
        SketchAccumulator { sketches: Vec::new(), heap_bytes: 0, takes, finish }
    }

    fn change(&mut self, group: usize, change: impl FnOnce(&mut S) -> Result<()>) -> Result<()> {
        let sketch = self.sketches[group].get_or_insert_with(S::empty);
        let before = sketch.heap_bytes();
        let changed = change(sketch);
        self.heap_bytes = (self.heap_bytes + sketch.heap_bytes()).saturating_sub(before);
        changed
    }

    fn merge(
        &mut self,
        states: &ArrayRef,
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.sketches.resize(total_num_groups, None);
        for (row, (state, group)) in as_binary_array(states)?.iter().zip(group_indices).enumerate() {
            if let Some(state) = state.filter(|_| counts(filter, row)) {
                let other = S::from_bytes(state)?;
                match &self.sketches[*group] {
                    Some(_) => self.change(*group, |sketch| sketch.merge(&other))?,
                    None => {
                        self.heap_bytes += other.heap_bytes();
                        self.sketches[*group] = Some(other);
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Option<S>> {
        let taken = emit_to.take_needed(&mut self.sketches);
        let bytes: usize = taken.iter().flatten().map(S::heap_bytes).sum();
        self.heap_bytes = self.heap_bytes.saturating_sub(bytes);
        taken
    }
}

fn counts(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// The bytes of each sketch; null where there is none.
pub fn to_state<S: Sketch>(sketches: &[Option<S>]) -> ArrayRef {
    let mut states = BinaryBuilder::new();
    sketches.iter().for_each(|sketch| states.append_option(sketch.as_ref().map(S::to_bytes)));
    Arc::new(states.finish())
}

impl<S: Sketch> GroupsAccumulator for SketchAccumulator<S> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        if self.takes == Takes::States {
            return self.merge(&values[0], group_indices, opt_filter, total_num_groups);
        }
        self.sketches.resize(total_num_groups, None);
        for (row, (value, group)) in S::values(&values[0])?.into_iter().zip(group_indices).enumerate() {
            if let Some(value) = value.filter(|_| counts(opt_filter, row)) {
                self.change(*group, |sketch| {
                    sketch.add(value);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sketches = self.take(emit_to);
        (self.finish)(&sketches)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![to_state(&self.take(emit_to))])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.merge(&values[0], group_indices, None, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut each = SketchAccumulator::new(self.takes, self.finish.clone());
        let rows: Vec<usize> = (0..values[0].len()).collect();
        each.update_batch(values, &rows, opt_filter, rows.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.sketches.capacity() * size_of::<Option<S>>() + self.heap_bytes
    }
}

/// One sketch: for queries without groups.
#[derive(Debug)]
pub struct OneSketch<S>(SketchAccumulator<S>);

impl<S> Debug for SketchAccumulator<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SketchAccumulator").field("groups", &self.sketches.len()).finish_non_exhaustive()
    }
}

impl<S: Sketch> OneSketch<S> {
    /// Of no values.
    pub fn new(takes: Takes, finish: Finish<S>) -> Self {
        let mut groups = SketchAccumulator::new(takes, finish);
        groups.sketches.push(None);
        OneSketch(groups)
    }

    fn to_array(&self) -> Result<ArrayRef> {
        (self.0.finish)(&self.0.sketches)
    }
}

impl<S: Sketch> Accumulator for OneSketch<S> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.to_array()?, 0)
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::try_from_array(&to_state(&self.0.sketches), 0)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &vec![0; states[0].len()], 1)
    }
}
