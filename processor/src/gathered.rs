//! Records of a partition that follow each other, held until they are worth folding. Pure.
//!
//! What a rollup does to a batch costs some 200 us before its first event, and 0.3 us an event: a record of a quiet partition, or
//! of one request, has some ten. Nothing is shown, closed or committed before all that was read is folded, so that what comes
//! out is the same.
use crate::limits::{GATHERED_BYTES_MAX, GATHERED_EVENTS_MAX};
use arrow_array::RecordBatch;
use std::ops::Range;

/// What is read for a record to be folded as it was the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// The record's.
    pub(crate) offset: u64,
    /// D: reading begins here, so that the dedup window is at the record what it was.
    pub(crate) dedup: u64,
}

/// The times of events, µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// The largest `min(event_time, received_at)`.
    pub(crate) latest: i64,
    /// The largest `received_at`.
    pub(crate) received: i64,
    /// The smallest `received_at`.
    pub(crate) received_first: i64,
}

impl Times {
    /// Those of both.
    pub(crate) fn with(self, others: Times) -> Times {
        Times {
            latest: self.latest.max(others.latest),
            received: self.received.max(others.received),
            received_first: self.received_first.min(others.received_first),
        }
    }
}

/// What was read of a record.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) partition: u32,
    pub(crate) start: Start,
    /// Of the record after it.
    pub(crate) next: Start,
    pub(crate) fingerprint: i64,
    /// The events that count.
    pub(crate) kept: RecordBatch,
    /// Of these; `None`: there is none.
    pub(crate) times: Option<Times>,
    /// Of the record as it lies in the log.
    pub(crate) bytes: usize,
}

/// Where records stand that follow each other in a partition, and when their events were.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) partition: u32,
    /// Of the first.
    pub(crate) first: Start,
    /// After the last.
    pub(crate) next: Start,
    /// Of the last.
    pub(crate) fingerprint: i64,
    /// Of each record with events that count, behind how many events before its own.
    pub(crate) starts: Vec<(usize, Start)>,
    /// Of the events that count; `None`: there is none.
    pub(crate) times: Option<Times>,
}

impl Span {
    /// The first of these records with an event of this window (µs), whether a rollup counts it or not. `times` are those of
    /// the events that count; with none in the window, the first of all: S may be lower than it need be, never higher.
    pub(crate) fn first_of(&self, times: &[i64], window: Range<i64>) -> Start {
        let row = times.iter().position(|time| window.contains(time));
        let begun = self.starts.iter().take_while(|(before, _)| row.is_some_and(|row| *before <= row));
        begun.last().map_or(self.first, |(_, start)| *start)
    }
}

/// Records to be folded at once.
#[derive(Debug)]
pub(crate) struct Gathered {
    span: Span,
    /// One for each record with an event that counts.
    batches: Vec<RecordBatch>,
    /// They end below this offset ([`crate::kept::Kept::turns_at`]); `None`: anywhere.
    turn: Option<u64>,
    events: usize,
    bytes: usize,
}

impl Gathered {
    /// Begins with a record. They are to end below `turn`.
    pub(crate) fn new(record: Record, turn: Option<u64>) -> Self {
        let Record { partition, start: first, next, fingerprint, .. } = record;
        let span = Span { partition, first, next, fingerprint, starts: Vec::new(), times: None };
        let mut gathered = Gathered { span, batches: Vec::new(), turn, events: 0, bytes: 0 };
        gathered.add(record);
        gathered
    }

    /// Whether the record at this offset belongs to the next ones.
    pub(crate) fn ends_before(&self, offset: u64) -> bool {
        self.turn.is_some_and(|turn| offset >= turn)
    }

    /// Takes the record after the last.
    pub(crate) fn add(&mut self, record: Record) {
        (self.span.next, self.span.fingerprint) = (record.next, record.fingerprint);
        self.span.times = self.span.times.into_iter().chain(record.times).reduce(Times::with);
        self.bytes += record.bytes;
        if record.kept.num_rows() > 0 {
            self.span.starts.push((self.events, record.start));
            self.events += record.kept.num_rows();
            self.batches.push(record.kept);
        }
    }

    /// Whether they are as many as are folded at once.
    pub(crate) fn is_full(&self) -> bool {
        self.events >= GATHERED_EVENTS_MAX || self.bytes >= GATHERED_BYTES_MAX
    }

    /// Bytes of the records as they lie in the log.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where they stand, and their events that count.
    pub(crate) fn into_parts(self) -> (Span, Vec<RecordBatch>) {
        (self.span, self.batches)
    }
}

#[cfg(test)]
mod tests;
