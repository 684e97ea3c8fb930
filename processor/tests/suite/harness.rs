//! A log in memory, tables on disk, and processors that come and go.
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use async_trait::async_trait;
use bytes::Bytes;
use event::clock::{Clock, Micros};
use event::codec::header;
use event::decode::TimeBounds;
use futures::TryStreamExt;
use lake::location::Location;
use lake::table::Table;
use lake::upkeep::Pace;
use log::{AppendError, Log, ReadError, Reader, Record, Writer, memory};
use processor::fold::Bounds;
use processor::limits::OPEN_BYTES_MAX;
use processor::live::{Live, Peers};
use processor::rollup::Definition;
use processor::{Config, Error, Lake, Parts, Timing};
use serde_json::Value;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const TOPIC: &str = "events";
/// 2026-11-22T12:00:00Z
pub const NOON: Micros = 1_795_348_800_000_000;
pub const SECOND: Micros = 1_000_000;
const BOUNDS: TimeBounds = TimeBounds { past_max: 86_400 * SECOND, future_max: 3_600 * SECOND, skew_min: 5 * SECOND };
/// Far longer than anything here takes: a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Micros {
        self.0.load(Ordering::SeqCst)
    }
}

/// A role that runs: the processor, or a sink.
pub struct Running<E = Error> {
    task: JoinHandle<Result<(), E>>,
    shutdown: CancellationToken,
    answers: Answers,
}

type Answers = Arc<Mutex<Vec<Result<(), String>>>>;

impl<E: std::fmt::Debug> Running<E> {
    pub fn ready(&self) -> Result<(), String> {
        self.answers.lock().unwrap().last().cloned().unwrap_or_else(|| Err("nothing was told yet".to_owned()))
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it ends").unwrap().unwrap();
    }

    /// Ends it wherever it is, as a crash does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    pub async fn fails(self) -> E {
        tokio::time::timeout(PATIENCE, self.task).await.expect("it ends").unwrap().unwrap_err()
    }
}

pub struct Harness {
    pub dir: TempDir,
    pub log: Arc<memory::Log>,
    pub clock: Arc<TestClock>,
    pub config: Config,
    pub dedup_rows: usize,
    /// Read as a log with gaps, which offsets tell less of.
    pub sparse: bool,
    pub pace: Pace,
    /// Positions are committed so often.
    pub commit: Duration,
    pub live: Arc<Live>,
}

/// Windows of ten seconds, no lateness.
pub fn rollup(name: &str, sql: &str) -> Definition {
    Definition {
        name: name.to_owned(),
        window: Duration::from_secs(10),
        slide: None,
        allowed_lateness: Duration::ZERO,
        sql: sql.to_owned(),
    }
}

