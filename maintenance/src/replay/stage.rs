//! A chunk's records, read and written as files that no commit names yet.
//!
//! A chunk is of about the same time in all partitions, since a file of the table has rows of all of them: each file is written
//! anew for few chunks. Rows go to files as soon as they take [`STAGED_BYTES_MAX`], so memory does not hang on the chunk.
use super::window::{Decoding, Start, start};
use super::{Error, Job, Kind, Replay};
use crate::content::Content;
use crate::limits::{STAGED_BYTES_MAX, WINDOWS_MAX};
use crate::ranges::Ranges;
use chrono::{Days, NaiveDate};
use lake::table::{DataFile, Table};
use lake::tables::{EVENT_DATE, EXPIRED, RECEIVED_DATE};
use log::Entry;
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

/// Rows on their way, and how far each partition was read.
pub(super) struct Stager {
    staging: Staging,
    /// The record that the window of a partition is ready for.
    ready_for: BTreeMap<u32, u64>,
    /// Dates before this one are gone from the table.
    expired: Option<NaiveDate>,
}

impl Stager {
    pub(super) async fn new(replay: &Replay<'_>) -> Result<Stager, Error> {
        let staging = Staging::new(&replay.events, &replay.dead_letters, &replay.topic, replay.bounds)?;
        let expired = replay.events.txn(EXPIRED).await?.and_then(|days| u64::try_from(days).ok());
        let expired = expired.and_then(|days| NaiveDate::from_ymd_opt(1970, 1, 1)?.checked_add_days(Days::new(days)));
        Ok(Stager { staging, ready_for: BTreeMap::new(), expired })
    }
}

