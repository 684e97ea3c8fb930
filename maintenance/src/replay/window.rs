//! Where reading must begin so that the dedup window is full when a range begins: its verdicts are those of the N rows before.
use super::{Error, Records};
use event::codec::{self, Place};
use event::decode::TimeBounds;
use log::Entry;
use std::ops::Range;

/// Records that are looked at first, going back; each further look is at twice as many.
const RECORDS_FIRST: u64 = 256;

/// How records are decoded, to count their rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decoding<'a> {
    pub(super) topic: &'a str,
    pub(super) bounds: TimeBounds,
}

impl Decoding<'_> {
    fn rows(&self, entry: &Entry) -> usize {
        let Entry { partition, offset, timestamp, .. } = *entry;
        codec::decode(&entry.record, Place { topic: self.topic, partition, offset, timestamp }, self.bounds)
            .batch
            .num_rows()
    }
}

/// Where to begin for a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// From here on records fill the window.
    At(u64),
    /// The log begins too late: of what it holds, this is the first record that has its whole window.
    TooLate(u64),
}

/// Where to begin, so that just `rows` rows lie before `from`; `held`: what the log holds of the partition. Fewer are enough where
/// the log has never dropped any.
pub(super) async fn start(
    records: &dyn Records,
    decoding: Decoding<'_>,
    partition: u32,
    from: u64,
    held: &Range<u64>,
    rows: usize,
) -> Result<Start, Error> {
    let (mut start, mut counted, mut step) = (from, 0, RECORDS_FIRST);
    while counted < rows && start > held.start {
        let lower = start.saturating_sub(step).max(held.start);
        for (offset, of_record) in counts(records, decoding, partition, lower..start).await?.into_iter().rev() {
            counted += of_record;
            if counted >= rows {
                return Ok(Start::At(offset));
            }
        }
        (start, step) = (lower, step * 2);
    }
    if counted >= rows || held.start == 0 {
        return Ok(Start::At(start));
    }
    after(records, decoding, partition, held.start, rows).await.map(Start::TooLate)
}

/// The first offset that has `rows` rows between `from` and it; the log's end if there are not so many.
pub(super) async fn after(
    records: &dyn Records,
    decoding: Decoding<'_>,
    partition: u32,
    from: u64,
    rows: usize,
) -> Result<u64, Error> {
    let (mut next, mut counted) = (from, 0);
    while counted < rows {
        let batch = records.read(partition, next).await?;
        if batch.is_empty() {
            break;
        }
        for entry in batch {
            if counted < rows {
                counted += decoding.rows(&entry);
                next = entry.offset + 1;
            }
        }
    }
    Ok(next)
}

/// How many rows each record has.
async fn counts(
    records: &dyn Records,
    decoding: Decoding<'_>,
    partition: u32,
    range: Range<u64>,
) -> Result<Vec<(u64, usize)>, Error> {
    let (mut next, mut counts) = (range.start, Vec::new());
    while next < range.end {
        let batch = records.read(partition, next).await?;
        let Some(last) = batch.last() else { break };
        next = last.offset + 1;
        let within = batch.iter().filter(|entry| entry.offset < range.end);
        counts.extend(within.map(|entry| (entry.offset, decoding.rows(entry))));
    }
    Ok(counts)
}

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
