//! One rollup while it is kept: its open windows, what of the log it has counted, and what a restart must read again.
//!
//! ```text
//!  records ─▶ below its S? ─yes─▶ nothing of them is open
//!               └─no─▶ evaluate ─▶ for each window: counted already | late | open ─▶ fold
//!                                                                            └─▶ the first record of the window: S
//! ```
//! No I/O, and no clock of its own.
use crate::fold::{Bounds, Fold, Partial, WindowRows};
use crate::gathered::{Span, Start, Times};
use crate::recovery::{Committed, Event};
use crate::rollup::{Events, Plan};
use crate::watermark::{Moment, Watermark};
use datafusion::common::{Result, internal_err};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a rollup's table says of a partition of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// W: of windows that end at or before it all that this partition has below P was counted, µs; `i64::MIN`: none is.
    /// Partitions that other processors have may be elsewhere.
    pub(crate) closed_to_us: i64,
    /// P: everything below was counted, as far as its windows were closed.
    pub(crate) next: u64,
    /// S: the smallest offset with an event of a window that was open; at most P.
    pub(crate) safe: u64,
    /// D: the offset to read from so that the dedup window is at S what it was; at most S.
    pub(crate) dedup: u64,
    /// Of the record before P; 0 where there was none yet.
    pub(crate) fingerprint: i64,
}

/// What a table says of partitions.
pub(crate) type Standing = BTreeMap<u32, Position>;

/// What came of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Events, for each window that had been closed before they came.
    pub(crate) late: u64,
    /// Values that are null since their expression failed.
    pub(crate) failed: u64,
    /// Events of windows that are not kept open, since too many are.
    pub(crate) beyond: u64,
    /// Events that were folded for the first time: what is read again was seen before.
    pub(crate) new: u64,
}

#[derive(Debug, Clone, Copy)]
struct Read {
    committed: Position,
    /// The record to be read next.
    next: Start,
    /// Of the record before it.
    fingerprint: i64,
}

/// A rollup that is kept.
pub(crate) struct Kept {
    plan: Arc<Plan>,
    fold: Fold,
    watermark: Watermark,
    /// W as it was committed, µs: of its partitions the smallest.
    closed_to_us: i64,
    partitions: BTreeMap<u32, Read>,
    /// The first record of each open window, by its start (µs) and by partition.
    first: BTreeMap<i64, BTreeMap<u32, Start>>,
    /// How many events of closed windows are not marked yet, by window start (µs).
    late: BTreeMap<i64, u64>,
    windows_max: usize,
    /// Starts (µs) of windows that are not kept open, since too many were: all of their events are marked, and the
    /// correction makes their first revision.
    beyond: BTreeSet<i64>,
}

impl Kept {
    /// Goes on from a committed watermark, µs; `i64::MIN` where there is none.
    pub(crate) fn new(plan: Arc<Plan>, bounds: Bounds, allowed_lateness: Duration, closed_to_us: i64) -> Self {
        Kept {
            fold: Fold::new(plan.clone(), bounds),
            plan,
            watermark: Watermark::new(allowed_lateness, closed_to_us),
            closed_to_us,
            partitions: BTreeMap::new(),
            first: BTreeMap::new(),
            late: BTreeMap::new(),
            windows_max: bounds.windows_max,
            beyond: BTreeSet::new(),
        }
    }

    /// These windows (by start, µs) are marked: those that are not closed yet were not kept open by who marked them.
    pub(crate) fn marked_before(&mut self, starts: impl Iterator<Item = i64>) {
        let (windows, closed_to_us) = (self.plan.windows, self.closed_to_us);
        self.beyond = starts.filter(|start| windows.end(*start) > closed_to_us).collect();
    }

    /// A partition is read from its S on.
    pub(crate) fn assign(&mut self, partition: u32, committed: Position) {
        let Position { next: position, safe, dedup, fingerprint, .. } = committed;
        self.watermark.assign(partition, safe, position);
        self.partitions.insert(partition, Read { committed, next: Start { offset: safe, dedup }, fingerprint });
    }

    /// The first offset above this one from which on records are something else here: S, below which they are passed over,
    /// or P, below which they were counted. Records on both sides are not taken at once.
    pub(crate) fn turns_at(&self, partition: u32, offset: u64) -> Option<u64> {
        let read = self.partitions.get(&partition)?;
        [read.next.offset, read.committed.next].into_iter().filter(|turn| *turn > offset).min()
    }

