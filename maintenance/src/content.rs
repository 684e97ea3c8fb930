//! What rows say, kept as sums: so that rows of millions can be compared with those that take their place. Pure.
use crate::limits::{RECORDS_COUNTED_MAX, SECONDS_MAX};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{AnyDictionaryArray, ArrayRef, RecordBatch, downcast_primitive_array};
use arrow_buffer::ToByteSlice;
use arrow_row::{RowConverter, SortField};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use event::schema::Column;
use futures::TryStreamExt as _;
use lake::table::{Error, Table};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

const SECOND_US: i64 = 1_000_000;

/// Sums of hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    /// Of whole rows.
    rows: u128,
    /// Of what tells rows apart, and where in the log they stand ([`IDENTITY`]).
    identities: u128,
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.rows = self.rows.wrapping_add(other.rows);
        self.identities = self.identities.wrapping_add(other.identities);
    }

    fn subtract(&mut self, other: Sums) {
        self.rows = self.rows.wrapping_sub(other.rows);
        self.identities = self.identities.wrapping_sub(other.identities);
    }
}

/// Columns of a row's identity.
const IDENTITY: [&str; 5] = ["tenant_id", "event_id", "_partition", "_offset", "_row"];

/// Rows, without their order: how many of each partition, and for each second of event time the sum of their hashes. Every
/// column counts, the place in the log too.
#[derive(Debug, Clone)]
pub struct Content {
    /// Rows of each partition of the log.
    pub partitions: BTreeMap<i32, i64>,
    /// By the second of `event_time`; rows of a table that has none are in second 0.
    seconds: HashMap<i64, Sums>,
    /// How many of each record `(_partition, _offset)`; `None`: they are of too many records to be counted so.
    records: Option<HashMap<(i32, i64), i64>>,
}

impl Default for Content {
    fn default() -> Self {
        Content { partitions: BTreeMap::new(), seconds: HashMap::new(), records: Some(HashMap::new()) }
    }
}

impl Content {
    /// Of so many rows of each record: for tests of who goes by these.
    #[cfg(test)]
    pub(crate) fn counted(records: impl IntoIterator<Item = ((i32, i64), i64)>) -> Content {
        let mut content = Content::default();
        for (record, rows) in records {
            content.count(record, rows);
            *content.partitions.entry(record.0).or_default() += rows;
        }
        content
    }

    /// How many rows of each record; `None`: they are of too many.
    pub(crate) fn records(&self) -> Option<&HashMap<(i32, i64), i64>> {
        self.records.as_ref()
    }

    /// So many rows more of a record.
    pub(crate) fn count(&mut self, record: (i32, i64), rows: i64) {
        let Some(records) = &mut self.records else { return };
        *records.entry(record).or_default() += rows;
        if records.len() > RECORDS_COUNTED_MAX {
            self.records = None;
        }
    }

