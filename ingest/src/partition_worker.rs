//! One partition: requests put events into its batches, one worker appends them, one at a time and in order.
//!
//! ```text
//! request ─ offer ─▶ Batching (short lock) ─ next ─▶ worker: encode ─▶ append ─▶ outcome ─▶ all waiting requests
//!    └─ no room: in line, first come first served ◀── room ──┘
//! ```
//! Promise: an outcome says `Ok` only after [`log::Writer::append`] did.
use crate::batching::{BatchError, Batching, Bounds, Next, Offer, Ticket};
use crate::cpu_bound::off_the_runtime;
use crate::instruments::Instruments;
use crate::limits::{EVENTS_PER_LOCK, INLINE_BYTES_MAX};
use crate::pace::Pace;
use crate::readiness::{Ended, Readiness};
use event::batch::{Arrival, BatchBuilder};
use event::codec;
use event::view_event::ViewEvent;
use log::{AppendError, Writer};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// A partition's batches, shared by the requests and its worker.
pub struct Partition {
    number: u32,
    batching: Mutex<Batching>,
    work: Notify,
    room: Notify,
    /// Requests that found no room wait here, the first of them for `room`.
    line: tokio::sync::Mutex<()>,
    in_line: AtomicUsize,
}

/// Why events found no place in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// No room came in time: the log is slower than the clients.
    Timeout,
    /// The partition takes no more.
    Stopping,
}

/// An event over the limit of a record: its place among those offered, and its bytes.
pub type Oversized = (usize, usize);

impl Partition {
    /// Without any batch.
    pub fn new(number: u32, bounds: Bounds) -> Self {
        Partition {
            number,
            batching: Mutex::new(Batching::new(number, bounds)),
            work: Notify::new(),
            room: Notify::new(),
            line: tokio::sync::Mutex::new(()),
            in_line: AtomicUsize::new(0),
        }
    }

