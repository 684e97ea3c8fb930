//! Where a partition goes on: what the table says against what the log holds. Pure.
//!
//! Promise: a position is taken from the table's `txn`s and from nothing else, and it never jumps. A log that isn't the
//! one the table was written from (made anew, cut off, wiped) is [`Resume::Stop`] with what to do.
use std::ops::Range;

/// What `events` says of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Last offset included.
    pub last: u64,
    /// Fingerprint of the record at `last`.
    pub fingerprint: i64,
    /// D: the offset to read from, so that the dedup window is again what it was at `last`. At most `last`, so that the
    /// record that the fingerprint is of is read on the way.
    pub dedup: u64,
    /// Rows of the table from this partition since it was made.
    pub rows: u64,
    /// Duplicates dropped.
    pub duplicates: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// The `txn` values of a partition as they stand in `events`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Last offset.
    pub last: Option<i64>,
    /// Fingerprint.
    pub fingerprint: Option<i64>,
    /// D.
    pub dedup: Option<i64>,
    /// Rows.
    pub rows: Option<i64>,
    /// Duplicates.
    pub duplicates: Option<i64>,
    /// Dead letters.
    pub dead_letters: Option<i64>,
}

impl Stored {
    /// `None`: nothing of this partition was ever committed. The values are committed together, so that some without
    /// the others, a negative one, or D above the position is a broken table.
    pub fn committed(self) -> Result<Option<Committed>, String> {
        let Stored { last, fingerprint, dedup, rows, duplicates, dead_letters } = self;
        if self == Stored::default() {
            return Ok(None);
        }
        let broken = || format!("txn values of a partition don't belong together: {self:?}");
        let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).ok_or_else(broken);
        let committed = Committed {
            last: number(last)?,
            fingerprint: fingerprint.ok_or_else(broken)?,
            dedup: number(dedup)?,
            rows: number(rows)?,
            duplicates: number(duplicates)?,
            dead_letters: number(dead_letters)?,
        };
        if committed.dedup > committed.last {
            return Err(broken());
        }
        Ok(Some(committed))
    }
}

/// What to do with a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Nothing was committed and nothing is lost: read from offset 0.
    Start,
    /// Read `from`: records up to and including the committed position only feed the dedup window (and the one at the
    /// position must have the stored fingerprint), the next one is new.
    Rebuild {
        /// Offset to seek to.
        from: u64,
        /// Retention has dropped this many records that the window was made of: duplicates of what they held get in.
        window_records_lost: u64,
    },
    /// This partition must not be read: says why and what to do.
    Stop(String),
}

impl Resume {
    /// Where the reader is put: what comes at the end is ignored.
    pub fn from(&self, log: &Range<u64>) -> u64 {
        match self {
            Resume::Start => 0,
            Resume::Rebuild { from, .. } => *from,
            Resume::Stop(_) => log.end,
        }
    }
}

/// What this process knows of the end of a partition's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// The largest end that was seen before the log was last found to be the one that the table is written from.
    pub sure: u64,
    /// The largest end that was seen, perhaps of a log that was made anew since.
    pub seen: u64,
}

impl Known {
    /// The log ends at `end`, or further.
    pub fn see(&mut self, end: u64) {
        self.seen = self.seen.max(end);
    }

    /// It ends at `end`: whatever was above that is gone.
    pub fn cut_off_at(&mut self, end: u64) {
        self.seen = self.seen.min(end);
        self.sure = self.sure.min(end);
    }

    /// The log was found to be the one that it was: the ends seen were its own.
    pub fn prove(&mut self) {
        self.sure = self.seen;
    }
}

