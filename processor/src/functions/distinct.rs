//! `approx_distinct(x)`: how many distinct values, by an HLL of Apache DataSketches.
//!
//! Values are hashed as its Java and C++ libraries hash them: strings and binaries by their bytes, whole numbers and
//! times as 64-bit integers, floats as canonical doubles. So a state can be read by whoever has these libraries, such as
//! Spark (`hll_sketch_estimate`). Empty strings are values here (there they are skipped).
use super::sketch::{Finish, OneSketch, Sketch, SketchAccumulator, Takes, coerce_state};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int64Array};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};
use datasketches::hash::value::{canonical_float, raw_bytes};
use datasketches::hll::{Coupon, HllSketch, HllType, HllUnion};
use std::sync::Arc;

/// 2^12 registers: 1.04 / 64 = 1.6 % standard deviation (Flajolet et al. 2007), 4 KiB at most.
const LG_K: u8 = 12;

/// Bytes of a serialised sketch (the HLL preamble of Apache DataSketches): its flags and its mode, of which the lowest two
/// bits say whether it holds registers; and the flag that its values did not come in one order.
const FLAGS: usize = 5;
const MODE: usize = 7;
const MODE_MASK: u8 = 3;
const MODE_HLL: u8 = 2;
const OUT_OF_ORDER: u8 = 16;

fn failed(error: datasketches::error::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// An HLL.
#[derive(Debug, Clone)]
pub struct Hll(HllSketch);

impl Sketch for Hll {
    type Value = Coupon;

    fn empty() -> Self {
        // lg k is between 4 and 21: that is all that can be wrong.
        Hll(HllSketch::new(LG_K, HllType::Hll8).unwrap_or_else(|_| unreachable!("lg k is in range")))
    }

    fn values(values: &ArrayRef) -> Result<Vec<Option<Coupon>>> {
        fn of_bytes<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Vec<Option<Coupon>> {
            values.map(|value| value.map(|value| Coupon::from_value(raw_bytes::from_slice(value)))).collect()
        }
        Ok(match values.data_type() {
            DataType::Utf8 => of_bytes(values.as_string::<i32>().iter().map(|value| value.map(str::as_bytes))),
            DataType::LargeUtf8 => of_bytes(values.as_string::<i64>().iter().map(|value| value.map(str::as_bytes))),
            DataType::Utf8View => of_bytes(values.as_string_view().iter().map(|value| value.map(str::as_bytes))),
            DataType::Binary => of_bytes(values.as_binary::<i32>().iter()),
            DataType::BinaryView => of_bytes(values.as_binary_view().iter()),
            DataType::FixedSizeBinary(_) => of_bytes(values.as_fixed_size_binary().iter()),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                let floats = arrow_cast::cast(values, &DataType::Float64)?;
                let floats = floats.as_primitive::<Float64Type>().iter();
                floats.map(|value| value.map(|value| Coupon::from_value(canonical_float::from_f64(value)))).collect()
            }
            // Whole numbers, booleans, times.
            _ => {
                let numbers = arrow_cast::cast(values, &DataType::Int64)?;
                numbers.as_primitive::<Int64Type>().iter().map(|value| value.map(Coupon::from_value)).collect()
            }
        })
    }

    fn add(&mut self, value: Coupon) {
        self.0.update_with_coupon(value);
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        let mut union = HllUnion::new(LG_K).map_err(failed)?;
        union.update(&self.0);
        union.update(&other.0);
        self.0 = union.to_sketch(HllType::Hll8);
        Ok(())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.serialize();
        // Whoever reads it shall estimate as we do, by the registers alone.
        if bytes.get(MODE).is_some_and(|mode| mode & MODE_MASK == MODE_HLL) {
            bytes[FLAGS] |= OUT_OF_ORDER;
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        HllSketch::deserialize(bytes).map(Hll).map_err(failed)
    }

    fn heap_bytes(&self) -> usize {
        self.0.estimated_size()
    }
}

/// The estimates, rounded; of no values 0. By the registers alone (the composite estimator): the other one, which is 0.3 %
/// nearer, depends on the order in which values came and sketches were merged, so that the same events would have several.
fn estimates(sketches: &[Option<Hll>]) -> Result<ArrayRef> {
    let estimate =
        |sketch: &Option<Hll>| sketch.as_ref().map_or(0, |Hll(sketch)| sketch.composite_estimate().round() as i64);
    Ok(Arc::new(Int64Array::from_iter_values(sketches.iter().map(estimate))))
}

/// `approx_distinct`, and `approx_distinct_merge` of its states.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ApproxDistinct {
    takes: Takes,
    signature: Signature,
}

