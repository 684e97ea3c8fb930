//! One partition of the log as this sink reads it. Pure.
//!
//! ```text
//! assigned ──▶ Rebuilding (records up to the position feed the window) ──▶ Reading ──▶ (revoked: dropped)
//!     │             │ another record stands at the position                  │ a record is missing
//!     └─────────────┴────────────────────▶ Stopped, in words ◀───────────────┘
//! ```
use crate::position::{Committed, made_anew};
use event::clock::Micros;
use event::dedup::Window;
use lake::tables::TxnNames;
use log::{Entry, Record};
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
    /// Nothing: the partition has stopped.
    Ignore,
    /// Stop the partition and say this.
    Stop(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Rebuilding,
    Reading,
    Stopped,
}

/// What was read since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// The last record, and its offset.
    pub(crate) last: Option<(u64, Record)>,
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
    next: u64,
    phase: Phase,
}

impl Partition {
    /// A partition that reads from offset `next`.
    pub(crate) fn new(
        names: TxnNames,
        committed: Option<Committed>,
        dead_committed: Option<DeadCommitted>,
        window: Window,
        next: u64,
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
            next,
            phase,
        }
    }

    /// What to do with the next record. Offsets have no gaps: a record that is missing would be a hole in the table.
    pub(crate) fn place(&mut self, entry: &Entry) -> Place {
        if self.phase == Phase::Stopped {
            return Place::Ignore;
        }
        if entry.offset != self.next {
            return Place::Stop(format!(
                "the log handed out offset {} where {} was next: records are missing or out of order. Restore the log, \
                 or use a new table",
                entry.offset, self.next
            ));
        }
        self.next = entry.offset + 1;
        self.offset_errors = 0;
        if let Some(dead) = self.dead_committed
            && dead.last == entry.offset
            && dead.fingerprint != entry.record.fingerprint()
        {
            return Place::Stop(made_anew(dead.last, dead.fingerprint, entry.record.fingerprint()));
        }
        match self.committed {
            Some(committed) if self.phase == Phase::Rebuilding => {
                if entry.offset < committed.last {
                    return Place::Feed;
                }
                let found = entry.record.fingerprint();
                if found != committed.fingerprint {
                    return Place::Stop(made_anew(committed.last, committed.fingerprint, found));
                }
                self.phase = Phase::Reading;
                Place::FeedLast
            }
            _ => Place::Keep,
        }
    }

    /// Throws away what waits; nothing of this partition is read any more.
    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Stopped;
        self.pending = Pending::default();
    }

    /// True once it stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// True when everything up to the end that the drain saw was read.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_stopped() || self.drain_to.is_some_and(|end| self.next >= end)
    }

    /// False when `dead_letters` holds those of this record already: a crash came between its commit and that of
    /// `events`.
    pub(crate) fn wants_dead_letters_of(&self, offset: u64) -> bool {
        self.dead_committed.is_none_or(|committed| offset > committed.last)
    }

    /// What the next commit says of it; `None`: nothing was read since the last.
    pub(crate) fn next_committed(&self) -> Option<Committed> {
        let (last, record) = self.pending.last.as_ref()?;
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
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry(offset: u64, text: &'static str) -> Entry {
        let record = Record { headers: Vec::new(), payload: Bytes::from_static(text.as_bytes()) };
        Entry { partition: 0, offset, timestamp: 0, record }
    }

    fn partition(last: Option<(u64, &'static str)>, next: u64) -> Partition {
        let committed = last.map(|(last, text)| Committed {
            last,
            fingerprint: entry(last, text).record.fingerprint(),
            dedup: 0,
            rows: 10,
            duplicates: 1,
            dead_letters: 0,
        });
        Partition::new(lake::tables::txn_names("c", "t", 0), committed, None, Window::new(10), next)
    }

    #[test]
    fn records_up_to_the_position_feed_the_window_and_the_next_is_new() {
        let mut partition = partition(Some((2, "c")), 1);
        assert_eq!(partition.place(&entry(1, "b")), Place::Feed);
        assert_eq!(partition.place(&entry(2, "c")), Place::FeedLast);
        assert_eq!(partition.place(&entry(3, "d")), Place::Keep);
    }

    #[test]
    fn another_record_at_the_position_stops() {
        let mut partition = partition(Some((2, "c")), 2);
        assert!(matches!(partition.place(&entry(2, "x")), Place::Stop(_)));
    }

    #[test]
    fn another_record_where_dead_letters_were_committed_stops() {
        let mut partition = partition(Some((2, "c")), 3);
        let fingerprint = entry(3, "d").record.fingerprint();
        partition.dead_committed = Some(DeadCommitted { last: 3, fingerprint, rows: 1 });
        assert!(!partition.wants_dead_letters_of(3) && partition.wants_dead_letters_of(4));
        assert!(matches!(partition.place(&entry(3, "x")), Place::Stop(_)));
    }

    #[test]
    fn a_missing_record_stops_and_nothing_of_it_is_read_any_more() {
        let mut partition = partition(Some((2, "c")), 3);
        assert_eq!(partition.place(&entry(3, "d")), Place::Keep);
        assert!(matches!(partition.place(&entry(5, "f")), Place::Stop(_)));
        partition.stop();
        assert_eq!(partition.place(&entry(6, "g")), Place::Ignore);
        assert!(partition.is_drained());
    }

    #[test]
    fn totals_run_on_from_what_the_table_says() {
        let mut partition = partition(Some((2, "c")), 3);
        assert_eq!(partition.next_committed(), None);
        let record = entry(4, "e").record;
        partition.pending = Pending { last: Some((4, record.clone())), rows: 5, duplicates: 2, ..Pending::default() };
        let next = partition.next_committed().unwrap();
        let expected = Committed {
            last: 4,
            fingerprint: record.fingerprint(),
            dedup: 4,
            rows: 15,
            duplicates: 3,
            dead_letters: 0,
        };
        assert_eq!(next, expected);
    }
}
