//! Which event goes into which batch, and when a batch goes: pure decisions, no I/O, time passed in.
//!
//! ```text
//!            offer                 full                      next (nothing under way)
//! events ──────────▶ filling ───────────▶ waiting, at most N ───────────▶ the worker
//!                       └──────────────────────────────────────────────────▶ when none waits
//! ```
//! Batches clock themselves: while one is under way the next fills, and goes when the worker comes back. A record costs
//! as much as some thirty events of it do, on this side and on the readers' (docs/benchmarks.md), so a busy partition's
//! batch waits until it has enough events or a short interval is over. Busy is a partition to which so many events come
//! that the wait is worth it; where fewer come, each goes at once.
use crate::arrival_rate::ArrivalRate;
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
    /// A batch fills until then (`linger_ms`, `append_interval_ms`).
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
    /// A busy partition's batch without enough events goes no sooner than this after the one before it.
    pub interval: Duration,
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
    rate: ArrivalRate,
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
            rate: ArrivalRate::default(),
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
    pub fn next(&mut self, now: Instant) -> Next {
        if let Some(batch) = self.waiting.pop_front() {
            return self.hand_out(batch, now);
        }
        match self.filling.take() {
            None if self.closed => Next::Done,
            None => Next::Wait,
            Some(batch) => {
                let due = self.due(&batch);
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
    fn due(&self, batch: &Batch) -> Instant {
        let due = batch.opened_at + self.bounds.linger;
        match self.went_at.filter(|_| self.rate.is_busy() && batch.builder.rows() < EVENTS_ENOUGH) {
            Some(went_at) => due.max(went_at + self.bounds.interval),
            None => due,
        }
    }

    fn hand_out(&mut self, batch: Batch, now: Instant) -> Next {
        self.went_at = Some(now);
        self.rate.add(batch.builder.rows(), self.bounds.interval, now);
        Next::Batch(batch)
    }

    /// True, once, when the worker must look: a batch was opened, became full, or has enough events.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
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
    use crate::arrival_rate::RATE_INTERVALS;
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
        Batching::new(3, Bounds { record_bytes_max: 50_000, waiting_max: 2, linger, interval: Duration::ZERO })
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

    fn offered_some(batching: &mut Batching, events: usize) {
        let mut tickets = Vec::new();
        (0..events).for_each(|_| assert_eq!(offered(batching, 10, &mut tickets), Offer::Taken));
    }

    const INTERVAL: Duration = Duration::from_millis(5);

    /// A partition from which a batch of so many events goes each millisecond, for ten intervals; and when the last went.
    fn after(events: usize) -> (Batching, Instant) {
        let mut batching = Batching::new(3, Bounds { interval: INTERVAL, ..batching(Duration::ZERO).bounds });
        offered_some(&mut batching, events);
        let mut now = Instant::now();
        let end = now + INTERVAL * RATE_INTERVALS;
        loop {
            assert!(matches!(batching.next(now), Next::Batch(_)), "that many come is not known yet");
            if now == end {
                return (batching, end);
            }
            now += Duration::from_millis(1);
            offered_some(&mut batching, events);
        }
    }

    #[test]
    fn batches_of_a_busy_partition_keep_their_interval() {
        // 13 a millisecond are 65 in five.
        let (mut batching, last) = after(13);
        offered_some(&mut batching, 1);
        let soon = last + Duration::from_millis(1);
        assert!(matches!(batching.next(soon), Next::WaitUntil(due) if due == last + INTERVAL));
        let quiet = last + INTERVAL * RATE_INTERVALS;
        assert!(matches!(batching.next(quiet), Next::Batch(_)));
        offered_some(&mut batching, 1);
        assert!(matches!(batching.next(quiet), Next::Batch(_)), "few events came: it is not busy any more");
    }

    #[test]
    fn where_few_events_come_each_goes_at_once() {
        let (mut batching, last) = after(12);
        offered_some(&mut batching, 1);
        assert!(matches!(batching.next(last), Next::Batch(_)));
    }

    #[test]
    fn one_large_batch_does_not_make_a_partition_busy() {
        let mut batching = Batching::new(3, Bounds { interval: INTERVAL, ..batching(Duration::ZERO).bounds });
        let start = Instant::now();
        for after_ms in [0, 1_000, 1_001] {
            offered_some(&mut batching, if after_ms == 1_000 { 250 } else { 1 });
            assert!(matches!(batching.next(start + Duration::from_millis(after_ms) + INTERVAL), Next::Batch(_)));
        }
    }

    #[test]
    fn a_batch_with_enough_events_does_not_wait() {
        let (mut batching, last) = after(EVENTS_ENOUGH);
        offered_some(&mut batching, EVENTS_ENOUGH - 1);
        assert!(matches!(batching.next(last), Next::WaitUntil(_)));
        offered_some(&mut batching, 1);
        assert!(matches!(batching.next(last), Next::Batch(_)));
    }

    #[test]
    fn the_worker_is_told_of_what_it_does_not_know_and_not_of_each_event() {
        let mut batching = batching(Duration::ZERO);
        assert!(!batching.take_news());
        let mut told_at = Vec::new();
        let mut tickets = Vec::new();
        for event in 1..=EVENTS_ENOUGH + 1 {
            offered(&mut batching, 10, &mut tickets);
            if batching.take_news() {
                told_at.push(event);
            }
        }
        assert_eq!(told_at, [1, EVENTS_ENOUGH], "the first of a batch, and the one that makes it enough");
        while batching.waiting.is_empty() {
            offered(&mut batching, 9_000, &mut tickets);
        }
        assert!(batching.take_news(), "a batch is full");
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