impl Replay<'_> {
    /// Stages the next chunk, from these positions on: of a rebuild all of it.
    pub(super) async fn stage(
        &mut self,
        stager: &mut Stager,
        job: &Job,
        wanted: &Ranges,
        positions: &BTreeMap<u32, u64>,
    ) -> Result<Chunk, Error> {
        let mut chunk = Chunk::default();
        let staged = self.stage_all(stager, job, wanted, positions, &mut chunk).await;
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
        stager: &mut Stager,
        job: &Job,
        wanted: &Ranges,
        positions: &BTreeMap<u32, u64>,
        chunk: &mut Chunk,
    ) -> Result<(), Error> {
        let open = |(partition, range): (&u32, &Range<u64>)| {
            let next = positions.get(partition).copied().unwrap_or(range.start);
            (next < range.end).then_some((*partition, next..range.end))
        };
        let open: Vec<(u32, Range<u64>)> = job.ranges.iter().filter_map(open).collect();
        // Records that the log took later are the next chunk's.
        let mut until = None;
        for (partition, range) in &open {
            let share = match job.kind {
                Kind::Rebuild => u64::MAX,
                Kind::Replay => job.chunk_rows.div_ceil(open.len() as u64),
            };
            let end = self.stage_partition(stager, wanted, *partition, range, (share, &mut until), chunk).await?;
            chunk.moves.insert(*partition, range.start..end);
            if stager.ready_for.len() > WINDOWS_MAX {
                stager.staging.forget(*partition);
                stager.ready_for.remove(partition);
            }
        }
        self.write(stager, chunk).await
    }

    /// One partition's part: the first one goes as far as its share of the rows, the others as far in time. Returns the next
    /// offset.
    async fn stage_partition(
        &mut self,
        stager: &mut Stager,
        wanted: &Ranges,
        partition: u32,
        range: &Range<u64>,
        (share, until): (u64, &mut Option<i64>),
        chunk: &mut Chunk,
    ) -> Result<u64, Error> {
        let (mut next, mut rows, mut last) = (range.start, 0, None);
        let leads = until.is_none();
        // However much more one partition has than the first: a chunk stays a chunk.
        let rows_max = share.saturating_mul(4);
        'read: while next < range.end {
            self.make_ready(stager, wanted, partition, &mut next, range.end).await?;
            if next >= range.end {
                break;
            }
            let batch = self.records.read(partition, next).await?;
            if batch.is_empty() {
                // The last offsets may be taken by no record.
                next = range.end;
            }
            for entry in batch {
                if entry.offset >= range.end {
                    next = range.end;
                    break 'read;
                }
                let is_later = !leads && until.is_some_and(|until| entry.timestamp > until);
                if is_later || rows >= if leads { share } else { rows_max } {
                    break 'read;
                }
                rows += stager.take(&entry, wanted).map_err(Error::Broken)?;
                (next, last) = (entry.offset + 1, Some(entry.timestamp));
            }
            stager.ready_for.insert(partition, next);
            if stager.staging.bytes() >= STAGED_BYTES_MAX {
                self.write(stager, chunk).await?;
            }
            self.hold.keep(&mut self.events, &mut self.dead_letters).await?;
        }
        stager.ready_for.insert(partition, next);
        if leads && share < u64::MAX {
            *until = last;
        }
        Ok(next)
    }

    /// Fills the window, if it is not that of the next record. Where the next wanted record is far away, what lies between is
    /// passed over, but for the rows just before it.
    async fn make_ready(
        &self,
        stager: &mut Stager,
        wanted: &Ranges,
        partition: u32,
        next: &mut u64,
        end: u64,
    ) -> Result<(), Error> {
        let rows = stager.staging.dedup_rows();
        let Some(first) = wanted.next_in(partition, *next) else {
            *next = end;
            return Ok(());
        };
        let is_ready = stager.ready_for.get(&partition) == Some(next);
        if is_ready && first.saturating_sub(*next) <= rows as u64 {
            return Ok(());
        }
        *next = first;
        let held = self.records.bounds().await?.get(partition as usize).cloned().unwrap_or_default();
        let decoding = Decoding { topic: &self.topic, bounds: self.bounds };
        let from = match start(self.records, decoding, partition, first, &held, rows).await? {
            Start::At(from) => from,
            Start::TooLate(possible) => {
                return Err(Error::Refused(format!(
                    "partition {partition}: the log has dropped what offset {first} needs since the replay began; from \
                     {possible} on it is possible. Cancel the job (`playhead jobs --cancel`), and replay from there"
                )));
            }
        };
        stager.staging.begin(partition);
        let mut at = from;
        while at < first {
            let batch = self.records.read(partition, at).await?;
            let Some(last) = batch.last() else { break };
            at = last.offset + 1;
            for entry in batch.iter().filter(|entry| entry.offset < first) {
                stager.staging.feed(entry).map_err(Error::Broken)?;
            }
        }
        stager.ready_for.insert(partition, first);
        Ok(())
    }

    /// Writes what waits to files.
    async fn write(&mut self, stager: &mut Stager, chunk: &mut Chunk) -> Result<(), Error> {
        let staged = stager.staging.staged().map_err(Error::Broken)?;
        let is_there =
            |date: &str| stager.expired.is_none_or(|first| date.parse().is_ok_and(|date: NaiveDate| date >= first));
        let events = staged.events.into_iter().filter(|(date, _)| is_there(date)).collect();
        written(&self.events, EVENT_DATE, events, (&mut chunk.events, &mut chunk.content)).await?;
        written(&self.dead_letters, RECEIVED_DATE, staged.dead_letters, (&mut chunk.dead_letters, &mut chunk.letters))
            .await
    }
}

impl Stager {
    /// A record's rows, if they are wanted; how many.
    fn take(&mut self, entry: &Entry, wanted: &Ranges) -> Result<u64, String> {
        match wanted.contains(entry.partition, entry.offset) {
            true => self.staging.take(entry),
            false => self.staging.feed(entry).map(|()| 0),
        }
    }
}

async fn written(
    table: &Table,
    partition_column: &str,
    dates: Dated,
    (files, content): (&mut Vec<DataFile>, &mut Content),
) -> Result<(), Error> {
    for (date, groups) in dates {
        for batch in groups.iter().flatten() {
            content.add(batch).map_err(|error| Error::Broken(error.to_string()))?;
        }
        let values = BTreeMap::from([(partition_column.to_owned(), Some(date))]);
        files.push(table.write_file(values, groups).await?);
    }
    Ok(())
}
