//! Where in the log a time lies.
use super::{Error, Records};
use std::ops::Range;

/// The first offset whose record the log took at `time` or later. The log's times never go back.
pub(super) async fn offset_at(
    records: &dyn Records,
    partition: u32,
    held: &Range<u64>,
    time: i64,
) -> Result<u64, Error> {
    let (mut low, mut high) = (held.start, held.end);
    while low < high {
        let middle = low + (high - low) / 2;
        let batch = records.read(partition, middle).await?;
        match (batch.first(), batch.last()) {
            (Some(first), _) if first.timestamp >= time => high = middle,
            (_, Some(last)) if last.timestamp < time => low = last.offset + 1,
            (Some(_), Some(_)) => {
                let found = batch.iter().find(|entry| entry.timestamp >= time);
                return Ok(found.map_or(high, |entry| entry.offset));
            }
            _ => high = middle,
        }
    }
    Ok(low)
}
