//! How the rows that a table holds of a window differ from those that its SQL gives. Pure.
//!
//! All must be equal, but for what adds floats: that is equal up to rounding.
use crate::fold::{OTHER, WindowRows};
use crate::rollup::{Exactness, Plan};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_cast::cast;
use arrow_cast::display::array_value_to_string;
use arrow_ord::cmp::distinct;
use arrow_row::{RowConverter, SortField};
use arrow_schema::{ArrowError, DataType};
use arrow_select::take::take;
use std::collections::HashMap;

/// What was found of a window.
pub(super) struct Found {
    /// Groups were put together: only sums were compared.
    pub(super) sums_only: bool,
    /// In words; `None`: there is none.
    pub(super) difference: Option<String>,
}

/// One column, as the SQL gives it and as the table holds it.
struct Pair<'a> {
    name: &'a str,
    exactness: Exactness,
    wanted: ArrayRef,
    held: ArrayRef,
}

/// Compares one window; `held`: the columns that the SQL makes, in their order.
pub(super) fn compare(plan: &Plan, wanted: &WindowRows, held: Option<&RecordBatch>) -> Result<Found, ArrowError> {
    let found = |difference| Ok(Found { sums_only: false, difference });
    let rows = wanted.rows.num_rows();
    let Some(held) = held else {
        return found((rows > 0).then(|| format!("no row, and events gives {rows} of {} events", wanted.events)));
    };
    let mut pairs = Vec::new();
    for (at, (name, exactness)) in plan.exactness().enumerate() {
        let (wanted, held) = (wanted.rows.column(at), held.column(at).clone());
        pairs.push(Pair { name, exactness, wanted: cast(wanted, held.data_type())?, held });
    }
    let (keys, values): (Vec<Pair>, Vec<Pair>) = pairs.into_iter().partition(|pair| pair.exactness == Exactness::Key);
    let is_put_together = |key: &Pair| has_other(&key.wanted) || has_other(&key.held);
    if !plan.has_every_key() || wanted.grouped_as_other > 0 || keys.iter().any(is_put_together) {
        // Of other groups a HAVING may leave out other ones.
        let difference = if plan.has_having() { None } else { values.iter().find_map(sums) };
        return Ok(Found { sums_only: true, difference });
    }
    let held_keys = as_bytes(keys.iter().map(|key| &key.held), held.num_rows())?;
    let held_at: HashMap<Vec<u8>, u32> = held_keys.into_iter().zip(0..).collect();
    // Where the table has each row of the SQL.
    let mut places = Vec::with_capacity(rows);
    for (row, key) in as_bytes(keys.iter().map(|key| &key.wanted), rows)?.iter().enumerate() {
        let Some(place) = held_at.get(key) else {
            return found(Some(format!("no row of {}, and events gives one", group(&keys, row))));
        };
        places.push(*place);
    }
    if held.num_rows() != rows {
        return found(Some(format!("{} rows, and events gives {rows}", held.num_rows())));
    }
    let places = UInt32Array::from(places);
    for pair in values {
        let held = take(&pair.held, &places, None)?;
        if let Some(row) = first_difference(pair.exactness, &pair.wanted, &held)? {
            let told = |array: &ArrayRef| array_value_to_string(array, row).unwrap_or_default();
            let (name, group) = (pair.name, group(&keys, row));
            let (held, wanted) = (told(&held), told(&pair.wanted));
            return found(Some(format!("{name} of {group} is {held}, and events gives {wanted}")));
        }
    }
    found(None)
}

/// The keys of so many rows as bytes; nothing where the SQL groups by nothing.
fn as_bytes<'a>(keys: impl Iterator<Item = &'a ArrayRef>, rows: usize) -> Result<Vec<Vec<u8>>, ArrowError> {
    let columns: Vec<ArrayRef> = keys.cloned().collect();
    if columns.is_empty() {
        return Ok(vec![Vec::new(); rows]);
    }
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let keys = RowConverter::new(fields)?.convert_columns(&columns)?;
    Ok(keys.iter().map(|key| key.as_ref().to_vec()).collect())
}

/// The group of a row that the SQL gives, in words.
fn group(keys: &[Pair], row: usize) -> String {
    let told = |key: &Pair| {
        let array = &key.wanted;
        let value =
            if array.is_null(row) { "null".into() } else { array_value_to_string(array, row).unwrap_or_default() };
        format!("{}={value}", key.name)
    };
    match keys {
        [] => "all".to_owned(),
        keys => keys.iter().map(told).collect::<Vec<_>>().join(" "),
    }
}

fn has_other(keys: &ArrayRef) -> bool {
    keys.as_string_opt::<i32>().is_some_and(|keys| keys.iter().any(|key| key == Some(OTHER)))
}

/// The first row in which two columns differ.
fn first_difference(exactness: Exactness, wanted: &ArrayRef, held: &ArrayRef) -> Result<Option<usize>, ArrowError> {
    let is_float = matches!(wanted.data_type(), DataType::Float32 | DataType::Float64);
    if !matches!(exactness, Exactness::Sum | Exactness::Rounded) || !is_float {
        let differs = distinct(wanted, held)?;
        return Ok((0..differs.len()).find(|row| differs.value(*row)));
    }
    let (wanted, held) = (cast(wanted, &DataType::Float64)?, cast(held, &DataType::Float64)?);
    let (wanted, held) = (wanted.as_primitive::<Float64Type>(), held.as_primitive::<Float64Type>());
    let is_near = |(wanted, held): (Option<f64>, Option<f64>)| match (wanted, held) {
        (Some(wanted), Some(held)) => {
            let near = ROUNDING * wanted.abs().max(held.abs()).max(1.0);
            wanted.to_bits() == held.to_bits() || (wanted - held).abs() <= near
        }
        (wanted, held) => wanted == held,
    };
    Ok(wanted.iter().zip(held).position(|pair| !is_near(pair)))
}

/// What the order of additions may change, as a share of the value; of small ones, so much: terms may cancel out.
const ROUNDING: f64 = 1e-6;

/// Sums of whole numbers over all groups: the same, however groups were put together.
fn sums(pair: &Pair) -> Option<String> {
    if pair.exactness != Exactness::Sum {
        return None;
    }
    let sum = |array: &ArrayRef| {
        let numbers = array.as_primitive_opt::<Int64Type>()?;
        Some(numbers.iter().flatten().map(i128::from).sum::<i128>())
    };
    let (held, wanted) = (sum(&pair.held)?, sum(&pair.wanted)?);
    (held != wanted).then(|| format!("{} of all groups together is {held}, and events gives {wanted}", pair.name))
}
