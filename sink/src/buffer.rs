//! Rows and dead letters that wait for the next flush: by date, and within it by partition. Pure.
//!
//! Bounded by the flush policy: what is here never passes `flush_rows` or `flush_bytes` by more than one record.
use crate::dead_letter::DeadRow;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType};
use arrow_select::concat::concat;
use event::date::Date;
use event::nulls::{SHARED_ROWS, is_null, nulls};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// A batch under this many rows is small: its arrays cost more than its values.
const SMALL_ROWS: usize = 128;
/// This many small ones are made into one.
const SMALL_BATCHES_MAX: usize = 64;
/// What an array costs beside its values, bytes: the array, its buffers' headers, their alignment.
const ARRAY_BYTES: usize = 256;

/// Rows of one date and partition, in the log's order.
#[derive(Debug, Default)]
pub(crate) struct Group {
    batches: Vec<RecordBatch>,
    /// How many at the end of `batches` are small.
    small: usize,
    rows: usize,
    bytes: usize,
}

impl Group {
    fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        self.rows += batch.num_rows();
        self.bytes += memory(&batch)?;
        self.small = if batch.num_rows() < SMALL_ROWS { self.small + 1 } else { 0 };
        self.batches.push(batch);
        if self.small == SMALL_BATCHES_MAX {
            let small = self.batches.split_off(self.batches.len() - SMALL_BATCHES_MAX);
            for batch in &small {
                self.bytes -= memory(batch)?;
            }
            let merged = join(&small)?;
            self.bytes += memory(&merged)?;
            self.small = usize::from(merged.num_rows() < SMALL_ROWS);
            self.batches.push(merged);
        }
        Ok(())
    }
}

/// Batches of one schema as one.
fn join(batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let schema = batches[0].schema();
    let column = |index: usize| {
        let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        match arrays.iter().all(|array| is_null(*array)) {
            true => Ok(nulls(schema.field(index).data_type(), rows)),
            false => concat(&arrays),
        }
    };
    let columns = (0..schema.fields().len()).map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema.clone(), columns)
}

/// Bytes of memory that a batch takes: those of its values, not the capacity of its buffers, which for the columns of a
/// decoded record may all be one allocation. Columns without values are shared, but in batches too large for that.
fn memory(batch: &RecordBatch) -> Result<usize, ArrowError> {
    batch
        .columns()
        .iter()
        .filter(|column| batch.num_rows() > SHARED_ROWS || !is_null(column.as_ref()))
        .map(|column| Ok(ARRAY_BYTES + values(column)?))
        .sum()
}

fn values(array: &ArrayRef) -> Result<usize, ArrowError> {
    let validity = if array.null_count() > 0 { array.len().div_ceil(8) } else { 0 };
    let values = match array.data_type() {
        DataType::Utf8 => offsets(array.as_string::<i32>().offsets()),
        DataType::Binary => offsets(array.as_binary::<i32>().offsets()),
        DataType::Dictionary(keys, _) => {
            let dictionary = array.as_any_dictionary();
            return Ok(validity + array.len() * keys.primitive_width().unwrap_or(8) + values(dictionary.values())?);
        }
        // Making a description of an array costs more than these do.
        plain => match plain.primitive_width() {
            Some(width) => array.len() * width,
            None => return array.to_data().get_slice_memory_size(),
        },
    };
    Ok(validity + values)
}

/// Bytes of the offsets, and of the strings that they are of.
fn offsets(offsets: &OffsetBuffer<i32>) -> usize {
    let strings = offsets.last().zip(offsets.first()).map_or(0, |(last, first)| last - first);
    offsets.len() * size_of::<i32>() + strings as usize
}

/// What a flush takes: for each date the rows of each partition.
pub(crate) type Rows = BTreeMap<Date, Vec<Vec<RecordBatch>>>;

/// The same as a file is written of each date: its date as the table says it, for each partition its rows.
pub type Dated = Vec<(String, Vec<Vec<RecordBatch>>)>;

/// Rows as they are written.
pub(crate) fn dated(rows: Rows) -> Dated {
    rows.into_iter().map(|(date, groups)| (date.to_string(), groups)).collect()
}

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    groups: BTreeMap<(Date, u32), Group>,
    dead: BTreeMap<u32, Vec<DeadRow>>,
    rows: usize,
    bytes: usize,
    since: Option<Instant>,
}

impl Buffer {
    /// Adds rows of one date.
    pub(crate) fn push(
        &mut self,
        date: Date,
        partition: u32,
        batch: RecordBatch,
        now: Instant,
    ) -> Result<(), ArrowError> {
        self.since.get_or_insert(now);
        let group = self.groups.entry((date, partition)).or_default();
        let (rows, bytes) = (group.rows, group.bytes);
        group.push(batch)?;
        self.rows += group.rows - rows;
        self.bytes = self.bytes - bytes + group.bytes;
        Ok(())
    }

