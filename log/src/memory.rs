//! A log in memory, for tests, with faults by order.
//!
//! Promise: it behaves as the other kinds do (one conformance suite runs over all), and does what [`Faults`] orders,
//! exactly then. Not for anything that must outlive the process.
//!
//! ```text
//! append ─▶ [held: a hung log] ─▶ written ─▶ [sync held] ─▶ durable ─▶ readers
//! ```
use crate::cursor::{Cursor, Step};
use crate::{Ack, AppendError, Next, ReadError, Record};
use async_trait::async_trait;
use event::clock::{Clock, Micros};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

mod faults;
mod storage;

pub use faults::Faults;
use storage::{Order, Storage};

/// Settings of a log in memory.
#[derive(Debug, Clone)]
pub struct Options {
    /// The topic's name.
    pub topic: String,
    /// Number of partitions.
    pub partitions: u32,
    /// Budget over all partitions, bytes.
    pub bytes_max: u64,
    /// As the embedded log's.
    pub retention_ms: u64,
    /// Names that retention waits for from the start; a further name joins when its first reader is made.
    pub readers: Vec<String>,
}

/// What all handles of one log share.
struct Shared {
    storage: Mutex<Storage>,
    /// Counts changes; who waits for something looks again at each.
    changes: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
}

impl Shared {
    /// The storage; a panic elsewhere while it was locked is that test's failure, not a reason to hide what follows.
    fn lock(&self) -> MutexGuard<'_, Storage> {
        self.storage.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Changes the storage, then wakes who waits.
    fn change<T>(&self, change: impl FnOnce(&mut Storage) -> T) -> T {
        let result = change(&mut self.lock());
        self.changes.send_modify(|count| *count += 1);
        result
    }
}

/// A log in memory.
pub struct Log {
    topic: String,
    shared: Arc<Shared>,
}

impl Log {
    /// An empty log without limits.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(topic: &str, partitions: u32, clock: Arc<dyn Clock>) -> Arc<Self> {
        let options = Options {
            topic: topic.to_owned(),
            partitions,
            bytes_max: u64::MAX,
            retention_ms: u64::MAX,
            readers: Vec::new(),
        };
        Self::with(options, clock)
    }

    /// An empty log with limits.
    pub fn with(options: Options, clock: Arc<dyn Clock>) -> Arc<Self> {
        let topic = options.topic.clone();
        let shared = Shared { storage: Mutex::new(Storage::new(&options)), changes: watch::Sender::new(0), clock };
        Arc::new(Self { topic, shared: Arc::new(shared) })
    }

    /// The same log after a restart: records, releases and orders of [`Faults`] stay, what was closed is open again.
    pub fn reopen(&self) -> Arc<Self> {
        self.shared.change(|storage| storage.closed = false);
        Arc::new(Self { topic: self.topic.clone(), shared: self.shared.clone() })
    }

    /// Orders faults.
    pub fn faults(&self) -> Faults {
        Faults::new(self.shared.clone())
    }
}

#[async_trait]
impl crate::Log for Log {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn cluster(&self) -> &str {
        "embedded"
    }

    fn writer(&self) -> Arc<dyn crate::Writer> {
        Arc::new(Writer { shared: self.shared.clone() })
    }

    async fn reader(&self, name: Option<&str>) -> Result<Box<dyn crate::Reader>, ReadError> {
        let mut storage = self.shared.lock();
        if let Some(name) = name {
            storage.register(name);
        }
        let cursor = Cursor::new(storage.partitions.len() as u32);
        let changes = self.shared.changes.subscribe();
        Ok(Box::new(Reader { name: name.map(str::to_owned), cursor, changes, shared: self.shared.clone() }))
    }

    async fn retain(&self) -> Result<(), ReadError> {
        let now = self.shared.clock.now();
        self.shared.change(|storage| storage.retain(now));
        Ok(())
    }

    async fn close(&self) -> Result<(), AppendError> {
        let mut changes = self.shared.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if self.shared.lock().under_way == 0 {
                break;
            }
            if changes.changed().await.is_err() {
                return Err(AppendError::Stopped("log has gone away".into()));
            }
        }
        self.shared.change(Storage::close);
        Ok(())
    }
}

