//! What is known of a partition without reading it. Pure.
//!
//! Records are counted in segments of about [`SEGMENT_BYTES`]: how many bytes, and how old the newest is. So the
//! budget, retention and the search for a time need no walk over all records, and little memory.
//!
//! ```text
//!      start                                                  end (durable)
//! ──────┬───────────┬───────────┬───────────┬──────────────────┬
//!       │  closed   │  closed   │  closed   │       open       │
//! ```
use event::clock::Micros;
use std::collections::VecDeque;
use std::ops::Range;

/// A segment is closed when it has this many bytes: 10 GB are some 10,000 segments, 400 KB in memory.
pub(super) const SEGMENT_BYTES: u64 = 1 << 20;

/// A range of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Offset of its first record when it was opened; retention may have dropped that since.
    pub start: u64,
    pub end: u64,
    /// Timestamp of its last record.
    pub newest: Micros,
    /// Bytes of what retention has left.
    pub bytes: u64,
}

/// The growing end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    open: Segment,
}

impl Tail {
    /// A tail whose next offset is `end`.
    pub(super) fn new(end: u64, newest: Micros) -> Self {
        Self { open: Segment { start: end, end, newest, bytes: 0 } }
    }

    /// Adds a record; gives its offset, its timestamp, and the segment that it closed.
    pub(super) fn append(&mut self, now: Micros, bytes: u64) -> (u64, Micros, Option<Segment>) {
        let offset = self.open.end;
        self.open.end += 1;
        self.open.newest = self.open.newest.max(now);
        self.open.bytes += bytes;
        let newest = self.open.newest;
        let closed = (self.open.bytes >= SEGMENT_BYTES).then_some(self.open);
        if closed.is_some() {
            *self = Self::new(offset + 1, newest);
        }
        (offset, newest, closed)
    }
}

/// A partition.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    start: u64,
    closed: VecDeque<Segment>,
    tail: Tail,
}

impl Partition {
    /// `closed` without gaps, `tail` where they end.
    pub(super) fn new(start: u64, closed: impl IntoIterator<Item = Segment>, tail: Tail) -> Self {
        Self { start, closed: closed.into_iter().collect(), tail }
    }

    /// First offset held, next offset.
    pub(super) fn bounds(&self) -> Range<u64> {
        self.start..self.tail.open.end
    }

    /// Timestamp of the newest record there ever was.
    pub(super) fn newest(&self) -> Micros {
        self.tail.open.newest
    }

    pub(super) fn bytes(&self) -> u64 {
        self.tail.open.bytes + self.closed.iter().map(|segment| segment.bytes).sum::<u64>()
    }

    pub(super) fn tail(&self) -> Tail {
        self.tail
    }

    /// What [`Tail::append`] made of [`Partition::tail`] is durable.
    pub(super) fn extend(&mut self, tail: Tail, closed: impl IntoIterator<Item = Segment>) {
        self.closed.extend(closed);
        self.tail = tail;
    }

    /// Closed segments that end at or below `floor`, oldest first, and where records must be looked at one by one.
    pub(super) fn closed_below(&self, floor: u64) -> (Vec<Segment>, u64) {
        let whole: Vec<_> = self.closed.iter().take_while(|segment| segment.end <= floor).copied().collect();
        let next = whole.last().map_or(self.start, |segment| segment.end);
        (whole, next)
    }

    /// Drops `bytes` in records below `start`; gives the starts of the segments that went, and the one that is cut.
    pub(super) fn drop_below(&mut self, start: u64, mut bytes: u64) -> (Vec<u64>, Option<Segment>) {
        let mut gone = Vec::new();
        self.start = self.start.max(start);
        while let Some(segment) = self.closed.front().copied().filter(|segment| segment.end <= start) {
            bytes = bytes.saturating_sub(segment.bytes);
            gone.push(segment.start);
            self.closed.pop_front();
        }
        let cut = match self.closed.front_mut() {
            Some(segment) if bytes > 0 => {
                segment.bytes = segment.bytes.saturating_sub(bytes);
                Some(*segment)
            }
            Some(_) => None,
            None => {
                self.tail.open.bytes = self.tail.open.bytes.saturating_sub(bytes);
                None
            }
        };
        (gone, cut)
    }

    /// The offsets among which is the first record at or after `time`, if there is one.
    pub(super) fn span_at(&self, time: Micros) -> Range<u64> {
        let index = self.closed.partition_point(|segment| segment.newest < time);
        let segment = self.closed.get(index).unwrap_or(&self.tail.open);
        segment.start.max(self.start)..segment.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of two records each: 0..2 (10), 2..4 (30), and 4..5 open (40).
    fn partition() -> Partition {
        let mut partition = Partition::new(0, [], Tail::new(0, i64::MIN));
        for now in [5, 10, 20, 30, 40] {
            let mut tail = partition.tail();
            let (_, _, closed) = tail.append(now, SEGMENT_BYTES / 2);
            partition.extend(tail, closed);
        }
        partition
    }

    #[test]
    fn timestamps_never_decrease() {
        let mut tail = Tail::new(7, 100);
        assert_eq!(tail.append(90, 1), (7, 100, None));
        assert_eq!(tail.append(110, 1), (8, 110, None));
    }

    #[test]
    fn a_full_segment_is_closed_and_the_next_one_begins_where_it_ends() {
        let partition = partition();
        let (closed, next) = partition.closed_below(5);
        assert_eq!(closed.iter().map(|segment| (segment.start, segment.end)).collect::<Vec<_>>(), [(0, 2), (2, 4)]);
        assert_eq!((next, partition.bounds()), (4, 0..5));
    }

    #[test]
    fn a_time_is_looked_for_in_one_segment() {
        let partition = partition();
        assert_eq!(partition.span_at(5), 0..2);
        assert_eq!(partition.span_at(11), 2..4);
        assert_eq!(partition.span_at(99), 4..5);
    }

    #[test]
    fn dropping_takes_the_bytes_of_what_went() {
        let mut partition = partition();
        let half = SEGMENT_BYTES / 2;
        let (gone, cut) = partition.drop_below(3, 3 * half);
        assert_eq!((gone, cut.map(|segment| (segment.start, segment.bytes))), (vec![0], Some((2, half))));
        assert_eq!((partition.bounds(), partition.bytes()), (3..5, 2 * half));
        assert_eq!(partition.drop_below(5, 2 * half), (vec![2], None));
        assert_eq!((partition.bounds(), partition.bytes()), (5..5, 0));
    }
}