    /// Adds dead letters.
    pub(crate) fn push_dead(&mut self, partition: u32, rows: Vec<DeadRow>, now: Instant) {
        if !rows.is_empty() {
            self.since.get_or_insert(now);
            self.rows += rows.len();
            self.bytes += rows.iter().map(DeadRow::bytes).sum::<usize>();
            self.dead.entry(partition).or_default().extend(rows);
        }
    }

    /// Throws away what belongs to a partition.
    pub(crate) fn drop_partition(&mut self, partition: u32) {
        let (rows, bytes) = (&mut self.rows, &mut self.bytes);
        self.groups.retain(|(_, of), group| {
            if *of == partition {
                *rows -= group.rows;
                *bytes -= group.bytes;
            }
            *of != partition
        });
        for dead in self.dead.remove(&partition).into_iter().flatten() {
            *rows -= 1;
            *bytes -= dead.bytes();
        }
        if self.rows == 0 {
            self.since = None;
        }
    }

    /// When the first of what waits came (of what was dropped since, perhaps).
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Rows and dead letters that wait.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory that they take, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes everything out.
    pub(crate) fn take(&mut self) -> (Rows, BTreeMap<u32, Vec<DeadRow>>) {
        let buffer = std::mem::take(self);
        let mut rows = Rows::new();
        // The key's order keeps the rows of one partition together within a date.
        for ((date, _), group) in buffer.groups {
            rows.entry(date).or_default().push(group.batches);
        }
        (rows, buffer.dead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Int64Array;
    use arrow_array::types::Int64Type;
    use bytes::Bytes;
    use std::sync::Arc;

    fn batch(values: std::ops::Range<i64>) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(values)) as ArrayRef)]).unwrap()
    }

    fn date(day: i64) -> Date {
        Date::of(day * 86_400_000_000).unwrap()
    }

    fn dead(offset: u64) -> DeadRow {
        let payload = Bytes::from_static(b"{");
        DeadRow { received_at: 0, offset, row: None, reason: "bad".to_owned(), content_type: None, payload }
    }

    fn numbers(group: &[RecordBatch]) -> Vec<i64> {
        group.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[test]
    fn rows_of_one_date_are_kept_by_partition_in_the_order_they_came() {
        let mut buffer = Buffer::default();
        buffer.push(date(1), 1, batch(0..2), Instant::now()).unwrap();
        buffer.push(date(1), 0, batch(10..12), Instant::now()).unwrap();
        buffer.push(date(1), 1, batch(2..4), Instant::now()).unwrap();
        buffer.push(date(2), 1, batch(7..8), Instant::now()).unwrap();
        assert_eq!(buffer.rows(), 7);
        let (rows, _) = buffer.take();
        let groups: Vec<Vec<Vec<i64>>> =
            rows.values().map(|groups| groups.iter().map(|group| numbers(group)).collect()).collect();
        assert_eq!(groups, [vec![vec![10, 11], vec![0, 1, 2, 3]], vec![vec![7]]]);
        assert_eq!((buffer.rows(), buffer.bytes()), (0, 0));
    }

    #[test]
    fn many_small_batches_become_few_with_the_same_rows() {
        let mut buffer = Buffer::default();
        for value in 0..5000 {
            buffer.push(date(1), 0, batch(value..value + 1), Instant::now()).unwrap();
        }
        let bytes = buffer.bytes();
        let (rows, _) = buffer.take();
        let group = &rows[&date(1)][0];
        assert!(group.len() < 2 * SMALL_BATCHES_MAX, "{} batches are left", group.len());
        assert!(bytes < 5000 * 8 + group.len() * ARRAY_BYTES * 2, "{bytes} bytes for 5000 numbers");
        assert_eq!(numbers(group), (0..5000).collect::<Vec<_>>());
    }

    #[test]
    fn a_revoked_partition_leaves_nothing_behind() {
        let mut buffer = Buffer::default();
        buffer.push(date(1), 0, batch(0..2), Instant::now()).unwrap();
        buffer.push_dead(0, vec![dead(1)], Instant::now());
        let (rows, bytes) = (buffer.rows(), buffer.bytes());
        buffer.push(date(1), 1, batch(0..5), Instant::now()).unwrap();
        buffer.push(date(2), 1, batch(0..5), Instant::now()).unwrap();
        buffer.push_dead(1, vec![dead(2), dead(3)], Instant::now());
        buffer.drop_partition(1);
        assert_eq!((buffer.rows(), buffer.bytes()), (rows, bytes));
        buffer.drop_partition(0);
        assert_eq!((buffer.rows(), buffer.bytes()), (0, 0));
    }
}
