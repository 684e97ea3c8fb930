//! Which records are replayed: what was asked for, cut to what the lake has and the log still holds.
use super::times::offset_at;
use super::{Error, Job, Kind, Replay, State};
use crate::content::each_record;
use crate::ranges::Ranges;
use lake::table::{ActiveFile, Table};
use std::collections::BTreeMap;
use std::ops::Range;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Offsets of one partition, the last one included; without it, all that the lake has.
    Offsets {
        /// The partition.
        partition: u32,
        /// The first.
        from: u64,
        /// The last.
        to: Option<u64>,
    },
    /// What the log took from this moment on, before that one; µs since 1970.
    Times {
        /// The first moment.
        from_us: i64,
        /// The first that is not in it.
        to_us: Option<i64>,
    },
    /// Everything that the lake has.
    All,
}

/// What is done, and what stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The job that does it, not begun.
    pub job: Job,
    /// Offsets that can't be replayed, by partition, and why: their rows stay.
    pub kept: Vec<Kept>,
    /// Rows of `events` that are made again.
    pub rows: u64,
    /// Dead letters that are made again.
    pub dead_letters: u64,
}

/// What can't be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Partition.
    pub partition: u32,
    /// Offsets.
    pub offsets: Range<u64>,
    /// Why.
    pub reason: String,
}

impl Replay<'_> {
    /// Works out what is done. Where the log lacks a part of what was asked for, that is refused, unless what it lacks may be
    /// kept as it is.
    ///
    /// # Errors
    /// [`Error::Refused`], in words.
    pub async fn plan(
        &self,
        asked: &Asked,
        kind: Kind,
        dead_letters_only: bool,
        (chunk_rows, may_keep): (u64, bool),
    ) -> Result<Plan, Error> {
        let held = self.records.bounds().await?;
        let wanted = self.asked_for(asked, &held).await?;
        let (mut ranges, mut kept) = (BTreeMap::new(), Vec::new());
        for (partition, range) in wanted {
            let Some(held) = held.get(partition as usize) else { continue };
            let from = range.start.max(held.start).min(range.end);
            if from > range.start {
                let reason = format!("the log begins at {}", held.start);
                kept.push(Kept { partition, offsets: range.start..from, reason });
            }
            if from < range.end {
                ranges.insert(partition, from..range.end);
            }
        }
        if !kept.is_empty() && !may_keep {
            return Err(Error::Refused(refusal(&kept)));
        }
        let now = self.now_us();
        let job = Job {
            id: 0,
            kind,
            dead_letters_only,
            ranges,
            chunk_rows: chunk_rows.max(1),
            state: State::Running,
            begun_at: now,
            heard_at: now,
            process: self.process.clone(),
            chunks: 0,
            rows_before: 0,
            rows_after: 0,
            dead_letters_before: 0,
            dead_letters_after: 0,
            copies: 0,
            seconds_changed: 0,
            failure: None,
        };
        let records = self.wanted(&job).await?;
        let rows = count(&self.events, &records).await?;
        let dead_letters = count(&self.dead_letters, &records).await?;
        Ok(Plan { job, kept, rows, dead_letters })
    }

    /// The records of a job that are to be replayed. Of dead letters: those that have one.
    pub(super) async fn wanted(&self, job: &Job) -> Result<Ranges, Error> {
        let all = job.wanted();
        if !job.dead_letters_only {
            return Ok(all);
        }
        let offsets = self.dead_offsets(&all).await?;
        Ok(Ranges::of(offsets.into_iter().map(|(partition, offset)| (partition, offset..offset + 1))))
    }

    /// What was asked for, of each partition, cut to what the lake has.
    async fn asked_for(&self, asked: &Asked, held: &[Range<u64>]) -> Result<BTreeMap<u32, Range<u64>>, Error> {
        let positions = self.positions().await?;
        let mut wanted = BTreeMap::new();
        match asked {
            Asked::Offsets { partition, from, to } => {
                let Some(next) = positions.get(partition) else {
                    return Err(Error::Refused(format!(
                        "the log has no partition {partition}: it has {}, the first is 0",
                        positions.len()
                    )));
                };
                if from >= next {
                    return Err(Error::Refused(format!(
                        "the lake has partition {partition} up to offset {next}: nothing at {from} or above can be replayed"
                    )));
                }
                let end = to.map_or(*next, |to| next.min(&to.saturating_add(1)).to_owned());
                wanted.insert(*partition, *from..end);
            }
            Asked::Times { from_us, to_us } => {
                for ((partition, next), held) in positions.into_iter().zip(held) {
                    let from = offset_at(self.records, partition, held, *from_us).await?;
                    // What the log dropped may have come within that time, too.
                    let from = if from == held.start { 0 } else { from };
                    let end = match to_us {
                        Some(to) => next.min(offset_at(self.records, partition, held, *to).await?),
                        None => next,
                    };
                    wanted.insert(partition, from..end);
                }
            }
            Asked::All => wanted.extend(positions.into_iter().map(|(partition, next)| (partition, 0..next))),
        }
        wanted.retain(|_, range| !range.is_empty());
        Ok(wanted)
    }

    /// Records that have dead letters, in order.
    async fn dead_offsets(&self, records: &Ranges) -> Result<Vec<(u32, u64)>, Error> {
        let mut offsets: Vec<(u32, u64)> = Vec::new();
        for file in touched(&self.dead_letters, records).await? {
            let mut add = |record: (i32, i64)| {
                if records.contains_record(record) {
                    offsets.push((record.0.unsigned_abs(), record.1.unsigned_abs()));
                }
            };
            each_record(&self.dead_letters, &file.path, &mut add).await?;
            offsets.sort_unstable();
            offsets.dedup();
        }
        Ok(offsets)
    }

    /// Rows of the dedup window.
    pub(super) fn dedup_rows(&self) -> Result<u64, Error> {
        let rows = self.events.property(lake::tables::DEDUP_ROWS).and_then(|rows| rows.parse().ok());
        rows.ok_or_else(|| Error::Refused(format!("{} has no dedup window: no sink made it", self.events.name())))
    }
}