    /// Takes the events of records that follow each other: all that are no copies. Records come in order; those below S are
    /// passed over.
    pub(crate) fn take(&mut self, span: &Span, events: &Events, now: Moment) -> Result<Counted> {
        let Span { partition, first: Start { offset, .. }, next, fingerprint, times, .. } = *span;
        if self.turns_at(partition, offset).is_some_and(|turn| turn < next.offset) {
            let next = next.offset;
            return internal_err!("partition {partition}: records {offset} to {next} are taken at once, across S or P");
        }
        let Some(read) = self.partitions.get_mut(&partition) else { return Ok(Counted::default()) };
        read.next.dedup = next.dedup;
        if offset < read.next.offset {
            return Ok(Counted::default());
        }
        let committed = Committed { watermark_us: read.committed.closed_to_us, position: read.committed.next };
        let evaluated = self.plan.evaluate(events)?;
        let mut counted = Counted { failed: evaluated.failed, ..Counted::default() };
        let (windows, windows_max) = (self.plan.windows, self.windows_max);
        let (first, late, beyond) = (&mut self.first, &mut self.late, &mut self.beyond);
        self.fold.fold(&evaluated, |start, rows| match committed.decide(offset, windows.end(start)) {
            Event::Counted => false,
            Event::Late => {
                counted.late += rows as u64;
                *late.entry(start).or_default() += rows as u64;
                false
            }
            Event::Open if beyond.contains(&start) || first.len() >= windows_max && !first.contains_key(&start) => {
                beyond.insert(start);
                counted.beyond += rows as u64;
                *late.entry(start).or_default() += rows as u64;
                false
            }
            Event::Open => {
                counted.new += if offset >= committed.position { rows as u64 } else { 0 };
                let begins = || span.first_of(events.times(), start..windows.end(start));
                first.entry(start).or_default().entry(partition).or_insert_with(begins);
                true
            }
        })?;
        (read.next, read.fingerprint) = (next, fingerprint);
        if let Some(Times { latest, received, .. }) = times {
            self.watermark.observe(partition, latest, received, now);
        }
        self.watermark.busy(partition);
        self.watermark.read_to(partition, next.offset);
        Ok(counted)
    }

    /// Everything of a partition was read, as its end said just now.
    pub(crate) fn idle(&mut self, partition: u32, now: Moment) {
        self.watermark.idle(partition, now);
    }

    /// There is more of a partition than was read.
    pub(crate) fn busy(&mut self, partition: u32) {
        self.watermark.busy(partition);
    }

    /// The watermark, µs.
    pub(crate) fn advance(&mut self, now: Moment) -> i64 {
        self.watermark.advance(now)
    }

    /// What others committed of partitions that are not here goes as far, µs ([`Watermark::follow`]).
    pub(crate) fn follow(&mut self, others_us: i64, now: Moment) {
        self.watermark.follow(others_us, now);
    }

    /// Whether a window ends between W as it was committed and this watermark, whether it has events or not.
    pub(crate) fn passes_an_end(&self, watermark_us: i64) -> bool {
        self.plan.windows.latest_end(watermark_us) > self.closed_to_us
    }

    /// Whether a window with events ends at or before this watermark.
    pub(crate) fn has_complete(&self, watermark_us: i64) -> bool {
        let first = self.first.keys().next().into_iter().chain(self.beyond.first());
        first.map(|start| self.plan.windows.end(*start)).any(|end_us| end_us <= watermark_us)
    }

    /// The windows that end at or before this watermark. From here on a commit of them and of [`Kept::positions`] must
    /// succeed before anything else is read, or all is to be read again from the table.
    pub(crate) fn close(&mut self, watermark_us: i64) -> Result<Vec<WindowRows>> {
        self.forget(watermark_us);
        self.fold.close(watermark_us)
    }

    /// The same, as what the events of these partitions come to, to be merged with what those of others do.
    pub(crate) fn close_partials(&mut self, watermark_us: i64) -> Result<Vec<Partial>> {
        self.forget(watermark_us);
        self.fold.close_partials(watermark_us)
    }

    fn forget(&mut self, watermark_us: i64) {
        let windows = self.plan.windows;
        self.first.retain(|start, _| windows.end(*start) > watermark_us);
        self.beyond.retain(|start| windows.end(*start) > watermark_us);
    }

    /// Whether there is anything to commit.
    pub(crate) fn has_moved(&self) -> bool {
        self.partitions.values().any(|read| read.next.offset > read.committed.next)
    }

    /// What to commit with this watermark (µs), by partition. P never goes back, nor does W; S does not pass what was not
    /// read again yet, which may be of windows that are open.
    pub(crate) fn positions(&self, watermark_us: i64) -> Standing {
        let position = |(partition, read): (&u32, &Read)| {
            let held = self.first.values().filter_map(|first| first.get(partition)).copied();
            let Start { offset: safe, dedup } =
                held.fold(read.next, |least, first| match first.offset < least.offset {
                    true => first,
                    false => least,
                });
            let (next, fingerprint) = match read.next.offset > read.committed.next {
                true => (read.next.offset, read.fingerprint),
                false => (read.committed.next, read.committed.fingerprint),
            };
            let closed_to_us = read.committed.closed_to_us.max(watermark_us);
            (*partition, Position { closed_to_us, next, safe, dedup: dedup.min(safe), fingerprint })
        };
        self.partitions.iter().map(position).collect()
    }

