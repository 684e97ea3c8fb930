//! `approx_distinct_union(state)` and `approx_percentile_union(state)`: the state of several states together.
use super::sketch::{Finish, OneSketch, Sketch, SketchAccumulator, Takes, coerce_state, to_state};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};
use std::any::type_name;
use std::fmt::{self, Debug, Formatter};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

/// The state of one kind of sketches.
pub struct Union<S> {
    name: &'static str,
    signature: Signature,
    sketch: PhantomData<fn() -> S>,
}

impl<S> Union<S> {
    pub fn new(name: &'static str) -> Self {
        Union { name, signature: Signature::user_defined(Volatility::Immutable), sketch: PhantomData }
    }
}

fn finish<S: Sketch>() -> Finish<S> {
    Arc::new(|sketches| Ok(to_state(sketches)))
}

impl<S: Sketch> AggregateUDFImpl for Union<S> {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [_] => coerce_state(self.name, arg_types),
            _ => plan_err!("{} takes one argument", self.name),
        }
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sketch"), DataType::Binary, true))])
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneSketch::<S>::new(Takes::States, finish())))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(SketchAccumulator::<S>::new(Takes::States, finish())))
    }
}

// Of the name alone: what a sketch is has no part in it.
impl<S> PartialEq for Union<S> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<S> Eq for Union<S> {}

impl<S> Hash for Union<S> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl<S> Debug for Union<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Union").field("name", &self.name).field("of", &type_name::<S>()).finish_non_exhaustive()
    }
}