struct Writer {
    shared: Arc<Shared>,
}

/// Counts an append as under way until it is answered or dropped.
struct UnderWay<'a>(&'a Shared);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.change(|storage| storage.under_way -= 1);
    }
}

impl Writer {
    /// Waits until the append with `ticket` is written and durable, or fails.
    async fn durable(&self, ticket: u64) -> Result<u64, AppendError> {
        let mut changes = self.shared.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(outcome) = self.shared.lock().outcome(ticket) {
                return outcome;
            }
            if changes.changed().await.is_err() {
                return Err(AppendError::Unknown("log has gone away".into()));
            }
        }
    }
}

#[async_trait]
impl crate::Writer for Writer {
    fn partitions(&self) -> u32 {
        self.shared.lock().partitions.len() as u32
    }

    fn ack(&self) -> Ack {
        Ack::Disk
    }

    async fn append(&self, partition: u32, record: Record) -> Result<u64, AppendError> {
        crate::within_limit(&record)?;
        let now = self.shared.clock.now();
        let (ticket, order) = self.shared.change(|storage| storage.append(partition, record, now))?;
        let _under_way = UnderWay(&self.shared);
        let offset = self.durable(ticket).await?;
        match order {
            Order::LoseReply => Err(AppendError::Unknown("reply was lost, by order".into())),
            Order::Delay(delay) => {
                tokio::time::sleep(delay).await;
                Ok(offset)
            }
            Order::Obey => Ok(offset),
        }
    }
}

struct Reader {
    name: Option<String>,
    cursor: Cursor,
    changes: watch::Receiver<u64>,
    shared: Arc<Shared>,
}

impl Reader {
    fn poll_next(&mut self) -> Result<Option<Next>, ReadError> {
        let mut storage = self.shared.lock();
        if let Some(error) = storage.read_fault() {
            return Err(error);
        }
        if storage.closed {
            return Err(ReadError::Unavailable("log is closed".into()));
        }
        match self.cursor.step(|partition| storage.partitions[partition as usize].bounds()) {
            Step::Assign => Ok(Some(Next::Assigned((0..storage.partitions.len() as u32).collect()))),
            Step::Read { partition, offset } => {
                let entry = storage.entry(partition, offset)?;
                self.cursor.advance(partition);
                Ok(Some(Next::Record(entry)))
            }
            Step::CaughtUp { partition, end } => Ok(Some(Next::CaughtUp { partition, end })),
            Step::OutOfRange { partition, offset, start, end } => {
                Err(ReadError::OutOfRange { partition, offset, start, end })
            }
            Step::Wait => Ok(None),
        }
    }
}

#[async_trait]
impl crate::Reader for Reader {
    async fn next(&mut self) -> Result<Next, ReadError> {
        loop {
            self.changes.borrow_and_update();
            if let Some(next) = self.poll_next()? {
                return Ok(next);
            }
            if self.changes.changed().await.is_err() {
                return Err(ReadError::Unavailable("log has gone away".into()));
            }
        }
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        let Range { start, end } = self.bounds(partition).await?;
        if offset < start || offset > end {
            return Err(ReadError::OutOfRange { partition, offset, start, end });
        }
        self.cursor.seek(partition, offset);
        Ok(())
    }

    async fn bounds(&mut self, partition: u32) -> Result<Range<u64>, ReadError> {
        Ok(self.shared.lock().partition(partition)?.bounds())
    }

    async fn offset_at(&mut self, partition: u32, time: Micros) -> Result<Option<u64>, ReadError> {
        Ok(self.shared.lock().partition(partition)?.offset_at(time))
    }

    async fn fingerprint_at(&mut self, partition: u32, offset: u64) -> Result<Option<i64>, ReadError> {
        let storage = self.shared.lock();
        if !storage.partition(partition)?.bounds().contains(&offset) {
            return Ok(None);
        }
        Ok(Some(storage.entry(partition, offset)?.record.fingerprint()))
    }

    async fn release(&mut self, partition: u32, offset: u64) -> Result<(), ReadError> {
        let Some(name) = &self.name else { return Err(crate::nameless_release()) };
        self.shared.change(|storage| storage.release(name, partition, offset))
    }
}
