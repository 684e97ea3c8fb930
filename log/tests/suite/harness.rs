//! How the suite gets a log of each kind.
use async_trait::async_trait;
use event::clock::{Clock, Micros};
use log::{Entry, Log, Next, ReadError, Reader, Record, embedded, kafka, memory};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testbed::kafka::Broker;

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct HandClock(AtomicI64);

impl HandClock {
    pub fn set(&self, now: Micros) {
        self.0.store(now, Ordering::SeqCst);
    }

    pub fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms * 1_000, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Micros {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a test asks of the log.
#[derive(Debug, Clone)]
pub struct Settings {
    pub partitions: u32,
    pub disk_bytes_max: u64,
    pub retention_ms: u64,
    pub readers: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { partitions: 2, disk_bytes_max: 1 << 30, retention_ms: 1_000, readers: vec!["sink".into()] }
    }
}

/// One log, which can be closed and opened again.
#[async_trait]
pub trait Harness: Send + Sync {
    fn new(settings: Settings) -> Self;
    /// Empty the first time; what it was, later. The former one must be closed.
    async fn open(&self) -> Arc<dyn Log>;
    fn clock(&self) -> &HandClock;

    async fn reopen(&self, log: Arc<dyn Log>) -> Arc<dyn Log> {
        log.close().await.unwrap();
        drop(log);
        self.open().await
    }
}

pub struct Memory {
    settings: Settings,
    clock: Arc<HandClock>,
    log: Mutex<Option<Arc<memory::Log>>>,
}

#[async_trait]
impl Harness for Memory {
    fn new(settings: Settings) -> Self {
        Self { settings, clock: Arc::default(), log: Mutex::new(None) }
    }

    async fn open(&self) -> Arc<dyn Log> {
        let Settings { partitions, disk_bytes_max, retention_ms, readers } = self.settings.clone();
        let mut log = self.log.lock().unwrap();
        let opened = match log.as_ref() {
            Some(log) => log.reopen(),
            None => {
                let topic = "events".to_owned();
                let options = memory::Options { topic, partitions, bytes_max: disk_bytes_max, retention_ms, readers };
                memory::Log::with(options, self.clock.clone())
            }
        };
        *log = Some(opened.clone());
        opened
    }

    fn clock(&self) -> &HandClock {
        &self.clock
    }
}

pub struct Embedded {
    settings: Settings,
    clock: Arc<HandClock>,
    pub dir: tempfile::TempDir,
}

impl Embedded {
    pub fn options(&self) -> embedded::Options {
        let Settings { partitions, disk_bytes_max, retention_ms, readers } = self.settings.clone();
        let (dir, topic) = (self.dir.path().to_owned(), "events".to_owned());
        embedded::Options { dir, topic, partitions, disk_bytes_max, retention_ms, readers }
    }

    pub async fn try_open(&self) -> Result<Arc<dyn Log>, embedded::OpenError> {
        embedded::open(self.options(), self.clock.clone()).await
    }
}

#[async_trait]
impl Harness for Embedded {
    fn new(settings: Settings) -> Self {
        Self { settings, clock: Arc::default(), dir: tempfile::tempdir().unwrap() }
    }

    async fn open(&self) -> Arc<dyn Log> {
        self.try_open().await.unwrap()
    }

    fn clock(&self) -> &HandClock {
        &self.clock
    }
}

/// A topic of its own on the broker that all tests share.
pub struct Kafka {
    pub options: kafka::Options,
    clock: HandClock,
}

impl Kafka {
    /// Options for a topic that no other test uses.
    pub fn options(broker: &Broker, partitions: u32) -> kafka::Options {
        static TOPICS: AtomicU32 = AtomicU32::new(0);
        let topic = format!("events-{}", TOPICS.fetch_add(1, Ordering::SeqCst));
        kafka::Options {
            brokers: vec![broker.bootstrap()],
            group_id: topic.clone(),
            group_instance_id: String::new(),
            topic,
            partitions,
            replication_factor: Some(1),
            retention_ms: 86_400_000,
            delivery_timeout_ms: 10_000,
            properties: BTreeMap::new(),
        }
    }
}

#[async_trait]
impl Harness for Kafka {
    fn new(settings: Settings) -> Self {
        Self { options: Self::options(Broker::shared(), settings.partitions), clock: HandClock::default() }
    }

    async fn open(&self) -> Arc<dyn Log> {
        kafka::open(self.options.clone()).await.unwrap()
    }

    /// Nobody's: the broker has its own.
    fn clock(&self) -> &HandClock {
        &self.clock
    }
}

pub fn record(text: impl Into<String>) -> Record {
    Record { headers: vec![("content-type".into(), "text/plain".into())], payload: text.into().into() }
}

pub fn text(entry: &Entry) -> &str {
    std::str::from_utf8(&entry.record.payload).unwrap()
}

/// Appends `texts` one by one; gives the offsets.
pub async fn append(log: &Arc<dyn Log>, partition: u32, texts: &[&str]) -> Vec<u64> {
    let writer = log.writer();
    let mut offsets = Vec::new();
    for text in texts {
        offsets.push(writer.append(partition, record(*text)).await.unwrap());
    }
    offsets
}

/// A reader that has been assigned its partitions and stands at `offset` of `partition`.
pub async fn reader_at(log: &Arc<dyn Log>, name: Option<&str>, partition: u32, offset: u64) -> Box<dyn Reader> {
    let mut reader = log.reader(name).await.unwrap();
    assert!(matches!(reader.next().await, Ok(Next::Assigned(_))));
    // A broker that was just started, or frozen, may not lead its partitions yet.
    let until = Instant::now() + SOON;
    while let Err(error) = soon(reader.seek(partition, offset)).await {
        assert!(matches!(error, ReadError::Unavailable(_)), "{error}");
        assert!(Instant::now() < until, "for three minutes: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    reader
}

/// All that is there of `partition` from `offset` on.
pub async fn read_from(log: &Arc<dyn Log>, partition: u32, offset: u64) -> Vec<Entry> {
    let mut reader = reader_at(log, None, partition, offset).await;
    let mut entries = Vec::new();
    loop {
        match soon(reader.next()).await.unwrap() {
            Next::Record(entry) => entries.push(entry),
            Next::CaughtUp { end, .. } => {
                assert_eq!(end, offset + entries.len() as u64);
                return entries;
            }
            other => panic!("{other:?}"),
        }
    }
}

pub async fn texts_from(log: &Arc<dyn Log>, partition: u32, offset: u64) -> Vec<String> {
    read_from(log, partition, offset).await.iter().map(|entry| text(entry).to_owned()).collect()
}

pub async fn bounds(log: &Arc<dyn Log>, partition: u32) -> std::ops::Range<u64> {
    log.reader(None).await.unwrap().bounds(partition).await.unwrap()
}

pub async fn release(log: &Arc<dyn Log>, name: &str, partition: u32, offset: u64) {
    log.reader(Some(name)).await.unwrap().release(partition, offset).await.unwrap();
}

/// Long enough for any machine.
const SOON: Duration = Duration::from_secs(180);

/// Fails a test that would hang.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("nothing happened for three minutes")
}
