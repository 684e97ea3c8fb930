//! When requests go: bodies are made ahead, released when they are due, and wait, if they must, in a bounded queue.
use crate::body::Body;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Bytes of bodies that may wait: 13 s of 20,000 events/s of 480 bytes.
const QUEUE_BYTES_MAX: usize = 128 << 20;
/// Requests that may wait: 10 s of 20,000 requests/s of one event.
const QUEUE_REQUESTS_MAX: usize = 200_000;
/// Chunks of bodies that are made ahead: 32 MB.
pub(crate) const CHUNKS_AHEAD: usize = 16;
/// The shortest wait of the pacer: at high rates it releases what came due meanwhile together, or its wake-ups would
/// cost more than the requests. So a latency may be too high by this, and by the kernel's timer slack (50 us).
const STEP_MIN: Duration = Duration::from_micros(100);
/// The longest wait of the pacer: how fast it sees a stop.
const STEP_MAX: Duration = Duration::from_millis(20);
/// Released later than this after its due time, a request is `late`.
const LATE: Duration = Duration::from_millis(5);

/// A request that is due.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) body: Body,
    pub(crate) due: Instant,
    /// Attempts made.
    pub(crate) attempts: u32,
}

/// A request that waits for its next attempt. The one that goes first is the greatest.
#[derive(Debug)]
struct Postponed {
    at: Reverse<Instant>,
    request: Request,
}

impl Ord for Postponed {
    fn cmp(&self, other: &Postponed) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Postponed {
    fn partial_cmp(&self, other: &Postponed) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Postponed {
    fn eq(&self, other: &Postponed) -> bool {
        self.at == other.at
    }
}

impl Eq for Postponed {}

#[derive(Debug, Default)]
struct Waiting {
    due: VecDeque<Request>,
    postponed: BinaryHeap<Postponed>,
    bytes: usize,
    closed: bool,
}

/// Requests that wait for a connection, or for their next attempt.
#[derive(Debug, Default)]
pub(crate) struct DueQueue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

enum Taken {
    Request(Request),
    Nothing { until: Option<Instant> },
    Closed,
}

impl DueQueue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request that is due. False: the queue is full, and the request is gone.
    #[must_use]
    pub(crate) fn offer(&self, request: Request) -> bool {
        let mut waiting = self.lock();
        let bytes = request.body.bytes.len();
        let requests = waiting.due.len() + waiting.postponed.len();
        if requests >= QUEUE_REQUESTS_MAX || (requests > 0 && waiting.bytes + bytes > QUEUE_BYTES_MAX) {
            return false;
        }
        waiting.bytes += bytes;
        waiting.due.push_back(request);
        drop(waiting);
        self.changed.notify_one();
        true
    }

    /// Puts a request back until `at`. Always taken: there are no more of these than there are connections beyond the
    /// queue's limit.
    pub(crate) fn postpone(&self, request: Request, at: Instant) {
        let mut waiting = self.lock();
        waiting.bytes += request.body.bytes.len();
        waiting.postponed.push(Postponed { at: Reverse(at), request });
        drop(waiting);
        self.changed.notify_one();
    }

    /// No more requests will be offered.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
    }

    /// Takes out all that wait.
    pub(crate) fn drain(&self) -> Vec<Request> {
        let mut waiting = self.lock();
        waiting.bytes = 0;
        let due = std::mem::take(&mut waiting.due);
        let postponed = std::mem::take(&mut waiting.postponed);
        due.into_iter().chain(postponed.into_iter().map(|postponed| postponed.request)).collect()
    }

    /// Takes out what was never tried: after a stop it isn't sent any more.
    fn drain_untried(&self) -> Vec<Request> {
        let mut waiting = self.lock();
        let due = std::mem::take(&mut waiting.due);
        waiting.bytes -= due.iter().map(|request| request.body.bytes.len()).sum::<usize>();
        due.into()
    }

    fn take(&self, now: Instant) -> Taken {
        let mut waiting = self.lock();
        let again = waiting.postponed.peek().map(|postponed| postponed.at.0);
        let request = if again.is_some_and(|at| at <= now) {
            waiting.postponed.pop().map(|postponed| postponed.request)
        } else {
            waiting.due.pop_front()
        };
        match request {
            Some(request) => {
                waiting.bytes -= request.body.bytes.len();
                Taken::Request(request)
            }
            None if waiting.closed && again.is_none() => Taken::Closed,
            None => Taken::Nothing { until: again },
        }
    }