    fn count_all(&mut self, other: &Content, sign: i64) {
        match &other.records {
            Some(records) => records.iter().for_each(|(record, rows)| self.count(*record, sign * rows)),
            None => self.records = None,
        }
    }

    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.partitions.values().sum::<i64>().unsigned_abs()
    }

    /// Takes up the rows of a batch.
    ///
    /// # Errors
    /// A column of a type that has no order, or rows without `_partition`.
    pub fn add(&mut self, rows: &RecordBatch) -> Result<(), ArrowError> {
        let hashes = hashes(rows)?;
        let (partitions, offsets) =
            places(rows).ok_or_else(|| ArrowError::SchemaError("rows without a place in the log".to_owned()))?;
        let times = rows.column_by_name(Column::EVENT_TIME.name()).map(times).transpose()?;
        let mut run = 0;
        for (row, hash) in hashes.into_iter().enumerate() {
            let second = times.as_ref().map_or(0, |times| second_of(times[row]));
            self.seconds.entry(second).or_default().add(hash);
            // Rows of one record lie together nearly always.
            let record = (partitions[row], offsets[row]);
            run += 1;
            if row + 1 == rows.num_rows() || (partitions[row + 1], offsets[row + 1]) != record {
                self.count(record, run);
                *self.partitions.entry(record.0).or_default() += run;
                run = 0;
            }
        }
        if self.seconds.len() > SECONDS_MAX {
            return Err(ArrowError::ComputeError(format!(
                "they lie in more than {SECONDS_MAX} seconds, which are too many to be compared at once: take smaller chunks"
            )));
        }
        Ok(())
    }

    /// Takes up other rows.
    pub fn join(&mut self, other: &Content) {
        for (second, sums) in &other.seconds {
            self.seconds.entry(*second).or_default().add(*sums);
        }
        for (partition, rows) in &other.partitions {
            *self.partitions.entry(*partition).or_default() += rows;
        }
        self.count_all(other, 1);
    }

    /// Takes rows away that were taken up before.
    pub fn leave(&mut self, other: &Content) {
        for (second, sums) in &other.seconds {
            self.seconds.entry(*second).or_default().subtract(*sums);
        }
        for (partition, rows) in &other.partitions {
            *self.partitions.entry(*partition).or_default() -= rows;
        }
        self.count_all(other, -1);
    }

    /// Seconds whose rows are not the same in both, by their first moment, µs.
    pub fn differing(&self, other: &Content) -> Vec<i64> {
        self.differing_in(other, |sums| sums.rows).map(|second| second * SECOND_US).collect()
    }

    /// Seconds in which other rows stand than in `other`, whatever else they say: numbers of seconds since 1970.
    pub(crate) fn with_other_rows(&self, other: &Content) -> HashSet<i64> {
        self.differing_in(other, |sums| sums.identities).collect()
    }

    /// Whether both are the same rows.
    pub(crate) fn is_as(&self, other: &Content) -> bool {
        self.partitions == other.partitions && self.differing_in(other, |sums| sums.rows).next().is_none()
    }

    fn differing_in(&self, other: &Content, of: impl Fn(Sums) -> u128) -> impl Iterator<Item = i64> {
        let seconds: BTreeSet<i64> = self.seconds.keys().chain(other.seconds.keys()).copied().collect();
        let sum = move |content: &Content, second| of(content.seconds.get(&second).copied().unwrap_or_default());
        seconds.into_iter().filter(move |second| sum(self, *second) != sum(other, *second))
    }

    /// One number for all of it: equal for equal rows, whatever files they lie in.
    pub fn sum(&self) -> u128 {
        self.seconds.values().fold(0, |sum, of| sum.wrapping_add(of.rows))
    }
}

/// The second of event time that a moment (µs) is in, since 1970.
pub(crate) fn second_of(time_us: i64) -> i64 {
    time_us.div_euclid(SECOND_US)
}

fn times(column: &ArrayRef) -> Result<Vec<i64>, ArrowError> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let times = column.as_primitive_opt::<TimestampMicrosecondType>();
    let times =
        times.ok_or_else(|| ArrowError::SchemaError(format!("event_time is {}, not {micros}", column.data_type())))?;
    Ok(times.values().to_vec())
}

/// What the values of one column are multiplied with before those of the next are added: odd, its bits without a pattern (the
/// multiplier of PCG's 128-bit generator, O'Neill 2014).
const NEXT_COLUMN: u128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645;

/// Of each row, over all columns in their order. A string is the same whether it comes as a dictionary or not. The last step is
/// not linear, so that a value that has changed places with that of another row changes their sum.
fn hashes(rows: &RecordBatch) -> Result<Vec<Sums>, ArrowError> {
    let mut hashes = vec![Sums::default(); rows.num_rows()];
    let next = |sum: u128, value: u64| sum.wrapping_mul(NEXT_COLUMN).wrapping_add(u128::from(value));
    for ((seed, column), field) in (1..).zip(rows.columns()).zip(rows.schema_ref().fields()) {
        let is_identity = IDENTITY.contains(&field.name().as_str());
        for (hash, value) in hashes.iter_mut().zip(of_values(column, seed)?) {
            hash.rows = next(hash.rows, value);
            if is_identity {
                hash.identities = next(hash.identities, value);
            }
        }
    }
    let mixed = |sum: u128| xxh3_128(&sum.to_le_bytes());
    Ok(hashes.into_iter().map(|of| Sums { rows: mixed(of.rows), identities: mixed(of.identities) }).collect())
}

/// Of each value of a column; 0 of null.
fn of_values(column: &ArrayRef, seed: u64) -> Result<Vec<u64>, ArrowError> {
    let of = |bytes: Option<&[u8]>| bytes.map_or(0, |bytes| xxh3_64_with_seed(bytes, seed));
    Ok(downcast_primitive_array! {
        column => column.iter().map(|value| of(value.as_ref().map(ToByteSlice::to_byte_slice))).collect(),
        DataType::Utf8 => column.as_string::<i32>().iter().map(|text| of(text.map(str::as_bytes))).collect(),
        DataType::Binary => column.as_binary::<i32>().iter().map(of).collect(),
        DataType::FixedSizeBinary(_) => column.as_fixed_size_binary().iter().map(of).collect(),
        DataType::Dictionary(..) => of_dictionary(column.as_any_dictionary(), seed)?,
        data_type => {
            let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
            let encoded = converter.convert_columns(std::slice::from_ref(column))?;
            encoded.iter().map(|value| of(Some(value.as_ref()))).collect()
        }
    })
}