/// Decides how to go on. `dead_letters_last`: records up to there have their dead letters committed; that it is above
/// the position of `events` means that a crash came between the two commits. `log`: first offset still held, and the
/// next one to be written. `known_end`: the largest end of the log that this process had seen before, 0 for none.
///
/// In a log with gaps a position may be followed by markers alone. When retention has dropped them too, with nothing
/// after them, the log begins above the next offset, and whether a record stood there can't be told: it stops as for a
/// hole. That takes a producer with transactions, and a partition without a record for as long as retention goes back.
pub fn resume(
    committed: Option<&Committed>,
    dead_letters_last: Option<u64>,
    log: &Range<u64>,
    known_end: u64,
    gapless: bool,
) -> Resume {
    let Range { start, end } = *log;
    let events_last = committed.map(|committed| committed.last);
    let next = events_last.map_or(0, |last| last + 1);
    if let Some(last) = events_last.max(dead_letters_last)
        && end <= last
    {
        return Resume::Stop(cut_off(last, end, &lost(next, known_end)));
    }
    if start > next {
        let or_markers = if gapless { "" } else { " (if they were not markers of transactions alone)" };
        return Resume::Stop(format!(
            "the next record to read is {next}, but the log begins at {start}: records {next}..{start} are gone and \
             would be a hole{or_markers}. Restore the log, or use new tables"
        ));
    }
    match committed {
        None => Resume::Start,
        Some(committed) => Resume::Rebuild {
            from: committed.dedup.max(start),
            window_records_lost: start.saturating_sub(committed.dedup),
        },
    }
}

/// What of a log that is gone never reached the lake, as far as it is known here. `next`: the first offset that the
/// lake has not; `end`: the largest end of that log that this process has seen.
pub(crate) fn lost(next: u64, end: u64) -> String {
    if end > next {
        return format!("records {next}..{end} of the former log never reached the lake, nor what it held above them");
    }
    format!("the lake has the former log below offset {next}; what it held from {next} on never reached the lake")
}

/// Why a partition stops that the log was not made with.
pub(crate) fn grown(made_with: u32) -> String {
    format!(
        "the log has grown beyond the {made_with} partitions that it and the tables were made with: by another number \
         retries of a session go to other partitions and are not recognised. Nothing is read from it; the others go on \
         until the next start. Use a new log and new tables"
    )
}

/// Why a partition stops whose log ends below what the tables hold. `lost`: see [`lost`].
pub(crate) fn cut_off(last: u64, end: u64, lost: &str) -> String {
    format!(
        "the tables hold it up to offset {last}, but the log ends at {end}: it was cut off, wiped or made anew; {lost}. \
         Restore the log, or use new tables"
    )
}