    /// These were committed.
    pub(crate) fn settle(&mut self, positions: &Standing) {
        self.closed_to_us = positions.values().map(|position| position.closed_to_us).min().unwrap_or(i64::MIN);
        for (partition, position) in positions {
            if let Some(read) = self.partitions.get_mut(partition) {
                read.committed = *position;
            }
        }
    }

    /// What of a partition was committed.
    pub(crate) fn committed(&self, partition: u32) -> Option<Position> {
        self.partitions.get(&partition).map(|read| read.committed)
    }

    /// What of every partition was committed.
    pub(crate) fn committed_all(&self) -> Standing {
        self.partitions.iter().map(|(partition, read)| (*partition, read.committed)).collect()
    }

    /// The partitions of which everything is here that was before they were assigned, each with W as it was committed, µs.
    pub(crate) fn read_again(&self) -> BTreeMap<u32, i64> {
        let whole = self.partitions.iter().filter(|(_, read)| read.next.offset >= read.committed.next);
        whole.map(|(partition, read)| (*partition, read.committed.closed_to_us)).collect()
    }

    /// Whether everything of its partitions was read.
    pub(crate) fn is_idle(&self, now: Moment) -> bool {
        self.watermark.is_idle(now)
    }

    /// How many events of closed windows are not marked yet, by window start (µs): P must not pass them.
    pub(crate) fn late(&self) -> &BTreeMap<i64, u64> {
        &self.late
    }

    /// All of them are marked.
    pub(crate) fn marked(&mut self) {
        self.late.clear();
    }

    /// The rows of the open windows as they are now, first to last.
    pub(crate) fn look(&mut self) -> Result<Vec<WindowRows>> {
        self.fold.look()
    }

    /// The open windows as they are now, each as what can be merged.
    pub(crate) fn look_at_partials(&mut self) -> Result<Vec<Partial>> {
        self.fold.look_at_partials()
    }

    /// W as it was committed, µs; `i64::MIN`: not yet.
    pub(crate) fn watermark_us(&self) -> i64 {
        self.closed_to_us
    }

    /// Puts groups of the largest window together; false: none can be ([`Fold::shrink`]).
    pub(crate) fn shrink(&mut self) -> Result<bool> {
        self.fold.shrink()
    }

    /// The open windows.
    pub(crate) fn fold(&self) -> &Fold {
        &self.fold
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollup::Definition;
    use arrow_array::RecordBatch;
    use event::schema::canonical;

    #[tokio::test]
    async fn a_window_that_is_not_kept_open_is_waited_for_too() {
        let plan = Arc::new(Plan::new(&Definition::defaults()[0]).await.unwrap());
        let end_us = plan.windows.end(0);
        let mut kept = Kept::new(plan, Bounds::default(), Duration::ZERO, 0);
        kept.marked_before([-60_000_000, 0].into_iter());
        assert_eq!((kept.has_complete(end_us - 1), kept.has_complete(end_us)), (false, true));
        kept.close(end_us).unwrap();
        assert!(!kept.has_complete(i64::MAX));
    }

    #[tokio::test]
    async fn a_position_never_goes_back_while_what_was_counted_is_read_again() {
        let plan = Arc::new(Plan::new(&Definition::defaults()[0]).await.unwrap());
        let mut kept = Kept::new(plan, Bounds::default(), Duration::ZERO, 7);
        let slow = Position { closed_to_us: 7, next: 50, safe: 20, dedup: 10, fingerprint: 5 };
        kept.assign(0, slow);
        kept.assign(1, Position { next: 3, safe: 3, dedup: 1, fingerprint: 6, ..slow });
        let events = Events::new(vec![RecordBatch::new_empty(canonical())]).unwrap();
        let now = Moment { wall_us: 0, monotonic_us: 0 };
        let mut record = |partition, offset, fingerprint| {
            let (first, next) = (Start { offset, dedup: 9 }, Start { offset: offset + 1, dedup: 12 });
            let span = Span { partition, first, next, fingerprint, starts: Vec::new(), times: None };
            kept.take(&span, &events, now).unwrap();
            (kept.has_moved(), kept.positions(7))
        };
        let (moved, positions) = record(0, 20, 100);
        assert_eq!((moved, positions[&0]), (false, Position { safe: 21, dedup: 12, ..slow }));
        let (moved, positions) = record(1, 3, 200);
        assert_eq!((moved, positions[&0]), (true, Position { safe: 21, dedup: 12, ..slow }));
        assert_eq!(positions[&1], Position { closed_to_us: 7, next: 4, safe: 4, dedup: 4, fingerprint: 200 });
        let (_, positions) = record(0, 49, 300);
        assert_eq!(positions[&0], Position { closed_to_us: 7, next: 50, safe: 50, dedup: 12, fingerprint: 5 });
        let (_, positions) = record(0, 50, 400);
        assert_eq!(positions[&0], Position { closed_to_us: 7, next: 51, safe: 51, dedup: 12, fingerprint: 400 });
    }
}
