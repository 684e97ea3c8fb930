//! Batches of a stream to one batch of the canonical schema.
//!
//! Promise: absent columns are null, no required column has a null, times that the lake partitions by are dates of
//! four digits, and the strings of the batch, each counted in every row that has it, stay within
//! `limits::DECODED_BYTES_MAX`, so that nobody downstream who unfolds a dictionary gets more than that.
use super::fields::Fields as StreamFields;
use crate::batch::dictionary::DictionaryBuilder;
use crate::clock::Micros;
use crate::limits;
use crate::nulls::{SHARED_ROWS, nulls};
use crate::remembered::Remembered;
use crate::schema::{self, Column, Kind};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, ArrayRef, MapArray, RecordBatch, RecordBatchOptions, StringArray, StructArray};
use arrow_cast::cast;
use arrow_schema::{DataType, Fields};
use arrow_select::concat::concat_batches;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock};

/// 0001-01-01T00:00:00Z.
const TIME_MIN: Micros = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z.
const TIME_MAX: Micros = 253_402_300_799_999_999;

/// Numbers of rows of which the null columns are kept at hand: 66 arrays of some 150 bytes each, 2.5 MB in all.
const ROW_COUNTS_MAX: usize = 256;

/// By column so many nulls.
type NullColumns = Vec<ArrayRef>;

/// Null columns by rows: cut from the shared ones once, not for each record.
static NULLS: LazyLock<Remembered<usize, NullColumns>> = LazyLock::new(|| Remembered::new(ROW_COUNTS_MAX));

fn null_columns(rows: usize) -> Arc<NullColumns> {
    let make = || Column::all().map(|column| nulls(&column.kind().data_type(), rows)).collect();
    if rows > SHARED_ROWS {
        return Arc::new(make());
    }
    let Ok(columns) = NULLS.get_or_make(&rows, || Ok::<_, Infallible>(make()));
    columns
}

/// Brings the batches of one stream to the canonical schema, as one batch.
pub(super) fn from_batches(fields: &StreamFields, batches: Vec<RecordBatch>) -> Result<RecordBatch, String> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows > limits::RECORD_ROWS_MAX {
        return Err(format!("the record has {rows} rows, over the limit of {}", limits::RECORD_ROWS_MAX));
    }
    let mut left = limits::DECODED_BYTES_MAX;
    let mut canonical = Vec::with_capacity(batches.len());
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        canonical.push(from_batch(fields, batch, &mut left)?);
    }
    match canonical.len() {
        1 => Ok(canonical.remove(0)),
        _ => concat_batches(&schema::canonical(), &canonical).map_err(|cause| format!("batches don't join: {cause}")),
    }
}

fn from_batch(fields: &StreamFields, batch: &RecordBatch, left: &mut usize) -> Result<RecordBatch, String> {
    let rows = batch.num_rows();
    let nulls = null_columns(rows);
    let mut arrays = Vec::with_capacity(schema::COLUMNS.len());
    for column in Column::all() {
        let array = match fields.place(column).map(|place| batch.column(place)) {
            Some(array) => {
                let failed = |cause: String| format!("column {}: {cause}", column.name());
                from_array(column, array, left).map_err(failed)?
            }
            None => nulls[column.index()].clone(),
        };
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema::canonical(), arrays, &options).map_err(|cause| cause.to_string())
}

/// `array` in the type of `column`, checked.
fn from_array(column: Column, array: &ArrayRef, left: &mut usize) -> Result<ArrayRef, String> {
    if !column.spec().nullable && array.logical_null_count() > 0 {
        return Err("a required value is missing".to_owned());
    }
    let wanted = column.kind().data_type();
    let array = match column.kind() {
        Kind::Text { .. } | Kind::Dictionary { .. } => {
            spend(left, strings_bytes(array)?)?;
            to_type(array, &wanted)?
        }
        Kind::Time => {
            let times = array.as_primitive_opt::<TimestampMicrosecondType>().ok_or("not in microseconds")?;
            if matches!(column, Column::EVENT_TIME | Column::RECEIVED_AT) {
                check_times(times.values())?;
            }
            Arc::new(times.clone().with_timezone(schema::TIME_ZONE))
        }
        Kind::Custom => custom(array, left)?,
        _ => array.clone(),
    };
    if column == Column::EVENT_TYPE && has_empty_string(&array)? {
        return Err("it is empty".to_owned());
    }
    Ok(array)
}