impl Harness {
    pub fn new(partitions: u32, rollups: Vec<Definition>) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(NOON)));
        Harness {
            dir: tempfile::tempdir().unwrap(),
            log: memory::Log::new(TOPIC, partitions, clock.clone()),
            clock,
            live: Live::new(&rollups),
            config: Config { rollups, bounds: Bounds::default(), open_bytes_max: OPEN_BYTES_MAX },
            dedup_rows: 1_000,
            sparse: false,
            pace: Pace::default(),
            commit: Duration::from_millis(20),
        }
    }

    /// The time becomes so many seconds after noon.
    pub fn at(&self, seconds: i64) {
        self.clock.0.store(NOON + seconds * SECOND, Ordering::SeqCst);
    }

    pub fn start(&self) -> Running {
        self.start_over(if self.sparse { Arc::new(Sparse(self.log.clone())) } else { self.log.clone() })
    }

    /// A processor that reads this one.
    pub fn start_over(&self, log: Arc<dyn Log>) -> Running {
        self.start_with(log, self.live.clone(), None)
    }

    /// The same, which is looked at here, and looks at others.
    pub fn start_with(&self, log: Arc<dyn Log>, live: Arc<Live>, peers: Option<Arc<dyn Peers>>) -> Running {
        let (shutdown, answers) = (CancellationToken::new(), Answers::default());
        let parts = Parts {
            log,
            lake: self.lake(),
            dedup_rows: self.dedup_rows,
            bounds: BOUNDS,
            clock: self.clock.clone(),
            live,
            peers,
            report: report_to(&answers),
        };
        let timing = Timing {
            tick: Duration::from_millis(5),
            commit: self.commit,
            retry: Duration::from_millis(5),
            mark: Duration::from_millis(10),
            take_over: Duration::from_millis(300),
            correct: Duration::from_millis(10),
            look: Duration::from_millis(10),
            pace: self.pace,
        };
        let task = tokio::spawn(processor::run_with(self.config.clone(), parts, timing, shutdown.clone()));
        Running { task, shutdown, answers }
    }

    /// A sink of the same log and lake.
    pub fn start_sink(&self, flush_age_ms: u64) -> Running<sink::Error> {
        let (shutdown, answers) = (CancellationToken::new(), Answers::default());
        let events = self.lake().events;
        let dead_letters = Location::Local(self.dir.path().join("lake/dead_letters"));
        let parts = sink::Parts {
            jobs: sink::Jobs::default(),
            log: self.log.clone(),
            lake: sink::Lake { events, dead_letters },
            dedup_rows: self.dedup_rows,
            bounds: BOUNDS,
            clock: self.clock.clone(),
            report: report_to(&answers),
        };
        let config = sink::Config { flush_age_ms, ..sink::Config::default() };
        let task = tokio::spawn(sink::run(config, parts, shutdown.clone()));
        Running { task, shutdown, answers }
    }

    pub fn lake(&self) -> Lake {
        let at = |name: &str| Location::Local(self.dir.path().join("lake").join(name));
        Lake {
            rollups: at("rollups"),
            days: at("days"),
            partials: at("partials"),
            late_windows: at("late_windows"),
            events: at("events"),
        }
    }

    /// One record of these events, as somebody else's producer writes them; it is received now.
    pub async fn produce(&self, partition: u32, events: &[Value]) -> u64 {
        let body: Vec<String> = events.iter().map(ToString::to_string).collect();
        let content_type = (header::CONTENT_TYPE.to_owned(), Bytes::from_static(b"application/x-ndjson"));
        let record = Record { headers: vec![content_type], payload: Bytes::from(body.join("\n")) };
        self.log.writer().append(partition, record).await.unwrap()
    }

    pub async fn table(&self, rollup: &str) -> Option<Table> {
        Table::open(&self.lake().rollups.join(rollup)).await.unwrap()
    }

    /// All rows of a rollup's table.
    pub async fn rows(&self, rollup: &str) -> Vec<RecordBatch> {
        all_rows(self.table(rollup).await).await
    }

    pub async fn partials(&self, rollup: &str) -> Option<Table> {
        Table::open(&self.lake().partials.join(rollup)).await.unwrap()
    }

    /// Groups of windows that wait to be merged, or did.
    pub async fn partial_rows(&self, rollup: &str) -> usize {
        let rows = all_rows(self.partials(rollup).await).await;
        rows.iter().map(|batch| batch.num_rows() - batch.column_by_name("groups").unwrap().null_count()).sum()
    }

    /// W, µs.
    pub async fn closed_to(&self, rollup: &str) -> Option<i64> {
        self.table(rollup).await?.txn(&format!("processor/embedded/{TOPIC}/{rollup}")).await.unwrap()
    }

    /// P of a partition that is shared.
    pub async fn partial_position(&self, rollup: &str, partition: u32) -> Option<i64> {
        let name = format!("processor/embedded/{TOPIC}/{rollup}/{partition}/position");
        self.partials(rollup).await?.txn(&name).await.unwrap()
    }

    /// Windows that are marked, µs, each with how many late events it has.
    pub async fn rows_of_marks(&self) -> Vec<(i64, i64)> {
        let mut marks = Vec::new();
        for rows in all_rows(Table::open(&self.lake().late_windows).await.unwrap()).await {
            let starts = rows.column_by_name("window_start").unwrap().as_primitive::<TimestampMicrosecondType>();
            let events = rows.column_by_name("events").unwrap().as_primitive::<Int64Type>();
            marks.extend(starts.values().iter().copied().zip(events.values().iter().copied()));
        }
        marks
    }

    /// How many windows are marked.
    pub async fn marks(&self) -> usize {
        self.rows_of_marks().await.len()
    }
}

async fn all_rows(table: Option<Table>) -> Vec<RecordBatch> {
    let Some(table) = table else { return Vec::new() };
    let mut batches = Vec::new();
    for file in table.files().await.unwrap() {
        batches.extend(rows_of(&table, &file.path).await);
    }
    batches
}

/// Rows of a file.
pub async fn rows_of(table: &Table, path: &str) -> Vec<RecordBatch> {
    table.read_file(path, None).await.unwrap().try_collect().await.unwrap()
}

fn report_to(answers: &Answers) -> processor::Report {
    let told = answers.clone();
    Arc::new(move |answer| told.lock().unwrap().push(answer))
}

/// Waits for something that must come.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// The same log, that does not say that it has no gaps: as Kafka's.
struct Sparse(Arc<memory::Log>);

#[async_trait]
impl Log for Sparse {
    fn topic(&self) -> &str {
        self.0.topic()
    }
    fn cluster(&self) -> &str {
        self.0.cluster()
    }
    fn is_gapless(&self) -> bool {
        false
    }
    fn writer(&self) -> Arc<dyn Writer> {
        self.0.writer()
    }
    async fn reader(&self, name: Option<&str>) -> Result<Box<dyn Reader>, ReadError> {
        self.0.reader(name).await
    }
    async fn retain(&self) -> Result<(), ReadError> {
        self.0.retain().await
    }
    async fn close(&self) -> Result<(), AppendError> {
        self.0.close().await
    }
}