impl ApproxDistinct {
    pub fn new(takes: Takes) -> Self {
        ApproxDistinct { takes, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn finish() -> Finish<Hll> {
    Arc::new(estimates)
}

impl AggregateUDFImpl for ApproxDistinct {
    fn name(&self) -> &str {
        match self.takes {
            Takes::Values => "approx_distinct",
            Takes::States => "approx_distinct_merge",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [_] if self.takes == Takes::States => return coerce_state(self.name(), arg_types),
            _ if self.takes == Takes::States => return plan_err!("{} takes one argument, a state", self.name()),
            _ => {}
        }
        match arg_types {
            [DataType::Dictionary(_, value)] => Ok(vec![value.as_ref().clone()]),
            // No 64-bit integer holds all of these.
            [DataType::Null | DataType::UInt64] => Ok(vec![DataType::Utf8]),
            [decimal] if decimal.is_decimal() => Ok(vec![DataType::Utf8]),
            [nested] if nested.is_nested() => {
                plan_err!("approx_distinct counts strings, numbers, times and binaries, not {nested}")
            }
            [_] => Ok(arg_types.to_vec()),
            _ => plan_err!("approx_distinct takes one argument"),
        }
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "hll"), DataType::Binary, true))])
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneSketch::new(self.takes, finish())))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(SketchAccumulator::new(self.takes, finish())))
    }

    fn default_value(&self, _data_type: &DataType) -> Result<datafusion::common::ScalarValue> {
        Ok(datafusion::common::ScalarValue::Int64(Some(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{StringArray, StringViewArray};

    fn of(values: ArrayRef) -> Hll {
        let mut hll = Hll::empty();
        Hll::values(&values).unwrap().into_iter().flatten().for_each(|value| hll.add(value));
        hll
    }

    fn numbers(range: std::ops::Range<i64>) -> Hll {
        of(Arc::new(Int64Array::from_iter_values(range)))
    }

    #[test]
    fn estimates_are_within_five_standard_deviations_and_merging_changes_nothing_of_that() {
        for distinct in [0_i64, 1, 10, 1_000, 100_000] {
            let mut merged = numbers(0..distinct / 2);
            merged.merge(&numbers(distinct / 3..distinct)).unwrap();
            for hll in [numbers(0..distinct), merged] {
                let again = Hll::from_bytes(&hll.to_bytes()).unwrap();
                let error = (again.0.estimate() - distinct as f64).abs();
                assert!(error <= 5.0 * 0.016 * distinct as f64, "{distinct}: {}", again.0.estimate());
            }
        }
    }

    #[test]
    fn estimates_depend_on_the_values_alone_not_on_the_order_in_which_they_came() {
        let estimate = |hll: &Hll| estimates(&[Some(hll.clone())]).unwrap().as_primitive::<Int64Type>().value(0);
        for distinct in [100, 300, 400, 1_000, 50_000] {
            let forth = numbers(0..distinct);
            let mut back = of(Arc::new(Int64Array::from_iter_values((distinct / 2..distinct).rev())));
            let mut rest = of(Arc::new(Int64Array::from_iter_values((0..distinct / 2).rev())));
            rest.merge(&back).unwrap();
            back.merge(&numbers(0..distinct / 2)).unwrap();
            let read = Hll::from_bytes(&forth.to_bytes()).unwrap();
            assert_eq!(
                read.0.estimate().round() as i64,
                estimate(&forth),
                "{distinct}: as its bytes are read by others"
            );
            for other in [back, rest, read] {
                assert_eq!(estimate(&other), estimate(&forth), "{distinct}");
            }
        }
    }

    #[test]
    fn a_value_is_the_same_whatever_array_it_stands_in() {
        let words = ["a", "bc", "", "länger als zwölf Bytes"];
        let plain: ArrayRef = Arc::new(StringArray::from_iter_values(words));
        let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(words));
        assert_eq!(of(plain).to_bytes(), of(views).to_bytes());
    }

    #[test]
    fn bytes_that_are_no_sketch_are_refused() {
        let bytes = numbers(0..1_000).to_bytes();
        assert!(Hll::from_bytes(&bytes[..7]).is_err());
        assert!(Hll::from_bytes(b"not a sketch at all").is_err());
    }
}
