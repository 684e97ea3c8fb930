//! From a decoded record to the events that count: all that are no copies. Pure.
//!
//! The sink keeps the same ones, by the same rule ([`event::dedup::verdicts`]).
use crate::gathered::Times;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use event::codec;
use event::dedup::{Verdict, Window, verdicts};
use event::schema::Column;

/// What one record comes to.
#[derive(Debug)]
pub(crate) struct Sifted {
    /// The events that count.
    pub(crate) kept: RecordBatch,
    /// Copies that were dropped.
    pub(crate) duplicates: u64,
    /// Of the events that count; `None`: there is none.
    pub(crate) times: Option<Times>,
}

/// Lets a record's rows into the window, and keeps those that weren't among its last N rows.
pub(crate) fn sift(batch: &RecordBatch, offset: u64, window: &mut Window) -> Result<Sifted, String> {
    let (event_times, received) = (codec::times(batch, Column::EVENT_TIME)?, codec::times(batch, Column::RECEIVED_AT)?);
    let verdicts = verdicts(batch, offset, window)?;
    let of_kept = |(row, _): (usize, &Verdict)| (event_times[row].min(received[row]), received[row]);
    let kept = || verdicts.iter().enumerate().filter(|(_, verdict)| **verdict == Verdict::Kept).map(of_kept);
    let of_row = |(latest, received)| Times { latest, received, received_first: received };
    let times = kept().map(of_row).reduce(Times::with);
    let duplicates = verdicts.iter().filter(|verdict| **verdict == Verdict::Copy).count() as u64;
    let batch = match kept().count() == batch.num_rows() {
        true => batch.clone(),
        false => {
            let keep: BooleanArray = verdicts.iter().map(|verdict| Some(*verdict == Verdict::Kept)).collect();
            filter_record_batch(batch, &keep).map_err(|error| error.to_string())?
        }
    };
    Ok(Sifted { kept: batch, duplicates, times })
}