    /// The next request; None when there will be none, or `over` says so. (A request that is under way may still be
    /// postponed after that: whoever has it comes back for it.)
    pub(crate) async fn next(&self, over: &CancellationToken) -> Option<Request> {
        loop {
            // Registered before the look: what changes in between is not missed.
            let changed = self.changed.notified();
            let until = match self.take(Instant::now()) {
                Taken::Request(request) => return Some(request),
                Taken::Closed => return None,
                Taken::Nothing { until } => until,
            };
            let next_attempt = async {
                match until {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over.cancelled() => return None,
                () = changed => {}
                () = next_attempt => {}
            }
        }
    }
}

/// What the pacer saw.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Paced {
    /// Events that found the queue full.
    pub(crate) not_sent: u64,
    /// Requests released late.
    pub(crate) late: u64,
}

/// Releases each body when it is due, until `end` or until `stop`; then closes the queue.
pub(crate) fn pace(
    bodies: impl Iterator<Item = Body>,
    start: Instant,
    end: Instant,
    queue: &DueQueue,
    stop: &CancellationToken,
) -> Paced {
    let mut paced = Paced::default();
    for body in bodies {
        let due = start + body.due;
        if !wait_until(due.min(end), stop) || due > end {
            break;
        }
        paced.late += u64::from(due.elapsed() > LATE);
        let events = body.events();
        if !queue.offer(Request { body, due, attempts: 0 }) {
            paced.not_sent += events;
        }
    }
    if !wait_until(end, stop) {
        let untried: u64 = queue.drain_untried().iter().map(|request| request.body.events()).sum();
        paced.not_sent += untried;
    }
    queue.close();
    paced
}

/// Waits; false when stopped before.
fn wait_until(at: Instant, stop: &CancellationToken) -> bool {
    loop {
        if stop.is_cancelled() {
            return false;
        }
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::park_timeout(left.clamp(STEP_MIN, STEP_MAX));
    }
}

/// Makes bodies ahead, in chunks: a hand-over for each would wake a thread for each.
pub(crate) fn produce(bodies: impl Iterator<Item = Body>, chunk: usize, made: &SyncSender<Vec<Body>>) {
    let mut bodies = bodies.peekable();
    while bodies.peek().is_some() {
        if made.send(bodies.by_ref().take(chunk).collect()).is_err() {
            return; // The pacer has ended: the time is over.
        }
    }
}

/// Bodies as they come from the producer; ends when it has no more.
pub(crate) fn received(first: Vec<Body>, rest: Receiver<Vec<Body>>) -> impl Iterator<Item = Body> {
    std::iter::once(first).chain(std::iter::from_fn(move || rest.recv().ok())).flatten()
}

/// How many bodies go in a chunk: 2 MB of them.
pub(crate) fn chunk(batch: usize) -> usize {
    ((2 << 20) / (batch * 600)).clamp(1, 512)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(bytes: usize) -> Request {
        let body = Body {
            due: Duration::ZERO,
            bytes: Bytes::from(vec![0; bytes]),
            ids: vec![uuid::Uuid::nil()],
            repeated: vec![],
            bad: vec![],
            duplicates: 0,
        };
        Request { body, due: Instant::now(), attempts: 0 }
    }

    #[test]
    fn a_full_queue_takes_no_more_until_there_is_room() {
        let queue = DueQueue::default();
        assert!(queue.offer(request(QUEUE_BYTES_MAX + 1)), "alone, any body may wait");
        assert!(!queue.offer(request(1)));
        assert_eq!(queue.drain().len(), 1);
        assert!(queue.offer(request(1)));
    }

    #[tokio::test]
    async fn a_postponed_request_comes_back_when_its_time_has_come_though_the_queue_is_closed() {
        let queue = DueQueue::default();
        let at = Instant::now() + Duration::from_millis(30);
        queue.postpone(request(1), at);
        queue.close();
        let over = CancellationToken::new();
        assert!(queue.next(&over).await.is_some());
        assert!(Instant::now() >= at);
        assert!(queue.next(&over).await.is_none());
    }

    #[test]
    fn what_is_due_after_a_stop_is_counted_as_not_sent() {
        let queue = DueQueue::default();
        let stop = CancellationToken::new();
        let start = Instant::now();
        let bodies = (0..3).map(|number| {
            if number == 2 {
                stop.cancel();
            }
            request(1).body
        });
        let paced = pace(bodies, start, start + Duration::from_secs(60), &queue, &stop);
        assert_eq!(paced.not_sent, 2, "two were waiting, the third was not due any more");
        assert!(queue.drain().is_empty());
    }
}
