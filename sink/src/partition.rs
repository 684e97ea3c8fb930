//! One partition of the log as this sink reads it. Pure.
//!
//! ```text
//! assigned ──▶ Rebuilding (records up to the position feed the window) ──▶ Reading ──▶ (revoked: dropped)
//!     │             │ another record stands at the position                  │ a record is missing, the log is
//!     └─────────────┴────────────────────▶ Stopped, in words ◀───────────────┘ another one than it was
//! ```
use crate::identity::Anchor;
use crate::position::{Committed, Known, lost, made_anew};
use crate::trail::{Mark, Trail};
use event::clock::Micros;
use event::dedup::Window;
use lake::tables::TxnNames;
use log::Entry;
use tokio::time::Instant;

/// What `dead_letters` says of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeadCommitted {
    /// Records up to this offset have their dead letters in the table.
    pub(crate) last: u64,
    /// Fingerprint of the record at `last`.
    pub(crate) fingerprint: i64,
    /// Rows of the table from this partition.
    pub(crate) rows: u64,
}

/// What to do with a record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Feed the window: the table holds its rows.
    Feed,
    /// Feed the window, and the record is the last that the table holds: from here on rows are new.
    FeedLast,
    /// Its rows are new.
    Keep,
    /// Nothing: the partition has stopped, or is put aside.
    Ignore,
    /// Stop the partition and say this.
    Stop(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Rebuilding,
    Reading,
    /// The log does not answer.
    Aside,
    Stopped,
}

/// What was read since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// The last record.
    pub(crate) last: Option<Entry>,
    /// A sample of all records, the first of them in it.
    pub(crate) trail: Trail,
    /// When the first one came.
    pub(crate) since: Option<Instant>,
    /// Rows kept.
    pub(crate) rows: u64,
    /// Rows dropped.
    pub(crate) duplicates: u64,
    /// Dead letters, also those that `dead_letters` holds already.
    pub(crate) dead_letters: u64,
    /// The largest `received_at` of a kept row.
    pub(crate) received_at_max: Option<Micros>,
}

/// One partition.
pub(crate) struct Partition {
    /// Its `txn`s.
    pub(crate) names: TxnNames,
    /// What `events` says of it.
    pub(crate) committed: Option<Committed>,
    /// What `dead_letters` says of it.
    pub(crate) dead_committed: Option<DeadCommitted>,
    /// The rows read last.
    pub(crate) window: Window,
    /// What waits for a commit.
    pub(crate) pending: Pending,
    /// While draining: read up to here.
    pub(crate) drain_to: Option<u64>,
    /// Offset errors since the last record.
    pub(crate) offset_errors: u32,
    /// The log's end, as far as it is known.
    pub(crate) known: Known,
    /// The log's time of the oldest record known that is not in the lake; of one that was not read yet, a time near it.
    pub(crate) oldest: Option<Micros>,
    gapless: bool,
    next: u64,
    phase: Phase,
}

impl Partition {
    /// A partition that reads from offset `next` of a log that is gapless or not.
    pub(crate) fn new(
        names: TxnNames,
        committed: Option<Committed>,
        dead_committed: Option<DeadCommitted>,
        window: Window,
        next: u64,
        gapless: bool,
    ) -> Self {
        let rebuilding = committed.is_some_and(|committed| next <= committed.last);
        let phase = if rebuilding { Phase::Rebuilding } else { Phase::Reading };
        Partition {
            names,
            committed,
            dead_committed,
            window,
            pending: Pending::default(),
            drain_to: None,
            offset_errors: 0,
            known: Known::default(),
            oldest: None,
            gapless,
            next,
            phase,
        }
    }