/// Why a partition stops whose record at a known offset is another one, or none (`found`). `lost`: see [`lost`].
pub(crate) fn made_anew(offset: u64, stored: i64, found: Option<i64>, lost: &str) -> String {
    let found = match found {
        Some(found) => {
            format!("another record stands at offset {offset} (fingerprint {found:016x}, not {stored:016x})")
        }
        None => format!("no record stands at offset {offset} any more (the one with fingerprint {stored:016x} did)"),
    };
    format!("{found}: the log was made anew or replaced; {lost}. Restore the log, or use new tables")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(last: u64, dedup: u64) -> Committed {
        Committed { last, fingerprint: 7, dedup, rows: 0, duplicates: 0, dead_letters: 0 }
    }

    fn resume(committed: Option<&Committed>, dead_letters_last: Option<u64>, log: &Range<u64>) -> Resume {
        super::resume(committed, dead_letters_last, log, 0, true)
    }

    fn is_stop(resume: Resume) -> bool {
        matches!(resume, Resume::Stop(_))
    }

    #[test]
    fn a_fresh_table_starts_only_at_the_very_beginning_of_the_log() {
        assert_eq!(resume(None, None, &(0..0)), Resume::Start);
        assert_eq!(resume(None, None, &(0..9)), Resume::Start);
        assert!(is_stop(resume(None, None, &(1..9))));
    }

    #[test]
    fn a_log_of_which_everything_was_read_and_dropped_is_healthy() {
        assert_eq!(resume(Some(&at(9, 4)), None, &(10..10)), Resume::Rebuild { from: 10, window_records_lost: 6 });
        assert_eq!(resume(Some(&at(9, 4)), None, &(10..12)), Resume::Rebuild { from: 10, window_records_lost: 6 });
    }

    #[test]
    fn a_hole_above_the_position_stops() {
        assert!(is_stop(resume(Some(&at(9, 4)), None, &(11..12))));
    }

    #[test]
    fn a_log_that_ends_below_the_position_stops() {
        assert!(is_stop(resume(Some(&at(9, 4)), None, &(0..9))));
        assert!(is_stop(resume(Some(&at(9, 4)), None, &(0..0))));
        assert_eq!(resume(Some(&at(9, 4)), None, &(0..10)), Resume::Rebuild { from: 4, window_records_lost: 0 });
    }

    #[test]
    fn dead_letters_of_a_log_that_is_gone_stop_too() {
        assert!(is_stop(resume(None, Some(3), &(0..3))));
        assert_eq!(resume(None, Some(3), &(0..4)), Resume::Start);
        assert!(is_stop(resume(Some(&at(9, 4)), Some(12), &(0..12))));
        assert_eq!(resume(Some(&at(9, 4)), Some(3), &(7..10)), Resume::Rebuild { from: 7, window_records_lost: 3 });
    }

    #[test]
    fn a_window_that_retention_cut_is_rebuilt_from_what_is_left_and_says_so() {
        assert_eq!(resume(Some(&at(9, 4)), None, &(7..12)), Resume::Rebuild { from: 7, window_records_lost: 3 });
    }

    #[test]
    fn the_words_name_what_never_reached_the_lake_as_far_as_it_is_known() {
        let words = |known_end| match super::resume(Some(&at(9, 4)), None, &(0..3), known_end, true) {
            Resume::Stop(words) => words,
            other => panic!("it goes on: {other:?}"),
        };
        assert!(words(25).contains("records 10..25 of the former log never reached the lake"), "{}", words(25));
        for nothing_more in [0, 10] {
            assert!(words(nothing_more).contains("the lake has the former log below offset 10"));
        }
    }

    #[test]
    fn a_log_with_gaps_that_begins_above_the_position_stops_too() {
        let Resume::Stop(words) = super::resume(Some(&at(9, 4)), None, &(11..12), 0, false) else {
            panic!("a marker can't be told from a record that is gone")
        };
        assert!(words.contains("records 10..11 are gone") && words.contains("markers of transactions"), "{words}");
    }

    #[test]
    fn an_end_that_was_seen_is_the_former_logs_once_the_log_was_recognised_after_it() {
        let mut known = Known::default();
        known.see(7);
        known.prove();
        known.see(12);
        known.see(9);
        assert_eq!(known, Known { sure: 7, seen: 12 });
    }

    #[test]
    fn values_that_do_not_belong_together_are_a_broken_table() {
        let whole = Stored {
            last: Some(9),
            fingerprint: Some(7),
            dedup: Some(4),
            rows: Some(5),
            duplicates: Some(0),
            dead_letters: Some(0),
        };
        assert_eq!(Stored::default().committed(), Ok(None));
        assert_eq!(whole.committed().unwrap().unwrap().last, 9);
        assert!(Stored { dedup: None, ..whole }.committed().is_err());
        assert!(Stored { last: None, ..whole }.committed().is_err());
        assert!(Stored { rows: Some(-1), ..whole }.committed().is_err());
        assert!(Stored { dedup: Some(10), ..whole }.committed().is_err());
    }

    proptest! {
        #[test]
        fn no_decision_leaves_a_hole_or_reads_what_the_log_has_not(
            last in 0_u64..50, back in 0_u64..50, start in 0_u64..60, held in 0_u64..60
        ) {
            let committed = at(last, last.saturating_sub(back));
            let log = start..start + held;
            match resume(Some(&committed), None, &log) {
                Resume::Rebuild { from, .. } => {
                    prop_assert!(from >= log.start && from <= log.end);
                    prop_assert!(from <= last + 1, "records between the position and {from} would be skipped");
                }
                Resume::Stop(_) => prop_assert!(log.start > last + 1 || log.end < last + 1),
                Resume::Start => prop_assert!(false, "a committed partition never starts anew"),
            }
        }
    }
}
