//! A chunk's records, read and written as files that no commit names yet.
//!
//! A chunk is of about the same time in all partitions, since a file of the table has rows of all of them: each file is written
//! anew for few chunks. Rows go to files as soon as they take [`STAGED_BYTES_MAX`], so memory does not hang on the chunk.
//!
//! The dedup window is empty when a chunk begins: which of its rows are copies of what lies outside of it is seen from the table
//! (`swap`), not from the log. A record there may be a dead letter as yet, or its row gone: a row is never left out for the sake of
//! one that is not there.
use super::{Error, Job, Replay};
use crate::content::Content;
use crate::limits::STAGED_BYTES_MAX;
use crate::ranges::Ranges;
use chrono::NaiveDate;
use lake::table::{DataFile, Table};
use lake::tables::{EVENT_DATE, EXPIRED, RECEIVED_DATE};
use sink::staging::{Dated, Staging};
use std::collections::BTreeMap;
use std::ops::Range;

/// What a chunk comes to.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Offsets of each partition, from where it stood to where it gets.
    pub(super) moves: BTreeMap<u32, Range<u64>>,
    pub(super) events: Vec<DataFile>,
    pub(super) dead_letters: Vec<DataFile>,
    /// The rows of `events`.
    pub(super) content: Content,
    /// The dead letters.
    pub(super) letters: Content,
    /// Once the rows are exchanged: those before, those after.
    pub(super) exchanged: Option<(Content, Content)>,
}

/// The first date of a table that is not gone by retention; `None`: none is.
pub(super) async fn first_kept(table: &Table) -> Result<Option<NaiveDate>, Error> {
    let days = table.txn(EXPIRED).await?.and_then(|days| i32::try_from(days).ok());
    Ok(days.and_then(NaiveDate::from_epoch_days))
}