    /// Puts `events` into batches, in order; waits for room until `deadline`. Those that fit into no record are
    /// skipped and returned.
    pub async fn offer(
        &self,
        arrival: Arrival<'_>,
        events: &[&ViewEvent<'_>],
        deadline: Instant,
        tickets: &mut Vec<Ticket>,
    ) -> Result<Vec<Oversized>, NoPlace> {
        let mut oversized = Vec::new();
        let mut taken = 0;
        if self.in_line.load(Ordering::Relaxed) == 0 {
            self.put(arrival, events, &mut taken, tickets, &mut oversized).await?;
        }
        if taken < events.len() {
            let waiting = self.put_in_turn(arrival, events, &mut taken, tickets, &mut oversized);
            timeout_at(deadline, waiting).await.map_err(|_| NoPlace::Timeout)??;
        }
        Ok(oversized)
    }

    async fn put_in_turn(
        &self,
        arrival: Arrival<'_>,
        events: &[&ViewEvent<'_>],
        taken: &mut usize,
        tickets: &mut Vec<Ticket>,
        oversized: &mut Vec<Oversized>,
    ) -> Result<(), NoPlace> {
        let _in_line = InLine::join(&self.in_line);
        let _turn = self.line.lock().await;
        loop {
            self.put(arrival, events, taken, tickets, oversized).await?;
            if *taken == events.len() {
                return Ok(());
            }
            self.room.notified().await;
        }
    }

    /// Puts events until there is no room, or all are in; lets others go on now and then.
    async fn put(
        &self,
        arrival: Arrival<'_>,
        events: &[&ViewEvent<'_>],
        taken: &mut usize,
        tickets: &mut Vec<Ticket>,
        oversized: &mut Vec<Oversized>,
    ) -> Result<(), NoPlace> {
        while self.put_some(arrival, events, taken, tickets, oversized)? && *taken < events.len() {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Puts a few events under one hold of the lock; false: there is no room.
    fn put_some(
        &self,
        arrival: Arrival<'_>,
        events: &[&ViewEvent<'_>],
        taken: &mut usize,
        tickets: &mut Vec<Ticket>,
        oversized: &mut Vec<Oversized>,
    ) -> Result<bool, NoPlace> {
        let until = events.len().min(*taken + EVENTS_PER_LOCK);
        // A panic under the lock left a batch half built: nothing of it may be acknowledged.
        let mut batching = self.batching.lock().map_err(|_| NoPlace::Stopping)?;
        let now = Instant::now();
        while *taken < until {
            match batching.offer(arrival, events[*taken], now, tickets) {
                Offer::Taken => *taken += 1,
                Offer::TooLarge { bytes } => {
                    oversized.push((*taken, bytes));
                    *taken += 1;
                }
                Offer::Full => break,
                Offer::Closed => return Err(NoPlace::Stopping),
            }
        }
        // Before the next await: also when the request goes away half-way, what it has put in is the worker's.
        if batching.take_news() {
            self.work.notify_one();
        }
        Ok(*taken == until)
    }

    /// The pace was changed: a batch that fills may go.
    pub fn look_again(&self) {
        if self.batching.lock().is_ok_and(|batching| batching.fills()) {
            self.work.notify_one();
        }
    }

    /// No more events; the worker appends what is there and ends.
    pub fn close(&self) {
        if let Ok(mut batching) = self.batching.lock() {
            batching.close();
        }
        self.wake_all();
    }

    fn abandon(&self) {
        if let Ok(mut batching) = self.batching.lock() {
            batching.abandon();
        }
        self.wake_all();
    }

    /// The first in line finds the partition closed and goes; the next takes its turn, and so on.
    fn wake_all(&self) {
        self.work.notify_one();
        self.room.notify_one();
    }
}

/// A request in line; newcomers see it and queue up behind.
struct InLine<'a>(&'a AtomicUsize);

impl<'a> InLine<'a> {
    fn join(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        InLine(count)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Appends a partition's batches.
pub struct Worker {
    /// Its partition.
    pub partition: Arc<Partition>,
    /// The log.
    pub writer: Arc<dyn Writer>,
    /// The node's.
    pub pace: Arc<Pace>,
    /// Measures.
    pub instruments: Arc<Instruments>,
    /// Learns of failures.
    pub readiness: Arc<Readiness>,
}

/// However the worker ends, nobody waits for it.
struct AbandonOnDrop<'a>(&'a Partition);

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Worker {
    /// Works until the partition is closed and empty. `Err`: the log has stopped, the process must too.
    pub async fn run(self) -> Result<(), AppendError> {
        let _abandon = AbandonOnDrop(&self.partition);
        loop {
            let next = match self.partition.batching.lock() {
                Ok(mut batching) => batching.next(Instant::now(), self.pace.pacing()),
                Err(_) => return Err(AppendError::Stopped("a panic left a batch half built".to_owned())),
            };
            match next {
                Next::Batch(mut batch) => {
                    self.partition.room.notify_one();
                    self.pace.went(batch.builder.rows(), Instant::now());
                    let outcome = self.append(&mut batch.builder).await;
                    let stopped = match &outcome {
                        Err(BatchError::Append(error @ AppendError::Stopped(_))) => Some(error.clone()),
                        _ => None,
                    };
                    batch.outcome.send_replace(Some(outcome));
                    if let Some(error) = stopped {
                        tracing::error!(partition = self.partition.number, %error, "ingest stops");
                        return Err(error);
                    }
                }
                Next::WaitUntil(due) => {
                    // Woken by enough events, a full batch, the pace or a close; either way `next` decides.
                    let _ = timeout_at(due, self.partition.work.notified()).await;
                }
                Next::Wait => self.partition.work.notified().await,
                Next::Done => return Ok(()),
            }
        }
    }

    async fn append(&self, builder: &mut BatchBuilder) -> Result<u64, BatchError> {
        self.readiness.began(self.partition.number, Instant::now());
        let outcome = self.encode_and_append(builder).await;
        let ended = match &outcome {
            Ok(_) => Ended::Durable,
            Err(BatchError::Encode(_) | BatchError::Append(AppendError::TooLarge { .. })) => Ended::OwnFault,
            Err(BatchError::Append(error)) => Ended::Failed(error.to_string()),
        };
        self.readiness.ended(self.partition.number, ended, Instant::now());
        outcome
    }

    async fn encode_and_append(&self, builder: &mut BatchBuilder) -> Result<u64, BatchError> {
        let rows = builder.rows();
        // Without a turn, unlike decoding: there are no more of these at once than partitions, and bodies that wait to
        // be decoded must not hold up those that were.
        let encoded = if builder.encoded_bytes_max() > INLINE_BYTES_MAX {
            off_the_runtime(|| codec::encode(&builder.finish()))
        } else {
            codec::encode(&builder.finish())
        };
        let record = encoded.map_err(|error| {
            tracing::error!(partition = self.partition.number, rows, %error, "a batch can't be encoded: its requests get 500");
            BatchError::Encode(error.to_string())
        })?;
        self.instruments.encoded(rows, record.bytes());
        let started = Instant::now();
        let outcome = self.writer.append(self.partition.number, record).await;
        self.instruments.appended(started.elapsed());
        if let Err(error @ AppendError::TooLarge { .. }) = &outcome {
            tracing::error!(partition = self.partition.number, rows, %error, "a batch's size was misjudged: its requests get 500");
        }
        outcome.map_err(BatchError::Append)
    }
}
