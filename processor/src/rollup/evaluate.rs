//! What a batch of events is to a rollup: keys, arguments and times of the rows that count.
use arrow_array::{ArrayRef, BooleanArray, UInt32Array};
use arrow_select::take::take;
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;

/// Rows of a batch, ready to be folded into windows.
#[derive(Debug)]
pub struct Evaluated {
    /// Event times, µs.
    pub times: Vec<i64>,
    /// By expression of the GROUP BY.
    pub keys: Vec<ArrayRef>,
    /// By aggregate: its arguments.
    pub arguments: Vec<Vec<ArrayRef>>,
    /// By aggregate: its FILTER, where it has one.
    pub filters: Vec<Option<BooleanArray>>,
    /// Values that are null since their expression failed on the row.
    pub failed: u64,
}

impl Evaluated {
    /// Some of the rows; `failed` stays with those that these are of.
    pub fn rows(&self, rows: &UInt32Array) -> Result<Evaluated> {
        let some = |array: &ArrayRef| Ok(take(array, rows, None)?);
        let all = |arrays: &Vec<ArrayRef>| arrays.iter().map(some).collect::<Result<Vec<_>>>();
        let filter = |filter: &Option<BooleanArray>| match filter {
            Some(filter) => Ok(Some(as_boolean_array(&take(filter, rows, None)?)?.clone())),
            None => Ok(None),
        };
        Ok(Evaluated {
            times: rows.values().iter().map(|row| self.times[*row as usize]).collect(),
            keys: all(&self.keys)?,
            arguments: self.arguments.iter().map(all).collect::<Result<_>>()?,
            filters: self.filters.iter().map(filter).collect::<Result<_>>()?,
            failed: 0,
        })
    }
}