/// Each of its values is hashed once.
fn of_dictionary(column: &dyn AnyDictionaryArray, seed: u64) -> Result<Vec<u64>, ArrowError> {
    if column.values().is_empty() {
        return Ok(vec![0; column.len()]);
    }
    let values = of_values(column.values(), seed)?;
    let keys = column.normalized_keys();
    Ok(keys.into_iter().enumerate().map(|(row, key)| if column.is_null(row) { 0 } else { values[key] }).collect())
}

/// Shows the record `(_partition, _offset)` of each row of a file.
pub(crate) async fn each_record(table: &Table, path: &str, mut show: impl FnMut((i32, i64))) -> Result<(), Error> {
    let mut batches = table.read_file(path, Some(&["_partition", "_offset"])).await?;
    while let Some(batch) = batches.try_next().await? {
        let (partitions, offsets) = places(&batch).ok_or_else(|| Error::Broken {
            table: table.name().to_owned(),
            reason: format!("{path} holds rows without a place in the log"),
        })?;
        partitions.iter().zip(offsets).for_each(|(partition, offset)| show((*partition, *offset)));
    }
    Ok(())
}

/// The places of rows as they lie, of a table that has them.
pub(crate) fn places(rows: &RecordBatch) -> Option<(&[i32], &[i64])> {
    let partitions = rows.column_by_name("_partition")?.as_primitive_opt::<Int32Type>()?.values();
    let offsets = rows.column_by_name("_offset")?.as_primitive_opt::<Int64Type>()?.values();
    Some((partitions, offsets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::types::Int32Type;
    use arrow_array::{DictionaryArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
    use std::sync::Arc;

    fn batch(rows: &[(i64, Option<&str>, Option<&str>)], as_dictionary: bool) -> RecordBatch {
        let plain: StringArray = rows.iter().map(|row| row.1).collect();
        let first: ArrayRef = match as_dictionary {
            true => Arc::new(rows.iter().map(|row| row.1).collect::<DictionaryArray<Int32Type>>()),
            false => Arc::new(plain),
        };
        let second: StringArray = rows.iter().map(|row| row.2).collect();
        RecordBatch::try_from_iter_with_nullable([
            (
                "event_time",
                Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0))) as _,
                false,
            ),
            ("first", first, true),
            ("second", Arc::new(second) as _, true),
            ("_partition", Arc::new(Int32Array::from(vec![3; rows.len()])) as _, false),
            ("_offset", Arc::new(Int64Array::from(vec![7; rows.len()])) as _, false),
        ])
        .unwrap()
    }

    fn content(rows: &[(i64, Option<&str>, Option<&str>)], as_dictionary: bool) -> Content {
        let mut content = Content::default();
        content.add(&batch(rows, as_dictionary)).unwrap();
        content
    }

    #[test]
    fn rows_are_the_same_in_any_order_and_encoding_and_differ_by_any_value() {
        let rows = [(0, Some("a"), None), (1_500_000, Some("b"), Some("c")), (1_700_000, None, Some("d"))];
        let mut turned = rows;
        turned.reverse();
        let (one, other) = (content(&rows, true), content(&turned, false));
        assert_eq!((one.differing(&other), one.sum(), one.rows()), (Vec::new(), other.sum(), 3));
        let mut moved = rows;
        moved[2] = (1_700_000, Some("d"), None);
        assert_eq!(one.differing(&content(&moved, false)), [1_000_000], "a value in another column");
        let mut exchanged = rows;
        (exchanged[1].1, exchanged[2].1) = (rows[2].1, rows[1].1);
        assert_eq!(one.differing(&content(&exchanged, false)), [1_000_000], "a value of another row");
        let mut empty = rows;
        empty[0].2 = Some("");
        assert_eq!(one.differing(&content(&empty, true)), [0], "an empty string is not null");
        assert_eq!(one.differing(&content(&rows[1..], false)), [0], "a row less");
        assert!(one.with_other_rows(&content(&empty, true)).is_empty(), "the same rows, which say something else");
        assert_eq!(one.with_other_rows(&content(&rows[1..], false)), HashSet::from([0]));
        let mut rest = content(&rows, false);
        rest.leave(&content(&rows[..1], true));
        assert_eq!(rest.differing(&content(&rows[1..], false)), Vec::<i64>::new());
        rest.join(&content(&rows[..1], false));
        assert_eq!(rest.sum(), one.sum());
    }
}