    /// What to do with the next record. Offsets never go back. Where the log has no gaps, one that is missing would be a
    /// hole in the table; where it has, no record stood at those that were passed over, unless the tables know of one.
    pub(crate) fn place(&mut self, entry: &Entry) -> Place {
        if !self.is_read() {
            return Place::Ignore;
        }
        if entry.offset < self.next || entry.offset > self.next && self.gapless {
            return Place::Stop(format!(
                "the log handed out offset {} where {} was next: records are missing or out of order. Restore the log, \
                 or use new tables",
                entry.offset, self.next
            ));
        }
        if let Some(words) = self.pass_over(entry.offset) {
            return Place::Stop(words);
        }
        self.next = entry.offset + 1;
        self.known.see(self.next);
        self.offset_errors = 0;
        if let Some(dead) = self.dead_committed
            && dead.last == entry.offset
            && let Some(words) = self.differs(entry, dead.fingerprint)
        {
            return Place::Stop(words);
        }
        match self.committed {
            Some(committed) if self.phase == Phase::Rebuilding => {
                if entry.offset < committed.last {
                    return Place::Feed;
                }
                if let Some(words) = self.differs(entry, committed.fingerprint) {
                    return Place::Stop(words);
                }
                self.phase = Phase::Reading;
                Place::FeedLast
            }
            _ => Place::Keep,
        }
    }

    /// The log has nothing more below `end`: where it has gaps, the offsets up to there are no records. Words: why that
    /// can't be.
    pub(crate) fn caught_up(&mut self, end: u64) -> Option<String> {
        if !self.is_read() {
            return None;
        }
        if !self.gapless && end > self.next {
            if let Some(words) = self.pass_over(end) {
                return Some(words);
            }
            self.next = end;
        }
        self.known.see(end);
        if self.pending.last.is_none() && self.next >= end {
            self.oldest = None;
        }
        None
    }

    /// Words, if the log passes over an offset, from the next one up to `to`, at which the tables know a record.
    fn pass_over(&self, to: u64) -> Option<String> {
        let committed = self.committed.filter(|_| self.phase == Phase::Rebuilding);
        let of_events = committed.map(|committed| (committed.last, committed.fingerprint));
        let of_dead_letters = self.dead_committed.map(|dead| (dead.last, dead.fingerprint));
        let passed =
            [of_events, of_dead_letters].into_iter().flatten().find(|(last, _)| (self.next..to).contains(last));
        passed.map(|(last, stored)| made_anew(last, stored, None, &self.lost()))
    }

    fn differs(&self, entry: &Entry, stored: i64) -> Option<String> {
        let found = entry.record.fingerprint();
        (found != stored).then(|| made_anew(entry.offset, stored, Some(found), &self.lost()))
    }

    fn lost(&self) -> String {
        lost(self.lake_next(), self.known.sure)
    }

    /// The first offset that `events` does not hold.
    pub(crate) fn lake_next(&self) -> u64 {
        self.committed.map_or(0, |committed| committed.last + 1)
    }

    /// Below this everything is in the lake, or is no record.
    pub(crate) fn settled_to(&self) -> u64 {
        let settled = self.phase == Phase::Reading && self.pending.last.is_none();
        if settled { self.next } else { self.lake_next() }
    }

    /// Records known that are not in the lake (where the log has gaps, with those).
    pub(crate) fn lag_records(&self) -> u64 {
        self.known.seen.saturating_sub(self.settled_to())
    }

    /// The log ends at `end`. Of records that were not read yet nobody knows the age: they count from `now`.
    pub(crate) fn see_end(&mut self, end: u64, now: Micros) {
        self.known.see(end);
        if self.lag_records() > 0 {
            self.oldest.get_or_insert(now);
        }
    }

    /// A record whose rows are new was read.
    pub(crate) fn took(&mut self, entry: &Entry, now: Instant) {
        if self.pending.last.is_none() {
            self.oldest = Some(entry.timestamp);
        }
        self.pending.since.get_or_insert(now);
        self.pending.trail.push(entry.offset, &entry.record, self.known.seen);
        self.pending.last = Some(entry.clone());
    }

