//! `approx_percentile(x, p)`: the value that a share of p is not above, by a histogram with fixed boundaries.
use super::histogram::{Bucket, Histogram};
use super::sketch::{Finish, OneSketch, Sketch, SketchAccumulator, Takes, coerce_state};
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{ArrayRef, Float64Array};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};
use datafusion::physical_expr::expressions::Literal;
use std::sync::Arc;

impl Sketch for Histogram {
    type Value = Bucket;

    fn empty() -> Self {
        Histogram::default()
    }

    fn values(values: &ArrayRef) -> Result<Vec<Option<Bucket>>> {
        let values = values.as_primitive_opt::<Float64Type>();
        let values =
            values.ok_or_else(|| DataFusionError::Internal("approx_percentile of what is no double".to_owned()))?;
        Ok(values.iter().map(|value| value.and_then(Bucket::of)).collect())
    }

    fn add(&mut self, value: Bucket) {
        Histogram::add(self, value);
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        Histogram::merge(self, other);
        Ok(())
    }

    fn to_bytes(&self) -> Vec<u8> {
        Histogram::to_bytes(self)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Histogram::from_bytes(bytes).map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn heap_bytes(&self) -> usize {
        // A bucket and its count, in nodes that are two thirds full.
        self.buckets() * 24
    }
}

/// `approx_percentile`, and `approx_percentile_merge` of its states.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ApproxPercentile {
    takes: Takes,
    signature: Signature,
}

impl ApproxPercentile {
    pub fn new(takes: Takes) -> Self {
        ApproxPercentile { takes, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// What is made of a histogram, by the second argument.
fn finish(args: &AccumulatorArgs) -> Result<Finish<Histogram>> {
    let literal = args.exprs.get(1).and_then(|p| p.downcast_ref::<Literal>());
    let p = match literal.map(Literal::value) {
        Some(ScalarValue::Float64(Some(p))) if (0.0..=1.0).contains(p) => *p,
        _ => return plan_err!("the second argument of approx_percentile is a number from 0 to 1, such as 0.95"),
    };
    Ok(Arc::new(move |histograms: &[Option<Histogram>]| {
        let percentile =
            |histogram: &Option<Histogram>| histogram.as_ref().and_then(|histogram| histogram.percentile(p));
        Ok(Arc::new(Float64Array::from_iter(histograms.iter().map(percentile))))
    }))
}

impl AggregateUDFImpl for ApproxPercentile {
    fn name(&self) -> &str {
        match self.takes {
            Takes::Values => "approx_percentile",
            Takes::States => "approx_percentile_merge",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [state, p] if self.takes == Takes::States && p.is_numeric() => {
                coerce_state(self.name(), &[state.clone(), DataType::Float64])
            }
            _ if self.takes == Takes::States => {
                plan_err!("approx_percentile_merge takes two arguments: a state, and a share from 0 to 1")
            }
            [value, p] if (value.is_numeric() || value.is_null()) && p.is_numeric() => Ok(vec![DataType::Float64; 2]),
            [value, _] => plan_err!("approx_percentile takes a number and a share from 0 to 1, not {value}"),
            _ => plan_err!("approx_percentile takes two arguments: a column, and a share from 0 to 1"),
        }
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "histogram"), DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneSketch::new(self.takes, finish(&args)?)))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(SketchAccumulator::new(self.takes, finish(&args)?)))
    }
}
