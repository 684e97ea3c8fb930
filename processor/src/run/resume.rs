//! Going on from what the tables say: at every assignment, and whenever another processor was first.
use super::{Partition, Processor, Seen};
use crate::Error;
use crate::kept::{Position, Standing};
use crate::telemetry;
use std::collections::BTreeMap;
use std::ops::Range;
use tokio::time::Instant;

impl Processor {
    /// Throws away what is held, and reads from the smallest D of the rollups on.
    pub(super) async fn resume(&mut self) -> Result<(), Error> {
        let (numbers, all) = (self.partitions.keys().copied().collect::<Vec<u32>>(), self.log.writer().partitions());
        let mut log = BTreeMap::new();
        for partition in &numbers {
            log.insert(*partition, self.reader.bounds(*partition).await?);
        }
        self.seen = Seen::default();
        let (now_us, mut from) = (self.clock.now(), BTreeMap::new());
        for index in 0..self.rollups.len() {
            let rollup = &mut self.rollups[index];
            let standing = rollup.output.reload(all).await?;
            let latest_start = rollup.plan.windows.latest_start(now_us);
            let beginning = Beginning::of(&standing, &log, rollup.plan.windows.end(latest_start));
            rollup.begin_anew(self.groups, beginning.closed_to_us(&log));
            rollup.committed_at = Instant::now();
            let name = rollup.name.clone();
            for (partition, held) in &log {
                let mut position = beginning.position(*partition, held);
                if let (0, Some(last)) = (position.fingerprint, position.next.checked_sub(1)) {
                    position.fingerprint = self.reader.fingerprint_at(*partition, last).await?.unwrap_or(0);
                }
                if let Some(words) = self.check(*partition, position, held).await? {
                    self.stop(format!("rollup {name}, partition {partition}: {words}"));
                    return Ok(());
                }
                self.rollups[index].kept.assign(*partition, position);
                let from = from.entry(*partition).or_insert(position.dedup);
                *from = position.dedup.min(*from);
            }
        }
        // After the tables: whoever moved a position past a window that it did not keep open had marked it before.
        let marks = self.late_windows.read().await?;
        for rollup in &mut self.rollups {
            let of_rollup = marks
                .iter()
                .filter(|((of, _), mark)| *of == rollup.name && mark.has_late_events())
                .map(|((_, start), _)| *start);
            rollup.kept.marked_before(of_rollup);
        }
        for (partition, held) in log {
            let wanted = from.get(&partition).copied().unwrap_or(held.end);
            if wanted < held.start {
                let lost = held.start - wanted;
                tracing::warn!(
                    partition,
                    lost,
                    "retention has dropped records of a dedup window: copies of them count"
                );
                telemetry::window_cut();
            }
            let next = wanted.max(held.start);
            self.reader.seek(partition, next).await?;
            self.partitions.insert(partition, Partition::new(next, self.dedup_rows));
        }
        (self.resume_due, self.trouble, self.closing) = (false, false, false);
        (self.report)(Ok(()));
        Ok(())
    }

    /// Why a log is not the one that a rollup was counted from, in words: asked before each commit, since a log may be made
    /// anew under a running processor.
    pub(super) async fn made_anew(&mut self, index: usize) -> Result<Option<String>, Error> {
        for number in self.partitions.keys().copied().collect::<Vec<u32>>() {
            let Some(committed) = self.rollups[index].kept.committed(number) else { continue };
            let held = match self.seen.bounds.get(&number) {
                Some(held) => held.clone(),
                None => self.reader.bounds(number).await?,
            };
            self.seen.bounds.insert(number, held.clone());
            if let Some(words) = self.check(number, committed, &held).await? {
                return Ok(Some(format!("rollup {}, partition {number}: {words}", self.rollups[index].name)));
            }
        }
        Ok(None)
    }

    /// Why a rollup can't go on from here, in words.
    async fn check(&mut self, partition: u32, at: Position, held: &Range<u64>) -> Result<Option<String>, Error> {
        let mut held = held.clone();
        if at.next > held.end {
            // Another processor may have gone on since the log was asked, and the table says so.
            held = self.reader.bounds(partition).await?;
        }
        if at.next > held.end {
            return Ok(Some(format!(
                "it was counted up to offset {}, but the log ends at {}: it was cut off, wiped or made anew. Restore the \
                 log, or move the table away",
                at.next, held.end
            )));
        }
        if at.safe < held.start {
            return Ok(Some(format!(
                "windows were open that began at offset {}, but the log begins at {}. Restore the log, or move the table \
                 away and count anew",
                at.safe, held.start
            )));
        }
        let Some(last) = at.next.checked_sub(1).filter(|last| held.contains(last)) else { return Ok(None) };
        let place = (partition, last, at.fingerprint);
        if self.seen.records.contains(&place) {
            return Ok(None);
        }
        let found = self.reader.fingerprint_at(partition, last).await?;
        if found == Some(at.fingerprint) {
            self.seen.records.push(place);
        }
        Ok((at.fingerprint != 0 && found != Some(at.fingerprint)).then(|| {
            format!(
                "another record stands at offset {last}: the log was made anew or replaced. Restore the log, or move the \
                 table away"
            )
        }))
    }
}

/// Where a rollup goes on.
struct Beginning<'a> {
    standing: &'a Standing,
    /// It is new to a partition, of which the beginning is gone: it begins with the windows after now.
    at_end: bool,
    /// The end of the window that is under way, µs.
    next_window_us: i64,
}

impl<'a> Beginning<'a> {
    fn of(standing: &'a Standing, log: &BTreeMap<u32, Range<u64>>, next_window_us: i64) -> Self {
        let at_end = log.iter().any(|(partition, held)| held.start > 0 && !standing.contains_key(partition));
        Beginning { standing, at_end, next_window_us }
    }

    fn position(&self, partition: u32, held: &Range<u64>) -> Position {
        let (end, dedup) = (held.end, held.start);
        match self.standing.get(&partition) {
            Some(position) => *position,
            None if self.at_end => {
                Position { closed_to_us: self.next_window_us, next: end, safe: end, dedup, fingerprint: 0 }
            }
            None => Position { closed_to_us: i64::MIN, next: 0, safe: 0, dedup: 0, fingerprint: 0 },
        }
    }

    /// W of all partitions that are read, µs.
    fn closed_to_us(&self, log: &BTreeMap<u32, Range<u64>>) -> i64 {
        let of_partition = |(partition, held): (&u32, &Range<u64>)| self.position(*partition, held).closed_to_us;
        log.iter().map(of_partition).min().unwrap_or(i64::MIN)
    }
}