fn refusal(kept: &[Kept]) -> String {
    let lacks: Vec<String> = kept
        .iter()
        .map(|Kept { partition, offsets, reason }| {
            format!("partition {partition}: offsets {}..{} can't be replayed: {reason}", offsets.start, offsets.end)
        })
        .collect();
    format!(
        "{}. What can't be had again is not taken away: with --keep-missing those rows stay as they are, and the rest is replayed",
        lacks.join("; ")
    )
}

/// Files of a table that may have rows of these records.
pub(super) async fn touched(table: &Table, records: &Ranges) -> Result<Vec<ActiveFile>, lake::table::Error> {
    let mut touched = Vec::new();
    for (file, statistics) in table.files_with_statistics().await? {
        let number = |bound: Option<String>| bound.and_then(|bound| bound.parse::<u64>().ok());
        let min = |column: &str| number(statistics.min(column)).unwrap_or(0);
        let max = |column: &str| number(statistics.max(column)).unwrap_or(u64::MAX);
        let partition = |bound: u64| u32::try_from(bound).unwrap_or(u32::MAX);
        let partitions = (partition(min("_partition")), partition(max("_partition")));
        if records.touch(partitions, (min("_offset"), max("_offset"))) {
            touched.push(file);
        }
    }
    Ok(touched)
}

/// How many rows of a file are of these records.
pub(super) async fn rows_of(table: &Table, file: &ActiveFile, records: &Ranges) -> Result<u64, lake::table::Error> {
    let mut rows = 0;
    each_record(table, &file.path, |record| rows += u64::from(records.contains_record(record))).await?;
    Ok(rows)
}

async fn count(table: &Table, records: &Ranges) -> Result<u64, lake::table::Error> {
    let mut rows = 0;
    for file in touched(table, records).await? {
        rows += rows_of(table, &file, records).await?;
    }
    Ok(rows)
}