impl Replay<'_> {
    /// Stages the next chunk, from these positions on; with `is_all` everything to the end of the job's ranges.
    pub(super) async fn stage(
        &mut self,
        job: &Job,
        wanted: &Ranges,
        positions: &BTreeMap<u32, u64>,
        is_all: bool,
    ) -> Result<Chunk, Error> {
        let mut chunk = Chunk::default();
        let staged = self.stage_all(job, wanted, positions, is_all, &mut chunk).await;
        if let Err(error) = staged {
            self.discard(&chunk).await;
            return Err(error);
        }
        Ok(chunk)
    }

    /// Deletes what was staged in vain.
    pub(super) async fn discard(&self, chunk: &Chunk) {
        self.events.discard(&chunk.events).await;
        self.dead_letters.discard(&chunk.dead_letters).await;
    }

    async fn stage_all(
        &mut self,
        job: &Job,
        wanted: &Ranges,
        positions: &BTreeMap<u32, u64>,
        is_all: bool,
        chunk: &mut Chunk,
    ) -> Result<(), Error> {
        let mut staging = Staging::new(&self.events, &self.dead_letters, &self.topic, self.bounds)?;
        let open = |(partition, range): (&u32, &Range<u64>)| {
            let next = positions.get(partition).copied().unwrap_or(range.start);
            (next < range.end).then_some((*partition, next..range.end))
        };
        let open: Vec<(u32, Range<u64>)> = job.ranges.iter().filter_map(open).collect();
        let mut limit = Limit { rows: job.chunk_rows.div_ceil(open.len().max(1) as u64), until: None, is_all };
        for (partition, range) in &open {
            let end = self.stage_partition(&mut staging, wanted, *partition, range, &mut limit, chunk).await?;
            chunk.moves.insert(*partition, range.start..end);
            staging.forget(*partition);
        }
        self.write(&mut staging, chunk).await
    }

    /// One partition's part: the first one goes as far as its share of the rows, the others as far in time. Returns the next
    /// offset.
    async fn stage_partition(
        &mut self,
        staging: &mut Staging,
        wanted: &Ranges,
        partition: u32,
        range: &Range<u64>,
        limit: &mut Limit,
        chunk: &mut Chunk,
    ) -> Result<u64, Error> {
        let (mut next, mut rows, mut last) = (range.start, 0, None);
        let leads = limit.until.is_none();
        'read: while let Some(first) = wanted.next_in(partition, next).filter(|first| *first < range.end) {
            let batch = self.records.read(partition, first).await?;
            if batch.is_empty() {
                self.ends_there(partition, first, range.end).await?;
                break;
            }
            for entry in batch {
                if entry.offset >= range.end {
                    break 'read;
                }
                if limit.is_reached(rows, entry.timestamp, leads) {
                    return Ok(self.led(limit, leads, last, next));
                }
                if wanted.contains(partition, entry.offset) {
                    rows += staging.take(&entry).map_err(Error::Broken)?;
                }
                (next, last) = (entry.offset + 1, Some(entry.timestamp));
            }
            if staging.bytes() >= STAGED_BYTES_MAX {
                self.write(staging, chunk).await?;
            }
            self.hold.keep(&mut self.events, &mut self.dead_letters).await?;
        }
        Ok(self.led(limit, leads, last, range.end))
    }

    /// Where a partition's part ended; the first one says up to which time the others go.
    fn led(&self, limit: &mut Limit, leads: bool, last: Option<i64>, next: u64) -> u64 {
        if leads && !limit.is_all {
            limit.until = last;
        }
        next
    }

    /// No record stands at `offset` or above. In Kafka the last offsets may be taken by none; else the log was cut off since the
    /// replay began, and rows of the lake are all that is left of it.
    async fn ends_there(&self, partition: u32, offset: u64, end: u64) -> Result<(), Error> {
        let held = self.records.bounds().await?.get(partition as usize).cloned().unwrap_or_default();
        if held.end >= end {
            return Ok(());
        }
        Err(Error::Log(format!(
            "partition {partition} has no record at {offset} or above, and went to {end} when the replay began: it was cut off, and the \
             lake's rows stay as they are"
        )))
    }

    /// Writes what waits to files; nothing of dates that retention has ended.
    async fn write(&mut self, staging: &mut Staging, chunk: &mut Chunk) -> Result<(), Error> {
        let staged = staging.staged().map_err(Error::Broken)?;
        written(&self.events, EVENT_DATE, staged.events, (&mut chunk.events, &mut chunk.content)).await?;
        let letters = (&mut chunk.dead_letters, &mut chunk.letters);
        written(&self.dead_letters, RECEIVED_DATE, staged.dead_letters, letters).await
    }
}

/// How far a chunk goes.
struct Limit {
    /// Rows of the first partition; of each other one four times as many, however much more it has.
    rows: u64,
    /// Records that the log took later are the next chunk's.
    until: Option<i64>,
    /// To the end.
    is_all: bool,
}

impl Limit {
    fn is_reached(&self, rows: u64, timestamp: i64, leads: bool) -> bool {
        let rows_max = if leads { self.rows } else { self.rows.saturating_mul(4) };
        !self.is_all && (rows >= rows_max || !leads && self.until.is_some_and(|until| timestamp > until))
    }
}

async fn written(
    table: &Table,
    partition_column: &str,
    dates: Dated,
    (files, content): (&mut Vec<DataFile>, &mut Content),
) -> Result<(), Error> {
    let first = first_kept(table).await?;
    let is_kept = |date: &str| first.is_none_or(|first| date.parse().is_ok_and(|date: NaiveDate| date >= first));
    for (date, groups) in dates.into_iter().filter(|(date, _)| is_kept(date)) {
        for batch in groups.iter().flatten() {
            content.add(batch).map_err(|error| Error::Broken(error.to_string()))?;
        }
        let values = BTreeMap::from([(partition_column.to_owned(), Some(date))]);
        files.push(table.write_file(values, groups).await?);
    }
    Ok(())
}
