//! Which records were read since the last commit, as a bounded sample of their fingerprints. Pure.
//!
//! For one question, asked when a log turns out to be another than it was: up to where was what was read still of the
//! former one? The sample is every record at first, then every second, fourth ...: a log of few records is told
//! exactly, a long one to within a 32nd of what was read.
use log::Record;

/// Marks kept: 64 x 24 bytes a partition.
const MARKS_MAX: usize = 64;

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Its offset.
    pub(crate) offset: u64,
    /// Its fingerprint.
    pub(crate) fingerprint: i64,
    /// The largest end of the log that was known when it was read: at least `offset + 1`.
    pub(crate) end: u64,
}

/// The sample; it always holds the first record.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    marks: Vec<Mark>,
    records: u64,
    /// Every `2^thinned`th record is in the sample.
    thinned: u32,
}

impl Trail {
    /// One more record was read.
    pub(crate) fn push(&mut self, offset: u64, record: &Record, end: u64) {
        let stands = self.records.is_multiple_of(1 << self.thinned);
        self.records += 1;
        if !stands {
            return;
        }
        if self.marks.len() == MARKS_MAX {
            self.marks = self.marks.iter().step_by(2).copied().collect();
            self.thinned += 1;
        }
        self.marks.push(Mark { offset, fingerprint: record.fingerprint(), end });
    }

    /// The first record.
    pub(crate) fn first(&self) -> Option<Mark> {
        self.marks.first().copied()
    }

    /// The sample, by offset.
    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn offsets(records: u64) -> Vec<u64> {
        let mut trail = Trail::default();
        for offset in 10..10 + records {
            let record = Record { headers: Vec::new(), payload: Bytes::from(offset.to_string()) };
            trail.push(offset, &record, offset + 1);
        }
        trail.marks().iter().map(|mark| mark.offset).collect()
    }

    #[test]
    fn few_records_are_all_in_the_sample() {
        assert_eq!(offsets(64), (10..74).collect::<Vec<_>>());
    }

    #[test]
    fn many_records_are_sampled_evenly_from_the_first_to_the_end_in_bounded_memory() {
        for records in [65, 1000, 100_000_u64] {
            let offsets = offsets(records);
            assert!(offsets.len() <= MARKS_MAX && offsets.len() >= MARKS_MAX / 2, "{}", offsets.len());
            assert_eq!(offsets[0], 10);
            let step = offsets[1] - offsets[0];
            assert!(offsets.windows(2).all(|pair| pair[1] - pair[0] == step));
            assert!(10 + records - offsets[offsets.len() - 1] <= step, "the end is covered");
        }
    }
}
