//! Which event goes into which batch, and when a batch goes: pure decisions, no I/O, time passed in.
//!
//! ```text
//!            offer                 full                      next (nothing under way)
//! events ──────────▶ filling ───────────▶ waiting, at most N ───────────▶ the worker
//!                       └──────────────────────────────────────────────────▶ when none waits
//! ```
//! Batches clock themselves: while one is under way the next fills, and goes when the worker comes back. On a busy node
//! it also waits for its turn, unless it has enough events ([`crate::pace`]).
use crate::pace::Pacing;
use event::batch::{Arrival, BatchBuilder};
use event::view_event::ViewEvent;
use log::AppendError;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// With so many events a batch need not wait for more: the record's own cost is a tenth of theirs.
const EVENTS_ENOUGH: usize = 256;

/// Why the events of a batch are not acknowledged.
#[derive(Debug, Clone)]
pub enum BatchError {
    /// The log did not take it.
    Append(AppendError),
    /// It could not be made into a record.
    Encode(String),
}

/// What became of a batch: its offset, once durable. `None` while under way; a closed channel means nobody knows.
pub type Outcome = Option<Result<u64, BatchError>>;

/// A batch with those who wait for it.
pub struct Batch {
    /// Its events.
    pub builder: BatchBuilder,
    /// Tells the waiting requests.
    pub outcome: watch::Sender<Outcome>,
    opened_at: Instant,
}

/// A request's share of a batch.
pub struct Ticket {
    /// Partition.
    pub partition: u32,
    /// Events of the request in the batch.
    pub count: usize,
    /// What becomes of the batch.
    pub outcome: watch::Receiver<Outcome>,
    batch: u64,
}

/// What happened to an offered event.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer {
    /// It stands in a batch; the request's last ticket counts it.
    Taken,
    /// No room in the batches: wait until the worker took one.
    Full,
    /// It alone would be over the limit of a record.
    TooLarge { bytes: usize },
    /// No more events are taken.
    Closed,
}

/// What the worker does next.
pub enum Next {
    /// Append this.
    Batch(Batch),
    /// A batch fills until then (`linger_ms`, or the node's pace).
    WaitUntil(Instant),
    /// Nothing to do.
    Wait,
    /// Closed, and everything was handed out.
    Done,
}

/// Bounds of the batches of one partition.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of a record with its headers.
    pub record_bytes_max: usize,
    /// Full batches that wait.
    pub waiting_max: usize,
    /// How long a batch that isn't full waits for more.
    pub linger: Duration,
}

/// The open batches of one partition.
pub struct Batching {
    partition: u32,
    bounds: Bounds,
    filling: Option<Batch>,
    waiting: VecDeque<Batch>,
    /// Number of the batch that fills, or of the next one.
    number: u64,
    /// When the last batch went.
    went_at: Option<Instant>,
    /// The worker has something to do that it does not know of.
    news: bool,
    closed: bool,
}

impl Batching {
    /// No batches yet.
    pub fn new(partition: u32, bounds: Bounds) -> Self {
        Batching {
            partition,
            bounds,
            filling: None,
            waiting: VecDeque::new(),
            number: 0,
            went_at: None,
            news: false,
            closed: false,
        }
    }

    /// Puts one event into the batch that fills, or into a new one when that is full; adds it to `tickets`.
    pub fn offer(
        &mut self,
        arrival: Arrival<'_>,
        event: &ViewEvent<'_>,
        now: Instant,
        tickets: &mut Vec<Ticket>,
    ) -> Offer {
        if self.closed {
            return Offer::Closed;
        }
        if let Some(batch) = self.filling.take_if(|batch| !fits(batch, arrival, event, self.bounds.record_bytes_max)) {
            if self.waiting.len() >= self.bounds.waiting_max {
                self.filling = Some(batch);
                return Offer::Full;
            }
            self.waiting.push_back(batch);
            self.number += 1;
            self.news = true;
        }
        let batch = self.filling.get_or_insert_with(|| {
            self.news = true;
            Batch::open(now)
        });
        if batch.builder.rows() == 0 && !fits(batch, arrival, event, self.bounds.record_bytes_max) {
            let bytes = batch.builder.encoded_bytes_max() + batch.builder.added_bytes_max(arrival, event);
            self.filling = None;
            return Offer::TooLarge { bytes };
        }
        batch.builder.append(arrival, event);
        self.news |= batch.builder.rows() == EVENTS_ENOUGH;
        match tickets.last_mut().filter(|ticket| ticket.partition == self.partition && ticket.batch == self.number) {
            Some(ticket) => ticket.count += 1,
            None => tickets.push(Ticket {
                partition: self.partition,
                count: 1,
                outcome: batch.outcome.subscribe(),
                batch: self.number,
            }),
        }
        Offer::Taken
    }

    /// What the worker does, now that nothing of this partition is under way.
    pub fn next(&mut self, now: Instant, pacing: Pacing) -> Next {
        if let Some(batch) = self.waiting.pop_front() {
            return self.hand_out(batch, now);
        }
        match self.filling.take() {
            None if self.closed => Next::Done,
            None => Next::Wait,
            Some(batch) => {
                let due = self.due(&batch, pacing);
                if due > now && !self.closed {
                    self.filling = Some(batch);
                    return Next::WaitUntil(due);
                }
                self.number += 1;
                self.hand_out(batch, now)
            }
        }
    }

    /// When a batch that is not full goes.
    fn due(&self, batch: &Batch, pacing: Pacing) -> Instant {
        let due = batch.opened_at + self.bounds.linger;
        let released = pacing.released_at.is_some_and(|released_at| batch.opened_at <= released_at);
        match self.went_at {
            Some(went_at) if batch.builder.rows() < EVENTS_ENOUGH && !released => due.max(went_at + pacing.interval),
            _ => due,
        }
    }

    fn hand_out(&mut self, batch: Batch, now: Instant) -> Next {
        self.went_at = Some(now);
        Next::Batch(batch)
    }

    /// True, once, when the worker must look: a batch was opened, became full, or has enough events.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// A batch fills.
    pub fn fills(&self) -> bool {
        self.filling.is_some()
    }

    /// No more events; what is there is still handed out.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// No more events, and what is there is dropped: its requests learn that its fate is unknown.
    pub fn abandon(&mut self) {
        self.closed = true;
        self.filling = None;
        self.waiting.clear();
    }
}

impl Batch {
    fn open(now: Instant) -> Self {
        Batch { builder: BatchBuilder::new(), outcome: watch::Sender::new(None), opened_at: now }
    }
}

fn fits(batch: &Batch, arrival: Arrival<'_>, event: &ViewEvent<'_>, record_bytes_max: usize) -> bool {
    batch.builder.encoded_bytes_max() + batch.builder.added_bytes_max(arrival, event) <= record_bytes_max
}

#[cfg(test)]
mod tests;
