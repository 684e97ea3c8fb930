//! Whether the log is still the one that the tables are written from. Pure; [`crate::run`] asks.
//!
//! Offsets can't tell: a topic that was deleted and made anew has records at the same offsets, and a reader goes on over
//! the seam. So before each commit the log is asked for a record that it must hold, and what stands there is compared:
//!
//! ```text
//!   committed.last        first read since               last read         now: the check, then the commit
//!        ▼                      ▼                            ▼                       ▼
//!   ─────●──────────────────────●────────────────────────────●───────────────────────┼──▶ time
//!        └─ stands there still? all that was read in between was read before ────────┘
//!           the question, and a log that is gone does not come back: it is all of the same log
//! ```
//! The anchors, the first of them that the log still holds:
//! 1. **The last committed record.** If it stands there, everything in the buffer is of the log that the table is of.
//! 2. **The first record read since**, when retention has dropped the last committed one (an idle partition: its last
//!    record grows old; or nothing was committed yet, then the log is whichever this record is of). In a log without
//!    gaps that one stands just above the position, so the log begins exactly where the table ends (with gaps: within
//!    the gap above it). At a fresh start that is healthy too, for the same reason: a new log begins at 0, and would
//!    have to be filled past the position and trimmed to this very offset since the last check.
//! 3. Neither: **stop.** A log that drops records before they are committed loses them anyway, sooner or later, and
//!    with retention that short a new log could be filled and trimmed between two checks.
//!
//! An answer stays true: a commit that is tried again, however long, needs no second check.
use crate::position::{cut_off, made_anew};
use crate::trail::Mark;
use std::ops::Range;

/// A record that the log must hold, unless retention has dropped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// Where it stood.
    pub(crate) offset: u64,
    /// Its fingerprint.
    pub(crate) fingerprint: i64,
}

/// What stands where an anchor stood. `held`: the log's bounds, looked at after that: its start only grows, so what it
/// still holds now it held when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// This record.
    Record(i64),
    /// None.
    Nothing { held: Range<u64> },
}

/// What that says of the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is the one that it was.
    Same,
    /// Retention has dropped the record: ask for the next anchor.
    Dropped,
    /// It is another one.
    Other,
}

impl Anchor {
    /// What the log is, by what stands where this stood.
    pub(crate) fn judge(&self, found: &Found) -> Answer {
        match found {
            Found::Record(found) if *found == self.fingerprint => Answer::Same,
            Found::Nothing { held } if held.start > self.offset => Answer::Dropped,
            Found::Record(_) | Found::Nothing { .. } => Answer::Other,
        }
    }

    /// Why the partition stops. `lost`: see [`crate::position::lost`].
    pub(crate) fn words(&self, found: &Found, lost: &str) -> String {
        match found {
            Found::Nothing { held } if held.end <= self.offset => cut_off(self.offset, held.end, lost),
            Found::Nothing { .. } => made_anew(self.offset, self.fingerprint, None, lost),
            Found::Record(found) => made_anew(self.offset, self.fingerprint, Some(*found), lost),
        }
    }
}

/// Why a partition stops of which no anchor is left.
pub(crate) fn unrecognisable(next: u64, read: u64) -> String {
    format!(
        "retention dropped records {next}..{read} before they were committed, and with them all by which the log could be \
         told from one made anew. Give the topic a longer retention, and use new tables"
    )
}

/// Searches marks, of which those of the former log come first, for the first one of the log as it is now.
#[derive(Debug)]
pub(crate) struct Seam<'a> {
    marks: &'a [Mark],
    low: usize,
    high: usize,
}

impl<'a> Seam<'a> {
    /// Over all of them.
    pub(crate) fn new(marks: &'a [Mark]) -> Self {
        Seam { marks, low: 0, high: marks.len() }
    }

    /// The mark to ask the log for next; `None`: the seam is found.
    pub(crate) fn ask(&self) -> Option<Mark> {
        (self.low < self.high).then(|| self.marks[self.middle()])
    }

    /// What stands where that mark stood.
    pub(crate) fn answered(&mut self, found: Option<i64>) {
        let middle = self.middle();
        if found == Some(self.marks[middle].fingerprint) {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
    }

    /// The largest end of the former log that was seen beside its own records, as far as it is known by now.
    pub(crate) fn former_end(&self) -> Option<u64> {
        self.marks[..self.low].last().map(|mark| mark.end)
    }

    fn middle(&self) -> usize {
        self.low + (self.high - self.low) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANCHOR: Anchor = Anchor { offset: 9, fingerprint: 7 };

    #[test]
    fn a_record_that_stands_where_it_stood_is_the_only_proof() {
        let nothing = |held: Range<u64>| Found::Nothing { held };
        let cases = [
            (Found::Record(7), Answer::Same),
            (Found::Record(8), Answer::Other),
            (nothing(10..12), Answer::Dropped),
            (nothing(0..9), Answer::Other),
            (nothing(0..0), Answer::Other),
            (nothing(4..12), Answer::Other),
        ];
        for (found, answer) in cases {
            assert_eq!(ANCHOR.judge(&found), answer, "{found:?}");
        }
        assert!(ANCHOR.words(&nothing(0..9), "lost").contains("the log ends at 9"));
        assert!(ANCHOR.words(&nothing(4..12), "lost").contains("no record stands at offset 9"));
        assert!(ANCHOR.words(&Found::Record(8), "lost").contains("another record stands at offset 9"));
    }

    #[test]
    fn the_seam_between_two_logs_is_found_wherever_it_is() {
        let marks: Vec<Mark> = (0..10).map(|at| Mark { offset: at, fingerprint: at as i64, end: at + 100 }).collect();
        for seam in 0..=10 {
            let mut search = Seam::new(&marks);
            let mut asked = 0;
            while let Some(mark) = search.ask() {
                asked += 1;
                let of_new_log = mark.offset >= seam;
                search.answered(of_new_log.then_some(mark.fingerprint));
            }
            assert!(asked <= 4);
            assert_eq!(search.former_end(), seam.checked_sub(1).map(|last| last + 100));
        }
    }
}