fn to_type(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, String> {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    if let (Some(strings), DataType::Dictionary(..)) = (array.as_string_opt::<i32>(), wanted) {
        return dictionary_of(strings);
    }
    cast(array, wanted).map_err(|cause| cause.to_string())
}

/// As `encode` writes a small batch; Arrow's cast hashes each string, and takes as long as all else that is done to such
/// a record.
fn dictionary_of(strings: &StringArray) -> Result<ArrayRef, String> {
    let mut builder = DictionaryBuilder::with_capacity(strings.len());
    for string in strings {
        match string {
            Some(string) => builder.append(string).map(drop).ok_or("it has too many values")?,
            None => builder.append_nulls(1),
        }
    }
    Ok(builder.finish())
}

fn spend(left: &mut usize, bytes: u64) -> Result<(), String> {
    let max = limits::DECODED_BYTES_MAX;
    let rest = usize::try_from(bytes).ok().and_then(|bytes| left.checked_sub(bytes));
    *left = rest.ok_or_else(|| format!("the record's strings take more than {max} bytes when unfolded"))?;
    Ok(())
}

/// Bytes of the strings of all rows, a dictionary's value counted in each row that has it.
fn strings_bytes(array: &ArrayRef) -> Result<u64, String> {
    let Some(dictionary) = array.as_any_dictionary_opt() else {
        return Ok(lengths(array)?.sum());
    };
    let lengths: Vec<u64> = lengths(dictionary.values())?.collect();
    let of = |key: usize| lengths.get(key).copied().unwrap_or_default();
    match dictionary.keys().as_primitive_opt::<Int32Type>() {
        Some(keys) => Ok(keys.iter().flatten().map(|key| of(key as usize)).sum()),
        None => {
            let keys = cast(dictionary.keys(), &DataType::UInt64).map_err(|cause| cause.to_string())?;
            let keys = keys.as_primitive_opt::<UInt64Type>().ok_or("dictionary keys are no integers")?;
            Ok(keys.iter().flatten().map(|key| of(key as usize)).sum())
        }
    }
}

/// Of each string, a null's 0.
fn lengths(array: &ArrayRef) -> Result<Box<dyn Iterator<Item = u64> + '_>, String> {
    let length = |text: Option<&str>| text.map_or(0, |text| text.len() as u64);
    match array.data_type() {
        DataType::Utf8 => Ok(Box::new(array.as_string::<i32>().iter().map(length))),
        DataType::LargeUtf8 => Ok(Box::new(array.as_string::<i64>().iter().map(length))),
        DataType::Utf8View => Ok(Box::new(array.as_string_view().iter().map(length))),
        other => Err(format!("{other} is no string type")),
    }
}

fn check_times(times: &[Micros]) -> Result<(), String> {
    match times.iter().find(|time| !(TIME_MIN..=TIME_MAX).contains(*time)) {
        Some(time) => Err(format!("{time} us is not between the years 1 and 9999")),
        None => Ok(()),
    }
}

fn has_empty_string(dictionary: &ArrayRef) -> Result<bool, String> {
    let dictionary = dictionary.as_any_dictionary_opt().ok_or("not a dictionary")?;
    let values = dictionary.values().as_string_opt::<i32>().ok_or("not a dictionary of strings")?;
    let keys = dictionary.normalized_keys();
    Ok(keys.iter().any(|key| values.value(*key).is_empty()))
}

/// The map with our names of its parts: key_value, key, value.
fn custom(array: &ArrayRef, left: &mut usize) -> Result<ArrayRef, String> {
    let map = array.as_map_opt().ok_or("not a map")?;
    spend(left, lengths(map.keys())?.sum())?;
    spend(left, lengths(map.values())?.sum())?;
    let entries = schema::custom_entries();
    if map.data_type() == &Kind::Custom.data_type() {
        return Ok(array.clone());
    }
    let DataType::Struct(fields) = entries.data_type() else { return Err("the schema's entries are no struct".into()) };
    let fields: Fields = fields.clone();
    let strings = vec![to_type(map.keys(), &DataType::Utf8)?, to_type(map.values(), &DataType::Utf8)?];
    let pairs = StructArray::try_new(fields, strings, map.entries().nulls().cloned());
    let pairs = pairs.map_err(|cause| cause.to_string())?;
    let map = MapArray::try_new(entries, map.offsets().clone(), pairs, map.nulls().cloned(), false);
    map.map(|map| Arc::new(map) as ArrayRef).map_err(|cause| cause.to_string())
}