    /// What waited is committed.
    pub(crate) fn settle(&mut self, committed: Committed, dead_committed: Option<DeadCommitted>) {
        self.committed = Some(committed);
        self.dead_committed = dead_committed.or(self.dead_committed);
        let pending = std::mem::take(&mut self.pending);
        // What comes next was not read yet: it is no older than the last that was.
        self.oldest = pending.last.map(|last| last.timestamp).filter(|_| self.known.seen > self.next);
    }

    /// Throws away what waits without a commit: it will be read again.
    pub(crate) fn forget(&mut self) {
        self.pending = Pending::default();
    }

    /// Records by which the log is recognised before a commit: see [`crate::identity`].
    pub(crate) fn anchors(&self) -> Vec<Anchor> {
        let committed = self.committed.map(|at| Anchor { offset: at.last, fingerprint: at.fingerprint });
        let first = self.pending.trail.first().map(|at| Anchor { offset: at.offset, fingerprint: at.fingerprint });
        [committed, first].into_iter().flatten().collect()
    }

    /// What was read since the last commit: a sample, the last record in it.
    pub(crate) fn marks(&self) -> Vec<Mark> {
        let mut marks = self.pending.trail.marks().to_vec();
        if let Some(Entry { offset, record, .. }) = &self.pending.last
            && marks.last().is_some_and(|mark| mark.offset < *offset)
        {
            marks.push(Mark { offset: *offset, fingerprint: record.fingerprint(), end: offset + 1 });
        }
        marks
    }

    /// Throws away what waits; nothing of this partition is read any more. From `now` on, at the latest, it lags.
    pub(crate) fn stop(&mut self, now: Micros) {
        self.phase = Phase::Stopped;
        self.oldest.get_or_insert(now);
        // The rest may have been another log's.
        self.known.seen = self.known.sure;
        self.forget();
    }

    /// Throws away what waits, but not by what the log is recognised; nothing of this partition is read until it is taken
    /// up anew. From `now` on, at the latest, it lags.
    pub(crate) fn put_aside(&mut self, now: Micros) {
        self.phase = Phase::Aside;
        self.oldest.get_or_insert(now);
        let Pending { last, trail, .. } = std::mem::take(&mut self.pending);
        self.pending = Pending { last, trail, ..Pending::default() };
    }

    /// True while it is put aside.
    pub(crate) fn is_aside(&self) -> bool {
        self.phase == Phase::Aside
    }

    /// True while its records are taken.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.phase, Phase::Rebuilding | Phase::Reading)
    }

    /// True when records were read that the next commit takes up to.
    pub(crate) fn is_ahead(&self) -> bool {
        self.is_read() && self.pending.last.is_some()
    }

    /// True once it stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// True when everything up to the end that the drain saw was read.
    pub(crate) fn is_drained(&self) -> bool {
        !self.is_read() || self.drain_to.is_some_and(|end| self.next >= end)
    }

    /// False when `dead_letters` holds those of this record already: a crash came between its commit and that of
    /// `events`.
    pub(crate) fn wants_dead_letters_of(&self, offset: u64) -> bool {
        self.dead_committed.is_none_or(|committed| offset > committed.last)
    }

    /// What the next commit says of it; `None`: nothing was read since the last.
    pub(crate) fn next_committed(&self) -> Option<Committed> {
        let Entry { offset: last, record, .. } = self.pending.last.as_ref().filter(|_| self.is_read())?;
        let before = self.committed.as_ref();
        Some(Committed {
            last: *last,
            fingerprint: record.fingerprint(),
            // At most `last`, so that a restart reads the record whose fingerprint it checks.
            dedup: self.window.start_offset().map_or(*last, |start| start.min(*last)),
            rows: before.map_or(0, |before| before.rows) + self.pending.rows,
            duplicates: before.map_or(0, |before| before.duplicates) + self.pending.duplicates,
            dead_letters: before.map_or(0, |before| before.dead_letters) + self.pending.dead_letters,
        })
    }
}

#[cfg(test)]
mod tests;
