//! Which event goes into which batch, and when a batch goes: pure decisions, no I/O, time passed in.
//!
//! ```text
//!            offer                 full                      next (nothing under way)
//! events ──────────▶ filling ───────────▶ waiting, at most N ───────────▶ the worker
//!                       └──────────────────────────────────────────────────▶ when none waits
//! ```
//! Batches clock themselves: while one is under way the next fills, and goes when the worker comes back.
use event::batch::{Arrival, BatchBuilder};
use event::view_event::ViewEvent;
use log::AppendError;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

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
    /// A batch fills until then (`linger_ms`).
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
    closed: bool,
}

impl Batching {
    /// No batches yet.
    pub fn new(partition: u32, bounds: Bounds) -> Self {
        Batching { partition, bounds, filling: None, waiting: VecDeque::new(), number: 0, closed: false }
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
        }
        let batch = self.filling.get_or_insert_with(|| Batch::open(now));
        if batch.builder.rows() == 0 && !fits(batch, arrival, event, self.bounds.record_bytes_max) {
            let bytes = batch.builder.encoded_bytes_max() + batch.builder.added_bytes_max(arrival, event);
            self.filling = None;
            return Offer::TooLarge { bytes };
        }
        batch.builder.append(arrival, event);
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
    pub fn next(&mut self, now: Instant) -> Next {
        if let Some(batch) = self.waiting.pop_front() {
            return Next::Batch(batch);
        }
        match self.filling.take() {
            None if self.closed => Next::Done,
            None => Next::Wait,
            Some(batch) => {
                let due = batch.opened_at + self.bounds.linger;
                if due > now && !self.closed {
                    self.filling = Some(batch);
                    return Next::WaitUntil(due);
                }
                self.number += 1;
                Next::Batch(batch)
            }
        }
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
mod tests {
    use super::*;
    use std::borrow::Cow;

    const ARRIVAL: Arrival<'_> = Arrival { tenant: "default", source: "http", received_at: 0 };

    fn event(custom_bytes: usize) -> ViewEvent<'static> {
        ViewEvent {
            event_id: [7; 16],
            event_time: 0,
            session_id: None,
            event_type: Cow::Borrowed("play"),
            fields: Vec::new(),
            custom: vec![(Cow::Borrowed("note"), Cow::Owned("x".repeat(custom_bytes)))],
        }
    }

    fn batching(linger: Duration) -> Batching {
        Batching::new(3, Bounds { record_bytes_max: 50_000, waiting_max: 2, linger })
    }

    fn offered(batching: &mut Batching, bytes: usize, tickets: &mut Vec<Ticket>) -> Offer {
        batching.offer(ARRIVAL, &event(bytes), Instant::now(), tickets)
    }

    #[test]
    fn events_fill_one_batch_while_another_is_under_way() {
        let (mut batching, mut tickets) = (batching(Duration::ZERO), Vec::new());
        assert_eq!(offered(&mut batching, 10, &mut tickets), Offer::Taken);
        let Next::Batch(under_way) = batching.next(Instant::now()) else { panic!("a batch goes at once") };
        for _ in 0..5 {
            assert_eq!(offered(&mut batching, 10, &mut tickets), Offer::Taken);
        }
        let Next::Batch(next) = batching.next(Instant::now()) else { panic!("the next goes") };
        assert_eq!((under_way.builder.rows(), next.builder.rows()), (1, 5));
        assert_eq!(tickets.iter().map(|ticket| ticket.count).collect::<Vec<_>>(), [1, 5]);
        assert!(matches!(batching.next(Instant::now()), Next::Wait));
    }

    #[test]
    fn full_batches_wait_in_order_up_to_a_bound_and_room_comes_back() {
        let (mut batching, mut tickets) = (batching(Duration::ZERO), Vec::new());
        let mut taken = 0;
        while offered(&mut batching, 9_000, &mut tickets) == Offer::Taken {
            taken += 1;
            assert!(taken < 100, "never full");
        }
        assert_eq!(tickets.len(), 3, "two that wait and one that fills");
        assert_eq!(tickets.iter().map(|ticket| ticket.count).sum::<usize>(), taken);
        let Next::Batch(first) = batching.next(Instant::now()) else { panic!("a batch waits") };
        assert_eq!(first.builder.rows(), tickets[0].count);
        assert!(first.builder.encoded_bytes_max() <= 50_000);
        assert_eq!(offered(&mut batching, 9_000, &mut tickets), Offer::Taken);
    }

    #[test]
    fn an_event_over_the_limit_of_a_record_is_refused_and_its_neighbours_are_not() {
        let (mut batching, mut tickets) = (batching(Duration::ZERO), Vec::new());
        assert!(matches!(offered(&mut batching, 60_000, &mut tickets), Offer::TooLarge { bytes: 60_000.. }));
        assert_eq!(offered(&mut batching, 10, &mut tickets), Offer::Taken);
        assert!(matches!(offered(&mut batching, 60_000, &mut tickets), Offer::TooLarge { .. }));
        assert_eq!(offered(&mut batching, 10, &mut tickets), Offer::Taken);
        assert_eq!(tickets.iter().map(|ticket| ticket.count).sum::<usize>(), 2);
    }

    #[test]
    fn a_lingering_batch_goes_when_its_time_is_over_or_it_is_full() {
        let (mut batching, mut tickets) = (batching(Duration::from_secs(60)), Vec::new());
        offered(&mut batching, 10, &mut tickets);
        let Next::WaitUntil(due) = batching.next(Instant::now()) else { panic!("it lingers") };
        while batching.waiting.is_empty() {
            offered(&mut batching, 9_000, &mut tickets);
        }
        assert!(matches!(batching.next(Instant::now()), Next::Batch(_)), "a full one does not wait");
        assert!(matches!(batching.next(due + Duration::from_secs(60)), Next::Batch(_)));
    }

    #[test]
    fn after_closing_what_is_there_is_handed_out_and_nothing_is_taken() {
        let (mut batching, mut tickets) = (batching(Duration::from_secs(60)), Vec::new());
        offered(&mut batching, 10, &mut tickets);
        batching.close();
        assert_eq!(offered(&mut batching, 10, &mut tickets), Offer::Closed);
        assert!(matches!(batching.next(Instant::now()), Next::Batch(_)));
        assert!(matches!(batching.next(Instant::now()), Next::Done));
    }

    #[test]
    fn requests_of_abandoned_batches_learn_that_nobody_knows() {
        let (mut batching, mut tickets) = (batching(Duration::ZERO), Vec::new());
        offered(&mut batching, 10, &mut tickets);
        batching.abandon();
        assert!(tickets[0].outcome.has_changed().is_err(), "the channel is closed");
        assert!(tickets[0].outcome.borrow().is_none());
    }
}
