//! From a decoded record to the events that count: all that are no copies. Pure.
//!
//! The sink keeps the same ones: whether a row is a copy is a function of the log alone ([`event::dedup`]), and so is
//! whether it has a date.
use crate::kept::Times;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use event::codec;
use event::date::Date;
use event::dedup::{Keys, Window};
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
    let keys = Keys::of(batch)?;
    let (event_times, received) = (codec::times(batch, Column::EVENT_TIME)?, codec::times(batch, Column::RECEIVED_AT)?);
    let (mut keep, mut duplicates) = (Vec::with_capacity(batch.num_rows()), 0);
    let mut of_kept: Option<Times> = None;
    for row in 0..batch.num_rows() {
        let is_copy = window.observe(offset, keys.key(row)?);
        duplicates += u64::from(is_copy);
        let counts = !is_copy && Date::of(event_times[row]).is_some();
        keep.push(counts);
        if counts {
            let (latest, received) = (event_times[row].min(received[row]), received[row]);
            let before = of_kept.unwrap_or(Times { latest, received });
            of_kept = Some(Times { latest: before.latest.max(latest), received: before.received.max(received) });
        }
    }
    let kept = match keep.iter().all(|keep| *keep) {
        true => batch.clone(),
        false => filter_record_batch(batch, &BooleanArray::from(keep)).map_err(|error| error.to_string())?,
    };
    Ok(Sifted { kept, duplicates, times: of_kept })
}
