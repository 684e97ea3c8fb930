//! From a decoded record to the rows that are kept. Pure.
//!
//! Promise: what is kept is a function of the log alone. Every row read goes through the dedup window, also the ones
//! that are dropped, or a window that is rebuilt after a restart would answer otherwise than the one that was lost.
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_schema::ArrowError;
use arrow_select::filter::{FilterBuilder, FilterPredicate};
use event::clock::Micros;
use event::codec::{self, DeadLetter, Decoded};
use event::date::Date;
use event::dedup::{Verdict, Window, verdicts};
use event::nulls::{is_null, nulls};
use event::schema::Column;

/// Rows of one record and one date.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Their date.
    pub(crate) date: Date,
    /// Canonical columns.
    pub(crate) batch: RecordBatch,
    /// Position of each in the record.
    pub(crate) rows: Vec<u32>,
}

/// What one record comes to.
#[derive(Debug)]
pub(crate) struct Sifted {
    /// Rows to keep, by date.
    pub(crate) kept: Vec<Rows>,
    /// Rows dropped, since their key is in the window.
    pub(crate) duplicates: u64,
    /// What could not be taken.
    pub(crate) dead: Vec<DeadLetter>,
    /// The largest `received_at` of a kept row.
    pub(crate) received_at_max: Option<Micros>,
}

/// Lets a record's rows into the window, and keeps none: for records that the table holds already.
pub(crate) fn feed(decoded: &Decoded, offset: u64, window: &mut Window) -> Result<(), String> {
    verdicts(&decoded.batch, offset, window).map(|_| ())
}

/// Lets a record's rows into the window, and keeps those that weren't among its last N rows.
pub(crate) fn sift(decoded: Decoded, offset: u64, window: &mut Window) -> Result<Sifted, String> {
    let Decoded { batch, rows, mut dead } = decoded;
    if rows.len() != batch.num_rows() {
        return Err(format!("decoded batch has {} rows and {} places", batch.num_rows(), rows.len()));
    }
    let event_times = codec::times(&batch, Column::EVENT_TIME)?;
    let received = codec::times(&batch, Column::RECEIVED_AT)?;
    let mut duplicates = 0;
    let mut received_at_max = None;
    // The day of each row that is kept.
    let mut days: Vec<Option<i64>> = Vec::with_capacity(rows.len());
    for (row, verdict) in verdicts(&batch, offset, window)?.into_iter().enumerate() {
        days.push(match verdict {
            Verdict::Copy => {
                duplicates += 1;
                None
            }
            Verdict::Dateless => {
                let reason = format!("event_time {} us is outside of the years 0001 to 9999", event_times[row]);
                dead.push(DeadLetter { row: Some(rows[row]), reason });
                None
            }
            Verdict::Kept => {
                received_at_max = received_at_max.max(Some(received[row]));
                Some(Date::day(event_times[row]))
            }
        });
    }
    let kept = by_date(&batch, rows, &days, event_times)?;
    Ok(Sifted { kept, duplicates, dead, received_at_max })
}

/// Splits a batch by date; almost always all of it is one.
fn by_date(
    batch: &RecordBatch,
    rows: Vec<u32>,
    days: &[Option<i64>],
    event_times: &[Micros],
) -> Result<Vec<Rows>, String> {
    let mut distinct: Vec<(i64, Micros)> =
        days.iter().zip(event_times).filter_map(|(day, time)| day.map(|day| (day, *time))).collect();
    distinct.sort_unstable();
    distinct.dedup_by_key(|(day, _)| *day);
    let dated = |time: Micros| Date::of(time).ok_or("a kept row has no date".to_owned());
    if let [(day, time)] = distinct[..]
        && days.iter().all(|of_row| *of_row == Some(day))
    {
        return Ok(vec![Rows { date: dated(time)?, batch: batch.clone(), rows }]);
    }
    let numbers = UInt32Array::from(rows);
    let split = |(day, time): (i64, Micros)| {
        let mask = BooleanArray::from(days.iter().map(|of_row| *of_row == Some(day)).collect::<Vec<bool>>());
        let predicate = FilterBuilder::new(&mask).optimize().build();
        let batch = of_rows(batch, &predicate).map_err(|error| error.to_string())?;
        let numbers = predicate.filter(&numbers).map_err(|error| error.to_string())?;
        let rows = numbers.as_primitive::<arrow_array::types::UInt32Type>().values().to_vec();
        Ok(Rows { date: dated(time)?, batch, rows })
    };
    distinct.into_iter().map(split).collect()
}

/// Some of a batch's rows; columns without values share their zeroes on.
fn of_rows(batch: &RecordBatch, predicate: &FilterPredicate) -> Result<RecordBatch, ArrowError> {
    let column = |column: &ArrayRef| match is_null(column) {
        true => Ok(nulls(column.data_type(), predicate.count())),
        false => predicate.filter(column),
    };
    RecordBatch::try_new(batch.schema(), batch.columns().iter().map(column).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Int64Array;
    use arrow_array::types::Int64Type;
    use arrow_schema::DataType;
    use std::sync::Arc;

    #[test]
    fn when_rows_are_dropped_columns_without_values_share_their_zeroes_on() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("numbers", numbers, false),
            ("nothing", nulls(&DataType::Int64, 4), true),
        ]);
        let mask = BooleanArray::from(vec![true, false, true, true]);
        let kept = of_rows(&batch.unwrap(), &FilterBuilder::new(&mask).optimize().build()).unwrap();
        assert_eq!(kept.column(0).as_primitive::<Int64Type>().values(), &[0, 2, 3]);
        let zeroes = |column: &ArrayRef| column.to_data().buffers()[0].as_ptr();
        assert_eq!(kept.column(1).null_count(), 3);
        assert_eq!(zeroes(kept.column(1)), zeroes(&nulls(&DataType::Int64, 3)));
    }
}
