//! Records of a partition that follow each other, held until they are worth folding. Pure.
//!
//! What a rollup does to a batch costs some 200 us before its first event, and 0.3 us an event: a record of a quiet partition, or
//! of one request, has some ten. Nothing is shown, closed or committed before all that was read is folded, so that what comes
//! out is the same.
use crate::kept::{Place, Start, Times};
use crate::limits::{GATHERED_BYTES_MAX, GATHERED_EVENTS_MAX};
use arrow_array::RecordBatch;

/// What was read of a record.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) place: Place,
    /// The events that count.
    pub(crate) kept: RecordBatch,
    /// Of these; `None`: there is none.
    pub(crate) times: Option<Times>,
    /// Of the record as it lies in the log.
    pub(crate) bytes: usize,
}

/// Records to be folded at once.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) place: Place,
    /// One for each record with an event that counts.
    pub(crate) batches: Vec<RecordBatch>,
    /// Of these records.
    pub(crate) starts: Vec<Start>,
    pub(crate) times: Option<Times>,
    /// They end below this offset ([`crate::kept::Kept::turns_at`]); `None`: anywhere.
    turn: Option<u64>,
    events: usize,
    bytes: usize,
}

impl Gathered {
    /// Begins with a record.
    pub(crate) fn new(record: Record, turn: Option<u64>) -> Self {
        let mut gathered = Gathered {
            place: record.place,
            batches: Vec::new(),
            starts: Vec::new(),
            times: None,
            turn,
            events: 0,
            bytes: 0,
        };
        gathered.add(record);
        gathered
    }

    /// Whether the record at this offset belongs to the next ones.
    pub(crate) fn ends_before(&self, offset: u64) -> bool {
        self.turn.is_some_and(|turn| offset >= turn)
    }

    /// Takes the record after the last.
    pub(crate) fn add(&mut self, Record { place, kept, times, bytes }: Record) {
        let Place { next, next_dedup, fingerprint, .. } = place;
        self.place = Place { next, next_dedup, fingerprint, ..self.place };
        self.times = self.times.into_iter().chain(times).reduce(Times::with);
        self.bytes += bytes;
        if kept.num_rows() > 0 {
            self.starts.push(Start { row: self.events, offset: place.offset, dedup: place.dedup });
            self.events += kept.num_rows();
            self.batches.push(kept);
        }
    }

    /// Whether they are as many as are folded at once.
    pub(crate) fn is_full(&self) -> bool {
        self.events >= GATHERED_EVENTS_MAX || self.bytes >= GATHERED_BYTES_MAX
    }

    /// Events of them that count.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Of the records as they lie in the log.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
